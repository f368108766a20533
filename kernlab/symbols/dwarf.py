"""What only a kernel's DWARF knows, asked once and kept beside the kernel.

GDB reads DWARF better than any library, so a GDB without a target is asked
(``gdb_scripts.describe``). It costs a second or two per question; answers are kept
in layout.json in the kernel's directory and asked again only for what is new.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from kernlab.config.paths import arriving_file, python_path, unsealed_file
from kernlab.decode.arch import ARCH
from kernlab.process import need, run

_LIMIT = 120.0
_ANSWERS = 5  # version of what gdb_scripts.describe answers: another one is asked again
# "shown": of C with the kernel's macros (gdb_scripts.macros); "shows" was of C without.
_KINDS = ("layouts", "functions", "inlined", "insides", "lines", "shown", "enums")

# Values by name, each with the texts to try in order: where they moved to and from.
EXPRESSIONS: Mapping[str, Sequence[str]] = {
    # struct tk_core holds the timekeeper; kernel/time/timekeeping.c
    "tkr_mono": ("&tk_core.timekeeper.tkr_mono",),
    # per-CPU offsets, not addresses: in pcpu_hot since e57ef2ed97c1 (v6.2)
    "current_task": ("&pcpu_hot.current_task", "&current_task"),
    "per_cpu_offset": ("&__per_cpu_offset",),
    # net/ipv4/inet_hashtables.c, net/ipv6/inet6_hashtables.c: statics of a function or a file,
    # in struct net_hotdata since v6.9 (include/net/hotdata.h)
    "tcp_hashinfo": ("&tcp_hashinfo",),
    "inet_ehash_secret": (
        "&inet_ehashfn::inet_ehash_secret",
        "&inet_ehash_secret",
        "&net_hotdata.tcp_protocol.secret",
    ),
    "inet6_ehash_secret": (
        "&inet6_ehashfn::inet6_ehash_secret",
        "&inet6_ehash_secret",
        "&net_hotdata.tcpv6_protocol.secret",
    ),
    "ipv6_hash_secret": (
        "&inet6_ehashfn::ipv6_hash_secret",
        "&ipv6_hash_secret",
        "&net_hotdata.tcpv6_offload.secret",
    ),
    # net/core/net_namespace.c
    "init_net": ("&init_net",),
    "net_namespace_list": ("&net_namespace_list",),
    "cpu_count": ("nr_cpu_ids", "__num_online_cpus.counter"),
}


@dataclass(frozen=True)
class Argument:
    """A parameter: ``register`` holds it at the entry, None if nothing does.

    ``kind`` is pointer, signed, unsigned or aggregate; ``size`` in bytes.
    """

    name: str
    type: str
    kind: str
    size: int
    register: str | None


@dataclass(frozen=True)
class Function:
    """One entry of a function. ``code`` is the first 16 bytes of its text in vmlinux,
    ``returns`` the type of its result, None for void."""

    func: str
    symbol: str
    address: int
    file: str
    line: int
    args: tuple[Argument, ...]
    code: bytes
    returns: Argument | None = None


@dataclass(frozen=True)
class Line:
    """One place of a source line: ``func`` is the function written there, ``symbol`` the one
    it was compiled into. ``args`` are the variables visible there."""

    func: str
    symbol: str
    address: int
    file: str
    line: int
    args: tuple[Argument, ...]


@dataclass(frozen=True)
class Shown:
    """A C expression's type at a place, or why it has none there. ``kind``: number, for one."""

    type: str | None = None
    error: str | None = None
    kind: str | None = None


