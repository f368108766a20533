"""Which line took a lock: read from the machine code, of which every way counts."""

from __future__ import annotations

import pytest

from kernlab.race.locks import Lock, does, statement
from kernlab.symbols.code import Body, Instruction, last_before, parse

# lock_sock() at the beginning, and release_sock() and lock_sock() anew in a branch.
LOOP = """
vmlinux:     file format elf64-x86-64

Disassembly of section .text:

ffffffff81000000 <receive>:
ffffffff81000000:	call   ffffffff810a0000 <lock_sock_nested>
ffffffff81000005:	test   %eax,%eax
ffffffff81000007:	je     ffffffff81000013 <receive+0x13>
ffffffff81000009:	call   ffffffff810b0000 <release_sock>
ffffffff8100000e:	call   ffffffff810a0000 <lock_sock_nested>
ffffffff81000013:	call   ffffffff810c0000 <copy>
ffffffff81000018:	lock xadd %eax,0x80(%r13)
ffffffff8100001d:	call   *0x30(%rax)
ffffffff81000020:	jne    ffffffff81000005 <receive+0x5>
ffffffff81000022:	call   ffffffff810b0000 <release_sock>
ffffffff81000027:	jmp    ffffffff810d0000 <sk_free>
ffffffff8100002c:	call   ffffffff810e0000 <warn>
"""
CODE = parse(LOOP)
BODY = Body(CODE[0].address, tuple(CODE))
DONE = {0x00: "taken first", 0x09: "let go", 0x0E: "taken anew", 0x22: "let go"}


def before(at: int) -> set[str | None]:
    done = {BODY.entry + offset: what for offset, what in DONE.items()}
    return last_before(BODY, done, BODY.entry + at)


def test_the_code_is_read() -> None:
    assert [one.callee for one in CODE if one.callee] == [
        "lock_sock_nested",
        "release_sock",
        "lock_sock_nested",
        "copy",
        "release_sock",
        "sk_free",
        "warn",
    ]
    jump, xadd, indirect = CODE[2], CODE[6], CODE[7]
    assert (jump.target, jump.callee) == (BODY.entry + 0x13, "")  # inside: nobody's beginning
    assert (xadd.name, xadd.locked, indirect.calls) == ("xadd", True, True)


def test_what_was_done_last_on_every_way_is_told() -> None:
    assert before(0x00) == {None}  # the call that locks is about to run
    assert before(0x09) == {"taken first", "taken anew"}
    assert before(0x0E) == {"let go"}
    assert before(0x13) == before(0x15) == {"taken first", "taken anew"}  # a return address less 1
    assert before(0x27) == {"let go"}
    assert before(0x2C) == set()  # no way leads there


SLOCK, OWNED = Lock.of("sk->sk_lock.slock"), Lock.of("sk->sk_lock.owned")


@pytest.mark.parametrize(
    ("lock", "callee", "inner", "text", "way"),
    [
        (OWNED, "lock_sock_nested", ["lock_sock"], "lock_sock(sk);", "takes"),
        (SLOCK, "lock_sock_nested", ["lock_sock"], "lock_sock(sk);", None),
        (OWNED, "lock_sock_nested", ["lock_sock"], "lock_sock(other->sk);", None),
        (OWNED, "release_sock", [], "release_sock(sk);", "lets"),
        (SLOCK, "_raw_spin_lock", ["spin_lock"], "bh_lock_sock(sk);", "takes"),
        (OWNED, "_raw_spin_lock", ["spin_lock"], "bh_lock_sock(sk);", None),
        # It processes the backlog, and comes back with both as they were.
        (SLOCK, "__release_sock", [], "__release_sock(sk);", None),
        (OWNED, "__release_sock", [], "__release_sock(sk);", None),
        (SLOCK, "", ["queued_spin_unlock", "spin_unlock"], "bh_unlock_sock(sk);", "lets"),
        (SLOCK, "_raw_spin_lock_bh", [], "spin_lock_bh(&sk->sk_lock.slock);", "takes"),
        (SLOCK, "_raw_spin_lock", [], "spin_lock(&sk->sk_receive_queue.lock);", None),
        (SLOCK, "tcp_child_process", [], "if (tcp_child_process(parent, sk, skb)) {", "lets"),
        (SLOCK, "tcp_add_backlog", [], "if (tcp_add_backlog(sk, skb))", "may"),
        (SLOCK, "lock_sock_fast", [], "slow = lock_sock_fast(sk);", "takes"),
        (SLOCK._replace(busy=True), "lock_sock_fast", [], "slow = lock_sock_fast(sk);", "lets"),
        (OWNED, "_raw_spin_unlock_bh", ["spin_unlock_bh"], "unlock_sock_fast(sk, slow);", "lets"),
        (
            Lock.of("newsk->sk_lock.slock"),
            "tcp_create_openreq_child",
            [],
            "newsk = tcp_create_openreq_child(sk, req, skb);",
            "born",
        ),
        (
            Lock.of("child->sk_lock.slock"),
            "",
            [],
            "child = inet_csk(sk)->icsk_af_ops->syn_recv_sock(sk, skb, req);",
            "born",
        ),
        (
            SLOCK,
            "tcp_create_openreq_child",
            [],
            "newsk = tcp_create_openreq_child(sk, req, skb);",
            None,
        ),
        (Lock.of("lock"), "_raw_spin_lock", ["spin_lock"], "spin_lock(lock);", "takes"),
        (Lock.of("lock"), "_raw_spin_lock", ["spin_lock"], "spin_lock(&head->lock);", None),
        (Lock.of("lock"), "_raw_spin_trylock", [], "if (spin_trylock(lock))", "may"),
    ],
)
def test_what_a_call_does_to_a_lock(
    lock: Lock, callee: str, inner: list[str], text: str, way: str | None
) -> None:
    assert does(lock, Instruction(0, "call", callee=callee), inner, text) == way


def test_a_statement_goes_over_lines() -> None:
    lines = ["x = 1;", "newsk = inet_csk_clone_lock(sk,", "\t\treq, GFP_ATOMIC);", "y = 2;"]
    assert statement(lines, 3) == (2, "\n".join(lines[1:3]))
    assert statement(lines, 4) == (4, "y = 2;")
    assert statement(lines, 9) == (9, "")
