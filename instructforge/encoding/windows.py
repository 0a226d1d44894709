"""Sliding windows over long passages, and where an answer stands in them, for models with a span head.

A question and its passage are tokenised once. Where they do not fit into one sequence, the passage is read in
windows that overlap by ``stride`` tokens, each with the whole question before it.

Source: the windows and labels of BERT on SQuAD 2.0, as published by its authors.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from attrs import define, frozen

from instructforge.data import NO_ANSWER, SpanAnswer
from instructforge.encoding.tokenizers import PieceTokenizer
from instructforge.errors import ConfigError, LengthError, printable

__all__ = ["PairMarks", "SpanWindow", "WindowEncoder", "WindowStats", "trimmed"]


@frozen(kw_only=True)
class SpanWindow:
    """One window of a passage behind its question.

    Attributes:
        row: Place of the row in the batch that was encoded.
        input_ids: ``[CLS] question [SEP] passage [SEP]``, as the tokenizer writes a pair.
        token_type_ids: As the tokenizer types a pair; None where it does not.
        offsets: Characters of the passage that each token covers; None for what is no passage.
        start, end: First and last token of the answer; both are ``null`` where the answer is not in this
            window, and -1 where the row is unlabelled.
        null: The token that stands for "no answer": ``[CLS]``.

    Shapes:
        input_ids, token_type_ids, offsets: (T,), unpadded.
    """

    row: int
    input_ids: Sequence[int]
    token_type_ids: Sequence[int] | None
    offsets: Sequence[tuple[int, int] | None]
    start: int
    end: int
    null: int

    @property
    def attention_mask(self) -> list[int]:
        return [1] * len(self.input_ids)


@define
class WindowStats:
    """Counts over all rows that an encoder was given.

    Attributes:
        rows, windows: Rows given, windows made of them.
        too_long: Rows whose question leaves no room for a passage.
        without_answer: Rows labelled as having no answer.
        outside: Rows whose answer fits into no window; all their windows are labelled "no answer".
        inexact: Rows whose answer's ends are not ends of tokens; the label covers a little more.
        narrowed: Rows whose windows overlap by less than ``stride``, for the sake of a long question.
    """

    rows: int = 0
    windows: int = 0
    too_long: int = 0
    without_answer: int = 0
    outside: int = 0
    inexact: int = 0
    narrowed: int = 0

    def to_json(self) -> dict[str, int]:
        return {
            "rows": self.rows,
            "windows": self.windows,
            "too_long": self.too_long,
            "without_answer": self.without_answer,
            "outside": self.outside,
            "inexact": self.inexact,
            "narrowed": self.narrowed,
        }


@frozen
class PairMarks:
    """What a tokenizer puts before, between and behind the two texts of a pair, and the types that it gives."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    behind: tuple[int, ...]
    types: tuple[int, int, int, int, int] | None
    """Types of: before, first text, between, second text, behind."""

    def __len__(self) -> int:
        return len(self.before) + len(self.between) + len(self.behind)

    @classmethod
    def of(cls, tokenizer: Any) -> PairMarks:
        """Read the marks off a pair that the tokenizer writes.

        Raises:
            ConfigError: The tokenizer writes no pairs.
        """
        backend = tokenizer.backend_tokenizer
        PieceTokenizer(tokenizer).encode_all(["a"])  # leaves the tokenizer without a limit of its own
        pair = backend.encode("a", "1")
        places = pair.sequence_ids
        first = [place for place, which in enumerate(places) if which == 0]
        second = [place for place, which in enumerate(places) if which == 1]
        if not first or not second or first[-1] + 1 >= second[0]:
            raise ConfigError(
                f"the tokenizer {type(tokenizer).__name__} does not put two texts side by side with marks between; "
                "a span head needs a model that was trained on pairs of texts"
            )
        cuts = (first[0], first[-1] + 1, second[0], second[-1] + 1)
        ids, types = pair.ids, pair.type_ids
        typed = "token_type_ids" in tokenizer.model_input_names
        return cls(
            before=tuple(ids[: cuts[0]]),
            between=tuple(ids[cuts[1] : cuts[2]]),
            behind=tuple(ids[cuts[3] :]),
            types=(types[0], types[first[0]], types[cuts[1]], types[second[0]], types[-1]) if typed else None,
        )


