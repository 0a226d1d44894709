"""Parquet files, data sets saved by ``datasets``, and data sets on the hub: a batch of rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, MissingDependencyError, did_you_mean, printable
from instructforge.readers.jsonvalue import not_text, too_long
from instructforge.readers.opening import Limits, file_error, open_regular

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["HUB", "DatasetsReader", "ParquetReader"]

HUB = "hub:"
_BATCH_ROWS = 64
_BOMB_BYTES = 64 << 20


class ParquetReader:
    """Reads a Parquet file."""

    name = "parquet"
    suffixes = (".parquet", ".pq")

    def accepts(self, path: Path, head: bytes) -> bool:
        return head[:4] == b"PAR1"

    def records(self, path: Path) -> int:
        """Return how many records the file says it holds."""
        import pyarrow.parquet as pq

        with open_regular(path) as handle:
            return int(pq.read_metadata(handle).num_rows)

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield the row of each record, by number."""
        import pyarrow as pa  # only where such a file is read
        import pyarrow.parquet as pq

        limits = Limits.take(options, reader=self.name)
        with open_regular(path) as handle:
            try:
                file = pq.ParquetFile(handle, read_dictionary=_text_columns(handle), pre_buffer=False)
                _refuse_bomb(file, path, limits)
                if not file.metadata.num_rows:
                    raise file_error(path, "holds no rows", rule="no-records", fix="leave it out, or fetch it again")
                _refuse_twice(file.schema_arrow, path)
                yield from _numbered(file.iter_batches(batch_size=_BATCH_ROWS), path.name, limits)
            except (pa.ArrowException, OSError) as error:
                what = f"is no Parquet file that can be read: {printable(error)}"
                raise file_error(path, what, rule="parquet", fix="write it again") from None


