"""Every lab on a real kernel: each verdict holds, and none holds when it is inverted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from opposite import inverted

from kernlab.config.yaml import load as load_lab
from kernlab.kernel.model import Kernel
from kernlab.lab.probes import lacking
from kernlab.lessons.grade import grade, truth
from kernlab.lessons.lab import Lab, find, ids
from kernlab.lessons.results import LabRequest
from kernlab.pipeline import symbols_for
from kernlab.record.leg import LegDir, load
from kernlab.verdict.judge import judge, ruling
from kernlab.verdict.model import as_data
from kernlab.vm.machine import Machine

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]
Booted = Callable[..., AbstractContextManager[Machine]]
Traced = Callable[..., "tuple[list[dict[str, Any]], Path]"]

REQUESTS = [
    LabRequest(name, lab, path, family)
    for name, (path, lab) in ((name, find(name)) for name in ids())
    if lab.topic != "course"
    for family in lab.families
]
NAMES = [request.name for request in REQUESTS]
by_lab = pytest.mark.parametrize("request_", REQUESTS, ids=NAMES)


@pytest.fixture(scope="module")
def fast(kernlab: Kernlab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All labs at the guest's full speed."""
    out = tmp_path_factory.mktemp("labs") / "run"
    said = kernlab("lab", "run", "--all", "--no-gdb", "--json", "--out", str(out))
    assert said.returncode in (0, 1), said.stderr.decode()
    return out


def failed(directory: Path) -> list[str]:
    found = grade(directory)
    lines = [
        f"{leg}: expected {line.expected}, seen {line.seen}"
        for leg, rows in found.legs.items()
        for line in rows
        if line.holds is False
    ]
    return [*lines, *(f"{leg}: {error}" for leg, error in found.errors.items())]


@by_lab
def test_the_verdict_holds(every: Path, request_: LabRequest) -> None:
    assert failed(every / request_.name) == []


@by_lab
def test_the_verdict_holds_without_a_debugger(fast: Path, request_: LabRequest) -> None:
    assert failed(fast / request_.name) == []


@by_lab
def test_an_inverted_verdict_fails(every: Path, request_: LabRequest) -> None:
    for name, part in request_.lab.legs():
        leg = load(LegDir(every / request_.name / name))
        for line_ in part.verdict:
            asked, _ = ruling(line_, leg, request_.lab.kernels)
            for one in (turned for check in asked for turned in inverted(check)):
                assert all(line.holds is False for line in judge([one], leg)), as_data(one)


@by_lab
def test_every_question_has_one_right_answer(every: Path, request_: LabRequest) -> None:
    leg = load(LegDir(every / request_.name / "main"))
    for question in request_.lab.predict:
        assert truth(question, leg) is not None, question.ask


@by_lab
def test_each_rst_has_one_cause_and_all_counts_agree(every: Path, request_: LabRequest) -> None:
    """The detective's RSTs, the kernel's counter (with netfilter's own) and what tshark reads
    in tcpdump's capture."""
    for name, _ in request_.lab.legs():
        leg = load(LegDir(every / request_.name / name))
        rsts = leg.rst or []
        assert [row for row in rsts if row["cause"] == "unknown" or "also" in row] == []
        by_rule = sum(row["kind"] == "netfilter" for row in rsts)
        assert len(rsts) - by_rule == leg.counters["Tcp.OutRsts"], name
        sent = resets(every / request_.name / name / "capture.pcapng")
        assert len(rsts) == sent, name


def resets(capture: Path) -> int:
    """RSTs that the kernel sent, by tshark; the TUN peer's are not among them."""
    flt = "tcp.flags.reset == 1 && !(ip.src == 10.9.0.2) && !(ipv6.src == fd09::2)"
    said = subprocess.run(
        ["tshark", "-r", str(capture), "-Y", flt, "-T", "fields", "-e", "frame.number"],
        capture_output=True,
        text=True,
        check=True,
    )
    return len(said.stdout.split())


@by_lab
def test_every_step_is_told(every: Path, request_: LabRequest) -> None:
    told = {
        step
        for name, _ in request_.lab.legs()
        for step in load(LegDir(every / request_.name / name)).steps
    }
    assert told == set(request_.lab.steps)


# -- what can go wrong --------------------------------------------------------------------

