"""Options of training, read strictly: every problem is reported at once, with a did-you-mean. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from attrs import Attribute, asdict, field, fields, frozen

from instructforge.errors import ConfigError, did_you_mean, printable

__all__ = ["LoopSettings", "one_of", "positive", "read_settings", "share", "zero_or_more"]

S = TypeVar("S")

SCHEDULES = ("linear", "cosine", "constant")
DTYPES = ("auto", "float32", "bfloat16")
KEEPS = ("best", "last")


def _rule(text: str, holds: Any) -> Any:
    def check(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is not None and not holds(value):
            raise ValueError(f'{attribute.name} is "{printable(value, 60)}", expected {text}')

    return check


positive = _rule("a number above 0", lambda value: value > 0)
zero_or_more = _rule("a number from 0", lambda value: value >= 0)
share = _rule("a number from 0 to 1", lambda value: 0 <= value <= 1)


def one_of(*known: str) -> Any:
    """Return a validator for options with a few values."""
    return _rule(f"one of {', '.join(known)}", lambda value: value in known)


@frozen(kw_only=True)
class LoopSettings:
    """What every trainer that uses the loop can be told; a trainer's own settings class adds to it.

    Args:
        epochs: Passes over the rows. With ``max_seconds`` or ``max_steps``, at most so many.
        max_steps: Optimizer steps at most.
        max_seconds: Stop cleanly after so much training time; the schedule then runs over that time. Such a run
            depends on the machine's speed and is not repeatable byte for byte.
        learning_rate: At the top of the schedule.
        batch_size: Rows in a batch.
        accumulation: Batches that make one step.
        schedule: ``linear`` or ``cosine`` down to 0, or ``constant``, after the warm-up.
        warmup: Share of the steps (below 1) or number of steps.
        weight_decay: Of AdamW, on matrices.
        clip: Largest norm of the gradient; 0 for none.
        max_length: Tokens of one row at most.
        group_by_length: Put rows of like length into one batch.
        eval_every: Steps between two validations; by default one at the end of each epoch.
        save_every: Steps between two checkpoints.
        save_seconds: Seconds between two checkpoints, where ``save_every`` is not given.
        patience: Stop after so many validations without a better figure.
        keep: ``best`` weights by validation (``last`` where there are no validation rows), or ``last``.
        dtype: ``float32``, ``bfloat16`` (mixed precision), or ``auto``: bfloat16 on a GPU that has it.
        activation_checkpointing: Recompute activations in the backward pass: less memory, more time.
        max_unknown: Share of unknown tokens in the data from which on training is refused.
        report_to: Trackers of transformers: ``tensorboard``, ``wandb``, ``mlflow`` …
        trust_remote_code: Let the base model run code of its own.
    """

    epochs: float = field(default=3.0, validator=positive)
    max_steps: int | None = field(default=None, validator=positive)
    max_seconds: float | None = field(default=None, validator=positive)
    learning_rate: float = field(default=2e-5, validator=positive)
    batch_size: int = field(default=16, validator=positive)
    accumulation: int = field(default=1, validator=positive)
    schedule: str = field(default="linear", validator=one_of(*SCHEDULES))
    warmup: float = field(default=0.06, validator=zero_or_more)
    weight_decay: float = field(default=0.01, validator=zero_or_more)
    clip: float = field(default=1.0, validator=zero_or_more)
    max_length: int | None = field(default=None, validator=positive)
    group_by_length: bool = True
    eval_every: int | None = field(default=None, validator=positive)
    save_every: int | None = field(default=None, validator=positive)
    save_seconds: float = field(default=300.0, validator=positive)
    patience: int | None = field(default=None, validator=positive)
    keep: str = field(default="best", validator=one_of(*KEEPS))
    dtype: str = field(default="auto", validator=one_of(*DTYPES))
    activation_checkpointing: bool = False
    max_unknown: float = field(default=0.05, validator=share)
    report_to: tuple[str, ...] = ()
    trust_remote_code: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return every option with its value, for records."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def read_settings(kind: type[S], options: Mapping[str, Any], *, source: str = "training") -> S:
    """Return the settings of ``kind`` (an attrs class) that ``options`` ask for.

    Raises:
        ConfigError: Options that are unknown, of a wrong type or out of their range; all of them at once.
    """
    hints = get_type_hints(kind)
    known = [attribute.name for attribute in fields(kind)]  # type: ignore[arg-type]
    problems, values = [], {}
    for key, value in options.items():
        if key not in known:
            problems.append(f'there is no option "{printable(key, 60)}". {did_you_mean(str(key), known)}')
            continue
        try:
            values[key] = _convert(value, hints[key])
            kind(**{key: values[key]})  # runs the validator of this option alone
        except ValueError as error:
            text = str(error)
            problems.append(text if text.startswith(key) else f"{key} {text}")
    if problems:
        raise ConfigError(problems, source=source)
    return kind(**values)


def _convert(value: Any, hint: Any) -> Any:
    """Return ``value`` as ``hint`` wants it: numbers may be written as text (YAML reads 2e-5 as one)."""
    kinds = [part for part in get_args(hint) if part is not NoneType] if NoneType in get_args(hint) else [hint]
    if value is None and NoneType in get_args(hint):
        return None
    kind = kinds[0]
    if kind is bool:
        return _as_bool(value)
    if kind in (int, float):
        return _as_number(value, kind)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError(f'is "{printable(value, 60)}", expected a text')
        return value
    parts = (value,) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f'is "{printable(value, 60)}", expected a list of texts')
    return tuple(parts)


def _as_bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    found = value if isinstance(value, bool) else words.get(str(value).lower())
    if found is None:
        raise ValueError(f'is "{printable(value, 60)}", expected true or false')
    return found


def _as_number(value: Any, kind: type) -> Any:
    expected = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f'is "{printable(value, 60)}", expected {expected}')
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f'is "{printable(value, 60)}", expected {expected}') from None
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise ValueError(f'is "{printable(value, 60)}", expected {expected}')
    return kind(number)
