"""P1, same bytes: a prompt has the same ids in training, in prediction, and after the model's folder is read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from chat_kit import (
    LLAMA3,
    PAIRS,
    TEMPLATES,
    TOKENIZERS,
    chat,
    chats,
    encoder_of,
    texts,
    tokenizer_named,
    with_passage,
)
from hypothesis import HealthCheck, given, settings
from transformers import AutoTokenizer

from instructforge.contract import Contract
from instructforge.data import Features, Instruction
from instructforge.encoding import ChatEncoder, tokenizer_sha256
from instructforge.errors import ContractMismatchError

DATED = "{{ 'Today is ' + strftime_now('%d %B %Y') + '.\n' }}" + LLAMA3


def unlabelled(instruction: Instruction, answer: str = "") -> Instruction:
    *prompt, last = instruction.messages
    return evolve(instruction, messages=(*prompt, evolve(last, content=answer, trained=False)))


def contract_of(encoder: ChatEncoder) -> Contract:
    return Contract(
        task="t",
        family="causal",
        chat_template=encoder.chat_template,
        tokenizer_sha256=tokenizer_sha256(encoder.tokenizer),
        encoding={**encoder.options(), "max_new_tokens": 32},
        stop_ids=encoder.stop_ids,
        stop_texts=encoder.stop_texts,
        pinned=encoder.pinned,
    )


def reopened(encoder: ChatEncoder, folder: Path) -> ChatEncoder:
    contract_of(encoder).write(folder, {"transformers": "x"})
    encoder.tokenizer.save_pretrained(folder)
    return ChatEncoder.from_contract(AutoTokenizer.from_pretrained(folder), Contract.read(folder))


@pytest.mark.parametrize(("tokenizer", "template"), PAIRS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(instruction=chats(), other=texts)
def test_training_prompt_is_prediction_prompt(
    tokenizer: str, template: str, instruction: Instruction, other: str
) -> None:
    encoder = encoder_of(tokenizer, template)
    prompt = encoder.prompt_ids(instruction)
    assert prompt == encoder.prompt_ids(unlabelled(instruction))
    assert prompt == encoder.prompt_ids(unlabelled(instruction, other))
    assert encoder.prompts([instruction, unlabelled(instruction)]) == [prompt, prompt]
    for train in ("last", "all"):
        (features,) = encoder.encode([instruction], train=train)
        assert isinstance(features, Features), features
        assert list(features.input_ids[: len(prompt)]) == prompt


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - {"qwen3"}))
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_prompt_is_what_transformers_gives(tokenizer: str, template: str) -> None:
    encoder = encoder_of(tokenizer, template)
    turns = [("user", "What is it?"), ("assistant", "它是狐狸。"), ("user", "真的吗？ 😀"), ("assistant", "Yes.")]
    for instruction in (chat(*turns), chat(*turns[:2])):
        expected = encoder.tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in instruction.prompt],
            chat_template=TEMPLATES[template],
            add_generation_prompt=True,
            return_dict=False,
        )
        assert encoder.prompt_ids(instruction) == expected


@pytest.mark.parametrize("template", [*TEMPLATES, "dated"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_model_folder_carries_its_bytes(tokenizer: str, template: str, tmp_path: Path) -> None:
    source = TEMPLATES.get(template, DATED)
    encoder = ChatEncoder(tokenizer_named(tokenizer), chat_template=source, max_length=200)
    again = reopened(encoder, tmp_path)
    rows = [
        chat(
            ("system", "Be brief."),
            ("user", "法国的首都？"),
            ("assistant", "巴黎。"),
            ("user", "?"),
            ("assistant", "Yes."),
        ),
        with_passage("Read: ", "The quick fox. 狐狸 😀 " * 60, "\nWho?", "the fox"),
    ]
    assert again.prompts(rows) == encoder.prompts(rows)
    assert again.encode(rows) == encoder.encode(rows)
    assert contract_of(again).sha256 == contract_of(encoder).sha256


def test_the_date_is_pinned(tmp_path: Path) -> None:
    encoder = ChatEncoder(tokenizer_named("byte-level"), chat_template=DATED, pinned={"date": "1999-12-31"})
    again = reopened(encoder, tmp_path)
    for one in (encoder, again):
        assert one.prompt_text(chat(("user", "Hi"))).startswith("Today is 31 December 1999.\n")


@settings(max_examples=60, deadline=None)
@given(passage=texts.map(lambda text: text * 40), answer=texts, other=texts)
def test_cutting_does_not_look_at_the_answer(passage: str, answer: str, other: str) -> None:
    encoder = ChatEncoder(tokenizer_named("byte-level"), chat_template=LLAMA3, max_length=192, answer_tokens=96)
    row = with_passage("Passage: ", passage, "\nQuestion: what?", answer)
    prompt = encoder.prompt_ids(row)
    assert prompt == encoder.prompt_ids(unlabelled(row, other))
    (features,) = encoder.encode([row])
    assert isinstance(features, Features), features
    assert list(features.input_ids[: len(prompt)]) == prompt
    assert len(features.input_ids) <= 192


def test_another_tokenizer_template_or_setting_is_refused(tmp_path: Path) -> None:
    encoder = ChatEncoder(tokenizer_named("byte-level"), chat_template=LLAMA3, max_length=200)
    contract_of(encoder).write(tmp_path)
    contract = Contract.read(tmp_path)
    with pytest.raises(ContractMismatchError) as caught:
        ChatEncoder.from_contract(tokenizer_named("unigram"), contract)
    assert caught.value.differences[0].startswith("tokenizer_sha256: ")
    for key, value in (("system_folded", True), ("closing", "</s>"), ("heading", "<think>")):
        changed = evolve(contract, encoding={**contract.encoding, key: value})
        with pytest.raises(ContractMismatchError, match=f"encoding.{key}"):
            ChatEncoder.from_contract(tokenizer_named("byte-level"), changed)


def test_a_contract_changed_by_hand_is_refused(tmp_path: Path) -> None:
    encoder = ChatEncoder(tokenizer_named("byte-level"), chat_template=LLAMA3)
    path = contract_of(encoder).write(tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["contract"]["chat_template"] += " "
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ContractMismatchError, match="changed after it was written"):
        Contract.read(tmp_path)


def test_chunks_do_not_change_ids() -> None:
    encoder = ChatEncoder(tokenizer_named("byte-fallback"), chat_template=LLAMA3)
    rows = [
        chat(("user", "q " * n), ("assistant", "a"), ("user", "<|eot_id|>" * (n % 2)), ("assistant", "b"))
        for n in range(1, 9)
    ]
    whole = encoder.encode(rows, train="all")
    assert whole == [encoder.encode([row], train="all")[0] for row in rows]
