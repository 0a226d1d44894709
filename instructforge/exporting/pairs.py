"""Formats of single questions and answers: Alpaca."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen

from instructforge.data import Instruction
from instructforge.errors import InstructForgeError
from instructforge.exporting.records import Companion, ExportPlan, Record, assistant_turns, each, plain_chat, system_of

__all__ = ["AlpacaExporter"]


@frozen
class AlpacaExporter:
    """Alpaca: instruction, input, output, with a system text and the turns before as history.

    Where a prompt is nothing but the fields ``instruction`` and ``input``, one below the other, they go into the two
    columns, which those who read the format join by a line break; any other prompt is the instruction.

    Source: the data section of LLaMA-Factory's documentation.
    """

    name: ClassVar[str] = "alpaca"
    summary: ClassVar[str] = "JSON of Alpaca: instruction, input, output, system, history"
    suffix: ClassVar[str] = ".json"
    losses: ClassVar[Mapping[str, str]] = {
        "reasoning": "what the assistant thought before it answered",
        "name": "names of speakers",
        "blank-line": "a blank line between instruction and input, where the format's readers put a line break",
        "untrained-turns": "earlier answers that are not trained here, and are learnt there",
    }

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return a record for each instruction."""
        return each(instructions, train, self._record)

    def _record(self, instruction: Instruction, train: str) -> Record:
        lost: set[str] = set()
        *before, (asked, answer) = plain_chat(instruction, lost)
        head, body = _parted(instruction, asked, lost)
        value: dict[str, Any] = {"instruction": head, "input": body, "output": answer}
        if system := system_of(instruction.messages):
            value["system"] = system
        if before:
            value["history"] = [list(pair) for pair in before]
        trained = assistant_turns(instruction, train)
        answers = [place for place, message in enumerate(instruction.messages) if message.role == "assistant"]
        if not all(trained[place] for place in answers):
            lost.add("untrained-turns")
        return Record(value, tuple(sorted(lost)))

    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return the ``dataset_info.json`` that names the files."""
        columns = {
            "prompt": "instruction",
            "query": "input",
            "response": "output",
            "system": "system",
            "history": "history",
        }
        entry = {
            f"{plan.name}-{split}": {"file_name": name, "formatting": "alpaca", "columns": columns}
            for split, name in plan.files.items()
        }
        return (Companion(name="dataset_info.json", text=json.dumps(entry, ensure_ascii=False, indent=2) + "\n"),)


def _parted(instruction: Instruction, asked: str, lost: set[str]) -> tuple[str, str]:
    """Return instruction and input, where the prompt is nothing but these two fields, one below the other."""
    inputs = instruction.example.inputs
    head, body = inputs.get("instruction"), inputs.get("input")
    if isinstance(head, str) and isinstance(body, str) and body:
        for gap in ("\n", "\n\n"):
            if asked == f"{head.strip()}{gap}{body.strip()}":
                lost |= {"blank-line"} if len(gap) > 1 else set()
                return head, body
    return asked, ""
