"""Small tokenizers of every kind, trained on the spot, and chat templates in the manner of well-known models."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from instructforge.data import Example, Features, Instruction, Landing, Message
from instructforge.encoding.chat import IGNORED, ChatEncoder

CONTROL = [
    "<unk>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
]

CORPUS = [
    "The quick brown fox jumps over the lazy dog. Answer: yes, it does; no, it does not.",
    "What is the capital of France? The capital of France is Paris, and 12 + 30 = 42.",
    "user assistant system model think You are a helpful assistant, asked to answer briefly.",
    "我们在北京大学学习中文。问题：法国的首都是哪里？答案：巴黎。是的，不是。",
    "今天天气很好，我们一起去公园散步吧！谢谢你的帮助。",
    "Emoji 😀 🎉 and naïve café déjà vu\n\nnew lines\tand tabs",
] * 4


def _byte_level(added: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420 + added, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _word_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=CONTROL, show_progress=False)
    )
    return tokenizer


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=CONTROL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _byte_fallback() -> Tokenizer:
    """BPE as SentencePiece writes it for Llama 2: a space put before, bytes for what is unknown, BOS by default."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trained.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=700, special_tokens=CONTROL + bytes_, show_progress=False)
    )
    import json

    state = json.loads(trained.to_str())
    model = models.BPE(
        vocab=state["model"]["vocab"],
        merges=[tuple(pair) for pair in state["model"]["merges"]],
        unk_token="<unk>",
        byte_fallback=True,
        fuse_unk=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(CONTROL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


_MAKERS = {
    "byte-level": lambda: _byte_level(0),
    "word-pieces": _word_pieces,
    "unigram": _unigram,
    "byte-fallback": _byte_fallback,
}
TOKENIZERS = tuple(_MAKERS)


@cache
def tokenizer_named(name: str, eos: str | None = "</s>", bos: str | None = "<s>") -> PreTrainedTokenizerFast:
    """Return one of the small tokenizers; its padding token is its EOS, as in SmolLM2."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_MAKERS[name](), bos_token=bos, eos_token=eos, pad_token=eos, unk_token="<unk>"
    )


CHATML = """\
{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

SMOLLM2 = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}\
{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

LLAMA3 = """\
{% set loop_messages = messages %}{% for message in loop_messages %}\
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim %}\
{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content + '<|eot_id|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""

MISTRAL = """\
{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token}}\
{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"""

QWEN3 = """\
{%- set ns = namespace(last=messages|length - 1, open=true) %}
{%- for message in messages[::-1] %}
    {%- if ns.open and message.role == "user" %}
        {%- set ns.open = false %}
        {%- set ns.last = (messages|length - 1) - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role != "assistant" %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- else %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>assistant\n<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""

TEMPLATES = {
    "chatml": CHATML,
    "smollm2": SMOLLM2,
    "llama3": LLAMA3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "qwen3": QWEN3,
}
STOPS = {
    "chatml": "<|im_end|>",
    "smollm2": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "qwen3": "<|im_end|>",
}


def chat(*turns: tuple[str, str], id: str = "row-1", trained: tuple[int, ...] = ()) -> Instruction:
    """Return an instruction with these turns: (role, text)."""
    messages = tuple(Message(role=role, content=text, trained=n in trained) for n, (role, text) in enumerate(turns))
    return Instruction(
        example=Example(inputs={}, id=id), task="t", language="en", template="x", template_sha256="", messages=messages
    )


def with_passage(before: str, passage: str, after: str, answer: str, id: str = "row-1") -> Instruction:
    """Return an instruction whose user turn holds a cuttable passage."""
    landing = Landing("context", 0, len(before), len(before) + len(passage))
    return Instruction(
        example=Example(inputs={"context": passage}, id=id),
        task="t",
        language="en",
        template="x",
        template_sha256="",
        messages=(
            Message(role="user", content=before + passage + after),
            Message(role="assistant", content=answer, trained=True),
        ),
        landings=(landing,),
        cuttable=("context",),
    )


PAIRS = [(tokenizer, template) for tokenizer in TOKENIZERS for template in TEMPLATES]

pieces = st.sampled_from(
    [
        "yes",
        "No",
        " ",
        "  ",
        "\n",
        "\n\n",
        "巴黎",
        "。",
        "😀",
        "👩‍👩‍👧",
        "é",
        "e\u0301",
        "42",
        "-",
        "the fox",
        "北京大学",
        "\t",
        "ﬁ",
    ]
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
