"""Tags of a sentence's tokens: the entities in them, the schemes they are written in, and the text that says them.

A model that answers in text writes one entity a line, ``person: Ada Lovelace``, in the order of the sentence; in
Chinese ``人名：李白``. Reading goes from left to right: each entity stands where its text is found first behind the
one before it. Where that would be another place than the right one, the line says which place counts:
``location: Paris (#2)`` is the second Paris of the sentence. So the text gives back the very tags that it was made of.

Texts are compared without any white space, and entities begin and end with tokens, so that it does not matter how a
sentence is spaced: ``New York`` is found in the tokens ``New``, ``York``, and ``王 小明`` in ``王``, ``小``, ``明``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from attrs import frozen

__all__ = [
    "MARK",
    "Entity",
    "Mention",
    "Places",
    "entities",
    "is_tag",
    "join_tokens",
    "slices",
    "split_text",
    "tags_of",
    "to_iob2",
    "type_of",
    "write_entities",
    "write_mention",
]

OUTSIDE = "O"


@frozen
class Entity:
    """An entity: its type, and its tokens from ``start`` up to ``end``."""

    label: str
    start: int
    end: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of tags in the IOB2 scheme, in their order; an I- that continues nothing is none.

    Source: seqeval's strict mode with the scheme IOB2.

    >>> entities(["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-PER"])
    [Entity(label='PER', start=0, end=2), Entity(label='LOC', start=3, end=4), Entity(label='LOC', start=4, end=5)]
    """
    found: list[Entity] = []
    label, start = "", -1
    for place, tag in enumerate([*tags, OUTSIDE]):
        if start >= 0 and tag != f"I-{label}":
            found.append(Entity(label, start, place))
            start = -1
        if tag[:2] == "B-":
            label, start = tag[2:], place
    return found


def tags_of(found: Iterable[Entity], length: int) -> tuple[str, ...]:
    """Return the tags (IOB2) of entities that do not overlap, for a sentence of ``length`` tokens.

    >>> tags_of([Entity("PER", 1, 3)], 4)
    ('O', 'B-PER', 'I-PER', 'O')
    """
    tags = [OUTSIDE] * length
    for one in found:
        tags[one.start : one.end] = [f"B-{one.label}", *[f"I-{one.label}"] * (one.end - one.start - 1)]
    return tuple(tags)


# --- Schemes ------------------------------------------------------------------------------------------

_TAG = re.compile(r"([BIMELSU])[-_](.+)", re.DOTALL)
_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
_NO_ENTITY = frozenset({"O", "o"})


def is_tag(text: str) -> bool:
    """Tell whether ``text`` is a tag with a prefix, or the tag of no entity.

    >>> [is_tag(text) for text in ("O", "B-PER", "S_LOC", "PER", "-")]
    [True, True, True, False, False]
    """
    return text in _NO_ENTITY or _TAG.fullmatch(text) is not None


def type_of(tag: str) -> str:
    """Return the type of entity that a tag of any scheme names; empty for none.

    >>> [type_of(tag) for tag in ("O", "B-creative-work", "E-LOC", "PER")]
    ['', 'creative-work', 'LOC', 'PER']
    """
    return _parts(tag)[1]


def _parts(tag: str) -> tuple[str, str]:
    """Return a tag's prefix (B, I, E, S, O; empty where it has none) and its type."""
    if tag in _NO_ENTITY:
        return "O", ""
    match = _TAG.fullmatch(tag)
    return (_LETTERS[match[1]], match[2]) if match else ("", tag)


