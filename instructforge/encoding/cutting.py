"""Making an instruction fit: only fields that its template declares as cuttable are cut, from their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import evolve

from instructforge.data import Instruction, Landing

__all__ = ["cuttable_landings", "shorten"]

Offsets = Callable[[str], Sequence[tuple[int, int]]]
"""Gives the characters of each token of a text."""


def cuttable_landings(instruction: Instruction) -> list[int]:
    """Return the places (in ``landings``) of what may be cut, in the order in which it is cut.

    The longest comes first; of a history, whose turns are messages of their own, the oldest.
    """
    last = len(instruction.messages) - 1
    found = [
        place
        for place, landing in enumerate(instruction.landings)
        if landing.field in instruction.cuttable
        and landing.end > landing.start
        and not (landing.message == last and instruction.messages[last].role == "assistant")
        and not instruction.messages[landing.message].trained
    ]
    of_history = {
        landing.field
        for landing in instruction.landings
        for other in instruction.landings
        if other.field == landing.field and other.item != landing.item and other.message != landing.message
    }

    def order(place: int) -> tuple[int, int]:
        landing = instruction.landings[place]
        return (landing.message, 0) if landing.field in of_history else (-1, landing.start - landing.end)

    return sorted(found, key=order)


def shorten(instruction: Instruction, excess: int, offsets: Offsets) -> tuple[Instruction, Counter[str]]:
    """Cut about ``excess`` tokens (at least one, where anything is left to cut).

    Returns:
        The shorter instruction, and the tokens cut by field; nothing cut means that nothing is left.
    """
    cut: Counter[str] = Counter()
    for place in cuttable_landings(instruction):
        if excess <= 0:
            break
        landing = instruction.landings[place]
        text = instruction.messages[landing.message].content[landing.start : landing.end]
        tokens = offsets(text)
        keep = max(0, len(tokens) - excess)
        kept = text[: tokens[keep][0]].rstrip() if keep and tokens else ""
        gone = max(1, len(tokens) - keep)
        instruction = _replace(instruction, place, kept)
        cut[landing.field] += gone
        excess -= gone
    return instruction, cut


def _replace(instruction: Instruction, place: int, kept: str) -> Instruction:
    """Put ``kept``, a beginning of a landing's text, in the place of its whole text."""
    landing = instruction.landings[place]
    message = instruction.messages[landing.message]
    content = message.content[: landing.start] + kept + message.content[landing.end :]
    messages = list(instruction.messages)
    messages[landing.message] = evolve(message, content=content)
    cut_from, removed = landing.start + len(kept), landing.end - landing.start - len(kept)

    def moved(position: int) -> int:
        return position if position <= cut_from else max(cut_from, position - removed)

    def follow(other: Landing) -> Landing:
        if other.message != landing.message:
            return other
        return evolve(other, start=moved(other.start), end=moved(other.end))

    return evolve(instruction, messages=tuple(messages), landings=tuple(map(follow, instruction.landings)))
