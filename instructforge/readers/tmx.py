"""TMX, the exchange format of translation memories: one row for each translation unit.

The file is parsed by expat as it is read, so that memory holds one unit. Declarations of entities, elements or
attributes are refused before they can unfold; a DTD that is only named is never fetched. Where a unit is no XML,
it alone is lost: parsing begins anew at the next ``<tu``.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from xml.parsers import expat

from attrs import define, field

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, printable
from instructforge.readers.jsonl import stem_suffix
from instructforge.readers.jsonvalue import RAW_CHARACTERS, excerpt, too_long
from instructforge.readers.opening import Limits, file_error, open_regular, open_unpacked

__all__ = ["TmxReader"]

_BLOCK = 1 << 16
_ROOT = re.compile(rb"<(?:\w+:)?tmx[\s>]")
_UNIT = re.compile(rb"<(?:\w+:)?tu[\s>]")
_CODES = frozenset(("bpt", "ept", "ph", "it", "ut"))
"""Inline tags whose content is the formatting of another program, not text."""

_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


class TmxReader:
    """Reads translation memories (TMX 1.1 to 1.4).

    A row has ``translation``, each language's text in the order of the file but the source language first, where
    the file states one; a language that stands in a unit twice has a list of texts. Beside it: ``tuid``, where the
    unit has one, and ``inline_tags``, the number of tags that were taken out of its texts.
    """

    name = "tmx"
    suffixes = (".tmx",)

    def accepts(self, path: Path, head: bytes) -> bool:
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        return (stem_suffix(path) == ".tmx" and bool(start)) or (start[:1] == b"<" and bool(_ROOT.search(start[:4096])))

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield the row of each unit; its number is the line on which it starts.

        ``options["inline"]`` is ``drop`` (the default) or ``keep``: whether the content of tags that stand for
        formatting (bpt, ept, ph, it, ut) is left out of the text.
        """
        limits = Limits.take(options, reader=self.name, known=("inline",))
        inline = options.get("inline", "drop")
        if inline not in ("drop", "keep"):
            raise ConfigError(f'the option inline is drop or keep, not "{printable(inline, 40)}"')
        units = _Units(path, limits, keep_codes=inline == "keep")
        with _opened(path, limits) as (blocks, encoding):
            yield from _Parsing(path, limits, blocks, encoding, units)
        if not units.count:
            raise file_error(path, "holds no units", rule="no-records", fix="leave it out, or fetch it again")


# --- Bytes --------------------------------------------------------------------------------------------


class _opened:
    """Opens a file as blocks of bytes with the encoding to read them in: UTF-16 becomes UTF-8 on the way."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits

    def __enter__(self) -> tuple[Iterator[bytes], str | None]:
        self._handle: BinaryIO = open_regular(self._path)
        encoding = _UTF16.get(self._handle.read(2))
        if encoding is None:
            self._handle.close()
            self._handle = open_unpacked(self._path, self._limits)
            return iter(lambda: self._handle.read(_BLOCK), b""), None
        return self._recoded(encoding), "utf-8"

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def _recoded(self, encoding: str) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(encoding)()
        last = False
        while not last:
            block = self._handle.read(_BLOCK)
            last = not block
            try:
                text = decoder.decode(block, last)
            except UnicodeDecodeError as error:
                what = f"is no UTF-16 that can be read: {error.reason}"
                raise file_error(self._path, what, rule="encoding", fix="save it as UTF-8") from None
            if text:
                yield text.encode("utf-8")


# --- Parsing ------------------------------------------------------------------------------------------


class _Damaged(Exception):
    """The XML cannot be followed from byte ``at`` of the parser's input on."""

    def __init__(self, message: str, *, at: int, line: int, rule: str, fix: str) -> None:
        super().__init__(message)
        self.at, self.line, self.rule, self.fix = at, line, rule, fix


