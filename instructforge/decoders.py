"""Decoders: from what a model said to an answer in the task's own terms. A decoder undoes its template.

A decoder gives one prediction for each output and drops none. What it cannot read becomes a prediction
without an answer, with the reason and the raw output. An instruction of an inverted template ("write a
question that this answers") is answered by a text, whatever the task's target is.

A decoder's options are its attributes; ``options_of`` states them for the contract, ``configured`` sets them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import attrs
from attrs import field, frozen

from instructforge.data import NO_ANSWER, Answer, Example, Instruction, Output, Prediction, SpanAnswer
from instructforge.errors import ConfigError, DecodingError, did_you_mean, printable
from instructforge.matching import ChoiceForms, find_span, folded, read_choice, read_choices
from instructforge.tasks import Choice, Span, Task

__all__ = [
    "ChoiceDecoder",
    "ChoiceLikelihoodDecoder",
    "ChoiceScoresDecoder",
    "SpanDecoder",
    "SpanTextDecoder",
    "TextDecoder",
    "configured",
    "options_of",
    "per_text",
]

UNFINISHED = "unfinished"
"""The note of a prediction whose model stopped at the limit of new tokens."""

D = TypeVar("D")


# --- Options ------------------------------------------------------------------------------------------


def options_of(decoder: object) -> dict[str, Any]:
    """Return a decoder's options as JSON values, for the contract; empty for one that has none.

    >>> options_of(ChoiceLikelihoodDecoder())
    {'normalize': 'tokens'}
    """
    kind: Any = type(decoder)
    parts = attrs.fields(kind) if attrs.has(kind) else ()
    return {part.name: getattr(decoder, part.name) for part in parts if part.metadata.get("option")}


def configured(decoder: D, options: Mapping[str, Any]) -> D:
    """Return ``decoder`` with ``options`` set.

    Raises:
        ConfigError: An option is unknown, or its value is not one that the decoder takes.
    """
    known = options_of(decoder)
    name = getattr(decoder, "name", "?")
    unknown = [
        f'decoder "{name}" has no option "{printable(option, 80)}". {did_you_mean(str(option), known)}'
        for option in options
        if option not in known
    ]
    if unknown:
        raise ConfigError(unknown)
    configurable: Any = decoder
    return attrs.evolve(configurable, **options) if options else decoder


def _option(default: Any, check: Callable[[Any, attrs.Attribute[Any], Any], None]) -> Any:
    return field(default=default, validator=check, kw_only=True, metadata={"option": True})


def _one_of(*known: str) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def _check(decoder: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise ConfigError(
                f'"{attribute.name}" of decoder "{decoder.name}" is {value!r}, not one of {", ".join(known)}'
            )

    return _check


def _finite(decoder: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f'"{attribute.name}" of decoder "{decoder.name}" is {value!r}, not a number')


# --- One prediction for each output -------------------------------------------------------------------

Read = Callable[[Output, Instruction], Prediction]


def _each(outputs: Sequence[Output], instructions: Sequence[Instruction], read: Read) -> list[Prediction]:
    """Return what ``read`` makes of each output; its ``DecodingError`` becomes the prediction's error."""
    if len(outputs) != len(instructions):
        raise DecodingError(f"{len(outputs)} outputs do not belong to {len(instructions)} instructions")
    return [_one(output, instruction, read) for output, instruction in zip(outputs, instructions, strict=True)]


def _one(output: Output, instruction: Instruction, read: Read) -> Prediction:
    notes = () if output.finished else (UNFINISHED,)
    raw = output.text or ""
    try:
        if output.error:
            raise DecodingError(output.error)
        prediction = _inverted(output, instruction) if instruction.inverted else read(output, instruction)
    except DecodingError as error:
        reason = str(error) if output.finished else f"{error} (the model stopped at the limit of new tokens)"
        return Prediction(id=instruction.id, answer=None, raw=raw, error=reason, notes=notes)
    return attrs.evolve(prediction, id=instruction.id, raw=prediction.raw or raw, notes=(*prediction.notes, *notes))


