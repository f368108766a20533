"""What is planted for a step of a schedule: where its actor is to stop, and where it would wait."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kernlab.config.yaml import listed
from kernlab.decode.plans import PostSpec
from kernlab.lessons.locks import WaitRow
from kernlab.lessons.race import Actor, Place, Race, Step
from kernlab.race.stage import Spot, Stage


@dataclass(frozen=True)
class Post:
    """A place where ``actor`` is to stop: its mark, a target of its step, or where it would wait
    for another. ``reached``: what the record says of an actor that stops there."""

    kind: Literal["mark", "target", "wait"]
    actor: str
    reached: str
    spot: Spot
    spec: PostSpec


def marks(race: Race, stage: Stage, standing: Collection[str]) -> list[Post]:
    """The marks of those who do not stand at theirs yet."""
    return [
        Post("mark", name, "mark", stage.mark, _spec(actor, address, task=name))
        for name, actor in race.actors.items()
        if actor.task and actor.mark and name not in standing
        for address in stage.mark.addresses
    ]


def targets(step: Step, race: Race, stage: Stage) -> Iterator[Post]:
    """Where a step may end. ``blocked`` is no place: see ``waits``."""
    name = step.actor
    assert name is not None
    for target in step.targets:
        if isinstance(target, Place):
            for spot, spec in _places(step, target, name, race.actors[name], stage):
                yield Post("target", name, target.text(), spot, spec)
        elif target == "done":
            actor = race.actors[name]
            for address in stage.end.addresses:
                spec = _spec(
                    actor, address, task=_task(name, actor), anywhere=_anywhere(actor, step)
                )
                yield Post("target", name, target, stage.end, spec)


def _places(
    step: Step, target: Place, name: str, actor: Actor, stage: Stage
) -> Iterator[tuple[Spot, PostSpec]]:
    task, anywhere, when = _task(name, actor), _anywhere(actor, step), listed(step.when)
    # What an actor sends may be taken in by its vCPU's ksoftirqd (kernel/softirq.c).
    or_task = softirqd(actor)
    if target.kind == "word":
        yield (
            Spot(target.text()),
            _spec(
                actor,
                word=target.word,
                becomes=target.becomes,
                task=task,
                or_task=or_task,
                anywhere=anywhere,
                when=when,
            ),
        )
    elif target.kind == "returns":
        yield (
            Spot(target.text()),
            _spec(actor, task=task, or_task=or_task, anywhere=anywhere),
        )
    else:
        spot = stage.spots[target.text()]
        for address in spot.addresses:
            yield (
                spot,
                _spec(actor, address, task=task, or_task=or_task, anywhere=anywhere, when=when),
            )


def waits(name: str, actor: Actor, stage: Stage, pids: Sequence[int]) -> Iterator[Post]:
    """Where the actor would wait for another. ``pids``: of those that stand, where they are
    known."""
    for spot in stage.waits:
        wait = spot.wait
        assert wait is not None
        # Who sleeps lets others run: only the actor's own sleep is its wait. Who spins has the
        # vCPU, whoever it is.
        task = name if actor.task and wait.sleeps else None
        for address in spot.addresses:
            spec = _spec(actor, address, task=task, when=_whens(wait, pids))
            yield Post("wait", name, "blocked", spot, spec)


def _whens(wait: WaitRow, pids: Sequence[int]) -> Sequence[str]:
    """When a wait is one for somebody who stands: by its owner, where a lock keeps one."""
    return [f"{wait.owner} == {pid}" for pid in pids] if wait.owner else wait.when


def softirqd(actor: Actor) -> str:
    """The name of the task that takes in what the actor's vCPU received."""
    return f"ksoftirqd/{actor.vcpu}"


def _task(name: str, actor: Actor) -> str | None:
    return name if actor.task else None


def _anywhere(actor: Actor, step: Step) -> bool:
    """A timer may come on the other vCPU: what its condition tells it by is then seen there."""
    return not actor.task and step.when is not None


def _spec(
    actor: Actor,
    address: int | None = None,
    word: str | None = None,
    becomes: int | None = None,
    task: str | None = None,
    or_task: str | None = None,
    anywhere: bool = False,
    when: Sequence[str] = (),
) -> PostSpec:
    return {
        "cpu": actor.vcpu,
        "task": task,
        "or_task": or_task,
        "anywhere": anywhere,
        "when": list(when),
        "address": address,
        "word": word,
        "becomes": becomes,
    }
