"""The metrics on worked examples, and laws that they keep."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe

_PAIRS = 1000
_CLASSES = 5
_LENGTH = 30


class _Example(NamedTuple):
    truth: list[str]
    pred: list[str]
    edit: float
    aer: float


_TRUTH = ["reach", "idle", "stabilize"]
_EXAMPLES = (
    _Example(_TRUTH, ["reach", "transport"], 100 / 3, 2 / 3),
    _Example(_TRUTH, ["reach", "idle"], 200 / 3, 1 / 3),
    _Example(_TRUTH, ["reach", "idle", "stabilize", "transport"], 75.0, 1 / 3),
    _Example(_TRUTH, [], 0.0, 1.0),
)


@recipe(
    "motion-metrics",
    title="Edit score and action error rate",
    claim="the metrics are those of the published definitions",
    source="Kaku et al.: StrokeRehab, NeurIPS Datasets and Benchmarks (2022)",
    criterion=(
        "four worked examples exactly; on 1,000 random pairs of sequences the edit score "
        "lies in [0, 100] and is symmetric, the distance is a metric, missed and extra "
        "actions account for the difference of lengths, and hits, substitutions and "
        "missed actions for the length of the truth"
    ),
)
def definitions(context: RecipeContext) -> None:
    """Compute worked examples, and check laws on random sequences of five classes."""
    from mlmethods.motion.metrics import action_error_rate, edit_score

    context.dtype = "float64"
    for example in _EXAMPLES:
        found = (
            edit_score(example.truth, example.pred),
            action_error_rate(example.truth, example.pred),
        )
        expected = (example.edit, example.aer)
        context.check(
            claim=f"edit score and error rate of {', '.join(example.pred) or 'nothing'}",
            published=f"{example.edit:.2f}, {example.aer:.3f}",
            ours=f"{found[0]:.2f}, {found[1]:.3f}",
            tolerance_text="exact",
            passed=bool(np.allclose(found, expected, rtol=0, atol=1e-12)),
        )
    broken = _broken_laws(np.random.default_rng(context.seed))
    for law, count in broken.items():
        context.check(
            claim=law,
            published=f"holds for {_PAIRS:,} pairs",
            ours=f"{count} exceptions",
            tolerance_text="none",
            passed=count == 0,
        )


def _broken_laws(rng: np.random.Generator) -> dict[str, int]:
    """Return how many of the random pairs break each law."""
    from mlmethods.motion.metrics import align_counts, edit_score, levenshtein

    broken = {
        "edit score in [0, 100] and symmetric": 0,
        "distance: zero for equals alone, triangle inequality": 0,
        "missed less extra is the difference of lengths": 0,
        "hits, substitutions and missed actions are the truth": 0,
    }
    names = list(broken)
    for _ in range(_PAIRS):
        a, b, c = (_sequence(rng) for _ in range(3))
        score, back = edit_score(a, b), edit_score(b, a)
        broken[names[0]] += not (0 <= score <= 100 and score == back)
        distance = levenshtein(a, b)
        detour = levenshtein(a, c) + levenshtein(c, b)
        broken[names[1]] += (distance == 0) != (a == b) or distance > detour
        found = align_counts(a, b)
        broken[names[2]] += found.missed - found.extra != len(a) - len(b)
        broken[names[3]] += found.hits + found.sub + found.missed != len(a)
    return broken


def _sequence(rng: np.random.Generator) -> list[int]:
    """Return a sequence of classes without equal neighbors."""
    steps = rng.integers(1, _CLASSES, int(rng.integers(1, _LENGTH)))
    return (np.cumsum(steps) % _CLASSES).tolist()
