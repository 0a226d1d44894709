"""What a format makes of an instruction, and what of it the format cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from instructforge.components import Exporter
from instructforge.data import Instruction, Message
from instructforge.errors import InstructForgeError

__all__ = [
    "Companion",
    "ExportPlan",
    "Exporter",
    "NotHeldError",
    "Record",
    "assistant_turns",
    "own_id",
    "plain_chat",
    "system_of",
]


class NotHeldError(InstructForgeError):
    """A format cannot hold an instruction at all; ``reason`` is a short name, counted in the export's report."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


@frozen
class Record:
    """One line of an exported file.

    Attributes:
        value: What is written, as JSON.
        lost: Short names of what the instruction has and the format has no place for.
    """

    value: Mapping[str, Any]
    lost: tuple[str, ...] = ()


@frozen(kw_only=True)
class Companion:
    """A file that goes with the data, such as a configuration that names them."""

    name: str
    text: str


@frozen(kw_only=True)
class ExportPlan:
    """What is exported, for the companions.

    Attributes:
        name: Of the data set: letters, digits, hyphens.
        task: Name of the task.
        summary: One line about it.
        languages: Of the templates.
        files: Split → name of its file.
        counts: Split → its rows.
        train: ``last``: the final answer is trained; ``all``: every turn of the assistant's. A turn's own weight wins.
        choices: Whether every row has choices.
        metrics: Names of the task's metrics.
        max_new_tokens: Tokens that an answer may have.
    """

    name: str
    task: str
    summary: str
    languages: tuple[str, ...] = ()
    files: Mapping[str, str] = field(factory=dict)
    counts: Mapping[str, int] = field(factory=dict)
    train: str = "last"
    choices: bool = False
    metrics: tuple[str, ...] = ()
    max_new_tokens: int = 256


def assistant_turns(instruction: Instruction, train: str) -> list[bool]:
    """Return for each message whether it is trained: a turn's own weight, else what ``train`` says.

    >>> from instructforge.data import Example
    >>> turns = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    >>> made = Instruction(example=Example(inputs={}), task="t", language="en", template="x", template_sha256="",
    ...                    messages=turns)
    >>> assistant_turns(made, "last")
    [False, True]
    """
    last = len(instruction.messages) - 1
    return [
        message.role == "assistant"
        and (bool(message.weight) if message.weight is not None else message.trained or train == "all" or place == last)
        for place, message in enumerate(instruction.messages)
    ]


def own_id(instruction: Instruction) -> str:
    """Return the id that the data gave the row; an empty text where the build made one of its origin."""
    made = str(instruction.example.origin)
    return "" if instruction.id == made or instruction.id.startswith((f"{made}/", f"{made}#")) else instruction.id


def system_of(messages: Sequence[Message]) -> str:
    """Return what the system turns say."""
    return "\n\n".join(message.content for message in messages if message.role == "system")


def plain_chat(instruction: Instruction, lost: set[str]) -> list[tuple[str, str]]:
    """Return (question, answer) of each exchange, for formats that know nothing else.

    Raises:
        NotHeldError: There are tools, or the turns do not alternate.
    """
    turns = [message for message in instruction.messages if message.role != "system"]
    if any(message.role == "tool" or message.tool_calls for message in turns) or instruction.tools:
        raise NotHeldError("tools", "the format has no place for tools and their calls")
    if len(turns) % 2 or any(message.role != ("user", "assistant")[place % 2] for place, message in enumerate(turns)):
        raise NotHeldError("turn-order", "the format wants user and assistant by turns")
    if any(message.reasoning for message in turns):
        lost.add("reasoning")
    if any(message.name for message in turns):
        lost.add("name")
    return [(turns[place].content, turns[place + 1].content) for place in range(0, len(turns), 2)]


RowFunction = Callable[[Instruction, str], Record]


def each(instructions: Sequence[Instruction], train: str, make: RowFunction) -> list[Record | InstructForgeError]:
    """Return what ``make`` gives for each instruction; unlabelled ones have no record."""
    made: list[Record | InstructForgeError] = []
    for instruction in instructions:
        last = instruction.messages[-1]
        try:
            if not last.content.strip() and not last.tool_calls:
                raise NotHeldError("unlabelled", "the row has no answer")
            made.append(make(instruction, train))
        except InstructForgeError as error:
            made.append(error)
    return made
