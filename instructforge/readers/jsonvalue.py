"""One JSON record, parsed strictly: what JSON allows and text can hold, nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from instructforge.data import Origin
from instructforge.errors import DataError, printable
from instructforge.readers.opening import Limits

__all__ = ["RAW_CHARACTERS", "excerpt", "not_text", "parse_object", "too_long"]

RAW_CHARACTERS = 2000
"""How much of an unreadable record is kept, for the quarantine file."""

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class _Refused(ValueError):
    """A value that ``json`` would let pass."""

    def __init__(self, message: str, rule: str, fix: str) -> None:
        super().__init__(message)
        self.rule, self.fix = rule, fix


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f'the key "{printable(twice, 80)}" stands there twice', "duplicate-key", "keep one of the two")
    return found


def _constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is no JSON number", "not-finite", "give a number, or null")


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _Refused(f"{printable(text, 40)} is beyond a number's range", "not-finite", "give it as a text")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant, parse_float=_float)


def excerpt(raw: bytes) -> str:
    """Return the beginning of ``raw`` as text; bytes that are no UTF-8 are shown as escapes."""
    return raw[:RAW_CHARACTERS].decode("utf-8", "backslashreplace")


def too_long(origin: Origin, limit: int) -> DataError:
    """Return the error of a record that is longer than the limit."""
    return DataError(
        f"the record is longer than {limit} bytes",
        rule="record-too-long",
        fix="shorten it, or raise the reader's option max_record_bytes",
        origin=origin,
    )


def parse_object(raw: bytes, origin: Origin, limits: Limits, *, offset: int = 0) -> dict[str, Any]:
    """Return the object that ``raw`` is; ``offset`` is where it starts in its file, in bytes.

    Raises:
        DataError: It is not UTF-8, not JSON, no object, too deep, or holds what no text can.
    """
    text = _decoded(raw, origin, offset)
    if raw.count(b"[") + raw.count(b"{") > limits.max_depth and _depth(raw) > limits.max_depth:
        raise _broken(raw, origin, f"the record nests deeper than {limits.max_depth} levels", "too-deep", "flatten it")
    try:
        value = _DECODER.decode(text)
    except _Refused as error:
        raise _broken(raw, origin, str(error), error.rule, error.fix) from None
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg} at character {error.pos + 1}"
        raise _broken(raw, origin, what, "json", "write the record as one JSON object") from None
    except RecursionError:
        raise _broken(raw, origin, "the record nests too deep", "too-deep", "flatten it") from None
    except ValueError as error:  # a whole number of more digits than Python reads
        raise _broken(raw, origin, printable(error), "json", "give such a number as a text") from None
    if not isinstance(value, dict):
        what = f"the record is {_kind(value)}, not an object"
        raise _broken(raw, origin, what, "not-an-object", 'give an object such as {"question": "…"}')
    if _SUSPICIOUS.search(raw):
        problem = not_text(value)
        if problem:
            raise _broken(raw, origin, problem, "not-text", "take the character out")
    return value


def _decoded(raw: bytes, origin: Origin, offset: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"byte {offset + error.start} of the file (0x{raw[error.start]:02x}) is not UTF-8"
        raise _broken(raw, origin, what, "encoding", "save the file as UTF-8") from None


def _broken(raw: bytes, origin: Origin, what: str, rule: str, fix: str) -> DataError:
    return DataError(what, rule=rule, fix=fix, origin=origin, raw=excerpt(raw))


def _depth(raw: bytes) -> int:
    """Return how deep the brackets of a JSON text nest, without building anything."""
    depth = deepest = 0
    for match in _TOKEN.finditer(raw):
        mark = match[0]
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", str: "a text", list: "a list", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def not_text(value: Any) -> str:
    """Say what in ``value`` no text file can hold: NUL, or half of a surrogate pair. Empty where all is well.

    >>> not_text({"a": ["fine", "b\\x00"]})
    'a text holds the character NUL'
    """
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            if "\0" in part:
                return "a text holds the character NUL"
            if not part.isascii() and any("\ud800" <= c <= "\udfff" for c in part):
                return "a text holds half of a surrogate pair"
        elif isinstance(part, Mapping):
            waiting += part.keys()
            waiting += part.values()
        elif isinstance(part, (list, tuple)):
            waiting += part
    return ""
