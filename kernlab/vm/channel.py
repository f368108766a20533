"""The host's end of the command channel: commands in the guest, files of the guest.

A thread reads frames and hands them to whom they are for; calls may come from any
thread. When the connection breaks, everybody who waits is told at once.
"""

from __future__ import annotations

import itertools
import logging
import queue
import shlex
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kernlab.errors import BadInput, MachineFailed, WeFailed
from kernlab.vm import loss
from kernlab.vm.completed import MOST, GuestCompleted, Kept
from kernlab.vm.frames import CHUNK, MAX_PAYLOAD, Decoder, Frame, Kind, encode, start_payload

log = logging.getLogger("kernlab.vm.channel")

Sink = Callable[[bytes], None]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATH += ":/usr/lib/busybox"  # applets of the image debian, which that has no other program for
HOME = "/root"  # where a command starts
ENVIRONMENT = {"PATH": PATH, "HOME": HOME, "TERM": "dumb", "LANG": "C"}


@dataclass(frozen=True)
class Hello:
    """The agent's greeting: its protocol's version and the guest kernel's release."""

    protocol: int
    release: str


# Frames whose payload begins with a number of four bytes.
_NUMBERED = (Kind.HELLO, Kind.EXIT, Kind.CREDIT, Kind.FAILED)


class _Waiter:
    """A queue of frames for one id, closed when the connection breaks."""

    def __init__(self, gone: Callable[[], MachineFailed]) -> None:
        self._gone = gone
        self.frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()

    def next(self, timeout: float, what: str) -> Frame:
        try:
            frame = self.frames.get(timeout=timeout)
        except queue.Empty:
            raise MachineFailed(
                f"the guest did not answer in {timeout:g} s", what, "kernlab stop --all"
            ) from None
        if frame is None:
            raise self._gone()
        return frame


