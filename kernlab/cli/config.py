"""``kernlab config``: schemas for editors, a check of files, the man page."""

from __future__ import annotations

from pathlib import Path

import typer

from kernlab.cli import complete

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def group() -> None:
    """Print schemas, the expression language, the man page; check files."""


@app.command("schema")
def schema(
    what: str | None = typer.Argument(
        None,
        metavar="[KIND]",
        help="event, or a file of configs/: kernels, workloads, sites, …",
        autocompletion=complete.schemas,
    ),
    every: Path | None = typer.Option(
        None, "--all", metavar="DIR", help="Write every kind's schema into DIR instead."
    ),
) -> None:
    """Print the JSON Schema of a file format.

    The first line of each file in configs/ names its schema for editors that have
    yaml-language-server. Try: kernlab config schema kernels
    """
    from kernlab.cli.schemas import schemas
    from kernlab.config.yaml import unknown
    from kernlab.errors import BadInput

    known = schemas()
    if every is not None:
        try:
            every.mkdir(parents=True, exist_ok=True)
            for name, value in known.items():
                (every / f"{name}.json").write_text(_text(value), "utf-8")
        except OSError as error:
            raise BadInput(
                f"--all {every}: cannot be written", str(error.strerror), f"ls -ld {every}"
            ) from error
        typer.echo(f"{len(known)} schemas in {every}")
        return
    if what not in known:
        title = f"there is no schema '{what}'" if what else "which schema?"
        raise unknown(title, what or "", known, "kernlab config schema event")
    typer.echo(_text(known[what]), nl=False)


@app.command("validate")
def validate(
    files: list[Path] = typer.Argument(..., metavar="FILE...", help="Named as in configs/."),
) -> None:
    """Check files of your own: report every error with its line.

    A file is checked by its name. Try: kernlab config validate
    ~/.local/share/kernlab/configs/*.yaml
    """
    import shlex

    from kernlab.cli.schemas import models
    from kernlab.config.yaml import WrongFile, load, near
    from kernlab.errors import BadInput
    from kernlab.sinks.console import safe_lines

    known = models()
    problems: list[str] = []
    wrong: list[Path] = []
    for path in files:
        model = known.get(path.absolute().parent.name) or known.get(path.stem)
        if model is None:
            close = near(path.stem, known)
            hint = f"did you mean {close[0]}.yaml?" if close else f"known: {', '.join(known)}"
            problems.append(f"{path}: no file of configs/ has this name; {hint}")
            wrong.append(path)
            continue
        try:
            load(path, model)
        except BadInput as error:
            problems += error.lines if isinstance(error, WrongFile) else [error.what]
            wrong.append(path)
        else:
            typer.echo(safe_lines(f"{path}: good"))
    if problems:
        count = len(problems)
        raise BadInput(
            f"{count} error{'s' if count > 1 else ''}",
            "\n".join(problems),
            f"edit {' '.join(shlex.quote(str(path)) for path in wrong)}",
        )


@app.command("man")
def man() -> None:
    """Print the man page, made from the commands themselves.

    Try: kernlab config man | man -l -
    """
    from kernlab.cli.man import page

    typer.echo(page(), nl=False)


@app.command("expressions")
def expressions() -> None:
    """Print the page of the expression language: its operators, and every field with its type,
    meaning and an example.

    Try: kernlab config expressions | less
    """
    from kernlab.record.fields import page

    typer.echo(page(), nl=False)


def _text(value: object) -> str:
    import json

    return json.dumps(value, indent=1) + "\n"
