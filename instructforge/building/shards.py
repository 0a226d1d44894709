"""Shards: Parquet files of a fixed number of rows, written whole or not at all, and read by row group."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import orjson

from instructforge.building.ledger import complete_ledger
from instructforge.building.making import Built
from instructforge.data import Instruction
from instructforge.errors import ConfigError, DataError, printable
from instructforge.files import write_atomically

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["DATA", "Behind", "InstructionSet", "from_bytes", "shard_name", "to_bytes", "write_shard"]

DATA = "data"
GROUP_ROWS = 128
"""Rows of a row group: what has to be unpacked to get at one of them."""
GROUP_BYTES = 8 << 20
"""Size at which a row group ends before that."""
_CONVERTED_AT_ONCE = 16
_GROUPS_KEPT = 32


def shard_name(split: str, number: int) -> str:
    """Return a shard's name within the data folder.

    >>> shard_name("train", 0)
    'train-00000.parquet'
    """
    return f"{split}-{number:05d}.parquet"


def _schema() -> pa.Schema:
    import pyarrow as pa  # loaded when a shard is written, not when settings are read

    message = pa.struct([("role", pa.string()), ("content", pa.string()), ("trained", pa.bool_())])
    texts = [(name, pa.string()) for name in ("id", "task", "language", "template")]
    return pa.schema([*texts, ("messages", pa.list_(message)), ("instruction", pa.string())])


def to_bytes(built: Built) -> bytes:
    """Return a row as bytes, for the time until its shard is full."""
    rest = [built.split, built.template, built.language, built.id, built.inverted, built.messages]
    return orjson.dumps([*rest, built.instruction.decode("utf-8")])


def from_bytes(packed: bytes) -> Built:
    """Return the row that ``to_bytes`` has packed."""
    split, template, language, id, inverted, messages, instruction = orjson.loads(packed)
    return Built(split, template, language, id, inverted, messages, instruction.encode("utf-8"))


def write_shard(path: Path, rows: Iterable[Built]) -> str:
    """Write a shard; return its sha256. The same rows make the same bytes."""
    import pyarrow.parquet as pq

    schema = _schema()
    repeated = ["task", "language", "template", "messages.list.element.role"]
    with (
        write_atomically(path, "wb") as handle,
        pq.ParquetWriter(
            handle, schema, compression="zstd", version="2.6", store_schema=False, use_dictionary=repeated
        ) as writer,
    ):
        for groups in _stretches(_groups(rows)):
            batch, start = _batch([row for group in groups for row in group], schema), 0
            for group in groups:
                writer.write_batch(batch.slice(start, len(group)), row_group_size=GROUP_ROWS)
                start += len(group)
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _groups(rows: Iterable[Built]) -> Iterator[list[Built]]:
    group: list[Built] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row.instruction)
        if len(group) == GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _stretches(groups: Iterable[list[Built]]) -> Iterator[list[list[Built]]]:
    """Yield as many groups as are turned into columns at once, which costs less than one by one."""
    stretch: list[list[Built]] = []
    size = 0
    for group in groups:
        stretch.append(group)
        size += sum(len(row.instruction) for row in group)
        if len(stretch) == _CONVERTED_AT_ONCE or size >= GROUP_BYTES:
            yield stretch
            stretch, size = [], 0
    if stretch:
        yield stretch


def _batch(group: Sequence[Built], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    turns = [turn for row in group for turn in row.messages]
    ends = list(accumulate((len(row.messages) for row in group), initial=0))
    parts = [
        pa.array([turn[place] for turn in turns], kind)
        for place, kind in enumerate((pa.string(), pa.string(), pa.bool_()))
    ]
    message = pa.StructArray.from_arrays(parts, fields=list(schema.field("messages").type.value_type))
    keys = [row.template.split("/") for row in group]
    columns = [
        pa.array([row.id for row in group], pa.string()),
        pa.array([key[0] for key in keys], pa.string()),
        pa.array([row.language for row in group], pa.string()),
        pa.array([key[-1] for key in keys], pa.string()),
        pa.ListArray.from_arrays(pa.array(ends, pa.int32()), message).cast(schema.field("messages").type),
        pa.array([row.instruction for row in group], pa.binary()).cast(pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class Behind:
    """Does one thing at a time behind the caller's back: packing and writing a shard leaves Python free meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._doing: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Do something, once what was begun before is done. What it raises is raised by the next call."""
        self.wait()
        self._doing = self._thread.submit(work)

    def wait(self) -> None:
        """Wait until what was begun is done."""
        doing, self._doing = self._doing, None
        if doing is not None:
            doing.result()

    def close(self) -> None:
        """Wait without a word: what failed does not count any more."""
        self._thread.shutdown()
        self._doing = None


