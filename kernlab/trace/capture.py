"""tcpdump in the guest beside a trace: the same traffic, by a program we did not write."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kernlab.config.files import open_regular
from kernlab.errors import MachineFailed, WeFailed
from kernlab.guest.build import program
from kernlab.progress import Reporter, Said, quiet
from kernlab.record import tcpdump
from kernlab.record.pcapng import Captured, convert
from kernlab.trace.nets import Nets
from kernlab.vm.channel import GuestProcess
from kernlab.vm.completed import Kept
from kernlab.vm.machine import Machine
from kernlab.vm.share import CAPTURE_LIMIT, put, remove, take

_NAME = ".capture.pcap"
_LINKS = "links"  # the guest program
_LIMIT = 15.0
_WORDS = 1 << 20  # bytes of what tcpdump and its helper say
_PIECE = 1 << 20  # bytes of the growing file that are looked at in one go
LAST = b"kernlab: end of capture"  # labrun.c says the same
# -U with --immediate-mode: each packet is in the file as soon as it was seen.
# Through the shell's redirection: a file that tcpdump opens itself it also gives to another
# owner, which a host's ordinary user cannot do on the share.
_ARGV = (
    "sh",
    "-c",
    f"exec tcpdump -i any -n -U --immediate-mode -s 0 -B 8192 -Z root -w - > /mnt/share/{_NAME}",
)


def growing(share: Path) -> Path:
    """The classic pcap that is there while a capture runs."""
    return share / _NAME


class _Said:
    """What a program of the guest writes, and whether a word that is waited for came."""

    def __init__(self, until: bytes) -> None:
        self._until = until
        self._kept = Kept(_WORDS)
        self._came = threading.Event()

    def take(self, data: bytes) -> None:
        self._kept(data)
        if not self._came.is_set() and self._until in self._kept.data:
            self._came.set()

    def wait(self) -> bool:
        return self._came.wait(_LIMIT)

    @property
    def text(self) -> str:
        return self._kept.text


@contextmanager
def capturing(machine: Machine, share: Path, out: Path, report: Reporter = quiet) -> Iterator[Path]:
    """Capture while the block runs; then write ``out`` as pcapng, whatever ended the block.
    Gives the classic pcap that grows meanwhile.

    Raises ``WeFailed`` when tcpdump does not start.
    """
    put(program(_LINKS, report), share)
    links, dump = _Said(b"\n.\n"), _Said(b"listening on")
    naming = machine.channel.start([f"/mnt/share/{_LINKS}"], on_stdout=links.take)
    process = machine.channel.start(_ARGV, on_stderr=dump.take)
    nets = Nets(machine, share, report)
    if not dump.wait():
        raise WeFailed(
            "tcpdump did not start in the guest",
            dump.text.strip() or f"waited {_LIMIT:g} s",
            "kernlab run -- tcpdump -D",
        )
    links.wait()
    nets.wait()
    raw = growing(share)
    try:
        yield raw
    finally:
        with suppress(MachineFailed, TimeoutError):
            _stop(machine, process, share)
            naming.signal(15)
            naming.wait(_LIMIT)
        nets.stop()
        try:
            keep_capture(share, _NAME, out, links.text, dump.text, nets.frames())
            for note in nets.notes():
                report(Said(note))
            remove(share, _NAME)
        except OSError as error:  # a full disk: what there is stays as tcpdump wrote it
            kept = out.with_suffix(".pcap")
            where = f"it is kept as {kept}"
            try:
                (share / _NAME).rename(kept)
            except OSError:
                where = "it is lost"
            report(Said(f"cannot write {out} ({error.strerror}), the capture: {where}"))


def keep_capture(
    share: Path, name: str, out: Path, links: str, words: str, more: Iterable[Captured] = ()
) -> None:
    """A capture that a guest's tcpdump left in the share, into the record as pcapng; none where
    there is not a regular file. ``links``: the guest's devices, ``words``: what tcpdump said;
    ``more``: frames of other namespaces. Raises ``OSError`` on a full disk."""
    raw = out.with_name(f".{out.name}.raw")
    try:
        if take(share, name, raw, CAPTURE_LIMIT):
            convert(
                raw,
                out,
                without=LAST,
                names=tcpdump.devices(links),
                lost=tcpdump.lost(words),
                more=more,
            )
    finally:
        raw.unlink(missing_ok=True)


def _stop(machine: Machine, process: GuestProcess, share: Path) -> None:
    """End tcpdump once it has written a last packet of ours: then it has written all before."""
    script = f"echo -n '{LAST.decode()}' > /dev/udp/127.0.0.1/9"
    machine.channel.run(_LIMIT, ["bash", "-c", script])
    deadline = time.monotonic() + _LIMIT
    with suppress(OSError), open_regular(share / _NAME, share) as file:
        last = b""
        while time.monotonic() < deadline and not process.done():
            data = last + file.read(_PIECE)
            if LAST in data:
                break
            if len(data) < _PIECE:
                threading.Event().wait(0.02)
            last = data[-len(LAST) :]
    process.signal(2)
    process.wait(_LIMIT)
