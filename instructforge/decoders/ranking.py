"""Decoders of rankings: from generated text, from likelihoods, and from a head's scores.

A text is read from strict to loose: as the template itself writes a list; as a list in one line; line by line with
numbers, bullets, quotes and remarks; at last by the order in which items are named. An answer holds the items that
were named; ``scores`` rank all of a row's items, those left out behind the others in the row's own order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import attrs
from attrs import field, frozen

from instructforge.data import Instruction, Output, Prediction
from instructforge.decoders.base import answered, each, one_of, option
from instructforge.decoders.choice import checked_scores, softmax
from instructforge.errors import ConfigError, DecodingError, printable
from instructforge.matching import ChoiceForms, folded, read_choice, read_choices
from instructforge.tasks import Ranking, Task

__all__ = ["RankingDecoder", "RankingLikelihoodDecoder", "RankingTextDecoder"]

LONGEST_READ = 20_000
"""Characters of a text that are read as a ranking; a longer one is an error."""


# --- What may stand for each item ---------------------------------------------------------------------


@frozen
class _Items:
    """The items of one row, and how the template writes them.

    Attributes:
        labels: In the row's order.
        forms: What the template writes for each, without what it puts around an answer; and the item itself.
        before, after: What the template puts around an answer.
    """

    labels: tuple[str, ...]
    forms: ChoiceForms
    before: str
    after: str
    exact: dict[str, str] = field(init=False)
    """The item that each form stands for, where it is one alone; the template's own form comes first."""

    def __attrs_post_init__(self) -> None:
        own = _owned(zip(self.forms.completions, self.labels, strict=True))
        named = _owned((words[0], label) for words, label in zip(self.forms.others, self.labels, strict=True))
        object.__setattr__(self, "exact", {**named, **own})


def _owned(pairs: Iterator[tuple[str, str]]) -> dict[str, str]:
    """Return the label of each form that stands for one label alone."""
    found: dict[str, set[str]] = {}
    for form, label in pairs:
        found.setdefault(form, set()).add(label)
    return {form: next(iter(labels)) for form, labels in found.items() if len(labels) == 1}


def _items(instruction: Instruction, task: Task) -> _Items:
    target = task.target
    if not isinstance(target, Ranking):
        raise ConfigError(
            f'the task "{task.name}" has {type(target).__name__} answers, and this decoder reads rankings'
        )
    labels = instruction.labels or target.labels(instruction.example.inputs)
    if not labels:
        raise DecodingError("the row has no items to rank")
    lines = tuple(target.words(label, instruction.language) for label in labels)
    completions = instruction.choices or lines
    if len(completions) != len(labels):
        raise DecodingError(f"the template gave {len(completions)} completions for {len(labels)} items")
    before, after = instruction.affixes
    own = tuple(_between(completion, before, after) or completion for completion in completions)
    return _Items(labels, ChoiceForms(labels, own, tuple((line,) for line in lines)), before, after)


def _between(text: str, before: str, after: str) -> str | None:
    """Return what stands between ``before`` and ``after``, spaces at its ends aside; None where they are not there.

    >>> _between("1. Emma", "1. ", ""), _between("Emma", "1. ", "")
    ('Emma', None)
    """
    first, last = before.strip(), after.strip()
    if not (text.startswith(first) and text.endswith(last)) or len(text) < len(first) + len(last):
        return None
    return text[len(first) : len(text) - len(last)].strip() or None


# --- Strict: as the template writes it ----------------------------------------------------------------


def _as_written(text: str, items: _Items) -> tuple[str, ...] | None:
    """Return the order that ``text`` gives if every line of it is an item, written as the template writes them.

    Letters that the template gave to items come first: "B, A" may be an item's own name too.
    """
    marks = {mark: label for mark, label in zip(items.forms.completions, items.labels, strict=True) if len(mark) == 1}
    if len(marks) == len(items.labels):
        ways = _readings(_between(text.strip(), items.before, items.after) or text.strip(), marks)
        if len(ways) == 1:
            return ways[0]
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    for peel in _peelings(items):
        pieces = peel(lines)
        if pieces is not None:
            found = _all_known(pieces, items)
            if found is not None:
                return found
    return None


