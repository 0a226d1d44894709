"""The causal engine: the same prompts as in training, answers in order, likelihoods that are right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from attrs import evolve

from instructforge.contract import Contract
from instructforge.encoding import ChatEncoder
from instructforge.engines import open_engine
from instructforge.engines.causal import CausalEngine
from instructforge.errors import ConfigError, ContractMismatchError
from instructforge.models.loading import load_causal, load_tokenizer
from instructforge.training.causal import CausalTrainer

pytestmark = pytest.mark.slow  # trains real, if tiny, models

CHOICES = ("It is 4.", "It is 40.", "no", "not at all, I would say", "不知道")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("base"), dropout=0.0)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learnt six facts by heart, and to stop."""
    tiny_models.one_thread()
    folder = tmp_path_factory.mktemp("trained")
    settings = {"method": "full", "epochs": 100, "learning_rate": 5e-3, "accumulation": 1, "batch_size": 3}
    CausalTrainer().train(tiny_models.job(folder, base, tiny_models.facts(), settings=settings))
    return folder / "model"


@pytest.fixture(scope="module")
def engine(trained: Path) -> Any:
    return open_engine(trained, batch_size=4)


def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "model"))


# --- Text ----------------------------------------------------------------------------------------------


def test_answers_come_in_order_and_do_not_depend_on_their_neighbours(engine: CausalEngine) -> None:
    rows = [*tiny_models.facts(), *tiny_models.rows(17)]
    together = list(engine.outputs(iter(rows), "text"))
    alone = [next(engine.outputs([row], "text")) for row in rows]
    assert together == alone
    assert len({output.text for output in together}) > 3
    assert list(engine.outputs(reversed(rows), "text")) == together[::-1]


def test_what_was_learnt_is_said_and_the_model_stops(engine: CausalEngine) -> None:
    rows = tiny_models.facts()
    outputs = list(engine.outputs(rows, "text"))
    assert [output.text for output in outputs] == [row.completion for row in rows]
    assert all(output.finished for output in outputs)
    assert "<|im_end|>" not in "".join(output.text or "" for output in outputs)


def test_text_is_that_of_a_plain_greedy_loop(engine: CausalEngine, trained: Path) -> None:
    model, tokenizer = load_causal(trained, dtype=torch.float32).eval(), load_tokenizer(trained)
    for row in tiny_models.rows(5, 3):
        chat = [message.to_chat() for message in row.prompt]
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        start = ids.shape[1]
        for _ in range(engine.max_new_tokens):
            with torch.no_grad():
                best = model(ids).logits[:, -1].argmax(-1, keepdim=True)
            if int(best) == tokenizer.eos_token_id:
                break
            ids = torch.cat([ids, best], dim=1)
        assert next(engine.outputs([row], "text")).text == tokenizer.decode(ids[0, start:])


def test_a_model_that_does_not_stop_is_cut_and_marked(trained: Path) -> None:
    short = open_engine(trained, max_new_tokens=2)
    outputs = list(short.outputs(tiny_models.rows(4), "text"))
    assert not any(output.finished for output in outputs)
    assert all(output.text for output in outputs)


def test_sampling_that_a_folder_asks_for_is_not_done(trained: Path, tmp_path: Path, engine: CausalEngine) -> None:
    path = copied(trained, tmp_path)
    odd = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "max_length": 1, "num_beams": 3}
    (path / "generation_config.json").write_text(json.dumps(odd))
    rows = tiny_models.rows(6)
    assert list(open_engine(path).outputs(rows, "text")) == list(engine.outputs(rows, "text"))


def test_a_prompt_that_does_not_fit_is_an_output_with_a_reason(engine: CausalEngine) -> None:
    rows = [tiny_models.row(1, "very long " * 600, "x"), *tiny_models.rows(3)]
    for needs in ("text", "choice_logprobs"):
        found = list(engine.outputs([evolve(row, choices=("a", "b")) for row in rows], needs))
        assert found[0].error
        assert "tokens" in found[0].error
        assert not any(output.error for output in found[1:])


def test_prompts_are_those_of_training(engine: CausalEngine, trained: Path) -> None:
    contract = Contract.read(trained)
    encoder = ChatEncoder(
        load_tokenizer(trained),
        chat_template=contract.chat_template,
        max_length=contract.encoding["max_length"],
        pinned=contract.pinned,
    )
    for row in tiny_models.rows(8):
        (features,) = encoder.encode([row])
        prompt = engine.encoder.prompt_ids(row)
        assert list(features.input_ids[: len(prompt)]) == prompt
        assert set(features.labels[: len(prompt)]) == {-100}
        assert features.labels[len(prompt)] != -100


# --- Choices -------------------------------------------------------------------------------------------


def by_hand(engine: CausalEngine, row: Any, choices: tuple[str, ...]) -> list[float]:
    """One forward pass for each choice, without padding or cache."""
    prompt, scores = engine.encoder.prompt_ids(row), []
    for choice in engine.encoder.completion_ids(choices):
        with torch.no_grad():
            logits = engine.model(torch.tensor([prompt + choice])).logits[0].log_softmax(-1)
        scores.append(sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(choice)))
    return scores


