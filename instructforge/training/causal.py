"""Fine-tuning of causal language models on the answers alone, whole or by LoRA."""

from __future__ import annotations

import inspect
import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from attrs import evolve, field, frozen

from instructforge.contract import Contract, target_to_json, task_to_json
from instructforge.data import Features, Instruction
from instructforge.encoding import ChatEncoder, tokenizer_sha256
from instructforge.errors import ConfigError, InstructForgeError, MissingDependencyError, TrainingError, printable
from instructforge.files import sha256_of, write_atomically, write_json
from instructforge.manifest import library_versions
from instructforge.mixing import Picked
from instructforge.models import check_folder, check_vocabulary
from instructforge.models.loading import load_causal, load_tokenizer, quiet
from instructforge.tasks import Text
from instructforge.training.folder import base_fingerprint, finished, model_card, remember, write_model_folder
from instructforge.training.job import TrainingJob, TrainingResult
from instructforge.training.loop import Batch, LoopParts, clear_work, run_loop, seed_everything
from instructforge.training.rows import IGNORED, TokenRows, pad_right
from instructforge.training.settings import LoopSettings, one_of, positive, read_settings, share, zero_or_more

__all__ = ["CausalSettings", "CausalTrainer", "encode_rows", "trained_token_loss"]

_log = logging.getLogger("instructforge.training")

_CHUNK = 1000
_BILLION = 1_000_000_000
_LEAST_NEW_TOKENS, _MOST_NEW_TOKENS = 16, 1024


@frozen(kw_only=True)
class CausalSettings(LoopSettings):
    """Options of the trainer ``causal``, beside those of the loop.

    Args:
        method: ``lora`` (small adapters on every linear layer, merged at the end) or ``full``.
        learning_rate: Left open: 2e-4 for LoRA up to a billion parameters, 1e-4 above; 2e-5 for full.
        lora_r, lora_alpha, lora_dropout: Rank, scale and dropout of the adapters.
        lora_targets: Names of the modules that get adapters; ``all-linear`` for all but the head.
        keep_adapter: Save the adapter by itself too, in the folder ``adapter`` of the model folder.
        train: ``last`` answer only, or ``all`` of the assistant's turns.
        answer_tokens: Tokens of ``max_length`` that prompts leave free for the answer.
        reasoning: Whether the model learns to write its reasoning.
        date: What a chat template that asks for the date is told; left open, the day of the first run.
        max_validation_rows: Validation rows that are scored at most, evenly drawn.
    """

    method: str = field(default="lora", validator=one_of("lora", "full"))
    learning_rate: float | None = field(default=None, validator=positive)  # type: ignore[assignment]
    batch_size: int = field(default=8, validator=positive)
    accumulation: int = field(default=2, validator=positive)
    schedule: str = field(default="cosine", validator=one_of("linear", "cosine", "constant"))
    warmup: float = field(default=0.1, validator=zero_or_more)
    max_length: int | None = field(default=1024, validator=positive)
    lora_r: int = field(default=16, validator=positive)
    lora_alpha: int = field(default=32, validator=positive)
    lora_dropout: float = field(default=0.05, validator=share)
    lora_targets: tuple[str, ...] = ("all-linear",)
    keep_adapter: bool = False
    train: str = field(default="last", validator=one_of("last", "all"))
    answer_tokens: int | None = field(default=None, validator=positive)
    reasoning: bool = False
    date: str | None = None
    max_validation_rows: int = field(default=500, validator=positive)


