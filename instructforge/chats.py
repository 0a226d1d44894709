"""Conversations of other projects, read into one form: turns, tools and the system text.

``parse_chat`` takes a row of any form below and gives a ``Chat``. A turn of a ``Chat`` is a dict with ``role``
(``user``, ``assistant`` or ``tool``) and ``content`` (a text), and, where the row has them, ``reasoning_content``,
``tool_calls``, ``tool_call_id``, ``name`` and ``weight`` (0 or 1: whether the model learns the turn). Its tool calls
have the form of the OpenAI chat API, with the arguments as an object:
``{"type": "function", "function": {"name": …, "arguments": {…}}}``, with ``id`` where the row gives one.

**OpenAI messages**, of which those of TRL and ms-swift are dialects::

    {"messages": [{"role": "system" | "developer" | "user" | "assistant" | "tool",
                   "content": str | [{"type": "text", "text": str} …] | null,
                   "name"?: str, "weight"?: 0 | 1, "tool_call_id"?: str, "reasoning_content"?: str,
                   "tool_calls"?: [{"id", "type": "function", "function": {"name", "arguments": "<JSON>"}}]} …],
     "tools"?: [{"type": "function", "function": {"name", "description", "parameters"}}] | "<JSON>"}

Also read: ``function_call`` and the role ``function`` (deprecated by OpenAI) with ``functions`` for ``tools``; ``loss``
(ms-swift) and ``train`` or ``training`` (axolotl) for ``weight``; the roles ``tool_call`` and ``tool_response``
(ms-swift); ``reasoning`` or ``thinking`` for ``reasoning_content``.

**ShareGPT**, with ``role`` and ``content`` for ``from`` and ``value`` too::

    {"conversations": [{"from": "human" | "gpt" | "system" | "observation" | "function_call", "value": str} …],
     "system"?: str, "tools"?: "<JSON>"}

**ms-swift**: ``{"system"?: str, "conversation": [{"human": str, "assistant": str} …]}``

**Alpaca**::

    {"instruction": str, "input"?: str, "output" | "response"?: str, "system"?: str, "history"?: [[user, assistant] …]}

What is not of its form is a ``DataError`` that names the turn, counted from 1. What was mended on the way is named in
``Chat.notes``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn

from attrs import frozen

from instructforge.data import Origin
from instructforge.errors import DataError, printable

__all__ = ["Chat", "form_of", "parse_chat", "parse_tool_calls", "parse_tools"]

OPENAI: Final = "openai"
SHAREGPT: Final = "sharegpt"
SWIFT: Final = "ms-swift"
ALPACA: Final = "alpaca"

_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function": "tool",
    "function_call": "call",
    "tool_call": "call",
}
_ROLE_KEYS: Final = ("role", "from")
_TEXT_KEYS: Final = ("content", "value")
_REASONING_KEYS: Final = ("reasoning_content", "reasoning", "thinking")
_WEIGHT_KEYS: Final = ("weight", "loss", "train", "training")
_TEXT_PARTS: Final = ("text", "input_text", "output_text")
_ANSWER_KEYS: Final = ("output", "response")
_ASKING_KEYS: Final = ("instruction", "query")
_MAX_TURNS: Final = 10_000


@frozen
class Chat:
    """A conversation.

    Attributes:
        turns: The turns in their order, the system's left out.
        system: What the system turn says; empty where there is none.
        tools: The schemas of the tools that the assistant may call, in the form of the OpenAI chat API.
        form: The form in which it was written: ``openai``, ``sharegpt``, ``ms-swift`` or ``alpaca``.
        notes: Names of rules by which it was mended.
    """

    turns: tuple[dict[str, Any], ...]
    system: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    form: str = OPENAI
    notes: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether the assistant has the last word."""
        return bool(self.turns[-1]["role"] == "assistant")

    def messages(self) -> list[dict[str, Any]]:
        """Return all turns, the system's first where there is one."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]


def form_of(values: Mapping[str, Any]) -> str | None:
    """Return the form of a row (``openai``, ``sharegpt``, ``ms-swift`` or ``alpaca``), or None where it has none.

    >>> form_of({"conversations": [{"from": "human", "value": "Hello"}]})
    'sharegpt'
    """
    if isinstance(values.get("messages"), list):
        return OPENAI
    if isinstance(values.get("conversations"), list):
        return SHAREGPT
    found = values.get("conversation")
    if isinstance(found, list):
        first = found[0] if found else None
        return SHAREGPT if isinstance(first, Mapping) and any(key in first for key in _ROLE_KEYS) else SWIFT
    return ALPACA if any(isinstance(values.get(key), str) for key in _ASKING_KEYS) else None


def parse_chat(values: Mapping[str, Any], *, alternate: bool | None = None, origin: Origin | None = None) -> Chat:
    """Return the conversation of a row.

    Args:
        values: A row of one of the forms above.
        alternate: Whether the user has to open, and user and assistant to take turns. By default this holds for
            ShareGPT, as its readers expect it, and not for OpenAI messages.
        origin: Where the row came from, for the error; a build fills it in by itself.

    Raises:
        DataError: The row is of no form, a turn is not what its form says, or stands where it may not. Rules:
            ``chat-form``, ``chat-empty``, ``turn-type``, ``role-unknown``, ``content-missing``, ``content-type``,
            ``content-not-text``, ``turn-empty``, ``turn-order``, ``weight``, ``tool-call``, ``tool-call-unknown``,
            ``tools``, ``system-type``.

    >>> chat = parse_chat({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]})
    >>> chat.turns
    ({'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello'})
    """
    try:
        form = form_of(values)
        if form is None:
            raise DataError(
                "the row is no conversation",
                rule="chat-form",
                fix='give "messages", "conversations", "conversation", or "instruction" and "output"',
            )
        return _READERS[form](values, alternate)
    except DataError as error:
        error.origin = error.origin or origin
        raise


# --- The forms ----------------------------------------------------------------------------------------


def _read_messages(values: Mapping[str, Any], alternate: bool | None) -> Chat:
    return _read_turns(values, "messages", OPENAI, bool(alternate))


def _read_sharegpt(values: Mapping[str, Any], alternate: bool | None) -> Chat:
    column = "conversations" if isinstance(values.get("conversations"), list) else "conversation"
    return _read_turns(values, column, SHAREGPT, alternate is None or alternate)


def _read_turns(values: Mapping[str, Any], column: str, form: str, alternate: bool) -> Chat:
    notes: dict[str, None] = {}
    raw = values[column]
    if len(raw) > _MAX_TURNS:
        raise DataError(
            f"the conversation has {len(raw):,} turns; at most {_MAX_TURNS:,} are read",
            rule="chat-too-long",
            field=column,
            fix="cut it into several conversations",
        )
    reader = _TurnReader(column, notes)
    turns = reader.merged([reader.read(place, turn) for place, turn in enumerate(raw)])
    return _chat(values, turns, form, notes, alternate=alternate, column=column)


def _read_swift(values: Mapping[str, Any], alternate: bool | None) -> Chat:
    turns: list[_Placed] = []
    for place, pair in enumerate(values["conversation"]):
        if not isinstance(pair, Mapping):
            raise _turn_error(place, "conversation", "is no object", "turn-type", 'give {"human": …, "assistant": …}')
        for key, role in (("human", "user"), ("assistant", "assistant")):
            text = pair.get(key)
            last = place + 1 == len(values["conversation"])
            if text is None and role == "assistant" and last:
                continue  # a prompt that waits for its answer
            turns.append((place, {"role": role, "content": _filled(text, place, f"conversation[{place}].{key}")}))
    return _chat(values, turns, SWIFT, {}, alternate=alternate is None or alternate, column="conversation")


def _read_alpaca(values: Mapping[str, Any], alternate: bool | None) -> Chat:
    turns: list[_Placed] = []
    history = values.get("history")
    if history is not None and not isinstance(history, (list, tuple)):
        raise DataError('"history" is no list', rule="turn-type", field="history", fix="give [[user, assistant], …]")
    for place, pair in enumerate(history or ()):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise _turn_error(place, "history", "is no pair", "turn-type", "give [user, assistant]")
        for text, role in zip(pair, ("user", "assistant"), strict=True):
            turns.append((place, {"role": role, "content": _filled(text, place, f"history[{place}]")}))
    asked = next(values[key] for key in _ASKING_KEYS if isinstance(values.get(key), str))
    more = values.get("input")
    if more is not None and not isinstance(more, str):
        raise DataError('"input" is no text', rule="content-type", field="input", fix="give a text, or leave it out")
    whole = f"{asked}\n{more}" if more and more.strip() else asked
    turns.append((len(turns) // 2, {"role": "user", "content": _filled(whole, len(turns) // 2, "instruction")}))
    key = next((key for key in _ANSWER_KEYS if values.get(key) is not None), None)
    if key is not None:
        turns.append((len(turns) // 2, {"role": "assistant", "content": _filled(values[key], len(turns) // 2, key)}))
    return _chat(values, turns, ALPACA, {}, alternate=alternate is None or alternate, column="history")


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any], bool | None], Chat]]] = {
    OPENAI: _read_messages,
    SHAREGPT: _read_sharegpt,
    SWIFT: _read_swift,
    ALPACA: _read_alpaca,
}

_Placed = tuple[int, dict[str, Any]]
"""A turn, and its place in the row, counted from 0."""


def _chat(
    values: Mapping[str, Any],
    turns: list[_Placed],
    form: str,
    notes: dict[str, None],
    *,
    alternate: bool,
    column: str,
) -> Chat:
    """Return the whole conversation: system texts taken out, tools read, the order of turns checked."""
    systems = [_system_of(values)]
    while turns and turns[0][1]["role"] == "system":
        systems.append(turns.pop(0)[1]["content"])
    given = [text for text in systems if text.strip()]
    if len(given) > 1:
        notes["systems-joined"] = None
    if not turns:
        raise DataError(
            "the conversation has no turns", rule="chat-empty", field=column, fix="give at least what the user says"
        )
    _check_order(turns, column, alternate=alternate)
    tools = _tools_of(values, notes)
    return Chat(tuple(turn for _, turn in turns), "\n\n".join(given), tools, form, tuple(notes))


def _system_of(values: Mapping[str, Any]) -> str:
    system = values.get("system")
    if system is None:
        return ""
    if not isinstance(system, str):
        raise DataError('"system" is no text', rule="system-type", field="system", fix="give a text, or leave it out")
    return system


def _tools_of(values: Mapping[str, Any], notes: dict[str, None]) -> tuple[dict[str, Any], ...]:
    if values.get("tools") is not None:
        return parse_tools(values["tools"])
    if values.get("functions") is not None:
        notes["functions-as-tools"] = None
        return parse_tools(values["functions"], field="functions")
    return ()


# --- Order --------------------------------------------------------------------------------------------


def _check_order(turns: Sequence[_Placed], column: str, *, alternate: bool) -> None:
    """Raise ``DataError`` where a turn stands where it may not.

    Tool turns follow a turn that calls tools; a system turn stands first. With ``alternate``, the user opens, and
    nobody speaks twice in a row.
    """
    before = "the start"
    called: set[str] | None = None
    for place, turn in turns:
        role = turn["role"]
        if role == "system":
            raise _order_error(place, column, "the system speaks after others have", "put it first")
        if role == "tool":
            if called is None:
                raise _order_error(place, column, "a tool answers, and none was called", "put the call before it")
            _check_answers_call(place, turn, called, column)
            before = "tool"
            continue
        if alternate and before == role:
            raise _order_error(place, column, f"the {role} speaks twice in a row", "join the two turns")
        if alternate and role == "assistant" and before == "the start":
            raise _order_error(place, column, "the assistant opens the conversation", "begin with the user's turn")
        if alternate and role == "user" and before == "tool":
            raise _order_error(place, column, "the user speaks before the tool's answer is used", "put a turn between")
        calls = turn.get("tool_calls")
        called = {str(call["id"]) for call in calls if "id" in call} if calls else None
        before = role


def _check_answers_call(place: int, turn: Mapping[str, Any], called: set[str], column: str) -> None:
    answers = turn.get("tool_call_id")
    if answers is not None and called and answers not in called:
        raise _turn_error(
            place,
            column,
            f'answers the call "{printable(answers, 60)}", which was not made',
            "tool-call-unknown",
            f"calls before it: {', '.join(sorted(printable(one, 40) for one in called))}",
        )


def _order_error(place: int, column: str, what: str, fix: str) -> DataError:
    return DataError(f"turn {place + 1}: {what}", rule="turn-order", field=f"{column}[{place}]", fix=fix)


def _turn_error(place: int, column: str, what: str, rule: str, fix: str, key: str = "") -> DataError:
    field = f"{column}[{place}].{key}" if key else f"{column}[{place}]"
    return DataError(f"turn {place + 1} {what}", rule=rule, field=field, fix=fix)


# --- One turn -----------------------------------------------------------------------------------------


@frozen
class _TurnReader:
    """Reads turns written as objects with a role and a text."""

    column: str
    notes: dict[str, None]

    def read(self, place: int, raw: Any) -> _Placed:
        if not isinstance(raw, Mapping):
            raise self._error(place, f"is {_kind(raw)}, not an object", "turn-type", "give role and content")
        role = self._role(place, raw)
        text = self._text(place, raw)
        turn: dict[str, Any] = {"role": role, "content": text or ""}
        if role == "call":
            calls = self._calls(place, self._filled(place, text))
            return place, {"role": "assistant", "content": "", "tool_calls": calls, **self._weight(place, raw)}
        if role == "assistant":
            self._read_assistant(place, raw, turn)
        elif text is None:
            raise self._error(place, f"({role}) has no content", "content-missing", "give a text", "content")
        elif role == "user" and not text.strip():
            raise self._error(place, "(user) is empty", "turn-empty", "give what is said, or take the turn out")
        if role != "assistant" and any(raw.get(key) is not None for key in _WEIGHT_KEYS):
            self.notes["weight-dropped"] = None  # only what the assistant says is ever trained
        self._read_names(place, raw, turn)
        return place, turn

    def merged(self, turns: Sequence[_Placed]) -> list[_Placed]:
        """Return the turns with calls that follow a call in one turn, as one assistant's turn makes them."""
        done: list[_Placed] = []
        for place, turn in turns:
            bare = "tool_calls" in turn and not turn["content"] and "reasoning_content" not in turn
            if bare and done and "tool_calls" in done[-1][1] and done[-1][1].get("weight") == turn.get("weight"):
                first = done[-1][1]
                done[-1] = (done[-1][0], first | {"tool_calls": [*first["tool_calls"], *turn["tool_calls"]]})
                self.notes["tool-calls-joined"] = None
            else:
                done.append((place, turn))
        return done

    def _role(self, place: int, raw: Mapping[str, Any]) -> str:
        given = next((raw[key] for key in _ROLE_KEYS if raw.get(key) is not None), None)
        name = given.strip().casefold() if isinstance(given, str) else ""
        role = _ROLES.get(name)
        if role is None:
            what = f'has the role "{printable(given, 40)}"' if given is not None else "has no role"
            raise self._error(place, what, "role-unknown", f"use one of: {', '.join(_ROLES)}", "role")
        if name == "developer":
            self.notes["developer-as-system"] = None
        return role

    def _text(self, place: int, raw: Mapping[str, Any]) -> str | None:
        content = next((raw[key] for key in _TEXT_KEYS if raw.get(key) is not None), None)
        if content is None or isinstance(content, str):
            return content
        if not isinstance(content, (list, tuple)):
            fix = "give a text, or a list of text parts"
            raise self._error(place, f"has {_kind(content)} for its content", "content-type", fix, "content")
        texts = [self._part(place, part) for part in content]
        if len(texts) > 1:
            self.notes["parts-joined"] = None
        return "".join(texts)

    def _part(self, place: int, part: Any) -> str:
        if isinstance(part, str):
            return part
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            return str(part["text"])
        shown = f'of type "{printable(kind, 40)}"' if isinstance(kind, str) else "that is no object with a type"
        fix = "take the row out, or say in text what the part shows; only texts are trained here"
        raise self._error(place, f"has a part {shown}, which is no text", "content-not-text", fix, "content")

    def _filled(self, place: int, text: str | None) -> str:
        if text is None or not text.strip():
            raise self._error(place, "is empty", "turn-empty", "give what is said, or take the turn out")
        return text

    def _read_assistant(self, place: int, raw: Mapping[str, Any], turn: dict[str, Any]) -> None:
        if not turn["content"] and isinstance(raw.get("refusal"), str):
            turn["content"] = raw["refusal"]
            self.notes["refusal-as-content"] = None
        for key in _REASONING_KEYS:
            if raw.get(key) is not None and not isinstance(raw[key], str):
                raise self._error(place, f"has {_kind(raw[key])} for its {key}", "content-type", "give a text", key)
        reasoning = next((raw[key] for key in _REASONING_KEYS if raw.get(key)), None)
        if reasoning is not None and reasoning.strip():
            turn["reasoning_content"] = reasoning
        if raw.get("tool_calls"):
            turn["tool_calls"] = self._calls(place, raw["tool_calls"])
        elif raw.get("function_call"):
            turn["tool_calls"] = self._calls(place, [raw["function_call"]])
            self.notes["function-call-as-tool-call"] = None
        if not turn["content"].strip() and "tool_calls" not in turn:
            raise self._error(place, "(assistant) is empty", "turn-empty", "give what is said, or take the turn out")
        turn |= self._weight(place, raw)

    def _read_names(self, place: int, raw: Mapping[str, Any], turn: dict[str, Any]) -> None:
        for key in ("name", "tool_call_id"):
            value = raw.get(key)
            if value is None or (key == "tool_call_id" and turn["role"] != "tool"):
                continue
            if not isinstance(value, str):
                raise self._error(place, f"has {_kind(value)} for its {key}", "turn-type", "give a text", key)
            turn[key] = value

    def _weight(self, place: int, raw: Mapping[str, Any]) -> dict[str, int]:
        key = next((key for key in _WEIGHT_KEYS if raw.get(key) is not None), None)
        if key is None:
            return {}
        value = raw[key]
        if not isinstance(value, (bool, int, float, Decimal)) or value not in (0, 1):
            shown = f'"{printable(value, 40)}" for its {key}'
            raise self._error(place, f"has {shown}", "weight", "give 1 to train the turn, 0 to leave it out", key)
        return {"weight": int(value)}

    def _calls(self, place: int, value: Any) -> list[dict[str, Any]]:
        try:
            return parse_tool_calls(value, notes=self.notes)
        except DataError as error:
            raise self._error(place, f"calls a tool: {error}", error.rule, error.fix, "tool_calls") from None

    def _error(self, place: int, what: str, rule: str, fix: str, key: str = "") -> DataError:
        return _turn_error(place, self.column, what, rule, fix, key)


