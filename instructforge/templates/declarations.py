"""What a template declares about itself, read from its syntax tree without running anything.

Declarations are assignments of literals at the top level: ``cuttable``, ``inverted`` and ``choices``. They are
taken out of the tree, so that in the blocks ``choices`` is the row's choices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from attrs import frozen
from jinja2 import nodes

from instructforge.errors import TemplateError, did_you_mean, printable
from instructforge.tasks import Choice, Ranking, Span, Tags, Task, Text

__all__ = ["Declarations", "chooses", "take_declarations"]

NAMES = ("cuttable", "inverted", "choices")


@frozen(kw_only=True)
class Declarations:
    """What one template declares.

    Attributes:
        cuttable: Fields that may be cut where the instruction is too long.
        inverted: The field that the template asks for.
        letters: Whether the completion is a letter.
        words: The words that the completion has for each label, where the template gives its own.
    """

    cuttable: tuple[str, ...] = ()
    inverted: str | None = None
    letters: bool = False
    words: Mapping[str, str] | None = None


def chooses(task: Task) -> bool:
    """Tell whether the task's rows have choices."""
    return not isinstance(task.target, (Text, Span, Tags))


def take_declarations(trees: Iterable[nodes.Template], task: Task, key: str) -> Declarations:
    """Take the declarations out of ``trees`` (a template, then those that it extends) and check them.

    Raises:
        TemplateError: A declaration is not a literal, or does not fit the task.
    """
    found: dict[str, tuple[Any, int]] = {}
    for tree in trees:
        for name, value in _taken(tree, key).items():
            found.setdefault(name, value)
    values = {name: value for name, (value, _) in found.items()}
    line = {name: number for name, (_, number) in found.items()}
    cuttable = values.get("cuttable", ())
    cuttable = (cuttable,) if isinstance(cuttable, str) else cuttable
    if not isinstance(cuttable, (list, tuple)):
        _refuse(key, line["cuttable"], "cuttable is not a list of fields", 'Write cuttable = ["context"].')
    for name in cuttable:
        _check_field(key, line["cuttable"], "cuttable", name, task)
    inverted = values.get("inverted")
    if inverted is not None:
        _check_field(key, line["inverted"], "inverted", inverted, task)
        if task.fields[inverted].kind != "text":
            _refuse(
                key, line["inverted"], f'the field "{inverted}" is not a text', "An inverted template asks for one."
            )
    choices = values.get("choices")
    if choices is not None:
        _check_choices(key, line["choices"], choices, task)
    return Declarations(
        cuttable=tuple(cuttable),
        inverted=inverted,
        letters=choices == "letters",
        words=choices if isinstance(choices, dict) else None,
    )


def _taken(tree: nodes.Template, key: str) -> dict[str, tuple[Any, int]]:
    found: dict[str, tuple[Any, int]] = {}
    kept: list[nodes.Node] = []
    for node in tree.body:
        name = _declared_name(node)
        if name is None:
            kept.append(node)
            continue
        if name in found:
            _refuse(key, node.lineno, f"{name} is declared twice", "Keep one of the two.")
        try:
            found[name] = (_literal(node.node), node.lineno)  # type: ignore[attr-defined]
        except (AttributeError, ValueError):
            _refuse(key, node.lineno, f"{name} is not a literal", "Declarations are read without running anything.")
    tree.body = kept
    for node in kept:
        for inner in _outside_blocks(node):
            hidden = _declared_name(inner)
            if hidden is not None:
                _refuse(key, inner.lineno, f"{hidden} is declared inside a condition", "Declare it at the top level.")
    return found


def _declared_name(node: nodes.Node) -> str | None:
    if isinstance(node, (nodes.Assign, nodes.AssignBlock)) and isinstance(node.target, nodes.Name):
        return node.target.name if node.target.name in NAMES else None
    return None


def _outside_blocks(node: nodes.Node) -> Iterable[nodes.Node]:
    """Yield the nodes below ``node`` that are not in a block or a macro."""
    for child in node.iter_child_nodes():
        if not isinstance(node, (nodes.Block, nodes.Macro)):
            yield child
            yield from _outside_blocks(child)


def _literal(node: nodes.Node) -> Any:
    if isinstance(node, nodes.Const):
        return node.value
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return [_literal(item) for item in node.items]
    if isinstance(node, nodes.Dict):
        return {_literal(pair.key): _literal(pair.value) for pair in node.items}
    raise ValueError("not a literal")


def _check_field(key: str, line: int, declaration: str, name: object, task: Task) -> None:
    if not isinstance(name, str) or name not in task.fields:
        _refuse(
            key,
            line,
            f'{declaration} names "{printable(name, 80)}", which is no field of the task "{task.name}"',
            did_you_mean(str(name), task.fields),
        )


def _check_choices(key: str, line: int, choices: object, task: Task) -> None:
    if not chooses(task):
        _refuse(key, line, f'the task "{task.name}" has nothing to choose from', "Leave choices out.")
    if choices == "letters":
        return
    target = task.target
    if not isinstance(choices, dict) or not all(
        isinstance(part, str) and part.strip() for pair in choices.items() for part in pair
    ):
        _refuse(key, line, 'choices is neither "letters" nor a dict of words', 'Write {"label": "words"}.')
    if not isinstance(target, Choice) or target.from_field or isinstance(target, Ranking):
        _refuse(key, line, "choices gives words, but each row brings its own labels", 'Use "letters", or leave it out.')
    for label in choices:
        if label not in target.options:
            _refuse(key, line, f'choices names "{printable(label, 80)}"', did_you_mean(label, target.options))
    for label in target.options:
        if label not in choices:
            _refuse(key, line, f'choices has no words for "{printable(label, 80)}"', "Give words for every label.")
    if len({words.strip() for words in choices.values()}) < len(choices):
        _refuse(key, line, "choices has the same words for two labels", "An answer has to be told from the others.")


def _refuse(key: str, line: int, what: str, fix: str) -> NoReturn:
    raise TemplateError(
        f'The template "{key}" is refused: line {line}: {what}.\n'
        "Declarations are literals at the top level: cuttable, inverted, choices.\n"
        f"{fix}",
        template=key,
        rule="declaration",
    )
