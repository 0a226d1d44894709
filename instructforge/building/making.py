"""Rows into outcomes: normalise, check, split, choose a template, render. All that workers run.

What becomes of a row depends on the row, the settings and the templates alone, never on its neighbours, on
the worker or on the time: what needs the whole (ids, duplicates, limits) is the driver's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from attrs import define, evolve, frozen

from instructforge.building.settings import BuildSettings
from instructforge.components import Normalizer, RowOrError
from instructforge.data import Example, Instruction, Origin, Row, answer_to_json
from instructforge.errors import DataError, SkippedError, TemplateError, printable
from instructforge.files import canonical_json, seed_of
from instructforge.normalizers import map_columns
from instructforge.readers.jsonvalue import not_text

if TYPE_CHECKING:
    from instructforge.building.comparing import Marker, Marks
    from instructforge.building.fewshot import ShotPool
    from instructforge.building.retrieving import Filler
    from instructforge.tasks import Task
    from instructforge.templates.template import Template

__all__ = ["Built", "Maker", "Outcome", "Plan", "language_of", "quarantine_entry"]

ROW_BYTES = 1 << 20
"""A longer row is left out of the quarantine file: the entry says how long it is."""

_TELLING = ("turns", "text", "list")
"""Kinds of fields by which the language is told; the first that has something to tell by counts."""

_LOOKED_AT = 400
"""Characters of each field by which its script is told."""

CJK_SHARE = 0.3
"""Share of Han characters among the letters above which a text counts as Chinese."""

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_KANA = re.compile("[\u3040-\u30ff]+")
_HANGUL = re.compile("[\uac00-\ud7af]+")
_LETTER = re.compile(r"[^\W\d_]+")


class Built(NamedTuple):
    """One instruction, ready for a shard: a tuple, for there is one for each row, and workers send them."""

    split: str
    template: str
    language: str
    id: str
    inverted: bool
    messages: tuple[tuple[str, str, bool], ...]
    instruction: bytes


class Outcome(NamedTuple):
    """What became of one example, or of a record of which none could be made.

    Attributes:
        reason: Why it was not built: the rule for a quarantined one.
        entry: The line for the quarantine file, where it is quarantined.
        hashes: Hashes of its id and of its instructions' ids, to find ids that are taken by.
        marks: What it is compared with other rows by.
        built: Its instructions, where it was built.
        content: Hash of inputs and answers, to find duplicates by.
    """

    id: str
    reason: str = ""
    entry: bytes = b""
    built: tuple[Built, ...] = ()
    hashes: tuple[int, ...] = ()
    content: bytes = b""
    marks: Marks | None = None
    unlabelled: bool = False
    notes: tuple[str, ...] = ()


@frozen
class Plan:
    """How the rows of one source are made."""

    normalizer: Normalizer
    split: str | None
    columns: Mapping[str, str]
    constants: Mapping[str, Any]
    filler: Filler | None
    """Fills a field from a corpus."""
    prefix: str
    """Put before ids that the data give, where several sources are read, so that their ids do not meet."""


@define
class _Draft:
    """An example on its way to its instructions."""

    example: Example
    key: str
    split: str
    values: Mapping[str, Any]
    order: Iterator[Template]
    wanted: int
    done: list[Instruction]
    failure: TemplateError | None = None
    outcome: Outcome | None = None
    """Why it is not built."""
    built: tuple[Built, ...] = ()
    content: bytes = b""
    marks: Marks | None = None


class Maker:
    """Makes outcomes of rows. Picklable; a worker holds one.

    Args:
        task: The task.
        settings: The build's settings.
        templates: Its templates, in the order of their keys.
        plans: One for each source.
        pool: What worked examples are drawn from, where prompts have any.
        marker: Makes what rows are compared by, where they are.
    """

    def __init__(
        self,
        task: Task,
        settings: BuildSettings,
        templates: Sequence[Template],
        plans: Sequence[Plan],
        pool: ShotPool | None = None,
        marker: Marker | None = None,
    ) -> None:
        self.pool, self.marker = pool, marker
        self.task, self.settings, self.plans = task, settings, tuple(plans)
        self.straight: dict[str, list[Template]] = {}
        self.inverted: dict[str, list[Template]] = {}
        for template in templates:
            side = self.inverted if template.inverted else self.straight
            side.setdefault(template.language, []).append(template)
        self.weights = {template.key: settings.weight_of(template.key) for template in templates}
        self.telling_fields = [[name for name, part in task.fields.items() if part.kind == kind] for kind in _TELLING]

    def make(self, source: int, rows: Sequence[RowOrError]) -> list[list[Outcome]]:
        """Return the outcomes of each row, in order: one for each example, or for what went wrong."""
        plan = self.plans[source]
        found: list[list[Outcome | _Draft]] = [list(self._drafts(row, plan)) for row in rows]
        drafts = [one for outcomes in found for one in outcomes if isinstance(one, _Draft)]
        self._render(drafts)
        for draft in drafts:
            self._pack(draft)
        ready = [draft for draft in drafts if draft.built]
        if self.marker is not None:
            marks = self.marker.marks([draft.example for draft in ready])
            for draft, own in zip(ready, marks, strict=True):
                draft.marks = own
        return [[self._outcome(one) for one in outcomes] for outcomes in found]

    # --- Row → drafts ---------------------------------------------------------------------------------

    def _drafts(self, row: RowOrError, plan: Plan) -> Iterator[Outcome | _Draft]:
        if isinstance(row, DataError):
            yield _bad(row, None, "")
            return
        values = map_columns(row.values, plan.columns)
        ready = Row({**plan.constants, **values} if plan.constants else values, row.origin)
        number = 0
        for number, found in enumerate(_normalised(plan.normalizer, ready), 1):
            if isinstance(found, DataError):
                yield _bad(found, row, "")
            else:
                yield self._draft(found, row, plan, number)
        if not number:
            what = f'the normalizer "{plan.normalizer.name}" made nothing of the row'
            yield _bad(
                DataError(what, rule="normalizer-empty", fix="it has to make an example, or say why not"), row, ""
            )

    def _draft(self, example: Example, row: Row, plan: Plan, number: int) -> Outcome | _Draft:
        """Return the example with its id, language and split settled, and its templates in their order."""
        key = example.id or (f"{row.origin}/{number}" if number > 1 else str(row.origin))
        id = f"{plan.prefix}{key}" if example.id else key
        try:
            example = plan.filler.fill(example) if plan.filler else example
            self.task.check(example)
            language = self.settings.language or example.language or self._language(example)
            split = plan.split or self._split(example.group or key)
            inverted = self._is_inverted(example, key, split)
            order = self._order(language, key, inverted=inverted)
        except DataError as error:
            return _bad(error, row, id)
        except Exception as error:  # a task's own target, or an example of odd types: the row is named
            what = f"the row could not be checked: {type(error).__name__}: {printable(error)}"
            return _bad(DataError(what, rule="check-failed", fix="mend the row, or the normalizer"), row, id)
        wanted = self.settings.per_example if split == "train" else 1
        settled = Example(
            inputs=example.inputs,
            answers=example.answers,
            id=id,
            origin=row.origin,
            group=example.group,
            language=language,
            notes=example.notes,
        )
        return _Draft(settled, key, split, row.values, order, wanted, [])

    def _language(self, example: Example) -> str:
        """Tell the language by chat turns, where there are any, else by texts, else by lists.

        A system text in English is common above a chat in any language, and so are labels in English below a text.
        """
        for names in self.telling_fields:
            said = " ".join(_beginnings([example.inputs.get(name) for name in names])) if names else ""
            if said.strip():
                return language_of(said)
        return language_of("")

    def _split(self, group: str) -> str:
        """Return the split of a group: a matter of the seed and the group's name alone."""
        place = seed_of(self.settings.seed, group, "split") / 2**64
        upto = 0.0
        for name, share in self.settings.split.items():
            upto += share
            if place < upto:
                return name
        return [name for name, share in self.settings.split.items() if share > 0][-1]

    def _is_inverted(self, example: Example, key: str, split: str) -> bool:
        share = self.settings.inverted_share
        if not share or split != "train" or not example.answers:
            return False
        return seed_of(self.settings.seed, key, "inverted") / 2**64 < share

    def _order(self, language: str, key: str, *, inverted: bool) -> Iterator[Template]:
        """Return the language's templates in the row's own seeded order."""
        found = (self.inverted if inverted else self.straight).get(language)
        if inverted and not found:
            found = self.straight.get(language)
        if not found:
            known = ", ".join(sorted(self.straight)) or "none"
            raise DataError(
                f'the row is in "{printable(language, 40)}", and no template is',
                rule="no-template-in-language",
                fix=f"add a template in that language, or set the build's language; there are: {known}",
            )
        seed = seed_of(self.settings.seed, key, "template")
        return self._weighted(found, seed) if self.settings.template_weights else _shuffled(found, seed)

    def _weighted(self, templates: Sequence[Template], seed: int) -> Iterator[Template]:
        """Yield templates in an order drawn by their weights.

        Source: weighted sampling without replacement by exponential keys (Efraimidis and Spirakis 2006).
        """
        keys = [(-math.log((seed_of(seed, one.key) + 1) / 2**64) / self.weights[one.key], one) for one in templates]
        yield from (template for _, template in sorted(keys, key=lambda pair: (pair[0], pair[1].key)))

    # --- Drafts → instructions ------------------------------------------------------------------------

    def _render(self, drafts: list[_Draft]) -> None:
        """Render every draft with as many templates as it wants, many rows of one template at once.

        A template that does not apply to a row is passed over, and the row's next one is taken.
        """
        waiting = drafts
        while waiting:
            by_template: dict[str, tuple[Template, list[_Draft]]] = {}
            for draft in waiting:
                template = next(draft.order, None)
                if template is not None:
                    by_template.setdefault(template.key, (template, []))[1].append(draft)
            waiting = []
            for template, some in by_template.values():
                self._render_one(template, some)
                waiting += [draft for draft in some if draft.failure is None and len(draft.done) < draft.wanted]

    def _render_one(self, template: Template, drafts: list[_Draft]) -> None:
        examples = [
            evolve(draft.example, id=f"{draft.example.id}#{template.name}") if draft.wanted > 1 else draft.example
            for draft in drafts
        ]
        seeds = [seed_of(self.settings.seed, draft.key, "render") for draft in drafts]
        for draft, found in zip(drafts, template.render_many(examples, seeds), strict=True):
            if isinstance(found, Instruction):
                draft.done.append(self._with_shots(found, template, draft))
            elif found.rule != "not-applicable":
                draft.failure = found

    def _with_shots(self, made: Instruction, template: Template, draft: _Draft) -> Instruction:
        if self.pool is None:
            return made
        from instructforge.building.fewshot import with_shots  # jinja2 comes with it

        train = draft.split == "train"
        return with_shots(made, template, self.pool, self.settings, draft.key, train=train)

    def shots(self, source: int, rows: Iterable[RowOrError]) -> Iterator[tuple[str, Example]]:
        """Yield (key, example) of the training rows of a source: what a pool of shots is drawn from."""
        for row in rows:
            for draft in self._drafts(row, self.plans[source]):
                if isinstance(draft, _Draft) and draft.split == "train":
                    yield draft.key, draft.example

    def held_out(self, source: int, rows: Sequence[RowOrError]) -> list[list[Outcome]]:
        """Return, of the rows that go to another split than ``train``, what they are compared by; nothing is rendered.

        A row that is no JSON is left out: it is quarantined when it is built.
        """
        assert self.marker is not None
        found = [list(self._drafts(row, self.plans[source])) for row in rows]
        drafts = [one for made in found for one in made if isinstance(one, _Draft) and one.split != "train"]
        sound = {id(one): one for one in drafts if _is_json(one.example)}
        marks = self.marker.marks([one.example for one in sound.values()])
        kept = {place: _held_out(one, own) for (place, one), own in zip(sound.items(), marks, strict=True)}
        return [[kept[id(one)] for one in made if id(one) in kept] for made in found]

    def _pack(self, draft: _Draft) -> None:
        """Make a draft's instructions ready for a shard, or say why they are not."""
        example, row = draft.example, Row(draft.values, draft.example.origin)
        if draft.failure is not None:
            error = DataError(str(draft.failure), rule=draft.failure.rule, fix="mend the row, or the template")
            draft.outcome = _bad(error, row, example.id)
        elif not draft.done:
            draft.outcome = Outcome(example.id, reason="no-template-applies")
        else:
            try:
                draft.content = _content(example) if self.settings.dedup else b""
                draft.built = tuple(self._built(instruction, draft.split) for instruction in draft.done)
            except DataError as error:
                draft.outcome = _bad(error, row, example.id)

    def _outcome(self, draft: Outcome | _Draft) -> Outcome:
        if isinstance(draft, Outcome):
            return draft
        if draft.outcome is not None:
            return draft.outcome
        example = draft.example
        return Outcome(
            example.id,
            built=draft.built,
            hashes=tuple(map(_hash, {example.id, *(one.id for one in draft.built)})),
            content=draft.content,
            marks=draft.marks,
            unlabelled=not draft.done[0].example.answers,  # a template that is as it is says what the answer is
            notes=example.notes,
        )

    def _built(self, instruction: Instruction, split: str) -> Built:
        return Built(
            split,
            f"{instruction.task}/{instruction.language}/{instruction.template}",
            instruction.language,
            instruction.id,
            instruction.inverted is not None,
            tuple((message.role, message.content, message.trained) for message in instruction.messages),
            _as_json(instruction.to_json()),
        )


