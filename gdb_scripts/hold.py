"""One vCPU held while another runs: the inner side of kernlab.race.

A post is where an actor is to stop: a breakpoint or a watchpoint that knows which task on
which vCPU it waits for. The host says which vCPU runs (scheduler-locking) and asks here
what was hit, where a vCPU stands, and which locks it may hold. Everything goes to the host
as JSON, printed by the command that asked.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Optional, Tuple

import gdb

from gdb_scripts import macros
from gdb_scripts.here import frames, variables
from gdb_scripts.inferior import Kernel, Registers, selected_cpu
from gdb_scripts.reader import Reader
from gdb_scripts.values import EntryValues, LineValues, Values
from kernlab.decode.arch import ARCH
from kernlab.decode.arch.orc import OrcTable
from kernlab.decode.memory import Unreadable
from kernlab.decode.place import ProbeSpec
from kernlab.decode.plans import HoldPlan, PostHit, PostSpec
from kernlab.decode.skb import decode_skb
from kernlab.decode.sock import decode_sock

_MASK = (1 << 64) - 1
_FRAMES = 24
_LOCKS = ("spinlock", "raw_spinlock", "qspinlock")
_WORDS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long"}
_FULL = ("sock", "tcp_sock", "inet_connection_sock", "inet_sock")  # those with an sk_lock
# States of request and timewait socks, which have none, whatever their pointer's type says
# (include/net/sock.h, sk_fullsock()).
_SMALL = ("NEW_SYN_RECV", "TIME_WAIT")


class Floor:
    """A schedule's stage: the kernel as seen from here, the posts, the last hit."""

    def __init__(self, plan: HoldPlan) -> None:
        self.kernel = Kernel(plan["layout"])
        self._reader = Reader(self.kernel, OrcTable(plan["orc"]), plan["stack"])
        self._tables = plan["locks"]
        self._sites = plan["sites"]
        self.posts: List[gdb.Breakpoint] = []
        self.hit: Optional[PostHit] = None
        self._threads = {t.ptid[1] - 1: t for t in gdb.selected_inferior().threads()}

    def comm(self, cpu: int) -> str:
        task = self.kernel.task(cpu)
        return task["comm"] if task else ""

    def select(self, cpu: int) -> None:
        """Make GDB's commands mean this vCPU."""
        self._threads[cpu].switch()
        gdb.newest_frame().select()

    def clear(self) -> None:
        for post in self.posts:
            post.delete()
        self.posts = []
        self.hit = None

    # -- what a vCPU is at ----------------------------------------------------

    def look(self, what: Optional[ProbeSpec], cpu: int) -> Dict[str, Any]:
        """What is to be read of where the vCPU stands; the host names the frames by their
        addresses. Without a probe: the stack and the locks."""
        self.select(cpu)
        frame = gdb.newest_frame()
        registers = Registers(frame)
        event = self._reader.moment() if what is None else self._at(what, frame, registers)
        event["pcs"] = self._reader.stack(registers)
        if "packet" not in event:
            self.select(cpu)
            event.update(self._on_the_way())
        event["locks"] = self.locks(cpu)
        return event

    def _at(self, what: ProbeSpec, frame: Any, registers: Registers) -> Dict[str, Any]:
        values: Values
        if what["entry"]:
            values = EntryValues(what, registers, self._reader.symbols(what))
        else:
            values = LineValues(self._reader.symbols(what), frame)
        return self._reader.read(what, values)

    def _on_the_way(self) -> Dict[str, Any]:
        """The packet that this vCPU is taking in: that of the nearest caller of which
        sites.yaml says where its header is. Only an argument counts: a variable may be left
        from a packet that is gone."""
        for _, frame in frames():
            row = self._sites.get(frame.name() or "")
            if row is None or row["direction"] != "in":
                continue
            for argument, _, address in variables(frame, ("sk_buff",)):
                if not argument or not address:
                    continue
                row = {**row, "tcp_cb": False}
                skb, packet = decode_skb(self.kernel.memory, self.kernel.layout, address, row)
                if skb is not None and packet is not None:
                    return {"skb": dict(skb, of=frame.name()), "packet": packet}
        return {}

    def locks(self, cpu: int) -> List[Dict[str, Any]]:
        """Locks that this vCPU may hold: those that its frames have a pointer to, and that
        are taken. A queued spinlock does not say by whom (kernel/locking/qspinlock.c), so
        each comes with the frames that know it: the host looks there for who took it.
        ``which``: of which socket or table it is.
        ``busy``: the slock of a sock that a process owns."""
        self.select(cpu)
        found: Dict[int, Dict[str, Any]] = {}
        frame: Optional[Any] = gdb.newest_frame()
        for _ in range(_FRAMES):
            if frame is None:
                break
            for name, address, which, busy in self._locks_of(frame):
                if address not in found:
                    if not name.endswith("owned") and not self._taken(address):
                        continue
                    found[address] = {"addr": "0x%x" % address, "name": name, "frames": []}
                    which = which or self._table_of(address)
                    if which:
                        found[address]["which"] = which
                    if busy:
                        found[address]["busy"] = True
                found[address]["frames"].append(_place(frame, name))
            try:
                frame = frame.older()
            except gdb.error:
                break
        return list(found.values())

    def _locks_of(self, frame: Any) -> Iterator[Tuple[str, int, Dict[str, Any], bool]]:
        """Pointers to spinlocks among a frame's names, and both locks of its socks (struct
        socket_lock_t, include/net/sock.h)."""
        for _, name, address in variables(frame, _LOCKS):
            if address >= 1 << 47:  # the kernel's half
                yield name, address, {}, False
        for _, name, address in variables(frame, _FULL):
            if address < 1 << 47:
                continue
            known = decode_sock(self.kernel.memory, self.kernel.layout, address)
            if known is None or known.get("state") in _SMALL:
                continue
            of = {"port": known.get("sport"), "state": known.get("state")}
            of = {key: value for key, value in of.items() if value is not None}
            sock = gdb.Value(address).cast(gdb.lookup_type("struct sock").pointer())
            lock = sock.dereference()["sk_lock"]
            owned = bool(int(lock["owned"]))
            yield (
                "%s->sk_lock.slock" % name,
                int(lock["slock"].address) & _MASK,
                dict(of, kind="slock"),
                owned,
            )
            if owned:
                # By a process, which need not be on a vCPU: known by the sock.
                yield "%s->sk_lock.owned" % name, address, dict(of, kind="owned"), False

    def _table_of(self, address: int) -> Dict[str, Any]:
        """Which of the kernel's tables of locks it is in."""
        for row in self._tables:
            try:
                first = int(gdb.parse_and_eval(row["first"])) & _MASK
                size = int(gdb.parse_and_eval(row["size"]))
            except (gdb.error, gdb.MemoryError):
                continue  # not in this kernel
            if first <= address < first + size:
                return {"kind": "table", "table": row["table"]}
        return {}

    def _taken(self, address: int) -> bool:
        """Whether the locked byte of a queued spinlock is set (asm-generic/qspinlock_types.h)."""
        try:
            return self.kernel.memory.read(address, 1) != b"\0"
        except Unreadable:
            return False


