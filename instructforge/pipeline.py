"""A run: one folder, and the stages over it.

::

    run/
      recipe.json        the recipe, resolved
      manifest.json      what each stage was made from: fingerprints, versions, plugins, seed
      ledger.json        where every row went
      quarantine.jsonl   the bad rows, with the reason and the fix
      data/              shards of instructions
      model/             weights, tokenizer, contract, model card
      work/              checkpoints and journals, for resuming
      predictions.jsonl  one line for each row answered
      report.json report.html

A stage that is already done with the same inputs is not done again; one that was broken off goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from instructforge.building import BuildResult, InstructionSet, build, read_ledger, split_names, used_templates
from instructforge.building.ledger import FEW_SHOT
from instructforge.contract import Contract
from instructforge.data import Instruction, Prediction
from instructforge.errors import ConfigError, did_you_mean
from instructforge.files import canonical_json, exclusive_lock, sha256_of, write_json
from instructforge.manifest import Manifest
from instructforge.normalizers import ANSWER
from instructforge.recipe import Recipe, recipe_from, with_overrides
from instructforge.templates.library import TemplateLibrary
from instructforge.training.job import TrainingJob, TrainingResult

if TYPE_CHECKING:
    from instructforge.building.fewshot import ShotPool
    from instructforge.components import Decoder, Trainer
    from instructforge.engines import Engine
    from instructforge.evaluation import Report
    from instructforge.plugins import Forge
    from instructforge.tasks import Task

__all__ = ["Progress", "Run", "Say", "no_progress", "read_predictions", "read_training", "silent", "trainer_for"]

Say = Callable[[str], None]
Progress = Callable[[str, int, "int | None"], None]

_ANSWERED_AT_ONCE = 256
"""Rows between two writes of predictions. A resumed run goes on at such a border, so that batches are the same."""


def silent(line: str) -> None:
    return None


def no_progress(stage: str, done: int, total: int | None) -> None:
    return None


@frozen(kw_only=True)
class Run:
    """A run folder with its recipe, and the stages over it.

    Args:
        folder: Where everything is written.
        recipe: What to do.
        forge: The plugins.
        base: Folder from which the recipe's relative paths start.
        say: Called with a line for people, a few times a stage.
        progress: Called with (stage, done, total) as work goes on.
        model_in: Where the model lies; the folder ``model`` of ``folder`` where left out.
    """

    folder: Path = attrs.field(converter=Path)
    recipe: Recipe
    forge: Forge
    base: Path = Path()
    say: Say = silent
    progress: Progress = no_progress
    model_in: Path | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        forge: Forge,
        overrides: Mapping[str, Any] | None = None,
        say: Say = silent,
        progress: Progress = no_progress,
    ) -> Run:
        """Open the folder of a run that was begun, with some keys of its recipe changed.

        A stage that ends well writes the recipe that it was done by; one that fails leaves the folder's as it was.

        Raises:
            ConfigError: There is no run in the folder, or an override is wrong.
        """
        path = folder / "recipe.json"
        if not path.is_file():
            raise ConfigError(f'"{folder}" is no run folder: it has no recipe.json.\nBegin with `instructforge build`.')
        value = json.loads(path.read_text(encoding="utf-8"))
        base = Path(value.pop("base"))
        recipe = with_overrides(recipe_from(value, source=str(path)), overrides or {})
        return cls(folder=folder, recipe=recipe, forge=forge, base=base, say=say, progress=progress)

    @property
    def task(self) -> Task:
        return self.forge.tasks.get(self.recipe.task)

    @property
    def parts(self) -> dict[str, Run]:
        """Return the runs of which this one consists: itself, without a name. A mixture has several."""
        return {"": self}

    def part(self, name: str | None) -> Run:
        """Return the run itself.

        Raises:
            ConfigError: A part is named, and this run has none.
        """
        if name:
            raise ConfigError(f'"{self.folder}" has no part "{name}": its recipe mixes no tasks')
        return self

    @property
    def model_folder(self) -> Path:
        return self.model_in or self.folder / "model"

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.folder)

    def save(self) -> None:
        """Write the resolved recipe."""
        write_json(self.folder / "recipe.json", self.recipe.to_json() | {"base": str(self.base.resolve())})

    def instructions(self, split: str) -> InstructionSet:
        """Return the built instructions of one split.

        Raises:
            ConfigError: The split was not built; the message names those that were.
        """
        built = split_names(self.folder)
        if split not in built:
            raise ConfigError(f'"{self.folder}" has no split "{split}"; built: {", ".join(built) or "nothing"}')
        return InstructionSet(self.folder, split)

    # --- Stages --------------------------------------------------------------------------------------

    def build(self) -> BuildResult:
        """Read, normalise, split and render the recipe's files; write shards, ledger and quarantine.

        Raises:
            DataError: A file cannot be read at all.
            ConfigError: Format or normalizer cannot be told, or a name in the recipe is not known.
        """
        sources = self.recipe.data.sources(self.base)
        if not sources:
            raise ConfigError("the recipe names no data; give data.train and data.test, or data.files")
        task = self.task
        self.save()
        self.forge.emit("run_started", run=self.folder, recipe=self.recipe.to_json())
        settings = self.recipe.build_settings
        result = build(self.forge, task, sources, self.folder, settings, progress=self.progress, say=self.say)
        for line in result.messages:
            self.say(line)
        self.finished("build", sha256_of(result.ledger), result.ledger)
        return result

    def train(self) -> TrainingResult:
        """Fine-tune the recipe's model on the ``train`` split; validate on ``validation`` where it was built.

        Raises:
            ConfigError: No model is named, or no trainer fits it.
            TrainingError: Training cannot start or had to stop.
        """
        from instructforge.models import family_of, resolve

        if not self.recipe.model:
            raise ConfigError("the recipe names no model; give `model:` (or --model), such as minilm")
        base = resolve(self.recipe.model, forge=self.forge)
        family = family_of(base)
        trainer = self._trainer(family)
        fingerprint = self._training_fingerprint(trainer.name)
        if self.manifest.is_done("train", fingerprint) and (self.folder / "training.json").is_file():
            Contract.read(self.model_folder)
            self.save()
            self.say(f"train: done before with the same data and settings ({self.model_folder})")
            return read_training(self.folder)
        job = self._job(base, family)
        self.say(f"train: {trainer.name} on {len(job.train)} rows, {len(job.validation)} to validate, from {base}")
        with exclusive_lock(self.folder):
            result = trainer.train(job)
        for notice in result.notices:
            self.say(f"train: {notice}")
        write_json(self.folder / "training.json", attrs.asdict(result))
        self.save()
        self.finished("train", fingerprint, {"steps": result.steps, **result.counts, "best": dict(result.best)})
        return result

    def predict(self) -> Path:
        """Answer the recipe's split with the trained model; return the file. Goes on where it broke off."""
        plan = self.recipe.predict
        wanted: Sequence[Instruction] = self.instructions(plan.split)
        if plan.limit is not None and plan.limit < len(wanted):
            self.say(f"predict: {plan.limit} of {len(wanted)} rows, as the recipe says")
            wanted = wanted[: plan.limit]
        path = self.folder / "predictions.jsonl"
        engine = self.engine()
        self._refuse_another_build()
        fingerprint = self._prediction_fingerprint()
        if self.manifest.is_done("predict", fingerprint) and path.is_file():
            self.save()
            self.say(f"predict: done before, {len(wanted)} rows ({path})")
            return path
        with exclusive_lock(self.folder):
            self._answer_into(path, wanted, engine, fingerprint)
        self.save()
        self.finished("predict", fingerprint, {"rows": len(wanted)})
        return path

    def evaluate(self) -> Report:
        """Score the predictions; write ``report.json`` and ``report.html``.

        Raises:
            ConfigError: There are no predictions yet.
        """
        from instructforge import report as reporting
        from instructforge.evaluation import evaluate

        path = self.folder / "predictions.jsonl"
        if not path.is_file():
            raise ConfigError(f'"{self.folder}" has no predictions.\nRun `instructforge predict {self.folder}` first.')
        self._refuse_another_build()
        if not self.manifest.is_done("predict", self._prediction_fingerprint()):
            raise ConfigError(
                f'the predictions in "{self.folder}" are not complete, or of another build, model or recipe.\n'
                f"Run `instructforge predict {self.folder}` again."
            )
        predictions = read_predictions(path)
        instructions = self.instructions(self.recipe.predict.split)[: len(predictions)]
        report = evaluate(
            predictions,
            instructions,
            task=self.task,
            forge=self.forge,
            seed=self.recipe.seed,
            resamples=self.recipe.evaluate.resamples,
            train=self.instructions("train") if "train" in split_names(self.folder) else (),
            ledger=read_ledger(self.folder),
            training=_training_json(self.folder),
            fingerprints=self._fingerprints(),
            reads=self._reads(),
        )
        reporting.write(report, self.folder, language=self._page_language())
        self.finished("evaluate", sha256_of(report.to_json()), {"report": "report.json"})
        self.forge.emit("run_finished", run=self.folder, report=report.to_json())
        return report

    def check(self) -> None:
        """Find what later stages would refuse, before any work is done.

        Raises:
            ConfigError: A gate is on no metric of the task; the trainer does not know a setting.
        """
        from instructforge.models import family_of, resolve

        self.check_names()
        if not self.recipe.model:
            raise ConfigError("the recipe names no model; give `model:` (or --model), such as minilm")
        trainer = self._trainer(family_of(resolve(self.recipe.model, forge=self.forge)))
        check = getattr(trainer, "check_settings", None)  # a trainer of a plugin need not have it
        if check is not None:
            check(self.recipe.train.settings)

    def check_names(self) -> None:
        """Find names in the recipe that nobody knows.

        Raises:
            ConfigError: A gate is on no metric of the task, or there is no such decoder.
        """
        known = [*self.task.metric_names, "undecoded"]
        problems = [
            f"evaluate.gates.{name}: no metric of {self.task.name}. {did_you_mean(name, known)}"
            for name in self.recipe.evaluate.gates
            if name not in known
        ]
        if problems:
            raise ConfigError(problems)
        if self.recipe.predict.decoder:
            self.forge.decoders.peek(self.recipe.predict.decoder)

    def all(self) -> Report:
        """Carry out every stage in turn; return the report."""
        self.check()
        self.build()
        self.train()
        self.predict()
        return self.evaluate()

    def missed_gates(self, report: Report) -> list[str]:
        """Return a line for each gate of the recipe that the report does not reach."""
        lines = []
        for name, least in self.recipe.evaluate.gates.items():
            value = report.metrics.get(name, {}).get("value")
            if value is None or value < least:
                lines.append(
                    f"gate missed: {name} is {'not measured' if value is None else f'{value:.4f}'}, not {least}"
                )
        return lines

    # --- Answering raw rows --------------------------------------------------------------------------

    def answer(self, inputs: Sequence[str], output: Path) -> Path:
        """Answer raw rows, in any form that the task's normalizers know, with the templates the model carries.

        Rows that cannot be read are in ``<output>.quarantine.jsonl``, with the reason.
        """
        engine = self.engine()
        work = self.folder / "work" / "answer"
        shutil.rmtree(work, ignore_errors=True)
        columns = {part: column for part, column in self.recipe.data.columns.items() if part != ANSWER}
        plan = attrs.evolve(
            self.recipe.data,
            columns=columns,
            constants={**self.recipe.data.constants, **_constants_of(read_ledger(self.folder))},
            files=(),
            train=(),
            validation=(),
            test=tuple(path if path.startswith("hub:") else str(Path(path).absolute()) for path in inputs),
        )
        settings = attrs.evolve(self.recipe.build_settings, limit=None, per_example=1)
        result = build(
            self.forge,
            self.task,
            plan.sources(self.base),  # a corpus and files of constants lie where the recipe says
            work,
            settings,
            progress=self.progress,
            library=TemplateLibrary.of_sources(engine.contract.templates, owner=str(self.model_folder)),
            shots=self._shots(engine.contract),
        )
        for line in result.messages:
            self.say(line)
        wanted = InstructionSet(work, "test")
        output.unlink(missing_ok=True)
        self._answer_into(output, wanted, engine, "")
        if (work / "quarantine.jsonl").stat().st_size:
            kept = shutil.copyfile(work / "quarantine.jsonl", output.with_suffix(".quarantine.jsonl"))
            self.say(f"some rows could not be read; their reasons: {kept}")
        shutil.rmtree(work)
        return output

    # --- Parts ---------------------------------------------------------------------------------------

    def few_shot(self) -> dict[str, Any]:
        """Return the worked examples of the build's prompts, as a contract carries them; empty where there are none."""
        path, build = self.folder / FEW_SHOT, self.recipe.build
        if not path.is_file():
            return {}
        pool = json.loads(path.read_text(encoding="utf-8"))
        return {"count": build.few_shot, "form": build.few_shot_as, "seed": self.recipe.seed, "pool": pool}

    def _shots(self, contract: Contract) -> ShotPool | None:
        from instructforge.building.fewshot import ShotPool

        carried = contract.few_shot or {}
        pool = carried.get(self.folder.name) if "pool" not in carried else carried  # of a mixture: this part's
        return ShotPool.from_json(pool["pool"]) if pool else None

    def engine(self) -> Engine:
        """Open the trained model.

        Raises:
            ConfigError: There is none.
            ContractMismatchError: It is not the model that its contract describes.
        """
        from instructforge.engines import open_engine

        if not (self.model_folder / "contract.json").is_file():
            raise ConfigError(
                f'"{self.folder}" has no trained model yet.\nRun `instructforge train {self.folder}`, to its end.'
            )
        return open_engine(self.model_folder)

    def decoder(self, contract: Contract) -> Decoder:
        """Return the decoder that the recipe names, or the one that the model was trained for."""
        from instructforge.decoders import configured

        options = self.recipe.predict.options or contract.decoder_options
        return configured(self.forge.decoders.get(self.recipe.predict.decoder or contract.decoder), options)

    def _trainer(self, family: str) -> Trainer:
        named = self.recipe.train.trainer or self.task.trainer
        return trainer_for(self.forge, family, self.task.target.head, named)

    def _decoder_name(self, family: str) -> str:
        own = self.task.decoder_name if family == "causal" else self.task.target.head_decoder
        return self.recipe.predict.decoder or own

    def _job(self, base: Path, family: str) -> TrainingJob:
        def log(step: int, values: Mapping[str, float]) -> None:
            self.forge.emit("train_logged", run=self.folder, step=step, values=values)
            self.progress("train", step, int(values["steps"]) if "steps" in values else None)

        return TrainingJob(
            task=self.task,
            train=self.instructions("train"),
            validation=self.instructions("validation") if "validation" in split_names(self.folder) else (),
            model=base,
            out=self.model_folder,
            work=self.folder / "work" / "train",
            settings=self.recipe.train.settings,
            templates=used_templates(self.folder),
            few_shot=self.few_shot(),
            decoder=self._decoder_name(family),
            seed=self.recipe.seed,
            on_log=log,
            base=self.recipe.model or "",
        )

    def _training_fingerprint(self, trainer: str) -> str:
        settings = attrs.asdict(self.recipe.train)
        built = self.manifest.fingerprint("build")
        decoder = self.recipe.predict.decoder
        return sha256_of([built, self.recipe.model, trainer, settings, self.recipe.seed, decoder])

    def _refuse_another_build(self) -> None:
        if not self.manifest.is_of_this_build("train"):
            raise ConfigError(
                f'the model in "{self.folder}" was trained on an earlier build of this folder.\n'
                "Its test rows may be among those that it has learnt.\n"
                f"Run `instructforge train {self.folder}` again, or answer raw rows with --input and --output."
            )

    def _prediction_fingerprint(self) -> str:
        stages = [self.manifest.fingerprint(stage) for stage in ("build", "train")]
        return sha256_of([Contract.read(self.model_folder).sha256, *stages, attrs.asdict(self.recipe.predict)])

    def _answer_into(self, path: Path, wanted: Sequence[Instruction], engine: Engine, fingerprint: str) -> None:
        """Write a prediction for each instruction, a chunk at a time, going on after the last whole chunk."""
        decoder = self.decoder(engine.contract)
        done = _resume_at(path, path.with_suffix(".state.json"), fingerprint)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:
            for start in range(done, len(wanted), _ANSWERED_AT_ONCE):
                chunk = wanted[start : start + _ANSWERED_AT_ONCE]
                outputs = list(engine.outputs(chunk, decoder.needs))
                predictions = decoder.decode(outputs, chunk, self.task)
                handle.write("".join(canonical_json(prediction.to_json()) + "\n" for prediction in predictions))
                handle.flush()
                self.progress("predict", start + len(chunk), len(wanted))

    def _reads(self) -> tuple[str, ...]:
        """Return the fields that an encoder model reads in place of a template."""
        if not self.model_folder.is_dir():
            return ()
        contract = Contract.read(self.model_folder)
        return contract.fields if contract.family == "encoder" else ()

    def _fingerprints(self) -> dict[str, str]:
        stages = {stage: self.manifest.fingerprint(stage) for stage in ("build", "train", "predict")}
        contract = Contract.read(self.model_folder).sha256 if self.model_folder.is_dir() else ""
        return {"recipe": sha256_of(self.recipe.to_json()), "contract": contract} | stages

    def _page_language(self) -> str:
        if self.recipe.language:
            return self.recipe.language
        languages = {instruction.language for instruction in self.instructions(self.recipe.predict.split)[:200]}
        return "zh" if languages == {"zh"} else "en"

    def finished(self, stage: str, fingerprint: str, summary: Mapping[str, Any]) -> None:
        plugins = {info.name: info.version for info in self.forge.plugins}
        self.manifest.finished(stage, fingerprint, plugins=plugins, seed=self.recipe.seed)
        self.forge.emit("stage_finished", run=self.folder, stage=stage, summary=summary)


