"""Decoders of choices: from generated text, from likelihoods, and from a head's scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from instructforge.data import Instruction, Output, Prediction
from instructforge.decoders.base import answered, each, finite, one_of, option
from instructforge.errors import ConfigError, DecodingError, printable
from instructforge.matching import ChoiceForms, bare, folded, read_choice, read_choices, without_lead_in
from instructforge.tasks import Choice, Task

__all__ = [
    "CHARACTER_LIKELIHOOD",
    "WHOLE_LIKELIHOOD",
    "ChoiceDecoder",
    "ChoiceLikelihoodDecoder",
    "ChoiceScoresDecoder",
    "checked_scores",
    "softmax",
]


def _labels(instruction: Instruction, task: Task) -> tuple[str, ...]:
    return instruction.labels or task.target.labels(instruction.example.inputs)


def _forms(instruction: Instruction, task: Task) -> ChoiceForms:
    """Return what may stand for each label of one instruction, the template's own completions first."""
    labels, target = _labels(instruction, task), task.target
    if not labels:
        raise DecodingError("the row has no choices")
    completions = instruction.choices or tuple(target.words(label, instruction.language) for label in labels)
    if len(completions) != len(labels):
        raise DecodingError(f"the template gave {len(completions)} completions for {len(labels)} labels")
    options = target.options if isinstance(target, Choice) else {}
    others = tuple(
        tuple(dict.fromkeys((target.words(label, instruction.language), *options.get(label, {}).values(), label)))
        for label in labels
    )
    return ChoiceForms(labels, completions, others)


def _several(task: Task) -> bool:
    return isinstance(task.target, Choice) and task.target.multiple


@frozen
class ChoiceDecoder:
    """Reads a choice out of generated text: its completion, its letter, or its words, named unambiguously."""

    name: ClassVar[str] = "choice"
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return the label (or labels) that each text names; none, two, or a denied one is an error."""
        several = _several(task)

        def _read(output: Output, instruction: Instruction) -> Prediction:
            if output.text is None:
                raise DecodingError("the engine gave no text")
            forms = _forms(instruction, task)
            if several:
                return answered(() if _says_nothing(output.text, forms, task) else read_choices(output.text, forms))
            label = read_choice(output.text, forms)
            if not output.finished:
                _refuse_if_cut(output.text, label, forms)
            return answered(label)

        return each(outputs, instructions, _read)


def _says_nothing(text: str, forms: ChoiceForms, task: Task) -> bool:
    """Tell whether a text says that no label fits, which is no label's own name."""
    said = bare(without_lead_in(text))
    words = {bare(word) for word in getattr(task.target, "nothing", {}).values()}
    named = {bare(form) for form in (*forms.completions, *(word for words in forms.others for word in words))}
    return said in words and said not in named


def _refuse_if_cut(text: str, label: str, forms: ChoiceForms) -> None:
    """Refuse a text that was cut off and may have been going to name another choice: "10" of "100"."""
    begun = folded(text)
    for other, completion in zip(forms.labels, forms.completions, strict=True):
        if other != label and folded(completion).startswith(begun):
            raise DecodingError(f'"{printable(text, 80)}" may be the beginning of "{printable(completion, 80)}"')


def checked_scores(scores: Sequence[float] | None, labels: Sequence[str], what: str) -> Sequence[float]:
    """Return ``scores``, one number for each label.

    Raises:
        DecodingError: The engine gave none, too few or too many, or what is no number.
    """
    if scores is None:
        raise DecodingError(f"the engine gave no {what}")
    if len(scores) != len(labels) or not labels:
        raise DecodingError(f"the engine gave {len(scores)} {what} for {len(labels)} labels")
    if any(math.isnan(score) for score in scores):
        raise DecodingError(f"{what} are not numbers (NaN)")
    return scores


def softmax(scores: Sequence[float]) -> list[float]:
    """Return scores as shares of one; those that are infinitely high share it all."""
    top = max(scores)
    if math.isinf(top):  # infinitely likely, or nothing possible at all: share what there is
        powers = [float(score == top) for score in scores]
    else:
        powers = [math.exp(score - top) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def _best(labels: Sequence[str], scores: Sequence[float]) -> Prediction:
    """Answer with the label that scores highest, the first of equals; scores become shares of one."""
    shares = dict(zip(labels, softmax(scores), strict=True))
    answer = labels[max(range(len(scores)), key=scores.__getitem__)]
    return answered(answer, score=shares[answer], scores=shares)


@frozen
class ChoiceLikelihoodDecoder:
    """The choice whose completion the model finds likeliest.

    Args:
        normalize: By what a completion's log-likelihood is divided, so that long ones are not at a
            disadvantage: ``tokens``, ``characters`` (of the completion) or ``none``.

    Source: the choices of lm-evaluation-harness: ``acc`` divides by nothing, ``acc_norm`` by characters.
    """

    normalize: str = option("tokens", one_of("tokens", "characters", "none"))

    needs: ClassVar[str] = "choice_logprobs"

    @property
    def name(self) -> str:
        return "choice-likelihood" if self.normalize == "tokens" else f"choice-likelihood-{self.normalize}"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return the likeliest label of each instruction; ``scores`` are the softmax over its choices.

        Raises:
            ConfigError: The task wants several labels, which likelihoods of single ones cannot tell.
        """
        if _several(task):
            raise ConfigError(
                f'decoder "{self.name}" picks one label, and the task "{task.name}" takes several.\n'
                'Use the decoder "choice", or "choice-scores" with a model head.'
            )
        return each(outputs, instructions, lambda output, instruction: self._read(output, instruction, task))

    def _read(self, output: Output, instruction: Instruction, task: Task) -> Prediction:
        forms = _forms(instruction, task)
        logprobs = checked_scores(output.choice_logprobs, forms.labels, "likelihoods")
        lengths: Sequence[int] = [1] * len(logprobs)
        if self.normalize == "tokens":
            lengths = [int(n) for n in checked_scores(output.choice_tokens, forms.labels, "token counts")]
        elif self.normalize == "characters":
            lengths = [len(completion) for completion in forms.completions]
        return _best(forms.labels, [value / max(length, 1) for value, length in zip(logprobs, lengths, strict=True)])


WHOLE_LIKELIHOOD = ChoiceLikelihoodDecoder(normalize="none")
CHARACTER_LIKELIHOOD = ChoiceLikelihoodDecoder(normalize="characters")


@frozen
class ChoiceScoresDecoder:
    """The label that a model's head scores highest; with several labels, each whose score is above ``threshold``.

    Args:
        threshold: For tasks that take several labels: a label is chosen if its score (a logit) is higher.
    """

    threshold: float = option(0.0, finite)

    name: ClassVar[str] = "choice-scores"
    needs: ClassVar[str] = "label_scores"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return the best label of each output; ``scores`` are the softmax of the head's scores."""
        several = _several(task)

        def _read(output: Output, instruction: Instruction) -> Prediction:
            labels = _labels(instruction, task)
            scores = checked_scores(output.label_scores, labels, "label scores")
            return self._above(labels, scores) if several else _best(labels, scores)

        return each(outputs, instructions, _read)

    def _above(self, labels: Sequence[str], scores: Sequence[float]) -> Prediction:
        chosen = tuple(label for label, score in zip(labels, scores, strict=True) if score > self.threshold)
        return answered(chosen, scores={label: _sigmoid(score) for label, score in zip(labels, scores, strict=True)})


def _sigmoid(score: float) -> float:
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    power = math.exp(score)
    return power / (1 + power)
