"""A source tree and its fragments into a kernel that is kept by its content.

Recipe: allnoconfig with the fragments as its input, olddefconfig, every wish compared
with what came out, ``make`` of the image and the GDB scripts, in a directory of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kernlab.config.needs import require
from kernlab.config.paths import arriving, home_dir
from kernlab.decode.arch import ARCH
from kernlab.errors import BadInput, HostLacks, WeFailed
from kernlab.kernel import catalogue, fragments, kconfig, known
from kernlab.kernel.built import build_id, by_key, every, look
from kernlab.kernel.fetch import fetch
from kernlab.kernel.model import BuildRequest, Kernel, SourceTree
from kernlab.kernel.needs import build_needs
from kernlab.kernel.patched import patched
from kernlab.kernel.sources import kept
from kernlab.process import PIPE, STDOUT, Child, CommandFailed, run, which
from kernlab.progress import Advanced, Finished, Reporter, Said, Started

RECIPE = "1"  # part of the key: change it when the commands below change what comes out
_LIMIT = 3 * 3600.0
_ROOM = 3 << 30  # bytes that a build needs beside the result
_OBJECTS = 1450  # objects of the shipped configuration, until a build here has counted them
_BTF = "CONFIG_DEBUG_INFO_BTF"
# What each option brings into vmlinux, and what goes without: an option that is off is the
# user's own wish, and what needs the section says so when it is asked for.
_SECTIONS = {_BTF: ".BTF", "CONFIG_DEBUG_INFO": ".debug_info", "CONFIG_UNWINDER_ORC": ".orc_unwind"}
_WITHOUT = {
    _BTF: "BPF programs, engine bpf and bpftrace's struct access",
    "CONFIG_UNWINDER_ORC": "call stacks",
}
_STEP = re.compile(rb"^  (CC|AS|LD|AR|HOSTCC|HOSTLD|BTF|KSYMS|GEN|OBJCOPY)\s+(\S+)")
_ERROR = re.compile(
    r"^.*(?:\berror: |\bfatal error: |undefined reference|\*\*\* ).*$", re.MULTILINE
)


def key_of(
    source: SourceTree,
    wishes: dict[str, fragments.Wish],
    patches: tuple[Path, ...],
    compiler: str,
    kcflags: tuple[str, ...] = (),
) -> str:
    """The kernel's content key: source, options, patches, compiler with its extra options,
    recipe."""
    digest = hashlib.sha256()
    for part in (
        RECIPE,
        source.version,
        source.digest,
        compiler,
        fragments.text_of(wishes.values()),
        *kcflags,
    ):
        digest.update(part.encode() + b"\0")
    for patch in patches:
        digest.update(patch.read_bytes() + b"\0")
    return f"{source.version}-{digest.hexdigest()[:12]}"


def compiler_line() -> str:
    """The compiler's own first line, which names its version."""
    return run(20, [ARCH.compiler, "--version"]).text.splitlines()[0]


def build(request: BuildRequest, report: Reporter) -> Kernel:
    """The kernel asked for, from the cache or built now. Two callers at once wait.

    Raises ``BadInput`` (an option, fragment or patch), ``HostLacks``, ``WeFailed``.
    """
    if request.version and not (request.configs or request.sets or request.patches):
        named = by_key(request.version)
        if named is not None:
            return named
    wishes = fragments.gather(request.configs, request.sets)
    _check_wishes(wishes)
    needs = build_needs(btf=_wished(wishes, _BTF))
    for patch in request.patches:
        if not patch.is_file():
            raise BadInput(f"--patch {patch}: no such file", "", f"ls -l {patch.parent}")
    source = fetch(request.version, report)
    if which(ARCH.compiler) is None:
        require(needs)
    catalogue.say_known(source.version, report)
    kcflags = catalogue.kcflags(source.version)
    key = key_of(source, wishes, request.patches, compiler_line(), kcflags)
    final = home_dir("kernels") / key
    kept, damage = look(final)
    if kept is not None:
        return kept
    if damage:
        report(Said(f"kernel {key} is damaged ({damage}): it is built again"))
    require(needs)
    lock = FileLock(home_dir("kernels") / f".{key}.lock")
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        report(Said(f"another kernlab is building {key}; waiting for it"))
        lock.acquire(timeout=_LIMIT)
    with lock:
        kept, _ = look(final)
        return kept or _build(key, final, source, wishes, request, report)


def _wished(wishes: dict[str, fragments.Wish], option: str) -> bool:
    return option in wishes and wishes[option].value != "n"


