"""Near-duplicates: n-grams in any script, MinHash with an exact check, indexes on disk, and builds without them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building_kit import adds_up, fingerprints, pair, pairs_forge, write_jsonl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instructforge import Choice, Example, Origin, Task, Text
from instructforge.building import BuildSettings, Source, build
from instructforge.building import driver as driving
from instructforge.duplicates import Size, jaccard, near_duplicates, ngrams, token_counts, tokenised
from instructforge.duplicates.documents import DocumentIndex, Journal
from instructforge.duplicates.examples import Compared, text_of
from instructforge.duplicates.minhash import SHINGLES
from instructforge.duplicates.near import Likeness, likenesses, similarity
from instructforge.duplicates.runs import SortedRuns
from instructforge.errors import ConfigError
from instructforge.metrics.base import UNSPACED, tokens

TEXTS = st.text(st.sampled_from("ab AB中文猫的、。 \nｘｙ１２é́ß_-+ไทยかな한국🙂"), max_size=40) | st.text(max_size=30)


# --- Tokens and n-grams -------------------------------------------------------------------------------


@given(st.lists(TEXTS, max_size=6))
@example(["İstanbul ǅ", "", "ﬁne Straße ①", "a\0b", "中" * 50])
def test_tokens_are_those_of_the_metrics(texts: list[str]) -> None:
    found = tokenised(texts)
    wanted = [tokens(text) for text in texts]
    assert np.diff(found.ends, prepend=0).tolist() == token_counts(texts).tolist() == [len(one) for one in wanted]
    flat = [token for one in wanted for token in one]
    hashes = found.hashes.tolist()
    assert len(set(hashes)) == len(set(flat)) == len(set(zip(hashes, flat, strict=True)))
    assert found.alone.tolist() == [token[0] in _unspaced(flat) for token in flat]


def _unspaced(flat: Sequence[str]) -> set[str]:
    import re

    return {character for token in flat for character in token if re.match(f"[{UNSPACED}]", character)}


def oracle(text: str, size: Size, *, whole_if_short: bool) -> list[tuple[str, ...]]:
    """Return n-grams as the docstring has them, one by one."""
    found = tokens(text)
    unspaced = _unspaced(found)
    grams = []
    for start, token in enumerate(found):
        stop = start + (size.characters if token[0] in unspaced else size.words)
        if stop <= len(found):
            grams.append(tuple(found[start:stop]))
    return grams or ([tuple(found)] if whole_if_short and found else [])


@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_ngrams_are_those_that_are_counted_one_by_one(
    texts: list[str], words: int, characters: int, whole: bool
) -> None:
    size = Size(words, characters)
    found = ngrams(tokenised(texts), size, whole_if_short=whole)
    wanted = [oracle(text, size, whole_if_short=whole) for text in texts]
    assert found.counts.tolist() == [len(one) for one in wanted]
    flat = [gram for one in wanted for gram in one]
    assert len(set(found.hashes.tolist())) == len(set(flat))


@given(st.lists(TEXTS, min_size=2, max_size=2))
@example(["The cat sat on the mat.", "the cat sat on a mat"])
@example(["猫坐在垫子上。", "猫坐在垫子上"])
@example(["...", "?!"])
def test_the_similarity_is_exact(texts: list[str]) -> None:
    grams = ngrams(tokenised(texts), SHINGLES, whole_if_short=True)
    one, other = (set(oracle(text, SHINGLES, whole_if_short=True)) for text in texts)
    wanted = len(one & other) / len(one | other) if one | other else 1.0
    assert jaccard(grams.of(0), grams.of(1)) == wanted


def test_the_bare_text_is_without_spaces_and_punctuation_alone() -> None:
    same = [("The cat, sat!", "thecat sat"), ("猫坐着。", "「猫」坐 着"), ("ＡＢＣ，１", "abc1"), ("a_b", "a b")]
    other = [("1 + 1", "1 - 1 = 0"), ("price: 5€", "price: 5$"), ("🙂", "🙁"), ("हि", "ही"), ("cat", "act")]
    for texts, equal in [(texts, True) for texts in same] + [(texts, False) for texts in other]:
        bare = tokenised(list(texts)).bare.tolist()
        assert (bare[0] == bare[1]) == equal, texts
    assert tokenised(["", "...", "。"]).bare.tolist() == [0, 0, 0]


def test_a_text_longer_than_what_is_hashed_at_once() -> None:
    words = ["word", "猫", "字"] * 200_000
    found = tokenised(["x", " ".join(words), "猫"])
    assert found.ends.tolist() == [1, 600_001, 600_002]
    assert found.hashes[2] == found.hashes[-1]
    assert len(set(found.hashes.tolist())) == 4


def test_hashes_are_the_same_in_every_process() -> None:
    found = tokenised(["The quick brown fox", "敏捷的狐狸"])
    assert [hex(int(one)) for one in (found.hashes[0], found.bare[1])] == ["0x4ba82ca986a44f7e", "0xaf73e94dbf4d0862"]


# --- Candidates ---------------------------------------------------------------------------------------


def planted(script: str, count: int, seed: int) -> tuple[list[str], dict[int, tuple[int, float]]]:
    """Return documents, one in four a changed copy of an earlier one; and for each copy its original and likeness."""
    draw = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(3000)] if script == "en" else [chr(0x4E00 + n) for n in range(3000)]
    size, between = (SHINGLES.words, " ") if script == "en" else (SHINGLES.characters, "")
    texts: list[list[str]] = []
    copies: dict[int, tuple[int, float]] = {}
    free: list[int] = []
    for place in range(count):
        if free and draw.random() < 0.25:
            of = free.pop(draw.randrange(len(free)))
            parts = list(texts[of])
            for _ in range(draw.randint(0, max(1, len(parts) // 7))):
                parts[draw.randrange(len(parts))] = draw.choice(vocabulary)
            one, other = ({tuple(t[i : i + size]) for i in range(len(t) - size + 1)} for t in (texts[of], parts))
            copies[place] = (of, len(one & other) / len(one | other))
        else:
            parts = draw.choices(vocabulary, k=draw.randint(15, 60))
            free.append(place)
        texts.append(parts)
    return [between.join(parts) for parts in texts], copies


@pytest.mark.parametrize("script", ["en", "zh"])
def test_planted_duplicates_are_found_and_their_originals_named(script: str, tmp_path: Path) -> None:
    texts, copies = planted(script, 6000, 3)
    wanted = {place for place, (_, alike) in copies.items() if alike >= 0.7}
    assert 300 < len(wanted) < len(copies) - 100
    found = {place: (of, alike) for place, of, alike in near_duplicates(texts, folder=tmp_path)}
    assert len(wanted & set(found)) >= 0.99 * len(wanted)
    assert set(found) <= wanted
    assert all(copies[place][0] == of and abs(copies[place][1] - alike) < 1e-9 for place, (of, alike) in found.items())


def test_all_just_at_the_threshold() -> None:
    draw = random.Random(5)
    texts = []
    for _ in range(1500):  # 28 of 40 n-grams in common: 0.7
        words = [f"w{draw.randrange(10**6)}" for _ in range(35)]
        texts += [" ".join(words), " ".join([*words[:29], *(f"x{draw.randrange(10**6)}" for _ in range(6))])]
    assert round(28 / 40, 3) == 0.7
    assert len(list(near_duplicates(texts))) >= 0.99 * 1500


def test_the_first_of_a_cluster_stays() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    rows = [text, "something else altogether", f"{text} fifteen", text.upper(), f"{text} fifteen sixteen"]
    assert [(place, of) for place, of, _ in near_duplicates(rows)] == [(2, 0), (3, 0), (4, 0)]


def test_each_field_has_to_be_alike_and_the_label_the_same() -> None:
    passage = " ".join(f"p{number}" for number in range(100))
    task = Task("t", summary="", fields={"question": "", "passage": ""}, target=Choice(("yes", "no")))
    compared = Compared.of(task)
    assert compared.names == ("question", "passage")

    def likeness(question: str, label: str, passage: str = passage) -> Likeness:
        one = Example(
            inputs={"question": question, "passage": passage}, answers=(label,), id="x", origin=Origin("x", 1)
        )
        read = compared.read([one])
        return likenesses(read.fields, read.tags)[0]

    first = likeness("Who wrote the book about the sea?", "yes")
    assert similarity(first, likeness("who wrote the book about the sea", "yes")) == 1.0
    assert similarity(first, likeness("When was the city founded?", "yes")) < 0.1
    assert similarity(first, likeness("Who wrote the book about the sea?", "no")) == 0.0
    assert similarity(first, likeness("Who wrote the book about the sea?", "yes", passage + " more")) > 0.98


def test_what_is_compared_of_a_task() -> None:
    fields = {"text": "", "options": ""}
    chosen = Task("t", summary="", fields=fields, target=Choice(from_field="options"))
    assert Compared.of(chosen) == Compared(("text",), ("options",), closed=True)
    assert Compared.of(Task("t", summary="", fields=fields, target=Text())).names == ("text", "options", "answer")
    assert text_of([{"role": "user", "content": "你好"}, {"a": "b", "c": ["d"]}, None, 1.5]) == "你好\nb\nd\n\n1.5"


# --- On disk ------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20), max_size=30), max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.integers(1, 4),
)
def test_runs_hold_what_a_list_holds(
    tmp_path_factory: Any, batches: list[list[int]], saves: list[bool], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    runs, held = SortedRuns(folder), []
    for batch, save in zip(batches, saves, strict=False):
        runs.add(np.array(batch, np.uint64))
        held += batch
        if save:  # killed after the checkpoint: what came after it is gone
            state = json.loads(json.dumps(runs.save()))
            runs.settled()
            runs.add(np.array([7, 8, 9], np.uint64))
            runs.save()
            runs.close()
            runs = SortedRuns(folder, state)
            assert {path.name for path in folder.iterdir()} == set(state["runs"])
    asked = [0, 5, 2**40, *(batches[0] if batches else [])]
    places, numbers = runs.find(np.array(asked, np.uint64), np.array([one | 0xFF for one in asked], np.uint64), limit)
    wanted = [
        (place, number) for place, one in enumerate(asked) for number in sorted(held)[:] if one <= number <= one | 0xFF
    ]
    kept = [(place, number) for place, number in wanted if _rank(wanted, place, number) < limit]
    assert sorted(set(zip(places.tolist(), numbers.tolist(), strict=True))) == sorted(set(kept))
    runs.close()


def _rank(wanted: list[tuple[int, int]], place: int, number: int) -> int:
    return sum(1 for other, value in wanted if other == place and value < number)


def test_many_runs_are_merged_into_few_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    runs = SortedRuns(tmp_path)
    values = draw.integers(0, 2**63, (60, 1000), np.uint64)
    for batch in values:
        runs.add(batch)
        runs.save()
        runs.settled()
    assert len(list(tmp_path.iterdir())) < 14
    asked = values[:, ::97].ravel()
    places, found = runs.find(asked, asked, 1)
    assert places.tolist() == list(range(len(asked)))
    assert (found == asked).all()
    runs.close()


def test_a_document_index_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    index = DocumentIndex(tmp_path)
    keys = np.array([1 << 40, 2 << 40, 1 << 40], np.uint64)
    index.add([b"first", b"second"], keys[:2], np.array([0, 1]))
    state = json.loads(json.dumps(index.save()))
    index.settled()
    index.add([b"lost"], keys[2:], np.array([0]))
    index.close()
    again = DocumentIndex(tmp_path, state)
    owners, numbers = again.find(keys, np.array([10, 11, 12]))
    assert list(zip(owners.tolist(), numbers.tolist(), strict=True)) == [(10, 0), (11, 1), (12, 0)]
    assert [again.read(number) for number in (0, 1)] == [b"first", b"second"]
    again.close()


def test_a_journal_is_cut_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a/b")
    journal.append(b"kept")
    length = journal.save()
    journal.append(b"lost")
    journal.close()
    again = Journal(tmp_path / "a/b", length)
    again.append(b"!")
    assert again.read(0, 100) == b"kept!"
    again.close()


# --- In a build ---------------------------------------------------------------------------------------


def near_rows() -> list[dict[str, Any]]:
    """Return rows of both scripts, with near copies, one with another label, and one with another hypothesis."""
    english = "a man in a red coat is slowly walking his two dogs along the frozen river in the early morning light"
    chinese = "一个穿着红色外套的男人清晨沿着结冰的河边慢慢地遛着他的两条狗，远处的山上还有雾"
    seen = "Somebody is outside with some animals today"
    return [
        pair(0, id="a", premise=english, hypothesis=seen, label="entailment"),
        pair(0, id="b", premise=english.replace("slowly ", ""), hypothesis=seen, label="entailment"),
        pair(0, id="c", premise=english.replace("slowly ", ""), hypothesis=seen, label="neutral"),
        pair(0, id="d", premise=english, hypothesis="The dogs are asleep in the house", label="entailment"),
        pair(1, id="e", premise=chinese, hypothesis="有人在外面遛狗，天气很冷", label="entailment"),
        pair(
            1,
            id="f",
            premise=chinese.replace("慢慢地", ""),
            hypothesis="有人在外面遛狗, 天气很冷。",
            label="entailment",
        ),
        pair(0, id="g", premise=english, hypothesis=seen, label="entailment"),
    ]


def test_a_build_leaves_near_duplicates_out_and_names_what_they_are_like(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", near_rows())
    chosen = BuildSettings(dedup="near")
    result = build(pairs_forge(tmp_path), "pairs", [Source(path, split="train")], tmp_path / "run", chosen)
    assert result.ledger["deduplicated"] == {"near-duplicate": 2, "same-content": 1}
    assert result.counts == {"train": 4}
    assert adds_up(result.ledger)
    entries = [json.loads(line) for line in (tmp_path / "run/duplicates.jsonl").read_text().splitlines()]
    assert [(one["id"], one["reason"], one["of"]["id"], one["of"]["record"]) for one in entries] == [
        ("b", "near-duplicate", "a", 1),
        ("f", "near-duplicate", "e", 5),
        ("g", "same-content", "a", 1),
    ]
    assert all(0.7 <= one["similarity"] < 1 for one in entries[:2])
    assert result.ledger["duplicates"]["rows"] == 3


def test_a_higher_threshold_keeps_more(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", near_rows())
    chosen = BuildSettings(dedup="near", dedup_threshold=0.99)
    result = build(pairs_forge(tmp_path), "pairs", [Source(path, split="train")], tmp_path / "run", chosen)
    assert result.ledger["deduplicated"] == {"same-content": 1}


def test_settings_are_checked_and_true_is_exact() -> None:
    assert BuildSettings(dedup=True).dedup == "exact"
    assert not BuildSettings().dedup
    for wrong in ({"dedup": "nearly"}, {"decontaminate": "yes"}, {"dedup_threshold": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            BuildSettings(**wrong)  # type: ignore[arg-type]


def many_rows(count: int) -> list[dict[str, Any]]:
    """Return rows of which every third is a near copy of an earlier one."""
    draw, rows = random.Random(9), []
    for number in range(count):
        words = [f"w{draw.randrange(5000)}" for _ in range(20)]
        if number % 3 == 2:
            words = rows[draw.randrange(len(rows))]["premise"].split()
            words[draw.randrange(20)] = "other"
        rows.append(pair(0, id=f"r{number}", premise=" ".join(words), hypothesis="It is so.", label="neutral"))
    return rows


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_workers_or_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", many_rows(600))
    forge = pairs_forge(tmp_path)
    monkeypatch.setattr(driving, "_BATCH_ROWS", 40)
    made = []
    for name, workers, checkpoint_s in (("one", 1, 9.0), ("often", 1, 0.0), ("two", 2, 0.0)):
        chosen = BuildSettings(dedup="near", decontaminate="ngram", workers=workers)
        out = tmp_path / name
        result = build(forge, "pairs", [Source(path)], out, chosen, checkpoint_s=checkpoint_s)
        made.append(fingerprints(out))
    assert result.ledger["deduplicated"]["near-duplicate"] > 100
    assert made[0] == made[1] == made[2]


class _Crash(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("crash_at", [1, 3, 6, 11, 16, 20])
def test_a_crash_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", many_rows(400))
    forge, chosen = pairs_forge(tmp_path), BuildSettings(dedup="near", decontaminate="normalised")
    monkeypatch.setattr(driving, "_BATCH_ROWS", 40)
    build(forge, "pairs", [Source(path)], tmp_path / "unbroken", chosen)
    saves = [0]
    real = driving.State.commit

    def commit(self: Any, checkpoint: Any) -> None:
        saves[0] += 1
        if saves[0] == crash_at:
            raise _Crash
        real(self, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(driving.State, "commit", commit)
        with pytest.raises(_Crash):
            build(forge, "pairs", [Source(path)], tmp_path / "run", chosen, checkpoint_s=0.0)
    build(forge, "pairs", [Source(path)], tmp_path / "run", chosen)
    assert fingerprints(tmp_path / "run") == fingerprints(tmp_path / "unbroken")
