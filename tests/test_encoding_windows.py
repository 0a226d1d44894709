"""Windows and span labels: equal to transformers' own windows, and every labelled token stretch is the answer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from chat_kit import CORPUS, tokenizer_named
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from instructforge.data import NO_ANSWER, SpanAnswer
from instructforge.encoding.fields import field_texts, question_and_passage
from instructforge.encoding.windows import PairMarks, SpanWindow, WindowEncoder
from instructforge.errors import ConfigError, LengthError
from instructforge.tasks import Field, Span, Task

MODELS = Path.home() / ".cache" / "instructforge" / "models"
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


def _bert() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    tokenizer.enable_truncation(16)  # as the one of MiniLM, which limits itself to 128
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _xlm() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=250, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


TOKENIZERS = {"bert": _bert(), "xlm": _xlm()}
words = st.lists(
    st.sampled_from(["The quick", " fox", " ", "\n", "狐狸", "在北京", "，", "Paris", " 42", "é", "😀", ". "]),
    min_size=1,
    max_size=60,
).map("".join)


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, str, SpanAnswer]:
    passage = draw(words.filter(lambda text: text.strip() != ""))
    start = draw(st.integers(0, len(passage) - 1))
    end = draw(st.integers(start + 1, min(len(passage), start + 12)))
    return draw(st.sampled_from(["Who?", "谁？", "What is it, 狐狸?"])), passage, SpanAnswer(passage[start:end], start)


def covered(window: SpanWindow, passage: str) -> str:
    first, last = window.offsets[window.start], window.offsets[window.end]
    assert first is not None
    assert last is not None
    return passage[first[0] : last[1]]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(row=questions(), max_length=st.integers(24, 60), stride=st.integers(0, 8))
def test_windows_are_transformers_own(
    name: str, row: tuple[str, str, SpanAnswer], max_length: int, stride: int
) -> None:
    tokenizer, (question, passage, gold) = TOKENIZERS[name], row
    encoder = WindowEncoder(tokenizer, max_length=max_length, stride=stride)
    (windows,) = encoder.encode([question], [passage], [gold])
    assert not isinstance(windows, LengthError)
    expected = tokenizer(
        question,
        passage,
        truncation="only_second",
        max_length=max_length,
        stride=stride if encoder.stats.narrowed == 0 else 0,
        return_overflowing_tokens=True,
    )
    if encoder.stats.narrowed == 0:
        assert [list(window.input_ids) for window in windows] == expected["input_ids"]
        if "token_type_ids" in tokenizer.model_input_names:
            assert [window.token_type_ids for window in windows] == expected["token_type_ids"]
    assert all(len(window.input_ids) <= max_length for window in windows)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=40, deadline=None)
@given(row=questions())
def test_labels_cover_the_answer(name: str, row: tuple[str, str, SpanAnswer]) -> None:
    """Where an answer's ends are ends of tokens the label is the answer; else it is the least that covers it."""
    question, passage, gold = row
    encoder = WindowEncoder(TOKENIZERS[name], max_length=40, stride=10)
    (windows,) = encoder.encode([question], [passage], [gold])
    assert not isinstance(windows, LengthError)
    labelled = [window for window in windows if window.start != window.null]
    assert bool(labelled) == (encoder.stats.outside == 0)
    for window in labelled:
        assert gold.text.strip() in covered(window, passage)
        if encoder.stats.inexact == 0:
            assert covered(window, passage) == gold.text.strip()
        inner = [offset for offset in window.offsets[window.start : window.end + 1] if offset is not None]
        begin = gold.start + len(gold.text) - len(gold.text.lstrip())
        assert inner[0][1] > begin
        assert inner[-1][0] < begin + len(gold.text.strip())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_window_but_those_with_the_answer_says_null(name: str) -> None:
    passage = "The quick fox. " * 12 + "It met 狐狸 in Paris. " + "A dog. " * 12
    encoder = WindowEncoder(TOKENIZERS[name], max_length=48, stride=12)
    gold = SpanAnswer("狐狸", passage.index("狐狸"))
    (windows,) = encoder.encode(["Who?"], [passage], [gold])
    assert not isinstance(windows, LengthError)
    assert len(windows) >= 3
    assert {covered(window, passage) for window in windows if window.start != window.null} == {"狐狸"}
    assert all(window.end == window.null == 0 for window in windows if window.start == window.null)
    assert encoder.stats.to_json() == {
        "rows": 1,
        "windows": len(windows),
        "too_long": 0,
        "without_answer": 0,
        "outside": 0,
        "inexact": 0,
        "narrowed": 0,
    }