def _filled(text: Any, place: int, field: str) -> str:
    """Return a text that has to say something."""
    if text is None or isinstance(text, str):
        if text and text.strip():
            return text
        what, rule = f'turn {place + 1}: "{field}" is empty', "turn-empty"
        raise DataError(what, rule=rule, field=field, fix="give what is said, or take the turn out")
    what = f'turn {place + 1}: "{field}" is {_kind(text)}, not a text'
    raise DataError(what, rule="content-type", field=field, fix="give a text")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "true or false",
        str: "a text",
        list: "a list",
        dict: "an object",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), printable(type(value).__name__, 40))


# --- Tools --------------------------------------------------------------------------------------------


def parse_tool_calls(value: Any, *, notes: dict[str, None] | None = None) -> list[dict[str, Any]]:
    """Return tool calls in one form: ``{"type": "function", "function": {"name", "arguments": {…}}}``, ``id`` if given.

    Args:
        value: A call or a list of calls, or the JSON of either. A call may be written as the OpenAI chat API has it,
            or as ``{"name", "arguments"}`` alone; its arguments may be an object or its JSON.
        notes: Takes the names of rules by which calls were mended: ``arguments-empty``.

    Raises:
        DataError: Rule ``tool-call``.

    >>> parse_tool_calls('{"name": "add", "arguments": {"a": 1}}')
    [{'type': 'function', 'function': {'name': 'add', 'arguments': {'a': 1}}}]
    """
    if isinstance(value, str):
        value = _json(value, "the call", "tool-call")
    calls = value if isinstance(value, (list, tuple)) else [value]
    if not calls:
        raise DataError("the list of calls is empty", rule="tool-call", fix="give a call, or leave the list out")
    return [_call(call, {} if notes is None else notes) for call in calls]


