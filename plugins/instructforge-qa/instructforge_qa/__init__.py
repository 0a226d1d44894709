"""Question answering: a span of a passage, one of some choices, yes or no, free text, an entry of a FAQ."""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Choice, Field, Lazy, Normalizer, Span, Task, TemplateFolder, Text, hookimpl
from instructforge.tasks import read_samples
from instructforge_qa import faq, normalizers

HERE = Path(__file__).parent
QUESTION = Field("what is asked")
BACKGROUND = Field("a text to answer from, where there is one", optional=True)


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    yield Task(
        "qa",
        summary="Answer a question with a span of a passage, or say that the passage does not tell.",
        fields={"question": QUESTION, "context": "the passage that may hold the answer"},
        target=Span(within="context", nullable=True),
        normalizers=["squad", "answer-texts"],
        samples=read_samples(HERE / "samples" / "qa.jsonl"),
    )
    yield Task(
        "qa-choice",
        summary="Answer a question with one of the given choices.",
        fields={
            "question": QUESTION,
            "context": BACKGROUND,
            "choices": Field("the answers to choose from", kind="list"),
        },
        target=Choice(from_field="choices"),
        normalizers=["choice-rows", "choice-labelled", "choice-columns", "idiom-cloze"],
        samples=read_samples(HERE / "samples" / "qa-choice.jsonl"),
    )
    yield Task(
        "qa-boolean",
        summary="Answer a question with yes or no.",
        fields={"question": QUESTION, "context": BACKGROUND},
        target=Choice({"yes": {"en": "yes", "zh": "是"}, "no": {"en": "no", "zh": "否"}}),
        normalizers=["yes-no"],
        samples=read_samples(HERE / "samples" / "qa-boolean.jsonl"),
    )
    yield Task(
        "qa-open",
        summary="Answer a question in free text.",
        fields={"question": QUESTION, "context": BACKGROUND},
        target=Text(),
        normalizers=["question-answer"],
        samples=read_samples(HERE / "samples" / "qa-open.jsonl"),
    )
    yield Task(
        "qa-faq",
        summary="Pick the answer of a FAQ that fits a question.",
        fields={"question": QUESTION, "candidates": Field("answers of the FAQ to choose from", kind="list")},
        target=Choice(from_field="candidates"),
        normalizers=["faq-questions", "faq-entries"],
        samples=read_samples(HERE / "samples" / "qa-faq.jsonl"),
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield from (*normalizers.ALL, *faq.ALL)


@hookimpl
def instructforge_readers() -> Iterator[Lazy]:
    yield Lazy("c3", "instructforge_qa.clue:C3Reader", summary="nested lists of C3: a text and its questions")
    yield Lazy("chid", "instructforge_qa.clue:ChidReader", summary="JSONL of ChID, with its file of answers")
    yield Lazy("squad", "instructforge_qa.squad:SquadReader", summary="nested JSON of SQuAD, CMRC and DRCD")


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
