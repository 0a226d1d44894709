"""Decoders: every way an answer may be said, and every way that must not be taken for one."""

from __future__ import annotations

import math
import time

import pytest
from attrs import evolve

from instructforge import builtin
from instructforge.data import NO_ANSWER, Example, Instruction, Message, Output, Prediction, SpanAnswer, SpanScore
from instructforge.decoders import (
    ChoiceDecoder,
    ChoiceLikelihoodDecoder,
    ChoiceScoresDecoder,
    SpanDecoder,
    SpanTextDecoder,
    TextDecoder,
    configured,
    options_of,
    per_text,
)
from instructforge.errors import ConfigError, DecodingError
from instructforge.tasks import Choice, Span, Task, Text

NLI = Task(
    "nli",
    summary="Does one follow from the other?",
    fields={"premise": "a sentence", "hypothesis": "another"},
    target=Choice(
        {
            "entailment": {"en": "yes", "zh": "蕴含"},
            "neutral": {"en": "maybe", "zh": "中立"},
            "contradiction": {"en": "no", "zh": "矛盾"},
        }
    ),
)
QA = Task(
    "qa",
    summary="Answer from the passage.",
    fields={"question": "what is asked", "context": "the passage"},
    target=Span(within="context", nullable=True),
)
CITIES = Task(
    "qa-choice", summary="Choose.", fields={"question": "q"}, target=Choice(["Paris", "London", "Berlin", "Rome"])
)


def ask(task: Task, inputs: dict[str, str] | None = None, *, completions: tuple[str, ...] = (), language: str = "en"):
    labels = task.target.labels(inputs or {})
    return Instruction(
        example=Example(inputs=inputs or {}, id="row-1"),
        task=task.name,
        language=language,
        template="test",
        template_sha256="",
        messages=(Message(role="user", content="?"), Message(role="assistant", content="")),
        labels=labels,
        choices=completions or tuple(task.target.words(label, language) for label in labels),
    )


def choose(text: str, task: Task = NLI, *, finished: bool = True, **more: object) -> Prediction:
    instruction = ask(task, **more)  # type: ignore[arg-type]
    (prediction,) = ChoiceDecoder().decode([Output(text=text, finished=finished)], [instruction], task)
    assert prediction.id == "row-1"
    assert prediction.raw == text
    return prediction


# --- Choices from text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("yes", "entailment"),
        (" Yes. ", "entailment"),
        ("ＹＥＳ", "entailment"),
        ("The answer is: no", "contradiction"),
        ("Answer: Maybe!", "neutral"),
        ("entailment", "entailment"),
        ("This is a clear contradiction.", "contradiction"),
        ("蕴含", "entailment"),
        ("not entailment but contradiction", "contradiction"),
        ("It is neutral, not entailment.", "neutral"),
        ("Neutral because the premise does not mention it", "neutral"),
    ],
)
def test_a_choice_is_read_in_the_forms_people_use(text: str, label: str) -> None:
    assert choose(text).answer == label


@pytest.mark.parametrize(
    "text",
    [
        "not entailment",
        "It is not an entailment.",
        "I don't think it is entailment",
        "neither entailment nor neutral",
        "entailment is wrong",
        "entailment or neutral",
        "yes and no",
        "yesterday",  # "yes" is no word of its own there
        "",
        "   ",
        "这不是蕴含",
        "蕴含关系不成立",
    ],
)
def test_what_names_no_choice_or_two_is_an_error_that_keeps_the_raw_text(text: str) -> None:
    prediction = choose(text)
    assert prediction.answer is None
    assert prediction.error


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("答案：蕴含。", "entailment"),
        ("这两句话的关系是矛盾", "contradiction"),
        ("不是蕴含，而是中立", "neutral"),
        ("非常明显，蕴含", "entailment"),
        ("「中立」", "neutral"),
        ("entailment", "entailment"),
    ],
)
def test_chinese_is_read_alike(text: str, label: str) -> None:
    assert choose(text, language="zh").answer == label


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b",
        "B.",
        "(B)",
        "（B）",
        "Ｂ",
        "【B】",
        "**B**",
        "答案：B",
        "答案是（B）",
        "选B",
        "故选B。",
        "The answer is B",
        "the answer is B because it lies on the Thames",
        "B. London",
        "B is correct",
        "Option B",
        "不是A，选B",
        "London",
    ],
)
def test_a_letter_is_read_where_the_template_answers_in_letters(text: str) -> None:
    assert choose(text, CITIES, completions=("A", "B", "C", "D")).answer == "London"


