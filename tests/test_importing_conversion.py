# ruff: noqa: E501  (a template and what it gives stand on one line)
"""promptsource's templates converted for a task that is there; our templates written as promptsource's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner

from instructforge.cli import main
from instructforge.data import Example, SpanAnswer
from instructforge.errors import ConfigError
from instructforge.importing import promptsource
from instructforge.importing.conversion import Mapped, convert, plan_conversion
from instructforge.importing.pieces import NotConvertible, halves, kept, pieces, source_of
from instructforge.importing.promptsource import Metadata, PromptsourceTemplate
from instructforge.importing.promptsource_writing import as_promptsource, promptsource_row, write_promptsource
from instructforge.tasks import Choice, Field, Ranking, Sample, Span, Task, Text
from instructforge.templates import Template, compile_template

NLI = Task(
    "nli",
    summary="",
    fields={"premise": "a text", "hypothesis": "a claim"},
    target=Choice({"entailment": {"en": "yes"}, "neutral": {"en": "maybe"}, "contradiction": {"en": "no"}}),
    samples=[Sample("en", {"premise": "A man sleeps.", "hypothesis": "He rests."}, "entailment")],
)
QA = Task(
    "qa",
    summary="",
    fields={"question": "q", "context": "c", "title": Field("t", optional=True)},
    target=Span(within="context", nullable=True),
)
PICK = Task(
    "pick",
    summary="",
    fields={"question": "q", "options": Field("o", kind="list")},
    target=Choice(from_field="options"),
)
OPEN = Task("open", summary="", fields={"question": "q"}, target=Text())
PAIRS = {"premise": "premise", "hypothesis": "hypothesis", "answer": "label"}


def template(jinja: str, choices: str | None = None, **named: Any) -> PromptsourceTemplate:
    return PromptsourceTemplate(
        dataset="d", id="1", name=named.pop("name", "t"), jinja=jinja, answer_choices=choices, **named
    )


def converted(one: PromptsourceTemplate, mapped: Mapped) -> Template:
    return compile_template(convert(one, mapped, language="en"), task=mapped.task, language="en", name="t")


def shown(made: Any) -> tuple[str, str]:
    return made.messages[-2].content, made.completion


# --- Pieces ------------------------------------------------------------------------------------------------


def test_halves_close_the_conditions_that_are_open_between_them() -> None:
    parts = halves(pieces("a{% if x %}b ||| c{% if y %}d{% else %}e{% endif %}{% else %}z{% endif %}f"))
    assert source_of(parts.prompt) == "a{% if x %}b {% endif %}"
    assert source_of(parts.target) == " c{% if y %}d{% else %}e{% endif %}f"
    assert [piece.source for piece in parts.around] == ["{% if x %}"]


@pytest.mark.parametrize(
    "jinja",
    [
        "a",
        "a ||| b ||| c",
        "{% for x in y %}a ||| b{% endfor %}",
        "{{ '|||' }} a ||| b",
        "{% raw %}a{% endraw %} ||| b",
        "{% if %",
    ],
)
def test_what_has_no_two_halves(jinja: str) -> None:
    with pytest.raises(NotConvertible):
        halves(pieces(jinja))


def test_white_space_around_tags_is_kept_in_our_templates() -> None:
    source = "a\n  {% if x %}\nb\n{%- endif %}\nc"
    one = compile_template(
        f"{{% block prompt %}}{{% set x = premise %}}{source_of(kept(pieces(source)))}{{% endblock %}}{{% block completion %}}{{{{ answer }}}}{{% endblock %}}",
        task=NLI, language="en", name="t",
    )  # fmt: skip
    made = one.render(NLI.samples[0].to_example(0), seed=1)
    assert made.messages[0].content == "a\n  \nb\nc"


# --- Conversion ----------------------------------------------------------------------------------------------


def test_a_template_of_labels_declares_their_words() -> None:
    one = template(
        "{{premise}} Does it follow: {{hypothesis}} {{ answer_choices | join(' or ') }}? ||| {% if label != -1 %}{{ answer_choices[label] }}{% endif %}",
        "Sure ||| Perhaps ||| Never",
    )
    made = converted(one, Mapped(NLI, PAIRS))
    got = made.render(NLI.samples[0].to_example(0), seed=1)
    assert shown(got) == ("A man sleeps. Does it follow: He rests. Sure or Perhaps or Never?", "Sure")
    assert got.choices == ("Sure", "Perhaps", "Never")
    other = converted(one, Mapped(NLI, PAIRS, {0: "contradiction", 1: "entailment", 2: "neutral"}))
    assert other.render(NLI.samples[0].to_example(0), seed=1).completion == "Perhaps"


def test_words_are_found_out_whatever_the_target_looks_like() -> None:
    for target in (
        "{% if label == 0 %}Sure{% elif label == 1 %}Perhaps{% else %}Never{% endif %}",
        "{{ {0: 'Sure', 1: 'Perhaps', 2: 'Never'}[label] }}",
        "It is: {{ ['s', 'p', 'n'][label] }}",
    ):
        assert converted(template(f"{{{{premise}}}} {{{{hypothesis}}}} ||| {target}"), Mapped(NLI, PAIRS)).label_words[
            0
        ] in ("Sure", "It is: s")


def test_a_template_of_texts_keeps_what_stands_around_the_answer() -> None:
    mapped = Mapped(OPEN, {"question": "q", "answer": "a"})
    made = converted(template("{% if a %}Q: {{ q }} ||| {{ '{' }}A: {{ a }}.{% endif %}"), mapped)
    got = made.render(Example(inputs={"question": "why?"}, answers=("because",), id="1"), seed=1)
    assert shown(got) == ("Q: why?", "{A: because.")
    assert got.affixes == ("{A: ", ".")


def test_answers_within_columns() -> None:
    mapped = Mapped(QA, {"question": "question", "context": "context", "answer": "answers.text[0]"})
    made = converted(template("{{context}} {{question}} ||| {{ answers.text[0] }}"), mapped)
    got = made.render(
        Example(inputs={"question": "Who?", "context": "It was Bob."}, answers=(SpanAnswer("Bob", 7),), id="1"), seed=1
    )
    assert shown(got) == ("It was Bob. Who?", "Bob")


@pytest.mark.parametrize(
    "target", ["{{ answer_choices[key] }}", "{{ opts[key] }}", "{{ {'A': opts[0], 'B': opts[1], 'C': opts[2]}[key] }}"]
)
def test_choices_of_the_row(target: str) -> None:
    mapped = Mapped(PICK, {"question": "stem", "options": "opts", "answer": "key"})
    made = converted(
        template(f"{{{{ stem }}}} {{{{ answer_choices | join(', ') }}}} ||| {target}", "{{ opts | join(' ||| ') }}"),
        mapped,
    )
    got = made.render(
        Example(inputs={"question": "Which?", "options": ["x", "y", "z"]}, answers=("y",), id="1"), seed=1
    )
    assert shown(got) == ("Which? x, y, z", "y")
    assert got.choices == ("x", "y", "z")


def test_a_template_that_asks_for_a_field_is_inverted() -> None:
    mapped = Mapped(OPEN, {"question": "q", "answer": "a"})
    made = converted(template("Write a question for: {{ a }} ||| {{ q }}"), mapped)
    assert made.inverted == "question"
    got = made.render(Example(inputs={"question": "why?"}, answers=("because",), id="1"), seed=1)
    assert shown(got) == ("Write a question for: because", "why?")


def test_draws_of_the_prompt_are_kept() -> None:
    mapped = Mapped(OPEN, {"question": "q", "answer": "a"})
    made = converted(template("{{ ['Q', 'Question'] | choice }}: {{ q }} ||| {{ a }}"), mapped)
    prompts = {
        made.render(Example(inputs={"question": "why?"}, answers=("because",), id=str(n)), seed=1).messages[0].content
        for n in range(20)
    }
    assert prompts == {"Q: why?", "Question: why?"}


@pytest.mark.parametrize(
    ("jinja", "choices", "why"),
    [
        ("{{premise}} {{other}} ||| {{ answer_choices[label] }}", "a ||| b ||| c", 'asks for the column "other"'),
        (
            "{{premise}} {{hypothesis}} {{label}} ||| {{ answer_choices[label] }}",
            "a ||| b ||| c",
            "depends on the answer",
        ),
        ("{{premise}} {{hypothesis}} ||| {{ answer_choices[label] }}", "a ||| b", "no words for the label"),
        (
            "{{premise}} {{hypothesis}} ||| {{ answer_choices[label] }}",
            "a ||| a ||| b",
            "the same words for two labels",
        ),
        ("{{premise}} ||| {{hypothesis}} {{ answer_choices[label] }}", "a ||| b ||| c", "more of the row"),
        ("{{premise}} ||| done", None, "neither the answer nor a field"),
        ("{{premise}}", None, '"|||"'),
        ("{{premise}} {{ hypothesis.x.y }} ||| {{ label }}", None, "has no attribute"),
        ("{{premise}} {{hypothesis}} ||| {{ ['a', 'b'] | choice }}{{ label }}", None, "drawn at random"),
        (
            "{{premise}} {{hypothesis}} {{ answer_choices[0] }} ||| {{ ['a', 'b', 'c'][label] }}",
            "{{premise}} ||| b ||| c",
            "made of the row",
        ),
    ],
)
def test_what_cannot_be_converted_says_why(jinja: str, choices: str | None, why: str) -> None:
    with pytest.raises(NotConvertible, match=why.replace("|", r"\|")):
        convert(template(jinja, choices), Mapped(NLI, PAIRS), language="en")


@pytest.mark.parametrize(
    ("task", "columns", "labels", "why"),
    [
        (NLI, {"premise": "p"}, {}, "say where the answer stands"),
        (NLI, {**PAIRS, "premis": "p"}, {}, 'Did you mean "premise"'),
        (NLI, {**PAIRS, "premise": "__import__('os')"}, {}, "is no place in a row"),
        (NLI, PAIRS, {0: "entailed"}, 'Did you mean "entailment"'),
        (
            Task("r", summary="", fields={"items": Field("i", kind="list")}, target=Ranking(from_field="items")),
            {"answer": "a"},
            {},
            "no template of promptsource",
        ),
    ],
)
def test_wrong_mappings_are_refused(task: Task, columns: dict[str, str], labels: dict[Any, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Mapped(task, columns, labels)


def test_a_plan_counts_what_it_refuses() -> None:
    good = template(
        "{{premise}} {{hypothesis}} ||| {{ answer_choices[label] }}",
        "a ||| b ||| c",
        metadata=Metadata(languages=("fr",)),
    )
    plan = plan_conversion(
        [good, evolve(good, answer_choices="a ||| b", id="2"), evolve(good, id="3")],
        Mapped(NLI, PAIRS),
        name="x",
        source="y",
    )
    report = plan.report
    assert (report.found, report.carried, list(report.refused)) == (3, 2, ["d: t (2)"])
    assert sorted(plan.tasks[0].templates) == ["fr/d-t", "fr/d-t-2"]
    assert report.renamed == {"d t": "d-t-2"}
    assert "0 is entailment" in report.notes[0]


def test_the_command_converts_for_an_installed_task(tmp_path: Path) -> None:
    write_promptsource([template("{{p}} {{h}} ||| {{ answer_choices[y] }}", "a ||| b ||| c")], tmp_path / "t.yaml")
    arguments = ["import", "promptsource", str(tmp_path / "t.yaml"), "--task", "nli", "--into", str(tmp_path / "out")]
    columns = ["--column", "premise=p", "--column", "hypothesis=h", "--column", "answer=y"]
    result = CliRunner().invoke(
        main, [*arguments, *columns, "--label", "2=entailment", "--label", "1=neutral", "--label", "0=contradiction"]
    )
    assert result.exit_code == 0, result.output
    made = (tmp_path / "out" / "out" / "templates" / "nli" / "en" / "d-t.jinja").read_text(encoding="utf-8")
    assert '"entailment": "c"' in made
    result = CliRunner().invoke(main, [*arguments[:-1], str(tmp_path / "none"), *columns[:4], "--column", "answer=z"])
    assert result.exit_code == 2
    assert "nothing could be carried over" in result.output
    assert not (tmp_path / "none").exists()


# --- Ours as theirs ------------------------------------------------------------------------------------------


def ours(prompt: str, task: Task = NLI, head: str = "", completion: str = "{{ answer }}") -> Template:
    return compile_template(
        f"{head}{{% block prompt %}}{prompt}{{% endblock %}}{{% block completion %}}{completion}{{% endblock %}}",
        task=task,
        language="en",
        name="t",
    )


def both(one: Template, inputs: dict[str, Any], answer: Any) -> tuple[tuple[str, str] | None, tuple[str, str]]:
    made = one.render(Example(inputs=inputs, answers=(answer,), id="1"), seed=0)
    row = promptsource_row(one.task, inputs, answer)
    return as_promptsource(one).render(row), (made.messages[0].content, made.completion)


def test_our_templates_give_the_same_text_by_promptsource_s_rules() -> None:
    pair = {"premise": "A man sleeps.", "hypothesis": "He rests."}
    listed = "{% for word in choices %}\n  {{ letters[loop.index0] }}. {{ word }}\n{% endfor %}\n{{ premise }} {{ hypothesis }}"
    for one in (
        ours(listed, head='{% set choices = "letters" %}'),
        ours(listed),
        ours(
            "{{ premise }} {{ hypothesis }}",
            head='{% set choices = {"entailment": "so", "neutral": "hm", "contradiction": "not so"} %}',
            completion="It is {{ answer }}.",
        ),
        ours(
            "{% set x = premise %}\n{{ x }} {{ hypothesis }} {{ language }}",
            head="{% macro m(y) %}<{{ y }}>{% endmacro %}",
        ),
    ):
        for label in ("entailment", "contradiction"):
            theirs, own = both(one, pair, label)
            assert theirs == own
    theirs, own = both(
        ours("{{ question }}: {{ options | join }}", PICK, '{% set choices = "letters" %}'),
        {"question": "q", "options": ["x", "y"]},
        "y",
    )
    assert theirs == own == ("q: xy", "B")
    theirs, own = both(
        ours("{{ context }} {{ question }}", QA), {"question": "q", "context": "It was Bob."}, SpanAnswer("Bob", 7)
    )
    assert theirs == own


def test_what_promptsource_has_no_form_for_is_told(tmp_path: Path) -> None:
    good = ours("{{ premise }} {{ hypothesis }}")
    chat = ours("{{ premise }} {{ hypothesis }}", head="{% block system %}Be brief.{% endblock %}")
    done = ours("{% do choices.append('x') %}{{ premise }} {{ hypothesis }}")
    named = [
        compile_template(one.source, task=NLI, language="en", name=f"t{n}") for n, one in enumerate((good, chat, done))
    ]
    written = write_promptsource(named, tmp_path / "templates.yaml", dataset="mine", subset="en")
    assert dict(written.refused) == {"nli/en/t1": "it has a system turn", "nli/en/t2": 'it uses "do"'}
    (read,) = promptsource.load_file(tmp_path / "templates.yaml")
    assert (read.dataset_name, read.name, read.answer_choices, read.metadata.languages) == (
        "mine/en",
        "en/t0",
        "yes ||| maybe ||| no",
        ("en",),
    )
    with pytest.raises(ConfigError, match="cannot be written: it has a system turn"):
        write_promptsource([named[1]], tmp_path / "other.yaml")


def test_an_unlabelled_row_has_no_target() -> None:
    made = as_promptsource(ours("{{ premise }} {{ hypothesis }}"))
    assert made.render(promptsource_row(NLI, {"premise": "a", "hypothesis": "b"}, None)) == ("a b", "")
