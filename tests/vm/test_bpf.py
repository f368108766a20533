"""libbpf programs, ours and a user's broken ones, in real kernels."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import broken_libelf
import pytest

from kernlab.bpf.check import lacks
from kernlab.bpf.complaints import Complaints
from kernlab.bpf.run import for_workload, place, run_tool
from kernlab.errors import BadInput
from kernlab.guest import bpf, link
from kernlab.kernel.model import Kernel
from kernlab.progress import quiet
from kernlab.record.rundir import RunDir
from kernlab.trace import workloads
from kernlab.vm.machine import Machine

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]
Booted = Callable[..., AbstractContextManager[Machine]]

KERNEL_SIDE = """\
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct sock___not { int no_such_member; } __attribute__((preserve_access_index));

SEC("SECTION")
int BPF_KPROBE(prog, struct sock *sk)
{
	__u32 key = 1;
	__u64 *value = bpf_map_lookup_elem(&seen, &key);

	BODY
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""
LOADER = """\
/* mine: a loader as in the usual tutorial. */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <unistd.h>
#include "mine.skel.h"

int main(void)
{
	struct mine_bpf *skel = mine_bpf__open_and_load();
	__u32 key = 1;
	__u64 value = 0;

	if (!skel)
		return 1;
	if (mine_bpf__attach(skel))
		return 3;
	printf("attached\\n");
	sleep(30);
	bpf_map__lookup_elem(skel->maps.seen, &key, sizeof(key), &value, sizeof(value), 0);
	printf("%llu calls\\n", value);
	mine_bpf__destroy(skel);
	return value ? 0 : 4;
}
"""
BEGIN = "if (!value) { __u64 one = 1; bpf_map_update_elem(&seen, &key, &one, BPF_ANY); }\n\telse "


def written(
    directory: Path, section: str = "kprobe/tcp_v4_connect", body: str = "", loader: str = LOADER
) -> bpf.BpfSource:
    """A user's program in a directory of their own."""
    directory.mkdir()
    text = KERNEL_SIDE.replace("SECTION", section).replace("BODY", body)
    (directory / "mine.bpf.c").write_text(text)
    (directory / "mine.c").write_text(loader)
    return bpf.find(str(directory))


def line_of(source: bpf.BpfSource, code: str) -> int:
    lines = source.kernel_side.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if code in line)


