"""One interactive session: prepared from debug.json, attached, and stopped where asked.

kernlab starts GDB with three steps on its command line: ``attach``, GDB's own ``continue``
(so that Ctrl-C works in it as ever), and ``arrived``. Between them the host is told by a
socket where the session is: it starts the workload when the breakpoints stand, and ends a
wait that is too long.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any, Dict, List, Literal, Optional

import gdb

from gdb_scripts import (
    commands_packet,
    commands_route,
    commands_socket,
    lx,
    macros,
    printers,
)
from gdb_scripts.commands import KernlabHelp, Lab, use
from kernlab.decode.arch import ARCH
from kernlab.decode.plans import SessionNews

_COMMANDS = (
    KernlabHelp,
    commands_packet.KlSkb,
    commands_packet.KlStack,
    commands_socket.KlSock,
    commands_socket.KlTcp,
    commands_socket.KlSockets,
    commands_route.KlRoute,
)


class Session:
    """What ``attach`` leaves for ``arrived``."""

    def __init__(self, settings: Dict[str, Any]) -> None:
        self.settings = settings
        self.breakpoints: List[int] = []
        self.hit: List[int] = []
        self._kept: Dict[str, bool] = {}
        self._host = socket.socket(socket.AF_UNIX)
        self._host.connect(settings["news"])

    def keep(self, parameter: str, value: str) -> None:
        """Set one of GDB's settings, remembering the user's own."""
        self._kept[parameter] = bool(gdb.parameter(parameter))
        gdb.execute("set %s %s" % (parameter, value), to_string=True)

    def restore(self, parameter: str) -> None:
        gdb.execute("set %s %s" % (parameter, "on" if self._kept[parameter] else "off"))

    def tell(self, at: Literal["armed", "stopped", "gone", "failed"], why: str = "") -> None:
        """Where the session is, a line to the host. It may be gone; then this GDB is about to
        be, too."""
        news: SessionNews = {"at": at, "why": why}
        with suppress(OSError):
            self._host.sendall(json.dumps(news).encode() + b"\n")

    def on_stop(self, event: Any) -> None:
        if isinstance(event, gdb.BreakpointEvent):
            self.hit = [point.number for point in event.breakpoints]

    def on_exit(self, event: Any) -> None:
        if hasattr(event, "exit_code"):  # without one, the user has let it go
            self.tell("gone")


_session: Optional[Session] = None


def attach(path: str) -> None:
    """Load the commands, connect to the guest (it stops), set the breakpoints.

    What goes wrong is told to the host, which ends the session and says it.
    """
    global _session
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    _session = session = Session(settings)
    try:
        _attach(session)
    except Exception as error:
        session.tell("failed", str(error))
    else:
        session.tell("armed")


def _attach(session: Session) -> None:
    settings = session.settings
    session.keep("pagination", "off")  # a long message must not wait for a key here
    session.keep("confirm", "off")  # no session is lost by quitting: the guest is thrown away
    for command in _COMMANDS:
        command()
    use(Lab(settings))
    printers.register()
    macros.define()
    for line in lx.load(settings["kernel"], settings["lx"]):
        gdb.write("kernlab: %s\n" % line)
    gdb.execute("set architecture %s" % ARCH.gdb, to_string=True)
    if gdb.parameter("remotetimeout") < settings["remote_timeout"]:
        gdb.execute("set remotetimeout %d" % settings["remote_timeout"], to_string=True)
    gdb.execute("target remote %s" % settings["gdb"], to_string=True)
    for place in settings["breaks"]:
        before = {point.number for point in gdb.breakpoints()}
        gdb.execute("break %s" % place)
        session.breakpoints += [p.number for p in gdb.breakpoints() if p.number not in before]
    gdb.events.stop.connect(session.on_stop)
    gdb.events.exited.connect(session.on_exit)
    if session.breakpoints:
        gdb.write(
            "kernlab: waiting for %s; Ctrl-C stops the guest where it is\n"
            % ", ".join(settings["functions"])
        )


def arrived() -> None:
    """Say where the guest stopped, and give GDB back its own settings."""
    session = _session
    if session is None:
        return
    session.tell("stopped")
    gdb.events.stop.disconnect(session.on_stop)
    settings = session.settings
    reached = set(session.hit) & set(session.breakpoints)
    if session.breakpoints and not reached:
        gdb.write(
            "kernlab: %s was not reached. The guest is stopped where it was; "
            "continue, or try another --workload\n" % ", ".join(settings["functions"])
        )
    gdb.write('kernlab: Linux %s; "help kernlab" lists the kl-* commands\n' % settings["release"])
    session.restore("pagination")
