"""The plugin keeps the contract, and reads dialogues of every form."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import instructforge_dialogue
from instructforge import DataError, Example, Origin, Row
from instructforge.building import Source, build
from instructforge.data import Reply
from instructforge.normalizers import choose
from instructforge.plugins import Forge
from instructforge.readers.document import JsonReader
from instructforge.testing import check_data_set, check_plugin
from instructforge_dialogue.normalizers import ALL, FORMS
from instructforge_dialogue.slots import read_slots
from instructforge_dialogue.states import intents_of_crosswoz

TASKS = {task.name: task for task in instructforge_dialogue.instructforge_tasks()}
NORMALIZERS = {one.name: one for one in ALL}
LANGUAGES = ("en", "zh")

TOLD = [{"role": "system", "content": "Be kind."}]
MESSAGES = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Good day"},
    {"role": "user", "content": "Is it open?"},
    {"role": "assistant", "content": "Until nine"},
]
HISTORY = MESSAGES[:3]
SGD_FRAME = {"service": "Hotels_1", "state": {"active_intent": "Find", "slot_values": {"city": ["York"]}}}
SGD = [
    {"speaker": "USER", "utterance": "Hello", "frames": [SGD_FRAME]},
    {"speaker": "SYSTEM", "utterance": "Good day", "frames": [{"service": "Hotels_1"}]},
    {"speaker": "USER", "utterance": "Is it open?", "frames": [SGD_FRAME]},
    {"speaker": "SYSTEM", "utterance": "Until nine", "frames": [{"service": "Hotels_1"}]},
]
EMPTY = {"景点": {"名称": "", "门票": "", "selectedResults": []}}
CROSSWOZ = [
    {"role": "usr", "content": "Hello", "dialog_act": [["General", "greet", "none", "none"]]},
    {"role": "sys", "content": "Good day", "dialog_act": [], "sys_state_init": EMPTY},
    {"role": "usr", "content": "Is it open?", "dialog_act": [["Request", "景点", "", ""], ["Inform", "", "", "0"]]},
    {"role": "sys", "content": "Until nine", "dialog_act": [], "sys_state_init": {"景点": {"门票": "0"}}},
]  # fmt: skip
TRIPLE = {"name": "Pool", "attrname": "closes", "attrvalue": "nine"}

CALLERS = ("customer", "agent", "customer", "agent")

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("dialogue-chat", {"messages": MESSAGES}),
    "sharegpt": (
        "dialogue-chat",
        {
            "conversations": [
                {"from": "human", "value": "Hello"},
                {"from": "gpt", "value": "Good day"},
                {"from": "human", "value": "Is it open?"},
                {"from": "gpt", "value": "Until nine"},
            ]
        },
    ),
    "ms-swift": (
        "dialogue-chat",
        {
            "conversation": [
                {"human": "Hello", "assistant": "Good day"},
                {"human": "Is it open?", "assistant": "Until nine"},
            ]
        },
    ),
    "alpaca": (
        "dialogue-chat",
        {"instruction": "Is it open?", "input": "", "output": "Until nine", "history": [["Hello", "Good day"]]},
    ),
    "dailydialog": ("dialogue-turns", {"dialog": ["Hello", "Good day", "Is it open?", "Until nine"], "act": [1, 1]}),
    "speakers": (
        "dialogue-turns",
        {"turns": [{"speaker": s, "text": m["content"]} for s, m in zip("ABAB", MESSAGES, strict=True)]},
    ),
    "named": (
        "dialogue-turns",
        {"dialogue": [{"role": who, "content": m["content"]} for who, m in zip(CALLERS, MESSAGES, strict=True)]},
    ),
    "messages of texts": ("dialogue-turns", {"messages": [m["content"] for m in MESSAGES]}),
    "rows": ("dialogue-rows", {"history": HISTORY, "reply": "Until nine"}),
    "texts": ("dialogue-rows", {"history": ["Hello", "Good day", "Is it open?"], "response": "Until nine"}),
    "query": ("dialogue-chat", {"history": [["Hello", "Good day"]], "query": "Is it open?", "response": "Until nine"}),
    "sgd": ("sgd", {"dialogue_id": "1_0", "services": ["Hotels_1"], "turns": SGD}),
    "crosswoz": ("crosswoz", {"id": "7", "messages": CROSSWOZ}),
    "kdconv": ("kdconv", {"name": "Pool", "messages": [{"message": m["content"]} for m in MESSAGES]}),
}  # fmt: skip


def examples(values: Mapping[str, Any], name: str | None = None, task: str = "dialogue") -> list[Example]:
    row = Row(values, Origin("a.json", 3))
    mine = [one for one in ALL if one.task == task]
    found = NORMALIZERS[name] if name else choose(TASKS[task], mine, [row])
    made = found.function(row)
    made = [made] if isinstance(made, Example) else list(made)
    for example in made:
        TASKS[task].check(example)
    return made


def example(values: Mapping[str, Any], name: str | None = None, task: str = "dialogue") -> Example:
    (found,) = examples(values, name, task)
    return found


def rule(values: Mapping[str, Any], name: str, task: str = "dialogue") -> str:
    with pytest.raises(DataError) as caught:
        examples(values, name, task)
    assert caught.value.fix
    return caught.value.rule


# --- The contract -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_dialogue)


@pytest.mark.parametrize("task", TASKS)
def test_there_are_templates_and_samples_in_both_languages(task: str) -> None:
    forge = Forge.discover()
    for language in LANGUAGES:
        refs = forge.templates.refs(task, language)
        straight = [ref for ref in refs if not forge.template(ref.key).inverted]
        assert len(straight) >= 6
        assert sum(sample.language == language for sample in TASKS[task].samples) >= 4


# --- Forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ROWS)
def test_every_form_gives_the_same_dialogue(form: str) -> None:
    name, values = ROWS[form]
    fitting = [one.name for one in ALL if one.task == "dialogue" and one.accepts(values)]
    assert fitting == [name]
    found = example(values)
    assert found.inputs == {"history": HISTORY}
    assert found.answers == ("Until nine",)
    assert found.notes == ()
    assert found.id == str(values.get("id", values.get("dialogue_id", "")))


@pytest.mark.parametrize("form", ROWS)
def test_each_reply_of_every_form(form: str) -> None:
    values = ROWS[form][1]
    first, second = examples(values, "each-reply")
    assert (first.inputs["history"], first.answers) == (MESSAGES[:1], ("Good day",))
    assert (second.inputs["history"], second.answers) == (MESSAGES[:3], ("Until nine",))
    assert first.group == second.group
    assert first.group
    assert {first.id, second.id} in ({""}, {"1_0/1", "1_0/2"}, {"7/1", "7/2"})


def test_no_row_fits_two_forms() -> None:
    for name, values in ROWS.values():
        assert [form for form, (accepts, _) in FORMS.items() if accepts(values)] == [name]


def test_each_reply_has_to_be_asked_for() -> None:
    assert not any(NORMALIZERS["each-reply"].accepts(values) for _, values in ROWS.values())
    assert rule({"text": "a"}, "each-reply") == "dialogue-form"


def test_what_the_assistant_is_told() -> None:
    assert example({"messages": [*TOLD, *MESSAGES]}).inputs["system"] == "Be kind."
    assert example({"dialog": ["a", "b"], "persona": ["I am old.", "I sail."]}).inputs["system"] == "I am old.\nI sail."
    both = example({"history": ["a"], "reply": "b", "system": "Be kind.", "persona": "I sail."})
    assert both.inputs["system"] == "Be kind.\nI sail."


def test_knowledge_is_a_text_a_list_or_triples() -> None:
    for given, expected in (
        ("It closes at nine.", ["It closes at nine."]),
        (["a", "b", "a"], ["a", "b"]),
        ([["Pool", "closes", "nine"]], ["Pool | closes | nine"]),
    ):
        assert example({"dialog": ["a", "b"], "knowledge": given}).inputs["knowledge"] == expected
    assert rule({"dialog": ["a", "b"], "knowledge": [3]}, "dialogue-turns") == "field-type"


def test_kdconv_knows_the_triples_up_to_the_reply() -> None:
    later = TRIPLE | {"attrvalue": "ten"}
    said = [
        {"message": "a", "attrs": [TRIPLE]},
        {"message": "b", "attrs": [TRIPLE]},
        {"message": "c", "attrs": [later]},
    ]
    first = example({"messages": said})
    assert first.inputs["knowledge"] == ["Pool | closes | nine"]
    assert first.notes == ("turn-without-reply",)
    last = example({"messages": [*said, {"message": "d"}]})
    assert last.inputs["knowledge"] == ["Pool | closes | nine", "Pool | closes | ten"]
    assert rule({"messages": [{"message": "a", "attrs": [{"name": "x"}]}, {"message": "b"}]}, "kdconv") == (
        "knowledge-malformed"
    )


# --- Turns --------------------------------------------------------------------------------------------


def test_turns_that_nobody_answers_are_noted_one_by_one() -> None:
    found = example({"messages": [*MESSAGES, {"role": "user", "content": "Thanks"}]})
    assert found.answers == ("Until nine",)
    assert found.notes == ("turn-without-reply",)


def test_a_dialogue_that_nobody_has_answered_yet_has_no_answer() -> None:
    for name in ("dialogue-turns", "each-reply"):
        found = example({"dialog": ["Is it open?"]}, name)
        assert (found.inputs["history"], found.answers) == ([{"role": "user", "content": "Is it open?"}], ())


def test_turns_that_one_speaker_makes_in_a_row_are_joined() -> None:
    speakers = [("A", "Hello"), ("A", "Anybody?"), ("B", "Yes"), ("B", "Come in"), ("B", "Please")]
    found = example({"turns": [{"speaker": who, "text": what} for who, what in speakers]})
    assert found.inputs["history"] == [{"role": "user", "content": "Hello\nAnybody?"}]
    assert found.answers == ("Yes\nCome in\nPlease",)
    assert found.notes == ("turns-joined",) * 3


def test_a_dialogue_that_the_assistant_begins() -> None:
    found = example({"messages": [{"role": "assistant", "content": "Welcome"}, *MESSAGES[:2]]})
    assert [turn["role"] for turn in found.inputs["history"]] == ["assistant", "user"]
    assert found.answers == ("Good day",)
    for language in LANGUAGES:
        forge = Forge.discover()
        for ref in forge.templates.refs("dialogue", language):
            if ref.name in ("plain", "in-character"):
                roles = [message.role for message in forge.template(ref.key).render(found, seed=1).messages]
                assert roles[-3:] == ["assistant", "user", "assistant"]


def test_the_speakers_tell_who_is_who() -> None:
    def roles(*names: str) -> list[str]:
        turns = [{"speaker": name, "text": str(at)} for at, name in enumerate(names)]
        found = example({"turns": turns}, "dialogue-turns")
        return [turn["role"] for turn in found.inputs["history"]]

    assert roles("agent", "customer", "agent") == ["assistant", "user"]
    assert roles("Wizard", "Frodo", "Wizard") == ["assistant", "user"]
    assert roles("客服", "用户", "客服") == ["assistant", "user"]
    assert roles("Ann", "Bob") == ["user"]
    for names in (("Ann", "Bob", "Eve"), ("user", "Bob", "Eve"), ("user", "", "agent")):
        turns = [{"speaker": name or None, "text": "x"} for name in names]
        assert rule({"turns": turns}, "dialogue-turns") == "role-unknown"


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"dialog": []}, "dialogue-turns", "no-user-turn"),
        ({"dialog": ["a", ""]}, "dialogue-turns", "turn-empty"),
        ({"dialog": ["a", 3]}, "dialogue-turns", "turn-type"),
        ({"dialog": "a"}, "dialogue-turns", "field-missing"),
        ({"turns": [{"speaker": "A"}]}, "dialogue-turns", "turn-empty"),
        ({"history": ["a"], "reply": " "}, "dialogue-rows", "answer-empty"),
        ({"history": "a", "reply": "b"}, "dialogue-rows", "field-type"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "dialogue-chat", "no-user-turn"),
        ({"messages": [{"role": "cat", "content": "Hi"}]}, "dialogue-chat", "role-unknown"),
        ({"messages": MESSAGES, "tools": [{"name": "look"}]}, "dialogue-chat", "tools-not-kept"),
        ({"messages": [MESSAGES[0], MESSAGES[1] | {"weight": 0}]}, "dialogue-chat", "no-trained-reply"),
        ({"dialogue_id": "x", "turns": [{"speaker": "CAT", "utterance": "a"}]}, "sgd", "role-unknown"),
        ({"messages": [{"role": "usr", "content": None}]}, "crosswoz", "turn-empty"),
        ({"messages": 3}, "kdconv", "field-type"),
    ],
)
def test_what_is_no_dialogue_is_refused(values: dict[str, Any], name: str, expected: str) -> None:
    assert rule(values, name) == expected


# --- Weights, reasoning, calls ------------------------------------------------------------------------


def test_a_reply_of_weight_0_is_not_the_answer() -> None:
    told = [*MESSAGES[:3], MESSAGES[3] | {"weight": 0}]
    found = example({"messages": told})
    assert found.answers == ("Good day",)
    assert found.notes == ("turn-without-reply", "turn-after-last-trained-reply")
    assert len(examples({"messages": told}, "each-reply")) == 1


def test_each_reply_is_learnt_once() -> None:
    heavy = [turn | ({"weight": 1} if turn["role"] == "assistant" else {}) for turn in MESSAGES]
    for found in examples({"messages": heavy}, "each-reply"):
        assert not any("weight" in turn for turn in found.inputs["history"])
    assert example({"messages": heavy}).inputs["history"][1]["weight"] == 1


def test_a_reply_that_reasons_keeps_its_reasoning() -> None:
    found = example({"messages": [MESSAGES[0], MESSAGES[1] | {"reasoning_content": "It is noon."}]})
    assert found.answers == (Reply("Good day", reasoning="It is noon."),)


# --- Intents ------------------------------------------------------------------------------------------

SCHEMA = [{"service_name": "Hotels_1", "intents": [{"name": "Find"}, {"name": "Book"}], "slots": [{"name": "city"}]}]


def test_intents_of_sgd_come_from_the_schema_or_the_constant() -> None:
    values = ROWS["sgd"][1]
    for more, intents in (
        ({"schema": SCHEMA}, ["Find", "Book", "NONE"]),
        ({"intents": ["Find", "Leave"]}, ["Find", "Leave"]),
        ({"intents": ["Hotels_1.Find", "Hotels_1.NONE", "Taxi_1.Find"]}, ["Find", "NONE"]),
    ):
        first, second = examples(values | more, "sgd-intent", "dialogue-intent")
        assert first.inputs == {"utterance": "Hello", "history": [], "service": "Hotels_1", "intents": intents}
        assert second.inputs["history"] == MESSAGES[:2]
        assert (first.answers, second.answers) == (("Find",), ("Find",))
        assert (first.group, first.id, second.id) == ("1_0", "1_0/0", "1_0/2")
    assert rule(values, "sgd-intent", "dialogue-intent") == "label-unknown"
    other = [SCHEMA[0] | {"service_name": "Taxi"}]
    assert rule(values | {"schema": other}, "sgd-intent", "dialogue-intent") == "schema"


def test_two_services_in_one_turn_make_two_examples() -> None:
    two = [SGD[0] | {"frames": [SGD_FRAME, SGD_FRAME | {"service": "Taxi_1"}]}]
    found = examples({"dialogue_id": "d", "turns": two, "intents": ["Find"]}, "sgd-intent", "dialogue-intent")
    assert [one.id for one in found] == ["d/0/Hotels_1", "d/0/Taxi_1"]


def test_intents_of_crosswoz_are_kinds_of_acts() -> None:
    values = ROWS["crosswoz"][1] | {"intents": ["General", "Inform+Request"]}
    first, second = examples(values, "crosswoz-intent", "dialogue-intent")
    assert (first.answers, second.answers) == (("General",), ("Inform+Request",))
    silent = [CROSSWOZ[0] | {"dialog_act": []}, *CROSSWOZ[1:]]
    assert examples(values | {"messages": silent}, "crosswoz-intent", "dialogue-intent")[0].answers == ()
    odd = [CROSSWOZ[0] | {"dialog_act": [["Sing", "", "", ""]]}]
    assert rule(values | {"messages": odd}, "crosswoz-intent", "dialogue-intent") == "act-malformed"


def test_rows_of_ones_own() -> None:
    values = {"text": "And at noon?", "history": ["Hi", "Yes?"], "intent": "ask", "intents": ["ask", "order"]}
    found = example(values, task="dialogue-intent")
    assert found.answers == ("ask",)
    assert [turn["role"] for turn in found.inputs["history"]] == ["user", "assistant"]
    assert example({"text": "a", "intents": ["x"]}, task="dialogue-intent").answers == ()
    assert rule({"text": "a", "intent": "b", "intents": ["x"]}, "dialogue-intent-rows", "dialogue-intent") == (
        "label-unknown"
    )


def test_the_build_collects_the_intents(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Bring tea", "intent": "order"}\n{"text": "Is there tea?", "intent": "ask"}\n')
    forge = Forge.discover()
    result = build(forge, forge.tasks.get("dialogue-intent"), [Source(path)], tmp_path / "run")
    assert result.ledger["totals"]["built"] == 2


# --- Real data ----------------------------------------------------------------------------------------

DATA = os.environ.get("INSTRUCTFORGE_DATA", "")
KDCONV = [f"dialogue/kdconv/{name}.json" for name in ("film_dev", "music_dev", "music_test")]
SGD_FILES = [f"dialogue/sgd/dialogues_00{number}.json" for number in (1, 2)]
SNIPS = [f"classification/snips_intents/validate_{name}.json" for name in ("GetWeather", "PlayMusic")]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA names no folder with the real data sets")
@pytest.mark.parametrize(
    ("task", "files", "records", "rows", "notes"),
    [
        ("dialogue", ["dialogue/crosswoz_val/val.json.zip"], 500, 500, {}),
        ("dialogue", KDCONV, 450, 450, {"turn-without-reply": 2}),
        ("dialogue", SGD_FILES, 256, 256, {}),
        ("dialogue", ["formats/sharegpt_kdconv_film.json"], 100, 100, {"turn-without-reply": 2}),
        ("dialogue", ["formats/openai_messages_seed_tasks.jsonl"], 175, 175, {}),
        ("dialogue-intent", SGD_FILES[:1], 128, 825, {}),
        ("dialogue-slots", SGD_FILES[1:], 128, 962, {}),
        ("dialogue-slots", SNIPS, 200, 200, {"slot-value-respaced": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_real_data_make_the_round_trip(
    task: str, files: list[str], records: int, rows: int, notes: dict[str, int]
) -> None:
    report = check_data_set(task, *(Path(DATA) / file for file in files), records=records, quarantined=0)
    assert report.ledger["totals"]["built"] == rows
    assert report.ledger["notes"] == notes


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA names no folder with the real data sets")
def test_the_turns_of_real_chinese_dialogues() -> None:
    """The file is read once for all: a build of each task takes many times as long."""
    rows = list(JsonReader().read(Path(DATA) / "dialogue/crosswoz_val/val.json.zip", {}))
    values = [row.values for row in rows if isinstance(row, Row)]
    assert len(values) == len(rows) == 500
    intents = sorted({intent for row in values for intent in intents_of_crosswoz(row)})
    assert len(intents) == 11
    for task, name in (("dialogue-intent", "crosswoz-intent"), ("dialogue-slots", "crosswoz-slots")):
        found = [one for row in values for one in examples({**row, "intents": intents}, name, task)]
        assert len(found) == len({one.id for one in found}) == 4229
        assert sum(not one.answers for one in found) == (16 if task == "dialogue-intent" else 0)
    assert all(read_slots(one.answers[0]) == one.answers[0] for one in found)
