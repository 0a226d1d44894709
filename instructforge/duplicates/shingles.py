"""Texts into numbers, many at once: tokens, n-grams of them, and texts without their marks, in any script.

The tokens are those of ``instructforge.metrics.base.tokens``: words, and each character of scripts that put no
spaces between words, regardless of case and width. An n-gram that begins at a word spans so many words; one that
begins at such a character spans so many characters. So English and Chinese are each cut in their own measure,
also within one text, and the n-grams of a passage are the same wherever it stands.

Everything is a 64-bit hash that is the same in every process. Hashes of spans are differences of a running sum of
``value × P^place``, so that words, n-grams and whole texts all come of one pass without a loop over tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.metrics.base import UNSPACED

__all__ = ["Grams", "Hashes", "Size", "Tokens", "joined", "mixed", "ngrams", "token_counts", "tokenised"]

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_P = 0x9E3779B97F4A7C15
_AT_ONCE = 1 << 20
"""Characters that are hashed in one go; a longer text is cut at a space and put together again."""
_LAST_SIGN, _LAST_LETTER = 0x1FC00, 0x40000
"""Signs (``+``, ``€``, emoji) and accents stand below the first; no character above the second is to be seen."""


@frozen
class Size:
    """How long n-grams are: in words, and in characters of scripts without spaces."""

    words: int
    characters: int


@frozen
class Tokens:
    """The tokens of several texts, one after the other.

    Attributes:
        hashes: Of each token.
        alone: Whether the token is a character of a script without spaces.
        ends: For each text, where its tokens end.
        bare: For each text, the hash of what is left without spaces and punctuation; 0 where nothing is.
    """

    hashes: Hashes
    alone: NDArray[np.bool_]
    ends: Places
    bare: Hashes


@frozen
class Grams:
    """The n-grams of several texts, one after the other; ``ends`` says where those of each text end."""

    hashes: Hashes
    ends: Places

    def of(self, place: int) -> Hashes:
        """Return the n-grams of one text."""
        return self.hashes[self.ends[place - 1] if place else 0 : self.ends[place]]

    @property
    def counts(self) -> Places:
        """Return how many n-grams each text has."""
        return np.diff(self.ends, prepend=0)


def tokenised(texts: Sequence[str]) -> Tokens:
    """Return the tokens of ``texts``.

    >>> found = tokenised(["GPT-4 于2023年。", "gpt 4"])
    >>> found.ends.tolist(), found.alone.tolist(), bool(found.hashes[0] == found.hashes[5])
    ([5, 7], [False, False, True, False, True, False, False], True)
    """
    parts = [_tokens_of(pieces) for pieces in _portions(texts)]
    owners = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
    hashes = np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, np.uint64)
    alone = np.concatenate([part[2] for part in parts]) if parts else np.zeros(0, np.bool_)
    bare = np.zeros(len(texts), np.uint64)
    for part in parts:
        np.add.at(bare, part[3], part[4])
    ends = np.cumsum(np.bincount(owners, minlength=len(texts)))
    return Tokens(hashes, alone, ends, np.where(bare == 0, bare, mixed(bare)))


def token_counts(texts: Sequence[str]) -> Places:
    """Return how many tokens each text has: words, and characters of scripts without spaces.

    >>> token_counts(["It rains.", "下雨了。", ""]).tolist()
    [2, 3, 0]
    """
    counts = np.zeros(len(texts), np.int64)
    for pieces in _portions(texts):
        found = _marked([text for _, text in pieces])
        upto = np.searchsorted(found.starts, found.ends)
        np.add.at(counts, [owner for owner, _ in pieces], np.diff(upto, prepend=0))
    return counts


def ngrams(tokens: Tokens, size: Size, *, whole_if_short: bool) -> Grams:
    """Return the n-grams of tokenised texts, in their order and as often as they stand there.

    Args:
        tokens: The texts.
        size: Their length.
        whole_if_short: Whether a text that is too short for any is one n-gram as a whole, or has none.

    >>> grams = ngrams(tokenised(["a b c", "b c", "c"]), Size(2, 3), whole_if_short=True)
    >>> grams.counts.tolist(), bool(grams.hashes[1] == grams.hashes[2])
    ([2, 1, 1], True)
    """
    places = np.arange(len(tokens.hashes))
    lengths = np.diff(tokens.ends, prepend=0)
    limits = np.repeat(tokens.ends, lengths)
    stops = places + np.where(tokens.alone, size.characters, size.words)
    kept = stops <= limits
    if whole_if_short:
        upto = np.concatenate([[0], np.cumsum(kept)])
        without = (upto[tokens.ends] == upto[tokens.ends - lengths]) & (lengths > 0)
        first = (tokens.ends - lengths)[without]
        kept[first], stops[first] = True, limits[first]
    ends = np.concatenate([[0], np.cumsum(kept)])[tokens.ends]
    return Grams(_span_hashes(tokens.hashes, places[kept], stops[kept]), ends)


def joined(parts: Sequence[Grams]) -> Grams:
    """Return the n-grams of several fields as those of one text each: row by row, field after field."""
    if len(parts) == 1:
        return parts[0]
    counts = np.stack([part.counts for part in parts], axis=1)  # (rows, fields)
    starts = np.cumsum(counts).reshape(counts.shape) - counts
    hashes = np.empty(int(counts.sum()), np.uint64)
    for place, part in enumerate(parts):
        own = np.repeat(starts[:, place] - (part.ends - part.counts), part.counts)
        hashes[np.arange(len(part.hashes)) + own] = part.hashes
    return Grams(hashes, np.cumsum(counts.sum(axis=1)))


def mixed(values: Hashes) -> Hashes:
    """Return ``values`` with every bit spread over all others.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    spread = values + np.uint64(_P)
    spread = (spread ^ (spread >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    spread = (spread ^ (spread >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return spread ^ (spread >> np.uint64(31))


# --- Parts --------------------------------------------------------------------------------------------


def _portions(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Yield (number of the text, folded text or piece of it), as many as are hashed in one go."""
    portion: list[tuple[int, str]] = []
    size = 0
    for owner, text in enumerate(texts):
        folded = text.lower() if text.isascii() else _folded(text)
        size += len(folded)
        portion += [(owner, folded)] if len(folded) <= _AT_ONCE else [(owner, piece) for piece in _pieces(folded)]
        if size >= _AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _folded(text: str) -> str:
    """Return ``text`` in one case and width."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _pieces(text: str) -> Iterator[str]:
    while len(text) > _AT_ONCE:
        cut = text.rfind(" ", _AT_ONCE // 2, _AT_ONCE)
        cut = _AT_ONCE if cut < 0 else cut
        yield text[:cut]
        text = text[cut:]
    yield text


@frozen
class _Marked:
    """Characters of joined pieces, and where things are among them."""

    letters: NDArray[np.uint32]
    """The characters that are neither spaces nor punctuation."""
    before: Places
    """For each character of the pieces, how many of them come before it; one entry more than characters."""
    starts: Places
    stops: Places
    """Where tokens start and stop."""
    alone: NDArray[np.bool_]
    ends: Places
    """Where pieces end."""


def _marked(pieces: Sequence[str]) -> _Marked:
    text = "\0".join([*pieces, ""])
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[codes]
    word, alone, inside = kinds == 1, kinds == 2, kinds > 0
    begins, finishes = alone.copy(), alone.copy()
    begins[1:] |= word[1:] & ~word[:-1]
    begins[:1] |= word[:1]
    finishes[:-1] |= word[:-1] & ~word[1:]  # the last character is a separator
    before = np.zeros(len(codes) + 1, np.int64)
    np.cumsum(inside, out=before[1:])
    starts = np.flatnonzero(begins)
    ends = np.cumsum(np.fromiter((len(piece) + 1 for piece in pieces), np.int64, len(pieces)))
    return _Marked(codes[inside], before, starts, np.flatnonzero(finishes) + 1, alone[starts], ends)


def _tokens_of(portion: Sequence[tuple[int, str]]) -> tuple[Places, Hashes, NDArray[np.bool_], Places, Hashes]:
    """Return the owner, hash and kind of each token; and of each piece its owner and the sum over its letters."""
    found = _marked([text for _, text in portion])
    owners = np.fromiter((owner for owner, _ in portion), np.int64, len(portion))
    upto = np.searchsorted(found.starts, found.ends)
    sums = _running_sums(found.letters.astype(np.uint64))
    inverses = _powers(len(found.letters))[1]
    ends = found.before[found.ends]
    first = np.concatenate([[0], ends[:-1]])
    bare = (sums[ends] - sums[first]) * inverses[first]
    begin = found.before[found.starts]
    hashes = mixed((sums[found.before[found.stops]] - sums[begin]) * inverses[begin])
    return np.repeat(owners, np.diff(upto, prepend=0)), hashes, found.alone, owners, bare


def _span_hashes(values: Hashes, starts: Places, stops: Places) -> Hashes:
    """Return the hash of each span of ``values``; equal spans have equal hashes, wherever they stand."""
    sums = _running_sums(values)
    return mixed((sums[stops] - sums[starts]) * _powers(len(values))[1][starts])


def _running_sums(values: Hashes) -> Hashes:
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(len(values))[0][: len(values)], out=sums[1:])
    return sums


def _powers(count: int) -> tuple[Hashes, Hashes]:
    """Return P^0, P^1 … and their inverses modulo 2^64, at least ``count`` + 1 of them."""
    return _power_tables(max(16, int(count).bit_length()))


@lru_cache(maxsize=2)
def _power_tables(bits: int) -> tuple[Hashes, Hashes]:
    tables = []
    for factor in (_P, pow(_P, -1, 1 << 64)):
        values = np.full(1 << bits, factor, np.uint64)
        values[0] = 1
        tables.append(np.cumprod(values))
    return tables[0], tables[1]


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """Return for each character: 0 space or punctuation, 1 part of a word, 2 a token of its own, 3 sign or accent."""
    kinds = np.zeros(0x110000, np.uint8)
    every = "".join(map(chr, range(_LAST_LETTER)))
    signs = [unicodedata.category(character)[0] in "SM" for character in every[:_LAST_SIGN]]
    kinds[:_LAST_SIGN][signs] = 3
    for kind, pattern in ((2, rf"[{UNSPACED}]+"), (1, rf"[^\W_{UNSPACED}]+")):
        for found in re.finditer(pattern, every):
            kinds[found.start() : found.end()] = kind
    return kinds
