"""Raw rows into examples of the four tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from instructforge import NO_ANSWER, DataError, Example, Normalizer, Row, SpanAnswer, columns
from instructforge.errors import printable
from instructforge.files import sha256_of
from instructforge_qa.idioms import idiom_cloze, is_idiom_cloze

__all__ = ["ALL", "answer_texts", "choice_columns", "choice_labelled", "choice_rows", "squad"]

QUESTION = ("question", "Question", "query", "text")
CONTEXT = ("context", "passage", "article", "paragraph")
CHOICES = ("choices", "options", "candidates", "choice")
ANSWER = ("answer", "Answer", "label", "category", "answerKey")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


# --- Spans of a passage: SQuAD and its kin -------------------------------------------------------------


def squad(row: Row) -> Example:
    """Return the example of a question about a passage, with those gold answers that stand where they say.

    Raises:
        DataError: The passage or an answer is malformed, or no gold answer is aligned.
    """
    values = row.values
    context = values.get("context")
    if not isinstance(context, str) or not context.strip():
        raise DataError(f"question {_id(values)} has no passage", rule="field-missing", field="context")
    answers, dropped = _aligned(values, context)
    return Example(
        inputs={"question": values.get("question"), "context": context},
        answers=answers,
        id=_id(values),
        group=sha256_of(context)[:16],
        notes=("answer-misaligned-dropped",) * dropped,
    )


def _aligned(values: Mapping[str, Any], context: str) -> tuple[tuple[SpanAnswer, ...], int]:
    """Return the gold answers that stand in the passage, each once, and how many do not."""
    given = _gold(values)
    impossible = _impossible(values)
    if impossible and given:
        raise DataError(
            f"question {_id(values)} is marked impossible and has {len(given)} answers",
            rule="answer-contradictory",
            field="answers",
            fix="take the mark or the answers away",
        )
    if impossible:
        return (NO_ANSWER,), 0
    aligned = [answer for answer in given if answer.start >= 0 and context.startswith(answer.text, answer.start)]
    if given and not aligned:
        raise _misaligned(values, given[0], context)
    return tuple(dict.fromkeys(aligned)), len(given) - len(aligned)


def _gold(values: Mapping[str, Any]) -> list[SpanAnswer]:
    """Return the gold answers as the row gives them, nested or flat."""
    answers = values.get("answers")
    if isinstance(answers, Mapping):  # flat: one list of texts, one of positions
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)):
            raise _malformed(values, answers)
        pairs = list(zip(texts, starts, strict=True))
    elif isinstance(answers, list):
        if not all(isinstance(answer, Mapping) for answer in answers):
            raise _malformed(values, answers)
        pairs = [(answer.get("text"), answer.get("answer_start")) for answer in answers]
    elif answers is None:
        return []
    else:
        raise _malformed(values, answers)
    if not all(isinstance(text, str) and text.strip() and type(start) is int for text, start in pairs):
        raise _malformed(values, answers)
    return [SpanAnswer(text, start) for text, start in pairs]


def _impossible(values: Mapping[str, Any]) -> bool:
    """Tell whether the row says that its passage does not hold the answer.

    The flat form has no mark: there, two empty lists say it.
    """
    mark = values.get("is_impossible")
    if mark is None:
        return isinstance(values.get("answers"), Mapping) and not values["answers"].get("text")
    if not isinstance(mark, bool):
        raise DataError(
            f"question {_id(values)}: is_impossible is {printable(repr(mark), 80)}",
            rule="field-type",
            field="is_impossible",
            fix="use true or false",
        )
    return mark


def _malformed(values: Mapping[str, Any], answers: Any) -> DataError:
    return DataError(
        f"question {_id(values)}: its answers are {printable(repr(answers), 80)}",
        rule="answer-malformed",
        field="answers",
        fix='give a list of objects with "text" (not empty) and "answer_start" (a whole number), or the two as lists',
    )


def _misaligned(values: Mapping[str, Any], answer: SpanAnswer, context: str) -> DataError:
    places = [match.start() for match in re.finditer(re.escape(answer.text), context)]
    nearest = min(places, key=lambda place: abs(place - answer.start), default=None)
    return DataError(
        f'question {_id(values)}: the answer "{printable(answer.text, 80)}" does not stand at character '
        f"{answer.start} of the passage",
        rule="answer-misaligned",
        field="answers",
        fix="give an answer that stands in the passage" if nearest is None else f"its text stands at {nearest}",
    )


def answer_texts(row: Row) -> Example:
    """Return the example of a question whose gold answers are texts without a place; they are looked up.

    Where the row has no passage, a build with ``--retrieve`` finds one, and looks the answers up there.

    Raises:
        DataError: The answers are no texts.
    """
    values = row.values
    context = _joined(_first(values, CONTEXT)) or None
    answers = _texts(values)
    if _impossible(values) and not answers:
        found: tuple[SpanAnswer, ...] = (NO_ANSWER,)
    else:
        found = tuple(SpanAnswer(text, max(_start(text, context), 0)) for text in dict.fromkeys(answers))
    standing = tuple(one for one in found if one == NO_ANSWER or context is None or _start(one.text, context) >= 0)
    kept = standing or found
    inputs = {"question": _first(values, QUESTION)} | ({"context": context} if context is not None else {})
    return Example(
        inputs=inputs,
        answers=kept,
        id=_id(values),
        group=sha256_of(context)[:16] if isinstance(context, str) else None,
        notes=("answer-misaligned-dropped",) * (len(found) - len(kept)),
    )


def _texts(values: Mapping[str, Any]) -> list[str]:
    """Return the gold answers: a text, a list of texts, or TriviaQA's object with ``value`` and ``aliases``."""
    given = _first(values, ("answer", "answers", "Answer"))
    if isinstance(given, Mapping):
        given = [given.get("value"), *(given.get("aliases") or [])]
    several = given if isinstance(given, (list, tuple)) else [] if given is None else [given]
    if not all(isinstance(one, str) and one.strip() for one in several):
        raise DataError(
            f"question {_id(values)}: its answers are {printable(repr(given), 80)}",
            rule="answer-malformed",
            field="answer",
            fix="give a text, or a list of texts that count as right; leave it out where there is none",
        )
    return list(several)


