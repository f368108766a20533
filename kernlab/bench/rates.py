"""Events per second: the same guest, the same load, one way after the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernlab.bench.model import Comparison, contender
from kernlab.bench.remote import rate
from kernlab.errors import MachineFailed, WeFailed
from kernlab.kernel.model import Kernel
from kernlab.pipeline import Setting, machine_for, symbols_for, wait_ready
from kernlab.process import need, run
from kernlab.progress import Finished, Started
from kernlab.symbols.kernel import KernelSymbols
from kernlab.trace import workloads
from kernlab.trace.engines.gdb import KIND, GdbEngine
from kernlab.trace.plan import make
from kernlab.trace.request import TraceRequest
from kernlab.vm.machine import Machine

_FUNCTION = "tcp_v4_rcv"
_LIMIT = 300.0

# What a user would write by hand: stop, show the stack and the skb, go on.
_PLAIN = """
set pagination off
set confirm off
set auto-load off
target remote {socket}
break {function}
python import time
continue
python started = time.monotonic()
set $i = 0
while $i < {events}
  bt 16
  p *skb
  continue
  set $i = $i + 1
end
python print("kernlab-rate", {events} / (time.monotonic() - started))
delete
detach
"""


def measure(setting: Setting, rounds: int, events: int) -> Comparison:
    """Ways to stop at tcp_v4_rcv, alternating on one guest under ``bulk``."""
    kernel, report = setting.kernel, setting.report
    symbols = symbols_for(kernel)
    row = workloads.find("bulk")
    workloads.place(row, setting.run.share, report)
    (function,) = symbols.functions([_FUNCTION])
    head = symbols.layout()["structs"]["sk_buff"]["members"]["head"][0]  # type: ignore[index]
    plain: list[float] = []
    floor: list[float] = []
    ours: list[float] = []
    with machine_for(setting, KIND.needs) as machine:
        wait_ready(machine, report)
        with workloads.running(row, machine, endless=True):
            for number in range(1, rounds + 1):
                stage = f"events, round {number} of {rounds}"
                report(Started(stage))
                plain.append(_plain(kernel, machine, events))
                floor.append(rate(machine.gdb_socket, function.address, head, events, _LIMIT))
                ours.append(_ours(symbols, machine, events * 4))
                figures = f"{plain[-1]:.0f}/s, {floor[-1]:.0f}/s, {ours[-1]:.0f}/s"
                report(Finished(stage, figures))
    return Comparison(
        "events at tcp_v4_rcv",
        "1/s",
        (
            contender("plain GDB command file (bt 16, p *skb, continue)", plain),
            contender("bare remote protocol, nothing decoded", floor),
            contender("engine gdb (packet, sock, task, full stack)", ours),
        ),
    )


def _plain(kernel: Kernel, machine: Machine, events: int) -> float:
    script = _PLAIN.format(socket=machine.gdb_socket, function=_FUNCTION, events=events)
    with _file(script) as path:
        gdb = need("gdb", "is measured", "gdb")
        said = run(
            _LIMIT, [gdb, "-nx", "-q", "-batch", "-x", str(path), str(kernel.vmlinux)], check=False
        )
    for line in said.text.splitlines():
        if line.startswith("kernlab-rate"):
            return float(line.split()[1])
    raise WeFailed("the plain GDB run printed no rate", said.text[-800:], "kernlab bench")


@contextmanager
def _file(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
        path = Path(scratch, "plain.gdb")
        path.write_text(text)
        yield path


def _ours(symbols: KernelSymbols, machine: Machine, events: int) -> float:
    plan = make(TraceRequest((_FUNCTION,), count=events), symbols)
    log = machine.spec.console_log.with_name("gdb.log")
    with GdbEngine(plan, symbols, log, machine.sockets) as engine:
        engine.prepare()
        engine.arm(machine)
        count, first, last = 0, 0.0, 0.0
        deadline = time.monotonic() + _LIMIT
        while count < events:
            for _ in engine.events(0.2):
                count += 1
                last = time.monotonic()
                first = first or last
            if time.monotonic() > deadline or machine.child.poll() is not None:
                raise MachineFailed(f"only {count} of {events} events came", "", "kernlab bench")
        engine.finish()
    return (count - 1) / (last - first)
