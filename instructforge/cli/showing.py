"""Instructions as a person reads them: roles, text, what is trained, and where each field stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from instructforge.cli.output import on_terminal, say, visible
from instructforge.data import Instruction, Landing, Message, Reply
from instructforge.errors import TemplateError
from instructforge.files import seed_of

if TYPE_CHECKING:
    from instructforge.plugins import Forge
    from instructforge.tasks import Task

__all__ = ["first_rendering", "instruction_lines", "say_instruction"]

_STYLES = ("cyan", "magenta", "yellow", "blue", "bright_cyan", "bright_magenta")


def first_rendering(forge: Forge, task: Task, language: str) -> Instruction | None:
    """Return a sample of ``task`` under the first template that takes one; None where none does."""
    samples = [(number, sample) for number, sample in enumerate(task.samples) if sample.language == language]
    for ref in forge.templates.refs(task.name, language):
        for number, sample in samples:
            try:
                example = sample.to_example(number)
                return forge.template(ref.key).render(example, seed=seed_of(0, example.id, ref.key))
            except TemplateError:
                continue  # it does not apply, or is wrong: `check` and `doctor` tell about the wrong ones
    return None


def instruction_lines(instruction: Instruction) -> Iterator[str]:
    """Yield an instruction as plain lines: each turn's role on a line, its text and what else it has indented below."""
    for message in instruction.messages:
        yield f"  {_heading(message)}"
        yield from (f"    {line}" for line in _before(message))
        if message.content or not message.tool_calls:
            yield from (f"    {line}" for line in message.content.split("\n"))
        yield from (f"    {line}" for line in _behind(message))
    yield from (f"  {line}" for line in _tools(instruction))


def _heading(message: Message) -> str:
    weight = "" if message.weight is None else f", weight {message.weight}"
    return (
        f"{message.role}{f' ({message.name})' if message.name else ''}{' (trained)' if message.trained else ''}{weight}"
    )


def _before(message: Message) -> Iterator[str]:
    if message.reasoning:
        yield from f"[reasoning] {message.reasoning}".split("\n")


def _behind(message: Message) -> Iterator[str]:
    for name, arguments in Reply("", tool_calls=message.tool_calls).calls:
        yield f"[tool call] {name} {json.dumps(arguments, ensure_ascii=False)}"


def _tools(instruction: Instruction) -> Iterator[str]:
    for tool in instruction.tools:
        function = tool.get("function", tool)
        yield f"may call: {json.dumps(function, ensure_ascii=False)}"


def say_instruction(instruction: Instruction) -> None:
    """Print an instruction; on a terminal the fields are coloured where they stand."""
    if on_terminal():
        _say_coloured(instruction)
    else:
        for line in instruction_lines(instruction):
            say(line)


def _say_coloured(instruction: Instruction) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    colour = {name: _STYLES[n % len(_STYLES)] for n, name in enumerate(_fields_of(instruction))}
    for number, message in enumerate(instruction.messages):
        console.print(Text(f"  {visible(_heading(message))}", style="bold"))
        for told in _before(message):
            console.print(Text(f"    {visible(told)}", style="italic"), soft_wrap=True)
        text = Text(style="green" if message.trained else "")
        place = 0
        for landing in _landings_of(instruction, number):
            if landing.start >= place:
                text.append(visible(message.content[place : landing.start]))
                text.append(visible(message.content[landing.start : landing.end]), style=colour[landing.field])
                place = landing.end
        text.append(visible(message.content[place:]))
        for line in text.split("\n", allow_blank=True):
            console.print(Text("    ").append_text(line), soft_wrap=True)
        for told in _behind(message):
            console.print(Text(f"    {visible(told)}", style="green" if message.trained else ""), soft_wrap=True)
    for told in _tools(instruction):
        console.print(Text(f"  {visible(told)}", style="dim"), soft_wrap=True)
    legend = Text("  ")
    for name, style in colour.items():
        legend.append(f"■ {visible(name)}  ", style=style)
    console.print(legend)


def _fields_of(instruction: Instruction) -> list[str]:
    return list(dict.fromkeys(landing.field for landing in instruction.landings))


def _landings_of(instruction: Instruction, message: int) -> list[Landing]:
    return sorted(
        (one for one in instruction.landings if one.message == message), key=lambda one: (one.start, -one.end)
    )
