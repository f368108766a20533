"""``kernlab bpf``: libbpf programs, built on the host and run in the guest."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import typer

from kernlab.cli import common, complete
from kernlab.cli.bootoptions import BootOptions, boot_options

if TYPE_CHECKING:
    from kernlab.vm.channel import Sink

app = typer.Typer(add_completion=False, no_args_is_help=True)

WHAT: str = typer.Argument(
    ...,
    metavar="NAME|DIR",
    autocompletion=complete.bpf_programs,
    help="A shipped program, or a directory with NAME.bpf.c and its loader NAME.c.",
)


@app.callback()
def group() -> None:
    """Build libbpf programs and run them in the guest."""


@app.command("list")
def list_programs(json: common.JsonOption = False) -> int:
    """List the programs that are shipped, and the recipes for tools of the Debian image."""
    from kernlab.bpf import recipe
    from kernlab.cli.errors import show
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
    from kernlab.bpf import live
    from kernlab.cli.output import reporter
    from kernlab.guest import bpf
    from kernlab.kernel.model import BuildRequest
    from kernlab.pipeline import kernel_for

    source = bpf.find(what)
    with reporter() as report:
        built = kernel_for(BuildRequest(version=kernel), report)
        program = live.build(source, built, report).program
    typer.echo(str(program.program))
    return 0


@app.command("run", context_settings={"ignore_unknown_options": False})
@boot_options("kernel", "add", "share", "cpus", "network")
def run(
    what: str = typer.Argument(
        ...,
        metavar="NAME|DIR|recipe:NAME",
        autocompletion=complete.bpf_runs,
        help="A program as for build, or a recipe, which names its own image and workload.",
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
        help="The same, with a lab in place of the workload.",
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
    """Build a program, boot a guest, run the program in it, exit with its status.

    Status 2: it does not compile. 125: kernlab itself failed. The verifier's log is shortened;
    verifier.log in the run directory has all of it.
    """
    from kernlab.bpf import live, recipe
    from kernlab.cli.errors import show
    from kernlab.cli.output import reporter
    from kernlab.guest import bpf

    words = args or []
    if what.startswith(recipe.PREFIX):
        tool = recipe.find(what)
        named = (workload, lab) if workload or lab else (tool.workload, tool.lab)
        packets = live.packets_of(*named)
        boot = replace(boot, image=image or tool.image, memory=memory or tool.memory)
        with reporter() as report:
            made = boot.artifacts(report)
            live.require(tool, made[0])
            setting = boot.setting(report, out, made)
            ended = live.run_recipe(tool, words, setting, packets, timeout, _output)
    else:
        source = bpf.find(what)
        packets = live.packets_of(workload, lab)
        boot = replace(boot, image=image or boot.image, memory=memory or boot.memory)
        with reporter() as report:
            made = boot.artifacts(report)
            built = live.build(source, made[0], report)
            setting = boot.setting(report, out, made, [source.kernel_side, source.loader])
            ended = live.run_program(built, words, setting, packets, timeout, _output)
    if ended.said is not None:
        show(ended.said)
    return ended.status


def _output(number: int) -> Sink:
    return partial(common.write, number)


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
        help="Check a tool of this image (debian), named in place of a file.",
    ),
    kernel: common.KernelOption = None,
) -> int:
    """Check what a program needs that a kernel does not have, without booting it.

    Exits with 1 if something is missing; the program may still work without it.
    """
    import tempfile
    from pathlib import Path

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
        stdout().print(f"Linux {built.release} has everything that it needs")
    return 1 if found else 0
