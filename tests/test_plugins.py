"""Forge: what it lets in, what it refuses and why, what it answers."""

from __future__ import annotations

import pickle
import types
from pathlib import Path
from typing import Any

import pytest
from plugin_kit import TEMPLATE

from instructforge import (
    Choice,
    Example,
    Normalizer,
    Row,
    Sample,
    Span,
    Task,
    TemplateFolder,
    Text,
    hookimpl,
    hookspecs,
)
from instructforge.components import Lazy, ModelSource
from instructforge.errors import DuplicateNameError, PluginContractError, PluginError, UnknownNameError
from instructforge.plugincheck import KINDS
from instructforge.plugins import Forge


def task(name: str = "a", **parts: Any) -> Task:
    return Task(name, **({"summary": "x", "fields": {"text": "x"}, "target": Choice(["good", "bad"])} | parts))


def giving(hook: str, *components: object, title: str = "plugin") -> Any:
    """Return an in-memory plugin whose hook gives these components."""

    def provide() -> tuple[object, ...]:
        return components

    provide.__name__ = f"instructforge_{hook}"
    return types.SimpleNamespace(__name__=title, **{provide.__name__: hookimpl(provide)})


def forge(*plugins: object) -> Forge:
    return Forge(plugins, builtins=False)


def read(row: Row) -> Example:
    return Example(inputs=dict(row.values))


def yes(values: Any) -> bool:
    return True


# --- Components ---------------------------------------------------------------------------------------


def test_every_provider_hook_has_its_kind_and_its_registry() -> None:
    providers = {
        name.removeprefix("instructforge_")
        for name, function in vars(hookspecs).items()
        if getattr(function, "instructforge_spec", {}).get("historic")
    }
    assert providers == set(KINDS)
    empty = forge()
    assert all(len(getattr(empty, hook)) == 0 for hook in KINDS if hook != "templates")
    assert empty.template_folders == []


@pytest.mark.parametrize("hook", [hook for hook, kind in KINDS.items() if kind.lazy])
def test_a_lazy_component_is_let_in_wherever_it_may_stand(hook: str) -> None:
    found = forge(giving(hook, Lazy("far-away", "a_module_that_nobody_has:Thing")))
    assert list(getattr(found, hook)) == ["far-away"]


@pytest.mark.parametrize("hook", list(KINDS))
@pytest.mark.parametrize("component", [None, 3, "a name", object(), task, {"name": "x"}])
def test_what_is_no_component_is_refused_by_every_hook(hook: str, component: object) -> None:
    with pytest.raises(PluginContractError, match=r'plugin "odd"'):
        forge(giving(hook, component, title="odd"))


@pytest.mark.parametrize("hook", list(KINDS))
def test_a_class_is_refused_by_every_hook(hook: str) -> None:
    class Component:
        name = "x"

    with pytest.raises(PluginContractError, match=r"Give an instance of it: Component"):
        forge(giving(hook, Component))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Upper",
        "with space",
        "under_score",
        "../up",
        "a/b",
        "a\x00b",
        "-a",
        "a-",
        "a--b",
        "..",
        "名",
        "x" * 81,
        None,
        3,
    ],
)
def test_a_name_that_cannot_be_in_a_path_is_refused(name: Any) -> None:
    with pytest.raises(PluginContractError, match="has a name that cannot be used"):
        forge(giving("tasks", task(name)))


@pytest.mark.parametrize("name", ["a", "qa-choice", "qwen2.5-0.5b", "7-days", "x" * 80])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert list(forge(giving("tasks", task(name))).tasks) == [name]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"target": Choice}, "not a target"),
        ({"target": "choice"}, "not a target"),
        ({"target": Span(within="passage")}, 'within is "passage"'),
        ({"target": Choice(from_field="txt")}, 'Did you mean "text"'),
        ({"fields": {}, "target": Text()}, "it has no fields"),
        ({"fields": {"two words": "x"}}, "is not a plain word"),
        ({"fields": {"text": 3}}, "is not a plain word"),
        ({"samples": ["a text"]}, "not a Sample"),
    ],
)
def test_a_task_that_is_not_complete_is_refused(parts: dict[str, Any], reason: str) -> None:
    with pytest.raises(PluginContractError, match=reason):
        forge(giving("tasks", task(**parts)))


def test_a_component_that_lacks_a_part_is_told_which() -> None:
    with pytest.raises(PluginContractError, match=r"it lacks needs, decode\(\)"):
        forge(giving("decoders", types.SimpleNamespace(name="half")))
    with pytest.raises(PluginContractError, match=r"it lacks higher_is_better, prepare\(\), reduce\(\)"):
        forge(giving("metrics", types.SimpleNamespace(name="half")))
    with pytest.raises(PluginContractError, match='not "module:attribute"'):
        forge(giving("metrics", Lazy("half", "no colon here")))
    with pytest.raises(PluginContractError, match="cannot be called"):
        forge(giving("normalizers", Normalizer("half", task="a", function=None, accepts=yes)))  # type: ignore[arg-type]


