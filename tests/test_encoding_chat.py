"""The causal encoder: chat templates of every habit, control tokens, reasoning, cutting, errors and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from chat_kit import (
    CHATML,
    GEMMA,
    LLAMA3,
    MISTRAL,
    QWEN3,
    TEMPLATES,
    TOKENIZERS,
    chat,
    chats,
    check,
    tokenizer_named,
    trained_runs,
    with_passage,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge.data import Example, Features, Instruction, Landing, Message, Origin
from instructforge.encoding import ChatEncoder
from instructforge.encoding.chat import IGNORED
from instructforge.encoding.layout import ChatLayout
from instructforge.encoding.rendering import ChatRenderer
from instructforge.errors import ConfigError, DataError, InstructForgeError, LengthError, TemplateError

MODELS = Path.home() / ".cache" / "instructforge" / "models"

ASK = chat(("user", "What is the capital of France?"), ("assistant", "Paris, 巴黎 😀"))


def encoder_for(template: str | None, tokenizer: str = "byte-level", **options: Any) -> ChatEncoder:
    return ChatEncoder(tokenizer_named(tokenizer), chat_template=template, **options)


def encode(encoder: ChatEncoder, row: Instruction, train: Any = "last") -> Features:
    (found,) = encoder.encode([row], train=train)
    assert isinstance(found, Features), found
    return found


def trained(encoder: ChatEncoder, row: Instruction, train: Any = "last") -> str:
    features = encode(encoder, row, train)
    return encoder.tokenizer.decode([label for label in features.labels if label != IGNORED])


def written(encoder: ChatEncoder, row: Instruction) -> str:
    return encoder.tokenizer.decode(encode(encoder, row).input_ids)


def refused(encoder: ChatEncoder, row: Instruction, train: Any = "last") -> InstructForgeError:
    (found,) = encoder.encode([row], train=train)
    assert isinstance(found, InstructForgeError), found
    return found


# --- BOS, EOS, padding --------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [LLAMA3, GEMMA, MISTRAL, None])
def test_a_row_begins_with_one_bos(template: str | None) -> None:
    """The tokenizer puts BOS before every text by itself, and the template writes one too."""
    encoder = encoder_for(template, "byte-fallback")
    ids = encode(encoder, ASK).input_ids
    assert ids[0] == encoder.tokenizer.bos_token_id
    assert list(ids).count(encoder.tokenizer.bos_token_id) == 1
    assert encoder.options()["bos"] is True


def test_a_template_with_two_bos_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        encoder_for("{{ bos_token }}" + LLAMA3, "byte-fallback")


def test_eos_is_appended_where_the_template_ends_no_turn() -> None:
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ 'assistant: ' if add_generation_prompt }}"
    )
    encoder = encoder_for(template)
    assert trained(encoder, ASK) == "Paris, 巴黎 😀</s>"
    assert encoder.options()["stop_appended"] is True
    assert encoder.stop_texts == ("</s>",)


def test_no_stop_token_at_all_is_refused() -> None:
    tokenizer = tokenizer_named("byte-level", eos=None)
    with pytest.raises(ConfigError, match="never learn to stop"):
        ChatEncoder(tokenizer, chat_template="{% for m in messages %}{{ m.content }}\n{% endfor %}")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_padding_with_eos_does_not_hide_the_stop(tokenizer: str) -> None:
    encoder = encoder_for(MISTRAL, tokenizer)
    assert encoder.tokenizer.pad_token_id == encoder.tokenizer.eos_token_id
    features = encode(encoder, ASK)
    assert features.labels[-1] == encoder.tokenizer.eos_token_id == encoder.stop_ids[0]


def test_a_model_without_a_chat_template_gets_the_plain_one() -> None:
    encoder = encoder_for(None)
    row = chat(("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes."), ("user", "So?"), ("assistant", "No."))
    assert written(encoder, row) == (
        "### system:\nBe brief.\n\n### user:\nHi\n\n### assistant:\nYes.</s>\n\n"
        "### user:\nSo?\n\n### assistant:\nNo.</s>\n\n"
    )
    assert trained(encoder, row, "all") == "Yes.</s>No.</s>"


def test_a_tokenizers_own_limit_is_not_kept() -> None:
    tokenizer = tokenizer_named("word-pieces")
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.enable_padding(length=8)
    encoder = ChatEncoder(tokenizer, chat_template=CHATML)
    assert len(encode(encoder, chat(("user", "fox " * 50), ("assistant", "yes"))).input_ids) > 50


# --- What templates do to turns -----------------------------------------------------------------------


def test_a_trimmed_answer_is_reported() -> None:
    encoder = encoder_for(LLAMA3)
    assert trained(encoder, chat(("user", "?"), ("assistant", " yes \n"))) == "yes<|eot_id|>"
    assert encoder.stats.altered == {"trimmed": 1}


CHANGED = {
    "upper": CHATML.replace("message['content']", "(message['content'] | upper)"),
    "replace": CHATML.replace("message['content']", "(message['content'] | replace('P', 'p'))"),
    "cut": CHATML.replace("message['content']", "message['content'][:4]"),
    "dropped": CHATML.replace("message['content']", "(message['content'] if message['role'] == 'user' else '')"),
    "twice": CHATML.replace("message['content']", "message['content'] + message['content']"),
    "suffix": CHATML.replace(
        "message['content']", "message['content'] + ('!' if 'Paris' in message['content'] else '')"
    ),
}


@pytest.mark.parametrize("way", CHANGED)
def test_a_changed_answer_is_refused(way: str) -> None:
    try:
        encoder = encoder_for(CHANGED[way])
    except ConfigError:
        assert way in ("dropped", "twice")
        return
    error = refused(encoder, ASK)
    assert isinstance(error, TemplateError)
    assert error.rule == "answer-altered"
    assert 'Row "row-1"' in str(error)


def test_an_earlier_turn_that_is_changed_is_refused_only_where_it_is_trained() -> None:
    encoder = encoder_for(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{{ (m.content if loop.last or m.role == 'user' else m.content | upper) + '<|im_end|>' }}{% endfor %}"
        "{{ '<|im_start|>assistant\n' if add_generation_prompt }}"
    )
    row = chat(("user", "?"), ("assistant", "maybe"), ("user", "?"), ("assistant", "yes"))
    assert trained(encoder, row) == "yes<|im_end|>"
    error = refused(encoder, row, "all")
    assert isinstance(error, TemplateError)
    assert "MAYBE" in str(error)


def test_a_template_without_generation_prompt_still_heads_the_answer() -> None:
    template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    encoder = encoder_for(template)
    assert encoder.options()["heading"] == "<|im_start|>assistant\n"
    assert encoder.prompt_text(ASK).endswith("<|im_start|>assistant\n")
    assert trained(encoder, ASK) == "Paris, 巴黎 😀<|im_end|>"


def test_an_empty_think_block_belongs_to_the_prompt() -> None:
    encoder = encoder_for(QWEN3)
    assert encoder.prompt_text(ASK).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert trained(encoder, ASK) == "Paris, 巴黎 😀<|im_end|>"
    told = encoder_for(QWEN3, pinned={"enable_thinking": False})
    assert told.options()["heading"] == ""
    assert told.prompt_ids(ASK) == encoder.prompt_ids(ASK)


def test_earlier_turns_without_their_think_block_are_counted() -> None:
    encoder = encoder_for(QWEN3)
    row = chat(("user", "?"), ("assistant", "no"), ("user", "?"), ("assistant", "yes"))
    assert trained(encoder, row, "all") == "no<|im_end|>yes<|im_end|>"
    assert encoder.stats.headings == 1


def reasoned(text: str) -> Instruction:
    return evolve(ASK, messages=(ASK.messages[0], Message(role="assistant", content="Paris", reasoning=text)))


def test_reasoning_is_left_out_and_reported_unless_asked_for() -> None:
    encoder = encoder_for(QWEN3)
    assert trained(encoder, reasoned("It is Paris.")) == "Paris<|im_end|>"
    assert encoder.stats.altered == {"reasoning-dropped": 1}
    thinking = encoder_for(QWEN3, reasoning=True)
    row = reasoned("It is Paris.")
    assert trained(thinking, row) == "<think>\nIt is Paris.\n</think>\n\nParis<|im_end|>"
    assert thinking.prompt_text(row).endswith("<|im_start|>assistant\n")
    prompt = thinking.prompt_ids(row)
    assert list(encode(thinking, row).input_ids[: len(prompt)]) == prompt


def test_think_markup_inside_an_answer_is_refused_not_lost() -> None:
    encoder = encoder_for(QWEN3)
    error = refused(encoder, chat(("user", "?"), ("assistant", "<think>\nhm\n</think>\n\nyes")))
    assert isinstance(error, TemplateError)
    assert "reasoning" in str(error)


def test_a_generation_prompt_that_opens_a_thought_is_what_training_sees() -> None:
    """As DeepSeek-R1's: ``<think>`` stands in the generation prompt, and not before an answer in the chat."""
    template = CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif")
    encoder = encoder_for(template)
    assert encoder.options()["diverges"] is True
    assert written(encoder, ASK).endswith("<|im_start|>assistant\n<think>\nParis, 巴黎 😀<|im_end|>\n")
    assert trained(encoder, ASK) == "Paris, 巴黎 😀<|im_end|>"
    assert encoder.stats.diverging == 2


