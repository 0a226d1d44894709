"""The plugin keeps the contract, and reads candidate rows, logs of interactions and counts of stars."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import instructforge_recommendation
from instructforge import DataError, Example, Origin, Row, SkippedError
from instructforge.building import Source
from instructforge.components import RowOrError
from instructforge.errors import ConfigError
from instructforge.plugins import Forge
from instructforge.readers import choose_reader
from instructforge.testing import check_data_set, check_plugin
from instructforge_recommendation.interactions import InteractionsReader
from instructforge_recommendation.rows import example_of
from instructforge_recommendation.stars import StarCountsReader

TASK = next(iter(instructforge_recommendation.instructforge_tasks()))
DATA = os.environ.get("INSTRUCTFORGE_DATA", "")


def made(**values: Any) -> Example:
    found = example_of(Row(values, Origin("rows.jsonl", 1)))
    TASK.check(found)
    return found


def refused(**values: Any) -> str:
    with pytest.raises(DataError) as error:
        made(**values)
    return error.value.rule


def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_recommendation)


def test_there_are_templates_and_samples_in_both_languages() -> None:
    folder = Path(instructforge_recommendation.__file__).parent / "templates" / "recommendation"
    for language in ("en", "zh"):
        assert len(list((folder / language).glob("*.jinja"))) >= 8
        assert sum(sample.language == language for sample in TASK.samples) >= 6


# --- Rows with candidates -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ({"answer": ["b", "a"]}, (("b", "a"),)),
        ({"ranking": "b"}, (("b",),)),
        ({"next_item": "c, d"}, (("c, d",),)),
        ({"grades": [0, 2, 1]}, (("b", "c, d"),)),
        ({"labels": [False, True, False]}, (("b",),)),
        ({"relevance": {"c, d": 3, "a": 1}}, (("c, d", "a"),)),
        ({"scores": '["0.5", "0", "0.7"]'}, (("c, d", "a"),)),
        ({"clicks": [0, 0, 0]}, ()),
        ({"answer": "-"}, ()),
        ({}, ()),
    ],
)
def test_the_gold_order_in_every_form(gold: dict[str, Any], answer: Any) -> None:
    assert made(history=["x"], candidates=["a", "b", "c, d"], **gold).answers == answer


def test_lists_in_cells_candidates_with_grades_and_negatives() -> None:
    found = made(history="x | y", candidates='["a", "b"]', answer="b", user_id=7, wanted=1)
    assert found.inputs == {"history": ["x", "y"], "candidates": ["a", "b"], "wanted": "1"}
    assert found.group == "7"
    items = [{"title": "a", "score": 0}, {"title": "b", "score": 4.5}, {"name": "c", "score": 1}]
    assert made(request="?", items=items).answers == (("b", "c"),)
    shuffled = made(history=["x"], positive="a", negatives=["b", "c", "d"])
    assert shuffled.answers == (("a",),)
    assert sorted(shuffled.inputs["candidates"]) == ["a", "b", "c", "d"]
    assert shuffled == made(history=["x"], positive="a", negatives=["b", "c", "d"])


def test_rows_that_cannot_be_used_say_why() -> None:
    base = {"history": ["x"], "candidates": ["a", "b"]}
    assert refused(candidates=["a", "b"], answer="a") == "nothing-to-go-by"
    assert refused(**base, answer="c") == "ranking-items"
    assert refused(**base, grades=[1]) == "grades-length"
    assert refused(**base, grades=[1, "much"]) == "grade-type"
    assert refused(**base, grades={"z": 1}) == "grade-unknown"
    assert refused(history=["x"], candidates=["a", "a"], answer="a") == "ranking-alike"
    assert refused(history=["x"], candidates=[{"id": 3}], answer="a") == "item-nameless"
    assert refused(history=["x"], candidates=7) == "field-type"
    assert refused(history=["x"], negatives=["b"]) == "field-missing"


# --- Logs of interactions -------------------------------------------------------------------------------


def write_csv(path: Path, header: str, rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


ITEMS = [(number, f"Book {number}", "Ann, Bo" if number % 2 else "") for number in range(1, 31)]
LOG = [
    ("u", 3, 5, 30),
    ("v", 9, 4, 5),
    ("u", 1, 4, 10),
    ("u", 2, 2, 20),
    ("u", 4, 5, 40),
    ("u", 5, 5, 50),
    ("u", 1, 5, 60),
    ("u", 99, 5, 70),
    ("v", "", 5, 80),
    ("v", 10, "good", 90),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write_csv(tmp_path / "items.csv", "item_id,title,authors", ITEMS)
    return write_csv(tmp_path / "log.csv", "user_id,item_id,rating,timestamp", LOG)


def rows_of(found: Sequence[RowOrError]) -> dict[int | None, Mapping[str, Any]]:
    return {row.origin.record: row.values for row in found if isinstance(row, Row)}


def reasons(found: Sequence[RowOrError]) -> dict[int | None, str]:
    return {row.origin.record: row.rule for row in found if isinstance(row, DataError) and row.origin is not None}


def test_each_liked_item_is_what_came_next(log: Path) -> None:
    found = list(InteractionsReader().read(log, {"items": "items.csv"}))
    assert len(found) == len(LOG)
    rows = rows_of(found)
    assert [(rows[line]["history"], rows[line]["answer"]) for line in (2, 6, 7)] == [
        (["Book 1 / Ann, Bo"], ["Book 3 / Ann, Bo"]),
        (["Book 1 / Ann, Bo", "Book 3 / Ann, Bo"], ["Book 4"]),
        (["Book 1 / Ann, Bo", "Book 3 / Ann, Bo", "Book 4"], ["Book 5 / Ann, Bo"]),
    ]
    assert reasons(found) == {
        3: "first-of-user",
        4: "first-of-user",
        5: "not-liked",
        8: "seen-before",
        9: "item-unknown",
        10: "field-missing",
        11: "rating-type",
    }
    skipped = {row.rule for row in found if isinstance(row, SkippedError)}
    assert skipped == {"first-of-user", "not-liked", "seen-before"}
    for values in rows.values():
        assert len(values["candidates"]) == 10
        assert set(values["answer"]) < set(values["candidates"])
        known = {"Book 2", "Book 1 / Ann, Bo", "Book 3 / Ann, Bo", "Book 4", "Book 5 / Ann, Bo"}
        assert not known & (set(values["candidates"]) - set(values["answer"]))  # nothing that the user knows is wrong


def test_the_last_item_is_tested_and_the_one_before_validates(log: Path) -> None:
    parts = {
        part: rows_of(list(InteractionsReader().read(log, {"items": "items.csv", "part": part, "liked": 4})))
        for part in ("train", "validation", "test")
    }
    whole = rows_of(list(InteractionsReader().read(log, {"items": "items.csv", "liked": 4})))
    assert [line for rows in parts.values() for line in rows] == sorted(whole)
    assert {**parts["train"], **parts["validation"], **parts["test"]} == whole


def test_options_of_logs(log: Path) -> None:
    options = {
        "items": "items.csv",
        "item_text": "<{title}>",
        "candidates": "3",
        "history": "1",
        "negatives": "popular",
    }
    found = rows_of(list(InteractionsReader().read(log, options)))
    assert found[7]["history"] == ["<Book 4>"]
    assert len(found[7]["candidates"]) == 3
    assert found == rows_of(list(InteractionsReader().read(log, options)))
    assert found != rows_of(list(InteractionsReader().read(log, {**options, "seed": 1})))
    assert InteractionsReader().beside(log, options) == [log.parent / "items.csv"]
    bare = rows_of(list(InteractionsReader().read(log, {})))  # without a file of items, they go by their ids
    assert bare[7]["answer"] == ["5"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"itmes": "x"}, 'no option "itmes"'),
        ({"part": "dev"}, "part is one of"),
        ({"negatives": "hard"}, "uniform or popular"),
        ({"candidates": 1}, "candidates"),
        ({"candidates": "many"}, "candidates"),
        ({"liked": "yes"}, "liked"),
        ({"items": "items.csv", "item_text": "{name}"}, "item_text"),
    ],
)
def test_wrong_options_are_refused(log: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        list(InteractionsReader().read(log, options))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"items": "none.csv"}, "file-missing"),
        ({"user": "reader"}, "column-missing"),
        ({"items": "items.csv", "item_id": "isbn"}, "catalogue-empty"),
        ({"items": "."}, "file-format"),
    ],
)
def test_files_that_do_not_fit_are_refused(log: Path, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError) as error:
        list(InteractionsReader().read(log, options))
    assert error.value.rule == rule


def test_logs_are_told_by_their_columns_and_other_files_are_left_alone(tmp_path: Path) -> None:
    readers = Forge.discover().readers
    for header, reader in (
        ("user_id,item_id,rating,timestamp", "interactions"),
        ("userId,movieId,rating,timestamp", "interactions"),
        ("user_id,book_id", "interactions"),
        ("user_id,item_id,rating,review", "csv"),
        ("user_id,history,candidates", "csv"),
        ("title,ratings_1,ratings_2,ratings_3,ratings_4,ratings_5", "star-counts"),
    ):
        path = write_csv(tmp_path / "data.csv", header, [["1"] * (header.count(",") + 1)])
        assert choose_reader(path, readers).name == reader
    lines = tmp_path / "log.jsonl"
    lines.write_text('{"user": "u", "item": "a"}\n{"user": "u", "item": "b"}\n', encoding="utf-8")
    assert choose_reader(lines, readers).name == "interactions"
    assert len(list(InteractionsReader().read(lines, {}))) == 2


def test_bad_records_of_a_log_cost_themselves_alone(log: Path) -> None:
    text = log.read_bytes() + b'u,6,5,80\r\nu,7\r\n"u,8,5\r\nw,\xff,5,1\r\nu,\x00,5,1\r\n'
    log.write_bytes(b"\xef\xbb\xbf" + text)
    found = list(InteractionsReader().read(log, {"items": "items.csv"}))
    assert len(found) == len(LOG) + 5
    assert 12 in rows_of(found)
    (log.parent / "log.csv.gz").write_bytes(gzip.compress(text)[:-30])
    with pytest.raises(DataError, match="too early"):
        list(InteractionsReader().read(log.parent / "log.csv.gz", {}))


def test_a_log_of_one_item_has_nothing_to_set_beside_it(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", "user,item", [("u", 1), ("u", 2)])
    assert reasons(list(InteractionsReader().read(path, {}))) == {2: "first-of-user", 3: "no-negatives"}


def test_a_build_hashes_the_items_too_and_adds_up(log: Path, tmp_path: Path) -> None:
    report = check_data_set(
        "recommendation", Source(log, options={"items": "items.csv"}), records=len(LOG), quarantined=3
    )
    assert report.rows == 3
    assert report.ledger["skipped"] == {"first-of-user": 2, "not-liked": 1, "seen-before": 1}


# --- Counts of stars -------------------------------------------------------------------------------------


@pytest.fixture
def books(tmp_path: Path) -> Path:
    header = "book_id,title,authors,original_publication_year,language_code,average_rating," + ",".join(
        f"ratings_{stars}" for stars in range(1, 6)
    )
    rows = [(n, f"Novel {n}", f"Author {n // 3}", "1990.0", "eng", "", 1, 2, 3, 10 * n, n) for n in range(1, 40)] + [
        (40, "Bad", "B", "", "", "", "many", 0, 0, 0, 0),
        (41, "", "B", "", "", "", 0, 0, 0, 0, 0),
    ]
    return write_csv(tmp_path / "books.csv", header, rows)


def test_a_reader_is_drawn_for_each_item(books: Path) -> None:
    found = list(StarCountsReader().read(books, {}))
    rows = rows_of(found)
    assert reasons(found) == {41: "count-type", 42: "field-missing"}
    assert len(rows) == 39
    for line, values in rows.items():
        assert line is not None
        assert values["answer"] == [f"Novel {line - 1} / Author {(line - 1) // 3}"]
        assert len(values["history"]) == 5
        assert not set(values["history"]) & set(values["candidates"])
    assert rows == rows_of(list(StarCountsReader().read(books, {})))
    own = sum(any(item.endswith(v["answer"][0].partition(" / ")[2]) for item in v["history"]) for v in rows.values())
    assert own > 30  # most drawn readers liked another book by the author


def test_items_are_put_in_the_order_of_their_average_rating(books: Path) -> None:
    rows = rows_of(list(StarCountsReader().read(books, {"draw": "ratings", "candidates": 4})))

    def mean(item: str) -> float:
        n = int(item.split()[1])
        return (1 + 4 + 9 + 40 * n + 5 * n) / (6 + 11 * n)

    for values in rows.values():
        assert sorted(values["candidates"]) == sorted(values["answer"])
        assert values["answer"] == sorted(values["candidates"], key=mean, reverse=True)


@pytest.mark.parametrize("options", [{"draw": "users"}, {"history": 0}, {"items": "x"}])
def test_wrong_options_of_star_counts_are_refused(books: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        list(StarCountsReader().read(books, options))


# --- Real data -------------------------------------------------------------------------------------------


@pytest.fixture
def goodbooks() -> Path:
    folder = Path(DATA) / "recommendation" / "goodbooks10k"
    if not DATA or not folder.is_dir():
        pytest.skip("INSTRUCTFORGE_DATA names no folder with recommendation/goodbooks10k")
    return folder


def counts(folder: Path, name: str) -> int:
    data_sets = json.loads((Path(DATA) / "MANIFEST.json").read_text(encoding="utf-8"))
    data_sets = data_sets if isinstance(data_sets, list) else next(v for v in data_sets.values() if isinstance(v, list))
    found = next(one for one in data_sets if one["name"] == folder.name)
    return int(found["records"][name]["rows"])


@pytest.mark.data
@pytest.mark.bar
def test_all_of_goodbooks_makes_the_round_trip(goodbooks: Path) -> None:
    check_data_set("recommendation", goodbooks / "books.csv", records=counts(goodbooks, "books.csv"), quarantined=0)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["samples_ratings.csv", "samples_to_read.csv"])
def test_logs_of_goodbooks_with_the_catalogue(goodbooks: Path, name: str) -> None:
    source = Source(goodbooks / name, options={"items": "books.csv"})
    report = check_data_set("recommendation", source, records=counts(goodbooks, name), quarantined=0)
    assert report.rows > 60