_Peel = Callable[[Sequence[str]], "list[str] | None"]


def _peelings(items: _Items) -> Iterator[_Peel]:
    """Yield the ways to take off what a template puts around: counted on each line, repeated, once, nothing."""
    before, after = items.before, items.after
    if before.strip() or after.strip():
        if "1" in before:
            yield lambda lines: _peeled(lines, lambda place: before.replace("1", str(place)), after)
        yield lambda lines: _peeled(lines, lambda place: before, after)
        yield lambda lines: _peeled_once(lines, before, after)
    yield list
    yield lambda lines: _peeled(lines, lambda place: f"{place}. ", "")


def _peeled(lines: Sequence[str], before: Callable[[int], str], after: str) -> list[str] | None:
    pieces = [_between(line, before(place), after) for place, line in enumerate(lines, 1)]
    return None if None in pieces else [piece for piece in pieces if piece is not None]


def _peeled_once(lines: Sequence[str], before: str, after: str) -> list[str] | None:
    """Take the template's text off the whole; its own line breaks aside."""
    whole = _between("\n".join(lines), "\n".join(_stripped(before)), "\n".join(_stripped(after)))
    return None if whole is None else _stripped(whole)


def _stripped(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines() if line.strip()]


def _all_known(pieces: Sequence[str], items: _Items) -> tuple[str, ...] | None:
    """Return the items of ``pieces`` if each is one, and none comes twice."""
    found = [items.exact.get(" ".join(piece.split())) for piece in pieces]
    if not found or None in found or len(set(found)) < len(found):
        return None
    return tuple(label for label in found if label is not None)


# --- A list in one line -------------------------------------------------------------------------------

_BETWEEN = re.compile(r"\s*(?:[,，、;；/|>→\n]|\band\b|\bthen\b|和|及|然后|其次)+\s*|\s+", re.IGNORECASE)
_WAYS = 2


def _as_list(text: str, items: _Items) -> tuple[str, ...] | None:
    """Return the order in which all of ``text`` is a list of items, as written, then regardless of case and width.

    Raises:
        DecodingError: It can be read as two different lists.
    """
    inner = _between(text.strip(), items.before, items.after) or text.strip()
    for compare in (_spaced, folded):
        forms = {compare(form): label for form, label in items.exact.items()}
        if len(forms) < len(items.exact):
            continue  # two items that differ in case alone
        ways = _readings(compare(inner).rstrip(" .。"), forms)
        if len(ways) > 1:
            raise DecodingError(f'"{printable(text, 80)}" can be read as two different orders')
        if ways:
            return ways[0]
    return None


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _readings(text: str, forms: dict[str, str]) -> list[tuple[str, ...]]:
    """Return the orders that ``text`` can be read as, two at most. Each place is looked at once, from the end."""
    if not text:
        return []
    forms = {form.rstrip(" .。"): label for form, label in forms.items()} | forms
    ways: dict[int, list[tuple[str, ...]]] = {len(text): [()]}
    for place in range(len(text) - 1, -1, -1):
        found: dict[tuple[str, ...], None] = {}
        for form, label in forms.items():
            if not text.startswith(form, place):
                continue
            end = place + len(form)
            gap = None if end == len(text) else _BETWEEN.match(text, end)
            if end < len(text) and (gap is None or gap.end() == len(text)):
                continue
            for rest in ways.get(end if gap is None else gap.end(), ()):
                if label not in rest:
                    found[(label, *rest)] = None
        if found:
            ways[place] = list(found)[:_WAYS]
    return ways.get(0, [])


# --- Loose: piece by piece ----------------------------------------------------------------------------