def test_a_system_turn_is_folded_where_the_template_refuses_or_drops_it() -> None:
    row = chat(("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes."))
    dropping = CHATML.replace(
        "{% for message in messages %}", "{% for message in messages if message.role != 'system' %}"
    )
    for template in (GEMMA, MISTRAL, dropping):
        encoder = encoder_for(template)
        assert encoder.system_folded
        assert encoder.options()["system_folded"] is True
        assert "Be brief.\n\nHi" in written(encoder, row)
    assert not encoder_for(CHATML).system_folded


def test_a_template_that_looks_into_the_turns_is_followed_by_its_prefixes() -> None:
    """Reserved characters around a turn change its length, so its place is found by rendering what stood before."""
    encoder = encoder_for(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}"
        "{{ '#' ~ (m.content | length) }}{% endfor %}{{ '<|im_start|>assistant\n' if add_generation_prompt }}"
    )
    row = chat(("user", "?"), ("assistant", "no"), ("user", "?"), ("assistant", "yes"))
    assert trained(encoder, row, "all") == "no<|im_end|>yes<|im_end|>"


def test_roles_that_do_not_alternate_name_the_row() -> None:
    error = refused(encoder_for(GEMMA), chat(("user", "a"), ("user", "b"), ("assistant", "c"), id="row-7"))
    assert isinstance(error, TemplateError)
    assert 'Row "row-7" (memory)' in str(error)
    assert "alternate" in str(error)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(10**9) %}{% for b in range(10**9) %}x{% endfor %}{% endfor %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ 'x' * 10**9 }}",
        "{% if %}",
        "no turns at all",
    ],
)
def test_hostile_chat_templates_are_refused(template: str) -> None:
    with pytest.raises((ConfigError, TemplateError)):
        encoder_for(template)


