"""The real agent, run on the host over a socket pair, against the real channel."""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.config.programs import names
from kernlab.errors import BadInput, MachineFailed
from kernlab.guest.build import program
from kernlab.progress import quiet
from kernlab.vm import channel as channels
from kernlab.vm.channel import Channel


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    patch.setenv("KERNLAB_HOME", str(tmp_path_factory.mktemp("home")))
    patch.setattr(channels, "HOME", "/")  # an ordinary user may not enter the host's /root
    yield program("agent", quiet)
    patch.undo()


@pytest.fixture
def channel(agent: Path) -> Iterator[Channel]:
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        [agent, "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()]
    ) as child:
        theirs.close()
        live = Channel(ours)
        try:
            yield live
        finally:
            live.close()
            child.wait(10)


def test_hello_comes_first_and_again_on_a_ping(channel: Channel) -> None:
    heard: list[object] = []
    seen = threading.Event()
    channel.on_hello(lambda hello: (heard.append(hello), seen.set()))  # type: ignore[func-returns-value]
    assert seen.wait(10)
    channel.ping(10)
    assert len(heard) == 2


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=200_000), status=st.integers(0, 255))
def test_any_bytes_and_any_status(channel: Channel, data: bytes, status: int) -> None:
    done = channel.run(30, ["sh", "-c", f"cat; exit {status}"], input=data)
    assert (done.returncode, done.stdout, done.stderr) == (status, data, b"")


def test_ten_megabytes_each_way(channel: Channel) -> None:
    data = bytes(range(256)) * 40_000
    done = channel.run(60, ["tee", "/dev/stderr"], input=data)
    assert done.stdout == done.stderr == data


def test_commands_run_side_by_side(channel: Channel) -> None:
    slow = channel.start(["cat"], stdin=True)
    done = [channel.run(10, ["sh", "-c", f"echo {n}"]).text for n in range(20)]
    assert done == [f"{n}\n" for n in range(20)]
    slow.close_stdin()
    assert slow.wait(10) == 0


def test_output_does_not_wait_for_input_that_nobody_reads(channel: Channel) -> None:
    stuck = channel.start(["sleep", "60"], stdin=True)
    writer = threading.Thread(target=lambda: stuck.write(bytes(2_000_000)), daemon=True)
    writer.start()
    assert len(channel.run(20, ["head", "-c", "3000000", "/dev/zero"]).stdout) == 3_000_000
    stuck.signal(9)
    assert stuck.wait(10) == 137
    writer.join(10)
    assert not writer.is_alive()


def test_a_grandchild_that_keeps_the_pipe_does_not_hold_the_exit(channel: Channel) -> None:
    done = channel.run(10, ["sh", "-c", "sleep 30 & echo started; exit 3"])
    assert (done.returncode, done.text) == (3, "started\n")


def test_a_signal_reaches_all_that_the_command_started(channel: Channel) -> None:
    process = channel.start(["sh", "-c", "sleep 60; true"])
    process.signal(15)
    assert process.wait(10) == 143


def test_what_cannot_run_ends_as_in_a_shell(channel: Channel) -> None:
    assert channel.run(10, ["no-such-program"]).returncode == 127
    assert channel.run(10, ["/etc/passwd"]).returncode == 126
    assert channel.run(10, ["true"], cwd="/no/such/dir").returncode == 126


def test_environment_and_directory(channel: Channel) -> None:
    done = channel.run(10, ["sh", "-c", "echo $X; pwd"], env={"X": "ü y"}, cwd="/tmp")
    assert done.text == "ü y\n/tmp\n"


def test_files_without_a_process(channel: Channel, tmp_path: Path) -> None:
    path = tmp_path / "f"
    channel.write_file(str(path), bytes(100_000))
    assert path.read_bytes() == bytes(100_000)
    assert channel.read_file(str(path)) == bytes(100_000)
    with pytest.raises(OSError, match="No such file") as caught:
        channel.read_file("/no/such/file")
    assert caught.value.errno == errno.ENOENT


def test_a_time_limit_kills(channel: Channel) -> None:
    with pytest.raises(TimeoutError):
        channel.run(0.2, ["sleep", "60"])


def test_every_waiter_is_told_when_the_machine_goes(agent: Path) -> None:
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([agent, "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    live = Channel(ours)
    process = live.start(["sleep", "60"])
    live.ping(10)
    child.kill()
    child.wait()
    with pytest.raises(MachineFailed, match="channel is gone"):
        process.wait(10)
    with pytest.raises(MachineFailed, match="channel is gone"):
        live.run(10, ["true"])
    live.close()


def test_commands_end_with_the_host(agent: Path, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([agent, "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    live = Channel(ours)
    out = bytearray()
    said = threading.Event()
    live.start(
        ["sh", "-c", "echo $$; exec sleep 1000"],
        on_stdout=lambda data: (out.extend(data), said.set()),
    )  # type: ignore[func-returns-value]
    assert said.wait(10)
    command = psutil.Process(int(out))
    live.close()
    child.wait(10)
    _, alive = psutil.wait_procs([command], timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


def test_a_command_finds_its_pipe_closed_when_nobody_takes_its_output(channel: Channel) -> None:
    """As in a pipeline of the host's: `yes | head` ends by SIGPIPE."""
    full = OSError(errno.ENOSPC, "No space left on device")

    def take(data: bytes) -> None:
        raise full

    process = channel.start(["yes"], on_stdout=take)
    assert process.wait(20) == 128 + signal.SIGPIPE
    assert process.refused is full
    done = channel.run(20, ["sh", "-c", "echo whole"])  # the others are none the worse for it
    assert done.text == "whole\n"


def test_an_agent_that_is_started_again_has_lost_its_commands(agent: Path) -> None:
    """init does so when it was killed; whoever waits is told, and waits no longer."""
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    first = subprocess.Popen([agent, "--fd", str(fd)], pass_fds=[fd])
    live = Channel(ours)
    process = live.start(["sleep", "60"])
    live.ping(10)
    first.terminate()  # as `kill -1` does: not enough
    live.ping(10)
    first.kill()
    first.wait()
    with subprocess.Popen([agent, "--fd", str(fd)], pass_fds=[fd]):
        theirs.close()
        with pytest.raises(MachineFailed, match="agent was killed"):
            process.wait(20)
        with pytest.raises(MachineFailed, match="agent was killed"):
            live.run(10, ["true"])
        live.close()


def test_every_guest_program_compiles_without_a_warning(own_home: Path) -> None:
    top = Path(__file__).parents[2] / "rootfs" / "guest"
    for name in names():
        argv = [
            "gcc",
            "-static",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-fsyntax-only",
            "-I",
            str(top / "labs"),
            "-I",
            str(top / "races"),
        ]
        source = top / f"{name}.c"
        said = subprocess.run([*argv, str(source)], capture_output=True, text=True)
        assert said.returncode == 0, said.stderr


def test_an_unknown_program_gets_a_near_name(own_home: Path) -> None:
    with pytest.raises(BadInput) as caught:
        program("blk", quiet)
    assert "bulk" in caught.value.why


@pytest.mark.parametrize(
    "words",
    [
        ["httpwl", "-n", "3", "-i", "0"],
        ["httpwl", "-6", "-n", "2", "-c", "client", "-p", "8090"],
        ["bulk", "-n", "300000", "-p", "8091"],
        ["connclosed", "-n", "2", "-i", "1"],
    ],
)
def test_workloads_come_to_their_end(own_home: Path, words: list[str]) -> None:
    said = subprocess.run([program(words[0], quiet), *words[1:]], capture_output=True, timeout=30)
    assert said.returncode == 0, said.stderr
