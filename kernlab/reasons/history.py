"""What a connection had seen before one of its RSTs: earlier RSTs, an end without one, whose
SYN it was. From the capture and from the calls that configs/rst.yaml watches."""

from __future__ import annotations

import errno
import signal
from collections.abc import Mapping
from typing import Any

from kernlab.reasons.match import Finding
from kernlab.reasons.pairs import Way, ends, way
from kernlab.reasons.watch import RstTable

_TIMEOUTS = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
_TIMERS = ("tcp_write_timer_handler", "tcp_write_timer", "tcp_keepalive_timer")
# States in which a SYN or a FIN takes one of the numbers that are not acknowledged.
_ONE_MORE = ("SYN_SENT", "SYN_RECV", "FIN_WAIT1", "LAST_ACK", "CLOSING")
Ends = frozenset[tuple[str, int]]


class History:
    """Fed with everything in its order; says what is known of a RST's connection.

    ``rules`` with ``armed``: the watches that are set, so that what none of them saw did not
    happen; without them nothing is said of what only they tell.
    """

    def __init__(self, rules: RstTable | None = None, armed: frozenset[str] = frozenset()) -> None:
        self._rules = rules
        self._armed = armed
        self._syn: dict[Way, int] = {}
        self._answered: set[Way] = set()
        self._flows: dict[int, list[dict[str, Any]]] = {}
        self._flow: dict[Ends, int] = {}
        self._connected: dict[Way, str] = {}
        self._injected: list[str] = []
        self._errors: dict[Way, Mapping[str, Any]] = {}
        self._silent: dict[Ends, str] = {}
        self._told: dict[int, int] = {}
        self.overflows: int | None = None

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        """The sockets that were told of a failure: events of sock_def_error_report()."""
        return list(self._errors.values())

    def timed_out(self) -> list[str]:
        """The connections that a timer ended without a RST, in words."""
        found = []
        for (src, sport, dst, dport), event in self._errors.items():
            told = _failed(event)
            if told:
                data = f", {told['unacked']} bytes not acknowledged" if told["unacked"] else ""
                state = event["sock"].get("state", "?")
                found.append(
                    f"{src} port {sport} → {dst} port {dport}: {told['error']} in {state}{data}"
                )
        return found

    @property
    def injectors(self) -> list[str]:
        """The tasks that sent packets with headers of their own, each once."""
        return list(dict.fromkeys(self._injected))

    def anew(self) -> None:
        """Forget the capture; it is read again from its beginning."""
        for known in (self._syn, self._answered, self._flows, self._flow, self._told):
            known.clear()

    def segment(self, segment: Mapping[str, Any]) -> None:
        """A captured segment."""
        packet = segment["packet"]
        flags, going = str(packet["flags"]), way(packet)
        self._flow[_pair(going)] = segment["flow"]
        if "S" in flags and "A" not in flags:
            self._syn.setdefault(going, segment["number"])
        if "S" in flags and "A" in flags:
            self._answered.add(going)
        if "R" in flags:
            self._flows.setdefault(segment["flow"], []).append(dict(segment))

    def covered(self, finding: Finding) -> bool:
        """Whether the capture has seen anything of this connection: one that it has not runs
        where nobody captures."""
        going = ends(finding.event)
        return going is not None and _pair(going) in self._flow

    def event(self, event: Mapping[str, Any]) -> None:
        """A call of a watched function."""
        tells = self._rules.tells(str(event["probe"])) if self._rules is not None else None
        if tells == "inject":
            self._injected.append(_task(event))
            return
        going = ends({"sock": event.get("sock") or {}}) if tells else None
        if going is None:
            return
        if tells == "connect":
            self._connected[going] = _task(event)
        elif tells == "error" and (event.get("sock") or {}).get("protocol", "tcp") == "tcp":
            self._errors[going] = event

    def silent(self, finding: Finding, why: str) -> None:
        """A sender's call that sent nothing."""
        going = ends(finding.event)
        if going is not None:
            self._silent[_pair(going)] = why

    def told(self, frame: int, seq: int) -> None:
        """The RST in this frame is the event with this number."""
        self._told[frame] = seq

    def of(
        self, finding: Finding, segment: Mapping[str, Any] | None, provoked: int | None = None
    ) -> dict[str, Any]:
        """What is known of the connection of a sender's call; empty when nothing is.
        ``provoked``: the frame of the segment that is refused, for a RST without a frame."""
        going = ends(finding.event)
        found: dict[str, Any] = {}
        ended = (finding.before.get("do_exit") or {}).get("show") or {}
        if ended.get("signal"):
            found["signal"] = _signal(ended["signal"])
        if going is None:
            return found
        back = (*going[2:], *going[:2])
        found["syn"] = int(going in self._syn)
        found["handshake"] = int(back in self._syn and going in self._answered)
        if self.overflows is not None:
            found["overflows"] = self.overflows
        self._from_watches(found, going)
        self._earlier(found, going, segment, provoked)
        pair = _pair(going)
        if pair in self._silent:
            found |= {"silent": 1, "silent_text": self._silent[pair]}
        return found

    def _from_watches(self, found: dict[str, Any], going: Way) -> None:
        if "tcp_connect" in self._armed:
            found["connected"] = int(going in self._connected)
            if going in self._connected:
                found["connected_by"] = self._connected[going]
        if going in self._errors:
            found |= _failed(self._errors[going])
        if not found["syn"] or found.get("connected") != 0:
            return
        names = ", ".join(self.injectors)
        found["injected_text"] = f": {names} sent packets of its own making" if names else ""
        host, port = going[:2]
        six = ":" in host
        found["drop_rule"] = (
            f"{'ip6tables' if six else 'iptables'} -A OUTPUT -p tcp --tcp-flags RST RST "
            f"-s {host} --sport {port} -j DROP"
        )
        found["drop_rule_nft"] = (
            f"{'ip6' if six else 'ip'} saddr {host} tcp sport {port} tcp flags rst drop"
        )

    def _earlier(
        self,
        found: dict[str, Any],
        going: Way,
        segment: Mapping[str, Any] | None,
        provoked: int | None,
    ) -> None:
        flow = segment["flow"] if segment is not None else self._flow.get(_pair(going))
        own = segment["number"] if segment is not None else provoked
        for one in self._flows.get(flow, []) if flow is not None else []:
            if own is not None and one["number"] >= own:
                break
            packet = one["packet"]
            name = self._told.get(one["number"])
            text = f"RST {name}, " if name is not None else "the RST in "
            text += f"frame {one['number']}, from {packet['src']} port {packet['sport']}"
            found |= {"reset": one["number"], "reset_text": text}
            return


def _failed(error: Mapping[str, Any]) -> dict[str, Any]:
    """The end of a connection that a timer brought: 1 with data that was not acknowledged, 2
    without. Nothing for the end that a RST or an ICMP message brought."""
    sock = error["sock"]
    names = [frame["func"] for frame in error.get("stack") or ()]
    if sock.get("err") not in _TIMEOUTS or not any(name in names for name in _TIMERS):
        return {}
    data = (sock.get("snd_nxt", 0) - sock.get("snd_una", 0)) & 0xFFFFFFFF
    if data and sock.get("state") in _ONE_MORE:
        data -= 1
    return {
        "gave_up": 1 if data else 2,
        "unacked": data,
        "error": errno.errorcode.get(sock["err"], str(sock["err"])),
        "user_timeout": (error.get("show") or {}).get("user_timeout", "?"),
    }


def _pair(going: Way) -> Ends:
    return frozenset((going[:2], going[2:]))


def _task(event: Mapping[str, Any]) -> str:
    task = event.get("task") or {}
    return f"{task.get('comm', '?')}[{task.get('pid', '?')}]"


def _signal(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
