"""vmlinux's ORC sections → the file that ``kernlab.decode.arch.orc`` reads inside GDB.

Two things differ between kernels and are found by looking, not by version: whether
``struct orc_entry`` still has its ``end`` bit (dropped with fb799447ae29, v6.4, which
also renumbered the types), and whether an indirect row's offset is added before or
after the load (aafeb14e9da2, v5.12, came together with inline stack switching, which
removed asm_call_on_stack).
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Mapping
from pathlib import Path

from elftools.elf.elffile import ELFFile

from kernlab.decode.arch import orc
from kernlab.errors import BadInput

_OLD_KINDS = {0: orc.CALL, 1: orc.REGS, 2: orc.REGS_PARTIAL}
_NEW_KINDS = {0: orc.END, 1: orc.END, 2: orc.CALL, 3: orc.REGS, 4: orc.REGS_PARTIAL}


def write(vmlinux: Path, out: Path, has_end_bit: bool, symbols: Mapping[str, object]) -> None:
    """Write the table of ``vmlinux`` to ``out``, sorted by address.

    Raises ``BadInput`` for a kernel built without CONFIG_UNWINDER_ORC.
    """
    with vmlinux.open("rb") as file:
        elf = ELFFile(file)
        ips = elf.get_section_by_name(".orc_unwind_ip")
        entries = elf.get_section_by_name(".orc_unwind")
        if ips is None or entries is None:
            raise BadInput(
                f"{vmlinux} has no ORC unwind tables",
                "kernlab reads call stacks with them; CONFIG_UNWINDER_ORC is off in this kernel",
                "kernlab build --set CONFIG_UNWINDER_ORC=y",
            )
        relative = array("i")
        relative.frombytes(ips.data())
        raw = entries.data()
        start = ips["sh_addr"]
    rows = sorted(
        (start + 4 * index + offset, *struct.unpack_from("<hhH", raw, 6 * index))
        for index, offset in enumerate(relative)
    )
    base = rows[0][0]
    at, packed = array("I"), array("h")
    for address, sp_offset, bp_offset, bits in rows:
        if has_end_bit:
            kind = orc.END if bits >> 10 & 1 and not bits & 15 else _OLD_KINDS[bits >> 8 & 3]
        else:
            kind = _NEW_KINDS[bits >> 8 & 7]
        at.append(address - base)
        packed.extend((sp_offset, bp_offset, bits & 0xFF, kind))
    if sys.byteorder != "little":
        at.byteswap()
        packed.byteswap()
    header = {
        "count": len(at),
        "base": base,
        "end": rows[-1][0] + 4096,
        "indirect_adds_after": "asm_call_on_stack" not in symbols
        and "asm_call_irq_on_stack" not in symbols,
    }
    with out.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n" + at.tobytes() + packed.tobytes())
