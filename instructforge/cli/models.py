"""``instructforge models``: the models known by a short name, and ``models fetch`` to bring them here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import State, json_option, pass_forge
from instructforge.cli.output import say, say_json, say_table

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["models"]


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models known by name, or fetch one.

    Wherever a model is asked for, a hub id or a model folder serves too.
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.ensure_object(State).forge(), as_json=as_json)


@models.command("list")
@json_option
@pass_forge
def list_models(forge: Forge, as_json: bool) -> None:
    """List the models known by name."""
    _list(forge, as_json=as_json)


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@json_option
@pass_forge
def fetch(forge: Forge, names: tuple[str, ...], as_json: bool) -> None:
    """Fetch models, convert them once, and print their folders."""
    from instructforge.models import resolve

    for name in names:
        forge.models.get(name)  # unknown names are told before anything is downloaded
    folders = {name: str(resolve(name, forge=forge)) for name in names}
    if as_json:
        say_json("models-fetch/1", {"folders": folders})
    else:
        for folder in folders.values():
            say(folder)


def _list(forge: Forge, *, as_json: bool) -> None:
    rows = _rows(forge)
    if as_json:
        say_json("models/1", {"models": rows})
        return
    cells = [
        (row["name"], row["family"], " ".join(row["languages"]), _state(row["fetched"]), row["summary"]) for row in rows
    ]
    say_table(("name", "family", "languages", "state", "summary"), cells, empty="No models.")


def _state(fetched: bool) -> str:
    return "here" if fetched else "to fetch"


def _rows(forge: Forge) -> list[dict[str, Any]]:
    from instructforge.models import fetched, sources

    return [
        {
            "name": name,
            "family": source.family,
            "languages": list(source.languages),
            "fetched": fetched(name),
            "summary": source.summary,
            "plugin": forge.models.owner(name),
        }
        for name, source in sources(forge).items()
    ]
