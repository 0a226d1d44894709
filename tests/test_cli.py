"""The command line: lazy commands, exit codes, errors for people, tables, JSON, terminals."""

from __future__ import annotations

import ast
import json
import os
import pty
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner
from plugin_kit import TEMPLATE, Installation, task_source

import instructforge.cli as cli
from instructforge.cli.output import visible

GOOD = (
    task_source("mood")
    + """
@hookimpl
def instructforge_normalizers():
    yield columns("mood-rows", task="mood", fields={"text": ("text", "body")}, answer=("label",))

@hookimpl
def instructforge_templates():
    yield TemplateFolder.beside(__file__)
"""
)
WITH_SYSTEM = "{% block system %}Be brief.{% endblock %}" + TEMPLATE


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = Installation(tmp_path_factory.mktemp("installed"))
    installation.add(
        "mood", GOOD, templates={"mood/en/plain": TEMPLATE, "mood/en/brief": WITH_SYSTEM, "mood/zh/plain": TEMPLATE}
    )
    return installation


# --- The frame ----------------------------------------------------------------------------------------


def test_every_command_of_the_table_exists_and_says_the_same_of_itself() -> None:
    runner = CliRunner()
    for name in [name for section in cli.COMMANDS.values() for name in section]:
        result = runner.invoke(cli.main, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)
        assert f"instructforge {name}" in result.output or f"main {name}" in result.output


def test_help_shows_every_command_and_imports_none(installed: Installation) -> None:
    result = installed.run("--help")
    assert result.returncode == 0
    for section, commands in cli.COMMANDS.items():
        assert f"{section}:" in result.stdout
        for name, (_, text) in commands.items():
            assert name in result.stdout
            assert text in result.stdout
    script = "import sys, instructforge.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    targets = {f"instructforge.cli.{entry.partition(':')[0]}" for s in cli.COMMANDS.values() for entry, _ in s.values()}
    assert targets.isdisjoint(loaded)
    assert "instructforge.plugins" not in loaded


def test_a_command_s_module_imports_little_at_the_top() -> None:
    """`COMMAND --help` and listings stay instant: what is heavy is imported inside the command."""
    spec = find_spec("instructforge.cli")
    assert spec is not None
    assert spec.origin is not None
    for path in Path(spec.origin).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names | {"attrs", "click", "instructforge"}, (
                    path.name
                )


def test_an_unknown_command_gets_a_near_one(installed: Installation) -> None:
    result = installed.run("taks")
    assert result.returncode == 2
    assert 'Did you mean "tasks"?' in result.stderr


def test_errors_for_people_have_no_traceback_and_debug_shows_it(installed: Installation) -> None:
    result = installed.run("tasks", "moood")
    assert result.returncode == 2
    assert result.stderr.splitlines()[:2] == ['No task is called "moood".', 'Did you mean "mood"?']
    debugging = installed.run("--debug", "tasks", "moood")
    assert debugging.returncode == 1
    assert "Traceback" in debugging.stderr
    assert "UnknownNameError" in debugging.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--disable", "no-such-plugin", "tasks"],
        ["templates", "nope"],
        ["render", "nope"],
        ["render", "mood", "--template", "nope"],
        ["render", "mood", "--column", "text"],
        ["render", "mood", "--n", "0"],
        ["tasks", "--no-such-option"],
        ["check", "no_such_module"],
    ],
)
def test_wrong_usage_is_exit_code_2(installed: Installation, arguments: list[str]) -> None:
    result = installed.run(*arguments)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.strip()


def test_a_missing_file_is_an_error_for_people(installed: Installation) -> None:
    result = installed.run("render", "mood", "--input", "no-such-file.jsonl")
    assert result.returncode in (1, 2)
    assert "no-such-file.jsonl" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_reader_that_goes_away_ends_a_listing_in_peace(installed: Installation) -> None:
    line = f"{sys.executable} -m instructforge templates | head -n 1"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        capture_output=True,
        text=True,
        env=installed.environment(),
        check=False,
    )
    assert "Traceback" not in result.stderr
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_fits_whatever_encoding_the_terminal_has(installed: Installation, encoding: str) -> None:
    result = installed.run("tasks", "nli", PYTHONIOENCODING=encoding)
    if "No task is called" in result.stderr:
        pytest.skip("the plugin nli is not installed")
    assert result.returncode == 0, result.stderr


# --- Listings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["tasks", "templates", "normalizers", "readers", "trainers", "decoders", "metrics", "plugins"]
)
def test_a_listing_is_tab_separated_in_a_pipe_and_json_for_machines(installed: Installation, command: str) -> None:
    lines = installed.run(command).stdout.splitlines()
    value = installed.json(command)
    assert value["schema"] == f"instructforge.{command}/1"
    rows = value[command]
    assert len(lines) == len(rows) > 0
    key = "key" if command == "templates" else "name"
    assert [line.split("\t")[0] for line in lines] == [row[key] for row in rows]


