"""The walls: an import goes down or stays in its room."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import made_run
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Every storey may import what stands on the lines below it.
STOREYS = [
    {"cli"},
    {"doctor"},
    {"bench"},
    {"bpf"},
    {"lab", "race"},
    {"leg"},
    {"rst", "debug"},
    {"trace"},
    {"pipeline"},
    {"debugger"},
    {"vm"},
    {"image"},
    {"guest"},
    {"kernel"},
    {"symbols"},
    {"report"},
    {"sinks"},
    {"lessons"},
    {"verdict", "reasons"},
    {"record"},
    {"decode"},
    {"config"},
    {"process", "progress"},
    {"errors"},
]
LEVEL = {room: number for number, storey in enumerate(STOREYS) for room in storey}
OFFLINE = {
    *("report", "sinks", "lessons", "verdict", "reasons", "record"),
    *("decode", "config", "progress", "errors"),
}


# Rooms of decode/ with walls of their own: what they may know of the rest.
SEAMS = {
    "decode.arch": ("kernlab.decode.arch", "kernlab.decode.memory"),
    "decode.protocols": (
        "kernlab.decode.protocols",
        "kernlab.decode.kinds",
        "kernlab.decode.names",
    ),
}


def imports(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def broken_walls(room: str, module: str, source: str) -> list[str]:
    """What of a module's imports the house forbids."""
    wrong = []
    for name in sorted(imports(source)):
        top, *rest = name.split(".")
        if top == "kernlab" and rest:
            other = rest[0]
            if other in LEVEL and other != room and LEVEL[other] <= LEVEL[room]:
                wrong.append(f"{room} imports {name}, which is not below it")
            if room in OFFLINE and other in LEVEL and other not in OFFLINE | {"process"}:
                wrong.append(f"the offline room {room} imports the live {name}")
            own = module.split(".")
            if (
                rest[:2] == ["trace", "engines"]
                and "engines" in own
                and rest[2:3] not in ([], [own[-1]])
            ):
                wrong.append(f"engine {module} imports {name}")
            seam = ".".join(own[:2])
            if seam in SEAMS and not name.startswith(SEAMS[seam]):
                wrong.append(f"{seam} imports {name}, which is not part of it")
        elif room == "decode" and top != "kernlab" and top not in sys.stdlib_module_names:
            wrong.append(f"decode imports {name}, which is not in the standard library")
        if top == "subprocess" and room != "process":
            wrong.append(f"{module} imports subprocess; process.py is the one door")
        if top == "asyncio" and module != "vm.qmp":
            wrong.append(f"{module} imports asyncio")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and room not in ("cli", "__main__"):
            called = ast.unparse(node.func)
            if called in ("print", "sys.exit", "exit", "quit", "os.system", "input"):
                wrong.append(f"{module} calls {called}; only cli/ talks and exits")
    return wrong


def modules() -> list[Path]:
    return sorted((ROOT / "kernlab").rglob("*.py"))


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The modules that import each other by some way round, each group of them once."""
    reach: dict[str, set[str]] = {}
    for name in graph:
        found: set[str] = set()
        left = [name]
        while left:
            new = graph[left.pop()] - found
            found |= new
            left += new
        reach[name] = found
    groups = {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in graph
        if name in reach[name]
    }
    return sorted(sorted(group) for group in groups)


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports inside functions and those for types count as well."""
    named = {}
    for path in modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for name, path in named.items():
        found = imports(path.read_text())
        found |= {one.rpartition(".")[0] for one in found}
        graph[name] = found & set(named) - {name, "kernlab"}
    assert circles(graph) == []
    assert "kernlab.errors" in graph["kernlab.process"]


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    parts = path.relative_to(ROOT / "kernlab").with_suffix("").parts
    if parts[0] in ("__init__", "__main__"):
        return
    assert parts[0] in LEVEL, f"{parts[0]} has no storey"
    assert broken_walls(parts[0], ".".join(parts), path.read_text()) == []


