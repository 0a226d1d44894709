"""A Jinja text in pieces: texts, outputs, tags. A template of promptsource is parted into its two halves by them.

Pieces hold the source as it was written, so that what is made of them renders to the same bytes. Our own templates
drop the line break after a tag; ``+%}`` keeps it, and ``{%+`` the space before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from attrs import evolve, field, frozen
from jinja2 import Environment
from jinja2.exceptions import TemplateSyntaxError

__all__ = ["Halves", "NotConvertible", "Piece", "halves", "kept", "pieces", "source_of"]

SEPARATOR = "|||"
_OPENING = ("if", "for", "filter", "macro", "call", "with", "block")
_STOCK = Environment()
_OURS = Environment(trim_blocks=True, lstrip_blocks=True)


class NotConvertible(Exception):
    """Why a template cannot be converted."""


@frozen
class Piece:
    """A text (``name`` is empty), an output (``output``), or a tag, by its keyword: ``if``, ``endif``, ``set`` …"""

    source: str
    name: str = ""


@frozen
class Halves:
    """The two halves of a template.

    Attributes:
        prompt: What is before ``|||``, with the tags closed that are open there.
        target: What is after it, without the ends of those tags and without their other branches.
        around: The tags that were open: ``{% if label != -1 %}``.
    """

    prompt: tuple[Piece, ...]
    target: tuple[Piece, ...]
    around: tuple[Piece, ...] = field(default=())


def pieces(source: str, *, ours: bool = False) -> list[Piece]:
    """Return the pieces of a Jinja text, comments left out.

    With ``ours``, the text is one of our templates: the white space that is dropped there is dropped here.

    >>> [piece.name for piece in pieces("a {% if b %}{{ c }}{% endif %}")]
    ['', 'if', 'output', 'endif']

    Raises:
        NotConvertible: It is not Jinja, or has a ``raw`` block.
    """
    made: list[Piece] = []
    held: list[str] = []
    ends = {"variable_end": "output", "block_end": "tag"}
    try:
        for _, token, value in (_OURS if ours else _STOCK).lexer.tokeniter(source, None):
            if token.startswith("raw"):
                raise NotConvertible("it has a raw block")
            if token.startswith("comment"):
                continue
            if token == "data":
                made.append(Piece(value))
                continue
            held.append(value)
            if token in ends:
                text = "".join(held).rstrip()  # white space behind a tag belongs to it only where it is dropped
                held.clear()
                made.append(Piece(text, "output" if token == "variable_end" else _keyword(text)))
    except TemplateSyntaxError as error:
        raise NotConvertible(f"it is not Jinja: {error.message}") from None
    return made


def _keyword(tag: str) -> str:
    found = re.match(r"\{%[-+]?\s*(\w+)", tag)
    return found[1] if found else ""


def halves(parts: Sequence[Piece]) -> Halves:
    """Return the halves of a template.

    Raises:
        NotConvertible: There is not one ``|||`` among its texts, or it stands in a loop.
    """
    found = [(place, piece) for place, piece in enumerate(parts) if not piece.name and SEPARATOR in piece.source]
    if len(found) != 1 or found[0][1].source.count(SEPARATOR) != 1:
        raise NotConvertible(f'it has {sum(piece.source.count(SEPARATOR) for _, piece in found)} "|||" in its text')
    if any(piece.name and SEPARATOR in piece.source for piece in parts):
        raise NotConvertible('it writes "|||" by an expression')
    place, piece = found[0]
    before, _, after = piece.source.partition(SEPARATOR)
    around = _open_at(parts[:place])
    closing = [Piece("{% endif %}", "endif") for _ in around]
    prompt = (*parts[:place], Piece(before), *closing)
    return Halves(prompt, tuple(_without_ends([Piece(after), *parts[place + 1 :]], len(around))), tuple(around))


def _open_at(parts: Iterable[Piece]) -> list[Piece]:
    """Return the tags that are open behind ``parts``."""
    waiting: list[Piece] = []
    for piece in parts:
        if piece.name in _OPENING or (piece.name == "set" and "=" not in piece.source):
            waiting.append(piece)
        elif piece.name.startswith("end") and waiting:
            waiting.pop()
    if any(piece.name != "if" for piece in waiting):
        raise NotConvertible(f'"|||" stands within "{waiting[-1].name}"')
    return waiting


def _without_ends(parts: Iterable[Piece], depth: int) -> Iterable[Piece]:
    """Yield ``parts`` without the ends of ``depth`` conditions that are open before them, and their other branches."""
    inner = 0
    skipping = False
    for piece in parts:
        if inner == 0 and piece.name == "endif" and depth:
            depth -= 1
            skipping = False
            continue
        if inner == 0 and depth and piece.name in ("else", "elif"):
            skipping = True
        if piece.name in _OPENING or (piece.name == "set" and "=" not in piece.source):
            inner += 1
        elif piece.name.startswith("end"):
            inner -= 1
        if not skipping:
            yield piece


def kept(parts: Iterable[Piece]) -> list[Piece]:
    """Return ``parts`` with tags that keep the white space around them in our templates too."""
    return [evolve(piece, source=_plus(piece.source)) if piece.name not in ("", "output") else piece for piece in parts]


def _plus(tag: str) -> str:
    """Return a tag with a plus at each end that has no sign.

    >>> _plus("{% if a %}"), _plus("{%- if a -%}")
    ('{%+ if a +%}', '{%- if a -%}')
    """
    opened = tag if tag[2] in "-+" else f"{{%+{tag[2:]}"
    body = opened.rstrip()
    return opened if body[-3] in "-+" else f"{body[:-2]}+%}}"


def source_of(parts: Iterable[Piece]) -> str:
    """Return the text that ``parts`` came from."""
    return "".join(piece.source for piece in parts)
