"""The plugin keeps the contract, and makes the pairs and directions that are asked of parallel text."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import instructforge_translation
from instructforge import DataError, Example, Forge, Origin, Row
from instructforge.building import BuildSettings, InstructionSet, Source, build, split_names
from instructforge.normalizers import choose
from instructforge.testing import check_data_set, check_plugin
from instructforge_translation.normalizers import ALL, by_language, source_and_target

TASK = next(iter(instructforge_translation.instructforge_tasks()))
TEMPLATES = Path(instructforge_translation.__file__).parent / "templates" / "translation"
DATA = os.environ.get("INSTRUCTFORGE_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA names no folder with the real data sets")


def made(function: Any, values: dict[str, Any], record: int = 1) -> list[Example]:
    examples = list(function(Row(values, Origin("file", record))))
    for example in examples:
        TASK.check(example)
    return examples


def pairs(values: dict[str, Any]) -> list[tuple[str, str, str, tuple[Any, ...]]]:
    return [
        (one.inputs["source_language"], one.inputs["target_language"], one.inputs["source"], one.answers)
        for one in made(by_language, values)
    ]


def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_translation)


def test_the_task_costs_at_most_25_lines() -> None:
    source = Path(instructforge_translation.__file__).read_text(encoding="utf-8")
    task = source[source.index("    yield Task(") : source.index("@hookimpl\ndef instructforge_normalizers")]
    assert sum(bool(line.strip()) for line in task.splitlines()) <= 25


# --- Directions and pairs -----------------------------------------------------------------------------

BOTH = {"translation": {"en": "Yes.", "zh": "是。"}}


@pytest.mark.parametrize(
    ("direction", "found"),
    [
        ("forward", [("en", "zh", "Yes.", ("是。",))]),
        ("backward", [("zh", "en", "是。", ("Yes.",))]),
        ("both", [("en", "zh", "Yes.", ("是。",)), ("zh", "en", "是。", ("Yes.",))]),
    ],
)
def test_the_directions(direction: str, found: list[Any]) -> None:
    assert pairs(BOTH | {"direction": direction}) == found
    assert pairs({"en": "Yes.", "zh": "是。", "direction": direction}) == found


def test_the_languages_that_are_named_count() -> None:
    three = {"translation": {"en": "Yes.", "zh": "是。", "de": "Ja."}}
    assert [pair[:2] for pair in pairs(three)] == [("en", "zh"), ("en", "de")]
    assert [pair[:2] for pair in pairs(three | {"source_language": "deu"})] == [("de", "en"), ("de", "zh")]
    assert [pair[:2] for pair in pairs(three | {"target_language": "en"})] == [("zh", "en")]
    chosen = three | {"source_language": "de", "target_language": "zh", "direction": "both"}
    assert [pair[:2] for pair in pairs(chosen)] == [("de", "zh"), ("zh", "de")]
    regional = {"translation": {"en-US": "Yes.", "zh_cn": "是。"}, "source_language": "zh", "target_language": "EN"}
    assert [pair[:2] for pair in pairs(regional)] == [("zh-CN", "en-US")]


def test_several_translations_are_several_gold_answers() -> None:
    values = {"translation": {"en": "Yes.", "zh": ["是。", "对。", "是。"]}, "direction": "both"}
    assert pairs(values) == [("en", "zh", "Yes.", ("是。", "对。")), ("zh", "en", "是。", ("Yes.",))]


def test_both_directions_are_of_one_group_and_have_ids_of_their_own() -> None:
    one, other = made(by_language, BOTH | {"direction": "both", "id": 7})
    assert (one.id, other.id) == ("7:en-zh", "7:zh-en")
    assert one.group == other.group == "Yes."
    assert made(by_language, BOTH | {"id": 7})[0].id == "7"


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"translation": {"en": "Yes."}}, "language-missing"),
        ({"translation": {}}, "language-missing"),
        ({"translation": {"en": "Yes.", "zh": " "}}, "text-empty"),
        ({"translation": {"en": None, "zh": "是。"}}, "text-empty"),
        ({"translation": {"en": "Yes.", "zh": 3}}, "field-type"),
        ({"translation": {"en": "Yes.", "zh": [None, {"x": 1}]}}, "field-type"),
        (BOTH | {"source_language": "fr"}, "language-missing"),
        (BOTH | {"source_language": "en", "target_language": "en-GB"}, "language-same"),
        (BOTH | {"direction": "sideways"}, "direction"),
        (BOTH | {"direction": None}, "direction"),
    ],
)
def test_what_makes_no_pair_is_named(values: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError) as caught:
        made(by_language, values)
    assert caught.value.rule == rule


def test_a_missing_language_costs_its_own_pairs_alone() -> None:
    found = by_language(Row({"translation": {"en": "Yes.", "fr": "", "zh": "是。"}}, Origin("file", 1)))
    assert next(found).inputs["target_language"] == "zh"
    with pytest.raises(DataError, match='"fr" is missing'):
        next(found)


def test_columns_of_numbers_are_no_languages() -> None:
    assert pairs({"id": "12", "no": "3", "en": "Yes.", "zh": "是。"})[0][:2] == ("en", "zh")
    assert pairs({"id": "Ya.", "en": "Yes."})[0][:2] == ("id", "en")
    assert [pair[:2] for pair in pairs({"id": "Ya.", "en": "Yes.", "zh": "是。", "target_language": "id"})] == [
        ("en", "id")
    ]


def test_source_and_target_with_their_languages() -> None:
    values = {"src": "Ja.", "tgt": "Yes.", "src_lang": "deu", "tgt_lang": "eng", "direction": "both"}
    found = made(source_and_target, values)
    assert [(one.inputs["source"], one.answers) for one in found] == [("Ja.", ("Yes.",)), ("Yes.", ("Ja.",))]
    (unlabelled,) = made(source_and_target, {"source": "Ja.", "source_lang": "de", "target_lang": "en"})
    assert unlabelled.answers == ()
    for missing in ("src", "src_lang", "tgt_lang"):
        with pytest.raises(DataError):
            made(source_and_target, {name: value for name, value in values.items() if name != missing})
    with pytest.raises(DataError, match="the translation is empty"):
        made(source_and_target, values | {"tgt": " "})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (BOTH, "translation"),
        ({"en": "a", "zh-Hant": "b"}, "translation"),
        ({"eng": "a", "tlh": "b", "target_language": "tlh"}, "translation"),
        ({"source": "a", "target": "b"}, "translation-pair"),
        ({"source": "a", "id": "1", "no": "2"}, "translation-pair"),
        ({"source": "a", "en": "b", "zh": "c"}, "translation"),
    ],
)
def test_the_normalizer_is_told_from_the_rows(values: dict[str, Any], name: str) -> None:
    assert choose(TASK, ALL, [Row(values, Origin("file", 1))]).name == name


# --- Languages ----------------------------------------------------------------------------------------


def test_rows_with_chinese_are_asked_in_chinese_and_those_with_english_in_either() -> None:
    def asked(first: str, second: str) -> Counter[str | None]:
        rows = (Row({"translation": {first: "x", second: "y"}}, Origin("file", at)) for at in range(200))
        return Counter(one.language for row in rows for one in by_language(row))

    assert asked("de", "fr") == {"en": 200}
    assert asked("zh-Hant", "fr") == {"zh": 200}
    assert 70 < asked("en", "zh")["zh"] < 130
    assert asked("en", "zh") == asked("en", "zh")


@pytest.mark.parametrize(
    ("language", "code", "shown"),
    [
        ("en", "zh", "Chinese"),
        ("en", "pt-BR", "Brazilian Portuguese"),
        ("en", "it-CH", "Italian (CH)"),
        ("en", "tlh", "tlh"),
        ("zh", "zh-Hant", "繁体中文"),
        ("zh", "it-CH", "意大利语（CH）"),
        ("zh", "tlh", "tlh"),
    ],
)
def test_languages_are_shown_by_name(language: str, code: str, shown: str) -> None:
    inputs = {"source": "x", "source_language": "en", "target_language": code}
    example = Example(inputs=inputs, answers=("y",), id="1", language=language)
    prompt = Forge.discover().template(f"translation/{language}/terse").render(example, seed=1).prompt[0].content
    assert prompt.splitlines()[1].rstrip(":：") == shown


def test_both_tables_name_the_same_languages() -> None:
    tables = [(TEMPLATES / language / "_languages.jinja").read_text(encoding="utf-8") for language in ("en", "zh")]
    english, chinese = (re.findall(r'"([^"]+)": "[^"]+"', table) for table in tables)
    assert english == chinese
    assert len(set(english)) == len(english) > 100


# --- Files --------------------------------------------------------------------------------------------

FILES = {
    "pairs.tsv": ("en\tzh\nOne.\t一。\nTwo.\t二。\n", {}),
    "bare.tsv": ("One.\t一。\nTwo.\t二。\n", {"header": "en,zh"}),
    "pairs.csv": ("zh-CN,en_US\n一。,One.\n二。,Two.\n", {}),
    "wmt.jsonl": ("".join(json.dumps({"translation": {"en": at, "zh": f"{at}。"}}) + "\n" for at in "ab"), {}),
    "flat.jsonl": ("".join(json.dumps({"en": at, "zh": f"{at}。"}) + "\n" for at in "ab"), {}),
    "side.eng.txt": ("One.\nTwo.\n", {"target": "other.zho.txt"}),
    "memory.tmx": (
        '<tmx><header srclang="en"/><body>'
        '<tu><tuv xml:lang="en"><seg>a <b>c</b></seg></tuv><tuv xml:lang="zh"><seg>b</seg></tuv></tu>'
        '<tu><tuv xml:lang="en"><seg>alone</seg></tuv></tu>'
        '<tu><tuv xml:lang="zh"><seg>d</seg></tuv><tuv xml:lang="en"><seg>c</seg></tuv></tu></body></tmx>',
        {},
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_builds_both_directions_on_one_side_of_the_split(name: str, tmp_path: Path) -> None:
    content, options = FILES[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "other.zho.txt").write_text("一。\n二。\n", encoding="utf-8")
    source = Source(tmp_path / name, options=options, constants={"direction": "both"})
    ledger = build(Forge.discover(), "translation", [source], tmp_path / "out", BuildSettings()).ledger
    assert ledger["totals"]["built"] == 4
    assert ledger["sources"][0]["quarantined"] == ({"language-missing": 1} if name == "memory.tmx" else {})
    assert ledger["sources"][0]["notes"] == ({"inline-tags": 2} if name == "memory.tmx" else {})
    sides: dict[str | None, set[str]] = {}
    for split in split_names(tmp_path / "out"):
        for one in InstructionSet(tmp_path / "out", split):
            sides.setdefault(one.example.group, set()).add(split)
    assert [len(splits) for splits in sides.values()] == [1, 1]


NTREX = "translation/ntrex_de_fr/newstest2019-{}.txt"


@needs_data
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "options", "constants", "records"),
    [
        ("translation/tico19/all.en-zh.tmx", {}, {}, 3071),
        ("translation/tico19/all.en-fr.tmx", {}, {"direction": "backward"}, 3071),
        (NTREX.format("src.eng"), {"target": "newstest2019-ref.deu.txt"}, {}, 1997),
        (NTREX.format("ref.deu"), {"target": "newstest2019-ref.fra.txt"}, {}, 1997),
    ],
)
def test_real_data_are_read_whole(file: str, options: Any, constants: Any, records: int) -> None:
    source = Source(Path(DATA, file), options=options, constants=constants)
    report = check_data_set("translation", source, records=records, quarantined=0)
    assert report.rows == records
