"""promptsource's templates converted into templates of a task that is there already.

A converted template shows the task's fields and leaves the answer to the task, so that decoder, metrics and every
other template of the task are the same for it. What its target is made of is found out by rendering it: with each
label, or with an answer that cannot be mistaken, and the rest of the row made of marks. What was converted is
rendered once more by both sides; where they differ, it is not converted after all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import Factory, frozen
from jinja2 import meta

from instructforge.data import NO_ANSWER, Answer, Example, SpanAnswer
from instructforge.errors import ConfigError, TemplateError, did_you_mean, printable
from instructforge.importing.as_they_are import language_told
from instructforge.importing.pieces import NotConvertible, Piece, halves, kept, pieces, source_of
from instructforge.importing.promptsource import Collection, PromptsourceTemplate
from instructforge.importing.slugs import Names
from instructforge.importing.writing import PlannedTask, Plugin, Report
from instructforge.tasks import Choice, Span, Task, Text
from instructforge.templates.asis import literal
from instructforge.templates.dialects import CHOICES
from instructforge.templates.template import compile_template

__all__ = ["Mapped", "convert", "plan_conversion"]

ANSWER = "answer"
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d{1,2}\])*")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_GIVEN = frozenset((ANSWER, "choices", "letters", "language"))


@frozen
class Mapped:
    """Where the fields of a task, and its answer, stand in the rows that templates are for.

    Args:
        columns: Field (or ``answer``) → column, or a place in one: ``answers.text[0]``.
        labels: What stands there for each label of the task; by default its number, in the order of the labels.

    Raises:
        ConfigError: A field is unknown, a place is no place, or the answer has none.
    """

    task: Task
    columns: Mapping[str, str]
    labels: Mapping[Any, str] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        known = [*self.task.fields, ANSWER]
        problems = [
            f'the task "{self.task.name}" has no field "{printable(name, 80)}". {did_you_mean(name, known)}'
            for name in self.columns
            if name not in known
        ]
        problems += [
            f'"{printable(place, 80)}" is no place in a row: a column, or a place in one such as answers.text[0]'
            for place in self.columns.values()
            if not _PATH.fullmatch(place)
        ]
        if ANSWER not in self.columns:
            problems.append(f"say where the answer stands: --column {ANSWER}=COLUMN")
        target = self.task.target
        if not isinstance(target, Text | Span | Choice) or getattr(target, "multiple", False):
            problems.append(f'the task "{self.task.name}" has answers that no template of promptsource gives')
        options = getattr(target, "options", {})
        problems += [
            f'the task "{self.task.name}" has no label "{printable(label, 80)}". {did_you_mean(label, options)}'
            for label in self.labels.values()
            if label not in options
        ]
        if problems:
            raise ConfigError(problems)

    @property
    def values(self) -> dict[Any, str]:
        """What stands in a row for each label."""
        return dict(self.labels) or dict(enumerate(getattr(self.task.target, "options", ())))

    def column(self, name: str) -> str:
        """Return the column that a field, or the answer, stands in."""
        return self.columns[name].partition(".")[0].partition("[")[0]

    def row(self, inputs: Mapping[str, Any], answer: Any) -> dict[str, Any]:
        """Return a row of the data set made of a task's fields and an answer."""
        row: dict[str, Any] = {}
        for name, place in self.columns.items():
            if name != ANSWER and name in inputs:
                _put(row, place, inputs[name])
        _put(row, self.columns[ANSWER], answer)
        return row


def _put(row: dict[str, Any], place: str, value: Any) -> None:
    """Put ``value`` at a place of a row: ``answers.text[0]``."""
    column = _PATH.match(place)
    assert column is not None
    steps: list[str | int] = [place.partition(".")[0].partition("[")[0]]
    steps += [int(number) if number else name for name, number in _STEP.findall(place)]
    holder: Any = row
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        made: Any = value if following is None else [] if isinstance(following, int) else {}
        if isinstance(step, int):
            holder.extend([value] * (step + 1 - len(holder)))
            holder[step] = made
        else:
            made = made if following is None or not isinstance(holder.get(step), type(made)) else holder[step]
            holder[step] = made
        holder = made