class Dwarf:
    """Questions to the DWARF of one vmlinux, with the answers cached in ``cache``."""

    def __init__(self, vmlinux: Path, source: Path, cache: Path) -> None:
        self._vmlinux = vmlinux
        self._prefix = f"{source}/"
        self._cache = cache
        self._known: dict[str, Any] = self._load()

    def _load(self) -> dict[str, Any]:
        kept = unsealed_file(self._cache)
        if kept is not None:
            known = json.loads(kept)
            if isinstance(known, dict) and known.get("version") == _ANSWERS:
                return {**{kind: {} for kind in _KINDS}, **known}
        return {"version": _ANSWERS, **{kind: {} for kind in _KINDS}}

    def layout(self, structs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Offsets of the members asked for, and the values of ``EXPRESSIONS``."""
        wish = {"structs": structs, "expressions": EXPRESSIONS}
        key = hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()[:16]
        if key not in self._known["layouts"]:
            said = self._ask(
                {
                    "structs": {name: list(members) for name, members in structs.items()},
                    "expressions": {name: list(texts) for name, texts in EXPRESSIONS.items()},
                }
            )
            found = {"structs": said["structs"], "expressions": said["expressions"]}
            self._keep("layouts", {key: found})
        layout: dict[str, Any] = self._known["layouts"][key]
        return layout

    def functions(self, entries: Mapping[str, Iterable[tuple[str, int]]]) -> list[Function]:
        """The functions whose entries (symbol, address) are given under each name."""
        wanted = {name: list(places) for name, places in entries.items()}
        missing = {
            name: [address for _, address in places]
            for name, places in wanted.items()
            if name not in self._known["functions"]
        }
        if missing:
            self._keep("functions", self._ask({"functions": missing})["functions"])
        found = []
        for name, places in wanted.items():
            symbols = {address: symbol for symbol, address in places}
            for item in self._known["functions"][name]:
                found.append(self._function(item, symbols[item["address"]]))
        return found

    def _function(self, item: dict[str, Any], symbol: str) -> Function:
        return Function(
            func=item["func"],
            symbol=symbol,
            address=item["address"],
            file=item["file"].removeprefix(self._prefix),
            line=item["line"],
            args=tuple(Argument(**argument) for argument in item["args"]),
            code=bytes.fromhex(item["code"]),
            returns=Argument(**item["returns"], register=ARCH.result) if item["returns"] else None,
        )

    def lines(self, text: str) -> list[Line]:
        """The places of ``file.c:line``; empty where GDB finds no code for it."""
        if text not in self._known["lines"]:
            self._keep("lines", self._ask({"lines": [text]})["lines"])
        return [self._line(item) for item in self._known["lines"][text]]

    def _line(self, item: dict[str, Any]) -> Line:
        return Line(
            item["func"],
            item["symbol"],
            item["address"],
            item["file"].removeprefix(self._prefix),
            item["line"],
            tuple(Argument(**variable, register=None) for variable in item["locals"]),
        )

    def inlined_in(self, function: str) -> list[str]:
        """The names of what is inlined into a function."""
        return sorted({str(item["func"]) for item in self._inside(function)})

    def inlined_places(self, name: str, function: str) -> list[Line]:
        """Where the inlined call of ``name`` begins in a function: its lowest address."""
        return [self._line(item) for item in self._inside(function) if item["func"] == name]

    def _inside(self, function: str) -> list[dict[str, Any]]:
        if function not in self._known["insides"]:
            self._keep("insides", self._ask({"insides": [function]})["insides"])
        found: list[dict[str, Any]] = self._known["insides"][function]
        return found

    def shows(self, texts: Sequence[str], places: Sequence[Function | Line]) -> list[list[Shown]]:
        """For each text, what GDB says of it as a C expression at each place."""
        items = [
            {
                "address": place.address,
                "func": place.func,
                "text": text,
                "entry": isinstance(place, Function),
            }
            for text in texts
            for place in places
        ]
        keys = [json.dumps(item, sort_keys=True) for item in items]
        if not all(key in self._known["shown"] for key in keys):
            said = self._ask({"shows": items})["shows"]
            self._keep("shown", dict(zip(keys, said, strict=True)))
        found = [Shown(**self._known["shown"][key]) for key in keys]
        return [found[at : at + len(places)] for at in range(0, len(found), len(places))]

    def inlined_into(self, name: str) -> list[str]:
        """The functions that hold an inlined copy of ``name``, each once."""
        if name not in self._known["inlined"]:
            self._keep("inlined", self._ask({"inlined": [name]})["inlined"])
        return sorted({item["caller"] for item in self._known["inlined"][name]})

    def enum(self, name: str) -> dict[int, str]:
        """The values of an enumeration with their names; empty where the kernel has none."""
        if name not in self._known["enums"]:
            self._keep("enums", self._ask({"enums": [name]})["enums"])
        return {int(value): str(text) for value, text in self._known["enums"][name].items()}

    def _keep(self, kind: str, answers: Mapping[str, Any]) -> None:
        with FileLock(f"{self._cache}.lock", timeout=60):
            self._known = self._load()
            self._known[kind].update(answers)
            with arriving_file(self._cache, seal=True) as temporary:
                temporary.write_text(json.dumps(self._known), "utf-8")

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        gdb = need("gdb", "reads the kernel's debug info", "gdb")
        with tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
            asked, said = Path(scratch, "question.json"), Path(scratch, "answer.json")
            asked.write_text(json.dumps(question))
            path = [str(entry) for entry in python_path()]
            script = (
                f"python import sys; sys.dont_write_bytecode = True; sys.path[:0] = {path!r}; "
                f"from gdb_scripts import describe; describe.main({str(asked)!r}, {str(said)!r})"
            )
            run(
                _LIMIT,
                [
                    gdb,
                    "-nx",
                    "-q",
                    "-batch",
                    "-iex",
                    "set debuginfod enabled off",
                    "-iex",
                    "set auto-load off",
                    str(self._vmlinux),
                    "-ex",
                    script,
                ],
            )
            answer: dict[str, Any] = json.loads(said.read_text("utf-8"))
        return answer


if sys.byteorder != "little":  # the guest is; nothing here swaps bytes
    raise ImportError("kernlab needs a little-endian host")