@pytest.mark.parametrize("text", ["A man", "I think so", "B. Paris", "A, B", "A or B", "not B", "不选B", "E", "AB"])
def test_a_letter_that_is_none_is_not_read(text: str) -> None:
    assert choose(text, CITIES, completions=("A", "B", "C", "D")).answer is None


def test_letters_go_on_beyond_z() -> None:
    many = Task("many", summary="m", fields={}, target=Choice([f"label {at}" for at in range(30)]))
    letters = (*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC", "AD")
    assert choose("(AB)", many, completions=letters).answer == "label 27"
    assert choose("A", many, completions=letters).answer == "label 0"


@pytest.mark.parametrize(
    ("labels", "text", "answer"),
    [
        (("entailment", "not entailment"), "It is not entailment", "not entailment"),
        (("是", "不是"), "这不是", "不是"),
        (("是", "不是"), "答案是是", "是"),
        (("是", "否"), "答案是否", "否"),
        (("是", "否"), "他们是朋友", None),
        (("是", "否"), "不是", None),
        (("10", "100"), "about 100.", "100"),
        (("10", "100"), "10.5", None),
        (("10", "100"), "-10", None),
        (("10", "100"), "1000", None),
        (("10", "100"), "答案是10。", "10"),
        (("C", "C++", "C#"), "c++", "C++"),
        (("card_arrival", "card_linking"), "Card arrival", "card_arrival"),
        (("😀", "😡"), "I feel 😡", "😡"),
    ],
)
def test_labels_that_overlap_are_told_apart(labels: tuple[str, ...], text: str, answer: str | None) -> None:
    task = Task("t", summary="t", fields={}, target=Choice(labels))
    assert choose(text, task).answer == answer


def test_a_cut_off_text_that_may_begin_another_choice_is_refused() -> None:
    task = Task("t", summary="t", fields={}, target=Choice(["10", "100"]))
    assert choose("10", task).answer == "10"
    cut = choose("10", task, finished=False)
    assert cut.answer is None
    assert cut.notes == ("unfinished",)
    assert "limit of new tokens" in str(cut.error)
    assert choose("100", task, finished=False).answer == "100"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("red, green", ("red", "green")),
        ("red and green.", ("red", "green")),
        ("Answer: green", ("green",)),
        ("", ()),
        ("red, green, blue or so", ("red", "green")),
        ("purple", None),
    ],
)
def test_several_labels(text: str, answer: tuple[str, ...] | None) -> None:
    task = Task("tags", summary="t", fields={}, target=Choice(["red", "green"], multiple=True))
    assert choose(text, task).answer == answer


def test_a_list_that_can_be_read_in_two_ways_is_an_error() -> None:
    task = Task("tags", summary="t", fields={}, target=Choice(["a", "b", "a, b"], multiple=True))
    prediction = choose("a, b", task)
    assert prediction.answer is None
    assert "two different lists" in str(prediction.error)


# --- Choices from numbers -----------------------------------------------------------------------------


def test_likelihoods_are_normalised_as_stated() -> None:
    task = Task("t", summary="t", fields={}, target=Choice(["a", "a much longer one"]))
    output = Output(choice_logprobs=(-3.0, -6.0), choice_tokens=(1, 4))
    answers = {
        normalize: ChoiceLikelihoodDecoder(normalize=normalize).decode([output], [ask(task)], task)[0]
        for normalize in ("tokens", "characters", "none")
    }
    assert [answers[name].answer for name in ("tokens", "characters", "none")] == ["a much longer one"] * 2 + ["a"]
    scores = answers["none"].scores
    assert scores["a"] == pytest.approx(1 / (1 + math.exp(-3)))
    assert sum(scores.values()) == pytest.approx(1)
    assert answers["none"].score == scores["a"]


