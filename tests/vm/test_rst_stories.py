"""RSTs that are easily told wrongly, each by a small program, held against tcpdump's capture."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kernlab.record.event import validate

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]
Row = dict[str, Any]
STORIES = [
    "raw-syn",
    "raw-syn 6",
    "forged",
    "forged 6",
    "md5",
    "md5 6",
    "killed 6",
    "ended",
    "user-timeout",
    "user-timeout 6",
    "gone",
    "after",
    "reuse 6",
    "namespace",
    "queue",
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resets") / "resets"
    source = Path(__file__).with_name("resets.c")
    subprocess.run(["gcc", "-static", "-O1", "-o", path, source], check=True)
    return path


class Told(NamedTuple):
    """One run of all stories."""

    events: list[Row]
    out: Path
    said: str

    def of(self, port: int, six: bool = False) -> list[Row]:
        """The RSTs of a story, in the order of the capture."""
        found = [
            event
            for event in self.events
            if port
            in (
                event["rst"].get("segment", event.get("packet", {})).get("sport"),
                event["rst"].get("segment", event.get("packet", {})).get("dport"),
            )
            and (":" in str(ends(event))) == six
        ]
        return sorted(found, key=lambda event: event["rst"].get("frame", 0))


def ends(event: Row) -> str:
    about = event.get("packet") or event["sock"]
    return f"{about['src']} {about['dst']}"


@pytest.fixture(scope="module")
def told(kernlab: Kernlab, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    out = tmp_path_factory.mktemp("stories") / "run"
    script = program.with_name("stories.sh")
    script.write_text("#!/bin/bash\n" + "".join(f"/mnt/share/resets {one}\n" for one in STORIES))
    script.chmod(0o755)
    said = kernlab(
        "rst",
        "--share",
        str(program),
        "--share",
        str(script),
        "--json",
        "--out",
        str(out),
        "--timeout",
        "400",
        "--",
        "/mnt/share/stories.sh",
    )
    assert said.returncode == 0, said.stderr.decode()
    assert b"time-out" not in said.stderr
    return Told([json.loads(line) for line in said.stdout.splitlines()], out, said.stderr.decode())


def causes(found: list[Row]) -> list[tuple[str, list[str]]]:
    return [(event["rst"]["cause"], event["rst"].get("circumstances", [])) for event in found]


def test_each_rst_of_the_capture_is_told_once(told: Told) -> None:
    argv = [
        "tshark",
        "-r",
        str(told.out / "capture.pcapng"),
        "-Y",
        "tcp.flags.reset == 1",
        "-T",
        "fields",
        "-e",
        "frame.number",
    ]
    seen = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    frames = [event["rst"]["frame"] for event in told.events if "frame" in event["rst"]]
    assert sorted(frames) == sorted(map(int, seen))
    for event in told.events:
        validate(event)


@pytest.mark.parametrize("six", [False, True])
def test_a_syn_by_hand(told: Told, six: bool) -> None:
    (event,) = told.of(9120, six)
    assert causes([event]) == [("P1", ["raw-syn"])]
    rst = event["rst"]
    assert "resets[" in rst["says"]
    assert ("ip6tables" if six else "iptables -A OUTPUT") in rst["remedy"]
    assert "ECONNREFUSED" not in str(rst["errno"])


@pytest.mark.parametrize("six", [False, True])
def test_two_rsts_by_hand_and_what_followed(told: Told, six: bool) -> None:
    first, second, after = told.of(9110, six)
    assert [event["rst"]["cause"] for event in (first, second, after)] == [
        "foreign",
        "foreign",
        "P1",
    ]
    assert "not this one ended it" in first["rst"]["condition"]
    assert "took it and got ECONNRESET" in second["rst"]["condition"]
    assert after["rst"]["circumstances"] == ["after-effect"]
    assert f"frame {first['rst']['frame']}" in after["rst"]["says"]


@pytest.mark.parametrize("six", [False, True])
def test_a_refusal_without_a_key_is_no_rst(told: Told, six: bool) -> None:
    found = told.of(9140, six)
    assert causes(found) == [("P2", ["refused-before"])]
    assert "TCP-MD5" in found[0]["rst"]["says"]
    assert f"tcp_v{6 if six else 4}_send_reset() for" in told.said
    assert "no key" in told.said


def test_a_process_that_ends(told: Told) -> None:
    (killed,) = told.of(9150, True)
    assert causes([killed]) == [("A1", ["killed"])]
    assert "15 (SIGTERM)" in killed["rst"]["says"]
    (ended,) = told.of(9151)
    assert causes([ended]) == [("A1", ["ended"])]
    assert "exit status 3" in ended["rst"]["says"]


@pytest.mark.parametrize("six", [False, True])
def test_a_time_out_is_the_story(told: Told, six: bool) -> None:
    (event,) = told.of(9160, six)
    assert causes([event]) == [("P1", ["gave-up"])]
    assert event["history"]["unacked"] == 4
    assert event["history"]["user_timeout"] == 400
    assert "ETIMEDOUT" in event["rst"]["says"]


def test_a_connect_that_was_given_up(told: Told) -> None:
    (event,) = told.of(9130)
    assert causes([event]) == [("P1", ["connect-gone"])]


def test_what_follows_from_a_rst_names_it(told: Told) -> None:
    first, *rest = told.of(9180)
    assert first["rst"]["cause"] == "A1"
    assert rest
    assert causes(rest) == [("P1", ["after-effect"])] * len(rest)
    assert all(f"frame {first['rst']['frame']}" in one["rst"]["says"] for one in rest)


def test_a_sibling_refuses_for_a_listener_that_closed(told: Told) -> None:
    found = told.of(9100, True)
    sibling = [event for event in found if event["rst"]["kind"] == "passive"]
    assert sibling
    assert {cause for cause, _ in causes(sibling)} == {"P6"}
    assert all("sibling" in names for _, names in causes(sibling))
    for event in sibling:
        before = event["before"]["inet_csk_reqsk_queue_drop_and_put"]
        assert before["sock"]["state"] == "NEW_SYN_RECV"


def test_a_namespace_of_its_own(told: Told) -> None:
    (event,) = told.of(9190)
    assert causes([event]) == [("P1", ["refused"])]
    (other,) = told.of(9130)
    assert event["netns"] != other["netns"]
    assert event["rst"].get("sent") is not False  # nobody looked there, or it was seen
    assert event["rst"]["moved"]["OutRsts"] == 1  # its own namespace's


def test_a_full_accept_queue_is_why(told: Told) -> None:
    refused = [event for event in told.of(9170) if event["rst"]["cause"] == "P2"]
    assert refused
    assert all(names[0].startswith("accept-queue") for _, names in causes(refused))


def test_the_time_out_is_told_and_what_the_stopping_made(
    kernlab: Kernlab, program: Path, tmp_path: Path
) -> None:
    said = kernlab(
        "rst",
        "--share",
        str(program),
        "--timeout",
        "8",
        "--out",
        str(tmp_path / "run"),
        "--",
        "/mnt/share/resets",
        "late",
    )
    text = " ".join(said.stdout.decode().split())
    assert said.returncode == 0
    assert "the program was stopped after 8 s (--timeout 8)" in text
    assert "RSTs 1 sent" in text
    assert "1 RST was sent because of that" in text
    assert "The stopping of the program made it" in text


def test_no_rst_is_an_answer_too(kernlab: Kernlab, program: Path, tmp_path: Path) -> None:
    said = kernlab(
        "rst",
        "--share",
        str(program),
        "--out",
        str(tmp_path / "run"),
        "--",
        "/mnt/share/resets",
        "silence",
    )
    text = " ".join(said.stdout.decode().split())
    assert "RSTs 0 sent" in text
    assert ":9200: " in text
    assert "no answer" in text
    assert "ICMP from 127.0.0.1: port unreachable" in text
    assert "got ECONNREFUSED" in text
