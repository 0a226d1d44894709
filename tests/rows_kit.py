"""Rows for templates whose data sets are not here: made of what a template's syntax tree does with each column."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from attrs import define, field
from jinja2 import Environment, nodes

__all__ = ["Shape", "shapes_of"]

TEXT_FILTERS = {"lower", "upper", "capitalize", "trim", "replace", "title"}
NUMBER_FILTERS = {"round", "int", "abs", "float"}


def _words(text: str) -> list[str]:
    return text.split()


TEXT_METHODS = _words("split lower upper strip replace startswith endswith capitalize lstrip rstrip")
LIST_FILTERS = _words("join choice random most_frequent unique first last map select reject min max")
WORDS = _words(
    "yes no maybe entailment The cat sat on a mat. Who wrote it? 3 12 -1 0.5 it's [SEP] 中文文本 café <b>bold</b> A&B"
    " {{x}} {%y%} a|b ▁piece one two three true None 😀"
)


@define(eq=False)
class Shape:
    """What is known of a value: how it is used."""

    kinds: dict[str, int] = field(factory=dict)
    parts: dict[str, Shape] = field(factory=dict)
    inner: Shape | None = None
    constants: list[Any] = field(factory=list)
    needles: list[str] = field(factory=list)
    """What is looked for in a text: it is in there, most of the time."""

    def vote(self, kind: str, weight: int = 1) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + weight

    def item(self) -> Shape:
        self.inner = self.inner or Shape()
        return self.inner

    def part(self, name: str) -> Shape:
        return self.parts.setdefault(name, Shape())

    def value(self, random: Random, *, wild: float = 0.0, deep: int = 0) -> Any:
        """Return a value of this shape; ``wild`` is the chance of one that is not."""
        if random.random() < wild:
            return random.choice(
                (None, "", 0, -1, 7, 2.5, True, False, [], {}, ["x", "y"], {"a": 1}, "a|||b", text(random))
            )
        kind = max(self.kinds, key=lambda name: self.kinds[name] + random.random() * 1.5) if self.kinds else "text"
        if self.constants and kind in ("text", "number", "truth") and random.random() < 0.7:
            return random.choice(self.constants)
        if kind == "dict" and deep < 5:
            return {name: shape.value(random, wild=wild, deep=deep + 1) for name, shape in self.parts.items()}
        if kind == "list" and deep < 5:
            size = random.choice((1, 2, 3, 4, 5, 6)) if wild == 0 else random.randrange(6)
            inner = self.inner or Shape()
            return [inner.value(random, wild=wild, deep=deep + 1) for _ in range(size)]
        if kind == "number":
            return random.choice((0, 0, 1, 1, 2, 3, 4, 5, 17, -1, 2.5, 0.25))
        if kind == "truth":
            return random.random() < 0.5
        return _with_needles(text(random), self.needles, random)


def _with_needles(made: str, needles: list[str], random: Random) -> str:
    for needle in needles if random.random() < 0.9 else ():
        for _ in range(random.randrange(1, 5)):
            made = f"{made}{random.choice(('', ' '))}{needle}{random.choice(('', ' '))}{text(random)}"
    return made


def text(random: Random) -> str:
    """Return a text of a few words, now and then of several lines or with space around it."""
    if random.random() < 0.3:
        return random.choice(("yes", "no", "A", "B", "1", "0", "2"))
    words = [random.choice(WORDS) for _ in range(random.randrange(1, 9))]
    made = random.choice((" ", " ", " ", "\n", ", ", "|")).join(words)
    return f" {made}\n" if random.random() < 0.1 else made


def shapes_of(*sources: str) -> dict[str, Shape]:
    """Return the shape of every column that Jinja texts use, together."""
    columns: dict[str, Shape] = {}
    for source in sources:
        _Reader(columns).read(Environment().parse(source))
    columns.pop("answer_choices", None)
    return columns


class _Reader:
    """Walks a syntax tree and notes what is done with each name."""

    def __init__(self, columns: dict[str, Shape]) -> None:
        self.columns = columns
        self.local: dict[str, Shape] = {}

    def read(self, tree: nodes.Template) -> None:
        for node in tree.body:
            self.visit(node)

    def shape(self, node: nodes.Node) -> Shape | None:
        """Return the shape of what an expression gives, where it is a column's or a part of one."""
        if isinstance(node, nodes.Name):
            if node.name in self.local:
                return self.local[node.name]
            if node.name in ("range", "zip", "namespace", "dict", "loop"):
                return None
            return self.columns.setdefault(node.name, Shape())
        if isinstance(node, nodes.Getattr):
            return self.part_of(node.node, node.attr)
        if isinstance(node, nodes.Getitem):
            return self.item_of(node)
        if isinstance(node, nodes.Filter) and node.node is not None:
            return self.filtered(node)
        if isinstance(node, nodes.Call):
            return self.called(node)
        if isinstance(node, (nodes.BinExpr, nodes.Neg)):
            self.arithmetic(node)
            return None
        if isinstance(node, nodes.Compare):
            self.comparison(node)
            return None
        self.children(node)
        return None

    def arithmetic(self, node: nodes.Expr) -> None:
        sides = [node.node] if isinstance(node, nodes.Neg) else [node.left, node.right]  # type: ignore[attr-defined]
        numbers = any(isinstance(side, nodes.Const) and isinstance(side.value, (int, float)) for side in sides)
        logical = isinstance(node, (nodes.And, nodes.Or))
        for side in sides:
            shape = None if isinstance(side, nodes.Const) else self.shape(side)
            if shape is not None and not logical and (numbers or not isinstance(node, nodes.Add)):
                shape.vote("number", 3)
            elif shape is not None:
                shape.vote("truth" if logical else "text")

    def part_of(self, node: nodes.Node, name: str) -> Shape | None:
        holder = self.shape(node)
        if holder is None:
            return None
        holder.vote("dict", 3)
        return holder.part(name)

    def item_of(self, node: nodes.Getitem) -> Shape | None:
        holder = self.shape(node.node)
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            if holder is not None:
                holder.vote("dict", 3)
                return holder.part(node.arg.value)
            return None
        if isinstance(node.arg, nodes.Slice):
            self.children(node.arg)
            return holder
        key = self.shape(node.arg)
        if key is not None:
            if isinstance(node.node, nodes.Dict):
                key.constants += [pair.key.value for pair in node.node.items if isinstance(pair.key, nodes.Const)]
                key.vote("text" if any(isinstance(one, str) for one in key.constants) else "number", 4)
            else:
                key.vote("number", 3)
        if holder is None:
            return None
        holder.vote("list", 2)
        return holder.item()

    def filtered(self, node: nodes.Filter) -> Shape | None:
        assert node.node is not None
        holder = self.shape(node.node)
        for argument in (*node.args, *(keyword.value for keyword in node.kwargs)):
            self.shape(argument)
        if holder is None:
            return None
        if node.name in LIST_FILTERS:
            holder.vote("list", 3)
            return holder.item() if node.name in ("first", "last", "choice", "random", "min", "max") else holder
        if node.name == "selectattr" and node.args and isinstance(node.args[0], nodes.Const):
            holder.vote("list", 3)
            holder.item().vote("dict", 3)
            holder.item().part(str(node.args[0].value))
            return holder
        if node.name in ("length", "count", "list", "sort"):
            holder.vote("list")
        elif node.name in TEXT_FILTERS:
            holder.vote("text", 2)
        elif node.name in NUMBER_FILTERS:
            holder.vote("number", 2)
        return holder if node.name in ("list", "sort", "default", "unique") else None

    def called(self, node: nodes.Call) -> Shape | None:
        arguments = [*node.args, *(keyword.value for keyword in node.kwargs)]
        found = [self.shape(argument) for argument in arguments]
        if isinstance(node.node, nodes.Name) and node.node.name == "zip":
            row = Shape()
            row.parts = {str(place): one.item() for place, one in enumerate(found) if one is not None}
            for one in found:
                if one is not None:
                    one.vote("list", 3)
            made = Shape()
            made.inner = row
            return made
        if isinstance(node.node, nodes.Name) and node.node.name == "range":
            for one in found:
                if one is not None:
                    one.vote("number", 3)
            return None
        if not isinstance(node.node, nodes.Getattr):
            self.children(node.node)
            return None
        holder = self.shape(node.node.node)
        if holder is None:
            return None
        name = node.node.attr
        sought = node.args[0].value if node.args and isinstance(node.args[0], nodes.Const) else None
        if isinstance(sought, str) and sought and name in ("split", "index", "find", "partition"):
            holder.needles += [sought] if sought not in holder.needles else []
            holder.vote("text", 6)
        if name in TEXT_METHODS:
            holder.vote("text", 3)
            return holder if name != "split" else None
        if name in ("append", "index", "pop", "extend", "insert", "sort", "reverse"):
            holder.vote("list", 3)
            return holder.item() if name == "pop" else None
        if name in ("keys", "values", "items", "update", "get"):
            holder.vote("dict", 3)
        return None

    def visit(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.For):
            self.loop(node)
        elif isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            self.local[node.target.name] = self.shape(node.node) or Shape()
        elif isinstance(node, nodes.Compare):
            self.comparison(node)
        elif isinstance(node, nodes.If):
            tested = self.shape(node.test) if isinstance(node.test, (nodes.Name, nodes.Getattr)) else None
            if tested is not None:
                tested.vote("truth")
            self.children(node)
        elif isinstance(node, nodes.Expr):
            self.shape(node)
        else:
            self.children(node)

    def children(self, node: nodes.Node) -> None:
        for child in node.iter_child_nodes():
            self.visit(child)

    def loop(self, node: nodes.For) -> None:
        holder = self.shape(node.iter)
        item = Shape() if holder is None else holder.item()
        if holder is not None:
            holder.vote("list", 3)
        if isinstance(node.target, nodes.Name):
            self.local[node.target.name] = item
        elif isinstance(node.target, nodes.Tuple):
            for place, name in enumerate(node.target.items):
                if isinstance(name, nodes.Name):
                    self.local[name.name] = item.part(str(place))
        for part in (*node.body, *node.else_, *([node.test] if node.test else [])):
            self.visit(part)

    def comparison(self, node: nodes.Compare) -> None:
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        shapes = [None if isinstance(side, nodes.Const) else self.shape(side) for side in sides]
        for shape in filter(None, shapes):
            for constant in _constants(sides):
                shape.constants.append(constant)
                kind = "text" if isinstance(constant, str) else "truth" if isinstance(constant, bool) else "number"
                shape.vote(kind, 3)


def _constants(sides: list[nodes.Expr]) -> Iterator[Any]:
    for side in sides:
        if isinstance(side, nodes.Const) and side.value is not None:
            yield side.value
        elif isinstance(side, nodes.Neg) and isinstance(side.node, nodes.Const):
            yield -side.node.value
        elif isinstance(side, (nodes.List, nodes.Tuple)):
            yield from _constants(side.items)