_MARKER = re.compile(
    r"\s*(?:[-*•·●–—]+\s+|[(（\[【]?\d{1,3}[.)、:：．）\]】]\s*|第\s*[\d一二三四五六七八九十]{1,4}[名位个本]?\s*[:：、，,]?\s*"
    r"|[①-⑳]\s*|(?:first|second|third|fourth|fifth|next|finally|last(?:ly)?)\b\s*[:,]\s*)",
    re.IGNORECASE,
)
_REMARK = re.compile(r"\s+[-–—]+\s+|——|[:：]\s|[（(]|\s*[，,;；]\s")
_DRESSING = " \t*_`\"'“”‘’「」『』《》〈〉.。,，;；"


@frozen
class _Read:
    """What was read: the items in order, and the number of pieces that name none, or one a second time."""

    order: tuple[str, ...]
    unknown: int = 0
    repeated: int = 0


def _piecewise(text: str, items: _Items) -> _Read | None:
    """Read ``text`` line by line; where some lines are numbered or marked, the others are talk around the list."""
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if _MARKER.match(line)]
    if len(lines) < 2 and not marked:
        return None
    if not marked:
        marked = [line for line in lines if not line.rstrip().endswith((":", "："))]
    order: list[str] = []
    unknown = repeated = 0
    for line in marked:
        label = _named(line, items.forms)
        if label is None:
            unknown += 1
        elif label in order:
            repeated += 1
        else:
            order.append(label)
    return _Read(tuple(order), unknown, repeated) if order else None


def _named(line: str, forms: ChoiceForms) -> str | None:
    """Return the item that one line names: all of it, else what stands before a remark."""
    marker = _MARKER.match(line)
    whole = line[marker.end() :] if marker else line
    beginnings = [whole[: remark.start()] for remark in _REMARK.finditer(whole)]
    for piece in (line, whole, *reversed(beginnings)):
        for form in dict.fromkeys((piece.strip(), piece.strip(_DRESSING))):
            try:
                return read_choice(form, forms)
            except DecodingError:
                continue
    return None


_LETTERS = re.compile(r"(?<![A-Za-z0-9])[A-Z]{1,2}(?:\s*[,，、;；>→]\s*[A-Z]{1,2})+(?![A-Za-z0-9])")


def _as_letters(text: str, items: _Items) -> tuple[str, ...] | None:
    """Return the order of the one list of letters that stands in ``text``, where the template answers with letters."""
    runs = _LETTERS.findall(text) if items.forms.lettered else []
    return _all_known(re.findall("[A-Z]+", runs[0]), items) if len(runs) == 1 else None


_COMMAS = re.compile(r"[,，、;；|>→\n]")


def _as_named(text: str, items: _Items) -> _Read:
    """Read the items in the order in which ``text`` names them; other parts of a list are counted as unknown.

    Raises:
        DecodingError: It names none.
    """
    order = read_choices(text, items.forms)
    if not order:
        raise DecodingError("the model wrote nothing")
    rest = folded(text)
    for form in sorted(map(folded, items.exact), key=len, reverse=True):
        if len(form) > 1:
            rest = rest.replace(form, "\ue000")
    pieces = [piece for piece in _COMMAS.split(rest) if "\ue000" not in piece and re.search(r"\w", piece)]
    return _Read(order, 0 if items.forms.lettered else len(pieces))


def _read(text: str, items: _Items) -> _Read:
    if len(text) > LONGEST_READ:
        raise DecodingError(f"the model wrote {len(text)} characters, too many for a ranking")
    order = _as_written(text, items)
    if order is None:
        order = _as_list(text, items) or _as_letters(text, items)
    if order is not None:
        return _Read(order)
    return _piecewise(text, items) or _as_named(text, items)


# --- Decoders -----------------------------------------------------------------------------------------


