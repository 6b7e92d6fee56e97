"""Checks of the von Mises-Fisher distribution and of norm clipping.

Draws are judged by exact laws, with fixed seeds and bounds of five standard errors.
"""

from __future__ import annotations

import numpy as np

from mlmethods.interfaces import NDArray, SampleStatus
from mlmethods.testing.trials import Trial, check, require

__all__: list[str] = []

_DRAWS = 4000


def _mean_cosine(p: int, kappa: float) -> float:
    """Return ``E[mu.y]``, the ratio of Bessel functions I_{p/2} / I_{p/2-1}."""
    if kappa > 100 * p:
        return 1 - (p - 1) / (2 * kappa) + (p - 1) * (p - 3) / (8 * kappa**2)
    ratio = 0.0
    # The recurrence of the ratios is stable downwards, from an order above kappa.
    for order in range(int(kappa) + 100, -1, -1):
        ratio = kappa / (p + 2 * order + kappa * ratio)
    return ratio


def _distance_on_the_sphere(w: NDArray, kappa: float) -> float:
    """Return the Kolmogorov-Smirnov distance of cosines from the law with p = 3."""
    # In three dimensions the distribution function of mu.y is elementary.
    law = np.expm1(kappa * (np.sort(w) + 1)) / np.expm1(2 * kappa)
    steps = np.arange(len(w)) / len(w)
    return float(np.maximum(law - steps, steps + 1 / len(w) - law).max())


def _first_axis(lanes: int, p: int) -> NDArray:
    mu = np.zeros((lanes, p))
    mu[:, 0] = 1.0
    return mu


@check("privacy.vmf_sample")
def draws_unit_vectors_deterministically(trial: Trial) -> None:
    mu, kappa = _first_axis(64, 5), np.full(64, 3.0)
    first = trial.run(trial.key(1), mu, kappa)
    require(first.shape == (64, 5), f"64 lanes in 5 dimensions gave {first.shape}")
    norms = np.linalg.norm(first.astype(np.float64), axis=-1)
    require(np.abs(norms - 1).max() < 1e-6, "a draw is not a unit vector to 1e-6")
    again = trial.run(trial.key(1), mu, kappa)
    require(np.array_equal(first, again), "the same key gave two different draws")
    other = trial.run(trial.key(2), mu, kappa)
    require(
        not np.isclose(first, other).any(axis=-1).all(), "two keys gave equal draws"
    )
    require(len(np.unique(first[:, 0])) > 32, "lanes of one call repeat each other")


@check("privacy.vmf_sample")
def keeps_leading_dimensions(trial: Trial) -> None:
    mu = trial.rng().normal(size=(2, 3, 4))
    mu /= np.linalg.norm(mu, axis=-1, keepdims=True)
    draws = trial.run(trial.key(), mu, np.full((2, 3), 1e6))
    require(draws.shape == (2, 3, 4), f"mu of shape (2, 3, 4) gave {draws.shape}")
    # At this concentration a draw is within a few 1e-3 of its mean direction.
    trial.close(draws, mu, "at kappa=1e6 the draw against mu", rtol=1e-2)


@check("privacy.vmf_sample")
def has_the_exact_moments(trial: Trial) -> None:
    for p in (2, 3, 10):
        for kappa in (0.0, 0.5, 20.0, 1e4):
            where = f"with p={p}, kappa={kappa:g}"
            draws = trial.run(
                trial.key(p), _first_axis(_DRAWS, p), np.full(_DRAWS, kappa)
            ).astype(np.float64)
            require(np.isfinite(draws).all(), f"{where} a draw is not finite")
            # 1 - w^2 from the tangent, since 1 - w cancels where kappa is large.
            tangent = draws[:, 1:]
            squares = (tangent**2).sum(axis=-1)
            mean = _mean_cosine(p, kappa)
            expected = (p - 1) * mean / kappa if kappa else 1 - 1 / p
            error = squares.std() / np.sqrt(_DRAWS)
            require(
                abs(squares.mean() - expected) < 5 * error,
                f"{where} the mean of 1 - (mu.y)^2 is {squares.mean():.4g}, expected "
                f"{expected:.4g} +- {error:.2g}",
            )
            cosine = draws[:, 0]
            error = np.sqrt(max(1 - expected - mean**2, 1e-12) / _DRAWS)
            require(
                abs(cosine.mean() - mean) < 5 * error + 1e-6,
                f"{where} the mean of mu.y is {cosine.mean():.5g}, expected "
                f"{mean:.5g} +- {error:.2g}",
            )
            error = np.sqrt(expected / (p - 1) / _DRAWS)
            require(
                np.abs(tangent.mean(axis=0)).max() < 5 * error,
                f"{where} the draws lean to one side of mu",
            )


