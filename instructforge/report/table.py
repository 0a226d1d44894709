"""A report in the terminal: a table with colours on a terminal, aligned lines in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from instructforge.errors import printable
from instructforge.report.wording import metric_name, number, percent, points

if TYPE_CHECKING:
    from rich.console import Console

    from instructforge.evaluation import Report

__all__ = ["lines", "show"]

_HEADER = ("", "metric", "value", "95% interval", "n", "baseline", "difference")


def show(report: Report, console: Console | None = None) -> None:
    """Print a report: key figures, figures by template and language, and what a reader should know.

    Args:
        console: Where to print; standard output by default.
    """
    if console is None:
        from rich.console import Console

        console = Console(soft_wrap=True, highlight=False)
    if console.is_terminal:
        _show_table(report, console)
        return
    for line in lines(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True, emoji=False)


def lines(report: Report) -> Iterator[str]:
    """Yield a report as lines of text, in columns that align in Chinese too."""
    rows = [_HEADER, *_rows(report)]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(_HEADER))]
    yield f"{printable(report.task['name'])}: {printable(report.task['summary'])}"
    for row in rows:
        cells = (_padded(cell, width, right=at > 1) for at, (cell, width) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()
    yield from _remarks(report)


def _show_table(report: Report, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(report.task["name"])), title_justify="left", header_style="bold")
    for at, name in enumerate(_HEADER):
        table.add_column(name, justify="right" if at > 1 else "left", no_wrap=at != 0)
    part = ""
    for row in _rows(report):
        if part and row[0] != part:
            table.add_section()
        style = "bold" if row[0] == "all" else ""
        table.add_row(*(Text(cell, style=style) for cell in ("" if row[0] == part else row[0], *row[1:])))
        part = row[0]
    console.print(table)
    for line in _remarks(report):
        console.print(line, markup=False, highlight=False, emoji=False)


def _rows(report: Report) -> Iterator[tuple[str, ...]]:
    base, gain = report.baseline.get("metrics", {}), report.baseline.get("gain", {})
    for name, figure in report.metrics.items():
        reached = percent(base[name]["value"]) if name in base and name in gain else ""
        better = points(gain[name]["value"]) if name in gain and gain[name]["value"] is not None else ""
        yield "all", *_cells(name, figure), reached, better
    for kind in ("language", "template", "seen"):
        parts = report.by.get(kind, [])
        for part in parts if len(parts) > 1 or kind == "seen" else ():
            yield from _part_rows(printable(part["name"]), part["metrics"])
    if report.inverted:
        yield from _part_rows("inverted", report.inverted["metrics"])


def _part_rows(label: str, metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name, figure in metrics.items():
        if name != "undecoded":
            yield label, *_cells(name, figure), "", ""


def _cells(name: str, figure: Mapping[str, Any]) -> tuple[str, str, str, str]:
    low, high = figure["low"], figure["high"]
    interval = "" if low is None or high is None else f"{100 * low:.1f} – {100 * high:.1f}"
    return metric_name(printable(name), "en").lower(), percent(figure["value"]), interval, number(figure["n"])


def _remarks(report: Report) -> Iterator[str]:
    if report.provenance["reads"]:
        yield f"reads: {', '.join(map(printable, report.provenance['reads']))} (fields in this order; no template)"
    if report.baseline.get("answer"):
        where = "training" if report.baseline["counted_in"] == "train" else "test"
        answer = printable(report.baseline["answer"], 80)
        yield f'baseline: always "{answer}", the commonest answer of the {where} rows'
    for reason in report.undecoded.get("reasons", ()):
        yield f"undecoded: {number(reason['count'])} × {printable(reason['reason'])}"
    for name in ("unlabelled", "unfinished"):
        if report.counts.get(name):
            yield f"{name}: {number(report.counts[name])} rows"
    for name, why in report.left_out.items():
        yield f"left out: {printable(name)} ({printable(why)})"
    yield _overlap_line(report.overlap)
    interval = report.provenance["interval"]
    yield (
        f"intervals: {interval['method']}, {number(interval['resamples'])} resamples of "
        f"{number(interval['groups'])} groups, seed {report.provenance['seed']}"
    )


def _overlap_line(overlap: Mapping[str, Any] | None) -> str:
    if overlap is None:
        return "overlap: not measured, no training rows were given"
    line = (
        f"overlap: {number(overlap['normalised'])} of {number(overlap['test'])} test examples occur in training "
        f"({number(overlap['exact'])} exactly), {number(overlap['same_source'])} share a source with it"
    )
    grams = overlap.get("ngrams")
    if not grams or not grams["rows"]:
        return line
    return (
        f"{line}, {number(grams['any'])} of {number(grams['rows'])} long enough share an n-gram, "
        f"{number(grams['most'])} most of them"
    )


def _width(text: str) -> int:
    from rich.cells import cell_len  # counts Chinese characters as two columns

    return cell_len(text)


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
