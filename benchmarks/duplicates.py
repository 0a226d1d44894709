"""How many documents a second are searched for near-duplicates, beside datasketch, rensa and datatrove.

Documents of 20 to 50 words, English; one in five is a copy of an earlier one with some words changed, so that the
similarity of each copy to its original is known, and lies on both sides of 0.7. All sides compare distinct pairs of
neighbouring words. Peers and we take turns, one process at a time. Shown are documents a second, and of the copies
the recall and the precision of what each would remove; for us also on Chinese documents, whose characters are
compared by threes.

    python benchmarks/duplicates.py [--peers PYTHON] [--documents 100000] [--rounds 5] [--json]

The peers live in an environment of their own (``--peers``, or the variable INSTRUCTFORGE_PEERS); without them only our
own figures are shown.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from instructforge.duplicates import THRESHOLD, near_duplicates

HERE = Path(__file__).parent
LEAST = {"datasketch": 4.0, "datatrove": 15.0, "datatrove, split": None, "rensa": None}
COPIES = 0.2


def english(draw: random.Random) -> Callable[[int], list[str]]:
    """Return what draws words."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(5000)]
    return lambda count: draw.choices(words, k=count)


def chinese(draw: random.Random) -> Callable[[int], list[str]]:
    """Return what draws characters."""
    characters = [chr(0x4E00 + place) for place in range(3000)]
    return lambda count: draw.choices(characters, k=count)


def make_documents(count: int, script: str) -> tuple[list[str], set[int]]:
    """Return documents, and the places of those that are near-duplicates of an earlier one."""
    draw = random.Random(11)
    drawn, between, size = (english(draw), " ", 2) if script == "en" else (chinese(draw), "", 3)
    originals: list[list[str]] = []
    texts, duplicates = [], set()
    for place in range(count):
        if originals and draw.random() < COPIES:
            first = originals.pop(draw.randrange(len(originals)))  # each is copied once: one truth for all
            parts = list(first)
            for _ in range(draw.randint(0, max(1, len(parts) // 6))):
                parts[draw.randrange(len(parts))] = drawn(1)[0]
            if _jaccard(_grams(first, size), _grams(parts, size)) >= THRESHOLD:
                duplicates.add(place)
        else:
            parts = drawn(draw.randint(20, 50))
            originals.append(parts)
        texts.append(between.join(parts))
    return texts, duplicates


def _grams(parts: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(parts[start : start + size]) for start in range(len(parts) - size + 1)}


def _jaccard(one: set[Any], other: set[Any]) -> float:
    return len(one & other) / len(one | other)


def ours(texts: list[str]) -> dict[str, Any]:
    """Search once, with the index on disk."""
    start = time.perf_counter()
    removed = [place for place, _, _ in near_duplicates(texts)]
    return {"seconds": time.perf_counter() - start, "removed": removed}


class Peers:
    """The peers' process: it works when it is told to, and waits in between."""

    def __init__(self, python: str, file: Path) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / "_duplicates_peers.py"), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, name: str) -> dict[str, Any]:
        """Have a peer search all documents once."""
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


def measure(texts: list[str], rounds: int, peers: Peers | None) -> tuple[dict[str, list[float]], dict[str, list[int]]]:
    """Return the seconds of each round, and what was removed, by who searched."""
    taken: dict[str, list[float]] = {}
    removed: dict[str, list[int]] = {}
    ours(texts[:2000])  # warms up
    for _ in range(rounds):
        for name in ("instructforge", *(LEAST if peers is not None else ())):
            answer = ours(texts) if name == "instructforge" else peers.ask(name)  # type: ignore[union-attr]
            taken.setdefault(name, []).append(answer["seconds"])
            removed[name] = answer["removed"]
    return taken, removed


def quality(removed: Sequence[int], duplicates: set[int]) -> dict[str, float]:
    """Return recall and precision."""
    hits = len(duplicates.intersection(removed))
    return {"recall": round(hits / len(duplicates), 4), "precision": round(hits / max(1, len(removed)), 4)}


def report(
    taken: dict[str, list[float]], removed: dict[str, list[int]], duplicates: set[int], documents: int
) -> dict[str, Any]:
    """Return the figures by who searched: ratios are medians over the rounds, each within its round."""
    result: dict[str, Any] = {
        "documents": documents,
        "duplicates": len(duplicates),
        "rounds": len(taken["instructforge"]),
        "python": sys.version.split()[0],
        "by": {},
    }
    for name, seconds in taken.items():
        ratios = [theirs / own for theirs, own in zip(seconds, taken["instructforge"], strict=True)]
        result["by"][name] = {
            "documents_per_s": round(documents / statistics.median(seconds)),
            "times_slower_than_ours": round(statistics.median(ratios), 2),
            "least_wanted": LEAST.get(name),
            **quality(removed[name], duplicates),
        }
    return result


def in_chinese(documents: int) -> dict[str, Any]:
    """Return our own figures on Chinese documents."""
    texts, duplicates = make_documents(documents, "zh")
    answer = ours(texts)
    return {"documents_per_s": round(documents / answer["seconds"]), **quality(answer["removed"], duplicates)}


def missed(result: dict[str, Any]) -> list[str]:
    """Return what is below what is wanted."""
    below = [
        name for name, part in result["by"].items() if part["times_slower_than_ours"] < (part["least_wanted"] or 0)
    ]
    own = {"english": result["by"]["instructforge"], "chinese": result["chinese"]}
    return below + [name for name, part in own.items() if min(part["recall"], part["precision"]) < 0.99]


def main() -> int:
    """Run the benchmark; return 1 if a figure is below the one that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("INSTRUCTFORGE_PEERS"))
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    texts, duplicates = make_documents(options.documents, "en")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "documents.jsonl"
        file.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
        peers = Peers(options.peers, file) if options.peers else None
        try:
            taken, removed = measure(texts, options.rounds, peers)
        finally:
            if peers is not None:
                peers.close()
    result = report(taken, removed, duplicates, options.documents) | {"chinese": in_chinese(options.documents)}
    if peers is not None:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / "duplicates.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(result))
    for name, part in {} if options.json else {**result["by"], "ours, Chinese": result["chinese"]}.items():
        ratio = f"{part['times_slower_than_ours']:>7.2f} times" if "times_slower_than_ours" in part else " " * 13
        wanted = f"  (wanted: {part['least_wanted']})" if part.get("least_wanted") else ""
        print(
            f"{name:16} {part['documents_per_s']:>8,} documents/s {ratio}"
            f"  recall {part['recall']:.4f}, precision {part['precision']:.4f}{wanted}"
        )
    return 1 if missed(result) else 0


if __name__ == "__main__":
    sys.exit(main())