@pytest.mark.parametrize(
    "output",
    [
        Output(),
        Output(choice_logprobs=(-1.0,), choice_tokens=(1,)),
        Output(choice_logprobs=(-1.0, math.nan, -2.0), choice_tokens=(1, 1, 1)),
        Output(choice_logprobs=(-1.0, -1.0, -2.0)),
    ],
)
def test_numbers_that_cannot_be_are_errors_of_their_row(output: Output) -> None:
    first, second = ChoiceLikelihoodDecoder().decode(
        [output, Output(choice_logprobs=(-1.0, -2.0, -3.0), choice_tokens=(1, 1, 1))], [ask(NLI), ask(NLI)], NLI
    )
    assert first.answer is None
    assert first.error
    assert second.answer == "entailment"


def test_impossible_choices_do_not_break_the_softmax() -> None:
    inf = math.inf
    one = ChoiceScoresDecoder().decode([Output(label_scores=(-inf, -1.0, -inf))], [ask(NLI)], NLI)[0]
    none = ChoiceScoresDecoder().decode([Output(label_scores=(-inf, -inf, -inf))], [ask(NLI)], NLI)[0]
    assert one.answer == "neutral"
    assert one.score == 1.0
    assert none.score == pytest.approx(1 / 3)


def test_scores_of_several_labels_are_cut_at_the_threshold() -> None:
    task = Task("tags", summary="t", fields={}, target=Choice(["red", "green", "blue"], multiple=True))
    output = Output(label_scores=(2.0, -2.0, 0.5))
    assert ChoiceScoresDecoder().decode([output], [ask(task)], task)[0].answer == ("red", "blue")
    assert ChoiceScoresDecoder(threshold=1.0).decode([output], [ask(task)], task)[0].answer == ("red",)
    with pytest.raises(ConfigError, match="picks one label"):
        ChoiceLikelihoodDecoder().decode([], [], task)


# --- Spans --------------------------------------------------------------------------------------------

PASSAGE = "The Eiffel Tower stands in Paris. 巴黎的埃菲尔铁塔高330米，建于1889年。 It was unfinished art in party."


def find(text: str, task: Task = QA) -> Prediction:
    instruction = ask(task, {"question": "?", "context": PASSAGE})
    return SpanTextDecoder().decode([Output(text=text)], [instruction], task)[0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Eiffel Tower", "Eiffel Tower"),
        (" eiffel  tower. ", "Eiffel Tower"),
        ("The answer is Paris.", "Paris"),
        ("答案：330米。", "330米"),
        ("３３０米", "330米"),
        ("“埃菲尔铁塔”", "埃菲尔铁塔"),
        ("1889", "1889"),
        ("art", "art"),
    ],
)
def test_a_text_is_found_in_the_passage(text: str, found: str) -> None:
    answer = find(text).answer
    assert isinstance(answer, SpanAnswer)
    assert answer.text == found == PASSAGE[answer.start : answer.end]


def test_whole_words_come_before_parts_of_words() -> None:
    answer = find("art").answer
    assert isinstance(answer, SpanAnswer)
    assert PASSAGE[answer.start - 1] == " "
    assert find("ARTY").answer is None  # inside "party", and not even as written


@pytest.mark.parametrize("text", ["unanswerable", "Unanswerable.", "无法回答。", "根据文章无法回答这个问题"])
def test_no_answer_is_read_where_the_task_allows_it(text: str) -> None:
    assert find(text).answer == NO_ANSWER
    strict = evolve(QA, target=Span(within="context"))
    assert find(text, strict).answer is None


def test_a_text_that_does_not_stand_there_is_an_error() -> None:
    prediction = find("Lyon")
    assert (prediction.answer, prediction.raw) == (None, "Lyon")
    assert "does not stand in context" in str(prediction.error)


