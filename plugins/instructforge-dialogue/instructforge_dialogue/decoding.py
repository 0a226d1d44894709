"""The decoder of slots and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from instructforge.data import Instruction, Output, Prediction
from instructforge.decoders.base import answered, each, text_of
from instructforge.tasks import Task
from instructforge_dialogue.slots import read_slots

__all__ = ["SlotsDecoder"]


@frozen
class SlotsDecoder:
    """Reads slots and their values: a line each, or a JSON object."""

    name: ClassVar[str] = "slots"
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return each text's slots, sorted; a text with anything else in it is an error."""
        return each(outputs, instructions, lambda output, row: answered(read_slots(_written(output, row))))


def _written(output: Output, instruction: Instruction) -> str:
    """Return the text without what the template puts around an answer; JSON is not the template's, and is whole."""
    text = (output.text or "").strip()
    return text if text.startswith("{") and text.endswith("}") else text_of(output, instruction)
