"""Dialogue: the next reply, what the user wants, and what has been agreed so far."""

from collections.abc import Iterator
from pathlib import Path

from instructforge import Choice, Field, Lazy, Normalizer, Task, TemplateFolder, Text, hookimpl
from instructforge.tasks import read_samples
from instructforge_dialogue import normalizers

HERE = Path(__file__).parent
BEFORE = Field("the turns before what the user says now", kind="turns", optional=True)
SERVICE = Field("what is talked about, such as a service", optional=True)
SAID = Field("what the user says now")


@hookimpl
def instructforge_tasks() -> Iterator[Task]:
    yield Task(
        "dialogue",
        summary="Reply to what has been said so far, true to a persona and to given knowledge.",
        fields={
            "history": Field("all turns before the reply", kind="turns"),
            "system": Field("who the assistant is and what it is told", optional=True),
            "knowledge": Field("passages or facts to reply from", kind="list", optional=True),
        },
        target=Text(),
        normalizers=["dialogue-chat", "dialogue-turns", "dialogue-rows", "sgd", "crosswoz", "kdconv", "each-reply"],
        metrics=["token-f1", "bleu", "rouge-l", "distinct-2"],
        samples=read_samples(HERE / "samples" / "dialogue.jsonl"),
    )
    yield Task(
        "dialogue-intent",
        summary="Tell what the user wants by the last turn: one of the given intents.",
        fields={
            "utterance": SAID,
            "history": BEFORE,
            "service": SERVICE,
            "intents": Field("the intents to choose from", kind="list"),
        },
        target=Choice(from_field="intents"),
        normalizers=["dialogue-intent-rows", "sgd-intent", "crosswoz-intent"],
        samples=read_samples(HERE / "samples" / "dialogue-intent.jsonl"),
    )
    yield Task(
        "dialogue-slots",
        summary="List what has been agreed so far, a slot and its value a line.",
        fields={
            "utterance": SAID,
            "history": BEFORE,
            "service": SERVICE,
            "slots": Field("the slots that there are", kind="list", optional=True),
        },
        target=Text(),
        decoder="slots",
        normalizers=["dialogue-slots-rows", "sgd-slots", "crosswoz-slots", "snips-slots"],
        metrics=["joint-goal", "slot-f1"],
        samples=read_samples(HERE / "samples" / "dialogue-slots.jsonl"),
    )


@hookimpl
def instructforge_normalizers() -> Iterator[Normalizer]:
    yield from normalizers.ALL


@hookimpl
def instructforge_decoders() -> Iterator[Lazy]:
    yield Lazy(
        "slots", "instructforge_dialogue.decoding:SlotsDecoder", summary="reads slots and values, as lines or JSON"
    )


@hookimpl
def instructforge_metrics() -> Iterator[Lazy]:
    home = "instructforge_dialogue.metrics"
    yield Lazy("joint-goal", f"{home}:JointGoal", summary="share of turns of which every slot and value is right")
    yield Lazy("slot-f1", f"{home}:SlotF1", summary="F1 over the slots with their values")
    yield Lazy("distinct-2", f"{home}:Distinct2", summary="share of word pairs that no other reply repeats")


@hookimpl
def instructforge_templates() -> Iterator[TemplateFolder]:
    yield TemplateFolder(HERE / "templates")