@pytest.mark.parametrize("template", TEMPLATES)
def test_renders_do_not_grow_with_the_turns(template: str) -> None:
    renderer = ChatRenderer(TEMPLATES[template], {"bos_token": "<s>", "eos_token": "</s>"}, {})
    calls: list[int] = []

    def counted(messages: Any, generate: bool) -> str:
        calls.append(len(messages))
        return renderer(messages, generate)

    layout = ChatLayout(counted)
    for turns in (2, 200):
        messages = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"turn {n}"} for n in range(turns - 1)]
        calls.clear()
        prompt, regions = layout.prompt_and_regions(messages, "")
        layout.lay(messages, {"role": "assistant", "content": "end"}, prompt, "")
        assert len(calls) <= 3
        assert [prompt[r.start : r.end].strip() for r in regions] == [m["content"] for m in messages[1::2]]


# --- What is in the texts -----------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_control_tokens_in_the_data_stay_text(tokenizer: str, template: str) -> None:
    encoder = encoder_for(TEMPLATES[template], tokenizer)
    clean = chat(("user", "a b"), ("assistant", "c d"), ("user", "e f"), ("assistant", "g h"))
    bad = "x <|im_end|>\n<|im_start|>assistant\n</s> <|eot_id|> <end_of_turn> [INST] y"
    dirty = chat(("user", bad), ("assistant", bad), ("user", bad), ("assistant", bad))
    control = {index for index, text in encoder.tokenizer.added_tokens_decoder.items() if str(text) != "<unk>"}

    def control_tokens(row: Instruction) -> list[int]:
        return [index for index in encode(encoder, row, "all").input_ids if index in control]

    assert control_tokens(dirty) == control_tokens(clean)
    stop = encoder.stop_ids[0]
    labels = encode(encoder, dirty, "all").labels
    assert list(labels).count(stop) == 2
    assert encoder.stats.control_texts > 0
    if tokenizer == "byte-level":
        assert bad in written(encoder, dirty)


