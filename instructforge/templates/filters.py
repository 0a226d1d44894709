"""The filters, tests and functions that templates are given, each within the guard's bounds.

They are Jinja's, by name and by outcome, apart from a few that make HTML. ``shuffle``, ``choice`` and ``random``
draw from the row's own seed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from jinja2 import filters as jinja
from jinja2.runtime import Context, Undefined
from jinja2.utils import Cycler, Joiner, Namespace, pass_context
from markupsafe import escape

from instructforge.files import seed_of
from instructforge.templates import methods
from instructforge.templates.guard import COMPARISONS, VIEWS, Guard, GuardError, Stream
from instructforge.templates.patterns import MAX_REGEX_CHARS, bounded_pattern
from instructforge.templates.traced import follow, follow_all

if TYPE_CHECKING:
    from instructforge.templates.sandbox import BoundedEnvironment

__all__ = ["FILTERS", "GLOBALS", "REGEX_FILTERS", "STOCK_FILTERS", "TESTS"]

Part: TypeAlias = Callable[..., Any]

FILTERS: dict[str, Part] = {}
STOCK_FILTERS: dict[str, Part] = {}
"""Jinja's own where ``FILTERS`` has another of the name, for texts that other projects render with it."""
REGEX_FILTERS: dict[str, Part] = {}
TESTS: dict[str, Part] = {}
MAX_PATTERN_CHARS = 100_000
MAX_INDENT = 100
MAX_PRECISION = 100


def _guard(context: Context) -> Guard:
    environment: BoundedEnvironment = context.environment  # type: ignore[assignment]
    return environment.guard


def _filter(*names: str, among: dict[str, Part] = FILTERS) -> Callable[[Part], Part]:
    """Register a filter: a function of the guard, the value and its arguments."""

    def register(function: Part) -> Part:
        @pass_context
        def bounded(context: Context, value: Any, /, *args: Any, **named: Any) -> Any:
            guard = _guard(context)
            guard.spend(5)
            result = function(guard, value, *args, **named)
            if type(value) is str and args and result is not value:
                return guard.made(follow_all(args, result))
            return guard.made(follow(value, result))

        among.update(dict.fromkeys(names, bounded))
        return function

    return register


def _filter_of_context(name: str) -> Callable[[Part], Part]:
    """Register a filter that looks up attributes, or other filters and tests, by name."""

    def register(function: Part) -> Part:
        @pass_context
        def bounded(context: Context, value: Any, /, *args: Any, **named: Any) -> Any:
            guard = _guard(context)
            guard.spend(5)
            return guard.made(function(context, guard, value, *args, **named))

        FILTERS[name] = bounded
        return function

    return register


def _test(*names: str) -> Callable[[Part], Part]:
    def register(function: Part) -> Part:
        @pass_context
        def bounded(context: Context, value: Any, /, *args: Any) -> bool:
            guard = _guard(context)
            guard.spend(2)
            return bool(function(guard, value, *args))

        TESTS.update(dict.fromkeys(names, bounded))
        return function

    return register


# --- Filters of texts --------------------------------------------------------------------------------


def _text(guard: Guard, value: Any, *, limit: int | None = None) -> str:
    """Return ``value`` as a plain text that is not too long to work on."""
    text = str(guard.text(value))
    guard.room(len(text))
    if limit is not None and len(text) > limit:
        raise GuardError("output", f"the text has more than {limit:,} characters, too many for this filter")
    return text


def _size(number: Any, limit: int, what: str) -> int:
    if not isinstance(number, int):
        raise GuardError("type", f"{what} is a whole number")
    if abs(number) > limit:
        raise GuardError("number", f"{what} is at most {limit:,}")
    return number


@_filter("upper")
def _upper(guard: Guard, value: Any) -> str:
    return _text(guard, value).upper()


@_filter("lower")
def _lower(guard: Guard, value: Any) -> str:
    return _text(guard, value).lower()


@_filter("capitalize")
def _capitalize(guard: Guard, value: Any) -> str:
    return _text(guard, value).capitalize()


@_filter("title")
def _title(guard: Guard, value: Any) -> str:
    return jinja.do_title(_text(guard, value, limit=MAX_PATTERN_CHARS))


@_filter("trim")
def _trim(guard: Guard, value: Any, chars: str | None = None) -> str:
    return _text(guard, value).strip(chars)