class CausalTrainer:
    """The trainer ``causal``: anything that a template renders as text."""

    name: ClassVar[str] = "causal"
    heads: ClassVar[tuple[str, ...]] = ("text", "choice", "span", "tags", "ranking")
    families: ClassVar[tuple[str, ...]] = ("causal",)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise ``ConfigError`` with every option that is unknown or wrong."""
        read_settings(CausalSettings, settings)

    def train(self, job: TrainingJob) -> TrainingResult:
        """Train, write the model folder with its contract, and return what happened.

        Raises:
            ConfigError: Options are wrong, or the model folder is not safe to load.
            TrainingError: There is nothing to train on, or training had to stop.
        """
        settings = read_settings(CausalSettings, job.settings)
        folder = check_folder(job.model, trust_remote_code=settings.trust_remote_code)
        tokenizer = load_tokenizer(folder, trust_remote_code=settings.trust_remote_code)
        job.work.mkdir(parents=True, exist_ok=True)
        encoder = _encoder(tokenizer, settings, job)
        check_vocabulary(tokenizer, _texts(job.train), limit=settings.max_unknown)
        reached = job.mixture.reach(settings.epochs).tolist() if job.mixture else None
        train = job.train if reached is None else Picked(job.train, reached)
        rows, counts = encode_rows(encoder, train, settings.train, left_out=job.work / "left_out.jsonl")
        drawn = _drawing(job, reached, rows, settings) if job.mixture and reached is not None else None
        validation, _ = encode_rows(encoder, _thinned(job.validation, settings.max_validation_rows), settings.train)
        contract = _contract(job, settings, encoder, rows)
        facts = {"base": base_fingerprint(folder), "contract": contract.sha256, "rows": rows.sha256}
        facts |= {"validation": validation.sha256}
        facts |= {"mixture": sha256_of(job.mixture.to_json())} if job.mixture else {}
        fingerprint = sha256_of({**facts, "settings": settings.to_json(), "seed": job.seed})
        if (before := finished(job, fingerprint)) is not None:
            _log.warning("trained before with the same data, model and options: %s is kept", job.out)
            return before
        model = load_causal(folder, dtype=_weights_dtype(settings), trust_remote_code=settings.trust_remote_code)
        settings = _resolved(settings, model)
        model = _prepared(model, settings, job.seed)
        parts = _parts(model, tokenizer, rows, validation, settings, facts)
        result = run_loop(job, settings, evolve(parts, drawn=drawn))
        counts |= _parameters(model)
        done = TrainingResult(
            steps=result.steps,
            seconds=result.seconds,
            log=result.log,
            best=result.best,
            counts=counts,
            settings=settings.to_json(),
            notices=result.notices,
        )
        with quiet():
            write_model_folder(job.out, lambda out: _write(out, job, contract, encoder, model, done, settings))
        remember(job, fingerprint, done)
        clear_work(job.work)
        return done


# --- Rows ---------------------------------------------------------------------------------------------


def _encoder(tokenizer: Any, settings: CausalSettings, job: TrainingJob) -> ChatEncoder:
    """Return the encoder. A date that the chat template asks for is fixed by the first run, for all resumed ones."""
    noted = job.work / "pinned.json"
    pinned: dict[str, Any] = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
    if settings.date is not None:
        pinned["date"] = settings.date
    encoder = ChatEncoder(
        tokenizer,
        max_length=settings.max_length,
        answer_tokens=settings.answer_tokens,
        pinned=pinned,
        reasoning=settings.reasoning,
    )
    if "date" in encoder.pinned:
        write_json(noted, {"date": encoder.pinned["date"]})
    return encoder


def _texts(rows: Sequence[Instruction]) -> Any:
    return (message.content for row in rows for message in row.messages)


def _thinned(rows: Sequence[Instruction], most: int) -> Sequence[Instruction]:
    if len(rows) <= most:
        return rows
    return [rows[number * len(rows) // most] for number in range(most)]


def encode_rows(
    encoder: ChatEncoder, instructions: Sequence[Instruction], train: str, *, left_out: Path | None = None
) -> tuple[TokenRows, dict[str, int]]:
    """Encode instructions; return the rows to train on, and the counts of what became of each.

    Rows that cannot be trained on (too long, unlabelled, altered by the chat template …) are left out, counted by
    reason, and listed in the file ``left_out`` with id, origin and reason. No answer is ever cut.
    """
    rows, reasons, lines, place = TokenRows(), Counter[str](), [], -1
    for start in range(0, len(instructions), _CHUNK):
        chunk = list(instructions[start : start + _CHUNK])
        labelled = [row for row in chunk if row.completion.strip() or row.messages[-1].tool_calls]
        encoded = iter(encoder.encode(labelled, train="all" if train == "all" else "last"))
        waiting = set(map(id, labelled))
        for row in chunk:
            found = next(encoded) if id(row) in waiting else _unlabelled(row)
            problem = _problem(found)
            place += 1
            if problem is None and isinstance(found, Features):
                rows.append(row.id, found.input_ids, found.labels, place)
                continue
            rule, message = problem or ("", "")
            reasons[rule] += 1
            lines.append({"id": row.id, "origin": str(row.example.origin), "rule": rule, "message": message})
    if left_out is not None:
        with write_atomically(left_out) as handle:
            handle.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        _tell(lines, reasons, left_out)
    counts = {"rows": len(instructions), "rows_trained": len(rows), "rows_left_out": len(lines)}
    counts |= {f"left_out:{rule}": count for rule, count in sorted(reasons.items())}
    counts |= {"tokens": rows.tokens, "tokens_trained": rows.trained, "rows_cut": encoder.stats.cut_rows}
    return rows, counts


def _drawing(
    job: TrainingJob, reached: Sequence[int], rows: TokenRows, settings: CausalSettings
) -> Callable[[int], Sequence[int]]:
    """Return what rows an epoch of the mixture has, and say what that comes to for each part."""
    assert job.mixture is not None
    mixture, kept = job.mixture, np.array([reached[place] for place in rows.places], dtype=np.int64)
    tokens: dict[str, list[int]] = {}
    for part, length in zip(mixture.part_of(kept), rows.lengths, strict=True):
        tokens.setdefault(part, []).append(length)
    means = {part: sum(lengths) / len(lengths) for part, lengths in tokens.items()}
    for line in mixture.plan.table(means, epochs=settings.epochs):
        job.say(line)
    return lambda epoch: mixture.drawn(epoch, kept).tolist()


def _unlabelled(row: Instruction) -> InstructForgeError:
    return TrainingError(f'Row "{printable(row.id, 80)}" has no answer to train on')


def _problem(found: Features | InstructForgeError) -> tuple[str, str] | None:
    """Return the rule and the message where a row cannot be trained on."""
    if isinstance(found, Features):
        if any(label != IGNORED for label in found.labels[1:]):
            return None
        return "nothing-trained", f'Row "{printable(found.id, 80)}" has no token that is trained'
    rule = "unlabelled" if isinstance(found, TrainingError) else getattr(found, "rule", "too-long")
    return rule, str(found)


def _tell(lines: Sequence[Mapping[str, Any]], reasons: Mapping[str, int], path: Path) -> None:
    for rule, count in reasons.items():
        names = [printable(line["id"], 40) for line in lines if line["rule"] == rule][:5]
        _log.warning(
            "%d rows are not trained on (%s): %s%s; all are in %s",
            *(count, rule, ", ".join(names), " …" if count > len(names) else "", path),
        )


# --- Model --------------------------------------------------------------------------------------------


def _weights_dtype(settings: CausalSettings) -> torch.dtype:
    """Frozen weights may be held in bfloat16 where the arithmetic is; weights that move are held in float32."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    mixed = settings.dtype == "bfloat16" or (settings.dtype == "auto" and on_gpu)
    return torch.bfloat16 if mixed and settings.method == "lora" else torch.float32


