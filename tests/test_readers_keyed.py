"""JSON objects that hold their records by their keys: ``{"d1": {…}, "d2": {…}}``."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge.data import Row
from instructforge.errors import ConfigError, DataError
from instructforge.readers.document import JsonReader


def read(path: Path, content: str | bytes, **options: Any) -> list[Any]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [dict(one.values) if isinstance(one, Row) else one.rule for one in JsonReader().read(path, options)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.json"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"7": {"a": 1}, "8": {"a": 2}}', [{"id": "7", "a": 1}, {"id": "8", "a": 2}]),
        ('{"x": {"a": 1, "b": 2}, "y": {"a": 3}}', [{"id": "x", "a": 1, "b": 2}, {"id": "y", "a": 3}]),
        ('{"x": {"a": 1, "id": 5}, "y": {"a": 2, "id": "y"}}', [{"key": "x", "a": 1, "id": 5}, {"a": 2, "id": "y"}]),
        ('{"x": {"a": 1, "id": null}, "y": {"a": 2}}', [{"id": "x", "a": 1}, {"id": "y", "a": 2}]),
        ('{"\\u4e2d\\"": {"a": 1}, "z": {"a": 2}}', [{"id": '中"', "a": 1}, {"id": "z", "a": 2}]),
        ('\ufeff {\n"x"\n:\n{"a": 1}\n,\n"y": {"a": 2}\n}\n', [{"id": "x", "a": 1}, {"id": "y", "a": 2}]),
        ('{"x": {"a": 1}, "y": {"a": 2}, "z": 3}', [{"id": "x", "a": 1}, {"id": "y", "a": 2}, "not-an-object"]),
        ('{"x": {"a": 1,}, "y": {"a": 2}, "z": {"a": 3}}', ["json", {"id": "y", "a": 2}, {"id": "z", "a": 3}]),
        ('{"x": {"id": 1}, "y": {"id": 2, "key": "r"}}', [{"key": "x", "id": 1}, "key-taken"]),
    ],
)  # fmt: skip
def test_records_by_their_keys(file: Path, content: str, expected: list[Any]) -> None:
    assert read(file, content) == expected


@pytest.mark.parametrize(
    "content",
    [
        '{"translation": {"en": "a", "zh": "b"}}',
        '{"question": {"stem": "a"}, "answer": {"text": "b"}}',
        '{"x": {"a": 1}, "y": 2}',
        '{"n": 1, "x": {"a": 1}, "y": {"a": 2}}',
        '{"x": {}, "y": {}}',
        "{}",
    ],
)
def test_an_object_that_is_one_record_stays_one(file: Path, content: str) -> None:
    assert read(file, content) == [json.loads(content)]


def test_a_list_beside_other_members_is_still_the_list(file: Path) -> None:
    assert read(file, '{"info": {"year": 1}, "data": [{"a": 1}]}') == [{"a": 1}]
    assert read(file, '{"data": [{"a": 1}], "x": {"a": 1}, "y": {"a": 2}}') == [{"a": 1}]
    assert read(file, '{"x": {"a": 1}, "y": {"a": 2}, "data": [{"b": 1}]}', key="data") == [{"b": 1}]


def test_records_and_a_list_of_records_are_not_guessed_between(file: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(file, '{"x": {"a": 1}, "y": {"a": 2}, "data": [{"b": 1}]}')
    assert (caught.value.rule, '"data"' in str(caught.value)) == ("json-ambiguous", True)


def test_the_option_keyed_says_so_of_any_object(file: Path) -> None:
    assert read(file, '{"x": {"en": "a"}}', keyed="pair") == [{"pair": "x", "en": "a"}]
    assert read(file, '{"x": {"a": 1}, "y": 2}', keyed="id") == [{"id": "x", "a": 1}, "not-an-object"]
    assert read(file, '{"x": {"id": 9}, "y": {}}', keyed="id") == ["key-taken", {"id": "y"}]
    with pytest.raises(DataError, match="holds no records"):
        read(file, "{}", keyed="id")
    for options in ({"keyed": "id", "key": "data"}, {"keyed": 3}, {"keyed": ""}, {"key": 1}):
        with pytest.raises(ConfigError):
            read(file, "{}", **options)


@pytest.mark.parametrize("key", ['"\\ud800"', '"\\u0000"', '"\\q"'])
def test_a_key_that_is_no_text_costs_its_record_alone(file: Path, key: str) -> None:
    found = read(file, f'{{"x": {{"a": 1}}, "y": {{"a": 2}}, {key}: {{"a": 3}}, "z": {{"a": 4}}}}')
    assert [one if isinstance(one, str) else one["id"] for one in found[:2]] == ["x", "y"]
    assert found[2] in ("not-text", "json")
    assert found[3] == {"id": "z", "a": 4}


@pytest.mark.parametrize(
    "content", ['{"x": {"a": 1}, "y": {"a": 2}', '{"x": {"a": 1}, "y": {"a": 2}, }', '{"x": {"a": 1}, "y": {"a": 2}} {']
)
def test_a_broken_object_of_records_is_refused_at_its_place(file: Path, content: str) -> None:
    with pytest.raises(DataError, match="broken JSON"):
        read(file, content)


def test_a_record_that_is_too_long_costs_itself_alone(file: Path) -> None:
    long = json.dumps({"a": "x" * 5000})
    rows = read(file, f'{{"w": {long}, "x": {{"a": 1}}, "y": {{"a": 2}}, "z": {long}}}', max_record_bytes=1000)
    assert rows == ["record-too-long", {"id": "x", "a": 1}, {"id": "y", "a": 2}, "record-too-long"]


def test_one_long_object_of_other_things_is_one_long_record(file: Path) -> None:
    content = json.dumps({str(number): {f"a{number}": 1} if number % 2 else "text" for number in range(500)})
    assert read(file, content, max_record_bytes=1000) == ["record-too-long"]


def test_memory_does_not_grow_with_an_object_of_records(file: Path) -> None:
    with file.open("w", encoding="utf-8") as handle:
        handle.write("{")
        handle.writelines(f'"{number}": {{"text": "{"x" * 2000}"}},\n' for number in range(4000))
        handle.write('"last": {"text": ""}}')
    tracemalloc.start()
    count = sum(isinstance(one, Row) for one in JsonReader().read(file, {}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4001
    assert peak < 2 << 20


TEXT = st.text('ab中"\\{}[],: \n', max_size=4)
RECORDS = st.dictionaries(st.text('ab中"\\{}[],: \n', max_size=4), st.fixed_dictionaries({"a": TEXT}), min_size=2)


@settings(max_examples=60)
@given(RECORDS, st.sampled_from([None, 1]))
def test_any_object_of_records_comes_back(tmp_path_factory: pytest.TempPathFactory, records: Any, indent: int) -> None:
    path = tmp_path_factory.mktemp("keyed") / "a.json"
    assert read(path, json.dumps(records, indent=indent)) == [{"id": key, **value} for key, value in records.items()]
