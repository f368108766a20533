"""The tests of an accelerator, run for real under TCG, and on a QEMU that fails at one of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kernlab import pipeline
from kernlab.errors import KernlabError
from kernlab.image.model import Image
from kernlab.kernel.model import Kernel
from kernlab.progress import Report, Said
from kernlab.trace.engines import bpf, ftrace, gdb
from kernlab.vm import accel, mechanisms
from kernlab.vm.mechanisms import BOOT, BREAK, HOLD, RESTORE, STOP, Places
from kernlab.vm.needs import has_sandbox
from kernlab.vm.spec import MachineSpec

LIMIT = 60.0  # seconds: TCG on a busy host


@pytest.fixture
def spec(kernel: Kernel, image: Image, tmp_path: Path) -> MachineSpec:
    return MachineSpec(
        kernel.bzimage, image.initramfs, tmp_path, tmp_path / "c", sandbox=has_sandbox()
    )


@pytest.fixture
def places(kernel: Kernel) -> Places:
    found = pipeline.places_for(pipeline.symbols_for(kernel))
    assert found is not None
    return found


@pytest.fixture
def sabotaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Put a QEMU that fails at something in front of the real one."""
    there = tmp_path / "bin"
    there.mkdir()
    program = Path(__file__).with_name("sabotage.py")
    wrapper = there / "qemu-system-x86_64"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("REAL_PATH", os.environ["PATH"])
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    monkeypatch.setenv("SABOTAGE", str(tmp_path / "what"))
    return lambda what: (tmp_path / "what").write_text(what)


def test_a_saved_guest_runs_on_under_tcg(spec: MachineSpec, places: Places) -> None:
    """The other mechanisms pass below, where the accelerator is chosen."""
    assert mechanisms._restore(spec, places, LIMIT) == ""


def test_a_mechanism_that_fails_is_seen(
    spec: MachineSpec, places: Places, tmp_path: Path, sabotaged: Callable[[str], object]
) -> None:
    place = tmp_path / "guest"
    place.mkdir()
    sabotaged("")
    with mechanisms._booted(spec, place, LIMIT) as machine:
        for what, test, says in (
            (BREAK, mechanisms._breakpoint, "no call stops"),
            (STOP, mechanisms._watchpoint, "no call stops"),
            (HOLD, mechanisms._hold, "the vCPU that is held runs"),
        ):
            sabotaged(what)
            assert mechanisms._said(test, machine, places, LIMIT) == says


def test_a_command_takes_kvm_for_what_works_and_tcg_for_what_does_not(
    spec: MachineSpec,
    places: Places,
    tmp_path: Path,
    sabotaged: Callable[[str], object],
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host that seems to have KVM, whose KVM restores no guest."""
    sabotaged(RESTORE)
    monkeypatch.setattr(accel, "_KVM", tmp_path)
    monkeypatch.setattr(accel, "_LIMIT", LIMIT)
    monkeypatch.delenv("KERNLAB_ACCEL", raising=False)
    said: list[Report] = []
    assert accel.accelerator(spec, [BOOT], lambda: places, said.append) == "kvm"
    assert not [one for one in said if isinstance(one, Said)]
    seen = accel.seen()
    assert seen is not None
    assert [name for name, why in seen.items() if why] == [RESTORE]

    def never() -> Places:
        raise AssertionError("tried again")

    for needs in (gdb.KIND.needs, ftrace.KIND.needs, bpf.KIND.needs, (BOOT, BREAK, STOP, HOLD)):
        assert accel.accelerator(spec, needs, never, said.append) == "kvm"
    assert accel.accelerator(spec, [BOOT, RESTORE], never, said.append) == "tcg"
    (line,) = (one.text for one in said if isinstance(one, Said))
    assert line.startswith(
        "this command runs under TCG, because KVM fails here at what it needs (a guest"
    )
    monkeypatch.setattr(mechanisms, "VERSION", mechanisms.VERSION + 1)
    assert accel.seen() is None
    monkeypatch.setattr(mechanisms, "VERSION", mechanisms.VERSION - 1)
    memo = own_home / "images" / "accelerator.json"
    memo.write_bytes(memo.read_bytes()[:-9])
    assert accel.seen() is None


def test_a_kvm_that_boots_nothing_is_left_alone(
    spec: MachineSpec,
    places: Places,
    tmp_path: Path,
    sabotaged: Callable[[str], object],
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sabotaged(BOOT)
    monkeypatch.setattr(accel, "_KVM", tmp_path)
    monkeypatch.delenv("KERNLAB_ACCEL", raising=False)
    said: list[Report] = []
    for _ in range(2):
        assert accel.accelerator(spec, [BOOT], lambda: places, said.append) == "tcg"
    (line,) = (one.text for one in said if isinstance(one, Said))
    assert line.startswith("KVM does not work on this host")
    seen = accel.seen()
    assert seen is not None
    assert all(seen.values())
    with suppress(KernlabError):
        assert accel.remembered() == "tcg"


def test_each_engine_names_what_it_needs() -> None:
    assert gdb.KIND.needs == (BOOT, BREAK, STOP)
    assert ftrace.KIND.needs == bpf.KIND.needs == (BOOT,)