BROKEN = """
title: {title}
topic: abort
level: 1
idea: i
watch: w
source: [s]
program: broken.c
timeout: 3
args: [{arg}]
sysctl: {sysctl}
steps: {{begin: it begins}}
verdict:
  - got: {{done: 1}}
"""
PROGRAM = """
#include "lab.h"
int main(int argc, char **argv)
{
	lab_start(argc, argv);
	step("begin");
	if (asked("hangs"))
		for (;;)
			pause();
	if (asked("dies"))
		abort();
	if (asked("leaves")) {
		int server = listener(9000, 8), client = dial(9000);
		(void)client;
		take(server);
	}
	if (asked("panics"))
		system("echo c > /proc/sysrq-trigger");
	got("done", "1");
	return 0;
}
"""


# What exit() closes at once is closed one end after the other.
IN_ORDER = """  - counters: {OutRsts: 0, EstabResets: 0}
  - segments: [flags == FA and dport == 9000, flags == A and sport == 9000,
               flags == FA and sport == 9000, flags == A and dport == 9000]
"""


def broken(directory: Path, name: str, arg: str, sysctl: str = "{}") -> str:
    (directory / "broken.c").write_text(PROGRAM)
    path = directory / f"{name}.yaml"
    path.write_text(BROKEN.format(title=name, arg=arg, sysctl=sysctl))
    return str(path)


def test_what_goes_wrong_is_told_and_the_rest_runs_on(kernlab: Kernlab, tmp_path: Path) -> None:
    labs = [
        broken(tmp_path, "hangs", "hangs"),
        broken(tmp_path, "dies", "dies"),
        broken(tmp_path, "nosysctl", "fine", "{net.ipv4.no_such_thing: 1}"),
        broken(tmp_path, "panics", "panics"),
        broken(tmp_path, "fine", "fine"),
        broken(tmp_path, "leaves", "leaves"),
    ]
    with open(labs[-1], "a") as file:
        file.write(IN_ORDER)
    said = kernlab("lab", "run", *labs, "--no-gdb", "--json")
    rows = {row["lab"]: row for row in map(json.loads, said.stdout.splitlines())}
    assert said.returncode == 1
    errors = {
        name: " ".join(leg.get("error", "") for leg in row["legs"]) for name, row in rows.items()
    }
    assert "hung" in errors["hangs"]
    assert "still running after 3 s" in errors["hangs"]
    assert "status 134" in errors["dies"]
    assert "no sysctl net.ipv4.no_such_thing" in errors["nosysctl"]
    assert "panic" in errors["panics"]
    assert rows["fine"]["holds"]
    assert rows["leaves"]["holds"], rows["leaves"]
    assert b"Traceback" not in said.stderr


ORDER = """
title: in order
topic: abort
level: 1
idea: Every line stands where it happened.
watch: w
source: [s]
program: order.c
steps: {next: next}
probes: [{at: __do_sys_getppid}]
verdict:
  - got: {done: 20}
"""
ORDERED = """
#include "lab.h"
#include <sys/syscall.h>
int main(int argc, char **argv)
{
	lab_start(argc, argv);
	for (int n = 1; n <= 20; n++) {
		step("next");
		syscall(SYS_getppid);
		got_number("done", n);
	}
	return 0;
}
"""


def test_steps_stops_and_results_stand_in_their_order(kernlab: Kernlab, tmp_path: Path) -> None:
    (tmp_path / "order.c").write_text(ORDERED)
    (tmp_path / "order.yaml").write_text(ORDER)
    said = kernlab("lab", "run", str(tmp_path / "order.yaml"), "--out", str(tmp_path / "run"))
    assert said.returncode == 0, said.stderr.decode()
    lines = said.stdout.decode().splitlines()
    story = [line.split()[0] for line in lines if line.lstrip().startswith(("▸", "●", "done ="))]
    assert story == ["▸", "●", "done"] * 20
    assert [line.strip() for line in lines[1:3]] == [
        "order  in order",
        "Every line stands where it happened.",
    ]
    assert lines[-1] == f"report  {tmp_path / 'run' / 'report.html'}"


FREEING = ("sk_skb_reason_drop", "kfree_skb_reason", "kfree_skb")
DROPS = """
title: nobody listens
topic: abort
level: 1
idea: The SYN is dropped.
watch: w
source: [s]
program: drops.c
steps: {connect: connect}
probes: [{at: [FREEING]}]
verdict:
  - got: {connect: ECONNREFUSED}
"""
DROPPED = """
#include "lab.h"
int main(int argc, char **argv)
{
	struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_port = htons(9) };
	lab_start(argc, argv);
	step("connect");
	nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int status = connect(fd, (struct sockaddr *)&nobody, sizeof(nobody));
	got("connect", status ? strerrorname_np(errno) : "ok");
	return 0;
}
"""


