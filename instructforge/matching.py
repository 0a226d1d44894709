"""Finding a known answer in what a model wrote: choices, their letters, and spans of a passage.

Comparison runs from strict to loose: as written; without outer spaces; regardless of case and width
(NFKC); regardless of punctuation. Only then is the text searched for an answer inside it, and there the
rule is *unambiguous or not at all*: two different choices, or one that is denied ("not entailment",
"不是蕴含"), are a ``DecodingError``, never a guess.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from attrs import frozen

from instructforge.errors import DecodingError, printable

__all__ = [
    "ChoiceForms",
    "bare",
    "find_span",
    "folded",
    "read_choice",
    "read_choices",
    "without_lead_in",
    "without_marks",
]

_QUOTES = str.maketrans("‘’‛′`´“”„‟″「」『』", '\'\'\'\'\'\'"""""""""')
_DASHES = str.maketrans("‐‑‒–—―−", "-------")
_SIGN = re.compile(r"(?<!\w)-(?=\d)|(?<=\d)%")
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


# --- Ways to compare two texts ------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Return ``text`` in one width, with one kind of quotes, dashes and spaces; its case is kept."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_QUOTES).translate(_DASHES).split())


def _lower(text: str) -> str:
    """Return ``text`` in lower case, character for character, so that positions stay."""
    return "".join(low if len(low := c.casefold()) == 1 else c for c in text)


def folded(text: str) -> str:
    """Return ``text`` regardless of case, width, and the kind of its quotes, dashes and spaces.

    >>> folded("  Ｎot\\n“Entailment” ")
    'not "entailment"'
    """
    return _plain(_plain(text).casefold())


def bare(text: str) -> str:
    """Return ``text`` as ``folded``, and regardless of punctuation; a number keeps its sign.

    >>> bare("Card_arrival."), bare("蕴含。"), bare("(-10%)")
    ('card arrival', '蕴含', '-10%')
    """
    low = folded(text)
    signs = {match.start() for match in _SIGN.finditer(low)}
    kept = (" " if unicodedata.category(c)[0] == "P" and at not in signs else c for at, c in enumerate(low))
    return " ".join("".join(kept).split())


_MARKS = re.compile(r"[\W_]+")


def without_marks(text: str) -> str:
    """Return the letters and digits of ``text`` alone, in one case and width: two texts that differ only in
    spaces and punctuation become one.

    >>> without_marks("Ｔhe cat, sat.") == without_marks("the cat sat")
    True
    """
    return _MARKS.sub("", unicodedata.normalize("NFKC", text).casefold())


_STRICT_TO_LOOSE: tuple[Callable[[str], str], ...] = (str, str.strip, folded, bare)


_LEAD_IN = re.compile(
    r"(?:(?:so|thus|therefore|hence)\b,?\s*)?"
    r"(?:(?:the|my)\s+)?(?:(?:correct|right|final|best|most likely)\s+)?"
    r"(?:answer|label|choice|option|relation(?:ship)?|category|intent|class|prediction|response)\b"
    r"\s*(?:(?:is|would be|should be)\b\s*)?(?:option\b\s*)?[:=-]*\s*"
    r"|(?:所以|因此|故|综上(?:所述)?)?,?\s*(?:(?:我的|正确|最终|最佳)的?)?"
    r"(?:答案|选项|标签|关系|结论|回答|类别|意图)(?:应该?)?(?:就?是|为|选)?\s*:?\s*"
    r"|(?:所以|因此|故)?应?选择?\s*:?\s*",
    re.IGNORECASE,
)


def without_lead_in(text: str) -> str:
    """Return ``text`` without an opening such as "The answer is" or "答案：".

    >>> without_lead_in("The answer is: Paris"), without_lead_in("答案：巴黎"), without_lead_in("Optional")
    ('Paris', '巴黎', 'Optional')
    """
    plain = _plain(text)
    match = _LEAD_IN.match(plain)
    return plain[match.end() :] or text if match else text


