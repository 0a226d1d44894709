"""P4, crash equals no crash: training that is killed and called again ends with the bytes of an unbroken run."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file

from instructforge.training import checkpoints
from instructforge.training.causal import CausalTrainer
from instructforge.training.loop import JOURNAL

pytestmark = pytest.mark.slow  # trains real, if tiny, models

SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
import tiny_models
from instructforge.training.causal import CausalTrainer

folder, model, method, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
marks = folder / "marks"

def train():
    tiny_models.one_thread()
    def on_log(step, values):
        with marks.open("a") as handle:
            handle.write("*")
    job = tiny_models.job(folder, model, tiny_models.rows(26), validation=tiny_models.rows(6, 40), on_log=on_log,
        settings={"method": method, "epochs": 12, "save_every": 3, "eval_every": 5})
    CausalTrainer().train(job)

def spawn():
    child = os.fork()  # the libraries are imported once, here; torch has done no work yet
    if child == 0:
        try:
            train()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return child

folder.mkdir(parents=True, exist_ok=True)
for entries, more_s in kills:
    marks.write_text("")
    child = spawn()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if len(marks.read_text()) >= entries:
            time.sleep(more_s)
            os.kill(child, signal.SIGKILL)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), (folder / "model").exists())
            break
marks.write_text("")
status = os.waitstatus_to_exitcode(os.waitpid(spawn(), 0)[1])
marks.unlink()
sys.exit(status)
"""