def _call(value: Any, notes: dict[str, None]) -> dict[str, Any]:
    fix = 'give {"name": …, "arguments": {…}}'
    if not isinstance(value, Mapping):
        raise DataError(f"the call is {_kind(value)}, not an object", rule="tool-call", fix=fix)
    function = value["function"] if isinstance(value.get("function"), Mapping) else value
    kind = value.get("type")
    if kind is not None and kind != "function":
        raise DataError(
            f'the call is of type "{printable(kind, 40)}"', rule="tool-call", fix="only functions are called"
        )
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"the call names no function: {printable(dict(value), 80)}", rule="tool-call", fix=fix)
    made: dict[str, Any] = {"id": value["id"]} if isinstance(value.get("id"), str) and value["id"] else {}
    return made | {"type": "function", "function": {"name": name, "arguments": _arguments(function, name, notes)}}


def _arguments(function: Mapping[str, Any], name: str, notes: dict[str, None]) -> dict[str, Any]:
    given = function.get("arguments", function.get("parameters"))
    if given is None or (isinstance(given, str) and not given.strip()):
        notes["arguments-empty"] = None
        return {}
    if isinstance(given, str):
        given = _json(given, f'the arguments of "{printable(name, 60)}"', "tool-call")
    if not isinstance(given, Mapping):
        what = f'the arguments of "{printable(name, 60)}" are {_kind(given)}, not an object'
        raise DataError(what, rule="tool-call", fix="give an object, each argument by its name")
    plain: dict[str, Any] = _plain(given, "tool-call")
    return plain


