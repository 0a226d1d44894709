"""Natural language inference: does one sentence follow from another?"""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Choice, Normalizer, Task, TemplateFolder, columns, hookimpl
from instructforge.tasks import read_samples

HERE = Path(__file__).parent
ZH = {"entailment": "蕴含", "neutral": "中立", "contradiction": "矛盾"}
SPELLINGS = dict(zip("012", ZH, strict=True)) | {word: label for label, word in ZH.items()} | {"蕴涵": "entailment"}


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    summary = "Does the hypothesis follow from the premise, contradict it, or neither?"
    fields = {"premise": "what is taken to be true", "hypothesis": "what may follow from it"}
    target = Choice({label: {"en": label, "zh": word} for label, word in ZH.items()})
    samples = read_samples(HERE / "samples.jsonl")
    yield Task("nli", summary=summary, fields=fields, target=target, normalizers=["nli"], samples=samples)


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    premise, hypothesis = ("premise", "sentence1", "text_a"), ("hypothesis", "sentence2", "text_b")
    fields, answer = {"premise": premise, "hypothesis": hypothesis}, ("gold_label", "label")
    yield columns("nli", task="nli", fields=fields, answer=answer, labels=SPELLINGS, group=premise, id=("id", "pairID"))


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
