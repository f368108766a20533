"""Rounds of a race on one booted machine, forced or natural."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernlab.debugger.vcpus import Vcpus
from kernlab.errors import BadInput, MachineFailed, WeFailed
from kernlab.guest.build import program
from kernlab.image.model import Image
from kernlab.kernel.model import Kernel
from kernlab.leg.run import Run, Setup, bring, trouble
from kernlab.pipeline import MachineOptions, machine_for, symbols_for, wait_ready
from kernlab.progress import Reporter
from kernlab.race.director import Director
from kernlab.race.model import Ending, Race
from kernlab.race.stage import LOCKS, Stage, stage
from kernlab.record.leg import Leg, LegDir, load, write_json
from kernlab.record.rundir import RunDir
from kernlab.symbols import sites
from kernlab.symbols.kernel import KernelSymbols
from kernlab.verdict.judge import judge
from kernlab.vm.machine import Machine

RACE_FILE = "race.yaml"
ROUND_FILE = "round.json"
_TRANSFER = "httpwl"  # what shows that the guest lives on
# A second after boot the kernel changes from tsc-early to tsc, for which every vCPU has to come
# to stop_machine() (kernel/time/timekeeping.c, timekeeping_notify()): nobody may stand then.
_CALM = ("cd /sys/devices/system/clocksource/clocksource0; "
         "for turn in $(seq 50); do "
         "[ $(cat current_clocksource) = tsc-early ] || exit 0; sleep 0.1; done")  # fmt: skip
_CALM_LIMIT = 20.0
# A round that did not go as written says nothing of the kernel: it is done again, but not
# for ever.
_AGAIN = ("wrong actor", "gdb died", "not begun", "stop_machine")
_SICK = re.compile(
    "rcu: INFO|detected stall|soft lockup|hung_task|BUG: |Oops: |general protection fault"
)


@dataclass
class RoundResult:
    """How a round ended. ``ending`` is one of the race's, or None with a ``trouble``."""

    number: int
    directory: LegDir
    ending: Ending | None = None
    trouble: str = ""
    said: str = ""
    reached: list[str] = field(default_factory=list)

    def keep(self) -> None:
        """Note it beside the rest of the round's record."""
        self.directory.path.mkdir(parents=True, exist_ok=True)
        write_json(self.directory.path / ROUND_FILE, {
            "round": self.number, "ending": self.ending.id if self.ending else None,
            "trouble": self.trouble, "said": self.said, "reached": self.reached,
        })  # fmt: skip


@dataclass
class RaceResult:
    """All rounds, those done again, and whether the guest lives on afterwards."""

    id: str
    race: Race
    rounds: list[RoundResult] = field(default_factory=list)
    again: list[RoundResult] = field(default_factory=list)
    health: str | None = None  # what is wrong with the guest; None: not looked at yet

    @property
    def counts(self) -> dict[str, int]:
        """Endings and how often each came, troubles among them."""
        found: dict[str, int] = {}
        for one in self.rounds:
            key = one.ending.id if one.ending else one.trouble or "unknown"
            found[key] = found.get(key, 0) + 1
        return found

    @property
    def healthy(self) -> bool:
        return self.health == ""

    @property
    def fired(self) -> int:
        return sum(one.ending is not None and one.ending.fired for one in self.rounds)

    @property
    def definite(self) -> bool:
        """Whether every round came to one of the race's endings, and the guest lives."""
        return self.healthy and all(one.ending is not None for one in self.rounds)


OnRound = Callable[[RoundResult, bool], None]  # the round, whether it is done again


def _setup(race: Race, args: Sequence[str], name: str) -> Setup:
    """A race's program as a run."""
    return Setup(
        name=name, program=_program(race), args=tuple(args), sysctl=dict(race.sysctl),
        setup=tuple(race.setup), topology=race.topology, timeout=race.timeout,
    )  # fmt: skip


def _program(race: Race) -> str:
    return race.program if race.program.endswith(".c") else f"races/{race.program}"


def run_race(
    name: str,
    race: Race,
    path: Path,
    kernel: Kernel,
    image: Image,
    options: MachineOptions,
    run: RunDir,
    report: Reporter,
    on_round: OnRound,
    times: int = 1,
) -> RaceResult:
    """Force it ``times`` times. Raises ``BadInput`` before anything boots for a place that
    the kernel does not have."""
    if options.cpus != 2:
        raise BadInput(f"--cpus {options.cpus}: a race has two vCPUs", "", "--cpus 2")
    symbols = symbols_for(kernel)
    found = stage(race, symbols)
    bring({_program(race): path.parent}, run.share, report)
    shutil.copy2(program(_TRANSFER, report), run.share / _TRANSFER)
    _keep_file(run, name, path)
    result = RaceResult(name, race)
    with ExitStack() as stack:
        machine = stack.enter_context(machine_for(run, kernel, image, options, report))
        floor = _Floor(race, found, symbols, machine, run)
        stack.callback(floor.close)
        floor.prepare()
        wait_ready(machine, report)
        machine.channel.run(_CALM_LIMIT, ["sh", "-c", _CALM])
        floor.open()
        while len(result.rounds) < times:
            number = len(result.rounds) + len(result.again) + 1
            one = floor.round(name, number)
            one.keep()
            repeat = one.trouble in _AGAIN and len(result.again) < times + 5
            (result.again if repeat else result.rounds).append(one)
            on_round(one, repeat)
        floor.close()
        result.health = _health(machine)
    return result


