"""A tokenizer as this package uses it: its hash, its unknown tokens, and text in pieces."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final

from instructforge.files import sha256_of

__all__ = ["PieceTokenizer", "tokenizer_sha256"]

_PROBES: Final = ("a", "Z", "7", "中", "é", "😀", "(")
_CUT: Final = "\0\U0010fff0\0"
"""Stands where a text is cut, while it is cut."""

_GUARDS: Final = ("\n", "。", "a")


def tokenizer_sha256(tokenizer: Any) -> str:
    """Return the hash of everything that decides which ids a tokenizer makes of a text.

    Truncation and padding are left out: they are settings of a call, and calls leave them behind.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        state = json.loads(backend.to_str())
        state.pop("truncation", None)
        state.pop("padding", None)
    else:
        state = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    return sha256_of({"state": state, "special": special})


class PieceTokenizer:
    """Tokenises text whole or as the continuation of other text; nothing is added, nothing is cut.

    Many tokenizers put a space before a text that they are given (``add_prefix_space``, the metaspace of
    SentencePiece). The continuation of a text must not get one: it is tokenised behind a guard, a short text
    whose tokens are taken off again. Which guard serves is tried out once, when this object is made.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer if getattr(tokenizer, "is_fast", False) else None
        added = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()}
        self.control_ids = {index: text for index, text in added.items() if text.strip()}
        breakable = sorted({text for text in self.control_ids.values() if len(text) > 1}, key=lambda t: (-len(t), t))
        self._control = re.compile("|".join(map(re.escape, breakable))) if breakable else None
        self._guard = self._find_guard()

    @property
    def has_offsets(self) -> bool:
        return self._backend is not None

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise each text from its start."""
        if not texts:
            return []
        if self._backend is None:
            return [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        self._reset()
        return [found.ids for found in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Tokenise each text from its start; give each token's characters."""
        return [(one.ids, one.offsets) for one in self.encodings(texts)]

    def plain_with_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """As ``encode_with_offsets``, but what looks like a control token (``[SEP]``) in the data stays text."""
        control = set(self.control_ids) - {self.tokenizer.unk_token_id}
        found = self.encode_with_offsets(texts)
        return [
            self._in_parts(text) if control.intersection(ids) else (ids, offsets)
            for text, (ids, offsets) in zip(texts, found, strict=True)
        ]

    def _in_parts(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokenise a text cut inside whatever in it looks like a control token."""
        parts = self.break_control(text.replace(_CUT, " " * len(_CUT)), _CUT)[0].split(_CUT)
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        position = 0
        for part, (own, places) in zip(parts, self.encode_with_offsets(parts), strict=True):
            ids += own
            offsets += [(start + position, end + position) for start, end in places]
            position += len(part)
        return ids, offsets

    def encodings(self, texts: Sequence[str]) -> list[Any]:
        """Tokenise each text from its start; return the ``Encoding`` of the tokenizers library."""
        if not texts:
            return []
        self._reset()
        assert self._backend is not None
        return list(self._backend.encode_batch(list(texts), add_special_tokens=False))

    def stretch(self, found: Any, text: str, start: int, end: int) -> tuple[int, int] | None:
        """Return which tokens (from, to) are those of the characters ``start`` to ``end`` and of no others.

        Offsets alone do not tell: tokenizers leave spaces out of them. So the stretch also has to begin with a
        token that is written as its first character is, or stand between control tokens, or have the ids that
        it has as a continuation.

        Returns:
            None where a token reaches over an end, or none of this holds.
        """
        first, last = found.char_to_token(start), found.char_to_token(end - 1)
        if first is None or last is None or found.token_to_chars(first)[0] != start:
            first, last = _by_offsets(found.offsets, start, end)
        ids = found.ids[first : last + 1]
        if not ids or (first > 0 and found.offsets[first - 1][1] > start):
            return None
        if ids[-1] in self.control_ids:  # no token reaches over a control token
            if first > 0 and found.ids[first - 1] in self.control_ids and found.token_to_chars(first - 1)[1] <= start:
                return first, last + 1
            if self._token(ids[0])[:1] in _written(text[start]):
                return first, last + 1
        return (first, last + 1) if ids == self.continue_all([text[start:end]])[0] else None

    @cache  # noqa: B019  (an encoder keeps its tokenizer as long as it lives)
    def _token(self, index: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(index))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return the characters of each token of ``text``; shared out evenly where the tokenizer cannot tell."""
        if self.has_offsets:
            return self.encode_with_offsets([text])[0][1]
        count = max(1, len(self.encode_all([text])[0]))
        borders = [len(text) * number // count for number in range(count + 1)]
        return list(pairwise(borders))

    def continue_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise each text as the continuation of another, in which it does not stand at the start."""
        if self._guard is None:
            return self.encode_all(texts)
        guard_ids = self.encode_all([self._guard])[0]
        guarded = self.encode_all([self._guard + text for text in texts])
        return [
            ids[len(guard_ids) :] if ids[: len(guard_ids)] == guard_ids else self._behind_another_guard(text)
            for ids, text in zip(guarded, texts, strict=True)
        ]

    def break_control(self, text: str, mark: str) -> tuple[str, int]:
        """Put ``mark`` into each control token that stands in ``text`` as plain text; return how many there were.

        Tokenised in pieces between the marks, such a text cannot turn into control tokens.
        """
        if self._control is None:
            return text, 0
        broken, count = text, 0
        while True:  # breaking one token can bare another, as in "<<eos>": it ends, for each round adds a mark
            broken, found = self._control.subn(lambda match: match[0][0] + mark + match[0][1:], broken)
            if not found:
                return broken, count
            count += found

    def _reset(self) -> None:
        backend = self._backend
        assert backend is not None
        if backend.truncation is not None:  # a tokenizer may come with a limit of its own, as MiniLM's 128
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        backend.encode_special_tokens = False

    def _find_guard(self) -> str | None:
        """Return the guard that continuations need, or None where none is needed or none serves."""
        alone = self.encode_all(_PROBES)
        for guard in _GUARDS[:1]:
            head = self.encode_all([guard])[0]
            if self.encode_all([guard + probe for probe in _PROBES]) == [head + ids for ids in alone]:
                return None
        return next((guard for guard in _GUARDS if self._guards(guard)), None)

    def _guards(self, guard: str) -> bool:
        head = self.encode_all([guard])[0]
        return all(ids[: len(head)] == head for ids in self.encode_all([guard + probe for probe in _PROBES]))

    def _behind_another_guard(self, text: str) -> list[int]:
        for guard in _GUARDS:
            head, ids = self.encode_all([guard, guard + text])
            if ids[: len(head)] == head:
                return ids[len(head) :]
        return self.encode_all([text])[0]


def _by_offsets(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    starts = [first for first, _ in offsets]
    return bisect_left(starts, start), bisect_left(starts, end) - 1


def _byte_letters() -> dict[int, str]:
    """Return the letter that byte-level tokenizers write for each byte: itself where it is printable.

    Source: ``bytes_to_unicode`` of GPT-2's encoder.
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(others)}


_BYTE_LETTERS: Final = _byte_letters()
_MARKS_OF_SPACE: Final = {letter for byte, letter in _BYTE_LETTERS.items() if byte not in range(33, 127)} | {"▁"}


def _written(char: str) -> set[str]:
    """Return how a token that begins with ``char`` may be written; empty where that would be ambiguous."""
    if char.isspace() or char in _MARKS_OF_SPACE:
        return set()
    return {char, _BYTE_LETTERS[char.encode("utf-8", "surrogatepass")[0]]}
