"""Lower bounds on epsilon from the scores of canaries, by JAX-Privacy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError

__all__ = ["lower_bound"]

_METHODS = ("clopper_pearson", "one_run", "gdp")
_STRATEGIES = ("split", "explicit", "bonferroni")


def lower_bound(
    method: str,
    in_scores: Any,
    out_scores: Any,
    *,
    significance: float,
    delta: float = 0.0,
    strategy: str = "split",
    threshold: float | None = None,
    seed: int = 0,
) -> float:
    """Return a lower bound on the epsilon of what produced these scores.

    If the bound exceeds the true epsilon at `delta`, an event of probability at most
    `significance` has occurred. Neighbors are the two worlds of a canary, whatever the
    caller made them: the adjacency and the unit of the bound are those of the worlds.

    Parameters
    ----------
    method : {"clopper_pearson", "one_run", "gdp"}
        Clopper-Pearson intervals of both error rates, for independent scores; the
        canaries of one run (Steinke et al.), where each was in or out by a fair coin of
        its own; or the rates of a Gaussian mechanism, which assumes a Gaussian
        trade-off.
    in_scores, out_scores : array of shape (n,) and (m,)
        Scores of the canaries that were in, and of those that were out; higher says in.
    significance : float
        In (0, 0.5).
    delta : float
        In [0, 1); above 0 for ``"one_run"`` and ``"gdp"``.
    strategy : {"split", "explicit", "bonferroni"}
        How a threshold is chosen: on one half of the scores, for the bound on the other
        half; `threshold`; or the best of all, with the significance shared over the
        corners of the convex hull of the error rates. The number of corners depends on
        the scores, so that the last is not exact. ``"gdp"`` knows only that one.
    threshold : float, optional
        For ``"explicit"``; chosen without a look at the scores.
    seed : int
        Of the split.

    Returns
    -------
    float
        At least 0; infinite only where no epsilon fits.

    Raises
    ------
    InvalidInputError
        If a name is unknown, a number is out of its range, the scores are not finite,
        a split would leave a side without scores, or `threshold` is given without
        ``"explicit"``.

    References
    ----------
    M. Nasr, S. Song, A. Thakurta, N. Papernot, N. Carlini, "Adversary instantiation:
    lower bounds for differentially private machine learning" (2021), arXiv:2101.04535.

    T. Steinke, M. Nasr, M. Jagielski, "Privacy auditing with one (1) training run"
    (2023), arXiv:2305.08846.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_jax.privacy.audit import lower_bound
    >>> rng = np.random.default_rng(0)
    >>> inside, outside = rng.normal(1, 1, 5000), rng.normal(-1, 1, 5000)
    >>> bound = lower_bound(
    ...     "clopper_pearson", inside, outside, significance=0.05, delta=1e-5
    ... )
    >>> 2.0 < bound < 10.0  # the epsilon of this pair is 9.997
    True
    """
    from jax_privacy import auditing

    _check(method, significance, delta, strategy, threshold)
    inside, outside = _scores("in_scores", in_scores), _scores("out_scores", out_scores)
    if strategy == "split" and method != "gdp" and min(len(inside), len(outside)) < 2:
        raise InvalidInputError(
            "in_scores and out_scores must have at least two scores each to be split, "
            f"got {len(inside)} and {len(outside)}"
        )
    auditor = auditing.CanaryScoreAuditor(inside, outside)
    strategies = {
        "split": lambda: auditing.Split(seed=int(seed)),
        "explicit": lambda: auditing.Explicit(threshold),
        "bonferroni": auditing.Bonferroni,
    }
    chosen = strategies[strategy]()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if method == "clopper_pearson":
            # in one direction the error rates bound the same pair of neighbors that
            # they bound in the other, with the same two intervals
            bound = auditor.epsilon_clopper_pearson(
                significance, delta, one_sided=False, threshold_strategy=chosen
            )
        elif method == "one_run":
            bound = auditor.epsilon_one_run(
                significance, delta, threshold_strategy=chosen
            )
        else:
            bound = auditor.epsilon_from_gdp(significance, delta)
    return max(0.0, float(bound))


def _check(
    method: str,
    significance: float,
    delta: float,
    strategy: str,
    threshold: float | None,
) -> None:
    if method not in _METHODS:
        raise InvalidInputError(
            f"method must be one of {', '.join(_METHODS)}, got {method!r}"
        )
    if strategy not in _STRATEGIES:
        raise InvalidInputError(
            f"strategy must be one of {', '.join(_STRATEGIES)}, got {strategy!r}"
        )
    if not 0 < significance < 0.5:
        raise InvalidInputError(f"significance must be in (0, 0.5), got {significance}")
    if not 0 <= delta < 1 or (delta == 0 and method != "clopper_pearson"):
        raise InvalidInputError(
            f"delta must be in [0, 1), and above 0 for one_run and gdp, got {delta}"
        )
    if (threshold is None) == (strategy == "explicit"):
        raise InvalidInputError(
            "threshold must be given with strategy='explicit', and only then, got "
            f"{threshold!r} with {strategy!r}"
        )


def _scores(name: str, values: Any) -> np.ndarray:
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise InvalidInputError(
            f"{name} must be a finite array of shape (n,) with n >= 1, got shape "
            f"{scores.shape}"
        )
    return scores
