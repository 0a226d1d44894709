"""Templates that say the same: a second one of the kind adds nothing to a mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import combinations

from instructforge.data import Instruction
from instructforge.linting.findings import Finding
from instructforge.linting.rendered import Renderings
from instructforge.metrics.base import tokens

__all__ = ["alike_findings"]

_ALIKE = 0.95
_SLOT = "\x00"


def alike_findings(made: Sequence[Renderings]) -> Iterator[Finding]:
    """Yield the pairs of templates of one language whose own words are nearly the same."""
    skeletons = [(one, _skeleton(one)) for one in made]
    for (one, own), (other, others) in combinations(skeletons, 2):
        if one.template.language != other.template.language or not own or not others:
            continue
        if one.template.inverted != other.template.inverted:
            continue
        ratio = SequenceMatcher(None, own, others, autojunk=False).ratio()
        if ratio >= _ALIKE:
            how = "the same words" if own == others else f"nearly the same words ({ratio:.0%})"
            yield Finding(
                template=other.template.key,
                rule="renders-alike",
                level="warning",
                message=f"it has {how} as {one.template.key}; a template earns its place by another form",
            )


def _skeleton(renderings: Renderings) -> tuple[str, ...]:
    """Return the template's own words, of the first row that it applies to, with a slot for each field."""
    first = next(iter(renderings.good), None)
    if first is None:
        return ()
    asked = (token for place in range(len(first.prompt)) for token in _own(first, place))
    return (*asked, f"{_SLOT}answer", *(token for text in (*first.affixes, *first.choices) for token in tokens(text)))


def _own(made: Instruction, place: int) -> Iterator[str]:
    content, at = made.messages[place].content, 0
    yield f"{_SLOT}{made.messages[place].role}"
    for landing in sorted((one for one in made.landings if one.message == place), key=lambda one: one.start):
        if landing.start >= at:
            yield from tokens(content[at : landing.start])
            yield f"{_SLOT}{landing.field}"
            at = landing.end
    yield from tokens(content[at:])
