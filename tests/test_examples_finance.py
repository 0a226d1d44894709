"""The financial example: its logic without a model, and the whole of it with one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "finance"
sys.path.insert(0, str(EXAMPLE))

from monitor import Post, Rolling, watch  # noqa: E402


def posts(marks: str) -> list[Post]:
    """Return posts, one for each letter: n for negative, anything else for neutral."""
    names = {"n": "negative", "p": "positive"}
    return [
        Post(at, None, f"post {at}", names.get(mark, "neutral"), score=at / 100) for at, mark in enumerate(marks, 1)
    ]


def test_the_share_is_that_of_the_last_posts() -> None:
    points = list(watch(posts("nn--n"), Rolling(window=4, threshold=1.0)))
    assert [point.share for point in points] == [1.0, 1.0, 2 / 3, 0.5, 0.5]


def test_no_alert_before_the_window_is_full() -> None:
    assert [point.on for point in watch(posts("nnn"), Rolling(window=3, threshold=0.5))] == [False, False, True]


def test_an_alert_begins_once_and_ends_below_the_slack() -> None:
    marks = "----nn-n--------"
    points = list(watch(posts(marks), Rolling(window=4, threshold=0.5, slack=0.2)))
    begun = [point.post.place for point in points if point.begun]
    ended = [point.post.place for point in points if point.ended]
    assert (begun, ended) == ([6], [10])
    alert = next(point.ended for point in points if point.ended)
    assert alert is not None
    assert (alert.begin.place, alert.end and alert.end.place) == (6, 10)
    assert [post.place for post in alert.reasons] == [5, 6]


def test_the_reasons_are_the_surest_in_their_order() -> None:
    point = list(watch(posts("nnnnn"), Rolling(window=5, threshold=0.5)))[-1]
    assert point.begun is not None
    assert [post.place for post in point.begun.reasons] == [3, 4, 5]


@pytest.mark.parametrize("seed", range(5))
def test_begins_and_ends_take_turns(seed: int) -> None:
    draw = random.Random(seed)
    marks = "".join(draw.choice("n--p") for _ in range(300))
    points = list(watch(posts(marks), Rolling(window=6, threshold=0.5)))
    turns = ["begun" if point.begun else "ended" for point in points if point.begun or point.ended]
    assert turns == [("begun", "ended")[at % 2] for at in range(len(turns))]
    for at, point in enumerate(points):
        last = marks[max(0, at - 5) : at + 1]
        assert point.share == pytest.approx(last.count("n") / len(last))


@pytest.mark.parametrize("wrong", [{"window": 0}, {"threshold": 0.0}, {"threshold": 1.5}, {"slack": 0.5}])
def test_bounds_that_do_not_go_together_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="do not go together"):
        Rolling(**{"window": 5, "threshold": 0.5, "slack": 0.1, **wrong})  # type: ignore[arg-type]


def test_the_page_shows_alerts_and_escapes_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from page import write_page

    dated = [
        Post(at, datetime(2026, 3, 1, at), "<script>alert(1)</script>", "negative" if at > 3 else "neutral")
        for at in range(1, 9)
    ]
    points = list(watch(dated, Rolling(window=4, threshold=0.5)))
    alerts = [point.begun for point in points if point.begun]
    write_page(tmp_path / "page.html", "test", "zh", points, alerts, 0.5, 4)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "仍在持续" in page
    assert page.count("<svg") == 1
    write_page(tmp_path / "none.html", "test", "en", [], [], 0.5, 4)
    assert "There was no alert." in (tmp_path / "none.html").read_text(encoding="utf-8")


def test_the_samples_are_dated_and_labelled() -> None:
    for language in ("en", "zh"):
        lines = (EXAMPLE / "data" / f"stream-{language}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        dates = [datetime.fromisoformat(row["date"]) for row in rows]
        assert dates == sorted(dates)
        assert len({date.date() for date in dates}) == 6
        assert {row["sentiment"] for row in rows} == {"positive", "negative", "neutral"}


@pytest.mark.slow
@pytest.mark.models
def test_the_whole_example_raises_its_alert(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py"), "--language", "en", "--out", str(tmp_path / "out")],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert "ALERT" in done.stdout
    assert "alert over" in done.stdout
    assert "Meridian" in done.stdout
    assert (tmp_path / "out" / "sample-en.html").read_text(encoding="utf-8").count("<svg") == 1
