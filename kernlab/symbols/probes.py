"""Makes a probe of a place: which name there is the skb, which the sock, what is valid."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kernlab.decode.layout import Layout
from kernlab.decode.place import ArgumentSpec, PointerSpec, ProbeSpec
from kernlab.decode.socks import SOCKS
from kernlab.symbols import sites
from kernlab.symbols.dwarf import Argument, Function, Line
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.pointed import points_at


@dataclass(frozen=True)
class Probe:
    """One place. ``skb`` and ``sock`` are the names there that stand for them. A name may be
    one that only leads there (``struct sk_buff **``, ``struct socket *``): a hop is then where
    the pointer lies, in bytes from what the name points at."""

    name: str
    place: Function | Line
    site: sites.SiteRow = sites.UNLISTED
    skb: str | None = None
    sock: str | None = None
    show: tuple[tuple[str, str], ...] = ()
    skb_hop: int | None = None
    sock_hop: int | None = None

    @cached_property
    def spec(self) -> ProbeSpec:
        """The probe as the engines are told it."""
        place = self.place
        entry = isinstance(place, Function)
        result = place.returns if isinstance(place, Function) else None
        return {
            "probe": self.name,
            "func": place.func,
            "file": place.file,
            "line": place.line,
            "address": place.address,
            "entry": entry,
            "skb": _pointer(self.skb, self.skb_hop),
            "sock": _pointer(self.sock, self.sock_hop),
            "site": sites.spec(self.site),
            "args": _arguments(place) if isinstance(place, Function) else [],
            "returns": {"kind": result.kind, "size": result.size} if result else None,
            "show": list(self.show),
        }


def probe_of(
    name: str,
    place: Function | Line,
    table: Mapping[str, sites.SiteRow],
    symbols: KernelSymbols,
    show: tuple[tuple[str, str], ...] = (),
) -> Probe:
    """The probe at a place. ``table``: what is valid at which function; ``show``: names of
    values to read there, each with its C expression."""
    row = table.get(place.func, sites.UNLISTED)
    entry = isinstance(place, Function)
    # __netif_receive_skb_core() has a struct sk_buff ** since c0bbbdc32feb (v5.9).
    skb, skb_hop = _leads(place.args, ("sk_buff",), "sk_buff **", 0, entry)
    if not entry and row.lookup:
        row = row.model_copy(update={"lookup": False})  # a lookup is about to come at the entry
    if row.sock is not None:
        return Probe(name, place, row, skb, row.sock, show, skb_hop)
    behind = None
    if any(argument.type == "struct socket *" for argument in place.args):
        behind = Layout(symbols.layout()).field("socket", "sk")
    sock, sock_hop = _leads(place.args, SOCKS, "socket *", behind[0] if behind else None, entry)
    return Probe(name, place, row, skb, sock, show, skb_hop, sock_hop)


def _pointer(name: str | None, hop: int | None) -> PointerSpec | None:
    return None if name is None else {"name": name, "hop": hop}


def _arguments(place: Function) -> list[ArgumentSpec]:
    return [
        {
            "name": argument.name,
            "register": argument.register,
            "kind": argument.kind,
            "size": argument.size,
            **points_at(place, number),
        }
        for number, argument in enumerate(place.args)
        if argument.register is not None and argument.kind != "aggregate"
    ]


def _leads(
    arguments: Sequence[Argument],
    structs: Collection[str],
    other: str,
    hop: int | None,
    entry: bool,
) -> tuple[str | None, int | None]:
    """The first name that points at one of ``structs``; without one, the first of type
    ``other`` with the hop from there."""
    name = _named(arguments, [f"{struct} *" for struct in structs], entry)
    if name is not None or hop is None:
        return name, None
    name = _named(arguments, [other], entry)
    return name, None if name is None else hop


def _named(arguments: Sequence[Argument], types: Sequence[str], entry: bool) -> str | None:
    """The first name of one of these pointer types; at an entry a register must hold it."""
    wanted = {f"struct {text}" for text in types}
    for argument in arguments:
        text = argument.type.replace("const ", "")
        if text in wanted and (argument.register is not None or not entry):
            return argument.name
    return None
