"""The page of a watched stream: the rolling share as a plot, the alerts, and the posts. One file, no network."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib import dates as mdates
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from monitor import Alert, Point

from instructforge.files import write_atomically

__all__ = ["write_page"]

WORDS = {
    "en": {
        "title": "Share of negative posts",
        "share": "of the last {window} posts",
        "threshold": "threshold",
        "alerts": "Alerts",
        "none": "There was no alert.",
        "until": "to",
        "still": "still on",
        "posts": "Posts",
        "positive": "positive",
        "negative": "negative",
        "neutral": "neutral",
    },
    "zh": {
        "title": "负面信息占比",
        "share": "最近 {window} 条中",
        "threshold": "警戒线",
        "alerts": "警报",
        "none": "没有出现警报。",
        "until": "至",
        "still": "仍在持续",
        "posts": "全部信息",
        "positive": "正面",
        "negative": "负面",
        "neutral": "中性",
    },
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2430; }
svg { width: 100%; height: auto; } table { border-collapse: collapse; width: 100%; }
td { padding: .2rem .6rem .2rem 0; vertical-align: top; border-top: 1px solid #e3e6ea; }
td:first-child { white-space: nowrap; }
.negative { color: #b3261e; } .positive { color: #14713d; } li p { margin: .2rem 0; }
"""
MOST_LISTED = 500
"""Posts in the table; the last ones of a long stream."""


def write_page(
    path: Path,
    name: str,
    language: str,
    points: Sequence[Point],
    alerts: Sequence[Alert],
    threshold: float,
    window: int,
) -> None:
    """Write the page of one stream, as HTML with the plot as SVG in it."""
    words = WORDS[language]
    parts = [
        f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{escape(words["title"])}</title>',
        f"<style>{STYLE}</style><h1>{escape(words['title'])}: {escape(name)}</h1>",
        _plot(points, alerts, threshold, words, window),
        f"<h2>{words['alerts']}</h2>",
        _alert_list(alerts, words),
        f"<h2>{words['posts']}</h2><table>",
        *(_row(point, words) for point in points[-MOST_LISTED:]),
        "</table></html>\n",
    ]
    with write_atomically(path) as handle:
        handle.write("\n".join(parts))


def _alert_list(alerts: Sequence[Alert], words: dict[str, str]) -> str:
    if not alerts:
        return f"<p>{words['none']}</p>"
    items = []
    for alert in alerts:
        end = words["still"] if alert.end is None else f"{words['until']} {alert.end.when}"
        reasons = "".join(f"<p>{escape(post.text[:300])}</p>" for post in alert.reasons)
        items.append(f"<li><strong>{alert.begin.when}</strong> {end} ({alert.share:.0%}){reasons}</li>")
    return f"<ul>{''.join(items)}</ul>"


def _row(point: Point, words: dict[str, str]) -> str:
    post = point.post
    label = escape(words.get(post.sentiment, post.sentiment))
    cells = (post.when, f'<span class="{escape(post.sentiment)}">{label}</span>', f"{post.score:.2f}")
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}<td>{escape(post.text[:300])}</td></tr>"


def _plot(
    points: Sequence[Point], alerts: Sequence[Alert], threshold: float, words: dict[str, str], window: int
) -> str:
    """Return the share over time as SVG; texts stay texts, so that the browser's fonts draw them."""
    dated = bool(points) and all(point.post.date is not None for point in points)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "instructforge", "font.size": 9}):
        figure = Figure(figsize=(9, 3))
        axes = figure.add_subplot()
        along = [mdates.date2num(point.post.date) if dated else point.post.place for point in points]  # type: ignore[no-untyped-call]
        axes.step(along, [point.share for point in points], where="post", color="#2b5fb4")
        axes.axhline(threshold, color="#b3261e", linestyle="--", linewidth=1)
        for alert in alerts:
            begin, end = (along[post.place - 1] for post in (alert.begin, alert.end or points[-1].post))
            axes.axvspan(begin, end, color="#b3261e", alpha=0.12, linewidth=0)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        if dated:
            locator = mdates.AutoDateLocator()  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.15, top=0.96)
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    svg = buffer.getvalue()
    caption = f"{words['share'].format(window=window)}; {words['threshold']}: {threshold:.0%}"
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{escape(caption)}</figcaption></figure>"