@pytest.mark.parametrize(
    "arguments",
    [
        *(["tasks"], ["templates"], ["normalizers"], ["readers"], ["trainers"], ["decoders"], ["metrics"], ["plugins"]),
        *(["tasks", "mood"], ["render", "mood"], ["check", "mood"]),
        pytest.param(["doctor"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_json_output_keeps_to_its_schema(installed: Installation, arguments: list[str]) -> None:
    import jsonschema

    schema = json.loads((Path(__file__).parent.parent / "docs" / "schemas" / "cli.json").read_text(encoding="utf-8"))
    value = installed.json(*arguments)
    own = value["schema"].removeprefix("instructforge.").partition("/")[0]
    jsonschema.validate(value, {**schema["$defs"][own], "$defs": schema["$defs"]})
    jsonschema.validate(value, schema)


def test_templates_of_one_task_and_language(installed: Installation) -> None:
    assert [row["key"] for row in installed.json("templates", "mood")["templates"]] == [
        "mood/en/brief",
        "mood/en/plain",
        "mood/zh/plain",
    ]
    assert [row["key"] for row in installed.json("templates", "mood", "--language", "zh")["templates"]] == [
        "mood/zh/plain"
    ]


def test_the_card_of_a_task(installed: Installation) -> None:
    text = installed.run("tasks", "mood").stdout
    for part in (
        "mood: a task of",
        "text: a text",
        "choice of 2: good, bad",
        "mood-rows",
        "en: brief, plain",
        "accuracy",
    ):
        assert part in text
    assert "Good or bad? fine" in text  # a rendered sample
    card = installed.json("tasks", "mood")
    assert card["target"] == {"kind": "choice", "labels": ["good", "bad"]}
    assert card["templates"] == {"en": ["brief", "plain"], "zh": ["plain"]}
    assert card["problems"] == []


def test_disabled_plugins_leave_every_listing(installed: Installation) -> None:
    assert "mood" not in installed.run("--disable", "mood", "tasks").stdout
    assert "mood" not in installed.run("templates", INSTRUCTFORGE_DISABLE="mood").stdout


# --- render -------------------------------------------------------------------------------------------


def test_render_shows_samples_under_templates_by_turns(installed: Installation) -> None:
    result = installed.run("render", "mood", "--n", "1", "--template", "brief")
    assert result.stdout.splitlines() == [
        "mood/en/brief × samples:0",
        "  system",
        "    Be brief.",
        "  user",
        "    Good or bad? fine",
        "  assistant (trained)",
        "    good",
        "  choices: good | bad",
        "",
    ]


@pytest.mark.slow
def test_render_reads_files_maps_columns_and_tells_what_is_bad(installed: Installation, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"words": "sunny", "label": "good"}, {"words": "", "label": "bad"}, {"words": "雨\x1b[31m", "label": "bad"}]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\nnot json\n", encoding="utf-8")
    result = installed.run("render", "mood", "--input", str(path), "--column", "text=words")
    assert result.returncode == 0, result.stderr
    assert "Good or bad? sunny" in result.stdout
    assert "雨\\x1b[31m" in result.stdout
    assert "\x1b" not in result.stdout
    assert "rows.jsonl:2" in result.stderr
    assert "rows.jsonl:4" in result.stderr
    made = json.loads(installed.run("render", "mood", "--input", str(path), "--column", "text=words", "--json").stdout)
    assert [one["language"] for one in made["instructions"]] == ["en", "zh"]


def test_render_is_the_same_each_time(installed: Installation) -> None:
    first, second = (installed.run("render", "mood", "--json").stdout for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_the_seed_is_taken(installed: Installation, tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    draws = TEMPLATE.replace("Good or bad?", "{{ ['ay', 'bee', 'see', 'dee', 'ee', 'eff'] | random }}")
    installation.add("mood", GOOD, templates={"mood/en/plain": draws})
    shown = {installation.run("render", "mood", "--n", "1", "--seed", str(seed)).stdout for seed in range(6)}
    assert len(shown) > 1


# --- Terminals ----------------------------------------------------------------------------------------


def on_terminal(installation: Installation, *arguments: str) -> str:
    """Run the command line on a pseudo-terminal; return what a person would see."""
    read_end, write_end = pty.openpty()
    command = [sys.executable, "-m", "instructforge", *arguments]
    environment = installation.environment(TERM="xterm-256color", COLUMNS="100", NO_COLOR="")
    process = subprocess.Popen(command, stdin=write_end, stdout=write_end, stderr=write_end, env=environment)
    os.close(write_end)
    shown = b""
    while True:
        try:
            block = os.read(read_end, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    process.wait(timeout=60)
    os.close(read_end)
    return shown.decode("utf-8", "replace")


def test_a_terminal_gets_tables_and_colours(installed: Installation) -> None:
    listed = on_terminal(installed, "tasks")
    assert "languages" in listed  # a heading
    assert "mood" in listed
    rendered = on_terminal(installed, "render", "mood", "--n", "1")
    assert "\x1b[" in rendered
    assert "fine" in rendered


@pytest.mark.parametrize(
    "text",
    ["\x1b[2J", "\x07", "\x9b31m", "\r", "a\u202eb", "\u2028", "\ud800", "\x00", "\x7f"],
)
def test_what_could_drive_a_terminal_is_escaped(text: str) -> None:
    assert visible(text) != text
    assert all(character.isascii() and character.isprintable() for character in visible(text))


@pytest.mark.parametrize("text", ["两行\n\t制表", "\u3000全角空格", "naïve ‘quotes’ — 👩‍🔬", "العربية"])
def test_ordinary_text_of_any_language_stays(text: str) -> None:
    assert visible(text) == text


def test_json_holds_control_characters_as_escapes(installed: Installation, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "a\x9b31m\x7f\u202eb", "label": "good"}) + "\n", encoding="utf-8")
    output = installed.run("render", "mood", "--input", str(path), "--json").stdout
    assert not set("\x9b\x7f\u202e") & set(output)
    assert json.loads(output)["instructions"][0]["example"]["inputs"]["text"] == "a\x9b31m\x7f\u202eb"
