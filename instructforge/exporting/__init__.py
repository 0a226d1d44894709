"""Exporting: built instructions in the formats of other projects, with a card that says where they come from.

``records`` is what a format makes of an instruction, and what it cannot hold; ``conversations``, ``pairs``,
``benchmarks`` and ``tokens`` are the formats; ``card`` writes the data set's card; ``writing`` carries a whole build
over. A format is an ``Exporter``, registered by ``instructforge_exporters`` like a stranger's.
"""

from __future__ import annotations

from instructforge.exporting.records import Companion, Exporter, ExportPlan, NotHeldError, Record
from instructforge.exporting.writing import ExportResult, export

__all__ = ["Companion", "ExportPlan", "ExportResult", "Exporter", "NotHeldError", "Record", "export"]
