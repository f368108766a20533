"""A race's program unforced, as fast as it goes: how often it fires, how long its window is.

The window is measured in the same kernel by two kprobe events of its own tracer, in a run
apart from the one that is counted: a probe makes the window longer (an int3 each).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from statistics import median

from kernlab.config.paths import arriving_file
from kernlab.decode.arch import ARCH
from kernlab.errors import BadInput, MachineFailed
from kernlab.leg.run import Run, deaf, trouble
from kernlab.lessons.race import Natural
from kernlab.pipeline import booted, symbols_for
from kernlab.race.floor import Scene
from kernlab.race.stage import Stage, stage
from kernlab.record.counters import named
from kernlab.record.leg import Leg, LegDir, load
from kernlab.vm.machine import Machine

_TRACING = "/sys/kernel/tracing"
# $1, $2: addresses. Of the tracer's clocks only this one is not rounded to microseconds in its
# text (Documentation/trace/ftrace.rst, kernel/trace/trace_output.c).
_ARM = f"""
cd {_TRACING} && mkdir instances/window || exit 1
echo "p:window/open $1" >kprobe_events && echo "p:window/shut $2" >>kprobe_events || exit 1
cd instances/window && echo {ARCH.trace_clock} >trace_clock && echo 8192 >buffer_size_kb || exit 1
echo 1 >events/window/enable
"""
_READ = f"""
cd {_TRACING}/instances/window && echo 0 >events/window/enable && cat trace
cd {_TRACING} && rmdir instances/window; echo >kprobe_events
grep "cpu MHz" /proc/cpuinfo
"""
_LIMIT = 60.0
_HIT = re.compile(
    r"^\s*\S.*?-(?P<pid>\d+)\s+\[(?P<cpu>\d+)\].*?"
    r"(?P<at>\d+): (?P<probe>open|shut):"
)
_MHZ = re.compile(r"cpu MHz\s*: (?P<mhz>[\d.]+)")  # that of its TSC, without frequency scaling


_SECONDS = 0.2  # of one try, on a slow host


@dataclass(frozen=True)
class Found:
    """What a natural run found. ``window``: shortest and median in ns, with two probes in
    it, of so many ``windows``; None where it was not measured."""

    tries: int
    fired: int
    got: dict[str, str]
    window: tuple[int, int] | None = None
    windows: int = 0


def natural(scene: Scene, tries: int | None = None) -> Found:
    """Run it. Raises ``BadInput`` where the race has no such run, ``MachineFailed``."""
    wanted = scene.race.natural
    if wanted is None:
        raise BadInput(
            f"{scene.id} cannot be run unforced",
            "its file has no 'natural'",
            f"kernlab race run {scene.id}",
        )
    tries = tries or wanted.tries
    places = wanted.window
    found = stage(scene.race, symbols_for(scene.setting.kernel), places) if places else None
    scene.bring()
    with booted(scene.setting) as machine:
        leg = _leg(scene, machine, tries, "natural")
        lengths = _window(scene, machine, wanted, found, tries) if found is not None else []
    window = (min(lengths), int(median(lengths))) if lengths else None
    return Found(tries, _fired(wanted, leg, tries), leg.got, window, len(lengths))


def _leg(scene: Scene, machine: Machine, tries: int, name: str) -> Leg:
    directory = LegDir(scene.run.path / scene.id / name)
    setup = scene.setup([*scene.race.args, "--natural", str(tries)])
    setup = replace(setup, timeout=setup.timeout + math.ceil(tries * _SECONDS))
    one = Run(setup, machine, scene.run.share, directory, None, deaf)
    one.run()
    failed = trouble(one.status, one.said)
    if failed:
        raise MachineFailed(f"{scene.id}: {failed}", "", "read console.log in the run directory")
    return load(directory)


def _fired(wanted: Natural, leg: Leg, tries: int) -> int:
    fired = wanted.fired
    if fired.got is not None:
        return int(leg.got.get(fired.got, 0))
    moved = named(leg.counters, fired.counter or "") or 0
    return max(0, moved - tries) if fired.beyond_tries else moved


def _window(scene: Scene, machine: Machine, wanted: Natural, found: Stage, tries: int) -> list[int]:
    assert wanted.window is not None
    opens, shuts = (found.spots[place.text()].addresses[0] for place in wanted.window)
    armed = machine.channel.run(_LIMIT, ["sh", "-c", _ARM, "arm", f"0x{opens:x}", f"0x{shuts:x}"])
    if armed.returncode:
        raise MachineFailed(
            "the kernel refuses a probe at an end of the window",
            armed.stderr.decode("utf-8", "replace").strip(),
            "kernlab race show " + scene.id,
        )
    _leg(scene, machine, tries, "window")
    text = machine.channel.run(_LIMIT, ["sh", "-c", _READ]).text
    with arriving_file(scene.run.path / scene.id / "window" / "trace.txt") as temporary:
        temporary.write_text(text, "utf-8")
    return spans(text)


def spans(text: str) -> list[int]:
    """How long each window was, in ns, from the tracer's lines: from ``open`` to the next
    ``shut`` of the same task on the same CPU. Nothing where the kernel does not know how fast
    its TSC goes: on a loaded host it cannot always tell."""
    rate = _MHZ.search(text)
    mhz = float(rate["mhz"]) if rate else 0.0
    open_at: dict[tuple[str, str], int] = {}
    found = []
    for hit in filter(None, map(_HIT.match, text.splitlines())):
        who = (hit["pid"], hit["cpu"])
        if hit["probe"] == "open":
            open_at[who] = int(hit["at"])
        elif who in open_at:
            found.append(int(hit["at"]) - open_at.pop(who))
    return [int(ticks * 1000 / mhz) for ticks in found] if mhz else []
