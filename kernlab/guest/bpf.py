"""libbpf programs: ``NAME.bpf.c`` and its loader ``NAME.c``, built into one static program.

The usual way, as in libbpf's own examples: clang -target bpf, a skeleton by bpftool, and a
loader that includes ``NAME.skel.h``. ``vmlinux.h`` comes from the BTF of the kernel that it
will run on, so that what is used there is known to exist; CO-RE relocations are kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from kernlab.config.needs import require
from kernlab.config.paths import arriving, arriving_file, expanded, home_dir, shipped
from kernlab.config.yaml import near
from kernlab.errors import BadInput
from kernlab.guest.needs import BPF
from kernlab.kernel.model import Kernel
from kernlab.process import run
from kernlab.progress import Finished, Reporter, Started

_OBJECT = ("-g", "-O2", "-target", "bpf", "-D__TARGET_ARCH_x86", "-Wall",
           "-Wno-missing-declarations")  # fmt: skip
_LOADER = ("-static", "-O2", "-g0", "-Wall", "-pthread")
# What rootfs/guest/bpf/start.c stands in front of.
_WRAPPED = (
    "bpf_object__attach_skeleton", "bpf_object__detach_skeleton", "bpf_object__destroy_skeleton",
    "ring_buffer__poll", "perf_buffer__poll", "sleep",
)  # fmt: skip
_ERROR = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: .*$", re.M)
_LIMIT = 120.0
_MOST = 40  # lines of a compiler's messages that are shown


@dataclass(frozen=True)
class BpfSource:
    """A program's two files; ``name`` is what both are called."""

    name: str
    directory: Path

    @property
    def kernel_side(self) -> Path:
        return self.directory / f"{self.name}.bpf.c"

    @property
    def loader(self) -> Path:
        return self.directory / f"{self.name}.c"

    @property
    def title(self) -> str:
        """The first sentence of the loader's first comment."""
        text = self.loader.read_text("utf-8", "replace")
        match = re.search(r"/\*\s*(?:\w+: )?(.*?)(?:\.\s|\n \*\n|\*/)", text, re.S)
        return " ".join(match[1].replace("\n *", " ").split()) if match else ""


@dataclass(frozen=True)
class BpfProgram:
    """What was built: a static program for the guest, and the BPF object inside it."""

    source: BpfSource
    program: Path
    object: Path


def shipped_programs() -> list[BpfSource]:
    """The programs of rootfs/guest/bpf, by name."""
    top = shipped("rootfs", "guest", "bpf")
    found = sorted(top.glob("*/*.bpf.c"))
    return [BpfSource(path.name.removesuffix(".bpf.c"), path.parent) for path in found]


def find(what: str) -> BpfSource:
    """A shipped program by name, or a directory with one NAME.bpf.c and its NAME.c, or one
    such file. Raises ``BadInput``."""
    path = expanded(what)
    if path.is_dir():
        return _in_directory(path)
    if path.name.endswith(".bpf.c") and path.is_file():
        return _whole(BpfSource(path.name.removesuffix(".bpf.c"), path.parent))
    known = {source.name: source for source in shipped_programs()}
    if what in known:
        return known[what]
    close = near(what, known)
    raise BadInput(
        f"there is no BPF program '{what}'",
        f"did you mean {close[0]}?" if close else f"a directory with NAME.bpf.c and NAME.c, or "
        f"one of: {', '.join(known)}",
        f"kernlab bpf run {close[0] if close else 'rstwho'}",
    )  # fmt: skip


def _in_directory(path: Path) -> BpfSource:
    names = sorted(one.name.removesuffix(".bpf.c") for one in path.glob("*.bpf.c"))
    name = path.resolve().name
    if len(names) == 1 or name in names:
        return _whole(BpfSource(name if name in names else names[0], path))
    if names:
        raise BadInput(
            f"{path} has {len(names)} BPF programs: {', '.join(names)}",
            "one is built at a time",
            f"kernlab bpf build {path / names[0]}.bpf.c",
        )
    raise BadInput(
        f"{path} has no BPF program",
        "NAME.bpf.c is what runs in the kernel, NAME.c what loads it",
        "kernlab bpf list",
    )


def _whole(source: BpfSource) -> BpfSource:
    if not source.loader.is_file():
        raise BadInput(
            f"{source.kernel_side.name} has no loader",
            f"{source.loader} includes {source.name}.skel.h, opens, loads and attaches",
            f"less {shipped('rootfs', 'guest', 'bpf', 'dropwatch', 'dropwatch.c')}",
        )
    return source