def _resolved(settings: CausalSettings, model: Any) -> CausalSettings:
    """Fill in the learning rate. Source: what public recipes use, as the documentation's table of defaults lists."""
    if settings.learning_rate is not None:
        return settings
    large = sum(part.numel() for part in model.parameters()) > _BILLION
    rate = 2e-5 if settings.method == "full" else (1e-4 if large else 2e-4)
    return evolve(settings, learning_rate=rate)


def _prepared(model: Any, settings: CausalSettings, seed: int) -> Any:
    model.config.use_cache = False
    if settings.method == "full":
        return model
    try:
        import peft
    except ModuleNotFoundError as error:
        raise MissingDependencyError('"peft", which LoRA needs,', extra="train") from error
    names = list(settings.lora_targets)
    config = peft.LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear" if names == ["all-linear"] else names,
        task_type="CAUSAL_LM",
    )
    if settings.activation_checkpointing:
        model.enable_input_require_grads()  # the embeddings are frozen, and the recomputation starts from them
    seed_everything(seed, "adapter")
    try:
        with warnings.catch_warnings():  # peft asks transformers in a way that is going out of use
            warnings.filterwarnings("ignore", message=".*checkpointing.* is deprecated", category=FutureWarning)
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"lora_targets does not fit this model: {printable(error, 300)}") from error


def _parts(
    model: Any,
    tokenizer: Any,
    rows: TokenRows,
    validation: TokenRows,
    settings: CausalSettings,
    facts: Mapping[str, Any],
) -> LoopParts:
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        return {"loss": mean_loss(model, validation, pad, settings.batch_size)}

    return LoopParts(
        model=model,
        rows=rows,
        lengths=rows.lengths,
        ids=rows.ids,
        collate=lambda batch: pad_right(batch, pad),
        count=lambda batch: int((batch["labels"][:, 1:] != IGNORED).sum()),
        loss=trained_token_loss,
        evaluate=evaluate if len(validation) else None,
        fingerprint=facts,
    )


