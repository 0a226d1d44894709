"""Readers: every format, and every way in which a data file can be malformed."""

from __future__ import annotations

import gzip
import json
import os
import resource
import socket
import sys
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge.components import Reader
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, MissingDependencyError, UnknownNameError
from instructforge.plugins import Forge
from instructforge.readers import choose_reader
from instructforge.readers.columnar import DatasetsReader, ParquetReader
from instructforge.readers.delimited import CsvReader, TsvReader
from instructforge.readers.document import JsonReader
from instructforge.readers.jsonl import JsonlReader, QuarantineReader

MIB = 1 << 20


def rows_of(reader: Reader, path: Path, **options: Any) -> list[Any]:
    """Return (record number, values) of each good row, and (record number, rule) of each bad one."""
    found = []
    for one in reader.read(path, options):
        assert one.origin is not None
        assert one.origin.source == path.name
        found.append((one.origin.record, dict(one.values) if isinstance(one, Row) else one.rule))
        if isinstance(one, DataError):
            assert str(one)
            assert one.fix
    return found


def refusal(reader: Reader, path: Path, **options: Any) -> str:
    """Return the rule by which a file as a whole is refused, and check that the message is fit to be read."""
    with pytest.raises(DataError) as caught:
        list(reader.read(path, options))
    assert path.name in str(caught.value)
    assert "Traceback" not in str(caught.value)
    return caught.value.rule


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return write


# --- JSON lines ---------------------------------------------------------------------------------------


def test_jsonl_reads_each_line_by_its_number(put: Any) -> None:
    path = put("a.jsonl", '{"q": "中文"}\r\n\r\n{"q": "two"}')
    assert rows_of(JsonlReader(), path) == [(1, {"q": "中文"}), (3, {"q": "two"})]


BAD_LINES = {
    b'{"a": 1': "json",
    b'{"a": 1} {"b": 2}': "json",
    b"null": "not-an-object",
    b"[1, 2]": "not-an-object",
    b'"text"': "not-an-object",
    b"3": "not-an-object",
    b'{"a": NaN}': "not-finite",
    b'{"a": -Infinity}': "not-finite",
    b'{"a": 1e999}': "not-finite",
    b'{"a": "\xff"}': "encoding",
    b'{"a": "\xed\xa0\x80"}': "encoding",
    b'{"a": "\\ud800"}': "not-text",
    b'{"\\udfff": 1}': "not-text",
    b'{"a": ["\\u0000"]}': "not-text",
    b'{"a": "\x00"}': "json",
    b'{"a": 1, "a": 2}': "duplicate-key",
    b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}": "too-deep",
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000: "too-deep",
    b'{"a": ' + b"[" * 10_000: "too-deep",
    b'{"a": ' + b"9" * 5_000 + b"}": "json",
    b"{'a': 1}": "json",
    b'{"a": undefined}': "json",
    b"\xef\xbb\xbf{}": "json",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: repr(line[:30]))
