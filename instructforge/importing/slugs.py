"""Names from other people's files, made fit for paths: contained, told apart, never overwriting one another."""

from __future__ import annotations

import re
import unicodedata

from attrs import define, field

__all__ = ["Names", "slug"]

MAX_CHARS = 64
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in "123456789"))
)


def slug(name: str, *, otherwise: str = "unnamed") -> str:
    """Return ``name`` as lower-case letters, digits and single hyphens; ``otherwise`` where nothing is left of it.

    >>> slug("GPT-3 style"), slug("../../etc/passwd"), slug("Décrire l'image"), slug("中文")
    ('gpt-3-style', 'etc-passwd', 'decrire-l-image', 'unnamed')
    """
    plain = unicodedata.normalize("NFKD", name[:400]).encode("ascii", "ignore").decode("ascii")
    made = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:MAX_CHARS].strip("-")
    return f"{made}-file" if made in _RESERVED else made or otherwise


@define
class Names:
    """Gives each name a slug of its own.

    Attributes:
        collisions: Names whose slug was taken, each with the slug that it got instead.
    """

    taken: set[str] = field(factory=set)
    collisions: dict[str, str] = field(factory=dict)

    def claim(self, name: str, *, otherwise: str = "unnamed") -> str:
        """Return a slug of ``name`` that nobody has yet.

        >>> names = Names()
        >>> names.claim("Can we infer?"), names.claim("can_we infer"), names.collisions
        ('can-we-infer', 'can-we-infer-2', {'can_we infer': 'can-we-infer-2'})
        """
        wanted = made = slug(name, otherwise=otherwise)
        number = 1
        while made in self.taken:
            number += 1
            made = f"{wanted[: MAX_CHARS - 5].rstrip('-')}-{number}"
        if made != wanted:
            self.collisions[name] = made
        self.taken.add(made)
        return made
