# ruff: noqa: E501  (a template and what it gives stand on one line)
"""Task templates: what is read at load, what rows give, and where fields land (promise 5, the render side)."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge.components import TemplateFolder
from instructforge.data import NO_ANSWER, Example, Instruction, Message, Origin, SpanAnswer
from instructforge.errors import DuplicateNameError, TemplateError, UnknownNameError
from instructforge.tasks import Choice, Field, Span, Task, Text
from instructforge.templates import Template, TemplateLibrary, compile_template

QA = Task(
    "qa",
    summary="",
    fields={"question": "the question", "context": "the passage", "title": Field("its title", optional=True)},
    target=Span(within="context", nullable=True),
)
NLI = Task(
    "nli",
    summary="",
    fields={"premise": "a text", "hypothesis": "a claim"},
    target=Choice({"entailment": {"en": "yes", "zh": "是"}, "neutral": {"en": "maybe"}, "contradiction": {"en": "no"}}),
)
PICK = Task(
    "pick",
    summary="",
    fields={"question": "the question", "options": Field("the options", kind="list")},
    target=Choice(from_field="options"),
)
CHAT = Task(
    "chat",
    summary="",
    fields={"question": "the last question", "history": Field("turns before it", kind="turns", optional=True)},
    target=Text(),
)
LISTED = "{% for word in choices %}\n{{ letters[loop.index0] }}. {{ word }}\n{% endfor %}"


def template(prompt: str, task: Task = QA, completion: str = "{{ answer }}", head: str = "", **named: Any) -> Template:
    source = f"{head}{{% block prompt %}}{prompt}{{% endblock %}}{{% block completion %}}{completion}{{% endblock %}}"
    return compile_template(source, task=task, language=named.pop("language", "en"), name="t", **named)


def qa(question: str = "Who?", context: str = "It was Bob.", **named: Any) -> Example:
    answers = named.pop("answers", (SpanAnswer("Bob", 7),))
    inputs = {"question": question, "context": context, **named.pop("inputs", {})}
    return Example(inputs=inputs, answers=answers, id=named.pop("id", "1"), **named)


def nli(answer: str | None = "neutral") -> Example:
    return Example(inputs={"premise": "A", "hypothesis": "B"}, answers=(answer,) if answer else (), id="1")


def landed(made: Instruction) -> list[tuple[str, int | None, bool, str]]:
    """Return field, item, exactness and text of each landing."""
    return [
        (one.field, one.item, one.exact, made.messages[one.message].content[one.start : one.end])
        for one in made.landings
    ]


# --- What a template is ----------------------------------------------------------------------------------


def test_renders_blocks_as_messages() -> None:
    made = template(" {{ context }}\n{{ question }}\n", head="{% block system %}Be brief.{% endblock %}").render(
        qa(), seed=1
    )
    assert made.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="It was Bob.\nWho?"),
        Message(role="assistant", content="Bob", trained=True),
    )
    assert landed(made) == [("context", None, True, "It was Bob."), ("question", None, True, "Who?")]
    assert (made.task, made.language, made.template, made.id) == ("qa", "en", "t", "1")
    assert Instruction.from_json(made.to_json()) == made


def test_unlabelled_row_ends_in_an_empty_turn() -> None:
    made = template("{{ context }} {{ question }}").render(qa(answers=()), seed=1)
    assert made.messages[-1] == Message(role="assistant", content="", trained=False)


def test_no_answer_is_an_answer() -> None:
    made = template("{{ context }} {{ question }}", language="zh").render(qa(answers=(NO_ANSWER,)), seed=1)
    assert made.completion == "无法回答"


def test_frozen_values_from_drafts_are_ordinary_ones() -> None:
    made = template("{{ context }}").render(qa(), seed=1)
    for value in (made, made.messages[0], made.landings[0]):
        assert copy.copy(value) == value == pickle.loads(pickle.dumps(value))
        assert hash(type(value))
        assert repr(value).startswith(type(value).__name__)
        with pytest.raises(AttributeError):
            value.role = "x"  # type: ignore[union-attr, misc]


def test_pickles_and_stands_for_itself() -> None:
    first = template("{{ context }} {{ question|upper }}", head='{% set cuttable = ["context"] %}')
    second = pickle.loads(pickle.dumps(first))
    assert second.render(qa(), seed=1) == first.render(qa(), seed=1)
    assert (second.sha256, second.cuttable, second.key) == (first.sha256, ("context",), "qa/en/t")


def test_root_runs_once_for_each_row() -> None:
    made = template(
        "{{ shout(question) }} {{ n }} {{ seen|length }}",
        head="{% set n = question|length %}{% set seen = [] %}{% do seen.append(1) %}"
        "{% macro shout(t) %}{{ t|upper }}!{% endmacro %}",
    )
    assert [one.messages[0].content for one in (made.render(qa(), seed=1), made.render(qa("Why so?"), seed=1))] == [
        "WHO?! 4 1",
        "WHY SO?! 7 1",
    ]


# --- What is refused at load -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "rule", "said"),
    [
        ("{% block prompt %}{{ contex }}{% endblock %}", "blocks", 'no block "completion"'),
        ("{% block completion %}{{ answer }}{% endblock %}", "blocks", 'no block "prompt"'),
        ("{P}{{ contex }}{C}", "unknown-name", 'Did you mean "context"?'),
        ("{P}{% for w in contexts %}{{ w }}{% endfor %}{C}", "unknown-name", '"contexts"'),
        ("{% macro m(a) %}{{ a }}{{ quetsion }}{% endmacro %}{P}{{ m(1) }}{C}", "unknown-name", "question"),
        ("{P}{% if hint is defined %}x{% endif %}{C}", "unknown-name", '"hint"'),
        ("{P}{% set a = [1] %}{% for a in a %}{{ a }}{{ b }}{% endfor %}{C}", "unknown-name", '"b"'),
        ("{P}{{ context }}{{ choices }}{C}", "unknown-name", "has no choices"),
        ("{P}{{ context }} {{ answer }}{C}", "leak", "prompt block"),
        ("{% macro m() %}{{ answer }}{% endmacro %}{P}{{ m() }}{C}", "leak", "prompt block"),
        ("{% set a = answer %}{P}{{ context }}{C}", "leak", "outside the completion"),
        ("{P}{% block inner %}{{ answer }}{% endblock %}{C}", "leak", "prompt block"),
        ("{P}{{ context }}{% endblock %}{% block completion %}fixed{% endblock %}", "completion", "never uses"),
        ("text{P}{{ context }}{C}", "blocks", "outside the blocks"),
        ("{{ context }}{P}{{ context }}{C}", "blocks", "outside the blocks"),
        ("{% if context %}{P}{{ context }}{% endblock %}{% endif %}{P2}", "blocks", "condition"),
        ("{% block promt %}{% endblock %}{P}{{ context }}{C}", "blocks", 'Did you mean "prompt"?'),
        ('{% set cuttable = ["contxt"] %}{P}{{ context }}{C}', "declaration", 'Did you mean "context"?'),
        ("{% set cuttable = [context] %}{P}{{ context }}{C}", "declaration", "not a literal"),
        ("{% set cuttable = 3 %}{P}{{ context }}{C}", "declaration", "not a list"),
        ("{% set cuttable %}context{% endset %}{P}{{ context }}{C}", "declaration", "not a literal"),
        ("{% if 1 %}{% set cuttable = [] %}{% endif %}{P}{{ context }}{C}", "declaration", "inside a condition"),
        ('{% set inverted = "answer" %}{P}{{ context }}{C}', "declaration", "no field"),
        ('{% set inverted = "question" %}{P}{{ question }}{C}', "leak", '"question"'),
        ('{% set choices = "letters" %}{P}{{ context }}{C}', "declaration", "nothing to choose"),
        ("{P}{{ context|uper }}{C}", "unknown-name", 'Did you mean "upper"?'),
        ("{P}{{ context is strin }}{C}", "unknown-name", 'Did you mean "string"?'),
        ("{P}{{ context {C}", "syntax", "line 1"),
    ],
)
def test_refused_at_load(source: str, rule: str, said: str) -> None:
    source = source.replace("{P2}", "{% block completion %}{{ answer }}{% endblock %}")
    source = source.replace("{P}", "{% block prompt %}").replace(
        "{C}", "{% endblock %}{% block completion %}{{ answer }}{% endblock %}"
    )
    with pytest.raises(TemplateError) as caught:
        compile_template(source, task=QA, language="en", name="wrong")
    assert caught.value.rule == rule
    assert caught.value.template == "qa/en/wrong"
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    "choices",
    [
        '{"entailment": "a"}',
        '{"entailment": "a", "neutral": "a", "contradiction": "c"}',
        '{"entailmnt": "x"}',
        '"words"',
    ],
)
def test_words_of_choices_are_checked(choices: str) -> None:
    with pytest.raises(TemplateError) as caught:
        template("{{ premise }}", NLI, head=f"{{% set choices = {choices} %}}")
    assert caught.value.rule == "declaration"


def test_field_names_that_templates_need_are_refused() -> None:
    task = Task("odd", summary="", fields={"answer": "x"}, target=Text())
    with pytest.raises(TemplateError, match='field called "answer"'):
        template("x", task)


def test_declarations_are_read_without_running_anything() -> None:
    with pytest.raises(TemplateError, match="not a literal"):
        template("{{ context }}", head="{% set cuttable = ['a' * 10 ** 9] %}")


# --- What is refused at the row --------------------------------------------------------------------------


def test_empty_prompt_does_not_apply() -> None:
    with pytest.raises(TemplateError) as caught:
        template("{% if title %}{{ title }}{% endif %} ").render(qa(origin=Origin("f.json", 3)), seed=1)
    assert caught.value.rule == "not-applicable"
    assert "f.json:3" in str(caught.value)


def test_missing_field_is_undefined_and_optional_one_is_empty() -> None:
    made = template("[{{ title }}] {{ question }}").render(qa(inputs={"title": None}), seed=1)
    assert made.messages[0].content == "[] Who?"
    with pytest.raises(TemplateError) as caught:
        template("{{ question }}").render(Example(inputs={"context": "x"}, origin=Origin("rows.csv", 9)), seed=1)
    assert caught.value.rule == "undefined"
    assert "rows.csv:9" in str(caught.value)


def test_empty_completion_is_refused() -> None:
    with pytest.raises(TemplateError) as caught:
        template("{{ question }}", completion="{{ answer[5:] }}").render(qa(), seed=1)
    assert caught.value.rule == "completion"


def test_completion_may_look_its_answer_up() -> None:
    made = template("{{ question }}", completion="{{ {'Bob': 'Robert'}[answer] }}!").render(qa(), seed=1)
    assert (made.completion, made.affixes) == ("Robert!", ("", ""))
    assert template("{{ question }}", completion="So: {{ answer }}.").render(qa(), seed=1).affixes == ("So: ", ".")


def test_render_many_gives_errors_in_their_places() -> None:
    made = template("{{ title }}").render_many([qa(inputs={"title": "T"}), qa(), qa(inputs={"title": "U"})], 1)
    assert [type(one) for one in made] == [Instruction, TemplateError, Instruction]


# --- Choices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "completion", "expected", "choices"),
    [
        ("", "{{ answer }}", "maybe", ("yes", "maybe", "no")),
        ("", "The answer is {{ answer }}.", "The answer is maybe.", None),
        ('{% set choices = "letters" %}', "{{ answer }}", "B", ("A", "B", "C")),
        ('{% set choices = "letters" %}', "({{ answer }})", "(B)", ("(A)", "(B)", "(C)")),
        (
            '{% set choices = {"entailment": "true", "neutral": "unknown", "contradiction": "false"} %}',
            "{{ answer }}",
            "unknown",
            ("true", "unknown", "false"),
        ),
        ("", "{{ answer }}: {{ premise }}", "maybe: A", ("yes: A", "maybe: A", "no: A")),
        ("{% set n = 2 %}", "{{ n }}{{ answer }}", "2maybe", ("2yes", "2maybe", "2no")),
    ],
)
def test_completion_of_each_label(head: str, completion: str, expected: str, choices: tuple[str, ...] | None) -> None:
    chosen = template("{{ premise }} {{ hypothesis }}\n" + LISTED, NLI, completion, head)
    for _ in range(2):
        made = chosen.render(nli(), seed=1)
        assert made.completion == expected
        assert made.labels == ("entailment", "neutral", "contradiction")
        assert choices is None or made.choices == choices
        assert made.choices[1] == expected
    assert chosen.render(nli(None), seed=1).choices == made.choices
    assert chosen.render(nli(None), seed=1).completion == ""


def test_words_are_the_language_s() -> None:
    made = template("{{ premise }}{{ choices|join('、') }}", NLI, language="zh").render(nli("entailment"), seed=1)
    assert (made.messages[0].content, made.completion) == ("A是、neutral、contradiction", "是")


def test_choices_of_the_row_land_one_by_one() -> None:
    row = Example(inputs={"question": "Which?", "options": ["same", "same too", "same"]}, answers=("same too",), id="1")
    made = template("{{ question }}\n" + LISTED, PICK, head='{% set choices = "letters" %}').render(row, seed=1)
    assert made.messages[0].content == "Which?\nA. same\nB. same too\nC. same"
    assert landed(made)[1:] == [("options", n, True, text) for n, text in enumerate(row.inputs["options"])]
    assert (made.completion, made.choices) == ("B", ("A", "B", "C"))
    joined = template("{{ options|join(' / ') }}", PICK).render(row, seed=1)
    assert landed(joined) == landed(made)[1:]


def test_letters_go_on_after_z() -> None:
    row = Example(inputs={"question": "?", "options": [f"o{n}" for n in range(30)]}, answers=("o27",), id="1")
    assert (
        template("{{ letters[26:] }}", PICK, head='{% set choices = "letters" %}').render(row, seed=1).completion
        == "AB"
    )


def test_several_labels() -> None:
    task = Task("topics", summary="", fields={"text": "x"}, target=Choice(["a", "b", "c"], multiple=True))
    row = Example(inputs={"text": "t"}, answers=(("a", "c"),), id="1")
    assert template("{{ text }}", task).render(row, seed=1).completion == "a, c"
    assert template("{{ text }}", task, head='{% set choices = "letters" %}').render(row, seed=1).completion == "A, C"


# --- Inverted templates ----------------------------------------------------------------------------------


def test_inverted_template_asks_for_a_field() -> None:
    head = '{% set inverted = "question" %}'
    for source in (
        head + "{% block prompt %}{{ context }} Answer: {{ answer }}{% endblock %}",
        head + "{% block prompt %}{{ context }} Answer: {{ answer }}{% endblock %}"
        "{% block completion %}{{ question }}{% endblock %}",
    ):
        made = compile_template(source, task=QA, language="en", name="inverted").render(qa(), seed=1)
        assert made.messages[0].content == "It was Bob. Answer: Bob"
        assert (made.completion, made.inverted, made.choices, made.messages[-1].trained) == (
            "Who?",
            "question",
            (),
            True,
        )
        assert landed(made)[-1] == ("question", None, True, "Who?")
    inverted = compile_template(source, task=QA, language="en", name="inverted")
    for example in (qa(question=" "), qa(answers=()), qa(answers=(NO_ANSWER,))):
        with pytest.raises(TemplateError):
            inverted.render(example, seed=1)


# --- Turns -----------------------------------------------------------------------------------------------

HISTORY = [{"role": "user", "content": "Hi "}, {"role": "assistant", "content": "Hello."}]


def turns(prompt: str, history: list[Any], **named: Any) -> list[tuple[str, str]]:
    row = Example(inputs={"question": "Now?", "history": history}, answers=("x",), id="1")
    made = template(prompt, CHAT, **named).render(row, seed=1)
    for one in made.landings:
        text = made.messages[one.message].content[one.start : one.end]
        assert not one.exact or text in ("Now?", *(turn["content"] for turn in history))
    return [(message.role, message.content) for message in made.prompt]


def test_turns_are_native_turns() -> None:
    assert turns("Be kind.\n{{ turns(history) }}{{ question }}", HISTORY) == [
        ("user", "Be kind.\nHi"),
        ("assistant", "Hello."),
        ("user", "Now?"),
    ]
    assert turns("{{ turns(history) }} {{ question }}", HISTORY[:1]) == [("user", "Hi  Now?")]
    assert turns("Be kind.\n{{ turns(history) }}{{ question }}", []) == [("user", "Be kind.\nNow?")]
    assert turns("Go.{{ turns(history[-1:]) }}{{ question }}", HISTORY) == [
        ("user", "Go."),
        ("assistant", "Hello."),
        ("user", "Now?"),
    ]
    system = [{"role": "system", "content": "S"}, *HISTORY]
    assert turns("Pre {{ turns(history) }}{{ question }}", system)[:2] == [("system", "S"), ("user", "Pre Hi")]


@pytest.mark.parametrize(
    "history",
    [
        [{"role": "user"}],
        [{"role": "robot", "content": "x"}],
        ["text"],
        [{"role": "user", "content": 5}],
    ],
)
def test_turns_that_are_none_are_refused(history: list[Any]) -> None:
    with pytest.raises(TemplateError, match="turn 0"):
        turns("{{ turns(history) }}{{ question }}", history)


def test_turns_have_to_end_with_the_user() -> None:
    with pytest.raises(TemplateError, match="not the user's"):
        turns("{{ turns(history) }}", HISTORY)
    with pytest.raises(TemplateError):
        turns("{{ turns(history) ~ question }}", HISTORY)


# --- Where fields land -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("{{ question }}{{ question }}", [("question", True, "a"), ("question", True, "a")]),
        ("a{{ question }}a{{ context }}", [("question", True, "a"), ("context", True, "a")]),
        ("{{ context[0] }}", [("context", True, "a")]),
        ("{{ context|upper }}{{ question }}", [("context", False, "A"), ("question", True, "a")]),
        ("{% set c = context %}<{{ c }}>", [("context", True, "a")]),
        ("{% set c %}[{{ context }}]{% endset %}<{{ c }}>", [("context", True, "a")]),
        (
            "{% macro m(x) %}({{ x }}){% endmacro %}{{ m(context) }}{{ m(x=question) }}",
            [("context", True, "a"), ("question", True, "a")],
        ),
        ("{{ 'x' ~ context ~ question }}", [("context", True, "a"), ("question", True, "a")]),
        ("{{ context + 'y' + question }}", [("context", True, "a"), ("question", True, "a")]),
        ("{{ [question, context]|join(' ') }}", [("question", True, "a"), ("context", True, "a")]),
        ("{{ 'c: %s' % context }}", [("context", True, "a")]),
        ("{{ context if context else question }}", [("context", True, "a")]),
        ("{% for x in [context, question] %}{{ x }}{% endfor %}", [("context", True, "a"), ("question", True, "a")]),
        ("{{ context|trim }}{{ context.replace('a', 'bb') }}", [("context", True, "a"), ("context", False, "bb")]),
        ("{% filter upper %}{{ context }}{% endfilter %}", [("context", False, "A")]),
        ("{% set ns = namespace(c=context) %}{{ ns.c }}", [("context", True, "a")]),
        ("{{ {'k': context}.k }}{{ [context]|tojson }}", [("context", True, "a"), ("context", False, '["a"]')]),
        ("{{ '{} {}'.format(question, context) }}", [("question", True, "a"), ("context", True, "a")]),
        ("{{ [question] }}{{ '{:>3}'.format(context) }}", [("question", False, "['a']"), ("context", False, "  a")]),
        (
            "{{ 'xyx'.replace('y', context) }}{{ 'y'|replace('y', question) }}",
            [("context", False, "xax"), ("question", False, "a")],
        ),
        ("{{ title }}x", []),
    ],
)
def test_landings_follow_the_text_wherever_it_goes(prompt: str, expected: list[tuple[str, bool, str]]) -> None:
    """Both fields are the same interned character, and it stands in the template's own text too."""
    made = template(prompt).render(qa("a", "a", answers=()), seed=1)
    assert [(field, exact, text) for field, _, exact, text in landed(made)] == expected


