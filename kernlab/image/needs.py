"""What assembling images needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need
from kernlab.image.model import table

BUSYBOX = Need("busybox-static", "the image's shell and small tools", program="busybox")
DISK = (
    Need("mmdebstrap", "installs the Debian image's packages without root", program="mmdebstrap"),
    Need("fakeroot", "keeps their owners without root", program="fakeroot"),
    Need("e2fsprogs", "makes the Debian image's file system", program="mke2fs"),
)
BUSYBOX_IMAGE = (
    BUSYBOX,
    *(Need(row.package, row.why, program=row.name) for row in table().programs),
)
# Not asked for by who makes a disk: root does without, and so does a host with fakechroot.
UNPRIVILEGED = Need(
    "uidmap", "a range of ids for the Debian image's files, without root", program="newuidmap"
)
NEEDS = (*BUSYBOX_IMAGE, *DISK, UNPRIVILEGED)
