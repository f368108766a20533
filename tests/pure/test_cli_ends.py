"""How a process begins and ends: odd descriptors, encodings, a directory that is gone, a reader
that goes away, a full disk. Nothing boots."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kernlab.cli import common, ends
from kernlab.cli.commands import command
from kernlab.config.paths import arriving_file
from kernlab.errors import ReaderGone
from kernlab.process import Child

ROOT = Path(__file__).parents[2]
KERNLAB = f"{sys.executable} -m kernlab"


def shell(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "NO_COLOR": "1", **env},
        errors="replace",
    )


# A child that gets sockets handed over, as QEMU does: they must not lie on 0, 1 or 2.
HANDS_OVER = """
import os, socket, sys
from kernlab.cli import ends
from kernlab.process import Child, PIPE
ends.prepare()
one = socket.socket(socket.AF_UNIX)
print("out"); print("err", file=sys.stderr)
with Child(["sh", "-c", f"test -e /proc/self/fd/{one.fileno()} && echo there"], stdout=PIPE,
           pass_fds=(one.fileno(),)) as child:
    assert child.stdout.read() == b"there\\n"
sys.exit(0 if one.fileno() > 2 else 9)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_descriptor_is_no_file_of_ours(closed: str) -> None:
    said = shell(f"exec {closed}; {sys.executable} -c '{HANDS_OVER}'")
    assert said.returncode == 0, said


@pytest.mark.parametrize(
    "words", ["ps <&-", "ps >&-", "ps 2>&-", "ps <&- >&- 2>&-", "ps 2>/dev/full"]
)
def test_commands_work_without_a_descriptor(words: str) -> None:
    said = shell(f"{KERNLAB} {words}")
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("words", ["--help", "config schema event"])
def test_a_reader_that_goes_away_is_no_failure(words: str) -> None:
    said = shell(f"{KERNLAB} {words} | true; echo ${{PIPESTATUS[0]}}")
    assert (said.stdout, said.stderr) == ("0\n", "")


@pytest.mark.parametrize("words", ["ps", "config schema event"])
def test_output_that_cannot_be_written_is_told(words: str) -> None:
    said = shell(f"{KERNLAB} {words} > /dev/full")
    assert said.returncode == 3
    assert "error: stdout: No space left on device" in said.stderr
    assert "KERNLAB_HOME" not in said.stderr


def test_a_letter_that_the_terminal_lacks_is_no_error() -> None:
    for env in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        said = shell(f"{KERNLAB} lab show L01 --lang zh", **env)
        assert (said.returncode, said.stderr) == (0, "")
        assert "L01" in said.stdout


def test_an_argument_that_is_no_text_is_told_as_any_other() -> None:
    said = shell(f"{KERNLAB} lab show $'L\\xff1'")
    assert said.returncode == 2
    assert "no lab" in said.stderr
    assert "bug" not in said.stderr


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    said = shell(
        f"mkdir {tmp_path}/d; cd {tmp_path}/d; rmdir {tmp_path}/d; "
        f"PYTHONPATH={ROOT} {KERNLAB} report x"
    )
    assert said.returncode == 3
    assert "the current directory does not exist any more" in said.stderr


def test_lab_through_a_symlink(tmp_path: Path) -> None:
    link, again = tmp_path / "lab", tmp_path / "again"
    link.symlink_to(ROOT / "lab")
    again.symlink_to("lab")
    # What it would run is asked of the script itself, not run: `sh -n` reads, -x says.
    script = (ROOT / "lab").read_text().split('mode="run"')[0] + 'echo "$here"'
    for name in (link, again, ROOT / "lab"):
        said = subprocess.run(["sh", "-c", script, str(name)], capture_output=True, text=True)
        assert said.stdout.strip() == str(ROOT), said.stderr


def test_the_second_hangup_does_not_interrupt_the_ending() -> None:
    """A terminal that closes and its shell both send one."""
    script = (
        "import os, signal\n"
        "from kernlab.cli import ends\n"
        "ends.prepare()\n"
        "try: os.kill(os.getpid(), signal.SIGHUP)\n"
        "except KeyboardInterrupt as error: print(error.number)\n"
        "for one in (signal.SIGHUP, signal.SIGTERM): os.kill(os.getpid(), one)\n"
        "print('in order')\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert said.stdout == f"{int(signal.SIGHUP)}\nin order\n", said.stderr
    script = script.replace("for one in (signal.SIGHUP, signal.SIGTERM)", "for one in ()")
    argv = ["nohup", sys.executable, "-c", script]
    assert subprocess.run(argv, capture_output=True, text=True).stdout == "in order\n"


def test_a_full_disk_is_told_with_the_files_name(tmp_path: Path) -> None:
    def write() -> None:
        with arriving_file(tmp_path / "run.json") as temporary:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
            temporary.write_text("x")

    with pytest.raises(OSError, match="left") as caught:
        write()
    assert caught.value.filename == str(tmp_path / "run.json")


def printing(error: BaseException) -> Callable[[object], None]:
    def call(value: object) -> None:
        raise error

    return call


def test_events_nobody_reads_end_the_work_once(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(1)
    try:
        show = ends.until_unread(printing(BrokenPipeError(errno.EPIPE, "")))
        with pytest.raises(ReaderGone):
            show({})
        show({})  # what the engine still has is kept, and shown to nobody
        other = ends.until_unread(printing(OSError(errno.ENOSPC, "", "stdout")))
        with pytest.raises(OSError, match="stdout"):
            other({})
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_a_stdout_that_does_not_block_is_waited_for(tmp_path: Path) -> None:
    """Whoever shares the terminal may have set it so; nothing is lost for it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with Child(["wc", "-c"], stdin=reading, stdout=(tmp_path / "count").open("wb")) as child:
        os.close(reading)
        common.write(writing, bytes(1_000_000))
        os.close(writing)
        assert child.wait(20) == 0
    assert (tmp_path / "count").read_text().strip() == "1000000"


@pytest.mark.parametrize(
    "words",
    [
        "boot",
        "debug",
        "run",
        "trace",
        "graph",
        "rst",
        "lab run",
        "race run",
        "race explore",
        "bpf run",
    ],
)
def test_each_command_that_boots_takes_files_for_the_share(words: str) -> None:
    name, *rest = words.split()
    found = command(name)
    for one in rest:
        found = found.commands[one]
    assert "--share" in [option for param in found.params for option in param.opts]
