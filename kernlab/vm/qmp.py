"""QEMU's monitor, spoken synchronously. The only place where asyncio runs.

QMP is needed for what has no other door (adding a host forward, asking why the
machine stopped), so the connection is made on first use and costs nothing else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from kernlab.errors import WeFailed

T = TypeVar("T")


class Qmp:
    """A connection to the QMP socket at ``path``; every call has a limit in seconds."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        from qemu.qmp import QMPClient

        self._timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._client = QMPClient("kernlab")
        self._do(self._client.connect(str(path)), "connect")

    def _do(self, call: Coroutine[Any, Any, T], what: str) -> T:
        from qemu.qmp import QMPError

        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result(self._timeout)
        except TimeoutError as error:
            future.cancel()
            raise WeFailed(
                f"QEMU's monitor did not answer '{what}' in {self._timeout:g} s",
                "QEMU itself hangs",
                "kernlab stop --all",
            ) from error
        except (QMPError, OSError, EOFError) as error:
            raise WeFailed(f"QEMU's monitor refused '{what}'", str(error), "kernlab ps") from error

    def execute(self, command: str, **arguments: Any) -> Any:
        """One QMP command; its ``return`` value. Raises ``WeFailed``."""
        return self._do(self._client.execute(command, arguments), command)

    def human(self, line: str) -> str:
        """A command of the human monitor, for what QMP proper lacks (host forwards)."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))

    def close(self) -> None:
        future = asyncio.run_coroutine_threadsafe(self._client.disconnect(), self._loop)
        try:
            future.result(2.0)
        except Exception:
            future.cancel()  # QEMU is gone already: nothing is left to close
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2.0)
