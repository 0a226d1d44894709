"""Rows of every form that dialogues come in, read as conversations.

Messages of OpenAI, ShareGPT, ms-swift and Alpaca are read by ``instructforge.chats``; the forms here are

* plain turns: ``{"dialog" | "dialogue" | "turns" | "utterances" | "conversation" | …: [str | {speaker, text}]}``, as in
  DailyDialog; without speakers, user and assistant take turns, the user first;
* rows of the task's own fields: ``{"history": […], "reply": …, "system"?, "persona"?, "knowledge"?}``;
* SGD (and MultiWOZ 2.2): ``{"dialogue_id", "services", "turns": [{"speaker", "utterance", "frames"}]}``;
* CrossWOZ: ``{"messages": [{"role": "usr" | "sys", "content", "dialog_act", …}]}``;
* KdConv: ``{"messages": [{"message", "attrs"?: [{"name", "attrname", "attrvalue"}]}], "name"}``.

Source: https://github.com/google-research-datasets/dstc8-schema-guided-dialogue,
https://github.com/thu-coai/CrossWOZ and https://github.com/thu-coai/KdConv (forms of the data files).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from instructforge import DataError
from instructforge.chats import form_of, parse_chat
from instructforge.errors import printable
from instructforge_dialogue.conversation import Conversation, Turn

__all__ = [
    "KNOWLEDGE",
    "crosswoz",
    "from_chat",
    "from_rows",
    "from_turns",
    "id_of",
    "is_chat",
    "is_crosswoz",
    "is_kdconv",
    "is_rows",
    "is_sgd",
    "is_turns",
    "kdconv",
    "listed",
    "sgd",
    "turns_of",
]

TURNS = ("dialog", "dialogue", "turns", "utterances", "conversation", "conversations", "messages")
HISTORY = ("history", "dialogue_history", "context")
QUERY = ("query", "question", "prompt", "utterance")
REPLY = ("reply", "response", "answer", "output", "target")
SYSTEM = ("system", "system_prompt")
PERSONA = ("persona", "personality", "profile")
KNOWLEDGE = ("knowledge", "passages", "documents", "evidence", "facts")
IDS = ("id", "dialogue_id", "dialog_id", "conversation_id", "conv_id")

SPEAKER = ("speaker", "role", "from", "author", "sender")
TEXT = ("text", "utterance", "content", "value", "message", "sentence")
USERS = ("user", "usr", "human", "customer", "client", "caller", "seeker", "apprentice", "用户", "顾客", "客户")
ASSISTANTS = (
    "assistant",
    "system",
    "sys",
    "agent",
    "bot",
    "gpt",
    "wizard",
    "operator",
    "model",
    "助手",
    "系统",
    "客服",
)
CHAT_ROLES = ("system", "developer", "user", "human", "assistant", "gpt", "chatgpt", "model", "tool", "function_call")


# --- What a row's form is told by ----------------------------------------------------------------------


def _first_turn(values: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    turns = values.get(column)
    first = turns[0] if isinstance(turns, (list, tuple)) and turns else None
    return first if isinstance(first, Mapping) else {}


def is_sgd(values: Mapping[str, Any]) -> bool:
    first = _first_turn(values, "turns")
    return "speaker" in first and "utterance" in first and ("dialogue_id" in values or "frames" in first)


def is_crosswoz(values: Mapping[str, Any]) -> bool:
    return _first_turn(values, "messages").get("role") in ("usr", "sys")


def is_kdconv(values: Mapping[str, Any]) -> bool:
    first = _first_turn(values, "messages")
    return "message" in first and not any(key in first for key in SPEAKER)


def is_chat(values: Mapping[str, Any]) -> bool:
    """Tell whether it is a form of ``instructforge.chats``; Alpaca only where it has a history."""
    form = form_of(values)
    if form is None or is_crosswoz(values) or is_kdconv(values):
        return False
    if form == "alpaca":
        history = values.get("history")
        pairs = isinstance(history, (list, tuple)) and all(isinstance(pair, (list, tuple)) for pair in history)
        return pairs and _turns_column(values) is None
    first = next((one for one in (_first_turn(values, name) for name in TURNS) if one), {})
    if form == "ms-swift":
        return "human" in first or "assistant" in first
    role = str(first.get("role") or first.get("from") or "").strip().casefold()
    return role in CHAT_ROLES and any(key in first for key in ("content", "value", "tool_calls"))


def is_turns(values: Mapping[str, Any]) -> bool:
    if _turns_column(values) is None:
        return False
    return not (is_chat(values) or is_sgd(values) or is_crosswoz(values) or is_kdconv(values))


def is_rows(values: Mapping[str, Any]) -> bool:
    has_history = isinstance(_first(values, HISTORY), (list, tuple))
    return has_history and _first(values, REPLY) is not None and not is_chat(values) and _turns_column(values) is None


def _turns_column(values: Mapping[str, Any]) -> str | None:
    return next((name for name in TURNS if isinstance(values.get(name), (list, tuple))), None)


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def id_of(values: Mapping[str, Any]) -> str:
    """Return the dialogue's own id; empty where it has none."""
    found = _first(values, IDS)
    return str(found).strip() if isinstance(found, (str, int)) and not isinstance(found, bool) else ""


