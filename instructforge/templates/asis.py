"""Templates of promptsource as they are, as templates of a task whose fields are the columns of a data set.

Such a file begins with two declarations; all that follows them is the author's text, byte for byte::

    {% set dialect = "promptsource" %}
    {% set answer_choices = "Yes ||| No" %}
    {{ premise }} … Yes or no? ||| {{ answer_choices[label] }}

Its text says itself what the answer is, another template of the same rows says it in other words. So the example that
goes with an instruction has the answer of that template: rows come without answers, and leave with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import evolve
from jinja2 import nodes

from instructforge.data import Example, Instruction, Landing
from instructforge.errors import TemplateError, did_you_mean, printable
from instructforge.files import sha256_of
from instructforge.tasks import Choice, Task, Text
from instructforge.templates.dialects import CHOICES, PROMPTSOURCE, PartedText
from instructforge.templates.landing import land, make_message
from instructforge.templates.traced import Traced

if TYPE_CHECKING:
    from instructforge.templates.template import Template

__all__ = ["AsIsWriter", "as_it_is", "declares_dialect"]

_DIALECT = re.compile(r"\s*\{%-?\s*set\s+dialect\s*=")


def declares_dialect(source: str) -> bool:
    """Tell whether a template is one of another project's, as it is.

    >>> declares_dialect('{% set dialect = "promptsource" %}')
    True
    """
    return _DIALECT.match(source) is not None


def as_it_is(jinja: str, answer_choices: str | None, *, note: str = "") -> str:
    """Return the file of one of promptsource's templates.

    >>> print(as_it_is("Is {{ x }} good? ||| {{ answer_choices[y] }}", "no ||| yes"))
    {% set dialect = "promptsource" %}
    {% set answer_choices = "no ||| yes" %}
    Is {{ x }} good? ||| {{ answer_choices[y] }}
    """
    told = note.replace("#}", "# }").replace("\n", " ")
    head = f"{{# {told} #}}\n" if told else ""
    return (
        f'{{% set dialect = "promptsource" %}}\n{{% set answer_choices = {literal(answer_choices)} %}}\n{head}{jinja}'
    )


def literal(text: str | None) -> str:
    r"""Return ``text`` as Jinja writes it.

    >>> print(literal('say "hi"\n'))
    "say \"hi\"\n"
    """
    if text is None:
        return "none"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'


class AsIsWriter:
    """Renders rows by a template that is as it is.

    Raises:
        TemplateError: The declarations, the text or the task do not fit.
    """

    def __init__(self, template: Template, source: str) -> None:
        self._template = template
        self._sha256 = sha256_of(source)
        self._task: Task = template.task
        environment = PROMPTSOURCE.environment(template.limits)
        tree = environment.checked_tree(source, template.key)
        choices = _take_head(tree, template.key)
        self._text = PartedText(tree, choices, name=template.key, environment=environment)
        self._chooses = isinstance(template.task.target, Choice)
        self.fields_used = frozenset(self._text.names & template.task.fields.keys())
        self.lists_choices = CHOICES in self._text.body.names
        self._check()

    def _check(self) -> None:
        task, target = self._task, self._task.target
        fits = isinstance(target, Text) or (
            isinstance(target, Choice) and target.from_field == CHOICES and not target.multiple
        )
        if not fits:
            self._refuse(
                "target",
                f'the task "{task.name}" has answers of its own',
                f'Give the task the target Text() or Choice(from_field="{CHOICES}").',
            )
        if self._chooses and self._text.choices is None:
            self._refuse("declaration", f"it has no {CHOICES}", "Use it in a task with the target Text().")
        unknown = sorted(self._text.names - task.fields.keys())
        if unknown:
            self._refuse(
                "unknown-name",
                f'"{printable(unknown[0], 80)}" is no field of the task',
                did_you_mean(unknown[0], task.fields),
            )

    def _refuse(self, rule: str, what: str, fix: str) -> NoReturn:
        key = self._template.key
        expected = "A template that is as it is asks for columns, and says itself what the answer is."
        raise TemplateError(f'The template "{key}" is refused: {what}.\n{expected}\n{fix}', template=key, rule=rule)

    def write(self, example: Example, seed: int) -> Instruction:
        """Return the instruction of one row.

        Raises:
            TemplateError: The template passes the row over (rule ``not-applicable``), or fails on it.
        """
        columns = {name: value for name, value in example.inputs.items() if name != CHOICES}
        try:
            choices, parts = self._text.parts(columns, seed=seed, id=example.id)
        except TemplateError as error:
            raise self._error(error.rule, _cause(error), example) from None
        if len(parts) == 1 and not parts[0].strip():
            raise self._error("not-applicable", "it passes the row over", example)
        if len(parts) != 2:
            raise self._error("parts", f"its text has {len(parts)} parts, not a prompt and a target", example)
        landings: list[Landing] = []
        prompt = _landed(parts[0], 0, landings)
        completion = _landed(parts[1], 1, landings)
        if not prompt:
            raise self._error("not-applicable", "the prompt is empty", example)
        return self._instruction(example, choices or (), prompt, completion, landings)

    def _instruction(
        self, example: Example, choices: Sequence[str], prompt: str, completion: str, landings: list[Landing]
    ) -> Instruction:
        template = self._template
        inputs = example.inputs
        labels: tuple[str, ...] = ()
        if self._chooses:
            labels = tuple(choices)
            if not all(labels):
                raise self._error("completion", "one of its answer choices is empty", example)
            if completion and completion not in labels:
                what = f'its target "{printable(completion, 60)}" is none of its answer choices'
                raise self._error("answer", what, example)
            inputs = {**inputs, CHOICES: list(labels)}
        return Instruction(
            example=evolve(example, inputs=inputs, answers=(completion,) if completion else ()),
            task=self._task.name,
            language=template.language,
            template=template.name,
            template_sha256=self._sha256,
            messages=(
                make_message("user", prompt),
                make_message("assistant", completion, trained=bool(completion)),
            ),
            landings=tuple(landings),
            labels=labels,
            choices=labels,
        )

    def _error(self, rule: str, what: str, example: Example) -> TemplateError:
        key = self._template.key
        fix = "Use another template for this row." if rule == "not-applicable" else "Look at the template and the row."
        return TemplateError(
            f'The template "{key}" does not fit the row {printable(example.origin)}: {what}.\n'
            f'It is for rows of the task "{self._task.name}".\n{fix}',
            template=key,
            rule=rule,
        )


def _landed(text: str, message: int, landings: list[Landing]) -> str:
    return land(str(text), text.marks if type(text) is Traced else (), message, landings)


def _cause(error: TemplateError) -> str:
    """Return what an error's first line says behind the template's name."""
    return str(error).partition("\n")[0].partition(" failed: ")[2].rstrip(".") or str(error).partition("\n")[0]


def _take_head(tree: nodes.Template, key: str) -> str | None:
    """Take the two declarations out of a tree, and return the answer choices."""
    found: dict[str, Any] = {}
    kept: list[nodes.Node] = []
    body = list(tree.body)
    while body and len(found) < 2:
        node = body.pop(0)
        if isinstance(node, nodes.Output) and all(_is_space(part) for part in node.nodes):
            continue
        name = node.target.name if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name) else ""
        if name != ("dialect", CHOICES)[len(found)] or not isinstance(node.node, nodes.Const):  # type: ignore[attr-defined]
            kept.append(node)
            break
        found[name] = node.node.value  # type: ignore[attr-defined]
    tree.body = [*kept, *body]
    if found.get("dialect") != PROMPTSOURCE.name:
        what = f'no dialect is called "{printable(found.get("dialect"), 40)}"'
        fix = f'Write {{% set dialect = "{PROMPTSOURCE.name}" %}}, or leave it out.'
    elif not isinstance(found.get(CHOICES, 0), str | None):
        what = f"it does not say what its {CHOICES} are"
        fix = f'Write {{% set {CHOICES} = "Yes ||| No" %}} below it, or none.'
    else:
        return found[CHOICES]  # type: ignore[no-any-return]
    raise TemplateError(
        f'The template "{key}" is refused: {what}.\nA template that is as it is begins with two declarations.\n{fix}',
        template=key,
        rule="declaration",
    )


def _is_space(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()