@frozen
class RankingTextDecoder:
    """Reads an order of a row's items out of generated text: their names, or letters, in a list or in prose.

    Notes of a prediction: ``unknown-items:N`` pieces of the list that are none of the row's items,
    ``repeated-items:N`` that came twice, ``left-out:N`` items that the text does not rank.
    """

    name: ClassVar[str] = "ranking-text"
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return the items that each text names, in its order; one that names none is an error."""
        return each(outputs, instructions, lambda output, instruction: _prediction(output, _items(instruction, task)))


def _prediction(output: Output, items: _Items) -> Prediction:
    if output.text is None:
        raise DecodingError("the engine gave no text")
    if not output.text.strip():
        raise DecodingError("the model wrote nothing")
    read = _read(output.text, items)
    if not output.finished:
        read = _without_cut(output.text, read, items)
    left_out = [label for label in items.labels if label not in read.order]
    counts = {"unknown-items": read.unknown, "repeated-items": read.repeated, "left-out": len(left_out)}
    scores = {label: 1 / place for place, label in enumerate((*read.order, *left_out), 1)}
    notes = tuple(f"{name}:{count}" for name, count in counts.items() if count)
    return attrs.evolve(answered(read.order, scores=scores), notes=notes)


def _without_cut(text: str, read: _Read, items: _Items) -> _Read:
    """Take off a last item that may be the beginning of another: the text was cut, "Dune" may be "Dune Messiah"."""
    last, end = read.order[-1], folded(text)
    own = [folded(form) for form, label in items.exact.items() if label == last and end.endswith(folded(form))]
    others = [folded(form) for form, label in items.exact.items() if label != last]
    if not any(other.startswith(form) for form in own for other in others):
        return read
    if len(read.order) == 1:
        raise DecodingError(f'"{printable(last, 80)}" may be the beginning of another item')
    return attrs.evolve(read, order=read.order[:-1], unknown=read.unknown + 1)


def _by_score(labels: Sequence[str], scores: Sequence[float]) -> Prediction:
    """Order all items by their scores, equals in the row's order; scores become shares of one."""
    shares = softmax(scores)
    places = sorted(range(len(labels)), key=lambda place: -scores[place])
    order = tuple(labels[place] for place in places)
    return answered(order, score=shares[places[0]], scores=dict(zip(labels, shares, strict=True)))


@frozen
class RankingDecoder:
    """All of a row's items by the scores of a model's head, best first."""

    name: ClassVar[str] = "ranking"
    needs: ClassVar[str] = "label_scores"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return every item in the order of its score; ``scores`` are the softmax of the head's."""

        def _ordered(output: Output, instruction: Instruction) -> Prediction:
            labels = _items(instruction, task).labels
            return _by_score(labels, checked_scores(output.label_scores, labels, "label scores"))

        return each(outputs, instructions, _ordered)


@frozen
class RankingLikelihoodDecoder:
    """All of a row's items by how likely the model finds each as the whole answer, best first.

    Args:
        normalize: By what an item's log-likelihood is divided, so that long names are not at a disadvantage:
            ``tokens``, ``characters`` (of the completion) or ``none``.
    """

    normalize: str = option("tokens", one_of("tokens", "characters", "none"))

    name: ClassVar[str] = "ranking-likelihood"
    needs: ClassVar[str] = "choice_logprobs"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return every item in the order of its likelihood; ``scores`` are the softmax over the row's items."""
        return each(outputs, instructions, lambda output, instruction: self._ordered(output, instruction, task))

    def _ordered(self, output: Output, instruction: Instruction, task: Task) -> Prediction:
        items = _items(instruction, task)
        logprobs = checked_scores(output.choice_logprobs, items.labels, "likelihoods")
        lengths: Sequence[int] = [1] * len(logprobs)
        if self.normalize == "tokens":
            lengths = [int(n) for n in checked_scores(output.choice_tokens, items.labels, "token counts")]
        elif self.normalize == "characters":
            lengths = [len(completion) for completion in instruction.choices or items.forms.completions]
        scores = [value / max(length, 1) for value, length in zip(logprobs, lengths, strict=True)]
        return _by_score(items.labels, scores)
