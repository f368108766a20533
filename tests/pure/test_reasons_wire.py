"""RSTs of captures: what each answers, who sent it, and copies of one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import captures
import pytest

from kernlab.errors import BadInput
from kernlab.reasons import answers, wire
from kernlab.reasons.model import table
from kernlab.record.pcapng import ETHERNET, RAW, Captured, write

S, A, R, F, P = 2, 16, 4, 1, 8
CLIENT, SERVER = captures.CLIENT, captures.SERVER
TS = b"\1\1\x08\x0a" + struct.pack(">II", 5, 6)
MS = 10**6


class Talk:
    """Segments of one connection in their order, each 10 ms after the last."""

    def __init__(self) -> None:
        self.frames: list[Captured] = []

    def send(
        self,
        sender: str,
        flags: int,
        seq: int = 0,
        ack: int = 0,
        win: int = 502,
        data: int = 0,
        *,
        options: bytes = b"",
        ttl: int = 64,
        ip_id: int = 0,
        port: int = 40000,
        after: int = 10 * MS,
        device: str = "",
    ) -> Talk:
        way = (port, 80) if sender == "c" else (80, port)
        ends = (CLIENT, SERVER) if sender == "c" else (SERVER, CLIENT)
        segment = captures.tcp(*way, flags, seq, ack, win, options, data)
        raw = captures.ipv4(*ends, segment, ttl=ttl, ip_id=ip_id)
        at = (self.frames[-1].at if self.frames else 0) + after
        self.frames.append(Captured(at, RAW, len(raw), raw, device))
        return self

    def opened(self, **more: Any) -> Talk:
        self.send("c", S, 100, win=64240, **more).send("s", S | A, 500, 101, 65160, **more)
        return self.send("c", A, 101, 501, **more)

    def rows(self, path: Path) -> list[dict[str, Any]]:
        write(path, self.frames)
        return list(wire.explained(path, table(), reader="kernlab"))


def told(row: dict[str, Any]) -> list[str]:
    return [one["id"] for one in row["rst"]["causes"]]


def provoked(rows: list[dict[str, Any]]) -> list[int | None]:
    return [row.get("before", {}).get("provoked", {}).get("number") for row in rows]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.pcapng"


def test_two_rsts_answer_data_and_fin_in_their_order(path: Path) -> None:
    talk = Talk().opened().send("c", P | A, 101, 501, data=100).send("c", F | A, 201, 501)
    talk.send("s", F | A, 501, 101).send("s", R, 501, win=0).send("s", R, 501, win=0)
    rows = talk.rows(path)
    assert provoked(rows) == [4, 5]
    assert "P12" in told(rows[0])
    assert "P11" not in told(rows[0])  # the data did not come with the ACK of the FIN
    assert "P12" not in told(rows[1])


def test_a_rst_answers_no_rst(path: Path) -> None:
    talk = Talk().opened().send("c", R, 101, win=0).send("s", R, 501, win=0)
    assert provoked(talk.rows(path))[1] == 3


def test_each_syn_has_its_refusal(path: Path) -> None:
    talk = Talk()
    for _ in range(3):
        talk.send("c", S, 100).send("s", R | A, 0, 101, 0)
    assert provoked(talk.rows(path)) == [1, 3, 5]


def test_a_refused_syn_has_few_causes(path: Path) -> None:
    (row,) = Talk().send("c", S, 100).send("s", R | A, 0, 101, 0).rows(path)
    assert told(row) == ["N1", "P1", "P4"]


def test_data_in_a_syn_counts(path: Path) -> None:
    talk = Talk().send("c", S, 100, data=20).send("s", R | A, 0, 121, 0)
    assert provoked(talk.rows(path)) == [1]


def test_the_ack_that_ends_the_handshake_is_refused_before_data(path: Path) -> None:
    talk = Talk().opened().send("c", P | A, 101, 501, data=5)
    rows = talk.send("s", R, 501, win=0).send("s", R, 501, win=0).rows(path)
    assert provoked(rows) == [3, 4]


def test_an_ack_that_was_taken_in_silence_is_not_refused_later(path: Path) -> None:
    """The ACK of the server's FIN wants no answer; the data after it got the RST."""
    talk = Talk().opened().send("s", F | A, 501, 101).send("c", A, 101, 502)
    rows = talk.send("c", P | A, 101, 502, data=9).send("s", R, 502, win=0).rows(path)
    assert provoked(rows) == [6]
    assert {"P12", "P13"} <= set(told(rows[0]))


