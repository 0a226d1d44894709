"""Translation: any pair of languages, one direction or both from one file."""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Normalizer, Task, TemplateFolder, Text, hookimpl
from instructforge.tasks import read_samples
from instructforge_translation import normalizers

HERE = Path(__file__).parent


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    yield Task(
        "translation",
        summary="Put a text into another language.",
        fields={
            "source": "the text to translate",
            "source_language": "code of its language: en, zh, zh-Hant, pt-BR …",
            "target_language": "code of the language to translate into",
        },
        target=Text(max_new_tokens=512),
        normalizers=["translation", "translation-pair"],
        metrics=["bleu", "chrf"],
        samples=read_samples(HERE / "samples.jsonl"),
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield from normalizers.ALL


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
