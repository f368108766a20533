"""What the host tells GDB's side, and what it is answered, as JSON."""

from __future__ import annotations

from typing import Any, Dict, List, Literal, Optional, TypedDict

from kernlab.decode.place import ProbeSpec, SiteSpec


class Holes(TypedDict):
    """Unused places of a kernel's image (``kernlab.symbols.holes``): addresses of 64 executable
    bytes (``code``) and of two data bytes."""

    code: int
    watch: int
    lock: int


class TracePlan(TypedDict):
    """A trace (``gdb_scripts.probes``). ``layout``: what ``kernlab.decode.layout.Layout`` is made
    of; ``orc``: the file of the unwind table; ``stack``: how many frames are walked; ``where``:
    the filter, None where the host filters; ``count``: events after which it is over; ``events``:
    the socket that they go to."""

    layout: Dict[str, Any]
    orc: str
    stack: int
    where: Optional[str]
    count: Optional[int]
    events: str
    trampoline: Optional[Holes]
    returns: bool
    probes: List[ProbeSpec]


class LockArray(TypedDict):
    """A table of locks in the kernel: its id in configs/locks.yaml, and by C expressions its
    first byte and its size in bytes."""

    table: str
    first: str
    size: str


class HoldPlan(TypedDict):
    """A race (``gdb_scripts.hold``). ``sites``: configs/sites.yaml, by function."""

    layout: Dict[str, Any]
    orc: str
    stack: int
    locks: List[LockArray]
    sites: Dict[str, SiteSpec]


class SessionNews(TypedDict):
    """Where an interactive session is (``gdb_scripts.session``): its breakpoints stand, it has
    stopped there, the guest is gone, or it could not be attached, and why."""

    at: Literal["armed", "stopped", "gone", "failed"]
    why: str


class PostSpec(TypedDict):
    """Where an actor of a race is to stop: at ``address``, or at the next write to the C lvalue
    ``word``, after which it is ``becomes`` where that is a number; with neither, where the call
    returns at whose first instruction the vCPU ``cpu`` stands.

    Who is meant is on ``cpu``, or anybody of the name ``task`` or ``or_task`` where there is one,
    or whoever comes if ``anywhere``. ``when``: C conditions of which one must hold, if there are
    any."""

    cpu: int
    task: Optional[str]
    or_task: Optional[str]
    anywhere: bool
    when: List[str]
    address: Optional[int]
    word: Optional[str]
    becomes: Optional[int]


class PostHit(TypedDict):
    """Which post was hit, by its number in the list of those planted, and on which vCPU.
    ``right``: whether that is the actor's."""

    post: int
    cpu: int
    right: bool
