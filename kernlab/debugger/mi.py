"""One GDB, driven over MI.

pygdbmi's own controller waits 0.2 s for each command. Here a thread reads records as
they come; a command's answer is matched by its token, so a call takes as long as GDB
takes. Only pygdbmi's parser is used.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pygdbmi.gdbmiparser import parse_response

from kernlab.config.paths import python_path
from kernlab.decode.arch import ARCH
from kernlab.errors import WeFailed
from kernlab.process import PIPE, STDOUT, Child, CommandFailed, need

# Seconds that GDB waits for an answer of QEMU's stub. After its default of two it asks again,
# and a QEMU that was held up (a loaded host) answers both: each answer is then taken for that
# of the next question, and GDB shows wrong memory without a word. More than any limit of ours;
# a QEMU that has died closes the connection, which GDB sees at once.
REMOTE_TIMEOUT = 600


@dataclass(frozen=True)
class Record:
    """An MI record that no command waits for: ``*stopped``, ``=thread-created``…"""

    kind: str
    message: str
    payload: Any


class GdbError(WeFailed):
    """GDB answered a command with ^error; ``why`` is its message."""


class Gdb:
    """A GDB process; ``records`` receives what it says unasked.

    Everything GDB prints goes to ``log`` as it comes, so that a failure can be read.
    """

    def __init__(self, log: Path, arguments: Sequence[str] = ()) -> None:
        program = need("gdb", "drives the guest kernel", "gdb")
        self.records: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._log_path = log
        self._log = log.open("ab")
        self._tokens = itertools.count(1)
        self._waiting: dict[int, Future[Record]] = {}
        self._said: deque[str] = deque(maxlen=40)
        self._asked: list[str] | None = None
        self._lock = threading.Lock()
        self._child = Child(
            [
                program,
                "-nx",
                "-q",
                "--interpreter=mi3",
                "-iex",
                "set debuginfod enabled off",
                "-iex",
                "set auto-load off",
                "-iex",
                "set pagination off",
                "-iex",
                "set confirm off",
                "-iex",
                "set startup-quietly on",
                "-iex",
                f"set remotetimeout {REMOTE_TIMEOUT}",
                *arguments,
            ],
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
        )
        self._reader = threading.Thread(target=self._read, name="gdb", daemon=True)
        self._reader.start()

    # -- reading ------------------------------------------------------------

    def _read(self) -> None:
        stdout = self._child.stdout
        assert stdout is not None
        for raw in stdout:
            with suppress(ValueError):
                self._log.write(raw)
                self._log.flush()
            self._take(raw.decode("utf-8", "replace").rstrip("\r\n"))
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(self.died())
        self.records.put(Record("exit", "gdb-exited", None))

    def _take(self, line: str) -> None:
        if not line or line.startswith("(gdb)"):
            return
        parsed = parse_response(line)
        record = Record(parsed["type"], parsed["message"] or "", parsed["payload"])
        token = parsed.get("token")
        if record.kind == "result" and token is not None:
            with self._lock:
                future = self._waiting.pop(token, None)
            if future is not None:
                future.set_result(record)
            return
        if record.kind in ("console", "log", "target", "output"):
            text = str(record.payload or "").strip()
            if text:
                self._said.append(text)
                if record.kind == "console" and self._asked is not None:
                    self._asked.append(str(record.payload))
            return
        self.records.put(record)

    def died(self) -> WeFailed:
        """The error for a GDB that ended unasked, with its last words."""
        said = "\n".join(f"  | {line}" for line in list(self._said)[-12:])
        return WeFailed(
            "GDB died", f"its last output:\n{said or '  | (none)'}", f"less {self._log_path}"
        )

    # -- commands -----------------------------------------------------------

    def command(self, text: str, timeout: float) -> Any:
        """Run one MI command; its result's payload.

        Raises ``GdbError`` on ^error, ``WeFailed`` when GDB dies or takes longer than
        ``timeout`` seconds.
        """
        token = next(self._tokens)
        future: Future[Record] = Future()
        with self._lock:
            self._waiting[token] = future
        stdin = self._child.stdin
        assert stdin is not None
        try:
            stdin.write(f"{token}{text}\n".encode())
            stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self.died() from error
        if not self._reader.is_alive() and not future.done():
            raise self.died()
        try:
            record = future.result(timeout)
        except TimeoutError as error:
            raise WeFailed(
                f"GDB did not answer in {timeout:g} s", text, f"less {self._log_path}"
            ) from error
        if record.message == "error":
            message = (record.payload or {}).get("msg", "unknown error")
            raise GdbError(f"GDB refused: {text[:120]}", message, f"less {self._log_path}")
        return record.payload

    def console(self, text: str, timeout: float) -> None:
        """Run a command of GDB's own language (``source``, ``python``)."""
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        self.command(f'-interpreter-exec console "{quoted}"', timeout)

    def ask(self, text: str, timeout: float) -> str:
        """Run a command of GDB's own language; what it printed."""
        said: list[str] = []
        self._asked = said
        try:
            self.console(text, timeout)
        finally:
            self._asked = None
        return "".join(said)

    # -- a guest ------------------------------------------------------------

    def prepare(self, module: str, timeout: float) -> None:
        """What needs no guest yet: settings, and ``gdb_scripts.<module>`` imported by name."""
        path = [str(entry) for entry in python_path()]
        self.command("-gdb-set mi-async on", timeout)
        self.command(f"-gdb-set architecture {ARCH.gdb}", timeout)
        self.console("python import sys; sys.dont_write_bytecode = True", timeout)
        self.console(f"python sys.path[:0] = {path!r}", timeout)
        self.console(f"python from gdb_scripts import {module}", timeout)

    def read_symbols(self, vmlinux: Path, timeout: float) -> None:
        """Load the kernel's debug info; its functions are read about, never called."""
        self.command(f"-file-exec-and-symbols {vmlinux}", timeout)
        self.console("set may-call-functions off", timeout)

    def forget(self) -> None:
        """Throw away what was said unasked until now."""
        with suppress(queue.Empty):
            while True:
                self.records.get_nowait()

    def stopped(self, seconds: float) -> bool:
        """Whether the guest stops within ``seconds``. Raises ``WeFailed`` when GDB dies."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                record = self.records.get(timeout=left)
            except queue.Empty:
                return False
            if record.kind == "exit":
                raise self.died()
            if record.message == "stopped":
                return True
        return False

    def interrupt(self, limit: float) -> None:
        """Stop the guest. QEMU passes over an interrupt that comes while it is stopped at a
        hit, so the interrupt is sent until it is answered. Raises ``WeFailed``."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            self.command("-exec-interrupt", limit)
            if self.stopped(0.5):
                return
        raise WeFailed(
            "the guest did not stop for GDB", f"waited {limit:g} s", "kernlab stop --all"
        )

    def alive(self) -> bool:
        return self._child.poll() is None

    def close(self) -> None:
        """End GDB: ask, then kill. Its connection to the guest breaks with it."""
        stdin = self._child.stdin
        if stdin is not None and self.alive():
            with suppress(OSError, ValueError):
                stdin.write(b"-gdb-exit\n")
                stdin.flush()
            with suppress(CommandFailed):
                self._child.wait(1.0)
        self._child.close(grace=0.5)
        self._reader.join(5.0)
        self._log.close()
