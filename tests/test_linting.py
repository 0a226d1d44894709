"""``templates lint``: each thing that it looks for is found where it is, and not where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from instructforge import Choice, Example, Sample, Task, Text
from instructforge.cli import main
from instructforge.linting import LintReport, lint
from instructforge.plugins import Forge
from instructforge.tasks import Field
from instructforge.templates import Template, compile_template

MOOD = Task(
    "mood",
    summary="How a sentence sounds",
    fields={"text": "the sentence", "title": Field("its title", optional=True), "hint": "what to look at"},
    target=Choice({"good": {"en": "good"}, "bad": {"en": "bad"}}),
    samples=[
        Sample("en", {"text": "What a day.", "hint": "day"}, "good"),
        Sample("en", {"text": "It broke at once.", "hint": "broke"}, "bad"),
    ],
)
REPLY = Task("reply", summary="Reply", fields={"text": "what was said"}, target=Text())


def template(source: str, task: Task = MOOD, name: str = "x") -> Template:
    return compile_template(source, task=task, language="en", name=name)


def found(*sources: str, task: Task = MOOD, rows: list[Example] | None = None) -> LintReport:
    templates = [template(source, task, f"t{number}") for number, source in enumerate(sources)]
    return lint(Forge(), task, templates, rows)


def rules(report: LintReport) -> dict[str, str]:
    return {finding.rule: finding.level for finding in report.findings}


SOUND = (
    "{% block prompt %}{{ title }} {{ text }} ({{ hint }})\nHow does it sound?{% endblock %}"
    "{% block completion %}{{ answer }}{% endblock %}"
)


def test_a_sound_template_is_left_alone() -> None:
    report = found(SOUND)
    assert report.findings == ()
    (lengths,) = report.lengths
    assert lengths["rows"] == 2
    assert lengths["prompt"] == [8, 8, 9, 9]
    assert lengths["completion"] == [1, 1, 1, 1]


def test_fields_that_are_left_out() -> None:
    report = found("{% block prompt %}{{ text }}?{% endblock %}{% block completion %}{{ answer }}{% endblock %}")
    assert {(one.rule, one.level) for one in report.findings} == {("field-unused", "warning"), ("field-unused", "note")}
    assert ['"hint"' in one.message for one in report.findings] == [True, False]


def test_a_space_before_the_answer() -> None:
    assert rules(found(SOUND.replace("sound?{%", "sound? {%"))) == {"trailing-space": "warning"}


def test_an_empty_prompt_and_rows_it_never_applies_to() -> None:
    report = found(SOUND.replace("{{ title }}", "{% if false %}").replace("sound?", "sound?{% endif %}"))
    assert rules(report)["never-applies"] == "warning"


def test_what_draws_by_chance_is_noted() -> None:
    assert rules(found(SOUND.replace("How", "{{ ['How', 'In what way']|random }}"))) in ({"draws": "note"}, {})
    drawing = "{{ ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']|random }} {{ [1, 2, 3, 4, 5, 6]|random }}"
    assert rules(found(SOUND.replace("How", drawing))) == {"draws": "note"}


def test_randomness_without_a_seed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    made = template(SOUND)
    count = iter(range(100))
    real = type(made).render

    def render(self: Template, example: Example, *, seed: int) -> Any:
        from attrs import evolve

        good = real(self, example, seed=seed)
        first = evolve(good.messages[0], content=f"{good.messages[0].content} {next(count)}")
        return evolve(good, messages=(first, *good.messages[1:]))

    monkeypatch.setattr(type(made), "render", render)
    assert rules(lint(Forge(), MOOD, [made]))["unseeded-randomness"] == "error"


def test_a_completion_that_cannot_be_read_back() -> None:
    said = {"sample-en-0": "a", "sample-en-1": "b"}
    rows = [Example(inputs={"text": text}, answers=(f"Well, {text}",), id=id) for id, text in said.items()]
    source = "{% block prompt %}{{ text }}{% endblock %}{% block completion %}{{ answer|upper }}{% endblock %}"
    report = found(source, task=REPLY, rows=rows)
    assert rules(report)["not-recoverable"] == "error"
    (finding,) = [one for one in report.findings if one.rule == "not-recoverable"]
    assert (finding.rows, finding.of) == (2, 2)
    assert finding.example == "sample-en-0"


def test_an_answer_that_stands_in_the_prompt() -> None:
    rows = [
        Example(inputs={"text": f"{number}: they said thank you"}, answers=("they said thank you",), id=str(number))
        for number in range(6)
    ]
    source = "{% block prompt %}{{ text }}{% endblock %}{% block completion %}{{ answer }}{% endblock %}"
    assert rules(found(source, task=REPLY, rows=rows))["answer-in-prompt"] == "warning"
    hidden = [Example(inputs={"text": f"{row.id}?"}, answers=row.answers, id=row.id) for row in rows]
    assert "answer-in-prompt" not in rules(found(source, task=REPLY, rows=hidden))


def test_listed_choices_give_nothing_away() -> None:
    listed = SOUND.replace("How", "{{ choices|join(' or ') }}? How")
    assert "answer-in-prompt" not in rules(
        found(listed, rows=[sample.to_example(n) for n, sample in enumerate(MOOD.samples * 4)])
    )


def test_two_templates_that_say_the_same() -> None:
    other = SOUND.replace("How does it sound?", "how does it sound ?")
    report = found(SOUND, other, SOUND.replace("How does it sound?", "Say whether this is a good or a bad one."))
    assert [(one.template, one.rule) for one in report.findings] == [("mood/en/t1", "renders-alike")]


def test_an_inverted_template_that_shows_what_it_asks_for() -> None:
    rows = [Example(inputs={"text": "It was late.", "hint": "It was late."}, answers=("bad",), id="1")]
    source = (
        '{% set inverted = "text" %}{% block prompt %}{% if answer is defined %}{{ answer }}: {{ hint }}{% endif %}'
        "{% endblock %}"
    )
    assert rules(found(source, rows=rows))["answer-leaks"] == "warning"


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def test_a_file_that_no_plugin_has(tmp_path: Path) -> None:
    folder = tmp_path / "nli" / "en"
    folder.mkdir(parents=True)
    path = folder / "mine.jinja"
    completion = "{% block completion %}{{ answer }}{% endblock %}"
    path.write_text("{% block prompt %}{{ premise }} {{ hypothesys }}{% endblock %}" + completion)
    assert "hypothesis" in call("templates", "lint", path, code=1).output  # the nearest name that there is
    path.write_text("{% block prompt %}{{ premise }} ({{ hypothesis }})?{% endblock %}" + completion)
    report = json.loads(call("templates", "lint", tmp_path, "--json").stdout)
    assert report["tasks"][0]["templates"] == ["nli/en/mine"]
    assert "no such task" in call("templates", "lint", path, "--task", "nlj", code=2).stderr


def test_real_rows_are_previewed_under_each_template(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}\n')
    made = json.loads(call("templates", "preview", "nli/en/*", "--input", rows, "--json").stdout)["instructions"]
    assert len({one["template"] for one in made}) == len(made) >= 6


def test_listing_still_needs_no_word(tmp_path: Path) -> None:
    assert call("templates").stdout.splitlines() == call("templates", "list").stdout.splitlines()
    assert all(
        line.split()[0].startswith("nli/zh")
        for line in call("templates", "nli", "--language", "zh").stdout.splitlines()
    )


def test_the_templates_of_the_installed_plugins_are_sound() -> None:
    forge = Forge.discover()
    for name in forge.tasks:
        report = lint(forge, forge.tasks.get(name), [ref.key for ref in forge.templates.refs(task=name)])
        assert not [str(one) for one in report.findings if one.level == "error"]