def trained_token_loss(model: torch.nn.Module, batch: Batch, count: float) -> torch.Tensor:
    """Return the summed cross entropy of the batch's trained tokens, divided by ``count``.

    The vocabulary's head is computed only at places where some row of the batch is trained; the result is that of
    all places.

    Shapes:
        Of the batch: (B, T); logits (B, K, V) with K of the T places.
    """
    targets = batch["labels"][:, 1:]  # (B, T-1): what each place but the last predicts
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    if _takes_places(model):
        places = (targets != IGNORED).any(dim=0).nonzero()[:, 0]  # (K,)
        logits = model(**inputs, logits_to_keep=places).logits  # (B, K, V)
        targets = targets[:, places]
    else:
        logits = model(**inputs).logits[:, :-1]
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / count


def _takes_places(model: Any) -> bool:
    inner = getattr(model, "module", model)  # as data parallelism wraps it
    base = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def mean_loss(model: torch.nn.Module, rows: TokenRows, pad: int, batch_size: int) -> float:
    """Return the loss for each trained token of ``rows``."""
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda number: -rows.lengths[number])
    total = 0.0
    for start in range(0, len(order), batch_size):
        batch = pad_right([rows[number] for number in order[start : start + batch_size]], pad)
        total += float(trained_token_loss(model, {key: part.to(device) for key, part in batch.items()}, 1.0))
    return total / rows.trained


def _parameters(model: Any) -> dict[str, int]:
    parts = list(model.parameters())
    return {
        "parameters": sum(part.numel() for part in parts),
        "trainable_parameters": sum(part.numel() for part in parts if part.requires_grad),
    }


# --- What is written ----------------------------------------------------------------------------------


def _contract(job: TrainingJob, settings: CausalSettings, encoder: ChatEncoder, rows: TokenRows) -> Contract:
    target = job.task.target
    tasks = {part: task_to_json(task) for part, task in job.tasks.items()}
    return Contract(
        task=job.task.name,
        tasks=tasks,
        target=target_to_json(target),
        family="causal",
        trainer=CausalTrainer.name,
        method=settings.method,
        head=target.head,
        fields=list(job.task.fields),
        templates=job.templates,
        few_shot=job.few_shot,
        chat_template=encoder.chat_template,
        tokenizer_sha256=tokenizer_sha256(encoder.tokenizer),
        decoder=job.decoder,
        encoding={**encoder.options(), "max_new_tokens": _new_tokens(job, rows)},
        stop_ids=encoder.stop_ids,
        stop_texts=encoder.stop_texts,
        pinned=encoder.pinned,
    )


def _new_tokens(job: TrainingJob, rows: TokenRows) -> int:
    """Return how many tokens an answer may have: the target's word, or twice the longest answer trained on."""
    targets = [task.target for task in (job.tasks.values() or (job.task,))]
    stated = max((target.max_new_tokens for target in targets if isinstance(target, Text)), default=0)
    if all(isinstance(target, Text) for target in targets):
        return stated
    longest = max((int((labels != IGNORED).sum()) for _, labels in rows), default=0)
    return max(stated, min(_MOST_NEW_TOKENS, max(_LEAST_NEW_TOKENS, 2 * longest)))


def _write(
    out: Path,
    job: TrainingJob,
    contract: Contract,
    encoder: ChatEncoder,
    model: Any,
    result: TrainingResult,
    settings: CausalSettings,
) -> None:
    if settings.method == "lora":
        if settings.keep_adapter:
            model.save_pretrained(out / "adapter")
            (out / "adapter" / "README.md").unlink(missing_ok=True)
        model = model.merge_and_unload()
    model.config.use_cache = True
    generation = model.generation_config
    generation.eos_token_id, generation.pad_token_id = list(contract.stop_ids), encoder.tokenizer.pad_token_id
    model.save_pretrained(out)
    encoder.tokenizer.chat_template = encoder.chat_template
    encoder.tokenizer.save_pretrained(out)
    versions = library_versions()
    contract.write(out, versions)
    languages = sorted({row.language for row in _thinned(job.train, _CHUNK)})
    best = {f"kept {key}": value for key, value in result.best.items()}
    facts = {"steps": result.steps, **best, **result.counts, "settings": json.dumps(result.settings)}
    card = model_card(job, contract, result=facts, languages=languages, versions=versions)
    (out / "README.md").write_text(card, encoding="utf-8")
