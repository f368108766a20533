"""From names to GDB's command line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernlab.debug.interactive import Wish, arguments, commands_of
from kernlab.debug.places import Stop, resolve
from kernlab.errors import BadInput
from kernlab.symbols.dwarf import Line
from kernlab.symbols.system_map import SystemMap

MAP = """ffffffff81000000 T tcp_v4_rcv
ffffffff81000100 t tcp_ack
ffffffff81000200 t ip_rcv_finish_core.constprop.0
ffffffff81000300 T tcp_v4_do_rcv
ffffffff81000400 D tcp_prot
"""


@pytest.fixture
def symbols(tmp_path: Path) -> Any:
    """A System.map's names; what DWARF would say is written here."""
    path = tmp_path / "System.map"
    path.write_text(MAP)
    inlined = {"tcp_transmit_skb": ["tcp_connect", "tcp_write_xmit"]}
    return SimpleNamespace(
        map=SystemMap(path),
        dwarf=SimpleNamespace(
            inlined_into=lambda n: inlined.get(n, []),
            lines=lambda text: [Line("tcp_ack", "tcp_ack", 1, "net/ipv4/tcp_input.c", 7, ())],
        ),
    )


def test_each_function_once_by_name_and_a_clone_by_address(symbols: Any) -> None:
    names = [
        "tcp_ack",
        "tcp_v4_rcv",
        "tcp_ack",
        "ip_rcv_finish_core",
        "ip_rcv_finish_core.constprop.0",
    ]
    assert resolve(names, symbols) == [
        Stop("tcp_ack", "-function tcp_ack"),
        Stop("tcp_v4_rcv", "-function tcp_v4_rcv"),
        Stop("ip_rcv_finish_core", "-function ip_rcv_finish_core"),
        Stop("ip_rcv_finish_core.constprop.0", "*0xffffffff81000200"),
    ]


def test_a_line_is_gdbs_own_word(symbols: Any) -> None:
    assert resolve(["tcp_input.c:7"], symbols) == [Stop("tcp_input.c:7", "tcp_input.c:7")]


def test_an_inlined_function_is_stopped_at_in_its_callers(symbols: Any) -> None:
    (stop,) = resolve(["tcp_transmit_skb"], symbols)
    assert stop.inlined == ("tcp_connect", "tcp_write_xmit")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tcp_v4_recv", "near names: tcp_v4_rcv"),
        ("tcp_prot", ""),
        ("tcp_v4_*", "stop at each call"),
        ("$(reboot)", ""),
        ("", ""),
    ],
)
def test_what_is_no_function_is_refused(symbols: Any, name: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        resolve(["tcp_ack", name], symbols)
    assert said in caught.value.why
    assert caught.value.next_step.startswith("kernlab debug ")


def steps(argv: list[str]) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == "-ex"]


def test_the_users_commands_run_after_the_stop_and_in_order() -> None:
    wish = Wish((Stop("tcp_ack", "-function tcp_ack"),), commands_of(["kl-skb", " ", "bt 3"]))
    argv = arguments("gdb", Path("vmlinux"), wish, Path("/run/it's/debug.json"))
    load, go, arrived, *rest = steps(argv)
    assert (go, rest) == ("continue", ["kl-skb", "bt 3"])
    assert "arrived" in arrived
    compile(load.removeprefix("python "), "load", "exec")
    assert "-nx" not in argv  # the user's own gdbinit is read
    assert "-tui" not in argv


def test_without_a_function_the_guest_is_not_continued() -> None:
    argv = arguments("gdb", Path("vmlinux"), Wish((), tui=True), Path("debug.json"))
    assert "continue" not in steps(argv)
    assert "-tui" in argv
