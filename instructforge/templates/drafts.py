"""Frozen values made quickly.

Rendering makes half a dozen frozen values for each row, and the ``__init__`` of a frozen class with slots costs
more than rendering does: it sets each attribute through ``object.__setattr__``. A draft has the same slots and no
such guard; when it is filled it becomes the frozen type. Python allows that between classes of one layout.
"""

from __future__ import annotations

from typing import Any

from instructforge.data import Instruction, Landing, Message

__all__ = ["InstructionDraft", "LandingDraft", "MessageDraft"]


class LandingDraft:
    """A ``Landing`` to be: set every attribute, then ``__class__ = Landing``."""

    __slots__ = tuple(Landing.__slots__)  # type: ignore[attr-defined]
    field: str
    message: int
    start: int
    end: int
    item: int | None
    exact: bool


class MessageDraft:
    """A ``Message`` to be: set every attribute, then ``__class__ = Message``."""

    __slots__ = tuple(Message.__slots__)  # type: ignore[attr-defined]
    role: str
    content: str
    trained: bool
    reasoning: str | None
    tool_calls: tuple[Any, ...]
    name: str | None
    tool_call_id: str | None
    weight: int | None


class InstructionDraft:
    """An ``Instruction`` to be: set every attribute, then ``__class__ = Instruction``."""

    __slots__ = tuple(Instruction.__slots__)  # type: ignore[attr-defined]
    example: Any
    task: str
    language: str
    template: str
    template_sha256: str
    messages: tuple[Message, ...]
    landings: tuple[Landing, ...]
    labels: tuple[str, ...]
    choices: tuple[str, ...]
    cuttable: tuple[str, ...]
    inverted: str | None
    affixes: tuple[str, str]
    tools: tuple[Any, ...]
