"""Constants that come with the data: a first pass over the sources, for normalizers that state ``collects``.

A label set that nobody has written down is what the rows hold. It is taken from *all* sources: a label that only the
test rows have belongs to the task, and leaving it out would take just the rows out of the test that the model cannot
answer. The build says which labels these are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve

from instructforge.components import Normalizer, RowOrError
from instructforge.data import Row
from instructforge.errors import ConfigError, DataError, printable
from instructforge.normalizers import map_columns

if TYPE_CHECKING:
    from instructforge.building.inputs import Input

__all__ = ["MOST_COLLECTED", "collected_values", "with_collected"]

MOST_COLLECTED = 2000
"""More different values than this are no label set: a column of texts or ids was taken for one."""

_SHOWN = 10


def with_collected(inputs: Sequence[Input]) -> tuple[list[Input], list[str]]:
    """Return the inputs, each with the constants that its normalizer collects, and what there is to say of these.

    Raises:
        ConfigError: There are too many different values for a closed set.
        DataError: A file as a whole cannot be read.
    """
    found = list(inputs)
    said: list[str] = []
    for name in dict.fromkeys(name for one in inputs for name in one.normalizer.collects):
        asking = [at for at, one in enumerate(found) if _lacks(one, name)]
        values = {at: _values_of(found[at], name) for at in asking}
        everything = sorted(set().union(*values.values()))
        if not everything:
            continue
        if len(everything) > MOST_COLLECTED:
            first = found[asking[0]]
            raise _too_many(first.label, first.normalizer.name, name, everything)
        for at in asking:
            source = found[at].source
            found[at] = evolve(found[at], source=evolve(source, constants={**source.constants, name: everything}))
        said += _notes(name, everything, {at: values[at] for at in asking}, found)
    return found, said


def _lacks(one: Input, name: str) -> bool:
    return name in one.normalizer.collects and name not in one.source.constants


def _values_of(one: Input, name: str) -> set[str]:
    """Return what the rows of one source add to a constant."""
    source = one.source
    return collected_values(
        one.rows(), one.normalizer, name, columns=source.columns, constants=source.constants, label=one.label
    )


def collected_values(
    rows: Iterable[RowOrError],
    normalizer: Normalizer,
    name: str,
    *,
    columns: Mapping[str, str],
    constants: Mapping[str, Any],
    label: str,
) -> set[str]:
    """Return what rows add to the constant ``name``; a row that gives the constant itself adds nothing.

    Raises:
        ConfigError: There are too many different values for a closed set.
    """
    function = normalizer.collects[name]
    found: set[str] = set()
    for row in rows:
        if not isinstance(row, Row):
            continue
        values = map_columns(row.values, columns)
        if values.get(name) is None:
            found.update(_added(function, {**constants, **values}))
        if len(found) > MOST_COLLECTED:
            raise _too_many(label, normalizer.name, name, found)
    return found


def _added(function: Callable[[Mapping[str, Any]], Iterable[str]], values: Mapping[str, Any]) -> list[str]:
    """Return what one row adds; a bad row adds nothing here, and is quarantined when it is built."""
    try:
        return [value for value in function(values) if isinstance(value, str)]
    except DataError:
        return []
    except Exception:  # a plugin's code: the build quarantines the row, with what was raised
        return []


def _too_many(label: str, normalizer: str, name: str, values: Iterable[str]) -> ConfigError:
    some = ", ".join(f'"{printable(value, 40)}"' for value in sorted(values)[:3])
    return ConfigError(
        f'"{printable(label)}" has more than {MOST_COLLECTED} different {name} (such as {some}), no closed set.\n'
        f'The normalizer "{normalizer}" takes them from the rows where they are not given.\n'
        f"Name the right column with --column, or give the set: --constant {name}=@FILE.json"
    )


def _notes(
    name: str, everything: Sequence[str], values: Mapping[int, set[str]], inputs: Sequence[Input]
) -> Iterable[str]:
    shown = ", ".join(printable(value, 40) for value in everything[:_SHOWN])
    more = ", …" if len(everything) > _SHOWN else ""
    where = f"{len(values)} file{'s' if len(values) != 1 else ''}"
    yield f"{name}: {len(everything)} collected from the rows of {where} ({shown}{more})"
    if len(everything) == 1:
        yield f"{name}: one alone leaves nothing to choose; give all files of the data set, or the set itself"
    trained = [at for at in values if inputs[at].source.split in ("train", None)]
    if not trained:
        return
    unseen = sorted(set(everything).difference(*(values[at] for at in trained)))
    if unseen:
        listed = ", ".join(f'"{printable(value, 40)}"' for value in unseen[:_SHOWN])
        yield (
            f"{name}: {len(unseen)} of them stand in no training file, so that no model can learn them; their rows "
            f"stay in the test and count as they are answered: {listed}{', …' if len(unseen) > _SHOWN else ''}"
        )
