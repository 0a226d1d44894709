"""The errors of InstructForge, one tree, so that a caller can catch as much or as little as it likes.

::

    InstructForgeError
    ├── PluginError                      .plugin
    │   ├── PluginImportError                        (also ImportError)
    │   ├── PluginContractError                      (also TypeError)
    │   └── DuplicateNameError           .name       (also ValueError)
    ├── UnknownNameError                 .name       (also LookupError)
    ├── ConfigError                      .problems   (also ValueError)
    ├── DataError                        .rule .origin .field .fix .raw   (also ValueError)
    │   └── SkippedError
    ├── TemplateError                    .template   (also ValueError)
    ├── LengthError                                  (also ValueError)
    ├── ContractMismatchError            .differences
    ├── BudgetError
    ├── TrainingError                                (also RuntimeError)
    ├── DecodingError                                (also ValueError)
    ├── RunLockedError                               (also RuntimeError)
    └── MissingDependencyError           .extra      (also ImportError)

A message has up to three lines: what is wrong, with the value in quotes; what was expected or is
known; what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instructforge.data import Origin

__all__ = [
    "BudgetError",
    "ConfigError",
    "ContractMismatchError",
    "DataError",
    "DecodingError",
    "DuplicateNameError",
    "InstructForgeError",
    "LengthError",
    "MissingDependencyError",
    "PluginContractError",
    "PluginError",
    "PluginImportError",
    "RunLockedError",
    "SkippedError",
    "TemplateError",
    "TrainingError",
    "UnknownNameError",
    "did_you_mean",
    "printable",
]


def printable(text: object, limit: int = 200) -> str:
    """Return ``text`` fit for a terminal or a log: control characters escaped, cut at ``limit``.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    whole = str(text)
    shown = whole[:limit]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return safe if len(whole) <= limit else f"{safe}… ({len(whole)} characters)"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names what ``name`` may have been meant to be.

    >>> did_you_mean("qa-chioce", ["qa", "qa-choice", "nli"])
    'Did you mean "qa-choice"?'
    >>> did_you_mean("zzz", ["qa", "nli"])
    'Known: nli, qa.'
    """
    from difflib import get_close_matches  # not needed until something has gone wrong

    names = sorted(set(known))
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}." if names else "None are known."


class InstructForgeError(Exception):
    """Root of every error that InstructForge raises on purpose."""


class PluginError(InstructForgeError):
    """Something is wrong with a plugin; ``plugin`` names it."""

    def __init__(self, message: str, *, plugin: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin


class PluginImportError(PluginError, ImportError):
    """A plugin could not be imported."""


class PluginContractError(PluginError, TypeError):
    """A plugin does not keep to the hook specifications or to a component's protocol."""


class DuplicateNameError(PluginError, ValueError):
    """Two plugins claim one name; nothing was overwritten."""

    def __init__(self, message: str, *, plugin: str = "", name: str = "") -> None:
        super().__init__(message, plugin=plugin)
        self.name = name


class UnknownNameError(InstructForgeError, LookupError):
    """A name that no plugin has registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f'No {kind} is called "{printable(name, 80)}".\n{did_you_mean(name, known)}')
        self.kind = kind
        self.name = name


class ConfigError(InstructForgeError, ValueError):
    """A recipe or an option is wrong; ``problems`` lists everything found, each with its key path."""

    def __init__(self, problems: str | Sequence[str], *, source: str = "") -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        if len(self.problems) == 1:
            message = f"{source}: {self.problems[0]}" if source else self.problems[0]
        else:
            where = f" in {source}" if source else ""
            listed = "\n".join(f"  - {problem}" for problem in self.problems)
            message = f"{len(self.problems)} problems{where}:\n{listed}"
        super().__init__(message)


class DataError(InstructForgeError, ValueError):
    """A row or a file is not what its reader or normalizer expects.

    Args:
        message: What is wrong, with the value.
        rule: Short stable name of the rule that was broken; the ledger counts by it.
        field: The field at fault, if one is.
        fix: What the owner of the data can do about it.
        origin: Where the row came from; filled in by the build where a normalizer leaves it out.
        raw: What stood there, as text and cut short, where it could not be read into a row.
    """

    def __init__(
        self,
        message: str,
        *,
        rule: str = "invalid",
        field: str | None = None,
        fix: str = "",
        origin: Origin | None = None,
        raw: str = "",
    ) -> None:
        super().__init__(message)
        self.rule = rule
        self.field = field
        self.fix = fix
        self.origin = origin
        self.raw = raw

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_data_error, (str(self), self.rule, self.field, self.fix, self.origin, self.raw)


def _rebuild_data_error(
    message: str, rule: str, field: str | None, fix: str, origin: Origin | None, raw: str
) -> DataError:
    return DataError(message, rule=rule, field=field, fix=fix, origin=origin, raw=raw)


class SkippedError(DataError):
    """A sound record of which no example is made, such as a reader's first book, which nothing came before.

    It is counted as skipped under its ``rule``, and is not quarantined: there is nothing to mend.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_skipped, (str(self), self.rule, self.origin)


def _rebuild_skipped(message: str, rule: str, origin: Origin | None) -> SkippedError:
    return SkippedError(message, rule=rule, origin=origin)


class TemplateError(InstructForgeError, ValueError):
    """A template is wrong, went beyond its bounds, or does not fit a row; ``template`` names it."""

    def __init__(self, message: str, *, template: str = "", rule: str = "template") -> None:
        super().__init__(message)
        self.template = template
        self.rule = rule

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_template_error, (str(self), self.template, self.rule)


def _rebuild_template_error(message: str, template: str, rule: str) -> TemplateError:
    return TemplateError(message, template=template, rule=rule)


class LengthError(InstructForgeError, ValueError):
    """An instruction does not fit the model's length once all that may be cut has been cut."""


class ContractMismatchError(InstructForgeError):
    """A model is about to be used with other bytes than it was trained on."""

    def __init__(self, message: str, *, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)


class BudgetError(InstructForgeError):
    """A limit on tokens, requests, money or time would be exceeded."""


class TrainingError(InstructForgeError, RuntimeError):
    """Training cannot start or had to stop; the message names the rows where rows are at fault."""


class DecodingError(InstructForgeError, ValueError):
    """A model's output could not be turned into an answer."""


class RunLockedError(InstructForgeError, RuntimeError):
    """Another process is working in the same run folder."""


class MissingDependencyError(InstructForgeError, ImportError):
    """An optional part is not installed; ``extra`` is the extra that brings it."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(
            f"{what} is not installed.\n"
            f'It comes with the extra "{extra}".\n'
            f"Install it with: pip install 'instructforge[{extra}]'"
        )
        self.extra = extra
