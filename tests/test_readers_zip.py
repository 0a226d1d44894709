"""Zip archives: the one data file in them is read, and every odd archive is refused with what to do."""

from __future__ import annotations

import gzip
import io
import random
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from instructforge.building import Source, build
from instructforge.data import Row
from instructforge.errors import ConfigError, DataError
from instructforge.plugins import Forge
from instructforge.readers import choose_reader, zipped
from instructforge.readers.delimited import TsvReader
from instructforge.readers.document import JsonReader
from instructforge.readers.jsonl import JsonlReader

MIB = 1 << 20
LINES = b'{"n": 1}\n{"n": 2}\n'


def archive(path: Path, members: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def values_of(path: Path, **options: Any) -> list[Any]:
    reader = choose_reader(path, Forge().readers, None, options)
    return [dict(one.values) if isinstance(one, Row) else one.rule for one in reader.read(path, options)]


def refusal(path: Path, **options: Any) -> DataError:
    """Return why an archive is refused: by the choice of a reader, and by a reader that is asked for by name."""
    with pytest.raises(DataError) as chosen:
        choose_reader(path, Forge().readers, None, options)
    with pytest.raises(DataError) as caught:
        list(JsonlReader().read(path, options))
    assert chosen.value.rule == caught.value.rule
    assert path.name in str(caught.value)
    assert caught.value.fix
    return caught.value


# --- What is read -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", LINES, [{"n": 1}, {"n": 2}]),
        ("a.json", b'[{"n": 1}, {"n": 2}]', [{"n": 1}, {"n": 2}]),
        ("a.csv", b"n,m\r\n1,2\r\n", [{"n": "1", "m": "2"}]),
        ("a.tsv", b"n\tm\n1\t2\n", [{"n": "1", "m": "2"}]),
        ("data/dev/a.tsv", b"n\tm\n1\t2\n", [{"n": "1", "m": "2"}]),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES, [{"n": 1}, {"n": 2}]),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_file_in_an_archive_is_read_by_its_own_name(
    tmp_path: Path, name: str, content: bytes, expected: list[Any], method: int
) -> None:
    assert values_of(archive(tmp_path / "data.zip", {name: content}, method=method)) == expected


def test_what_desktops_add_to_an_archive_does_not_count(tmp_path: Path) -> None:
    litter = {"__MACOSX/._a.jsonl": b"\x00", ".DS_Store": b"\x00", "data/": b"", "data/Thumbs.db": b"\x00"}
    assert values_of(archive(tmp_path / "a.zip", {**litter, "data/a.jsonl": LINES})) == [{"n": 1}, {"n": 2}]


def test_one_of_several_files_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"train.jsonl": LINES, "dev/dev.jsonl": b'{"n": 3}\n', "LICENSE": b"free"})
    assert values_of(path, member="dev/dev.jsonl") == [{"n": 3}]
    error = refusal(path)
    assert error.rule == "zip-members"
    assert "train.jsonl, dev/dev.jsonl, LICENSE" in str(error)
    assert "member=NAME" in error.fix
    error = refusal(path, member="train.json")
    assert (error.rule, 'Did you mean "train.jsonl"' in error.fix) == ("zip-member", True)


