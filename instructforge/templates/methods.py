"""The methods that templates may call, and nothing besides them.

Each is a function of the guard, the value and the call's arguments. It finds out what the call would cost
before it makes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import TYPE_CHECKING, Any, TypeAlias

from jinja2.runtime import Undefined

from instructforge.templates.traced import Traced

if TYPE_CHECKING:
    from instructforge.templates.guard import Guard

__all__ = ["CHANGING", "Function", "find", "known", "percent_format"]

Method: TypeAlias = "Callable[..., Any]"


class Function:
    """A function that templates are given; its first argument is the guard."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


def find(kind: type, name: str) -> Method | None:
    """Return the method ``name`` of values of type ``kind``, or None where there is no such method."""
    return _METHODS.get(kind, {}).get(name)


def known(kind: type, name: str) -> bool:
    """Tell whether values of type ``kind`` have the method ``name``."""
    return name in _METHODS.get(kind, ())


# --- Texts -------------------------------------------------------------------------------------------


def _reading(name: str) -> Method:
    """Return a method that reads a text and makes at most a text of about its size."""
    method = getattr(str, name)

    def call(guard: Guard, text: str, /, *args: Any, **named: Any) -> Any:
        guard.room(len(text))
        return method(str(text), *args, **named)

    return call


def _padding(name: str) -> Method:
    method = getattr(str, name)

    def call(guard: Guard, text: str, width: int, /, *args: Any) -> str:
        guard.room(max(len(text), width))
        return str(method(str(text), width, *args))

    return call


def _splitting(name: str) -> Method:
    method = getattr(str, name)

    def call(guard: Guard, text: str, /, *args: Any, **named: Any) -> list[str]:
        guard.room(len(text))
        found: list[str] = method(str(text), *args, **named)
        guard.hold((250 if type(text) is Traced else 50) * len(found))
        guard.spend(len(found))
        return found

    return call


def _replace(guard: Guard, text: str, old: str, new: str, count: int = -1, /) -> str:
    guard.room(len(text))
    times = text.count(old) if count < 0 else min(count, text.count(old))
    guard.room(len(text) + times * (len(new) - len(old)))
    return str.replace(text, old, new, count)


def _expandtabs(guard: Guard, text: str, tabsize: int = 8) -> str:
    guard.room(len(text) + text.count("\t") * max(0, tabsize))
    return str.expandtabs(text, tabsize)


def _join(guard: Guard, text: str, parts: Any, /) -> str:
    items = list(guard.iterate(parts))
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"join() takes texts, not {type(item).__name__}")
    return guard.join(items, text)


def _format(guard: Guard, text: str, /, *args: Any, **named: Any) -> str:
    return _BoundedFormatter(guard).fill(str(text), args, named)


def _format_map(guard: Guard, text: str, names: Any, /) -> str:
    return _BoundedFormatter(guard).fill(str(text), (), guard.spread_names(names))


MAX_WIDTH = 10_000
_DIGITS = re.compile(r"\d+")


