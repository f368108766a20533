"""The kernel's accessors and member macros, made known to GDB.

GDB expands macros of its user's in every C expression (``macro define``), so that kernel C
works as it is written, in ours and in the user's own: ``p tcp_sk(sk)->snd_cwnd``.
"""

from __future__ import annotations

from typing import List

import gdb

from kernlab.decode.macros import ACCESSORS, MEMBERS, NUMBERS


def define() -> None:
    """Define all that this kernel's types bear out: a name that is a member itself stays one."""
    for name, accessor in ACCESSORS.items():
        _define("%s(%s) %s" % (name, ", ".join(accessor.parameters), accessor.text))
    real = _members(list(MEMBERS))
    for names in MEMBERS.values():
        for name, text in names.items():
            if name not in real:
                _define("%s %s" % (name, text))
    for name, number in NUMBERS.items():
        _define("%s %d" % (name, number))


def _define(text: str) -> None:
    gdb.execute("macro define " + text, to_string=True)


def _members(structs: List[str]) -> "set[str]":
    """The members that these structures really have, by their own names."""
    found = set()
    for struct in structs:
        try:
            fields = gdb.lookup_type("struct " + struct).fields()
        except gdb.error:
            continue
        found |= {field.name for field in fields if field.name}
    return found


def expanded(text: str) -> str:
    """An expression with its macros written out."""
    said: str = gdb.execute("macro expand " + text, to_string=True)
    return said.replace("expands to:", "", 1).strip()
