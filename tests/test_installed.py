"""What is installed, read from the folders themselves: the same as ``importlib.metadata`` finds, and more robust."""

from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin_kit import Installation, task_source

from instructforge.installed import EntryPoint, _name_and_version, _Record, _section, folded, installed_entry_points


def by_standard_library(group: str) -> list[tuple[str, str, str, str]]:
    found = metadata.entry_points(group=group)
    return sorted((one.dist.name, one.dist.version, one.name, one.value) for one in found if one.dist)


def by_us(group: str) -> list[tuple[str, str, str, str]]:
    points, unreadable = installed_entry_points(group)
    assert unreadable == []
    return sorted((one.distribution, one.version, one.name, one.value) for one in points)


@pytest.mark.parametrize("group", ["console_scripts", "pytest11", "instructforge", "a-group-that-nobody-has"])
def test_it_agrees_with_the_standard_library_on_all_that_is_installed_here(group: str) -> None:
    assert by_us(group) == by_standard_library(group)


def test_the_first_of_two_distributions_of_one_name_is_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, folder in enumerate(("new", "old")):
        (tmp_path / folder).mkdir()
        Installation(tmp_path / folder).add("my-plugin", "", version=f"{2 - number}.0", value=f"of_{folder}")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "new"), str(tmp_path / "old"), *sys.path])
    (found,) = [one for one in installed_entry_points("instructforge")[0] if one.name == "my-plugin"]
    assert (found.version, found.value) == ("2.0", "of_new")
    # A first one without plugins hides the second one's, as pip left them there.
    (tmp_path / "new" / "my_plugin-2.0.dist-info" / "entry_points.txt").unlink()
    assert "my-plugin" not in [one.name for one in installed_entry_points("instructforge")[0]]


def test_egg_info_zip_files_and_missing_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    egg = tmp_path / "eggs" / "old_style.egg-info"
    egg.mkdir(parents=True)
    (egg / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old-style\nVersion: 0.3\n")
    (egg / "entry_points.txt").write_text("[instructforge]\nold = old_style\n")
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("packed-1.5.dist-info/METADATA", "Metadata-Version: 2.1\nName: packed\nVersion: 1.5\n")
        packed.writestr("packed-1.5.dist-info/entry_points.txt", "[instructforge]\npacked = packed\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "eggs"), str(archive), str(tmp_path / "nowhere"), *sys.path])
    found = {one.name: (one.distribution, one.version) for one in installed_entry_points("instructforge")[0]}
    assert found["old"] == ("old-style", "0.3")
    assert found["packed"] == ("packed", "1.5")


def test_a_distribution_s_name_disables_all_its_plugins(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    package = installation.add("Big.Package", "", entry_points="[instructforge]\none = big.a\ntwo = big.b\n")
    package.rename(tmp_path / "big")
    (tmp_path / "big" / "a.py").write_text(task_source("of-a"))
    (tmp_path / "big" / "b.py").write_text(task_source("of-b"))
    assert "of-a" in installation.run("tasks").stdout
    result = installation.run("--disable", "big_package,builtin", "plugins")
    assert result.returncode == 0, result.stderr
    states = dict(line.split("\t")[::2] for line in result.stdout.splitlines())
    assert (states["one"], states["two"], states["builtin"]) == ("disabled", "disabled", "disabled")
    assert "of-b" in installation.run("--disable", "one", "tasks").stdout


def test_an_entry_point_names_a_module_or_something_in_it() -> None:
    assert EntryPoint("x", "json", "", "").load() is __import__("json")
    assert EntryPoint("x", "os.path:join", "", "").load() is __import__("os").path.join
    assert EntryPoint("x", "collections.abc : Mapping.get [extra]", "", "").load() is not None
    for value in ("", "no module!", "a:b:c", ":x", "json:"):
        with pytest.raises(ValueError, match="not a module"):
            EntryPoint("x", value, "", "").load()


@given(st.text())
def test_any_entry_points_file_is_read_or_refused(text: str) -> None:
    try:
        lines = _section(f"[instructforge]\n{text}", "instructforge")
    except ValueError:
        return
    assert all(name and name == name.strip() for name, _ in lines)


names = st.text("abcxyz019-_.", min_size=1, max_size=12)


@given(st.dictionaries(names, st.text("abc.:_ ", max_size=12), max_size=5), st.text("# ;\n", max_size=5))
def test_a_section_is_read_as_the_standard_library_reads_it(lines: dict[str, str], noise: str) -> None:
    body = "\n".join(f"{name} = {value}" for name, value in lines.items())
    text = f"[other]\nx = y\n{noise}\n[ours]\n{body}\n[more]\nz = z\n"
    assert _section(text, "ours") == [(name, value.strip()) for name, value in lines.items()]


@given(st.text(), st.text())
def test_any_metadata_gives_a_name(folder: str, text: str) -> None:
    name, version = _name_and_version(_Record(f"{folder or 'x'}-1.0.dist-info", "", text))
    assert isinstance(name, str)
    assert isinstance(version, str)
    assert name or text or not folder


@given(st.text("aB-_.", max_size=8))
def test_folding_is_stable(name: str) -> None:
    assert folded(folded(name)) == folded(name)
