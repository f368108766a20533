"""Events → causes: which rule of configs/reasons explains a RST.

What came before a RST in the same call matters: ``__tcp_close()`` sets the state to CLOSE
before it sends, so the state it decided on is in an earlier event. Two events are of one
call when their stacks part inside one activation of a function: from the outermost frame
inwards they are equal up to a frame that is the same function at two places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernlab.config.text import Language, say
from kernlab.config.yaml import listed
from kernlab.decode import expr
from kernlab.reasons import watch
from kernlab.reasons.model import Earlier, Reason, Reasons, senders
from kernlab.reasons.watch import RstTable

Event = Mapping[str, Any]
UNKNOWN = "unknown"


@dataclass
class Finding:
    """A call of a sender and its cause: ``cause`` is an id of configs/reasons or ``unknown``.

    ``event`` is the sender's; ``before``: the events of the same call by their probe;
    ``decides``: the index in the event's stack of the frame that decided; ``also``: other
    causes whose rules match, which a table without contradiction never has. ``passed``:
    whether the sender got past its checks, None where nothing tells; ``silence``: why it
    sends nothing, where its entry tells that.
    """

    cause: str
    event: Event
    before: dict[str, Event]
    reason: Reason | None = None
    decides: int | None = None
    also: tuple[str, ...] = ()
    passed: bool | None = None
    silence: watch.Silence | None = None
    sender: watch.Sender | None = field(default=None, repr=False)

    @property
    def netns(self) -> int | None:
        """The number of the network namespace that the RST is sent in, where it was read."""
        found = self.event.get("netns")
        return found if isinstance(found, int) else None

    @property
    def socket_before(self) -> Mapping[str, Any] | None:
        """The socket as the call found it; the event's own where nothing changed it."""
        for event in self.before.values():
            if event.get("sock") and _same("sock", event, self.event):
                return event["sock"]  # type: ignore[no-any-return]
        return self.event.get("sock")

    def condition(self) -> str:
        """What was true, with the values read; a value that was not read shows as ?."""
        if self.reason is None:
            return ""
        return watch.filled(self.reason.condition, {**self.event, "before": self.before})

    def as_data(self, language: Language = "en") -> dict[str, Any]:
        """For the record: the ``rst`` of the event, and a line of rst.json."""
        data: dict[str, Any] = {"cause": self.cause, "probe": self.event["probe"]}
        if self.reason is not None:
            data |= {
                "name": say(self.reason.name, language),
                "kind": self.reason.kind,
                "says": say(self.reason.says, language),
                "condition": self.condition(),
                "counters": list(self.reason.counters),
                "errno": {
                    "local": say(self.reason.errno.local, language),
                    "peer": say(self.reason.errno.peer, language),
                },
                "remedy": say(self.reason.remedy, language),
                "labs": list(self.reason.labs),
            }
        elif self.sender is not None:  # of another one it is not known
            data["kind"] = self.sender.kind
        if self.decides is not None:
            data["decides"] = self.decides
        before = self.socket_before
        if before is not None and "state" in before:
            data["state_before"] = before["state"]
        if self.also:
            data["also"] = list(self.also)
        return data


