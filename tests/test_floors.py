"""A module imports only from its own floor or one below: the table of docs/architecture.md against the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "instructforge"
HEAVY = {"torch", "transformers", "datasets", "peft", "accelerate", "tokenizers", "safetensors"}
ALLOWED = {  # what the modules of a floor may import as they are imported themselves
    0: set(),
    1: {"attrs"},
    2: {"attrs", "pluggy", "jinja2", "markupsafe"},
    3: {"attrs", "pyarrow", "orjson", "numpy"},
    4: {"attrs", "pluggy"},
    7: {"attrs", "click"},
}


def floors() -> dict[str, int]:
    """Return the floor of each module or package, read from the architecture page."""
    table: dict[str, int] = {}
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| (\d|beside) \| (.+?) \|", line)
        if row:
            names = re.findall(r"`([\w]+)(?:\.py|/)`", row[2])
            table.update(dict.fromkeys(names, 8 if row[1] == "beside" else int(row[1])))
    return table


FLOORS = floors()
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("__"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, at_import: bool) -> Iterator[tuple[str, int]]:
    """Yield (module, line) of a file's imports, but for those that are for types only."""
    pending: list[ast.AST] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "instructforge":
                yield from ((f"instructforge.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno
        elif not (at_import and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
            pending += ast.iter_child_nodes(node)


def test_the_table_names_every_module_and_nothing_else() -> None:
    rooms = {room(path) for path in MODULES}
    assert rooms - set(FLOORS) == set(), "add these to the table in docs/architecture.md"
    assert set(FLOORS) - rooms == set(), "these are in the table and not in the package"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_own_floor_or_below(path: Path) -> None:
    own = FLOORS[room(path)]
    above = [
        f"line {line}: {module} (floor {FLOORS[parts[1]]})"
        for module, line in imports(path, at_import=False)
        if (parts := module.split("."))[0] == "instructforge" and len(parts) > 1 and FLOORS.get(parts[1], 0) > own
    ]
    assert above == [], f"floor {own}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_at_the_top_what_its_floor_allows(path: Path) -> None:
    own = FLOORS[room(path)]
    outside = {
        module.partition(".")[0]
        for module, _ in imports(path, at_import=True)
        if module.partition(".")[0] not in sys.stdlib_module_names | {"instructforge", "__future__"}
    }
    if own in ALLOWED:
        assert outside <= ALLOWED[own] | ({"jinja2", "markupsafe"} if room(path) == "templates" else set())
    if own != 5:
        assert not outside & HEAVY


def test_only_one_module_drives_pluggy() -> None:
    users = {
        room(path) for path in MODULES if any(m.split(".")[0] == "pluggy" for m, _ in imports(path, at_import=False))
    }
    assert users == {"plugins", "hookspecs"}


@pytest.mark.parametrize(
    "module", ["instructforge", "instructforge.plugins", "instructforge.cli", "instructforge.testing"]
)
def test_the_doors_import_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(result.stdout.split()) & (
        HEAVY | {"numpy", "jinja2", "pyarrow", "rich", "yaml", "cattrs", "sklearn"}
    )
