"""What is at hand where the guest stands: the skb and the sock of the frames on the stack."""

from __future__ import annotations

from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import gdb

from gdb_scripts.commands import Lab
from kernlab.decode.names import FAMILIES
from kernlab.decode.place import UNLISTED, SiteSpec
from kernlab.decode.skb import decode_skb
from kernlab.decode.sock import decode_sock

_MASK = (1 << 64) - 1
_FRAMES = 12  # frames looked through, from the selected one outwards
# Every structure that begins with sock_common and so can be decoded as a sock.
SOCKS = (
    "sock",
    "tcp_sock",
    "inet_sock",
    "inet_connection_sock",
    "request_sock",
    "inet_timewait_sock",
    "inet_request_sock",
    "udp_sock",
    "tcp_timewait_sock",
    "tcp_request_sock",
)


class Found(NamedTuple):
    """A pointer: its value, and in words where it was."""

    address: int
    where: str
    level: int


def frames() -> Iterator[Tuple[int, Any]]:
    """The selected frame and those that called it, each with its distance."""
    frame: Optional[Any] = gdb.selected_frame()
    for level in range(_FRAMES):
        if frame is None:
            return
        yield level, frame
        try:
            frame = frame.older()
        except gdb.error:
            return


def _points_to(kind: Any, structs: Sequence[str]) -> bool:
    kind = kind.strip_typedefs()
    if kind.code != gdb.TYPE_CODE_PTR:
        return False
    target = kind.target().strip_typedefs().unqualified()
    return target.code == gdb.TYPE_CODE_STRUCT and target.tag in structs


def variables(frame: Any, structs: Sequence[str]) -> Iterator[Tuple[bool, str, int]]:
    """Readable pointers of a frame: whether an argument, name, value."""
    try:
        block = frame.block()
    except RuntimeError:
        return  # no debug info there
    while block is not None:
        for symbol in block:
            if not (symbol.is_argument or symbol.is_variable):
                continue
            if not _points_to(symbol.type, structs):
                continue
            try:
                value = frame.read_var(symbol, block)
                if not value.is_optimized_out:
                    yield symbol.is_argument, symbol.name, int(value) & _MASK
            except (gdb.error, gdb.MemoryError):
                continue
        if block.function is not None:
            return
        block = block.superblock


def find(structs: Sequence[str], usual: str) -> Optional[Found]:
    """The nearest frame's pointer to one of ``structs``: the argument or variable of the
    ``usual`` name first, then arguments, then variables."""
    for level, frame in frames():
        known = list(variables(frame, structs))
        if known:
            known.sort(key=lambda item: (item[1] != usual, not item[0]))
            _, name, address = known[0]
            where = "%s of %s" % (name, frame.name() or "?")
            if level:
                where += ", %d frame%s up" % (level, "s" if level > 1 else "")
            return Found(address, where, level)
    return None


def pointer(text: str, structs: Sequence[str], what: str) -> Found:
    """The address a GDB expression means. Raises ``gdb.error`` for one that means none."""
    value = gdb.parse_and_eval(text)
    kind = value.type.strip_typedefs()
    if kind.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        if value.address is None:
            raise gdb.error("%s has no address" % text)
        value, kind = value.address, value.address.type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_PTR and kind.target().strip_typedefs().tag == "socket":
        value, kind = value["sk"], value["sk"].type.strip_typedefs()
    if kind.code not in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_INT):
        raise gdb.error("%s is %s, no address of %s" % (text, value.type, what))
    target = kind.target().strip_typedefs().tag if kind.code == gdb.TYPE_CODE_PTR else None
    if target is not None and target not in structs:
        raise gdb.error("%s points to struct %s, not to %s" % (text, target, what))
    return Found(int(value) & _MASK, text, 0)


