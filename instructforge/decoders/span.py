"""Decoders of spans: from generated text, and from a head's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs
from attrs import frozen

from instructforge.data import NO_ANSWER, Example, Instruction, Output, Prediction, SpanAnswer
from instructforge.decoders.base import answered, each, finite, option, text_of
from instructforge.errors import ConfigError, DecodingError, printable
from instructforge.matching import ChoiceForms, find_span, read_choice
from instructforge.tasks import Span, Task

__all__ = ["SpanDecoder", "SpanTextDecoder"]


def _span_target(task: Task) -> Span:
    if not isinstance(task.target, Span):
        raise ConfigError(
            f'the task "{task.name}" has {type(task.target).__name__} answers, and this decoder reads spans'
        )
    return task.target


def _passage(example: Example, target: Span) -> str:
    passage = example.inputs.get(target.within)
    return passage if isinstance(passage, str) else ""


@frozen
class SpanTextDecoder:
    """Finds the generated text in the passage; the words for "no answer" are that, where the task allows it."""

    name: ClassVar[str] = "span-text"
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return where each text stands, the first place if there are several; one that does not is an error."""
        target = _span_target(task)
        return each(
            outputs,
            instructions,
            lambda output, instruction: answered(_read_span(text_of(output, instruction), instruction.example, target)),
        )


def _read_span(text: str, example: Example, target: Span) -> SpanAnswer:
    """Return the span that ``text`` stands for. The words for "no answer", as they are written, come first."""
    if target.nullable and text.strip() in target.no_answer.values():
        return NO_ANSWER
    passage = _passage(example, target)
    place = find_span(text, passage)
    if place is not None:
        return SpanAnswer(passage[place[0] : place[1]], place[0])
    if target.nullable and _says_nothing(text, target):
        return NO_ANSWER
    raise DecodingError(f'"{printable(text, 80)}" does not stand in {target.within}')


def _says_nothing(text: str, target: Span) -> bool:
    """Tell whether ``text`` names the words for "no answer", and does not deny them."""
    words = tuple(target.no_answer.values())
    try:
        read_choice(text, ChoiceForms(("",), words[:1], (words,)))
    except DecodingError:
        return False
    return True


@frozen
class SpanDecoder:
    """The best span of a model's head, or no answer.

    Args:
        null_threshold: "No answer" wins where its score is higher than the best span's by more than this.

    Source: the rule of the SQuAD 2.0 baselines: null score - best span score > threshold.
    """

    null_threshold: float = option(0.0, finite)

    name: ClassVar[str] = "span"
    needs: ClassVar[str] = "spans"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return each output's best span as text and place; without one, and no null answer, an error."""
        target = _span_target(task)
        return each(outputs, instructions, lambda output, instruction: self._read(output, instruction, target))

    def _read(self, output: Output, instruction: Instruction, target: Span) -> Prediction:
        if output.spans is None:
            raise DecodingError("the engine gave no spans")
        passage = _passage(instruction.example, target)
        best = next((span for span in output.spans if 0 <= span.start < span.end <= len(passage)), None)
        null = output.null_score if target.nullable else None
        scores = {} if null is None else {"no answer": null}
        if null is not None and (best is None or null - best.score > self.null_threshold):
            return answered(NO_ANSWER, score=null, scores=scores | ({} if best is None else {"span": best.score}))
        if best is None:
            raise DecodingError(f"the model found no span in {target.within}")
        answer = SpanAnswer(passage[best.start : best.end], best.start)
        return attrs.evolve(answered(answer, score=best.score, scores=scores | {"span": best.score}), raw=answer.text)
