"""P2, exact mask: what is trained is the answer as the chat template emitted it, and its stop token.

The oracle here knows nothing of the encoder: it renders with transformers, decodes ids, and compares texts.
"""

from __future__ import annotations

import pytest
from chat_kit import PAIRS, STOPS, TEMPLATES, chat, chats, check, encoder_of, trained_runs
from hypothesis import HealthCheck, example, given, settings

from instructforge.data import Features, Instruction
from instructforge.encoding.chat import IGNORED, ChatEncoder

TRIMMING = {"llama3", "gemma", "qwen3"}


def rendered(encoder: ChatEncoder, instruction: Instruction) -> str:
    """Return the text of a chat as transformers renders it, the system turn folded where it must be."""
    turns = [{"role": m.role, "content": m.content} for m in instruction.messages]
    if encoder.system_folded and turns[0]["role"] == "system":
        system, turns = turns[0]["content"], turns[1:]
        turns[0]["content"] = f"{system}\n\n{turns[0]['content']}"
    return encoder.tokenizer.apply_chat_template(turns, chat_template=encoder.chat_template, tokenize=False)


@pytest.mark.parametrize(("tokenizer", "template"), PAIRS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
