"""The linear Recursive Feature Machine: sparse and low-rank regression."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.base import (
    BaseEstimator,
    RegressorMixin,
)
from sklearn.utils import Tags
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.validation import check_real
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.rfm._reweighting import Schedule, metric_power, share
from mlmethods.rfm.network import matrix_power_psd

__all__ = ["LinearRFMRegressor"]

# Pivots of a Cholesky factor that differ by more are not trusted.
_SMALLEST_PIVOT_RATIO = 1e-6


class LinearRFMRegressor(RegressorMixin, BaseEstimator):
    """Linear Recursive Feature Machine: least squares in a metric that it learns.

    Each iteration fits a ridge regression on the columns ``M_t^{1/2} x``, whose
    coefficients for `x` are W, and sets ``M_{t+1} = (W W^T + eps_t I)^alpha``: the
    average gradient outer product (AGOP) of a linear function is ``W W^T``. `eps_t`
    decreases geometrically.

    Parameters
    ----------
    alpha : float, default=0.5
        Power > 0 of the AGOP. With ``p = 2 - 2 alpha`` the iteration is iteratively
        reweighted least squares for the penalty ``|.|^p``: 1/2 is the l1 (or nuclear)
        norm, 1 the logarithm. The paper's exponent is of ``M^{1/2}``, half of this.
    reg : float, default=1e-6
        Ridge >= 0 in the metric M, not divided by the number of rows; 0 is the
        solution of least norm.
    n_iter : int, default=1000
        Most updates of M; 0 is ridge regression.
    diagonal : bool, default=False
        Whether M is the diagonal of the power: sparse regression. A full M favors
        coefficients of low rank over several targets.
    epsilon : float, default=1.0
        First `eps_t` > 0, in units of the largest entry on the diagonal of the first
        AGOP.
    epsilon_decay : float, default=0.7
        Factor in (0, 1] of `eps_t` from one update to the next; closer to 1 is slower
        and less easily trapped.
    tol : float, default=1e-6
        Stop when an update changes the coefficients by less than this share of their
        norm.
    fit_intercept : bool, default=True
        Subtract the (weighted) means of `X` and `y` first.
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        The coefficients.
    intercept_ : float or ndarray of shape (n_targets,)
        What is added.
    M_ : ndarray of shape (n_features, n_features) or (n_features,)
        The metric in which the coefficients are a ridge solution.
    n_iter_ : int
        Updates of M that were done.
    history_ : list of dict
        One entry a solve: iteration, epsilon, change, training_loss, seconds.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where `X` had names.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If `n_iter` updates do not reach `tol`.

    Notes
    -----
    A fixed point is stationary for ``|y - X w|^2 + (2 reg / p) sum_j |w_j|^p`` when M
    is diagonal; for ``alpha=0.5`` it is scikit-learn's ``Lasso(reg / n_samples)``.

    A full M commutes with the projection on the rows of `X`. As ``reg -> 0`` it leaves
    the solution of least norm as it is, and `diagonal` is what finds sparse ones; with
    ``reg > 0`` it shrinks the coefficients of several targets to a low rank.

    Every solve takes O(min(n, d)^2 max(n, d)), a power of a full M O(d^3). Computes in
    float64.

    References
    ----------
    Radhakrishnan, Belkin, Drusvyatskiy (2025), Linear Recursive Feature Machines
    provably recover low-rank matrices, PNAS; arXiv:2401.04553.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.rfm import LinearRFMRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(30, 60))
    >>> y = 3 * X[:, 7] - 2 * X[:, 20]
    >>> model = LinearRFMRegressor(diagonal=True).fit(X, y)
    >>> np.flatnonzero(np.abs(model.coef_) > 1e-3).tolist()
    [7, 20]
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        reg: float = 1e-6,
        n_iter: int = 1000,
        diagonal: bool = False,
        epsilon: float = 1.0,
        epsilon_decay: float = 0.7,
        tol: float = 1e-6,
        fit_intercept: bool = True,
        memory_limit: int | str = "auto",
    ) -> None:
        self.alpha = alpha
        self.reg = reg
        self.n_iter = n_iter
        self.diagonal = diagonal
        self.epsilon = epsilon
        self.epsilon_decay = epsilon_decay
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.memory_limit = memory_limit

    def __sklearn_tags__(self) -> Tags:
        """Return the tags: several targets are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> LinearRFMRegressor:
        """Fit the coefficients and the metric.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows; standardize columns of different units, since the penalty
            compares their coefficients.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), optional
            Weights of the squared errors; 0 leaves a row out, 2 counts it twice.

        Returns
        -------
        LinearRFMRegressor
            The fitted estimator.

        Raises
        ------
        InvalidInputError
            If a parameter is outside its range.
        MemoryLimitError
            If the fit would exceed `memory_limit`; nothing was allocated.
        """
        schedule = Schedule(self)
        reg = check_real("reg", self.reg, minimum=0)
        rows, targets = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=np.float64
        )
        n, d = rows.shape
        needed = 8 * (
            3 * n * d + 3 * min(n, d) ** 2 + (0 if self.diagonal else 4 * d**2)
        )
        require_memory(
            needed,
            resolve_memory_limit(self.memory_limit),
            what=f"LinearRFMRegressor on n={n} rows of d={d} columns",
            alternative="set diagonal=True, take fewer columns or raise memory_limit",
        )
        Y = targets.reshape(n, -1)
        A, B, x_mean, y_mean = self._center(rows, Y, sample_weight)
        if n > d:  # the same normal equations from d rows
            Q, A = linalg.qr(A, mode="economic")
            lost, B = np.sum(B**2), Q.T @ B
            lost = max(lost - np.sum(B**2), 0.0)
        else:
            lost = 0.0
        start = time.perf_counter()
        M = np.ones(d) if self.diagonal else np.eye(d)
        W = np.zeros((d, Y.shape[1]))
        eps, norm = 0.0, 0.0
        self.history_: list[dict[str, Any]] = []
        for iteration in range(schedule.n_iter + 1):
            previous, W = W, _ridge(A, B, M, reg)
            norm = max(norm, float(np.linalg.norm(W)))
            change = share(float(np.linalg.norm(W - previous)), norm)
            loss = (np.sum((A @ W - B) ** 2) + lost) / n
            self.history_.append(
                {
                    "iteration": iteration,
                    "epsilon": eps,
                    "change": change,
                    "training_loss": float(loss),
                    "seconds": time.perf_counter() - start,
                }
            )
            if change <= schedule.tol or iteration == schedule.n_iter:
                break
            # The largest entry of W W^T + eps I is on its diagonal.
            scale = float(np.sum(W**2, axis=1).max())
            eps = schedule.next(eps, scale)
            if self.diagonal:
                M = (np.sum(W**2, axis=1) + eps) ** schedule.alpha
            else:
                M = metric_power(W @ W.T, eps, schedule.alpha)
        schedule.warn_unless(change, type(self).__name__)
        self.M_ = M
        self.n_iter_ = iteration
        intercept = y_mean - x_mean @ W
        if targets.ndim == 1:
            self.coef_, self.intercept_ = W[:, 0], float(intercept[0])
        else:
            self.coef_, self.intercept_ = np.ascontiguousarray(W.T), intercept
        return self

    def _center(
        self, X: NDArray, Y: NDArray, sample_weight: ArrayLike | None
    ) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        x_mean, y_mean = np.zeros(X.shape[1]), np.zeros(Y.shape[1])
        if self.fit_intercept:
            x_mean = np.average(X, axis=0, weights=weights)
            y_mean = np.average(Y, axis=0, weights=weights)
        A, B = X - x_mean, Y - y_mean
        if weights is not None:
            root = np.sqrt(weights)[:, None]
            A, B = root * A, root * B
        return A, B, x_mean, y_mean

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        return rows @ self.coef_.T + self.intercept_

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Save the fitted estimator in a folder; nothing is pickled."""
        check_is_fitted(self)
        arrays: dict[str, Any] = {"coef_": self.coef_, "M_": self.M_}
        state: dict[str, Any] = {"n_iter_": self.n_iter_, "history_": self.history_}
        single = isinstance(self.intercept_, float)
        (state if single else arrays).update(intercept_=self.intercept_)
        save_estimator(self, directory, arrays, state)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> LinearRFMRegressor:
        """Return the estimator that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the folder is missing, damaged or holds another class.
        """
        return load_estimator(cls, directory)


