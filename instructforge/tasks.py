"""A task is data: its fields, its target, and the names of the parts that serve it.

The target is where a kind of answer is defined, once: which answers are well formed, when two are equal,
which words a template completes with, and which decoder, head and metrics go with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from attrs import field, frozen

from instructforge.data import NO_ANSWER, Answer, Example, Origin, Reply, SpanAnswer, answer_from_json
from instructforge.errors import ConfigError, DataError
from instructforge.tagging import entities, slices, write_entities

__all__ = [
    "Choice",
    "Field",
    "Ranking",
    "Sample",
    "Span",
    "Tags",
    "Target",
    "Task",
    "Text",
    "answer_words",
    "read_samples",
]

Words: TypeAlias = Mapping[str, str]
"""The words for one thing in each language: ``{"en": "yes", "zh": "是"}``."""


@runtime_checkable
class Target(Protocol):
    """What every kind of answer knows about itself.

    Attributes:
        head: The model head that predicts it: ``text``, ``choice``, ``span``, ``tags`` or ``ranking``.
        decoder: Name of the decoder that reads it out of generated text.
        head_decoder: Name of the decoder that reads it out of a model head's scores.
        metrics: Names of the metrics that score it.
    """

    head: ClassVar[str]
    decoder: ClassVar[str]
    head_decoder: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]

    def check(self, answer: Answer, inputs: Mapping[str, Any]) -> None:
        """Raise ``DataError`` unless ``answer`` is well formed for a row with these inputs."""

    def equal(self, one: Answer, other: Answer) -> bool:
        """Tell whether two answers are the same answer."""

    def words(self, answer: Answer, language: str) -> str:
        """Return what a model writes for ``answer``: the template variable ``answer``.

        A target whose words depend on the row takes ``inputs`` as a third argument; see ``answer_words``.
        """

    def labels(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the labels to choose among for a row, in their order; empty where nothing is chosen."""


def answer_words(target: Target, answer: Answer, language: str, inputs: Mapping[str, Any]) -> str:
    """Return the words of an answer to a row with these inputs, whether or not the target asks for them.

    >>> answer_words(Choice(["yes", "no"]), "no", "en", {})
    'no'
    """
    words: Any = target.words
    return str(words(answer, language, inputs) if _takes_inputs(type(target)) else words(answer, language))


@cache
def _takes_inputs(kind: type[Target]) -> bool:
    return "inputs" in signature(kind.words).parameters


