"""Parallel text in all its shapes → examples, one for each pair and direction.

Three values of a row, as a rule constants of the source, say which examples it makes: ``source_language``,
``target_language``, and ``direction``: ``forward`` (from the first language to the others), ``backward`` or
``both``. All examples of one record are of one group, and so are records with the same first text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from instructforge import DataError, Example, Normalizer, Row
from instructforge.errors import printable
from instructforge.files import seed_of
from instructforge.languages import canonical, is_code, main_part

__all__ = ["ALL"]

SOURCE = ("source", "src", "source_text", "src_text")
TARGET = ("target", "tgt", "target_text", "tgt_text", "translation", "references", "reference", "answer")
SOURCE_LANGUAGE = ("source_language", "source_lang", "src_lang")
TARGET_LANGUAGE = ("target_language", "target_lang", "tgt_lang")
DIRECTIONS = ("forward", "backward", "both")
AMBIGUOUS = ("id", "no")
"""Codes that are as often the name of a column of numbers: Indonesian, Norwegian."""

Texts = Mapping[str, list[str]]


def by_language(row: Row) -> Iterator[Example]:
    """Yield the examples of a record that has its texts by language: ``{"translation": {"en": …, "zh": …}}``."""
    texts = _texts(_record(row.values))
    first = next((some[0] for some in texts.values() if some), "")
    pairs = _pairs(row.values, texts)
    bad: list[DataError] = []
    for source, target in pairs:
        blank = next((language for language in (source, target) if not texts[language]), None)
        if blank is None:
            yield _example(row, texts[source][0], source, texts[target], target, first, alone=len(pairs) == 1)
        else:
            what = f'the text in "{printable(blank, 40)}" is missing or empty'
            bad.append(DataError(what, rule="text-empty", field=blank, fix="give the text, or take the record out"))
    if bad:
        raise bad[0]


def source_and_target(row: Row) -> Iterator[Example]:
    """Yield the examples of a record with a source and a target; without a target it is unlabelled."""
    values = row.values
    source, target = _of_first(values, SOURCE), _of_first(values, TARGET)
    codes = [_language(values, names) for names in (SOURCE_LANGUAGE, TARGET_LANGUAGE)]
    if not source:
        raise DataError('there is no "source"', rule="field-missing", field="source", fix="give the text to translate")
    if target == [] and _has(values, TARGET):
        fix = "give the translation; null says that there is none"
        raise DataError("the translation is empty", rule="answer-empty", field="target", fix=fix)
    texts = {codes[0]: source, codes[1]: target}
    pairs = _directed(values, [(codes[0], codes[1])]) if target else [(codes[0], codes[1])]
    for one, other in pairs:
        yield _example(row, texts[one][0], one, texts[other], other, source[0], alone=len(pairs) == 1)


# --- What a record holds ------------------------------------------------------------------------------


def _record(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record's texts by language: under ``translation``, or in columns named by codes."""
    held = values.get("translation")
    if isinstance(held, Mapping):
        return held
    asked = (values.get(name) for name in ("source_language", "target_language"))
    named = {canonical(code) for code in asked if isinstance(code, str) and code.strip()}
    columns = {
        name: value
        for name, value in values.items()
        if (is_code(str(name)) or canonical(str(name)) in named) and (value is None or isinstance(value, (str, list)))
    }
    plain = {name: value for name, value in columns.items() if name not in AMBIGUOUS or name in named}
    return columns if len(plain) == 1 else plain


def _texts(record: Mapping[str, Any]) -> Texts:
    found: dict[str, list[str]] = {}
    for name, value in record.items():
        several = value if isinstance(value, (list, tuple)) else [value]
        wrong = next((part for part in several if part is not None and not isinstance(part, str)), None)
        if wrong is not None:
            what = f'the text in "{printable(name, 40)}" is {printable(wrong, 40)} ({type(wrong).__name__})'
            raise DataError(what, rule="field-type", field=str(name), fix="give a text")
        found.setdefault(canonical(str(name)), []).extend(part for part in several if part and part.strip())
    if len(found) < 2:
        known = ", ".join(printable(name, 40) for name in found) or "none"
        what = f"the record has not two languages; it has: {known}"
        raise DataError(what, rule="language-missing", fix="give both texts, or take the record out")
    return found


