"""Which accelerator runs guests here: tried once, remembered, never assumed.

``/dev/kvm`` may open and still not run a guest (nested hosts, containers), or run one and not
stop it where a debugger asks. ``kernlab.vm.mechanisms`` tries with KVM each mechanism that
kernlab relies on; what it saw is kept for this host, QEMU, KVM module and version of the tests.
A command names what it needs, and takes TCG where KVM lacks that.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from kernlab.config.paths import arriving_file, home, home_dir, unsealed_file
from kernlab.process import run
from kernlab.progress import Advanced, Finished, Reporter, Said, Started
from kernlab.vm import mechanisms
from kernlab.vm.mechanisms import BOOT, Places
from kernlab.vm.needs import require_qemu
from kernlab.vm.spec import MachineSpec

_KVM = Path("/dev/kvm")
_MODULES = Path("/sys/module")
_MEMO = "accelerator.json"
_LIMIT = 15.0  # seconds for each wait of the tests; under KVM each takes a fraction of one


def accelerator(
    spec: MachineSpec, needs: Iterable[str], places: Callable[[], Places | None], report: Reporter
) -> str:
    """ "kvm" where all that is needed has been seen to work with it, otherwise "tcg".

    ``spec`` is the machine that is to be started; ``places`` is asked only for the tests, None
    for a kernel without them.
    ``KERNLAB_ACCEL`` overrides them.
    """
    told = _told()
    if told is not None:
        return told
    known = seen()
    if known is None:
        found = places()
        if found is None:
            report(Said("KVM cannot be tried with this kernel; this command runs under TCG"))
            return "tcg"
        known = _try(spec, found, report)
    lacks = [name for name in needs if known.get(name, "")]
    if not lacks:
        return "kvm"
    if BOOT not in lacks:
        what = "; ".join(f"{mechanisms.TITLES[name]}: {known[name]}" for name in lacks)
        report(
            Said(f"this command runs under TCG, because KVM fails here at what it needs ({what})")
        )
    return "tcg"


def _told() -> str | None:
    told = os.environ.get("KERNLAB_ACCEL")
    if told in ("kvm", "tcg"):
        return told
    return None if os.access(_KVM, os.R_OK | os.W_OK) else "tcg"


def remembered() -> str | None:
    """What runs a guest that needs nothing but to boot; None where KVM has to be tried."""
    told = _told()
    known = seen() if told is None else None
    if known is None:
        return told
    return "tcg" if known[BOOT] else "kvm"


def seen() -> dict[str, str] | None:
    """What the tests saw of KVM here: mechanism → what is wrong, "" for nothing; None where
    they have not run on this host with this QEMU and KVM."""
    kept = unsealed_file(home() / "images" / _MEMO)
    if kept is None:
        return None
    known = json.loads(kept)
    if known.get("key") != _key():
        return None
    found: dict[str, str] = known["seen"]
    return found if set(found) == set(mechanisms.TITLES) else None


def _try(spec: MachineSpec, places: Places, report: Reporter) -> dict[str, str]:
    stage = "try KVM"
    report(Started(stage, len(mechanisms.TITLES)))
    tried: list[str] = []

    def heard(name: str) -> None:
        tried.append(name)
        report(Advanced(stage, len(tried) - 1, len(mechanisms.TITLES), mechanisms.TITLES[name]))

    plain = replace(spec, accelerator="kvm", cpus=2, gdb_port=None, wait=False, append=())
    found = mechanisms.examine(plain, places, _LIMIT, heard)
    bad = [name for name, why in found.items() if why]
    report(Finished(stage, "works" if not bad else f"fails at {', '.join(bad)}"))
    if found[BOOT]:
        report(Said("KVM does not work on this host; guests run under TCG, several times slower"))
    with arriving_file(home_dir("images") / _MEMO, seal=True) as temporary:
        temporary.write_text(json.dumps({"key": _key(), "seen": found}), "utf-8")
    return found


def _key() -> str:
    qemu = Path(require_qemu())
    version = run(10, [str(qemu), "--version"]).text.splitlines()[0]
    status, program = _KVM.stat(), qemu.stat()
    words = [
        platform.node(),
        platform.release(),
        platform.version(),
        _cpu(),
        *_modules(),
        version,
        str(program.st_size),
        str(program.st_mtime_ns),
        str(status.st_rdev),
        str(os.geteuid()),
        f"tests {mechanisms.VERSION}",
    ]
    return " ".join(words)


def _cpu() -> str:
    """The host's processor and its microcode."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    wanted = ("model name", "stepping", "microcode")
    found = (line.partition(":") for line in lines)
    return " ".join(
        {name.strip(): value.strip() for name, _, value in found if name.strip() in wanted}.values()
    )


def _modules() -> list[str]:
    """KVM's modules with what tells one build of them from another."""
    found = []
    for name in ("kvm", "kvm_intel", "kvm_amd"):
        for tells in ("srcversion", "version"):
            try:
                found.append(f"{name}:{(_MODULES / name / tells).read_text('ascii').strip()}")
            except OSError:
                continue
    return found
