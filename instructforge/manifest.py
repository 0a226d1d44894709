"""The manifest of a run: what each stage was made from. It holds no times, so that equal runs have equal bytes."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import frozen

from instructforge.files import write_json

__all__ = ["SCHEMA", "Manifest", "library_versions"]

SCHEMA = "instructforge.manifest/1"

_LIBRARIES = ("instructforge", "torch", "transformers", "tokenizers", "peft", "datasets", "jinja2", "pluggy", "pyarrow")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide bytes, those that are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an extra that this run does without
    return found


@frozen
class Manifest:
    """``manifest.json`` of a run folder."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "manifest.json"

    def read(self) -> dict[str, Any]:
        """Return what the manifest says; an empty one where there is none yet."""
        if not self.path.is_file():
            return {"schema": SCHEMA, "stages": {}}
        value: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return value

    def fingerprint(self, stage: str) -> str:
        """Return the fingerprint of a finished stage, or an empty text."""
        found: str = self.read()["stages"].get(stage, {}).get("fingerprint", "")
        return found

    def is_done(self, stage: str, fingerprint: str) -> bool:
        """Tell whether ``stage`` was finished from just these inputs."""
        return self.fingerprint(stage) == fingerprint

    def is_of_this_build(self, stage: str) -> bool:
        """Tell whether ``stage`` was done on what the folder holds now, not on an earlier build."""
        return bool(self.read()["stages"].get(stage, {}).get("build", "") == self.fingerprint("build"))

    def finished(self, stage: str, fingerprint: str, *, plugins: Mapping[str, str], seed: int) -> None:
        """Note that ``stage`` is done, and on which build."""
        value = self.read()
        value["stages"][stage] = {"fingerprint": fingerprint}
        if stage != "build":
            value["stages"][stage]["build"] = self.fingerprint("build")
        value |= {"schema": SCHEMA, "seed": seed, "plugins": dict(plugins), "versions": library_versions()}
        write_json(self.path, value)
