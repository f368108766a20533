"""Captures in the formats of other tools, and compressed in other ways: tshark makes pcapng of
them on a pipe, which is read as any pcapng is."""

from __future__ import annotations

import os
import select
import shlex
import tempfile
from contextlib import ExitStack
from pathlib import Path

from kernlab.errors import BadInput, HostLacks, WeFailed
from kernlab.process import PIPE, Child, which

_LIMIT = 60  # seconds in which bytes have to come
# First four bytes → format. Wireshark knows more, but guesses some of those by what a file looks
# like, and so takes a text for a capture too.
FORMATS = {
    b"snoo": "snoop",
    b"TRSN": "Sniffer",
    b"XCP\0": "NetXRay",
    b"RTSS": "Network Monitor 1",
    b"GMBU": "Network Monitor 2",
    b"\xaa\xaa\xaa\xaa": "5Views",
    b"\x05VNF": "Visual Networks",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}


class Converted:
    """What tshark writes of a file; ``read`` as a file has it. Raises ``HostLacks`` without
    tshark, ``BadInput`` for a file that it cannot read."""

    def __init__(self, path: Path, kind: str, stack: ExitStack) -> None:
        if which("tshark") is None:
            raise HostLacks(
                f"tshark is not installed, and {path} is a capture in another format ({kind})",
                "kernlab itself reads pcap and pcapng, also compressed with gzip",
                "kernlab doctor --install",
            )
        if not path.is_file():
            raise BadInput(
                f"{path} is not a regular file",
                f"tshark reads this format ({kind}) from regular files only",
                f"cat {shlex.quote(str(path))} > /tmp/copy",
            )
        self._path = path
        empty = stack.enter_context(tempfile.TemporaryDirectory(prefix="kernlab-tshark-"))
        self._said = stack.enter_context((Path(empty) / "said").open("w+b"))
        env = {
            **os.environ,
            "WIRESHARK_CONFIG_DIR": empty,
            "XDG_CONFIG_HOME": empty,
            "HOME": empty,
            "LC_ALL": "C",
        }
        argv = ["tshark", "-Q", "-n", "-r", str(path.absolute()), "-F", "pcapng", "-w", "-"]
        self._child = stack.enter_context(Child(argv, env=env, stdout=PIPE, stderr=self._said))
        assert self._child.stdout is not None
        self._out = self._child.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)

    def read(self, size: int) -> bytes:
        if not self._poll.poll(_LIMIT * 1000):
            raise WeFailed(
                f"tshark printed nothing of {self._path} for {_LIMIT} s", "", "tshark --version"
            )
        found = os.read(self._out, size)
        if not found and self._child.wait(_LIMIT):
            self._said.seek(0)
            words = self._said.read(1 << 16).decode("utf-8", "replace").strip()
            raise BadInput(
                f"tshark cannot read all of {self._path}",
                words[-500:],
                f"capinfos {shlex.quote(str(self._path))}",
            )
        return found
