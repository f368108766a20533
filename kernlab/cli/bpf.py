"""``kernlab bpf``: libbpf programs, built on the host and run in the guest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kernlab.cli import common, complete
from kernlab.cli.bootoptions import BootOptions, boot_options

if TYPE_CHECKING:
    from kernlab.bpf.check import Lack
    from kernlab.bpf.recipe import Recipe
    from kernlab.bpf.run import Work
    from kernlab.guest.bpf import BpfProgram
    from kernlab.kernel.model import Kernel
    from kernlab.progress import Reporter
    from kernlab.record.rundir import RunDir

app = typer.Typer(add_completion=False, no_args_is_help=True)
_NOT_FOUND = 127  # the shell's status, and the agent's, for a program that is not there

WHAT: str = typer.Argument(
    ...,
    metavar="NAME|DIR",
    autocompletion=complete.bpf_programs,
    help="A shipped program, or a directory with NAME.bpf.c and its loader NAME.c.",
)


@app.callback()
def group() -> None:
    """libbpf programs of your own, and four of ours, in the guest."""


@app.command("list")
def list_programs(json: common.JsonOption = False) -> int:
    """The programs that are shipped, and the recipes for tools of the Debian image."""
    from kernlab.bpf import recipe
    from kernlab.cli.main import show
    from kernlab.cli.output import print_json, stdout
    from kernlab.errors import BadInput
    from kernlab.guest.bpf import shipped_programs

    for one in shipped_programs():
        if json:
            print_json({"name": one.name, "title": one.title, "directory": str(one.directory)})
        else:
            stdout().print(f"  {one.name:<10} {one.title}")
    broken = []
    for name in recipe.names():
        try:
            title = recipe.find(name).title
        except BadInput as error:  # the others are none the worse for it
            broken.append(error)
            continue
        if json:
            print_json({"name": f"{recipe.PREFIX}{name}", "title": title})
        else:
            stdout().print(f"  {recipe.PREFIX}{name}\n{'':13}{title}")
    for one_error in broken:
        show(one_error)
    return BadInput.exit_status if broken else 0


@app.command("build")
def build(what: str = WHAT, kernel: common.KernelOption = None) -> int:
    """Build a program for a kernel: vmlinux.h from its BTF, skeleton, static link (cached)."""
    from kernlab.cli.output import reporter
    from kernlab.guest import bpf
    from kernlab.kernel.model import BuildRequest
    from kernlab.pipeline import kernel_for

    source = bpf.find(what)
    with reporter() as report:
        built = kernel_for(BuildRequest(version=kernel), report)
        program = bpf.build(source, built, report)
        _lacking(program, built, report)
    typer.echo(str(program.program))
    return 0


@app.command("run", context_settings={"ignore_unknown_options": False})
@boot_options("kernel", "add", "share", "cpus", "network")
def run(
    what: str = typer.Argument(
        ...,
        metavar="NAME|DIR|recipe:NAME",
        autocompletion=complete.bpf_runs,
        help="As for build; or a recipe, which names its own image and packets.",
    ),
    args: list[str] = typer.Argument(None, metavar="[-- ARGS...]", help="For the program."),
    workload: str | None = typer.Option(
        None,
        "--workload",
        metavar="W",
        autocompletion=complete.workloads,
        help="Run this while the program is attached, then end it; as in trace.",
    ),
    lab: str | None = typer.Option(
        None,
        "--lab",
        metavar="ID",
        autocompletion=complete.labs,
        help="The same with what a lab provokes.",
    ),
    timeout: float | None = typer.Option(
        None, "--timeout", metavar="S", help="Kill it after S seconds."
    ),
    out: common.OutOption = None,
    image: str | None = typer.Option(
        None,
        "--image",
        autocompletion=complete.images,
        help="What the guest boots into.  [default: busybox, or the recipe's]",
    ),
    memory: int | None = typer.Option(
        None,
        "--memory",
        min=128,
        metavar="MIB",
        help="Memory of the guest.  [default: 512, or the recipe's]",
    ),
    *,
    boot: BootOptions,
) -> int:
    """Build a program, boot, run it in the guest, end with its status.

    2: it does not compile. 125: kernlab itself failed. The verifier's words are made short; the
    run directory's verifier.log has all of them.
    """
    from functools import partial

    from kernlab.bpf import recipe
    from kernlab.bpf.complaints import Complaints
    from kernlab.bpf.run import crash, place, run_tool
    from kernlab.cli.output import reporter
    from kernlab.guest import bpf
    from kernlab.pipeline import Setting, machine_for, wait_ready

    if what.startswith(recipe.PREFIX):
        chosen = recipe.find(what)
        boot = replace(boot, image=image or chosen.image, memory=memory or chosen.memory)
        packets = (workload, lab) if workload or lab else (chosen.workload, chosen.lab)
        return _recipe(chosen, args or [], packets, timeout, out, boot)
    source = bpf.find(what)
    _check(workload, lab)
    boot = replace(boot, image=image or boot.image, memory=memory or boot.memory)
    with reporter() as report:
        built, guest = boot.artifacts(report)
        program = bpf.build(source, built, report)
        lacking = _lacking(program, built, report)
        directory = boot.new_run(out)
        setting = Setting(built, guest, boot.machine(), directory, report)
        argv = [place(program, directory), *(args or ())]
        work = _work(workload, lab, directory, report)
        said = Complaints(partial(common.write, 2), directory.path / "verifier.log")
        with machine_for(setting) as machine:
            wait_ready(machine, report)
            status = run_tool(
                argv, machine, directory, partial(common.write, 1), said.feed, work, timeout
            )
    said.close()
    directory.result(status=status)
    explained = said.explain(source.kernel_side, built.config) if status else None
    explained = explained or crash(status, source)
    if status and explained is None and lacking:
        one = lacking[0]
        explained = f"the kernel refuses {one.what}", one.says, one.instead
    if explained is not None:
        from kernlab.cli.main import show
        from kernlab.errors import BadInput

        show(BadInput(*explained))
    return status


@app.command("check")
def check(
    what: str = typer.Argument(
        ...,
        metavar="FILE|NAME|DIR",
        autocompletion=complete.bpf_programs,
        help="A libbpf tool or a BPF object; or a program as for build.",
    ),
    image: str | None = typer.Option(
        None,
        "--image",
        autocompletion=complete.images,
        help="The name of a tool of this image in place of a file: debian.",
    ),
    kernel: common.KernelOption = None,
) -> int:
    """What a program asks of a kernel and that one has not, without booting it.

    Ends with 1 when something is missing: the program may still get along without it.
    """
    import tempfile

    from kernlab.bpf.check import lacks, lacks_of
    from kernlab.cli.output import reporter, stdout
    from kernlab.config.paths import expanded
    from kernlab.errors import BadInput
    from kernlab.guest import bpf
    from kernlab.image.inside import copied_out
    from kernlab.image.model import ImageRequest
    from kernlab.kernel.model import BuildRequest
    from kernlab.pipeline import image_for, kernel_for

    path = expanded(what)
    own = image is None and (not path.is_file() or path.name.endswith(".c"))
    source = bpf.find(what) if own else None
    with reporter() as report, tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
        built = kernel_for(BuildRequest(version=kernel), report)
        if source is not None:
            path = bpf.build(source, built, report).object
        elif image is not None:
            path = copied_out(image_for(ImageRequest(image), report), what, Path(scratch))
        count, found = lacks(path, built)
        known = None if count else lacks_of(path.name, built)
    if known is not None:
        found = known
    elif not count:
        raise BadInput(
            f"{what} contains no BPF object",
            "only tools made with libbpf contain one; bpftrace and bcc compile their programs when "
            "they run",
            "kernlab bpf list",
        )
    for lack in found:
        stdout().print(f"{lack.what}: {lack.says}", style="bold")
        stdout().print(f"  instead: {lack.instead}")
    if not found:
        stdout().print(f"Linux {built.release} has all that it asks for")
    return 1 if found else 0


def _recipe(
    one: Recipe,
    args: list[str],
    packets: tuple[str | None, str | None],
    timeout: float | None,
    out: str | None,
    boot: BootOptions,
) -> int:
    """Run a recipe's tool while its packets flow, end with its status."""
    from functools import partial

    from kernlab.bpf.check import lacks_places
    from kernlab.bpf.recipe import Watch, place
    from kernlab.bpf.run import MARK, run_tool
    from kernlab.cli.output import reporter
    from kernlab.errors import BadInput
    from kernlab.pipeline import Setting, machine_for, wait_ready

    _check(*packets)
    with reporter() as report:
        built, guest = boot.artifacts(report)
        for lack in lacks_places(one.sections, built):
            raise BadInput(f"{lack.what}: {lack.says}", "the recipe's tool needs it", one.instead)
        directory = boot.new_run(out)
        setting = Setting(built, guest, boot.machine(), directory, report)
        argv = place(one, args, f"/mnt/share/{MARK}", directory)
        work = _work(*packets, directory, report)
        watch = Watch(one.ready, directory.share / MARK)
        said, errors = (watch.on(number, partial(common.write, number)) for number in (1, 2))
        with machine_for(setting) as machine:
            wait_ready(machine, report)
            status = run_tool(argv, machine, directory, said, errors, work, timeout, one.wait)
    directory.result(status=status)
    if status == _NOT_FOUND:
        from kernlab.cli.main import show

        tool = one.command[0] if one.command else "bpftrace"
        why = "configs/image-debian.yaml says where it is to come from"
        show(BadInput(f"the image has no {tool}", why, one.instead))
    return status


def _lacking(program: BpfProgram, kernel: Kernel, report: Reporter) -> list[Lack]:
    """What the program asks of the kernel in vain, told: it may get along without."""
    from kernlab.bpf.check import lacks
    from kernlab.progress import Said

    _, found = lacks(program.object, kernel)
    for lack in found:
        report(Said(f"{lack.what}: {lack.says}; {lack.instead}"))
    return found


def _check(workload: str | None, lab: str | None) -> None:
    """Refuse before anything is built. Raises ``BadInput``."""
    from kernlab.errors import BadInput
    from kernlab.lessons.lab import find
    from kernlab.trace import workloads

    if workload is not None and lab is not None:
        raise BadInput(
            "--workload and --lab together",
            "one thing makes the packets flow",
            "without --workload",
        )
    if workload is not None:
        workloads.find(workload)
    if lab is not None:
        find(lab)


def _work(workload: str | None, lab: str | None, run: RunDir, report: Reporter) -> Work | None:
    from kernlab.bpf.run import for_lab, for_workload

    if workload is not None:
        return for_workload(workload, run, report)
    if lab is not None:
        from kernlab.cli.lab import chosen

        return for_lab(chosen([lab], False)[0], run, report)
    return None
