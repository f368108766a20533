"""kernlab debug, driven in a terminal; its commands held against what the guest itself says."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import command
import pexpect
import psutil
import pytest

from kernlab.config.paths import home
from kernlab.decode.names import TCP_STATES
from kernlab.image.model import Image
from kernlab.kernel.model import Kernel

PROMPT = r"\(gdb\) $"
_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]


class Terminal:
    """A terminal with ``kernlab debug`` in it."""

    def __init__(self, *words: str, env: dict[str, str] | None = None) -> None:
        program, *argv = command.kernlab("debug", *words)
        self.child = pexpect.spawn(
            program,
            argv,
            timeout=60,
            encoding="utf-8",
            dimensions=(200, 160),
            env={**os.environ, **(env or {})},
        )

    def ready(self) -> str:
        """Wait for the first prompt; what was said until then."""
        self.child.expect("help kernlab")
        before = self.child.before or ""
        self.child.expect(PROMPT)
        return _STYLE.sub("", before + (self.child.before or ""))

    def ask(self, line: str) -> str:
        """What a command answers."""
        self.child.sendline(line)
        self.child.expect(PROMPT)
        text = _STYLE.sub("", self.child.before or "").split("\r\n", 1)[-1]
        return text.replace("\r\n", "\n").replace("\r", "")

    def leave(self, line: str = "quit") -> int:
        self.child.sendline(line)
        self.child.expect(pexpect.EOF)
        self.child.close()
        return int(self.child.exitstatus)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.child.pid).children(recursive=True)


@pytest.fixture
def debug(kernel: Kernel, image: Image) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals; whatever a test leaves open is closed."""
    opened: list[Terminal] = []

    def open_one(*words: str, **kw: Any) -> Terminal:
        opened.append(Terminal(*words, **kw))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.child.close(force=True)


@contextmanager
def nothing_left(children: list[psutil.Process]) -> Iterator[None]:
    """Each of these processes ends while, or soon after, the block runs."""
    assert {child.name() for child in children} >= {"gdb"}
    assert any("qemu" in child.name() for child in children)
    yield
    _, alive = psutil.wait_procs(children, timeout=20)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []


def test_stopped_at_the_function_and_what_is_at_hand_is_shown(
    debug: Callable[..., Terminal],
) -> None:
    """GDB's own reading of the same memory is the oracle."""
    gdb = debug("tcp_v4_rcv")
    assert "Breakpoint 1, tcp_v4_rcv (skb=0x" in gdb.ready()
    at = int(re.search(r"= (0x\w+)", gdb.ask("p/x (unsigned long)skb"))[1], 16)  # type: ignore[index]
    header = gdb.ask("p *(struct tcphdr *)(skb->head + skb->transport_header)")
    shown = gdb.ask("kl-skb")
    assert shown.startswith(f"skb 0x{at:x}  (skb of tcp_v4_rcv)")
    fields = dict(re.findall(r"(\w+) = (\w+)", header))
    # The workload starts when the breakpoint stands: the first segment is its first SYN.
    assert fields["flags"] == "S"
    assert f"tcp S  seq {fields['seq']}  ack 0  win {fields['window']}  len 0  (in)" in shown
    assert f":{fields['source']} -> 127.0.0.1:{fields['dest']}" in shown
    raw = gdb.ask("p/x ((struct tcphdr *)(skb->head + skb->transport_header))->dest")
    swapped = int(raw.split("= 0x")[1], 16)
    assert int.from_bytes(swapped.to_bytes(2, "little"), "big") == int(fields["dest"])
    # Kernel C as it is written: debug info has no accessor and no member's short name.
    assert gdb.ask("p/x tcp_hdr(skb)->dest").split("=")[1] == raw.split("=")[1]
    assert "snd_cwnd" not in gdb.ask("whatis tcp_sk(skb->sk)->snd_cwnd")
    long, short = (
        gdb.ask(f"p &((struct sock *)64)->{m}").split("=")[1]
        for m in ("__sk_common.skc_dport", "sk_dport")
    )
    assert long == short
    assert "LISTEN" in gdb.ask("kl-sock")
    assert "ipv4 local dev lo" in gdb.ask("kl-route")
    # A caller's frame still has the same packet; one without an skb says so.
    assert f"skb 0x{at:x}" in gdb.ask("kl-skb skb")
    assert gdb.ask("kl-skb nothing") == 'kl-skb: No symbol "nothing" in current context.\n'
    assert "there is no skb at" in gdb.ask("kl-skb 8")
    assert gdb.leave() == 0


