"""The conformance check finds each breach of the contract, and finds none where there is none."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
from plugin_kit import TEMPLATE, Installation, task_source

from instructforge import (
    Choice,
    DataError,
    Example,
    Normalizer,
    Row,
    Sample,
    Span,
    Task,
    TemplateFolder,
    Text,
    hookimpl,
)
from instructforge.components import Lazy
from instructforge.conformance import CHECKS, ConformanceReport
from instructforge.data import Output, Prediction, SpanAnswer
from instructforge.errors import PluginError, UnknownNameError
from instructforge.testing import ConformanceError, check_plugin

SAMPLES = [Sample("en", {"text": "fine"}, "good"), Sample("en", {"text": "awful"}, "bad")]


def task(**parts: Any) -> Task:
    values = {"summary": "x", "fields": {"text": "x"}, "target": Choice(["good", "bad"]), "samples": SAMPLES}
    return Task("mood", **(values | parts))


def read(row: Row) -> Example:
    if not isinstance(row.values.get("text"), str):
        raise DataError("there is no text", rule="text", field="text")
    return Example(inputs={"text": row.values["text"]})


def mine(values: Any) -> bool:
    return "text" in values


def plugin(tmp_path: Path, templates: dict[str, str] | None = None, **components: list[Any]) -> Any:
    """Return a plugin with one template (or ``templates``) and these components by hook."""
    for key, text in (templates if templates is not None else {"mood/en/plain": TEMPLATE}).items():
        path = tmp_path / f"{key}.jinja"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    parts = {"tasks": [task()], "templates": [TemplateFolder(tmp_path)]} | components
    made = types.SimpleNamespace(__name__="under-test")
    for hook, given in parts.items():

        def provide(given: list[Any] = given) -> list[Any]:
            return given

        def bound(given: list[Any] = given) -> Any:
            def hook_function() -> list[Any]:
                return given

            return hook_function

        function = bound()
        function.__name__ = f"instructforge_{hook}"
        setattr(made, function.__name__, hookimpl(function))
    return made


def problems(source: object, check: str = "") -> str:
    report = check_plugin(source, strict=False)
    assert isinstance(report, ConformanceReport)
    if check:
        assert check in CHECKS
        (found,) = [one for one in report.checks if one.name == check]
        return "\n".join(found.problems)
    return "\n".join(report.problems)


def test_a_plugin_that_keeps_the_contract_passes_every_check(tmp_path: Path) -> None:
    rows = Normalizer("mood-rows", task="mood", function=read, accepts=mine)
    report = check_plugin(plugin(tmp_path, normalizers=[rows]))
    assert report.ok
    tried = {one.name: one.tried for one in report.checks}
    assert tried["completions decode to the answer"] == 3  # two samples, and the first with the other label
    assert tried["normalizers keep every row or say why"] > 20
    assert "keeps the contract" in str(report)


def test_strict_raises_an_assertion_with_everything_in_it(tmp_path: Path) -> None:
    source = plugin(tmp_path, {"mood/en/plain": TEMPLATE, "mood/en/odd": "{% block prompt %}{{ txet }}{% endblock %}"})
    source.__name__ = "broken-one"
    with pytest.raises(ConformanceError) as caught:
        check_plugin(source)
    assert isinstance(caught.value, AssertionError)
    assert 'Plugin "broken-one"' in str(caught.value)
    assert "mood/en/odd" in str(caught.value)
    assert not caught.value.report.ok
    assert caught.value.report.to_json()["ok"] is False


def test_a_plugin_that_cannot_be_registered_is_a_finding() -> None:
    report = check_plugin(types.SimpleNamespace(__name__="empty"), strict=False)
    assert not report.ok
    assert "no hooks" in str(report)


def test_names_of_plugins_and_modules() -> None:
    assert check_plugin("builtin", strict=False).plugin == "builtin"
    with pytest.raises(UnknownNameError):
        check_plugin("a-plugin-that-nobody-has")


def test_names_that_do_not_resolve(tmp_path: Path) -> None:
    odd = Normalizer("odd", task="moood", function=read, accepts=mine)
    found = problems(plugin(tmp_path, tasks=[task(decoder="chioce")], normalizers=[odd]), "names of parts resolve")
    assert 'Did you mean "choice"' in found
    assert 'for the task "moood"' in found


def test_lazy_parts_that_do_not_load(tmp_path: Path) -> None:
    parts = [Lazy("gone", "a_module_that_nobody_has:X"), Lazy("no-metric", "collections:OrderedDict")]
    found = problems(plugin(tmp_path, metrics=parts), "lazy parts load")
    assert "a_module_that_nobody_has" in found
    assert '"no-metric"' in found


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([], "has no samples"),
        ([Sample("en", {"text": "fine"}, "goood")], '"goood" is not one of the 2 choices'),
        ([Sample("en", {"text": ""}, "good")], "missing or empty"),
        ([Sample("en", {"text": "fine", "txet": "x"}, "good")], '"txet", which is none of its fields'),
    ],
)
def test_samples_that_are_not_well_formed(tmp_path: Path, samples: list[Sample], reason: str) -> None:
    assert reason in problems(plugin(tmp_path, tasks=[task(samples=samples)]), "samples are well formed")


def test_labels_of_the_same_words(tmp_path: Path) -> None:
    target = Choice({"good": {"en": "fine"}, "bad": {"en": "Fine "}})
    assert "have the same words in en" in problems(
        plugin(tmp_path, tasks=[task(target=target)]), "samples are well formed"
    )


@pytest.mark.parametrize(
    ("templates", "reason"),
    [
        (
            {"mood/en/plain": TEMPLATE.replace("text", "txet")},
            "txet",
        ),
        ({"mood/en/plain": "{% block prompt %}{{ text }"}, "mood/en/plain"),
        ({"mood/en/plain": "{% block prompt %}{{ text }}{% endblock %}"}, "completion"),
        ({"moood/en/plain": TEMPLATE}, 'there is no task "moood"'),
        ({"mood/en/plain": TEMPLATE, "mood/stray": TEMPLATE}, '"mood/stray.jinja" is never found'),
        ({"mood/zh/plain": TEMPLATE}, "samples in en and no template in it"),
        ({"mood/en/plain": TEMPLATE, "mood/zh/plain": TEMPLATE}, "templates in zh and no sample in it"),
    ],
)
def test_templates_that_do_not_fit(tmp_path: Path, templates: dict[str, str], reason: str) -> None:
    assert reason in problems(plugin(tmp_path, templates), "templates compile, fit their task, and are found")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (TEMPLATE.replace("{{ answer }}", "{{ answer if text == 'fine' else '' }}"), "mood/en/plain"),
        ("{% block prompt %}{% if text == 'none' %}{{ text }}{% endif %}{% endblock %}"
         "{% block completion %}{{ answer }}{% endblock %}", "applies to no sample"),
        (TEMPLATE.replace("{{ text }}", "{{ text }}{{ 1 // 0 }}"), "mood/en/plain"),
        ("{% block prompt %}Well?{% endblock %}{% block completion %}{{ answer }}{% endblock %}",
         "no field of the row stands in the prompt"),
    ],
)  # fmt: skip
def test_templates_that_render_badly(tmp_path: Path, template: str, reason: str) -> None:
    assert reason in problems(
        plugin(tmp_path, {"mood/en/plain": template}), "templates render, the same each time"
    ) + problems(plugin(tmp_path, {"mood/en/plain": template}), "templates compile, fit their task, and are found")


def test_a_completion_that_does_not_decode_to_the_answer(tmp_path: Path) -> None:
    same = TEMPLATE.replace("{{ answer }}", "whatever")
    assert "mood/en/plain" in problems(plugin(tmp_path, {"mood/en/plain": same}))
    shouted = TEMPLATE.replace("{{ answer }}", "{{ answer | upper }}")
    free = task(target=Text(), samples=[Sample("en", {"text": "fine"}, "an answer")])
    source = plugin(tmp_path / "2", {"mood/en/plain": shouted}, tasks=[free])
    found = problems(source, "completions decode to the answer")
    assert 'reads "AN ANSWER" as "AN ANSWER", not as "an answer"' in found


def test_an_inverted_template_that_completes_with_something_else(tmp_path: Path) -> None:
    inverted = (
        '{% set inverted = "text" %}{% block prompt %}Write what is {{ answer }}.{% endblock %}'
        "{% block completion %}{{ text }}!{% endblock %}"
    )
    report = check_plugin(plugin(tmp_path, {"mood/en/write": inverted}), strict=False)
    assert not report.ok
    right = inverted.replace("}}!", "}}")
    assert check_plugin(plugin(tmp_path / "2", {"mood/en/write": right}), strict=False).problems == ()


def test_no_answer_makes_the_round_trip_too(tmp_path: Path) -> None:
    passage = "The lamp is red."
    spans = task(
        fields={"passage": "x", "question": "x"},
        target=Span(within="passage", nullable=True),
        samples=[
            Sample("en", {"passage": passage, "question": "Which colour?"}, SpanAnswer("red", passage.index("red")))
        ],
    )
    ask = "{% block prompt %}{{ passage }} {{ question }}{% endblock %}{% block completion %}{{ answer }}{% endblock %}"
    report = check_plugin(plugin(tmp_path, {"mood/en/ask": ask}, tasks=[spans]), strict=False)
    assert report.problems == ()
    deaf = ask.replace("{{ answer }}", "{{ answer if answer in passage else 'no' }}")
    found = problems(plugin(tmp_path / "2", {"mood/en/ask": deaf}, tasks=[spans]), "completions decode to the answer")
    assert "sample-en-0-0" in found


class Decoder:
    name = "mine"
    needs = "text"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def decode(self, outputs: Any, instructions: Any, task: Task) -> list[Prediction]:
        made = [self.one(output, instruction) for output, instruction in zip(outputs, instructions, strict=True)]
        return made[:-1] if self.fault == "drops" and len(made) > 1 else made

    def one(self, output: Output, instruction: Any) -> Prediction:
        known = output.text in ("good", "bad")
        if self.fault == "raises" and not known:
            raise KeyError(output.text)
        if self.fault == "silent" and not known:
            return Prediction(id=instruction.id, answer=None)
        identity = "someone" if self.fault == "anonymous" else instruction.id
        return Prediction(id=identity, answer=output.text if known else None, error=None if known else "unknown")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("none", ""),
        ("raises", "raises on junk"),
        ("drops", "8 predictions for 9 outputs"),
        ("silent", "neither an answer nor a reason"),
        ("anonymous", "without the id"),
    ],
)
def test_decoders_on_junk(tmp_path: Path, fault: str, reason: str) -> None:
    found = problems(plugin(tmp_path, tasks=[task(decoder="mine")], decoders=[Decoder(fault)]), "decoders survive junk")
    assert reason in found
    assert bool(found) == bool(reason)


class Metric:
    name = "mine"

    def __init__(self, higher_is_better: bool, right: float) -> None:
        self.higher_is_better = higher_is_better
        self.right = right

    def prepare(self, predictions: Any, examples: Any, task: Task) -> Any:
        import numpy as np

        pairs = zip(predictions, examples, strict=True)
        return np.array([self.right if one.answer in example.answers else 0.5 for one, example in pairs])

    def reduce(self, prepared: Any, rows: Any) -> float:
        return float(prepared[rows].mean())


@pytest.mark.parametrize(
    ("better", "right", "wrong"), [(True, 1.0, 0), (False, 0.0, 0), (True, 0.0, 1), (True, 0.5, 1)]
)
def test_metrics_that_do_not_know_gold_from_junk(tmp_path: Path, better: bool, right: float, wrong: int) -> None:
    source = plugin(tmp_path, tasks=[task(metrics=["mine"])], metrics=[Metric(better, right)])
    assert bool(problems(source, "gold scores best, junk worst")) == bool(wrong)


def _raises(row: Row) -> Example:
    return Example(inputs={"text": row.values["text"].strip()})


def _drops(row: Row) -> list[Example]:
    return [Example(inputs=dict(row.values))] if row.values.get("text") else []


def _odd(row: Row) -> Any:
    return "an example"


def _deep(row: Row) -> Example:
    """Fails only where one column is there and another is not what it should be."""
    if not isinstance(row.values.get("text"), str):
        raise DataError("no text", rule="text")
    return Example(inputs={"text": row.values["text"]}, answers=(row.values["label"].lower(),))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_raises, "instead of a DataError"),
        (_drops, "drops a row without a DataError"),
        (_odd, "gave str, not examples"),
        (_deep, "instead of a DataError"),
    ],
)
def test_normalizers_that_lose_rows_or_fall_over(tmp_path: Path, function: Any, reason: str) -> None:
    rows = Normalizer("mood-rows", task="mood", function=function, accepts=mine)
    assert reason in problems(plugin(tmp_path, normalizers=[rows]), "normalizers keep every row or say why")


def test_a_sniffer_that_falls_over(tmp_path: Path) -> None:
    rows = Normalizer("mood-rows", task="mood", function=read, accepts=_starts_well)
    assert "accepts() of normalizer" in problems(
        plugin(tmp_path, normalizers=[rows]), "normalizers keep every row or say why"
    )


def _starts_well(values: Any) -> bool:
    return bool(values["text"].startswith("x"))


def test_what_cannot_be_sent_to_workers(tmp_path: Path) -> None:
    def closure(row: Row) -> Example:
        return read(row)

    rows = Normalizer("mood-rows", task="mood", function=closure, accepts=mine)
    found = problems(plugin(tmp_path, normalizers=[rows]), "tasks, normalizers and templates reach workers")
    assert 'normalizer "mood-rows" cannot be sent to a worker' in found


class Reader:
    name = "mine"
    suffixes = (".mine",)

    def accepts(self, path: Path, head: bytes) -> bool:
        return path.suffix == ".mine"

    def read(self, path: Path, options: Any) -> Any:
        yield path.read_text(encoding="utf-8")


def test_readers_that_fall_over_or_yield_something_else(tmp_path: Path) -> None:
    found = problems(plugin(tmp_path, readers=[Reader()]), "readers yield rows or say why")
    assert "UnicodeDecodeError" in found
    assert "yields str, not Row or DataError" in found


@pytest.mark.parametrize(
    ("line", "reason"),
    [("import numpy", "imports numpy"), ("print('hello there')", 'prints when it is imported: "hello there"')],
)
def test_an_import_that_is_slow_or_talks(
    tmp_path: Path, line: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "talks" if "print" in line else "slow"
    (tmp_path / f"{name}_plugin.py").write_text(f"{line}\n{task_source('slow-task')}")
    assert reason in problems(f"{name}_plugin", "it imports fast and in silence")


def test_a_heavy_import_inside_a_provider_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = task_source("late-task").replace('yield Task("late-task"', 'import numpy; yield Task("late-task"')
    (tmp_path / "late_plugin.py").write_text(source)
    assert "imports numpy" in problems("late_plugin", "it imports fast and in silence")


def test_a_check_that_breaks_off_is_a_finding(tmp_path: Path) -> None:
    class Odd(Text):
        def words(self, answer: Any, language: str) -> str:
            raise RuntimeError("no words")

    odd = task(target=Odd(), samples=[Sample("en", {"text": "fine"}, "an answer")])
    assert "no words" in problems(plugin(tmp_path, tasks=[odd]))


@pytest.mark.slow
def test_an_installed_plugin_that_failed_is_checked_with_its_reason(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add("broken", "raise ValueError('no luck')")
    result = installation.run("check", "broken")
    assert result.returncode == 1
    assert "no luck" in result.stdout
    everything = installation.run("check", "--json")
    assert everything.returncode == 1
    assert '"plugin": "broken"' in everything.stdout


def test_every_error_of_a_plugin_is_a_plugin_error() -> None:
    assert issubclass(ConformanceError, PluginError)
