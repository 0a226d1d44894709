"""``Forge``: finds plugins, lets them in one at a time, and holds what they provide. It alone drives pluggy.

There is no global manager: a ``Forge`` is an object, and two of them know nothing of each other. A plugin
that cannot be imported, raises, exits or claims a taken name is left out whole, with its reason; the
others never notice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pluggy
from attrs import field, frozen

from instructforge import __version__, hookspecs
from instructforge.components import (
    Component,
    Decoder,
    Exporter,
    Metric,
    ModelSource,
    Normalizer,
    Reader,
    Retriever,
    TemplateFolder,
    Trainer,
)
from instructforge.errors import (
    DuplicateNameError,
    InstructForgeError,
    PluginContractError,
    PluginError,
    PluginImportError,
    UnknownNameError,
    did_you_mean,
    printable,
)
from instructforge.extras import extra_of
from instructforge.hookspecs import PREFIX, PROJECT
from instructforge.installed import EntryPoint, Unreadable, folded, installed_entry_points
from instructforge.plugincheck import KINDS, check_component, check_hooks
from instructforge.registry import Registry
from instructforge.tasks import Task
from instructforge.templates.library import TemplateLibrary

if TYPE_CHECKING:
    from instructforge.templates.template import Template

__all__ = ["BUILTIN", "DISABLE_VARIABLE", "GROUP", "EventFailure", "Forge", "PluginFailure", "PluginInfo"]

GROUP = "instructforge"
BUILTIN = "builtin"
DISABLE_VARIABLE = "INSTRUCTFORGE_DISABLE"


@frozen
class PluginInfo:
    """A plugin that is in: where it came from, and the names of what it provides, by kind."""

    name: str
    distribution: str = ""
    version: str = ""
    module: str = ""
    provides: Mapping[str, tuple[str, ...]] = field(factory=dict)


@frozen
class PluginFailure:
    """A plugin that was left out, and why."""

    name: str
    distribution: str
    version: str
    error: BaseException
    hint: str = ""

    @property
    def reason(self) -> str:
        """Return the cause in one line, fit for a terminal."""
        return _one_line(self.error)

    def __str__(self) -> str:
        source = f" ({self.distribution} {self.version})" if self.distribution else ""
        return f'Plugin "{printable(self.name, 80)}"{printable(source, 120)} is left out: {self.reason}'


@frozen
class EventFailure:
    """A plugin that raised while it was told of an event."""

    plugin: str
    event: str
    error: BaseException


class Forge:
    """What is known to this InstructForge: tasks, templates and every kind of component.

    Args:
        plugins: Modules or objects to register, in order.
        disabled: Names of plugins among these that are to be left out.
        builtins: Whether InstructForge's own parts are registered first.

    Raises:
        PluginError: One of ``plugins`` does not keep the contract. (``discover`` contains such failures.)
        UnknownNameError: A name in ``disabled`` is none of these plugins'.
    """

    specifications: ClassVar[ModuleType] = hookspecs

    def __init__(self, plugins: Iterable[object] = (), *, disabled: Iterable[str] = (), builtins: bool = True) -> None:
        self.tasks: Registry[Task] = Registry("task")
        self.normalizers: Registry[Normalizer] = Registry("normalizer")
        self.trainers: Registry[Trainer] = Registry("trainer")
        self.decoders: Registry[Decoder] = Registry("decoder")
        self.metrics: Registry[Metric] = Registry("metric")
        self.generators: Registry[Component] = Registry("generator")
        self.filters: Registry[Component] = Registry("filter")
        self.models: Registry[ModelSource] = Registry("model")
        self.readers: Registry[Reader] = Registry("reader")
        self.retrievers: Registry[Retriever] = Registry("retriever")
        self.executors: Registry[Component] = Registry("executor")
        self.exporters: Registry[Exporter] = Registry("exporter")
        self.template_folders: list[tuple[str, TemplateFolder]] = []
        self.failures: list[PluginFailure] = []
        self.event_failures: list[EventFailure] = []
        self.disabled: list[PluginInfo] = []
        self._infos: dict[str, PluginInfo] = {}
        self.templates = TemplateLibrary()
        self._owner = ""
        self._given: set[str] = set()
        self._manager = self._new_manager()
        self._start(plugins, disabled, builtins)

    @classmethod
    def discover(cls, *, disabled: Iterable[str] = ()) -> Forge:
        """Return a ``Forge`` with every installed plugin, in the order of distribution and entry-point name.

        Left out are plugins and distributions named by ``disabled`` or by the environment variable
        ``INSTRUCTFORGE_DISABLE`` (separated by commas); they are not even imported. A plugin that fails
        is kept in ``failures``.

        Raises:
            UnknownNameError: A name to be disabled is that of no installed plugin or distribution.
        """
        found, unreadable = installed_entry_points(GROUP)
        names = [*disabled, *_names_in_environment()]
        known = {BUILTIN, *(name for entry in found for name in (entry.name, entry.distribution))}
        blocked = _blocked(names, known | {one.distribution for one in unreadable})
        forge = cls(disabled=[BUILTIN] if folded(BUILTIN) in blocked else ())
        forge.failures += [_unreadable(one) for one in unreadable if folded(one.distribution) not in blocked]
        for entry in found:
            if {folded(entry.name), folded(entry.distribution)} & blocked:
                forge.disabled.append(PluginInfo(entry.name, entry.distribution, entry.version))
            else:
                forge._let_in(entry)
        return forge

    # --- Registering ----------------------------------------------------------------------------------

    def register(self, plugin: object, name: str | None = None) -> PluginInfo:
        """Let in one more plugin: a module, or an object with hook functions.

        Raises:
            PluginError: It does not keep the contract, or it raised; nothing of it remains registered.
            DuplicateNameError: Its name, or the name of one of its components, is taken.
        """
        return self._register(plugin, PluginInfo(name or _default_name(plugin), module=_module_of(plugin)))

    def _start(self, plugins: Iterable[object], disabled: Iterable[str], builtins: bool) -> None:
        given = [(plugin, _default_name(plugin)) for plugin in plugins]
        blocked = _blocked(disabled, {BUILTIN, *(name for _, name in given)})
        own = PluginInfo(BUILTIN, "instructforge", __version__, "instructforge.builtin")
        if folded(BUILTIN) in blocked:
            self.disabled.append(own)
        elif builtins:
            self._register(import_module(own.module), own)
        for plugin, name in given:
            if folded(name) in blocked:
                self.disabled.append(PluginInfo(name, module=_module_of(plugin)))
            else:
                self.register(plugin, name)

    def _new_manager(self) -> pluggy.PluginManager:
        """Return a manager whose providers have been called once, so that each plugin replays them alone."""
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(self.specifications)
        for name in KINDS:
            caller = getattr(manager.hook, PREFIX + name)
            caller.call_historic(result_callback=self._receiver(name))
        return manager

    def _receiver(self, hook: str) -> Callable[[Any], None]:
        def receive(result: Any) -> None:
            self._given.add(hook)
            self._take(hook, result)

        return receive

    def _take(self, hook: str, result: Any) -> None:
        """Put what a provider of the plugin now being registered gave into its registry."""
        kind = KINDS[hook]
        if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
            raise PluginContractError(
                f'{PREFIX}{hook} of plugin "{self._owner}" gave {printable(type(result).__name__)}, not an iterable.\n'
                f"It gives {kind.expected}, any number of them.\nReturn a list, or yield each {kind.kind}.",
                plugin=self._owner,
            )
        for component in result:
            check_component(kind, component, self._owner)
            if isinstance(component, TemplateFolder):
                self.templates.add(self._owner, component)
                self.template_folders.append((self._owner, component))
            else:
                self._registry(hook).add(component, owner=self._owner)

    def _registry(self, hook: str) -> Registry[Any]:
        registry: Registry[Any] = getattr(self, hook)
        return registry

    def _register(self, plugin: object, info: PluginInfo) -> PluginInfo:
        self._refuse_twice(plugin, info.name)
        try:
            with _as_plugin_error(info.name):
                check_hooks(plugin, info.name, self.specifications)
                self._owner, self._given = info.name, set()
                self._manager.register(plugin, name=info.name)
                self._refuse_none(plugin)
        except BaseException:
            self._roll_back(plugin, info.name)
            raise
        finally:
            self._owner = ""
        self._infos[info.name] = info = self._with_provided(info)
        return info

    def _refuse_twice(self, plugin: object, name: str) -> None:
        if name in self._infos:
            raise DuplicateNameError(
                f'A plugin called "{printable(name, 80)}" is already registered{_from(self._infos[name])}.\n'
                "Names of plugins are unique.\nGive one of the two another name, or disable it.",
                plugin=name,
                name=name,
            )
        same = next((other for other, known in self._manager.list_name_plugin() if known is plugin), None)
        if same is not None:
            raise DuplicateNameError(
                f'Plugin "{printable(name, 80)}" is the same object as plugin "{same}".\n'
                "A plugin is registered once.\nRemove one of the two entry points.",
                plugin=name,
                name=same,
            )

    def _refuse_none(self, plugin: object) -> None:
        """A provider that returns None is one without its ``return``: pluggy passes over it in silence."""
        for caller in self._manager.get_hookcallers(plugin) or ():
            hook = caller.name.removeprefix(PREFIX)
            if hook in KINDS and hook not in self._given:
                raise PluginContractError(
                    f'{caller.name} of plugin "{self._owner}" gave None.\nIt gives {KINDS[hook].expected}, any number '
                    f"of them.\nReturn a list, or yield each {KINDS[hook].kind}.",
                    plugin=self._owner,
                )

    def _roll_back(self, plugin: object, name: str) -> None:
        if self._manager.get_plugin(name) is plugin and plugin is not None:
            self._manager.unregister(name=name)
        for hook in KINDS:
            if hook != "templates":
                self._registry(hook).remove_owned_by(name)
        self.templates.remove_owned_by(name)
        self.template_folders = [(owner, folder) for owner, folder in self.template_folders if owner != name]

    def _with_provided(self, info: PluginInfo) -> PluginInfo:
        provides: dict[str, tuple[str, ...]] = {}
        for hook in KINDS:
            if hook == "templates":
                names = tuple(str(folder.path) for owner, folder in self.template_folders if owner == info.name)
            else:
                registry = self._registry(hook)
                names = tuple(name for name in registry if registry.owner(name) == info.name)
            if names:
                provides[hook] = names
        return PluginInfo(info.name, info.distribution, info.version, info.module, provides)

    def _let_in(self, entry: EntryPoint) -> None:
        """Import and register an installed plugin; whatever it does, the next one gets its turn."""
        try:
            if entry.name in self._infos:
                self._refuse_twice(None, entry.name)
            # What a plugin prints must not get between a program and the output that it reads.
            with redirect_stdout(sys.stderr), _as_plugin_error(entry.name, importing=True):
                plugin = entry.load()
            with redirect_stdout(sys.stderr):
                info = PluginInfo(entry.name, entry.distribution, entry.version, _module_of(plugin))
                self._register(plugin, info)
        except PluginError as error:
            failure = PluginFailure(entry.name, entry.distribution, entry.version, error, _hint(error, entry.name))
            self.failures.append(failure)

    # --- Asking ---------------------------------------------------------------------------------------

    @property
    def plugins(self) -> list[PluginInfo]:
        """Return the plugins that are in, in the order in which they came."""
        return list(self._infos.values())

    def plugin(self, name: str) -> object:
        """Return the registered module or object called ``name``.

        Raises:
            UnknownNameError: No plugin of that name is in; the message tells why if it failed.
        """
        if name in self._infos:
            found: object = self._manager.get_plugin(name)
            return found
        for failure in self.failures:
            if failure.name == name and isinstance(failure.error, PluginError):
                raise failure.error
        raise UnknownNameError("plugin", name, self._infos)

    def template(self, key: str) -> Template:
        """Return the template ``task/language/name``, compiled and checked against its task.

        Raises:
            UnknownNameError: There is no such task or template.
            TemplateError: It does not compile, or does not fit its task.
        """
        return self.templates.load(key, self.tasks.get(key.partition("/")[0]))

    def normalizers_for(self, task: Task) -> list[Normalizer]:
        """Return the normalizers that make examples of ``task``: those that it names, then others' for it.

        A lazy normalizer is considered only if the task names it, since its task is not known before.

        Raises:
            UnknownNameError: The task names one that no plugin has registered.
        """
        named = [self.normalizers.get(name) for name in task.normalizers]
        others = [self.normalizers.peek(name) for name in self.normalizers if name not in task.normalizers]
        return named + [other for other in others if isinstance(other, Normalizer) and other.task == task.name]

    def unresolved(self, task: Task) -> list[str]:
        """Return a sentence for each part that ``task`` names and no plugin provides."""
        named: list[tuple[Registry[Any], str]] = [(self.normalizers, name) for name in task.normalizers]
        named += [(self.decoders, name) for name in dict.fromkeys((task.decoder_name, task.target.head_decoder))]
        named += [(self.trainers, task.trainer)] if task.trainer else []
        named += [(self.metrics, name) for name in task.metric_names]
        return [
            f'Task "{task.name}" names the {registry.kind} "{printable(name, 80)}", which no plugin provides. '
            f"{did_you_mean(name, registry)}"
            for registry, name in named
            if name not in registry
        ]

    # --- Telling --------------------------------------------------------------------------------------

    def emit(self, event: str, **values: Any) -> list[EventFailure]:
        """Tell every plugin that listens of an event, one by one; return those that raised.

        A failure is logged with the plugin's name, kept in ``event_failures``, and stops nothing.

        Args:
            event: Name of the hook with or without its prefix: ``stage_finished``.
            values: The hook's arguments.

        Raises:
            UnknownNameError: There is no such event.
            TypeError: The arguments are not the event's.
        """
        name = event.removeprefix(PREFIX)
        caller = getattr(self._manager.hook, PREFIX + name, None)
        if name in KINDS or caller is None or caller.spec is None:
            raise UnknownNameError("event", name, self._events())
        passed = {**caller.spec.kwargdefaults, **values}
        wanted = set(caller.spec.argnames) | set(caller.spec.kwargnames)
        if set(passed) != wanted:
            raise TypeError(f"{PREFIX}{name} takes {sorted(wanted)}, and was given {sorted(passed)}")
        failures = [failure for implementation in self._in_order(caller) for failure in _call(implementation, passed)]
        self.event_failures += failures
        return failures

    def _events(self) -> list[str]:
        names = (name for name, function in vars(self.specifications).items() if hasattr(function, f"{PROJECT}_spec"))
        return [name.removeprefix(PREFIX) for name in names if name.removeprefix(PREFIX) not in KINDS]

    def _in_order(self, caller: pluggy.HookCaller) -> list[pluggy.HookImpl]:
        """Return implementations in registration order, after ``tryfirst`` and before ``trylast``."""
        place = {name: number for number, name in enumerate(self._infos)}
        return sorted(
            caller.get_hookimpls(), key=lambda one: (one.trylast - one.tryfirst, place.get(one.plugin_name, len(place)))
        )


def _call(implementation: pluggy.HookImpl, values: Mapping[str, Any]) -> Iterator[EventFailure]:
    """Call one implementation of an event with the arguments that it names; yield its failure, if it fails."""
    names = (*implementation.argnames, *implementation.kwargnames)
    try:
        implementation.function(*(values[name] for name in names))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        import logging  # only now is there something to log

        event = implementation.function.__name__
        logging.getLogger("instructforge").warning(
            'Plugin "%s" failed in %s: %s', printable(implementation.plugin_name, 80), event, _one_line(error)
        )
        yield EventFailure(implementation.plugin_name, event.removeprefix(PREFIX), error)


# --- What is to be left out ---------------------------------------------------------------------------


def _names_in_environment() -> list[str]:
    return [name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name.strip()]


def _blocked(names: Iterable[str], known: Iterable[str]) -> set[str]:
    """Return the folded ``names``, every one of which has to be known."""
    known = {name for name in known if name}
    by_folded = {folded(name) for name in known}
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if folded(name) not in by_folded:
            raise UnknownNameError("plugin or distribution", name, known)
    return {folded(name) for name in names}


# --- Names, modules, errors ---------------------------------------------------------------------------


def _default_name(plugin: object) -> str:
    name = getattr(plugin, "__name__", None)
    return name if isinstance(name, str) else type(plugin).__name__


def _module_of(plugin: object) -> str:
    return plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__


def _from(info: PluginInfo) -> str:
    return f' from "{info.distribution}" {info.version}'.rstrip() if info.distribution else ""


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # an error of a plugin's own whose text cannot be had
        text = ""
    if isinstance(error, InstructForgeError):
        return printable(text, 600)
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__, 600)


@contextmanager
def _as_plugin_error(name: str, *, importing: bool = False) -> Iterator[None]:
    """Turn whatever a plugin raises, ``SystemExit`` included, into a ``PluginError`` that names it."""
    try:
        yield
    except (KeyboardInterrupt, PluginError):
        raise
    except BaseException as error:
        if importing:
            raise PluginImportError(
                f'Plugin "{printable(name, 80)}" cannot be imported: {_cause(error)}', plugin=name
            ) from error
        kind = PluginContractError if isinstance(error, (pluggy.PluginValidationError, TypeError)) else PluginError
        raise kind(
            f'Plugin "{printable(name, 80)}" failed while it was registered: {_cause(error)}', plugin=name
        ) from error


def _cause(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it called sys.exit({printable(error.code, 80)})"
    return _one_line(error)


def _unreadable(one: Unreadable) -> PluginFailure:
    error = PluginImportError(f'The plugins of "{printable(one.distribution, 80)}" cannot be told: {one.reason}')
    return PluginFailure(one.distribution, one.distribution, one.version, error, "Reinstall it, or ask its author.")


def _hint(error: PluginError, name: str) -> str:
    """Return what to do about a plugin that was left out."""
    cause = error.__cause__
    disable = f"or leave it out with --disable {printable(name, 80)}"
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        extra = extra_of(cause.name)
        what = f"'instructforge[{extra}]'" if extra else f'what brings the module "{printable(cause.name, 80)}"'
        return f"Install {what}, {disable}."
    if isinstance(error, DuplicateNameError):
        return f"Rename one of the two, {disable}."
    if isinstance(error, PluginContractError):
        return f"Mend the plugin (instructforge check tells more), {disable}."
    return f"Upgrade or mend the plugin, {disable}."
