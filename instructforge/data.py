"""What flows: ``Row → Example → Instruction → Features → Prediction → Report``.

Every type is frozen. What goes to disk has ``to_json`` and ``from_json``, exact inverses of each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import field, frozen

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "NO_ANSWER",
    "Answer",
    "Example",
    "Features",
    "Instruction",
    "Landing",
    "Message",
    "Origin",
    "Output",
    "Prediction",
    "Preference",
    "Reply",
    "Row",
    "SpanAnswer",
    "SpanScore",
    "answer_from_json",
    "answer_to_json",
    "fold_system",
]


@frozen
class Origin:
    """Where a row came from: a file (or a data set's name) and a line or record number, counted from 1."""

    source: str
    record: int | None = None
    path: str = ""
    """A place inside the record, such as ``data[3].paragraphs[0].qas[1]``."""

    def __str__(self) -> str:
        where = self.source if self.record is None else f"{self.source}:{self.record}"
        return f"{where}#{self.path}" if self.path else where

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "record": self.record, "path": self.path}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(value["source"], value.get("record"), value.get("path", ""))


@frozen
class Row:
    """One raw record, as a reader found it."""

    values: Mapping[str, Any]
    origin: Origin


@frozen
class SpanAnswer:
    """A stretch of a field: its text and where it starts, in characters."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


NO_ANSWER = SpanAnswer("", -1)
"""The labelled answer "the passage does not say". An *unlabelled* example has no answers at all."""


def _as_calls(value: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(value)


@frozen
class Reply:
    """An assistant's answer that is more than text.

    Attributes:
        text: What it says; empty where it only calls tools.
        reasoning: What it thought first, kept apart from the answer. It does not count when answers are compared.
        tool_calls: Calls in the form of the OpenAI chat API, arguments as an object; see ``instructforge.chats``.
        weight: 0 where the model is not to learn it, 1 where it is; None leaves that to the recipe.
    """

    text: str
    reasoning: str | None = field(default=None, kw_only=True)
    tool_calls: tuple[Mapping[str, Any], ...] = field(default=(), kw_only=True, converter=_as_calls)
    weight: int | None = field(default=None, kw_only=True)

    @property
    def calls(self) -> tuple[tuple[str, Any], ...]:
        """Name and arguments of each call: what makes two calls the same, whatever their ids."""
        found = (call.get("function") for call in self.tool_calls)
        functions = (function if isinstance(function, Mapping) else {} for function in found)
        return tuple((function.get("name", ""), function.get("arguments", {})) for function in functions)

    def same(self, other: Reply) -> bool:
        """Tell whether another reply says the same and calls the same; ids, reasoning and weight aside."""
        return self.text.strip() == other.text.strip() and self.calls == other.calls

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"text": self.text}
        optional = {
            "reasoning": self.reasoning,
            "tool_calls": [dict(call) for call in self.tool_calls] or None,
            "weight": self.weight,
        }
        return value | {key: part for key, part in optional.items() if part is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            value["text"],
            reasoning=value.get("reasoning"),
            tool_calls=tuple(value.get("tool_calls") or ()),
            weight=value.get("weight"),
        )


Answer: TypeAlias = "str | Reply | SpanAnswer | tuple[str, ...]"
"""``str`` or ``Reply`` for Text, ``str`` for Choice, ``SpanAnswer`` for Span, a tuple of labels or items else."""


def answer_to_json(answer: Answer | None) -> Any:
    """Return ``answer`` as JSON: a string, a list, or an object (a span has ``start``, a reply has none)."""
    if isinstance(answer, SpanAnswer):
        return {"text": answer.text, "start": answer.start}
    if isinstance(answer, Reply):
        return answer.to_json()
    return list(answer) if isinstance(answer, tuple) else answer


def answer_from_json(value: Any) -> Answer | None:
    """Return the answer that ``answer_to_json`` wrote."""
    if isinstance(value, Mapping):
        return SpanAnswer(value["text"], value["start"]) if "start" in value else Reply.from_json(value)
    return tuple(value) if isinstance(value, list) else value


@frozen(kw_only=True)
class Example:
    """One row in a task's own terms.

    Attributes:
        inputs: The task's fields by name.
        answers: All gold answers; empty where the row is unlabelled.
        id: Unique within a build; the row's seed is derived from it.
        origin: The row it was made from.
        group: Examples of one group (all questions of one passage) stay on one side of a split.
        language: ``en``, ``zh`` … or None where the build is to tell by the script.
        notes: Names of rules by which the normalizer repaired the row; the ledger counts them.
    """

    inputs: Mapping[str, Any]
    answers: tuple[Answer, ...] = ()
    id: str = ""
    origin: Origin = Origin("memory")
    group: str | None = None
    language: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": dict(self.inputs),
            "answers": [answer_to_json(answer) for answer in self.answers],
            "id": self.id,
            "origin": self.origin.to_json(),
            "group": self.group,
            "language": self.language,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        answers = tuple(answer for answer in map(answer_from_json, value["answers"]) if answer is not None)
        return cls(
            inputs=value["inputs"],
            answers=answers,
            id=value["id"],
            origin=Origin.from_json(value["origin"]),
            group=value["group"],
            language=value["language"],
            notes=tuple(value["notes"]),
        )


_NO_MORE = (None, None, None, None)


@frozen(kw_only=True, weakref_slot=False)
class Message:
    """One chat turn.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: The text; empty where the turn is tool calls only.
        trained: Whether the model learns to write this turn.
        weight: What the data say of that, which counts before everything else: 1 to learn it, 0 not to; None where
            they say nothing.
        reasoning: What the assistant thought before it answered, kept apart from the answer.
        tool_calls: Calls in the form of the OpenAI chat API.
        name, tool_call_id: As in the OpenAI chat API.
    """

    role: str
    content: str
    trained: bool = False
    reasoning: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    weight: int | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"role": self.role, "content": self.content, "trained": self.trained}
        if not self.tool_calls and (self.reasoning, self.name, self.tool_call_id, self.weight) == _NO_MORE:
            return value  # most turns are nothing but text
        optional = {
            "reasoning": self.reasoning,
            "tool_calls": [dict(call) for call in self.tool_calls] or None,
            "name": self.name,
            "tool_call_id": self.tool_call_id,
            "weight": self.weight,
        }
        return value | {key: part for key, part in optional.items() if part is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            role=value["role"],
            content=value["content"],
            trained=value["trained"],
            reasoning=value.get("reasoning"),
            tool_calls=tuple(value.get("tool_calls") or ()),
            name=value.get("name"),
            tool_call_id=value.get("tool_call_id"),
            weight=value.get("weight"),
        )

    def to_chat(self) -> dict[str, Any]:
        """Return the turn as a chat template expects it: a dict without our own marks."""
        value = self.to_json()
        del value["trained"]
        value.pop("weight", None)
        if "reasoning" in value:
            value["reasoning_content"] = value.pop("reasoning")
        return value


def fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Put the system turn's text in front of the first user turn, for chat templates without that role."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    rest = [message for message in messages if message.role != "system"]
    for place, message in enumerate(rest):
        if system and message.role == "user":
            folded = Message(role="user", content=f"{system}\n\n{message.content}", name=message.name)
            return (*rest[:place], folded, *rest[place + 1 :])
    return tuple(rest)


@frozen(weakref_slot=False)
class Landing:
    """Where a field's text stands: characters ``start`` to ``end`` of ``messages[message].content``.

    ``exact`` is False where the template changed the text on its way (a filter, a slice); ``item`` counts
    within a list-valued field.
    """

    field: str
    message: int
    start: int
    end: int
    item: int | None = None
    exact: bool = True

    def to_json(self) -> list[Any]:
        return [self.field, self.message, self.start, self.end, self.item, self.exact]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Self:
        return cls(*value)


@frozen(kw_only=True, weakref_slot=False)
class Instruction:
    """A template × an example: the chat that a model is shown, and what stands where in it.

    Attributes:
        example: What was rendered; its id, answers and origin travel with it.
        task: Name of the task.
        language: Language of the template.
        template: The template's name within task and language.
        template_sha256: Hash of the template's source.
        messages: The chat; the last turn is the assistant's, and is trained unless the example is unlabelled
            (then its content is empty).
        landings: Where each field landed, in order of appearance.
        labels: For choices: the labels in the row's order.
        choices: For choices: the completion of each label under this template.
        cuttable: Fields that may be cut when the instruction is too long.
        inverted: The field that an inverted template asks for, else None.
        affixes: What the template's completion puts before and after the answer; a decoder takes it off. Choices
            have it in them.
        tools: Schemas of the tools that the assistant may call, for the chat template's ``tools``.
    """

    example: Example
    task: str
    language: str
    template: str
    template_sha256: str
    messages: tuple[Message, ...]
    landings: tuple[Landing, ...] = ()
    labels: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    cuttable: tuple[str, ...] = ()
    inverted: str | None = None
    affixes: tuple[str, str] = ("", "")
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def id(self) -> str:
        return self.example.id

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the answer."""
        return self.messages[:-1]

    @property
    def completion(self) -> str:
        """The text of the final answer."""
        return self.messages[-1].content

    def to_json(self) -> dict[str, Any]:
        value = {
            "example": self.example.to_json(),
            "task": self.task,
            "language": self.language,
            "template": self.template,
            "template_sha256": self.template_sha256,
            "messages": [message.to_json() for message in self.messages],
            "landings": [landing.to_json() for landing in self.landings],
            "labels": list(self.labels),
            "choices": list(self.choices),
            "cuttable": list(self.cuttable),
            "inverted": self.inverted,
            "affixes": list(self.affixes),
        }
        return value | ({"tools": [dict(tool) for tool in self.tools]} if self.tools else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            example=Example.from_json(value["example"]),
            task=value["task"],
            language=value["language"],
            template=value["template"],
            template_sha256=value["template_sha256"],
            messages=tuple(map(Message.from_json, value["messages"])),
            landings=tuple(map(Landing.from_json, value["landings"])),
            labels=tuple(value["labels"]),
            choices=tuple(value["choices"]),
            cuttable=tuple(value["cuttable"]),
            inverted=value["inverted"],
            affixes=tuple(value.get("affixes", ("", ""))),
            tools=tuple(value.get("tools", ())),
        )


