"""Encoder models: scores of labels, spans of a passage, or tags of tokens.

Rows are read by the very reader that training used, set up from the contract. Rows of like length are answered
together, and the outputs come in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor

from instructforge.contract import Contract, target_to_json
from instructforge.data import Instruction, Output
from instructforge.encoding.tokenizers import tokenizer_sha256
from instructforge.errors import ConfigError, ContractMismatchError, printable
from instructforge.models.loading import load_encoder, load_tokenizer
from instructforge.tasks import Tags, Task
from instructforge.training.heads.body import input_limit, preferred_device
from instructforge.training.heads.choice import ChoiceModel, build_model, choice_scores
from instructforge.training.heads.inputs import ChoiceReader
from instructforge.training.heads.plan import ChoicePlan, untrained_plan
from instructforge.training.heads.span import SpanReader, span_outputs
from instructforge.training.heads.tags import TagReader, tag_outputs
from instructforge.training.heads.trainer import HEAD_WEIGHTS

__all__ = ["HeadEngine"]

_WINDOW = 512
"""Rows that are sorted by length among themselves."""

_UNTRAINED_LENGTH = 256


class _Answerer(Protocol):
    """One kind of head."""

    gives: str

    def answer(self, rows: Sequence[Instruction]) -> list[Output]: ...


class HeadEngine:
    """Answers with an encoder model.

    Args:
        folder: A checked model folder.
        contract: What it was trained on; None for an untrained model, whose body's own sense of nearness
            chooses among a row's labels.
        task: For an untrained model: the task it is asked.
        device: By default a GPU where there is one.
        trust_remote_code: Let the model run code of its own.

    Raises:
        ContractMismatchError: Tokenizer or head are not those of the contract.
        ConfigError: The model cannot be loaded, or cannot answer this task.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract | None = None,
        *,
        task: Task | None = None,
        device: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        model = load_encoder(folder, head=contract.head if contract else "", trust_remote_code=trust_remote_code)
        self.contract = contract or _untrained(task, tokenizer, input_limit(model, tokenizer))
        self.contract.require(tokenizer_sha256=tokenizer_sha256(tokenizer))
        if self.contract.head not in ANSWERERS:
            raise ConfigError(
                f'no encoder model has a head "{printable(self.contract.head, 40)}".\n'
                f"Known are: {', '.join(ANSWERERS)}."
            )
        at = torch.device(device) if device else preferred_device()
        weights = folder / HEAD_WEIGHTS if contract else None
        self._answerer = ANSWERERS[self.contract.head](self.contract, tokenizer, model.to(at).eval(), weights)

    def outputs(self, instructions: Iterable[Instruction], needs: str) -> Iterator[Output]:
        """Yield an output for each instruction, in their order; one that cannot be answered gets ``error``.

        ``label_scores`` are log-probabilities of the instruction's labels, in its order; where several labels may be
        right, the head's own scores, above 0 for those it would choose. A label that the head was
        not trained on cannot be chosen: its score is minus infinity. ``spans`` come with ``null_score`` on the same
        scale. ``tag_scores`` are log-probabilities.

        Raises:
            ConfigError: This model's head cannot give what is needed.
        """
        gives = self._answerer.gives
        if needs != gives:
            raise ConfigError(
                f'an encoder model with a {self.contract.head} head cannot give "{printable(needs, 40)}".\n'
                f"It gives {gives}.\nChoose a decoder that reads these, such as {self.contract.decoder}."
            )
        stream = iter(instructions)
        while window := list(islice(stream, _WINDOW)):
            yield from self._answerer.answer(window)


def _untrained(task: Task | None, tokenizer: Any, longest: int) -> Contract:
    if task is None or task.target.head not in ("choice", "ranking") or getattr(task.target, "multiple", False):
        raise ConfigError(
            "an encoder model that was not trained can only choose one of some labels, or rank items.\n"
            f"The task {task.name if task else 'that it is asked'} wants something else.\nTrain the model first."
        )
    plan = untrained_plan(task)
    return Contract(
        task=task.name,
        target=target_to_json(task.target),
        family="encoder",
        method="none",
        head=task.target.head,
        fields=[*task.fields],
        tokenizer_sha256=tokenizer_sha256(tokenizer),
        decoder=task.target.head_decoder,
        encoding={"max_length": min(_UNTRAINED_LENGTH, longest), "choices": plan.to_json()},
    )


