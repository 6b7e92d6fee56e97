"""Gated recurrent units whose input products are taken for all steps at once.

Only the product with the state is left in the recurrence, for both directions in one
batched product. The gradient of the recurrent weights is one product after the last
step rather than a sum that is updated at every step.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array

from mlmethods.errors import InvalidInputError

__all__ = ["GRU", "GRUCell", "gru", "gru_update"]

# Steps in one turn of the compiled loop: one was faster than four on a CPU.
_UNROLL = 1


class _Saved(NamedTuple):
    """What the gradient of a step needs: gates, the state's candidate, the state."""

    reset: Array
    update: Array
    candidate: Array
    hidden: Array
    state: Array


def gru_update(inputs: Array, hidden: Array, state: Array) -> Array:
    """Return the next state from the two halves of the gates.

    The order of the gates is reset, update, candidate; the reset gate acts on the
    product with the state, ``n = tanh(i_n + r * h_n)``, as in cuDNN and PyTorch.

    Parameters
    ----------
    inputs : float array of shape (..., 3 H)
        Products of the inputs, biases included.
    hidden : float array of shape (..., 3 H)
        Products of the state, biases included.
    state : float array of shape (..., H)
        The state before.

    Returns
    -------
    float array of shape (..., H)
        ``(1 - z) * n + z * state``.
    """
    return _step(inputs, hidden, state)[0]


def _step(inputs: Array, hidden: Array, state: Array) -> tuple[Array, _Saved]:
    size = state.shape[-1]
    gates = jax.nn.sigmoid(inputs[..., : 2 * size] + hidden[..., : 2 * size])
    r, z = gates[..., :size], gates[..., size:]
    hn = hidden[..., 2 * size :]
    n = jnp.tanh(inputs[..., 2 * size :] + r * hn)
    return n + z * (state - n), _Saved(r, z, n, hn, state)


def _product(a: Array, b: Array, dtype: Any) -> Array:
    """Return a @ b in float32, from factors of another dtype if one is given."""
    if dtype is None:
        return a @ b
    a, b = a.astype(dtype), b.astype(dtype)
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _both(forward: Array, backward: Array | None) -> Array:
    """Return the directions of one step as [k, b, ...]."""
    if backward is None:
        return forward[None]
    return jnp.stack((forward, backward))


def _directed(x: Array) -> tuple[Array, Array | None]:
    """Split [t, b, k, ...] into its directions, in the order of their steps."""
    return x[:, :, 0], jnp.flip(x[:, :, 1], 0) if x.shape[2] == 2 else None


def _undirected(x: Array) -> Array:
    """Return [t, k, b, n] in the order of the steps as [t, b, k, n] in that of time."""
    parts = [x[:, 0], *((jnp.flip(x[:, 1], 0),) if x.shape[1] == 2 else ())]
    return jnp.stack(parts, axis=2)


def _run(
    unroll: int,
    dtype: Any,
    saved: bool,
    gates: Array,
    mask: Array | None,
    kernel: Array,
    bias: Array,
    initial: Array,
) -> tuple[Array, Any]:
    """Return the states [t, k, b, H], in the order of the steps, and what is saved."""
    masks = _masks(mask, kernel.shape[0])

    def step(state: Array, xs: Any) -> Any:
        (forward, backward), kept = xs
        hidden = _product(state, kernel, dtype) + bias[:, None]
        new, aside = _step(_both(forward, backward), hidden, state)
        if kept is not None:
            new = jnp.where(_both(*kept)[..., None], new, state)
        return new, (new, aside if saved else None)

    _, (states, aside) = lax.scan(
        step, initial, (_directed(gates), masks), unroll=unroll
    )
    return states, aside


def _masks(mask: Array | None, directions: int) -> Any:
    """Return a mask [t, b] in the order of the steps of each direction."""
    if mask is None:
        return None
    return mask, jnp.flip(mask, 0) if directions == 2 else None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recurrence(
    unroll: int,
    dtype: Any,
    gates: Array,
    mask: Array | None,
    kernel: Array,
    bias: Array,
    initial: Array,
) -> Array:
    states, _ = _run(unroll, dtype, False, gates, mask, kernel, bias, initial)
    return _undirected(states)


def _recurrence_forward(
    unroll: int,
    dtype: Any,
    gates: Array,
    mask: Array | None,
    kernel: Array,
    bias: Array,
    initial: Array,
) -> tuple[Array, Any]:
    states, aside = _run(unroll, dtype, True, gates, mask, kernel, bias, initial)
    return _undirected(states), (aside, mask, kernel)


