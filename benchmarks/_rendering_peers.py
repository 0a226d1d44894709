"""Runs in the peers' environment: renders the rows of a file as each peer's users do, when it is told to.

It reads the name of a peer a line, and answers with the seconds that the rows took and the first text.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPT = "Read the passage and answer the question.\n\nPassage: {{ context }}\n\nQuestion: {{ question }}\nAnswer:"
INPUT_FORMAT = "Read the passage and answer the question.\n\nPassage: {context}\n\nQuestion: {question}\nAnswer:"


def unitxt(rows: list[dict[str, Any]]) -> Callable[[], list[str]]:
    """``DatasetRecipe.produce`` of the rows: task, template and format, which is how its users render."""
    from unitxt.blocks import Task, TaskCard
    from unitxt.loaders import LoadFromDictionary
    from unitxt.standard import DatasetRecipe
    from unitxt.templates import InputOutputTemplate

    card = TaskCard(
        loader=LoadFromDictionary(data={"test": rows}, data_classification_policy=["public"]),
        preprocess_steps=[],
        task=Task(
            input_fields={"context": str, "question": str},
            reference_fields={"answer": str},
            prediction_type=str,
            metrics=["metrics.accuracy"],
        ),
    )
    recipe = DatasetRecipe(card=card, template=InputOutputTemplate(input_format=INPUT_FORMAT, output_format="{answer}"))
    return lambda: [instance["source"].rstrip("\n") for instance in recipe.produce(rows)]


def unitxt_template(rows: list[dict[str, Any]]) -> Callable[[], list[str]]:
    """``InputOutputTemplate.process`` alone: ``str.format`` without the recipe around it."""
    from unitxt.templates import InputOutputTemplate

    template = InputOutputTemplate(input_format=INPUT_FORMAT, output_format="{answer}")
    instances = [
        {
            "input_fields": {"context": row["context"], "question": row["question"]},
            "reference_fields": {"answer": row["answer"]},
        }
        for row in rows
    ]
    return lambda: [template.process(dict(instance))["source"] for instance in instances]


def lm_eval(rows: list[dict[str, Any]]) -> Callable[[], list[str]]:
    """``ConfigurableTask.doc_to_text`` of each document (the prompt only)."""
    from lm_eval.api.task import ConfigurableTask

    task = ConfigurableTask(
        config={
            "task": "rows",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": sys.argv[1]}},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": PROMPT,
            "doc_to_target": "{{ answer }}",
        }
    )
    return lambda: [task.doc_to_text(row) for row in rows]


def promptsource(rows: list[dict[str, Any]]) -> Callable[[], list[str]]:
    """``Template.apply`` of each example."""
    from promptsource.templates import Template

    template = Template(
        "rows",
        PROMPT + "|||{{ answer }}",
        "",
    )
    return lambda: [template.apply(row, truncate=False)[0] for row in rows]


PEERS = {"unitxt": unitxt, "unitxt, template alone": unitxt_template, "lm-eval": lm_eval, "promptsource": promptsource}


def main() -> None:
    """Answer each line."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what peers print is not an answer
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    ready: dict[str, Callable[[], list[str]]] = {}
    for line in sys.stdin:
        name = line.strip()
        try:
            render = ready.get(name) or ready.setdefault(name, PEERS[name](rows))
            start = time.perf_counter()
            texts = render()
            answer = {"seconds": time.perf_counter() - start, "text": texts[0]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
