"""How long prompts and completions are, in tokens that mean the same in every script."""

from __future__ import annotations

from typing import Any

from instructforge.linting.rendered import Renderings
from instructforge.metrics.base import tokens

__all__ = ["length_table"]


def length_table(renderings: Renderings) -> dict[str, Any]:
    """Return least, median, 95th percentile and most tokens of prompt and completion."""
    prompts = [sum(len(tokens(message.content)) for message in made.prompt) for made in renderings.good]
    completions = [len(tokens(made.completion)) for made in renderings.good if made.example.answers]
    return {
        "template": renderings.template.key,
        "rows": len(prompts),
        "left": len(renderings.made) - len(prompts),
        "prompt": _spread(prompts),
        "completion": _spread(completions),
    }


def _spread(counts: list[int]) -> list[int]:
    if not counts:
        return []
    ordered = sorted(counts)
    last = len(ordered) - 1
    return [ordered[0], ordered[last // 2], ordered[round(last * 0.95)], ordered[last]]