@pytest.mark.parametrize(
    ("room", "module", "source"),
    [
        ("vm", "vm.machine", "from kernlab.trace import plan"),
        ("sinks", "sinks.terminal", "from kernlab.vm.channel import Channel"),
        ("decode", "decode.packet", "import yaml"),
        ("decode", "decode.protocols.udp", "from kernlab.decode.packet import packet"),
        ("decode", "decode.arch.orc", "from kernlab.decode.layout import Layout"),
        ("kernel", "kernel.build", "import subprocess"),
        ("kernel", "kernel.build", "print('x')"),
        ("trace", "trace.engines.bpf", "from kernlab.trace.engines.gdb import GdbEngine"),
        ("image", "image.cpio", "from kernlab.vm.spec import SOCKETS"),
        ("symbols", "symbols.orc", "import sys\nsys.exit(1)"),
    ],
)
def test_a_broken_wall_is_seen(room: str, module: str, source: str) -> None:
    assert broken_walls(room, module, source)


LIVE = sorted(set(LEVEL) - OFFLINE - {"process", "cli"})
BLOCK = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.startswith('kernlab.') and name.split('.')[1] in {LIVE!r}:
            raise ImportError('blocked: ' + name)
sys.meta_path.insert(0, Block())
"""


def blocked(script: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a Python script in which no live room can be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK + script],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_the_offline_wing_imports_with_the_live_packages_blocked() -> None:
    said = blocked(
        "import importlib, pkgutil, kernlab\n"
        f"for room in {sorted(OFFLINE)!r}:\n"
        "    module = importlib.import_module('kernlab.' + room)\n"
        "    path = getattr(module, '__path__', [])\n"
        "    for sub in pkgutil.walk_packages(path, f'kernlab.{room}.'):\n"
        "        importlib.import_module(sub.name)\n"
        "print(len([name for name in sys.modules if name.startswith('kernlab.')]))\n"
    )
    assert said.returncode == 0, said.stderr
    files = [path for room in OFFLINE for path in (ROOT / "kernlab" / room).rglob("*.py")]
    assert int(said.stdout) >= len(files)


READING = [
    "lab list",
    "lab show L03",
    "lab grade LAB",
    "race list",
    "show RUN",
    "report RUN",
    "rst explain RUN/capture.pcapng",
]


@pytest.mark.parametrize("command", READING)
def test_reading_commands_need_no_live_room(command: str, tmp_path: Path) -> None:
    made_run.make(tmp_path / "run", 9)
    lab = tmp_path / "graded" / "L03" / "lab.yaml"
    lab.parent.mkdir(parents=True)
    (tmp_path / "graded" / "run.json").write_text("{}")
    shutil.copy(ROOT / "configs" / "labs" / "L03.yaml", lab)
    words = command.replace("RUN", str(tmp_path / "run")).replace("LAB", str(tmp_path / "graded"))
    said = blocked(
        f"from kernlab.cli.main import main\nsys.argv = ['kernlab', *{words.split()!r}]\nmain()\n",
        tmp_path,
    )
    assert "blocked: " not in said.stderr + said.stdout, said.stderr
    graded = command.startswith("lab grade")
    assert said.returncode == int(graded), said.stderr  # a leg that was not run fails
    assert not graded or "it did not run" in said.stdout


def test_gdb_scripts_need_only_gdb_decode_and_the_standard_library() -> None:
    for path in (ROOT / "gdb_scripts").rglob("*.py"):
        for name in imports(path.read_text()):
            top = name.split(".")[0]
            allowed = top in sys.stdlib_module_names or top in ("gdb", "gdb_scripts")
            assert allowed or name.startswith("kernlab.decode"), f"{path.name} imports {name}"


def test_what_runs_inside_gdb_is_python_3_9() -> None:
    for folder in ("gdb_scripts", "kernlab/decode"):
        for path in (ROOT / folder).rglob("*.py"):
            ast.parse(path.read_text(), feature_version=(3, 9))


def test_no_module_is_longer_than_400_lines() -> None:
    long = [p for p in modules() if len(p.read_text().splitlines()) > 400]
    assert long == []


# Called by name from outside: by click, rich and GDB.
BY_OTHERS = {"list_commands", "get_table_column"}


def test_nothing_is_defined_that_nobody_names() -> None:
    """Functions, methods and classes; tests alone are no user."""
    paths = [path for room in ("kernlab", "gdb_scripts") for path in (ROOT / room).rglob("*.py")]
    texts = {path: path.read_text() for path in paths}
    pages = [path.read_text() for path in (ROOT / "kernlab").rglob("*.j2")]
    words = Counter(word for text in (*texts.values(), *pages) for word in re.findall(r"\w+", text))
    unused = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.decorator_list
        and not node.name.startswith("__")
        and words[node.name] < 2
        and node.name not in BY_OTHERS
    ]
    assert unused == []