def _place(frame: Any, name: str) -> Dict[str, Any]:
    """Where a frame stands. ``exact``: its ``pc`` is about to run; that of a caller is the
    return address, past the call."""
    where = frame.find_sal()
    newer = frame.newer()
    while newer is not None and newer.type() == gdb.INLINE_FRAME:
        newer = newer.newer()
    return {
        "func": frame.name() or "?",
        "name": name,
        "file": where.symtab.filename if where.symtab else "",
        "line": where.line,
        "pc": int(frame.pc()) & _MASK,
        "exact": newer is None or newer.type() == gdb.SIGTRAMP_FRAME,
    }


def _holds(text: str) -> bool:
    """Whether a C condition is true in the selected frame. One that cannot be told is not."""
    try:
        return bool(int(gdb.parse_and_eval(text)))
    except (gdb.error, gdb.MemoryError):
        return False


class Post(gdb.Breakpoint):  # type: ignore[misc]
    """A place where one actor is to stop. ``sp``: only with the stack pointer there, since the
    same address in another call is another place."""

    def __init__(
        self, floor: Floor, number: int, spec: PostSpec, address: int, sp: Optional[int] = None
    ) -> None:
        super().__init__("*0x%x" % address, gdb.BP_BREAKPOINT, internal=True)
        self.silent = True
        self._floor = floor
        self._number = number
        self._spec = spec
        self._sp = sp

    def stop(self) -> bool:
        if self._sp is not None and _stack_pointer() != self._sp:
            return False
        return _arrived(self._floor, self._number, self._spec)


