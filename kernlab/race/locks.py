"""Who holds a lock, and since which line: told by the code of the functions that know it.

A queued spinlock does not keep its owner (kernel/locking/qspinlock.c). But the function that
took it stands on its owner's stack, past the call that takes it and before the one that lets it
go. Which of a function's lines were run is not written anywhere; its machine code has every way
to where it stands (``kernlab.symbols.code``), and what was done last on all of them was run.
Where the ways differ, no line is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from kernlab.symbols.code import Body, Code, Instruction, last_before
from kernlab.symbols.frames import FrameInfo, Symbolizer
from kernlab.symbols.kernel import KernelSymbols

# may: it may have been taken (a trylock), or let go of. A callee that lets go and takes it
# again, as sk_wait_data() and __release_sock() do, is not followed.
Way = Literal["takes", "born", "may", "lets"]

# Functions that come back with a new socket whose slock is taken: sk_clone_lock() did it
# (net/core/sock.c), below the others.
_CLONES = "sk_clone_lock"
_BORN = (
    _CLONES,
    "inet_csk_clone_lock",
    "tcp_create_openreq_child",
    "syn_recv_sock",
    "tcp_check_req",
)
# That let go of the slock of an argument (net/ipv4/tcp_minisocks.c,
# net/ipv4/inet_connection_sock.c, net/core/sock.c).
_FREES = ("tcp_child_process", "inet_csk_prepare_forced_close", "sk_free_unlock_clone")
_MAY_FREE = ("tcp_add_backlog",)  # net/ipv4/tcp_ipv4.c: if the backlog is full
_OWNS = re.compile(r"_*lock_sock(_nested|_fast)?$")
_FAST = re.compile(r"_*lock_sock_fast$")
_DISOWNS = re.compile(r"release_sock$")
_KIND = r"_*(raw_|queued_|pv_queued_|native_queued_)?(spin|read|write)"
_TAKES, _LETS, _TRIES = (re.compile(f"{_KIND}_{one}") for one in ("lock", "unlock", "trylock"))


class Lock(NamedTuple):
    """A lock by the name that a function has for it. ``kind``: slock or owned of the sock
    ``variable``, or plain: what the pointer ``variable`` leads to. ``busy``: the slock of a
    sock that a process owns."""

    kind: Literal["slock", "owned", "plain"]
    variable: str
    busy: bool = False

    @classmethod
    def of(cls, name: str, busy: bool = False) -> Lock:
        """``sk->sk_lock.slock``, ``sk->sk_lock.owned``, ``lock``."""
        variable, _, rest = name.partition("->")
        if not rest:
            return cls("plain", variable)
        return cls("owned" if rest.endswith("owned") else "slock", variable, busy)


class Op(NamedTuple):
    """What an instruction does to a lock, and in which line of the function that knows it."""

    way: Way
    line: int


class Frame(NamedTuple):
    """Where a function of a stack stands: ``pc`` in the instruction that is about to run, or
    in the call that it waits for; ``file`` below the source tree."""

    func: str
    file: str
    line: int
    pc: int


class Locks:
    """Answers for one kernel. ``entered``: functions that are called with a socket's lock
    taken, and their argument that has it (configs/locks.yaml)."""

    def __init__(
        self, symbols: KernelSymbols, symbolizer: Symbolizer, entered: Mapping[str, str]
    ) -> None:
        self._symbols = symbols
        self._source = symbols.files.source
        self._code = Code(symbols.files.vmlinux, symbols.map)
        self._symbolizer = symbolizer
        self._entered = entered
        self._texts: dict[str, list[str]] = {}

    def settled(
        self, locks: Sequence[Mapping[str, Any]], exact: Collection[int]
    ) -> list[dict[str, Any]]:
        """``gdb_scripts.hold``'s locks without their frames. ``held``: whether this vCPU's
        stack has it for certain; then ``func`` and ``file`` of who took it, and the line
        ``since`` where that is known. ``line``: where the innermost function that knows the
        lock stands. ``exact``: pcs that are no return addresses."""
        found = []
        for lock in locks:
            frames = [self._frame(row, exact) for row in lock["frames"]]
            told = self._holder(lock, frames)
            # A process that owns a sock may sleep anywhere: only one on this very stack counts.
            if told or not lock["name"].endswith("owned"):
                one = {key: value for key, value in lock.items() if key not in ("frames", "busy")}
                place = {"func": frames[0].func, "file": frames[0].file, "line": frames[0].line}
                found.append({**one, **place, **told, "held": bool(told)})
        return found

    def _holder(self, lock: Mapping[str, Any], frames: Sequence[Frame]) -> dict[str, Any]:
        """Who of the frames has it: the innermost that did anything to it."""
        entered: dict[str, Any] = {}
        maybe: list[dict[str, Any]] = []  # where it was taken, if a condition was true
        for row, frame in zip(lock["frames"], frames, strict=True):
            one = Lock.of(row["name"], bool(lock.get("busy")))
            ops = self.ops(one, frame)
            done = [op for op in ops if op is not None]
            if None not in ops:
                told = self._told(row["name"], frame, done)
                return {key: told[key] for key in told if not (maybe and key == "since")}
            if any(op.way not in ("takes", "born") for op in done):
                return entered
            if done:
                maybe.append(self._told(row["name"], frame, done))
            # Its callers took one of the two: the ownership, or else the slock.
            if self._entered.get(frame.func) == one.variable and not (one.busy or entered):
                entered = {"func": frame.func, "file": frame.file, "line": frame.line}
        # A sock that is owned, and one line alone that can have done it.
        if len(maybe) == 1 and lock["name"].endswith("owned"):
            return maybe[0]
        return entered

    def _told(self, name: str, frame: Frame, ops: Sequence[Op]) -> dict[str, Any]:
        if any(op.way in ("lets", "may") for op in ops):
            return {}
        found = {"name": name, "func": frame.func, "file": frame.file, "line": frame.line}
        (op, *others) = set(ops)
        if others:
            return found
        return {**found, **(self._birth() if op.way == "born" else {"since": op.line})}

    def _birth(self) -> dict[str, Any]:
        """The line of sk_clone_lock() that takes the lock of a new socket."""
        for function in self._symbols.functions([_CLONES])[:1]:
            text = self._text(function.file)
            for number in range(function.line, len(text) + 1):
                if re.search(r"\bbh_lock_sock\w*\(", text[number - 1]):
                    return {"func": _CLONES, "file": function.file, "since": number}
                if text[number - 1].startswith("}"):
                    break
        return {}

    def _frame(self, row: Mapping[str, Any], exact: Collection[int]) -> Frame:
        pc = row["pc"] if row["exact"] or row["pc"] in exact else row["pc"] - 1
        file = row["file"].removeprefix(f"{self._source}/").removeprefix("./")
        return Frame(row["func"], file, row["line"], pc)

    # -- what a function does to a lock ---------------------------------------------------

    def ops(self, lock: Lock, frame: Frame) -> set[Op | None]:
        """What its function may have done last to the lock, one for each way to where it
        stands; None for a way on which it did nothing."""
        body = self._code.around(frame.pc)
        if body is None:
            return {None}
        return last_before(body, dict(self._all(lock, frame, body)), frame.pc) or {None}

    def _all(self, lock: Lock, frame: Frame, body: Body) -> Iterator[tuple[int, Op]]:
        for one in body.code:
            if not (one.calls or one.callee or one.locked or one.name == "movb"):
                continue
            chain = self._symbolizer.frames(one.address, exact=True)
            for level, place in enumerate(chain):
                if (place["func"], place.get("file")) != (frame.func, frame.file):
                    continue
                op = self._op(lock, one, chain[:level], place)
                if op is not None:
                    yield one.address, op
                    break

    def _op(
        self, lock: Lock, one: Instruction, inner: Sequence[FrameInfo], place: FrameInfo
    ) -> Op | None:
        lines = self._text(place.get("file", ""))
        first, text = statement(lines, place.get("line", 0))
        way = does(lock, one, [part["func"] for part in inner], text)
        if way is None:
            return None
        rows = text.split("\n")
        at = next((number for number, row in enumerate(rows, first) if "lock" in row), None)
        return Op(way, at or place.get("line", 0))

    def _text(self, file: str) -> list[str]:
        if file not in self._texts:
            try:
                text = (self._source / file).read_text("utf-8", "replace")
            except OSError:
                text = ""
            self._texts[file] = text.splitlines()
        return self._texts[file]


def statement(lines: Sequence[str], number: int) -> tuple[int, str]:
    """The statement that line ``number`` (from 1) is part of: its first line, and its text.
    A call's arguments may stand on other lines than the one that the debug info names."""
    if not 0 < number <= len(lines):
        return number, ""
    first = last = number
    while first > 1 and number - first < 6 and not _whole(lines[first - 2]):
        first -= 1
    while last < len(lines) and last - number < 6 and not _whole(lines[last - 1]):
        last += 1
    return first, "\n".join(lines[first - 1 : last])


