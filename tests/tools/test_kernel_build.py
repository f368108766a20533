"""What a build does before and after make, with the real compiler and pahole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from damages import DAMAGES

from kernlab.config import packages, sums
from kernlab.errors import BadInput, WeFailed
from kernlab.kernel import build, known
from kernlab.kernel.built import FILES, build_id, by_key, look, newest
from kernlab.kernel.model import BuildRequest, Kernel
from kernlab.kernel.needs import build_needs
from kernlab.progress import quiet

PAHOLE = tuple(int(part) for part in packages.version_of("pahole").split("."))


def compiled(place: Path) -> Path:
    """An object with an enumeration that takes 64 bits, as PERF_CONTEXT_MAX does in a kernel."""
    source = place / "a.c"
    source.write_text("enum big { A = 0xffffffff00000000UL } a;\n")
    subprocess.run(["gcc", "-g", "-c", "-o", place / "a.o", source], check=True)
    return place / "a.o"


@pytest.mark.skipif(PAHOLE < (1, 24), reason="this pahole does not write BTF_KIND_ENUM64")
def test_pahole_leaves_out_what_an_old_kernel_cannot_read(tmp_path: Path) -> None:
    row = next(row for row in known.table().known if row.id == "pahole-enum64")
    make = build.Make(tmp_path, tmp_path, tmp_path, tmp_path / "log", 1, pahole=(row.pahole,))
    variable, _, ours = make.argv[-1].partition("=")
    assert variable == "PAHOLE"
    for pahole, enum64 in (("pahole", True), (ours, False)):
        made = compiled(tmp_path)
        # As scripts/link-vmlinux.sh calls it; $PAHOLE is a command of one word there.
        script = '[ -x "$(command -v ${PAHOLE})" ] && ${PAHOLE} --version && ${PAHOLE} -J $1'
        said = subprocess.run(
            ["sh", "-c", script, "sh", made],
            env={"PAHOLE": pahole, "PATH": "/usr/bin:/bin", "LLVM_OBJCOPY": "objcopy"},
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr
        assert said.stdout.startswith("v1.")
        dump = subprocess.run(
            ["bpftool", "btf", "dump", "file", made], capture_output=True, text=True, check=True
        ).stdout
        assert ("ENUM64 'big'" in dump) == enum64


def test_without_a_remedy_make_is_called_as_ever(tmp_path: Path) -> None:
    make = build.Make(tmp_path, tmp_path, tmp_path, tmp_path / "log", 1)
    assert not any(word.startswith("PAHOLE=") for word in make.argv)


def a_vmlinux(place: Path, *sections: str) -> Path:
    """A file with a build-id and the sections named, as a linker and objcopy make it."""
    (place / "b.c").write_text("void _start(void) {}\n")
    out = place / "vmlinux"
    subprocess.run(
        ["gcc", "-nostdlib", "-static", "-Wl,--build-id", "-o", out, place / "b.c"], check=True
    )
    (place / "x").write_bytes(b"x")
    words = [f"--add-section={name}={place}/x" for name in sections]
    subprocess.run(
        ["objcopy", "--rename-section", ".note.gnu.build-id=.notes", *words, out], check=True
    )
    return out


def a_config(place: Path, **options: str) -> Path:
    values = {"DEBUG_INFO": "y", "DEBUG_INFO_BTF": "y", "UNWINDER_ORC": "y", **options}
    (place / "config").write_text(
        "".join(
            f"CONFIG_{name}={value}\n" if value != "n" else f"# CONFIG_{name} is not set\n"
            for name, value in values.items()
        )
    )
    return place / "config"


def test_a_kernel_without_btf_by_its_owners_wish_is_whole(tmp_path: Path) -> None:
    vmlinux = a_vmlinux(tmp_path, ".debug_info", ".orc_unwind")
    assert len(build._check(vmlinux, a_config(tmp_path, DEBUG_INFO_BTF="n"))) == 40
    with pytest.raises(WeFailed, match="incomplete") as caught:
        build._check(vmlinux, a_config(tmp_path))
    assert caught.value.why == "it has no .BTF"
    vmlinux = a_vmlinux(tmp_path, ".debug_info")
    assert build._check(vmlinux, a_config(tmp_path, DEBUG_INFO_BTF="n", UNWINDER_ORC="n"))
    assert "pahole" not in [need.program for need in build_needs(btf=False)]
    assert "pahole" in [need.program for need in build_needs(btf=True)]


def test_a_kernel_that_nothing_could_read_is_refused_at_once(own_home: Path) -> None:
    with pytest.raises(BadInput, match="CONFIG_DEBUG_INFO=n"):
        build.build(BuildRequest(sets=("CONFIG_DEBUG_INFO=n",)), quiet)
    assert not own_home.exists()


def test_a_kernel_with_options_of_its_own_is_found_by_its_key(own_home: Path) -> None:
    key = "5.10.7-0123456789ab"
    kernel = Kernel(key, "5.10.7", "5.10.7", own_home / "kernels" / key, own_home, "b", 1, 1.0)
    kernel.path.mkdir(parents=True)
    kernel.save(kernel.path)
    sums.record(kernel.path)
    assert by_key(key) == kernel
    assert build.build(BuildRequest(key), quiet) == kernel
    assert by_key("../kernels/" + key) is None


# -- damaged kernels ----------------------------------------------------------------------

_FILES = (
    "kernel.json",
    "bzImage",
    "vmlinux",
    "System.map",
    "config",
    "vmlinux-gdb.py",
    "scripts/s.py",
    "build/autoconf.h",
)


@pytest.fixture
def kernel(own_home: Path) -> Kernel:
    """A directory with all that a build keeps, as far as a look reads it."""
    key = "5.10.7-0123456789ab"
    place = own_home / "kernels" / key
    (place / "scripts").mkdir(parents=True)
    (place / "build").mkdir()
    a_vmlinux(place)
    for left in ("b.c", "x"):
        (place / left).unlink()
    a_config(place)
    (place / "bzImage").write_bytes(bytes(0x202) + b"HdrS" + bytes(1000))
    (place / "System.map").write_bytes(b"ffffffff81000000 T _text\nffffffff82000000 B _end\n")
    for name in ("build.log", "vmlinux-gdb.py", "scripts/s.py", "build/autoconf.h"):
        (place / name).write_text("x" * 100)
    found = build_id(place / "vmlinux")
    assert found is not None
    made = Kernel(key, "5.10.7", "5.10.7-kernlab", place, own_home, found, 1, 1.0)
    made.save(place)
    sums.record(place, FILES)
    return made


@pytest.mark.parametrize("how", [*DAMAGES, "gone"])
@pytest.mark.parametrize("name", _FILES)
def test_a_damaged_kernel_is_none(kernel: Kernel, name: str, how: str) -> None:
    assert look(kernel.path) == (kernel, "")
    path = kernel.path / name
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[how](path.read_bytes()))
    found, why = look(kernel.path)
    assert found is None
    assert name in why
    assert newest("5.10") is None


@pytest.mark.parametrize("how", [*DAMAGES, "gone"])
def test_a_kernel_whose_record_is_damaged_is_looked_through(kernel: Kernel, how: str) -> None:
    record = kernel.path / sums.RECORD
    (kernel.path / "layout.json").write_text("a cache, which changes")
    if how == "gone":
        record.unlink()
    else:
        record.write_bytes(DAMAGES[how](record.read_bytes()))
    assert look(kernel.path) == (kernel, "")
    assert sums.problem(kernel.path) == ""
    (kernel.path / "layout.json").write_text("and changes")
    assert look(kernel.path) == (kernel, "")
    for name in ("bzImage", "vmlinux", "System.map", "config"):
        record.unlink()
        path = kernel.path / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
        assert look(kernel.path)[0] is None, name
        path.write_bytes(whole)
        assert look(kernel.path) == (kernel, "")
