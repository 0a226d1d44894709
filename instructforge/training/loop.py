"""The training loop that every trainer shares: transformers' ``Trainer``, with what it leaves open decided.

A trainer hands over ``LoopParts``: its model, its rows, how a batch is made and what the loss is. The loop gives
an order of rows that depends on seed and epoch alone, checkpoints without pickles, resuming to the same bytes, a
journal, validation with the best weights kept, and a stop with names where a loss is no number.

Bytes: after a kill, the same call goes on from the newest complete checkpoint and ends with the weights of an
unbroken run, on the same machine with the same versions and number of threads. When checkpoints are written does
not matter for it, since writing one draws no random number.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from attrs import field, frozen
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers.trainer_callback import PrinterCallback

from instructforge.errors import ConfigError, TrainingError, printable
from instructforge.files import append_line, seed_of, sha256_of, write_atomically
from instructforge.training import checkpoints, state
from instructforge.training.job import TrainingJob
from instructforge.training.settings import LoopSettings

__all__ = [
    "JOURNAL",
    "BatchOrder",
    "LoopParts",
    "LoopResult",
    "clear_work",
    "run_loop",
    "seed_everything",
    "seed_for_torch",
    "versions",
]

Batch = dict[str, torch.Tensor]

_log = logging.getLogger("instructforge.training")

_CHECKPOINT = "checkpoint"
_BEST = "best"
_WEIGHTS = "weights.safetensors"
JOURNAL = "train_log.jsonl"
"""The log in ``job.work``: a JSON object a line, the same bytes for the same run."""

_MOST_LOG_ENTRIES = 500
_LENGTH_POOL = 50  # batches that are sorted by length among themselves; as transformers does
_ROWS_NAMED = 20
_PARALLEL = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")


@frozen(kw_only=True)
class LoopParts:
    """What a trainer brings.

    Args:
        model: Ready to train: what is frozen is frozen, adapters are in.
        rows: What ``collate`` takes lists of; read by index.
        lengths: Tokens of each row.
        ids: Id of each row, for messages.
        drawn: Epoch → the numbers of the rows that it has, some of them several times, the same number of them in every
            epoch; each row once where left out.
        collate: Rows → batch of tensors.
        count: How many things of a batch its loss is a mean of (trained tokens, rows …).
        loss: (model, batch, count) → the batch's share of the mean: the sum over the batch divided by ``count``,
            which is that of all batches of the step. So accumulation changes nothing.
        evaluate: Model in evaluation mode → figures; it must draw no random number. None: no validation.
        figure: Which of the figures chooses the best weights.
        higher_is_better: Its direction.
        groups: Parameter groups with learning rates of their own; by default AdamW's usual two, with weight
            decay on matrices only.
        fingerprint: What decides the result beside settings and rows: the method, a hash of the base model …

    Shapes:
        Of a batch: whatever ``collate`` and ``loss`` agree on; the first dimension is B.
    """

    model: torch.nn.Module
    rows: Sequence[Any]
    lengths: Sequence[int]
    ids: Sequence[str]
    collate: Callable[[list[Any]], Batch]
    count: Callable[[Batch], int]
    loss: Callable[[torch.nn.Module, Batch, float], torch.Tensor]
    evaluate: Callable[[torch.nn.Module], Mapping[str, float]] | None = None
    figure: str = "loss"
    higher_is_better: bool = False
    groups: Callable[[torch.nn.Module], list[dict[str, Any]]] | None = None
    drawn: Callable[[int], Sequence[int]] | None = None
    fingerprint: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class LoopResult:
    """What the loop did; the model holds the kept weights.

    Attributes:
        steps: Optimizer steps taken, those before a resume included.
        seconds: Training time, that before a resume included.
        log: The journal's entries.
        best: Step and figure of the kept weights, where there was validation.
        notices: What the user should know: checkpoints passed over, other versions at resume …
        environment: Versions, threads, device.
    """

    steps: int
    seconds: float
    log: tuple[Mapping[str, float], ...]
    best: Mapping[str, float]
    notices: tuple[str, ...]
    environment: Mapping[str, str]


def versions() -> dict[str, str]:
    """Return what a repetition to the byte depends on beside the inputs."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": str(torch.get_num_threads()),
        "device": device,
    }


