"""One page for people: ``report.html``, with style and plots inside it, no script, and nothing to fetch.

Texts from data, templates and models are escaped by the template engine; characters that could turn the
text around or hide in it are shown as their codes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructforge.data import Reply, answer_from_json
from instructforge.metrics.base import text_of
from instructforge.report.plots import histogram, loss_curve
from instructforge.report.wording import metric_name, number, percent, points, reason_in, words_for

if TYPE_CHECKING:
    from instructforge.evaluation import Report

__all__ = ["page"]

_HERE = Path(__file__).parent
_LANGUAGES = {"en": {"en": "English", "zh": "Chinese"}, "zh": {"en": "英语", "zh": "汉语"}}
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: object) -> str:
    """Return a text fit to be shown: what would hide, or turn the line around, as its code.

    >>> shown("a\\u202eb")
    'a\\\\u202eb'
    """
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def page(report: Report, *, language: str = "en") -> str:
    """Return the report as one HTML page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    lang = "zh" if language.lower().startswith("zh") else "en"
    words = words_for(lang)
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        "shown": shown,
        "percent": percent,
        "number": number,
        "reason": lambda text: reason_in(text, lang),
        "whole_percent": lambda figure: f"{100 * figure:.0f}%",
        "brief": lambda text: shown(text if len(text) <= 80 else f"{text[:79]}…"),
        "answer": lambda value: _answer(value, words),
    }
    value = report.to_json()
    return environment.get_template("page.html").render(
        report=value,
        lang=lang,
        t=words,
        version=value["provenance"]["versions"].get("instructforge", ""),
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        summary=_summary(value, words, lang),
        remarks=_remarks(value, words, lang),
        bases=_bases(value),
        shown_metrics=[name for name in value["metrics"] if name != "undecoded"],
        metric=lambda name: metric_name(name, lang),
        metric_label=" / ".join(metric_name(name, lang) for name in value["metrics"] if name != "undecoded"),
        loss=Markup(_loss(value, words, 720, 300)),
        loss_narrow=Markup(_loss(value, words, 380, 260)),
        training_facts=_training_facts(value["training"], words, lang),
        histograms=[
            (name, Markup(histogram(spread, words, words[name])), spread) for name, spread in value["lengths"].items()
        ],
        label_tables=_label_tables(value, words),
        ledger=_ledger(value["ledger"]),
        equation=_equation(value["ledger"], words),
        overlap_rows=_overlap_rows,
        facts=_facts(value, words),
        first_kind=next((kind for kind in ("wrong", "undecoded", "right") if value["samples"].get(kind)), ""),
        answer=lambda given: _answer(given, words),
        place=_place,
        span_of=_span_of,
        ticks=_ticks,
        name_as_is=str,
        language_name=lambda name: _LANGUAGES[lang].get(name, name),
        seen_name=lambda name: words[name],
    )


# --- Sentences ----------------------------------------------------------------------------------------


def _summary(value: Mapping[str, Any], words: Mapping[str, str], lang: str) -> str:
    """Say in one or two sentences how good the model is, and against what."""
    name = next((name for name in value["metrics"] if name != "undecoded"), None)
    figure = value["metrics"][name] if name else {"value": None}
    if name is None or figure["value"] is None:
        return words["nothing_scored"]
    facts = {"metric": metric_name(name, lang), "value": percent(figure["value"]), "n": number(figure["n"])}
    if figure["low"] is None:
        return words["summary_bare"].format(**facts)
    first = words["summary"].format(**facts, low=percent(figure["low"]), high=percent(figure["high"]))
    gain = value["baseline"].get("gain", {}).get(name)
    if gain is None or gain["low"] is None:
        return first
    kind = "gain" if gain["low"] > 0 else "loss_to_baseline" if gain["high"] < 0 else "no_gain"
    sizes = {key: gain[key] if kind != "loss_to_baseline" else -gain[key] for key in ("value", "low", "high")}
    low, high = sorted((sizes["low"], sizes["high"]))
    second = words[kind].format(
        answer=value["baseline"]["answer"],
        base=percent(value["baseline"]["metrics"][name]["value"]),
        gain=points(sizes["value"]).lstrip("+"),
        low=points(low).lstrip("+"),
        high=points(high).lstrip("+"),
    )
    return f"{first}{' ' if lang == 'en' else ''}{second}"


def _remarks(value: Mapping[str, Any], words: Mapping[str, str], lang: str) -> str:
    """Say how the intervals were made, what chance reaches, and what was left out."""
    interval = value["provenance"]["interval"]
    kind = "grouped" if interval["groups"] < interval["rows"] else "ungrouped"
    found = [words[kind].format(groups=number(interval["groups"]), resamples=number(interval["resamples"]))]
    if value["baseline"].get("chance") is not None:
        found.append(words["chance"].format(value=percent(value["baseline"]["chance"])))
    found += [
        words[name].format(count=number(value["counts"][name]))
        for name in ("unlabelled", "unfinished")
        if value["counts"][name]
    ]
    found += [
        words["left_out"].format(metric=metric_name(name, lang), reason=reason_in(why, lang))
        for name, why in value["left_out"].items()
    ]
    return shown(("" if lang == "zh" else " ").join(found))


def _answer(given: Any, words: Mapping[str, str]) -> str:
    """Return an answer, as it stands in the report, as text."""
    if isinstance(given, Mapping):
        found = answer_from_json(given)
        return text_of(found) if isinstance(found, Reply) else str(given["text"]) or words["no_answer"]
    if isinstance(given, list):
        return ", ".join(map(str, given)) or words["no_labels"]
    return words["none_predicted"] if given is None else str(given)