# --- Choices ------------------------------------------------------------------------------------------


@frozen
class ChoiceForms:
    """What may stand for each label: its completion under the template first, then other words for it.

    Args:
        labels: The labels, in the row's order.
        completions: What the template completes with for each label: words or a letter.
        others: Other words for each label: the task's own words, and the label itself.
    """

    labels: tuple[str, ...]
    completions: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]

    @property
    def lettered(self) -> bool:
        """Whether the template answers with the letters A, B, C …"""
        return bool(self.labels) and self.completions == tuple(map(_letter, range(len(self.labels))))

    def lettered_by(self, letter: str) -> str | None:
        """Return the label of a letter of the alphabet, or of AA, AB … beyond it."""
        return dict(zip(self.completions, self.labels, strict=True)).get(letter) if self.lettered else None


def _letter(place: int) -> str:
    """Return A … Z, AA, AB … for 0, 1 …, as templates count them."""
    name, place = "", place + 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(65 + rest) + name
    return name


@frozen
class _Found:
    start: int
    end: int
    label: str


def read_choice(text: str, forms: ChoiceForms) -> str:
    """Return the label that ``text`` names.

    Raises:
        DecodingError: It names none, or more than one, or denies the only one that it names.
    """
    for candidate in dict.fromkeys((text, without_lead_in(text))):
        label = _equal_form(candidate, forms)
        if label is not None:
            return label
    found = list(dict.fromkeys(one.label for one in _affirmed(text, forms)))
    if len(found) == 1:
        return found[0]
    raise DecodingError(_why_not_one(text, found, forms))


def read_choices(text: str, forms: ChoiceForms) -> tuple[str, ...]:
    """Return all labels that ``text`` names, in their order there; an empty text names none.

    Raises:
        DecodingError: It names none, or can be read as two different lists.
    """
    if not text.strip():
        return ()
    for candidate in dict.fromkeys((text, without_lead_in(text))):
        lists = _lists(candidate, forms)
        if len(lists) == 1:
            return lists[0]
        if lists:
            raise DecodingError(f'"{printable(text)}" can be read as two different lists of labels')
    found = tuple(dict.fromkeys(one.label for one in _affirmed(text, forms)))
    if not found:
        raise DecodingError(_why_not_one(text, (), forms))
    return found


def _equal_form(text: str, forms: ChoiceForms) -> str | None:
    """Return the label one of whose forms ``text`` equals, completions first, strict before loose."""
    for column in (0, 1):
        for level, compare in enumerate(_STRICT_TO_LOOSE):
            wanted = compare(text)
            found = _labels_by_form(forms, column, level).get(wanted, ()) if wanted else ()
            if len(found) == 1:
                return found[0]
            if found:
                raise DecodingError(_why_not_one(text, found, forms))
        if forms.lettered and column == 0:
            label = _letter_alone(text, forms)
            if label is not None:
                return label
    return None


@lru_cache(maxsize=512)
def _labels_by_form(forms: ChoiceForms, column: int, level: int) -> dict[str, tuple[str, ...]]:
    """Return the labels of each form, compared at one level: of the completions (0), or of the other words (1)."""
    compare = _STRICT_TO_LOOSE[level]
    found: dict[str, dict[str, None]] = {}
    for form, label in _form_columns(forms)[column]:
        found.setdefault(compare(form), {})[label] = None
    return {form: tuple(labels) for form, labels in found.items()}


