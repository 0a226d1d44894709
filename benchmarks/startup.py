"""How long ``--help``, ``tasks``, ``plugins`` and ``templates`` take, beside bare ``import pluggy, attrs, click``.

Ten plugins with a hundred tasks are written as installed distributions, with three broken ones beside them: one
that cannot be imported, one that exits, one that claims a taken name. Every command and the bare import are
run in turns, so that whatever else the machine does falls on all of them.

    python benchmarks/startup.py [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS: dict[str, list[str]] = {
    "--help": ["--help"],
    "tasks": ["tasks"],
    "plugins": ["plugins"],
    "templates": ["templates"],
}
BARE = [sys.executable, "-c", "import pluggy, attrs, click"]
HEAVY = ("torch", "transformers", "datasets", "numpy", "jinja2", "rich", "pyarrow")
LIMIT_S, LIMIT_OVER_BARE_S = 0.30, 0.15

_PLUGIN = """
from instructforge import Choice, Sample, Task, TemplateFolder, columns, hookimpl

@hookimpl
def instructforge_tasks():
    for number in range({first}, {last}):
        name = f"task-{{number:03}}"
        sample = Sample("en", {{"text": "fine"}}, "good")
        target = Choice(["good", "bad"])
        yield Task(name, summary="a task", fields={{"text": "a text"}}, target=target, samples=[sample])

@hookimpl
def instructforge_normalizers():
    for number in range({first}, {last}):
        yield columns(f"rows-{{number:03}}", task=f"task-{{number:03}}", fields={{"text": "text"}}, answer="label")

@hookimpl
def instructforge_templates():
    return [TemplateFolder.beside(__file__)]
"""
_TEMPLATE = "{% block prompt %}Good or bad? {{ text }}{% endblock %}{% block completion %}{{ answer }}{% endblock %}"
BROKEN = {
    "cannot-import": "import a_module_that_nobody_has\n",
    "exits": "import sys\nsys.exit(3)\n",
    "takes-a-name": (
        "from instructforge import Task, Text, hookimpl\n\n@hookimpl\ndef instructforge_tasks():\n"
        "    yield Task('its-own', summary='x', fields={'text': 'x'}, target=Text())\n"
        "    yield Task('task-000', summary='x', fields={'text': 'x'}, target=Text())\n"
    ),
}


def install(folder: Path, name: str, source: str) -> Path:
    """Write a plugin into ``folder`` as pip would have installed it; return its package."""
    module = name.replace("-", "_")
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\n" + "A plugin.\n" * 50)
    (about / "entry_points.txt").write_text(f"[instructforge]\n{name} = {module}\n")
    package = folder / module
    package.mkdir()
    (package / "__init__.py").write_text(source)
    return package


def install_all(folder: Path, *, plugins: int = 10, tasks: int = 10, broken: bool = True) -> None:
    """Write ``plugins`` good plugins with ``tasks`` tasks each, English and Chinese templates, and the broken ones."""
    for number in range(plugins):
        package = install(
            folder, f"plugin-{number:02}", _PLUGIN.format(first=number * tasks, last=(number + 1) * tasks)
        )
        for task in range(number * tasks, (number + 1) * tasks):
            for language in ("en", "zh"):
                place = package / "templates" / f"task-{task:03}" / language
                place.mkdir(parents=True)
                (place / "plain.jinja").write_text(_TEMPLATE)
    for name, source in BROKEN.items() if broken else ():
        install(folder, name, source)


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which what lies in ``folder`` is installed."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    around = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "INSTRUCTFORGE_DISABLE": ""}
    around.pop("PYTHONDONTWRITEBYTECODE", None)  # what pip installs is compiled
    return around | {"PYTHONPYCACHEPREFIX": str(folder / "pycache")}


def run(folder: Path, arguments: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in an environment that has the plugins of ``folder``."""
    command = [sys.executable, *options, "-m", "instructforge", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment(folder))


def imported(folder: Path, arguments: list[str]) -> set[str]:
    """Return the top-level names of all modules that a command imports."""
    lines = run(folder, arguments, "-X", "importtime").stderr.splitlines()
    names = (line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:"))
    return {name.partition(".")[0] for name in names}


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return seconds of each command and of the bare import, taken in turns."""
    lines = {"bare import": BARE}
    lines |= {name: [sys.executable, "-m", "instructforge", *arguments] for name, arguments in COMMANDS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in lines}
    around = environment(folder)
    for turn in range(rounds + 1):
        for name, line in lines.items():
            start = time.perf_counter()
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=around)
            if turn:  # the first turn compiles modules and warms the disk's cache
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print medians, the time over the bare import, and the ratio to it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        install_all(Path(place))
        seconds = measure(Path(place), max(5, options.rounds))
        heavy = {name: sorted(imported(Path(place), line) & set(HEAVY)) for name, line in COMMANDS.items()}
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    if options.json:
        print(json.dumps({"seconds": seconds, "medians": medians, "heavy": heavy}))
        return
    bare = medians["bare import"]
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.3f} to {max(seconds[name]):.3f}"
        print(f"{name:12} {median:.3f} s ({spread})  over bare {median - bare:+.3f} s  ×{median / bare:.2f}", end="")
        print(f"  imports {', '.join(heavy[name])}" if heavy.get(name) else "")
    print(f"bars: {LIMIT_S} s each, {LIMIT_OVER_BARE_S} s over bare; {max(5, options.rounds)} rounds in turns")


if __name__ == "__main__":
    main()
