"""Classification: topic, intent, several labels, sentiment, sentiment of an aspect, paraphrases, pronouns, keywords.

Where the labels come with the data they are a field of the row: given once for all rows as a constant, or collected
from the data by the build.
"""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Choice, Field, Lazy, Normalizer, Task, TemplateFolder, hookimpl
from instructforge.tasks import read_samples
from instructforge_classification import labelled, pairs, sentiment

HERE = Path(__file__).parent
LABELS = Field("the labels to choose from", kind="list")
FEELING = {"positive": {"zh": "正面"}, "negative": {"zh": "负面"}, "neutral": {"zh": "中性"}}
YES_NO = {"yes": {"en": "yes", "zh": "是"}, "no": {"en": "no", "zh": "否"}}


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    yield Task(
        "topic",
        summary="Tell what a text is about: one of the given topics.",
        fields={"text": "the text", "labels": LABELS},
        target=Choice(from_field="labels"),
        normalizers=["topic"],
        samples=read_samples(HERE / "samples" / "topic.jsonl"),
    )
    yield Task(
        "intent",
        summary="Tell what a user wants: one of the given intents.",
        fields={"text": "what the user says", "labels": LABELS},
        target=Choice(from_field="labels"),
        normalizers=["intent", "intent-segments"],
        samples=read_samples(HERE / "samples" / "intent.jsonl"),
    )
    yield Task(
        "multi-label",
        summary="Give a text every label that fits it.",
        fields={"text": "the text", "choices": LABELS},
        target=Choice(from_field="choices", multiple=True),
        normalizers=["multi-label"],
        metrics=["accuracy", "micro-f1", "macro-f1"],
        samples=read_samples(HERE / "samples" / "multi-label.jsonl"),
    )
    yield Task(
        "sentiment",
        summary="Tell whether a text is positive, negative or neutral.",
        fields={"text": "the text"},
        target=Choice(FEELING),
        normalizers=["sentiment"],
        samples=read_samples(HERE / "samples" / "sentiment.jsonl"),
    )
    yield Task(
        "sentiment-aspect",
        summary="Tell what a text says of one aspect: good, bad, neither, or nothing.",
        fields={"text": "the text", "aspect": "what is judged, such as the price"},
        target=Choice({**FEELING, "not-mentioned": {"en": "not mentioned", "zh": "未提及"}}),
        normalizers=["aspect-columns", "aspect-rows"],
        samples=read_samples(HERE / "samples" / "sentiment-aspect.jsonl"),
    )
    yield Task(
        "similarity",
        summary="Tell whether two sentences mean the same.",
        fields={"sentence1": "one sentence", "sentence2": "the other"},
        target=Choice(YES_NO),
        normalizers=["sentence-pairs"],
        samples=read_samples(HERE / "samples" / "similarity.jsonl"),
    )
    yield Task(
        "coreference",
        summary="Tell whether a pronoun stands for a noun of the text.",
        fields={
            "text": "the text: the noun between two underscores, the pronoun in square brackets",
            "noun": "what the pronoun may stand for",
            "pronoun": "the word in question",
        },
        target=Choice(YES_NO),
        normalizers=["marked-pronoun"],
        samples=read_samples(HERE / "samples" / "coreference.jsonl"),
    )
    yield Task(
        "keywords",
        summary="Tell whether all the given keywords are those of the text.",
        fields={"text": "the text, such as an abstract", "keywords": Field("the keywords", kind="list")},
        target=Choice(YES_NO),
        normalizers=["abstract-keywords"],
        samples=read_samples(HERE / "samples" / "keywords.jsonl"),
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield from (*labelled.ALL, *sentiment.ALL, *pairs.ALL)


@hookimpl
def instructforge_readers() -> Iterator[Lazy]:
    yield Lazy("snips", "instructforge_classification.snips:SnipsReader", summary="JSON of Snips: utterances by intent")


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
