"""What the guest's program says: shown, kept, and in its place among the events."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("order") / "order"
    source = Path(__file__).with_name("order.c")
    subprocess.run(["gcc", "-static", "-O1", "-o", out, source], check=True)
    return out


def story(text: str) -> list[str]:
    """The program's words and the RSTs, in the order shown."""
    return [
        line[2:] if line.startswith("│ ") else line.split()[0] + line.split()[1]
        for line in text.splitlines()
        if line.startswith(("│ ", "RST "))
    ]


def test_words_and_stops_stand_in_the_order_in_which_they_happened(
    kernlab: Kernlab, order: Path, tmp_path: Path
) -> None:
    """The program's own order is the oracle: its write() returned before its connect()."""
    out = tmp_path / "run"
    said = kernlab("rst", "--share", str(order), "--out", str(out), "--", "/mnt/share/order")
    assert said.returncode == 0, said.stderr.decode()
    expected = []
    for number in range(6):
        expected += [f"before {number}", f"RST{number + 1}", f"after {number}?[2J"]
    assert story(said.stdout.decode()) == expected
    assert "│ \ufffd an end" in said.stderr.decode()
    assert "ended with status 3" in said.stdout.decode()
    rows = [json.loads(line) for line in (out / "output.jsonl").read_text().splitlines()]
    assert [row["after"] for row in rows] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert rows[-1]["text"].encode("utf-8", "surrogateescape") == b"\xff an end"
    assert [row["stream"] for row in rows] == ["stdout"] * 12 + ["stderr"]
    times = [row["guest_ns"] for row in rows]
    assert times == sorted(times)


def test_with_json_words_are_on_stderr_alone(kernlab: Kernlab, tmp_path: Path) -> None:
    """An engine that does not stop the guest, a shell's command; and show tells it again."""
    out = tmp_path / "run"
    said = kernlab(
        "trace",
        "tcp_v4_rcv",
        "--engine",
        "ftrace",
        "--json",
        "--out",
        str(out),
        "--workload",
        "echo hello; wget -q 127.0.0.1:9; seq 20000; echo bye >&2",
    )
    assert said.returncode == 0, said.stderr.decode()
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert events
    assert all("words" not in event for event in events)
    err = said.stderr.decode()
    assert err.index("│ hello") < err.index("│ 19999") < err.index("│ bye")
    rows = [json.loads(line) for line in (out / "output.jsonl").read_text().splitlines()]
    text = "".join(row["text"] for row in rows if row["stream"] == "stdout")
    assert text == "hello\n" + "".join(f"{n}\n" for n in range(1, 20001))
    again = kernlab("show", str(out)).stdout.decode()
    assert again.index("│ hello") < again.index("│ 19999")


def test_a_program_that_never_ran_is_said_first(kernlab: Kernlab) -> None:
    said = kernlab("rst", "--", "/mnt/share/mine")
    assert said.returncode == 2
    assert said.stdout == b""
    assert b"the program never ran: /mnt/share/mine: not found" in said.stderr
    assert b"--share ./mine" in said.stderr


def test_what_the_image_lacks_is_told_with_the_remedy(kernlab: Kernlab) -> None:
    said = kernlab("run", "--", "sh", "-c", "python3 -V")
    assert said.returncode == 127
    assert b"python3: not found" in said.stderr
    assert b"next: kernlab run --image debian -- sh -c 'python3 -V'" in said.stderr
