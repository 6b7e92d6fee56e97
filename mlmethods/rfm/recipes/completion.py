"""Matrices of low rank, filled in from few entries."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK = 5
_SIDE = {False: 500, True: 1000}
_FRACTION = 0.15
_ERROR = 1e-4
# The sweep: side, multiples of the degrees of freedom, matrices for each.
_SWEEP_SIDE = {False: 200, True: 500}
_SWEEP_RATIOS = {
    False: (1.5, 2.0, 3.0, 4.0, 5.0),
    True: (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0),
}
_SWEEP_SEEDS = {False: 1, True: 3}
_RECOVERED = 1e-3
# The last penalty of the nuclear norm, over the largest singular value observed: its
# bias is of that order, and in the sweep well below what counts as recovered.
_END, _SWEEP_END = 1e-5, 1e-4
_LIN_RFM, _NUCLEAR = "lin-RFM", "nuclear norm"


@recipe(
    "rfm-matrix-completion",
    title="A matrix of low rank from a few of its entries",
    claim=(
        "the linear machine recovers matrices of low rank from fewer entries than the "
        "nuclear norm, and than deep linear networks, need"
    ),
    source=(
        "Radhakrishnan, Belkin, Drusvyatskiy: Linear Recursive Feature Machines "
        "provably recover low-rank matrices, PNAS (2025), arXiv:2401.04553"
    ),
    criterion=(
        "from 15 % of a 500 x 500 matrix of rank 5 (in full 1000 x 1000), the relative "
        f"error is below {_ERROR:g} and below that of the nuclear norm; and in the sweep "
        f"the smallest fraction from which on every error is below {_RECOVERED:g} is "
        "smaller than the nuclear norm's"
    ),
)
def matrix_completion(context: RecipeContext) -> None:
    """Complete products of normal factors of rank 5 from uniformly drawn entries.

    First from 15 % of the entries, then from few to many on smaller matrices. The
    nuclear norm is minimized on the same entries by accelerated soft-impute, along a
    path of penalties to nearly none (1e-5 of the largest singular value, in the sweep
    1e-4). Neither method is told the rank.
    """
    import pandas as pd

    side = _SIDE[context.full]
    truth, observed = _draw(side, _FRACTION, context.seed)
    machine, machine_seconds, model = _complete(truth, observed)
    nuclear, nuclear_seconds, converged = _timed_soft_impute(
        truth, observed, _END, 1e-7
    )
    context.value(
        error_lin_rfm=machine,
        error_nuclear_norm=nuclear,
        seconds_lin_rfm=machine_seconds,
        seconds_nuclear_norm=nuclear_seconds,
        converged_nuclear_norm=converged,
        updates=model.n_iter_,
    )
    context.check(
        claim=f"relative error from 15 % of {side} x {side} entries",
        published="recovered",
        ours=machine,
        tolerance_text=f"below {_ERROR:g}",
        passed=machine < _ERROR,
    )
    context.check(
        claim="the same, beside the nuclear norm on the same entries",
        published=nuclear,
        ours=machine,
        tolerance_text="below the nuclear norm's",
        passed=machine < nuclear,
    )
    frame = pd.DataFrame(_sweep(context))
    context.table(frame, "sweep")
    smallest = {name: _threshold(frame, name) for name in (_LIN_RFM, _NUCLEAR)}
    context.value(
        smallest_fraction_lin_rfm=smallest[_LIN_RFM],
        smallest_fraction_nuclear_norm=smallest[_NUCLEAR],
    )
    small = _SWEEP_SIDE[context.full]
    context.check(
        claim=f"smallest fraction of {small} x {small} entries that is enough",
        published=smallest[_NUCLEAR],
        ours=smallest[_LIN_RFM],
        tolerance_text="below the nuclear norm's",
        passed=smallest[_LIN_RFM] < smallest[_NUCLEAR],
    )
    context.note(
        "From 15 % of the entries the nuclear norm recovers the matrix too: its error is "
        "the bias of its last penalty. The difference of the methods is in how few "
        "entries are enough. Numbers beside ours are the peer's in the same run; deep "
        "linear networks are not trained here."
    )
    context.note(
        f"A matrix of rank r has 2 r n - r^2 degrees of freedom, {_freedom(small):,} in "
        f"the sweep: {_freedom(small) / small**2:.1%} of its entries."
    )
    history = [(row["iteration"], row["change"]) for row in model.history_]
    context.figure(_draw_figure(frame, history, small), "matrix-completion")


def _freedom(side: int) -> int:
    return _RANK * (2 * side - _RANK)


def _draw(side: int, fraction: float, seed: int) -> tuple[NDArray, NDArray]:
    """Return a matrix of rank 5 and where it is observed: exactly that share."""
    rng = np.random.default_rng([seed, side, round(1e6 * fraction)])
    truth = rng.normal(size=(side, _RANK)) @ rng.normal(size=(_RANK, side))
    observed = np.zeros(side * side, dtype=bool)
    observed[rng.permutation(side * side)[: round(fraction * side * side)]] = True
    return truth, observed.reshape(side, side)


def _relative_error(estimate: NDArray, truth: NDArray) -> float:
    return float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))


def _complete(
    truth: NDArray, observed: NDArray, **changes: Any
) -> tuple[float, float, Any]:
    from sklearn.exceptions import ConvergenceWarning

    from mlmethods.rfm.completion import MatrixCompletion

    model = MatrixCompletion(**changes)
    start = time.perf_counter()
    with warnings.catch_warnings():
        # Below the threshold there is nothing to converge to; the error shows it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(truth, mask=observed)
    seconds = time.perf_counter() - start
    return _relative_error(model.completed_, truth), seconds, model


def _timed_soft_impute(
    truth: NDArray, observed: NDArray, end: float, tol: float
) -> tuple[float, float, bool]:
    start = time.perf_counter()
    values = np.where(observed, truth, 0.0)
    penalties = np.linalg.norm(values, 2) * np.geomspace(0.5, end, 10)
    estimate, converged = soft_impute(values, observed, penalties=penalties, tol=tol)
    seconds = time.perf_counter() - start
    error = _relative_error(np.where(observed, truth, estimate), truth)
    return error, seconds, converged


def soft_impute(
    values: NDArray,
    observed: NDArray,
    *,
    penalties: NDArray,
    tol: float = 1e-6,
    most: int = 2000,
    rng: Any = 0,
) -> tuple[NDArray, bool]:
    """Minimize ``|P(X - Y)|^2 / 2 + penalty |X|_*``, from large penalties to small.

    Soft-impute (Mazumder, Hastie, Tibshirani, JMLR 11, 2010) with Nesterov's momentum,
    restarted where it points uphill. The singular vectors are those of the iteration
    before, improved by one step of subspace iteration.

    Parameters
    ----------
    values : ndarray of shape (n, d)
        Y, zero where it is not observed.
    observed : ndarray of bool of shape (n, d)
        Where P keeps an entry.
    penalties : ndarray
        The path.
    tol : float
        Relative change at which the last penalty is left; the others, which only start
        the next, are left at 100 times this.
    most : int
        Most iterations for a penalty.
    rng : int or Generator
        Draws the first subspace.

    Returns
    -------
    estimate : ndarray of shape (n, d)
        X.
    converged : bool
        Whether the last penalty reached `tol`.
    """
    generator = np.random.default_rng(rng)
    extra, widest = 10, min(values.shape)
    basis = generator.normal(size=(values.shape[1], min(extra, widest)))
    X = np.zeros_like(values)
    for penalty in penalties:
        ahead, momentum = X, 1.0
        limit = tol if penalty == penalties[-1] else 100 * tol
        converged = False
        for _ in range(most):
            filled = np.where(observed, values, ahead)
            Q = np.linalg.qr(filled.T @ (filled @ basis))[0]
            U, s, Vt = np.linalg.svd(filled @ Q, full_matrices=False)
            kept = int(np.sum(s > penalty))
            basis = Q @ Vt.T
            following = (U[:, :kept] * (s[:kept] - penalty)) @ basis[:, :kept].T
            if kept + 2 > basis.shape[1] and basis.shape[1] < widest:
                room = min(extra + basis.shape[1] // 4, widest - basis.shape[1])
                basis = np.hstack(
                    [basis, generator.normal(size=(len(basis), room)) / len(basis)]
                )
            move = following - X
            size = np.linalg.norm(move)
            faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            if np.sum((ahead - following) * move) > 0:
                ahead, momentum = following, 1.0
            else:
                ahead = following + (momentum - 1) / faster * move
                momentum = faster
            X = following
            converged = bool(size <= limit * np.linalg.norm(X))
            if converged:
                break
    return X, converged


def _sweep(context: RecipeContext) -> list[dict[str, Any]]:
    side = _SWEEP_SIDE[context.full]
    ratios = _SWEEP_RATIOS[context.full]
    rows = []
    for position, ratio in enumerate(ratios):
        fraction = ratio * _freedom(side) / side**2
        for repeat in range(_SWEEP_SEEDS[context.full]):
            truth, observed = _draw(side, fraction, 1000 * context.seed + repeat)
            common = {
                "side": side,
                "fraction": round(fraction, 4),
                "entries_over_freedom": ratio,
                "repeat": repeat,
            }
            if not (observed.any(axis=0).all() and observed.any(axis=1).all()):
                continue
            # Near the threshold a slow schedule pays.
            error, seconds, model = _complete(
                truth, observed, epsilon_decay=0.8, n_iter=300
            )
            converged = model.history_[-1]["change"] <= model.tol
            for method, run in (
                (_LIN_RFM, (error, seconds, converged)),
                (_NUCLEAR, _timed_soft_impute(truth, observed, _SWEEP_END, 1e-6)),
            ):
                names = ("error", "seconds", "converged")
                rows.append(
                    {**common, "method": method, **dict(zip(names, run, strict=True))}
                )
        context.progress(position + 1, len(ratios))
    return rows


def _threshold(frame: Any, method: str) -> float:
    """Return the fraction from which on every matrix is recovered; infinite if none."""
    worst = frame[frame["method"] == method].groupby("fraction")["error"].max()
    smallest = float("inf")
    for fraction, error in worst.sort_index(ascending=False).items():
        if error >= _RECOVERED:
            break
        smallest = float(fraction)
    return smallest


def _draw_figure(frame: Any, history: list[tuple[int, float]], side: int) -> Figure:
    from mlmethods.common.plotting import MUTED, new_figure, style

    with style():
        figure, (left, right) = new_figure(1, 2, size=(10.0, 4.2))
        for (name, part), marker in zip(
            frame.groupby("method", sort=False), "os", strict=True
        ):
            median = part.groupby("fraction")["error"].median()
            (line,) = left.semilogy(
                100 * median.index, median, marker=marker, label=name
            )
            left.semilogy(
                100 * part["fraction"],
                part["error"],
                ls="",
                marker=marker,
                alpha=0.4,
                color=line.get_color(),
            )
        left.axhline(_RECOVERED, color=MUTED, lw=1, ls=":")
        least = 100 * _freedom(side) / side**2
        left.axvline(least, color=MUTED, lw=1, ls="--", label="degrees of freedom")
        left.set_xlabel("observed entries (%)")
        left.set_ylabel("relative error")
        left.set_title(f"Rank {_RANK}, {side} x {side}")
        left.legend()
        right.semilogy(*zip(*history, strict=True), marker="o", markersize=3)
        right.set_xlabel("updates of M")
        right.set_ylabel("relative change of the matrix")
        right.set_title(f"Lin-RFM from {_FRACTION:.0%} of the entries")
    return figure
