"""One machine on which rounds of a schedule are run, one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kernlab.debugger.vcpus import Vcpus
from kernlab.decode.plans import HoldPlan
from kernlab.errors import BadInput, MachineFailed, WeFailed
from kernlab.guest.build import program
from kernlab.leg.run import Run, Setup, bring, deaf, trouble
from kernlab.lessons import locks
from kernlab.lessons.race import RACE_FILE, ROUND_FILE, Ending, Race, Step, program_of
from kernlab.pipeline import Setting, booted, symbols_for
from kernlab.race.director import Director
from kernlab.race.stage import Stage, stage
from kernlab.record.leg import Leg, LegDir, load, write_json
from kernlab.record.rundir import RunDir
from kernlab.symbols import sites
from kernlab.symbols.kernel import KernelSymbols
from kernlab.verdict.judge import judge
from kernlab.vm.machine import Machine
from kernlab.vm.mechanisms import BOOT, BREAK, HOLD, STOP
from kernlab.vm.share import put

# A second after boot the kernel changes from tsc-early to tsc, for which every vCPU has to come
# to stop_machine() (kernel/time/timekeeping.c, timekeeping_notify()): nobody may stand then.
_CALM = (
    "cd /sys/devices/system/clocksource/clocksource0; "
    "for turn in $(seq 50); do "
    "[ $(cat current_clocksource) = tsc-early ] || exit 0; sleep 0.1; done"
)
# The network namespace of the round before is taken down by a kworker (net/core/net_namespace.c,
# cleanup_net()), which waits for answers of every vCPU, and with which locks held an actor may
# have to wait. A worker's name ends with + and its workqueue while it works (kernel/
# workqueue.c, wq_worker_comm()).
_CLEAN = "for turn in $(seq 300); do grep -qs +netns /proc/[0-9]*/comm || exit 0; done"
_CALM_LIMIT = 20.0
_TRANSFER = "httpwl"  # what shows that the guest lives on
_SICK = re.compile(
    "rcu: INFO|detected stall|soft lockup|hung_task|BUG: |Oops: |general protection fault"
)


@dataclass(frozen=True)
class Scene:
    """Where a race is run: its file, and what it is run on."""

    id: str
    race: Race
    path: Path
    setting: Setting

    @property
    def run(self) -> RunDir:
        return self.setting.run

    def setup(self, args: Sequence[str]) -> Setup:
        """The program as a run."""
        race = self.race
        return Setup(
            name=self.id,
            program=program_of(self.race),
            args=tuple(args),
            sysctl=dict(race.sysctl),
            setup=tuple(race.setup),
            topology=race.topology,
            timeout=race.timeout,
        )

    def bring(self) -> None:
        """What the guest needs into the share, and the race's file into the record."""
        bring({program_of(self.race): self.path.parent}, self.run.share, self.setting.report)
        directory = self.run.path / self.id
        directory.mkdir(parents=True, exist_ok=True)
        (directory / RACE_FILE).write_bytes(self.path.read_bytes())


@dataclass
class RoundResult:
    """How a round ended. ``ending`` is one of the race's, or None; then ``trouble`` says why
    it did not go as written, or is empty: it went so, and came to no ending of the file."""

    number: int
    directory: LegDir
    ending: Ending | None = None
    trouble: str = ""
    said: str = ""
    reached: list[str] = field(default_factory=list)

    def keep(self, again: bool = False) -> None:
        """Note it beside the rest of the round's record. ``again``: it does not count."""
        self.directory.path.mkdir(parents=True, exist_ok=True)
        write_json(
            self.directory.path / ROUND_FILE,
            {
                "round": self.number,
                "ending": self.ending.id if self.ending else None,
                "trouble": self.trouble,
                "said": self.said,
                "reached": self.reached,
                "again": again,
            },
        )


