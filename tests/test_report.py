"""The page, the table and the JSON: complete, escaped, self-contained, in both languages."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from test_evaluation import many, report_of, row, said

from instructforge import report as reporting
from instructforge.errors import MissingDependencyError
from instructforge.report.table import lines
from instructforge.report.wording import WORDS, metric_name, reason_in

jsonschema = pytest.importorskip("jsonschema")
SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e</textarea>{{ 7*7 }}"


def full_report(**more: Any):  # type: ignore[no-untyped-def]
    rows, answers = many(60, right=0.7, groups=20)
    rows[3] = evolve(rows[3], language="zh")
    answers[4] = said(rows[4], None)
    training = {
        "steps": 20,
        "log": [{"step": at, "loss": 1 / at, "validation_loss": 1.2 / at} for at in range(1, 21)],
        "best": {"step": 15, "validation_loss": 0.08},
        "settings": {"learning_rate": 2e-4},
        "counts": {"rows": 60},
    }
    ledger = {
        "totals": {"read": 70, "built": 60, "skipped": 4, "quarantined": 5, "deduplicated": 1},
        "skipped": {"not-applicable": 4},
        "quarantined": {"label-unknown": 5},
        "deduplicated": {"same": 1},
    }
    given = {"train": rows[:2], "ledger": ledger, "training": training, "fingerprints": {"data": "ab" * 32}} | more
    return report_of(rows, answers, **given)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("matplotlib")
    found = {}
    for language in ("en", "zh"):
        folder = tmp_path_factory.mktemp(language)
        reporting.write(full_report(), folder, language=language)
        found[language] = (folder / "report.html").read_text(encoding="utf-8")
    return found


class Reader(HTMLParser):
    """Collects tags with their attributes and the text, and refuses tags that do not nest."""

    EMPTY = frozenset({"meta", "br", "img", "link", "input", "use", "path", "rect", "line", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += f" {data}"


# --- The page -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_fetches_nothing_and_runs_nothing(pages: dict[str, str], language: str) -> None:
    page = Reader(pages[language])
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "img", "base", "form"}
    assert "://" not in pages[language].replace("http-equiv", "")
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", pages[language])
    policy = next(one["content"] for tag, one in page.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_has_every_part(pages: dict[str, str], language: str) -> None:
    page = Reader(pages[language])
    words = WORDS[language]
    assert ("html", {"lang": language}) in page.tags
    for part in ("key_figures", "training", "by_template", "by_language", "confusion", "by_label", "ledger"):
        assert words[part] in page.text
    for part in ("overlap", "lengths", "samples", "provenance", "undecoded_title", "by_seen"):
        assert words[part] in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) >= 4
    assert words["interval"] in page.text
    assert "label-unknown" in page.text
    assert "abababab" in page.text


def test_an_english_page_has_no_chinese_words_and_the_other_way_about(pages: dict[str, str]) -> None:
    assert not re.search("[\u4e00-\u9fff]", Reader(pages["en"]).text)
    left = set(re.findall(r"[A-Za-z]{4,}", Reader(pages["zh"]).text))
    assert not left & {"Accuracy", "interval", "baseline", "loss", "template", "bootstrap", "Wrong", "Right"}


def test_both_languages_say_the_same_things() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key, words in WORDS["en"].items():
        assert set(re.findall(r"{\w+}", words)) == set(re.findall(r"{\w+}", WORDS["zh"][key])), key
    assert metric_name("accuracy", "zh-CN") == "准确率"
    assert reason_in("names 2 choices", "zh") == "提及了 2 个选项"
    assert reason_in("names 2 choices", "en") == "names 2 choices"


def test_what_data_and_models_say_is_escaped(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [row(at, "good", text=HOSTILE, template=f"t{HOSTILE}") for at in range(4)]
    answers = [evolve(said(one, "bad"), raw=HOSTILE) for one in rows]
    answers[0] = evolve(said(rows[0], None), raw=HOSTILE, error=HOSTILE)
    report = report_of(
        rows, answers, ledger={"read": 1, "built": 0, "skipped": {HOSTILE: 1}}, fingerprints={"x": HOSTILE}
    )
    reporting.write(report, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    names = {tag for tag, _ in Reader(text).tags}
    assert not names & {"script", "img", "textarea"}
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text
    assert "{{ 7*7 }}" in text
    console = "\n".join(lines(report))
    assert "\x1b" not in console
    assert "\u202e" not in console


def test_a_report_with_next_to_nothing_still_makes_a_page(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = row(1, None)
    for rows, answers in (([], []), ([one], [said(one, None)]), ([row(1, "good")], [said(row(1, "good"), "good")])):
        reporting.write(report_of(rows, answers), tmp_path, language="zh")
        Reader((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_the_same_report_is_the_same_page(pages: dict[str, str], tmp_path: Path) -> None:
    reporting.write(full_report(), tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == pages["en"]


# --- JSON and table -----------------------------------------------------------------------------------


def test_reports_and_predictions_keep_to_their_schemas(tmp_path: Path) -> None:
    schema = json.loads((SCHEMAS / "report.json").read_text(encoding="utf-8"))
    rows, answers = many(30, right=0.5)
    one = row(1, "good")
    for report in (full_report(), report_of(rows, answers), report_of([], []), report_of([one], [said(one, "good")])):
        jsonschema.validate(report.to_json(), schema)
    schema = json.loads((SCHEMAS / "predictions.json").read_text(encoding="utf-8"))
    for answer in answers:
        jsonschema.validate(answer.to_json(), schema)


def test_the_table_in_a_pipe_is_aligned_text() -> None:
    from rich.console import Console

    target = io.StringIO()
    reporting.show(full_report(), Console(file=target, width=60))
    text = target.getvalue()
    assert "\x1b" not in text
    shown = [line for line in text.splitlines() if line.startswith(("all ", "en/t", "zh "))]
    assert len(shown) >= 6
    assert len({re.search(r"\d%", line).start() for line in shown if "100%" not in line}) == 1  # type: ignore[union-attr]
    assert "undecoded: 1 × names none of the choices" in text
    assert "overlap: 2 of 60" in text
    assert "20 groups, seed 42" in text


def test_the_table_on_a_terminal_is_a_table() -> None:
    from rich.console import Console

    target = io.StringIO()
    reporting.show(full_report(), Console(file=target, width=100, force_terminal=True))
    assert "┃" in target.getvalue()
    assert "accuracy" in target.getvalue()


def test_without_matplotlib_there_is_json_and_table_and_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="matplotlib") as raised:
        reporting.write(full_report(), tmp_path)
    assert raised.value.extra == "report"
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["schema"] == "instructforge.report/1"
    assert list(lines(full_report()))


def test_scoring_needs_neither_matplotlib_nor_scikit_learn() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['matplotlib'] = None\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_evaluation import many, report_of\n"
        "from instructforge import report\n"
        "report.show(report_of(*many(12, right=0.5)))\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
