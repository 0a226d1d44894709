"""The causal trainer and the loop below it: what is trained, what is left out, what is written, when it stops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
import transformers
import yaml
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from instructforge import Message
from instructforge.contract import Contract
from instructforge.encoding import ChatEncoder
from instructforge.errors import ConfigError, ContractMismatchError, TrainingError
from instructforge.models.loading import load_causal, load_tokenizer, quiet
from instructforge.training import loop
from instructforge.training.causal import CausalSettings, CausalTrainer, encode_rows, trained_token_loss
from instructforge.training.folder import write_model_folder
from instructforge.training.rows import IGNORED, TokenRows, pad_right
from instructforge.training.settings import LoopSettings, read_settings

pytestmark = pytest.mark.slow  # trains real, if tiny, models


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny_models.one_thread()
    return tiny_models.llama(tmp_path_factory.mktemp("base"))


def train(folder: Path, model: Path, rows: Any = None, **more: Any) -> Any:
    return CausalTrainer().train(tiny_models.job(folder, model, rows or tiny_models.rows(12), **more))


# --- Settings ------------------------------------------------------------------------------------------


def test_every_wrong_option_is_told_at_once() -> None:
    wrong = {"epoch": 3, "learning_rate": "fast", "batch_size": 0, "method": "qlora", "warmup": -1, "max_steps": 1.5}
    wrong |= {"keep_adapter": "perhaps", "lora_targets": 3}
    with pytest.raises(ConfigError) as caught:
        read_settings(CausalSettings, wrong)
    assert len(caught.value.problems) == len(wrong)
    text = str(caught.value)
    assert 'Did you mean "epochs"?' in text
    assert 'learning_rate is "fast", expected a number' in text
    assert "one of lora, full" in text


def test_numbers_may_be_written_as_yaml_reads_them() -> None:
    settings = read_settings(
        LoopSettings, {"learning_rate": "2e-5", "epochs": 2, "max_steps": "7", "report_to": "wandb"}
    )
    assert (settings.learning_rate, settings.epochs, settings.max_steps) == (2e-5, 2.0, 7)
    assert settings.report_to == ("wandb",)
    assert read_settings(LoopSettings, {"max_steps": None}).max_steps is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, [], "1e999", "²"])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="expected a number"):
        read_settings(LoopSettings, {"learning_rate": value})


# --- Rows ----------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), min_size=1, max_size=8), min_size=1, max_size=6
    )
)
def test_rows_come_back_as_they_were_put_in(made: list[list[tuple[int, bool]]]) -> None:
    packed = TokenRows()
    for number, one in enumerate(made):
        packed.append(str(number), [token for token, _ in one], [token if kept else IGNORED for token, kept in one])
    assert packed.lengths == [len(one) for one in made]
    for (tokens, labels), one in zip(packed, made, strict=True):
        assert tokens.tolist() == [token for token, _ in one]
        assert labels.tolist() == [token if kept else IGNORED for token, kept in one]
    batch = pad_right(packed[:], 2)
    assert batch["attention_mask"].sum(1).tolist() == packed.lengths
    assert int((batch["labels"] != IGNORED).sum()) == packed.trained


def test_a_stop_token_that_is_the_pad_is_trained(base: Path) -> None:
    encoder = ChatEncoder(load_tokenizer(base))
    packed, _ = encode_rows(encoder, tiny_models.rows(3), "last")
    batch = pad_right(packed[:], 2)
    for number in range(3):
        trained = batch["labels"][number][batch["labels"][number] != IGNORED]
        assert trained[-1] == 2


def test_rows_that_cannot_be_trained_on_are_counted_and_listed(base: Path, tmp_path: Path) -> None:
    odd = [
        tiny_models.row(100, "word " * 500, "It is 1."),
        tiny_models.row(101, "fits", "long answer " * 300),
        tiny_models.row(102, "no answer", ""),
    ]
    result = train(tmp_path, base, [*tiny_models.rows(6), *odd], settings={"max_length": 128, "epochs": 1})
    assert result.counts["rows"] == 9
    assert result.counts["rows_trained"] == 6
    assert result.counts["rows_left_out"] == 3
    assert result.counts["left_out:too-long"] == 2
    assert result.counts["left_out:unlabelled"] == 1
    listed = [json.loads(line) for line in (tmp_path / "work" / "left_out.jsonl").read_text().splitlines()]
    assert {line["id"]: line["rule"] for line in listed} == {
        "row-100": "too-long",
        "row-101": "too-long",
        "row-102": "unlabelled",
    }


def test_nothing_to_train_on_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no row to train on"):
        train(tmp_path, base, [tiny_models.row(1, "word " * 500, "x")])
    assert not (tmp_path / "model").exists()


def test_a_model_that_does_not_know_the_data_is_refused(base: Path, tmp_path: Path) -> None:
    path = tiny_models.llama(tmp_path / "base")
    state = json.loads((path / "tokenizer.json").read_text())
    words = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2, "user": 3, "assistant": 4, "\n": 5}
    state["model"] = {"type": "WordLevel", "vocab": words, "unk_token": "<|endoftext|>"}
    (path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(TrainingError, match="unknown to it"):
        train(tmp_path, path)


# --- Loss ----------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_transformers(base: Path) -> None:
    model = load_causal(base, dtype=torch.float32).eval()
    packed, _ = encode_rows(ChatEncoder(load_tokenizer(base)), tiny_models.rows(7), "last")
    batch = pad_right(packed[:], 2)
    theirs = model(**batch).loss
    ours = trained_token_loss(model, batch, float(packed.trained))
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-6)


def test_the_loss_of_a_model_that_gives_all_logits_is_the_same(base: Path) -> None:
    model = load_causal(base, dtype=torch.float32).eval()
    packed, _ = encode_rows(ChatEncoder(load_tokenizer(base)), tiny_models.rows(7), "last")
    batch = pad_right(packed[:], 2)

    class All(torch.nn.Module):
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return model(input_ids=input_ids, attention_mask=attention_mask)

    one, other = trained_token_loss(model, batch, 1.0), trained_token_loss(All(), batch, 1.0)
    assert float(one.detach()) == pytest.approx(float(other.detach()), rel=1e-6)


def test_accumulation_changes_nothing(base: Path, tmp_path: Path) -> None:
    """Answers of unlike length: a mean of the batches' means would differ."""
    path = tiny_models.llama(tmp_path / "base", dropout=0.0)
    rows = [tiny_models.row(number, "Count", "one " * (1 + 5 * number)) for number in range(8)]
    options = {"method": "full", "epochs": 3, "group_by_length": False}
    whole = train(tmp_path / "8", path, rows, settings={**options, "batch_size": 8, "accumulation": 1})
    parts = train(tmp_path / "2", path, rows, settings={**options, "batch_size": 2, "accumulation": 4})
    for one, other in zip(whole.log, parts.log, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_only_what_is_trained_counts(base: Path, tmp_path: Path) -> None:
    rows = tiny_models.rows(8)
    result = train(tmp_path, base, rows, settings={"epochs": 1})
    tokenizer = load_tokenizer(base)
    expected = sum(len(tokenizer(row.completion, add_special_tokens=False)["input_ids"]) + 1 for row in rows)
    assert result.counts["tokens_trained"] == expected


# --- The loop ------------------------------------------------------------------------------------------


def test_epochs_differ_in_order_and_every_row_comes_once() -> None:
    order = loop.BatchOrder([5, 9, 2, 7, 7, 1, 3], 2, seed=1)
    seen = []
    for epoch in range(3):
        order.set_epoch(epoch)
        batches = list(order)
        assert sorted(row for batch in batches for row in batch) == list(range(7))
        assert len(batches) == len(order)
        seen.append(batches)
    assert len({str(batches) for batches in seen}) == 3
    order.set_epoch(1)
    assert list(order) == seen[1]


def test_rows_of_like_length_come_together() -> None:
    lengths = [number % 50 for number in range(400)]
    spread = {
        grouped: sum(
            max(lengths[row] for row in batch) - min(lengths[row] for row in batch)
            for batch in loop.BatchOrder(lengths, 8, seed=3, grouped=grouped)
        )
        for grouped in (True, False)
    }
    assert spread[True] < spread[False] / 5


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 0.25, 3])
def test_schedules_are_transformers_own(schedule: str, warmup: float, base: Path, tmp_path: Path) -> None:
    options = {"schedule": schedule, "warmup": warmup, "max_steps": 8, "batch_size": 8, "accumulation": 1}
    result = train(tmp_path, base, tiny_models.rows(8), settings={**options, "method": "full"})
    kind = "constant_with_warmup" if schedule == "constant" else schedule
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    steps = warmup if warmup >= 1 else math.ceil(8 * warmup)
    theirs = transformers.get_scheduler(kind, optimizer, num_warmup_steps=steps, num_training_steps=8)
    for entry in result.log:
        assert entry["learning_rate"] == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_rows(base: Path, tmp_path: Path) -> None:
    path = tiny_models.llama(tmp_path / "base")
    weights = load_file(path / "model.safetensors")
    token = load_tokenizer(path)("雪", add_special_tokens=False)["input_ids"][-1]
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    weights["model.embed_tokens.weight"][token] = float("nan")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    rows = tiny_models.rows(12)
    rows[5] = tiny_models.row(5, "雪?", "It is 6.")
    with pytest.raises(TrainingError, match=r"The loss is nan at step \d+, in the batch of the rows .*row-5") as caught:
        train(tmp_path, path, rows, settings={"group_by_length": False, "batch_size": 2})
    assert str(caught.value).count("row-") == 2
    assert not (tmp_path / "model").exists()