def _answered(answer: Answer, *, score: float | None = None, scores: Mapping[str, float] | None = None) -> Prediction:
    return Prediction(id="", answer=answer, score=score, scores=scores or {})


def _text_of(output: Output, instruction: Instruction) -> str:
    """Return the generated text without what the template puts around an answer."""
    if output.text is None:
        raise DecodingError("the engine gave no text")
    text = _without_affixes(output.text, instruction.affixes)
    if not text.strip():
        raise DecodingError("the model wrote nothing")
    return text


def _without_affixes(text: str, affixes: tuple[str, str]) -> str:
    """Take off what stands before and after the answer in the template's completion, each where it is there.

    >>> _without_affixes("Answer: yes", ("Answer: ", "."))
    'yes'
    """
    before, after = (part.strip() for part in affixes)
    kept = text.strip() if before or after else text
    kept = kept[len(before) :].lstrip() if before and kept.startswith(before) else kept
    return kept[: -len(after)].rstrip() if after and kept.endswith(after) else kept


def _inverted(output: Output, instruction: Instruction) -> Prediction:
    """Answer an inverted instruction by the text, and by the field's own text where they are the same."""
    text = _text_of(output, instruction)
    wanted = instruction.example.inputs.get(instruction.inverted or "")
    same = isinstance(wanted, str) and wanted.strip() == text.strip()
    return _answered(wanted if same and isinstance(wanted, str) else text.strip())


# --- Text ---------------------------------------------------------------------------------------------


@frozen
class TextDecoder:
    """The generated text is the answer, without the spaces around it."""

    name: ClassVar[str] = "text"
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return each text as its own answer; an empty one is an error."""
        return _each(
            outputs, instructions, lambda output, instruction: _answered(_text_of(output, instruction).strip())
        )


@frozen
class PerText:
    """A decoder made of a function of one text; see ``per_text``."""

    name: str
    function: Callable[[str], Answer]
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return what the function makes of each text; whatever it raises becomes that prediction's error."""

        def _read(output: Output, instruction: Instruction) -> Prediction:
            try:
                return _answered(self.function(_text_of(output, instruction)))
            except DecodingError:
                raise
            except Exception as error:
                raise DecodingError(f"{type(error).__name__}: {printable(error)}") from error

        return _each(outputs, instructions, _read)


def per_text(name: str, function: Callable[[str], Answer]) -> PerText:
    """Make a decoder called ``name`` of a function of one text.

    The function returns the answer, or raises ``DecodingError`` (or any error) where it cannot tell.

    >>> per_text("upper", str.upper).name
    'upper'
    """
    return PerText(name, function)


# --- Choices ------------------------------------------------------------------------------------------


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
                return _answered(read_choices(output.text, forms))
            label = read_choice(output.text, forms)
            if not output.finished:
                _refuse_if_cut(output.text, label, forms)
            return _answered(label)

        return _each(outputs, instructions, _read)


def _refuse_if_cut(text: str, label: str, forms: ChoiceForms) -> None:
    """Refuse a text that was cut off and may have been going to name another choice: "10" of "100"."""
    begun = folded(text)
    for other, completion in zip(forms.labels, forms.completions, strict=True):
        if other != label and folded(completion).startswith(begun):
            raise DecodingError(f'"{printable(text, 80)}" may be the beginning of "{printable(completion, 80)}"')


def _checked_scores(scores: Sequence[float] | None, labels: Sequence[str], what: str) -> Sequence[float]:
    if scores is None:
        raise DecodingError(f"the engine gave no {what}")
    if len(scores) != len(labels) or not labels:
        raise DecodingError(f"the engine gave {len(scores)} {what} for {len(labels)} labels")
    if any(math.isnan(score) for score in scores):
        raise DecodingError(f"{what} are not numbers (NaN)")
    return scores