def test_space_that_is_cut_off_makes_a_landing_inexact() -> None:
    made = template("{{ context }}").render(qa(context=" a b ", answers=()), seed=1)
    assert landed(made) == [("context", None, False, "a b")]


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40) | st.sampled_from(
    ["{{ x }}", "{% endblock %}", "{# c #}", "%s", "{0}", "a", "\n", " ", "é\u0301", "\u2028", "问题", "𝔘", "\x00"]
)
WHOLE = template(
    "Q {{ question }}\n{{ context }} {% set c = context %}({{ c }}) {{ [question, c]|join('|') }} {{ question|upper }}.",
    head="{% block system %}{{ title }}: {{ context }}{% endblock %}",
)


@settings(max_examples=200, deadline=None)
@given(question=TEXTS, context=TEXTS, title=TEXTS | st.none(), seed=st.integers(0, 9))
def test_exact_landings_are_the_field_s_text(question: str, context: str, title: str | None, seed: int) -> None:
    example = qa(question, context, inputs={"title": title}, answers=())
    before = copy.deepcopy(example)
    made = WHOLE.render(example, seed=seed)
    for one in made.landings:
        text = made.messages[one.message].content[one.start : one.end]
        assert one.end > one.start
        assert not one.exact or text == example.inputs[one.field]
    user = [one for one in made.landings if one.message == len(made.messages) - 2]
    assert [one.field for one in user][:5] == ["question", "context", "context", "question", "context"]
    assert all(one.exact for one in user[:5])
    assert made == WHOLE.render(example, seed=seed) == WHOLE.render_many([example], [seed])[0]
    assert example == before
    assert all(type(message.content) is str for message in made.messages)


