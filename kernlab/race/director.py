"""Takes a schedule's steps, one after the other, on a guest that stands and runs by turns.

It has the face of an engine (``events``, ``drain``, ``ended``), so that a round is a run of
a guest program like any other; its events are the stops.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernlab.debugger.vcpus import Vcpus
from kernlab.lessons import locks
from kernlab.lessons.locks import WaitRow
from kernlab.lessons.race import Actor, Place, Race, Step
from kernlab.race.locks import Locks
from kernlab.race.stage import Spot, Stage
from kernlab.record.event import VERSION
from kernlab.symbols.kernel import KernelSymbols

# Seconds until every actor must have come to its mark, from the first one on. A kworker that
# waits on that vCPU for an answer of the one that stands (the cleanup of the network namespace
# of the round before) keeps an actor from it: nobody is to blame, and the round is done again.
_MARKS = 5.0


@dataclass
class Round:
    """What the director says of one round. ``trouble``: why it did not go as written
    (``wrong actor``, ``timeout``, ``blocked``); empty when it did."""

    trouble: str = ""
    said: str = ""
    begun: bool = False
    reached: list[str] = field(default_factory=list)


class Director:
    """One guest, one schedule, round after round."""

    def __init__(self, race: Race, stage: Stage, vcpus: Vcpus, symbols: KernelSymbols) -> None:
        self._race = race
        self._stage = stage
        self._vcpus = vcpus
        self._symbolizer = symbols.symbolizer()
        self._locks = Locks(symbols, self._symbolizer, locks.entered(locks.table()))
        self._map = symbols.map
        self._standing: set[str] = set()
        self._pids: dict[str, int] = {}  # of those that stand
        self._steps = list(race.steps)
        self._exploring = False
        self._out: set[str] = set()
        self._at = 0
        self._free = True
        self._at_once = False  # nobody has a mark: the first step begins the round
        self._seq = 0
        self.round = Round()

    # -- an engine's face -------------------------------------------------------

    def start(self) -> None:
        """The guest stands: plant the marks and let it run."""
        self._ready()
        self._vcpus.go("all")

    def begin(self, order: Sequence[Step] = ()) -> None:
        """A round begins: its program is about to be started. With an ``order`` that is
        explored, its steps are taken instead of the race's: each goes on, past stops on the
        way, to the first of its targets, and who has ended or waits for another has none."""
        self.round = Round()
        self._steps = list(order or self._race.steps)
        self._exploring = bool(order)
        self._out = set()  # who has ended or waits, in an order that is explored
        self._standing.clear()
        self._at = 0
        self._free = False
        self._seq = 0
        self._at_once = not self._mark_posts()

    def events(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The stops that come within ``seconds``; each is answered by the next step."""
        if self._at_once:
            self._at_once = False
            self._vcpus.interrupt()
        elif not self._vcpus.stopped(seconds) or not self._marks():
            return
        while not self._free:
            yield from self._step()

    def drain(self) -> Iterator[dict[str, Any]]:
        """Every stop has been told when its step was over."""
        return iter(())

    def ended(self) -> bool:
        return not self._vcpus.alive()

    # -- marks --------------------------------------------------------------------

    def _ready(self) -> None:
        """Nobody stands; whoever comes to its mark will."""
        self._vcpus.post(self._mark_posts())

    def _mark_posts(self) -> list[dict[str, Any]]:
        return [
            {"id": f"mark {name}", "address": address, "cpu": actor.vcpu, "task": name}
            for name, actor in self._race.actors.items()
            if actor.task and actor.mark and name not in self._standing
            for address in self._stage.mark.addresses
        ]

    def _marks(self) -> bool:
        """The guest has stopped: bring every actor to its mark. Whether all stand there."""
        deadline = time.monotonic() + _MARKS
        while True:
            hit = self._vcpus.hit()
            if hit is not None and hit["post"].startswith("mark "):
                name = hit["post"].removeprefix("mark ")
                self._standing.add(name)
                self.round.begun = True
                if not hit["right"]:
                    self._give_up("wrong actor", f"{name} came to its mark on vCPU {hit['cpu']}")
                    return False
            posts = self._mark_posts()
            if self._standing and not posts:
                return True
            if not self._standing:
                self._vcpus.go("all")  # a stop that is no post's
                return False
            self._vcpus.post(posts)
            missing = sorted({post["task"] for post in posts})
            self._vcpus.go(self._race.actors[missing[0]].vcpu)
            if not self._vcpus.stopped(max(0.0, deadline - time.monotonic())):
                self._give_up("not begun", f"{' and '.join(missing)} did not come to the mark")
                return False

    # -- steps ----------------------------------------------------------------------

    def _step(self) -> Iterator[dict[str, Any]]:
        if self._at == len(self._steps):
            self._release()
            return
        step = self._steps[self._at]
        self._at += 1
        if step.actor in self._out:
            return
        if step.release is not None:
            self._release()
            return
        yield from self._take(step)

    def _take(self, step: Step) -> Iterator[dict[str, Any]]:
        name = step.actor
        assert name is not None
        actor = self._race.actors[name]
        posts = [post for target in step.targets for post in self._posts(step, target, name)]
        posts += self._wait_posts(name)
        self._vcpus.post(posts)
        self._standing.discard(name)
        alone = step.run is not None or bool(self._standing)
        self._vcpus.go(actor.vcpu if alone else "all")
        late = not self._vcpus.stopped(step.limit)
        if late:
            self._vcpus.interrupt()
        hit = self._vcpus.hit()  # also of a stop that came while the limit passed
        if hit is None:
            nowhere = Spot("timeout", (), _anywhere("timeout"))
            event = self._event(name, "timeout" if late else "nowhere", nowhere, actor.vcpu)
            yield event
            trouble = "timeout" if late else "wrong actor"
            self._give_up(
                trouble,
                f"step {self._at}: {name} did not come to {_targets(step)} "
                f"in {step.limit:g} s; vCPU {actor.vcpu} is in {_where(event)}",
            )
            return
        self._standing.add(name)
        key: str = hit["post"]
        kind = key.partition(" ")[0]
        waits = kind if kind in self._stage.waits else ""
        spot = self._spot(key)
        event = self._event(name, "blocked" if waits else key, spot, hit["cpu"], waits)
        yield event
        self.round.reached.append("blocked" if waits else key)
        comm = (event.get("task") or {}).get("comm")
        if not hit["right"]:
            self._give_up("wrong actor", f"step {self._at}: {name} stopped on vCPU {hit['cpu']}")
        elif waits and actor.task and comm not in (name, _softirqd(actor)):
            self._give_up("wrong actor", f"step {self._at}: {comm} waits on {name}'s vCPU")
        elif waits == "stop_machine":
            self._give_up(waits, f"step {self._at}: vCPU {hit['cpu']} waits in stop_machine()")
        elif self._exploring and (waits or key == "done"):
            self._out.add(name)
        elif self._exploring and key != _key(step.targets[0]):
            self._at -= 1  # on its way
        elif waits and "blocked" not in step.targets:
            self._give_up(
                "blocked",
                f"step {self._at}: {name} {_wait_text(event)}, and never comes to {_targets(step)}",
            )

    def _posts(self, step: Step, target: str | Place, name: str) -> Iterator[dict[str, Any]]:
        actor = self._race.actors[name]
        # A timer may come on the other vCPU: what its condition tells it by is then seen there.
        who = {
            "cpu": actor.vcpu,
            "task": name if actor.task else None,
            "anywhere": not actor.task and step.when is not None,
            # What an actor sends may be taken in by its vCPU's ksoftirqd (kernel/softirq.c).
            "or_task": _softirqd(actor),
        }
        if target == "blocked":
            return  # always watched for
        if target == "done":
            for address in self._stage.end.addresses:
                yield {"id": "done", "address": address, **who, "or_task": None}
            return
        assert isinstance(target, Place)
        if target.kind == "word":
            yield {
                "id": target.text(),
                "word": target.word,
                "at": actor.vcpu,
                "becomes": target.becomes,
                "when": step.when,
                **who,
            }
        elif target.kind == "returns":
            yield {"id": target.text(), "returns": True, "at": actor.vcpu, **who}
        else:
            for address in self._stage.spots[target.text()].addresses:
                yield {"id": target.text(), "address": address, "when": step.when, **who}

    def _wait_posts(self, name: str) -> list[dict[str, Any]]:
        """Where the actor would wait for one that stands. While nobody stands nobody is
        waited for: a contended lock is then an ordinary thing."""
        if not self._standing - {name}:
            return []
        actor = self._race.actors[name]
        return [
            {
                "id": f"{kind} {spot.name}",
                "address": address,
                "cpu": actor.vcpu,
                # Who sleeps lets others run: only the actor's own sleep is its wait. Who spins
                # has the vCPU, whoever it is.
                "task": name if actor.task and wait.sleeps else None,
                "when": self._whens(wait),
            }
            for kind, spots in self._stage.waits.items()
            for spot in spots
            if (wait := spot.wait) is not None
            for address in spot.addresses
        ]

    def _whens(self, wait: WaitRow) -> list[str]:
        """When a wait is one for somebody who stands: by its owner, where a lock keeps one."""
        if not wait.owner:
            return wait.when
        pids = [self._pids[name] for name in self._standing if name in self._pids]
        return [f"{wait.owner} == {pid}" for pid in pids]

    def _spot(self, key: str) -> Spot:
        if key == "done":
            return self._stage.end
        for kind, spots in self._stage.waits.items():
            for spot in spots:
                if key == f"{kind} {spot.name}":
                    return spot
        return self._stage.spots.get(key) or Spot(key, (), _anywhere(key))

    # -- telling --------------------------------------------------------------------

    def _event(
        self, name: str, reached: str, spot: Spot, cpu: int, waits: str = ""
    ) -> dict[str, Any]:
        data = self._vcpus.look(spot.what, cpu)
        pcs = data.pop("pcs")
        stack = self._symbolizer.stack(
            [(pc, exact) for pc, exact in pcs], entry=bool(spot.addresses)
        )
        known = self._locks.settled(data.pop("locks"), {pc for pc, exact in pcs if exact})
        has = [_told(one) for one in known if one["held"]]
        self._seq += 1
        race: dict[str, Any] = {
            "step": self._at,
            "actor": name,
            "reached": reached,
            "locks": has,
            "source": self._stage.source(stack),
        }
        if waits:
            race["waits"] = self._waits(waits, data, name, spot)
            race["locks"] = [one for one in has if one["addr"] != race["waits"].get("addr")]
        if data.get("task"):
            self._pids[name] = data["task"]["pid"]
        first = stack[0] if stack else {}
        site = {key: first[key] for key in ("func", "file", "line") if key in first}
        return {
            "v": VERSION,
            "seq": self._seq,
            "engine": "gdb",
            **data,
            "probe": reached,
            "site": site or data["site"],
            "host_ns": time.time_ns(),
            "stack": stack,
            "race": race,
        }

    def _waits(self, kind: str, data: dict[str, Any], name: str, spot: Spot) -> dict[str, Any]:
        """What is waited for, and by whom it is held since where."""
        found: dict[str, Any] = {"kind": kind}
        others = [one for one in self._standing if one != name]
        if kind != "lock":
            return {**found, "of": others}
        args = data.get("args") or {}
        found["addr"] = address = args.get("lock") or args.get("sk")
        named = self._map.at(int(address, 16)) if address else None
        if named is not None:
            found["what"] = named
        for other in others:
            look = self._vcpus.look(_anywhere(other), self._race.actors[other].vcpu)
            exact = {pc for pc, exact in look["pcs"] if exact}
            for lock in self._locks.settled(look["locks"], exact):
                if lock["addr"] == address:
                    return {**found, "held_by": other, **_told(lock)}
            if spot.wait is not None and spot.wait.owner:  # one that stands: see _whens()
                return {**found, "held_by": other}
        return found

    def _release(self) -> None:
        self._free = True
        self._standing.clear()
        self._ready()
        self._vcpus.go("all")

    def _give_up(self, trouble: str, said: str) -> None:
        self.round.trouble = trouble
        self.round.said = said
        self._vcpus.interrupt()
        self._release()


