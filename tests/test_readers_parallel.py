"""Parallel text files: lines that belong together, and files that do not."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from building_kit import PairsPlugin

from instructforge.building import Source, build
from instructforge.data import Row
from instructforge.errors import ConfigError, DataError
from instructforge.plugins import Forge
from instructforge.readers import choose_reader
from instructforge.readers.parallel import ParallelReader, language_in_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "news.en").write_text("One.\nTwo.\n", encoding="utf-8")
    (tmp_path / "news.de").write_text("Eins.\nZwei.\n", encoding="utf-8")
    (tmp_path / "news.zh.txt").write_text("一。\n二。\n", encoding="utf-8")
    return tmp_path


def read(path: Path, **options: Any) -> list[Row | DataError]:
    return list(ParallelReader().read(path, options))


def values(found: list[Row | DataError]) -> list[Any]:
    return [row.rule if isinstance(row, DataError) else row.values.get("translation", row.values) for row in found]


def test_a_row_for_each_line_the_first_file_first(folder: Path) -> None:
    rows = read(folder / "news.en", target="news.de")
    assert values(rows) == [{"en": "One.", "de": "Eins."}, {"en": "Two.", "de": "Zwei."}]
    assert [str(row.origin) for row in rows] == ["news.en:1", "news.en:2"]
    assert list(values(read(folder / "news.de", target="news.en"))[0]) == ["de", "en"]


@pytest.mark.parametrize("target", ["news.de, news.zh.txt", ["news.de", "news.zh.txt"], "*.de,*.zh.txt"])
def test_more_than_two_files(folder: Path, target: Any) -> None:
    assert values(read(folder / "news.en", target=target))[0] == {"en": "One.", "de": "Eins.", "zh": "一。"}


def test_two_files_of_one_language_are_two_translations(folder: Path) -> None:
    (folder / "other.de").write_text("Ein.\nZwo.\n", encoding="utf-8")
    assert values(read(folder / "news.en", target="news.de,other.de"))[1] == {"en": "Two.", "de": ["Zwei.", "Zwo."]}


def test_an_absolute_path_and_a_packed_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    far = tmp_path_factory.mktemp("far") / "x.de.gz"
    far.write_bytes(gzip.compress(b"\xef\xbb\xbfEins.\r\nZwei."))
    assert values(read(folder / "news.en", target=str(far)))[1] == {"en": "Two.", "de": "Zwei."}


def test_languages_and_columns_by_option(folder: Path) -> None:
    (folder / "a.src").write_text("A.\n")
    (folder / "a.tgt").write_text("B.\n")
    with pytest.raises(ConfigError, match="does not tell its language"):
        read(folder / "a.src", target="a.tgt")
    assert values(read(folder / "a.src", target="a.tgt", languages="en,xx")) == [{"en": "A.", "xx": "B."}]
    assert values(read(folder / "a.src", target="a.tgt", columns="document,summary")) == [
        {"document": "A.", "summary": "B."}
    ]


def test_misaligned_files_are_refused_with_both_counts(folder: Path) -> None:
    (folder / "short.de").write_text("Eins.\n")
    with pytest.raises(DataError, match=r'has 2 lines, and "short.de" has 1') as caught:
        read(folder / "news.en", target="short.de")
    assert caught.value.rule == "parallel-misaligned"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"", "line-blank"),
        (b"  \t ", "line-blank"),
        (b"a\xffb", "encoding"),
        (b"a\0b", "not-text"),
        (b"x" * 600, "record-too-long"),
    ],
)
def test_a_bad_line_costs_its_row_alone(folder: Path, line: bytes, rule: str) -> None:
    (folder / "news.de").write_bytes(b"Eins.\n" + line + b"\nDrei.\n")
    (folder / "news.en").write_text("One.\nTwo.\nThree.\n")
    found = read(folder / "news.en", target="news.de", max_record_bytes=500)
    assert [row if isinstance(row, str) else row["de"] for row in values(found)] == ["Eins.", rule, "Drei."]
    assert str(found[1].origin) == "news.en:2"


def test_only_line_feeds_end_a_line(folder: Path) -> None:
    (folder / "news.de").write_bytes("Eins\u2028ist\x85eins.\rJa.\r\nZwei.".encode())
    assert values(read(folder / "news.en", target="news.de"))[0]["de"] == "Eins\u2028ist\x85eins.\rJa."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"name the other: --option target=FILE. Beside it: news.de, news.zh.txt"),
        ({"target": ""}, "not a list of names"),
        ({"target": 3}, "not a list of names"),
        ({"target": "news.en"}, 'both in "en"'),
        ({"target": "news.de", "languages": "en"}, "names 1 for 2 files"),
        ({"target": "news.de", "columns": "a,a"}, "one for each"),
        ({"target": "news.de", "sep": "x"}, 'no option "sep"'),
    ],
)
def test_options_are_checked(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(folder / "news.en", **options)


def test_other_files_that_cannot_be_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe.de")
    (folder / "empty.de").write_text("")
    for name, rule in (("none.de", "file-missing"), ("pipe.de", "file-not-regular"), ("empty.de", "file-empty")):
        with pytest.raises(DataError) as caught:
            read(folder / "news.en", target=name)
        assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("a.en", "en"),
        ("newstest-src.eng.txt", "eng"),
        ("a.b.zh-Hant.gz", "zh-Hant"),
        ("a.pt_BR.txt.gz", "pt_BR"),
        ("a.txt", ""),
        ("en.txt", ""),
        ("a.src", ""),
        ("a.conll", ""),
    ],
)
def test_the_language_in_a_name(name: str, language: str) -> None:
    assert language_in_name(Path(name)) == language


def test_the_reader_is_told_by_a_common_language_in_the_name(folder: Path) -> None:
    assert choose_reader(folder / "news.en", Forge().readers).name == "parallel"
    assert choose_reader(folder / "news.zh.txt", Forge().readers).name == "parallel"
    (folder / "tags.bio").write_text("a O\n")
    assert not ParallelReader().accepts(folder / "tags.bio", b"a O\n")


def test_a_change_of_the_other_file_builds_anew(folder: Path) -> None:
    """The build's hash covers every file that the reader reads."""
    forge = Forge([PairsPlugin(folder / "plugin")])
    source = Source(folder / "news.en", options={"target": "news.de", "columns": "premise,hypothesis"})

    def fingerprint() -> str:
        return str(build(forge, "pairs", [source], folder / "out").ledger["fingerprint"])

    first = fingerprint()
    assert fingerprint() == first
    (folder / "news.de").write_text("Eins!\nZwei!\n", encoding="utf-8")
    assert fingerprint() != first
