"""A registry: components of one kind by name. It never overwrites, and keeps each component's owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from instructforge.components import Lazy
from instructforge.errors import (
    DuplicateNameError,
    InstructForgeError,
    PluginContractError,
    PluginImportError,
    UnknownNameError,
    printable,
)

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Components of one kind, in registration order.

    Args:
        kind: What it holds, in the singular, for messages: ``task``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Any] = {}
        self._owners: dict[str, str] = {}

    def add(self, component: T | Lazy, *, owner: str) -> None:
        """Add a component.

        Raises:
            DuplicateNameError: The name is taken; the message names both owners.
        """
        name: str = component.name  # type: ignore[union-attr]
        if name in self._entries:
            raise DuplicateNameError(
                f'The {self.kind} "{name}" of plugin "{owner}" is already registered by plugin '
                f'"{self._owners[name]}".\nNames are unique among all plugins, and nothing is overwritten.\n'
                f"Rename one of the two, or disable one plugin.",
                plugin=owner,
                name=name,
            )
        self._entries[name] = component
        self._owners[name] = owner

    def remove_owned_by(self, owner: str) -> None:
        """Take out everything that ``owner`` has added."""
        for name in [name for name, by in self._owners.items() if by == owner]:
            del self._entries[name], self._owners[name]

    def get(self, name: str) -> T:
        """Return the component called ``name``; a lazy one is imported now, once.

        Raises:
            UnknownNameError: No plugin has registered it; the message suggests a near name.
            MissingDependencyError: It is lazy, and needs an extra that is not installed.
            PluginImportError: It is lazy, and its module cannot be imported.
            PluginContractError: It is lazy, and what was imported goes by another name.
        """
        try:
            entry = self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries) from None
        if isinstance(entry, Lazy):
            entry = self._entries[name] = self._load(entry)
        return entry  # type: ignore[no-any-return]

    def _load(self, lazy: Lazy) -> Any:
        owner = self._owners[lazy.name]
        try:
            loaded = lazy.load()
        except InstructForgeError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginImportError(
                f'The {self.kind} "{lazy.name}" of plugin "{owner}" cannot be imported from "{lazy.target}": '
                f"{printable(f'{type(error).__name__}: {error}')}",
                plugin=owner,
            ) from error
        if getattr(loaded, "name", None) != lazy.name:
            raise PluginContractError(
                f'The {self.kind} "{lazy.name}" of plugin "{owner}" calls itself '
                f'"{printable(getattr(loaded, "name", None), 80)}".\nA lazy component is announced by its own name.\n'
                f'Give both the same name, in the plugin and in "{lazy.target}".',
                plugin=owner,
            )
        return loaded

    def peek(self, name: str) -> T | Lazy:
        """Return the entry as registered: a lazy one stays lazy.

        Raises:
            UnknownNameError: No plugin has registered it.
        """
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]  # type: ignore[no-any-return]

    def owner(self, name: str) -> str:
        """Return the name of the plugin that registered ``name``."""
        self.peek(name)
        return self._owners[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
