"""Decoders of tags: from text that names entities, and from a head's scores of each token.

The text that a template completes with (``instructforge.tagging``) comes back exactly. Models write the same in many
other ways: numbered or with bullets, in another order, the type behind the entity, several entities a line, as JSON,
or tag by tag. All of these are read. What cannot be placed is never dropped in silence: the prediction's notes say
how many entities, and which, are not in the sentence, cut a token in two, or take tokens that are taken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar

import attrs
from attrs import define, field, frozen

from instructforge.data import Instruction, Output, Prediction
from instructforge.decoders.base import answered, each, text_of
from instructforge.errors import ConfigError, DataError, DecodingError, printable
from instructforge.matching import bare, folded
from instructforge.tagging import MARK, Entity, Mention, Places, is_tag, separator, tags_of, to_iob2, type_of
from instructforge.tasks import Tags, Task

__all__ = ["TagsDecoder", "TagsTextDecoder", "best_path", "read_mentions"]

NOTES_NAME = 5
"""How many of the entities that could not be placed a note names."""


def _tags_target(task: Task) -> Tags:
    if not isinstance(task.target, Tags):
        raise ConfigError(
            f'the task "{task.name}" has {type(task.target).__name__} answers, and this decoder reads tags'
        )
    return task.target


def _tokens(instruction: Instruction, target: Tags) -> list[str]:
    tokens = instruction.example.inputs.get(target.within)
    if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
        raise DecodingError(f'the row has no tokens in "{target.within}"')
    return list(tokens)


# --- From text ----------------------------------------------------------------------------------------


@frozen
class TagsTextDecoder:
    """Reads entities out of generated text, and finds them among the row's tokens."""

    name: ClassVar[str] = "tags-text"
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return the tags that each text says; one that names no entity and does not say so is an error."""
        target = _tags_target(task)
        return each(outputs, instructions, lambda output, instruction: _read(output, instruction, target))


def _read(output: Output, instruction: Instruction, target: Tags) -> Prediction:
    text = text_of(output, instruction)
    tokens = _tokens(instruction, target)
    try:
        words = _Words.of(target, instruction)
    except (KeyError, TypeError, DataError) as error:
        raise DecodingError(f"the row does not say its types of entities: {printable(error, 80)}") from None
    if (tags := _tag_by_tag(text, tokens, words)) is not None:
        return answered(tags)
    notes = _Notes()
    mentions = read_mentions(text, words, notes)
    found = _placed(mentions, Places(tokens), len(tokens), words, notes)
    return attrs.evolve(answered(tags_of(found, len(tokens))), notes=notes.lines())


@frozen
class _Words:
    """What may stand for each type in a model's text.

    Attributes:
        written: The words that the template's language has for each type → the type.
        known: The same and all others, whatever their case and width → the type.
        none: What says that there is no entity.
        separator: What stands between type and entity.
        longest: Characters beyond which no text can be the words of a type.
    """

    written: Mapping[str, str]
    known: Mapping[str, str]
    none: frozenset[str]
    separator: str
    longest: int

    @classmethod
    def of(cls, target: Tags, instruction: Instruction) -> _Words:
        language = instruction.language
        forms = tuple(
            (label, words, tuple(target.options.get(label, {}).values()))
            for label, words in target.type_words(instruction.example.inputs, language).items()
        )
        return _words_of(forms, tuple(target.none.values()), separator(language))

    def label(self, words: str) -> str | None:
        """Return the type that ``words`` stand for, whatever their case, width and marks; in the plural too."""
        form = bare(words) if len(words) <= self.longest else ""
        return self.known.get(form) or self.known.get(form.removesuffix("s"))


@lru_cache(maxsize=256)
def _words_of(forms: tuple[tuple[str, str, tuple[str, ...]], ...], none: tuple[str, ...], between: str) -> _Words:
    """Return the words of types, each given as (type, words written for it, other words); rows share them."""
    known: dict[str, str] = {}
    for label, _, others in forms:
        for words in (label, *others):
            known.setdefault(bare(words), label)
    known |= {bare(words): label for label, words, _ in forms}
    written = {words: label for label, words, _ in forms}
    return _Words(
        written=written,
        known=known,
        none=frozenset(form for words in none for form in (words, bare(words)) if form),
        separator=between,
        longest=2 * max(map(len, (*known, *written)), default=0) + 10,
    )


@define
class _Notes:
    """What could not be read or placed, by kind."""

    found: dict[str, list[str]] = field(factory=dict)

    def add(self, kind: str, what: str) -> None:
        self.found.setdefault(kind, []).append(printable(what.strip(), 40))

    def lines(self) -> tuple[str, ...]:
        """Return a line for each kind: how many, and the first of them.

        >>> notes = _Notes({"not-in-text": ["Rome", "Oslo"]})
        >>> notes.lines()
        ('not-in-text: 2 (Rome; Oslo)',)
        """
        return tuple(
            f"{kind}: {len(what)} ({'; '.join(what[:NOTES_NAME])}{'; …' if len(what) > NOTES_NAME else ''})"
            for kind, what in self.found.items()
        )


def _tag_by_tag(text: str, tokens: Sequence[str], words: _Words) -> tuple[str, ...] | None:
    """Return the tags of a text that is nothing but a tag for each token."""
    tags = re.split(r"[\s,，\[\]\"']+", text.strip(" \n\t[]\"',，"))
    if len(tags) != len(tokens) or not all(map(is_tag, tags)):
        return None
    known = set(words.written.values())
    return to_iob2(tags)[0] if {type_of(tag) for tag in tags} <= {*known, ""} else None


_FENCE = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
_NONE = re.compile(
    r"(?:(?:there (?:is|are|were) )?(?:no|not any)(?: named| such)? entit(?:y|ies)"
    r"(?: (?:were |was |are )?(?:found|present|mentioned|detected))?(?: in (?:the|this) (?:text|sentence))?"
    r"|(?:none|nothing)(?: found)?|n a"
    r"|(?:(?:这|此|该)?(?:文本?|句子?|句话|文字|段话|原文)(?:里面?|中)?)?"
    r"(?:没有|没|未发现|未出现|不含|不存在|不包含|无)(?:任何)?(?:命名)?(?:实体)?)"
)


def read_mentions(text: str, words: _Words, notes: _Notes) -> list[tuple[str, Mention]]:
    """Return the entities that a text names, each with its type.

    Raises:
        DecodingError: It names none, and does not say that there is none.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    exact = [_exactly(line, words) for line in lines]
    if all(one is not None for one in exact):
        return [one for one in exact if one is not None]
    if _says_none(text, words):
        return []
    fenced = _FENCE.search(text)
    content = fenced[1] if fenced else text
    found = _from_json(content, words, notes)
    if found is None:
        found = _from_lines(content, words, notes)
    if found is None:
        raise DecodingError(f'"{printable(text, 80)}" names no type with an entity')
    return found


