"""The RFM engine in JAX: one compiled step, repeated by the front.

The step solves, predicts at the validation rows and updates M in one program. Rows
are padded to a few sizes with masks, and reg, bandwidth and M are traced, so that
another fold, reg or bandwidth compiles nothing.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mlmethods_jax._pytrees  # noqa: F401
from mlmethods.interfaces import KernelSpec, NDArray
from mlmethods.rfm.contract import RFMConfig, Rows, Step, TrainedPerceptron
from mlmethods_jax.ops import kernels, linalg
from mlmethods_jax.ops._precision import as_spec, x64
from mlmethods_jax.rfm.network import layer_reports, network_agop

__all__ = ["RFMEngine", "RFMProblem", "engine", "rfm_step"]


def bucket(n: int) -> int:
    """Return the padded size of `n` rows: a power of two, then multiples of 64."""
    if n <= 256:
        return 1 << max(0, n - 1).bit_length()
    return -(-n // 64) * 64


def _normalized(M: jax.Array, normalize: str, power: jax.Array | None) -> jax.Array:
    diagonal = M if M.ndim == 1 else jnp.diagonal(M)
    if normalize == "max":
        M = M / jnp.max(M)
    elif normalize != "none":
        M = M / jnp.mean(diagonal)
    if power is None:
        return M
    if M.ndim == 1:
        return jnp.maximum(M, 0.0) ** power
    w, V = jnp.linalg.eigh(M)
    root = jnp.matmul(
        V * (jnp.maximum(w, 0.0) ** power)[None, :],
        V.T,
        precision=jax.lax.Precision.HIGHEST,
    )
    return (root + root.T) / 2.0


@functools.partial(
    jax.jit, static_argnames=("diagonal", "center", "normalize", "solve_dtype")
)
def rfm_step(
    kernel: KernelSpec,
    M: jax.Array,
    X: jax.Array,
    Y: jax.Array,
    weights: jax.Array,
    present: jax.Array,
    validation: tuple[jax.Array, jax.Array, jax.Array] | None,
    agop_rows: jax.Array | None,
    reg: jax.Array,
    power: jax.Array | None,
    update: jax.Array,
    *,
    diagonal: bool,
    center: str,
    normalize: str,
    solve_dtype: str,
) -> tuple[jax.Array, jax.Array, jax.Array | None, jax.Array]:
    """Run one iteration of a Recursive Feature Machine.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel; its numbers are traced.
    M : array of shape (d, d) or (d,)
        Mahalanobis matrix.
    X, Y, weights : arrays of shape (n, d), (n, c), (n,)
        Training rows; padding has weight 0.
    present : bool array of shape (n,)
        False for padding.
    validation : tuple of arrays or None
        The same for validation rows, where weight 0 marks padding.
    agop_rows : int array of shape (k,) or None
        Rows to average gradients over; None means all.
    reg : array of shape ()
        Ridge added to the diagonal.
    power : array of shape () or None
        Power of the normalized AGOP; None means 1.
    update : bool array of shape ()
        Whether to compute the next M.
    diagonal, center, normalize, solve_dtype
        As in :class:`mlmethods.rfm.contract.RFMConfig`.

    Returns
    -------
    alpha : array of shape (n, c)
        Coefficients, zero for padding.
    M_next : array shaped like `M`
        The next Mahalanobis matrix, or `M`.
    predictions : array or None
        At the validation rows.
    numbers : array of shape (6,)
        Status, jitter, residual, training loss, validation loss, AGOP scale.
    """
    K = kernels.padded_gram(kernel, X, M, present)
    # Padding keeps weight 1 in the solve, where its row is that of the identity.
    solve_weights = jnp.where(present, weights, 1.0)
    solved = linalg.ridge_solve(
        K, Y, reg, weights=solve_weights, solve_dtype=solve_dtype
    )
    alpha = solved.alpha
    total = jnp.sum(weights)
    # The residual of a ridge solve is known from its solution: reg alpha / w.
    error = (reg + solved.jitter) * alpha / solve_weights[:, None]
    training = jnp.sum(weights * jnp.mean(error**2, axis=1)) / total
    predictions, loss = None, jnp.full((), jnp.nan, X.dtype)
    if validation is not None:
        X_val, Y_val, w_val = validation
        predictions = kernels.matvec(kernel, X_val, X, alpha, M)
        errors = jnp.mean((predictions - Y_val) ** 2, axis=1)
        loss = jnp.sum(w_val * errors) / jnp.sum(w_val)

    def updated(_: None) -> tuple[jax.Array, jax.Array]:
        options: dict[str, Any] = {"diagonal": diagonal, "center": center}
        if agop_rows is None:
            G = kernels.agop(kernel, X, None, alpha, M, weights=weights, **options)
        else:
            G = kernels.agop(
                kernel,
                X[agop_rows],
                X,
                alpha,
                M,
                weights=weights[agop_rows],
                self_index=agop_rows,
                **options,
            )
        scale = jnp.max(G)
        M_next = _normalized(jnp.where(scale > 0, G, M), normalize, power)
        return jnp.where(scale > 0, M_next, M), scale

    def same(_: None) -> tuple[jax.Array, jax.Array]:
        return M, jnp.zeros((), M.dtype)

    M_next, scale = jax.lax.cond(update, updated, same, None)
    status = solved.status.astype(X.dtype)
    numbers = jnp.stack([status, solved.jitter, solved.residual, training, loss, scale])
    return alpha, M_next, predictions, numbers


class RFMProblem:
    """A fit on fixed rows, padded and on the device."""

    def __init__(
        self,
        config: RFMConfig,
        rows: Rows,
        validation: Rows | None,
        agop_rows: NDArray | None,
    ) -> None:
        self._config = config
        self._n, self._d = rows.X.shape
        size = bucket(self._n)
        present = np.arange(size) < self._n
        with self._scope():
            dtype = np.dtype(config.dtype)
            self._kernel = as_spec(config.kernel, dtype)
            self._numbers = (
                np.asarray(config.reg, dtype),
                None
                if config.agop_power == 1.0
                else np.asarray(config.agop_power, dtype),
            )
            self._rows = jax.device_put((*_padded(rows, size), present))
            self._validation = None
            self._n_val = 0
            if validation is not None:
                self._n_val = len(validation.X)
                padded = _padded(validation, bucket(self._n_val))
                self._validation = jax.device_put(tuple(padded))
            self._agop_rows = None
            if agop_rows is not None:
                self._agop_rows = jax.device_put(agop_rows.astype(np.int32))

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        return x64() if self._config.dtype == "float64" else contextlib.nullcontext()

    def initial_metric(self) -> jax.Array:
        """Return the identity, as a diagonal or a matrix."""
        eye = np.ones(self._d) if self._config.diagonal else np.eye(self._d)
        return self.as_metric(eye)

    def as_metric(self, M: NDArray) -> jax.Array:
        """Bring a Mahalanobis matrix to the device."""
        with self._scope():
            return jax.device_put(np.asarray(M, self._config.dtype))

    def step(self, M: jax.Array, *, update: bool) -> Step:
        """Run one compiled step; only six numbers come back to the host."""
        config = self._config
        reg, power = self._numbers
        with self._scope():
            alpha, M_next, predictions, numbers = rfm_step(
                self._kernel,
                M,
                *self._rows,
                self._validation,
                self._agop_rows,
                reg,
                power,
                np.asarray(update),
                diagonal=config.diagonal,
                center=config.center,
                normalize=config.normalize,
                solve_dtype=config.solve_dtype,
            )
            host = np.asarray(numbers, np.float64)
        return Step(alpha, M_next, predictions, int(host[0]), *map(float, host[1:]))

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
    """The RFM engine of the JAX backend."""

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
    ) -> RFMProblem:
        """Put a fit on the device."""
        return RFMProblem(config, rows, validation, agop_rows)

    def predict(
        self,
        config: RFMConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray,
    ) -> NDArray:
        """Return predictions (n, c)."""
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

    def _evaluate(self, op: Any, config: RFMConfig, *arrays: NDArray) -> NDArray:
        wide = config.dtype == "float64"
        with x64() if wide else contextlib.nullcontext():
            native = jax.device_put([np.asarray(a, config.dtype) for a in arrays])
            return np.asarray(op(config.kernel, *native))


engine = RFMEngine()
