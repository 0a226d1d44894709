"""Write the generated pages of ``docs/`` anew: ``python docs/generate.py``; with ``--check``, only compare.

A key's meaning is read from the ``Args:`` section of its class's docstring, so page and code cannot part.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from instructforge.building import BuildSettings, Retrieve
from instructforge.mixing import MixSettings
from instructforge.recipe import DataPlan, EvaluatePlan, MixPart, MixRecipe, PredictPlan, Recipe, TrainPlan
from instructforge.training.causal import CausalSettings
from instructforge.training.heads.settings import EncoderSettings
from instructforge.training.settings import LoopSettings

HERE = Path(__file__).parent

RECIPE_HEAD = """# The recipe

A recipe is YAML, read safely. All its problems are reported at once, each with its key path. `instructforge run
recipe.yaml` carries it through every stage; `--set KEY=VALUE` changes any key, such as `--set train.settings.epochs=3`.
Relative paths start from the recipe's folder.

```yaml
task: nli
data:
  train: [mine.tsv, more.tsv]
  test: held-out.tsv
  columns: {premise: text_a, hypothesis: text_b, answer: label}
model: minilm
train:
  settings: {epochs: 3, learning_rate: 2.0e-4}
evaluate:
  gates: {accuracy: 0.6}
```

(This page is written by `make docs` from the classes that read a recipe.)
"""

SECTIONS: tuple[tuple[str, str, type], ...] = (
    ("Top level", "", Recipe),
    ("data", "data.", DataPlan),
    ("data.retrieve", "data.retrieve.", Retrieve),
    ("build", "build.", BuildSettings),
    ("mix", "mix.", MixSettings),
    ("mix: the parts", "mix.", MixRecipe),
    ("mix.parts", "mix.parts.NAME.", MixPart),
    ("train", "train.", TrainPlan),
    ("train.settings of every trainer", "train.settings.", LoopSettings),
    ("train.settings of the trainer `causal`", "train.settings.", CausalSettings),
    ("train.settings of the trainer `encoder`", "train.settings.", EncoderSettings),
    ("predict", "predict.", PredictPlan),
    ("evaluate", "evaluate.", EvaluatePlan),
)


def meanings(kind: type) -> dict[str, str]:
    """Return what the ``Args:`` section of a class's docstring says of each argument."""
    section = re.search(r"Args:\n((?: {4}.*\n?|\n)+)", inspect.getdoc(kind) or "")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in (section.group(1) if section else "").splitlines():
        head = re.match(r" {4}(?=\S)([\w, ]+): (.*)", line)
        if head:
            names = [name.strip() for name in head.group(1).split(",")]
            found |= dict.fromkeys(names, head.group(2))
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: text.replace("``", "`") for name, text in found.items()}


def default(attribute: attrs.Attribute[object]) -> str:
    """Return an attribute's default as a recipe would write it."""
    value = attribute.default
    if value is attrs.NOTHING:
        return "required"
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        value = value.factory()  # type: ignore[union-attr]
    if attrs.has(type(value)) or value in ((), {}, None):
        return ""
    return f"`{value}`"


def recipe_page() -> str:
    """Return the reference of recipe keys."""
    return RECIPE_HEAD + "".join(_section(*section) for section in SECTIONS)


def _section(title: str, lead: str, kind: type) -> str:
    known = {name: text for base in reversed(kind.__mro__) for name, text in meanings(base).items()}
    rows = [f"| `{lead}{part.name}` | {default(part)} | {known.get(part.name, '')} |" for part in _own(kind)]
    return f"\n## {title}\n\n| key | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _own(kind: type) -> list[attrs.Attribute[object]]:
    """Return the attributes that a recipe may set and that a base class does not have already."""
    said_at_the_top = ("seed", "language") if kind is BuildSettings else ()
    return [part for part in attrs.fields(kind) if not part.inherited and part.name not in said_at_the_top]


def pages() -> Iterator[tuple[Path, str]]:
    """Yield each generated page with its content."""
    yield HERE / "recipe.md", recipe_page()


def main(check: bool) -> int:
    """Write the pages, or with ``check`` return how many are out of date."""
    stale = 0
    for path, text in pages():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale += 1
            if not check:
                path.write_text(text, encoding="utf-8")
            print(f"{'out of date' if check else 'written'}: {path.name}")
    return stale if check else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