# --- Parts --------------------------------------------------------------------------------------------


def _normalised(normalizer: Normalizer, row: Row) -> Iterator[Example | DataError]:
    """Yield what the normalizer makes of a row; whatever it raises becomes the row's error."""
    try:
        made = normalizer.function(row)
        for example in (made,) if isinstance(made, Example) else made:
            if not isinstance(example, Example):
                raise TypeError(f"it gave {type(example).__name__}, not an Example")
            yield example
    except DataError as error:
        yield error
    except Exception as error:  # a plugin's code: the row is quarantined and the rest goes on
        what = f'the normalizer "{normalizer.name}" failed: {type(error).__name__}: {printable(error)}'
        yield DataError(what, rule="normalizer-failed", fix="mend the row, or the normalizer")


def _shuffled(templates: Sequence[Template], seed: int) -> Iterator[Template]:
    """Yield ``templates`` in an order drawn from ``seed``, digit by digit, without a generator's set-up."""
    left = list(templates)
    while left:
        seed, place = divmod(seed, len(left))
        yield left.pop(place)


def _beginnings(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value[:_LOOKED_AT]
        elif isinstance(value, (list, tuple)):
            texts = (part.get("content") if isinstance(part, Mapping) else part for part in value[:20])
            yield " ".join(part for part in texts if isinstance(part, str))[:_LOOKED_AT]


def language_of(text: str) -> str:
    """Return the language that the script of ``text`` tells: Chinese, Japanese, Korean, or else English.

    Latin letters are taken for English: for German or French rows, give the language.

    >>> language_of("The word 中 in English"), language_of("BERT 是什么模型？"), language_of("これは本です")
    ('en', 'zh', 'ja')
    """
    if text.isascii():
        return "en"
    letters = _count(_LETTER, text) or 1
    if _count(_KANA, text) / letters > 0.1:
        return "ja"
    if _count(_HANGUL, text) / letters > CJK_SHARE:
        return "ko"
    return "zh" if _count(_HAN, text) / letters > CJK_SHARE else "en"


def _count(runs: re.Pattern[str], text: str) -> int:
    """Return how many characters the runs of a text have: a few runs are found sooner than many characters."""
    return sum(map(len, runs.findall(text)))


def _as_json(value: Any) -> bytes:
    """Return canonical JSON as bytes.

    Raises:
        DataError: The value holds what no text file can.
    """
    try:
        packed = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half a surrogate pair, a whole number beyond 64 bits, or an odd type
        problem = not_text(value)
        if problem:
            raise DataError(problem, rule="not-text", fix="take the character out") from None
        try:
            packed = canonical_json(value).encode("utf-8")
        except (TypeError, ValueError) as error:
            fix = "give texts, numbers and lists only"
            raise DataError(f"the row is no JSON: {printable(error)}", rule="field-type", fix=fix) from None
    if b"\\u0000" in packed and not_text(value):
        raise DataError("a text holds the character NUL", rule="not-text", fix="take the character out")
    return packed


def _hash(id: str) -> int:
    return int.from_bytes(sha256(id.encode("utf-8", "surrogatepass")).digest()[:8], "little")


def _is_json(example: Example) -> bool:
    try:
        _content(example)
    except DataError:
        return False
    return True


def _held_out(draft: _Draft, marks: Marks) -> Outcome:
    """Return an outcome that carries marks, and its split as its reason."""
    return Outcome(draft.example.id, reason=draft.split, marks=marks)


def _content(example: Example) -> bytes:
    """Return the hash by which two examples have the same content."""
    answers = [answer_to_json(answer) for answer in example.answers]
    return sha256(_as_json({"inputs": dict(example.inputs), "answers": answers})).digest()[:16]


# --- Quarantine ---------------------------------------------------------------------------------------


def _bad(error: DataError, row: Row | None, id: str) -> Outcome:
    if isinstance(error, SkippedError):
        return Outcome(id, reason=error.rule)
    return Outcome(id, reason=error.rule, entry=quarantine_entry(error, row, id))


def quarantine_entry(error: DataError, row: Row | None, id: str = "") -> bytes:
    """Return the line of the quarantine file for a bad record, without its line end."""
    origin = error.origin if row is None or error.origin is not None else row.origin
    origin = origin or Origin("unknown")
    if row is not None and not id:
        given = row.values.get("id")
        id = str(given) if isinstance(given, (str, int)) else ""
    entry: dict[str, Any] = {
        "source": origin.source,
        "record": origin.record,
        "path": origin.path,
        "id": id or None,
        "field": error.field,
        "rule": error.rule,
        "message": str(error),
        "fix": error.fix,
        "row": None,
        "raw": error.raw or None,
    }
    values = b"null" if row is None else _dumped(dict(row.values))
    if len(values) > ROW_BYTES:
        entry["raw"] = f"the row is {len(values)} bytes long and is not repeated here"
        values = b"null"
    # The row goes in as it was dumped: its keys keep their order, so that it reads as its owner wrote it.
    return _dumped(entry).replace(b'"row":null', b'"row":' + values, 1)


def _dumped(value: Any) -> bytes:
    """Return any value as JSON on one line; what JSON has no form for becomes its text."""
    try:
        return orjson.dumps(value, default=_shown, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_shown)
    except (TypeError, ValueError, RecursionError):
        return _dumped({"unreadable": printable(value, 2000)})
    return text.encode("utf-8", "backslashreplace")


def _shown(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else printable(value, 2000)
