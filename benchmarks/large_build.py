"""Memory, speed and progress of a build of a file larger than memory should be.

A file of questions on passages (about 1 kB a row, English and Chinese, some bad, some twice) is written, 2 GB by
default, and built in a process of its own with exact duplicates left out and the overlap of test and training rows
measured. Shown are rows a second, the most memory that the process and all its children held at once, and how far off
the progress bar was when it said how long the rest would take.

    python benchmarks/large_build.py [--gigabytes 2] [--workers 1] [--dedup exact] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MOST_MB = 600
FIELDS = {"question": "what is asked", "context": "where the answer stands"}
TEMPLATES = {
    "en/plain": "{{ context }}\n\nQuestion: {{ question }}",
    "en/first": "Answer by the text below.\n{{ question }}\n\n{{ context }}",
    "zh/plain": "{{ context }}\n\n问题：{{ question }}",
    "zh/first": "根据下文回答。\n{{ question }}\n\n{{ context }}",
}


# --- The file -----------------------------------------------------------------------------------------


def rows(draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield rows without end: each ninth is bad, each tenth is an earlier one again."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 10))) for _ in range(20_000)]
    characters = [chr(0x4E00 + place) for place in range(4000)]
    before: dict[str, Any] = {}
    number = 0
    while True:
        number += 1
        if number % 10 == 0:
            yield before
            continue
        chinese = number % 3 == 0
        drawn, between = (characters, "") if chinese else (words, " ")
        passage = between.join(draw.choices(drawn, k=draw.randint(120, 180) * (2 if chinese else 1)))
        answer = f"{number}"
        question = between.join(draw.choices(drawn, k=10))
        before = {"question": f"{question} {number}", "context": f"{passage} {number}", "answer": answer}
        yield before if number % 9 else {**before, "context": None}


def write_file(path: Path, size: int) -> dict[str, int]:
    """Write rows up to a size in bytes; return how many there are, bad and repeated."""
    counts = {"records": 0, "bad": 0, "repeated": 0}
    seen_bad = False
    with path.open("w", encoding="utf-8") as handle:
        for row in rows(random.Random(1)):
            counts["records"] += 1
            bad = row["context"] is None
            counts["bad"] += bad
            counts["repeated"] += counts["records"] % 10 == 0 and not seen_bad and not bad
            seen_bad = bad
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
            if counts["records"] % 1000 == 0 and handle.tell() >= size:
                return counts
    return counts


# --- The build, in its own process --------------------------------------------------------------------


def build_it(path: Path, folder: Path, workers: int, dedup: str | None) -> None:
    """Build, and print the progress as it is told: seconds, bytes done, bytes in all."""
    from instructforge import Forge, Normalizer, Task, TemplateFolder, Text, columns, hookimpl
    from instructforge.building import BuildSettings, Source, build

    for name, prompt in TEMPLATES.items():
        file = folder / "templates" / "ask" / f"{name}.jinja"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"{{% block prompt %}}{prompt}{{% endblock %}}{{% block completion %}}{{{{ answer }}}}{{% endblock %}}",
            encoding="utf-8",
        )

    class Plugin:
        @hookimpl
        def instructforge_tasks(self) -> Iterator[Task]:
            yield Task("ask", summary="questions on passages", fields=FIELDS, target=Text(), normalizers=("ask",))

        @hookimpl
        def instructforge_normalizers(self) -> Iterator[Normalizer]:
            yield columns("ask", task="ask", fields={name: name for name in FIELDS}, answer="answer")

        @hookimpl
        def instructforge_templates(self) -> Iterator[TemplateFolder]:
            yield TemplateFolder(folder / "templates")

    begun = time.monotonic()

    def tell(stage: str, done: int, total: int | None) -> None:
        if stage == "build":
            print(json.dumps([round(time.monotonic() - begun, 3), done, total]), flush=True)

    settings = BuildSettings(workers=workers, dedup=dedup or False)
    build(Forge([Plugin()]), "ask", [Source(path)], folder / "run", settings, progress=tell)


# --- Watching it --------------------------------------------------------------------------------------


class Watch:
    """Takes the memory of a process and all its children, several times a second."""

    def __init__(self, process: int) -> None:
        self.most_kb = 0
        self._process, self._ended = process, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            self.most_kb = max(self.most_kb, sum(map(_memory_kb, _tree(self._process))))

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()


def _tree(process: int) -> list[int]:
    found = [process]
    for one in found:
        try:
            threads = list(Path(f"/proc/{one}/task").iterdir())
            found += [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        except OSError:
            continue
    return found


def _memory_kb(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def progress_error(told: list[list[float]]) -> float:
    """Return how far off the time left was, at worst, once a tenth was done: as a share of the whole time."""
    end = told[-1][0]
    errors = [
        abs(seconds / done * total - end) / end for seconds, done, total in told if done and 0.1 < done / total < 1
    ]
    return max(errors, default=0.0)


def main() -> int:
    """Run the benchmark; return 1 if the memory is too much, or a row is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--dedup", choices=("exact", "near"), default="exact")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("FILE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        build_it(Path(options.child[0]), Path(options.child[1]), options.workers, options.dedup)
        return 0
    with tempfile.TemporaryDirectory(dir=os.environ.get("INSTRUCTFORGE_BENCH_DIR")) as place:
        result = measure(Path(place), options)
    if options.gigabytes >= 1:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / "large_build.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))
    return 0 if result["most_memory_mb"] < MOST_MB and result["adds_up"] else 1


def measure(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write the file, build it, and return the figures."""
    file = place / "rows.jsonl"
    counts = write_file(file, int(options.gigabytes * 1e9))
    begun = time.monotonic()
    arguments = [sys.executable, __file__, "--child", str(file), str(place), "--workers", str(options.workers)]
    process = subprocess.Popen([*arguments, "--dedup", options.dedup], stdout=subprocess.PIPE, text=True)
    watch = Watch(process.pid)
    assert process.stdout is not None
    told = [json.loads(line) for line in process.stdout]
    code = process.wait()
    watch.end()
    if code:
        raise SystemExit(f"the build ended with code {code}")
    ledger = json.loads((place / "run" / "ledger.json").read_text(encoding="utf-8"))
    totals, seconds = ledger["totals"], time.monotonic() - begun
    went = {name: totals[name] for name in ("built", "quarantined", "deduplicated")}
    return {
        "bytes": file.stat().st_size,
        "workers": options.workers,
        "dedup": options.dedup,
        "seconds": round(seconds),
        "rows_per_s": round(totals["read"] / seconds),
        "megabytes_per_s": round(file.stat().st_size / 1e6 / seconds, 2),
        "most_memory_mb": round(watch.most_kb / 1024),
        "progress_error": round(progress_error(told), 3),
        "records": counts["records"],
        **went,
        "adds_up": totals["records"] == counts["records"]
        and sum(went.values()) == totals["read"]
        and went["quarantined"] == counts["bad"],
    }


if __name__ == "__main__":
    sys.exit(main())
