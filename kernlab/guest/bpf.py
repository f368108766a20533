"""libbpf programs: ``NAME.bpf.c`` and its loader ``NAME.c``, built into one program.

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

from kernlab.config import sums
from kernlab.config.needs import require
from kernlab.config.paths import (
    arriving,
    arriving_file,
    expanded,
    home_dir,
    shipped,
    unsealed_file,
)
from kernlab.config.yaml import near
from kernlab.decode.arch import ARCH
from kernlab.errors import BadInput, WeFailed
from kernlab.guest.build import NAMELESS, nameless
from kernlab.guest.link import Fault, host_libraries, link
from kernlab.guest.needs import BPF
from kernlab.kernel.model import Kernel
from kernlab.process import Completed, run
from kernlab.progress import Finished, Reporter, Said, Started

_OBJECT = (
    "-g",
    "-O2",
    "-target",
    "bpf",
    f"-D__TARGET_ARCH_{ARCH.bpf}",
    "-Wall",
    "-Wno-missing-declarations",
)
# Not the other names: clang finds the lines that BTF keeps for the verifier's log by them.
_MACROS = "-fmacro-prefix-map"
_LOADER = ("-O2", "-g0", "-Wall", "-pthread")
# What rootfs/guest/bpf/start.c stands in front of.
_WRAPPED = (
    "bpf_object__attach_skeleton",
    "bpf_object__detach_skeleton",
    "bpf_object__destroy_skeleton",
    "ring_buffer__poll",
    "perf_buffer__poll",
    "sleep",
)
_ERROR = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: .*$", re.M)
# Values alone: no macro with arguments, no include guard.
_CONSTANT = re.compile(r"^#define[ \t]+(BPF_\w+)[ \t]+(\S.*?)[ \t]*$", re.M)
_UNDECLARED = re.compile(r"use of undeclared identifier '(BPF_\w+)'")
_WORD = re.compile(r"\bBPF_\w+")
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
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
        f"did you mean {close[0]}?"
        if close
        else f"a directory with NAME.bpf.c and NAME.c, or one of: {', '.join(known)}",
        f"kernlab bpf run {close[0] if close else 'rstwho'}",
    )


def _in_directory(path: Path) -> BpfSource:
    names = sorted(one.name.removesuffix(".bpf.c") for one in path.glob("*.bpf.c"))
    name = path.resolve().name
    if len(names) == 1 or name in names:
        return _whole(BpfSource(name if name in names else names[0], path))
    if names:
        raise BadInput(
            f"{path} has {len(names)} BPF programs: {', '.join(names)}",
            "only one can be built at a time",
            f"kernlab bpf build {path / names[0]}.bpf.c",
        )
    raise BadInput(
        f"{path} has no BPF program",
        "NAME.bpf.c runs in the kernel, and NAME.c loads it",
        "kernlab bpf list",
    )


def _whole(source: BpfSource) -> BpfSource:
    if not source.loader.is_file():
        raise BadInput(
            f"{source.kernel_side.name} has no loader",
            f"{source.loader} includes {source.name}.skel.h and loads the program",
            f"less {shipped('rootfs', 'guest', 'bpf', 'dropwatch', 'dropwatch.c')}",
        )
    return source


def vmlinux_h(kernel: Kernel) -> Path:
    """The types of one kernel as C, from its BTF; made once. Raises ``BadInput`` for a kernel
    without BTF."""
    path = kernel.path / "include" / "vmlinux.h"
    if unsealed_file(path) is not None:
        return path
    if "CONFIG_DEBUG_INFO_BTF=y" not in kernel.config.read_text("utf-8").splitlines():
        raise BadInput(
            f"Linux {kernel.release} has no BTF",
            "it was built without CONFIG_DEBUG_INFO_BTF; BPF programs learn the kernel's "
            "types from it",
            f"kernlab build {kernel.version} --set CONFIG_DEBUG_INFO_BTF=y",
        )
    require(BPF)
    path.parent.mkdir(exist_ok=True)
    argv = ["bpftool", "btf", "dump", "file", str(kernel.vmlinux), "format", "c"]
    with arriving_file(path, seal=True) as temporary:
        types = run(_LIMIT, argv).stdout.decode()
        temporary.write_text(_with_constants(types, kernel), "utf-8")
    return path


def _with_constants(types: str, kernel: Kernel) -> str:
    """vmlinux.h and the macros of linux/bpf.h that are enums only since 5.7 (1aae4bdd7879):
    BPF_ANY, BPF_F_CURRENT_CPU. BTF knows no macros, and every program uses some."""
    header = kernel.source / "include" / "uapi" / "linux" / "bpf.h"
    if not header.is_file():
        return types
    text = _COMMENT.sub("", header.read_text("utf-8", "replace")).replace("\\\n", " ")
    lines = [
        f"#ifndef {name}\n#define {name} {value}\n#endif" for name, value in _CONSTANT.findall(text)
    ]
    return types + "\n/* include/uapi/linux/bpf.h of the same tree */\n" + "\n".join(lines) + "\n"


def build(source: BpfSource, kernel: Kernel, report: Reporter) -> BpfProgram:
    """Build a program for one kernel; cached by content. Raises ``BadInput`` with the
    compiler's own words where the source is wrong, ``HostLacks``."""
    require(BPF)
    types = vmlinux_h(kernel)
    final = home_dir("images") / f"bpf-{_key(source, kernel)}"
    built = BpfProgram(source, final / source.name, final / f"{source.name}.bpf.o")
    if not sums.whole(final, f"BPF program {source.name}", report):
        stage = f"build {source.name}"
        report(Started(stage))
        with arriving(final) as temporary:
            faults = _Build(source, kernel, types, temporary).run()
        report(Finished(stage))
        if faults:
            report(
                Said(
                    f"{source.name} is linked with shared libraries, which go with it: "
                    + "; ".join(str(one) for one in faults)
                )
            )
    return built


