"""The pages on the installed tasks, in English and Chinese: from discovery, so that they cannot go out of date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from instructforge.plugins import Forge
from instructforge.tasks import Task

__all__ = ["our_forge", "task_texts", "tasks_page"]

ROOT = Path(__file__).parents[1]
LABELS_SHOWN = 12

Translate = Callable[[str], str]
"""A text of the code → the same in the page's language, or as it is where nobody has translated it."""

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "head": """# Tasks

[中文](tasks.zh.md)

The tasks of the packages in `plugins/`. `instructforge tasks NAME` shows the card of one, with a sample; other packages
add theirs. A row that fits one of a task's forms is read as it is; `--column FIELD=COLUMN` names other columns, and
`--normalizer NAME` a form.

(This page is written by `make docs` from the installed tasks.)
""",
        "overview": "| task | answer | what it asks | package |",
        "package": "package",
        "answer": "Answer",
        "field": "| field | kind | holds |",
        "optional": "optional",
        "form": "| normalizer | reads | wants |",
        "metrics": "Metrics",
        "decoders": "Decoders",
        "decoding": "{text} for text, {head} for a model's head",
        "templates": "Templates",
        "samples": "samples",
        "readme": "README.md",
        "comma": ", ",
        "semicolon": "; ",
        "colon": ": ",
        "stop": ".",
        "of_labels": "one of {n} labels: {labels}",
        "of_field": "one of the field `{name}`",
        "several": ", several at once",
        "span": "a stretch of the field `{name}`",
        "nullable": ", or that there is none",
        "text": "text",
        "tags": "a tag for each token of the field `{name}`",
        "types": ", of the types in the field `{name}`",
        "types_known": ", of the types {labels}",
        "ranking": "some of the field `{name}`, best first",
    },
    "zh": {
        "head": """# 任务

[English](tasks.md)

这里列出 `plugins/` 下各软件包提供的任务。`instructforge tasks 任务名` 显示一个任务的卡片和样例；装上别的软件包，任务
随之增加。数据行符合下列任何一种形式即可直接读取；列名不同时用 `--column 字段=列名` 指明，需要指定形式时用
`--normalizer 名称`。

（本页由 `make docs` 根据已安装的任务生成；尚无译文的说明保留英文。）
""",
        "overview": "| 任务 | 答案 | 问什么 | 软件包 |",
        "package": "软件包",
        "answer": "答案",
        "field": "| 字段 | 类型 | 内容 |",
        "optional": "可缺",
        "form": "| 归一化器 | 读什么 | 需要的列 |",
        "metrics": "指标",
        "decoders": "解码器",
        "decoding": "文本用 {text}，模型头用 {head}",
        "templates": "模板",
        "samples": "样例",
        "readme": "README.zh.md",
        "comma": "、",
        "semicolon": "；",
        "colon": "：",
        "stop": "。",
        "of_labels": "{n} 个标签之一：{labels}",
        "of_field": "字段 `{name}` 中的一项",
        "several": "，可以多选",
        "span": "字段 `{name}` 中的一段",
        "nullable": "，也可以没有",
        "text": "文本",
        "tags": "字段 `{name}` 中每个词元一个标签",
        "types": "，类型由字段 `{name}` 给出",
        "types_known": "，类型为 {labels}",
        "ranking": "字段 `{name}` 中的若干项，最合适的在前",
    },
}


def our_forge() -> Forge:
    """Discover the packages of ``plugins/``, whatever else is installed."""
    ours = {path.name for path in (ROOT / "plugins").iterdir()} | {"instructforge"}
    everything = Forge.discover()
    others = {info.name for info in everything.plugins if info.distribution and info.distribution not in ours}
    return Forge.discover(disabled=tuple(sorted(others))) if others else everything


def task_texts(forge: Forge) -> Iterator[str]:
    """Yield every text of the code that stands on the page, for whoever translates."""
    for name in forge.tasks:
        task = forge.tasks.get(name)
        yield task.summary
        yield from (part.summary for part in task.fields.values())
        for form in _forms(forge, task):
            yield from filter(None, (form.summary, form.wants))


