"""What a template makes of rows: empty or unstable renders, answers that leak or cannot be read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from instructforge.data import Answer, Example, Instruction
from instructforge.errors import TemplateError, printable
from instructforge.linting.findings import Finding
from instructforge.matching import folded
from instructforge.roundtrip import round_trip_problems
from instructforge.tasks import Choice, Span, Task
from instructforge.templates import Template

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["Renderings", "rendered_findings"]

_SEED, _OTHER_SEED = 1, 2
_LEAK_SHARE = 0.5
"""Share of rows in which the answer may stand in the prompt before that is told."""
_LEAK_ROWS = 4
_LEAST_LEAK = 4
"""Characters below which an answer's words stand in many a prompt by chance."""


@frozen(eq=False)
class Renderings:
    """A template with the rows of its language, and what it made of each: an instruction, or the error."""

    template: Template
    examples: tuple[Example, ...]
    made: tuple[Instruction | TemplateError, ...]

    @classmethod
    def of(cls, template: Template, task: Task, rows: Sequence[Example]) -> Renderings:
        examples = tuple(row for row in rows if row.language in (None, template.language))
        return cls(template, examples, tuple(template.render_many(examples, _SEED)))

    @property
    def good(self) -> list[Instruction]:
        return [one for one in self.made if isinstance(one, Instruction)]


Told = tuple[str, str, str]
"""Rule, level and message."""


def rendered_findings(forge: Forge, task: Task, renderings: Renderings) -> Iterator[Finding]:
    """Yield what is wrong with the renderings of one template, each rule once with the number of its rows."""
    rules: tuple[Callable[[Instruction], Iterator[Told]], ...] = (
        _empty,
        _target_not_a_choice,
        lambda made: _asked_field_shown(made, renderings.template),
        lambda made: _unstable(made, renderings.template),
        lambda made: _answer_changes_prompt(made, renderings.template, task),
        lambda made: (("not-recoverable", "error", problem) for problem in round_trip_problems(forge, task, made)),
    )
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for example, made in zip(renderings.examples, renderings.made, strict=True):
        if isinstance(made, TemplateError):
            if made.rule != "not-applicable":
                found.setdefault((made.rule or "refused", "error"), []).append((example.id, str(made)))
            continue
        for rule in rules:
            for name, level, message in rule(made):
                found.setdefault((name, level), []).append((example.id, message))
    for (name, level), places in found.items():
        yield _finding(renderings, name, level, places)
    yield from _never_applies(renderings)
    yield from _answer_in_prompt(renderings, task)


def _finding(renderings: Renderings, rule: str, level: str, places: Sequence[tuple[str, str]]) -> Finding:
    first, message = places[0]
    return Finding(
        template=renderings.template.key,
        rule=rule,
        level=level,
        message=message,
        rows=len(places),
        of=len(renderings.made),
        example=first,
    )


# --- One row ------------------------------------------------------------------------------------------


def _empty(made: Instruction) -> Iterator[Told]:
    if not any(message.content.strip() for message in made.prompt):
        yield "prompt-empty", "error", "the prompt is empty; leave rows out by an empty prompt *block* only"
    if made.example.answers and not made.completion.strip() and not made.messages[-1].tool_calls:
        yield "completion-empty", "error", "the row has an answer, and the completion is empty"
    if made.prompt and made.prompt[-1].content != made.prompt[-1].content.rstrip() and not made.landings:
        yield "trailing-space", "warning", "the prompt ends in a space, before which a model writes differently"


def _target_not_a_choice(made: Instruction) -> Iterator[Told]:
    several = made.example.answers and isinstance(made.example.answers[0], tuple)
    if made.choices and made.example.answers and made.inverted is None and not several:
        if made.completion not in made.choices:
            shown = ", ".join(f'"{printable(choice, 40)}"' for choice in made.choices[:6])
            said = printable(made.completion, 40)
            yield "target-not-a-choice", "error", f'the completion "{said}" is none of the choices {shown}'
        if len(set(map(folded, made.choices))) < len(made.choices):
            yield "choices-alike", "error", "two choices complete with the same words, so no answer tells them apart"


def _asked_field_shown(made: Instruction, template: Template) -> Iterator[Told]:
    """An inverted template must not show what it asks for."""
    wanted = made.example.inputs.get(template.inverted or "")
    if isinstance(wanted, str) and len(wanted.strip()) >= _LEAST_LEAK:
        told = [folded(message.content) for message in made.prompt]
        if any(folded(wanted) in text for text in told):
            yield (
                "answer-leaks",
                "warning",
                f'the text of "{template.inverted}", which it asks for, stands in the prompt',
            )


def _unstable(made: Instruction, template: Template) -> Iterator[Told]:
    again = _rendered(template, made.example, _SEED)
    if isinstance(again, Instruction) and again.to_json() != made.to_json():
        yield "unseeded-randomness", "error", "two renderings with one seed differ; draw by `random` only"
        return
    other = _rendered(template, made.example, _OTHER_SEED)
    if isinstance(other, Instruction) and other.messages != made.messages:
        yield "draws", "note", "it draws by chance: another seed gives another prompt (the row's own seed decides)"


def _answer_changes_prompt(made: Instruction, template: Template, task: Task) -> Iterator[Told]:
    if template.inverted or not made.example.answers:
        return
    other = _another_answer(task, made.example)
    changed = _rendered(template, evolve(made.example, answers=(other,)), _SEED) if other is not None else None
    if isinstance(changed, Instruction) and changed.prompt != made.prompt:
        yield "answer-leaks", "error", "the prompt changes with the answer, and so gives it away"


def _another_answer(task: Task, example: Example) -> Answer | None:
    if isinstance(task.target, Choice) and not task.target.multiple:
        return next((label for label in task.target.labels(example.inputs) if label != example.answers[0]), None)
    return None


def _rendered(template: Template, example: Example, seed: int) -> Instruction | TemplateError:
    try:
        return template.render(example, seed=seed)
    except TemplateError as error:
        return error


# --- All rows of a template ----------------------------------------------------------------------------


def _never_applies(renderings: Renderings) -> Iterator[Finding]:
    if renderings.made and all(isinstance(made, TemplateError) for made in renderings.made):
        places = [(example.id, "it applies to none of the rows of its language") for example in renderings.examples]
        yield _finding(renderings, "never-applies", "warning", places)


def _answer_in_prompt(renderings: Renderings, task: Task) -> Iterator[Finding]:
    """Tell where the answer's words stand in most prompts, though they are not among listed choices or in a passage."""
    if isinstance(task.target, Span) or renderings.template.inverted:
        return
    asked = [made for made in renderings.good if made.example.answers]
    places = [(made.id, _SHOWN) for made in asked if _gives_away(made)]
    if len(places) >= _LEAK_ROWS and len(places) >= _LEAK_SHARE * len(asked):
        yield _finding(renderings, "answer-in-prompt", "warning", places)


_SHOWN = "the answer's words stand in the prompt; see whether a field holds what the model is to find by itself"


def _gives_away(made: Instruction) -> bool:
    prompt = folded("\n".join(message.content for message in made.prompt if message.role != "assistant"))
    answer = folded(made.completion)
    if made.choices:
        others = [choice for choice in made.choices if folded(choice) != answer]
        return answer in prompt and not any(folded(choice) in prompt for choice in others)
    return len(answer) >= _LEAST_LEAK and answer in prompt