# --- Chats, plain turns, rows --------------------------------------------------------------------------


def from_chat(values: Mapping[str, Any]) -> Conversation:
    """Return the conversation of messages of OpenAI, ShareGPT, ms-swift, or Alpaca with a history."""
    chat = parse_chat(values, alternate=False)
    if chat.tools:
        # A reply that calls a tool can be learnt only by a model that is shown the tools.
        raise DataError(
            f"the conversation offers {len(chat.tools)} tools",
            rule="tools-not-kept",
            field="tools",
            fix='use the task "instruction", which shows the tools to the model',
        )
    return Conversation(
        turns=[Turn(turn) for turn in chat.turns],
        system=_told(values, chat.system),
        knowledge=listed(_first(values, KNOWLEDGE), "knowledge"),
        id=id_of(values),
        notes=chat.notes,
    )


def from_turns(values: Mapping[str, Any]) -> Conversation:
    """Return the conversation of a plain list of turns."""
    column = _turns_column(values)
    if column is None:
        raise DataError(
            "the row has no list of turns", rule="field-missing", field="turns", fix=f"give one of: {', '.join(TURNS)}"
        )
    return _plain(values, turns_of(values[column], column))


def from_rows(values: Mapping[str, Any]) -> Conversation:
    """Return the conversation of a row with a history and the reply to it."""
    history = _first(values, HISTORY)
    reply = _first(values, REPLY)
    if not isinstance(reply, str) or not reply.strip():
        what = f"the reply is {printable(repr(reply), 80)}, not a text"
        raise DataError(what, rule="answer-empty", field="reply", fix=f"give a text as one of: {', '.join(REPLY)}")
    turns = turns_of(history if history is not None else [], "history", ends_on_user=_first(values, QUERY) is None)
    query = _first(values, QUERY)
    if query is not None:
        turns.append(_turn("user", query, "query"))
    return _plain(values, [*turns, Turn({"role": "assistant", "content": reply})])


def _plain(values: Mapping[str, Any], turns: list[Turn]) -> Conversation:
    return Conversation(
        turns=turns,
        system=_told(values, ""),
        knowledge=listed(_first(values, KNOWLEDGE), "knowledge"),
        id=id_of(values),
    )


def _told(values: Mapping[str, Any], system: str) -> str:
    """Return the system text and the persona, a line each."""
    given = system or _first(values, SYSTEM) or ""
    if not isinstance(given, str):
        raise DataError('"system" is no text', rule="system-type", field="system", fix="give a text, or leave it out")
    return "\n".join(part for part in (given, *listed(_first(values, PERSONA), "persona")) if part.strip())


def listed(value: Any, column: str) -> tuple[str, ...]:
    """Return a text, or a list of texts or of triples, as texts.

    >>> listed([["Paris", "capital of", "France"], "It rains."], "facts")
    ('Paris | capital of | France', 'It rains.')
    """
    if value is None or value == "":
        return ()
    parts = value if isinstance(value, (list, tuple)) else [value]
    texts = []
    for part in parts:
        pieces = part if isinstance(part, (list, tuple)) else [part]
        if not pieces or not all(isinstance(piece, str) for piece in pieces):
            raise DataError(
                f'"{column}" holds {printable(repr(part), 60)}, which is no text',
                rule="field-type",
                field=column,
                fix="give a text, a list of texts, or a list of triples of texts",
            )
        texts.append(" | ".join(pieces))
    return tuple(text for text in texts if text.strip())


# --- Turns ---------------------------------------------------------------------------------------------


def turns_of(value: Any, column: str, *, ends_on_user: bool | None = None) -> list[Turn]:
    """Return a list of texts, of pairs or of objects with a speaker as turns.

    Args:
        ends_on_user: Whose the last turn is where nobody is named; None where the first is the user's.

    Raises:
        DataError: It is no such list, or who is user and who is assistant cannot be told.
    """
    if not isinstance(value, (list, tuple)):
        what = f'"{column}" is {printable(repr(value), 60)}, not a list of turns'
        raise DataError(what, rule="field-type", field=column, fix="give a list of texts, or of speaker and text")
    if value and all(isinstance(part, (list, tuple)) and len(part) == 2 for part in value):
        value = [text for pair in value for text in pair]
        ends_on_user = None
    spoken = [_spoken(part, place, column) for place, part in enumerate(value)]
    roles = _roles([speaker for speaker, _ in spoken], column, ends_on_user=ends_on_user)
    said = zip(roles, (text for _, text in spoken), strict=True)
    return [_turn(role, text, f"{column}[{place}]") for place, (role, text) in enumerate(said)]


def _spoken(part: Any, place: int, column: str) -> tuple[str | None, Any]:
    if isinstance(part, str):
        return None, part
    if not isinstance(part, Mapping):
        what = f"turn {place + 1} is {printable(repr(part), 60)}"
        raise DataError(what, rule="turn-type", field=f"{column}[{place}]", fix="give a text, or speaker and text")
    speaker = _first(part, SPEAKER)
    return (None if speaker is None else str(speaker).strip()), _first(part, TEXT)


