"""Recipes: read safely, every problem at once, with key paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructforge.errors import ConfigError
from instructforge.recipe import load_recipe, recipe_from, with_overrides

GOOD = """
task: nli
data: {train: [a.tsv, b.tsv], test: c.tsv, columns: {premise: text_a}}
model: minilm
build: {workers: 2}
train: {settings: {epochs: 3, learning_rate: 1.0e-4}}
evaluate: {gates: {accuracy: 0.6}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_is_read_into_classes(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe.data.train == ("a.tsv", "b.tsv")
    assert recipe.data.test == ("c.tsv",)
    assert recipe.build.workers == 2
    assert recipe.train.settings["learning_rate"] == 1e-4
    assert recipe.evaluate.gates == {"accuracy": 0.6}


def test_a_recipe_survives_json(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe_from(recipe.to_json()) == recipe


def test_sources_start_from_the_recipes_folder(tmp_path: Path) -> None:
    sources = load_recipe(written(tmp_path, GOOD)).data.sources(tmp_path)
    assert [(str(source.path), source.split) for source in sources] == [
        (str(tmp_path / "a.tsv"), "train"),
        (str(tmp_path / "b.tsv"), "train"),
        (str(tmp_path / "c.tsv"), "test"),
    ]


def test_all_problems_are_reported_at_once_with_their_paths(tmp_path: Path) -> None:
    text = (
        "tsak: nli\ndata: {trian: x, test: 3}\nbuild: {workers: two, seed: true}\nevaluate: {gates: {accuracy: high}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(written(tmp_path, text))
    said = "\n".join(caught.value.problems)
    for part in (
        'tsak: no such key. Did you mean "task"?',
        'data.trian: no such key. Did you mean "train"?',
        "data.test",
        "build.workers",
        "build.seed: say `seed` at the top",
        "evaluate.gates.accuracy",
        "task: missing",
    ):
        assert part in said


def test_a_number_without_a_point_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="with a point"):
        recipe_from({"task": "nli", "data": {"train": "x"}, "evaluate": {"gates": {"accuracy": "1e-4"}}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("task: a\ntask: b", "stands twice"),
        ("a: &a [x]\nb: [*a, *a]", "aliases"),
        ("- just\n- a list", "mapping"),
        ("task: [unclosed", "line"),
        ("", "mapping"),
    ],
)
def test_yaml_is_read_safely(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_recipe(written(tmp_path, text))


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


def test_overrides_reach_into_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, GOOD), {"train.settings.epochs": 1, "model": "me5-small"})
    assert recipe.train.settings["epochs"] == 1
    assert with_overrides(recipe, {"seed": 7}).seed == 7
    with pytest.raises(ConfigError, match="sede"):
        with_overrides(recipe, {"sede": 7})
