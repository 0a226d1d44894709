"""Names to folders: a registered model, a hub id or a folder becomes a folder that is safe to load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructforge.components import Lazy, ModelSource
from instructforge.errors import ConfigError, did_you_mean, printable
from instructforge.models.folders import check_folder, family_of, model_config
from instructforge.models.starters import STARTERS
from instructforge.models.vocabulary import UNKNOWN_LIMIT, check_vocabulary, unknown_share

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = [
    "STARTERS",
    "UNKNOWN_LIMIT",
    "cache_folder",
    "check_folder",
    "check_vocabulary",
    "family_of",
    "fetched",
    "model_config",
    "resolve",
    "sources",
    "unknown_share",
]

_FROM_HUB = [
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "*.jinja",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
]
_NOT_FROM_HUB = ["*/*", "*.py", "*.bin", "*.pt", "*.pkl"]
_HUB_TIMEOUT_S = 20.0


def cache_folder(cache: Path | None = None) -> Path:
    """Return where fetched models lie: the argument, else ``$INSTRUCTFORGE_CACHE/models``, else under ``~/.cache``."""
    if cache is not None:
        return Path(cache)
    home = os.environ.get("INSTRUCTFORGE_CACHE")
    return (Path(home) if home else Path.home() / ".cache" / "instructforge") / "models"


def sources(forge: Forge | None = None) -> Mapping[str, ModelSource]:
    """Return the registered models by name; without a forge, the starter models."""
    if forge is None:
        return {source.name: source for source in STARTERS}
    return {name: forge.models.get(name) for name in forge.models}


def fetched(name: str, *, cache: Path | None = None) -> bool:
    """Tell whether the registered model ``name`` is in the cache already."""
    return (cache_folder(cache) / name / "config.json").is_file()


def resolve(
    name_or_path: str | Path,
    *,
    forge: Forge | None = None,
    cache: Path | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Return a model folder that is safe to load, fetched and converted if need be.

    Args:
        name_or_path: A registered name, a folder, or a hub id; looked up in this order.
        forge: Whose registered models count; without one, the starter models.
        cache: Where fetched models lie.
        trust_remote_code: Accept a model that brings code of its own. Read it first.

    Raises:
        ConfigError: There is no such model, it is not safe to load, or it cannot be fetched.
    """
    name = os.fspath(name_or_path)
    if not name or "\0" in name:
        raise ConfigError("no model is named.\nGive a registered name, a folder, or a hub id.")
    known = sources(forge)
    if name in known:
        folder = Path(_fetcher(known[name])(cache_folder(cache)))
        return check_folder(folder, trust_remote_code=trust_remote_code)
    if Path(name).is_dir():
        return check_folder(Path(name), trust_remote_code=trust_remote_code)
    if _looks_like_path(name):
        raise ConfigError(
            f'There is no model folder "{printable(name)}".\n'
            f"Known by name: {', '.join(sorted(known))}.\n"
            "Check the path, or give a registered name or a hub id."
        )
    return check_folder(_from_hub(name, known), trust_remote_code=trust_remote_code)


def _fetcher(source: ModelSource) -> Any:
    return Lazy(source.name, source.fetch, extra="train").load()


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).exists()


def _from_hub(name: str, known: Mapping[str, ModelSource]) -> Path:
    from huggingface_hub import snapshot_download  # slow to import

    try:
        folder = snapshot_download(
            name, allow_patterns=_FROM_HUB, ignore_patterns=_NOT_FROM_HUB, etag_timeout=_HUB_TIMEOUT_S
        )
    except Exception as error:  # the hub client raises its own, its HTTP client's and the system's errors
        reason = printable(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
        raise ConfigError(
            f'The model "{printable(name, 80)}" is neither registered nor a folder, and the hub did not give it: '
            f"{reason}\n{did_you_mean(name, known)}\n"
            "Check the name and the network, or download the model elsewhere and give its folder."
        ) from error
    return Path(folder)
