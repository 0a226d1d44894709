"""Conversations of other projects in one form: every schema, every repair, every refusal by turn and rule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge import DataError, Origin
from instructforge.chats import Chat, form_of, parse_chat, parse_tool_calls, parse_tools

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
ASK = {"role": "user", "content": "Hi"}
SAY = {"role": "assistant", "content": "Hello."}


def chat(*turns: Any, **more: Any) -> Chat:
    return parse_chat({"messages": list(turns), **more})


def shared(*turns: Any, **more: Any) -> Chat:
    return parse_chat({"conversations": list(turns), **more})


def human(text: str) -> dict[str, str]:
    return {"from": "human", "value": text}


def gpt(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


def refused(values: dict[str, Any], **more: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        parse_chat(values, **more)
    return caught.value


# --- The forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ({"messages": [ASK, SAY]}, "openai"),
        ({"conversations": [human("Hi"), gpt("Hello.")]}, "sharegpt"),
        ({"conversations": [{"role": "user", "content": "Hi"}, {"from": "assistant", "value": "Hello."}]}, "sharegpt"),
        ({"conversation": [human("Hi"), gpt("Hello.")]}, "sharegpt"),
        ({"conversation": [{"human": "Hi", "assistant": "Hello."}]}, "ms-swift"),
        ({"instruction": "Hi", "output": "Hello."}, "alpaca"),
        ({"instruction": "Hi", "input": "", "response": "Hello."}, "alpaca"),
        ({"query": "Hi", "response": "Hello."}, "alpaca"),
    ],
)
def test_one_conversation_in_every_form(values: dict[str, Any], form: str) -> None:
    assert form_of(values) == form
    found = parse_chat(values)
    assert found == Chat(({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}), form=form)
    assert found.answered
    with_system = parse_chat({**values, "system": "Be brief."})
    assert with_system.system == "Be brief."
    assert with_system.messages()[0] == {"role": "system", "content": "Be brief."}
    assert with_system.turns == found.turns


def test_openai_messages_keep_all_that_they_have() -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]
    found = chat(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "Ann"},
        {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "Hm.", "weight": 0},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
        {"role": "assistant", "content": "Two.", "weight": 1, "tool_calls": None, "refusal": None},
        tools=[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
    )
    assert found.system == "Be brief."
    assert found.turns == (
        {"role": "user", "content": "Hi", "name": "Ann"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "call_1", **CALL}],
            "weight": 0,
        },
        {"role": "tool", "content": "2", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "Two.", "weight": 1},
    )
    assert found.tools == ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
    assert found.notes == ()


def test_sharegpt_with_tools() -> None:
    found = shared(
        {"from": "system", "value": "Be brief."},
        human("1 + 0?"),
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
        {"from": "observation", "value": "1"},
        gpt("One."),
        tools='[{"name": "add", "description": "adds", "parameters": {}}]',
    )
    assert [turn["role"] for turn in found.turns] == ["user", "assistant", "tool", "assistant"]
    assert found.turns[1]["tool_calls"] == [CALL]
    assert found.tools[0]["function"]["name"] == "add"
    assert found.system == "Be brief."


def test_ms_swift_calls_in_a_row_are_one_turn() -> None:
    call = '{"name": "add", "arguments": {"a": 1}}'
    found = chat(
        ASK,
        {"role": "tool_call", "content": call},
        {"role": "tool_call", "content": call},
        {"role": "tool_response", "content": "1"},
        {"role": "tool_response", "content": "2"},
        {"role": "assistant", "content": "Both.", "loss": True},
    )
    assert [turn["role"] for turn in found.turns] == ["user", "assistant", "tool", "tool", "assistant"]
    assert found.turns[1]["tool_calls"] == [CALL, CALL]
    assert found.turns[-1]["weight"] == 1
    assert found.notes == ("tool-calls-joined",)


def test_ms_swift_pairs_and_alpaca_history() -> None:
    swift = parse_chat({"conversation": [{"human": "a", "assistant": "b"}, {"human": "c"}]})
    assert [turn["content"] for turn in swift.turns] == ["a", "b", "c"]
    assert not swift.answered
    alpaca = parse_chat({"instruction": "c", "input": "x", "output": "d", "history": [["a", "b"]]})
    assert [turn["content"] for turn in alpaca.turns] == ["a", "b", "c\nx", "d"]
    assert [turn["role"] for turn in alpaca.turns] == ["user", "assistant"] * 2


# --- Repairs, each by name ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "more", "note"),
    [
        ([{"role": "developer", "content": "Be brief."}, ASK, SAY], {}, "developer-as-system"),
        ([{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, ASK, SAY], {}, "systems-joined"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}, SAY], {}, "parts-joined"),
        ([ASK, {"role": "assistant", "content": None, "refusal": "No."}], {}, "refusal-as-content"),
        (
            [ASK, {"role": "assistant", "content": None, "function_call": CALL["function"]}],
            {},
            "function-call-as-tool-call",
        ),
        (
            [ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]}],
            {},
            "arguments-empty",
        ),
        ([{**ASK, "weight": 1}, SAY], {}, "weight-dropped"),
        ([ASK, SAY], {"functions": [{"name": "f"}]}, "functions-as-tools"),
    ],
)
def test_repairs_are_named(turns: list[Any], more: dict[str, Any], note: str) -> None:
    assert note in chat(*turns, **more).notes


def test_deprecated_functions() -> None:
    call = {"name": "add", "arguments": '{"a": 1}'}
    found = chat(
        ASK, {"role": "assistant", "function_call": call}, {"role": "function", "name": "add", "content": "1"}, SAY
    )
    assert found.turns[1]["tool_calls"] == [CALL]
    assert found.turns[2] == {"role": "tool", "content": "1", "name": "add"}


@pytest.mark.parametrize(
    ("key", "value", "weight"), [("weight", 0, 0), ("loss", False, 0), ("train", True, 1), ("training", 1.0, 1)]
)
def test_weights_in_every_spelling(key: str, value: Any, weight: int) -> None:
    assert chat(ASK, {**SAY, key: value}).turns[1]["weight"] == weight


# --- Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "rule", "place"),
    [
        ([], "chat-empty", ""),
        ([{"role": "system", "content": "Be brief."}], "chat-empty", ""),
        (["Hi"], "turn-type", "turn 1"),
        ([None], "turn-type", "turn 1"),
        ([ASK, {"role": "robot", "content": "Hello."}], "role-unknown", "turn 2"),
        ([ASK, {"role": ["assistant"], "content": "Hello."}], "role-unknown", "turn 2"),
        ([ASK, {"content": "Hello."}], "role-unknown", "turn 2"),
        ([{"role": "user"}, SAY], "content-missing", "turn 1"),
        ([{"role": "user", "content": None}, SAY], "content-missing", "turn 1"),
        ([{"role": "user", "content": 3}, SAY], "content-type", "turn 1"),
        ([{"role": "user", "content": {"text": "Hi"}}, SAY], "content-type", "turn 1"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, SAY], "content-not-text", "turn 1"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}, SAY], "content-not-text", "turn 1"),
        ([{"role": "user", "content": [3]}, SAY], "content-not-text", "turn 1"),
        ([{"role": "user", "content": " \n"}, SAY], "turn-empty", "turn 1"),
        ([ASK, {"role": "assistant", "content": ""}], "turn-empty", "turn 2"),
        ([ASK, {"role": "assistant", "content": None}], "turn-empty", "turn 2"),
        ([ASK, {"role": "assistant", "content": "", "reasoning_content": "Hm."}], "turn-empty", "turn 2"),
        ([ASK, {**SAY, "weight": 0.5}], "weight", "turn 2"),
        ([ASK, {**SAY, "weight": "1"}], "weight", "turn 2"),
        ([ASK, {**SAY, "reasoning_content": ["Hm."]}], "content-type", "turn 2"),
        ([ASK, {"role": "assistant", "tool_calls": "add"}], "tool-call", "turn 2"),
        ([ASK, {"role": "assistant", "tool_calls": [{"function": {}}]}], "tool-call", "turn 2"),
        (
            [ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}],
            "tool-call",
            "turn 2",
        ),
        (
            [ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": NaN}'}}]}],
            "tool-call",
            "turn 2",
        ),
        (
            [ASK, {"role": "assistant", "tool_calls": [{"type": "code", "function": {"name": "f"}}]}],
            "tool-call",
            "turn 2",
        ),
        ([ASK, {"role": "tool_call", "content": ""}], "turn-empty", "turn 2"),
        ([ASK, {"role": "tool_call", "content": "[" * 100_000}], "tool-call", "turn 2"),
        ([ASK, {"role": "tool", "content": "1"}], "turn-order", "turn 2"),
        ([ASK, SAY, {"role": "tool", "content": "1"}], "turn-order", "turn 3"),
        ([ASK, {"role": "system", "content": "Be brief."}, SAY], "turn-order", "turn 2"),
        ([{**ASK, "name": 3}, SAY], "turn-type", "turn 1"),
        (
            [
                ASK,
                {"role": "assistant", "tool_calls": [{"id": "a", **CALL}]},
                {"role": "tool", "content": "1", "tool_call_id": "b"},
            ],
            "tool-call-unknown",
            "turn 3",
        ),
    ],
)
def test_a_bad_turn_is_refused_by_number(turns: list[Any], rule: str, place: str) -> None:
    error = refused({"messages": turns}, origin=Origin("chats.jsonl", 7))
    assert error.rule == rule
    assert place in str(error)
    assert str(error.origin) == "chats.jsonl:7"
    assert error.fix
    assert (error.field or "").startswith("messages")


@pytest.mark.parametrize(
    ("turns", "place"),
    [
        ([gpt("Hello."), human("Hi")], "turn 1"),
        ([human("Hi"), human("Hi?"), gpt("Hello.")], "turn 2"),
        ([{"from": "system", "value": "Be brief."}, human("Hi"), gpt("Hello."), gpt("Hello?")], "turn 4"),
    ],
)
def test_sharegpt_has_user_and_assistant_in_turns(turns: list[Any], place: str) -> None:
    error = refused({"conversations": turns})
    assert (error.rule, place in str(error)) == ("turn-order", True)
    assert parse_chat({"conversations": turns}, alternate=False).turns
    assert len(parse_chat({"messages": turns}).turns) == len([turn for turn in turns if turn["from"] != "system"])


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({}, "chat-form"),
        ({"messages": "Hi"}, "chat-form"),
        ({"messages": None, "text": "x"}, "chat-form"),
        ({"conversation": []}, "chat-empty"),
        ({"conversation": ["Hi"]}, "turn-type"),
        ({"conversation": [{"human": "Hi"}, {"human": "Hi", "assistant": "Hello."}]}, "turn-empty"),
        ({"conversation": [{"human": 3, "assistant": "Hello."}]}, "content-type"),
        ({"instruction": "Hi", "output": ""}, "turn-empty"),
        ({"instruction": " ", "output": "a"}, "turn-empty"),
        ({"instruction": "Hi", "input": 3, "output": "a"}, "content-type"),
        ({"instruction": "Hi", "output": "a", "history": "b"}, "turn-type"),
        ({"instruction": "Hi", "output": "a", "history": [["b"]]}, "turn-type"),
        ({"messages": [ASK, SAY], "system": ["a"]}, "system-type"),
        ({"messages": [ASK, SAY], "tools": "add"}, "tools"),
        ({"messages": [ASK, SAY], "tools": {"name": "add"}}, "tools"),
        ({"messages": [ASK, SAY], "tools": [{"type": "function"}]}, "tools"),
        ({"messages": [ASK] * 20_000}, "chat-too-long"),
    ],
)
def test_a_bad_row_is_refused(values: dict[str, Any], rule: str) -> None:
    assert refused(values).rule == rule


# --- Tools --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        CALL,
        [CALL],
        {"name": "add", "arguments": {"a": 1}},
        {"name": "add", "parameters": '{"a": 1}'},
        '{"name": "add", "arguments": "{\\"a\\": 1}"}',
        '[{"function": {"name": "add", "arguments": {"a": 1}}}]',
    ],
)
def test_calls_in_every_spelling(value: Any) -> None:
    assert parse_tool_calls(value) == [CALL]


def test_calls_hold_json_alone() -> None:
    (call,) = parse_tool_calls({"name": "f", "arguments": {"a": Decimal("1.5"), "b": (1, None), "c": {"d": True}}})
    assert call["function"]["arguments"] == {"a": 1.5, "b": [1, None], "c": {"d": True}}
    deep: Any = {}
    for _ in range(80):
        deep = {"a": deep}
    for bad in ({"a": b"x"}, {"a": float("inf")}, {1: "x"}, deep):
        with pytest.raises(DataError):
            parse_tool_calls({"name": "f", "arguments": bad})


def test_tools_keep_their_schemas() -> None:
    schema = {"name": "f", "description": "d", "parameters": {"type": "object", "required": []}, "strict": True}
    wrapped = {"type": "function", "function": schema}
    assert parse_tools([wrapped]) == parse_tools([schema]) == (wrapped,)
    assert parse_tools("") == parse_tools([]) == ()


# --- Whatever the row ---------------------------------------------------------------------------------

junk: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=2)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["role", "from", "content", "value", "tool_calls", "function", "name", "arguments", "weight"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
columns = st.sampled_from(
    ["messages", "conversations", "conversation", "instruction", "output", "history", "system", "tools"]
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(values=st.dictionaries(columns, junk, max_size=4))
def test_junk_is_a_chat_or_a_data_error(values: dict[str, Any]) -> None:
    try:
        found = parse_chat(values)
    except DataError as error:
        if error.rule == "invalid":
            raise
    else:
        assert all(turn["role"] in ("user", "assistant", "tool") for turn in found.turns)
        assert all(isinstance(turn["content"], str) for turn in found.turns)
        assert (
            parse_chat({"messages": found.messages(), "tools": list(found.tools)}, alternate=False).turns == found.turns
        )
