"""tcpdump in the guest beside a trace: the same traffic, by a program we did not write."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kernlab.errors import MachineFailed, WeFailed
from kernlab.guest.build import program
from kernlab.progress import Reporter, quiet
from kernlab.record import tcpdump
from kernlab.record.pcapng import convert
from kernlab.vm.channel import GuestProcess
from kernlab.vm.machine import Machine

_NAME = ".capture.pcap"
_LINKS = "links"  # the guest program
_LIMIT = 15.0
LAST = b"kernlab: end of capture"  # labrun.c says the same
# -U with --immediate-mode: each packet is in the file as soon as it was seen.
# Through the shell's redirection: a file that tcpdump opens itself it also gives to another
# owner, which a host's ordinary user cannot do on the share.
_ARGV = ("sh", "-c", "exec tcpdump -i any -n -U --immediate-mode -s 0 -B 8192 -Z root -w - "
         f"> /mnt/share/{_NAME}")  # fmt: skip


class _Said:
    """What a program of the guest writes, and whether a word that is waited for came."""

    def __init__(self, until: bytes) -> None:
        self._until = until
        self._data = bytearray()
        self._came = threading.Event()

    def take(self, data: bytes) -> None:
        self._data.extend(data)
        if self._until in self._data:
            self._came.set()

    def wait(self) -> bool:
        return self._came.wait(_LIMIT)

    @property
    def text(self) -> str:
        return self._data.decode("utf-8", "replace")


@contextmanager
def capturing(machine: Machine, share: Path, out: Path,
              report: Reporter = quiet) -> Iterator[Path]:  # fmt: skip
    """Capture while the block runs; then write ``out`` as pcapng, whatever ended the block.
    Gives the classic pcap that grows meanwhile.

    Raises ``WeFailed`` when tcpdump does not start.
    """
    shutil.copy2(program(_LINKS, report), share / _LINKS)
    links, dump = _Said(b"\n.\n"), _Said(b"listening on")
    naming = machine.channel.start([f"/mnt/share/{_LINKS}"], on_stdout=links.take)
    process = machine.channel.start(_ARGV, on_stderr=dump.take)
    if not dump.wait():
        raise WeFailed(
            "tcpdump did not start in the guest",
            dump.text.strip() or f"waited {_LIMIT:g} s",
            "kernlab run -- tcpdump -D",
        )
    links.wait()
    raw = share / _NAME
    try:
        yield raw
    finally:
        with suppress(MachineFailed, TimeoutError):
            _stop(machine, process, raw)
            naming.signal(15)
            naming.wait(_LIMIT)
        if raw.exists():
            convert(raw, out, without=LAST, names=tcpdump.devices(links.text),
                    lost=tcpdump.lost(dump.text))  # fmt: skip
            raw.unlink()


def _stop(machine: Machine, process: GuestProcess, raw: Path) -> None:
    """End tcpdump once it has written a last packet of ours: then it has written all before."""
    script = f"echo -n '{LAST.decode()}' > /dev/udp/127.0.0.1/9"
    machine.channel.run(_LIMIT, ["bash", "-c", script])
    deadline = time.monotonic() + _LIMIT
    seen = 0
    with raw.open("rb") as file:
        while time.monotonic() < deadline and not process.done():
            data = file.read()
            if LAST in data or (seen and not data and _has_last(raw)):
                break
            seen += len(data)
            threading.Event().wait(0.02)
    process.signal(2)
    process.wait(_LIMIT)


def _has_last(raw: Path) -> bool:
    return LAST in raw.read_bytes()[-4096:]
