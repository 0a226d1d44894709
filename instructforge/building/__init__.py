"""Building: raw files → instructions in shards, with a ledger of every row and a quarantine of the bad ones.

``settings`` says what to build; ``inputs`` opens the files; ``making`` turns rows into outcomes and
is all that workers run; ``workers`` sends it there; ``ledger`` counts; ``state`` is what a crash leaves behind to
go on from; ``shards`` writes the files, and reads them again; ``driver`` holds it together.
"""

from __future__ import annotations

from instructforge.building.driver import BuildResult, build
from instructforge.building.ledger import read_ledger, split_names, used_templates
from instructforge.building.settings import BuildSettings, Retrieve, Source
from instructforge.building.shards import InstructionSet

__all__ = [
    "BuildResult",
    "BuildSettings",
    "InstructionSet",
    "Retrieve",
    "Source",
    "build",
    "read_ledger",
    "split_names",
    "used_templates",
]
