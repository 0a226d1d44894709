"""Slots and their values as text: a line each, ``slot: value``, and back.

A slot may stand there twice, with two values. Lines are sorted, so that one state has one text. ``none`` says that
there are no slots.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from instructforge.errors import DataError, DecodingError, printable

__all__ = ["NONE", "Pair", "as_pairs", "as_text", "clean_pairs", "read_slots"]

NONE = "none"
_NOTHING = frozenset(("none", "nothing", "no slots", "{}", "[]", "无", "没有", "暂无"))
_LINE = re.compile(r"\s*(?:[-*•·]\s+)?(.+?)\s*[:：]\s*(.*\S)\s*")
_FENCE = re.compile(r"\s*```[a-z]*\n(.*?)\n?```\s*", re.DOTALL)

Pair = tuple[str, str]


def as_text(pairs: Iterable[Pair]) -> str:
    """Return slots and values as the one text that stands for them.

    >>> as_text([("time", "18:30"), ("city", "Leeds")])
    'city: Leeds\\ntime: 18:30'
    >>> as_text([])
    'none'
    """
    return "\n".join(sorted(f"{slot}: {value}" for slot, value in pairs)) or NONE


def as_pairs(text: str) -> list[Pair]:
    """Return the slots and values of a text that ``as_text`` has made.

    >>> as_pairs("time: 18:30")
    [('time', '18:30')]
    """
    if text == NONE:
        return []
    return [(slot, value) for slot, _, value in (line.partition(": ") for line in text.split("\n"))]


def clean_pairs(pairs: Iterable[tuple[Any, Any]]) -> tuple[list[Pair], int]:
    """Return slots and values with their spaces made plain, and in how many that changed anything.

    Raises:
        DataError: A slot or value is no text or is empty, or a slot would not be read back.
    """
    done: list[Pair] = []
    changed = 0
    for slot, value in pairs:
        for part in (slot, value):
            if not isinstance(part, str) or not part.strip():
                what = f"the slot {printable(repr(slot), 60)} has the value {printable(repr(value), 60)}"
                raise DataError(what, rule="slot-malformed", field="slots", fix="give a name and a value, both texts")
        made = (" ".join(slot.split()), " ".join(value.split()))
        if ":" in made[0] or "：" in made[0] or made[0][0] in "-*•·{[":
            what = f'the slot "{printable(slot, 60)}" has a colon in its name, or begins like a list'
            raise DataError(what, rule="slot-malformed", field="slots", fix="rename the slot")
        changed += made != (slot, value)
        done.append(made)
    return done, changed


def read_slots(text: str) -> str:
    """Return what a model wrote, lines or a JSON object, as the one text that stands for it.

    Raises:
        DecodingError: A line is no slot with its value.

    >>> read_slots('{"time": "18:30", "city": "Leeds"}')
    'city: Leeds\\ntime: 18:30'
    >>> read_slots("无")
    'none'
    """
    fenced = _FENCE.fullmatch(text)
    body = (fenced[1] if fenced else text).strip()
    if body.casefold().rstrip(".。") in _NOTHING:
        return NONE
    pairs = _of_json(body) if body[:1] in "{[" else _of_lines(body)
    try:
        return as_text(clean_pairs(pairs)[0])
    except DataError as error:
        raise DecodingError(str(error)) from None


def _of_lines(text: str) -> list[Pair]:
    pairs = []
    for line in filter(str.strip, text.splitlines()):
        match = _LINE.fullmatch(line)
        if match is None:
            raise DecodingError(f'the line "{printable(line, 80)}" is no slot with its value')
        pairs.append((match[1], match[2]))
    if not pairs:
        raise DecodingError("the model wrote no slot")
    return pairs


def _of_json(text: str) -> list[tuple[Any, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise DecodingError(f'"{printable(text, 80)}" is not JSON') from None
    if not isinstance(value, Mapping):
        raise DecodingError(f'"{printable(text, 80)}" is no JSON object')
    return [(slot, one) for slot, given in value.items() for one in (given if isinstance(given, list) else [given])]
