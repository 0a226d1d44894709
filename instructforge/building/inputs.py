"""The build's inputs: each source with its label, its hash, its reader and its normalizer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from instructforge.building.retrieving import Filler, make_filler
from instructforge.building.settings import Source
from instructforge.components import Normalizer, Reader, RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, did_you_mean, printable
from instructforge.normalizers import ANSWER, ColumnsFunction, choose, map_columns
from instructforge.readers import choose_reader
from instructforge.readers.opening import file_error, open_regular

if TYPE_CHECKING:
    from instructforge.plugins import Forge
    from instructforge.tasks import Task

__all__ = ["FIRST_ROWS", "Input", "open_inputs", "same_files", "with_constants"]

FIRST_ROWS = 50
"""Good rows by which a normalizer is told."""


@frozen
class Input:
    """One source, ready to be read.

    Attributes:
        label: What the source is called in ids, origins and the ledger: its file name, led by as many of
            its folders as tell it from the other sources. It does not change with where the data lie.
        sha256: Of the file; for a folder, of all its files. None for the hub.
        size: In bytes.
        stamp: Size and time of change of each file, to notice a change while it is read.
    """

    source: Source
    label: str
    reader: Reader
    normalizer: Normalizer
    sha256: str | None
    size: int | None
    stamp: tuple[tuple[int, int], ...] = ()
    beside: tuple[Path, ...] = ()
    """Other files that the reader reads with it, such as the other side of parallel text."""
    filler: Filler | None = None
    """Fills a field from a corpus."""
    records: int | None = None
    """How many it holds, where the reader knows without reading."""

    def rows(self) -> Iterator[RowOrError]:
        """Yield the source's rows, origins led by the label.

        Raises:
            DataError: The file as a whole cannot be read.
        """
        return _relabelled(self.source, self.reader, self.label)

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows that come of it."""
        source = self.source
        return {
            "label": self.label,
            "sha256": self.sha256,
            "bytes": self.size,
            "split": source.split,
            "reader": self.reader.name,
            "normalizer": self.normalizer.name,
            "columns": dict(source.columns),
            "options": dict(source.options),
            "constants": dict(source.constants),
            **({"retrieve": dict(self.filler.identity())} if self.filler else {}),
        }

    def refuse_change(self) -> None:
        """Raise ``DataError`` if a file has changed since it was hashed."""
        if self.sha256 is not None and _stamp(self.source.path, *self.beside) != self.stamp:
            raise DataError(
                f'"{printable(self.source.path)}" has changed while it was read.\nRun the build again.',
                rule="file-changed",
                fix="run the build again",
                origin=Origin(self.label),
            )


def open_inputs(forge: Forge, task: Task, sources: Sequence[Source], out: Path) -> list[Input]:
    """Open every source: hash it, choose its reader and normalizer, check its column mapping.

    Raises:
        ConfigError: A choice is ambiguous, a mapped column does not exist, or a source is one of the build's
            own output files.
        DataError: A file cannot be read at all.
    """
    if not sources:
        raise ConfigError("there is nothing to build: no source is given")
    _refuse_own_output(sources, out)
    return [
        _open(forge, task, source, label, out)
        for source, label in zip(sources, _labels([source.path for source in sources]), strict=True)
    ]


def _open(forge: Forge, task: Task, source: Source, label: str, out: Path) -> Input:
    reader = choose_reader(source.path, forge.readers, source.reader, source.options)
    first = _first_good(_relabelled(source, reader, label), source.path)
    normalizer = _normalizer(forge, task, source, first)
    _check_columns(task, source, normalizer, first)
    beside = _beside(reader, source)
    size, digest = (None, None) if _is_hub(source.path) else _hash(source.path, *beside)
    stamp = () if digest is None else _stamp(source.path, *beside)
    filler = make_filler(forge, task, source.retrieve, out) if source.retrieve else None
    count: Callable[[Path], int] | None = getattr(reader, "records", None)
    records = None if count is None or digest is None else count(source.path)
    return Input(source, label, reader, normalizer, digest, size, stamp, beside, filler, records)


def same_files(inputs: Sequence[Input]) -> list[tuple[Input, Input]]:
    """Return the pairs of inputs that are the same file, byte for byte, each with the first of its kind."""
    first: dict[str, Input] = {}
    known = [one for one in inputs if one.sha256 is not None]
    pairs = [(first.setdefault(str(one.sha256), one), one) for one in known]
    return [(earlier, one) for earlier, one in pairs if earlier is not one]


def _beside(reader: Reader, source: Source) -> tuple[Path, ...]:
    """Return the other files that a reader reads with the source, where it is one that does."""
    find: Callable[[Path, Mapping[str, Any]], Sequence[Path]] | None = getattr(reader, "beside", None)
    return tuple(find(source.path, source.options)) if find else ()


