"""Mixing: how often the rows of each of several data sets are trained on.

A part's *rate* is its share of the rows of an epoch. Proportional mixing goes by the parts' sizes, each counted up to a
cap and then tempered: ``min(size, cap) ** (1 / temperature)``, times the part's weight. Mixing by weights looks at
nothing else. Parts can be put into groups with fixed shares, within which they are mixed like that.

Source: examples-proportional mixing with a limit and a temperature (Raffel et al. 2020, section 3.5.2), and the
submixtures with fixed shares of the FLAN collection (Longpre et al. 2023).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

from attrs import evolve, field, frozen

from instructforge.data import Instruction
from instructforge.errors import ConfigError, did_you_mean
from instructforge.files import seed_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Joined", "MixPlan", "MixSettings", "Mixture", "PartPlan", "Picked", "plan_mixture"]

CAP = 30_000


@frozen(kw_only=True)
class MixSettings:
    """How parts are mixed.

    Args:
        by: ``proportional`` to the parts' sizes, or by their ``weights`` alone.
        cap: Rows up to which the size of a part counts; None counts them all.
        temperature: 1 keeps the proportions; the higher, the more alike the parts become.
        shares: Group → its share of the rows. A part without a group belongs to the group of its own name.
        rows: Rows of an epoch; all rows, each part's up to the cap, where left out.
    """

    by: str = "proportional"
    cap: int | None = CAP
    temperature: float = 1.0
    shares: Mapping[str, float] = field(factory=dict)
    rows: int | None = None

    def __attrs_post_init__(self) -> None:
        problems = []
        if self.by not in ("proportional", "weights"):
            problems.append(f'by is "{self.by}", not proportional or weights')
        if self.cap is not None and self.cap < 1:
            problems.append(f"cap is {self.cap}, and must be 1 or more")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            problems.append(f"temperature is {self.temperature}, and must be above 0")
        if self.rows is not None and self.rows < 1:
            problems.append(f"rows is {self.rows}, and must be 1 or more")
        problems += [
            f"shares.{name} is {share}, and must be above 0" for name, share in self.shares.items() if share <= 0
        ]
        if problems:
            raise ConfigError(problems, source="mix")


@frozen(kw_only=True)
class PartPlan:
    """What is taken of one part.

    Attributes:
        name: The part's name.
        size: Its rows.
        rate: Its share of the rows of an epoch.
        rows: Its rows in one epoch; more than ``size`` where rows come several times.
        weight, group: As asked.
    """

    name: str
    size: int
    rate: float = 0.0
    rows: int = 0
    weight: float = 1.0
    group: str = ""

    @property
    def epochs(self) -> float:
        """Return how often each of its rows is trained on in one epoch of the mixture."""
        return self.rows / self.size if self.size else 0.0

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "rate": self.rate, "rows": self.rows, "epochs": self.epochs}


@frozen
class MixPlan:
    """What is taken of every part in one epoch."""

    parts: tuple[PartPlan, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def table(self, tokens: Mapping[str, float] | None = None, *, epochs: float = 1.0) -> list[str]:
        """Return a line for each part, for people: rate, rows, passes over its rows and tokens, over ``epochs``.

        Args:
            tokens: Mean tokens of a row of each part, where they are known.
        """
        heads = ["part", "rows", "rate", "drawn", "epochs", *(["tokens"] if tokens else [])]
        lines = [heads, *(self._cells(part, tokens, epochs) for part in self.parts)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
        return [
            "  ".join(
                [
                    line[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
                ]
            )
            for line in lines
        ]

    @staticmethod
    def _cells(part: PartPlan, tokens: Mapping[str, float] | None, epochs: float) -> list[str]:
        drawn = part.rows * epochs
        cells = [part.name, str(part.size), f"{part.rate:.3f}", f"{drawn:.0f}", f"{part.epochs * epochs:.2f}"]
        return [*cells, *([f"{drawn * tokens.get(part.name, 0.0):.0f}"] if tokens else [])]


def plan_mixture(parts: Sequence[PartPlan], settings: MixSettings) -> MixPlan:
    """Return ``parts`` with their rates and rows of an epoch worked out.

    Raises:
        ConfigError: A share names no group, or nothing is left to mix.

    >>> plan = plan_mixture([PartPlan(name="a", size=300), PartPlan(name="b", size=100)], MixSettings())
    >>> [part.rate for part in plan.parts]
    [0.75, 0.25]
    """
    groups = {part.name: part.group or part.name for part in parts}
    unknown = [
        f"shares.{name}: no such group. {did_you_mean(name, groups.values())}"
        for name in settings.shares
        if name not in groups.values()
    ]
    left = sorted({group for group in groups.values() if group not in settings.shares}) if settings.shares else []
    unknown += [f'shares: the group "{group}" has none' for group in left]
    if unknown:
        raise ConfigError(unknown, source="mix")
    masses = {part.name: _mass(part, settings) for part in parts}
    rates = _rates(masses, groups, settings.shares)
    if not any(rates.values()):
        raise ConfigError("there is no row to mix: every part is empty or has the weight 0", source="mix")
    rows = settings.rows or sum(_counted(part, settings) for part in parts if rates[part.name])
    taken = _apportioned(rates, rows)
    return MixPlan(tuple(evolve(part, rate=rates[part.name], rows=taken[part.name]) for part in parts))


def _counted(part: PartPlan, settings: MixSettings) -> int:
    return part.size if settings.cap is None else min(part.size, settings.cap)


def _mass(part: PartPlan, settings: MixSettings) -> float:
    if not part.size:
        return 0.0
    return part.weight * (1.0 if settings.by == "weights" else _counted(part, settings) ** (1.0 / settings.temperature))


def _rates(masses: Mapping[str, float], groups: Mapping[str, str], shares: Mapping[str, float]) -> dict[str, float]:
    """Return each part's share: of the whole, or of its group's share where groups have any."""
    if not shares:
        total = sum(masses.values()) or 1.0
        return {name: mass / total for name, mass in masses.items()}
    of_group: dict[str, float] = {}
    for name, mass in masses.items():
        of_group[groups[name]] = of_group.get(groups[name], 0.0) + mass
    total = sum(share for group, share in shares.items() if of_group.get(group)) or 1.0
    return {
        name: shares[groups[name]] / total * mass / of_group[groups[name]] if of_group[groups[name]] else 0.0
        for name, mass in masses.items()
    }


def _apportioned(rates: Mapping[str, float], rows: int) -> dict[str, int]:
    """Share ``rows`` out by largest remainder; a part that has a rate gets one row at least."""
    taken = {name: max(math.floor(rate * rows), int(rate > 0)) for name, rate in rates.items()}
    order = sorted(rates, key=lambda name: (math.floor(rates[name] * rows) - rates[name] * rows, name))
    for name in order[: max(0, rows - sum(taken.values()))]:
        taken[name] += 1
    return taken


# --- Drawing ------------------------------------------------------------------------------------------


class Joined(Sequence[Instruction]):
    """Several sequences one behind the other; read by index, never copied."""

    def __init__(self, parts: Sequence[Sequence[Instruction]]) -> None:
        self.parts = list(parts)
        self.ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @overload
    def __getitem__(self, number: int) -> Instruction: ...
    @overload
    def __getitem__(self, number: slice) -> list[Instruction]: ...
    def __getitem__(self, number: int | slice) -> Instruction | list[Instruction]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        place = range(len(self))[number]  # counts from the end, and refuses what is beyond it
        part = bisect_right(self.ends, place)
        return self.parts[part][place - (self.ends[part - 1] if part else 0)]


class Picked(Sequence[Instruction]):
    """Some of the rows of a sequence, by number; read by index, never copied."""

    def __init__(self, rows: Sequence[Instruction], numbers: Sequence[int]) -> None:
        self.rows, self.numbers = rows, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, number: int) -> Instruction: ...
    @overload
    def __getitem__(self, number: slice) -> list[Instruction]: ...
    def __getitem__(self, number: int | slice) -> Instruction | list[Instruction]:
        if isinstance(number, slice):
            return [self.rows[one] for one in self.numbers[number]]
        return self.rows[self.numbers[number]]


class Mixture:
    """Rows of several parts, drawn by a plan.

    Each part is walked through in a seeded order, again in another one when it is through, and goes on from epoch to
    epoch where it stopped. So which rows an epoch has depends on the seed, the parts and the epoch alone.

    Args:
        parts: The training rows of each part.
        settings: How they are mixed.
        weights, groups: Of the parts, by name.
        seed: Of the orders.
    """

    def __init__(
        self,
        parts: Mapping[str, Sequence[Instruction]],
        settings: MixSettings,
        *,
        weights: Mapping[str, float] | None = None,
        groups: Mapping[str, str] | None = None,
        seed: int = 42,
    ) -> None:
        asked = [
            PartPlan(
                name=name, size=len(rows), weight=(weights or {}).get(name, 1.0), group=(groups or {}).get(name, "")
            )
            for name, rows in parts.items()
        ]
        self.plan = plan_mixture(asked, settings)
        self.rows = Joined(list(parts.values()))
        self.seed = seed

    def to_json(self) -> dict[str, Any]:
        """Return what decides the rows of every epoch, beside the rows themselves."""
        return {"seed": self.seed, "parts": [part.to_json() for part in self.plan.parts]}

    def reach(self, epochs: float) -> NDArray[np.int64]:
        """Return the numbers of the rows that ``epochs`` will draw, in order: only these need to be encoded."""
        import numpy as np

        found = []
        for part, start in self._starts():
            needed = min(part.size, math.ceil(part.rows * epochs))
            found.append(start + np.sort(self._order(part.name, part.size, 0)[:needed]))
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def drawn(self, epoch: int, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of an epoch as places in ``kept``, the numbers of those rows that could be encoded.

        Raises:
            ConfigError: Nothing of a part could be encoded.
        """
        import numpy as np

        found = []
        for part, start in self._starts():
            first, end = np.searchsorted(kept, [start, start + part.size])
            if part.rows and first == end:
                raise ConfigError(f'none of the {part.size} rows of "{part.name}" can be trained on', source="mix")
            found.append(first + self._walked(part.name, int(end - first), part.rows * epoch, part.rows))
        return np.concatenate(found).astype(np.int64)

    def part_of(self, numbers: NDArray[np.int64]) -> list[str]:
        """Return the name of the part that each row belongs to."""
        import numpy as np

        names = [part.name for part in self.plan.parts]
        return [names[place] for place in np.searchsorted(self.rows.ends, numbers, side="right")]

    def _starts(self) -> list[tuple[PartPlan, int]]:
        starts = [0, *self.rows.ends[:-1]]
        return list(zip(self.plan.parts, starts, strict=True))

    def _order(self, name: str, size: int, turn: int) -> NDArray[np.int64]:
        import numpy as np

        return np.random.default_rng(seed_of(self.seed, "mixture", name, str(turn))).permutation(size)

    def _walked(self, name: str, size: int, begin: int, count: int) -> NDArray[np.int64]:
        """Return ``count`` steps of the walk through a part, from step ``begin`` on."""
        import numpy as np

        found: list[NDArray[np.int64]] = []
        while count > 0:
            turn, place = divmod(begin, size)
            piece = self._order(name, size, turn)[place : place + count]
            found.append(piece)
            begin, count = begin + len(piece), count - len(piece)
        return np.concatenate(found) if found else np.empty(0, np.int64)
