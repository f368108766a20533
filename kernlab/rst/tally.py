"""The kernel's counters while RSTs are sent: of the network namespace that sent them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress

from kernlab.errors import MachineFailed
from kernlab.record.counters import Counters, moved, named, parse
from kernlab.vm.machine import Machine

_FILES = ("/proc/net/snmp", "/proc/net/netstat")
_LIMIT = 15.0
# A namespace is found by a process in it, or where "ip netns" has mounted it.
_ELSEWHERE = r"""
one=$(ls -l /proc/[0-9]*/ns/net 2>/dev/null | grep -F "net:[$1]" | head -n 1)
one=${one#*/proc/}
if [ -n "$one" ]; then cat /proc/${one%%/*}/net/snmp /proc/${one%%/*}/net/netstat; exit; fi
for one in /run/netns/* /var/run/netns/*; do
  if [ "$(stat -L -c %i "$one" 2>/dev/null)" = "$1" ]; then
    ip netns exec "${one##*/}" cat /proc/net/snmp /proc/net/netstat; exit
  fi
done
exit 1
"""

_NAMESPACES = (
    "ls -l /proc/[0-9]*/ns/net 2>/dev/null; ls -ln /run/netns/ /var/run/netns/ 2>/dev/null"
)


class Tally:
    """Reads counters of one machine's namespaces; a namespace that was not there at the
    beginning began at 0 (net/core/net_namespace.c makes its counters)."""

    def __init__(self, machine: Machine, names: Iterable[str]) -> None:
        self._machine = machine
        self._names = sorted(names)
        self._root = self._own()
        self._first = self._files()
        self._last: dict[int | None, Counters] = {None: self._first}

    @property
    def root(self) -> int | None:
        """The number of the namespace that the guest began with."""
        return self._root

    def _own(self) -> int | None:
        with suppress(MachineFailed, TimeoutError, OSError):
            said = self._machine.channel.run(_LIMIT, ["readlink", "/proc/self/ns/net"])
            found = re.search(rb"\[(\d+)\]", said.stdout)
            return int(found.group(1)) if found else None
        return None

    def alone(self) -> bool:
        """Whether no process is in another network namespace, and "ip netns" has made none."""
        with suppress(MachineFailed, TimeoutError, OSError):
            said = self._machine.channel.run(_LIMIT, ["sh", "-c", _NAMESPACES])
            found = set(re.findall(rb"net:\[(\d+)\]", said.stdout))
            return len(found) <= 1 and b"\n-r" not in said.stdout
        return True

    def rose(self, netns: int | None) -> Counters | None:
        """What moved since the last reading, by the names that are of interest; None when
        it cannot be read (the namespace is gone, the guest no longer answers)."""
        key = None if netns in (None, self._root) else netns
        now = self._files() if key is None else self._elsewhere(key)
        if not now:
            return None
        rose = moved(self._last.get(key, {}), now)
        self._last[key] = now
        return _only(rose, self._names)

    def since_begin(self, names: Iterable[str]) -> Counters:
        """What moved since the beginning in the root namespace."""
        now = self._files()
        return _only(moved(self._first, now), names) if now else {}

    def _files(self) -> Counters:
        with suppress(MachineFailed, OSError, TimeoutError):
            read = self._machine.channel.read_file
            return parse("\n".join(read(path).decode("ascii", "replace") for path in _FILES))
        return {}

    def _elsewhere(self, netns: int) -> Counters:
        with suppress(MachineFailed, TimeoutError, OSError):
            said = self._machine.channel.run(
                _LIMIT, ["sh", "-c", _ELSEWHERE, "counters", str(netns)]
            )
            if said.returncode == 0:
                return parse(said.stdout.decode("ascii", "replace"))
        return {}


def _only(rose: Counters, names: Iterable[str]) -> Counters:
    found = {name: named(rose, name) for name in names}
    return {name: value for name, value in found.items() if value}