def test_a_bad_line_is_named_and_the_rest_goes_on(put: Any, line: bytes) -> None:
    path = put("a.jsonl", b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    assert rows_of(JsonlReader(), path) == [(1, {"n": 1}), (2, BAD_LINES[line]), (3, {"n": 3})]


def test_brackets_in_a_text_are_no_nesting(put: Any) -> None:
    text = "[" * 5000 + '\\"{'
    path = put("a.jsonl", '{"a": "' + text + '"}\n')
    assert rows_of(JsonlReader(), path) == [(1, {"a": text.replace("\\", "")})]


def test_a_surrogate_pair_is_a_character(put: Any) -> None:
    assert rows_of(JsonlReader(), put("a.jsonl", '{"a": "\\ud83d\\ude00"}\n')) == [(1, {"a": "😀"})]


def test_a_backslash_before_u0000_is_text(put: Any) -> None:
    assert rows_of(JsonlReader(), put("a.jsonl", '{"a": "\\\\u0000"}\n')) == [(1, {"a": "\\u0000"})]


def test_invalid_utf8_is_named_by_its_byte_in_the_file(put: Any) -> None:
    path = put("a.jsonl", b'{"n": 1}\n{"a": "\xff"}\n')
    bad = [one for one in JsonlReader().read(path, {}) if isinstance(one, DataError)]
    assert "byte 16 " in str(bad[0])
    assert "0xff" in str(bad[0])
    assert bad[0].raw == '{"a": "\\xff"}\n'.rstrip()


def test_byte_order_marks(put: Any) -> None:
    assert rows_of(JsonlReader(), put("a.jsonl", b'\xef\xbb\xbf{"a": 1}\n')) == [(1, {"a": 1})]
    assert refusal(JsonlReader(), put("b.jsonl", '{"a": 1}\n'.encode("utf-16"))) == "encoding"


def test_a_line_of_50_mb_is_quarantined_in_little_memory(put: Any) -> None:
    path = put("a.jsonl", b'{"a": "' + b"x" * (50 * MIB) + b'"}\n{"n": 2}\n')
    tracemalloc.start()
    found = rows_of(JsonlReader(), path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [(1, "record-too-long"), (2, {"n": 2})]
    assert peak < 40 * MIB


def test_the_limit_of_a_record_is_an_option(put: Any) -> None:
    path = put("a.jsonl", '{"a": "xxxxxxxxxx"}\n{"n": 2}')
    assert rows_of(JsonlReader(), path, max_record_bytes=12) == [(1, "record-too-long"), (2, {"n": 2})]
    assert rows_of(JsonlReader(), path, max_record_bytes="100")[0] == (1, {"a": "xxxxxxxxxx"})
    with pytest.raises(ConfigError, match="max_record_bytes"):
        list(JsonlReader().read(path, {"max_record_bytes": -1}))
    with pytest.raises(ConfigError, match='Did you mean "max_record_bytes"'):
        list(JsonlReader().read(path, {"max_record_byte": 1}))


@pytest.mark.parametrize("content", ["\n\n  \n", "\ufeff", "\ufeff\n"])
def test_a_file_without_records_is_refused(put: Any, content: str) -> None:
    assert refusal(JsonlReader(), put("a.jsonl", content)) in ("no-records", "file-empty")


def test_an_empty_file_is_refused_by_every_reader(put: Any) -> None:
    for reader in (JsonlReader(), JsonReader(), CsvReader(), TsvReader()):
        assert refusal(reader, put("a.txt", b"")) == "file-empty"
    assert refusal(ParquetReader(), put("a.parquet", b"")) == "parquet"


# --- gzip ---------------------------------------------------------------------------------------------


def test_gzip_is_unpacked_whatever_the_file_is_called(put: Any) -> None:
    packed = gzip.compress(b'{"n": 1}\n{"n": 2}\n')
    for name in ("a.jsonl.gz", "a.jsonl"):
        assert rows_of(JsonlReader(), put(name, packed)) == [(1, {"n": 1}), (2, {"n": 2})]
    two_members = gzip.compress(b'{"n": 1}\n') + gzip.compress(b'{"n": 2}\n')
    assert len(rows_of(JsonlReader(), put("b.jsonl.gz", two_members))) == 2


def test_a_damaged_gzip_file_is_refused(put: Any) -> None:
    packed = gzip.compress(b"".join(b'{"n": %d}\n' % n for n in range(5000)))
    assert refusal(JsonlReader(), put("cut.jsonl.gz", packed[: len(packed) // 2])) == "gzip-truncated"
    broken = bytearray(packed)
    broken[len(broken) // 2] ^= 0xFF
    assert refusal(JsonlReader(), put("bent.jsonl.gz", bytes(broken))) in ("gzip-damaged", "gzip-truncated")
    assert refusal(JsonlReader(), put("short.jsonl.gz", packed[:5])) == "gzip-truncated"
    assert refusal(JsonlReader(), put("tail.jsonl.gz", packed + b"garbage")) == "gzip-damaged"


@pytest.mark.parametrize("reader", [JsonlReader(), JsonReader(), CsvReader()], ids=lambda reader: reader.name)
def test_a_gzip_bomb_is_stopped(put: Any, reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    start = {"json": b'[{"a": "', "jsonl": b'{"a": "', "csv": b"a,b\n1,2\n"}[reader.name]
    with gzip.open(path, "wb", compresslevel=9) as handle:
        handle.write(start)
        for _ in range(200):
            handle.write(b" " * MIB)
    tracemalloc.start()
    assert refusal(reader, path) == "gzip-bomb"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * MIB


def test_other_packers_are_named(put: Any) -> None:
    for start in (b"BZh91AY", b"\xfd7zXZ\x00aa", b"(\xb5/\xfdaaaa"):
        assert refusal(JsonlReader(), put("a.jsonl", start)) == "file-format"


# --- What is no regular file --------------------------------------------------------------------------


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jsonl"))
        for name in ("folder", "pipe", "dangling", "loop", "socket", "absent"):
            for reader in (JsonlReader(), JsonReader(), CsvReader(), ParquetReader()):
                assert refusal(reader, tmp_path / f"{name}.jsonl") in (
                    "file-not-regular",
                    "file-missing",
                    "file-unreadable",
                )
    with pytest.raises(DataError, match="device"):
        list(JsonlReader().read(Path("/dev/zero"), {}))
    with pytest.raises(DataError, match="cannot be opened"):
        list(JsonlReader().read(Path("nul\0.jsonl"), {}))


def test_a_symlink_to_a_file_is_followed(put: Any, tmp_path: Path) -> None:
    put("a.jsonl", '{"n": 1}\n')
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "a.jsonl")
    assert rows_of(JsonlReader(), tmp_path / "link.jsonl") == [(1, {"n": 1})]


def test_odd_names_are_shown_escaped(put: Any) -> None:
    path = put("a\x1b[31m\n.jsonl", "")
    with pytest.raises(DataError) as caught:
        list(JsonlReader().read(path, {}))
    assert "\x1b" not in str(caught.value)


# --- JSON documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"n": 1}, {"n": 2}]', [{"n": 1}, {"n": 2}]),
        (' \n[\n{"n": 1}\n,{"n": "]}\\"["}]\n', [{"n": 1}, {"n": ']}"['}]),
        ('{"version": "1", "data": [{"n": 1}], "more": [1, 2]}', [{"n": 1}]),
        (
            '{"n": 1, "tags": ["a", "b"], "deep": {"list": [{"x": 1}]}}',
            [{"n": 1, "tags": ["a", "b"], "deep": {"list": [{"x": 1}]}}],
        ),
        ("{}", [{}]),
        ('{"e": "\\"}[", "data": [{"k": "\\\\"}, {"k": "中"}]}', [{"k": "\\"}, {"k": "中"}]),
        ('\ufeff[{"n": 1}]', [{"n": 1}]),
    ],
)
def test_json_documents(put: Any, content: str, expected: list[Any]) -> None:
    assert rows_of(JsonReader(), put("a.json", content)) == list(enumerate(expected, 1))


def test_a_bad_record_of_a_document_is_named_and_the_rest_goes_on(put: Any) -> None:
    parts = [b'{"n": 1}', b'{"a": NaN}', b'{"a": "\xff"}', b"7", b"null", b'{"a": [1}', b'{"a" 1}', b'"s"', b'{"n": 9}']
    found = rows_of(JsonReader(), put("a.json", b"[" + b", ".join(parts) + b"]"))
    rules = ["not-finite", "encoding", "not-an-object", "not-an-object", "json", "json", "not-an-object"]
    assert found == [(1, {"n": 1}), *enumerate(rules, 2), (9, {"n": 9})]


@pytest.mark.parametrize(
    "content",
    [
        "[",
        '[{"a": 1}',
        '[{"a": 1},',
        '[{"a": "x',
        '[{"a": 1}] tail',
        '[{"a": 1} {"b": 2}]',
        "[,]",
        '{"a"',
        '{"a": }',
        '{"data": [{"a": 1}]',
        "plain text",
        "[]",
        '{"data": [{"a": 1}]} {"b": 1}',
        "{1: 2}",
        '[{"a": "\\',
    ],
)
def test_a_broken_document_is_refused(put: Any, content: str) -> None:
    assert refusal(JsonReader(), put("a.json", content)) in ("json", "no-records")


def test_two_lists_are_not_guessed_between(put: Any) -> None:
    path = put("a.json", '{"train": [{"n": 1}], "test": [{"n": 2}]}')
    assert refusal(JsonReader(), path) == "json-ambiguous"
    assert rows_of(JsonReader(), path, key="test") == [(1, {"n": 2})]
    assert refusal(JsonReader(), path, key="dev") == "json-ambiguous"


def test_a_huge_record_of_a_document_is_passed_over(put: Any) -> None:
    path = put("a.json", b'[{"n": 1}, {"a": "' + b"x" * (50 * MIB) + b'"}, {"n": 3}]')
    tracemalloc.start()
    found = rows_of(JsonReader(), path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [(1, {"n": 1}), (2, "record-too-long"), (3, {"n": 3})]
    assert peak < 60 * MIB


def test_deep_nesting_in_a_document(put: Any) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    path = put("a.json", b'[{"n": 1}, {"a": ' + deep + b'}, {"n": 3}]')
    assert rows_of(JsonReader(), path) == [(1, {"n": 1}), (2, "too-deep"), (3, {"n": 3})]
    assert refusal(JsonReader(), put("b.json", b"[" * 100_000)) == "json"


def test_memory_does_not_grow_with_the_document(put: Any) -> None:
    record = json.dumps({"text": "x" * 1000}).encode()
    path = put("a.json", b"[" + b",".join([record] * 8_000) + b"]")
    tracemalloc.start()
    assert sum(1 for _ in JsonReader().read(path, {})) == 8_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * MIB


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text('abc中"\\[]{}, ', max_size=5), JSON, max_size=4)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=6), st.booleans(), st.sampled_from([None, 1, "\t"]), st.integers(1, 40))
def test_any_document_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], ascii: bool, indent: Any, block: int
) -> None:
    import instructforge.readers.document as document

    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(values, ensure_ascii=ascii, indent=indent), encoding="utf-8")
    before = document._BLOCK_BYTES
    document._BLOCK_BYTES = block
    try:
        assert rows_of(JsonReader(), path) == list(enumerate(values, 1))
    finally:
        document._BLOCK_BYTES = before


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text('{}[]":,\\ 1an\n', max_size=60).map(str.encode))
def test_no_bytes_raise_anything_but_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a.json"
    path.write_bytes(content)
    for reader in (JsonReader(), JsonlReader(), CsvReader(), TsvReader(), ParquetReader(), QuarantineReader()):
        reader.accepts(path, content)
        try:
            kinds = {type(found) for found in reader.read(path, {})}
        except DataError:
            continue
        assert kinds <= {Row, DataError}


