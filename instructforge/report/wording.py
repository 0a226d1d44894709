"""The words of the page and of the table, in English and Chinese, and how figures are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["WORDS", "metric_name", "number", "percent", "points", "reason_in", "words_for"]

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "report": "Evaluation report",
        "mixture": "Mixture",
        "mixture_about": "One model, trained on {n} tasks; each is scored by itself.",
        "mixture_share": "{rate} of the training rows: {rows} of its {size} an epoch",
        "metric": "metric",
        "value": "value",
        "n": "n",
        "interval": "95% interval",
        "baseline_of": "always “{answer}” ({why})",
        "baseline_short": "baseline",
        "baseline_counted_train": "the commonest answer of the training rows",
        "baseline_counted_test": "the commonest answer of the test rows themselves",
        "chance": "A uniform guess among each row’s choices is right in {value} of rows.",
        "summary": "{metric} is {value} on {n} rows (95% interval {low} to {high}).",
        "summary_bare": "{metric} is {value} on {n} rows.",
        "gain": "Always answering “{answer}” reaches {base}; the model is {gain} points better ({low} to {high}).",
        "loss_to_baseline": (
            "Always answering “{answer}” reaches {base}; the model is {gain} points worse ({low} to {high})."
        ),
        "no_gain": (
            "Always answering “{answer}” reaches {base}; "
            "the difference of {gain} points ({low} to {high}) may be chance."
        ),
        "nothing_scored": "No row could be scored: there are no gold answers.",
        "key_figures": "Key figures",
        "grouped": "Intervals resample {groups} groups of rows that belong together, {resamples} times.",
        "ungrouped": "Intervals resample {groups} rows, {resamples} times.",
        "exact_bound": "exact bound: every row scored alike",
        "no_interval": "no interval: one group of rows",
        "left_out": "{metric} is left out: {reason}.",
        "training": "Training",
        "loss": "loss",
        "step": "step",
        "train_loss": "training",
        "validation_loss": "validation",
        "kept_step": "weights kept",
        "steps": "steps",
        "last": "{name}, last",
        "kept_at": "weights kept from step",
        "by_template": "By template",
        "by_language": "By language",
        "by_seen": "Seen in training, or not",
        "seen": "seen in training",
        "unseen": "not seen",
        "inverted": "Inverted templates",
        "inverted_note": "These instructions ask for a field of the row; they are scored apart, as texts.",
        "confusion": "Which answer is taken for which",
        "confusion_places": "Where the right choice stood, and where the chosen one",
        "gold": "gold",
        "predicted": "predicted",
        "count": "rows",
        "of_gold": "of its gold rows",
        "none_predicted": "undecoded",
        "top_confusions": "Most often confused",
        "weakest": "Weakest labels",
        "strongest": "Strongest labels",
        "by_label": "By label",
        "label": "label",
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "undecoded_title": "What could not be decoded",
        "undecoded_none": "Every output could be decoded.",
        "reason": "reason",
        "example": "an example",
        "other_reasons": "other reasons",
        "unfinished": "{count} outputs were cut off at the limit of new tokens.",
        "unlabelled": "{count} rows have no gold answer and are left out of every figure.",
        "ledger": "Where every row went",
        "read": "read",
        "built": "built",
        "skipped": "skipped",
        "quarantined": "quarantined",
        "deduplicated": "deduplicated",
        "adds_up": (
            "{read} read = {built} built + {skipped} skipped + {quarantined} quarantined + {deduplicated} deduplicated"
        ),
        "overlap": "Overlap with the training rows",
        "overlap_none": "Not measured: no training rows were given.",
        "overlap_clean": "None of the {test} test examples occurs among the {train} training examples.",
        "overlap_some": "{normalised} of the {test} test examples occur among the {train} training examples.",
        "overlap_exact": "exactly the same inputs",
        "overlap_normalised": "the same but for case, width, spaces and punctuation",
        "overlap_source": "from a source (such as a passage) that training rows come from too",
        "overlap_with_answer": "the same, and the answer too",
        "overlap_any": "an n-gram of it occurs in training",
        "overlap_most": "at least half of its n-grams do",
        "overlap_of": "of {rows}",
        "overlap_field": "by field",
        "overlap_whole": "the whole text is a field of a training row",
        "overlap_note": (
            "n-grams are of {words} words, or of {characters} characters in scripts without spaces; "
            "texts shorter than that have none and are not counted"
        ),
        "lengths": "Lengths in characters",
        "prompt": "prompts",
        "answer": "gold answers",
        "output": "outputs",
        "length_note": "median {median}, 95% below {p95}, longest {most}",
        "rows_axis": "rows",
        "characters_axis": "characters",
        "samples": "Predictions, picked by lot",
        "wrong": "Wrong",
        "right": "Right",
        "undecoded": "Undecoded",
        "said": "output",
        "score": "score",
        "from": "from",
        "no_answer": "(no answer)",
        "no_labels": "(none)",
        "provenance": "Where this comes from",
        "seed": "seed",
        "resamples": "resamples",
        "bootstrap": "percentile bootstrap",
        "templates": "templates",
        "reads": "fields that the model reads",
        "versions": "versions",
        "fingerprints": "fingerprints",
        "settings": "training settings",
        "counts": "training counts",
        "system": "system",
        "user": "user",
        "assistant": "assistant",
        "tool": "tool",
        "footer": "Written by InstructForge {version}. The same figures stand in report.json.",
        "difference": "difference",
    },
    "zh": {
        "report": "评测报告",
        "mixture": "多任务混合",
        "mixture_about": "一个模型，同时训练 {n} 个任务；各任务分别评分。",
        "mixture_share": "占训练数据的 {rate}：每轮取 {rows} 行，共有 {size} 行",
        "metric": "指标",
        "value": "数值",
        "n": "n",
        "interval": "95% 置信区间",
        "baseline_of": "始终回答“{answer}”（{why}）",
        "baseline_short": "基线",
        "baseline_counted_train": "训练数据中最常见的答案",
        "baseline_counted_test": "测试数据自身最常见的答案",
        "chance": "若在每条数据的选项中均匀随机猜测，正确率为 {value}。",
        "summary": "在 {n} 条数据上，{metric}为 {value}（95% 置信区间 {low} 至 {high}）。",
        "summary_bare": "在 {n} 条数据上，{metric}为 {value}。",
        "gain": "始终回答“{answer}”可得 {base}，模型高出 {gain} 个百分点（{low} 至 {high}）。",
        "loss_to_baseline": "始终回答“{answer}”可得 {base}，模型反而低 {gain} 个百分点（{low} 至 {high}）。",
        "no_gain": "始终回答“{answer}”可得 {base}；相差 {gain} 个百分点（{low} 至 {high}），可能只是偶然。",
        "nothing_scored": "没有可评分的数据：所有数据都缺少标准答案。",
        "key_figures": "主要指标",
        "grouped": "置信区间按 {groups} 组相关数据重采样 {resamples} 次得出。",
        "ungrouped": "置信区间由 {groups} 条数据重采样 {resamples} 次得出。",
        "exact_bound": "精确界：所有数据得分相同",
        "no_interval": "无区间：数据只有一组",
        "left_out": "未计算{metric}：{reason}。",
        "training": "训练",
        "loss": "损失",
        "step": "步",
        "train_loss": "训练",
        "validation_loss": "验证",
        "kept_step": "保留的权重",
        "steps": "步数",
        "last": "{name}（末值）",
        "kept_at": "所保留权重的步",
        "by_template": "按模板",
        "by_language": "按语言",
        "by_seen": "是否在训练中出现过",
        "seen": "训练中出现过",
        "unseen": "未出现过",
        "inverted": "反向模板",
        "inverted_note": "这些指令要求写出数据中的某个字段，按文本单独评分，不计入其他指标。",
        "confusion": "哪些答案被误认为哪些",
        "confusion_places": "正确选项与所选选项的位置",
        "gold": "标准答案",
        "predicted": "预测",
        "count": "条数",
        "of_gold": "占该标准答案",
        "none_predicted": "未解码",
        "top_confusions": "最常混淆的答案",
        "weakest": "最弱的标签",
        "strongest": "最强的标签",
        "by_label": "按标签",
        "label": "标签",
        "precision": "精确率",
        "recall": "召回率",
        "f1": "F1",
        "undecoded_title": "未能解码的输出",
        "undecoded_none": "所有输出均已解码。",
        "reason": "原因",
        "example": "示例",
        "other_reasons": "其他原因",
        "unfinished": "{count} 条输出在达到新词元上限时被截断。",
        "unlabelled": "{count} 条数据没有标准答案，未计入任何指标。",
        "ledger": "每条数据的去向",
        "read": "读取",
        "built": "构建",
        "skipped": "跳过",
        "quarantined": "隔离",
        "deduplicated": "去重",
        "adds_up": "读取 {read} = 构建 {built} + 跳过 {skipped} + 隔离 {quarantined} + 去重 {deduplicated}",
        "overlap": "与训练数据的重叠",
        "overlap_none": "未测量：没有提供训练数据。",
        "overlap_clean": "{test} 条测试样例均未出现在 {train} 条训练样例中。",
        "overlap_some": "{test} 条测试样例中有 {normalised} 条出现在 {train} 条训练样例中。",
        "overlap_exact": "输入完全相同",
        "overlap_normalised": "忽略大小写、全半角、空格和标点后相同",
        "overlap_source": "与训练数据出自同一来源（如同一段落）",
        "overlap_with_answer": "同上，且答案也相同",
        "overlap_any": "至少一个 n 元片段出现在训练数据中",
        "overlap_most": "至少一半 n 元片段出现在训练数据中",
        "overlap_of": "（共 {rows} 条）",
        "overlap_field": "按字段",
        "overlap_whole": "整段文本就是某条训练样例的一个字段",
        "overlap_note": (
            "n 元片段为 {words} 个单词；中文等不以空格分词的文字为 {characters} 个字。更短的文本没有片段，不计入。"
        ),
        "lengths": "长度（字符数）",
        "prompt": "提示",
        "answer": "标准答案",
        "output": "输出",
        "length_note": "中位数 {median}，95% 低于 {p95}，最长 {most}",
        "rows_axis": "条数",
        "characters_axis": "字符数",
        "samples": "随机抽取的预测",
        "wrong": "错误",
        "right": "正确",
        "undecoded": "未解码",
        "said": "输出",
        "score": "得分",
        "from": "来源",
        "no_answer": "（无答案）",
        "no_labels": "（无）",
        "provenance": "数据来源与环境",
        "seed": "随机种子",
        "resamples": "重采样次数",
        "bootstrap": "百分位自助法",
        "templates": "模板",
        "reads": "模型读入的字段",
        "versions": "版本",
        "fingerprints": "指纹",
        "settings": "训练设置",
        "counts": "训练计数",
        "system": "系统",
        "user": "用户",
        "assistant": "助手",
        "tool": "工具",
        "footer": "由 InstructForge {version} 生成。相同的数字见 report.json。",
        "difference": "差值",
    },
}

_METRICS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "accuracy": "Accuracy",
        "macro-f1": "Macro F1",
        "micro-f1": "Micro F1",
        "exact-match": "Exact match",
        "token-f1": "Token F1",
        "squad-em": "Exact match",
        "squad-f1": "F1",
        "undecoded": "Undecoded",
    },
    "zh": {
        "accuracy": "准确率",
        "macro-f1": "宏平均 F1",
        "micro-f1": "微平均 F1",
        "exact-match": "完全一致率",
        "token-f1": "词元 F1",
        "squad-em": "完全匹配率",
        "squad-f1": "F1",
        "undecoded": "未解码率",
    },
}


_REASONS: tuple[tuple[str, str], ...] = (
    (r"names none of the choices", "未提及任何选项"),
    (r"names (\d+) choices", r"提及了 \1 个选项"),
    (r"the model wrote nothing", "模型没有输出"),
    (r"does not stand in (\w+)", r"不在 \1 中"),
    (r"may be the beginning of", "可能是另一选项的开头"),
    (r"can be read as two different lists of labels", "可读作两组不同的标签"),
    (r"the model found no span in (\w+)", r"模型在 \1 中没有找到片段"),
    (r"each row has choices of its own", "每条数据的选项各不相同"),
    (r" \(the model stopped at the limit of new tokens\)", "（输出达到新词元上限）"),
    (r"the engine gave no (text|spans)", "引擎没有给出结果"),
)


def reason_in(reason: str, language: str) -> str:
    """Return why something could not be decoded, in the page's language where the reason is a known one.

    >>> reason_in("names 2 choices", "zh")
    '提及了 2 个选项'
    """
    if language.lower().startswith("zh"):
        for pattern, words in _REASONS:
            reason = re.sub(pattern, words, reason)
    return reason


def words_for(language: str) -> Mapping[str, str]:
    """Return the words of a language: Chinese for ``zh`` in any form, else English."""
    return WORDS["zh" if language.lower().startswith("zh") else "en"]


def metric_name(name: str, language: str) -> str:
    """Return what people call a metric; its own name where no word is known.

    >>> metric_name("accuracy", "zh"), metric_name("bleu", "en")
    ('准确率', 'bleu')
    """
    return _METRICS["zh" if language.lower().startswith("zh") else "en"].get(name, name)


def percent(value: float | None) -> str:
    """Return a figure between 0 and 1 as a percentage; a dash where there is none.

    >>> percent(0.7837), percent(1.0), percent(None)
    ('78.4%', '100%', '–')
    """
    if value is None:
        return "–"
    return "100%" if value == 1 else "0%" if value == 0 else f"{100 * value:.1f}%"


def points(value: float) -> str:
    """Return a difference of two figures in percentage points, with its sign.

    >>> points(0.123), points(-0.02)
    ('+12.3', '−2.0')
    """
    return f"{100 * value:+.1f}".replace("-", "−")


def number(value: Any) -> str:
    """Return a count with its thousands apart.

    >>> number(12345), number(0.25)
    ('12,345', '0.25')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
