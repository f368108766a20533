"""The kernel's accessors and member macros, made known to GDB.

GDB expands macros of its user's in every C expression (``macro define``), so that kernel C
works as it is written, in ours and in the user's own: ``p tcp_sk(sk)->snd_cwnd``.
"""

from __future__ import annotations

import re
from typing import Dict, List

import gdb

from kernlab.decode.macros import ACCESSORS, MEMBERS, NUMBERS

_CAST = re.compile(r"\(\s*(?:const\s+)?struct\s+(\w+)\s*\*\s*\)")
_expanded: Dict[str, str] = {}
_done: List[bool] = []


def define() -> None:
    """Define all that this kernel's types bear out, once: a name that is a member itself stays
    one."""
    if _done:
        return
    _done.append(True)
    for name, accessor in ACCESSORS.items():
        _define("%s(%s) %s" % (name, ", ".join(accessor.parameters), accessor.text))
    real = _members(list(MEMBERS))
    for names in MEMBERS.values():
        for name, text in names.items():
            if name not in real:
                _define("%s %s" % (name, text))
    for name, number in NUMBERS.items():
        _define("%s %d" % (name, number))


def _define(text: str) -> None:
    gdb.execute("macro define " + text, to_string=True)


def _members(structs: List[str]) -> "set[str]":
    """The members that these structures really have, by their own names."""
    found = set()
    for struct in structs:
        try:
            fields = gdb.lookup_type("struct " + struct).fields()
        except gdb.error:
            continue
        found |= {field.name for field in fields if field.name}
    return found


def expanded(text: str) -> str:
    """An expression with its macros written out, in words that GDB evaluates quickly; what was
    found is remembered.

    GDB looks "struct tcp_sock" up in the whole kernel each time it reads it, in some tenths of
    a second: a variable of the type says the same at once."""
    known = _expanded.get(text)
    if known is None:
        said: str = gdb.execute("macro expand " + text, to_string=True)
        known = _CAST.sub(_typed, said.replace("expands to:", "", 1).strip())
        _expanded[text] = known
    return known


def _typed(cast: "re.Match[str]") -> str:
    name = cast.group(1)
    try:
        pointer = gdb.lookup_type("struct " + name).pointer()
    except gdb.error:
        return cast.group(0)
    gdb.set_convenience_variable("kl_t_" + name, gdb.Value(0).cast(pointer))
    return "(typeof($kl_t_%s))" % name