@frozen(kw_only=True)
class Preference:
    """Two answers to one prompt, the first better than the second."""

    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    id: str = ""
    origin: Origin = Origin("memory")


@frozen(kw_only=True)
class Features:
    """What a model is trained on, for one instruction (or one window of it).

    Shapes:
        input_ids, attention_mask, labels: (T,); a label of -100 is not trained.
        targets: what a model head needs instead of labels, such as ``start_positions``.
    """

    id: str
    input_ids: Sequence[int]
    attention_mask: Sequence[int]
    labels: Sequence[int] = ()
    targets: Mapping[str, Any] = field(factory=dict)


@frozen
class SpanScore:
    """A candidate span of the passage, in characters, with the model's score for it."""

    start: int
    end: int
    score: float


@frozen(kw_only=True)
class Output:
    """What a model said of one instruction, before it is decoded. An engine fills what the decoder needs.

    Attributes:
        text: The generated text, without the stop token, and without what is read out of it as reasoning or tool calls.
        finished: Whether the model stopped by itself, rather than at the limit of new tokens.
        choice_logprobs: Log-likelihood of each of the instruction's choices, in their order.
        choice_tokens: Number of tokens of each choice.
        label_scores: Score of each of the instruction's labels, in their order, from a model's head.
        tag_scores: For each of the row's tokens, the log-probability of each of its tags, in the order of the
            target's ``tags``.
        spans: Best spans, best first.
        null_score: Score of "no answer", on the same scale as the spans' scores.
        error: Why the model could not be asked, such as a prompt that does not fit; nothing else is filled then.
        reasoning: What the model thought before its answer.
        tool_calls: The tools that it calls, in the form of a ``Reply``'s.
        raw: All that it wrote, where ``text`` is not all of it.
        notes: What else there is to know of it, for the prediction.
    """

    text: str | None = None
    finished: bool = True
    choice_logprobs: tuple[float, ...] | None = None
    choice_tokens: tuple[int, ...] | None = None
    label_scores: tuple[float, ...] | None = None
    tag_scores: tuple[tuple[float, ...], ...] | None = None
    spans: tuple[SpanScore, ...] | None = None
    null_score: float | None = None
    error: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    raw: str | None = None
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Prediction:
    """A decoded answer, or why there is none. The raw output is always kept.

    Attributes:
        id: The example's id.
        answer: The answer in the task's terms; None where decoding failed.
        score: The model's score for the answer, where it gives one.
        scores: The score of each choice.
        raw: What the model said, as text.
        error: Why the output could not be decoded.
        notes: What else there is to know of the output: ``unfinished`` where the model was cut off.
    """

    id: str
    answer: Answer | None
    score: float | None = None
    scores: Mapping[str, float] = field(factory=dict)
    raw: str = ""
    error: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "answer": answer_to_json(self.answer),
            "score": self.score,
            "scores": dict(self.scores),
            "raw": self.raw,
            "error": self.error,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            id=value["id"],
            answer=answer_from_json(value["answer"]),
            score=value["score"],
            scores=value["scores"],
            raw=value["raw"],
            error=value["error"],
            notes=tuple(value.get("notes", ())),
        )
