"""P2, exact mask: what is trained is the answer as the chat template emitted it, and its stop token.

The oracle here knows nothing of the encoder: it renders with transformers, decodes ids, and compares texts.
"""

from __future__ import annotations

import pytest
from chat_kit import STOPS, TEMPLATES, TOKENIZERS, chat, tokenizer_named
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from instructforge.data import Features, Instruction
from instructforge.encoding.chat import IGNORED, ChatEncoder

PAIRS = [(tokenizer, template) for tokenizer in TOKENIZERS for template in TEMPLATES]
TRIMMING = {"llama3", "gemma", "qwen3"}

pieces = st.sampled_from(
    ["yes", "No", " ", "  ", "\n", "\n\n", "巴黎", "。", "😀", "👩‍👩‍👧", "é", "e\u0301", "42", "-", "the fox", "北京大学", "\t", "ﬁ"]
)
texts = st.lists(pieces, min_size=1, max_size=6).map("".join).filter(lambda text: text.strip() != "")


@st.composite
def chats(draw: st.DrawFn) -> Instruction:
    """Draw one to eight turns: an answer behind up to four questions, with a system turn or not."""
    turns = []
    if draw(st.booleans()):
        turns.append(("system", draw(texts)))
    for _ in range(draw(st.integers(1, 4))):
        turns += [("user", draw(texts)), ("assistant", draw(texts))]
    return chat(*turns)


def encoder_of(tokenizer: str, template: str) -> ChatEncoder:
    bos = {"llama3": "<|begin_of_text|>", "gemma": "<bos>"}.get(template, "<s>")
    return ChatEncoder(tokenizer_named(tokenizer, bos=bos), chat_template=TEMPLATES[template])


def rendered(encoder: ChatEncoder, instruction: Instruction) -> str:
    """Return the text of a chat as transformers renders it, the system turn folded where it must be."""
    turns = [{"role": m.role, "content": m.content} for m in instruction.messages]
    if encoder.system_folded and turns[0]["role"] == "system":
        system, turns = turns[0]["content"], turns[1:]
        turns[0]["content"] = f"{system}\n\n{turns[0]['content']}"
    return encoder.tokenizer.apply_chat_template(turns, chat_template=encoder.chat_template, tokenize=False)


def trained_runs(features: Features) -> list[list[int]]:
    """Return the runs of trained ids, in order."""
    runs: list[list[int]] = [[]]
    for label in features.labels:
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(label)
    return [run for run in runs if run]


def spoken(tokenizer, text: str) -> str:
    """Return a text as the tokenizer tells it back."""
    return tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)).strip()


def check(encoder: ChatEncoder, instruction: Instruction, features: Features, answers: list[str], stop: str) -> None:
    tokenizer = encoder.tokenizer
    runs = trained_runs(features)
    assert len(runs) == len(answers)
    stop_id = tokenizer.convert_tokens_to_ids(stop)
    for run, answer in zip(runs, answers, strict=True):
        assert run[-1] == stop_id
        assert run.count(stop_id) == 1
        assert tokenizer.decode(run[:-1]).strip() == spoken(tokenizer, answer.strip())
    assert all(label in (IGNORED, index) for label, index in zip(features.labels, features.input_ids, strict=True))
    prompt = encoder.prompt_ids(instruction)
    assert list(features.input_ids[: len(prompt)]) == prompt
    assert set(features.attention_mask) == {1}


@pytest.mark.parametrize(("tokenizer", "template"), PAIRS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(instruction=chats())
@example(chat(("user", "?"), ("assistant", "\n\nyes")))
@example(chat(("user", "? "), ("assistant", "\nNo\n"), ("user", "\n"), ("assistant", "yes ")))
@example(chat(("user", "?"), ("assistant", " yes"), ("user", "?"), ("assistant", "42")))
def test_trained_ids_are_answers_and_stops(tokenizer: str, template: str, instruction: Instruction) -> None:
    encoder = encoder_of(tokenizer, template)
    answers = [m.content for m in instruction.messages if m.role == "assistant"]
    for train, expected in (("last", answers[-1:]), ("all", answers)):
        (features,) = encoder.encode([instruction], train=train)
        assert isinstance(features, Features), features
        check(encoder, instruction, features, expected, STOPS[template])


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(instruction=chats())
def test_bytes_are_the_templates_own(template: str, instruction: Instruction) -> None:
    """With a tokenizer that loses nothing, ids decode to the template's text, the trained ones to the answers."""
    encoder = encoder_of("byte-level", template)
    (features,) = encoder.encode([instruction], train="all")
    assert isinstance(features, Features), features
    text = rendered(encoder, instruction)
    assert encoder.tokenizer.decode(features.input_ids) == text
    untrained = [i for i, label in zip(features.input_ids, features.labels, strict=True) if label == IGNORED]
    rest = text
    for run in trained_runs(features):
        written = encoder.tokenizer.decode(run)
        assert rest.count(written)
        rest = rest.replace(written, "", 1) if rest.count(written) == 1 else rest
    if all(text.count(encoder.tokenizer.decode(run)) == 1 for run in trained_runs(features)):
        assert encoder.tokenizer.decode(untrained) == rest


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - TRIMMING - {"mistral"}))
@settings(max_examples=40, deadline=None)
@given(instruction=chats())
def test_untrimmed_answers_keep_every_byte(template: str, instruction: Instruction) -> None:
    encoder = encoder_of("byte-level", template)
    (features,) = encoder.encode([instruction], train="all")
    assert isinstance(features, Features), features
    answers = [m.content for m in instruction.messages if m.role == "assistant"]
    written = [encoder.tokenizer.decode(run) for run in trained_runs(features)]
    assert written == [answer + STOPS[template] for answer in answers]
