"""The detective on programs it has never seen, held against tcpdump and the kernel's counters."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernlab.record.event import validate

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]

# Nobody listens on port 9; then a server that reads nothing of what it was sent.
SCRIPT = """#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/9
mkfifo /tmp/done
busybox nc -l -p 7777 -e sh -c 'read go < /tmp/done' &
until exec 4<>/dev/tcp/127.0.0.1/7777; do :; done 2>/dev/null
echo unread >&4
echo go > /tmp/done
wait
"""


def rsts(said: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert b"Traceback" not in said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "never-seen.sh"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return path


def test_a_program_it_has_never_seen(kernlab: Kernlab, script: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = kernlab(
        "rst",
        "--share",
        str(script),
        "--json",
        "--out",
        str(out),
        "--",
        f"/mnt/share/{script.name}",
    )
    assert said.returncode == 0, said.stderr.decode()
    found = rsts(said)
    causes = [event["rst"]["cause"] for event in found]
    assert causes[0] == "P1"
    assert causes[-1] == "A1"
    assert set(causes) == {"P1", "A1"}  # connect() may be refused until the server listens
    refused = found[0]
    assert refused["packet"]["dport"] == 9
    assert refused["rst"]["segment"]["seq"] == 0
    (source,) = [row for row in refused["rst"]["source"] if "send_reset" in row[1]]
    assert source[0] == refused["stack"][refused["rst"]["decides"]]["line"]
    seen = resets(out / "capture.pcapng")
    assert len(found) == len(seen)
    for event, frame in zip(found, seen, strict=True):
        assert str(event["rst"]["frame"]) == frame["frame.number"]
        assert str(event["rst"]["segment"]["seq"]) == frame["tcp.seq_raw"]
    for number, event in enumerate(found, 1):
        validate(event)
        assert event["seq"] == number
    lines = (out / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["rst"]["cause"] for line in lines] == causes


def resets(capture: Path) -> list[dict[str, str]]:
    names = ["frame.number", "tcp.seq_raw"]
    argv = ["tshark", "-r", str(capture), "-Y", "tcp.flags.reset == 1", "-T", "fields"]
    for name in names:
        argv += ["-e", name]
    said = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [dict(zip(names, line.split("\t"), strict=True)) for line in said.stdout.splitlines()]


def test_count_and_where_are_about_rsts(kernlab: Kernlab) -> None:
    found = rsts(
        kernlab(
            "rst",
            "--workload",
            "connect-closed",
            "--count",
            "3",
            "--json",
            "--where",
            "rst.cause == P1 and packet.dport == 9",
        )
    )
    assert [event["rst"]["cause"] for event in found] == ["P1"] * 3
    assert all(event["rst"]["moved"]["OutRsts"] >= 1 for event in found)


def test_a_lab_is_explained(kernlab: Kernlab) -> None:
    found = rsts(kernlab("rst", "--lab", "L03", "--json", "--where", "family == ipv4"))
    assert [(event["lab"], event["rst"]["cause"]) for event in found] == [("L03", "A1")]
    rst = found[0]["rst"]
    assert (rst["state_before"], rst["state_after"]) == ("ESTABLISHED", "CLOSE")
    assert rst["segment"]["flags"] == "RA"
    assert found[0]["stack"][rst["decides"]]["func"] == "__tcp_close"


def test_its_capture_is_explained_without_a_kernel(kernlab: Kernlab, tmp_path: Path) -> None:
    out = tmp_path / "run"
    kernlab("rst", "--out", str(out))
    found = rsts(kernlab("rst", "explain", str(out / "capture.pcapng"), "--json"))
    assert {row["rst"]["shape"] for row in found} == {"passive-syn"}
    assert all("P1" in [one["id"] for one in row["rst"]["causes"]] for row in found)
    assert all(row["rst"]["answers"] for row in found)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["rst", "--workload", "htp"], 2, b"did you mean http"),
        (["rst", "--lab", "L3"], 2, b"no lab 'L3'"),
        (["rst", "--lab", "L03", "--workload", "http"], 2, b"together"),
        (["rst", "--where", "flagz == S"], 2, b"no field 'flagz'"),
        (["rst", "--share", "/no/such/file", "--", "/mnt/share/file"], 2, b"/no/such/file"),
        (["rst", "explain", "/no/such.pcap"], 2, b"/no/such.pcap"),
        (["rst", "explain", "/etc/passwd"], 2, b"not a capture"),
        (["rst", "--timeout", "0"], 2, b"--timeout 0"),
    ],
)
def test_bad_input_is_told(kernlab: Kernlab, words: list[str], status: int, told: bytes) -> None:
    said = kernlab(*words)
    assert said.returncode == status
    assert told in said.stderr
    assert b"Traceback" not in said.stderr


def test_a_command_that_fails_is_told(kernlab: Kernlab) -> None:
    said = kernlab("rst", "--", "/bin/sh", "-c", "echo oh no >&2; exit 3")
    assert said.returncode == 0
    assert b"0 sent" in said.stdout
    assert b"ended with status 3: oh no" in said.stdout
