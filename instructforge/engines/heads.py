"""Answers of encoder models: scores of labels, or spans of a passage."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor

from instructforge.contract import Contract
from instructforge.data import Instruction, Output
from instructforge.encoding.tokenizers import tokenizer_sha256
from instructforge.errors import ConfigError, ContractMismatchError, printable
from instructforge.models import check_folder
from instructforge.training.heads.body import load_body, load_tokenizer, preferred_device
from instructforge.training.heads.choice import ChoiceModel, build_model, choice_scores
from instructforge.training.heads.inputs import ChoiceReader
from instructforge.training.heads.plan import ChoicePlan
from instructforge.training.heads.span import SpanReader, load_span_model, span_outputs
from instructforge.training.heads.trainer import HEAD_WEIGHTS

__all__ = ["ChoiceEngine", "SpanEngine", "open_head_engine"]

_log = logging.getLogger("instructforge.engines")

_CHUNK = 512
"""Instructions that are sorted by length among themselves."""


def open_head_engine(folder: Path, contract: Contract | None = None) -> ChoiceEngine | SpanEngine:
    """Open a folder that the trainer ``encoder`` wrote.

    Raises:
        ContractMismatchError: Its parts are not those that its contract describes.
        ConfigError: It is not safe to load, or holds another kind of model.
    """
    check_folder(folder)
    contract = contract or Contract.read(folder)
    tokenizer = load_tokenizer(folder)
    contract.require(tokenizer_sha256=tokenizer_sha256(tokenizer))
    if contract.head == "span":
        return SpanEngine(folder, contract, tokenizer)
    if contract.head == "choice":
        return ChoiceEngine(folder, contract, tokenizer)
    raise ConfigError(
        f'the model in "{printable(folder)}" has the head "{printable(contract.head, 40)}"; known: choice, span'
    )


class ChoiceEngine:
    """Scores each of an instruction's labels.

    Attributes:
        contract: What the model was trained on.
        needs: What it can fill in an ``Output``.
    """

    needs: ClassVar[tuple[str, ...]] = ("label_scores",)

    def __init__(self, folder: Path, contract: Contract, tokenizer: Any) -> None:
        self.contract = contract
        self._plan = _plan(contract)
        self._reader = ChoiceReader(tokenizer, self._plan, max_length=int(contract.encoding["max_length"]))
        self._model = _load_choice(folder, self._plan).to(preferred_device()).eval()
        self._places = {label: place for place, label in enumerate(self._plan.labels)}
        self._told: set[str] = set()

    def outputs(self, instructions: Sequence[Instruction], needs: str = "label_scores") -> Iterator[Output]:
        """Yield an output for each instruction, in order: log-probabilities of its labels in their order.

        A label that the head was not trained on cannot be chosen: its score is minus infinity, and the log says so.

        Raises:
            ConfigError: Something other than label scores is needed.
        """
        _check_needs(needs, self.needs, self.contract)
        for start in range(0, len(instructions), _CHUNK):
            chunk = instructions[start : start + _CHUNK]
            scores = choice_scores(self._model, self._reader, self._reader.read(chunk))
            for instruction, row in zip(chunk, scores, strict=True):
                yield self._output(instruction, row)

    def _output(self, instruction: Instruction, logits: Tensor) -> Output:
        if self._plan.kind == "match":
            own = logits
        else:
            labels = instruction.labels or self._plan.labels
            places = [self._places.get(label, -1) for label in labels]
            self._tell_unknown(labels, places)
            own = torch.stack([logits[place] if place >= 0 else logits.new_tensor(-torch.inf) for place in places])
        if not len(own) or not torch.isfinite(own).any():
            return Output()  # nothing can be chosen; the decoder says so for this row
        return Output(label_scores=tuple(torch.log_softmax(own.double(), dim=-1).tolist()))

    def _tell_unknown(self, labels: Sequence[str], places: Sequence[int]) -> None:
        unknown = {label for label, place in zip(labels, places, strict=True) if place < 0} - self._told
        if unknown:
            self._told |= unknown
            shown = ", ".join(f'"{printable(label, 40)}"' for label in sorted(unknown)[:5])
            _log.warning("%d labels are new to the model and cannot be chosen: %s", len(unknown), shown)


class SpanEngine:
    """Finds spans of a passage, and scores "no answer" beside them; see ``ChoiceEngine``."""

    needs: ClassVar[tuple[str, ...]] = ("spans",)

    def __init__(self, folder: Path, contract: Contract, tokenizer: Any) -> None:
        self.contract = contract
        try:
            options = contract.encoding
            self._n_best, self._longest = int(options["n_best"]), int(options["max_answer_tokens"])
            self._reader = SpanReader(
                tokenizer,
                fields=contract.fields,
                within=str(contract.target["options"]["within"]),
                max_length=int(options["max_length"]),
                stride=int(options["stride"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _incomplete(error) from None
        self._model = load_span_model(folder).to(preferred_device()).eval()

    def outputs(self, instructions: Sequence[Instruction], needs: str = "spans") -> Iterator[Output]:
        """Yield an output for each instruction, in order: its best spans, and ``null_score`` on the same scale.

        An instruction whose question leaves no room for a passage gets an output without spans.

        Raises:
            ConfigError: Something other than spans is needed.
        """
        _check_needs(needs, self.needs, self.contract)
        for start in range(0, len(instructions), _CHUNK):
            items = self._reader.read(instructions[start : start + _CHUNK])
            for item in items:
                if item.problem:
                    _log.warning('row "%s" cannot be answered: %s', printable(item.id, 80), item.problem)
            yield from span_outputs(
                self._model, self._reader, items, n_best=self._n_best, max_answer_tokens=self._longest
            )


def _check_needs(needs: str, given: Sequence[str], contract: Contract) -> None:
    if needs not in given:
        raise ConfigError(
            f'the decoder needs "{printable(needs, 40)}", and a {contract.head} head gives {", ".join(given)}; '
            f'use the decoder "{contract.decoder}"'
        )


def _incomplete(error: Exception) -> ContractMismatchError:
    return ContractMismatchError(
        f"The contract lacks what the model's head is read by: {printable(error)}.\n"
        "A head's contract says which fields are read, in what lengths, and for which labels.\n"
        "Train the model again."
    )


def _plan(contract: Contract) -> ChoicePlan:
    try:
        plan = ChoicePlan.from_json(contract.encoding["choices"])
        int(contract.encoding["max_length"])
    except (KeyError, TypeError, ValueError) as error:
        raise _incomplete(error) from None
    return plan


def _load_choice(folder: Path, plan: ChoicePlan) -> ChoiceModel:
    """Load body and head.

    Raises:
        ContractMismatchError: The head is missing, or is not of this plan.
    """
    model = build_model(plan.kind, load_body(folder), labels=len(plan.labels))
    path = folder / HEAD_WEIGHTS
    try:
        head = load_file(path)
        model.head.load_state_dict(head)
    except (OSError, RuntimeError, ValueError) as error:
        raise ContractMismatchError(
            f'The head "{printable(path)}" cannot be used: {printable(error)}.\n'
            f'The contract asks for a head "{plan.kind}" with {len(plan.labels)} labels.\nTrain the model again.'
        ) from None
    return model