# --- CSV and TSV --------------------------------------------------------------------------------------


def test_csv_counts_physical_lines(put: Any) -> None:
    path = put("a.csv", 'text,label\r\n"one\r\nline, ""quoted""",a\r\n\r\nplain,b\r\n中文,c')
    assert rows_of(CsvReader(), path) == [
        (2, {"text": 'one\r\nline, "quoted"', "label": "a"}),
        (5, {"text": "plain", "label": "b"}),
        (6, {"text": "中文", "label": "c"}),
    ]


def test_cells_that_do_not_match_the_header(put: Any) -> None:
    found = rows_of(CsvReader(), put("a.csv", "a,b\n1\n1,2\n1,2,3\n"))
    assert found == [(2, "cells-too-few"), (3, {"a": "1", "b": "2"}), (4, "cells-too-many")]


def test_an_unclosed_quotation_mark_costs_one_line(put: Any) -> None:
    lines = ["a,b", "1,2", '"oops,2', "3,4", "5,6"]
    assert rows_of(CsvReader(), put("a.csv", "\n".join(lines))) == [
        (2, {"a": "1", "b": "2"}),
        (3, "csv"),
        (4, {"a": "3", "b": "4"}),
        (5, {"a": "5", "b": "6"}),
    ]
    stray = ["a,b", '"oops,2', "3,4", '"x" y,6', "7,8"]
    found = rows_of(CsvReader(), put("b.csv", "\n".join(stray)))
    assert found == [(2, "csv"), (3, {"a": "3", "b": "4"}), (4, "csv"), (5, {"a": "7", "b": "8"})]