def _normalizer(forge: Forge, task: Task, source: Source, first: Sequence[Row]) -> Normalizer:
    if source.normalizer is None:
        ready = [Row(with_constants(map_columns(row.values, source.columns), source), row.origin) for row in first]
        return choose(task, forge.normalizers_for(task), ready, source=str(source.path))
    chosen = forge.normalizers.get(source.normalizer)
    if chosen.task != task.name:
        raise ConfigError(
            f'the normalizer "{chosen.name}" makes rows of the task "{chosen.task}", not of "{task.name}"'
        )
    return chosen


def with_constants(values: Mapping[str, Any], source: Source) -> Mapping[str, Any]:
    """Return ``values`` with the source's constants; a row's own value counts before a constant."""
    return {**source.constants, **values} if source.constants else values


# --- Labels -------------------------------------------------------------------------------------------


def _is_hub(path: Path) -> bool:
    return str(path).startswith("hub:")


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each path, with as many of its folders as tell different paths apart.

    >>> _labels([Path("/a/x/train.tsv"), Path("/a/y/train.tsv"), Path("/a/dev.tsv")])
    ['x/train.tsv', 'y/train.tsv', 'dev.tsv']
    """
    whole = [path if _is_hub(path) else path.absolute() for path in paths]
    depth = [len(path.parts) if _is_hub(path) else 1 for path in whole]
    while True:
        names = ["/".join(path.parts[-count:]) for path, count in zip(whole, depth, strict=True)]
        owners: dict[str, set[Path]] = {}
        for name, path in zip(names, whole, strict=True):
            owners.setdefault(name, set()).add(path)
        short = [place for place, path in enumerate(whole) if depth[place] < len(path.parts)]
        clashing = [place for place in short if len(owners[names[place]]) > 1]
        if not clashing:
            return names
        for place in clashing:
            depth[place] += 1


def _relabelled(source: Source, reader: Reader, label: str) -> Iterator[RowOrError]:
    own = {source.path.name, str(source.path)}
    for found in reader.read(source.path, source.options):
        origin = found.origin
        if origin is not None and (origin.source == label or origin.source not in own):
            yield found  # a row that was fed back keeps its first origin
            continue
        moved = Origin(label) if origin is None else evolve(origin, source=label)
        if isinstance(found, DataError):
            found.origin = moved
            yield found
        else:
            yield Row(found.values, moved)


# --- First look ---------------------------------------------------------------------------------------


def _first_good(rows: Iterator[RowOrError], path: Path) -> list[Row]:
    """Return the first good rows; none where a file holds bad records only."""
    good: list[Row] = []
    any_record = False
    for found in rows:
        any_record = True
        if isinstance(found, Row):
            good.append(found)
        if len(good) == FIRST_ROWS:
            break
    if not any_record:
        raise file_error(path, "holds no records", rule="no-records", fix="leave it out, or fetch it again")
    return good


def _check_columns(task: Task, source: Source, normalizer: Normalizer, first: Sequence[Row]) -> None:
    """Refuse a mapping of a column that the file lacks, or to something that nobody reads."""
    problems = []
    present = {str(name) for row in first for name in row.values}
    function = normalizer.function
    for part, column in source.columns.items():
        if first and column not in present:
            problems.append(
                f'columns.{part}: "{printable(source.path)}" has no column "{printable(column, 80)}". '
                f"{did_you_mean(column, present)}"
            )
        if isinstance(function, ColumnsFunction):
            known = {*task.fields, ANSWER, *function.known_columns}
            if part not in known:
                problems.append(
                    f'columns.{part}: the normalizer "{normalizer.name}" reads nothing called "{printable(part, 80)}". '
                    f"{did_you_mean(part, known)}"
                )
    if problems:
        raise ConfigError(problems)


# --- Files --------------------------------------------------------------------------------------------


def _refuse_own_output(sources: Sequence[Source], out: Path) -> None:
    own = out.resolve()
    for source in sources:
        where = source.path.resolve()
        if where.parent == own / "data" or where in (own / "quarantine.jsonl", own / "ledger.json"):
            raise ConfigError(
                f'the source "{printable(source.path)}" is a file that this build writes. '
                "Copy it out of the folder first, or build into another one"
            )


def _files(path: Path) -> list[Path]:
    return sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]


def _hash(path: Path, *beside: Path) -> tuple[int, str]:
    """Return the size and the sha256 of a file, or of a folder's files with their names; of all of several files."""
    if beside:
        sizes, digests = zip(*map(_hash, (path, *beside)), strict=True)
        return sum(sizes), hashlib.sha256("".join(digests).encode("ascii")).hexdigest()
    total, digest = 0, hashlib.sha256()
    for file in _files(path):
        if file is not path:
            digest.update(str(file.relative_to(path)).encode("utf-8", "surrogateescape") + b"\0")
        with open_regular(file) as handle:
            while block := handle.read(1 << 20):
                total += len(block)
                digest.update(block)
    return total, digest.hexdigest()


def _stamp(*paths: Path) -> tuple[tuple[int, int], ...]:
    try:
        files = (file for path in paths for file in _files(path))
        return tuple((found.st_size, found.st_mtime_ns) for found in (file.stat() for file in files))
    except OSError:
        return ()
