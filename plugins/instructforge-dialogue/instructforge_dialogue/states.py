"""What annotated dialogues say of each of the user's turns: what is wanted, and what has been agreed so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from instructforge import DataError, Example, Row
from instructforge.errors import printable
from instructforge_dialogue.conversation import Conversation
from instructforge_dialogue.forms import crosswoz, id_of, sgd, turns_of
from instructforge_dialogue.slots import as_text, clean_pairs

__all__ = [
    "crosswoz_intents",
    "crosswoz_slots",
    "intent_rows",
    "intents_of_crosswoz",
    "intents_of_rows",
    "intents_of_sgd",
    "is_intent_rows",
    "is_slots_rows",
    "is_snips",
    "sgd_intents",
    "sgd_slots",
    "slots_of_crosswoz",
    "slots_of_sgd",
    "slots_of_snips",
    "slots_rows",
    "snips_slots",
]

UTTERANCE = ("utterance", "text", "query", "sentence")
INTENT = ("intent", "label", "answer")
INTENTS = ("intents", "labels", "choices")
RESPACED = "slot-value-respaced"
NO_INTENT = "NONE"
ACTS = ("General", "Inform", "Request", "Select", "Recommend", "NoOffer")


@frozen(kw_only=True)
class _Turn:
    """One of the user's turns with what is annotated of it.

    ``marks`` are the turn's own annotations, as they stand in the file.
    """

    id: str
    place: int
    utterance: str
    history: list[dict[str, Any]]
    service: str
    marks: Any


def _of_user(conversation: Conversation, marked: Callable[[int], Iterable[tuple[str, Any]]]) -> Iterator[_Turn]:
    """Yield the user's turns, once for each service that ``marked`` names at that place."""
    history: list[dict[str, Any]] = []
    for place, turn in enumerate(conversation.turns):
        if turn.role == "user":
            found = list(marked(place))
            for service, marks in found:
                name = f"{conversation.id}/{place}" if conversation.id else ""
                yield _Turn(
                    id=f"{name}/{service}" if name and len(found) > 1 else name,
                    place=place,
                    utterance=turn.message["content"],
                    history=list(history),
                    service=service,
                    marks=marks,
                )
        history.append(dict(turn.message))


def _example(row: Row, turn: _Turn, answers: Sequence[str], notes: Sequence[str] = (), **more: Any) -> Example:
    inputs: dict[str, Any] = {"utterance": turn.utterance, "history": turn.history, **more}
    if turn.service:
        inputs["service"] = turn.service
    group = id_of(row.values) or str(row.origin)
    return Example(inputs=inputs, answers=tuple(answers), id=turn.id, group=group, notes=tuple(notes))


def _any(examples: Iterator[Example], what: str) -> Iterator[Example]:
    """Yield ``examples``; refuse a dialogue that has none."""
    none = True
    for example in examples:
        none = False
        yield example
    if none:
        raise DataError(f"no turn of the user has {what}", rule="no-annotation", fix="take the dialogue out")


# --- SGD -----------------------------------------------------------------------------------------------


def sgd_intents(row: Row) -> Iterator[Example]:
    """Yield an example for each of the user's turns, and each service there: the intent that is active then.

    The choices are the service's intents: of the constant ``schema`` (the data set's schema.json), or of the constant
    ``intents``, which the build collects where it is not given.
    """
    return _any((_sgd_intent(row, turn) for turn in _of_sgd(row)), "a frame with a state")


def _sgd_intent(row: Row, turn: _Turn) -> Example:
    intent = turn.marks.get("active_intent")
    if not isinstance(intent, str) or not intent:
        what = f"turn {turn.place + 1} has the intent {printable(repr(intent), 60)}"
        raise DataError(what, rule="label-missing", field="active_intent", fix="name the intent, or NONE")
    named = _schema_names(row.values, turn.service, "intents")
    intents = [*named, NO_INTENT] if named else _of_service(row.values, INTENTS, turn.service)
    return _example(row, turn, (intent,), intents=_intents_with(intents, intent))


def sgd_slots(row: Row) -> Iterator[Example]:
    """Yield an example for each of the user's turns, and each service there: what has been agreed up to then.

    Where a value is spelt in several ways, each way stands in a gold answer of its own.
    """
    return _any((_sgd_slots(row, turn) for turn in _of_sgd(row)), "a frame with a state")


