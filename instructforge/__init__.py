"""InstructForge: from raw task data to instructions, fine-tuned parameters, decoded answers and scores.

Names below are imported when they are first used, so that ``import instructforge`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instructforge.components import Decoder as Decoder
    from instructforge.components import Lazy as Lazy
    from instructforge.components import Metric as Metric
    from instructforge.components import ModelSource as ModelSource
    from instructforge.components import Normalizer as Normalizer
    from instructforge.components import TemplateFolder as TemplateFolder
    from instructforge.data import NO_ANSWER as NO_ANSWER
    from instructforge.data import Example as Example
    from instructforge.data import Instruction as Instruction
    from instructforge.data import Message as Message
    from instructforge.data import Origin as Origin
    from instructforge.data import Output as Output
    from instructforge.data import Prediction as Prediction
    from instructforge.data import Reply as Reply
    from instructforge.data import Row as Row
    from instructforge.data import SpanAnswer as SpanAnswer
    from instructforge.errors import DataError as DataError
    from instructforge.errors import InstructForgeError as InstructForgeError
    from instructforge.errors import SkippedError as SkippedError
    from instructforge.hookspecs import hookimpl as hookimpl
    from instructforge.normalizers import columns as columns
    from instructforge.plugins import Forge as Forge
    from instructforge.tasks import Choice as Choice
    from instructforge.tasks import Field as Field
    from instructforge.tasks import Ranking as Ranking
    from instructforge.tasks import Sample as Sample
    from instructforge.tasks import Span as Span
    from instructforge.tasks import Tags as Tags
    from instructforge.tasks import Task as Task
    from instructforge.tasks import Text as Text

__version__ = "0.1.0"

_HOMES = {
    "components": ("Decoder", "Lazy", "Metric", "ModelSource", "Normalizer", "TemplateFolder"),
    "data": (
        "NO_ANSWER",
        "Example",
        "Instruction",
        "Message",
        "Origin",
        "Output",
        "Prediction",
        "Reply",
        "Row",
        "SpanAnswer",
    ),
    "errors": ("DataError", "InstructForgeError", "SkippedError"),
    "hookspecs": ("hookimpl",),
    "normalizers": ("columns",),
    "plugins": ("Forge",),
    "tasks": ("Choice", "Field", "Ranking", "Sample", "Span", "Tags", "Task", "Text"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE_OF)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"instructforge.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
