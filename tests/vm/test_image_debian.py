"""The Debian image and the recipes, in one guest; the detective is who they are held to."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kernlab import pipeline
from kernlab.bpf import recipe
from kernlab.bpf.check import lacks, lacks_places
from kernlab.bpf.run import MARK, for_lab, for_workload, run_tool
from kernlab.image.model import Image, ImageRequest
from kernlab.kernel.model import Kernel
from kernlab.lessons.lab import find
from kernlab.lessons.results import LabRequest
from kernlab.progress import quiet
from kernlab.record.rundir import RunDir
from kernlab.trace import workloads
from kernlab.vm.machine import Machine

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]
TOOLS = (
    "bpftrace",
    "tcplife-bpfcc",
    "ksnoop",
    "tcplife",
    "tcpstates",
    "bpftool",
    "trace-cmd",
    "tcpdump",
    "nft",
    "iptables",
    "conntrack",
    "iperf3",
    "python3",
    "sshd",
    "ssh",
    "ss",
)


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Image:
    note = tmp_path_factory.mktemp("add") / "note"
    note.write_text("mine\n")
    return pipeline.image_for(ImageRequest("debian", add=(f"{note}:/etc/note",)), quiet)


def said_of(one: recipe.Recipe, machine: Machine, run: RunDir) -> tuple[int, str, str]:
    """What a recipe's tool says while its own packets flow: status, stdout, stderr."""
    if one.lab is not None:
        path, lab = find(one.lab)
        work = for_lab(LabRequest(one.lab, lab, path), run, quiet)
    else:
        work = for_workload(workloads.find(one.workload or "none"), run, quiet)
    out, errors = bytearray(), bytearray()
    watch = recipe.Watch(one.ready, run.share / MARK)
    argv = recipe.place(one, [], f"/mnt/share/{MARK}", run)
    status = run_tool(
        argv,
        machine,
        run,
        watch.on(1, out.extend),
        watch.on(2, errors.extend),
        work,
        None,
        one.wait,
    )
    return status, out.decode("utf-8", "replace"), errors.decode("utf-8", "replace")


def test_the_tools_and_every_recipe_in_one_guest(
    kernel: Kernel, debian: Image, kernlab: Kernlab, tmp_path: Path
) -> None:
    """One boot for all, because each takes its seconds under TCG."""
    disk = debian.disk
    assert disk is not None
    before = disk.stat().st_mtime_ns
    run = RunDir.create({}, tmp_path / "run")
    said = {}
    setting = pipeline.Setting(kernel, debian, pipeline.MachineOptions(memory=1024), run)
    with pipeline.machine_for(setting) as machine:
        machine.wait_ready()
        which = machine.channel.run(30, ["sh", "-c", f"which {' '.join(TOOLS)}"])
        assert which.stdout.decode().count("\n") == len(TOOLS), which.stdout
        note = machine.channel.run(30, ["sh", "-c", "cat /etc/note; echo x > /usr/note && sync"])
        assert (note.returncode, note.stdout) == (0, b"mine\n")
        missing = machine.channel.run(30, ["sh", "-c", "which pwru"]).returncode != 0
        for name in recipe.names():
            one = recipe.find(name)
            if lacks_places(one.sections, kernel) or (one.command[:1] == ["pwru"] and missing):
                continue
            status, out, errors = said_of(one, machine, run)
            assert status == 0, f"{name}: {out}{errors}"
            for pattern in one.shows:
                assert re.search(pattern, out), f"{name}: {pattern}\n{out}{errors}"
            said[name] = out
    assert disk.stat().st_mtime_ns == before  # what a guest writes is in its memory
    told = kernlab("rst", "--lab", "L03", "--json").stdout.splitlines()
    event = next(one for one in map(json.loads, told) if one["leg"] == "main")
    theirs = [frame["func"] for frame in event["stack"] if not frame["inlined"]]
    # The two whole stacks, frame by frame; pwru's from the function that the detective stops at.
    assert re.findall(r"^\s+(\w+)\+\d+$", said["rst-who"], re.M) == theirs
    stack = re.findall(r"^ {2}(\w+)$", said["rst-stacks"], re.M)
    assert stack[: len(theirs)] == theirs
    ksnoop = re.findall(r"(\w+)\($", said["arguments"], re.M)
    assert ksnoop == theirs[1::-1]  # the caller first
    if "journey" in said:
        lines = said["journey"].splitlines()
        start = lines.index(theirs[0])
        assert lines[start : start + len(theirs)] == theirs


def test_a_recipe_by_its_command_line(kernlab: Kernlab) -> None:
    said = kernlab("bpf", "run", "recipe:rst-who", "--workload", "connect-closed")
    assert said.returncode == 0, said.stderr.decode()
    sent = re.findall(r"^passive 127\.0\.0\.1:9 > 127\.0\.0\.1:\d+", said.stdout.decode(), re.M)
    assert len(sent) == 3


def test_what_the_image_has_is_checked_without_a_boot(
    kernel: Kernel, kernlab: Kernlab, debian: Image, tmp_path: Path
) -> None:
    from kernlab.image.inside import copied_out

    ksnoop = copied_out(debian, "ksnoop", tmp_path)
    count, _ = lacks(ksnoop, kernel)
    assert count == 1
    said = kernlab("bpf", "check", "bpftrace", "--image", "debian")
    assert said.returncode == 2
    assert b"bpftrace and bcc compile their programs when they run" in said.stderr
    # By bcc's own name; 5.10's tcp_drop() is inlined, and 5.17 took it away.
    said = kernlab("bpf", "check", "tcpdrop", "--image", "debian")
    assert said.returncode == 1
    what, instead = said.stdout.decode().splitlines()
    assert re.match(r"tcpdrop-bpfcc: Linux \S+ has no function tcp_drop$", what)
    assert instead.startswith("  instead: kernlab bpf run ")
    said = kernlab("bpf", "check", "tcplife-bpfcc", "--image", "debian")
    assert (said.returncode, b"has everything that it needs" in said.stdout) == (0, True)
    said = kernlab("bpf", "check", "ksnop", "--image", "debian")
    assert said.returncode == 2
    assert b"ksnop" in said.stderr
