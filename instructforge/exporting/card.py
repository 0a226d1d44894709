"""The card of an exported data set: front matter as the hub reads it, then where the rows come from and what was lost.

Source: the keys of the front matter are those of the hub's data set card specification.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from instructforge.errors import printable
from instructforge.exporting.records import ExportPlan

__all__ = ["card"]

_WORDS = {
    "en": {
        "about": "Instructions for the task `{task}`, built by InstructForge.",
        "trained_last": "Trained: the final answer of each row; a turn's own weight wins.",
        "trained_all": "Trained: every answer of the assistant's; a turn's own weight wins.",
        "licence": "The licence of the data was not stated: find it out before you share them.",
        "sources": "Sources",
        "source": "file | records | rows | reader, normalizer | sha256",
        "ledger": "Where every row went",
        "outcome": "outcome | rows",
        "templates": "Templates",
        "template": "template | rows | sha256",
        "overlap": "Overlap of train and test",
        "lost": "What this format does not hold",
        "loss": "what | rows",
        "nothing_lost": "Nothing was lost on the way into this format.",
        "left_out": "left out: {reason}",
        "limits": "Known limits",
        "limit_templates": "Prompts are made by templates; they are less various than what people write.",
        "limit_origin": "Answers, and mistakes in them, are those of the sources.",
    },
    "zh": {
        "about": "任务 `{task}` 的指令数据，由 InstructForge 构建。",
        "trained_last": "训练范围：每行最后一个回答；轮次自带的权重优先。",
        "trained_all": "训练范围：助手的每个回答；轮次自带的权重优先。",
        "licence": "未说明数据的许可证：分享之前请先查明。",
        "sources": "来源",
        "source": "文件 | 记录 | 行 | 读取器、规整器 | sha256",
        "ledger": "每一行的去向",
        "outcome": "去向 | 行数",
        "templates": "模板",
        "template": "模板 | 行数 | sha256",
        "overlap": "训练集与测试集的重叠",
        "lost": "此格式无法容纳的内容",
        "loss": "内容 | 行数",
        "nothing_lost": "转换为此格式时没有丢失任何内容。",
        "left_out": "未写出：{reason}",
        "limits": "已知的局限",
        "limit_templates": "提示由模板生成，不如人写的多样。",
        "limit_origin": "答案以及其中的错误均来自原始数据。",
    },
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_CATEGORIES = {
    "qa": "question-answering",
    "nli": "text-classification",
    "classification": "text-classification",
    "tagging": "token-classification",
    "summarization": "summarization",
    "translation": "translation",
}


def card(
    plan: ExportPlan,
    result: Mapping[str, Any],
    ledger: Mapping[str, Any],
    *,
    licence: str | None = None,
    language: str = "en",
) -> str:
    """Return the README of an exported data set.

    Args:
        plan: What was exported.
        result: What became of it, as in ``export.json``.
        ledger: The build's ledger.
        licence: Of the data.
        language: ``en`` or ``zh``: of the card's own words.
    """
    words = _WORDS["zh" if language == "zh" else "en"]
    lines = ["---", *_front(plan, result, ledger, licence), "---", "", f"# {plan.name}", ""]
    lines += [f"{words['about'].format(task=plan.task)} {printable(plan.summary)}", ""]
    lines += [words[f"trained_{plan.train}"], ""]
    lines += [] if licence else [words["licence"], ""]
    for title, head, rows in (
        ("sources", "source", list(_source_rows(ledger))),
        ("ledger", "outcome", list(_outcome_rows(ledger))),
        ("templates", "template", list(_template_rows(ledger))),
        ("overlap", "outcome", list(_overlap_rows(ledger))),
        ("lost", "loss", list(_loss_rows(result, words))),
    ):
        if rows:
            lines += [f"## {words[title]}", "", *_table(words[head], rows), ""]
        elif title == "lost":
            lines += [f"## {words[title]}", "", words["nothing_lost"], ""]
    lines += [f"## {words['limits']}", "", f"- {words['limit_templates']}", f"- {words['limit_origin']}", ""]
    return "\n".join(lines)


def _front(
    plan: ExportPlan, result: Mapping[str, Any], ledger: Mapping[str, Any], licence: str | None
) -> Iterator[str]:
    rows = sum(part["written"] for part in result["splits"].values())
    size = next((name for most, name in _SIZES if rows < most), "n>1M")
    files = [{"split": split, "path": name} for split, name in plan.files.items()]
    configs = [{"config_name": "default", "data_files": files}]
    splits = [
        {"name": split, "num_bytes": part["bytes"], "num_examples": part["written"]}
        for split, part in result["splits"].items()
    ]
    category = next((_CATEGORIES[name] for name in _CATEGORIES if plan.task.startswith(name)), "text-generation")
    front: dict[str, Any] = {
        "language": list(plan.languages),
        "license": licence or "unknown",
        "pretty_name": plan.name,
        "size_categories": [size],
        "task_categories": [category],
        "tags": ["instructforge", plan.task, result["format"]],
        "configs": configs,
        "dataset_info": {"splits": splits, "dataset_size": sum(part["num_bytes"] for part in splits)},
    }
    yield from (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items())


def _table(head: str, rows: list[tuple[Any, ...]]) -> Iterator[str]:
    yield f"| {head} |"
    yield "|---" * (head.count("|") + 1) + "|"
    for row in rows:
        yield "| " + " | ".join(printable(cell, 200).replace("|", "\\|") for cell in row) + " |"


def _source_rows(ledger: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for source in ledger["sources"]:
        how = f"{source['reader']}, {source['normalizer']}"
        yield source["label"], source["records"], source["read"], how, str(source.get("sha256") or "")[:16]


def _outcome_rows(ledger: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    totals = ledger["totals"]
    for outcome in ("read", "built", "skipped", "quarantined", "deduplicated", "unlabelled"):
        yield outcome, totals[outcome]
        found = ledger.get(outcome)
        if isinstance(found, Mapping):
            yield from ((f"— {reason}", count) for reason, count in found.items())


def _template_rows(ledger: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for key, part in ledger["templates"].items():
        yield key, sum(part["instructions"].values()), part["sha256"][:16]


def _overlap_rows(ledger: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    found = ledger.get("overlap")
    if isinstance(found, Mapping):
        yield from ((name, value) for name, value in found.items() if isinstance(value, (int, float, str)))


def _loss_rows(result: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[tuple[Any, ...]]:
    left: dict[str, int] = {}
    lost: dict[str, int] = {}
    for part in result["splits"].values():
        for reason, count in part["left_out"].items():
            left[reason] = left.get(reason, 0) + count
        for name, count in part["lost"].items():
            lost[name] = lost.get(name, 0) + count
    yield from ((words["left_out"].format(reason=reason), count) for reason, count in sorted(left.items()))
    yield from ((result["losses"].get(name, name), count) for name, count in sorted(lost.items()))
