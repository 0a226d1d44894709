"""How many rows a second are encoded with their loss mask, beside the preparation of TRL's SFT trainer.

Two kinds of rows: prompts of about 200 tokens with one answer, and chats of four exchanges of which every answer
is trained. Both sides end with ids and labels in an Arrow file. TRL gets a chat template with
``{% generation %}`` marks, without which it masks nothing in a chat; we get the same one, and ignore the marks.
The ids of every row are compared, and the labels: TRL also trains the newline behind the stop token.

    python benchmarks/encoding.py [--peers PYTHON] [--tokenizer FOLDER] [--rows 2000] [--rounds 5] [--json]

The tokenizer is that of a model folder, by default the starter model smollm2-135m. Without ``--peers`` (or the
variable INSTRUCTFORGE_PEERS) there is nothing to compare with, and only our own rate is shown.
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
from pathlib import Path
from typing import Any

from instructforge.data import Example, Features, Instruction, Message
from instructforge.encoding import ChatEncoder
from instructforge.encoding.chat import IGNORED

HERE = Path(__file__).parent
CHUNK = 1000
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = (
    *("the", "river", "city", "old", "had", "stone", "year", "people", "north", "were", "after", "company", "which"),
    *("between", "large", "century", "42", "Paris,", "however;", "(built)", "1901", "it's", "railway—station", "naïve"),
)

Rows = list[list[dict[str, str]]]


def make_rows(kind: str, count: int) -> Rows:
    """Return chats: one exchange with a long question, or four."""
    draw = random.Random(7)

    def text(least: int, most: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(least, most))) + "."

    if kind == "prompt-completion":
        return [[_turn("user", text(110, 150)), _turn("assistant", text(8, 20))] for _ in range(count)]
    return [
        [turn for _ in range(4) for turn in (_turn("user", text(20, 60)), _turn("assistant", text(20, 40)))]
        for _ in range(count)
    ]


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _instructions(rows: Rows) -> list[Instruction]:
    return [
        Instruction(
            example=Example(inputs={}, id=str(number)),
            task="chat",
            language="en",
            template="chat",
            template_sha256="",
            messages=tuple(Message(role=turn["role"], content=turn["content"]) for turn in row),
        )
        for number, row in enumerate(rows)
    ]


def encode(tokenizer: Any, rows: list[Instruction], kind: str, file: Path) -> float:
    """Encode the rows in chunks into an Arrow file; return the seconds it took, the encoder's making included."""
    import pyarrow as pa

    start = time.perf_counter()
    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
    encoder = ChatEncoder(tokenizer, chat_template=CHAT_TEMPLATE)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for first in range(0, len(rows), CHUNK):
            found = encoder.encode(rows[first : first + CHUNK], train="all" if kind == "chat" else "last")
            good = [one for one in found if isinstance(one, Features)]
            assert len(good) == len(found)
            writer.write_batch(
                pa.record_batch([[one.input_ids for one in good], [one.labels for one in good]], schema=schema)
            )
    return time.perf_counter() - start


def same(mine: Path, theirs: Path) -> bool:
    """Tell whether all ids are equal, and all labels but those of what stands behind a stop token."""
    import pyarrow as pa

    with pa.memory_map(str(mine)) as source:
        own = pa.ipc.open_file(source).read_all().to_pydict()
    other = json.loads(theirs.read_text(encoding="utf-8"))
    if own["input_ids"] != other["ids"]:
        return False
    return all(
        a == b or (a == IGNORED and row[place - 1] != IGNORED and place == len(row) - 1)
        for row, peer in zip(own["labels"], other["labels"], strict=True)
        for place, (a, b) in enumerate(zip(row, peer, strict=True))
    )


class Peer:
    """The peer's process: it prepares when it is told to, and waits in between."""

    def __init__(self, python: str, rows: Path, tokenizer: Path, template: Path) -> None:
        quiet = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        self._process = subprocess.Popen(
            [python, str(HERE / "_encoding_peers.py"), str(rows), str(tokenizer), str(template)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **quiet},
        )

    def ask(self, kind: str) -> dict[str, Any]:
        """Have the peer prepare all rows once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(kind + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise SystemExit(f"trl: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def measure(kind: str, options: argparse.Namespace, tokenizer: Any, folder: Path) -> dict[str, Any]:
    """Return rates and the median of the rounds' own ratios for one kind of rows."""
    rows = make_rows(kind, options.rows)
    rows_file, template_file = folder / f"{kind}.jsonl", folder / "chat_template.jinja"
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    template_file.write_text(CHAT_TEMPLATE, encoding="utf-8")
    peer = Peer(options.peers, rows_file, options.tokenizer, template_file) if options.peers else None
    instructions = _instructions(rows)
    mine, theirs = [], []
    try:
        for _ in range(options.rounds + 1):
            mine.append(encode(tokenizer, instructions, kind, folder / "mine.arrow"))
            if peer is not None:
                answer = peer.ask(kind)
                theirs.append(answer["seconds"])
                assert same(folder / "mine.arrow", Path(answer["file"])), "ids or labels differ"
    finally:
        if peer is not None:
            peer.close()
    mine, theirs = mine[1:], theirs[1:]  # the first round warms up
    result: dict[str, Any] = {"rows_per_s": round(options.rows / statistics.median(mine))}
    if theirs:
        ratios = [other / own for other, own in zip(theirs, mine, strict=True)]
        result["trl_rows_per_s"] = round(options.rows / statistics.median(theirs))
        result["times_trl"] = round(statistics.median(ratios), 2)
    return result


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("INSTRUCTFORGE_PEERS"))
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from transformers import AutoTokenizer

    from instructforge.models import resolve

    options.tokenizer = options.tokenizer or resolve("smollm2-135m")
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    result: dict[str, Any] = {"rows": options.rows, "rounds": options.rounds, "python": sys.version.split()[0]}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("prompt-completion", "chat"):
            result[kind] = measure(kind, options, tokenizer, Path(folder))
    if options.peers:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / "encoding.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(result))
    for kind in () if options.json else ("prompt-completion", "chat"):
        print(kind, "  ".join(f"{name} {figure:,}" for name, figure in result[kind].items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
