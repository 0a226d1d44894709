"""Formats of whole conversations: OpenAI, TRL, ms-swift, axolotl, ShareGPT, and LLaMA-Factory's reading of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen

from instructforge.data import Instruction, Message
from instructforge.errors import InstructForgeError
from instructforge.exporting.records import (
    Companion,
    ExportPlan,
    NotHeldError,
    Record,
    assistant_turns,
    each,
    own_id,
    system_of,
)

__all__ = [
    "AxolotlExporter",
    "LlamaFactoryExporter",
    "OpenAIExporter",
    "ShareGptExporter",
    "SwiftExporter",
    "TrlExporter",
]

_REASONING = "what the assistant thought before it answered"
_LEARNT = "turns of the assistant's that are not trained here, and are learnt there"


def _openai(message: Message, *, arguments_as_text: bool = True) -> dict[str, Any]:
    """Return a turn as the OpenAI chat API has it; the arguments of calls are a text there."""
    value: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        value["tool_calls"] = [_call(call, arguments_as_text) for call in message.tool_calls]
        value["content"] = message.content or None
    if message.name:
        value["name"] = message.name
    if message.tool_call_id:
        value["tool_call_id"] = message.tool_call_id
    return value


def _call(call: Mapping[str, Any], as_text: bool) -> dict[str, Any]:
    function = call.get("function")
    inner = dict(function) if isinstance(function, Mapping) else {}
    if as_text and not isinstance(inner.get("arguments"), str):
        inner["arguments"] = json.dumps(inner.get("arguments", {}), ensure_ascii=False)
    return {**call, "type": "function", "function": inner}


def _with_tools(value: dict[str, Any], instruction: Instruction, *, as_text: bool = False) -> dict[str, Any]:
    if not instruction.tools:
        return value
    tools = [dict(tool) for tool in instruction.tools]
    return value | {"tools": json.dumps(tools, ensure_ascii=False) if as_text else tools}


def _reasoned(message: Message) -> dict[str, Any]:
    return {"reasoning_content": message.reasoning} if message.reasoning else {}


class _NoCompanions:
    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return the files that go with the data: none."""
        return ()


@frozen
class OpenAIExporter(_NoCompanions):
    """OpenAI's fine-tuning file: messages, with a weight of 0 on each turn of the assistant's that is not trained.

    Source: FineTuneChatRequestInput of OpenAI's API description.
    """

    name: ClassVar[str] = "openai"
    summary: ClassVar[str] = "JSONL of OpenAI fine-tuning: messages with weights, tools"
    suffix: ClassVar[str] = ".jsonl"
    losses: ClassVar[Mapping[str, str]] = {"reasoning": _REASONING}

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return a conversation for each instruction."""
        return each(instructions, train, self._record)

    def _record(self, instruction: Instruction, train: str) -> Record:
        messages = []
        for message, trained in zip(instruction.messages, assistant_turns(instruction, train), strict=True):
            value = _openai(message)
            if message.role == "assistant" and (not trained or message.weight is not None):
                value["weight"] = int(trained)
            messages.append(value)
        lost = ("reasoning",) if any(message.reasoning for message in instruction.messages) else ()
        return Record(_with_tools({"messages": messages}, instruction), lost)


@frozen
class TrlExporter(_NoCompanions):
    """TRL's conversational prompt and completion; its trainer learns the completion alone.

    With ``train: all`` the conversation goes as ``messages``, of which TRL learns the assistant's turns where it is
    told ``assistant_only_loss``. The exporter ``trl-tokens`` hands over ids and masks instead.

    Source: dataset formats of TRL's documentation.
    """

    name: ClassVar[str] = "trl"
    summary: ClassVar[str] = "JSONL of TRL: prompt and completion as messages, tools"
    suffix: ClassVar[str] = ".jsonl"
    losses: ClassVar[Mapping[str, str]] = {
        "weights": "earlier turns whose own weight says that they are trained; TRL learns the completion alone",
        "untrained-turns": _LEARNT,
    }

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return prompt and completion (or messages, with ``train: all``) for each instruction."""
        return each(instructions, train, self._record)

    def _record(self, instruction: Instruction, train: str) -> Record:
        trained = assistant_turns(instruction, train)
        messages = [_openai(one, arguments_as_text=False) | _reasoned(one) for one in instruction.messages]
        if train == "all":
            asked = [message.role == "assistant" for message in instruction.messages]
            lost = ("untrained-turns",) if trained != asked else ()
            return Record(_with_tools({"messages": messages}, instruction), lost)
        if not trained[-1]:
            raise NotHeldError("untrained", "its answer has the weight 0, and TRL learns every completion")
        lost = ("weights",) if any(trained[:-1]) else ()
        return Record(_with_tools({"prompt": messages[:-1], "completion": messages[-1:]}, instruction), lost)


