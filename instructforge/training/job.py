"""What a trainer is given, and what it gives back. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from instructforge.data import Instruction
from instructforge.mixing import Mixture
from instructforge.tasks import Task

__all__ = ["TrainingJob", "TrainingResult"]


def _no_log(step: int, values: Mapping[str, float]) -> None:
    return None


def _say_nothing(line: str) -> None:
    return None


@frozen(kw_only=True)
class TrainingJob:
    """One fine-tuning of one model.

    Args:
        task: The task that the instructions are of.
        tasks: For a mixture: the task of each part, by the part's name; ``task`` then stands for them all.
        train: Labelled instructions to train on; read by index, never copied as a whole.
        mixture: Which rows of ``train`` each epoch has; each of them once where left out.
        validation: Instructions to choose the best checkpoint by; empty where there are none.
        model: An ordinary model folder.
        out: The model folder to write: weights as safetensors, tokenizer, contract, model card.
        work: Folder for checkpoints and journals, kept for resuming.
        settings: The trainer's options, checked by the trainer's own settings class.
        templates: Source of every template used, by ``task/language/name``: carried in the contract.
        few_shot: Worked examples that prompts have, as the contract carries them.
        decoder: Name of the decoder that predictions will be read with.
        seed: Of initial weights, data order and dropout.
        on_log: Called with (step, values) whenever training logs.
        say: Called with a line for people, before training begins.
        base: What the user called the base model, for the model card.
    """

    task: Task
    tasks: Mapping[str, Task] = field(factory=dict)
    train: Sequence[Instruction]
    mixture: Mixture | None = None
    validation: Sequence[Instruction] = ()
    model: Path
    out: Path
    work: Path
    settings: Mapping[str, Any] = field(factory=dict)
    templates: Mapping[str, str] = field(factory=dict)
    few_shot: Mapping[str, Any] = field(factory=dict)
    decoder: str = ""
    seed: int = 42
    on_log: Callable[[int, Mapping[str, float]], None] = _no_log
    say: Callable[[str], None] = _say_nothing
    base: str = ""


@frozen(kw_only=True)
class TrainingResult:
    """What a training run did.

    Attributes:
        steps: Optimizer steps taken.
        seconds: Wall time of the training itself.
        log: What was logged, in order: each entry has ``step`` and figures such as ``loss``.
        best: The step whose weights were kept, with its validation figure, if there was validation.
        counts: Rows trained, rows left out by reason, windows, tokens trained, trainable parameters …
        settings: The options as resolved, defaults filled in.
        notices: What the user should know: checkpoints passed over, another environment at resume …
    """

    steps: int
    seconds: float
    log: tuple[Mapping[str, float], ...] = ()
    best: Mapping[str, float] = field(factory=dict)
    counts: Mapping[str, int] = field(factory=dict)
    settings: Mapping[str, Any] = field(factory=dict)
    notices: tuple[str, ...] = ()
