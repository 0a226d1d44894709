# ruff: noqa: E501  (a template and what it gives stand on one line)
"""Promise 6 for templates: a hostile template gets a clear error, and the process lives on, within bounds.

The files in ``attacks/`` hold one template a line. They run in a process with one GiB of memory.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from instructforge.data import Example
from instructforge.errors import TemplateError
from instructforge.tasks import Field, Task, Text
from instructforge.templates import Limits, compile_chat_template, compile_template

ATTACKS = Path(__file__).parent / "attacks"
INTERNALS = re.compile(r"0x[0-9a-fA-F]{5,}|<(class|function|built-in|bound|generator|module)|object at|root:x:0")

AT_LOAD = {
    "parentheses": "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
    "lists in lists": "{{" + "[" * 3000 + "]" * 3000 + "}}",
    "not not not": "{{ " + "not " * 5000 + "1 }}",
    "minus minus": "{{ " + "-" * 5000 + "1 }}",
    "loops in loops": "{% for x in items %}" * 50 + "{% endfor %}" * 50,
    "conditions in conditions": "{% if text %}" * 500 + "{% endif %}" * 500,
    "branches": "{% if 1 %}" + "{% elif 1 %}" * 3000 + "{% endif %}",
    "a long sum": "{{ " + "1+" * 5000 + "1 }}",
    "a chain of filters": "{{ 1" + "|abs" * 5000 + " }}",
    "a chain of attributes": "{{ text" + ".b" * 5000 + " }}",
    "a chain of indexes": "{{ text" + "[0]" * 5000 + " }}",
    "a chain of calls": "{{ text" + "()" * 5000 + " }}",
    "inline conditions": "{{ 1" + " if 1 else 1" * 3000 + " }}",
    "a long list": "{{ [" + "1," * 50_000 + "] }}",
    "a long dict": "{{ {" + "1:1," * 30_000 + "} }}",
    "many outputs": "{{text}}" * 20_000,
    "a long source": "x" * 300_000,
    "comments never closed": "{#" * 30_000,
    "statements never closed": "{%" * 30_000,
    "a long number": "{{ " + "9" * 100_000 + " }}",
    "a long hexadecimal": "{{ 0x" + "f" * 100_000 + " }}",
    "an infinite number": "{{ 1e" + "9" * 400 + " }}",
    "half a character": "{{ '\\ud800' }}",
    "many parameters": "{% macro m(" + ",".join(f"a{n}" for n in range(20_000)) + ") %}{% endmacro %}",
    "many arguments": "{{ range(" + ",".join("1" for _ in range(20_000)) + ") }}",
    "calls in calls": "{% call range() %}" * 200,
    "scopes in scopes": "{% with %}" * 300 + "{% endwith %}" * 300,
    "comparisons": "{{ 1" + " < 1" * 10_000 + " }}",
}


def lines_of(name: str) -> list[str]:
    return [line for line in (ATTACKS / f"{name}.jinja").read_text(encoding="utf-8").splitlines() if line]


def run(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Render the templates one after the other in one process; fail if it dies."""
    done = subprocess.run(
        [sys.executable, str(ATTACKS / "run.py")],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ATTACKS.parents[1],
        env={"PYTHONPATH": str(ATTACKS.parents[1]), "PATH": ""},
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests), f"died at {requests[len(answers)]}: {done.stderr[-2000:]}"
    assert done.returncode == 0
    return answers


@pytest.mark.parametrize("family", ["huge", "shared", "print", "reach", "wrong"])
def test_refuses(family: str) -> None:
    sources = lines_of(family)
    assert len(sources) > 10
    for source, answer in zip(sources, run([{"source": source} for source in sources]), strict=True):
        assert "rule" in answer, f"{source} gave {answer}"
        assert not INTERNALS.search(answer["message"].replace(source, "")), f"{source} gave {answer}"
        assert answer["rule"] != "not-applicable"


@pytest.mark.slow
def test_stops_what_would_never_end() -> None:
    sources = lines_of("endless")
    assert len(sources) > 10
    for source, answer in zip(sources, run([{"source": source, "time_s": 0.3} for source in sources]), strict=True):
        assert answer.get("rule") in ("time", "work", "memory", "output"), f"{source} gave {answer}"


