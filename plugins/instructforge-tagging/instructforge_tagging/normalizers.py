"""Raw rows into tagged sentences: tokens with a tag each, or a text with marked stretches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from attrs import frozen

from instructforge import DataError, Example, Normalizer, Row
from instructforge.errors import printable
from instructforge.tagging import Entity, join_tokens, slices, split_text, tags_of, to_iob2, type_of

__all__ = ["ALL", "marked_text", "tagged_tokens"]

TEXT = ("text", "sentence")
TOKENS = ("tokens", "words", "characters", "chars")
TAGS = ("tags", "ner_tags", "ner", "answer")
MARKS = ("entities", "spans", "label", "labels", "annotations", "answer")
START = ("start", "start_offset", "begin", "start_idx")
END = ("end", "end_offset", "stop", "end_idx")
LABEL = ("label", "type", "entity_type", "entity", "entity_group", "labels", "tag")
SURFACE = ("text", "mention", "word", "surface")
ID = ("id", "sent_id", "guid")
GROUP = ("document", "doc_id", "document_id")


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _listed(value: Any, name: str) -> list[str]:
    """Return a list of texts, or the parts of a text that lists them with commas.

    >>> _listed("PER, LOC、ORG", "types")
    ['PER', 'LOC', 'ORG']
    """
    if isinstance(value, str):
        parts = value.replace("，", ",").replace("、", ",").split(",")
        return [part.strip() for part in parts if part.strip()]
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return [part.strip() for part in value]
    what = f'"{name}" is {printable(value, 60)}, not a list of texts'
    raise DataError(what, rule="field-type", field=name, fix=f"give them as a constant: --constant {name}=PER,LOC,ORG")


def _types(values: Mapping[str, Any]) -> list[str]:
    """Return the types that the row may have.

    Raises:
        DataError: Neither the row nor a constant says.
    """
    found = values.get("types")
    if found is None or found in ("", []):
        what = "the row does not say which types of names there are, and the data have no tags to tell them by"
        fix = "give them as a constant: --constant types=PER,LOC,ORG"
        raise DataError(what, rule="types-missing", field="types", fix=fix)
    return list(dict.fromkeys(_listed(found, "types")))


def _one_text(values: Mapping[str, Any], names: Iterable[str]) -> str:
    found = _first(values, names)
    if found is None or isinstance(found, bool) or not isinstance(found, (str, int)):
        return ""
    return str(found).strip()


def _example(
    values: Mapping[str, Any], text: str, tokens: Sequence[str], tags: Sequence[str] | None, notes: Sequence[str]
) -> Example:
    return Example(
        inputs={"text": text, "tokens": list(tokens), "types": _types(values)},
        answers=() if tags is None else (tuple(tags),),
        id=_one_text(values, ID),
        group=_one_text(values, GROUP) or None,
        language=values["language"] if isinstance(values.get("language"), str) else None,
        notes=tuple(notes),
    )


# --- Tokens with tags ---------------------------------------------------------------------------------


def tagged_tokens(row: Row) -> Example:
    """Return the example of tokens with a tag each, in any scheme; without tags it is unlabelled.

    Raises:
        DataError: Tokens or tags are malformed, or do not belong together.
    """
    values = row.values
    tokens, tags = _tokens(values), _tags(values)
    if tags is not None and len(tags) != len(tokens):
        what = f"there are {len(tokens)} tokens and {len(tags)} tags"
        raise DataError(what, rule="tags-length", field="tags", fix="give one tag for each token")
    notes: list[str] = []
    kept = [place for place, token in enumerate(tokens) if token.strip()]
    if len(kept) < len(tokens):
        notes += ["blank-token-dropped"] * (len(tokens) - len(kept))
        tokens = [tokens[place] for place in kept]
        tags = None if tags is None else [tags[place] for place in kept]
    if tags is not None:
        tags, changed = to_iob2(tags)
        notes += changed
    given = _one_text(values, TEXT)
    if given and slices(tokens, given) is None:
        notes.append("text-not-of-its-tokens")
        given = ""
    return _example(values, given or join_tokens(tokens), tokens, tags, notes)


def _tokens(values: Mapping[str, Any]) -> list[str]:
    found = _first(values, TOKENS)
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(one, str) for one in found):
        what = f"the tokens are {printable(found, 60)}, not a list of texts"
        raise DataError(what, rule="field-type", field="tokens", fix="give the words of the sentence as a list")
    return list(found)


def _tags(values: Mapping[str, Any]) -> Sequence[str] | None:
    """Return the row's tags as texts; None where it has none."""
    found = _first(values, TAGS)
    if found is None:
        return None
    if isinstance(found, str):
        found = found.replace(",", " ").split()
    if not isinstance(found, (list, tuple)):
        what = f"the tags are {printable(found, 60)}, not a list"
        raise DataError(what, rule="field-type", field="tags", fix="give one tag for each token")
    if found and all(isinstance(tag, int) and not isinstance(tag, bool) for tag in found):
        return _named(found, values)
    if not all(isinstance(tag, str) and tag.strip() for tag in found):
        what = f"the tags are {printable(found, 60)}, not texts"
        raise DataError(what, rule="field-type", field="tags", fix="give a text for each tag: O where there is none")
    return [tag.strip() for tag in found]


