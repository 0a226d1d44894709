"""Pages: links lead somewhere, each has its twin in the other language, and commands name what there is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from instructforge.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "examples/**/*.md", "plugins/*/*.md")
    for path in ROOT.glob(pattern)
    if not {"node_modules", ".venv", "runs"} & set(path.parts)
)
ENGLISH_ONLY = {
    "CHANGELOG.md": "a record for those who upgrade",
    "docs/architecture.md": "for those who work on the code",
    "docs/benchmarks.md": "figures, for those who work on the code",
    "docs/next.md": "for those who work on the code",
    "examples/third_party_plugin/README.md": "the package of a stranger, who writes one language",
}
FENCES = re.compile(r"^```(?P<kind>\w*)\n(?P<body>.*?)^```", flags=re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """Return a page without its blocks of code, where brackets are no links."""
    return FENCES.sub("", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def twin(page: Path) -> Path:
    """Return where a page's other language stands: ``x.md`` and ``x.zh.md``."""
    stem = page.name.removesuffix(".md")
    return page.with_name(f"{stem.removesuffix('.zh')}.md" if stem.endswith(".zh") else f"{stem}.zh.md")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    missing = []
    for link in re.findall(r"\]\((?!\w+://|mailto:)([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_page_has_its_twin_and_links_to_it(page: Path) -> None:
    if name_of(page) in ENGLISH_ONLY:
        assert not twin(page).exists(), "it has a twin: take it off the list of exceptions"
        return
    other = twin(page)
    assert other.is_file(), f"{name_of(other)} is missing"
    head = "\n".join(page.read_text(encoding="utf-8").splitlines()[:12])
    assert f"({other.name})" in head, f"the page's first lines do not link to {other.name}"


def test_the_exceptions_are_pages() -> None:
    assert set(ENGLISH_ONLY) <= {name_of(page) for page in PAGES}


# --- Commands -----------------------------------------------------------------------------------------


def command_lines(text: str) -> Iterator[str]:
    """Yield each command of a page's blocks without a language, or with a shell's, from ``instructforge`` on."""
    for fence in FENCES.finditer(text):
        if fence["kind"] in ("", "console", "sh", "bash", "shell"):
            for line in fence["body"].replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\|\|?|;", re.sub(r"'[^']*'|\"[^\"]*\"", _without_operators, line)):
                    words = re.sub(r"\s#.*", "", part).strip().removeprefix("$ ")
                    if words.startswith("instructforge "):
                        yield words


def _without_operators(quoted: re.Match[str]) -> str:
    return re.sub(r"[|&;#]", "_", quoted.group())


def problem(line: str) -> str:
    """Return what is wrong with a command line; nothing where its command and options exist."""
    command: click.Command = main
    options = _options(main)
    words = iter(shlex.split(line)[1:])
    for word in words:
        if word.startswith("-") and len(word) > 1:
            name, _, value = word.partition("=")
            if name not in options:
                return f"{command.name} has no option {word}"
            if options[name] and not value:
                next(words, "")
        elif isinstance(command, click.Group):
            found = command.commands.get(word) if command is not main else _top(word)
            if found is None and command is main:
                return f"no command {word}"
            if found is None:
                break  # a group that takes arguments of its own
            command, options = found, options | _options(found)
    return ""


def _top(word: str) -> click.Command | None:
    known = {name for section in COMMANDS.values() for name in section}
    return main.get_command(click.Context(main), word) if word in known else None


def _options(command: click.Command) -> dict[str, bool]:
    """Return the options of a command, and whether each takes a value."""
    options = [part for part in command.params if isinstance(part, click.Option)]
    named = {name: not part.is_flag for part in options for name in (*part.opts, *part.secondary_opts)}
    return named | {"--help": False, "-h": False}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_on_a_page_exist(page: Path) -> None:
    wrong = {line: problem(line) for line in command_lines(page.read_text(encoding="utf-8"))}
    assert {line: what for line, what in wrong.items() if what} == {}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name.endswith(".zh.md")], ids=name_of)
def test_twins_show_the_same_commands(page: Path) -> None:
    said = [
        sorted(line.split()[1] for line in command_lines(one.read_text(encoding="utf-8"))) for one in (page, twin(page))
    ]
    assert said[0] == said[1]


def test_a_wrong_command_is_seen() -> None:
    assert problem("instructforge biuld runs/x") == "no command biuld"
    assert problem("instructforge build runs/x --tsk nli") == "build has no option --tsk"
    assert problem("instructforge templates lint nli --stric") == "lint has no option --stric"
    assert problem("instructforge --disable nli templates preview 'nli/en/*' --n 1") == ""


def test_every_command_stands_on_the_pages_of_commands() -> None:
    for name in ("commands.md", "commands.zh.md"):
        said = {line.split()[1] for line in command_lines((ROOT / "docs" / name).read_text(encoding="utf-8"))}
        assert {command for section in COMMANDS.values() for command in section} <= said
