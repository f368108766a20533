"""Strings and socket addresses that arguments point at."""

from __future__ import annotations

import struct

import pytest

from kernlab.decode.memory import BytesMemory
from kernlab.decode.texts import LONGEST, text_of
from kernlab.symbols.dwarf import Argument, Function
from kernlab.symbols.pointed import points_at

AT = 0x7FFE12345678


def read(kind: str, data: bytes, length: int | None = None) -> str | None:
    return text_of(BytesMemory({AT: data}), AT, {"text": kind}, length)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"/etc/hosts\0junk", "/etc/hosts"),
        (b"\0", ""),
        ("naïve\0".encode(), "naïve"),
        (b"a\x1b[31m\n\\\0", "a\\x1b[31m\\n\\\\"),
        (b"\xff\xfe\0", "\\\\xff\\\\xfe"),
        ("a\u202eb\0".encode(), "a\\u202eb"),
        (b"x" * 5000, "x" * LONGEST + "…"),
    ],
)
def test_a_string_is_bounded_and_escaped(data: bytes, text: str) -> None:
    assert read("string", data.ljust(200, b"\0")) == text


def test_a_length_argument_ends_it_without_a_nul() -> None:
    assert read("string", b"GET / HTTP", 3) == "GET"
    assert read("string", b"GET / HTTP", 0) == ""


def test_a_struct_filename_begins_with_the_name() -> None:
    memory = BytesMemory({AT: struct.pack("<Q", 0x1000), 0x1000: b"/bin/sh".ljust(200, b"\0")})
    assert text_of(memory, AT, {"text": "filename"}) == "/bin/sh"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (struct.pack("<H", 2) + struct.pack(">H4s", 8080, bytes([127, 0, 0, 1])), "127.0.0.1:8080"),
        (struct.pack("<H", 10) + struct.pack(">HI", 80, 0) + bytes(15) + b"\1", "[::1]:80"),
        (struct.pack("<H", 1) + b"/run/x.sock\0", "unix /run/x.sock"),
        (struct.pack("<H", 1) + b"\0bus\0", "unix @bus"),
        (struct.pack("<H", 16), "netlink"),
        (struct.pack("<H", 0), "AF_UNSPEC"),
        (struct.pack("<H", 0xCCCC), None),
    ],
)
def test_a_socket_address_is_its_address_and_port(data: bytes, text: str | None) -> None:
    assert read("sockaddr", data.ljust(200, b"\0")) == text


def test_what_is_not_mapped_is_absent() -> None:
    assert text_of(BytesMemory({}), AT, {"text": "string"}) is None
    assert text_of(BytesMemory({}), 0, {"text": "string"}) is None


def function(name: str, *args: tuple[str, str]) -> Function:
    arguments = [Argument(n, t, "pointer" if "*" in t else "signed", 8, "rdi") for n, t in args]
    return Function(name, name, 1, "f.c", 1, tuple(arguments), b"")


@pytest.mark.parametrize(
    ("func", "args", "found"),
    [
        ("do_sys_openat2", [("filename", "const char *")], {"text": "string"}),
        (
            "vfs_write",
            [("buf", "const char *"), ("count", "unsigned long")],
            {"text": "string", "length": "count"},
        ),
        ("vfs_read", [("buf", "char *"), ("count", "unsigned long")], {}),
        ("do_filp_open", [("pathname", "struct filename *")], {"text": "filename"}),
        ("__sys_connect", [("uservaddr", "struct sockaddr *")], {"text": "sockaddr"}),
        ("__sys_accept4", [("upeer_sockaddr", "struct sockaddr *")], {}),
        ("inet_getname", [("uaddr", "struct sockaddr *")], {}),
        ("tcp_v4_rcv", [("skb", "struct sk_buff *")], {}),
    ],
)
def test_only_what_is_there_at_the_entry_is_read(
    func: str, args: list[tuple[str, str]], found: dict[str, str]
) -> None:
    assert points_at(function(func, *args), 0) == found