def test_on_the_way_out_the_segment_is_tcps_note_until_the_header_is_built(
    debug: Callable[..., Terminal],
) -> None:
    gdb = debug("__tcp_transmit_skb", "--workload", "connect-closed")
    gdb.ready()
    shown = gdb.ask("kl-skb")
    seq = re.search(r"\d+", gdb.ask("p ((struct tcp_skb_cb *)&skb->cb[0])->seq").split("=")[1])
    assert seq is not None
    assert f"tcp S  seq {seq[0]}  len 0  (out)" in shown
    assert f"TCP_SKB_CB  seq {seq[0]}  end_seq {int(seq[0]) + 1 & 0xFFFFFFFF}  ack_seq 0" in shown
    assert "SYN_SENT" in gdb.ask("kl-tcp")
    gdb.ask("tbreak ip_output")
    gdb.ask("delete 1")
    gdb.ask("continue")
    assert f"tcp S  seq {seq[0]}  ack 0" in gdb.ask("kl-skb")
    for _ in range(3):
        gdb.ask("up")
    assert "TCP_SKB_CB" not in gdb.ask("kl-skb")  # IP has it now
    assert gdb.leave() == 0


def test_a_qemu_that_is_held_up_is_waited_for(debug: Callable[..., Terminal]) -> None:
    """GDB asks again after a time of its own; both answers would then come, and each be taken
    for that of another question: values that are wrong, and no word of it."""
    gdb = debug("__tcp_transmit_skb", "--workload", "connect-closed")
    gdb.ready()
    (qemu,) = [child for child in gdb.children() if "qemu" in child.name()]
    qemu.suspend()
    gdb.child.sendline("kl-skb")
    with pytest.raises(pexpect.TIMEOUT):
        gdb.child.expect(PROMPT, timeout=4)  # twice GDB's default
    qemu.resume()
    gdb.child.expect(PROMPT)
    shown = gdb.child.before or ""
    seq = gdb.ask("p ((struct tcp_skb_cb *)&skb->cb[0])->seq").split("=")[1].strip()
    assert int(seq) > 0
    assert f"tcp S  seq {seq}  len 0  (out)" in shown
    assert "SYN_SENT" in gdb.ask("kl-tcp")
    assert gdb.leave() == 0


def names(lines: str, pattern: str) -> list[str]:
    return re.findall(pattern, lines, re.MULTILINE)


@pytest.mark.parametrize(
    ("function", "deep", "marks"),
    [
        ("__tcp_transmit_skb", 10, {("-- system call",)}),
        # A packet over loopback is taken in where the sender left off, by ksoftirqd, or where a
        # timer's interrupt ends that came before it.
        (
            "tcp_v4_rcv",
            9,
            {
                ("-- softirq", "-- system call"),
                ("-- softirq", "-- kernel thread"),
                ("-- softirq", "-- interrupt", "-- system call"),
            },
        ),
    ],
)
def test_the_stack_is_gdbs(
    debug: Callable[..., Terminal], function: str, deep: int, marks: set[tuple[str, ...]]
) -> None:
    """Two unwinders by two tables (DWARF and ORC) say the same functions and lines."""
    gdb = debug(function)
    gdb.ready()
    gdb.ask("set width 0")
    gdb.ask("set print frame-arguments none")
    theirs = names(gdb.ask("bt"), r"^#\d+ +(?:0x\w+ in )?(\w+) \(.*?\) at \S*?([^/]+:\d+)$")
    shown = gdb.ask("kl-stack")
    ours = names(shown, r"^#\d+ +\(?(\w+)\)? +\S*?([^/]+:\d+)$")
    shared = min(len(ours), len(theirs))
    assert shared >= deep
    assert ours[:shared] == theirs[:shared]
    lines = [line.strip() for line in shown.splitlines()]
    assert tuple(line for line in lines if line.startswith("--")) in marks
    assert len(gdb.ask("kl-stack 3").splitlines()) == 3
    assert gdb.leave() == 0


