"""Yes or no: do two sentences mean the same, is the pronoun this noun, are these the keywords?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from instructforge import DataError, Example, Normalizer, Row, columns
from instructforge.errors import printable
from instructforge_classification.columns import UNLABELLED, body, first, folded, has_any, has_text, record_id, text_of

__all__ = ["ALL", "abstract_keywords", "marked_pronoun"]

SENTENCE1 = ("text_a", "question1", "query1", "#1 String", "text1", "sentence_1", "s1")
SENTENCE2 = ("text_b", "question2", "query2", "#2 String", "text2", "sentence_2", "s2")
SAME = ("label", "is_duplicate", "Quality", "gold_label", "is_same")
YES = ("yes", "1", "true", "same", "是", "对", "相同", "一致")
NO = ("no", "0", "false", "different", "否", "错", "不同", "不一致")
YES_NO = {**dict.fromkeys(YES, "yes"), **dict.fromkeys(NO, "no")}


# --- Pronouns ------------------------------------------------------------------------------------------


def marked_pronoun(row: Row) -> Example:
    """Return the example of a noun and a pronoun in a text, both marked where they stand, as in CLUEWSC.

    Positions count characters. The label is true or false; numbers are refused, since data sets disagree on them.

    Raises:
        DataError: A span does not stand where it should, or the label is something else.
    """
    values = folded(row.values)
    target = values.get("target")
    spans = folded(target) if isinstance(target, Mapping) else values
    text = body(values)
    noun, pronoun = _span(spans, "span1", text), _span(spans, "span2", text)
    if noun[0] < pronoun[1] and pronoun[0] < noun[1]:
        raise DataError(
            f'the noun "{noun[2]}" and the pronoun "{pronoun[2]}" overlap',
            rule="span-overlap",
            field="target",
            fix="give two places that are apart",
        )
    marked = text
    for (start, end, _), (left, right) in sorted(((noun, ("_", "_")), (pronoun, ("[", "]"))), reverse=True):
        marked = f"{marked[:start]}{left}{marked[start:end]}{right}{marked[end:]}"
    answer = _true_or_false(values.get("label"))
    return Example(
        inputs={"text": marked, "noun": noun[2], "pronoun": pronoun[2]},
        answers=() if answer is None else (answer,),
        id=record_id(values, ("id", "idx")),
        group=text,
    )


def _span(spans: Mapping[str, Any], name: str, text: str) -> tuple[int, int, str]:
    """Return where a span starts and ends, and what it is."""
    span, start = spans.get(f"{name}_text"), spans.get(f"{name}_index")
    if not isinstance(span, str) or not span.strip() or type(start) is not int:
        raise DataError(
            f"{name} is {printable(repr(span), 40)} at {printable(repr(start), 40)}",
            rule="span-malformed",
            field=f"{name}_text",
            fix=f"give {name}_text, not empty, and {name}_index, where it starts, counted from 0",
        )
    if start >= 0 and text.startswith(span, start):
        return start, start + len(span), span
    places = [match.start() for match in re.finditer(re.escape(span), text)]
    raise DataError(
        f'"{printable(span, 40)}" does not stand at character {start} of the text',
        rule="span-misaligned",
        field=f"{name}_index",
        fix=f"its text stands at {', '.join(map(str, places[:5]))}" if places else "give words that stand in the text",
    )


def _true_or_false(given: Any) -> str | None:
    if given is None or (isinstance(given, str) and given.strip() in UNLABELLED):
        return None
    word = str(given).strip().casefold() if isinstance(given, (str, bool)) else ""
    if word in ("true", "yes", "是", "对"):
        return "yes"
    if word in ("false", "no", "否", "错"):
        return "no"
    raise DataError(
        f'the label is "{printable(repr(given), 40)}", not true or false',
        rule="label-unknown",
        field="label",
        fix="write true or false: of 0 and 1, some data sets take 0 for true and others 1",
    )


def _has_spans(values: Mapping[str, Any]) -> bool:
    row = folded(values)
    spans = row.get("target") if isinstance(row.get("target"), Mapping) else row
    return has_text(values) and {"span1_text", "span2_text"} <= folded(spans or {}).keys()


# --- Keywords ------------------------------------------------------------------------------------------

_SEPARATORS = re.compile(r"[;；、|_]")


def abstract_keywords(row: Row) -> Example:
    """Return the example of a text with keywords that may be right or not, as in CSL.

    Raises:
        DataError: There are no keywords, or the label is neither 1 nor 0.
    """
    values = folded(row.values)
    answer = _one_or_zero(first(values, ("answer", "label")))
    return Example(
        inputs={"text": body(values), "keywords": _keywords(first(values, ("keywords", "keyword")))},
        answers=() if answer is None else (answer,),
        id=record_id(values),
        group=body(values),
    )


def _keywords(given: Any) -> list[str]:
    listed = _SEPARATORS.split(given) if isinstance(given, str) else given
    words = [word.strip() for word in listed if isinstance(word, str)] if isinstance(listed, (list, tuple)) else []
    if not words or not all(words) or len(words) != len(listed):
        raise DataError(
            f"the keywords are {printable(repr(given), 80)}",
            rule="keywords-malformed",
            field="keyword",
            fix="give a list of texts, or a text with ; between them",
        )
    return words


def _one_or_zero(given: Any) -> str | None:
    if given is None or str(given).strip() in UNLABELLED:
        return None
    label = YES_NO.get(text_of(given, "label").strip().casefold()) if not isinstance(given, bool) else None
    if isinstance(given, bool):
        label = "yes" if given else "no"
    if label is None:
        raise DataError(
            f'the label "{printable(given, 40)}" is not known',
            rule="label-unknown",
            field="label",
            fix="give 1 where all keywords are right, 0 where one is not",
        )
    return label


def _has_keywords(values: Mapping[str, Any]) -> bool:
    return has_text(values) and has_any(values, ("keywords", "keyword"))


# --- The list ------------------------------------------------------------------------------------------

ALL = (
    columns(
        "sentence-pairs",
        task="similarity",
        fields={"sentence1": SENTENCE1, "sentence2": SENTENCE2},
        answer=SAME,
        labels=YES_NO,
        group=("sentence1", *SENTENCE1),
        id=("id", "idx"),
        summary="two sentences and 1 or 0, as in AFQMC, LCQMC, BUSTM, PAWS and Quora's pairs",
    ),
    Normalizer(
        "marked-pronoun",
        task="coreference",
        function=marked_pronoun,
        accepts=_has_spans,
        wants="text; target or columns of its own: span1_text, span1_index, span2_text, span2_index; label",
        summary="a noun and a pronoun with their places, as in CLUEWSC",
    ),
    Normalizer(
        "abstract-keywords",
        task="keywords",
        function=abstract_keywords,
        accepts=_has_keywords,
        wants="abst | abstract | text | …; keyword | keywords; label",
        summary="an abstract with keywords and 1 or 0, as in CSL",
    ),
)