@settings(max_examples=100, deadline=None)
@given(options=st.lists(TEXTS, min_size=1, max_size=6, unique=True), data=st.data())
def test_items_of_a_list_land_with_their_place(options: list[str], data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(options))
    row = Example(inputs={"question": "?", "options": options}, answers=(answer,), id="1")
    made = template(
        "[{% for o in options %}<{{ o }}>{% endfor %}]{{ choices|join }}]", PICK, "x {{ answer }} x"
    ).render(row, seed=1)
    items = [one for one in made.landings if one.message == 0]
    assert [(one.item, one.exact) for one in items] == 2 * [(n, True) for n in range(len(options))]
    for one in items:
        assert made.messages[0].content[one.start : one.end] == options[one.item or 0]
    assert made.completion == f"x {answer} x" == made.choices[made.labels.index(answer)]


# --- The row, and chance -----------------------------------------------------------------------------------


def test_template_cannot_change_the_row() -> None:
    row = Example(inputs={"question": "q", "options": ["a", "b"]}, answers=("a",), id="1")
    before = copy.deepcopy(row)
    prompt = (
        "{% do options.append('c') %}{% do options.pop(0) %}{% do choices.clear() %}{{ options|join }}{{ question }}"
    )
    made = template(prompt, PICK)
    assert [made.render(row, seed=1).messages[0].content for _ in range(2)] == ["bcq", "bcq"]
    assert row == before
    chat = Example(inputs={"question": "q", "history": copy.deepcopy(HISTORY)}, answers=("a",), id="1")
    template("{% do history[0].update(content='x') %}{% do history.clear() %}{{ question }}", CHAT).render(chat, seed=1)
    assert chat.inputs["history"] == HISTORY
    optional = template("{% do history.append(1) %}{{ history|length }}{{ question }}", CHAT)
    empty = Example(inputs={"question": "q"}, answers=("a",), id="1")
    assert [optional.render(empty, seed=1).messages[0].content for _ in range(2)] == ["1q", "1q"]