def plan_conversion(
    templates: Sequence[PromptsourceTemplate],
    mapped: Mapped,
    *,
    name: str,
    source: str,
    collection: Collection | None = None,
    language: str | None = None,
) -> Plugin:
    """Return the plugin with those of ``templates`` that can be converted."""
    refused: dict[str, str] = {}
    files: dict[str, str] = {}
    slugs: dict[str, Names] = {}
    for template in templates:
        told = language_told(template, language)
        try:
            made = convert(template, mapped, language=told)
        except NotConvertible as error:
            refused[f"{template.key} ({template.id})"] = str(error)
            continue
        file = slugs.setdefault(told, Names()).claim(
            f"{template.dataset_name} {template.name}", otherwise=f"template-{template.id[:8]}"
        )
        files[f"{told}/{file}"] = made
    failures = collection.failures if collection is not None else ()
    report = Report(
        kind="promptsource",
        source=source,
        found=len(templates) + len(failures),
        carried=len(files),
        tasks=0,
        templates=len(files),
        refused=refused,
        unreadable=[printable(str(failure).partition("\n")[0], 300) for failure in failures],
        renamed={old: new for one in slugs.values() for old, new in one.collisions.items()},
        notes=_notes(mapped),
    )
    planned = PlannedTask(entry={"name": mapped.task.name}, templates=files)
    return Plugin(name=name, tasks=[planned] if files else [], report=report, own_tasks=False)


def _notes(mapped: Mapped) -> list[str]:
    if isinstance(mapped.task.target, Choice) and mapped.task.target.options and not mapped.labels:
        order = ", ".join(f"{value} is {label}" for value, label in mapped.values.items())
        return [f"labels are taken in the task's order: {order} (--label VALUE=LABEL says otherwise)"]
    return []


def convert(template: PromptsourceTemplate, mapped: Mapped, *, language: str) -> str:
    """Return the file of a converted template.

    Raises:
        NotConvertible: It cannot be; the text says why.
    """
    try:
        parted = halves(pieces(template.jinja))
        found = _Finder(template, mapped).find()
        if template.text.draws and any(_Finder(template, mapped, seed).find() != found for seed in range(1, 6)):
            raise NotConvertible("its target is drawn at random")
    except TemplateError as error:
        raise NotConvertible(printable(str(error).partition("\n")[0], 200)) from None
    made = _Writer(template, mapped, found, parted.prompt, len(parted.around)).write()
    _prove(template, mapped, made, found, language)
    return made


# --- What the target is made of -----------------------------------------------------------------------


@frozen
class _Found:
    """What a target was found to be.

    Attributes:
        words: The completion of each label, for a closed set of labels.
        asked: The field that the template asks for instead of the answer.
        before, after: What stands around the answer.
        choices: The answer choices, where they are the same for every row; or the field that holds them.
    """

    words: Mapping[str, str] | None = None
    asked: str | None = None
    before: str = ""
    after: str = ""
    choices: Sequence[str] | str | None = None
    value: Any = None
    """What stands in a row for the answer: how the row that was tried had it."""


class _Finder:
    """Finds out what a template's target is made of by rendering rows of marks."""

    def __init__(self, template: PromptsourceTemplate, mapped: Mapped, seed: int = 0) -> None:
        self.template, self.mapped, self.task, self.seed = template, mapped, mapped.task, seed
        self.inputs = {
            name: [_mark(name, place) for place in range(3)] if field.kind == "list" else _mark(name)
            for name, field in self.task.fields.items()
            if field.kind in ("text", "list", "value")
        }

    def find(self) -> _Found:
        target = self.task.target
        if isinstance(target, Choice):
            return self._of_row(target) if target.from_field else self._of_labels()
        answer = _mark(ANSWER)
        if isinstance(target, Span):
            self.inputs[target.within] = f"{self.inputs[target.within]} {answer} ."
        shown = self._target(answer)
        choices = self._fixed_choices()
        if shown.count(answer) == 1 and not self._marks_in(shown.replace(answer, "")):
            before, _, after = shown.partition(answer)
            return _Found(before=before, after=after, choices=choices, value=answer)
        return self._asked(shown, answer, choices)

    def _asked(self, shown: str, answer: Any, choices: Any) -> _Found:
        """Tell which field a template asks for whose target is none of the answer."""
        for name, value in self.inputs.items():
            if shown == value and self.task.fields[name].kind == "text":
                return _Found(asked=name, choices=choices, value=answer)
        raise NotConvertible("its target is neither the answer nor a field of the task")

    def _of_labels(self) -> _Found:
        values = self.mapped.values
        shown = {label: self._target(value) for value, label in values.items()}
        first = next(iter(values))
        if len(set(shown.values())) == 1:
            return self._asked(next(iter(shown.values())), first, self._fixed_choices(first))
        if any(self._marks_in(text) for text in shown.values()):
            raise NotConvertible("its target shows more of the row than the answer")
        for label in getattr(self.task.target, "options", ()):
            if not shown.get(label):
                raise NotConvertible(f'it has no words for the label "{printable(label, 60)}"')
        if len(set(shown.values())) < len(shown):
            raise NotConvertible("it has the same words for two labels")
        return _Found(words=shown, choices=self._fixed_choices(first), value=first)

    def _of_row(self, target: Choice) -> _Found:
        options = self.inputs[str(target.from_field)]
        for value, wanted in ((1, 1), (options[1], 1), ("B", 1), (2, 1), ("2", 1), ("1", 1)):
            row = self.mapped.row(self.inputs, value)
            try:
                words, shown = self.template.choices(row, seed=self.seed), self._target(value)
            except (TemplateError, NotConvertible):
                continue
            if words is not None and words != options:
                raise NotConvertible("its answer choices are not those of the row")
            if shown == options[wanted]:
                return _Found(choices=None if words is None else target.from_field, value=value)
        raise NotConvertible("its target is not the choice that the answer names")

    def _target(self, answer: Any) -> str:
        row = self.mapped.row(self.inputs, answer)
        made = self.template.render(row, seed=self.seed)
        if made is None:
            raise NotConvertible("it passes over a row of the task's fields")
        return made[1]

    def _fixed_choices(self, answer: Any = None) -> Sequence[str] | None:
        if self.template.answer_choices is None:
            return None
        row = self.mapped.row(self.inputs, _mark(ANSWER) if answer is None else answer)
        words = self.template.choices(row, seed=self.seed) or []
        if any(self._marks_in(word) for word in words):
            raise NotConvertible("its answer choices are made of the row, and those of the task are not")
        return words

    def _marks_in(self, text: str) -> bool:
        return _MARK in text