def _says_none(text: str, words: _Words) -> bool:
    form = bare(text)
    return text.strip() in words.none or form in words.none or _NONE.fullmatch(form) is not None


def _exactly(line: str, words: _Words) -> tuple[str, Mention] | None:
    """Read a line as templates write it."""
    before, found, rest = line.partition(words.separator)
    label = words.written.get(before)
    return (label, _mention(before, rest)) if found and label is not None and rest.strip() else None


def _mention(words: str, rest: str) -> Mention:
    mark = MARK.search(rest)
    if mark and rest[: mark.start()].strip():
        return Mention(words, rest[: mark.start()], int(mark[1]))
    return Mention(words, rest)


# --- Lines, loosely -----------------------------------------------------------------------------------

_SPACES = re.compile(r"\s+")
_BULLET = re.compile(r"^ ?(?:[-*+•·●▪◦–—>#]+\s+|[-*•·●]|[(（\[]?[0-9]{1,3}[.)、:：）\]]\s*|[①-⑳]\s*)")
_LOOSE_SEPARATOR = re.compile(r"\s?(?:[:：=|\t]|->|=>|→)\s?| [-–—] ")
_TRAILING_TYPE = re.compile(r"(.+?) ?[(（\[【]([^()（）\[\]【】]+)[)）\]】]")
_BETWEEN = re.compile(r"\s?[,，、;；]\s?| (?:and|&) ")
_QUOTES = "\"'`“”‘’「」『』《》[]*_ \t"
_EMPTY = frozenset({"", "n a"})


def _from_lines(text: str, words: _Words, notes: _Notes) -> list[tuple[str, Mention]] | None:
    """Read lines of any form; a type alone on its line counts for the lines below. None where no line can be read."""
    found: list[tuple[str, Mention]] = []
    header: str | None = None
    read = False
    unread: list[str] = []
    for written in filter(str.strip, text.split("\n")):
        line = _SPACES.sub(lambda run: "\t" if "\t" in run[0] else " ", written)
        named = _named(line, words)
        if named is None and header is not None:
            named = header, _BULLET.sub("", line, count=1)
        if named is None:
            unread.append(line)
            continue
        label, rest = named
        read = True
        if not rest.strip():
            header = label
        elif bare(rest) not in _EMPTY:
            found.append((label, _mention(label, rest)))
    for line in unread if read else ():
        notes.add("line-unread", line)
    return found if read else None


