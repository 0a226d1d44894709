"""The template of a task: compiled and checked once, then rendered for each example.

A template is a Jinja file with the blocks ``system`` (optional), ``prompt`` and ``completion``. The root runs
once for each row, then the blocks see what it set. ``answer`` exists only while the completion is rendered, so
that no prompt can show it; an inverted template sees the answer and not the field that it asks for.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import RLock
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.utils import missing

from instructforge.data import NO_ANSWER, Answer, Example, Instruction, Landing, Message, Reply
from instructforge.errors import InstructForgeError, TemplateError, did_you_mean, printable
from instructforge.files import sha256_of
from instructforge.tasks import Choice, Ranking, Tags, Task, answer_words
from instructforge.templates.asis import AsIs, declares_dialect, writer_of
from instructforge.templates.declarations import Declarations, chooses, take_declarations
from instructforge.templates.drafts import InstructionDraft
from instructforge.templates.guard import GuardError
from instructforge.templates.landing import given_value, land, make_message
from instructforge.templates.limits import Limits
from instructforge.templates.methods import Function
from instructforge.templates.names import mentions, names_in, nested_blocks, outside_blocks, stored_names
from instructforge.templates.sandbox import BoundedEnvironment
from instructforge.templates.traced import Mark, Traced, traced
from instructforge.templates.turns import Turns, make_turns, spread_turns

__all__ = ["Template", "compile_template"]

BLOCKS = ("system", "prompt", "completion")
GIVEN = ("answer", "choices", "letters", "language")
MAX_MARKS = 100_000
LIGHT_BYTES = 1_000_000
HEAVY_BYTES = 64_000_000
RESERVED = frozenset({"answer", "letters", "language", "self", "super", "loop", "caller", "varargs", "kwargs"})


def compile_template(
    source: str,
    *,
    task: Task,
    language: str,
    name: str,
    limits: Limits | None = None,
    find: Callable[[str], str | None] | None = None,
) -> Template:
    """Compile a template and check it against the fields of ``task``.

    Args:
        find: Gives the source of a template that this one extends, includes or imports, by its key.

    Raises:
        TemplateError: It is wrong, goes beyond its bounds, or does not fit the task.
    """
    return Template(source, task=task, language=language, name=name, limits=limits or Limits(), find=find)


class Template:
    """A compiled template of a task.

    Attributes:
        key: ``task/language/name``.
        source: Its source; with the templates that it refers to, if there are any, in a comment at its head, so
            that it stands for itself wherever it is carried.
        sha256: Hash of ``source``.
        cuttable: Fields that may be cut where the instruction is too long.
        inverted: The field that it asks for instead of the answer, or None.
        letters: Whether its completion is a letter.
        fields_used: The fields of the task that stand anywhere in it.
        lists_choices: Whether it uses the words of the choices.
        label_words: What it writes for each label of a closed set: its letter, or its words.
    """

    cuttable: tuple[str, ...]
    inverted: str | None
    letters: bool
    label_words: tuple[str, ...] = ()

    def __init__(
        self,
        source: str,
        *,
        task: Task,
        language: str,
        name: str,
        limits: Limits,
        find: Callable[[str], str | None] | None,
    ) -> None:
        self.task = task
        self.language = language
        self.name = name
        self.limits = limits
        self.key = f"{task.name}/{language}/{name}"
        self._lock = RLock()
        self._writer: _Writer | AsIs
        if declares_dialect(source):
            self._writer = writer_of(self, source)
            self.source, self.sha256 = source, sha256_of(source)
            self.cuttable, self.inverted, self.letters = (), None, False
            self.fields_used, self.lists_choices = self._writer.fields_used, self._writer.lists_choices
            return
        plan = _Plan(source, self.key, task, limits, find)
        self.source = plan.bundle
        self.sha256 = sha256_of(self.source)
        self.cuttable = plan.declarations.cuttable
        self.inverted = plan.declarations.inverted
        self.letters = plan.declarations.letters
        self.fields_used = frozenset(plan.used & {*task.fields})
        self.lists_choices = "choices" in plan.used
        self._writer = _Writer(self, plan)
        self.label_words = self._writer.label_words

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.source, self.task, self.language, self.name, self.limits)

    def __repr__(self) -> str:
        return f"<Template {self.key}>"

    def render(self, example: Example, *, seed: int) -> Instruction:
        """Return the instruction that the template makes of ``example``.

        Raises:
            TemplateError: It does not apply to the row (rule ``not-applicable``), uses what the row does not
                have, or goes beyond its bounds.
        """
        with self._lock:
            return self._writer.write(example, seed)

    def render_many(self, examples: Iterable[Example], seeds: Iterable[int] | int) -> list[Instruction | TemplateError]:
        """Return the instruction of each example, or the error that says why there is none."""
        write = self._writer.write
        made: list[Instruction | TemplateError] = []
        if isinstance(seeds, int):
            examples = list(examples)
            seeds = [seeds] * len(examples)
        with self._lock:
            for example, seed in zip(examples, seeds, strict=True):
                try:
                    made.append(write(example, seed))
                except TemplateError as error:
                    made.append(error)
        return made


def _rebuilt(source: str, task: Task, language: str, name: str, limits: Limits) -> Template:
    return Template(source, task=task, language=language, name=name, limits=limits, find=None)


# --- Loading -----------------------------------------------------------------------------------------

_HEAD = re.compile(r"\{#- parts (\{.*\}) -#\}\n")


def _split(source: str) -> tuple[dict[str, str], str]:
    """Return the templates that ``source`` carries at its head, and the rest."""
    match = _HEAD.match(source)
    if match is None:
        return {}, source
    try:
        parts = json.loads(match[1])
    except (ValueError, RecursionError):
        return {}, source
    if not all(isinstance(part, str) for part in parts.values()):
        return {}, source
    return parts, source[match.end() :]


class _Plan:
    """What is known of a template before any row is seen."""

    def __init__(
        self, source: str, key: str, task: Task, limits: Limits, find: Callable[[str], str | None] | None
    ) -> None:
        self.key = key
        self.task = task
        carried, body = _split(source)
        self._find = carried.get if carried else find
        self.parts: dict[str, str] = {}
        self.environment = BoundedEnvironment(limits, find=self.parts.get)
        self.environment.globals["turns"] = Function(make_turns)
        tree = self.environment.checked_tree(body, key)
        self._collect(tree, (key,))
        self.bundle = _bundle(self.parts, body)
        self.chain = [tree, *self._parents(tree)]
        self.declarations: Declarations = take_declarations(self.chain, task, key)
        self._check_fields()
        self._check_shape()
        self._check_leaks()
        self.runs_root = any(_does_something(node) for unit in self.chain for node in unit.body)
        self.plain_completion = self._is_plain()
        self._compile()

    # References ------------------------------------------------------------------------------------

    def _collect(self, tree: nodes.Template, above: tuple[str, ...]) -> None:
        """Fetch every template that ``tree`` refers to, and what those refer to."""
        kinds = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
        for node in tree.find_all(kinds):
            name = node.template.value  # type: ignore[attr-defined]
            source = self._find(name) if self._find is not None and isinstance(name, str) else None
            if source is None:
                self.refuse(
                    "reference",
                    f'line {node.lineno}: there is no template "{printable(name, 80)}"',
                    'Another template is named by its key, "task/language/name".',
                )
            if name in above:
                self.refuse("reference", f'line {node.lineno}: "{name}" refers back to itself', "Break the circle.")
            self.parts[name] = _split(source)[1]
            self._collect(self.environment.checked_tree(self.parts[name], name), (*above, name))

    def _parents(self, tree: nodes.Template) -> list[nodes.Template]:
        extends = next((node for node in tree.body if isinstance(node, nodes.Extends)), None)
        if extends is None:
            return []
        name = extends.template.value  # type: ignore[attr-defined]
        parent = self.environment.checked_tree(self.parts[name], name)
        return [parent, *self._parents(parent)]

    # Checks ----------------------------------------------------------------------------------------

    def refuse(self, rule: str, what: str, fix: str, expected: str = "") -> NoReturn:
        expected = expected or "A template has the blocks system (optional), prompt and completion."
        raise TemplateError(
            f'The template "{self.key}" is refused: {what}.\n{expected}\n{fix}', template=self.key, rule=rule
        )

    def _check_fields(self) -> None:
        for name in self.task.fields:
            if name in RESERVED:
                self.refuse(
                    "field-name",
                    f'the task "{self.task.name}" has a field called "{name}"',
                    "Rename the field.",
                    f"These names are taken in templates: {', '.join(sorted(RESERVED))}.",
                )

    def _check_shape(self) -> None:
        known = {block.name for unit in self.chain[1:] for block in unit.find_all(nodes.Block)} | set(BLOCKS)
        for unit in self.chain:
            for node in unit.body:
                if isinstance(node, nodes.Block):
                    if node.name not in known:
                        fix = did_you_mean(node.name, known)
                        self.refuse("blocks", f'line {node.lineno}: a block is called "{printable(node.name)}"', fix)
                    continue
                self._check_root_node(node)
        self.blocks = {block.name: block for unit in reversed(self.chain) for block in unit.find_all(nodes.Block)}
        needed = ("prompt",) if self.declarations.inverted else ("prompt", "completion")
        for name in needed:
            if name not in self.blocks:
                self.refuse("blocks", f'it has no block "{name}"', f"Add {{% block {name} %}} … {{% endblock %}}.")

    def _check_root_node(self, node: nodes.Node) -> None:
        for inner in (node, *outside_blocks(node)):
            if isinstance(inner, nodes.Block) or any(isinstance(c, nodes.Block) for c in inner.iter_child_nodes()):
                self.refuse("blocks", f"line {inner.lineno}: a block stands inside a condition", "Move it out.")
        if isinstance(node, nodes.Output):
            for child in node.nodes:
                if not isinstance(child, nodes.TemplateData) or child.data.strip():
                    self.refuse("blocks", f"line {child.lineno}: text stands outside the blocks", "Move it into one.")

    def _check_leaks(self) -> None:
        """Refuse prompts that show the answer (or, inverted, the field that is asked for)."""
        secret = self.declarations.inverted or "answer"
        macros = [macro for unit in self.chain for macro in unit.find_all(nodes.Macro)]
        expected = f'The prompt is rendered without "{secret}", which is what the model has to give.'
        for unit in self.chain:
            for node in unit.body:
                if isinstance(node, (nodes.Macro, nodes.Block)):
                    continue
                line = mentions(secret, names_in(node), macros)
                if line is not None:
                    self.refuse(
                        "leak", f'line {line}: "{secret}" is used outside the completion', "Use it there.", expected
                    )
        for name in ("system", "prompt"):
            block = self.blocks.get(name)
            line = None if block is None else mentions(secret, self._used_in(block), macros)
            if line is not None:
                self.refuse("leak", f'line {line}: the {name} block uses "{secret}"', "Take it out.", expected)
        completion = self.blocks.get("completion")
        if completion is None or self.parts:
            return
        if mentions(secret, self._used_in(completion), macros) is None:
            self.refuse(
                "completion", f'the completion never uses "{secret}"', f"Write {{{{ {secret} }}}} in it.", expected
            )

    def _used_in(self, block: nodes.Block) -> dict[str, int]:
        """Return the names used in a block, with those of the blocks inside it as they are overridden."""
        used = names_in(block)
        for name in nested_blocks(block):
            used = names_in(self.blocks[name]) | used
        return used

    def _is_plain(self) -> bool:
        """Tell whether the completion is nothing but the answer."""
        block = self.blocks.get("completion")
        if block is None:
            return False
        parts = [part for node in block.body for part in (node.nodes if isinstance(node, nodes.Output) else [node])]
        shown = [part for part in parts if not (isinstance(part, nodes.TemplateData) and not part.data.strip())]
        return len(shown) == 1 and isinstance(shown[0], nodes.Name) and shown[0].name == "answer"

    # Compiling -------------------------------------------------------------------------------------

    def _compile(self) -> None:
        environment = self.environment
        stored = {"": {name for unit in self.chain for name in stored_names(unit)}}
        for unit in self.chain:
            for block in unit.find_all(nodes.Block):
                stored[block.name] = stored.get(block.name, set()) | stored_names(block)
        lines = {name: line for unit in reversed(self.chain) for name, line in names_in(unit).items()}
        environment.mute_blocks = True
        environment.resolved.clear()
        codes = [environment.code_of(unit, self.key) for unit in self.chain]
        self.used = {name for _, name in environment.resolved}
        for place, name in sorted(environment.resolved):
            self._check_known(place, name, lines, stored)
        for name, code in zip(self._parent_names(), codes[1:], strict=True):
            environment._parts[name] = code.template
        environment.mute_blocks = bool(codes[1:])
        self.code = codes[0]
        self.merged: dict[str, list[Any]] = {}
        for code in codes:
            for name, function in code.blocks.items():
                self.merged.setdefault(name, []).append(function)
        environment.mute_blocks = False

    def _parent_names(self) -> list[str]:
        extends = [node for unit in self.chain for node in unit.body if isinstance(node, nodes.Extends)]
        return [node.template.value for node in extends]  # type: ignore[attr-defined]

    def _check_known(self, place: str, name: str, lines: Mapping[str, int], stored: Mapping[str, set[str]]) -> None:
        lacking = set() if chooses(self.task) else {"choices", "letters"}
        lacking -= {"choices"} if isinstance(self.task.target, Tags) else set()  # the types of entities
        given = [one for one in GIVEN if one not in lacking]
        known = {*self.task.fields, *given, *self.environment.globals}
        if name in known or name in stored[""] or name in stored.get(place, ()):
            return
        if name in GIVEN:
            self.refuse(
                "unknown-name",
                f'line {lines.get(name, 0)}: the task "{self.task.name}" has no {name}',
                "Take it out.",
                "Only tasks whose answer is chosen from labels have choices and letters; taggers have choices.",
            )
        self.refuse(
            "unknown-name",
            f'line {lines.get(name, 0)}: "{printable(name, 80)}" is not known',
            did_you_mean(name, (*self.task.fields, *given)),
            f"The fields of {self.task.name} are: {', '.join(self.task.fields)}.",
        )


def _bundle(parts: Mapping[str, str], body: str) -> str:
    if not parts:
        return body
    carried = json.dumps(parts, ensure_ascii=False, sort_keys=True).replace("#}", "#\\u007d")
    return f"{{#- parts {carried} -#}}\n{body}"


class _Values(dict[str, Any]):
    """A row's variables; a name that is not there is what Jinja calls missing."""

    __slots__ = ()

    def __missing__(self, name: str) -> Any:
        return missing


