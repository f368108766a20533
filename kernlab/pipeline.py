"""What is made on the way: source → kernel, image, machine. No room calls another's build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernlab.progress import Finished, Reporter, Said, Started, quiet

if TYPE_CHECKING:
    from kernlab.image.model import Image, ImageRequest
    from kernlab.kernel.model import BuildRequest, Kernel
    from kernlab.record.rundir import RunDir
    from kernlab.symbols.kernel import KernelSymbols
    from kernlab.vm.machine import Machine
    from kernlab.vm.mechanisms import Places
    from kernlab.vm.spec import Network

_BOOTS = 4  # of a guest whose clock is wrong, until the host is called too busy
_COMPLAINT = "kernlab: rcS: cannot "  # rootfs/busybox/rcS goes on without what failed


@dataclass(frozen=True)
class MachineOptions:
    """What a user may choose of a machine. ``memory`` in MiB."""

    cpus: int = 2
    memory: int = 512
    gdb_port: int | None = None
    wait: bool = False
    append: tuple[str, ...] = ()
    network: Network = "closed"


@dataclass(frozen=True)
class Setting:
    """What a live command works in: the kernel and the image that its machines boot, what the
    user chose of them, the run that keeps what comes of it, and who hears of its progress."""

    kernel: Kernel
    image: Image
    options: MachineOptions
    run: RunDir
    report: Reporter = quiet


def kernel_for(request: BuildRequest, report: Reporter) -> Kernel:
    """The kernel asked for, fetched and built when it is not there yet."""
    from kernlab.kernel.build import build

    return build(request, report)


def built_kernel(version: str | None = None) -> Kernel | None:
    """A kernel that is built here already (a release, a series, None for the default)."""
    from kernlab.kernel.built import newest

    return newest(version)


def image_kinds() -> dict[str, Callable[[ImageRequest, Reporter], Image]]:
    """What a guest can boot into, and who makes it."""
    from kernlab.image import busybox, debian

    return {"busybox": busybox.build, "debian": debian.build}


def image_for(request: ImageRequest, report: Reporter) -> Image:
    """The image asked for, assembled when it is not there yet. Raises ``BadInput`` for a kind
    there is not."""
    from kernlab.errors import BadInput

    kinds = image_kinds()
    if request.kind not in kinds:
        raise BadInput(
            f"there is no image '{request.kind}'",
            f"there are: {', '.join(kinds)}",
            "kernlab image busybox",
        )
    return kinds[request.kind](request, report)


def symbols_for(kernel: Kernel) -> KernelSymbols:
    """Names and addresses of a built kernel."""
    from kernlab.symbols.kernel import KernelFiles, KernelSymbols

    return KernelSymbols(
        KernelFiles(kernel.path, kernel.vmlinux, kernel.system_map, kernel.config, kernel.source)
    )


@contextmanager
def machine_for(setting: Setting, needs: tuple[str, ...] = ("boot",)) -> Iterator[Machine]:
    """A machine, started and not yet ready; ended with the block. ``needs``: what the command
    relies on of the accelerator (``kernlab.vm.mechanisms``)."""
    from kernlab.vm.accel import accelerator
    from kernlab.vm.machine import start
    from kernlab.vm.needs import has_sandbox
    from kernlab.vm.share import model
    from kernlab.vm.spec import MachineSpec

    kernel, image, options = setting.kernel, setting.image, setting.options
    run, report = setting.run, setting.report
    disks = _disks(kernel, image, report)
    spec = MachineSpec(
        bzimage=kernel.bzimage,
        initramfs=image.initramfs,
        share=run.share,
        console_log=run.console_log,
        cpus=options.cpus,
        memory=options.memory,
        gdb_port=options.gdb_port,
        wait=options.wait,
        append=options.append,
        disks=disks,
        network=options.network,
        share_model=model(run.share),
        sandbox=has_sandbox(),
    )
    chosen = accelerator(spec, needs, lambda: places_for(symbols_for(kernel)), report)
    spec = replace(spec, accelerator=chosen)
    if not spec.sandbox:
        report(Said("this QEMU runs without seccomp; `kernlab doctor` says what that means"))
    run.resolved(
        kernel=kernel.key,
        release=kernel.release,
        source=str(kernel.source),
        image=image.key,
        accelerator=spec.accelerator,
        network=spec.network,
    )
    try:
        with start(spec, run.sockets()) as machine:
            run.resolved(qemu=machine.child.pid, argv=list(machine.argv))
            yield machine
    finally:
        run.remove_sockets()


Beside = Callable[["Machine", ExitStack], None]


@contextmanager
def booted(
    setting: Setting,
    needs: tuple[str, ...] = ("boot",),
    beside: Beside | None = None,
    timed: bool = True,
) -> Iterator[Machine]:
    """A machine that takes commands, ended with the block. ``beside``: what is started while it
    boots; the stack ends it before the machine. ``timed``: what follows is judged, so a guest
    whose clock is wrong boots again, some times. Raises ``MachineFailed``."""
    from kernlab.vm.loss import WrongClock

    for more in reversed(range(_BOOTS)):
        with ExitStack() as stack:
            machine = stack.enter_context(machine_for(setting, needs))
            if beside is not None:
                beside(machine, stack)
            try:
                wait_ready(machine, setting.report, timed)
            except WrongClock as error:
                if not more:
                    raise
                setting.report(Said(f"{error.what}: {error.why}. It boots again"))
                continue
            yield machine
            return


def places_for(symbols: KernelSymbols) -> Places | None:
    """Where the tests of an accelerator look at a kernel; None for one without these places."""
    from kernlab.vm.mechanisms import Places

    holes = symbols.holes()
    entries = [symbols.map.text.get(name) for name in ("tcp_v4_rcv", "vfs_write")]
    if not all(entries):
        return None
    segment, call = (at[0] for at in entries if at)
    if holes is None:
        return Places(segment, call, None, None, None)
    return Places(segment, call, holes["code"], holes["watch"], holes["lock"])


def _disks(kernel: Kernel, image: Image, report: Reporter) -> tuple[Path, ...]:
    """An image's disk, and the kernel's headers for the tools on it that compile."""
    from kernlab.image.headers import headers

    if image.disk is None:
        return ()
    found = headers(kernel, report)
    return (image.disk, found) if found is not None else (image.disk,)


def wait_ready(machine: Machine, report: Reporter, timed: bool = False) -> None:
    """Wait for a machine's boot, with progress. ``timed``: what follows is judged, and must
    not run by a clock that is wrong. Raises ``MachineFailed``, ``WrongClock``."""
    from kernlab.vm.loss import WrongClock

    report(Started("boot the guest"))
    times = machine.wait_ready()
    report(Finished("boot the guest", f"{times.ready:.1f} s"))
    if times.fast > 1:
        wrong = WrongClock(times.fast)
        if timed:
            raise wrong
        report(Said(f"{wrong.what}, and time-outs in it come early: {wrong.why}"))
    for line in machine.console.tail():
        _, complained, what = line.partition(_COMPLAINT)
        if complained:
            report(Said(f"the guest cannot {what}: its console.log says why"))