def trainer_for(forge: Forge, family: str, head: str, named: str | None = None) -> Trainer:
    """Return the trainer of that name, or the one that fits a model's family and a target's head.

    Raises:
        ConfigError: None fits, or more than one does.
    """
    if named:
        return forge.trainers.get(named)
    known = [forge.trainers.get(name) for name in forge.trainers]
    fitting = [trainer for trainer in known if family in trainer.families and head in trainer.heads]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(trainer.name for trainer in fitting or known)
    raise ConfigError(
        f"{'several trainers fit' if fitting else 'no trainer fits'} a {family} model with a target of "
        f'"{head}": {names}.\nName one with train.trainer.'
    )


def _resume_at(path: Path, state: Path, fingerprint: str) -> int:
    """Return how many predictions of an interrupted run can be kept; cut the file after them."""
    same = state.is_file() and json.loads(state.read_text(encoding="utf-8")) == {"fingerprint": fingerprint}
    if not same or not path.is_file() or not fingerprint:
        path.unlink(missing_ok=True)
        write_json(state, {"fingerprint": fingerprint})
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    whole = len(lines) - (bool(lines) and not lines[-1].endswith(b"\n"))
    kept = whole - whole % _ANSWERED_AT_ONCE
    with path.open("r+b") as handle:
        handle.truncate(sum(map(len, lines[:kept])))
    return kept


def read_predictions(path: Path) -> list[Prediction]:
    """Return the predictions of a file that ``predict`` wrote."""
    return list(_predictions(path))


def _predictions(path: Path) -> Iterator[Prediction]:
    with path.open(encoding="utf-8") as handle:
        for line in handle:
            yield Prediction.from_json(json.loads(line))


def _constants_of(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constants that the rows were built with, those collected from the data included."""
    found: dict[str, Any] = {}
    for source in reversed(ledger["sources"]):
        found |= source["constants"]
    return found


def _training_json(folder: Path) -> dict[str, Any] | None:
    path = folder / "training.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_training(folder: Path) -> TrainingResult:
    value = _training_json(folder) or {}
    return TrainingResult(**value | {"log": tuple(value.get("log", ()))})
