"""``build``: reads, has the rows made, keeps count, and writes.

Everything here happens in the order of the input, in one process: ids, duplicates, limits, shards, checkpoints.
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import re
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property, partial
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from attrs import define, frozen

from instructforge import __version__
from instructforge.building.collecting import with_collected
from instructforge.building.inputs import Input, open_inputs, same_files
from instructforge.building.ledger import (
    DUPLICATES,
    FEW_SHOT,
    LEDGER,
    QUARANTINE,
    SCHEMA,
    TEMPLATES,
    SourceTally,
    Tally,
    read_ledger,
    split_order,
    used_templates,
)
from instructforge.building.making import Built, Maker, Outcome, Plan, quarantine_entry
from instructforge.building.position import Position
from instructforge.building.retrieving import retrieval_figures, said_of_retrieval
from instructforge.building.settings import BuildSettings, Source, names_template
from instructforge.building.shards import DATA, Behind, from_bytes, shard_name, to_bytes, write_shard
from instructforge.building.state import Ids, State
from instructforge.building.workers import Batch, Done, outcomes
from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, InstructForgeError, TemplateError, did_you_mean, printable
from instructforge.files import exclusive_lock, sha256_of, write_atomically, write_json
from instructforge.readers.opening import noting_opened

if TYPE_CHECKING:
    from instructforge.building.comparing import Comparisons, Marker
    from instructforge.building.fewshot import ShotPool
    from instructforge.duplicates.examples import Compared
    from instructforge.plugins import Forge
    from instructforge.tasks import Task
    from instructforge.templates.library import TemplateLibrary
    from instructforge.templates.template import Template

__all__ = ["BuildResult", "Progress", "build"]

Progress: TypeAlias = "Callable[[str, int, int | None], None]"
"""Called with (stage, done, total or None), a few times a second at most: in bytes, or, without a total, in rows."""

_BATCH_ROWS = 256
_BATCH_CHARACTERS = 2_000_000
_SPILL_BYTES = 16 << 20
"""Bytes of rows that wait in memory for their shard; beyond that they wait on disk."""
_PROGRESS_S = 0.25
_SHARD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*-\d{5}\.parquet\Z")


@frozen
class BuildResult:
    """What a build has made.

    Attributes:
        folder: The run folder.
        ledger: The ledger, as in ``ledger.json``.
        messages: What happened this time and is none of the output's business: reused, resumed, begun anew.
    """

    folder: Path
    ledger: Mapping[str, Any]
    messages: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of instructions of each split."""
        return {name: part["instructions"] for name, part in self.ledger["splits"].items()}

    @property
    def templates(self) -> dict[str, str]:
        """Return the source of every template used, by key."""
        return used_templates(self.folder)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a person should look at before going on."""
        return tuple(self.ledger["warnings"])


def build(
    forge: Forge,
    task: Task | str,
    sources: Sequence[Source],
    out: Path,
    settings: BuildSettings | None = None,
    *,
    progress: Progress | None = None,
    checkpoint_s: float = 5.0,
    library: TemplateLibrary | None = None,
    shots: ShotPool | None = None,
    say: Callable[[str], None] | None = None,
) -> BuildResult:
    """Build instructions from raw files.

    A build that was broken off goes on; one that is complete with the same inputs, settings and templates is
    not done again; if any of these has changed, it is done anew.

    Args:
        forge: The plugins.
        task: The task, or its name.
        sources: The files.
        out: The run folder.
        settings: How to build.
        progress: Told how far it is.
        checkpoint_s: Seconds between two checkpoints. It has no influence on the output.
        library: The templates, where they are not to be the plugins' own but those that a model carries.
        say: Told at once what a person should know before the work begins: a file given as train and as test.
        shots: What worked examples are drawn from, where it is not to be drawn anew but is what a model carries.

    Raises:
        ConfigError: Something asked for is not there or is ambiguous.
        DataError: A file cannot be read as a whole, too many rows are bad, or nothing was built. Ledger and
            quarantine are written in the last two cases.
        RunLockedError: Another process works in the folder.
    """
    found = forge.tasks.get(task) if isinstance(task, str) else task
    chosen = settings or BuildSettings()
    with exclusive_lock(Path(out)), _disk_full_explained(Path(out)):
        opened = open_inputs(forge, found, sources, Path(out))
        twice = _given_twice(opened, chosen)
        for line in twice:
            if say is not None:
                say(line)
        inputs, collected = with_collected(opened)
        templates, warnings = _templates(forge.templates if library is None else library, found, chosen)
        warnings += collected
        identity = _identity(forge, found, inputs, chosen, templates)
        run = _Build(Path(out), found, inputs, chosen, templates, [*twice, *warnings], identity, progress)
        run.pool = shots
        return run.result(checkpoint_s)


class _disk_full_explained:
    """Turns the ways in which a full disk shows itself into one clear error."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        full = full or (isinstance(error, sqlite3.OperationalError) and "full" in str(error))
        if full:
            raise InstructForgeError(
                f'The disk that holds "{printable(self._out)}" is full.\n'
                "What was built so far is kept.\nMake room and run the same command again: it goes on from there."
            ) from error


