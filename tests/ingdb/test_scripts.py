"""gdb_scripts inside a real GDB, on a program made here: no guest."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
struct inner { int a; union { int b; long c; }; };
struct outer { char x; struct inner in; unsigned one:3, two:5; } it = { 1, { 2, { 3 } }, 5, 17 };
volatile int seen; /* a store that gcc cannot merge keeps each inlined copy a block of its own */
static inline __attribute__((always_inline)) int small(int v) { seen = v; return v * 3 + 1; }
int first(struct outer *o, int n) { return o->x + small(n); }
int second(int n) { return small(n) - 7; }
int main(void) { return first(&it, -2) + second(4) > 1000; }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("program")
    source = place / "p.c"
    source.write_text(PROGRAM)
    argv = ["gcc", "-g", "-O2", "-fno-pie", "-no-pie", "-fno-ipa-cp",
            "-fno-inline-small-functions",
            "-fno-inline-functions-called-once", "-fno-ipa-sra", "-o", place / "p", source,
            ]  # fmt: skip
    subprocess.run(argv, check=True)
    return place / "p"


def inside(program: Path, tmp_path: Path, body: str, *before: str) -> Any:
    """Run Python in GDB; ``answer`` is what the body leaves in that name."""
    out = tmp_path / "answer.json"
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys, json, gdb\nsys.path[:0] = [{str(ROOT)!r}]\n{body}\n"
        f"json.dump(answer, open({str(out)!r}, 'w'))\n"
    )
    argv = ["gdb", "-nx", "-q", "-batch", str(program)]
    for command in before:
        argv += ["-ex", command]
    said = subprocess.run([*argv, "-x", str(script)], capture_output=True, text=True, timeout=60)
    assert out.exists(), said.stdout + said.stderr
    return json.loads(out.read_text())


def test_members_bit_fields_and_anonymous_unions(program: Path, tmp_path: Path) -> None:
    said = inside(program, tmp_path, """
from gdb_scripts.describe import answer as ask
answer = ask({"structs": {"outer": ["x", "in.a", "in.c", "two", "nothing"], "gone": ["x"]},
              "expressions": {"addr": ["&no_such", "&it"], "none": ["no_such"]}})
""")  # fmt: skip
    members = said["structs"]["outer"]["members"]
    assert members["x"] == [0, 1]
    assert (members["in.a"], members["in.c"]) == ([8, 4], [16, 8])
    assert members["two"][2:] == [3, 5]
    assert "nothing" not in members
    assert "gone" not in said["structs"]
    assert said["expressions"].keys() == {"addr"}


def test_functions_arguments_and_inlined_copies(program: Path, tmp_path: Path) -> None:
    said = inside(program, tmp_path, """
from gdb_scripts.describe import answer as ask
address = int(gdb.parse_and_eval("(unsigned long)&first"))
answer = ask({"functions": {"first": [address]}, "inlined": ["small"]})
""")  # fmt: skip
    (first,) = said["functions"]["first"]
    assert [(a["name"], a["register"], a["kind"]) for a in first["args"]] == [
        ("o", "rdi", "pointer"), ("n", "rsi", "signed"),
    ]  # fmt: skip
    assert {place["caller"] for place in said["inlined"]["small"]} >= {"first", "second"}


def test_memory_and_registers_of_a_stopped_program(program: Path, tmp_path: Path) -> None:
    said = inside(program, tmp_path, """
from gdb_scripts.inferior import InferiorMemory, Registers
from kernlab.decode.memory import Unreadable
memory, registers = InferiorMemory(), Registers(gdb.selected_frame())
try:
    memory.read(8, 8)
    unreadable = False
except Unreadable:
    unreadable = True
registers.pretend(rip=7)
answer = {"x": memory.read(int(gdb.parse_and_eval("(long)&it")), 1).hex(),
          "rsp": registers["rsp"], "rip": registers["rip"], "unreadable": unreadable}
""", "break first", "run")  # fmt: skip
    assert said["x"] == "01"
    assert said["rsp"] > 1 << 40
    assert said["rip"] == 7
    assert said["unreadable"] is True


def test_the_trampoline_is_the_code_its_comment_shows(program: Path, tmp_path: Path) -> None:
    """GDB's disassembler is the oracle for the bytes."""
    said = inside(program, tmp_path, """
from gdb_scripts import trampoline
content = trampoline.code(0xffffffff82100010, 0xffffffff82200020)
place = int(gdb.parse_and_eval("(long)$sp")) - 4096
gdb.selected_inferior().write_memory(place, content)
lines = gdb.execute("x/8i %d" % place, to_string=True).splitlines()
stop = gdb.execute("x/i %d" % (place + trampoline.STOPPED_AT), to_string=True)
answer = {"lines": [line.split(":", 1)[1].strip() for line in lines], "place": place,
          "stop": stop.split(":", 1)[1].strip()}
""", "break first", "run")  # fmt: skip
    code = [" ".join(line.split()) for line in said["lines"]]
    assert code[:2] == ["pushf", "cli"]
    assert code[2] == "lock btsl $0x0,0xffffffff82100010"
    assert code[3] == f"jb {said['place'] + 2:#x}"
    assert code[4] == "movb $0x1,0xffffffff82200020"
    assert code[5] == "movb $0x0,0xffffffff82100010" == " ".join(said["stop"].split())
    assert code[6:] == ["popf", "ret"]
