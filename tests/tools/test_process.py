"""Children end with their parent, whatever ends the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kernlab.errors import HostLacks
from kernlab.process import PIPE, Child, CommandFailed, need, run


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
            psutil.Process(pid).wait(0.1)
        except psutil.NoSuchProcess:
            return True
        except psutil.TimeoutExpired:
            continue
    return False


@pytest.mark.parametrize("tree", [False, True])
def test_sigkill_on_the_parent_ends_the_child(tmp_path: Path, tree: bool) -> None:
    pids = tmp_path / "pids"
    inner = (
        "sleep 1000 & echo $! >> $0; echo $$ >> $0; wait"
        if tree
        else "echo $$ >> $0; exec sleep 1000"
    )
    script = (
        "import time; from kernlab.process import Child; "
        f"c = Child(['sh', '-c', {inner!r}, {str(pids)!r}], tree={tree}); "
        "print('up', flush=True); time.sleep(1000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"up\n"
    wanted = 2 if tree else 1
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (
        not pids.exists() or len(pids.read_text().split()) < wanted
    ):
        os.sched_yield()
    parent.kill()
    parent.wait()
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_time_limit_is_kept_and_named() -> None:
    with pytest.raises(CommandFailed, match=r"still running after 0\.2 s"):
        run(0.2, ["sleep", "100"])


def test_a_failure_says_what_the_command_said() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(10, ["sh", "-c", "echo broken >&2; exit 3"])
    assert "exit status 3: broken" in caught.value.why
    assert "sh -c" in caught.value.next_step


def test_closing_escalates_to_sigkill() -> None:
    child = Child(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"], stdout=PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    child.close(grace=0.2)
    assert child.returncode == -signal.SIGKILL


def test_a_missing_program_is_the_hosts_lack() -> None:
    with pytest.raises(HostLacks) as caught:
        need("no-such-program", "for a test", "its-package")
    assert "its-package" in caught.value.why
    assert caught.value.next_step == "kernlab doctor --install"
    with pytest.raises(HostLacks):
        run(5, ["no-such-program"])


def test_an_ordinary_users_path_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's leaves out /usr/sbin, where bpftool is."""
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    assert "bpftool" in run(10, ["bpftool", "version"]).text
    assert "bpftool" in run(10, ["bpftool", "version"], env={"LC_ALL": "C"}).text
