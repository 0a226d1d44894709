"""Retrieval in a build: a field that a row lacks is filled with what a corpus has on it.

The corpus is indexed once, beside the build's state; workers open the index. A row that has the field keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from instructforge.data import NO_ANSWER, Answer, Example, SpanAnswer
from instructforge.errors import ConfigError, DataError, did_you_mean, printable
from instructforge.files import sha256_of
from instructforge.tasks import Span, Task

if TYPE_CHECKING:
    from instructforge.building.settings import Retrieve
    from instructforge.components import PassageIndex, Retriever
    from instructforge.plugins import Forge
    from instructforge.retrieval import Corpus

__all__ = ["Filler", "make_filler"]

RETRIEVED, ADDED = "retrieved", "answer-added-to-retrieved"
"""Notes: a field was filled; the gold answer was not among what was found, and was put there."""

_PASSAGES = "passages.json"


@frozen(slots=False)
class Filler:
    """Fills a field of examples; picklable, it opens its index where it is used first.

    Attributes:
        task: The task.
        asked: What is retrieved, and into which field.
        retriever: Finds passages.
        folder: Where the index and the passages lie.
        corpus: The passages, until they are indexed; workers read them from the folder.
        sha256: Of the passages and what they are found by.
    """

    task: Task
    asked: Retrieve
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
        name = self.asked.into
        if example.inputs.get(name):
            return example
        query = example.inputs.get(self.asked.query)
        if not isinstance(query, str):
            return example  # the check of its fields says what is wrong
        found = [self._passages[hit.place] for hit in self._index.search(query, self.asked.count)]
        if not found:
            what = f'no passage of "{printable(self.asked.corpus.name)}" shares a word with "{printable(query, 80)}"'
            raise DataError(what, rule="nothing-retrieved", field=name, fix="add a passage, or fill the field yourself")
        if self.task.fields[name].kind == "list":
            return self._with_list(example, found)
        return self._with_text(example, "\n\n".join(found))

    def _with_text(self, example: Example, passage: str) -> Example:
        target = self.task.target
        answers = example.answers
        if isinstance(target, Span) and target.within == self.asked.into:
            answers = tuple(self._placed(answer, passage) for answer in answers)
        inputs = {**example.inputs, self.asked.into: passage}
        return evolve(example, inputs=inputs, answers=answers, notes=(*example.notes, RETRIEVED))

    def _placed(self, answer: Answer, passage: str) -> Answer:
        """Return a span where it stands in what was retrieved."""
        text = answer.text if isinstance(answer, SpanAnswer) else answer
        if answer == NO_ANSWER or not isinstance(text, str):
            return answer
        start = passage.find(text)
        if start < 0:
            raise DataError(
                f'the answer "{printable(text, 80)}" does not stand in the {self.asked.count} passages retrieved',
                rule="answer-not-retrieved",
                field=self.asked.into,
                fix="retrieve more passages (data.retrieve.count), or give the passage yourself",
            )
        return SpanAnswer(text, start)

    def _with_list(self, example: Example, found: list[str]) -> Example:
        """Return the example with its candidates; a gold answer that is not among them takes the last one's place.

        Where it comes to stand is a matter of its text, so that its place tells nothing.
        """
        notes = [*example.notes, RETRIEVED]
        chosen = getattr(self.task.target, "from_field", None) == self.asked.into
        gold = [answer for answer in example.answers if isinstance(answer, str)] if chosen else []
        if gold and not any(answer in found for answer in gold):
            found = [*found[: self.asked.count - 1], gold[0]]
            notes.append(ADDED)
        if gold:
            found = sorted(found, key=lambda text: sha256_of([example.inputs.get(self.asked.query), text]))
            example = evolve(example, answers=tuple(answer for answer in example.answers if answer in found))
        return evolve(example, inputs={**example.inputs, self.asked.into: found}, notes=tuple(notes))

    @cached_property
    def _index(self) -> PassageIndex:
        return self.retriever.open(self.folder)

    @cached_property
    def _passages(self) -> list[str]:
        passages: list[str] = json.loads((self.folder / _PASSAGES).read_text(encoding="utf-8"))
        return passages

    def __getstate__(self) -> dict[str, Any]:
        kept = ("task", "asked", "retriever", "folder", "sha256")
        return {name: self.__dict__[name] for name in kept} | {"corpus": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def identity(self) -> Mapping[str, Any]:
        """Return what decides which passages a row gets."""
        asked = self.asked
        return {
            "corpus": asked.corpus.name,
            "sha256": self.sha256,
            "into": asked.into,
            "query": asked.query,
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

    problems = [
        f'retrieve.{key}: "{printable(name, 60)}" is no field of {task.name}. {did_you_mean(name, task.fields)}'
        for key, name in (("into", asked.into), ("query", asked.query))
        if name not in task.fields
    ]
    if asked.into in task.fields and task.fields[asked.into].kind == "turns":
        problems.append(f'retrieve.into: "{asked.into}" holds chat turns; passages go into a text or a list')
    if problems:
        raise ConfigError(problems)
    retriever = forge.retrievers.get(asked.retriever)
    corpus = read_corpus(asked.corpus, forge.readers, text=asked.text, key=asked.key, reader=asked.reader)
    folder = out / ".build" / f"corpus-{corpus.sha256[:16]}"
    return Filler(task, asked, retriever, folder, corpus.sha256, corpus)