def test_reserved_characters_are_refused_with_the_row() -> None:
    row = chat(("user", "a\U0010fff0b"), ("assistant", "c"))
    row = evolve(row, example=evolve(row.example, origin=Origin("data.jsonl", 12)))
    error = refused(encoder_for(CHATML), row)
    assert isinstance(error, DataError)
    assert (error.rule, error.origin) == ("reserved-character", Origin("data.jsonl", 12))
    assert "data.jsonl:12" in str(error)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (chat(("user", "a"), ("assistant", "")), "no-answer"),
        (chat(("user", "a"), ("assistant", " \n")), "no-answer"),
        (chat(("user", "a")), "no-answer"),
        (chat(("assistant", "a")), "no-prompt"),
    ],
)
def test_nothing_to_train_is_an_error_of_the_row(row: Instruction, rule: str) -> None:
    encoder = encoder_for(CHATML)
    good = chat(("user", "a"), ("assistant", "b"))
    found = encoder.encode([good, row, good])
    assert [type(one).__name__ for one in found] == ["Features", "DataError", "Features"]
    assert found[0] == found[2]
    assert getattr(found[1], "rule", "") == rule
    assert (encoder.stats.rows, encoder.stats.encoded, encoder.stats.errors) == (3, 2, {rule: 1})


def test_marks_say_which_turns_are_trained() -> None:
    encoder = encoder_for(CHATML)
    turns = [
        ("user", "?"),
        ("assistant", "one"),
        ("user", "?"),
        ("assistant", "two"),
        ("user", "?"),
        ("assistant", "six"),
    ]
    assert trained(encoder, chat(*turns)) == "six<|im_end|>"
    assert trained(encoder, chat(*turns, trained=(5,))) == "six<|im_end|>"
    assert trained(encoder, chat(*turns, trained=(1, 5))) == "one<|im_end|>six<|im_end|>"
    assert trained(encoder, chat(*turns, trained=(3,))) == "two<|im_end|>"
    assert trained(encoder, chat(*turns, trained=(5,)), "all") == "one<|im_end|>two<|im_end|>six<|im_end|>"


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_completions_are_the_ids_that_training_gives(tokenizer: str, template: str) -> None:
    encoder = encoder_for(TEMPLATES[template], tokenizer)
    for text in ("yes", "巴黎", "No, 😀", "(b) fox"):
        features = encode(encoder, chat(("user", "?"), ("assistant", text)))
        labels = [label for label in features.labels if label != IGNORED]
        assert encoder.completion_ids([text])[0] == labels
        assert encoder.completion_ids([text], stop=False)[0] == labels[:-1]


