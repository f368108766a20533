"""A directory as an ext4 image, by mke2fs -d: no root, no mount. The guest reads it only."""

from __future__ import annotations

from pathlib import Path

from kernlab.process import need


def command(tree: Path, out: Path, label: str, megabytes: int, bytes_per_inode: int) -> list[str]:
    """mke2fs's command line (mke2fs(8)); ``tree`` and ``out`` as it will see them. Run under
    fakeroot, the files keep their owners. Raises ``HostLacks``."""
    mke2fs = need("mke2fs", "makes the image's file system", "e2fsprogs")
    # A journal and room to grow are for what is written to.
    return [mke2fs, "-q", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-m", "0",
            "-i", str(bytes_per_inode), "-L", label, "-d", str(tree), str(out),
            f"{megabytes}M"]  # fmt: skip