def seed_for_torch(seed: int, *names: str) -> int:
    """Return the seed that belongs to ``names``, in the range that torch and numpy take."""
    return seed_of(seed, *names) % 2**32


def seed_everything(seed: int, *names: str) -> None:
    """Seed Python's, numpy's and torch's generators; call it before new weights are drawn."""
    transformers.set_seed(seed_for_torch(seed, *names))


class BatchOrder(Sampler[list[int]]):
    """Batches of row numbers; the order depends on seed and epoch alone, so that a resumed run finds it again.

    Args:
        lengths: Tokens of each row; rows of like length come into one batch.
        batch_size: Rows of a batch.
        seed: Of the order.
        grouped: Whether lengths matter.
        drawn: Epoch → the rows that it has; each once where left out.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        grouped: bool = True,
        drawn: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.grouped = lengths, batch_size, seed, grouped
        self.drawn = drawn or (lambda epoch: range(len(lengths)))
        self.rows = len(self.drawn(0))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(seed_for_torch(self.seed, "order", str(self.epoch)))
        rows = self.drawn(self.epoch)
        order = [int(rows[place]) for place in torch.randperm(len(rows), generator=generator).tolist()]
        if self.grouped:
            pool = self.batch_size * _LENGTH_POOL
            order = [
                row
                for start in range(0, len(order), pool)
                for row in sorted(order[start : start + pool], key=lambda row: -self.lengths[row])
            ]
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        if self.grouped:
            shuffled = torch.randperm(len(batches), generator=generator).tolist()
            batches = [batches[number] for number in shuffled]
        yield from batches


class _Rows(Dataset[tuple[int, Any]]):
    """Rows with their numbers, so that a bad batch can be named."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[int, Any]:
        return number, self.rows[number]


def run_loop(job: TrainingJob, settings: LoopSettings, parts: LoopParts) -> LoopResult:
    """Train ``parts.model`` in place, going on from a checkpoint in ``job.work`` if there is one.

    Raises:
        TrainingError: There is nothing to train, or a loss or gradient is no number; the rows are named.
    """
    _check_processes()
    _check(parts)
    job.work.mkdir(parents=True, exist_ok=True)
    fingerprint = _fingerprint(job, settings, parts)
    found = checkpoints.newest(job.work, prefix=_CHECKPOINT, fingerprint=fingerprint)
    notices = [*found.notices, *_changed_environment(found.path)]
    for notice in notices:
        _log.warning("%s", notice)
    trainer = _Trainer(job, settings, parts, fingerprint)
    if found.path is None:
        _start_over(job.work)
    trainer.train(resume_from_checkpoint=str(found.path) if found.path else None)
    best = trainer.keep_best()
    return LoopResult(
        steps=trainer.state.global_step,
        seconds=trainer.seconds(),
        log=tuple(trainer.own.log),
        best=best,
        notices=tuple(notices),
        environment=versions(),
    )


def _check_processes() -> None:
    """Refuse what would train the same weights in several processes that know nothing of each other."""
    asked = [f"{name}={os.environ[name]}" for name in _PARALLEL if os.environ.get(name, "false").lower() == "true"]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        asked.append(f"WORLD_SIZE={os.environ['WORLD_SIZE']}")
    if asked:
        raise ConfigError(
            f"The environment asks for training in parallel ({', '.join(asked)}).\n"
            "Training runs in one process, on one GPU or on the CPU.\n"
            "Start it without torchrun or accelerate launch; method lora and activation_checkpointing save memory."
        )


def _check(parts: LoopParts) -> None:
    if not len(parts.rows):
        raise TrainingError(
            "There is no row to train on.\nTraining needs labelled rows that fit the model's length.\n"
            "See what was left out and why in the counts above, or in the run's ledger."
        )
    if not any(part.requires_grad for part in parts.model.parameters()):
        raise TrainingError(
            "The model has no trainable parameter.\nEvery one of them is frozen, so that no step could change it.\n"
            "Choose another method, or modules that the model has."
        )


