"""Templates by path: ``<folder>/<task>/<language>/<name>.jinja``. Listing reads directory entries, nothing else.

A file whose name begins with an underscore is a part: other templates may import or extend it by its key
(``{% import "qa/en/_parts" as parts %}``), and it is not listed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from instructforge.components import TemplateFolder
from instructforge.errors import DuplicateNameError, TemplateError, UnknownNameError, printable

if TYPE_CHECKING:
    from instructforge.tasks import Task
    from instructforge.templates.template import Template

__all__ = ["SUFFIX", "TemplateLibrary", "TemplateRef"]

SUFFIX = ".jinja"
MAX_SOURCE_BYTES = 4_000_000
_NAME = re.compile(r"[\w][\w.+-]*\Z")


@frozen
class TemplateRef:
    """A template known by its path.

    Attributes:
        owner: The plugin whose folder holds it.
    """

    task: str
    language: str
    name: str
    path: Path
    owner: str

    @property
    def key(self) -> str:
        """Its name in messages and in other templates: ``qa/en/exam``."""
        return f"{self.task}/{self.language}/{self.name}"


class TemplateLibrary:
    """All template folders together.

    Args:
        folders: Pairs of owner and folder; two templates with one key are refused when they are listed.
    """

    def __init__(self, folders: Iterable[tuple[str, TemplateFolder]] = ()) -> None:
        self._folders = [(owner, folder.path) for owner, folder in folders]
        self._refs: dict[str, TemplateRef] | None = None
        self._loaded: dict[tuple[str, str], Template] = {}
        self._carried: Mapping[str, str] = {}

    @classmethod
    def of_sources(cls, sources: Mapping[str, str], *, owner: str) -> TemplateLibrary:
        """Return a library of templates that are no files: those that a model carries, by key.

        Raises:
            TemplateError: A key is not ``task/language/name``.
        """
        library = cls()
        library._carried = dict(sources)
        library._refs = {}
        for key in sources:
            parts = key.split("/")
            if len(parts) != 3 or not all(parts):
                raise TemplateError(f'"{printable(key, 80)}" is no name of a template, as qa/en/exam is', template=key)
            library._refs[key] = TemplateRef(parts[0], parts[1], parts[2], Path(), owner)
        return library

    def add(self, owner: str, folder: TemplateFolder) -> None:
        """Add the folder of one more plugin; its entries are read now.

        Raises:
            DuplicateNameError: It holds a template whose key is taken; nothing of it is added.
        """
        known = self._known()
        more: dict[str, TemplateRef] = {}
        for ref in _walk(owner, folder.path):
            _put(ref, more, taken=known)
        known.update(more)
        self._folders.append((owner, folder.path))

    def remove_owned_by(self, owner: str) -> None:
        """Take out the folders of a plugin."""
        if any(by == owner for by, _ in self._folders):
            self._folders = [(by, path) for by, path in self._folders if by != owner]
            self._refs = None
            self._loaded.clear()

    def refs(self, task: str | None = None, language: str | None = None) -> list[TemplateRef]:
        """Return the templates, sorted by key, of one task or language or of all.

        Raises:
            DuplicateNameError: Two folders hold a template of one key.
        """
        return [
            ref
            for key, ref in sorted(self._known().items())
            if (task is None or ref.task == task)
            and (language is None or ref.language == language)
            and not ref.name.startswith("_")
        ]

    def source(self, key: str) -> str:
        """Return the source of the template ``key``.

        Raises:
            UnknownNameError: There is none of that key.
            TemplateError: The file cannot be read, or is not UTF-8.
        """
        known = self._known()
        if key not in known:
            raise UnknownNameError("template", key, (name for name, ref in known.items() if ref.name[:1] != "_"))
        return self._carried[key] if key in self._carried else _read(known[key])

    def load(self, key: str, task: Task) -> Template:
        """Return the template, compiled and checked against ``task``'s fields the first time.

        Raises:
            UnknownNameError: There is none of that key.
            TemplateError: It is wrong, or does not fit the task.
        """
        place = (key, task.name)
        found = self._loaded.get(place)
        if found is None or (found.task is not task and found.task != task):
            from instructforge.templates.template import compile_template  # jinja2, only once something is compiled

            source = self.source(key)
            ref = self._known()[key]
            if ref.task != task.name:
                raise TemplateError(
                    f'The template "{key}" is for the task "{ref.task}", not for "{task.name}".\n'
                    f'Templates of "{task.name}" lie in {task.name}/<language>/.\nGive one of its keys.',
                    template=key,
                    rule="task",
                )
            found = compile_template(source, task=task, language=ref.language, name=ref.name, find=self.source_or_none)
            self._loaded[place] = found
        return found

    def source_or_none(self, key: str) -> str | None:
        """Return the source of the template ``key``, or None where there is none."""
        return self.source(key) if key in self._known() else None

    def _known(self) -> dict[str, TemplateRef]:
        if self._refs is None:
            refs: dict[str, TemplateRef] = {}
            for owner, folder in self._folders:
                for ref in _walk(owner, folder):
                    _put(ref, refs, taken=refs)
            self._refs = refs
        return self._refs


def _put(ref: TemplateRef, into: dict[str, TemplateRef], *, taken: Mapping[str, TemplateRef]) -> None:
    other = into.get(ref.key) or taken.get(ref.key)
    if other is not None:
        raise DuplicateNameError(
            f'The template "{ref.key}" of plugin "{ref.owner}" is already there from plugin '
            f'"{other.owner}".\nKeys are unique among all plugins, and nothing is '
            f"overwritten.\nRename one of the two files: {ref.path}, {other.path}.",
            plugin=ref.owner,
            name=ref.key,
        )
    into[ref.key] = ref


def _walk(owner: str, folder: Path) -> Iterator[TemplateRef]:
    for task in _entries(folder, folders=True):
        for language in _entries(task, folders=True):
            for path in _entries(language, folders=False):
                yield TemplateRef(task.name, language.name, path.name[: -len(SUFFIX)], Path(path), owner)


def _entries(folder: os.PathLike[str], *, folders: bool) -> list[os.DirEntry[str]]:
    """Return a folder's sub-folders, or its templates, by name. Links are not followed: they could lead outside."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    if folders:
        return [entry for entry in found if entry.is_dir(follow_symlinks=False) and _NAME.match(entry.name)]
    return [
        entry
        for entry in found
        if entry.name.endswith(SUFFIX)
        and entry.is_file(follow_symlinks=False)
        and _NAME.match(entry.name[: -len(SUFFIX)])
    ]


def _read(ref: TemplateRef) -> str:
    try:
        with ref.path.open("rb") as file:
            content = file.read(MAX_SOURCE_BYTES + 1)
        if len(content) > MAX_SOURCE_BYTES:
            raise ValueError(f"it is longer than {MAX_SOURCE_BYTES} bytes")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        raise TemplateError(
            f'The template "{ref.key}" cannot be read: {printable(error)}.\nA template is a UTF-8 text file.\n'
            f"Look at {ref.path}.",
            template=ref.key,
            rule="unreadable",
        ) from None
