"""What a schedule may run into: whom one vCPU waits for, limits that pass, and kills."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command
import psutil
import pytest
from leftovers import naming

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]

WAITS = """
title: what B waits for
idea: what B waits for
source: [kernel/]
program: waits.c
args: [{what}]
topology: loopback
actors: {{A: {{vcpu: 1}}, B: {{vcpu: 0}}}}
steps:
  - {{hold: A, at: {held}}}
  - {{run: B, until: {until}, limit: {limit}}}
  - release: all
endings:
  - {{id: over, title: over, when: [{{got: {{over: 1}}}}]}}
"""
MTU = "[dev_set_mtu_ext, netif_set_mtu_ext]"
# What B wants, where A stands with it, and what is said of it.
WANTS = {
    "mutex": (MTU, "waits for rtnl_mutex, held by A"),
    "ipi": ("__do_sys_getppid", "waits for the answer to an IPI of A"),
    "rcu": ("__do_sys_getppid", "waits for an RCU grace period of A"),
    "sock": (
        "inet_csk_get_port",
        "waits for the ownership (owned) of the socket :0 (CLOSE), held by A since",
    ),
    # tcp_recvmsg() takes it at its beginning, and anew in its loop: no line is certain.
    "recv": ("tcp_rcv_space_adjust", "(ESTABLISHED), held by A, which is stopped in tcp_recvmsg"),
}


def written(directory: Path, **words: Any) -> str:
    shutil.copy2(Path(__file__).with_name("waits.c"), directory)
    path = directory / "mine.yaml"
    path.write_text(WAITS.format(**words))
    return str(path)


def rounds(kernlab: Kernlab, out: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    said = kernlab("race", "run", *words, "--json", "--out", str(out))
    assert b"Traceback" not in said.stderr
    return said.returncode, [json.loads(line) for line in said.stdout.splitlines()]


@pytest.mark.parametrize("what", WANTS)
def test_who_would_wait_for_ever_is_told_for_what(
    kernlab: Kernlab, tmp_path: Path, what: str
) -> None:
    held, words = WANTS[what]
    mine = written(tmp_path, what=what, held=held, until="tcp_v4_mtu_reduced", limit=10)
    status, (one,) = rounds(kernlab, tmp_path / "run", mine)
    assert status == 1
    assert (one["trouble"], one["ending"]) == ("blocked", None)
    assert words in one["said"]
    assert "never comes to tcp_v4_mtu_reduced" in one["said"]
    if what == "recv":
        record = max((tmp_path / "run" / "mine").glob("round-*/events.jsonl"))
        first, last = map(json.loads, record.read_text().splitlines())
        (lock,) = first["race"]["locks"]
        assert lock["name"] == "sk->sk_lock.owned"
        assert lock["func"].startswith("tcp_recvmsg")
        assert "since" not in lock
        assert "since" not in last["race"]["waits"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["result"]["healthy"]


def test_a_deadlock_over_a_spinlock_names_it_and_the_line_that_took_it(
    kernlab: Kernlab, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    text = WAITS.format(
        what="", held="inet_ehash_insert, when: osk != 0", limit=10, until="tcp_data_ready"
    )
    for old, new in (
        ("waits.c", "r1"),
        ("args: []\n", ""),
        ("topology: loopback", "topology: tun"),
        (
            "  - {run",
            "  - {hold: A, at: {word: osk->__sk_common.skc_nulls_node.pprev, "
            "becomes: 0}}\n  - {run",
        ),
    ):
        text = text.replace(old, new)
    mine.write_text(text)
    status, (one,) = rounds(kernlab, tmp_path / "run", str(mine))
    assert (status, one["trouble"]) == (1, "blocked")
    event = json.loads(
        (tmp_path / "run" / "mine" / "round-001" / "events.jsonl").read_text().splitlines()[-1]
    )
    waits = event["race"]["waits"]
    assert (waits["kind"], waits["held_by"], waits["addr"]) == ("lock", "A", event["args"]["lock"])
    assert f"{waits['func']} ({waits['file']}:{waits['since']})" in one["said"]
    assert all(lock["addr"] != waits["addr"] for lock in event["race"]["locks"])


def test_a_step_ends_within_its_limit_and_the_guest_lives_on(
    kernlab: Kernlab, tmp_path: Path
) -> None:
    mine = written(
        tmp_path,
        what="loop",
        held="__do_sys_getppid",
        until="[tcp_v4_mtu_reduced, blocked]",
        limit=1,
    )
    status, told = rounds(kernlab, tmp_path / "run", mine, "--times", "3")
    assert status == 1
    assert [one["trouble"] for one in told] == ["timeout"] * 3
    assert all("in 1 s; vCPU 0 is in " in one["said"] for one in told)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["result"]["healthy"]


class Running:
    """A race under way, until a step of its first round has been taken."""

    def __init__(self, out: Path, stops: int) -> None:
        self.out = out
        self.child = subprocess.Popen(
            command.kernlab("race", "run", "R3", "--times", "4", "--json", "--out", str(out)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        events = out / "R3" / "round-001" / "events.jsonl"
        limit = time.monotonic() + 100
        while not (events.exists() and events.read_bytes().count(b"\n") >= stops):
            assert self.child.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.002)

    def kill(self, name: str) -> None:
        for one in naming(str(self.out)) + psutil.Process(self.child.pid).children(recursive=True):
            if one.is_running() and one.name().startswith(name):
                one.send_signal(signal.SIGKILL)
                return
        raise AssertionError(f"no {name} runs")

    def ended(self) -> tuple[int, bytes, bytes]:
        out, said = self.child.communicate(timeout=300)
        return self.child.returncode, out, said

    def nothing_left(self) -> None:
        limit = time.monotonic() + 20
        while (alive := naming(str(self.out))) and time.monotonic() < limit:
            psutil.wait_procs(alive, timeout=0.5)
        assert [one.cmdline() for one in naming(str(self.out))] == []


@pytest.mark.parametrize("stops", [1, 2, 3])
def test_kernlab_killed_at_any_step_leaves_nothing(
    tmp_path: Path, kernel: object, image: object, stops: int
) -> None:
    running = Running(tmp_path / "run", stops)
    running.child.kill()
    running.child.communicate(timeout=60)
    running.nothing_left()


@pytest.mark.parametrize("stops", [1, 2, 3])
def test_a_dead_gdb_costs_the_round_alone(
    tmp_path: Path, kernel: object, image: object, stops: int
) -> None:
    running = Running(tmp_path / "run", stops)
    running.kill("gdb")
    status, out, said = running.ended()
    assert status == 0, said.decode()
    assert [json.loads(line)["ending"] for line in out.splitlines()] == ["loser-gone"] * 4
    result = json.loads((tmp_path / "run" / "run.json").read_text())["result"]
    assert (result["again"], result["healthy"]) == (1, True)
    running.nothing_left()


@pytest.mark.parametrize("stops", [1, 3])
def test_a_dead_qemu_is_told(tmp_path: Path, kernel: object, image: object, stops: int) -> None:
    running = Running(tmp_path / "run", stops)
    running.kill("qemu")
    status, _, said = running.ended()
    assert status == 4, said.decode()
    assert b"QEMU" in said
    assert b"next: " in said
    assert b"Traceback" not in said
    running.nothing_left()
