"""``instructforge templates``: what is there, by path; nothing is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import say_json, say_table

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["templates"]


@click.command()
@click.argument("task", required=False)
@click.option("--language", metavar="CODE", help="Only templates in this language: en, zh …")
@json_option
@pass_forge
def templates(forge: Forge, task: str | None, language: str | None, as_json: bool) -> None:
    """List the templates of every task, or of TASK."""
    if task is not None:
        forge.tasks.get(task)  # an unknown name is an error, not an empty list
    refs = forge.templates.refs(task, language)
    if as_json:
        rows = [
            {"key": ref.key, "task": ref.task, "language": ref.language, "name": ref.name}
            | {"path": str(ref.path), "plugin": ref.owner}
            for ref in refs
        ]
        say_json("templates/1", {"templates": rows})
    else:
        say_table(("template", "plugin"), [(ref.key, ref.owner) for ref in refs], empty="No templates.")
