"""A directory as an ext4 image, by mke2fs -d: no root, no mount. The guest reads it only."""

from __future__ import annotations

import struct
from pathlib import Path

from kernlab.process import need

_SUPERBLOCK, _MAGIC = 1024, 0xEF53  # fs/ext4/ext4.h, struct ext4_super_block


def complete(image: Path) -> bool:
    """Whether a file is an ext4 image with all its blocks."""
    try:
        with image.open("rb") as file:
            file.seek(_SUPERBLOCK)
            head = file.read(58)
        blocks, log, magic = struct.unpack("<4xI16xI28xH", head)
        return bool(magic == _MAGIC and image.stat().st_size >= blocks << (10 + log))
    except (OSError, struct.error):
        return False


def command(tree: Path, out: Path, label: str, megabytes: int, bytes_per_inode: int) -> list[str]:
    """mke2fs's command line (mke2fs(8)); ``tree`` and ``out`` as it will see them. Run under
    fakeroot, the files keep their owners. Raises ``HostLacks``."""
    mke2fs = need("mke2fs", "makes the image's file system", "e2fsprogs")
    # A journal and room to grow are for what is written to.
    return [
        mke2fs,
        "-q",
        "-t",
        "ext4",
        "-O",
        "^has_journal,^resize_inode",
        "-m",
        "0",
        "-i",
        str(bytes_per_inode),
        "-L",
        label,
        "-d",
        str(tree),
        str(out),
        f"{megabytes}M",
    ]