def _key(source: BpfSource, kernel: Kernel) -> str:
    how = (_OBJECT, _LOADER, _WRAPPED, NAMELESS, _MACROS, kernel.key)
    digest = hashlib.sha256(repr(how).encode())
    for program in ("clang", ARCH.compiler):
        digest.update(run(20, [program, "--version"]).stdout)
    digest.update(repr(list(host_libraries())).encode())
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
    def __init__(self, source: BpfSource, kernel: Kernel, types: Path, out: Path) -> None:
        self._source = source
        self._kernel = kernel
        self._types = types
        self._out = out
        include = [source.directory, types.parent, out, _common()]
        self._include = [word for folder in include for word in ("-I", str(folder))]
        self._folders = (types.parent, out, _common(), source.directory)

    def run(self) -> list[Fault]:
        """Build; what is wrong with the host's archives where the program is no static one."""
        source, out = self._source, self._out
        made, linked = out / "compiled.o", out / f"{source.name}.bpf.o"
        # <linux/types.h> of libc's headers asks for the host's <asm/types.h>.
        multiarch = run(20, [ARCH.compiler, "-print-multiarch"]).text.strip()
        asm = ["-idirafter", f"/usr/include/{multiarch}"] if multiarch else []
        names = nameless(*self._folders, option=_MACROS)
        self._step(
            [
                "clang",
                *_OBJECT,
                *self._include,
                *names,
                *asm,
                "-c",
                str(source.kernel_side),
                "-o",
                str(made),
            ]
        )
        # libbpf's linker keeps BTF and leaves DWARF behind: the skeleton holds the whole file.
        self._step(["bpftool", "gen", "object", str(linked), str(made)])
        skeleton = self._step(["bpftool", "gen", "skeleton", str(linked)])
        (out / f"{source.name}.skel.h").write_bytes(skeleton)
        wraps = [f"-Wl,--wrap={name}" for name in _WRAPPED]
        argv = [
            ARCH.compiler,
            *_LOADER,
            *self._include,
            *nameless(*self._folders),
            *wraps,
            str(source.loader),
            str(_common() / "start.c"),
        ]
        said, faults = link(argv, out / source.name)
        self._checked(argv, said)
        made.unlink()
        return faults

    def _step(self, argv: list[str]) -> bytes:
        return self._checked(argv, run(_LIMIT, argv, check=False))

    def _checked(self, argv: list[str], said: Completed) -> bytes:
        """What a step gave. Raises ``BadInput`` with the tool's own words where it failed."""
        if said.returncode == 0:
            return said.stdout
        text = (said.stderr or said.stdout).decode("utf-8", "replace")
        text = text.replace(f"{self._source.directory}/", "").strip()
        first = _ERROR.search(text)
        # clang says that the stack is too big once for each access to it.
        lines = [line for line, _ in groupby(text.splitlines())]
        more = f"\n({len(lines) - _MOST} lines more)" if len(lines) > _MOST else ""
        lines = [*self._newer(text), *lines[:_MOST]]
        if self._source.directory.is_relative_to(shipped("rootfs")):
            raise WeFailed(
                f"kernlab's own program {self._source.name} does not build for Linux "
                f"{self._kernel.release}: {argv[0]} refuses it",
                "\n".join(lines) + more,
                "kernlab doctor",
            )
        # Where a linker speaks there is no line: it is the loader's.
        side = self._source.loader if argv[0] == "gcc" else self._source.kernel_side
        where = f"{first['file']}:{first['line']}" if first else side.name
        raise BadInput(
            f"{self._source.name} does not build: {argv[0]} refuses {where}",
            "\n".join(lines) + more,
            f"edit {self._source.directory / where}",
        )

    def _newer(self, text: str) -> Iterator[str]:
        """Names of the BPF interface that the host's header has and this kernel has not."""
        header = Path("/usr/include/linux/bpf.h")
        if not header.is_file():
            return
        known = set(_WORD.findall(header.read_text("utf-8", "replace")))
        here = set(_WORD.findall(self._types.read_text("utf-8", "replace")))
        for name in dict.fromkeys(_UNDECLARED.findall(text)):
            if name in known - here:
                yield f"{name} is newer than Linux {self._kernel.release}"
