"""Retrieval: what a row lacks is found in a corpus, in both scripts, the same for any number of workers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from instructforge import Choice, Example, Field, Origin, Span, Task, Text, columns, hookimpl
from instructforge.building import BuildSettings, InstructionSet, Retrieve, Source, build
from instructforge.building.retrieving import make_filler
from instructforge.cli import main as cli
from instructforge.components import Normalizer, TemplateFolder
from instructforge.data import Row, SpanAnswer
from instructforge.errors import ConfigError, DataError
from instructforge.plugins import Forge
from instructforge.retrieval import read_corpus
from instructforge.retrieval.bm25 import Bm25Retriever, retrieval_tokens

PASSAGES = [
    "The library opens at nine and closes at six.",
    "A parcel takes three days to arrive.",
    "Passwords are reset by mail.",
    "图书馆上午九点开门，下午六点关门。",
    "包裹三天内送达。",
    "密码通过邮件重置。",
]

ASK = Task(
    "ask",
    summary="Find it",
    fields={"question": "what is asked", "context": "a passage"},
    target=Span(within="context", nullable=True),
)
PICK = Task(
    "pick",
    summary="Pick the answer",
    fields={"question": "what is asked", "candidates": Field("possible answers", kind="list")},
    target=Choice(from_field="candidates"),
)


def spans(row: Row) -> Example:
    text = row.values.get("answer")
    answers = (SpanAnswer(text, 0),) if text else ()
    inputs = {name: row.values[name] for name in ("question", "context") if row.values.get(name)}
    return Example(inputs=inputs, answers=answers, id=str(row.values["id"]))


class Plugin:
    """Two tasks whose rows need not bring what they are answered from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def instructforge_tasks(self) -> list[Task]:
        return [ASK, PICK]

    @hookimpl
    def instructforge_normalizers(self) -> list[Normalizer]:
        fields = {"question": "question", "candidates": "candidates"}
        return [
            Normalizer("asked", task="ask", function=spans, accepts=lambda values: "question" in values),
            columns("picked", task="pick", fields=fields, answer="answer", optional=["candidates"]),
        ]

    @hookimpl
    def instructforge_templates(self) -> list[TemplateFolder]:
        return [TemplateFolder(self.folder)]


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    for task, shown in (("ask", "{{ context }}"), ("pick", "{{ choices|join(' / ') }}")):
        for language in ("en", "zh"):
            folder = tmp_path / "templates" / task / language
            folder.mkdir(parents=True)
            prompt = f"{{% block prompt %}}{{{{ question }}}}\n{shown}{{% endblock %}}"
            (folder / "plain.jinja").write_text(prompt + "{% block completion %}{{ answer }}{% endblock %}")
    return Forge([Plugin(tmp_path / "templates")])


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return lines(tmp_path / "passages.jsonl", [{"text": text} for text in PASSAGES])


def test_tokens_of_both_scripts() -> None:
    assert retrieval_tokens("Open at 9?") == ["open", "at", "9"]
    assert retrieval_tokens("几点开门") == ["几", "点", "开", "门", "几点", "点开", "开门"]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("When does the library open?", 0),
        ("How are passwords reset?", 2),
        ("图书馆几点关门？", 3),
        ("包裹要几天送达", 4),
    ],
)
def test_the_best_passage_comes_first(tmp_path: Path, query: str, place: int) -> None:
    retriever = Bm25Retriever()
    retriever.build(PASSAGES, tmp_path / "index")
    hits = retriever.open(tmp_path / "index").search(query, 3)
    assert hits[0].place == place
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_what_shares_no_word_is_not_found_and_equals_keep_their_order(tmp_path: Path) -> None:
    retriever = Bm25Retriever()
    retriever.build(["same words", "other", "same words"], tmp_path / "index")
    index = retriever.open(tmp_path / "index")
    assert index.search("zebra", 5) == []
    assert [hit.place for hit in index.search("same", 5)] == [0, 2]