@frozen(kw_only=True)
class Text:
    """Free text, or a ``Reply``: text with reasoning and tool calls. ``max_new_tokens`` bounds what is generated."""

    max_new_tokens: int = 256

    head: ClassVar[str] = "text"
    decoder: ClassVar[str] = "text"
    head_decoder: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("exact-match", "token-f1")

    def check(self, answer: Answer, inputs: Mapping[str, Any]) -> None:
        if isinstance(answer, Reply):
            _check_reply(answer)
        elif not isinstance(answer, str) or not answer.strip():
            what = f"the answer is {answer!r}, not a text"
            raise DataError(what, rule="answer-empty", field="answer", fix="give a text, or leave the row unlabelled")

    def equal(self, one: Answer, other: Answer) -> bool:
        said, wanted = (Reply(part) if isinstance(part, str) else part for part in (one, other))
        return isinstance(said, Reply) and isinstance(wanted, Reply) and said.same(wanted)

    def words(self, answer: Answer, language: str) -> str:
        if isinstance(answer, Reply):
            return answer.text
        return answer if isinstance(answer, str) else ""

    def labels(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        return ()


def _check_reply(answer: Reply) -> None:
    """Raise ``DataError`` unless a reply says something, or calls tools by name with an object of arguments."""
    if not isinstance(answer.text, str) or not (answer.text.strip() or answer.tool_calls):
        fix = "give a text or a tool call, or leave the row unlabelled"
        raise DataError("the answer says nothing and calls no tool", rule="answer-empty", field="answer", fix=fix)
    for name, arguments in answer.calls:
        if not isinstance(name, str) or not name.strip() or not isinstance(arguments, Mapping):
            fix = 'give {"type": "function", "function": {"name": …, "arguments": {…}}}'
            raise DataError(
                "a tool call has no name, or no object of arguments", rule="tool-call", field="answer", fix=fix
            )
    if answer.weight not in (None, 0, 1):
        fix = "give 1 to train the answer, 0 to leave it out"
        raise DataError(f"the answer's weight is {answer.weight!r}", rule="weight", field="answer", fix=fix)


def _label_words(value: Mapping[str, Words] | Iterable[str]) -> Mapping[str, Words]:
    return value if isinstance(value, Mapping) else {label: {} for label in value}


def _nothing_words() -> Words:
    return {"en": "none", "zh": "无"}


@frozen
class Choice:
    """One of a closed set of labels (or several, with ``multiple``).

    Args:
        options: The labels: a list, or a mapping of each label to its words in each language. A label
            without words in a language is its own words there.
        from_field: Instead of ``options``: the list-valued field that holds each row's choices.
        multiple: Whether an answer is a tuple of labels; an empty one says that none fits.
        nothing: With ``multiple``: what a model writes where none fits.

    >>> Choice({"entailment": {"en": "yes", "zh": "蕴含"}}).words("entailment", "zh")
    '蕴含'
    """

    options: Mapping[str, Words] = field(factory=dict, converter=_label_words)
    from_field: str | None = field(default=None, kw_only=True)
    multiple: bool = field(default=False, kw_only=True)
    nothing: Words = field(factory=_nothing_words, kw_only=True)

    head: ClassVar[str] = "choice"
    decoder: ClassVar[str] = "choice"
    head_decoder: ClassVar[str] = "choice-scores"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro-f1")

    def __attrs_post_init__(self) -> None:
        if bool(self.options) == bool(self.from_field):
            raise ConfigError("a Choice takes either its labels or from_field, one of the two")

    def check(self, answer: Answer, inputs: Mapping[str, Any]) -> None:
        known = self.labels(inputs)
        chosen = answer if isinstance(answer, tuple) else (answer,)
        if self.multiple != isinstance(answer, tuple):
            fix = "give a list of labels" if self.multiple else "give one label"
            raise DataError(f"the answer is {answer!r}", rule="answer-type", field="answer", fix=fix)
        for label in chosen:
            if label not in known:
                raise DataError(
                    f'the answer "{label}" is not one of the {len(known)} choices',
                    rule="label-unknown",
                    field="answer",
                    fix=f"use one of: {', '.join(known[:10])}{', …' if len(known) > 10 else ''}",
                )
        if not chosen and (same := {word.casefold() for word in self.nothing.values()} & set(map(str.casefold, known))):
            raise DataError(
                f'no label fits, and a label is called "{min(same)}", which says just that',
                rule="answer-ambiguous",
                field="answer",
                fix="rename the label, or give the task's Choice other words for nothing",
            )

    def equal(self, one: Answer, other: Answer) -> bool:
        if isinstance(one, tuple) and isinstance(other, tuple):
            return set(one) == set(other)
        return one == other

    def words(self, answer: Answer, language: str) -> str:
        if answer == ():
            return self.nothing.get(language, self.nothing["en"])
        if isinstance(answer, tuple):
            return (", " if language != "zh" else "、").join(self.words(label, language) for label in answer)
        label = str(answer)
        return self.options.get(label, {}).get(language, label)

    def labels(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(inputs[self.from_field]) if self.from_field else tuple(self.options)


def _no_answer_words() -> Words:
    return {"en": "unanswerable", "zh": "无法回答"}


@frozen(kw_only=True)
class Span:
    """A stretch of the field ``within``. With ``nullable``, "the passage does not say" is an answer too."""

    within: str
    nullable: bool = False
    no_answer: Words = field(factory=_no_answer_words)

    head: ClassVar[str] = "span"
    decoder: ClassVar[str] = "span-text"
    head_decoder: ClassVar[str] = "span"
    metrics: ClassVar[tuple[str, ...]] = ("squad-em", "squad-f1")

    def check(self, answer: Answer, inputs: Mapping[str, Any]) -> None:
        if not isinstance(answer, SpanAnswer):
            what = f"the answer is {answer!r}, not a span"
            raise DataError(what, rule="answer-type", field="answer", fix="give its text and where it starts")
        if answer == NO_ANSWER:
            if not self.nullable:
                fix = "give an answer, or use a task whose span is nullable"
                what = "the row has no answer, and its task wants one"
                raise DataError(what, rule="answer-empty", field="answer", fix=fix)
            return
        passage = inputs[self.within]
        if not answer.text or passage[answer.start : answer.end] != answer.text or answer.start < 0:
            found = passage.find(answer.text) if answer.text else -1
            raise DataError(
                f'the answer "{answer.text[:80]}" does not stand at character {answer.start} of {self.within}',
                rule="answer-misaligned" if found >= 0 else "answer-not-in-passage",
                field="answer",
                fix=f"its text stands at {found}" if found >= 0 else f"give an answer that stands in {self.within}",
            )
        if self.nullable and answer.text.strip().casefold() in map(str.casefold, self.no_answer.values()):
            raise DataError(
                f'the answer "{answer.text}" is how the task says that there is no answer',
                rule="answer-ambiguous",
                field="answer",
                fix="take the row out, or give the task's Span other words for no_answer",
            )

    def equal(self, one: Answer, other: Answer) -> bool:
        if not (isinstance(one, SpanAnswer) and isinstance(other, SpanAnswer)):
            return False
        return one.text.strip() == other.text.strip()

    def words(self, answer: Answer, language: str) -> str:
        if answer == NO_ANSWER:
            return self.no_answer.get(language, self.no_answer["en"])
        return answer.text if isinstance(answer, SpanAnswer) else str(answer)

    def labels(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        return ()


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _no_entity_words() -> Words:
    return {"en": "none", "zh": "无"}


@frozen
class Tags:
    """A tag for each token of the field ``within``, in the IOB2 scheme; as text, one entity a line.

    Args:
        options: The types of entities: a list, or a mapping of each type to its words in each language. A type
            without words in a language is its own words there.
        from_field: The list-valued field that holds the types of each row's data. ``options`` then only give
            words to those that are well known.
        within: The list-valued field that holds the tokens.
        text: The field that holds the sentence as running text, if there is one: white space aside the same as the
            tokens. Entities are then written as they stand there.
        none: What a model writes where there is no entity.

    >>> tags = Tags({"PER": {"en": "person", "zh": "人名"}, "LOC": {"en": "place", "zh": "地名"}})
    >>> tokens = ["Ada", "Lovelace", "saw", "Paris", ",", "Paris"]
    >>> answer = ("B-PER", "I-PER", "O", "O", "O", "B-LOC")
    >>> print(tags.words(answer, "en", {"tokens": tokens}))
    person: Ada Lovelace
    place: Paris (#2)
    """

    options: Mapping[str, Words] = field(factory=dict, converter=_label_words)
    from_field: str | None = field(default=None, kw_only=True)
    within: str = field(default="tokens", kw_only=True)
    text: str | None = field(default=None, kw_only=True)
    none: Words = field(factory=_no_entity_words, kw_only=True)

    head: ClassVar[str] = "tags"
    decoder: ClassVar[str] = "tags-text"
    head_decoder: ClassVar[str] = "tags"
    metrics: ClassVar[tuple[str, ...]] = ("entity-f1",)

    def __attrs_post_init__(self) -> None:
        if not self.options and self.from_field is None:
            raise ConfigError("Tags take the types of entities, or from_field")
        for word in {word for label, words in self.options.items() for word in (label, *words.values())}:
            if problem := self._unreadable(word):
                raise ConfigError(f'the type "{word}" of Tags {problem}')

    def _unreadable(self, word: Any) -> str:
        """Return why a model's line could not be read if ``word`` stood for a type in it; empty where it could."""
        if not isinstance(word, str) or not word or word != " ".join(word.split()):
            return "is no text on one line"
        if ": " in word or "：" in word:
            return "has a colon in it, which stands between a type and its entity"
        taken = word.casefold() in {words.casefold() for words in self.none.values()}
        return "is how the task says that there is none" if taken else ""

    def types(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the types of entities that a row may have, in their order."""
        return tuple(inputs[self.from_field]) if self.from_field else tuple(self.options)

    def tags(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return every tag that a row's tokens may have: ``O``, then ``B-`` and ``I-`` of each type."""
        return ("O", *(f"{mark}-{label}" for label in self.types(inputs) for mark in "BI"))

    def type_words(self, inputs: Mapping[str, Any], language: str) -> dict[str, str]:
        """Return the words of each type that a row may have; where two would be alike, each type is its own words."""
        types = self.types(inputs)
        found = {label: self.options.get(label, {}).get(language, label) for label in types}
        return found if len({word.casefold() for word in found.values()}) == len(found) else {one: one for one in types}

    def check(self, answer: Answer, inputs: Mapping[str, Any]) -> None:
        tokens = inputs[self.within]
        self._check_inputs(tokens, inputs)
        if not isinstance(answer, tuple) or len(answer) != len(tokens):
            what = f"there are {len(tokens)} tokens and not as many tags"
            raise DataError(what, rule="tags-length", field="answer", fix="give one tag for each token")
        known, before = frozenset(self.tags(inputs)), "O"
        for tag in answer:
            if tag not in known:
                fix = f"use O, or B- or I- and one of: {', '.join(self.types(inputs)[:10])}"
                raise DataError(f'the tag "{tag}" is not known', rule="label-unknown", field="answer", fix=fix)
            if tag[0] == "I" and before[1:] != tag[1:]:
                fix = f'let the entity begin with "B{tag[1:]}"'
                raise DataError(f'"{tag}" follows "{before}"', rule="tags-transition", field="answer", fix=fix)
            before = tag

    def _check_inputs(self, tokens: Any, inputs: Mapping[str, Any]) -> None:
        for token in tokens or ("",):
            if not isinstance(token, str) or not token.strip():
                what, fix = f"a token is {token!r}, not a text", "give every token, and leave out white space"
                raise DataError(what, rule="token-empty", field=self.within, fix=fix)
        for label in inputs[self.from_field] if self.from_field else ():
            if problem := self._unreadable(label):
                what = f"the type {label!r} {problem}"
                raise DataError(what, rule="type-unreadable", field=self.from_field, fix="rename the type")
        types = self.types(inputs)
        if len(set(types)) != len(types):
            raise DataError("a type is listed twice", rule="type-unreadable", field=self.from_field, fix="list it once")
        running = inputs.get(self.text) if self.text else None
        if running and slices(tokens, running) is None:
            fix = "give the tokens of this very text, or no text"
            raise DataError("the text is not that of the tokens", rule="tokens-not-of-text", field=self.text, fix=fix)

    def equal(self, one: Answer, other: Answer) -> bool:
        return one == other

    def words(self, answer: Answer, language: str, inputs: Mapping[str, Any] | None = None) -> str:
        """Return the entities, one a line. Without the row's inputs there is no text to take them from: then the tags.

        Raises:
            DataError: Tokens, types or tags are not well formed.
        """
        if inputs is None or not isinstance(answer, tuple):
            return " ".join(answer) if isinstance(answer, tuple) else str(answer)
        self.check(answer, inputs)
        found = entities(answer)
        if not found:
            return self.none.get(language, self.none["en"])
        text = inputs.get(self.text) if self.text else None
        words = self.type_words(inputs, language)
        return write_entities(found, inputs[self.within], text=text, words=words, language=language)

    def labels(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        return ()


def _one_of_relevances(ranking: Any, attribute: Any, value: Any) -> None:
    if value not in ("order", "set"):
        raise ConfigError(f'the relevance of a Ranking is "order" or "set", not {value!r}')


@frozen(kw_only=True)
class Ranking:
    """Some of the items of the field ``from_field``, best first.

    An answer need not list every item: what it leaves out is of no relevance. A model writes one item a line.

    Args:
        from_field: The list-valued field that holds a row's items.
        relevance: How an answer grades the items. ``order``: the last one listed has grade 1, the one before it
            2, and so on up to the first. ``set``: every one listed has grade 1, and their order says nothing.

    >>> Ranking(from_field="books").grades(("Emma", "Dune"), ["Dune", "Ulysses", "Emma"])
    (1.0, 0.0, 2.0)
    """

    from_field: str
    relevance: str = field(default="order", validator=_one_of_relevances)

    head: ClassVar[str] = "ranking"
    decoder: ClassVar[str] = "ranking-text"
    head_decoder: ClassVar[str] = "ranking"
    metrics: ClassVar[tuple[str, ...]] = ("ndcg", "mrr", "hit-at-1", "hit-at-5", "hit-at-10")

    def check(self, answer: Answer, inputs: Mapping[str, Any]) -> None:
        items = inputs[self.from_field]
        self._check_items(items)
        if not isinstance(answer, tuple) or not answer:
            what = f"the answer is {answer!r}, not a list of items"
            raise DataError(what, rule="answer-type", field="answer", fix="give some of the items, best first")
        known, seen = set(items), set()
        for item in answer:
            if item not in known or item in seen:
                what = "stands twice in the answer" if item in seen else f"is not one of the {len(items)} items"
                fix = f'give some of the items of "{self.from_field}", each once, letter for letter'
                raise DataError(f'"{str(item)[:80]}" {what}', rule="ranking-items", field="answer", fix=fix)
            seen.add(item)

    def _check_items(self, items: Iterable[Any]) -> None:
        """Refuse items that could not be told apart where each stands on a line of its own."""
        lines: dict[str, str] = {}
        for item in items:
            line = _one_line(item) if isinstance(item, str) else ""
            if not line:
                what = f"an item is {item!r}, not a text"
                raise DataError(what, rule="ranking-item", field=self.from_field, fix="give each item a name")
            if line in lines:
                what = f'"{line[:80]}" stands twice among the items'
                fix = "list each item once; two that differ in spaces alone are one"
                raise DataError(what, rule="ranking-alike", field=self.from_field, fix=fix)
            lines[line] = item

    def equal(self, one: Answer, other: Answer) -> bool:
        """Tell whether two answers agree as far as both go: the shorter is the beginning of the longer.

        A model head orders all of a row's items, and is right where it begins with those that the row lists.
        """
        if not (isinstance(one, tuple) and isinstance(other, tuple)):
            return False
        short, long = sorted((one, other), key=len)
        begun = long[: len(short)]
        return bool(short) and (set(short) == set(begun) if self.relevance == "set" else short == begun)

    def grades(self, answer: Answer, items: Iterable[str]) -> tuple[float, ...]:
        """Return how relevant each of ``items`` is by ``answer``; 0 for one that it does not list."""
        listed = answer if isinstance(answer, tuple) else ()
        grade = {
            item: 1.0 if self.relevance == "set" else float(len(listed) - place) for place, item in enumerate(listed)
        }
        return tuple(grade.get(item, 0.0) for item in items)

    def words(self, answer: Answer, language: str) -> str:
        return "\n".join(map(_one_line, answer)) if isinstance(answer, tuple) else _one_line(str(answer))

    def labels(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(inputs[self.from_field])


def _one_line(item: str) -> str:
    """Return an item with every run of spaces and line breaks as one space.

    >>> _one_line(" War\\nand  Peace ")
    'War and Peace'
    """
    return " ".join(item.split())


@frozen
class Field:
    """One input of a task.

    Args:
        summary: What it holds, in a few words.
        kind: ``text``, ``list`` (of texts), ``turns`` (chat messages, each with role and content), ``tools``
            (schemas of tools that the assistant may call; they reach the chat template by themselves) or
            ``value`` (a column as it stands: any JSON value).
        optional: Whether a row may lack it; templates then see an empty text or list.
    """

    summary: str
    kind: str = field(default="text", kw_only=True)
    optional: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.kind not in ("text", "list", "turns", "tools", "value"):
            raise ConfigError(f'a field\'s kind is text, list, turns, tools or value, not "{self.kind}"')

    @property
    def empty(self) -> Any:
        return "" if self.kind in ("text", "value") else []


@frozen
class Sample:
    """A worked example that a task ships: for the conformance check, the docs and few-shot prompts."""

    language: str
    inputs: Mapping[str, Any]
    answer: Answer

    def to_example(self, number: int) -> Example:
        """Return the sample as an ``Example`` with an id of its own."""
        return Example(
            inputs=self.inputs,
            answers=(self.answer,),
            id=f"sample-{self.language}-{number}",
            origin=Origin("samples", number),
            language=self.language,
        )


def read_samples(path: Path) -> tuple[Sample, ...]:
    """Return the samples of a JSONL file: on each line ``language``, ``inputs`` and ``answer``.

    A span is written as an object with ``text`` and ``start``; "the passage does not say" is a start of -1.

    Raises:
        DataError: A line is not of that form; the message names it.
    """
    samples = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                value = json.loads(line)
                answer = answer_from_json(value["answer"])
                if answer is None:
                    raise ValueError("its answer is null")
                samples.append(Sample(value["language"], value["inputs"], answer))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}:{number}: not a sample: {error!r}\n"
                    "A line is an object with language, inputs and answer.\n"
                    "Mend the line.",
                    rule="sample",
                    origin=Origin(str(path), number),
                ) from None
    return tuple(samples)


def _samples(value: Iterable[Sample]) -> tuple[Sample, ...]:
    return tuple(value)


def _fields(value: Mapping[str, Field | str]) -> dict[str, Field]:
    return {name: Field(part) if isinstance(part, str) else part for name, part in value.items()}


@frozen
class Task:
    """A task, whole: what goes in, what comes out, and the names of the parts that serve it.

    Args:
        name: Lower case, with hyphens.
        summary: One line, for listings.
        fields: The inputs in their declared order (the order in which encoder models read them).
        target: What an answer is.
        normalizers: Names of the normalizers that read raw data for it.
        decoder: Name of the decoder for generated text; the target's own by default.
        trainer: Name of the trainer; chosen by the model's family and the target's head by default.
        metrics: Names of its metrics; the target's own by default.
        samples: Worked examples in each of its languages.
    """

    name: str
    summary: str = field(kw_only=True)
    fields: Mapping[str, Field] = field(kw_only=True, converter=_fields)
    target: Target = field(kw_only=True)
    normalizers: tuple[str, ...] = field(default=(), kw_only=True, converter=_names)
    decoder: str | None = field(default=None, kw_only=True)
    trainer: str | None = field(default=None, kw_only=True)
    metrics: tuple[str, ...] = field(default=(), kw_only=True, converter=_names)
    samples: tuple[Sample, ...] = field(default=(), kw_only=True, converter=_samples)

    @property
    def decoder_name(self) -> str:
        return self.decoder or self.target.decoder

    @property
    def metric_names(self) -> tuple[str, ...]:
        return self.metrics or self.target.metrics

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(sorted({sample.language for sample in self.samples}))

    def check(self, example: Example) -> None:
        """Raise ``DataError`` unless ``example`` has the task's fields and well-formed answers."""
        for name, part in self.fields.items():
            value = example.inputs.get(name)
            if value is None or (part.kind == "text" and isinstance(value, str) and not value.strip()):
                if not part.optional:
                    fix = f"fill it, or map another column to it: {name}=COLUMN"
                    raise DataError(f'"{name}" is missing or empty', rule="field-missing", field=name, fix=fix)
            elif part.kind != "value" and not isinstance(value, str if part.kind == "text" else (list, tuple)):
                what = f'"{name}" is {type(value).__name__}, not {part.kind}'
                raise DataError(what, rule="field-type", field=name, fix=f"give a {part.kind}")
        for answer in example.answers:
            self.target.check(answer, example.inputs)

    def complete(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the task's fields of ``inputs``, optional ones filled with their empty value."""
        return {name: part.empty if inputs.get(name) is None else inputs[name] for name, part in self.fields.items()}
