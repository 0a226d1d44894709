"""P4, crash equals no crash: training that is killed and called again ends with the bytes of an unbroken run."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file

from instructforge.training import checkpoints
from instructforge.training.causal import CausalTrainer
from instructforge.training.loop import JOURNAL

SCRIPT = """
import sys
from pathlib import Path
import tiny_models
from instructforge.training.causal import CausalTrainer
tiny_models.one_thread()
folder, model, method, marks = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
def on_log(step, values):
    with marks.open("a") as handle:
        handle.write(f"{step}\\n")
job = tiny_models.job(folder, model, tiny_models.rows(26), validation=tiny_models.rows(6, 40), on_log=on_log,
    settings={"method": method, "epochs": 12, "save_every": 3, "eval_every": 5})
CausalTrainer().train(job)
"""


def start(folder: Path, model: Path, method: str, marks: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), str(model), method, str(marks)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> str:
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors.decode()
    return errors.decode()


def kill_after(process: subprocess.Popen[bytes], marks: Path, steps: int, *, more_s: float = 0.0) -> None:
    """Kill the process once it has logged so many entries in all, and a little later if asked."""
    while process.poll() is None and (not marks.is_file() or marks.read_text().count("\n") < steps):
        time.sleep(0.002)
    time.sleep(more_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("base"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_at_three_moments_of_which_one_is_in_another_epoch(method: str, model: Path, tmp_path: Path) -> None:
    whole, torn, marks = tmp_path / "whole", tmp_path / "torn", tmp_path / "marks"
    finish(start(whole, model, method, tmp_path / "other-marks"))
    for entries in (4, 6, 5):
        marks.unlink(missing_ok=True)
        kill_after(start(torn, model, method, marks), marks, entries)
        assert not (torn / "model").exists()
    finish(start(torn, model, method, marks))
    assert files_of(torn / "model") == files_of(whole / "model")
    assert (torn / "work" / JOURNAL).read_bytes() == (whole / "work" / JOURNAL).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_twenty_random_moments(model: Path, tmp_path: Path) -> None:
    draw = random.Random(20)
    whole, torn, marks = tmp_path / "whole", tmp_path / "torn", tmp_path / "marks"
    finish(start(whole, model, "lora", tmp_path / "other-marks"))
    for _ in range(20):
        marks.unlink(missing_ok=True)
        kill_after(start(torn, model, "lora", marks), marks, draw.randint(0, 4), more_s=draw.random() * 0.05)
    finish(start(torn, model, "lora", marks))
    assert files_of(torn / "model") == files_of(whole / "model")


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
