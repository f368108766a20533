"""``kernlab config``: schemas for editors."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def group() -> None:
    """Schemas for editors."""


@app.command("schema")
def schema(
    what: str = typer.Argument(..., help="event, kernels, workloads, sites, frames."),
) -> None:
    """Print the JSON Schema of a file format."""
    import json

    from kernlab.config.yaml import near
    from kernlab.errors import BadInput

    known = _schemas()
    if what not in known:
        close = near(what, known)
        raise BadInput(
            f"there is no schema '{what}'",
            f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}",
            "kernlab config schema event",
        )
    typer.echo(json.dumps(known[what], indent=1))


def _schemas() -> dict[str, object]:
    from pydantic import BaseModel

    from kernlab.image.model import BusyboxTable
    from kernlab.kernel.catalogue import Catalogue
    from kernlab.record.event import json_schema
    from kernlab.sinks.fold import FrameTable
    from kernlab.symbols.sites import SiteTable
    from kernlab.trace.presets import Preset
    from kernlab.trace.workloads import WorkloadTable

    models: dict[str, type[BaseModel]] = {
        "kernels": Catalogue,
        "workloads": WorkloadTable,
        "preset": Preset,
        "sites": SiteTable,
        "frames": FrameTable,
        "image-busybox": BusyboxTable,
    }
    return {"event": json_schema(), **{k: m.model_json_schema() for k, m in models.items()}}
