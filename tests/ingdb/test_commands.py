"""The kl-* commands and the printers inside a real GDB, on a program made here: no guest."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The kernel's names and, where it matters here, its types.
PROGRAM = """
typedef unsigned int __u32; typedef __u32 __be32;
typedef unsigned short __u16; typedef __u16 __be16; typedef __u16 __sum16;
struct in6_addr { union { unsigned char u6_addr8[16]; } in6_u; };
struct tcphdr {
    __be16 source, dest; __be32 seq, ack_seq;
    __u16 res1:4, doff:4, fin:1, syn:1, rst:1, psh:1, ack:1, urg:1, ece:1, cwr:1;
    __be16 window; __sum16 check; __be16 urg_ptr;
};
struct sock { __be32 skc_daddr; __be16 skc_dport; };
struct tcp_sock { struct sock inet; int cwnd; };
struct socket { int state; struct sock *sk; };
struct sk_buff { struct sk_buff *next; unsigned len; };

struct tcphdr th = { 0xb80b, 0x5000, 0x01000000, 0, 0, 10, 0, 1, 0, 0, 1, 0, 0, 0,
                     0xffff, 0x3412, 0 };
struct in6_addr lo6 = { { { 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1 } } };
struct sock sk_one = { 0x0100007f, 0x5000 };
struct tcp_sock tp_one = { { 0x0200007f, 0x5100 }, 10 };
struct socket so_one = { 1, &sk_one };
struct sk_buff first = { 0, 60 }, second = { &first, 52 };
const __be16 ports[2] = { 0x5000, 0xbb01 };
volatile int seen;

void deepest(int n) { seen += n; }
void inner(int n) { deepest(n + 1); seen++; }
int outgoing(struct sk_buff *skb) {
    seen += skb->len;
    inner(1);
    return seen;
}
int incoming(struct sk_buff *other, struct sk_buff *skb, struct sock *sk) {
    inner(other != skb);
    return outgoing(skb) + (sk != 0);
}
int main(void) { return incoming(&second, &first, 0); }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("program")
    (place / "p.c").write_text(PROGRAM)
    argv = ["gcc", "-g", "-O0", "-fno-pie", "-no-pie", "-o", place / "p", place / "p.c"]
    subprocess.run(argv, check=True)
    return place / "p"


BODY = """
import sys, json, gdb
sys.path[:0] = [{root!r}]
from gdb_scripts import commands, commands_packet, commands_route, commands_socket, here, printers
from gdb_scripts import session
def say(text):
    try:
        return gdb.execute(text, to_string=True).strip()
    except gdb.error as error:
        return "error: %s" % error
def fails(call, *args):
    try:
        return call(*args)
    except gdb.error as error:
        return "error: %s" % error
class Lab:
    sites = {sites!r}
printers.register()
{body}
json.dump(answer, open({out!r}, 'w'))
"""
SITES = {
    "incoming": {"header": "transport", "direction": "in", "tcp_cb": True},
    "outgoing": {"header": "cb", "direction": "out", "tcp_cb": True},
}


def inside(program: Path, tmp_path: Path, body: str, *before: str) -> Any:
    """Run Python in GDB; ``answer`` is what the body leaves in that name."""
    out, script = tmp_path / "answer.json", tmp_path / "script.py"
    script.write_text(BODY.format(root=str(ROOT), sites=SITES, body=body, out=str(out)))
    argv = ["gdb", "-nx", "-q", "-batch", str(program)]
    for command in before:
        argv += ["-ex", command]
    said = subprocess.run([*argv, "-x", str(script)], capture_output=True, text=True, timeout=60)
    assert out.exists(), said.stdout + said.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("sk_one.skc_daddr", "127.0.0.1 (0x7f000001)"),
        ("sk_one", "{skc_daddr = 127.0.0.1 (0x7f000001), skc_dport = 80 (0x0050)}"),
        ("ports", "{80 (0x0050), 443 (0x01bb)}"),
        ("lo6", "::1"),
        (
            "th",
            "tcphdr = {source = 3000, dest = 80, seq = 1, ack_seq = 0, doff = 10, flags = SA, "
            "window = 65535, check = 0x1234, urg_ptr = 0}",
        ),
        ("th.check", "0x1234"),
        ("(__u32)16777343", "16777343"),
        ("first.len", "60"),
    ],
)
def test_addresses_and_ports_are_printed_as_people_write_them(
    program: Path, tmp_path: Path, expression: str, shown: str
) -> None:
    said = inside(
        program,
        tmp_path,
        f"""
answer = [say("p {expression}"), say("p/x {expression}"), say("p/r {expression}")]
""",
        "set width 0",
    )
    assert said[0] == f"$1 = {shown}"
    assert "127.0.0.1" not in said[2]  # the bytes as they are


