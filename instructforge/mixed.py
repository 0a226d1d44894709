"""A run over several tasks at once: each is built and scored by itself, one model is trained on all of them.

::

    run/
      recipe.json        the recipe, with its `mix`
      mixture.json       rate, rows and passes of each part, as planned
      parts/NAME/        a run folder of its own: ledger, quarantine, data, predictions, report
      model/             the one model, its contract naming every part's task, templates and decoder
      report.json report.html    every part's figures side by side
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from instructforge.building import BuildResult, split_names, used_templates
from instructforge.errors import ConfigError, did_you_mean
from instructforge.files import exclusive_lock, sha256_of, write_json
from instructforge.mixing import Joined, MixSettings, Mixture
from instructforge.pipeline import Progress, Run, Say, no_progress, read_training, silent, trainer_for
from instructforge.recipe import MixPart, MixRecipe, Recipe, recipe_from, with_overrides
from instructforge.tasks import Task, Text
from instructforge.training.job import TrainingJob, TrainingResult

if TYPE_CHECKING:
    from instructforge.components import Trainer
    from instructforge.data import Instruction
    from instructforge.evaluation import Report
    from instructforge.plugins import Forge

__all__ = ["MixedRun", "open_run", "run_of"]

NAME = "mixture"
"""What the contract calls the task of a model that was trained on several."""


def run_of(folder: Path, recipe: Recipe, **options: Any) -> Run | MixedRun:
    """Return the run of a recipe: over its one task, or over all those that it mixes."""
    kind: type[Run] | type[MixedRun] = MixedRun if recipe.mix else Run
    return kind(folder=folder, recipe=recipe, **options)


def open_run(folder: Path, *, overrides: Mapping[str, Any] | None = None, **options: Any) -> Run | MixedRun:
    """Open the folder of a run that was begun; see ``Run.open``."""
    path = folder / "recipe.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("mix"):
        return MixedRun.open(folder, overrides=overrides, **options)
    return Run.open(folder, overrides=overrides, **options)


@frozen(kw_only=True)
class MixedRun:
    """A run folder whose recipe mixes tasks, and the stages over it.

    Args:
        folder, recipe, forge, base, say, progress: As of ``Run``.
    """

    folder: Path = attrs.field(converter=Path)
    recipe: Recipe
    forge: Forge
    base: Path = Path()
    say: Say = silent
    progress: Progress = no_progress

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        forge: Forge,
        overrides: Mapping[str, Any] | None = None,
        say: Say = silent,
        progress: Progress = no_progress,
    ) -> MixedRun:
        """Open the folder of a run that was begun, with some keys of its recipe changed."""
        path = folder / "recipe.json"
        value = json.loads(path.read_text(encoding="utf-8"))
        base = Path(value.pop("base"))
        recipe = with_overrides(recipe_from(value, source=str(path)), overrides or {})
        return cls(folder=folder, recipe=recipe, forge=forge, base=base, say=say, progress=progress)

    @property
    def mix(self) -> MixRecipe:
        assert self.recipe.mix is not None, "a recipe without `mix` makes a Run"
        return self.recipe.mix

    @property
    def parts(self) -> dict[str, Run]:
        """Return each part as a run of its own, which shares the model."""
        return {name: self._part(name, part) for name, part in self.mix.parts.items()}

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    def part(self, name: str | None) -> Run:
        """Return one part.

        Raises:
            ConfigError: No part has that name, or none was named.
        """
        parts = self.parts
        if name is None or name not in parts:
            hint = did_you_mean(name, parts) if name else f"its parts are: {', '.join(parts)}"
            raise ConfigError(f'"{self.folder}" mixes tasks, and "{name or ""}" is none of its parts. {hint}')
        return parts[name]

    def save(self) -> None:
        """Write the resolved recipe."""
        write_json(self.folder / "recipe.json", self.recipe.to_json() | {"base": str(self.base.resolve())})

    # --- Stages --------------------------------------------------------------------------------------

    def check(self) -> None:
        """Find what later stages would refuse, before any work is done.

        Raises:
            ConfigError: A part names what is not known; the model is none that can learn several tasks.
        """
        for name, part in self.parts.items():
            self._named(name, part.check_names)
        self._trainer(self._family())

    def build(self) -> dict[str, BuildResult]:
        """Build every part, and say how they will be mixed; see ``Run.build``."""
        self.save()
        results = {name: part.build() for name, part in self.parts.items()}
        plan = self._mixture().plan
        write_json(
            self.folder / "mixture.json",
            {"schema": "instructforge.mixture/1", "seed": self.recipe.seed}
            | {"rows": plan.rows, "parts": [part.to_json() for part in plan.parts]},
        )
        for line in plan.table():
            self.say(line)
        return results

    def train(self) -> TrainingResult:
        """Fine-tune the recipe's model on the mixture of all parts.

        Raises:
            ConfigError: No model is named, or it is none that can learn several tasks.
            TrainingError: Training cannot start or had to stop.
        """
        trainer = self._trainer(self._family())
        parts = self.parts
        fingerprint = self._training_fingerprint(trainer.name, parts)
        if all(part.manifest.is_done("train", fingerprint) for part in parts.values()):
            self.say(f"train: done before with the same data and settings ({self.model_folder})")
            return read_training(self.folder)
        job = self._job(parts)
        self.say(
            f"train: {trainer.name} on {len(parts)} parts, {len(job.validation)} rows to validate, from {job.model}"
        )
        with exclusive_lock(self.folder):
            result = trainer.train(job)
        for notice in result.notices:
            self.say(f"train: {notice}")
        write_json(self.folder / "training.json", attrs.asdict(result))
        self.save()
        for part in parts.values():
            part.finished("train", fingerprint, {"steps": result.steps, **result.counts, "best": dict(result.best)})
        return result

    def predict(self) -> dict[str, Path]:
        """Answer each part's split with the one model; return the files."""
        return {name: part.predict() for name, part in self.parts.items()}

    def evaluate(self) -> dict[str, Report]:
        """Score every part; write a report for each, and one that has them side by side."""
        from instructforge.report.overview import write_overview

        reports = {name: part.evaluate() for name, part in self.parts.items()}
        plan = json.loads((self.folder / "mixture.json").read_text(encoding="utf-8"))
        write_overview({name: report.to_json() for name, report in reports.items()}, plan, self.folder)
        return reports

    def all(self) -> dict[str, Report]:
        """Carry out every stage in turn; return the reports."""
        self.check()
        self.build()
        self.train()
        self.predict()
        return self.evaluate()

    def missed_gates(self, reports: Mapping[str, Report]) -> list[str]:
        """Return a line for each gate of the recipe that a part with that metric does not reach."""
        lines = []
        for name, least in self.recipe.evaluate.gates.items():
            for part, report in reports.items():
                figure = report.metrics.get(name)
                if figure is not None and (figure["value"] is None or figure["value"] < least):
                    lines.append(f"gate missed: {name} of {part} is {figure['value']}, not {least}")
        return lines

    # --- Parts ---------------------------------------------------------------------------------------

    def _part(self, name: str, part: MixPart) -> Run:
        recipe = self.recipe
        task = self.forge.tasks.get(part.task or name)
        own = attrs.evolve(
            recipe,
            mix=None,
            task=task.name,
            data=part.data,
            language=part.language or recipe.language,
            build=part.build or recipe.build,
            predict=attrs.evolve(recipe.predict, decoder=part.decoder or recipe.predict.decoder or task.decoder_name),
            evaluate=attrs.evolve(recipe.evaluate, gates={}),
        )
        return Run(
            folder=self.folder / "parts" / name,
            recipe=own,
            forge=self.forge,
            base=self.base,
            say=lambda line: self.say(f"{name}: {line}"),
            progress=lambda stage, done, total: self.progress(f"{stage} {name}", done, total),
            model_in=self.model_folder,
        )

    def _named(self, name: str, check: Any) -> None:
        try:
            check()
        except ConfigError as error:
            raise ConfigError([f"mix.parts.{name}: {problem}" for problem in error.problems]) from None

    def _family(self) -> str:
        from instructforge.models import family_of, resolve

        if not self.recipe.model:
            raise ConfigError("the recipe names no model; give `model:` (or --model), such as smollm2-135m")
        family = family_of(resolve(self.recipe.model, forge=self.forge))
        if family != "causal":
            raise ConfigError(
                f'"{self.recipe.model}" is an {family} model: its head serves one task, and the recipe mixes '
                f"{len(self.mix.parts)}.\nA causal model answers every task in text.\n"
                "Name a causal model, such as smollm2-135m, or train one encoder a task."
            )
        return family

    def _trainer(self, family: str) -> Trainer:
        return trainer_for(self.forge, family, "text", self.recipe.train.trainer)

    def _rows(self, split: str) -> dict[str, Sequence[Instruction]]:
        built = {name: part for name, part in self.parts.items() if split in split_names(part.folder)}
        return {name: part.instructions(split) for name, part in built.items()}

    def _mixture(self) -> Mixture:
        mix, rows = self.mix, self._rows("train")
        missing = [name for name in mix.parts if name not in rows]
        if missing:
            raise ConfigError([f"mix.parts.{name}: no row of it is in the split train" for name in missing])
        settings = MixSettings(**{part.name: getattr(mix, part.name) for part in attrs.fields(MixSettings)})
        return Mixture(
            rows,
            settings,
            weights={name: part.weight for name, part in mix.parts.items()},
            groups={name: part.group or name for name, part in mix.parts.items()},
            seed=self.recipe.seed,
        )

    def _job(self, parts: Mapping[str, Run]) -> TrainingJob:
        from instructforge.models import resolve

        def log(step: int, values: Mapping[str, float]) -> None:
            self.forge.emit("train_logged", run=self.folder, step=step, values=values)
            self.progress("train", step, int(values["steps"]) if "steps" in values else None)

        mixture = self._mixture()
        return TrainingJob(
            task=Task(NAME, summary=", ".join(parts), fields={}, target=Text()),
            tasks={name: part.task for name, part in parts.items()},
            train=mixture.rows,
            mixture=mixture,
            validation=Joined(list(self._rows("validation").values())),
            model=resolve(self.recipe.model or "", forge=self.forge),
            out=self.model_folder,
            work=self.folder / "work" / "train",
            settings=self.recipe.train.settings,
            templates={key: source for part in parts.values() for key, source in used_templates(part.folder).items()},
            few_shot={name: shots for name, part in parts.items() if (shots := part.few_shot())},
            seed=self.recipe.seed,
            on_log=log,
            say=lambda line: self.say(f"train: {line}"),
            base=self.recipe.model or "",
        )

    def _training_fingerprint(self, trainer: str, parts: Mapping[str, Run]) -> str:
        built = {name: part.manifest.fingerprint("build") for name, part in parts.items()}
        settings = attrs.asdict(self.recipe.train)
        return sha256_of([built, self._mixture().to_json(), self.recipe.model, trainer, settings, self.recipe.seed])
