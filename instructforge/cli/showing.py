"""Instructions as a person reads them: roles, text, what is trained, and where each field stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instructforge.cli.output import on_terminal, say, visible
from instructforge.data import Instruction, Landing
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
    """Yield an instruction as plain lines: each turn's role on a line, its text indented below."""
    for message in instruction.messages:
        yield f"  {message.role}{' (trained)' if message.trained else ''}"
        yield from (f"    {line}" for line in message.content.split("\n"))


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
        console.print(Text(f"  {message.role}{' (trained)' if message.trained else ''}", style="bold"))
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
