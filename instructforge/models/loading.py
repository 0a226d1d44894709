"""Loading of checked model folders: safetensors only, no code of theirs, no progress bars in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging as transformers_logging

from instructforge.errors import ConfigError, printable

__all__ = ["load_causal", "load_encoder", "load_tokenizer", "quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars; a terminal belongs to the command that runs."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def _only_errors() -> Iterator[None]:
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Load a folder's tokenizer.

    Raises:
        ConfigError: It cannot be loaded.
    """
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # from a foreign file anything may come, out of three libraries
        raise _unreadable("tokenizer", folder, error) from error


def load_causal(folder: Path, *, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
    """Load a folder's causal language model.

    Raises:
        ConfigError: It cannot be loaded.
    """
    try:
        with quiet():
            return transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # as above
        raise _unreadable("model", folder, error) from error


_WITH_HEAD = {
    "span": transformers.AutoModelForQuestionAnswering,
    "tags": transformers.AutoModelForTokenClassification,
}
"""The heads that transformers has a model for; of all others the body is loaded."""


def load_encoder(folder: Path, *, head: str = "", trust_remote_code: bool = False, **config: Any) -> Any:
    """Load a folder's encoder model in float32: its body, or transformers' own model with a ``span`` or ``tags`` head.

    Args:
        folder: A checked model folder.
        head: Kind of head; a new one is drawn from torch's generator where the folder has none.
        trust_remote_code: Let the model run code of its own.
        config: Values of the configuration to change, such as ``id2label``.

    Raises:
        ConfigError: It cannot be loaded.
    """
    kind = _WITH_HEAD.get(head, transformers.AutoModel)
    try:
        with quiet(), _only_errors():  # a new head and an unused pooler are meant, and need no warning
            return kind.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust_remote_code, **config
            )
    except Exception as error:  # as above
        raise _unreadable("model", folder, error) from error


def _unreadable(what: str, folder: Path, error: Exception) -> ConfigError:
    reason = printable((str(error).strip() or type(error).__name__).splitlines()[0])
    return ConfigError(
        f'The {what} in "{printable(folder)}" cannot be loaded: {reason}\n'
        "Expected are the files of transformers, with weights as safetensors.\n"
        "Check that the folder is complete, or fetch the model again."
    )
