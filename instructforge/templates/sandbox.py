"""The environment that templates are compiled and rendered in: bounded in time, memory and output, at load and
at render, with no way to Python's internals. Task templates and the chat templates of model folders share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, TracebackType
from typing import Any

from jinja2 import Environment, nodes
from jinja2.environment import Template as JinjaTemplate
from jinja2.environment import TemplateModule
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.ext import Extension
from jinja2.ext import do as DoExtension
from jinja2.ext import loopcontrols as LoopControlExtension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context, StrictUndefined, Undefined

from instructforge.errors import TemplateError, did_you_mean, printable
from instructforge.templates.compiler import GuardedCodeGenerator, code_names, instrument
from instructforge.templates.filters import FILTERS, GLOBALS, TESTS
from instructforge.templates.guard import Guard, GuardError
from instructforge.templates.limits import Limits
from instructforge.templates.traced import Traced

__all__ = ["BoundedEnvironment", "Code", "bounded"]

MAX_BRANCHES = 200
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_TRACED = f"'{Traced.__module__}.{Traced.__qualname__} object'"
_REFUSED = (nodes.ScopedEvalContextModifier, nodes.EvalContextModifier, nodes.OverlayScope)
_REFERENCES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)


class GenerationExtension(Extension):
    """``{% generation %}`` … ``{% endgeneration %}``, as chat templates put around what a model writes."""

    tags = {"generation"}  # noqa: RUF012  (as jinja2 declares it)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = nodes.Call(nodes.EnvironmentAttribute("guard.generation"), [], [], None, None)
        return nodes.CallBlock(call, [], [], body).set_lineno(line)


class FreshTemplate(JinjaTemplate):
    """A template whose import is made anew each time, so that no row sees what another one left there."""

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        return self.make_module({})


class BoundedEnvironment(Environment):
    """A Jinja environment in which a template can do no harm.

    Args:
        limits: Bounds at load and of each render.
        strict: Whether an undefined name is an error wherever it is used.
        mutable: Whether templates may change their own lists and dicts.
        trim: Whether the line break after a tag and the space before it are dropped.
        final_newline: Whether a line break at the source's end is kept.
        extended: Whether there are the tags ``do``, ``break``, ``continue`` and ``generation``.
        filters: Filters beside those that all templates have.
        find: Gives the source of another template by its name, or None.
    """

    code_generator_class = GuardedCodeGenerator
    template_class = FreshTemplate

    def __init__(
        self,
        limits: Limits,
        *,
        strict: bool = True,
        mutable: bool = True,
        trim: bool = True,
        final_newline: bool = False,
        extended: bool = True,
        filters: Mapping[str, Callable[..., Any]] | None = None,
        find: Callable[[str], str | None] | None = None,
    ) -> None:
        super().__init__(
            trim_blocks=trim,
            lstrip_blocks=trim,
            keep_trailing_newline=final_newline,
            undefined=StrictUndefined if strict else Undefined,
            extensions=[DoExtension, LoopControlExtension, GenerationExtension] if extended else (),
            cache_size=0,
            optimized=False,
        )
        self.limits = limits
        self.guard = Guard(limits, self.undefined, mutable=mutable)
        self.filters = {**FILTERS, **(filters or {})}
        self.tests = TESTS  # type: ignore[assignment]
        self.globals = dict(GLOBALS)
        self.concat = self.guard.concat  # type: ignore[method-assign]
        self.mute_blocks = False
        self.resolved: set[tuple[str, str]] = set()
        self._find = find
        self._parts: dict[str, JinjaTemplate] = {}

    def checked_tree(self, source: str, name: str) -> nodes.Template:
        """Return the syntax tree of ``source``, refused if it is too large or uses what templates may not.

        Raises:
            TemplateError: It is wrong; the message has the line.
        """
        if len(source) > self.limits.source_chars:
            raise _refusal(
                name,
                "source",
                f"it has {len(source):,} characters",
                f"A template has at most {self.limits.source_chars:,}.",
                "Make it shorter.",
            )
        with self.loading(name):
            tree = self.parse(source, name)
            _check_tree(tree, name, self.limits, self.filters)
        return tree

    def code_of(self, tree: nodes.Template, name: str) -> Code:
        """Return the compiled ``tree``.

        Raises:
            TemplateError: It cannot be compiled.
        """
        with self.loading(name):
            instrument(tree)
            text = self._generate(tree, name, f"<{name}>", defer_init=False)
            code = compile(text, f"<template {name}>", "exec")
        return Code(self, code, name)

    def get_template(self, name: Any, parent: Any = None, globals: Any = None) -> JinjaTemplate:
        """Return the template that another one extends, includes or imports."""
        self.guard.spend(100)
        if not isinstance(name, str) or self._find is None:
            raise TemplateNotFound(None, "templates name others by a text")
        if name not in self._parts:
            source = self._find(str(name))
            if source is None:
                raise TemplateNotFound(name)
            self._parts[name] = self.code_of(self.checked_tree(source, name), name).template
        return self._parts[name]

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        """Return the tokens of a source, up to as many as a template of the largest size has."""
        stream = super()._tokenize(source, name, filename, state)
        return TokenStream(self._counted(stream), name, filename)

    def _counted(self, stream: Iterable[Token]) -> Iterator[Token]:
        for count, token in enumerate(stream):
            if count > 3 * self.limits.nodes:
                raise TemplateSyntaxError("it has too many parts", token.lineno)
            yield token

    @contextmanager
    def loading(self, name: str) -> Iterator[None]:
        """Turn whatever goes wrong while a template is read into a ``TemplateError``."""
        try:
            yield
        except TemplateError:
            raise
        except TemplateSyntaxError as error:
            raise _refusal(
                name,
                "syntax",
                f"line {error.lineno}: {printable(error.message)}",
                "Templates are written in Jinja.",
                "Mend the line.",
            ) from None
        except (RecursionError, MemoryError, SyntaxError, OverflowError) as error:
            if isinstance(error, SyntaxError) and "outside" in str(error.msg):  # break and continue
                raise _refusal(
                    name, "syntax", str(error.msg), "Templates are written in Jinja.", "Put it into a loop."
                ) from None
            raise _refusal(
                name, "nesting", "it is nested too deeply", "Python has to be able to compile it.", "Make it flatter."
            ) from None
        except Exception as error:
            raise _refusal(
                name,
                "syntax",
                f"{type(error).__name__}: {_scrubbed(error)}",
                "Templates are written in Jinja.",
                "Mend the template.",
            ) from None


class Code:
    """A compiled template: its root, its blocks, and the lines that they came from."""

    def __init__(self, environment: BoundedEnvironment, code: CodeType, name: str) -> None:
        self.environment = environment
        self.name = name
        self.filename = code.co_filename
        names = {**code_names(environment), "__file__": code.co_filename}
        exec(code, names)
        self.template = environment.template_class._from_namespace(environment, names, environment.globals)
        self.root = self.template.root_render_func
        self.blocks = self.template.blocks

    def line_of(self, trace: TracebackType | None) -> int | None:
        """Return the template's line at which an exception was raised."""
        line = None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self.filename:
                line = self.template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line

    def error_of(self, error: BaseException, where: str = "") -> TemplateError:
        """Return the ``TemplateError`` that says what went wrong in a render, where, and under which rule."""
        line = self.line_of(error.__traceback__)
        if isinstance(error, GuardError):
            rule, what = error.rule, str(error)
        elif isinstance(error, UndefinedError):
            rule, what = "undefined", _scrubbed(error)
        elif isinstance(error, (RecursionError, MemoryError)):
            rule = "depth" if isinstance(error, RecursionError) else "memory"
            what = "it is nested too deeply" if rule == "depth" else "it takes too much memory"
        else:
            rule, what = "template", f"{type(error).__name__}: {_scrubbed(error)}"
        place = f", line {line}" if line is not None else ""
        on = f" at the row {where}" if where else ""
        advice = _ADVICE.get(rule, "Look at the template at that line, and at the row.")
        return TemplateError(
            f'The template "{self.name}"{place} failed{on}: {what}.\nIts rule is {rule!r}.\n{advice}',
            template=self.name,
            rule=rule,
        )


