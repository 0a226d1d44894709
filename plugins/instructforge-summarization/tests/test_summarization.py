"""The plugin keeps the contract, and reads the columns that summarization data sets have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import instructforge_summarization
from instructforge import DataError, Example, Forge, Origin, Row
from instructforge.building import Source, build
from instructforge.normalizers import choose
from instructforge.testing import check_data_set, check_plugin
from instructforge_summarization.normalizers import ALL, split, summarize

SUMMARIZATION, REWRITING = instructforge_summarization.instructforge_tasks()
DATA = os.environ.get("INSTRUCTFORGE_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA names no folder with the real data sets")


def summarized(**values: Any) -> Example:
    found = summarize(Row(values, Origin("file", 1)))
    SUMMARIZATION.check(found)
    return found


def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_summarization)


def test_a_task_costs_at_most_25_lines() -> None:
    source = Path(instructforge_summarization.__file__).read_text(encoding="utf-8")
    tasks = source[: source.index("@hookimpl\ndef instructforge_normalizers")].split("    yield Task(")[1:]
    assert all(sum(bool(line.strip()) for line in task.splitlines()) <= 25 for task in tasks)


# --- Summarization ------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["document", "article", "text", "content", "short_text", "dialogue", "source"])
@pytest.mark.parametrize("asked", ["summary", "highlights", "abstract", "target", "summarization", "answer"])
def test_columns_in_every_spelling(held: str, asked: str) -> None:
    found = summarized(**{held: "A long text.", asked: "Short.", "title": "T", "id": 3})
    assert found.inputs == {"document": "A long text.", "title": "T"}
    assert found.answers == ("Short.",)
    assert found.id == "3"


@pytest.mark.parametrize("held", ["content", "abstract", "abst", "正文"])
@pytest.mark.parametrize("asked", ["title", "headline", "标题"])
def test_a_title_alone_is_a_headline(held: str, asked: str) -> None:
    found = summarized(**{held: "很长的正文。", asked: "标题"})
    assert found.inputs == {"document": "很长的正文。", "form": "headline"}
    assert found.answers == ("标题",)


def test_lists_of_sentences_and_of_summaries() -> None:
    found = summarized(source=["One thing. ", "", "Another."], target=["A.", "B.", " ", "A."], title="T", paper_id="x")
    assert found.inputs["document"] == "One thing. Another."
    assert found.answers == ("A.", "B.")
    assert found.id == "x"
    assert found.notes == ("blank-sentence-dropped", "blank-summary-dropped")
    assert summarized(source=["第一句。", "第二句。"]).inputs["document"] == "第一句。第二句。"


def test_bullets_are_lines_with_a_dash() -> None:
    assert summarized(text="x", highlights="One .\nTwo .", form="bullets").answers == ("- One .\n- Two .",)
    assert summarized(text="x", summary=["• One\nmore", "2. Two"], form="要点").answers == ("- One more\n- Two",)


@pytest.mark.parametrize(
    ("asked", "summary", "limit"),
    [(12, "x", "12"), ("12", "x", "12"), ("auto", "one two three four five six", "10"), ("auto", "一二三四五", "5")],
)
def test_the_most_words(asked: Any, summary: str, limit: str) -> None:
    assert summarized(text="x", summary=summary, max_words=asked).inputs["max_words"] == limit


def test_nothing_is_asked_where_nothing_is_known() -> None:
    assert "max_words" not in summarized(text="x", max_words="auto").inputs
    assert summarized(text="x").answers == summarized(text="x", summary=None).answers == ()


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"summary": "x"}, "field-missing"),
        ({"text": " ", "summary": "x"}, "field-missing"),
        ({"text": 3, "summary": "x"}, "field-type"),
        ({"text": [], "summary": "x"}, "field-type"),
        ({"text": [None], "summary": "x"}, "field-type"),
        ({"text": "x", "summary": {"a": 1}}, "field-type"),
        ({"text": "x", "summary": " "}, "answer-empty"),
        ({"text": "x", "summary": ["", " "]}, "answer-empty"),
        ({"text": "x", "summary": "y", "max_words": 0}, "field-type"),
        ({"text": "x", "summary": "y", "max_words": True}, "field-type"),
        ({"text": "x", "summary": "y", "max_words": "many"}, "field-type"),
        ({"text": "x", "summary": "y", "form": 3}, "field-type"),
    ],
)
def test_bad_records_are_named(values: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError) as caught:
        summarized(**values)
    assert caught.value.rule == rule


def test_summaries_of_one_document_stay_together() -> None:
    groups = {summarized(text="A text.", summary=summary).group for summary in ("One.", "Two.")}
    assert len(groups) == 1


@pytest.mark.parametrize(
    ("language", "form", "limit", "words"),
    [
        ("en", "headline", "", "write a headline for the text below."),
        ("en", "bullets", "40", "list the main points of the text below in at most 40 words, one to a line"),
        ("en", "sentence", "9", "condense the text below into one sentence of at most 9 words."),
        ("en", "for children", "", "summarize the text below, in this form: for children."),
        ("zh", "headline", "20", "请为下文拟一个标题，不超过20字。"),
        ("zh", "bullets", "", "请列出下文的要点，每行一条，以“- ”开头。"),
        ("zh", "", "50", "请概括下文的主要内容，不超过50字。"),
        ("zh", "写给孩子看", "", "请概括下文的主要内容，要求：写给孩子看。"),
    ],
)
def test_what_is_asked_stands_in_the_prompt(language: str, form: str, limit: str, words: str) -> None:
    inputs = {"document": "x", "form": form, "max_words": limit}
    example = Example(
        inputs={name: value for name, value in inputs.items() if value}, answers=("y",), language=language
    )
    template = Forge.discover().template(f"summarization/{language}/plain")
    assert words in template.render(example, seed=1).prompt[0].content


# --- Rewriting ----------------------------------------------------------------------------------------


def test_a_split_is_one_sentence_to_a_line() -> None:
    row = {"complex": "It rained , and we left .", "simple": "It rained . <::::> We left ."}
    found = split(Row(row, Origin("file", 1)))
    assert found.inputs == {"text": "It rained , and we left .", "request": "split"}
    assert found.answers == ("It rained .\nWe left .",)
    named = {"complex_sentence": "a", "simple_sentence_1": "b", "simple_sentence_2": "c"}
    assert split(Row(named, Origin("file", 1))).answers == ("b\nc",)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"complex": "a", "simple": "b <::::> c"}, "split-sentences"),
        ({"text": "a", "answer": "b <::::> c"}, "split-sentences"),
        ({"complex_sentence": "a", "simple_sentence_1": "b", "simple_sentence_2": "c"}, "split-sentences"),
        ({"complex": "a", "simple": "b"}, "rewriting"),
        ({"original": "a", "simplifications": ["b", "c"]}, "rewriting"),
        ({"text": "a", "request": "formal", "rewritten": "b"}, "rewriting"),
    ],
)
def test_the_normalizer_is_told_from_the_rows(values: dict[str, Any], name: str) -> None:
    candidates = [one for one in ALL if one.task == "rewriting"]
    chosen = choose(REWRITING, candidates, [Row(values, Origin("file", 1))])
    assert chosen.name == name
    example = chosen.function(Row(values, Origin("file", 1)))
    assert isinstance(example, Example)
    REWRITING.check(example)
    assert example.answers


@pytest.mark.parametrize(
    "values",
    [{"simple": "a <::::> b"}, {"complex": 3, "simple": "a <::::> b"}, {"complex": "x", "simple": "a <::::> "}],
)
def test_a_bad_split_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        split(Row(values, Origin("file", 1)))


def test_line_aligned_files_of_documents_and_summaries(tmp_path: Path) -> None:
    (tmp_path / "train.src").write_text("第一篇很长的文章。\n第二篇很长的文章。\n", encoding="utf-8")
    (tmp_path / "train.tgt").write_text("一。\n二。\n", encoding="utf-8")
    options = {"target": "train.tgt", "columns": "document,summary"}
    source = Source(tmp_path / "train.src", reader="parallel", options=options)
    assert build(Forge.discover(), "summarization", [source], tmp_path / "out").ledger["totals"]["built"] == 2


@needs_data
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "file", "options", "constants", "records"),
    [
        ("summarization", "scitldr_a/train.jsonl", {}, {}, 1992),
        ("summarization", "scitldr_a/dev.jsonl", {}, {"form": "sentence", "max_words": "auto"}, 619),
        ("rewriting", "wikisplit_tune/tune.tsv", {"header": "complex,simple"}, {}, 5000),
    ],
)
def test_real_data_are_read_whole(task: str, file: str, options: Any, constants: Any, records: int) -> None:
    source = Source(Path(DATA, "summarization", file), options=options, constants=constants)
    report = check_data_set(task, source, records=records, quarantined=0)
    assert report.rows == records


@needs_data
@pytest.mark.data
def test_real_summaries_are_several_gold_answers() -> None:
    from instructforge.readers.jsonl import JsonlReader

    found = list(JsonlReader().read(Path(DATA, "summarization/scitldr_a/dev.jsonl"), {}))
    answers = [len(summarize(row).answers) for row in found if isinstance(row, Row)]
    assert len(answers) == 619
    assert max(answers) == 4
