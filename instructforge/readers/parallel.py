"""Parallel text: plain text files whose lines belong together, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import frozen

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, printable
from instructforge.languages import is_code
from instructforge.readers.jsonvalue import excerpt, not_text, too_long
from instructforge.readers.opening import Limits, bounded_lines, file_error, open_unpacked

__all__ = ["ParallelReader", "language_in_name"]

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z]{4})?(?:[-_](?:[A-Z]{2}|[0-9]{3}))?\Z")
_ENDINGS = frozenset((".txt", ".text", ".snt", ".tok", ".gz"))
_NO_LANGUAGE = frozenset(
    ("src", "tgt", "ref", "hyp", "txt", "csv", "tsv", "tab", "xml", "tmx", "log", "md", "py", "gz")
)


def language_in_name(path: Path) -> str:
    """Return the language that a file's name tells, or an empty text: the last part before ``.txt`` or ``.gz``.

    >>> language_in_name(Path("newstest2019-src.eng.txt")), language_in_name(Path("train.zh-Hant.gz"))
    ('eng', 'zh-Hant')
    >>> language_in_name(Path("notes.txt"))
    ''
    """
    return _split_name(path)[1]


def _split_name(path: Path) -> tuple[str, str]:
    """Return what stands in a file's name before its language, and the language."""
    *parts, last = path.name.split(".")
    while len(parts) > 1 and f".{last.lower()}" in _ENDINGS:
        last = parts.pop()
    is_language = bool(parts) and bool(_LANGUAGE.match(last)) and last.lower() not in _NO_LANGUAGE
    return (".".join(parts), last) if is_language else (path.name, "")


class ParallelReader:
    """Reads two or more files of which line 7 of one belongs to line 7 of every other.

    The file that is named as the source of the build is the first; the option ``target`` names the others. A row
    has ``translation``, each language's line; a language with two files has a list of its lines. With the option
    ``columns`` a row has a column of that name for each file instead.
    """

    name = "parallel"
    suffixes = (".txt",)

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell by the code of a common language in the file's name: what it holds is text of any kind."""
        if b"\0" in head or not head:
            return False
        return is_code(language_in_name(path))

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield the row of each line.

        Options: ``target``, the other files, with commas between them or as a list: paths from the first file's
        folder, in which ``*`` stands for the first file's name before its language; ``languages``, of all files,
        where their names do not tell; ``columns``, names to give to the files instead.

        Raises:
            ConfigError: The other files, or the languages, are not known.
            DataError: The files have different numbers of lines, or one cannot be read.
        """
        limits = Limits.take(options, reader=self.name, known=("target", "languages", "columns"))
        files = [path, *self.beside(path, options)]
        if len(files) < 2:
            raise ConfigError(_no_target(path))
        plan = _plan(files, options)
        _refuse_misaligned(files, limits)
        with ExitStack() as opened:
            handles = [opened.enter_context(open_unpacked(file, limits)) for file in files]
            lines = (bounded_lines(handle, limits.max_record_bytes) for handle in handles)
            for number, found in enumerate(zip(*lines, strict=True), start=1):
                raw = [line for _, _, line in found]
                yield _row(plan, raw, files, Origin(path.name, number), limits)

    def beside(self, path: Path, options: Mapping[str, Any]) -> list[Path]:
        """Return the other files that are read with ``path``: the build's hash covers them too."""
        return [
            path.parent / name.replace("*", _split_name(path)[0]) for name in _listed(options.get("target"), "target")
        ]


@frozen
class _Plan:
    """How the lines go into a row: the name of each file's column, and whether these are languages."""

    names: tuple[str, ...]
    are_languages: bool


def _listed(value: Any, option: str) -> list[str]:
    """Return the parts of an option that is a list, or a text with commas."""
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) and part.strip() for part in parts):
        raise ConfigError(f'the option {option} is "{printable(value, 80)}", not a list of names')
    return [part.strip() for part in parts]


