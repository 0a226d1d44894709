"""Normalizers of the task ``instruction``: from Alpaca and seed tasks to conversations and Natural Instructions.

What the task needs of a conversation: the last thing that the user says is the instruction; what comes before is
its history, what the assistant has done since (tool calls and their results) are its steps, and the assistant's last
turn is the answer. A row without an answer is unlabelled; one that holds another kind of data is refused, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from instructforge import DataError, Example, Normalizer, Reply, Row, columns
from instructforge.chats import Chat, form_of, parse_chat
from instructforge.errors import printable
from instructforge.normalizers import ColumnsFunction

__all__ = ["ALL"]

ANSWERS = ("output", "response", "completion", "target")
LANGUAGES = {"english": "en", "chinese": "zh"}
PREFERENCE = (("chosen", "rejected"), ("messages", "rejected_response"), ("messages", "rejected_messages"))


# --- Shared -------------------------------------------------------------------------------------------


def _flat(name: str, fields: dict[str, tuple[str, ...]], answer: tuple[str, ...]) -> ColumnsFunction:
    function: Any = columns(
        name, task="instruction", fields=fields, answer=answer, optional=set(fields) - {"instruction"}, unlabelled=()
    ).function
    assert isinstance(function, ColumnsFunction)
    return function


def _refuse_other_kinds(values: Mapping[str, Any]) -> None:
    """Raise ``DataError`` for rows that hold no answer that could be told apart, or more than one kind of answer."""
    for pair in PREFERENCE:
        if all(values.get(key) is not None for key in pair):
            raise DataError(
                f'the row is a preference: it has "{pair[0]}" and "{pair[1]}"',
                rule="preference",
                field=pair[1],
                fix="an instruction has one answer: keep the better one as the output, or use the row for preferences",
            )
    for key in ("label", "labels"):
        judged = "prompt" in values and isinstance(values.get(key), (bool, list))
        if judged:
            raise DataError(
                f'the row judges its completion by "{key}"; it is no instruction with its answer',
                rule="preference",
                field=key,
                fix='keep the rows whose completion is good, without the column "label"',
            )


def _without_blanks(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs without optional texts that say nothing."""
    return {
        name: value
        for name, value in inputs.items()
        if name == "instruction" or (value.strip() if isinstance(value, str) else value)
    }


def _id(values: Mapping[str, Any]) -> str:
    value = values.get("id")
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


# --- Instruction and output ---------------------------------------------------------------------------

_ALPACA = _flat(
    "instruction-alpaca",
    {"instruction": ("instruction",), "input": ("input", "context"), "system": ("system", "system_prompt")},
    ANSWERS,
)


def read_alpaca(row: Row) -> Example:
    """Read ``{"instruction", "input" | "context", "output" | "response", "system", "history"}``.

    Raises:
        DataError: There is no instruction, the answer is empty, the history is no list of pairs.
    """
    values = row.values
    _refuse_other_kinds(values)
    flat = _ALPACA(row)
    inputs = _without_blanks(flat.inputs)
    if values.get("history"):
        chat = parse_chat({"instruction": "…", "history": values["history"]})
        inputs["history"] = list(chat.turns[:-1])
    return _evolved(flat, inputs)


def _evolved(example: Example, inputs: dict[str, Any]) -> Example:
    return Example(inputs=inputs, answers=example.answers, id=example.id, origin=example.origin, group=example.group)


def is_alpaca(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("instruction"), str) and not (
        isinstance(values.get("instances"), list) or form_of(values) in ("openai", "sharegpt", "ms-swift")
    )


# --- Question and answer ------------------------------------------------------------------------------

_QUESTION = _flat(
    "instruction-question",
    {"instruction": ("question", "problem"), "input": ("input", "context")},
    ("solution", *ANSWERS),
)


def read_question(row: Row) -> Example:
    """Read ``{"question", "answer"}``, as GSM8K has it; the answer is kept as it is, marks and all.

    Raises:
        DataError: There is no question, or the answer is empty.
    """
    _refuse_other_kinds(row.values)
    flat = _QUESTION(row)
    return _evolved(flat, _without_blanks(flat.inputs))


def is_question(values: Mapping[str, Any]) -> bool:
    asked = any(isinstance(values.get(key), str) for key in ("question", "problem"))
    return asked and not is_alpaca(values) and not is_chat(values) and values.get("prompt") is None


# --- Pairs of prompt and completion -------------------------------------------------------------------

_PAIR = _flat("instruction-pairs", {"instruction": ("prompt",), "system": ("system",)}, ANSWERS)


