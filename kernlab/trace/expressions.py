"""The C expressions of a request: what is refused, and whether they mean something."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kernlab.config.yaml import near
from kernlab.decode import expr, protocols
from kernlab.decode.compare import number_of
from kernlab.decode.fields import SHOW
from kernlab.decode.macros import ACCESSORS
from kernlab.decode.names import TCP_STATES
from kernlab.errors import BadInput
from kernlab.record.expression import c_expressions
from kernlab.symbols import sites
from kernlab.symbols.dwarf import Function, Line
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe

# What would change the guest: an assignment, ++ or --.
_WRITES = re.compile(r"(?<![=!<>])=(?!=)|\+\+|--|<<=|>>=")
_CALLS = re.compile(r"\b(?!sizeof\b)([A-Za-z_]\w*)\s*\(")
# Addresses, which are no names.
_ADDRESS = re.compile(r"\d+(?:\.\d+){3}$|0x[0-9a-f]+$|[0-9a-f]*:[0-9a-f:]*$")


def check_c(text: str, option: str) -> None:
    unknown = [call for call in _CALLS.findall(text) if call not in ACCESSORS]
    if _WRITES.search(text):
        raise BadInput(
            f"{option} '{text}': this would change the guest",
            "a trace only reads: no assignment, no ++ or --, no call of a function",
            f"{option} 'sk->sk_err'",
        )
    if unknown:
        raise BadInput(
            f"{option} '{text}': {unknown[0]}() is a function: this would change the guest",
            "a trace only reads and calls no function; it knows these accessors of the kernel: "
            + ", ".join(near(unknown[0], ACCESSORS) or ACCESSORS),
            f"{option} 'tcp_sk(sk)->snd_cwnd'",
        )


def check_shows(
    show: Sequence[str], where: expr.Expr | None, probes: Sequence[Probe], symbols: KernelSymbols
) -> None:
    """Raise ``BadInput`` for an expression that has no meaning at any probe, or is compared with
    a word that stands for no number."""
    asked = c_expressions(where)
    texts = list(dict.fromkeys([*show, *asked]))
    if not texts:
        return
    places = [probe.place for probe in probes]
    numbers = set()
    for text, answers in zip(texts, symbols.dwarf.shows(texts, places), strict=True):
        if all(answer.error for answer in answers):
            place = probes[0].place
            option = "--show" if text in show else "--where"
            names = ", ".join(argument.name for argument in place.args)
            raise BadInput(
                f"{option} '{text}': {answers[0].error}",
                f"names at {probes[0].name}: {names or 'none'}",
                f"kernlab trace {probes[0].name} --show '{_example(place)}'",
            )
        if all(answer.error or answer.kind == "number" for answer in answers):
            numbers.add(text)
    _check_words(where, numbers)


def not_set(texts: Sequence[str], probes: Sequence[Probe]) -> list[str]:
    """What to tell of expressions that view an skb's header where it is not set yet, by the
    table of sites. Raises ``BadInput`` where it is at no probe."""
    notes = []
    for text in texts:
        headers = {ACCESSORS[call].header for call in _CALLS.findall(text) if call in ACCESSORS}
        blind = [p for p in probes if any(not _is_set(header, p.site) for header in headers)]
        if not blind:
            continue
        names = ", ".join(dict.fromkeys(probe.name for probe in blind))
        if len(blind) == len(probes):
            raise BadInput(
                f"'{text}' has no value at {names}: the header it reads is not set there yet",
                f"{blind[0].site.why}\na field of the event has one, as in --where 'flags has FIN'",
                "kernlab trace tcp_v4_do_rcv",
            )
        notes.append(f"{text} has no value at {names}, where that is not set yet")
    return notes


def _is_set(header: str, site: sites.SiteRow) -> bool:
    if site is sites.UNLISTED or header in ("", "mac"):
        return True
    if header == "cb":
        return site.tcp_cb
    if header == "network" and site.header in protocols.BY_NAME:
        return False  # that header alone is built
    unset = {"transport": ("none", "network", "cb"), "network": ("none", "cb")}
    return site.header not in unset[header]


def _check_words(where: expr.Expr | None, numbers: set[str]) -> None:
    for test in where.tests() if where is not None else ():
        if test.name.removeprefix(SHOW) not in numbers or test.operator == "~":
            continue
        values = test.value if isinstance(test.value, tuple) else (test.value,)
        for value in values:
            if isinstance(value, str) and not _ADDRESS.match(value) and (number_of(value) is None):
                close = near(value.upper(), TCP_STATES.values())
                others = "a number, the name of a TCP state, or flags"
                raise BadInput(
                    f"--where: {test.name} is a number, and '{value}' is not the name of one",
                    f"did you mean {close[0]}?" if close else others,
                    f"--where '{test.name} == {close[0] if close else 1}'",
                )


def _example(place: Function | Line) -> str:
    for argument in place.args:
        if argument.type == "struct sk_buff *":
            return f"{argument.name}->len"
        if argument.type == "struct sock *":
            return f"{argument.name}->sk_err"
    return place.args[0].name if place.args else "jiffies"