@frozen
class SwiftExporter(_NoCompanions):
    """ms-swift's messages: ``loss`` says of each turn whether it is learnt, ``channel`` names the task."""

    name: ClassVar[str] = "ms-swift"
    summary: ClassVar[str] = "JSONL of ms-swift: messages with loss, tools, channel"
    suffix: ClassVar[str] = ".jsonl"
    losses: ClassVar[Mapping[str, str]] = {"reasoning": _REASONING}

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return a conversation for each instruction."""
        return each(instructions, train, self._record)

    def _record(self, instruction: Instruction, train: str) -> Record:
        messages = []
        for message, trained in zip(instruction.messages, assistant_turns(instruction, train), strict=True):
            value = _openai(message)
            messages.append(value | ({"loss": trained} if message.role == "assistant" else {}))
        lost = ("reasoning",) if any(message.reasoning for message in instruction.messages) else ()
        value = {"messages": messages, "channel": instruction.task}
        return Record(_with_tools(value, instruction, as_text=True), lost)


@frozen
class AxolotlExporter:
    """axolotl's chat_template data set: messages whose ``train`` says whether they are learnt, and its stanza."""

    name: ClassVar[str] = "axolotl"
    summary: ClassVar[str] = "JSONL of axolotl's chat_template, with its YAML stanza; train for each turn"
    suffix: ClassVar[str] = ".jsonl"
    losses: ClassVar[Mapping[str, str]] = {}

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return a conversation for each instruction."""
        return each(instructions, train, self._record)

    def _record(self, instruction: Instruction, train: str) -> Record:
        turns = zip(instruction.messages, assistant_turns(instruction, train), strict=True)
        messages = [
            _openai(one, arguments_as_text=False) | _reasoned(one) | {"train": trained} for one, trained in turns
        ]
        return Record(_with_tools({"messages": messages}, instruction))

    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return the stanza that names the file in a configuration of axolotl's."""
        lines = ["datasets:"]
        lines += [
            line
            for name in [plan.files.get("train")]
            if name
            for line in (
                f"  - path: {json.dumps(name)}",
                "    ds_type: json",
                "    type: chat_template",
                "    field_messages: messages",
                "    message_property_mappings: {role: role, content: content}",
                "    message_field_training: train",
                "    roles_to_train: []",
                "    train_on_eos: turn",
            )
        ]
        if plan.files.get("test"):
            lines += [
                f"test_datasets: [{{path: {json.dumps(plan.files['test'])}, ds_type: json, type: chat_template}}]"
            ]
        return (Companion(name="axolotl.yaml", text="\n".join(lines) + "\n"),)


_FROM = {"user": "human", "tool": "observation", "assistant": "gpt"}


@frozen
class ShareGptExporter(_NoCompanions):
    """ShareGPT conversations: human and gpt by turns, with function calls and observations, a system text and tools."""

    name: ClassVar[str] = "sharegpt"
    summary: ClassVar[str] = "JSON of ShareGPT conversations, with system and tools"
    suffix: ClassVar[str] = ".json"
    losses: ClassVar[Mapping[str, str]] = {
        "reasoning": _REASONING,
        "name": "names of speakers",
        "call-ids": "ids of tool calls",
        "untrained-turns": _LEARNT,
    }

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return a conversation for each instruction."""
        return each(instructions, train, self._record)

    def _record(self, instruction: Instruction, train: str) -> Record:
        lost: set[str] = set()
        turns = [self._turn(message, lost) for message in instruction.messages if message.role != "system"]
        for place, turn in enumerate(turns):
            if (turn["from"] in ("human", "observation")) != (place % 2 == 0):
                raise NotHeldError("turn-order", "human and gpt have to take turns, the human first")
        trained = assistant_turns(instruction, train)
        if any(
            one.role == "assistant" and not is_trained
            for one, is_trained in zip(instruction.messages, trained, strict=True)
        ):
            lost.add("untrained-turns")
        value: dict[str, Any] = {"id": own} if (own := own_id(instruction)) else {}
        value["conversations"] = turns
        if system := system_of(instruction.messages):
            value["system"] = system
        return Record(_with_tools(value, instruction, as_text=True), tuple(sorted(lost)))

    def _turn(self, message: Message, lost: set[str]) -> dict[str, str]:
        lost |= {"reasoning"} if message.reasoning else set()
        lost |= {"name"} if message.name else set()
        if not message.tool_calls:
            lost |= {"call-ids"} if message.tool_call_id else set()
            return {"from": _FROM[message.role], "value": message.content}
        if message.content.strip():
            raise NotHeldError("text-with-call", "a turn has text and a tool call, and the format has one place")
        calls = [_named_call(call) for call in message.tool_calls]
        lost |= {"call-ids"} if any("id" in call for call in message.tool_calls) else set()
        value = calls[0] if len(calls) == 1 else calls
        return {"from": "function_call", "value": json.dumps(value, ensure_ascii=False)}


def _named_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    inner = function if isinstance(function, Mapping) else {}
    arguments = inner.get("arguments", {})
    return {
        "name": inner.get("name", ""),
        "arguments": json.loads(arguments) if isinstance(arguments, str) else arguments,
    }


@frozen
class LlamaFactoryExporter(ShareGptExporter):
    """LLaMA-Factory: ShareGPT conversations with the ``dataset_info.json`` that registers them.

    Source: the data section of LLaMA-Factory's documentation. Earlier turns are learnt there unless ``mask_history`` is
    set, which the file cannot say.
    """

    name: ClassVar[str] = "llamafactory"
    summary: ClassVar[str] = "ShareGPT JSON with the dataset_info.json of LLaMA-Factory"

    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return ``dataset_info.json``."""
        tags = {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "observation_tag": "observation",
            "function_tag": "function_call",
        }
        columns = {"messages": "conversations", "system": "system", "tools": "tools"}
        entry = {
            f"{plan.name}-{split}": {"file_name": name, "formatting": "sharegpt", "columns": columns, "tags": tags}
            for split, name in plan.files.items()
        }
        return (Companion(name="dataset_info.json", text=json.dumps(entry, ensure_ascii=False, indent=2) + "\n"),)
