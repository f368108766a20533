"""Answer questions about a vmlinux, without a target: members, expressions, functions.

Run by ``kernlab.symbols.dwarf`` in a GDB of its own:

    python describe.main("question.json", "answer.json")

Question: {"structs": {name: [member, …]}, "expressions": {name: [text, …]},
"functions": {name: [address, …]}, "inlined": [name, …], "lines": [text, …],
"shows": [{"address", "func", "entry", "text"}, …], "enums": [name, …]}. Whatever this kernel
does not have is absent from the answer.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import tempfile
from typing import Any, Dict, List, Optional, Tuple

import gdb

from gdb_scripts import macros
from gdb_scripts.scopes import arguments, check, function_block, owner, visible

# "a variable in $rdi", "a complex DWARF expression …", "optimized out", "constant 0"
_IN_REGISTER = re.compile(r"a variable in \$(\w+)")
_RANGE = re.compile(
    r"^\s*(?:Base address 0x[0-9a-f]+\s+)?"
    r"Range (0x[0-9a-f]+)-(0x[0-9a-f]+): (.*?),?(?: length \d+\.)?$"
)
_SYMBOL = re.compile(r"^Symbol (\S+) is (.*)$")


def _find_member(kind: Any, path: List[str]) -> Optional[Tuple[int, Any]]:
    """The bit offset and field of a dotted member, looked up through anonymous members."""
    try:
        fields = kind.strip_typedefs().fields()
    except TypeError:
        return None
    for field in fields:
        if field.name == path[0]:
            if len(path) == 1:
                return field.bitpos, field
            found = _find_member(field.type, path[1:])
            return None if found is None else (field.bitpos + found[0], found[1])
    for field in fields:
        if not field.name:
            found = _find_member(field.type, path)
            if found is not None:
                return field.bitpos + found[0], found[1]
    return None


def _struct(name: str, members: List[str]) -> Optional[Dict[str, Any]]:
    try:
        kind = gdb.lookup_type("struct " + name)
    except gdb.error:
        return None
    found: Dict[str, List[int]] = {}
    for member in members:
        where = _find_member(kind, member.split("."))
        if where is None:
            continue
        bit, field = where
        size = field.type.sizeof
        if field.bitsize:
            # A bit-field is given by the storage unit of its own type that holds it.
            unit = bit // (8 * size) * (8 * size)
            found[member] = [unit // 8, size, bit - unit, field.bitsize]
        else:
            found[member] = [bit // 8, size]
    return {"size": kind.sizeof, "members": found}


def _enum(name: str) -> Dict[str, str]:
    """An enumeration's values with their names, empty where this kernel has none of it."""
    try:
        return {str(one.enumval): one.name for one in gdb.lookup_type("enum " + name).fields()}
    except gdb.error:
        return {}


def _expression(texts: List[str]) -> Optional[int]:
    """The value of the first text this kernel understands, as an unsigned number."""
    for text in texts:
        try:
            return int(gdb.parse_and_eval("(unsigned long)(%s)" % text)) & (2**64 - 1)
        except gdb.error:
            continue
    return None


def _registers_at(address: int) -> Dict[str, str]:
    """Which symbols live in a register at ``address``, by ``info scope``."""
    found: Dict[str, str] = {}
    name = ""
    for line in _scope(address).splitlines():
        started = _SYMBOL.match(line)
        if started:
            name = started.group(1)
            where = _IN_REGISTER.search(started.group(2))
            if where and name not in found:
                found[name] = where.group(1)
            continue
        ranged = _RANGE.match(line)
        if ranged and name not in found:
            low, high = int(ranged.group(1), 16), int(ranged.group(2), 16)
            where = _IN_REGISTER.search(ranged.group(3))
            if low <= address < high and where:
                found[name] = where.group(1)
    return found


def _scope(address: int) -> str:
    """What ``info scope`` says there, as far as it comes: parameters first. GDB 13 ends it at an
    expression that it takes for corrupted (6.12's tcp_conn_request() has one), and what it had
    printed for us is then lost, but not what went through a pipe."""
    command = "info scope *0x%x" % address
    try:
        text: str = gdb.execute(command, to_string=True)
        return text
    except gdb.error:
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as said:
            with contextlib.suppress(gdb.error):
                gdb.execute("pipe %s | cat > %s" % (command, shlex.quote(said.name)))
            return said.read()


def _kind(kind: Any) -> str:
    if kind.code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
        return "pointer"
    if kind.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION, gdb.TYPE_CODE_ARRAY):
        return "aggregate"
    return "signed" if getattr(kind, "is_signed", False) else "unsigned"


