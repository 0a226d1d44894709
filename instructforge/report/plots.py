"""Plots as SVG for the page: drawn by matplotlib, coloured and lettered by the page's own style sheet.

Colours are drawn as marks that become CSS variables, so that a plot follows light and dark; texts stay
texts, in the page's fonts, so that Chinese is drawn by the reader's browser.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from instructforge.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["histogram", "loss_curve"]

_COLOURS = {
    "#aa0001": "var(--accent)",
    "#aa0002": "var(--second)",
    "#aa0003": "var(--ink)",
    "#aa0004": "var(--muted)",
    "#aa0005": "var(--line)",
}
_ACCENT, _SECOND, _INK, _MUTED, _LINE = _COLOURS
_POINTS = 0.75
"""A CSS pixel in points; matplotlib's SVG counts 72 points to an inch."""


@contextmanager
def _axes(width: int, height: int, *, left: int, bottom: int) -> Iterator[tuple[Figure, Axes]]:
    """Give axes on a figure of ``width`` × ``height`` pixels, in the page's style."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependencyError("matplotlib, which draws the report's page,", extra="report") from error
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "instructforge",
        "font.size": 12 * _POINTS,
        "text.color": _INK,
        "axes.edgecolor": _LINE,
        "axes.labelcolor": _MUTED,
        "xtick.color": _LINE,
        "ytick.color": _LINE,
        "xtick.labelcolor": _MUTED,
        "ytick.labelcolor": _MUTED,
        "axes.linewidth": 1 * _POINTS,
        "axes.unicode_minus": True,
    }
    # A Chinese letter that matplotlib's own font lacks is drawn by the browser: no reason to warn.
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        figure = Figure(figsize=(width / 96, height / 96))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((left / width, bottom / height, 1 - (left + 14) / width, 1 - (bottom + 14) / height))
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0, pad=5)
        axes.grid(axis="y", color=_LINE, linewidth=1 * _POINTS)
        axes.set_axisbelow(True)
        yield figure, axes


def _svg(figure: Figure, label: str) -> str:
    """Return a figure as an ``<svg>`` element for use inside a page."""
    from html import escape

    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(?::\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"(font: [\d.]+px) [^;\"]+", r"\1 var(--sans)", text)
    for mark, colour in _COLOURS.items():
        text = text.replace(mark, colour)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert size is not None, "matplotlib gives every figure a viewBox"
    width = float(size[1]) / _POINTS
    opening = f'<svg role="img" aria-label="{escape(label)}" viewBox="{size[0][9:-1]}" style="max-width:{width:.0f}px">'
    return opening + text[text.index(">") + 1 :].strip()


def loss_curve(
    log: Sequence[Mapping[str, Any]], words: Mapping[str, str], *, size: tuple[int, int], kept: float | None = None
) -> str:
    """Draw training and validation loss over steps; an empty text where nothing was logged.

    Args:
        log: The training's log: entries with ``step`` and ``loss`` or ``validation_loss``.
        size: Width and height in pixels.
        kept: The step whose weights were kept.
    """
    lines = {name: _series(log, name) for name in ("loss", "validation_loss")}
    if not any(lines.values()):
        return ""
    with _axes(*size, left=46, bottom=44) as (figure, axes):
        ends = [line[-1][1] for line in lines.values() if line]
        for name, colour, label in (("loss", _ACCENT, "train_loss"), ("validation_loss", _SECOND, "validation_loss")):
            if not lines[name]:
                continue
            steps, values = zip(*lines[name], strict=True)
            axes.plot(
                steps, values, color=colour, linewidth=1.5, marker="o" if len(steps) <= 20 else None, markersize=3
            )
            offset = 7 if values[-1] == max(ends) else -14  # the upper line's name above it, the lower one's below
            place = (steps[-1], values[-1])
            axes.annotate(words[label], place, xytext=(0, offset), textcoords="offset points", ha="right", color=colour)
        if kept is not None:
            axes.axvline(kept, color=_MUTED, linewidth=0.75, linestyle=(0, (3, 3)))
            axes.annotate(
                words["kept_step"],
                (kept, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-4, -8),
                textcoords="offset points",
                ha="right",
                color=_MUTED,
            )
        top = max(value for line in lines.values() for _, value in line)
        axes.set_ylim(0, top * 1.08 if top > 0 else 1)
        axes.margins(x=0.02)
        axes.set_xlabel(words["step"])
        _whole_numbers(axes, "x", size[0] // 90)
        return _svg(figure, f"{words['loss']}: {words['train_loss']}, {words['validation_loss']}")


def _series(log: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    wanted = ("loss",) if name == "loss" else ("validation_loss", "eval_loss")
    return [
        (float(entry["step"]), float(entry[key]))
        for entry in log
        for key in wanted
        if entry.get(key) is not None and entry.get("step") is not None
    ]


def _whole_numbers(axes: Axes, axis: str, most: int) -> None:
    from matplotlib.ticker import MaxNLocator

    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_locator(MaxNLocator(nbins=most, integer=True))


def histogram(spread: Mapping[str, Any], words: Mapping[str, str], label: str) -> str:
    """Draw one histogram of lengths."""
    counts, edges = spread["histogram"]["counts"], spread["histogram"]["edges"]
    with _axes(340, 170, left=46, bottom=26) as (figure, axes):
        widths = [right - left for left, right in pairwise(edges)]
        axes.bar(edges[:-1], counts, width=[0.92 * width for width in widths], align="edge", color=_ACCENT)
        axes.axvline(spread["median"], color=_SECOND, linewidth=1.2)
        _whole_numbers(axes, "y", 4)
        _whole_numbers(axes, "x", 5)
        axes.margins(x=0.01)
        return _svg(figure, f"{label}: {words['characters_axis']}")
