"""P5: decoding the rendered completion of a labelled example gives its answer back. A decoder undoes its template."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from instructforge.data import NO_ANSWER, Answer, Example, Instruction, Message, Output, SpanAnswer
from instructforge.decoders import ChoiceDecoder, SpanTextDecoder, TextDecoder
from instructforge.errors import DataError, TemplateError
from instructforge.plugins import Forge
from instructforge.roundtrip import perfect_output
from instructforge.tasks import Choice, Span, Task, Text
from instructforge.templates import compile_template

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
OVERLAPPING = [
    *("entailment", "not entailment", "yes", "no", "not", "是", "不是", "否", "不", "10", "100", "1", "-10", "10%"),
    *("10.5", "a, b", "a", "b", "A", "I", "(a)", "[b]", "a\nb", "C", "C++", "C#", "😀", "😀😀", "ß", "SS", "ＡＢＣ"),
    *("abc", "答案", "选B", "the answer", "The answer is yes", "答案：是", "label: no", "card_arrival", "card arrival"),
    *("…", "?", "“引号”", '"引号"'),
]
LABEL = st.sampled_from(OVERLAPPING) | st.text(min_size=1, max_size=12).filter(str.strip)
LABELS = st.lists(LABEL, min_size=1, max_size=8, unique=True)
LANGUAGE = st.sampled_from(["en", "zh"])


def made(
    task: Task, row: Example, completion: str, *, language: str = "en", choices: Sequence[str] = ()
) -> Instruction:
    return Instruction(
        example=row,
        task=task.name,
        language=language,
        template="test",
        template_sha256="",
        messages=(Message(role="user", content="?"), Message(role="assistant", content=completion, trained=True)),
        labels=task.target.labels(row.inputs),
        choices=tuple(choices),
    )


def choice_back(labels: Sequence[str], choices: Sequence[str], place: int, language: str) -> Answer | None:
    task = Task("t", summary="t", fields={}, target=Choice(labels))
    row = Example(inputs={}, answers=(labels[place],), id="1")
    instruction = made(task, row, choices[place], language=language, choices=choices)
    (prediction,) = ChoiceDecoder().decode([Output(text=instruction.completion)], [instruction], task)
    return prediction.answer


# --- Choices ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(LABELS, LANGUAGE, st.data())
@example(["entailment", "not entailment"], "en", None)
@example(["是", "不是"], "zh", None)
@example(["A", "a"], "en", None)
def test_every_label_comes_back_from_its_own_words(
    labels: list[str], language: str, data: st.DataObject | None
) -> None:
    for place in range(len(labels)) if data is None else [data.draw(st.integers(0, len(labels) - 1))]:
        assert choice_back(labels, labels, place, language) == labels[place]


@settings(deadline=None)
@given(LABELS, LANGUAGE)
def test_every_letter_comes_back_whatever_the_choices_say(labels: list[str], language: str) -> None:
    for place in range(len(labels)):
        assert choice_back(labels, LETTERS[: len(labels)], place, language) == labels[place]


@settings(deadline=None)
@given(LABELS, st.sampled_from([(" ", ""), ("", "\n"), ("  ", " ")]))
def test_spaces_around_a_completion_do_not_matter_where_labels_differ_by_more(
    labels: list[str], spaces: tuple[str, str]
) -> None:
    assume(len({label.strip() for label in labels}) == len(labels))
    assume(not any(label != label.strip() for label in labels))
    task = Task("t", summary="t", fields={}, target=Choice(labels))
    row = Example(inputs={}, id="1")
    for label in labels:
        text = f"{spaces[0]}{label}{spaces[1]}"
        found = ChoiceDecoder().decode([Output(text=text)], [made(task, row, "", choices=labels)], task)[0]
        assert found.answer == label


@settings(deadline=None)
@given(LABELS, st.text(max_size=40))
def test_any_text_at_all_is_a_label_or_an_error_and_never_a_crash(labels: list[str], text: str) -> None:
    task = Task("t", summary="t", fields={}, target=Choice(labels))
    for several in (task, evolve(task, target=Choice(labels, multiple=True))):
        instruction = made(several, Example(inputs={}, id="1"), "", choices=labels)
        (found,) = ChoiceDecoder().decode([Output(text=text)], [instruction], several)
        if found.answer is None:
            assert found.error
        else:
            chosen = found.answer if isinstance(found.answer, tuple) else (found.answer,)
            assert set(chosen) <= set(labels)


WORDS = st.lists(st.sampled_from(["red", "deep red", "绿", "深绿", "10", "100", "yes", "no"]), min_size=1, unique=True)


@settings(deadline=None)
@given(WORDS, LANGUAGE, st.data())
def test_several_labels_come_back_as_a_set(labels: list[str], language: str, data: st.DataObject) -> None:
    chosen = tuple(data.draw(st.lists(st.sampled_from(labels), unique=True)))
    task = Task("t", summary="t", fields={}, target=Choice(labels, multiple=True))
    text = task.target.words(chosen, language)
    instruction = made(task, Example(inputs={}, id="1"), text, language=language, choices=labels)
    (found,) = ChoiceDecoder().decode([Output(text=text)], [instruction], task)
    assert found.answer is not None
    assert task.target.equal(found.answer, chosen)


# --- Spans and texts ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.text(min_size=1, max_size=80), st.data())
def test_every_span_comes_back_as_its_text(passage: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(passage) - 1))
    end = data.draw(st.integers(start + 1, len(passage)))
    gold = SpanAnswer(passage[start:end], start)
    assume(gold.text == gold.text.strip() != "")
    task = Task("qa", summary="q", fields={"context": "c"}, target=Span(within="context", nullable=True))
    row = Example(inputs={"context": passage}, answers=(gold,), id="1")
    (found,) = SpanTextDecoder().decode([Output(text=gold.text)], [made(task, row, gold.text)], task)
    assert isinstance(found.answer, SpanAnswer)
    assert task.target.equal(found.answer, gold)
    task.target.check(found.answer, row.inputs)


def test_a_span_that_reads_like_no_answer_is_no_label() -> None:
    """Both would be written alike, so no decoder could tell them apart: the row is refused when it is built."""
    task = Task("qa", summary="q", fields={"context": "c"}, target=Span(within="context", nullable=True))
    with pytest.raises(DataError, match="no answer") as raised:
        task.target.check(SpanAnswer("unanswerable", 0), {"context": "unanswerable questions"})
    assert raised.value.rule == "answer-ambiguous"


@given(st.text(max_size=60), LANGUAGE)
def test_no_answer_comes_back_in_both_languages(passage: str, language: str) -> None:
    task = Task("qa", summary="q", fields={"context": "c"}, target=Span(within="context", nullable=True))
    row = Example(inputs={"context": passage}, answers=(NO_ANSWER,), id="1")
    text = task.target.words(NO_ANSWER, language)
    (found,) = SpanTextDecoder().decode([Output(text=text)], [made(task, row, text)], task)
    assert found.answer == NO_ANSWER


PROMPT = "{% block prompt %}{{ article }}{% endblock %}"
DRESSED = [
    "{{ answer }}",
    "Summary: {{ answer }}",
    "答案是{{ answer }}。",
    "<<{{ answer }}>>",
    "{{ article }} → {{ answer }}.",
]


@settings(deadline=None)
@given(st.text(min_size=1, max_size=40), st.sampled_from(DRESSED))
@example("Summary: Summary: x", "Summary: {{ answer }}")
def test_a_text_comes_back_from_what_a_template_puts_around_it(answer: str, dress: str) -> None:
    assume(answer.strip() and not any("\ud800" <= c <= "\udfff" for c in answer))
    task = Task("sum", summary="s", fields={"article": "a"}, target=Text())
    source = f"{PROMPT}{{% block completion %}}{dress}{{% endblock %}}"
    template = compile_template(source, task=task, language="en", name="dressed")
    row = Example(inputs={"article": "an article"}, answers=(answer,), id="1")
    try:
        instruction = template.render(row, seed=1)
    except TemplateError:
        assume(False)
    (found,) = TextDecoder().decode([Output(text=instruction.completion)], [instruction], task)
    assert found.answer is not None
    assert task.target.equal(found.answer, answer)


@pytest.mark.parametrize("dress", ["Answer: {{ answer }}.", "答案是“{{ answer }}”。", "{{ answer | upper }}!"])
def test_labels_come_back_from_dressed_completions(dress: str) -> None:
    labels = ["entailment", "not entailment", "是", "不是", "10", "100"]
    task = Task("t", summary="t", fields={"text": "t"}, target=Choice(labels))
    source = f"{{% block prompt %}}{{{{ text }}}}{{% endblock %}}{{% block completion %}}{dress}{{% endblock %}}"
    template = compile_template(source, task=task, language="en", name="dressed")
    for label in labels:
        instruction = template.render(Example(inputs={"text": "x"}, answers=(label,), id="1"), seed=1)
        (found,) = ChoiceDecoder().decode([Output(text=instruction.completion)], [instruction], task)
        assert found.answer == label


def test_an_inverted_template_gives_its_field_back() -> None:
    task = Task("qa", summary="q", fields={"question": "q", "context": "c"}, target=Span(within="context"))
    source = (
        '{% set inverted = "question" %}{% block prompt %}Ask for {{ answer }}: {{ context }}{% endblock %}'
        "{% block completion %}Question: {{ question }}{% endblock %}"
    )
    template = compile_template(source, task=task, language="en", name="ask")
    inputs = {"question": "Where is it?", "context": "It is in Paris."}
    row = Example(inputs=inputs, answers=(SpanAnswer("Paris", 9),), id="1")
    instruction = template.render(row, seed=1)
    assert instruction.inverted == "question"
    (found,) = SpanTextDecoder().decode([Output(text=instruction.completion)], [instruction], task)
    assert found.answer == inputs["question"]


# --- Every template of every installed task, over every sample --------------------------------------------


FORGE = Forge.discover()


@pytest.mark.parametrize("name", list(FORGE.tasks))
def test_every_template_gives_every_sample_back(name: str) -> None:
    task = FORGE.tasks.get(name)
    decoder = FORGE.decoders.get(task.decoder_name)
    checked = 0
    for ref in FORGE.templates.refs(task=name):
        template = FORGE.template(ref.key)
        for number, sample in enumerate(task.samples):
            if sample.language != ref.language:
                continue
            row = sample.to_example(number)
            (instruction,) = template.render_many([row], [number])
            if isinstance(instruction, TemplateError):
                assert instruction.rule == "not-applicable", instruction
                continue
            output = perfect_output("text", task, instruction)
            assert output is not None
            (found,) = decoder.decode([output], [instruction], task)
            assert found.answer is not None, (ref.key, found.error)
            if instruction.inverted:
                assert str(found.answer).strip() == str(row.inputs[instruction.inverted]).strip(), ref.key
            else:
                assert task.target.equal(found.answer, row.answers[0]), (ref.key, found.answer)
            checked += 1
    assert checked or not task.samples


# --- Real passages ------------------------------------------------------------------------------------

DATA = os.environ.get("INSTRUCTFORGE_DATA", "")


def passages(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (passage, answer) of a file in SQuAD's shape."""
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield from ((paragraph["context"], answer["text"]) for answer in question["answers"])


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA names no folder with the real data sets")
@pytest.mark.parametrize(
    "name", ["squad_v2_dev_subset/dev-v1.1.json", "cmrc2018/cmrc2018_dev.json", "xquad/xquad.zh.json"]
)
def test_every_answer_of_a_real_file_comes_back(name: str) -> None:
    task = Task("qa", summary="q", fields={"context": "c"}, target=Span(within="context", nullable=True))
    count = 0
    for passage, text in passages(Path(DATA) / "extractive_qa" / name):
        if text not in passage or text != text.strip():
            continue
        row = Example(inputs={"context": passage}, id="1")
        (found,) = SpanTextDecoder().decode([Output(text=text)], [made(task, row, text)], task)
        assert isinstance(found.answer, SpanAnswer)
        assert found.answer.text == text
        count += 1
    assert count > 1000
