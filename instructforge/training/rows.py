"""Encoded rows in flat arrays: a few bytes a token, read by index."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch

from instructforge.files import sha256_of

__all__ = ["IGNORED", "TokenRows", "pad_right"]

IGNORED = -100


class TokenRows(Sequence[tuple[Any, Any]]):
    """Rows of (ids, labels), packed one behind the other.

    Shapes:
        Each row: ids (T,), labels (T,), int64; a label of -100 is not trained.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.places: list[int] = []
        """Of each row: its number among the rows that were to be encoded."""
        self._tokens, self._trained, self._ends = array("i"), bytearray(), array("q", [0])

    def append(self, row_id: str, tokens: Sequence[int], labels: Sequence[int], place: int = -1) -> None:
        self.ids.append(row_id)
        self.places.append(place)
        self._tokens.extend(tokens)
        self._trained.extend(label != IGNORED for label in labels)
        self._ends.append(len(self._tokens))

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, number: int) -> tuple[Any, Any]: ...
    @overload
    def __getitem__(self, number: slice) -> list[tuple[Any, Any]]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        start, end = self._ends[number], self._ends[number + 1]
        tokens = np.array(self._tokens[start:end], dtype=np.int64)
        trained = np.frombuffer(bytes(self._trained[start:end]), dtype=np.uint8)
        return tokens, np.where(trained == 1, tokens, IGNORED)

    @property
    def lengths(self) -> list[int]:
        return [self._ends[number + 1] - self._ends[number] for number in range(len(self))]

    @property
    def tokens(self) -> int:
        return len(self._tokens)

    @property
    def trained(self) -> int:
        return sum(self._trained)

    @property
    def sha256(self) -> str:
        """Hash of every id and mask."""
        return sha256_of(self._tokens.tobytes() + bytes(self._trained) + self._ends.tobytes())


def pad_right(rows: Sequence[tuple[Any, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Make a batch, padded to its longest row. Padding is masked by place, never by id: pad may be EOS.

    Shapes:
        input_ids, labels, attention_mask: (B, T).
    """
    longest = max(len(tokens) for tokens, _ in rows)
    batch = {
        "input_ids": torch.full((len(rows), longest), pad_id),
        "labels": torch.full((len(rows), longest), IGNORED),
        "attention_mask": torch.zeros((len(rows), longest), dtype=torch.long),
    }
    for number, (tokens, labels) in enumerate(rows):
        batch["input_ids"][number, : len(tokens)] = torch.from_numpy(tokens)
        batch["labels"][number, : len(tokens)] = torch.from_numpy(labels)
        batch["attention_mask"][number, : len(tokens)] = 1
    return batch