class _Choices:
    """Scores each of an instruction's labels."""

    gives = "label_scores"

    def __init__(self, contract: Contract, tokenizer: Any, body: Any, weights: Path | None) -> None:
        try:
            self.plan = ChoicePlan.from_json(contract.encoding["choices"])
            self.reader = ChoiceReader(tokenizer, self.plan, max_length=int(contract.encoding["max_length"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _incomplete(error) from None
        self.model = _with_head(self.plan, body, weights).to(body.device).eval()
        self.places = {label: place for place, label in enumerate(self.plan.labels)}

    def answer(self, rows: Sequence[Instruction]) -> list[Output]:
        items = self.reader.read(rows)
        askable = [place for place, row in enumerate(rows) if row.labels or self.plan.labels]
        scores = choice_scores(self.model, self.reader, [items[place] for place in askable])
        outputs = [Output(error="the row has no choices")] * len(rows)
        for place, logits in zip(askable, scores, strict=True):
            outputs[place] = self._output(rows[place], logits)
        return outputs

    def _output(self, row: Instruction, logits: Tensor) -> Output:
        if self.plan.kind != "match":
            labels = row.labels or self.plan.labels
            places = [self.places.get(label) for label in labels]
            if all(place is None for place in places):
                shown = ", ".join(f'"{printable(label, 40)}"' for label in labels[:5])
                return Output(error=f"the model was trained on none of the row's labels: {shown}")
            nothing = logits.new_tensor(-torch.inf)
            logits = torch.stack([nothing if place is None else logits[place] for place in places])
        scores = logits.double() if self.plan.kind == "several" else torch.log_softmax(logits.double(), dim=-1)
        return Output(label_scores=tuple(scores.tolist()))


class _Spans:
    """Finds spans of a passage, and scores "no answer" beside them."""

    gives = "spans"

    def __init__(self, contract: Contract, tokenizer: Any, model: Any, weights: Path | None) -> None:
        options = contract.encoding
        try:
            self.n_best, self.longest = int(options["n_best"]), int(options["max_answer_tokens"])
            self.reader = SpanReader(
                tokenizer,
                fields=contract.fields,
                within=str(contract.target["options"]["within"]),
                max_length=int(options["max_length"]),
                stride=int(options["stride"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _incomplete(error) from None
        self.model = model

    def answer(self, rows: Sequence[Instruction]) -> list[Output]:
        items = self.reader.read(rows)
        return span_outputs(self.model, self.reader, items, n_best=self.n_best, max_answer_tokens=self.longest)


class _Tags:
    """Scores the tags of each token of a sentence."""

    gives = "tag_scores"

    def __init__(self, contract: Contract, tokenizer: Any, model: Any, weights: Path | None) -> None:
        try:
            options, target = contract.encoding, contract.target["options"]
            self.reader = TagReader(
                tokenizer,
                target=Tags(target["options"], **{name: target[name] for name in ("from_field", "within", "text")}),
                tags=contract.labels,
                max_length=int(options["max_length"]),
                stride=int(options["stride"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _incomplete(error) from None
        self.model = model

    def answer(self, rows: Sequence[Instruction]) -> list[Output]:
        return tag_outputs(self.model, self.reader, self.reader.read(rows), rows)


ANSWERERS: Final[Mapping[str, Callable[[Contract, Any, Any, Path | None], _Answerer]]] = {
    "choice": _Choices,
    "ranking": _Choices,
    "span": _Spans,
    "tags": _Tags,
}
"""What answers with each kind of head: made of contract, tokenizer, model, and the weights of a head beside it."""


def _incomplete(error: Exception) -> ContractMismatchError:
    return ContractMismatchError(
        f"The contract lacks what the model's head is read by: {type(error).__name__} {printable(error)}.\n"
        "A head's contract says which fields are read, in what lengths, and for which labels.\n"
        "Train the model again."
    )


def _with_head(plan: ChoicePlan, body: Any, weights: Path | None) -> ChoiceModel:
    """Return body and head together.

    Raises:
        ContractMismatchError: The head is missing, or is not of this plan.
    """
    model = build_model(plan.kind, body, labels=len(plan.labels))
    if weights is None:
        return model
    try:
        model.head.load_state_dict(load_file(weights))
    except Exception as error:  # from a foreign file anything may come
        raise ContractMismatchError(
            f'The head "{printable(weights)}" cannot be used: {printable(error)}.\n'
            f'The contract asks for a head "{plan.kind}" with {len(plan.labels)} labels.\nTrain the model again.'
        ) from error
    return model
