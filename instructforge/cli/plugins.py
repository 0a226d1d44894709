"""``instructforge plugins``: who is in, with what, and who was left out, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import say_json, say_table

if TYPE_CHECKING:
    from instructforge.plugins import Forge, PluginFailure, PluginInfo

__all__ = ["plugins"]


@click.command()
@json_option
@pass_forge
def plugins(forge: Forge, as_json: bool) -> None:
    """List the plugins, and those that were left out with the reason."""
    if as_json:
        say_json(
            "plugins/1",
            {
                "plugins": [_as_json(info) for info in forge.plugins],
                "disabled": [info.name for info in forge.disabled],
                "failures": [_failure_as_json(failure) for failure in forge.failures],
            },
        )
        return
    rows = [(info.name, _source(info), "in", _provided(info)) for info in forge.plugins]
    rows += [(info.name, _source(info), "disabled", "") for info in forge.disabled]
    rows += [(failure.name, _source(failure), "left out", failure.reason) for failure in forge.failures]
    say_table(("plugin", "from", "state", "provides"), rows, empty="No plugins.")


def _source(plugin: PluginInfo | PluginFailure) -> str:
    return f"{plugin.distribution} {plugin.version}".strip() or "memory"


def _provided(info: PluginInfo) -> str:
    parts = [
        f"{len(names)} {kind[:-1] if len(names) == 1 else kind}"
        for kind, names in info.provides.items()
        if kind != "templates"
    ]
    parts += ["templates"] if "templates" in info.provides else []
    return ", ".join(parts)


def _as_json(info: PluginInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "module": info.module,
        "provides": {kind: list(names) for kind, names in info.provides.items()},
    }


def _failure_as_json(failure: PluginFailure) -> dict[str, Any]:
    return {
        "name": failure.name,
        "distribution": failure.distribution,
        "version": failure.version,
        "error": type(failure.error).__name__,
        "reason": failure.reason,
        "hint": failure.hint,
    }
