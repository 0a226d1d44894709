"""The hooks of InstructForge: the whole of what a plugin can say to it.

A plugin is one module (or object) with functions marked ``@hookimpl``, announced by an entry point in the
group ``instructforge``::

    from instructforge import Choice, Task, TemplateFolder, hookimpl

    @hookimpl
    def instructforge_tasks():
        yield Task("sentiment", summary=…, fields={"text": "the sentence"}, target=Choice(["good", "bad"]))

**Providers** take no arguments and return an iterable; a generator is welcome. ``Forge`` calls each of them
exactly once for each plugin, when the plugin is registered, so components keep registration order and
their owner is known. A provider that raises takes its whole plugin down with it, and nothing else.

**Events** are called a few times a run, never for each example. An implementation names the arguments that
it wants and leaves the others out. One that raises is reported, and the others still run.

A hook grows by parameters with a default; a changed result means a hook with another name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from instructforge.components import (
        Component,
        Decoder,
        Lazy,
        Metric,
        ModelSource,
        Normalizer,
        Reader,
        TemplateFolder,
        Trainer,
    )
    from instructforge.tasks import Task

__all__ = ["HOOK_VERSION", "PREFIX", "PROJECT", "hookimpl", "hookspec"]

PROJECT = "instructforge"
PREFIX = "instructforge_"
HOOK_VERSION = 1
"""Counts up when a hook is added or changed; a plugin may state the least it needs as ``INSTRUCTFORGE_HOOKS``."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# --- Providers: called once for each plugin, when it is registered -----------------------------------


@hookspec(historic=True)
def instructforge_tasks() -> Iterable[Task]:  # type: ignore[empty-body]
    """Provide tasks."""


@hookspec(historic=True)
def instructforge_normalizers() -> Iterable[Normalizer | Lazy]:  # type: ignore[empty-body]
    """Provide normalizers: raw row → examples of a task."""


@hookspec(historic=True)
def instructforge_templates() -> Iterable[TemplateFolder]:  # type: ignore[empty-body]
    """Provide template folders, for this plugin's tasks or for another's."""


@hookspec(historic=True)
def instructforge_trainers() -> Iterable[Trainer | Lazy]:  # type: ignore[empty-body]
    """Provide trainers; nearly always ``Lazy``, since a trainer imports torch."""


@hookspec(historic=True)
def instructforge_decoders() -> Iterable[Decoder | Lazy]:  # type: ignore[empty-body]
    """Provide decoders: model output → answer."""


@hookspec(historic=True)
def instructforge_metrics() -> Iterable[Metric | Lazy]:  # type: ignore[empty-body]
    """Provide metrics."""


@hookspec(historic=True)
def instructforge_generators() -> Iterable[Component | Lazy]:  # type: ignore[empty-body]
    """Provide generators of new instructions."""


@hookspec(historic=True)
def instructforge_filters() -> Iterable[Component | Lazy]:  # type: ignore[empty-body]
    """Provide filters of generated instructions."""


@hookspec(historic=True)
def instructforge_models() -> Iterable[ModelSource]:  # type: ignore[empty-body]
    """Provide models that ``--model`` knows by a short name."""


@hookspec(historic=True)
def instructforge_readers() -> Iterable[Reader | Lazy]:  # type: ignore[empty-body]
    """Provide readers of file formats."""


@hookspec(historic=True)
def instructforge_retrievers() -> Iterable[Component | Lazy]:  # type: ignore[empty-body]
    """Provide retrievers of passages."""


@hookspec(historic=True)
def instructforge_executors() -> Iterable[Component | Lazy]:  # type: ignore[empty-body]
    """Provide executors: where the work of a build runs."""


@hookspec(historic=True)
def instructforge_exporters() -> Iterable[Component | Lazy]:  # type: ignore[empty-body]
    """Provide writers of other projects' data formats."""


# --- Events: called a few times a run -----------------------------------------------------------------


@hookspec
def instructforge_run_started(run: Path, recipe: Mapping[str, Any]) -> None:
    """A run begins, or goes on, in the folder ``run`` with the resolved ``recipe``."""


@hookspec
def instructforge_stage_finished(run: Path, stage: str, summary: Mapping[str, Any]) -> None:
    """A stage (``build``, ``train``, ``predict``, ``evaluate``) has ended; ``summary`` has its figures."""


@hookspec
def instructforge_train_logged(run: Path, step: int, values: Mapping[str, float]) -> None:
    """Training has logged ``values`` (loss, learning rate …) at ``step``."""


@hookspec
def instructforge_run_finished(run: Path, report: Mapping[str, Any]) -> None:
    """A run has ended; ``report`` is the content of its ``report.json``."""


@hookspec
def instructforge_feedback_received(run: Path, feedback: Mapping[str, Any]) -> None:
    """A served model has got feedback."""