def test_printers_are_registered_once(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
printers.register()
answer = len([p for p in gdb.current_progspace().pretty_printers if p.name == "kernlab"])
""",
    )
    assert said == 1


def test_what_is_at_hand_is_the_nearest_frames(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
def at(found):
    return None if found is None else [found.where, found.level, found.address]
answer = {"skb": at(here.find(("sk_buff",), "skb")), "sock": at(here.find(("sock",), "sk")),
          "first": int(gdb.parse_and_eval("(long)&first"))}
gdb.execute("up 2")
answer["up"] = at(here.find(("sk_buff",), "skb"))
answer["other"] = at(here.find(("sk_buff",), "other"))
gdb.execute("up")
answer["main"] = at(here.find(("sk_buff",), "skb"))
""",
        "break deepest",
        "run",
    )
    assert said["skb"] == ["skb of incoming, 2 frames up", 2, said["first"]]
    assert said["sock"] == ["sk of incoming, 2 frames up", 2, 0]
    assert said["up"][:2] == ["skb of incoming", 0]
    assert said["other"][0] == "other of incoming"
    assert said["main"] is None


def test_an_expression_is_taken_for_the_address_it_means(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
texts = ["&sk_one", "sk_one", "so_one", "&so_one", "tp_one", "(long)&sk_one", "&first", "1.5",
         "nothing", "*(struct sock *)0"]
answer = {t: fails(lambda t: here.pointer(t, here.SOCKS, "a socket").address, t) for t in texts}
answer["sock"] = int(gdb.parse_and_eval("(long)&sk_one"))
answer["null"] = [fails(here.the_skb, "second.next->next"), fails(here.the_skb, "sk_one")]
""",
        "break main",
        "run",
    )
    for text in ("&sk_one", "sk_one", "so_one", "&so_one", "(long)&sk_one"):
        assert said[text] == said["sock"], text
    assert isinstance(said["tp_one"], int)
    assert said["&first"] == "error: &first points to struct sk_buff, not to a socket"
    assert said["1.5"] == "error: 1.5 is double, no address of a socket"
    assert said["nothing"] == 'error: No symbol "nothing" in current context.'
    assert said["*(struct sock *)0"] == 0
    assert said["null"][0] == "error: second.next->next is NULL"
    assert said["null"][1] == "error: sk_one points to struct sock, not to an skb"


def test_a_row_counts_for_callees_on_the_way_in_and_at_the_entry_on_the_way_out(
    program: Path, tmp_path: Path
) -> None:
    said = inside(
        program,
        tmp_path,
        """
skb = int(gdb.parse_and_eval("(long)&first"))
def now():
    row = here.site_of(Lab, skb)
    return [row["header"], row.get("tcp_cb", False)]
answer = {"entry": now(), "other": here.site_of(Lab, 8)["header"]}
gdb.execute("next")
answer["later"] = now()
gdb.execute("break deepest")
gdb.execute("continue")
answer["callee"] = now()
gdb.execute("up 2")
answer["up"] = now()
gdb.execute("up")
answer["caller"] = now()
""",
        "break outgoing",
        "run",
    )
    assert said["entry"] == ["cb", True]
    assert said["later"] == ["none", False]
    assert said["callee"] == ["none", False]
    assert said["up"] == ["none", False]
    assert said["caller"] == ["transport", True]
    assert said["other"] == "none"


def test_a_callee_on_the_way_in_has_its_callers_header(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
skb = int(gdb.parse_and_eval("(long)&first"))
answer = here.site_of(Lab, skb)["header"]
""",
        "break deepest",
        "run",
    )
    assert said == "transport"


def test_help_names_every_command_and_each_has_its_own(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
for command in session._COMMANDS:
    command()
names = [c.NAME for c in session._COMMANDS if hasattr(c, "NAME")]
answer = {"all": say("help kernlab"), "run": say("kernlab"),
          "own": {name: say("help " + name) for name in names},
          "early": {name: say(name) for name in names}}
""",
    )
    assert said["run"] == said["all"]
    for name, text in said["own"].items():
        assert f"\n{name} " in said["all"]
        assert f"{name} [" in text.splitlines()[0]
    # Without a guest, one line and no traceback.
    assert all(text.startswith("error: ") for text in said["early"].values())
    assert all("\n" not in text for text in said["early"].values())


def test_what_goes_wrong_in_a_command_is_one_line(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
from kernlab.decode.memory import Unreadable
class Bad(commands.Command):
    \"\"\"kl-bad\"\"\"
    NAME = "kl-bad"
    def run(self, text):
        raise {"memory": Unreadable("0x8"), "bug": KeyError("x"), "gdb": gdb.error("no")}[text]
Bad()
answer = [say("kl-bad " + text) for text in ("memory", "bug", "gdb")]
""",
    )
    assert said == [
        "error: kl-bad: cannot read the guest's memory at 0x8",
        "error: kl-bad: kernlab has a bug: KeyError: 'x'",
        "error: kl-bad: no",
    ]