def test_a_gradient_that_is_no_number_stops_the_run(base: Path, tmp_path: Path) -> None:
    job = tiny_models.job(tmp_path, base, ())
    weight = torch.nn.Linear(1, 1)

    def loss(model: Any, batch: Any, count: float) -> Any:
        return torch.sqrt(model(batch["x"]).pow(2).sum() * 0.0)  # its value is 0, its gradient is not a number

    parts = loop.LoopParts(
        model=weight,
        rows=[1.0] * 4,
        lengths=[1] * 4,
        ids=list("abcd"),
        collate=lambda rows: {"x": torch.tensor(rows)[:, None]},
        count=lambda batch: len(batch["x"]),
        loss=loss,
    )
    with pytest.raises(TrainingError, match="gradient's norm is nan"):
        loop.run_loop(job, LoopSettings(batch_size=2, epochs=1), parts)


def test_a_model_without_trainable_parameters_is_refused(tmp_path: Path, base: Path) -> None:
    frozen = torch.nn.Linear(1, 1).requires_grad_(False)
    parts = loop.LoopParts(
        model=frozen, rows=[1], lengths=[1], ids=["a"], collate=lambda rows: {}, count=len, loss=lambda *parts: parts[0]
    )
    with pytest.raises(TrainingError, match="no trainable parameter"):
        loop.run_loop(tiny_models.job(tmp_path, base, ()), LoopSettings(), parts)