def test_many_unclosed_quotation_marks_cost_linear_time(put: Any) -> None:
    path = put("a.csv", "a,b\n" + '"oops,2\n' * 3000)
    assert {rule for _, rule in rows_of(CsvReader(), path)} == {"csv"}
    assert len(rows_of(CsvReader(), path)) == 3000


def test_bad_bytes_in_csv(put: Any) -> None:
    path = put("a.csv", b"a,b\n1,\xff\n2,\x00\n3,ok\n")
    assert rows_of(CsvReader(), path) == [(2, "encoding"), (3, "not-text"), (4, {"a": "3", "b": "ok"})]
    bad = [one for one in CsvReader().read(path, {}) if isinstance(one, DataError)]
    assert "byte 6 " in str(bad[0])


def test_gbk_is_refused_with_the_way_out(put: Any) -> None:
    path = put("a.csv", "text,label\n你好,a\n".encode("gb18030"))
    bad = [one for one in CsvReader().read(path, {}) if isinstance(one, DataError)]
    assert bad[0].rule == "encoding"
    assert "GB18030" in bad[0].fix


def test_headers(put: Any) -> None:
    assert refusal(CsvReader(), put("twice.csv", "a,b,a\n1,2,3\n")) == "header-duplicate"
    assert refusal(CsvReader(), put("only.csv", "a,b\n")) == "no-records"
    assert refusal(CsvReader(), put("bad.csv", b"a,\xff\n1,2\n")) == "header"
    assert rows_of(CsvReader(), put("none.csv", "1,2\n"), header="a, b") == [(1, {"a": "1", "b": "2"})]
    assert rows_of(CsvReader(), put("bom.csv", "\ufeffa,b\n1,2\n")) == [(2, {"a": "1", "b": "2"})]
    assert refusal(CsvReader(), put("mac.csv", b"a,b\r1,2\r3,4\r")) == "line-ends"


