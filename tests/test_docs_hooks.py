"""The page on hooks against the specifications: signatures, order and what each hook gives cannot drift."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from instructforge import hookspecs
from instructforge.hookspecs import HOOK_VERSION
from instructforge.plugincheck import KINDS

PAGE = (Path(__file__).parent.parent / "docs" / "hooks.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(instructforge_\w+\(.*?\))` \| (.+?) \|$", PAGE, flags=re.MULTILINE)
SPECIFICATIONS = {
    name: function for name, function in vars(hookspecs).items() if hasattr(function, "instructforge_spec")
}


def test_every_hook_is_on_the_page_with_its_signature_and_in_order() -> None:
    written = [
        f"{name}({', '.join(inspect.signature(function).parameters)})" for name, function in SPECIFICATIONS.items()
    ]
    assert [signature for signature, _ in ROWS] == written


def test_what_each_provider_gives_is_what_is_accepted() -> None:
    given = {
        signature.partition("(")[0].removeprefix("instructforge_"): text.replace("`", "") for signature, text in ROWS
    }
    assert {hook: given[hook] for hook in KINDS} == {hook: kind.expected for hook, kind in KINDS.items()}


def test_the_version_on_the_page_is_the_current_one() -> None:
    assert f"is {HOOK_VERSION}. A plugin that needs a later one" in PAGE
    assert f"INSTRUCTFORGE_HOOKS = {HOOK_VERSION + 1}" in PAGE


def test_every_hook_says_what_it_is() -> None:
    assert all(inspect.getdoc(function) for function in SPECIFICATIONS.values())
