"""Few-shot prompts: worked examples before a row's own question, as turns of the chat or as text.

The shots come from the task's samples or from training rows: a pool of these is drawn once, whatever the order of the
files, and each row takes its own from the pool by a seed of its own. A row is never its own shot, nor is one of its
group or with its inputs; rows of other splits than ``train`` are never shots. The pool goes into the contract, so that
a served model is asked in the same way.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from instructforge.building.settings import BuildSettings
from instructforge.data import Example, Instruction, Landing, Message
from instructforge.errors import ConfigError, TemplateError
from instructforge.files import seed_of
from instructforge.tasks import Task
from instructforge.templates.template import Template

__all__ = ["POOL_ROWS", "ShotPool", "pool_of_samples", "pool_of_train", "with_shots"]

POOL_ROWS = 256
"""Training rows of each language that shots are drawn from."""

BETWEEN = "\n\n"
"""Between two examples of a prompt in text, as lm-evaluation-harness has it."""


@frozen
class ShotPool:
    """Examples that can be shots, by language, each with the key by which it is known."""

    examples: Mapping[str, tuple[tuple[str, Example], ...]]

    def to_json(self) -> dict[str, Any]:
        return {
            language: [{"key": key, "example": one.to_json()} for key, one in given]
            for language, given in self.examples.items()
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ShotPool:
        return cls(
            {
                language: tuple((part["key"], Example.from_json(part["example"])) for part in given)
                for language, given in value.items()
            }
        )

    def drawn(self, example: Example, key: str, language: str, seed: int) -> Iterator[Example]:
        """Yield the pool's examples of a language in a row's own order, those left out that are too near to it."""
        given = self.examples.get(language, ())
        order = sorted(given, key=lambda one: seed_of(seed, key, "shot", one[0]))
        for own, one in order:
            near = own == key or (one.group is not None and one.group == example.group)
            if not near and one.inputs != example.inputs:
                yield one


def pool_of_samples(task: Task) -> ShotPool:
    """Return the task's own samples as shots.

    Raises:
        ConfigError: It has none.
    """
    found: dict[str, list[tuple[str, Example]]] = {}
    for number, sample in enumerate(task.samples):
        example = sample.to_example(number)
        found.setdefault(sample.language, []).append((example.id, example))
    if not found:
        raise ConfigError(f'the task "{task.name}" has no samples to take shots from; give few_shot_from: train')
    return ShotPool({language: tuple(given) for language, given in found.items()})


def pool_of_train(rows: Iterable[tuple[str, Example]], seed: int) -> ShotPool:
    """Return a pool of labelled training rows: those of each language whose seeded hash is lowest.

    Args:
        rows: (key, example) of each training row, its language settled; in any order.
        seed: Of the build.
    """
    kept: dict[str, list[tuple[int, str, Example]]] = {}
    for key, example in rows:
        if not example.answers or example.language is None:
            continue
        heap = kept.setdefault(example.language, [])
        place = -seed_of(seed, key, "pool")  # a heap gives its lowest back, and the highest hash is what has to go
        if len(heap) < POOL_ROWS:
            heapq.heappush(heap, (place, key, example))
        elif place > heap[0][0]:
            heapq.heapreplace(heap, (place, key, example))
    return ShotPool(
        {
            language: tuple((key, example) for _, key, example in sorted(heap, key=lambda one: (one[0], one[1])))
            for language, heap in sorted(kept.items())
        }
    )


def with_shots(
    made: Instruction, template: Template, pool: ShotPool, settings: BuildSettings, key: str, *, train: bool
) -> Instruction:
    """Return an instruction with shots before its own question, rendered by the same template.

    Args:
        made: The instruction without them.
        template: The template that made it.
        pool: What shots are drawn from.
        settings: How many shots, in which form, and for which share of the training rows.
        key: The row's key.
        train: Whether it is a training row.
    """
    seed = settings.seed
    if train and seed_of(seed, key, "few-shot") / 2**64 >= settings.few_shot_share:
        return made
    shots: list[Instruction] = []
    for number, example in enumerate(pool.drawn(made.example, key, made.language, seed)):
        try:
            shots.append(template.render(example, seed=seed_of(seed, key, "shot", str(number))))
        except TemplateError:
            continue  # it does not apply to that row, or the row was rendered with errors: another one is taken
        if len(shots) == settings.few_shot:
            break
    if not shots:
        return made
    return _as_turns(made, shots) if settings.few_shot_as == "turns" else _as_text(made, shots)


def _as_turns(made: Instruction, shots: Sequence[Instruction]) -> Instruction:
    head = [message for message in made.messages[:1] if message.role == "system"]
    before = [
        evolve(message, trained=False, weight=0 if message.role == "assistant" else None)
        for shot in shots
        for message in shot.messages
        if message.role != "system"
    ]
    messages = (*head, *before, *made.messages[len(head) :])
    landings = tuple(
        evolve(one, message=one.message + len(before)) if one.message >= len(head) else one for one in made.landings
    )
    return evolve(made, messages=messages, landings=landings)


def _as_text(made: Instruction, shots: Sequence[Instruction]) -> Instruction:
    """Put the shots in front of the first user turn; the answer follows its question as the language writes it."""
    gap = "" if made.language == "zh" else " "
    text = "".join(f"{_asked(shot)}{gap}{shot.completion}{BETWEEN}" for shot in shots)
    place = next(number for number, message in enumerate(made.messages) if message.role == "user")
    first = made.messages[place]
    asked = Message(role="user", content=text + first.content, name=first.name)
    landings = tuple(_moved(one, len(text)) if one.message == place else one for one in made.landings)
    return evolve(made, messages=(*made.messages[:place], asked, *made.messages[place + 1 :]), landings=landings)


def _asked(shot: Instruction) -> str:
    return "\n".join(message.content for message in shot.prompt if message.role != "system")


def _moved(one: Landing, by: int) -> Landing:
    return evolve(one, start=one.start + by, end=one.end + by)
