# ruff: noqa: E501  (a template and what it gives stand on one line)
"""Import of lm-eval's declarative tasks: read as data, rendered to the harness's bytes, their Python never run."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner
from jinja2 import BaseLoader, Environment, StrictUndefined
from rows_kit import shapes_of

from instructforge.building import InstructionSet, Source, build
from instructforge.cli import main
from instructforge.data import Row
from instructforge.errors import DataError, DecodingError, InstructForgeError, TemplateError, UnknownNameError
from instructforge.importing import lm_eval, promptsource
from instructforge.importing.filters import FilterDecoder, problem_of
from instructforge.importing.lm_eval_plan import plan_lm_eval, refusal
from instructforge.importing.lm_eval_rows import RowReader
from instructforge.importing.promptsource import PromptsourceTemplate
from instructforge.importing.writing import write_plugin
from instructforge.plugins import Forge
from instructforge.templates.dialects import LM_EVAL, RowText
from instructforge.templates.limits import Limits

FILES = {
    "_base": "dataset_path: json\noutput_type: multiple_choice\ntest_split: test\ndoc_to_choice: [A, B]\nmetric_list:\n  - {metric: acc, aggregation: mean}\n  - {metric: acc_norm}\n  - {metric: f1, aggregation: !function utils.f1}\n",
    "pick.yaml": 'include: _base\ntask: my_pick\ntag: [mine, other]\ndescription: "Pick one.\\n\\n"\ndoc_to_text: "{{question.strip()}}\\nAnswer:"\ndoc_to_target: answer\nnum_fewshot: 5\n',
    "rows/own.yaml": 'include: ../_base\ntask: own_choices\ndoc_to_text: "{{question}}"\ndoc_to_target: "{{choices.label.index(key)}}"\ndoc_to_choice: "{{choices.text}}"\n',
    "generate.yaml": 'task: gsm\ndataset_path: gsm8k\ndoc_to_text: "Q: {{question}}"\ndoc_to_target: "{{answer}}"\ngen_prefix: "So "\ngeneration_kwargs: {until: ["Q:"], max_gen_toks: 99, do_sample: true, temperature: 0.0}\nrepeats: 2\nfilter_list:\n  - {name: strict-match, filter: [{function: regex, regex_pattern: "#### ([0-9]+)"}, {function: take_first}]}\n  - {name: votes, filter: [{function: majority_vote}]}\n  - {name: slow, filter: [{function: regex, regex_pattern: "(a+)+b"}]}\n  - {name: python, filter: [{function: !function utils.F}]}\n',
    "python.yaml": "task: made_by_python\nprocess_docs: !function utils.process_docs\ndoc_to_text: '{{x}}'\ndoc_to_target: '{{y}}'\n",
    "python2.yaml": "task: text_by_python\ndoc_to_text: !function utils.text\ndoc_to_target: '{{y}}'\n",
    "class.yaml": "task: a_class\nclass: !function task.Class\n",
    "rolling.yaml": "task: rolling\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n",
    "loop.yaml": "include: loop2.yaml\ntask: loop\n",
    "loop2.yaml": "include: loop.yaml\n",
    "outside.yaml": "include: ../../../etc/passwd\ntask: outside\n",
    "missing.yaml": "include: nothing_there\ntask: missing\n",
    "bad.yaml": "task: !!python/object/apply:os.system ['true']\n",
    "broken.yaml": "task: broken\ndoc_to_text: '{% if %}'\ndoc_to_target: '{{y}}'\n",
    "twice.yaml": "task: my_pick\ndoc_to_text: '{{x}}'\ndoc_to_target: '{{y}}'\n",
    "group.yaml": "group: all_of_mine\ntask:\n  - my_pick\n  - {task: own_choices, num_fewshot: 3}\n  - {task: inline, include: _base, doc_to_text: '{{q}}', doc_to_target: 1}\n  - {group: inner, task: [gsm]}\n",
}
PICK_ROW = {"question": " Which? ", "answer": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "tasks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "tasks" / "utils.py").write_text("raise SystemExit('run')\n", encoding="utf-8")
    return tmp_path / "tasks"


# --- Reading -----------------------------------------------------------------------------------------------


def test_includes_are_merged_and_python_is_a_name(folder: Path) -> None:
    found = lm_eval.load(folder)
    assert {task.name for task in found} == {
        "my_pick", "own_choices", "gsm", "made_by_python", "text_by_python", "a_class", "rolling", "broken", "all_of_mine::inline",
    }  # fmt: skip
    pick = found.task("my_pick")
    assert (pick.output_type, pick.dataset, pick.config["doc_to_choice"]) == ("multiple_choice", "json", ["A", "B"])
    assert found.groups["mine"] == ("my_pick",)
    assert found.groups["all_of_mine"] == ("my_pick", "own_choices", "inline", "all_of_mine::inner")
    assert found.overridden == {"all_of_mine::own_choices": ("num_fewshot",)}
    told = sorted(str(error).partition("\n")[0] for error in found.failures)
    assert len(told) == 5
    assert any("leads back to it" in line for line in told)
    assert any("outside of what was given" in line for line in told)
    assert any("which is not there" in line for line in told)
    assert any("has the tag" in line for line in told)
    assert any('"my_pick", which' in line for line in told)
    with pytest.raises(UnknownNameError, match="my_pick"):
        found.task("my_pik")


def test_a_single_file_includes_from_its_own_folder_alone(folder: Path) -> None:
    assert [task.name for task in lm_eval.load(folder / "pick.yaml")] == ["my_pick"]
    with pytest.raises(DataError, match="lies outside of what was given"):
        lm_eval.load(folder / "rows" / "own.yaml")
    (folder / "rows" / "_link").symlink_to(folder / "_base")
    (folder / "rows" / "linked.yaml").write_text("include: _link\ntask: t\n", encoding="utf-8")
    with pytest.raises(DataError, match="is not there"):
        lm_eval.load(folder / "rows" / "linked.yaml")
    with pytest.raises(DataError):
        lm_eval.load(folder / "none.yaml")


def test_includes_that_multiply_are_read_once(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"part{number}.yaml").write_text(
            f"include: [{', '.join([f'part{number + 1}.yaml'] * 9)}]\n", encoding="utf-8"
        )
    (tmp_path / "part40.yaml").write_text("doc_to_text: '{{x}}'\n", encoding="utf-8")
    (tmp_path / "task.yaml").write_text("include: part0.yaml\ntask: t\ndoc_to_target: '{{y}}'\n", encoding="utf-8")
    (tmp_path / "nul.yaml").write_text('include: "a\\0b"\ntask: t\n', encoding="utf-8")
    assert lm_eval.load(tmp_path / "task.yaml").task("t").doc_to_text({"x": "a"}) == "a"
    with pytest.raises(DataError, match="is not there"):
        lm_eval.load(tmp_path / "nul.yaml")


# --- Rendering ---------------------------------------------------------------------------------------------


def test_texts_targets_and_choices(folder: Path) -> None:
    found = lm_eval.load(folder)
    pick, own = found.task("my_pick"), found.task("own_choices")
    assert (pick.doc_to_text(PICK_ROW), pick.doc_to_target(PICK_ROW), pick.doc_to_choice(PICK_ROW)) == (
        "Which?\nAnswer:",
        1,
        ["A", "B"],
    )
    assert pick.description(PICK_ROW) == "Pick one.\n\n"
    row = {"question": "q", "choices": {"text": ["x's", 'y"'], "label": ["1", "2"]}, "key": "2"}
    assert (own.doc_to_target(row), own.doc_to_choice(row)) == (1, ["x's", 'y"'])
    assert found.task("gsm").gen_prefix({}) == "So "
    with pytest.raises(TemplateError, match="undefined"):
        pick.doc_to_text({})
    with pytest.raises(DataError, match="is Python"):
        found.task("text_by_python").doc_to_text({})


def test_what_a_target_stands_for() -> None:
    reader = RowReader("{{ t }}", ["a", "b"])
    assert reader.answers({"t": 1}, ["a", "b"]) == reader.answers({"t": "b"}, ["a", "b"]) == ("b",)
    assert reader.answers({"t": [0, 1]}, ["a", "b"]) == ("a", "b")
    assert reader.answers({"t": ""}, ["a", "b"]) == RowReader("t", ["a"]).answers({"t": -1}, ["a"]) == ()
    with pytest.raises(DataError, match="none of the 2 choices"):
        reader.answers({"t": 7}, ["a", "b"])
    assert RowReader("{{ t }}").answers({"t": ["x", "y", "x"]}, None) == ("x", "y")
    with pytest.raises(DataError, match="no literal"):
        RowReader("t", "{{ c }}").choices({"c": "open('x')"})
    with pytest.raises(DataError, match="too large"):
        RowReader("t", "{{ c }}").choices({"c": "[" * 100 + "]" * 100})


def test_regex_replace_is_bounded() -> None:
    def text(source: str) -> RowText:
        return RowText(source, name="t", environment=LM_EVAL.environment(Limits()))

    assert text(r"{{ x | regex_replace('[0-9]+', '<\\g<0>>') }}").render({"x": "a12b3"}) == "a<12>b<3>"
    assert text("{{ x | regex_replace('a', '', 1) }}").render({"x": "aab"}) == "ab"
    for pattern in ("(a+)+$", "(a|a)*b", "(a)\\\\1", "a*a*a*a*b", "("):
        with pytest.raises(TemplateError):
            text(f"{{{{ x | regex_replace('{pattern}', '') }}}}").render({"x": "a" * 5_000})
    with pytest.raises(TemplateError):
        text("{{ x | regex_replace('', x) }}").render({"x": "a" * 5_000})


def test_json_is_written_as_stock_jinja_writes_it() -> None:
    row = {"x": {"b": "<&'é>", "a": 1}}
    source = "{{ x | tojson }}"
    assert RowText(source, name="t", environment=LM_EVAL.environment(Limits())).render(
        row
    ) == Environment().from_string(source).render(**row)


# --- Filters -----------------------------------------------------------------------------------------------


def test_filters_read_what_a_model_wrote() -> None:
    steps = (
        {"function": "regex", "regex_pattern": r"(-?[0-9.,]{2,})|(-?[0-9]+)", "group_select": -1},
        {"function": "take_first"},
    )
    assert FilterDecoder("f", steps, ("Q:",)).read("1 and 23. Q: 99") == "23."
    chain = (
        {"function": "lowercase"},
        {"function": "remove_whitespace"},
        {"function": "map", "mapping_dict": {"a": "first"}},
    )
    assert FilterDecoder("f", chain).read(" A ") == "first"
    with pytest.raises(DecodingError, match="matches nothing"):
        FilterDecoder("f", steps).read("none")
    with pytest.raises(DecodingError, match="not among"):
        FilterDecoder("f", chain).read("b")
    with pytest.raises(DecodingError, match="nothing is left"):
        FilterDecoder("f", (), ("\n",)).read("\nx")


@pytest.mark.parametrize(
    "step",
    [
        {"function": "majority_vote"},
        {"function": "regex", "regex_pattern": "(a+)+b"},
        {"function": "regex", "regex_pattern": "("},
        {"function": lm_eval.Function("x")},
        {"function": "regex", "other": 1},
        "x",
    ],
)
def test_filters_that_cannot_be_carried_over(step: Any) -> None:
    assert problem_of(step)


# --- Plans and plugins -----------------------------------------------------------------------------------------


def test_a_plan_says_what_it_carries_and_why_not(folder: Path) -> None:
    report = plan_lm_eval(lm_eval.load(folder), name="p", source="x").report
    assert (report.found, report.carried) == (14, 4)
    assert report.refused["made_by_python"] == "process_docs is Python, which is not run"
    assert report.refused["text_by_python"] == "doc_to_text is Python, which is not run"
    assert report.refused["a_class"] == "class is Python, which is not run"
    assert report.refused["rolling"] == "output_type loglikelihood_rolling has no answer"
    assert "line 1" in report.refused["broken"]
    assert report.left_out["my_pick"] == [
        "metric acc_norm: predict with the decoder choice-likelihood-characters for it",
        "metric f1",
        "num_fewshot",
    ]
    assert report.left_out["gsm"] == [
        "filter votes: majority_vote is not known",
        "filter slow: its regular expression has a repeat or a choice within a repeat",
        "filter python: it is Python, which is not run",
        "repeats",
        "generation_kwargs.do_sample",
    ]
    assert set(report.groups) == {"mine", "other", "all_of_mine", "all_of_mine::inner"}


@pytest.mark.parametrize(("pattern", "carried"), [("my_*", 1), ("mine", 1), ("all_of_mine", 4), ("gsm", 1)])
def test_tasks_are_chosen_by_name_group_or_tag(folder: Path, pattern: str, carried: int) -> None:
    assert plan_lm_eval(lm_eval.load(folder), name="p", source="x", patterns=[pattern]).report.carried == carried
    with pytest.raises(UnknownNameError):
        plan_lm_eval(lm_eval.load(folder), name="p", source="x", patterns=["nothing"])


def test_the_plugin_builds_what_the_harness_asks(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(
        main, ["import", "lm-eval", str(folder), "--into", str(tmp_path / "from-lm-eval"), "--language", "en"]
    )
    assert result.exit_code == 0, result.output
    assert "4 of 14 tasks were carried over" in result.output
    monkeypatch.syspath_prepend(str(tmp_path / "from-lm-eval"))
    monkeypatch.delitem(sys.modules, "from_lm_eval", raising=False)
    forge = Forge([import_module("from_lm_eval")])
    assert sorted(name for name in forge.tasks if forge.tasks.owner(name) == "from_lm_eval") == [
        "all-of-mine-inline",
        "gsm",
        "my-pick",
        "own-choices",
    ]
    assert forge.tasks.get("gsm").target.max_new_tokens == 99  # type: ignore[attr-defined]
    assert forge.decoders.get("gsm.strict-match").read("so #### 12 Q: #### 3") == "12"  # type: ignore[attr-defined]
    rows = [
        PICK_ROW,
        {"question": "other", "answer": 0},
        {"question": "none", "answer": -1},
        {"question": "bad", "answer": 9},
    ]
    _build(forge, "my-pick", rows, tmp_path)
    made = {one.example.inputs["question"]: one for one in InstructionSet(tmp_path / "run-my-pick", "train")}
    pick = made[" Which? "]
    assert [(one.role, one.content) for one in pick.messages] == [
        ("system", "Pick one."),
        ("user", "Which?\nAnswer:"),
        ("assistant", "B"),
    ]
    assert (pick.labels, pick.example.answers, made["none"].example.answers) == (("A", "B"), ("B",), ())
    own = {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "key": "2"}
    _build(forge, "own-choices", [own], tmp_path)
    (one,) = InstructionSet(tmp_path / "run-own-choices", "train")
    assert (one.choices, one.completion) == (("x", "y"), "y")
    _build(forge, "gsm", [{"question": "1+1?", "answer": "It is 2.\n#### 2"}], tmp_path)
    (one,) = InstructionSet(tmp_path / "run-gsm", "train")
    assert (one.messages[0].content, one.completion, one.affixes) == ("Q: 1+1?", "So It is 2.\n#### 2", ("So ", ""))


def _build(forge: Forge, task: str, rows: list[dict[str, Any]], folder: Path) -> None:
    path = folder / f"{task}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ledger = build(forge, task, [Source(str(path), split="train")], folder / f"run-{task}").ledger
    assert ledger["totals"]["read"] == len(rows)


def test_normalizers_reach_workers(folder: Path, tmp_path: Path) -> None:
    from instructforge.data import Origin
    from instructforge.importing.plugin import ImportedPlugin

    write_plugin(plan_lm_eval(lm_eval.load(folder), name="workers", source="x"), tmp_path / "out")
    for normalizer in ImportedPlugin(tmp_path / "out" / "workers").normalizers():
        if normalizer.name == "my-pick":
            row = Row(PICK_ROW, Origin("x", 1))
            assert pickle.loads(pickle.dumps(normalizer.function))(row) == normalizer.function(row)


def test_prompts_of_promptsource(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(
        "task: rte\ndataset_path: somebody/glue\ndataset_name: rte\nuse_prompt: 'promptsource:GPT*'\n", encoding="utf-8"
    )
    tasks = lm_eval.load(tmp_path / "t.yaml")
    assert "--promptsource" in plan_lm_eval(tasks, name="p", source="x").report.refused["rte"]
    named = [
        PromptsourceTemplate(dataset="glue", subset="rte", id=str(n), name=name, jinja="{{a}} ||| {{b}}")
        for n, name in enumerate(("GPT-3 style", "other"))
    ]
    plan = plan_lm_eval(tasks, name="p", source="x", collection=promptsource.Collection(tuple(named)))
    assert (plan.report.carried, [list(task.templates) for task in plan.tasks]) == (1, [["en/gpt-3-style"]])
    empty = plan_lm_eval(tasks, name="p", source="x", collection=promptsource.Collection((named[1],)))
    assert "no such template" in empty.report.refused["rte"]


# --- The harness's own tasks -------------------------------------------------------------------------------------

HARNESS = os.environ.get("INSTRUCTFORGE_LM_EVAL", "")


@pytest.mark.skipif(not HARNESS, reason="INSTRUCTFORGE_LM_EVAL names no folder lm_eval/tasks of lm-eval 0.4.13")
@pytest.mark.data
@pytest.mark.slow
def test_the_harness_s_own_tasks_render_as_it_renders_them() -> None:
    found = lm_eval.load(HARNESS)
    assert (len(found), found.failures) == (13_190, ())
    environment = Environment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    tally: Counter[str] = Counter()
    seen: set[str] = set()
    for task in found:
        texts = [task.config.get(key) for key in ("doc_to_text", "doc_to_target", "doc_to_choice")]
        if refusal(task) is None and task.config.get("use_prompt") is None and repr(texts) not in seen:
            seen.add(repr(texts))
            _compare(task, texts, environment, tally)
    assert tally["same"] > 5_000


def _compare(task: Any, texts: list[Any], environment: Environment, tally: Counter[str]) -> None:
    sources = [f"{{{{ {text} }}}}" if re.fullmatch(r"\w+", text) else text for text in texts if isinstance(text, str)]
    shapes, random = shapes_of(*sources), Random(task.name)
    harness = _Harness(environment, *texts)
    for _ in range(2):
        row = {name: shape.value(random) for name, shape in shapes.items()}
        for key, text in zip(("doc_to_text", "doc_to_target", "doc_to_choice"), texts, strict=True):
            if isinstance(text, str):
                ours, theirs = _outcome(getattr(task, key), row), _outcome(getattr(harness, key), row)
                assert ours == theirs, f"{task.name}: {text} {row}"
                tally["same" if ours is not None else "both fail"] += 1


def _outcome(function: Any, row: dict[str, Any]) -> Any:
    try:
        return function(row)
    except InstructForgeError:
        return None
    except Exception:  # whatever stock Jinja fails with
        return None


class _Harness:
    """What ``ConfigurableTask`` does with its three templates."""

    def __init__(self, environment: Environment, text: Any, target: Any, choice: Any) -> None:
        self.environment, self.text, self.target, self.choice = environment, text, target, choice

    def rendered(self, source: str, row: dict[str, Any]) -> str:
        return self.environment.from_string(source).render(**row)

    def doc_to_text(self, row: dict[str, Any]) -> Any:
        if self.text in row:
            return row[self.text]
        made = self.rendered(self.text, row)
        return ast.literal_eval(made) if made.isdigit() and self.choice is not None else made

    def doc_to_target(self, row: dict[str, Any]) -> Any:
        if self.target in row:
            return row[self.target]
        made = self.rendered(self.target, row)
        if made.isdigit() and self.choice is not None:
            return ast.literal_eval(made)
        if len(made) >= 2 and made[0] == "[" and made[-1] == "]":
            try:
                return ast.literal_eval(made)
            except (SyntaxError, ValueError):
                return made
        return made

    def doc_to_choice(self, row: dict[str, Any]) -> Any:
        found = row[self.choice] if self.choice in row else ast.literal_eval(self.rendered(self.choice, row))
        return list(map(str, found)) if isinstance(found, list) and found else None  # ours takes nothing else
