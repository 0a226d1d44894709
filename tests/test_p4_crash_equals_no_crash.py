"""P4, crash equals no crash: killed at any moment and run again, a build leaves the same bytes as an unbroken one."""

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

import pytest
from building_kit import fingerprints, pair, pairs_forge, write_jsonl

from instructforge import DataError, InstructForgeError
from instructforge.building import BuildSettings, InstructionSet, Source, build
from instructforge.building import driver as driving
from instructforge.building.state import State
from instructforge.duplicates.documents import Journal
from instructforge.duplicates.runs import SortedRuns

HERE = Path(__file__).parent
ROWS = 2500
SETTINGS: dict[str, Any] = {"shard_rows": 300, "dedup": True, "per_example": 2, "inverted_share": 0.2}

SCRIPT = """
import sys
from pathlib import Path
from building_kit import pairs_forge
from instructforge.building import BuildSettings, Source, build

if __name__ == "__main__":
    folder, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    settings = BuildSettings(shard_rows=300, dedup=True, per_example=2, inverted_share=0.2, workers=workers)
    sources = [Source(folder / "one.jsonl"), Source(folder / "two.csv", split="test")]
    print("begin", flush=True)
    result = build(pairs_forge(folder), "pairs", sources, out, settings, checkpoint_s=float(sys.argv[4]))
    print(*result.messages, sep="\\n", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two sources, bad and double rows among them."""
    place = tmp_path_factory.mktemp("sources")
    rows = [pair(number % 2300, **({"label": "odd"} if number % 97 == 0 else {})) for number in range(ROWS)]
    write_jsonl(place / "one.jsonl", rows)
    lines = [f"p{number},h {number},{'x' if number % 50 == 0 else 'neutral'}" for number in range(600)]
    (place / "two.csv").write_text("premise,hypothesis,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    (place / "run.py").write_text(SCRIPT, encoding="utf-8")
    return place


def sources(folder: Path) -> list[Source]:
    return [Source(folder / "one.jsonl"), Source(folder / "two.csv", split="test")]


@pytest.fixture(scope="module")
def unbroken(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    build(pairs_forge(folder), "pairs", sources(folder), out, BuildSettings(**SETTINGS))
    return fingerprints(out)


def command(folder: Path, out: Path, workers: int = 1, checkpoint_s: float = 0.0) -> list[str]:
    return [sys.executable, str(folder / "run.py"), str(folder), str(out), str(workers), str(checkpoint_s)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}


def started(folder: Path, out: Path, workers: int = 1) -> subprocess.Popen[str]:
    """Start a build in a process of its own; return once it is about to begin."""
    process = subprocess.Popen(
        command(folder, out, workers), env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    return process


def killed_after(folder: Path, out: Path, seconds: float, workers: int = 1) -> bool:
    """Start a build and kill it; tell whether it was still at work."""
    with started(folder, out, workers) as process:
        time.sleep(seconds)
        alive = process.poll() is None
        process.kill()
        process.communicate()
    return alive


def kill_until_done(folder: Path, out: Path, draw: random.Random, kills: int, longest: float, workers: int = 1) -> int:
    """Kill a build at random moments, then let it end; return how often it was at work when it was killed."""
    hits = sum(killed_after(folder, out, draw.uniform(0, longest), workers) for _ in range(kills))
    subprocess.run(command(folder, out, workers), env=environment(), check=True, capture_output=True)
    return hits


@pytest.mark.slow
def test_a_few_kills(folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    assert kill_until_done(folder, tmp_path / "run", random.Random(1), kills=3, longest=0.5) >= 1
    assert fingerprints(tmp_path / "run") == unbroken


@pytest.mark.slow
def test_twenty_kills_each_followed_by_a_run(folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    draw, hits = random.Random(2), 0
    for number in range(20):
        out = tmp_path / f"run{number}"
        hits += kill_until_done(folder, out, draw, kills=1, longest=1.5)
        assert fingerprints(out) == unbroken, number
    assert hits >= 5


@pytest.mark.slow
def test_twenty_kills_in_a_row_with_workers(folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    kill_until_done(folder, tmp_path / "run", random.Random(3), kills=20, longest=3.0, workers=2)
    assert fingerprints(tmp_path / "run") == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_makes_the_same_bytes(
    folder: Path, unbroken: dict[str, str], tmp_path: Path, workers: int
) -> None:
    build(pairs_forge(folder), "pairs", sources(folder), tmp_path / "run", BuildSettings(**SETTINGS, workers=workers))
    assert fingerprints(tmp_path / "run") == unbroken


class _Crash(BaseException):
    """Stands for a kill: nothing of ours may catch it."""


def _count_steps(monkeypatch: pytest.MonkeyPatch, crash_at: int | None) -> list[int]:
    """Let every write, commit and shard count as a step; crash before the given one."""
    steps = [0]

    def stepping(function: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            steps[0] += 1
            if steps[0] == crash_at:
                raise _Crash
            return function(*arguments, **options)

        return step

    for owner, name in (
        (driving, "write_shard"),
        (driving, "write_json"),
        (driving, "write_atomically"),
        (State, "commit"),
        (State, "add_pending"),
        (State, "clear_pending"),
        (State, "add_duplicate"),
        (SortedRuns, "add"),
        (SortedRuns, "save"),
        (SortedRuns, "settled"),
        (Journal, "append"),
        (State, "remove"),
    ):
        monkeypatch.setattr(owner, name, stepping(getattr(owner, name)))
    return steps


@pytest.mark.slow
def test_a_crash_before_any_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge = pairs_forge(tmp_path)
    write_jsonl(tmp_path / "one.jsonl", [pair(number % 90) for number in range(100)])
    chosen = BuildSettings(**SETTINGS | {"shard_rows": 40})
    monkeypatch.setattr(driving, "_BATCH_ROWS", 20)

    def run(out: Path) -> Any:
        return build(forge, "pairs", [Source(tmp_path / "one.jsonl")], out, chosen, checkpoint_s=0.0)

    with monkeypatch.context() as patch:
        steps = _count_steps(patch, None)
        run(tmp_path / "unbroken")
        total = steps[0]
    unbroken = fingerprints(tmp_path / "unbroken")
    assert total > 30
    resumed = 0
    for place in range(1, total + 1):
        out = tmp_path / f"run{place}"
        with monkeypatch.context() as patch:
            _count_steps(patch, place)
            with pytest.raises(_Crash):
                run(out)
        resumed += any("resumed" in message for message in run(out).messages)
        assert fingerprints(out) == unbroken, place
    assert resumed > 10


def test_a_resumed_build_goes_on_from_its_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge, made = pairs_forge(folder), []
    real = driving.Maker.make

    def counting(self: Any, source: int, rows: Any) -> Any:
        made.append(len(rows))
        if len(made) == 8:
            raise _Crash
        return real(self, source, rows)

    monkeypatch.setattr(driving.Maker, "make", counting)
    arguments = (forge, "pairs", sources(folder), tmp_path / "run", BuildSettings(**SETTINGS))
    with pytest.raises(_Crash):
        build(*arguments, checkpoint_s=0.0)
    before = sum(made[:-1])
    made.extend([0] * 100)
    del made[:-100]
    result = build(*arguments, checkpoint_s=0.0)
    assert result.messages == (f"resumed after {before} rows",)
    assert sum(made) == ROWS + 600 - before


def test_the_same_command_again_does_nothing(folder: Path, tmp_path: Path) -> None:
    arguments = (pairs_forge(folder), "pairs", sources(folder), tmp_path / "run", BuildSettings(**SETTINGS))
    first = build(*arguments)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    again = build(*arguments)
    assert again.ledger == first.ledger
    assert "built before" in again.messages[0]
    assert {path: path.stat().st_mtime_ns for path in before if path.name != ".lock"} == {
        path: time for path, time in before.items() if path.name != ".lock"
    }


def test_changed_inputs_settings_or_templates_begin_anew(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", map(pair, range(50)))
    out = tmp_path / "run"

    def run(**settings: Any) -> Any:
        forge = pairs_forge(tmp_path, templates={})  # those in the folder stay as they are
        return build(forge, "pairs", [Source(path, split="train")], out, BuildSettings(**settings))

    pairs_forge(tmp_path)
    assert run().counts == {"train": 50}
    write_jsonl(path, map(pair, range(40)))
    changed = run()
    assert (changed.counts, len(InstructionSet(out, "train"))) == ({"train": 40}, 40)
    assert "built anew" in changed.messages[0]
    assert "built anew" in run(shard_rows=15).messages[0]
    assert run(shard_rows=15).messages[0].startswith("built before")
    run()
    assert sorted(part.name for part in (out / "data").iterdir()) == ["train-00000.parquet"]
    template = tmp_path / "templates/pairs/en/plain.jinja"
    template.write_text(template.read_text() + "\n{# changed #}")
    assert "built anew" in run().messages[0]


def test_state_of_another_build_is_not_gone_on_with(folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed_after(folder, out, 0.5)
    build(pairs_forge(folder), "pairs", sources(folder), out, BuildSettings(**SETTINGS | {"seed": 1}))
    build(pairs_forge(folder), "pairs", sources(folder), out, BuildSettings(**SETTINGS))
    assert fingerprints(out) == unbroken


@pytest.mark.parametrize("damage", [b"", b"not a database at all", b"SQLite format 3\0" + b"\xff" * 5000])
def test_damaged_state_is_thrown_away(folder: Path, unbroken: dict[str, str], tmp_path: Path, damage: bytes) -> None:
    out = tmp_path / "run"
    (out / ".build").mkdir(parents=True)
    (out / ".build/state.sqlite").write_bytes(damage)
    build(pairs_forge(folder), "pairs", sources(folder), out, BuildSettings(**SETTINGS))
    assert fingerprints(out) == unbroken


@pytest.mark.slow
def test_what_a_killed_write_leaves_is_cleared(folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "data").mkdir(parents=True)
    for name in ("data/.train-00000.parquet.abc.partial", ".ledger.json.abc.partial", "data/train-00099.parquet"):
        (out / name).write_bytes(b"torn")
    build(pairs_forge(folder), "pairs", sources(folder), out, BuildSettings(**SETTINGS))
    assert fingerprints(out) == unbroken


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", map(pair, range(5)))
    out = tmp_path / "run"
    for name in ("recipe.json", "data/notes.parquet", "data/readme.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    build(pairs_forge(tmp_path), "pairs", [Source(path)], out)
    build(pairs_forge(tmp_path), "pairs", [Source(path)], out, BuildSettings(seed=3))
    assert all((out / name).read_text() == "mine" for name in ("recipe.json", "data/notes.parquet", "data/readme.txt"))


def test_a_source_that_changes_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", map(pair, range(300)))
    real = driving.Maker.make

    def changing(self: Any, source: int, rows: Any) -> Any:
        with path.open("a") as handle:
            handle.write(json.dumps(pair(1000)) + "\n")
        return real(self, source, rows)

    monkeypatch.setattr(driving.Maker, "make", changing)
    with pytest.raises(DataError, match="changed while it was read"):
        build(pairs_forge(tmp_path), "pairs", [Source(path)], tmp_path / "run")
    assert not (tmp_path / "run/ledger.json").exists()


def test_a_full_disk_is_a_clear_error_and_costs_nothing(
    folder: Path, unbroken: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(path: Path, rows: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    arguments = (pairs_forge(folder), "pairs", sources(folder), tmp_path / "run", BuildSettings(**SETTINGS))
    with monkeypatch.context() as patch:
        patch.setattr(driving, "write_shard", full)
        with pytest.raises(InstructForgeError, match="is full"):
            build(*arguments, checkpoint_s=0.0)
    build(*arguments)
    assert fingerprints(tmp_path / "run") == unbroken


# --- Workers ------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    """Return the processes below one, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            if parent == pid:
                found += [int(entry.name), *children_of(int(entry.name))]
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the process table from /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_build(folder: Path, tmp_path: Path, how: signal.Signals) -> None:
    with started(folder, tmp_path / "run", workers=2) as process:
        deadline = time.monotonic() + 20
        workers: list[int] = []
        while len(workers) < 2 and process.poll() is None and time.monotonic() < deadline:
            workers = children_of(process.pid)
            time.sleep(0.01)
        process.send_signal(how)
        process.communicate(timeout=20)
    assert workers
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def suicide(row: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from instructforge import Normalizer

    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    import test_p4_crash_equals_no_crash as here

    maker = Normalizer("suicide", task="pairs", function=here.suicide, accepts=dict.__len__)
    path = write_jsonl(tmp_path / "rows.jsonl", map(pair, range(5)))
    source = Source(path, normalizer="suicide")
    with pytest.raises(InstructForgeError, match="worker has died"):
        build(pairs_forge(tmp_path, maker), "pairs", [source], tmp_path / "run", BuildSettings(workers=2))
