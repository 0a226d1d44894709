"""Formats that carry the mask itself: TRL's pre-tokenised rows, and axolotl's segments of text.

Both are made by the encoder that training uses, for one model: ids and labels are those that InstructForge trains on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from instructforge.data import Features, Instruction
from instructforge.errors import ConfigError, InstructForgeError
from instructforge.exporting.records import Companion, ExportPlan, NotHeldError, Record

if TYPE_CHECKING:
    from instructforge.encoding import ChatEncoder

__all__ = ["AxolotlSegmentsExporter", "TrlTokensExporter"]

_IGNORED = -100


@frozen
class _Encoded(ABC):
    """What the formats of this module share: an encoder of the model that they are for."""

    encoder: ChatEncoder | None = None

    suffix: ClassVar[str] = ".jsonl"
    losses: ClassVar[Mapping[str, str]] = {}
    name: ClassVar[str] = ""

    def bound(self, model: Path, max_length: int | None) -> _Encoded:
        """Return the exporter for one model.

        Raises:
            ConfigError: The model has no chat template.
        """
        from instructforge.encoding import ChatEncoder
        from instructforge.models.loading import load_tokenizer

        return type(self)(ChatEncoder(load_tokenizer(model), max_length=max_length))

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return the encoded row of each instruction, or why it cannot be trained on."""
        if self.encoder is None:
            raise ConfigError(f'the export "{self.name}" is made for one model: name it with --model')
        labelled = [one for one in instructions if one.completion.strip() or one.messages[-1].tool_calls]
        encoded = iter(self.encoder.encode(labelled, train="all" if train == "all" else "last"))
        waiting = set(map(id, labelled))
        return [self._one(next(encoded)) if id(one) in waiting else _unlabelled() for one in instructions]

    def _one(self, found: Features | InstructForgeError) -> Record | InstructForgeError:
        if not isinstance(found, Features):
            return found
        if all(label == _IGNORED for label in found.labels):
            return NotHeldError("untrained", "no token of the row is trained")
        return self.of_features(found)

    @abstractmethod
    def of_features(self, found: Features) -> Record | InstructForgeError:
        """Return the record of an encoded row."""

    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return the files that go with the data: none."""
        return ()


def _unlabelled() -> NotHeldError:
    return NotHeldError("unlabelled", "the row has no answer")


@frozen
class TrlTokensExporter(_Encoded):
    """TRL's pre-tokenised rows: ``input_ids``, and ``labels`` with -100 where nothing is learnt."""

    name: ClassVar[str] = "trl-tokens"
    summary: ClassVar[str] = "JSONL of TRL: token ids and labels for one model, the exact mask"

    def of_features(self, found: Features) -> Record | InstructForgeError:
        """Return ids and labels."""
        return Record({"input_ids": list(found.input_ids), "labels": list(found.labels)})


@frozen
class AxolotlSegmentsExporter(_Encoded):
    """axolotl's ``input_output``: segments of text, each with whether it is learnt.

    axolotl tokenises each segment by itself; a row whose segments would become other ids that way is left out.
    """

    name: ClassVar[str] = "axolotl-segments"
    summary: ClassVar[str] = "JSONL of axolotl's input_output: text segments for one model, the exact mask"

    def of_features(self, found: Features) -> Record | InstructForgeError:
        """Return the segments.

        The ids of each are compared with those that its text becomes.
        """
        assert self.encoder is not None, "records() has looked"
        tokenizer: Any = self.encoder.tokenizer
        segments = []
        places = range(len(found.input_ids))
        for learnt, run in groupby(places, key=lambda place: found.labels[place] != _IGNORED):
            ids = [found.input_ids[place] for place in run]
            text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            if tokenizer(text, add_special_tokens=False)["input_ids"] != ids:
                return NotHeldError("other-ids", "a segment's text becomes other ids where it stands by itself")
            segments.append({"label": learnt, "text": text})
        return Record({"segments": segments})

    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return the stanza that names the file in a configuration of axolotl's."""
        name = plan.files.get("train", next(iter(plan.files.values()), ""))
        lines = ["datasets:", f'  - path: "{name}"', "    ds_type: json", "    type: input_output"]
        return (Companion(name="axolotl.yaml", text="\n".join([*lines, "train_on_inputs: false", ""])),)
