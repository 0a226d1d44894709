"""A trained folder, opened to answer: what it was trained on is checked before a single row is read.

Nothing here imports torch; the engine of the model's family is imported when a folder is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from instructforge.contract import FILE_NAME, Contract
from instructforge.errors import ConfigError, ContractMismatchError
from instructforge.models import check_folder, family_of

if TYPE_CHECKING:
    from instructforge.data import Instruction, Output
    from instructforge.tasks import Task

__all__ = ["NEEDS", "Engine", "open_engine"]

NEEDS = ("text", "choice_logprobs", "label_scores", "spans")

_ENGINES = {
    "causal": "instructforge.engines.causal:CausalEngine",
    "encoder": "instructforge.engines.heads:HeadEngine",
}


class Engine(Protocol):
    """Answers instructions with one model.

    Attributes:
        contract: What the model was trained on.
    """

    contract: Contract

    def outputs(self, instructions: Iterable[Instruction], needs: str) -> Iterator[Output]:
        """Yield what the model says of each instruction, in their order.

        Args:
            instructions: Read as a stream; only a window of them is held.
            needs: What to fill in: ``text``, ``choice_logprobs``, ``label_scores`` or ``spans``.

        Raises:
            ConfigError: The model's family cannot give what is needed.
        """


def open_engine(
    folder: str | Path, *, task: Task | None = None, trust_remote_code: bool = False, **options: Any
) -> Engine:
    """Open a model folder.

    Args:
        folder: As training wrote it; or an untrained causal model, with ``task``.
        task: For an untrained model: the task that it is asked. Its own chat template is used then.
        trust_remote_code: Let the model run code of its own.
        options: Of the family's engine, such as ``batch_size``.

    Raises:
        ContractMismatchError: Tokenizer, chat template or weights are not those of the contract, or there is none.
        ConfigError: The folder is no model that is safe to load.
    """
    path = check_folder(Path(folder), trust_remote_code=trust_remote_code)
    family = family_of(path)
    trained = (path / FILE_NAME).exists() or task is None
    contract = Contract.read(path) if trained else None
    if contract is not None and contract.family != family:
        raise ContractMismatchError(
            f'The model in "{path}" is {family}, and its contract is of a model that is {contract.family}.\n'
            "A model is only used with the bytes that it was trained on.\n"
            "Put the original config.json and contract.json back, or train the model again.",
            differences=(f"family: {contract.family}, not {family}",),
        )
    if family not in _ENGINES:
        raise ConfigError(f"a {family} model cannot be opened; known are {', '.join(_ENGINES)} models")
    module, _, name = _ENGINES[family].partition(":")
    kind = getattr(import_module(module), name)
    engine: Engine = kind(path, contract, task=task, trust_remote_code=trust_remote_code, **options)
    return engine