class GuestProcess:
    """A command that runs in the guest."""

    def __init__(self, channel: Channel, id: int, on_stdout: Sink, on_stderr: Sink) -> None:
        self._channel = channel
        self._id = id
        self._sinks = {Kind.OUT: on_stdout, Kind.ERR: on_stderr}
        self._changed = threading.Condition()
        self._credit = 0
        self._status: int | None = None
        self._error: Exception | None = None
        self.refused: OSError | None = None  # the error of a sink that took no more

    def _take(self, frame: Frame | None) -> None:
        """Called by the channel's reader. A slow sink slows the guest, nothing is dropped."""
        if frame is not None and frame.kind in (Kind.OUT, Kind.ERR):
            kind = Kind(frame.kind)
            try:
                self._sinks[kind](frame.payload)
            except OSError as error:
                self._hang_up(kind, error)
            return
        with self._changed:
            if frame is None:
                self._error = self._channel.gone()
            elif frame.kind == Kind.CREDIT:
                self._credit += struct.unpack("<I", frame.payload)[0]
            elif frame.kind == Kind.EXIT:
                self._status = struct.unpack("<i", frame.payload)[0]
            elif frame.kind == Kind.FAILED:
                said = frame.payload[4:].decode("utf-8", "replace")
                self._error = WeFailed("the guest could not start a command", said, "kernlab boot")
            self._changed.notify_all()

    def _hang_up(self, kind: Kind, error: OSError) -> None:
        """Nobody takes this stream any more: the command finds its pipe closed."""
        self._sinks[kind] = lambda data: None
        self.refused = self.refused or error
        with suppress(MachineFailed):
            self._channel._send(Kind.HANG_UP, self._id, bytes([kind - Kind.OUT + 1]))

    def write(self, data: bytes, timeout: float = 60.0) -> bool:
        """Send to stdin, waiting for room; False when the command has ended."""
        view = memoryview(data)
        while view:
            with self._changed:
                if not self._changed.wait_for(
                    lambda: self._credit or self.returncode is not None or self._error, timeout
                ):
                    raise MachineFailed(
                        f"a guest command did not read its input for {timeout:g} s",
                        "",
                        "kernlab stop --all",
                    )
                if self._error is not None:
                    raise self._error
                if self._status is not None:
                    return False
                count = min(len(view), CHUNK, self._credit)
                self._credit -= count
            self._channel._send(Kind.INPUT, self._id, bytes(view[:count]))
            view = view[count:]
        return True

    def end(self, number: int, grace: float) -> int | None:
        """Send a signal and wait; the status, None for a command that had to be killed because
        it did not end by it. A Ctrl-C meanwhile shortens the wait."""
        try:
            self.signal(number)
            return self.wait(grace)
        except (TimeoutError, KeyboardInterrupt):
            with suppress(MachineFailed):
                self.signal(9)
            return None

    def close_stdin(self) -> None:
        self._channel._send(Kind.INPUT_END, self._id)

    def signal(self, number: int) -> None:
        """Send a signal to the command and all it started."""
        self._channel._send(Kind.SIGNAL, self._id, struct.pack("<I", number))

    @property
    def returncode(self) -> int | None:
        return self._status

    def done(self) -> bool:
        """Whether it has ended, or the machine has."""
        return self._status is not None or self._error is not None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, or 128 + signal. Raises ``StillRunning`` (also a
        ``TimeoutError``), ``MachineFailed``."""
        with self._changed:
            if not self._changed.wait_for(self.done, timeout):
                raise loss.StillRunning(timeout or 0.0)
            if self._status is not None:
                return self._status
            assert self._error is not None
            raise self._error


class Channel:
    """Commands and files of one guest, over a connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._ids = itertools.count(1)
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._targets: dict[int, Callable[[Frame | None], None]] = {}
        self._closed = False
        self._agents = 0
        self.gone = loss.gone  # the error for those who wait when the connection is closed
        self._on_hello: Callable[[Hello | None], None] | None = None
        self._early: list[Hello | None] = []
        self._thread = threading.Thread(target=self._read, name="channel", daemon=True)
        self._thread.start()

    # -- the reader ---------------------------------------------------------

    def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := self._socket.recv(1 << 18):
                for frame in decoder.feed(data):
                    self._dispatch(frame)
        except (OSError, WeFailed):
            pass
        except Exception as error:  # what a guest sends must not leave anybody waiting
            log.warning(
                "the guest's command channel is given up: %s: %s", type(error).__name__, error
            )
        self._lose()

    def _lose(self) -> None:
        with self._lock:
            self._closed = True
            targets, self._targets = self._targets, {}
        for target in targets.values():
            target(None)
        self._greet(None)

    def agent_lost(self) -> None:
        """Tell all who wait that their agent is no more; another one has taken its place."""
        self.gone = loss.agent_lost
        self._lose()

    def _dispatch(self, frame: Frame) -> None:
        if frame.kind in _NUMBERED and len(frame.payload) < 4:
            raise WeFailed(
                "the guest's agent speaks another protocol",
                f"a frame of kind {frame.kind} without its number",
                "kernlab clean images",
            )
        if frame.kind == Kind.HELLO:
            self._agents += frame.id == 0
            if self._agents > 1:
                self.agent_lost()
                return
            protocol = struct.unpack_from("<I", frame.payload)[0]
            self._greet(Hello(protocol, frame.payload[4:].decode("utf-8", "replace")))
        with self._lock:
            target = self._targets.get(frame.id)
            if frame.kind in (Kind.EXIT, Kind.DONE, Kind.FAILED, Kind.HELLO):
                self._targets.pop(frame.id, None)
        if target is not None:
            target(frame)

    def _greet(self, hello: Hello | None) -> None:
        if self._on_hello is None:
            self._early.append(hello)
        else:
            self._on_hello(hello)

    def on_hello(self, call: Callable[[Hello | None], None]) -> None:
        """Be told when the agent says hello, and with None when the channel breaks."""
        self._on_hello = call
        early, self._early = self._early, []
        for hello in early:
            call(hello)

    def _send(self, kind: Kind, id: int, payload: bytes = b"") -> None:
        try:
            with self._sending:
                self._socket.sendall(encode(kind, id, payload))
        except OSError as error:
            raise self.gone() from error

    def _register(self, target: Callable[[Frame | None], None]) -> int:
        id = next(self._ids)
        with self._lock:
            if self._closed:
                raise self.gone()
            self._targets[id] = target
        return id

    def _ask(self, kind: Kind, payload: bytes = b"") -> tuple[int, _Waiter]:
        waiter = _Waiter(lambda: self.gone())
        id = self._register(waiter.frames.put)
        self._send(kind, id, payload)
        return id, waiter

    # -- what callers use ---------------------------------------------------

    def ping(self, timeout: float) -> None:
        """Return when the agent answers: all it sent before has been delivered."""
        _, waiter = self._ask(Kind.PING)
        waiter.next(timeout, "ping")

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bool = False,
        on_stdout: Sink = lambda data: None,
        on_stderr: Sink = lambda data: None,
    ) -> GuestProcess:
        """Start a command. Sinks are called in the reader's thread, in order.

        A command that is not there ends with 127, one that cannot be executed with 126,
        with a line on stderr, as in a shell. Raises ``BadInput``, ``MachineFailed``.
        """
        try:
            payload = start_payload(argv, {**ENVIRONMENT, **(env or {})}, cwd or HOME, stdin)
            if len(payload) > MAX_PAYLOAD:
                raise ValueError(f"{len(payload)} bytes of arguments")
        except ValueError as error:
            raise BadInput(
                "the command cannot be passed to the guest",
                str(error),
                "put long input into a file and bring it with --share",
            ) from error
        made: list[GuestProcess] = []
        id = self._register(lambda frame: made[0]._take(frame))
        made.append(GuestProcess(self, id, on_stdout, on_stderr))
        self._send(Kind.START, id, payload)
        return made[0]

    def run(
        self,
        timeout: float,
        argv: Sequence[str],
        *,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> GuestCompleted:
        """Run a command to its end; killed after ``timeout`` seconds with ``StillRunning``."""
        out, err = Kept(), Kept()
        process = self.start(
            argv, env=env, cwd=cwd, stdin=input is not None, on_stdout=out, on_stderr=err
        )
        if input is not None:
            process.write(input)
            process.close_stdin()
        try:
            status = process.wait(timeout)
        except TimeoutError:
            process.signal(9)
            raise
        if out.more or err.more:
            raise MachineFailed(
                f"{argv[0]} in the guest printed more than {MOST >> 20} MB",
                "",
                f"kernlab run -- {shlex.join(argv)}",
            )
        return GuestCompleted(status, bytes(out.data), bytes(err.data))

    def read_file(self, path: str, timeout: float = 20.0) -> bytes:
        """A guest file's bytes, without a process in the guest. Raises ``OSError`` of the guest."""
        _, waiter = self._ask(Kind.READ, path.encode())
        kept = Kept()
        while (frame := waiter.next(timeout, f"read {path}")).kind == Kind.DATA and not kept.more:
            kept(frame.payload)
        if kept.more:
            raise MachineFailed(
                f"{path} in the guest holds more than {MOST >> 20} MB",
                "",
                f"kernlab run -- cat {path}",
            )
        _raise_failed(frame, path)
        return bytes(kept.data)

    def write_file(self, path: str, data: bytes, timeout: float = 20.0) -> None:
        """Write a guest file (a sysctl, a tracefs file). Raises ``OSError`` of the guest."""
        _, waiter = self._ask(Kind.WRITE, path.encode() + b"\0" + data)
        _raise_failed(waiter.next(timeout, f"write {path}"), path)

    def poweroff(self) -> None:
        """Ask the guest to power off; the machine's end shows that it did."""
        self._send(Kind.POWEROFF, 0)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5.0)
        self._socket.close()


def _raise_failed(frame: Frame, path: str) -> None:
    if frame.kind == Kind.FAILED:
        number = struct.unpack_from("<I", frame.payload)[0]
        raise OSError(number, frame.payload[4:].decode("utf-8", "replace"), path)
