"""P6, for plugins: a broken one takes down only itself, and says why; whatever it is called and whatever it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugin_kit import TEMPLATE, Installation, task_source

GOOD = (
    task_source("good-task")
    + """
@hookimpl
def instructforge_templates():
    yield TemplateFolder.beside(__file__)
"""
)

BROKEN = {
    "cannot import": ("import a_module_that_nobody_has", "a_module_that_nobody_has"),
    "an extra is missing": ("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')", "torch"),
    "syntax error": ("def broken(:\n", "SyntaxError"),
    "raises": ("raise ValueError('no luck')", "no luck"),
    "exits": ("import sys\nsys.exit(7)", "sys.exit(7)"),
    "exits in silence": ("raise SystemExit", "sys.exit"),
    "raises what is no Exception": ("class Odd(BaseException): pass\nraise Odd('odd')", "odd"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "error whose text raises": ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "E"),
    "control characters": ("raise ValueError('\\x1b[31mred\\x07')", "\\x1b[31mred"),
    "a class": (
        "from instructforge import hookimpl\nclass P:\n    @hookimpl\n    def instructforge_tasks(self): return []\n",
        "is a class",
    ),
    "no hooks": ("x = 1", "no hooks"),
    "misspelt hook": (
        "from instructforge import hookimpl\n@hookimpl\ndef instructforge_taks(): return []",
        'Did you mean "instructforge_tasks"',
    ),
    "no mark": ("def instructforge_tasks(): return []", "not marked"),
    "takes a name": (task_source("good-task"), '"good-task"'),
    "bad component": (
        "from instructforge import hookimpl\n@hookimpl\ndef instructforge_tasks(): return ['qa']",
        "instructforge_tasks",
    ),
    "raises midway": (
        task_source("half-task").replace('yield Task("half-task"', 'yield Task("half-task-2"')
        + "    raise OSError('midway')\n",
        "midway",
    ),
    "exits in a provider": (
        "from instructforge import hookimpl\n@hookimpl\ndef instructforge_tasks(): raise SystemExit(3)",
        "sys.exit(3)",
    ),
    "newer hooks": (task_source("newer-task") + "INSTRUCTFORGE_HOOKS = 99\n", "needs hook version 99"),
    "no template folder": (
        "from instructforge import hookimpl, TemplateFolder\n@hookimpl\n"
        "def instructforge_templates(): yield TemplateFolder.beside(__file__)",
        "does not exist",
    ),
}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """One good plugin among all the broken ones; half of them come before it, half after."""
    installation = Installation(tmp_path_factory.mktemp("installed"))
    installation.add("mm-good", GOOD, templates={"good-task/en/plain": TEMPLATE})
    for number, (source, _) in enumerate(BROKEN.values()):
        name = f"{'az'[number % 2] if number != list(BROKEN).index('takes a name') else 'z'}-broken-{number}"
        value = f"{name.replace('-', '_')}:P" if list(BROKEN)[number] == "a class" else None
        installation.add(name, source, value=value)
    return installation


def test_every_broken_plugin_is_left_out_by_name_with_its_reason(crowded: Installation) -> None:
    listed = crowded.json("plugins")
    failures = {failure["name"].partition("-broken-")[2]: failure for failure in listed["failures"]}
    assert set(failures) == {str(number) for number in range(len(BROKEN))}
    for number, (case, (_, reason)) in enumerate(BROKEN.items()):
        assert reason in failures[str(number)]["reason"], case
        assert failures[str(number)]["hint"], case
        assert failures[str(number)]["version"] == "1.0", case
        assert "\x1b" not in failures[str(number)]["reason"], case


@pytest.mark.parametrize(
    "command", [["tasks"], ["templates"], ["plugins"], ["tasks", "good-task"], ["decoders"], ["models"]]
)
def test_the_good_ones_work_and_the_reasons_are_shown(crowded: Installation, command: list[str]) -> None:
    result = crowded.run(*command)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert "Traceback" not in result.stderr
    assert result.stderr.count("is left out") == len(BROKEN)
    assert "\x1b" not in result.stdout + result.stderr
    if command[0] in ("tasks", "templates"):
        assert "good-task" in result.stdout
        assert "half-task" not in result.stdout
        assert "newer-task" not in result.stdout


def test_help_does_not_meet_them_at_all(crowded: Installation) -> None:
    result = crowded.run("--help")
    assert result.returncode == 0
    assert result.stderr == ""


@pytest.mark.slow
def test_doctor_names_each_of_them_and_what_to_do(crowded: Installation) -> None:
    result = crowded.run("doctor")
    assert result.returncode == 1
    assert result.stdout.count("is left out") == len(BROKEN)
    assert "Traceback" not in result.stdout + result.stderr
    assert "instructforge[train]" in result.stdout  # for the plugin that lacks torch


def test_what_a_plugin_prints_does_not_reach_standard_output(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add(
        "chatty", "print('HELLO')\n" + task_source("chatty-task").replace("yield", "print('THERE'); yield")
    )
    listed = installation.json("tasks")  # parses: nothing stands before the JSON
    assert "chatty-task" in [one["name"] for one in listed["tasks"]]
    result = installation.run("tasks")
    assert "HELLO" in result.stderr
    assert "THERE" in result.stderr
    assert "HELLO" not in result.stdout


def test_damaged_metadata_is_no_reason_to_leave_a_plugin_out(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add("damaged", task_source("damaged-task"))
    (tmp_path / "damaged-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe\x00 nothing of use")
    listed = installation.json("plugins")
    (found,) = [one for one in listed["plugins"] if one["name"] == "damaged"]
    assert (found["distribution"], found["version"]) == ("damaged", "1.0")


def test_hostile_names_in_metadata_do_not_drive_the_terminal(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add("sneaky", "raise ValueError", entry="\x1b[2Jsneaky")
    result = installation.run("plugins")
    assert result.returncode == 0
    assert "\x1b" not in result.stdout + result.stderr
    assert "\\x1b[2Jsneaky" in result.stderr
