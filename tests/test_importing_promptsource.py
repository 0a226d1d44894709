# ruff: noqa: E501  (a template and what it gives stand on one line)
"""Import of promptsource: read as data, rendered to its own bytes, carried over as it is, written again."""

from __future__ import annotations

import copy
import io
import json
import os
import sys
import tarfile
import zipfile
from collections import Counter
from datetime import date
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner
from jinja2 import BaseLoader, Environment
from rows_kit import shapes_of

from instructforge.building import InstructionSet, Source, build
from instructforge.cli import main
from instructforge.conformance import check
from instructforge.data import Example
from instructforge.errors import ConfigError, DataError, TemplateError, UnknownNameError
from instructforge.importing import promptsource
from instructforge.importing.as_they_are import answered_by_choice, language_told, plan_as_they_are
from instructforge.importing.promptsource import Metadata, PromptsourceTemplate
from instructforge.importing.promptsource_writing import write_promptsource
from instructforge.importing.writing import write_plugin
from instructforge.plugins import Forge
from instructforge.templates.asis import promptsource_parts

RTE = """\
dataset: glue
subset: rte
templates:
  11111111-0000-0000-0000-000000000001: !Template
    answer_choices: Yes ||| No
    id: 11111111-0000-0000-0000-000000000001
    jinja: '{{premise}} Is it true that "{{hypothesis}}"? ||| {% if label != -1 %}{{ answer_choices[label]
      }}{% endif %}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
      metrics: [Accuracy]
      original_task: true
      languages: [en]
    name: Is it true?
    reference: somebody 2021
  11111111-0000-0000-0000-000000000002: !Template
    answer_choices: null
    id: 11111111-0000-0000-0000-000000000002
    jinja: "{% set words = [] %}{% for w in premise.split() %}{{ words.append(w) or '' }}{% endfor %}\\
      Say more: {{ words | join('_') }} ||| {{hypothesis}}"
    metadata: !TemplateMetadata {choices_in_prompt: null, metrics: [ROUGE, COQA F1], original_task: false}
    name: is it true
    reference: ''
"""
ROW = {"premise": "A man sleeps.", "hypothesis": "He rests.", "label": 0}


def template(jinja: str, choices: str | None = None, **named: Any) -> PromptsourceTemplate:
    return PromptsourceTemplate(
        dataset="d", id="1", name=named.pop("name", "t"), jinja=jinja, answer_choices=choices, **named
    )


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "templates" / "glue" / "rte"
    folder.mkdir(parents=True)
    (folder / "templates.yaml").write_text(RTE, encoding="utf-8")
    return tmp_path / "templates"


# --- Reading ---------------------------------------------------------------------------------------------


def test_reads_a_folder_a_file_an_sdist_and_a_wheel(collection: Path, tmp_path: Path) -> None:
    file = collection / "glue" / "rte" / "templates.yaml"
    with tarfile.open(tmp_path / "promptsource-0.tar.gz", "w:gz") as archive:
        archive.add(file, "promptsource-0/promptsource/templates/glue/rte/templates.yaml")
        archive.addfile(tarfile.TarInfo("promptsource-0/setup.py"), io.BytesIO())
    with zipfile.ZipFile(tmp_path / "promptsource-0.whl", "w") as wheel:
        wheel.write(file, "promptsource/templates/glue/rte/templates.yaml")
    for path in (collection, file, tmp_path / "promptsource-0.tar.gz", tmp_path / "promptsource-0.whl"):
        found = promptsource.load(path)
        assert (len(found), found.files, found.failures, found.datasets) == (2, 1, (), ["glue/rte"])
        first = found.dataset("glue/rte")[0]
        assert first.metadata == Metadata(
            original_task=True, choices_in_prompt=True, metrics=("Accuracy",), languages=("en",)
        )
        assert first.render(ROW) == ('A man sleeps. Is it true that "He rests."?', "Yes")
    assert promptsource.load_file(file) == list(found)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("dataset: d\ntemplates:\n  a: !!python/object/apply:os.system ['true']\n", "has the tag"),
        ("dataset: d\ntemplates: !function os.system\n", "has the tag"),
        ("templates: {}\n", "does not name its data set"),
        ("- a\n", "no mapping of templates"),
        ("dataset: [\n", "is not YAML"),
        ("", "holds nothing"),
        (
            "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
            + "".join(f"{c}: &{c} [{', '.join(['*' + chr(ord(c) - 1)] * 9)}]\n" for c in "cdefghij"),
            "more than",
        ),
        ("a: &a {b: *a}\n", "holds itself"),
        ("[" * 100_000, "nested more than"),
        ("dataset: d\ntemplates:\n  a: !Template {name: n, jinja: [1]}\n", 'no text as its "jinja"'),
        (
            "dataset: d\ntemplates:\n  a: !Template {name: n, jinja: x, answer_choices: Yes}\n",
            "Put the choices into quotes",
        ),
        ("a: " + "1:" * 1_000_000 + "1\n", "has a number of"),
    ],
)
def test_hostile_and_broken_files_are_refused(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=what):
        promptsource.load(path)


