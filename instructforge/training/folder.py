"""The model folder that training writes: whole or not at all, without pickles, with a card that says what it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructforge.contract import Contract
from instructforge.errors import TrainingError, printable
from instructforge.files import sha256_of, write_json
from instructforge.training.job import TrainingJob, TrainingResult

__all__ = ["base_fingerprint", "finished", "model_card", "remember", "write_model_folder"]

_RESULT = "result.json"
_SAFE = (".safetensors", ".json", ".jinja", ".txt", ".md", ".model", ".jsonl")
_EDGE_BYTES = 1 << 20
_PIPELINES = {"text": "text-generation", "choice": "text-classification", "span": "question-answering"}


def write_model_folder(out: Path, fill: Callable[[Path], None]) -> None:
    """Write a model folder beside its place with ``fill``, check it, and put it there.

    Raises:
        TrainingError: Something was written that is not data: a pickle, code.
    """
    scratch, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    for left in (scratch, old):
        shutil.rmtree(left, ignore_errors=True)
    scratch.mkdir(parents=True)
    fill(scratch)
    for path in sorted(scratch.rglob("*")):
        if path.is_file():
            path.chmod(0o644)  # safetensors writes files that only their owner reads
            if path.suffix not in _SAFE:
                raise TrainingError(
                    f'"{path.relative_to(scratch)}" does not belong into a model folder.\n'
                    "It holds data only: safetensors, JSON, templates and texts.\nReport this; nothing was written."
                )
    if out.exists():
        out.rename(old)
    scratch.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def base_fingerprint(folder: Path) -> str:
    """Return a hash of a base model: its config, and size, beginning and end of each of its weight files."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as handle:
            digest.update(handle.read(_EDGE_BYTES))
            handle.seek(max(0, size - _EDGE_BYTES))
            digest.update(handle.read())
    return digest.hexdigest()


def remember(job: TrainingJob, fingerprint: str, result: TrainingResult) -> None:
    """Write down that this very training is done, last of all."""
    from attrs import asdict

    contract = Contract.read(job.out).sha256
    write_json(job.work / _RESULT, {"fingerprint": fingerprint, "contract": contract, "result": asdict(result)})


def finished(job: TrainingJob, fingerprint: str) -> TrainingResult | None:
    """Return the result of this very training if it was carried out before and its model is still there."""
    try:
        record = json.loads((job.work / _RESULT).read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint or Contract.read(job.out).sha256 != record["contract"]:
            return None
        value = record["result"]
        return TrainingResult(**{**value, "log": tuple(value["log"]), "notices": tuple(value.get("notices", ()))})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    except Exception as error:
        if type(error).__name__ == "ContractMismatchError":
            return None
        raise


def _yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # JSON is YAML, and needs no rules about quoting


def model_card(
    job: TrainingJob,
    contract: Contract,
    *,
    result: Mapping[str, Any],
    languages: Sequence[str],
    versions: Mapping[str, str],
) -> str:
    """Return the README of a model folder: front matter as the hub reads it, then what others leave out.

    Source: the keys of the front matter are those of the hub's model card specification.
    """
    front = {
        "base_model": printable(Path(job.base).name if Path(job.base).is_absolute() else job.base or job.model.name),
        "library_name": "transformers",
        "pipeline_tag": "text-generation" if contract.family == "causal" else _PIPELINES.get(contract.head, "other"),
        "language": list(languages),
        "tags": ["instructforge", contract.task, contract.method],
    }
    head = "\n".join(f"{key}: {_yaml(value)}" for key, value in front.items())
    facts = {
        "Task": f"{contract.task}: {printable(job.task.summary)}",
        "Answer": contract.target.get("kind", ""),
        "Method": f"{contract.method} (trainer {contract.trainer}), seed {job.seed}",
        "Decoder": contract.decoder or "none",
        "Contract": f"sha256 {contract.sha256}",
        "Tokenizer": f"sha256 {contract.tokenizer_sha256}",
        "Chat template": f"sha256 {sha256_of(contract.chat_template)}" if contract.chat_template else "none",
        "Stop tokens": ", ".join(f"`{printable(text)}`" for text in contract.stop_texts) or "none",
        "Templates": ", ".join(sorted(contract.templates)) or ", ".join(contract.fields),
    }
    lines = [f"---\n{head}\n---\n", f"# {contract.task}\n"]
    lines += ["Fine-tuned by InstructForge. Prompts, tokenizer and decoder are pinned in `contract.json`.\n"]
    lines += ["| | |\n|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in facts.items()), ""]
    for title, table in (("Training", result), ("Versions", versions)):
        lines += [f"## {title}\n", "| | |\n|---|---|"]
        lines += [*(f"| {key} | {_cell(value)} |" for key, value in table.items()), ""]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return printable(value, 2000).replace("|", "\\|")
