"""Templates: found by path, compiled once, rendered within bounds, with a record of where each field landed.

``library`` knows templates by their paths and imports nothing heavy. What needs jinja2 is imported when it is
first used:

- ``template`` compiles and renders the template of a task,
- ``chat`` compiles and renders the chat template of a model folder,
- ``sandbox`` is the environment under both: ``compiler`` writes code in which every operation goes through a
  ``guard`` (time, memory, no way to Python's internals); ``filters`` and ``methods`` are what it allows,
- ``traced`` is the text that remembers which field it came from.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from instructforge.templates.library import TemplateLibrary, TemplateRef
from instructforge.templates.limits import Limits

if TYPE_CHECKING:
    from instructforge.templates.chat import ChatTemplate, compile_chat_template
    from instructforge.templates.template import Template, compile_template

__all__ = [
    "ChatTemplate",
    "Limits",
    "Template",
    "TemplateLibrary",
    "TemplateRef",
    "compile_chat_template",
    "compile_template",
]

_LAZY = {
    "ChatTemplate": "instructforge.templates.chat",
    "compile_chat_template": "instructforge.templates.chat",
    "Template": "instructforge.templates.template",
    "compile_template": "instructforge.templates.template",
}


def __getattr__(name: str) -> Any:
    """Import jinja2, and what stands on it, when a template is first compiled."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
