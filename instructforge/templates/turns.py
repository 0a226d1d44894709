"""``{{ turns(history) }}``: chat turns of a row as turns of the instruction, with the template's text around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from instructforge.data import Message
from instructforge.templates.guard import Guard, GuardError
from instructforge.templates.traced import join_traced

__all__ = ["Turn", "Turns", "make_turns", "spread_turns"]

ROLES = ("system", "user", "assistant", "tool")


@frozen
class Turn:
    """A turn before its landings are worked out: ``text`` may carry marks.

    ``joined`` tells that text of the template is in it; the space around it is then the template's.
    """

    role: str
    text: str
    more: Mapping[str, Any] = {}
    joined: bool = False

    def to_message(self, content: str) -> Message:
        return Message(role=self.role, content=content, **self.more)


class Turns:
    """What ``turns(…)`` gives. It can only be printed, directly in the ``prompt`` block."""

    __slots__ = ("turns",)

    def __init__(self, turns: Sequence[Turn]) -> None:
        self.turns = turns


def make_turns(guard: Guard, messages: Any, /) -> Turns:
    """Return the function ``turns`` of templates."""
    return Turns([_turn(guard, number, message) for number, message in enumerate(guard.listed(messages))])


def _turn(guard: Guard, number: int, message: Any) -> Turn:
    if type(message) is not dict:
        raise GuardError("turns", f"turn {number} is no chat turn with role and content")
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise GuardError("turns", f"the role of turn {number} is none of {', '.join(ROLES)}")
    calls = message.get("tool_calls") or ()
    if not isinstance(content, str) and not (content is None and calls):
        raise GuardError("turns", f"the content of turn {number} is not a text")
    weight = message.get("weight") if role == "assistant" else None
    weight = int(weight > 0) if isinstance(weight, (int, float)) else None
    more: dict[str, Any] = {
        "reasoning": _plain(message.get("reasoning_content", message.get("reasoning"))),
        "tool_calls": tuple(map(_plain, calls)),
        "name": _plain(message.get("name")),
        "tool_call_id": _plain(message.get("tool_call_id")),
        "trained": bool(weight),
        "weight": weight,
    }
    return Turn(str(role), content or "", {name: value for name, value in more.items() if value or value == 0})


def _plain(value: Any) -> Any:
    """Return ``value`` without marks."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


def spread_turns(pieces: Sequence[str | Turns]) -> list[Turn]:
    """Return the turns of a prompt: text before joins the first user turn, text after the last one.

    Raises:
        GuardError: Nothing is left for the model to answer.
    """
    turns: list[Turn] = []
    pending: list[str] = []
    for piece in pieces:
        if isinstance(piece, Turns):
            turns.extend(_joined_front(pending, piece.turns))
            pending = [] if piece.turns else pending
        else:
            pending.append(piece)
    turns = _joined_end(turns, join_traced(pending))
    if not turns or turns[-1].role not in ("user", "tool"):
        raise GuardError("not-applicable", "the last turn of the prompt is not the user's")
    return turns


def _joined_front(pending: Sequence[str], turns: Sequence[Turn]) -> list[Turn]:
    text = join_traced(pending)
    if not text.strip() or not turns:
        return list(turns)
    first = 1 if turns[0].role == "system" else 0
    if first < len(turns) and turns[first].role == "user":
        joined = Turn("user", join_traced([text, turns[first].text]), turns[first].more, True)
        return [*turns[:first], joined, *turns[first + 1 :]]
    return [*turns[:first], Turn("user", text, joined=True), *turns[first:]]


def _joined_end(turns: list[Turn], text: str) -> list[Turn]:
    if not text.strip():
        return turns
    if turns and turns[-1].role == "user":
        return [*turns[:-1], Turn("user", join_traced([turns[-1].text, text]), turns[-1].more, True)]
    return [*turns, Turn("user", text, joined=True)]