def _softmax(scores: Sequence[float]) -> list[float]:
    top = max(scores)
    if math.isinf(top):  # infinitely likely, or nothing possible at all: share what there is
        powers = [float(score == top) for score in scores]
    else:
        powers = [math.exp(score - top) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def _best(labels: Sequence[str], scores: Sequence[float]) -> Prediction:
    """Answer with the label that scores highest, the first of equals; scores become shares of one."""
    shares = dict(zip(labels, _softmax(scores), strict=True))
    answer = labels[max(range(len(scores)), key=scores.__getitem__)]
    return _answered(answer, score=shares[answer], scores=shares)


@frozen
class ChoiceLikelihoodDecoder:
    """The choice whose completion the model finds likeliest.

    Args:
        normalize: By what a completion's log-likelihood is divided, so that long ones are not at a
            disadvantage: ``tokens``, ``characters`` (of the completion) or ``none``.

    Source: the choices of lm-evaluation-harness: ``acc`` divides by nothing, ``acc_norm`` by characters.
    """

    normalize: str = _option("tokens", _one_of("tokens", "characters", "none"))

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
        return _each(outputs, instructions, lambda output, instruction: self._read(output, instruction, task))

    def _read(self, output: Output, instruction: Instruction, task: Task) -> Prediction:
        forms = _forms(instruction, task)
        logprobs = _checked_scores(output.choice_logprobs, forms.labels, "likelihoods")
        lengths: Sequence[int] = [1] * len(logprobs)
        if self.normalize == "tokens":
            lengths = [int(n) for n in _checked_scores(output.choice_tokens, forms.labels, "token counts")]
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

    threshold: float = _option(0.0, _finite)

    name: ClassVar[str] = "choice-scores"
    needs: ClassVar[str] = "label_scores"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return the best label of each output; ``scores`` are the softmax of the head's scores."""
        several = _several(task)

        def _read(output: Output, instruction: Instruction) -> Prediction:
            labels = _labels(instruction, task)
            scores = _checked_scores(output.label_scores, labels, "label scores")
            return self._above(labels, scores) if several else _best(labels, scores)

        return _each(outputs, instructions, _read)

    def _above(self, labels: Sequence[str], scores: Sequence[float]) -> Prediction:
        chosen = tuple(label for label, score in zip(labels, scores, strict=True) if score > self.threshold)
        return _answered(chosen, scores={label: _sigmoid(score) for label, score in zip(labels, scores, strict=True)})


def _sigmoid(score: float) -> float:
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    power = math.exp(score)
    return power / (1 + power)


# --- Spans --------------------------------------------------------------------------------------------


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
        return _each(
            outputs,
            instructions,
            lambda output, instruction: _answered(
                _read_span(_text_of(output, instruction), instruction.example, target)
            ),
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

    null_threshold: float = _option(0.0, _finite)

    name: ClassVar[str] = "span"
    needs: ClassVar[str] = "spans"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return each output's best span as text and place; without one, and no null answer, an error."""
        target = _span_target(task)
        return _each(outputs, instructions, lambda output, instruction: self._read(output, instruction, target))

    def _read(self, output: Output, instruction: Instruction, target: Span) -> Prediction:
        if output.spans is None:
            raise DecodingError("the engine gave no spans")
        passage = _passage(instruction.example, target)
        best = next((span for span in output.spans if 0 <= span.start < span.end <= len(passage)), None)
        null = output.null_score if target.nullable else None
        scores = {} if null is None else {"no answer": null}
        if null is not None and (best is None or null - best.score > self.null_threshold):
            return _answered(NO_ANSWER, score=null, scores=scores | ({} if best is None else {"span": best.score}))
        if best is None:
            raise DecodingError(f"the model found no span in {target.within}")
        answer = SpanAnswer(passage[best.start : best.end], best.start)
        return attrs.evolve(_answered(answer, score=best.score, scores=scores | {"span": best.score}), raw=answer.text)
