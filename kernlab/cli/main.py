"""The door: finds a command's module, runs it, and turns every error into words and a status."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import typer
from typer.core import TyperGroup

from kernlab import __version__
from kernlab.cli import ends
from kernlab.cli.commands import COMMANDS, command, help_text
from kernlab.cli.errors import show
from kernlab.errors import HostLacks, KernlabError, ReaderGone, called

# What a wrong command line raises: click's class, of which newer typers bring their own copy.
ClickException: Any = typer.BadParameter.__mro__[2]


class _Lazy(TyperGroup):
    """Imports a command's module when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        return command(cmd_name) if _is_called(cmd_name) else _stub(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.help = help_text(self.help)
        super().format_help(ctx, formatter)


def _is_called(name: str) -> bool:
    """Whether the command is on the command line, or on the one that a shell completes.

    If not, the group's own help or names are drawn: then a name and a line are enough.
    """
    completed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
    return name in sys.argv or name in completed.split()


def _stub(name: str) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name, help=COMMANDS[name][1])(lambda: None)
    return typer.main.get_command(app)


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done, 1 verdict failed, 2 bad input, 3 the host lacks something, "
    "4 the machine failed, 130 interrupted.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"kernlab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show the commands kernlab runs."),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """A lab for the Linux network stack: build a 5.x kernel, boot it, watch packets, sockets
    and call stacks pass a function.

    Try: kernlab trace tcp_v4_rcv
    """
    if verbose:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        logging.getLogger().handlers[0].setFormatter(_Shown("%(name)s: %(message)s"))


class _Shown(logging.Formatter):
    """Log lines hold paths and what programs said: a terminal must not act on them."""

    def format(self, record: logging.LogRecord) -> str:
        from kernlab.sinks.console import safe_lines

        return safe_lines(super().format(record))


def main() -> None:
    """Run the command line and exit. No traceback reaches a user."""
    ends.prepare()
    # A completion script is for a name on PATH, which a checkout's script is not.
    completes = (
        any("completion" in word for word in sys.argv[1:2]) or "_KERNLAB_COMPLETE" in os.environ
    )
    name = None if completes else called()
    status = _status_of(lambda: app(prog_name=name, standalone_mode=False))
    # What is still in the buffer can fail as any output can; Python would end with 120.
    sys.exit(_status_of(sys.stdout.flush) or status)


def _status_of(call: Callable[[], Any]) -> int:
    """The exit status of what is called; its error told in words."""
    failed = 125 if "run" in sys.argv[1:2] else None
    try:
        status = call()
        return status if isinstance(status, int) else 0
    except KernlabError as error:
        show(error)
        return failed or _status(error)
    except ReaderGone:
        return 0
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except typer.Exit as error:
        return int(error.exit_code)
    except ClickException as error:
        _wrong_line(error)
        return failed or 2
    except SystemExit as error:
        if ends.reader_gone(error):
            ends.print_to_nobody()
            return 0
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except OSError as error:
        if ends.reader_gone(error):
            # The reader of our output went away (head): nothing to say, and nobody to say it to.
            ends.print_to_nobody()
            return 0
        known = _of_the_host(error)
        if known is None:
            _bug(error)
        else:
            show(known)
        if error.filename == "stdout":
            ends.print_to_nobody()
        return failed or (3 if known else 4)
    except BaseException as error:
        _bug(error)
        return failed or 4


# What the host did not give, wherever it was asked for: no bug of ours.
_HOST = {
    errno.ENOSPC: "kernlab clean runs",
    errno.EDQUOT: "kernlab clean runs",
    errno.EROFS: "set KERNLAB_HOME to a directory you can write to",
    errno.EACCES: "set KERNLAB_HOME to a directory you can write to",
    errno.EPERM: "set KERNLAB_HOME to a directory you can write to",
    errno.ENOMEM: "free memory, or give a smaller --memory",
    errno.EMFILE: "ulimit -n 4096",
    errno.ENFILE: "close other programs",
    errno.EAGAIN: "ulimit -u unlimited",
}


def _of_the_host(error: OSError) -> KernlabError | None:
    """The error in words where the host is to blame: its disk, rights, memory or limits."""
    if isinstance(error, FileNotFoundError) and not _here():
        return HostLacks(
            "the current directory does not exist any more",
            "it was removed after you entered it",
            "cd",
        )
    step = _HOST.get(error.errno or 0)
    if error.filename == "stdout":
        step = "write stdout to another place"
    if step is None:
        return None
    place = f"{error.filename}: " if error.filename else ""
    why = "the host refused it"
    if step == _HOST[errno.ENOSPC]:
        why = "the disk is full; KERNLAB_HOME may name a directory on a larger one"
    return HostLacks(f"{place}{error.strerror}", why, step)


def _here() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _status(error: KernlabError) -> int:
    """An error's exit status; what fails after the boot of `bpf run` is told from the
    program's own status."""
    late = sys.argv[1:3] == ["bpf", "run"] and error.exit_status > 3
    return 125 if late else error.exit_status


def _wrong_line(error: Any) -> None:
    """What click says of a wrong command line, which it quotes."""
    import io

    from kernlab.sinks.console import safe_lines

    said = io.StringIO()
    error.show(said)
    sys.stderr.write(safe_lines(said.getvalue()))


def _bug(error: BaseException) -> None:
    """An error nobody foresaw: its traceback goes to a file, and the user is told where."""
    import traceback

    from kernlab.config.paths import home

    where = "no file: the home directory cannot be written"
    with suppress(OSError):
        path = home() / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(sys.argv) + "\n" + "".join(traceback.format_exception(error)))
        where = str(path)
    show(
        KernlabError(
            f"kernlab has a bug: {type(error).__name__}: {error}",
            f"the details are in {where}",
            "report it with that file",
        )
    )
