"""The ledger: where every row went. ``read = built + skipped + quarantined + deduplicated``, by reason."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from attrs import Factory, asdict, define

from instructforge.building.settings import SPLITS
from instructforge.errors import ConfigError, printable

__all__ = [
    "DUPLICATES",
    "FEW_SHOT",
    "LEDGER",
    "QUARANTINE",
    "SCHEMA",
    "TEMPLATES",
    "SourceTally",
    "Tally",
    "read_ledger",
    "split_names",
    "split_order",
    "used_templates",
]

SCHEMA = "instructforge.ledger/1"
LEDGER = "ledger.json"
QUARANTINE = "quarantine.jsonl"
DUPLICATES = "duplicates.jsonl"
FEW_SHOT = "few_shot.json"
TEMPLATES = "templates.json"


@define
class SourceTally:
    """What became of one source's rows. ``read`` counts examples, and records of which none could be made."""

    records: int = 0
    read: int = 0
    built: int = 0
    skipped: Counter[str] = Factory(Counter)
    quarantined: Counter[str] = Factory(Counter)
    deduplicated: Counter[str] = Factory(Counter)
    notes: Counter[str] = Factory(Counter)
    unlabelled: int = 0
    read_to_end: bool = False

    @property
    def adds_up(self) -> bool:
        gone = self.skipped.total() + self.quarantined.total() + self.deduplicated.total()
        return self.read == self.built + gone

    def to_json(self) -> dict[str, Any]:
        return {
            name: dict(sorted(part.items())) if isinstance(part, Counter) else part
            for name, part in asdict(self, recurse=False).items()
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SourceTally:
        parts: dict[str, Any] = {
            name: Counter(part) if isinstance(part, dict) else part for name, part in value.items()
        }
        return cls(**parts)


@define
class Tally:
    """All counts of a build, as they grow; ``to_json`` and ``from_json`` carry them over a crash."""

    sources: list[SourceTally]
    examples: Counter[str] = Factory(Counter)
    instructions: Counter[str] = Factory(Counter)
    unlabelled: Counter[str] = Factory(Counter)
    inverted: Counter[str] = Factory(Counter)
    languages: Counter[str] = Factory(Counter)
    templates: dict[str, Counter[str]] = Factory(dict)
    lengths: dict[str, Counter[int]] = Factory(dict)
    """How often each length in tokens occurs, by ``<split>/<field>`` and ``<split>/answer``."""

    def total(self, name: str) -> int:
        """Return the sum of one count over the sources."""
        parts = (getattr(source, name) for source in self.sources)
        return sum(part.total() if isinstance(part, Counter) else part for part in parts)

    def by_reason(self, name: str) -> dict[str, int]:
        """Return one count over the sources by reason."""
        whole: Counter[str] = sum((getattr(source, name) for source in self.sources), Counter())
        return dict(sorted(whole.items()))

    def to_json(self) -> dict[str, Any]:
        return {
            "sources": [source.to_json() for source in self.sources],
            **{name: dict(sorted(getattr(self, name).items())) for name in _BY_SPLIT},
            "templates": {key: dict(sorted(count.items())) for key, count in sorted(self.templates.items())},
            "lengths": {key: sorted(count.items()) for key, count in sorted(self.lengths.items())},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Tally:
        return cls(
            sources=[SourceTally.from_json(part) for part in value["sources"]],
            **{name: Counter(value[name]) for name in _BY_SPLIT},
            templates={key: Counter(part) for key, part in value["templates"].items()},
            lengths={key: Counter(dict(part)) for key, part in value["lengths"].items()},
        )

    def add_lengths(self, split: str, lengths: Iterable[tuple[str, int]]) -> None:
        """Count the tokens of a row's texts, by what they are called; empty ones are not there."""
        for name, length in lengths:
            if length:
                key = f"{split}/{name}"
                counts = self.lengths.get(key)
                if counts is None:
                    counts = self.lengths[key] = Counter()
                counts[length] += 1

    def spread(self, name: str) -> dict[str, float]:
        """Return how long the texts of a field are in a split, in words and characters of unspaced scripts."""
        counts = sorted(self.lengths.get(name, Counter()).items())
        n = sum(count for _, count in counts)
        if not n:
            return {}
        upto = list(accumulate(count for _, count in counts))
        quantiles = {"median": 0.5, "p95": 0.95}
        return {
            "n": n,
            "mean": round(sum(length * count for length, count in counts) / n, 2),
            "least": counts[0][0],
            **{name: counts[bisect_left(upto, share * n)][0] for name, share in quantiles.items()},
            "most": counts[-1][0],
        }


_BY_SPLIT = ("examples", "instructions", "unlabelled", "inverted", "languages")


# --- Reading what a build has written -----------------------------------------------------------------


def read_ledger(folder: Path) -> dict[str, Any]:
    """Return the ledger of a run folder.

    Raises:
        ConfigError: There is none, or it is of a version that is not known here.
    """
    path = Path(folder) / LEDGER
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f'"{printable(folder)}" has no {LEDGER}: nothing was built there, or the build was broken off. '
            "Run the build (again)"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f'"{printable(path)}" cannot be read: {printable(error)}. Run the build again') from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise ConfigError(f'"{printable(path)}" is of the form "{printable(found)}", not "{SCHEMA}"')
    return value


def complete_ledger(folder: Path) -> dict[str, Any]:
    """Return the ledger of a build that has come to its end.

    Raises:
        ConfigError: There is none, or the build ended with an error.
    """
    ledger = read_ledger(folder)
    if not ledger["complete"]:
        raise ConfigError(f'the build in "{printable(folder)}" has failed: {ledger["stopped"]}')
    return ledger


def split_order(name: str) -> tuple[int, str]:
    """Return what splits are sorted by: train, validation, test, then others by name."""
    return (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)


def split_names(folder: Path) -> list[str]:
    """Return the splits that have rows, in the order train, validation, test, others.

    Raises:
        ConfigError: The folder holds no complete build.
    """
    splits: Mapping[str, Any] = complete_ledger(folder)["splits"]
    return sorted((name for name, part in splits.items() if part["instructions"]), key=split_order)


def used_templates(folder: Path) -> dict[str, str]:
    """Return the source of every template that a build has used, by key ``task/language/name``.

    Raises:
        ConfigError: The folder holds no complete build.
    """
    complete_ledger(folder)
    path = Path(folder) / TEMPLATES
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {key: part["source"] for key, part in value["templates"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f'"{printable(path)}" cannot be read: {printable(error)}. Run the build again') from None