def test_a_template_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginContractError, match=r"does not exist.*\n.*\n.*wheel contains the files"):
        forge(giving("templates", TemplateFolder(tmp_path / "nowhere")))


def test_two_plugins_with_one_template_key(tmp_path: Path) -> None:
    for owner in ("one", "two"):
        path = tmp_path / owner / "a" / "en" / "plain.jinja"
        path.parent.mkdir(parents=True)
        path.write_text(TEMPLATE)
    found = forge(giving("tasks", task()), giving("templates", TemplateFolder(tmp_path / "one"), title="one"))
    with pytest.raises(DuplicateNameError, match='"a/en/plain" of plugin "two" is already there from plugin "one"'):
        found.register(giving("templates", TemplateFolder(tmp_path / "two"), title="two"))
    assert [(ref.key, ref.owner) for ref in found.templates.refs()] == [("a/en/plain", "one")]
    assert found.template("a/en/plain").task.name == "a"


def test_templates_for_another_plugin_s_task(tmp_path: Path) -> None:
    path = tmp_path / "a" / "zh" / "plain.jinja"
    path.parent.mkdir(parents=True)
    path.write_text(TEMPLATE)
    found = forge(giving("templates", TemplateFolder(tmp_path), title="words"), giving("tasks", task()))
    assert found.template("a/zh/plain").language == "zh"
    with pytest.raises(UnknownNameError):
        found.template("b/zh/plain")
    with pytest.raises(UnknownNameError):
        found.template("a/zh/plan")


def test_components_of_every_kind_reach_their_registries() -> None:
    model = ModelSource("tiny", fetch="m:f", family="encoder", languages=["en"])
    found = forge(
        giving("tasks", task(), title="one"),
        giving("models", model, title="two"),
        giving("normalizers", Normalizer("rows", task="a", function=read, accepts=yes), title="three"),
        giving("filters", types.SimpleNamespace(name="short"), title="four"),
    )
    assert found.models.get("tiny") is model
    assert [info.provides for info in found.plugins] == [
        {"tasks": ("a",)},
        {"models": ("tiny",)},
        {"normalizers": ("rows",)},
        {"filters": ("short",)},
    ]


# --- Plugins ------------------------------------------------------------------------------------------


def test_a_duplicate_component_takes_its_plugin_out_whole_and_overwrites_nothing() -> None:
    first = task("shared")
    found = forge(giving("tasks", first, title="one"))
    with pytest.raises(DuplicateNameError, match=r'"shared" of plugin "two" is already registered by plugin "one"'):
        found.register(giving("tasks", task("own"), task("shared"), title="two"))
    assert list(found.tasks) == ["shared"]
    assert found.tasks.get("shared") is first
    assert [info.name for info in found.plugins] == ["one"]


def test_two_plugins_of_one_name() -> None:
    with pytest.raises(DuplicateNameError, match='A plugin called "same" is already registered'):
        forge(giving("tasks", task("a"), title="same"), giving("tasks", task("b"), title="same"))


def test_a_plugin_can_be_registered_late_under_a_name_of_its_own() -> None:
    found = forge()
    info = found.register(giving("tasks", task()), "my-own")
    assert info.name == "my-own"
    assert info.provides == {"tasks": ("a",)}
    assert found.tasks.owner("a") == "my-own"
    assert found.plugin("my-own") is not None
    with pytest.raises(UnknownNameError, match='Did you mean "my-own"'):
        found.plugin("my-onw")


@pytest.mark.parametrize("plugin", [None, "instructforge_qa", 3, [], {}, print, task])
def test_what_is_no_plugin_is_refused(plugin: object) -> None:
    with pytest.raises(PluginContractError, match="not a module or an object"):
        forge(plugin)


def test_a_plugin_without_hooks_is_refused() -> None:
    with pytest.raises(PluginContractError, match="it has no hooks"):
        forge(types.ModuleType("empty"))


def test_a_plugin_for_a_newer_version_is_refused_with_the_way_out() -> None:
    source = giving("tasks", task(), title="modern")
    source.INSTRUCTFORGE_HOOKS = hookspecs.HOOK_VERSION + 1
    source.instructforge_holograms = giving(
        "holograms"
    ).instructforge_holograms  # not held against it: it is for a newer version
    with pytest.raises(PluginContractError, match=r"needs hook version 2.*\bpip install --upgrade instructforge"):
        forge(source)
    source.INSTRUCTFORGE_HOOKS = "two"
    with pytest.raises(PluginContractError, match='INSTRUCTFORGE_HOOKS is "two"'):
        forge(source)
    del source.instructforge_holograms
    source.INSTRUCTFORGE_HOOKS = hookspecs.HOOK_VERSION
    assert list(forge(source).tasks) == ["a"]


