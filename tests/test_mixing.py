"""Mixing: rates as the sources define them, every row in its turn, the same rows whatever comes between."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline import tsv

from instructforge.cli import main
from instructforge.contract import Contract
from instructforge.errors import ConfigError
from instructforge.mixing import Joined, MixSettings, Mixture, PartPlan, plan_mixture
from instructforge.recipe import recipe_from


def parts(**sizes: int) -> list[PartPlan]:
    return [PartPlan(name=name, size=size) for name, size in sizes.items()]


def rates(found: list[PartPlan], **options: object) -> dict[str, float]:
    return {part.name: round(part.rate, 6) for part in plan_mixture(found, MixSettings(**options)).parts}  # type: ignore[arg-type]


def test_proportional_rates_count_sizes_up_to_the_cap() -> None:
    assert rates(parts(a=300, b=100)) == {"a": 0.75, "b": 0.25}
    assert rates(parts(a=1_000_000, b=30_000)) == {"a": 0.5, "b": 0.5}
    assert rates(parts(a=900, b=100), cap=100) == {"a": 0.5, "b": 0.5}
    assert rates(parts(a=90_000, b=10_000), cap=None) == {"a": 0.9, "b": 0.1}


def test_temperature_is_that_of_the_source() -> None:
    # seqio: rate ** (1 / temperature), the cap before it
    expected = 400**0.5 / (400**0.5 + 100**0.5)
    assert rates(parts(a=400, b=100), temperature=2.0)["a"] == pytest.approx(expected, abs=1e-6)
    assert rates(parts(a=10_000, b=100), cap=400, temperature=2.0)["a"] == pytest.approx(expected, abs=1e-6)


def test_weights_alone_or_beside_sizes() -> None:
    found = [PartPlan(name="a", size=10, weight=3), PartPlan(name="b", size=1000)]
    assert rates(found, by="weights") == {"a": 0.75, "b": 0.25}
    assert rates(found) == {"a": round(30 / 1030, 6), "b": round(1000 / 1030, 6)}


def test_shares_of_groups_hold_whatever_the_sizes() -> None:
    # The shares of the FLAN 2022 collection, two data sets in the first group.
    found = [
        PartPlan(name="one", size=300, group="flan"),
        PartPlan(name="two", size=100, group="flan"),
        PartPlan(name="t0", size=5000),
        PartPlan(name="niv2", size=10),
    ]
    got = rates(found, shares={"flan": 0.5, "t0": 0.3, "niv2": 0.2})
    assert got == {"one": 0.375, "two": 0.125, "t0": 0.3, "niv2": 0.2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "size"}, 'by is "size"'),
        ({"cap": 0}, "cap is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"rows": 0}, "rows is 0"),
        ({"shares": {"a": -1.0}}, "shares.a is -1.0"),
        ({"shares": {"x": 1.0}}, "shares.x: no such group"),
        ({"shares": {"a": 1.0}}, 'the group "b" has none'),
    ],
)
def test_what_makes_no_mixture_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_mixture(parts(a=1, b=1), MixSettings(**options))  # type: ignore[arg-type]


def test_nothing_to_mix_is_refused() -> None:
    with pytest.raises(ConfigError, match="no row to mix"):
        plan_mixture(parts(a=0, b=0), MixSettings())


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.integers(20, 4000), st.floats(0.5, 10))
@settings(max_examples=60, deadline=None)
def test_the_rows_of_an_epoch_are_those_asked_for(sizes: list[int], rows: int, temperature: float) -> None:
    found = [PartPlan(name=str(number), size=size) for number, size in enumerate(sizes)]
    plan = plan_mixture(found, MixSettings(rows=rows, temperature=temperature))
    assert sum(part.rate for part in plan.parts) == pytest.approx(1)
    assert all(part.rows >= 1 for part in plan.parts)
    assert plan.rows == rows or (plan.rows > rows and any(part.rows == 1 for part in plan.parts))
    assert all(abs(part.rows - part.rate * rows) <= len(sizes) for part in plan.parts)


# --- Drawing ------------------------------------------------------------------------------------------


def mixture(rows: int | None = None, seed: int = 1) -> Mixture:
    large, small = tiny_models.rows(50), tiny_models.rows(4, start=100)
    return Mixture({"large": large, "small": small}, MixSettings(by="weights", rows=rows), seed=seed)


def test_a_small_part_comes_again_and_a_large_one_goes_on() -> None:
    mixed = mixture(rows=20)  # ten of each an epoch
    kept = mixed.reach(5.0)
    assert len(kept) == 54
    seen: Counter[int] = Counter()
    for epoch in range(5):
        drawn = mixed.drawn(epoch, kept)
        assert Counter(mixed.part_of(kept[drawn])) == {"large": 10, "small": 10}
        seen.update(kept[drawn].tolist())
    assert {seen[number] for number in range(50)} == {1}  # five epochs go once through the large part
    assert sorted(seen[number] for number in range(50, 54)) == [12, 12, 13, 13]


def test_only_what_will_be_drawn_is_reached() -> None:
    reached = mixture(rows=20).reach(2.0)
    assert Counter(mixture(rows=20).part_of(reached)) == {"large": 20, "small": 4}


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    kept = mixture(20).reach(3.0)
    again = [mixture(20).drawn(2, kept).tolist(), mixture(20).drawn(2, kept).tolist()]
    assert again[0] == again[1]
    assert mixture(20, seed=2).drawn(2, kept).tolist() != again[0]


def test_rows_that_could_not_be_encoded_are_never_drawn() -> None:
    mixed = mixture(20)
    kept = np.array([number for number in mixed.reach(5.0).tolist() if number not in (3, 51)])
    for epoch in range(5):
        places = mixed.drawn(epoch, kept)
        assert len(places) == 20
        assert not {3, 51} & set(kept[places].tolist())
    with pytest.raises(ConfigError, match='none of the 4 rows of "small"'):
        mixed.drawn(0, np.arange(50))


def test_joined_sequences_are_read_by_index() -> None:
    joined = Joined([["a", "b"], [], ["c"]])  # type: ignore[list-item]
    assert [joined[0], joined[2], joined[-1]] == ["a", "c", "c"]
    assert joined[1:] == ["b", "c"]
    with pytest.raises(IndexError):
        joined[3]


def test_the_table_says_what_each_part_comes_to() -> None:
    lines = mixture(rows=20).plan.table({"large": 12.0, "small": 5.0}, epochs=3)
    assert lines[0].split() == ["part", "rows", "rate", "drawn", "epochs", "tokens"]
    assert lines[1].split() == ["large", "50", "0.500", "30", "0.60", "360"]
    assert lines[2].split() == ["small", "4", "0.500", "30", "7.50", "150"]


# --- The recipe, and a whole run -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "task: missing"),
        ({"task": "nli", "data": {}, "mix": {"parts": {}}}, "task: a recipe with `mix`"),
        ({"mix": {"parts": {"A b": {"data": {}}}}}, "is no name of a part"),
        ({"mix": {"parts": {"nli": {"data": {}, "build": {"seed": 3}}}}}, "mix.parts.nli.build.seed"),
        ({"mix": {"parts": {"nli": {"data": {}, "wait": 3}}}}, "mix.parts.nli.wait: no such key"),
    ],
)
def test_wrong_recipes_are_told(value: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe_from(value)
    assert said in str(caught.value)


def test_a_recipe_survives_its_json() -> None:
    value = {"mix": {"parts": {"nli": {"data": {"train": ["a.tsv"]}, "weight": 2.0}}, "temperature": 2.0}}
    recipe = recipe_from(value)
    assert recipe_from(recipe.to_json()) == recipe


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.slow
def test_two_tasks_train_one_model_and_are_scored_each(tmp_path: Path) -> None:
    pairs, held_out = tsv(tmp_path / "train.tsv", 6), tsv(tmp_path / "test.tsv", 1)
    asked = [{"question": f"Is {number} even?", "answer": "yes" if number % 2 == 0 else "no"} for number in range(20)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    recipe = {
        "mix": {
            "by": "weights",
            "rows": 24,
            "parts": {
                "nli": {"data": {"train": [str(pairs)], "test": [str(held_out)]}, "weight": 2.0},
                "even": {"task": "qa-boolean", "data": {"files": [str(tmp_path / "asked.jsonl")]}},
            },
        },
        "model": str(tiny_models.llama(tmp_path / "base", positions=1024)),
        "train": {"settings": {"method": "full", "epochs": 2, "batch_size": 4, "max_unknown": 1.0, "max_length": 1024}},
        "predict": {"limit": 4},
    }
    path = tmp_path / "mixed.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    said = call("run", path, tmp_path / "run")
    assert "tokens" in said.stderr  # the table, with tokens, before training
    reports = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert set(reports["parts"]) == {"nli", "even"}
    assert reports["parts"]["nli"]["metrics"]["accuracy"]["n"] == 4
    planned = {part["name"]: part["rows"] for part in reports["mixture"]["parts"]}
    assert planned == {"nli": 16, "even": 8}
    contract = Contract.read(tmp_path / "run" / "model")
    assert contract.task == "mixture"
    assert {name: part["task"] for name, part in contract.tasks.items()} == {"nli": "nli", "even": "qa-boolean"}
    assert {key.split("/")[0] for key in contract.templates} == {"nli", "qa-boolean"}
    steps = json.loads((tmp_path / "run" / "training.json").read_text(encoding="utf-8"))["steps"]
    assert steps == 2 * 24 // 4 // 2

    before = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    assert "done before" in call("run", path, tmp_path / "run").stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == before

    raw = tmp_path / "raw.jsonl"
    raw.write_text(json.dumps({"question": "Is 2 even?"}) + "\n", encoding="utf-8")
    call("predict", tmp_path / "run", "--input", raw, "--output", tmp_path / "out.jsonl", "--part", "even")
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert (
        "none of its parts"
        in call(
            "predict", tmp_path / "run", "--input", raw, "--output", tmp_path / "o.jsonl", "--part", "evem", code=2
        ).stderr
    )


def test_an_encoder_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    from heads_kit import save_tiny_bert

    path = tmp_path / "mixed.yaml"
    recipe = {"mix": {"parts": {"nli": {"data": {"train": [str(tsv(tmp_path / "t.tsv", 1))]}}}}}
    path.write_text(json.dumps(recipe | {"model": str(save_tiny_bert(tmp_path / "bert"))}), encoding="utf-8")
    said = call("run", path, tmp_path / "run", code=2)
    assert "its head serves one task" in said.stderr
    assert not (tmp_path / "run" / "parts").exists()


# --- Templates ----------------------------------------------------------------------------------------


def used_templates_of(folder: Path, **options: object) -> Counter[str]:
    from instructforge.building import BuildSettings, InstructionSet, Source, build
    from instructforge.plugins import Forge

    pairs = tsv(folder / "pairs.tsv", 60)
    out = folder / "out"
    build(Forge.discover(), "nli", [Source(pairs, split="train")], out, BuildSettings(**options))  # type: ignore[arg-type]
    return Counter(one.template for one in InstructionSet(out, "train"))


def test_weights_of_templates_say_how_often_each_comes(tmp_path: Path) -> None:
    used = used_templates_of(
        tmp_path, templates=("exam", "terse", "polite"), template_weights={"exam": 4.0, "en/terse": 0}
    )
    assert set(used) == {"exam", "polite"}
    assert 3.0 < used["exam"] / used["polite"] < 5.3  # 360 rows at 4 to 1


def test_a_weight_of_no_template_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='no template "exma"'):
        used_templates_of(tmp_path, template_weights={"exma": 2.0})
    with pytest.raises(ConfigError, match=r"template_weights\.exam is -1"):
        used_templates_of(tmp_path, template_weights={"exam": -1.0})


def test_a_mixture_is_not_built_over_and_is_built_again_from_its_recipe(tmp_path: Path) -> None:
    value = {"mix": {"parts": {"nli": {"data": {"train": [str(tsv(tmp_path / "t.tsv", 1))]}}}}}
    from instructforge.mixed import run_of
    from instructforge.plugins import Forge

    run_of(tmp_path / "run", recipe_from(value), forge=Forge.discover()).build()
    said = call("build", tmp_path / "run", "--task", "nli", "--train", tmp_path / "t.tsv", code=2)
    assert "holds a mixture" in said.stderr
    again = json.loads(call("build", tmp_path / "run", "--json").stdout)
    assert again["parts"]["nli"]["ledger"]["totals"]["built"] == 6


def test_weights_and_models_are_checked_before_anything_is_built(tmp_path: Path) -> None:
    part = {"data": {"train": [str(tsv(tmp_path / "t.tsv", 1))]}, "weight": -1.0}
    with pytest.raises(ConfigError, match=r"is -1\.0, and must be 0 or more"):
        recipe_from({"mix": {"parts": {"nli": part}}})
    path = tmp_path / "mixed.yaml"
    path.write_text(json.dumps({"mix": {"parts": {"nli": part | {"weight": 1.0}}}}), encoding="utf-8")
    assert "names no model" in call("run", path, tmp_path / "run", code=2).stderr
    assert not (tmp_path / "run" / "parts").exists()
