"""Summarization (headlines, bullet points, a given length), and rewriting (splitting, simplifying, …)."""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Field, Normalizer, Task, TemplateFolder, Text, hookimpl
from instructforge.tasks import read_samples
from instructforge_summarization import normalizers

HERE = Path(__file__).parent


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    yield Task(
        "summarization",
        summary="Say in few words what a text says.",
        fields={
            "document": "the text to summarize",
            "title": Field("its title, where it has one", optional=True),
            "form": Field("headline, sentence, bullets, abstract, or words of your own", optional=True),
            "max_words": Field("the most words it may have; in Chinese, characters", optional=True),
        },
        target=Text(),
        normalizers=["summarization"],
        metrics=["rouge-1", "rouge-2", "rouge-l"],
        samples=read_samples(HERE / "samples" / "summarization.jsonl"),
    )
    yield Task(
        "rewriting",
        summary="Write a text again: split, simplified, shortened, corrected, in another style.",
        fields={
            "text": "the text to rewrite",
            "request": Field("split, simplify, shorten, paraphrase, formal …, or words of your own", optional=True),
        },
        target=Text(),
        normalizers=["rewriting", "split-sentences"],
        metrics=["bleu", "rouge-l", "exact-match"],
        samples=read_samples(HERE / "samples" / "rewriting.jsonl"),
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield from normalizers.ALL


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