class Floor:
    """The booted machine, and GDB on it; a new GDB when one dies."""

    def __init__(
        self, scene: Scene, found: Stage, symbols: KernelSymbols, machine: Machine
    ) -> None:
        self._scene = scene
        self._stage = found
        self._symbols = symbols
        self._machine = machine
        self._vcpus: Vcpus | None = None
        self._director: Director | None = None

    def prepare(self) -> None:
        """Start GDB, which needs no guest yet."""
        plan: HoldPlan = {
            "layout": self._symbols.layout(),
            "orc": str(self._symbols.orc()),
            "stack": 64,
            "locks": [
                {"table": row.id, "first": one.first, "size": one.size}
                for row in locks.table().tables
                for one in row.at
            ],
            "sites": sites.specs(),
        }
        vmlinux = self._symbols.files.vmlinux
        self._vcpus = Vcpus(vmlinux, self._scene.run.gdb_log, plan, self._machine.sockets)
        self._vcpus.prepare()

    def open(self) -> None:
        """Attach it, and let the guest run."""
        assert self._vcpus is not None
        self._vcpus.attach(self._machine.gdb_socket, self._scene.setting.options.cpus)
        self._director = Director(self._scene.race, self._stage, self._vcpus, self._symbols)
        self._director.start()

    def round(self, number: int, order: Sequence[Step] = ()) -> RoundResult:
        """One round, judged; with its steps, or with those of an ``order`` that is explored.
        Raises ``MachineFailed`` when the machine is lost."""
        assert self._director is not None
        scene = self._scene
        directory = LegDir(scene.run.path / scene.id / f"round-{number:03}")
        self._machine.channel.run(_CALM_LIMIT, ["sh", "-c", _CLEAN])
        self._director.begin(order)
        one = Run(
            scene.setup(scene.race.args),
            self._machine,
            scene.run.share,
            directory,
            self._director,
            deaf,
        )
        try:
            one.run()
        except WeFailed as error:
            if self._machine.child.poll() is not None:
                raise self._machine.lost() from error
            told = self._director.round
            self._renew()
            return RoundResult(
                number, directory, trouble=told.trouble or "gdb died", said=told.said or error.why
            )
        told = self._director.round
        failed = trouble(one.status, one.said)
        result = RoundResult(
            number,
            directory,
            trouble=told.trouble,
            said=told.said,
            reached=list(map(self._stage.named, told.reached)),
        )
        if not told.trouble and failed:
            result.trouble, result.said = "program failed", failed
        elif not told.trouble and not told.begun and not told.reached:
            result.trouble, result.said = "not begun", "no actor reached its mark"
        if not result.trouble:
            result.ending = ending(scene.race, load(directory))
        return result

    def health(self) -> str:
        """What is wrong with the guest after the last release; empty when it lives: a transfer
        over TCP succeeds on both vCPUs, and its log has no complaint. GDB is ended first."""
        self.close()
        script = "for mask in 1 2; do busybox taskset $mask /mnt/share/httpwl -n 1 || exit 1; done"
        try:
            said = self._machine.channel.run(60, ["sh", "-c", script])
            log = self._machine.channel.run(20, ["busybox", "dmesg"]).text
        except (MachineFailed, TimeoutError) as error:
            return f"the guest no longer answers: {error}"
        if said.returncode:
            return f"a transfer failed: {said.text}{said.stderr.decode('utf-8', 'replace')}".strip()
        sick = _SICK.search(log)
        return f"its log says: {sick.group()}" if sick else ""

    def _renew(self) -> None:
        """GDB is gone and the guest goes on or stands: QEMU's stub takes another one."""
        self.close()
        self.prepare()
        self.open()

    def close(self) -> None:
        """End GDB; the guest goes on."""
        if self._vcpus is not None:
            with suppress(WeFailed):
                self._vcpus.close()
            self._vcpus = None


@contextmanager
def floor(scene: Scene) -> Iterator[Floor]:
    """Boot, attach, and end both with the block. Raises ``BadInput`` before anything boots
    for a place that the kernel does not have."""
    setting = scene.setting
    cpus = setting.options.cpus
    if cpus != 2:
        raise BadInput(f"--cpus {cpus}: a race needs two vCPUs", "", "--cpus 2")
    symbols = symbols_for(setting.kernel)
    found = stage(scene.race, symbols)
    scene.bring()
    put(program(_TRANSFER, setting.report), setting.run.share)
    opened: list[Floor] = []

    def beside(machine: Machine, stack: ExitStack) -> None:
        opened[:] = [Floor(scene, found, symbols, machine)]
        stack.callback(opened[0].close)
        opened[0].prepare()

    with booted(setting, (BOOT, BREAK, STOP, HOLD), beside) as machine:
        machine.channel.run(_CALM_LIMIT, ["sh", "-c", _CALM])
        opened[0].open()
        yield opened[0]


def ending(race: Race, leg: Leg) -> Ending | None:
    """The first ending whose predicates all hold."""
    for one in race.endings:
        lines = judge(one.when, leg)
        if lines and all(line.holds for line in lines):
            return one
    return None
