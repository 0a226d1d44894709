"""A model's chat template, chosen, pinned and rendered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from instructforge.errors import ConfigError, TemplateError, printable

__all__ = ["PLAIN_TEMPLATE", "ChatRenderer", "chat_template_of", "pin"]

PLAIN_TEMPLATE: Final = """\
{{- bos_token if plain_bos else '' -}}
{%- for message in messages -%}
{{- '### ' ~ message.role ~ ':\\n' ~ message.content ~ (eos_token if message.role == 'assistant' else '') ~ '\\n\\n' -}}
{%- endfor -%}
{{- '### assistant:\\n' if add_generation_prompt else '' -}}
"""
"""The chat template of models that have none: a heading for each turn, and EOS behind each answer."""


def chat_template_of(tokenizer: Any) -> str | None:
    """Return the source of a tokenizer's own chat template; of several, the one called ``default``."""
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, Mapping):
        found = found.get("default")
    return found if isinstance(found, str) and found.strip() else None


def pin(source: str, pinned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a chat template is given; one that asks for the date gets today's, once and for all.

    Raises:
        ConfigError: The pinned date is not an ISO date.
    """
    values = dict(pinned)
    if "strftime_now" in source and "date" not in values:
        values["date"] = datetime.now(UTC).date().isoformat()
    if "date" in values:
        try:
            date.fromisoformat(str(values["date"]))
        except ValueError:
            raise ConfigError(
                f'the pinned date "{printable(values["date"], 40)}" is not a date such as 2026-01-31'
            ) from None
    return values


class ChatRenderer:
    """Renders chats with one chat template, under the values pinned for it.

    Args:
        source: The chat template.
        special_tokens: ``bos_token`` and the like, as chat templates see them.
        pinned: Values for the template; ``date`` is what ``strftime_now`` tells.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], pinned: Mapping[str, Any]) -> None:
        from jinja2 import TemplateError as JinjaError

        self.source = source
        self._variables = {**special_tokens, **{key: part for key, part in pinned.items() if key != "date"}}
        self._error = JinjaError
        try:
            self._template = _environment(pinned.get("date")).from_string(source)
        except JinjaError as error:
            raise _refused(error) from None

    def __call__(self, messages: Sequence[Mapping[str, Any]], generate: bool) -> str:
        """Return the text of a chat.

        Raises:
            TemplateError: The template refuses the chat or fails on it.
        """
        try:
            return str(
                self._template.render(
                    messages=messages, tools=None, documents=None, add_generation_prompt=generate, **self._variables
                )
            )
        except (self._error, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise _refused(error) from None


def _refused(error: Exception) -> TemplateError:
    return TemplateError(
        f"The chat template refuses this chat: {printable(error)}.\n"
        "It may want turns that alternate, or know fewer roles.\n"
        "Change the task's template, or use another chat template.",
        rule="chat-refused",
    )


def _environment(today: str | None) -> Any:
    from jinja2 import TemplateError as JinjaError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise JinjaError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    if today is not None:
        now = datetime.fromisoformat(today)
        environment.globals["strftime_now"] = now.strftime
    return environment