def test_cells_longer_than_the_library_allows_by_itself(put: Any) -> None:
    path = put("a.csv", "a,b\n" + "x" * 300_000 + ",2\n")
    assert len(rows_of(CsvReader(), path)[0][1]["a"]) == 300_000
    assert rows_of(CsvReader(), path, max_record_bytes=1000) == [(2, "record-too-long")]


def test_tsv_and_its_quotation_marks(put: Any) -> None:
    path = put("a.tsv", 'a\tb\n"say ""x"" twice"\t1\n5" pipe\t2\n"odd\t3\nlast\t4\n')
    assert rows_of(TsvReader(), path) == [
        (2, {"a": 'say "x" twice', "b": "1"}),
        (3, {"a": '5" pipe', "b": "2"}),
        (4, "csv"),
        (5, {"a": "last", "b": "4"}),
    ]
    assert rows_of(TsvReader(), path, quoting="none")[2] == (4, {"a": '"odd', "b": "3"})
    with pytest.raises(ConfigError, match="quoting"):
        list(TsvReader().read(path, {"quoting": "some"}))


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), st.sampled_from([CsvReader, TsvReader]))
def test_what_the_csv_module_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], kind: type
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="," if kind is CsvReader else "\t", quoting=csv.QUOTE_ALL)
        writer.writerows([("a", "b"), *cells])
    assert [values for _, values in rows_of(kind(), path)] == [{"a": one, "b": two} for one, two in cells]


# --- Parquet and saved data sets ----------------------------------------------------------------------


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = [{"q": f"中{n}", "n": n, "many": [{"x": n}], "none": None} for n in range(1000)]
    pq.write_table(pa.Table.from_pylist(values), path, row_group_size=300)
    assert rows_of(ParquetReader(), path) == list(enumerate(values, 1))