def _function(address: int) -> Optional[Dict[str, Any]]:
    block = function_block(address)
    if block is None:
        return None
    function = block.function
    place = gdb.find_pc_line(address)
    own = place.symtab is not None and place.symtab.filename == function.symtab.filename
    registers = _registers_at(address)
    result = function.type.target()
    code = bytes(gdb.selected_inferior().read_memory(address, 16))
    return {
        "address": address,
        "func": function.name,
        "file": function.symtab.filename,
        # The first instruction may belong to something inlined from another file.
        "line": place.line if own else function.line,
        "args": [
            {**_typed(symbol.name, symbol.type), "register": registers.get(symbol.name)}
            for symbol in block
            if symbol.is_argument
        ],
        "returns": None if result.code == gdb.TYPE_CODE_VOID else _typed("", result),
        "code": code.hex(),
    }


def _typed(name: str, kind: Any) -> Dict[str, Any]:
    bare = kind.strip_typedefs().unqualified()
    return {"name": name, "type": str(bare), "kind": _kind(bare), "size": bare.sizeof}


def _line(text: str) -> List[Dict[str, Any]]:
    """The places of ``file.c:line``: GDB's locations, and what is visible at each."""
    try:
        places = gdb.decode_line(text)[1] or ()
    except gdb.error:
        return []
    found = []
    for place in places:
        outer = function_block(place.pc)
        if outer is None or place.symtab is None:
            continue
        file, name = place.symtab.filename, owner(place.pc, place.symtab.filename, place.line)
        if name is None:
            continue
        found.append(
            {
                "address": place.pc,
                "func": name,
                "symbol": outer.function.name,
                "file": file,
                "line": place.line,
                "locals": [_typed(n, s.type) for n, s in visible(place.pc, name).items()],
            }
        )
    return found


def _show(item: Dict[str, Any]) -> Dict[str, str]:
    address, function = item["address"], item["func"]
    names = arguments(address) if item["entry"] else visible(address, function)
    return check(names, item["text"])


def _inlined(name: str) -> List[Dict[str, Any]]:
    """Where GDB would put a breakpoint on ``name``: the inlined copies of a function."""
    try:
        places = gdb.decode_line(name)[1] or ()
    except gdb.error:
        return []
    found = []
    for place in places:
        block = function_block(place.pc)
        if block is not None and block.function.name != name:
            found.append({"address": place.pc, "caller": block.function.name})
    return found


def _inside(function: str) -> List[Dict[str, Any]]:
    """Every inlined call in a function, each at its lowest address there."""
    value = gdb.lookup_global_symbol(function) or gdb.lookup_static_symbol(function)
    if value is None:
        return []
    start = int(value.value().address)
    block = function_block(start)
    if block is None:
        return []
    seen: Dict[str, Dict[str, Any]] = {}
    at = start
    while at < block.end:
        inner = gdb.block_for_pc(at)
        while inner is not None and inner.start >= block.start:
            if inner.function is not None and inner.function.name != function:
                name = inner.function.name
                place = gdb.find_pc_line(at)
                if name not in seen and place.symtab is not None:
                    seen[name] = {
                        "address": at,
                        "func": name,
                        "symbol": function,
                        "file": place.symtab.filename,
                        "line": place.line,
                        "locals": [_typed(n, s.type) for n, s in visible(at, function).items()],
                    }
            if inner.superblock is None or inner.superblock.is_static:
                break
            inner = inner.superblock
        at += _length(at)
    return list(seen.values())


def _length(address: int) -> int:
    """How long the instruction at ``address`` is."""
    architecture = gdb.selected_inferior().architecture()
    return int(architecture.disassemble(address, count=1)[0]["length"])


def answer(question: Dict[str, Any]) -> Dict[str, Any]:
    """What this vmlinux says to ``question``."""
    if question.get("shows"):
        macros.define()
    kinds = ("structs", "expressions", "functions", "inlined", "insides", "lines")
    said: Dict[str, Any] = {kind: {} for kind in kinds}
    for name, members in question.get("structs", {}).items():
        struct = _struct(name, members)
        if struct is not None:
            said["structs"][name] = struct
    for name, texts in question.get("expressions", {}).items():
        value = _expression(texts)
        if value is not None:
            said["expressions"][name] = value
    for name, addresses in question.get("functions", {}).items():
        described = [_function(address) for address in addresses]
        said["functions"][name] = [item for item in described if item is not None]
    for name in question.get("inlined", []):
        said["inlined"][name] = _inlined(name)
    for name in question.get("insides", []):
        said["insides"][name] = _inside(name)
    for text in question.get("lines", []):
        said["lines"][text] = _line(text)
    said["enums"] = {name: _enum(name) for name in question.get("enums", [])}
    said["shows"] = [_show(item) for item in question.get("shows", [])]
    return said


def main(question_path: str, answer_path: str) -> None:
    with open(question_path, encoding="utf-8") as file:
        question = json.load(file)
    with open(answer_path, "w", encoding="utf-8") as file:
        json.dump(answer(question), file)