def _named(numbers: Sequence[int], values: Mapping[str, Any]) -> list[str]:
    """Return the names of numbered tags.

    Raises:
        DataError: The names are not given, or there is none for a number.
    """
    fix = "give the names of the tags in their order: --constant names=O,B-PER,I-PER,B-LOC,I-LOC"
    if values.get("names") is None:
        raise DataError("the tags are numbers", rule="tags-numbered", field="tags", fix=fix)
    names = _listed(values["names"], "names")
    wrong = next((number for number in numbers if not 0 <= number < len(names)), None)
    if wrong is not None:
        what = f"the tag {wrong} has no name: there are {len(names)}"
        raise DataError(what, rule="tags-numbered", field="tags", fix=fix)
    return [names[number] for number in numbers]


def _has_tokens(values: Mapping[str, Any]) -> bool:
    found = _first(values, TOKENS)
    return isinstance(found, (list, tuple)) and bool(found) and all(isinstance(one, str) for one in found)


def _types_of_tags(values: Mapping[str, Any]) -> Iterator[str]:
    try:
        tags = _tags(values)
    except DataError:
        return  # it is quarantined, with the reason, when its turn comes
    if isinstance(tags, list) and values.get("names") is not None:
        tags = [*tags, *_listed(values["names"], "names")]
    yield from filter(None, map(type_of, tags or ()))


# --- A text with marks --------------------------------------------------------------------------------


@frozen
class _Marked:
    """A stretch of a text: characters ``start`` to ``end``, and what it names."""

    start: int
    end: int
    label: str


def marked_text(row: Row) -> Example:
    """Return the example of a text with marked stretches: CLUENER's form, or a list of start, end and type.

    The text's tokens are its words, or its characters where it is Chinese. Of marks that overlap the longest is kept.

    Raises:
        DataError: A mark does not stand where it says, or cuts a word in two.
    """
    values = row.values
    text = _first(values, TEXT)
    if not isinstance(text, str) or not text.strip():
        what = f"the text is {printable(text, 60)}"
        raise DataError(what, rule="field-missing", field="text", fix="give the sentence")
    spans = split_text(text)
    tokens = [text[start:end] for start, end in spans]
    given = _marks(values, text)
    if given is None:
        return _example(values, text, tokens, None, ())
    notes: list[str] = []
    found = [_entity(text, spans, mark, notes) for mark in _apart(given, notes)]
    return _example(values, text, tokens, tags_of(found, len(tokens)), notes)


def _marks(values: Mapping[str, Any], text: str) -> list[_Marked] | None:
    """Return the row's marks; None where it has none at all."""
    given = _first(values, MARKS)
    if given is None:
        return None
    if isinstance(given, Mapping):
        return list(chain.from_iterable(_of_type(str(label), places, text) for label, places in given.items()))
    if not isinstance(given, (list, tuple)):
        raise _malformed(given)
    return [_mark(one, text) for one in given]


def _of_type(label: str, places: Any, text: str) -> Iterator[_Marked]:
    """Yield the marks of one type as CLUENER has them: text → places, both ends of which are counted."""
    if not isinstance(places, Mapping):
        raise _malformed(places)
    for surface, pairs in places.items():
        if not isinstance(pairs, (list, tuple)):
            raise _malformed(pairs)
        for pair in pairs:
            if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(type(end) is int for end in pair)):
                raise _malformed(pair)
            yield _checked(text, pair[0], pair[1] + 1, label, str(surface))


