"""What a capture says beside its frames: devices' names, what it lost, why a frame was dropped."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from kernlab.record import drops, tcpdump
from kernlab.record.comments import comments
from kernlab.record.pcapng import RAW, SLL2, Captured, Lost, convert, losses, read, write


def cooked(ifindex: int, text: bytes = b"x") -> bytes:
    """An LINKTYPE_LINUX_SLL2 frame (tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html)."""
    return struct.pack(">HHIHBB8s", 0x0800, 0, ifindex, 772, 0, 6, b"\0" * 8) + text


def pcap(path: Path, *frames: bytes) -> Path:
    body = b"".join(struct.pack("<IIII", 5, 7, len(d), len(d)) + d for d in frames)
    path.write_bytes(b"\xd4\xc3\xb2\xa1" + struct.pack("<HHiIII", 2, 4, 0, 0, 65535, SLL2) + body)
    return path


def test_frames_are_of_the_device_that_their_index_names(tmp_path: Path) -> None:
    source = pcap(tmp_path / "x.pcap", *(cooked(n) for n in (1, 4, 1, 9)))
    convert(source, tmp_path / "x", names={1: "lo", 4: "tun0"})
    found = list(read(tmp_path / "x"))
    assert [one.interface for one in found] == ["lo", "tun0", "lo", ""]
    write(tmp_path / "again", found, comments={2: "here"})
    assert list(read(tmp_path / "again")) == found


def test_a_device_without_a_name_is_told_by_its_index(tmp_path: Path) -> None:
    convert(pcap(tmp_path / "x.pcap", cooked(7), cooked(8)), tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    assert b"index 7 in the guest" in data
    assert b"index 8 in the guest" in data


@pytest.mark.parametrize("lost", [Lost(100, 7, 0), Lost(2**40, 2**33, 5)])
def test_what_was_lost_is_in_the_capture(tmp_path: Path, lost: Lost) -> None:
    frames = [Captured(5, RAW, 1, b"E", "eth0")]
    write(tmp_path / "x", frames, lost=lost)
    assert losses(tmp_path / "x") == lost
    assert list(read(tmp_path / "x")) == frames


def test_without_a_loss_nothing_is_said_of_it(tmp_path: Path) -> None:
    write(tmp_path / "x", [Captured(5, RAW, 1, b"E")], lost=Lost(100))
    assert losses(tmp_path / "x") == Lost()
    assert b"any" not in (tmp_path / "x").read_bytes()


def test_tcpdump_s_last_words() -> None:
    said = (
        "tcpdump: listening on any, link-type LINUX_SLL2 (Linux cooked v2)\n"
        "19 packets captured\n21 packets received by filter\n"
        "1 packet dropped by kernel\n"
    )
    assert tcpdump.lost(said) == Lost(21, 1)
    more = f"{said}4 packets dropped by interface\n"
    assert tcpdump.lost(more) == Lost(21, 1, 4)
    assert tcpdump.lost("tcpdump: listening on any\n") is None


def test_a_device_s_last_name_is_its_name() -> None:
    assert tcpdump.devices("1 lo\n4 tun0\n.\n4 wg<b>\n") == {1: "lo", 4: "wg<b>"}


def drop(probe: str, reason: int | None = None, *stack: str, **more: Any) -> dict[str, Any]:
    args = {"skb": "0xa", **({} if reason is None else {"reason": reason})}
    return {
        "seq": 1,
        "probe": probe,
        "args": args,
        "stack": [{"func": f} for f in (probe, *stack)],
        **more,
    }


# The values of two kernels, include/net/dropreason.h of 6.1 and dropreason-core.h of 6.12.
OF_6_1 = {
    0: "SKB_NOT_DROPPED_YET",
    1: "SKB_DROP_REASON_NOT_SPECIFIED",
    2: "SKB_DROP_REASON_NO_SOCKET",
}
OF_6_12 = {1: "SKB_CONSUMED", 2: "SKB_DROP_REASON_NOT_SPECIFIED", 3: "SKB_DROP_REASON_NO_SOCKET"}


@pytest.mark.parametrize(
    ("event", "names", "said"),
    [
        (drop("kfree_skb_reason", 2, "tcp_v4_rcv"), OF_6_1, "dropped in tcp_v4_rcv (NO_SOCKET)"),
        (drop("sk_skb_reason_drop", 3, "tcp_v4_rcv"), OF_6_12, "dropped in tcp_v4_rcv (NO_SOCKET)"),
        (drop("sk_skb_reason_drop", 1, "tpacket_rcv"), OF_6_12, ""),
        (drop("sk_skb_reason_drop", 99, "tpacket_rcv"), OF_6_12, "dropped in tpacket_rcv"),
        (
            drop("kfree_skb_reason", 2, "kfree_skb", "ip_rcv"),
            OF_6_1,
            "dropped in ip_rcv (NO_SOCKET)",
        ),
        (drop("kfree_skb", None, "tcp_v4_rcv"), {}, "dropped in tcp_v4_rcv"),
        (drop("kfree_skb", None), {}, "dropped"),
        (drop("kfree_skb", None, "tcp_v4_rcv", ret=0), {}, ""),
        (drop("tcp_v4_rcv", 2, "ip_rcv"), OF_6_1, ""),
    ],
)
def test_a_drop_is_told_by_the_kernel_s_own_names(
    event: dict[str, Any], names: dict[int, str], said: str
) -> None:
    drops.name(event, names)
    assert drops.said(event) == said


def test_a_frame_s_comment_notes_the_drop() -> None:
    packet = {"src": "a", "sport": 1, "dst": "b", "dport": 2, "seq": 7, "flags": "S", "len": 0}
    event = drop("kfree_skb_reason", 2, "tcp_v4_rcv", "ip_rcv", packet=packet)
    drops.name(event, OF_6_1)
    found = comments([event], [{"number": 3, "packet": packet}])
    assert found == {
        3: ["#1 kfree_skb_reason DROPPED in tcp_v4_rcv (NO_SOCKET) < tcp_v4_rcv < ip_rcv"]
    }