def test_time_is_kept_and_the_schedule_runs_over_it(base: Path, tmp_path: Path) -> None:
    settings = {"epochs": 10_000, "max_seconds": 2.0, "schedule": "linear", "warmup": 0, "method": "full"}
    result = train(tmp_path, base, tiny_models.rows(8), settings=settings)
    assert 2.0 <= result.seconds < 10
    assert 1 < result.steps < 10_000
    assert result.log[-1]["learning_rate"] < result.log[0]["learning_rate"] / 3
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_patience(base: Path, tmp_path: Path) -> None:
    unlike = [tiny_models.row(90, "What comes after 3", "I do not say.")]
    settings = {"method": "full", "epochs": 200, "eval_every": 1, "patience": 3, "learning_rate": 0.02}
    result = train(tmp_path, base, tiny_models.rows(8), validation=unlike, settings=settings)
    assert result.steps < 200
    figures = [entry["validation_loss"] for entry in result.log if "validation_loss" in entry]
    assert result.best["loss"] == min(figures)
    assert result.best["step"] == result.steps - 3


def test_the_weights_that_are_kept_are_those_of_the_best_figure(base: Path, tmp_path: Path) -> None:
    unlike = [tiny_models.row(90, "What comes after 3", "I do not say.")]
    settings = {"method": "full", "epochs": 30, "eval_every": 1, "learning_rate": 0.02}
    result = train(tmp_path, base, tiny_models.rows(8), validation=unlike, settings=settings)
    assert result.best["step"] < result.steps
    model = load_causal(tmp_path / "model", dtype=torch.float32).eval()
    packed, _ = encode_rows(ChatEncoder(load_tokenizer(base)), unlike, "last")
    loss = trained_token_loss(model, pad_right(packed[:], 2), float(packed.trained))
    assert float(loss.detach()) == pytest.approx(result.best["loss"], abs=1e-6)


def test_the_log_reaches_the_job_and_the_journal(base: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, dict[str, float]]] = []
    result = train(
        tmp_path,
        base,
        validation=tiny_models.rows(3, 40),
        on_log=lambda step, values: heard.append((step, dict(values))),
    )
    lines = [json.loads(line) for line in (tmp_path / "work" / loop.JOURNAL).read_text().splitlines()]
    assert lines == list(result.log)
    assert [step for step, _ in heard] == [entry["step"] for entry in result.log]
    assert heard[0][1]["steps"] == result.steps
    assert any("validation_loss" in entry for entry in result.log)


def test_long_runs_keep_a_short_log(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_MOST_LOG_ENTRIES", 4)
    result = train(tmp_path, base, tiny_models.rows(8), settings={"epochs": 9, "accumulation": 1})
    assert [entry["step"] for entry in result.log] == [5, 10, 15, 18]
    assert all(0 < entry["loss"] < 10 for entry in result.log)


# --- The model folder ----------------------------------------------------------------------------------


def test_merged_lora_says_what_base_and_adapter_say(base: Path, tmp_path: Path) -> None:
    import warnings

    import peft

    train(tmp_path, base, settings={"keep_adapter": True, "epochs": 4})
    merged = load_causal(tmp_path / "model", dtype=torch.float32).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        adapted = peft.PeftModel.from_pretrained(
            load_causal(base, dtype=torch.float32), tmp_path / "model" / "adapter"
        ).eval()
    ids = torch.tensor([[1, 50, 60, 70, 2]])
    with torch.no_grad():
        one, other = merged(ids).logits, adapted(ids).logits
        plain = load_causal(base, dtype=torch.float32).eval()(ids).logits
    assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(one, plain, atol=1e-2)


def test_the_folder_is_an_ordinary_model(base: Path, tmp_path: Path) -> None:
    train(tmp_path, base)
    with quiet():
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**chat, max_new_tokens=3).shape[1] > chat["input_ids"].shape[1]
    assert model.generation_config.eos_token_id == [2]
    assert {path.suffix for path in (tmp_path / "model").iterdir()} <= {".json", ".safetensors", ".md", ".jinja"}


