"""The whole loop in a script, part by part: raw files → instructions → model → answers → scores."""

from importlib.resources import files
from pathlib import Path

from instructforge import Forge, report
from instructforge.building import BuildSettings, InstructionSet, Source, build, used_templates
from instructforge.engines import open_engine
from instructforge.evaluation import evaluate
from instructforge.models import resolve
from instructforge.training.job import TrainingJob

DATA = Path(str(files("instructforge"))) / "quickstart_data" / "en"
RUN = Path("runs/compose")

forge = Forge.discover()
task = forge.tasks.get("nli")

sources = [Source(DATA / "nli.train.tsv", split="train"), Source(DATA / "nli.test.tsv", split="test")]
print(build(forge, task, sources, RUN, BuildSettings(seed=7)).ledger)
train, test = InstructionSet(RUN, "train"), InstructionSet(RUN, "test")

job = TrainingJob(task=task, train=train, model=resolve("minilm"), out=RUN / "model", work=RUN / "work",
                  settings={"epochs": 3}, templates=used_templates(RUN), decoder="choice-scores")  # fmt: skip
print(forge.trainers.get("encoder").train(job))

outputs = list(open_engine(RUN / "model").outputs(test, "label_scores"))
predictions = forge.decoders.get("choice-scores").decode(outputs, test, task)
report.show(evaluate(predictions, test, task=task, forge=forge))