class _Parsing:
    """Feeds a file to expat, block by block; after damage, to a new parser from the next unit on."""

    def __init__(
        self, path: Path, limits: Limits, blocks: Iterator[bytes], encoding: str | None, units: _Units
    ) -> None:
        self._path, self._limits, self._blocks, self._units = path, limits, blocks, units
        self._encoding = encoding
        self._whole = True
        """Whether the end of the last parser's input is the end of the document."""
        self._begin(b"", line=1)

    def __iter__(self) -> Iterator[RowOrError]:
        block = next(self._blocks, b"")
        while block:
            damage = self._parse(block)
            yield from self._units.taken()
            if damage is None:
                block = next(self._blocks, b"")
            else:
                yield self._units.broken(damage, excerpt(bytes(self._kept[:2000])))
                block = self._from_next_unit(damage.line)
        if self._whole:
            self._end()
            yield from self._units.taken()

    def _begin(self, opening: bytes, *, line: int) -> None:
        """Make a parser whose input begins on ``line``; ``opening`` are the tags that the unit stands in."""
        parser = expat.ParserCreate(self._encoding)
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.XmlDeclHandler = self._declared
        for kind in ("EntityDecl", "ElementDecl", "AttlistDecl", "NotationDecl"):
            setattr(parser, f"{kind}Handler", self._refuse_declaration)
        self._units.listen(parser, line)
        parser.Parse(opening, False)
        self._parser = parser
        self._kept, self._kept_at = bytearray(), len(opening)

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        self._encoding = self._encoding or encoding

    def _refuse_declaration(self, *_: object) -> NoReturn:
        raise file_error(
            self._path,
            "declares entities, elements or attributes of its own",
            rule="xml-declarations",
            fix="take the declarations out of its DOCTYPE; texts then hold the characters themselves",
        )

    def _parse(self, block: bytes) -> _Damaged | None:
        """Parse one more block. ``_kept`` then begins at what is not parsed yet, or at the damage."""
        self._kept += block
        try:
            self._parser.Parse(block, False)
            at, damage = self._parser.CurrentByteIndex, None
        except DataError:
            raise
        except _Damaged as error:
            at, damage = error.at, error
        except expat.ExpatError:
            at, damage = self._parser.ErrorByteIndex, self._explained()
        except (LookupError, ValueError) as error:
            what = f'is in the encoding "{printable(self._encoding, 40)}": {printable(error, 80)}'
            raise file_error(self._path, what, rule="encoding", fix="save it as UTF-8") from None
        del self._kept[: max(0, at - self._kept_at)]
        self._kept_at = max(at, self._kept_at)
        if damage and not self._units.in_body:
            what = f"is no TMX file that can be read: {damage}"
            raise file_error(self._path, what, rule="xml", fix="write it again", record=damage.line) from None
        if len(self._kept) > self._limits.max_record_bytes + len(block):
            what = f"has a tag longer than {self._limits.max_record_bytes} bytes"
            fix = "shorten it, or raise the reader's option max_record_bytes"
            raise file_error(self._path, what, rule="record-too-long", fix=fix)
        return damage

    def _explained(self) -> _Damaged:
        parser = self._parser
        at, line = parser.ErrorByteIndex, self._units.line_of(parser.ErrorLineNumber)
        byte = self._kept[at - self._kept_at : at - self._kept_at + 1]
        if byte >= b"\x80":
            fix = "save the file as UTF-8, or state its encoding in the XML declaration"
            return _Damaged(
                f"byte 0x{byte[0]:02x} on line {line} is not UTF-8", at=at, line=line, rule="encoding", fix=fix
            )
        what = f"not XML: {expat.ErrorString(parser.ErrorCode)}, on line {line}"
        return _Damaged(what, at=at, line=line, rule="xml", fix="mend the unit; < and & are written &lt; and &amp;")

    def _from_next_unit(self, line: int) -> bytes:
        """Begin anew at the first unit after the damage and return what has been read from there on."""
        skipped, kept = 1, self._kept  # a unit whose own tag is damaged is not the next
        ended = False
        while not (found := _UNIT.search(kept, skipped)):
            more = next(self._blocks, b"")
            ended = ended or b"</tmx" in kept
            if not more:
                self._whole = False
                if not ended:
                    raise self._truncated(line + kept.count(b"\n"))
                return b""
            done = max(skipped, len(kept) - 64)
            line += kept.count(b"\n", 0, done)
            del kept[:done]
            skipped = 0
            kept += more
        line += kept.count(b"\n", 0, found.start())
        rest = bytes(kept[found.start() :])
        self._begin(b"<tmx><body>", line=line)
        return rest

    def _end(self) -> None:
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError:
            raise self._truncated(self._units.line_of(self._parser.ErrorLineNumber)) from None

    def _truncated(self, line: int) -> DataError:
        if not self._units.in_body:
            return file_error(self._path, "is no TMX file", rule="file-format", fix="give a TMX file, or name a reader")
        what = f"ends too early, on line {line}"
        return file_error(self._path, what, rule="xml-truncated", fix="fetch it again")


