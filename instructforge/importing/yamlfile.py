"""YAML from strangers, read as data: no tag makes an object, and nothing grows beyond its bounds.

A file is looked at three times: its events are counted (depth, number), its nodes are weighed with everything that
they refer to, and only then is it made into values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import yaml
from attrs import frozen

from instructforge.data import Origin
from instructforge.errors import DataError, printable

__all__ = ["Function", "Tagged", "YamlLimits", "function_tag", "mapping_tag", "read_yaml"]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STANDARD = "tag:yaml.org,2002:"


@frozen(kw_only=True)
class YamlLimits:
    """Bounds of one file.

    Attributes:
        size_bytes: Length of the file.
        depth: Nesting.
        nodes: Values in it, those behind an alias counted each time that it is used.
    """

    size_bytes: int = 8 << 20
    depth: int = 60
    nodes: int = 400_000


@frozen
class Tagged:
    """A mapping with a tag of its own: ``!Template``."""

    tag: str
    values: Mapping[str, Any]


@frozen
class Function:
    """A Python function that a file names, ``!function module.name``. It is never looked up."""

    name: str


Tags: TypeAlias = "Mapping[str, Callable[[Any, Any], Any]]"


def read_yaml(content: bytes, name: str, *, tags: Tags | None = None, limits: YamlLimits | None = None) -> Any:
    """Return what a YAML file holds: mappings, lists, texts, numbers, truth values, dates.

    Args:
        content: The file.
        name: What messages call it.
        tags: What to make of tags beside YAML's own; any other is refused.

    Raises:
        DataError: It is no YAML, has a tag that is not known, or goes beyond its bounds.
    """
    limits = limits or YamlLimits()
    if len(content) > limits.size_bytes:
        raise _error(name, f"has {len(content):,} bytes", "yaml-too-large", f"at most {limits.size_bytes:,} are read")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _error(name, f"is not UTF-8 (byte {error.start})", "encoding", "convert it to UTF-8") from None
    try:
        _count_events(text, name, limits)
        return _made(text, name, tags or {}, limits)
    except yaml.YAMLError as error:
        raise _yaml_error(name, error) from None
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise _error(name, f"cannot be read: {printable(error)}", "yaml", "mend the file") from None


def function_tag(loader: Any, node: Any) -> Function:
    """Return the function that ``!function`` names."""
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.constructor.ConstructorError(None, None, "!function takes a name", node.start_mark)
    return Function(str(node.value))


def mapping_tag(loader: Any, node: Any) -> Tagged:
    """Return a tagged mapping."""
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag} takes a mapping", node.start_mark)
    return Tagged(str(node.tag), loader.construct_mapping(node, deep=True))


def _count_events(text: str, name: str, limits: YamlLimits) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > limits.depth:
            raise _error(name, f"is nested more than {limits.depth} deep", "yaml-depth", "make it flatter")
        if count > 2 * limits.nodes:
            raise _error(name, f"has more than {limits.nodes:,} values", "yaml-too-large", "make it smaller")


def _made(text: str, name: str, tags: Tags, limits: YamlLimits) -> Any:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise _error(name, "holds nothing", "file-empty", "leave it out, or fetch it again")
        _weigh(root, name, limits)
        for node in _nodes(root):
            _check_number(node, name)
            if node.tag.startswith(_STANDARD) and node.tag.removeprefix(_STANDARD) in _KNOWN:
                continue
            if node.tag not in tags:
                raise _error(
                    name,
                    f'has the tag "{printable(node.tag, 80)}" (line {node.start_mark.line + 1})',
                    "yaml-tag",
                    "a file of this kind is data: only its own tags are read, and none makes a Python object",
                )
        loader.yaml_constructors = {**loader.yaml_constructors, **tags}
        return loader.construct_document(root)
    finally:
        loader.dispose()


_KNOWN = frozenset(("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value"))


def _check_number(node: Any, name: str) -> None:
    """Refuse a number so long that working it out would take time: YAML 1.1 has numbers to the base of sixty."""
    if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _NUMBER_CHARS:
        raise _error(name, f"has a number of {len(node.value):,} characters", "yaml-too-large", "write it as a text")


_NUMBERS = frozenset((f"{_STANDARD}int", f"{_STANDARD}float"))
_NUMBER_CHARS = 400


def _nodes(root: Any) -> Iterator[Any]:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += _children(node)


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _weigh(root: Any, name: str, limits: YamlLimits) -> None:
    """Refuse a graph of nodes that is too large once every alias is followed, or that holds itself."""
    weights: dict[int, int] = {}

    def weigh(node: Any) -> int:
        known = weights.get(id(node))
        if known == 0:
            raise _error(name, "has a value that holds itself", "yaml-alias", "write it out")
        if known is not None:
            return known
        weights[id(node)] = 0
        total = 1 + sum(map(weigh, _children(node)))
        if total > limits.nodes:
            raise _error(name, f"has more than {limits.nodes:,} values", "yaml-too-large", "make it smaller")
        weights[id(node)] = total
        return total

    weigh(root)


def _yaml_error(name: str, error: yaml.YAMLError) -> DataError:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    where = f", line {mark.line + 1}" if mark is not None else ""
    return _error(name, f"is not YAML{where}: {printable(what)}", "yaml", "mend the file")


def _error(name: str, what: str, rule: str, fix: str) -> DataError:
    lines = f'"{printable(name)}" {what}.\n{fix[:1].upper()}{fix[1:]}.'
    return DataError(lines, rule=rule, fix=fix, origin=Origin(name))
