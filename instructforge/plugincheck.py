"""What a plugin must look like before it is let in: its hook functions, and the components it provides.

pluggy lets much pass that can only be a mistake: a misspelt hook is never called, a keyword-only argument
fails at the first call, a class stands in for an instance. All of it is refused here, with the reason.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

from attrs import frozen

from instructforge import hookspecs
from instructforge.components import Lazy, ModelSource, Normalizer, TemplateFolder
from instructforge.errors import PluginContractError, did_you_mean, printable
from instructforge.hookspecs import HOOK_VERSION, PREFIX, PROJECT
from instructforge.tasks import Field, Sample, Task

__all__ = ["KINDS", "ComponentKind", "check_component", "check_hooks", "check_name", "hook_problems"]

_NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_NAME_LIMIT = 80
_TARGET_PARTS = ("head", "decoder", "head_decoder", "metrics", "check", "equal", "words", "labels")


@frozen
class ComponentKind:
    """One kind of component: the hook that provides it, and what it has to be.

    Args:
        hook: Name of the hook, without the prefix; also the name of the registry.
        kind: In the singular, for messages.
        type: The class that it has to be of, where there is one.
        methods, values: What it needs to have, where there is only a protocol.
        lazy: Whether ``Lazy`` may stand in for it.
    """

    hook: str
    kind: str
    type: type | None = None
    methods: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    lazy: bool = True

    @property
    def expected(self) -> str:
        """Say in a few words what the hook yields."""
        parts = ", ".join((*self.values, *(f"{method}()" for method in self.methods)))
        what = self.type.__name__ if self.type else f"objects with name{', ' if parts else ''}{parts}"
        return f"{what}{' or Lazy' if self.lazy else ''}"


KINDS = {
    kind.hook: kind
    for kind in (
        ComponentKind("tasks", "task", Task, lazy=False),
        ComponentKind("normalizers", "normalizer", Normalizer),
        ComponentKind("templates", "template folder", TemplateFolder, lazy=False),
        ComponentKind("trainers", "trainer", methods=("train",), values=("heads", "families")),
        ComponentKind("decoders", "decoder", methods=("decode",), values=("needs",)),
        ComponentKind("metrics", "metric", methods=("prepare", "reduce"), values=("higher_is_better",)),
        ComponentKind("generators", "generator"),
        ComponentKind("filters", "filter"),
        ComponentKind("models", "model", ModelSource, lazy=False),
        ComponentKind("readers", "reader", methods=("accepts", "read"), values=("suffixes",)),
        ComponentKind("retrievers", "retriever", methods=("build", "open")),
        ComponentKind("executors", "executor"),
        ComponentKind("exporters", "exporter", methods=("records", "companions"), values=("suffix", "losses")),
    )
}
"""Every provider hook by its name without the prefix."""


# --- Hook functions -----------------------------------------------------------------------------------


def check_hooks(plugin: object, name: str, specifications: ModuleType = hookspecs) -> None:
    """Refuse a plugin whose hook functions would be ignored or could not be called.

    Raises:
        PluginContractError: With everything that was found, not only the first of it.
    """
    problems = hook_problems(plugin, specifications)
    if problems:
        listed = problems[0] if len(problems) == 1 else "\n".join(f"  - {problem}" for problem in problems)
        head = f'Plugin "{name}" cannot be registered:{" " if len(problems) == 1 else chr(10)}'
        raise PluginContractError(f"{head}{listed}", plugin=name)


def hook_problems(plugin: object, specifications: ModuleType = hookspecs) -> list[str]:
    """Return what is wrong with a plugin's hook functions, one sentence or two each."""
    kind = _not_a_plugin(plugin)
    if kind:
        return [kind]
    version = _version_problem(plugin)
    if version:
        return [version]  # a plugin for a newer version has every right to hooks that are unknown here
    specs = _specifications(specifications)
    problems: list[str] = []
    marked = 0
    for attribute, function, options in _functions(plugin):
        if options is None:
            problems += _unmarked_problem(attribute, function, specs)
        else:
            marked += 1
            problems += _hook_problem(attribute, function, options, specs)
    if not marked and not problems:
        problems.append(
            "it has no hooks. A plugin has functions marked with @hookimpl, such as instructforge_tasks; "
            "does the entry point name the module that has them?"
        )
    return problems