def read_pair(row: Row) -> Example:
    """Read ``{"prompt", "completion"}``, texts or lists of messages; without a completion the row is unlabelled.

    Raises:
        DataError: The row is text alone, a preference, or not of this form.
    """
    values = row.values
    _refuse_other_kinds(values)
    if values.get("prompt") is None and isinstance(values.get("text"), str):
        raise DataError(
            'the row has "text" alone: its answer cannot be told apart from what it answers',
            rule="text-alone",
            field="text",
            fix='give "prompt" and "completion", or "messages"; plain text is for pre-training',
        )
    if isinstance(values.get("prompt"), list):
        completion = values.get("completion")
        if completion is not None and not isinstance(completion, list):
            what = '"prompt" is a list of messages, and "completion" is not'
            raise DataError(what, rule="turn-type", field="completion", fix="give messages in both, or texts in both")
        messages = [*values["prompt"], *(completion or ())]
        return read_chat(Row({**values, "messages": messages}, row.origin))
    flat = _PAIR(row)
    return _evolved(flat, _without_blanks(flat.inputs))


def is_pair(values: Mapping[str, Any]) -> bool:
    if is_chat(values) or is_alpaca(values):
        return False
    preference = values.get("chosen") is not None and values.get("rejected") is not None
    alone = isinstance(values.get("text"), str) and not {"label", "question", "title", "summary"} & values.keys()
    return isinstance(values.get("prompt"), (str, list)) or preference or alone


# --- Seed tasks ---------------------------------------------------------------------------------------


def read_seeds(row: Row) -> Iterator[Example]:
    """Yield an example for each instance of ``{"instruction", "instances": [{"input", "output"}]}``.

    Raises:
        DataError: There is no instruction or no instance, or an instance is malformed; those before it are kept.
    """
    values = row.values
    instances = values.get("instances")
    if not isinstance(instances, list) or not instances:
        fix = 'give [{"input": …, "output": …}]'
        raise DataError("the task has no instances", rule="instances", field="instances", fix=fix)
    group = _id(values) or str(values.get("instruction"))
    for number, instance in enumerate(instances):
        if not isinstance(instance, Mapping):
            what = f"instance {number + 1} is no object"
            raise DataError(what, rule="instances", field=f"instances[{number}]", fix="give input and output")
        whole = instance.get("instruction_with_input")
        given = {"instruction": whole} if whole else {"instruction": values.get("instruction"), **instance}
        found = _ALPACA(Row({**given, "output": instance.get("output")}, row.origin))
        id = _id(values) if len(instances) == 1 or not _id(values) else f"{_id(values)}#{number}"
        inputs = _without_blanks(found.inputs)
        yield Example(inputs=inputs, answers=found.answers, id=id, origin=row.origin, group=group)


def is_seeds(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("instances"), list)


# --- Conversations ------------------------------------------------------------------------------------


def read_chat(row: Row) -> Example:
    """Read OpenAI messages, ShareGPT and ms-swift; see ``instructforge.chats`` for their schemas.

    A conversation that ends on the user's or a tool's turn is unlabelled, and has the note ``ends-on-user`` or
    ``ends-on-tool``.

    Raises:
        DataError: A turn is malformed or out of order, the user says nothing, or nothing leads up to the answer.
    """
    values = row.values
    _refuse_other_kinds(values)
    chat = parse_chat(values)
    asked = max((place for place, turn in enumerate(chat.turns) if turn["role"] == "user"), default=None)
    if asked is None:
        what = "the user says nothing in the conversation"
        raise DataError(what, rule="no-user", field="messages", fix="begin with what the user asks")
    end = len(chat.turns) - chat.answered
    steps = list(chat.turns[asked + 1 : end])
    if steps and steps[-1]["role"] == "assistant":
        what = f"turn {end}: the assistant speaks, and nobody after it before its last turn"
        raise DataError(what, rule="turn-order", field="messages", fix="join the assistant's last turns")
    inputs = {
        "instruction": chat.turns[asked]["content"],
        "system": chat.system,
        "history": list(chat.turns[:asked]),
        "steps": steps,
        "tools": list(chat.tools),
    }
    return Example(
        inputs=_without_blanks(inputs),
        answers=(_answer(chat.turns[-1]),) if chat.answered else (),
        id=_id(values),
        origin=row.origin,
        notes=(*chat.notes, *_notes(chat)),
    )


def _notes(chat: Chat) -> Iterator[str]:
    if not chat.answered:
        yield f"ends-on-{chat.turns[-1]['role']}"