def _fingerprint(job: TrainingJob, settings: LoopSettings, parts: LoopParts) -> str:
    """Hash what decides the weights. How often checkpoints are written does not."""
    options = settings.to_json()
    for free in ("save_every", "save_seconds", "report_to"):
        options.pop(free)
    facts = {
        "settings": options,
        "seed": job.seed,
        "ids": sha256_of("\x1f".join(parts.ids)),
        "lengths": sha256_of(" ".join(map(str, parts.lengths))),
        "parts": dict(parts.fingerprint),
    }
    return sha256_of(facts)


def _changed_environment(path: Path | None) -> list[str]:
    if path is None:
        return []
    before, now = checkpoints.about(path).get("environment", {}), versions()
    changed = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
    return [f"going on in another environment ({', '.join(changed)}): bytes may differ"] if changed else []


def _start_over(work: Path) -> None:
    for prefix in (_CHECKPOINT, _BEST):
        checkpoints.remove_all_but(work, set(), prefix=prefix)
    (work / JOURNAL).unlink(missing_ok=True)


@frozen
class _Own:
    """What the loop itself remembers across a resume, beside the trainer's own state."""

    log: list[dict[str, float]] = field(factory=list)
    pending: list[float] = field(factory=list)
    best: dict[str, float] = field(factory=dict)
    stale: list[int] = field(factory=lambda: [0])
    spent_s: list[float] = field(factory=lambda: [0.0])

    def to_json(self) -> dict[str, Any]:
        return {"log": self.log, "pending": self.pending, "best": self.best, "stale": self.stale}

    def restore(self, value: Mapping[str, Any], seconds: float) -> None:
        for name in ("log", "pending", "stale"):
            getattr(self, name)[:] = value[name]
        self.best.clear()
        self.best.update(value["best"])
        self.spent_s[0] = seconds


