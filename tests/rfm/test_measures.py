"""The measures of a feature matrix, against their definitions written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import circulant

from mlmethods.errors import InvalidInputError
from mlmethods.rfm.measures import agop_alignment, circulant_deviation, feature_mask


def random_psd(d: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((d, d))
    return root @ root.T


@pytest.mark.parametrize("p", [1, 2, 5, 8])
def test_the_deviation_is_the_spread_along_wrapped_diagonals(p: int) -> None:
    M = random_psd(2 * p, p)
    block = M[p:, :p]
    spread = 0.0
    for shift in range(p):
        diagonal = [block[i, (i + shift) % p] for i in range(p)]
        mean = sum(diagonal) / p
        spread += sum((entry - mean) ** 2 for entry in diagonal)
    expected = spread / sum(entry**2 for row in block for entry in row)
    assert circulant_deviation(M, p) == pytest.approx(expected, abs=1e-12)
    assert circulant_deviation(block, p) == circulant_deviation(M, p)


def test_the_deviation_looks_at_one_block_only() -> None:
    p = 5
    M = random_psd(2 * p, 0)
    M[p:, :p] = circulant(np.arange(1.0, p + 1))
    assert circulant_deviation(M, p) == pytest.approx(0, abs=1e-15)
    assert circulant_deviation(-3 * M, p) == pytest.approx(0, abs=1e-15)
    # Turned upside down, a circulant with mean 0 lies outside: p is odd.
    shifted = circulant(np.arange(p) - (p - 1) / 2)[::-1]
    assert circulant_deviation(shifted, p) == pytest.approx(1)
    assert math.isnan(circulant_deviation(np.eye(2 * p), p))


def test_the_alignment_is_the_cosine() -> None:
    A, B = random_psd(4, 0), random_psd(4, 1)
    expected = np.trace(A @ B) / math.sqrt(np.trace(A @ A) * np.trace(B @ B))
    assert agop_alignment(A, B) == pytest.approx(expected)
    assert agop_alignment(B, A) == pytest.approx(expected)
    assert agop_alignment(A, 5 * A) == pytest.approx(1)
    assert agop_alignment(A, -A) == pytest.approx(-1)
    assert agop_alignment([1, 0], [0, 2]) == 0
    assert math.isnan(agop_alignment(A, np.zeros_like(A)))


@pytest.mark.parametrize("d", [1, 7, 20])
@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.9, 0.999])
def test_a_quantile_keeps_a_count_of_the_largest(d: int, quantile: float) -> None:
    M = random_psd(d, d)
    mask = feature_mask(M, quantile=quantile)
    assert mask.dtype == bool
    assert mask.sum() == max(1, round((1 - quantile) * d))
    kept, left = np.diagonal(M)[mask], np.diagonal(M)[~mask]
    assert not left.size or kept.min() > left.max()
    np.testing.assert_array_equal(mask, feature_mask(np.diagonal(M), quantile=quantile))


def test_of_equal_entries_the_first_are_kept() -> None:
    mask = feature_mask(np.zeros(6), quantile=0.5)
    np.testing.assert_array_equal(mask, [True] * 3 + [False] * 3)


def test_each_channel_has_its_own_scale() -> None:
    channels = np.array([[0.0, 5.0, 5.1, 100.0], [20, 20, 20, 20], [0, 1, 500, 1000]])
    mask = feature_mask(channels.ravel(), shape=(3, 2, 2))
    assert mask.shape == (3, 2, 2)
    # 5 is 0.05 of the way, which it would have to exceed.
    expected = [[False, False, True, True], [False] * 4, [False, False, True, True]]
    np.testing.assert_array_equal(mask.reshape(3, 4), expected)
    together = feature_mask(channels.ravel(), threshold=0.05)
    np.testing.assert_array_equal(np.flatnonzero(together), [3, 10, 11])
    one = feature_mask(channels[2], shape=(2, 2), threshold=0.5)
    np.testing.assert_array_equal(one, [[False, False], [False, True]])


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: circulant_deviation(np.eye(6), 2), r"M must have shape \(4, 4\)"),
        (lambda: circulant_deviation(np.eye(6), 0), "p must be"),
        (lambda: circulant_deviation([[np.nan]], 1), "M must hold finite"),
        (lambda: agop_alignment(np.eye(2), np.eye(3)), "A and B must have one shape"),
        (lambda: agop_alignment(np.ones((2, 3)), np.eye(3)), "A must have shape"),
        (lambda: agop_alignment(np.eye(2), [np.inf, 1]), "B must hold finite"),
        (lambda: feature_mask(["a"]), "M must hold finite real"),
        (lambda: feature_mask([1.0], threshold=1.0), "threshold must be"),
        (lambda: feature_mask([1.0], quantile=1.0), "quantile must be"),
        (lambda: feature_mask([1.0], quantile=-0.1), "quantile must be"),
        (
            lambda: feature_mask([1.0], threshold=0.1, quantile=0.5),
            "give threshold or quantile",
        ),
        (lambda: feature_mask(np.ones(4), shape=(3, 2)), "shape must be"),
        (lambda: feature_mask(np.ones(4), shape=(4,)), "shape must be"),
    ],
)
def test_bad_arguments(call, fragment: str) -> None:
    with pytest.raises(InvalidInputError, match=fragment):
        call()
