"""The contract: what a model was trained on, carried in its folder and checked before it is used.

``contract.json`` lies beside the weights. It holds, as canonical JSON with its sha256, everything that decides
a byte of a prompt or of an answer: the templates' sources, the chat template, the hash of the tokenizer, how
rows are encoded, the labels, the decoder, and every pinned value. Library versions are written beside it and
are not hashed: another version is a fact to know, not another contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import attrs
from attrs import field, frozen

from instructforge.errors import ContractMismatchError, printable
from instructforge.files import sha256_of, write_json
from instructforge.tasks import Target, Task

__all__ = ["FILE_NAME", "FORMAT", "Contract", "differences", "target_to_json", "task_to_json"]

FORMAT: Final = 1
"""Counts up when the meaning of a key changes."""

FILE_NAME: Final = "contract.json"

_MAX_BYTES: Final = 64 * 2**20
_MISSING: Final = object()


def target_to_json(target: Target) -> dict[str, Any]:
    """Describe a target as JSON: its class, its head and its options.

    >>> from instructforge.tasks import Span
    >>> target_to_json(Span(within="context"))["kind"]
    'Span'
    """
    options = _plain(attrs.asdict(cast("Any", target))) if attrs.has(type(target)) else {}
    return {"kind": type(target).__name__, "head": target.head, "options": options}


def task_to_json(task: Task) -> dict[str, Any]:
    """Describe one task of a mixture as JSON: its name, target, fields and decoder."""
    return {
        "task": task.name,
        "target": target_to_json(task.target),
        "fields": list(task.fields),
        "decoder": task.decoder_name,
    }


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _numbers(value: Iterable[int]) -> tuple[int, ...]:
    return tuple(value)


@frozen(kw_only=True)
class Contract:
    """What a model was trained on. Two models with equal contracts read and write the same bytes.

    Attributes:
        task: Name of the task; ``mixture`` where the model was trained on several.
        tasks: Of a mixture: each part's task, target, fields and decoder, by the part's name.
        target: The task's target, as ``target_to_json`` describes it.
        family: ``causal`` or ``encoder``.
        trainer: Name of the trainer.
        method: How the weights were changed: ``full``, ``lora``, ``probe`` …
        head: The model head: ``text``, ``choice``, ``span`` …
        fields: The task's fields in the order in which encoder models read them.
        templates: Source of each template, by ``task/language/name``.
        few_shot: Worked examples that prompts have: what they are drawn from, how many, in which form; empty for none.
        chat_template: Source of the chat template; None for encoder models.
        tokenizer_sha256: As ``instructforge.encoding.tokenizer_sha256`` counts it.
        decoder: Name of the decoder.
        decoder_options: Its options.
        encoding: How rows become ids: ``max_length``, ``stride``, ``system_folded`` …
        labels: The labels of a choice head, in the order of its outputs.
        stop_ids: Token ids that end an answer.
        stop_texts: The same as text.
        pinned: Values that a chat template would otherwise ask the world for, such as today's date.
    """

    task: str
    tasks: Mapping[str, Any] = field(factory=dict)
    target: Mapping[str, Any] = field(factory=dict)
    family: str
    trainer: str = ""
    method: str = ""
    head: str = "text"
    fields: tuple[str, ...] = field(default=(), converter=_texts)
    templates: Mapping[str, str] = field(factory=dict)
    few_shot: Mapping[str, Any] = field(factory=dict)
    chat_template: str | None = None
    tokenizer_sha256: str
    decoder: str = ""
    decoder_options: Mapping[str, Any] = field(factory=dict)
    encoding: Mapping[str, Any] = field(factory=dict)
    labels: tuple[str, ...] = field(default=(), converter=_texts)
    stop_ids: tuple[int, ...] = field(default=(), converter=_numbers)
    stop_texts: tuple[str, ...] = field(default=(), converter=_texts)
    pinned: Mapping[str, Any] = field(factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what is hashed and written."""
        values = {part.name: _plain(getattr(self, part.name)) for part in attrs.fields(type(self))}
        return {"format": FORMAT, **values}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Contract:
        """Return the contract that ``to_json`` wrote.

        Raises:
            ContractMismatchError: A key is missing, is not known, or holds another type; or the format is another.
        """
        if value.get("format") != FORMAT:
            raise ContractMismatchError(
                f'The contract has format "{printable(value.get("format"), 40)}".\n'
                f"This version of InstructForge reads format {FORMAT}.\n"
                "Use the version that trained the model, or train it again."
            )
        problems = list(_shape_problems(value))
        if problems:
            raise ContractMismatchError(
                "The contract is not well formed: " + "; ".join(problems) + ".\n"
                "It was written by something else, or was changed by hand.\nTrain the model again.",
                differences=problems,
            )
        return cls(**{key: part for key, part in value.items() if key != "format"})

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON of ``to_json``."""
        return sha256_of(self.to_json())

    def write(self, folder: Path, versions: Mapping[str, str] | None = None) -> Path:
        """Write the contract into a model folder, with library versions beside it; return the file's path."""
        path = folder / FILE_NAME
        write_json(path, {"contract": self.to_json(), "sha256": self.sha256, "versions": dict(versions or {})})
        return path

    @classmethod
    def read(cls, folder: Path) -> Contract:
        """Read a model folder's contract.

        Raises:
            ContractMismatchError: There is none, it cannot be read, or it was changed after it was written.
        """
        document = _read_document(folder / FILE_NAME)
        stated, found = document.get("sha256"), document.get("contract")
        if not isinstance(found, Mapping) or not isinstance(stated, str):
            raise _unreadable(folder / FILE_NAME, "it lacks its contract or its sha256")
        actual = sha256_of(found)
        if actual != stated:
            raise ContractMismatchError(
                f'The contract in "{printable(folder)}" was changed after it was written: '
                f"its sha256 is {actual[:12]}…, and it states {printable(stated, 12)}.\n"
                "A model is only used with the bytes that it was trained on.\n"
                "Put the original contract.json back, or train the model again.",
                differences=("sha256",),
            )
        return cls.from_json(found)

    def differences(self, other: Contract) -> list[str]:
        """Return what differs, a line for each key path: ``encoding.max_length: 512, not 384``."""
        return list(differences(self.to_json(), other.to_json()))

    def require(self, other: Contract | None = None, /, **facts: Any) -> None:
        """Check that another contract, or single facts by their key, are this contract's own.

        Raises:
            ContractMismatchError: Something differs; ``differences`` lists it by key path.

        >>> contract = Contract(task="qa", family="causal", tokenizer_sha256="ab")
        >>> contract.require(tokenizer_sha256="ab")
        """
        own = self.to_json()
        unknown = sorted(set(facts) - set(own))
        if unknown:
            raise TypeError(f"a contract has no {', '.join(unknown)}")
        found = list(differences(own, other.to_json())) if other is not None else []
        for key, value in facts.items():
            found.extend(differences({key: own[key]}, {key: _plain(value)}))
        if found:
            listed = "\n".join(f"  - {line}" for line in found)
            raise ContractMismatchError(
                f"The model does not match its contract:\n{listed}\n"
                "A model is only used with the bytes that it was trained on (each line: expected, not found).\n"
                "Use the tokenizer, templates and settings that lie in the model's folder, or train it again.",
                differences=found,
            )


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each place in which two JSON values differ.

    >>> list(differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}}))
    ['a.b: 1, not 3', 'c: 2, not there']
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in sorted({*expected, *found}):
            below = f"{path}.{key}" if path else str(key)
            yield from differences(expected.get(key, _MISSING), found.get(key, _MISSING), below)
    elif expected is _MISSING:
        yield f"{path}: nothing, not {_shown(found)}"
    elif found is _MISSING:
        yield f"{path}: {_shown(expected)}, not there"
    elif type(expected) is not type(found) or expected != found:
        yield f"{path}: {_shown(expected)}, not {_shown(found)}"


