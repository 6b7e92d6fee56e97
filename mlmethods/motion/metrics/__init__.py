"""Metrics of recognized actions: sequences, spans, counts, and their intervals.

Labels of a recording are :class:`mlmethods.motion.Segments`, labels of frames, or
sequences of actions, as ids or names; the id -1 means no label.
"""

from mlmethods.motion.metrics.alignment import (
    AlignCounts,
    align_counts,
    align_pairs,
    substitution_table,
)
from mlmethods.motion.metrics.bootstrap import bootstrap_ci
from mlmethods.motion.metrics.counts import (
    Agreement,
    bland_altman,
    count_error,
    count_table,
    icc,
    rates_from_counts,
)
from mlmethods.motion.metrics.evaluation import EvaluationResult, evaluate
from mlmethods.motion.metrics.framewise import (
    boundary_scores,
    f1_at,
    f1_counts,
    framewise_accuracy,
)
from mlmethods.motion.metrics.published import primseq_counts
from mlmethods.motion.metrics.sequences import (
    action_error_rate,
    edit_score,
    levenshtein,
    levenshtein_pairs,
)

__all__ = [
    "Agreement",
    "AlignCounts",
    "EvaluationResult",
    "action_error_rate",
    "align_counts",
    "align_pairs",
    "bland_altman",
    "bootstrap_ci",
    "boundary_scores",
    "count_error",
    "count_table",
    "edit_score",
    "evaluate",
    "f1_at",
    "f1_counts",
    "framewise_accuracy",
    "icc",
    "levenshtein",
    "levenshtein_pairs",
    "primseq_counts",
    "rates_from_counts",
    "substitution_table",
]
