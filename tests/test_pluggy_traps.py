"""Every trap of pluggy that was found, row by row, and how ``Forge`` handles it."""

from __future__ import annotations

import sys
import types
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pluggy
import pytest
from plugin_kit import Installation, task_source

from instructforge import Choice, Task, Text, hookimpl
from instructforge.components import Lazy
from instructforge.errors import DuplicateNameError, PluginContractError, PluginError, UnknownNameError
from instructforge.hookspecs import hookspec
from instructforge.plugins import Forge


def task(name: str) -> Task:
    return Task(name, summary="x", fields={"text": "x"}, target=Choice(["good", "bad"]))


def plugin(*names: str, title: str = "plugin") -> Any:
    """Return an in-memory plugin with tasks of these names."""

    @hookimpl
    def instructforge_tasks() -> Any:
        for name in names:
            yield task(name)

    return types.SimpleNamespace(__name__=title, instructforge_tasks=instructforge_tasks)


def module(title: str, **parts: Any) -> Any:
    return types.SimpleNamespace(__name__=title, **parts)


# --- Rows 1 and 2: order and owner --------------------------------------------------------------------


def test_row_1_components_keep_registration_order() -> None:
    forge = Forge([plugin("c", title="one"), plugin("a", title="two"), plugin("b", title="three")], builtins=False)
    assert list(forge.tasks) == ["c", "a", "b"]


