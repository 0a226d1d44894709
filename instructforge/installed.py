"""Which plugins are installed: the entry points of one group, read without ``importlib.metadata``.

That module takes longer to import than all of the command line, and stops at the first malformed file of
whatever project. What it reads is two small text files in each ``*.dist-info`` folder of ``sys.path``;
``importlib.metadata`` is asked only for what does not lie in folders (a zip file on the path, an importer
that brings distributions of its own).

Source: the PyPA specifications of recorded installations, core metadata and entry points.
"""

# Names by the thousand: os.path is several times as fast as pathlib.
# ruff: noqa: PTH113, PTH118, PTH119, PTH122, PTH208

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from importlib.machinery import PathFinder
from typing import NamedTuple

__all__ = ["EntryPoint", "Unreadable", "folded", "installed_entry_points"]

_VALUE = re.compile(r"(?P<module>[\w.]+)\s*(:\s*(?P<attribute>[\w.]+)\s*)?(\[.*\]\s*)?")
_INFO = (".dist-info", ".egg-info")
_TEXT_LIMIT = 1 << 20


class EntryPoint(NamedTuple):
    """One line of a distribution's entry points."""

    name: str
    value: str
    distribution: str
    version: str

    def load(self) -> object:
        """Import and return what the entry point names.

        Raises:
            ValueError: It does not name a module.
            Exception: Whatever importing the module raises.
        """
        found = _VALUE.fullmatch(self.value)
        if found is None:
            raise ValueError(f'its entry point is "{self.value}", not a module or module:attribute')
        module = import_module(found["module"])
        return reduce(getattr, (found["attribute"] or "").split("."), module) if found["attribute"] else module


class Unreadable(NamedTuple):
    """A distribution that has entry points of the group, in a file that cannot be read."""

    distribution: str
    version: str
    reason: str


class _Record(NamedTuple):
    """The texts of one installed distribution."""

    folder_name: str
    entry_points: str
    metadata: str


def installed_entry_points(group: str) -> tuple[list[EntryPoint], list[Unreadable]]:
    """Return the entry points of ``group``, sorted by distribution and name, and what could not be read."""
    points: list[EntryPoint] = []
    unreadable: list[Unreadable] = []
    for record in _records(group):
        name, version = _name_and_version(record)
        try:
            lines = _section(record.entry_points, group)
        except ValueError as error:
            unreadable.append(Unreadable(name, version, str(error)))
        else:
            points += [EntryPoint(key, value, name, version) for key, value in lines]
    return sorted(points, key=lambda point: (folded(point.distribution), point.name)), unreadable


def folded(name: str) -> str:
    """Return ``name`` as package names are compared: case and the kind of dash do not count.

    >>> folded("My_Plugin") == folded("my-plugin")
    True
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _records(group: str) -> Iterator[_Record]:
    """Yield distributions that speak of ``group``; of two of one name, the first on the path is the installed one."""
    seen: set[str] = set()
    for place in dict.fromkeys(path or os.curdir for path in sys.path):
        for folder in _info_folders(place):
            name = folded(_name_of(os.path.basename(folder)))
            if name not in seen:
                seen.add(name)
                yield from _mentioning(group, _read_folder(folder))
    for record in _elsewhere():
        name = folded(_name_and_version(record)[0])
        if name not in seen:
            seen.add(name)
            yield from _mentioning(group, record)


def _mentioning(group: str, record: _Record) -> Iterator[_Record]:
    if f"[{group}]" in record.entry_points:
        yield record


def _info_folders(place: str) -> list[str]:
    try:
        return sorted(os.path.join(place, name) for name in os.listdir(place) if name.endswith(_INFO))
    except OSError:  # not there, not a folder, not ours to read: then nothing is installed there
        return []


def _name_of(folder_name: str) -> str:
    """Return a distribution's name from its folder's: ``my_plugin-1.0.dist-info``, ``my_plugin.egg-info``."""
    stem, suffix = os.path.splitext(folder_name)
    name = stem.rpartition("-")[0] if suffix == ".dist-info" else stem.partition("-")[0]
    return name or stem


def _read_folder(folder: str) -> _Record:
    points = _read(os.path.join(folder, "entry_points.txt"))
    about = ""
    if points:
        about = _read(os.path.join(folder, "METADATA")) or _read(os.path.join(folder, "PKG-INFO"))
    return _Record(os.path.basename(folder), points, about)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_TEXT_LIMIT)
    except OSError:
        return ""


def _elsewhere() -> Iterator[_Record]:
    """Yield what lies in zip files on the path, and what other importers know of."""
    archives = [path for path in sys.path if path and os.path.isfile(path)]
    finders = [finder for finder in sys.meta_path if finder is not PathFinder and hasattr(finder, "find_distributions")]
    if not archives and not finders:
        return
    from importlib import metadata  # slow to import: only where folders are not all there is

    found = list(metadata.distributions(path=archives)) if archives else []
    for finder in finders:
        found += finder.find_distributions(metadata.DistributionFinder.Context())
    for distribution in found:
        about = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        yield _Record("", distribution.read_text("entry_points.txt") or "", about)


def _name_and_version(record: _Record) -> tuple[str, str]:
    """Return the name and version that the head of METADATA states; the folder's where it states none."""
    head = re.split(r"\r?\n\r?\n", record.metadata, maxsplit=1)[0]
    stated = dict(re.findall(r"(?m)^(Name|Version):[ \t]*(\S+)", head))
    stem, suffix = os.path.splitext(record.folder_name)
    version = stem.rpartition("-")[2] if suffix == ".dist-info" and "-" in stem else ""
    return stated.get("Name") or _name_of(record.folder_name), stated.get("Version") or version


def _section(text: str, group: str) -> list[tuple[str, str]]:
    """Return the (name, value) lines of one section of an ``entry_points.txt``.

    Raises:
        ValueError: A line of the section is not ``name = value``.

    >>> _section("[a]\\nx = y\\n[b]\\n# of ours\\nqa = my.module:thing\\n", "b")
    [('qa', 'my.module:thing')]
    """
    lines: list[tuple[str, str]] = []
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == group and line and not line.startswith(("#", ";")):
            name, mark, value = line.partition("=")
            if not mark or not name.strip():
                raise ValueError(f'a line of its entry points is "{line[:80]}", not "name = module"')
            lines.append((name.strip(), value.strip()))
    return lines