@pytest.mark.slow
@pytest.mark.parametrize("chat", [False, True], ids=["task", "chat"])
def test_refuses_at_load_what_cannot_be_compiled(chat: bool) -> None:
    requests = [{"source": source, "chat": chat} for source in AT_LOAD.values()]
    for name, answer in zip(AT_LOAD, run(requests), strict=True):
        assert "rule" in answer, f"{name} gave {answer}"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["huge", "shared", "print", "reach", "endless"])
def test_chat_templates_are_bounded_alike(family: str) -> None:
    sources = lines_of(family)
    for source, answer in zip(
        sources, run([{"source": source, "chat": True, "time_s": 0.3} for source in sources]), strict=True
    ):
        shown = answer.get("text", answer.get("message", "")).replace(source, "")
        assert not INTERNALS.search(shown), f"{source} gave {answer}"
        assert "rule" in answer or len(answer["text"]) < 1000, f"{source} gave {answer}"


# --- What templates may do -----------------------------------------------------------------------------

TASK = Task(
    "open",
    summary="",
    fields={"text": "a text", "items": Field("texts", kind="list", optional=True)},
    target=Text(),
)


def show(body: str, *, limits: Limits | None = None, **inputs: Any) -> str:
    source = f"{{% block prompt %}}{body}{{% endblock %}}{{% block completion %}}{{{{ answer }}}}{{% endblock %}}"
    template = compile_template(source, task=TASK, language="en", name="show", limits=limits or Limits())
    example = Example(inputs={"text": "a b", **inputs}, answers=("x",), id="1")
    return template.render(example, seed=1).messages[0].content


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{{ 2 + 3 * 4 - 1 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 8 }} {{ 1 / 4 }} {{ -3 }}", "13 3 3 256 0.25 -3"),
        ("{{ 'a' + 'b' ~ 3 }} {{ 'ab' * 2 }} {{ [1] + [2] }}", "ab3 abab [1, 2]"),
        ("{{ '%s-%03d-%.1f%%' % ('a', 7, 0.25) }} {{ '%(k)s' % {'k': 1} }}", "a-007-0.2% 1"),
        ("{{ '{0}-{n:>4}-{0[0]}'.format('ab', n=1) }}", "ab-   1-a"),
        ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{{ ',' if not loop.last }}{% endfor %}", "a1,b2"),
        ("{% set d = {'items': 5, 'keys': 6} %}{{ d.items }} {{ d.keys }} {{ d.items()|list|length }}", "5 6 2"),
        (
            "{% set a = [] %}{% do a.append(1) %}{% do a.extend([2, 3]) %}{{ a }} {{ a.pop() }} {{ a.index(2) }}",
            "[1, 2, 3] 3 1",
        ),
        ("{% set d = {} %}{% do d.update({'x': 1}) %}{{ d }} {{ d.get('y', 2) }}", "{'x': 1} 2"),
        ("{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"),
        ("{% macro m(a, b='c') %}{{ a }}{{ b }}{{ varargs }}{% endmacro %}{{ m(1) }} {{ m(1, 2, 3) }}", "1c() 12(3,)"),
        ("{% macro m() %}<{{ caller(2) }}>{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}", "<2>"),
        (
            "{% for a in [1, [2, [3]]] recursive %}{% if a is iterable %}{{ loop(a) }}{% else %}{{ a }}{% endif %}{% endfor %}",
            "123",
        ),
        (
            "{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
            "02",
        ),
        ("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}", "abab"),
        ("{% set j = joiner('|') %}{% for i in 'abc' %}{{ j() }}{{ i }}{% endfor %}", "a|b|c"),
        ("{% for a, b in zip('ab', [1, 2]) %}{{ a }}{{ b }}{% endfor %} {{ dict(a=1) }}", "a1b2 {'a': 1}"),
        ("{{ 'a b'.split()[1].upper() }} {{ 'abc'[::-1] }} {{ 'x,y'.split(',')|join('+') }}", "B cba x+y"),
        (
            "{{ [3, 1, 2]|sort }} {{ ['b', 'A']|sort|join }} {{ [1, 1, 2]|unique|list }} {{ [1, 2]|sum }}",
            "[1, 2, 3] Ab [1, 2] 3",
        ),
        (
            "{{ [{'a': 2}, {'a': 1}]|map(attribute='a')|list }} {{ [{'a': 2}, {'a': 1}]|selectattr('a', 'eq', 1)|list }}",
            "[2, 1] [{'a': 1}]",
        ),
        (
            "{{ [1, 2, 3]|batch(2)|list }} {{ [1, 2, 3]|slice(2)|list }} {{ [1, 2]|reverse|list }}",
            "[[1, 2], [3]] [[1, 2], [3]] [2, 1]",
        ),
        ("{{ {'b': 1, 'a': '中'}|tojson }} {{ {'b': 1}|tojson(indent=1) }}", '{"b": 1, "a": "中"} {\n "b": 1\n}'),
        (
            "{{ [1, 2] == [1, 2] }} {{ 1 < 2 < 3 }} {{ 'a' in text }} {{ 5 not in [1] }} {{ text is string }}",
            "True True True True True",
        ),
        ("{% filter upper %}a{{ text }}{% endfilter %} {% set b %}x{{ 1 }}{% endset %}{{ b }}", "AA B x1"),
        (
            "{{ 'a\\nb'|indent(2) }} {{ 'hello world'|truncate(5, true, '...', 0) }} {{ 1.256|round(2) }} {{ '7'|int + 1 }}",
            "a\n  b he... 1.26 8",
        ),
        ("{{ text|e }} {{ '<b>'|e }} {{ 'x'|default('y') }} {{ ''|default('y', true) }}", "a b &lt;b&gt; x y"),
        (
            "{{ [1, 2]|first }}{{ [1, 2]|last }}{{ [1, 2]|length }}{{ 'abc'|count }}{{ [1, 5]|max }}{{ [1, 5]|min }}",
            "122351",
        ),
        ("{% if [1]|select('eq', 9) %}a stream is true{% endif %}", "a stream is true"),
    ],
)
def test_ordinary_jinja_works(body: str, expected: str) -> None:
    assert show(body) == expected