def _text_columns(handle: Any) -> list[str]:
    """Return the columns of texts: kept as dictionaries, so that one long text repeated is held once."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(handle)
    handle.seek(0)
    return [part.name for part in schema if _is_text(part.type)]


def _refuse_bomb(file: pq.ParquetFile, path: Path, limits: Limits) -> None:
    for group in range(file.metadata.num_row_groups):
        part = file.metadata.row_group(group)
        for place in range(part.num_columns):
            column = part.column(place)
            packed, size = max(1, column.total_compressed_size), column.total_uncompressed_size
            if size > _BOMB_BYTES and size / packed > limits.max_ratio:
                raise file_error(
                    path,
                    f"has a column that unpacks to more than {limits.max_ratio} times its size",
                    rule="parquet-bomb",
                    fix="if it is meant to, write it unpacked, or raise the reader's option max_ratio",
                )


def _refuse_twice(schema: pa.Schema, path: Path) -> None:
    names = [part.name for part in schema]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        what = f'has more than one column called "{printable(twice, 80)}"'
        raise file_error(path, what, rule="header-duplicate", fix="give each column a name of its own")


def _numbered(batches: Iterator[pa.RecordBatch], source: str, limits: Limits) -> Iterator[RowOrError]:
    number = 0
    for batch in batches:
        sizes = _sizes(batch)
        for place in range(batch.num_rows):
            number += 1
            origin = Origin(source, number)
            if sizes[place] > limits.max_record_bytes:
                yield too_long(origin, limits.max_record_bytes)
            else:
                yield _row(batch, place, origin)


def _sizes(batch: pa.RecordBatch) -> list[int]:
    """Return the bytes of each row's texts, without unpacking any: a long text repeated is held once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = [0] * batch.num_rows
    for column in batch.columns:
        kind = column.type
        if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
            lengths = pc.binary_length(column.dictionary).take(column.indices)
        elif _is_text(kind):
            lengths = pc.binary_length(column)
        else:
            continue
        sizes = [size + (length or 0) for size, length in zip(sizes, lengths.to_pylist(), strict=True)]
    return sizes


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def _row(batch: pa.RecordBatch, place: int, origin: Origin) -> RowOrError:
    """Return one row of a batch, converted by itself: a bad one spoils no other."""
    try:
        values = {name: column[place].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        fix = "write the texts as UTF-8"
        return DataError(f"a value cannot be read: {printable(error)}", rule="encoding", fix=fix, origin=origin)
    problem = not_text(values)
    if problem:
        return DataError(problem, rule="not-text", fix="take the character out", origin=origin)
    return Row(values, origin)


class DatasetsReader:
    """Reads a folder that ``datasets`` has saved, or a data set on the hub: ``hub:NAME`` or ``hub:NAME/CONFIG``.

    A saved folder is read as Arrow, without the library and without running anything.
    """

    name = "datasets"
    suffixes = ()

    def accepts(self, path: Path, head: bytes) -> bool:
        marks = ("state.json", "dataset_dict.json")
        return str(path).startswith(HUB) or (path.is_dir() and any((path / mark).is_file() for mark in marks))

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield the row of each record; ``options["split"]`` names the split where there are several."""
        limits = Limits.take(options, reader=self.name, known=("split",))
        split = options.get("split")
        if str(path).startswith(HUB):
            yield from _from_hub(str(path).removeprefix(HUB), split)
        else:
            yield from _from_folder(path, split, limits)


def _from_folder(path: Path, split: str | None, limits: Limits) -> Iterator[RowOrError]:
    folder = _split_folder(path, split)
    rows = _numbered(_batches(path, folder), path.name, limits)
    first = next(rows, None)
    if first is None:
        raise file_error(path, "holds no rows", rule="no-records", fix="leave it out, or save it again")
    yield first
    yield from rows


def _split_folder(path: Path, split: str | None) -> Path:
    """Return the folder of the one split to read."""
    if not (path / "dataset_dict.json").is_file():
        return path
    names = _names(path, _json(path, path / "dataset_dict.json").get("splits"))
    if split is None and len(names) == 1:
        split = names[0]
    if split is None:
        raise ConfigError(f'"{printable(path)}" has the splits {", ".join(names)}; say which with the option split')
    if split not in names:
        raise ConfigError(f'"{printable(path)}" has no split "{printable(split, 80)}". {did_you_mean(split, names)}')
    return path / split


def _batches(path: Path, folder: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    entries = _json(path, folder / "state.json").get("_data_files")
    files = [entry.get("filename") if isinstance(entry, Mapping) else None for entry in entries or ()]
    for name in _names(path, files):
        with open_regular(folder / name) as handle:
            try:
                for batch in pa.ipc.open_stream(handle):
                    for start in range(0, batch.num_rows, _BATCH_ROWS):
                        yield batch.slice(start, _BATCH_ROWS)
            except (pa.ArrowException, OSError) as error:
                what = f'holds "{name}", which is no Arrow file: {printable(error)}'
                raise file_error(path, what, rule="arrow", fix="save the data set again") from None


def _json(path: Path, file: Path) -> dict[str, Any]:
    with open_regular(file) as handle:
        try:
            value = json.loads(handle.read(1 << 20))
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise file_error(path, f'has a broken "{file.name}"', rule="datasets", fix="save the data set again")
    return value


def _names(path: Path, names: Any) -> list[str]:
    """Return names that a saved folder gives, unless one of them leads out of it."""
    listed = names if isinstance(names, list) else []
    for name in listed:
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            what = f'names "{printable(name, 80)}", which is no file of its own'
            raise file_error(path, what, rule="datasets", fix="save the data set again")
    return listed


def _from_hub(name: str, split: str | None) -> Iterator[RowOrError]:
    try:
        from datasets import load_dataset  # heavy, and only for the hub
    except ModuleNotFoundError:
        raise MissingDependencyError("datasets, which reads from the hub,", extra="data") from None

    parts = name.split("/")
    repository, config = ("/".join(parts[:2]), "/".join(parts[2:]) or None)
    try:
        found = load_dataset(repository, config, split=split, streaming=True)
    except Exception as error:  # whatever the library, the network or the hub raise
        what = f"cannot be loaded from the hub: {type(error).__name__}: {printable(error)}"
        raise file_error(
            Path(HUB + name), what, rule="hub", fix="check the name, the network and your rights"
        ) from None
    if isinstance(found, Mapping):
        raise ConfigError(f'"{HUB}{name}" has the splits {", ".join(found)}; say which with the option split')
    for number, values in enumerate(found, 1):
        yield Row(values, Origin(f"{HUB}{name}", number))
