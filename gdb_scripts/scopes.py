"""Names visible at an address, and C expressions in their terms.

A probe that goes through the trampoline stands in no function of its own, so GDB cannot
resolve ``skb`` in ``skb->len`` there. Each name an expression uses becomes a convenience
variable of the name's type (``$kl_skb``), filled from the register or the frame that
holds it; the same rewriting, with null values, checks an expression before a guest runs.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional

import gdb

from gdb_scripts.macros import expanded

_NAME = re.compile(r"(->\s*|\.\s*|struct\s+|union\s+|enum\s+|::)?\b([A-Za-z_]\w*)\b(?!\s*::)")
_LONGEST = 2000  # characters of a structure's text
_IPV4 = re.compile(r"(?:addr|rt_gw4)\w*\s*$")  # the last member of an expression


def function_block(address: int) -> Optional[Any]:
    """The block of the real function around ``address``, not of one inlined there."""
    block, outermost = gdb.block_for_pc(address), None
    while block is not None:
        if block.function is not None:
            outermost = block
        block = block.superblock
    return outermost


def arguments(address: int) -> Dict[str, Any]:
    """The parameters of the function entered at ``address`` by name, as GDB's symbols."""
    block = function_block(address)
    return {} if block is None else {s.name: s for s in block if s.is_argument}


def owner(address: int, file: str, line: int) -> Optional[str]:
    """The function in which line ``line`` of ``file`` is written, among those around
    ``address``: its caller, where the address also begins an inlined call."""
    block, outermost = gdb.block_for_pc(address), None
    while block is not None:
        function = block.function
        if function is not None:
            outermost = str(function.name)
            # GDB gives some inlined functions the line of their call: "<", not "<=".
            if function.symtab.filename == file and function.line < line:
                return outermost
        block = block.superblock
    return outermost


def visible(address: int, function: str) -> Dict[str, Any]:
    """The arguments and variables of ``function`` at ``address`` by name, as GDB's symbols.

    An inner block's name hides an outer one's; what is visible ends with the function,
    inlined or not: its caller's names are not in scope.
    """
    found: Dict[str, Any] = {}
    inner: List[Any] = []
    block = gdb.block_for_pc(address)
    while block is not None and not block.is_global and not block.is_static:
        inner.append(block)
        if block.function is not None:
            if block.function.name == function:
                break
            inner = []  # an inlined callee's names
        block = block.superblock
    for block in inner:
        for symbol in block:
            if symbol.is_argument or symbol.is_variable:
                found.setdefault(symbol.name, symbol)
    return found


def rewritten(text: str, names: Iterable[str]) -> str:
    """``text`` with each of ``names`` that it uses as a variable prefixed by ``$kl_``."""
    known = set(names)

    def replace(match: "re.Match[str]") -> str:
        before, name = match.group(1), match.group(2)
        if before or name not in known:
            return match.group(0)
        return "$kl_" + name

    return _NAME.sub(replace, text)


def used(text: str, names: Iterable[str]) -> List[str]:
    """Those of ``names`` that ``text`` uses."""
    changed = rewritten(text, names)
    return [name for name in names if re.search(r"\$kl_%s\b" % re.escape(name), changed)]


def fill(name: str, value: Any) -> None:
    """Give ``$kl_name`` a value."""
    gdb.set_convenience_variable("kl_" + name, value)


def check(symbols: Mapping[str, Any], text: str) -> Dict[str, str]:
    """{"type": …} of an expression with ``symbols`` in scope, with "kind": number where it is
    one, or {"error": GDB's words}.

    Needs no target: every name is a null of its type, and nothing is read.
    """
    gdb.execute("set may-call-functions off")
    for name in used(text, symbols):
        try:
            fill(name, gdb.Value(0).cast(symbols[name].type))
        except gdb.error:
            return {"error": "%s is a whole structure here, and no register holds it" % name}
    try:
        said = gdb.execute("whatis " + rewritten(text, symbols), to_string=True)
    except gdb.error as error:
        return {"error": str(error).replace("$kl_", "")}
    found = {"type": said.replace("type = ", "", 1).strip()}
    try:
        kind = gdb.parse_and_eval(rewritten(text, symbols)).type.strip_typedefs()
    except (gdb.error, gdb.MemoryError):
        return found
    if kind.code in (gdb.TYPE_CODE_INT, gdb.TYPE_CODE_CHAR, gdb.TYPE_CODE_BOOL):
        found["kind"] = "number"
    return found


def evaluate(text: str, names: Iterable[str]) -> Any:
    """The value of an expression whose names have been filled; None if it has none now. A
    __be32 is told as an IPv4 address where its member's name says that it is one."""
    try:
        value = gdb.parse_and_eval(expanded(rewritten(text, names)))
        return _ipv4(value, text) or plain(value)
    except (gdb.error, gdb.MemoryError, RuntimeError):
        return None


def plain(value: Any) -> Any:
    """A value for JSON: numbers, "0x…" for addresses, text for enums, strings, structures.

    None where the compiler keeps it nowhere or memory cannot be read.
    """
    try:
        if value.is_optimized_out:
            return None
        kind = value.type.strip_typedefs()
        if kind.code == gdb.TYPE_CODE_PTR:
            return "0x%x" % (int(value) & (2**64 - 1))
        if kind.code in (gdb.TYPE_CODE_INT, gdb.TYPE_CODE_CHAR, gdb.TYPE_CODE_BOOL):
            return int(value)
        if kind.code == gdb.TYPE_CODE_ENUM:
            return str(value)
        if kind.code == gdb.TYPE_CODE_STRUCT and kind.tag == "in6_addr":
            octets = value["in6_u"]["u6_addr8"]
            return str(ipaddress.IPv6Address(bytes(int(octets[at]) for at in range(16))))
        if kind.code == gdb.TYPE_CODE_ARRAY and kind.target().sizeof == 1:
            content = bytes(int(value[i]) & 0xFF for i in range(kind.range()[1] + 1))
            text = content.split(b"\0")[0].decode("ascii", "replace")
            if text.isprintable() and text:
                return text
        return " ".join(value.format_string(max_elements=16).split())[:_LONGEST]
    except (gdb.error, gdb.MemoryError):
        return None


def _ipv4(value: Any, text: str) -> Optional[str]:
    """A __be32 as an IPv4 address, where the name of the member says that it is one."""
    if not _IPV4.search(text):
        return None
    kind = value.type.unqualified()
    while kind.code == gdb.TYPE_CODE_TYPEDEF:
        if kind.name == "__be32":
            return str(ipaddress.IPv4Address((int(value) & 0xFFFFFFFF).to_bytes(4, "little")))
        # One level at a time: strip_typedefs() goes through all of them.
        kind = kind.target().unqualified()
    return None


def numbers(values: Mapping[str, Any]) -> Dict[str, int]:
    """The addresses and numbers among ``values``, as unsigned 64-bit numbers."""
    found: Dict[str, int] = {}
    for name, value in values.items():
        try:
            found[name] = int(value) & (2**64 - 1)
        except (gdb.error, gdb.MemoryError, ValueError, TypeError, OverflowError):
            continue
    return found
