"""The folder of an imported plugin, written whole or not at all."""

from __future__ import annotations

import json
import keyword
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import field, frozen

from instructforge import __version__
from instructforge.errors import ConfigError, printable
from instructforge.importing.plugin import SCHEMA
from instructforge.importing.slugs import slug

__all__ = ["PlannedTask", "Plugin", "Report", "write_plugin"]


@frozen(kw_only=True)
class PlannedTask:
    """A task that is to be written, as ``tasks.json`` has it, with its templates by ``language/name``."""

    entry: Mapping[str, Any]
    templates: Mapping[str, str]
    samples: Sequence[Mapping[str, Any]] = ()

    @property
    def name(self) -> str:
        return str(self.entry["name"])


@frozen(kw_only=True)
class Report:
    """What became of everything that was found.

    Attributes:
        found: How many templates or tasks there were.
        carried: How many of them were carried over.
        refused: Those that were not, each with the reason.
        unreadable: Files and entries that could not be read, each with the reason.
        left_out: What the rest had that was not carried over with it.
        renamed: Names that were taken or could not stand in a path, each with what it became.
    """

    kind: str
    source: str
    found: int
    carried: int
    tasks: int
    templates: int
    refused: Mapping[str, str] = field(factory=dict)
    unreadable: Sequence[str] = ()
    left_out: Mapping[str, Sequence[str]] = field(factory=dict)
    renamed: Mapping[str, str] = field(factory=dict)
    notes: Sequence[str] = ()
    groups: Mapping[str, Sequence[str]] = field(factory=dict)
    """Names that stand for several tasks; they are kept for reference."""

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "source": self.source,
            "found": self.found,
            "carried": self.carried,
            "tasks": self.tasks,
            "templates": self.templates,
            "refused": dict(self.refused),
            "unreadable": list(self.unreadable),
            "left_out": {name: list(parts) for name, parts in self.left_out.items()},
            "renamed": dict(self.renamed),
            "notes": list(self.notes),
            "groups": {name: list(parts) for name, parts in self.groups.items()},
        }


@frozen(kw_only=True)
class Plugin:
    """A plugin that is to be written.

    Attributes:
        own_tasks: Whether it brings tasks; templates alone are for tasks of other plugins.
        decoders: Whether it brings decoders.
    """

    name: str
    tasks: Sequence[PlannedTask]
    report: Report
    own_tasks: bool = True
    decoders: bool = False

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")


def write_plugin(plugin: Plugin, into: Path) -> list[Path]:
    """Write a plugin into the new folder ``into``, and return its files.

    Raises:
        ConfigError: The folder exists and is not empty, or the plugin's name cannot be that of a module.
    """
    _check(plugin, into)
    files = _files(plugin)
    into.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{into.name}.", suffix=".partial", dir=into.parent))
    try:
        for name, text in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        beside.chmod(0o755)
        beside.replace(into)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return [into / name for name in files]


def _check(plugin: Plugin, into: Path) -> None:
    if into.is_symlink() or (into.exists() and not (into.is_dir() and not any(into.iterdir()))):
        raise ConfigError(
            f'"{printable(into)}" exists already.\nAn import is written into a new folder.\nGive another with --into.'
        )
    taken = keyword.iskeyword(plugin.module) or plugin.module in sys.stdlib_module_names
    if taken or plugin.name != slug(plugin.name) or not plugin.module.isidentifier():
        raise ConfigError(
            f'"{printable(plugin.name, 80)}" cannot be the name of a plugin.\n'
            "A name begins with a letter, and has lower-case letters, digits and single hyphens.\n"
            "Give another with --name."
        )


def _files(plugin: Plugin) -> dict[str, str]:
    package = PurePosixPath(plugin.module)
    files = {
        "pyproject.toml": _PYPROJECT.format(name=plugin.name, module=plugin.module, version=__version__),
        "README.md": _readme(plugin),
        "import.json": _json({"schema": "instructforge.import/1", **plugin.report.to_json()}),
        str(package / "__init__.py"): _module(plugin),
    }
    if plugin.own_tasks:
        files[str(package / "tasks.json")] = _json({"schema": SCHEMA, "tasks": [task.entry for task in plugin.tasks]})
    for task in plugin.tasks:
        for name, source in task.templates.items():
            files[str(package / "templates" / task.name / f"{name}.jinja")] = source
        if task.samples:
            lines = (json.dumps(sample, ensure_ascii=False) for sample in task.samples)
            files[str(package / "samples" / f"{task.name}.jsonl")] = "".join(f"{line}\n" for line in lines)
    return files


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n"


def _module(plugin: Plugin) -> str:
    if not plugin.own_tasks:
        return _TEMPLATES_ONLY.format(kind=plugin.report.kind)
    hooks = ["tasks", "normalizers", *(["decoders"] if plugin.decoders else [])]
    kinds = {"tasks": "Task", "normalizers": "Normalizer", "decoders": "Decoder"}
    parts = [
        f"\n\n@hookimpl\ndef instructforge_{hook}() -> Iterator[{kinds[hook]}]:\n    yield from PLUGIN.{hook}()\n"
        for hook in hooks
    ]
    more = "from instructforge.components import Decoder\n" if plugin.decoders else ""
    return _MODULE.format(kind=plugin.report.kind, more=more) + "".join(parts) + _FOLDER


_PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "Tasks and templates that were imported into InstructForge."
requires-python = ">=3.11"
dependencies = ["instructforge>={version}"]

[project.entry-points.instructforge]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""

_MODULE = '''"""Tasks and templates of {kind}, imported: what they are stands in ``tasks.json``."""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Normalizer, Task, TemplateFolder, hookimpl
{more}from instructforge.importing.plugin import ImportedPlugin

PLUGIN = ImportedPlugin(Path(__file__).parent)
'''

_FOLDER = """

@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder.beside(__file__)
"""

_TEMPLATES_ONLY = '''"""Templates of {kind}, converted for tasks that other plugins provide."""

from collections.abc import Iterator

from instructforge import TemplateFolder, hookimpl


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder.beside(__file__)
'''


def _readme(plugin: Plugin) -> str:
    report = plugin.report
    first = plugin.tasks[0].name if plugin.tasks else plugin.name
    lines = [
        f"# {plugin.name}",
        "",
        f"Imported from {report.kind} (`{printable(report.source)}`): {report.carried} of {report.found} carried over.",
        "What was refused, left out or renamed stands in `import.json`, with the reasons.",
        "The texts are their authors'; see the licence of where they came from before you pass them on.",
        "",
        "```",
        "pip install -e .",
        f"instructforge tasks {first}",
        f"instructforge build run --task {first} --files ROWS.jsonl",
        f"instructforge check {plugin.name}",
        "```",
        "",
    ]
    if plugin.own_tasks and not any(task.samples for task in plugin.tasks):
        lines += [
            "`check` asks for samples: a few rows for each task, with `--samples ROWS.jsonl` at the import, or by hand",
            f"in `{plugin.module}/samples/<task>.jsonl`, a line each: "
            '`{"language": "en", "inputs": {column: value, …}, "answer": "…"}`.',
            "",
        ]
    if plugin.own_tasks:
        lines += ["| task | data set | columns | templates |", "|---|---|---|---|"]
        lines += [
            f"| `{task.name}` | {_cell(task.entry['dataset'])} | {_cell(', '.join(task.entry['fields']))} "
            f"| {len(task.templates)} |"
            for task in plugin.tasks
        ]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return printable(text, 200).replace("|", "\\|")
