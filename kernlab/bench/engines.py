"""The engines side by side: the same guest, the same load, packet and stack of each event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kernlab.bench.model import Comparison, contender
from kernlab.errors import MachineFailed
from kernlab.pipeline import Setting, machine_for, symbols_for, wait_ready
from kernlab.progress import Finished, Said, Started
from kernlab.trace import workloads
from kernlab.trace.choice import ENGINES
from kernlab.trace.engine import Engine, Kind
from kernlab.trace.plan import Plan, make
from kernlab.trace.request import TraceRequest
from kernlab.vm.machine import Machine

_FUNCTION = "tcp_v4_rcv"
_LOAD = "bulk-small"  # in large segments a guest under TCG copies bytes most of the time
_LIMIT = 300.0
# Bytes of a transfer that takes about a second without a probe; the engine that stops the
# guest gets a hundredth.
_BYTES = 400_000_000
_FEW = _BYTES // 100


@dataclass(frozen=True)
class _Rate:
    """Events recorded per second, and what was lost of them."""

    per_second: float
    decoded: float  # per second, when the time to decode the rest is counted, too
    lost: int


class Bench:
    """One booted guest with every engine's needs in its share."""

    def __init__(self, setting: Setting) -> None:
        kernel, directory, report = setting.kernel, setting.run, setting.report
        self._symbols = symbols_for(kernel)
        self._directory = directory
        self._plans: dict[str, Plan] = {}
        for kind in ENGINES.values():
            plan = make(TraceRequest((_FUNCTION,)), self._symbols)
            kind.bring(plan, kernel, self._symbols, directory.share, report)
            self._plans[kind.name] = plan

    @contextmanager
    def armed(self, kind: Kind, machine: Machine) -> Iterator[Engine]:
        """The engine with its probe set while nothing runs; removed so, too."""
        plan = self._plans[kind.name]
        with kind.open(plan, self._symbols, machine, self._directory) as engine:
            engine.prepare()
            engine.arm(machine)
            yield engine
            engine.remove()

    def rate(self, kind: Kind, machine: Machine, seconds: float) -> _Rate:
        """The rate under a load without end, over ``seconds``. An engine may decode a part
        of what it recorded later; how long that took is told apart."""
        count, first, last = 0, 0.0, 0.0
        with self.armed(kind, machine) as engine:
            with workloads.running(workloads.find(_LOAD), machine, endless=True):
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline:
                    for _ in engine.events(0.2):
                        count += 1
                        first = first or time.monotonic()
                last = time.monotonic()
                counted = engine.finish()
            count += sum(1 for _ in engine.drain())
            drained = time.monotonic() - last
        if count < 2:
            raise MachineFailed(f"engine {kind.name}: {count} events came", "", "kernlab bench")
        lost = sum(counted.lost.values())
        return _Rate(count / (last - first), count / (last - first + drained), lost)

    def transfer(self, kind: Kind | None, machine: Machine) -> float:
        """MB per second of ``bulk`` with a probe on each segment, or with none."""
        if kind is None:
            return _bulk(machine, _BYTES, None)
        with self.armed(kind, machine) as engine:
            speed = _bulk(machine, _FEW if kind.name == "gdb" else _BYTES, engine)
            engine.finish()
            for _ in engine.drain():
                pass
        return speed


def _bulk(machine: Machine, count: int, engine: Engine | None) -> float:
    started = time.monotonic()
    work = machine.channel.start(["/mnt/share/bulk", "-n", str(count)])
    while not work.done():
        if engine is None:
            work.wait(_LIMIT)
            break
        for _ in engine.events(0.05):
            pass
        if time.monotonic() - started > _LIMIT:
            raise MachineFailed(
                f"the bulk transfer took more than {_LIMIT:g} s", "", "kernlab bench"
            )
    return count / (time.monotonic() - started) / 1e6


def measure(setting: Setting, rounds: int, seconds: float) -> list[Comparison]:
    """Events per second of each engine, and what one probe costs a transfer."""
    report = setting.report
    row = workloads.find("bulk")
    workloads.place(row, setting.run.share, report)
    bench = Bench(setting)
    kinds = list(ENGINES.values())
    rates: dict[str, list[_Rate]] = {kind.name: [] for kind in kinds}
    speeds: dict[str, list[float]] = {name: [] for name in ("none", *rates)}
    with machine_for(setting, ENGINES["gdb"].needs) as machine:
        wait_ready(machine, report)
        for number in range(1, rounds + 1):
            stage = f"engines, round {number} of {rounds}"
            report(Started(stage))
            for kind in kinds:
                rates[kind.name].append(bench.rate(kind, machine, seconds))
            speeds["none"].append(bench.transfer(None, machine))
            for kind in kinds:
                speeds[kind.name].append(bench.transfer(kind, machine))
            figures = (f"{name} {found[-1].per_second:.0f}/s" for name, found in rates.items())
            report(Finished(stage, ", ".join(figures)))
    for name, found in rates.items():
        lost = sum(rate.lost for rate in found)
        if lost:
            report(Said(f"engine {name} lost {lost} events"))
    return [
        Comparison(
            f"events recorded under {_LOAD}, with packet and stack",
            "1/s",
            tuple(
                contender(f"engine {name}{_loss(found)}", [rate.per_second for rate in found])
                for name, found in rates.items()
            ),
        ),
        Comparison(
            "the same, until the last is decoded",
            "1/s",
            tuple(
                contender(f"engine {name}", [rate.decoded for rate in found])
                for name, found in rates.items()
            ),
        ),
        Comparison(
            "bulk transfer over loopback, a probe on tcp_v4_rcv",
            "MB/s",
            tuple(
                contender("no probe" if name == "none" else f"engine {name}", found)
                for name, found in speeds.items()
            ),
        ),
    ]


def _loss(found: list[_Rate]) -> str:
    return f" ({sum(rate.lost for rate in found)} lost)"