# Two namespaces, a held connection in one; then everything the guest knows goes to the share,
# and sync() is where the debugger waits.
WORLD = """
ip netns add other; ip netns exec other ip link set lo up
ip netns exec other busybox httpd -p 127.0.0.1:81 -h /etc
busybox httpd -p 80 -h /etc
(while :; do sleep 9; done) | busybox nc 127.0.0.1 80 &
until grep -q " 01 " /proc/net/tcp; do :; done
wget -q -O /dev/null http://127.0.0.1/hosts
ip route add 192.0.2.0/24 via 10.0.2.9 metric 7
ip route add blackhole 198.51.100.0/25
cat /proc/net/tcp /proc/net/tcp6 > /mnt/share/tcp
ip netns exec other cat /proc/net/tcp /proc/net/tcp6 > /mnt/share/tcp.other
ip -4 route show table all > /mnt/share/routes
ip -4 route get 192.0.2.77 > /mnt/share/get
busybox sync
"""


def proc_net_tcp(text: str) -> set[tuple[str, str, str]]:
    """State and both ends of each row of /proc/net/tcp and tcp6: addresses are 32-bit words
    as the guest's CPU reads them."""
    found = set()
    for line in text.splitlines():
        _, local, remote, state = line.split()[:4]
        ends = []
        for end in (local, remote) if ":" in local else ():
            address, port = end.split(":")
            words = bytes.fromhex(address)
            octets = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
            read = ipaddress.ip_address(octets)
            # An IPv4 address in a socket of IPv6 is shown as what it is.
            shown = str(getattr(read, "ipv4_mapped", None) or read)
            shown = f"[{shown}]" if ":" in shown else shown
            ends.append(f"{shown}:{int(port, 16) or '*'}")
        if ends:
            found.add((TCP_STATES[int(state, 16)], *ends))
    return found


