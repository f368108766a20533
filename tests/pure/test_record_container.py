"""Captures from anywhere: what is read, what is told of those that are wrong."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import captures
import pytest

from kernlab.errors import BadInput
from kernlab.record.container import Capture, Captured, Damaged, read
from kernlab.record.dissect import own
from kernlab.record.dissected import CUT


def frames(path: Path) -> tuple[list[Captured], int | None, Damaged | None]:
    found: list[Captured] = []
    with Capture(path) as capture:
        try:
            found.extend(capture)
        except Damaged as error:
            return found, capture.cut, error
        return found, capture.cut, None


@pytest.mark.parametrize("name", sorted(captures.WHOLE))
def test_a_whole_capture_gives_its_frames(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(captures.WHOLE[name])
    found, cut, damage = frames(path)
    assert (len(found), cut, damage) == (2, None, None)
    if name not in ("spb.pcapng", "ticks.pcapng"):  # a simple packet has no time
        assert found[0].at // 10**9 == captures.START


@pytest.mark.parametrize("name", sorted(captures.DAMAGED))
def test_damage_is_told_with_its_offset(name: str, tmp_path: Path) -> None:
    data, offset, before = captures.DAMAGED[name]
    (tmp_path / name).write_bytes(data)
    found, cut, damage = frames(tmp_path / name)
    assert damage is not None
    assert (len(found), cut, damage.offset) == (before, None, offset)
    assert f"offset {offset}" in damage.what
    assert damage.exit_status == 2


@pytest.mark.parametrize("name", sorted(captures.CUT))
def test_a_cut_file_gives_what_is_whole(name: str, tmp_path: Path) -> None:
    data, offset, before = captures.CUT[name]
    (tmp_path / name).write_bytes(data)
    found, cut, damage = frames(tmp_path / name)
    assert (len(found), cut, damage) == (before, offset, None)


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\0" * 64, b"\x1f\x8b", b"\x1f\x8bnot gzip"])
def test_what_is_no_capture_is_told_at_once(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(BadInput):
        Capture(tmp_path / "x")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/dev/urandom", "/proc/self", "/no/x"])
def test_a_device_or_a_directory_is_no_capture(name: str) -> None:
    with pytest.raises(BadInput):
        Capture(Path(name))


def test_a_pipe_is_read_as_a_file_is(tmp_path: Path) -> None:
    for name in ("epb.pcapng", "eth.pcap.gz"):
        pipe = tmp_path / f"pipe-{name}"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(captures.WHOLE[name],))
        writer.start()
        assert len(list(read(pipe))) == 2
        writer.join()


def test_our_own_decoder_reads_a_frame_or_says_what_it_is(tmp_path: Path) -> None:
    plain = {
        "eth",
        "ns",
        "be",
        "modified",
        "snaplen54",
        "epb",
        "epb-be",
        "spb",
        "pb",
        "sections",
        "ticks",
        "raw",
        "raw-ipv6",
        "sll",
        "sll2",
        "fcs",
        "padded",
        "ip-options",
        "tso",
        "ipv6-extensions",
        "ipv6-atomic-fragment",
        "members",
    }
    for name, data in captures.WHOLE.items():
        (tmp_path / name).write_bytes(data)
        found = [own(n, frame) for n, frame in enumerate(read(tmp_path / name), 1)]
        if name.split(".")[0] in plain:
            assert [one.fields["flags"] for one in found if one.fields] == ["S", "RA"], name
        else:
            assert all(one.unknown and not one.fields for one in found), (name, found)
    (tmp_path / "x").write_bytes(captures.pcap(1, captures.FRAMES, snaplen=40))
    assert [own(1, frame).unknown for frame in read(tmp_path / "x")] == [CUT, CUT]


def test_other_traffic_is_understood_to_be_no_tcp(tmp_path: Path) -> None:
    others = [
        captures.eth(0x806, bytes(28)),
        captures.eth(0x88CC, bytes(28)),
        captures.outer(captures.udp(53, bytes(30)), 17),
        captures.outer(bytes(16), 1),
        captures.eth(0x800, captures.ipv4("192.0.2.1", "192.0.2.2", bytes(64), fragment=20)),
    ]
    (tmp_path / "x").write_bytes(captures.pcap(1, others))
    found = [own(n, frame) for n, frame in enumerate(read(tmp_path / "x"), 1)]
    assert [(one.fields, one.unknown) for one in found] == [(None, "")] * 5
