"""What a user writes for a place."""

from __future__ import annotations

import pytest

from kernlab.errors import BadInput
from kernlab.symbols.places import Asked, parse


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("tcp_v4_rcv", Asked("tcp_v4_rcv", "function")),
        ("foo.isra.0", Asked("foo.isra.0", "function")),
        ("tcp_v4_*", Asked("tcp_v4_*", "glob")),
        ("tcp_v[46]_rcv", Asked("tcp_v[46]_rcv", "glob")),
        ("tcp_ipv4.c:1961", Asked("tcp_ipv4.c:1961", "line", "tcp_ipv4.c", 1961)),
        ("net/ipv4/tcp.c:7", Asked("net/ipv4/tcp.c:7", "line", "net/ipv4/tcp.c", 7)),
    ],
)
def test_functions_globs_and_lines(text: str, asked: Asked) -> None:
    assert parse(text) == asked


@pytest.mark.parametrize("text", ["", "tcp_ipv4.c:", "tcp_ipv4.c", "a b", "7up", "x.c:y", "f()"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a place"):
        parse(text)
