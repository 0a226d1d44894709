"""`instructforge new`: what it writes is short, installs, and its own test passes as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import instructforge.cli as cli
from instructforge.errors import ConfigError
from instructforge.scaffold import FILES, write_plugin

ROOT = Path(__file__).parent.parent


def new(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.main, ["new", *arguments])
    return result.exit_code, result.output


def test_the_files_are_short_and_complete(tmp_path: Path) -> None:
    files = write_plugin("shop-messages", tmp_path)
    assert len(files) == len(FILES)
    place = tmp_path / "shop-messages"
    assert len((place / "pyproject.toml").read_text().splitlines()) <= 20
    assert len((place / "shop_messages" / "__init__.py").read_text(encoding="utf-8").splitlines()) <= 75
    project = tomllib.loads((place / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["instructforge"] == {"shop-messages": "shop_messages"}
    for language in ("en", "zh"):
        assert len(list((place / "shop_messages" / "templates" / "shop-messages" / language).iterdir())) == 2
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "$" not in text
        assert text.endswith("\n")


def test_what_is_written_is_in_house_style(tmp_path: Path) -> None:
    write_plugin("shop-messages", tmp_path)
    for command in (["check"], ["format", "--check"]):
        line = [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "120"]
        line += ["--select", "E,F,I,B,UP"] if command == ["check"] else []
        result = subprocess.run(line, cwd=tmp_path / "shop-messages", capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Upper",
        "under_score",
        "1st",
        "-a",
        "a-",
        "a--b",
        "a b",
        "../up",
        "/abs",
        "a/b",
        "a.b",
        "名",
        "x" * 61,
        "a\nb",
    ],
)
def test_a_name_that_cannot_be_a_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be the name of a plugin"):
        write_plugin(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["json", "class", "instructforge", "asyncio", "test"])
def test_a_name_that_python_has_already_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a module that Python has already"):
        write_plugin(name, tmp_path)


def test_a_better_name_is_offered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Try: instructforge new my-task"):
        write_plugin("My_Task!", tmp_path)


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    code, output = new("mine", "--dir", str(tmp_path))
    assert code == 2
    assert "exists already" in output
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    assert new("linked", "--dir", str(tmp_path))[0] == 2


def test_the_name_of_an_installed_plugin_is_refused(tmp_path: Path) -> None:
    code, output = new("builtin", "--dir", str(tmp_path))
    assert code == 2
    assert "the name of an installed plugin or task" in output


def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    code, output = new("shop-messages", "--dir", str(tmp_path))
    assert code == 0
    assert f"pip install -e {tmp_path / 'shop-messages'}" in output
    assert (tmp_path / "shop-messages" / "tests" / "test_plugin.py").is_file()


@pytest.mark.slow
def test_the_plugin_installs_and_its_own_test_passes_unchanged(tmp_path: Path) -> None:
    assert new("shop-messages", "--dir", str(tmp_path))[0] == 0
    place, target = tmp_path / "shop-messages", tmp_path / "target"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(target), str(place)], check=True, capture_output=True, text=True)
    paths = os.pathsep.join([str(target), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", str(place)],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
    checked = subprocess.run(
        [sys.executable, "-m", "instructforge", "check", "shop-messages"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    data = place / "data" / "messages.jsonl"
    rendered = subprocess.run(
        [sys.executable, "-m", "instructforge", "render", "shop-messages", "--input", str(data), "--n", "14"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    assert rendered.stdout.count("assistant (trained)") == 14
    assert rendered.stderr == ""