def to_iob2(tags: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return tags of any known scheme as IOB2, and the notes on what had to be changed for it.

    Known are IOB2, IOB1 (an entity begins with I-, and with B- only where it follows one of its own type), BIOES,
    BMES, BILOU, and bare types without prefixes. What breaks its scheme is mended: an entity begins where its first
    token stands.

    Returns:
        The tags, and notes: ``tags-from-iob1``, ``tags-from-bioes``, ``tags-from-io``, ``tags-repaired``;
        ``tags-respelled`` where only ``_`` stood for ``-``, or ``o`` for ``O``.

    >>> to_iob2(["S-PER", "O", "B-LOC", "M-LOC", "E-LOC"])
    (('B-PER', 'O', 'B-LOC', 'I-LOC', 'I-LOC'), ('tags-from-bioes',))
    >>> to_iob2(["I-PER", "I-PER", "B-PER", "O"])
    (('B-PER', 'I-PER', 'B-PER', 'O'), ('tags-from-iob1',))
    >>> to_iob2(["B-PER", "O", "I-PER"])
    (('B-PER', 'O', 'B-PER'), ('tags-repaired',))
    """
    parts = [_parts(tag) for tag in tags]
    letters = {letter for letter, _ in parts}
    closes = any(_TAG.fullmatch(tag) and tag[0] not in "BI" for tag in tags)
    made: list[str] = []
    open_type, repaired = "", False
    for (letter, label), (after, label_after) in pairwise([*parts, ("O", "")]):
        if letter == "O":
            made.append(OUTSIDE)
            open_type = ""
            continue
        begins = letter in "BS" if letter else label != open_type
        if not begins and label != open_type:
            begins = True
            repaired |= bool(letter)
        made.append(f"{'B' if begins else 'I'}-{label}")
        goes_on = after in ("I", "E") and label_after == label
        repaired |= closes and (letter in ("B", "I")) != goes_on
        open_type = "" if letter in ("E", "S") else label
    return tuple(made), tuple(_notes(parts, letters, made, tags, closes=closes, repaired=repaired))


def _notes(
    parts: Sequence[tuple[str, str]],
    letters: set[str],
    made: Sequence[str],
    tags: Sequence[str],
    *,
    closes: bool,
    repaired: bool,
) -> Iterator[str]:
    if closes:
        yield "tags-from-bioes"
    if "" in letters:
        yield "tags-from-io"
    if repaired and not closes and "" not in letters and _is_iob1(parts):
        yield "tags-from-iob1"
    elif repaired:
        yield "tags-repaired"
    elif not closes and "" not in letters and list(made) != list(tags):
        yield "tags-respelled"


def _is_iob1(parts: Sequence[tuple[str, str]]) -> bool:
    """Tell whether every B- follows an entity of its own type, as in IOB1, where none is needed otherwise."""
    before = [("O", ""), *parts]
    return all(letter != "B" or before[place][1] == label for place, (letter, label) in enumerate(parts))


# --- Tokens and text ----------------------------------------------------------------------------------

_UNSPACED = re.compile(
    "[\u2e80-\u303f\u3040-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003ffff]"
)
"""Scripts written without spaces between words, with their punctuation: Han, kana, full width, Thai, Lao, Khmer."""

_WORD = re.compile(rf"{_UNSPACED.pattern}|(?:(?!{_UNSPACED.pattern})\w)+|\S")


def join_tokens(tokens: Sequence[str]) -> str:
    """Return tokens as running text: a space between two, but for scripts that are written without.

    >>> join_tokens(["I", "'m", "in", "Rome", "."]), join_tokens(["我", "用", "Windows", "XP", "，", "你呢"])
    ("I 'm in Rome .", '我用Windows XP，你呢')
    """
    parts = list(tokens[:1])
    for one, other in pairwise(tokens):
        if not (_UNSPACED.match(one[-1:]) or _UNSPACED.match(other[:1])):
            parts.append(" ")
        parts.append(other)
    return "".join(parts)


def slices(tokens: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Return where each token stands in ``text``, in characters; None where the text is not that of the tokens.

    >>> slices(["Mr", ".", "Li"], "Mr. Li"), slices(["Mr", "Li"], "Mr. Li")
    ([(0, 2), (2, 3), (4, 6)], None)
    """
    found: list[tuple[int, int]] = []
    at = 0
    for token in tokens:
        while text[at : at + 1].isspace():
            at += 1
        if not text.startswith(token, at) or token[:1].isspace() or token[-1:].isspace() or not token:
            return _loose_slices(tokens, text)
        found.append((at, at + len(token)))
        at += len(token)
    return found if not text[at:].strip() else None


def _loose_slices(tokens: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """As ``slices``, where white space stands in the middle of tokens, of the text's or of the tokens' own."""
    solid = [place for place, character in enumerate(text) if not character.isspace()]
    found: list[tuple[int, int]] = []
    at = 0
    for token in tokens:
        bare = _solid(token)
        if not bare or at + len(bare) > len(solid):
            return None
        start, end = solid[at], solid[at + len(bare) - 1] + 1
        if _solid(text[start:end]) != bare:
            return None
        found.append((start, end))
        at += len(bare)
    return found if at == len(solid) else None


def split_text(text: str, *, characters: bool | None = None) -> list[tuple[int, int]]:
    """Return where the tokens of a running text stand, in characters.

    Args:
        text: The text.
        characters: Whether every character is a token, as is usual for Chinese; where left out, in texts of
            which a third or more is written without spaces. Otherwise a token is a word, a mark, or one character of
            such a script.

    >>> text = "Ada, 30"
    >>> [text[start:end] for start, end in split_text(text)]
    ['Ada', ',', '30']
    """
    if characters is None:
        solid = _solid(text)
        characters = 3 * len(_UNSPACED.findall(solid)) > len(solid)
    if characters:
        return [(place, place + 1) for place, character in enumerate(text) if not character.isspace()]
    return [match.span() for match in _WORD.finditer(text)]


def _solid(text: str) -> str:
    """Return ``text`` without any white space."""
    return "".join(text.split())


def _folded(text: str) -> str:
    """Return ``text`` in one case and width, character for character, so that positions stay."""
    return "".join(
        form if len(form := unicodedata.normalize("NFKC", character).casefold()) == 1 else character
        for character in text
    )


class Places:
    """Where a text stands among tokens: from the start of one to the end of another, white space aside.

    >>> Places(["New", "York", ",", "New", "York"]).find("new  york")
    [(0, 2), (3, 5)]
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._solid = ""
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        parts, at = [], 0
        for place, token in enumerate(tokens):
            bare = _solid(token)
            parts.append(bare)
            self._starts[at] = place
            at += len(bare)
            self._ends[at] = place + 1
        self._solid = "".join(parts)
        self._loose: str | None = None

    def find(self, text: str) -> list[tuple[int, int]]:
        """Return every place (first token, token behind the last), from left to right, overlapping ones too.

        Only where there is none, case and width are put aside.
        """
        bare = _solid(text)
        if not bare:
            return []
        return self.exact(bare) or list(self._occurrences(self._folded(), _folded(bare)))

    def exact(self, bare: str) -> list[tuple[int, int]]:
        """Return every place of a text without white space, letter for letter."""
        return list(self._occurrences(self._solid, bare))

    def inside(self, text: str) -> bool:
        """Tell whether the text stands there at all, be it in the middle of tokens."""
        bare = _folded(_solid(text))
        return bool(bare) and bare in self._folded()

    def _folded(self) -> str:
        if self._loose is None:
            self._loose = _folded(self._solid)
        return self._loose

    def _occurrences(self, within: str, bare: str) -> Iterator[tuple[int, int]]:
        at = within.find(bare)
        while at >= 0:
            first, last = self._starts.get(at), self._ends.get(at + len(bare))
            if first is not None and last is not None:
                yield first, last
            at = within.find(bare, at + 1)


# --- Entities as text ---------------------------------------------------------------------------------

MARK = re.compile(r"[(\uff08] ?(?:#|第) ?([0-9]{1,6}) ?[处處个個]?[)\uff09]$")
"""Says at the end of a line which of several places is meant: ``(#2)``, ``（第2处）``."""


@frozen
class Mention:
    """An entity as a text names it: its type's words, its own text, and which of its places where that is said."""

    words: str
    surface: str
    number: int | None = None


def separator(language: str) -> str:
    """Return what stands between type and text: ``: ``, or ``：`` in Chinese."""
    return "：" if language.startswith("zh") else ": "


def write_mention(mention: Mention, language: str) -> str:
    """Return the line of one entity.

    >>> write_mention(Mention("location", "Paris", 2), "en"), write_mention(Mention("地名", "巴黎", 2), "zh")
    ('location: Paris (#2)', '地名：巴黎（第2处）')
    """
    mark = ""
    if mention.number is not None:
        mark = f"（第{mention.number}处）" if language.startswith("zh") else f" (#{mention.number})"
    return f"{mention.words}{separator(language)}{mention.surface}{mark}"


def write_entities(
    found: Sequence[Entity], tokens: Sequence[str], *, text: str | None, words: Mapping[str, str], language: str
) -> str:
    """Return the lines of entities, in their order.

    A line says which place is meant only where the first one behind the entity before is another, or where the
    entity's own text ends as if it said so.

    Args:
        found: The entities, sorted, none of which overlap.
        tokens: The sentence's tokens, none of them empty.
        text: The sentence as running text, where it is known; white space aside the same as the tokens.
        words: The words of each type.
        language: Of the lines.
    """
    spans = slices(tokens, text) if text else None
    places = Places(tokens)
    lines: list[str] = []
    behind = 0
    for one in found:
        own = text[spans[one.start][0] : spans[one.end - 1][1]] if text and spans else None
        surface = " ".join((own or join_tokens(tokens[one.start : one.end])).split())
        known = places.exact(_solid(surface))
        nearest = next(start for start, _ in known if start >= behind)
        number = None
        if nearest != one.start or MARK.search(surface):
            number = known.index((one.start, one.end)) + 1
        lines.append(write_mention(Mention(words[one.label], surface, number), language))
        behind = one.end
    return "\n".join(lines)
