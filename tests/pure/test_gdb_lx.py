"""The kernel's own GDB scripts, mended: what the C preprocessor leaves, Python must read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdb_scripts.lx import copy, mend

# Lines of a 5.10.262's scripts/gdb/linux/constants.py, and what else C may leave there.
MADE = """import gdb
if 1:
    LX_CLK_GET_RATE_NOCACHE = gdb.parse_and_eval("((((1UL))) << (6))")
LX_SB_RDONLY = ((((1UL))) << (0))
LX_SB_DIRSYNC = ((((1UL))) << (7))
LX_MNT_NOSUID = 0x01
LX_MNT_BIG = 0xFFULL
LX_MODE = 0755u
LX_STRANGE = (sizeof(struct page) * 2)
LX_OF_DT_HEADER = 0xd00dfeed
"""


def test_c_numbers_become_pythons_and_texts_stay() -> None:
    mended = mend(MADE)
    found: dict[str, object] = {}
    told: list[str] = []
    code = mended.replace("import gdb", "").replace("gdb.parse_and_eval", "parse")
    exec(code, {"parse": lambda text: told.append(text)}, found)
    assert told == ["((((1UL))) << (6))"]
    assert (found["LX_SB_RDONLY"], found["LX_SB_DIRSYNC"]) == (1, 128)
    assert (found["LX_MNT_NOSUID"], found["LX_MNT_BIG"], found["LX_MODE"]) == (1, 255, 0o755)
    assert found["LX_OF_DT_HEADER"] == 0xD00DFEED
    assert "LX_STRANGE" not in found
    assert "# not Python: LX_STRANGE" in mended


def test_what_python_reads_already_is_not_touched() -> None:
    text = "import gdb\nLX_A = 10\nLX_B = 0x1f\nLX_C = gdb.parse_and_eval('10UL')\n"
    assert mend(text) == text


def test_a_copy_is_mended_and_the_kernels_own_left_alone(tmp_path: Path) -> None:
    scripts = tmp_path / "kernel/scripts/gdb/linux"
    scripts.mkdir(parents=True)
    loader = "try:\n    pass\nelse:\n    import linux.utils\n    import linux.constants\n"
    (tmp_path / "kernel/vmlinux-gdb.py").write_text(loader)
    (scripts / "utils.py").write_text("x = 1\n")
    (scripts / "constants.py").write_text(MADE)
    modules = copy(str(tmp_path / "kernel"), str(tmp_path / "lx"))
    assert modules == ["linux.utils", "linux.constants"]
    assert (scripts / "constants.py").read_text() == MADE
    compile((tmp_path / "lx/linux/constants.py").read_text(), "constants.py", "exec")


def test_a_kernel_without_scripts_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"vmlinux-gdb\.py"):
        copy(str(tmp_path), str(tmp_path / "lx"))
