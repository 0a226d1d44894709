"""The normalizers of the three tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import frozen

from instructforge import DataError, Example, Normalizer, Row
from instructforge_dialogue import forms, states
from instructforge_dialogue.conversation import Conversation, each_reply, last_reply

__all__ = ["ALL", "FORMS", "every_reply"]

Accepts = Callable[[Mapping[str, Any]], bool]
Read = Callable[[Mapping[str, Any]], Conversation]

FORMS: Mapping[str, tuple[Accepts, Read]] = {
    "dialogue-chat": (forms.is_chat, forms.from_chat),
    "dialogue-turns": (forms.is_turns, forms.from_turns),
    "dialogue-rows": (forms.is_rows, forms.from_rows),
    "sgd": (forms.is_sgd, forms.sgd),
    "crosswoz": (forms.is_crosswoz, forms.crosswoz),
    "kdconv": (forms.is_kdconv, forms.kdconv),
}
"""How a conversation is read, by the normalizer's name. No row fits two of them."""


@frozen
class _Last:
    """Makes one example of a dialogue: its last reply."""

    read: Read

    def __call__(self, row: Row) -> Example:
        return last_reply(self.read(row.values))


def every_reply(row: Row) -> Iterator[Example]:
    """Yield an example for each reply of a dialogue, whichever of the forms it has.

    Raises:
        DataError: The row has none of the forms, or is no dialogue.
    """
    read = next((read for accepts, read in FORMS.values() if accepts(row.values)), None)
    if read is None:
        what, fix = "the row is no dialogue of a form that is known", f"known forms: {', '.join(FORMS)}"
        raise DataError(what, rule="dialogue-form", fix=fix)
    conversation = read(row.values)
    yield from each_reply(conversation, conversation.id or str(row.origin))


def _never(values: Mapping[str, Any]) -> bool:
    """Refuse every row: this way to read it has to be asked for by name."""
    return False


def _dialogue(name: str, summary: str, wants: str) -> Normalizer:
    accepts, read = FORMS[name]
    return Normalizer(name, task="dialogue", function=_Last(read), accepts=accepts, summary=summary, wants=wants)


ALL = (
    _dialogue(
        "dialogue-chat",
        "messages of OpenAI, ShareGPT, ms-swift, or Alpaca with a history",
        "messages (role, content) | conversations (from, value) | conversation (human, assistant) | "
        "instruction, output, history",
    ),
    _dialogue(
        "dialogue-turns",
        "a plain list of turns: texts, or speaker and text",
        f"{' | '.join(forms.TURNS)}: a list of texts, or of objects with speaker and text",
    ),
    _dialogue(
        "dialogue-rows",
        "a history and the reply to it",
        f"{' | '.join(forms.HISTORY)}: a list of turns; {' | '.join(forms.REPLY)}; "
        f"{' | '.join((*forms.SYSTEM, *forms.PERSONA))} (optional); {' | '.join(forms.KNOWLEDGE)} (optional)",
    ),
    _dialogue(
        "sgd",
        "SGD and MultiWOZ 2.2: turns of USER and SYSTEM",
        "dialogue_id; turns (speaker, utterance, frames). A schema.json holds no dialogues",
    ),
    _dialogue("crosswoz", "CrossWOZ: messages of usr and sys", "messages (role usr or sys, content)"),
    _dialogue("kdconv", "KdConv: messages with triples of knowledge", "messages (message, attrs)"),
    Normalizer(
        "each-reply",
        task="dialogue",
        function=every_reply,
        accepts=_never,
        summary="an example for each reply of a dialogue of any of these forms; to be asked for by name",
        wants="any of these forms, where it is asked for by name",
    ),
    Normalizer(
        "dialogue-intent-rows",
        task="dialogue-intent",
        function=states.intent_rows,
        accepts=states.is_intent_rows,
        summary="what the user says, the turns before, and the intent",
        wants=f"{' | '.join(states.UTTERANCE)}; {' | '.join(states.INTENT)}; history (optional)",
        collects={"intents": states.intents_of_rows},
    ),
    Normalizer(
        "sgd-intent",
        task="dialogue-intent",
        function=states.sgd_intents,
        accepts=forms.is_sgd,
        summary="SGD: the active intent of each of the user's turns",
        wants="dialogue_id; turns (speaker, utterance, frames with a state)",
        collects={"intents": states.intents_of_sgd},
    ),
    Normalizer(
        "crosswoz-intent",
        task="dialogue-intent",
        function=states.crosswoz_intents,
        accepts=forms.is_crosswoz,
        summary="CrossWOZ: the kinds of dialogue acts of each of the user's turns",
        wants="messages (role usr or sys, content, dialog_act)",
        collects={"intents": states.intents_of_crosswoz},
    ),
    Normalizer(
        "dialogue-slots-rows",
        task="dialogue-slots",
        function=states.slots_rows,
        accepts=states.is_slots_rows,
        summary="what the user says, the turns before, and the state: slots and values",
        wants=f"{' | '.join(states.UTTERANCE)}; state | answer (an object, or lines); history (optional)",
    ),
    Normalizer(
        "sgd-slots",
        task="dialogue-slots",
        function=states.sgd_slots,
        accepts=forms.is_sgd,
        summary="SGD: what has been agreed up to each of the user's turns",
        wants="dialogue_id; turns (speaker, utterance, frames with a state)",
        collects={"slots": states.slots_of_sgd},
    ),
    Normalizer(
        "crosswoz-slots",
        task="dialogue-slots",
        function=states.crosswoz_slots,
        accepts=forms.is_crosswoz,
        summary="CrossWOZ: what the user asks for, up to each of the user's turns",
        wants="messages (role usr or sys, content, sys_state_init)",
        collects={"slots": states.slots_of_crosswoz},
    ),
    Normalizer(
        "snips-slots",
        task="dialogue-slots",
        function=states.snips_slots,
        accepts=states.is_snips,
        summary="Snips: the slots of one utterance, which is given in segments",
        wants="data (text, entity); intent (optional)",
        collects={"slots": states.slots_of_snips},
    ),
)
