"""The built kernel, and GDB's reading of it. No boot, but a real build."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from damages import DAMAGES
from elftools.elf.elffile import ELFFile

from kernlab import pipeline
from kernlab.errors import BadInput, WeFailed
from kernlab.kernel.build import build
from kernlab.kernel.model import BuildRequest, Kernel
from kernlab.progress import Advanced, Report, quiet
from kernlab.symbols.kernel import KernelFiles, KernelSymbols
from kernlab.trace.plan import make
from kernlab.trace.request import TraceRequest


@pytest.fixture(scope="module")
def symbols(kernel: Kernel) -> KernelSymbols:
    return pipeline.symbols_for(kernel)


def gdb(kernel: Kernel, *commands: str, scripts: bool = False) -> str:
    """What GDB says; with ``scripts``, the kernel's own lx-* commands are loaded first."""
    load = f"add-auto-load-safe-path {kernel.path}" if scripts else "set auto-load no"
    argv = ["gdb", "-nx", "-q", "-batch", "-iex", load]
    for command in commands:
        argv += ["-ex", command]
    said = subprocess.run([*argv, str(kernel.vmlinux)], capture_output=True, text=True)
    return said.stdout + said.stderr


def test_vmlinux_keeps_btf_build_id_and_unwind_tables(kernel: Kernel) -> None:
    with kernel.vmlinux.open("rb") as file:
        elf = ELFFile(file)
        for name in (".BTF", ".debug_info", ".orc_unwind"):
            assert elf.get_section_by_name(name) is not None, name
    notes = subprocess.check_output(["readelf", "-n", kernel.vmlinux], text=True)
    assert kernel.build_id in notes


def test_gdb_shows_the_source_of_this_very_tree(kernel: Kernel) -> None:
    said = gdb(kernel, "list tcp_v4_rcv", "info source")
    assert "int tcp_v4_rcv(struct sk_buff *skb)" in said
    assert f"Located in {kernel.source}/net/ipv4/tcp_ipv4.c" in said


def test_generated_headers_are_where_debug_info_names_them(kernel: Kernel) -> None:
    said = gdb(kernel, "info sources syscalls_64")
    for path in re.findall(r"/\S+syscalls_64\.h", said):
        assert Path(path).is_file(), path


def test_the_kernels_own_gdb_scripts_load(kernel: Kernel) -> None:
    assert "lx-ps" in gdb(kernel, "apropos lx-ps", scripts=True)


def test_a_vanished_option_ends_the_build_at_once(kernel: Kernel) -> None:
    seen: list[Report] = []
    request = BuildRequest(version=kernel.version, sets=("CONFIG_BT_RFCOMM=y",))
    with pytest.raises(BadInput) as caught:
        build(request, seen.append)
    assert "--set CONFIG_BT_RFCOMM=y:1: CONFIG_BT_RFCOMM was to be y" in caught.value.why
    assert "became n; unmet: BT" in caught.value.why
    assert not [report for report in seen if isinstance(report, Advanced)]


def test_a_second_call_finds_the_kernel(kernel: Kernel) -> None:
    seen: list[Report] = []
    assert build(BuildRequest(version=kernel.version), seen.append) == kernel
    assert seen == []


def test_a_patch_that_does_not_apply_is_named(kernel: Kernel, tmp_path: Path) -> None:
    patch = tmp_path / "bad.patch"
    patch.write_text("--- a/Makefile\n+++ b/Makefile\n@@ -1,1 +1,1 @@\n-no such line\n+x\n")
    with pytest.raises(BadInput, match=r"bad\.patch does not apply"):
        build(BuildRequest(version=kernel.version, patches=(patch,)), quiet)
    assert "no such line" not in (kernel.source / "Makefile").read_text()


def test_a_build_error_shows_the_compilers_first_line(kernel: Kernel, tmp_path: Path) -> None:
    first = (kernel.source / "init" / "main.c").read_text().splitlines()[0]
    patch = tmp_path / "broken.patch"
    patch.write_text(
        f"--- a/init/main.c\n+++ b/init/main.c\n@@ -1,1 +1,2 @@\n {first}\n+this is no C;\n"
    )
    request = BuildRequest(version=kernel.version, patches=(patch,))
    before = set(kernel.path.parent.iterdir())  # somebody else may be building, too
    with pytest.raises(WeFailed) as caught:
        build(request, quiet)
    assert "init/main.c:2:" in caught.value.why
    assert "error: " in caught.value.why
    work = (f".build-{kernel.version}-", f".source-{kernel.version}-")
    left = {p for p in kernel.path.parent.iterdir() if p.name.startswith(work)}
    assert left - before == set()