def _form_columns(forms: ChoiceForms) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (form, label) of every completion, and of every other word."""
    completions = list(zip(forms.completions, forms.labels, strict=True))
    return completions, [
        (word, label) for label, words in zip(forms.labels, forms.others, strict=True) for word in words
    ]


def _why_not_one(text: str, found: Sequence[str], forms: ChoiceForms) -> str:
    shown = f'"{printable(text, 80)}"'
    if not text.strip():
        return "the model wrote nothing"
    if found:
        return f"{shown} names {len(found)} choices: {', '.join(printable(label, 40) for label in found[:4])}"
    some = ", ".join(printable(form, 40) for form in forms.completions[:6])
    return f"{shown} names none of the choices: {some}{', …' if len(forms.completions) > 6 else ''}"


# --- Letters ------------------------------------------------------------------------------------------

_ALONE = re.compile(r"[\s(\[{<【《\"'*]*([A-Za-z]{1,2})[\s)\]}>】》\"'*.。:,、;!]*")
_STANDING = re.compile(r"(?<![A-Za-z0-9])[A-Z]{1,2}(?![A-Za-z0-9]|'[a-z])")
_BEFORE = re.compile(rf"(?:^|[\W_{_CJK}]|\b(?:answer|option|choice|choose|select|pick|is|be))\s*\Z", re.IGNORECASE)
_ASKED = re.compile(
    r"(?:\b(?:answer|option|choice|choose|select|pick)(?:\s+is)?|答案|选项?|选择)[是为选]?\s*[:=]?\s*[(\[\"']?\Z",
    re.IGNORECASE,
)
_AFTER = re.compile(rf"\s*(?:\Z|[^\w\s]|[{_CJK}]|is\s+(?:the\s+)?(?:correct|right|best|answer|true)\b)", re.IGNORECASE)
_ARTICLE = re.compile(r"\s+[a-z]")


def _letter_alone(text: str, forms: ChoiceForms) -> str | None:
    """Return the label of the letter that is all of ``text``: ``B``, ``b``, ``(B)``, ``B.``, ``【Ｂ】``."""
    match = _ALONE.fullmatch(_plain(text))
    return forms.lettered_by(match[1].upper()) if match else None


def _letters_in(plain: str, forms: ChoiceForms) -> Iterator[_Found]:
    """Yield the letters that stand in ``plain`` as answers; the article "A" and the pronoun "I" do not."""
    for match in _STANDING.finditer(plain):
        label = forms.lettered_by(match[0])
        if label is None:
            continue
        before, after = plain[max(0, match.start() - 40) : match.start()], plain[match.end() : match.end() + 40]
        if _ASKED.search(before):
            stands = match[0] not in ("A", "I") or not _ARTICLE.match(after)
        else:
            touching = not before or not before[-1].isspace() or bool(re.search(r"[^\w\s]\s*\Z", before))
            stands = touching and bool(_BEFORE.search(before)) and bool(_AFTER.match(after))
            stands = stands or bool(re.match(r"\s+is\s+(?:the\s+)?(?:correct|right|best|answer)\b", after))
        if stands:
            yield _Found(match.start(), match.end(), label)


# --- Choices inside a longer text ---------------------------------------------------------------------

_LONGEST_SEARCHED = 20_000
_REACH = 200
"""How far, in characters, a negation reaches at most."""
_NEGATION = re.compile(
    r"\b(?:not|never|no(?!,)|without|neither|nor|cannot|hardly|\w+n't)\b|\bnon-"
    r"|不(?![过仅但管论同难禁妨错断久])|并非|没(?!错|问题)|非(?![常凡])|未(?!来)|无(?![论疑])|除了|排除"
)
_CONTRAST = re.compile(
    r"[.;!?。;!?]|\b(?:but|rather|instead|however|yet|because|since|so|hence|thus|therefore)\b|而是|因此|所以|因为|应[该为是]"
)
_DENIED_AFTER = re.compile(
    r"\s*(?:关系)?\s*(?:(?:is|are|was|does|do|did|can|could|would|should|will|may|might)?\s*(?:not|never)\b"
    r"|\w+n't\b|cannot\b|(?:is|are|would be)\s+(?:wrong|false|incorrect|ruled out)\b"
    r"|[是并]?不(?:成立|对|正确|是|存在)|是?错误?的?(?:$|[^误]))"
)


def _affirmed(text: str, forms: ChoiceForms) -> list[_Found]:
    """Return the choices that stand in ``text`` and are not denied there, in order."""
    if len(text) > _LONGEST_SEARCHED:
        raise DecodingError(f"the model wrote {len(text)} characters, too many to look for a choice in them")
    plain = _plain(text)
    low = _lower(plain)
    found = list(_words_in(low, forms))
    if forms.lettered:
        free = _Free(low, found)
        found += [one for one in _letters_in(plain, forms) if free.between(one.start, one.end)]
    found.sort(key=lambda one: one.start)
    denied = _denied(low, found)
    return [one for place, one in enumerate(found) if place not in denied]


def _words_in(low: str, forms: ChoiceForms) -> Iterator[_Found]:
    """Yield every form that stands in ``low`` as words of its own, the longest first, none inside another."""
    free = _Free(low)
    for form, label in _searchable(forms):
        if form not in low:
            continue
        for match in _pattern(form).finditer(low):
            if free.between(*match.span()):
                free.take(*match.span())
                yield _Found(match.start(), match.end(), label)


class _Free:
    """Which characters of a text are not yet part of anything found."""

    def __init__(self, text: str, found: Sequence[_Found] = ()) -> None:
        self._taken = bytearray(len(text))
        for one in found:
            self.take(one.start, one.end)

    def take(self, start: int, end: int) -> None:
        self._taken[start:end] = b"\x01" * (end - start)

    def between(self, start: int, end: int) -> bool:
        return not any(self._taken[start:end])


@lru_cache(maxsize=256)
def _searchable(forms: ChoiceForms) -> tuple[tuple[str, str], ...]:
    """Return (form, label), longest form first. Where two labels share words, a completion has them."""
    owners: dict[str, set[str]] = {}
    if not forms.lettered:
        for form, label in zip(forms.completions, forms.labels, strict=True):
            owners.setdefault(_lower(_plain(form)), set()).add(label)
    first = set(owners) | {_lower(form) for form in forms.completions}
    for label, words in zip(forms.labels, forms.others, strict=True):
        for word in words:
            form = _lower(_plain(word))
            if form not in first:
                owners.setdefault(form, set()).add(label)
    pairs = [(form, label) for form, labels in owners.items() if form for label in sorted(labels)]
    return tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair)))


@lru_cache(maxsize=4096)
def _pattern(form: str) -> re.Pattern[str]:
    """Return what finds ``form`` standing by itself: whole words and numbers; Chinese, where it is long enough.

    A single Chinese character (是, 对) is part of too many words to be looked for inside a clause.
    """
    if re.fullmatch(f"[{_CJK}]", form):
        return re.compile(rf"(?:(?<![{_CJK}\w])|(?<=[是为选])){form}(?=[的啊呀吧]?(?:$|[^\w]))")
    before = after = ""
    if form[0].isalnum() and not re.match(f"[{_CJK}]", form):
        before = rf"(?<![^\W_{_CJK}])" + (r"(?<![\d][.,])(?<!-)" if form[0].isdigit() else "")
    if form[-1].isalnum() and not re.match(f"[{_CJK}]", form[-1]):
        after = rf"(?![^\W_{_CJK}])" + (r"(?![.,]\d|%)" if form[-1].isdigit() else "")
    return re.compile(f"{before}{re.escape(form)}{after}")


def _denied(low: str, found: Sequence[_Found]) -> set[int]:
    """Return the places in ``found`` that a negation before or right after them denies."""
    free = _Free(low, found)
    negations = [match for match in _NEGATION.finditer(low) if free.between(*match.span())]
    starts = [one.start for one in found]
    denied = {place for place, one in enumerate(found) if _DENIED_AFTER.match(low, one.end)}
    for negation in negations:
        chinese = not negation[0].isascii()
        used = False
        for place in range(bisect_left(starts, negation.end()), len(found)):
            one = found[place]
            if one.start > negation.end() + _REACH:
                break
            between = low[negation.end() : one.start]
            comma = "," in between or "、" in between
            if _CONTRAST.search(between) or (comma and (chinese or (used and negation[0] not in ("neither", "nor")))):
                break
            denied.add(place)
            used = True
    return denied


# --- Several choices ----------------------------------------------------------------------------------

_SEPARATOR = re.compile(r"\s*(?:[,，、;；\n/]|\band\b|\bor\b|和|及|与)+\s*", re.IGNORECASE)
_MOST_LISTS = 2
_LONGEST_LIST = 4000


def _lists(text: str, forms: ChoiceForms) -> list[tuple[str, ...]]:
    """Return the ways (two at most) in which all of ``text`` is a list of choices, different as sets."""
    for compare in (str.strip, lambda value: _lower(_plain(value)).strip(" .。!")):
        wanted = compare(text)
        if len(wanted) > _LONGEST_LIST:
            break
        forms_of = {(compare(form), label) for column in _form_columns(forms) for form, label in column}
        pairs = sorted((pair for pair in forms_of if pair[0]), key=lambda pair: (-len(pair[0]), pair))
        lists = _parses(wanted, pairs)
        if lists:
            return lists
    return []


def _parses(text: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return the lists that ``text`` can be read as. Each place is visited once: time grows with the text."""
    ways: dict[int, list[tuple[str, ...]]] = {len(text): [()]}

    def _from(place: int) -> list[tuple[str, ...]]:
        found: dict[frozenset[str], tuple[str, ...]] = {}
        for form, label in pairs:
            if not text.startswith(form, place):
                continue
            end = place + len(form)
            separator = None if end == len(text) else _SEPARATOR.match(text, end)
            if end < len(text) and separator is None:
                continue
            for rest in ways.get(end if separator is None else separator.end(), ()):
                if separator is not None and not rest:
                    continue
                names = tuple(dict.fromkeys((label, *rest)))
                found.setdefault(frozenset(names), names)
        return list(found.values())[:_MOST_LISTS]

    for place in range(len(text) - 1, -1, -1):
        ways[place] = _from(place)
    return ways.get(0, []) if text else []


