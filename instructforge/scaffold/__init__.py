"""A plugin to start from: what ``instructforge new`` writes."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from instructforge.errors import ConfigError, printable

__all__ = ["FILES", "write_plugin"]

FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "$module/__init__.py": "plugin.py.txt",
    "$module/templates/$name/en/plain.jinja": "en-plain.jinja",
    "$module/templates/$name/en/letters.jinja": "en-letters.jinja",
    "$module/templates/$name/zh/plain.jinja": "zh-plain.jinja",
    "$module/templates/$name/zh/letters.jinja": "zh-letters.jinja",
    "data/messages.jsonl": "messages.jsonl",
    "tests/test_plugin.py": "test_plugin.py.txt",
}
"""Each file that is written, and the file of this package that it is made from."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Write a plugin called ``name`` into the new folder ``folder/name``; return its files.

    Raises:
        ConfigError: The name cannot be that of a package, or the folder exists and is not empty.
    """
    module = _module_name(name)
    place = folder / name
    if place.is_symlink() or (place.exists() and not (place.is_dir() and not any(place.iterdir()))):
        raise ConfigError(
            f'"{printable(place)}" exists already.\nA plugin is written into a new folder.\n'
            "Choose another name, or another folder with --dir."
        )
    values = {"name": name, "module": module, "title": name.replace("-", " ")}
    source = files(__name__)
    texts = {
        place / Template(path).substitute(values): Template(
            source.joinpath(made_from).read_text(encoding="utf-8")
        ).substitute(values)
        for path, made_from in FILES.items()
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _module_name(name: str) -> str:
    """Return the name of the module, once ``name`` has been found fit for a package, a task and a path."""
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or len(name) > 60:
        better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:60]
        raise ConfigError(
            f'"{printable(name, 80)}" cannot be the name of a plugin.\n'
            "A name begins with a letter and has lower-case letters, digits and single hyphens, at most 60.\n"
            f"{f'Try: instructforge new {better}' if _NAME.fullmatch(better) else 'Choose another name.'}"
        )
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module in ("instructforge", "tests", "test"):
        raise ConfigError(
            f'"{name}" is the name of a module that Python has already.\nThe plugin could not be imported.\n'
            f"Choose another name, such as {name}-task."
        )
    return module