def test_agrees_with_jinja() -> None:
    """The same expressions give the same text in plain Jinja."""
    from jinja2 import Environment

    environment = Environment(
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], trim_blocks=True, lstrip_blocks=True
    )
    bodies = [
        "{{ items|join(', ') }} {{ items|map('upper')|join }} {{ items|first|capitalize }}",
        "{% for i in items %}{{ loop.index }}/{{ loop.length }}{{ loop.cycle('x', 'y') }}{{ loop.changed(1) }}{% endfor %}",
        "{{ text.title() }} {{ text.center(9) }}| {{ text.replace('a', 'c', 1) }} {{ text.partition(' ') }}",
        "{{ items|groupby(0) }} {{ {'b': 2, 'a': 1}|dictsort }} {{ {'a': 1}|items|list }} {{ 'a b c'|wordcount }}",
        "{{ 1234567|filesizeformat }} {{ 'a b c d'|wordwrap(3) }} {{ '<i>x</i>'|striptags }} {{ 'a b'|urlencode }}",
        "{{ 'ab'|list }} {{ 3.7|int }} {{ '3.5'|float }} {{ -2|abs }} {{ 'aBc'|lower }} {{ ' a '|trim }}.",
        "{{ none }} {{ true }} {{ 1.0 }} {{ (1,) }} {{ {'a': [1, 'b']} }} {{ range(3) }} {{ [] or 'x' }}",
    ]
    for body in bodies:
        expected = environment.from_string(body).render(text="a b", items=["ab", "cd"]).strip()
        assert show(body, items=["ab", "cd"]) == expected


