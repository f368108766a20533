"""The matcher: frames, conditions, what came before in the same call. And the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernlab.config.yaml import parse
from kernlab.decode.protocols.tcp import tcp_header
from kernlab.errors import BadInput
from kernlab.reasons.match import UNKNOWN, Matcher, findings, one_call
from kernlab.reasons.model import Reason, table
from kernlab.reasons.pairs import Wire
from kernlab.reasons.report import complete, source_lines, state_after
from kernlab.reasons.wire import explained, shape
from kernlab.record import pcapng

RULE = """
name: test
kind: active
source: none
probes: [sender]
frames: [[inner, other], outer]
not_frames: [never]
when: "show.flag == 1 and before.first.sock.state == ESTABLISHED"
decides: outer
reads: {flag: "sk->x"}
earlier: [{probe: first, same: sock}]
says: said
condition: "flag {flag}, state {sock.state}, was {before.first.sock.state}, {nothing}"
errno: {local: none, peer: none}
remedy: none
"""


def rule(text: str = RULE) -> Reason:
    return parse(text, Reason, "X1.yaml")


def frames(*names: str | tuple[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "func": name if isinstance(name, str) else name[0],
            "line": 1 if isinstance(name, str) else name[1],
        }
        for name in names
    ]


def event(probe: str, stack: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "probe": probe,
        "cpu": 0,
        "task": {"pid": 7},
        "stack": stack,
        "sock": {"addr": "0x1", "state": "CLOSE"},
        "show": {"flag": 1},
        **more,
    }


FIRST = event(
    "first", frames("first", ("outer", 5), "sys"), sock={"addr": "0x1", "state": "ESTABLISHED"}
)
SENDER = event("sender", frames("sender", "inner", "between", ("outer", 9), "sys"))


def cause(*events: dict[str, Any], one: Reason | None = None) -> str:
    return [found.cause for found in findings(events, {"X1": one or rule()})][-1]


def test_a_rule_matches_by_frames_condition_and_what_came_before() -> None:
    (found,) = findings([FIRST, SENDER], {"X1": rule()})
    assert found.cause == "X1"
    assert found.also == ()
    assert SENDER["stack"][found.decides]["func"] == "outer"
    assert found.condition() == "flag 1, state CLOSE, was ESTABLISHED, ?"
    assert found.as_data()["state_before"] == "ESTABLISHED"


@pytest.mark.parametrize(
    "events",
    [
        [SENDER],  # nothing came before
        [{**FIRST, "cpu": 1}, SENDER],
        [{**FIRST, "task": {"pid": 8}}, SENDER],
        [{**FIRST, "sock": {"addr": "0x2", "state": "ESTABLISHED"}}, SENDER],
        [{**FIRST, "stack": frames("first", ("elsewhere", 5), "sys")}, SENDER],
        [FIRST, {**SENDER, "show": {"flag": 0}}],
        [FIRST, {**SENDER, "show": {}}],  # what was not read fits nothing
        [FIRST, {**SENDER, "stack": frames("sender", ("outer", 9), "sys")}],
        [FIRST, {**SENDER, "stack": frames("sender", "inner", "never", ("outer", 9), "sys")}],
        [FIRST, {**SENDER, "stack": frames("sender", ("outer", 9), "inner", "sys")}],
    ],
)
def test_what_does_not_fit_is_unknown_never_guessed(events: list[dict[str, Any]]) -> None:
    assert cause(*events) == UNKNOWN


def test_another_call_of_the_same_function_is_not_the_same_call() -> None:
    """Two system calls one after the other: their stacks part where nothing is equal."""
    first = {**FIRST, "stack": frames("first", ("outer", 5), ("sys", 1))}
    second = {**SENDER, "stack": frames("sender", "inner", ("outer", 9), ("other", 1))}
    assert not one_call(first, second)
    assert cause(first, second) == UNKNOWN


def test_the_latest_of_several_is_meant() -> None:
    newer = {**FIRST, "sock": {"addr": "0x1", "state": "SYN_RECV"}}
    assert cause(FIRST, newer, SENDER) == UNKNOWN
    assert cause(newer, FIRST, SENDER) == "X1"


def test_a_special_case_stands_instead_of_the_general_one() -> None:
    general = rule(
        RULE.replace('when: "show.flag == 1 and before.first.sock.state == ESTABLISHED"', "")
    )
    special = rule(RULE + "instead_of: [G]\n")
    (found,) = findings([FIRST, SENDER], {"G": general, "S": special})
    assert (found.cause, found.also) == ("S", ())
    (found,) = findings([FIRST, SENDER], {"G": general, "S": rule()})
    assert (found.cause, found.also) == ("G", ("S",))


def test_the_shipped_table_is_in_order() -> None:
    reasons = table()
    assert {"A1", "P2"} <= set(reasons)
    for key, reason in reasons.items():
        for name in reason.instead_of:
            assert name in reasons, key
        for name in reason.reads:
            assert f"show.{name}" in (reason.when or "") or f"{{{name}}}" in reason.condition, key


def test_two_files_that_read_two_things_under_one_name_are_told(own_home: Path) -> None:
    directory = own_home / "configs" / "reasons"
    directory.mkdir(parents=True)
    (directory / "X1.yaml").write_text(RULE)
    (directory / "X2.yaml").write_text(RULE.replace("sk->x", "sk->y"))
    with pytest.raises(BadInput, match=r"reads\.flag"):
        table()


def test_the_detective_asks_for_senders_first() -> None:
    assert Matcher({"X1": rule()}).probes == ["sender", "first"]


def test_a_completed_event_has_the_segment_and_the_state_after() -> None:
    (found,) = findings(
        [FIRST, {**SENDER, "sock": {"addr": "0x1", "state": "ESTABLISHED"}}], {"X1": rule()}
    )
    later = [
        event("tcp_set_state", [], sock={"addr": "0x2"}, args={"state": 1}),
        event("tcp_set_state", [], sock={"addr": "0x1"}, args={"state": 7}),
    ]
    assert state_after(found, []) == "ESTABLISHED"
    packet = {
        "flags": "RA",
        "seq": 5,
        "ack": 6,
        "win": 9,
        "src": "::1",
        "sport": 1,
        "dst": "::1",
        "dport": 2,
    }
    done = complete(found, {"number": 3, "packet": packet}, later, {"OutRsts": 1})
    assert done["rst"]["state_after"] == "CLOSE"
    assert done["rst"]["frame"] == 3
    assert done["rst"]["segment"]["flags"] == "RA"
    assert done["rst"]["moved"] == {"OutRsts": 1}
    assert done["before"]["first"]["sock"]["state"] == "ESTABLISHED"


def test_each_rst_of_a_capture_is_claimed_once() -> None:
    wire = Wire()
    way = {"src": "10.0.0.1", "sport": 80, "dst": "10.0.0.2", "dport": 9}
    back = {"src": "10.0.0.2", "sport": 9, "dst": "10.0.0.1", "dport": 80}
    wire.add(
        [
            {"number": 1, "packet": {**way, "flags": "R"}},
            {"number": 2, "packet": {**way, "flags": "A"}},
            {"number": 3, "packet": {**way, "flags": "R"}},
        ]
    )
    passive = {"probe": "tcp_v4_send_reset", "packet": back}
    mapped = {
        "probe": "tcp_send_active_reset",
        "sock": {**way, "src": "::ffff:10.0.0.1", "dst": "::ffff:10.0.0.2"},
    }
    first, second = wire.claim(passive), wire.claim(mapped)
    assert first is not None
    assert second is not None
    assert (first["number"], second["number"], wire.claim(passive)) == (1, 3, None)


def test_source_lines_come_from_the_tree(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("one\n\ttwo\nthree\n")
    assert source_lines(tmp_path, {"file": "a.c", "line": 2}) == [
        [1, "one"],
        [2, "        two"],
        [3, "three"],
    ]
    assert source_lines(tmp_path, {"file": "a.c", "line": 1})[0] == [1, "one"]
    assert source_lines(tmp_path, {"file": "b.c", "line": 1}) == []


# -- captures ----------------------------------------------------------------------------


def tcp(sport: int, dport: int, flags: int, seq: int, ack: int, win: int, data: int = 0) -> bytes:
    head = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + seq.to_bytes(4, "big")
    head += ack.to_bytes(4, "big") + bytes([0x50, flags]) + win.to_bytes(2, "big") + bytes(4)
    assert tcp_header(head, 20)["win"] == win
    client = sport > dport
    src, dst = (b"\x0a\0\0\x02", b"\x0a\0\0\x01") if client else (b"\x0a\0\0\x01", b"\x0a\0\0\x02")
    total = (40 + data).to_bytes(2, "big")
    return b"\x45\0" + total + bytes(4) + b"\x40\x06\0\0" + src + dst + head + bytes(data)


def capture(path: Path, *segments: bytes) -> Path:
    pcapng.write(path, (pcapng.Captured(n, pcapng.RAW, len(s), s) for n, s in enumerate(segments)))
    return path


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        ({"flags": "R", "seq": 5, "win": 0}, "passive"),
        ({"flags": "R", "seq": 5, "win": 7}, "other"),
        ({"flags": "R", "seq": 5, "win": 0, "options": {"ts": [1, 2]}}, "other"),
        ({"flags": "RA", "seq": 0, "win": 0}, "passive-syn"),
        ({"flags": "RA", "seq": 5, "win": 0}, "active"),  # tcp_select_window(): no room
        ({"flags": "RA", "seq": 5, "win": 7}, "active"),
        ({"flags": "RAE", "seq": 5, "win": 7}, "active"),  # tcp_ecn_send()
        ({"flags": "RPA", "seq": 5, "win": 7}, "other"),
        ({"flags": "RA", "seq": 5, "win": 7, "len": 3}, "other"),
        ({"flags": "R", "seq": 5, "win": 0, "options": {"md5": "00"}}, "passive"),
        ({"flags": "R", "seq": 5, "win": 0, "options": {"mptcp": ["MP_TCPRST"]}}, "passive"),
    ],
)
def test_shapes(packet: dict[str, Any], wanted: str) -> None:
    assert shape(packet) == wanted


def test_a_capture_is_explained_by_shape_and_by_what_came_before(tmp_path: Path) -> None:
    path = capture(
        tmp_path / "a.pcapng",
        tcp(9000, 80, 2, 100, 0, 65535),
        tcp(80, 9000, 0x12, 500, 101, 65535),
        tcp(9000, 80, 0x10, 101, 501, 65535),
        tcp(9000, 80, 0x18, 101, 501, 65535, 5),
        tcp(80, 9000, 0x14, 501, 106, 1024),
        tcp(9000, 80, 0x18, 106, 501, 65535, 4),
        tcp(80, 9000, 4, 501, 0, 0),
        tcp(9001, 81, 2, 7, 0, 65535),
        tcp(81, 9001, 0x14, 0, 8, 0),
    )
    rows = list(explained(path, table()))
    assert [row["rst"]["shape"] for row in rows] == ["active", "passive", "passive-syn"]
    assert [row["number"] for row in rows] == [5, 7, 9]
    assert "A1" in [one["id"] for one in rows[0]["rst"]["causes"]]
    assert rows[1]["rst"]["answers"]
    assert rows[1]["before"]["provoked"]["packet"]["len"] == 4
    assert rows[2]["rst"]["answers"]
    assert rows[0]["connection"]["established"]
    assert not rows[2]["connection"]["established"]