_MARK = "\ue010"


def _mark(name: str, place: int | None = None) -> str:
    """Return a text that no template writes by itself."""
    return f"{_MARK}{name}{'' if place is None else place} Mark{_MARK}"


# --- Writing ------------------------------------------------------------------------------------------


class _Writer:
    """Writes a converted template."""

    def __init__(
        self, template: PromptsourceTemplate, mapped: Mapped, found: _Found, prompt: Iterable[Piece], around: int
    ) -> None:
        self.template, self.mapped, self.found = template, mapped, found
        self.prompt = self._freed(list(prompt), around)
        self.asked_for = self._names()

    def write(self) -> str:
        """Return the file.

        Raises:
            NotConvertible: The prompt asks for what the task does not have.
        """
        found = self.found
        lines = [f"{{# {self._note()} #}}"]
        if found.words is not None:
            pairs = ", ".join(f"{literal(label)}: {literal(words)}" for label, words in found.words.items())
            lines.append(f"{{% set choices = {{{pairs}}} %}}")
        if found.asked is not None:
            lines.append(f'{{% set inverted = "{found.asked}" %}}')
        opened, closed = self._condition()
        lines += ["{% block prompt %}", *opened, *self._columns()]
        lines += [source_of(kept(self.prompt)), *closed, "{% endblock %}"]
        if found.asked is None:
            inner = "{{ answer }}"
            if found.words is None:
                inner = f"{_as_text(found.before)}{inner}{_as_text(found.after)}"
            lines.append(f"{{% block completion %}}{inner}{{% endblock %}}")
        return "\n".join(lines) + "\n"

    def _note(self) -> str:
        told = f"{self.template.dataset_name}: {self.template.name} · {self.template.id} · {self.template.reference}"
        return printable(" ".join(told.split()), 600).replace("#}", "# }").rstrip(" ·")

    def _freed(self, prompt: list[Piece], around: int) -> list[Piece]:
        """Take off conditions around the whole template that only ask whether the row has an answer."""
        answer = self.mapped.column(ANSWER)
        while around and prompt and prompt[-1].name == "endif":
            first = next((place for place, piece in enumerate(prompt) if piece.source.strip()), None)
            if first is None or prompt[first].name != "if" or _names_of(_condition(prompt[first])) != {answer}:
                break
            if any(piece.name in ("else", "elif") for piece in prompt):
                break
            prompt = [piece for place, piece in enumerate(prompt[:-1]) if place != first]
            around -= 1
        return prompt

    def _names(self) -> set[str]:
        return _names_of(source_of(self.prompt))

    def _columns(self) -> list[str]:
        """Return lines that give the template its columns by the names that it knows them by."""
        lines = []
        found, asked_for = self.found, set(self.asked_for)
        columns = {self.mapped.column(name): name for name in self.mapped.columns if name != ANSWER}
        if CHOICES in asked_for:
            asked_for.discard(CHOICES)
            choices = found.choices
            if choices is None:
                raise NotConvertible("its prompt shows answer choices, and it has none")
            given = "choices" if isinstance(choices, str) else f"[{', '.join(map(literal, choices))}]"
            lines.append(f"{{% set {CHOICES} = {given} %}}")
        for column in sorted(asked_for):
            name = columns.get(column)
            if name is None:
                lines += self._of_answer(column)
            elif self.mapped.columns[name] != column:
                raise NotConvertible(f'it shows "{column}", and the task has only a part of it')
            elif name == found.asked:
                raise NotConvertible("its prompt shows what it asks for")
            elif column != name:
                lines.append(f"{{% set {column} = {name} %}}")
            if column != name and column in _GIVEN and name is not None:
                raise NotConvertible(f'"{column}" is a name that templates are given')
        return lines

    def _of_answer(self, column: str) -> list[str]:
        if column != self.mapped.column(ANSWER):
            raise NotConvertible(f'it asks for the column "{printable(column, 60)}", which is no field of the task')
        if self.found.asked is None:
            raise NotConvertible("its prompt depends on the answer")
        if self.mapped.columns[ANSWER] != column or isinstance(self.mapped.task.target, Choice):
            raise NotConvertible("its prompt shows the answer in a form that the task does not have")
        return [] if column == ANSWER else [f"{{% set {column} = answer %}}"]

    def _condition(self) -> tuple[list[str], list[str]]:
        """Return what keeps an inverted template to rows with an answer, where it shows the answer."""
        if self.found.asked is None or self.mapped.column(ANSWER) not in self.asked_for:
            return [], []
        return ["{% if answer is defined %}"], ["{% endif %}"]