class _BoundedFormatter(Formatter):
    """``str.format`` with the guard's look-ups and with bounded widths."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._next = 0

    def fill(self, text: str, args: tuple[Any, ...], named: Mapping[str, Any], *, nested: bool = False) -> str:
        """Return ``text.format(*args, **named)``, piece by piece, so that the pieces keep their marks."""
        self._guard.room(len(text))
        pieces: list[str] = []
        for literal, name, spec, conversion in self.parse(text):
            pieces.append(literal)
            if name is None:
                continue
            if not name or name[0] in ".[":
                name, self._next = f"{self._next}{name}", self._next + 1  # noqa: PLW2901
            value, _ = self.get_field(name, args, named)
            if spec and "{" in spec:
                if nested:
                    raise ValueError("a format is nested too deeply")
                spec = self.fill(spec, args, named, nested=True)  # noqa: PLW2901
            pieces.append(self.format_field(self.convert_field(value, conversion), str(spec or "")))
        return self._guard.concat(pieces)

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        from _string import formatter_field_name_split  # type: ignore[import-not-found]  # as string.Formatter does

        first, rest = formatter_field_name_split(field_name)
        value = self.get_value(first, args, kwargs)
        for is_attribute, name in rest:
            value = self._guard.getattr(value, name) if is_attribute else self._guard.getitem(value, name)
        return value, first

    def format_field(self, value: Any, format_spec: str) -> str:
        guard = self._guard
        guard.spend(5)
        if not format_spec:
            return guard.text(value)
        _check_widths(format_spec)
        if isinstance(value, str):
            guard.room(len(value))
        elif not isinstance(value, (int, float)):
            value = guard.text(value)
        text = format(str(value) if isinstance(value, Traced) else value, format_spec)
        guard.room(len(text))
        return _without_surrogates(text) if format_spec[-1:] == "c" else text

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        if conversion is None:
            return value
        text = self._guard.text(value)
        return text if conversion == "s" or not isinstance(value, str) else super().convert_field(str(text), conversion)


def _check_widths(spec: str) -> None:
    for digits in _DIGITS.findall(spec):
        if len(digits) > 5 or int(digits) > MAX_WIDTH:
            raise ValueError(f"a width or precision is larger than {MAX_WIDTH:,}")


_PERCENT = re.compile(
    r"%(?:\((?P<key>[^()]*)\))?(?P<flags>[#0 +-]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?(?P<type>.)?", re.S
)


def percent_format(guard: Guard, text: str, values: Any) -> str:
    """Return ``text % values``, piece by piece."""
    guard.room(len(text))
    if isinstance(values, Undefined):
        str(values)  # a strict one raises
    waiting = list(values) if isinstance(values, tuple) else [values]
    pieces: list[Any] = []
    at = used = 0
    named = False
    for match in _PERCENT.finditer(text):
        pieces.append(text[at : match.start()])
        at = match.end()
        if match["type"] == "%":
            pieces.append("%")
            continue
        if match["key"] is not None:
            if not isinstance(values, dict):
                raise TypeError("format requires a mapping")
            named, value = True, values[match["key"]]
        elif used < len(waiting):
            value, used = waiting[used], used + 1
        else:
            raise TypeError("not enough arguments for format string")
        pieces.append(_percent_piece(guard, match, value))
    pieces.append(text[at:])
    if used < len(waiting) and not named and not isinstance(values, dict):
        raise TypeError("not all arguments converted during string formatting")
    return guard.concat(pieces)


def _percent_piece(guard: Guard, match: re.Match[str], value: Any) -> str:
    guard.spend(5)
    width, precision, kind = match["width"], match["precision"], match["type"]
    _check_widths(f"{width} {precision or ''}")
    if kind not in ("s", "r", "a", "d", "i", "u", "o", "x", "X", "e", "E", "f", "F", "g", "G", "c"):
        raise ValueError(f'unsupported format character "{kind}"')
    if kind in ("s", "r", "a"):
        plain = guard.text(value)
        if kind == "s" and not (width or precision is not None):
            return plain
        value = str(plain) if kind == "s" or isinstance(value, str) else _Shown(plain)
    elif not isinstance(value, (int, float, str)):
        raise TypeError(f"%{kind} takes a number, not {type(value).__name__}")
    spec = "%" + match["flags"] + width + ("" if precision is None else "." + precision) + kind
    made = spec % (value,)
    guard.room(len(made))
    return _without_surrogates(made) if kind == "c" else made


def _without_surrogates(text: str) -> str:
    """Return ``text``, unless it is half of a character, which no file can hold."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("a surrogate is no character")
    return text


