"""Recommend books: from a log of readings (or a catalogue) to a ranking of candidates, beside what a guess reaches.

python examples/books/run.py                              # the sample beside this file
python examples/books/run.py --data goodbooks/books.csv   # goodbooks-10k: readers are drawn from its counts of stars
python examples/books/run.py --model none                 # the guesses alone; needs no model
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from instructforge import Forge, Instruction, Prediction, Task, report
from instructforge.building import BuildSettings, InstructionSet, Source, build, read_ledger, used_templates
from instructforge.evaluation import Report, evaluate
from instructforge.files import seed_of, write_json
from instructforge_recommendation.catalogue import item_text

SAMPLE = Path(__file__).parent / "data"
FIGURES = ("ndcg", "mrr", "hit-at-1", "hit-at-5")
MOST_ROWS = 300
"""Rows to train on and to test: the head on fixed features has seven weights, and more rows hardly change them."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Report]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="goodbooks-10k's books.csv; the sample where left out")
    parser.add_argument("--model", help='me5-small, minilm, a folder, or "none"; fits the data where left out')
    parser.add_argument("--out", type=Path, default=Path("runs/books"), help="folder of the run")
    asked = parser.parse_args(arguments)
    forge = Forge.discover()
    task = forge.tasks.get("recommendation")
    sources, known = _real(asked.data) if asked.data else _sample()
    result = build(forge, task, sources, asked.out, BuildSettings(seed=7))
    print(f"built: {dict(result.counts)}; the ledger is {asked.out / 'ledger.json'}")
    train, test = (_thinned(InstructionSet(asked.out, split)) for split in ("train", "test"))
    systems = {"random": _random(test), "popular": _popular(test, known or _in_history(train))}
    if asked.model != "none":
        model = asked.model or ("minilm" if asked.data else "me5-small")
        systems |= _by_model(forge, task, model, asked.out, train, test)
    return _reported(forge, task, systems, train, test, asked.out)


# --- Data ----------------------------------------------------------------------------------------------


def _sample() -> tuple[list[Source], Counter[str]]:
    """Each reader's last book is the test, the one before validates, the earlier ones train."""
    options = {"items": "books.csv", "item_text": "{title} / {author} / {about}"}
    log = SAMPLE / "readings.csv"
    return [Source(log, split=p, options={**options, "part": p}) for p in ("train", "validation", "test")], Counter()


def _real(path: Path) -> tuple[list[Source], Counter[str]]:
    """A reader is drawn for each book of the catalogue; how often a book was rated is its popularity."""
    with path.open(encoding="utf-8", newline="") as handle:
        known = Counter({item_text(row, None): int(row["ratings_count"]) for row in csv.DictReader(handle)})
    return [Source(path)], known


def _in_history(train: Iterable[Instruction]) -> Counter[str]:
    """Count how often a book was read before the tests: each reader's longest history, and the book behind it."""
    longest: dict[str, list[str]] = {}
    for row in train:
        read = [*row.example.inputs["history"], *row.example.answers[0]]
        if len(read) > len(longest.get(row.example.group or "", ())):
            longest[row.example.group or ""] = read
    return Counter(book for read in longest.values() for book in read)


def _thinned(rows: Sequence[Instruction]) -> list[Instruction]:
    """Take rows evenly out of all: a catalogue begins with its best known books."""
    return list(rows)[:: max(1, len(rows) // MOST_ROWS)]


# --- Systems -------------------------------------------------------------------------------------------


def _random(rows: Sequence[Instruction]) -> list[Prediction]:
    return [
        Prediction(id=row.id, answer=tuple(Random(seed_of(7, row.id)).sample(row.labels, len(row.labels))))
        for row in rows
    ]


def _popular(rows: Sequence[Instruction], known: Counter[str]) -> list[Prediction]:
    return [Prediction(id=row.id, answer=tuple(sorted(row.labels, key=lambda book: -known[book]))) for row in rows]


def _by_model(
    forge: Forge, task: Task, name: str, out: Path, train: Sequence[Instruction], test: Sequence[Instruction]
) -> dict[str, list[Prediction]]:
    """Answer by an encoder model, as it is and with a head fitted on the training rows."""
    from instructforge.engines import open_engine  # imports torch, which the guesses do without
    from instructforge.models import resolve
    from instructforge.training.job import TrainingJob

    folder, begun = resolve(name, forge=forge), time.monotonic()
    job = TrainingJob(task=task, train=train, model=folder, out=out / "model", work=out / "work",
                      templates=used_templates(out), decoder="ranking")  # fmt: skip
    trained = forge.trainers.get("encoder").train(job)
    print(f"{name}: {len(train)} rows in {time.monotonic() - begun:.0f} s, validation {dict(trained.best)}")
    decode = forge.decoders.get("ranking").decode
    engines = {"model as it is": open_engine(folder, task=task), "model, trained": open_engine(out / "model")}
    return {what: decode(list(one.outputs(test, "label_scores")), test, task) for what, one in engines.items()}


# --- Report --------------------------------------------------------------------------------------------


def _reported(
    forge: Forge,
    task: Task,
    systems: dict[str, list[Prediction]],
    train: Sequence[Instruction],
    test: Sequence[Instruction],
    out: Path,
) -> dict[str, Report]:
    """Print every system's figures with their intervals; write the last one's report, and the figures of all."""
    ledger = read_ledger(out)
    scored = {
        name: evaluate(said, test, task=task, forge=forge, train=train, ledger=ledger, reads=("history",))
        for name, said in systems.items()
    }
    print(f"\n{len(test)} test rows, 95 % intervals\n{'':16}" + "".join(f"{name:>22}" for name in FIGURES))
    for name, one in scored.items():
        print(f"{name:16}" + "".join(f"{_shown(one, figure):>22}" for figure in FIGURES))
    report.write(list(scored.values())[-1], out)
    write_json(out / "systems.json", {name: one.metrics for name, one in scored.items()})
    print(f"\nThe report is {out / 'report.html'}, the figures of all are in {out / 'systems.json'}.")
    return scored


def _shown(one: Report, figure: str) -> str:
    found = one.metrics.get(figure)
    return "-" if found is None else f"{found['value']:.3f} [{found['low']:.2f}, {found['high']:.2f}]"


if __name__ == "__main__":
    main()
