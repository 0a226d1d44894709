"""``instructforge quickstart``: the whole loop on the sample files that come with the project."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import pass_forge
from instructforge.cli.output import say
from instructforge.cli.stages import carry_out, running

if TYPE_CHECKING:
    from instructforge.plugins import Forge
    from instructforge.recipe import Recipe

__all__ = ["quickstart"]

_MODELS = {"en": "minilm", "zh": "me5-small"}
_CAUSAL = {
    "train.settings": {"epochs": 1, "max_seconds": 120, "batch_size": 4, "accumulation": 1},
    "predict.decoder": "choice-likelihood",
    "predict.limit": 40,
}
"""What a causal model is given here: it is a hundred times the encoder's work, and this is a first look."""

_SAID = {
    "en": {
        "qa-choice": "questions to a town library, answered by one of its standard replies",
        "nli": "pairs of sentences: does the first entail the second, contradict it, or neither?",
        "build": "build: read the raw files, split, render each row with one of several templates",
        "train": "train: fine-tune {model}",
        "predict": "predict: decode the model's output on test rows that it has never seen",
        "evaluate": "evaluate: score, with intervals; the page with plots is {page}",
        "causal": "{model}: LoRA for two minutes; then {limit} test rows, answered by the likelihood of each choice",
        "own": "Your own data, the same way:",
    },
    "zh": {
        "qa-choice": "市民打进服务热线的问题，从标准答复里选出一条来回答",
        "nli": "句子对推理：前一句蕴含后一句、与它矛盾，还是都不是？",
        "build": "build：读入原始文件，划分，每行用若干模板之一渲染成指令",
        "train": "train：微调 {model}",
        "predict": "predict：在从未见过的测试行上解码模型的输出",
        "evaluate": "evaluate：评分并给出区间；带图的页面是 {page}",
        "causal": "{model}：LoRA 训练两分钟，再按各选项的似然回答 {limit} 行测试数据",
        "own": "换成自己的数据，步骤一样：",
    },
}


@click.command()
@click.option("--language", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of data and model.")
@click.option("--model", metavar="NAME", help="Model to fine-tune; an encoder that reads the language if left out.")
@click.option("--task", "only", type=click.Choice(["qa-choice", "nli"]), help="Only one of the two tasks.")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"), help="Where the runs go (runs)."
)
@pass_forge
def quickstart(forge: Forge, language: str, model: str | None, only: str | None, folder: Path) -> None:
    """Build, train, predict and evaluate on the data that comes along, saying what each step does."""
    from instructforge.recipe import load_recipe

    said = _SAID[language]
    model = model or _MODELS[language]
    changes = {"model": model} | _for_family(forge, model, said)
    with as_file(files("instructforge") / "quickstart_data" / language) as data:
        for task in [only] if only else ["qa-choice", "nli"]:
            say(f"\n{task}: {said[task]}")
            recipe = load_recipe(data / f"{task}.yaml", changes)
            _one(forge, recipe, folder / f"quickstart-{task}-{language}", data, said)
    say(f"\n{said['own']}")
    _say_own(language, model)


def _for_family(forge: Forge, model: str, said: dict[str, str]) -> dict[str, Any]:
    """Return the changes to the recipes that the model's family asks for, and tell of them."""
    from instructforge.models import family_of, resolve

    if family_of(resolve(model, forge=forge)) != "causal":
        return {}
    say(said["causal"].format(model=model, limit=_CAUSAL["predict.limit"]))
    return _CAUSAL


def _one(forge: Forge, recipe: Recipe, target: Path, data: Path, said: dict[str, str]) -> None:
    words = {"model": recipe.model, "page": target / "report.html"}
    with running(forge, target, recipe, base=data) as run:
        carry_out(run, announce=lambda stage: say(f"  {said[stage].format(**words)}"))


def _say_own(language: str, model: str) -> None:
    end = "jsonl" if language == "zh" else "tsv"
    for line in (
        f"instructforge render nli --input mine.{end}",
        f"instructforge build runs/mine --task nli --train mine.{end} --test held-out.{end}",
        f"instructforge train runs/mine --model {model}",
        "instructforge predict runs/mine && instructforge evaluate runs/mine",
    ):
        say(f"  {line}")
