"""Plugins that are written on the spot as pip would have installed them, for the tests of discovery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TASK = """
from instructforge import Choice, Sample, Task, TemplateFolder, columns, hookimpl

@hookimpl
def instructforge_tasks():
    yield Task("{task}", summary="a task of {name}", fields={{"text": "a text"}}, target=Choice(["good", "bad"]),
               samples=[Sample("en", {{"text": "fine"}}, "good")])
"""
TEMPLATE = "{% block prompt %}Good or bad? {{ text }}{% endblock %}{% block completion %}{{ answer }}{% endblock %}"


def task_source(task: str, name: str = "a plugin") -> str:
    return TASK.format(task=task, name=name)


class Installation:
    """A folder with installed plugins, and the command line run beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        name: str,
        source: str,
        *,
        version: str = "1.0",
        entry: str | None = None,
        value: str | None = None,
        entry_points: str | None = None,
        templates: Mapping[str, str] | None = None,
    ) -> Path:
        """Install one plugin; return its package."""
        module = name.replace("-", "_")
        about = self.folder / f"{module}-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nWords.\n")
        text = entry_points or f"[instructforge]\n{entry or name} = {value or module}\n"
        (about / "entry_points.txt").write_text(text)
        package = self.folder / module
        package.mkdir()
        (package / "__init__.py").write_text(source, encoding="utf-8")
        for key, content in (templates or {}).items():
            path = package / "templates" / f"{key}.jinja"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return package

    def environment(self, **more: str) -> dict[str, str]:
        paths = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "INSTRUCTFORGE_DISABLE": ""} | more

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "instructforge", *arguments]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=120, env=self.environment(**environment)
        )

    def json(self, *arguments: str, **environment: str) -> Any:
        return json.loads(self.run(*arguments, "--json", **environment).stdout)