def _not_a_plugin(plugin: object) -> str:
    if isinstance(plugin, type):
        return f"{plugin.__name__} is a class. Give an instance of it: {plugin.__name__}()."
    if (
        plugin is None
        or isinstance(plugin, (str, bytes, int, float, dict, list, tuple, set))
        or inspect.isroutine(plugin)
    ):
        return f"it is {printable(type(plugin).__name__)}, not a module or an object with hook functions."
    return ""


def _version_problem(plugin: object) -> str:
    needed = getattr(plugin, "INSTRUCTFORGE_HOOKS", HOOK_VERSION)
    if isinstance(needed, bool) or not isinstance(needed, int):
        return f'INSTRUCTFORGE_HOOKS is "{printable(needed, 40)}". It is a number, such as {HOOK_VERSION}.'
    if needed > HOOK_VERSION:
        return (
            f"it needs hook version {needed}, and this InstructForge has version {HOOK_VERSION}. "
            "Upgrade InstructForge: pip install --upgrade instructforge."
        )
    return ""


@cache
def _specifications(module: ModuleType) -> dict[str, frozenset[str]]:
    """Return the parameter names of every hook that ``module`` specifies."""
    return {
        name: frozenset(inspect.signature(function).parameters)
        for name, function in vars(module).items()
        if hasattr(function, f"{PROJECT}_spec")
    }


def _functions(plugin: object) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any] | None]]:
    """Yield (attribute, function, hook options or None) without evaluating a property or a lazy attribute."""
    for attribute in dir(plugin):
        if attribute.startswith("__"):
            continue
        try:
            value = inspect.getattr_static(plugin, attribute)
        except AttributeError:
            continue
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if not inspect.isroutine(value) or hasattr(value, f"{PROJECT}_spec"):
            continue
        options = getattr(value, f"{PROJECT}_impl", None)
        yield attribute, value, options if isinstance(options, dict) else None


def _unmarked_problem(attribute: str, function: object, specs: dict[str, frozenset[str]]) -> list[str]:
    if attribute.startswith(PREFIX):
        return [
            f"{attribute}() is not marked. Put @hookimpl above it (from instructforge import hookimpl), "
            f"or rename it: names that begin with {PREFIX} are hooks."
        ]
    if attribute.lower().startswith("instruct"):
        from difflib import get_close_matches  # not needed for a plugin that is in order

        near = get_close_matches(attribute, specs, n=1, cutoff=0.8)
        if near:
            return [f"{attribute}() looks like a hook and is none. Did you mean {near[0]}, marked with @hookimpl?"]
    return []


def _hook_problem(
    attribute: str, function: Callable[..., Any], options: dict[str, Any], specs: dict[str, frozenset[str]]
) -> list[str]:
    hook = options.get("specname") or attribute
    if hook not in specs:
        if options.get("optionalhook"):
            return []
        return [f'"{hook}" is not a hook. {did_you_mean(hook, specs)}']
    if options.get("wrapper") or options.get("hookwrapper"):
        return [f"{hook} is a wrapper. Hooks here take no wrappers: one plugin must not be able to stop another."]
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return [f"{hook} is async. Hooks are called without an event loop: write def, not async def."]
    return _argument_problems(hook, function, specs[hook])


def _argument_problems(hook: str, function: Callable[..., Any], known: frozenset[str]) -> list[str]:
    problems = []
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            problems.append(f"{hook} takes *{parameter.name}, which is never filled. Name the arguments that it uses.")
        elif parameter.name not in known:
            offer = did_you_mean(parameter.name, known) if known else "The hook takes no arguments."
            problems.append(f'{hook} asks for "{parameter.name}", which is not passed. {offer}')
        elif parameter.kind is parameter.KEYWORD_ONLY:
            problems.append(
                f'{hook} takes "{parameter.name}" by keyword only. Hooks pass it by position: leave out the *.'
            )
    return problems


# --- Components ---------------------------------------------------------------------------------------


def check_name(name: object, kind: str, plugin: str) -> str:
    """Return ``name`` if it may be a component's name: it appears in paths, keys and commands.

    Raises:
        PluginContractError: It may not.
    """
    if not isinstance(name, str) or len(name) > _NAME_LIMIT or not _NAME.fullmatch(name):
        raise PluginContractError(
            f'The {kind} "{printable(name, 80)}" of plugin "{plugin}" has a name that cannot be used.\n'
            f"Names are lower-case letters, digits, hyphens and dots, at most {_NAME_LIMIT}: they appear in paths.\n"
            f"Rename it{_suggestion(name)}.",
            plugin=plugin,
        )
    return name


