"""The trainer ``encoder``: one job, one model folder, whichever head the task's target asks for."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from safetensors.torch import save_file
from torch import Tensor

from instructforge.contract import Contract, target_to_json
from instructforge.encoding.tokenizers import tokenizer_sha256
from instructforge.files import canonical_json, sha256_of
from instructforge.manifest import library_versions
from instructforge.models import check_folder
from instructforge.models.loading import quiet
from instructforge.training.folder import base_fingerprint, finished, model_card, remember, write_model_folder
from instructforge.training.heads.choice import train_choice
from instructforge.training.heads.settings import EncoderSettings, asked_settings
from instructforge.training.heads.span import train_span
from instructforge.training.heads.tags import train_tags
from instructforge.training.job import TrainingJob, TrainingResult
from instructforge.training.loop import LoopResult, clear_work

__all__ = ["HEAD_WEIGHTS", "EncoderTrainer"]

HEAD_WEIGHTS = "head.safetensors"
"""The weights of a choice head, beside an ordinary folder of its body."""

_log = logging.getLogger("instructforge.training")


class Trained(Protocol):
    """What training a head of any kind returns, ready to be written.

    Attributes:
        settings: As resolved.
        loop: What the loop did, if it ran.
        best: Validation figures of what was kept, with the step.
        counts: Rows, and whatever else was counted.
        notes: What the user should know.
        seconds: Time it took.
        method: How the weights were changed, for the contract.
        tokenizer: The model's.
        written: What ``save_pretrained`` writes: the body, or a model of transformers' own with its head.
        head: Weights of a head that is written beside the body; empty where ``written`` has it.
        encoding: How rows become ids, for the contract.
        labels: What the head's outputs stand for, in their order.
    """

    @property
    def settings(self) -> EncoderSettings: ...
    @property
    def loop(self) -> LoopResult | None: ...
    @property
    def best(self) -> Mapping[str, float]: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def method(self) -> str: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def written(self) -> Any: ...
    @property
    def head(self) -> Mapping[str, Tensor]: ...
    @property
    def encoding(self) -> Mapping[str, Any]: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


HEADS: Final[Mapping[str, Callable[[TrainingJob], Trained]]] = {
    "choice": train_choice,
    "ranking": train_choice,
    "span": train_span,
    "tags": train_tags,
}
"""What trains each kind of head."""


class EncoderTrainer:
    """Fine-tunes an encoder model to choose among labels, to find spans, or to tag tokens.

    A choice model is written as an ordinary folder of its body (``AutoModel`` opens it), and its head beside it.
    Models of spans and of tags are transformers' own: ``AutoModelForQuestionAnswering`` opens the former,
    ``AutoModelForTokenClassification`` the latter.
    """

    name: ClassVar[str] = "encoder"
    heads: ClassVar[tuple[str, ...]] = tuple(HEADS)
    families: ClassVar[tuple[str, ...]] = ("encoder",)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise ``ConfigError`` with every option that is unknown or wrong."""
        asked_settings(settings)

    def train(self, job: TrainingJob) -> TrainingResult:
        """Train, write the model folder with its contract, and return what happened.

        Raises:
            ConfigError: Options are wrong, or the model folder is not safe to load.
            TrainingError: There is nothing to train on, or training had to stop.
        """
        asked = asked_settings(job.settings)
        check_folder(job.model, trust_remote_code=asked.trust_remote_code)
        job.work.mkdir(parents=True, exist_ok=True)
        fingerprint = _fingerprint(job)
        if (before := finished(job, fingerprint)) is not None:
            _log.warning("trained before with the same data, model and options: %s is kept", job.out)
            return before
        trained = HEADS[job.task.target.head](job)
        result = _result(trained)
        for note in trained.notes:
            _log.info("%s", note)
        write_model_folder(job.out, lambda out: _write(out, job, trained, result))
        remember(job, fingerprint, result)
        clear_work(job.work)
        for left in job.work.glob("features-*"):
            shutil.rmtree(left, ignore_errors=True)
        return result


def _fingerprint(job: TrainingJob) -> str:
    """Hash everything that the training is made from."""
    rows = [
        [
            sha256_of(canonical_json({**row.example.to_json(), "origin": None, "labels": list(row.labels)}))
            for row in part
        ]
        for part in (job.train, job.validation)
    ]
    task = [job.task.name, list(job.task.fields), target_to_json(job.task.target)]
    base = base_fingerprint(job.model)
    return sha256_of([rows, task, base, dict(job.settings), job.seed, job.decoder, dict(job.templates)])


def _result(trained: Trained) -> TrainingResult:
    loop = trained.loop
    return TrainingResult(
        steps=loop.steps if loop else 0,
        seconds=trained.seconds,
        log=loop.log if loop else (),
        best=dict(trained.best),
        counts=dict(trained.counts),
        settings=trained.settings.to_json(),
        notices=(*trained.notes, *(loop.notices if loop else ())),
    )


def _write(out: Path, job: TrainingJob, trained: Trained, result: TrainingResult) -> None:
    with quiet():
        trained.written.save_pretrained(out)
    if trained.head:
        save_file({name: part.detach().contiguous().clone() for name, part in trained.head.items()}, out / HEAD_WEIGHTS)
    trained.tokenizer.save_pretrained(out)
    versions = library_versions()
    contract = _contract(job, trained)
    contract.write(out, versions)
    facts = {"steps": result.steps, **result.best, **result.counts, "settings": json.dumps(result.settings)}
    languages = sorted({row.language for row in job.train[:1000]})
    card = model_card(job, contract, result=facts, languages=languages, versions=versions)
    (out / "README.md").write_text(card + _notes(result.notices), encoding="utf-8")


def _notes(notices: tuple[str, ...]) -> str:
    return "\n## Notes\n\n" + "".join(f"- {notice}\n" for notice in notices)


def _contract(job: TrainingJob, trained: Trained) -> Contract:
    target = job.task.target
    return Contract(
        task=job.task.name,
        target=target_to_json(target),
        family="encoder",
        trainer=EncoderTrainer.name,
        method=trained.method,
        head=target.head,
        fields=tuple(job.task.fields),
        templates=job.templates,
        tokenizer_sha256=tokenizer_sha256(trained.tokenizer),
        decoder=job.decoder or target.head_decoder,
        encoding=trained.encoding,
        labels=trained.labels,
    )
