"""From what a user asks to what an engine can do on one kernel: names → addresses,
argument registers, members. Refuses before anything boots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kernlab.decode import expr
from kernlab.errors import BadInput
from kernlab.symbols import sites
from kernlab.symbols.dwarf import Argument, Function
from kernlab.symbols.kernel import KernelSymbols

# Every structure that begins with sock_common and so can be decoded as a sock.
_SOCKS = ("sock", "tcp_sock", "inet_sock", "inet_connection_sock", "request_sock",
          "inet_timewait_sock", "inet_request_sock", "udp_sock")  # fmt: skip


@dataclass(frozen=True)
class TraceRequest:
    """What was asked for. ``count``: events to stop after; ``timeout`` in seconds;
    ``stack``: frames kept, 0 for none."""

    functions: tuple[str, ...]
    where: str = ""
    count: int | None = None
    timeout: float = 60.0
    stack: int = 64
    workload: str = "http"


@dataclass(frozen=True)
class Probe:
    """One entry of one function. ``skb`` and ``sock`` are the registers that hold them."""

    name: str
    function: Function
    site: sites.SiteRow
    skb: str | None
    sock: str | None

    def as_data(self) -> dict[str, Any]:
        """For the engine's inner side."""
        entry = self.function
        return {
            "probe": self.name, "func": entry.func, "file": entry.file, "line": entry.line,
            "address": entry.address, "skb": self.skb, "sock": self.sock,
            "site": {"header": self.site.header, "direction": self.site.direction,
                     "tcp_cb": self.site.tcp_cb, "lookup": self.site.lookup},
            "args": [
                {"name": a.name, "register": a.register, "kind": a.kind, "size": a.size}
                for a in entry.args if a.register is not None and a.kind != "aggregate"
            ],
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Probes and filter for one kernel."""

    request: TraceRequest
    probes: tuple[Probe, ...]
    where: expr.Expr | None
    notes: tuple[str, ...] = field(default=())


def parse_where(text: str) -> expr.Expr | None:
    """The filter. Raises ``BadInput`` that points at the place that is wrong."""
    if not text:
        return None
    try:
        return expr.parse(text)
    except expr.ExprError as error:
        marker = " " * (error.column - 1) + "^"
        why = f"  {text}\n  {marker} {error.message}"
        raise BadInput(
            "--where: " + error.message,
            f"{why}\n{error.hint}".rstrip(),
            "--where 'port == 80 and flags has S'",
        ) from error


def check(request: TraceRequest) -> None:
    """What can be refused without a kernel. Raises ``BadInput``."""
    parse_where(request.where)
    if not request.functions:
        raise BadInput("no function to trace", "", "kernlab trace tcp_v4_rcv")
    if request.count is not None and request.count < 1:
        raise BadInput(f"--count {request.count}: at least 1", "", "--count 5")
    if request.timeout <= 0:
        raise BadInput(f"--timeout {request.timeout:g}: seconds, more than 0", "", "--timeout 60")
    if request.stack < 0:
        raise BadInput(f"--stack {request.stack}: frames, 0 for none", "", "--stack 16")


def make(request: TraceRequest, symbols: KernelSymbols) -> Plan:
    """The plan for one kernel. Raises ``BadInput`` for a function it does not have."""
    check(request)
    table = sites.table().sites
    names = list(dict.fromkeys(request.functions))
    for name in names:
        if not symbols.map.entries(name):
            raise _unknown(name, symbols)
    probes, notes = [], []
    for function in symbols.functions(names):
        row = table.get(function.func, sites.UNLISTED)
        skb = _register(function.args, ("sk_buff",))
        sock = _register(function.args, _SOCKS)
        if skb is not None and function.func not in table:
            notes.append(
                f"{function.func} is not in sites.yaml: which header its skb has is not "
                "known, so only the skb itself is shown"
            )
        if function.symbol != function.func:
            notes.append(f"{function.func} is {function.symbol} in this kernel")
        probes.append(Probe(function.func, function, row, skb, sock))
    found = {probe.function.func for probe in probes}
    for name in names:
        if name not in found:
            raise BadInput(
                f"{name} has no debug info in this kernel",
                "it is written in assembler or generated",
                "choose another function",
            )
    return Plan(request, tuple(probes), parse_where(request.where), tuple(notes))


def _register(arguments: Sequence[Argument], structs: Sequence[str]) -> str | None:
    wanted = {f"struct {name} *" for name in structs}
    for argument in arguments:
        text = argument.type.replace("const ", "")
        if text in wanted and argument.register is not None:
            return argument.register
    return None


def _unknown(name: str, symbols: KernelSymbols) -> BadInput:
    callers = symbols.dwarf.inlined_into(name) if name.isidentifier() else []
    if callers:
        return BadInput(
            f"{name} is inlined everywhere in this kernel, so it has no entry of its own",
            f"its callers: {', '.join(callers[:8])}",
            f"kernlab trace {callers[0]}",
        )
    close = symbols.map.near(name)
    return BadInput(
        f"this kernel has no function '{name}'",
        f"near names: {', '.join(close)}" if close else "",
        f"kernlab trace {close[0]}" if close else "kernlab trace tcp_v4_rcv",
    )