def _given_twice(inputs: Sequence[Input], settings: BuildSettings) -> list[str]:
    """Return a line for each file that is given twice.

    Raises:
        ConfigError: It is given as train and as another split, and train is to be without the rows of the others.
    """
    lines = []
    for first, second in same_files(inputs):
        sides = {one.source.split for one in (first, second)}
        shown = " and ".join(sorted(side or "split here" for side in sides))
        leaks = ": what is trained on is tested on" if "train" in sides and len(sides) > 1 else ""
        lines.append(f'"{first.label}" and "{second.label}" are the same file, byte for byte ({shown}){leaks}')
        if settings.decontaminate and leaks:
            raise ConfigError(
                f"{lines[-1]}. With decontaminate no training row would be left. Give another file for one of them"
            )
    return lines


# --- What decides the output --------------------------------------------------------------------------


def _templates(library: TemplateLibrary, task: Task, settings: BuildSettings) -> tuple[list[Template], list[str]]:
    """Return the templates to use, by key, and a warning for each that is left out because it is broken.

    Raises:
        ConfigError: There are none, or one that the settings name is not there.
        TemplateError: One that the settings name is broken.
    """
    refs = library.refs(task=task.name)
    spoken = sorted({ref.language for ref in refs})
    if settings.language and spoken and settings.language not in spoken:
        raise ConfigError(
            f'the task "{task.name}" has no template in "{printable(settings.language, 40)}"; '
            f"its templates are in: {', '.join(spoken)}"
        )
    chosen = [
        ref for ref in refs if not settings.templates or any(names_template(ask, ref.key) for ask in settings.templates)
    ]
    for ask in (*settings.templates, *settings.template_weights):
        if not any(names_template(ask, ref.key) for ref in refs):
            known = [ref.key for ref in refs] + [ref.name for ref in refs]
            raise ConfigError(
                f'the task "{task.name}" has no template "{printable(ask, 80)}". {did_you_mean(ask, known)}'
            )
    templates, warnings = [], []
    chosen = [ref for ref in chosen if settings.weight_of(ref.key) > 0]
    for ref in chosen:
        try:
            templates.append(library.load(ref.key, task))
        except TemplateError as error:
            if settings.templates:
                raise
            warnings.append(f'the template "{ref.key}" is broken and left out: {str(error).splitlines()[0]}')
    if not any(not template.inverted for template in templates):
        fix = "; ".join(warnings) or f"add one: templates/{task.name}/<language>/<name>.jinja"
        raise ConfigError(f'the task "{task.name}" has no template to build with. {fix}')
    return templates, warnings


def _identity(
    forge: Forge, task: Task, inputs: Sequence[Input], settings: BuildSettings, templates: Sequence[Template]
) -> dict[str, Any]:
    """Return everything that decides the output: two builds with the same identity make the same bytes."""
    return {
        "task": task.name,
        "settings": settings.to_json(),
        "sources": [one.identity() for one in inputs],
        "templates": {template.key: template.sha256 for template in templates},
        "code": sha256_of(
            [_code_of(task), *(_code_of(part) for one in inputs for part in (one.reader, one.normalizer))]
        ),
        "versions": {"instructforge": __version__, "pyarrow": version("pyarrow")},
    }