def _named(line: str, words: _Words) -> tuple[str, str] | None:
    """Return the type that a line names, and the rest of it: type first, type last, type in brackets, type alone."""
    exact = _exactly(line.strip(), words)
    if exact is not None:
        return exact[0], line.strip().partition(words.separator)[2]
    plain = _BULLET.sub("", line, count=1).strip()
    between = [match.span() for match in _LOOSE_SEPARATOR.finditer(plain)]
    for start, end in between:
        label = words.label(plain[:start])
        if label is not None:
            return label, plain[end:]
    for start, end in reversed(between):
        label = words.label(plain[end:])
        if label is not None:
            return label, plain[:start]
    bracketed = _TRAILING_TYPE.fullmatch(plain.rstrip(".。"))
    label = words.label(bracketed[2]) if bracketed else None
    if bracketed and label is not None:
        return label, bracketed[1]
    label = words.label(plain)
    return None if label is None else (label, "")


# --- JSON ---------------------------------------------------------------------------------------------

_TYPE_KEYS = ("type", "label", "entity_type", "entity_group", "tag", "category", "类型", "类别", "标签")
_SURFACE_KEYS = ("text", "surface", "word", "mention", "span", "name", "value", "entity", "文本", "实体", "名称")
_MOST_JSON = 200_000


def _from_json(text: str, words: _Words, notes: _Notes) -> list[tuple[str, Mention]] | None:
    """Read a JSON list of entities, or an object of types; None where the text is no such JSON."""
    start = min((place for place in (text.find("["), text.find("{")) if place >= 0), default=-1)
    if start < 0 or len(text) > _MOST_JSON or text[:start].count("\n") > 3:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return None
    pairs = list(_pairs(value, words))
    if not pairs and value not in ([], {}) and not _all_empty(value, words):
        return None
    found: list[tuple[str, Mention]] = []
    for kind, surface in pairs:
        label = words.label(kind)
        if label is None:
            notes.add("type-unknown", f"{kind}: {surface}")
        elif bare(surface) not in _EMPTY:
            found.append((label, _mention(kind, surface)))
    return found


def _all_empty(value: Any, words: _Words) -> bool:
    """Tell whether JSON lists nothing under each of the types that it names."""
    if not isinstance(value, dict):
        return False
    return all(words.label(str(key)) is not None or key == "entities" for key in value) and not any(value.values())


def _pairs(value: Any, words: _Words) -> Iterator[tuple[str, str]]:
    """Yield (type, text) of what JSON in any of the usual forms names."""
    if isinstance(value, list):
        for part in value:
            if isinstance(part, list) and len(part) == 2 and all(isinstance(one, str) for one in part):
                yield (part[0], part[1]) if words.label(part[0]) is not None else (part[1], part[0])
            elif isinstance(part, dict):
                yield from _pairs(part, words)
    elif isinstance(value, dict):
        kind = next((value[key] for key in _TYPE_KEYS if isinstance(value.get(key), str)), None)
        surface = next((value[key] for key in _SURFACE_KEYS if isinstance(value.get(key), str)), None)
        if kind is not None and surface is not None:
            yield kind, surface
            return
        for key, part in value.items():
            yield from _under(str(key), part, words)


def _under(key: str, part: Any, words: _Words) -> Iterator[tuple[str, str]]:
    """Yield (type, text) of one entry of an object: a type with its texts, a text with its type, or a list inside."""
    if isinstance(part, str):
        turned = words.label(key) is None and words.label(part) is not None
        yield (part, key) if turned else (key, part)
    elif isinstance(part, list) and all(isinstance(one, str) for one in part):
        yield from ((key, one) for one in part)
    elif isinstance(part, (list, dict)):
        yield from _pairs(part, words)


# --- Among the tokens ---------------------------------------------------------------------------------


def _placed(
    mentions: Sequence[tuple[str, Mention]], places: Places, length: int, words: _Words, notes: _Notes
) -> list[Entity]:
    """Return where entities stand: each at the first free place behind the one before it, else at the first one free.

    What stands nowhere is noted.
    """
    taken = [False] * length
    found: list[Entity] = []
    behind = 0
    pending = list(reversed(mentions))
    while pending:
        label, mention = pending.pop()
        known = _known_places(mention, places)
        free = [(start, end) for start, end in known if not any(taken[start:end])]
        if not free:
            parts = [] if known else _several(mention, places)
            if parts:
                pending += [(label, Mention(mention.words, part)) for part in reversed(parts)]
            elif known or not _says_none(mention.surface, words):
                _note(mention, notes, known=bool(known), inside=places.inside(mention.surface))
            continue
        start, end = next((place for place in free if place[0] >= behind), free[0])
        if mention.number is not None and mention.number <= len(known) and known[mention.number - 1] in free:
            start, end = known[mention.number - 1]
        taken[start:end] = [True] * (end - start)
        found.append(Entity(label, start, end))
        behind = end
    return found