def test_a_lab_says_of_a_drop_what_a_trace_says(
    kernlab: Kernlab, traced: Traced, kernel: Kernel, tmp_path: Path
) -> None:
    """Its reason, where the kernel has reasons (5.17 and later)."""
    (tmp_path / "drops.c").write_text(DROPPED)
    (tmp_path / "drops.yaml").write_text(DROPS.replace("FREEING", ", ".join(FREEING)))
    said = kernlab("lab", "run", str(tmp_path / "drops.yaml"), "--out", str(tmp_path / "run"))
    assert said.returncode == 0, said.stderr.decode()
    events, _ = traced("--preset", "drop")
    told = [
        {
            (event["probe"], (event.get("drop") or {}).get("reason"))
            for event in found
            if event["probe"] in FREEING  # a lab has the detective's probes too
            and event.get("packet", {}).get("flags") == "S"
            and any(frame["func"] == "tcp_v4_rcv" for frame in event["stack"])
        }
        for found in (load(LegDir(tmp_path / "run" / "drops" / "main")).events, events)
    ]
    assert told[0] == told[1]
    named = symbols_for(kernel).dwarf.enum("skb_drop_reason")
    assert {reason for _, reason in told[0]} == {"NO_SOCKET" if named else None}


def test_a_lab_leaves_nothing_behind(booted: Booted, tmp_path: Path) -> None:
    """What the machine has after a lab that changes the whole kernel's settings is what it
    had before: sockets, devices, namespaces, rules, sysctls, processes."""
    from kernlab.guest.build import program
    from kernlab.progress import quiet

    look = (
        "ss -tan | wc -l; ip -o link | cut -d: -f2; ls /run/netns 2>/dev/null; "
        "iptables-save 2>/dev/null | grep -v '^#'; "
        "sysctl -a 2>/dev/null | grep -v -E 'random|nr_|file-nr|dentry|inode|ns_last_pid|"
        "nf_conntrack_count|pty.nr'; ps -o comm | sort | uniq -c | grep -v -E 'kworker|ps|sort|"
        "uniq|grep|sh'"
    )
    with booted() as machine:
        share = Path(machine.spec.share)
        lab: Lab = find("L03")[1]
        for name in ("labrun", f"labs/{lab.program}"):
            built = program(name, quiet)
            (share / built.name).write_bytes(built.read_bytes())
            (share / built.name).chmod(0o755)
        (share / "leg").mkdir()
        before = machine.channel.run(60, ["sh", "-c", look]).text
        said = machine.channel.run(
            60,
            [
                "/mnt/share/labrun",
                "-o",
                "/mnt/share/leg",
                "-s",
                "net.ipv4.tcp_max_orphans=77",
                "-s",
                "net.ipv4.tcp_syncookies=0",
                "-c",
                "iptables-legacy -A INPUT -j ACCEPT",
                "--",
                "/mnt/share/l03",
            ],
        )
        assert said.returncode == 0, said.stderr
        assert machine.channel.run(60, ["sh", "-c", look]).text == before
        assert "tcp_max_orphans" in before


def test_a_probe_that_no_kernel_has_is_told_before_the_boot(
    kernlab: Kernlab, kernel: Kernel, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    text = find("L03")[0].read_text().replace("at: __tcp_close,", "at: __tcp_clos,")
    path.write_text(text)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "__tcp_clos," in row)
    for command in ("run", "validate"):
        said = kernlab("lab", command, str(path))
        told = said.stderr.decode()
        assert said.returncode == 2
        assert f"{path}:{line}: probes: this kernel has no function '__tcp_clos'" in told
        assert "__tcp_close" in told
        assert "boot" not in told
    # One of a list is enough; what another kernel has is left out, and said.
    path.write_text(text.replace("at: __tcp_clos,", "at: [__tcp_clos, __tcp_close],"))
    symbols = symbols_for(kernel)
    assert lacking(path, load_lab(path, Lab), symbols) == ([], [])
    path.write_text(text.replace("at: __tcp_clos,", "at: nf_conntrack_tcp_packet_gone,"))
    assert len(lacking(path, load_lab(path, Lab), symbols)[0]) == 1
    path.write_text(text.replace("at: __tcp_clos,", "at: sk_skb_reason_drop,"))
    wrong, notes = lacking(path, load_lab(path, Lab), symbols)
    assert wrong == []
    assert bool(notes) == (not symbols.map.entries("sk_skb_reason_drop"))
