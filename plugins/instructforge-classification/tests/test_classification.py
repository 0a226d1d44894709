"""The plugin keeps the contract, and reads labels in all the ways in which data give them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import instructforge_classification
from instructforge import DataError, Example, Origin, Row
from instructforge.building import InstructionSet, Source, build, read_ledger
from instructforge.errors import ConfigError
from instructforge.plugins import Forge
from instructforge.testing import check_plugin
from instructforge_classification.snips import SnipsReader

TASKS = {task.name: task for task in instructforge_classification.instructforge_tasks()}
NORMALIZERS = {one.name: one for one in instructforge_classification.instructforge_normalizers()}


def examples(name: str, values: dict[str, Any]) -> list[Example]:
    normalizer = NORMALIZERS[name]
    made = normalizer.function(Row(values, Origin("rows.jsonl", 1)))
    found = [made] if isinstance(made, Example) else list(made)
    for one in found:
        TASKS[normalizer.task].check(one)
    return found


def example(name: str, values: dict[str, Any]) -> Example:
    (found,) = examples(name, values)
    return found


def refused(name: str, values: dict[str, Any]) -> DataError:
    with pytest.raises(DataError) as caught:
        examples(name, values)
    return caught.value


def built(tmp_path: Path, task: str, *sources: Source) -> tuple[dict[str, Any], dict[str, Example]]:
    out = tmp_path / "out"
    build(Forge.discover(), task, list(sources), out)
    ledger = read_ledger(out)
    rows = (row for split in ledger["splits"] for row in InstructionSet(out, split))
    return ledger, {row.id: row.example for row in rows}


def said(ledger: dict[str, Any], name: str) -> list[str]:
    """Return what the build says of a constant that it has collected."""
    return [warning for warning in ledger["warnings"] if warning.startswith(f"{name}:")]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_classification)


def test_a_task_costs_at_most_25_lines() -> None:
    source = Path(instructforge_classification.__file__).read_text(encoding="utf-8")
    tasks = source.split("    yield Task(")[1:]
    assert len(tasks) == 8
    assert max(part.split("@hookimpl")[0].count("\n") for part in tasks) <= 25


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_six_templates_and_four_samples_in_each_language(task: str, language: str) -> None:
    folder = Path(instructforge_classification.__file__).parent / "templates" / task / language
    assert len(list(folder.glob("*.jinja"))) >= 6
    assert sum(sample.language == language for sample in TASKS[task].samples) >= 4


# --- Sets of labels that come with the data -----------------------------------------------------------


def test_labels_are_collected_from_all_files_and_what_only_the_test_has_is_told(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [{"text": f"t{n}", "intent": label} for n, label in enumerate("bab")])
    test = write(tmp_path / "test.jsonl", [{"text": "x", "intent": "c"}, {"text": "y"}, {"text": "z", "intent": "a"}])
    ledger, found = built(tmp_path, "intent", Source(train, split="train"), Source(test, split="test"))
    assert ledger["totals"] | {"built": 6, "quarantined": 0, "unlabelled": 1} == ledger["totals"]
    assert {tuple(one.inputs["labels"]) for one in found.values()} == {("a", "b", "c")}
    collected, unseen = said(ledger, "labels")
    assert collected == "labels: 3 collected from the rows of 2 files (a, b, c)"
    assert "stand in no training file" in unseen
    assert unseen.endswith(': "c"')
    assert all(source["constants"] == {"labels": ["a", "b", "c"]} for source in ledger["sources"])


def test_a_given_set_is_not_collected_and_other_labels_are_refused(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"text": "t", "intent": "a"}, {"text": "u", "intent": "z"}])
    ledger, _ = built(tmp_path, "intent", Source(rows, constants={"labels": ["a", "b"]}))
    assert said(ledger, "labels") == []
    assert ledger["quarantined"] == {"label-unknown": 1}


def test_rows_with_sets_of_their_own_keep_them(tmp_path: Path) -> None:
    rows = [{"text": "t", "topic": "a", "labels": ["a", "b"]}, {"text": "u", "topic": "c", "labels": ["c", "d"]}]
    _, found = built(tmp_path, "topic", Source(write(tmp_path / "rows.jsonl", rows)))
    assert sorted(one.inputs["labels"] for one in found.values()) == [["a", "b"], ["c", "d"]]


def test_a_column_of_texts_is_no_set_of_labels(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"text": "t", "intent": f"free text {n}"} for n in range(2100)])
    with pytest.raises(ConfigError, match="no closed set"):
        built(tmp_path, "intent", Source(rows))


def test_bad_rows_add_nothing_to_the_set_and_are_quarantined(tmp_path: Path) -> None:
    rows: list[Any] = [{"text": "t", "intent": ["x"]}, {"text": "u", "intent": "a"}, {"intent": "b"}, [1]]
    ledger, _ = built(tmp_path, "intent", Source(write(tmp_path / "rows.jsonl", rows)))
    assert ledger["totals"] | {"read": 4, "built": 1, "quarantined": 3} == ledger["totals"]


def test_the_build_goes_on_with_the_same_set(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"text": "t", "intent": "a"}, {"text": "u", "intent": "b"}])
    first, _ = built(tmp_path, "intent", Source(rows))
    again, _ = built(tmp_path, "intent", Source(rows))
    assert first == again


@pytest.mark.parametrize(
    ("labels", "given", "answers"),
    [
        (["World", "Sports"], "Sports", ("Sports",)),
        (["World", "Sports"], 1, ("Sports",)),
        ({1: "World", 2: "Sports"}, "2", ("Sports",)),
        ({"1": "World", "2": "Sports"}, 2, ("Sports",)),
        ('["World", "Sports"]', "World", ("World",)),
        (["World", "Sports"], None, ()),
        (["World", "Sports"], -1, ()),
        (["World", "Sports"], "", ()),
    ],
)
def test_labels_by_name_code_or_place(labels: Any, given: Any, answers: tuple[str, ...]) -> None:
    found = example("topic", {"text": "t", "label": given, "labels": labels})
    assert found.answers == answers
    assert found.inputs["labels"] == ["World", "Sports"]


@pytest.mark.parametrize("labels", [None, [], "World", [1], [""], {"a": 1}, '["broken'])
def test_a_set_that_is_none_is_refused(labels: Any) -> None:
    assert refused("topic", {"text": "t", "label": "World", "labels": labels}).rule == "labels-missing"


@pytest.mark.parametrize("given", ["Weather", 2, True, ["World"], {"a": 1}])
def test_a_label_that_is_none_of_the_set_is_refused(given: Any) -> None:
    assert refused("topic", {"text": "t", "label": given, "labels": ["World", "Sports"]}).rule in (
        "label-unknown",
        "field-type",
    )


# --- Forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "row", "text", "answer"),
    [
        ("intent", {"text": "hi", "category": "greet"}, "hi", "greet"),
        ("intent", {"utterance": "hi", "intent": "greet"}, "hi", "greet"),
        ("intent", {"text": "hi", "label": 0, "label_text": "greet"}, "hi", "greet"),
        ("topic", {"Class Index": "3", "Title": "A", "Description": "B"}, "A\nB", "3"),
        ("topic", {"label": "100", "label_desc": "news_story", "sentence": "甲", "keywords": "乙"}, "甲", "news_story"),
        ("topic", {"label": "102", "label_des": "news_sports", "sentence": "甲"}, "甲", "news_sports"),
        ("topic", {"label": "110", "label_des": "社区超市", "sentence": "甲"}, "甲", "社区超市"),
        ("topic", {"id": 9, "content": "甲", "label": "园艺学"}, "甲", "园艺学"),
    ],
)
def test_columns_in_their_usual_names(name: str, row: dict[str, Any], text: str, answer: str) -> None:
    (label,) = NORMALIZERS[name].collects["labels"](row)
    found = example(name, {**row, "labels": [label, "other"]})
    assert (found.inputs["text"], found.answers) == (text, (answer,))


def test_snips_gives_an_utterance_a_row_and_keeps_its_slots(tmp_path: Path) -> None:
    path = tmp_path / "train_PlayMusic.json"
    utterance = {"data": [{"text": "play "}, {"text": "Bach", "entity": "artist"}]}
    path.write_text(json.dumps({"PlayMusic": [utterance, {"data": "x"}], "GetWeather": [utterance]}))
    first, bad, other = SnipsReader().read(path, {})
    assert isinstance(first, Row)
    assert isinstance(bad, Row)
    assert isinstance(other, Row)
    assert first.values == {"intent": "PlayMusic", **utterance}
    assert other.values["intent"] == "GetWeather"
    ledger, found = built(tmp_path, "intent", Source(path))
    assert ledger["sources"][0]["reader"] == "snips"
    assert ledger["totals"] | {"records": 3, "built": 2, "quarantined": 1} == ledger["totals"]
    assert {one.inputs["text"] for one in found.values()} == {"play Bach"}
    assert {one.answers for one in found.values()} == {("PlayMusic",), ("GetWeather",)}


@pytest.mark.parametrize("text", ['{"a": [{"data": []}], "b": 3}', '{"a": [{"data": []}', '{"a": []}'])
def test_a_broken_snips_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(DataError):
        list(SnipsReader().read(path, {}))


# --- Several labels -----------------------------------------------------------------------------------

GENRES = ["comedy", "drama", "sci-fi, fantasy"]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (["drama", "comedy"], ("drama", "comedy")),
        ("drama|comedy", ("drama", "comedy")),
        ("drama; comedy", ("drama", "comedy")),
        ("comedy", ("comedy",)),
        ("sci-fi, fantasy", ("sci-fi, fantasy",)),
        ('["sci-fi, fantasy", "drama"]', ("sci-fi, fantasy", "drama")),
        ([1, 0], ("drama", "comedy")),
        ([], ()),
        ("", ()),
        (["drama", "drama"], ("drama",)),
    ],
)
def test_several_labels_in_one_column(given: Any, answer: tuple[str, ...]) -> None:
    assert example("multi-label", {"text": "t", "genres": given, "choices": GENRES}).answers == (answer,)


def test_a_column_for_each_label() -> None:
    row = {
        "id": "a",
        "comment_text": "t",
        "toxic": "1",
        "insult": "0",
        "threat": 1,
        "choices": ["toxic", "insult", "threat"],
    }
    assert example("multi-label", row).answers == (("toxic", "threat"),)
    assert example("multi-label", row | {"toxic": 0, "threat": "0"}).answers == ((),)
    assert example("multi-label", row | {"toxic": -1}).answers == ()
    assert refused("multi-label", row | {"toxic": "2"}).rule == "label-unknown"


def test_no_label_at_all_is_unlabelled_and_an_unknown_one_refused() -> None:
    assert example("multi-label", {"text": "t", "choices": GENRES}).answers == ()
    assert refused("multi-label", {"text": "t", "tags": ["drama", "war"], "choices": GENRES}).rule == "label-unknown"
    assert refused("multi-label", {"text": "t", "tags": [], "choices": ["none", "a"]}).rule == "answer-ambiguous"


def test_several_labels_are_collected(tmp_path: Path) -> None:
    rows = [{"text": "t", "tags": ["b", "a"]}, {"text": "u", "tags": []}, {"text": "v", "tags": ["c"]}]
    ledger, found = built(tmp_path, "multi-label", Source(write(tmp_path / "rows.jsonl", rows)))
    assert ledger["totals"]["built"] == 3
    assert {tuple(one.inputs["choices"]) for one in found.values()} == {("a", "b", "c")}


# --- Sentiment ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"Sentiment": "Positive", "Text": "t"}, "positive"),
        ({"id": 23, "sentence": "t", "label": "Negative"}, "negative"),
        ({"text": "t", "sentiment": "NEU"}, "neutral"),
        ({"text": "t", "label": "差评"}, "negative"),
        ({"text": "t", "label": 4, "label_text": "very positive"}, "positive"),
        ({"reviewbody": "t", "star": "5.0"}, "positive"),
        ({"text": "t", "stars": 3}, "neutral"),
        ({"reviewText": "t", "overall": 1.0}, "negative"),
        ({"text": "t", "rating": 2.5}, "negative"),
        ({"sentence": "t", "label": 1, "numbers": ["0", "1"]}, "positive"),
        ({"sentence": "t", "label": "0", "numbers": ["0", "1"]}, "negative"),
        ({"text": "t", "label": 1, "numbers": ["0", "1", "2"]}, "neutral"),
        ({"text": "t", "label": 1, "numbers": ["1", "2"]}, "negative"),
        ({"text": "t", "label": 2, "numbers": ["1", "2"]}, "positive"),
        ({"text": "t", "label": 4, "numbers": ["0", "2", "4"]}, "positive"),
        ({"text": "t", "label": 3, "numbers": ["1", "2", "3", "4", "5"]}, "neutral"),
        ({"text": "t", "label": 0, "numbers": {0: "positive", 1: "negative"}}, "positive"),
        ({"text": "t", "label": -1, "numbers": ["0", "1"]}, None),
        ({"text": "t"}, None),
    ],
)
def test_sentiment_in_words_numbers_and_stars(row: dict[str, Any], answer: str | None) -> None:
    assert example("sentiment", row).answers == (() if answer is None else (answer,))


@pytest.mark.parametrize(
    "row",
    [
        {"text": "t", "label": "happy"},
        {"text": "t", "label": 1},
        {"text": "t", "label": 7, "numbers": ["0", "7"]},
        {"text": "t", "stars": 6},
        {"text": "t", "stars": "many"},
        {"text": "t", "label": ["positive"]},
        {"label": "positive"},
    ],
)
def test_a_sentiment_that_nobody_knows_is_refused(row: dict[str, Any]) -> None:
    refused("sentiment", row)


def test_how_numbers_are_read_is_counted(tmp_path: Path) -> None:
    rows = [{"sentence": "a", "label": 0, "idx": 0}, {"sentence": "b", "label": 1, "idx": 1}]
    ledger, _ = built(tmp_path, "sentiment", Source(write(tmp_path / "sst2.jsonl", rows)))
    assert ledger["notes"] == {"number-0-as-negative": 1, "number-1-as-positive": 1}
    assert said(ledger, "numbers") == ["numbers: 2 collected from the rows of 1 file (0, 1)"]


def test_a_review_with_a_column_for_each_aspect() -> None:
    row = {"index": "7", "reviewbody": "菜好，就是吵。", "star": "4.0", "dish_taste": "1", "environment_noise": "-1"}
    found = examples("aspect-columns", row | {"service_parking_convenience": "-2", "price_level": "0"})
    assert {one.inputs["aspect"]: one.answers for one in found} == {
        "菜品口味": ("positive",),
        "安静程度": ("negative",),
        "停车": ("not-mentioned",),
        "价格水平": ("neutral",),
    }
    assert {one.group for one in found} == {"7"}
    assert len({one.id for one in found}) == 4
    assert refused("aspect-columns", row | {"dish_taste": "2"}).field == "dish_taste"


def test_a_row_for_each_aspect() -> None:
    row = {"sentence": "Good food, slow staff.", "aspect": "staff", "polarity": "negative"}
    assert example("aspect-rows", row).answers == ("negative",)
    assert refused("aspect-rows", row | {"polarity": "conflict"}).rule == "label-unknown"


# --- Pairs, pronouns, keywords ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"sentence1": "甲", "sentence2": "乙", "label": "0"}, ("no",)),
        ({"id": 5, "sentence1": "甲", "sentence2": "乙", "label": "1"}, ("yes",)),
        ({"text_a": "甲", "text_b": "乙", "label": 1}, ("yes",)),
        ({"question1": "a", "question2": "b", "is_duplicate": 0}, ("no",)),
        ({"Quality": "1", "#1 String": "a", "#2 String": "b"}, ("yes",)),
        ({"sentence1": "甲", "sentence2": "乙", "label": -1}, ()),
    ],
)
def test_pairs_in_their_usual_names(row: dict[str, Any], answers: tuple[str, ...]) -> None:
    assert example("sentence-pairs", row).answers == answers


def test_a_pair_with_a_grade_is_refused() -> None:
    assert refused("sentence-pairs", {"sentence1": "a", "sentence2": "b", "label": 3.8}).rule == "label-unknown"


WSC = {
    "target": {"span2_index": 11, "span1_index": 4, "span1_text": "手机", "span2_text": "它"},
    "idx": 261,
    "label": "true",
    "text": "枕头旁的手机响了，可是它早就停机了。",
}


def test_pronoun_and_noun_are_marked_where_they_stand() -> None:
    found = example("marked-pronoun", WSC)
    assert found.inputs == {"text": "枕头旁的_手机_响了，可是[它]早就停机了。", "noun": "手机", "pronoun": "它"}
    assert (found.answers, found.id) == (("yes",), "261")
    assert example("marked-pronoun", WSC | {"label": "false"}).answers == ("no",)
    assert example("marked-pronoun", {name: WSC[name] for name in ("target", "text")}).answers == ()
    flat = {"text": WSC["text"], "label": True, **WSC["target"]}
    assert example("marked-pronoun", flat).inputs == found.inputs


def test_a_pronoun_before_its_noun() -> None:
    target = {"span1_index": 6, "span1_text": "小李", "span2_index": 0, "span2_text": "他"}
    assert example("marked-pronoun", {"text": "他来了以后，小李笑了。", "target": target}).inputs["text"] == (
        "[他]来了以后，_小李_笑了。"
    )


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"span2_index": 3}, "span-misaligned"),
        ({"span2_index": -1}, "span-misaligned"),
        ({"span1_text": ""}, "span-malformed"),
        ({"span1_index": "5"}, "span-malformed"),
        ({"span2_index": 4, "span2_text": "手"}, "span-overlap"),
    ],
)
def test_a_span_that_stands_elsewhere_is_refused(change: dict[str, Any], rule: str) -> None:
    assert refused("marked-pronoun", WSC | {"target": {**WSC["target"], **change}}).rule == rule


@pytest.mark.parametrize("label", [0, 1, "maybe", 2.5])
def test_a_number_is_no_label_of_a_pronoun(label: Any) -> None:
    assert refused("marked-pronoun", WSC | {"label": label}).rule == "label-unknown"


CSL = {"id": 1, "abst": "本文研究声呐成像。", "keyword": ["水声学", "成像声呐"], "label": "1"}


def test_keywords_of_csl() -> None:
    found = example("abstract-keywords", CSL)
    assert found.inputs == {"text": "本文研究声呐成像。", "keywords": ["水声学", "成像声呐"]}
    assert found.answers == ("yes",)
    assert example("abstract-keywords", CSL | {"label": "0"}).answers == ("no",)
    assert example("abstract-keywords", CSL | {"keyword": "水声学_成像声呐"}).inputs == found.inputs


@pytest.mark.parametrize("change", [{"keyword": []}, {"keyword": ["a", ""]}, {"keyword": [1]}, {"keyword": 3}])
def test_keywords_that_are_none_are_refused(change: dict[str, Any]) -> None:
    assert refused("abstract-keywords", CSL | change).rule == "keywords-malformed"


# --- Whole files of CLUE and FewCLUE, good rows and bad ones -------------------------------------------

FILES: dict[str, tuple[str, list[Any], dict[str, int]]] = {
    "afqmc/train.json": (
        "similarity",
        [
            {"sentence1": "花呗怎么还款", "sentence2": "还花呗的步骤", "label": "1"},
            {"sentence1": "花呗怎么还款", "sentence2": "花呗额度多少", "label": "0"},
            {"sentence1": "花呗", "label": "0"},
            {"sentence1": "花呗", "sentence2": "借呗", "label": "2"},
        ],
        {"built": 2, "quarantined": 2},
    ),
    "bustm/train_0.json": (
        "similarity",
        [
            {"id": 5, "sentence1": "你是不是女孩子", "sentence2": "你不是女孩子吗", "label": "1"},
            {"id": 18, "sentence1": "你说话慢了", "sentence2": "那你说慢一点", "label": "0"},
            {"id": 18, "sentence1": "重复的编号", "sentence2": "又来一次", "label": "0"},
        ],
        {"built": 2, "quarantined": 1},
    ),
    "tnews/train.json": (
        "topic",
        [
            {"label": "102", "label_desc": "news_entertainment", "sentence": "新片定档国庆", "keywords": "新片,国庆"},
            {"label": "103", "label_desc": "news_sports", "sentence": "主队连胜三场", "keywords": ""},
            {"label": "103", "label_desc": "news_sports", "sentence": "  ", "keywords": ""},
        ],
        {"built": 2, "quarantined": 1},
    ),
    "iflytek/train.json": (
        "topic",
        [
            {"label": "11", "label_des": "薅羊毛", "sentence": "全网优惠券,下单立减"},
            {"label": "95", "label_des": "借贷", "sentence": "随借随还,额度高"},
            {"id": 0, "sentence": "没有标签的测试行"},
        ],
        {"built": 3, "quarantined": 0, "unlabelled": 1},
    ),
    "csldcp/train_0.json": (
        "topic",
        [
            {"content": "考察了三种基质上幼苗的生长。", "label": "园艺学", "id": 1770},
            {"content": "讨论了合同解除的溯及力。", "label": "法学", "id": 1771},
            {"content": ["错"], "label": "法学", "id": 1772},
        ],
        {"built": 2, "quarantined": 1},
    ),
    "eprstmt/train_0.json": (
        "sentiment",
        [
            {"id": 23, "sentence": "外包装有点磨损，试听后感觉不错", "label": "Positive"},
            {"id": 24, "sentence": "一周就坏了", "label": "Negative"},
            {"id": 25, "sentence": "一般", "label": "Mixed"},
        ],
        {"built": 2, "quarantined": 1},
    ),
    "cluewsc2020/train.json": (
        "coreference",
        [WSC, WSC | {"idx": 262, "label": "false"}, WSC | {"idx": 263, "label": 1}, {"idx": 264, "text": "缺目标"}],
        {"built": 2, "quarantined": 2},
    ),
    "csl/train.json": (
        "keywords",
        [CSL, CSL | {"id": 2, "label": "0"}, CSL | {"id": 3, "keyword": None}],
        {"built": 2, "quarantined": 1},
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_clue_build_without_an_option(tmp_path: Path, name: str) -> None:
    task, rows, totals = FILES[name]
    path = tmp_path / Path(name).name
    ledger, found = built(tmp_path, task, Source(write(path, rows)))
    assert ledger["totals"] | {"records": len(rows), **totals} == ledger["totals"]
    assert ledger["languages"] == {"zh": len(found)}
