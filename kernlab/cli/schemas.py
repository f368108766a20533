"""The file formats that a user may write, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def models() -> dict[str, type[BaseModel]]:
    """The model of each file or directory in configs/, by its name without .yaml."""
    from kernlab.bpf.complaints import BpfTable
    from kernlab.bpf.recipe import Recipe
    from kernlab.config.packages import PackageTable
    from kernlab.image.model import BusyboxTable, DebianTable
    from kernlab.kernel.catalogue import Catalogue
    from kernlab.kernel.known import KnownTable
    from kernlab.lessons.lab import Lab
    from kernlab.lessons.locks import LockTable
    from kernlab.lessons.race import Race
    from kernlab.reasons.model import Reason
    from kernlab.reasons.watch import RstTable
    from kernlab.record.fields import FieldTable
    from kernlab.sinks.fold import FrameTable
    from kernlab.symbols.sites import SiteTable
    from kernlab.trace.presets import Preset
    from kernlab.trace.workloads import WorkloadTable

    return {
        "kernels": Catalogue,
        "workloads": WorkloadTable,
        "presets": Preset,  # each file of the directory
        "labs": Lab,
        "races": Race,
        "reasons": Reason,
        "rst": RstTable,
        "sites": SiteTable,
        "frames": FrameTable,
        "fields": FieldTable,
        "image-busybox": BusyboxTable,
        "image-debian": DebianTable,
        "packages": PackageTable,
        "known": KnownTable,
        "locks": LockTable,
        "bpf": BpfTable,
        "recipes": Recipe,
    }


def schemas() -> dict[str, object]:
    """Kind → JSON Schema."""
    from kernlab.record.event import json_schema

    return {"event": json_schema(), **{k: m.model_json_schema() for k, m in models().items()}}
