"""The one door to child processes.

Three promises, kept here so that no caller can forget them:

* every wait has a limit: ``timeout`` (seconds) is the first argument of ``run``;
* every child ends with its parent, SIGKILL included: the kernel sends the child
  SIGKILL when the thread that forked it ends (prctl(2), PR_SET_PDEATHSIG). For a
  child with children of its own (make, apt) that is not enough, so ``tree=True``
  adds a guard: a shell that waits on a pipe only the parent holds open and kills
  the child's whole session when the pipe closes;
* every argv is logged in a form that can be pasted into a shell.

PR_SET_PDEATHSIG follows the *thread* that forked, so children are started from
the main thread or from one that outlives them.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Union

from kernlab.errors import HostLacks, KernlabError, WeFailed

log = logging.getLogger("kernlab.process")

_PR_SET_PDEATHSIG = 1
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_libc = ctypes.CDLL(None, use_errno=True)

Stream = Union[int, IO[Any], None]

DEVNULL = subprocess.DEVNULL
PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT


@dataclass(frozen=True)
class Completed:
    """What a finished command left: its status and its output as bytes."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


class CommandFailed(WeFailed):
    """A command ended with a status other than 0, or ran past its limit."""

    def __init__(self, argv: Sequence[str], why: str, completed: Completed | None = None) -> None:
        super().__init__(f"{argv[0]} failed", why, f"run it yourself: {shlex.join(argv)}")
        self.completed = completed


def which(name: str) -> str | None:
    """The path of a program, looked up in PATH and in the sbin directories.

    An ordinary user's PATH on Debian lacks /usr/sbin, where bpftool and nft live.
    """
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}:/usr/local/sbin:/usr/sbin:/sbin")


def need(name: str, why: str, package: str) -> str:
    """The path of a program, or ``HostLacks``: the doctor knows what each host's package
    manager calls Debian's ``package``."""
    found = which(name)
    if found is None:
        raise HostLacks(
            f"{name} is not installed",
            f"{why}; Debian's package is {package}",
            "kernlab doctor --install",
        )
    return found


@contextmanager
def _uninterrupted() -> Iterator[Callable[[], None]]:
    """Signals that Python handles wait meanwhile. Until its exec a child is this very program,
    where a Ctrl-C that its process group got would raise KeyboardInterrupt; in the parent that
    would be lost in a hook of the fork (os.register_at_fork() drops exceptions), or lose the
    child that was just made. Gives what the child has to call before its exec."""
    handled = [one for one in _ENDS if callable(signal.getsignal(one))]
    came: list[int] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # another thread may be told
        for one in handled:
            handlers[one] = signal.signal(one, lambda number, _: came.append(number))

    def as_before() -> None:
        for one in handled:
            signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield as_before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for one in reversed(handlers):
            signal.signal(one, handlers[one])
        for number in came:
            signal.raise_signal(number)


def _die_with(parent: int, as_before: Callable[[], None]) -> Callable[[], None]:
    def in_child() -> None:
        as_before()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before prctl took effect
            os._exit(127)

    return in_child


