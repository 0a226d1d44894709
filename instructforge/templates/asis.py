"""Templates of other projects as they are, as templates of a task whose fields are the columns of a data set.

Such a file begins with declarations; all that follows them is the author's text, byte for byte.

One of promptsource's says itself what the answer is, and another one for the same rows says it in other words. So the
example that goes with an instruction has the answer of that template: rows come without answers, and leave with them::

    {% set dialect = "promptsource" %}
    {% set answer_choices = "Yes ||| No" %}
    {{ premise }} … Yes or no? ||| {{ answer_choices[label] }}

One of lm-eval's is a ``doc_to_text``. The answer is the example's, as in any other template; what stands before it
(``gen_prefix``) is part of the completion::

    {% set dialect = "lm-eval" %}
    {% set system = "Answer the question." %}
    {% set prefix = none %}
    Question: {{ question }}
    Answer:
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from attrs import evolve
from jinja2 import nodes

from instructforge.data import Example, Instruction, Landing, Message
from instructforge.errors import DataError, TemplateError, did_you_mean, printable
from instructforge.files import sha256_of
from instructforge.tasks import Choice, Task, Text
from instructforge.templates.dialects import CHOICES, LM_EVAL, PROMPTSOURCE, PartedText, RowText
from instructforge.templates.landing import land, make_message
from instructforge.templates.limits import Limits
from instructforge.templates.sandbox import BoundedEnvironment
from instructforge.templates.traced import Traced

if TYPE_CHECKING:
    from instructforge.templates.template import Template

__all__ = [
    "AsIs",
    "declares_dialect",
    "literal",
    "lm_eval_source",
    "promptsource_parts",
    "promptsource_source",
    "writer_of",
]

_DIALECT = re.compile(r"\s*\{%-?\s*set\s+dialect\s*=")
_PROMPTSOURCE_HEAD = re.compile(
    r'\{% set dialect = "promptsource" %\}\n(?:\{#.*?#\}\n)?(\{% set answer_choices = .*? %\})\n'
)
_DECLARED = {PROMPTSOURCE.name: (CHOICES,), LM_EVAL.name: ("system", "prefix")}


class AsIs(Protocol):
    """Renders rows by a template that is as it is."""

    fields_used: frozenset[str]
    lists_choices: bool

    def write(self, example: Example, seed: int) -> Instruction:
        """Return the instruction of one row.

        Raises:
            TemplateError: The template passes the row over (rule ``not-applicable``), or fails on it.
        """


def declares_dialect(source: str) -> bool:
    """Tell whether a template is one of another project's, as it is.

    >>> declares_dialect('{% set dialect = "promptsource" %}')
    True
    """
    return _DIALECT.match(source) is not None


def writer_of(template: Template, source: str) -> AsIs:
    """Return what renders a template that is as it is.

    Raises:
        TemplateError: The declarations, the text or the task do not fit.
    """
    named = re.compile(r"""\s*\{%-?\s*set\s+dialect\s*=\s*["']([^"']*)["']""").match(source)
    dialect = {one.name: one for one in (PROMPTSOURCE, LM_EVAL)}.get(named[1] if named else "")
    if dialect is None:
        known = ", ".join(_DECLARED)
        _refuse_head(
            template.key, f'no dialect is called "{printable(named[1] if named else "", 40)}"', f"Use: {known}."
        )
    environment = dialect.environment(template.limits)
    tree = environment.checked_tree(source, template.key)
    declared = _take_head(tree, _DECLARED[dialect.name], template.key)
    kind = _PromptsourceWriter if dialect is PROMPTSOURCE else _LmEvalWriter
    return kind(template, sha256_of(source), tree, declared, environment)


# --- Files --------------------------------------------------------------------------------------------


def promptsource_source(jinja: str, answer_choices: str | None, *, note: str = "") -> str:
    """Return the file of one of promptsource's templates.

    >>> print(promptsource_source("Is {{ x }} good? ||| {{ answer_choices[y] }}", "no ||| yes"))
    {% set dialect = "promptsource" %}
    {% set answer_choices = "no ||| yes" %}
    Is {{ x }} good? ||| {{ answer_choices[y] }}
    """
    return _source(PROMPTSOURCE.name, {CHOICES: answer_choices}, jinja, note)


def lm_eval_source(doc_to_text: str, *, system: str | None = None, prefix: str | None = None, note: str = "") -> str:
    """Return the file of one of lm-eval's templates.

    >>> print(lm_eval_source("Question: {{ question }}"))
    {% set dialect = "lm-eval" %}
    {% set system = none %}
    {% set prefix = none %}
    Question: {{ question }}
    """
    return _source(LM_EVAL.name, {"system": system or None, "prefix": prefix or None}, doc_to_text, note)


def promptsource_parts(source: str) -> tuple[str | None, str]:
    """Return the answer choices and the text of one of promptsource's templates, from its file.

    >>> promptsource_parts(promptsource_source("{{ x }} ||| {{ y }}", None, note="a note"))
    (None, '{{ x }} ||| {{ y }}')

    Raises:
        TemplateError: It is no such file.
    """
    head = re.match(
        r"\{% set dialect = \"promptsource\" %\}\n(?:\{#.*?#\}\n)?(\{% set answer_choices = .*? %\})\n", source
    )
    if head is None:
        _refuse_head("file", "it does not begin as one of promptsource's does", "Import it again.")
    tree = PROMPTSOURCE.environment(Limits()).parse(head[1])
    value = tree.body[0].node.value  # type: ignore[attr-defined]
    return value, source[head.end() :]


def _source(dialect: str, declared: Mapping[str, str | None], body: str, note: str) -> str:
    told = " ".join(note.replace("#}", "# }").split())
    lines = [f'{{% set dialect = "{dialect}" %}}', *([f"{{# {told} #}}"] if told else ())]
    lines += [f"{{% set {name} = {literal(text)} %}}" for name, text in declared.items()]
    return "\n".join([*lines, body])


def literal(text: str | None) -> str:
    r"""Return a text as Jinja writes it.

    >>> print(literal('say "hi"'))
    "say \"hi\""
    """
    if text is None:
        return "none"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'


def _take_head(tree: nodes.Template, names: Sequence[str], key: str) -> dict[str, str | None]:
    """Take the declarations, and the line break behind them, out of a tree; return the values of ``names``."""
    wanted = ["dialect", *names]
    found: dict[str, Any] = {}
    body = list(tree.body)
    while body and len(found) < len(wanted):
        node = body.pop(0)
        if isinstance(node, nodes.Output) and all(_is_space(part) for part in node.nodes):
            continue
        name = wanted[len(found)]
        if not isinstance(node, nodes.Assign) or not isinstance(node.target, nodes.Name) or node.target.name != name:
            break
        value = node.node.value if isinstance(node.node, nodes.Const) else 0
        if not isinstance(value, str | None):
            break
        found[name] = value
    missing = next((name for name in wanted if name not in found), None)
    if missing is not None:
        _refuse_head(
            key, f'it does not declare "{missing}" as a text or none', f'Write {{% set {missing} = "…" %}}, or none.'
        )
    tree.body = body
    first = body[0].nodes[0] if body and isinstance(body[0], nodes.Output) else None
    if isinstance(first, nodes.TemplateData) and first.data.startswith("\n"):
        first.data = first.data[1:]
    return {name: found[name] for name in names}


def _is_space(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()


def _refuse_head(key: str, what: str, fix: str) -> NoReturn:
    raise TemplateError(
        f'The template "{key}" is refused: {what}.\n'
        "A template that is as it is begins with its declarations, in their order.\n"
        f"{fix}",
        template=key,
        rule="declaration",
    )


# --- What both have in common -------------------------------------------------------------------------


class _Errors:
    """Says what is wrong with a template, or with a row."""

    def __init__(self, template: Template) -> None:
        self.key = template.key
        self.task = template.task.name

    def refuse(self, rule: str, what: str, fix: str) -> NoReturn:
        expected = "A template that is as it is asks for the columns of its task."
        raise TemplateError(
            f'The template "{self.key}" is refused: {what}.\n{expected}\n{fix}', template=self.key, rule=rule
        )

    def unknown(self, names: Iterable[str], task: Task) -> None:
        unknown = sorted(set(names) - task.fields.keys())
        if unknown:
            what = f'"{printable(unknown[0], 80)}" is no field of the task'
            self.refuse("unknown-name", what, did_you_mean(unknown[0], task.fields))

    def of_row(self, rule: str, what: str, example: Example) -> TemplateError:
        fix = "Use another template for this row." if rule == "not-applicable" else "Look at the template and the row."
        return TemplateError(
            f'The template "{self.key}" does not fit the row {printable(example.origin)}: {what}.\n'
            f'It is for rows of the task "{self.task}".\n{fix}',
            template=self.key,
            rule=rule,
        )

    def caused(self, error: TemplateError, example: Example) -> TemplateError:
        line = str(error).partition("\n")[0]
        return self.of_row(error.rule, (line.partition(" failed: ")[2] or line).rstrip("."), example)


def _landed(text: str, message: int, landings: list[Landing]) -> str:
    return land(str(text), text.marks if type(text) is Traced else (), message, landings)


# --- promptsource -------------------------------------------------------------------------------------


class _PromptsourceWriter:
    """Renders rows by one of promptsource's templates."""

    def __init__(
        self,
        template: Template,
        sha256: str,
        tree: nodes.Template,
        declared: Mapping[str, str | None],
        environment: BoundedEnvironment,
    ) -> None:
        self._task, self._name, self._language, self._sha256 = template.task, template.name, template.language, sha256
        self._errors = _Errors(template)
        self._text = PartedText(tree, declared[CHOICES], name=template.key, environment=environment)
        self._chooses = isinstance(template.task.target, Choice)
        self._check()
        self.fields_used = frozenset(self._text.names)
        self.lists_choices = CHOICES in self._text.body.names

    def _check(self) -> None:
        task, target = self._task, self._task.target
        chosen = isinstance(target, Choice) and target.from_field == CHOICES and not target.multiple
        if not chosen and not isinstance(target, Text):
            fix = f'Give the task the target Text() or Choice(from_field="{CHOICES}").'
            self._errors.refuse("target", f'the task "{task.name}" has answers of its own', fix)
        if chosen and self._text.choices is None:
            self._errors.refuse("declaration", f"it has no {CHOICES}", "Use it in a task with the target Text().")
        self._errors.unknown(self._text.names, task)

    def write(self, example: Example, seed: int) -> Instruction:
        """Return the instruction of one row, its example with the answer that the template gives."""
        columns = {name: value for name, value in example.inputs.items() if name != CHOICES}
        try:
            choices, parts = self._text.parts(columns, seed=seed, id=example.id)
        except TemplateError as error:
            raise self._errors.caused(error, example) from None
        if len(parts) == 1 and not parts[0].strip():
            raise self._errors.of_row("not-applicable", "it passes the row over", example)
        if len(parts) != 2:
            raise self._errors.of_row("parts", f"its text has {len(parts)} parts, not a prompt and a target", example)
        landings: list[Landing] = []
        prompt = _landed(parts[0], 0, landings)
        completion = _landed(parts[1], 1, landings)
        if not prompt:
            raise self._errors.of_row("not-applicable", "the prompt is empty", example)
        labels = self._labels(choices or (), completion, example) if self._chooses else ()
        inputs = {**example.inputs, CHOICES: list(labels)} if self._chooses else example.inputs
        return Instruction(
            example=evolve(example, inputs=inputs, answers=(completion,) if completion else ()),
            task=self._task.name,
            language=self._language,
            template=self._name,
            template_sha256=self._sha256,
            messages=(make_message("user", prompt), make_message("assistant", completion, trained=bool(completion))),
            landings=tuple(landings),
            labels=labels,
            choices=labels,
        )

    def _labels(self, choices: Sequence[str], completion: str, example: Example) -> tuple[str, ...]:
        if not all(choices):
            raise self._errors.of_row("completion", "one of its answer choices is empty", example)
        if completion and completion not in choices:
            what = f'its target "{printable(completion, 60)}" is none of its answer choices'
            raise self._errors.of_row("answer", what, example)
        return tuple(choices)


# --- lm-eval ------------------------------------------------------------------------------------------


class _LmEvalWriter:
    """Renders rows by one of lm-eval's ``doc_to_text``; the prompt is its text, the space around it kept."""

    def __init__(
        self,
        template: Template,
        sha256: str,
        tree: nodes.Template,
        declared: Mapping[str, str | None],
        environment: BoundedEnvironment,
    ) -> None:
        self._task, self._name, self._language, self._sha256 = template.task, template.name, template.language, sha256
        self._errors = _Errors(template)
        self._target = template.task.target
        if not isinstance(self._target, Text | Choice):
            fix = "Give the task the target Text() or Choice(…)."
            self._errors.refuse("target", f'"{template.task.name}" is no task of texts or choices', fix)
        self._text = RowText(tree, name=template.key, environment=environment)
        self._system, self._prefix = (
            None if text is None else RowText(text, name=f"{template.key}, {name}", environment=environment)
            for name, text in declared.items()
        )
        used = [one.names for one in (self._text, self._system, self._prefix) if one is not None]
        self.fields_used = frozenset[str]().union(*used)
        self._errors.unknown(self.fields_used, template.task)
        self.lists_choices = False

    def write(self, example: Example, seed: int) -> Instruction:
        """Return the instruction of one row."""
        landings: list[Landing] = []
        messages: list[Message] = []
        try:
            system = self._rendered(self._system, example, seed)
            if system.strip():
                messages.append(make_message("system", _landed(system, 0, landings)))
            prompt = self._rendered(self._text, example, seed)
            prefix = str(self._rendered(self._prefix, example, seed))
            labels = self._target.labels(example.inputs)
        except TemplateError as error:
            raise self._errors.caused(error, example) from None
        except (DataError, KeyError, TypeError) as error:
            raise self._errors.of_row("row", f"it has no choices: {printable(error, 80)}", example) from None
        if not prompt.strip():
            raise self._errors.of_row("not-applicable", "the prompt is empty", example)
        marks = prompt.marks if type(prompt) is Traced else ()
        landings += [Landing(name, len(messages), start, end, item, exact) for name, item, start, end, exact in marks]
        messages.append(make_message("user", str(prompt)))
        words = self._target.words(example.answers[0], self._language) if example.answers else ""
        completion = f"{prefix}{words}".strip() if words else ""
        messages.append(make_message("assistant", completion, trained=bool(completion)))
        return Instruction(
            example=example,
            task=self._task.name,
            language=self._language,
            template=self._name,
            template_sha256=self._sha256,
            messages=tuple(messages),
            landings=tuple(landings),
            labels=labels,
            choices=tuple(f"{prefix}{self._target.words(label, self._language)}".strip() for label in labels),
            affixes=("" if labels else prefix.lstrip(), ""),
        )

    def _rendered(self, text: RowText | None, example: Example, seed: int) -> str:
        return "" if text is None else text.render(example.inputs, seed=seed, id=example.id)
