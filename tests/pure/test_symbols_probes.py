"""A probe as data: what engines and GDB's side are told of a place, and who makes it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from kernlab.decode.place import ProbeSpec, position
from kernlab.symbols.dwarf import Argument, Function, Line
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe, probe_of
from kernlab.symbols.sites import SiteRow

ROOT = Path(__file__).resolve().parents[2]
SKB = Argument("skb", "struct sk_buff *", "pointer", 8, "rdi")
NAME = Argument("name", "const char *", "pointer", 8, "rsi")
COUNT = Argument("len", "int", "signed", 4, "rdx")
PAIR = Argument("pair", "struct pair", "aggregate", 16, "rcx")
TABLE = {"f": SiteRow(header="network", lookup=True, direction="in", why="")}
SYMBOLS = cast(KernelSymbols, SimpleNamespace())


def test_a_functions_probe_is_told_whole() -> None:
    result = Argument("", "int", "signed", 4, "rax")
    place = Function("f", "f.isra.0", 4096, "net/f.c", 7, (SKB, NAME, COUNT, PAIR), b"", result)
    spec = probe_of("f", place, TABLE, SYMBOLS, (("mark", "skb->mark"),)).spec
    assert spec.keys() == ProbeSpec.__annotations__.keys()
    assert json.loads(json.dumps(spec)) == {
        "probe": "f",
        "func": "f",
        "file": "net/f.c",
        "line": 7,
        "address": 4096,
        "entry": True,
        "skb": {"name": "skb", "hop": None},
        "sock": None,
        "site": {
            "header": "network",
            "direction": "in",
            "tcp_cb": False,
            "lookup": True,
            "data": None,
            "sends": None,
            "listed": True,
        },
        "args": [
            {"name": "skb", "register": "rdi", "kind": "pointer", "size": 8},
            {
                "name": "name",
                "register": "rsi",
                "kind": "pointer",
                "size": 8,
                "text": "string",
                "length": "len",
            },
            {"name": "len", "register": "rdx", "kind": "signed", "size": 4},
        ],
        "returns": {"kind": "signed", "size": 4},
        "show": [["mark", "skb->mark"]],
    }
    assert position(spec) == {"func": "f", "file": "net/f.c", "line": 7}


def test_a_line_has_variables_and_no_lookup() -> None:
    place = Line("f", "g", 4100, "net/f.c", 9, (Argument("skb", SKB.type, "pointer", 8, None),))
    spec = probe_of("f.c:9", place, TABLE, SYMBOLS).spec
    assert spec.keys() == ProbeSpec.__annotations__.keys()
    assert (spec["entry"], spec["args"], spec["returns"]) == (False, [], None)
    assert spec["skb"] == {"name": "skb", "hop": None}
    assert spec["site"]["lookup"] is False
    assert Probe("elsewhere", place).spec["site"]["listed"] is False


def test_a_wrong_key_is_an_error_of_the_type_checker(tmp_path: Path) -> None:
    program = (
        "from kernlab.decode.place import ProbeSpec\n"
        "def read(probe: ProbeSpec) -> list[object]:\n"
        "    return [probe['address'],\n"
        "        probe['place'],\n"
        "        probe['site']['heads'],\n"
        "        probe['args'][0]['regs']]\n"
    )
    argv = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "-c", program]
    said = subprocess.run(
        [*argv, f"--cache-dir={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    wrong = re.findall(r'<string>:(\d): .* TypedDict "(\w+)" has no key "(\w+)"', said.stdout)
    assert wrong == [
        ("4", "ProbeSpec", "place"),
        ("5", "SiteSpec", "heads"),
        ("6", "ArgumentSpec", "regs"),
    ], said.stdout + said.stderr


def makers(source: str) -> int:
    """How many probes a module writes out: dictionaries with a probe's address and site."""
    count = 0
    for node in ast.walk(ast.parse(source)):
        names: set[Any] = set()
        if isinstance(node, ast.Dict):
            names = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        count += {"probe", "address"} <= names or {"header", "direction", "tcp_cb"} <= names
    return count


def test_nobody_else_writes_one() -> None:
    paths = [p for top in ("kernlab", "gdb_scripts") for p in (ROOT / top).rglob("*.py")]
    found = {str(p.relative_to(ROOT)): makers(p.read_text()) for p in paths}
    assert {name: count for name, count in found.items() if count} == {
        "kernlab/decode/place.py": 1,  # UNLISTED
        "kernlab/symbols/probes.py": 1,
        "kernlab/symbols/sites.py": 1,
    }
