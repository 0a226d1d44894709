"""What the encoder trainer reaches with its defaults on real data, and in what time.

    INSTRUCTFORGE_DATA=/path/to/data python benchmarks/baselines.py [NAME ...] [--threads 2] [--model minilm]

``banking77``: the task ``intent``: the customer's question, 77 labels, 10,003 rows to train, 3,080 to test.
``nli-90s``, ``nli-360s``: counterfactual SNLI, 8,330 pairs to train, 1,000 dev pairs to test, in a given time.
``squad-overfit``: 64 questions of SQuAD, trained and answered: the code can learn what it is shown.
Seconds are those of ``EncoderTrainer.train``: reading, features, steps and validation.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

import instructforge_classification
from instructforge.data import Answer, Example, Instruction, Message, Origin, SpanAnswer
from instructforge.files import write_json
from instructforge.manifest import library_versions
from instructforge.tasks import Choice, Span, Task

RESULTS = Path(__file__).parent / "results" / "baselines.json"

INTENT = next(task for task in instructforge_classification.instructforge_tasks() if task.name == "intent")
NLI = Task(
    "nli",
    summary="Tell whether the premise entails the hypothesis.",
    fields={"premise": "taken as true", "hypothesis": "judged"},
    target=Choice(["entailment", "neutral", "contradiction"]),
)
QA = Task(
    "qa",
    summary="Answer with a span of the passage.",
    fields={"question": "asked", "context": "the passage"},
    target=Span(within="context", nullable=True),
)


@frozen(kw_only=True)
class Bar:
    """One thing to reach.

    Args:
        task: The task.
        rows: Folder of data → rows to train on, rows to test on.
        settings: Of the trainer; what is not here is its default.
        figure: Name of the figure.
        least: What it has to reach.
        seconds: In which time; None for any.
    """

    task: Task
    rows: Callable[[Path], tuple[list[Instruction], list[Instruction]]]
    settings: dict[str, Any]
    figure: str
    least: float
    seconds: float | None


def _instruction(task: Task, source: str, number: int, inputs: dict[str, Any], answer: Answer) -> Instruction:
    example = Example(
        inputs=inputs, answers=(answer,), id=f"{source}-{number}", origin=Origin(source, number), language="en"
    )
    return Instruction(
        example=example,
        task=task.name,
        language="en",
        template="none",
        template_sha256="",
        messages=(Message(role="user", content="-"), Message(role="assistant", content="-", trained=True)),
        labels=task.target.labels(inputs),
    )


def banking77(data: Path) -> tuple[list[Instruction], list[Instruction]]:
    """Return the rows of banking77: every row brings the question and the same 77 labels."""
    folder = data / "classification" / "banking77"
    labels = json.loads((folder / "categories.json").read_text(encoding="utf-8"))

    def read(name: str) -> Iterator[Instruction]:
        with (folder / name).open(encoding="utf-8", newline="") as handle:
            for number, row in enumerate(csv.DictReader(handle), 1):
                inputs = {"text": row["text"], "labels": labels}
                yield _instruction(INTENT, name, number, inputs, row["category"])

    return list(read("train.csv")), list(read("test.csv"))


def counterfactual_snli(data: Path) -> tuple[list[Instruction], list[Instruction]]:
    """Return the pairs of counterfactual SNLI; its dev part is the test."""
    folder = data / "nli" / "counterfactual_snli" / "all_combined"

    def read(name: str) -> Iterator[Instruction]:
        with (folder / name).open(encoding="utf-8", newline="") as handle:
            for number, row in enumerate(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE), 2):
                inputs = {"premise": row["sentence1"], "hypothesis": row["sentence2"]}
                yield _instruction(NLI, name, number, inputs, row["gold_label"])

    return list(read("train.tsv")), list(read("dev.tsv"))


def squad64(data: Path) -> tuple[list[Instruction], list[Instruction]]:
    """Return the first 64 answered questions of SQuAD, to train and to test."""
    path = data / "extractive_qa" / "squad_v2_dev_subset" / "dev-v1.1.json"
    rows: list[Instruction] = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                if question.get("answers") and len(rows) < 64:
                    found = question["answers"][0]
                    answer = SpanAnswer(found["text"], found["answer_start"])
                    inputs = {"question": question["question"], "context": paragraph["context"]}
                    rows.append(_instruction(QA, path.name, len(rows) + 1, inputs, answer))
    return rows, rows


OVERFIT = {"epochs": 20, "learning_rate": 5e-4, "max_length": 256, "validation_share": 0}

BARS = {
    "banking77": Bar(task=INTENT, rows=banking77, settings={}, figure="accuracy", least=0.92, seconds=180),
    "nli-90s": Bar(
        task=NLI, rows=counterfactual_snli, settings={"max_seconds": 90}, figure="accuracy", least=0.55, seconds=90
    ),
    "nli-360s": Bar(
        task=NLI, rows=counterfactual_snli, settings={"max_seconds": 360}, figure="accuracy", least=0.63, seconds=360
    ),
    "squad-overfit": Bar(task=QA, rows=squad64, settings=OVERFIT, figure="exact match", least=0.95, seconds=None),
}


def share_right(folder: Path, task: Task, rows: Sequence[Instruction]) -> float:
    """Return the share of rows that the model in ``folder`` answers with the gold answer's text."""
    from instructforge.decoders import ChoiceScoresDecoder, SpanDecoder
    from instructforge.engines import open_engine

    decoder = SpanDecoder() if task.target.head == "span" else ChoiceScoresDecoder()
    found = decoder.decode(list(open_engine(folder).outputs(rows, decoder.needs)), rows, task)
    right = sum(
        one.answer is not None and task.target.equal(one.answer, row.example.answers[0])
        for one, row in zip(found, rows, strict=True)
    )
    return right / len(rows)


