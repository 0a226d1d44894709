"""A run from raw files to a report, by the command line, with tiny models made on the spot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from heads_kit import save_tiny_bert
from tiny_models import llama

from instructforge.cli import main

PAIRS = [
    ("The shop opens at nine.", "The shop is open at ten.", "entailment"),
    ("The shop opens at nine.", "The shop never opens.", "contradiction"),
    ("The shop opens at nine.", "The shop sells bread.", "neutral"),
    ("Two dogs run on the beach.", "Animals are on the beach.", "entailment"),
    ("Two dogs run on the beach.", "The dogs are asleep at home.", "contradiction"),
    ("Two dogs run on the beach.", "The dogs belong to Anna.", "neutral"),
]


def tsv(path: Path, copies: int) -> Path:
    lines = ["premise\thypothesis\tlabel"]
    lines += [f"{one} ({n})\t{two}\t{label}" for n in range(copies) for one, two, label in PAIRS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    train, test = tsv(folder / "train.tsv", 6), tsv(folder / "test.tsv", 2)
    call("build", folder / "run", "--task", "nli", "--train", train, "--test", test, "--set", "build.shard_rows=10")
    return folder / "run"


@pytest.fixture(scope="module")
def trained(built: Path) -> Path:
    model = save_tiny_bert(built.parent / "bert")
    call(
        "train", built, "--model", model, "--set", "train.settings.epochs=1", "--set", "train.settings.max_unknown=1.0"
    )
    return built


def test_build_prints_a_ledger_that_adds_up(built: Path) -> None:
    totals = json.loads((built / "ledger.json").read_text())["totals"]
    assert totals["read"] == totals["built"] == 48
    again = call(
        "build", built, "--task", "nli", "--train", built.parent / "train.tsv", "--test", built.parent / "test.tsv",
        "--set", "build.shard_rows=10", "--json",
    )  # fmt: skip
    assert json.loads(again.stdout)["ledger"]["totals"] == totals


def test_a_trained_run_predicts_and_reports(trained: Path) -> None:
    call("predict", trained)
    lines = (trained / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12
    assert {json.loads(line)["answer"] for line in lines} <= {"entailment", "neutral", "contradiction"}
    report = json.loads(call("evaluate", trained, "--json").stdout)["report"]
    assert report["metrics"]["accuracy"]["n"] == 12
    assert "<html" in (trained / "report.html").read_text(encoding="utf-8")


def test_training_again_is_not_done_again(trained: Path) -> None:
    before = (trained / "model" / "model.safetensors").stat().st_mtime_ns
    assert "done before" in call("train", trained).stderr
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_raw_rows_are_answered_and_bad_ones_kept_apart(trained: Path, tmp_path: Path) -> None:
    rows = [{"premise": "It rains.", "hypothesis": "It is wet."}, {"premise": "It rains.", "hypothesis": ""}]
    raw = tmp_path / "raw.jsonl"
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = call("predict", trained, "--input", raw, "--output", tmp_path / "answers.jsonl")
    assert len((tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert "could not be read" in said.stderr
    (bad,) = (tmp_path / "answers.quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(bad)["field"] == "hypothesis"


def test_stale_predictions_are_not_scored(trained: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    call("predict", copy)
    call("build", copy, "--task", "nli", "--train", trained.parent / "train.tsv", "--test", tsv(tmp_path / "t.tsv", 1))
    for stage in ("evaluate", "predict"):
        assert "earlier build" in call(stage, copy, code=2).output
    call("train", copy)
    assert "of another build" in call("evaluate", copy, code=2).output
    call("predict", copy)
    assert json.loads(call("evaluate", copy, "--json").stdout)["report"]["metrics"]["accuracy"]["n"] == 6


def test_a_stage_that_fails_leaves_the_recipe_as_it_was(trained: Path) -> None:
    before = (trained / "recipe.json").read_bytes()
    call("train", trained, "--set", "train.settings.epoch=1", code=2)
    call("predict", trained, "--split", "vali", code=2)
    assert (trained / "recipe.json").read_bytes() == before


def test_raw_rows_may_have_columns_of_their_own(trained: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw.tsv"
    raw.write_text("eins\tzwei\nIt rains.\tIt is wet.\n", encoding="utf-8")
    columns = ("--column", "premise=eins", "--column", "hypothesis=zwei")
    call("predict", trained, "--input", raw, "--output", tmp_path / "out.jsonl", *columns)
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert "eins" not in (trained / "recipe.json").read_text(encoding="utf-8")


def test_mistakes_of_later_stages_are_found_before_any_work(built: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "typo.yaml"
    head = f"task: nli\ndata: {{train: {built.parent / 'train.tsv'}}}\nmodel: {save_tiny_bert(tmp_path / 'bert')}\n"
    recipe.write_text(head + "train: {settings: {epoch: 1}}\n", encoding="utf-8")
    assert 'Did you mean "epochs"?' in call("run", recipe, tmp_path / "run", code=2).output
    recipe.write_text(head + "evaluate: {gates: {acuracy: 1}}\n", encoding="utf-8")
    assert 'Did you mean "accuracy"?' in call("run", recipe, tmp_path / "run", code=2).output
    recipe.write_text(head + "build: {per_example: 0, max_bad: -1}\n", encoding="utf-8")
    said = call("run", recipe, tmp_path / "run", code=2).output
    assert "per_example is 0" in said
    assert "max_bad is -1" in said
    assert not (tmp_path / "run").exists()


def test_a_missed_gate_ends_with_1(trained: Path) -> None:
    call("predict", trained)
    missed = call("evaluate", trained, "--set", "evaluate.gates={accuracy: 1.1}", code=1)
    assert "gate missed: accuracy" in missed.stderr
    call("evaluate", trained, "--set", "evaluate.gates={accuracy: 0.0}")


def test_another_tokenizer_in_the_model_folder_is_refused(trained: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    file = copy / "model" / "tokenizer.json"
    value = json.loads(file.read_text(encoding="utf-8"))
    value["normalizer"] = None
    file.write_text(json.dumps(value), encoding="utf-8")
    refused = call("predict", copy, "--split", "train", code=1)
    assert "tokenizer_sha256" in refused.stderr


def test_a_causal_model_goes_the_same_way(built: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "causal.yaml"
    recipe.write_text(
        f"task: nli\ndata: {{train: {built.parent / 'train.tsv'}, test: {built.parent / 'test.tsv'}}}\n"
        f"model: {llama(tmp_path / 'llama', positions=2048)}\n"
        "train: {settings: {epochs: 1, method: full}}\npredict: {decoder: choice-likelihood}\n",
        encoding="utf-8",
    )
    call("run", recipe, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["metrics"]["accuracy"]["n"] == 12
    assert report["counts"]["undecoded"] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("build", "RUN", "--task", "nil", "--train", "x.tsv"), 2, 'Did you mean "nli"?'),
        (("build", "RUN", "--train", "x.tsv"), 2, "--task is missing"),
        (("build", "RUN", "--task", "nli"), 2, "names no data"),
        (("build", "RUN", "--task", "nli", "--train", "none.tsv"), 1, "none.tsv"),
        (("train", "NOWHERE"), 2, "no run folder"),
        (("build", "RUN", "--task", "nli", "--train", "x.tsv", "--language", "fr"), 1, "x.tsv"),
        (("evaluate", "NOWHERE"), 2, "no run folder"),
        (("run", "none.yaml"), 2, "cannot be read"),
        (("build", "RUN", "--task", "nli", "--train", "x", "--column", "premise"), 2, "KEY=VALUE"),
    ],
)
def test_wrong_usage_is_told_without_a_traceback(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    result = call(*(tmp_path / word if word in ("RUN", "NOWHERE") else word for word in words), code=code)
    assert said in result.output
    assert "Traceback" not in result.output


def test_training_before_building_names_the_way(built: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text((built / "recipe.json").read_text())
    assert "nothing was built" in call("train", tmp_path, "--model", save_tiny_bert(tmp_path / "bert"), code=2).output


@pytest.fixture
def many(trained: Path, tmp_path: Path) -> Path:
    """A run with enough rows for several chunks of predictions."""
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained, run)
    test = tsv(tmp_path / "test.tsv", 400)
    call("build", run, "--task", "nli", "--train", trained.parent / "train.tsv", "--test", test)
    call("train", run)
    return run


@pytest.mark.slow
def test_predictions_after_a_kill_are_the_same_bytes(many: Path) -> None:
    command = [sys.executable, "-m", "instructforge", "predict", str(many)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    path = many / "predictions.jsonl"
    path.unlink(missing_ok=True)
    process = subprocess.Popen(command, **quiet)
    deadline = time.monotonic() + 120
    while (not path.exists() or path.stat().st_size < 100) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with path.open("ab") as handle:
        handle.write(b'{"id": "torn')
    subprocess.run(command, check=True, **quiet)
    resumed = path.read_bytes()
    assert len(resumed.splitlines()) == 2400
    path.unlink()
    subprocess.run(command, check=True, **quiet)
    assert path.read_bytes() == resumed
