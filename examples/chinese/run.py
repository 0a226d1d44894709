"""Chinese reading and inference: train both on an encoder, score them, and show what they answer.

python examples/chinese/run.py                                  # the samples beside this file
python examples/chinese/run.py --data FOLDER --limit 2000       # real data: cmrc2018's and OCNLI's files in a folder
python examples/chinese/run.py --data FOLDER --only reading     # only one of the two
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructforge import Forge
from instructforge.errors import ConfigError
from instructforge.pipeline import Run, read_predictions
from instructforge.recipe import load_recipe

HERE = Path(__file__).parent
FILES = {
    "nli": {"train": ("train*", "*train*"), "test": ("dev*", "test*", "*dev*", "*test*")},
    "reading": {"train": ("*train*", "*trial*"), "test": ("*dev*", "*test*")},
}
"""How the files of a folder are told: the first pattern that one fits. CMRC's trial file stands in for a train file."""

FIELDS = {"nli": ("premise", "hypothesis"), "reading": ("question",)}
SHOWN = {"nli": "accuracy", "reading": "squad-f1"}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    asked = _asked(arguments)
    forge = Forge.discover()
    return {stage: _carried_out(forge, stage, asked) for stage in asked.only or ["nli", "reading"]}


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with real files (nli/ and reading/ in it, or for --only)")
    parser.add_argument("--only", choices=list(FILES), action="append", help="only this task")
    parser.add_argument("--model", help="encoder that reads Chinese (me5-small)")
    parser.add_argument("--epochs", type=float, help="passes over the rows, moving the whole model")
    parser.add_argument("--limit", type=int, help="rows of each file at most")
    parser.add_argument("--out", type=Path, default=Path("runs/chinese"), help="folder of the runs")
    return parser.parse_args(arguments)


def files_of(folder: Path, stage: str) -> dict[str, str]:
    """Return the files of one task in a folder: in a folder of the task's name, or in the folder itself.

    Raises:
        ConfigError: There is none to train on, or none to test on.
    """
    place = folder / stage if (folder / stage).is_dir() else folder
    names = sorted(path.name for path in place.iterdir() if path.suffix in (".json", ".jsonl", ".tsv", ".csv"))
    found = {}
    for split, patterns in FILES[stage].items():
        fitting = [name for pattern in patterns for name in names if Path(name).match(pattern)]
        if not fitting:
            raise ConfigError(
                f'"{place}" has no file to {split} {stage} on.\nIts files are: {", ".join(names) or "none"}.\n'
                f"Name one after one of: {', '.join(patterns)}"
            )
        found[f"data.{split}"] = str((place / fitting[0]).absolute())
    return found


def _carried_out(forge: Forge, stage: str, asked: argparse.Namespace) -> Any:
    """Build, train, answer and score one task; return its report."""
    changes: dict[str, Any] = files_of(asked.data, stage) if asked.data else {}
    changes |= {"model": asked.model} if asked.model else {}
    changes |= {"build.limit": asked.limit} if asked.limit else {}
    if asked.epochs or asked.data:  # so many passes are for few rows
        changes["train.settings"] = {"epochs": asked.epochs} if asked.epochs else {}
    print(f"\n=== {stage}")
    recipe = load_recipe(HERE / f"{stage}.yaml", changes)
    run = Run(folder=asked.out / stage, recipe=recipe, forge=forge, base=HERE, say=lambda line: print(f"  {line}"))
    report = run.all()
    for name, figure in report.metrics.items():
        print(
            f"  {name} {figure['value']:.2f} on {figure['n']} rows (95 %: {figure['low']:.2f} to {figure['high']:.2f})"
        )
    baseline = report.to_json()["baseline"]
    print(f'  always "{baseline["answer"]}": {SHOWN[stage]} {baseline["metrics"][SHOWN[stage]]["value"]:.2f}')
    _show(run, stage)
    return report


def _show(run: Run, stage: str) -> None:
    """Print the first answers beside the gold ones."""
    rows = list(run.instructions(run.recipe.predict.split))[:6]
    for row, found in zip(rows, read_predictions(run.folder / "predictions.jsonl"), strict=False):
        asked = " → ".join(str(row.example.inputs[name]) for name in FIELDS[stage])
        gold = row.example.answers[0] if row.example.answers else None
        said, wanted = (getattr(answer, "text", answer) for answer in (found.answer, gold))
        print(f"  {asked}\n    {said}（{found.score or 0:.2f}）  {'✓' if said == wanted else f'✗ {wanted}'}")


if __name__ == "__main__":
    main()
