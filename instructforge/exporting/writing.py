"""Carrying a build over into a format: its files, what goes with them, a card, and an account of what was left out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attrs import Factory, asdict, evolve, frozen

from instructforge.building import InstructionSet, read_ledger, split_names
from instructforge.errors import ConfigError, InstructForgeError, printable
from instructforge.exporting.card import card
from instructforge.exporting.records import Exporter, ExportPlan, Record
from instructforge.files import write_atomically, write_json
from instructforge.tasks import Task, Text

if TYPE_CHECKING:
    from instructforge.data import Instruction
    from instructforge.plugins import Forge

__all__ = ["SCHEMA", "ExportResult", "SplitResult", "export", "lines_for_people"]

SCHEMA = "instructforge.export/1"
REPORT = "export.json"
LEFT_OUT = "left_out.jsonl"
_CHUNK = 512


@frozen
class SplitResult:
    """What became of a split's rows: ``rows = written + left_out``; ``lost`` counts what a written row has lost."""

    rows: int
    written: int
    bytes: int
    left_out: Mapping[str, int] = Factory(dict)
    lost: Mapping[str, int] = Factory(dict)


@frozen(kw_only=True)
class ExportResult:
    """An export.

    Attributes:
        format: Name of the exporter.
        folder: Where it was written.
        files: Split → file.
        splits: Split → what became of its rows.
        losses: What each short name in ``lost`` means.
    """

    format: str
    folder: Path
    files: Mapping[str, str]
    splits: Mapping[str, SplitResult]
    losses: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        splits = {split: asdict(part) for split, part in self.splits.items()}
        return {
            "schema": SCHEMA,
            "format": self.format,
            "files": dict(self.files),
            "splits": splits,
            "losses": dict(self.losses),
        }


