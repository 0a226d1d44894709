"""P5, round trip: decoding the rendered completion gives ``answers[0]`` back, by the target's own equality."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import instructforge_nli
import instructforge_qa
from instructforge import NO_ANSWER, Example, Output, SpanAnswer
from instructforge.data import Answer, Instruction
from instructforge.errors import DataError, TemplateError
from instructforge.plugins import Forge
from instructforge.templates import Template

FORGE = Forge([instructforge_nli, instructforge_qa])
TASKS = ("nli", "qa", "qa-boolean", "qa-choice", "qa-faq", "qa-open")
TEMPLATES = {
    task: [FORGE.templates.load(ref.key, FORGE.tasks.get(task)) for ref in FORGE.templates.refs(task=task)]
    for task in TASKS
}
ODD = (
    "the 'quick' \"fox\", {{ x }} {% y %} <|im_end|> [SEP] A. B) (C) D: yes no maybe unanswerable entailment -1 0 é 😀 "
    "无法回答 是 否 对 不对 蕴含 中立 矛盾 A、B． ， 。"
)
NOTHING = {"unanswerable", "无法回答"}
WORDS = st.sampled_from([*ODD.split(), "two\nlines"])
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


def instruction(template: Template, inputs: dict[str, Any], answer: Answer) -> Instruction:
    example = Example(inputs=inputs, answers=(answer,), id="x", language=template.language)
    template.task.check(example)
    return template.render(example, seed=1)


def decoded(made: Instruction) -> Answer | None:
    task = FORGE.tasks.get(made.task)
    decoder = FORGE.decoders.get(task.decoder_name)
    (prediction,) = decoder.decode([Output(text=made.completion)], [made], task)
    return prediction.answer


def goes_round(task_name: str, inputs: dict[str, Any], answer: Answer) -> None:
    task = FORGE.tasks.get(task_name)
    for template in TEMPLATES[task_name]:
        if template.inverted:
            assert_inverted(template, inputs, answer)
            continue
        made = instruction(template, inputs, answer)
        back = decoded(made)
        assert back is not None
        assert task.target.equal(back, answer), (template.key, made.completion, back)


def assert_inverted(template: Template, inputs: dict[str, Any], answer: Answer) -> None:
    if answer == NO_ANSWER:
        with pytest.raises(TemplateError) as caught:
            instruction(template, inputs, answer)
        assert caught.value.rule == "not-applicable"
        return
    made = instruction(template, inputs, answer)
    assert made.inverted == template.inverted
    assert made.completion == inputs[str(template.inverted)].strip()


@pytest.mark.parametrize("task", TASKS)
def test_samples_go_round(task: str) -> None:
    for sample in FORGE.tasks.get(task).samples:
        goes_round(task, dict(sample.inputs), sample.answer)


BOUNDED = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@BOUNDED
@given(premise=TEXTS, hypothesis=TEXTS, label=st.sampled_from(["entailment", "neutral", "contradiction"]))
def test_any_pair_goes_round(premise: str, hypothesis: str, label: str) -> None:
    goes_round("nli", {"premise": premise, "hypothesis": hypothesis}, label)


@BOUNDED
@given(question=TEXTS, context=TEXTS, draw=st.randoms(use_true_random=False))
def test_any_span_of_any_passage_goes_round(question: str, context: str, draw: random.Random) -> None:
    goes_round("qa", {"question": question, "context": context}, NO_ANSWER)
    text = draw.choice([word for word in context.split() if word not in NOTHING] or [context])
    if text not in NOTHING:
        goes_round("qa", {"question": question, "context": context}, SpanAnswer(text, context.index(text)))


@pytest.mark.parametrize("text", sorted(NOTHING))
def test_an_answer_that_reads_as_no_answer_is_refused(text: str) -> None:
    with pytest.raises(DataError) as caught:
        goes_round("qa", {"question": "Which word?", "context": f"a {text} b"}, SpanAnswer(text, 2))
    assert caught.value.rule == "answer-ambiguous"


@pytest.mark.parametrize("text", [" in spaces", "in spaces ", "\u3000全角 "])
def test_spaces_around_a_span_go_round(text: str) -> None:
    goes_round("qa", {"question": "Where?", "context": f"a{text}b"}, SpanAnswer(text, 1))


@BOUNDED
@given(question=TEXTS, choices=st.lists(TEXTS, min_size=2, max_size=8, unique_by=str.casefold), context=TEXTS)
def test_any_choice_goes_round(question: str, choices: list[str], context: str) -> None:
    for answer in choices:
        goes_round("qa-choice", {"question": question, "context": context, "choices": choices}, answer)


def test_more_choices_than_letters_go_round() -> None:
    choices = [f"answer number {number}" for number in range(80)]
    for answer in (choices[0], choices[25], choices[26], choices[79]):
        goes_round("qa-choice", {"question": "Which?", "context": "", "choices": choices}, answer)


@BOUNDED
@given(question=TEXTS, context=st.one_of(st.just(""), TEXTS), answer=st.sampled_from(["yes", "no"]))
def test_any_yes_or_no_goes_round(question: str, context: str, answer: str) -> None:
    goes_round("qa-boolean", {"question": question, "context": context}, answer)


@BOUNDED
@given(question=TEXTS, context=st.one_of(st.just(""), TEXTS), answer=TEXTS)
def test_any_text_goes_round(question: str, context: str, answer: str) -> None:
    goes_round("qa-open", {"question": question, "context": context}, answer)


@pytest.mark.parametrize("task", TASKS)
def test_unlabelled_rows_have_a_prompt_and_nothing_to_train(task: str) -> None:
    sample = FORGE.tasks.get(task).samples[0]
    for template in TEMPLATES[task]:
        example = Example(inputs=sample.inputs, id="x", language=template.language)
        if template.inverted:
            with pytest.raises(TemplateError) as caught:
                template.render(example, seed=1)
            assert caught.value.rule == "not-applicable"
            continue
        made = template.render(example, seed=1)
        assert made.completion == ""
        assert not made.messages[-1].trained
        assert made.prompt == template.render(sample.to_example(1), seed=1).prompt
