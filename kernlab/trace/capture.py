"""tcpdump in the guest beside a trace: the same traffic, by a program we did not write."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kernlab.errors import MachineFailed, WeFailed
from kernlab.record.pcapng import convert
from kernlab.vm.channel import GuestProcess
from kernlab.vm.machine import Machine

_NAME = ".capture.pcap"
_LIMIT = 15.0
LAST = b"kernlab: end of capture"  # labrun.c says the same
# -U with --immediate-mode: each packet is in the file as soon as it was seen.
# Through the shell's redirection: a file that tcpdump opens itself it also gives to another
# owner, which a host's ordinary user cannot do on the share.
_ARGV = ("sh", "-c", "exec tcpdump -i any -n -U --immediate-mode -s 0 -B 8192 -Z root -w - "
         f"> /mnt/share/{_NAME}")  # fmt: skip


@contextmanager
def capturing(machine: Machine, share: Path, out: Path) -> Iterator[Path]:
    """Capture while the block runs; then write ``out`` as pcapng, whatever ended the block.
    Gives the classic pcap that grows meanwhile.

    Raises ``WeFailed`` when tcpdump does not start.
    """
    listening = threading.Event()
    said = bytearray()

    def on_stderr(data: bytes) -> None:
        said.extend(data)
        if b"listening on" in said:
            listening.set()

    process = machine.channel.start(_ARGV, on_stderr=on_stderr)
    if not listening.wait(_LIMIT):
        raise WeFailed(
            "tcpdump did not start in the guest",
            said.decode("utf-8", "replace").strip() or f"waited {_LIMIT:g} s",
            "kernlab run -- tcpdump -D",
        )
    raw = share / _NAME
    try:
        yield raw
    finally:
        with suppress(MachineFailed, TimeoutError):
            _stop(machine, process, raw)
        if raw.exists():
            convert(raw, out, without=LAST)
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
