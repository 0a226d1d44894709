"""Trained encoder folders, opened to answer."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from heads_kit import (
    COLOURS,
    LABEL_TASK,
    MATCH_TASK,
    PAIR_TASK,
    SPAN_TASK,
    colour_rows,
    instruction,
    match_rows,
    pair_rows,
    save_tiny_bert,
    span_rows,
)

from instructforge.contract import Contract
from instructforge.decoders import ChoiceScoresDecoder, SpanDecoder
from instructforge.engines import open_engine
from instructforge.errors import ConfigError, ContractMismatchError
from instructforge.tasks import Choice, Task
from instructforge.training.heads.trainer import EncoderTrainer
from instructforge.training.job import TrainingJob

pytestmark = pytest.mark.slow  # trains real, if tiny, models


def trained(folder: Path, task: Task, rows: Any, **options: Any) -> Path:
    base = save_tiny_bert(folder / "base")
    plan = TrainingJob(task=task, train=rows, model=base, out=folder / "model", work=folder / "work", settings=options)
    EncoderTrainer().train(plan)
    return folder / "model"


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("labels"), LABEL_TASK, colour_rows(300))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"head": "pair", "epochs": 15, "learning_rate": 3e-3, "train_embeddings": True}
    return trained(tmp_path_factory.mktemp("pairs"), PAIR_TASK, pair_rows(300), **options)


@pytest.fixture(scope="module")
def matches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"epochs": 4, "learning_rate": 1e-3, "train_embeddings": True}
    return trained(tmp_path_factory.mktemp("matches"), MATCH_TASK, match_rows(200), **options)


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"epochs": 2, "learning_rate": 1e-3, "max_length": 24, "stride": 4}
    return trained(tmp_path_factory.mktemp("spans"), SPAN_TASK, span_rows(40), **options)


def accuracy(folder: Path, task: Task, rows: Any) -> float:
    outputs = list(open_engine(folder).outputs(rows, "label_scores"))
    found = ChoiceScoresDecoder().decode(outputs, rows, task)
    return sum(one.answer == row.example.answers[0] for one, row in zip(found, rows, strict=True)) / len(rows)


def test_what_was_learnt_is_answered(labels: Path, pairs: Path, matches: Path) -> None:
    assert accuracy(labels, LABEL_TASK, colour_rows(60, seed=9)) > 0.7
    assert accuracy(pairs, PAIR_TASK, pair_rows(60, seed=9)) > 0.8
    assert accuracy(matches, MATCH_TASK, match_rows(60, seed=9)) > 0.8


def test_scores_are_log_probabilities_in_the_rows_own_order(labels: Path) -> None:
    engine = open_engine(labels)
    row = colour_rows(1)[0]
    turned = evolve(row, labels=tuple(reversed(row.labels)))
    one, two = engine.outputs([row, turned], "label_scores")
    assert one.label_scores is not None
    assert sum(map(math.exp, one.label_scores)) == pytest.approx(1.0)
    assert two.label_scores == pytest.approx(tuple(reversed(one.label_scores)), abs=1e-6)


def test_outputs_come_in_the_order_of_the_rows(labels: Path, spans: Path) -> None:
    rows = colour_rows(40)
    shuffled = random.Random(0).sample(rows, len(rows))
    engine = open_engine(labels)
    found = dict(zip((row.id for row in rows), engine.outputs(iter(rows), "label_scores"), strict=True))
    for row, output in zip(shuffled, engine.outputs(shuffled, "label_scores"), strict=True):
        assert output.label_scores == pytest.approx(found[row.id].label_scores, abs=1e-5)
    questions = span_rows(30)
    whole = list(open_engine(spans).outputs(questions, "spans"))
    alone = [output for row in questions for output in open_engine_once(spans).outputs([row], "spans")]
    for one, two in zip(whole, alone, strict=True):
        assert one.null_score == pytest.approx(two.null_score, abs=1e-5)
        assert one.spans is not None
        assert two.spans is not None
        assert one.spans[0].score == pytest.approx(two.spans[0].score, abs=1e-5)


_OPEN: dict[Path, Any] = {}


def open_engine_once(folder: Path) -> Any:
    return _OPEN.setdefault(folder, open_engine(folder))


def test_labels_that_the_head_does_not_know_cannot_win(labels: Path) -> None:
    row = evolve(colour_rows(1)[0], labels=("violet", "red", "blue"))
    strange = evolve(row, labels=("violet", "pink"))
    one, two = open_engine(labels).outputs([row, strange], "label_scores")
    assert one.label_scores is not None
    assert one.label_scores[0] == -math.inf
    assert sum(map(math.exp, one.label_scores[1:])) == pytest.approx(1.0)
    assert two.label_scores is None
    assert two.error is not None
    assert '"violet"' in two.error
    prediction = ChoiceScoresDecoder().decode([two], [strange], MATCH_TASK)[0]
    assert prediction.answer is None


def test_a_row_without_choices_is_an_error_of_its_own(matches: Path) -> None:
    rows = [instruction(MATCH_TASK, 0, {"question": "what", "choices": []}), *match_rows(2)]
    outputs = list(open_engine(matches).outputs(rows, "label_scores"))
    assert outputs[0].error == "the row has no choices"
    assert all(output.label_scores for output in outputs[1:])


def test_choices_of_any_number_and_wording_are_matched(matches: Path) -> None:
    choices = ["blue sky", "红 茶", "", "black dog of the sky"]
    rows = [instruction(MATCH_TASK, 0, {"question": "what is blue ?", "choices": choices})]
    (output,) = open_engine(matches).outputs(rows, "label_scores")
    assert output.label_scores is not None
    assert len(output.label_scores) == 4
    assert sum(map(math.exp, output.label_scores)) == pytest.approx(1.0)


def test_spans_stand_in_the_passage_and_windows_are_merged(spans: Path) -> None:
    passage = " . ".join(
        f"the {thing} is {colour}" for thing in ("cup", "hat", "dog", "car", "sky") for colour in COLOURS
    )
    rows = [instruction(SPAN_TASK, 0, {"question": "what colour is the sky ?", "context": passage})]
    (output,) = open_engine(spans).outputs(rows, "spans")
    assert output.spans
    assert output.null_score is not None
    assert len(output.spans) == 20
    assert [span.score for span in output.spans] == sorted((span.score for span in output.spans), reverse=True)
    for span in output.spans:
        text = passage[span.start : span.end]
        assert text
        assert text == text.strip()
    assert SpanDecoder().decode([output], rows, SPAN_TASK)[0].error is None


@pytest.mark.parametrize("context", ["", "   ", "\u200b"])
def test_an_empty_passage_is_answered_by_nothing(context: str, spans: Path) -> None:
    rows = [instruction(SPAN_TASK, 0, {"question": "what ?", "context": context}), *span_rows(1)]
    outputs = list(open_engine(spans).outputs(rows, "spans"))
    assert outputs[0].spans == ()
    assert outputs[0].null_score is not None
    assert outputs[1].spans


def test_a_question_without_room_is_an_error_of_its_own(spans: Path) -> None:
    rows = [instruction(SPAN_TASK, 0, {"question": "the " * 60, "context": "red"}), *span_rows(1)]
    outputs = list(open_engine(spans).outputs(rows, "spans"))
    assert outputs[0].error is not None
    assert "no room" in outputs[0].error
    assert outputs[1].spans


@pytest.mark.parametrize("needs", ["text", "spans", "choice_logprobs"])
def test_what_a_head_cannot_give_is_refused(needs: str, labels: Path) -> None:
    with pytest.raises(ConfigError, match="gives label_scores"):
        next(open_engine(labels).outputs(colour_rows(1), needs))


def test_an_untrained_encoder_chooses_by_nearness_and_nothing_else(tmp_path: Path) -> None:
    base = save_tiny_bert(tmp_path)
    engine = open_engine(base, task=MATCH_TASK)
    assert engine.contract.method == "none"
    outputs = list(engine.outputs(match_rows(5), "label_scores"))
    assert all(output.label_scores and len(output.label_scores) == 3 for output in outputs)
    with pytest.raises(ConfigError, match="Train the model first"):
        open_engine(base, task=SPAN_TASK)


# --- Folders that are not what they say --------------------------------------------------------------------


def copied(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to / "model"))


def test_another_tokenizer_is_refused(labels: Path, tmp_path: Path) -> None:
    folder = copied(labels, tmp_path)
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"red"', '"rot"'))
    with pytest.raises(ContractMismatchError, match="tokenizer_sha256"):
        open_engine(folder)


def test_a_missing_or_foreign_head_is_refused(labels: Path, pairs: Path, tmp_path: Path) -> None:
    folder = copied(labels, tmp_path)
    (folder / "head.safetensors").write_bytes((pairs / "head.safetensors").read_bytes())
    with pytest.raises(ContractMismatchError, match="head"):
        open_engine(folder)
    (folder / "head.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ContractMismatchError, match="head"):
        open_engine(folder)
    (folder / "head.safetensors").unlink()
    with pytest.raises(ContractMismatchError, match="head"):
        open_engine(folder)


@pytest.mark.parametrize(
    "encoding", [{}, {"max_length": "x", "choices": {}}, {"max_length": 20, "choices": {"kind": "label"}}]
)
def test_a_contract_that_lacks_how_rows_are_read_is_refused(
    encoding: dict[str, Any], labels: Path, tmp_path: Path
) -> None:
    folder = copied(labels, tmp_path)
    evolve(Contract.read(folder), encoding=encoding).write(folder)
    with pytest.raises(ContractMismatchError, match="lacks"):
        open_engine(folder)


def test_the_contract_says_how_choices_are_answered(labels: Path, matches: Path) -> None:
    contract = Contract.read(labels)
    assert contract.labels == COLOURS
    assert contract.encoding["choices"]["kind"] == "label"
    assert contract.method == "features"
    assert Contract.read(matches).encoding["choices"]["passage"] == "context"
    json.dumps(contract.to_json())


def test_chinese_rows_are_read_as_any_other(tmp_path: Path) -> None:
    task = Task("选", summary="", fields={"问题": ""}, target=Choice({"茶": {"zh": "茶"}, "猫": {"zh": "猫"}}))
    rows = [
        instruction(task, number, {"问题": f"{'红' if number % 2 else '绿'} {label} 。"}, [label])
        for number, label in enumerate(["茶", "猫"] * 50)
    ]
    assert accuracy(trained(tmp_path, task, rows), task, rows) == 1.0
