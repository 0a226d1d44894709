"""From instructions to token ids: exact masks for causal models, windows and span labels for encoder models.

Names are imported when they are first used; nothing here imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instructforge.encoding.chat import ChatEncoder as ChatEncoder
    from instructforge.encoding.fields import field_texts as field_texts
    from instructforge.encoding.stats import EncodingStats as EncodingStats
    from instructforge.encoding.tokenizers import tokenizer_sha256 as tokenizer_sha256
    from instructforge.encoding.windows import SpanWindow as SpanWindow
    from instructforge.encoding.windows import WindowEncoder as WindowEncoder

_HOMES = {
    "ChatEncoder": "chat",
    "EncodingStats": "stats",
    "SpanWindow": "windows",
    "WindowEncoder": "windows",
    "field_texts": "fields",
    "tokenizer_sha256": "tokenizers",
}

__all__ = [  # noqa: PLE0604
    *sorted(_HOMES)
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"instructforge.encoding.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
