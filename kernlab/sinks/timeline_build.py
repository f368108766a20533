"""The timeline of a round, made from its events, its capture and the race's file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernlab.config.text import Language, say
from kernlab.lessons.race import Ending, Race, Step
from kernlab.reasons import watch
from kernlab.record.segments import text as segment_text
from kernlab.sinks.fold import fold
from kernlab.sinks.stops import frames, func_of, packet_of, place, socket_of
from kernlab.sinks.timeline import (
    Bar,
    Card,
    Fact,
    Lane,
    Mood,
    Outcome,
    Timeline,
    Wire,
    whose,
    word,
)
from kernlab.verdict.judge import Line

_WAY = 3  # callers shown of a stop
_SEGMENTS = 12  # shown of a capture


@dataclass(frozen=True)
class Round:
    """What a round's record says beside events and segments. ``lines`` are the verdict's of
    its ending (``kernlab.verdict.judge.Line``); ``ending`` is one of the race's or None."""

    about: str = ""
    ending: Ending | None = None
    lines: Sequence[Line] = ()
    said: str = ""


def build(
    name: str,
    race: Race,
    events: Sequence[Mapping[str, Any]],
    segments: Sequence[Mapping[str, Any]],
    told: Round,
    language: Language = "en",
) -> Timeline:
    """The picture of one round of ``race`` (``kernlab.lessons.race.Race``)."""
    return _Builder(name, race, list(events), list(segments), told, language).build()