def run(folder: Path, model: Path, method: str, kills: Sequence[tuple[int, float]] = ()) -> list[str]:
    """Train in processes of their own that are killed, each after so many log entries and seconds, then in one that
    is not; return what became of the killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), str(model), method, json.dumps(list(kills))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_equal_runs(one: Path, other: Path) -> None:
    assert files_of(one / "model") == files_of(other / "model")
    assert (one / "work" / JOURNAL).read_bytes() == (other / "work" / JOURNAL).read_bytes()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("base"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_at_three_moments_of_which_one_is_in_another_epoch(method: str, model: Path, tmp_path: Path) -> None:
    run(tmp_path / "whole", model, method)
    killed = run(tmp_path / "torn", model, method, [(4, 0.0), (6, 0.0), (5, 0.0)])
    assert killed == [f"-{signal.SIGKILL.value} False"] * 3
    assert_equal_runs(tmp_path / "torn", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_twenty_random_moments(model: Path, tmp_path: Path) -> None:
    draw = random.Random(20)
    run(tmp_path / "whole", model, "lora")
    killed = run(tmp_path / "torn", model, "lora", [(draw.randint(0, 4), draw.random() * 0.3) for _ in range(20)])
    assert len(killed) >= 10
    assert_equal_runs(tmp_path / "torn", tmp_path / "whole")


class Killed(Exception):
    """Stands for a crash, where a process of its own would only cost time."""


def broken_run(folder: Path, model: Path, at: int, **settings: object) -> None:
    def on_log(step: int, values: object) -> None:
        if step >= at:
            raise Killed

    with pytest.raises(Killed):
        CausalTrainer().train(job(folder, model, on_log=on_log, **settings))


def job(folder: Path, model: Path, on_log: object = None, **settings: object) -> tiny_models.TrainingJob:
    tiny_models.one_thread()
    more = {"on_log": on_log} if on_log else {}
    options = {"method": "full", "epochs": 3, "save_every": 2, **settings}
    return tiny_models.job(folder, model, tiny_models.rows(20), settings=options, **more)


@pytest.fixture(scope="module")
def unbroken(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    CausalTrainer().train(job(folder, model))
    return folder


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 7, 9])
def test_an_error_at_any_step_changes_no_byte(at: int, model: Path, unbroken: Path, tmp_path: Path) -> None:
    broken_run(tmp_path, model, at)
    result = CausalTrainer().train(job(tmp_path, model))
    assert result.steps == 9
    assert tiny_models.weights(tmp_path / "model") == tiny_models.weights(unbroken / "model")


def test_how_often_checkpoints_are_written_changes_no_byte(model: Path, unbroken: Path, tmp_path: Path) -> None:
    broken_run(tmp_path, model, 5, save_every=1)
    CausalTrainer().train(job(tmp_path, model, save_every=4))
    assert tiny_models.weights(tmp_path / "model") == tiny_models.weights(unbroken / "model")


def newest(folder: Path) -> Path:
    return max((folder / "work").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def test_a_torn_checkpoint_is_passed_over_and_said_so(model: Path, unbroken: Path, tmp_path: Path) -> None:
    broken_run(tmp_path, model, 5)
    (newest(tmp_path) / checkpoints.MARKER).unlink()
    result = CausalTrainer().train(job(tmp_path, model))
    assert any("incomplete" in notice for notice in result.notices)
    assert tiny_models.weights(tmp_path / "model") == tiny_models.weights(unbroken / "model")


def test_a_checkpoint_with_one_other_byte_does_not_count(model: Path, unbroken: Path, tmp_path: Path) -> None:
    broken_run(tmp_path, model, 5)
    path = newest(tmp_path) / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    result = CausalTrainer().train(job(tmp_path, model))
    assert any("passed over" in notice for notice in result.notices)
    assert tiny_models.weights(tmp_path / "model") == tiny_models.weights(unbroken / "model")


def test_checkpoints_of_another_run_do_not_count(model: Path, tmp_path: Path) -> None:
    broken_run(tmp_path, model, 5)
    result = CausalTrainer().train(job(tmp_path, model, learning_rate=1e-3))
    assert any("other data, model or options" in notice for notice in result.notices)
    assert result.log[0]["step"] == 1


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "scheduler.pt", "training_args.bin"])
def test_a_pickle_in_a_checkpoint_is_never_opened(name: str, model: Path, unbroken: Path, tmp_path: Path) -> None:
    broken_run(tmp_path, model, 5)
    path, proof = newest(tmp_path), tmp_path / "executed"
    (path / name).write_bytes(pickle.dumps(Payload(proof)))
    marker = json.loads((path / checkpoints.MARKER).read_text())
    marker["files"][name] = checkpoints._flushed_sha256(path / name)
    (path / checkpoints.MARKER).write_text(json.dumps(marker))  # the attacker knows the format
    assert checkpoints.is_complete(path)
    CausalTrainer().train(job(tmp_path, model))
    assert not proof.exists()
    assert tiny_models.weights(tmp_path / "model") == tiny_models.weights(unbroken / "model")


def test_checkpoints_and_the_model_folder_hold_no_pickle(model: Path, tmp_path: Path) -> None:
    broken_run(tmp_path, model, 5)
    CausalTrainer().train(job(tmp_path / "done", model))
    seen = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "optimizer.safetensors" for path in seen)
    for path in seen:
        head = path.read_bytes()[:2]
        assert head != b"PK", path  # torch.save writes zip files
        assert not head.startswith(b"\x80"), path  # a bare pickle


def test_a_finished_training_is_not_repeated(model: Path, tmp_path: Path) -> None:
    first = CausalTrainer().train(job(tmp_path, model))
    written = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    second = CausalTrainer().train(job(tmp_path, model))
    assert (second.steps, second.log, second.counts) == (first.steps, first.log, first.counts)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == written
    assert not list((tmp_path / "work").glob("checkpoint-*"))


def test_the_best_weights_survive_a_crash(model: Path, tmp_path: Path) -> None:
    """The best are of an early step, the crash comes later: the resumed run still has them."""
    settings = {"method": "full", "epochs": 30, "save_every": 7, "eval_every": 1, "learning_rate": 0.02}
    unlike = [tiny_models.row(90 + number, "What comes after 3", "I do not say.") for number in range(4)]

    def make(folder: Path, on_log: object = None) -> tiny_models.TrainingJob:
        more = {"on_log": on_log} if on_log else {}
        return tiny_models.job(folder, model, tiny_models.rows(8), validation=unlike, settings={**settings}, **more)

    whole = CausalTrainer().train(make(tmp_path / "whole"))
    assert 0 < whole.best["step"] < whole.steps

    def on_log(step: int, values: object) -> None:
        if step > whole.best["step"]:
            raise Killed

    with pytest.raises(Killed):
        CausalTrainer().train(make(tmp_path / "torn", on_log))
    assert CausalTrainer().train(make(tmp_path / "torn")).best == whole.best
    assert tiny_models.weights(tmp_path / "torn" / "model") == tiny_models.weights(tmp_path / "whole" / "model")


def test_weights_move(model: Path, unbroken: Path) -> None:
    before, after = load_file(model / "model.safetensors"), load_file(unbroken / "model" / "model.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in before)
