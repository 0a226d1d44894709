"""How much a template may take, when it is loaded and each time it is rendered."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Limits"]


@frozen(kw_only=True)
class Limits:
    """Bounds of one template.

    The bounds on work, memory and output are counted, not timed, so that they fall in the same place on every
    machine; the time is the net below them.

    Attributes:
        source_chars: Length of the source.
        nodes: Size of its syntax tree.
        time_s: Seconds a render may take.
        work: Steps a render may take: about one for each operation and each few characters handled.
        memory_bytes: Bytes that a render may allocate in all, freed ones included.
        output_chars: Length of what a render writes, and of any single text it makes.
        depth: Nesting of calls and of values.
        range_items: Length of a ``range`` and of what is repeated.
        int_bits: Size of a whole number.
    """

    source_chars: int = 200_000
    nodes: int = 10_000
    time_s: float = 2.0
    work: int = 20_000_000
    memory_bytes: int = 128_000_000
    output_chars: int = 1_000_000
    depth: int = 50
    range_items: int = 100_000
    int_bits: int = 4_096
