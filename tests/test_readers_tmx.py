"""Translation memories: units, damage that costs itself alone, and what is refused before it can do harm."""

from __future__ import annotations

import gzip
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from instructforge.data import Row
from instructforge.errors import ConfigError, DataError
from instructforge.plugins import Forge
from instructforge.readers import choose_reader, tmx

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
HEAD = f'{DECLARATION}<tmx version="1.4"><header srclang="en"/><body>\n'
TAIL = "</body></tmx>\n"


def unit(english: str = "Hello", chinese: str = "你好") -> str:
    """A unit of two lines, Chinese first."""
    return (
        f'<tu tuid="u">\n<tuv xml:lang="zh"><seg>{chinese}</seg></tuv><tuv lang="en"><seg>{english}</seg></tuv></tu>\n'
    )


def read(path: Path, content: str | bytes, **options: Any) -> list[Row | DataError]:
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return list(tmx.TmxReader().read(path, options))


def english(found: list[Row | DataError]) -> list[str]:
    """What stands in English in each good row, and the rule of each bad one."""
    return [row.rule if isinstance(row, DataError) else row.values["translation"]["en"] for row in found]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "memory.tmx"


@pytest.fixture(params=[1, 3, 64, 1 << 16])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of many sizes: what is read must not depend on where a block ends."""
    monkeypatch.setattr(tmx, "_BLOCK", request.param)
    return int(request.param)


def test_a_row_for_each_unit_the_source_language_first(file: Path, blocks: int) -> None:
    first, second = read(file, HEAD + unit() + unit("Bye", "再见") + TAIL)
    assert isinstance(first, Row)
    assert list(first.values["translation"].items()) == [("en", "Hello"), ("zh", "你好")]
    assert first.values["tuid"] == "u"
    assert str(first.origin) == "memory.tmx:4#tu[1]"
    assert str(second.origin) == "memory.tmx:6#tu[2]"


@pytest.mark.parametrize("srclang", ["EN-us", "en"])
def test_the_source_language_may_have_another_region(file: Path, srclang: str) -> None:
    (row,) = read(file, HEAD.replace('"en"', f'"{srclang}"') + unit() + TAIL)
    assert isinstance(row, Row)
    assert list(row.values["translation"]) == ["en", "zh"]


@pytest.mark.parametrize("srclang", ["*all*", "fr", ""])
def test_without_a_source_language_the_file_order_stays(file: Path, srclang: str) -> None:
    (row,) = read(file, HEAD.replace('"en"', f'"{srclang}"') + unit() + TAIL)
    assert isinstance(row, Row)
    assert list(row.values["translation"]) == ["zh", "en"]


def test_inline_tags_leave_the_text_and_are_counted(file: Path, blocks: int) -> None:
    inline = 'A <bpt i="1">&lt;b&gt;</bpt>big<ept i="1">&lt;/b&gt;</ept> <hi>red</hi> cat<ph>{1}<sub>x</sub></ph>.'
    (row,) = read(file, HEAD + unit(inline) + TAIL)
    assert isinstance(row, Row)
    assert row.values["translation"]["en"] == "A big red cat."
    assert row.values["inline_tags"] == 5
    (row,) = read(file, HEAD + unit(inline) + TAIL, inline="keep")
    assert isinstance(row, Row)
    assert row.values["translation"]["en"] == "A <b>big</b> red cat{1}x."


def test_several_languages_and_one_that_stands_twice(file: Path) -> None:
    content = (
        '<tuv xml:lang="en"><seg>x</seg></tuv><tuv xml:lang="zh"><seg>一</seg></tuv>'
        '<tuv xml:lang="zh"><seg>壹</seg></tuv><tuv xml:lang="fr"/>'
    )
    (row,) = read(file, f"{HEAD}<tu>{content}</tu>{TAIL}")
    assert isinstance(row, Row)
    assert row.values["translation"] == {"en": "x", "zh": ["一", "壹"], "fr": ""}


DAMAGE = {
    "xml": ["a & b", "a <b> c", "x\0y", "&#0;", "&#xD800;", "</seg></tuv></tu><tu x=1>"],
    "xml-entity": ["a&nbsp;b"],
    "too-deep": ["<hi>" * 10_000 + "x" + "</hi>" * 10_000],
}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in DAMAGE.items() for text in texts])
def test_a_damaged_unit_costs_itself_alone(file: Path, blocks: int, rule: str, text: str) -> None:
    if blocks == 1 and rule == "too-deep":
        pytest.skip("ten thousand tags, byte by byte, take seconds and show nothing new")
    found = read(file, HEAD + unit("first") + unit(text) + unit("last") + TAIL)
    bad = [row for row in found if isinstance(row, DataError)]
    assert english(found)[0] == "first"
    assert english(found)[-1] == "last"
    assert {row.rule for row in bad} == {rule}
    assert all(row.origin is not None and row.origin.record in (6, 7) for row in bad)
    assert str(found[-1].origin).startswith("memory.tmx:8#")


def test_bytes_that_are_no_utf8_cost_their_unit(file: Path, blocks: int) -> None:
    content = (HEAD + unit("first") + unit("b?d") + unit("last") + TAIL).encode().replace(b"b?d", b"b\xffd")
    assert english(read(file, content)) == ["first", "encoding", "last"]


def test_a_unit_without_text_or_language_is_named(file: Path) -> None:
    content = HEAD + "<tu></tu><tu><tuv><seg>x</seg></tuv></tu>" + unit() + TAIL
    assert english(read(file, content)) == ["unit-empty", "language-missing", "Hello"]


def test_a_unit_of_one_language_is_a_row_that_can_be_mended(file: Path) -> None:
    (row,) = read(file, HEAD + '<tu><tuv xml:lang="en"><seg>alone</seg></tuv></tu>' + TAIL)
    assert isinstance(row, Row)
    assert row.values == {"translation": {"en": "alone"}}


def test_a_unit_within_a_unit_is_refused(file: Path) -> None:
    content = HEAD + '<tu><tuv xml:lang="en"><seg>q</seg></tuv>' + unit() + "</tu>" + unit("after") + TAIL
    assert english(read(file, content)) == ["unit-nested", "after"]


def test_a_unit_that_is_too_long(file: Path) -> None:
    content = HEAD + unit("first") + unit("x" * 3000) + unit("last") + TAIL
    assert english(read(file, content, max_record_bytes=2000)) == ["first", "record-too-long", "last"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1", "windows-1252"])
def test_other_encodings_damage_included(file: Path, blocks: int, encoding: str) -> None:
    declared = "UTF-8" if encoding == "utf-8-sig" else encoding
    content = HEAD.replace("UTF-8", declared) + unit("é", "ü") + unit("a & b", "x") + unit("è", "y") + TAIL
    assert english(read(file, content.encode(encoding))) == ["é", "xml", "è"]


def test_gzip_and_crlf(tmp_path: Path) -> None:
    content = gzip.compress((HEAD + unit() + TAIL).replace("\n", "\r\n").encode())
    assert english(read(tmp_path / "memory.tmx.gz", content)) == ["Hello"]
    with pytest.raises(DataError, match="ends too early"):
        read(tmp_path / "memory.tmx.gz", content[:-9])


BOMB = '<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><tmx><header/><body>'
REFUSED = {
    "a bomb": (BOMB + unit("&b;") + TAIL, "xml-declarations"),
    "an external entity": ('<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]><tmx>', "xml-declarations"),
    "a parameter entity": ('<!DOCTYPE tmx [<!ENTITY % p SYSTEM "http://x/y"> %p;]><tmx>', "xml-declarations"),
    "default attributes": ('<!DOCTYPE tmx [<!ATTLIST tu tuid CDATA "x">]><tmx>', "xml-declarations"),
    "an end too early": (HEAD + unit() + unit()[:40], "xml-truncated"),
    "an end in damage": (HEAD + unit() + unit("a & b"), "xml-truncated"),
    "another root": ("<html><body/></html>", "file-format"),
    "no XML": ("hello", "file-format"),
    "damage before the units": ("<tmx><header & ></tmx>", "xml"),
    "no units": (HEAD + TAIL, "no-records"),
    "an encoding that nobody knows": (HEAD.replace("UTF-8", "foo") + unit() + TAIL, "encoding"),
    "an encoding that expat lacks": ((HEAD.replace("UTF-8", "GBK") + unit() + TAIL).encode("gbk"), "encoding"),
    "nothing": ("", "file-empty"),
    "half a UTF-16 file": (b"\xff\xfe<\0t\0m\0x\0>", "encoding"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_for(name: str, file: Path, blocks: int) -> None:
    content, rule = REFUSED[name]
    with pytest.raises(DataError) as caught:
        read(file, content)
    assert caught.value.rule == rule
    assert str(file) in str(caught.value)


def test_a_tag_without_end_is_refused_before_it_fills_the_memory(file: Path) -> None:
    content = HEAD + unit() + "<tu x='" + "y" * 300_000 + "'/>" + TAIL
    with pytest.raises(DataError, match="tag longer than 2000 bytes"):
        read(file, content, max_record_bytes=2000)


def test_a_dtd_that_is_only_named_is_tolerated_and_not_read(file: Path) -> None:
    (file.parent / "tmx14.dtd").write_text('<!ENTITY nbsp "read">')
    assert english(read(file, HEAD + unit() + TAIL)) == ["Hello"]
    assert english(read(file, HEAD.replace('dtd">', 'dtd" []>') + unit() + TAIL)) == ["Hello"]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tmx")
    with pytest.raises(DataError, match="is a pipe"):
        list(tmx.TmxReader().read(tmp_path / "pipe.tmx", {}))


def test_options_are_checked(file: Path) -> None:
    with pytest.raises(ConfigError, match="inline is drop or keep"):
        read(file, HEAD + unit() + TAIL, inline="yes")
    with pytest.raises(ConfigError, match='has no option "lang"'):
        read(file, HEAD + unit() + TAIL, lang="en")


def test_the_reader_is_told_from_the_file(tmp_path: Path) -> None:
    for name in ("a.tmx", "b.xml"):
        (tmp_path / name).write_text(HEAD + unit() + TAIL, encoding="utf-8")
        assert choose_reader(tmp_path / name, Forge().readers).name == "tmx"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(file: Path) -> None:
    with file.open("w", encoding="utf-8") as handle:
        handle.write(HEAD)
        for _ in range(40_000):
            handle.write(unit("Hello " * 20, "你好" * 20))
        handle.write(TAIL)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in tmx.TmxReader().read(file, {})) == 40_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # KiB, of a file of 13 MB