def _mark(one: Any, text: str) -> _Marked:
    if isinstance(one, Mapping):
        start, end, label = (_first(one, names) for names in (START, END, LABEL))
        surface = _first(one, SURFACE)
        label = label[0] if isinstance(label, list) and len(label) == 1 else label
    elif isinstance(one, (list, tuple)) and len(one) == 3:
        (start, end, label), surface = one, None
    else:
        raise _malformed(one)
    if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label.strip():
        raise _malformed(one)
    return _checked(text, start, end, label.strip(), surface if isinstance(surface, str) else None)


def _checked(text: str, start: int, end: int, label: str, surface: str | None) -> _Marked:
    """Return a mark whose text stands where it says; an end may be counted or not, as its text shows.

    Raises:
        DataError: It does not stand there.
    """
    ends = (end,) if surface is None else (end, end - 1, end + 1)
    for last in ends:
        if 0 <= start < last <= len(text) and text[start:last].strip() and surface in (None, text[start:last]):
            return _Marked(start, last, label)
    shown = f'"{printable(surface, 60)}"' if surface is not None else "a mark"
    found = text.find(surface) if surface else -1
    raise DataError(
        f"{shown} ({printable(label, 40)}) does not stand at characters {start} to {end} of the text",
        rule="mark-misaligned",
        field="entities",
        fix=f"its text stands at {found}" if found >= 0 else "give start and end in characters, counted from 0",
    )


def _malformed(given: Any) -> DataError:
    return DataError(
        f"the marks are {printable(given, 80)}",
        rule="marks-malformed",
        field="entities",
        fix='give a list of {"start": 0, "end": 4, "label": "PER"} or [0, 4, "PER"], or {type: {text: places}}',
    )


def _apart(marks: Sequence[_Marked], notes: list[str]) -> list[_Marked]:
    """Return marks that do not overlap, in their order: of those that do, the longest, the first of equals."""
    kept: list[_Marked] = []
    for mark in sorted(dict.fromkeys(marks), key=lambda one: (one.start - one.end, one.start)):
        if any(mark.start < other.end and other.start < mark.end for other in kept):
            notes.append("overlapping-mark-dropped")
        else:
            kept.append(mark)
    notes += ["mark-given-twice"] * (len(marks) - len(set(marks)))
    return sorted(kept, key=lambda one: one.start)


def _entity(text: str, spans: Sequence[tuple[int, int]], mark: _Marked, notes: list[str]) -> Entity:
    """Return the tokens under a mark.

    Raises:
        DataError: It begins or ends inside one.
    """
    start, end = mark.start, mark.end
    bare = text[start:end]
    start += len(bare) - len(bare.lstrip())
    end -= len(bare) - len(bare.rstrip())
    if (start, end) != (mark.start, mark.end):
        notes.append("mark-trimmed")
    under = [place for place, span in enumerate(spans) if span[0] < end and start < span[1]]
    if spans[under[0]][0] != start or spans[under[-1]][1] != end:
        whole = text[spans[under[0]][0] : spans[under[-1]][1]]
        what = f'"{printable(text[start:end], 40)}" is only a part of "{printable(whole, 60)}"'
        fix = "mark whole words, or give tokens with a tag each"
        raise DataError(what, rule="mark-inside-word", field="entities", fix=fix)
    return Entity(mark.label, under[0], under[-1] + 1)


def _is_marked(values: Mapping[str, Any]) -> bool:
    return not _has_tokens(values) and isinstance(_first(values, TEXT), str)


def _types_of_marks(values: Mapping[str, Any]) -> Iterator[str]:
    text = _first(values, TEXT)
    try:
        marks = _marks(values, text) if isinstance(text, str) else None
    except DataError:
        return  # as above
    yield from (mark.label for mark in marks or ())


ALL = (
    Normalizer(
        "tagged-tokens",
        task="ner",
        function=tagged_tokens,
        accepts=_has_tokens,
        summary="tokens with a tag each, in IOB1, IOB2, BIOES or BMES, or numbered",
        wants=f"{' | '.join(TOKENS)}: a list; {' | '.join(TAGS[:-1])}: a list",
        collects={"types": _types_of_tags},
    ),
    Normalizer(
        "marked-text",
        task="ner",
        function=marked_text,
        accepts=_is_marked,
        summary="a text with marked stretches: start, end and type, or CLUENER's form",
        wants=f"{' | '.join(TEXT)}; {' | '.join(MARKS[:-1])}: a list of start, end and type",
        collects={"types": _types_of_marks},
    ),
)
