"""One kernel ridge system, solved in the way that is asked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import (
    DivergenceError,
    EffectiveRidgeWarning,
    InvalidInputError,
    NotPositiveDefiniteError,
    NumericalWarning,
    SingularKernelError,
)
from mlmethods.interfaces import Backend, NDArray, SolveResult, SolveStatus
from mlmethods.kernels._spectral import path_bytes
from mlmethods.kernels._training import DTYPES, KernelMatrix, refuse_conflicts
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.path import solve_path

__all__ = ["Options", "Solution", "solve"]

ON_SINGULAR = ("auto", "error", "pinv", "jitter")
SOLVERS = ("auto", "cholesky", "cg", "eigh", "eigenpro")
# The kernel matrix, its weighted copy and the factor, the last two in float64.
_MATRICES = 3
# A factorization that "succeeds" on a singular matrix shows in its residual.
_LARGEST_RESIDUAL = {"float64": 1e-6, "float32": 1e-3}
_PASSES, _PASS_TOL, _PASS_RESIDUAL = 50, 1e-12, 1e-3


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to solve, from the parameters of an estimator.

    `who` is its name, for messages.
    """

    who: str
    on_singular: str
    solver: str
    dtype: str
    memory_limit: int | str
    backend: str | Backend

    def check(self) -> None:
        """Raise InvalidInputError if a choice is unknown."""
        check_choice("on_singular", self.on_singular, ON_SINGULAR)
        check_choice("solver", self.solver, SOLVERS)
        check_choice("dtype", self.dtype, DTYPES)


class Solution(NamedTuple):
    """Coefficients (n, c), and how they were found.

    `residual` is the norm of ``y - (K + reg I) alpha`` over that of y, for weighted
    rows in the weighted system.
    """

    alpha: NDArray
    solver: str
    jitter: float
    residual: float
    backend: str


def effective_reg(reg: Any, reg_scaling: str, weights: NDArray | None, n: int) -> float:
    """Return the ridge on the diagonal."""
    value = check_real("reg", reg, minimum=0)
    check_choice("reg_scaling", reg_scaling, ("none", "n"))
    if reg_scaling == "none":
        return value
    return value * (n if weights is None else float(weights.sum()))


def solve(
    kernel: Kernel,
    X: NDArray,
    Y: NDArray,
    weights: NDArray | None,
    reg: float,
    options: Options,
) -> Solution:
    """Solve ``(K + reg I) alpha = Y``; rows of weight 0 get coefficients 0."""
    if weights is None or weights.all():
        return _System(kernel, X, Y, weights, options).solve(reg)
    active = weights > 0
    system = _System(kernel, X[active], Y[active], weights[active], options)
    found = system.solve(reg)
    alpha = np.zeros((len(X), Y.shape[1]), found.alpha.dtype)
    alpha[active] = found.alpha
    return found._replace(alpha=alpha)