def _sgd_slots(row: Row, turn: _Turn) -> Example:
    state = turn.marks.get("slot_values")
    good = isinstance(state, Mapping) and all(isinstance(ways, (list, tuple)) and ways for ways in state.values())
    if not isinstance(state, Mapping) or not good:
        what = f"turn {turn.place + 1} has the slot_values {printable(repr(state), 60)}"
        fix = "give an object of lists, each with at least one value"
        raise DataError(what, rule="slot-malformed", field="slot_values", fix=fix)
    most = max(map(len, state.values()), default=1)
    texts, changed = [], 0
    for at in range(most):
        pairs, more = clean_pairs((slot, ways[min(at, len(ways) - 1)]) for slot, ways in state.items())
        texts.append(as_text(pairs))
        changed += more if at == 0 else 0
    slots = _schema_names(row.values, turn.service, "slots") or _of_service(row.values, ("slots",), turn.service)
    fields = {"slots": slots} if slots else {}
    return _example(row, turn, tuple(dict.fromkeys(texts)), (RESPACED,) * changed, **fields)


def _of_sgd(row: Row) -> Iterator[_Turn]:
    conversation = sgd(row.values)

    def _frames(place: int) -> Iterator[tuple[str, Any]]:
        for service, frame in _sgd_frames(row.values, place):
            if isinstance(frame.get("state"), Mapping):
                yield service, frame["state"]

    return _of_user(conversation, _frames)


