"""Runs in the peers' environment: finds the near-duplicates among the documents of a file, when it is told to.

It reads the name of a peer a line, and answers with the seconds taken and the places of the documents that the peer
would remove. All of them compare distinct pairs of neighbouring words, so that one truth holds for all.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _pairs(text: str) -> list[str]:
    words = text.split()
    return [f"{one} {other}" for one, other in itertools.pairwise(words)]


def datasketch(texts: list[str]) -> list[int]:
    """MinHash of 128 permutations in bulk and MinHashLSH, each document asked for before it is put in."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=0.7, num_perm=128)
    removed = []
    documents = ([pair.encode() for pair in set(_pairs(text))] for text in texts)
    for place, minhash in enumerate(MinHash.generator(documents, num_perm=128)):
        if lsh.query(minhash):
            removed.append(place)
        else:
            lsh.insert(str(place), minhash)
    return removed


def rensa(texts: list[str]) -> list[int]:
    """RMinHash of 128 permutations and RMinHashLSH, as its documentation shows."""
    from rensa import RMinHash, RMinHashLSH

    lsh = RMinHashLSH(threshold=0.7, num_perm=128, num_bands=16)
    removed = []
    for place, text in enumerate(texts):
        minhash = RMinHash(num_perm=128, seed=42)
        minhash.update(_pairs(text))
        if lsh.query(minhash):
            removed.append(place)
        else:
            lsh.insert(place, minhash)
    return removed


def datatrove(texts: list[str]) -> list[int]:
    """The four stages of its MinHash pipeline, one task each, with its own buckets (14 of 8) and its own words."""
    return _datatrove(texts, "eng_Latn")


def datatrove_split(texts: list[str]) -> list[int]:
    """The same, but for words: ``str.split`` in place of its tokenizer, which takes most of its time."""
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Split(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    return _datatrove(texts, Split())


def _datatrove(texts: list[str], words: Any) -> list[int]:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash as stages

    config = stages.MinhashConfig(n_grams=2)
    with tempfile.TemporaryDirectory() as folder:
        documents = [Document(text=text, id=str(place)) for place, text in enumerate(texts)]
        signing = stages.MinhashDedupSignature(f"{folder}/signatures", config=config, language=words)
        signing.run(documents, 0, 1)
        buckets = stages.MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config)
        for bucket in range(config.num_buckets):
            buckets.run(None, bucket, config.num_buckets)
        stages.MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=config).run(None, 0, 1)
        kept = {document.id for document in stages.MinhashDedupFilter(f"{folder}/remove").run(documents, 0, 1)}
    return [place for place in range(len(texts)) if str(place) not in kept]


PEERS: dict[str, Callable[[list[str]], list[int]]] = {
    "datasketch": datasketch,
    "rensa": rensa,
    "datatrove": datatrove,
    "datatrove, split": datatrove_split,
}


def main() -> None:
    """Answer each line."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what peers print is not an answer
    texts = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    for line in sys.stdin:
        try:
            start = time.perf_counter()
            removed = PEERS[line.strip()](texts)
            answer = {"seconds": time.perf_counter() - start, "removed": removed}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