def test_a_bad_file_and_a_bad_template_cost_themselves_alone(collection: Path) -> None:
    bad = collection / "bad" / "templates.yaml"
    bad.parent.mkdir()
    bad.write_bytes(b"\xff\xfenot text")
    other = collection / "glue" / "templates.yaml"
    other.write_text(
        "dataset: glue\ntemplates:\n  x: !Template {name: n, jinja: '{{a}} ||| {{b}}'}\n  y: 3\n", encoding="utf-8"
    )
    (collection / "loop").symlink_to(collection)
    found = promptsource.load(collection)
    assert len(found) == 3
    assert [error.rule for error in found.failures] == ["encoding", "promptsource"]
    with pytest.raises(UnknownNameError, match="glue/rte"):
        found.dataset("glue/rt")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08junk", b"PK\x03\x04junk"])
@pytest.mark.parametrize("name", ["a.tar.gz", "a.whl"])
def test_a_damaged_archive_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError):
        promptsource.load(tmp_path / name)


def test_a_folder_without_templates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no templates\.yaml"):
        promptsource.load(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        promptsource.load(tmp_path / "nothing.yaml")


# --- Rendering -------------------------------------------------------------------------------------------


def test_a_template_may_pass_a_row_over() -> None:
    one = template("{% if y %}{{ x }} ||| {{ y }}{% endif %}")
    assert one.render({"x": "a", "y": "b"}) == ("a", "b")
    assert one.render({"x": "a", "y": ""}) is None
    assert one.apply({"x": "a", "y": ""}) == [""]


def test_a_text_of_one_or_three_parts_is_an_error() -> None:
    for jinja in ("{{ x }}", "{{ x }} ||| {{ x }} ||| {{ x }}"):
        with pytest.raises(TemplateError, match="not a prompt and a target") as found:
            template(jinja).render({"x": "a"})
        assert found.value.rule == "parts"


def test_a_separator_in_the_data_parts_nothing() -> None:
    one = template(
        "{{ x }} {{ xs[0] }} {{ d }} {{ answer_choices | join(', ') }} ||| {{ answer_choices[1] }}",
        "{{ x }} ||| {{ xs | join('|||') }}",
    )
    row = {"x": "a|||b", "xs": ["c|||d", "e"], "d": {"k": "f|||g"}}
    assert one.render(row) == ("a|||b c|||d {'k': 'f|||g'} a|||b, c|||d, e", "c|||d")
    assert one.choices(row) == ["a|||b", "c|||d", "e"]


def test_no_text_is_cut() -> None:
    long = "word " * 2_000
    made = template("{{ x }} ||| {{ x }}").render({"x": long})
    assert made == (long.strip(), long.strip())


def test_what_a_template_does_to_its_lists_stays_with_it() -> None:
    row = {"xs": ["b", "a"], "d": {"k": 1}}
    before = copy.deepcopy(row)
    one = template(
        "{{ xs.append('c') or '' }}{% set _ = d.update({'k': 2}) %}{{ xs | join }} {{ d.k }} ||| {{ xs.pop() }}"
    )
    assert one.render(row) == one.render(row) == ("bac 2", "c")
    assert row == before


def test_choice_is_drawn_from_the_seed() -> None:
    one = template("{{ ['a', 'b', 'c', 'd'] | choice }} ||| x")
    assert not one.deterministic
    drawn = [one.render({}, seed=seed) for seed in range(40)]
    assert drawn == [one.render({}, seed=seed) for seed in range(40)]
    assert {made[0] for made in drawn if made} == set("abcd")
    with pytest.raises(TemplateError):
        template("{{ xs | choice }} ||| x").render({"xs": []})


def test_filters_of_promptsource() -> None:
    assert template("{{ xs | most_frequent | join(',') }} ||| {{ x | highlight }}").render(
        {"xs": ["b", "a", "b", "a", "c"], "x": "y"}
    ) == ("b,a", "<span style='color: #F08080'>y</span>")
    assert template("{{ xs | most_frequent }} ||| x").render({"xs": []}) == ("None", "x")
    assert template("{% for a, b in zip(xs, xs[1:]) %}{{ a }}{{ b }} {% endfor %}|||x").render({"xs": "abc"}) == (
        "ab bc",
        "x",
    )


def test_names_that_are_not_there_are_empty_and_errors_are_errors() -> None:
    assert template("{{ nothing }}a{{ row.x }} ||| b").render({"row": {}}) == ("a", "b")
    with pytest.raises(TemplateError, match="undefined"):
        template("{{ nothing.x }} ||| b").render({})
    with pytest.raises(TemplateError, match="answer_choices"):
        template("a ||| b").render({"answer_choices": 1})
    with pytest.raises(TemplateError):
        template("{% if %}").render({})


def test_white_space_is_kept_as_stock_jinja_keeps_it() -> None:
    assert template("a\n{% if x %}\n  b\n{% endif %}\nc ||| d").render({"x": 1}) == ("a\n\n  b\n\nc", "d")


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x | attr('__class__') }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**9 }}",
    ],
)
def test_templates_are_bounded(jinja: str) -> None:
    with pytest.raises(TemplateError):
        template(f"{jinja} ||| x").render({"x": "y"})