def test_column_called_like_a_method_is_the_column() -> None:
    row = Example(
        inputs={"question": "q", "options": [{"items": "I", "keys": "K", "get": "G", "format": "F", "update": "U"}]},
        id="1",
    )
    task = Task("odd", summary="", fields=PICK.fields, target=Text())
    made = template("{% set o = options[0] %}{{ o.items }}{{ o.keys }}{{ o.get }}{{ o['format'] }}{{ o.update }}", task)
    assert made.render(row, seed=1).messages[0].content == "IKGFU"
    names = Task("names", summary="", fields={"items": "x", "format": "y", "range": "z"}, target=Text())
    plain = template("{{ items }}{{ format }}{{ range }}", names)
    given_row = Example(inputs={"items": "1", "format": "2", "range": "3"}, id="1")
    assert plain.render(given_row, seed=1).messages[0].content == "123"


def test_chance_is_the_row_s_own() -> None:
    options = [f"o{n}" for n in range(20)]
    rows = [Example(inputs={"question": "?", "options": options}, id=str(n)) for n in range(4)]
    made = template("{{ options|shuffle|join(' ') }} {{ options|random }}", PICK)
    first = made.render_many(rows, 7)
    assert first == [made.render(row, seed=7) for row in reversed(rows)][::-1] == made.render_many(rows, [7] * 4)
    assert len({one.messages[0].content for one in first if isinstance(one, Instruction)}) == 4
    assert made.render(rows[0], seed=8) != first[0]


