"""configs/presets: named sets of probes."""

from __future__ import annotations

from collections.abc import Sequence

from kernlab.config.paths import config_file, config_names
from kernlab.config.yaml import Model, listed, load, unknown

# What --follow adds: where an skb ends, so that an address used again is another packet.
FREES: tuple[tuple[str, ...], ...] = (("__kfree_skb",), ("kfree_skb_partial",))


class Preset(Model):
    """``probes``: functions; a list in the list means the first of it that the kernel has.

    ``watch`` says what to look for; ``where`` and ``workload`` hold unless the command line
    says otherwise.
    """

    title: str
    watch: str
    probes: list[str | list[str]]
    where: str = ""
    workload: str = "http"

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(listed(probe)) for probe in self.probes)


def names() -> list[str]:
    """Every preset there is, the user's own included."""
    return config_names("presets")


def find(name: str) -> Preset:
    """A preset by name. Raises ``BadInput`` with near names, or naming file and line."""
    known = names()
    if name not in known:
        raise unknown(
            f"--preset {name}: there is no such preset", name, known, "--preset {}", "handshake"
        )
    return load(config_file("presets", f"{name}.yaml"), Preset)


def common_where(chosen: Sequence[Preset], others: bool) -> str:
    """A preset's filter, where it is alone: it was made for its own probes."""
    return chosen[0].where if len(chosen) == 1 and not others else ""
