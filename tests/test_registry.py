"""The registry: names, owners, laziness; nothing is overwritten."""

from __future__ import annotations

import sys

import pytest
from attrs import frozen

from instructforge.components import Lazy
from instructforge.errors import (
    DuplicateNameError,
    MissingDependencyError,
    PluginContractError,
    PluginImportError,
    UnknownNameError,
)
from instructforge.registry import Registry


@frozen
class Thing:
    name: str


def test_components_keep_registration_order_and_owner() -> None:
    registry: Registry[Thing] = Registry("thing")
    for name in ("b", "a", "c"):
        registry.add(Thing(name), owner=f"plugin-{name}")
    assert list(registry) == ["b", "a", "c"]
    assert len(registry) == 3
    assert registry.owner("a") == "plugin-a"
    assert "c" in registry
    assert "d" not in registry


def test_nothing_is_overwritten_and_both_owners_are_named() -> None:
    registry: Registry[Thing] = Registry("thing")
    first = Thing("x")
    registry.add(first, owner="one")
    with pytest.raises(DuplicateNameError, match=r'"x" of plugin "two".*plugin "one"') as caught:
        registry.add(Thing("x"), owner="two")
    assert caught.value.name == "x"
    assert caught.value.plugin == "two"
    assert registry.get("x") is first


def test_an_unknown_name_gets_a_near_one() -> None:
    registry: Registry[Thing] = Registry("thing")
    registry.add(Thing("qa-choice"), owner="one")
    with pytest.raises(UnknownNameError, match='Did you mean "qa-choice"'):
        registry.get("qa-chioce")
    for ask in (registry.peek, registry.owner):
        with pytest.raises(LookupError):
            ask("zzz")


def test_an_owner_is_removed_whole() -> None:
    registry: Registry[Thing] = Registry("thing")
    registry.add(Thing("a"), owner="one")
    registry.add(Thing("b"), owner="two")
    registry.add(Thing("c"), owner="one")
    registry.remove_owned_by("one")
    assert list(registry) == ["b"]
    registry.add(Thing("a"), owner="two")  # the name is free again


def test_a_lazy_component_is_imported_once_when_fetched(tmp_path, monkeypatch) -> None:
    (tmp_path / "lazy_part.py").write_text("class Part:\n    name = 'lazy-thing'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[Thing] = Registry("thing")
    registry.add(Lazy("lazy-thing", "lazy_part:Part"), owner="one")
    assert isinstance(registry.peek("lazy-thing"), Lazy)
    assert "lazy_part" not in sys.modules
    found = registry.get("lazy-thing")
    assert found.name == "lazy-thing"
    assert registry.get("lazy-thing") is found


def test_a_lazy_component_that_cannot_be_imported_names_plugin_and_place() -> None:
    registry: Registry[Thing] = Registry("thing")
    registry.add(Lazy("gone", "a_module_that_nobody_has:Thing"), owner="one")
    with pytest.raises(PluginImportError, match=r'"gone" of plugin "one".*a_module_that_nobody_has'):
        registry.get("gone")


def test_a_lazy_component_that_lacks_an_extra_names_the_extra(tmp_path, monkeypatch) -> None:
    (tmp_path / "torchish.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[Thing] = Registry("thing")
    registry.add(Lazy("heavy", "torchish:Thing", extra="train"), owner="one")
    with pytest.raises(MissingDependencyError, match="a_module_that_nobody_has") as caught:
        registry.get("heavy")
    assert caught.value.extra == "train"


def test_a_missing_attribute_is_a_broken_contract() -> None:
    registry: Registry[Thing] = Registry("thing")
    registry.add(Lazy("odd", "json:NoSuchThing"), owner="one")
    with pytest.raises(PluginContractError, match="json:NoSuchThing"):
        registry.get("odd")


def test_a_lazy_component_goes_by_its_own_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "misnamed_part.py").write_text("class Part:\n    name = 'another'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[Thing] = Registry("thing")
    registry.add(Lazy("one-name", "misnamed_part:Part"), owner="one")
    with pytest.raises(PluginContractError, match=r'"one-name".*"another"'):
        registry.get("one-name")