def test_the_option_member_is_for_archives(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    assert refusal(tmp_path / "a.jsonl", member="a.jsonl").rule == "zip-member"
    with pytest.raises(ConfigError, match="the option member"):
        list(JsonlReader().read(tmp_path / "a.jsonl", {"member": 3}))


def test_a_build_reads_an_archive_and_names_it_as_the_origin(tmp_path: Path) -> None:
    rows = b'{"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}\nbroken\n'
    path = archive(tmp_path / "nli.zip", {"train.jsonl": rows, "test.jsonl": rows})
    forge = Forge.discover()
    source = Source(path, options={"member": "train.jsonl"})
    result = build(forge, forge.tasks.get("nli"), [source], tmp_path / "run")
    assert result.ledger["totals"]["built"] == 1
    assert result.ledger["quarantined"] == {"json": 1}
    assert '"nli.zip"' in (tmp_path / "run" / "quarantine.jsonl").read_text(encoding="utf-8")


def test_memory_does_not_grow_with_the_file_in_an_archive(tmp_path: Path) -> None:
    chance = random.Random(1)
    lines = b"".join(b'{"n": "%x"}\n' % chance.getrandbits(4000) for _ in range(12_000))
    path = archive(tmp_path / "a.zip", {"a.jsonl": lines})
    del lines
    tracemalloc.start()
    assert sum(1 for _ in JsonlReader().read(path, {})) == 12_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * MIB


# --- What is refused ----------------------------------------------------------------------------------


def test_an_archive_without_a_file(tmp_path: Path) -> None:
    assert refusal(archive(tmp_path / "a.zip", {})).rule == "zip-empty"
    assert refusal(archive(tmp_path / "b.zip", {"folder/": b""})).rule == "zip-empty"


def test_an_empty_file_in_an_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.jsonl": b""})
    with pytest.raises(DataError, match="is empty"):
        choose_reader(path, Forge().readers)
    with pytest.raises(DataError, match="is empty"):
        list(JsonlReader().read(path, {}))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../a.jsonl", "a/../../b.jsonl", "C:\\a.jsonl", "a\\b.jsonl", "c:x"]
)
def test_a_name_that_leads_out_of_the_archive(tmp_path: Path, name: str) -> None:
    error = refusal(archive(tmp_path / "a.zip", {name: LINES}))
    assert error.rule == "zip-name"
    assert [part.name for part in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_member_that_is_no_regular_file(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("a.jsonl")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    assert refusal(tmp_path / "a.zip").rule == "zip-not-regular"


def patched(path: Path, place: int, value: bytes) -> Path:
    """Overwrite bytes in both headers of an archive's only member: ``place`` counts from the flags of each."""
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(mark) + flags + place
        content[start : start + len(value)] = value
    path.write_bytes(bytes(content))
    return path


def test_an_encrypted_member(tmp_path: Path) -> None:
    error = refusal(patched(archive(tmp_path / "a.zip", {"a.jsonl": LINES}), 0, b"\x01\x00"))
    assert error.rule == "zip-encrypted"


@pytest.mark.parametrize("method", [9, 12, 14, 93, 99])
def test_a_member_packed_in_another_way(tmp_path: Path, method: int) -> None:
    path = patched(archive(tmp_path / "a.zip", {"a.jsonl": LINES}), 2, struct.pack("<H", method))
    assert refusal(path).rule == "zip-method"


def test_a_zip_bomb_is_stopped_unread(tmp_path: Path) -> None:
    spaces = b" " * MIB
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.jsonl", "w") as one:
        one.write(b'{"n": "')
        for _ in range(100):
            one.write(spaces)
    tracemalloc.start()
    assert refusal(tmp_path / "a.zip").rule == "zip-bomb"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB
    assert refusal(tmp_path / "a.zip", max_ratio=900).rule == "zip-bomb"
    assert values_of(tmp_path / "a.zip", max_ratio=2000) == ["record-too-long"]


def test_an_archive_that_lies_about_its_sizes(tmp_path: Path) -> None:
    """A member gives out no more than it says; one that says that it is packed large is no smaller a bomb."""
    big = b'{"n": 1}\n' * (8 * MIB)
    path = archive(tmp_path / "a.zip", {"a.jsonl": big})
    honest = path.read_bytes()
    path.write_bytes(honest.replace(struct.pack("<I", len(big)), struct.pack("<I", 4000)))
    found: list[Any] = []
    with pytest.raises(DataError) as caught:
        found.extend(JsonlReader().read(path, {}))
    assert caught.value.rule == "zip-damaged"
    assert len(found) <= 450
    packed = struct.pack("<I", zipfile.ZipFile(io.BytesIO(honest)).infolist()[0].compress_size)
    path.write_bytes(honest.replace(packed, struct.pack("<I", 900 * MIB)))
    assert refusal(path).rule in ("zip-bomb", "zip-damaged")


def test_a_damaged_archive(tmp_path: Path) -> None:
    content = archive(tmp_path / "a.zip", {"a.jsonl": LINES * 500}).read_bytes()
    for name, broken in {
        "cut": content[: len(content) // 2],
        "short": content[:10],
        "headless": content[:40] + b"\x00" * 40 + content[80:],
        "tailless": content[:-22],
        "junk": b"PK\x03\x04rest",
    }.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(broken)
        with pytest.raises(DataError) as caught:
            list(JsonlReader().read(path, {}))
        assert caught.value.rule == "zip-damaged", name


def test_no_bytes_of_an_archive_raise_anything_but_a_data_error(tmp_path: Path) -> None:
    content = archive(tmp_path / "a.zip", {"a.jsonl": LINES * 20}).read_bytes()
    chance = random.Random(7)
    path = tmp_path / "b.zip"
    for _ in range(400):
        broken = bytearray(content)
        for _ in range(chance.choice((1, 2, 8))):
            broken[chance.randrange(4, len(broken))] = chance.randrange(256)
        path.write_bytes(bytes(broken))
        with suppress(DataError):
            choose_reader(path, Forge(builtins=False).readers)
        with suppress(DataError):
            list(JsonlReader().read(path, {}))


def test_a_table_of_contents_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.zip", {f"{number}.jsonl": b"" for number in range(2000)})
    monkeypatch.setattr(zipped, "CONTENTS_BYTES", 1 << 16)
    assert refusal(path).rule == "zip-contents"


def test_two_members_of_one_name(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.jsonl": LINES, "b.jsonl": LINES})
    path.write_bytes(path.read_bytes().replace(b"b.jsonl", b"a.jsonl"))
    assert refusal(path).rule == "zip-members"
    assert refusal(path, member="a.jsonl").rule == "zip-member"


def test_only_one_layer_of_packing_is_read(tmp_path: Path) -> None:
    inner = archive(tmp_path / "inner.zip", {"a.jsonl": LINES}).read_bytes()
    for name, content in {"a.zip": inner, "a.jsonl.gz": gzip.compress(LINES)}.items():
        with pytest.raises(DataError) as caught:
            list(JsonlReader().read(archive(tmp_path / "outer.zip", {name: content}), {}))
        assert caught.value.rule == "file-format"
    (tmp_path / "a.zip.gz").write_bytes(gzip.compress(inner))
    with pytest.raises(DataError, match="one layer"):
        list(JsonlReader().read(tmp_path / "a.zip.gz", {}))


def test_parquet_in_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    path = archive(tmp_path / "a.zip", {"a.parquet": (tmp_path / "a.parquet").read_bytes()})
    with pytest.raises(DataError, match="a zip file of a Parquet file"):
        choose_reader(path, Forge().readers)


def test_a_file_in_an_archive_is_held_to_the_same_rules(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="UTF-16"):
        list(TsvReader().read(archive(tmp_path / "a.zip", {"a.tsv": "n\tm\n1\t2\n".encode("utf-16")}), {}))
    with pytest.raises(DataError, match="broken JSON"):
        list(JsonReader().read(archive(tmp_path / "b.zip", {"b.json": b'[{"n": 1}, '}), {}))
    path = archive(tmp_path / "c.zip", {"c.jsonl": b'{"n": 1}\n{"n": "\x00"}\n'})
    assert values_of(path) == [{"n": 1}, "json"]


# --- Folders ------------------------------------------------------------------------------------------


def test_a_folder_is_answered_with_its_data_files(tmp_path: Path) -> None:
    for name in ("README.md", "dialogues_001.json", "schema.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        choose_reader(tmp_path, Forge().readers)
    assert caught.value.fix == "give the data files in it themselves, such as dialogues_001.json, schema.json"
