"""Every operation of a template, bounded.

The compiler writes ``guard.add(a, b)`` where a template says ``a + b``. The guard counts work and memory, looks at
the clock now and then, refuses operations that would make something huge before they start, and knows the
types that a template may handle: texts, numbers, lists, tuples, dicts, ranges. Nothing else can be looked into,
called or printed, so that no way leads from a template to Python's own objects.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from sys import getsizeof
from time import perf_counter
from typing import Any, NoReturn

from jinja2.environment import TemplateModule
from jinja2.exceptions import UndefinedError
from jinja2.runtime import BlockReference, LoopContext, Macro, TemplateReference, Undefined
from jinja2.utils import Cycler, Joiner, Namespace

from instructforge.templates import methods
from instructforge.templates.limits import Limits
from instructforge.templates.traced import Traced, follow, follow_all, join_traced

__all__ = ["Guard", "GuardError", "Hidden", "Stream"]

CHUNK = 20_000  # work between two looks at the clock: one to two milliseconds
SCALARS = frozenset({str, int, float, bool, type(None), Traced})
VIEWS = frozenset({type({}.keys()), type({}.values()), type({}.items())})
PLAIN = frozenset({list, tuple, dict, range}) | VIEWS
LOOP_ATTRIBUTES = frozenset(
    {"index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem", "depth", "depth0"}
)


class GuardError(Exception):
    """An operation was refused; ``rule`` says by which rule."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class Hidden:
    """What stands for a method that is named but not called: it is there, and that is all one can tell."""

    __slots__ = ()