def _recurrence_backward(unroll: int, dtype: Any, residuals: Any, given: Array) -> Any:
    """Return the gradients; those of the kernel are one product over all steps."""
    aside, mask, kernel = residuals
    transposed = jnp.swapaxes(kernel, 1, 2)

    def step(dstate: Array, xs: Any) -> Any:
        (forward, backward), kept, (r, z, n, hn, state) = xs
        dstate = dstate + _both(forward, backward)
        passed = jnp.zeros_like(dstate)
        if kept is not None:
            valid = _both(*kept)[..., None]
            passed = jnp.where(valid, passed, dstate)
            dstate = jnp.where(valid, dstate, jnp.zeros_like(dstate))
        dn = dstate * (1 - z) * (1 - n * n)
        dz = dstate * (state - n) * z * (1 - z)
        dr = dn * hn * r * (1 - r)
        dhidden = jnp.concatenate((dr, dz, dn * r), -1)
        before = dstate * z + passed + _product(dhidden, transposed, dtype)
        return before, (dn, dhidden)

    xs = (_directed(given), _masks(mask, kernel.shape[0]), aside)
    zero = jnp.zeros(aside.state.shape[1:], given.dtype)
    dinitial, (dn, dhidden) = lax.scan(step, zero, xs, reverse=True, unroll=unroll)
    size = kernel.shape[1]
    dgates = jnp.concatenate((dhidden[..., : 2 * size], dn), -1)
    dkernel = jnp.einsum("tkbh,tkbg->khg", aside.state, dhidden)
    dbias = jnp.sum(dhidden, (0, 2))
    return _undirected(dgates), None, dkernel, dbias, dinitial


_recurrence.defvjp(_recurrence_forward, _recurrence_backward)


def gru(
    x: Array,
    mask: Array | None,
    kernel: Array,
    bias: Array,
    recurrent_kernel: Array,
    recurrent_bias: Array,
    *,
    initial: Array | None = None,
    dtype: Any = None,
    unroll: int = _UNROLL,
) -> Array:
    """Run gated recurrent units over sequences, in one or both directions.

    Parameters
    ----------
    x : float32 array of shape (b, t, n)
        Inputs.
    mask : bool array of shape (b, t) or None
        Steps that count; the state passes the others unchanged, so that the second
        direction begins at the last step that counts.
    kernel : float32 array of shape (n, k, 3 H)
        Input weights of the k directions, 1 or 2; gates in the order reset, update,
        candidate.
    bias : float32 array of shape (k, 3 H)
        Input biases.
    recurrent_kernel : float32 array of shape (k, H, 3 H)
        Weights of the state.
    recurrent_bias : float32 array of shape (k, 3 H)
        Biases of the state; that of the candidate is under the reset gate.
    initial : float32 array of shape (k, b, H), optional
        States before the first step, 0 by default.
    dtype : dtype, optional
        Of the factors of the products, such as bfloat16; the state stays float32.
    unroll : int
        Steps in one turn of the compiled loop.

    Returns
    -------
    float32 array of shape (b, t, k H)
        States of the directions next to each other, 0 at steps that do not count.

    Notes
    -----
    The gradient has its own rule: what a step needs is saved, 5 H numbers for each
    row, step and direction. It can be differentiated again, in reverse.

    References
    ----------
    Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio (2014),
    Learning phrase representations using RNN encoder-decoder, EMNLP; arXiv:1406.1078.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.layers.gru import gru
    >>> kernel, recurrent = jnp.zeros((3, 2, 12)), jnp.zeros((2, 4, 12))
    >>> bias = jnp.zeros((2, 12)).at[:, 8:].set(1.0)
    >>> y = gru(jnp.zeros((1, 2, 3)), None, kernel, bias, recurrent, jnp.zeros((2, 12)))
    >>> y.shape, [round(v, 4) for v in y[0, :, 0].tolist()]
    ((1, 2, 8), [0.3808, 0.5712])
    """
    directions, size = recurrent_kernel.shape[:2]
    if mask is not None:
        # a number that is not finite would reach the gradients of the weights
        x = jnp.where(mask[..., None], x, jnp.zeros_like(x))
    steps = jnp.swapaxes(x, 0, 1)
    flat = _product(steps, kernel.reshape(kernel.shape[0], -1), dtype)
    gates = flat.reshape(*flat.shape[:2], directions, 3 * size) + bias[None, None]
    if initial is None:
        initial = jnp.zeros((directions, x.shape[0], size), flat.dtype)
    turned = None if mask is None else mask.T
    states = _recurrence(
        unroll, dtype, gates, turned, recurrent_kernel, recurrent_bias, initial
    )
    y = jnp.swapaxes(states.reshape(*states.shape[:2], -1), 0, 1)
    return y if mask is None else jnp.where(mask[..., None], y, jnp.zeros_like(y))


