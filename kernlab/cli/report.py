"""``kernlab report``: a run as one page."""

from __future__ import annotations

import typer

from kernlab.cli import complete
from kernlab.cli.lessons import LANG, language_of

app = typer.Typer(add_completion=False)


@app.command("report")
def report(
    name: str = typer.Argument(
        "latest",
        metavar="RUN",
        help="A run's id or directory, or latest.",
        autocompletion=complete.runs,
    ),
    show: bool = typer.Option(False, "--open", help="Open it in the browser."),
    lang: str = LANG,
) -> None:
    """Write a run's report.html and print its path.

    The page is one file that needs no network. It has sequence diagrams, each segment's way through
    the kernel, TCP's states and the verdict.
    """
    from kernlab.cli.output import stdout
    from kernlab.record.rundir import find
    from kernlab.report.write import SHOWN
    from kernlab.report.write import report as write

    path = write(find(name, latest_with=SHOWN), language_of(lang))
    stdout().print(str(path), soft_wrap=True, highlight=False)
    if show:
        import webbrowser

        webbrowser.open(path.as_uri())
