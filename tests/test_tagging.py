"""Tags: their schemes, the text that says them and back, the decoders of text and of scores, entity F1."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge.data import Example, Instruction, Message, Output, Prediction
from instructforge.decoders import TagsDecoder, TagsTextDecoder
from instructforge.decoders.tags import best_path
from instructforge.errors import ConfigError, DataError
from instructforge.metrics import EntityF1
from instructforge.tagging import MARK, entities, join_tokens, slices, split_text, tags_of, to_iob2
from instructforge.tasks import Choice, Field, Tags, Task, answer_words
from instructforge.templates.template import compile_template

TYPES = {"PER": {"en": "person", "zh": "人名"}, "LOC": {"en": "place", "zh": "地名"}, "creative-work": {}}
TASK = Task("ner", summary="Find entities.", fields={"tokens": Field("the tokens", kind="list")}, target=Tags(TYPES))
OPEN = Task(
    "open-ner",
    summary="Find entities.",
    fields={"text": "the text", "tokens": Field("its tokens", kind="list"), "types": Field("types", kind="list")},
    target=Tags(TYPES, from_field="types", text="text"),
)


def row(
    inputs: dict[str, Any], answer: tuple[str, ...] = (), *, language: str = "en", task: Task = TASK
) -> Instruction:
    example = Example(inputs=inputs, answers=(answer,) if answer else (), id="row", language=language)
    return Instruction(
        example=example,
        task=task.name,
        language=language,
        template="plain",
        template_sha256="0" * 64,
        messages=(Message(role="user", content="?"), Message(role="assistant", content="", trained=True)),
    )


def read(text: str, tokens: Sequence[str], *, language: str = "en", task: Task = TASK, **more: Any) -> Prediction:
    inputs = {"tokens": list(tokens), **more}
    (prediction,) = TagsTextDecoder().decode([Output(text=text)], [row(inputs, language=language, task=task)], task)
    return prediction


# --- Round trip -----------------------------------------------------------------------------------------

WORDS = (
    "Paris",
    "New",
    "York",
    "Ada",
    "a",
    ":",
    ": ",
    "place:",
    "(#2)",
    "(",
    "#2",
    ")",
    "#",
    "2",
    ",",
    "none",
    "-",
    "1.",
)
HAN = (
    "李",
    "白",
    "北京",
    "北",
    "京",
    "：",
    "人名",
    "人名：",
    "、",
    "（第2处）",
    "第",
    "2",
    "处",
    "无",
    "Windows",
    "\u200b",
)
ODD = ("\n", "x\ny", " x", "\ufeff", "{", '["x"]', "```", "O", "B-PER", "\x85y", "a\u3000b", "**")


@st.composite
def tagged(draw: st.DrawFn, words: Sequence[str], types: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    token = st.sampled_from(words) | st.sampled_from(ODD) | st.text(max_size=4)
    tokens = [one for one in draw(st.lists(token, min_size=1, max_size=14)) if one.strip()] or ["x"]
    tags: list[str] = []
    for _ in tokens:
        before = tags[-1] if tags else "O"
        known = ["O", *(f"B-{label}" for label in types), *([f"I{before[1:]}"] * 2 if before != "O" else [])]
        tags.append(draw(st.sampled_from(known)))
    return tokens, tuple(tags)


def there_and_back(task: Task, inputs: dict[str, Any], answer: tuple[str, ...], language: str) -> None:
    task.target.check(answer, inputs)
    said = answer_words(task.target, answer, language, inputs)
    instruction = row(inputs, answer, language=language, task=task)
    (prediction,) = TagsTextDecoder().decode([Output(text=said)], [instruction], task)
    assert (prediction.answer, prediction.notes) == (answer, ()), said
    assert said == said.strip()


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(tagged(WORDS, tuple(TYPES)))
def test_english_tags_come_back_from_their_text(sentence: tuple[list[str], tuple[str, ...]]) -> None:
    there_and_back(TASK, {"tokens": sentence[0]}, sentence[1], "en")


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(tagged(HAN, tuple(TYPES)))
def test_chinese_tags_come_back_from_their_text(sentence: tuple[list[str], tuple[str, ...]]) -> None:
    there_and_back(TASK, {"tokens": sentence[0]}, sentence[1], "zh")


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(tagged((*WORDS, *HAN), ("PER", "person", "B-x")), st.sampled_from(["en", "zh", "de"]), st.booleans())
def test_tags_of_any_types_come_back_with_a_running_text(
    sentence: tuple[list[str], tuple[str, ...]], language: str, spaced: bool
) -> None:
    tokens, answer = sentence
    text = " \n".join(tokens) if spaced else "".join(tokens)
    there_and_back(OPEN, {"text": text, "tokens": tokens, "types": ["PER", "person", "B-x"]}, answer, language)


def test_a_mark_is_written_only_where_it_is_needed() -> None:
    tokens = ["Paris", "is", "not", "Paris", ",", "Texas"]
    both = ("B-LOC", "O", "O", "B-LOC", "O", "B-LOC")
    second = ("O", "O", "O", "B-LOC", "O", "O")
    assert TASK.target.words(both, "en", {"tokens": tokens}) == "place: Paris\nplace: Paris\nplace: Texas"
    assert TASK.target.words(second, "en", {"tokens": tokens}) == "place: Paris (#2)"
    assert TASK.target.words(second, "zh", {"tokens": tokens}) == "地名：Paris（第2处）"
    assert TASK.target.words(("O",) * 6, "en", {"tokens": tokens}) == "none"
    assert TASK.target.words(("O",) * 6, "zh", {"tokens": tokens}) == "无"


def test_a_text_that_ends_like_a_mark_carries_one() -> None:
    tokens = ["Rocky", "(#2)", "ran"]
    said = TASK.target.words(("B-creative-work", "I-creative-work", "O"), "en", {"tokens": tokens})
    assert said == "creative-work: Rocky (#2) (#1)"
    assert MARK.search("Rocky（第2处）")


def test_entities_are_written_as_they_stand_in_the_text() -> None:
    inputs = {"text": "Dr.No met  O'Hara.", "tokens": ["Dr", ".", "No", "met", "O", "'", "Hara", "."], "types": ["PER"]}
    answer = ("B-PER", "I-PER", "I-PER", "O", "B-PER", "I-PER", "I-PER", "O")
    assert OPEN.target.words(answer, "en", inputs) == "person: Dr.No\nperson: O'Hara"


def test_two_types_with_the_same_words_keep_their_names() -> None:
    inputs = {"text": "", "tokens": ["Ada"], "types": ["PER", "person"]}
    assert OPEN.target.words(("B-PER",), "en", inputs) == "PER: Ada"


def test_old_targets_with_two_arguments_still_serve() -> None:
    class Old:
        def words(self, answer: Any, language: str) -> str:
            return f"{answer} in {language}"

    assert answer_words(Old(), "x", "en", {}) == "x in en"  # type: ignore[arg-type]
    assert answer_words(Choice(["a"]), "a", "en", {}) == "a"


def test_templates_list_the_types_and_complete_with_the_entities() -> None:
    source = (
        "{% block prompt %}{{ tokens | join }}（{{ choices | join('、') }}）{% endblock %}"
        "{% block completion %}答：{{ answer }}{% endblock %}"
    )
    template = compile_template(source, task=TASK, language="zh", name="t")
    made = template.render(Example(inputs={"tokens": ["李", "白"]}, answers=(("B-PER", "I-PER"),)), seed=1)
    assert made.prompt[0].content == "李白（人名、地名、creative-work）"
    assert made.completion == "答：人名：李白"
    (prediction,) = TagsTextDecoder().decode([Output(text=made.completion)], [made], TASK)
    assert prediction.answer == ("B-PER", "I-PER")


# --- What is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", " x", "a: b", "人：名", "none", "NONE", "无", "a\nb"])
def test_types_that_could_not_be_read_back_are_refused(word: str) -> None:
    with pytest.raises(ConfigError):
        Tags({"PER": {"en": word}})
    with pytest.raises(DataError, match="type"):
        OPEN.target.check(("O",), {"tokens": ["x"], "text": "x", "types": ["PER", word]})


@pytest.mark.parametrize(
    ("tokens", "answer", "rule"),
    [
        (["a"], ("O", "O"), "tags-length"),
        (["a"], "O", "tags-length"),
        (["a"], ("B-ORG",), "label-unknown"),
        (["a"], ("E-PER",), "label-unknown"),
        (["a", "b"], ("O", "I-PER"), "tags-transition"),
        (["a", "b"], ("B-LOC", "I-PER"), "tags-transition"),
        (["a", ""], ("O", "O"), "token-empty"),
        (["a", 3], ("O", "O"), "token-empty"),
    ],
)
def test_answers_that_are_not_well_formed_are_refused(tokens: list[Any], answer: Any, rule: str) -> None:
    with pytest.raises(DataError) as caught:
        TASK.target.check(answer, {"tokens": tokens})
    assert caught.value.rule == rule


def test_a_text_of_other_tokens_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        OPEN.target.check(("O",), {"tokens": ["Ada"], "text": "Adam", "types": ["PER"]})
    assert caught.value.rule == "tokens-not-of-text"


# --- Schemes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "expected", "notes"),
    [
        ("O B-A I-A B-A", "O B-A I-A B-A", ()),
        ("I-A I-A O I-B", "B-A I-A O B-B", ("tags-from-iob1",)),
        ("I-A B-A I-A I-B", "B-A B-A I-A B-B", ("tags-from-iob1",)),
        ("B-A O I-A", "B-A O B-A", ("tags-repaired",)),
        ("B-A I-B I-B", "B-A B-B I-B", ("tags-repaired",)),
        ("S-A B-A M-A E-A S-B", "B-A B-A I-A I-A B-B", ("tags-from-bioes",)),
        ("U-A B-A L-A O", "B-A B-A I-A O", ("tags-from-bioes",)),
        ("B_A E_A", "B-A I-A", ("tags-from-bioes",)),
        ("B-A O S-A", "B-A O B-A", ("tags-from-bioes", "tags-repaired")),
        ("E-A E-A", "B-A B-A", ("tags-from-bioes", "tags-repaired")),
        ("S-A I-A", "B-A B-A", ("tags-from-bioes", "tags-repaired")),
        ("A A O B B", "B-A I-A O B-B I-B", ("tags-from-io",)),
        ("O O", "O O", ()),
        ("B-creative-work I-creative-work", "B-creative-work I-creative-work", ()),
    ],
)
def test_every_scheme_becomes_iob2(tags: str, expected: str, notes: tuple[str, ...]) -> None:
    assert to_iob2(tags.split()) == (tuple(expected.split()), notes)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["O", *(f"{mark}-{label}" for mark in "BIESMLU" for label in "AB"), "A"]), max_size=12))
def test_whatever_the_tags_the_outcome_is_valid_and_settled(tags: list[str]) -> None:
    made, notes = to_iob2(tags)
    assert len(made) == len(tags)
    assert tags_of(entities(made), len(made)) == made
    assert to_iob2(made) == (made, ())
    assert [tag == "O" for tag in made] == [tag == "O" for tag in tags]
    assert bool(notes) or made == tuple(tags)


# --- Text and tokens --------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(st.text(max_size=40), st.sampled_from([None, True, False]))
def test_tokens_of_a_text_are_all_of_it_but_white_space(text: str, characters: bool | None) -> None:
    spans = split_text(text, characters=characters)
    tokens = [text[start:end] for start, end in spans]
    assert "".join(tokens) == "".join(text.split())
    assert slices(tokens, text) == spans


def test_chinese_is_split_into_characters_and_english_into_words() -> None:
    def split(text: str) -> list[str]:
        return [text[start:end] for start, end in split_text(text)]

    assert split("他用iPad写。") == list("他用iPad写。")
    assert split("Ada's iPad mini（苹果）") == ["Ada", "'", "s", "iPad", "mini", "（", "苹", "果", "）"]
    assert join_tokens(["U", ".", "S", "。"]) == "U . S。"


# --- Text of models ---------------------------------------------------------------------------------------

TOKENS = ["Ada", "Lovelace", "left", "London", "and", "Paris", ",", "sang", "Ada"]
WANTED = ("B-PER", "I-PER", "O", "B-LOC", "O", "B-LOC", "O", "O", "O")


@pytest.mark.parametrize(
    "text",
    [
        "person: Ada Lovelace\nplace: London\nplace: Paris",
        "1. Person: Ada Lovelace\n2. Place: London\n3. Place: Paris",
        "- PER - Ada Lovelace\n- LOC - London\n- LOC - Paris",
        '* **person**: "Ada Lovelace"\n* **place**: London\n* **place**: Paris',
        "place: Paris\nperson: Ada Lovelace\nplace: London",
        "Ada Lovelace (person)\nLondon (place)\nParis (place)",
        "Ada Lovelace - person\nLondon - place\nParis - place",
        "Ada Lovelace: PER\nLondon: LOC\nParis: LOC",
        "person: ada lovelace\nplaces: LONDON, Paris",
        "person: Ada Lovelace\nplace: London & Paris\ncreative-work: none",
        "Persons:\n- Ada Lovelace\n\nPlaces:\n- London\n- Paris",
        "人名：Ada Lovelace\n地名：London、Paris",
        "PER\tAda Lovelace\nLOC\tLondon\nLOC\tParis",
        '{"PER": ["Ada Lovelace"], "LOC": ["London", "Paris"]}',
        '```json\n[{"type": "person", "text": "Ada Lovelace"}, {"type": "place", "text": "London"},'
        ' {"entity": "Paris", "label": "LOC"}]\n```',
        '{"entities": [["Ada Lovelace", "PER"], ["LOC", "London"], ["Paris", "LOC"]]}',
        '{"Ada Lovelace": "PER", "London": "LOC", "Paris": "LOC"}',
        "B-PER I-PER O B-LOC O B-LOC O O O",
        "['B-PER', 'I-PER', 'O', 'B-LOC', 'O', 'B-LOC', 'O', 'O', 'O']",
    ],
)
def test_models_may_write_entities_in_many_ways(text: str) -> None:
    prediction = read(text, TOKENS)
    assert prediction.answer == WANTED
    assert prediction.notes == ()


@pytest.mark.parametrize(
    "text", ["none", "None.", "No entities found.", "There are no entities in the text.", "[]", "{}"]
)
def test_that_there_is_nothing_is_said_in_many_ways(text: str) -> None:
    assert read(text, TOKENS).answer == ("O",) * 9


@pytest.mark.parametrize("text", ["无", "无。", "没有实体", "文中没有任何命名实体。", '{"人名": [], "地名": []}'])
def test_and_in_chinese(text: str) -> None:
    assert read(text, list("你好"), language="zh").answer == ("O", "O")


def test_what_is_not_in_the_sentence_is_told_with_counts_and_the_rest_counts() -> None:
    text = "person: Ada Lovelace\nperson: Charles Babbage\nplace: Rome\nplace: Lond\nplace: Paris\nplace: Paris"
    prediction = read(text, TOKENS)
    assert prediction.answer == ("B-PER", "I-PER", "O", "O", "O", "B-LOC", "O", "O", "O")
    assert prediction.notes == (
        "not-in-text: 2 (person: Charles Babbage; place: Rome)",
        "inside-a-token: 1 (place: Lond)",
        "place-taken: 1 (place: Paris)",
    )


def test_lines_that_name_no_type_are_told() -> None:
    prediction = read("Here you are!\nperson: Ada Lovelace", TOKENS)
    assert prediction.answer == ("B-PER", "I-PER", *["O"] * 7)
    assert prediction.notes == ("line-unread: 1 (Here you are!)",)
    unknown = read('[{"type": "animal", "text": "Ada"}, {"type": "PER", "text": "Ada"}]', TOKENS)
    assert unknown.notes == ("type-unknown: 1 (animal: Ada)",)


def test_a_mark_names_the_place() -> None:
    assert read("person: Ada (#2)", TOKENS).answer == (*["O"] * 8, "B-PER")
    assert read("人名：Ada（第2处）", TOKENS, language="zh").answer == (*["O"] * 8, "B-PER")
    assert read("person: Ada (#9)", TOKENS).answer == ("B-PER", *["O"] * 8)


@pytest.mark.parametrize("text", ["", "I do not know.", "?" * 5000, "\x00", "{{ answer }}", "animal: Ada", "[1, 2]"])
def test_a_text_that_names_nothing_is_an_error_not_an_empty_answer(text: str) -> None:
    prediction = read(text, TOKENS)
    assert prediction.answer is None
    assert prediction.error


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["person", ":", "Ada", "\n", "(", ")", "1.", "[", "{", '"', ","])).map(" ".join)
)
def test_whatever_a_model_writes_there_is_one_prediction(text: str) -> None:
    prediction = read(text, TOKENS)
    assert (prediction.answer is None) == (prediction.error is not None)
    if prediction.answer is not None:
        TASK.target.check(prediction.answer, {"tokens": TOKENS})


def test_long_junk_is_read_in_time() -> None:
    for text in (": " * 20_000, "person: " * 5_000, "(" * 20_000, " " * 50_000 + "x", '{"a":' * 5_000, "- " * 20_000):
        read(text, TOKENS * 20)


# --- Scores -----------------------------------------------------------------------------------------------

KINDS = Tags(["A", "B"]).tags({})


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.floats(-9, 0), min_size=5, max_size=5), min_size=n, max_size=n)
    )
)
def test_the_best_path_is_the_best_of_all_valid_ones(scores: list[list[float]]) -> None:
    def total(path: Sequence[int]) -> float:
        return sum(row[place] for row, place in zip(scores, path, strict=True))

    valid = [path for path in product(range(5), repeat=len(scores)) if _is_valid([KINDS[place] for place in path])]
    found = best_path(scores, KINDS)
    assert _is_valid([KINDS[place] for place in found])
    assert total(found) == pytest.approx(max(map(total, valid)))


def _is_valid(tags: Sequence[str]) -> bool:
    return tags_of(entities(tags), len(tags)) == tuple(tags)


def test_scores_become_tags_with_their_probability() -> None:
    task = Task("t", summary="", fields={"tokens": Field("", kind="list")}, target=Tags(["A"]))
    scores = ((-3.0, -4.0, -0.1), (-2.0, -3.0, -0.2))  # I-A is likeliest and impossible at the start
    decoder = TagsDecoder()
    (found,) = decoder.decode([Output(tag_scores=scores)], [row({"tokens": ["x", "y"]}, task=task)], task)
    assert found.answer == ("B-A", "I-A")
    assert found.raw == "A: x y"
    assert found.score == pytest.approx((np.exp(-4.0) + np.exp(-0.2)) / 2)
    wrong = [Output(), Output(tag_scores=scores[:1]), Output(tag_scores=((0.0,), (0.0,)))]
    wrong.append(Output(tag_scores=((float("nan"),) * 3,) * 2))
    for prediction in decoder.decode(wrong, [row({"tokens": ["x", "y"]}, task=task)] * 4, task):
        assert prediction.answer is None
        assert prediction.error


# --- Metric -----------------------------------------------------------------------------------------------

_ANY = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=8)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        _ANY.flatmap(
            lambda gold: st.tuples(
                st.just(gold), st.lists(st.sampled_from(KINDS), min_size=len(gold), max_size=len(gold))
            )
        ),
        min_size=1,
        max_size=5,
    )
)
@pytest.mark.filterwarnings("ignore")
def test_entity_f1_is_seqevals_strict_one(rows: list[tuple[list[str], list[str]]]) -> None:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    examples = [Example(inputs={"tokens": gold}, answers=(tuple(gold),)) for gold, _ in rows]
    predictions = [Prediction(id="", answer=tuple(said)) for _, said in rows]
    metric = EntityF1()
    figure = metric.reduce(metric.prepare(predictions, examples, TASK), np.arange(len(rows)))
    expected = f1_score([gold for gold, _ in rows], [said for _, said in rows], mode="strict", scheme=IOB2)
    assert figure == pytest.approx(float(expected))


def test_an_undecoded_row_names_nothing_and_resamples_repeat_rows() -> None:
    examples = [Example(inputs={"tokens": ["x"]}, answers=(("B-A",),)) for _ in range(2)]
    predictions = [Prediction(id="", answer=("B-A",)), Prediction(id="", answer=None, error="?")]
    metric = EntityF1()
    prepared = metric.prepare(predictions, examples, TASK)
    assert metric.reduce(prepared, np.array([0, 1])) == pytest.approx(2 / 3)
    assert metric.reduce(prepared, np.array([0, 0])) == 1.0
    assert metric.reduce(prepared, np.array([1])) == 0.0
    assert metric.left_out([Example(inputs={}, answers=(("O",),))], TASK) == "no row has an entity"
    assert metric.left_out(examples, TASK) == ""


def test_json_of_the_target_goes_into_the_contract() -> None:
    from instructforge.contract import target_to_json

    value = json.loads(json.dumps(target_to_json(OPEN.target)))
    assert value["options"]["from_field"] == "types"
    assert value["options"]["within"] == "tokens"
