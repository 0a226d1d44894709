"""CoNLL columns: what is read, which columns, and what a bad line costs."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge.data import Row
from instructforge.errors import ConfigError, DataError
from instructforge.plugins import Forge
from instructforge.readers import choose_reader
from instructforge.readers.conll import ConllReader

WNUT = "Empire\tB-location\nState\tI-location\n.\tO\n\t\n#FF\tO\n@ada\tB-person\n\n"
CONLL03 = (
    "-DOCSTART- -X- -X- O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nPeter NNP I-NP I-PER\n\n"
    "-DOCSTART- -X- -X- O\n\nBonn NNP I-NP I-LOC\n"
)
UNER = (
    "# newdoc id = n1\n# sent_id = n1-1\n# text = 李白說：好。\n1\t李白\tB-PER\t-\t-\n2\t說\tO\t-\t-\n3\t：\tO\t-\t-\n"
    "4\t好\tO\t-\t-\n5\t。\tO\t-\t-\n\n# sent_id = n1-2\n1-2\tdu\tO\t-\t-\n1\tde\tO\t-\t-\n2\tle\tO\t-\t-\n"
)
BMES = "王 B-NAME\n小 M-NAME\n明 E-NAME\n， O\n\n男 O\n"


def rows(tmp_path: Path, content: str | bytes, name: str = "a.conll", **options: Any) -> list[Any]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(ConllReader().read(path, options))


def test_two_columns_with_hashtags_and_a_tab_between_sentences(tmp_path: Path) -> None:
    one, two = rows(tmp_path, WNUT)
    assert one.values == {"tokens": ["Empire", "State", "."], "tags": ["B-location", "I-location", "O"]}
    assert two.values["tokens"] == ["#FF", "@ada"]
    assert (one.origin.record, two.origin.record) == (1, 5)


def test_four_columns_of_which_the_last_with_tags_counts_and_documents(tmp_path: Path) -> None:
    found = rows(tmp_path, CONLL03, "eng.testb")
    assert [row.values["tags"] for row in found] == [["I-ORG", "O"], ["I-PER"], ["I-LOC"]]
    assert [row.values["document"] for row in found] == ["1", "1", "2"]
    chunks = rows(tmp_path, CONLL03, "eng.testb", tag=3)
    assert chunks[0].values["tags"] == ["I-NP", "I-VP"]
    assert rows(tmp_path, CONLL03, tag="-1", token="1")[0].values["tags"] == ["I-ORG", "O"]


def test_five_columns_with_index_comments_and_words_in_parts(tmp_path: Path) -> None:
    one, two = rows(tmp_path, UNER, "a.iob2")
    assert one.values["tokens"] == ["李白", "說", "：", "好", "。"]
    assert (one.values["id"], one.values["text"], one.values["document"]) == ("n1-1", "李白說：好。", "n1")
    assert (two.values["id"], two.values["tokens"], two.values["document"]) == ("n1-2", ["de", "le"], "n1")
    assert "text" not in two.values


def test_characters_with_bmes(tmp_path: Path) -> None:
    one, two = rows(tmp_path, BMES.replace("\n", "\r\n"), "a.bmes")
    assert one.values == {"tokens": ["王", "小", "明", "，"], "tags": ["B-NAME", "M-NAME", "E-NAME", "O"]}
    assert two.values["tokens"] == ["男"]


def test_tokens_without_tags(tmp_path: Path) -> None:
    assert rows(tmp_path, "Ada\nsang\n\nso\n")[0].values == {"tokens": ["Ada", "sang"]}
    assert rows(tmp_path, "Ada NN\nsang VB\n", tag="none")[0].values == {"tokens": ["Ada", "sang"]}
    with pytest.raises(DataError, match="none of them of tags"):
        rows(tmp_path, "Ada NN\nsang VB\n")


def test_a_block_of_nothing_but_hashes_is_a_comment_unless_there_are_none(tmp_path: Path) -> None:
    text = "# licence: free\n\n#yesterday\tO\n\n#FF\tO\nAda\tB-PER\n# a remark\n"
    assert [row.values["tokens"] for row in rows(tmp_path, text)] == [["#FF", "Ada"]]
    plain = rows(tmp_path, text, comments="none")
    assert [type(row) for row in plain] == [DataError, Row, DataError]


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (b"Bob\n", "cells-too-few"),
        (b"Bob\tB-PER\tx\n", "cells-too-many"),
        (b"\tB-PER\n", "token-empty"),
        (b"Bob\t\n", "tag-empty"),
        (b"B\xffb\tO\n", "encoding"),
        (b"B\x00b\tO\n", "not-text"),
        (b"B" * 5000 + b"\tO\n", "record-too-long"),
    ],
)
def test_a_bad_line_spoils_its_sentence_and_nothing_else(tmp_path: Path, bad: bytes, rule: str) -> None:
    text = b"Ada\tB-PER\nsang\tO\n\nthen\tO\n" + bad + b"went\tO\n\nhome\tO\n"
    one, two, three = rows(tmp_path, text, max_record_bytes=2000)
    assert one.values["tokens"] == ["Ada", "sang"]
    assert isinstance(two, DataError)
    assert (two.rule, two.origin.record) == (rule, 4)
    assert three.values["tokens"] == ["home"]


def test_a_sentence_without_end_is_not_held(tmp_path: Path) -> None:
    one, two = rows(tmp_path, "a\tO\n" * 5000 + "\nb\tO\n", max_record_bytes=4000)
    assert isinstance(one, DataError)
    assert one.rule == "record-too-long"
    assert two.values["tokens"] == ["b"]


@pytest.mark.parametrize("content", [b"", b"\n\n \n", b"# only\n# comments\n", b"\xff\xfea\x00", b"\x1f\x8b\x08\x00"])
def test_a_file_of_no_sentences_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError):
        rows(tmp_path, content)


def test_packed_and_marked_files_are_read(tmp_path: Path) -> None:
    assert len(rows(tmp_path, gzip.compress(WNUT.encode()), "a.conll.gz")) == 2
    assert rows(tmp_path, b"\xef\xbb\xbf" + WNUT.encode())[0].values["tokens"][0] == "Empire"
    with pytest.raises(DataError, match="ends too early"):
        rows(tmp_path, gzip.compress(WNUT.encode())[:-12])


@pytest.mark.parametrize(
    "options", [{"tag": 9}, {"tag": "x"}, {"tag": 0}, {"token": True}, {"kolumn": 1}, {"comments": 1}]
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        rows(tmp_path, WNUT, **options)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.conll", WNUT, "conll"),
        ("a.iob2", UNER, "conll"),
        ("train.txt", CONLL03, "conll"),
        ("dev", BMES, "conll"),
        ("a.tsv", "tokens\ttags\nAda\tB-PER\n", "tsv"),
        ("a.jsonl", '{"tokens": ["O"]}\n', "jsonl"),
    ],
)
def test_the_reader_is_told_by_what_stands_there(tmp_path: Path, name: str, content: str, expected: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert choose_reader(path, Forge().readers).name == expected


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([b"a\tO", b"b\tB-X", b"", b"\t", b"# c", b"#\tO", b"x", b"\xff", b"a b O"]), max_size=20)
)
def test_whatever_the_lines_every_sentence_is_a_row_or_an_error(lines: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.conll"
        path.write_bytes(b"ok\tO\nfine\tB-X\n\n" * 20 + b"\n".join(lines))
        found = list(ConllReader().read(path, {}))
        assert all(isinstance(one, (Row, DataError)) for one in found)
        for one in found:
            if isinstance(one, Row):
                assert len(one.values["tokens"]) == len(one.values["tags"]) > 0