@check("privacy.vmf_sample")
def has_the_exact_law_on_the_sphere(trial: Trial) -> None:
    for kappa in (0.5, 20.0):
        w = trial.run(trial.key(7), _first_axis(_DRAWS, 3), np.full(_DRAWS, kappa))[
            :, 0
        ].astype(np.float64)
        distance = _distance_on_the_sphere(w, kappa)
        require(
            distance < 2.2 / np.sqrt(_DRAWS),
            f"with p=3, kappa={kappa:g} the draws are {distance:.3g} from the exact "
            "distribution function (Kolmogorov-Smirnov)",
        )


@check("privacy.vmf_sample")
def works_in_many_dimensions(trial: Trial) -> None:
    p, lanes = 10_000, 8
    for kappa in (0.0, 1e4, 1e8):
        draws = trial.run(trial.key(3), _first_axis(lanes, p), np.full(lanes, kappa))
        norms = np.linalg.norm(draws.astype(np.float64), axis=-1)
        where = f"with p={p}, kappa={kappa:g}"
        require(np.abs(norms - 1).max() < 1e-6, f"{where} |y| is not 1 to 1e-6")
        mean = _mean_cosine(p, kappa)
        variance = 1 - mean**2 - ((p - 1) * mean / kappa if kappa else 1 - 1 / p)
        error = np.sqrt(max(variance, 0.0) / lanes)
        require(
            abs(draws[:, 0].mean() - mean) < 6 * error + 1e-6,
            f"{where} the mean of mu.y is {draws[:, 0].mean():.6g}, expected {mean:.6g}",
        )


@check("privacy.vmf_sample")
def reports_the_status_of_each_lane(trial: Trial) -> None:
    kappa = np.array([1.0, -1.0, np.nan, np.inf, 0.0])
    op = "privacy.vmf_sample_with_status"
    result = trial.run(trial.key(), _first_axis(5, 4), kappa, op=op)
    bad = SampleStatus.INVALID_PARAMETERS
    expected = [SampleStatus.OK, bad, bad, bad, SampleStatus.OK]
    statuses = np.asarray(result.status).tolist()
    require(
        statuses == expected,
        f"kappa={kappa} gave the statuses {statuses}, not {expected}",
    )
    lanes = np.isnan(result.value).all(axis=-1).tolist()
    require(lanes == [False, True, True, True, False], "invalid lanes must be NaN")
    require(np.isfinite(result.value[[0, 4]]).all(), "a valid lane is not finite")
    require(np.shape(result.rounds) == (), "rounds must be one number")
    same = trial.run(trial.key(), _first_axis(5, 4), kappa)
    require(
        np.array_equal(result.value, same, equal_nan=True),
        "vmf_sample and vmf_sample_with_status draw differently from one key",
    )


@check("privacy.vmf_cosine")
def has_the_exact_law_of_a_cosine(trial: Trial) -> None:
    for kappa in (0.5, 20.0):
        lanes = np.full(_DRAWS, kappa)
        w = trial.run(trial.key(7), 3, lanes, (_DRAWS,)).astype(np.float64)
        require(w.shape == (_DRAWS,), f"shape=({_DRAWS},) gave {w.shape}")
        distance = _distance_on_the_sphere(w, kappa)
        require(
            distance < 2.2 / np.sqrt(_DRAWS),
            f"with p=3, kappa={kappa:g} the cosines are {distance:.3g} from the exact "
            "distribution function (Kolmogorov-Smirnov)",
        )


@check("privacy.vmf_cosine")
def has_the_exact_mean_in_many_dimensions(trial: Trial) -> None:
    for p, kappa in ((10, 20.0), (10_000, 1e4)):
        w = trial.run(trial.key(p), p, np.full((_DRAWS, 1), kappa), (_DRAWS, 1))
        mean = _mean_cosine(p, kappa)
        variance = 1 - mean**2 - (p - 1) * mean / kappa
        error = np.sqrt(variance / _DRAWS)
        require(
            abs(w.astype(np.float64).mean() - mean) < 5 * error,
            f"with p={p}, kappa={kappa:g} the mean cosine is {w.mean():.6g}, expected "
            f"{mean:.6g} +- {error:.2g}",
        )


