"""What all kl-* commands share, and ``help kernlab``.

A command says what it found in plain lines. What goes wrong is one line too: GDB shows a
``gdb.GdbError`` without a traceback.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Dict, List, Optional

import gdb

from gdb_scripts.inferior import Kernel
from kernlab.decode.arch.orc import OrcTable
from kernlab.decode.memory import Unreadable
from kernlab.decode.place import SiteSpec

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Lab:
    """What the host told this GDB of the kernel it looks at (debug.json)."""

    def __init__(self, settings: Dict[str, Any]) -> None:
        self.settings = settings
        self.kernel = Kernel(settings["layout"])
        self.orc = OrcTable(settings["orc"]) if settings.get("orc") else None
        self.sites: Dict[str, SiteSpec] = settings.get("sites", {})
        self.marks: Dict[str, str] = settings.get("marks", {})


_lab: Optional[Lab] = None


def use(lab: Lab) -> None:
    """Make ``lab`` the one the commands look at."""
    global _lab
    _lab = lab


def lab() -> Lab:
    if _lab is None:
        raise gdb.GdbError("kernlab: not attached to a guest")
    return _lab


def safe(text: object) -> str:
    """A guest's text with nothing in it that a terminal would act on."""
    return _UNSAFE.sub("?", str(text))


def function_at(address: int) -> str:
    """The function an address lies in, by GDB's symbols; "0x…" without one."""
    text = gdb.execute("info symbol 0x%x" % address, to_string=True)
    match = re.match(r"([\w.]+)( \+ \d+)? in section", text)
    return match.group(1) + (match.group(2) or "").replace(" ", "") if match else "0x%x" % address


class Helped(gdb.Command):  # type: ignore[misc]
    """A command whose help is its docstring without the indentation (GDB 13 prints it as it is)."""

    def __init_subclass__(cls) -> None:
        cls.__doc__ = inspect.cleandoc(cls.__doc__ or "")


class Command(Helped):
    """A kl-* command: ``run`` returns the lines to show. The docstring is its help."""

    NAME = ""
    COMPLETE = gdb.COMPLETE_EXPRESSION

    def __init__(self) -> None:
        super().__init__(self.NAME, gdb.COMMAND_DATA, self.COMPLETE)

    def run(self, text: str) -> List[str]:
        raise NotImplementedError

    def invoke(self, argument: str, from_tty: bool) -> None:
        try:
            lines = self.run(argument.strip())
        except Unreadable as error:
            why = "cannot read the guest's memory at %s" % error
            raise gdb.GdbError("%s: %s" % (self.NAME, why)) from None
        except gdb.error as error:
            raise gdb.GdbError("%s: %s" % (self.NAME, error)) from None
        except Exception as error:
            why = "kernlab has a bug: %s: %s" % (type(error).__name__, error)
            raise gdb.GdbError("%s: %s" % (self.NAME, why)) from None
        for line in lines:
            gdb.write(line + "\n")


class KernlabHelp(Helped):
    """kernlab's commands for the guest's network stack.

    kl-skb [EXPR [HEADER]]   an skb and the packet in it
    kl-sock [EXPR]           a socket: addresses, state, buffers, errors
    kl-tcp [EXPR]            a TCP socket: sequence numbers, windows, congestion control
    kl-stack [N]             the call stack by the kernel's own unwind table, with the
                             switches between interrupt, softirq and system call
    kl-sockets [FILTER]      every TCP socket of the guest: listening, connected, TIME_WAIT
    kl-route [EXPR|ADDRESS|all]
                             the route of a packet or a socket; the routing tables
    lx-*                     the kernel's own commands: apropos lx-

    Without EXPR the packet or the socket at hand is meant: the one in the selected frame, or
    in the nearest frame above it that has one. EXPR is a GDB expression, for example
    ``kl-skb skb->next``; FILTER is what kernlab trace --where takes, for example
    ``kl-sockets state == LISTEN``. "help kl-skb" and so on say more.

    Addresses and ports (__be32, __be16, struct in6_addr, struct tcphdr) are printed as people
    write them; "p/x" and "p/r" show the bytes as they are."""

    def __init__(self) -> None:
        super().__init__("kernlab", gdb.COMMAND_SUPPORT)

    def invoke(self, argument: str, from_tty: bool) -> None:
        gdb.write((self.__doc__ or "") + "\n")