def _check_wishes(wishes: dict[str, fragments.Wish]) -> None:
    """Raise ``BadInput`` for a kernel that no part of kernlab could use."""
    wish = wishes.get("CONFIG_DEBUG_INFO")
    if wish is not None and wish.value == "n":
        raise BadInput(
            f"{wish.where}: CONFIG_DEBUG_INFO=n",
            "kernlab reads every member, argument and line of a kernel from its debug info",
            "remove CONFIG_DEBUG_INFO=n",
        )


def _check_place(*paths: Path) -> None:
    """The kernel's Makefile refuses both kinds of path, and says it in other words."""
    for path in paths:
        if re.search(r"[\s:]", str(path)):
            raise HostLacks(
                f"no kernel can be built in or from {path}",
                "the kernel's build refuses directories with a blank or a colon in their names",
                "set KERNLAB_HOME to a path without blanks and colons",
            )


def _build(
    key: str,
    final: Path,
    source: SourceTree,
    wishes: dict[str, fragments.Wish],
    request: BuildRequest,
    report: Reporter,
) -> Kernel:
    free = shutil.disk_usage(final.parent).free
    if free < _ROOM:
        raise HostLacks(
            f"{final.parent} has {free >> 20} MB free",
            f"a build needs {_ROOM >> 20} MB; KERNLAB_HOME may name a directory on a larger disk",
            "kernlab clean runs",
        )
    hits = known.of_build(source, _wished(wishes, _BTF))
    for hit in hits:
        if hit.effect == "fails":
            report(
                Said(
                    f"known not to work: {hit.here}: {hit.title} ({hit.symptom}). "
                    f"Remedy: {hit.remedy}"
                )
            )
        else:
            report(Said(f"{hit.here}: {hit.title}; {hit.remedy}"))
    for option, what in _WITHOUT.items():
        if not _wished(wishes, option):
            report(Said(f"a kernel with {option}=n: not with it: {what}; the rest works"))
    _check_place(final.parent, source.path)
    kept.check(source.path)
    work = final.parent / f".build-{key}"
    shutil.rmtree(work, ignore_errors=True)
    log = final.parent / f"{key}.build.log"
    with patched(source, request.patches, final.parent / f".source-{key}") as tree:
        try:
            work.mkdir()
            make = Make(
                tree,
                work,
                final,
                log,
                request.jobs or os.cpu_count() or 1,
                catalogue.kcflags(source.version),
                tuple(hit.pahole for hit in hits if hit.pahole),
            )
            report(Started("configure the kernel"))
            configure(make, wishes, source.path)
            report(Finished("configure the kernel", f"{len(wishes)} options"))
            report(Said(f"building Linux {source.version}: this takes some minutes, only once"))
            before = children_cpu()
            objects = _compile(make, report, _expected(final.parent))
            cpu = children_cpu() - before
            with arriving(final) as temporary:
                _collect(work, temporary, log)
                kernel = Kernel(
                    key=key,
                    version=source.version,
                    path=final,
                    source=source.path,
                    release=(work / "include/config/kernel.release").read_text().strip(),
                    build_id=_check(temporary / "vmlinux", temporary / "config"),
                    objects=objects,
                    cpu_seconds=round(cpu, 1),
                )
                kernel.save(temporary)
            log.unlink(missing_ok=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    report(Said(f"kernel {kernel.version} is built: {key}"))
    return kernel


def children_cpu() -> float:
    """CPU seconds, user and system, of all child processes that have ended (getrusage(2))."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Make:
    """The kernel's make, with everything that would make two builds differ fixed."""

    def __init__(
        self,
        tree: Path,
        work: Path,
        final: Path,
        log: Path,
        jobs: int,
        kcflags: tuple[str, ...] = (),
        pahole: tuple[str, ...] = (),
    ) -> None:
        self.work = work
        self.log = log
        cc = f"ccache {ARCH.compiler}" if which("ccache") else ARCH.compiler
        self.argv = [
            "make",
            "-C",
            str(tree),
            f"O={work}",
            f"-j{jobs}",
            f"CC={cc}",
            # Debug info names generated headers where they are kept, not where they were made.
            # The kernel's Makefile puts KCFLAGS last, so these options win over its own.
            " ".join([f"KCFLAGS=-fdebug-prefix-map={work}={final}/build", *kcflags]),
        ]
        if pahole:
            self.argv.append(f"PAHOLE={_with_options('pahole', pahole, work)}")
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("KBUILD_", "MAKE"))},
            "LC_ALL": "C",
            "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
            "KBUILD_BUILD_USER": "kernlab",
            "KBUILD_BUILD_HOST": "kernlab",
            "KBUILD_BUILD_VERSION": "1",
            "CCACHE_DIR": os.environ.get("CCACHE_DIR", str(home_dir("downloads") / "ccache")),
            "CCACHE_BASEDIR": str(work),
            "CCACHE_NOHASHDIR": "1",
        }

    def run(self, targets: list[str], on_line: Callable[[bytes], None] | None = None) -> None:
        """Run make; its output goes to the log as it comes. Raises ``WeFailed``."""
        argv = [*self.argv, *targets]
        with (
            self.log.open("ab") as log,
            Child(argv, env=self.env, stdout=PIPE, stderr=STDOUT, tree=True) as child,
        ):
            assert child.stdout is not None
            for line in child.stdout:
                log.write(line)
                if on_line is not None:
                    on_line(line)
            status = child.wait(_LIMIT)
        if status != 0:
            raise self._failed(targets)

    def _failed(self, targets: list[str]) -> WeFailed:
        text = self.log.read_text("utf-8", "replace")
        errors = [m.group().strip() for m in _ERROR.finditer(text)]
        first = errors[:5] or text.strip().splitlines()[-10:]
        return WeFailed(
            f"the kernel's build failed (make {' '.join(targets)})",
            "\n".join(first),
            f"less {shlex.quote(str(self.log))}",
        )