def test_a_keepalive_s_probe_is_refused_not_the_ack_of_long_ago(path: Path) -> None:
    talk = Talk().opened().send("s", P | A, 501, 101, data=9).send("c", A, 101, 510)
    talk.send("c", A, 100, 510, after=7_200_000 * MS).send("s", R, 510, win=0)
    assert provoked(talk.rows(path)) == [6]


def test_what_a_socket_acknowledged_before_it_was_reset_is_not_refused(path: Path) -> None:
    talk = Talk().opened().send("c", P | A, 101, 501, data=5).send("s", R | A, 501, 106)
    talk.send("c", P | A, 106, 501, data=4).send("s", R, 501, win=0)
    assert provoked(talk.rows(path)) == [None, 6]


def test_sequence_numbers_turn_over(path: Path) -> None:
    talk = Talk().send("c", S, 0xFFFFFFF0).send("s", S | A, 0xFFFFFFFF, 0xFFFFFFF1)
    talk.send("c", A, 0xFFFFFFF1, 0).send("c", P | A, 0xFFFFFFF1, 0, data=40)
    talk.send("s", A, 0, 25).send("c", P | A, 25, 0, data=1).send("s", R, 0, win=0)
    assert provoked(talk.rows(path)) == [6]


def test_a_window_of_0_is_a_socket_s_with_a_full_buffer(path: Path) -> None:
    talk = Talk().opened().send("c", P | A, 101, 501, data=60000).send("s", A, 501, 60101, 0)
    (row,) = talk.send("s", R | A, 501, 60101, 0).rows(path)
    assert row["rst"]["shape"] == "active"
    assert set(told(row)) == {"A3", "A4", "A8", "A10", "A11"}  # no FIN: A9 cannot be


def doubts(row: dict[str, Any]) -> list[str]:
    return [one["kind"] for one in row["rst"].get("doubts", [])]


def test_a_rst_before_any_syn_ack_is_no_socket_s(path: Path) -> None:
    talk = Talk().send("c", S, 100).send("s", R | A, 777, 101, 1024, ttl=57, ip_id=9)
    (row,) = talk.rows(path)
    assert (row["rst"]["shape"], doubts(row), told(row)) == ("other", ["early"], [])


def test_a_rst_with_another_ttl_and_ip_id_is_not_its_sender_s(path: Path) -> None:
    talk = Talk().opened().send("s", P | A, 501, 101, data=9, ip_id=300)
    talk.send("s", P | A, 510, 101, data=9, ip_id=301)
    (row,) = talk.send("s", R | A, 519, 101, ttl=55, ip_id=40000).rows(path)
    assert (row["rst"]["shape"], doubts(row), told(row)) == ("other", ["ttl", "ip_id"], [])
    talk.frames.pop()
    (row,) = talk.send("s", R | A, 519, 101, ip_id=302).rows(path)
    assert (row["rst"]["shape"], doubts(row)) == ("active", [])
    assert {"A2", "A3"} <= set(told(row))


def test_a_refusal_with_another_ttl_comes_from_a_rule_or_a_machine_on_the_way(path: Path) -> None:
    talk = Talk().opened().send("c", P | A, 101, 501, data=9)
    talk.send("s", A, 501, 110, ip_id=5).send("c", P | A, 110, 501, data=9)
    (row,) = talk.send("s", R, 501, win=0, ttl=63).rows(path)
    assert (row["rst"]["shape"], doubts(row)) == ("passive", ["ttl"])
    assert told(row) == ["N1", "P1", "P14"]


def test_a_socket_s_rst_has_the_timestamps_that_both_agreed_on(path: Path) -> None:
    talk = Talk().opened(options=TS)
    (row,) = talk.send("s", R | A, 501, 101).rows(path)
    assert (row["rst"]["shape"], doubts(row)) == ("other", ["timestamps"])
    talk.frames.pop()
    (row,) = talk.send("s", R | A, 501, 101, options=TS).rows(path)
    assert (row["rst"]["shape"], doubts(row)) == ("active", [])


def test_a_number_that_nothing_has_is_told(path: Path) -> None:
    talk = Talk().opened().send("s", R, 31337, win=0)
    (row,) = talk.rows(path)
    assert (doubts(row), row["rst"]["answers"]) == (["number"], False)
    # A capture that began later does not know.
    talk.frames = talk.frames[2:]
    (row,) = talk.rows(path)
    assert doubts(row) == []
    assert "P2" in told(row)