@dataclass
class _Builder:
    name: str
    race: Race
    events: list[Mapping[str, Any]]
    segments: list[Mapping[str, Any]]
    told: Round
    language: Language
    bars: list[Bar] = field(default_factory=list)
    senders: Mapping[str, watch.Sender] = field(default_factory=lambda: watch.table().senders)
    notes: dict[int, tuple[str, int]] = field(default_factory=dict)  # segment → note, lane

    def build(self) -> Timeline:
        names = list(self.race.actors)
        lanes = tuple(self._lane(actor) for actor in names)
        self._locks(names)
        cards = tuple(self._card(number, names) for number in range(len(self.events)))
        self._resets(names)
        wire = tuple(self._wire(number) for number in self._worth())
        return Timeline(
            self.name,
            say(self.race.title, self.language),
            self.told.about,
            (lanes[0], lanes[1]),
            cards,
            tuple(self.bars),
            not self.told.said,
            wire,
            len(self.segments) - len(wire),
            self._outcome(),
            self.language,
        )

    def _lane(self, name: str) -> Lane:
        actor = self.race.actors[name]
        seen = next(
            (
                one["task"]
                for one in self.events
                if one["race"]["actor"] == name and one.get("task")
            ),
            None,
        )
        task = f"{seen['comm']}/{seen['pid']}" if seen and actor.task else ""
        if not actor.task:
            task = word("interrupted", self.language)
        return Lane(name, actor.vcpu, task, actor.task and actor.mark)

    # -- locks --------------------------------------------------------------------

    def _locks(self, names: Sequence[str]) -> None:
        """Bars. A lock is whose stop showed it first: a frame of the one who waits for it
        has a pointer to it too."""
        open_: dict[str, int] = {}
        for number, event in enumerate(self.events):
            actor = event["race"]["actor"]
            lane = names.index(actor)
            seen = {lock["addr"]: lock for lock in event["race"].get("locks") or ()}
            waits = event["race"].get("waits") or {}
            seen.pop(waits.get("addr"), None)
            for addr, at in list(open_.items()):
                bar = self.bars[at]
                if bar.lane == lane and (addr not in seen or event["race"]["reached"] == "done"):
                    self.bars[at] = _ended(bar, number)
                    del open_[addr]
            for addr, lock in seen.items():
                if addr in open_ or event["race"]["reached"] == "done":
                    continue
                open_[addr] = len(self.bars)
                self.bars.append(
                    Bar(
                        lane,
                        chr(ord("a") + len(self.bars) % 26),
                        addr,
                        lock["name"],
                        whose(lock, self.language),
                        self._since(lock),
                        number,
                        len(self.events),
                    )
                )

    def _since(self, lock: Mapping[str, Any]) -> str:
        """Where a lock was taken, or else in which function it is held; empty where neither
        is known. A line that may not have been run is never named."""
        if lock.get("since"):
            return word("taken", self.language, where=f"{lock.get('func')}:{lock['since']}")
        return word("held", self.language, where=lock["func"]) if lock.get("func") else ""

    def _bar_of(self, addr: object, number: int) -> int | None:
        return next(
            (
                at
                for at, bar in enumerate(self.bars)
                if bar.addr == addr and bar.first <= number < bar.last
            ),
            None,
        )

    # -- cards --------------------------------------------------------------------

    def _card(self, number: int, names: Sequence[str]) -> Card:
        event = self.events[number]
        told = event["race"]
        step = self._step(told["step"])
        lane = names.index(told["actor"])
        reached = told["reached"]
        stack = event.get("stack") or ()
        entry = self._is_entry(step, reached, stack)
        frame, caller = frames(stack, entry, reached == "blocked")
        waits = told.get("waits")
        wants = self._bar_of(waits.get("addr"), number) if waits else None
        source = told.get("source") or {}
        where = place(frame)
        code = place(caller) if entry else where
        done = reached == "done"
        return Card(
            lane,
            told["step"],
            self._verb(step, reached, waits),
            "" if done else func_of(frame),
            "" if done else where,
            "" if done else source.get(code, ""),
            code if entry and not done else "",
            say(step.says, self.language) if step is not None and step.says else "",
            _mood(reached, event, self.senders),
            tuple(self._facts(number, names, step, str(frame.get("func")))),
            wants,
        )

    def _step(self, number: int) -> Step | None:
        steps = self.race.steps
        return steps[number - 1] if 0 < number <= len(steps) else None

    @staticmethod
    def _is_entry(step: Step | None, reached: str, stack: Sequence[Mapping[str, Any]]) -> bool:
        if step is None or len(stack) < 2:
            return False
        return any(
            not isinstance(one, str) and one.text() == reached and one.kind == "entry"
            for one in step.targets
        )

    def _verb(self, step: Step | None, reached: str, waits: Mapping[str, Any] | None) -> str:
        if waits:
            return word(str(waits["kind"]), self.language)
        if reached in ("done", "timeout"):
            return word(reached, self.language)
        held = step is not None and step.hold is not None
        return word("hold" if held else "run", self.language)

    def _facts(
        self, number: int, names: Sequence[str], step: Step | None, func: str
    ) -> Iterable[Fact]:
        event = self.events[number]
        stack = event.get("stack") or ()
        told = event["race"]
        reached, waits = told["reached"], told.get("waits")
        yield from self._packet(number, names)
        sock = event.get("sock")
        if sock is not None:
            yield self._fact("socket", socket_of(sock))
        for at, bar in enumerate(self.bars):
            if bar.first == number:
                yield self._fact("takes", _lock(bar), at)
        if waits:
            yield self._waits(number, waits)
        if " becomes " in reached or reached.endswith(" changes"):
            yield self._fact("when", reached)
        elif step is not None and step.when and reached not in ("done", "blocked", "timeout"):
            yield self._fact("when", step.when)
        if reached != "done":
            ways = [part.text for part in fold(stack) if part.kind == "func"]
            ways = [one for at, one in enumerate(ways) if at and one != func][:_WAY]
            if ways:
                yield self._fact("way", " ← ".join(ways))

    def _fact(self, kind: str, text: str, bar: int | None = None) -> Fact:
        return Fact(kind, word(kind, self.language), text, bar)

    def _waits(self, number: int, waits: Mapping[str, Any]) -> Fact:
        if waits["kind"] != "lock":
            who = " ".join(waits.get("of") or ())
            return self._fact("wants", word("of", self.language, who=who))
        at = self._bar_of(waits.get("addr"), number)
        if at is not None:
            bar = self.bars[at]
            name, since = bar.title or bar.name, bar.since
        else:
            name = whose(waits, self.language)
            name = name or str(waits.get("name") or waits.get("addr") or "?")
            since = self._since(waits)
        if waits.get("held_by"):
            which = "which" if since else "has"
            name += ": " + word(which, self.language, who=waits["held_by"], since=since)
        return self._fact("wants", name, at)

    def _packet(self, number: int, names: Sequence[str]) -> Iterable[Fact]:
        """The packet that the actor has in hand, the first time that it is seen with it."""
        event = self.events[number]
        packet = event.get("packet")
        actor = event["race"]["actor"]
        before = [
            one.get("packet") for one in self.events[:number] if one["race"]["actor"] == actor
        ]
        if packet is None or any(_same(packet, one) for one in before if one):
            return
        at = next(
            (
                at
                for at, one in enumerate(self.segments)
                if at not in self.notes and _same(packet, one["packet"])
            ),
            None,
        )
        if at is None:
            yield self._fact("packet", packet_of(packet))
            return
        note = word("step", self.language, n=event["race"]["step"], who=actor)
        self.notes[at] = (note, names.index(actor))
        yield self._fact("packet", segment_text(dict(self.segments[at])))

    # -- the wire -----------------------------------------------------------------

    def _resets(self, names: Sequence[str]) -> None:
        """Which stop sent a RST: one that refuses a segment has the ports turned round and
        the number that the segment acknowledged (RFC 9293 3.5.2), one that a socket sends
        has the socket's ports."""
        for event in self.events:
            sender = self.senders.get(event["probe"])
            if sender is None:
                continue
            told = event["race"]
            packet, sock = event.get("packet"), event.get("sock") or {}
            for at, one in enumerate(self.segments):
                sent = one["packet"]
                if "R" not in sent["flags"] or at in self.notes:
                    continue
                ports = (sent["sport"], sent["dport"])
                if sender.kind == "active":
                    mine = ports == (sock.get("sport"), sock.get("dport"))
                else:
                    mine = (
                        packet is not None
                        and ports == (packet.get("dport"), packet.get("sport"))
                        and ("A" in sent["flags"] or sent["seq"] == packet.get("ack"))
                    )
                if mine:
                    note = word("sent", self.language, n=told["step"], who=told["actor"])
                    self.notes[at] = (note, names.index(told["actor"]))
                    break

    def _worth(self) -> list[int]:
        """The segments that are shown: those with a note and RSTs, then from the first on."""
        ranked = sorted(
            range(len(self.segments)),
            key=lambda at: (
                at not in self.notes,
                "R" not in self.segments[at]["packet"]["flags"],
                at,
            ),
        )
        return sorted(ranked[:_SEGMENTS])

    def _wire(self, number: int) -> Wire:
        one = self.segments[number]
        note, lane = self.notes.get(number, ("", None))
        return Wire(segment_text(dict(one)), "R" in one["packet"]["flags"], note, lane)

    # -- the end ------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        ending = self.told.ending
        if ending is None:
            return Outcome(self.told.said or word("nothing", self.language), False, False)
        evidence = []
        for line in self.told.lines:
            name = str(line.expected).split(" ")[0]
            if line.kind == "counters":
                evidence.append(f"{name} {line.seen}")
            elif line.kind == "got":
                evidence.append(f"{name} = {line.seen}")
        return Outcome(say(ending.title, self.language), True, bool(ending.fired), tuple(evidence))


def _lock(bar: Bar) -> str:
    return ", ".join(filter(None, (bar.title or bar.name, bar.since)))


def _ended(bar: Bar, number: int) -> Bar:
    return Bar(bar.lane, bar.sign, bar.addr, bar.name, bar.title, bar.since, bar.first, number)


def _mood(reached: str, event: Mapping[str, Any], senders: Collection[str]) -> Mood:
    if event["race"].get("waits"):
        return "waits"
    if reached == "timeout":
        return "lost"
    if event["probe"] in senders:
        return "reset"
    return "done" if reached == "done" else "held"


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    keys = ("src", "sport", "dst", "dport", "flags", "seq", "ack", "len", "ip_id")
    return all(one.get(key) == other.get(key) for key in keys)
