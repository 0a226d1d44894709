"""The trainer of encoder models: how choices are planned, read, fitted and trained, and how spans are."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge.contract import Contract
from instructforge.data import NO_ANSWER, SpanAnswer
from instructforge.errors import ConfigError, TrainingError
from instructforge.models.loading import load_tokenizer
from instructforge.tasks import Choice, Task
from instructforge.training.heads import probe
from instructforge.training.heads.inputs import ChoiceReader, sentences
from instructforge.training.heads.plan import ChoicePlan, plan_choices
from instructforge.training.heads.rows import split_rows
from instructforge.training.heads.settings import default_rate, encoder_settings
from instructforge.training.heads.span import SpanReader
from instructforge.training.heads.spans import ScoredWindow, best_spans, null_score
from instructforge.training.heads.trainer import EncoderTrainer
from instructforge.training.job import TrainingJob

pytestmark = pytest.mark.slow  # trains real, if tiny, models

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return load_tokenizer(base)


def job(base: Path, folder: Path, task: Task, rows: Any, **options: Any) -> TrainingJob:
    return TrainingJob(task=task, train=rows, model=base, out=folder / "model", work=folder / "work", settings=options)


# --- Plans ----------------------------------------------------------------------------------------------


def shared_set(rows: int, labels: int) -> list[Any]:
    choices = [f"c{number}" for number in range(labels)]
    return [
        instruction(
            MATCH_TASK, number, {"question": "what", "choices": random.Random(number).sample(choices, labels)}, ["c0"]
        )
        for number in range(rows)
    ]


@pytest.mark.parametrize(
    ("task", "rows", "kind"),
    [
        (LABEL_TASK, colour_rows(20), "label"),
        (PAIR_TASK, pair_rows(20), "contrast"),
        (PAIR_TASK, pair_rows(2000), "pair"),
        (MATCH_TASK, match_rows(20), "match"),
        (MATCH_TASK, shared_set(20, 5), "label"),
        (MATCH_TASK, shared_set(9, 5), "match"),
    ],
)
def test_the_way_to_answer_is_told_from_the_data(task: Task, rows: Any, kind: str) -> None:
    plan = plan_choices(task, rows)
    assert plan.kind == kind
    assert plan.reason
    assert ChoicePlan.from_json(json.loads(json.dumps(plan.to_json()))) == evolve(plan, notes=())


def test_a_pair_with_many_labels_is_a_text_in_two_parts() -> None:
    task = Task("t", summary="", fields={"a": "", "b": ""}, target=Choice([f"l{n}" for n in range(40)]))
    rows = [instruction(task, n, {"a": "x", "b": "y"}, [f"l{n}"]) for n in range(40)]
    assert plan_choices(task, rows).kind == "label"


def test_labels_keep_the_tasks_order_and_those_never_seen_are_named() -> None:
    rows = [row for row in colour_rows(40) if row.example.answers[0] != "green"]
    plan = plan_choices(LABEL_TASK, rows)
    assert plan.labels == COLOURS
    assert any('"green"' in note for note in plan.notes)


def test_one_label_that_is_nearly_all_is_noted() -> None:
    rows = [instruction(LABEL_TASK, n, {"text": "red"}, ["red" if n else "blue"]) for n in range(40)]
    assert any('"red" has 98% of the 40' in note for note in plan_choices(LABEL_TASK, rows).notes)


def test_a_way_that_does_not_exist_or_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match='Did you mean "match"'):
        plan_choices(MATCH_TASK, match_rows(4), wanted="mtch")
    with pytest.raises(TrainingError, match="reads two texts"):
        plan_choices(LABEL_TASK, colour_rows(4), wanted="pair")


def test_the_longest_field_is_the_passage_wherever_it_stands() -> None:
    task = Task(
        "t",
        summary="",
        fields={"context": "", "question": "", "choices": MATCH_TASK.fields["choices"]},
        target=MATCH_TASK.target,
    )
    rows = [
        instruction(task, n, {"context": "long " * 9, "question": "q", "choices": [str(n), "b"]}, ["b"])
        for n in range(4)
    ]
    assert plan_choices(task, rows).passage == "context"


# --- Readers --------------------------------------------------------------------------------------------


def test_a_pairs_masks_cover_its_texts_and_nothing_else(tokenizer: Any) -> None:
    plan = plan_choices(PAIR_TASK, pair_rows(4), wanted="pair")
    reader = ChoiceReader(tokenizer, plan, max_length=64)
    rows = [instruction(PAIR_TASK, 0, {"premise": "the red cup", "hypothesis": "红 猫"}, ["same"]), *pair_rows(1)]
    batch = reader.collate(reader.read(rows))
    assert tokenizer.decode(batch["input_ids"][0][batch["first_mask"][0] == 1]) == "the red cup"
    assert tokenizer.decode(batch["input_ids"][0][batch["second_mask"][0] == 1]) == "红 猫"
    assert (
        batch["input_ids"][0][batch["attention_mask"][0] == 1].tolist()
        == tokenizer("the red cup", "红 猫")["input_ids"]
    )
    typed = tokenizer("the red cup", "红 猫")["token_type_ids"]
    assert batch["token_type_ids"][0][: len(typed)].tolist() == typed
    assert batch["labels"].tolist()[0] == 0


def test_marks_that_stand_in_the_data_stay_text(tokenizer: Any) -> None:
    reader = ChoiceReader(tokenizer, plan_choices(LABEL_TASK, colour_rows(4)), max_length=64)
    (item,) = reader.read([instruction(LABEL_TASK, 0, {"text": "red [SEP] blue [CLS]"})])
    ids = item.texts[0]
    assert ids.count(tokenizer.sep_token_id) == 1
    assert ids.count(tokenizer.cls_token_id) == 1
    assert item.label == -1


def test_what_is_too_long_is_cut_at_the_longest_text_and_counted(tokenizer: Any) -> None:
    reader = ChoiceReader(tokenizer, plan_choices(PAIR_TASK, pair_rows(4), wanted="pair"), max_length=16)
    (item,) = reader.read([instruction(PAIR_TASK, 0, {"premise": "cup " * 30, "hypothesis": "red hat"}, ["same"])])
    assert len(item.texts[0]) == 16
    assert item.parts[1][1] - item.parts[1][0] == 2
    assert item.cut == 30 - (16 - 3 - 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=6), st.integers(8, 40))
def test_any_text_is_read_within_its_bounds(texts: list[str], longest: int) -> None:
    tokenizer = load_tokenizer(_tiny())
    fields = {f"f{number}": "" for number in range(len(texts))}
    task = Task("t", summary="", fields=fields, target=Choice([f"l{n}" for n in range(20)]))
    plan = ChoicePlan(kind="label", fields=tuple(fields), labels=tuple(task.target.labels({})))
    reader = ChoiceReader(tokenizer, plan, max_length=longest)
    (item,) = reader.read([instruction(task, 0, dict(zip(fields, texts, strict=True)), ["l3"])])
    assert len(item.texts[0]) <= max(longest, 2 + len(texts))
    assert item.label == 3
    assert all(start <= end for start, end in item.parts)


def _tiny() -> Path:
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"instructforge-tiny-bert-{os.getpid()}"
    return folder if (folder / "tokenizer.json").exists() else save_tiny_bert(folder)


def test_sentences_are_found_in_both_languages() -> None:
    assert sentences("今天下雨。我们走吧！Really? Yes") == ["今天下雨。", "我们走吧！", "Really?", "Yes"]
    assert sentences("  \n ") == []


# --- Rows -----------------------------------------------------------------------------------------------


def test_rows_are_set_apart_by_group_whatever_their_order(tmp_path: Path) -> None:
    rows = [evolve(row, example=evolve(row.example, group=f"g{n // 4}")) for n, row in enumerate(colour_rows(200))]
    first = split_rows(job(tmp_path, tmp_path, LABEL_TASK, rows), share=0.1, most=1000)
    again = split_rows(job(tmp_path, tmp_path, LABEL_TASK, rows[::-1]), share=0.1, most=1000)
    assert {row.id for row in first.validation} == {row.id for row in again.validation}
    assert not {row.example.group for row in first.validation} & {row.example.group for row in first.train}
    assert 18 <= len(first.validation) <= 24
    assert first.own


def test_rows_that_teach_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = colour_rows(20)
    twice = [evolve(rows[0], template=name, example=evolve(rows[0].example, id=f"twice#{name}")) for name in ("a", "b")]
    rows = [*rows[1:], *twice, instruction(LABEL_TASK, 99, {"text": "red"})]
    split = split_rows(job(tmp_path, tmp_path, LABEL_TASK, rows), share=0.1, most=1000)
    assert split.left_out == {"same-example": 1, "unlabelled": 1}
    assert split.validation == ()
    assert "too few" in split.notes[0]


def test_nothing_labelled_is_refused(base: Path, tmp_path: Path) -> None:
    rows = [instruction(LABEL_TASK, 0, {"text": "red"})]
    with pytest.raises(TrainingError, match="None of the 1 rows has an answer"):
        EncoderTrainer().train(job(base, tmp_path, LABEL_TASK, rows))


# --- Features -------------------------------------------------------------------------------------------


def test_a_linear_head_finds_what_is_linear_and_is_the_same_each_time() -> None:
    torch.manual_seed(0)
    truth = torch.randn(3, 8)
    features = torch.randn(300, 8)
    labels = (features @ truth.T).argmax(-1)
    one, two = (probe.fit_linear(features, labels, classes=3, penalty=1e-5) for _ in range(2))
    assert (one.logits(features).argmax(-1) == labels).float().mean() > 0.99
    assert torch.equal(one.weight, two.weight)


def test_weights_of_views_stay_at_the_prior_under_a_heavy_penalty() -> None:
    views = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.2]])]
    prior = torch.tensor([0.0, 1.0])
    held = probe.fit_weights(views, [0, 0], prior=prior, penalty=1e6)
    free = probe.fit_weights(views, [0, 0], prior=prior, penalty=1e-3)
    assert torch.allclose(held, prior, atol=1e-3)
    assert free[0] > free[1]


def test_features_that_were_written_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_PART", 8)
    texts = [[1] * (1 + number % 5) for number in range(30)]
    asked: list[int] = []

    def embed(places: list[int]) -> torch.Tensor:
        asked.extend(places)
        if len(asked) > 20 and len(asked) <= 24:
            raise KeyboardInterrupt
        return torch.tensor([[float(place)] for place in places])

    with pytest.raises(KeyboardInterrupt):
        probe.cached_features([len(text) for text in texts], embed, folder=tmp_path, batch_size=4)
    done = len(list(tmp_path.glob("features-*.safetensors"))) * 8
    asked.clear()
    asked.extend(range(24))
    found = probe.cached_features([len(text) for text in texts], embed, folder=tmp_path, batch_size=4)
    assert len(asked) - 24 == 30 - done
    assert done == 16
    assert found.squeeze(1).tolist() == [float(number) for number in range(30)]


# --- Spans ----------------------------------------------------------------------------------------------

_score = st.floats(-20, 20, width=32)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(st.lists(_score, min_size=n, max_size=n), st.lists(_score, min_size=n, max_size=n))
    ),
    st.integers(1, 6),
)
def test_the_best_span_is_the_best_of_all(scores: tuple[list[float], list[float]], longest: int) -> None:
    starts, ends = scores
    passage = "".join(f"{number % 10} " for number in range(len(starts)))
    offsets: list[tuple[int, int] | None] = [None, *[(2 * n, 2 * n + 1) for n in range(len(starts))], None]
    window = ScoredWindow(start=np.array([1.0, *starts, 99.0]), end=np.array([2.0, *ends, 99.0]), offsets=offsets)
    spans = best_spans([window], passage, n_best=5, max_answer_tokens=longest)
    every = [
        (starts[i] + ends[j], (2 * i, 2 * j + 1))
        for i in range(len(starts))
        for j in range(i, min(len(starts), i + longest))
    ]
    assert spans[0].score == pytest.approx(max(score for score, _ in every))
    assert [span.score for span in spans] == sorted((span.score for span in spans), reverse=True)
    assert len(spans) == min(5, len(every))
    assert len({(span.start, span.end) for span in spans}) == len(spans)
    assert null_score([window]) == 3.0


def test_a_span_in_two_windows_is_listed_once_with_its_better_score() -> None:
    offsets: list[tuple[int, int] | None] = [None, (0, 3), None]
    windows = [
        ScoredWindow(start=np.array([0.0, score, 0.0]), end=np.array([0.0, score, 0.0]), offsets=offsets)
        for score in (1.0, 2.0)
    ]
    assert [(span.start, span.end, span.score) for span in best_spans(windows, "红茶。")] == [(0, 3, 4.0)]


def test_spaces_at_a_spans_ends_are_left_off() -> None:
    window = ScoredWindow(start=np.array([0.0, 1.0]), end=np.array([0.0, 1.0]), offsets=[None, (0, 5)])
    assert [(span.start, span.end) for span in best_spans([window], " red ")] == [(1, 4)]


def test_a_row_whose_answer_fits_no_window_is_not_trained_as_unanswerable(base: Path, tmp_path: Path) -> None:
    rows = span_rows(12)
    context = "red " * 60
    rows.append(instruction(SPAN_TASK, 90, {"question": "what", "context": context}, [SpanAnswer(context.strip(), 0)]))
    rows.append(instruction(SPAN_TASK, 91, {"question": "the " * 70, "context": "red"}, [SpanAnswer("red", 0)]))
    result = EncoderTrainer().train(job(base, tmp_path, SPAN_TASK, rows, max_length=40, stride=8, max_steps=1))
    assert result.counts["left_out_answer-in-no-window"] == 1
    assert result.counts["left_out_too-long"] == 1
    assert result.counts["train"] == 12


def test_windows_are_collated_with_their_labels(tokenizer: Any) -> None:
    reader = SpanReader(tokenizer, fields=("question", "context"), within="context", max_length=64, stride=8)
    rows = span_rows(8)
    windows = [window for item in reader.read(rows, labelled=True) for window in item.windows]
    batch = reader.collate(windows)
    for number, row in enumerate(rows):
        answer = row.example.answers[0]
        ids = batch["input_ids"][number, batch["start_positions"][number] : batch["end_positions"][number] + 1]
        expected = "[CLS]" if answer == NO_ANSWER else answer.text
        assert tokenizer.decode(ids) == expected


# --- Training -------------------------------------------------------------------------------------------

CASES = {
    "label": (LABEL_TASK, colour_rows, {}),
    "label-tuned": (LABEL_TASK, colour_rows, {"fine_tune": True, "epochs": 1, "learning_rate": 1e-3}),
    "pair": (PAIR_TASK, pair_rows, {"head": "pair", "epochs": 2, "learning_rate": 3e-3}),
    "contrast": (PAIR_TASK, pair_rows, {}),
    "match": (MATCH_TASK, match_rows, {"epochs": 1, "learning_rate": 1e-3}),
    "span": (SPAN_TASK, span_rows, {"epochs": 1, "learning_rate": 3e-3}),
}


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize("case", CASES)
def test_the_same_job_gives_the_same_bytes_and_a_folder_that_anyone_opens(
    case: str, base: Path, tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoModelForQuestionAnswering, AutoTokenizer

    task, make, options = CASES[case]
    results = [EncoderTrainer().train(job(base, tmp_path / name, task, make(80), **options)) for name in ("one", "two")]
    one, two = tmp_path / "one" / "model", tmp_path / "two" / "model"
    assert weights(one) == weights(two)
    assert results[0].log == results[1].log
    assert {path.suffix for path in one.iterdir()} <= {".json", ".safetensors", ".md"}
    contract = Contract.read(one)
    assert (contract.family, contract.head, contract.task) == ("encoder", task.target.head, task.name)
    assert contract.decoder == task.target.head_decoder
    opened = AutoModelForQuestionAnswering if case == "span" else AutoModel
    _, report = opened.from_pretrained(one, output_loading_info=True)
    assert not report["missing_keys"]
    assert AutoTokenizer.from_pretrained(one)("red")["input_ids"]
    assert sum(value for key, value in results[0].counts.items() if key in ("train", "validation")) == 80


def test_a_job_that_is_done_is_not_done_again(base: Path, tmp_path: Path) -> None:
    plan = job(base, tmp_path, LABEL_TASK, colour_rows(60))
    before = EncoderTrainer().train(plan)
    touched = (tmp_path / "model" / "contract.json").stat().st_mtime_ns
    assert EncoderTrainer().train(plan) == before
    assert (tmp_path / "model" / "contract.json").stat().st_mtime_ns == touched
    EncoderTrainer().train(evolve(plan, train=colour_rows(61)))
    assert (tmp_path / "model" / "contract.json").stat().st_mtime_ns != touched


def test_features_alone_are_kept_where_fine_tuning_harms(base: Path, tmp_path: Path) -> None:
    rows = colour_rows(200)
    alone = EncoderTrainer().train(job(base, tmp_path / "alone", LABEL_TASK, rows))
    harmed = EncoderTrainer().train(
        job(base, tmp_path / "harmed", LABEL_TASK, rows, fine_tune=True, epochs=1, learning_rate=5.0, clip=0)
    )
    assert any("kept these" in notice for notice in harmed.notices)
    assert weights(tmp_path / "alone" / "model") == weights(tmp_path / "harmed" / "model")
    assert harmed.best == alone.best


def test_validation_rows_of_the_job_are_never_trained_on(base: Path, tmp_path: Path) -> None:
    rows, others = colour_rows(60), colour_rows(40, seed=5)
    shifted = [evolve(row, example=evolve(row.example, answers=("red",))) for row in others]
    plan = job(base, tmp_path / "a", LABEL_TASK, rows)
    result = EncoderTrainer().train(evolve(plan, validation=shifted))
    assert (result.counts["train"], result.counts["validation"]) == (60, 40)
    assert result.best["accuracy"] < 0.6


def test_frozen_embeddings_stay_as_they_are(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    EncoderTrainer().train(job(base, tmp_path, PAIR_TASK, pair_rows(64), head="pair", epochs=1))
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(name.startswith(("embeddings", "pooler")) for name in moved)


@pytest.mark.parametrize("options", [{"epochz": 1}, {"learning_rate": -1}, {"head": 3}])
def test_wrong_options_are_refused_before_anything_is_loaded(
    options: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError):
        EncoderTrainer().train(job(base, tmp_path, LABEL_TASK, colour_rows(20), **options))
    assert not (tmp_path / "model").exists()


def test_text_that_the_tokenizer_does_not_know_is_refused_with_the_figure(base: Path, tmp_path: Path) -> None:
    rows = [instruction(LABEL_TASK, n, {"text": "天气很好吗"}, ["red"]) for n in range(20)]
    with pytest.raises(TrainingError, match=r"100\.0%"):
        EncoderTrainer().train(job(base, tmp_path, LABEL_TASK, rows))


def test_defaults_know_the_model_and_the_head() -> None:
    pair = encoder_settings({"epochs": None}, kind="pair", width=384, longest=512)
    label = encoder_settings({}, kind="label", width=768, longest=128)
    assert (pair.learning_rate, pair.batch_size, pair.max_length) == (2e-4, 32, 256)
    assert label.max_length == 128
    assert label.learning_rate == default_rate("label", 768) == 3e-6


def test_time_that_features_have_used_up_leaves_the_body_alone(base: Path, tmp_path: Path) -> None:
    result = EncoderTrainer().train(job(base, tmp_path, LABEL_TASK, colour_rows(60), max_seconds=0.01))
    assert result.steps == 0
    assert any("was used up" in notice for notice in result.notices)


# --- Crash and resume (P4) --------------------------------------------------------------------------------

_RUN = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
import attrs
import torch
torch.set_num_threads(1)
import test_training_heads as own
from instructforge.training.heads import probe
probe._PART = 64
case, base, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
folder.mkdir(exist_ok=True)
task, make, options = own.CASES[case]
options = {{**options, "save_every": 1}}
if "epochs" in options:
    options["epochs"] = 3

def on_log(step, values):
    with (folder / "marks").open("a") as handle:
        handle.write("*")

plan = own.job(base, folder, task, make(160), **options)
own.EncoderTrainer().train(attrs.evolve(plan, on_log=on_log))
"""


