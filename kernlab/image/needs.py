"""What assembling the busybox image needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need
from kernlab.image.model import table

BUSYBOX = Need("busybox-static", "the image's shell and small tools", program="busybox")
NEEDS = (
    BUSYBOX,
    *(Need(row.package, row.why, program=row.name) for row in table().programs),
)