def the_skb(text: str = "") -> Found:
    """The skb an expression means, or the one at hand. Raises ``gdb.error``."""
    found = pointer(text, ("sk_buff",), "an skb") if text else find(("sk_buff",), "skb")
    if found is None:
        raise gdb.error("no frame from here on has an skb; name one: kl-skb EXPR")
    if not found.address:
        raise gdb.error("%s is NULL" % found.where)
    return found


def site_of(lab: Lab, skb: int) -> SiteSpec:
    """What is valid in ``skb`` here: sites.yaml's row of the nearest function that has it.

    A row speaks of the function's entry. A header that is built stays where it is from there
    on, also in what that function calls. TCP_SKB_CB stays on the way in; on the way out it
    is IP's as soon as TCP has done its part, so it counts at the entry only.
    """
    for level, frame in frames():
        row = lab.sites.get(frame.name() or "")
        if row is None or all(at != skb for _, _, at in variables(frame, ("sk_buff",))):
            continue
        if row["direction"] != "in" and not (level == 0 and _at_entry(frame)):
            row = {**row, "tcp_cb": False}
            if row["header"] == "cb":
                row["header"] = "none"
        return row
    return UNLISTED


def _at_entry(frame: Any) -> bool:
    """Whether a frame stands no further in its function than "break" would stop: at its
    first instruction, or past the prologue, where the line table's second row begins."""
    try:
        block = frame.block()
        while block.function is None:
            block = block.superblock
        first = gdb.find_pc_line(block.start)
    except (gdb.error, RuntimeError, AttributeError):
        return False
    pc: int = frame.pc()
    return pc == block.start or (first.last is not None and pc <= first.last + 1)


def own_sock(lab: Lab) -> Optional[Tuple[Found, str]]:
    """The sock at hand and how it was come by: argument, skb or lookup; None without one."""
    sock = find(SOCKS, "sk")
    skb = find(("sk_buff",), "skb")
    if sock is not None and sock.address and (skb is None or sock.level <= skb.level):
        return sock, "argument"
    if skb is not None and skb.address:
        found = _of_skb(lab, skb)
        if found is not None:
            return found
    if sock is not None and sock.address:
        return sock, "argument"
    return None


def _of_skb(lab: Lab, skb: Found) -> Optional[Tuple[Found, str]]:
    memory, layout = lab.kernel.memory, lab.kernel.layout
    site = site_of(lab, skb.address)
    shown, packet = decode_skb(memory, layout, skb.address, site)
    if shown is None:
        return None
    if "sk" in shown:
        sent = shown.get("owner") == "sender" and site["direction"] == "in"
        whose = "the sender's, still at skb->sk" if sent else "the skb's"
        return Found(int(shown["sk"], 16), "%s (%s)" % (whose, skb.where), skb.level), "skb"
    if site["lookup"] and packet is not None:
        address = lab.kernel.receiver(skb.address, packet)
        if address:
            where = "the one the kernel is about to find for %s" % skb.where
            return Found(address, where, skb.level), "lookup"
    return None


def the_sock(lab: Lab, text: str = "") -> Tuple[Found, Dict[str, Any]]:
    """The sock an expression means, or the one at hand, decoded. Raises ``gdb.error``."""
    if text:
        found = pointer(text, SOCKS, "a socket")
    else:
        at_hand = own_sock(lab)
        if at_hand is None:
            raise gdb.error(
                "no frame from here on has a socket; give an expression, or an address "
                "that kl-sockets lists"
            )
        found = at_hand[0]
    if not found.address:
        raise gdb.error("%s is NULL" % found.where)
    sock = decode_sock(lab.kernel.memory, lab.kernel.layout, found.address)
    if sock is None:
        raise gdb.error("at 0x%x (%s) is not an INET socket" % (found.address, found.where))
    if sock["family"] not in FAMILIES.values():
        raise gdb.error(
            "0x%x (%s) is a %s socket, not an INET socket"
            % (found.address, found.where, sock["family"])
        )
    return found, sock