def test_every_problem_of_a_plugin_is_told_at_once() -> None:
    source = giving("tasks", task())
    source.instructforge_taks = giving("taks").instructforge_taks
    source.instructforge_metrics = read  # any function that is not marked
    with pytest.raises(PluginContractError) as caught:
        forge(source)
    assert "instructforge_taks" in str(caught.value)
    assert "instructforge_metrics() is not marked" in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), GeneratorExit(), MemoryError(), RecursionError()])
def test_whatever_a_provider_raises_becomes_an_error_that_names_the_plugin(error: BaseException) -> None:
    @hookimpl
    def instructforge_tasks() -> Any:
        raise error

    with pytest.raises(PluginError, match='Plugin "odd" failed') as caught:
        forge(types.SimpleNamespace(__name__="odd", instructforge_tasks=instructforge_tasks))
    assert caught.value.plugin == "odd"
    assert caught.value.__cause__ is error


def test_an_interrupt_is_passed_on_and_leaves_nothing_behind() -> None:
    @hookimpl
    def instructforge_tasks() -> Any:
        yield task("half")
        raise KeyboardInterrupt

    found = forge()
    with pytest.raises(KeyboardInterrupt):
        found.register(types.SimpleNamespace(__name__="one", instructforge_tasks=instructforge_tasks))
    assert list(found.tasks) == []
    assert found.plugins == []


def test_two_forges_know_nothing_of_each_other() -> None:
    source = giving("tasks", task())
    one, two = forge(source), forge()
    assert list(one.tasks) == ["a"]
    assert list(two.tasks) == []
    two.register(source)
    assert list(two.tasks) == ["a"]


def test_the_built_in_parts_enter_by_the_same_hooks() -> None:
    whole = Forge()
    (info,) = whole.plugins
    assert info.name == "builtin"
    assert {"decoders", "metrics", "readers"} <= set(info.provides)
    assert whole.decoders.owner("choice") == "builtin"
    without = Forge(disabled=["builtin"])
    assert without.plugins == []
    with pytest.raises(DuplicateNameError, match="builtin"):
        whole.register(giving("tasks", task(), title="builtin"))


# --- Asking -------------------------------------------------------------------------------------------


def test_the_normalizers_of_a_task_are_those_it_names_then_others_for_it() -> None:
    def rows(name: str, of: str) -> Normalizer:
        return Normalizer(name, task=of, function=read, accepts=yes)

    found = forge(
        giving(
            "normalizers", rows("other", "a"), rows("named", "a"), rows("foreign", "b"), Lazy("lazy", "m:f"), title="n"
        ),
        giving("tasks", task(normalizers=["named"])),
    )
    assert [one.name for one in found.normalizers_for(found.tasks.get("a"))] == ["named", "other"]
    with pytest.raises(UnknownNameError):
        found.normalizers_for(task(normalizers=["gone"]))


def test_parts_that_no_plugin_provides_are_told_and_not_fatal() -> None:
    found = forge(giving("tasks", task(normalizers=["rows"], decoder="chioce", metrics=["acuracy"], trainer="far")))
    problems = found.unresolved(found.tasks.get("a"))
    assert len(problems) == 5
    whole = Forge([giving("tasks", task(decoder="chioce", metrics=["acuracy"]))])
    assert sorted(sentence.partition("Did you mean ")[2] for sentence in whole.unresolved(whole.tasks.get("a"))) == [
        '"accuracy"?',
        '"choice"?',
    ]


def test_what_a_plugin_is_told_of_an_event() -> None:
    seen: list[object] = []

    @hookimpl
    def instructforge_run_finished(report: object, run: object) -> None:
        seen.append((run, report))

    found = forge(types.SimpleNamespace(__name__="one", instructforge_run_finished=instructforge_run_finished))
    assert found.emit("run_finished", run=Path("r"), report={"n": 1}) == []
    assert found.emit("instructforge_run_finished", run=Path("s"), report={}) == []
    assert seen == [(Path("r"), {"n": 1}), (Path("s"), {})]


def test_errors_about_plugins_can_be_sent_between_processes() -> None:
    error = PluginContractError("no", plugin="one")
    assert str(pickle.loads(pickle.dumps(error))) == "no"


def test_samples_are_worked_examples() -> None:
    example = Sample("en", {"text": "fine"}, "good").to_example(2)
    task().check(example)
    assert example.id == "sample-en-2"