def _with_options(program: str, options: tuple[str, ...], work: Path) -> Path:
    """A command in ``work`` that is ``program`` with more options: the kernel's scripts take
    PAHOLE as one word, and know no variable for options in every series."""
    command = work / f"kernlab-{program}"
    real = shlex.quote(which(program) or program)
    command.write_text(f'#!/bin/sh\nexec {real} {shlex.join(options)} "$@"\n', "utf-8")
    command.chmod(0o755)
    return command


def configure(make: Make, wishes: dict[str, fragments.Wish], tree: Path) -> None:
    """allnoconfig with ``wishes`` as its input. Raises ``BadInput`` for a refused one."""
    asked = make.work / "kernlab.config"
    asked.write_text(fragments.text_of(wishes.values()), "utf-8")
    make.run([f"KCONFIG_ALLCONFIG={asked}", "allnoconfig"])
    make.run(["olddefconfig"])
    came_out = kconfig.read_config((make.work / ".config").read_text("utf-8"))
    kconfig.check(wishes.values(), came_out, tree)


def _expected(kernels: Path) -> int:
    """How many objects a build like this has: as the newest one here had."""
    counts = [kernel.objects for kernel in every(kernels)]
    return counts[-1] if counts else _OBJECTS


def _compile(make: Make, report: Reporter, expected: int) -> int:
    stage = "build the kernel"
    done = 0
    report(Started(stage, expected, "objects"))

    def on_line(line: bytes) -> None:
        nonlocal done
        match = _STEP.match(line)
        if match is None:
            return
        step, path = match.group(1).decode(), match.group(2).decode("utf-8", "replace")
        done += step in ("CC", "AS")
        # Kept just short of full while objects still come: a bar never goes back.
        report(Advanced(stage, min(done, expected - 1), expected, f"{step} {path}"))

    make.run([ARCH.image, "scripts_gdb"], on_line)
    report(Advanced(stage, expected, expected))
    report(Finished(stage, f"{done} objects"))
    return done


def _collect(work: Path, into: Path, log: Path) -> None:
    """What is kept of a build: the kernel, its symbols, GDB's scripts, generated headers."""
    shutil.copy2(work / ARCH.boot, into / ARCH.image)
    for name in ("vmlinux", "System.map"):
        (work / name).rename(into / name)
    shutil.copy2(work / ".config", into / "config")
    shutil.copy2(log, into / "build.log")
    shutil.copy2(work / "vmlinux-gdb.py", into / "vmlinux-gdb.py")
    shutil.copytree(
        work / "scripts/gdb",
        into / "scripts/gdb",
        ignore=lambda _, names: [n for n in names if "." in n and not n.endswith(".py")],
    )
    for part in ("include/generated", f"arch/{ARCH.srcarch}/include/generated"):
        shutil.copytree(work / part, into / "build" / part)


def _check(vmlinux: Path, config: Path) -> str:
    """The build-id. Raises ``WeFailed`` when vmlinux lacks what its configuration gives."""
    from elftools.elf.elffile import ELFFile

    options = kconfig.read_config(config.read_text("utf-8"))
    wanted = [name for option, name in _SECTIONS.items() if options.get(option, "n") != "n"]
    with vmlinux.open("rb") as file:
        elf: Any = ELFFile(file)
        lacks = [name for name in wanted if not elf.get_section_by_name(name)]
    found = build_id(vmlinux)
    if lacks or found is None:
        missing = ", ".join([*lacks, *([] if found else ["build-id"])])
        raise WeFailed("the built vmlinux is incomplete", f"it has no {missing}", "kernlab doctor")
    return found


__all__ = ["CommandFailed", "build", "compiler_line", "key_of"]
