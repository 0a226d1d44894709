"""Runs in the peers' environment: prepares a file of chats as TRL's SFT trainer does, when it is told to.

Arguments: the rows, a tokenizer's folder, a chat template. It reads a line, ``prompt-completion`` or ``chat``, and
answers with the seconds that the preparation took and the file that holds the ids and labels of every row.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def datasets_of(rows: list[list[dict[str, str]]]) -> dict[str, Any]:
    """Return the rows in the two forms that TRL takes."""
    from datasets import Dataset

    return {
        "prompt-completion": [Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows])],
        "chat": [Dataset.from_list([{"messages": row} for row in rows])],
    }


def prepare(kind: str, dataset: Any, tokenizer: Any, template: str) -> Any:
    """Run TRL's own preparation, without the model that its trainer wants beside it."""
    from trl import SFTConfig, SFTTrainer

    whole_chat = kind == "chat"
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder, max_length=None, assistant_only_loss=whole_chat, use_cpu=True, bf16=False
        )
    trainer = SimpleNamespace(_tokenizer=tokenizer, chat_template=template, completion_only_loss=not whole_chat)
    return SFTTrainer._prepare_dataset(trainer, dataset, tokenizer, settings, False, None, "train")


def main() -> None:
    """Answer each line."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what peers print is not an answer
    from datasets import disable_caching
    from transformers import AutoTokenizer

    disable_caching()
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
    template = Path(sys.argv[3]).read_text(encoding="utf-8")
    ready = datasets_of(rows)
    for line in sys.stdin:
        kind = line.strip()
        try:
            start = time.perf_counter()
            made = prepare(kind, ready[kind][0], tokenizer, template)
            seconds = time.perf_counter() - start
            file = Path(sys.argv[1]).with_suffix(f".{kind}.json")
            file.write_text(json.dumps({"ids": made["input_ids"][:], "labels": made["labels"][:]}), encoding="utf-8")
            answer = {"seconds": seconds, "file": str(file)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
