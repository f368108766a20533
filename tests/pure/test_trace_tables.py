"""The tables a trace reads: presets, workloads, sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernlab.config.paths import shipped
from kernlab.errors import BadInput
from kernlab.record.expression import parse_where
from kernlab.symbols import places, sites
from kernlab.trace import presets, workloads

PRESETS = sorted(path.stem for path in shipped("configs", "presets").glob("*.yaml"))
# The functions a student or an engineer asks for first and that take an skb.
ASKED_FOR = (
    "ip_rcv",
    "ip_local_deliver",
    "ip_rcv_finish_core",
    "tcp_v4_rcv",
    "tcp_v4_do_rcv",
    "tcp_rcv_established",
    "tcp_rcv_state_process",
    "tcp_ack",
    "tcp_data_queue",
    "__tcp_transmit_skb",
    "ip_queue_xmit",
    "__ip_queue_xmit",
    "dev_queue_xmit",
    "__dev_queue_xmit",
    "netif_receive_skb",
    "__netif_receive_skb_core",
    "kfree_skb",
    "nf_hook_slow",
    "tcp_v4_send_reset",
)


def test_every_preset_is_whole() -> None:
    assert presets.names() == PRESETS
    assert PRESETS
    for name in PRESETS:
        preset = presets.find(name)
        parse_where(preset.where)
        workloads.find(preset.workload)
        for group in preset.groups:
            assert group
            assert all(places.parse(text).kind == "function" for text in group)


def test_a_preset_of_ones_own_hides_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERNLAB_HOME", str(tmp_path))
    own = tmp_path / "configs" / "presets"
    own.mkdir(parents=True)
    (own / "rst.yaml").write_text("title: mine\nwatch: it\nprobes: [tcp_reset]\n")
    (own / "mine.yaml").write_text("title: mine\nwatch: it\nprobs: [tcp_reset]\n")
    assert presets.find("rst").groups == (("tcp_reset",),)
    with pytest.raises(BadInput) as caught:
        presets.find("mine")
    assert "mine.yaml: 2 errors" in caught.value.what
    assert "mine.yaml:3: unknown key 'probs', did you mean 'probes'?" in caught.value.why


def test_every_workload_has_its_program() -> None:
    for row in workloads.table().values():
        if row.program is not None:
            assert shipped("rootfs", "guest", f"{row.program}.c").is_file()


def test_the_sites_table_knows_what_people_ask_for_and_says_why() -> None:
    table = sites.table().sites
    assert [name for name in ASKED_FOR if name not in table] == []
    assert all(row.why for row in table.values())


def test_the_handshake_shows_both_sides_established_and_receive_no_packet_socket() -> None:
    """sk->sk_state_change is called when a side is ESTABLISHED; sock_def_readable also for the
    packet socket of the capture beside the trace."""

    def passes(preset: str, probe: str, **sock: str) -> bool:
        where = parse_where(presets.find(preset).where).expr
        assert where is not None
        return where.evaluate({"probe": probe, "sock": sock}) is True

    assert passes("handshake", "sock_def_wakeup", state="ESTABLISHED")
    assert not passes("handshake", "sock_def_wakeup", state="CLOSE")
    assert any("sock_def_wakeup" in group for group in presets.find("handshake").groups)
    for preset in ("receive", "journey"):
        assert passes(preset, "sock_def_readable", family="ipv4")
        assert not passes(preset, "sock_def_readable", family="packet")
        assert passes(preset, "tcp_v4_do_rcv", family="ipv4")
