"""Templates written as promptsource's YAML: its own as they came, ours where they can be said there.

A row of such a file's data set has the fields of the task, and the answer in a column of its own: ``label``, the
place of a choice, or ``answer``, a text. What was written is rendered once more, by promptsource's rules, on the
task's samples; where the two differ, the template is left out and the reason is told.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from instructforge.data import NO_ANSWER, SpanAnswer
from instructforge.errors import ConfigError, TemplateError, printable
from instructforge.files import write_atomically
from instructforge.importing.pieces import NotConvertible, Piece, pieces, source_of
from instructforge.importing.promptsource import Metadata, PromptsourceTemplate
from instructforge.tasks import Choice, Span, Task, Text
from instructforge.templates.asis import declares_dialect, literal, promptsource_parts
from instructforge.templates.template import Template

__all__ = ["Written", "as_promptsource", "promptsource_row", "write_promptsource"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NAMESPACE = uuid.UUID("6f0b4e6e-6a0c-5d0a-9d0e-3a1f5f6f9f4b")
_OURS = frozenset(("do", "break", "continue", "generation", "extends", "include", "import", "from"))


@frozen
class Written:
    """What was written, and what could not be.

    Attributes:
        refused: Templates that cannot be said in promptsource's form, each with the reason.
        left_out: Attributes of promptsource's own templates that are none of its form, by template.
    """

    templates: tuple[PromptsourceTemplate, ...]
    refused: Mapping[str, str]
    left_out: Mapping[str, tuple[str, ...]]


def write_promptsource(
    templates: Iterable[Template | PromptsourceTemplate],
    path: str | Path,
    *,
    dataset: str = "",
    subset: str | None = None,
) -> Written:
    """Write templates as one YAML file of promptsource.

    Args:
        dataset, subset: Of the file; by default those of the templates, or the name of their task.

    Raises:
        ConfigError: The templates are of several data sets, or none of them can be written.
    """
    made: list[PromptsourceTemplate] = []
    refused: dict[str, str] = {}
    for template in templates:
        if isinstance(template, PromptsourceTemplate):
            made.append(template)
            continue
        try:
            made.append(as_promptsource(template))
        except NotConvertible as error:
            refused[template.key] = str(error)
    made = [_renamed(template, dataset, subset) for template in made]
    places = {(template.dataset, template.subset) for template in made}
    if len(places) != 1:
        what = (
            "are of several data sets" if places else f"cannot be written: {'; '.join(dict.fromkeys(refused.values()))}"
        )
        raise ConfigError(
            f"the templates {what}.\nA file of promptsource is for one data set.\nWrite one file for each."
        )
    _check_names(made)
    with write_atomically(Path(path)) as handle:
        handle.write(_document(made))
    return Written(tuple(made), refused, {one.key: one.others for one in made if one.others})


def _renamed(template: PromptsourceTemplate, dataset: str, subset: str | None) -> PromptsourceTemplate:
    from attrs import evolve

    return evolve(template, dataset=dataset, subset=subset) if dataset else template


def _check_names(templates: Sequence[PromptsourceTemplate]) -> None:
    for attribute in ("id", "name"):
        seen: set[str] = set()
        for template in templates:
            value = getattr(template, attribute)
            if value in seen:
                raise ConfigError(
                    f'two templates have the {attribute} "{printable(value, 80)}".\n'
                    "In a file of promptsource, ids and names are unique.\nRename one of the two."
                )
            seen.add(value)


# --- YAML ---------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Writes a template and its metadata under their tags, and every text so that it is read back as it was."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@frozen
class _TaggedMapping:
    tag: str
    values: Mapping[str, Any]


_Dumper.add_representer(_TaggedMapping, lambda dumper, data: dumper.represent_mapping(data.tag, data.values))


def _document(templates: Sequence[PromptsourceTemplate]) -> str:
    first = templates[0]
    document: dict[str, Any] = {"dataset": first.dataset}
    if first.subset:
        document["subset"] = first.subset
    document["templates"] = {
        template.id: _TaggedMapping(
            "!Template",
            {
                "answer_choices": template.answer_choices,
                "id": template.id,
                "jinja": template.jinja,
                "metadata": _TaggedMapping("!TemplateMetadata", _metadata(template.metadata)),
                "name": template.name,
                "reference": template.reference,
            },
        )
        for template in templates
    }
    return str(yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100))


def _metadata(metadata: Metadata) -> dict[str, Any]:
    made: dict[str, Any] = {
        "choices_in_prompt": metadata.choices_in_prompt,
        "metrics": list(metadata.metrics),
        "original_task": metadata.original_task,
    }
    if metadata.languages:
        made["languages"] = list(metadata.languages)
    return made


# --- Ours as theirs -----------------------------------------------------------------------------------


def promptsource_row(task: Task, inputs: Mapping[str, Any], answer: Any) -> dict[str, Any]:
    """Return the row of a written template's data set: the task's fields, and the answer in its column.

    Raises:
        NotConvertible: The task has answers of another kind.
    """
    row = dict(task.complete(inputs))
    if isinstance(task.target, Choice):
        return {**row, "label": -1 if answer is None else list(task.target.labels(inputs)).index(answer)}
    return {**row, "answer": answer.text if isinstance(answer, SpanAnswer) else answer}


def as_promptsource(template: Template) -> PromptsourceTemplate:
    """Return one of our templates as promptsource would have it.

    Raises:
        NotConvertible: It cannot be said there; the text says why.
    """
    made = _as_it_came(template) if declares_dialect(template.source) else _rewritten(template)
    if not declares_dialect(template.source):
        _prove(template, made)
    return made


def _as_it_came(template: Template) -> PromptsourceTemplate:
    try:
        choices, jinja = promptsource_parts(template.source)
    except TemplateError as error:
        raise NotConvertible(printable(str(error).partition("\n")[0], 200)) from None
    return _template(template, jinja, choices)


def _template(template: Template, jinja: str, choices: str | None) -> PromptsourceTemplate:
    return PromptsourceTemplate(
        dataset=template.task.name,
        id=str(uuid.uuid5(_NAMESPACE, template.key)),
        name=f"{template.language}/{template.name}",
        jinja=jinja,
        answer_choices=choices,
        metadata=Metadata(
            original_task=template.inverted is None,
            choices_in_prompt=template.lists_choices if choices is not None else None,
            languages=(template.language,),
        ),
    )


def _rewritten(template: Template) -> PromptsourceTemplate:
    target = template.task.target
    if not isinstance(target, Text | Span | Choice) or getattr(target, "multiple", False):
        raise NotConvertible(f'the task "{template.task.name}" has answers that promptsource has no form for')
    root, blocks = _blocks(pieces(template.source, ours=True))
    if source_of(blocks.get("system", ())).strip():
        raise NotConvertible("it has a system turn")
    for piece in (*root, *(one for block in blocks.values() for one in block)):
        if piece.name in _OURS:
            raise NotConvertible(f'it uses "{piece.name}"')
        if piece.name == "output" and ("turns(" in piece.source or "shuffle" in piece.source):
            raise NotConvertible("it shows chat turns, or shuffles")
    return _joined(template, root, blocks)


def _no_answer(target: object, language: str) -> str:
    """Return what stands for a missing answer: the words for that, or nothing."""
    if isinstance(target, Span) and target.nullable:
        return target.no_answer.get(language, target.no_answer["en"])
    return ""


def _joined(template: Template, root: Sequence[Piece], blocks: Mapping[str, Sequence[Piece]]) -> PromptsourceTemplate:
    before = source_of([piece for piece in root if not _declares(piece)])
    prompt = source_of(blocks["prompt"]).strip()
    completion = source_of(blocks.get("completion", ())).strip() or f"{{{{ {template.inverted} }}}}"
    if "|||" in prompt or "|||" in completion:
        raise NotConvertible('it writes "|||"')
    jinja = f"{_head(template)}{before}{prompt} ||| {completion}"
    return _template(template, jinja, _answer_choices(template))


def _declares(piece: Piece) -> bool:
    return piece.name == "set" and any(
        piece.source.lstrip("{%-+ ").startswith(f"set {name}") for name in ("cuttable", "inverted", "choices")
    )


def _head(template: Template) -> str:
    """Return what gives a template the names that ours are given."""
    target, parts = template.task.target, [f"{{% set language = {literal(template.language)} %}}"]
    if isinstance(target, Choice):
        if template.letters:
            words = target.from_field or f"[{', '.join(literal(word) for word in _words(template))}]"
            parts.append(f"{{% set choices = {words} %}}")
            parts.append(f"{{% set letters = {literal(LETTERS)} | list %}}")
        else:
            parts.append("{% set choices = answer_choices %}")
            parts.append(f"{{% set letters = {literal(LETTERS)} | list %}}")
        parts.append('{% set answer = answer_choices[label] if label >= 0 else "" %}')
    elif template.inverted is None:
        words = literal(_no_answer(target, template.language))
        parts.append(f"{{% set answer = answer if answer else {words} %}}")
    return "".join(part for part in parts if _is_used(part, template))


def _is_used(line: str, template: Template) -> bool:
    name = line.split()[2]
    return name in ("answer", "choices") or name in template.source


def _words(template: Template) -> list[str]:
    target = template.task.target
    assert isinstance(target, Choice)
    return [target.words(label, template.language) for label in target.options]


def _answer_choices(template: Template) -> str | None:
    target = template.task.target
    if not isinstance(target, Choice):
        return None
    if target.from_field:
        if template.letters:
            return (
                f'{{% for choice in {target.from_field} %}}{{{{ "{LETTERS}"[loop.index0] }}}}'
                "{% if not loop.last %} ||| {% endif %}{% endfor %}"
            )
        return f'{{{{ {target.from_field} | join(" ||| ") }}}}'
    words = template.label_words
    if any("|||" in word or "{" in word for word in words):
        raise NotConvertible("the words of a label cannot stand among answer choices")
    return " ||| ".join(words)


def _blocks(parts: Sequence[Piece]) -> tuple[list[Piece], dict[str, list[Piece]]]:
    """Return what stands outside of blocks, and each block."""
    root: list[Piece] = []
    blocks: dict[str, list[Piece]] = {}
    current: list[Piece] | None = None
    for piece in parts:
        if piece.name == "block":
            if current is not None:
                raise NotConvertible("it has a block within a block")
            current = blocks.setdefault(piece.source.strip("{}%-+ \n").split()[1], [])
        elif piece.name == "endblock":
            current = None
        else:
            (root if current is None else current).append(piece)
    if "prompt" not in blocks:
        raise NotConvertible("it has no prompt of its own")
    return root, blocks


def _prove(template: Template, made: PromptsourceTemplate) -> None:
    """Render the task's samples on both sides; what differs is not written.

    Raises:
        NotConvertible: Something differs.
    """
    for number, sample in enumerate(template.task.samples):
        if sample.language != template.language:
            continue
        answer = None if sample.answer == NO_ANSWER else sample.answer
        row = promptsource_row(template.task, sample.inputs, answer)
        try:
            ours = template.render(sample.to_example(number), seed=0)
        except TemplateError as error:
            if error.rule == "not-applicable":
                continue
            raise NotConvertible(printable(str(error).partition("\n")[0], 200)) from None
        try:
            theirs = made.render(row)
        except TemplateError as error:
            line = printable(str(error).partition("\n")[0], 160)
            raise NotConvertible(f"by promptsource's rules it fails: {line}") from None
        if theirs != (ours.messages[0].content, ours.completion):
            raise NotConvertible("by promptsource's rules it gives another text")