def _does_something(node: nodes.Node) -> bool:
    return not isinstance(node, (nodes.Output, nodes.Block))


# --- Rendering ---------------------------------------------------------------------------------------


class _Writer:
    """Renders rows, one after the other, in one context that is filled anew for each."""

    def __init__(self, template: Template, plan: _Plan) -> None:
        self._template = template
        self._plan = plan
        self._task = template.task
        self._language = template.language
        self._inverted = template.inverted
        self._guard = plan.environment.guard
        self._limit = template.limits.output_chars
        self._context = Context(plan.environment, {}, template.key, {})
        self._context.blocks = plan.merged
        first = {name: functions[0] for name, functions in plan.merged.items()}
        self._root = plan.code.root if plan.runs_root else None
        self._system = first.get("system")
        self._prompt = first["prompt"]
        self._completion = first.get("completion")
        uses_all = bool(plan.parts)
        given = {**plan.environment.globals, "language": template.language}
        self._base = {name: value for name, value in given.items() if uses_all or name in plan.used}
        self._fields = [
            (name, field.optional, field.empty)
            for name, field in template.task.fields.items()
            if uses_all or name in plan.used or name == self._inverted
        ]
        self._uses_turns = "turns" in plan.used or uses_all
        self._tool_fields = [name for name, field in template.task.fields.items() if field.kind == "tools"]
        self._chooses = chooses(template.task)
        self._ranks = isinstance(template.task.target, Ranking)
        self._uses_choices = uses_all or bool(plan.used & {"choices", "letters"})
        target = template.task.target
        self._fixed = target.labels({}) if isinstance(target, Choice) and target.options else None
        self._from_field = getattr(target, "from_field", None)
        self._fixed_words = None if self._fixed is None else [self._words(label) for label in self._fixed]
        self.label_words = tuple(
            _letter(place) if template.letters else self._words(label) for place, label in enumerate(self._fixed or ())
        )
        self._fixed_choices: tuple[str, ...] | None = None
        self._heavy = 0
        self._plain = plan.plain_completion
        names = self._completion_names()
        self._lands_in_completion = uses_all or self._root is not None or bool(names & set(template.task.fields))
        calls = {"choices", "letters", *plan.environment.globals}
        self._completion_is_fixed = (
            self._fixed is not None and not self._lands_in_completion and not names & calls and not self._uses_random()
        )

    def _completion_names(self) -> set[str]:
        block = self._plan.blocks.get("completion")
        return set() if block is None else set(names_in(block))

    def _uses_random(self) -> bool:
        drawn = ("random", "choice", "shuffle")
        return any(node.name in drawn for unit in self._plan.chain for node in unit.find_all(nodes.Filter))

    # One row -----------------------------------------------------------------------------------------

    def write(self, example: Example, seed: int) -> Instruction:
        """Return the instruction of one row."""
        try:
            return self._write(example, seed)
        except TemplateError:
            raise
        except InstructForgeError as error:
            raise self._error("row", printable(error), example, "Mend the row.") from None
        except GuardError as error:
            if error.rule == "not-applicable":
                raise self._error(error.rule, str(error), example, "Use another template for this row.") from None
            raise self._plan.code.error_of(error, str(example.origin)) from None
        except Exception as error:
            raise self._plan.code.error_of(error, str(example.origin)) from None
        finally:
            used = self._template.limits.memory_bytes - self._guard.memory
            if used > LIGHT_BYTES:
                self._sweep(used)

    def _sweep(self, used: int) -> None:
        """Have lists that hold themselves collected before they add up: Python counts objects, not their sizes."""
        self._heavy += used
        if self._heavy > HEAVY_BYTES:
            self._heavy = 0
            self._context.vars = self._context.parent = {}
            gc.collect()

    def _write(self, example: Example, seed: int) -> Instruction:
        guard = self._guard
        guard.reset()
        guard.seed = (seed, example.id)
        values, labels = self._values(example)
        asked = values.pop(self._inverted, None) if self._inverted else None
        context = self._context
        context.vars = context.parent = values
        context.resolve_or_missing = values.__getitem__  # type: ignore[method-assign, assignment]
        if self._root is not None:
            for _ in self._root(context):
                pass
        messages: list[Message] = []
        landings: list[Landing] = []
        if self._system is not None:
            content = land(*self._gather(self._system), 0, landings)
            if content:
                messages.append(make_message("system", content))
        if self._uses_turns:
            self._write_turns(messages, landings)
        else:
            content = land(*self._gather(self._prompt), len(messages), landings)
            if not content:
                raise GuardError("not-applicable", "the prompt is empty")
            messages.append(make_message("user", content))
        choices: tuple[str, ...] = ()
        trained = True
        if self._inverted:
            completion = self._inverted_completion(values, asked, len(messages), landings)
            labels = ()
        elif labels:
            choices, completion = self._chosen(example, values, labels, len(messages), landings)
            trained = bool(example.answers)
        else:
            completion = self._answered(example, values, len(messages), landings)
            trained = bool(example.answers)
        whole = self._plain or (labels and not self._ranks)
        affixes = ("", "") if whole else self._around_answer(values, len(messages))
        reply = None if self._inverted or not example.answers else example.answers[0]
        if not isinstance(reply, Reply):
            messages.append(make_message("assistant", completion, trained=trained))
        else:
            messages.append(make_message("assistant", completion, trained=reply.weight != 0, reply=reply))
        return self._instruction(example, tuple(messages), tuple(landings), labels, choices, affixes)

    def _instruction(
        self,
        example: Example,
        messages: tuple[Message, ...],
        landings: tuple[Landing, ...],
        labels: tuple[str, ...],
        choices: tuple[str, ...],
        affixes: tuple[str, str],
    ) -> Instruction:
        template = self._template
        made: Any = InstructionDraft()
        made.example = example
        made.task = template.task.name
        made.language = template.language
        made.template = template.name
        made.template_sha256 = template.sha256
        made.messages = messages
        made.landings = landings
        made.labels = labels
        made.choices = choices
        made.cuttable = template.cuttable
        made.inverted = template.inverted
        made.affixes = affixes
        made.tools = self._tools_of(example) if self._tool_fields and not self._inverted else ()
        made.__class__ = Instruction
        return made  # type: ignore[no-any-return]

    # What the row gives ------------------------------------------------------------------------------

    def _tools_of(self, example: Example) -> tuple[Mapping[str, Any], ...]:
        """Return the schemas of the tools that the assistant may call; the chat template shows them."""
        tools = [tool for name in self._tool_fields for tool in example.inputs.get(name) or ()]
        if not all(isinstance(tool, Mapping) for tool in tools):
            raise GuardError("type", f'"{self._tool_fields[0]}" holds what is no schema of a tool')
        return tuple(tools)

    def _values(self, example: Example) -> tuple[_Values, tuple[str, ...]]:
        """Return the row's variables, and the labels that it chooses among."""
        inputs = example.inputs
        values = _Values(self._base)
        for name, optional, empty in self._fields:
            value = inputs.get(name)
            if type(value) is str:
                made = Traced(value)
                made.marks = ((name, None, 0, len(value), True),) if value else ()
                values[name] = made
            elif value is not None:
                values[name] = given_value(value, name)
            elif optional:
                values[name] = given_value(empty, name)
        if not self._chooses:
            labels: tuple[str, ...] = ()
            if self._uses_choices and isinstance(self._task.target, Tags):
                values["choices"] = list(self._task.target.type_words(inputs, self._language).values())
        else:
            labels = self._labels(inputs)
            if self._uses_choices:
                self._give_choices(values, labels)
        if self._inverted and example.answers and example.answers[0] != NO_ANSWER:
            words = self._answer_words(example.answers[0], labels, inputs)
            if words or not isinstance(example.answers[0], Reply):
                values["answer"] = words
        return values, labels

    def _labels(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        if self._fixed is not None:
            return self._fixed
        if self._from_field is not None and inputs.get(self._from_field) is None:
            raise GuardError("undefined", f'the row has no "{self._from_field}"')
        return self._task.target.labels(inputs)

    def _give_choices(self, values: dict[str, Any], labels: Sequence[str]) -> None:
        words = self._fixed_words
        if words is not None:
            values["choices"] = list(words)
        else:
            field = self._from_field
            given = [self._words(label) for label in labels]
            same = [traced(word, field, item) if word == labels[item] else word for item, word in enumerate(given)]
            values["choices"] = same if field else given
        values["letters"] = [_letter(place) for place in range(len(labels))]

    def _words(self, label: str) -> str:
        words = self._plan.declarations.words
        return words[label] if words is not None else self._task.target.words(label, self._language)

    def _answer_words(self, answer: Answer, labels: Sequence[str], inputs: Mapping[str, Any]) -> str:
        """Return what stands for ``answer`` in the completion: its words, or its letter."""
        declarations = self._plan.declarations
        if isinstance(answer, tuple) and answer and (declarations.letters or declarations.words is not None):
            between = "、" if self._language.startswith("zh") else ", "
            return between.join(self._answer_words(label, labels, inputs) for label in answer)
        if answer == ():
            return answer_words(self._task.target, answer, self._language, inputs)
        if declarations.letters:
            if answer not in labels:
                raise GuardError("answer", f'the answer "{printable(answer, 80)}" is not one of the row\'s choices')
            return _letter(labels.index(answer))
        if declarations.words is not None:
            if answer not in declarations.words:
                raise GuardError("answer", f'the answer "{printable(answer, 80)}" is not one of the task\'s labels')
            return declarations.words[answer]  # type: ignore[index]
        return answer_words(self._task.target, answer, self._language, inputs)

    # Blocks ------------------------------------------------------------------------------------------

    def _gather(self, block: Callable[[Context], Iterable[Any]]) -> tuple[str, list[Mark]]:
        """Return what a block writes, and the marks of the fields in it."""
        guard, limit = self._guard, self._limit
        parts: list[str] = []
        marks: list[Mark] = []
        at = 0
        for piece in block(self._context):
            text = piece if type(piece) is str or type(piece) is Traced else guard.text(piece)
            if type(text) is Traced:
                for field, item, start, end, exact in text.marks:
                    marks.append((field, item, at + start, at + end, exact))
                if len(marks) > MAX_MARKS:
                    raise GuardError("output", f"fields land in it more than {MAX_MARKS:,} times")
            parts.append(text)
            at += len(text)
            if at > limit:
                guard.room(at)
        return "".join(parts), marks

    def _write_turns(self, messages: list[Message], landings: list[Landing]) -> None:
        pieces: list[str | Turns] = []
        size = 0
        for written in self._prompt(self._context):
            piece = written if type(written) is Turns else self._guard.text(written)
            size += len(piece) if isinstance(piece, str) else sum(len(turn.text) for turn in piece.turns)
            if size > self._limit:
                self._guard.room(size)
            pieces.append(piece)
        turns = spread_turns(pieces)
        if turns[0].role == "system" and messages:
            raise GuardError("turns", "the row's turns begin with a system turn, and the template has one too")
        last = len(turns) - 1
        for number, turn in enumerate(turns):
            marks = turn.text.marks if type(turn.text) is Traced else ()
            text = str(turn.text)
            if number == last or turn.joined:
                text = land(text, marks, len(messages), landings)
            else:
                for field, item, start, end, exact in marks:
                    if start < end:
                        landings.append(Landing(field, len(messages), start, end, item, exact))
            messages.append(turn.to_message(text))
        if not messages[-1].content:
            raise GuardError("not-applicable", "the prompt is empty")

    def _answered(self, example: Example, values: dict[str, Any], message: int, landings: list[Landing]) -> str:
        """Return the completion of a row whose answer is not chosen from labels."""
        if not example.answers:
            return ""
        words = self._answer_words(example.answers[0], (), example.inputs)
        calls = isinstance(example.answers[0], Reply) and bool(example.answers[0].tool_calls)
        if calls and not words.strip():
            return ""  # the answer is its tool calls, and nothing is said around them
        completion = str(words).strip() if self._plain else self._complete(values, words, message, landings)
        if not completion:
            raise GuardError("completion", "the completion is empty")
        return completion

    def _chosen(
        self,
        example: Example,
        values: dict[str, Any],
        labels: tuple[str, ...],
        message: int,
        landings: list[Landing],
    ) -> tuple[tuple[str, ...], str]:
        """Return the completion of each label, and that of the answer."""
        choices = self._fixed_choices
        if choices is None:
            letters = self._template.letters
            words = [_letter(place) if letters else self._words(label) for place, label in enumerate(labels)]
            choices = tuple(
                word.strip() if self._plain else self._complete(values, word, message, []) for word in words
            )
            if not all(choices):
                raise GuardError("completion", "the completion of a label is empty")
            if self._completion_is_fixed:
                self._fixed_choices = choices
        if not example.answers:
            return choices, ""
        answer = example.answers[0]
        if not self._lands_in_completion and answer in labels:
            return choices, choices[labels.index(answer)]
        words_given = self._answer_words(answer, labels, example.inputs)
        completion = words_given.strip() if self._plain else self._complete(values, words_given, message, landings)
        if not completion:
            raise GuardError("completion", "the completion is empty")
        return choices, completion

    def _complete(self, values: dict[str, Any], words: str, message: int, landings: list[Landing]) -> str:
        assert self._completion is not None
        values["answer"] = words
        self._guard.random = None  # every completion of a row draws the same
        return land(*self._gather(self._completion), message, landings)

    def _around_answer(self, values: dict[str, Any], message: int) -> tuple[str, str]:
        """Return what the completion puts before and after the answer; nothing where that cannot be told."""
        if self._completion is None:
            return "", ""
        if self._inverted:
            values[self._inverted] = _STAND_IN
        try:
            text = self._complete(values, _STAND_IN, message, [])
        except Exception:  # a completion that looks its answer up knows no stand-in
            return "", ""
        before, found, after = text.partition(_STAND_IN)
        return (before, after) if found and _STAND_IN not in after else ("", "")

    def _inverted_completion(self, values: dict[str, Any], asked: Any, message: int, landings: list[Landing]) -> str:
        if not isinstance(asked, str) or not asked.strip():
            raise GuardError("not-applicable", f'the row has no "{self._inverted}"')
        values[str(self._inverted)] = asked
        if self._completion is not None:
            completion = land(*self._gather(self._completion), message, landings)
        else:
            marks = asked.marks if type(asked) is Traced else ()
            completion = land(str(asked), marks, message, landings)
        if not completion:
            raise GuardError("completion", "the completion is empty")
        return completion

    def _error(self, rule: str, what: str, example: Example, fix: str) -> TemplateError:
        key = self._template.key
        return TemplateError(
            f'The template "{key}" does not fit the row {printable(example.origin)}: {what}.\n'
            f'It is for rows of the task "{self._task.name}".\n{fix}',
            template=key,
            rule=rule,
        )


_STAND_IN = "\ue000answer\ue001"
"""Stands for the answer while the text around it is read off: private characters, which no template writes."""


def _letter(place: int) -> str:
    """Return A, B … Z, AA, AB … for 0, 1 …

    >>> [_letter(place) for place in (0, 25, 26, 27, 701, 702)]
    ['A', 'Z', 'AA', 'AB', 'ZZ', 'AAA']
    """
    name = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(65 + rest) + name
    return name
