"""The pretrained body: loaded, put on a device, and told which of its parts move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = [
    "freeze",
    "input_limit",
    "on_device",
    "parameter_groups",
    "preferred_device",
]


def preferred_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def input_limit(model: Any, tokenizer: Any) -> int:
    """Return how many tokens the model takes: by its position table, else by its tokenizer, else 512.

    A tokenizer that claims less than the position table is believed only where there is no table: sentence
    encoders ship with a habit (128) rather than a limit.
    """
    config = model.config
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 2:
        # RoBERTa and its kin count positions from the padding id on, and have two fewer to use.
        kin = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet")
        return positions - 2 if config.model_type in kin else positions
    claimed = getattr(tokenizer, "model_max_length", None)
    return claimed if isinstance(claimed, int) and 0 < claimed < 1_000_000 else 512


def width_of(body: Any) -> int:
    """Return the width of the body's hidden states."""
    return int(body.config.hidden_size)


def embeddings_move(asked: bool | None) -> bool:
    """Tell whether the word embeddings are trained: as asked, else where there is a GPU."""
    return asked if asked is not None else preferred_device().type != "cpu"


def freeze(body: nn.Module, *, embeddings: bool) -> None:
    """Stop the parts that are not to move: the pooler, which no head reads, and the embeddings if asked."""
    for name, part in body.named_children():
        if name == "pooler" or (name == "embeddings" and embeddings):
            part.requires_grad_(False)
    if embeddings:
        found = body.get_input_embeddings()  # type: ignore[operator]
        found.requires_grad_(False)


def parameter_groups(
    model: nn.Module, *, body: nn.Module, rate: float, head_rate: float, decay: float
) -> list[dict[str, Any]]:
    """Return AdamW's groups: the body slower than the head, weight decay on matrices only."""
    inner = {id(part) for part in body.parameters()}
    moving = [part for part in model.parameters() if part.requires_grad]
    groups = []
    for own_rate, parts in (
        (rate, [part for part in moving if id(part) in inner]),
        (head_rate, [part for part in moving if id(part) not in inner]),
    ):
        matrices = [part for part in parts if part.ndim > 1]
        vectors = [part for part in parts if part.ndim <= 1]
        groups.append({"params": matrices, "lr": own_rate, "weight_decay": decay})
        groups.append({"params": vectors, "lr": own_rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the batch with its tensors on ``device``."""
    return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