def _no_target(path: Path) -> str:
    stem, language = _split_name(path)
    message = f'"{printable(path)}" is one side of parallel text; name the other: --option target=FILE'
    if not language or not path.parent.is_dir():
        return message
    parts = ((file.name, *_split_name(file)) for file in path.parent.iterdir())
    near = sorted(name for name, start, other in parts if start == stem and other and other != language)
    return f"{message}. Beside it: {', '.join(printable(name, 80) for name in near[:5])}" if near else message


def _plan(files: Sequence[Path], options: Mapping[str, Any]) -> _Plan:
    columns = _listed(options.get("columns"), "columns")
    if columns:
        if len(columns) != len(files) or len(set(columns)) != len(columns):
            raise ConfigError(f"the option columns names {len(columns)} columns for {len(files)} files; one for each")
        return _Plan(tuple(columns), are_languages=False)
    languages = _listed(options.get("languages"), "languages") or [language_in_name(file) for file in files]
    if len(languages) != len(files):
        raise ConfigError(f"the option languages names {len(languages)} for {len(files)} files; one for each")
    unknown = [file.name for file, language in zip(files, languages, strict=True) if not language]
    if unknown:
        raise ConfigError(
            f'the name "{printable(unknown[0])}" does not tell its language; '
            "give the languages of all files in their order: --option languages=en,de"
        )
    if languages[0] in languages[1:]:
        raise ConfigError(f'the first file and another are both in "{languages[0]}"; two languages are needed')
    return _Plan(tuple(languages), are_languages=True)


def _refuse_misaligned(files: Sequence[Path], limits: Limits) -> None:
    counts = [_count(file, limits) for file in files]
    for file, count in zip(files[1:], counts[1:], strict=True):
        if count != counts[0]:
            what = f'has {counts[0]} lines, and "{printable(file.name)}" has {count}: they do not belong together'
            fix = "line up the two files; an empty line stands for a missing sentence"
            raise file_error(files[0], what, rule="parallel-misaligned", fix=fix)


def _count(path: Path, limits: Limits) -> int:
    """Return the number of lines; the last counts whether or not it ends with a line break."""
    count, last = 0, b"\n"
    with open_unpacked(path, limits) as handle:
        while block := handle.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _row(
    plan: _Plan, lines: Sequence[bytes | None], files: Sequence[Path], origin: Origin, limits: Limits
) -> RowOrError:
    texts = []
    shown = b"\n".join(b"" if line is None else line.strip() for line in lines)
    for line, file in zip(lines, files, strict=True):
        if line is None:
            return too_long(origin, limits.max_record_bytes)
        found = _text(line)
        if isinstance(found, DataError):
            message = f'"{printable(file.name)}": {found}'
            return DataError(message, rule=found.rule, fix=found.fix, origin=origin, raw=excerpt(shown))
        if not found:
            what, fix = f'the line is blank in "{printable(file.name)}"', "give the missing text, or take the line out"
            return DataError(what, rule="line-blank", fix=fix, origin=origin, raw=excerpt(shown))
        texts.append(found)
    if not plan.are_languages:
        return Row(dict(zip(plan.names, texts, strict=True)), origin)
    return Row({"translation": _by_language(plan.names, texts)}, origin)


def _text(line: bytes) -> str | DataError:
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        what = f"byte 0x{line[error.start]:02x} of the line is not UTF-8"
        return DataError(what, rule="encoding", fix="save the file as UTF-8")
    problem = not_text(text)
    return DataError(problem, rule="not-text", fix="take the character out") if problem else text


def _by_language(languages: Sequence[str], texts: Sequence[str]) -> dict[str, str | list[str]]:
    found: dict[str, list[str]] = {}
    for language, text in zip(languages, texts, strict=True):
        found.setdefault(language, []).append(text)
    return {language: some[0] if len(some) == 1 else some for language, some in found.items()}