def test_parquet_that_is_none(put: Any, tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    pq.write_table(pa.table({"a": ["x" * 100] * 1000}), good)
    content = good.read_bytes()
    assert refusal(ParquetReader(), put("cut.parquet", content[:-20])) == "parquet"
    assert refusal(ParquetReader(), put("text.parquet", "PAR1 hello PAR1")) == "parquet"
    for place in range(4, len(content), 37):
        bent = bytearray(content)
        bent[place] ^= 0x55
        path = put("bent.parquet", bytes(bent))
        try:
            for found in ParquetReader().read(path, {}):
                assert isinstance(found, Row | DataError)
        except DataError:
            pass
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), empty)
    assert refusal(ParquetReader(), empty) == "no-records"


def test_parquet_texts_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array([b"fine", b"\xff\xfe", b"nul\x00", b"last"]).view(pa.string())
    pq.write_table(pa.table({"a": texts}), path)
    assert rows_of_loose(ParquetReader(), path) == [
        (1, {"a": "fine"}),
        (2, "encoding"),
        (3, "not-text"),
        (4, {"a": "last"}),
    ]


def rows_of_loose(reader: Reader, path: Path) -> list[Any]:
    return [
        (one.origin.record if one.origin else None, dict(one.values) if isinstance(one, Row) else one.rule)
        for one in reader.read(path, {})
    ]


def test_a_parquet_bomb_takes_little_memory(tmp_path: Path) -> None:
    """One text of 20 MB, repeated 200 times, is small on disk: a dictionary holds it once."""
    path = tmp_path / "a.parquet"
    indices = pa.array([0] * 200, pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * (20 * MIB)]))
    pq.write_table(pa.table({"a": column}), path, compression="zstd")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        (rule,) = {rule for _, rule in rows_of_loose(ParquetReader(), path)}
    except DataError as error:
        rule = error.rule
    assert rule in ("record-too-long", "parquet-bomb")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KiB


def test_saved_data_sets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list([{"q": f"中{n}", "n": n} for n in range(150)])
    one.save_to_disk(tmp_path / "one")
    expected = [(n + 1, {"q": f"中{n}", "n": n}) for n in range(150)]
    assert rows_of(DatasetsReader(), tmp_path / "one") == expected
    datasets.DatasetDict({"train": one, "test": one.select(range(3))}).save_to_disk(tmp_path / "two")
    with pytest.raises(ConfigError, match="train, test"):
        list(DatasetsReader().read(tmp_path / "two", {}))
    assert len(rows_of(DatasetsReader(), tmp_path / "two", split="test")) == 3
    with pytest.raises(ConfigError, match='Did you mean "test"'):
        list(DatasetsReader().read(tmp_path / "two", {"split": "tset"}))


def test_the_hub_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    path = Path("hub:someone/something")
    assert choose_reader(path, Forge().readers).name == "datasets"
    with pytest.raises(MissingDependencyError, match=r"instructforge\[data\]"):
        list(DatasetsReader().read(path, {}))


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "a/b.arrow", "..", 7, None])
def test_a_saved_data_set_leads_nowhere_else(tmp_path: Path, name: Any) -> None:
    (tmp_path / "secret.arrow").write_bytes(b"x")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    assert refusal(DatasetsReader(), folder) == "datasets"
    (folder / "state.json").write_text("[")
    assert refusal(DatasetsReader(), folder) == "datasets"


# --- Choosing -----------------------------------------------------------------------------------------

