"""The options of every command that boots a guest, each of them once.

A command takes them as one value: ``@boot_options()`` puts their parameters where the command
has ``boot``, and gives it a ``BootOptions``.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from kernlab.cli import common, complete

if TYPE_CHECKING:
    from kernlab.image.model import Image
    from kernlab.kernel.model import Kernel
    from kernlab.pipeline import MachineOptions, Setting
    from kernlab.progress import Reporter
    from kernlab.record.rundir import RunDir
    from kernlab.vm.spec import Network

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class BootOptions:
    """What is booted, and what of the host the guest is given."""

    kernel: common.KernelOption = None
    image: Annotated[
        str,
        typer.Option(
            "--image",
            autocompletion=complete.images,
            help="What the guest boots into: busybox, or debian with bpftrace, bcc and others.",
        ),
    ] = "busybox"
    add: common.AddOption = field(default_factory=list)
    share: Annotated[
        list[Path],
        typer.Option(
            "--share",
            metavar="FILE",
            help="Copy a file, with its mode, into the guest's /mnt/share.",
        ),
    ] = field(default_factory=list)
    cpus: Annotated[int, typer.Option("--cpus", min=1, max=8, help="vCPUs of the guest.")] = 2
    memory: Annotated[
        int, typer.Option("--memory", min=128, metavar="MIB", help="Memory of the guest.")
    ] = 512
    network: Annotated[
        str,
        typer.Option(
            "--network",
            metavar="closed|open",
            help="open: the guest can reach the host's 127.0.0.1 and all that the host can reach.",
        ),
    ] = "closed"

    def machine(self) -> MachineOptions:
        """Raises ``BadInput``."""
        from kernlab.pipeline import MachineOptions

        return MachineOptions(self.cpus, self.memory, network=_network(self.network))

    def artifacts(self, report: Reporter) -> tuple[Kernel, Image]:
        """The kernel and the image, made when they are not there. Raises ``BadInput`` before
        that for what no machine has."""
        from kernlab import pipeline
        from kernlab.image.added import where
        from kernlab.image.model import ImageRequest
        from kernlab.kernel.model import BuildRequest
        from kernlab.progress import Said

        self.machine()
        built = pipeline.kernel_for(BuildRequest(version=self.kernel), report)
        made = pipeline.image_for(ImageRequest(self.image, tuple(self.add)), report)
        for argument in self.add:
            host, guest, told = where(argument)
            if not told:
                report(Said(f"--add {argument}: {host.name} is {guest} in the guest"))
        return built, made

    def setting(
        self,
        report: Reporter,
        out: str | None = None,
        made: tuple[Kernel, Image] | None = None,
        named: Iterable[Path] = (),
    ) -> Setting:
        """All that a command works in. ``made``: its kernel and image, where they were looked
        at before there was a run; ``named``: what else the command line named of files. Raises
        ``BadInput``."""
        from kernlab.image.added import where
        from kernlab.pipeline import Setting
        from kernlab.record.asked import asked
        from kernlab.record.rundir import RunDir

        kernel, image = made or self.artifacts(report)
        files = [*self.share, *(where(argument)[0] for argument in self.add), *named]
        words = ["kernlab", *sys.argv[1:]]
        run = RunDir.create(asked(words, files), Path(out) if out else None)
        _bring(self.share, run)
        return Setting(kernel, image, self.machine(), run, report)


def boot_options(*names: str, **fixed: Any) -> Callable[[_Command], _Command]:
    """Make of a command's keyword ``boot`` the options ``names``, in this order, or all of
    them; those in ``fixed`` have one value for this command and are no options of it."""
    hints = get_type_hints(BootOptions, include_extras=True)
    known = {one.name: one for one in fields(BootOptions)}
    chosen = names or tuple(name for name in known if name not in fixed)

    def parameter(name: str) -> inspect.Parameter:
        one = known[name]
        default = one.default if one.default is not MISSING else []
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, kind, default=default, annotation=hints[name])

    def declared(command: _Command) -> _Command:
        signature = inspect.signature(command)
        own = get_type_hints(command, include_extras=True)
        parameters = [
            one.replace(annotation=own[one.name])
            for one in signature.parameters.values()
            if one.name != "boot"
        ]
        parameters += [parameter(name) for name in chosen]

        @functools.wraps(command)
        def call(**values: Any) -> Any:
            given = {name: values.pop(name) for name in chosen}
            return command(**values, boot=BootOptions(**given, **fixed))

        call.__annotations__ = {one.name: one.annotation for one in parameters}
        vars(call)["__signature__"] = signature.replace(parameters=parameters)
        return call  # type: ignore[return-value]

    return declared


def _network(text: str) -> Network:
    from kernlab.errors import BadInput

    if text == "closed":
        return "closed"
    if text == "open":
        return "open"
    raise BadInput(f"--network {text}: there is no such network", "closed, open", "--network open")


def _bring(files: Sequence[Path], run: RunDir) -> None:
    """Copy what ``--share`` named. Raises ``BadInput`` before anything boots."""
    from kernlab.errors import BadInput
    from kernlab.vm.share import put, put_tree

    for path in files:
        try:
            if path.is_dir():
                put_tree(path, run.share)
            else:
                put(path, run.share)
        except OSError as error:
            run.remove()
            raise BadInput(
                f"--share {path}: cannot be copied", str(error.strerror), f"ls -l {path}"
            ) from error
