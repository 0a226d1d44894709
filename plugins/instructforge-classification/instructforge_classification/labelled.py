"""Texts with labels that come with the data: topic, intent, and several labels at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from instructforge import DataError, Example, Normalizer, Row
from instructforge.errors import did_you_mean, printable
from instructforge_classification.columns import UNLABELLED, body, first, folded, has_text, record_id, text_of

__all__ = ["ALL", "intent", "intent_segments", "multi_label", "topic"]

TOPIC = ("answer", "label_desc", "label_des", "label_text", "label_name", "category", "topic", "class", "class index")
INTENT = ("answer", "intent", "label_text", "label_name", "category")
LABEL = ("label", "labels_name")
SEVERAL = ("answer", "answers", "labels", "tags", "categories", "topics", "genres", "emotions", "label")

SEPARATORS = "|;；、,，"

# --- One label -----------------------------------------------------------------------------------------


def topic(row: Row) -> Example:
    """Return the example of a text with its topic."""
    return _one(row, TOPIC)


def intent(row: Row) -> Example:
    """Return the example of an utterance with its intent."""
    return _one(row, INTENT)


def intent_segments(row: Row) -> Example:
    """Return the example of an utterance that is cut into segments, as in Snips."""
    segments = row.values.get("data")
    if not isinstance(segments, list) or not all(isinstance(part, Mapping) for part in segments):
        raise DataError(
            f"the utterance is {printable(repr(segments), 80)}",
            rule="segments",
            field="data",
            fix='give a list of objects with "text", and "entity" where a segment is a slot',
        )
    text = "".join(text_of(part.get("text"), "data.text") for part in segments)
    return _one(Row({**row.values, "text": text}, row.origin), INTENT)


def _one(row: Row, names: tuple[str, ...]) -> Example:
    values = folded(row.values)
    labels = closed_set(values.get("labels"), "labels")
    answer = _named(first(values, (*names, *LABEL)), labels)
    return Example(
        inputs={"text": body(values), "labels": list(dict.fromkeys(labels.values()))},
        answers=() if answer is None else (answer,),
        id=record_id(values),
    )


def closed_set(value: Any, name: str) -> dict[str, str]:
    """Return the labels by what they are called in the data: a list, a mapping of codes to labels, or text of a list.

    Raises:
        DataError: There are none, or one is no text or is empty.

    >>> closed_set(["a", "b"], "labels"), closed_set({1: "World"}, "labels")
    ({'a': 'a', 'b': 'b'}, {'1': 'World', 'World': 'World'})
    """
    value = _unpacked(value)
    pairs = value.items() if isinstance(value, Mapping) else [(part, part) for part in _as_list(value)]
    found = {str(code).strip(): label for code, label in pairs}
    if not found or not all(isinstance(label, str) and label.strip() for label in found.values()):
        raise DataError(
            f"the set of {name} is {printable(repr(value), 80)}",
            rule="labels-missing",
            field=name,
            fix=f"give it once for all rows, as the constant {name}: a list, or a mapping of codes to labels",
        )
    return found | {label: label for label in found.values()} if isinstance(value, Mapping) else found


def _unpacked(value: Any) -> Any:
    """Return a text that is a JSON list or object, as in a CSV cell, as that list or object."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _named(given: Any, labels: Mapping[str, str]) -> str | None:
    """Return the label of a value: its name, its code, or, for a number, its place counted from 0; None if unlabelled.

    Raises:
        DataError: It is none of the labels.
    """
    if given is None or str(given).strip() in UNLABELLED:
        return None
    key = text_of(given, "label").strip()
    found = labels.get(key, labels.get(key.removesuffix(".0")))
    if found is None and type(given) is int and 0 <= given < len(labels):
        return list(labels.values())[given]
    if found is None:
        raise DataError(
            f'the label "{printable(key, 80)}" is none of the {len(labels)} labels',
            rule="label-unknown",
            field="label",
            fix=did_you_mean(key, labels),
        )
    return found


@frozen
class LabelOf:
    """Yields the label of a row, for the set that the build collects; picklable, as workers need it."""

    names: tuple[str, ...]

    def __call__(self, values: Mapping[str, Any]) -> Iterator[str]:
        given = first(folded(values), (*self.names, *LABEL))
        if given is not None and str(given).strip() not in UNLABELLED:
            yield text_of(given, "label").strip()


# --- Several labels ------------------------------------------------------------------------------------


