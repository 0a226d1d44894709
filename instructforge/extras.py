"""Which extra of InstructForge brings which module: for messages about what is not installed."""

from __future__ import annotations

__all__ = ["EXTRAS", "extra_of"]

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "scipy", "gguf"),
    "data": ("datasets",),
    "report": ("sklearn", "matplotlib"),
    "metrics": ("sacrebleu", "rouge_score", "seqeval"),
}
"""Names as imported, by the extra that installs them."""


def extra_of(module: str | None) -> str | None:
    """Return the extra that brings ``module``, or None where no extra does.

    >>> extra_of("torch.nn")
    'train'
    >>> extra_of("left_pad") is None
    True
    """
    top = (module or "").partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if top in modules), None)
