"""The kernel's own counters: /proc/net/snmp, /proc/net/netstat, /proc/net/stat/nf_conntrack.

Names are ``Tcp.OutRsts``, ``TcpExt.TCPAbortOnClose``, ``conntrack.invalid``; net/ipv4/proc.c
and net/netfilter/nf_conntrack_standalone.c print them. Values are counts since the network
namespace was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

Counters = dict[str, int]


def parse(text: str) -> Counters:
    """Counters from the three files, one after the other, in any order."""
    found: Counters = {}
    lines = text.splitlines()
    for heads, row in pairwise(lines):
        kind, colon, names = heads.partition(": ")
        if colon and " " not in kind and row.startswith(f"{kind}: ") and not _numeric(names):
            for name, value in zip(names.split(), row.split()[1:], strict=False):
                found[f"{kind}.{name}"] = int(value)
    found.update(_conntrack(lines))
    return found


def _numeric(names: str) -> bool:
    first = names.split(maxsplit=1)[0] if names.strip() else "0"
    return first.lstrip("-").isdigit()


def _conntrack(lines: list[str]) -> Counters:
    """A line of names, then one of hexadecimal numbers for each CPU."""
    for number, line in enumerate(lines):
        if not line.startswith("entries "):
            continue
        names = line.split()
        total = dict.fromkeys(names[1:], 0)  # entries is the same in each line
        for row in lines[number + 1 :]:
            values = row.split()
            if len(values) != len(names) or not all(_hex(value) for value in values):
                break
            for name, value in list(zip(names, values, strict=True))[1:]:
                total[name] += int(value, 16)
        return {f"conntrack.{name}": value for name, value in total.items()}
    return {}


def _hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)


def moved(before: Mapping[str, int], after: Mapping[str, int]) -> Counters:
    """By how much each counter rose; one that is new began at 0."""
    return {name: after[name] - before.get(name, 0) for name in after}


def named(counters: Mapping[str, int], name: str) -> int | None:
    """A counter by its name, or by its last part where only one ends so."""
    if name in counters:
        return counters[name]
    found = [full for full in counters if full.partition(".")[2] == name]
    for kind in ("Tcp.", "TcpExt."):  # Tcp has names that Udp and Ip have too
        if kind + name in found:
            return counters[kind + name]
    return counters[found[0]] if len(found) == 1 else None
