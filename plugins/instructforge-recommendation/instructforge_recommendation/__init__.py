"""Recommendation: rank candidates for somebody by what they liked before, who they are and what they ask for."""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Field, Lazy, Normalizer, Ranking, Task, TemplateFolder, hookimpl
from instructforge.tasks import read_samples
from instructforge_recommendation.rows import candidate_rows

HERE = Path(__file__).parent
FIELDS = {
    "profile": Field("who it is for", optional=True),
    "history": Field("what they liked before, oldest first", kind="list", optional=True),
    "request": Field("what they ask for, in their own words", optional=True),
    "wanted": Field("how many to name; all that suit where left out", optional=True),
    "candidates": Field("what can be recommended", kind="list"),
}


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    summary = "Which of the candidates suit somebody best, by what they liked before?"
    samples = read_samples(HERE / "samples.jsonl")
    target, normalizers = Ranking(from_field="candidates"), ["candidate-rows"]
    yield Task(
        "recommendation", summary=summary, fields=FIELDS, target=target, normalizers=normalizers, samples=samples
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield candidate_rows()


@hookimpl
def instructforge_readers() -> Iterator[Lazy]:
    home = "instructforge_recommendation"
    yield Lazy("interactions", f"{home}.interactions:InteractionsReader", summary="user, item[, rating][, time] logs")
    yield Lazy("star-counts", f"{home}.stars:StarCountsReader", summary="items with counts of stars: readers are drawn")


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
