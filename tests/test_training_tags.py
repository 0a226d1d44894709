"""The tags head: how sentences are read, trained, answered, and brought back after a kill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from heads_kit import COLOURS, THINGS, instruction, save_tiny_bert
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instructforge.contract import Contract
from instructforge.data import Instruction
from instructforge.decoders import TagsDecoder
from instructforge.encoding.tokens import TokenWindowEncoder
from instructforge.engines import open_engine
from instructforge.errors import ConfigError, TrainingError
from instructforge.evaluation import evaluate
from instructforge.models.loading import load_tokenizer
from instructforge.plugins import Forge
from instructforge.tasks import Choice, Field, Tags, Task
from instructforge.training.heads.tags import TagReader, head_tags
from instructforge.training.heads.trainer import EncoderTrainer
from instructforge.training.job import TrainingJob

pytestmark = pytest.mark.slow  # trains real, if tiny, models

ROOT = Path(__file__).parent.parent
FIELDS = {"tokens": Field("the tokens", kind="list")}
TASK = Task("tag", summary="Find colours and things.", fields=FIELDS, target=Tags(["colour", "thing"]))
OPEN = Task(
    "tag-open",
    summary="The same, with types from the data.",
    fields={**FIELDS, "text": "the text", "types": Field("types", kind="list")},
    target=Tags(from_field="types", text="text"),
)


def tagged_rows(count: int, *, seed: int = 0, task: Task = TASK) -> list[Instruction]:
    """Return sentences in which a colour before a thing belongs to it: a rule that needs the neighbours."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        tokens: list[str] = []
        tags: list[str] = []
        for _ in range(draw.randint(1, 4)):
            kind = draw.choice(["both", "colour", "thing", "none"])
            if kind in ("both", "colour"):
                tokens.append(draw.choice(COLOURS))
                tags.append("B-thing" if kind == "both" else "B-colour")
            if kind in ("both", "thing"):
                tokens.append(draw.choice(THINGS))
                tags.append("I-thing" if kind == "both" else "B-thing")
            tokens.append(draw.choice(["the", "is", "."]))
            tags.append("O")
        inputs = {"tokens": tokens}
        if task is OPEN:
            inputs |= {"text": " ".join(tokens), "types": ["colour", "thing"]}
        rows.append(instruction(task, number, inputs, [tuple(tags)]))
    return rows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return load_tokenizer(base)


def job(base: Path, folder: Path, rows: Any, *, task: Task = TASK, **options: Any) -> TrainingJob:
    return TrainingJob(task=task, train=rows, model=base, out=folder / "model", work=folder / "work", settings=options)


# --- Reading ----------------------------------------------------------------------------------------------


