"""Metrics: how right the predictions are. Figures lie between 0 and 1.

Each metric works in two steps: ``prepare`` scores every row once, ``reduce`` sums up any selection of rows,
so that a bootstrap of a thousand resamples costs a thousand sums. A prediction that could not be decoded
is wrong, whatever the metric.
"""

from instructforge.metrics.base import language_of, tokens
from instructforge.metrics.labels import Accuracy, MacroF1, MicroF1
from instructforge.metrics.ranking import Hit, MeanReciprocalRank, Ndcg, ndcg_of
from instructforge.metrics.span import SquadExactMatch, SquadF1, cmrc_exact, cmrc_f1, squad_exact, squad_f1
from instructforge.metrics.tags import EntityF1
from instructforge.metrics.text import ExactMatch, TokenF1

__all__ = [
    "Accuracy",
    "EntityF1",
    "ExactMatch",
    "Hit",
    "MacroF1",
    "MeanReciprocalRank",
    "MicroF1",
    "Ndcg",
    "SquadExactMatch",
    "SquadF1",
    "TokenF1",
    "cmrc_exact",
    "cmrc_f1",
    "language_of",
    "ndcg_of",
    "squad_exact",
    "squad_f1",
    "tokens",
]