@_filter("string")
def _string(guard: Guard, value: Any) -> str:
    return guard.text(value)


@_filter("safe")
def _safe(guard: Guard, value: Any) -> str:
    return guard.text(value)


@_filter("e", "escape", "forceescape")
def _escape(guard: Guard, value: Any) -> str:
    text = _text(guard, value)
    guard.room(6 * len(text))
    return str(escape(text))


@_filter("striptags")
def _striptags(guard: Guard, value: Any) -> str:
    return str(jinja.do_striptags(_text(guard, value, limit=MAX_PATTERN_CHARS)))


@_filter("urlencode")
def _urlencode(guard: Guard, value: Any) -> str:
    if type(value) is dict or not isinstance(value, str):
        pairs = value.items() if type(value) is dict else [guard.listed(pair) for pair in guard.listed(value)]
        return "&".join(f"{quote(_text(guard, key), '')}={quote(_text(guard, part), '')}" for key, part in pairs)
    return quote(_text(guard, value, limit=MAX_PATTERN_CHARS), "/")


@_filter("replace")
def _replace(guard: Guard, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    replaced: str = methods.find(str, "replace")(  # type: ignore[misc]
        guard, _text(guard, value), _text(guard, old), _text(guard, new), -1 if count is None else count
    )
    return replaced


@_filter("center")
def _center(guard: Guard, value: Any, width: int = 80) -> str:
    text = _text(guard, value)
    guard.room(max(len(text), _size(width, guard.limits.output_chars, "the width")))
    return text.center(width)


@_filter("indent")
def _indent(guard: Guard, value: Any, width: int | str = 4, first: Any = False, blank: Any = False) -> str:
    text = _text(guard, value)
    step = width if isinstance(width, str) else " " * _size(width, 1_000, "the width")
    guard.room(len(text) + len(step) * (1 + len(text.splitlines())))
    return jinja.do_indent(text, str(step), bool(first), bool(blank))


@_filter("truncate")
def _truncate(guard: Guard, value: Any, length: int = 255, killwords: Any = False, end: str = "...", leeway: int = 5):  # type: ignore[no-untyped-def]
    text = _text(guard, value)
    length, leeway = _size(length, 10**9, "the length"), _size(leeway, 10**9, "the leeway")
    if len(text) <= length + leeway:
        return text
    cut = text[: max(0, length - len(end))]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + end


@_filter("wordwrap")
def _wordwrap(
    guard: Guard,
    value: Any,
    width: int = 79,
    break_long_words: Any = True,
    wrapstring: str | None = None,
    break_on_hyphens: Any = True,
) -> str:
    from textwrap import wrap

    text = _text(guard, value, limit=MAX_PATTERN_CHARS)
    guard.spend(10 * len(text))
    between = "\n" if wrapstring is None else _text(guard, wrapstring)
    lines = [
        guard.join(
            wrap(
                line,
                width=_size(width, 10**9, "the width"),
                expand_tabs=False,
                replace_whitespace=False,
                break_long_words=bool(break_long_words),
                break_on_hyphens=bool(break_on_hyphens),
            ),
            between,
        )
        for line in text.splitlines()
    ]
    return guard.join(lines, between)


@_filter("wordcount")
def _wordcount(guard: Guard, value: Any) -> int:
    return sum(1 for _ in re.finditer(r"\w+", _text(guard, value)))


@_filter("format")
def _format(guard: Guard, value: Any, *args: Any, **named: Any) -> str:
    if args and named:
        raise TypeError("can't handle positional and keyword arguments at the same time")
    return methods.percent_format(guard, _text(guard, value), named or args)


@_filter("tojson")
def _tojson(
    guard: Guard,
    value: Any,
    ensure_ascii: Any = False,
    indent: int | str | None = None,
    separators: Any = None,
    sort_keys: Any = False,
) -> str:
    """Write JSON as the chat templates of model folders expect it: not escaped for HTML."""
    size = guard.weigh(value)
    if indent is not None:
        step = len(indent) if isinstance(indent, str) else _size(indent, MAX_INDENT, "the indent")
        size += size * step * guard.limits.depth
        if step > MAX_INDENT:
            raise GuardError("number", f"the indent is at most {MAX_INDENT}")
    guard.spend(size >> 5)
    text = json.dumps(
        value, ensure_ascii=bool(ensure_ascii), indent=indent, separators=separators, sort_keys=bool(sort_keys)
    )
    guard.room(len(text))
    return follow_all((value,), text)  # type: ignore[no-any-return]


@_filter("tojson", among=STOCK_FILTERS)
def _stock_tojson(guard: Guard, value: Any, indent: int | None = None) -> str:
    """Write JSON as Jinja does: keys sorted, safe to stand in HTML."""
    text = str(_tojson(guard, value, ensure_ascii=True, indent=indent, sort_keys=True))
    guard.room(6 * len(text))
    return text.translate(_IN_HTML)


_IN_HTML = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&'"})


@_filter("regex_replace", among=REGEX_FILTERS)
def _regex_replace(guard: Guard, value: Any, pattern: Any, repl: Any, count: int = 0) -> str:
    """Return ``re.sub(pattern, repl, value, count)``, for patterns that cannot take for ever."""
    text = _text(guard, value)
    compiled = bounded_pattern(guard, _text(guard, pattern, limit=MAX_REGEX_CHARS), len(text))
    into = _text(guard, repl, limit=MAX_REGEX_CHARS)
    guard.room((len(text) + 1) * (1 + into.count("\\") * len(text) + len(into)) if into else len(text))
    return compiled.sub(into, text, count=_size(count, 10**9, "the count"))


# --- Filters of numbers ------------------------------------------------------------------------------


def _number(value: Any) -> Any:
    if not isinstance(value, (int, float)):
        if isinstance(value, Undefined):
            return +value  # raises, saying which name is undefined
        raise GuardError("type", "the value is not a number")
    return value


@_filter("abs")
def _abs(guard: Guard, value: Any) -> Any:
    return abs(_number(value))


@_filter("round")
def _round(guard: Guard, value: Any, precision: int = 0, method: str = "common") -> Any:
    return jinja.do_round(_number(value), _size(precision, MAX_PRECISION, "the precision"), method)  # type: ignore[arg-type]


@_filter("int")
def _int(guard: Guard, value: Any, default: Any = 0, base: int = 10) -> Any:
    if not isinstance(value, (str, int, float, Undefined)):
        return default
    if isinstance(value, str):
        value = _text(guard, value, limit=guard.limits.int_bits)
    return jinja.do_int(value, default, base)  # an undefined one raises, saying which name is undefined


@_filter("float")
def _float(guard: Guard, value: Any, default: Any = 0.0) -> Any:
    if isinstance(value, str):
        value = _text(guard, value, limit=guard.limits.int_bits)
    if not isinstance(value, (str, int, float, Undefined)):
        return default
    return jinja.do_float(value, default)


@_filter("filesizeformat")
def _filesizeformat(guard: Guard, value: Any, binary: Any = False) -> str:
    return jinja.do_filesizeformat(float(value if isinstance(value, str) else _number(value)), bool(binary))


# --- Filters of lists --------------------------------------------------------------------------------


@_filter("length", "count")
def _length(guard: Guard, value: Any) -> int:
    if isinstance(value, (Undefined, str)):
        return len(value)
    if type(value) is Stream:
        raise GuardError("type", "a stream of items has no length; make a list of it first")
    return len(guard.listed(value))


@_filter("list")
def _list(guard: Guard, value: Any) -> list[Any]:
    return guard.listed(value)


@_filter("items")
def _items(guard: Guard, value: Any) -> Stream:
    if isinstance(value, Undefined):
        return Stream(())
    if type(value) is not dict:
        raise TypeError("Can only get item pairs from a mapping.")
    guard.items(len(value))
    return Stream(list(value.items()))


@_filter("reverse")
def _reverse(guard: Guard, value: Any) -> Any:
    if isinstance(value, str):
        return _text(guard, value)[::-1]
    return Stream(guard.listed(value)[::-1])


@_filter("first")
def _first(guard: Guard, value: Any) -> Any:
    for item in guard.iterate(value):
        return item
    return guard.undefined("No first item, sequence was empty.")


@_filter("last")
def _last(guard: Guard, value: Any) -> Any:
    items = guard.listed(value)
    return items[-1] if items else guard.undefined("No last item, sequence was empty.")


@_filter("default", "d")
def _default(guard: Guard, value: Any, default: Any = "", boolean: Any = False) -> Any:
    return default if isinstance(value, Undefined) or (boolean and not value) else value


@_filter("batch")
def _batch(guard: Guard, value: Any, linecount: int, fill_with: Any = None) -> Stream:
    lines = _size(linecount, guard.limits.range_items, "the size of a batch")
    items = guard.listed(value)
    guard.items(len(items) + lines)
    if lines < 1:
        raise GuardError("number", "the size of a batch is at least 1")
    return Stream(list(jinja.do_batch(items, lines, fill_with)))


@_filter("slice")
def _slice(guard: Guard, value: Any, slices: int, fill_with: Any = None) -> Stream:
    count = _size(slices, guard.limits.range_items, "the number of slices")
    items = guard.listed(value)
    guard.items(len(items) + 10 * count)
    return Stream(list(jinja.sync_do_slice(items, count, fill_with)))


def _draw(guard: Guard) -> Random:
    if guard.random is None:
        guard.random = Random(seed_of(*guard.seed))
    return guard.random


@_filter("choice")
def _choice(guard: Guard, value: Any) -> Any:
    """Draw an item, as ``random.choice`` does: of nothing, or of what has no places, there is no choice."""
    if not isinstance(value, (str, list, tuple, range)) or not value:
        raise GuardError("type", "there is nothing to choose from: choice takes a text or a list that is not empty")
    return _draw(guard).choice(guard.listed(value))


@_filter("random")
def _random(guard: Guard, value: Any) -> Any:
    items = guard.listed(value)
    return _draw(guard).choice(items) if items else guard.undefined("No random item, sequence was empty.")


@_filter("shuffle")
def _shuffle(guard: Guard, value: Any) -> list[Any]:
    items = guard.listed(value)
    _draw(guard).shuffle(items)
    return items


@_filter("most_frequent")
def _most_frequent(guard: Guard, value: Any) -> list[Any] | None:
    """Return the items that occur most often, in order of appearance; none of nothing."""
    if not isinstance(value, Stream) and not value:
        return None
    if type(value) is dict:
        raise GuardError("type", "most_frequent takes a list, not a dict")
    items = guard.listed(value)
    guard.hold(100 * len(items))
    for item in items:
        if not guard.hashable(item):
            raise TypeError(f"unhashable type: {type(item).__name__!r}")
    counts = Counter(items)
    most = max(counts.values(), default=0)
    return [item for item, count in counts.items() if count == most]


@_filter("highlight")
def _highlight(guard: Guard, value: Any) -> str:
    """Put a text into a coloured span of HTML, as promptsource's editor shows what a column gave."""
    if not isinstance(value, str):
        raise GuardError("type", "highlight takes a text")
    return guard.concat(("<span style='color: #F08080'>", value, "</span>"))


# --- Filters that look up attributes, filters or tests by name ---------------------------------------


def _getter(context: Context, guard: Guard, attribute: Any, default: Any = None) -> Callable[[Any], Any]:
    """Return a function that looks up ``a.b.0`` in a value."""
    if isinstance(attribute, str):
        path = [int(part) if part.isdecimal() else part for part in _text(guard, attribute, limit=1_000).split(".")]
    else:
        path = [] if attribute is None else [attribute]

    def get(item: Any) -> Any:
        guard.spend(2)
        for part in path:
            item = guard.getitem(item, part)
            if default is not None and isinstance(item, Undefined):
                item = default
        return item

    return get


def _folded(value: Any, case_sensitive: Any) -> Any:
    return value.lower() if isinstance(value, str) and not case_sensitive else value


def _ordered(guard: Guard, items: list[Any], key: Callable[[Any], Any], *, reverse: Any = False) -> list[Any]:
    """Return ``items`` sorted, after looking at how much there is to compare."""
    keys = [key(item) for item in items]
    guard.compare("eq", keys, keys)
    guard.spend(guard.weigh(keys) * len(keys).bit_length() >> 3)
    places = sorted(range(len(items)), key=keys.__getitem__, reverse=bool(reverse))
    return [items[place] for place in places]


@_filter_of_context("sort")
def _sort(
    context: Context, guard: Guard, value: Any, reverse: Any = False, case_sensitive: Any = False, attribute: Any = None
) -> list[Any]:
    paths = str(attribute).split(",") if isinstance(attribute, str) else [attribute]
    getters = [_getter(context, guard, path) for path in paths]
    items = guard.listed(value)
    return _ordered(guard, items, lambda item: [_folded(get(item), case_sensitive) for get in getters], reverse=reverse)


@_filter_of_context("dictsort")
def _dictsort(
    context: Context, guard: Guard, value: Any, case_sensitive: Any = False, by: str = "key", reverse: Any = False
) -> list[Any]:
    if by not in ("key", "value"):
        raise TypeError('You can only sort by either "key" or "value"')
    place = 0 if by == "key" else 1
    pairs = guard.listed(value.items() if type(value) is dict else value)
    return _ordered(guard, pairs, lambda pair: _folded(pair[place], case_sensitive), reverse=reverse)


@_filter_of_context("unique")
def _unique(context: Context, guard: Guard, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Stream:
    get = _getter(context, guard, attribute)
    kept: dict[Any, Any] = {}
    for item in guard.listed(value):
        key = _folded(get(item), case_sensitive)
        if not guard.hashable(key):
            raise TypeError(f"unhashable type: {type(key).__name__!r}")
        kept.setdefault(key, item)
    return Stream(list(kept.values()))


def _extreme(context: Context, guard: Guard, value: Any, case_sensitive: Any, attribute: Any, *, last: bool) -> Any:
    get = _getter(context, guard, attribute)
    items = guard.listed(value)
    if not items:
        return guard.undefined("No aggregated item, sequence was empty.")
    best, best_key = items[0], _folded(get(items[0]), case_sensitive)
    for item in items[1:]:
        key = _folded(get(item), case_sensitive)
        if guard.compare("gt" if last else "lt", key, best_key):
            best, best_key = item, key
    return best


@_filter_of_context("min")
def _min(context: Context, guard: Guard, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return _extreme(context, guard, value, case_sensitive, attribute, last=False)


@_filter_of_context("max")
def _max(context: Context, guard: Guard, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return _extreme(context, guard, value, case_sensitive, attribute, last=True)


@_filter_of_context("sum")
def _sum(context: Context, guard: Guard, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    get = _getter(context, guard, attribute)
    total = start
    for item in guard.listed(value):
        total = guard.add(total, get(item))
    return total


@_filter_of_context("join")
def _join(context: Context, guard: Guard, value: Any, d: Any = "", attribute: Any = None) -> str:
    items: Iterable[Any] = guard.listed(value)
    if attribute is not None:
        items = list(map(_getter(context, guard, attribute), items))
    return guard.join(items, d)


@_filter_of_context("groupby")
def _groupby(
    context: Context, guard: Guard, value: Any, attribute: Any, default: Any = None, case_sensitive: Any = False
) -> list[tuple[Any, list[Any]]]:
    get = _getter(context, guard, attribute, default)
    items = _ordered(guard, guard.listed(value), lambda item: _folded(get(item), case_sensitive))
    groups = [list(group) for _, group in groupby(items, lambda item: _folded(get(item), case_sensitive))]
    return [(get(group[0]), group) for group in groups]


@_filter_of_context("attr")
def _attr(context: Context, guard: Guard, value: Any, name: Any) -> Any:
    return guard.getattr(value, _text(guard, name))


@_filter_of_context("map")
def _map(context: Context, guard: Guard, value: Any, *args: Any, **named: Any) -> Stream:
    if not args and "attribute" in named:
        apply = _getter(context, guard, named.pop("attribute"), named.pop("default", None))
        if named:
            raise TypeError(f"Unexpected keyword argument {next(iter(named))!r}")
    elif not args:
        raise TypeError("map requires a filter argument")
    else:
        chosen = _named_part(context.environment.filters, "filter", args[0])

        def apply(item: Any) -> Any:
            return chosen(context, item, *args[1:], **named)

    return Stream([apply(item) for item in guard.listed(value)]) if _has_items(value) else Stream(())


def _has_items(value: Any) -> bool:
    return type(value) is Stream or bool(value)


def _named_part(parts: Mapping[str, Part], kind: str, name: Any) -> Part:
    if not isinstance(name, str) or name not in parts:
        raise GuardError("unknown-name", f"there is no such {kind}")
    return parts[name]


def _selecting(name: str, *, keep: bool, of_attribute: bool) -> None:
    @_filter_of_context(name)
    def select(context: Context, guard: Guard, value: Any, *args: Any) -> Stream:
        rest = list(args)
        get: Callable[[Any], Any] = lambda item: item  # noqa: E731
        if of_attribute:
            if not rest:
                raise TypeError("Missing parameter for attribute name")
            get = _getter(context, guard, rest.pop(0))
        test: Part | None = _named_part(TESTS, "test", rest.pop(0)) if rest else None

        def passes(item: Any) -> bool:
            found = get(item)
            return bool(found) if test is None else bool(test(context, found, *rest))

        if not _has_items(value):
            return Stream(())
        return Stream([item for item in guard.listed(value) if passes(item) is keep])


_selecting("select", keep=True, of_attribute=False)
_selecting("reject", keep=False, of_attribute=False)
_selecting("selectattr", keep=True, of_attribute=True)
_selecting("rejectattr", keep=False, of_attribute=True)


# --- Tests -------------------------------------------------------------------------------------------


def _is_sequence(guard: Guard, value: Any) -> bool:
    return isinstance(value, (str, list, tuple, dict, range, Undefined))


_test("defined")(lambda guard, value: not isinstance(value, Undefined))
_test("undefined")(lambda guard, value: isinstance(value, Undefined))
_test("none")(lambda guard, value: value is None)
_test("boolean")(lambda guard, value: value is True or value is False)
_test("true")(lambda guard, value: value is True)
_test("false")(lambda guard, value: value is False)
_test("integer")(lambda guard, value: isinstance(value, int) and not isinstance(value, bool))
_test("float")(lambda guard, value: isinstance(value, float))
_test("number")(lambda guard, value: isinstance(value, (int, float)))
_test("string")(lambda guard, value: isinstance(value, str))
_test("mapping")(lambda guard, value: isinstance(value, dict))
_test("sequence")(_is_sequence)
_test("iterable")(lambda guard, value: _is_sequence(guard, value) or isinstance(value, (Stream, *VIEWS)))
_test("callable")(lambda guard, value: isinstance(value, methods.Function))
_test("odd")(lambda guard, value: _number(value) % 2 == 1)
_test("even")(lambda guard, value: _number(value) % 2 == 0)
_test("divisibleby")(lambda guard, value, by: _number(value) % _number(by) == 0)
_test("lower")(lambda guard, value: _text(guard, value).islower())
_test("upper")(lambda guard, value: _text(guard, value).isupper())
_test("escaped")(lambda guard, value: False)
_test("sameas")(lambda guard, value, other: value is other)
_test("in")(lambda guard, value, holder: guard.contains(holder, value))
_test("filter")(lambda guard, value: isinstance(value, str) and value in FILTERS)
_test("test")(lambda guard, value: isinstance(value, str) and value in TESTS)

_SIGNS = {
    "eq": ("==", "eq", "equalto"),
    "ne": ("!=", "ne"),
    "gt": (">", "gt", "greaterthan"),
    "gteq": (">=", "ge"),
    "lt": ("<", "lt", "lessthan"),
    "lteq": ("<=", "le"),
}


def _comparing(sign: str, names: tuple[str, ...]) -> None:
    assert sign in COMPARISONS
    _test(*names)(lambda guard, value, other: guard.compare(sign, value, other))


for _sign, _names in _SIGNS.items():
    _comparing(_sign, _names)


# --- Functions ---------------------------------------------------------------------------------------


def _range(guard: Guard, /, *bounds: int) -> range:
    for bound in bounds:
        _size(bound, 10**12, "a bound of a range")
    made = range(*bounds)
    if len(made) > guard.limits.range_items:
        raise GuardError("range", f"a range has at most {guard.limits.range_items:,} items")
    return made


def _namespace(guard: Guard, /, *others: Any, **named: Any) -> Namespace:
    values = methods.new_dict(guard, *others, **named)
    for name in values:
        if not isinstance(name, str) or name.startswith("_"):
            raise GuardError("unsafe", "a namespace takes names that do not begin with an underscore")
    return Namespace(values)


def _zip(guard: Guard, /, *lists: Any) -> Stream:
    return Stream(list(zip(*map(guard.listed, lists), strict=False)))


def _cycler(guard: Guard, /, *items: Any) -> Cycler:
    return Cycler(*items)


def _joiner(guard: Guard, /, sep: Any = ", ") -> Joiner:
    return Joiner(guard.text(sep))


GLOBALS: dict[str, methods.Function] = {
    "range": methods.Function(_range),
    "namespace": methods.Function(_namespace),
    "dict": methods.Function(methods.new_dict),
    "zip": methods.Function(_zip),
    "cycler": methods.Function(_cycler),
    "joiner": methods.Function(_joiner),
}