def _arguments(job: TrainingJob, settings: LoopSettings) -> transformers.TrainingArguments:
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
    arguments = transformers.TrainingArguments(
        output_dir=str(job.work / "trainer"),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        seed=seed_for_torch(job.seed, "training"),
        bf16=dtype == "bfloat16",
        activation_checkpointing=settings.activation_checkpointing,
        report_to=list(settings.report_to) or "none",
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        logging_nan_inf_filter=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one GPU: DataParallel would split batches behind our back
    return arguments


class _Trainer(transformers.Trainer):
    """transformers' loop; batches, loss, validation, log and checkpoints are ours."""

    def __init__(self, job: TrainingJob, settings: LoopSettings, parts: LoopParts, fingerprint: str) -> None:
        self.job, self.settings, self.parts, self.fingerprint = job, settings, parts, fingerprint
        self.own = _Own()
        self.order = BatchOrder(
            parts.lengths, settings.batch_size, seed=job.seed, grouped=settings.group_by_length, drawn=parts.drawn
        )
        self.rows_of_step: list[int] = []
        self.best_in_checkpoint = -1
        self.log_every = 1
        self.rate = 0.0
        self.started = self.saved_at = time.monotonic()
        super().__init__(
            model=parts.model,
            args=_arguments(job, settings),
            data_collator=self._collate,
            train_dataset=_Rows(parts.rows),
            callbacks=[_Pace(self)],
        )
        self.remove_callback(PrinterCallback)  # it prints to standard output
        self.loss_is_scaled_for_ga = True

    # --- rows and loss --------------------------------------------------------------------------------

    def _collate(self, numbered: list[tuple[int, Any]]) -> Batch:
        batch = self.parts.collate([row for _, row in numbered])
        return {**batch, "_rows": torch.tensor([number for number, _ in numbered])}

    def get_train_dataloader(self) -> DataLoader[Any]:
        loader: DataLoader[Any] = DataLoader(
            _Rows(self.parts.rows),
            batch_sampler=self.order,
            collate_fn=self._collate,
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),  # else each epoch would draw from the generator that dropout draws from
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        return torch.tensor(float(sum(map(self.parts.count, batch_samples))), device=device)

    def compute_loss(
        self, model: torch.nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        rows = inputs.pop("_rows")
        loss = self.parts.loss(model, inputs, float(num_items_in_batch))
        if not torch.isfinite(loss):
            raise self._not_a_number(f"The loss is {float(loss.detach())}", rows.tolist())
        self.rows_of_step.extend(rows.tolist())
        return loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        if not math.isfinite(float(norm)):
            raise self._not_a_number(f"The gradient's norm is {float(norm)}", self.rows_of_step)
        return norm

    def _not_a_number(self, what: str, rows: Sequence[int]) -> TrainingError:
        names = [printable(self.parts.ids[row], 60) for row in rows[:_ROWS_NAMED]]
        more = f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
        return TrainingError(
            f"{what} at step {self.state.global_step + 1}, in the batch of the rows {', '.join(names)}{more}.\n"
            "Nothing was saved from this step on.\n"
            "Look at these rows, lower learning_rate, or train with dtype float32."
        )

    def training_step(self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.own.pending.append(float(loss))
        return loss

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # an estimate that nobody here reads

    # --- optimizer ------------------------------------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None and self.parts.groups is not None:
            groups, rate = self.parts.groups(self.parts.model), self.args.learning_rate
            self.optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=self.args.weight_decay, fused=True)
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        warmup = self.settings.warmup
        share = warmup if warmup < 1 else warmup / num_training_steps
        steps = math.ceil(num_training_steps * share)

        def factor(step: int) -> float:
            if self.settings.max_seconds is None:
                return _factor(step, steps, num_training_steps, self.settings.schedule)
            passed = max(step / num_training_steps, self.seconds() / self.settings.max_seconds)
            return _factor(passed, min(share, 1.0), 1.0, self.settings.schedule)

        if self.lr_scheduler is None:
            used = optimizer or self.optimizer
            assert used is not None, "transformers makes the optimizer first"
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(used, factor)
            self._created_lr_scheduler = True
        self.log_every = math.ceil(num_training_steps / _MOST_LOG_ENTRIES)
        return self.lr_scheduler

    def schedule(self) -> Any:
        return self.lr_scheduler

    # --- time, log, validation ------------------------------------------------------------------------

    def seconds(self) -> float:
        return self.own.spent_s[0] + time.monotonic() - self.started

    def write_log(self, values: Mapping[str, float]) -> None:
        """Append an entry to the journal, and tell the job and the trackers; without times, to be repeatable."""
        entry = {"step": self.state.global_step, **values}
        self.own.log.append(entry)
        append_line(self.job.work / JOURNAL, json.dumps(entry, sort_keys=True))
        self.job.on_log(self.state.global_step, {**values, "steps": self.state.max_steps})
        self.log(dict(values))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        assert self.parts.evaluate is not None, "validation is asked for only where there is one"
        self.parts.model.eval()
        with torch.no_grad():
            figures = {name: float(value) for name, value in self.parts.evaluate(self.parts.model).items()}
        self.parts.model.train()
        figure = figures[self.parts.figure]
        if self._is_better(figure):
            self.own.best.clear()
            self.own.best.update({"step": self.state.global_step, self.parts.figure: figure})
            self.own.stale[0] = 0
            self._write_best()
        else:
            self.own.stale[0] += 1
            if self.settings.patience and self.own.stale[0] >= self.settings.patience:
                self.control.should_training_stop = True
        self.write_log({f"validation_{name}": value for name, value in figures.items()})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    def _is_better(self, figure: float) -> bool:
        if not math.isfinite(figure):
            raise TrainingError(
                f"The validation {self.parts.figure} is {figure} at step {self.state.global_step}.\n"
                "A model that gives no number cannot be chosen.\nLower learning_rate, or look at the validation rows."
            )
        if not self.own.best:
            return True
        before = self.own.best[self.parts.figure]
        return figure > before if self.parts.higher_is_better else figure < before

    # --- checkpoints ----------------------------------------------------------------------------------

    def _about(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "environment": versions(), "seconds": self.seconds()}

    def _write_best(self) -> None:
        if self.settings.keep == "best":
            path = self._best_at(self.state.global_step)
            checkpoints.write_checkpoint(
                path, lambda folder: state.save_weights(self.parts.model, folder / _WEIGHTS), about=self._about()
            )
            kept = {path, self._best_at(self.best_in_checkpoint)}  # a resumed run may still need the latter
            checkpoints.remove_all_but(self.job.work, kept, prefix=_BEST)

    def _best_at(self, step: float) -> Path:
        return self.job.work / f"{_BEST}-{step:.0f}"

    def keep_best(self) -> dict[str, float]:
        """Put the best weights into the model, if the settings say so; return which they are."""
        best = dict(self.own.best)
        if self.settings.keep == "last" or not best:
            return {"step": self.state.global_step}
        if best["step"] != self.state.global_step:
            state.load_weights(self.parts.model, self._best_at(best["step"]) / _WEIGHTS)
        return best

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        if self.control.should_training_stop:
            return  # one from here would go on where the unbroken run stops
        path = self.job.work / f"{_CHECKPOINT}-{self.state.global_step}"
        checkpoints.write_checkpoint(path, self._fill, about=self._about())
        checkpoints.remove_all_but(self.job.work, {path}, prefix=_CHECKPOINT)
        self.best_in_checkpoint = int(self.own.best.get("step", -1))
        checkpoints.remove_all_but(self.job.work, {self._best_at(self.best_in_checkpoint)}, prefix=_BEST)
        self.saved_at = time.monotonic()

    def _fill(self, folder: Path) -> None:
        state.save_weights(self.parts.model, folder / _WEIGHTS)
        state.save_optimizer(self.optimizer, self.lr_scheduler, folder)
        state.save_random(folder)
        (folder / "loop.json").write_text(json.dumps(self.own.to_json(), sort_keys=True), encoding="utf-8")
        self.state.save_to_json(str(folder / "trainer_state.json"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        state.load_weights(self.parts.model, folder / _WEIGHTS)
        seconds = float(checkpoints.about(folder).get("seconds", 0.0))
        self.own.restore(json.loads((folder / "loop.json").read_text(encoding="utf-8")), seconds)
        self.best_in_checkpoint = int(self.own.best.get("step", -1))
        lines = [json.dumps(entry, sort_keys=True) + "\n" for entry in self.own.log]
        with write_atomically(self.job.work / JOURNAL) as handle:
            handle.writelines(lines)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            state.load_optimizer(self.optimizer, self.lr_scheduler, Path(checkpoint))

    def _load_scaler(self, checkpoint: str | None) -> None:
        return None  # float16, which alone needs a scaler, is not offered

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            state.load_random(Path(checkpoint))


def _factor(at: float, warmup: float, end: float, schedule: str) -> float:
    """Return the share of the top learning rate. Source: transformers' schedules of the same names."""
    if at < warmup:
        return at / warmup
    if schedule == "constant":
        return 1.0
    left = (end - at) / (end - warmup) if end > warmup else 0.0
    if schedule == "linear":
        return max(0.0, left)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, 1.0 - left)))


class _Pace(transformers.TrainerCallback):
    """Says when to log, validate, save and stop."""

    def __init__(self, trainer: _Trainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.started = self.trainer.saved_at = time.monotonic()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        batches = len(self.trainer.order)
        self.trainer.order.set_epoch(state.global_step // math.ceil(batches / args.gradient_accumulation_steps))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.rows_of_step.clear()
        self.trainer.rate = float(self.trainer.schedule().get_last_lr()[0])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer, settings, step = self.trainer, self.trainer.settings, state.global_step
        out_of_time = settings.max_seconds is not None and trainer.seconds() >= settings.max_seconds
        last = out_of_time or step >= state.max_steps
        per_epoch = math.ceil(len(trainer.order) / args.gradient_accumulation_steps)
        if step % trainer.log_every == 0 or last:
            self._log(step)
        if trainer.parts.evaluate is not None:
            control.should_evaluate = last or step % (settings.eval_every or per_epoch) == 0
        control.should_save = not last and self._save_now(step)
        control.should_training_stop = control.should_training_stop or last

    def _log(self, step: int) -> None:
        pending = self.trainer.own.pending
        steps = (step - 1) % self.trainer.log_every + 1
        self.trainer.write_log({"loss": sum(pending) / steps, "learning_rate": self.trainer.rate})
        pending.clear()

    def _save_now(self, step: int) -> bool:
        if self.trainer.settings.save_every:
            return step % self.trainer.settings.save_every == 0
        return time.monotonic() - self.trainer.saved_at >= self.trainer.settings.save_seconds


def clear_work(work: Path) -> None:
    """Delete checkpoints that are no longer needed: the model folder is written."""
    for prefix in (_CHECKPOINT, _BEST):
        checkpoints.remove_all_but(work, set(), prefix=prefix)
    shutil.rmtree(work / "trainer", ignore_errors=True)
