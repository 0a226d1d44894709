"""Which names a template uses, and where: unknown ones and leaks of the answer are found before any row is seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from jinja2 import nodes

__all__ = ["mentions", "names_in", "nested_blocks", "outside_blocks", "stored_names"]


def outside_blocks(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield the nodes below ``node`` that do not lie in a block of their own."""
    for child in node.iter_child_nodes():
        if not isinstance(child, nodes.Block):
            yield child
            yield from outside_blocks(child)


def stored_names(node: nodes.Node) -> set[str]:
    """Return every name that is assigned below ``node``, blocks left out."""
    names: set[str] = set()
    for inner in outside_blocks(node):
        if (isinstance(inner, nodes.Name) and inner.ctx in ("store", "param")) or isinstance(inner, nodes.Macro):
            names.add(inner.name)
        elif isinstance(inner, nodes.Import):
            names.add(inner.target)
        elif isinstance(inner, nodes.FromImport):
            names.update(name if isinstance(name, str) else name[1] for name in inner.names)
    return names


def names_in(node: nodes.Node) -> dict[str, int]:
    """Return the names that are read below ``node``, blocks included, each with the line of its first use."""
    found: dict[str, int] = {}
    for name in node.find_all(nodes.Name):
        if name.ctx == "load":
            found.setdefault(name.name, name.lineno)
    return found


def nested_blocks(node: nodes.Block) -> set[str]:
    """Return the names of ``node`` and of the blocks inside it."""
    return {node.name} | {inner.name for inner in node.find_all(nodes.Block)}


def mentions(name: str, used: Mapping[str, int], macros: Iterable[nodes.Macro]) -> int | None:
    """Return the line at which ``name`` is used, directly or by a macro that is used; None if it is not."""
    by_name = {macro.name: names_in(macro) for macro in macros}
    seen: set[str] = set()
    waiting = dict(used)
    while waiting:
        current, line = waiting.popitem()
        if current == name:
            return line
        if current in by_name and current not in seen:
            seen.add(current)
            waiting.update(dict.fromkeys(by_name[current], line))
    return None
