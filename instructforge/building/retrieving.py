"""Retrieval in a build: a field that a row lacks is filled with what a corpus has on it.

The corpus is indexed once, beside the build's state; workers open the index. A row that has the field keeps it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from instructforge.data import NO_ANSWER, Answer, Example, SpanAnswer
from instructforge.errors import ConfigError, DataError, did_you_mean, printable
from instructforge.files import sha256_of
from instructforge.metrics.base import UNSPACED
from instructforge.tasks import Span, Task, Text

if TYPE_CHECKING:
    from instructforge.building.ledger import SourceTally
    from instructforge.building.settings import Retrieve
    from instructforge.components import PassageIndex, Retriever
    from instructforge.plugins import Forge
    from instructforge.retrieval import Corpus

__all__ = ["Filler", "make_filler", "retrieval_figures", "said_of_retrieval"]

RETRIEVED, FOUND, ADDED = "retrieved", "answer-among-retrieved", "answer-added-to-retrieved"
MISSED = "answer-not-in-retrieved"
"""Notes: a field was filled; the gold answer is among what was found; it was not, and was put there; it is not, and
the row's free text stands without it."""

NOTHING, NOT_THERE = "nothing-retrieved", "answer-not-retrieved"
"""Rules of rows that are quarantined: nothing was found; the gold span does not stand in what was found."""

_PASSAGES = "passages.json"


