"""Whether a model's tokenizer can read the data at all."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from instructforge.errors import TrainingError, printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["UNKNOWN_LIMIT", "check_vocabulary", "unknown_share"]

UNKNOWN_LIMIT = 0.05
"""A model that does not know one token in twenty does not read the language of the data."""

_SAMPLE = 2000


def unknown_share(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> float:
    """Return the share of tokens of ``texts`` that the tokenizer turns into its unknown token."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    rows = [text for text in islice(texts, _SAMPLE) if text]
    if unknown is None or not rows:
        return 0.0
    ids = tokenizer(rows, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    total = sum(map(len, ids))
    return sum(row.count(unknown) for row in ids) / total if total else 0.0


def check_vocabulary(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], *, limit: float = UNKNOWN_LIMIT
) -> float:
    """Return the share of unknown tokens (of the first 2,000 texts) if it is within ``limit``.

    Raises:
        TrainingError: It is above; the message has the figure and an example.
    """
    rows = list(islice(texts, _SAMPLE))
    share = unknown_share(tokenizer, rows)
    if share > limit:
        worst = max(rows, key=lambda text: unknown_share(tokenizer, [text]))
        raise TrainingError(
            f"The model's tokenizer knows too little of this data: {share:.1%} of its tokens are unknown to it, as in "
            f'"{printable(worst, 40)}".\n'
            f"At most {limit:.1%} are accepted, since what is unknown cannot be learnt from.\n"
            "Choose a model of the data's language (me5-small reads Chinese), or raise max_unknown to go on anyway."
        )
    return share