def _start(text: str, context: Any) -> int:
    return context.find(text) if isinstance(context, str) else -1


# --- One of some choices -------------------------------------------------------------------------------


def choice_rows(row: Row) -> Example:
    """Return the example of a flat row: a question (or a text), its ``choices``, and an answer (or category).

    The answer is a choice itself, else its letter, else its place counted from 0. A closed set that all rows
    share is given once, as a constant of the source.
    """
    choices = _listed(_first(row.values, CHOICES))
    places = dict(enumerate(choices))
    names = (
        places | {str(place): choice for place, choice in places.items()} | dict(zip(LETTERS, choices, strict=False))
    )
    return _choice_example(row.values, _first(row.values, QUESTION), choices, names | {text: text for text in choices})


def choice_labelled(row: Row) -> Example:
    """Return the example of a row whose choices carry labels, as in CommonsenseQA and ARC.

    ``question`` is a text beside ``choices: {text: [], label: []}``, or an object with ``stem`` and
    ``choices: [{text, label}]``; ``answerKey`` is one of the labels.
    """
    question = row.values.get("question")
    nested = question if isinstance(question, Mapping) else {"stem": question, **row.values}
    choices = nested.get("choices")
    if isinstance(choices, list) and all(isinstance(choice, Mapping) for choice in choices):
        choices = {part: [choice.get(part) for choice in choices] for part in ("text", "label")}
    texts = _listed(choices.get("text") if isinstance(choices, Mapping) else None)
    labels = choices.get("label") if isinstance(choices, Mapping) else None
    if not isinstance(labels, list) or len(labels) != len(texts):
        raise DataError(
            f"there are {len(texts)} choices and their labels are {printable(repr(labels), 80)}",
            rule="choices-labels",
            field="choices",
            fix="give one label for each choice",
        )
    return _choice_example(row.values, nested.get("stem"), texts, dict(zip(map(str, labels), texts, strict=True)))


def choice_columns(row: Row) -> Example:
    """Return the example of a row with a column for each choice: A, B, C, D … and ``answer``, a letter."""
    letters = [letter for letter in LETTERS if row.values.get(letter) not in (None, "")]
    choices = _listed([row.values[letter] for letter in letters])
    names = dict(enumerate(choices)) | {text: text for text in choices} | dict(zip(letters, choices, strict=True))
    return _choice_example(row.values, _first(row.values, QUESTION), choices, names)


def _choice_example(values: Mapping[str, Any], question: Any, choices: list[str], names: Mapping[Any, str]) -> Example:
    """Return the example, its answer looked up among the ``names`` by which a choice may be called."""
    context = _joined(_first(values, CONTEXT))
    answer = _first(values, ANSWER)
    return Example(
        inputs={"question": question, "context": "" if context is None else context, "choices": choices},
        answers=() if answer in (None, "", -1, "-1") else (_named(answer, names, choices),),
        id=_id(values),
        group=sha256_of(context)[:16] if isinstance(context, str) and context else None,
    )


def _joined(context: Any) -> Any:
    """Return a text that is given as a list of its paragraphs, or a dialogue as a list of turns, as one text."""
    is_list = isinstance(context, list) and all(isinstance(part, str) for part in context)
    return "\n".join(context) if is_list else context


def _named(answer: Any, names: Mapping[Any, str], choices: list[str]) -> str:
    known = type(answer) in (str, int)
    for spelling in (answer, answer.strip(), answer.strip().upper()) if isinstance(answer, str) else (answer,):
        if known and spelling in names:
            return names[spelling]
    raise DataError(
        f"the answer is {printable(repr(answer), 80)}, not one of the {len(choices)} choices",
        rule="label-unknown",
        field="answer",
        fix=f"use one of: {printable(', '.join(choices))}",
    )


