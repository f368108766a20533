"""The errors of those who wait for a guest that will not answer."""

from __future__ import annotations

from kernlab.errors import MachineFailed


class StillRunning(MachineFailed, TimeoutError):
    """A guest command that did not end in the time it was given. It runs on."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"a guest command still ran after {seconds:g} s",
            "it hangs, or the guest is very slow",
            "read console.log in the run directory",
        )


class ConsoleShown(MachineFailed):
    """A failure that is explained by the console's last lines."""


class AgentLost(MachineFailed):
    """The guest runs, but its agent was killed, and with it whoever waited for it."""


class WrongClock(MachineFailed):
    """The guest's clock runs too fast: its time-outs come early, and no verdict would count."""

    def __init__(self, fast: float) -> None:
        super().__init__(
            f"the guest's clock runs {fast:.1f} times too fast",
            "the host was too busy while the guest's kernel measured the rate of its clock",
            "run the command again when the host is less busy",
        )


def gone() -> MachineFailed:
    return MachineFailed(
        "the guest's command channel is gone",
        "the guest powered off, panicked or lost its agent",
        "read console.log in the run directory",
    )


def agent_lost() -> MachineFailed:
    return AgentLost(
        "the guest's agent was killed, so it is not known how the command ended",
        "something in the guest killed all processes (kill -9 -1) or kernlab-agent",
        "run a command that kills only its own processes",
    )
