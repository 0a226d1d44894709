"""Decoders of free text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from attrs import frozen

from instructforge.data import Answer, Instruction, Output, Prediction
from instructforge.decoders.base import answered, each, reply_of, text_of
from instructforge.errors import DecodingError, printable
from instructforge.tasks import Task

__all__ = ["PerText", "TextDecoder", "per_text"]


@frozen
class TextDecoder:
    """The generated text is the answer, without the spaces around it; a ``Reply`` where there is more than text."""

    name: ClassVar[str] = "text"
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return each text as its own answer; an empty one is an error."""
        return each(outputs, instructions, lambda output, instruction: answered(reply_of(output, instruction)))


@frozen
class PerText:
    """A decoder made of a function of one text; see ``per_text``."""

    name: str
    function: Callable[[str], Answer]
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return what the function makes of each text; whatever it raises becomes that prediction's error."""

        def _read(output: Output, instruction: Instruction) -> Prediction:
            try:
                return answered(self.function(text_of(output, instruction)))
            except DecodingError:
                raise
            except Exception as error:
                raise DecodingError(f"{type(error).__name__}: {printable(error)}") from error

        return each(outputs, instructions, _read)


def per_text(name: str, function: Callable[[str], Answer]) -> PerText:
    """Make a decoder called ``name`` of a function of one text.

    The function returns the answer, or raises ``DecodingError`` (or any error) where it cannot tell.

    >>> per_text("upper", str.upper).name
    'upper'
    """
    return PerText(name, function)