def _as_text(text: str) -> str:
    """Return a text as it stands in a template."""
    return f"{{{{ {literal(text)} }}}}" if "{" in text else text


def _condition(piece: Piece) -> str:
    return f"{piece.source}{{% endif %}}"


def _names_of(source: str) -> set[str]:
    from jinja2 import Environment
    from jinja2.exceptions import TemplateSyntaxError

    environment = Environment()
    environment.filters = dict.fromkeys((*environment.filters, "choice", "most_frequent", "highlight"), str)
    try:
        return set(meta.find_undeclared_variables(environment.parse(source))) - {"range", "zip", "namespace", "dict"}
    except TemplateSyntaxError as error:
        raise NotConvertible(f"its prompt does not stand by itself: {error.message}") from None


# --- The proof ----------------------------------------------------------------------------------------


def _prove(template: PromptsourceTemplate, mapped: Mapped, source: str, found: _Found, language: str) -> None:
    """Render a row of marks, and the task's samples, on both sides; what differs is not converted.

    Raises:
        NotConvertible: Something differs, or the converted template is refused.
    """
    try:
        ours = compile_template(source, task=mapped.task, language=language, name="converted")
    except TemplateError as error:
        raise NotConvertible(printable(" ".join(str(error).split("\n")[:1]), 200)) from None
    samples = [sample for sample in mapped.task.samples if sample.answer != NO_ANSWER]
    rows = [(sample.inputs, sample.answer) for sample in samples] + list(_marked_rows(template, mapped))
    tried = 0
    for inputs, answer in rows:
        row = mapped.row(inputs, _as_given(mapped, answer, inputs, found.value))
        try:
            theirs = template.render(row)
            instruction = ours.render(Example(inputs=inputs, answers=(answer,), id=""), seed=0)
        except TemplateError as error:
            if error.rule == "not-applicable":
                continue
            raise NotConvertible(f"it fails on a sample: {printable(str(error).partition(chr(10))[0], 160)}") from None
        if theirs is None:
            raise NotConvertible("it passes over a row that the converted one takes")
        if (instruction.prompt[-1].content, instruction.completion) != theirs:
            raise NotConvertible("the converted one gives another text for a row")
        tried += 1
    if not tried:
        raise NotConvertible("it applies to none of the rows that were tried")


def _marked_rows(template: PromptsourceTemplate, mapped: Mapped) -> Iterable[tuple[Mapping[str, Any], Answer]]:
    """Yield rows of marks with each answer that they may have."""
    target = mapped.task.target
    finder = _Finder(template, mapped)
    if isinstance(target, Choice):
        for label in target.labels(finder.inputs):
            yield finder.inputs, label
    elif isinstance(target, Span):
        passage = f"{finder.inputs[target.within]} {_mark(ANSWER)} ."
        yield {**finder.inputs, target.within: passage}, SpanAnswer(_mark(ANSWER), passage.index(_mark(ANSWER)))
    else:
        yield finder.inputs, _mark(ANSWER)


def _as_given(mapped: Mapped, answer: Any, inputs: Mapping[str, Any], value: Any) -> Any:
    """Return what stands in a row for an answer of the task."""
    target = mapped.task.target
    if isinstance(answer, SpanAnswer):
        return answer.text
    if isinstance(target, Choice) and target.from_field:
        place = list(inputs[target.from_field]).index(answer)
        if isinstance(value, int):
            return place if value == 1 else place + 1
        return "ABCDEFGHIJ"[place] if value == "B" else str(place + int(value) - 1) if value in ("1", "2") else answer
    if isinstance(target, Choice):
        return next(value for value, label in mapped.values.items() if label == answer)
    return answer
