"""Which arguments point at a text that is there when the function is entered."""

from __future__ import annotations

import re
from typing import Literal

from kernlab.decode.place import TextSpec
from kernlab.symbols.dwarf import Function

# The type says what is pointed at, "const char *" that it is read: another char * is a buffer.
_TEXTS: dict[str, Literal["string", "filename"]] = {
    "char *": "string",
    "struct filename *": "filename",
}
_ADDRESS = re.compile(r"struct sockaddr(?:_\w+)? \*$")
# Functions that write an address instead.
_WRITE = re.compile(r"accept|getname|getsockname|getpeername|recvfrom|recvmsg")
# How many bytes are there, by an argument just behind: they end with no NUL.
_LENGTH = re.compile(r"^(?:len|length|count|size|n|nr|nbytes|optlen|buflen)$")


def points_at(place: Function, number: int) -> TextSpec:
    """{"text": string, filename or sockaddr} for an argument that points at one, with the
    name of the argument that tells its "length" where there is one; {} for another."""
    argument = place.args[number]
    constant = argument.type.startswith("const ")
    kind = argument.type.replace("const ", "")
    if _ADDRESS.match(kind) and not _WRITE.search(place.func):
        return {"text": "sockaddr"}
    if kind not in _TEXTS or (kind == "char *" and not constant):
        return {}
    following = place.args[number + 1] if number + 1 < len(place.args) else None
    if following is not None and _LENGTH.match(following.name) and following.kind != "pointer":
        return {"text": _TEXTS[kind], "length": following.name}
    return {"text": _TEXTS[kind]}
