"""The kernel's own lx-* commands, loaded from a copy that Python can read.

scripts/gdb/linux/constants.py is made by the C preprocessor. Where a constant is spelled as
C spells it (``LX_SB_RDONLY = ((1UL) << 0)``, since BIT() is used for it) Python refuses the
file, and with it all of lx-*. So the scripts are copied into the run directory, their
constants are mended, and each module is loaded by itself: one that fails costs its own
commands only.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from typing import List

# A number with C's suffixes, or a text, which stays as it is: GDB evaluates it as C.
_NUMBER_OR_TEXT = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|\b(0[xX][0-9a-fA-F]+|\d+)(?:[uU][lL]{0,2}|[lL]{1,2}[uU]?)\b"""
)
_OCTAL = re.compile(r"^0([0-7]+)$")
_IMPORT = re.compile(r"^\s*import (linux\.\w+)\s*$", re.MULTILINE)


def mend(text: str) -> str:
    """constants.py with C's numbers made Python's; a line that is no Python even then is
    left out, as a comment."""
    lines = []
    for line in text.splitlines():
        line = _NUMBER_OR_TEXT.sub(lambda m: m.group(1) or _python(m.group(2)), line)
        if line.strip() and not line.startswith((" ", "\t", "#")) and not line.endswith(":"):
            try:
                compile(line, "constants.py", "exec")
            except SyntaxError:
                line = "# not Python: " + line
        lines.append(line)
    return "\n".join(lines) + "\n"


def _python(number: str) -> str:
    octal = _OCTAL.match(number)
    return "0o" + octal.group(1) if octal else number


def copy(kernel: str, to: str) -> List[str]:
    """Copy a kernel's scripts to the directory ``to``, mended; the modules they are made of.

    Raises ``OSError`` for a kernel that has none (CONFIG_GDB_SCRIPTS is off).
    """
    with open(os.path.join(kernel, "vmlinux-gdb.py"), encoding="utf-8") as file:
        modules = _IMPORT.findall(file.read())
    source, target = os.path.join(kernel, "scripts", "gdb", "linux"), os.path.join(to, "linux")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    constants = os.path.join(target, "constants.py")
    if os.path.exists(constants):
        with open(constants, encoding="utf-8") as file:
            text = mend(file.read())
        with open(constants, "w", encoding="utf-8") as file:
            file.write(text)
    return modules


def load(kernel: str, to: str) -> List[str]:
    """Load the lx-* commands; what could not be loaded, a line each."""
    try:
        modules = copy(kernel, to)
    except OSError as error:
        return ["lx-*: this kernel has no GDB scripts (%s)" % error]
    sys.path.insert(0, to)
    failed = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            failed.append("lx-*: %s could not be loaded: %s" % (module, error))
    return failed