@pytest.mark.parametrize(
    ("spans", "null", "threshold", "text"),
    [
        (((0, 3, 5.0), (4, 10, 1.0)), 4.0, 0.0, "The"),
        (((0, 3, 5.0),), 6.0, 0.0, ""),
        (((0, 3, 5.0),), 6.0, 2.0, "The"),
        ((), 1.0, 0.0, ""),
        (((900, 901, 9.0), (4, 10, 1.0)), None, 0.0, "Eiffel"),
        ((), None, 0.0, None),
        (None, None, 0.0, None),
    ],
)
def test_the_best_span_or_no_answer(spans, null, threshold, text) -> None:  # type: ignore[no-untyped-def]
    found = None if spans is None else tuple(SpanScore(*span) for span in spans)
    instruction = ask(QA, {"question": "?", "context": PASSAGE})
    decoder = configured(SpanDecoder(), {"null_threshold": threshold})
    answer = decoder.decode([Output(spans=found, null_score=null)], [instruction], QA)[0].answer
    assert (answer.text if isinstance(answer, SpanAnswer) else answer) == text


def test_a_task_without_null_ignores_the_null_score() -> None:
    strict = evolve(QA, target=Span(within="context"))
    instruction = ask(strict, {"question": "?", "context": PASSAGE})
    output = Output(spans=(SpanScore(0, 3, 1.0),), null_score=9.0)
    assert SpanDecoder().decode([output], [instruction], strict)[0].answer == SpanAnswer("The", 0)


# --- Texts, inverted templates, helpers -----------------------------------------------------------------


def test_a_text_is_its_own_answer_without_what_the_template_puts_around_it() -> None:
    task = Task("sum", summary="s", fields={"article": "a"}, target=Text())
    plain, dressed = ask(task, {"article": "x"}), evolve(ask(task, {"article": "x"}), affixes=("Summary: ", " (end)"))
    outputs = [Output(text=" short \n"), Output(text="Summary: short (end)"), Output(text=" "), Output()]
    found = TextDecoder().decode(outputs, [plain, dressed, plain, plain], task)
    assert [one.answer for one in found] == ["short", "short", None, None]


def test_an_inverted_instruction_is_answered_by_the_field_it_asks_for() -> None:
    instruction = evolve(ask(QA, {"question": "Where? ", "context": PASSAGE}), inverted="question")
    same, other = SpanTextDecoder().decode([Output(text="Where?"), Output(text=" Who?")], [instruction] * 2, QA)
    assert (same.answer, other.answer) == ("Where? ", "Who?")


def test_per_text_makes_a_decoder_and_contains_its_errors() -> None:
    decoder = per_text("number", lambda text: str(int(text)))
    task = Task("n", summary="n", fields={}, target=Text())
    good, bad = decoder.decode([Output(text=" 7"), Output(text="seven")], [ask(task)] * 2, task)
    assert good.answer == "7"
    assert bad.answer is None
    assert "ValueError" in str(bad.error)


def test_outputs_and_instructions_must_belong_together() -> None:
    with pytest.raises(DecodingError, match="2 outputs do not belong to 1"):
        TextDecoder().decode([Output(), Output()], [ask(QA, {"context": "x"})], QA)


def test_options_are_json_and_are_checked() -> None:
    assert options_of(ChoiceLikelihoodDecoder()) == {"normalize": "tokens"}
    assert options_of(ChoiceDecoder()) == {}
    assert options_of(object()) == {}
    with pytest.raises(ConfigError, match='Did you mean "normalize"'):
        configured(ChoiceLikelihoodDecoder(), {"normalise": "none"})
    with pytest.raises(ConfigError, match="not one of"):
        configured(ChoiceLikelihoodDecoder(), {"normalize": "words"})
    with pytest.raises(ConfigError, match="not a number"):
        configured(SpanDecoder(), {"null_threshold": "high"})


def test_built_in_decoders_bear_the_names_they_are_registered_by() -> None:
    for entry in builtin.instructforge_decoders():
        decoder = entry.load()
        assert decoder.name == entry.name
        assert decoder.needs in ("text", "choice_logprobs", "label_scores", "tag_scores", "spans")


@pytest.mark.parametrize(
    "text", ["not yes " * 2400, "A, B. " * 3000, "yes no " * 2500, "A " * 9000, "不是yes，" * 3000, "x" * 10**6]
)
def test_a_text_made_to_be_slow_is_read_or_refused_at_once(text: str) -> None:
    task = Task("t", summary="t", fields={}, target=Choice(["yes", "no"]))
    for several in (task, evolve(task, target=Choice(["yes", "no"], multiple=True))):
        before = time.process_time()
        choose(text, several, completions=("A", "B"))
        assert time.process_time() - before < 5
