"""P7: discovery is instant. Ten plugins, a hundred tasks, broken ones among them; nothing heavy is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest


def _benchmark() -> Any:
    path = Path(__file__).parent.parent / "benchmarks" / "startup.py"
    spec = importlib.util.spec_from_file_location("startup_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


startup = _benchmark()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ten-plugins")
    startup.install_all(folder)
    return folder


@pytest.mark.parametrize("command", list(startup.COMMANDS))
def test_nothing_heavy_is_imported(installed: Path, command: str) -> None:
    names = startup.imported(installed, startup.COMMANDS[command])
    assert "instructforge" in names  # the measurement sees imports at all
    assert names & {*startup.HEAVY, "scipy", "sklearn", "pandas", "yaml", "cattrs", "orjson"} == set()


@pytest.mark.parametrize("command", ["normalizers", "readers", "trainers", "decoders", "metrics", "models"])
def test_the_other_listings_import_nothing_heavy_either(installed: Path, command: str) -> None:
    assert startup.imported(installed, [command]) & set(startup.HEAVY) == set()


def test_all_tasks_and_templates_are_listed_and_the_broken_plugins_named(installed: Path) -> None:
    tasks = startup.run(installed, ["tasks"])
    assert tasks.returncode == 0
    assert [line for line in tasks.stdout.splitlines() if line.startswith("task-")].__len__() == 100
    assert "its-own" not in tasks.stdout  # the plugin that claims a taken name is out whole
    templates = startup.run(installed, ["templates"])
    assert sum(line.startswith("task-") for line in templates.stdout.splitlines()) == 200
    for name in startup.BROKEN:
        assert f'Plugin "{name}"' in tasks.stderr
        assert f"{name}\t{name} 1.0\tleft out" in startup.run(installed, ["plugins"]).stdout