def _uniform(rngs: nnx.Rngs, bound: float, shape: tuple[int, ...], dtype: Any) -> Array:
    # a flat draw compiles several times faster than one of three axes
    draws = jax.random.uniform(rngs.params(), (math.prod(shape),), dtype, -bound, bound)
    return draws.reshape(shape)


class GRU(nnx.Module):
    """Gated recurrent units in one or both directions.

    Weights and biases are drawn from U(-1/sqrt(H), 1/sqrt(H)).

    Parameters
    ----------
    in_features : int
        Inputs of a step.
    hidden : int
        Units H of a direction.
    bidirectional : bool
        Whether a second direction runs from the last step to the first.
    dtype : dtype, optional
        Of the factors of the products, such as bfloat16; outputs are float32.
    rngs : nnx.Rngs
        Source of the parameters.

    Raises
    ------
    InvalidInputError
        If a size is below 1; from the call, if `x` has another shape.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.gru import GRU
    >>> GRU(3, 4, rngs=nnx.Rngs(0))(jnp.zeros((2, 5, 3))).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        bidirectional: bool = True,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        if min(in_features, hidden) < 1:
            raise InvalidInputError(
                f"in_features and hidden must be at least 1, got {in_features} and "
                f"{hidden}"
            )
        directions = 2 if bidirectional else 1
        draw = functools.partial(_uniform, rngs, 1 / math.sqrt(hidden))
        self.in_features = in_features
        self.dtype = dtype
        self.kernel = nnx.Param(
            draw((in_features, directions, 3 * hidden), jnp.float32)
        )
        self.bias = nnx.Param(draw((directions, 3 * hidden), jnp.float32))
        self.recurrent_kernel = nnx.Param(
            draw((directions, hidden, 3 * hidden), jnp.float32)
        )
        self.recurrent_bias = nnx.Param(draw((directions, 3 * hidden), jnp.float32))

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """Return the states [b, t, k H] for inputs [b, t, in_features]."""
        if x.ndim != 3 or x.shape[-1] != self.in_features:
            raise InvalidInputError(
                f"x must have shape (b, t, {self.in_features}), got {x.shape}"
            )
        return gru(
            x,
            mask,
            self.kernel[...],
            self.bias[...],
            self.recurrent_kernel[...],
            self.recurrent_bias[...],
            dtype=self.dtype,
        )


class GRUCell(nnx.Module):
    """The weights of gated recurrent units that are run a step at a time.

    ``gru_update(x @ kernel + bias, h @ recurrent_kernel + recurrent_bias, h)`` is a
    step; the module does it, and a loop with a gradient of its own takes the parts.

    Parameters
    ----------
    in_features : int
        Inputs of a step.
    hidden : int
        Units H.
    rngs : nnx.Rngs
        Source of the parameters, U(-1/sqrt(H), 1/sqrt(H)).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.gru import GRUCell
    >>> GRUCell(3, 4, rngs=nnx.Rngs(0))(jnp.zeros((2, 3)), jnp.zeros((2, 4))).shape
    (2, 4)
    """

    def __init__(self, in_features: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        if min(in_features, hidden) < 1:
            raise InvalidInputError(
                f"in_features and hidden must be at least 1, got {in_features} and "
                f"{hidden}"
            )
        draw = functools.partial(_uniform, rngs, 1 / math.sqrt(hidden))
        self.kernel = nnx.Param(draw((in_features, 3 * hidden), jnp.float32))
        self.bias = nnx.Param(draw((3 * hidden,), jnp.float32))
        self.recurrent_kernel = nnx.Param(draw((hidden, 3 * hidden), jnp.float32))
        self.recurrent_bias = nnx.Param(draw((3 * hidden,), jnp.float32))

    def __call__(self, x: Array, state: Array) -> Array:
        """Return the next state [..., H]."""
        # added with explicit axes, as nothing may be broadcast by rank
        bias = self.bias[...].reshape((1,) * (x.ndim - 1) + (-1,))
        other = self.recurrent_bias[...].reshape((1,) * (x.ndim - 1) + (-1,))
        inputs = x @ self.kernel[...] + bias
        return gru_update(inputs, state @ self.recurrent_kernel[...] + other, state)