class Child:
    """A running child; a context manager that ends it, gently first.

    Attributes ``stdin``, ``stdout``, ``stderr`` are the pipes asked for.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Stream = DEVNULL,
        stdout: Stream = DEVNULL,
        stderr: Stream = DEVNULL,
        pass_fds: Sequence[int] = (),
        tree: bool = False,
        foreground: bool = False,
    ) -> None:
        """Start ``argv``; a bare name is looked up as ``which`` does.

        ``foreground`` leaves the child in the terminal's process group (an
        interactive GDB); otherwise it gets a session of its own, so that a
        Ctrl-C reaches kernlab alone, which then ends its children in order.
        """
        self.argv = tuple(argv)
        self._guard: subprocess.Popen[bytes] | None = None
        self._tree = tree
        place = f"cd {shlex.quote(str(cwd))} && " if cwd else ""
        log.debug("run: %s%s", place, shlex.join(self.argv))
        try:
            with _uninterrupted() as as_before:
                self._popen = subprocess.Popen(
                    self.argv,
                    executable=None if "/" in argv[0] else which(argv[0]),
                    cwd=cwd,
                    env=dict(env) if env is not None else None,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=pass_fds,
                    start_new_session=not foreground,
                    preexec_fn=_die_with(os.getpid(), as_before),
                )
                if tree:
                    self._guard = self._start_guard(as_before)
        except FileNotFoundError as error:
            raise HostLacks(
                f"{argv[0]} is not installed", str(error), "kernlab doctor --install"
            ) from error
        except OSError as error:
            raise HostLacks(f"cannot start {argv[0]}", str(error), "kernlab doctor") from error
        except BaseException:  # interrupted: nobody has this object to close it
            if "_popen" in vars(self):
                self.close()
            raise

    def _start_guard(self, as_before: Callable[[], None]) -> subprocess.Popen[bytes]:
        # `read` succeeds only when the parent says goodbye; end of file means it died.
        script = 'read -r bye || kill -KILL "-$1" 2>/dev/null'
        return subprocess.Popen(
            ["/bin/sh", "-c", script, "kernlab-guard", str(self.pid)],
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
            preexec_fn=as_before,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._popen.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        return self._popen.stderr

    @property
    def returncode(self) -> int | None:
        return self._popen.returncode

    def poll(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout: float) -> int:
        """The exit status; ``CommandFailed`` after ``timeout`` seconds (the child lives on)."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(self.argv, f"still running after {timeout:g} s") from error

    def signal(self, number: int) -> None:
        """Send a signal to the child, or to its whole session when it has one (``tree``)."""
        with suppress(ProcessLookupError):
            if self._tree:
                os.killpg(self.pid, number)
            elif self._popen.poll() is None:
                self._popen.send_signal(number)

    def close(self, grace: float = 2.0) -> None:
        """End the child: SIGTERM, ``grace`` seconds, SIGKILL. QEMU in replay ignores SIGTERM."""
        if self._popen.poll() is None:
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace)
        if self._popen.poll() is None or self._tree:
            self.signal(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(10)
        if self._tree:
            self._gone(10)
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        if self._guard is not None:
            assert self._guard.stdin is not None
            with suppress(OSError):
                self._guard.stdin.write(b"bye\n")
                self._guard.stdin.close()
            self._guard.wait(5)
            self._guard = None

    def _gone(self, limit: float) -> None:
        """Wait until nobody is left of the session: one that is being killed may still write
        where the caller is about to clean up."""
        deadline = time.monotonic() + limit
        with suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < deadline:
                os.killpg(self.pid, 0)
                time.sleep(0.005)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def run(
    timeout: float,
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,
    check: bool = True,
    tree: bool = False,
    merge: bool = False,
) -> Completed:
    """Run a command to its end, at most ``timeout`` seconds.

    ``merge`` sends stderr into stdout. Raises ``CommandFailed`` on a status other
    than 0 (unless ``check`` is off) and on time-out, ``HostLacks`` when the
    program is not there.
    """
    with Child(
        argv,
        cwd=cwd,
        env=env,
        stdin=PIPE if input is not None else DEVNULL,
        stdout=PIPE,
        stderr=STDOUT if merge else PIPE,
        tree=tree,
    ) as child:
        started = time.monotonic()
        try:
            out, err = child._popen.communicate(input, timeout)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(child.argv, f"still running after {timeout:g} s") from error
        completed = Completed(child.argv, child._popen.returncode, out or b"", err or b"")
        log.debug(
            "ended: %s status %d, %.2f s", argv[0], completed.returncode, time.monotonic() - started
        )
    if check and completed.returncode != 0:
        said = (completed.stderr or completed.stdout).decode("utf-8", "replace").strip()
        why = f"exit status {completed.returncode}" + (f": {said[-2000:]}" if said else "")
        raise CommandFailed(completed.argv, why, completed)
    return completed


__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Child",
    "CommandFailed",
    "Completed",
    "KernlabError",
    "Stream",
    "need",
    "run",
    "which",
]