def test_mptcp_is_no_cause_where_no_syn_offered_it(path: Path) -> None:
    def causes(options: bytes) -> list[str]:
        talk = Talk().opened(options=options).send("s", R | A, 501, 101)
        return told(talk.rows(path)[0])

    assert "A12" not in causes(b"")
    assert "A12" in causes(b"\x1e\x0c" + bytes(10))


def test_one_rst_on_two_devices_is_told_once_with_both_frames(path: Path) -> None:
    talk = Talk()
    for device, ttl in (("eth0", 64), ("eth1", 63)):
        talk.send("c", S, 100, device=device, ttl=ttl, after=1000)
    for device, ttl in (("eth1", 64), ("eth0", 63)):
        talk.send("s", R | A, 0, 101, 0, device=device, ttl=ttl, after=1000)
    (row,) = talk.rows(path)
    assert row["frames"] == [3, 4]
    assert provoked([row]) == [1]


def test_two_rsts_on_one_device_are_two(path: Path) -> None:
    talk = Talk().opened().send("c", P | A, 101, 501, data=5).send("c", P | A, 106, 501, data=5)
    talk.send("s", A, 501, 101).send("s", R, 501, win=0).send("s", R, 501, win=0)
    assert [row["number"] for row in talk.rows(path)] == [7, 8]


def test_the_same_ports_in_two_networks_are_two_connections(tmp_path: Path) -> None:
    from kernlab.record.flows import Flows

    def packet(sport: int, flags: str, seq: int) -> dict[str, Any]:
        client = sport != 80
        return {
            "proto": "tcp",
            "src": CLIENT if client else SERVER,
            "sport": sport,
            "flags": flags,
            "dst": SERVER if client else CLIENT,
            "dport": 80 if client else 40000,
            "seq": seq,
            "ack": 0,
        }

    flows = Flows()
    taken = [
        flows.take(packet(40000, "S", 1), ("vlan 5",)),
        flows.take(packet(40000, "S", 1), ("vlan 6",)),
        flows.take(packet(80, "SA", 9), ("vlan 5",)),
        flows.take(packet(80, "SA", 9)),
    ]
    assert [one[0].number for one in taken if one] == [1, 2, 1, 2]
    # Outside and inside of one tunnel is one connection, inside of another is not.
    flows = Flows()
    networks: list[tuple[str, ...]] = [(), ("vxlan 1",), ("vlan 5", "vxlan 1"), ("vxlan 2",)]
    taken = [flows.take(packet(40000, "S", 1), network) for network in networks]
    assert [one[0].number for one in taken if one] == [1, 1, 1, 2]


def test_what_is_remembered_has_an_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST", 20)
    talk = Talk()
    for port in range(1000, 1100):
        talk.send("c", S, 100, port=port)
    talk.send("s", R | A, 0, 101, 0, port=1099).send("s", R | A, 0, 101, 0, port=1000)
    write(path, talk.frames)
    reading = wire.Explained(path, table(), reader="kernlab")
    assert provoked(list(reading)) == [100, None]
    assert reading.forgotten == 81  # 80 by the SYNs, one by the connection that came again
    assert len(reading._known) <= 20


def test_a_side_s_oldest_segments_go_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST", 8)
    talk = Talk().opened()
    for n in range(50):
        talk.send("c", P | A, 101 + n, 501, data=1)
    (row,) = talk.send("s", R, 501, win=0).rows(path)
    assert provoked([row]) == [46]
    assert row["rst"]["older_forgotten"]


def test_what_came_before_damage_is_told_before_the_error(tmp_path: Path) -> None:
    data = captures.shb() + captures.idb() + b"".join(map(captures.epb, captures.FRAMES))
    (tmp_path / "x").write_bytes(data + captures.epb(captures.FRAMES[0], 7))
    rows = wire.explained(tmp_path / "x", table(), reader="kernlab")
    assert next(rows)["number"] == 2
    with pytest.raises(BadInput, match=f"offset {len(data)}"):
        next(rows)


def test_an_error_of_icmp_quotes_a_segment_and_is_none(tmp_path: Path) -> None:
    quoted = b"\3\3\0\0" + bytes(4) + captures.FOUR[1][:28]
    error = captures.eth(0x800, captures.ipv4("192.0.2.1", CLIENT, quoted, 1))
    frames = [captures.FRAMES[0], error]
    (tmp_path / "x").write_bytes(captures.pcap(ETHERNET, frames))
    assert list(wire.explained(tmp_path / "x", table(), reader="kernlab")) == []
