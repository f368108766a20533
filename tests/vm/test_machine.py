"""Booting, running commands, and everything that can go wrong with a guest."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import command
import psutil
import pytest
from leftovers import naming

from kernlab import pipeline
from kernlab.errors import MachineFailed
from kernlab.image import cpio
from kernlab.image.model import Image
from kernlab.kernel.model import Kernel
from kernlab.progress import Report, Said
from kernlab.record.rundir import RunDir
from kernlab.vm.loss import WrongClock
from kernlab.vm.machine import Machine, start
from kernlab.vm.spec import MachineSpec

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]
Booted = Callable[..., AbstractContextManager[Machine]]


def test_status_and_streams_of_a_command(kernlab: Kernlab) -> None:
    said = kernlab("run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert said.returncode == 7
    assert said.stdout == b"out\n"
    assert b"err\n" in said.stderr


def test_bytes_pass_unchanged(kernlab: Kernlab) -> None:
    data = bytes(range(256)) * 8000 + os.urandom(100_000)
    said = kernlab("run", "--", "cat", input=data)
    assert said.returncode == 0
    assert hashlib.sha256(said.stdout).digest() == hashlib.sha256(data).digest()


def test_a_missing_command_is_127(kernlab: Kernlab) -> None:
    said = kernlab("run", "--", "no-such-command")
    assert said.returncode == 127
    assert b"no-such-command: not found" in said.stderr


def test_the_guest_is_what_was_meant(booted: Booted) -> None:
    with booted() as machine:

        def guest(script: str) -> str:
            return machine.channel.run(20, ["sh", "-c", script]).text

        mounts = machine.channel.read_file("/proc/mounts").decode()
        for kind in ("proc", "sysfs", "devtmpfs", "tracefs", "debugfs", "cgroup2", "bpf", "9p"):
            assert f" {kind} " in mounts, kind
        assert "iproute2" in guest("ip -V")
        assert "iproute2" in guest("bash -c 'ip -V'; ash -c 'ip -V'").splitlines()[1]
        assert "inet 10.0.2.15/24" in guest("ip -o addr show eth0")
        assert "LOOPBACK,UP" in guest("ip link show lo")
        assert guest("ip link add v0 type veth peer name v1 && ip -o link | grep -c v0@v1") == "1\n"
        tools = "tc ss nft iptables conntrack tcpdump ethtool"
        assert guest(f"for t in {tools}; do command -v $t; done | wc -l") == "7\n"
        # Not busybox' own, which would run its own small ip whatever PATH says.
        for one in (
            "timeout 3",
            "env",
            "setsid -w",
            "nice",
            "nohup",
            "flock /tmp/l",
            "chroot /",
            "unshare -u",
            "time",
            "taskset 1",
            "chrt -o 0",
            "ionice",
            "setarch -R",
            "nsenter -t 1 -u",
        ):
            assert "iproute2" in guest(f"{one} ip -V 2>&1"), one
        assert "iproute2" in guest("echo -V | xargs ip")
        assert "iproute2" in guest("find /init -maxdepth 0 -exec ip -V ';'")
        rules = "iptables-legacy -A INPUT -p tcp --dport 9 -j REJECT --reject-with tcp-reset"
        assert guest(f"{rules} && iptables-legacy -S | grep -c REJECT") == "1\n"
        assert guest("nft add table inet t && nft list tables") == "table inet t\n"
        machine.spec.share.joinpath("from-host").write_text("seen\n")
        assert guest("cat /mnt/share/from-host; echo back > /mnt/share/from-guest") == "seen\n"
        assert machine.spec.share.joinpath("from-guest").read_text() == "back\n"
        assert "virtio_net" in guest("ethtool -i eth0")


def test_what_the_guest_could_not_set_up_is_told(
    kernel: Kernel, image: Image, tmp_path: Path
) -> None:
    """Else a trace of nothing is all that is seen of a guest without its network."""
    told: list[Report] = []
    options = pipeline.MachineOptions(append=("debugfs=off",))
    run = RunDir.create({}, tmp_path / "run")
    with pipeline.machine_for(pipeline.Setting(kernel, image, options, run)) as it:
        pipeline.wait_ready(it, told.append)
    texts = [report.text for report in told if isinstance(report, Said)]
    (said,) = [text for text in texts if "clock" not in text]
    assert said.startswith("the guest cannot mount /sys/kernel/debug")


@pytest.mark.parametrize("timed", [False, True])
def test_a_clock_that_is_too_fast_is_told(
    kernel: Kernel, image: Image, tmp_path: Path, timed: bool
) -> None:
    """A guest that says to be up for longer than its QEMU: here by a QEMU that seems younger."""
    told: list[Report] = []
    run = RunDir.create({}, tmp_path / "run")
    with pipeline.machine_for(
        pipeline.Setting(kernel, image, pipeline.MachineOptions(), run)
    ) as it:
        limit = time.monotonic() + 100
        while "rcS done" not in "\n".join(it.console.tail()) and time.monotonic() < limit:
            time.sleep(0.05)
        it.started = time.monotonic() - 0.01
        if timed:
            with pytest.raises(WrongClock, match="times too fast"):
                pipeline.wait_ready(it, told.append, timed=True)
        else:
            pipeline.wait_ready(it, told.append)
            (said,) = [report.text for report in told if isinstance(report, Said)]
            assert "the guest's clock runs " in said


@pytest.mark.parametrize("wrong", [1, 99])
def test_a_guest_whose_clock_is_wrong_boots_again(
    kernel: Kernel, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    """With what is started beside it. A host that is always too busy is told at last."""
    monkeypatch.setattr(pipeline, "_BOOTS", 2)
    seen: list[Machine] = []

    def fast(machine: Machine) -> float:
        return 7.0 if len(seen) <= wrong else 1.0

    def beside(machine: Machine, stack: ExitStack) -> None:
        seen.append(machine)

    monkeypatch.setattr(Machine, "_fast", fast)
    told: list[Report] = []
    run = RunDir.create({}, tmp_path / "run")
    setting = pipeline.Setting(kernel, image, pipeline.MachineOptions(), run, told.append)
    if wrong > 1:
        with pytest.raises(WrongClock), pipeline.booted(setting, beside=beside):
            pass
    else:
        with pipeline.booted(setting, beside=beside) as machine:
            assert machine is seen[1]
            assert machine.channel.run(20, ["true"]).returncode == 0
    assert [one.child.poll() is None for one in seen] == [False, False]
    texts = [report.text for report in told if isinstance(report, Said)]
    assert sum("It boots again" in text for text in texts) == 1


def test_added_files_arrive_with_their_libraries(kernlab: Kernlab, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text("hello\n")
    many = tmp_path / "many"
    many.mkdir()
    (many / "one").write_text("one\n")
    said = kernlab(
        "run",
        "--add",
        f"{note}:/etc/note",
        "--add",
        "/usr/bin/bc",
        "--add",
        str(many),
        "--",
        "sh",
        "-c",
        "cat /etc/note; echo 6*7 | bc; cat /root/many/one",
    )
    assert said.stdout == b"hello\n42\none\n"
    assert b"many is /root/many in the guest" in said.stderr
    assert b"bc is /usr/local/bin/bc in the guest" in said.stderr
    assert b"note is" not in said.stderr  # its place was named


def test_a_panic_is_told_with_the_consoles_tail(kernlab: Kernlab) -> None:
    said = kernlab("run", "--", "sh", "-c", "echo c > /proc/sysrq-trigger")
    assert said.returncode == 125
    assert b"the guest kernel panicked" in said.stderr
    assert b"sysrq triggered crash" in said.stderr
    assert b"Traceback" not in said.stderr


def test_a_panic_in_the_middle_of_a_trace_is_status_4(kernlab: Kernlab) -> None:
    script = "wget -q http://127.0.0.1/ ; echo c > /proc/sysrq-trigger"
    said = kernlab("trace", "tcp_v4_rcv", "--workload", script)
    assert said.returncode == 4
    assert b"the guest kernel panicked" in said.stderr


def test_a_guest_that_powers_off_in_a_trace_is_lost(kernlab: Kernlab) -> None:
    said = kernlab("trace", "tcp_v4_rcv", "--workload", "poweroff -f")
    assert said.returncode == 4
    assert b"powered off" in said.stderr


def boot(
    kernel: Kernel, entries: list[cpio.Entry], place: Path, wall: float, seen: str = ""
) -> None:
    """Wait for a machine that will never be ready; from the console line ``seen`` on, at most
    ``wall`` seconds without a sign of life."""
    initramfs = place / "i.cpio"
    initramfs.write_bytes(b"".join(cpio.write(cpio.with_parents(entries))))
    (place / "share").mkdir()
    spec = MachineSpec(kernel.bzimage, initramfs, place / "share", place / "console.log")
    with start(spec, place) as machine:
        limit = time.monotonic() + 100
        while seen not in "\n".join(machine.console.tail()) and time.monotonic() < limit:
            time.sleep(0.05)
        machine.wait_ready(silent_wall=wall)


def with_init(script: bytes) -> list[cpio.Entry]:
    return [
        cpio.regular("init", script, 0o755),
        cpio.character_device("dev/console", 5, 1),
        cpio.regular("bin/busybox", Path("/bin/busybox").read_bytes(), 0o755),
    ]


def test_a_missing_init_is_told(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(MachineFailed) as caught:
        boot(kernel, [cpio.regular("nothing", b"")], tmp_path, 30)
    assert "no root file system" in caught.value.what or "no init" in caught.value.what
    assert "Kernel panic" in caught.value.why


def test_an_init_that_ends_is_told(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(MachineFailed, match="init died"):
        boot(kernel, with_init(b"#!/bin/busybox sh\nexit 3\n"), tmp_path, 30)


def test_an_init_that_hangs_is_told(kernel: Kernel, tmp_path: Path) -> None:
    script = b"#!/bin/busybox sh\necho 'kernlab: init'\nexec /bin/busybox sleep 1000\n"
    entries = with_init(script)
    with pytest.raises(MachineFailed) as caught:
        boot(kernel, entries, tmp_path, 4, "kernlab: init")
    assert "hangs: it printed nothing after the start of init" in caught.value.what
    assert "kernlab: init" in caught.value.why


def test_a_qemu_that_dies_is_told(booted: Booted) -> None:
    def die() -> None:
        with booted() as machine:
            os.kill(machine.child.pid, signal.SIGKILL)
            machine.channel.run(20, ["sleep", "100"])

    with pytest.raises(MachineFailed, match="QEMU ended with signal 9"):
        die()


# What has been seen on stdout or stderr when the kill comes.
MOMENTS = [
    "debug info ...",
    "debug info: done",
    "boot the guest ...",
    "boot the guest: done",
    '"seq":1,',
    '"seq":2,',
    '"seq":5,',
    '"seq":20,',
    '"seq":100,',
    '"seq":300,',
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_sigkill_leaves_nothing_behind(
    kernel: Kernel, image: Image, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "run-to-be-killed"
    argv = command.kernlab(
        "trace",
        "tcp_v4_rcv",
        "--workload",
        "bulk",
        "--json",
        "--count",
        "100000",
        "--out",
        str(out),
    )
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if moment in line:
            break
    child.kill()
    child.wait()
    deadline = time.monotonic() + 20
    while (alive := naming(str(out))) and time.monotonic() < deadline:
        psutil.wait_procs(alive, timeout=0.5)
    assert [p.cmdline() for p in naming(str(out))] == []


def test_ctrl_c_keeps_what_was_gathered(kernel: Kernel, image: Image, tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = command.kernlab(
        "trace",
        "tcp_v4_rcv",
        "--workload",
        "bulk",
        "--json",
        "--count",
        "100000",
        "--out",
        str(out),
    )
    # A shell's background job, as a test run may be one, ignores what a terminal's would not.
    child = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert child.stdout is not None
    for line in child.stdout:
        if '"seq":50,' in line:
            break
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "interrupted" in said
    assert len((out / "events.jsonl").read_text().splitlines()) >= 50
    assert (out / "capture.pcapng").stat().st_size > 1000
    assert naming(str(out)) == []


def test_ps_and_stop(kernlab: Kernlab, tmp_path: Path) -> None:
    import json

    argv = command.kernlab("run", "--", "sh", "-c", "echo ready; sleep 1000")
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in kernlab("ps", "--json").stdout.splitlines()
    ]
    mine = [row for row in rows if row["pid"] == child.pid]
    assert len(mine) == 1
    assert kernlab("stop", mine[0]["run"]).returncode == 0
    child.communicate(timeout=30)
    assert child.returncode != 0
    assert naming(mine[0]["path"]) == []