def _train_apart(case: str, base: Path, folder: Path, *, kill_at: int | None = None) -> bool:
    """Train in a process of its own, killed once it has logged ``kill_at`` times; tell whether it was killed."""
    code = _RUN.format(tests=str(Path(__file__).parent), root=str(ROOT))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    marks = folder / "marks"
    marks.unlink(missing_ok=True)
    command = [sys.executable, "-c", code, case, str(base), str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
        while kill_at is not None and process.poll() is None:
            if marks.is_file() and len(marks.read_text()) >= kill_at:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.002)
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [*(pytest.param(case, marks=pytest.mark.bar) for case in ("label-tuned", "pair", "match")), "span"]
)
def test_a_killed_run_ends_with_the_bytes_of_an_unbroken_one(case: str, base: Path, tmp_path: Path) -> None:
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert not _train_apart(case, base, unbroken)
    logged = len((unbroken / "marks").read_text())
    draw = random.Random(case)
    kills = [_train_apart(case, base, killed, kill_at=draw.randint(1, max(1, logged // 3))) for _ in range(4)]
    assert any(kills)
    assert not _train_apart(case, base, killed)
    assert weights(killed / "model") == weights(unbroken / "model")
    for name in ("contract.json", "config.json", "tokenizer.json"):
        assert (killed / "model" / name).read_bytes() == (unbroken / "model" / name).read_bytes()


# --- Real models and data --------------------------------------------------------------------------------


def _starter(name: str) -> Path:
    from instructforge.models import cache_folder

    folder = cache_folder() / name
    if not (folder / "config.json").is_file():
        pytest.skip(f"the starter model {name} is not in the cache; fetch it with: instructforge models fetch {name}")
    return folder


def _data() -> Path:
    folder = os.environ.get("INSTRUCTFORGE_DATA")
    if not folder:
        pytest.skip("INSTRUCTFORGE_DATA is not set: it names the folder of the real data sets")
    return Path(folder)


@pytest.fixture
def baselines(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import baselines

    return baselines


@pytest.mark.bar
@pytest.mark.data
@pytest.mark.models
@pytest.mark.parametrize("bar", ["banking77", "squad-overfit"])
def test_bars_of_real_data_are_reached(bar: str, baselines: Any) -> None:
    found = baselines.run(bar, _data(), _starter("minilm"))
    assert found["value"] >= found["least"]


@pytest.mark.slow
@pytest.mark.models
def test_choices_are_matched_above_chance_without_training_and_better_with() -> None:
    from instructforge.decoders import ChoiceScoresDecoder
    from instructforge.engines import open_engine

    topics = {
        "money": ["My salary was paid late.", "The bank raised its fees.", "I lost my wallet with all the cash."],
        "weather": ["It rained all week.", "A storm is coming.", "The snow melted early."],
        "food": ["The soup was too salty.", "She baked a loaf of bread.", "We ordered noodles."],
        "sport": ["The striker scored twice.", "He ran a marathon.", "They won the match."],
    }
    draw = random.Random(0)
    rows = []
    for number, (topic, text) in enumerate((topic, text) for topic, texts in topics.items() for text in texts):
        choices = [f"{name} and things like it" for name in draw.sample(sorted(topics), 4)]
        right = next(choice for choice in choices if choice.startswith(topic))
        rows.append(instruction(MATCH_TASK, number, {"question": text, "context": "", "choices": choices}, [right]))
    outputs = list(open_engine(_starter("minilm"), task=MATCH_TASK).outputs(rows, "label_scores"))
    found = ChoiceScoresDecoder().decode(outputs, rows, MATCH_TASK)
    assert sum(one.answer == row.example.answers[0] for one, row in zip(found, rows, strict=True)) >= 8  # chance: 3


@pytest.mark.slow
@pytest.mark.models
def test_chinese_passages_are_read_by_a_model_without_token_types(tmp_path: Path) -> None:
    from instructforge.engines import open_engine

    # Answers that end where the tokenizer's pieces end: "在北京" is one piece of its vocabulary.
    passage = "小明家在南京，他的猫叫花花。小红去了上海，她的狗叫豆豆。"
    asked = [
        ("小明家在哪里？", "南京"),
        ("小红的狗叫什么？", "豆豆"),
        ("谁去了上海？", "小红"),
        ("猫叫什么名字？", "花花"),
    ]
    rows = [
        instruction(
            SPAN_TASK, number, {"question": question, "context": passage}, [SpanAnswer(text, passage.index(text))]
        )
        for number, (question, text) in enumerate(asked)
    ]
    options = {"epochs": 100, "max_steps": 100, "batch_size": 4, "learning_rate": 2e-4, "validation_share": 0}
    EncoderTrainer().train(job(_starter("me5-small"), tmp_path, SPAN_TASK, rows, **options))
    outputs = list(open_engine(tmp_path / "model").outputs(rows, "spans"))
    found = [passage[output.spans[0].start : output.spans[0].end] for output in outputs if output.spans]
    assert found == [text for _, text in asked]
