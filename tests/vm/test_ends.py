"""How runs end: signals, programs that do not listen, an agent that is killed, no reader."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import command
import pytest
from leftovers import naming

from kernlab.image.model import Image
from kernlab.kernel.model import Kernel

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]


def begun(out: Path, *words: str) -> subprocess.Popen[str]:
    """A kernlab that a terminal's signals reach, whatever this test run ignores."""

    def heard() -> None:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_DFL)

    return subprocess.Popen(
        command.kernlab(words[0], "--out", str(out), *words[1:]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        preexec_fn=heard,
    )


def ended(child: subprocess.Popen[str], out: Path) -> str:
    """What is left on stderr of one that ends by itself; nothing of it runs on."""
    _, said = child.communicate(timeout=120)
    assert "Traceback" not in said
    assert "has a bug" not in said
    assert naming(str(out)) == []
    return said


def test_an_agent_that_is_killed_ends_the_run(kernlab: Kernlab) -> None:
    """init starts another one, which knows nothing of the command."""
    said = kernlab("run", "--", "sh", "-c", "echo begun; kill -9 -1; sleep 100")
    assert (said.returncode, said.stdout) == (125, b"begun\n")
    assert b"the guest's agent was killed" in said.stderr


def test_a_command_that_ignores_ctrl_c_is_killed(
    kernel: Kernel, image: Image, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    child = begun(out, "run", "--", "sh", "-c", 'trap "" INT TERM; echo ready; sleep 100')
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    assert "it did not end after SIGINT" in ended(child, out)
    assert child.returncode == 130


def test_no_reader_and_no_room_end_the_command(kernel: Kernel, image: Image) -> None:
    """`yes` finds its pipe closed, as in a pipeline of the host's."""
    words = " ".join(command.kernlab("run", "--", "yes"))
    said = subprocess.run(
        ["bash", "-c", f"{words} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stdout == f"y\n{128 + signal.SIGPIPE}\n", said.stderr
    said = subprocess.run(
        ["bash", "-c", f"{words} > /dev/full"], capture_output=True, text=True, timeout=120
    )
    assert said.returncode == 125
    assert "stdout: No space left on device" in said.stderr


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_keeps_the_capture(
    kernel: Kernel, image: Image, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    child = begun(out, "trace", "tcp_v4_rcv", "--workload", "bulk", "--json", "--count", "100000")
    assert child.stdout is not None
    for line in child.stdout:
        if '"seq":20,' in line:
            break
    child.send_signal(number)
    ended(child, out)
    assert child.returncode == 130
    assert (out / "capture.pcapng").stat().st_size > 1000
    assert '"reason": "interrupted"' in (out / "run.json").read_text()
