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
    argv = [
        "gcc",
        "-g",
        "-O2",
        "-fno-pie",
        "-no-pie",
        "-fno-ipa-cp",
        "-fno-inline-small-functions",
        "-fno-inline-functions-called-once",
        "-fno-ipa-sra",
        "-o",
        place / "p",
        source,
    ]
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
    said = inside(
        program,
        tmp_path,
        """
from gdb_scripts.describe import answer as ask
answer = ask({"structs": {"outer": ["x", "in.a", "in.c", "two", "nothing"], "gone": ["x"]},
              "expressions": {"addr": ["&no_such", "&it"], "none": ["no_such"]}})
""",
    )
    members = said["structs"]["outer"]["members"]
    assert members["x"] == [0, 1]
    assert (members["in.a"], members["in.c"]) == ([8, 4], [16, 8])
    assert members["two"][2:] == [3, 5]
    assert "nothing" not in members
    assert "gone" not in said["structs"]
    assert said["expressions"].keys() == {"addr"}


def test_functions_arguments_and_inlined_copies(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
from gdb_scripts.describe import answer as ask
address = int(gdb.parse_and_eval("(unsigned long)&first"))
answer = ask({"functions": {"first": [address]}, "inlined": ["small"]})
""",
    )
    (first,) = said["functions"]["first"]
    assert [(a["name"], a["register"], a["kind"]) for a in first["args"]] == [
        ("o", "rdi", "pointer"),
        ("n", "rsi", "signed"),
    ]
    assert {place["caller"] for place in said["inlined"]["small"]} >= {"first", "second"}


def test_memory_and_registers_of_a_stopped_program(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
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
""",
        "break first",
        "run",
    )
    assert said["x"] == "01"
    assert said["rsp"] > 1 << 40
    assert said["rip"] == 7
    assert said["unreadable"] is True


def test_the_trampoline_is_the_code_its_comment_shows(program: Path, tmp_path: Path) -> None:
    """GDB's disassembler is the oracle for the bytes."""
    said = inside(
        program,
        tmp_path,
        """
from gdb_scripts import trampoline
content = trampoline.code(0xffffffff82100010, 0xffffffff82200020)
place = int(gdb.parse_and_eval("(long)$sp")) - 4096
gdb.selected_inferior().write_memory(place, content)
lines = gdb.execute("x/9i %d" % place, to_string=True).splitlines()
at = lambda offset: gdb.execute("x/i %d" % (place + offset), to_string=True).split(":", 1)[1]
answer = {"lines": [line.split(":", 1)[1].strip() for line in lines], "place": place,
          "stop": at(trampoline.STOPPED_AT), "entered": at(trampoline.ENTERED_AT)}
""",
        "break first",
        "run",
    )
    code = [" ".join(line.split()) for line in said["lines"]]
    assert code[:3] == ["push $0x0", "pushf", "cli"]
    assert said["entered"].split() == ["pushf"]
    assert code[3] == "lock btsl $0x0,0xffffffff82100010"
    assert code[4] == f"jb {said['place'] + 4:#x}"
    assert code[5] == "movb $0x1,0xffffffff82200020"
    assert code[6] == "movb $0x0,0xffffffff82100010" == " ".join(said["stop"].split())
    assert code[7:] == ["popf", "ret"]


def test_a_call_is_led_through_here_when_it_returns(program: Path, tmp_path: Path) -> None:
    """The real program's stack: first's return address is replaced, seen through, put back."""
    said = inside(
        program,
        tmp_path,
        """
from gdb_scripts.inferior import InferiorMemory
from gdb_scripts.returns import Returns
memory = InferiorMemory()
returns = Returns(memory, 0x1234)
slot = int(gdb.selected_frame().read_register("rsp"))
word = lambda reader: int.from_bytes(reader.read(slot, 8), "little")
before = word(memory)
returns.enter(slot, "first")
returns.enter(slot, "tail call")
answer = {"before": before, "patched": word(memory), "seen": word(returns),
          "original": returns.original(slot), "caller": gdb.selected_frame().older().name()}
answer["open"] = returns.undo()
answer["after"] = word(memory)
returns.enter(slot, "again")
answer["left"] = returns.leave(slot).calls
answer["nothing"] = returns.leave(slot)
""",
        "break *first",
        "run",
    )
    assert said["patched"] == 0x1234
    assert said["before"] == said["seen"] == said["original"] == said["after"]
    assert said["open"] == ["first", "tail call"]
    assert (said["left"], said["nothing"]) == (["again"], None)


def test_expressions_are_checked_without_a_target(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
from gdb_scripts.scopes import arguments, check, rewritten, used
names = arguments(int(gdb.parse_and_eval("(unsigned long)&first")))
texts = ["o->in.a + n", "*o", "o->nothing", "nobody", "sizeof(struct outer)"]
answer = {"checked": [check(names, text) for text in texts],
          "rewritten": rewritten("o->o.n + s.n - n + (struct o *)o", ["o", "n"]),
          "used": used("o->n", ["o", "n"])}
""",
    )
    kinds = [item.get("type", item.get("error")) for item in said["checked"]]
    assert kinds[0] == "int"
    assert kinds[1].startswith("struct outer")
    assert "no member named nothing" in kinds[2]
    assert 'No symbol "nobody"' in kinds[3]
    assert kinds[4] in ("int", "unsigned long")  # GDB 13 and later ones
    assert said["rewritten"] == "$kl_o->o.n + s.n - $kl_n + (struct o *)$kl_o"
    assert said["used"] == ["o"]


def test_values_are_plain_numbers_addresses_and_text(program: Path, tmp_path: Path) -> None:
    said = inside(
        program,
        tmp_path,
        """
from gdb_scripts.scopes import arguments, visible
from gdb_scripts.inferior import Registers
from gdb_scripts.values import EntryValues, LineValues, show
frame = gdb.selected_frame()
here = frame.pc()
what = {"args": [{"name": "o", "register": "rdi", "kind": "pointer", "size": 8},
                 {"name": "n", "register": "rsi", "kind": "signed", "size": 4}]}
names = arguments(here)
values = EntryValues(what, Registers(frame), names)
answer = {"args": values.shown(), "it": int(gdb.parse_and_eval("(long)&it")),
          "show": show([(t, t) for t in ["o->in.a * 2", "n", "*o", "absent->x"]], values, names)}
names = visible(here, "first")
answer["locals"] = LineValues(names, frame).shown()
""",
        "break *first",
        "run",
    )
    address = hex(said["it"])
    assert said["args"] == {"o": address, "n": -2} == said["locals"]
    assert said["show"]["o->in.a * 2"] == 4
    assert said["show"]["n"] == -2
    assert said["show"]["*o"].startswith("{x = 1")
    assert "absent->x" not in said["show"]


def test_a_line_belongs_to_the_function_it_is_written_in(program: Path, tmp_path: Path) -> None:
    """The inlined copies of small begin on lines of first and second too."""
    said = inside(
        program,
        tmp_path,
        """
from gdb_scripts.describe import answer as ask
answer = ask({"lines": ["p.c:7", "p.c:700", "q.c:1"]})["lines"]
""",
    )
    assert said["p.c:7"]
    assert {place["func"] for place in said["p.c:7"]} == {"second"}
    assert {v["name"] for place in said["p.c:7"] for v in place["locals"]} == {"n"}
    assert said["p.c:700"] == said["q.c:1"] == []
