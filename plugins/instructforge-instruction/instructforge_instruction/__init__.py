"""Free-form instruction following: an instruction, what it is about, and the answer; alone or within a conversation."""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Field, Lazy, Normalizer, Task, TemplateFolder, Text, hookimpl
from instructforge.tasks import read_samples
from instructforge_instruction import normalizers

HERE = Path(__file__).parent


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    yield Task(
        "instruction",
        summary="Follow an instruction, with reasoning and tool calls where the data have them.",
        fields={
            "instruction": "what the user asks for",
            "input": Field("what the instruction is about", optional=True),
            "system": Field("who the assistant is to be", optional=True),
            "history": Field("the conversation before the instruction", kind="turns", optional=True),
            "steps": Field("what the assistant has done since: tool calls and results", kind="turns", optional=True),
            "examples": Field("the instruction carried out on other inputs", kind="list", optional=True),
            "tools": Field("what the assistant may call", kind="tools", optional=True),
        },
        target=Text(max_new_tokens=512),
        normalizers=[normalizer.name for normalizer in normalizers.ALL],
        metrics=["exact-match", "token-f1", "final-number", "tool-calls"],
        samples=read_samples(HERE / "samples.jsonl"),
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield from normalizers.ALL


@hookimpl
def instructforge_readers() -> Iterator[Lazy]:
    summary = "JSON of Natural Instructions: one definition, many instances"
    yield Lazy("natural-instructions", "instructforge_instruction.natural:NaturalInstructionsReader", summary=summary)


@hookimpl
def instructforge_metrics() -> Iterator[Lazy]:
    home = "instructforge_instruction.metrics"
    yield Lazy("final-number", f"{home}:FinalNumber", summary="share of answers that come to the right number")
    yield Lazy("tool-calls", f"{home}:ToolCalls", summary="share of replies that call the right tools rightly")


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
