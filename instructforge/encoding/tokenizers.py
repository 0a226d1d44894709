"""A tokenizer as this package uses it: its hash, its unknown tokens, and text in pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from instructforge.files import sha256_of

__all__ = ["PieceTokenizer", "tokenizer_sha256", "unknown_share"]

_PROBES: Final = ("a", "Z", "7", "中", "é", "😀", "(")
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


def unknown_share(tokenizer: Any, texts: Iterable[str]) -> tuple[float, int]:
    """Return the share of unknown tokens in ``texts`` and the number of tokens it was counted over.

    A tokenizer without an unknown token, such as a byte-level one, has a share of 0.
    """
    unknown, count, total = tokenizer.unk_token_id, 0, 0
    for ids in PieceTokenizer(tokenizer).encode_all([text for text in texts if text]):
        total += len(ids)
        count += ids.count(unknown) if unknown is not None else 0
    return (count / total if total else 0.0), total


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
        if not texts:
            return []
        self._reset()
        assert self._backend is not None
        found = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [(one.ids, one.offsets) for one in found]

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
