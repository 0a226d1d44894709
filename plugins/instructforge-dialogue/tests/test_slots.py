"""Slots and values: written, read back, and scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import instructforge_dialogue
from instructforge import DataError, Example, Origin, Row
from instructforge.data import Instruction, Output, Prediction
from instructforge.errors import DecodingError
from instructforge.plugins import Forge
from instructforge_dialogue.decoding import SlotsDecoder
from instructforge_dialogue.metrics import Distinct2, JointGoal, SlotF1
from instructforge_dialogue.normalizers import ALL
from instructforge_dialogue.slots import as_pairs, as_text, clean_pairs, read_slots

TASK = next(task for task in instructforge_dialogue.instructforge_tasks() if task.name == "dialogue-slots")
NORMALIZERS = {one.name: one for one in ALL}


def example(values: dict[str, Any], name: str) -> Example:
    made: Any = NORMALIZERS[name].function(Row(values, Origin("a.json", 1)))
    found: Example = made if isinstance(made, Example) else list(made)[-1]
    TASK.check(found)
    return found


# --- Written and read back ----------------------------------------------------------------------------

NAMES = st.text("ab中- _.", min_size=1).filter(lambda name: name.strip() and name.strip()[0] not in "-")
VALUES = st.text("ab中:： ,\"'{}[]-*.\\", min_size=1).filter(str.strip)
STATES = st.lists(st.tuples(NAMES, VALUES), max_size=5)


@given(STATES)
def test_any_state_comes_back(state: list[tuple[str, str]]) -> None:
    pairs, _ = clean_pairs(state)
    text = as_text(pairs)
    assert read_slots(text) == text
    assert sorted(as_pairs(text)) == sorted(pairs)


@given(STATES)
def test_any_state_makes_the_round_trip_through_every_template(state: list[tuple[str, str]]) -> None:
    forge = Forge.discover() if not FORGES else FORGES[0]
    FORGES[:] = [forge]
    text = as_text(clean_pairs(state)[0])
    for ref in forge.templates.refs("dialogue-slots"):
        row = Example(inputs={"utterance": "Hello"}, answers=(text,), id="a", language=ref.language)
        instruction = forge.template(ref.key).render(row, seed=1)
        (found,) = SlotsDecoder().decode([Output(text=instruction.completion)], [instruction], TASK)
        assert found.answer == text, ref.key


FORGES: list[Forge] = []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("city: York\ntime: 18:30", "city: York\ntime: 18:30"),
        ("time: 18:30\n\n city:York ", "city: York\ntime: 18:30"),
        ("- city: York\n- time: noon", "city: York\ntime: noon"),
        ("城市：约克", "城市: 约克"),
        ('{"city": "York", "dish": ["tea", "pie"]}', "city: York\ndish: pie\ndish: tea"),
        ('```json\n{"city": "York"}\n```', "city: York"),
        ("none", "none"),
        ("None.", "none"),
        ("无", "none"),
        ("{}", "none"),
    ],
)
def test_what_models_write_is_read(text: str, expected: str) -> None:
    assert read_slots(text) == expected


@pytest.mark.parametrize(
    "text", ["York", "city: York\nand so on", '{"city": 3}', '["city"]', "{", '{"a": {"b": 1}}', "a:"]
)
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(DecodingError):
        read_slots(text)


@pytest.mark.parametrize(
    "pair", [("a:b", "c"), ("", "c"), ("a", " "), ("a", None), (3, "c"), ("- a", "b"), ("{a", "b")]
)
def test_a_slot_that_would_not_come_back_is_refused(pair: Any) -> None:
    with pytest.raises(DataError):
        clean_pairs([pair])


# --- What the data say --------------------------------------------------------------------------------


def test_slots_of_sgd_with_every_spelling() -> None:
    state = {"active_intent": "Find", "slot_values": {"time": ["18:30", "half past six"], "city": ["York"]}}
    turn = {"speaker": "USER", "utterance": "Hello", "frames": [{"service": "Hotels_1", "state": state}]}
    found = example(
        {"dialogue_id": "d", "turns": [turn], "slots": ["Hotels_1.time", "Hotels_1.city", "T.x"]}, "sgd-slots"
    )
    assert found.answers == ("city: York\ntime: 18:30", "city: York\ntime: half past six")
    assert found.inputs["slots"] == ["time", "city"]


def test_slots_of_crosswoz_leave_out_what_was_found() -> None:
    state = {
        "餐馆": {"推荐菜": "烤鸭", "评分": "", "selectedResults": ["全聚德"]},
        "酒店": {"酒店设施": ["早餐", "停车"]},
    }
    messages = [{"role": "usr", "content": "好"}, {"role": "sys", "content": "行", "sys_state_init": state}]
    found = example({"messages": messages}, "crosswoz-slots")
    assert found.answers == ("酒店-酒店设施: 停车\n酒店-酒店设施: 早餐\n餐馆-推荐菜: 烤鸭",)


def test_slots_of_snips() -> None:
    data = [{"text": "play "}, {"text": "Blue  Train", "entity": "track"}, {"text": " now"}]
    found = example({"intent": "PlayMusic", "data": data, "slots": ["PlayMusic.track", "x.y"]}, "snips-slots")
    assert found.inputs == {"utterance": "play Blue  Train now", "service": "PlayMusic", "slots": ["track"]}
    assert (found.answers, found.notes) == (("track: Blue Train",), ("slot-value-respaced",))


def test_slots_of_rows_of_ones_own() -> None:
    for state in ({"city": "York", "dish": ["tea", "pie"]}, "city: York\ndish: tea\ndish: pie"):
        found = example({"text": "Hi", "state": state}, "dialogue-slots-rows")
        assert found.answers == ("city: York\ndish: pie\ndish: tea",)
    assert example({"text": "Hi", "state": {}}, "dialogue-slots-rows").answers == ("none",)


# --- Metrics ------------------------------------------------------------------------------------------


def score(metric: Any, pairs: list[tuple[str | None, tuple[str, ...]]]) -> float:
    examples = [Example(inputs={"utterance": "x"}, answers=golds) for _, golds in pairs]
    said = [Prediction(id="", answer=answer) for answer, _ in pairs]
    return float(metric.reduce(metric.prepare(said, examples, TASK), np.arange(len(pairs))))


def test_joint_goal_wants_every_slot_and_no_other() -> None:
    gold = ("city: York\ntime: 18:30", "city: York\ntime: half past six")
    for said, expected in (
        ("city: York\ntime: 18:30", 1),
        ("CITY: york\ntime: Half past six", 1),
        ("city: York", 0),
        ("city: York\ntime: noon", 0),
        ("city: York\ntime: 18:30\nday: Monday", 0),
        ("none", 0),
        (None, 0),
    ):
        assert score(JointGoal(), [(said, gold)]) == expected
    assert score(JointGoal(), [("none", ("none",)), (None, ("none",))]) == 0.5
    mixed = ("a: 1\nb: 1", "a: 2\nb: 2")
    assert score(JointGoal(), [("a: 1\nb: 2", mixed)]) == 1  # each slot in a spelling of its own
    assert score(JointGoal(), [("a: 1\na: 2", mixed)]) == 0
    assert score(JointGoal(), [("a: x\na: x", ("a: x\na: y",))]) == 0


def test_slot_f1_counts_over_all_rows() -> None:
    rows = [("a: 1\nb: 2", ("a: 1",)), (None, ("a: 1\nb: 2",)), ("none", ("none",))]
    assert score(SlotF1(), rows) == pytest.approx(2 * (1 + 0 + 1) / ((2 + 0 + 1) + (1 + 2 + 1)))
    assert score(SlotF1(), [("none", ("none",))]) == 1
    assert score(SlotF1(), [(None, ("none",))]) == 0


def test_distinct_2_counts_each_pair_of_words_once() -> None:
    assert score(Distinct2(), [("a b c", ("x",)), ("a b d", ("x",))]) == 3 / 4
    assert score(Distinct2(), [("今天好", ("x",)), ("今天", ("x",))]) == 2 / 3
    assert score(Distinct2(), [("a b c", ("x",)), (None, ("p q r",))]) == 2 / 4
    assert np.isnan(score(Distinct2(), [("a", ("x",))]))
    prepared = Distinct2().prepare([Prediction(id="", answer="a b c")], [Example(inputs={}, answers=("x",))], TASK)
    assert Distinct2().reduce(prepared, np.array([0, 0, 0])) == 1


def test_an_instruction_of_slots_shows_no_answer() -> None:
    forge = Forge.discover()
    row = Example(inputs={"utterance": "Hello"}, answers=("city: Ystad",), id="a")
    for ref in forge.templates.refs("dialogue-slots"):
        instruction = forge.template(ref.key).render(row, seed=1)
        assert isinstance(instruction, Instruction)
        assert not any("Ystad" in message.content for message in instruction.prompt)
