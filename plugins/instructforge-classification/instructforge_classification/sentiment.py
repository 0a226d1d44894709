"""Sentiment: labels as words, numbers or stars; and of aspects, a row for each or a column for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from instructforge import DataError, Example, Normalizer, Row, columns
from instructforge.errors import did_you_mean, printable
from instructforge_classification.columns import (
    UNLABELLED,
    body,
    first,
    folded,
    has_text,
    record_id,
    text_of,
)

__all__ = ["ALL", "ASPECTS", "aspect_columns", "sentiment"]

TEXT = ("comments", "tweet_text", "post", "headline_text")
LABEL = ("answer", "sentiment", "label_text", "label_name", "polarity", "label", "class")
STARS = ("star", "stars", "star_rating", "rating", "overall", "score")

WORDS = {
    **dict.fromkeys(("positive", "pos", "good", "正面", "正向", "积极", "好评", "正"), "positive"),
    **dict.fromkeys(("negative", "neg", "bad", "负面", "负向", "消极", "差评", "负"), "negative"),
    **dict.fromkeys(("neutral", "neu", "中性", "中立", "中评", "中"), "neutral"),
    **dict.fromkeys(("very positive", "very_positive"), "positive"),
    **dict.fromkeys(("very negative", "very_negative"), "negative"),
}


# --- The whole text ------------------------------------------------------------------------------------


def sentiment(row: Row) -> Example:
    """Return the example of a text with its sentiment, given as a word, a number or stars.

    A number means what all the numbers of the data together tell; the constant ``numbers`` holds them, or a mapping
    of each to a label. How a number was read is noted, so that the ledger counts it.
    """
    values = folded(row.values)
    answer, notes = _answer(values)
    return Example(
        inputs={"text": body(values, more=TEXT)},
        answers=() if answer is None else (answer,),
        id=record_id(values),
        notes=notes,
    )


def _answer(values: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    given = first(values, LABEL)
    if given is None:
        return _of_stars(first(values, STARS))
    word = text_of(given, "label").strip().casefold()
    if word in UNLABELLED:
        return None, ()
    if word in WORDS:
        return WORDS[word], ()
    number = _number(word)
    label = None if number is None else _meaning(values.get("numbers")).get(number)
    if label is None:
        raise DataError(
            f'the sentiment "{printable(word, 80)}" is not known',
            rule="label-unknown",
            field="label",
            fix="say what the numbers mean, as in --constant 'numbers={0: negative, 1: positive}'"
            if number is not None
            else did_you_mean(word, WORDS),
        )
    return label, (f"number-{number}-as-{label}",)


def _number(word: str) -> str | None:
    bare = word.removesuffix(".0")
    return bare if bare.removeprefix("-").isdecimal() else None


def _meaning(numbers: Any) -> dict[str, str]:
    """Return what the numbers of a data set mean, from all that occur in it.

    0 and 1, or 1 and 2, are negative and positive; 0 to 2 have neutral between them; 0 to 4 and 1 to 5 are stars.

    >>> _meaning(["0", "1"]), _meaning(["0", "2", "1"])["1"], _meaning(["0", "4"])["4"], _meaning({0: "positive"})
    ({'0': 'negative', '1': 'positive'}, 'neutral', 'positive', {'0': 'positive'})
    """
    if isinstance(numbers, Mapping):
        return {str(number): WORDS.get(str(label).casefold(), "") for number, label in numbers.items()}
    found = {int(number) for number in numbers or () if str(number).isdecimal()}
    if not found or max(found) > 5 or {0, 5} <= found:
        return {}
    least = 0 if 0 in found or max(found) == 1 else 1
    most = next(least + steps for steps in (1, 2, 4) if least + steps >= max(found))
    scale, middle = range(least, most + 1), (least + most) / 2
    return {str(n): "negative" if n < middle else "positive" if n > middle else "neutral" for n in scale}


def _numbers_of(values: Mapping[str, Any]) -> Iterator[str]:
    given = first(folded(values), LABEL)
    if given is not None:
        number = _number(text_of(given, "label").strip())
        if number is not None and number not in UNLABELLED:
            yield number


def _of_stars(given: Any) -> tuple[str | None, tuple[str, ...]]:
    if given is None or str(given).strip() in UNLABELLED:
        return None, ()
    try:
        stars = float(text_of(given, "stars"))
    except ValueError:
        stars = -1.0
    if not 0 < stars <= 5:
        raise DataError(
            f'there are "{printable(given, 40)}" stars',
            rule="stars-range",
            field="star",
            fix="give 1 to 5 stars, or the sentiment as a word in the column sentiment",
        )
    label = "negative" if stars < 3 else "positive" if stars > 3 else "neutral"
    return label, (f"stars-{stars:g}-as-{label}",)


# --- Aspects -------------------------------------------------------------------------------------------

ASPECTS = {
    "location_traffic": ("transport", "交通"),
    "location_traffic_convenience": ("transport", "交通"),
    "location_distance_from_business_district": ("distance from the shops", "离商圈的距离"),
    "location_easy_to_find": ("being easy to find", "是否好找"),
    "service_wait_time": ("waiting time", "排队时间"),
    "service_waiters_attitude": ("attitude of the staff", "服务态度"),
    "service_parking_convenience": ("parking", "停车"),
    "service_serving_speed": ("serving speed", "上菜速度"),
    "price_level": ("price level", "价格水平"),
    "price_cost_effective": ("value for money", "性价比"),
    "price_discount": ("discounts", "优惠力度"),
    "environment_decoration": ("decoration", "装修"),
    "environment_noise": ("noise", "安静程度"),
    "environment_space": ("space", "就餐空间"),
    "environment_cleaness": ("cleanness", "卫生状况"),
    "dish_portion": ("size of the portions", "菜品分量"),
    "dish_taste": ("taste of the food", "菜品口味"),
    "dish_look": ("look of the food", "菜品外观"),
    "dish_recommendation": ("recommended dishes", "推荐菜品"),
    "others_overall_experience": ("overall experience", "整体体验"),
    "others_willing_to_consume_again": ("wish to come again", "再次光顾的意愿"),
}
"""Columns of ASAP and of AI Challenger 2018, with what their aspect is called."""

MARKS = {"1": "positive", "0": "neutral", "-1": "negative", "-2": "not-mentioned"}


def aspect_columns(row: Row) -> Iterator[Example]:
    """Yield an example for each aspect of a review, a column each: 1, 0, -1, or -2 where it is not mentioned.

    Raises:
        DataError: The review is missing, or a mark is none of these.
    """
    values = folded(row.values)
    text, own = body(values), record_id(values, ("id", "index"))
    names = [name for name in ASPECTS if name in values]
    if not names:
        raise DataError(
            "the row has no column of an aspect",
            rule="field-missing",
            field="aspect",
            fix=f"give a column for each aspect, such as {', '.join(list(ASPECTS)[-4:-2])}",
        )
    answers = {name: _mark(name, values[name]) for name in names}
    language = not text.isascii()
    for name in names:
        answer = answers[name]
        yield Example(
            inputs={"text": text, "aspect": ASPECTS[name][language]},
            answers=() if answer is None else (answer,),
            id=f"{own}/{name}" if own else "",
            group=own or str(row.origin),
        )


def _mark(name: str, value: Any) -> str | None:
    text = text_of(value, name).strip().removesuffix(".0")
    if not text:
        return None
    if text in MARKS:
        return MARKS[text]
    raise DataError(
        f'the column "{name}" holds "{printable(text, 40)}"',
        rule="label-unknown",
        field=name,
        fix="give 1 for positive, 0 for neutral, -1 for negative, -2 for not mentioned",
    )


def _has_aspects(values: Mapping[str, Any]) -> bool:
    return len(ASPECTS.keys() & folded(values).keys()) > 1 and has_text(values)


# --- The list ------------------------------------------------------------------------------------------


def _is_review(values: Mapping[str, Any]) -> bool:
    return has_text(values, more=TEXT)


ALL = (
    Normalizer(
        "sentiment",
        task="sentiment",
        function=sentiment,
        accepts=_is_review,
        collects={"numbers": _numbers_of},
        wants=f"text | sentence | review | …; {' | '.join(LABEL)}, or stars: {' | '.join(STARS)}",
        summary="a text with a sentiment: a word, a number, or one to five stars",
    ),
    Normalizer(
        "aspect-columns",
        task="sentiment-aspect",
        function=aspect_columns,
        accepts=_has_aspects,
        wants="text | review | reviewbody | content; columns of aspects such as dish_taste, with 1, 0, -1 or -2",
        summary="a review with a column for each aspect, as in ASAP and AI Challenger 2018",
    ),
    columns(
        "aspect-rows",
        task="sentiment-aspect",
        fields={"text": ("sentence", "review", "Sentence"), "aspect": ("aspect_term", "aspect_category", "term")},
        answer=("sentiment", "polarity", "label"),
        labels={**WORDS, "not mentioned": "not-mentioned", "none": "not-mentioned", "未提及": "not-mentioned"},
        group=("text", "sentence", "review", "Sentence"),
        summary="a text with one aspect and its sentiment on each row",
    ),
)