class Stream:
    """What a filter such as ``map`` gives: items to be taken once, as Jinja's generators are. Always true."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = iter(items)


class Guard:
    """The operations of one template and what its current render may still take.

    Args:
        limits: The bounds of each render.
        undefined: Class of undefined values; a strict one cannot be printed.
        mutable: Whether a template may change its own lists and dicts.
    """

    def __init__(self, limits: Limits, undefined: type[Undefined], *, mutable: bool = True) -> None:
        self.limits = limits
        self.undefined = undefined
        self.mutable = mutable
        self.seed: tuple[int, str] = (0, "")
        self.reset()

    def reset(self) -> None:
        """Begin a render."""
        self.left = CHUNK
        self.taken = 0
        self.started = 0.0
        self.memory = self.limits.memory_bytes
        self.depth = 0
        self.random: Random | None = None

    # --- What may still be taken ---------------------------------------------------------------------

    def spend(self, work: int = 1) -> None:
        """Count ``work``."""
        self.left -= work
        if self.left < 0:
            self._look()

    def _look(self) -> None:
        self.taken += CHUNK - self.left
        self.left = CHUNK
        now = perf_counter()
        if not self.started:
            self.started = now
        if now - self.started > self.limits.time_s:
            raise GuardError("time", f"it takes longer than {self.limits.time_s:g} seconds")
        if self.taken > self.limits.work:
            raise GuardError("work", f"it takes more than {self.limits.work:,} steps")

    def hold(self, size: int) -> None:
        """Count ``size`` bytes."""
        self.memory -= size
        if self.memory < 0:
            raise GuardError("memory", f"it makes more than {self.limits.memory_bytes:,} bytes of values")

    def room(self, chars: int) -> None:
        """Refuse to make a text of ``chars`` characters if that is too long; count it otherwise."""
        if chars > self.limits.output_chars:
            raise GuardError("output", f"it makes a text of more than {self.limits.output_chars:,} characters")
        self.spend(1 + (chars >> 5))
        self.hold(chars)

    def items(self, count: int) -> None:
        """Refuse to make a list of ``count`` items if that is too long; count it otherwise."""
        if count > 10 * self.limits.range_items:
            raise GuardError("memory", f"it makes a list of more than {10 * self.limits.range_items:,} items")
        self.spend(1 + (count >> 1))
        self.hold(56 + 8 * count)

    def made(self, value: Any) -> Any:
        """Count a value that has just been made, of a size known to be bearable."""
        kind = type(value)
        if kind is str or kind is Traced:
            self.spend(1 + (len(value) >> 5))
            self.hold(getsizeof(value))
        elif kind is list or kind is tuple:
            self.spend(1 + len(value))
            self.hold(getsizeof(value))
        elif kind is dict:
            self.spend(1 + 2 * len(value))
            self.hold(getsizeof(value))
        elif kind is int and value.bit_length() > self.limits.int_bits:
            raise GuardError("number", f"it makes a whole number of more than {self.limits.int_bits:,} bits")
        return value

    def weigh(self, value: Any, *, deep: int | None = None) -> int:
        """Return the size of a value as text, in characters at least, counting every visit of a shared part.

        Raises:
            GuardError: It holds something that a template may not show, is nested too deeply (it may hold
                itself), or is too large.
        """
        kind = type(value)
        if kind is str or kind is Traced:
            return len(value) + 2
        if kind is int:
            return 1 + int(value.bit_length()) // 3
        if kind in SCALARS:
            return 8
        if kind not in PLAIN:
            return self._weigh_other(value)
        if kind is range:
            return 32
        deep = self.limits.depth if deep is None else deep
        if deep <= 0:
            raise GuardError("depth", f"a value is nested more than {self.limits.depth} deep, or holds itself")
        self.spend(1 + len(value))
        total = 2
        parts = (part for pair in value.items() for part in pair) if kind is dict else value
        for part in parts:
            total += 2 + self.weigh(part, deep=deep - 1)
            if total > 10 * self.limits.output_chars:
                raise GuardError("memory", "a value is too large")
        return total

    def _weigh_other(self, value: Any) -> int:
        if isinstance(value, Undefined):
            str(value)  # a strict one raises here
            return 9
        raise GuardError("unsafe", f"{_named(value)} is not a value that can be shown or compared")

    # --- Texts ---------------------------------------------------------------------------------------

    def text(self, value: Any) -> str:
        """Return what a template prints for a value."""
        kind = type(value)
        if kind is str or kind is Traced:
            return value  # type: ignore[no-any-return]
        if kind in SCALARS:
            return str(value)
        if isinstance(value, Undefined):
            return str(value)
        size = self.weigh(value)
        self.room(size)
        return follow_all((value,), str(value))  # type: ignore[no-any-return]

    def texts(self, parts: Iterable[Any]) -> list[str]:
        """Return ``parts`` as texts, together within the bound on a text's length."""
        texts = []
        total = 0
        for part in parts:
            text = part if type(part) is str or type(part) is Traced else self.text(part)
            texts.append(text)
            total += len(text)
            if type(text) is Traced:
                self.hold(100 * len(text.marks))
            if total > self.limits.output_chars:
                self.room(total)
        self.room(total)
        return texts

    def concat(self, parts: Iterable[Any]) -> str:
        """Return the texts of ``parts`` one after the other, with their marks."""
        return join_traced(self.texts(parts))

    def join(self, parts: Iterable[Any], separator: Any = "") -> str:
        """Return the texts of ``parts`` with ``separator`` between them."""
        texts = self.texts(parts)
        between = self.text(separator)
        self.room(sum(map(len, texts)) + len(between) * max(0, len(texts) - 1))
        return join_traced(texts, between)

    def generation(self, *, caller: Macro) -> str:
        """Return the body of a ``generation`` tag, which chat templates put around what a model writes."""
        body: str = caller()
        made = Traced(body)
        inner = body.marks if type(body) is Traced else ()
        made.marks = (("generation", None, 0, len(body), True), *inner)
        return made

    # --- Operators -----------------------------------------------------------------------------------

    def add(self, left: Any, right: Any) -> Any:
        one, other = type(left), type(right)
        if (one is str or one is Traced) and (other is str or other is Traced):
            self.room(len(left) + len(right))
            return left + right if one is other is str else join_traced((left, right))
        if (one is list and other is list) or (one is tuple and other is tuple):
            self.items(len(left) + len(right))
            return left + right
        return self._arithmetic(operator.add, "+", left, right)

    def subtract(self, left: Any, right: Any) -> Any:
        return self._arithmetic(operator.sub, "-", left, right)

    def divide(self, left: Any, right: Any) -> Any:
        return self._arithmetic(operator.truediv, "/", left, right)

    def floor_divide(self, left: Any, right: Any) -> Any:
        return self._arithmetic(operator.floordiv, "//", left, right)

    def multiply(self, left: Any, right: Any) -> Any:
        if isinstance(right, (str, list, tuple)):
            left, right = right, left
        if isinstance(left, (str, list, tuple)) and isinstance(right, int):
            size = len(left) * max(0, right)
            self.room(size) if isinstance(left, str) else self.items(size)
            return follow(left, left * right)
        return self._arithmetic(operator.mul, "*", left, right)

    def power(self, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > self.limits.int_bits:
            raise GuardError("number", f"it makes a whole number of more than {self.limits.int_bits:,} bits")
        return self._arithmetic(operator.pow, "**", left, right)

    def modulo(self, left: Any, right: Any) -> Any:
        if isinstance(left, str):
            return methods.percent_format(self, left, right)
        return self._arithmetic(operator.mod, "%", left, right)

    def _arithmetic(self, operation: Callable[[Any, Any], Any], sign: str, left: Any, right: Any) -> Any:
        self.spend(1)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return self.made(operation(left, right))
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return operation(left, right)  # raises, saying which name is undefined
        raise GuardError("type", f"{_named(left)} {sign} {_named(right)} cannot be worked out")

    def negative(self, value: Any) -> Any:
        if isinstance(value, (int, float, Undefined)):
            return -value
        raise GuardError("type", f"-{_named(value)} cannot be worked out")

    def positive(self, value: Any) -> Any:
        if isinstance(value, (int, float, Undefined)):
            return +value
        raise GuardError("type", f"+{_named(value)} cannot be worked out")

    def compare(self, sign: str, left: Any, right: Any) -> Any:
        """Return the outcome of a comparison, after looking at how much there is to compare."""
        if sign in ("in", "notin"):
            found = self.contains(right, left)
            return found if sign == "in" else not found
        if type(left) not in SCALARS or type(right) not in SCALARS:
            self._weigh_compared(left, right)
        else:
            self.spend(1)
        return COMPARISONS[sign](left, right)

    def _weigh_compared(self, left: Any, right: Any) -> None:
        for value in (left, right):
            if type(value) in PLAIN:
                self.spend(self.weigh(value) >> 3)
            elif type(value) not in SCALARS and not isinstance(value, (Undefined, Hidden, Macro, Namespace, Stream)):
                raise GuardError("unsafe", f"{_named(value)} cannot be compared")

    def contains(self, holder: Any, value: Any) -> bool:
        """Return ``value in holder``."""
        kind = type(holder)
        if kind is str or kind is Traced:
            if type(value) not in (str, Traced):
                if isinstance(value, Undefined):
                    return str(value) in holder
                raise GuardError("type", f"{_named(value)} in a text cannot be worked out")
            self.spend(1 + (len(holder) >> 5))
            return value in holder
        if kind is dict:
            return self.hashable(value) and value in holder
        if kind is range:
            return type(value) in (int, bool, float) and value in holder
        if kind in PLAIN:
            self._weigh_compared(holder, value)
            return value in holder
        if kind is Namespace:
            raise GuardError("type", "a namespace cannot be searched")
        if isinstance(holder, Undefined):
            return value in iter(holder)
        return value in list(self.iterate(holder))

    def chain(self, left: Any, *rest: Any) -> Any:
        """Return ``a < b < c``: ``rest`` is an operator and a function of no arguments, in turns."""
        outcome: Any = True
        for sign, later in zip(rest[::2], rest[1::2], strict=True):
            right = later()
            outcome = self.compare(sign, left, right)
            if not outcome:
                return outcome
            left = right
        return outcome

    def hashable(self, value: Any) -> bool:
        """Tell whether ``value`` may be a key, after looking at how much there is to hash."""
        kind = type(value)
        if kind in SCALARS:
            return True
        if kind is tuple:
            self.spend(self.weigh(value) >> 3)
            return all(map(self.hashable, value))
        if isinstance(value, Undefined):
            hash(value)  # a strict one raises, saying which name is undefined
            return True
        return False

    def pairs(self, pairs: tuple[tuple[Any, Any], ...]) -> dict[Any, Any]:
        """Return a dict literal."""
        for key, _ in pairs:
            if not self.hashable(key):
                raise GuardError("type", f"{_named(key)} cannot be a key")
        return self.made(dict(pairs))  # type: ignore[no-any-return]

    # --- Looking into values -------------------------------------------------------------------------

    def getattr(self, value: Any, name: str) -> Any:
        """Return ``value.name``: data, never a method. In a dict only its keys are looked at."""
        kind = type(value)
        if kind is dict:
            found = value.get(name, Undefined)
            return found if found is not Undefined else self._missing(value, name)
        if name.startswith("_"):
            raise GuardError("unsafe", f'the name "{name}" of {_named(value)} is out of reach')
        if kind is LoopContext:
            return getattr(value, name) if name in LOOP_ATTRIBUTES else self._missing(value, name)
        if isinstance(value, Namespace):
            found = getattr(value, name, Undefined)
            return found if found is not Undefined else self._missing(value, name)
        if kind is TemplateModule:
            return vars(value).get(name, self._missing(value, name))
        if kind is Cycler:
            return value.current if name == "current" else self._missing(value, name)
        if kind is TemplateReference:
            return value[name]
        if kind is BlockReference and name == "super":
            return value.super
        if isinstance(value, Undefined):
            return getattr(value, name)  # raises, saying which name is undefined
        if methods.known(kind, name):
            return Hidden()
        return self._missing(value, name)

    def getitem(self, value: Any, key: Any) -> Any:
        """Return ``value[key]``."""
        kind = type(value)
        if kind is dict:
            found = value.get(key, Undefined) if self.hashable(key) else Undefined
            return found if found is not Undefined else self._missing(value, key)
        if kind in PLAIN or kind is str or kind is Traced:
            if isinstance(key, int):
                try:
                    return follow(value, value[key])
                except (IndexError, TypeError):
                    return self._missing(value, key)
            if not isinstance(key, str):
                return self._missing(value, key)
        if isinstance(key, str):
            return self.getattr(value, str(key))
        if isinstance(value, Undefined):
            return value[key]  # raises, saying which name is undefined
        return self._missing(value, key)

    def slice(self, value: Any, start: Any = None, stop: Any = None, step: Any = None) -> Any:
        """Return ``value[start:stop:step]``."""
        if isinstance(value, Undefined):
            return value[start:stop:step]  # raises, saying which name is undefined
        if type(value) not in (str, Traced, list, tuple, range):
            raise GuardError("type", f"{_named(value)} cannot be sliced")
        return self.made(follow(value, value[start:stop:step]))

    def _missing(self, value: Any, name: Any) -> Undefined:
        return self.undefined(obj=value, name=name)

    def iterate(self, value: Any) -> Iterator[Any]:
        """Return an iterator over ``value``'s items; the loop's body counts the steps."""
        kind = type(value)
        if kind in PLAIN or kind is str:
            return iter(value)
        if kind is Traced:
            self.items(len(value))
            self.hold(200 * len(value))
            return iter([follow(value, char) for char in value])
        if kind is Stream:
            return value.items  # type: ignore[no-any-return]
        if isinstance(value, Undefined):
            return iter(value)  # a strict one raises
        raise GuardError("type", f"{_named(value)} has no items to go through")

    def listed(self, value: Any) -> list[Any]:
        """Return ``value``'s items as a new list."""
        if type(value) in PLAIN or isinstance(value, str):
            self.items(len(value))
            self.hold(72 * len(value) if isinstance(value, str) else 0)
        return self.made(list(self.iterate(value)))  # type: ignore[no-any-return]

    def spread(self, value: Any) -> list[Any]:
        """Return the positional arguments of ``f(*value)``."""
        return self.listed(value)

    def spread_names(self, value: Any) -> dict[str, Any]:
        """Return the named arguments of ``f(**value)``."""
        if type(value) is not dict or not all(isinstance(key, str) for key in value):
            raise GuardError("type", f"** takes a dict with texts as keys, not {_named(value)}")
        return {str(key): part for key, part in value.items()}

    # --- Calls ---------------------------------------------------------------------------------------

    def call(self, callee: Any, /, *args: Any, **named: Any) -> Any:
        """Call a macro, a block, a recursive loop or a function that templates are given."""
        self.spend(5)
        self.depth += 1
        if self.depth > self.limits.depth:
            raise GuardError("depth", f"calls are nested more than {self.limits.depth} deep")
        try:
            if isinstance(callee, methods.Function):
                return callee.function(self, *args, **named)
            if type(callee) is LoopContext:
                return callee(self.iterate(args[0] if len(args) == 1 and not named else self._wrong_call("loop")))
            if isinstance(callee, (Macro, BlockReference, Joiner)):
                return callee(*args, **named)
            if isinstance(callee, Undefined):
                return callee()  # raises, saying which name is undefined
            raise GuardError("unsafe", f"{_named(callee)} cannot be called")
        finally:
            self.depth -= 1

    def call_method(self, value: Any, name: str, /, *args: Any, **named: Any) -> Any:
        """Call ``value.name(…)``. What a dict holds under the name goes before its method if it can be called."""
        kind = type(value)
        if kind is dict:
            held = value.get(name)
            if isinstance(held, (Macro, methods.Function)):
                return self.call(held, *args, **named)
        method = methods.find(kind, name)
        if method is None:
            return self._call_other(value, name, args, named)
        if name in methods.CHANGING.get(kind, ()) and not self.mutable:
            raise GuardError("unsafe", f"{_named(value)} cannot be changed here")
        self.spend(2)
        result = method(self, value, *args, **named)
        if kind is str and args and result is not value:
            return self.made(follow_all(args, result))
        return self.made(follow(value, result))

    def _call_other(self, value: Any, name: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        if type(value) is LoopContext and name == "cycle":
            return args[value.index0 % len(args)] if args else self._wrong_call("loop.cycle")
        if type(value) is LoopContext and name == "changed":
            self._weigh_compared(list(args), None)
            return value.changed(*args)
        if type(value) is Cycler and name in ("next", "reset") and not args and not named:
            return getattr(value, name)()
        found = self.getattr(value, name)
        if isinstance(found, Undefined):
            if isinstance(value, Undefined):
                str(value)
            raise UndefinedError(f'{_named(value)} has no method "{name}"')
        return self.call(found, *args, **named)

    def _wrong_call(self, name: str) -> NoReturn:
        raise GuardError("type", f"{name}(…) was called with the wrong arguments")


COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
}

_NAMES: Mapping[type, str] = {
    str: "a text",
    Traced: "a text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "none",
    Macro: "a macro",
    methods.Function: "a function",
    LoopContext: "the loop",
    Hidden: "a method",
    TemplateReference: "the template itself",
    Stream: "a stream of items",
}


def _named(value: Any) -> str:
    kind = type(value)
    return _NAMES.get(kind) or ("an undefined value" if isinstance(value, Undefined) else f"a {kind.__name__}")