@check("privacy.vmf_cosine")
def follows_its_key_and_marks_invalid_lanes(trial: Trial) -> None:
    kappa = np.array([1.0, -1.0, np.nan, np.inf, 0.0])
    first = trial.run(trial.key(1), 4, kappa, (5,))
    lanes = np.isnan(first).tolist()
    require(
        lanes == [False, True, True, True, False],
        f"kappa={kappa} gave NaN in the lanes {lanes}",
    )
    again = trial.run(trial.key(1), 4, kappa, (5,))
    require(np.array_equal(first, again, equal_nan=True), "a key gave two draws")
    other = trial.run(trial.key(2), 4, kappa, (5,))
    require(first[0] != other[0], "two keys gave equal cosines")


@check("privacy.mean_resultant")
def matches_the_oracle_at_every_dimension(trial: Trial) -> None:
    kappa = np.array([0.0, 2.0**-10, 1.0, 37.0, 1e3, 1e6, 1e8])
    for p in (2, 3, 10, 1001, 10**6, 10**7):
        trial.compare(p, kappa, label=f"with p={p} the mean resultant")


@check("privacy.mean_resultant")
def matches_the_closed_form_on_the_sphere(trial: Trial) -> None:
    kappa = np.array([0.5, 2.0, 40.0])
    expected = 1 / np.tanh(kappa) - 1 / kappa
    trial.close(trial.run(3, kappa), expected, "with p=3 the mean resultant")


@check("privacy.log_norm_ratio")
def matches_the_oracle_for_far_and_near_concentrations(trial: Trial) -> None:
    first = np.array([0.0, 1.0, 500.0, 1e6, 1.0])
    second = np.array([2.0**-10, 1.5, 500.25, 1e3, 1.0])
    for p in (2, 3, 1001, 10**7):
        trial.compare(p, first, second, label=f"with p={p} the log ratio")


@check("privacy.log_norm_ratio")
def loses_no_digits_of_a_small_difference(trial: Trial) -> None:
    first, second = np.array([2.0]), np.array([2.0 + 2.0**-12])
    # On the sphere C is proportional to k / sinh(k); here by its derivative.
    middle = (first + second) / 2
    expected = (1 / np.tanh(middle) - 1 / middle) * (second - first)
    trial.close(
        trial.run(3, first, second), expected, "with p=3 the log ratio", rtol=1e-6
    )


@check("privacy.vmf_log_normalizer")
def matches_the_oracle_from_small_to_large(trial: Trial) -> None:
    kappa = np.array([0.0, 2.0**-10, 1.0, 37.0, 1e3, 1e6, 1e8])
    for p in (2, 3, 10, 1001, 10**6, 10**7):
        trial.compare(p, kappa, label=f"with p={p} the log normalizer")


@check("privacy.vmf_log_normalizer")
def matches_closed_forms(trial: Trial) -> None:
    kappa = np.array([0.5, 2.0, 40.0])
    sphere = np.log(kappa) - np.log(4 * np.pi * np.sinh(kappa))
    trial.close(trial.run(3, kappa), sphere, "with p=3 the log normalizer")
    circle = -np.log(2 * np.pi * np.i0(kappa))
    trial.close(trial.run(2, kappa), circle, "with p=2 the log normalizer")
    uniform = trial.run(3, np.zeros(1))
    trial.close(uniform, [-np.log(4 * np.pi)], "with p=3, kappa=0 the log normalizer")


@check("privacy.clip_by_norm")
def clips_rows_and_returns_their_norms(trial: Trial) -> None:
    g = np.array([[3.0, 4.0], [0.0, 0.0], [0.25, 0.0], [-6.0, 8.0]])
    clipped, norms = trial.run(g, 2.0)
    trial.close(norms, [5.0, 0.0, 0.25, 10.0], "the norms")
    expected = [[1.2, 1.6], [0.0, 0.0], [0.25, 0.0], [-1.2, 1.6]]
    trial.close(clipped, expected, "the clipped rows")
    require((clipped[1] == 0).all(), "a row of zeros did not stay zero")
    require(np.array_equal(clipped[2], g[2]), "a row within the bound was changed")


@check("privacy.clip_by_norm")
def neither_overflows_nor_underflows(trial: Trial) -> None:
    scales = np.array([1e25, 1e-25])
    clipped, norms = trial.run(scales[:, None] * np.ones((2, 16)), 1.0)
    trial.close(norms / scales, [4.0, 4.0], "the norms of huge and tiny rows, scaled")
    trial.close(clipped[0], np.full(16, 0.25), "a clipped row of 1e25")
