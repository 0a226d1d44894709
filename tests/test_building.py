"""The build: splits, templates, ids, sources, shards, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building_kit import LABELS, TEMPLATES, adds_up, pair, pairs_forge, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from instructforge import DataError, Example, Normalizer, Row, columns
from instructforge.building import (
    BuildResult,
    BuildSettings,
    InstructionSet,
    Source,
    build,
    read_ledger,
    split_names,
    used_templates,
)
from instructforge.building import driver as driving
from instructforge.building.making import language_of
from instructforge.errors import ConfigError, RunLockedError, TemplateError
from instructforge.files import exclusive_lock


def built(
    tmp_path: Path, rows: Any, *, out: str = "run", source: dict[str, Any] | None = None, **settings: Any
) -> BuildResult:
    """Build ``rows`` as one JSONL file."""
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    result = build(
        pairs_forge(tmp_path), "pairs", [Source(path, **(source or {}))], tmp_path / out, BuildSettings(**settings)
    )
    assert adds_up(result.ledger)
    return result


def instructions(result: BuildResult, split: str) -> list[Any]:
    return list(InstructionSet(result.folder, split))


def test_what_is_built_can_be_read_again(tmp_path: Path) -> None:
    result = built(tmp_path, map(pair, range(100)))
    assert result.ledger == read_ledger(result.folder)
    assert result.ledger["totals"]["built"] == 100
    assert split_names(result.folder) == ["train", "validation", "test"]
    assert sum(result.counts.values()) == 100
    found = {one.id: one for split in result.counts for one in instructions(result, split)}
    assert set(found) == {f"r{number}" for number in range(100)}
    one = found["r1"]
    assert (one.task, one.language, one.example.origin.source, one.example.origin.record) == (
        "pairs",
        "zh",
        "rows.jsonl",
        2,
    )
    assert one.completion == LABELS[one.example.answers[0]]["zh"]
    assert one.messages[-1].trained
    assert set(used_templates(result.folder)) == set(result.ledger["templates"])
    assert used_templates(result.folder)["pairs/en/plain"] == TEMPLATES["pairs/en/plain"]


def test_shards_are_plain_parquet_for_others(tmp_path: Path) -> None:
    result = built(tmp_path, map(pair, range(25)), source={"split": "train"}, shard_rows=10)
    names = [shard["name"] for shard in result.ledger["splits"]["train"]["shards"]]
    assert names == [f"train-0000{number}.parquet" for number in range(3)]
    tables = [pq.read_table(result.folder / "data" / name) for name in names]
    assert [table.num_rows for table in tables] == [10, 10, 5]
    row = tables[0].slice(0, 1).to_pylist()[0]
    one = instructions(result, "train")[0]
    assert list(row) == ["id", "task", "language", "template", "messages", "instruction"]
    assert row["messages"] == [{"role": m.role, "content": m.content, "trained": m.trained} for m in one.messages]
    assert json.loads(row["instruction"]) == one.to_json()
    assert (row["id"], row["task"], row["language"], row["template"]) == (one.id, "pairs", "en", one.template)


def test_instruction_sets_are_sequences(tmp_path: Path) -> None:
    result = built(tmp_path, map(pair, range(1000)), source={"split": "train"}, shard_rows=300)
    whole = InstructionSet(result.folder, "train")
    ids = [f"r{number}" for number in range(1000)]
    assert len(whole) == 1000
    assert [one.id for one in whole] == ids
    assert whole[-1].id == "r999"
    assert [one.id for one in whole[10:700:100][1:]] == ids[10:700:100][1:]
    assert [one.id for one in pickle.loads(pickle.dumps(whole))[298:302]] == ids[298:302]
    order = list(range(1000))
    random.Random(0).shuffle(order)
    assert all(whole[place].id == ids[place] for place in order)
    for place in (1000, -1001):
        with pytest.raises(IndexError):
            whole[place]
    with pytest.raises(ConfigError, match="it has train"):
        InstructionSet(result.folder, "test")


# --- Splits -------------------------------------------------------------------------------------------


def test_groups_stay_together(tmp_path: Path) -> None:
    result = built(tmp_path, (pair(number, group=f"g{number // 5}") for number in range(500)))
    where: dict[str, set[str]] = {}
    for split in result.counts:
        for one in instructions(result, split):
            where.setdefault(one.example.group, set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())
    assert 330 < result.counts["train"] < 460


def test_a_rows_split_depends_on_nothing_but_seed_and_id(tmp_path: Path) -> None:
    def split_of(result: BuildResult) -> dict[str, str]:
        return {one.id: split for split in result.counts for one in instructions(result, split)}

    rows = [pair(number) for number in range(200)]
    first = split_of(built(tmp_path, rows))
    fewer = split_of(built(tmp_path, rows[::-3], out="fewer"))
    assert fewer == {id: first[id] for id in fewer}
    assert split_of(built(tmp_path, rows, out="other", seed=7)) != first


def test_a_source_goes_whole_to_its_split(tmp_path: Path) -> None:
    assert built(tmp_path, map(pair, range(50)), source={"split": "dev"}).counts == {"dev": 50}


def test_an_empty_split_is_said_aloud(tmp_path: Path) -> None:
    result = built(tmp_path, [pair(0)])
    assert sum("is empty" in warning for warning in result.warnings) == 2
    assert len(split_names(result.folder)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": {"train": 0.5}},
        {"split": {"train": 1.5, "test": -0.5}},
        {"split": {"../x": 1.0}},
        {"workers": 0},
        {"shard_rows": 0},
        {"per_example": 0},
        {"inverted_share": 2.0},
        {"limit": 0},
        {"max_bad": -1},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)) if "../x" not in str(wrong) else "no name of a split"):
        BuildSettings(**wrong)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "a b", ".hidden", "x" * 100, "train-00000.parquet"])
def test_a_split_is_no_path(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a split"):
        Source("a.jsonl", split=name)


# --- Templates ----------------------------------------------------------------------------------------


def test_templates_are_mixed_by_the_row(tmp_path: Path) -> None:
    result = built(tmp_path, map(pair, range(400)), source={"split": "train"})
    counts = {key: part["instructions"]["train"] for key, part in result.ledger["templates"].items()}
    assert set(counts) == {"pairs/en/plain", "pairs/en/polite", "pairs/zh/plain", "pairs/zh/exam"}
    assert all(70 < count < 130 for count in counts.values())
    assert result.ledger["languages"] == {"en": 200, "zh": 200}


def test_a_template_that_does_not_apply_is_passed_over(tmp_path: Path) -> None:
    result = built(tmp_path, [pair(0, id=f"r{n}", premise="Short one.") for n in range(60)], source={"split": "train"})
    assert result.ledger["templates"]["pairs/en/short-only"]["instructions"]["train"] > 5
    only = {"templates": ("short-only",)}
    rows = [pair(0), pair(2, premise="Short."), pair(4)]
    result = built(tmp_path, rows, out="only", source={"split": "train"}, **only)
    assert result.ledger["skipped"] == {"no-template-applies": 2}
    assert result.counts == {"train": 1}


def test_several_templates_for_each_train_row(tmp_path: Path) -> None:
    result = built(tmp_path, map(pair, range(100)), per_example=2)
    train = instructions(result, "train")
    assert len(train) == 2 * result.ledger["splits"]["train"]["examples"]
    assert len({one.id for one in train}) == len(train)
    for first, second in zip(train[::2], train[1::2], strict=True):
        base, _, template = first.id.partition("#")
        assert template == first.template
        assert second.id == f"{base}#{second.template}"
        assert first.template != second.template
    assert all("#" not in one.id for one in instructions(result, "test"))
    assert built(tmp_path, [pair(1)], out="few", per_example=3).warnings[0].startswith("3 templates a row")


def test_inverted_templates_only_in_train_and_only_for_labelled_rows(tmp_path: Path) -> None:
    rows = [pair(2 * number, label=... if number % 4 == 0 else "neutral") for number in range(200)]
    result = built(tmp_path, rows, inverted_share=0.5)
    train = instructions(result, "train")
    inverted = [one for one in train if one.inverted]
    assert len(inverted) == result.ledger["splits"]["train"]["inverted"]
    labelled = sum(bool(one.example.answers) for one in train)
    assert 0.35 * labelled < len(inverted) < 0.65 * labelled
    assert all(one.example.answers and one.completion == "Someone is outside." for one in inverted)
    for split in ("validation", "test"):
        assert not any(one.inverted for one in instructions(result, split))
    assert not any(one.inverted for one in instructions(built(tmp_path, rows, out="none"), "train"))
    zh = built(tmp_path, [pair(1)], out="zh", inverted_share=1.0, split={"train": 1.0})
    assert any('"zh" has none' in warning for warning in zh.warnings)


def test_templates_are_chosen_by_name_or_pattern(tmp_path: Path) -> None:
    for asked, keys in {"exam": {"pairs/zh/exam"}, "zh/*": {"pairs/zh/exam", "pairs/zh/plain"}}.items():
        rows = [pair(2 * number + 1) for number in range(30)]
        result = built(tmp_path, rows, out=asked[:2], templates=(asked,), source={"split": "train"})
        assert set(result.ledger["templates"]) == keys
    with pytest.raises(ConfigError, match='Did you mean "polite"'):
        built(tmp_path, [pair(0)], templates=("poilte",))


def test_a_language_without_templates_is_never_replaced(tmp_path: Path) -> None:
    rows = [pair(0), pair(1), pair(2, premise="これはペンです。", hypothesis="ペンがあります。")]
    result = built(tmp_path, rows, source={"split": "train"}, templates=("en/*",))
    assert result.ledger["quarantined"] == {"no-template-in-language": 2}
    assert result.ledger["languages"] == {"en": 1}
    told = built(tmp_path, rows, out="told", source={"split": "train"}, language="zh")
    assert told.ledger["languages"] == {"zh": 3}


def test_a_broken_template_is_left_out_and_named(tmp_path: Path) -> None:
    templates = TEMPLATES | {"pairs/en/broken": TEMPLATES["pairs/en/plain"].replace("premise", "premis")}
    path = write_jsonl(tmp_path / "rows.jsonl", [pair(0)])
    forge = pairs_forge(tmp_path, templates=templates)
    result = build(forge, "pairs", [Source(path, split="train")], tmp_path / "run")
    assert any('"pairs/en/broken" is broken and left out' in warning for warning in result.warnings)
    with pytest.raises(TemplateError, match="premis"):
        build(forge, "pairs", [Source(path)], tmp_path / "named", BuildSettings(templates=("broken",)))


def test_no_templates_at_all(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [pair(0)])
    with pytest.raises(ConfigError, match="no template to build with"):
        build(pairs_forge(tmp_path, templates={}), "pairs", [Source(path)], tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("Straße", "en"),
        ("什么是 BERT？", "zh"),
        ("The Chinese word 你好 means hello", "en"),
        ("これは本です", "ja"),
        ("이것은 책이다", "ko"),
        ("１２３！", "en"),
        ("𠀀𠀁", "zh"),
    ],
)
def test_the_language_is_told_by_the_script(text: str, language: str) -> None:
    assert language_of(text) == language


@given(st.text())
def test_any_text_has_a_language(text: str) -> None:
    assert language_of(text) in ("en", "zh", "ja", "ko")


# --- Sources ------------------------------------------------------------------------------------------


def test_ids_do_not_depend_on_where_the_data_lie(tmp_path: Path) -> None:
    rows = [pair(number, id=...) for number in range(40)]
    shards = []
    for place in ("here", "there/deeper"):
        (tmp_path / place).mkdir(parents=True)
        path = write_jsonl(tmp_path / place / "rows.jsonl", rows)
        result = build(pairs_forge(tmp_path), "pairs", [Source(path, split="train")], tmp_path / place / "run")
        shards.append((result.folder / "data/train-00000.parquet").read_bytes())
        assert InstructionSet(result.folder, "train")[0].id == "rows.jsonl:1"
    assert shards[0] == shards[1]


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    sources = []
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        rows = [pair(0), pair(1, id=...)]
        sources.append(Source(write_jsonl(tmp_path / place / "rows.jsonl", rows), split="train"))
    result = build(pairs_forge(tmp_path), "pairs", sources, tmp_path / "run")
    ids = {one.id for one in InstructionSet(result.folder, "train")}
    assert ids == {"x/rows.jsonl:r0", "x/rows.jsonl:2", "y/rows.jsonl:r0", "y/rows.jsonl:2"}
    assert [one["label"] for one in result.ledger["sources"]] == ["x/rows.jsonl", "y/rows.jsonl"]


def test_columns_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("one,two,intent\nIt rains.,It is wet.,neutral\n", encoding="utf-8")
    mapping = {"premise": "one", "hypothesis": "two", "answer": "intent"}
    result = build(pairs_forge(tmp_path), "pairs", [Source(path, columns=mapping, split="train")], tmp_path / "run")
    one = InstructionSet(result.folder, "train")[0]
    assert (one.example.inputs["premise"], one.example.answers) == ("It rains.", ("neutral",))


def test_a_mapping_that_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [pair(0)])
    source = Source(path, columns={"premise": "premisse", "hypotesis": "hypothesis"}, normalizer="pairs")
    with pytest.raises(ConfigError) as caught:
        build(pairs_forge(tmp_path), "pairs", [source], tmp_path / "run")
    assert 'Did you mean "premise"' in str(caught.value)
    assert 'Did you mean "hypothesis"' in str(caught.value)


def test_constants_are_values_of_every_row(tmp_path: Path) -> None:
    rows = [pair(0, hypothesis=...), pair(2)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    source = Source(path, constants={"hypothesis": "It is day."}, split="train")
    result = build(pairs_forge(tmp_path), "pairs", [source], tmp_path / "run")
    inputs = [one.example.inputs["hypothesis"] for one in InstructionSet(result.folder, "train")]
    assert inputs == ["It is day.", "Someone is outside."]


def test_unclear_sources_are_refused(tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [pair(0)])
    same = columns("same", task="pairs", fields={"premise": (), "hypothesis": ()}, answer="label")
    other = columns("other", task="elsewhere", fields={"x": ()})
    cases: list[tuple[Any, Source, str]] = [
        (pairs_forge(tmp_path / "a", same), Source(rows), "--normalizer"),
        (pairs_forge(tmp_path / "b", other), Source(rows, normalizer="other"), '"elsewhere"'),
        (pairs_forge(tmp_path / "c"), Source(write_jsonl(tmp_path / "odd.jsonl", [{"x": 1}])), "no normalizer"),
    ]
    for forge, source, message in cases:
        with pytest.raises(ConfigError, match=message):
            build(forge, "pairs", [source], tmp_path / "run")
    with pytest.raises(ConfigError, match="no source"):
        build(pairs_forge(tmp_path), "pairs", [], tmp_path / "run")


def test_a_build_does_not_read_what_it_writes(tmp_path: Path) -> None:
    result = built(tmp_path, [pair(0), pair(2, label="x")])
    with pytest.raises(ConfigError, match="Copy it out"):
        build(pairs_forge(tmp_path), "pairs", [Source(result.folder / "quarantine.jsonl")], result.folder)


# --- Ids and duplicates -------------------------------------------------------------------------------


def test_a_later_row_of_the_same_id_is_quarantined(tmp_path: Path) -> None:
    rows = [pair(0), pair(2), pair(4, id="r0"), pair(0)]
    result = built(tmp_path, rows, source={"split": "train"})
    assert result.ledger["quarantined"] == {"duplicate-id": 2}
    entry = json.loads((result.folder / "quarantine.jsonl").read_text().splitlines()[0])
    assert (entry["record"], entry["id"], entry["row"]["premise"]) == (3, "r0", rows[2]["premise"])


def test_duplicates_of_content_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [pair(0), pair(0), pair(0, id="other"), pair(0, id="third", label="neutral"), pair(2, id="r0")]
    result = built(tmp_path, rows, source={"split": "train"}, dedup=True)
    assert result.ledger["deduplicated"] == {"same-content": 2}
    assert result.ledger["quarantined"] == {"duplicate-id": 1}
    assert result.counts == {"train": 2}


def test_duplicates_are_found_over_batches_and_checkpoints(tmp_path: Path) -> None:
    rows = [pair(2 * (number % 900)) for number in range(1800)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    sources, forge = [Source(path, split="train")], pairs_forge(tmp_path)
    result = build(forge, "pairs", sources, tmp_path / "run", BuildSettings(shard_rows=200), checkpoint_s=0)
    assert result.ledger["quarantined"] == {"duplicate-id": 900}
    assert result.counts == {"train": 900}


# --- Limits and failures ------------------------------------------------------------------------------


def test_limit(tmp_path: Path) -> None:
    rows = [pair(0, label="odd"), *map(pair, range(1000))]
    result = built(tmp_path, rows, source={"split": "train"}, limit=10)
    assert result.ledger["totals"]["read"] == 11
    assert result.counts == {"train": 10}
    assert not result.ledger["sources"][0]["read_to_end"]
    assert any("limit of 10" in warning for warning in result.warnings)


@pytest.mark.parametrize("limit", [2, 0, 0.1])
def test_too_many_bad_rows_stop_the_build_with_a_report(tmp_path: Path, limit: float) -> None:
    rows = [pair(number, label="odd" if number % 5 == 0 else "neutral") for number in range(50)]
    with pytest.raises(DataError, match=r"max_bad[\s\S]*label-unknown[\s\S]*quarantine.jsonl"):
        built(tmp_path, rows, max_bad=limit)
    ledger = read_ledger(tmp_path / "run")
    assert adds_up(ledger)
    assert not ledger["complete"]
    assert (tmp_path / "run/quarantine.jsonl").read_text().count("\n") == ledger["totals"]["quarantined"]
    with pytest.raises(ConfigError, match="has failed"):
        InstructionSet(tmp_path / "run", "train")
    assert built(tmp_path, rows, max_bad=0.3).ledger["complete"]


def test_nothing_built_is_an_error_with_a_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Not one row.*\n.*field-missing \(2\)"):
        built(tmp_path, [{"premise": "x", "hypothesis": ""}, {"premise": "", "hypothesis": "x"}])
    (tmp_path / "bad.jsonl").write_text("{\n[\n")
    with pytest.raises(DataError, match=r"Not one row.*\n.*json"):
        build(pairs_forge(tmp_path), "pairs", [Source(tmp_path / "bad.jsonl", reader="jsonl")], tmp_path / "other")


def test_a_folder_takes_one_build_at_a_time(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "run"), pytest.raises(RunLockedError):
        built(tmp_path, [pair(0)])


def test_ledgers_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no ledger\.json"):
        read_ledger(tmp_path)
    for content in ("{", "[]", '{"schema": "other/9"}'):
        (tmp_path / "ledger.json").write_text(content)
        with pytest.raises(ConfigError):
            read_ledger(tmp_path)


def test_a_damaged_shard_is_a_clear_error_and_built_anew(tmp_path: Path) -> None:
    result = built(tmp_path, map(pair, range(20)), source={"split": "train"})
    shard = result.folder / "data/train-00000.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-50])
    with pytest.raises(DataError, match="cannot be read"):
        InstructionSet(result.folder, "train")[0]
    again = built(tmp_path, map(pair, range(20)), source={"split": "train"})
    assert "missing or changed" in again.messages[0]
    assert shard.read_bytes() == whole


# --- Plugins that misbehave ---------------------------------------------------------------------------


def many(row: Row) -> Any:
    """Make two examples of a row, then fail as the row says."""
    for number in range(2):
        yield Example(inputs={"premise": f"{row.values['p']}{number}", "hypothesis": "h"}, answers=("neutral",))
    if row.values["then"] == "raise":
        raise KeyError("oops")
    if row.values["then"] == "wrong":
        yield "not an example"


def test_what_a_normalizer_does_wrong_costs_its_row(tmp_path: Path) -> None:
    maker = Normalizer("many", task="pairs", function=many, accepts=lambda values: "then" in values)
    rows = [{"p": "a", "then": ""}, {"p": "b", "then": "raise"}, {"p": "c", "then": "wrong"}, {"then": ""}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    result = build(pairs_forge(tmp_path, maker), "pairs", [Source(path, split="train")], tmp_path / "run")
    assert adds_up(result.ledger)
    assert result.ledger["quarantined"] == {"normalizer-failed": 3}
    assert [one.id for one in InstructionSet(result.folder, "train")] == [
        f"rows.jsonl:{line}{end}" for line in (1, 2, 3) for end in ("", "/2")
    ]
    entry = json.loads((result.folder / "quarantine.jsonl").read_text().splitlines()[0])
    assert "KeyError" in entry["message"]


def test_a_normalizer_drops_no_row(tmp_path: Path) -> None:
    maker = Normalizer("none", task="pairs", function=lambda row: [], accepts=lambda values: "x" in values)
    path = write_jsonl(tmp_path / "rows.jsonl", [{"x": 1}])
    with pytest.raises(DataError, match="normalizer-empty"):
        build(pairs_forge(tmp_path, maker), "pairs", [Source(path)], tmp_path / "run")


def test_a_normalizer_that_cannot_be_sent_to_workers_is_named(tmp_path: Path) -> None:
    maker = Normalizer("local", task="pairs", function=lambda row: [], accepts=lambda values: "x" in values)
    path = write_jsonl(tmp_path / "rows.jsonl", [{"x": 1}])
    with pytest.raises(ConfigError, match="importable by name"):
        build(pairs_forge(tmp_path, maker), "pairs", [Source(path)], tmp_path / "run", BuildSettings(workers=2))


# --- Telling ------------------------------------------------------------------------------------------


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    path = write_jsonl(tmp_path / "rows.jsonl", map(pair, range(600)))
    build(pairs_forge(tmp_path), "pairs", [Source(path)], tmp_path / "run", progress=lambda *now: told.append(now))
    size = path.stat().st_size
    read = [done for stage, done, total in told if stage == "build" and total == size]
    assert read[-1] == size
    assert read == sorted(read)
    assert told[-1][0] == "overlap"
    assert told[-1][1] == told[-1][2]
    assert len(told) < 20


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "csv"])
def test_progress_is_right_for_every_kind_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    rows = [
        pair(number, premise=f"{number} {hashlib.sha256(str(number).encode()).hexdigest() * 4}")
        for number in range(2000)
    ]
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        lines = [rows[0].keys(), *(row.values() for row in rows)]
        path.write_text("".join(f"{','.join(line)}\n" for line in lines))
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    monkeypatch.setattr(driving, "_PROGRESS_S", 0.0)
    told: list[tuple[str, int, int | None]] = []
    build(pairs_forge(tmp_path), "pairs", [Source(path)], tmp_path / "run", progress=lambda *now: told.append(now))
    shares = [done / (total or 1) for stage, done, total in told if stage == "build"]
    wanted = [min(1.0, 256 * (number + 1) / 2000) for number in range(8)]
    assert len(shares) >= 8
    near = 0.2 if kind.endswith("gz") else 0.12  # unpacking reads ahead
    assert all(abs(share - want) < near for share, want in zip(shares, wanted, strict=False)), shares
    assert shares[-1] == 1.0


# --- Memory -------------------------------------------------------------------------------------------

MEMORY = """
import resource, sys
from pathlib import Path
from building_kit import pair, pairs_forge, write_jsonl
from instructforge.building import BuildSettings, Source, build
folder, rows = Path(sys.argv[1]), int(sys.argv[2])
path = write_jsonl(folder / "rows.jsonl", (pair(number) for number in range(rows)))
build(pairs_forge(folder), "pairs", [Source(path)], folder / "run", BuildSettings(dedup=True, shard_rows=1000))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    peaks = []
    for rows in (3_000, 30_000):
        folder = tmp_path / str(rows)
        folder.mkdir()
        paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(folder), str(rows)],
            env={**os.environ, "PYTHONPATH": paths},
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(done.stdout) // (1 if sys.platform != "darwin" else 1024))
    assert peaks[1] - peaks[0] < 50_000  # KiB, for 27,000 rows more