class _System:
    """The linear system of one fit on one backend; weights are positive."""

    def __init__(
        self,
        kernel: Kernel,
        X: NDArray,
        Y: NDArray,
        weights: NDArray | None,
        options: Options,
    ) -> None:
        self._kernel = kernel
        self._X, self._Y, self._weights = X, Y, weights
        self._options = options
        self._solver = self._choose()
        self._spec = kernel.to_spec()
        needed = {
            "cholesky": ("kernels.pairwise", "linalg.ridge_solve"),
            "cg": ("linalg.ridge_cg",),
        }
        self._backend = get_backend(
            options.backend,
            *needed.get(self._solver, ("kernels.pairwise",)),
            "kernels.matvec",
            kernel=self._spec,
            dtype=options.dtype,
        )
        automatic = options.dtype == "auto"
        self._dtype = self._backend.info.default_dtype if automatic else options.dtype

    def _choose(self) -> str:
        solver, n = self._options.solver, len(self._X)
        limit = resolve_memory_limit(self._options.memory_limit)
        needed = _MATRICES * 8 * n**2
        if solver == "auto":
            return "cholesky" if needed <= limit else "cg"
        if solver == "eigh":
            needed = path_bytes(n, self._Y.shape[1], 1, 8)
        if solver in ("cholesky", "eigh"):
            require_memory(
                needed,
                limit,
                what=f"{self._options.who} with solver={solver!r} on n={n} rows",
                alternative="use solver='cg', fewer rows or a larger memory_limit",
            )
        return solver

    def solve(self, reg: float) -> Solution:
        """Return the solution, by the policy on singular matrices."""
        policy = self._options.on_singular
        if reg == 0 and policy in ("auto", "error"):
            refuse_conflicts(self._X, self._Y)
        if policy == "auto":
            policy = "error" if reg > 0 else "pinv"
        return {
            "cholesky": self._directly,
            "cg": self._iteratively,
            "eigh": self._spectrally,
            "eigenpro": self._stochastically,
        }[self._solver](reg, policy)

    def _directly(self, reg: float, policy: str) -> Solution:
        K = self._backend.kernels.pairwise(self._spec, self._native(self._X))
        result = self._to_numpy(
            self._backend.linalg.ridge_solve(
                K,
                self._native(self._Y),
                reg,
                weights=self._native(self._weights),
                jitter="ladder" if policy == "jitter" else "none",
            )
        )
        del K
        status = SolveStatus(int(result.status))
        if status == SolveStatus.NOT_FINITE:
            raise InvalidInputError(
                f"kernel {self._kernel!r} gives values on X that are not finite"
            )
        exact = float(result.residual) <= _LARGEST_RESIDUAL[self._dtype]
        if status.ok and (exact or policy == "jitter"):
            if status == SolveStatus.JITTERED:
                self._warn(
                    f"{status.message} ({float(result.jitter):.1e})", NumericalWarning
                )
            return self._found(
                result.alpha, "cholesky", float(result.jitter), float(result.residual)
            )
        if policy == "pinv":
            return self._spectrally(reg, policy, name="pinv")
        if policy == "jitter":
            raise NotPositiveDefiniteError(
                f"kernel {self._kernel!r} is not positive definite on X: "
                f"{status.message}"
            )
        raise self._singular(reg)

    def _spectrally(self, reg: float, policy: str, *, name: str = "eigh") -> Solution:
        matrix = KernelMatrix(self._kernel, self._X, self._options.dtype, self._backend)
        found = solve_path(matrix, self._Y, np.array([reg]), self._weights)
        n, lost = len(self._X), len(self._X) - int(found.kept[0])
        if lost and policy == "jitter":
            return self._directly(reg, policy)
        if lost and policy == "error":
            raise self._singular(reg)
        if lost:
            self._warn(
                f"the kernel matrix with reg={reg:g} is numerically singular: {lost} "
                f"of {n} directions were dropped, as if they had no target",
                EffectiveRidgeWarning,
            )
        alpha = found.alpha[0]
        return self._found(alpha, name, 0.0, self._residual(alpha, reg))

    def _iteratively(self, reg: float, policy: str) -> Solution:
        result = self._to_numpy(
            self._backend.linalg.ridge_cg(
                self._spec,
                self._native(self._X),
                self._native(self._Y),
                reg,
                weights=self._native(self._weights),
            )
        )
        status = SolveStatus(int(result.status))
        if status == SolveStatus.MAX_ITERATIONS:
            raise DivergenceError(
                f"solver='cg' stopped at a relative residual of "
                f"{float(result.residual):.1e}; raise reg, or use solver='cholesky'"
            )
        if not status.ok:
            raise SingularKernelError(f"solver='cg': {status.message}")
        return self._found(
            result.alpha, "cg", float(result.jitter), float(result.residual)
        )

    def _stochastically(self, reg: float, policy: str) -> Solution:
        from mlmethods.kernels.eigenpro import EigenProRegressor

        machine = EigenProRegressor(
            self._kernel,
            reg=reg,
            epochs=_PASSES,
            tol=_PASS_TOL,
            early_stopping=False,
            fit_intercept=False,
            dtype=self._options.dtype,
            memory_limit=self._options.memory_limit,
            backend=self._options.backend,
            random_state=0,
        ).fit(self._X, self._Y, self._weights)
        alpha = machine.dual_coef_.reshape(self._Y.shape)
        residual = self._residual(alpha, reg)
        if residual > _PASS_RESIDUAL:
            self._warn(
                f"solver='eigenpro' has a relative residual of {residual:.1e} after "
                f"{machine.n_iter_} passes; EigenProRegressor takes more with epochs",
                NumericalWarning,
            )
        return self._found(alpha, "eigenpro", 0.0, residual)

    def _found(
        self, alpha: NDArray, solver: str, jitter: float, residual: float
    ) -> Solution:
        return Solution(alpha, solver, jitter, residual, self._backend.info.name)

    def _residual(self, alpha: NDArray, reg: float) -> float:
        product = self._backend.kernels.matvec(
            self._spec, self._native(self._X), None, self._native(alpha)
        )
        w = 1.0 if self._weights is None else self._weights[:, None]
        # (s y - (s K s + reg) beta) with alpha = s beta.
        error = np.sqrt(w) * (self._Y - self._backend.to_numpy(product))
        error -= reg * alpha / np.sqrt(w)
        norm = float(np.linalg.norm(np.sqrt(w) * self._Y))
        return float(np.linalg.norm(error)) / (norm or 1.0)

    def _singular(self, reg: float) -> SingularKernelError:
        return SingularKernelError(
            f"the kernel matrix with reg={reg:g} is numerically singular (rows "
            "may be duplicated); raise reg, or set on_singular to 'pinv' or 'jitter'"
        )

    def _warn(self, message: str, category: type[Warning]) -> None:
        warnings.warn(f"{self._options.who}: {message}", category, stacklevel=6)

    def _native(self, array: NDArray | None) -> Any:
        if array is None:
            return None
        return self._backend.asarray(array, dtype=self._dtype)

    def _to_numpy(self, result: SolveResult) -> SolveResult:
        return SolveResult(*(np.asarray(self._backend.to_numpy(x)) for x in result))