def _sgd_frames(values: Mapping[str, Any], place: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    frames = values["turns"][place].get("frames")
    for frame in frames if isinstance(frames, (list, tuple)) else ():
        service = frame.get("service") if isinstance(frame, Mapping) else None
        if not isinstance(service, str):
            what = f"turn {place + 1} has the frame {printable(repr(frame), 60)}"
            raise DataError(what, rule="frame-malformed", field=f"turns[{place}].frames", fix="give it a service")
        yield service, frame


def _schema_names(values: Mapping[str, Any], service: str, part: str) -> list[str]:
    """Return the names of a service's intents or slots by the constant ``schema``; none where there is none.

    Raises:
        DataError: There is a schema, and the service is not in it.
    """
    schema = values.get("schema")
    if schema is None:
        return []
    listed = schema if isinstance(schema, (list, tuple)) else ()
    for one in listed:
        if isinstance(one, Mapping) and one.get("service_name") == service and isinstance(one.get(part), (list, tuple)):
            return [str(item["name"]) for item in one[part] if isinstance(item, Mapping) and "name" in item]
    raise DataError(
        f'the schema has no service "{printable(service, 60)}"',
        rule="schema",
        field="schema",
        fix="give the schema.json of these dialogues: --constant schema=@schema.json",
    )


def _of_service(values: Mapping[str, Any], names: Sequence[str], service: str) -> list[str]:
    """Return the names in a constant; of those that are led by a service, this service's alone."""
    found = next((values[name] for name in names if values.get(name) is not None), ())
    given = _names(found)
    lead = f"{service}."
    own = [name.removeprefix(lead) for name in given if name.startswith(lead)]
    return own or given


def _names(value: Any) -> list[str]:
    """Return the texts of a list; none where it is no list."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, (list, tuple)) else []


def _intents_with(intents: Sequence[str], intent: str) -> list[str]:
    if intent in intents:
        return list(intents)
    raise DataError(
        f'the intent "{printable(intent, 60)}" is none of the {len(intents)} that there are',
        rule="label-unknown",
        field="intent",
        fix="give all of them: --constant intents=@FILE.json",
    )


def intents_of_sgd(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a dialogue adds to the intents, each led by its service; nothing where there is a schema."""
    for service, state in _sgd_states(values):
        if isinstance(state.get("active_intent"), str):
            yield f"{service}.{state['active_intent']}"


def slots_of_sgd(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a dialogue adds to the slots, each led by its service; nothing where there is a schema."""
    for service, state in _sgd_states(values):
        if isinstance(state.get("slot_values"), Mapping):
            yield from (f"{service}.{slot}" for slot in state["slot_values"])


def _sgd_states(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    turns = values.get("turns")
    if values.get("schema") is not None or not isinstance(turns, (list, tuple)):
        return
    for place in range(len(turns)):
        for service, frame in _sgd_frames(values, place):
            if isinstance(frame.get("state"), Mapping):
                yield service, frame["state"]


# --- CrossWOZ ------------------------------------------------------------------------------------------


def crosswoz_intents(row: Row) -> Iterator[Example]:
    """Yield an example for each of the user's turns: the kinds of its dialogue acts, such as ``Inform+Request``.

    A turn without an act is unlabelled.
    """
    intents = _names(row.values.get("intents"))
    turns = _of_user(crosswoz(row.values), lambda place: [("", row.values["messages"][place])])
    return _any((_crosswoz_intent(row, turn, intents) for turn in turns), "anything to tell an intent by")


def _crosswoz_intent(row: Row, turn: _Turn, intents: Sequence[str]) -> Example:
    label = _acts(turn.marks, turn.place)
    choices = _intents_with(intents, label) if label else list(intents)
    if not choices:
        what, fix = "there are no intents to choose from", "give them: --constant intents=@FILE.json"
        raise DataError(what, rule="choices-missing", field="intents", fix=fix)
    return _example(row, turn, (label,) if label else (), intents=choices)


def _acts(message: Any, place: int) -> str:
    """Return the kinds of a turn's acts in their fixed order, joined; empty where it has none."""
    acts = message.get("dialog_act")
    good = isinstance(acts, (list, tuple)) and all(isinstance(act, (list, tuple)) and len(act) == 4 for act in acts)
    if not good or not all(act[0] in ACTS for act in acts):
        what = f"turn {place + 1} has the dialog_act {printable(repr(acts), 60)}"
        fix = f"give a list of [kind, domain, slot, value]; kinds are {', '.join(ACTS)}"
        raise DataError(what, rule="act-malformed", field=f"messages[{place}].dialog_act", fix=fix)
    return "+".join(sorted({act[0] for act in acts}, key=ACTS.index))


def intents_of_crosswoz(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kinds of acts of each of the user's turns."""
    for place, message in enumerate(values.get("messages") or ()):
        if message.get("role") == "usr" and (label := _acts(message, place)):
            yield label


def crosswoz_slots(row: Row) -> Iterator[Example]:
    """Yield an example for each of the user's turns: what the user asks for, by domain and slot, once it is said.

    It is the state with which the system begins its own turn: ``sys_state_init`` of the answer.
    """
    messages = row.values.get("messages")
    turns = _of_user(crosswoz(row.values), lambda place: _state_after(messages, place))
    return _any((_crosswoz_slots(row, turn) for turn in turns), "a state after it")


def _state_after(messages: Any, place: int) -> list[tuple[str, Any]]:
    after = messages[place + 1] if place + 1 < len(messages) else {}
    return [("", after["sys_state_init"])] if "sys_state_init" in after else []


def _crosswoz_slots(row: Row, turn: _Turn) -> Example:
    pairs, changed = clean_pairs(_state_pairs(turn.marks, turn.place))
    slots = _names(row.values.get("slots"))
    return _example(row, turn, (as_text(pairs),), (RESPACED,) * changed, **({"slots": slots} if slots else {}))


def _state_pairs(state: Any, place: int) -> Iterator[tuple[str, Any]]:
    """Yield ``domain-slot`` and value of each filled slot of a state; what was found in the database is left out."""
    if not isinstance(state, Mapping) or not all(isinstance(slots, Mapping) for slots in state.values()):
        what = f"the state after turn {place + 1} is {printable(repr(state), 60)}"
        raise DataError(what, rule="slot-malformed", field="sys_state_init", fix="give an object of objects")
    for domain, slots in state.items():
        for slot, value in slots.items():
            if slot != "selectedResults" and value not in ("", None, []):
                values = value if isinstance(value, (list, tuple)) else [value]
                yield from ((f"{domain}-{slot}", one) for one in values)


def slots_of_crosswoz(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the slots that are filled anywhere in a dialogue."""
    for place, message in enumerate(values.get("messages") or ()):
        if "sys_state_init" in message:
            yield from (slot for slot, _ in _state_pairs(message["sys_state_init"], place))


# --- Snips: one utterance in segments ------------------------------------------------------------------


def is_snips(values: Mapping[str, Any]) -> bool:
    data = values.get("data")
    return isinstance(data, (list, tuple)) and bool(data) and isinstance(data[0], Mapping) and "text" in data[0]


def snips_slots(row: Row) -> Example:
    """Return the example of an utterance whose slots are marked as segments; its intent is the service."""
    data = row.values.get("data")
    good = isinstance(data, (list, tuple)) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in data
    )
    if not isinstance(data, (list, tuple)) or not good:
        what = f"the utterance is {printable(repr(data), 60)}, not a list of segments"
        raise DataError(what, rule="field-type", field="data", fix="give a list of objects with text and entity")
    marked = [(part["entity"], part["text"]) for part in data if part.get("entity") is not None]
    pairs, changed = clean_pairs(marked)
    intent = row.values.get("intent")
    inputs: dict[str, Any] = {"utterance": "".join(part["text"] for part in data)}
    if isinstance(intent, str) and intent:
        inputs["service"] = intent
    slots = _of_service(row.values, ("slots",), inputs.get("service", ""))
    if slots:
        inputs["slots"] = slots
    return Example(inputs=inputs, answers=(as_text(pairs),), notes=(RESPACED,) * changed)


def slots_of_snips(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the slots of an utterance, each led by its intent."""
    for part in values.get("data") or ():
        if isinstance(part.get("entity"), str):
            yield f"{values['intent']}.{part['entity']}" if values.get("intent") else part["entity"]


# --- Rows of one's own ---------------------------------------------------------------------------------


def is_intent_rows(values: Mapping[str, Any]) -> bool:
    return _text_of(values) is not None and not is_snips(values)


def intent_rows(row: Row) -> Example:
    """Return the example of a flat row: what the user says, the turns before, and the intent."""
    values = row.values
    inputs = _flat(values)
    intent = next((values[name] for name in INTENT if values.get(name) is not None), None)
    if intent is not None and (not isinstance(intent, str) or not intent.strip()):
        what = f"the intent is {printable(repr(intent), 60)}, not a text"
        raise DataError(what, rule="label-missing", field="intent", fix="name the intent, or leave the column out")
    given = next((values[name] for name in INTENTS if values.get(name) is not None), ())
    intents = _names(given)
    if not intents:
        what, fix = "there are no intents to choose from", "give them: --constant intents=@FILE.json"
        raise DataError(what, rule="choices-missing", field="intents", fix=fix)
    choices = _intents_with(intents, intent) if intent else intents
    return _flat_example(values, {**inputs, "intents": choices}, (intent,) if intent else ())


def intents_of_rows(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row's intent."""
    yield from (values[name] for name in INTENT if isinstance(values.get(name), str))


def is_slots_rows(values: Mapping[str, Any]) -> bool:
    state = values.get("state", values.get("answer"))
    return _text_of(values) is not None and isinstance(state, (Mapping, str)) and not is_snips(values)


def slots_rows(row: Row) -> Example:
    """Return the example of a flat row: what the user says, the turns before, and ``state``: slots and values.

    ``state`` is an object, of texts or of lists of texts, or the lines ``slot: value`` themselves.
    """
    values = row.values
    state = values.get("state", values.get("answer"))
    if isinstance(state, str):
        state = _lines(state)
    if not isinstance(state, Mapping):
        what = f"the state is {printable(repr(state), 60)}"
        raise DataError(what, rule="slot-malformed", field="state", fix='give an object such as {"city": "Leeds"}')
    pairs, changed = clean_pairs(
        (slot, one) for slot, given in state.items() for one in (given if isinstance(given, (list, tuple)) else [given])
    )
    inputs = _flat(values)
    slots = values.get("slots")
    if isinstance(slots, (list, tuple)) and slots and all(isinstance(slot, str) for slot in slots):
        inputs["slots"] = list(slots)
    return _flat_example(values, inputs, (as_text(pairs),), (RESPACED,) * changed)


def _lines(text: str) -> dict[str, list[str]]:
    state: dict[str, list[str]] = {}
    for line in text.split("\n") if text.strip() != "none" else ():
        slot, mark, value = line.partition(":")
        if not mark:
            what = f'the line "{printable(line, 60)}" is no slot with its value'
            raise DataError(what, rule="slot-malformed", field="state", fix='write "slot: value" on each line')
        state.setdefault(slot.strip(), []).append(value.strip())
    return state


def _text_of(values: Mapping[str, Any]) -> str | None:
    found = next((values[name] for name in UTTERANCE if values.get(name) is not None), None)
    return found if isinstance(found, str) else None


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    utterance = _text_of(values)
    if utterance is None or not utterance.strip():
        fix = f"give a text as one of: {', '.join(UTTERANCE)}"
        raise DataError("the row does not say what the user says", rule="field-missing", field="utterance", fix=fix)
    inputs: dict[str, Any] = {"utterance": utterance}
    if values.get("history"):
        turns = turns_of(values["history"], "history", ends_on_user=False)
        inputs["history"] = [dict(turn.message) for turn in turns]
    service = values.get("service", values.get("domain"))
    if isinstance(service, str) and service.strip():
        inputs["service"] = service
    return inputs


def _flat_example(
    values: Mapping[str, Any], inputs: Mapping[str, Any], answers: Sequence[str], notes: Sequence[str] = ()
) -> Example:
    group = next((values[name] for name in ("dialogue_id", "dialog_id") if values.get(name) is not None), None)
    id = values.get("id")
    return Example(
        inputs=inputs,
        answers=tuple(answers),
        id=str(id).strip() if isinstance(id, (str, int)) and not isinstance(id, bool) else "",
        group=None if group is None else str(group),
        notes=tuple(notes),
    )
