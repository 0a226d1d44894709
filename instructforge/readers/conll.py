"""Columns of CoNLL: a token a line with its tag, a blank line between sentences.

Read are two columns (WNUT 17), four (CoNLL 2003, with ``-DOCSTART-``), five with an index (Universal NER), Chinese
character by character (BMES), and whatever else has a column of tokens and one of tags. Columns stand between tabs,
or between spaces where the file has no tabs. A line that begins with ``#`` is a comment, unless it has all the columns
and a tag in its place: ``#`` and hashtags are tokens too. But a block of nothing else is a comment, whatever it looks
like; the option ``comments=none`` reads files in which nothing is.

A sentence is a row: ``tokens``, ``tags``, and from its comments ``id`` (``# sent_id = …``), ``text`` (``# text = …``)
and ``document`` (``# newdoc id = …``, or the number of the ``-DOCSTART-``). A bad line spoils its sentence, which is
quarantined, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, evolve, field, frozen

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, printable
from instructforge.readers.jsonl import stem_suffix
from instructforge.readers.jsonvalue import RAW_CHARACTERS, not_text, too_long
from instructforge.readers.opening import HEAD_BYTES, Limits, bounded_lines, file_error, open_unpacked
from instructforge.tagging import is_tag

__all__ = ["ConllReader"]

_OTHERS = frozenset({".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".parquet", ".tmx", ".md", ".zip"})
"""Endings of other formats: a file of these is read here only by name."""

_DOCUMENT = "-DOCSTART-"
_COMMENT = re.compile(r"#\s*(sent_id|text|newdoc id|newdoc)\s*=\s*(.*)", re.DOTALL)
_KEYS = {"sent_id": "id", "text": "text", "newdoc id": "document", "newdoc": "document"}
_RANGE = re.compile(r"[0-9]+[-.][0-9]+")
_LOOKED_AT = 400
_LINE_COST = 32
"""What a token costs in memory beside its letters: many short lines weigh more than their bytes."""

_SPACES = re.compile("[ \t]+")


@frozen(kw_only=True)
class _Layout:
    """Which columns there are.

    Attributes:
        tabs: Whether columns stand between tabs.
        columns: How many there are.
        token, tag: Places of the two; no tag where the file has none.
        index: Whether the first column counts the tokens of a sentence.
        comments: Whether there are any.
    """

    tabs: bool
    columns: int
    token: int
    tag: int | None
    index: bool
    comments: bool = True

    def cells(self, line: str) -> list[str]:
        return _cells(line, tabs=self.tabs)

    def is_comment(self, line: str, cells: Sequence[str]) -> bool:
        if not (self.comments and line.startswith("#")):
            return False
        return self.tag is None or len(cells) != self.columns or not is_tag(cells[self.tag])


def _cells(line: str, *, tabs: bool) -> list[str]:
    return [cell.strip(" ") for cell in line.split("\t")] if tabs else _SPACES.split(line.strip(" \t"))


class ConllReader:
    """Reads one sentence a row, holding no more than it in memory."""

    name = "conll"
    suffixes = (".conll", ".conllu", ".iob2", ".iob", ".iob1", ".bio", ".bmes", ".bioes", ".ner")

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell by the ending, or by a column of tags with blank lines between the sentences."""
        if head[:4] == b"PAR1" or b"\0" in head or head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
            return False
        if stem_suffix(path) in self.suffixes:
            return True
        if stem_suffix(path) in _OTHERS:
            return False
        lines = _head_lines(head)
        layout = _sniffed(lines)
        return layout is not None and layout.tag is not None and any(not line.strip() for line in lines[1:])

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield the row of each sentence; its number is the line of its first token.

        ``options["token"]`` and ``options["tag"]`` give columns, counted from 1, or from the last as -1, -2 …;
        ``tag=none`` says that there are no tags, ``comments=none`` that no line is a comment.
        """
        limits = Limits.take(options, reader=self.name, known=("token", "tag", "comments"))
        with open_unpacked(path, limits) as handle:
            head = handle.peek(HEAD_BYTES)[:HEAD_BYTES]
            if b"\r" in head and b"\n" not in head:
                fix = "convert it: tr '\\r' '\\n'"
                raise file_error(path, "ends its lines with CR alone", rule="line-ends", fix=fix)
            layout = _layout(_head_lines(head), options, path)
            count = 0
            for found in _Sentences(handle, path.name, layout, limits):
                count += 1
                yield found
        if not count:
            raise file_error(path, "holds no sentences", rule="no-records", fix="leave it out, or fetch it again")


# --- Columns ------------------------------------------------------------------------------------------


def _head_lines(head: bytes) -> list[str]:
    """Return the first lines of a file; the last one, which may be cut, only where it is all there is."""
    lines = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] or lines)[:_LOOKED_AT]]


def _sniffed(lines: Sequence[str], *, token: int | None = None) -> _Layout | None:
    """Return the columns of a file by its first lines; None where it has none.

    Where several columns hold tags (chunks, then names), the last one counts.
    """
    filled = [line for line in lines if line.strip() and not line.startswith((_DOCUMENT, "# "))]
    if not filled:
        return None
    tabs = 2 * sum("\t" in line for line in filled) > len(filled)
    table = [_cells(line, tabs=tabs) for line in filled]
    widths = [len(cells) for cells in table]
    columns = max(set(widths), key=lambda width: (widths.count(width), width))
    rows = [cells for cells in table if len(cells) == columns]
    counted = sum(cells[0].isdecimal() or _RANGE.fullmatch(cells[0]) is not None for cells in rows)
    index = columns > 2 and rows[0][0] in ("0", "1", "1-2") and 10 * counted >= 9 * len(rows)
    first = token if token is not None else int(index)
    tagged = [place for place in range(columns) if place != first and _holds_tags([cells[place] for cells in rows])]
    return _Layout(
        tabs=tabs, columns=columns, token=first, tag=tagged[-1] if tagged else None, index=index and first != 0
    )


def _holds_tags(cells: Sequence[str]) -> bool:
    """Tell whether a column is one of tags: nearly all of its cells are, or half of them where some have a type."""
    tags = [cell for cell in cells if is_tag(cell)]
    share = 2 if any(len(tag) > 1 for tag in tags) else 10
    return bool(tags) and share * (len(cells) - len(tags)) <= len(cells)


def _layout(lines: Sequence[str], options: Mapping[str, Any], path: Path) -> _Layout:
    """Return the columns, as the options say or as the first lines show.

    Raises:
        ConfigError: An option is no column.
        DataError: There is no column of tags, and the options do not say so.
    """
    token = _column("token", options)
    found = _sniffed(lines, token=token if token is None or token >= 0 else None)
    if found is None:
        raise file_error(path, "holds no sentences", rule="no-records", fix="leave it out, or fetch it again")
    untagged = options.get("tag") == "none"
    tag = None if untagged else _column("tag", options)
    for name, place in (("token", token), ("tag", tag)):
        if place is not None and not -found.columns <= place < found.columns:
            raise ConfigError(f"the option {name} names a column that is not there: the file has {found.columns}")
    token = found.token if token is None else token % found.columns
    tag = found.tag if tag is None and not untagged else tag if tag is None else tag % found.columns
    if tag is None and found.columns > 1 + found.index and not untagged:
        raise file_error(
            path,
            f"has {found.columns} columns, none of them of tags",
            rule="no-tags",
            fix="say which column holds the tags with the option tag=N, or that there are none with tag=none",
        )
    comments = options.get("comments", "auto")
    if comments not in ("auto", "none"):
        raise ConfigError(f'the option comments is auto or none, not "{printable(comments, 40)}"')
    return evolve(found, token=token, tag=tag, comments=comments == "auto")


def _column(name: str, options: Mapping[str, Any]) -> int | None:
    """Return a column as an index from 0, or from the end where it is negative.

    Raises:
        ConfigError: The option is no number of a column.
    """
    given = options.get(name)
    if given is None or (name == "tag" and given == "none"):
        return None
    try:
        number = int(given)
    except (TypeError, ValueError):
        number = 0
    if number == 0 or isinstance(given, bool):
        raise ConfigError(f'the option {name} is "{printable(given, 40)}", not the number of a column: 1, 2 … or -1')
    return number - 1 if number > 0 else number


# --- Sentences ----------------------------------------------------------------------------------------


@define
class _Sentence:
    """A sentence as far as it has been read."""

    start: int = 0
    tokens: list[str] = field(factory=list)
    tags: list[str] = field(factory=list)
    about: dict[str, str] = field(factory=dict)
    size: int = 0
    raw: list[str] = field(factory=list)
    plain: bool = False
    """Whether any of its lines could not be a comment."""
    problem: tuple[str, str, str] | None = None
    """What is wrong with its first bad line, the rule, and what to do."""

    def begin(self, number: int, *, plain: bool = True) -> None:
        self.start = self.start or number
        self.plain |= plain

    def spoil(self, what: str, rule: str, fix: str) -> None:
        self.problem = self.problem or (what, rule, fix)


class _Sentences:
    """Puts lines together to sentences."""

    def __init__(self, handle: BinaryIO, source: str, layout: _Layout, limits: Limits) -> None:
        self._lines = bounded_lines(handle, limits.max_record_bytes)
        self._source, self._layout, self._limits = source, layout, limits
        self._document: str | None = None
        self._documents = 0

    def __iter__(self) -> Iterator[RowOrError]:
        sentence = _Sentence()
        for number, offset, raw in self._lines:
            line = self._decoded(sentence, number, offset, raw)
            if line is not None and not line.strip(" \t\r\n"):
                yield from self._finished(sentence)
                sentence = _Sentence()
            elif line is not None and line.startswith(_DOCUMENT):
                yield from self._finished(sentence)
                sentence = _Sentence()
                self._documents += 1
                self._document = str(self._documents)
            elif line is not None:
                self._take(sentence, number, line)
        yield from self._finished(sentence)

    def _decoded(self, sentence: _Sentence, number: int, offset: int, raw: bytes | None) -> str | None:
        """Return a line as text; None for one that cannot be one, which spoils its sentence."""
        if raw is None:
            sentence.begin(number)
            sentence.spoil(f"line {number} is too long", "record-too-long", "shorten it, or raise max_record_bytes")
            return None
        try:
            line = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            sentence.begin(number)
            where = f"byte {offset + error.start} of the file (0x{raw[error.start]:02x})"
            fix = "save the file as UTF-8 (from GBK: iconv -f GB18030 -t UTF-8)"
            sentence.spoil(f"line {number}: {where} is not UTF-8", "encoding", fix)
            sentence.raw.append(raw[:RAW_CHARACTERS].decode("utf-8", "backslashreplace"))
            return None
        return line

    def _take(self, sentence: _Sentence, number: int, line: str) -> None:
        cells = self._layout.cells(line)
        if self._layout.is_comment(line, cells):
            self._note(sentence, line)
            return
        sentence.begin(number, plain=not (self._layout.comments and line.startswith("#")))
        sentence.size += len(line) + _LINE_COST
        if sentence.size > self._limits.max_record_bytes:
            sentence.spoil("too long", "record-too-long", "")
        if sentence.problem is not None and sentence.problem[1] == "record-too-long":
            sentence.tokens, sentence.tags = [], []  # nothing of it will be used
            return
        if len(sentence.raw) < 100:
            sentence.raw.append(line[:RAW_CHARACTERS])
        self._add(sentence, number, line, cells)

    def _add(self, sentence: _Sentence, number: int, line: str, cells: Sequence[str]) -> None:
        layout = self._layout
        if problem := not_text(line):
            sentence.spoil(f"line {number}: {problem}", "not-text", "take it out")
        elif len(cells) != layout.columns:
            rule = "cells-too-few" if len(cells) < layout.columns else "cells-too-many"
            what = f"line {number} has {len(cells)} columns, and the file {layout.columns}"
            sentence.spoil(what, rule, "give it as many columns, or take it out")
        elif layout.index and _RANGE.fullmatch(cells[0]):
            return  # a word that the following lines give in parts, or one that is not said
        elif not cells[layout.token].strip():
            sentence.spoil(f"line {number} has no token", "token-empty", "give the token, or take the line out")
        elif layout.tag is not None and not cells[layout.tag].strip():
            sentence.spoil(f"line {number} has no tag", "tag-empty", "give its tag: O where it belongs to no entity")
        else:
            sentence.tokens.append(cells[layout.token])
            if layout.tag is not None:
                sentence.tags.append(cells[layout.tag])

    def _note(self, sentence: _Sentence, line: str) -> None:
        found = _COMMENT.fullmatch(line)
        if found is None or len(line) > self._limits.max_record_bytes:
            return
        key = _KEYS[found[1]]
        if key == "document":
            self._document = found[2].strip()
        else:
            sentence.about.setdefault(key, found[2].strip())

    def _finished(self, sentence: _Sentence) -> Iterator[RowOrError]:
        if not sentence.plain:
            return
        origin = Origin(self._source, sentence.start)
        if sentence.problem is not None and sentence.problem[1] == "record-too-long":
            yield too_long(origin, self._limits.max_record_bytes)
        elif sentence.problem is not None:
            what, rule, fix = sentence.problem
            yield DataError(what, rule=rule, fix=fix, origin=origin, raw="\n".join(sentence.raw)[:RAW_CHARACTERS])
        elif not sentence.tokens:
            what, fix = "the sentence has no tokens", "give them, or take its lines out"
            yield DataError(what, rule="token-empty", fix=fix, origin=origin, raw="\n".join(sentence.raw))
        else:
            values: dict[str, Any] = {"tokens": sentence.tokens}
            if self._layout.tag is not None:
                values["tags"] = sentence.tags
            values |= {key: value for key, value in sentence.about.items() if value}
            if self._document:
                values["document"] = self._document
            yield Row(values, origin)
