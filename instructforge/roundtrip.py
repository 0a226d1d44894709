"""The round trip: what a template completes with, a decoder reads back as the answer.

``check_data_set`` proves it for a whole data set, together with the ledger; ``conformance`` for a plugin's samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import Factory, frozen

from instructforge.building import BuildSettings, InstructionSet, Source, build, split_names
from instructforge.data import NO_ANSWER, Example, Instruction, Output, SpanAnswer, SpanScore
from instructforge.errors import TemplateError, printable
from instructforge.tasks import Choice, Ranking, Span, Tags, Task

if TYPE_CHECKING:
    from instructforge.plugins import Forge
    from instructforge.templates import Template

__all__ = ["DataReport", "DataSetError", "check_data_set", "perfect_output", "round_trip_problems"]

_MOST = 20
"""Problems of a data set after which no more are collected."""


# --- One instruction ----------------------------------------------------------------------------------


def round_trip_problems(forge: Forge, task: Task, instruction: Instruction) -> Iterator[str]:
    """Yield a line for each decoder of the task that does not read the completion as ``answers[0]``.

    An inverted instruction has to complete with the field that it asks for. An unlabelled row has no round trip.
    """
    example = instruction.example
    if instruction.inverted is not None:
        wanted = str(example.inputs.get(instruction.inverted, "")).strip()
        if instruction.completion.strip() != wanted:
            yield f'the completion is not the field "{instruction.inverted}" that it declares.'
    elif example.answers:
        # Free text is written by a causal model and by no head: there, the task's own decoder is the only one.
        heads = () if task.target.head == "text" else (task.target.head_decoder,)
        for name in dict.fromkeys((task.decoder_name, *heads)):
            yield from _decoded_wrong(forge, task, instruction, name)


def _decoded_wrong(forge: Forge, task: Task, instruction: Instruction, name: str) -> Iterator[str]:
    if name not in forge.decoders:
        return  # that is an unresolved name, told elsewhere
    decoder = forge.decoders.get(name)
    output = perfect_output(decoder.needs, task, instruction)
    if output is None:
        return
    answer = instruction.example.answers[0]
    (prediction,) = decoder.decode([output], [instruction], task)
    if prediction.error is not None or prediction.answer is None:
        yield f'decoder "{name}" cannot read "{_shown(output)}": {printable(prediction.error)}'
    elif not task.target.equal(prediction.answer, answer):
        yield (
            f'decoder "{name}" reads "{_shown(output)}" as "{printable(prediction.answer, 80)}", '
            f'not as "{printable(answer, 80)}".'
        )


def _shown(output: Output) -> str:
    return printable(output.text if output.text is not None else "the right scores", 80)


def perfect_output(needs: str, task: Task, instruction: Instruction) -> Output | None:
    """Return the output of a model that knows the answer; None where such an output cannot be made here."""
    answer = instruction.example.answers[0]
    if needs == "text":
        last = instruction.messages[-1]
        return Output(text=last.content, reasoning=last.reasoning, tool_calls=last.tool_calls)
    if isinstance(task.target, Choice) and not task.target.multiple and instruction.labels:
        scores = tuple(0.0 if label == answer else -9.0 for label in instruction.labels)
        if needs == "label_scores":
            return Output(label_scores=scores)
        if needs == "choice_logprobs":
            return Output(choice_logprobs=scores, choice_tokens=(1,) * len(scores))
    if isinstance(task.target, Ranking) and isinstance(answer, tuple):
        ranked = {item: -float(place) for place, item in enumerate(answer)}
        scores = tuple(ranked.get(label, -1000.0) for label in instruction.labels)
        if needs == "label_scores":
            return Output(label_scores=scores)
        if needs == "choice_logprobs":
            return Output(choice_logprobs=scores, choice_tokens=(1,) * len(scores))
    if needs == "tag_scores" and isinstance(task.target, Tags) and isinstance(answer, tuple):
        tags = task.target.tags(instruction.example.inputs)
        return Output(tag_scores=tuple(tuple(0.0 if tag == own else -9.0 for tag in tags) for own in answer))
    if needs == "spans" and isinstance(task.target, Span) and isinstance(answer, SpanAnswer):
        if answer == NO_ANSWER:
            return Output(spans=(SpanScore(0, 1, -9.0),), null_score=9.0)
        return Output(spans=(SpanScore(answer.start, answer.end, 9.0),), null_score=-9.0)
    return None


# --- A data set ---------------------------------------------------------------------------------------


class DataSetError(AssertionError):
    """A data set is not read as it should be; the text says how."""


@frozen(kw_only=True)
class DataReport:
    """What came of a data set.

    Attributes:
        ledger: As in ``ledger.json``.
        rows: Rows that were built.
        renderings: Pairs of a template and a row that it applies to.
        left: For each template, the rows that it does not apply to.
        problems: What is wrong.
    """

    ledger: Mapping[str, Any]
    rows: int
    renderings: int
    left: dict[str, int] = Factory(dict)
    problems: tuple[str, ...] = ()


def check_data_set(
    task: str,
    *sources: Source | Path | str,
    records: int | None = None,
    quarantined: int | None = None,
    forge: Forge | None = None,
    settings: BuildSettings | None = None,
) -> DataReport:
    """Prove that a data set is read whole, and that every template of its rows' languages makes the round trip.

    Args:
        task: Name of an installed task.
        sources: The data's files.
        records: How many records the data set has, where that is known.
        quarantined: How many of its rows are known to be bad; any number where left out.
        forge: The plugins; all that are installed where left out.
        settings: Of the build.

    Raises:
        DataSetError: A record is not accounted for, or a round trip fails. Lists the first of them.
    """
    from instructforge.plugins import Forge

    forge = forge or Forge.discover()
    given = [source if isinstance(source, Source) else Source(path=Path(source)) for source in sources]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "built"
        result = build(forge, forge.tasks.get(task), given, out, settings or BuildSettings())
        keys = [ref.key for ref in forge.templates.refs(task=task) if ref.language in result.ledger["languages"]]
        report = _tried(forge, forge.tasks.get(task), out, result.ledger, keys)
    problems = [*_counts_wrong(report, records, quarantined), *report.problems]
    if problems:
        raise DataSetError("\n".join([f"{task}: {len(problems)} problems", *problems]))
    return report


def _counts_wrong(report: DataReport, records: int | None, quarantined: int | None) -> Iterator[str]:
    sources = report.ledger["sources"]
    read = sum(source["records"] for source in sources)
    if records is not None and read != records:
        yield f"{read} records were read, and the data set has {records}"
    bad = sum(sum(source["quarantined"].values()) for source in sources)
    if quarantined is not None and bad != quarantined:
        yield f"{bad} rows were quarantined, not {quarantined}: {[source['quarantined'] for source in sources]}"
    for source in sources:
        gone = sum(sum(source[part].values()) for part in ("skipped", "quarantined", "deduplicated"))
        if source["read"] != source["built"] + gone:
            yield f"{source['read']} rows were read, {source['built']} built and {gone} left out: it does not add up"


def _tried(forge: Forge, task: Task, out: Path, ledger: Mapping[str, Any], keys: Sequence[str]) -> DataReport:
    templates = [forge.template(key) for key in keys]
    tried, rows, left = 0, 0, dict.fromkeys(keys, 0)
    problems: list[str] = []
    for split in split_names(out):
        for built in InstructionSet(out, split):
            rows += 1
            for template in templates:
                if template.language != built.language or len(problems) >= _MOST:
                    continue
                made = _rendered(template, built.example)
                if isinstance(made, TemplateError) and made.rule == "not-applicable":
                    left[template.key] += 1
                    continue
                tried += 1
                problems += _problems(forge, task, template, made, built.id)
    return DataReport(ledger=ledger, rows=rows, renderings=tried, left=left, problems=tuple(problems))


def _rendered(template: Template, example: Example) -> Instruction | TemplateError:
    try:
        return template.render(example, seed=1)
    except TemplateError as error:
        return error


def _problems(
    forge: Forge, task: Task, template: Template, made: Instruction | TemplateError, id: str
) -> Iterator[str]:
    where = f"{template.key} × {id}"
    if isinstance(made, TemplateError):
        yield f"{where}: {made}"
        return
    for problem in round_trip_problems(forge, task, made):
        yield f"{where}: {problem}"
