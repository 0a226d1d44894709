"""``normalizers``, ``readers``, ``trainers``, ``decoders``, ``metrics``, ``exporters``: listings of one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import say_json, say_table
from instructforge.components import Lazy, Normalizer

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["decoders", "exporters", "metrics", "normalizers", "readers", "trainers"]


def _rows(forge: Forge, kind: str) -> list[dict[str, str]]:
    registry: Any = getattr(forge, kind)
    return [
        {"name": name, "summary": _summary(registry.peek(name)), "plugin": registry.owner(name)} for name in registry
    ]


def _summary(component: object) -> str:
    summary = getattr(component, "summary", "")
    if isinstance(component, Normalizer):
        return f"{summary or 'raw rows'} → {component.task}"
    if isinstance(component, Lazy):
        return component.summary
    doc = summary or (type(component).__doc__ or "")
    return str(doc).strip().partition("\n")[0]


def _listing(kind: str, text: str) -> Callable[..., Any]:
    @click.command(kind, help=text)
    @json_option
    @pass_forge
    def command(forge: Forge, as_json: bool) -> None:
        rows = _rows(forge, kind)
        if as_json:
            say_json(f"{kind}/1", {kind: rows})
        else:
            say_table(("name", "summary", "plugin"), [tuple(row.values()) for row in rows], empty=f"No {kind}.")

    return command


normalizers = _listing("normalizers", "List what turns raw rows into examples, and of which task.")
readers = _listing("readers", "List the file formats that can be read.")
trainers = _listing("trainers", "List the trainers.")
decoders = _listing("decoders", "List what reads answers out of a model's output.")
metrics = _listing("metrics", "List the metrics.")
exporters = _listing("exporters", "List the formats of other projects that instructions can be written in.")
