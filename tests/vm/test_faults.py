"""What a bad day does to a machine: each fault provoked, told in words, and the next run works."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import command
import psutil
import pytest
from leftovers import naming

from kernlab.config.paths import home
from kernlab.image.model import Image
from kernlab.kernel.model import Kernel
from kernlab.vm.machine import Machine

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]
Booted = Callable[..., AbstractContextManager[Machine]]

# In a mount namespace of its own: $1 options of a tmpfs, $2 where, the rest a command; what
# of the real home is needed is seen through links.
SMALL = r"""
size=$1; at=$2; real=$3; shift 3
mount --make-rprivate / 2>/dev/null || true  # a chroot's root is no mount point
mount -t tmpfs -o "size=$size" tmpfs "$at"
for kind in kernels images sources guest downloads; do
    [ "$kind" = "$LEAVE" ] || ln -s "$real/$kind" "$at/$kind"
done
[ -z "$READ_ONLY" ] || mount -o remount,bind,ro "$at"  # in a user namespace the flags alone
export KERNLAB_HOME="$at"
exec "$@"
"""


def on_a_small_disk(
    size: str, place: Path, *words: str, leave: str = "", read_only: bool = False
) -> subprocess.CompletedProcess[str]:
    """kernlab with a home of ``size``; ``leave``: the kind of artifact that is not there yet."""
    # Root needs no user namespace, and in a chroot the kernel would refuse it one.
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    unshare = ["unshare", *as_root, "--mount", "--propagation", "unchanged"]
    allowed = subprocess.run([*unshare, "true"], capture_output=True, text=True)
    if allowed.returncode != 0:
        # In a chroot, and where the host forbids user namespaces (user_namespaces(7)).
        pytest.skip(f"no disk of one's own to fill here: {allowed.stderr.strip()}")
    place.mkdir()
    argv = [
        *unshare,
        "sh",
        "-euc",
        SMALL,
        "small",
        size,
        str(place),
        str(home()),
        *command.kernlab(*words),
    ]
    env = {**os.environ, "LEAVE": leave, "READ_ONLY": "1" if read_only else "", "NO_COLOR": "1"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, env=env)


def told(said: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert said.returncode == status, said.stderr
    assert "Traceback" not in said.stderr
    assert "has a bug" not in said.stderr
    assert "next: " in said.stderr
    for word in words:
        assert word in said.stderr, said.stderr


def test_a_full_disk_at_fetch(tmp_path: Path) -> None:
    tree = tmp_path / "linux-5.10.1"
    tree.mkdir()
    (tree / "Makefile").write_text("VERSION = 5\nPATCHLEVEL = 10\nSUBLEVEL = 1\nEXTRAVERSION =\n")
    (tree / "Kconfig").write_text("")
    (tree / "large").write_bytes(os.urandom(4 << 20))
    with tarfile.open(tmp_path / "linux-5.10.1.tar.gz", "w:gz") as tar:
        tar.add(tree, "linux-5.10.1")
    said = on_a_small_disk(
        "1m", tmp_path / "home", "fetch", str(tmp_path / "linux-5.10.1.tar.gz"), leave="sources"
    )
    told(said, 3, "a source tree needs")


def test_a_full_disk_at_build(kernel: Kernel, tmp_path: Path) -> None:
    said = on_a_small_disk("64m", tmp_path / "home", "build", leave="kernels")
    told(said, 3, "a build needs")


def test_a_full_disk_at_image(kernel: Kernel, tmp_path: Path) -> None:
    said = on_a_small_disk("1m", tmp_path / "home", "image", leave="images")
    told(said, 3, "No space left on device")


def test_a_full_disk_at_run(kernel: Kernel, image: Image, tmp_path: Path) -> None:
    said = on_a_small_disk("200k", tmp_path / "home", "trace", "tcp_v4_rcv", "--workload", "bulk")
    told(said, 3, "No space left on device")


def test_a_disk_that_fills_at_the_end_keeps_the_capture(
    kernel: Kernel, image: Image, kernlab: Kernlab, tmp_path: Path
) -> None:
    """Room for what the guest captured, and none to make pcapng of it: as large a run is made
    first, and measured."""
    many = "for i in $(seq 500); do wget -q -O /dev/null http://127.0.0.1:9/; done; true"
    words = ("trace", "tcp_fin", "--engine", "ftrace", "--workload", f"sh -c '{many}'")
    measured = tmp_path / "measured"
    assert kernlab(*words, "--out", str(measured)).returncode == 0
    size = (measured / "capture.pcapng").stat().st_size
    rest = sum(path.stat().st_size + 4096 for path in measured.rglob("*") if path.is_file())
    assert size > 100_000
    said = on_a_small_disk(str(rest + size // 2), tmp_path / "home", *words)
    assert "the capture: it is kept as " in said.stderr, said.stderr
    assert "No space left on device" in said.stderr
    assert "Traceback" not in said.stderr
    assert "has a bug" not in said.stderr


def test_a_home_that_cannot_be_written(kernel: Kernel, image: Image, tmp_path: Path) -> None:
    said = on_a_small_disk("1m", tmp_path / "home", "run", "--", "true", read_only=True)
    told(said, 125, "cannot create", "KERNLAB_HOME")


def test_no_memory_for_the_guest(kernel: Kernel, image: Image) -> None:
    argv = command.kernlab("run", "--memory", "65536", "--", "true")
    said = subprocess.run(
        ["prlimit", f"--as={3 << 29}", *argv],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "NO_COLOR": "1"},
    )
    told(said, 125, "cannot set up guest memory")


def test_a_run_directory_that_goes_away(kernel: Kernel, image: Image, tmp_path: Path) -> None:
    out = tmp_path / "run"
    child = subprocess.Popen(
        command.kernlab(
            "run", "--out", str(out), "--", "sh", "-c", "echo ready; read x; ls /mnt/share"
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    subprocess.run(["rm", "-rf", str(out)], check=True)
    _, said = child.communicate("go\n", timeout=60)
    # QEMU still holds the directory: the command ran to its end, and its status is kept.
    assert child.returncode == 0, said
    assert "Traceback" not in said
    assert "has a bug" not in said


def test_a_console_that_floods(kernlab: Kernlab) -> None:
    """A hundred thousand bytes on the console: commands go another way and stay whole."""
    script = "yes 'flood of the console' | head -c 100000 > /dev/console; echo done"
    said = kernlab("run", "--", "sh", "-c", script)
    assert (said.returncode, said.stdout) == (0, b"done\n")


def test_a_gdb_that_dies_is_told(kernel: Kernel, image: Image, tmp_path: Path) -> None:
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
    child = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert child.stdout is not None
    for line in child.stdout:
        if '"seq":10,' in line:
            break
    gdbs = [p for p in psutil.Process(child.pid).children(recursive=True) if p.name() == "gdb"]
    assert gdbs
    for gdb in gdbs:
        gdb.send_signal(signal.SIGKILL)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 4, said
    assert "GDB" in said
    assert "next: " in said
    assert "Traceback" not in said
    # What was seen is kept, and the next run works.
    assert len((out / "events.jsonl").read_text().splitlines()) >= 10
    assert (out / "capture.pcapng").stat().st_size > 1000
    again = subprocess.run(
        command.kernlab("trace", "tcp_v4_rcv", "--count", "1", "--json"),
        capture_output=True,
        timeout=100,
    )
    assert again.returncode == 0


def test_a_hundred_megabytes_each_way(kernlab: Kernlab) -> None:
    data = os.urandom(1 << 20) * 100
    said = kernlab("run", "--", "cat", input=data)
    assert said.returncode == 0
    assert len(said.stdout) == len(data)
    assert hashlib.sha256(said.stdout).digest() == hashlib.sha256(data).digest()


def test_eight_machines_at_once(kernel: Kernel, image: Image) -> None:
    argv = command.kernlab("run", "--", "cat", "/proc/sys/kernel/random/boot_id")
    machines = [
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    said = [machine.communicate(timeout=300) for machine in machines]
    assert [machine.returncode for machine in machines] == [0] * 8, said
    assert len({out for out, _ in said}) == 8


def test_the_guest_sees_nothing_outside_its_share(booted: Booted, tmp_path: Path) -> None:
    with booted() as machine:
        share = tmp_path / "run" / "share"
        secret = tmp_path / "secret"
        secret.write_text("of the host")
        (share / "file").symlink_to(secret)
        (share / "up").symlink_to("../../secret")
        (share / "all").symlink_to("/")

        def reads(script: str) -> bytes:
            said = machine.channel.run(20, ["sh", "-c", script])
            return said.stdout + said.stderr

        for path in ("file", "up", "../../secret", "all/etc/hostname", "../run/console.log"):
            assert b"of the host" not in reads(f"cat /mnt/share/{path}"), path
        assert reads("cat /mnt/share/all/etc/hostname") != Path("/etc/hostname").read_bytes()
        # The export itself, asked for a directory above it.
        again = "mkdir /tmp/up; mount -t 9p -o trans=virtio,version=9p2000.L,aname={} share /tmp/up"
        for name in ("..", "/", "/../.."):
            reads(again.format(name) + "; ls /tmp/up; umount /tmp/up; rmdir /tmp/up")
            seen = reads(again.format(name) + "; ls -a /tmp/up; umount /tmp/up; rmdir /tmp/up")
            assert b"secret" not in seen, seen
            assert b"console.log" not in seen, seen


# A run's life by what it has written: the kill comes when a file has so many bytes.
WRITTEN = [
    ("run.json", 1),
    ("console.log", 0),
    ("console.log", 1),
    ("gdb.log", 1),
    ("gdb.log", 300),
    ("gdb.log", 800),
    ("console.log", 30),
    ("console.log", 60),
    ("share/.capture.pcap", 0),
    ("gdb.log", 1000),
    ("gdb.log", 1200),
    ("events.jsonl", 0),
    ("events.jsonl", 1),
    *(("events.jsonl", 20_000 * n) for n in (1, 2, 4, 8, 16, 32, 64)),
]


@pytest.mark.parametrize(("name", "size"), WRITTEN)
def test_a_kill_at_any_moment_leaves_nothing(
    kernel: Kernel, image: Image, tmp_path: Path, name: str, size: int
) -> None:
    out = tmp_path / "killed"
    argv = command.kernlab(
        "trace", "tcp_v4_rcv", "--workload", "bulk", "--count", "100000", "--out", str(out)
    )
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    file = out / name
    while not (file.exists() and file.stat().st_size >= size):
        assert child.poll() is None
        assert time.monotonic() < limit, [(f.name, f.stat().st_size) for f in out.iterdir()]
        time.sleep(0.002)
    child.kill()
    child.wait()
    limit = time.monotonic() + 20
    while (alive := naming(str(out))) and time.monotonic() < limit:
        psutil.wait_procs(alive, timeout=0.5)
    assert [p.cmdline() for p in naming(str(out))] == []