class InstructionSet(Sequence[Instruction]):
    """The instructions of one split of a run folder, read as they are asked for.

    Shards are memory-mapped and unpacked a row group at a time; the last few groups are kept. It may be pickled:
    the files are then opened anew.

    Args:
        folder: The run folder.
        split: The split.

    Raises:
        ConfigError: There is no complete build in the folder, or no such split.
        DataError: A shard is missing or damaged.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = Path(folder), split
        splits: Mapping[str, Any] = complete_ledger(self.folder)["splits"]
        if split not in splits:
            raise ConfigError(f'"{printable(folder)}" has no split "{split}"; it has {", ".join(splits) or "none"}')
        self._paths = [self.folder / DATA / shard["name"] for shard in splits[split]["shards"]]
        self._ends = list(accumulate(shard["rows"] for shard in splits[split]["shards"]))
        self._files: dict[int, pq.ParquetFile] = {}
        self._group_ends: dict[int, list[int]] = {}
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> Instruction: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Instruction]: ...
    def __getitem__(self, place: int | slice) -> Instruction | Sequence[Instruction]:
        if isinstance(place, slice):
            return _Part(self, range(len(self))[place])
        if not -len(self) <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        return Instruction.from_json(orjson.loads(self._text(place % len(self))))

    def _text(self, place: int) -> str:
        shard = bisect_right(self._ends, place)
        within = place - (self._ends[shard - 1] if shard else 0)
        ends = self._opened(shard)
        group = bisect_right(ends, within)
        column = self._group(shard, group)
        text: str = column[within - (ends[group - 1] if group else 0)].as_py()
        return text

    def _opened(self, shard: int) -> list[int]:
        """Return where each row group of a shard ends."""
        import pyarrow.parquet as pq

        if shard not in self._files:
            try:
                file = pq.ParquetFile(self._paths[shard], memory_map=True)
            except (OSError, ValueError) as error:
                raise DataError(
                    f'the shard "{printable(self._paths[shard])}" cannot be read: {printable(error)}.\n'
                    "Run the build again.",
                    rule="shard",
                ) from None
            counts = (file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
            self._files[shard], self._group_ends[shard] = file, list(accumulate(counts))
        return self._group_ends[shard]

    def _group(self, shard: int, group: int) -> Any:
        place = (shard, group)
        if place in self._groups:
            self._groups.move_to_end(place)
        else:
            table = self._files[shard].read_row_group(group, columns=["instruction"], use_threads=False)
            self._groups[place] = table.column(0)
            if len(self._groups) > _GROUPS_KEPT:
                self._groups.popitem(last=False)
        return self._groups[place]

    def __reduce__(self) -> tuple[Any, ...]:
        return InstructionSet, (self.folder, self.split)


class _Part(Sequence[Instruction]):
    """A slice of an ``InstructionSet``, read as lazily as the whole."""

    def __init__(self, whole: InstructionSet, places: range) -> None:
        self._whole, self._places = whole, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Instruction: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Instruction]: ...
    def __getitem__(self, place: int | slice) -> Instruction | Sequence[Instruction]:
        if isinstance(place, slice):
            return _Part(self._whole, self._places[place])
        return self._whole[self._places[place]]
