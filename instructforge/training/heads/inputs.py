"""The texts of a row as a choice head reads them, in token ids: ``[CLS] premise [SEP] hypothesis [SEP]``.

The marks between texts are those that the tokenizer itself puts around a pair. What looks like such a mark in
the data stays text. The same reader serves training and prediction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from attrs import frozen

from instructforge.data import Instruction
from instructforge.encoding.fields import field_text
from instructforge.encoding.windows import PairMarks
from instructforge.tasks import Ranking
from instructforge.training.heads.modules import MatchRow
from instructforge.training.heads.plan import ChoicePlan
from instructforge.training.heads.ranking import shares
from instructforge.training.heads.several import marks_of

__all__ = ["ChoiceItem", "ChoiceReader", "Ids", "join_texts", "pad", "sentences"]

Ids = tuple[int, ...]

_SENTENCE_END: Final = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；…])\s*|\n+")


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, English or Chinese, by their closing marks.

    >>> sentences("It rained. We left! 天晴了。我们走。")
    ['It rained.', 'We left!', '天晴了。', '我们走。']
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def _plain_ids(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    if not texts:
        return []
    found = tokenizer(list(texts), add_special_tokens=False, truncation=False, split_special_tokens=True, verbose=False)
    return [tuple(ids) for ids in found["input_ids"]]


def join_texts(marks: PairMarks, texts: Sequence[Ids], longest: int) -> tuple[Ids, tuple[tuple[int, int], ...], int]:
    """Return the ids of texts with marks around and between, where each stands, and how many tokens were cut.

    What is too long loses the ends of its longest texts.

    >>> marks = PairMarks((101,), (102,), (102,), None)
    >>> join_texts(marks, [(7, 8, 9), (5,)], 6)
    ((101, 7, 8, 102, 5, 102), ((1, 3), (4, 5)), 1)
    """
    around = len(marks.before) + len(marks.behind) + len(marks.between) * max(0, len(texts) - 1)
    room = max(0, longest - around)
    limit = _water_level([len(text) for text in texts], room)
    ids: list[int] = list(marks.before)
    parts = []
    for number, text in enumerate(texts):
        kept = text[: min(limit, room)]
        room -= len(kept)
        if number:
            ids.extend(marks.between)
        parts.append((len(ids), len(ids) + len(kept)))
        ids.extend(kept)
    ids.extend(marks.behind)
    return tuple(ids), tuple(parts), sum(map(len, texts)) - sum(end - start for start, end in parts)


def _water_level(lengths: Sequence[int], room: int) -> int:
    """Return the length to which the longest have to be cut so that all fit into ``room``.

    >>> _water_level([10, 2, 7], 12)
    5
    """
    left = len(lengths)
    for length in sorted(lengths):
        if length * left > room:
            return -(-room // left)  # rounded up: the last to come gets what is left
        room -= length
        left -= 1
    return max(lengths, default=0)


@frozen(kw_only=True)
class ChoiceItem:
    """A row, ready for a choice head.

    Attributes:
        id: The example's id.
        texts: Token ids, marks included: one sequence; for ``contrast`` two, for ``match`` one for each of the
            row's texts.
        parts: For one sequence: where each field stands in it.
        row: For ``match``: which of ``texts`` is what.
        label: Place of the right label: in the head's order, for ``match`` in the row's own; -1 where unlabelled.
            For ``several``: 0 where labelled. Of a ranking, the place of the best item.
        marks: For ``several``: the places of the right labels, in the head's order.
        grades: For rankings: how relevant each of the row's items is.
        cut: Tokens that did not fit.
    """

    id: str
    texts: tuple[Ids, ...]
    parts: tuple[tuple[int, int], ...] = ()
    row: MatchRow | None = None
    label: int = -1
    marks: tuple[int, ...] = ()
    grades: tuple[float, ...] = ()
    cut: int = 0

    @property
    def length(self) -> int:
        """Tokens that the body reads for this row."""
        return sum(map(len, self.texts))


class ChoiceReader:
    """Turns rows into items, and items into batches, under one plan and one tokenizer.

    Args:
        tokenizer: The model's.
        plan: How choices are answered.
        max_length: Tokens of one sequence at most.
    """

    def __init__(self, tokenizer: Any, plan: ChoicePlan, *, max_length: int) -> None:
        self.tokenizer, self.plan, self.max_length = tokenizer, plan, max_length
        self.marks = PairMarks.of(tokenizer)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._places = {label: place for place, label in enumerate(plan.labels)}

    def read(self, rows: Sequence[Instruction]) -> list[ChoiceItem]:
        """Return the items of rows, in order."""
        make = {"match": self._match_items, "contrast": self._contrast_items}.get(self.plan.kind, self._joined_items)
        return list(make(rows))

    def _marks(self, row: Instruction) -> tuple[int, ...] | None:
        """Return the places of a row's labels; None where it is unlabelled, or has a label that the head has not."""
        answer = row.example.answers[0] if row.example.answers else None
        places = [self._places.get(str(label)) for label in answer] if isinstance(answer, tuple) else [None]
        known = tuple(sorted(place for place in places if place is not None))
        return known if len(known) == len(places) else None

    def _label(self, row: Instruction) -> int:
        return self._places.get(str(row.example.answers[0]), -1) if row.example.answers else -1

    def _contrast_items(self, rows: Sequence[Instruction]) -> Iterator[ChoiceItem]:
        texts = [field_text(row.example.inputs.get(name)) for row in rows for name in self.plan.fields]
        joined = [join_texts(self.marks, [ids], self.max_length) for ids in _plain_ids(self.tokenizer, texts)]
        for row, one, two in zip(rows, joined[::2], joined[1::2], strict=True):
            yield ChoiceItem(id=row.id, texts=(one[0], two[0]), label=self._label(row), cut=one[2] + two[2])

    def _joined_items(self, rows: Sequence[Instruction]) -> Iterator[ChoiceItem]:
        names = self.plan.fields
        texts = [field_text(row.example.inputs.get(name)) for row in rows for name in names]
        ids = _plain_ids(self.tokenizer, texts)
        for number, row in enumerate(rows):
            own = ids[number * len(names) : (number + 1) * len(names)]
            # A pair keeps both its places; elsewhere an empty field would only add a mark.
            kept = own if self.plan.kind == "pair" else [text for text in own if text] or [()]
            joined, parts, cut = join_texts(self.marks, kept, self.max_length)
            if self.plan.kind == "several":
                marks = self._marks(row)
                label = -1 if marks is None else 0
                yield ChoiceItem(id=row.id, texts=(joined,), parts=parts, label=label, marks=marks or (), cut=cut)
            else:
                yield ChoiceItem(id=row.id, texts=(joined,), parts=parts, label=self._label(row), cut=cut)

    def _match_items(self, rows: Sequence[Instruction]) -> Iterator[ChoiceItem]:
        described = [self._match_texts(row) for row in rows]
        ids = iter(_plain_ids(self.tokenizer, [text for texts, _ in described for text in texts]))
        for row, (texts, place) in zip(rows, described, strict=True):
            joined = [join_texts(self.marks, [next(ids)], self.max_length) for _ in texts]
            label, grades = self._match_label(row)
            yield ChoiceItem(
                id=row.id,
                texts=tuple(own for own, _, _ in joined),
                row=place,
                label=label,
                grades=grades,
                cut=sum(cut for _, _, cut in joined),
            )

    def _match_label(self, row: Instruction) -> tuple[int, tuple[float, ...]]:
        """Return the place of the right label among the row's own, and for rankings the grade of each."""
        if not row.example.answers:
            return -1, ()
        answer = row.example.answers[0]
        if not self.plan.relevance:
            return (row.labels.index(str(answer)) if answer in row.labels else -1), ()
        grades = Ranking(from_field="", relevance=self.plan.relevance).grades(answer, row.labels)
        return (grades.index(max(grades)) if any(grades) else -1), grades

    def _match_texts(self, row: Instruction) -> tuple[list[str], MatchRow]:
        inputs, passage_field = row.example.inputs, self.plan.passage
        others = [field_text(inputs.get(name)) for name in self.plan.fields if name != passage_field]
        question = "\n".join(text for text in others if text.strip())
        passage = field_text(inputs.get(passage_field)) if passage_field else ""
        texts = [question, *row.labels]
        count = len(row.labels)
        choices = tuple(range(1, 1 + count))
        value = inputs.get(passage_field) if passage_field else None
        listed = bool(self.plan.relevance) and isinstance(value, (list, tuple))
        parts = [text for text in map(field_text, value or ()) if text.strip()] if listed else sentences(passage)
        if not parts:
            return texts, MatchRow(question=0, choices=choices)
        joined = tuple(range(1 + count, 1 + 2 * count))
        texts.extend(f"{question} {label}" for label in row.labels)
        found = tuple(range(len(texts), len(texts) + len(parts)))
        texts.extend([*parts, passage, f"{question} {passage}"])
        end = found[-1]
        return texts, MatchRow(
            question=0, choices=choices, joined=joined, sentences=found, passage=end + 1, whole=end + 2
        )

    # --- batches --------------------------------------------------------------------------------------

    def collate(self, items: Sequence[ChoiceItem]) -> dict[str, Any]:
        """Return a batch of items: their sequences padded to the longest, and what the head needs beside.

        Shapes:
            input_ids, attention_mask, token_type_ids, first_mask, second_mask: (B, T); for ``contrast`` (2B, T),
            all first texts before all second ones; for ``match`` (N, T), with N different texts. labels: (B,); for
            ``several`` (B, L), 1.0 where a label is right; for rankings the shares of a row's items, a (C,) for each.
        """
        if self.plan.relevance:
            return {**self._collate_match(items), "labels": [shares(item.grades or (1.0,)) for item in items]}
        labels = self.targets(items)
        if self.plan.kind == "match":
            return {**self._collate_match(items), "labels": labels}
        if self.plan.kind == "contrast":
            texts = [item.texts[side] for side in (0, 1) for item in items]
            return {**self.pad_texts(texts), "labels": labels}
        batch = pad([item.texts[0] for item in items], self._pad)
        if self.marks.types is not None:
            batch["token_type_ids"] = _marked(batch["input_ids"], [self._second_half(item) for item in items])
        if self.plan.kind == "pair":
            batch["first_mask"] = _marked(batch["input_ids"], [item.parts[0] for item in items])
            batch["second_mask"] = _marked(batch["input_ids"], [item.parts[1] for item in items])
        return {**batch, "labels": labels}

    def targets(self, items: Sequence[ChoiceItem]) -> torch.Tensor:
        """Return what the head is trained towards. Shapes: (B,) of places; for ``several`` (B, L) of marks."""
        if self.plan.kind == "several":
            return marks_of((item.marks for item in items), len(self.plan.labels))
        return torch.tensor([item.label for item in items])

    def _second_half(self, item: ChoiceItem) -> tuple[int, int]:
        """Return where the texts after the first stand, closing marks included, as tokenizers type a pair."""
        return (item.parts[1][0], len(item.texts[0])) if len(item.parts) > 1 else (0, 0)

    def _collate_match(self, items: Sequence[ChoiceItem]) -> dict[str, Any]:
        places: dict[Ids, int] = {}
        rows = []
        for item in items:
            at = [places.setdefault(text, len(places)) for text in item.texts]
            assert item.row is not None
            rows.append(item.row.moved(at))
        batch: dict[str, Any] = self.pad_texts(list(places))
        return {**batch, "rows": rows}

    def pad_texts(self, texts: Sequence[Ids]) -> dict[str, torch.Tensor]:
        """Return single texts as a batch."""
        batch = pad(texts, self._pad)
        if self.marks.types is not None:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
        return batch


def pad(texts: Sequence[Sequence[int]], pad_id: int) -> dict[str, torch.Tensor]:
    """Return ``input_ids`` and ``attention_mask``, padded on the right to the longest. Shapes: (B, T)."""
    longest = max(map(len, texts))
    ids = torch.full((len(texts), longest), pad_id)
    mask = torch.zeros((len(texts), longest), dtype=torch.long)
    for number, text in enumerate(texts):
        ids[number, : len(text)] = torch.tensor(text)
        mask[number, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _marked(like: torch.Tensor, stretches: Sequence[tuple[int, int]]) -> torch.Tensor:
    marked = torch.zeros_like(like)
    for number, (start, end) in enumerate(stretches):
        marked[number, start:end] = 1
    return marked