# --- The library -----------------------------------------------------------------------------------------

BODY = "{% block prompt %}{{ context }}{{ question }}{% endblock %}{% block completion %}{{ answer }}{% endblock %}"


def write(folder: Path, **files: str) -> TemplateFolder:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.jinja"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return TemplateFolder(folder)


def test_library_lists_by_path_and_loads_once(tmp_path: Path) -> None:
    folder = write(tmp_path, qa__en__b=BODY, qa__en__a=BODY, qa__zh__a=BODY, nli__en__x="{% broken", qa__en___part="x")
    library = TemplateLibrary([("p", folder)])
    assert [ref.key for ref in library.refs()] == ["nli/en/x", "qa/en/a", "qa/en/b", "qa/zh/a"]
    assert [ref.key for ref in library.refs(task="qa", language="en")] == ["qa/en/a", "qa/en/b"]
    assert library.load("qa/en/a", QA) is library.load("qa/en/a", QA)
    with pytest.raises(UnknownNameError, match='"qa/en/a"'):
        library.load("qa/en/aa", QA)
    with pytest.raises(TemplateError, match="for the task"):
        library.load("qa/en/a", NLI)


def test_two_owners_of_one_key_are_named(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1", qa__en__a=BODY), write(tmp_path / "2", qa__en__a=BODY)
    with pytest.raises(DuplicateNameError, match='"one"') as caught:
        TemplateLibrary([("one", first), ("two", second)]).refs()
    assert caught.value.plugin == "two"


def test_library_stays_in_its_folders(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = write(tmp_path / "t", qa__en__a=BODY)
    (tmp_path / "t/qa/en/link.jinja").symlink_to(tmp_path / "secret")
    (tmp_path / "t/out").symlink_to(tmp_path)
    library = TemplateLibrary([("p", folder)])
    assert [ref.key for ref in library.refs()] == ["qa/en/a"]
    for key in ("../secret", "qa/en/../../../secret", "/etc/passwd", "qa/en/link", "qa//en/a", "qa/en/a\x00"):
        with pytest.raises(UnknownNameError):
            library.load(key, QA)


def test_templates_share_parts_and_carry_them(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        qa__en___parts="{% macro ask(q) %}Q: {{ q }}{% endmacro %}{% set seen = [] %}",
        qa__en___base='{% set cuttable = ["context"] %}{% block prompt %}{% block style %}plain{% endblock %} {{ context }}'
        "{% endblock %}{% block completion %}{{ answer }}{% endblock %}",
        qa__en__imports='{% import "qa/en/_parts" as p %}' + BODY.replace("{{ question }}", "{{ p.ask(question) }}"),
        qa__en__extends='{% extends "qa/en/_base" %}{% block style %}{{ question }} {{ super() }}{% endblock %}',
        qa__en__includes=BODY.replace("{{ question }}", '{% include "qa/en/_shown" %}'),
        qa__en___shown="[{{ question }}] #}",
    )
    library = TemplateLibrary([("p", folder)])
    expected = {
        "imports": "It was Bob.Q: Who?",
        "extends": "Who? plain It was Bob.",
        "includes": "It was Bob.[Who?] #}",
    }
    for name, text in expected.items():
        loaded = library.load(f"qa/en/{name}", QA)
        for _ in range(2):
            made = loaded.render(qa(), seed=1)
        assert made.messages[0].content == text
        assert {one[0] for one in landed(made)} == {"question", "context"}
        carried = compile_template(loaded.source, task=QA, language="en", name=name)
        assert carried.sha256 == loaded.sha256
        assert carried.render(qa(), seed=1) == made
    assert library.load("qa/en/extends", QA).cuttable == ("context",)


def test_circles_and_strangers_are_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        qa__en__self='{% extends "qa/en/self" %}',
        qa__en__a='{% import "qa/en/b" as b %}' + BODY,
        qa__en__b='{% import "qa/en/a" as a %}' + BODY,
        qa__en__out='{% include "../../etc/passwd" %}' + BODY,
    )
    for name in ("self", "a", "out"):
        with pytest.raises(TemplateError) as caught:
            TemplateLibrary([("p", folder)]).load(f"qa/en/{name}", QA)
        assert caught.value.rule in ("reference", "blocks")


def test_unreadable_template_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path, qa__en__a=BODY)
    (tmp_path / "qa/en/a.jinja").write_bytes(b"\xff\xfe{{")
    with pytest.raises(TemplateError, match="UTF-8"):
        TemplateLibrary([("p", folder)]).load("qa/en/a", QA)
    (tmp_path / "qa/en/bom.jinja").write_bytes(b"\xef\xbb\xbf" + BODY.replace("}{", "}\r\n{").encode())
    assert TemplateLibrary([("p", folder)]).load("qa/en/bom", QA).render(qa(), seed=1).completion == "Bob"


def test_listing_imports_neither_jinja_nor_anything_heavy() -> None:
    code = (
        "import sys; from instructforge.templates import TemplateLibrary, TemplateRef, Limits\n"
        "from instructforge.components import TemplateFolder\n"
        "TemplateLibrary([('p', TemplateFolder('.'))]).refs()\n"
        "sys.exit(bool({'jinja2', 'numpy', 'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
