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
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.metrics.base import UNSPACED

__all__ = ["Grams", "Hashes", "Size", "Tokens", "joined", "mixed", "ngrams", "parted", "token_counts", "tokenised"]

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_P = 0x9E3779B97F4A7C15
_AT_ONCE = 1 << 16
"""Characters from which on a portion is hashed: its numbers fit a core's cache."""
_LONGEST = 1 << 20
"""Characters of a text that are hashed in one go; a longer one is cut at a space and put together again."""
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
    counts, bare = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.uint64)
    parts = [_tokens_of(portion) for portion in _portions(texts)]
    for part in parts:
        np.add.at(counts, part.owners, part.counts)
        np.add.at(bare, part.owners, part.bare)
    hashes = np.concatenate([part.hashes for part in parts]) if parts else np.zeros(0, np.uint64)
    alone = np.concatenate([part.alone for part in parts]) if parts else np.zeros(0, np.bool_)
    if sum(part.ascii for part in parts) not in (0, len(parts)):  # portions are of one kind: back into the texts' order
        order = np.argsort(np.concatenate([np.repeat(part.owners, part.counts) for part in parts]), kind="stable")
        hashes, alone = hashes[order], alone[order]
    return Tokens(hashes, alone, np.cumsum(counts), np.where(bare == 0, bare, mixed(bare)))


def parted(tokens: Tokens, parts: int) -> tuple[Tokens, ...]:
    """Return the tokens of texts in so many equal parts, one after the other."""
    count = len(tokens.ends) // parts
    found = []
    for start in range(0, parts * count, count or 1):
        first = int(tokens.ends[start - 1]) if start else 0
        last = int(tokens.ends[start + count - 1])
        ends, bare = tokens.ends[start : start + count] - first, tokens.bare[start : start + count]
        found.append(Tokens(tokens.hashes[first:last], tokens.alone[first:last], ends, bare))
    return tuple(found) or (tokens,) * parts


def token_counts(texts: Sequence[str]) -> Places:
    """Return how many tokens each text has: words, and characters of scripts without spaces.

    >>> token_counts(["It rains.", "下雨了。", ""]).tolist()
    [2, 3, 0]
    """
    counts = np.zeros(len(texts), np.int64)
    for portion in _portions(texts):
        np.add.at(counts, portion.owners, _marked(portion).counts)
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


@frozen
class _Portion:
    """Some texts that are hashed in one go: folded, joined, with a NUL behind each.

    Attributes:
        text: The texts.
        sizes: Of each, in characters, with its NUL.
        owners: For each, which of all texts it is, or is a piece of.
    """

    text: str
    sizes: Places
    owners: Places


def _portions(texts: Sequence[str]) -> Iterator[_Portion]:
    """Yield all texts, as many together as are hashed in one go, those in ASCII by themselves."""
    whole = "\0".join(texts)
    if whole.isascii():
        yield from _cut(texts, np.arange(len(texts)), fold=str.lower)
        return
    kinds = np.fromiter(map(str.isascii, texts), np.bool_, len(texts))
    for kind, fold in ((True, str.lower), (False, str)):
        owners = np.flatnonzero(kinds == kind)
        some = [texts[owner] for owner in owners.tolist()]
        yield from _cut(some if kind else list(map(_folded, some)), owners, fold=fold)


def _cut(texts: Sequence[str], owners: Places, *, fold: Callable[[str], str]) -> Iterator[_Portion]:
    sizes = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    if len(texts) and int(sizes.max()) > _LONGEST:
        pieces = [(owner, piece) for owner, text in zip(owners.tolist(), texts, strict=True) for piece in _pieces(text)]
        owners = np.array([owner for owner, _ in pieces])
        texts = [piece for _, piece in pieces]
        sizes = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    ends = np.cumsum(sizes)
    start = 0
    while start < len(texts):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        text = "\0".join([*texts[start:stop], ""])
        yield _Portion(fold(text), sizes[start:stop], owners[start:stop])
        start = stop


def _folded(text: str) -> str:
    """Return ``text`` in one case and width."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _pieces(text: str) -> Iterator[str]:
    while len(text) > _LONGEST:
        cut = text.rfind(" ", _LONGEST // 2, _LONGEST)
        cut = _LONGEST if cut < 0 else cut
        yield text[:cut]
        text = text[cut:]
    yield text


@frozen
class _Marked:
    """Characters of joined pieces, and where things are among them."""

    codes: NDArray[Any]
    inside: NDArray[np.bool_]
    """Which characters are neither spaces nor punctuation."""
    starts: Places
    stops: Places
    """Where tokens start and stop."""
    alone: NDArray[np.bool_]
    ends: Places
    """Where pieces end."""

    @property
    def counts(self) -> Places:
        """Return how many tokens each piece has."""
        return np.diff(np.searchsorted(self.starts, self.ends), prepend=0)


def _marked(portion: _Portion) -> _Marked:
    if portion.text.isascii():
        packed = portion.text.encode()
        codes: NDArray[Any] = np.frombuffer(packed, np.uint8)
        kinds = np.frombuffer(packed.translate(_ascii_kinds()), np.uint8)
    else:
        codes = np.frombuffer(portion.text.encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds = _kinds()[codes]
    word, alone = kinds == 1, kinds == 2
    begins, finishes = alone.copy(), alone.copy()
    begins[1:] |= word[1:] & ~word[:-1]
    begins[:1] |= word[:1]
    finishes[:-1] |= word[:-1] & ~word[1:]  # the last character is a separator
    starts = np.flatnonzero(begins)
    return _Marked(codes, kinds > 0, starts, np.flatnonzero(finishes) + 1, alone[starts], np.cumsum(portion.sizes))


@frozen
class _Part:
    """The tokens of a portion.

    Attributes:
        ascii: Whether the portion is ASCII.
        owners: For each piece, the text that it is of.
        counts: For each piece, how many tokens it has.
        hashes, alone: Of each token, as in ``Tokens``.
        bare: For each piece, the sum over its letters.
    """

    ascii: bool
    owners: Places
    counts: Places
    hashes: Hashes
    alone: NDArray[np.bool_]
    bare: Hashes


def _tokens_of(portion: _Portion) -> _Part:
    found = _marked(portion)
    before = np.zeros(len(found.codes) + 1, np.int64)
    np.cumsum(found.inside, out=before[1:])
    sums = _running_sums(found.codes[found.inside].astype(np.uint64))
    inverses = _powers(len(sums))[1]
    ends = before[found.ends]
    first = np.concatenate([[0], ends[:-1]])
    bare = (sums[ends] - sums[first]) * inverses[first]
    begin = before[found.starts]
    hashes = mixed((sums[before[found.stops]] - sums[begin]) * inverses[begin])
    return _Part(found.codes.dtype == np.uint8, portion.owners, found.counts, hashes, found.alone, bare)


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
def _ascii_kinds() -> bytes:
    """Return the table of ``_kinds`` for bytes below 128; the rest does not occur."""
    return bytes(_kinds()[:128].tolist()) + bytes(128)


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