def test_dates_are_shown_as_their_texts() -> None:
    assert template("{{ day }} ||| {{ raw }}").render({"day": date(2020, 1, 2), "raw": b"x"}) == ("2020-01-02", "b'x'")


# --- Kinds of answers and languages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        ("{{ answer_choices[label] }}", True),
        ("{% if label != -1 %}{{ answer_choices[label] }}{% endif %}", True),
        ("{% if label %}{{ answer_choices[0] }}{% else %}{{ answer_choices[1] }}{% endif %}", True),
        ("It is {{ answer_choices[label] }}", False),
        ("{{ answer_choices[0] }} {{ answer_choices[1] }}", False),
        ("{% for l in labels %}{{ answer_choices[l] }}{% endfor %}", False),
        ("Yes", False),
        ("{{ answer_choices[1:] }}", False),
    ],
)
def test_what_is_answered_by_a_choice(target: str, chosen: bool) -> None:
    assert answered_by_choice(template(f"{{{{ x }}}} ||| {target}", "a ||| b")) is chosen
    assert not answered_by_choice(template(f"{{{{ x }}}} ||| {target}", None))


def test_languages() -> None:
    assert language_told(template("{{ x }}", metadata=Metadata(languages=("fr",))), "de") == "fr"
    assert language_told(template("{{ x }}", metadata=Metadata(languages=("fr", "en"))), "de") == "de"
    assert language_told(template("{{ English }} 下面这句话的情感是什么？ ||| {{ y }}")) == "zh"
    assert language_told(template("{{ x }}", metadata=Metadata(languages=("../..",)))) == "en"


# --- As they are ---------------------------------------------------------------------------------------------


def loaded(folder: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)
    return import_module(module)


