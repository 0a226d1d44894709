"""Named entities: which words of a sentence name a person, a place, a product …

The types come with the data: given once for all rows as a constant, or collected from the tags by the build.
"""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Field, Normalizer, Tags, Task, TemplateFolder, hookimpl
from instructforge.tasks import read_samples
from instructforge_tagging import normalizers
from instructforge_tagging.types import WORDS

HERE = Path(__file__).parent


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    yield Task(
        "ner",
        summary="Find the names in a sentence, and say of what type each is.",
        fields={
            "text": "the sentence",
            "tokens": Field("its words, or in Chinese its characters", kind="list"),
            "types": Field("the types of names to look for", kind="list"),
        },
        target=Tags(WORDS, from_field="types", within="tokens", text="text"),
        normalizers=["tagged-tokens", "marked-text"],
        samples=read_samples(HERE / "samples.jsonl"),
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield from normalizers.ALL


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