def _listed(value: Any) -> list[str]:
    """Return a row's choices as a list of texts; a text that is a JSON list, as in a CSV cell, is read.

    Raises:
        DataError: There are none, one is no text or is empty, or two are the same.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, (list, tuple)) or not value:
        raise DataError(
            "the row has no list of choices",
            rule="choices-missing",
            field="choices",
            fix="give each row its choices, or the source one list for all rows as the constant choices",
        )
    seen: set[str] = set()
    for choice in value:
        if not isinstance(choice, str) or not choice.strip() or choice in seen:
            raise DataError(
                f"the choice {printable(repr(choice), 80)} is no text, is empty, or stands there twice",
                rule="choices-malformed",
                field="choices",
                fix="give each choice once, as a text",
            )
        seen.add(choice)
    return list(value)


# --- What a row's form is told by ----------------------------------------------------------------------


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first of some columns that the row has."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def _id(values: Mapping[str, Any]) -> str:
    """Return the row's own id as text; empty where it has none."""
    found = values.get("id")
    return "" if found is None else str(found)


def _is_squad(values: Mapping[str, Any]) -> bool:
    wanted = {"question", "context"} <= values.keys() and not values.keys() & {"answer", "choices", "answerKey"}
    return wanted and not _has_texts(values)


def _has_texts(values: Mapping[str, Any]) -> bool:
    """Tell whether the answers are texts by themselves, without places."""
    given = _first(values, ("answer", "answers", "Answer"))
    several = given if isinstance(given, list) else [given]
    if isinstance(given, Mapping):
        return "value" in given
    return any(isinstance(one, str) for one in several)


def _is_answer_texts(values: Mapping[str, Any]) -> bool:
    asked = _first(values, QUESTION) is not None and not values.keys() & {"choices", "options", "answerKey"}
    return asked and (_has_texts(values) or not (values.keys() & {"context", "answers"} or _is_columns(values)))


def _is_labelled(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("choices"), Mapping) or isinstance(values.get("question"), Mapping)


def _is_columns(values: Mapping[str, Any]) -> bool:
    return {"A", "B"} <= values.keys() and _first(values, QUESTION) is not None


def _is_choice_rows(values: Mapping[str, Any]) -> bool:
    has_choices = _first(values, CHOICES) is not None or {"text", "category"} <= values.keys()
    return has_choices and _first(values, QUESTION) is not None and not _is_labelled(values) and not _is_columns(values)


# --- The list ------------------------------------------------------------------------------------------

YES_NO = {"true": "yes", "1": "yes", "是": "yes", "对": "yes", "false": "no", "0": "no", "否": "no", "不对": "no"}

ALL = (
    Normalizer(
        "squad",
        task="qa",
        function=squad,
        accepts=_is_squad,
        wants="question; context; answers (text and answer_start, nested or flat); is_impossible (optional)",
        summary="SQuAD, CMRC and DRCD, nested or flat",
    ),
    Normalizer(
        "answer-texts",
        task="qa",
        function=answer_texts,
        accepts=_is_answer_texts,
        wants=f"{' | '.join(QUESTION)}; answer | answers (texts); {' | '.join(CONTEXT)} (optional)",
        summary="a question and the texts that answer it, as in NQ-open; the passage may be left to --retrieve",
    ),
    Normalizer(
        "choice-rows",
        task="qa-choice",
        function=choice_rows,
        accepts=_is_choice_rows,
        wants=f"{' | '.join(QUESTION)}; {' | '.join(CHOICES)}; {' | '.join(ANSWER)}; {' | '.join(CONTEXT)} (optional)",
        summary="a question (or a text) with a list of choices and an answer (or a category)",
    ),
    Normalizer(
        "choice-labelled",
        task="qa-choice",
        function=choice_labelled,
        accepts=_is_labelled,
        wants="question; choices (text and label, nested or flat); answerKey",
        summary="choices with labels, as in CommonsenseQA and ARC",
    ),
    Normalizer(
        "idiom-cloze",
        task="qa-choice",
        function=idiom_cloze,
        accepts=is_idiom_cloze,
        wants="content with #idiom#; candidates; answer | answers | groundTruth",
        summary="a passage with blanks to fill from idioms, as in ChID",
    ),
    Normalizer(
        "choice-columns",
        task="qa-choice",
        function=choice_columns,
        accepts=_is_columns,
        wants=f"{' | '.join(QUESTION)}; A; B; … ; {' | '.join(ANSWER)}",
        summary="a column for each choice: A, B, C, D …",
    ),
    columns(
        "yes-no",
        task="qa-boolean",
        fields={"question": ("query",), "context": CONTEXT},
        optional=["context"],
        answer=["label"],
        labels=YES_NO | {"yes": "yes", "no": "no"},
        group=CONTEXT,
        summary="a question with true or false, as in BoolQ",
    ),
    columns(
        "question-answer",
        task="qa-open",
        fields={"question": QUESTION, "context": CONTEXT},
        optional=["context"],
        answer=["Answer", "answers"],
        unlabelled=(),
        group=CONTEXT,
        summary="a question and its answer, or several answers",
    ),
)
