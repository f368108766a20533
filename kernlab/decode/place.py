"""A probe as data: a place in one kernel, and what to read there.

The host makes it (``kernlab.symbols.probes``); the engines read it, and so does GDB's side, which
gets it as JSON. Nobody else builds one: a key that is not here is an error of the type checker.
"""

from __future__ import annotations

from typing import Any, Dict, List, Literal, Optional, Tuple, TypedDict

# network | transport | protocol | cb | none, or the name of a protocol (configs/sites.yaml)
Header = str
Direction = Literal["in", "out", "none"]


class SiteSpec(TypedDict):
    """What is valid at a function's first instruction: a row of configs/sites.yaml. ``listed``:
    whether the table has the function at all."""

    header: Header
    direction: Direction
    tcp_cb: bool
    lookup: bool
    data: Optional[str]
    sends: Optional[str]
    listed: bool


UNLISTED: SiteSpec = {
    "header": "none",
    "direction": "none",
    "tcp_cb": False,
    "lookup": False,
    "data": None,
    "sends": None,
    "listed": False,
}


class TypeSpec(TypedDict):
    """A C type: ``kind`` is pointer, signed, unsigned or aggregate; ``size`` in bytes."""

    kind: str
    size: int


class TextSpec(TypedDict, total=False):
    """What a pointer points at, where that is a text (``kernlab.decode.texts``). ``length``: the
    argument that has its length in bytes, where it ends with no NUL."""

    text: Literal["string", "filename", "sockaddr"]
    length: str


class ArgumentSpec(TypeSpec, TextSpec):
    """A parameter, and the register that holds it at the function's first instruction."""

    name: str
    register: str


class PointerSpec(TypedDict):
    """The name that stands for an object at the place. ``hop``: the name only leads there
    (``struct sk_buff **``), and the pointer lies so many bytes from what it points at."""

    name: str
    hop: Optional[int]


class ProbeSpec(TypedDict):
    """A probe. ``probe`` is its name, ``func``, ``file`` (relative to the source tree) and
    ``line`` are where it is. ``entry``: it is a function's first instruction, where ``args`` are
    in registers and ``returns`` is the type of the result (None for void); elsewhere there are
    only variables that GDB finds. ``show``: names of values and their C expressions."""

    probe: str
    func: str
    file: str
    line: int
    address: int
    entry: bool
    skb: Optional[PointerSpec]
    sock: Optional[PointerSpec]
    site: SiteSpec
    args: List[ArgumentSpec]
    returns: Optional[TypeSpec]
    show: List[Tuple[str, str]]


def position(probe: ProbeSpec) -> Dict[str, Any]:
    """Where a probe is, as an event keeps it (``site``)."""
    return {"func": probe["func"], "file": probe["file"], "line": probe["line"]}