def _keep_file(run: RunDir, name: str, path: Path) -> None:
    directory = run.path / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RACE_FILE).write_bytes(path.read_bytes())


class _Floor:
    """GDB on the machine; a new one when it dies."""

    def __init__(self, race: Race, found: Stage, symbols: KernelSymbols, machine: Machine,
                 run: RunDir) -> None:  # fmt: skip
        self._race = race
        self._stage = found
        self._symbols = symbols
        self._machine = machine
        self._run = run
        self._vcpus: Vcpus | None = None
        self._director: Director | None = None

    def prepare(self) -> None:
        plan = {
            "layout": self._symbols.layout(), "orc": str(self._symbols.orc()), "stack": 64,
            "locks": list(LOCKS),
            "sites": {name: row.model_dump() for name, row in sites.table().sites.items()},
        }  # fmt: skip
        vmlinux = self._symbols.files.vmlinux
        self._vcpus = Vcpus(vmlinux, self._run.gdb_log, plan, self._machine.sockets)
        self._vcpus.prepare()

    def open(self, stale: Sequence[int] = ()) -> None:
        assert self._vcpus is not None
        self._vcpus.attach(self._machine.gdb_socket, stale)
        self._director = Director(self._race, self._stage, self._vcpus, self._symbols)
        self._director.start()

    def round(self, name: str, number: int) -> RoundResult:
        """One round, judged. Raises ``MachineFailed`` when the machine is lost."""
        assert self._director is not None
        directory = LegDir(self._run.path / name / f"round-{number:03}")
        self._director.begin()
        setup = _setup(self._race, self._race.args, name)
        one = Run(setup, self._machine, self._run.share, directory, self._director, _deaf)
        try:
            one.run()
        except WeFailed as error:
            if self._machine.child.poll() is not None:
                raise self._machine.lost() from error
            told = self._director.round
            self._renew()
            return RoundResult(number, directory, trouble=told.trouble or "gdb died",
                               said=told.said or error.why)  # fmt: skip
        told = self._director.round
        failed = trouble(one.status, one.said)
        result = RoundResult(number, directory, trouble=told.trouble, said=told.said,
                             reached=list(map(self._stage.named, told.reached)))  # fmt: skip
        if not told.trouble and failed:
            result.trouble, result.said = "program failed", failed
        elif not told.trouble and not told.begun and not told.reached:
            result.trouble, result.said = "not begun", "no actor came to its mark"
        if not result.trouble:
            result.ending = ending(self._race, load(directory))
        return result

    def _renew(self) -> None:
        """GDB is gone and the guest stands: QEMU's stub takes another one. The breakpoints of
        the dead one are still planted there."""
        self.close()
        self.prepare()
        spots = [*self._stage.spots.values(),
                 *(spot for row in self._stage.waits.values() for spot in row)]  # fmt: skip
        self.open([address for spot in spots for address in spot.addresses])

    def close(self) -> None:
        if self._vcpus is not None:
            with suppress(WeFailed):
                self._vcpus.close()
            self._vcpus = None


def _deaf(kind: str, text: str = "", value: str = "", event: dict[str, Any] | None = None) -> None:
    """A round's story is in its record."""


def ending(race: Race, leg: Leg) -> Ending | None:
    """The first ending whose predicates all hold."""
    for one in race.endings:
        if all(line.holds for line in judge(one.when, leg)):
            return one
    return None


def natural(
    name: str,
    race: Race,
    path: Path,
    kernel: Kernel,
    image: Image,
    options: MachineOptions,
    run: RunDir,
    report: Reporter,
) -> Leg:
    """The same program unforced, many tries in one run; what it got. Raises ``BadInput``
    where the race has no such run."""
    if race.natural_args is None:
        raise BadInput(f"{name} has no natural run", "its file has no natural_args",
                       f"kernlab race run {name}")  # fmt: skip
    bring({_program(race): path.parent}, run.share, report)
    _keep_file(run, name, path)
    with machine_for(run, kernel, image, options, report) as machine:
        wait_ready(machine, report)
        directory = LegDir(run.path / name / "natural")
        setup = _setup(race, race.natural_args, name)
        one = Run(setup, machine, run.share, directory, None, _deaf)
        one.run()
        failed = trouble(one.status, one.said)
        if failed:
            raise MachineFailed(f"{name}: {failed}", "", "read console.log in the run directory")
    return load(directory)


def _health(machine: Machine) -> str:
    """What is wrong with the guest after the last release; empty when it lives: a transfer
    over TCP succeeds on both vCPUs, and its log has no complaint."""
    script = "for mask in 1 2; do busybox taskset $mask /mnt/share/httpwl -n 1 || exit 1; done"
    try:
        said = machine.channel.run(60, ["sh", "-c", script])
        log = machine.channel.run(20, ["busybox", "dmesg"]).text
    except (MachineFailed, TimeoutError) as error:
        return f"it no longer answers: {error}"
    if said.returncode:
        return f"a transfer failed: {said.text}{said.stderr.decode('utf-8', 'replace')}".strip()
    sick = _SICK.search(log)
    return f"its log says: {sick.group()}" if sick else ""
