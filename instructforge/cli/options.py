"""What commands have in common: the ``Forge`` that they work with, and options of one form everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import define, field

from instructforge.cli.output import say_notice
from instructforge.errors import ConfigError

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["State", "json_option", "key_values", "pass_forge"]

R = TypeVar("R")


@define
class State:
    """What the command line was told before the command's name."""

    disabled: tuple[str, ...] = ()
    debug: bool = False
    _forge: Forge | None = field(default=None, init=False)

    def forge(self, *, quietly: bool = False) -> Forge:
        """Return the ``Forge`` of this call, with plugins discovered once; failed ones are noted on stderr."""
        if self._forge is None:
            from instructforge.plugins import Forge  # `--help` has no need of plugins

            self._forge = Forge.discover(disabled=self.disabled)
            for failure in () if quietly else self._forge.failures:
                say_notice(f"{failure}\n{failure.hint}")
        return self._forge


def pass_forge(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the ``Forge`` of this call as its first argument."""

    @wraps(command)
    def with_forge(*args: Any, **kwargs: Any) -> R:
        state = click.get_current_context().ensure_object(State)
        return command(state.forge(), *args, **kwargs)

    return with_forge


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, which reaches the command as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(command)


def key_values(given: tuple[str, ...], option: str) -> dict[str, Any]:
    """Read ``KEY=VALUE`` pairs; values are read as YAML but for those of ``--column`` and names of files (``@FILE``).

    Raises:
        ConfigError: One is no such pair.
    """
    import yaml

    pairs: dict[str, Any] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ConfigError(f'{option} takes KEY=VALUE, not "{pair}"')
        try:
            pairs[key] = value if option == "--column" or value.startswith("@") else yaml.safe_load(value)
        except yaml.YAMLError:
            pairs[key] = value
    return pairs