# --- Scales -------------------------------------------------------------------------------------------


def _bases(value: Mapping[str, Any]) -> dict[str, float]:
    figures = value["baseline"].get("metrics", {})
    return {name: figure["value"] for name, figure in figures.items() if name != "undecoded"}


def _place(figure: float, low: float, high: float) -> float:
    """Return where a figure stands on a scale, in percent of its width."""
    return round(100 * (min(max(figure, low), high) - low) / (high - low), 2)


def _span_of(parts: Sequence[Mapping[str, Any]], name: str, base: float | None) -> tuple[float, float]:
    """Return a scale that holds all figures of one metric with their intervals, in whole tenths."""
    figures = [part["metrics"][name] for part in parts]
    found = [figure[key] for figure in figures for key in ("value", "low", "high") if figure[key] is not None]
    found += [] if base is None else [base]
    if not found:
        return 0.0, 1.0
    low, high = math.floor(10 * min(found) - 0.2) / 10, math.ceil(10 * max(found) + 0.2) / 10
    return max(0.0, low), min(1.0, high)


def _ticks(frame: tuple[float, float]) -> list[float]:
    """Return four to six marks on a scale of tenths."""
    tenths = round(10 * (frame[1] - frame[0]))
    step = 1 if tenths <= 5 else 2
    marks = [frame[0] + step * mark / 10 for mark in range(tenths // step + 1)]
    return [round(mark, 3) for mark in marks]


# --- Parts of the page --------------------------------------------------------------------------------


def _loss(value: Mapping[str, Any], words: Mapping[str, str], width: int, height: int) -> str:
    training = value["training"]
    best = training.get("best") or {}
    return loss_curve(training.get("log") or (), words, size=(width, height), kept=best.get("step"))


def _training_facts(training: Mapping[str, Any], words: Mapping[str, str], lang: str) -> list[tuple[str, str]]:
    """Return steps, the step whose weights were kept, and the last value of each figure that was logged."""
    found = [(words["steps"], number(training["steps"]))] if "steps" in training else []
    best = training.get("best") or {}
    if "step" in best:
        found.append((words["kept_at"], number(best["step"])))
    last: dict[str, Any] = {}
    for entry in training.get("log") or ():
        last |= {name: figure for name, figure in entry.items() if isinstance(figure, int | float)}
    named = [name for name in last if name not in ("step", "epoch", "learning_rate")]
    return found + [(words["last"].format(name=_logged(name, words, lang)), f"{last[name]:.4g}") for name in named[:8]]


def _logged(name: str, words: Mapping[str, str], lang: str) -> str:
    """Return what a logged figure is called: ``validation_loss`` → validation loss."""
    own = name.removeprefix("validation_")
    called = words["loss"] if own == "loss" else metric_name(own.replace("_", "-"), lang).lower()
    return called if own == name else f"{words['validation_loss']}{' ' if lang == 'en' else ''}{called}"


def _label_tables(value: Mapping[str, Any], words: Mapping[str, str]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return all labels in one table, or the ten weakest and the ten strongest of many."""
    rows = value["labels"]
    if len(rows) <= 20:
        return [("", rows)] if rows else []
    ordered = sorted((row for row in rows if row["n"]), key=lambda row: (row["f1"], row["label"]))
    return [(words["weakest"], ordered[:10]), (words["strongest"], ordered[-10:][::-1])]


_WENT = ("built", "skipped", "quarantined", "deduplicated")


def _went(ledger: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how many rows were read, and how many went each way; nothing where the ledger has no counts."""
    counts = ledger.get("totals", ledger)
    return {name: _total(counts.get(name, 0)) for name in ("read", *_WENT)} if "read" in counts else {}


def _overlap_rows(overlap: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Return what else there is to say of an overlap: name, count, and of how many rows."""
    grams = overlap.get("ngrams")
    if not grams:
        return []
    rows = [("with_answer", overlap["with_answer"], overlap["test"])]
    return rows + [(name, grams[name], grams["rows"]) for name in ("any", "most") if grams["rows"]]


def _ledger(ledger: Mapping[str, Any]) -> list[dict[str, Any]]:
    went = _went(ledger)
    return [
        {"name": name, "count": went[name], "read": went["read"], "reasons": _reasons(ledger.get(name, 0))}
        for name in (_WENT if went else ())
    ]


def _equation(ledger: Mapping[str, Any], words: Mapping[str, str]) -> str:
    went = _went(ledger)
    return words["adds_up"].format(**{name: number(count) for name, count in went.items()}) if went else ""


def _total(value: Any) -> int:
    return sum(map(_total, value.values())) if isinstance(value, Mapping) else int(value)


def _reasons(value: Any) -> list[tuple[str, int]]:
    if not isinstance(value, Mapping):
        return []
    return sorted(((str(name), _total(part)) for name, part in value.items()), key=lambda item: (-item[1], item[0]))


def _facts(value: Mapping[str, Any], words: Mapping[str, str]) -> list[tuple[str, list[tuple[str, Any]]]]:
    provenance, training = value["provenance"], value["training"]
    found = {
        words["fingerprints"]: provenance["fingerprints"],
        words["templates"]: {name: sha256[:16] for name, sha256 in provenance["templates"].items()},
        words["reads"]: {str(place): name for place, name in enumerate(provenance["reads"], 1)},
        words["settings"]: training.get("settings") or {},
        words["counts"]: training.get("counts") or {},
    }
    return [(title, list(values.items())) for title, values in found.items() if values]
