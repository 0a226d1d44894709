"""A conversation, whatever file it came from, and the examples that it makes: one, or one for each reply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from instructforge import DataError, Example
from instructforge.data import Answer, Reply

__all__ = ["Conversation", "Turn", "each_reply", "last_reply"]

JOINED = "turns-joined"
LEFT_OVER = "turn-without-reply"
AFTER_LAST = "turn-after-last-trained-reply"
_PLAIN = {"role", "content", "weight"}


@frozen
class Turn:
    """A chat turn (``role`` and ``content``, and what else a chat turn may have) and the facts that it rests on."""

    message: Mapping[str, Any]
    facts: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        return str(self.message["role"])

    @property
    def is_reply(self) -> bool:
        """Whether the assistant says or calls something here that it is to learn."""
        return self.role == "assistant" and self.message.get("weight") != 0


@frozen(kw_only=True)
class Conversation:
    """What is said, by whom, and what they know.

    Attributes:
        turns: All turns but the system's first.
        system: What the assistant is told, or who it is.
        knowledge: What both may rest on from the start; a turn's own facts come on top as it is reached.
        id: The conversation's own id, if it has one.
        notes: Names of rules by which it was mended.
    """

    turns: Sequence[Turn]
    system: str = ""
    knowledge: tuple[str, ...] = ()
    id: str = ""
    notes: tuple[str, ...] = ()

    def joined(self) -> Conversation:
        """Return it with turns that one speaker makes in a row as one turn, each noted."""
        turns: list[Turn] = []
        for turn in self.turns:
            if turns and _one_speech(turns[-1], turn):
                turns[-1] = _together(turns[-1], turn)
            else:
                turns.append(turn)
        return evolve(self, turns=turns, notes=(*self.notes, *(JOINED,) * (len(self.turns) - len(turns))))

    def known(self, place: int) -> list[str]:
        """Return what is known when the turn at ``place`` is spoken: each fact once, in the order of mention."""
        of_turns = (fact for turn in self.turns[: place + 1] for fact in turn.facts)
        return list(dict.fromkeys((*self.knowledge, *of_turns)))

    def example(self, place: int, notes: Sequence[str] = (), *, id: str, group: str | None = None) -> Example:
        """Return the example whose answer is the turn at ``place``; one without an answer where that is the end."""
        inputs: dict[str, Any] = {"history": [dict(turn.message) for turn in self.turns[:place]]}
        if self.system.strip():
            inputs["system"] = self.system
        if known := self.known(place):
            inputs["knowledge"] = known
        answers = (_answer(self.turns[place].message),) if place < len(self.turns) else ()
        return Example(inputs=inputs, answers=answers, id=id, group=group, notes=tuple(notes))

    def without_weights(self) -> Conversation:
        """Return it with no turn that says for itself whether it is learnt."""
        plain = ({key: value for key, value in turn.message.items() if key != "weight"} for turn in self.turns)
        return evolve(self, turns=[Turn(said, turn.facts) for said, turn in zip(plain, self.turns, strict=True)])


def _one_speech(one: Turn, other: Turn) -> bool:
    plain = set(one.message) | set(other.message) <= _PLAIN
    return plain and one.role == other.role != "tool" and one.message.get("weight") == other.message.get("weight")


def _together(one: Turn, other: Turn) -> Turn:
    content = f"{one.message['content']}\n{other.message['content']}"
    return Turn({**one.message, "content": content}, (*one.facts, *other.facts))


def _answer(message: Mapping[str, Any]) -> Answer:
    """Return a turn as an answer: its text, or a ``Reply`` where it calls tools or reasons."""
    calls, reasoning = message.get("tool_calls") or (), message.get("reasoning_content")
    if calls or reasoning:
        return Reply(message["content"], reasoning=reasoning, tool_calls=calls)
    return str(message["content"])


def last_reply(conversation: Conversation) -> Example:
    """Return the example of a conversation: its last reply, and all that was said before.

    Turns that follow the last reply wait for one that is not there; they are left out, and noted, each. Where nobody
    has replied yet, the example has no answer.

    Raises:
        DataError: There is nothing to reply to, or no reply is to be learnt.
    """
    whole = conversation.joined()
    place = _replies(whole)[-1]
    return whole.example(place, (*whole.notes, *_left_over(whole, place)), id=whole.id)


def each_reply(conversation: Conversation, group: str) -> Iterator[Example]:
    """Yield an example for each reply of a conversation; all are of one ``group``, so that a split keeps them together.

    Each reply is learnt as the answer of its own example, and as no other's history.

    Raises:
        DataError: There is nothing to reply to, or no reply is to be learnt.
    """
    whole = conversation.joined()
    places = _replies(whole)
    plain = whole.without_weights()
    for number, place in enumerate(places, start=1):
        notes = (*whole.notes, *_left_over(whole, place)) if place == places[-1] else ()
        yield plain.example(place, notes, id=f"{whole.id}/{number}" if whole.id else "", group=group)


def _left_over(conversation: Conversation, place: int) -> Iterator[str]:
    """Yield a note for each turn after ``place``."""
    for turn in conversation.turns[place + 1 :]:
        yield AFTER_LAST if turn.role == "assistant" else LEFT_OVER


def _replies(conversation: Conversation) -> list[int]:
    """Return the places of replies to a user or a tool: of the one that is to come, where there is none yet."""
    turns = conversation.turns
    places = [at for at in range(1, len(turns)) if turns[at].is_reply and turns[at - 1].role in ("user", "tool")]
    if places:
        return places
    if any(turn.role == "assistant" for turn in turns[1:]):
        what, rule = "every reply has the weight 0: there is none to learn", "no-trained-reply"
        raise DataError(what, rule=rule, field="weight", fix="give one of the replies the weight 1")
    if turns and turns[-1].role in ("user", "tool"):
        return [len(turns)]
    roles = ", ".join(turn.role for turn in turns) or "none"
    raise DataError(
        f"there is nothing to reply to; the turns are: {roles}",
        rule="no-user-turn",
        fix="give a turn of the user, and one of the assistant after it",
    )
