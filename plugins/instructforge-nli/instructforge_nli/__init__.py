"""Natural language inference: does one sentence follow from another?"""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Choice, Normalizer, Task, TemplateFolder, columns, hookimpl
from instructforge.tasks import read_samples

HERE = Path(__file__).parent
WORDS = {
    "entailment": {"en": "entailment", "zh": "蕴含"},
    "neutral": {"en": "neutral", "zh": "中立"},
    "contradiction": {"en": "contradiction", "zh": "矛盾"},
}
SPELLINGS = {"0": "entailment", "1": "neutral", "2": "contradiction", "蕴涵": "entailment", "中性": "neutral"} | {
    word: label for label, words in WORDS.items() for word in words.values()
}


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    yield Task(
        "nli",
        summary="Does the hypothesis follow from the premise, contradict it, or neither?",
        fields={"premise": "what is taken to be true", "hypothesis": "what may follow from it"},
        target=Choice(WORDS),
        normalizers=["nli"],
        samples=read_samples(HERE / "samples.jsonl"),
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield columns(
        "nli",
        task="nli",
        fields={"premise": ("premise", "sentence1", "text_a"), "hypothesis": ("hypothesis", "sentence2", "text_b")},
        answer=("gold_label", "label"),
        labels=SPELLINGS,
    )


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
