"""One way for an event: begun in one place, numbered and noted by whoever writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kernlab.decode import expr
from kernlab.leg.run import Run, Setup, deaf
from kernlab.record.event import begin, validate
from kernlab.record.leg import LegDir
from kernlab.record.store import EventWriter, read_events
from kernlab.trace.engine import Counted, HitFilter
from kernlab.vm.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [p for top in ("kernlab", "gdb_scripts") for p in sorted((ROOT / top).rglob("*.py"))]
REASONS = {2: "SKB_DROP_REASON_NOT_SPECIFIED", 3: "SKB_DROP_REASON_NO_SOCKET"}


def dropped(number: int = 3) -> dict[str, Any]:
    site = {"func": "kfree_skb_reason", "file": "net/core/skbuff.c", "line": 7}
    event = begin("gdb", "kfree_skb_reason", 1, site, 5, {"pid": 1, "comm": "init"}, 4)
    skb = {"addr": "0xffff888000000100", "head": "0xffff888000000200", "users": 1}
    packet = {"proto": "tcp", "src": "10.0.0.1", "dst": "10.0.0.2", "seq": number, "flags": "S"}
    return {**event, "skb": skb, "packet": packet, "args": {"reason": number}}


def test_the_record_numbers_and_notes(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    given = [dropped(3), dropped(9)]
    with EventWriter(path, REASONS) as writer:
        for event in given:
            assert "seq" not in event
            writer.write(event)
    events = list(read_events(path))
    assert events == given
    assert [list(event)[:4] for event in events] == [["v", "seq", "engine", "probe"]] * 2
    assert [event["seq"] for event in events] == [1, 2]
    assert [event.get("drop") for event in events] == [{"reason": "NO_SOCKET"}, None]
    assert [event["packet"]["id"] for event in events] == ["p1", "p2"]
    for event in events:
        validate(event)


class _Process:
    """A guest's program that has ended."""

    def done(self) -> bool:
        return True

    def wait(self, timeout: float) -> int:
        return 0


class _Recorder:
    """An engine that has seen two drops."""

    reasons = REASONS

    def events(self, seconds: float) -> Iterator[dict[str, Any]]:
        return iter(())

    def drain(self) -> Iterator[dict[str, Any]]:
        yield from (dropped(2), dropped(3))

    def ended(self) -> bool:
        return False


def test_a_lab_s_events_have_the_reason_too(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    channel = SimpleNamespace(start=lambda argv, **sinks: _Process(), ping=lambda limit: None)
    machine = cast(Machine, SimpleNamespace(channel=channel))
    heard: list[int] = []

    def hear(kind: str, text: str = "", value: str = "", event: Any = None) -> None:
        if kind == "event":
            heard.append(event["seq"])

    for name, listener in (("first", hear), ("second", deaf)):
        leg = LegDir(tmp_path / name)
        Run(Setup("L00", "one"), machine, tmp_path / "share", leg, _Recorder(), listener).run()
        found = [(event["seq"], event["drop"]["reason"]) for event in read_events(leg.events)]
        assert found == [(1, "NOT_SPECIFIED"), (2, "NO_SOCKET")]
    assert heard == [1, 2]


@pytest.mark.parametrize(
    ("where", "depth", "kept"),
    [
        ("", 3, ["a", "b"]),
        ("", 1, ["a"]),
        ("stack has b", 1, ["a"]),
        ("stack has b", 0, None),
        ("stack has c", 1, ()),
        ("probe == other", 3, ()),
    ],
)
def test_the_filter_sees_the_whole_stack_and_keeps_what_was_asked(
    where: str, depth: int, kept: Any
) -> None:
    counted = Counted()
    event = begin("gdb", "a", 0, {"func": "a"}, 5) | {"stack": [{"func": "a"}, {"func": "b"}]}
    passes = HitFilter(expr.parse(where) if where else None, depth, counted)
    found = list(passes.passed(event))
    assert counted.filtered == (kept == ())
    names = [one.get("stack") and [frame["func"] for frame in one["stack"]] for one in found]
    assert names == ([] if kept == () else [kept])


def heads(source: str) -> list[str]:
    """Where a module begins an event, numbers one or judges one by a filter of its own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        keys: set[Any] = set()
        if isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        if {"engine", "probe"} <= keys:
            found.append("begins")
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            keys = {node.slice.value} if isinstance(node.slice, ast.Constant) else set()
            target = ast.unparse(node.value)
            found += ["numbers"] * (target == "event" and "seq" in keys)
            found += ["notes"] * (target == "event" and "drop" in keys)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("event.update", "dict"):
            found += ["numbers"] * any(word.arg == "seq" for word in node.keywords)
    return found


def test_each_step_on_the_way_of_an_event_is_in_one_place() -> None:
    found = {str(path.relative_to(ROOT)): heads(path.read_text()) for path in SOURCES}
    assert {name: steps for name, steps in found.items() if steps} == {
        "kernlab/record/drops.py": ["notes"],
        "kernlab/record/event.py": ["begins", "numbers"],
    }
    filters = {
        str(path.relative_to(ROOT))
        for folder in ("trace", "race", "leg", "lab", "record")
        for path in sorted((ROOT / "kernlab" / folder).rglob("*.py"))
        if "expr.passes(" in path.read_text()
    }
    assert filters == {"kernlab/trace/engine.py"}
