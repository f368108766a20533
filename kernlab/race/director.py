"""Takes a schedule's steps, one after the other, on a guest that stands and runs by turns.

It has the face of an engine (``events``, ``drain``, ``ended``), so that a round is a run of
a guest program like any other; its events are the stops.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernlab.debugger.vcpus import Vcpus
from kernlab.decode.plans import PostHit
from kernlab.lessons import locks
from kernlab.lessons.locks import WaitRow
from kernlab.lessons.race import Actor, Place, Race, Step
from kernlab.race import posts
from kernlab.race.locks import Locks
from kernlab.race.posts import Post
from kernlab.race.stage import Spot, Stage
from kernlab.record.event import begin
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
        self._planted: list[Post] = []
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
        self._at_once = not posts.marks(self._race, self._stage, self._standing)

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

    @property
    def reasons(self) -> Mapping[int, str]:
        """The kernel's names of reasons to drop a packet."""
        return self._stage.reasons

    def ended(self) -> bool:
        return not self._vcpus.alive()

    # -- marks --------------------------------------------------------------------

    def _ready(self) -> None:
        """Nobody stands; whoever comes to its mark will."""
        self._plant(posts.marks(self._race, self._stage, self._standing))

    def _plant(self, wanted: list[Post]) -> None:
        self._planted = wanted
        self._vcpus.post([post.spec for post in wanted])

    def _hit(self) -> tuple[Post, PostHit] | None:
        """The post that was hit by the last stop; None for a stop that is no post's."""
        hit = self._vcpus.hit()
        return None if hit is None else (self._planted[hit["post"]], hit)

    def _marks(self) -> bool:
        """The guest has stopped: bring every actor to its mark. Whether all stand there."""
        deadline = time.monotonic() + _MARKS
        while True:
            found = self._hit()
            if found is not None and found[0].kind == "mark":
                post, hit = found
                self._standing.add(post.actor)
                self.round.begun = True
                if not hit["right"]:
                    said = f"{post.actor} came to its mark on vCPU {hit['cpu']}"
                    self._give_up("wrong actor", said)
                    return False
            missing = posts.marks(self._race, self._stage, self._standing)
            if self._standing and not missing:
                return True
            if not self._standing:
                self._vcpus.go("all")  # a stop that is no post's
                return False
            self._plant(missing)
            names = sorted({post.actor for post in missing})
            self._vcpus.go(self._race.actors[names[0]].vcpu)
            if not self._vcpus.stopped(max(0.0, deadline - time.monotonic())):
                self._give_up("not begun", f"{' and '.join(names)} did not come to the mark")
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
        """Let the step's actor run until it stops, and tell the stop."""
        name = step.actor
        assert name is not None
        actor = self._race.actors[name]
        self._plant([*posts.targets(step, self._race, self._stage), *self._waits_of(name, actor)])
        self._standing.discard(name)
        alone = step.run is not None or bool(self._standing)
        self._vcpus.go(actor.vcpu if alone else "all")
        late = not self._vcpus.stopped(step.limit)
        if late:
            self._vcpus.interrupt()
        found = self._hit()  # also of a stop that came while the limit passed
        if found is None:
            yield from self._nowhere(step, name, actor, late)
            return
        post, hit = found
        self._standing.add(name)
        event = self._event(name, post.reached, post.spot, hit["cpu"])
        yield event
        self.round.reached.append(post.reached)
        wrong = self._wrong(step, actor, post, hit, event)
        if wrong is not None:
            self._give_up(*wrong)
        elif self._exploring:
            self._explored(step, post)

    def _waits_of(self, name: str, actor: Actor) -> Iterator[Post]:
        """While nobody stands nobody is waited for: a contended lock is then an ordinary
        thing."""
        if self._standing - {name}:
            pids = [self._pids[one] for one in self._standing if one in self._pids]
            yield from posts.waits(name, actor, self._stage, pids)

    def _nowhere(self, step: Step, name: str, actor: Actor, late: bool) -> Iterator[dict[str, Any]]:
        """The guest stopped at no post, or did not stop in time."""
        event = self._event(name, "timeout" if late else "nowhere", Spot("nowhere"), actor.vcpu)
        yield event
        self._give_up(
            "timeout" if late else "wrong actor",
            f"step {self._at}: {name} did not come to {_targets(step)} "
            f"in {step.limit:g} s; vCPU {actor.vcpu} is in {_where(event)}",
        )

    def _wrong(
        self, step: Step, actor: Actor, post: Post, hit: PostHit, event: dict[str, Any]
    ) -> tuple[str, str] | None:
        """Why a stop is not what the step asked for: the trouble, and in words."""
        at, comm = f"step {self._at}", (event.get("task") or {}).get("comm")
        if not hit["right"]:
            return "wrong actor", f"{at}: {post.actor} stopped on vCPU {hit['cpu']}"
        wait = post.spot.wait
        if wait is None:
            return None
        if actor.task and comm not in (post.actor, posts.softirqd(actor)):
            return "wrong actor", f"{at}: {comm} waits on {post.actor}'s vCPU"
        if wait.kind == "stop_machine":
            return wait.kind, f"{at}: vCPU {hit['cpu']} waits in stop_machine()"
        if self._exploring or "blocked" in step.targets:
            return None
        waits = f"{post.actor} {_wait_text(event)}"
        return "blocked", f"{at}: {waits}, and never comes to {_targets(step)}"

    def _explored(self, step: Step, post: Post) -> None:
        """In an order that is explored: who waits or has ended is out, and who stopped on its
        way to the step's target goes on."""
        if post.kind == "wait" or post.reached == "done":
            self._out.add(post.actor)
        elif post.reached != _key(step.targets[0]):
            self._at -= 1

    # -- telling --------------------------------------------------------------------

    def _event(self, name: str, reached: str, spot: Spot, cpu: int) -> dict[str, Any]:
        data = self._vcpus.look(spot.what, cpu)
        pcs = data.pop("pcs")
        stack = self._symbolizer.stack(
            [(pc, exact) for pc, exact in pcs], entry=bool(spot.addresses)
        )
        known = self._locks.settled(data.pop("locks"), {pc for pc, exact in pcs if exact})
        has = [_told(one) for one in known if one["held"]]
        race: dict[str, Any] = {
            "step": self._at,
            "actor": name,
            "reached": reached,
            "locks": has,
            "source": self._stage.source(stack),
        }
        if spot.wait is not None:
            race["waits"] = self._waits(spot.wait, data, name)
            race["locks"] = [one for one in has if one["addr"] != race["waits"].get("addr")]
        task = data.pop("task", None)
        if task is not None:
            self._pids[name] = task["pid"]
        first = stack[0] if stack else {}
        site: dict[str, Any] = {key: first[key] for key in ("func", "file", "line") if key in first}
        seen = {key: value for key, value in data.items() if key not in ("probe", "site")}
        event = begin(
            "gdb", reached, seen.pop("cpu"), site, time.time_ns(), task, seen.pop("guest_ns", None)
        )
        return {**event, **seen, "stack": stack, "race": race}

    def _waits(self, wait: WaitRow, data: dict[str, Any], name: str) -> dict[str, Any]:
        """What is waited for, and by whom it is held since where."""
        found: dict[str, Any] = {"kind": wait.kind}
        others = [one for one in self._standing if one != name]
        if wait.kind != "lock":
            return {**found, "of": others}
        args = data.get("args") or {}
        found["addr"] = address = args.get("lock") or args.get("sk")
        named = self._map.at(int(address, 16)) if address else None
        if named is not None:
            found["what"] = named
        for other in others:
            look = self._vcpus.look(None, self._race.actors[other].vcpu)
            exact = {pc for pc, exact in look["pcs"] if exact}
            for lock in self._locks.settled(look["locks"], exact):
                if lock["addr"] == address:
                    return {**found, "held_by": other, **_told(lock)}
            if wait.owner:  # it is one that stands: see kernlab.race.posts
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


def _where(event: dict[str, Any]) -> str:
    site = event["site"]
    return f"{site['func']} ({site['file']}:{site['line']})" if site.get("file") else "user space"


def _wait_text(event: dict[str, Any]) -> str:
    """For whom the actor of an event waits, in words."""
    waits = event["race"]["waits"]
    if waits["kind"] != "lock":
        what = {"ipi": "the answer to an IPI", "rcu": "an RCU grace period"}[waits["kind"]]
        return f"waits for {what} of {' and '.join(waits['of'])}, which is stopped"
    name = waits.get("what") or waits.get("name") or "a lock"
    if "held_by" not in waits:
        return f"waits for {name} at {waits['addr']}"
    if "func" not in waits:
        return f"waits for {name}, held by {waits['held_by']}, which is stopped"
    line = f"{waits['func']} ({waits['file']}:{waits.get('since', waits['line'])})"
    since = f" since {line}" if "since" in waits else f", which is stopped in {line}"
    return f"waits for the {name}, held by {waits['held_by']}{since}"


def _key(target: str | Place) -> str:
    return target if isinstance(target, str) else target.text()


def _targets(step: Step) -> str:
    return " or ".join(map(_key, step.targets))
