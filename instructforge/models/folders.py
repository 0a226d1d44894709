"""Model folders as untrusted input: what is looked at before anything of them is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instructforge.errors import ConfigError, printable

__all__ = ["check_folder", "family_of", "model_config"]

_MAX_JSON_BYTES = 64 << 20
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_ENCODERS = frozenset(
    (
        *("albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "flaubert"),
        *("mobilebert", "modernbert", "mpnet", "nomic_bert", "roberta", "roformer", "squeezebert", "xlm-roberta"),
        *("xlm-roberta-xl", "xlnet"),
    )
)


def model_config(folder: Path) -> dict[str, Any]:
    """Return the folder's ``config.json``.

    Raises:
        ConfigError: There is none, or it is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ConfigError(
            f'"{printable(folder)}" is no model folder: it has no config.json.\n'
            "A model folder holds config.json, safetensors weights and tokenizer files.\n"
            "Give such a folder, a registered name (see: instructforge models list), or a hub id."
        )
    return _read_json(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ConfigError(f'"{path}" is larger than {_MAX_JSON_BYTES >> 20} MB, which no model\'s {path.name} is')
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f'"{path}" cannot be read: {printable(error)}') from None
    if not isinstance(value, dict):
        raise ConfigError(f'"{path}" holds no JSON object')
    return value


def family_of(folder: Path) -> str:
    """Tell what kind of model lies in ``folder``, from its ``config.json`` alone.

    Returns:
        ``causal``, ``encoder`` or ``seq2seq``.

    Raises:
        ConfigError: There is no such file, or it names a kind of model that is none of these.
    """
    config = model_config(folder)
    if config.get("is_encoder_decoder"):
        return "seq2seq"
    kind = str(config.get("model_type", ""))
    named = config.get("architectures") or []
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if kind in _ENCODERS or architecture.endswith(("ForMaskedLM", "ForSequenceClassification", "ForQuestionAnswering")):
        return "encoder"
    return _family_by_type(kind, folder)


def _family_by_type(kind: str, folder: Path) -> str:
    from transformers.models.auto import modeling_auto  # slow to import; rarely needed

    if kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder"
    if kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal"
    raise ConfigError(
        f'The model type "{printable(kind, 60)}" of "{printable(folder)}" is neither causal nor an encoder.\n'
        "Known are causal language models (Llama, Qwen, GPT-2 …) and encoders (BERT, RoBERTa, ModernBERT …).\n"
        "Choose another model, or one in transformers' own format."
    )


def check_folder(folder: Path, *, trust_remote_code: bool = False) -> Path:
    """Return ``folder`` if loading it runs no code of its own: safetensors, no pickles, no remote code.

    Raises:
        ConfigError: It is no model folder, or not a safe one.
    """
    config = model_config(folder)
    if not trust_remote_code:
        _refuse_code(folder, "config.json", config)
        for name in ("tokenizer_config.json", "generation_config.json"):
            if (folder / name).is_file():
                _refuse_code(folder, name, _read_json(folder / name))
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not weights:
        _refuse_weights(folder)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        _check_index(index)
    return folder


def _refuse_code(folder: Path, name: str, config: Mapping[str, Any]) -> None:
    """Refuse what makes transformers import code: ``auto_map``, and kernels that are fetched from a hub."""
    for key, value in _entries(config):
        fetched = ("attn_implementation" in key or "experts_implementation" in key) and "/" in str(value)
        if key == "auto_map" or fetched:
            raise ConfigError(
                f'"{printable(folder / name)}" asks for code of the model\'s author ("{key}": '
                f'"{printable(value, 80)}").\n'
                "Only models that transformers itself has the code for are loaded.\n"
                "If you have read that code and trust it, allow it with the option trust_remote_code."
            )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [value]  # not recursive: a config is foreign input and may be deep
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield from ((str(key), inner) for key, inner in part.items())
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _refuse_weights(folder: Path) -> None:
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    found = f"its weights are pickled ({', '.join(pickled[:5])})" if pickled else "it has no weights"
    raise ConfigError(
        f'"{printable(folder)}" cannot be used: {found}.\n'
        "Weights are read from *.safetensors only: unpickling a file can run anything.\n"
        "Convert them with transformers' own tool (save_pretrained), or take another revision of the model."
    )


def _check_index(index: Path) -> None:
    """Refuse an index that names files outside of its folder."""
    weight_map = _read_json(index).get("weight_map")
    names = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else {"nothing"}
    for name in sorted(names):
        if Path(name).name != name or not name.endswith(".safetensors") or not (index.parent / name).is_file():
            raise ConfigError(f'"{index}" names "{printable(name, 80)}", which is no safetensors file beside it')