def _turn(role: str, text: Any, where: str) -> Turn:
    if not isinstance(text, str) or not text.strip():
        what = f"{where} is {printable(repr(text), 60)}, not a text"
        raise DataError(what, rule="turn-empty", field=where, fix="give what is said, or take the turn out")
    return Turn({"role": role, "content": text})


def _roles(speakers: Sequence[str | None], column: str, *, ends_on_user: bool | None) -> list[str]:
    """Return the role of each turn: by the speaker's name, else by the order of two speakers."""
    if all(speaker is None for speaker in speakers):
        first_user = ends_on_user is None or (len(speakers) % 2 == 1) == ends_on_user
        pair = ("user", "assistant") if first_user else ("assistant", "user")
        return [pair[at % 2] for at in range(len(speakers))]
    names = list(dict.fromkeys(speakers))
    known = {name: _role(name) for name in names}
    unknown = [name for name in names if not known[name]]
    if unknown and len(names) <= 2 and None not in names:
        # Of two speakers, the one who is named tells the other; where neither is, the first is the user.
        taken = {role for role in known.values() if role}
        left = [role for role in ("user", "assistant") if role not in taken]
        known |= dict(zip(unknown, left, strict=False))
        unknown = []
    if unknown:
        shown = ", ".join(printable(name, 40) for name in names[:6])
        raise DataError(
            f"who is the user and who the assistant cannot be told: the speakers are {shown}",
            rule="role-unknown",
            field=column,
            fix="name the speakers user and assistant",
        )
    return [known[speaker] for speaker in speakers]


def _role(name: str | None) -> str:
    folded = (name or "").casefold()
    return "user" if folded in USERS else "assistant" if folded in ASSISTANTS else ""


# --- Named data sets -----------------------------------------------------------------------------------


def sgd(values: Mapping[str, Any]) -> Conversation:
    """Return a dialogue of SGD, or of MultiWOZ 2.2."""
    return Conversation(turns=_named(values, "turns", "speaker", "utterance"), id=id_of(values))


def crosswoz(values: Mapping[str, Any]) -> Conversation:
    """Return a dialogue of CrossWOZ."""
    return Conversation(turns=_named(values, "messages", "role", "content"), id=id_of(values))


def _named(values: Mapping[str, Any], column: str, speaker: str, text: str) -> list[Turn]:
    given = values.get(column)
    if not isinstance(given, (list, tuple)) or not all(isinstance(turn, Mapping) for turn in given):
        what = f'"{column}" is {printable(repr(given), 60)}, not a list of turns'
        raise DataError(what, rule="field-type", field=column, fix=f"give a list of objects with {speaker} and {text}")
    turns = []
    for place, turn in enumerate(given):
        name = turn.get(speaker)
        role = _role(name.strip()) if isinstance(name, str) else ""
        if not role:
            what = f"turn {place + 1} is spoken by {printable(repr(name), 60)}"
            fix = "use USER and SYSTEM (SGD), or usr and sys (CrossWOZ)"
            raise DataError(what, rule="role-unknown", field=f"{column}[{place}].{speaker}", fix=fix)
        turns.append(_turn(role, turn.get(text), f"{column}[{place}].{text}"))
    return turns


def kdconv(values: Mapping[str, Any]) -> Conversation:
    """Return a dialogue of KdConv: speakers take turns, and each turn may rest on triples.

    What is known at a turn are the triples of all turns up to it, its own included: which of them a reply needs is for
    the model to find.
    """
    given = values.get("messages")
    if not isinstance(given, (list, tuple)):
        what = f'"messages" is {printable(repr(given), 60)}, not a list of turns'
        raise DataError(what, rule="field-type", field="messages", fix="give a list of objects with message and attrs")
    turns = turns_of(given, "messages")
    facts = [_triples(turn.get("attrs") if isinstance(turn, Mapping) else None, at) for at, turn in enumerate(given)]
    return Conversation(
        turns=[Turn(turn.message, known) for turn, known in zip(turns, facts, strict=True)], id=id_of(values)
    )


def _triples(value: Any, place: int) -> tuple[str, ...]:
    """Return the triples of a turn: name, attribute and value.

    >>> _triples([{"name": "Tea", "attrname": "origin", "attrvalue": "China"}], 0)
    ('Tea | origin | China',)
    """
    triples = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return tuple(_triple(triple, place) for triple in triples)


def _triple(value: Any, place: int) -> str:
    parts = [value.get(key) for key in ("name", "attrname", "attrvalue")] if isinstance(value, Mapping) else [None]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) != len(parts):
        raise DataError(
            f"turn {place + 1} rests on {printable(repr(value), 60)}, which is no triple",
            rule="knowledge-malformed",
            field=f"messages[{place}].attrs",
            fix="give name, attrname and attrvalue as texts",
        )
    return " | ".join(texts)