def _told(lock: dict[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in lock.items() if key != "held"}
    what = locks.said(lock.get("which") or {})
    return {**told, "what": what} if what else told


def _softirqd(actor: Actor) -> str:
    return f"ksoftirqd/{actor.vcpu}"


def _anywhere(name: str) -> dict[str, Any]:
    """What to read of a vCPU that stands at no probe: the stack and the locks alone."""
    return {
        "probe": name,
        "func": name,
        "file": "",
        "line": 0,
        "address": 0,
        "skb": None,
        "sock": None,
        "args": [],
        "show": [],
        "site": dict.fromkeys(("tcp_cb", "lookup"), False)
        | dict.fromkeys(("header", "direction"), "none"),
    }


def _where(event: dict[str, Any]) -> str:
    site = event["site"]
    return f"{site['func']} ({site['file']}:{site['line']})" if site.get("file") else "user space"


def _wait_text(event: dict[str, Any]) -> str:
    """For whom the actor of an event waits, in words."""
    waits = event["race"]["waits"]
    if waits["kind"] != "lock":
        what = {"ipi": "the answer to an IPI", "rcu": "an RCU grace period"}[waits["kind"]]
        return f"waits for {what} of {' and '.join(waits['of'])}, which stands"
    name = waits.get("what") or waits.get("name") or "a lock"
    if "held_by" not in waits:
        return f"waits for {name} at {waits['addr']}"
    if "func" not in waits:
        return f"waits for {name}, held by {waits['held_by']}, which stands"
    line = f"{waits['func']} ({waits['file']}:{waits.get('since', waits['line'])})"
    since = f" since {line}" if "since" in waits else f", which stands in {line}"
    return f"waits for the {name}, held by {waits['held_by']}{since}"


def _key(target: str | Place) -> str:
    return target if isinstance(target, str) else target.text()


def _targets(step: Step) -> str:
    return " or ".join(map(_key, step.targets))
