"""Exports: what other projects read, read back by us, with every loss told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import yaml
from click.testing import CliRunner, Result

from instructforge import Choice, Example, Message, Task, Text
from instructforge.building import InstructionSet
from instructforge.chats import Chat, parse_chat
from instructforge.cli import main
from instructforge.data import Instruction
from instructforge.errors import ConfigError
from instructforge.exporting import Record
from instructforge.plugins import Forge

CALL = {"type": "function", "id": "c1", "function": {"name": "add", "arguments": {"a": 1, "b": "二"}}}
TOOL = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}}}
FORGE = Forge()


def chat(*messages: Message, tools: tuple[Any, ...] = (), **more: Any) -> Instruction:
    example = more.pop("example", Example(inputs={}, answers=(messages[-1].content or "x",), id="row"))
    return Instruction(
        example=example, task="talk", language="en", template="t", template_sha256="0", messages=messages, tools=tools,
        **more,
    )  # fmt: skip


def says(role: str, content: str, **more: Any) -> Message:
    return Message(role=role, content=content, **more)


PLAIN = chat(says("user", "Hello"), says("assistant", "你好", trained=True))
LONG = chat(
    says("system", "Be brief.\nAlways."),
    says("user", "One?"),
    says("assistant", "Two."),
    says("user", 'Then "three" | \\ \n?'),
    says("assistant", "Four.", trained=True),
)
WEIGHTS = chat(
    says("user", "a"), says("assistant", "b", weight=1), says("user", "c"), says("assistant", "d", trained=True)
)
CALLS = chat(
    says("user", "1 + 二?"),
    says("assistant", "", tool_calls=(CALL,)),
    says("tool", "3", tool_call_id="c1"),
    says("assistant", "It is 3.", trained=True),
    tools=(TOOL,),
)
THOUGHT = chat(says("user", "a"), says("assistant", "b", reasoning="hm", trained=True))
UNLABELLED = chat(says("user", "a"), says("assistant", ""))


def record(name: str, made: Instruction, train: str = "last") -> Any:
    (found,) = FORGE.exporters.get(name).records([made], train)
    return found


def value(name: str, made: Instruction, train: str = "last") -> dict[str, Any]:
    found = record(name, made, train)
    assert isinstance(found, Record), found
    return json.loads(json.dumps(dict(found.value)))


def turns(made: Instruction) -> list[dict[str, Any]]:
    """The conversation as ``chats`` gives it."""
    kept = []
    for message in made.messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            turn["tool_calls"] = [dict(call) for call in message.tool_calls]
        for key in ("tool_call_id", "name"):
            if getattr(message, key):
                turn[key] = getattr(message, key)
        kept.append(turn)
    return kept


def without(found: Chat, *keys: str) -> list[dict[str, Any]]:
    return [{key: part for key, part in turn.items() if key not in keys} for turn in found.messages()]


@pytest.mark.parametrize("name", ["openai", "ms-swift", "axolotl"])
@pytest.mark.parametrize("made", [PLAIN, LONG, WEIGHTS, CALLS])
def test_messages_come_back_as_they_were(name: str, made: Instruction) -> None:
    back = parse_chat(value(name, made))
    assert without(back, "weight") == turns(made)
    assert back.tools == made.tools
    weights = [turn.get("weight", 1) for turn in back.messages() if turn["role"] == "assistant"]
    last = [message.role == "assistant" for message in made.messages].count(True) - 1
    assert weights == [int(place == last or made is WEIGHTS) for place in range(last + 1)]


def test_every_turn_is_trained_where_that_is_asked() -> None:
    assert "weight" not in json.dumps(value("openai", LONG, "all"))
    assert [turn["loss"] for turn in value("ms-swift", LONG, "all")["messages"] if "loss" in turn] == [True, True]


def test_a_turns_own_weight_wins() -> None:
    made = chat(says("user", "a"), says("assistant", "b", weight=0), says("user", "c"), says("assistant", "d"))
    assert value("openai", made, "all")["messages"][1]["weight"] == 0
    assert [turn.get("train") for turn in value("axolotl", made, "all")["messages"]] == [False, False, False, True]


@pytest.mark.parametrize("made", [PLAIN, LONG])
def test_sharegpt_and_alpaca_come_back_as_they_were(made: Instruction) -> None:
    for name in ("sharegpt", "llamafactory", "alpaca"):
        back = parse_chat(value(name, made))
        assert without(back, "weight") == turns(made)


def test_sharegpt_holds_calls_and_observations() -> None:
    found = record("sharegpt", CALLS)
    assert found.lost == ("call-ids", "untrained-turns")
    back = parse_chat(json.loads(json.dumps(dict(found.value))))
    assert [turn["role"] for turn in back.turns] == ["user", "assistant", "tool", "assistant"]
    assert back.turns[1]["tool_calls"][0]["function"] == CALL["function"]
    assert back.tools == (TOOL,)


def test_alpaca_parts_instruction_and_input_where_the_prompt_is_nothing_else() -> None:
    example = Example(inputs={"instruction": "Add.", "input": "1 2"}, answers=("3",), id="x")
    made = chat(says("user", "Add.\n1 2"), says("assistant", "3"), example=example)
    assert value("alpaca", made) == {"instruction": "Add.", "input": "1 2", "output": "3"}
    apart = record("alpaca", chat(says("user", "Add.\n\n1 2"), says("assistant", "3"), example=example))
    assert (apart.value["input"], apart.lost) == ("1 2", ("blank-line",))
    other = chat(says("user", "Please: Add.\n1 2"), says("assistant", "3"), example=example)
    assert value("alpaca", other)["input"] == ""


def test_trl_has_the_answer_apart() -> None:
    found = value("trl", LONG)
    assert [turn["role"] for turn in found["prompt"]] == ["system", "user", "assistant", "user"]
    assert found["completion"] == [{"role": "assistant", "content": "Four."}]
    assert value("trl", CALLS)["tools"] == [TOOL]
    assert value("trl", LONG, "all")["messages"][-1]["content"] == "Four."
    assert record("trl", WEIGHTS).lost == ("weights",)


@pytest.mark.parametrize(
    ("name", "made", "reason"),
    [
        ("alpaca", CALLS, "tools"),
        ("alpaca", chat(says("assistant", "a"), says("user", "b"), says("assistant", "c")), "turn-order"),
        ("sharegpt", chat(says("user", "a"), says("user", "b"), says("assistant", "c")), "turn-order"),
        ("lm-eval", LONG, "history"),
        ("natural-instructions", CALLS, "tools"),
        ("trl", chat(says("user", "a"), says("assistant", "b", weight=0)), "untrained"),
        *((name, UNLABELLED, "unlabelled") for name in ("trl", "openai", "alpaca", "lm-eval", "axolotl")),
    ],
)
def test_what_a_format_cannot_hold_is_left_out_with_its_reason(name: str, made: Instruction, reason: str) -> None:
    assert record(name, made).reason == reason


@pytest.mark.parametrize("name", ["openai", "ms-swift", "sharegpt", "alpaca", "natural-instructions"])
def test_reasoning_is_told_where_it_is_lost(name: str) -> None:
    assert "reasoning" in record(name, THOUGHT).lost
    assert "reasoning" in FORGE.exporters.get(name).losses


@pytest.mark.parametrize("name", ["trl", "axolotl"])
def test_reasoning_is_kept_where_there_is_a_place_for_it(name: str) -> None:
    assert record(name, THOUGHT).lost == ()
    assert "hm" in json.dumps(value(name, THOUGHT))


# --- Whole exports -------------------------------------------------------------------------------------


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


PAIRS = [
    {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"},
    {"premise": "It snows.", "hypothesis": "It is dry.", "label": "contradiction"},
    {"premise": "It is late.", "hypothesis": "It is cold.", "label": "neutral"},
    {"premise": "It is noon.", "hypothesis": "It is May.", "label": "-"},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS), encoding="utf-8")
    call("build", folder / "run", "--task", "nli", "--train", folder / "pairs.jsonl", "--export", "openai")
    return folder / "run"


def test_a_build_exports_at_once_and_accounts_for_every_row(run: Path) -> None:
    folder = run / "exports" / "openai"
    report = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    split = report["splits"]["train"]
    assert split["rows"] == split["written"] + sum(split["left_out"].values()) == 4
    assert split["left_out"] == {"unlabelled": 1}
    (left,) = [json.loads(line) for line in (folder / "left_out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert left["reason"] == "unlabelled"
    assert len((folder / "train.jsonl").read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize("name", list(FORGE.exporters))
def test_every_format_is_written_with_a_card(run: Path, name: str, tmp_path: Path) -> None:
    model = tiny_models.llama(tmp_path / "model", positions=1024)
    call("export", run, "--to", name, "--into", tmp_path / "out", "--model", model, "--license", "cc-by-4.0")
    head, body = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---\n")[1:]
    front = yaml.safe_load(head)
    assert front["license"] == "cc-by-4.0"
    assert front["language"] == ["en"]
    assert front["dataset_info"]["splits"][0]["num_examples"] == 3
    assert "pairs.jsonl" in body
    assert "left out: unlabelled" in body
    path = tmp_path / "out" / front["configs"][0]["data_files"][0]["path"]
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    assert len(rows["Instances"] if isinstance(rows, dict) else rows) == 3


def test_masks_are_those_of_training(run: Path, tmp_path: Path) -> None:
    from instructforge.data import Features
    from instructforge.encoding import ChatEncoder
    from instructforge.models.loading import load_tokenizer

    model = tiny_models.llama(tmp_path / "model", positions=1024)
    call("export", run, "--to", "trl-tokens", "--into", tmp_path / "out", "--model", model)
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    labelled = [one for one in InstructionSet(run, "train") if one.completion]
    for row, found in zip(rows, ChatEncoder(load_tokenizer(model)).encode(labelled), strict=True):
        assert isinstance(found, Features)
        assert (row["input_ids"], row["labels"]) == (list(found.input_ids), list(found.labels))
    call("export", run, "--to", "axolotl-segments", "--into", tmp_path / "segments", "--model", model)
    first = json.loads((tmp_path / "segments" / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    trained = "".join(part["text"] for part in first["segments"] if part["label"])
    assert trained == f"{labelled[0].completion}<|im_end|>"


def test_formats_of_ids_want_a_model(run: Path) -> None:
    assert "--model" in call("export", run, "--to", "trl-tokens", code=2).stderr


def test_a_format_that_does_not_exist_is_told_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps(PAIRS[0]) + "\n")
    said = call(
        "build", tmp_path / "run", "--task", "nli", "--train", tmp_path / "p.jsonl", "--export", "alpacca", code=2
    )
    assert 'Did you mean "alpaca"' in said.stderr
    assert not (tmp_path / "run").exists()


def test_lm_evals_task_names_its_files_and_fields(run: Path, tmp_path: Path) -> None:
    call("export", run, "--to", "lm-eval", "--into", tmp_path / "out", "--name", "my pairs")
    task = yaml.safe_load((tmp_path / "out" / "my_pairs.yaml").read_text(encoding="utf-8"))
    assert task["task"] == "my_pairs"
    assert task["output_type"] == "multiple_choice"
    assert task["dataset_kwargs"]["data_files"] == {"train": "train.jsonl"}
    row = json.loads((tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert row["choices"][row["label"]] == row["target"]


def test_natural_instructions_have_every_gold_answer() -> None:
    example = Example(inputs={"q": "?"}, answers=("one", "1"), id="x")
    made = chat(says("user", "?"), says("assistant", "Answer: one."), example=example, affixes=("Answer: ", "."))
    assert value("natural-instructions", made)["output"] == ["Answer: one.", "Answer: 1."]


def test_a_strangers_format(tmp_path: Path, run: Path) -> None:
    from instructforge import hookimpl
    from instructforge.exporting import export

    class Lines:
        name, summary, suffix, losses = "lines", "a line a row", ".jsonl", {}

        def records(self, instructions: Any, train: str) -> list[Record]:
            return [Record({"text": one.completion}) for one in instructions]

        def companions(self, plan: Any) -> tuple[()]:
            return ()

    class Plugin:
        @hookimpl
        def instructforge_exporters(self) -> list[Lines]:
            return [Lines()]

    forge = Forge([Plugin()])
    task = Task("nli", summary="", fields={"premise": "a"}, target=Choice(["x", "y"]))
    result = export(run, "lines", forge=forge, task=task, into=tmp_path / "out")
    assert result.splits["train"].written == 4
    with pytest.raises(ConfigError, match="last or all"):
        export(run, "lines", forge=forge, task=task, into=tmp_path / "out", train="some")


def test_text_tasks_are_generated_in_lm_eval(tmp_path: Path) -> None:
    from instructforge.exporting import ExportPlan

    (companion,) = FORGE.exporters.get("lm-eval").companions(
        ExportPlan(name="a-b", task="t", summary="", files={"test": "test.jsonl"}, max_new_tokens=Text().max_new_tokens)
    )
    task = yaml.safe_load(companion.text)
    assert task["output_type"] == "generate_until"
    assert task["generation_kwargs"] == {"until": ["\n\n"], "do_sample": False, "max_gen_toks": 256}
    assert task["description"].endswith("{% if system %}\n\n{% endif %}")
