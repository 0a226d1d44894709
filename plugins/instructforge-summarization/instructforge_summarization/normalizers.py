"""Records of the usual data sets → examples of the tasks summarization and rewriting."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from instructforge import DataError, Example, Normalizer, Row
from instructforge.errors import printable
from instructforge.files import sha256_of
from instructforge.normalizers import columns

__all__ = ["ALL", "SEPARATOR"]

DOCUMENT = ("document", "article", "text", "content", "short_text", "dialogue", "passage", "source", "body", "正文")
SUMMARY = ("answer", "summary", "summaries", "highlights", "tldr", "target", "summarization", "references", "摘要")
HEADLINE = ("headline", "title", "标题")
"""Columns that hold the answer where there is none of ``SUMMARY``, and the form is a headline then."""

ID = ("id", "paper_id", "doc_id")
FORMS = {"标题": "headline", "title": "headline", "一句话": "sentence", "要点": "bullets", "摘要": "abstract"}
SEPARATOR = "<::::>"
"""What WikiSplit writes between the sentences of a split."""

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_BULLET = re.compile(r"(?:[-*•·]|\d+[.)、])\s*")


# --- Summarization ------------------------------------------------------------------------------------


def summarize(row: Row) -> Example:
    """Return the example of a document with its summaries: a list of them is several gold answers.

    Three values, as a rule constants of the source, ask for a kind of summary: ``form``; ``max_words``, a number
    or ``auto`` (taken from the row's own first summary); and a document may be a list of its sentences.
    """
    values, notes = row.values, list[str]()
    held, asked = _columns(values)
    document = _joined(values[held], held, notes) if held else ""
    if not document.strip():
        what = f'there is no "document": none of the columns {" | ".join(DOCUMENT)} has a text'
        fix = "fill the column, or map another to it: document=COLUMN"
        raise DataError(what, rule="field-missing", field="document", fix=fix)
    form = _form(values, asked)
    answers = _summaries(values[asked], asked, form, notes) if asked else ()
    title = values.get("title") if asked != "title" else None
    inputs = {"document": document, "title": title, "form": form, "max_words": _limit(values, answers)}
    return Example(
        inputs={name: value for name, value in inputs.items() if value},
        answers=answers,
        id=_id(values),
        group=sha256_of(document)[:16],
        notes=tuple(dict.fromkeys(notes)),
    )


def _columns(values: Mapping[str, Any]) -> tuple[str, str]:
    """Return the columns of the document and of its summary, each empty where there is none."""
    held = _first(values, DOCUMENT)
    asked = _first(values, SUMMARY)
    if not held:  # an abstract is a summary beside its article, and the text itself beside a title alone
        held = _first(values, ("abstract", "abst"))
    elif not asked:
        asked = _first(values, ("abstract", "abst"))
    return held, asked or _first(values, HEADLINE)


def _first(values: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((name for name in names if values.get(name) is not None), "")


def _joined(value: Any, column: str, notes: list[str]) -> str:
    """Return a text, or the text of a list of sentences: with spaces between them unless they are Chinese."""
    if isinstance(value, str):
        return value
    sentences = _texts(value, column)
    kept = [sentence.strip() for sentence in sentences if sentence.strip()]
    if len(kept) < len(sentences):
        notes.append("blank-sentence-dropped")
    return ("" if _is_chinese("".join(kept)) else " ").join(kept)


def _texts(value: Any, column: str) -> list[str]:
    several = list(value) if isinstance(value, (list, tuple)) else [value]
    if not several or not all(isinstance(part, str) for part in several):
        what = f'"{column}" is {printable(value, 40)} ({type(value).__name__}), not a text or a list of texts'
        raise DataError(what, rule="field-type", field=column, fix="give a text")
    return several


def _is_chinese(text: str) -> bool:
    return 3 * len(_HAN.findall(text)) > len(text)


def _form(values: Mapping[str, Any], asked: str) -> str:
    form = values.get("form")
    if form is None:
        return "headline" if asked in HEADLINE else ""
    if not isinstance(form, str):
        what = f'"form" is {printable(form, 40)} ({type(form).__name__}), not a text'
        raise DataError(what, rule="field-type", field="form", fix="give a word such as headline")
    return FORMS.get(form.strip(), form.strip())


def _summaries(value: Any, column: str, form: str, notes: list[str]) -> tuple[str, ...]:
    given = _texts(value, column)
    kept = [text for text in given if text.strip()]
    if not kept:
        fix = "give the summary; null says that there is none"
        raise DataError(f'the summary in "{column}" is empty', rule="answer-empty", field=column, fix=fix)
    if len(kept) < len(given):
        notes.append("blank-summary-dropped")
    if form == "bullets":
        return (_as_bullets(kept),) if isinstance(value, (list, tuple)) else tuple(map(_as_bullets, kept))
    return tuple(dict.fromkeys(kept))


def _as_bullets(points: str | Sequence[str]) -> str:
    """Return points, or the lines of a text, as lines that begin with ``- ``.

    >>> _as_bullets("• One thing.\\n\\nAnother thing.")
    '- One thing.\\n- Another thing.'
    """
    lines = points.splitlines() if isinstance(points, str) else [" ".join(point.split()) for point in points]
    return "\n".join(f"- {_BULLET.sub('', line.strip(), count=1)}" for line in lines if line.strip())


def _limit(values: Mapping[str, Any], answers: tuple[str, ...]) -> str:
    """Return the most words asked for, as digits; empty where nothing is asked."""
    asked = values.get("max_words")
    if asked is None or asked == "":
        return ""
    if asked == "auto":
        return str(-(-_words(answers[0]) // 5) * 5) if answers else ""
    digits = str(asked).strip()
    if isinstance(asked, bool) or not re.fullmatch("[1-9][0-9]{0,5}", digits, re.ASCII):
        what = f'"max_words" is {printable(asked, 40)}'
        raise DataError(what, rule="field-type", field="max_words", fix="give a whole number from 1, or auto")
    return digits


def _words(text: str) -> int:
    """Return how many words a text has; characters where it is Chinese.

    >>> _words("Two words."), _words("四个字。")
    (2, 4)
    """
    return len("".join(text.split())) if _is_chinese(text) else len(text.split())


def _id(values: Mapping[str, Any]) -> str:
    return next((str(values[name]).strip() for name in ID if isinstance(values.get(name), (str, int))), "")


def _has_document(values: Mapping[str, Any]) -> bool:
    return bool(_columns(values)[0])


# --- Rewriting ----------------------------------------------------------------------------------------


def split(row: Row) -> Example:
    """Return the example of a sentence and the shorter ones that it is split into: one to a line of the answer."""
    values = row.values
    sentence = _text_of(values, ("text", "complex", "complex_sentence"))
    given = _first(values, ("answer", "simple", "sentences"))
    if given:
        value = values[given]
        parts = value.split(SEPARATOR) if isinstance(value, str) else _texts(value, given)
    else:
        names = [name for name in ("simple_sentence_1", "simple_sentence_2") if values.get(name) is not None]
        parts = [part for name in names for part in _texts(values[name], name)]
    parts = [" ".join(part.split()) for part in parts]
    if parts and not all(parts):
        fix = "give at least two sentences, or take the row out"
        raise DataError("a sentence of the split is empty", rule="answer-empty", field=given or "simple", fix=fix)
    return Example(
        inputs={"text": sentence, "request": "split"},
        answers=("\n".join(parts),) if parts else (),
        id=_id(values),
        group=sha256_of(sentence)[:16],
    )


def _text_of(values: Mapping[str, Any], names: Sequence[str]) -> str:
    name = _first(values, names)
    if not name:
        what = f'there is no "text": none of the columns {" | ".join(names)} has a value'
        raise DataError(what, rule="field-missing", field="text", fix="map a column to it: text=COLUMN")
    if not isinstance(values[name], str):
        what = f'"{name}" is {printable(values[name], 40)} ({type(values[name]).__name__}), not a text'
        raise DataError(what, rule="field-type", field=name, fix="give a text")
    return str(values[name])


def _is_split(values: Mapping[str, Any]) -> bool:
    given = values.get("answer", values.get("simple"))
    marked = isinstance(given, str) and SEPARATOR in given
    return (marked and bool(_first(values, ("text", "complex")))) or values.get("complex_sentence") is not None


_plain = columns(
    "rewriting",
    task="rewriting",
    fields={
        "text": ("original", "complex", "source", "input", "sentence", "原文"),
        "request": ("style", "instruction"),
    },
    answer=("rewritten", "simple", "simplified", "simplifications", "paraphrase", "target", "output", "改写"),
    optional=("request",),
    group=("group", "original", "text"),
    unlabelled=(),
    summary="a text and the text it becomes; several of these are several gold answers",
)


def _is_plain(values: Mapping[str, Any]) -> bool:
    return _plain.accepts(values) and not _is_split(values)


ALL = (
    Normalizer(
        "summarization",
        task="summarization",
        function=summarize,
        accepts=_has_document,
        summary="a document and its summary, or several; SciTLDR, CNN/DailyMail, XSum, LCSTS and the like",
        wants=f"{' | '.join(DOCUMENT)}; {' | '.join((*SUMMARY, 'abstract', *HEADLINE))} (optional)",
    ),
    Normalizer(
        "rewriting",
        task="rewriting",
        function=_plain.function,
        accepts=_is_plain,
        summary=_plain.summary,
        wants=_plain.wants,
    ),
    Normalizer(
        "split-sentences",
        task="rewriting",
        function=split,
        accepts=_is_split,
        summary=f"a sentence and its parts, with {SEPARATOR} between them as WikiSplit has it",
        wants=f"complex; simple, with {SEPARATOR} in it; or complex_sentence, simple_sentence_1, simple_sentence_2",
    ),
)
