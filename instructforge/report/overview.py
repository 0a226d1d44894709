"""The report of a run over several tasks: every part's figures side by side, each with its own page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instructforge.files import write_atomically, write_json
from instructforge.report.page import shown
from instructforge.report.wording import metric_name, number, percent, words_for

__all__ = ["SCHEMA", "write_overview"]

SCHEMA = "instructforge.mixed-report/1"
_HERE = Path(__file__).parent


def write_overview(
    reports: Mapping[str, Mapping[str, Any]], mixture: Mapping[str, Any], folder: Path, *, language: str = "en"
) -> None:
    """Write ``report.json`` and ``report.html`` of a mixed run.

    Args:
        reports: Each part's report, as in its ``report.json``.
        mixture: What was planned, as in ``mixture.json``.
        folder: The run's folder; the parts' own pages lie in ``parts/NAME``.
        language: Language of the page's own words: ``en`` or ``zh``.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    lang = "zh" if language.lower().startswith("zh") else "en"
    parts = {name: {"task": report["task"], "metrics": report["metrics"]} for name, report in reports.items()}
    write_json(folder / "report.json", {"schema": SCHEMA, "parts": parts, "mixture": dict(mixture)})
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"shown": shown, "percent": percent, "number": number}
    text = environment.get_template("overview.html").render(
        parts=parts,
        plan={part["name"]: part for part in mixture["parts"]},
        lang=lang,
        t=words_for(lang),
        metric=lambda name: metric_name(name, lang),
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
    )
    with write_atomically(folder / "report.html") as handle:
        handle.write(text)
