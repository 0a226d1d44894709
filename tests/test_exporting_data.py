"""Real files in other projects' formats, read, built with the template that adds nothing, and written again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from instructforge.building import BuildSettings, Source, build
from instructforge.exporting import export
from instructforge.plugins import Forge

DATA = os.environ.get("INSTRUCTFORGE_DATA", "")
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA, reason="real data: set INSTRUCTFORGE_DATA to their folder"),
]
FORGE = Forge.discover()


def rows_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        found: list[dict[str, Any]] = json.loads(text)
        return found
    return [json.loads(line) for line in text.splitlines()]


def answered(row: dict[str, Any]) -> bool:
    """Whether the assistant has the last word: a row without an answer is told as left out, not written."""
    turns = row.get("conversations") or row.get("messages") or [{"role": "assistant"}]
    return turns[-1].get("from", turns[-1].get("role")) in ("gpt", "assistant")


@pytest.mark.parametrize(
    ("file", "to", "task"),
    [
        ("alpaca_gsm8k_800.json", "alpaca", "instruction"),
        ("openai_messages_seed_tasks.jsonl", "openai", "instruction"),
        ("sharegpt_kdconv_film.json", "sharegpt", "dialogue"),
        ("sharegpt_kdconv_film.json", "sharegpt", "instruction"),
    ],
)
def test_a_file_comes_back_as_it_was(file: str, to: str, task: str, tmp_path: Path) -> None:
    source = Source(Path(DATA) / "formats" / file, split="train")
    build(FORGE, task, [source], tmp_path / "run", BuildSettings(templates=("plain",)))
    result = export(tmp_path / "run", to, forge=FORGE, task=FORGE.tasks.get(task), into=tmp_path / "out", train="all")
    given = rows_of(source.path)
    wanted = [row for row in given if answered(row)]
    split, written = result.splits["train"], rows_of(tmp_path / "out" / result.files["train"])
    assert split.rows == len(given)
    if task == "dialogue":  # which takes a last turn without a reply off, and says so
        assert len(written) == len(given)
        known = {row["id"] for row in wanted}
        written = [row for row in written if row["id"] in known]
    else:
        assert split.written == len(wanted)
    assert written == wanted