def unigram(*pieces: str) -> Any:
    """Return a tokenizer as XLM-R has it: pieces without words, ``▁`` for a space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    single = [chr(code) for code in range(0x4E00, 0x4E10)]
    known = ["<s>", "<pad>", "</s>", "<unk>", "▁", *pieces, *single, *"abcdefghij", "[", "]", "/", "s", "<", ">"]
    vocabulary = [(piece, -2.0 if len(piece) > 1 else -6.0) for piece in dict.fromkeys(known)]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def covered(windows: Any) -> list[int]:
    return [token for window in windows for token in window.tokens if token >= 0]


def test_a_piece_of_two_tokens_is_taken_apart_and_counted() -> None:
    one, two, three, four = (chr(0x4E00 + number) for number in range(4))
    tokenizer = unigram(two + three, one + two)
    encoder = TokenWindowEncoder(tokenizer, max_length=32)
    (windows,) = encoder.encode([[one + two, three, four]], [None])
    texts = tokenizer.convert_ids_to_tokens(windows[0].input_ids)
    assert covered(windows) == [0, 1, 2]
    assert [texts[place].strip("▁") for place, token in enumerate(windows[0].tokens) if token >= 0][1:] == [three, four]
    assert encoder.stats.shared in (0, 1)
    (windows,) = encoder.encode([[one, two, three, four]], [None])  # 二三 is one piece of two tokens, or 一二
    assert covered(windows) == [0, 1, 2, 3]
    assert encoder.stats.shared >= 1
    assert encoder.stats.without_piece == 0


def test_a_token_of_nothing_is_counted_and_as_likely_one_thing_as_another(base: Path, tokenizer: Any) -> None:
    encoder = TokenWindowEncoder(tokenizer, max_length=32)
    (windows,) = encoder.encode([["red", "\u200b", "cup"]], [None])
    assert covered(windows) == [0, 2]
    assert encoder.stats.without_piece == 1


def test_marks_in_the_data_stay_text(tokenizer: Any) -> None:
    encoder = TokenWindowEncoder(tokenizer, max_length=64)
    (windows,) = encoder.encode([["red", "[SEP]", "[CLS]cup"]], [None])
    assert list(windows[0].input_ids).count(tokenizer.sep_token_id) == 1
    assert list(windows[0].input_ids).count(tokenizer.cls_token_id) == 1
    assert covered(windows) == [0, 1, 2]
    xlm = unigram("</s>")
    (windows,) = TokenWindowEncoder(xlm, max_length=64).encode([["a", "b</s>", "</s>c"]], ["ab</s></s>c"])
    assert list(windows[0].input_ids).count(2) == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(max_size=6) | st.sampled_from(["red", "一", "二丁", "[SEP]", "ab"]), min_size=1, max_size=60),
    st.integers(8, 40),
    st.integers(0, 40),
    st.sampled_from(["bert", "unigram"]),
    st.booleans(),
)
@example(["\x08"], 8, 0, "bert", False)  # a sentence of which the tokenizer makes nothing
def test_every_token_is_answered_for_once_and_nothing_is_cut(
    drawn: list[str], longest: int, stride: int, kind: str, joined: bool
) -> None:
    tokens = [token for token in drawn if token.strip()] or ["red"]
    tokenizer = load_tokenizer(_tiny()) if kind == "bert" else unigram("一二", "二丁", "ab")
    encoder = TokenWindowEncoder(tokenizer, max_length=longest, stride=stride)
    (windows,) = encoder.encode([tokens], ["".join(tokens) if joined else None])
    found = covered(windows)
    assert len(found) == len(set(found)) == len(tokens) - encoder.stats.without_piece
    assert sorted(found) == found
    assert all(len(window.input_ids) <= longest for window in windows)
    assert all(len(window.tokens) == len(window.input_ids) for window in windows)


def _tiny() -> Path:
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"instructforge-tiny-tags-{os.getpid()}"
    return folder if (folder / "tokenizer.json").exists() else save_tiny_bert(folder)


def test_batches_carry_a_label_at_the_first_piece_of_each_token(tokenizer: Any) -> None:
    reader = TagReader(tokenizer, target=TASK.target, tags=TASK.target.tags({}), max_length=32, stride=8)
    row = instruction(TASK, 0, {"tokens": ["red", "hats", "."]}, [("B-thing", "I-thing", "O")])
    (window,) = reader.trainable(reader.read([row])[0])
    batch = reader.collate([window])
    named = [
        (tokenizer.convert_ids_to_tokens(int(piece)), reader.tags[label] if label >= 0 else "")
        for piece, label in zip(batch["input_ids"][0], batch["labels"][0].tolist(), strict=True)
    ]
    assert named[0] == ("[CLS]", "")
    assert named[1] == ("red", "B-thing")
    assert named[2][1] == "I-thing"
    assert named[3][1] == ""  # "hats" is two pieces or more
    assert named[-2:] == [(".", "O"), ("[SEP]", "")]


def test_types_come_from_the_task_or_from_all_of_the_rows() -> None:
    rows = [instruction(OPEN, n, {"tokens": ["x"], "text": "x", "types": ["a", "b"][: n + 1]}) for n in range(2)]
    assert head_tags(OPEN.target, rows) == ("O", "B-a", "I-a", "B-b", "I-b")
    assert head_tags(TASK.target, []) == ("O", "B-colour", "I-colour", "B-thing", "I-thing")


# --- Training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [TASK, OPEN], ids=lambda task: task.name)
def test_twenty_rows_are_learnt_by_heart_and_answered_by_the_engine(task: Task, base: Path, tmp_path: Path) -> None:
    rows = tagged_rows(20, task=task)
    result = EncoderTrainer().train(
        job(base, tmp_path, rows, task=task, epochs=40, learning_rate=5e-3, validation_share=0, train_embeddings=True)
    )
    folder = tmp_path / "model"
    contract = Contract.read(folder)
    assert (contract.family, contract.head, contract.decoder) == ("encoder", "tags", "tags")
    assert contract.labels == ("O", "B-colour", "I-colour", "B-thing", "I-thing")
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".md"}
    assert result.counts["train"] == 20
    outputs = list(open_engine(folder).outputs(rows, "tag_scores"))
    predictions = TagsDecoder().decode(outputs, rows, task)
    report = evaluate(predictions, rows, task=task, forge=Forge(), resamples=100, reads=("tokens",))
    assert report.metrics["entity-f1"]["value"] == 1.0
    assert {figure["label"]: figure["f1"] for figure in report.labels} == {"colour": 1.0, "thing": 1.0}


def test_the_folder_is_one_that_transformers_opens(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForTokenClassification

    EncoderTrainer().train(job(base, tmp_path, tagged_rows(12), max_steps=1))
    model, report = AutoModelForTokenClassification.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert model.config.id2label[1] == "B-colour"


def test_long_rows_are_read_in_windows_and_counted(base: Path, tmp_path: Path) -> None:
    rows = tagged_rows(20)
    tokens = ["red", "cup", "the"] * 20
    rows.append(instruction(TASK, 50, {"tokens": tokens}, [("B-thing", "I-thing", "O") * 20]))
    result = EncoderTrainer().train(job(base, tmp_path, rows, max_length=24, stride=6, max_steps=1, validation_share=0))
    assert result.counts["long_rows"] == 1
    assert result.counts["windows"] > 21
    assert any("longer than a window" in notice for notice in result.notices)
    (output,) = open_engine(tmp_path / "model").outputs(rows[-1:], "tag_scores")
    assert output.tag_scores is not None
    assert len(output.tag_scores) == 60
    assert all(abs(sum(map(_power, row)) - 1) < 1e-4 for row in output.tag_scores)


def _power(value: float) -> float:
    return float(torch.tensor(value).exp())


def test_windows_change_hardly_anything_of_a_sentences_end(base: Path, tmp_path: Path) -> None:
    """What a window answers for is what the whole sentence would have answered at its ends."""
    EncoderTrainer().train(job(base, tmp_path, tagged_rows(12), max_length=24, stride=8, max_steps=1))
    engine = open_engine(tmp_path / "model")
    short = instruction(TASK, 0, {"tokens": ["red", "cup", "."]})
    (alone,) = engine.outputs([short], "tag_scores")
    (among,) = list(engine.outputs([instruction(TASK, 1, {"tokens": ["the"] * 40}), short], "tag_scores"))[1:]
    assert alone.tag_scores is not None
    assert among.tag_scores is not None
    assert torch.allclose(torch.tensor(alone.tag_scores), torch.tensor(among.tag_scores), atol=1e-4)


def test_rows_that_cannot_be_asked_say_why(base: Path, tmp_path: Path) -> None:
    EncoderTrainer().train(job(base, tmp_path, tagged_rows(12, task=OPEN), task=OPEN, max_steps=1))
    engine = open_engine(tmp_path / "model")
    good = {"tokens": ["red", "\u200b"], "text": "red\u200b", "types": ["thing", "new"]}
    rows = [
        instruction(OPEN, 0, {"tokens": [], "text": "", "types": ["thing"]}),
        instruction(OPEN, 1, {**good, "types": ["new"]}),
        instruction(OPEN, 2, {"tokens": ["red"], "text": "red"}),
        instruction(OPEN, 3, good),
    ]
    outputs = list(engine.outputs(rows, "tag_scores"))
    assert [bool(output.error) for output in outputs] == [True, True, True, False]
    assert outputs[3].tag_scores is not None
    assert len(outputs[3].tag_scores) == 2
    assert outputs[3].tag_scores[0][3] == -float("inf")  # B-new was not trained on
    (found,) = TagsDecoder().decode(outputs[3:], rows[3:], OPEN)
    assert found.answer is not None
    with pytest.raises(ConfigError, match="tag_scores"):
        list(engine.outputs(rows, "spans"))


def test_what_cannot_be_trained_on_is_left_out_by_reason_or_refused(base: Path, tmp_path: Path) -> None:
    rows = [*tagged_rows(12), instruction(TASK, 90, {"tokens": ["red"]}, [("B-unheard",)])]
    result = EncoderTrainer().train(job(base, tmp_path / "a", rows, max_steps=1, validation_share=0))
    assert result.counts["left_out_not-tags"] == 1
    bad = [instruction(TASK, n, {"tokens": []}, [()]) for n in range(3)]
    with pytest.raises(TrainingError, match="None of the 3 rows"):
        EncoderTrainer().train(job(base, tmp_path / "b", bad, validation_share=0))
    wrong = Task("t", summary="", fields=FIELDS, target=Choice(["a"]))
    from instructforge.training.heads.tags import train_tags

    with pytest.raises(ConfigError, match="a tags head reads tags"):
        train_tags(job(base, tmp_path / "c", tagged_rows(2), task=wrong))


# --- Crash and resume (P4) --------------------------------------------------------------------------------

_RUN = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
import attrs
import torch
torch.set_num_threads(1)
import test_training_tags as own
base, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(exist_ok=True)

def on_log(step, values):
    with (folder / "marks").open("a") as handle:
        handle.write("*")

plan = own.job(base, folder, own.tagged_rows(80), epochs=3, learning_rate=3e-3, save_every=1)
own.EncoderTrainer().train(attrs.evolve(plan, on_log=on_log))
"""


def _train_apart(base: Path, folder: Path, *, kill_at: int | None = None) -> bool:
    """Train in a process of its own, killed once it has logged ``kill_at`` times; tell whether it was killed."""
    code = _RUN.format(tests=str(Path(__file__).parent), root=str(ROOT))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    marks = folder / "marks"
    marks.unlink(missing_ok=True)
    command = [sys.executable, "-c", code, str(base), str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
        while kill_at is not None and process.poll() is None:
            if marks.is_file() and len(marks.read_text()) >= kill_at:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.002)
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def test_a_killed_run_ends_with_the_bytes_of_an_unbroken_one(base: Path, tmp_path: Path) -> None:
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert not _train_apart(base, unbroken)
    assert _train_apart(base, killed, kill_at=4)
    assert not _train_apart(base, killed)
    names = ("model.safetensors", "contract.json", "config.json", "tokenizer.json")
    assert [(killed / "model" / name).read_bytes() for name in names] == [
        (unbroken / "model" / name).read_bytes() for name in names
    ]