def test_structures_are_as_gdb_prints_them(kernel: Kernel, symbols: KernelSymbols) -> None:
    structs = symbols.layout()["structs"]
    assert isinstance(structs, dict)
    for struct, member in (
        ("sk_buff", "head"),
        ("sock", "__sk_common.skc_state"),
        ("tcp_sock", "snd_cwnd"),
        ("task_struct", "comm"),
    ):
        said = gdb(kernel, f"p/d (long)&((struct {struct} *)0)->{member}")
        assert structs[struct]["members"][member][0] == int(said.split("=")[1]), member


def test_arguments_are_in_the_registers_of_the_abi(symbols: KernelSymbols) -> None:
    (function,) = symbols.functions(["tcp_v4_do_rcv"])
    assert [(a.name, a.register, a.kind) for a in function.args] == [
        ("sk", "rdi", "pointer"),
        ("skb", "rsi", "pointer"),
    ]
    assert function.file == "net/ipv4/tcp_ipv4.c"


def test_an_enumeration_has_the_names_that_gdb_says(kernel: Kernel, symbols: KernelSymbols) -> None:
    found = symbols.dwarf.enum("tcp_ca_state")
    assert found[4] == "TCP_CA_Loss"
    for value, name in found.items():
        assert gdb(kernel, f"p/d {name}").split("=")[1].strip() == str(value)
    assert symbols.dwarf.enum("no_such_thing") == {}


def test_a_clone_is_found_by_its_functions_name(symbols: KernelSymbols) -> None:
    names = {name for name in symbols.map.text if name.startswith("ip_rcv_finish_core")}
    clones = {name for name in names if not name.endswith(".cold")}  # a part, not a copy
    assert clones
    assert {symbol for symbol, _ in symbols.map.entries("ip_rcv_finish_core")} == clones


def test_an_inlined_function_names_its_callers(symbols: KernelSymbols) -> None:
    with pytest.raises(BadInput) as caught:
        make(TraceRequest(("tcp_transmit_skb",)), symbols)
    assert "inlined everywhere" in caught.value.what
    assert "tcp_write_xmit" in caught.value.why


def test_an_unknown_function_gets_near_names(symbols: KernelSymbols) -> None:
    with pytest.raises(BadInput) as caught:
        make(TraceRequest(("tcp_v4_rvc",)), symbols)
    assert "tcp_v4_rcv" in caught.value.why


def test_inlined_frames_are_as_addr2line_and_gdb_say(
    kernel: Kernel, symbols: KernelSymbols
) -> None:
    address = symbols.map.text["net_rx_action"][0] + 0x60
    with symbols.symbolizer() as symbolizer:
        frames = symbolizer.frames(address, True)
    said = gdb(kernel, f"info symbol 0x{address:x}", f"info line *0x{address:x}")
    assert frames[-1]["func"] == "net_rx_action" == said.split()[0]
    assert f'Line {frames[0]["line"]} of "{kernel.source}/{frames[0]["file"]}"' in said


def test_every_site_in_the_table_takes_an_skb(symbols: KernelSymbols) -> None:
    """The table says what of an skb is valid: each function that this kernel has, has one."""
    from kernlab.symbols.sites import table

    # A row that says which argument the event's sock is may be there for that alone.
    names = [
        name for name, row in table().sites.items() if symbols.map.entries(name) and not row.sock
    ]
    assert len(names) > 40
    without = []
    for function in symbols.functions(names):
        if not any("struct sk_buff *" in argument.type for argument in function.args):
            without.append(function.symbol)
    # Constant-propagated clones lose arguments; tcp_reset has an skb since v5.11,
    # tcp_send_challenge_ack none since v5.12.
    some_have = {"tcp_reset", "tcp_send_challenge_ack"}
    assert [name for name in without if "." not in name and name not in some_have] == []


def test_the_trampolines_places_are_unused(symbols: KernelSymbols, kernel: Kernel) -> None:
    holes = symbols.holes()
    assert holes is not None
    said = gdb(kernel, f"x/64bx {holes['code']}")
    assert len(set(re.findall(r"\t(0x[0-9a-f]{2})", said))) == 1
    assert holes["watch"] >> 12 != holes["lock"] >> 12
    assert os.path.getsize(kernel.path / "orc.bin" if symbols.orc() else "") > 100_000


def test_a_damaged_cache_of_symbols_is_made_anew(kernel: Kernel, tmp_path: Path) -> None:
    """orc.bin cut in half gave stacks of nothing, and status 0."""
    place = tmp_path / "kernel"
    place.mkdir()
    for name in ("vmlinux", "System.map", "config"):
        (place / name).symlink_to(kernel.path / name)
    files = KernelFiles(
        place, place / "vmlinux", place / "System.map", place / "config", kernel.source
    )

    def known() -> tuple[bytes, object, object]:
        symbols = KernelSymbols(files)
        return symbols.orc().read_bytes(), symbols.holes(), symbols.layout()

    whole = known()
    for name, how in (("orc.bin", "cut"), ("holes.json", "empty"), ("layout.json", "garbage")):
        (place / name).write_bytes(DAMAGES[how]((place / name).read_bytes()))
    assert known() == whole
