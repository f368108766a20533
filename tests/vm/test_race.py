"""Races, forced on a real kernel: each round comes to a known ending, and the guest lives on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernlab.kernel.model import Kernel
from kernlab.lessons.race import find, ids

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]
ROUNDS = 3


@pytest.mark.parametrize("name", ids())
def test_every_round_comes_to_the_same_ending(
    kernlab: Kernlab, kernel: Kernel, tmp_path: Path, name: str
) -> None:
    said = kernlab(
        "race", "run", name, "--times", str(ROUNDS), "--json", "--out", str(tmp_path / "run")
    )
    rounds = [json.loads(line) for line in said.stdout.splitlines()]
    assert [one["ending"] for one in rounds] == [find(name)[1].ends] * ROUNDS, said.stderr.decode()
    assert said.returncode == 0
    result = json.loads((tmp_path / "run" / "run.json").read_text())["result"]
    assert result["healthy"]
    assert result["again"] <= 1
    events = [
        event
        for path in sorted((tmp_path / "run" / name).glob("round-*/events.jsonl"))
        for event in map(json.loads, path.read_text().splitlines())
    ]
    check(name, events, kernel.source)
    if name == "R-TW":
        slock, owned = sorted(
            events[0]["race"]["locks"], key=lambda lock: lock["name"][-5:], reverse=True
        )
        assert slock["what"].startswith("spinlock (slock) of the socket :9000")
        assert owned["what"].startswith("ownership (owned) of the socket :9000")
        told = [(one["func"], line_of(one, kernel.source)) for one in (slock, owned)]
        assert told == [("__tcp_close", "bh_lock_sock(sk);"), ("tcp_close", "lock_sock(sk);")]


def line_of(lock: dict[str, Any], source: Path) -> str:
    return (source / lock["file"]).read_text().splitlines()[lock["since"] - 1].strip()


def taken(lock: dict[str, Any], event: dict[str, Any], source: Path) -> None:
    """The line that is told takes a lock, in a function that runs (or made the socket)."""
    running = {frame["func"] for frame in event["stack"]}
    assert lock["func"] in running | {"sk_clone_lock"}
    assert re.search(r"\b(spin_lock|(bh_)?lock_sock)\w*\(", line_of(lock, source))


def check(name: str, events: list[dict[str, Any]], source: Path) -> None:
    """The stops are where the schedule says, on the vCPU of the actor; who waits knows for
    whom."""
    vcpus = {"A": 1, "B": 0}
    for event in events:
        for lock in event["race"]["locks"]:
            taken(lock, event, source)
        assert event["cpu"] == vcpus[event["race"]["actor"]]
        assert event["stack"]
        waits = event["race"].get("waits")
        if waits and name in ("R1", "R1b"):
            assert (waits["kind"], waits["held_by"]) == ("lock", "A")
            assert waits["addr"] == event["args"]["lock"]


def test_every_order_is_tried_and_the_bad_one_found(kernlab: Kernlab, tmp_path: Path) -> None:
    said = kernlab("race", "explore", "R2", "--json", "--out", str(tmp_path / "run"))
    assert said.returncode == 0, said.stderr.decode()
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    hold, rest, other = "A to inet_csk_complete_hashdance", "A to its end", "B to its end"
    assert {tuple(row["order"]): row["outcome"] for row in rows} == {
        (hold, rest, other): "closed-after",
        (other, hold, rest): "closed-after",
        (hold, other, rest): "rst",
    }
    assert [row["order"] for row in rows if row["fired"]] == [[hold, other, rest]]
    assert json.loads((tmp_path / "run" / "explore.json").read_text()) == rows


KINDS = """
title: every kind of place
idea: every kind of place
source: [here]
program: r1
actors: {A: {vcpu: 1}, B: {vcpu: 0}}
steps:
  - {hold: A, at: tcp_v4_syn_recv_sock}
  - {hold: A, at: {returns: tcp_v4_syn_recv_sock}}
  - {hold: A, at: [no_such_function, inet_csk_complete_hashdance]}
  - {hold: A, at: {source: "inet_csk_reqsk_queue_drop(", inside: inet_csk_complete_hashdance}}
  - {hold: A, at: {inlined: [no_such, reqsk_queue_removed], inside: inet_csk_complete_hashdance}}
  - {hold: A, at: {word: "sk->sk_ack_backlog"}}
  - {hold: B, at: tcp_v4_rcv}
  - release: all
endings:
  - {id: through, title: through, when: [{got: {server.recv: 5}}]}
"""


def test_every_kind_of_place(kernlab: Kernlab, tmp_path: Path) -> None:
    mine = tmp_path / "kinds.yaml"
    mine.write_text(KINDS)
    said = kernlab("race", "run", str(mine), "--json", "--out", str(tmp_path / "run"))
    (one,) = (json.loads(line) for line in said.stdout.splitlines())
    assert one["ending"] == "through", said.stderr.decode()
    record = tmp_path / "run" / "kinds" / "round-001" / "events.jsonl"
    stops = [json.loads(line) for line in record.read_text().splitlines()]
    entry, returned, second, source, inlined, word, other = (
        [
            (frame["func"], stop["race"]["source"].get(f"{frame['file']}:{frame['line']}", ""))
            for frame in stop["stack"]
        ]
        for stop in stops
    )
    assert (entry[0][0], second[0][0]) == ("tcp_v4_syn_recv_sock", "inet_csk_complete_hashdance")
    assert returned[:5] == entry[1:6]  # its caller stands at the call, as before
    assert source[0][0] == "inet_csk_complete_hashdance"
    assert source[0][1].startswith("inet_csk_reqsk_queue_drop(")
    assert any("reqsk_queue_removed(" in text for _, text in inlined)
    assert other[0][0] == "tcp_v4_rcv"
    assert any("spin_unlock" in text or "sk_acceptq_added" in text for _, text in word)


def test_unforced_it_fires_now_and_then(kernlab: Kernlab, tmp_path: Path) -> None:
    said = kernlab(
        "race", "run", "R5", "--natural", "--times", "300", "--json", "--out", str(tmp_path / "run")
    )
    assert said.returncode == 0, said.stderr.decode()
    (row,) = map(json.loads, said.stdout.splitlines())
    moved = json.loads((tmp_path / "run" / "R5" / "natural" / "counters.json").read_text())
    assert row["tries"] == 300
    assert 0 < row["fired"] < 300
    assert row["fired"] == moved["conntrack.insert_failed"]


def test_a_window_is_measured(kernlab: Kernlab, tmp_path: Path) -> None:
    said = kernlab(
        "race", "run", "R1", "--natural", "--times", "50", "--json", "--out", str(tmp_path / "run")
    )
    assert said.returncode == 0, said.stderr.decode()
    (row,) = map(json.loads, said.stdout.splitlines())
    assert row["got"]["delivered"] == "50"
    kept = (tmp_path / "run" / "R1" / "window" / "trace.txt").read_text()
    assert kept.count(" open: ") >= 50
    # On a loaded host the guest may not know its clock's rate: then nothing may be told.
    rate = float(re.findall(r"cpu MHz\s*: ([\d.]+)", kept)[0])
    assert ("window" in row) == (rate > 0)
    if rate:
        assert row["window"]["of"] >= 50
        assert 0 < row["window"]["shortest_ns"] <= row["window"]["median_ns"]