_ADVICE = {
    "undefined": "Correct the name, or test it with `is defined`.",
    "unsafe": "Templates handle texts, numbers, lists and dicts, and call the methods that the documentation lists.",
    "time": "Make it do less.",
    "work": "Make it do less.",
    "memory": "Make it hold less.",
    "output": "Make it write less.",
}


def bounded(code: Code, where: Any = "") -> Any:
    """Return a context manager that turns what goes wrong in a render into a ``TemplateError``."""
    return _Bounded(code, where)


class _Bounded:
    __slots__ = ("code", "where")

    def __init__(self, code: Code, where: Any) -> None:
        self.code = code
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, TemplateError):
            raise self.code.error_of(error, printable(self.where)) from None


def _scrubbed(error: BaseException) -> str:
    return printable(_ADDRESS.sub("at …", str(error)).replace(_TRACED, "'str object'"), 300)


def _refusal(name: str, rule: str, what: str, expected: str, fix: str) -> TemplateError:
    return TemplateError(f'The template "{name}" is refused: {what}.\n{expected}\n{fix}', template=name, rule=rule)


def _check_tree(tree: nodes.Template, name: str, limits: Limits, filters: Mapping[str, Any]) -> None:
    for count, node in enumerate(tree.find_all(nodes.Node)):
        if count >= limits.nodes:
            raise _refusal(
                name, "source", "it has too many parts", f"At most {limits.nodes:,} are allowed.", "Make it shorter."
            )
        if isinstance(node, nodes.If) and len(node.elif_) > MAX_BRANCHES:
            raise _refusal(
                name,
                "nesting",
                f"line {node.lineno}: it has {len(node.elif_)} branches in one `if`",
                f"At most {MAX_BRANCHES} are allowed.",
                "Look the value up in a dict.",
            )
        if isinstance(node, _REFUSED):
            raise _refusal(
                name,
                "syntax",
                f"line {node.lineno}: autoescape is not available",
                "Templates make plain text, never HTML.",
                "Leave it out.",
            )
        if isinstance(node, (nodes.Const, nodes.TemplateData)) and _has_surrogate(node):
            raise _refusal(
                name,
                "syntax",
                f"line {node.lineno}: it has half of a character (a surrogate)",
                "A template is Unicode text.",
                "Write the character itself.",
            )
        _check_name(node, name, filters)


def _has_surrogate(node: nodes.Const | nodes.TemplateData) -> bool:
    text = node.data if isinstance(node, nodes.TemplateData) else node.value
    return isinstance(text, str) and not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def _check_name(node: nodes.Node, name: str, filters: Mapping[str, Any]) -> None:
    for kind, known, what in ((nodes.Filter, filters, "filter"), (nodes.Test, TESTS, "test")):
        if isinstance(node, kind) and node.name not in known:
            raise _refusal(
                name,
                "unknown-name",
                f'line {node.lineno}: no {what} is called "{printable(node.name, 80)}"',
                did_you_mean(node.name, known),
                f"Use one of the {what}s that the documentation lists.",
            )
    if isinstance(node, _REFERENCES) and not isinstance(node.template, nodes.Const):
        raise _refusal(
            name,
            "reference",
            f"line {node.lineno}: it names another template by an expression",
            'Another template is named by a text: "task/language/name".',
            "Write the name out.",
        )
