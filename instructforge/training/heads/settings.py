"""The options of the encoder trainer, and what it takes where they are left open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from instructforge.training.settings import LoopSettings, positive, read_settings, zero_or_more

__all__ = ["EncoderSettings", "asked_settings", "default_rate", "encoder_settings"]


@frozen(kw_only=True)
class EncoderSettings(LoopSettings):
    """Options of the trainer ``encoder``, beside those of the loop.

    What is left open depends on the head. ``label``, ``several``, ``contrast`` and ``match`` fit their head on the
    features of the body as it is, which on a CPU is better than long fine-tuning for the time it takes; they go on to
    move the body where ``fine_tune``, ``epochs``, ``max_steps`` or ``max_seconds`` is given, or a GPU is there, and
    keep what validates better. ``pair``, ``span`` and ``tags`` always move it. ``max_seconds`` is for all of it.

    Args:
        head: How choices are answered: ``label``, ``pair``, ``contrast``, ``match`` or ``several`` (see ``plan.py``);
            told from the data.
        fine_tune: Whether the body moves once the features are fitted.
        head_learning_rate: Of a head that starts from nothing (``pair``, ``span``, ``tags``).
        train_embeddings: Whether the word embeddings move too; they are half of a small model or more. Left
            open: on a GPU only.
        stride: Tokens that neighbouring windows of a long passage or sentence share.
        max_answer_tokens: Longest span that is answered.
        n_best: Number of spans that an answer lists.
        validation_share: Share of the training rows set apart to choose by, where the job has no validation
            rows; 0 for none.
    """

    head: str | None = None
    fine_tune: bool | None = None
    head_learning_rate: float = field(default=1e-3, validator=positive)
    train_embeddings: bool | None = None
    stride: int = field(default=128, validator=zero_or_more)
    max_answer_tokens: int = field(default=30, validator=positive)
    n_best: int = field(default=20, validator=positive)
    validation_share: float = field(default=0.1, validator=zero_or_more)


_LENGTHS = {"label": 256, "pair": 256, "contrast": 256, "match": 256, "several": 256, "span": 384, "tags": 256}
_BATCHES = {"label": 32, "pair": 32, "contrast": 32, "match": 8, "several": 32, "span": 16, "tags": 16}
_EPOCHS = {"label": 3.0, "pair": 4.0, "contrast": 3.0, "match": 3.0, "several": 3.0, "span": 2.0, "tags": 5.0}


def default_rate(kind: str, width: int) -> float:
    """Return a learning rate for a body of this width: the smaller the model, the larger.

    Where features have been fitted first the body starts from something good, and moves ten times slower.

    Source: 2e-4 measured for a width of 384; 3e-5 for BERT-base (768) and 2e-5 for larger, as its authors found.

    >>> [default_rate("pair", width) for width in (384, 768, 1024)]
    [0.0002, 3e-05, 2e-05]
    """
    rate = 2e-4 if width <= 384 else 1e-4 if width <= 512 else 3e-5 if width <= 768 else 2e-5
    return rate if kind in ("pair", "span", "tags") else rate / 10


def asked_settings(options: Mapping[str, Any]) -> EncoderSettings:
    """Return the settings as asked for, before the head is known: for the options that do not depend on it.

    Raises:
        ConfigError: An option is unknown or has a wrong value; all of them at once.
    """
    return read_settings(EncoderSettings, _given(options), source="training settings")


def encoder_settings(options: Mapping[str, Any], *, kind: str, width: int, longest: int) -> EncoderSettings:
    """Return the settings that ``options`` ask for, with what they leave open filled in.

    Args:
        options: As the job gives them.
        kind: ``label``, ``pair``, ``contrast``, ``match``, ``span`` or ``tags``.
        width: Of the model.
        longest: Tokens that the model takes at most.

    Raises:
        ConfigError: An option is unknown or has a wrong value; all of them at once.
    """
    defaults: dict[str, Any] = {
        "epochs": _EPOCHS[kind],
        "batch_size": _BATCHES[kind],
        "learning_rate": default_rate(kind, width),
        "max_length": min(_LENGTHS[kind], longest),
        "warmup": 0.1,
    }
    return read_settings(EncoderSettings, {**defaults, **_given(options)}, source="training settings")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