def vmlinux_h(kernel: Kernel) -> Path:
    """The types of one kernel as C, from its BTF; made once. Raises ``BadInput`` for a kernel
    without BTF."""
    path = kernel.path / "vmlinux.h"
    if path.exists():
        return path
    if "CONFIG_DEBUG_INFO_BTF=y" not in kernel.config.read_text("utf-8").splitlines():
        raise BadInput(
            f"Linux {kernel.release} has no BTF",
            "it was built without CONFIG_DEBUG_INFO_BTF; BPF programs learn the kernel's "
            "types from it",
            f"kernlab build {kernel.version} --set CONFIG_DEBUG_INFO_BTF=y",
        )
    require(BPF)
    argv = ["bpftool", "btf", "dump", "file", str(kernel.vmlinux), "format", "c"]
    with arriving_file(path) as temporary:
        temporary.write_bytes(run(_LIMIT, argv).stdout)
    return path


def build(source: BpfSource, kernel: Kernel, report: Reporter) -> BpfProgram:
    """Build a program for one kernel; cached by content. Raises ``BadInput`` with the
    compiler's own words where the source is wrong, ``HostLacks``."""
    require(BPF)
    types = vmlinux_h(kernel)
    final = home_dir("images") / f"bpf-{_key(source, kernel)}"
    built = BpfProgram(source, final / source.name, final / f"{source.name}.bpf.o")
    if not built.program.is_file():
        stage = f"build {source.name}"
        report(Started(stage))
        with arriving(final) as temporary:
            _Build(source, types, temporary).run()
        report(Finished(stage))
    return built


def _key(source: BpfSource, kernel: Kernel) -> str:
    digest = hashlib.sha256(repr((_OBJECT, _LOADER, _WRAPPED, kernel.key)).encode())
    for program in ("clang", "gcc"):
        digest.update(run(20, [program, "--version"]).stdout)
    for path in _files(source):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _files(source: BpfSource) -> Iterator[Path]:
    """All that a build reads of ours and of the user's."""
    yield from (source.kernel_side, source.loader)
    yield from sorted(source.directory.glob("*.h"))
    yield from sorted(_common().glob("*.[ch]"))
    yield from sorted(_common().parent.glob("*.h"))


def _common() -> Path:
    return shipped("rootfs", "guest", "bpf")


class _Build:
    def __init__(self, source: BpfSource, types: Path, out: Path) -> None:
        self._source = source
        self._out = out
        include = [source.directory, types.parent, out, _common()]
        self._include = [word for folder in include for word in ("-I", str(folder))]

    def run(self) -> None:
        source, out = self._source, self._out
        made, linked = out / "compiled.o", out / f"{source.name}.bpf.o"
        # <linux/types.h> of libc's headers asks for the host's <asm/types.h>.
        multiarch = run(20, ["gcc", "-print-multiarch"]).text.strip()
        asm = ["-idirafter", f"/usr/include/{multiarch}"] if multiarch else []
        self._step(["clang", *_OBJECT, *self._include, *asm, "-c", str(source.kernel_side),
                    "-o", str(made)])  # fmt: skip
        # libbpf's linker keeps BTF and leaves DWARF behind: the skeleton holds the whole file.
        self._step(["bpftool", "gen", "object", str(linked), str(made)])
        skeleton = self._step(["bpftool", "gen", "skeleton", str(linked)])
        (out / f"{source.name}.skel.h").write_bytes(skeleton)
        wraps = [f"-Wl,--wrap={name}" for name in _WRAPPED]
        self._step(
            ["gcc", *_LOADER, *self._include, *wraps, "-o", str(out / source.name),
             str(source.loader), str(_common() / "start.c"), "-lbpf", "-lelf", "-lz", *_zstd()]
        )  # fmt: skip
        made.unlink()

    def _step(self, argv: list[str]) -> bytes:
        said = run(_LIMIT, argv, check=False)
        if said.returncode == 0:
            return said.stdout
        text = (said.stderr or said.stdout).decode("utf-8", "replace")
        text = text.replace(f"{self._source.directory}/", "").strip()
        first = _ERROR.search(text)
        # clang says that the stack is too big once for each access to it.
        lines = [line for line, _ in groupby(text.splitlines())]
        more = f"\n({len(lines) - _MOST} lines more)" if len(lines) > _MOST else ""
        # Where a linker speaks there is no line: it is the loader's.
        side = self._source.loader if argv[0] == "gcc" else self._source.kernel_side
        where = f"{first['file']}:{first['line']}" if first else side.name
        raise BadInput(
            f"{self._source.name} does not build: {argv[0]} refuses {where}",
            "\n".join(lines[:_MOST]) + more,
            f"edit {self._source.directory / where}",
        )


def _zstd() -> list[str]:
    """libelf.a wants libzstd.a too where it was built with it (elfutils since 0.190)."""
    path = run(20, ["gcc", "-print-file-name=libzstd.a"]).text.strip()
    return ["-lzstd"] if path.startswith("/") else []
