"""Frames of the channel, QEMU's arguments, what a console says."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.errors import MachineFailed, WeFailed
from kernlab.vm.channel import Channel
from kernlab.vm.completed import Kept
from kernlab.vm.console import clean, fatal
from kernlab.vm.frames import MAX_PAYLOAD, Decoder, Kind, encode, start_payload
from kernlab.vm.spec import SANDBOX, SOCKETS, MachineSpec, arguments, command_line

_FRAMES = st.lists(
    st.tuples(st.sampled_from(list(Kind)), st.integers(0, 2**32 - 1), st.binary(max_size=300)),
    max_size=6,
)


@given(_FRAMES, st.integers(1, 64))
def test_frames_survive_any_cutting(frames: list[tuple[Kind, int, bytes]], step: int) -> None:
    stream = b"".join(encode(*frame) for frame in frames)
    decoder = Decoder()
    back = [f for at in range(0, len(stream), step) for f in decoder.feed(stream[at : at + step])]
    assert [(f.kind, f.id, f.payload) for f in back] == frames


def test_garbage_is_refused() -> None:
    with pytest.raises(WeFailed, match="another protocol"):
        list(Decoder().feed(b"\xff" * 12))
    with pytest.raises(ValueError, match="do not fit"):
        encode(Kind.INPUT, 1, bytes(MAX_PAYLOAD + 1))


def test_a_nul_in_an_argument_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        start_payload(["a\0b"], {}, "/", False)


def spec(**changes: object) -> MachineSpec:
    values: dict[str, object] = {
        "bzimage": Path("/k"),
        "initramfs": Path("/i"),
        "share": Path("/s,x"),
        "console_log": Path("/c"),
    }
    return MachineSpec(**{**values, **changes})  # type: ignore[arg-type]


FDS = {name: number for number, name in enumerate(SOCKETS, 10)}


def test_arguments_are_the_spec_s_and_nothing_else_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the order of the sockets has a say in them nor where, when and by whom."""
    before = arguments("qemu", spec(), FDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("os.getpid", lambda: 4711)
    assert arguments("qemu", spec(), dict(reversed(FDS.items()))) == before
    assert arguments("qemu", spec(memory=768), FDS) != before


def test_no_tcp_port_unless_asked_for() -> None:
    words = " ".join(arguments("qemu", spec(), FDS))
    assert "tcp:" not in words
    assert "fd=11,server=on" in words
    asked = arguments("qemu", spec(gdb_port=1234, wait=True), FDS)
    assert asked[asked.index("-gdb") + 1] == "tcp:127.0.0.1:1234"
    assert "-S" in asked


def test_a_comma_in_a_path_is_doubled() -> None:
    assert any("path=/s,,x," in word for word in arguments("qemu", spec(), FDS))


def test_the_kernel_is_not_moved_and_reboots_on_panic() -> None:
    words = command_line(spec(append=("loglevel=7",))).split()
    assert {"nokaslr", "panic=-1", "console=ttyS0"} <= set(words)
    assert words[-1] == "loglevel=7"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("[    1.2] Kernel panic - not syncing: No working init found.  Try", "no init"),
        (
            "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs",
            "no root file system",
        ),
        ("[ 1.2] Kernel panic - not syncing: Attempted to kill init! exitcode=", "init died"),
        ("[ 1.2] Kernel panic - not syncing: sysrq triggered crash", "panicked"),
    ],
)
def test_last_words_are_told_apart(line: str, what: str) -> None:
    verdict = fatal(line)
    assert verdict is not None
    assert what in verdict.what


def test_an_ordinary_line_is_no_verdict() -> None:
    assert fatal("panic=-1 nokaslr") is None


@given(st.binary(max_size=80))
def test_a_cleaned_line_holds_nothing_a_terminal_acts_on(raw: bytes) -> None:
    assert not any(ord(c) < 32 and c not in "\t\n" for c in clean(raw))


class _Peer:
    """A channel, and the guest's end of its socket."""

    def __init__(self) -> None:
        ours, self.guest = socket.socketpair()
        self.channel = Channel(ours)

    def __enter__(self) -> _Peer:
        return self

    def __exit__(self, *about: object) -> None:
        self.guest.close()
        self.channel.close()


@pytest.mark.parametrize("kind", [Kind.EXIT, Kind.CREDIT, Kind.FAILED, Kind.HELLO])
def test_a_frame_that_lacks_its_number_breaks_the_channel_and_nobody_waits(kind: Kind) -> None:
    with _Peer() as peer:
        process = peer.channel.start(["true"])
        peer.guest.sendall(encode(kind, 1, b"\1"))
        with pytest.raises(MachineFailed, match="channel is gone"):
            process.wait(10)


def test_a_sink_that_fails_breaks_the_channel_and_nobody_waits() -> None:
    def broken(data: bytes) -> None:
        raise ValueError("a page of a ring that is none")

    with _Peer() as peer:
        process = peer.channel.start(["true"], on_stdout=broken)
        peer.guest.sendall(encode(Kind.OUT, 1, b"x"))
        with pytest.raises(MachineFailed, match="channel is gone"):
            process.wait(10)


def test_what_a_guest_says_is_kept_to_a_limit() -> None:
    kept = Kept(10)
    kept(b"12345")
    kept(b"67890")
    assert (kept.text, kept.more) == ("1234567890", False)
    kept(b"x")
    assert (kept.text, kept.more) == ("1234567890", True)


def test_a_file_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept.__init__, "__defaults__", (1000,))
    with _Peer() as peer:

        def answer() -> None:
            peer.guest.recv(100)
            for _ in range(3):
                peer.guest.sendall(encode(Kind.DATA, 1, bytes(600)))

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(MachineFailed, match="holds more than"):
            peer.channel.read_file("/dev/zero")


def test_the_guest_is_in_a_cage_and_reaches_nobody() -> None:
    words = arguments("qemu", spec(), FDS)
    assert words[words.index("-sandbox") + 1] == SANDBOX
    for denied in ("obsolete", "elevateprivileges", "spawn", "resourcecontrol"):
        assert f"{denied}=deny" in SANDBOX
    assert "user,id=net,restrict=on" in words
    assert any("security_model=mapped-xattr" in word for word in words)
    assert "-sandbox" not in arguments("qemu", spec(sandbox=False), FDS)
    assert "user,id=net" in arguments("qemu", spec(network="open"), FDS)
    assert "-nic" in arguments("qemu", spec(network="none"), FDS)