def _ridge(A: NDArray, B: NDArray, M: NDArray, reg: float) -> NDArray:
    """Return ``M A^T (A M A^T + reg I)^{-1} B``, of shape (d, c).

    A has at most d rows, so that this system is the smaller one. Where it is too close
    to singular for a Cholesky factor, the singular values of ``A M^{1/2}`` decide.
    """
    AM = A * M if M.ndim == 1 else A @ M
    if reg > 0:
        system = AM @ A.T
        system[np.diag_indices(len(system))] += reg
        try:
            factor = linalg.cho_factor(system, lower=True, overwrite_a=True)
        except linalg.LinAlgError:
            pass
        else:
            pivots = np.diagonal(factor[0])
            if pivots.min() > _SMALLEST_PIVOT_RATIO * pivots.max():
                return AM.T @ linalg.cho_solve(factor, B)
    half = np.sqrt(M) if M.ndim == 1 else matrix_power_psd(M, 0.5)
    AS = A * half if M.ndim == 1 else A @ half
    U, s, Vt = linalg.svd(AS, full_matrices=False)
    kept = s > max(AS.shape) * np.finfo(np.float64).eps * s.max(initial=0.0)
    U, s, Vt = U[:, kept], s[kept], Vt[kept]
    inner = Vt.T @ ((s / (s**2 + reg))[:, None] * (U.T @ B))
    return half[:, None] * inner if M.ndim == 1 else half @ inner