class Matcher:
    """Takes events in their order; gives a finding for each call of a sender."""

    def __init__(self, reasons: Reasons, rules: RstTable | None = None) -> None:
        self._reasons = reasons
        self._rules = watch.table() if rules is None else rules
        self._senders = senders(reasons)
        self._earlier: dict[str, Earlier] = {
            item.probe: item for reason in reasons.values() for item in reason.earlier
        }
        self._tasks = {name for name, one in self._rules.watches.items() if one.same == "task"}
        self._passes = self._rules.passes()
        self._seen: list[Event] = []
        self._ends: dict[Any, Event] = {}
        self._calls: dict[Any, Finding] = {}

    @property
    def probes(self) -> list[str]:
        """Every probe the reasons need: senders first."""
        return [*sorted(self._senders), *sorted(set(self._earlier) - self._senders)]

    def take(self, event: Event) -> Finding | None:
        """An event; a finding when it is a sender's that may send a RST."""
        probe = event.get("probe")
        if probe in self._earlier:
            self._seen.append(event)
            del self._seen[:-256]
        if probe in self._tasks:
            self._ends[_pid(event)] = event
        self._pass(event)
        if probe not in self._senders or _unanswered(event):
            return None
        found = self._find(event)
        found.sender = self._rules.senders.get(probe)
        if found.sender is not None:
            found.silence = found.sender.silence(event, certain=True)
            self._calls[event.get("cpu")] = found
        return found

    def _pass(self, event: Event) -> None:
        """Note that the sender which is at work on this CPU got past its checks: the function
        that it calls then has the same skb, or the sender's frame below it."""
        callers = self._passes.get(event["probe"])
        call = self._calls.get(event.get("cpu")) if callers else None
        if call is None or callers is None or call.event["probe"] not in callers:
            return
        skb = (event.get("args") or {}).get("skb")
        names = [frame["func"] for frame in event.get("stack") or ()]
        same = skb is not None and skb == (call.event.get("args") or {}).get("skb")
        if same or call.event["probe"] in names:
            call.passed = True
            del self._calls[event.get("cpu")]

    def _find(self, event: Event) -> Finding:
        before: dict[str, Event] = {}
        for seen in reversed(self._seen):
            item = self._earlier[seen["probe"]]
            if (
                seen["probe"] not in before
                and one_call(seen, event)
                and _same(item.same, seen, event)
            ):
                before[seen["probe"]] = seen
        self._used(before)
        ended = self._ends.get(_pid(event))
        names = [frame["func"] for frame in event.get("stack") or ()]
        # A segment's answer in a softirq has borrowed the task that ends.
        if ended is not None and ended["probe"] in names and "packet" not in event:
            before[ended["probe"]] = ended
        whole = {**event, "before": before}
        hits = {key: reason for key, reason in self._reasons.items() if matches(reason, whole)}
        special = {over for reason in hits.values() for over in reason.instead_of}
        found = [key for key in hits if key not in special]
        if not found:
            return Finding(UNKNOWN, event, before)
        cause = found[0]
        reason = hits[cause]
        frame = _frame(event.get("stack") or (), reason)
        return Finding(cause, event, before, reason, frame, tuple(found[1:]))

    def _used(self, before: Mapping[str, Event]) -> None:
        """Forget what one segment did before its RST: the next segment of the connection
        takes the same way through the stack, and must not find it again."""
        done = [
            seen for probe, seen in before.items() if self._earlier[probe].same in ("skb", "tuple")
        ]
        self._seen = [seen for seen in self._seen if not any(seen is one for one in done)]


def _unanswered(event: Event) -> bool:
    """Whether the segment to be refused is itself a RST: RFC 9293, 3.5.2 forbids an answer,
    and each sender that gets a segment returns first thing, having sent nothing."""
    return "R" in str((event.get("packet") or {}).get("flags", ""))


def findings(events: Iterable[Event], reasons: Reasons) -> Iterator[Finding]:
    """A finding for each RST among events: each call of a sender whose entry does not tell
    that it sends nothing."""
    matcher = Matcher(reasons)
    for event in events:
        found = matcher.take(event)
        if found is not None and found.silence is None:
            yield found


def matches(reason: Reason, event: Event) -> bool:
    """Whether a rule's probe, frames and condition fit. A field that is absent fits nothing."""
    if event["probe"] not in reason.probes:
        return False
    names = [frame.get("func") for frame in event.get("stack") or ()]
    if not _in_order(reason.frames, names) or any(name in names for name in reason.not_frames):
        return False
    return reason.when is None or expr.parse(reason.when).evaluate(event) is True


def _in_order(wanted: Sequence[str | list[str]], names: Sequence[str | None]) -> bool:
    at = 0
    for want in wanted:
        choices = listed(want)
        while at < len(names) and names[at] not in choices:
            at += 1
        if at == len(names):
            return False
        at += 1
    return True


def _frame(stack: Sequence[Mapping[str, Any]], reason: Reason) -> int | None:
    names = listed(reason.decides)
    for index, frame in enumerate(stack):
        if frame.get("func") in names:
            return index
    return None


def one_call(first: Event, second: Event) -> bool:
    """Whether two events are of one activation of the function where their stacks part."""
    if first.get("cpu") != second.get("cpu") or _pid(first) != _pid(second):
        return False
    one, other = list(first.get("stack") or ()), list(second.get("stack") or ())
    while one and other:
        a, b = one.pop(), other.pop()
        if a.get("func") != b.get("func"):
            return False
        if a.get("line") != b.get("line"):
            return True
    return False


def _pid(event: Event) -> Any:
    return (event.get("task") or {}).get("pid")


def _same(kind: str, first: Event, second: Event) -> bool:
    if kind == "tuple":
        ends = _tuple(first)
        return ends is not None and ends == _tuple(second)
    if kind == "skb" and _raw(first) != _raw(second):
        return False  # the allocator gave a freed skb's place to the next segment
    one, other = (event.get(kind) or {} for event in (first, second))
    return "addr" in one and one["addr"] == other.get("addr")


def _raw(event: Event) -> Any:
    return (event.get("packet") or {}).get("raw")


def _tuple(event: Event) -> frozenset[tuple[str, int]] | None:
    """The two ends of what an event is about: its packet's, or its sock's."""
    for key in ("packet", "sock"):
        about = event.get(key) or {}
        try:
            return frozenset([(about["src"], about["sport"]), (about["dst"], about["dport"])])
        except KeyError:
            continue
    return None
