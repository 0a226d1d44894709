"""Where the turns of a chat stand in the text that a chat template makes of them.

The template is never edited and never searched for marks of its own. What a model generates is found by
construction: the *prompt* is the chat without its last turn, rendered with ``add_generation_prompt``; the
text of the whole chat must be that prompt, the answer, and the *tail* that the template puts behind any
answer. Head and tail are learnt once from a chat whose answer is a single reserved character, and the sum is
checked for every row. Earlier turns are found in one more render, in which reserved characters enclose each
turn; with those taken out, it must equal the plain one. (The renderer of model folders traces turns by itself, and
saves that render.) So a chat costs two or three renders, however many turns it has.

A turn that calls tools, or whose reasoning is written, is all that stands between its generation prompt and its stop
token. It is found by its text or by a reserved character in the name of its first call (one more render for all such
turns), and the calls have to stand in it as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from instructforge.chats import parse_tool_calls
from instructforge.data import Message, Reply
from instructforge.encoding.calls import PROBE_NAMES, Calls, ReasoningForm, learn_calls, learn_reasoning
from instructforge.errors import DataError, TemplateError, printable

__all__ = ["CUT", "ChatLayout", "Laid", "Region", "Render", "Shape", "altered_answer", "check_reserved", "hidden_turn"]

Render = Callable[..., str]
"""``render(messages, generate[, tools])``: the text of a chat; ``generate`` is ``add_generation_prompt``."""

Trace = Callable[..., tuple[str, Mapping[int, tuple[int, int]]]]
"""``trace(messages[, tools])``: the text that a generation starts from, and where the contents of messages stand."""

Tools = Sequence[Mapping[str, Any]]

# Reserved characters: the end of the last private-use plane, which no script uses.
_FIRST_MARK: Final = 0x10F000
_MARKED_TURNS: Final = 1500
_MARKS: Final = re.compile(f"([{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + 2 * _MARKED_TURNS - 1)}])")

CUT: Final = "\U0010fff0"
"""Stands inside a control token that is data: the text is tokenised in pieces around it."""

_PROBE: Final = "\U0010fff1"
_ASKED: Final = "\U0010fff2"
_RESERVED: Final = re.compile("[\U0010f000-\U0010fffd]")


@frozen
class Shape:
    """What a chat template puts around an answer.

    Attributes:
        heading: Text between the generation prompt and the answer that is more than white space (an empty
            ``<think></think>``, a header that the template leaves out of its generation prompt). It belongs
            to the prompt: the model never generates it, in training or afterwards.
        lead: White space there instead; the model generates it.
        tail: What stands behind the answer.
        header: What stands between a user's turn and the answer, ``heading`` and ``lead`` included.
        diverges: The generation prompt is not how the template renders the same turns before an answer.
        generation: What the template adds to a chat for a generation to start; empty where that cannot be told.
    """

    heading: str
    lead: str
    tail: str
    header: str
    diverges: bool
    generation: str = ""


@frozen
class Region:
    """An earlier assistant turn: characters ``start`` to ``end`` of the prompt are its text.

    Attributes:
        turn: Place in the chat.
        start, end: Its text, with the white space that the model generates around it.
        stop: Where its stop token ends; None where the template writes none.
        same_heading: Whether it stands under the heading that a generated turn gets.
        altered: How the template altered it: empty, ``trimmed``, ``changed`` or ``reasoning-dropped``.
    """

    turn: int
    start: int
    end: int
    stop: int | None
    same_heading: bool
    altered: str


@frozen
class Laid:
    """A chat, laid out: ``prompt + lead + answer + tail`` is what the model reads and writes.

    ``altered`` says how the template altered the answer: empty, ``trimmed`` or ``reasoning-dropped``. ``diverges`` is
    True where the template renders the chat otherwise before an answer than before a generation: what generation sees
    is taken.
    """

    prompt: str
    lead: str
    answer: str
    tail: str
    altered: str = ""
    diverges: bool = False


class ChatLayout:
    """Lays chats out under one chat template.

    Args:
        render: Renders a chat.
        trace: Renders a chat and says where its turns stand, where that can be told; saves a render.
        reasoning: Whether the model writes its reasoning itself, so that whatever stands between the
            generation prompt and the answer is generated.
    """

    def __init__(self, render: Render, trace: Trace | None = None, *, reasoning: bool = False) -> None:
        self._render = render
        self._trace = trace
        self._reasoning = reasoning
        self.shape = self._learn()
        self._told: Calls | None = None

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Tools = ()) -> str:
        """Return the text that generation starts from. It does not depend on any answer."""
        return self._text(messages, True, tools) + self.shape.heading

    def lay(
        self,
        messages: Sequence[Mapping[str, Any]],
        answer: Mapping[str, Any],
        prompt: str,
        closing: str,
        tools: Tools = (),
    ) -> Laid:
        """Lay out a chat that ends in the assistant's turn ``answer``.

        Args:
            messages: The chat before the answer.
            answer: The assistant's turn.
            prompt: What ``prompt(messages, tools)`` returned.
            closing: What the template writes behind an answer, up to the stop token's end.
            tools: Schemas of the tools that may be called.

        Raises:
            TemplateError: The chat template changes the answer, drops its tool calls, or cannot render the chat.
        """
        content = str(answer.get("content") or "")
        full = self._text([*messages, answer], False, tools)
        shape = self.shape
        if full == f"{prompt}{shape.lead}{content}{shape.tail}":
            return Laid(prompt, shape.lead, content, shape.tail, self._compared(content, answer))
        before, tail = self._around_probe(messages, tools)
        if self._reasoning and full.startswith(prompt):
            before = prompt
        emitted, tail = _between(full, before, tail, content, closing)
        between = before[len(prompt) :]
        diverges = not before.startswith(prompt) or bool(between.strip())
        return Laid(prompt, "" if diverges else between, emitted, tail, self._compared(emitted, answer), diverges)

    def prompt_and_regions(
        self, messages: Sequence[Mapping[str, Any]], closing: str, tools: Tools = ()
    ) -> tuple[str, tuple[Region, ...]]:
        """Return the text that generation starts from, and the assistant's turns in it, in their order.

        A turn that calls tools is left out where the template hides it; it cannot be trained then.

        Args:
            messages: The chat before the answer.
            closing: What the template writes behind an answer, up to the stop token's end.
            tools: Schemas of the tools that may be called.

        Raises:
            TemplateError: The template hides where other turns stand.
        """
        turns = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        places: Mapping[int, tuple[int, int]] = {}
        if turns and self._trace is not None:
            text, places = self._trace(messages, tools) if tools else self._trace(messages)
            prompt = text + self.shape.heading
        else:
            prompt = self.prompt(messages, tools)
        rich = [turn for turn in turns if _is_rich(messages[turn])]
        plain = [turn for turn in turns if turn not in set(rich)] if rich else turns
        cores = _traced_cores(prompt, messages, plain, places)
        for first in range(0, len(plain) if cores is None else 0, _MARKED_TURNS):
            block = plain[first : first + _MARKED_TURNS]
            found = self._by_marks(prompt, messages, block, tools) or self._by_prefix(prompt, messages, block, tools)
            cores = [*(cores or []), *found]
        regions = [
            self._region(prompt, str(messages[turn].get("content") or ""), turn, start, end, closing)
            for turn, start, end in cores or []
        ]
        if rich:
            regions += self._rich_regions(prompt, messages, rich, places, closing, tools)
            regions.sort(key=lambda region: region.turn)
        return prompt, tuple(regions)

    # --- What the template makes of calls, reasoning and tools ----------------------------------------

    @property
    def calls(self) -> Calls:
        """What the template makes of tool calls; found out when it is first asked for."""
        if self._told is None:
            self._told = learn_calls(self._write_probe)
        return self._told

    def reasoning_form(self) -> ReasoningForm | None:
        """Return the form in which the template writes reasoning before an answer, if it does."""
        return learn_reasoning(self._write_probe)

    def shows_tools(self) -> bool:
        """Tell whether the template shows the tools that it is given."""
        tool = {"type": "function", "function": {"name": PROBE_NAMES[0], "description": "", "parameters": {}}}
        tool["function"]["parameters"] = {"type": "object", "properties": {}}  # type: ignore[index]
        try:
            return PROBE_NAMES[0] in self._text([{"role": "user", "content": _ASKED}], True, [tool])
        except TemplateError:
            return False

    def _write_probe(self, turn: Mapping[str, Any]) -> str:
        """Return what the template emits for an assistant's turn behind a question."""
        messages = [{"role": "user", "content": _ASKED}]
        prompt = self.prompt(messages)
        full = self._text([*messages, turn], False, ())
        before, tail = self._around_probe(messages)
        start = prompt if full.startswith(prompt) else before
        if not full.startswith(start) or not full.endswith(tail) or len(full) < len(start) + len(tail):
            raise TemplateError("The chat template ends a turn that calls tools otherwise.", rule="answer-altered")
        return full[len(start) : len(full) - len(tail)]

    def _compared(self, emitted: str, answer: Mapping[str, Any]) -> str:
        """Return how the template altered an answer, from what it emitted for it.

        Raises:
            TemplateError: It altered what the answer says, or left out or altered its tool calls.
        """
        content = str(answer.get("content") or "")
        calls, reasoning = answer.get("tool_calls"), answer.get("reasoning_content")
        altered = _compare(emitted, content, contained=self._reasoning or bool(calls))
        emitted = emitted.replace(CUT, "")
        if calls and not self.calls.holds(emitted, _called(calls)):
            raise _dropped_calls(_called(calls), emitted)
        if reasoning and str(reasoning).strip().replace(CUT, "") not in emitted:
            return "reasoning-dropped"
        return altered

    # --- Rendering ------------------------------------------------------------------------------------

    def _text(self, messages: Sequence[Mapping[str, Any]], generate: bool, tools: Tools) -> str:
        return self._render(messages, generate, tools) if tools else self._render(messages, generate)

    def _learn(self) -> Shape:
        messages = [{"role": "user", "content": _ASKED}]
        prompt = self._render(messages, True)
        asked = self._render(messages, False)
        added = prompt[len(asked) :] if prompt.startswith(asked) else ""
        before, tail = self._around_probe(messages)
        header = before.rpartition(_ASKED)[2]
        if not before.startswith(prompt):
            return Shape("", "", tail, prompt.rpartition(_ASKED)[2], diverges=True, generation=added)
        between = before[len(prompt) :]
        if self._reasoning:
            return Shape("", "", tail, prompt.rpartition(_ASKED)[2], diverges=False, generation=added)
        if between.strip():
            return Shape(between, "", tail, header, diverges=False, generation=added)
        return Shape("", between, tail, header, diverges=False, generation=added)

    def _around_probe(self, messages: Sequence[Mapping[str, Any]], tools: Tools = ()) -> tuple[str, str]:
        """Return what the template writes before and behind an answer of one reserved character."""
        text = self._text([*messages, {"role": "assistant", "content": _PROBE}], False, tools)
        before, found, tail = text.partition(_PROBE)
        if not found or _PROBE in tail:
            raise TemplateError(
                f"The chat template writes an assistant's turn {text.count(_PROBE)} times.\n"
                "It has to write it once, for the model to learn it.\n"
                "Use the chat template that the model was trained with, or another one.",
                rule="answer-not-rendered",
            )
        return before, tail

    def _by_marks(
        self, prompt: str, messages: Sequence[Mapping[str, Any]], turns: Sequence[int], tools: Tools
    ) -> list[tuple[int, int, int]] | None:
        """Find turns by one render with reserved characters around each; None where that changes the text."""
        marked = list(messages)
        for number, turn in enumerate(turns):
            marked[turn] = {**messages[turn], "content": _enclose(str(messages[turn].get("content") or ""), number)}
        parts = _MARKS.split(self.prompt(marked, tools))  # text, mark, text, mark, …, text
        places: dict[int, int] = {}
        length = 0
        for text, mark in zip(parts[::2], parts[1::2], strict=False):
            length += len(text)
            places[ord(mark) - _FIRST_MARK] = length
        if "".join(parts[::2]) != prompt or len(places) != 2 * len(turns) or len(parts) != 4 * len(turns) + 1:
            return None
        return [(turn, places[2 * number], places[2 * number + 1]) for number, turn in enumerate(turns)]

    def _by_prefix(
        self, prompt: str, messages: Sequence[Mapping[str, Any]], turns: Sequence[int], tools: Tools
    ) -> list[tuple[int, int, int]]:
        """Find turns by rendering what stood before each: slower, for templates that look into the contents."""
        found = []
        for turn in turns:
            head = self.prompt(messages[:turn], tools) + self.shape.lead
            content = str(messages[turn].get("content") or "")
            core = content.strip()
            text = next((text for text in (content, core) if prompt.startswith(head + text)), None)
            if text is None:
                raise hidden_turn(turn)
            start = len(head) + text.index(core)
            found.append((turn, start, start + len(core)))
        return found

    def _region(self, prompt: str, content: str, turn: int, start: int, end: int, closing: str) -> Region:
        """Widen a turn's core by the white space that is its own, and find its stop token."""
        core = content.strip()
        before, behind = content[: content.index(core)], content[content.index(core) + len(core) :]
        header = self.shape.header
        kept_before = bool(before) and prompt.endswith(header + before, 0, start)
        kept_behind = bool(behind) and prompt.startswith(behind + closing, end)
        trimmed = (bool(before) and not kept_before) or (bool(behind) and not kept_behind)
        altered = "changed" if prompt[start:end] != core else "trimmed" if trimmed else ""
        start -= len(before) if kept_before else 0
        end += len(behind) if kept_behind else 0
        same_heading = prompt.endswith(header, 0, start)
        if self.shape.lead and prompt.endswith(self.shape.lead, 0, start):
            start -= len(self.shape.lead)
        stop = end + len(closing) if closing and prompt.startswith(closing, end) else None
        return Region(turn, start, end, stop, same_heading, altered)

    # --- Turns with tool calls or reasoning -----------------------------------------------------------

    def _rich_regions(
        self,
        prompt: str,
        messages: Sequence[Mapping[str, Any]],
        turns: Sequence[int],
        places: Mapping[int, tuple[int, int]],
        closing: str,
        tools: Tools,
    ) -> list[Region]:
        """Return the turns with tool calls or reasoning, those that are found."""
        if not closing:
            return []  # nothing tells where such a turn ends
        anchors = {turn: places[turn][0] for turn in turns if turn in places}
        silent = [turn for turn in turns if turn not in anchors and messages[turn].get("tool_calls")]
        for first in range(0, len(silent), _MARKED_TURNS):
            anchors |= self._named_anchors(prompt, messages, silent[first : first + _MARKED_TURNS], tools)
        found = [self._rich_region(prompt, messages, turn, anchors.get(turn), closing, tools) for turn in turns]
        return [region for region in found if region is not None]

    def _named_anchors(
        self, prompt: str, messages: Sequence[Mapping[str, Any]], turns: Sequence[int], tools: Tools
    ) -> dict[int, int]:
        """Find turns by a render with a reserved character in the name of each one's first call."""
        marked = list(messages)
        for number, turn in enumerate(turns):
            first, *others = messages[turn]["tool_calls"]
            name = chr(_FIRST_MARK + number) + first["function"]["name"]
            marked[turn] = {
                **messages[turn],
                "tool_calls": [{**first, "function": {**first["function"], "name": name}}, *others],
            }
        try:
            parts = _MARKS.split(self.prompt(marked, tools))
        except TemplateError:
            return {}
        if "".join(parts[::2]) != prompt or len(parts) != 2 * len(turns) + 1:
            return {}
        found: dict[int, int] = {}
        length = 0
        for text, mark in zip(parts[::2], parts[1::2], strict=False):
            length += len(text)
            found[turns[ord(mark) - _FIRST_MARK]] = length
        return found

    def _rich_region(
        self,
        prompt: str,
        messages: Sequence[Mapping[str, Any]],
        turn: int,
        anchor: int | None,
        closing: str,
        tools: Tools,
    ) -> Region | None:
        """Return the region of one turn: from its generation prompt to its stop token."""
        start = self._generated_from(prompt, anchor, closing)
        if start is None:
            head = self.prompt(messages[:turn], tools)
            if not prompt.startswith(head):
                return None
            start = len(head)
        end = prompt.find(closing, start)
        if end < 0:
            return None
        try:
            altered = self._compared(prompt[start:end], messages[turn])
        except TemplateError:
            altered = "changed"
        same = prompt.endswith(self.shape.header.removesuffix(self.shape.lead), 0, start)
        return Region(turn, start, end, end + len(closing), same, altered)

    def _generated_from(self, prompt: str, anchor: int | None, closing: str) -> int | None:
        """Return where the turn around ``anchor`` begins: behind the generation prompt that stands before it."""
        shape = self.shape
        added = (shape.generation + shape.heading, shape.generation) if shape.generation else ()
        for head in filter(None, (*added, shape.header.removesuffix(shape.lead))):
            start = -1 if anchor is None else prompt.rfind(head, 0, anchor)
            if start >= 0 and prompt.find(closing, start, anchor) < 0:
                return start + len(head)
        return None


