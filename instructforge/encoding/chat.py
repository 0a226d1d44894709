"""Instructions → ids and labels for causal models: exact masks for any chat template and any tokenizer.

What is trained is what the model generates: the answer as the chat template emitted it, and its stop token.
A row is tokenised in two pieces, the prompt and what follows, so that the ids that a model is trained on
begin with the very ids that generation starts from. See ``layout.py`` for how the pieces are found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Literal, Self, TypeVar

from attrs import evolve, frozen

from instructforge.chats import parse_tool_calls
from instructforge.contract import Contract
from instructforge.data import Features, Instruction, Message, Output, fold_system
from instructforge.encoding.calls import COMMON_FORM, Calls, ReasoningForm
from instructforge.encoding.cutting import shorten
from instructforge.encoding.layout import CUT, ChatLayout, Region, altered_answer, check_reserved, hidden_turn
from instructforge.encoding.rendering import ChatRenderer, chat_template_of, pin, plain_template
from instructforge.encoding.stats import EncodingStats
from instructforge.encoding.tokenizers import PieceTokenizer, tokenizer_sha256
from instructforge.errors import ConfigError, DataError, InstructForgeError, LengthError, TemplateError, printable

__all__ = ["IGNORED", "ChatEncoder", "Encoded"]

IGNORED: Final = -100
"""The label of a token that is not trained, as torch's cross entropy has it."""

_CUTTING_ROUNDS: Final = 12
_SYSTEM_PROBE: Final = "\U0010fff3"

Encoded = Features | InstructForgeError
"""A row's features, or why there are none: ``LengthError``, ``TemplateError`` or ``DataError``."""


T = TypeVar("T")


@frozen(eq=False)
class _Prompt:
    """A prompt, laid out: the chat without its answer, its text, the assistant's turns in the text, and the tools."""

    chat: list[dict[str, Any]]
    text: str
    regions: tuple[Region, ...]
    tools: tuple[dict[str, Any], ...] = ()


@frozen(eq=False)
class _Tokenised:
    """A prompt's ids, and which of them (from, to) belong to each of the assistant's turns and its stop token."""

    prompt: _Prompt
    ids: list[int]
    turns: tuple[tuple[int, int], ...] = ()


@frozen(eq=False)
class _Answered:
    """A tokenised prompt, the text that follows it, and how the answer in it ends."""

    tokenised: _Tokenised
    continuation: str
    closing: str
    stop: int