def test_sockets_and_routes_are_those_that_the_guest_lists(
    debug: Callable[..., Terminal], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    gdb = debug("ksys_sync", "--workload", WORLD, "--out", str(out))
    assert "Breakpoint 1, ksys_sync" in gdb.ready()
    listed: dict[str, set[tuple[str, str, str]]] = {}
    for line in gdb.ask("kl-sockets").splitlines()[1:]:
        state, _, _, local, peer, _, netns = line.split()
        listed.setdefault(netns, set()).add((state, local, peer))
    assert listed.pop("init") == proc_net_tcp((out / "share/tcp").read_text())
    (other,) = listed.values()
    assert other == proc_net_tcp((out / "share/tcp.other").read_text())
    assert {row[0] for row in other} == {"LISTEN"}
    said = gdb.ask("kl-sockets state == LISTEN and port == 81").splitlines()
    assert len(said) == 2
    assert gdb.ask("kl-sockets port == 4711") == "no socket passes the filter\n"
    assert "^" in gdb.ask("kl-sockets port ==")

    theirs = set()
    for line in (out / "share/routes").read_text().splitlines():
        words = re.sub(r"proto \w+ ?|linkdown ?", "", line).split()
        if "table" not in words:
            words += ["table", "main"]
        theirs.add(frozenset(words))
    ours = {
        frozenset(line.split())
        for line in gdb.ask("kl-route all").splitlines()
        if "netns" not in line
    }
    assert ours == theirs
    got = gdb.ask("kl-route 192.0.2.77")
    assert re.search(r"via (\S+) dev (\S+)", got)[0] in (out / "share/get").read_text()  # type: ignore[index]
    assert gdb.ask("kl-route 198.51.100.1").startswith("blackhole 198.51.100.0/25")
    assert gdb.leave() == 0


def test_the_kernels_own_commands_are_loaded(
    debug: Callable[..., Terminal], kernel: Kernel
) -> None:
    gdb = debug("--ex", "lx-version", "--ex", "p $lx_current().comm")
    said = gdb.ready() + gdb.ask("lx-ps")
    assert f"Linux version {kernel.release}" in said
    assert "swapper/0" in said
    assert "kthreadd" in said
    assert "could not be loaded" not in said
    assert "Traceback" not in said
    shown = gdb.ask("help kernlab")
    for name in re.findall(r"^(kl-\w+)", shown, re.MULTILINE):
        assert name in gdb.ask(f"help {name}")
    assert gdb.leave() == 0


def test_ctrl_c_stops_the_guest_and_not_kernlab(debug: Callable[..., Terminal]) -> None:
    gdb = debug("--workload", "bulk")
    gdb.ready()
    for _ in range(3):
        gdb.child.sendline("continue")
        gdb.child.expect("Continuing")
        gdb.child.sendintr()
        gdb.child.expect("SIGINT")
        gdb.child.expect(PROMPT)
    gdb.child.send("\x1c")  # Ctrl-\ is GDB's to take, too
    assert "LISTEN" in gdb.ask("kl-sockets state == LISTEN")
    with nothing_left(gdb.children()):
        assert gdb.leave() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_kernlab_ends_all(debug: Callable[..., Terminal], number: int) -> None:
    # Under nohup SIGHUP is ignored, by all children too.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        gdb = debug("tcp_v4_rcv")
    finally:
        signal.signal(signal.SIGHUP, before)
    gdb.ready()
    with nothing_left(gdb.children()):
        os.kill(gdb.child.pid, number)
        gdb.child.expect(pexpect.EOF)
    gdb.child.close()
    assert (gdb.child.exitstatus, gdb.child.signalstatus) == (
        (None, number) if number == signal.SIGKILL else (130, None)
    )
    assert "Traceback" not in (gdb.child.before or "")


@pytest.mark.parametrize("how", ["quit", "killed"])
def test_the_tui_and_the_terminal_given_back(
    kernel: Kernel, image: Image, tmp_path: Path, how: str
) -> None:
    run = f"{shlex.join(command.kernlab('debug', 'tcp_v4_rcv', '--tui'))}; echo status=$?"
    script = f"stty -a > {tmp_path}/before; {run}; stty -a > {tmp_path}/after"
    child = pexpect.spawn(
        "sh",
        ["-c", script],
        timeout=60,
        encoding="utf-8",
        dimensions=(40, 120),
        env={**os.environ, "TERM": "xterm"},
    )
    child.expect("help kernlab")
    child.expect(r"\(gdb\)")
    child.sendline("kl-skb")
    child.expect("skb of tcp_v4_rcv")
    if how == "quit":
        child.sendline("quit")
        child.expect("status=0")
    else:
        gdb = [p for p in psutil.Process(child.pid).children(True) if p.name() == "gdb"]
        gdb[0].kill()
        child.expect("GDB died of signal 9")
        child.expect("status=4")
    child.expect(pexpect.EOF)
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()


GDBINIT = """
set prompt (set) \\

set confirm on
set pagination off
set output-radix 0x10
set print pretty on
define hook-stop
echo my hook\\n
end
python
import gdb
gdb.prompt_hook = lambda current: "(mine) "
gdb.events.stop.connect(lambda event: print("my context at", gdb.selected_frame().name()))
class Skb:
    def __init__(self, value): pass
    def to_string(self): return "somebody else's"
gdb.pretty_printers.append(lambda value: Skb(value) if value.type.name == "__be16" else None)
end
"""


def test_beside_the_users_own_gdbinit(
    kernel: Kernel, image: Image, debug: Callable[..., Terminal], tmp_path: Path
) -> None:
    """As pwndbg and gef do: a prompt, hooks, what runs at each stop, settings, printers."""
    (tmp_path / ".gdbinit").write_text(GDBINIT)
    gdb = debug("tcp_v4_rcv", env={"HOME": str(tmp_path), "KERNLAB_HOME": str(home())})
    gdb.child.expect("my hook")
    gdb.child.expect("my context at tcp_v4_rcv")
    gdb.child.expect("help kernlab")
    for line, said in (
        ("help kernlab", "kl-sockets"),
        ("kl-skb", r"127\.0\.0\.1:\d+ -> 127\.0\.0\.1:8080.*tcp S  seq \d+  ack 0 "),
        ("kl-sock", r"127\.0\.0\.1:8080 -> 0\.0\.0\.0:\*  LISTEN"),
        ("kl-sockets", r"SYN_SENT +0 +1 +127\.0\.0\.1:\d+ +127\.0\.0\.1:8080"),
        ("kl-stack 2", "ip_protocol_deliver_rcu"),
        ("next", r"my context at \w+"),
    ):
        gdb.child.expect(r"\(mine\) $")
        gdb.child.sendline(line)
        gdb.child.expect(said)
    gdb.child.expect(r"\(mine\) $")
    gdb.child.sendline("show pagination")
    gdb.child.expect("is off")
    gdb.child.sendline("p (__be16)0x5000")
    gdb.child.expect(r"80 \(0x0050\)")
    gdb.child.sendline("quit")
    gdb.child.expect(pexpect.EOF)


def test_without_a_terminal_it_is_a_script(kernlab: Kernlab) -> None:
    said = kernlab("debug", "tcp_v4_rcv", "--ex", "kl-skb", "--ex", "kl-stack 2", "--ex", "quit 7")
    assert said.returncode == 7, said.stderr.decode()
    out = said.stdout.decode()
    assert out.index("skb of tcp_v4_rcv") < out.index("#1  ip_protocol_deliver_rcu")


def test_a_function_that_is_not_reached_ends_the_wait(kernlab: Kernlab) -> None:
    said = kernlab("debug", "tcp_v6_rcv", "--timeout", "2", "--ex", "kl-sockets state == LISTEN")
    assert said.returncode == 0
    assert b"tcp_v6_rcv was not reached" in said.stdout
    assert b"127.0.0.1:8080" in said.stdout


def test_an_inlined_function_stops_in_its_callers(kernlab: Kernlab) -> None:
    said = kernlab("debug", "tcp_transmit_skb", "--ex", "kl-sock")
    assert said.returncode == 0
    assert b"inlined into" in said.stderr
    assert b"SYN_SENT" in said.stdout


def test_a_guest_that_breaks_is_told_as_such(kernlab: Kernlab) -> None:
    said = kernlab(
        "debug",
        "sysrq_handle_crash",
        "--workload",
        "echo c > /proc/sysrq-trigger",
        "--ex",
        "delete",
        "--ex",
        "continue",
    )
    assert said.returncode == 4, said.stderr.decode()
    assert b"panic" in said.stderr
    assert b"Traceback" not in said.stderr + said.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tcp_v4_recv"], "near names: tcp_v4_rcv"),
        (["tcp_v4_*"], "not at globs"),
        (["--workload", "htp"], "did you mean http?"),
        (["--timeout", "0"], "more than 0"),
        (["--tui"], "needs a terminal"),
    ],
)
def test_what_cannot_be_is_refused_before_the_boot(
    kernlab: Kernlab, words: list[str], said: str
) -> None:
    answer = kernlab("debug", *words)
    assert answer.returncode == 2
    assert said in answer.stderr.decode()
    assert b"boot the guest" not in answer.stderr


def test_a_workload_that_fails_is_said(kernlab: Kernlab) -> None:
    work = "echo oh dear >&2; exit 3"
    said = kernlab("debug", "tcp_v4_rcv", "--timeout", "5", "--workload", work)
    assert said.returncode == 0
    assert b"was not reached" in said.stdout
    assert b"the workload had ended with status 3: oh dear" in said.stderr


def test_a_line_is_a_place_to_stop_at(debug: Callable[..., Terminal], kernel: Kernel) -> None:
    text = (kernel.source / "net/ipv4/tcp_ipv4.c").read_text().splitlines()
    line = next(
        n
        for n, row in enumerate(text, 1)
        if "th = (const struct tcphdr *)skb->data" in row
        and n > text.index("int tcp_v4_rcv(struct sk_buff *skb)")
    )
    terminal = debug(f"tcp_ipv4.c:{line}")
    assert "tcp_v4_rcv" in terminal.ready()
    stopped = re.search(r"tcp_ipv4\.c:(\d+)", terminal.ask("frame"))
    assert stopped is not None
    assert 0 <= int(stopped[1]) - line <= 3
    assert terminal.leave() == 0
