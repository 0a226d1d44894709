"""For authors of plugins: ``check_plugin``, ``check_data_set``, and the pytest fixture ``forge``.

pytest loads this module in every run of a machine that has InstructForge, so it imports nothing of it at
the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from instructforge.conformance import ConformanceError as ConformanceError
    from instructforge.conformance import ConformanceReport
    from instructforge.plugins import Forge
    from instructforge.roundtrip import DataReport

__all__ = ["ConformanceError", "ConformanceReport", "check_data_set", "check_plugin", "forge"]


def check_plugin(plugin: object, *, strict: bool = True) -> ConformanceReport:
    """Prove that a plugin keeps the contract: it imports fast, its parts fit, its answers make the round trip.

    Args:
        plugin: A module, an object with hooks, the name of an installed plugin, or the name of a module.
        strict: Whether to raise if any check failed.

    Returns:
        What was checked, and everything that was found wrong.

    Raises:
        ConformanceError: ``strict``, and a check failed. It is an ``AssertionError``; its text is the report.
    """
    from instructforge.conformance import ConformanceError, check

    report = check(plugin)
    if strict and not report.ok:
        raise ConformanceError(report)
    return report


def check_data_set(task: str, *sources: Any, records: int | None = None, **options: Any) -> DataReport:
    """Prove that a data set is read whole, and that every template makes the round trip on every row of it.

    Takes what ``instructforge.roundtrip.check_data_set`` takes: files (paths, or ``Source``s with options), the
    number of ``records`` and of ``quarantined`` rows where they are known, a ``forge``, build ``settings``.

    Raises:
        DataSetError: A record is not accounted for, or a round trip fails. It is an ``AssertionError``.
    """
    from instructforge.roundtrip import check_data_set as checked

    return checked(task, *sources, records=records, **options)


@pytest.fixture
def forge() -> Forge:
    """Return a ``Forge`` with every installed plugin."""
    from instructforge.plugins import Forge

    return Forge.discover()


def __getattr__(name: str) -> Any:
    if name in ("ConformanceError", "ConformanceReport"):
        from instructforge import conformance

        return getattr(conformance, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
