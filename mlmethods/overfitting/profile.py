"""The test error of a classifier against the share of wrong training labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.overfitting._bootstrap import Resamples, interval
from mlmethods.overfitting._decide import share_of_chance
from mlmethods.overfitting._learners import Learner
from mlmethods.overfitting._samples import (
    LEARNER,
    NOISE,
    TEST,
    VERDICT,
    check_rows,
    count_test_rows,
    level_key,
    rows_of,
    stream,
)
from mlmethods.overfitting.noise import check_rate, label_transition, replace_codes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from mlmethods.overfitting.verdict import Verdict

__all__ = ["NoiseProfile", "noise_profile", "profile_of_study"]

_N_BOOTSTRAP = 2000
_LEVEL = 0.95


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseProfile:
    """What :func:`noise_profile` measures.

    Attributes
    ----------
    tau : float
        The area between the error and Bayes over that between guessing and Bayes: 0
        where noise changes nothing, 1 where it takes all. NaN where the learner is
        near guessing without noise.
    tau_ci : tuple of float
        Its 95 % interval over the draws of noise; NaN for one draw.
    table : DataFrame
        One row a level and draw: noise, draw, risk, train_error, interpolates, and the
        lines of reference nearest, bayes and chance.
    """

    tau: float
    tau_ci: tuple[float, float]
    table: pd.DataFrame

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the profile with its lines of reference.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from mlmethods.overfitting.plots import plot_noise_profile

        return plot_noise_profile(self, ax=ax)


def noise_profile(
    learner: Any,
    X: ArrayLike,
    y: ArrayLike,
    levels: Sequence[float],
    *,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    n_draws: int = 5,
    kind: str = "symmetric",
    matrix: ArrayLike | None = None,
    bayes: float | None = None,
    test_size: float | None = None,
    backend: str | Backend = "auto",
    random_state: Any = None,
) -> NoiseProfile:
    """Measure the error on clean labels at several shares of wrong training labels.

    Parameters
    ----------
    learner : Kernel, or object with fit and predict
        A classifier, cloned for every fit. A kernel, or a
        :class:`~mlmethods.kernels.KernelRidge`, is fitted to one column a class.
    X : array-like or DataFrame of shape (n, d)
        Training rows.
    y : array-like of shape (n,)
        Labels, taken as correct.
    levels : sequence of float
        Shares of training labels to replace, at least two, in [0, 1 - 1/K].
    X_test, y_test : array-like, optional
        Rows with correct labels; by default they are held out from `X` and `y`.
    n_draws : int, default=5
        Draws of the noise, with the rows fixed; the level 0 is fitted as often, since
        learners may be random.
    kind : {"symmetric", "uniform", "pair", "matrix"}, default="symmetric"
        How labels are replaced; see :func:`add_label_noise`.
    matrix : array-like of shape (K, K), optional
        For ``kind="matrix"``.
    bayes : float, optional
        The least possible error on clean labels; by default the error of the learner
        at level 0, so that its bias is not counted as a cost of noise.
    test_size : float or int, optional
        Share or number of rows held out where there is no `X_test`; by default a
        fifth, 5000 at most.
    backend : str or Backend, default="auto"
        What computes where `learner` is a kernel.
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        Who draws.

    Returns
    -------
    NoiseProfile

    Raises
    ------
    InvalidInputError
        If an argument is outside its range, or the labels are of one class.

    Notes
    -----
    The error is on correct test labels. On labels as noisy as those of training it
    would be larger: for a share p of flipped labels of two classes a learner that errs
    with probability e on correct labels errs with ``e + p - 2 e p`` on flipped ones.

    The line `nearest` is the error of the nearest neighbor on the same labels; without
    an error at level 0 it is about p. It is missing where the rows are not numbers.
    The line `chance` is the error of always naming the commonest class.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from mlmethods.overfitting import noise_profile
    >>> X, digit = load_digits(return_X_y=True)
    >>> profile = noise_profile(
    ...     KNeighborsClassifier(1), X, digit >= 5, [0, 0.2, 0.4], random_state=0
    ... )
    >>> bool(0.4 < profile.tau < 0.55)
    True
    """
    base = seed_sequence(random_state)
    n_draws = check_integer("n_draws", n_draws, minimum=1)
    X, labels, X_test, y_test = _split(X, y, X_test, y_test, test_size, base)
    classes, counts = np.unique(np.r_[labels, y_test], return_counts=True)
    K = len(classes)
    if K < 2 or (labels == labels[0]).all():
        raise InvalidInputError("y must hold at least two classes, got one")
    rates = _levels(levels, K, bayes)
    transition = label_transition(kind, matrix, K)
    codes = np.searchsorted(classes, labels)
    keys = [(*level_key(rate), draw) for rate in rates for draw in range(n_draws)]
    noisy = [
        classes[
            replace_codes(
                codes,
                round(rates[i // n_draws] * len(codes)),
                transition,
                stream(base, NOISE, *key),
            )
        ]
        for i, key in enumerate(keys)
    ]
    machine = Learner(learner, "classification", classes, backend)
    fits = machine.fit(X, noisy, X_test, [stream(base, LEARNER, *key) for key in keys])
    chance = 1 - float(counts.max()) / float(counts.sum())
    table = _table(rates, n_draws, fits.train, fits.test, noisy, y_test, chance)
    nearest = _nearest(X, X_test)
    if nearest is not None:
        table["nearest"] = [float(np.mean(one[nearest] != y_test)) for one in noisy]
    clean = table.loc[table["noise"] == 0, "risk"].mean()
    table["bayes"] = clean if bayes is None else bayes
    rng = np.random.default_rng(stream(base, VERDICT))
    tau, ci = _tau(table, rates, bayes, chance, rng)
    return NoiseProfile(tau=tau, tau_ci=ci, table=table)


def profile_of_study(table: pd.DataFrame, verdict: Verdict) -> NoiseProfile:
    """Return the profile at the largest size of a study of a classifier."""
    largest = table[table["n"] == table["n"].max()].copy()
    clean = largest.loc[largest["noise"] == 0, "risk"].mean()
    bayes = verdict.evidence.get("bayes")
    largest["bayes"] = clean if isinstance(bayes, str) or bayes is None else bayes
    largest["chance"] = verdict.evidence["chance"]
    return NoiseProfile(
        tau=verdict.tau, tau_ci=verdict.tau_ci, table=largest.dropna(axis=1)
    )


def _split(
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    test_size: float | None,
    base: np.random.SeedSequence,
) -> tuple[Any, NDArray, Any, NDArray]:
    rows, labels = check_rows(X, y)
    if (X_test is None) != (y_test is None):
        raise InvalidInputError("X_test and y_test must be given together")
    if X_test is not None:
        if test_size is not None:
            raise InvalidInputError("test_size must be None where X_test is given")
        return rows, labels, *check_rows(X_test, y_test)
    N = len(labels)
    count = count_test_rows(test_size, N)
    order = np.random.default_rng(stream(base, TEST)).permutation(N)
    train, test = np.sort(order[count:]), np.sort(order[:count])
    return rows_of(rows, train), labels[train], rows_of(rows, test), labels[test]


def _levels(levels: Sequence[float], K: int, bayes: float | None) -> list[float]:
    rates = [check_rate(float(rate), K) for rate in levels]
    if len(rates) < 2 or len(set(rates)) < len(rates):
        raise InvalidInputError(
            f"levels must hold at least two different shares, got {list(levels)}"
        )
    if bayes is None and 0 not in rates:
        raise InvalidInputError("levels must include 0 unless bayes is given")
    if bayes is not None:
        check_real("bayes", bayes, minimum=0, maximum=1)
    return sorted(rates)


def _table(
    rates: list[float],
    n_draws: int,
    train: NDArray,
    test: NDArray,
    noisy: list[NDArray],
    y_test: NDArray,
    chance: float,
) -> pd.DataFrame:
    import pandas as pd

    errors = [float(np.mean(p != t)) for p, t in zip(train, noisy, strict=True)]
    return pd.DataFrame(
        {
            "noise": np.repeat(rates, n_draws),
            "draw": np.tile(np.arange(n_draws), len(rates)),
            "risk": np.mean(test != y_test, axis=1),
            "train_error": errors,
            "interpolates": np.equal(errors, 0),
            "chance": chance,
        }
    )


def _nearest(X: Any, X_test: Any) -> NDArray | None:
    """Return which training row is nearest to each test row; None without numbers."""
    from sklearn.neighbors import NearestNeighbors

    try:
        train, test = (np.asarray(rows, dtype=np.float64) for rows in (X, X_test))
    except (TypeError, ValueError):
        return None
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        return None
    search = NearestNeighbors(n_neighbors=1).fit(train)
    return search.kneighbors(test, return_distance=False)[:, 0]


def _tau(
    table: pd.DataFrame,
    rates: list[float],
    bayes: float | None,
    chance: float,
    rng: np.random.Generator,
) -> tuple[float, tuple[float, float]]:
    by_draw = table["risk"].to_numpy().reshape(len(rates), -1).T
    noise = np.asarray(rates)
    tau = share_of_chance(by_draw.mean(axis=0), noise, bayes, chance)
    if len(by_draw) < 2:
        return float(tau), (np.nan, np.nan)
    resamples = Resamples(len(by_draw), _N_BOOTSTRAP, _LEVEL, rng)
    drawn = share_of_chance(resamples.means(by_draw), noise, bayes, chance)
    low, high = interval(resamples.spread(tau, drawn), _LEVEL)
    return float(tau), (float(low), float(high))
