"""Sentences of given tokens as a tagging model reads them: pieces of the tokenizer, in windows where they are long.

The running text is tokenised as a whole, since that is what a model was pretrained on; each token is then answered
for by its first piece. A piece that covers two tokens (tokenizers without words do that in Chinese) could answer for
one of them only: the tokens under it are tokenised again, each by itself. Every token is answered for in one window:
that in which it has most around it. Nothing is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from attrs import define, field, frozen

from instructforge.encoding.tokenizers import PieceTokenizer
from instructforge.encoding.windows import PairMarks, trimmed
from instructforge.errors import ConfigError
from instructforge.tagging import join_tokens, slices

__all__ = ["TokenWindow", "TokenWindowEncoder", "TokenWindowStats"]


@frozen(kw_only=True)
class TokenWindow:
    """One window of a sentence.

    Attributes:
        input_ids: ``[CLS] pieces [SEP]``, as the tokenizer writes a text.
        tokens: For each of them, the token of the sentence that it answers for; -1 for none.

    Shapes:
        input_ids, tokens: (T,), unpadded.
    """

    input_ids: Sequence[int]
    tokens: Sequence[int]


@define
class TokenWindowStats:
    """Counts over all sentences that an encoder was given.

    Attributes:
        rows, windows: Sentences given, windows made of them.
        long: Sentences of more than one window.
        shared: Pieces that covered more than one token, whose tokens were tokenised by themselves.
        without_piece: Tokens of which the tokenizer makes nothing.
    """

    rows: int = 0
    windows: int = 0
    long: int = 0
    shared: int = 0
    without_piece: int = 0

    def to_json(self) -> dict[str, int]:
        return {
            "rows": self.rows,
            "windows": self.windows,
            "long": self.long,
            "shared": self.shared,
            "without_piece": self.without_piece,
        }


@define
class _Pieces:
    """The pieces of a sentence: ids, and the token of which each is the first piece (-1: of none)."""

    ids: list[int] = field(factory=list)
    first_of: list[int] = field(factory=list)


class TokenWindowEncoder:
    """Encodes sentences of given tokens.

    Args:
        tokenizer: A fast transformers tokenizer.
        max_length: Tokens of a window at most, marks included.
        stride: Pieces that neighbouring windows share.

    Attributes:
        stats: What happened to the sentences given to ``encode`` so far.

    Raises:
        ConfigError: The tokenizer cannot tell characters, or the lengths leave no room.
    """

    def __init__(self, tokenizer: Any, *, max_length: int = 256, stride: int = 64) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                f"the tokenizer {type(tokenizer).__name__} cannot tell which characters a token covers; "
                "a tags head needs a fast tokenizer (one with a tokenizer.json)"
            )
        self.tokenizer, self.max_length, self.stride = tokenizer, max_length, stride
        self.marks = PairMarks.of(tokenizer)
        self.room = max_length - len(self.marks.before) - len(self.marks.behind)
        if self.room < 4 or stride < 0:
            raise ConfigError(f"max_length is {max_length} and stride {stride}; at least 8 and 0 are needed")
        self.stats = TokenWindowStats()
        self._pieces = PieceTokenizer(tokenizer)

    def options(self) -> dict[str, Any]:
        """Return what decides how rows become ids: for the contract's ``encoding``."""
        return {"max_length": self.max_length, "stride": self.stride}

    def encode(self, sentences: Sequence[Sequence[str]], texts: Sequence[str | None]) -> list[list[TokenWindow]]:
        """Return the windows of each sentence, in order.

        Args:
            sentences: The tokens of each, none of them empty.
            texts: Each as running text; where there is none, or it is not of these tokens, they are joined.
        """
        running, spans = [], []
        for tokens, given in zip(sentences, texts, strict=True):
            found = slices(tokens, given) if given else None
            text = given if given and found is not None else join_tokens(tokens)
            running.append(text)
            spans.append(found if found is not None else slices(tokens, text) or [])
        read = self._pieces.plain_with_offsets(running)
        return [
            self._windows(self._of_tokens(text, own, ids, trimmed(text, offsets)))
            for text, own, (ids, offsets) in zip(running, spans, read, strict=True)
        ]

    # --- pieces ---------------------------------------------------------------------------------------

    def _of_tokens(
        self, text: str, spans: Sequence[tuple[int, int]], ids: Sequence[int], offsets: Sequence[tuple[int, int]]
    ) -> _Pieces:
        """Return the sentence's pieces, none of them of two tokens."""
        under = _tokens_under(spans, offsets)
        shared = [tokens for tokens in under if len(tokens) > 1]
        apart = set(chain.from_iterable(shared))
        self.stats.shared += len(shared)
        made, done, blank = _Pieces(), -1, list[int]()
        for piece, tokens, behind in zip(ids, under, [*under, []][1:], strict=True):
            if not tokens or (self._is_space(piece) and behind[:1] == tokens[:1]):
                blank.append(piece)  # a mark of a space: it goes with what follows
                continue
            if tokens[0] not in apart and len(tokens) == 1:
                made.ids += [*blank, piece]
                made.first_of += [*[-1] * len(blank), tokens[0] if tokens[0] > done else -1]
                done = max(done, tokens[0])
            for token in tokens if tokens[0] in apart or len(tokens) > 1 else ():
                if token > done:
                    self._add(made, token, text, spans[token])
                    done = token
            blank = []
        self.stats.without_piece += len(spans) - sum(token >= 0 for token in made.first_of)
        return made

    def _add(self, made: _Pieces, token: int, text: str, span: tuple[int, int]) -> None:
        """Add the pieces of one token, tokenised by itself, without the mark of a space that is not there."""
        start, end = span
        spaced = start == 0 or text[start - 1].isspace()
        ids = self._pieces.plain_with_offsets([f"{' ' if spaced and start else ''}{text[start:end]}"])[0][0]
        solid = next((place for place, piece in enumerate(ids) if not self._is_space(piece)), 0)
        kept = ids if spaced else ids[solid:]
        firsts = [-1] * len(ids)
        firsts[solid : solid + 1] = [token] if ids else []
        made.ids += kept
        made.first_of += firsts[len(ids) - len(kept) :]

    def _is_space(self, piece: int) -> bool:
        """Tell whether a piece is nothing but the mark of a space, of SentencePiece or byte-level tokenizers."""
        return not str(self.tokenizer.convert_ids_to_tokens(piece)).strip("\u2581\u0120")

    # --- windows --------------------------------------------------------------------------------------

    def _windows(self, pieces: _Pieces) -> list[TokenWindow]:
        count = len(pieces.ids)
        overlap = min(self.stride, self.room // 2)
        starts = [0]
        while starts[-1] + self.room < count:
            starts.append(starts[-1] + self.room - overlap)
        windows = [(start, min(start + self.room, count)) for start in starts]
        owner = [_most_around(place, windows, count) for place in range(count)]
        self.stats.rows += 1
        self.stats.windows += len(windows)
        self.stats.long += len(windows) > 1
        before, behind = self.marks.before, self.marks.behind
        return [
            TokenWindow(
                input_ids=[*before, *pieces.ids[start:end], *behind],
                tokens=[
                    *[-1] * len(before),
                    *(pieces.first_of[place] if owner[place] == number else -1 for place in range(start, end)),
                    *[-1] * len(behind),
                ],
            )
            for number, (start, end) in enumerate(windows)
        ]


def _tokens_under(spans: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the tokens that each piece covers, both in the order of the text.

    >>> _tokens_under([(0, 2), (2, 4)], [(0, 0), (0, 1), (1, 3), (3, 4)])
    [[], [0], [0, 1], [1]]
    """
    found: list[list[int]] = []
    token = 0
    for start, end in offsets:
        while token < len(spans) and spans[token][1] <= start:
            token += 1
        under = []
        for place in range(token, len(spans)):
            if spans[place][0] >= end:
                break
            under.append(place)
        found.append(under if start < end else [])
    return found


def _most_around(place: int, windows: Sequence[tuple[int, int]], count: int) -> int:
    """Return the window in which a piece has most pieces around it; the ends of the sentence do not count.

    >>> [_most_around(place, [(0, 6), (4, 9)], 9) for place in (0, 4, 5, 8)]
    [0, 0, 1, 1]
    """
    if len(windows) == 1:
        return 0

    def around(number: int) -> tuple[int, int]:
        start, end = windows[number]
        if not start <= place < end:
            return -1, 0
        left = place - start if start else count
        right = end - 1 - place if end < count else count
        return min(left, right), -number

    return max(range(len(windows)), key=around)