class ChatEncoder:
    """Encodes instructions for a causal model.

    Args:
        tokenizer: A transformers tokenizer.
        chat_template: Source of the chat template; the tokenizer's own by default, and ``plain_template`` where
            it has none.
        max_length: Tokens that a row may have; None for no limit.
        answer_tokens: Tokens of ``max_length`` that prompts leave free for the answer. A prompt is cut to fit
            without looking at the answer, so that it is the same in training and afterwards. By default a
            quarter of ``max_length``, from 32 to 256 tokens and at most half.
        pinned: Values for the chat template; ``date`` (ISO) is what its ``strftime_now`` tells.
        reasoning: Whether the model writes its reasoning itself. If not, a turn's reasoning is left out, and
            what the template puts between the generation prompt and an answer belongs to the prompt.

    Attributes:
        chat_template, pinned: As used; they belong into the contract.
        stop_ids, stop_texts: What ends an answer.
        stats: What happened to the rows given to ``encode`` so far.

    Raises:
        ConfigError: The chat template and the tokenizer cannot be used together; the message says why.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        chat_template: str | None = None,
        max_length: int | None = None,
        answer_tokens: int | None = None,
        pinned: Mapping[str, Any] | None = None,
        reasoning: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.reasoning = reasoning
        own = chat_template or chat_template_of(tokenizer)
        self.chat_template = own or plain_template(bos=_adds_bos(tokenizer))
        self.pinned = pin(self.chat_template, pinned or {})
        self._pieces = PieceTokenizer(tokenizer)
        self._render = ChatRenderer(self.chat_template, _special_tokens(tokenizer), self.pinned)
        self._layout = self._learn_layout()
        self.system_folded = self._must_fold_system()
        self._closings: dict[str, tuple[str, int] | None] = {}
        self._closing, self._stop = self._closing_of(self._layout.shape.tail) or ("", self._eos())
        self.max_length = max_length
        self.answer_tokens = _answer_tokens(max_length, answer_tokens)
        self.stats = EncodingStats()
        self._check_bos()

    @classmethod
    def from_contract(cls, tokenizer: Any, contract: Contract) -> Self:
        """Return the encoder that a model was trained with.

        Raises:
            ContractMismatchError: The tokenizer is another, or encodes otherwise.
        """
        contract.require(tokenizer_sha256=tokenizer_sha256(tokenizer))
        given = contract.encoding
        encoder = cls(
            tokenizer,
            chat_template=contract.chat_template,
            max_length=given.get("max_length"),
            answer_tokens=given.get("answer_tokens") or None,
            pinned=contract.pinned,
            reasoning=bool(given.get("reasoning")),
        )
        contract.require(
            encoding={**given, **encoder.options()}, stop_ids=encoder.stop_ids, chat_template=encoder.chat_template
        )
        return encoder

    # --- What the contract has to know ---------------------------------------------------------------

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: the template's stop token first, the tokenizer's EOS too if it is another."""
        eos = self.tokenizer.eos_token_id
        return (self._stop,) if eos is None or eos == self._stop else (self._stop, eos)

    @property
    def stop_texts(self) -> tuple[str, ...]:
        return tuple(self.tokenizer.convert_ids_to_tokens(list(self.stop_ids)))

    def options(self) -> dict[str, Any]:
        """Return what decides how rows become ids: the contract's ``encoding``."""
        shape = self._layout.shape
        calls = self._layout.calls
        told = {"arguments_as_text": calls.as_text, "form": calls.form.to_json() if calls.form else None}
        return ({"calls": told} if calls.written else {}) | {
            "max_length": self.max_length,
            "answer_tokens": self.answer_tokens,
            "reasoning": self.reasoning,
            "system_folded": self.system_folded,
            "bos": self._begins_with_bos,
            "heading": shape.heading,
            "lead": shape.lead,
            "closing": self._closing,
            "stop_appended": not self._closing,
            "diverges": shape.diverges,
        }

    # --- Prompts ---------------------------------------------------------------------------------------

    def prompt_ids(self, instruction: Instruction) -> list[int]:
        """Return the ids that generation starts from. They do not depend on the instruction's answer.

        Raises:
            LengthError: They do not fit, with all that may be cut cut.
            TemplateError: The chat template refuses the chat.
            DataError: The chat holds something that cannot be encoded.
        """
        found = self.prompts([instruction])[0]
        if isinstance(found, InstructForgeError):
            raise found
        return found

    def prompts(self, instructions: Iterable[Instruction]) -> list[list[int] | InstructForgeError]:
        """Return ``prompt_ids`` of each instruction, or why it has none, tokenised in one batch."""
        return [
            one if isinstance(one, InstructForgeError) else one.ids
            for one in self._tokenised(list(instructions), EncodingStats())
        ]

    def prompt_text(self, instruction: Instruction) -> str:
        """Return the text that generation starts from, before anything is cut."""
        return self._prompt(instruction, EncodingStats()).text.replace(CUT, "")

    def completion_ids(self, texts: Sequence[str], *, stop: bool = True) -> list[list[int]]:
        """Return the ids that a model generates for each of ``texts``, tokenised as in training.

        Args:
            texts: Answers, such as the choices of a row.
            stop: Whether to end in the stop token.
        """
        lead = self._layout.shape.lead
        written = [lead + self._pieces.break_control(text, CUT)[0] + self._closing for text in texts]
        found = []
        for ids in self._continue_all(written):
            generated = self._generated(ids, self._closing, self._stop)
            found.append(generated if stop else generated[:-1])
        return found

    def read(self, text: str, *, tools: bool = True) -> Output:
        """Return what a model wrote as text, reasoning and tool calls: the inverse of how they are written.

        Args:
            text: The generated text, without its stop token.
            tools: Whether the model was given tools. Calls without a mark of their own are only read then.

        Returns:
            An output with ``raw`` where ``text`` is not all of it. Calls that cannot be read stay text, and it has
            the note ``tool-calls-unreadable``.
        """
        said, reasoning = self._reasoning_form.read(text) if self._reasoning_form is not None else (text, None)
        form = self._layout.calls.form or COMMON_FORM
        found = form.read(said) if tools or form.opening.strip() else None
        if found is not None:
            return Output(text=found[0], reasoning=reasoning, tool_calls=tuple(found[1]), raw=text)
        notes = ("tool-calls-unreadable",) if form.opens(said) else ()
        return Output(text=said, reasoning=reasoning, raw=None if said == text else text, notes=notes)

    @property
    def calls(self) -> Calls:
        """What the chat template makes of tool calls."""
        return self._layout.calls

    @cached_property
    def _reasoning_form(self) -> ReasoningForm | None:
        return self._layout.reasoning_form() if self.reasoning else None

    @cached_property
    def _shows_tools(self) -> bool:
        return self._layout.shows_tools()

    # --- Training --------------------------------------------------------------------------------------

    def encode(self, instructions: Iterable[Instruction], *, train: Literal["last", "all"] = "last") -> list[Encoded]:
        """Encode instructions, in their order.

        Args:
            instructions: Labelled instructions.
            train: Train the final answer (and turns marked as trained), or every assistant turn.

        Returns:
            For each instruction its features, or the error that says why it has none.

        Shapes:
            Each ``Features`` has ``input_ids``, ``attention_mask`` and ``labels`` of shape (T,), unpadded.
        """
        if train not in ("last", "all"):
            raise ConfigError(f'train is "last" or "all", not "{printable(train, 40)}"')
        rows = list(instructions)
        answered = [
            found if isinstance(found, InstructForgeError) else self._attempt(self._answer, row, found)
            for row, found in zip(rows, self._tokenised(rows, self.stats), strict=True)
        ]
        whole = [one for one in answered if not isinstance(one, InstructForgeError)]
        continued = iter(self._continue_all([one.continuation for one in whole]))
        results: list[Encoded] = [
            one
            if isinstance(one, InstructForgeError)
            else self._attempt(self._features, row, one, next(continued), train)
            for row, one in zip(rows, answered, strict=True)
        ]
        self._count(results)
        return results

    # --- Learning the template -------------------------------------------------------------------------

    def _learn_layout(self) -> ChatLayout:
        try:
            return ChatLayout(self._render, self._render.traced, reasoning=self.reasoning)
        except TemplateError as error:
            raise ConfigError(f"the chat template cannot render a question and its answer: {error}") from error

    def _must_fold_system(self) -> bool:
        """Tell whether the template refuses a system turn, or drops it without saying so."""
        chat = [{"role": "system", "content": _SYSTEM_PROBE}, {"role": "user", "content": "?"}]
        try:
            return _SYSTEM_PROBE not in self._render(chat, True)
        except TemplateError:
            return True

    def _closing_of(self, tail: str) -> tuple[str, int] | None:
        """Return what stands behind an answer up to its stop token's end, and that token's id."""
        if tail not in self._closings:
            self._closings[tail] = self._find_closing(tail)
        return self._closings[tail]

    def _find_closing(self, tail: str) -> tuple[str, int] | None:
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        tokens = {text: index for index, text in self._pieces.control_ids.items() if index != bos or index == eos}
        if not tokens:
            return None
        pattern = "|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))
        found = re.search(pattern, tail)
        return (tail[: found.end()], tokens[found[0]]) if found else None

    def _eos(self) -> int:
        eos = self.tokenizer.eos_token_id
        if eos is None:
            raise ConfigError(
                "the chat template writes no stop token behind an answer, and the tokenizer has no EOS to put there: "
                "the model would never learn to stop. Set the tokenizer's eos_token, or use another chat template"
            )
        return int(eos)

    def _check_bos(self) -> None:
        bos = self.tokenizer.bos_token_id
        ids = self._pieces.encode_all([self._layout.prompt([{"role": "user", "content": "?"}])])[0]
        if bos is not None and ids[:2] == [bos, bos]:
            raise ConfigError(
                f'the chat template writes BOS ("{self.tokenizer.bos_token}") twice at its beginning; '
                "a model reads it once. Take one of the two out of the chat template"
            )
        self._begins_with_bos = bos is not None and ids[:1] == [bos]

    # --- Prompts of a batch ----------------------------------------------------------------------------

    def _tokenised(self, rows: Sequence[Instruction], stats: EncodingStats) -> list[_Tokenised | InstructForgeError]:
        """Lay out and tokenise the prompts of a batch, each cut to fit where it may be."""
        prompts = [self._attempt(self._prompt, row, stats) for row in rows]
        whole = iter(self._tokenise([one for one in prompts if isinstance(one, _Prompt)]))
        return [
            self._attempt(self._fitted, row, next(whole), stats) if isinstance(one, _Prompt) else one
            for row, one in zip(rows, prompts, strict=True)
        ]

    def _prompt(self, row: Instruction, stats: EncodingStats) -> _Prompt:
        messages = row.messages
        if messages and messages[-1].role == "assistant":
            messages = messages[:-1]
        if not messages:
            raise DataError("the chat has no turn before its answer", rule="no-prompt", field="messages")
        check_reserved(messages, row.tools)
        folded = fold_system(messages) if self.system_folded else messages
        chat = [self._turn(message, stats) for message in folded]
        tools = tuple(self._broken(tool, stats) for tool in row.tools)
        if tools and not self._shows_tools:
            stats.altered["tools-dropped"] += 1
        if any(message.tool_calls for message in messages) and not self._layout.calls.written:
            stats.altered["calls-dropped"] += 1
        return _Prompt(chat, *self._layout.prompt_and_regions(chat, self._closing, tools), tools)

    def _turn(self, message: Message, stats: EncodingStats) -> dict[str, Any]:
        """Return a turn as the chat template is given it, control tokens in its texts broken up."""
        if message.reasoning is not None and not self.reasoning:
            message = evolve(message, reasoning=None)
        turn = message.to_chat()
        turn["content"], found = self._pieces.break_control(message.content, CUT)
        stats.control_texts += found
        if message.tool_calls:
            calls = self._broken(parse_tool_calls(list(message.tool_calls)), stats)
            turn["tool_calls"] = self._layout.calls.given(calls)
        for key in ("reasoning_content", "name", "tool_call_id"):
            if key in turn:
                turn[key] = self._broken(turn[key], stats)
        return turn

    def _broken(self, value: Any, stats: EncodingStats) -> Any:
        """Return a JSON value with the control tokens in its texts broken up."""
        if isinstance(value, str):
            value, found = self._pieces.break_control(value, CUT)
            stats.control_texts += found
            return value
        if isinstance(value, Mapping):
            return {self._broken(key, stats): self._broken(part, stats) for key, part in value.items()}
        return [self._broken(part, stats) for part in value] if isinstance(value, (list, tuple)) else value

    def _fitted(self, row: Instruction, tokenised: _Tokenised, stats: EncodingStats) -> _Tokenised:
        """Cut what may be cut until the prompt leaves room for an answer."""
        if self.max_length is None or len(tokenised.ids) <= self.max_length - self.answer_tokens:
            return tokenised
        budget = self.max_length - self.answer_tokens
        shorter, cut = row, Counter[str]()
        for _ in range(_CUTTING_ROUNDS):
            excess = len(tokenised.ids) - budget
            if excess <= 0:
                break
            shorter, gone = shorten(shorter, excess, self._pieces.offsets)
            if not gone:
                break
            cut += gone
            tokenised = self._tokenise([self._prompt(shorter, EncodingStats())])[0]
        if len(tokenised.ids) >= self.max_length:
            raise self._too_long(len(tokenised.ids), 1)
        stats.cut_tokens += cut
        stats.cut_rows += bool(cut)
        stats.evidence_cut += _loses(row, shorter)
        return tokenised

    def _tokenise(self, prompts: Sequence[_Prompt]) -> list[_Tokenised]:
        whole = [one for one in prompts if CUT not in one.text]
        plain = [one for one in whole if not one.regions]
        chats = [one for one in whole if one.regions] if self._pieces.has_offsets else []
        results = dict(
            zip(plain, map(_Tokenised, plain, self._pieces.encode_all([o.text for o in plain])), strict=True)
        )
        results.update(zip(chats, self._whole_chats(chats), strict=True))
        return [results.get(one) or self._by_segments(one) for one in prompts]

    def _whole_chats(self, chats: Sequence[_Prompt]) -> list[_Tokenised]:
        """Tokenise prompts with earlier turns whole, and find those turns by their characters.

        Where a token reaches over a turn's border, the prompt is tokenised in segments instead.
        """
        results = []
        for one, found in zip(chats, self._pieces.encodings([chat.text for chat in chats]), strict=True):
            turns = [
                self._pieces.stretch(found, one.text, region.start, region.stop or region.end) for region in one.regions
            ]
            whole = tuple(turn for turn in turns if turn is not None)
            results.append(_Tokenised(one, found.ids, whole) if len(whole) == len(turns) else self._by_segments(one))
        return results

    def _by_segments(self, prompt: _Prompt) -> _Tokenised:
        """Tokenise a prompt cut at its turns' borders and inside control tokens that are data."""
        ids: list[int] = []
        turns: list[tuple[int, int]] = []
        position = 0
        for region in prompt.regions:
            stop = region.stop or region.end
            ids += self._segment(prompt.text[position : region.start], first=position == 0)
            begin = len(ids)
            ids += self._segment(prompt.text[region.start : stop], first=False)
            turns.append((begin, len(ids)))
            position = stop
        ids += self._segment(prompt.text[position:], first=position == 0)
        return _Tokenised(prompt, ids, tuple(turns))

    def _segment(self, text: str, *, first: bool) -> list[int]:
        head, *rest = text.split(CUT)
        ids = self._pieces.encode_all([head])[0] if first else self._pieces.continue_all([head])[0]
        return [*ids, *(index for part in self._pieces.continue_all(rest) for index in part)]

    def _continue_all(self, texts: Sequence[str]) -> list[list[int]]:
        plain = iter(self._pieces.continue_all([text for text in texts if CUT not in text]))
        return [self._segment(text, first=False) if CUT in text else next(plain) for text in texts]

    # --- Answers ---------------------------------------------------------------------------------------

    def _answer(self, row: Instruction, tokenised: _Tokenised) -> _Answered:
        last = row.messages[-1]
        if last.role != "assistant":
            raise DataError("the chat does not end in an assistant's turn", rule="no-answer", field="messages")
        if not (last.content.strip() or last.tool_calls):
            raise DataError("the answer is empty: there is nothing to train", rule="no-answer", field="answer")
        check_reserved([last])
        if last.reasoning is not None and not self.reasoning:
            self.stats.altered["reasoning-dropped"] += 1
        prompt = tokenised.prompt
        laid = self._layout.lay(prompt.chat, self._turn(last, self.stats), prompt.text, self._closing, prompt.tools)
        if laid.altered:
            self.stats.altered[laid.altered] += 1
        self.stats.diverging += laid.diverges
        closing, stop = self._closing_of(laid.tail) or ("", self._eos())
        text = laid.lead + laid.answer + (laid.tail if closing else "")
        return _Answered(tokenised, text, closing, stop)

    def _features(self, row: Instruction, answered: _Answered, continuation: list[int], train: str) -> Features:
        prompt_ids = answered.tokenised.ids
        generated = self._generated(continuation, answered.closing, answered.stop)
        input_ids = [*prompt_ids, *generated, *continuation[len(generated) :]]
        if self.max_length is not None and len(input_ids) > self.max_length:
            raise self._too_long(len(prompt_ids), len(input_ids) - len(prompt_ids))
        labels = [IGNORED] * len(input_ids)
        alone = not any(message.trained for message in row.messages)
        if _is_trained(row.messages[-1], train == "all" or alone):
            labels[len(prompt_ids) : len(prompt_ids) + len(generated)] = generated
        for first, last in self._trained_turns(row, answered.tokenised, train):
            labels[first:last] = input_ids[first:last]
        if labels.count(IGNORED) == len(labels):
            fix = "give a turn the weight 1, or leave the row out"
            raise DataError("the weights of its turns leave nothing to train", rule="nothing-trained", fix=fix)
        return Features(id=row.id, input_ids=input_ids, attention_mask=[1] * len(input_ids), labels=labels)

    def _generated(self, continuation: list[int], closing: str, stop: int) -> list[int]:
        """Return what of a continuation the model generates: the answer and its stop token."""
        if not closing:
            return [*continuation, stop]
        try:
            return continuation[: continuation.index(stop) + 1]
        except ValueError:
            raise TemplateError(
                f'The tokenizer does not turn the chat template\'s "{printable(closing)}" into its stop token.\n'
                "A model that is not trained on its stop token never learns to stop.\n"
                "Use the tokenizer that belongs to the chat template.",
                rule="stop-lost",
            ) from None

    def _trained_turns(self, row: Instruction, tokenised: _Tokenised, train: str) -> Iterator[tuple[int, int]]:
        """Yield which ids belong to earlier turns that are to be trained."""
        earlier = [message for message in row.messages[:-1] if message.role == "assistant"]
        turns = [place for place, turn in enumerate(tokenised.prompt.chat) if turn["role"] == "assistant"]
        found = {
            region.turn: (region, span) for region, span in zip(tokenised.prompt.regions, tokenised.turns, strict=True)
        }
        for message, turn in zip(earlier, turns, strict=True):
            if not _is_trained(message, train == "all") or not (message.content.strip() or message.tool_calls):
                continue
            if turn not in found:
                raise hidden_turn(turn)
            region, span = found[turn]
            if region.altered == "changed":
                raise altered_answer(message.content, tokenised.prompt.text[region.start : region.end])
            if region.stop is None:
                raise TemplateError(
                    f"The chat template writes no stop token behind turn {region.turn + 1} of the chat.\n"
                    "Trained without one, the model would never learn to stop there.\n"
                    "Train only the last answer, or use a chat template that ends each of the assistant's turns.",
                    rule="no-stop",
                )
            if region.altered:
                self.stats.altered[region.altered] += 1
            self.stats.headings += not region.same_heading
            yield span

    # --- Errors and counts -----------------------------------------------------------------------------

    def _too_long(self, prompt: int, answer: int) -> LengthError:
        return LengthError(
            f"the row has {prompt + answer} tokens ({prompt} of them before the answer), with all cut that may be cut\n"
            f"A row may have {self.max_length}, of which prompts leave {self.answer_tokens} free for the answer.\n"
            "Raise max_length or answer_tokens, or declare the longest field as cuttable in the template."
        )

    def _attempt(self, step: Callable[..., T], row: Instruction, *arguments: Any) -> T | InstructForgeError:
        """Run a step for one row; return its error, with the row's name in it, instead of raising it."""
        try:
            return step(row, *arguments)
        except (DataError, LengthError, TemplateError) as error:
            return _named(error, row)

    def _count(self, results: Sequence[Encoded]) -> None:
        stats = self.stats
        stats.rows += len(results)
        for one in results:
            if isinstance(one, Features):
                stats.encoded += 1
                stats.tokens += len(one.input_ids)
                stats.trained_tokens += len(one.labels) - list(one.labels).count(IGNORED)
                stats.longest = max(stats.longest, len(one.input_ids))
            else:
                stats.errors[getattr(one, "rule", "too-long")] += 1


