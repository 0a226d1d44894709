"""The examples run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.models]


def run_python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compose_goes_from_files_to_scores(tmp_path: Path) -> None:
    lines = [line for line in (EXAMPLES / "compose.py").read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 28
    said = run_python(
        (EXAMPLES / "compose.py").read_text(encoding="utf-8").replace('"epochs": 3', '"epochs": 1'), tmp_path
    )
    assert "accuracy" in said
    assert (tmp_path / "runs" / "compose" / "model" / "contract.json").is_file()


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    said = run_python("\n".join(cells), tmp_path)
    assert "'quarantined': 0" in said
    assert "accuracy" in said
