"""What a build does before and after make, with the real compiler and pahole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kernlab.config import packages, sums
from kernlab.errors import BadInput, WeFailed
from kernlab.kernel import build, known
from kernlab.kernel.built import by_key
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
        said = subprocess.run(["sh", "-c", script, "sh", made], env={"PAHOLE": pahole,
                              "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)  # fmt: skip
        assert said.returncode == 0, said.stderr
        assert said.stdout.startswith("v1.")
        dump = subprocess.run(["bpftool", "btf", "dump", "file", made], capture_output=True,
                              text=True, check=True).stdout  # fmt: skip
        assert ("ENUM64 'big'" in dump) == enum64


def test_without_a_remedy_make_is_called_as_ever(tmp_path: Path) -> None:
    make = build.Make(tmp_path, tmp_path, tmp_path, tmp_path / "log", 1)
    assert not any(word.startswith("PAHOLE=") for word in make.argv)


def a_vmlinux(place: Path, *sections: str) -> Path:
    """A file with a build-id and the sections named, as a linker and objcopy make it."""
    (place / "b.c").write_text("void _start(void) {}\n")
    out = place / "vmlinux"
    subprocess.run(["gcc", "-nostdlib", "-static", "-Wl,--build-id", "-o", out, place / "b.c"],
                   check=True)  # fmt: skip
    (place / "x").write_bytes(b"x")
    words = [f"--add-section={name}={place}/x" for name in sections]
    subprocess.run(["objcopy", "--rename-section", ".note.gnu.build-id=.notes", *words, out],
                   check=True)  # fmt: skip
    return out


def a_config(place: Path, **options: str) -> Path:
    values = {"DEBUG_INFO": "y", "DEBUG_INFO_BTF": "y", "UNWINDER_ORC": "y", **options}
    (place / "config").write_text("".join(
        f"CONFIG_{name}={value}\n" if value != "n" else f"# CONFIG_{name} is not set\n"
        for name, value in values.items()
    ))  # fmt: skip
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