def run(name: str, data: Path, model: Path) -> dict[str, Any]:
    """Train and test for one bar; return what came out."""
    from instructforge.training.heads.trainer import EncoderTrainer
    from instructforge.training.job import TrainingJob

    bar = BARS[name]
    train, test = bar.rows(data)
    folder = Path(tempfile.mkdtemp(prefix="instructforge-baseline-"))
    try:
        job = TrainingJob(
            task=bar.task,
            train=train,
            model=model,
            out=folder / "model",
            work=folder / "work",
            settings=bar.settings,
        )
        begun = time.process_time()
        result = EncoderTrainer().train(job)
        cpu = time.process_time() - begun
        figure = share_right(folder / "model", bar.task, test)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "figure": bar.figure,
        "value": round(figure, 4),
        "least": bar.least,
        "reached": figure >= bar.least and (bar.seconds is None or result.seconds <= bar.seconds * 1.02),
        "n": len(test),
        "train": result.counts["train"],
        "validation": result.counts["validation"],
        "seconds": round(result.seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "allowed_seconds": bar.seconds,
        "steps": result.steps,
        "notices": list(result.notices),
    }


def main() -> int:
    """Run the bars that are named, or all; return 1 if one was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", choices=[*BARS, []], default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="minilm")
    options = parser.parse_args()
    data = os.environ.get("INSTRUCTFORGE_DATA")
    if not data:
        print("INSTRUCTFORGE_DATA is not set: it names the folder of the data sets", file=sys.stderr)
        return 2

    import torch

    from instructforge.models import resolve

    torch.set_num_threads(options.threads)
    results = json.loads(RESULTS.read_text(encoding="utf-8"))["results"] if RESULTS.is_file() else {}
    for name in options.names or BARS:
        found = run(name, Path(data), resolve(options.model))
        load = os.getloadavg()[0]
        results[name] = {**found, "threads": options.threads, "load": round(load, 1), "model": options.model}
        mark = "reached" if found["reached"] else "MISSED"
        print(
            f"{name}: {found['figure']} {found['value']} (n={found['n']}, at least {found['least']}) "
            f"in {found['seconds']} s ({found['cpu_seconds']} s of CPU), {found['steps']} steps, "
            f"load {load:.1f}: {mark}",
            flush=True,
        )
        write_json(RESULTS, {"results": results, "versions": library_versions()})
    return 0 if all(result["reached"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