def export(
    run: Path,
    to: str,
    *,
    forge: Forge,
    task: Task,
    into: Path | None = None,
    train: str = "last",
    model: Path | None = None,
    max_length: int | None = None,
    name: str | None = None,
    licence: str | None = None,
    language: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExportResult:
    """Write the built instructions of a run folder in another project's format.

    Args:
        run: A run folder, or a part of a mixed one.
        to: Name of the exporter.
        forge: Where the exporter is found.
        task: The task that the instructions are of.
        into: Folder to write; ``exports/<format>`` of the run folder where left out.
        train: ``last`` answer only, or ``all`` of the assistant's turns; a turn's own weight wins.
        model: For formats of token ids: the model folder whose tokenizer and chat template they are for.
        max_length: For these: tokens of a row at most.
        name: Of the data set; task and folder where left out.
        licence: Of the data, for the card.
        language: Of the card's own words: ``en`` or ``zh``; by the templates' languages where left out.
        progress: Called with (done, total) rows.

    Raises:
        ConfigError: There is no such exporter, nothing was built, or the format needs a model and none is named.
    """
    exporter: Exporter = forge.exporters.get(to)
    bound = getattr(exporter, "bound", None)
    if bound is not None and model is None:
        raise ConfigError(f'the export "{to}" is made for one model: name it with --model')
    if bound is not None:
        exporter = bound(model, max_length)
    ledger = read_ledger(run)
    splits = [split for split in split_names(run) if ledger["splits"][split]["instructions"]]
    if not splits:
        raise ConfigError(f'"{run}" holds no instructions to export')
    folder = into or run / "exports" / to
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan(run, task, ledger, name or f"{task.name}-{run.resolve().name}", train)
    plan = evolve(plan, files={split: f"{split}{exporter.suffix}" for split in splits})
    total, done = sum(ledger["splits"][split]["instructions"] for split in splits), 0
    results: dict[str, SplitResult] = {}
    with write_atomically(folder / LEFT_OUT) as left_out:
        for split in splits:
            told = partial(_tell, progress, done, total)
            path = folder / plan.files[split]
            results[split] = _write_split(exporter, InstructionSet(run, split), path, plan, left_out, told)
            done += results[split].rows
    plan = evolve(plan, counts={split: part.written for split, part in results.items()})
    for companion in exporter.companions(plan):
        with write_atomically(folder / companion.name) as handle:
            handle.write(companion.text)
    result = ExportResult(format=to, folder=folder, files=plan.files, splits=results, losses=exporter.losses)
    spoken = language or ("zh" if set(ledger["languages"]) == {"zh"} else "en")
    with write_atomically(folder / "README.md") as handle:
        handle.write(card(plan, result.to_json(), ledger, licence=licence, language=spoken))
    write_json(folder / REPORT, result.to_json())
    return result


def _tell(progress: Callable[[int, int], None], before: int, total: int, rows: int) -> None:
    progress(before + rows, total)


def _plan(run: Path, task: Task, ledger: Mapping[str, Any], name: str, train: str) -> ExportPlan:
    if train not in ("last", "all"):
        raise ConfigError(f'"{printable(train, 40)}" is not what can be trained: last or all')
    first = next((one for split in split_names(run) for one in InstructionSet(run, split)), None)
    return ExportPlan(
        name=re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-") or "data",
        task=task.name,
        summary=task.summary,
        languages=tuple(ledger["languages"]),
        train=train,
        choices=bool(first and first.choices),
        metrics=task.metric_names,
        max_new_tokens=task.target.max_new_tokens if isinstance(task.target, Text) else 64,
    )


def _write_split(
    exporter: Exporter,
    rows: InstructionSet,
    path: Path,
    plan: ExportPlan,
    left_out: IO[str],
    progress: Callable[[int], None],
) -> SplitResult:
    reasons, lost, written, seen = Counter[str](), Counter[str](), 0, 0
    with write_atomically(path) as handle:
        writer = _Lines(handle, exporter, plan)
        for start in range(0, len(rows), _CHUNK):
            chunk = list(rows[start : start + _CHUNK])
            for instruction, made in zip(chunk, exporter.records(chunk, plan.train), strict=True):
                seen += 1
                if isinstance(made, Record):
                    writer.write(made.value)
                    lost.update(made.lost)
                    written += 1
                else:
                    reasons[_reason(made)] += 1
                    left_out.write(_left_out(instruction, made))
            progress(seen)
        writer.end()
    return SplitResult(seen, written, path.stat().st_size, dict(sorted(reasons.items())), dict(sorted(lost.items())))


def _reason(error: InstructForgeError) -> str:
    return str(getattr(error, "reason", "") or getattr(error, "rule", "") or "not-encoded")


def _left_out(instruction: Instruction, error: InstructForgeError) -> str:
    origin = str(instruction.example.origin)
    value = {"id": instruction.id, "origin": origin, "reason": _reason(error), "message": str(error)}
    return json.dumps(value, ensure_ascii=False) + "\n"


class _Lines:
    """Writes records one by one: a line each, or as one list, alone or under ``Instances``."""

    def __init__(self, handle: IO[str], exporter: Exporter, plan: ExportPlan) -> None:
        self.handle, self.as_list = handle, exporter.suffix == ".json"
        self.begun = False
        head = getattr(exporter, "head", None)
        self.tail = "]"
        self.open = "["
        if head is not None:
            text = json.dumps(head(plan), ensure_ascii=False, indent=1)
            self.open, self.tail = f'{text.rstrip().removesuffix("}").rstrip()},\n "Instances": [', "]\n}"

    def write(self, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, ensure_ascii=False)
        if not self.as_list:
            self.handle.write(text + "\n")
            return
        self.handle.write((",\n" if self.begun else f"{self.open}\n") + text)
        self.begun = True

    def end(self) -> None:
        if self.as_list:
            self.handle.write((f"{self.open}" if not self.begun else "\n") + f"{self.tail}\n")


def lines_for_people(result: ExportResult) -> Iterator[str]:
    """Yield what an export did, a line for each split and each thing that the format has no place for."""
    for split, part in result.splits.items():
        yield f"{split}: {part.written} of {part.rows} rows → {result.folder / result.files[split]}"
        for reason, count in part.left_out.items():
            yield f"  left out, {reason}: {count} (listed in {result.folder / LEFT_OUT})"
        for name, count in part.lost.items():
            yield f"  not held, {name}: {count} rows ({result.losses.get(name, name)})"