def _answer(turn: Mapping[str, Any]) -> str | Reply:
    """Return the assistant's last turn as an answer: a text, or more where there is more."""
    if not {"reasoning_content", "tool_calls", "weight"} & turn.keys():
        return str(turn["content"])
    return Reply(
        turn["content"],
        reasoning=turn.get("reasoning_content"),
        tool_calls=tuple(turn.get("tool_calls") or ()),
        weight=turn.get("weight"),
    )


def is_chat(values: Mapping[str, Any]) -> bool:
    return form_of(values) in ("openai", "sharegpt", "ms-swift")


# --- Natural Instructions -----------------------------------------------------------------------------


def read_natural(row: Row) -> Example:
    """Read an instance of a Natural Instructions task, with the task's definition and good examples beside it.

    Raises:
        DataError: There is no definition, or the instance is malformed.
    """
    values = row.values
    language = _joined(_first(values, "Instruction_language")).strip().casefold()
    outputs = _first(values, "output", "targets", "target")
    if _first(values, "input", "inputs") is None:
        fix = "give the input; an empty text where the definition is all there is"
        raise DataError("the instance has no input", rule="field-missing", field="input", fix=fix)
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs] if outputs is not None else []
    given = {
        "instruction": _joined(_first(values, "Definition", "definition")),
        "input": _first(values, "input", "inputs"),
        "output": listed or None,
    }
    found = _ALPACA(Row(given, row.origin))
    inputs = _without_blanks(found.inputs)
    examples, notes = _examples(_first(values, "Positive Examples"), inputs.get("input"))
    if examples:
        inputs["examples"] = examples
    return Example(
        inputs=inputs,
        answers=found.answers,
        id=_id(values),
        origin=row.origin,
        language=LANGUAGES.get(language),
        notes=notes,
    )


def _examples(value: Any, own: Any) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Return the good examples of a task but for the row itself, and a note where that was among them."""
    if value is not None and not isinstance(value, (list, tuple)):
        fix = 'give [{"input": …, "output": …, "explanation": …}]'
        raise DataError('"Positive Examples" is no list', rule="examples", field="Positive Examples", fix=fix)
    found = []
    for number, one in enumerate(value or ()):
        texts = {key: _joined(one.get(key)) for key in ("input", "output")} if isinstance(one, Mapping) else {}
        if not texts.get("output", "").strip():
            what = f"positive example {number + 1} has no output: {printable(one, 80)}"
            fix = 'give {"input": …, "output": …}'
            raise DataError(what, rule="examples", field=f"Positive Examples[{number}]", fix=fix)
        found.append(texts)
    kept = [one for one in found if one["input"].strip() != str(own or "").strip()]
    return kept, ("own-example-left-out",) if len(kept) < len(found) else ()


def _joined(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "\n".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _first(values: Mapping[str, Any], *keys: str) -> Any:
    return next((values[key] for key in keys if values.get(key) is not None), None)


def is_natural(values: Mapping[str, Any]) -> bool:
    defined = isinstance(_first(values, "Definition", "definition"), (str, list))
    return defined and _first(values, "input", "inputs") is not None


ALL = (
    Normalizer(
        "instruction-alpaca",
        task="instruction",
        function=read_alpaca,
        accepts=is_alpaca,
        summary="Alpaca, Dolly and their like: an instruction, an input or context, the answer",
        wants="instruction; input | context (optional); output | response | completion; system, history (optional)",
    ),
    Normalizer(
        "instruction-question",
        task="instruction",
        function=read_question,
        accepts=is_question,
        summary="a question or problem and its answer, as in GSM8K",
        wants="question | problem; answer | solution",
    ),
    Normalizer(
        "instruction-pairs",
        task="instruction",
        function=read_pair,
        accepts=is_pair,
        summary="prompt and completion, as texts or as messages (TRL)",
        wants="prompt; completion | response",
    ),
    Normalizer(
        "instruction-seeds",
        task="instruction",
        function=read_seeds,
        accepts=is_seeds,
        summary="seed tasks of self-instruct: an instruction and its instances",
        wants="instruction; instances, a list of objects with input and output",
    ),
    Normalizer(
        "instruction-chat",
        task="instruction",
        function=read_chat,
        accepts=is_chat,
        summary="conversations: OpenAI messages, ShareGPT, ms-swift, with tools, reasoning and weights",
        wants="messages | conversations | conversation; tools, system (optional)",
    ),
    Normalizer(
        "instruction-natural",
        task="instruction",
        function=read_natural,
        accepts=is_natural,
        summary="Natural Instructions: a definition, an input and its outputs",
        wants="Definition; input; output; Positive Examples (optional)",
    ),
)
