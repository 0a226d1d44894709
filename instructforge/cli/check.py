"""``instructforge check``: proves that plugins keep the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import say, say_json

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["check"]


@click.command()
@click.argument("plugins", nargs=-1, metavar="[PLUGIN]...")
@json_option
@click.pass_context
@pass_forge
def check(forge: Forge, ctx: click.Context, plugins: tuple[str, ...], as_json: bool) -> None:
    """Prove that each PLUGIN keeps the contract; without a name, all installed ones.

    PLUGIN is the name of an installed plugin, or of a module. The exit code is 1 if any check failed.
    """
    from instructforge.conformance import check as prove

    installed = [*(info.name for info in forge.plugins), *(failure.name for failure in forge.failures)]
    reports = [prove(plugin) for plugin in plugins or installed]
    if as_json:
        say_json("check/1", {"reports": [report.to_json() for report in reports]})
    else:
        for report in reports:
            say(report)
    if not all(report.ok for report in reports):
        ctx.exit(1)
