"""The plugin keeps the contract, reads instruction data in all its forms, and the real data sets whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import instructforge_instruction
from instructforge import DataError, Example, Forge, Instruction, Origin, Prediction, Reply, Row
from instructforge.building import BuildSettings, Source, build
from instructforge.cli.showing import instruction_lines
from instructforge.errors import ConfigError
from instructforge.normalizers import choose, map_columns
from instructforge.testing import check_data_set, check_plugin
from instructforge_instruction.metrics import final_number
from instructforge_instruction.normalizers import ALL

FORGE = Forge([instructforge_instruction])
TASK = FORGE.tasks.get("instruction")
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
ASK = {"role": "user", "content": "Hi"}
SAY = {"role": "assistant", "content": "Hello."}


def chosen(values: dict[str, Any]) -> Any:
    """Return the one normalizer that takes a row."""
    return choose(TASK, ALL, [Row(values, Origin("rows.jsonl", 1))])


def normalised(values: dict[str, Any]) -> list[Example]:
    made = chosen(values).function(Row(values, Origin("rows.jsonl", 1)))
    examples = [made] if isinstance(made, Example) else list(made)
    for example in examples:
        TASK.check(example)
    return examples


def only(values: dict[str, Any]) -> Example:
    (example,) = normalised(values)
    return example


def refused(values: dict[str, Any]) -> DataError:
    with pytest.raises(DataError) as caught:
        normalised(values)
    return caught.value


def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_instruction)


# --- Forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "name", "inputs", "answers"),
    [
        (
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            "alpaca",
            {"instruction": "Add.", "input": "1 2"},
            ("3",),
        ),
        ({"instruction": "Add.", "input": "", "response": "3"}, "alpaca", {"instruction": "Add."}, ("3",)),
        (
            {"instruction": "Why?", "context": "Text.", "response": "So.", "category": "closed_qa"},
            "alpaca",
            {"instruction": "Why?", "input": "Text."},
            ("So.",),
        ),
        ({"instruction": "Add.", "completion": "-1"}, "alpaca", {"instruction": "Add."}, ("-1",)),
        ({"instruction": "Add.", "answer": 3}, "alpaca", {"instruction": "Add."}, ("3",)),
        ({"instruction": "Add.", "output": ["3", "three"]}, "alpaca", {"instruction": "Add."}, ("3", "three")),
        ({"instruction": "Add.", "output": None}, "alpaca", {"instruction": "Add."}, ()),
        (
            {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]},
            "alpaca",
            {
                "instruction": "c",
                "system": "s",
                "history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            },
            ("d",),
        ),
        (
            {"question": "2+2?", "answer": "2+2=<<2+2=4>>4\n#### 4"},
            "question",
            {"instruction": "2+2?"},
            ("2+2=<<2+2=4>>4\n#### 4",),
        ),
        ({"problem": "2+2?", "solution": "4"}, "question", {"instruction": "2+2?"}, ("4",)),
        ({"prompt": "Hi", "completion": "Hello."}, "pairs", {"instruction": "Hi"}, ("Hello.",)),
        ({"prompt": "Hi"}, "pairs", {"instruction": "Hi"}, ()),
        ({"prompt": [ASK], "completion": [SAY]}, "pairs", {"instruction": "Hi"}, ("Hello.",)),
        ({"prompt": [ASK]}, "pairs", {"instruction": "Hi"}, ()),
        ({"messages": [ASK, SAY]}, "chat", {"instruction": "Hi"}, ("Hello.",)),
        ({"messages": [ASK]}, "chat", {"instruction": "Hi"}, ()),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "system": "s"},
            "chat",
            {"instruction": "Hi", "system": "s"},
            ("Hello.",),
        ),
        ({"conversation": [{"human": "Hi", "assistant": "Hello."}]}, "chat", {"instruction": "Hi"}, ("Hello.",)),
        (
            {"instruction": "Sort.", "instances": [{"input": "b a", "output": "a b"}]},
            "seeds",
            {"instruction": "Sort.", "input": "b a"},
            ("a b",),
        ),
        (
            {"Definition": ["Write", "the plural."], "input": "ox", "output": ["oxen"]},
            "natural",
            {"instruction": "Write\nthe plural.", "input": "ox"},
            ("oxen",),
        ),
        (
            {"definition": "Write the plural.", "inputs": "ox", "targets": "oxen"},
            "natural",
            {"instruction": "Write the plural.", "input": "ox"},
            ("oxen",),
        ),
    ],
)
def test_every_form(values: dict[str, Any], name: str, inputs: dict[str, Any], answers: tuple[str, ...]) -> None:
    assert chosen(values).name == f"instruction-{name}"
    found = only({"id": 7, **values})
    assert (found.inputs, found.answers, found.id) == (inputs, answers, "7")


def test_columns_are_mapped_to_fields() -> None:
    mapped = map_columns({"ask": "Hi", "reply": "Hello."}, {"instruction": "ask", "answer": "reply"})
    assert only(dict(mapped)).answers == ("Hello.",)


def test_a_conversation_with_tools() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "content": "1"}
    turns = [{"role": "system", "content": "s"}, ASK, SAY, {"role": "user", "content": "1?"}, called, result, SAY]
    found = only({"messages": turns, "tools": [ADD]})
    assert found.inputs == {
        "instruction": "1?",
        "system": "s",
        "history": [ASK, SAY],
        "steps": [{"role": "assistant", "content": "", "tool_calls": [CALL]}, result],
        "tools": [ADD],
    }
    assert found.answers == ("Hello.",)
    calling = only({"messages": turns[:5], "tools": [ADD]})
    assert calling.answers == (Reply("", tool_calls=[CALL]),)


def test_reasoning_and_weights_travel_with_the_answer() -> None:
    found = only({"messages": [ASK, {**SAY, "reasoning_content": "Hm.", "weight": 0}]})
    assert found.answers == (Reply("Hello.", reasoning="Hm.", weight=0),)
    instruction = FORGE.template("instruction/en/plain").render(found, seed=1)
    last = instruction.messages[-1]
    assert (last.content, last.reasoning, last.weight, last.trained) == ("Hello.", "Hm.", 0, False)
    weighted = only({"messages": [ASK, {**SAY, "weight": 0}, ASK, {**SAY, "weight": 1}, ASK, SAY]})
    rendered = FORGE.template("instruction/en/plain").render(weighted, seed=1).messages
    assert [message.weight for message in rendered] == [None, 0, None, 1, None, None]
    assert [message.trained for message in rendered] == [False, False, False, True, False, True]


@pytest.mark.parametrize(
    ("turns", "note"),
    [
        ([ASK, SAY, ASK], "ends-on-user"),
        ([ASK, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "1"}], "ends-on-tool"),
    ],
)
def test_a_conversation_without_its_last_answer_is_unlabelled_and_says_so(turns: list[Any], note: str) -> None:
    found = only({"messages": turns})
    assert (found.answers, found.notes) == ((), (note,))


def test_each_instance_of_a_seed_task_is_an_example_of_one_group() -> None:
    instances = [{"input": "b a", "output": "a b"}, {"input": "", "output": "nothing"}]
    found = normalised({"id": "s1", "instruction": "Sort.", "instances": instances})
    assert [(one.id, one.group) for one in found] == [("s1#0", "s1"), ("s1#1", "s1")]
    whole = {"instruction_with_input": "Sort b a.", "input": "b a", "output": "a b"}
    assert only({"instruction": "Sort.", "instances": [whole]}).inputs == {"instruction": "Sort b a."}


def test_natural_instructions_keep_good_examples_but_not_the_row_itself() -> None:
    examples = [
        {"input": "box", "output": "boxes", "explanation": "x"},
        {"input": "ox", "output": "oxen", "explanation": "itself"},
    ]
    row = {"Definition": "Plural.", "Positive Examples": examples, "Instruction_language": ["English"]}
    found = only({**row, "input": "ox", "output": ["oxen"]})
    assert found.inputs["examples"] == [{"input": "box", "output": "boxes"}]
    assert (found.notes, found.language) == (("own-example-left-out",), "en")
    shown = FORGE.template("instruction/en/worked-examples").render(found, seed=1)
    assert "boxes" in shown.prompt[-1].content
    assert "oxen" not in shown.prompt[-1].content


# --- Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"instruction": "Add.", "output": ""}, "answer-empty"),
        ({"instruction": "Add.", "output": " \n"}, "answer-empty"),
        ({"instruction": " ", "output": "3"}, "field-missing"),
        ({"instruction": "Add.", "output": {"a": 1}}, "field-type"),
        ({"instruction": "Add.", "output": "3", "history": [["a"]]}, "turn-type"),
        ({"instruction": "Add.", "output": "3", "history": [["a", ""]]}, "turn-empty"),
        ({"question": "2+2?", "answer": ""}, "answer-empty"),
        ({"text": "Once upon a time"}, "text-alone"),
        ({"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}, "preference"),
        ({"chosen": [ASK, SAY], "rejected": [ASK, SAY]}, "preference"),
        ({"instruction": "Hi", "chosen": "Hello.", "rejected": "Go away."}, "preference"),
        ({"messages": [ASK, SAY], "rejected_response": "Go away."}, "preference"),
        ({"prompt": "Hi", "completion": "Hello.", "label": True}, "preference"),
        ({"prompt": "Hi", "completions": ["a", "b"], "labels": [True, False]}, "preference"),
        ({"prompt": [ASK], "completion": "Hello."}, "turn-type"),
        ({"messages": [SAY]}, "no-user"),
        ({"messages": [ASK, SAY, SAY]}, "turn-order"),
        ({"messages": []}, "chat-empty"),
        ({"instruction": "Sort.", "instances": []}, "instances"),
        ({"instruction": "Sort.", "instances": ["a b"]}, "instances"),
        ({"instruction": "Sort.", "instances": [{"input": "b a", "output": ""}]}, "answer-empty"),
        ({"Definition": "Plural.", "input": "ox", "output": [""]}, "answer-empty"),
        ({"Definition": "Plural.", "input": "ox", "output": ["oxen"], "Positive Examples": [{}]}, "examples"),
        ({"Definition": "Plural.", "input": "ox", "output": ["oxen"], "Positive Examples": "ox"}, "examples"),
    ],
)
def test_a_row_of_another_kind_is_refused_with_its_reason(values: dict[str, Any], rule: str) -> None:
    error = refused(values)
    assert error.rule == rule
    assert error.fix


def test_an_instance_that_is_bad_leaves_those_before_it() -> None:
    instances = [{"input": "b a", "output": "a b"}, {"input": "", "output": ""}]
    made = iter(
        chosen({"instances": []}).function(Row({"instruction": "Sort.", "instances": instances}, Origin("r", 1)))
    )
    assert next(made).answers == ("a b",)
    with pytest.raises(DataError):
        next(made)


def test_rows_of_no_form_are_told_all_forms() -> None:
    with pytest.raises(ConfigError) as caught:
        chosen({"sentence": "Hi"})
    assert "instruction-chat" in str(caught.value)


# --- Natural Instructions files -----------------------------------------------------------------------

DOCUMENT = {
    "Contributors": ["A"],
    "Definition": ["Write the plural."],
    "Input_language": ["English"],
    "Positive Examples": [{"input": "box", "output": "boxes", "explanation": "-es"}],
    "Negative Examples": [{"input": "box", "output": "boxs", "explanation": "no"}],
    "Instances": [{"id": f"task1-{n}", "input": f"word{n}", "output": [f"word{n}s"]} for n in range(3)],
    "Instance License": ["CC0"],
}


@pytest.mark.parametrize("order", [list(DOCUMENT), list(reversed(DOCUMENT))])
def test_a_file_of_natural_instructions(tmp_path: Path, order: list[str]) -> None:
    path = tmp_path / "task1_plural.json"
    path.write_text(json.dumps({key: DOCUMENT[key] for key in order}), encoding="utf-8")
    report = check_data_set("instruction", path, records=3, forge=FORGE)
    (source,) = report.ledger["sources"]
    assert (source["reader"], source["normalizer"]) == ("natural-instructions", "instruction-natural")
    assert report.left["instruction/en/worked-examples"] == 0


def test_a_bad_instance_costs_itself_alone(tmp_path: Path) -> None:
    instances = [DOCUMENT["Instances"][0], 3, {"id": "x"}, {"id": "y", "input": "ox", "output": []}]
    path = tmp_path / "task1_plural.json"
    path.write_text(json.dumps({**DOCUMENT, "Instances": instances}), encoding="utf-8")
    result = build(FORGE, TASK, [Source(path)], tmp_path / "out", BuildSettings(split={"train": 1.0}, max_bad=9))
    (source,) = result.ledger["sources"]
    assert (source["read"], source["built"], source["unlabelled"]) == (4, 2, 1)
    quarantined = (tmp_path / "out" / "quarantine.jsonl").read_text(encoding="utf-8")
    assert '"path":"Instances[1]"' in quarantined


@pytest.mark.parametrize(
    "content",
    [
        '{"Definition": ["Plural."], "Positive Examples": []}',
        '{"Definition": ["Plural."], "Positive Examples": [], "Instances": 3}',
        '{"Definition": ["Plural."], "Positive Examples": [], "Instances": []}',
        '{"Definition": ["Plural."], "Positive Examples": [}, "Instances": []}',
        '{"Definition": ["Plural."], "Positive Examples": []',
        '{"Definition": ["Plural."], "Positive Examples": [], "Instances": [{"input": "a", "output": ["b"]}',
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "task.json"
    path.write_text(content, encoding="utf-8")
    reader = FORGE.readers.get("natural-instructions")
    assert reader.accepts(path, content.encode())
    with pytest.raises(DataError):
        list(reader.read(path, {}))


# --- Templates ----------------------------------------------------------------------------------------


def applied(key: str, example: Example) -> Instruction | None:
    """Return the instruction of a row, or None where the template is not for it."""
    (made,) = FORGE.template(key).render_many([example], 1)
    if isinstance(made, Instruction):
        return made
    if made.rule != "not-applicable":
        raise made
    return None


@pytest.mark.parametrize("ref", FORGE.templates.refs("instruction"), ids=lambda ref: ref.key)
def test_turns_stay_turns_and_tools_reach_the_instruction(ref: Any) -> None:
    values = {
        "instruction": "Now?",
        "input": "材料",
        "history": [ASK, SAY],
        "steps": [{"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "1"}],
        "tools": [ADD],
    }
    example = Example(inputs=values, answers=("Yes.",), id="x", language=ref.language)
    made = applied(ref.key, example)
    if made is None:
        return
    roles = [message.role for message in made.messages if message.role != "system"]
    assert roles == ["user", "assistant", "user", "assistant", "tool", "assistant"]
    assert made.messages[-3].tool_calls == (CALL,)
    assert made.tools == (ADD,)
    asked = [message.content for message in made.messages if message.role == "user"]
    assert asked[0] == "Hi"
    assert "Now?" in asked[1]
    assert "材料" in asked[1]


def test_the_plain_template_passes_the_instruction_through() -> None:
    for language in ("en", "zh"):
        template = FORGE.template(f"instruction/{language}/plain")
        alone = template.render(Example(inputs={"instruction": "Add."}, answers=("3",), id="x"), seed=1)
        assert [(message.role, message.content) for message in alone.messages] == [("user", "Add."), ("assistant", "3")]
        fed = template.render(Example(inputs={"instruction": "Add.", "input": "1"}, answers=("3",), id="x"), seed=1)
        assert fed.messages[0].content == "Add.\n\n1"


def test_six_templates_of_each_language_apply_to_a_plain_row() -> None:
    example = Example(inputs={"instruction": "做题。", "input": "一"}, answers=("二",), id="x")
    for language in ("en", "zh"):
        found = [applied(ref.key, example) for ref in FORGE.templates.refs("instruction", language)]
        prompts = [str(made.prompt) for made in found if made is not None]
        assert len(prompts) >= 7
        assert len(set(prompts)) == len(prompts)


def test_what_is_not_text_is_shown_too() -> None:
    reply = Reply("", reasoning="Hm.", tool_calls=[CALL], weight=1)
    example = Example(inputs={"instruction": "1?", "tools": [ADD]}, answers=(reply,), id="x", language="en")
    lines = list(instruction_lines(FORGE.template("instruction/en/plain").render(example, seed=1)))
    assert lines[2:5] == ["  assistant (trained), weight 1", "    [reasoning] Hm.", '    [tool call] add {"a": 1}']
    assert lines[5].startswith('  may call: {"name": "add"')


# --- Metrics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "marked", "number"),
    [
        ("so 24\n#### 72", True, "72"),
        ("#### 1,200", True, "1200"),
        ("#### -3.50", True, "-3.5"),
        ("#### $18 each of 3", True, "18"),
        ("the answer is 72.", True, None),
        ("3 times 24 is 72.", False, "72"),
        ("答案是１２。", False, "12"),
        ("none", False, None),
        ("####", False, None),
    ],
)
def test_final_numbers(text: str, marked: bool, number: str | None) -> None:
    found = final_number(text, marked=marked)
    assert (None if found is None else f"{found.normalize():f}") == number


def score(name: str, pairs: list[tuple[Any, Any]]) -> float:
    import numpy as np

    metric = FORGE.metrics.get(name)
    examples = [Example(inputs={"instruction": "?"}, answers=(gold,), id=str(n)) for n, (gold, _) in enumerate(pairs)]
    predictions = [Prediction(id=str(n), answer=said) for n, (_, said) in enumerate(pairs)]
    return float(metric.reduce(metric.prepare(predictions, examples, TASK), np.arange(len(pairs))))


def test_metrics() -> None:
    pairs = [("so\n#### 72", "It is 72"), ("#### 1,000", "#### 1000.0"), ("#### 5", "5 or 6"), ("#### 5", None)]
    assert score("final-number", pairs) == 0.5
    called, other = Reply("", tool_calls=[{"id": "a", **CALL}]), Reply("", tool_calls=[CALL, CALL])
    assert (
        score("tool-calls", [(called, Reply("x", tool_calls=[CALL])), (called, other), ("a", "b"), ("a", called)])
        == 0.5
    )
    examples = [Example(inputs={}, answers=(gold,), id="x") for gold in ("#### 1", "two")]
    assert "1 of 2" in FORGE.metrics.get("final-number").left_out(examples, TASK)
    assert not FORGE.metrics.get("final-number").left_out(examples[:1], TASK)
    assert FORGE.metrics.get("tool-calls").left_out(examples, TASK)


# --- Real data ----------------------------------------------------------------------------------------

DATA = os.environ.get("INSTRUCTFORGE_DATA", "")
SETS = [
    ("instructions/gpteacher_roleplay/roleplay-simple-deduped-roleplay-instruct.json", 1923, "instruction-alpaca", {}),
    ("instructions/gsm8k_train/train.jsonl", 7473, "instruction-question", {}),
    ("instructions/self_instruct_seeds/seed_tasks.jsonl", 175, "instruction-seeds", {}),
    ("formats/alpaca_gsm8k_800.json", 800, "instruction-alpaca", {}),
    ("formats/openai_messages_seed_tasks.jsonl", 175, "instruction-chat", {}),
    ("formats/sharegpt_kdconv_film.json", 100, "instruction-chat", {"ends-on-user": 2}),
]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA names no folder with the real data sets")
@pytest.mark.parametrize(("path", "records", "normalizer", "notes"), SETS, ids=[path for path, *_ in SETS])
def test_real_data_are_read_whole(path: str, records: int, normalizer: str, notes: dict[str, int]) -> None:
    report = check_data_set("instruction", Path(DATA) / path, records=records, quarantined=0, forge=FORGE)
    (source,) = report.ledger["sources"]
    assert (source["normalizer"], source["notes"]) == (normalizer, notes)
    assert report.rows == records
    assert source["unlabelled"] == notes.get("ends-on-user", 0)