def test_bounds_are_what_is_asked_for() -> None:
    with pytest.raises(TemplateError, match="more than 10 characters") as caught:
        show("{% for i in range(20) %}x{% endfor %}", limits=Limits(output_chars=10))
    assert caught.value.rule == "output"
    with pytest.raises(TemplateError, match="more than 1,000 steps"):
        show("{% for i in range(90000) %}{% set x = i %}{% endfor %}", limits=Limits(work=1000))
    assert show("{{ 1 + 1 }}", limits=Limits(time_s=0.0)) == "2"


def test_error_names_template_line_and_row() -> None:
    with pytest.raises(TemplateError) as caught:
        show("one\n{{ text.nothing }}\n{{ 1 // 0 }}")
    message = str(caught.value)
    assert '"open/en/show"' in message
    assert "memory" in message
    assert len(message.splitlines()) == 3
    with pytest.raises(TemplateError, match="line 3"):
        show("one\n{% set x = 2 %}\n{% set x = 1 // 0 %}")


def test_message_of_an_error_is_printable() -> None:
    with pytest.raises(TemplateError) as caught:
        show("{{ {}['\x1b[31m'] + 1 }}")
    assert "\x1b" not in str(caught.value)


def test_date_is_the_pinned_one() -> None:
    from datetime import datetime

    source = "{{ strftime_now('%d %b %Y') }}"
    assert compile_chat_template(source, now=datetime(2024, 7, 26)).render([]) == "26 Jul 2024"
    with pytest.raises(TemplateError, match="none is pinned"):
        compile_chat_template(source).render([])
    for pattern in ("%999999999d", "%-9999999d", "x" * 1000):
        with pytest.raises(TemplateError, match="format"):
            compile_chat_template("{{ strftime_now('" + pattern + "') }}", now=datetime(2024, 7, 26)).render([])


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " 你好 {{ 1 }} "},
    {"role": "assistant", "content": "fine", "reasoning": "hm"},
    {"role": "user", "content": "fine"},
]
CHAT_TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "trimmed": (
        "{{- bos_token }}\n{%- for m in messages %}\n    {%- if m.role == 'assistant' %}\n"
        "        {%- generation %}{{ m.content | trim }}{{ eos_token }}{% endgeneration %}\n"
        "    {%- else %}\n{{ '[' ~ m.role | upper ~ '] ' ~ m.content.strip() }}\n    {%- endif %}\n{%- endfor %}"
    ),
    "tools": (
        "{% if tools is defined and tools %}{% for t in tools %}{{ t | tojson(indent=2) }}\n{% endfor %}{% endif %}"
        "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m['role'] == 'user' %}"
        "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
        "{% for m in messages[::-1] %}{{ m.role }}{% if loop.index0 == ns.last %}!{% endif %}"
        "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
        "{{ m.content }}{{ m.missing }}\n{% endfor %}"
    ),
    "refusing": "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{{ m.content }}{% endfor %}",
}


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_chat_templates_render_as_transformers_renders_them(name: str) -> None:
    transformers = pytest.importorskip("transformers.utils.chat_template_utils")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"items": {"名": [1, None]}}}}]
    template = compile_chat_template(CHAT_TEMPLATES[name])
    for chat in (CHAT, CHAT[1:], CHAT[1:2]):
        for generate in (False, True):
            given = {"tools": tools, "add_generation_prompt": generate, "bos_token": "<s>", "eos_token": "</s>"}
            try:
                (expected,), (spans,) = transformers.render_jinja_template(
                    [chat], chat_template=CHAT_TEMPLATES[name], return_assistant_tokens_mask=True, **given
                )
            except Exception as error:
                with pytest.raises(TemplateError, match=str(error)):
                    template.render(chat, **given)
                continue
            traced = template.trace(chat, **given)
            assert traced.text == expected
            assert traced.generations == tuple(spans)
            for place in traced.contents:
                if place.exact:
                    assert traced.text[place.start : place.end] == chat[place.message]["content"]
            assert {place.message for place in traced.contents} == set(range(len(chat)))


def test_chat_contents_in_parts_are_traced() -> None:
    source = "{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}"
    chat = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "a"}]}]
    traced = compile_chat_template(source).trace(chat)
    assert [(place.part, place.start, place.end) for place in traced.contents] == [(0, 1, 2), (1, 4, 5)]
