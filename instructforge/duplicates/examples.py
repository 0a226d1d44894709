"""What of a task's examples is compared: the texts of their fields, their answers, and which of these must be equal.

The list of a row's choices is left out: it says what may be answered, and is often the same for all rows. An answer
out of a closed set is no text to compare: two rows are alike only where it is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from attrs import frozen

from instructforge.data import answer_to_json
from instructforge.duplicates.shingles import Hashes, Tokens, parted, tokenised
from instructforge.files import canonical_json

if TYPE_CHECKING:
    from instructforge.data import Example
    from instructforge.tasks import Task

__all__ = ["ANSWER", "Compared", "Read", "hash_of", "text_of"]

ANSWER = "answer"


@frozen
class Compared:
    """Which parts of a task's examples are compared.

    Attributes:
        names: The fields whose texts are compared, and ``answer`` where answers are texts.
        others: The other fields: choices. They count where inputs are compared as a whole.
        closed: Whether answers come out of a closed set.
    """

    names: tuple[str, ...]
    others: tuple[str, ...]
    closed: bool

    @classmethod
    def of(cls, task: Task) -> Compared:
        """Return what is compared of a task."""
        choices = getattr(task.target, "from_field", None)
        fields = tuple(name for name in task.fields if name != choices) or tuple(task.fields)
        closed = task.target.head in ("choice", "tags")
        names = fields if closed else (*fields, ANSWER)
        return cls(names, tuple(name for name in task.fields if name not in names), closed)

    def read(self, examples: Sequence[Example]) -> Read:
        """Return examples as numbers."""
        known: dict[tuple[Any, ...], int] = {}
        tags = [0] * len(examples)
        for place, example in enumerate(examples if self.closed else ()):
            if example.answers not in known:
                known[example.answers] = hash_of(_answers(example))
            tags[place] = known[example.answers]
        tokens = tokenised([text for texts in self.texts(examples) for text in texts])
        return Read(examples, parted(tokens, len(self.names)), np.array(tags, np.uint64))

    def texts(self, examples: Sequence[Example]) -> list[list[str]]:
        """Return, for each part that is compared, the texts of all examples."""
        return [[self._text(example, name) for example in examples] for name in self.names]

    def _text(self, example: Example, name: str) -> str:
        if name == ANSWER and not self.closed:
            return "\n".join(text_of(answer_to_json(answer)) for answer in example.answers)
        return text_of(example.inputs.get(name))


@frozen
class Read:
    """Examples as numbers.

    Attributes:
        examples: The examples.
        fields: For each compared part, the tokens of every example's text.
        tags: For each example, the hash of its answer out of a closed set.
    """

    examples: Sequence[Example]
    fields: tuple[Tokens, ...]
    tags: Hashes


def text_of(value: Any) -> str:
    """Return the text of a field's value: of a list that of its items, of a chat turn what is said.

    >>> text_of([{"role": "user", "content": "Hi"}, "there", None, 3])
    'Hi\\nthere\\n\\n3'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        said = next((value[key] for key in ("content", "text") if isinstance(value.get(key), str)), None)
        return "\n".join(text_of(part) for part in value.values()) if said is None else said
    if isinstance(value, (list, tuple)):
        return "\n".join(map(text_of, value))
    return "" if value is None else str(value)


def hash_of(value: Any) -> int:
    """Return 64 bits of the hash of a value's JSON."""
    try:
        packed = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a whole number beyond 64 bits; other values are refused before they get here
        packed = canonical_json(value).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(packed).digest()[:8], "little")


def _answers(example: Example) -> list[Any]:
    return [answer_to_json(answer) for answer in example.answers]
