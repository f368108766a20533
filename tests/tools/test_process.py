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


@pytest.mark.parametrize("tree", [False, True])
def test_a_ctrl_c_before_the_childs_exec_is_no_traceback(tree: bool) -> None:
    """A fork's first act in the child, before its exec, is here to interrupt itself; the child
    is ended by it in silence, and its parent goes on."""
    script = (
        "import os, signal; from kernlab.process import Child; "
        "os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGINT)); "
        f"print(Child(['true'], tree={tree}).wait(10))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (said.returncode, said.stdout.decode(), said.stderr.decode()) == (
        0,
        f"{-signal.SIGINT}\n",
        "",
    )


@pytest.mark.parametrize("hook", ["before", "after_in_parent"])
def test_a_ctrl_c_while_a_child_is_made_ends_the_parent_after_it(hook: str) -> None:
    """Python drops what a hook of a fork raises: the interrupt must not be lost in one. It is
    sent to the process and taken by another thread, as when a progress bar is drawn."""
    script = (
        "import os, signal, threading, psutil; from kernlab.process import Child\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        f"os.register_at_fork({hook}=lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "try:\n Child(['sleep', '1000'], tree=True).wait(10)\n"
        "except KeyboardInterrupt:\n print('interrupted', psutil.Process().children())\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"interrupted []\n", b"")


def test_a_child_has_its_signals_as_ever() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with Child(["sh", "-c", f"kill -{number:d} $$; exit 7"]) as child:
            assert child.wait(10) == -number
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