def _pairs(values: Mapping[str, Any], texts: Texts) -> list[tuple[str, str]]:
    """Return the pairs (source, target) that the record is to make, in the directions asked for."""
    source = _chosen(values, "source_language", texts)
    target = _chosen(values, "target_language", texts)
    if source is not None and source == target:
        what = f'source and target language are both "{source}"'
        raise DataError(what, rule="language-same", field="target_language", fix="name two languages")
    first = source or next(language for language in texts if language != target)
    others = [target] if target else [language for language in texts if language != first]
    return _directed(values, [(first, other) for other in others])


def _directed(values: Mapping[str, Any], pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    direction = values.get("direction", "forward")
    if direction not in DIRECTIONS:
        what = f'the direction is "{printable(direction, 40)}"'
        raise DataError(what, rule="direction", field="direction", fix=f"use one of: {', '.join(DIRECTIONS)}")
    ways = {"forward": lambda a, b: [(a, b)], "backward": lambda a, b: [(b, a)], "both": lambda a, b: [(a, b), (b, a)]}
    return [pair for one, other in pairs for pair in ways[direction](one, other)]


def _chosen(values: Mapping[str, Any], name: str, texts: Texts) -> str | None:
    """Return the record's language that ``name`` asks for: the same code, or the one with another region."""
    asked = values.get(name)
    if not isinstance(asked, str) or not asked.strip():
        return None
    code = canonical(asked)
    near = [language for language in texts if main_part(language) == main_part(code)]
    if code in texts or len(near) == 1:
        return code if code in texts else near[0]
    what = f'the record has no text in "{printable(code, 40)}"; it has: {printable(", ".join(texts), 100)}'
    raise DataError(what, rule="language-missing", field=name, fix="give the text, or name another language")


def _has(values: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return any(values.get(name) is not None for name in names)


def _of_first(values: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Return the texts of the first of the columns that has a value; a list there is several."""
    value: Any = next((values[name] for name in names if values.get(name) is not None), [])
    several = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(part, str) for part in several):
        what = f'"{names[0]}" is {printable(value, 40)} ({type(value).__name__}), not a text'
        raise DataError(what, rule="field-type", field=names[0], fix="give a text, or a list of texts")
    return [part for part in several if part.strip()]


def _language(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    value = next((values[name] for name in names if isinstance(values.get(name), str)), "")
    if not value.strip():
        fix = f"say it: --constant {names[0]}=CODE"
        raise DataError(f'there is no "{names[0]}"', rule="language-missing", field=names[0], fix=fix)
    return canonical(value)


# --- Examples -----------------------------------------------------------------------------------------


def _example(
    row: Row, text: str, source: str, translations: list[str], target: str, first: str, *, alone: bool
) -> Example:
    given = row.values.get("id")
    id = str(given).strip() if isinstance(given, (str, int)) and "id" not in (source, target) else ""
    return Example(
        inputs={"source": text, "source_language": source, "target_language": target},
        answers=tuple(dict.fromkeys(translations)),
        id=id if alone or not id else f"{id}:{source}-{target}",
        group=first,
        language=_template_language(source, target, id or str(row.origin)),
        notes=("inline-tags",) if row.values.get("inline_tags") else (),
    )


def _template_language(source: str, target: str, name: str) -> str:
    """Return the language in which the row is asked: Chinese where the pair has Chinese, else English.

    Between Chinese and English either will do: half of the rows get each, by their own name.
    """
    spoken = {main_part(source), main_part(target)}
    if "zh" not in spoken:
        return "en"
    return "zh" if "en" not in spoken or seed_of(0, "language", name, source, target) % 2 else "en"


def _has_languages(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("translation"), Mapping) or len(_record(values)) > 1


def _has_source(values: Mapping[str, Any]) -> bool:
    return _has(values, SOURCE) and not _has_languages(values)


ALL = (
    Normalizer(
        "translation",
        task="translation",
        function=by_language,
        accepts=_has_languages,
        summary="texts by language: TMX, parallel files, columns named by codes",
        wants='translation: {"en": …, "zh": …}; or columns named by language codes: en, zh, pt-BR …',
    ),
    Normalizer(
        "translation-pair",
        task="translation",
        function=source_and_target,
        accepts=_has_source,
        summary="columns source and target, languages in columns or constants",
        wants="source | src; target | tgt | references (optional); source_language; target_language",
    ),
)