def test_a_data_set_becomes_tasks_of_its_columns(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = promptsource.load(collection)
    plan = plan_as_they_are(
        found, name="glue-rte-as-it-is", source="x", dataset="glue/rte", samples=[ROW, {**ROW, "label": 1}]
    )
    files = write_plugin(plan, tmp_path / "out")
    assert all(path.is_file() for path in files)
    assert plan.report.to_json()["carried"] == 2
    assert plan.report.left_out == {"glue-rte": ["metrics: COQA F1"]}
    module = loaded(tmp_path / "out", "glue_rte_as_it_is", monkeypatch)
    forge = Forge([module])
    keys = [ref.key for ref in forge.templates.refs()]
    assert keys == ["glue-rte-choice/en/is-it-true", "glue-rte/en/is-it-true"]
    made = forge.template(keys[0]).render(Example(inputs=ROW, answers=(), id="1"), seed=1)
    assert (made.messages[0].content, made.completion, made.choices) == (
        'A man sleeps. Is it true that "He rests."?',
        "Yes",
        ("Yes", "No"),
    )
    assert made.example.answers == ("Yes",)
    assert [(one.field, one.message) for one in made.landings] == [("premise", 0), ("hypothesis", 0)]
    report = check(module)
    assert report.ok, str(report)


def test_rows_are_built_with_the_answers_of_their_templates(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(plan_as_they_are(promptsource.load(collection), name="built", source="x"), tmp_path / "out")
    forge = Forge([loaded(tmp_path / "out", "built", monkeypatch)])
    rows = [{"premise": f"p{n}", "hypothesis": "h", "label": n % 2} for n in range(8)]
    rows += [
        {"premise": "p", "hypothesis": "h", "label": -1},
        {"other": 1},
        {"premise": "p", "hypothesis": "h", "label": "x"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = build(forge, "glue-rte-choice", [Source(str(tmp_path / "rows.jsonl"), split="train")], tmp_path / "run")
    totals = made.ledger["totals"]
    assert (totals["read"], totals["built"], totals["quarantined"], totals["unlabelled"]) == (11, 10, 1, 2)
    for one in InstructionSet(tmp_path / "run", "train"):
        label = one.example.inputs["label"]
        assert one.completion == ({0: "Yes", 1: "No"}.get(label, ""))
        assert one.example.answers == ((one.completion,) if one.completion else ())


def test_names_are_contained_and_told_apart(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "a/b", "a b", "中文", "con", "." * 300, "A_B"]
    templates = [template("{{ x }} ||| {{ y }}", name=name) for name in names]
    plan = plan_as_they_are(
        promptsource.Collection(tuple(evolve(one, dataset="../../x", id=str(n)) for n, one in enumerate(templates))),
        name="names",
        source="x",
    )
    files = write_plugin(plan, tmp_path / "out")
    assert all(path.resolve().is_relative_to((tmp_path / "out").resolve()) for path in files)
    assert plan.report.carried == len(names) == len({path for path in files if path.suffix == ".jinja"})
    assert {"x: a b": "a-b-2", "x: A_B": "a-b-3"}.items() <= plan.report.renamed.items()
    with pytest.raises(ConfigError, match="exists already"):
        write_plugin(plan, tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be the name"):
        write_plugin(evolve(plan, name="json"), tmp_path / "other")


def test_a_template_that_cannot_be_compiled_is_refused_with_the_reason(tmp_path: Path) -> None:
    found = promptsource.Collection((template("{{ x }} ||| {{ y }}"), template("{% if %} ||| x", name="broken")))
    plan = plan_as_they_are(found, name="p", source="x")
    assert (plan.report.found, plan.report.carried) == (2, 1)
    assert list(plan.report.refused) == ["d: broken (1)"]


def test_a_choice_that_is_none_of_the_choices_is_an_error_of_the_row(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = template("{{ x }} ||| {{ answer_choices[y] }}", "{{ a }} ||| {{ b }}")
    write_plugin(plan_as_they_are(promptsource.Collection((other,)), name="rows", source="x"), tmp_path / "out")
    forge = Forge([loaded(tmp_path / "out", "rows", monkeypatch)])
    one = forge.template("d/en/t")
    with pytest.raises(TemplateError, match="one of its answer choices is empty"):
        one.render(Example(inputs={"x": "q", "y": 0, "a": "yes", "b": ""}, answers=(), id="1"), seed=1)
    with pytest.raises(TemplateError) as found:
        one.render(Example(inputs={"x": "", "y": 0, "a": "yes", "b": "no"}, answers=(), id="1"), seed=1)
    assert found.value.rule == "not-applicable"


# --- Writing ---------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    odd = [
        "{{ x }}: 'y' \"z\" # {% raw %}{{{% endraw %} \\n\n  two\n ||| {{ y }}\n",
        "\t{{x}}|||é 中文 \u2028 {{y}}",
        "- a\n- b ||| !Template",
        "yes ||| no",
        "{{x}} \x85 ||| y",
    ]
    templates = [
        template(
            text,
            " ||| ".join(("Yes", "no: #", text[:3])),
            name=f"n{number}",
            reference="'",
            metadata=Metadata(languages=("zh", "no"), metrics=("BLEU",)),
        )
        for number, text in enumerate(odd)
    ]
    templates = [evolve(one, id=f"id{number}") for number, one in enumerate(templates)]
    written = write_promptsource(templates, tmp_path / "templates.yaml")
    assert promptsource.load_file(tmp_path / "templates.yaml") == templates == list(written.templates)
    with pytest.raises(ConfigError, match="two templates have the id"):
        write_promptsource([templates[0], templates[0]], tmp_path / "t.yaml")
    with pytest.raises(ConfigError, match="several data sets"):
        write_promptsource([templates[0], evolve(templates[1], dataset="e")], tmp_path / "t.yaml")


def test_as_is_files_give_their_texts_back(collection: Path) -> None:
    found = promptsource.load(collection)
    for task in plan_as_they_are(found, name="p", source="x").tasks:
        for source in task.templates.values():
            assert promptsource_parts(source) in [(one.answer_choices, one.jinja) for one in found]


# --- The command -----------------------------------------------------------------------------------------------


def test_the_command_writes_a_plugin_and_says_what_it_did(collection: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["import", "promptsource", str(collection), "--into", str(tmp_path / "my-import")]
    )
    assert result.exit_code == 0, result.output
    assert "2 of 2 templates were carried over, as 2 tasks" in result.output
    assert "metrics: COQA F1" in result.output
    told = json.loads((tmp_path / "my-import" / "import.json").read_text(encoding="utf-8"))
    assert told["schema"] == "instructforge.import/1"
    assert (tmp_path / "my-import" / "my_import" / "templates" / "glue-rte" / "en" / "is-it-true.jinja").is_file()


def test_the_command_speaks_json_and_refuses_what_does_not_belong_together(collection: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(main, ["import", "promptsource", str(collection), "--into", str(tmp_path / "a"), "--json"])
    assert json.loads(result.output)["carried"] == 2
    for options, what in ((["--column", "a=b"], "go with --task"), (["--samples", str(tmp_path)], "")):
        result = runner.invoke(
            main, ["import", "promptsource", str(collection), "--into", str(tmp_path / "b"), *options]
        )
        assert result.exit_code != 0
        assert what in result.output
        assert not (tmp_path / "b").exists()


# --- The whole collection ----------------------------------------------------------------------------------------

WHOLE = os.environ.get("INSTRUCTFORGE_PROMPTSOURCE", "")
whole = pytest.mark.skipif(
    not WHOLE, reason="INSTRUCTFORGE_PROMPTSOURCE names no sdist, wheel or folder of promptsource 0.2.3"
)
_PIPE = "3ed2dface8203c4c9dfb1a5dc58e41e0"

ROWS: dict[str, list[dict[str, Any]]] = {
    "ai2_arc": [{"question": "q", "choices": {"text": ["a", "b", "c", "d"], "label": list("ABCD")}, "answerKey": "B"}],
    "conv_ai": [
        {
            "evaluation": [{"userId": "Alice", "engagement": 3}, {"userId": "Bob", "engagement": 1}],
            "thread": [{"userId": "Bob", "text": "hi"}, {"userId": "Alice", "text": "ho"}],
            "context": "c",
            "userId": "Bob",
        }
    ],
    "coqa": [
        {
            "story": "A cat sat.",
            "questions": ["Who?"],
            "answers": {"input_text": ["cat"], "answer_start": [2], "answer_end": [5]},
        }
    ],
    "cos_e": [{"question": "q", "choices": ["a", "b", "c"], "answer": "b", "id": "1"}],
    "nlu_evaluation_data": [{"text": "t", "scenario": name, "label": 3} for name in ("alarm", "iot", "play", "music")],
    "piqa": [{"goal": "Boil", "sol1": "Use water", "sol2": "Use sand", "label": label} for label in (0, 1)],
    "quartz": [{"question": "q", "para": "p", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}],
    "super_glue/wsc.fixed": [
        {
            "text": "Ann saw him .",
            "span1_text": "Ann",
            "span2_text": "him",
            "span1_index": 0,
            "span2_index": 2,
            "label": 1,
        }
    ],
}
"""Rows for data sets whose columns hang together in ways that no syntax tree shows."""


def stock_environment() -> Environment:
    def most_frequent(items: Any) -> Any:
        if not items:
            return None
        counts = Counter(items).most_common()
        return [item for item, count in counts if count == counts[0][1]]

    environment = Environment(loader=BaseLoader())
    environment.globals.update(zip=zip)
    environment.filters.update(
        choice=lambda items: items[0], most_frequent=most_frequent, highlight=lambda text: f"<{text}>"
    )
    return environment


def stock(body: Any, choices: Any, row: dict[str, Any]) -> list[str]:
    """Render as promptsource's ``Template.apply(row, truncate=False)`` does."""
    row = {name: value.replace("|||", _PIPE) if isinstance(value, str) else value for name, value in row.items()}
    words = (
        None if choices is None else [part.strip().replace(_PIPE, "|||") for part in choices.render(**row).split("|||")]
    )
    return [part.replace(_PIPE, "|||").strip() for part in body.render(**row, answer_choices=words).split("|||")]


def rows_for(one: PromptsourceTemplate) -> list[dict[str, Any]]:
    shapes = shapes_of(one.jinja, *([one.answer_choices] if one.answer_choices else []))
    random = Random(one.id)
    made = [{name: shape.value(random) for name, shape in shapes.items()} for _ in range(40)]
    wild = [{name: shape.value(random, wild=0.2) for name, shape in shapes.items()} for _ in range(2)]
    rows = [*ROWS.get(one.dataset_name, ROWS.get(one.dataset, [])), *made]
    return [*rows[:4], *wild, *({name: row[name] for name in sorted(row)[1:]} for row in rows[:1]), *rows[4:]]


@pytest.fixture(scope="module")
def found() -> promptsource.Collection:
    """The whole collection, compiled once for all tests."""
    return promptsource.load(WHOLE)


@whole
@pytest.mark.data
@pytest.mark.slow
def test_the_whole_collection_renders_as_stock_jinja_renders_it(found: promptsource.Collection) -> None:
    """Bar: all 2,085 load; every deterministic one is byte-identical on rows of its shape, and fails where stock does."""
    assert (len(found), found.files, found.failures) == (2085, 279, ())
    environment = stock_environment()
    tally: Counter[str] = Counter()
    without: list[str] = []
    for one in found:
        body = environment.from_string(one.jinja)
        choices = None if one.answer_choices is None else environment.from_string(one.answer_choices)
        good = 0
        for number, row in enumerate(rows_for(one)):
            if number > 6 and (good >= 3 or not one.deterministic):
                break
            if not one.deterministic:
                tally["drawn"] += _draws_alike(one, row)
                continue
            good += _same(one, body, choices, row, tally)
        if not good and one.deterministic:
            without.append(one.key)
    assert without == [], "no row of its shape was made for these"
    assert tally["same"] > 8_000
    assert tally["drawn"] > 1_000


def _same(one: PromptsourceTemplate, body: Any, choices: Any, row: dict[str, Any], tally: Counter[str]) -> bool:
    try:
        theirs: list[str] | None = stock(body, choices, copy.deepcopy(row))
    except Exception:  # whatever stock Jinja fails with
        theirs = None
    before = repr(row)
    try:
        ours: list[str] | None = one.apply(row)
    except TemplateError:
        ours = None
    assert repr(row) == before, f"{one.key} changed the row"
    if ours != theirs and "|||" in repr(list(row.values())):
        tally["separator within a list"] += 1  # theirs parts there
        return False
    assert ours == theirs, f"{one.key}: {row}"
    tally["same" if ours is not None else "both fail"] += 1
    return ours is not None


def _draws_alike(one: PromptsourceTemplate, row: dict[str, Any]) -> bool:
    try:
        return one.apply(row, seed=3) == one.apply(row, seed=3)
    except TemplateError:
        return False


@whole
@pytest.mark.data
@pytest.mark.slow
def test_the_whole_collection_is_carried_over_and_written_again(
    found: promptsource.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_as_they_are(found, name="whole-collection", source="x")
    assert (plan.report.carried, dict(plan.report.refused), len(plan.report.unreadable)) == (2085, {}, 0)
    write_plugin(plan, tmp_path / "out")
    forge = Forge([loaded(tmp_path / "out", "whole_collection", monkeypatch)])
    assert len(forge.templates.refs()) == 2085
    by_id = {(one.dataset_name, one.id): one for one in found}
    for task in plan.tasks:
        for name, id in list(task.entry["templates"].items())[:: len(task.templates)]:
            one = by_id[task.entry["dataset"], id]
            assert promptsource_parts(task.templates[name]) == (one.answer_choices, one.jinja)
            _renders_the_same(one, forge.template(f"{task.name}/{name}"))
    for dataset in found.datasets[::10]:
        write_promptsource(found.dataset(dataset), tmp_path / "templates.yaml")
        assert promptsource.load_file(tmp_path / "templates.yaml") == [
            evolve(one, others=()) for one in found.dataset(dataset)
        ]


def _renders_the_same(one: PromptsourceTemplate, ours: Any) -> None:
    for row in rows_for(one)[:4]:
        try:
            made = ours.render(Example(inputs=row, answers=(), id=""), seed=5)
        except TemplateError:
            continue
        assert one.render(row, seed=5) == (made.messages[0].content, made.completion)
