"""Matrix completion by the linear Recursive Feature Machine."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils import Tags
from sklearn.utils.validation import (
    check_is_fitted,
    validate_data,
)

from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.rfm._reweighting import Schedule, metric_power, share

__all__ = ["MatrixCompletion"]

# Bytes of the row systems that are solved at once; the solver copies them.
_BATCH_BYTES = 2**24


class MatrixCompletion(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill the missing entries of a matrix of low rank.

    The linear Recursive Feature Machine ``X = Z M^{1/2}``: each iteration fits every
    row to its observed entries by ridge regression in the metric ``M_t`` of the
    columns, and sets ``M_{t+1} = (X^T X / n + eps_t I)^alpha``, a power of the average
    gradient outer product (AGOP). `eps_t` decreases geometrically.

    Parameters
    ----------
    alpha : float, default=1.0
        Power > 0 of the AGOP. With ``p = 2 - 2 alpha`` the iteration minimizes the sum
        of the p-th powers of the singular values: 1/2 is the nuclear norm, 1 the
        logarithm of the determinant, which needs fewer entries and no eigenvectors.
        The paper's exponent is of ``M^{1/2}``, half of this.
    reg : float, default=1e-6
        Ridge > 0 on the rows of Z, for entries whose mean square is 1: the observed
        ones are scaled to that. Raise it where they are noisy.
    n_iter : int, default=100
        Most updates of M.
    rank : int or None, default=None
        The rank, if it is known: `eps_t` is then at most the eigenvalue of the AGOP
        after the first `rank`, and the last M keeps those only, so that `estimate_`
        has this rank. None finds the rank.
    alternate : bool, default=True
        Fit the columns as well, in between, in a metric of the rows made the same way:
        it reaches the same stationary points in far fewer iterations. False is the
        paper's iteration; give it an `epsilon_decay` near 0.9.
    epsilon : float, default=1.0
        First `eps_t` > 0, in units of the mean eigenvalue of the first AGOP.
    epsilon_decay : float, default=0.65
        Factor in (0, 1] of `eps_t` from one update to the next; closer to 1 is slower
        and recovers from fewer entries.
    tol : float, default=1e-6
        Stop when an update changes the matrix by less than this share of its norm.
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.

    Attributes
    ----------
    completed_ : ndarray of shape (n_samples, n_features)
        The matrix: observed entries as given, the others estimated.
    estimate_ : ndarray of shape (n_samples, n_features)
        ``Z M^{1/2}`` in every entry, also the observed ones.
    M_ : ndarray of shape (n_features, n_features)
        The metric of the columns.
    scale_ : float
        Root mean square of the observed entries.
    n_iter_ : int
        Updates of M that were done.
    history_ : list of dict
        One entry a solve: iteration, epsilon, change, training_loss (mean squared error
        on the observed entries over their mean square), seconds.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where the matrix had names.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If `n_iter` updates do not reach `tol`: mostly too few entries for the rank, or
        noise with a small `reg`.

    Notes
    -----
    An iteration takes the cube of the number of observed entries of each row, summed
    over the rows (and over the columns if `alternate`), and O(n d min(n, d)). Memory is
    some matrices of shapes (n, d), (d, d) and (n, n), and some 32 MiB for the systems of
    the rows, which are solved in batches.

    For ``alpha=0.5`` a fixed point minimizes ``|P(X - Y)|^2 / 2 + lambda |X|_*`` over
    the observed entries P, ``lambda = reg sqrt(n) scale_``. Nothing is centered:
    subtract column means first if they are large.

    References
    ----------
    Radhakrishnan, Belkin, Drusvyatskiy (2025), Linear Recursive Feature Machines
    provably recover low-rank matrices, PNAS; arXiv:2401.04553.
    Fornasier, Rauhut, Ward (2011), SIAM J. Optim. 21:1614-1640, for the rule of `rank`.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.rfm import MatrixCompletion
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 30))
    >>> observed = np.where(rng.random((40, 30)) < 0.4, truth, np.nan)
    >>> completed = MatrixCompletion().fit_transform(observed)
    >>> bool(np.abs(completed - truth).max() < 1e-3)
    True
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        reg: float = 1e-6,
        n_iter: int = 100,
        rank: int | None = None,
        alternate: bool = True,
        epsilon: float = 1.0,
        epsilon_decay: float = 0.65,
        tol: float = 1e-6,
        memory_limit: int | str = "auto",
    ) -> None:
        self.alpha = alpha
        self.reg = reg
        self.n_iter = n_iter
        self.rank = rank
        self.alternate = alternate
        self.epsilon = epsilon
        self.epsilon_decay = epsilon_decay
        self.tol = tol
        self.memory_limit = memory_limit

    def __sklearn_tags__(self) -> Tags:
        """Return the tags: NaN marks what is missing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(
        self, X: ArrayLike, y: Any = None, *, mask: ArrayLike | None = None
    ) -> MatrixCompletion:
        """Complete a matrix.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The matrix; without a `mask`, NaN marks what is missing.
        y : object, optional
            Ignored; scikit-learn's pipelines pass it.
        mask : array-like of bool of shape (n_samples, n_features), optional
            True where an entry is observed; what `X` holds elsewhere is not read.

        Returns
        -------
        MatrixCompletion
            The fitted estimator.

        Raises
        ------
        InvalidInputError
            If a parameter is outside its range, the mask has another shape, an observed
            entry is not finite, or a row or column has no observed entry.
        MemoryLimitError
            If the fit would exceed `memory_limit`; nothing was allocated.
        """
        schedule = Schedule(self)
        reg = check_real("reg", self.reg, minimum=0, open_minimum=True)
        given = None if y is None else np.asarray(y)
        if given is not None and given.dtype.kind == "b" and given.shape == np.shape(X):
            raise InvalidInputError("mask is a keyword: call fit(X, mask=mask)")
        matrix = validate_data(self, X, dtype=np.float64, ensure_all_finite=False)
        observed = _observed(matrix, mask)
        _refuse_empty(observed, axis=0)
        n, d = matrix.shape
        rank = self._check_rank(n, d)
        squares = n**2 if self.alternate else 0
        require_memory(
            8 * (6 * n * d + 4 * d**2 + 4 * squares) + 2 * _BATCH_BYTES,
            resolve_memory_limit(self.memory_limit),
            what=f"MatrixCompletion of {n} rows and {d} columns",
            alternative="complete fewer rows or columns, or raise memory_limit",
        )
        scale = float(np.sqrt(np.mean(matrix[observed] ** 2)))
        values = np.where(observed, matrix, 0.0) / (scale or 1.0)
        rows = _RowSystems(values, observed)
        columns = None
        if self.alternate:
            columns = _RowSystems(values.T, observed.T)
        start = time.perf_counter()
        M = np.eye(d)
        estimate = np.zeros((n, d))
        eps, norm = 0.0, 0.0
        self.history_: list[dict[str, Any]] = []
        for iteration in range(schedule.n_iter + 1):
            previous, estimate = estimate, rows.solve(M, reg)
            norm = max(norm, float(np.linalg.norm(estimate)))
            change = share(float(np.linalg.norm(estimate - previous)), norm)
            self.history_.append(
                {
                    "iteration": iteration,
                    "epsilon": eps,
                    "change": change,
                    "training_loss": float(
                        np.mean((estimate[observed] - values[observed]) ** 2)
                    ),
                    "seconds": time.perf_counter() - start,
                }
            )
            if change <= schedule.tol or iteration == schedule.n_iter:
                break
            latest = estimate
            scale_of_agop = float(np.sum(latest**2)) / (n * d)
            eps = schedule.next(eps, scale_of_agop)
            if rank is not None and rank < min(n, d):
                spectrum = linalg.eigvalsh(
                    latest @ latest.T if n < d else latest.T @ latest
                )
                eps = min(eps, max(spectrum[-rank - 1] / n, schedule.floor))
            if columns is not None:
                # The same constant 1 / n on both sides: one objective.
                latest = columns.solve(
                    metric_power(latest @ latest.T / n, eps, schedule.alpha), reg
                ).T
            M = metric_power(latest.T @ latest / n, eps, schedule.alpha)
        schedule.warn_unless(change, type(self).__name__)
        if rank is not None:
            M = _truncated(M, rank)
            estimate = rows.solve(M, reg)
        self.M_ = M
        self.scale_ = scale
        self.n_iter_ = iteration
        self.estimate_ = estimate * (scale or 1.0)
        self.completed_ = np.where(observed, matrix, self.estimate_)
        return self

    def _check_rank(self, n: int, d: int) -> int | None:
        if self.rank is None:
            return None
        rank = check_integer("rank", self.rank, minimum=1)
        if rank > min(n, d):
            raise InvalidInputError(
                f"rank must be <= {min(n, d)}, the smaller side of the matrix, got {rank}"
            )
        return rank

    def transform(self, X: ArrayLike, *, mask: ArrayLike | None = None) -> NDArray:
        """Return rows with their missing entries filled, in the metric of the fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of the fitted matrix or new ones; without a `mask`, NaN marks what is
            missing.
        mask : array-like of bool of shape (n_samples, n_features), optional
            True where an entry is observed.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Observed entries as given; of the fitted matrix, ``completed_``.

        Raises
        ------
        InvalidInputError
            As for :meth:`fit`, except that a column may have no observed entry.
        """
        check_is_fitted(self)
        matrix = validate_data(
            self, X, dtype=np.float64, ensure_all_finite=False, reset=False
        )
        observed = _observed(matrix, mask)
        scale = self.scale_ or 1.0
        values = np.where(observed, matrix, 0.0) / scale
        estimate = _RowSystems(values, observed).solve(self.M_, float(self.reg))
        return np.where(observed, matrix, estimate * scale)

    def fit_transform(
        self, X: ArrayLike, y: Any = None, *, mask: ArrayLike | None = None
    ) -> NDArray:
        """Complete a matrix and return it.

        Parameters
        ----------
        X, y, mask
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            ``completed_``.
        """
        return self.fit(X, y, mask=mask).transform(X, mask=mask)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Save the fitted estimator in a folder; nothing is pickled."""
        check_is_fitted(self)
        save_estimator(
            self,
            directory,
            {name: getattr(self, name) for name in ("completed_", "estimate_", "M_")},
            {name: getattr(self, name) for name in ("scale_", "n_iter_", "history_")},
        )

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> MatrixCompletion:
        """Return the estimator that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the folder is missing, damaged or holds another class.
        """
        return load_estimator(cls, directory)


def _truncated(M: NDArray, rank: int) -> NDArray:
    values, vectors = linalg.eigh(M, subset_by_index=[len(M) - rank, len(M) - 1])
    return (vectors * values) @ vectors.T


class _RowSystems:
    """The rows' least squares problems, in batches of bounded memory.

    Rows are sorted by their number of observed entries; those of a batch are padded to
    its longest, with the identity in the padding.
    """

    def __init__(self, values: NDArray, observed: NDArray) -> None:
        counts = observed.sum(axis=1)
        order = np.argsort(counts, kind="stable")[::-1]
        self.shape = values.shape
        beyond = values.shape[1]
        self.batches = []
        while len(order):
            longest = int(counts[order[0]])
            size = max(1, _BATCH_BYTES // (8 * longest**2))
            rows, order = order[:size], order[size:]
            valid = np.arange(longest) < counts[rows][:, None]
            columns = np.full(valid.shape, beyond, dtype=np.intp)
            columns[valid] = np.nonzero(observed[rows])[1]
            targets = np.zeros(valid.shape)
            targets[valid] = values[rows][observed[rows]]
            self.batches.append((rows, columns, valid, targets))

    def solve(self, M: NDArray, reg: float) -> NDArray:
        """Return the rows ``y_i (M_ii + reg I)^{-1} M_i``, i the entries observed."""
        spread = np.zeros((self.shape[0], self.shape[1] + 1))
        padded = np.pad(M, (0, 1))  # what lies beyond the matrix is zero
        for rows, columns, valid, targets in self.batches:
            systems = padded[columns[:, :, None], columns[:, None, :]]
            diagonal = np.einsum("ijj->ij", systems)
            diagonal += np.where(valid, reg, 1.0)
            dual = np.linalg.solve(systems, targets[:, :, None])[:, :, 0]
            spread[rows[:, None], columns] = dual
        return spread[:, :-1] @ M


def _observed(X: NDArray, mask: ArrayLike | None) -> NDArray:
    """Return where X is observed, or say what is wrong with it."""
    if mask is None:
        observed = ~np.isnan(X)
    else:
        observed = np.asarray(mask)
        if observed.shape != X.shape:
            raise InvalidInputError(
                f"mask must have the shape of X, {X.shape}, got {observed.shape}"
            )
        if observed.dtype != bool:
            raise InvalidInputError(
                f"mask must be boolean, True where an entry is observed, got dtype "
                f"{observed.dtype}"
            )
    bad = np.argwhere(observed & ~np.isfinite(X))
    if len(bad):
        i, j = bad[0]
        raise InvalidInputError(
            f"observed entries must be finite, got {X[i, j]} in row {i}, column {j}; "
            "leave it out of the mask, or set it to NaN without one"
        )
    _refuse_empty(observed, axis=1)
    return observed


def _refuse_empty(observed: NDArray, axis: int) -> None:
    empty = np.flatnonzero(~observed.any(axis=axis))
    if len(empty):
        kind = ("column", "row")[axis] + ("s" if len(empty) > 1 else "")
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise InvalidInputError(
            f"every row and column needs an observed entry, {kind} {shown} "
            f"({len(empty)} in all) has none; leave out what has none"
        )