class Word(gdb.Breakpoint):  # type: ignore[misc]
    """A word of memory that changes; the address is taken where the actor stands now."""

    def __init__(self, floor: Floor, number: int, spec: PostSpec, word: str) -> None:
        macros.define()
        place = gdb.parse_and_eval("&(%s)" % word)
        self._address = int(place) & _MASK
        self._size = place.type.target().sizeof
        super().__init__(
            "*(%s *) 0x%x" % (_WORDS[self._size], self._address),
            gdb.BP_WATCHPOINT,
            gdb.WP_WRITE,
            internal=True,
        )
        self.silent = True
        self._floor = floor
        self._number = number
        self._spec = spec

    def stop(self) -> bool:
        wanted = self._spec["becomes"]
        if wanted is not None:
            now = self._floor.kernel.memory.read(self._address, self._size)
            if int.from_bytes(now, "little") != wanted & ((1 << 8 * self._size) - 1):
                return False
        return _arrived(self._floor, self._number, self._spec)


def _stack_pointer() -> int:
    return int(gdb.newest_frame().read_register(ARCH.sp)) & _MASK


def _arrived(floor: Floor, number: int, spec: PostSpec) -> bool:
    cpu, task = selected_cpu(), spec["task"]
    if task is not None and floor.comm(cpu) not in (task, spec["or_task"]):
        return False
    if task is None and cpu != spec["cpu"] and not spec["anywhere"]:
        return False  # an actor without a task is its vCPU
    if spec["when"] and not any(map(_holds, spec["when"])):
        return False
    floor.hit = {"post": number, "cpu": cpu, "right": cpu == spec["cpu"]}
    return True


_floor: List[Floor] = []


def warm() -> None:
    """Read the debug info of the types that stops ask for: the first time takes seconds,
    which a step's limit would be charged with. Needs no guest."""
    for name in ("task_struct", "sock", "mutex"):
        gdb.lookup_type("struct %s" % name)


def setup(path: str) -> None:
    """Read the plan in the file ``path``; the guest is stopped."""
    with open(path, encoding="utf-8") as file:
        plan: HoldPlan = json.load(file)
    for floor in _floor:
        floor.clear()
    _floor[:] = [Floor(plan)]


def post(text: str) -> None:
    """Plant posts: a JSON list. Those of before are taken away."""
    floor = _floor[0]
    floor.clear()
    specs: List[PostSpec] = json.loads(text)
    for number, spec in enumerate(specs):
        floor.posts.append(_planted(floor, number, spec))


def _planted(floor: Floor, number: int, spec: PostSpec) -> gdb.Breakpoint:
    if spec["address"] is not None:
        return Post(floor, number, spec, spec["address"])
    floor.select(spec["cpu"])  # in whose frame an expression has its meaning
    if spec["word"] is not None:
        return Word(floor, number, spec, spec["word"])
    # At a function's first instruction the return address is on top of the stack.
    sp = _stack_pointer()
    back = int.from_bytes(floor.kernel.memory.read(sp, 8), "little")
    return Post(floor, number, spec, back, sp + 8)


def clear() -> None:
    """Take all posts away."""
    _floor[0].clear()


def hit() -> None:
    """Print the last hit: which post, which vCPU, whether it is the actor's; or null."""
    print(json.dumps(_floor[0].hit))


def look(text: str) -> None:
    """Print where a vCPU stands: {"what": a probe or null, "cpu": its number}."""
    asked = json.loads(text)
    print(json.dumps(_floor[0].look(asked["what"], asked["cpu"])))