ROWS: list[dict[str, object]] = [
    {"id": "a", "question": "When does the library open?", "answer": "nine"},
    {"id": "b", "question": "图书馆几点关门？", "answer": "六点"},
    {"id": "c", "question": "Which parcel?", "answer": "Monday"},
    {"id": "d", "question": "Who?", "context": "It was Ada.", "answer": "Ada"},
    {"id": "e", "question": "zzz?", "answer": "x"},
]


def built(forge: Forge, task: str, rows: Path, out: Path, workers: int = 1, **asked: object) -> dict[str, object]:
    retrieve = Retrieve(**asked)  # type: ignore[arg-type]
    source = Source(rows, split="train", retrieve=retrieve)
    result = build(forge, task, [source], out, BuildSettings(workers=workers))
    return dict(result.ledger)


def test_a_passage_is_found_and_the_answer_located_in_it(forge: Forge, corpus: Path, tmp_path: Path) -> None:
    rows = lines(tmp_path / "rows.jsonl", [{**row, "context": row.get("context")} for row in ROWS])
    ledger = built(forge, "ask", rows, tmp_path / "out", corpus=corpus, count=1)
    made = {one.id: one.example for one in InstructionSet(tmp_path / "out", "train")}
    assert made["a"].inputs["context"] == PASSAGES[0]
    assert made["a"].answers == (SpanAnswer("nine", PASSAGES[0].index("nine")),)
    assert made["b"].answers == (SpanAnswer("六点", PASSAGES[3].index("六点")),)
    assert ledger["notes"] == {"answer-among-retrieved": 2, "retrieved": 2}
    (source,) = ledger["sources"]  # type: ignore[misc]
    assert source["retrieval"] == {"first": 1, "filled": 2, "asked": 4, "found": 2}
    assert "the first 1 for 2 of 4 rows; 2 are in quarantine" in ledger["warnings"][-1]  # type: ignore[index]
    assert ledger["quarantined"] == {"answer-misaligned": 1, "answer-not-retrieved": 1, "nothing-retrieved": 1}
    assert ledger["sources"][0]["retrieve"]["corpus"] == "passages.jsonl"  # type: ignore[index]


def test_any_number_of_workers_and_another_corpus(forge: Forge, corpus: Path, tmp_path: Path) -> None:
    rows = lines(
        tmp_path / "rows.jsonl", [{"id": str(n), "question": PASSAGES[n % 6], "answer": "x"} for n in range(60)]
    )
    shards = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        built(forge, "pick", rows, out, workers, corpus=corpus, into="candidates", count=3)
        shards.append((out / "data" / "train-00000.parquet").read_bytes())
    assert shards[0] == shards[1]
    lines(corpus, [{"text": "Something else: the library, parcels, passwords 图书馆 包裹 密码"}])
    built(forge, "pick", rows, tmp_path / "out1", corpus=corpus, into="candidates", count=3)
    assert (tmp_path / "out1" / "data" / "train-00000.parquet").read_bytes() != shards[0]


