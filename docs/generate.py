"""Write the generated pages of ``docs/`` anew: ``python docs/generate.py``; with ``--check``, only compare.

A key's meaning is read from the ``Args:`` section of its class's docstring, and tasks from discovery, so page and code
cannot part. The Chinese pages say in Chinese what ``zh.yaml`` has a translation of, by the English text: a text that
has changed since stands in English until it is translated anew. ``--untranslated`` lists such texts.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import yaml
from tasks_page import Translate, our_forge, task_texts, tasks_page

from instructforge.building import BuildSettings, Retrieve
from instructforge.mixing import MixSettings
from instructforge.recipe import DataPlan, EvaluatePlan, MixPart, MixRecipe, PredictPlan, Recipe, TrainPlan
from instructforge.training.causal import CausalSettings
from instructforge.training.heads.settings import EncoderSettings
from instructforge.training.settings import LoopSettings

HERE = Path(__file__).parent
CHINESE: dict[str, str] = yaml.safe_load((HERE / "zh.yaml").read_text(encoding="utf-8"))

RECIPE_HEADS = {
    "en": """# The recipe

[中文](recipe.zh.md)

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
""",
    "zh": """# 配方

[English](recipe.md)

配方是一份 YAML，以安全方式读取。其中的问题会一次全部报出，并逐个写明键的路径。`instructforge run recipe.yaml`
从头到尾执行各个阶段；`--set KEY=VALUE` 可以改任何一个键，例如 `--set train.settings.epochs=3`。相对路径从配方所在的
文件夹算起。

```yaml
task: nli
data:
  train: [mine.tsv, more.tsv]
  test: held-out.tsv
  columns: {premise: text_a, hypothesis: text_b, answer: label}
model: me5-small
train:
  settings: {epochs: 3, learning_rate: 2.0e-4}
evaluate:
  gates: {accuracy: 0.6}
```

（本页由 `make docs` 根据读取配方的各个类生成；尚无译文的说明保留英文。）
""",
}

TABLE_HEADS = {"en": "| key | default | meaning |", "zh": "| 键 | 默认值 | 含义 |"}
REQUIRED = {"en": "required", "zh": "必填"}
TITLES = {
    "Top level": "顶层",
    "mix: the parts": "mix：各个部分",
    "train.settings of every trainer": "train.settings：所有训练器",
    "train.settings of the trainer `causal`": "train.settings：训练器 `causal`",
    "train.settings of the trainer `encoder`": "train.settings：训练器 `encoder`",
}

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


def default(attribute: attrs.Attribute[object], language: str) -> str:
    """Return an attribute's default as a recipe would write it."""
    value = attribute.default
    if value is attrs.NOTHING:
        return REQUIRED[language]
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        value = value.factory()  # type: ignore[union-attr]
    if attrs.has(type(value)) or value in ((), {}, None, ""):
        return ""
    return f"`{value}`"


def in_english(text: str) -> str:
    """Return a text of the code as it is."""
    return text


def in_chinese(text: str) -> str:
    """Return the Chinese of a text of the code, or the text where there is none."""
    return CHINESE.get(text, text)


def recipe_page(language: str, translate: Translate) -> str:
    """Return the reference of recipe keys."""
    return RECIPE_HEADS[language] + "".join(_section(*section, language, translate) for section in SECTIONS)


def _section(title: str, lead: str, kind: type, language: str, translate: Translate) -> str:
    known = _known(kind)
    rows = [
        f"| `{lead}{part.name}` | {default(part, language)} | {translate(known.get(part.name, ''))} |"
        for part in _own(kind)
    ]
    named = TITLES.get(title, title) if language == "zh" else title
    return f"\n## {named}\n\n{TABLE_HEADS[language]}\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _known(kind: type) -> dict[str, str]:
    return {name: text for base in reversed(kind.__mro__) for name, text in meanings(base).items()}


def _own(kind: type) -> list[attrs.Attribute[object]]:
    """Return the attributes that a recipe may set and that a base class does not have already."""
    said_at_the_top = ("seed", "language") if kind is BuildSettings else ()
    return [part for part in attrs.fields(kind) if not part.inherited and part.name not in said_at_the_top]


def pages() -> Iterator[tuple[Path, str]]:
    """Yield each generated page with its content."""
    forge = our_forge()
    yield HERE / "recipe.md", recipe_page("en", in_english)
    yield HERE / "recipe.zh.md", recipe_page("zh", in_chinese)
    yield HERE / "tasks.md", tasks_page(forge, "en", in_english)
    yield HERE / "tasks.zh.md", tasks_page(forge, "zh", in_chinese)


def untranslated() -> list[str]:
    """Return the texts of the code that have no Chinese, in the order of the pages."""
    keys = [_known(kind).get(part.name, "") for _, _, kind in SECTIONS for part in _own(kind)]
    texts = dict.fromkeys([*keys, *task_texts(our_forge())])
    return [text for text in texts if text and text not in CHINESE]


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
    if "--untranslated" in sys.argv[1:]:
        print(yaml.safe_dump(untranslated(), allow_unicode=True, width=1000), end="")
        sys.exit()
    sys.exit(main("--check" in sys.argv[1:]))