def test_no_answer_and_unlabelled_rows() -> None:
    encoder = WindowEncoder(TOKENIZERS["bert"], max_length=32, stride=8)
    none, unknown = encoder.encode(["?", "?"], ["The fox. " * 20] * 2, [NO_ANSWER, None])
    assert not isinstance(none, LengthError)
    assert not isinstance(unknown, LengthError)
    assert {(window.start, window.end) for window in none} == {(0, 0)}
    assert {(window.start, window.end) for window in unknown} == {(-1, -1)}
    assert (encoder.stats.without_answer, encoder.stats.outside) == (1, 0)


def test_an_answer_that_fits_no_window_is_counted() -> None:
    encoder = WindowEncoder(TOKENIZERS["bert"], max_length=24, stride=4)
    passage = "The quick brown fox jumps over the lazy dog. " * 6
    (windows,) = encoder.encode(["Who?"], [passage], [SpanAnswer(passage[:200], 0)])
    assert not isinstance(windows, LengthError)
    assert {window.start for window in windows} == {0}
    assert encoder.stats.outside == 1


def test_a_question_that_fills_a_window_is_an_error_of_its_row() -> None:
    encoder = WindowEncoder(TOKENIZERS["bert"], max_length=24)
    good, bad = encoder.encode(["Who?", "fox " * 50], ["The fox.", "The fox."])
    assert not isinstance(good, LengthError)
    assert isinstance(bad, LengthError)
    assert "no room for its passage" in str(bad)
    assert (encoder.stats.rows, encoder.stats.too_long) == (2, 1)


def test_a_long_question_narrows_the_overlap() -> None:
    encoder = WindowEncoder(TOKENIZERS["bert"], max_length=40, stride=30)
    (windows,) = encoder.encode(["fox " * 12], ["The dog. " * 30])
    assert not isinstance(windows, LengthError)
    assert encoder.stats.narrowed == 1
    assert len(windows) < 30


def test_marks_in_the_data_stay_text() -> None:
    tokenizer = TOKENIZERS["xlm"]
    encoder = WindowEncoder(tokenizer, max_length=64)
    (windows,) = encoder.encode(["a </s> b"], ["c <s> d </s>"])
    assert not isinstance(windows, LengthError)
    marks = [index for index in windows[0].input_ids if index in (2, 3)]
    assert marks == [2, 3, 3, 3]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=30, deadline=None)
@given(passage=words)
def test_offsets_are_the_passages_characters(name: str, passage: str) -> None:
    encoder = WindowEncoder(TOKENIZERS[name], max_length=512)
    (windows,) = encoder.encode(["Who?"], [passage])
    assert not isinstance(windows, LengthError)
    seen = {place for offset in windows[0].offsets if offset is not None for place in range(*offset)}
    assert seen == {place for place, char in enumerate(passage) if not char.isspace()}


def test_a_tokenizer_without_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match="pairs"):
        PairMarks.of(tokenizer_named("byte-level"))


def test_fields_are_read_in_their_order() -> None:
    task = Task(
        "t",
        summary="",
        fields={"context": "passage", "question": "asked", "history": Field("turns", kind="turns", optional=True)},
        target=Span(within="context"),
    )
    inputs = {"question": "谁？", "context": " The fox. ", "history": [{"role": "user", "content": "Hi"}]}
    assert list(field_texts(task, inputs).items()) == [
        ("context", " The fox. "),
        ("question", "谁？"),
        ("history", "user: Hi"),
    ]
    assert question_and_passage(task, inputs, "context") == ("谁？\nuser: Hi", " The fox. ")
    assert question_and_passage(task, {**inputs, "history": None}, "context") == ("谁？", " The fox. ")


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize(
    ("model", "passage", "answer"),
    [
        ("minilm", "The Normans were the people who in 1066 came from Normandy. " * 20, "came from Normandy"),
        ("me5-small", "诺曼人在1066年从诺曼底来到英格兰。" * 40, "诺曼底"),
    ],
)
def test_starter_models(model: str, passage: str, answer: str) -> None:
    if not (MODELS / model).is_dir():
        pytest.skip(f"the starter model {model} is not in the cache (instructforge models fetch {model})")
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(MODELS / model)
    encoder = WindowEncoder(tokenizer, max_length=96, stride=32)
    (windows,) = encoder.encode(["Who came?"], [passage], [SpanAnswer(answer, passage.rindex(answer))])
    assert not isinstance(windows, LengthError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = tokenizer(
            "Who came?", passage, truncation="only_second", max_length=96, stride=32, return_overflowing_tokens=True
        )
    assert [list(window.input_ids) for window in windows] == expected["input_ids"]
    assert {covered(window, passage) for window in windows if window.start != window.null} == {answer}