# --- Spans --------------------------------------------------------------------------------------------


_OUTER_MARKS = " \"'.,;:!?。、()[]<>《》【】"


def find_span(text: str, passage: str) -> tuple[int, int] | None:
    """Return where ``text`` stands in ``passage``, in characters, or None.

    As written, whole words before parts of words; then regardless of case, width, quotes and spaces, whole
    words only; then the same without outer punctuation and an opening such as "The answer is".

    >>> find_span("eiffel  tower.", "See the Eiffel Tower by night.")
    (8, 20)
    """
    stripped = text.strip()
    if not stripped:
        return None
    place = _first_whole(stripped, passage)
    if place < 0:
        place = passage.find(stripped)
    if place >= 0:
        return place, place + len(stripped)
    loose, places = _with_places(passage)
    said = folded(without_lead_in(stripped))
    for wanted in dict.fromkeys((folded(stripped), said.strip(_OUTER_MARKS), said)):
        place = _first_whole(wanted, loose) if wanted else -1
        if place >= 0:
            return places[place], places[place + len(wanted) - 1] + 1
    return None


def _first_whole(text: str, passage: str) -> int:
    """Return the first place where ``text`` stands in ``passage`` as whole words, or -1."""
    place = passage.find(text)
    while place >= 0:
        end = place + len(text)
        inside = (place > 0 and _one_word(passage[place - 1], text[0])) or (
            end < len(passage) and _one_word(text[-1], passage[end])
        )
        if not inside:
            return place
        place = passage.find(text, place + 1)
    return -1


def _one_word(left: str, right: str) -> bool:
    """Tell whether two neighbouring characters belong to one word; Chinese has no such bond."""
    return left.isalnum() and right.isalnum() and not re.search(f"[{_CJK}]", left + right)


def _with_places(passage: str) -> tuple[str, list[int]]:
    """Return ``passage`` as ``folded`` does, with the place of each character in the original."""
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(passage):
        for part in folded(character) or " ":
            if part != " " or (characters and characters[-1] != " "):
                characters.append(part)
                places.append(place)
    return "".join(characters), places
