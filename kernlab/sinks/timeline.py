"""A round of a race as a picture: two columns, one for each vCPU, time from top to bottom.

Made from the round's record and the race's file alone; ``timeline_text`` and
``timeline_svg`` draw it. What the record does not say is not in it: a lock's bar begins
where a stop first showed it taken, a segment stands where the capture has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kernlab.config.text import Language
from kernlab.lessons.locks import said

Mood = Literal["held", "waits", "reset", "done", "lost"]

_WORDS: dict[str, dict[Language, str]] = {
    "hold": {"en": "held at", "zh": "停在"},
    "run": {"en": "comes to", "zh": "运行到"},
    "lock": {"en": "waits for a lock in", "zh": "等待锁，位于"},
    "ipi": {"en": "waits for the other vCPU's answer in", "zh": "等待另一 vCPU 应答，位于"},
    "rcu": {"en": "waits for an RCU grace period in", "zh": "等待 RCU 宽限期，位于"},
    "done": {"en": "is done: its process has ended", "zh": "完成：进程结束"},
    "timeout": {"en": "did not reach its place", "zh": "未到达指定位置"},
    "stands": {"en": "is stopped in {func}", "zh": "停在 {func}"},
    "mark": {"en": "waits at its mark", "zh": "在标记处等待"},
    "when": {"en": "when", "zh": "条件"},
    "packet": {"en": "packet", "zh": "报文"},
    "socket": {"en": "socket", "zh": "套接字"},
    "way": {"en": "from", "zh": "调用者"},
    "takes": {"en": "lock", "zh": "持锁"},
    "wants": {"en": "needs", "zh": "需要"},
    "taken": {"en": "taken at {where}", "zh": "取自 {where}"},
    "held": {"en": "held in {where}()", "zh": "在 {where}() 中持有"},
    "which": {"en": "{who} has it, {since}", "zh": "由 {who} 持有，{since}"},
    "has": {"en": "{who} has it", "zh": "由 {who} 持有"},
    "of": {"en": "an answer of {who}, which is stopped", "zh": "{who} 的应答，而它停着"},
    "release": {"en": "released: both run on", "zh": "释放：两者继续运行"},
    "wire": {"en": "on the wire, the whole round", "zh": "整个回合的线上报文"},
    "step": {"en": "handled by {who}, step {n}", "zh": "由 {who} 处理，第 {n} 步"},
    "sent": {"en": "sent by {who}, step {n}", "zh": "由 {who} 发出，第 {n} 步"},
    "more": {"en": "and {n} more", "zh": "另有 {n} 个"},
    "outcome": {"en": "outcome", "zh": "结局"},
    "fired": {"en": "the race fired", "zh": "竞态发生"},
    "quiet": {"en": "the race did not fire", "zh": "竞态未发生"},
    "nothing": {"en": "no known ending", "zh": "没有已知的结局"},
    "interrupted": {"en": "any task", "zh": "该 vCPU 上的任意代码"},
    "line": {"en": "called at {at}", "zh": "调用处 {at}"},
}


def whose(lock: Mapping[str, Any], language: Language) -> str:
    """Whose lock it is, in the picture's language; a record of before has English words."""
    return said(lock.get("which") or {}, language) or str(lock.get("what", ""))


def word(name: str, language: Language, **values: object) -> str:
    """A word of the picture."""
    return _WORDS[name][language].format(**values)


@dataclass(frozen=True)
class Lane:
    """A column: an actor, its vCPU, and the task that was seen to be it (name/pid)."""

    actor: str
    vcpu: int
    task: str
    waits: bool  # at its mark, until its first step


@dataclass(frozen=True)
class Fact:
    """A line of a card: ``kind`` is when, packet, socket, way, takes or wants. ``bar``: the
    lock of which it speaks, as an index into the timeline's bars."""

    kind: str
    name: str
    text: str
    bar: int | None = None


@dataclass(frozen=True)
class Card:
    """Where a step ended. ``func`` is the kernel's function, empty where the process ended;
    ``code`` the line that is about to run, or, at a function's entry, the line that called
    it (``called`` then says where)."""

    lane: int
    step: int
    verb: str
    func: str
    at: str
    code: str
    called: str
    says: str
    mood: Mood
    facts: tuple[Fact, ...] = ()
    wants: int | None = None  # the bar of the lock that it waits for


@dataclass(frozen=True)
class Bar:
    """A lock that an actor has: from card number ``first`` on to before number ``last``,
    the number of cards when it ends with the release. ``sign`` is its letter, ``name`` its
    name in the code, ``title`` whose lock it is (empty where that is not known), ``since``
    where it was taken, or else in which function it is held."""

    lane: int
    sign: str
    addr: str
    name: str
    title: str
    since: str
    first: int
    last: int


@dataclass(frozen=True)
class Wire:
    """A segment of the capture. ``note``: the step that it belongs to, in words."""

    text: str
    reset: bool
    note: str = ""
    lane: int | None = None


@dataclass(frozen=True)
class Outcome:
    """``fired``: the race happened. ``evidence``: what was counted and got."""

    title: str
    known: bool
    fired: bool
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """What both drawings draw."""

    id: str
    title: str
    about: str
    lanes: tuple[Lane, Lane]
    cards: tuple[Card, ...]
    bars: tuple[Bar, ...]
    released: bool
    wire: tuple[Wire, ...]
    more: int  # segments that are left out
    outcome: Outcome
    language: Language = "en"

    def stands(self, number: int) -> bool:
        """Whether the other actor is known to stand while card ``number`` is come to."""
        card = self.cards[number]
        last = [one for one in self.cards[:number] if one.lane != card.lane]
        return last[-1].mood != "done" if last else self.lanes[1 - card.lane].waits


def standing(timeline: Timeline, number: int) -> str:
    """In words, where the other actor stands while card ``number`` is come to; empty where
    that is not known, where it has ended, and where it was said a card before."""
    card = timeline.cards[number]
    if number and timeline.cards[number - 1].lane == card.lane:
        return ""
    last = [one for one in timeline.cards[:number] if one.lane != card.lane]
    if last:
        func = last[-1].func
        return word("stands", timeline.language, func=func) if func else ""
    waits = timeline.lanes[1 - card.lane].waits
    return word("mark", timeline.language) if waits else ""