def test_row_1_discovery_is_sorted_by_distribution_then_entry_point(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    points = "[instructforge]\nzz = middle.z\naa = middle.a\n"
    package = installation.add("middle", "", entry_points=points)
    (package / "z.py").write_text(task_source("of-zz"))
    (package / "a.py").write_text(task_source("of-aa"))
    installation.add("zebra", task_source("of-zebra"), entry="a-first-name")
    installation.add("Aardvark", task_source("of-aardvark"), entry="z-last-name")
    names = [one["name"] for one in installation.json("tasks")["tasks"] if one["name"].startswith("of-")]
    assert names == ["of-aardvark", "of-aa", "of-zz", "of-zebra"]


def test_row_1_events_are_told_in_registration_order_whatever_pluggy_does() -> None:
    told: list[str] = []

    def listener(title: str, **options: bool) -> Any:
        @hookimpl(**options)
        def instructforge_stage_finished(stage: str) -> None:
            told.append(title)

        return module(title, instructforge_stage_finished=instructforge_stage_finished)

    plugins = [listener("last", trylast=True), listener("a"), listener("b"), listener("first", tryfirst=True)]
    Forge(plugins, builtins=False).emit("stage_finished", run=Path(), stage="build", summary={})
    assert told == ["first", "a", "b", "last"]


def test_row_2_every_component_knows_its_owner() -> None:
    forge = Forge([plugin("a", "b", title="one"), plugin("c", title="two")], builtins=False)
    assert [forge.tasks.owner(name) for name in "abc"] == ["one", "one", "two"]


# --- Rows 3 to 6: arguments ---------------------------------------------------------------------------


def test_row_3_the_pin_on_pluggy_is_met() -> None:
    assert tuple(map(int, version("pluggy").split(".")[:2])) >= (1, 7)


def test_row_3_an_argument_with_a_default_is_passed() -> None:
    seen: list[object] = []

    @hookimpl
    def instructforge_stage_finished(stage: object = "never passed") -> None:
        seen.append(stage)

    forge = Forge([module("one", instructforge_stage_finished=instructforge_stage_finished)], builtins=False)
    assert forge.emit("stage_finished", run=Path(), stage="build", summary={}) == []
    assert seen == ["build"]


def test_row_3_a_defaulted_argument_that_is_not_in_the_specification_is_refused() -> None:
    @hookimpl
    def instructforge_stage_finished(stage: str, verbose: bool = False) -> None: ...

    with pytest.raises(PluginContractError, match='asks for "verbose", which is not passed'):
        Forge([module("one", instructforge_stage_finished=instructforge_stage_finished)], builtins=False)


def test_row_3_a_misspelt_argument_gets_a_near_one() -> None:
    @hookimpl
    def instructforge_stage_finished(sumary: object) -> None: ...

    with pytest.raises(PluginContractError, match='Did you mean "summary"'):
        Forge([module("one", instructforge_stage_finished=instructforge_stage_finished)], builtins=False)


class Grown(Forge):
    """A Forge of a later version, whose specification has grown an argument and is about to lose another."""

    specifications = types.ModuleType("grown")


def _grow() -> None:
    from instructforge import hookspecs

    vars(Grown.specifications).update({k: v for k, v in vars(hookspecs).items() if k.startswith("instructforge_")})

    @hookspec(warn_on_impl_args={"old": DeprecationWarning("`old` goes with version 2; use `stage`")})
    def instructforge_stage_finished(run: Path, stage: str, summary: object, old: object, added: int = 7) -> None: ...

    vars(Grown.specifications)["instructforge_stage_finished"] = instructforge_stage_finished


_grow()


def test_row_4_a_specification_grows_by_defaulted_arguments() -> None:
    seen: list[object] = []

    @hookimpl
    def instructforge_stage_finished(stage: str, added: int) -> None:
        seen.append(added)

    forge = Grown([module("one", instructforge_stage_finished=instructforge_stage_finished)], builtins=False)
    forge.emit("stage_finished", run=Path(), stage="build", summary={}, old=None)
    forge.emit("stage_finished", run=Path(), stage="build", summary={}, old=None, added=8)
    assert seen == [7, 8]


def test_row_5_a_dropped_argument_warns_when_a_plugin_is_registered() -> None:
    @hookimpl
    def instructforge_stage_finished(stage: str, old: object) -> None: ...

    with pytest.warns(DeprecationWarning, match="`old` goes with version 2"):
        Grown([module("one", instructforge_stage_finished=instructforge_stage_finished)], builtins=False)


def test_row_6_keyword_only_and_catch_all_arguments_are_refused() -> None:
    @hookimpl
    def instructforge_stage_finished(*, stage: str) -> None: ...

    @hookimpl
    def instructforge_run_started(run: Path, **rest: object) -> None: ...

    parts = {
        "instructforge_stage_finished": instructforge_stage_finished,
        "instructforge_run_started": instructforge_run_started,
    }
    with pytest.raises(PluginContractError) as caught:
        Forge([module("one", **parts)], builtins=False)
    assert 'takes "stage" by keyword only' in str(caught.value)
    assert "takes *rest, which is never filled" in str(caught.value)


# --- Rows 7 to 10: registration -----------------------------------------------------------------------


def test_row_7_a_provider_that_raises_midway_leaves_nothing_behind() -> None:
    @hookimpl
    def instructforge_decoders() -> list[Lazy]:
        return [Lazy("of-the-broken", "json:loads")]

    @hookimpl
    def instructforge_tasks() -> Any:
        yield task("half")
        raise RuntimeError("midway")

    parts = {"instructforge_decoders": instructforge_decoders, "instructforge_tasks": instructforge_tasks}
    broken = module("broken", **parts)
    forge = Forge([plugin("good", title="good")], builtins=False)
    for _ in range(2):  # the second time it is not "already registered": it can be mended and tried again
        with pytest.raises(PluginError, match=r'Plugin "broken" failed.*midway'):
            forge.register(broken)
    assert list(forge.tasks) == ["good"]
    assert list(forge.decoders) == []
    assert [info.name for info in forge.plugins] == ["good"]
    forge.register(plugin("half", title="broken"))
    assert list(forge.tasks) == ["good", "half"]


def test_row_8_properties_and_lazy_attributes_are_not_evaluated() -> None:
    class Odd:
        @property
        def expensive(self) -> object:
            raise AssertionError("was evaluated")

        @hookimpl
        def instructforge_tasks(self) -> list[Task]:
            return [task("a")]

    assert list(Forge([Odd()], builtins=False).tasks) == ["a"]


def test_row_9_a_class_instead_of_an_instance_is_refused_with_a_hint() -> None:
    class Plugin:
        @hookimpl
        def instructforge_tasks(self) -> list[Task]:
            return [task("a")]

    with pytest.raises(PluginContractError, match=r"Plugin is a class. Give an instance of it: Plugin\(\)"):
        Forge([Plugin], builtins=False)
    assert list(Forge([Plugin()], builtins=False).tasks) == ["a"]


def test_row_10_a_misspelt_hook_is_refused_with_the_near_name() -> None:
    @hookimpl
    def instructforge_taks() -> list[Task]:
        return [task("a")]

    with pytest.raises(PluginContractError, match='Did you mean "instructforge_tasks"'):
        Forge([module("one", instructforge_taks=instructforge_taks)], builtins=False)


def test_row_10_a_prefixed_function_without_mark_is_refused() -> None:
    def instructforge_tasks() -> list[Task]:
        return [task("a")]

    with pytest.raises(PluginContractError, match=r"instructforge_tasks\(\) is not marked. Put @hookimpl above it"):
        Forge([module("one", instructforge_tasks=instructforge_tasks)], builtins=False)


def test_row_10_a_function_marked_for_another_project_is_refused() -> None:
    @pluggy.HookimplMarker("another")
    def instructforge_tasks() -> list[Task]:
        return [task("a")]

    with pytest.raises(PluginContractError, match="from instructforge import hookimpl"):
        Forge([module("one", instructforge_tasks=instructforge_tasks)], builtins=False)


def test_row_10_a_nearly_prefixed_function_is_refused() -> None:
    def instruct_forge_tasks() -> list[Task]:
        return [task("a")]

    with pytest.raises(PluginContractError, match="Did you mean instructforge_tasks"):
        Forge([module("one", instruct_forge_tasks=instruct_forge_tasks)], builtins=False)


def test_row_10_a_hook_of_a_later_version_may_be_marked_optional() -> None:
    @hookimpl(optionalhook=True)
    def instructforge_holograms() -> list[object]:
        raise AssertionError("is not called here")

    source = plugin("a")
    source.instructforge_holograms = instructforge_holograms
    assert list(Forge([source], builtins=False).tasks) == ["a"]


def test_a_name_given_to_the_mark_counts_as_the_hook_s() -> None:
    @hookimpl(specname="instructforge_tasks")
    def my_tasks() -> list[Task]:
        return [task("a")]

    @hookimpl(specname="instructforge_taks")
    def more_tasks() -> list[Task]:
        return []

    assert list(Forge([module("one", my_tasks=my_tasks)], builtins=False).tasks) == ["a"]
    with pytest.raises(PluginContractError, match="Did you mean"):
        Forge([module("two", more_tasks=more_tasks)], builtins=False)


# --- Rows 11 to 14: entry points, names, blocking -----------------------------------------------------


def test_row_11_a_plugin_that_cannot_be_imported_stops_no_other(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add("aaa-broken", "import a_module_that_nobody_has\n", version="2.5")
    installation.add("bbb-good", task_source("after-it"))
    listed = installation.json("plugins")
    assert "bbb-good" in [one["name"] for one in listed["plugins"]]
    (failure,) = listed["failures"]
    assert (failure["name"], failure["distribution"], failure["version"]) == ("aaa-broken", "aaa-broken", "2.5")
    assert "a_module_that_nobody_has" in failure["reason"]
    assert "Install" in failure["hint"]


def test_row_12_two_distributions_with_one_entry_point_name(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add("zzz-second", task_source("of-second"), entry="same")
    installation.add("aaa-first", task_source("of-first"), entry="same")
    listed = installation.json("plugins")
    assert [one["distribution"] for one in listed["plugins"] if one["name"] == "same"] == ["aaa-first"]
    (failure,) = listed["failures"]
    assert failure["error"] == "DuplicateNameError"
    assert failure["distribution"] == "zzz-second"
    assert "aaa-first" in failure["reason"]


def test_row_13_one_object_under_two_names_is_told_in_a_line() -> None:
    same = plugin("a", title="one")
    forge = Forge([same], builtins=False)
    with pytest.raises(DuplicateNameError, match='"two" is the same object as plugin "one"') as caught:
        forge.register(same, "two")
    assert len(str(caught.value)) < 250
    assert list(forge.tasks) == ["a"]


def test_row_14_a_disabled_plugin_is_not_even_imported(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add("noisy", "from pathlib import Path\nPath(__file__).with_name('was-imported').touch()\n")
    trace = tmp_path / "noisy" / "was-imported"
    for options, environment in ((("--disable", "Noisy"), {}), ((), {"INSTRUCTFORGE_DISABLE": " noisy ,"})):
        result = installation.run(*options, "plugins", **environment)
        assert result.returncode == 0
        assert "noisy\tnoisy 1.0\tdisabled" in result.stdout
        assert not trace.exists()
    installation.run("plugins")
    assert trace.exists()


def test_row_14_an_unknown_name_to_disable_is_an_error(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add("sentiment", task_source("sentiment-task"))
    for options, environment in ((("--disable", "sentimnet"), {}), ((), {"INSTRUCTFORGE_DISABLE": "sentimnet"})):
        result = installation.run(*options, "tasks", **environment)
        assert result.returncode == 2
        assert 'Did you mean "sentiment"?' in result.stderr
    with pytest.raises(UnknownNameError, match='Did you mean "one"'):
        Forge([plugin("a", title="one")], disabled=["onee"], builtins=False)
    assert list(Forge([plugin("a", title="one")], disabled=["one"], builtins=False).tasks) == []


# --- Rows 15 to 18: history, results, generators ------------------------------------------------------


def test_row_15_providers_take_no_arguments_and_no_wrappers() -> None:
    @hookimpl(wrapper=True)
    def instructforge_tasks() -> Any:
        return (yield)

    with pytest.raises(PluginContractError, match="is a wrapper"):
        Forge([module("one", instructforge_tasks=instructforge_tasks)], builtins=False)

    @hookimpl(wrapper=True)
    def instructforge_stage_finished(stage: str) -> Any:
        return (yield)

    with pytest.raises(PluginContractError, match="is a wrapper"):
        Forge([module("one", instructforge_stage_finished=instructforge_stage_finished)], builtins=False)


def test_row_15_a_provider_is_called_once_for_each_plugin() -> None:
    calls: list[str] = []

    def counting(title: str) -> Any:
        @hookimpl
        def instructforge_tasks() -> list[Task]:
            calls.append(title)
            return [task(title)]

        return module(title, instructforge_tasks=instructforge_tasks)

    forge = Forge([counting("a"), counting("b")], builtins=False)
    forge.register(counting("c"))
    assert calls == ["a", "b", "c"]


def test_row_16_no_hook_takes_the_first_result_only() -> None:
    forge = Forge(builtins=False)
    hooks = [hook for name, hook in vars(forge._manager.hook).items() if name.startswith("instructforge_")]
    assert len(hooks) == 18
    assert not any(hook.spec.opts.get("firstresult") for hook in hooks)


@pytest.mark.parametrize("result", [0, False, "", 3.5, "text", object()])
def test_row_16_a_result_that_is_no_iterable_is_refused(result: object) -> None:
    @hookimpl
    def instructforge_tasks() -> object:
        return result

    with pytest.raises(PluginContractError, match="not an iterable"):
        Forge([module("one", instructforge_tasks=instructforge_tasks)], builtins=False)


def test_row_16_a_forgotten_return_is_refused() -> None:
    @hookimpl
    def instructforge_tasks() -> None:
        task("made and lost")

    with pytest.raises(PluginContractError, match='instructforge_tasks of plugin "one" gave None'):
        Forge([module("one", instructforge_tasks=instructforge_tasks)], builtins=False)


def test_row_17_one_failing_listener_stops_no_other_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def listener(title: str, error: BaseException | None) -> Any:
        @hookimpl
        def instructforge_stage_finished(stage: str) -> None:
            told.append(title)
            if error:
                raise error

        return module(title, instructforge_stage_finished=instructforge_stage_finished)

    plugins = [listener("a", None), listener("b", ValueError("no \x1b[31mdisk")), listener("c", SystemExit(4))]
    forge = Forge([*plugins, listener("d", None)], builtins=False)
    failures = forge.emit("stage_finished", run=Path(), stage="build", summary={})
    assert told == ["a", "b", "c", "d"]
    assert [(failure.plugin, failure.event) for failure in failures] == [
        ("b", "stage_finished"),
        ("c", "stage_finished"),
    ]
    assert forge.event_failures == failures
    assert 'Plugin "b" failed' in caplog.text
    assert "\x1b" not in caplog.text


def test_row_17_an_interrupt_is_passed_on() -> None:
    @hookimpl
    def instructforge_stage_finished(stage: str) -> None:
        raise KeyboardInterrupt

    forge = Forge([module("one", instructforge_stage_finished=instructforge_stage_finished)], builtins=False)
    with pytest.raises(KeyboardInterrupt):
        forge.emit("stage_finished", run=Path(), stage="build", summary={})


def test_row_18_a_generator_is_consumed_while_its_plugin_is_registered() -> None:
    state = ["not yet"]

    @hookimpl
    def instructforge_tasks() -> Any:
        yield task("a")
        state[0] = "consumed"

    Forge([module("one", instructforge_tasks=instructforge_tasks)], builtins=False)
    assert state == ["consumed"]


# --- Rows 19 to 22 ------------------------------------------------------------------------------------


def test_row_19_an_event_without_all_its_arguments_is_the_caller_s_mistake() -> None:
    forge = Forge(builtins=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match="takes"):
            forge.emit("stage_finished", run=Path(), stage="build")
        with pytest.raises(TypeError, match="takes"):
            forge.emit("stage_finished", run=Path(), stage="build", summary={}, more=1)
    with pytest.raises(UnknownNameError, match='Did you mean "stage_finished"'):
        forge.emit("stage_finnished", run=Path())
    with pytest.raises(UnknownNameError):
        forge.emit("tasks")


def test_row_20_fetching_a_component_calls_no_hook() -> None:
    forge = Forge([plugin("a", title="one")], builtins=False)
    undo = forge._manager.add_hookcall_monitoring(lambda *call: pytest.fail("a hook was called"), lambda *call: None)
    for _ in range(100):
        forge.tasks.get("a")
    undo()


def test_row_21_the_scan_reads_nothing_of_distributions_that_have_no_plugins(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add(
        "stranger", "raise RuntimeError", entry_points="[console_scripts]\nthis line = is not ours\nbroken\n"
    )
    installation.add("good", task_source("good-task"))
    assert "good-task" in installation.run("tasks").stdout


def test_row_22_a_dist_info_folder_with_dashes_does_not_swallow_another(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    for name in ("my-plugin-one", "my-plugin-two"):
        installation.add(name, task_source(f"{name}-task"))
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.rename(tmp_path / f"{name}-1.0.dist-info")
    names = [one["name"] for one in installation.json("plugins")["plugins"]]
    assert {"my-plugin-one", "my-plugin-two"} <= set(names)


def test_a_malformed_entry_points_file_stops_nobody(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add("aaa-garbled", "", entry_points="[instructforge]\nthis is no line\n")
    installation.add("bbb-odd-value", "", value="not a module!")
    installation.add("ccc-not-ours", "", entry_points="[console_scripts]\nbroken\n")
    installation.add("ddd-good", task_source("good-task"))
    listed = installation.json("plugins")
    assert "ddd-good" in [one["name"] for one in listed["plugins"]]
    assert [failure["name"] for failure in listed["failures"]] == ["aaa-garbled", "bbb-odd-value"]
    assert "this is no line" in listed["failures"][0]["reason"]


def test_text_targets_and_lazy_parts_are_accepted_as_they_are() -> None:
    @hookimpl
    def instructforge_tasks() -> list[Task]:
        return [Task("open", summary="x", fields={"text": "x"}, target=Text())]

    @hookimpl
    def instructforge_trainers() -> list[Lazy]:
        return [Lazy("far", "a_module_that_nobody_has:Trainer", extra="train")]

    parts = {"instructforge_tasks": instructforge_tasks, "instructforge_trainers": instructforge_trainers}
    forge = Forge([module("one", **parts)], builtins=False)
    assert list(forge.trainers) == ["far"]
    assert "a_module_that_nobody_has" not in sys.modules