class _Shown:
    """A value whose ``repr`` has been worked out within bounds."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return str(self._text)


_TEXT: dict[str, Method] = {
    **{
        name: _reading(name)
        for name in (
            *("capitalize", "casefold", "lower", "swapcase", "title", "upper", "strip", "lstrip", "rstrip"),
            *("removeprefix", "removesuffix", "partition", "rpartition"),
            *("startswith", "endswith", "find", "rfind", "index", "rindex", "count"),
            *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric"),
            *("isprintable", "isspace", "istitle", "isupper"),
        )
    },
    **{name: _padding(name) for name in ("center", "ljust", "rjust", "zfill")},
    **{name: _splitting(name) for name in ("split", "rsplit", "splitlines")},
    "replace": _replace,
    "expandtabs": _expandtabs,
    "join": _join,
    "format": _format,
    "format_map": _format_map,
}

# --- Lists, tuples and dicts -------------------------------------------------------------------------


def _append(guard: Guard, items: list[Any], value: Any, /) -> None:
    guard.hold(16)
    items.append(value)


def _insert(guard: Guard, items: list[Any], place: int, value: Any, /) -> None:
    guard.hold(16)
    guard.spend(len(items) >> 5)
    items.insert(place, value)


def _extend(guard: Guard, items: list[Any], more: Any, /) -> None:
    items.extend(guard.listed(more))


def _pop(guard: Guard, items: list[Any], place: int = -1, /) -> Any:
    guard.spend(len(items) >> 5)
    return items.pop(place)


def _searching(name: str) -> Method:
    def call(guard: Guard, items: Any, value: Any, /) -> Any:
        guard.compare("eq", items, [value])  # counts what there is to compare
        return getattr(items, name)(value)

    return call


def _sort(guard: Guard, items: list[Any], /, *, reverse: bool = False) -> None:
    guard.compare("eq", items, items)
    guard.spend(guard.weigh(items) * len(items).bit_length() >> 3)
    items.sort(reverse=bool(reverse))


def _shallow(name: str) -> Method:
    """Return a method without arguments that handles each item at most once."""

    def call(guard: Guard, items: Any, /) -> Any:
        guard.spend(1 + (len(items) >> 3))
        return getattr(items, name)()

    return call


def _key(guard: Guard, key: Any) -> Any:
    if not guard.hashable(key):
        raise TypeError(f"a {type(key).__name__} cannot be a key")
    return key


def _get(guard: Guard, value: dict[Any, Any], key: Any, default: Any = None, /) -> Any:
    return value.get(_key(guard, key), default)


def _pop_key(guard: Guard, value: dict[Any, Any], key: Any, *default: Any) -> Any:
    return value.pop(_key(guard, key), *default)


def _setdefault(guard: Guard, value: dict[Any, Any], key: Any, default: Any = None, /) -> Any:
    guard.hold(100)
    return value.setdefault(_key(guard, key), default)


def _update(guard: Guard, value: dict[Any, Any], /, *others: Any, **named: Any) -> None:
    more = new_dict(guard, *others, **named)
    guard.hold(100 * len(more))
    value.update(more)


def new_dict(guard: Guard, /, *others: Any, **named: Any) -> dict[Any, Any]:
    """Return ``dict(…)`` of a mapping or of pairs, and of named values."""
    if len(others) > 1:
        raise TypeError("a dict is made of one mapping, or of pairs, and of named values")
    made: dict[Any, Any] = {}
    for other in others:
        pairs = list(other.items()) if type(other) is dict else [guard.listed(pair) for pair in guard.listed(other)]
        for key, part in pairs:
            made[_key(guard, key)] = part
    made.update(named)
    guard.made(made)
    return made


_LIST: dict[str, Method] = {
    "append": _append,
    "insert": _insert,
    "extend": _extend,
    "pop": _pop,
    "sort": _sort,
    **{name: _searching(name) for name in ("index", "count", "remove")},
    **{name: _shallow(name) for name in ("reverse", "clear", "copy")},
}

_DICT: dict[str, Method] = {
    "get": _get,
    "pop": _pop_key,
    "setdefault": _setdefault,
    "update": _update,
    **{name: _shallow(name) for name in ("items", "keys", "values", "popitem", "clear", "copy")},
}

_METHODS: Mapping[type, Mapping[str, Method]] = {
    str: _TEXT,
    Traced: _TEXT,
    list: _LIST,
    tuple: {name: _searching(name) for name in ("index", "count")},
    dict: _DICT,
    float: {"is_integer": lambda guard, value: value.is_integer()},
}

CHANGING: Mapping[type, frozenset[str]] = {
    list: frozenset({"append", "insert", "extend", "pop", "sort", "remove", "reverse", "clear"}),
    dict: frozenset({"pop", "popitem", "setdefault", "update", "clear"}),
}
"""The methods that change their value."""
