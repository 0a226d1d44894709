"""The plugin keeps the contract, and reads questions in all their forms."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import instructforge_qa
from instructforge import NO_ANSWER, DataError, Example, Origin, Row, SpanAnswer
from instructforge.building import InstructionSet
from instructforge.cli import main as cli
from instructforge.testing import check_plugin
from instructforge_qa import faq
from instructforge_qa.normalizers import ALL
from instructforge_qa.squad import SquadReader

TASKS = {task.name: task for task in instructforge_qa.instructforge_tasks()}
NORMALIZERS = {one.name: one for one in (*ALL, *faq.ALL)}
PASSAGE = "The Wend rises near Alder and, past Alder Reach, meets the sea."


def normalised(name: str, values: dict[str, Any]) -> Example:
    normalizer = NORMALIZERS[name]
    found = normalizer.function(Row(values, Origin("rows.jsonl", 1)))
    assert isinstance(found, Example)
    TASKS[normalizer.task].check(found)
    return found


def refused(name: str, values: dict[str, Any]) -> DataError:
    with pytest.raises(DataError) as caught:
        normalised(name, values)
    return caught.value


def asked(answers: Any, **more: Any) -> dict[str, Any]:
    return {"id": "q7", "title": "Wend", "context": PASSAGE, "question": "Where?", "answers": answers} | more


def at(*pairs: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"text": text, "answer_start": start} for text, start in pairs]


def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_qa)


# --- Spans --------------------------------------------------------------------------------------------


def test_nested_and_flat_answers_read_the_same() -> None:
    nested = normalised("squad", asked(at(("Alder", 20))))
    flat = normalised("squad", asked({"text": ["Alder"], "answer_start": [20]}))
    assert nested == flat
    assert nested.answers == (SpanAnswer("Alder", 20),)
    assert nested.id == "q7"
    assert list(TASKS["qa"].fields) == ["question", "context"]


def test_duplicate_answers_are_kept_once_and_other_places_stay() -> None:
    found = normalised("squad", asked(at(("Alder", 20), ("Alder", 20), ("Alder", 36))))
    assert found.answers == (SpanAnswer("Alder", 20), SpanAnswer("Alder", 36))
    assert found.notes == ()


def test_misaligned_answers_are_dropped_and_each_is_counted() -> None:
    found = normalised("squad", asked(at(("Alder", 21), ("Alder", 36), ("Oslo", 0))))
    assert found.answers == (SpanAnswer("Alder", 36),)
    assert found.notes == ("answer-misaligned-dropped",) * 2


def test_no_aligned_answer_is_refused_by_the_questions_name_with_the_place() -> None:
    error = refused("squad", asked(at(("Alder", 34))))
    assert error.rule == "answer-misaligned"
    assert "q7" in str(error)
    assert "36" in error.fix  # the nearest of the two


@pytest.mark.parametrize("start", [-1, -5, 10_000])
def test_an_answer_that_stands_nowhere_is_refused(start: int) -> None:
    error = refused("squad", asked(at(("Oslo", start))))
    assert error.rule == "answer-misaligned"
    assert "passage" in error.fix


def test_a_negative_place_never_counts_from_the_end() -> None:
    refused("squad", asked(at(("sea.", -4))))


def test_impossible_questions_have_the_answer_that_there_is_none() -> None:
    assert normalised("squad", asked([], is_impossible=True)).answers == (NO_ANSWER,)
    assert normalised("squad", asked({"text": [], "answer_start": []})).answers == (NO_ANSWER,)


def test_unlabelled_is_not_the_same_as_impossible() -> None:
    assert normalised("squad", asked([])).answers == ()
    assert normalised("squad", asked(None)).answers == ()
    assert normalised("squad", asked([], is_impossible=False)).answers == ()
    row = asked([])
    del row["answers"]
    assert normalised("squad", row).answers == ()


def test_a_row_that_says_both_is_refused() -> None:
    assert refused("squad", asked(at(("Alder", 20)), is_impossible=True)).rule == "answer-contradictory"


@pytest.mark.parametrize(
    "answers",
    [
        "Alder",
        7,
        ["Alder"],
        at(("", 0)),
        at((" ", 3)),
        [{"text": "Alder"}],
        [{"text": "Alder", "answer_start": "20"}],
        [{"text": "Alder", "answer_start": True}],
        [{"text": None, "answer_start": 0}],
        {"text": ["Alder"], "answer_start": []},
        {"text": "Alder", "answer_start": 20},
    ],
)
def test_malformed_answers_are_refused_by_the_questions_name(answers: Any) -> None:
    error = refused("squad", asked(answers))
    assert error.rule == "answer-malformed"
    assert "q7" in str(error)


@pytest.mark.parametrize("change", [{"context": None}, {"context": "  "}, {"context": 5}, {"question": None}])
def test_a_missing_field_is_refused(change: dict[str, Any]) -> None:
    assert refused("squad", asked(at(("Alder", 20)), **change)).field in ("context", "question")


def test_questions_of_one_passage_are_one_group_whatever_their_title() -> None:
    one, other = asked([], title="a"), asked([], title="b", question="When?")
    assert normalised("squad", one).group == normalised("squad", other).group
    assert normalised("squad", one).group != normalised("squad", asked([], context="Another.")).group


@given(st.text(min_size=1, max_size=40), st.integers(0, 40), st.integers(1, 40))
def test_any_stretch_of_any_passage_is_an_answer(context: str, start: int, length: int) -> None:
    text = context[start : start + length]
    if not (context.strip() and text.strip()):
        return
    found = normalised("squad", asked(at((text, start)), context=context))
    assert found.answers == (SpanAnswer(text, start),)


# --- The nested file ----------------------------------------------------------------------------------

NESTED = {
    "version": "v2.0",
    "data": [
        {"title": "a", "paragraphs": [{"context": PASSAGE, "qas": [{"id": "1", "question": "?", "answers": []}] * 2}]},
        {"title": "b", "paragraphs": [{"qas": [{"id": "3", "question": "?"}], "context": "x"}, "no paragraph"]},
        "no article",
        {"title": "c"},
        {"title": "d", "paragraphs": [{"context": "y", "qas": ["no question", {"id": "4", "question": "?"}]}]},
    ],
}


def read(path: Path, **options: Any) -> list[Row | DataError]:
    assert SquadReader().accepts(path, b"") is False
    return list(SquadReader().read(path, options))


def written(folder: Path, value: Any, name: str = "squad.json") -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_each_question_is_a_row_and_a_malformed_piece_says_why(tmp_path: Path) -> None:
    found = read(written(tmp_path, NESTED))
    good = [row for row in found if isinstance(row, Row)]
    bad = [row for row in found if isinstance(row, DataError)]
    assert [row.values["id"] for row in good] == ["1", "1", "3", "4"]
    assert [str(row.origin) for row in good] == [
        "squad.json:1#data[0].paragraphs[0].qas[0]",
        "squad.json:2#data[0].paragraphs[0].qas[1]",
        "squad.json:3#data[1].paragraphs[0].qas[0]",
        "squad.json:8#data[4].paragraphs[0].qas[1]",
    ]
    assert good[2].values["context"] == "x"
    assert good[2].values["title"] == "b"
    assert [str(error.origin) for error in bad] == [
        "squad.json:4#data[1].paragraphs[1]",
        "squad.json:5#data[2]",
        "squad.json:6#data[3]",
        "squad.json:7#data[4].paragraphs[0].qas[0]",
    ]
    assert all(error.rule and error.fix for error in bad)


def test_a_list_of_articles_is_read_too(tmp_path: Path) -> None:
    found = read(written(tmp_path, NESTED["data"]))
    assert str(found[0].origin) == "squad.json:1#[0].paragraphs[0].qas[0]"
    assert len(found) == 8


def test_packed_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "squad.json.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(NESTED).encode()))
    assert len(read(path)) == 8


def test_the_head_of_a_file_tells_its_form() -> None:
    accepts, path = SquadReader().accepts, Path("x.json")
    assert accepts(path, json.dumps(NESTED).encode())
    assert accepts(path, b"\xef\xbb\xbf \n" + json.dumps(NESTED["data"]).encode())
    assert not accepts(path, b'{"premise": "a", "hypothesis": "b"}')
    assert not accepts(path, b'{"text": "the paragraphs of context"}')
    assert not accepts(path, b'"paragraphs" "qas"')


@pytest.mark.parametrize("text", ['{"data": [', '{"data": [{"paragraphs": [', '{"data": []', "[]", "{", "7"])
def test_a_broken_or_empty_file_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"squad\.json"):
        read(written(tmp_path, text))


@pytest.mark.parametrize("value", [{"data": []}, {"data": {}}, {"data": None}])
def test_an_object_without_articles_is_one_bad_record(tmp_path: Path, value: Any) -> None:
    (found,) = read(written(tmp_path, value))
    assert isinstance(found, DataError)
    assert found.rule == "squad-structure"


def test_half_a_surrogate_pair_takes_only_its_own_article(tmp_path: Path) -> None:
    broken = '{"paragraphs": [{"context": "a \\ud800 b", "qas": [{"id": "1", "question": "?"}]}]}'
    whole = '{"paragraphs": [{"context": "a \\ud83d\\ude00 b", "qas": [{"id": "2", "question": "?"}]}]}'
    first, second = read(written(tmp_path, f'{{"data": [{broken}, {whole}]}}'))
    assert isinstance(first, DataError)
    assert isinstance(second, Row)
    assert second.values["context"] == "a 😀 b"


# --- Choices ------------------------------------------------------------------------------------------

CITIES = ["Oslo", "Rome", "Lima"]


@pytest.mark.parametrize("answer", ["Rome", 1, "1", "B", "b", " Rome "])
def test_a_choice_by_its_text_place_or_letter(answer: Any) -> None:
    found = normalised("choice-rows", {"question": "Which?", "choices": CITIES, "answer": answer})
    assert found.answers == ("Rome",)
    assert found.inputs == {"question": "Which?", "context": "", "choices": CITIES}


def test_a_text_counts_before_a_letter_and_a_number_is_a_place() -> None:
    letters = {"question": "Which?", "choices": ["B", "A"], "answer": "A"}
    assert normalised("choice-rows", letters).answers == ("A",)
    numbers = {"question": "Which?", "choices": ["2", "1", "0"]}
    assert normalised("choice-rows", numbers | {"answer": 2}).answers == ("0",)
    assert normalised("choice-rows", numbers | {"answer": "2"}).answers == ("2",)


@pytest.mark.parametrize("answer", [None, "", -1, "-1"])
def test_a_row_without_an_answer_is_unlabelled(answer: Any) -> None:
    assert normalised("choice-rows", {"question": "Which?", "choices": CITIES, "answer": answer}).answers == ()


@pytest.mark.parametrize("answer", ["Paris", 3, -2, True, 1.0, ["Rome"], {"text": "Rome"}])
def test_an_answer_that_is_no_choice_is_refused(answer: Any) -> None:
    error = refused("choice-rows", {"question": "Which?", "choices": CITIES, "answer": answer})
    assert error.rule == "label-unknown"


def test_a_text_with_a_category_and_the_closed_set_as_a_constant() -> None:
    row = {"text": "Where is my card?", "category": "card_arrival", "choices": ["card_arrival", "top_up"]}
    found = normalised("choice-rows", row)
    assert found.inputs["question"] == "Where is my card?"
    assert found.answers == ("card_arrival",)
    del row["choices"]
    error = refused("choice-rows", row)
    assert error.rule == "choices-missing"
    assert "constant" in error.fix


@pytest.mark.parametrize("choices", [[], "Oslo", [1, 2], ["Oslo", "Oslo"], ["Oslo", " "], '["Oslo"', 5, {"a": 1}])
def test_choices_that_are_no_list_of_different_texts_are_refused(choices: Any) -> None:
    assert refused("choice-rows", {"question": "?", "choices": choices, "answer": "Oslo"}).field == "choices"


def test_choices_in_a_csv_cell() -> None:
    row = {"question": "Which?", "choices": '["Oslo", "Rome"]', "answer": "Rome"}
    assert normalised("choice-rows", row).inputs["choices"] == ["Oslo", "Rome"]


def test_commonsense_qa_and_arc() -> None:
    flat = {
        "id": "c1",
        "question": "Which?",
        "choices": {"text": CITIES, "label": ["1", "2", "3"]},
        "answerKey": "3",
    }
    nested = {
        "id": "c1",
        "question": {
            "stem": "Which?",
            "choices": [{"text": text, "label": str(n)} for n, text in enumerate(CITIES, 1)],
        },
        "answerKey": "3",
    }
    assert normalised("choice-labelled", flat) == normalised("choice-labelled", nested)
    assert normalised("choice-labelled", flat).answers == ("Lima",)
    assert normalised("choice-labelled", flat | {"answerKey": ""}).answers == ()
    assert refused("choice-labelled", flat | {"answerKey": "4"}).rule == "label-unknown"
    assert refused("choice-labelled", flat | {"choices": {"text": CITIES, "label": ["A"]}}).rule == "choices-labels"


def test_a_column_for_each_choice() -> None:
    row = {"Question": "Which?", "A": "Oslo", "B": "Rome", "C": "Lima", "D": "", "Answer": "C"}
    found = normalised("choice-columns", row)
    assert found.inputs["choices"] == CITIES
    assert found.answers == ("Lima",)


def test_every_form_is_told_from_the_others() -> None:
    rows: dict[str, dict[str, Any]] = {
        "choice-rows": {"question": "?", "choices": CITIES, "answer": "Rome"},
        "choice-labelled": {"question": "?", "choices": {"text": CITIES, "label": list("ABC")}, "answerKey": "A"},
        "choice-columns": {"question": "?", "A": "x", "B": "y", "answer": "A"},
    }
    for name, row in rows.items():
        fitting = [one.name for one in ALL if one.task == "qa-choice" and one.accepts(row)]
        assert fitting == [name]


# --- Yes or no, free text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "label"), [(True, "yes"), (False, "no"), ("yes", "yes"), ("No", "no"), (1, "yes"), ("否", "no")]
)
def test_boolq(value: Any, label: str) -> None:
    found = normalised("yes-no", {"question": "is it?", "title": "t", "passage": PASSAGE, "answer": value})
    assert found.answers == (label,)
    assert found.inputs["context"] == PASSAGE


def test_open_questions() -> None:
    assert normalised("question-answer", {"question": "Why?", "answer": "-1"}).answers == ("-1",)
    several = normalised("question-answer", {"question": "Who?", "answers": ["Ann", "Bo", "Ann"]})
    assert several.answers == ("Ann", "Bo")
    assert normalised("question-answer", {"question": "Who?"}).answers == ()


# --- Answers without places, and FAQs -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ({"question": "Who?", "answer": "Ada"}, ["Ada"]),
        ({"question": "Who?", "answer": ["Ada", "Ada Lovelace", "Ada"]}, ["Ada", "Ada Lovelace"]),  # NQ-open
        ({"question": "Who?", "answers": ["Ada"]}, ["Ada"]),  # WebQuestions
        ({"question": "Who?", "answer": {"value": "Ada", "aliases": ["Lady Lovelace"]}}, ["Ada", "Lady Lovelace"]),
        ({"question": "Who?"}, []),
    ],
)
def test_answers_as_texts_wait_for_their_passage(values: dict[str, Any], texts: list[str]) -> None:
    assert [name for name in TASKS["qa"].normalizers if NORMALIZERS[name].accepts(values)] == ["answer-texts"]
    found = NORMALIZERS["answer-texts"].function(Row(values, Origin("rows.jsonl", 1)))
    assert isinstance(found, Example)
    assert [answer.text for answer in found.answers if isinstance(answer, SpanAnswer)] == texts
    assert "context" not in found.inputs


def test_answers_as_texts_are_looked_up_in_a_passage() -> None:
    values = {"question": "Past where?", "context": PASSAGE, "answer": ["Alder Reach", "Oslo"]}
    assert NORMALIZERS["answer-texts"].accepts(values)
    assert not NORMALIZERS["squad"].accepts(values)
    found = normalised("answer-texts", values)
    assert found.answers == (SpanAnswer("Alder Reach", PASSAGE.index("Alder Reach")),)
    assert found.notes == ("answer-misaligned-dropped",)
    assert refused("answer-texts", values | {"answer": "Oslo"}).rule == "answer-not-in-passage"
    assert refused("answer-texts", values | {"answer": ""}).rule == "answer-malformed"
    assert refused("answer-texts", values | {"answer": [3, "x"]}).rule == "answer-malformed"


ENTRY = {"question": "How do I pay?", "answer": "At the desk.", "similar": ["Where is the till?", "How do I pay?"]}


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        (ENTRY, ["How do I pay?", "Where is the till?"]),
        ({"questions": ["a", "b"], "answer": "c"}, ["a", "b"]),
        ({"question": "a", "paraphrases": "b | c", "answer": "d"}, ["a", "b", "c"]),
        ({"问题": "怎么付款", "相似问题": '["在哪儿交钱"]', "答案": "在服务台。"}, ["怎么付款", "在哪儿交钱"]),
    ],
)
def test_an_entry_of_a_faq_is_an_example_for_each_way_to_ask(values: dict[str, Any], asked: list[str]) -> None:
    assert [name for name in TASKS["qa-faq"].normalizers if NORMALIZERS[name].accepts(values)] == ["faq-entries"]
    found = list(NORMALIZERS["faq-entries"].function(Row(values, Origin("faq.jsonl", 1))))  # type: ignore[arg-type]
    assert [one.inputs["question"] for one in found] == asked
    assert len({one.answers for one in found}) == 1


@pytest.mark.parametrize(
    "values", [{"similar": ["a"], "answer": ""}, {"similar": [], "answer": "b"}, {"similar": [3], "answer": "b"}]
)
def test_a_bad_entry_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        list(NORMALIZERS["faq-entries"].function(Row(values, Origin("faq.jsonl", 1))))  # type: ignore[arg-type]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


FAQ = [
    ENTRY,
    {"question": "How do I leave?", "answer": "By the door."},
    {"question": "Where can I stay?", "answer": "Upstairs."},
    {"question": "怎么付款？", "answer": "在服务台。"},
    {"question": "怎么离开？", "answer": "走大门。"},
]


def test_a_faq_is_retrieved_by_one_option(tmp_path: Path) -> None:
    asked = [
        {"question": "do I pay here?", "answer": "At the desk."},
        {"question": "in which way do I leave?", "answer": "By the door."},
        {"question": "where to stay?", "answer": "Not in the FAQ."},
        {"question": "请问怎么离开啊", "answer": "走大门。"},
    ]
    files = [
        "--test",
        str(lines(tmp_path / "asked.jsonl", asked)),
        "--retrieve",
        str(lines(tmp_path / "faq.jsonl", FAQ)),
    ]
    done = CliRunner().invoke(cli, ["build", str(tmp_path / "run"), "--task", "qa-faq", *files])
    assert done.exit_code == 0, done.output
    assert "among the first 3 for 3 of 4 rows; it was put there for 1" in done.output
    for one in InstructionSet(tmp_path / "run", "test"):
        assert one.example.answers[0] in one.example.inputs["candidates"]
    ledger = json.loads((tmp_path / "run" / "ledger.json").read_text(encoding="utf-8"))
    assert ledger["sources"][0]["retrieve"]["into"] == "candidates"


@pytest.mark.parametrize("task", ["qa", "qa-open", "qa-boolean", "qa-choice"])
def test_every_other_task_gets_its_passage_by_one_option(tmp_path: Path, task: str) -> None:
    corpus = lines(tmp_path / "passages.jsonl", [{"text": PASSAGE}, {"text": "Something else."}])
    answer = {"qa": "Alder Reach", "qa-open": "Near Alder.", "qa-boolean": "yes", "qa-choice": "sea"}[task]
    row = {"question": "Where does the Wend rise?", "answer": answer}
    row |= {"choices": ["sea", "lake"]} if task == "qa-choice" else {}
    files = ["--test", str(lines(tmp_path / "rows.jsonl", [row])), "--retrieve", str(corpus)]
    done = CliRunner().invoke(cli, ["build", str(tmp_path / "run"), "--task", task, *files])
    assert done.exit_code == 0, done.output
    (one,) = InstructionSet(tmp_path / "run", "test")
    assert str(one.example.inputs["context"]).startswith(PASSAGE)