def tasks_page(forge: Forge, language: str, translate: Translate) -> str:
    """Return the page in a language."""
    words = WORDS[language]
    tasks = [forge.tasks.get(name) for name in forge.tasks]
    lines = [words["head"], words["overview"], "|---|---|---|---|"]
    for task in tasks:
        link = f"[{_package(forge, task)}]({_readme(forge, task, words)})"
        lines.append(f"| [`{task.name}`](#{task.name}) | {_kind(task)} | {translate(task.summary)} | {link} |")
    for task in tasks:
        lines += ["", *_section(forge, task, words, translate)]
    return "\n".join(lines) + "\n"


def _section(forge: Forge, task: Task, words: Mapping[str, str], translate: Translate) -> Iterator[str]:
    colon, stop, comma = words["colon"], words["stop"], words["comma"]
    yield f"## {task.name}\n\n{translate(task.summary)}\n"
    yield f"{words['answer']}{colon}{_answer(task, words)}{stop}\n"
    yield f"{words['field']}\n|---|---|---|"
    for name, part in task.fields.items():
        kind = part.kind + (f"{comma}{words['optional']}" if part.optional else "")
        yield f"| `{name}` | {kind} | {_cell(translate(part.summary))} |"
    yield f"\n{words['form']}\n|---|---|---|"
    for form in _forms(forge, task):
        yield f"| `{form.name}` | {_cell(translate(form.summary))} | {_cell(translate(form.wants))} |"
    decoding = words["decoding"].format(text=f"`{task.decoder_name}`", head=f"`{task.target.head_decoder}`")
    yield f"\n{words['metrics']}{colon}{comma.join(f'`{name}`' for name in task.metric_names)}{stop}"
    yield f"{words['decoders']}{colon}{decoding}{stop}"
    yield f"{words['templates']}{colon}{_counts(forge, task, words)}{stop}"


def _forms(forge: Forge, task: Task) -> list[Any]:
    return list(forge.normalizers_for(task))


def _package(forge: Forge, task: Task) -> str:
    owner = forge.tasks.owner(task.name)
    return next(info.distribution for info in forge.plugins if info.name == owner)


def _readme(forge: Forge, task: Task, words: Mapping[str, str]) -> str:
    return f"../plugins/{_package(forge, task)}/{words['readme']}"


def _kind(task: Task) -> str:
    return f"`{type(task.target).__name__}`"


def _answer(task: Task, words: Mapping[str, str]) -> str:
    target: Any = task.target
    kind = type(target).__name__
    if kind == "Choice":
        many = words["of_labels"].format(n=len(target.options), labels=_labels(target.options, words))
        chosen = words["of_field"].format(name=target.from_field) if target.from_field else many
        return chosen + (words["several"] if target.multiple else "")
    if kind == "Span":
        return words["span"].format(name=target.within) + (words["nullable"] if target.nullable else "")
    if kind == "Tags":
        types = words["types"].format(name=target.from_field) if target.from_field else ""
        types = types or words["types_known"].format(labels=_labels(target.options, words))
        return words["tags"].format(name=target.within) + types
    if kind == "Ranking":
        return words["ranking"].format(name=target.from_field)
    return words["text"] if kind == "Text" else kind


def _labels(options: Mapping[str, Any], words: Mapping[str, str]) -> str:
    shown = words["comma"].join(f"`{label}`" for label in list(options)[:LABELS_SHOWN])
    return shown + (" …" if len(options) > LABELS_SHOWN else "")


def _counts(forge: Forge, task: Task, words: Mapping[str, str]) -> str:
    told = []
    for language in sorted({ref.language for ref in forge.templates.refs(task.name)}):
        refs = len(forge.templates.refs(task.name, language))
        samples = sum(sample.language == language for sample in task.samples)
        told.append(f"{language} {refs} ({words['samples']} {samples})")
    return words["semicolon"].join(told)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
