"""What a live run of the detective comes to, in words: sent, not sent, foreign, and where
there was no RST, what happened instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from kernlab.cli.output import stderr
from kernlab.reasons.match import Finding
from kernlab.rst.live import Detective
from kernlab.sinks.console import safe_lines
from kernlab.trace.run import Outcome

_MOST = 8  # of one kind that are told one by one


def facts(detective: Detective, outcome: Outcome, path: str, timeout: float) -> dict[str, str]:
    """The lines of the summary, by their names."""
    found = {"RSTs": _count(detective)}
    found |= _how_it_ended(detective, outcome, timeout)
    if detective.silent:
        found["not sent"] = _lines([unsent(one.finding, one.why) for one in detective.silent])
    if detective.timed_out:
        found["timed out"] = _lines(detective.timed_out)
    if detective.quiet:
        found["instead"] = _lines(detective.quiet)
    if not detective.seen and not detective.uncaptured and detective.counters:
        found["counters"] = ", ".join(f"{k} +{v}" for k, v in detective.counters.items())
    if outcome.reason == "workload" and outcome.workload_status not in (None, 0):
        said = outcome.workload_said.strip()[-300:]
        found["the command"] = f"ended with status {outcome.workload_status}: {said}"
    for where, number in outcome.lost.items():
        if number:
            found["lost"] = f"{number} events, {where}: a RST among them may be shown as foreign"
    found["capture"] = outcome.frames(path)
    found["run"] = path
    return found


def _count(detective: Detective) -> str:
    text = f"{detective.seen} sent"
    outside = sum(one["rst"]["from"] == "outside" for one in detective.foreign)
    inside = len(detective.foreign) - outside
    if outside:
        text += f", {outside} came from outside"
    if inside:
        text += f", {inside} written by a program: no TCP of this guest sent " + (
            "it" if inside == 1 else "them"
        )
    if detective.unseen:
        text += f", {len(detective.unseen)} that did not leave the guest"
    if detective.uncaptured:
        text += f", {len(detective.uncaptured)} where no capture ran"
    if detective.filtered:
        text += f"; {detective.filtered} did not pass --where"
    return text


def _how_it_ended(detective: Detective, outcome: Outcome, timeout: float) -> dict[str, str]:
    if outcome.reason not in ("timeout", "interrupted"):
        return {}
    if outcome.reason == "timeout":
        text = (
            f"the program was stopped after {timeout:g} s (--timeout {timeout:g}), so what it "
            "would have done later was not seen"
        )
    else:
        text = "the program was stopped, because you interrupted it"
    if detective.by_stopping:
        made = detective.by_stopping
        text += f"; {made} {'RST was' if made == 1 else 'RSTs were'} sent because of that"
    if outcome.reason == "timeout":
        text += f". To wait longer: --timeout {timeout * 10:g}"
    return {"time-out" if outcome.reason == "timeout" else "interrupted": text}


def unsent(finding: Finding, why: str) -> str:
    """A sender's call that sent nothing, on one line."""
    packet = finding.event.get("packet") or {}
    about = "a socket's own"
    if packet:
        about = (
            f"for {packet.get('src')}:{packet.get('sport')} → {packet.get('dst')}:"
            f"{packet.get('dport')} [{packet.get('flags', '')}]"
        )
    return f"{finding.event['probe']}() {about}: {why}"


def _lines(found: Sequence[str]) -> str:
    more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
    return "\n".join([*found[:_MOST], *more])


def aside(told: Mapping[str, str]) -> None:
    """The summary beside --json: what no event tells goes to stderr."""
    console = stderr()
    for name in ("time-out", "interrupted", "not sent", "timed out", "instead", "lost"):
        if name in told:
            console.print(Text(safe_lines(f"{name}: {told[name]}")), soft_wrap=True)
