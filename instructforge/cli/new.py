"""``instructforge new``: a plugin to start from, whose test passes as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from instructforge.cli.options import pass_forge
from instructforge.cli.output import say
from instructforge.errors import ConfigError

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["new"]


@click.command()
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where the plugin's folder is made; here by default.",
)
@pass_forge
def new(forge: Forge, name: str, folder: Path) -> None:
    """Write a plugin called NAME: a task, a normalizer, templates in English and Chinese, data and a test."""
    from instructforge.scaffold import write_plugin

    if name in forge.tasks or name in {info.name for info in forge.plugins}:
        raise ConfigError(
            f'"{name}" is the name of an installed plugin or task.\nNames are unique among all plugins.\n'
            "Choose another name."
        )
    for path in write_plugin(name, folder):
        say(path)
    say()
    say(f"Next: pip install -e {folder / name}")
    say(f"      pytest {folder / name}")
    say(f"      instructforge tasks {name}")
