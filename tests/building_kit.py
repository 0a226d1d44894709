"""A small plugin to build with: sentence pairs in English and Chinese, and questions on passages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from instructforge import Choice, Forge, Normalizer, Task, TemplateFolder, columns, hookimpl

LABELS = {
    "entailment": {"en": "yes", "zh": "是"},
    "neutral": {"en": "maybe", "zh": "不确定"},
    "contradiction": {"en": "no", "zh": "否"},
}

PAIRS = Task(
    "pairs",
    summary="whether one sentence follows from another",
    fields={"premise": "the first sentence", "hypothesis": "the second"},
    target=Choice(LABELS),
    normalizers=("pairs",),
)

TEMPLATES = {
    "pairs/en/plain": (
        "{% block prompt %}{{ premise }}\n{{ hypothesis }}\nDoes it follow?{% endblock %}"
        "{% block completion %}{{ answer }}{% endblock %}"
    ),
    "pairs/en/polite": (
        "{% block system %}Be brief.{% endblock %}"
        "{% block prompt %}Please say whether “{{ hypothesis }}” follows from “{{ premise }}”.{% endblock %}"
        "{% block completion %}{{ answer }}{% endblock %}"
    ),
    "pairs/en/short-only": (
        "{% block prompt %}{% if premise | length < 30 %}{{ premise }} => {{ hypothesis }}?{% endif %}{% endblock %}"
        "{% block completion %}{{ answer }}{% endblock %}"
    ),
    "pairs/en/write-one": (
        '{% set inverted = "hypothesis" %}'
        "{% block prompt %}{{ premise }}\nWrite a sentence whose relation to it is: {{ answer }}{% endblock %}"
        "{% block completion %}{{ hypothesis }}{% endblock %}"
    ),
    "pairs/zh/plain": (
        "{% block prompt %}前提：{{ premise }}\n假设：{{ hypothesis }}\n能推出吗？{% endblock %}"
        "{% block completion %}{{ answer }}{% endblock %}"
    ),
    "pairs/zh/exam": (
        "{% block prompt %}判断题。由“{{ premise }}”能否推出“{{ hypothesis }}”？{% endblock %}"
        "{% block completion %}{{ answer }}{% endblock %}"
    ),
}


def pairs_normalizer() -> Normalizer:
    """Return the normalizer of sentence pairs."""
    return columns(
        "pairs",
        task="pairs",
        fields={"premise": ("premise", "sentence1", "text_a"), "hypothesis": ("hypothesis", "sentence2", "text_b")},
        answer=("label", "gold_label"),
        labels={"0": "entailment", "1": "neutral", "2": "contradiction"} | {label: label for label in LABELS},
        group="group",
    )


class PairsPlugin:
    """Everything for the task ``pairs``; templates are written to a folder of the test's own."""

    def __init__(self, folder: Path, *more: Any, templates: dict[str, str] | None = None) -> None:
        self.folder, self.more = folder / "templates", more
        self.folder.mkdir(parents=True, exist_ok=True)
        for key, source in (TEMPLATES if templates is None else templates).items():
            path = self.folder / f"{key}.jinja"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")

    @hookimpl
    def instructforge_tasks(self) -> Iterator[Task]:
        yield PAIRS

    @hookimpl
    def instructforge_normalizers(self) -> Iterator[Normalizer]:
        yield pairs_normalizer()
        yield from self.more

    @hookimpl
    def instructforge_templates(self) -> Iterator[TemplateFolder]:
        yield TemplateFolder(self.folder)


def pairs_forge(folder: Path, *more: Any, templates: dict[str, str] | None = None) -> Forge:
    """Return a ``Forge`` with the pairs plugin, and more normalizers where they are given."""
    return Forge([PairsPlugin(folder, *more, templates=templates)])


def pair(number: int, **changes: Any) -> dict[str, Any]:
    """Return a good row; odd numbers are Chinese."""
    chinese = number % 2 == 1
    row = {
        "id": f"r{number}",
        "premise": f"第{number}个人在公园里散步。" if chinese else f"Person number {number} walks in the park.",
        "hypothesis": "有人在外面。" if chinese else "Someone is outside.",
        "label": list(LABELS)[number % 3],
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def write_jsonl(path: Path, rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def fingerprints(out: Path) -> dict[str, str]:
    """Return the sha256 of every file that a build leaves behind, by name; there must be no others."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def adds_up(ledger: dict[str, Any]) -> bool:
    """Tell whether every part of a ledger, and the whole, balances."""
    names = ("read", "built", "skipped", "quarantined", "deduplicated")
    totals = dict.fromkeys(names, 0)
    for one in ledger["sources"]:
        counts = {name: sum(one[name].values()) if isinstance(one[name], dict) else one[name] for name in names}
        if counts["read"] != sum(counts[name] for name in names[1:]):
            return False
        totals = {name: totals[name] + counts[name] for name in names}
    built = sum(split["examples"] for split in ledger["splits"].values())
    return totals == {name: ledger["totals"][name] for name in names} and totals["built"] == built