class WindowEncoder:
    """Encodes questions and passages for a span head.

    Args:
        tokenizer: A fast transformers tokenizer.
        max_length: Tokens of a window at most, marks and question included.
        stride: Tokens of the passage that neighbouring windows share.

    Attributes:
        stats: What happened to the rows given to ``encode`` so far.

    Raises:
        ConfigError: The tokenizer cannot tell characters, or writes no pairs.
    """

    def __init__(self, tokenizer: Any, *, max_length: int = 384, stride: int = 128) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                f"the tokenizer {type(tokenizer).__name__} cannot tell which characters a token covers; "
                "a span head needs a fast tokenizer (one with a tokenizer.json)"
            )
        if max_length < 8 or stride < 0:
            raise ConfigError(f"max_length is {max_length} and stride {stride}; at least 8 and 0 are needed")
        self.tokenizer = tokenizer
        self.max_length, self.stride = max_length, stride
        self.stats = WindowStats()
        self._pieces = PieceTokenizer(tokenizer)
        self._marks = PairMarks.of(tokenizer)
        cls_id = tokenizer.cls_token_id
        self._null = self._marks.before.index(cls_id) if cls_id in self._marks.before else 0

    def options(self) -> dict[str, Any]:
        """Return what decides how rows become ids: for the contract's ``encoding``."""
        return {"max_length": self.max_length, "stride": self.stride}

    def encode(
        self,
        questions: Sequence[str],
        passages: Sequence[str],
        answers: Sequence[SpanAnswer | None] | None = None,
    ) -> list[list[SpanWindow] | LengthError]:
        """Encode a batch.

        Args:
            questions: What is asked, one a row.
            passages: Where the answer stands, one a row.
            answers: The gold answer of each row; ``NO_ANSWER`` where there is none in the passage, None where the
                row is unlabelled.

        Returns:
            For each row its windows, in the passage's order, or the error that says why there are none.
        """
        golds = answers if answers is not None else [None] * len(questions)
        asked = self._pieces.plain_with_offsets(questions)
        read = self._pieces.plain_with_offsets(passages)
        results: list[list[SpanWindow] | LengthError] = []
        for row, (question, passage, gold) in enumerate(zip(asked, read, golds, strict=True)):
            self.stats.rows += 1
            try:
                offsets = trimmed(passages[row], passage[1])
                windows = self._windows(row, question[0], passage[0], offsets, gold, questions[row])
            except LengthError as error:
                self.stats.too_long += 1
                results.append(error)
            else:
                self.stats.windows += len(windows)
                results.append(windows)
        return results

    def _windows(
        self,
        row: int,
        question: list[int],
        passage: list[int],
        offsets: list[tuple[int, int]],
        gold: SpanAnswer | None,
        asked: str,
    ) -> list[SpanWindow]:
        room = self.max_length - len(self._marks) - len(question)
        if room < 1:
            raise LengthError(
                f'The question "{printable(asked, 60)}" has {len(question)} tokens: no room for its passage is left.\n'
                f"A window has {self.max_length} tokens, {len(self._marks)} of them marks.\n"
                "Raise max_length, or shorten the question."
            )
        overlap = min(self.stride, room // 2)
        starts = [0]
        while starts[-1] + room < len(passage):
            starts.append(starts[-1] + room - overlap)
        self.stats.narrowed += len(starts) > 1 and overlap < self.stride
        span = self._answer_tokens(offsets, gold)
        base = len(self._marks.before) + len(question) + len(self._marks.between)
        windows = []
        for start in starts:
            end = min(start + room, len(passage))
            first, last = self._labels(span, gold, start, end, base)
            windows.append(
                SpanWindow(
                    row=row,
                    input_ids=[
                        *self._marks.before,
                        *question,
                        *self._marks.between,
                        *passage[start:end],
                        *self._marks.behind,
                    ],
                    token_type_ids=self._types(len(question), end - start),
                    offsets=[*[None] * base, *offsets[start:end], *[None] * len(self._marks.behind)],
                    start=first,
                    end=last,
                    null=self._null,
                )
            )
        if span is not None and all(window.start == self._null for window in windows):
            self.stats.outside += 1
        return windows

    def _labels(
        self, span: tuple[int, int] | None, gold: SpanAnswer | None, start: int, end: int, base: int
    ) -> tuple[int, int]:
        if gold is None:
            return -1, -1
        if span is None or span[0] < start or span[1] >= end:
            return self._null, self._null
        return base + span[0] - start, base + span[1] - start

    def _answer_tokens(self, offsets: list[tuple[int, int]], gold: SpanAnswer | None) -> tuple[int, int] | None:
        """Return the first and the last token of the answer, counted in the passage's tokens."""
        if gold is None:
            return None
        if gold == NO_ANSWER:
            self.stats.without_answer += 1
            return None
        core = gold.text.strip()
        begin = gold.start + gold.text.index(core)
        finish = begin + len(core)
        first = bisect_right(offsets, begin, key=lambda offset: offset[1])  # the first that ends behind the begin
        last = bisect_left(offsets, finish, key=lambda offset: offset[0]) - 1  # the last that starts before the end
        if not core or first > last:
            self.stats.outside += 1  # the tokenizer makes no token of it
            return None
        self.stats.inexact += offsets[first][0] != begin or offsets[last][1] != finish
        return first, last

    def _types(self, question: int, passage: int) -> list[int] | None:
        if self._marks.types is None:
            return None
        lengths = (len(self._marks.before), question, len(self._marks.between), passage, len(self._marks.behind))
        return [kind for kind, count in zip(self._marks.types, lengths, strict=True) for _ in range(count)]


def trimmed(passage: str, offsets: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Take white space off the ends of what each token covers; tokens of SentencePiece cover the space before."""
    return [offset if offset[0] == offset[1] else _trim(passage, *offset) for offset in offsets]


def _trim(passage: str, start: int, end: int) -> tuple[int, int]:
    while start < end and passage[start].isspace():
        start += 1
    while start < end and passage[end - 1].isspace():
        end -= 1
    return start, end