def _is_trained(message: Message, otherwise: bool) -> bool:
    """Tell whether a turn is trained: as its own weight says, then as it is marked, then as the recipe says."""
    return message.weight > 0 if message.weight is not None else message.trained or otherwise


def _named(error: DataError | LengthError | TemplateError, row: Instruction) -> InstructForgeError:
    message = f'Row "{printable(row.id, 80)}" ({printable(row.example.origin)}): {error}'
    if isinstance(error, DataError):
        origin = error.origin or row.example.origin
        return DataError(message, rule=error.rule, field=error.field, fix=error.fix, origin=origin)
    if isinstance(error, TemplateError):
        return TemplateError(message, template=row.template, rule=error.rule)
    return LengthError(message)


def _loses(row: Instruction, shorter: Instruction) -> bool:
    """Tell whether the row's answer stood in its prompt, and does no longer."""
    answer = row.completion.strip()
    if shorter is row or not answer or row.messages[-1].role != "assistant":
        return False
    return any(answer in message.content for message in row.prompt) and not any(
        answer in message.content for message in shorter.prompt
    )


def _special_tokens(tokenizer: Any) -> dict[str, str]:
    """Return the tokens that chat templates know by name; one that the tokenizer lacks is an empty text."""
    known = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if not isinstance(value, list)}
    return {"bos_token": "", "eos_token": "", **known}


def _adds_bos(tokenizer: Any) -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer.encode("a")[:1] == [bos]


def _answer_tokens(max_length: int | None, wanted: int | None) -> int:
    if wanted is None:
        return 0 if max_length is None else min(max_length // 2, 256, max(32, max_length // 4))
    if wanted < 1 or (max_length is not None and wanted >= max_length):
        raise ConfigError(f"answer_tokens is {wanted}; it has to be at least 1 and less than max_length")
    return wanted
