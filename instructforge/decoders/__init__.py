"""Decoders: from what a model said to an answer in the task's own terms. A decoder undoes its template.

A decoder gives one prediction for each output and drops none. What it cannot read becomes a prediction
without an answer, with the reason and the raw output. An instruction of an inverted template ("write a
question that this answers") is answered by a text, whatever the task's target is.

A decoder's options are its attributes; ``options_of`` states them for the contract, ``configured`` sets them.
"""

from instructforge.decoders.base import configured, options_of
from instructforge.decoders.choice import ChoiceDecoder, ChoiceLikelihoodDecoder, ChoiceScoresDecoder
from instructforge.decoders.ranking import RankingDecoder, RankingLikelihoodDecoder, RankingTextDecoder
from instructforge.decoders.span import SpanDecoder, SpanTextDecoder
from instructforge.decoders.tags import TagsDecoder, TagsTextDecoder
from instructforge.decoders.text import TextDecoder, per_text

__all__ = [
    "ChoiceDecoder",
    "ChoiceLikelihoodDecoder",
    "ChoiceScoresDecoder",
    "RankingDecoder",
    "RankingLikelihoodDecoder",
    "RankingTextDecoder",
    "SpanDecoder",
    "SpanTextDecoder",
    "TagsDecoder",
    "TagsTextDecoder",
    "TextDecoder",
    "configured",
    "options_of",
    "per_text",
]