@frozen(slots=False)
class Filler:
    """Fills a field of examples; picklable, it opens its index where it is used first.

    Attributes:
        task: The task.
        asked: What is retrieved.
        into: The field to fill.
        query: The field to ask with.
        retriever: Finds passages.
        folder: Where the index and the passages lie.
        corpus: The passages, until they are indexed; workers read them from the folder.
        sha256: Of the passages and what they are found by.
    """

    task: Task
    asked: Retrieve
    into: str
    query: str
    retriever: Retriever
    folder: Path
    sha256: str
    corpus: Corpus | None = field(default=None, eq=False)

    def prepare(self) -> list[str]:
        """Index the corpus where that is not done yet; return what there is to say of it."""
        corpus, name = self.corpus, self.asked.corpus.name
        done = self.folder / "complete"
        if corpus is None:
            return []
        if not done.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.retriever.build(corpus.keys, self.folder)
            passages = json.dumps(corpus.passages, ensure_ascii=False)
            (self.folder / _PASSAGES).write_text(passages, encoding="utf-8")
            done.write_text(self.retriever.name, encoding="utf-8")
        said = [f"{name}: {len(corpus.passages)} passages to retrieve from, by {self.retriever.name}"]
        said += [f"{name}: {corpus.left_out} records hold no passage"] if corpus.left_out else []
        return said + ([f"{name}: {corpus.repeated} passages stand twice"] if corpus.repeated else [])

    def fill(self, example: Example) -> Example:
        """Return ``example`` with the field filled, if it lacks it.

        Raises:
            DataError: Nothing is found for it, or its answer does not stand in what is.
        """
        name = self.into
        if example.inputs.get(name):
            return example
        query = _query(example.inputs.get(self.query))
        if not query.strip():
            return example  # the check of its fields says what is wrong
        found = [self._passages[hit.place] for hit in self._index.search(query, self.asked.count)]
        if not found:
            what = f'no passage of "{printable(self.asked.corpus.name)}" shares a word with "{printable(query, 80)}"'
            raise DataError(what, rule=NOTHING, field=name, fix="add a passage, or fill the field yourself")
        if self.task.fields[name].kind == "list":
            return self._with_list(example, found)
        return self._with_text(example, "\n\n".join(found))

    def _with_text(self, example: Example, passage: str) -> Example:
        target = self.task.target
        answers = example.answers
        notes = [*example.notes, RETRIEVED]
        if isinstance(target, Span) and target.within == self.into:
            answers = self._placed(answers, passage)
            notes += [FOUND] if any(answer != NO_ANSWER for answer in answers) else []
        elif answers and (isinstance(target, Text) or getattr(target, "from_field", None)):
            notes.append(FOUND if any(_place(answer, passage) for answer in answers) else MISSED)
        inputs = {**example.inputs, self.into: passage}
        return evolve(example, inputs=inputs, answers=answers, notes=tuple(notes))

    def _placed(self, answers: tuple[Answer, ...], passage: str) -> tuple[Answer, ...]:
        """Return those of the gold spans that stand in what was retrieved, where they stand."""
        found = {answer: answer if answer == NO_ANSWER else _place(answer, passage) for answer in answers}
        placed = tuple(dict.fromkeys(place for place in found.values() if place))
        if answers and not placed:
            gold = " | ".join(printable(_text_of(answer), 80) for answer in answers[:3])
            raise DataError(
                f'the answer "{gold}" does not stand in the {self.asked.count} passages retrieved',
                rule=NOT_THERE,
                field=self.into,
                fix="retrieve more passages (data.retrieve.count), or give the passage yourself",
            )
        return placed

    def _with_list(self, example: Example, found: list[str]) -> Example:
        """Return the example with its candidates; a gold answer that is not among them takes the last one's place.

        Where it comes to stand is a matter of its text, so that its place tells nothing.
        """
        notes = [*example.notes, RETRIEVED]
        chosen = getattr(self.task.target, "from_field", None) == self.into
        gold = [answer for answer in example.answers if isinstance(answer, str)]
        if chosen and any(answer in found for answer in gold):
            notes.append(FOUND)
        elif gold and chosen:
            found = [*found[: self.asked.count - 1], gold[0]]
            notes.append(ADDED)
        if chosen:
            found = sorted(found, key=lambda text: sha256_of([example.inputs.get(self.query), text]))
        if gold and chosen:
            example = evolve(example, answers=tuple(answer for answer in example.answers if answer in found))
        return evolve(example, inputs={**example.inputs, self.into: found}, notes=tuple(notes))

    @cached_property
    def _index(self) -> PassageIndex:
        return self.retriever.open(self.folder)

    @cached_property
    def _passages(self) -> list[str]:
        passages: list[str] = json.loads((self.folder / _PASSAGES).read_text(encoding="utf-8"))
        return passages

    def __getstate__(self) -> dict[str, Any]:
        kept = ("task", "asked", "into", "query", "retriever", "folder", "sha256")
        return {name: self.__dict__[name] for name in kept} | {"corpus": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def identity(self) -> Mapping[str, Any]:
        """Return what decides which passages a row gets."""
        asked = self.asked
        return {
            "corpus": asked.corpus.name,
            "sha256": self.sha256,
            "into": self.into,
            "query": self.query,
            "count": asked.count,
            "retriever": self.retriever.name,
        }


def make_filler(forge: Forge, task: Task, asked: Retrieve, out: Path) -> Filler:
    """Read the corpus, and return what fills rows from it, once it is prepared.

    Raises:
        ConfigError: The field to fill or to ask with is none of the task's, or there is no such retriever.
        DataError: The corpus cannot be read.
    """
    from instructforge.retrieval import read_corpus

    query = _field_to_ask_with(task) if asked.query is None else asked.query
    into = _field_to_fill(task, query) if asked.into is None else asked.into
    problems = [
        f'retrieve.{key}: "{printable(name, 60)}" is no field of {task.name}. {did_you_mean(name, task.fields)}'
        for key, name in (("into", into), ("query", query))
        if name not in task.fields
    ]
    if into in task.fields and task.fields[into].kind not in ("text", "list"):
        problems.append(f'retrieve.into: "{into}" holds {task.fields[into].kind}; passages go into a text or a list')
    if problems:
        raise ConfigError(problems)
    retriever = forge.retrievers.get(asked.retriever)
    corpus = read_corpus(asked.corpus, forge.readers, text=asked.text, key=asked.key, reader=asked.reader)
    folder = out / ".build" / f"corpus-{corpus.sha256[:16]}"
    return Filler(task, asked, into, query, retriever, folder, corpus.sha256, corpus)


# --- Which fields -------------------------------------------------------------------------------------


def _field_to_ask_with(task: Task) -> str:
    """Return ``question``, else the first text that a row must have, else its first chat turns.

    Raises:
        ConfigError: The task has no such field.
    """
    texts = [name for name, part in task.fields.items() if part.kind == "text" and not part.optional]
    turns = [name for name, part in task.fields.items() if part.kind == "turns"]
    chosen = getattr(task.target, "within", None)
    found = [name for name in ("question",) if name in task.fields] + [name for name in texts if name != chosen] + turns
    if not found:
        raise ConfigError(_nothing_fits(task, "query", "no text to ask with"))
    return found[0]


def _field_to_fill(task: Task, query: str) -> str:
    """Return the field that passages go into, where the recipe does not name it.

    Raises:
        ConfigError: It cannot be told.
    """
    named = [getattr(task.target, "within", None), "context", getattr(task.target, "from_field", None)]
    open_lists = [name for name, part in task.fields.items() if part.kind == "list" and part.optional]
    named += open_lists if len(open_lists) == 1 else []
    fields = task.fields
    found = [name for name in named if name and name in fields and name != query and fields[name].kind in _FILLED]
    if not found:
        raise ConfigError(_nothing_fits(task, "into", "no one field that passages belong into"))
    return str(found[0])


_FILLED = ("text", "list")


def _nothing_fits(task: Task, key: str, what: str) -> str:
    return (
        f'the task "{task.name}" has {what}.\nIts fields are: {", ".join(task.fields)}.\n'
        f"Name one: --set data.retrieve.{key}=FIELD"
    )


def _query(value: Any) -> str:
    """Return what is asked: a text, or the last thing that the user says."""
    if isinstance(value, (list, tuple)):
        said = (turn.get("content") for turn in value if isinstance(turn, Mapping) and turn.get("role") == "user")
        return next((text for text in reversed(list(said)) if isinstance(text, str)), "")
    return value if isinstance(value, str) else ""


# --- Gold answers -------------------------------------------------------------------------------------

_PART_OF_WORD = re.compile(rf"[^\W_{UNSPACED}]\Z")


def _text_of(answer: Answer) -> str:
    """Return the text of a gold answer."""
    return str(getattr(answer, "text", answer))


def _place(answer: Answer, passage: str) -> SpanAnswer | None:
    """Return where an answer stands in a passage: as whole words, as it is written, else in other cases of letters.

    >>> _place("nine", "Canines are fed at Nine.")
    SpanAnswer(text='Nine', start=19)
    """
    text = _text_of(answer)
    if not text.strip():
        return None
    for flags in (0, re.IGNORECASE):
        for found in re.finditer(re.escape(text), passage, flags):
            if not (_splits_word(passage, found.start()) or _splits_word(passage, found.end())):
                return SpanAnswer(found[0], found.start())
    return None


def _splits_word(passage: str, place: int) -> bool:
    """Tell whether a place has a letter or digit of a spaced script on both sides."""
    beside = passage[max(place - 1, 0) : place], passage[place : place + 1]
    return all(_PART_OF_WORD.match(one) for one in beside)


# --- How well it was retrieved ------------------------------------------------------------------------


def retrieval_figures(filler: Filler, tally: SourceTally) -> dict[str, int]:
    """Return for how many rows with a gold answer it is among the first passages: the recall of retrieval.

    Rows in quarantine count as well: those whose answer does not stand in what was found, or for which nothing was.
    """
    found = tally.notes[FOUND]
    missed = tally.notes[ADDED] + tally.notes[MISSED] + tally.quarantined[NOT_THERE]
    missed += tally.quarantined[NOTHING]
    return {"first": filler.asked.count, "filled": tally.notes[RETRIEVED], "asked": found + missed, "found": found}


def said_of_retrieval(filler: Filler, tally: SourceTally, label: str) -> str:
    """Return the same in words, with what became of the others; nothing where no gold answer was looked for."""
    figures = retrieval_figures(filler, tally)
    asked, found = figures["asked"], figures["found"]
    if not asked or not (found or tally.notes[ADDED] or tally.notes[MISSED] or tally.quarantined[NOT_THERE]):
        return ""
    what = "the gold answer stands, word for word, in" if tally.notes[MISSED] else "the gold answer is among"
    said = f"{label}: {what} the first {figures['first']} for {found} of {asked} rows"
    parts = [
        (tally.notes[ADDED], "it was put there for {}: scores say how well it is chosen once it is there"),
        (tally.notes[MISSED], "{} are built without it"),
        (tally.quarantined[NOT_THERE] + tally.quarantined[NOTHING], "{} are in quarantine, and in no score"),
    ]
    return "; ".join([said, *(text.format(number) for number, text in parts if number)])
