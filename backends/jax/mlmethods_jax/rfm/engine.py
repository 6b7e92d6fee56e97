"""The RFM engine in JAX: one compiled step, repeated by the front.

The step solves, predicts at the validation rows and updates M in one program. Rows
are padded to a few sizes with masks, and reg, bandwidth and M are traced, so that
another fold, reg or bandwidth compiles nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import mlmethods_jax._pytrees  # noqa: F401
from mlmethods.interfaces import Center, KernelSpec, NDArray
from mlmethods.kernels.contract import EigenProConfig
from mlmethods.rfm.contract import RFMConfig, Rows, Step, TrainedPerceptron
from mlmethods_jax.ops import kernels, linalg
from mlmethods_jax.ops._blocks import padded_size
from mlmethods_jax.ops._distances import dot
from mlmethods_jax.ops._leave_one_out import leave_one_out
from mlmethods_jax.ops._precision import as_spec, x64
from mlmethods_jax.rfm.network import layer_reports, network_agop

__all__ = ["RFMEngine", "RFMProblem", "engine", "rfm_step"]


def _scale(M: jax.Array, normalize: str, basis: jax.Array | None) -> jax.Array:
    """Return what M is divided by: its largest entry, or its mean diagonal.

    M is positive semidefinite: its largest entry is on its diagonal.
    """
    if basis is not None:
        diagonal = jnp.sum(dot(basis, M) * basis, axis=1)
    else:
        diagonal = M if M.ndim == 1 else jnp.diagonal(M)
    return jnp.mean(diagonal) if normalize == "trace" else jnp.max(diagonal)


def _normalized(
    M: jax.Array,
    normalize: str,
    power: jax.Array | None,
    shrinkage: jax.Array | None,
    basis: jax.Array | None,
) -> jax.Array:
    if shrinkage is not None:
        constant = (
            jnp.ones_like(M) if M.ndim == 1 else jnp.eye(M.shape[0], dtype=M.dtype)
        )
        mean = _scale(M, "trace", None)
        M = (1.0 - shrinkage) * M + shrinkage * mean * constant
    if normalize != "none":
        M = M / _scale(M, normalize, basis)
    if power is None:
        return M
    if M.ndim == 1:
        return jnp.maximum(M, 0.0) ** power
    w, V = jnp.linalg.eigh(M)
    root = dot(V * (jnp.maximum(w, 0.0) ** power)[None, :], V.T)
    return (root + root.T) / 2.0


class StepOptions(NamedTuple):
    """Choices of a step that select what is compiled."""

    diagonal: bool
    center: Center
    normalize: str
    solve_dtype: str
    leave_one_out: bool


class _Solved(NamedTuple):
    alpha: jax.Array
    shift: jax.Array
    predictions: jax.Array | None
    validation_loss: jax.Array
    status: jax.Array
    jitter: jax.Array
    residual: jax.Array
    which: jax.Array


@functools.partial(jax.jit, static_argnames=("options",))
def rfm_step(
    kernel: KernelSpec,
    M: jax.Array,
    rows: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    validation: tuple[jax.Array, jax.Array, jax.Array] | None,
    agop_rows: jax.Array | None,
    basis: jax.Array | None,
    groups: jax.Array | None,
    regs: jax.Array,
    power: jax.Array | None,
    shrinkage: jax.Array | None,
    update: jax.Array,
    *,
    options: StepOptions,
) -> tuple[jax.Array, jax.Array, jax.Array | None, jax.Array]:
    """Run one iteration of a Recursive Feature Machine.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel; its numbers are traced.
    M : array of shape (d, d) or (d,)
        Mahalanobis matrix.
    rows : tuple of arrays of shape (n, d), (n, c), (n,), (n,)
        Training rows X, Y, their weights, and whether they are present; padding has
        weight 0.
    validation : tuple of arrays or None
        The same for validation rows, where weight 0 marks padding.
    agop_rows : int array of shape (k,) or None
        Rows to average gradients over; None means all.
    basis : array of shape (p, d) or None
        Of orthonormal columns, in which the rows are coordinates.
    groups : int array of shape (d,) or None
        The block of M that each feature belongs to; None means one block.
    regs : array of shape () or (r,)
        Ridge added to the diagonal; of several, that of least leave-one-out error.
    power : array of shape () or None
        Power of the normalized AGOP; None means 1.
    shrinkage : array of shape () or None
        Share of the AGOP that its mean diagonal replaces; None means 0.
    update : bool array of shape ()
        Whether to compute the next M.
    options : StepOptions
        As in :class:`mlmethods.rfm.contract.RFMConfig`.

    Returns
    -------
    alpha : array of shape (n, c)
        Coefficients, zero for padding.
    M_next : array shaped like `M`
        The next Mahalanobis matrix, or `M`.
    predictions : array or None
        At the rows that validate.
    numbers : array of shape (7,)
        Status, jitter, residual, training loss, validation loss, AGOP scale, and which
        reg it was.
    """
    X, Y, weights, present = rows
    # Padding keeps weight 1 in the solve, where its row is that of the identity.
    solve_weights = jnp.where(present, weights, 1.0)
    K = kernels.padded_gram(kernel, X, M, present)
    solved = _solve(K, Y, weights, solve_weights, regs, options)
    alpha = solved.alpha
    # The residual of a ridge solve is known from its solution: reg alpha / w.
    error = solved.shift * alpha / solve_weights[:, None]
    training = _mean_square(error, weights)
    predictions, loss = solved.predictions, solved.validation_loss
    if validation is not None:
        X_val, Y_val, w_val = validation
        predictions = kernels.matvec(kernel, X_val, X, alpha, M)
        loss = _mean_square(predictions - Y_val, w_val)

    def updated(_: None) -> tuple[jax.Array, jax.Array]:
        G = _step_agop(kernel, M, X, weights, alpha, agop_rows, options)
        if groups is not None and G.ndim == 2:
            G = jnp.where(groups[:, None] == groups[None, :], G, 0.0)
        scale = _scale(G, "max", basis)
        safe = jnp.where(scale > 0, G, M)
        M_next = _normalized(safe, options.normalize, power, shrinkage, basis)
        return jnp.where(scale > 0, M_next, M), scale

    def same(_: None) -> tuple[jax.Array, jax.Array]:
        return M, jnp.zeros((), M.dtype)

    M_next, scale = jax.lax.cond(update, updated, same, None)
    numbers = jnp.stack(
        [
            solved.status.astype(X.dtype),
            solved.jitter,
            solved.residual,
            training,
            loss,
            scale,
            solved.which.astype(X.dtype),
        ]
    )
    return alpha, M_next, predictions, numbers


def _solve(
    K: jax.Array,
    Y: jax.Array,
    weights: jax.Array,
    solve_weights: jax.Array,
    regs: jax.Array,
    options: StepOptions,
) -> _Solved:
    none = jnp.full((), jnp.nan, Y.dtype)
    if regs.ndim == 0 and not options.leave_one_out:
        solved = linalg.ridge_solve(
            K, Y, regs, weights=solve_weights, solve_dtype=options.solve_dtype
        )
        alpha, status, jitter, residual = solved
        shift, first = regs + jitter, jnp.zeros((), jnp.int32)
        return _Solved(alpha, shift, None, none, status, jitter, residual, first)
    regs = jnp.atleast_1d(regs)
    left = leave_one_out(K, Y, regs, solve_weights, weights)
    predictions, loss = None, none
    if options.leave_one_out:
        predictions = Y - left.errors
        loss = _mean_square(left.errors, weights)
    return _Solved(
        left.alpha,
        regs[left.which] + left.jitter,
        predictions,
        loss,
        left.status,
        left.jitter,
        left.residual,
        left.which,
    )


def _mean_square(errors: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.sum(weights * jnp.mean(errors**2, axis=1)) / jnp.sum(weights)


def _step_agop(
    kernel: KernelSpec,
    M: jax.Array,
    X: jax.Array,
    weights: jax.Array,
    alpha: jax.Array,
    agop_rows: jax.Array | None,
    options: StepOptions,
) -> jax.Array:
    how: dict[str, Any] = {"diagonal": options.diagonal, "center": options.center}
    if agop_rows is None:
        return kernels.agop(kernel, X, None, alpha, M, weights=weights, **how)
    return kernels.agop(
        kernel,
        X[agop_rows],
        X,
        alpha,
        M,
        weights=weights[agop_rows],
        self_index=agop_rows,
        **how,
    )


class RFMProblem:
    """A fit on fixed rows, padded and on the device."""

    def __init__(
        self,
        config: RFMConfig,
        rows: Rows,
        validation: Rows | None,
        agop_rows: NDArray | None,
        basis: NDArray | None,
    ) -> None:
        self._config = config
        self._n, self._d = rows.X.shape
        self._options = StepOptions(
            config.diagonal,
            config.center,
            config.normalize,
            config.solve_dtype,
            config.leave_one_out,
        )
        size = padded_size(self._n)
        present = np.arange(size) < self._n
        with self._scope():
            dtype = np.dtype(config.dtype)
            self._kernel = as_spec(config.lookup_kernel, dtype)
            self._numbers = (
                np.asarray(config.reg, dtype),  # a tuple becomes a vector
                None
                if config.agop_power == 1.0
                else np.asarray(config.agop_power, dtype),
                None
                if config.agop_shrinkage == 0.0
                else np.asarray(config.agop_shrinkage, dtype),
            )
            self._rows = jax.device_put((*_padded(rows, size), present))
            self._validation = None
            self._n_val = self._n if config.leave_one_out else 0
            self._groups = None
            if config.blocks:
                sizes = config.blocks
                groups = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
                self._groups = jax.device_put(groups)
            self._basis = None
            if basis is not None:
                self._basis = jax.device_put(basis.astype(dtype))
            if validation is not None:
                self._n_val = len(validation.X)
                padded = _padded(validation, padded_size(self._n_val))
                self._validation = jax.device_put(tuple(padded))
            self._agop_rows = None
            if agop_rows is not None:
                self._agop_rows = jax.device_put(agop_rows.astype(np.int32))

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        return x64() if self._config.dtype == "float64" else contextlib.nullcontext()

    def initial_metric(self) -> jax.Array:
        """Return the identity, as a diagonal or a matrix."""
        d = self._config.features(self._d)
        eye = np.ones(d) if self._config.diagonal else np.eye(d)
        return self.as_metric(eye)

    def as_metric(self, M: NDArray) -> jax.Array:
        """Bring a Mahalanobis matrix to the device."""
        with self._scope():
            return jax.device_put(np.asarray(M, self._config.dtype))

    def step(
        self, M: jax.Array, *, update: bool, bandwidth: float | None = None
    ) -> Step:
        """Run one compiled step; only seven numbers come back to the host."""
        regs, power, shrinkage = self._numbers
        kernel = self._kernel
        if bandwidth is not None:
            kernel = dataclasses.replace(
                kernel, bandwidth=np.asarray(bandwidth, self._config.dtype)
            )
        with self._scope():
            alpha, M_next, predictions, numbers = rfm_step(
                kernel,
                M,
                self._rows,
                self._validation,
                self._agop_rows,
                self._basis,
                self._groups,
                regs,
                power,
                shrinkage,
                np.asarray(update),
                options=self._options,
            )
            host = np.asarray(numbers, np.float64)
        jitter, residual, training, loss, scale = map(float, host[1:6])
        return Step(
            alpha,
            M_next,
            predictions,
            int(host[0]),
            jitter,
            residual,
            training,
            loss,
            scale,
            self._config.regs[int(host[6])],
        )

    def coefficients(self, alpha: jax.Array) -> NDArray:
        """Return the coefficients without the padding."""
        return np.asarray(alpha)[: self._n]

    def scores(self, predictions: jax.Array) -> NDArray:
        """Return the validation predictions without the padding."""
        return np.asarray(predictions)[: self._n_val]


def _padded(rows: Rows, size: int) -> Rows:
    """Pad with the mean row, which moves no mean, at weight 0 and target 0."""
    extra = size - len(rows.X)
    if not extra:
        return rows
    fill = np.repeat(rows.X.mean(axis=0, keepdims=True), extra, axis=0)
    return Rows(
        np.concatenate([rows.X, fill.astype(rows.X.dtype)]),
        np.concatenate([rows.Y, np.zeros((extra, rows.Y.shape[1]), rows.Y.dtype)]),
        np.concatenate([rows.weights, np.zeros(extra, rows.weights.dtype)]),
    )


class RFMEngine:
    """The RFM engine of the JAX backend.

    Parameters
    ----------
    mesh : jax.sharding.Mesh or None
        Devices to spread the rows of predictions over.
    """

    reads_tables = True

    def __init__(self, mesh: Any = None) -> None:
        self._mesh = mesh

    network_agop = staticmethod(network_agop)
    layer_reports = staticmethod(layer_reports)

    def train_perceptron(self, *args: Any, **options: Any) -> TrainedPerceptron:
        """Train the network of :mod:`mlmethods_jax.rfm.perceptron`."""
        # A fit of a kernel machine needs neither flax nor optax.
        from mlmethods_jax.rfm.perceptron import train_perceptron

        return train_perceptron(*args, **options)

    def problem(
        self,
        config: RFMConfig,
        rows: Rows,
        validation: Rows | None = None,
        agop_rows: NDArray | None = None,
        basis: NDArray | None = None,
    ) -> RFMProblem:
        """Put a fit on the device."""
        return RFMProblem(config, rows, validation, agop_rows, basis)

    def predict(
        self,
        config: RFMConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray,
    ) -> NDArray:
        """Return predictions (n, c)."""
        if self._mesh is not None:
            return self._predict_sharded(config, X, centers, alpha, M)
        return self._evaluate(kernels.matvec, config, X, centers, alpha, M)

    def gradients(
        self,
        config: RFMConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray,
    ) -> NDArray:
        """Return the gradients of the predictions, (n, c, d)."""
        return self._evaluate(kernels.grad, config, X, centers, alpha, M)

    def _predict_sharded(self, config: RFMConfig, *arrays: NDArray) -> NDArray:
        from mlmethods_jax.solvers.sharded_eigenpro import ShardedKernelEngine

        solver = EigenProConfig(kernel=config.lookup_kernel, dtype=config.dtype)
        return ShardedKernelEngine(self._mesh).predict(solver, *arrays)

    def _evaluate(
        self,
        op: Any,
        config: RFMConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray,
    ) -> NDArray:
        wide = config.dtype == "float64"
        # Centers without a coefficient count for nothing, and a few sizes of them
        # compile for many numbers of training rows.
        extra = [(0, padded_size(len(centers)) - len(centers)), (0, 0)]
        arrays = X, np.pad(centers, extra, mode="edge"), np.pad(alpha, extra), M
        with x64() if wide else contextlib.nullcontext():
            native = jax.device_put([np.asarray(a, config.dtype) for a in arrays])
            return np.asarray(op(config.lookup_kernel, *native))


engine = RFMEngine()
