"""Frames of the channel, QEMU's arguments, what a console says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.errors import WeFailed
from kernlab.vm.console import clean, fatal
from kernlab.vm.frames import MAX_PAYLOAD, Decoder, Kind, encode, start_payload
from kernlab.vm.spec import SOCKETS, MachineSpec, arguments, command_line

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
        "bzimage": Path("/k"), "initramfs": Path("/i"), "share": Path("/s,x"),
        "console_log": Path("/c"),
    }  # fmt: skip
    return MachineSpec(**{**values, **changes})  # type: ignore[arg-type]


FDS = {name: number for number, name in enumerate(SOCKETS, 10)}


def test_the_same_spec_gives_the_same_arguments() -> None:
    assert arguments("qemu", spec(), FDS) == arguments("qemu", spec(), FDS)


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