# --- Units --------------------------------------------------------------------------------------------


@define
class _Unit:
    """What has been read of a unit."""

    origin: Origin
    attributes: Mapping[str, str]
    depth: int
    texts: dict[str, list[str]] = field(factory=dict)
    language: str = ""
    texts_of_language: int = 0
    parts: list[str] | None = None
    """The text of the segment that is being read."""
    codes: int = 0
    """How many tags are open whose content is no text."""
    tags: int = 0
    size: int = 0
    problem: DataError | None = None

    def fail(self, message: str, *, rule: str, fix: str) -> None:
        self.problem = self.problem or DataError(message, rule=rule, fix=fix, origin=self.origin)


class _Units:
    """Puts units together from what expat tells."""

    def __init__(self, path: Path, limits: Limits, *, keep_codes: bool) -> None:
        self.count = 0
        self.in_body = False
        self._path, self._limits, self._keep_codes = path, limits, keep_codes
        self._ready: deque[RowOrError] = deque()
        self._unit: _Unit | None = None
        self._source = ""

    def listen(self, parser: expat.XMLParserType, line: int) -> None:
        """Take what ``parser`` tells; its input begins on ``line``."""
        self._parser, self._before, self._depth, self._unit = parser, line - 1, 0, None
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.SkippedEntityHandler = self._skipped

    def line_of(self, number: int) -> int:
        """Return the line of the file that the parser counts as ``number``."""
        return self._before + number

    def taken(self) -> Iterator[RowOrError]:
        """Yield what has become ready."""
        while self._ready:
            yield self._ready.popleft()

    def broken(self, damage: _Damaged, raw: str) -> DataError:
        """Return the error of the unit in which the damage is; what was read of it is let go."""
        origin = self._unit.origin if self._unit else self._next_origin(damage.line)
        self._unit = None
        return DataError(str(damage), rule=damage.rule, fix=damage.fix, origin=origin, raw=raw)

    def _next_origin(self, line: int) -> Origin:
        self.count += 1
        return Origin(self._path.name, line, f"tu[{self.count}]")

    # --- What expat tells -----------------------------------------------------------------------------

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        name = tag.rpartition(":")[2]
        if self._depth > self._limits.max_depth:
            what = f"the tags nest deeper than {self._limits.max_depth} levels"
            at, line = self._parser.CurrentByteIndex, self.line_of(self._parser.CurrentLineNumber)
            raise _Damaged(what, at=at, line=line, rule="too-deep", fix="flatten it")
        if self._depth == 1 and name != "tmx":
            what = f'is XML of another kind: its root is "{printable(tag, 40)}", not tmx'
            raise file_error(self._path, what, rule="file-format", fix="give a TMX file")
        if self._unit is not None:
            self._start_in(self._unit, name, attributes)
        elif name == "header":
            self._source = attributes.get("srclang", "")
        elif name == "body":
            self.in_body = True
        elif name == "tu":
            line = self.line_of(self._parser.CurrentLineNumber)
            self._unit = _Unit(self._next_origin(line), attributes, self._depth)

    def _start_in(self, unit: _Unit, name: str, attributes: Mapping[str, str]) -> None:
        if unit.parts is not None:
            unit.tags += 1
            unit.codes += bool(unit.codes) or (name in _CODES and not self._keep_codes)
        elif name == "tu":
            unit.fail("a unit begins within this one", rule="unit-nested", fix="close the first one: </tu>")
        elif name == "tuv":
            unit.language = (attributes.get("xml:lang") or attributes.get("lang") or "").strip()
            unit.texts_of_language = 0
            if not unit.language:
                fix = 'give it: <tuv xml:lang="en">'
                unit.fail("a text of the unit (tuv) does not say its language", rule="language-missing", fix=fix)
        elif name == "seg":
            unit.parts = []

    def _text(self, text: str) -> None:
        unit = self._unit
        if unit is None or unit.parts is None or unit.codes:
            return
        unit.size += len(text)
        if unit.size <= self._limits.max_record_bytes:
            unit.parts.append(text)

    def _skipped(self, name: str, is_parameter: bool) -> None:
        if self._unit is not None and not is_parameter:
            what = f'the entity "&{printable(name, 40)};" is not defined'
            self._unit.fail(what, rule="xml-entity", fix="write the character itself, or its number: &#160;")

    def _end(self, tag: str) -> None:
        self._depth -= 1
        name, unit = tag.rpartition(":")[2], self._unit
        if unit is None:
            return
        if unit.parts is not None and name != "seg":
            unit.codes -= bool(unit.codes)
        elif name == "seg" and unit.parts is not None:
            self._add(unit, "".join(unit.parts).strip())
            unit.parts, unit.codes = None, 0
        elif name == "tuv" and not unit.texts_of_language:
            self._add(unit, "")
        elif name == "tu" and self._depth < unit.depth:
            self._ready.append(self._finished(unit))
            self._unit = None

    def _add(self, unit: _Unit, text: str) -> None:
        unit.texts_of_language += 1
        unit.texts.setdefault(unit.language, []).append(text)

    def _finished(self, unit: _Unit) -> RowOrError:
        if unit.size > self._limits.max_record_bytes:
            return too_long(unit.origin, self._limits.max_record_bytes)
        if not unit.texts:
            unit.fail("the unit holds no text (tuv)", rule="unit-empty", fix="give its texts, or take it out")
        if unit.problem:
            unit.problem.raw = str(unit.texts)[:RAW_CHARACTERS]
            return unit.problem
        first = _matching(unit.attributes.get("srclang") or self._source, unit.texts)
        ordered = sorted(unit.texts, key=lambda language: language != first)
        texts = {language: _one_or_all(unit.texts[language]) for language in ordered}
        values: dict[str, Any] = {"translation": texts}
        values |= {"tuid": unit.attributes["tuid"]} if "tuid" in unit.attributes else {}
        values |= {"inline_tags": unit.tags} if unit.tags else {}
        return Row(values, unit.origin)


def _one_or_all(texts: list[str]) -> str | list[str]:
    return texts[0] if len(texts) == 1 else texts


def _matching(language: str, known: Mapping[str, Any]) -> str | None:
    """Return the name under which ``known`` has a language: as it is, or else with another region.

    >>> _matching("en", {"de-DE": "", "EN-us": ""})
    'EN-us'
    """
    low = language.lower()
    exact = (name for name in known if name.lower() == low)
    near = (name for name in known if re.split("[-_]", name.lower())[0] == re.split("[-_]", low)[0])
    return next(exact, None) or next(near, None)