def test_the_shipped_counters_count_what_the_workload_did(
    kernel: Kernel, booted: Booted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """connect-closed calls connect() three times, and each SYN is answered and thrown away.

    rstwho a second time as on a host that links no static program: with shared libraries."""
    programs = {one.name: bpf.build(one, kernel, quiet) for one in bpf.shipped_programs()}
    with monkeypatch.context() as host:
        host.setenv("PATH", broken_libelf.path_with(tmp_path / "broken"))
        programs["shared"] = bpf.build(bpf.find("rstwho"), kernel, quiet)
    assert programs["shared"].program != programs["rstwho"].program
    assert link.LIBRARIES in {path.suffix for path in programs["shared"].program.parent.iterdir()}
    said = {}
    with booted() as machine:
        run = RunDir.create({}, tmp_path / "tools")
        run.share = tmp_path / "run" / "share"
        work = for_workload(workloads.find("connect-closed"), run, quiet)
        for name, program in programs.items():
            assert lacks(program.object, kernel) == (1, [])
            out, errors = bytearray(), bytearray()
            argv = [place(program, run)]
            status = run_tool(argv, machine, run, out.extend, errors.extend, work, None)
            assert (status, errors.decode()) == (0, "")
            said[name] = out.decode()
    assert re.search(r"^ +3 +42  connect$", said["syscount"], re.M)
    answers = re.findall(r"(\d+) RST: tcp_v4_send_reset ← ", said["syscount"])
    assert sum(map(int, answers)) == 3  # in the calls, or in ksoftirqd
    assert re.search(r"^ +3  tcp_v4_rcv\+0x", said["dropwatch"], re.M)
    assert said["tcpstate"].count("CLOSE -> SYN_SENT") == 3
    assert said["tcpstate"].count("RST received: tcp_reset ← ") == 3
    assert len(re.findall(r"SYN_SENT -> CLOSE after [\d.]+ ms$", said["tcpstate"], re.M)) == 3
    sent = re.findall(
        r"^passive 127\.0\.0\.1:9 > 127\.0\.0\.1:\d+  .*\n +tcp_v4_send_reset\+",
        said["rstwho"],
        re.M,
    )
    assert len(sent) == 3
    callers = re.compile(r"^ +(\w+)\+", re.M)
    assert callers.findall(said["shared"]).count("tcp_v4_send_reset") == 3


def test_each_program_shows_the_rst_and_the_caller_that_the_detective_shows(
    kernlab: Kernlab,
) -> None:
    """The lab's main leg has one RST; the detective says the same of it, from GDB's side."""
    told = kernlab("rst", "--lab", "L03", "--json").stdout.splitlines()
    events = [json.loads(line) for line in told]
    one = next(event for event in events if event["leg"] == "main")
    theirs = [frame["func"] for frame in one["stack"] if not frame["inlined"]]
    said = {}
    for source in bpf.shipped_programs():
        run = kernlab("bpf", "run", source.name, "--lab", "L03")
        assert run.returncode == 0, run.stderr.decode()
        said[source.name] = run.stdout.decode()
    blocks = re.split(r"^(?=\S)", said["rstwho"], flags=re.M)[1:]
    assert len(blocks) == 1
    assert blocks[0].split()[0] == one["rst"]["kind"] == "active"
    assert re.match(
        r"active +127\.0\.0\.1:9001 > 127\.0\.0\.1:\d+  l03\[\d+\]$", blocks[0].splitlines()[0]
    )
    assert re.findall(r"^ +(\w+)\+0x", blocks[0], re.M) == theirs
    chain = " ← ".join([*theirs[:4], "…"])
    assert re.findall(r"^ +RSTs  by\n +1  (.*)$", said["dropwatch"], re.M) == [chain], said
    assert re.findall(r"^ +\d+ +3  close\n +1 RST: (.*)$", said["syscount"], re.M) == [chain]
    assert said["syscount"].count("RST") == 1
    lines = re.findall(r"ms  127\.0\.0\.1:(\d+) +127\.0\.0\.1:(\d+) +(.*)$", said["tcpstate"], re.M)
    server = [(port, what) for port, _, what in lines if port == "9001"]
    assert server[-1] == ("9001", f"RST sent: {chain}"), said
    assert server[-2][1].startswith("ESTABLISHED -> CLOSE after")
    client = [what for port, peer, what in lines if peer == "9001" and port != "0"]
    assert client[-2].startswith("RST received: tcp_reset ← ")
    assert client[-1].startswith("ESTABLISHED -> CLOSE after")


def test_a_users_program_as_in_the_tutorial(kernlab: Kernlab, tmp_path: Path) -> None:
    source = written(tmp_path / "ok", body=BEGIN + "*value += 1;")
    said = kernlab("bpf", "run", str(source.directory), "--workload", "connect-closed")
    # It does not handle the Ctrl-C that ends its sleep: what it has counted stays unsaid.
    assert (said.returncode, said.stdout) == (0, b"attached\n"), said.stderr.decode()
    loader = LOADER.replace("sleep(30)", 'execl("/bin/sh", "sh", "-c", "exit 7", NULL)')
    source = written(tmp_path / "status", body="", loader=loader)
    assert kernlab("bpf", "run", str(source.directory)).returncode == 7


@pytest.mark.parametrize(
    ("body", "wrong", "file", "code"),
    [
        ("sk->no_such = 1;", "", "mine.bpf.c", "sk->no_such"),
        ("", "printf(attached);", "mine.c", "(attached)"),
        # Said once for each of the stores that it takes.
        (
            "volatile char big[600]; __builtin_memset((void *)big, 1, 600); key = big[key & 511];",
            "",
            "mine.bpf.c",
            "big[600]",
        ),
    ],
)
def test_what_does_not_compile_is_bad_input(
    kernlab: Kernlab, tmp_path: Path, body: str, wrong: str, file: str, code: str
) -> None:
    loader = LOADER.replace('printf("attached\\n");', wrong) if wrong else LOADER
    source = written(tmp_path / "mine", body=body, loader=loader)
    path = source.directory / file
    rows = path.read_text().splitlines()
    number = next(n for n, line in enumerate(rows, 1) if code in line)
    said = kernlab("bpf", "run", str(source.directory))
    text = said.stderr.decode()
    if f"refuses {file}:{number}" not in text and "stack" in text:
        # Of a stack that is too large clang 19 names the function alone.
        number = next(n for n, line in enumerate(rows, 1) if "BPF_KPROBE(" in line)
    assert said.returncode == 2
    assert f"refuses {file}:{number}" in text
    assert f"next: edit {path}:{number}" in text
    assert "Traceback" not in text
    lines = text.splitlines()
    assert all(one != other for one, other in pairwise(lines))


def test_a_loader_that_crashes_is_told(kernlab: Kernlab, tmp_path: Path) -> None:
    crashes = LOADER.replace("mine_bpf__attach(skel)", "raise(SIGSEGV)")
    source = written(
        tmp_path / "mine", "kprobe/tcp_v4_connec", "", f"#include <signal.h>\n{crashes}"
    )
    said = kernlab("bpf", "run", str(source.directory))
    text = said.stderr.decode()
    assert said.returncode == 139
    assert "has no function tcp_v4_connec; use tcp_v4_connect, which has a similar name" in text
    assert "error: mine crashed: SIGSEGV" in text
    assert f"next: edit {source.loader}" in text


def test_what_the_verifier_rejects_is_told_where_it_is(kernlab: Kernlab, tmp_path: Path) -> None:
    source = written(tmp_path / "mine", body="*value += 1;")
    said = kernlab("bpf", "run", str(source.directory), "--out", str(tmp_path / "run"))
    text = said.stderr.decode()
    assert said.returncode == 1  # the loader's own
    where = f"{source.kernel_side}:{line_of(source, '*value += 1;')}"
    assert f"error: the verifier rejects 'prog' at {where}" in text
    assert "R0 invalid mem access 'map_value_or_null'" in text
    assert "BEGIN PROG LOAD LOG" not in text
    assert "invalid mem access" in (tmp_path / "run" / "verifier.log").read_text()


def test_what_a_kernel_has_not_is_told_in_words(
    kernel: Kernel, booted: Booted, tmp_path: Path
) -> None:
    programs = {
        "no function": written(tmp_path / "function", "kprobe/tcp_no_such_function"),
        "no struct sock.no_such_member": written(
            tmp_path / "member",
            body='bpf_printk("%d", BPF_CORE_READ((struct sock___not *)sk, no_such_member));',
        ),
        "no tracepoint tcp": written(tmp_path / "tracepoint", "tp/tcp/no_such_tracepoint"),
    }
    with booted() as machine:
        run = RunDir.create({}, tmp_path / "tools")
        run.share = tmp_path / "run" / "share"
        for says, source in programs.items():
            program = bpf.build(source, kernel, quiet)
            one = Complaints(lambda data: None, tmp_path / "verifier.log")
            status = run_tool(
                [place(program, run)], machine, run, lambda data: None, one.feed, None, 60
            )
            one.close()
            explained = one.explain(source.kernel_side, kernel.config)
            assert status in (1, 3)
            assert explained is not None
            assert says in explained[1]


def test_a_missing_option_is_known_before_the_boot(kernel: Kernel, tmp_path: Path) -> None:
    multi = written(tmp_path / "multi", "kprobe.multi/tcp_v4_connect")
    count, found = lacks(bpf.build(multi, kernel, quiet).object, kernel)
    has = "CONFIG_FPROBE=y" in kernel.config.read_text().splitlines()
    assert count == 1
    assert [lack.what for lack in found] == ([] if has else ['SEC("kprobe.multi/tcp_v4_connect")'])
    assert all("CONFIG_FPROBE" in lack.says for lack in found)
    wrong = written(tmp_path / "wrong", "kprobe/tcp_v4_connec")
    _, found = lacks(bpf.build(wrong, kernel, quiet).program, kernel)  # found inside the program
    assert [(lack.what, lack.instead) for lack in found] == [
        ('SEC("kprobe/tcp_v4_connec")', "use tcp_v4_connect, which has a similar name")
    ]


def test_a_change_is_built_anew_and_a_built_program_is_not(kernel: Kernel, tmp_path: Path) -> None:
    source = written(tmp_path / "mine")
    first = bpf.build(source, kernel, quiet)
    assert bpf.build(source, kernel, pytest.fail).program == first.program
    (source.directory / "mine.h").write_text("#define MORE 1\n")
    assert bpf.build(source, kernel, quiet).program != first.program
    source.loader.write_text("int main(void) { return 0 }\n")
    with pytest.raises(BadInput, match="gcc refuses"):
        bpf.build(source, kernel, quiet)
    assert not list(first.program.parent.parent.glob(".bpf-*"))
