"""How many rows a second are rendered, beside unitxt, lm-eval and promptsource.

The same rows (contexts of about 150 words) through the same prompt. Every guard is on here, and each row comes
out as an ``Instruction`` with its landings. Peers and we take turns, one process at a time, so that whatever
else the machine does falls on all. The peers live in an environment of their own.

    python benchmarks/rendering.py [--peers PYTHON] [--rows 10000] [--rounds 5] [--json]

Without ``--peers`` (or the variable INSTRUCTFORGE_PEERS) only plain Jinja stands beside us.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from instructforge.data import Example, Instruction, Origin, SpanAnswer
from instructforge.tasks import Span, Task
from instructforge.templates import compile_template

HERE = Path(__file__).parent
LEAST = {"unitxt": 20, "unitxt, template alone": 0, "lm-eval": 20, "promptsource": 50}
PROMPT = "Read the passage and answer the question.\n\nPassage: {{ context }}\n\nQuestion: {{ question }}\nAnswer:"
TEMPLATE = f'{{% set cuttable = ["context"] %}}{{% block prompt %}}{PROMPT}{{% endblock %}}\
{{% block completion %}}{{{{ answer }}}}{{% endblock %}}'
WORDS = [
    "the",
    "river",
    "city",
    "old",
    "had",
    "stone",
    "year",
    "people",
    "north",
    "were",
    "after",
    "company",
    "first",
    "known",
    "which",
    "between",
    "large",
    "century",
]


def make_rows(count: int) -> list[dict[str, str]]:
    """Return ``count`` rows with contexts of about 150 words."""
    draw = random.Random(11)
    rows = []
    for number in range(count):
        words = draw.choices(WORDS, k=draw.randint(120, 180))
        words[draw.randrange(len(words))] = f"place{number}"
        rows.append(
            {"context": " ".join(words), "question": f"Which place is number {number}?", "answer": f"place{number}"}
        )
    return rows


def ours(rows: list[dict[str, str]]) -> Callable[[], list[Any]]:
    """Return what renders the rows here."""
    task = Task("qa", summary="", fields={"question": "", "context": ""}, target=Span(within="context"))
    template = compile_template(TEMPLATE, task=task, language="en", name="plain")
    examples = [
        Example(
            inputs={"question": row["question"], "context": row["context"]},
            answers=(SpanAnswer(row["answer"], row["context"].index(row["answer"])),),
            id=str(number),
            origin=Origin("rows", number),
        )
        for number, row in enumerate(rows)
    ]
    return lambda: template.render_many(examples, 1)


def jinja(rows: list[dict[str, str]]) -> Callable[[], list[str]]:
    """Return what renders the prompts by sandboxed Jinja alone, compiled once: no landings, no bounds."""
    from jinja2.sandbox import SandboxedEnvironment

    template = SandboxedEnvironment().from_string(PROMPT)
    return lambda: [template.render(**row) for row in rows]


class Peers:
    """The peers' process: it renders when it is told to, and waits in between."""

    def __init__(self, python: str, rows_file: Path) -> None:
        environment = {**os.environ, "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        self._process = subprocess.Popen(
            [python, str(HERE / "_rendering_peers.py"), str(rows_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, name: str) -> dict[str, Any]:
        """Have the peer render all rows once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise SystemExit(f"{name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def measure(rows: list[dict[str, str]], rounds: int, peers: Peers | None) -> dict[str, list[float]]:
    """Return the seconds of each round, by who rendered."""
    here = {"instructforge": ours(rows), "jinja2, sandboxed": jinja(rows)}
    taken: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for name, render in here.items():
            start = time.perf_counter()
            made = render()
            taken.setdefault(name, []).append(time.perf_counter() - start)
            if isinstance(made[0], Instruction):
                assert sum(len(one.landings) for one in made) == 2 * len(rows)
                prompt = made[0].messages[0].content
            del made
        for name in LEAST if peers is not None else ():
            answer = peers.ask(name)  # type: ignore[union-attr]
            assert answer["text"] == prompt, f"{name} wrote another prompt"
            taken.setdefault(name, []).append(answer["seconds"])
    return {name: seconds[1:] for name, seconds in taken.items()}  # the first round warms up


def report(taken: dict[str, list[float]], rows: int) -> dict[str, Any]:
    """Return rates and ratios; a ratio is the median of the rounds' own ratios."""
    mine = taken["instructforge"]
    result: dict[str, Any] = {"rows": rows, "rounds": len(mine), "python": sys.version.split()[0], "by": {}}
    for name, seconds in taken.items():
        ratios = [other / own for other, own in zip(seconds, mine, strict=True)]
        result["by"][name] = {
            "rows_per_s": round(rows / statistics.median(seconds)),
            "times_slower_than_ours": round(statistics.median(ratios), 2),
            "least_wanted": LEAST.get(name) or None,
        }
    return result


def main() -> int:
    """Run the benchmark; return 1 if a ratio is below the one that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("INSTRUCTFORGE_PEERS"))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = make_rows(options.rows)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        peers = Peers(options.peers, file) if options.peers else None
        try:
            taken = measure(rows, options.rounds, peers)
        finally:
            if peers is not None:
                peers.close()
    result = report(taken, options.rows)
    if peers is not None:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / "rendering.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(result))
    for name, figure in {} if options.json else result["by"].items():
        wanted = f"  (wanted: {figure['least_wanted']})" if figure["least_wanted"] else ""
        print(f"{name:20} {figure['rows_per_s']:>9,} rows/s  {figure['times_slower_than_ours']:>7.2f} times{wanted}")
    missed = [
        name
        for name, figure in result["by"].items()
        if figure["times_slower_than_ours"] < (figure["least_wanted"] or 0)
    ]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