def _shown(value: Any) -> str:
    return printable(repr(value), 80)


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON has it: mappings as dicts with text keys, tuples and sets as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(part) for part in value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


_TEXTS = ("task", "family", "trainer", "method", "head", "tokenizer_sha256", "decoder")
_MAPPINGS = ("tasks", "target", "templates", "few_shot", "decoder_options", "encoding", "pinned")
_LISTS = {"fields": str, "labels": str, "stop_texts": str, "stop_ids": int}


def _shape_problems(value: Mapping[str, Any]) -> Iterator[str]:
    known = {part.name for part in attrs.fields(Contract)}
    present = set(value) - {"format"}
    yield from (f'"{name}" is missing' for name in sorted(known - present))
    yield from (f'"{printable(name, 40)}" is not known' for name in sorted(present - known))
    for name in (*_TEXTS, *_MAPPINGS):
        wanted: type = str if name in _TEXTS else Mapping
        if name in value and not isinstance(value[name], wanted):
            yield f'"{name}" is {type(value[name]).__name__}'
    for name, kind in _LISTS.items():
        found = value.get(name, [])
        if not isinstance(found, list) or not all(type(part) is kind for part in found):
            yield f'"{name}" is not a list of {kind.__name__}'
    templates = value.get("templates")
    if isinstance(templates, Mapping) and not all(isinstance(part, str) for part in templates.values()):
        yield '"templates" holds something that is not text'
    if not isinstance(value.get("chat_template"), (str, type(None))):
        yield '"chat_template" is not text'


def _read_document(path: Path) -> Mapping[str, Any]:
    import json

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _unreadable(path, f"it has more than {_MAX_BYTES} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractMismatchError(
            f'"{printable(path.parent)}" has no {FILE_NAME}.\n'
            "Only a model that InstructForge has trained carries one.\n"
            "Train the model first, or name the folder that training wrote (a run's model/ folder)."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, printable(error)) from None
    if not isinstance(document, Mapping):
        raise _unreadable(path, "it is no JSON object")
    return document


def _unreadable(path: Path, reason: str) -> ContractMismatchError:
    return ContractMismatchError(
        f'The contract "{printable(path)}" cannot be read: {reason}.\n'
        "A contract is a JSON object that training wrote.\n"
        "Put the original file back, or train the model again."
    )
