"""The commands of ``kernlab lab`` that only read: list, show, validate, docs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernlab.cli import common, complete

if TYPE_CHECKING:
    from kernlab.config.text import Language

app = typer.Typer(add_completion=False)

LANG: str = typer.Option("en", "--lang", metavar="LANG", help="en or zh (zh-CN).")
IdArgument = Annotated[str, typer.Argument(metavar="ID", autocompletion=complete.labs)]


def language_of(text: str) -> Language:
    from kernlab.errors import BadInput

    if text == "en":
        return "en"
    if text in ("zh", "zh-CN"):
        return "zh"
    raise BadInput(f"--lang {text}: there is no such language", "en, zh", "--lang zh")


@app.command("list")
def list_labs(lang: str = LANG, json: common.JsonOption = False) -> None:
    """List the labs by topic and level."""
    from kernlab.cli.output import print_json, stdout
    from kernlab.config.text import say
    from kernlab.lessons.lab import find, ids
    from kernlab.sinks.lessons import catalogue

    language = language_of(lang)
    labs = {name: find(name)[1] for name in ids()}
    if not json:
        catalogue(stdout(), labs, language)
        return
    for name, lab in labs.items():
        print_json(
            {
                "id": name,
                "topic": lab.topic,
                "level": lab.level,
                "title": say(lab.title, language),
                "families": lab.families,
                "variants": [then.id for then in lab.then],
            }
        )


@app.command("show")
def show(lab: IdArgument, lang: str = LANG) -> None:
    """Show a lesson: the idea, the functions of the kernel, the RFCs, what to predict."""
    from kernlab.cli.output import stdout
    from kernlab.lessons.lab import find
    from kernlab.sinks.lessons import lesson

    path, found = find(lab)
    lesson(stdout(), path.stem, found, language_of(lang))


@app.command("validate")
def validate(
    files: list[Path] = typer.Argument(..., metavar="FILE...", help="Lab files."),
    kernel: common.KernelOption = None,
) -> None:
    """Check lab files: report every error with its line, and similar names.

    If a kernel is built, the places that they probe are looked up in it.
    """
    from kernlab.config.yaml import load
    from kernlab.lab.probes import lacking
    from kernlab.lessons.lab import Lab
    from kernlab.lessons.lab_check import problems
    from kernlab.lessons.problems import refuse
    from kernlab.pipeline import built_kernel, symbols_for

    found = [one for path in files for one in problems(path)]
    built = built_kernel(kernel)
    if built is not None and not found:
        for path in files:
            wrong, notes = lacking(path, load(path, Lab), symbols_for(built))
            found += wrong
            for note in notes:
                typer.echo(f"note: {note}", err=True)
    refuse(found, "lab")
    against = (
        f", and Linux {built.release} has the places that they probe" if built is not None else ""
    )
    typer.echo(f"{len(files)} lab files are in order{against}")


@app.command("docs")
def docs(
    directory: Path = typer.Argument(
        Path("docs/labs"), metavar="[DIR]", help="The directory to write the pages to."
    ),
    check: bool = typer.Option(
        False, "--check", help="Write nothing; fail if a page is out of date."
    ),
) -> int:
    """Make a page for each lab, in English and in Chinese, from the labs' files."""
    from kernlab.config.paths import arriving_file
    from kernlab.errors import BadInput
    from kernlab.lessons.lab import find, ids
    from kernlab.lessons.pages import pages

    made = pages({name: find(name)[1] for name in ids()})
    stale = []
    for path, text in made.items():
        try:
            before = (directory / path).read_text("utf-8")
        except OSError:
            before = None
        if before != text:
            stale.append(str(path))
            if not check:
                with arriving_file(directory / path) as temporary:
                    temporary.write_text(text, "utf-8")
                (directory / path).chmod(0o644)
    gone = sorted(
        str(path.relative_to(directory))
        for path in directory.glob("*/*.md")
        if path.relative_to(directory) not in made
    )
    if check and (stale or gone):
        raise BadInput(
            f"{directory}: {len(stale) + len(gone)} pages are out of date",
            ", ".join((stale + gone)[:8]),
            "kernlab lab docs",
        )
    if not check:
        for name in gone:
            (directory / name).unlink()
    typer.echo(
        f"{len(made)} pages in {directory}, {len(stale)} written, {len(gone)} removed"
        if not check
        else f"{len(made)} pages are up to date"
    )
    return 0
