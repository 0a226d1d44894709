"""Training state as tensors and JSON: trainable weights, optimizer, random generators."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from instructforge.errors import TrainingError

__all__ = [
    "load_optimizer",
    "load_random",
    "load_weights",
    "save_optimizer",
    "save_random",
    "save_weights",
]


def _moving_parts(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what training changes: parameters that are trained, and buffers that are saved."""
    parts = {name: part.detach() for name, part in model.named_parameters() if part.requires_grad}
    saved = set(model.state_dict(keep_vars=True))
    return parts | {name: part for name, part in model.named_buffers() if name in saved}


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Write the weights that training changes; frozen ones stay in the base model."""
    save_file({name: part.cpu().contiguous().clone() for name, part in _moving_parts(model).items()}, path)


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Put back the weights that ``save_weights`` wrote.

    Raises:
        TrainingError: They are not the weights of this model.
    """
    stored, parts = load_file(path), _moving_parts(model)
    if set(stored) != set(parts) or any(stored[name].shape != part.shape for name, part in parts.items()):
        raise TrainingError(f'The weights in "{path}" are not of this model.\nDelete the folder to train anew.')
    with torch.no_grad():
        for name, part in parts.items():
            part.copy_(stored[name])


def save_optimizer(optimizer: Any, scheduler: Any, folder: Path) -> None:
    """Write the optimizer's tensors and everything else that optimizer and schedule know."""
    state = optimizer.state_dict()
    tensors = {f"{key}/{name}": part for key, parts in state["state"].items() for name, part in parts.items()}
    plain = {key: value for key, value in tensors.items() if not isinstance(value, torch.Tensor)}
    save_file(
        {key: value.cpu().contiguous().clone() for key, value in tensors.items() if key not in plain},
        folder / "optimizer.safetensors",
    )
    groups = [{key: value for key, value in group.items() if key != "params"} for group in state["param_groups"]]
    schedule = {key: value for key, value in scheduler.state_dict().items() if key != "lr_lambdas"}
    _write(folder / "optimizer.json", {"groups": groups, "plain": plain, "schedule": schedule})


def load_optimizer(optimizer: Any, scheduler: Any, folder: Path) -> None:
    """Put back what ``save_optimizer`` wrote."""
    record = json.loads((folder / "optimizer.json").read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {}
    stored: Mapping[str, Any] = {**load_file(folder / "optimizer.safetensors"), **record["plain"]}
    for key, value in stored.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    current = optimizer.state_dict()["param_groups"]
    groups = [
        {**group, **_tuples(saved, group), "params": group["params"]}
        for group, saved in zip(current, record["groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    scheduler.load_state_dict({**scheduler.state_dict(), **record["schedule"]})


def _tuples(saved: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only; Adam's betas are a tuple."""
    return {key: tuple(value) if isinstance(like.get(key), tuple) else value for key, value in saved.items()}


def save_random(folder: Path) -> None:
    """Write the state of every random generator that training draws from."""
    kind, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    plain = {
        "python": [kind, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
    }
    _write(folder / "random.json", plain)
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    save_file(tensors, folder / "random.safetensors")


def load_random(folder: Path) -> None:
    """Put back what ``save_random`` wrote."""
    record = json.loads((folder / "random.json").read_text(encoding="utf-8"))
    kind, numbers, gauss = record["python"]
    random.setstate((kind, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = record["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    tensors = load_file(folder / "random.safetensors")
    torch.set_rng_state(tensors["cpu"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