def _suggestion(name: object) -> str:
    better = re.sub(r"[^a-z0-9]+", "-", str(name)[:_NAME_LIMIT].lower()).strip("-")
    return f', for example "{better}"' if better else ""


def check_component(kind: ComponentKind, component: object, plugin: str) -> None:
    """Refuse a component that is not what its hook provides.

    Raises:
        PluginContractError: It is of another type, lacks a part, or has a name that cannot be used.
    """
    if isinstance(component, type):
        raise _refused(kind, component, plugin, f"Give an instance of it: {component.__name__}(…).")
    if isinstance(component, Lazy) and kind.lazy:
        check_name(component.name, kind.kind, plugin)
        if not re.fullmatch(r"[\w.]+:\w+", component.target):
            raise _wrong(
                kind, component.name, plugin, f'its target is "{printable(component.target)}", not "module:attribute"'
            )
        return
    if kind.type is not None and not isinstance(component, kind.type):
        raise _refused(kind, component, plugin)
    if isinstance(component, TemplateFolder):
        _check_folder(component, plugin)
        return
    name = check_name(getattr(component, "name", None), kind.kind, plugin)
    missing = [part for part in kind.values if not hasattr(component, part)]
    missing += [f"{part}()" for part in kind.methods if not callable(getattr(component, part, None))]
    if missing:
        raise _wrong(kind, name, plugin, f"it lacks {', '.join(missing)}")
    if isinstance(component, Task):
        _check_task(component, kind, plugin)
    elif isinstance(component, Normalizer) and not (callable(component.function) and callable(component.accepts)):
        raise _wrong(kind, name, plugin, "its function or its accepts cannot be called")


def _check_folder(folder: TemplateFolder, plugin: str) -> None:
    if not folder.path.is_dir():
        raise PluginContractError(
            f'The template folder "{printable(folder.path)}" of plugin "{plugin}" does not exist.\n'
            "It is looked for where the plugin says, on this machine.\n"
            "Give TemplateFolder.beside(__file__), and see that the wheel contains the files.",
            plugin=plugin,
        )


def _check_task(task: Task, kind: ComponentKind, plugin: str) -> None:
    if not _is_target(type(task.target)):
        raise _wrong(
            kind, task.name, plugin, f"its target is {printable(task.target, 60)}, not a target such as Text()"
        )
    for name, part in task.fields.items():
        if not isinstance(part, Field) or not isinstance(name, str) or not name.isidentifier():
            raise _wrong(
                kind, task.name, plugin, f'its field "{printable(name, 60)}" is not a plain word with a summary'
            )
    if not task.fields:
        raise _wrong(kind, task.name, plugin, "it has no fields")
    for option in ("within", "from_field"):
        wanted = getattr(task.target, option, None)
        if wanted is not None and wanted not in task.fields:
            raise _wrong(
                kind, task.name, plugin, f'its target\'s {option} is "{wanted}". {did_you_mean(wanted, task.fields)}'
            )
    for sample in task.samples:
        if not isinstance(sample, Sample):
            raise _wrong(kind, task.name, plugin, f"one of its samples is {type(sample).__name__}, not a Sample")


@cache
def _is_target(kind: type) -> bool:
    """Tell whether objects of a class are targets; asking the protocol takes longer than all the rest."""
    return kind is not type and all(hasattr(kind, part) for part in _TARGET_PARTS)


def _refused(kind: ComponentKind, component: object, plugin: str, fix: str = "") -> PluginContractError:
    name = component.__name__ if isinstance(component, type) else type(component).__name__
    return PluginContractError(
        f'{PREFIX}{kind.hook} of plugin "{plugin}" gave {"the class " if isinstance(component, type) else ""}'
        f'"{printable(name)}".\nIt gives {kind.expected}.\n{fix or "Give one of these for each " + kind.kind + "."}',
        plugin=plugin,
    )


def _wrong(kind: ComponentKind, name: str, plugin: str, what: str) -> PluginContractError:
    return PluginContractError(f'The {kind.kind} "{name}" of plugin "{plugin}" is not complete: {what}.', plugin=plugin)