def multi_label(row: Row) -> Example:
    """Return the example of a text with all its labels.

    They stand in one column, as a list or as a text with separators, or in a column of 0 and 1 for each of ``choices``.
    """
    values = folded(row.values)
    choices = closed_set(values.get("choices"), "choices")
    marks = _marks(values, choices)
    given = _several(values, choices) if marks is None else marks
    answers = () if given is None else (tuple(dict.fromkeys(given)),)
    return Example(
        inputs={"text": body(values), "choices": list(dict.fromkeys(choices.values()))},
        answers=answers,
        id=record_id(values),
    )


def _several(values: Mapping[str, Any], choices: Mapping[str, str]) -> list[str] | None:
    given = first(values, SEVERAL)
    if given is None or (isinstance(given, str) and given.strip() in ("-1", "-")):
        return None
    parts = [given] if isinstance(given, str) and given.strip() in choices else _parts(given)
    return [label for part in parts if (label := _named(part, choices)) is not None]


def _parts(given: Any) -> list[Any]:
    """Return the labels of a cell: a list, a JSON list, or texts between the first kind of separator that stands there.

    >>> _parts("drama|comedy, black"), _parts('["a, b"]'), _parts("喜剧、剧情"), _parts([])
    (['drama', 'comedy, black'], ['a, b'], ['喜剧', '剧情'], [])
    """
    given = _unpacked(given)
    if isinstance(given, (list, tuple)):
        return list(given)
    text = text_of(given, "labels")
    for separator in SEPARATORS:
        if separator in text:
            return [part.strip() for part in text.split(separator) if part.strip()]
    return [text.strip()] if text.strip() else []


def _marks(values: Mapping[str, Any], choices: Mapping[str, str]) -> list[str] | None:
    """Return the labels whose own columns hold 1; None where not every label has a column, or where one is -1."""
    columns = {label: values.get(label.strip().casefold()) for label in choices.values()}
    if any(value is None for value in columns.values()):
        return None
    found = {label: str(value).strip().removesuffix(".0").casefold() for label, value in columns.items()}
    if "-1" in found.values():
        return None
    wrong = next((label for label, mark in found.items() if mark not in ("0", "1", "true", "false")), None)
    if wrong is not None:
        raise DataError(
            f'the column "{printable(wrong, 40)}" holds "{printable(found[wrong], 40)}"',
            rule="label-unknown",
            field=wrong,
            fix="give 1 where the label fits and 0 where it does not; -1 says that the row has no labels",
        )
    return [label for label, mark in found.items() if mark in ("1", "true")]


def _choices_of(values: Mapping[str, Any]) -> Iterator[str]:
    given = first(folded(values), SEVERAL)
    if given is None or (isinstance(given, str) and given.strip() in ("-1", "-")):
        return
    yield from (text for part in _parts(given) if (text := text_of(part, "labels").strip()))


# --- The list ------------------------------------------------------------------------------------------


def _is_segments(values: Mapping[str, Any]) -> bool:
    return "data" in values and "intent" in values


def _is_text(values: Mapping[str, Any]) -> bool:
    return has_text(values)


_WANTS = "text | sentence | … (or title and content | description | …); labels, or collected from the data; "

ALL = (
    Normalizer(
        "topic",
        task="topic",
        function=topic,
        accepts=_is_text,
        collects={"labels": LabelOf(TOPIC)},
        wants=f"{_WANTS}{' | '.join((*TOPIC, *LABEL))}",
        summary="a text with its topic, as in AG News, TNEWS, IFLYTEK and CSLDCP",
    ),
    Normalizer(
        "intent",
        task="intent",
        function=intent,
        accepts=_is_text,
        collects={"labels": LabelOf(INTENT)},
        wants=f"{_WANTS}{' | '.join((*INTENT, *LABEL))}",
        summary="an utterance with its intent, as in banking77",
    ),
    Normalizer(
        "intent-segments",
        task="intent",
        function=intent_segments,
        accepts=_is_segments,
        collects={"labels": LabelOf(INTENT)},
        wants="data (a list of segments with text); intent",
        summary="an utterance in segments, as in Snips",
    ),
    Normalizer(
        "multi-label",
        task="multi-label",
        function=multi_label,
        accepts=_is_text,
        collects={"choices": _choices_of},
        wants=f"{_WANTS.replace('labels', 'choices')}{' | '.join(SEVERAL)}; or a column of 0 and 1 for each choice",
        summary="a text with a list of labels, labels between separators, or columns of 0 and 1",
    ),
)