@pytest.mark.parametrize("reuses_cache", [True, False])
def test_likelihoods_are_right(reuses_cache: bool, trained: Path) -> None:
    engine = CausalEngine(trained, Contract.read(trained), batch_size=3)
    engine._reuses_cache = reuses_cache
    rows = [evolve(row, choices=CHOICES[: 2 + number % 4]) for number, row in enumerate(tiny_models.rows(9))]
    for row, output in zip(rows, engine.outputs(rows, "choice_logprobs"), strict=True):
        assert output.choice_logprobs == pytest.approx(by_hand(engine, row, row.choices), abs=1e-4)
        assert output.choice_tokens == tuple(map(len, engine.encoder.completion_ids(row.choices)))


def test_the_cache_is_used_with_a_llama(engine: CausalEngine) -> None:
    list(engine.outputs([evolve(tiny_models.rows(1)[0], choices=CHOICES)], "choice_logprobs"))
    assert engine._reuses_cache


def test_a_model_that_keeps_no_cache_is_scored_all_the_same(
    trained: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = CausalEngine(trained, Contract.read(trained))

    def refuse(*arguments: Any) -> Any:
        raise AttributeError("no batch_select_indices")

    monkeypatch.setattr(engine, "_cached_scores", refuse)
    row = evolve(tiny_models.rows(1)[0], choices=CHOICES)
    (output,) = engine.outputs([row], "choice_logprobs")
    assert output.choice_logprobs == pytest.approx(by_hand(engine, row, CHOICES), abs=1e-4)
    assert "keeps no cache" in caplog.text


def test_the_likeliest_choice_is_what_was_learnt(engine: CausalEngine) -> None:
    row = evolve(tiny_models.facts()[0], choices=("It is white.", "It is green.", "It is"))
    (output,) = engine.outputs([row], "choice_logprobs")
    assert output.choice_logprobs is not None
    assert max(range(3), key=output.choice_logprobs.__getitem__) == 1  # "It is" alone would be likelier without a stop


def test_many_choices_are_scored_in_parts(engine: CausalEngine) -> None:
    choices = tuple(f"It is {number}." for number in range(150))
    row = evolve(tiny_models.rows(1)[0], choices=choices)
    (output,) = engine.outputs([row], "choice_logprobs")
    assert output.choice_logprobs == pytest.approx(by_hand(engine, row, choices), abs=1e-4)


def test_rows_without_choices_get_text(engine: CausalEngine) -> None:
    rows = [evolve(tiny_models.rows(1)[0], choices=CHOICES), tiny_models.rows(1)[0]]
    rows.append(evolve(rows[0], inverted="q"))
    chosen, plain, inverted = engine.outputs(rows, "choice_logprobs")
    assert chosen.choice_logprobs
    assert chosen.text is None
    assert plain.text == inverted.text == next(engine.outputs(rows[1:2], "text")).text


def test_what_a_causal_model_cannot_give_is_refused(engine: CausalEngine) -> None:
    with pytest.raises(ConfigError, match='cannot give "spans"'):
        next(engine.outputs(tiny_models.rows(1), "spans"))


# --- Opening -------------------------------------------------------------------------------------------


def test_another_chat_template_is_refused(trained: Path, tmp_path: Path) -> None:
    path = copied(trained, tmp_path)
    (path / "chat_template.jinja").write_text(tiny_models.CHATML.replace("\n'", "'"))
    with pytest.raises(ContractMismatchError, match="chat_template"):
        open_engine(path)


def test_another_tokenizer_is_refused(trained: Path, tmp_path: Path) -> None:
    path = copied(trained, tmp_path)
    state = json.loads((path / "tokenizer.json").read_text())
    state["model"]["merges"] = state["model"]["merges"][:-1]
    (path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(ContractMismatchError, match="tokenizer_sha256"):
        open_engine(path)


def test_another_stop_token_is_refused(trained: Path, tmp_path: Path) -> None:
    path = copied(trained, tmp_path)
    value = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**value, "eos_token": "<|endoftext|>"}))
    with pytest.raises(ContractMismatchError):
        open_engine(path)


def test_a_contract_changed_by_hand_is_refused(trained: Path, tmp_path: Path) -> None:
    path = copied(trained, tmp_path)
    text = (path / "contract.json").read_text()
    (path / "contract.json").write_text(text.replace('"max_new_tokens": 12', '"max_new_tokens": 13'))
    with pytest.raises(ContractMismatchError, match="changed after it was written"):
        open_engine(path)


def test_a_model_of_another_family_is_refused(trained: Path, tmp_path: Path) -> None:
    path = copied(trained, tmp_path)
    (path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(ContractMismatchError, match="encoder"):
        open_engine(path)


def test_an_untrained_model_is_opened_with_a_task_only(base: Path) -> None:
    with pytest.raises(ContractMismatchError, match=r"no contract\.json"):
        open_engine(base)
    engine = open_engine(base, task=tiny_models.TASK)
    assert engine.contract.method == "none"
    assert engine.contract.chat_template == tiny_models.CHATML
    outputs = list(engine.outputs(tiny_models.rows(3), "text"))
    assert [type(output.text) for output in outputs] == [str] * 3


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"batch_size": 0}, {"max_new_tokens": 0}])
def test_wrong_options(options: dict[str, Any], trained: Path) -> None:
    with pytest.raises(ConfigError):
        open_engine(trained, **options)


def test_importing_the_package_brings_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, instructforge.engines; print('torch' in sys.modules, 'transformers' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
