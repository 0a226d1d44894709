"""Few-shot prompts: never the row itself, never a test row, the same whatever the workers, carried by the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner, Result

from instructforge.building import BuildSettings, InstructionSet, Source, build
from instructforge.cli import main
from instructforge.contract import Contract
from instructforge.data import Instruction
from instructforge.errors import ConfigError
from instructforge.plugins import Forge

FORGE = Forge.discover()


def rows(path: Path, count: int, lead: str = "It rains in town") -> Path:
    labels = ("entailment", "neutral", "contradiction")
    made = [
        {"premise": f"{lead} {n // 2}.", "hypothesis": f"{lead[3:7]} falls on street {n}.", "label": labels[n % 3]}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path


def built(folder: Path, **settings: object) -> dict[str, list[Instruction]]:
    train, test = rows(folder / "train.jsonl", 40), rows(folder / "test.jsonl", 6, "It snows in village")
    sources = [Source(train, split="train"), Source(test, split="test")]
    build(FORGE, "nli", sources, folder / "out", BuildSettings(templates=("terse", "exam"), **settings))  # type: ignore[arg-type]
    return {split: list(InstructionSet(folder / "out", split)) for split in ("train", "test")}


def test_shots_are_turns_before_the_question(tmp_path: Path) -> None:
    made = built(tmp_path, few_shot=2)
    for one in (*made["train"], *made["test"]):
        roles = [message.role for message in one.messages if message.role != "system"]
        assert roles == ["user", "assistant"] * 3
        assert [message.role for message in one.messages].index("user") <= 1
        assert not any(message.trained for message in one.messages[:-1])
        assert all(message.weight == 0 for message in one.messages[:-1] if message.role == "assistant")
        for landing in one.landings:  # each field still stands where it is said to
            text = one.messages[landing.message].content[landing.start : landing.end]
            assert not landing.exact or text == one.example.inputs[landing.field]


def test_shots_as_text_stand_in_front_of_the_question(tmp_path: Path) -> None:
    made = built(tmp_path, few_shot=2, few_shot_as="text", few_shot_from="train")
    for one in made["test"]:
        (asked,) = [message for message in one.prompt if message.role == "user"]
        assert len(asked.content.split("\n\n")) >= 3
        assert one.example.inputs["hypothesis"] in asked.content.split("\n\n", 2)[-1]
        landing = next(place for place in one.landings if place.field == "hypothesis")
        assert asked.content[landing.start : landing.end] == one.example.inputs["hypothesis"]


@pytest.mark.parametrize("form", ["turns", "text"])
def test_a_row_is_never_its_own_shot_and_test_rows_are_none(tmp_path: Path, form: str) -> None:
    made = built(tmp_path, few_shot=5, few_shot_from="train", few_shot_as=form)
    for one in (*made["train"], *made["test"]):
        asked = "\n".join(message.content for message in one.prompt)
        assert asked.count(str(one.example.inputs["hypothesis"])) == 1
        assert asked.count(str(one.example.inputs["premise"])) == 1  # nor a row of its group: the same premise
        assert asked.count("village") == (1 if "village" in str(one.example.inputs["premise"]) else 0)
        assert asked.count("town") >= 5


def test_a_share_of_the_training_rows(tmp_path: Path) -> None:
    made = built(tmp_path, few_shot=1, few_shot_share=0.5)
    shots = [sum(message.role == "assistant" for message in one.messages) == 2 for one in made["train"]]
    assert 8 <= sum(shots) <= 32
    assert all(sum(message.role == "assistant" for message in one.messages) == 2 for one in made["test"])


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    shards = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        built(folder, few_shot=3, few_shot_from="train", workers=workers)
        shards.append((folder / "out" / "data" / "train-00000.parquet").read_bytes())
        assert not (folder / "out" / ".build").exists()
    assert shards[0] == shards[1]


def test_the_round_trip_holds(tmp_path: Path) -> None:
    from instructforge.roundtrip import round_trip_problems

    task = FORGE.tasks.get("nli")
    for form in ("turns", "text"):
        folder = tmp_path / form
        folder.mkdir()
        for one in built(folder, few_shot=2, few_shot_as=form)["train"]:
            assert list(round_trip_problems(FORGE, task, one)) == []


@pytest.mark.parametrize(
    "settings", [{"few_shot": -1}, {"few_shot_from": "test"}, {"few_shot_as": "x"}, {"few_shot_share": 2.0}]
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        BuildSettings(**settings)  # type: ignore[arg-type]


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.slow
def test_raw_rows_are_asked_with_the_shots_that_the_model_was_trained_with(tmp_path: Path) -> None:
    train, test = rows(tmp_path / "train.jsonl", 12), rows(tmp_path / "test.jsonl", 2, "It snows in village")
    run, model = tmp_path / "run", tiny_models.llama(tmp_path / "base", positions=2048)
    shots = ("--set", "build.few_shot=1", "--set", "build.few_shot_from=train", "--set", "build.templates=[terse]")
    call("build", run, "--task", "nli", "--train", train, "--test", test, *shots)
    settings = [f"train.settings.{one}" for one in ("max_steps=1", "max_unknown=1.0", "max_length=2048", "method=full")]
    call("train", run, "--model", model, *(word for one in settings for word in ("--set", one)))
    contract = Contract.read(run / "model")
    assert contract.few_shot["count"] == 1
    assert len(contract.few_shot["pool"]["en"]) == 12
    from instructforge.mixed import open_run

    work = open_run(run, forge=FORGE)
    made = list(InstructionSet(run, "test"))
    seen: list[Instruction] = []
    engine = type(work.engine())
    real = engine.outputs

    def outputs(self: object, instructions: list[Instruction], needs: str) -> object:
        seen.extend(instructions)
        return real(self, instructions, needs)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "outputs", outputs)
        work.part(None).answer([str(test)], tmp_path / "answers.jsonl")
    assert [one.prompt for one in seen] == [one.prompt for one in made]
