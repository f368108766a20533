"""configs/rst.yaml: the senders of a RST and where they return without one, what else is
watched of a connection, and what is said otherwise where more is known of a cause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from kernlab.config.paths import config_file
from kernlab.config.text import Language, Text, say
from kernlab.config.yaml import Model, load
from kernlab.decode import expr
from kernlab.decode.fields import FLAGS, type_of, values
from kernlab.decode.names import flags_words
from kernlab.record.expression import Expression

_FIELD = re.compile(r"\{([\w.]+)\}")


class Silence(Model):
    """Why a sender returns without a RST; the keys are explained in the file."""

    when: Expression
    says: Text
    certain: bool = False


class Sender(Model):
    """A function that sends a RST."""

    kind: Literal["active", "passive", "netfilter"]
    passes: str | None = None
    reads: dict[str, str] = {}
    silent: list[Silence] = []

    def silence(self, event: Mapping[str, Any], certain: bool) -> Silence | None:
        """The first reason to send nothing that holds for this call."""
        for one in self.silent:
            if (one.certain or not certain) and holds(one.when, event):
                return one
        return None


class Watch(Model):
    """A function whose calls tell of a connection, or of a task's end."""

    why: str
    tells: Literal["connect", "error", "inject"] | None = None
    same: Literal["task"] | None = None
    reads: dict[str, str] = {}


class Circumstance(Model):
    """What is said of a cause where more is known: ``says``, ``name``, ``local``, ``peer``,
    ``remedy`` and ``counters`` stand instead of the cause's; ``adds`` is one more sentence.
    ``causes``: none means all."""

    id: str
    causes: list[str] = []
    when: Expression
    name: Text | None = None
    says: Text | None = None
    adds: Text | None = None
    local: Text | None = None
    peer: Text | None = None
    remedy: Text | None = None
    counters: list[str] = []

    def fits(self, cause: str, event: Mapping[str, Any]) -> bool:
        return (not self.causes or cause in self.causes) and holds(self.when, event)


class RstTable(Model):
    senders: dict[str, Sender]
    watches: dict[str, Watch] = {}
    circumstances: list[Circumstance] = []

    def tells(self, probe: str) -> str | None:
        """What a watch's event tells."""
        watch = self.watches.get(probe)
        return watch.tells if watch is not None else None

    def passes(self) -> dict[str, list[str]]:
        """The functions that are reached once a sender has passed its checks, with the
        senders that call them."""
        found: dict[str, list[str]] = {}
        for name, sender in self.senders.items():
            if sender.passes is not None:
                found.setdefault(sender.passes, []).append(name)
        return found

    def said(self, cause: str, event: Mapping[str, Any]) -> Iterator[Circumstance]:
        """What is to be said of this RST: the first that replaces words, and all that add."""
        replaced = False
        for one in self.circumstances:
            if (one.says is None or not replaced) and one.fits(cause, event):
                replaced = replaced or one.says is not None
                yield one


def table() -> RstTable:
    """The user's own rst.yaml or the shipped one. Raises ``BadInput``."""
    return load(config_file("rst.yaml"), RstTable)


def holds(text: str, event: Mapping[str, Any]) -> bool:
    """Whether a condition is true; one that asks for an absent field is not."""
    return expr.parse(text).evaluate(event) is True


def filled(text: str, event: Mapping[str, Any]) -> str:
    """``{name}`` replaced with the event's values, flags by name; a missing one is shown as ?."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        found = values(event, f"show.{name}") or values(event, name)
        if found and type_of(name) == FLAGS:
            return flags_words(str(found[0]))
        return str(found[0]) if found else "?"

    return _FIELD.sub(value, text)


def apply(
    said: dict[str, Any], event: Mapping[str, Any], rules: RstTable, language: Language = "en"
) -> None:
    """Say in ``said`` (an event's ``rst``) what its circumstances change; their ids are kept
    as ``circumstances``."""
    found = list(rules.said(str(said["cause"]), event))
    for one in found:
        for key, text in (("name", one.name), ("says", one.says), ("remedy", one.remedy)):
            if text is not None:
                said[key] = filled(say(text, language), event)
        for key, text in (("local", one.local), ("peer", one.peer)):
            if text is not None:
                said.setdefault("errno", {})[key] = filled(say(text, language), event)
        if one.counters:
            said["counters"] = list(one.counters)
    for one in found:
        if one.adds is not None:
            added = filled(say(one.adds, language), event)
            said["says"] = f"{said.get('says', '')} {added}".strip()
    if found:
        said["circumstances"] = [one.id for one in found]