def test_the_contract_holds_what_decides_a_byte(base: Path, tmp_path: Path) -> None:
    train(tmp_path, base)
    contract = Contract.read(tmp_path / "model")
    assert contract.task == "sums"
    assert contract.method == "lora"
    assert contract.chat_template == tiny_models.CHATML
    assert contract.templates == {"sums/en/plain": "{{ q }}"}
    assert contract.stop_texts == ("<|im_end|>",)
    assert contract.decoder == "text"
    assert contract.encoding["max_length"] == 1024


def test_the_card_is_front_matter_and_facts(base: Path, tmp_path: Path) -> None:
    train(tmp_path, base, base=str(base / "deep" / "tiny-llama"))
    text = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "transformers"
    assert front["base_model"] == "tiny-llama"
    assert front["language"] == ["en"]
    for fact in ("Chat template", "Stop tokens", "Decoder", Contract.read(tmp_path / "model").sha256, "rows_trained"):
        assert fact in text
    assert str(tmp_path) not in text
    assert str(base) not in text


def test_equal_jobs_write_equal_folders(base: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        train(tmp_path / name, base, validation=tiny_models.rows(3, 40))
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / n / "model").iterdir()} for n in ("one", "other")
    )
    assert one == other
    train(tmp_path / "third", base, validation=tiny_models.rows(3, 40), seed=7)
    assert tiny_models.weights(tmp_path / "third" / "model") != one["model.safetensors"]


def test_a_pickle_does_not_get_into_a_model_folder(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"training_args\.bin"):
        write_model_folder(tmp_path / "model", lambda out: (out / "training_args.bin").write_bytes(b"x") and None)
    assert not (tmp_path / "model").exists()


def test_a_model_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        write_model_folder(tmp_path / "model", lambda out, name=name: (out / f"{name}.json").write_text("{}") and None)
    assert [path.name for path in tmp_path.rglob("*.json")] == ["new.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_few_rows_are_enough(rows: int, base: Path, tmp_path: Path) -> None:
    assert train(tmp_path, base, tiny_models.rows(rows), settings={"epochs": 1}).steps == 1


def test_turns_before_the_last_are_trained_where_asked(base: Path, tmp_path: Path) -> None:
    (row,) = tiny_models.rows(1)
    earlier = (Message(role="user", content="Hello"), Message(role="assistant", content="Hello to you."))
    chat = evolve(row, messages=(*earlier, *row.messages))
    counts = [
        train(tmp_path / which, base, [chat], settings={"train": which, "epochs": 1}).counts["tokens_trained"]
        for which in ("last", "all")
    ]
    assert counts[1] > counts[0]


def test_lora_targets_that_the_model_lacks(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lora_targets"):
        train(tmp_path, base, settings={"lora_targets": ["no_such_layer"]})


def test_a_date_stays_that_of_the_first_run(base: Path, tmp_path: Path) -> None:
    path = tiny_models.llama(tmp_path / "base")
    (path / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}" + tiny_models.CHATML)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "pinned.json").write_text('{"date": "2001-02-03"}')
    train(tmp_path, path, settings={"epochs": 1})
    assert Contract.read(tmp_path / "model").pinned["date"] == "2001-02-03"
    train(tmp_path, path, settings={"epochs": 1, "date": "2002-02-03"})
    assert Contract.read(tmp_path / "model").pinned["date"] == "2002-02-03"


def test_a_broken_model_folder_is_not_taken_for_a_finished_one(base: Path, tmp_path: Path) -> None:
    train(tmp_path, base, settings={"epochs": 1})
    (tmp_path / "model" / "contract.json").unlink()
    with pytest.raises(ContractMismatchError):
        Contract.read(tmp_path / "model")
    train(tmp_path, base, settings={"epochs": 1})
    assert Contract.read(tmp_path / "model").task == "sums"


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", "2"), ("ACCELERATE_USE_FSDP", "true")])
def test_several_processes_are_refused(
    name: str, value: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would train alone and write the same folder."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"in parallel .{name}={value}"):
        train(tmp_path, base)
    assert not (tmp_path / "model").exists()