class Slow:
    """A tokenizer that cannot tell characters, as those written in Python."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.is_fast = False

    def __getattr__(self, name: str) -> Any:
        if name in ("backend_tokenizer", "_tokenizer_backend"):
            raise AttributeError(name)
        return getattr(self._tokenizer, name)


@pytest.mark.parametrize("template", TEMPLATES)
def test_tokenizers_without_characters_give_the_same(template: str) -> None:
    fast, slow = (
        encoder_for(TEMPLATES[template]),
        ChatEncoder(Slow(tokenizer_named("byte-level")), chat_template=TEMPLATES[template]),
    )
    row = chat(("user", "a <|im_end|>"), ("assistant", " b\n"), ("user", "\n"), ("assistant", "\n 巴黎"))
    assert slow.encode([row], train="all") == fast.encode([row], train="all")


# --- Length -------------------------------------------------------------------------------------------


def test_only_the_passage_is_cut_and_counted() -> None:
    passage = "The quick brown fox jumps over the lazy dog. " * 40
    row = with_passage("Passage: ", passage, "\nQuestion: what jumps?", "the fox")
    encoder = encoder_for(CHATML, max_length=128)
    features = encode(encoder, row)
    assert len(features.input_ids) <= 128
    text = written(encoder, row)
    assert text.startswith("<|im_start|>user\nPassage: The quick brown fox")
    assert text.endswith("\nQuestion: what jumps?<|im_end|>\n<|im_start|>assistant\nthe fox<|im_end|>\n")
    assert trained(encoder, row) == "the fox<|im_end|>"
    assert set(encoder.stats.cut_tokens) == {"context"}
    whole = len(encode(encoder_for(CHATML), row).input_ids)
    assert encoder.stats.cut_tokens["context"] == pytest.approx(3 * (whole - len(features.input_ids)), rel=0.2)
    assert encoder.stats.cut_rows == 3  # encoded three times above


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(
    passage=st.lists(st.sampled_from(["狐狸", "😀", "é", "fox ", "。", "\n"]), min_size=60, max_size=120).map("".join),
    max_length=st.integers(90, 160),
)
def test_cutting_leaves_whole_characters(tokenizer: str, passage: str, max_length: int) -> None:
    encoder = encoder_for(CHATML, tokenizer, max_length=max_length)
    row = with_passage("Read: ", passage, "\nWho?", "狐狸")
    (features,) = encoder.encode([row])
    assert isinstance(features, Features), features
    assert len(features.input_ids) <= max_length
    if tokenizer == "byte-level":
        text = encoder.tokenizer.decode(features.input_ids)
        kept = text.removeprefix("<|im_start|>user\nRead: ").partition("\nWho?<|im_end|>")[0]
        assert passage.startswith(kept)
        assert len(passage.rstrip()) == len(kept) or encoder.stats.cut_rows == 1
    assert trained_ids(features) == encoder.completion_ids(["狐狸"])[0]


def trained_ids(features: Features) -> list[int]:
    return [label for label in features.labels if label != IGNORED]


def test_an_answer_is_never_cut() -> None:
    encoder = encoder_for(CHATML, max_length=64)
    error = refused(encoder, with_passage("Read: ", "fox " * 100, "\nWho?", "brown " * 100))
    assert isinstance(error, LengthError)
    assert 'Row "row-1"' in str(error)
    assert "max_length" in str(error)
    assert encoder.stats.errors == {"too-long": 1}


def test_what_may_not_be_cut_is_not_cut() -> None:
    encoder = encoder_for(CHATML, max_length=64)
    error = refused(encoder, chat(("user", "fox " * 100), ("assistant", "yes")))
    assert isinstance(error, LengthError)
    fits = chat(("user", "fox " * 12), ("assistant", "yes"))
    assert len(encode(encoder, fits).input_ids) <= 64


def test_an_answer_lost_with_its_passage_is_counted() -> None:
    encoder = encoder_for(CHATML, max_length=96)
    encode(encoder, with_passage("Read: ", "The fox ran. " * 60 + "It met Margaret.", "\nWho?", "Margaret"))
    encode(encoder, with_passage("Read: ", "It met Margaret. " + "The fox ran. " * 60, "\nWho?", "Margaret"))
    assert encoder.stats.evidence_cut == 1
    assert encoder.stats.cut_rows == 2


def test_the_oldest_turns_of_a_history_are_cut_first() -> None:
    turns = tuple(
        Message(role="user" if n % 2 == 0 else "assistant", content=f"turn {n} " + "fox " * 20) for n in range(6)
    )
    row = Instruction(
        example=Example(inputs={}, id="r"),
        task="t",
        language="en",
        template="x",
        template_sha256="",
        messages=(*turns, Message(role="user", content="So?"), Message(role="assistant", content="yes", trained=True)),
        landings=tuple(Landing("history", n, 0, len(turn.content), item=n) for n, turn in enumerate(turns)),
        cuttable=("history",),
    )
    encoder = encoder_for(CHATML, max_length=400)
    text = written(encoder, row)
    assert "turn 0" not in text
    assert turns[5].content.rstrip() in text
    assert "So?" in text


@pytest.mark.parametrize("wrong", [0, 64, 100])
def test_room_for_answers_has_to_make_sense(wrong: int) -> None:
    with pytest.raises(ConfigError, match="answer_tokens"):
        encoder_for(CHATML, max_length=64, answer_tokens=wrong)


def test_train_is_last_or_all() -> None:
    with pytest.raises(ConfigError, match="last"):
        encoder_for(CHATML).encode([ASK], train="some")  # type: ignore[arg-type]


def test_a_pinned_date_is_a_date() -> None:
    with pytest.raises(ConfigError, match="not a date"):
        encoder_for(CHATML, pinned={"date": "yesterday"})
    assert "date" in encoder_for("{{ strftime_now('%Y') }}" + CHATML).pinned
    assert encoder_for(CHATML).pinned == {}


# --- A real tokenizer ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2() -> Any:
    folder = MODELS / "smollm2-135m"
    if not folder.is_dir():
        pytest.skip("the starter model smollm2-135m is not in the cache (instructforge models fetch smollm2-135m)")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.models
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_smollm2_as_it_is(smollm2: Any, data: st.DataObject) -> None:
    row = data.draw(chats())
    encoder = ChatEncoder(smollm2, max_length=2048)
    turns: list[dict[str, str]] = [{"role": m.role, "content": m.content} for m in row.messages]
    answers = [m.content for m in row.messages if m.role == "assistant"]
    features = encode(encoder, row, "all")
    check(encoder, row, features, answers, "<|im_end|>")
    assert smollm2.decode(features.input_ids) == smollm2.apply_chat_template(turns, tokenize=False)


@pytest.mark.models
def test_smollm2_gives_transformers_ids(smollm2: Any) -> None:
    encoder = ChatEncoder(smollm2)
    turns = [{"role": m.role, "content": m.content} for m in ASK.messages]
    assert encode(encoder, ASK).input_ids == smollm2.apply_chat_template(turns, return_dict=False)
    assert encoder.prompt_ids(ASK) == smollm2.apply_chat_template(
        turns[:-1], add_generation_prompt=True, return_dict=False
    )
    assert trained(encoder, ASK) == "Paris, 巴黎 😀<|im_end|>"


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_token_that_would_reach_over_a_border_is_cut_there(tokenizer: str) -> None:
    """A heading that ends in a space: read whole, byte-level tokenizers put that space into the answer's token."""
    encoder = encoder_for(
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{{ 'assistant: ' if add_generation_prompt }}",
        tokenizer,
    )
    row = chat(
        ("user", "?"),
        ("assistant", "fox"),
        ("user", "?"),
        ("assistant", "the fox"),
        ("user", "?"),
        ("assistant", "yes"),
    )
    features = encode(encoder, row, "all")
    expected = [encoder.completion_ids([text])[0] for text in ("fox", "the fox", "yes")]
    assert [label for label in features.labels if label != IGNORED] == [index for ids in expected for index in ids]
    assert trained_runs(features) == expected
    assert list(features.input_ids[: len(encoder.prompt_ids(row))]) == encoder.prompt_ids(row)


def test_a_turn_that_begins_with_a_space_is_trained_whole() -> None:
    encoder = encoder_for(QWEN3, "byte-fallback")
    row = chat(("user", "?"), ("assistant", " yesyes"), ("user", "?"), ("assistant", "yes"))
    features = encode(encoder, row, "all")
    first = trained_runs(features)[0]
    assert encoder.tokenizer.decode(first).strip() == "yesyes<|im_end|>"
    assert list(features.input_ids[: len(encoder.prompt_ids(row))]) == encoder.prompt_ids(row)
