"""A stranger's plugin, as a real wheel: built, installed beside InstructForge, listed, rendered, checked, used."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "examples" / "third_party_plugin"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(out), str(SOURCE)], check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True, text=True)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(target), str(ROOT)])}


def run(environment: dict[str, str], *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "instructforge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)


def test_the_task_costs_at_most_25_lines_in_one_file() -> None:
    (path,) = SOURCE.rglob("financial_sentiment/*.py")
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 25
    assert max(map(len, source.splitlines())) <= 120
    assert len(ast.parse(source).body) > 5  # nothing is hidden behind semicolons
    assert ";" not in source


@pytest.mark.slow
def test_the_wheel_holds_its_templates(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for language in ("en", "zh"):
        assert sum(f"templates/financial-sentiment/{language}/" in name for name in names) >= 2


@pytest.mark.slow
def test_it_is_listed_and_shown(environment: dict[str, str]) -> None:
    listed = json.loads(run(environment, "tasks", "--json").stdout)
    (task,) = [one for one in listed["tasks"] if one["name"] == "financial-sentiment"]
    assert task["languages"] == ["en", "zh"]
    assert "financial-sentiment 0.1.0" in run(environment, "plugins").stdout
    card = run(environment, "tasks", "financial-sentiment")
    assert card.returncode == 0
    assert "利好" in card.stdout
    assert "positive" in card.stdout


@pytest.mark.slow
def test_it_keeps_the_contract(environment: dict[str, str]) -> None:
    result = run(environment, "check", "financial-sentiment")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "keeps the contract" in result.stdout


@pytest.mark.slow
def test_its_raw_data_is_rendered_and_built(environment: dict[str, str], tmp_path: Path) -> None:
    data = SOURCE / "data" / "news.jsonl"
    rendered = run(environment, "render", "financial-sentiment", "--input", str(data), "--n", "14", "--json")
    made = json.loads(rendered.stdout)["instructions"]
    assert len(made) == 14
    assert {one["messages"][-1]["content"] for one in made if one["language"] == "zh"} == {"利好", "利空", "中性"}
    built = run(
        environment, "build", str(tmp_path / "run"), "--task", "financial-sentiment", "--files", str(data), "--json"
    )
    assert built.returncode == 0, built.stderr
    totals = json.loads(built.stdout)["ledger"]["totals"]
    assert (totals["read"], totals["built"]) == (14, 14)


@pytest.mark.slow
def test_its_own_test_passes(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(SOURCE / "tests")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=SOURCE)
    assert result.returncode == 0, result.stdout + result.stderr