def parse_tools(value: Any, *, field: str = "tools") -> tuple[dict[str, Any], ...]:
    """Return the schemas of tools in one form: ``{"type": "function", "function": {"name", …}}``.

    Args:
        value: A list of schemas, or its JSON. A schema may be the function's alone, without the object around it.
        field: What the column is called, for errors.

    Raises:
        DataError: Rule ``tools``.

    >>> parse_tools('[{"name": "add", "parameters": {}}]')
    ({'type': 'function', 'function': {'name': 'add', 'parameters': {}}},)
    """
    if isinstance(value, str):
        value = _json(value, f'"{field}"', "tools") if value.strip() else []
    if not isinstance(value, (list, tuple)):
        raise DataError(f'"{field}" is {_kind(value)}, not a list', rule="tools", field=field, fix="give a list")
    return tuple(_tool(place, tool, field) for place, tool in enumerate(value))


def _tool(place: int, value: Any, field: str) -> dict[str, Any]:
    own = value.get("function") if isinstance(value, Mapping) and value.get("type", "function") == "function" else None
    function = own if isinstance(own, Mapping) else value
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"].strip():
        what = f"tool {place + 1} is no function with a name: {printable(value, 80)}"
        fix = 'give {"type": "function", "function": {"name": …, "description": …, "parameters": {…}}}'
        raise DataError(what, rule="tools", field=f"{field}[{place}]", fix=fix)
    plain: dict[str, Any] = _plain(value if own is function else {"type": "function", "function": function}, "tools")
    return {"type": "function", **plain}


def _json(text: str, what: str, rule: str) -> Any:
    def _refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        shown = printable(text, 60)
        raise DataError(f'{what} is not JSON: "{shown}" ({printable(error, 60)})', rule=rule, fix="mend it") from None


def _plain(value: Any, rule: str, deep: int = 0) -> Any:
    """Return ``value`` made of JSON types alone. None in objects stays: it is an argument's value."""
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, (float, Decimal)) and math.isfinite(float(value)):
        return float(value)
    if deep < 50 and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(part, rule, deep + 1) for key, part in value.items()}
    if deep < 50 and isinstance(value, (list, tuple)):
        return [_plain(part, rule, deep + 1) for part in value]
    what = f"it holds {_kind(value)}" if deep < 50 else "it nests deeper than 50 levels"
    raise DataError(f"{what}, which cannot be written as JSON here", rule=rule, fix="give plain JSON values")
