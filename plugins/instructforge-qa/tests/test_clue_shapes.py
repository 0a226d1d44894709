"""C3 and ChID of CLUE and FewCLUE, in the exact shapes of their files, good rows and bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructforge import DataError, Example, Origin, Row
from instructforge.building import InstructionSet, Source, build, read_ledger
from instructforge.plugins import Forge
from instructforge_qa.clue import C3Reader, ChidReader
from instructforge_qa.idioms import idiom_cloze

C3 = [
    [
        ["女：周末去爬山怎么样？", "男：天气预报说有雨，要不去看展览吧。"],
        [
            {"question": "男的建议做什么？", "choice": ["爬山", "看展览", "睡觉"], "answer": "看展览"},
            {"question": "周末天气怎么样？", "choice": ["有雨", "晴天"], "answer": "有雨"},
        ],
        "7-1",
    ],
    [
        ["这家书店开了三十年，店主说，只要还有一个读者，门就不会关。"],
        [{"question": "店主是什么态度？", "choice": ["想关门", "要坚持", "在犹豫", "很生气"], "answer": "要坚持"}],
        "m-2",
    ],
    [["男：你好。"], [{"question": "谁在说话？", "choice": ["男的", "女的"], "answer": "孩子"}], "bad-answer"],
    [["男：你好。"], ["不是问题"], "bad-question"],
    ["不是文本", [], "bad-record"],
]
IDIOMS = [
    "画蛇添足",
    "一帆风顺",
    "滴水穿石",
    "半途而废",
    "守株待兔",
    "亡羊补牢",
    "井底之蛙",
    "对牛弹琴",
    "刻舟求剑",
    "掩耳盗铃",
]


def chid_record(*texts: str, candidates: list[Any] | None = None) -> dict[str, Any]:
    return {"candidates": IDIOMS if candidates is None else candidates, "content": list(texts)}


def built(tmp_path: Path, *sources: Source) -> tuple[dict[str, Any], list[Example]]:
    out = tmp_path / "out"
    build(Forge.discover(), "qa-choice", list(sources), out)
    examples = [row.example for split in read_ledger(out)["splits"] for row in InstructionSet(out, split)]
    return read_ledger(out), examples


def write(path: Path, value: Any, *, lines: bool = False) -> Path:
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in value) if lines else json.dumps(value)
    path.write_text(text + "\n", encoding="utf-8")
    return path


# --- C3 ------------------------------------------------------------------------------------------------


def test_c3_gives_a_row_for_each_question(tmp_path: Path) -> None:
    ledger, examples = built(tmp_path, Source(write(tmp_path / "m-train.json", C3)))
    assert ledger["sources"][0]["reader"] == "c3"
    assert ledger["totals"] | {"read": 6, "built": 3, "quarantined": 3} == ledger["totals"]
    assert ledger["quarantined"] == {"c3-structure": 2, "label-unknown": 1}
    found = {one.id: one for one in examples}
    assert set(found) == {"7-1/0", "7-1/1", "m-2/0"}
    first = found["7-1/0"]
    assert first.inputs["context"] == "女：周末去爬山怎么样？\n男：天气预报说有雨，要不去看展览吧。"
    assert (first.inputs["choices"], first.answers) == (["爬山", "看展览", "睡觉"], ("看展览",))
    assert first.group == found["7-1/1"].group != found["m-2/0"].group


def test_c3_as_the_datasets_library_has_it(tmp_path: Path) -> None:
    row = {
        "id": 1,
        "context": ["甲：来吗？", "乙：来。"],
        "question": "乙来吗？",
        "choice": ["来", "不来"],
        "answer": "来",
    }
    _, (found,) = built(tmp_path, Source(write(tmp_path / "c3.jsonl", [row], lines=True)))
    assert found.inputs["context"] == "甲：来吗？\n乙：来。"
    assert found.answers == ("来",)


def test_a_bad_record_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "d-train.json"
    path.write_text('[[["好"],[{"question":"？","choice":["a","b"],"answer":"a"}],"1"],[["坏" "x"]],[[[]]]]')
    found = list(C3Reader().read(path, {}))
    assert [type(one).__name__ for one in found] == ["Row", "DataError", "DataError"]
    assert all(isinstance(one, Row) or (one.origin and one.origin.path) for one in found[1:] if one)


# --- ChID ----------------------------------------------------------------------------------------------


def test_chid_of_clue_takes_its_answers_from_their_own_file(tmp_path: Path) -> None:
    records = [
        chid_record("学琴要有#idiom000000#的耐心。", "别总是#idiom000001#，要知道#idiom000002#还不晚。"),
        chid_record("祝你#idiom000003#。"),
        chid_record("没有空格的一段话。"),
        chid_record("答案不对的#idiom000004#。"),
        chid_record("没有答案的#idiom000005#。"),
    ]
    path = write(tmp_path / "train.json", records, lines=True)
    places = dict.fromkeys([f"#idiom00000{n}#" for n in range(5)], 0) | {"#idiom000000#": 2, "#idiom000001#": 3}
    places |= {"#idiom000002#": 5, "#idiom000003#": 1, "#idiom000004#": 10}
    write(tmp_path / "train_answer.json", places)
    ledger, examples = built(tmp_path, Source(path))
    assert ledger["sources"][0]["reader"] == "chid"
    assert ledger["totals"] | {"records": 5, "read": 7, "built": 5, "unlabelled": 1} == ledger["totals"]
    assert ledger["quarantined"] == {"idiom-cloze": 2}
    by_text = {str(one.inputs["context"]): one for one in examples}
    assert by_text["学琴要有（　　）的耐心。"].answers == ("滴水穿石",)
    assert by_text["别总是（　　），要知道……还不晚。"].answers == ("半途而废",)
    assert by_text["别总是……，要知道（　　）还不晚。"].answers == ("亡羊补牢",)
    assert by_text["没有答案的（　　）。"].answers == ()
    assert len({one.group for one in examples}) == 3


def test_a_change_of_the_answers_is_a_change_of_the_build(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", [chid_record("#idiom000000#者常见。")], lines=True)
    answers = write(tmp_path / "train_answer.json", {"#idiom000000#": 0})
    before, _ = built(tmp_path, Source(path))
    write(answers, {"#idiom000000#": 1})
    after, (found,) = built(tmp_path, Source(path))
    assert before["fingerprint"] != after["fingerprint"]
    assert found.answers == ("一帆风顺",)


def test_without_its_answers_chid_is_read_unlabelled(tmp_path: Path) -> None:
    path = write(tmp_path / "test.json", [chid_record("#idiom000000#者常见。")], lines=True)
    ledger, (found,) = built(tmp_path, Source(path))
    assert ledger["sources"][0]["reader"] in ("json", "jsonl")
    assert found.answers == ()


def test_answers_by_option_and_broken_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [chid_record("#idiom000000#者常见。")], lines=True)
    write(tmp_path / "b.json", {"#idiom000000#": 4})
    (row,) = ChidReader().read(path, {"answers": "b.json"})
    assert isinstance(row, Row)
    assert row.values["answers"] == {"#idiom000000#": 4}
    for wrong in ("[1]", "", '{"a": 1', "\x00"):
        (tmp_path / "b.json").write_text(wrong)
        with pytest.raises(DataError):
            list(ChidReader().read(path, {"answers": "b.json"}))
    with pytest.raises(DataError):
        list(ChidReader().read(path, {"answers": "nowhere.json"}))


FEWCLUE = {"id": 1421, "candidates": IDIOMS[:7], "content": "他这是#idiom#，多此一举。", "answer": 0}
HUB = {
    "idx": 5,
    "candidates": IDIOMS,
    "content": ["学琴要有#idiom000000#的耐心。", "祝你#idiom000001#。"],
    "answers": {"text": ["滴水穿石", "一帆风顺"], "candidate_id": [2, 1]},
}
FIRST = {
    "content": "先是#idiom#，后来#idiom#。",
    "realCount": 2,
    "groundTruth": ["守株待兔", "亡羊补牢"],
    "candidates": [IDIOMS[3:6], IDIOMS[4:8]],
}


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        (FEWCLUE, ["画蛇添足"]),
        (FEWCLUE | {"answer": "画蛇添足"}, ["画蛇添足"]),
        (HUB, ["滴水穿石", "一帆风顺"]),
        (HUB | {"answers": {"text": [], "candidate_id": []}}, [None, None]),
        (FIRST, ["守株待兔", "亡羊补牢"]),
        ({name: FEWCLUE[name] for name in ("id", "candidates", "content")}, [None]),
    ],
)
def test_every_form_of_chid(row: dict[str, Any], answers: list[str | None]) -> None:
    found = idiom_cloze(Row(row, Origin("chid.jsonl", 1)))
    assert [one.answers[0] if one.answers else None for one in found] == answers
    assert all(str(one.inputs["context"]).count("（　　）") == 1 for one in found)


@pytest.mark.parametrize(
    "change",
    [
        {"answer": 7},
        {"answer": True},
        {"answer": "没有的成语"},
        {"answer": [0, 1]},
        {"candidates": []},
        {"candidates": ["a", "a"]},
        {"candidates": ["a", 1]},
        {"candidates": None},
        {"candidates": [["a"], ["b"]]},
        {"content": "没有空格"},
        {"content": None},
        {"content": ["#idiom#", 3]},
    ],
)
def test_a_bad_record_of_chid_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        idiom_cloze(Row(FEWCLUE | change, Origin("chid.jsonl", 1)))
