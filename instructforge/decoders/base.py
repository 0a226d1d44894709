"""What all decoders share: their options, and one prediction for each output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from attrs import field

from instructforge.data import Answer, Instruction, Output, Prediction, Reply
from instructforge.errors import ConfigError, DecodingError, did_you_mean, printable

__all__ = [
    "UNFINISHED",
    "answered",
    "configured",
    "each",
    "finite",
    "one_of",
    "option",
    "options_of",
    "reply_of",
    "text_of",
    "without_affixes",
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


def option(default: Any, check: Callable[[Any, attrs.Attribute[Any], Any], None]) -> Any:
    return field(default=default, validator=check, kw_only=True, metadata={"option": True})


def one_of(*known: str) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def _check(decoder: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise ConfigError(
                f'"{attribute.name}" of decoder "{decoder.name}" is {value!r}, not one of {", ".join(known)}'
            )

    return _check


def finite(decoder: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f'"{attribute.name}" of decoder "{decoder.name}" is {value!r}, not a number')


# --- One prediction for each output -------------------------------------------------------------------

Read = Callable[[Output, Instruction], Prediction]


def each(outputs: Sequence[Output], instructions: Sequence[Instruction], read: Read) -> list[Prediction]:
    """Return what ``read`` makes of each output; its ``DecodingError`` becomes the prediction's error."""
    if len(outputs) != len(instructions):
        raise DecodingError(f"{len(outputs)} outputs do not belong to {len(instructions)} instructions")
    return [_one(output, instruction, read) for output, instruction in zip(outputs, instructions, strict=True)]


def _one(output: Output, instruction: Instruction, read: Read) -> Prediction:
    notes = () if output.finished else (UNFINISHED,)
    notes = (*output.notes, *notes)
    raw = output.raw if output.raw is not None else output.text or ""
    try:
        if output.error:
            raise DecodingError(output.error)
        prediction = _inverted(output, instruction) if instruction.inverted else read(output, instruction)
    except DecodingError as error:
        reason = str(error) if output.finished else f"{error} (the model stopped at the limit of new tokens)"
        return Prediction(id=instruction.id, answer=None, raw=raw, error=reason, notes=notes)
    return attrs.evolve(prediction, id=instruction.id, raw=prediction.raw or raw, notes=(*prediction.notes, *notes))


def answered(answer: Answer, *, score: float | None = None, scores: Mapping[str, float] | None = None) -> Prediction:
    return Prediction(id="", answer=answer, score=score, scores=scores or {})


def text_of(output: Output, instruction: Instruction) -> str:
    """Return the generated text without what the template puts around an answer.

    Raises:
        DecodingError: There is none.
    """
    if output.text is None:
        raise DecodingError("the engine gave no text")
    text = without_affixes(output.text, instruction.affixes)
    if not text.strip():
        raise DecodingError("the model wrote nothing" + " but tool calls" * bool(output.tool_calls))
    return text


def reply_of(output: Output, instruction: Instruction) -> Answer:
    """Return the generated text; as a ``Reply`` where the model has called tools or told its reasoning.

    Raises:
        DecodingError: It wrote nothing.
    """
    if output.tool_calls and not (output.text or "").strip():
        return Reply("", reasoning=output.reasoning, tool_calls=output.tool_calls)
    text = text_of(output, instruction).strip()
    if output.tool_calls or output.reasoning:
        return Reply(text, reasoning=output.reasoning, tool_calls=output.tool_calls)
    return text


def without_affixes(text: str, affixes: tuple[str, str]) -> str:
    """Take off what stands before and after the answer in the template's completion, each where it is there.

    >>> without_affixes("Answer: yes", ("Answer: ", "."))
    'yes'
    """
    before, after = (part.strip() for part in affixes)
    kept = text.strip() if before or after else text
    kept = kept[len(before) :].lstrip() if before and kept.startswith(before) else kept
    return kept[: -len(after)].rstrip() if after and kept.endswith(after) else kept


def _inverted(output: Output, instruction: Instruction) -> Prediction:
    """Answer an inverted instruction by the text, and by the field's own text where they are the same."""
    text = text_of(output, instruction)
    wanted = instruction.example.inputs.get(instruction.inverted or "")
    same = isinstance(wanted, str) and wanted.strip() == text.strip()
    return answered(wanted if same and isinstance(wanted, str) else text.strip())