def _whole(row: str) -> bool:
    """Whether no statement goes on after this line."""
    row = row.split("//")[0].strip()
    return not row or row.startswith("#") or row.endswith((";", "{", "}", ":", "*/"))


def does(lock: Lock, one: Instruction, inner: Sequence[str], text: str) -> Way | None:
    """What an instruction does to a lock; ``inner``: what is inlined around it, ``text``: the
    statement that it belongs to, in the function that has the lock by this name."""
    name = rf"(?<![>.\w]){re.escape(lock.variable)}\b"
    if not re.search(name, text):
        return None
    done = [one.callee, *inner]

    def any_of(what: re.Pattern[str]) -> bool:
        return any(map(what.match, done))

    if lock.kind == "plain":
        if not re.search(rf"\(\s*&?{name}(?!\s*(?:->|\.|\[))", text):
            return None
    elif lock.kind == "owned":
        if any_of(_DISOWNS) or (any_of(_LETS) and "unlock_sock_fast(" in text):
            return "lets"
        return "takes" if any_of(_OWNS) else None
    else:
        if one.calls and one.callee in ("", *_BORN) and _born(name, text):
            return "born"
        if one.callee in _FREES or (any_of(_DISOWNS) and "unlock_sock_fast(" in text):
            return "lets"
        if one.callee in _MAY_FREE:
            return "may"
        if any_of(_FAST):
            return "lets" if lock.busy else "takes"
        if not re.search(
            rf"\bbh_(?:un)?lock_sock\w*\(\s*{name}|{name}->sk_lock\.slock"
            rf"|unlock_sock_fast\(\s*{name}",
            text,
        ):
            return None
    if any_of(_TRIES):
        return "may"
    if any_of(_LETS):
        return "lets"
    return "takes" if any_of(_TAKES) else None


def _born(name: str, text: str) -> bool:
    called = "|".join(_BORN)
    return re.search(rf"{name}\s*=[^=;]*\b(?:{called})\(", text) is not None
