"""Tool calls, tools, reasoning, weights: what the chat template writes of them is trained, exactly, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_kit import CHATML, SMOLLM2, tokenizer_named
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instructforge.data import Example, Features, Instruction, Message, Reply
from instructforge.encoding.calls import COMMON_FORM, CallForm
from instructforge.encoding.chat import IGNORED, ChatEncoder
from instructforge.encoding.rendering import ChatRenderer
from instructforge.errors import DataError, TemplateError

# Hand-written in the manner of the models they are named after.
QWEN = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {%- if call.function is defined %}{%- set call = call.function %}{%- endif %}
                {{- '\\n<tool_call>\\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
                {{- call.arguments | tojson }}{{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

HERMES = """\
{{ bos_token }}{% if tools %}{{ '<|im_start|>system\\nTools: ' + tools | tojson + '<|im_end|>\\n' }}{% endif %}\
{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content }}\
{% if message.tool_calls is defined %}{% for call in message.tool_calls %}\
{{ '\\n<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA31 = """\
{{- bos_token }}
{%- if tools %}
    {{- '<|start_header_id|>system<|end_header_id|>\\n\\nEnvironment: ipython\\n' }}
    {%- for tool in tools %}{{- tool | tojson(indent=4) }}{{- '\\n\\n' }}{%- endfor %}{{- '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}{{- raise_exception('One tool call at a time!') }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + call.name + '", "parameters": ' }}{{- call.arguments | tojson }}{{- '}<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + message.content + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

MISTRAL = """\
{{- bos_token }}
{%- set asked = messages | selectattr('role', 'equalto', 'user') | list %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if tools and message == asked[-1] %}{{- '[TOOLS] ' + tools | tojson + ' ' }}{%- endif %}
        {{- '[INST] ' + message.content + ' [/INST]' }}
    {%- elif message.role == 'tool' %}{{- '[RESULTS] ' + {"content": message.content} | tojson }}
    {%- elif message.tool_calls %}
        {{- ' [CALLS] [' }}
        {%- for call in message.tool_calls %}
            {{- {"name": call.function.name, "arguments": call.function.arguments} | tojson }}
            {{- ', ' if not loop.last }}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- else %}{{- ' ' + message.content + eos_token }}{%- endif %}
{%- endfor %}"""

DEEPSEEK = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}{{- '<|User|>' + message.content }}
    {%- elif message.role == 'tool' %}{{- '<|Output|>' + message.content }}
    {%- else %}
        {{- '<|Assistant|>' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {{- '<|call|>' + call.function.name + '\\n```json\\n' + call.function.arguments + '\\n```<|end call|>' }}
        {%- endfor %}
        {{- eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|Assistant|>' }}{%- endif %}"""

TAGS = """\
{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content }}\
{% for call in message.tool_calls or [] %}{{ '<function=' + call.function.name + '>' }}\
{% for key, value in call.function.arguments | items %}{{ '<parameter=' + key + '>' }}\
{{ value if value is string else value | tojson }}</parameter>{% endfor %}</function>{% endfor %}\
{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LOSSY = HERMES.replace("call.function | tojson", "{'name': call.function.name, 'arguments': {'city': 'Rome'}} | tojson")

KNOWING = {"qwen": QWEN, "hermes": HERMES, "llama31": LLAMA31, "mistral": MISTRAL, "deepseek": DEEPSEEK}
STOPS = {"qwen": "<|im_end|>", "hermes": "<|im_end|>", "llama31": "<|eot_id|>", "mistral": "</s>", "deepseek": "</s>"}
SINGLE = {"llama31"}
SILENT = {"llama31", "mistral"}
"""Templates that write one call at most, and those that write no text beside a call."""

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "天气", "parameters": {"type": "object", "properties": {}}},
}


def call(name: str = "weather", /, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def encoder_for(template: str, *, reasoning: bool = False) -> ChatEncoder:
    return ChatEncoder(tokenizer_named("byte-level"), chat_template=template, reasoning=reasoning)


def row(*messages: Message, tools: tuple[Any, ...] = ()) -> Instruction:
    return Instruction(
        example=Example(inputs={}, id="row-1"),
        task="t",
        language="en",
        template="x",
        template_sha256="",
        messages=messages,
        tools=tools,
    )


def said(text: str, **more: Any) -> Message:
    return Message(role="assistant", content=text, **more)


ASK = Message(role="user", content="Is it raining in Paris?")
RESULT = Message(role="tool", content='{"rain": true}', name="weather")


def encoded(encoder: ChatEncoder, given: Instruction, train: str = "last") -> Features:
    (features,) = encoder.encode([given], train=train)  # type: ignore[arg-type]
    assert isinstance(features, Features), features
    return features


def trained(encoder: ChatEncoder, given: Instruction, train: str = "last") -> list[str]:
    """Return the text of each trained run."""
    features = encoded(encoder, given, train)
    runs: list[list[int]] = [[]]
    for label in features.labels:
        runs.append([]) if label == IGNORED else runs[-1].append(label)
    return [encoder.tokenizer.decode(run) for run in runs if run]


def refused(encoder: ChatEncoder, given: Instruction, train: str = "last") -> Any:
    (error,) = encoder.encode([given], train=train)  # type: ignore[arg-type]
    assert isinstance(error, (TemplateError, DataError)), error
    return error


def rendered(encoder: ChatEncoder, given: Instruction, *, as_text: bool = False) -> str:
    """Return the chat as transformers renders it."""
    turns = [message.to_chat() for message in given.messages]
    for turn in turns:
        for one in turn.get("tool_calls", ()) if as_text else ():
            one["function"] = {
                **one["function"],
                "arguments": json.dumps(one["function"]["arguments"], ensure_ascii=False),
            }
    return encoder.tokenizer.apply_chat_template(
        turns, chat_template=encoder.chat_template, tools=list(given.tools) or None, tokenize=False
    )


# --- The final answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWING)
def test_a_call_is_trained_as_the_template_writes_it(name: str) -> None:
    encoder = encoder_for(KNOWING[name])
    given = row(ASK, said("", tool_calls=(call(city="Paris, 巴黎"),), trained=True), tools=(WEATHER,))
    features = encoded(encoder, given)
    whole = rendered(encoder, given, as_text=name == "deepseek")
    assert encoder.tokenizer.decode(features.input_ids).rstrip() == whole.rstrip()
    (run,) = trained(encoder, given)
    assert run.endswith(STOPS[name])
    assert run.count(STOPS[name]) == 1
    prompt = encoder.prompt_text(given)
    assert whole.startswith(prompt)
    assert whole[len(prompt) :].rstrip() == run
    assert '"city": "Paris, 巴黎"' in run


@pytest.mark.parametrize("name", sorted(set(KNOWING) - SILENT))
def test_text_before_a_call_is_trained_too(name: str) -> None:
    encoder = encoder_for(KNOWING[name])
    given = row(ASK, said("Let me look.", tool_calls=(call(city="Paris"), call("time")), trained=True))
    (run,) = trained(encoder, given)
    assert run.startswith("Let me look.")
    assert run.count("weather") == 1
    assert run.count("time") == 1
    assert run.endswith(STOPS[name])


@pytest.mark.parametrize("name", sorted(SILENT))
def test_a_template_that_drops_the_text_beside_a_call_is_refused(name: str) -> None:
    error = refused(encoder_for(KNOWING[name]), row(ASK, said("Let me look.", tool_calls=(call(city="Paris"),))))
    assert error.rule == "answer-altered"


@pytest.mark.parametrize("template", [CHATML, SMOLLM2])
@pytest.mark.parametrize("text", ["", "Let me look."])
def test_a_template_that_drops_calls_is_refused(template: str, text: str) -> None:
    error = refused(encoder_for(template), row(ASK, said(text, tool_calls=(call(city="Paris"),), trained=True)))
    assert error.rule == "answer-altered"
    assert "weather" in str(error)


def test_a_template_that_alters_a_call_is_refused() -> None:
    error = refused(encoder_for(LOSSY), row(ASK, said("", tool_calls=(call(city="Paris"),), trained=True)))
    assert error.rule == "answer-altered"


def test_a_template_that_takes_one_call_refuses_two() -> None:
    error = refused(encoder_for(LLAMA31), row(ASK, said("", tool_calls=(call(city="Paris"), call("time")))))
    assert "One tool call" in str(error)


def test_calls_that_are_no_json_are_held_to_their_words() -> None:
    encoder = encoder_for(TAGS)
    assert encoder.calls.written
    assert encoder.calls.form is None
    (run,) = trained(encoder, row(ASK, said("", tool_calls=(call(city="Paris", days=3),))))
    assert (
        run == "<function=weather><parameter=city>Paris</parameter><parameter=days>3</parameter></function><|im_end|>"
    )


@pytest.mark.parametrize("name", ["qwen", "hermes", "deepseek"])
def test_control_tokens_in_calls_and_tools_stay_text(name: str) -> None:
    encoder = encoder_for(KNOWING[name])
    tool = {"type": "function", "function": {"name": "weather", "description": "a <|im_end|></s> b"}}
    given = row(ASK, said("", tool_calls=(call(city="x<|im_end|></s>y"),), trained=True), tools=(tool,))
    features = encoded(encoder, given)
    stop = encoder.tokenizer.convert_tokens_to_ids(STOPS[name])
    labels = [label for label in features.labels if label != IGNORED]
    assert labels.count(stop) == 1
    assert labels[-1] == stop
    assert "x<|im_end|></s>y" in encoder.tokenizer.decode(labels)
    assert encoder.stats.control_texts >= 2


def test_reserved_characters_in_calls_are_refused() -> None:
    error = refused(encoder_for(QWEN), row(ASK, said("", tool_calls=(call(city="\U0010fff1"),))))
    assert error.rule == "reserved-character"


# --- Tools --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["qwen", "hermes", "llama31", "mistral"])
def test_tools_stand_in_the_prompt_of_training_and_of_generation(name: str) -> None:
    encoder = encoder_for(KNOWING[name])
    given = row(ASK, said("Yes.", trained=True), tools=(WEATHER,))
    assert "天气" in encoder.prompt_text(given)
    features = encoded(encoder, given)
    ids = encoder.prompt_ids(given)
    assert features.input_ids[: len(ids)] == ids
    bare = row(ASK, said("Yes.", trained=True))
    assert "天气" not in encoder.prompt_text(bare)


def test_a_template_without_tools_is_told() -> None:
    encoder = encoder_for(CHATML)
    encoded(encoder, row(ASK, said("Yes.", trained=True), tools=(WEATHER,)))
    assert encoder.stats.altered == {"tools-dropped": 1}
    encoded(encoder, row(ASK, said("", tool_calls=(call(),)), RESULT, said("Yes.", trained=True)))
    assert encoder.stats.altered == {"tools-dropped": 1, "calls-dropped": 1}


def test_the_contract_states_how_calls_are_written() -> None:
    assert "calls" not in encoder_for(CHATML).options()
    assert encoder_for(QWEN).options()["calls"] == {
        "arguments_as_text": False,
        "form": {
            "opening": "<tool_call>\n",
            "between": "\n</tool_call>\n<tool_call>\n",
            "closing": "\n</tool_call>",
            "middle": None,
        },
    }
    assert encoder_for(DEEPSEEK).options()["calls"]["arguments_as_text"] is True


# --- Earlier turns ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWING)
def test_every_turn_is_trained_where_the_recipe_says_so(name: str) -> None:
    encoder = encoder_for(KNOWING[name])
    first = said("Hello.") if name != "mistral" else said("Hi!")
    turns = [Message(role="user", content="Hi"), first, ASK, said("", tool_calls=(call(city="Paris"),)), RESULT]
    given = row(*turns, said("Yes, it is.", trained=True), tools=(WEATHER,))
    runs = trained(encoder, given, "all")
    assert len(runs) == 3
    assert runs[0].strip().startswith("H")
    assert '"city": "Paris"' in runs[1]
    assert runs[1] == trained(encoder, row(*turns[:3], turns[3], tools=(WEATHER,)))[0]
    assert all(run.endswith(STOPS[name]) for run in runs)
    assert trained(encoder, given) == [runs[2]]
    assert encoded(encoder, given, "all").input_ids == encoded(encoder, given).input_ids


@pytest.mark.parametrize("name", sorted(set(KNOWING) - SILENT))
def test_text_and_call_in_an_earlier_turn(name: str) -> None:
    encoder = encoder_for(KNOWING[name])
    turn = said("I look: <|im_end|>", tool_calls=(call(city="A"), call(city="B")))
    runs = trained(encoder, row(ASK, turn, RESULT, said("Yes.", trained=True)), "all")
    assert runs == [trained(encoder, row(ASK, turn))[0], "Yes." + STOPS[name]]


def test_an_earlier_turn_whose_calls_are_dropped_is_read_but_not_trained() -> None:
    encoder = encoder_for(CHATML)
    given = row(ASK, said("I look.", tool_calls=(call(city="Paris"),)), RESULT, said("Yes.", trained=True))
    assert trained(encoder, given) == ["Yes.<|im_end|>"]
    assert refused(encoder, given, "all").rule == "answer-altered"


@pytest.mark.parametrize("name", KNOWING)
def test_many_calls_cost_no_more_renders_than_few(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_for(KNOWING[name])
    counts = []
    assert encoder.calls.written  # learnt once
    for rounds in (2, 12):
        turns = []
        for number in range(rounds):
            turns += [ASK, said("", tool_calls=(call(city=f"C{number}"),)), RESULT, said(f"It is {number}.")]
        renders: list[int] = []
        original = ChatRenderer.__call__

        def counted(*given: Any, _render: Any = original, _renders: list[int] = renders) -> str:
            _renders.append(1)
            return str(_render(*given))

        monkeypatch.setattr(ChatRenderer, "__call__", counted)
        runs = trained(encoder, row(*turns), "all")
        monkeypatch.undo()
        assert len(runs) == 2 * rounds
        counts.append(len(renders))
    assert counts[0] == counts[1] <= 4


# --- Weights ------------------------------------------------------------------------------------------

PAST = Message(role="user", content="Hi")


@pytest.mark.parametrize(
    ("first", "last", "train", "runs"),
    [
        (None, None, "last", ["Yes."]),
        (None, None, "all", ["Hello.", "Yes."]),
        (1, None, "last", ["Hello.", "Yes."]),
        (0, None, "all", ["Yes."]),
        (None, 0, "all", ["Hello."]),
        (1, 0, "last", ["Hello."]),
        (1, 0, "all", ["Hello."]),
        (0, 1, "all", ["Yes."]),
        (1, 1, "last", ["Hello.", "Yes."]),
    ],
)
def test_a_turns_own_weight_wins(first: int | None, last: int | None, train: str, runs: list[str]) -> None:
    given = row(PAST, said("Hello.", weight=first), ASK, said("Yes.", trained=last != 0, weight=last))
    assert trained(encoder_for(CHATML), given, train) == [f"{run}<|im_end|>" for run in runs]


@pytest.mark.parametrize("train", ["last", "all"])
def test_a_row_of_which_nothing_is_to_be_trained_says_so(train: str) -> None:
    given = row(PAST, said("Hello.", weight=0), ASK, said("Yes.", weight=0))
    assert refused(encoder_for(CHATML), given, train).rule == "nothing-trained"


# --- Reasoning ----------------------------------------------------------------------------------------

THINKING = """\
{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}\
{% if message.reasoning_content %}{{ '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}\
{{ message.content }}{% for call in message.tool_calls or [] %}{{ '\\n<tool_call>\\n' + call.function | tojson }}\
{{ '\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def test_reasoning_is_trained_where_the_model_is_to_write_it() -> None:
    encoder = encoder_for(THINKING, reasoning=True)
    first = said("Hello.", reasoning="A greeting.")
    last = said("", reasoning="Look it up.", tool_calls=(call(city="Paris"),), trained=True)
    runs = trained(encoder, row(PAST, first, ASK, last), "all")
    assert runs[0] == "<think>\nA greeting.\n</think>\n\nHello.<|im_end|>"
    assert runs[1].startswith("<think>\nLook it up.\n</think>\n\n\n<tool_call>\n")
    assert not encoder.stats.altered


def test_reasoning_that_the_template_drops_is_told() -> None:
    encoder = encoder_for(CHATML, reasoning=True)
    assert trained(encoder, row(ASK, said("Yes.", reasoning="Hm.", trained=True))) == ["Yes.<|im_end|>"]
    assert encoder.stats.altered == {"reasoning-dropped": 1}


# --- Reading back -------------------------------------------------------------------------------------

leaves = st.one_of(st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=12), st.integers(), st.booleans())
arguments = st.dictionaries(
    st.text("abc_é中", min_size=1, max_size=4), st.one_of(leaves, st.lists(leaves, max_size=2), st.none()), max_size=3
)
names = st.sampled_from(["weather", "get_time", "算", "a.b"])


@pytest.mark.parametrize("name", KNOWING)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_trained_is_read_back(name: str, data: st.DataObject) -> None:
    encoder = encoder_for(KNOWING[name])
    count = data.draw(st.integers(1, 1 if name in SINGLE else 3))
    calls = tuple(call(data.draw(names), **data.draw(arguments)) for _ in range(count))
    text = "" if name in SILENT else data.draw(st.sampled_from(["", "Let me see.", "Two\nlines <tool_call> {", "好"]))
    (run,) = trained(encoder, row(ASK, said(text, tool_calls=calls, trained=True), tools=(WEATHER,)))
    read = encoder.read(run.removesuffix(STOPS[name]))
    assert Reply(read.text or "", tool_calls=read.tool_calls).same(Reply(text, tool_calls=calls))
    assert read.raw == run.removesuffix(STOPS[name])


def test_reasoning_and_calls_are_read_back() -> None:
    encoder = encoder_for(THINKING, reasoning=True)
    reply = said("I look.", reasoning="Look it\nup.", tool_calls=(call(city="Paris"), call("time")), trained=True)
    (run,) = trained(encoder, row(ASK, reply))
    read = encoder.read(run.removesuffix("<|im_end|>"))
    assert (read.text, read.reasoning) == ("I look.", "Look it\nup.")
    assert Reply("", tool_calls=read.tool_calls).calls == (("weather", {"city": "Paris"}), ("time", {}))


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "weather", "arguments": {"city": \n</tool_call>',
        '<tool_call>{"name": "weather", "arguments": {}}',
        '<tool_call>{"name": "weather", "arguments": 3}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": {}}</tool_call> and then some',
        "<tool_call>[1]</tool_call>",
        "<tool_call>" * 500,
        "<tool_call>" + "[" * 5000,
    ],
)
def test_calls_that_cannot_be_read_stay_text(text: str) -> None:
    read = encoder_for(QWEN).read(text)
    assert (read.text, read.tool_calls, read.notes) == (text, (), ("tool-calls-unreadable",))


def test_plain_text_is_itself() -> None:
    for template in (*KNOWING.values(), CHATML, THINKING):
        read = encoder_for(template).read("Yes, {it} is. ")
        assert (read.text, read.tool_calls, read.notes, read.raw) == ("Yes, {it} is. ", (), (), None)


def test_the_common_form_is_read_where_a_template_shows_none() -> None:
    read = encoder_for(CHATML).read(
        'I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    )
    assert read.text == "I look."
    assert Reply("", tool_calls=read.tool_calls).calls == (("weather", {"city": "Paris"}),)


def test_calls_without_a_mark_are_read_only_where_there_are_tools() -> None:
    encoder = encoder_for(LLAMA31)
    text = '{"name": "Anna", "parameters": {"age": 3}}'
    assert encoder.read(text, tools=False).text == text
    assert encoder.read(text).tool_calls


def test_a_thousand_calls_and_no_more() -> None:
    one = '\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    assert len((COMMON_FORM.read(one * 1000) or ("", []))[1]) == 1000
    assert CallForm("", None, "").read("{" * 3000) is None


def test_a_template_that_floods_its_calls_is_not_searched_for_ever() -> None:
    flood = HERMES.replace("'\\n<tool_call>\\n' +", "'{' * 200000 +")
    assert flood != HERMES
    encoder = encoder_for(flood)
    assert encoder.calls.written
    assert encoder.calls.form is None


# --- A real template ----------------------------------------------------------------------------------


@pytest.mark.models
def test_smollm2_has_no_tools_and_says_so() -> None:
    folder = Path.home() / ".cache" / "instructforge" / "models" / "smollm2-135m"
    if not folder.is_dir():
        pytest.skip("the starter model smollm2-135m is not in the cache (instructforge models fetch smollm2-135m)")
    encoder = encoder_for((folder / "chat_template.jinja").read_text(encoding="utf-8"))
    assert not encoder.calls.written
    assert refused(encoder, row(ASK, said("", tool_calls=(call(city="Paris"),)))).rule == "answer-altered"
    encoded(encoder, row(ASK, said("Yes.", trained=True), tools=(WEATHER,)))
    assert encoder.stats.altered == {"tools-dropped": 1}
