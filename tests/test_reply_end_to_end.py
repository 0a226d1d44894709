"""Tool calls and reasoning from raw conversations to scored predictions, through a real, if tiny, model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tiny_models
from test_encoding_calls import THINKING

import instructforge_instruction
from instructforge import Forge, Instruction, Reply
from instructforge.building import BuildSettings, InstructionSet, Source, build
from instructforge.contract import Contract
from instructforge.data import Output, Prediction
from instructforge.engines import open_engine
from instructforge.engines.causal import CausalEngine
from instructforge.evaluation import evaluate
from instructforge.report import write
from instructforge.training.causal import CausalTrainer

pytestmark = pytest.mark.slow  # trains a tiny model

FORGE = Forge([instructforge_instruction])
TASK = FORGE.tasks.get("instruction")
TOOL = {"type": "function", "function": {"name": "rain", "parameters": {"type": "object", "properties": {}}}}
SHOWN = "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}"
CITIES = ("Rome", "巴黎")


def conversations() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for city in CITIES:
        ask = {"role": "user", "content": f"{city}?"}
        call = {"type": "function", "function": {"name": "rain", "arguments": json.dumps({"city": city})}}
        calling = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": f"Ask for {city}."}
        rows.append({"messages": [ask, calling], "tools": [TOOL]})
    rows.append({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]})
    return rows


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Instruction]:
    folder = tmp_path_factory.mktemp("built")
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in conversations()), encoding="utf-8")
    settings = BuildSettings(split={"train": 1.0}, templates=("plain",), language="en")
    build(FORGE, TASK, [Source(path)], folder / "out", settings)
    return list(InstructionSet(folder / "out", "train"))


@pytest.fixture(scope="module")
def engine(built: list[Instruction], tmp_path_factory: pytest.TempPathFactory) -> CausalEngine:
    tiny_models.one_thread()
    folder = tmp_path_factory.mktemp("trained")
    base = tiny_models.llama(folder / "base", dropout=0.0)
    (base / "chat_template.jinja").write_text(SHOWN + THINKING, encoding="utf-8")
    settings = {"method": "full", "epochs": 160, "learning_rate": 5e-3, "accumulation": 1, "batch_size": 4}
    CausalTrainer().train(tiny_models.job(folder, base, built, settings={**settings, "reasoning": True}))
    found = open_engine(folder / "model", max_new_tokens=120)
    assert isinstance(found, CausalEngine)
    return found


def test_a_build_keeps_calls_reasoning_and_tools(built: list[Instruction]) -> None:
    assert len(built) == 3
    replies = [row for row in built if row.tools]
    assert [row.tools for row in replies] == [(TOOL,)] * 2
    for row in replies:
        answer = row.example.answers[0]
        assert isinstance(answer, Reply)
        assert row.messages[-1].tool_calls == answer.tool_calls
        assert (row.messages[-1].reasoning or "").startswith("Ask for")
        assert Instruction.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_what_was_learnt_is_read_back_and_scored(
    built: list[Instruction], engine: CausalEngine, tmp_path: Path
) -> None:
    outputs = list(engine.outputs(built, "text"))
    predictions = FORGE.decoders.get("text").decode(outputs, built, TASK)
    for row, said in zip(built, predictions, strict=True):
        gold = row.example.answers[0]
        assert said.answer is not None, said
        assert TASK.target.equal(said.answer, gold), (said.answer, gold)
        if isinstance(gold, Reply):
            assert isinstance(said.answer, Reply)
            assert said.answer.reasoning == gold.reasoning
            assert "<think>" in said.raw
            assert Prediction.from_json(json.loads(json.dumps(said.to_json()))) == said
    report = evaluate(predictions, built, task=TASK, forge=FORGE)
    assert [report.metrics[name]["value"] for name in ("exact-match", "token-f1", "tool-calls")] == [1.0, 1.0, 1.0]
    assert "final-number" in report.left_out
    schemas = Path(__file__).parent.parent / "docs" / "schemas"
    jsonschema.validate(report.to_json(), json.loads((schemas / "report.json").read_text(encoding="utf-8")))
    for said in predictions:
        schema = json.loads((schemas / "predictions.json").read_text(encoding="utf-8"))
        jsonschema.validate(json.loads(json.dumps(said.to_json())), schema)
    write(report, tmp_path)
    assert "&#34;rain&#34;" in (tmp_path / "report.html").read_text(encoding="utf-8").replace("&quot;", "&#34;")


def test_the_contract_carries_how_calls_are_written(engine: CausalEngine) -> None:
    assert isinstance(engine.contract, Contract)
    assert engine.contract.encoding["calls"]["form"]["opening"].strip() == "<tool_call>"


def test_a_reply_that_cannot_be_read_keeps_its_text_and_says_so(
    built: list[Instruction], engine: CausalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    said = engine.tokenizer.encode('<tool_call>\n{"name": "rain", "arguments": <|im_end|>', return_tensors="pt")

    def generated(input_ids: Any, **_: Any) -> Any:
        return torch.cat([input_ids, said.expand(len(input_ids), -1)], dim=1)

    monkeypatch.setattr(engine.model, "generate", generated)
    (output,) = engine.outputs(built[:1], "text")
    assert output == Output(text='<tool_call>\n{"name": "rain", "arguments": ', notes=("tool-calls-unreadable",))
    (prediction,) = FORGE.decoders.get("text").decode([output], built[:1], TASK)
    assert prediction.notes == ("tool-calls-unreadable",)
    assert prediction.answer == '<tool_call>\n{"name": "rain", "arguments":'
