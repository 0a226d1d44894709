"""Formats that other projects evaluate on: tasks of lm-evaluation-harness, and Natural Instructions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen

from instructforge.data import Instruction, Reply, SpanAnswer
from instructforge.errors import InstructForgeError
from instructforge.exporting.records import Companion, ExportPlan, NotHeldError, Record, each, plain_chat, system_of

__all__ = ["LmEvalExporter", "NaturalInstructionsExporter"]

_SINGLE = "the turns before the last question"


def _single(instruction: Instruction, lost: set[str]) -> tuple[str, str]:
    """Return question and answer of an instruction of one exchange.

    Raises:
        NotHeldError: It has more, or asks for something else than the task's answer.
    """
    if instruction.inverted is not None:
        raise NotHeldError("inverted", "its template asks for a field, not for the answer that is scored")
    exchanges = plain_chat(instruction, lost)
    if len(exchanges) > 1:
        raise NotHeldError("history", "the format has one question and one answer")
    return exchanges[0]


@frozen
class LmEvalExporter:
    """A task of lm-evaluation-harness: one YAML, and the prompts as they are, as JSONL.

    Rows with choices are scored by the likelihood of each choice, others are generated.

    Source: the fields of lm_eval/config/task.py.
    """

    name: ClassVar[str] = "lm-eval"
    summary: ClassVar[str] = "JSONL and task YAML of lm-evaluation-harness"
    suffix: ClassVar[str] = ".jsonl"
    losses: ClassVar[Mapping[str, str]] = {"reasoning": "what the assistant thought", "name": "names of speakers"}

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return prompt, answer and choices of each instruction."""
        return each(instructions, train, self._record)

    def _record(self, instruction: Instruction, train: str) -> Record:
        lost: set[str] = set()
        asked, answer = _single(instruction, lost)
        value: dict[str, Any] = {"id": instruction.id, "system": system_of(instruction.messages), "prompt": asked}
        if instruction.choices and answer in instruction.choices:
            value |= {"choices": list(instruction.choices), "label": instruction.choices.index(answer)}
        return Record(value | {"target": answer, "language": instruction.language}, tuple(sorted(lost)))

    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return the task's YAML; its texts stand in double quotes, in which escapes mean what they say."""
        scored = [("acc", "mean"), ("acc_norm", "mean")] if plan.choices else [("exact_match", "mean")]
        lines = [
            f"task: {_quoted(plan.name.replace('-', '_'))}",
            'dataset_path: "json"',
            "dataset_kwargs:",
            "  data_files:",
            *(f"    {split}: {_quoted(name)}" for split, name in plan.files.items()),
            *(f"{split_key}: {split}" for split_key, split in _splits(plan)),
            f"output_type: {'multiple_choice' if plan.choices else 'generate_until'}",
            'description: "{{system}}{% if system %}\\n\\n{% endif %}"',
            'doc_to_text: "{{prompt}}"',
            f"doc_to_target: {_quoted('label' if plan.choices else '{{target}}')}",
            *(['doc_to_choice: "choices"'] if plan.choices else []),
            f"target_delimiter: {_quoted('' if plan.languages == ('zh',) else ' ')}",
            *([] if plan.choices else _generation(plan)),
            "metric_list:",
            *(f"  - {{metric: {metric}, aggregation: {how}, higher_is_better: true}}" for metric, how in scored),
            "metadata: {version: 1.0}",
        ]
        return (Companion(name=f"{plan.name.replace('-', '_')}.yaml", text="\n".join(lines) + "\n"),)


def _splits(plan: ExportPlan) -> list[tuple[str, str]]:
    keys = {"train": "training_split", "validation": "validation_split", "test": "test_split"}
    found = [(key, split) for split, key in keys.items() if split in plan.files]
    return [*found, *([("fewshot_split", "train")] if "train" in plan.files else [])]


def _generation(plan: ExportPlan) -> list[str]:
    return [f'generation_kwargs: {{until: ["\\n\\n"], do_sample: false, max_gen_toks: {plan.max_new_tokens}}}']


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@frozen
class NaturalInstructionsExporter:
    """Natural Instructions: a definition, and instances with an input and all right outputs, one file a split.

    Source: the layout of the Super-NaturalInstructions collection.
    """

    name: ClassVar[str] = "natural-instructions"
    summary: ClassVar[str] = "JSON of Natural Instructions: definition, instances with every gold answer"
    suffix: ClassVar[str] = ".json"
    losses: ClassVar[Mapping[str, str]] = {
        "system": "the system text; it goes in front of the input",
        "reasoning": "what the assistant thought",
        "name": "names of speakers",
    }

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return an instance for each instruction."""
        return each(instructions, train, self._record)

    def _record(self, instruction: Instruction, train: str) -> Record:
        lost: set[str] = set()
        asked, answer = _single(instruction, lost)
        system = system_of(instruction.messages)
        lost |= {"system"} if system else set()
        outputs = dict.fromkeys([answer, *(_other(instruction, gold) for gold in instruction.example.answers[1:])])
        value = {"id": instruction.id, "input": f"{system}\n\n{asked}" if system else asked}
        return Record(value | {"output": [text for text in outputs if text]}, tuple(sorted(lost)))

    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return nothing: the head stands in each file."""
        return ()

    def head(self, plan: ExportPlan) -> dict[str, Any]:
        """Return what stands in a file beside its ``Instances``."""
        names = {"en": "English", "zh": "Chinese"}
        languages = [names.get(code, code) for code in plan.languages]
        return {
            "Contributors": [],
            "Source": [plan.name],
            "URL": [],
            "Categories": [plan.task],
            "Reasoning": [],
            "Definition": [plan.summary],
            "Input_language": languages,
            "Output_language": languages,
            "Instruction_language": languages,
            "Domains": [],
            "Positive Examples": [],
            "Negative Examples": [],
        }


def _other(instruction: Instruction, gold: object) -> str:
    """Return another gold answer as the template would write it: what stands around the first one stands around it."""
    before, after = instruction.affixes
    if instruction.inverted is not None or instruction.choices:
        return ""
    if isinstance(gold, (SpanAnswer, Reply)):
        gold = gold.text
    return f"{before}{gold}{after}" if isinstance(gold, str) and gold else ""
