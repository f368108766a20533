"""A capture of every network namespace that appears, held against the devices' own counters."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]

# One that connects as soon as it is alone, one by a shell, two with names and a wire; and one
# that ends: its end of a wire goes with it, and so does the other end, if nobody holds it.
SCRIPT = """#!/bin/sh
/mnt/share/alone
unshare -n sh -c 'ip link set lo up; wget -q -O /dev/null http://127.0.0.1:5/ 2>/dev/null'
ip netns add blue; ip netns add red
ip link add v0 netns blue type veth peer name v1 netns red
ip -n blue addr add 10.1.1.1/24 dev v0; ip -n blue link set v0 up
ip -n red addr add 10.1.1.2/24 dev v1; ip -n red link set v1 up
ip netns exec blue ping -c 2 10.1.1.2 > /dev/null && echo pinged
unshare -n sleep 100 &
ip link add w0 type veth peer name w1
until ip link set w1 netns $!; do :; done 2>/dev/null
kill $!
n=0
while ip link show w0 >/dev/null 2>&1 && [ $n -lt 1000 ]; do n=$((n + 1)); done
ip link show w0 >/dev/null 2>&1 || echo gone
ip netns del red
wget -q http://127.0.0.1:5/ 2>/dev/null
"""


def shown(capture: Path, only: str) -> Counter[str]:
    argv = ["tshark", "-r", str(capture), "-Y", only, "-T", "fields", "-e", "frame.interface_name"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True)
    return Counter(said.stdout.split())


def test_every_namespace_is_in_the_capture(kernlab: Kernlab, tmp_path: Path) -> None:
    source, alone = Path(__file__).with_name("alone.c"), tmp_path / "alone"
    subprocess.run(["gcc", "-static", "-O1", "-o", alone, source], check=True)
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    out = tmp_path / "run"
    said = kernlab(
        "trace",
        "tcp_v4_send_reset",
        "--engine",
        "ftrace",
        "--out",
        str(out),
        "--share",
        str(alone),
        "--share",
        str(script),
        "--workload",
        "/mnt/share/script",
    )
    told = said.stdout.decode()
    assert said.returncode == 0, said.stderr.decode()
    assert "│ lo 2\n" in told  # what the kernel counted: a SYN and its RST
    assert "pinged" in told
    assert "gone" in told  # no socket of ours kept the namespace alive
    # Where a namespace was used before it was heard of, that is said, and of no named one.
    missed = set(
        re.findall(
            r"in the network namespace (\S+) came before its capture began", said.stderr.decode()
        )
    )
    assert all(name.startswith("net:[") for name in missed)
    tcp = shown(out / "capture.pcapng", "tcp.port == 5")
    own = {name.removeprefix("lo@") for name in tcp if name.startswith("lo@net:[")}
    assert len(own | missed) == 2, tcp
    assert all(tcp[f"lo@{name}"] == 2 for name in own - missed)
    assert tcp["lo"] == 2
    assert shown(out / "capture.pcapng", "icmp") == {"v0@blue": 4, "v1@red": 4}