FILES = {
    "a.jsonl": ('{"a": 1}\n{"a": 2}\n', "jsonl"),
    "one.jsonl": ('{"a": 1}', "jsonl"),
    "broken.jsonl": ('{"a": 1\n{"a": 2}\n', "jsonl"),
    "lines.json": ('{"a": 1}\n{"a": 2}\n', "jsonl"),
    "lines.txt": ('{"a": 1}\n{"a": 2}\n', "jsonl"),
    "list.jsonl": ('[{"a": 1}]', "json"),
    "a.json": ('[{"a": 1}]', "json"),
    "one.json": ('{"a": 1}', "json"),
    "long.json": ('{\n "a": 1\n}', "json"),
    "A.JSON": ('[{"a": 1}]', "json"),
    "a.csv": ("a,b\n1,2\n", "csv"),
    "one.csv": ("a\n1\n", "csv"),
    "tabs.csv": ("a\tb\n1\t2\n", "tsv"),
    "a.tsv": ("a\tb\n1\t2\n", "tsv"),
    "commas.tsv": ("a,b\n1,2\n", "csv"),
    "both.tsv": ("a, b\tc\n1\t2\n", "tsv"),
    "json.csv": ('{"a": 1}\n{"a": 2}\n', "jsonl"),
    "q.jsonl": ('{"source":"x","record":1,"rule":"r","message":"m","row":{}}\n', "quarantine"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_the_reader_is_told_by_the_content(put: Any, name: str, packed: bool) -> None:
    content, expected = FILES[name]
    path = put(name + ".gz" if packed else name, gzip.compress(content.encode()) if packed else content)
    assert choose_reader(path, Forge().readers).name == expected


def test_a_parquet_file_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pq.write_table(pa.table({"a": [1]}), path)
    assert choose_reader(path, Forge().readers).name == "parquet"


@pytest.mark.parametrize("content", ["just some words\n", "\x00\x01\x02", ""])
def test_what_no_reader_knows_is_refused(put: Any, content: str) -> None:
    with pytest.raises(DataError):
        choose_reader(put("a.txt", content), Forge().readers)
    with pytest.raises(UnknownNameError, match='Did you mean "jsonl"'):
        choose_reader(put("a.txt", content), Forge().readers, "jsonlines")


class Special:
    """A plugin's reader that accepts everything."""

    name = "special"
    suffixes = (".json",)
    priority = 0

    def accepts(self, path: Path, head: bytes) -> bool:
        return True

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[Any]:
        yield Row({}, Origin(path.name, 1))


class Failing(Special):
    name = "failing"

    def accepts(self, path: Path, head: bytes) -> bool:
        raise KeyError("oops")


def test_two_that_fit_are_not_guessed_between(put: Any) -> None:
    forge = Forge()
    forge.readers.add(Special(), owner="test")
    path = put("a.json", "[{}]")
    with pytest.raises(ConfigError, match=r'"json" and "special".*--format NAME'):
        choose_reader(path, forge.readers)
    assert choose_reader(path, forge.readers, "special").name == "special"


def test_a_higher_priority_is_preferred(put: Any) -> None:
    forge = Forge()
    special = Special()
    special.priority = 5
    forge.readers.add(special, owner="test")
    assert choose_reader(put("a.json", "[{}]"), forge.readers) is special


def test_a_reader_that_fails_hides_no_other(put: Any) -> None:
    forge = Forge()
    forge.readers.add(Failing(), owner="test")
    assert choose_reader(put("a.json", "[{}]"), forge.readers).name == "json"
    with pytest.raises(DataError, match=r'"failing" failed.*KeyError'):
        choose_reader(put("a.txt", "words"), forge.readers)


# --- Quarantine fed back ------------------------------------------------------------------------------


def test_mended_rows_come_back_with_their_first_origin(put: Any) -> None:
    lines = [
        {"source": "x/a.csv", "record": 7, "path": "p", "rule": "r", "message": "m", "row": {"q": 1}},
        {"source": "x/a.csv", "record": 8, "path": "", "rule": "r", "message": "m", "row": None, "raw": "{oops"},
    ]
    path = put("quarantine.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    first, second = QuarantineReader().read(path, {})
    assert isinstance(first, Row)
    assert first == Row({"q": 1}, Origin("x/a.csv", 7, "p"))
    assert isinstance(second, DataError)
    assert (second.rule, second.raw) == ("quarantine-without-row", "{oops")


def test_errors_survive_the_way_to_a_worker() -> None:
    import pickle

    error = DataError("m", rule="r", field="f", fix="x", origin=Origin("a", 1), raw="raw")
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.rule, back.field, back.fix, back.origin, back.raw) == (
        "m",
        "r",
        "f",
        "x",
        error.origin,
        "raw",
    )