def _code_of(part: object) -> list[str]:
    """Return what tells a component from a changed one: its own values, and the source of where it is defined."""
    shown = _described(part)
    function = getattr(part, "function", None) or type(part)
    module = sys.modules.get(getattr(function, "__module__", "") or "")
    try:
        source = inspect.getsource(module) if module is not None else ""
    except (OSError, TypeError):
        source = ""
    return [shown, sha256_of(source)]


def _described(value: Any) -> str:
    """Return a value as text that is the same in every process: sets sorted, no addresses."""
    if attrs.has(type(value)):
        parts = ((part.name, _described(getattr(value, part.name))) for part in attrs.fields(type(value)))
        return f"{type(value).__name__}({', '.join(f'{name}={text}' for name, text in parts)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_described(key)}: {_described(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(_described, value))) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_described, value)) + "]"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


# --- The build ----------------------------------------------------------------------------------------


@define
class _Shards:
    """The shards of one split: those written, and the rows that wait for the next."""

    written: list[dict[str, Any]]
    on_disk: int
    """Rows that wait in the state."""
    waiting: list[Built]
    size: int = 0
    """Bytes of the rows that wait in memory."""
    size_on_disk: int = 0


class _Stop(Exception):
    """The build has to end here, with a report."""


class _Build:
    """One build, from its inputs to its files."""

    def __init__(
        self,
        out: Path,
        task: Task,
        inputs: Sequence[Input],
        settings: BuildSettings,
        templates: Sequence[Template],
        warnings: Sequence[str],
        identity: Mapping[str, Any],
        progress: Progress | None,
    ) -> None:
        self.out, self.task, self.inputs, self.settings = out, task, inputs, settings
        self.templates, self.identity, self.progress = list(templates), identity, progress
        self.warnings = [*warnings, *self._template_warnings()]
        self.fingerprint = sha256_of(identity)
        self.tally = Tally([SourceTally() for _ in inputs])
        self.shards = {split: _Shards([], 0, []) for split in self._splits()}
        self.at = (0, 0)
        """The source, and how many of its records, up to which everything is merged."""
        self.gathered = (0, 0) if settings.decontaminate else (len(inputs), 0)
        """The same for the held-out rows that are read before anything is built."""
        self.writer = Behind()
        self.messages: list[str] = []
        self.pool: ShotPool | None = None
        self._told = 0.0

    def _splits(self) -> list[str]:
        """Return the splits asked for: train, validation, test first, then others by name."""
        names = {one.source.split for one in self.inputs if one.source.split}
        if any(one.source.split is None for one in self.inputs):
            names |= {name for name, share in self.settings.split.items() if share > 0}
        return sorted(names, key=split_order)

    def result(self, checkpoint_s: float) -> BuildResult:
        """Return the build's result: found complete, or made now."""
        done = self._found_complete()
        if done is not None:
            shutil.rmtree(self.out / ".build", ignore_errors=True)
            return BuildResult(self.out, done, ("built before, from the same inputs with the same settings",))
        self.state = State(self.out, self.fingerprint)
        with closing(self.state):
            indexes = self._take_up()
            self.ids = Ids(self.state.folder / "ids", indexes.get("ids"))
            self.compare = self._comparisons(indexes.get("compare"))
            with closing(self.ids), closing(self.compare), closing(self.writer):
                stopped = self._run(checkpoint_s)
                overlap = None if stopped else self.compare.overlap(self.tally.examples["train"], self._tell_overlap)
                ledger = self._finish(stopped, overlap)
        if stopped:
            raise DataError(
                f"{stopped}\nThe reasons: {self._reasons()}\n"
                f"Look at {self.out / QUARANTINE}: it names every bad row with a fix.",
                rule="build-stopped",
            )
        return BuildResult(self.out, ledger, tuple(self.messages))

    # --- Beginning ------------------------------------------------------------------------------------

    def _found_complete(self) -> dict[str, Any] | None:
        """Return the ledger of a complete build of the same identity whose shards are whole."""
        try:
            ledger = read_ledger(self.out)
        except ConfigError:
            return None
        if not ledger["complete"] or ledger["fingerprint"] != self.fingerprint:
            return None
        for split in ledger["splits"].values():
            for shard in split["shards"]:
                path = self.out / DATA / shard["name"]
                if not path.is_file() or _file_sha256(path) != shard["sha256"]:
                    self.messages.append(f"built anew: the shard {shard['name']} was missing or changed")
                    return None
        return ledger

    def _comparisons(self, state: Mapping[str, Any] | None) -> Comparisons:
        from instructforge.building.comparing import Comparisons  # numpy comes with it

        return Comparisons(self.state.folder, self.compared, self.settings, self._held_out(), state)

    @cached_property
    def compared(self) -> Compared:
        """What of an example is compared with others."""
        from instructforge.duplicates.examples import Compared

        return Compared.of(self.task)

    def _held_out(self) -> list[str]:
        """Return the splits whose rows training should not hold; none where nothing is trained on."""
        return [split for split in self.shards if split != "train"] if "train" in self.shards else []

    def _take_up(self) -> Mapping[str, Any]:
        """Go on from the last checkpoint, or clear away what another build has left; return the indexes' states."""
        found = self.state.checkpoint()
        for folder, pattern in (
            (self.out / DATA, ".*.partial"),
            (self.out, ".ledger.json.*.partial"),
            (self.out, ".quarantine.jsonl.*.partial"),
            (self.out, ".duplicates.jsonl.*.partial"),
            (self.out, ".templates.json.*.partial"),
        ):
            for left in folder.glob(pattern):
                left.unlink(missing_ok=True)
        if found is None:
            self._clear()
            return {}
        self.tally = Tally.from_json(found["tally"])
        self.at = (found["at"][0], found["at"][1])
        self.gathered = (found["gathered"][0], found["gathered"][1])
        for split, part in found["shards"].items():
            self.shards[split] = _Shards(part["written"], part["on_disk"], [], 0, part["size_on_disk"])
        self.messages.append(f"resumed after {self.tally.total('read')} rows")
        indexes: Mapping[str, Any] = found["indexes"]
        return indexes

    def _clear(self) -> None:
        had = (self.out / LEDGER).is_file() or self.state.stale
        if had and not self.messages:
            self.messages.append(
                "built anew: inputs, settings, templates or versions have changed since the build before"
            )
        self._keep_mended()
        for name in (LEDGER, QUARANTINE, DUPLICATES, TEMPLATES):
            (self.out / name).unlink(missing_ok=True)
        self._remove_shards()

    def _keep_mended(self) -> None:
        """Put a quarantine file aside that was edited since it was written: it is somebody's work."""
        path = self.out / QUARANTINE
        with suppress(ConfigError, KeyError, FileNotFoundError):
            if read_ledger(self.out)["quarantine"]["sha256"] != _file_sha256(path):
                kept = next(
                    place
                    for number in range(1, 10_000)
                    if not (place := self.out / f"quarantine.edited-{number}.jsonl").exists()
                )
                path.rename(kept)
                self.messages.append(f"the edited quarantine file is kept as {kept.name}")

    def _remove_shards(self) -> None:
        for path in (self.out / DATA).glob("*.parquet"):
            if _SHARD_NAME.match(path.name):
                path.unlink()

    def _template_warnings(self) -> Iterator[str]:
        straight: dict[str, int] = {}
        inverted = set()
        for template in self.templates:
            if template.inverted:
                inverted.add(template.language)
            else:
                straight[template.language] = straight.get(template.language, 0) + 1
        for language, count in sorted(straight.items()):
            if count < self.settings.per_example:
                yield f'{self.settings.per_example} templates a row are asked for, and "{language}" has {count}'
            if self.settings.inverted_share and language not in inverted:
                yield f'inverted templates are asked for, and "{language}" has none: its rows get others'

    # --- Running --------------------------------------------------------------------------------------

    def _run(self, checkpoint_s: float) -> str:
        """Build everything; return why the build had to stop, or nothing."""
        several = len(self.inputs) > 1
        plans = [
            Plan(
                normalizer=one.normalizer,
                split=one.source.split,
                columns=one.source.columns,
                constants=one.source.constants,
                filler=one.filler,
                prefix=f"{one.label}:" if several else "",
            )
            for one in self.inputs
        ]
        said = [line for one in self.inputs if one.filler for line in one.filler.prepare()]
        self.messages += dict.fromkeys(said)
        maker = Maker(self.task, self.settings, self.templates, plans)
        maker.pool = self._pool(maker)
        maker.marker = self._marker()
        try:
            self._read(maker, "held_out", self._held_out_batches(), self._hold_out, checkpoint_s)
            self._read(maker, "make", self._batches(), self._merge, checkpoint_s)
            self._check_share()
        except _Stop as stop:
            return str(stop)
        for one in self.inputs:
            one.refuse_change()
        return "" if self.tally.total("built") else "Not one row could be built."

    def _marker(self) -> Marker:
        from instructforge.building.comparing import Marker

        return Marker(self.compared, near=self.settings.dedup == "near", overlap=bool(self._held_out()))

    def _read(
        self, maker: Maker, work: str, batches: Iterator[Batch], take: Callable[[Done], None], checkpoint_s: float
    ) -> None:
        """Send batches through the workers and take what comes back, with a checkpoint every so often."""
        saved = time.monotonic()
        with (
            noting_opened() as opened,
            closing(outcomes(maker, batches, self.settings.workers, work=work)) as results,
        ):
            position = Position(self.inputs, opened, self.settings.limit if work == "make" else None)
            for done in results:
                take(done)
                if time.monotonic() - saved >= checkpoint_s:
                    self._save()
                    saved = time.monotonic()
                self._tell(work, position)
            if work == "make":
                self._tell(work, position, at_once=True)

    def _held_out_batches(self) -> Iterator[Batch]:
        """Yield all rows that may be held out; nothing where train may hold what it likes."""
        first, passed = self.gathered
        for place in range(first, len(self.inputs)):
            if self.inputs[place].source.split != "train":
                yield from _cut(place, islice(self.inputs[place].rows(), passed if place == first else 0, None))

    def _hold_out(self, done: Done) -> None:
        """Take in held-out rows, before anything is built."""
        from instructforge.building.comparing import name_of

        names, keys = [], []
        for row, found in zip(done.batch.rows, done.outcomes, strict=True):
            for outcome in found:
                assert outcome.marks is not None
                assert outcome.marks.keys is not None
                names.append(name_of(outcome.id, _origin(row), outcome.reason))
                keys.append(outcome.marks.keys)
        self.compare.hold_out(names, keys)
        place, passed = done.batch.source, self.gathered[1] if self.gathered[0] == done.batch.source else 0
        self.gathered = (place + 1, 0) if done.batch.last else (place, passed + len(done.batch.rows))

    def _pool(self, maker: Maker) -> ShotPool | None:
        """Return what worked examples are drawn from; write it beside the ledger, for those who ask the model later."""
        path = self.out / FEW_SHOT
        if not self.settings.few_shot:
            path.unlink(missing_ok=True)
            return None
        from instructforge.building.fewshot import pool_of_samples, pool_of_train

        pool = self.pool
        if pool is None and self.settings.few_shot_from == "samples":
            pool = pool_of_samples(self.task)
        elif pool is None:
            rows = (found for place, one in enumerate(self.inputs) for found in maker.shots(place, one.rows()))
            pool = pool_of_train(rows, self.settings.seed)
        counts = ", ".join(f"{len(given)} {language}" for language, given in pool.examples.items())
        self.messages.append(f"few-shot prompts: {self.settings.few_shot} of a pool of {counts or 'no examples'}")
        write_json(path, pool.to_json())
        return pool

    def _batches(self) -> Iterator[Batch]:
        first, passed = self.at
        for place in range(first, len(self.inputs)):
            rows = islice(self.inputs[place].rows(), passed if place == first else 0, None)
            for batch in _cut(place, rows):
                if self.at[0] > place:  # its limit is reached: what is read ahead of it is dropped in _merge
                    break
                yield batch

    def _merge(self, done: Done) -> None:
        """Take the outcomes of a batch into the counts, indexes and shards, in order."""
        place = done.batch.source
        if self.at[0] > place:
            return
        tally, limit = self.tally.sources[place], self.settings.limit
        self._look_up(done.outcomes)
        try:
            for row, found in zip(done.batch.rows, done.outcomes, strict=True):
                tally.records += 1
                for outcome in found:
                    self._count(tally, row, outcome)
                self.at = (place, self.at[1] + 1)
                if self.settings.max_bad is not None:
                    self._check_number()
                if limit is not None and self._is_full(tally):
                    self.at = (place + 1, 0)
                    return
        finally:
            self.ids.write()
            self.compare.write()
        if done.batch.last:
            tally.read_to_end = True
            self.at = (place + 1, 0)

    def _look_up(self, found: Sequence[Sequence[Outcome]]) -> None:
        every = [outcome for outcomes in found for outcome in outcomes if outcome.built]
        self.ids.look_up([hash for outcome in every for hash in outcome.hashes])
        self.compare.look_up(every)

    def _is_full(self, tally: SourceTally) -> bool:
        return self.settings.limit is not None and tally.built >= self.settings.limit

    def _count(self, tally: SourceTally, row: RowOrError, outcome: Outcome) -> None:
        tally.read += 1
        if outcome.entry:
            tally.quarantined[outcome.reason] += 1
            self.state.add_quarantined(outcome.entry)
        elif self._is_full(tally):
            tally.skipped["over-limit"] += 1
        elif outcome.reason:
            tally.skipped[outcome.reason] += 1
        elif verdict := self.compare.verdict(outcome):
            tally.deduplicated[verdict.reason] += 1
            self.state.add_duplicate(verdict.entry(outcome.id, _origin(row), outcome.built[0].split))
        elif any(hash in self.ids for hash in outcome.hashes):
            tally.quarantined["duplicate-id"] += 1
            self.state.add_quarantined(_duplicate(row, outcome))
        else:
            self.compare.keep(outcome, _origin(row))
            self._take(tally, outcome)

    def _take(self, tally: SourceTally, outcome: Outcome) -> None:
        for hash in outcome.hashes:
            self.ids.add(hash)
        tally.built += 1
        tally.unlabelled += outcome.unlabelled
        if outcome.notes:
            tally.notes.update(outcome.notes)
        first = outcome.built[0]
        self.tally.examples[first.split] += 1
        self.tally.unlabelled[first.split] += outcome.unlabelled
        self.tally.languages[first.language] += 1
        for one in outcome.built:
            self.tally.instructions[one.split] += 1
            self.tally.inverted[one.split] += one.inverted
            counts = self.tally.templates.get(one.template)
            if counts is None:
                counts = self.tally.templates[one.template] = Counter()
            counts[one.split] += 1
            self._add(one)
        if outcome.marks is not None:
            self.tally.add_lengths(first.split, zip(self.compared.names, outcome.marks.lengths, strict=True))

    # --- Bounds ---------------------------------------------------------------------------------------

    def _check_number(self) -> None:
        limit = self.settings.max_bad
        if limit is not None and (limit >= 1 or limit == 0) and self.tally.total("quarantined") > limit:
            raise _Stop(f"More than {limit:g} rows are bad (max_bad).")

    def _check_share(self) -> None:
        """Compare the share of bad rows with its limit, once all rows are read: the first ones may all be bad."""
        limit, read, bad = self.settings.max_bad, self.tally.total("read"), self.tally.total("quarantined")
        if limit is not None and 0 < limit < 1 and bad > limit * read:
            raise _Stop(f"{bad} of {read} rows are bad, more than the share of {limit:g} (max_bad).")

    def _reasons(self) -> str:
        counts = self.tally.by_reason("quarantined") | self.tally.by_reason("skipped")
        worst = sorted(counts.items(), key=lambda part: (-part[1], part[0]))[:5]
        return ", ".join(f"{reason} ({count})" for reason, count in worst) or "there were no rows"

    # --- Shards and checkpoints -----------------------------------------------------------------------

    def _add(self, built: Built) -> None:
        shards = self.shards[built.split]
        shards.waiting.append(built)
        shards.size += 2 * len(built.instruction)  # its messages stand there once more
        if shards.on_disk + len(shards.waiting) == self.settings.shard_rows:
            self._write(built.split)
        elif shards.size > _SPILL_BYTES:
            self._spill(built.split)

    def _write(self, split: str) -> None:
        """Write a shard: behind the reading, unless the rows that wait on disk for it are too large for memory."""
        shards = self.shards[split]
        path = self.out / DATA / shard_name(split, len(shards.written))
        entry: dict[str, Any] = {"name": path.name, "rows": shards.on_disk + len(shards.waiting), "sha256": ""}
        shards.written.append(entry)
        pending = map(from_bytes, self.state.pending(split)) if shards.on_disk else ()

        def write(rows: Iterable[Built]) -> None:
            entry["sha256"] = write_shard(path, rows)

        if shards.size_on_disk > _SPILL_BYTES:
            self.writer.wait()
            write(chain(pending, shards.waiting))
        else:
            self.writer.do(partial(write, [*pending, *shards.waiting]))
        if shards.on_disk:
            self.state.clear_pending(split)
        shards.on_disk, shards.waiting, shards.size, shards.size_on_disk = 0, [], 0, 0

    def _spill(self, split: str) -> None:
        shards = self.shards[split]
        self.state.add_pending(split, map(to_bytes, shards.waiting))
        shards.on_disk, shards.size_on_disk = shards.on_disk + len(shards.waiting), shards.size_on_disk + shards.size
        shards.waiting, shards.size = [], 0

    def _save(self) -> None:
        self.writer.wait()
        for split in self.shards:
            self._spill(split)
        indexes = {"ids": self.ids.save(), "compare": self.compare.save()}
        self.state.commit(
            {
                "at": list(self.at),
                "gathered": list(self.gathered),
                "indexes": indexes,
                "tally": self.tally.to_json(),
                "shards": {
                    split: {"written": part.written, "on_disk": part.on_disk, "size_on_disk": part.size_on_disk}
                    for split, part in self.shards.items()
                },
            }
        )
        self.ids.settled()
        self.compare.settled()

    def _tell(self, work: str, position: Position, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self.progress is None or (not at_once and now - self._told < _PROGRESS_S):
            return
        self._told = now
        place, records = self.at if work == "make" else self.gathered
        stage = "build" if work == "make" else "held-out rows"
        if position.total is None:
            self.progress(stage, self.tally.total("read") if work == "make" else records, None)
        else:
            built = self.tally.sources[place].built if place < len(self.inputs) else 0
            self.progress(stage, position.done(place, records, built), position.total)

    def _tell_overlap(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.progress is not None and (done == total or now - self._told >= _PROGRESS_S):
            self._told = now
            self.progress("overlap", done, total)

    # --- Ending ---------------------------------------------------------------------------------------

    def _finish(self, stopped: str, overlap: Mapping[str, Any] | None) -> dict[str, Any]:
        """Write what is left: last shards, quarantine, templates, and, last of all, the ledger."""
        if stopped:
            self.writer.close()
            self._remove_shards()
        else:
            for split, part in self.shards.items():
                if part.on_disk or part.waiting:
                    self._write(split)
            self.writer.wait()
        digests = {"quarantine": self._write_entries(QUARANTINE, "quarantine")}
        if self.settings.dedup or self.settings.decontaminate:
            digests["duplicates"] = self._write_entries(DUPLICATES, "duplicates")
        used = {template.key: template for template in self.templates if template.key in self.tally.templates}
        write_json(
            self.out / TEMPLATES,
            {
                "schema": "instructforge.templates/1",
                "templates": {key: {"sha256": one.sha256, "source": one.source} for key, one in used.items()},
            },
        )
        ledger = self._ledger(stopped, digests, overlap)
        write_json(self.out / LEDGER, ledger)
        self.state.remove()
        return ledger

    def _write_entries(self, name: str, table: str) -> str:
        """Write the entries of a table to a file, a line each; return the file's sha256."""
        with write_atomically(self.out / name, "wb") as handle:
            for entry in self.state.entries(table):
                handle.write(entry + b"\n")
        return _file_sha256(self.out / name)

    def _ledger(self, stopped: str, digests: Mapping[str, str], overlap: Mapping[str, Any] | None) -> dict[str, Any]:
        tally = self.tally
        assert all(source.adds_up for source in tally.sources)
        reasons = {name: tally.by_reason(name) for name in ("skipped", "quarantined", "deduplicated", "notes")}
        return {
            "schema": SCHEMA,
            "complete": not stopped,
            "stopped": stopped or None,
            "fingerprint": self.fingerprint,
            "task": self.task.name,
            "seed": self.settings.seed,
            "settings": self.identity["settings"],
            "versions": self.identity["versions"],
            "totals": {
                **{name: tally.total(name) for name in ("records", "read", "built", "skipped", "quarantined")},
                "deduplicated": tally.total("deduplicated"),
                "unlabelled": tally.total("unlabelled"),
                "instructions": tally.instructions.total(),
            },
            **reasons,
            "sources": [
                one.identity() | counts.to_json() | _retrieval(one, counts)
                for one, counts in zip(self.inputs, tally.sources, strict=True)
            ],
            "splits": {split: self._split_entry(split, stopped) for split in self.shards},
            "languages": dict(sorted(tally.languages.items())),
            "templates": {
                template.key: {"sha256": template.sha256, "instructions": dict(sorted(count.items()))}
                for template in self.templates
                if (count := tally.templates.get(template.key))
            },
            "overlap": overlap,
            "quarantine": {"rows": tally.total("quarantined"), "sha256": digests["quarantine"]},
            "duplicates": (
                {"rows": tally.total("deduplicated"), "sha256": digests["duplicates"]}
                if "duplicates" in digests
                else None
            ),
            "warnings": [*self.warnings, *self._count_warnings(), *_overlap_warnings(overlap or {})],
        }

    def _split_entry(self, split: str, stopped: str) -> dict[str, Any]:
        tally = self.tally
        return {
            "examples": tally.examples[split],
            "instructions": tally.instructions[split],
            "unlabelled": tally.unlabelled[split],
            "inverted": tally.inverted[split],
            "lengths": {name: spread for name in self.compared.names if (spread := tally.spread(f"{split}/{name}"))},
            "shards": [] if stopped else self.shards[split].written,
        }

    def _count_warnings(self) -> Iterator[str]:
        for split in self.shards:
            if not self.tally.instructions[split]:
                yield f'the split "{split}" is empty'
        for one, counts in zip(self.inputs, self.tally.sources, strict=True):
            if 0 < counts.unlabelled < counts.built:
                yield f"{one.label}: {counts.unlabelled} of {counts.built} rows carry no answer"
            if one.filler and (said := said_of_retrieval(one.filler, counts, one.label)):
                yield said
            if not counts.read_to_end and self.settings.limit is not None:
                yield f"{one.label}: read only up to the limit of {self.settings.limit} rows"


# --- Small parts --------------------------------------------------------------------------------------


def _overlap_warnings(overlap: Mapping[str, Any]) -> Iterator[str]:
    for split, part in overlap.items():
        if part["normalised"]:
            yield (
                f"{part['normalised']} of {part['test']} {split} rows occur among the training rows "
                f"({part['exact']} exactly); build.decontaminate leaves such training rows out"
            )


def _origin(row: RowOrError) -> Origin:
    assert row.origin is not None
    return row.origin


def _retrieval(one: Input, counts: SourceTally) -> dict[str, Any]:
    return {"retrieval": retrieval_figures(one.filler, counts)} if one.filler else {}


def _cut(source: int, rows: Iterator[RowOrError]) -> Iterator[Batch]:
    """Cut rows into batches of a bounded number and size; the last one says so, and may be empty."""
    batch: list[RowOrError] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += _characters(row)
        if len(batch) == _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield Batch(source, batch, last=False)
            batch, size = [], 0
    yield Batch(source, batch, last=True)


def _characters(row: RowOrError) -> int:
    if not isinstance(row, Row):
        return len(row.raw)
    size = 0
    for value in row.values.values():
        size += len(value) if isinstance(value, (str, bytes)) else 8
    return size


def _duplicate(row: RowOrError, outcome: Outcome) -> bytes:
    error = DataError(
        f'the id "{printable(outcome.id, 80)}" is taken by an earlier row',
        rule="duplicate-id",
        field="id",
        fix="give it an id of its own; build with dedup if it is the same row again",
    )
    return quarantine_entry(error, row if isinstance(row, Row) else None, outcome.id)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