def test_candidates_hold_the_gold_answer_and_that_is_counted(forge: Forge, tmp_path: Path) -> None:
    faq = lines(
        tmp_path / "faq.jsonl",
        [
            {"question": f"How do I {what}?", "answer": f"To {what}, press {n}."}
            for n, what in enumerate(["pay", "leave", "stay"])
        ],
    )
    rows = lines(
        tmp_path / "rows.jsonl",
        [
            {"question": "I want to pay", "answer": "To pay, press 0."},
            {"question": "I want to stay", "answer": "Something that the corpus lacks."},
        ],
    )
    ledger = built(
        forge, "pick", rows, tmp_path / "out", corpus=faq, into="candidates", key="question", text="answer", count=2
    )
    assert ledger["notes"] == {"answer-added-to-retrieved": 1, "answer-among-retrieved": 1, "retrieved": 2}
    assert "the gold answer is among the first 2 for 1 of 2 rows; it was put there for 1" in str(ledger["warnings"])
    for one in InstructionSet(tmp_path / "out", "train"):
        assert one.example.answers[0] in one.example.inputs["candidates"]
        assert len(one.example.inputs["candidates"]) == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"into": "contxt"}, 'retrieve.into: "contxt" is no field of ask'),
        ({"query": "q"}, 'retrieve.query: "q" is no field of ask'),
        ({"text": "nope"}, "no row has a text in nope"),
        ({"retriever": "bm52"}, "bm25"),
    ],
)
def test_what_cannot_be_retrieved_is_told(
    forge: Forge, corpus: Path, tmp_path: Path, asked: dict[str, object], said: str
) -> None:
    rows = lines(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(Exception, match=said) as caught:
        built(forge, "ask", rows, tmp_path / "out", corpus=corpus, **asked)
    assert not isinstance(caught.value, (KeyError, AttributeError))


def test_a_corpus_says_what_it_left_out(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.jsonl", [{"text": "a"}, {"text": ""}, {"other": "b"}, {"text": "a"}, {"passage": "c"}])
    with path.open("a") as handle:
        handle.write("not json\n")
    corpus = read_corpus(path, Forge().readers)
    assert (corpus.passages, corpus.left_out, corpus.repeated) == (("a", "c"), 3, 1)


def test_fields_and_columns_of_a_faq_are_told_by_themselves(forge: Forge, tmp_path: Path) -> None:
    faq = lines(
        tmp_path / "faq.jsonl",
        [
            {"question": "How do I pay?", "answer": "At the desk."},
            {"question": "Where do I hand over money?", "answer": "At the desk."},
            {"question": "How do I leave?", "answer": "By the door."},
        ],
    )
    corpus = read_corpus(faq, forge.readers)
    assert corpus.passages == ("At the desk.", "By the door.")
    assert corpus.keys == ("How do I pay?\nWhere do I hand over money?", "How do I leave?")
    rows = lines(tmp_path / "rows.jsonl", [{"question": "money, where to?", "answer": "At the desk."}])
    built(forge, "pick", rows, tmp_path / "out", corpus=faq, count=2)
    (one,) = InstructionSet(tmp_path / "out", "train")
    assert one.example.inputs["candidates"] == ["At the desk."]


TURNS = Field("what was said", kind="turns")
NOTES = Field("what to reply from", kind="list", optional=True)


@pytest.mark.parametrize(
    ("fields", "target", "into", "query"),
    [
        ({"question": "", "context": Field("", optional=True)}, Text(), "context", "question"),
        ({"history": TURNS, "system": Field("", optional=True), "knowledge": NOTES}, Text(), "knowledge", "history"),
        ({"claim": "", "source": ""}, Span(within="source"), "source", "claim"),
        ({"said": "", "options": Field("", kind="list")}, Choice(from_field="options"), "options", "said"),
    ],
)
def test_which_fields_are_filled_and_asked_with(
    corpus: Path, tmp_path: Path, fields: dict[str, object], target: object, into: str, query: str
) -> None:
    task = Task("any", summary="x", fields=fields, target=target)  # type: ignore[arg-type]
    filler = make_filler(Forge(), task, Retrieve(corpus=corpus), tmp_path)
    assert (filler.into, filler.query) == (into, query)


def test_no_field_to_fill_is_told(corpus: Path, tmp_path: Path) -> None:
    task = Task("any", summary="x", fields={"text": "a text"}, target=Choice(["a", "b"]))
    with pytest.raises(ConfigError, match=r"Its fields are: text.\nName one: --set data.retrieve.into=FIELD"):
        make_filler(Forge(), task, Retrieve(corpus=corpus), tmp_path)


def test_the_last_thing_a_user_says_is_asked(corpus: Path, tmp_path: Path) -> None:
    fields = {"history": TURNS, "knowledge": NOTES}
    task = Task("talk", summary="x", fields=fields, target=Text())
    filler = make_filler(Forge(), task, Retrieve(corpus=corpus, count=1), tmp_path)
    filler.prepare()
    said = ["The library?", "Yes?", "How are passwords reset?"]
    turns = [{"role": role, "content": text} for role, text in zip(["user", "assistant", "user"], said, strict=True)]
    filled = filler.fill(Example(inputs={"history": turns}, answers=("By mail.",)))
    assert filled.inputs["knowledge"] == [PASSAGES[2]]
    assert filled.notes == ("retrieved",)


@pytest.mark.parametrize(
    ("answers", "placed"),
    [
        (["nine"], ["nine"]),
        (["NINE", "ten"], ["nine"]),  # of several gold answers those that stand there
        (["six", "nine"], ["six", "nine"]),
        (["in"], []),  # only within a word
        (["brary", "ten"], []),
    ],
)
def test_gold_spans_stand_as_whole_words(corpus: Path, tmp_path: Path, answers: list[str], placed: list[str]) -> None:
    filler = make_filler(Forge(), ASK, Retrieve(corpus=corpus, count=1), tmp_path)
    filler.prepare()
    row = Example(inputs={"question": "When does the library open?"}, answers=tuple(SpanAnswer(a, 0) for a in answers))
    if not placed:
        with pytest.raises(DataError, match="does not stand in the 1 passages"):
            filler.fill(row)
        return
    filled = filler.fill(row)
    assert [answer.text for answer in filled.answers if isinstance(answer, SpanAnswer)] == placed
    ASK.check(filled)


def test_free_text_says_whether_its_answer_stands_in_the_passages(corpus: Path, tmp_path: Path) -> None:
    fields = {"question": "what is asked", "context": Field("a passage", optional=True)}
    task = Task("open", summary="x", fields=fields, target=Text())
    filler = make_filler(Forge(), task, Retrieve(corpus=corpus, count=1), tmp_path)
    filler.prepare()
    for answer, note in (("by mail", "answer-among-retrieved"), ("By post.", "answer-not-in-retrieved")):
        filled = filler.fill(Example(inputs={"question": "How are passwords reset?"}, answers=(answer,)))
        assert filled.notes == ("retrieved", note)
    kept = Example(inputs={"question": "How?", "context": "Somehow."}, answers=("x",))
    assert filler.fill(kept) == kept


def test_a_count_of_nothing_is_refused(corpus: Path) -> None:
    with pytest.raises(ConfigError):
        Retrieve(corpus=corpus, count=0)


def test_origin_and_group_stay(forge: Forge, corpus: Path, tmp_path: Path) -> None:
    rows = lines(tmp_path / "rows.jsonl", ROWS[:1])
    built(forge, "ask", rows, tmp_path / "out", corpus=corpus)
    (one,) = InstructionSet(tmp_path / "out", "train")
    assert one.example.origin == Origin("rows.jsonl", 1)


def test_render_and_preview_read_rows_as_a_build_does(tmp_path: Path) -> None:
    pytest.importorskip("instructforge_qa")
    faq = lines(tmp_path / "faq.jsonl", [{"question": "How do I pay?", "answer": "At the desk."}])
    asked = lines(tmp_path / "asked.jsonl", [{"question": "Can I pay here?"}])
    given = ["--input", str(asked), "--retrieve", str(faq), "--json"]
    for command in (["render", "qa-faq"], ["templates", "preview", "qa-faq/en/terse"]):
        done = CliRunner().invoke(cli, [*command, *given])
        assert done.exit_code == 0, done.output
        (one,) = json.loads(done.stdout)["instructions"]
        assert one["example"]["inputs"]["candidates"] == ["At the desk."]
    table = tmp_path / "rows.csv"
    table.write_text("Is it wet?,yes\n")
    options = ["--option", "header=question,answer", "--constant", "context=It rains."]
    done = CliRunner().invoke(cli, ["render", "qa-boolean", "--input", str(table), *options, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["instructions"][0]["example"]["inputs"]["context"] == "It rains."
