"""What stands beside the figures: what failed to decode, lengths, samples, and where all of it comes from."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from instructforge.data import Example, Instruction, Prediction, answer_to_json
from instructforge.evaluation.figures import LEVEL, Pair, Table
from instructforge.files import seed_of
from instructforge.tasks import Task

__all__ = ["lengths", "provenance", "samples", "storable", "undecoded", "without_times"]

SAMPLES_OF_A_KIND = 6


def undecoded(table: Table) -> dict[str, Any]:
    failed = [(one, said) for one, said in table.pairs if said.answer is None]
    reasons: dict[str, list[Pair]] = {}
    for one, said in failed:
        reasons.setdefault(_reason(said.error or "no answer"), []).append((one, said))
    ordered = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
    return {
        "count": len(failed),
        "reasons": [
            {"reason": reason, "count": len(rows), "example": {"id": rows[0][0].id, "raw": _cut(rows[0][1].raw, 300)}}
            for reason, rows in ordered[:5]
        ],
        "other_reasons": sum(len(rows) for _, rows in ordered[5:]),
    }


def _reason(error: str) -> str:
    """Return an error without what is particular to its row.

    >>> _reason('"maybe so" names none of the choices: yes, no')
    'names none of the choices'
    """
    general = re.sub(r'"[^"]*"', "…", error.partition("\n")[0])
    return re.sub(r"^… | \([^)]*characters\)", "", general).partition(": ")[0].strip() or error


def lengths(pairs: Sequence[Pair]) -> dict[str, Any]:
    measured = {
        "prompt": [sum(len(message.content) for message in one.prompt) for one, _ in pairs],
        "answer": [len(one.completion) for one, _ in pairs if one.completion],
        "output": [len(said.raw) for _, said in pairs if said.raw],
    }
    return {name: _spread(values) for name, values in measured.items() if values}


def _spread(values: Sequence[int]) -> dict[str, Any]:
    counts, edges = np.histogram(values, bins=min(24, max(1, max(values) - min(values))))
    names = ("least", "p5", "median", "p95", "most")
    quantiles = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
    return {
        "n": len(values),
        "mean": float(np.mean(values)),
        **{name: float(quantile) for name, quantile in zip(names, quantiles, strict=True)},
        "histogram": {"counts": counts.tolist(), "edges": [float(edge) for edge in edges]},
    }


def samples(pairs: Sequence[Pair], task: Task, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Pick a few predictions of each kind; which ones depends on seed and id alone."""
    kinds: dict[str, list[Pair]] = {"wrong": [], "right": [], "undecoded": []}
    for one, said in pairs:
        kinds[_kind(one, said, task)].append((one, said))

    def _lot(pair: Pair) -> int:
        return seed_of(seed, "sample", pair[0].id, pair[0].language, pair[0].template)

    return {
        kind: [_sample(*pair) for pair in sorted(found, key=_lot)[:SAMPLES_OF_A_KIND]] for kind, found in kinds.items()
    }


def _kind(one: Instruction, said: Prediction, task: Task) -> str:
    if said.answer is None:
        return "undecoded"
    return "right" if any(task.target.equal(said.answer, gold) for gold in one.example.answers) else "wrong"


def _sample(one: Instruction, said: Prediction) -> dict[str, Any]:
    return {
        "id": one.id,
        "origin": str(one.example.origin),
        "template": f"{one.language}/{one.template}",
        "prompt": [{"role": message.role, "content": _cut(message.content, 4000)} for message in one.prompt],
        "answers": [answer_to_json(answer) for answer in one.example.answers[:5]],
        "predicted": answer_to_json(said.answer),
        "score": said.score,
        "raw": _cut(said.raw, 2000),
        "error": said.error,
        "notes": list(said.notes),
    }


def storable(value: Any) -> Any:
    """Return ``value`` with what UTF-8 cannot hold (half of a surrogate pair) as its code."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {storable(key): storable(part) for key, part in value.items()}
    return [storable(part) for part in value] if isinstance(value, list | tuple) else value


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


_TIMES = re.compile(r"seconds|runtime|per_second|_time$|^time$|^total_flos$")


def without_times(training: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out times and rates: two runs with the same outcome have the same report, byte for byte."""

    def _kept(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): _kept(part) for key, part in value.items() if not _TIMES.search(str(key))}
        if isinstance(value, list | tuple):
            return [_kept(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return dict(_kept(training))


_REPORTED_VERSIONS = (
    *("instructforge", "numpy", "pluggy", "jinja2", "attrs", "pyarrow"),
    *("torch", "transformers", "tokenizers", "peft", "accelerate", "datasets"),
    *("sacrebleu", "rouge-score"),
)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in _REPORTED_VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(
    pairs: Sequence[Pair], table: Table, fingerprints: Mapping[str, Any], reads: Sequence[str]
) -> dict[str, Any]:
    templates = {f"{one.task}/{one.language}/{one.template}": one.template_sha256 for one, _ in pairs if not reads}
    signatures = _signatures(table)
    return {
        "seed": table.seed,
        "interval": {
            "method": "percentile bootstrap",
            "level": LEVEL,
            "resamples": table.resamples,
            "rows": len(table.pairs),
            "groups": len(np.unique(table.groups)),
        },
        "templates": dict(sorted(templates.items())),
        "reads": list(reads),
        "fingerprints": dict(fingerprints),
        "versions": _versions(),
        **({"metrics": signatures} if signatures else {}),
    }


def _signatures(table: Table) -> dict[str, str]:
    """Return what each metric says of how it computed its figure, where it says so."""
    examples = [one.example for one, _ in table.pairs]
    found: dict[str, str] = {}
    for metric in table.metrics if examples else ():
        signature: Callable[[Sequence[Example]], str] | None = getattr(metric, "signature", None)
        if signature:
            found[metric.name] = signature(examples)
    return found