def _known_places(mention: Mention, places: Places) -> list[tuple[int, int]]:
    """Return where an entity's text stands: as it is written, else without quotation marks around it."""
    surface = mention.surface
    known = places.find(surface)
    if not known and mention.number is not None:  # what looked like a mark may be the entity's own end
        known = places.find(f"{surface}(#{mention.number})") or places.find(f"{surface}({mention.number})")
    return known or places.find(surface.strip(_QUOTES)) or places.find(surface.strip(_QUOTES + ".。,，;；"))


def _several(mention: Mention, places: Places) -> list[str]:
    """Return the texts of a line that names several entities, if at least one of them stands in the sentence."""
    parts = [part for part in _BETWEEN.split(mention.surface) if part.strip(_QUOTES)]
    return parts if len(parts) > 1 and any(places.find(part.strip(_QUOTES)) for part in parts) else []


def _note(mention: Mention, notes: _Notes, *, known: bool, inside: bool) -> None:
    kind = "place-taken" if known else "inside-a-token" if inside else "not-in-text"
    notes.add(kind, f"{folded(mention.words)}: {mention.surface}")


# --- From scores --------------------------------------------------------------------------------------


@frozen
class TagsDecoder:
    """The likeliest tags of a model's head in which no entity is continued that has not begun."""

    name: ClassVar[str] = "tags"
    needs: ClassVar[str] = "tag_scores"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return the best valid tags of each output; ``score`` is the mean probability of its tags."""
        target = _tags_target(task)

        def _best(output: Output, instruction: Instruction) -> Prediction:
            tokens = _tokens(instruction, target)
            try:
                tags = target.tags(instruction.example.inputs)
            except (KeyError, TypeError) as error:
                raise DecodingError(f"the row does not say its types of entities: {printable(error, 80)}") from None
            scores = _checked(output.tag_scores, len(tokens), tags)
            path = best_path(scores, tags)
            chosen = [math.exp(min(0.0, row[place])) for row, place in zip(scores, path, strict=True)]
            answer = tuple(tags[place] for place in path)
            found = answered(answer, score=sum(chosen) / max(1, len(chosen)))
            return attrs.evolve(found, raw=_in_words(answer, instruction, target))

        return each(outputs, instructions, _best)


def _in_words(answer: tuple[str, ...], instruction: Instruction, target: Tags) -> str:
    """Return the entities as text, for people; empty where the row is not fit for it."""
    try:
        return target.words(answer, instruction.language, instruction.example.inputs)
    except DataError:
        return ""


def _checked(scores: Sequence[Sequence[float]] | None, length: int, tags: Sequence[str]) -> Sequence[Sequence[float]]:
    if scores is None:
        raise DecodingError("the engine gave no tag scores")
    if len(scores) != length or any(len(row) != len(tags) for row in scores):
        raise DecodingError(f"the engine's tag scores are not those of {length} tokens and {len(tags)} tags")
    if any(math.isnan(score) for row in scores for score in row):
        raise DecodingError("tag scores are not numbers (NaN)")
    return scores


def _may_follow(before: str, tag: str) -> bool:
    return tag[:2] != "I-" or before[2:] == tag[2:]


def best_path(scores: Sequence[Sequence[float]], tags: Sequence[str]) -> list[int]:
    """Return the places of the tags with the highest sum of scores, I- only behind its own B- or I- (Viterbi).

    Shapes:
        scores: (T, K), ``tags``: (K,): ``O``, then ``B-`` and ``I-`` of each type. Returns: (T,).

    >>> best_path([[0.0, -1.0, -0.5], [-2.0, -3.0, 0.0]], ["O", "B-PER", "I-PER"])
    [1, 2]
    """
    greedy = [max(range(len(tags)), key=row.__getitem__) for row in scores]
    if all(_may_follow(tags[one], tags[other]) for one, other in pairwise([0, *greedy])):
        return greedy  # the best of all paths, and valid
    before = {place: [tags.index(f"B-{tag[2:]}"), place] for place, tag in enumerate(tags) if tag[:2] == "I-"}
    total = [-math.inf if place in before else 0.0 for place in range(len(tags))]
    back: list[list[int]] = []
    for number, row in enumerate(scores):
        best = max(range(len(tags)), key=total.__getitem__)
        came = [max(before[place], key=total.__getitem__) if place in before else best for place in range(len(tags))]
        if number:
            total = [total[came[place]] + row[place] for place in range(len(tags))]
        else:
            total = [total[place] + row[place] for place in range(len(tags))]
        back.append(came)
    if not back:
        return []
    path = [max(range(len(tags)), key=total.__getitem__)]
    for came in reversed(back[1:]):
        path.append(came[path[-1]])
    return path[::-1]
