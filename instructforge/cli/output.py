"""How commands speak: tables on a terminal, tab-separated lines in a pipe, JSON for machines.

Whatever comes from data, templates or plugins passes through ``visible``: it cannot drive the terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

__all__ = ["on_terminal", "say", "say_error", "say_json", "say_notice", "say_table", "visible"]

# Control characters but newline and tab; separators that end a line unseen; marks that turn text around;
# lone halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: object) -> str:
    """Return ``text`` with everything that could drive a terminal escaped; newlines and tabs stay.

    >>> visible("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), str(text))


def on_terminal() -> bool:
    """Tell whether a person is reading standard output."""
    return sys.stdout.isatty()


def say(text: object = "") -> None:
    """Print to standard output."""
    click.echo(visible(text))


def say_notice(text: str) -> None:
    """Print to standard error, marked as a notice: the work goes on."""
    click.echo(f"Notice: {visible(text)}", err=True)


def say_error(text: str) -> None:
    """Print to standard error."""
    click.echo(visible(text), err=True)


def say_json(schema: str, value: Mapping[str, Any]) -> None:
    """Print ``value`` as one JSON object, its form named by ``schema``: ``tasks/1``."""
    text = json.dumps({"schema": f"instructforge.{schema}", **value}, ensure_ascii=False, indent=2, allow_nan=False)
    click.echo(_UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text))


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows: a table on a terminal, else a line for each with tabs between; ``empty`` where there are none."""
    cells = [[visible(cell) for cell in row] for row in rows]
    if not cells:
        say_error(empty)
    elif on_terminal():
        _say_rich_table(columns, cells)
    else:
        for row in cells:
            click.echo("\t".join(" ".join(cell.split()) for cell in row))


def _say_rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD  # rich takes longer to import than all the rest: only where it is seen
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=False, style="bold" if number == 0 else None)
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)
