"""Every function of sites.yaml and of the presets, on each kernel that is built here."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from vm.test_engines import Lab, end

from kernlab import pipeline
from kernlab.config.paths import home
from kernlab.kernel import built
from kernlab.kernel.model import Kernel
from kernlab.symbols import sites
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe
from kernlab.trace import presets
from kernlab.trace.plan import make
from kernlab.trace.request import TraceRequest
from kernlab.vm.machine import Machine

Booted = Callable[..., AbstractContextManager[Machine]]
KERNELS = sorted(built.every(home() / "kernels"), key=lambda one: one.key)
# These take an skb in some kernels' source, and in others none, or the compiler took it away.
WITHOUT = {
    "tcp_v4_send_synack",
    "tcp_reset",
    "tcp_send_challenge_ack",
    "inet_csk_reqsk_queue_drop_and_put",
}
# Where the workloads below lead: each of these shows a packet.
REACHED = {
    "__netif_receive_skb_core",
    "ip_rcv",
    "ip_local_deliver",
    "tcp_v4_rcv",
    "tcp_v4_do_rcv",
    "tcp_rcv_established",
    "tcp_ack",
    "tcp_data_queue",
    "__tcp_transmit_skb",
    "ip_output",
    "__dev_queue_xmit",
    "dev_hard_start_xmit",
    "udp_rcv",
    "tcp_v4_send_reset",
}


def functions(symbols: KernelSymbols) -> tuple[list[str], list[str]]:
    """Those that a kernel has, and those that it lacks."""
    names = dict.fromkeys(sites.table().sites)
    for name in presets.names():
        names.update(dict.fromkeys(f for group in presets.find(name).groups for f in group))
    here = [name for name in names if symbols.map.entries(name)]
    return here, [name for name in names if name not in here]


def probes(kernel: Kernel) -> tuple[list[Probe], list[str]]:
    symbols = pipeline.symbols_for(kernel)
    here, gone = functions(symbols)
    return list(make(TraceRequest(tuple(here)), symbols).probes), gone


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda one: str(one.version))
def test_each_leads_to_its_packet_or_socket(kernel: Kernel) -> None:
    found, gone = probes(kernel)
    print(f"no function of {kernel.version}, skipped: {', '.join(gone)}")
    table = sites.table().sites
    for probe in found:
        row = table.get(probe.place.func)
        if row is not None and probe.place.func not in WITHOUT:
            assert probe.skb is not None, probe.place
        assert probe.skb is not None or probe.sock is not None, probe.place
    names = {probe.place.func for probe in found}
    assert len(names) > 100
    assert names >= REACHED


def test_each_that_is_reached_shows_a_packet(
    kernel: Kernel, booted: Booted, tmp_path: Path
) -> None:
    found, _ = probes(kernel)
    table = sites.table().sites
    headed = {
        p.place.func
        for p in found
        if p.skb and table[p.place.func].header not in ("none", "protocol")
    }
    with booted(cpus=1) as machine, ExitStack() as stack:
        lab = Lab(kernel, machine, tmp_path / "run")
        engine = lab.engine(stack, "gdb", *sorted(headed))
        for workload in ("http", "udp-echo", "connect-closed"):
            lab.workload(workload, "-n", "1")
        _, events = end(engine)
    seen: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        # NULL where there is no segment; what the network outside sends may be ARP.
        if int(event["args"].get("skb", "0x1"), 16) and event.get("skb", {}).get("dev") != "eth0":
            seen.setdefault(event["site"]["func"], []).append(event)
    blind = {
        name: event
        for name, rows in seen.items()
        for event in rows
        if "proto" not in event.get("packet", {})
    }
    assert blind == {}
    assert seen.keys() | {"ip_queue_xmit"} >= REACHED
    core = [event["packet"] for event in seen["__netif_receive_skb_core"]]
    assert [p["seq"] for p in core if p["proto"] == "tcp"] == [
        event["packet"]["seq"] for event in seen["ip_rcv"] if event["packet"]["proto"] == "tcp"
    ]


SCRIPT = """
ip netns add other && ip link add v0 type veth peer name v1 netns other
ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up
ip -n other addr add 10.9.0.2/24 dev v1 && ip -n other link set v1 up
ip netns exec other readlink /proc/self/ns/net > /mnt/share/other
readlink /proc/self/ns/net > /mnt/share/own
cat /etc/hosts > /dev/null
ping -c 1 -W 20 10.9.0.2
echo hello > /dev/udp/10.9.0.2/77
"""


def test_values_are_the_objects_own(traced: Callable[..., Any], tmp_path: Path) -> None:
    """Across a veth: no sender's socket as the receiver's, no protocol as a port, the
    namespace of each side as /proc says it, and what pointers point at."""
    (tmp_path / "values.sh").write_text(SCRIPT)
    events, out = traced(
        "ip_rcv",
        "raw_sendmsg",
        "icmp_rcv",
        "do_sys_openat2",
        "udp_sendmsg",
        "__sys_connect",
        "--share",
        str(tmp_path / "values.sh"),
        "--workload",
        "bash /mnt/share/values.sh",
        "--stack",
        "4",
        "--where",
        "probe != do_sys_openat2 or texts.filename ~ hosts",
    )
    by: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by.setdefault(event["probe"], []).append(event)
    spaces = {
        name: int((out / "share" / name).read_text().split("[")[1].rstrip("]\n"))
        for name in ("own", "other")
    }
    assert by["do_sys_openat2"][0]["texts"] == {"filename": "/etc/hosts"}
    connected = [event["texts"]["uservaddr"] for event in by["__sys_connect"] if "texts" in event]
    assert "10.9.0.2:77" in connected
    (raw,) = by["raw_sendmsg"]
    assert raw["sock"]["protocol"] == "icmp"
    assert raw["sock"].keys().isdisjoint({"sport", "dport", "state"})
    arrived = [e for e in by["ip_rcv"] if e["packet"]["dst"] == "10.9.0.2"]
    assert {e["packet"]["proto"] for e in arrived} >= {"icmp", "udp"}
    for event in arrived:
        assert event["skb"]["owner"] == "sender"
        assert "sock" not in event
        assert event["netns"] == spaces["other"]
    assert raw["netns"] == spaces["own"] != spaces["other"]
    assert {len(event["stack"]) for event in events} == {4}
    assert json.loads((out / "run.json").read_text())["resolved"]["engine"] == "gdb"
