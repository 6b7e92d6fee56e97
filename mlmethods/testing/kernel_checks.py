"""Checks of the kernel operations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlmethods.interfaces import KernelSpec, NDArray
from mlmethods.testing.trials import KERNELS, Trial, check, require

__all__: list[str] = []

_ALL = tuple(KERNELS)
_RADIAL = ("laplace", "gaussian", "exp_power", "matern", "rational_quadratic")
_OF_DIFFERENCES = tuple(
    key
    for key, kernel in KERNELS.items()
    if kernel.name in (*_RADIAL, "lpq", "sum_power")
)
_OF_SEVERAL_PARTS = ("ntk", "sum", "product")
_ONE_OF_EACH_FAMILY = ("laplace", "lpq", "quadratic", "ntk", "sum")
_LAPLACE = KERNELS["laplace"]


class _Data(NamedTuple):
    """Points [9, 4], centers [6, 4], coefficients [6, 2] and two forms of M."""

    X: NDArray
    Z: NDArray
    alpha: NDArray
    M: NDArray
    M_diagonal: NDArray


def _data(trial: Trial) -> _Data:
    rng = trial.rng()
    root = rng.normal(size=(4, 4)) / 2
    return _Data(
        X=rng.normal(size=(9, 4)),
        Z=rng.normal(size=(6, 4)),
        alpha=rng.normal(size=(6, 2)),
        M=root @ root.T + 0.25 * np.eye(4),
        M_diagonal=rng.uniform(0.25, 2.0, size=4),
    )


def _forms_of_m(kernel: KernelSpec, data: _Data) -> list[tuple[str, Any]]:
    """Return M in all forms for one kernel a family, in full for the others.

    How M is applied is the family's affair, and each form compiles anew.
    """
    full = ("[d, d]", data.M)
    if kernel.name not in _ONE_OF_EACH_FAMILY:
        return [full]
    return [("None", None), ("[d]", data.M_diagonal), full]


def _with_coincidences(data: _Data) -> NDArray:
    """Return X with two rows that are centers."""
    X = data.X.copy()
    X[2], X[5] = data.Z[1], data.Z[4]
    return X


@check("kernels.pairwise", kernels=_ALL)
def matches_the_oracle_for_each_form_of_m(trial: Trial, kernel: KernelSpec) -> None:
    data = _data(trial)
    for label, M in _forms_of_m(kernel, data):
        trial.compare(kernel, data.X, data.Z, M, label=f"with M={label} the result")


@check("kernels.pairwise", kernels=_OF_DIFFERENCES)
def has_an_exact_diagonal(trial: Trial, kernel: KernelSpec) -> None:
    data = _data(trial)
    K = trial.compare(kernel, data.X, None, data.M)
    require((np.diagonal(K) == 1.0).all(), "with Z=None the diagonal is not exactly 1")
    trial.close(K, K.T, "the matrix against its transpose")


@check("kernels.pairwise", kernels=_OF_DIFFERENCES)
def survives_an_offset_of_1e3_in_50_dimensions(
    trial: Trial, kernel: KernelSpec
) -> None:
    rng = trial.rng()
    X, Z = 1e3 + rng.normal(size=(9, 50)), 1e3 + rng.normal(size=(6, 50))
    trial.compare(kernel, X, Z, label="far from the origin the result")
    K = trial.run(kernel, X)
    require((np.diagonal(K) == 1.0).all(), "with Z=None the diagonal is not exactly 1")


@check("kernels.pairwise", kernels=_OF_SEVERAL_PARTS)
def is_exact_for_equal_opposite_and_empty_rows(
    trial: Trial, kernel: KernelSpec
) -> None:
    # An angle from the arc cosine would be off by 3e-4 in float32.
    X = _data(trial).X.copy()
    X[2], X[4], X[6] = 0.0, X[3], -X[5]
    K = trial.compare(kernel, X, None)
    trial.close(K, K.T, "the matrix against its transpose")
    trial.compare(kernel, X, X.copy(), label="with a copy for Z the result")


@check("kernels.pairwise")
def takes_one_row_and_one_column(trial: Trial) -> None:
    one = np.array([[0.5]])
    trial.compare(_LAPLACE, one, np.array([[1.0], [2.0]]), np.array([2.0]))
    trial.compare(_LAPLACE, one, one, np.array([[4.0]]))


@check("kernels.pairwise", kernels=_ALL)
def passes_nan_on_in_its_row_alone(trial: Trial, kernel: KernelSpec) -> None:
    data = _data(trial)
    X = data.X.copy()
    X[3, 1] = np.nan
    K = trial.run(kernel, X, data.Z, data.M)
    require(np.isnan(K[3]).all(), "a NaN in a row of X did not give NaN in that row")
    others = np.delete(K, 3, axis=0)
    require(np.isfinite(others).all(), "a NaN in a row of X spread to other rows")


@check("kernels.matvec", kernels=_ALL)
def equals_the_matrix_times_the_coefficients(trial: Trial, kernel: KernelSpec) -> None:
    data = _data(trial)
    trial.compare(kernel, data.X, data.Z, data.alpha, data.M)


@check("kernels.matvec")
def takes_each_form_of_m_and_none_for_z(trial: Trial) -> None:
    data = _data(trial)
    alpha = trial.rng().normal(size=(9, 3))
    for M in (None, data.M_diagonal, data.M):
        trial.compare(_LAPLACE, data.X, None, alpha, M)
    offset = 1e3 + np.tile(data.X, (1, 12))
    trial.compare(_LAPLACE, offset, None, alpha, label="far from the origin the result")


@check("kernels.matvec")
def does_not_depend_on_the_block_size(trial: Trial) -> None:
    data = _data(trial)
    for block_size in (1, 4, 100):
        trial.compare(
            _LAPLACE,
            data.X,
            data.Z,
            data.alpha,
            block_size=block_size,
            label=f"with block_size={block_size} the result",
        )


@check("kernels.grad", kernels=_ALL)
def matches_the_gradient_of_the_oracle(trial: Trial, kernel: KernelSpec) -> None:
    data = _data(trial)
    for label, M in _forms_of_m(kernel, data):
        g = trial.run(kernel, data.X, data.Z, data.alpha, M)
        expected = trial.reference(kernel, data.X, data.Z, data.alpha, M)
        trial.close(g, expected, f"with M={label} the gradient")


@check(
    "kernels.grad",
    kernels=("laplace", "gaussian", "matern 5/2", "lpq", "nngp", *_OF_SEVERAL_PARTS),
)
def matches_finite_differences(trial: Trial, kernel: KernelSpec) -> None:
    data, step = _data(trial), 1e-5
    expected = np.empty((9, 2, 4))
    for j, offset in enumerate(step * np.eye(4)):
        above, below = (
            trial.oracle.kernels.pairwise(
                kernel, data.X + sign * offset, data.Z, data.M
            )
            for sign in (1, -1)
        )
        expected[:, :, j] = (above - below) @ data.alpha / (2 * step)
    g = trial.run(kernel, data.X, data.Z, data.alpha, data.M)
    trial.close(g, expected, "the gradient")


@check("kernels.grad", kernels=_ALL)
def is_finite_where_points_coincide(trial: Trial, kernel: KernelSpec) -> None:
    data = _data(trial)
    X = _with_coincidences(data)
    g = trial.run(kernel, X, data.Z, data.alpha, data.M)
    require(np.isfinite(g).all(), "where x equals a center the gradient is not finite")
    trial.close(
        g, trial.reference(kernel, X, data.Z, data.alpha, data.M), "the gradient"
    )


@check("kernels.grad", kernels=_ALL)
def passes_nan_on_in_its_gradient_alone(trial: Trial, kernel: KernelSpec) -> None:
    data = _data(trial)
    X = data.X.copy()
    X[3, 1] = np.nan
    g = trial.run(kernel, X, data.Z, data.alpha, data.M)
    require(np.isnan(g[3]).any(), "a NaN in a row of X left its gradient finite")
    others = np.delete(g, 3, axis=0)
    require(np.isfinite(others).all(), "a NaN in a row of X spread to other rows")


@check("kernels.grad", kernels=_OF_DIFFERENCES)
def leaves_out_each_sample_itself(trial: Trial, kernel: KernelSpec) -> None:
    rng = trial.rng()
    # Where distances round most, a pair with itself must still contribute nothing.
    X, alpha = 1e3 + rng.normal(size=(9, 50)), rng.normal(size=(9, 2))
    expected = trial.reference(kernel, X, None, alpha)
    trial.close(trial.run(kernel, X, None, alpha), expected, "with Z=None the gradient")
    own = trial.run(kernel, X, X, alpha, self_index=np.arange(9))
    trial.close(own, expected, "with Z=X and self_index the gradient")


@check("kernels.grad", kernels=("ntk", "product"))
def leaves_out_what_a_sample_has_no_slope_for(trial: Trial, kernel: KernelSpec) -> None:
    X, alpha = _data(trial).X.copy(), trial.rng().normal(size=(9, 2))
    X[3], X[7], X[8] = 0.0, X[4], 2.0 * X[5]
    expected = trial.reference(kernel, X, None, alpha)
    g = trial.run(kernel, X, None, alpha)
    require(np.isfinite(g).all(), "with a row of zeros the gradient is not finite")
    trial.close(g, expected, "with Z=None the gradient")
    own = trial.run(kernel, X, X, alpha, self_index=np.arange(9))
    trial.close(own, expected, "with Z=X and self_index the gradient")


@check("kernels.grad")
def follows_self_index(trial: Trial) -> None:
    data = _data(trial)
    own = np.array([0, -1, 3, -1, 5, -1, -1, 2, -1])
    g = trial.compare(_LAPLACE, data.X, data.Z, data.alpha, self_index=own)
    # Leaving a pair out is the same as a zero coefficient of that center.
    alone = data.alpha.copy()
    alone[3] = 0.0
    expected = trial.reference(_LAPLACE, data.X[2:3], data.Z, alone)
    trial.close(g[2:3], expected, "the gradient of a row with self_index=3")


@check("kernels.grad")
def ignores_duplicated_rows(trial: Trial) -> None:
    data = _data(trial)
    X = np.repeat(data.X[:3], 3, axis=0)
    alpha = trial.rng().normal(size=(9, 2))
    g = trial.compare(_LAPLACE, X, None, alpha, data.M)
    require(np.isfinite(g).all(), "duplicated rows gave a gradient that is not finite")
    trial.close(g[0], g[1], "the gradient at a duplicate")


@check("kernels.grad", "kernels.agop")
def does_not_depend_on_block_size(trial: Trial) -> None:
    data = _data(trial)
    for block_size in (1, 4, 100):
        trial.compare(
            _LAPLACE,
            data.X,
            data.Z,
            data.alpha,
            data.M,
            block_size=block_size,
            label=f"with block_size={block_size} the result",
        )


@check("kernels.agop", kernels=_ALL)
def is_the_mean_outer_product_of_the_gradients(
    trial: Trial, kernel: KernelSpec
) -> None:
    data = _data(trial)
    g = trial.reference(kernel, data.X, data.Z, data.alpha, data.M, op="kernels.grad")
    expected = np.einsum("nci,ncj->ij", g, g) / len(g)
    trial.close(
        trial.run(kernel, data.X, data.Z, data.alpha, data.M), expected, "the AGOP"
    )


@check("kernels.agop")
def takes_weights_centering_and_the_diagonal(trial: Trial) -> None:
    data = _data(trial)
    weights = trial.rng().uniform(0.5, 2.0, size=9)
    weights[4:6] = 0.0
    for M in (None, data.M_diagonal, data.M):
        g = trial.reference(_LAPLACE, data.X, data.Z, data.alpha, M, op="kernels.grad")
        share = weights / weights.sum()
        per_output = np.einsum("n,ncd->cd", share, g)
        means = {
            "none": 0.0,
            "per_output": per_output,
            "pooled": per_output.mean(axis=0),
        }
        for center, mean in means.items():
            full = np.einsum("n,nci,ncj->ij", share, g - mean, g - mean)
            for diagonal in (False, True):
                actual = trial.run(
                    _LAPLACE,
                    data.X,
                    data.Z,
                    data.alpha,
                    M,
                    weights=weights,
                    diagonal=diagonal,
                    center=center,
                )
                shape = "None" if M is None else str(M.shape)
                trial.close(
                    actual,
                    np.diagonal(full) if diagonal else full,
                    f"with center={center!r}, diagonal={diagonal}, M of shape {shape}, "
                    "the AGOP",
                )


@check("kernels.agop")
def gives_padded_rows_no_say(trial: Trial) -> None:
    data = _data(trial)
    weights = np.r_[np.ones(6), np.zeros(3)]
    X = data.X.copy()
    X[6:] = 0.0
    padded = trial.run(_LAPLACE, X, data.Z, data.alpha, weights=weights)
    expected = trial.reference(_LAPLACE, X[:6], data.Z, data.alpha)
    trial.close(padded, expected, "with rows of weight zero the AGOP")


@check("kernels.agop", kernels=("laplace", "gaussian", "lpq", "sum_power"))
def leaves_out_self_pairs_and_coincidences(trial: Trial, kernel: KernelSpec) -> None:
    data = _data(trial)
    X = _with_coincidences(data)
    trial.compare(
        kernel, X, data.Z, data.alpha, label="with coincident points the AGOP"
    )
    alpha = trial.rng().normal(size=(9, 2))
    expected = trial.reference(kernel, X, None, alpha, data.M)
    trial.close(
        trial.run(kernel, X, None, alpha, data.M), expected, "with Z=None the AGOP"
    )
    # A subsample of the centers: rows know which center they are.
    rows = np.array([7, 0, 3, 8])
    subsampled = trial.compare(
        kernel,
        X[rows],
        X,
        alpha,
        data.M,
        self_index=rows,
        label="of a subsample the AGOP",
    )
    trial.close(subsampled, subsampled.T, "the AGOP against its transpose")
