"""A race of a user's own, by path: on a real kernel twice, its pictures, and what is said of
it against that kernel before it runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import command
import pytest

ROOT = Path(__file__).resolve().parents[2]
MINE = ROOT / "docs" / "examples" / "late.yaml"
KERNEL = ("--kernel", command.VERSION) if command.VERSION else ()
Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def compared(kernlab: Kernlab, release: str) -> list[dict[str, Any]]:
    """The race compared on one kernel with itself."""
    said = kernlab(
        "race",
        "compare",
        str(MINE),
        "--kernel",
        release,
        "--kernel",
        release,
        "--times",
        "1",
        "--json",
    )
    assert said.returncode == 0, said.stderr.decode()
    return [json.loads(line) for line in said.stdout.splitlines()]


@pytest.fixture(scope="module")
def release(kernlab: Kernlab) -> str:
    from kernlab.kernel.built import newest

    built = newest(command.VERSION)
    assert built is not None
    return built.version


def test_a_kernel_agrees_with_itself(compared: list[dict[str, Any]]) -> None:
    one, other = compared
    assert one["endings"] == other["endings"] == {"rst": 1}
    assert one["places"] == other["places"]
    assert one["places"]["tcp_send_active_reset"]["at"].startswith("net/ipv4/tcp_output.c:")


def test_the_pictures_say_the_ending(compared: list[dict[str, Any]]) -> None:
    for row in compared:
        run = Path(row["run"])
        for path in (run / "timeline.svg", run / "late" / "round-001" / "timeline.svg"):
            text = " ".join(one.text or "" for one in ElementTree.parse(path).iter())
            assert "RST instead of FIN" in text
            assert "tcp_send_active_reset()" in text
            assert "tcp_send_active_reset(sk," in text  # the source line, from this very tree


def test_a_run_is_shown_from_its_record(kernlab: Kernlab, compared: list[dict[str, Any]]) -> None:
    shown = kernlab("race", "show", compared[0]["run"]).stdout.decode()
    assert "held at tcp_close()" in shown
    assert "40000 > 8080 [PSH-ACK] seq 1:6" in shown
    assert "sent by A, step 3" in shown
    lesson = kernlab("race", "show", str(MINE), *KERNEL).stdout.decode()
    assert "net/ipv4/tcp.c:" in lesson
    wrong = kernlab("race", "show", compared[0]["run"], "--round", "9")
    assert wrong.returncode == 2
    assert b"there are: 1" in wrong.stderr


@pytest.mark.parametrize(
    ("old", "new", "status", "words"),
    [
        ("at: tcp_close", "at: tcp_closed", 2, "9: step 1: this kernel has no function"),
        ("skc_num ==", "skc_nun ==", 2, "9: step 1: 'sk->__sk_common.skc_nun == 8080'"),
        (
            "at: tcp_close,",
            "at: {source: no such line, inside: tcp_close},",
            2,
            "9: step 1: tcp_close: 0 lines contain 'no such line'",
        ),
        (
            'at: tcp_close, when: "sk->__sk_common.skc_num == 8080"',
            "at: {inlined: [sk_nulls_replace_node_init_rcu, sk_nulls_del_node_init_rcu], "
            "inside: inet_ehash_insert}",
            0,
            "",
        ),
    ],
)
def test_what_a_kernel_lacks_is_said_without_a_boot(
    kernlab: Kernlab, tmp_path: Path, old: str, new: str, status: int, words: str
) -> None:
    text = MINE.read_text()
    assert old in text
    (tmp_path / "late.yaml").write_text(text.replace(old, new))
    (tmp_path / "late.c").write_text(MINE.with_suffix(".c").read_text())
    said = kernlab("race", "validate", str(tmp_path / "late.yaml"), *KERNEL)
    assert (said.returncode, words in said.stderr.decode()) == (status, True), said.stderr.decode()


def test_a_lock_that_would_be_waited_for_is_named(kernlab: Kernlab, tmp_path: Path) -> None:
    place = (
        "{inlined: [sk_nulls_replace_node_init_rcu, sk_nulls_del_node_init_rcu], "
        "inside: inet_ehash_insert}"
    )
    text = MINE.read_text().replace("late.c", "r1")
    text = text.replace('at: tcp_close, when: "sk->__sk_common.skc_num == 8080"', f"at: {place}")
    for until, warned in ((f"[{place}, done]", True), (f"[{place}, blocked]", False)):
        path = tmp_path / "mine.yaml"
        path.write_text(text.replace("until: [done, blocked]", f"until: {until}"))
        said = kernlab("race", "validate", str(path), *KERNEL)
        assert said.returncode == 0
        told = "B would wait for 'lock' that A holds since inet_ehash_insert, line "
        assert (told in said.stderr.decode()) == warned
