"""What to build, and how."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

from instructforge.errors import ConfigError, printable

__all__ = ["SPLITS", "BuildSettings", "Retrieve", "Source", "names_template"]

SPLITS = ("train", "validation", "test")
_DEDUP = ("exact", "near")
_DECONTAMINATE = ("exact", "normalised", "ngram")
_SPLIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}\Z")


def _check_split_name(name: str) -> None:
    if not _SPLIT_NAME.match(name):
        raise ConfigError(f'"{printable(name, 40)}" is no name of a split: letters, digits and underscores, 41 at most')


def names_template(ask: str, key: str) -> bool:
    """Tell whether ``ask`` names the template: its name, its language and name, its key, or a pattern of these.

    >>> names_template("exam", "qa/en/exam"), names_template("en/*", "qa/en/exam"), names_template("zh/x", "qa/en/x")
    (True, True, False)
    """
    parts = key.split("/")
    return any(fnmatchcase("/".join(parts[start:]), ask) for start in range(len(parts)))


def _dedup(value: str | bool) -> str | bool:
    return "exact" if value is True else value


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@frozen(kw_only=True)
class Retrieve:
    """A field that is filled from a corpus, in rows that lack it.

    Args:
        corpus: File of passages, in any format that a reader knows.
        into: The task's field to fill: a text gets the passages one below the other, a list gets them as its items.
            Where left out: the field that answers are a span of, ``context``, the list that answers are chosen from,
            or the task's only optional list.
        query: The task's field to ask with: ``question``, or the first text that a row must have, where left out. Of
            chat turns, the last thing that the user says.
        count: Passages to retrieve.
        text: Column (or columns) of the passage; ``text``, ``passage``, ``context`` … where left out.
        key: Columns by which a passage is found. Where left out: the question of an entry with question and answer,
            else the passage itself.
        retriever: Name of a retriever.
        reader: Name of the corpus's reader, where the file leaves a choice.
    """

    corpus: Path = field(converter=Path)
    into: str | None = None
    query: str | None = None
    count: int = 3
    text: tuple[str, ...] = field(default=(), converter=_names)
    key: tuple[str, ...] = field(default=(), converter=_names)
    retriever: str = "bm25"
    reader: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"retrieve.count is {self.count}, and must be 1 or more")


@frozen(kw_only=True)
class Source:
    """One file (or saved folder, or ``hub:NAME``) to read.

    Args:
        path: Where it is.
        split: The split that all of it goes to; split by the settings' shares where left out.
        reader: Name of the reader; told from the file where left out.
        normalizer: Name of the normalizer; told from the first rows where left out.
        columns: Task field (or ``answer``, ``id``) → the column of the file that holds it.
        options: The reader's own options.
        constants: Values that every row has beside its own, such as a closed set of ``choices``.
        retrieve: The field that is filled from a corpus, in rows that lack it.
    """

    path: Path = field(converter=Path, kw_only=False)
    split: str | None = None
    reader: str | None = None
    normalizer: str | None = None
    columns: Mapping[str, str] = field(factory=dict)
    options: Mapping[str, Any] = field(factory=dict)
    constants: Mapping[str, Any] = field(factory=dict)
    retrieve: Retrieve | None = None

    def __attrs_post_init__(self) -> None:
        if self.split is not None:
            _check_split_name(self.split)


def _shares() -> Mapping[str, float]:
    return {"train": 0.8, "validation": 0.1, "test": 0.1}


@frozen(kw_only=True)
class BuildSettings:
    """How to build.

    Args:
        seed: Of the split, the choice of templates and what templates draw.
        workers: Processes; the output has the same bytes for any number of them.
        shard_rows: Rows of a shard.
        split: Shares of the splits, for sources that name none.
        templates: Names or keys of the templates to use (``exam``, ``en/exam``, ``qa/en/*``); all where empty.
        template_weights: Name or key of templates (``exam``, ``qa/en/*``) → how much more often than others they come
            first, 1 for those not named; 0 leaves them out.
        per_example: Different templates for each row of ``train``; its instructions then have the ids
            ``<row id>#<template>``. Rows of other splits have one, so that figures count each row once.
        inverted_share: Share of labelled train rows that get an inverted template. Other splits never do.
        language: Language of all rows; else each row's own, or the one that its script tells.
        limit: Read no further in a source once so many of its examples are built.
        dedup: ``exact`` (or true): a row with the same content as an earlier one is left out, and counted; ``near``:
            also one that is much like an earlier one in each of its fields, with the same label.
        dedup_threshold: Share of n-grams in common (Jaccard) from which two texts are near-duplicates.
        decontaminate: Leaves out training rows that tell of rows of another split: with the same inputs (``exact``),
            the same but for case, width, spaces and punctuation (``normalised``), or an n-gram of one (``ngram``).
        few_shot: Worked examples in front of each row's question; none where 0.
        few_shot_from: ``samples`` of the task, or rows of ``train`` (never the row itself, or one of its group).
        few_shot_as: ``turns`` of the chat, or ``text`` in front of the question.
        few_shot_share: Share of the training rows that get them; rows of other splits always do.
        max_bad: Quarantined rows above which the build fails: a number, or a share where it is below 1.
    """

    seed: int = 42
    workers: int = 1
    shard_rows: int = 5000
    split: Mapping[str, float] = field(factory=_shares)
    templates: tuple[str, ...] = field(default=(), converter=tuple)
    template_weights: Mapping[str, float] = field(factory=dict)
    per_example: int = 1
    inverted_share: float = 0.0
    language: str | None = None
    limit: int | None = None
    dedup: str | bool = field(default=False, converter=_dedup)
    dedup_threshold: float = 0.7
    decontaminate: str | None = None
    few_shot: int = 0
    few_shot_from: str = "samples"
    few_shot_as: str = "turns"
    few_shot_share: float = 1.0
    max_bad: float | None = None

    def __attrs_post_init__(self) -> None:
        problems = [*self._number_problems(), *self._split_problems()]
        if problems:
            raise ConfigError(problems, source="build settings")

    def _number_problems(self) -> list[str]:
        least = {"workers": self.workers, "shard_rows": self.shard_rows, "per_example": self.per_example}
        least |= {"limit": 1 if self.limit is None else self.limit}
        problems = [f"{name} is {value}, and must be 1 or more" for name, value in least.items() if value < 1]
        if not 0.0 <= self.inverted_share <= 1.0:
            problems.append(f"inverted_share is {self.inverted_share}, not a share from 0 to 1")
        for name, weight in self.template_weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                problems.append(f"template_weights.{name} is {weight}, and must be 0 or more")
        if self.few_shot < 0:
            problems.append(f"few_shot is {self.few_shot}, and must not be negative")
        for name, known in (("few_shot_from", ("samples", "train")), ("few_shot_as", ("turns", "text"))):
            if getattr(self, name) not in known:
                problems.append(f'{name} is "{printable(getattr(self, name), 40)}", not {" or ".join(known)}')
        if not 0.0 <= self.few_shot_share <= 1.0:
            problems.append(f"few_shot_share is {self.few_shot_share}, not a share from 0 to 1")
        for name, kinds in (("dedup", _DEDUP), ("decontaminate", _DECONTAMINATE)):
            given = getattr(self, name)
            if given not in (None, False, *kinds):
                problems.append(f'{name} is "{printable(given, 40)}", not {" or ".join(kinds)}')
        if not 0.0 < self.dedup_threshold <= 1.0:
            problems.append(f"dedup_threshold is {self.dedup_threshold}, not a share above 0, and up to 1")
        if self.max_bad is not None and self.max_bad < 0:
            problems.append(f"max_bad is {self.max_bad}, and must not be negative")
        return problems

    def _split_problems(self) -> list[str]:
        problems = []
        for name, share in self.split.items():
            _check_split_name(name)
            if not 0.0 <= share <= 1.0:
                problems.append(f"split.{name} is {share}, not a share from 0 to 1")
        total = sum(self.split.values())
        if abs(total - 1.0) > 1e-6:
            problems.append(f"the shares of the splits add up to {total:g}, not to 1")
        return problems

    def weight_of(self, key: str) -> float:
        """Return a template's weight: that of the last pattern which names it."""
        return next((w for ask, w in reversed([*self.template_weights.items()]) if names_template(ask, key)), 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return what decides the output: everything but ``workers``."""
        value = asdict(self)
        del value["workers"]
        return value | {
            "template_weights": dict(self.template_weights),
            "templates": list(self.templates),
            "split": dict(self.split),
        }