def _is_rich(message: Mapping[str, Any]) -> bool:
    return bool(message.get("tool_calls") or message.get("reasoning_content"))


def _called(calls: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Return names and arguments of calls, as they are meant: without what breaks control tokens up."""
    return list(Reply("", tool_calls=parse_tool_calls(_whole(calls))).calls)


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(CUT, "")
    if isinstance(value, Mapping):
        return {_whole(key): _whole(part) for key, part in value.items()}
    return [_whole(part) for part in value] if isinstance(value, (list, tuple)) else value


def _traced_cores(
    prompt: str,
    messages: Sequence[Mapping[str, Any]],
    turns: Sequence[int],
    places: Mapping[int, tuple[int, int]],
) -> list[tuple[int, int, int]] | None:
    """Return where the texts of turns stand, without their outer white space; None where one was not traced."""
    cores = []
    for turn in turns:
        if turn not in places:
            return None
        start, end = places[turn]
        core = str(messages[turn].get("content") or "").strip()
        text = prompt[start:end]
        if not core or text.strip() != core:
            return None
        start += text.index(core)
        cores.append((turn, start, start + len(core)))
    return cores


def _enclose(content: str, number: int) -> str:
    """Put a pair of marks around a turn's text, inside its outer white space, so that trimming still trims.

    >>> [hex(ord(c)) for c in _enclose(" a", 0)]
    ['0x20', '0x10f000', '0x61', '0x10f001']
    """
    core = content.strip()
    start = content.index(core)
    first, last = chr(_FIRST_MARK + 2 * number), chr(_FIRST_MARK + 2 * number + 1)
    return content[:start] + first + core + last + content[start + len(core) :]


def _between(full: str, before: str, tail: str, content: str, closing: str) -> tuple[str, str]:
    """Return what stands between ``before`` and ``tail``, and the tail.

    Behind the stop token a template may write what it likes (the answer's length, say): nobody generates that.
    """
    if full.startswith(before):
        if full.endswith(tail) and len(full) >= len(before) + len(tail):
            return full[len(before) : len(full) - len(tail)], tail
        for text in (content, content.strip()) if closing else ():
            if full.startswith(text + closing, len(before)):
                return text, full[len(before) + len(text) :]
    raise TemplateError(
        "The chat template changes what stands around the answer "
        f'"{printable(content, 60)}" by what the answer says.\n'
        "What is trained is the answer as it is, or trimmed of white space at its ends.\n"
        "Take markup such as <think> out of the answer, or give it as the turn's reasoning.",
        rule="answer-altered",
    )


def _compare(emitted: str, content: str, *, contained: bool) -> str:
    if emitted == content:
        return ""
    if emitted.strip() == content.strip():
        return "trimmed"
    if contained and content.strip() in emitted:
        return ""
    raise altered_answer(content, emitted)


def altered_answer(content: str, emitted: str) -> TemplateError:
    """Return the error for an answer that the chat template does not write as it is."""
    return TemplateError(
        f'The chat template changes the answer "{printable(content, 60)}" to "{printable(emitted, 60)}".\n'
        "A model is trained on answers as they are, or trimmed of white space at their ends.\n"
        "Use another chat template, or take out of the answer what the template changes.",
        rule="answer-altered",
    )


def _dropped_calls(calls: Sequence[tuple[str, Any]], emitted: str) -> TemplateError:
    names = ", ".join(printable(name, 60) for name, _ in calls)
    return TemplateError(
        f'The chat template does not write the tool calls ({names}) as they are: "{printable(emitted, 80)}".\n'
        "A model is trained on answers as they are, their tool calls included.\n"
        "Use a chat template that knows tool calls, or give the calls as the answer's text.",
        rule="answer-altered",
    )


def hidden_turn(turn: int) -> TemplateError:
    """Return the error for a turn that cannot be found in what the chat template writes."""
    return TemplateError(
        f"The chat template hides where turn {turn + 1} of the chat stands.\n"
        "It rewrites the turn, or what stands before it, once other turns follow.\n"
        "Use a chat template that writes every turn as it is.",
        rule="turn-hidden",
    )


def check_reserved(messages: Sequence[Message], tools: Tools = ()) -> None:
    """Raise ``DataError`` where a text holds one of the reserved characters."""
    for text in _texts(messages, tools):
        found = _RESERVED.search(text)
        if found:
            raise DataError(
                f"the character U+{ord(found[0]):X} is reserved for marking turns",
                rule="reserved-character",
                fix="take the private-use character out of the text",
            )


def _texts(messages: Sequence[Message], tools: Tools) -> Iterator[str]:
    for message in messages:
        yield message.content
        if message.reasoning or message.tool_calls or message.name:
            yield from _strings([message.reasoning, message.tool_calls, message.name, message.tool_call_id])
    if tools:
        yield from _strings(tools)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _strings(key)
            yield from _strings(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _strings(part)
