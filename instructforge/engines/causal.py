"""Causal language models: generated text, and the likelihood of each choice.

Prompts are encoded by the very encoder that training used, set up from the contract. Decoding is greedy. A row's
result does not depend on the rows beside it, as far as floating-point sums allow.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from attrs import evolve, frozen

from instructforge.chats import parse_tool_calls
from instructforge.contract import Contract, target_to_json
from instructforge.data import Instruction, Output
from instructforge.encoding import ChatEncoder, tokenizer_sha256
from instructforge.encoding.rendering import chat_template_of
from instructforge.errors import ConfigError, InstructForgeError, printable
from instructforge.models.loading import load_causal, load_tokenizer
from instructforge.tasks import Task, Text

__all__ = ["CausalEngine"]

_log = logging.getLogger("instructforge.engines")

_WINDOW_BATCHES = 16
"""Batches of rows that are sorted by length among themselves."""

_UNTRAINED_TOKENS = 64
_CACHE_TOLERANCE = 1e-2
_PAIRS_AT_ONCE = 64


@frozen
class _Prompted:
    """A row of a window, with the ids that generation starts from."""

    place: int
    ids: list[int]
    choices: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()


class CausalEngine:
    """Answers with a causal model.

    Args:
        folder: A checked model folder.
        contract: What it was trained on; None for an untrained model, asked as it is.
        task: For an untrained model: the task it is asked.
        batch_size: Rows that are generated at once.
        max_new_tokens: Of an answer; by default what the contract says.
        dtype: ``float32``, or ``bfloat16``: faster, and other words now and then.
        device: By default a GPU where there is one.
        trust_remote_code: Let the model run code of its own.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract | None = None,
        *,
        task: Task | None = None,
        batch_size: int = 16,
        max_new_tokens: int | None = None,
        dtype: str = "float32",
        device: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if dtype not in ("float32", "bfloat16"):
            raise ConfigError(f'dtype is "{dtype}", expected float32 or bfloat16')
        if batch_size < 1 or (max_new_tokens is not None and max_new_tokens < 1):
            raise ConfigError("batch_size and max_new_tokens are whole numbers from 1")
        self.tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        self.encoder = _encoder(self.tokenizer, contract)
        self.contract = contract or _untrained(self.encoder, task)
        _require(self.contract, self.encoder)
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens or int(self.contract.encoding.get("max_new_tokens", _UNTRAINED_TOKENS))
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = load_causal(folder, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code)
        self.model = model.to(self.device).eval()
        self.pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.encoder.stop_ids[0]
        self._set_generation()
        self._reuses_cache: bool | None = None

    def outputs(self, instructions: Iterable[Instruction], needs: str) -> Iterator[Output]:
        """Yield what the model says of each instruction, in their order.

        ``choice_logprobs`` are those of a choice's tokens and of the stop token behind it, so that "no" is not
        preferred to "not sure" for being its beginning; ``choice_tokens`` counts the same tokens. A row without
        choices (an inverted template's) gets text instead. A row that cannot be asked gets ``error``.

        Raises:
            ConfigError: A causal model cannot give what is needed.
        """
        if needs not in ("text", "choice_logprobs"):
            raise ConfigError(
                f'a causal model cannot give "{needs}".\nIt gives text and choice_logprobs.\n'
                "Choose a decoder that reads these, such as the task's own for causal models."
            )
        stream = iter(instructions)
        while window := list(islice(stream, self.batch_size * _WINDOW_BATCHES)):
            yield from self._window(window, needs)

    # --- Rows ------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _window(self, rows: Sequence[Instruction], needs: str) -> list[Output]:
        found: list[Output] = [Output()] * len(rows)
        asked = []
        for place, (row, ids) in enumerate(zip(rows, self.encoder.prompts(rows), strict=True)):
            if isinstance(ids, InstructForgeError):
                found[place] = Output(error=str(ids))
            else:
                wanted = needs == "choice_logprobs" and not row.inverted
                asked.append(_Prompted(place, ids, (row.choices or row.labels) if wanted else (), row.tools))
        asked.sort(key=lambda one: -len(one.ids))  # stable, so that equal rows keep their order
        for several in (False, True):
            part = [one for one in asked if bool(one.choices) == several]
            answer = self._score if several else self._generate
            for start in range(0, len(part), self.batch_size):
                batch = part[start : start + self.batch_size]
                for one, output in zip(batch, answer(batch), strict=True):
                    found[one.place] = output
        return found

    def _padded(self, rows: Sequence[Sequence[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask.

        Shapes:
            Both (B, T).
        """
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.pad)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for number, row in enumerate(rows):
            part = slice(longest - len(row), None) if left else slice(0, len(row))
            ids[number, part] = torch.tensor(row, dtype=torch.long)
            mask[number, part] = 1
        return ids.to(self.device), mask.to(self.device)

    # --- Text ------------------------------------------------------------------------------------------

    def _set_generation(self) -> None:
        """Greedy, whatever sampling or penalties the model folder asks for: those are not in the contract."""
        self.model.generation_config = transformers.GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            num_beams=1,
            eos_token_id=list(self.encoder.stop_ids),
            pad_token_id=self.pad,
            use_cache=True,
        )

    def _generate(self, batch: Sequence[_Prompted]) -> list[Output]:
        ids, mask = self._padded([one.ids for one in batch], left=True)
        room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        most = self.max_new_tokens if room is None else min(self.max_new_tokens, room - ids.shape[1])
        if most < 1:
            reason = f"the prompt's {ids.shape[1]} tokens fill the model's {room} positions; no answer fits behind it"
            return [Output(error=reason)] * len(batch)
        made = self.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=most)
        rows = made[:, ids.shape[1] :].tolist()
        return [self._output(row, one) for row, one in zip(rows, batch, strict=True)]

    def _output(self, ids: Sequence[int], asked: _Prompted) -> Output:
        """Return what the model wrote: its text, and what it says of reasoning and tool calls."""
        stops = set(self.encoder.stop_ids)
        end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
        plain = self._text(ids, end)
        written = self.tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        read = self.encoder.read(written, tools=bool(asked.tools))
        if not read.tool_calls and self.tokenizer_reads:
            read = self._parsed(written, asked) or read
        if read.tool_calls or read.reasoning:
            return evolve(read, text=self._without_control(read.text or ""), finished=plain.finished)
        return evolve(plain, notes=read.notes)

    @property
    def tokenizer_reads(self) -> bool:
        """Whether tool calls are read by the tokenizer's own parser, the chat template's form being no JSON."""
        calls = self.encoder.calls
        return calls.written and calls.form is None and getattr(self.tokenizer, "response_template", None) is not None

    def _parsed(self, written: str, asked: _Prompted) -> Output | None:
        """Return what the tokenizer's own parser reads; None where it fails or finds no calls."""
        prefix = self.tokenizer.decode(asked.ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        try:
            found = self.tokenizer.parse_response(written, prefix=prefix, tools=[dict(one) for one in asked.tools])
            calls = tuple(parse_tool_calls(found["tool_calls"])) if found.get("tool_calls") else ()
        except Exception as error:  # a parser that comes with the model: whatever it does, the text is kept
            _log.info("the tokenizer's own parser failed: %s", printable(error))
            return None
        reasoning = found.get("reasoning_content") or found.get("thinking") or None
        content = found.get("content") or ""
        if not calls or not isinstance(content, str):
            return None
        return Output(text=content, reasoning=reasoning, tool_calls=calls, raw=written)

    def _without_control(self, text: str) -> str:
        for token in self.tokenizer.all_special_tokens:
            text = text.replace(token, "")
        return text

    def _text(self, ids: Sequence[int], end: int) -> Output:
        text = self.tokenizer.decode(ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        options = self.contract.encoding
        lead, closing = str(options.get("lead", "")), str(options.get("closing", ""))
        for stop in self.encoder.stop_texts:
            closing = closing.removesuffix(stop)
        text = text.removeprefix(lead)
        finished = end < len(ids)
        return Output(text=text.removesuffix(closing) if finished and closing else text, finished=finished)

    # --- Choices ---------------------------------------------------------------------------------------

    def _score(self, batch: Sequence[_Prompted]) -> list[Output]:
        choices = [self.encoder.completion_ids(one.choices) for one in batch]
        if self._reuses_cache is None:
            self._reuses_cache = self._try_cache(batch[0].ids, choices[0])
        if self._reuses_cache:
            scores = self._cached_scores([one.ids for one in batch], choices)
        else:
            scores = [self._whole_scores(one.ids, own) for one, own in zip(batch, choices, strict=True)]
        return [
            Output(choice_logprobs=tuple(found), choice_tokens=tuple(map(len, own)))
            for found, own in zip(scores, choices, strict=True)
        ]

    def _try_cache(self, prompt: list[int], choices: list[list[int]]) -> bool:
        """Tell whether this model gives the same likelihoods when the prompt's keys and values are used again."""
        whole = self._whole_scores(prompt, choices[:2])
        try:
            cached = self._cached_scores([prompt], [choices[:2]])[0]
        except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            _log.warning("the prompt is computed anew for each choice: this model keeps no cache (%s)", error)
            return False
        same = all(abs(one - other) <= _CACHE_TOLERANCE for one, other in zip(whole, cached, strict=True))
        if not same:
            _log.warning("the prompt is computed anew for each choice: with a cache this model scores otherwise")
        return same

    def _whole_scores(self, prompt: list[int], choices: list[list[int]]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(choices), self.batch_size):
            part = choices[start : start + self.batch_size]
            ids, mask = self._padded([prompt + choice for choice in part], left=False)
            logits = self.model(input_ids=ids, attention_mask=mask).logits  # (B, T, V)
            for number, choice in enumerate(part):
                own = logits[number, len(prompt) - 1 : len(prompt) + len(choice) - 1].float().log_softmax(-1)
                scores.append(float(own[torch.arange(len(choice)), torch.tensor(choice)].sum()))
        return scores

    def _cached_scores(self, prompts: list[list[int]], choices: list[list[list[int]]]) -> list[list[float]]:
        """Score every choice of every row; each prompt is computed once.

        Shapes:
            Prompts (B, T), padded on the left; pairs of row and choice (N, C), padded on the right.
        """
        ids, mask = self._padded(prompts, left=True)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        first = self._forward(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, last=True)
        opening = first.logits[:, -1].float().log_softmax(-1)  # (B, V)
        scores = [[float(opening[row, choice[0]]) for choice in own] for row, own in enumerate(choices)]
        pairs = [(row, number) for row, own in enumerate(choices) for number in range(len(own)) if len(own[number]) > 1]
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            part = pairs[start : start + _PAIRS_AT_ONCE]
            rows = torch.tensor([row for row, _ in part], device=self.device)
            cache = copy.deepcopy(first.past_key_values)
            cache.batch_select_indices(rows)
            ids, own_mask = self._padded([choices[row][number][:-1] for row, number in part], left=False)
            both = torch.cat([mask[rows], own_mask], dim=1)
            positions = mask[rows].sum(-1, keepdim=True) + torch.arange(ids.shape[1], device=self.device)
            logits = self._forward(
                input_ids=ids, attention_mask=both, position_ids=positions, past_key_values=cache, use_cache=True
            ).logits
            for place, (row, number) in enumerate(part):
                rest = torch.tensor(choices[row][number][1:])
                own = logits[place, : len(rest)].float().log_softmax(-1)
                scores[row][number] += float(own[torch.arange(len(rest)), rest].sum())
        return scores

    def _forward(self, *, last: bool = False, **inputs: Any) -> Any:
        known = inspect.signature(self.model.forward).parameters
        if "position_ids" not in known:
            inputs.pop("position_ids")  # a model that places tokens by the mask
        if last and "logits_to_keep" in known:
            inputs["logits_to_keep"] = 1
        return self.model(**inputs)


def _encoder(tokenizer: Any, contract: Contract | None) -> ChatEncoder:
    if contract is None:
        return ChatEncoder(tokenizer)
    options = contract.encoding
    return ChatEncoder(
        tokenizer,
        chat_template=contract.chat_template,
        max_length=options.get("max_length"),
        answer_tokens=options.get("answer_tokens") or None,
        pinned=contract.pinned,
        reasoning=bool(options.get("reasoning", False)),
    )


def _require(contract: Contract, encoder: ChatEncoder) -> None:
    """Compare what lies in the folder with the contract.

    Raises:
        ContractMismatchError: Tokenizer, chat template, stop tokens or the way rows become ids differ.
    """
    own = {key: contract.encoding[key] for key in contract.encoding if key not in encoder.options()}
    contract.require(
        tokenizer_sha256=tokenizer_sha256(encoder.tokenizer),
        chat_template=chat_template_of(encoder.tokenizer) or encoder.chat_template,
        encoding={**own, **encoder.options()},
        stop_ids=encoder.stop_ids,
        stop_texts=encoder.stop_texts,
        pinned=encoder.pinned,
    )


def _untrained(encoder: ChatEncoder, task: Task | None) -> Contract:
    """Return what stands for a contract where nothing was trained: the model's own ways, and the task asked."""
    if task is None:
        raise ConfigError("an untrained model is opened with the task that it is asked")
    target = task.target
    tokens = target.max_new_tokens if isinstance(target, Text) else _UNTRAINED_TOKENS
    return Contract(
        task=task.name,
        target=target_to_json(target),
        family="causal",
        method="none",
        head=target.head,
        fields=list(task.fields),
        chat_template=encoder.chat_template,
        tokenizer_sha256=tokenizer_sha256(encoder.tokenizer),
        decoder=task.decoder_name,
        encoding={**encoder.options(), "max_new_tokens": tokens},
        stop_ids=encoder.stop_ids,
        stop_texts=encoder.stop_texts,
        pinned=encoder.pinned,
    )
