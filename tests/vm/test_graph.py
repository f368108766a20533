"""``kernlab graph`` on a real kernel, against the kernel's own text of the same tracer."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from kernlab.record.calls import Call
from kernlab.symbols.system_map import base_name

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]

# The same tracer read as text: what is called directly by tcp_v4_do_rcv, over some requests.
SCRIPT = """cd /sys/kernel/tracing; echo tcp_v4_do_rcv > set_graph_function
echo 2 > max_graph_depth; echo 8192 > buffer_size_kb; echo function_graph > current_tracer
/mnt/share/httpwl -n 2; echo 0 > tracing_on; cat trace"""


def test_a_call_is_seen_whole_and_kept(kernlab: Kernlab, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = kernlab("graph", "tcp_v4_rcv", "--skip", "3", "--json", "--out", str(out))
    assert said.returncode == 0, said.stderr.decode()
    call = Call.of(json.loads(said.stdout))
    names = [one.func for one in call.walk()]
    assert call.func == "tcp_v4_rcv"
    assert call.file == "net/ipv4/tcp_ipv4.c"
    assert {"tcp_v4_do_rcv", "tcp_rcv_established"} <= set(names)
    for one in call.walk():
        assert one.ns is not None
        assert sum(inner.ns or 0 for inner in one.calls) <= one.ns
        assert all(one.start <= inner.start for inner in one.calls)
    (kept,) = json.loads((out / "graph.json").read_text())
    assert Call.of(kept) == call
    lines = (out / "graph.txt").read_text().splitlines()
    assert len(lines) == len(names) + 1
    facts = json.loads((out / "run.json").read_text())["result"]
    assert facts == {"reason": "count", "calls": 4, "lost": 0}


def test_a_level_below_it_is_what_the_kernels_own_text_shows(
    kernlab: Kernlab, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    said = kernlab(
        "graph", "tcp_v4_do_rcv", "--depth", "1", "--count", "10", "--json", "--out", str(out)
    )
    assert said.returncode == 0, said.stderr.decode()
    calls = [Call.of(json.loads(line)) for line in said.stdout.splitlines()]
    assert len(calls) == 10
    assert all(not inner.calls for call in calls for inner in call.calls)
    ours = {inner.func for call in calls for inner in call.calls if not inner.interrupt}
    program = out / "share" / "httpwl"
    text = kernlab("run", "--cpus", "1", "--share", str(program), "--", "sh", "-c", SCRIPT).stdout
    theirs = set(re.findall(r"\|    ([\w.]+)\(", text.decode()))
    assert len(ours) >= 2
    assert ours <= {base_name(name) for name in theirs} | {"irq_enter_rcu"}


def test_what_cannot_be_graphed_is_told(kernlab: Kernlab) -> None:
    said = kernlab("graph", "do_syscall_64")
    assert said.returncode == 2
    assert b"cannot graph do_syscall_64" in said.stderr
    said = kernlab("graph", "tcp_v6_rcv", "--workload", "connect-closed")
    assert said.returncode == 0
    assert b"0 of tcp_v6_rcv" in said.stdout
    assert b"asked for: 1\n" in said.stdout
    assert b"workload connect-closed does not take that path" in said.stdout
