"""``instructforge doctor``: what is here, what is missing, what is wrong, and what to do about each."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import asdict, frozen

from instructforge.cli.options import State, json_option
from instructforge.cli.output import say, say_json
from instructforge.errors import InstructForgeError, printable
from instructforge.extras import EXTRAS

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["doctor"]

CORE = ("pluggy", "jinja2", "attrs", "cattrs", "click", "rich", "pyyaml", "orjson", "pyarrow", "numpy")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
_MARKS = {"ok": "ok", "note": "note", "wrong": "WRONG"}


@frozen
class Finding:
    """One thing looked at.

    Attributes:
        about: The chapter that it belongs to.
        state: ``ok``; ``note`` for what works without it; ``wrong`` for what needs mending.
        fix: What to do.
    """

    about: str
    state: str
    text: str
    fix: str = ""


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Tell what is installed, what is missing and how to mend it. The exit code is 1 if something is wrong."""
    findings = list(_findings(ctx.ensure_object(State)))
    if as_json:
        say_json("doctor/1", {"findings": [asdict(finding) for finding in findings]})
    else:
        _say(findings)
    if any(finding.state == "wrong" for finding in findings):
        ctx.exit(1)


def _say(findings: list[Finding]) -> None:
    about = ""
    for finding in findings:
        if finding.about != about:
            about = finding.about
            say(about)
        say(f"  {_MARKS[finding.state]:5}  {finding.text}")
        if finding.fix:
            say(f"         → {finding.fix}")
    wrong = sum(finding.state == "wrong" for finding in findings)
    say()
    say(f"{wrong} to mend." if wrong else "Nothing to mend.")


def _findings(state: State) -> Iterator[Finding]:
    yield from _python()
    yield from _parts()
    yield from _torch()
    forge = state.forge(quietly=True)
    for chapter in (_plugins, _tasks, _templates, _models):
        yield from _contained(chapter, forge)
    yield from _cache()


def _contained(chapter: Callable[[Forge], Iterator[Finding]], forge: Forge) -> Iterator[Finding]:
    """A chapter that fails is a finding too: a doctor that breaks down helps nobody."""
    try:
        yield from chapter(forge)
    except Exception as error:
        about = chapter.__name__.strip("_")
        yield Finding(about, "wrong", f"cannot be told: {type(error).__name__}: {printable(error)}")


def _python() -> Iterator[Finding]:
    here = sys.version_info[:2]
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    known = (3, 11) <= here < (3, 14)
    yield Finding("python", "ok" if known else "wrong", text, "" if known else "Use Python 3.11, 3.12 or 3.13.")
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None:
        yield Finding("python", "note", f"OMP_NUM_THREADS is {printable(threads, 20)}: so many threads for torch")


# --- Parts --------------------------------------------------------------------------------------------


def _parts() -> Iterator[Finding]:
    missing = [name for name in CORE if not _version(name)]
    found = ", ".join(f"{name} {_version(name)}" for name in CORE if name not in missing)
    yield Finding("core", "ok", found)
    for name in missing:
        yield Finding("core", "wrong", f"{name} is missing", f"pip install {name}")
    for extra, modules in EXTRAS.items():
        versions = {module: _version(_DISTRIBUTIONS.get(module, module)) for module in modules}
        there = ", ".join(f"{module} {version}" for module, version in versions.items() if version)
        lacking = ", ".join(module for module, version in versions.items() if not version)
        if there:
            yield Finding(f"extra {extra}", "ok", there)
        if lacking:
            fix = f"pip install 'instructforge[{extra}]'"
            yield Finding(f"extra {extra}", "note", f"not installed: {lacking}", fix)


def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _torch() -> Iterator[Finding]:
    if not _version("torch"):
        return
    try:
        import torch
    except Exception as error:  # a broken installation raises OSError, ImportError, RuntimeError …
        text = f"torch cannot be imported: {type(error).__name__}: {printable(error)}"
        yield Finding("torch", "wrong", text, "Reinstall torch for this Python and this machine.")
        return
    devices = ["cpu"]
    devices += [f"cuda × {torch.cuda.device_count()}"] if torch.cuda.is_available() else []
    devices += ["mps"] if torch.backends.mps.is_available() else []
    yield Finding("torch", "ok", f"torch works on {', '.join(devices)}, with {torch.get_num_threads()} threads")


# --- Plugins ------------------------------------------------------------------------------------------


def _plugins(forge: Forge) -> Iterator[Finding]:
    for info in forge.plugins:
        source = f" ({info.distribution} {info.version})" if info.distribution else ""
        yield Finding("plugins", "ok", f"{info.name}{source}")
    for info in forge.disabled:
        yield Finding("plugins", "note", f"{info.name} is disabled")
    for failure in forge.failures:
        yield Finding("plugins", "wrong", str(failure), failure.hint)


def _tasks(forge: Forge) -> Iterator[Finding]:
    whole = 0
    for name in forge.tasks:
        problems = forge.unresolved(forge.tasks.get(name))
        whole += not problems
        for problem in problems:
            yield Finding("tasks", "wrong", problem, "Install the plugin that has it, or correct the name.")
    yield Finding("tasks", "ok", f"{whole} of {len(forge.tasks)} have all their parts")


def _templates(forge: Forge) -> Iterator[Finding]:
    good = 0
    refs = forge.templates.refs()
    for ref in refs:
        try:
            if ref.task in forge.tasks:
                forge.template(ref.key)
                good += 1
            else:
                text = f'{ref.key} of plugin "{ref.owner}" is for a task that no plugin provides'
                yield Finding("templates", "note", text, "Install the plugin that has the task.")
        except InstructForgeError as error:
            text = f'{ref.key} of plugin "{ref.owner}": {" ".join(str(error).split())}'
            yield Finding("templates", "wrong", text, f"Look at {ref.path}.")
    yield Finding("templates", "ok", f"{good} of {len(refs)} compile and fit their tasks")


def _models(forge: Forge) -> Iterator[Finding]:
    from instructforge.models import fetched

    for name in forge.models:
        if fetched(name):
            yield Finding("models", "ok", f"{name} is in the cache")
        else:
            yield Finding("models", "note", f"{name} is not in the cache", f"instructforge models fetch {name}")


def _cache() -> Iterator[Finding]:
    from instructforge.models import cache_folder

    folder = cache_folder()
    problem = _not_writable(folder)
    if problem:
        yield Finding("cache", "wrong", f"{folder}: {problem}", "Set INSTRUCTFORGE_CACHE to a folder of yours.")
    else:
        yield Finding("cache", "ok", f"{folder} can be written")


def _not_writable(folder: Path) -> str:
    """Return why nothing can be written where ``folder`` is or would be made."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return str(error.strerror or error)
