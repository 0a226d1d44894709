"""A model's chat template, chosen, pinned and rendered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from instructforge.errors import ConfigError, printable
from instructforge.templates.chat import compile_chat_template

__all__ = ["ChatRenderer", "chat_template_of", "pin", "plain_template"]

_PLAIN: Final = """\
{%- for message in messages -%}
{{- '### ' ~ message.role ~ ':\\n' ~ message.content ~ (eos_token if message.role == 'assistant' else '') ~ '\\n\\n' -}}
{%- endfor -%}
{{- '### assistant:\\n' if add_generation_prompt else '' -}}
"""


def plain_template(*, bos: bool) -> str:
    """Return the chat template of models that have none: a heading for each turn, and EOS behind each answer.

    Args:
        bos: Whether it begins with BOS, as texts do for a tokenizer that puts one before them.
    """
    return "{{- bos_token -}}\n" + _PLAIN if bos else _PLAIN


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
    """Renders chats with one chat template, under the values pinned for it and within the bounds of templates.

    Args:
        source: The chat template.
        special_tokens: ``bos_token`` and the like, as chat templates see them.
        pinned: Values for the template; ``date`` is what ``strftime_now`` tells.

    Raises:
        TemplateError: It is no template, or goes beyond its bounds.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], pinned: Mapping[str, Any]) -> None:
        today = datetime.fromisoformat(str(pinned["date"])) if "date" in pinned else None
        self._variables = {**special_tokens, **{key: part for key, part in pinned.items() if key != "date"}}
        self._template = compile_chat_template(source, now=today)

    def __call__(
        self, messages: Sequence[Mapping[str, Any]], generate: bool, tools: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """Return the text of a chat, in which ``tools`` may be called.

        Raises:
            TemplateError: The template refuses the chat, fails on it, or goes beyond its bounds.
        """
        return self._template.render(messages, add_generation_prompt=generate, **self._given(tools))

    def traced(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[str, dict[int, tuple[int, int]]]:
        """Return the text that a generation starts from, and where each message's content stands in it.

        A message that stands in several places, or was changed on its way, is left out.

        Raises:
            TemplateError: As when called.
        """
        found = self._template.trace(messages, add_generation_prompt=True, **self._given(tools))
        times = Counter(place.message for place in found.contents)
        places = {place.message: (place.start, place.end) for place in found.contents if times[place.message] == 1}
        return found.text, places

    def _given(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {**self._variables, "tools": list(tools)} if tools else self._variables
