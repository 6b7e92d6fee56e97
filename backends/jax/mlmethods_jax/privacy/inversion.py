"""Search for the inputs behind a gradient, as compiled programs.

The attacker knows the network, its parameters and the loss, sees the average gradient
of a batch, and looks for a batch with the same gradient. Restarts run side by side;
memory grows with their number times the number of parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlmethods.errors import DivergenceError, InvalidInputError
from mlmethods.interfaces import Array, Key, NDArray, PyTree
from mlmethods.privacy.contract import Granularity, Reconstruction
from mlmethods_jax.ops._precision import scope
from mlmethods_jax.privacy._inversion_search import Numbers, Release, search
from mlmethods_jax.privacy.groups import leaf_groups

__all__ = ["OutputLoss", "infer_labels", "invert_gradient", "soft_cross_entropy"]

_METHODS = ("dlg", "idlg", "cosine")
_SCALINGS = ("none", "unit", "clip")
_STEPS = {"dlg": 200, "idlg": 200, "cosine": 1000}


def soft_cross_entropy(outputs: Array, targets: Array) -> Array:
    """Return the cross entropy of each row of `outputs` [b, classes].

    Parameters
    ----------
    outputs : array of shape (b, classes)
        Logits.
    targets : int array of shape (b,) or array of shape (b, classes)
        Classes, or probabilities of classes.

    Returns
    -------
    array of shape (b,)

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.privacy.inversion import soft_cross_entropy
    >>> soft_cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).round(3).tolist()
    [0.6930000185966492]
    """
    log_probs = jax.nn.log_softmax(outputs, axis=-1)
    if jnp.issubdtype(targets.dtype, jnp.integer):
        picked = jnp.take_along_axis(log_probs, targets[:, None], axis=-1)
        return -picked[:, 0]
    return -jnp.sum(targets * log_probs, axis=-1)


@dataclass(frozen=True)
class OutputLoss:
    """A network and a loss of its outputs as one function of parameters.

    Attributes
    ----------
    apply : callable
        ``apply(params, inputs)`` returns outputs [b, ...]; hashable. Objects with equal
        `apply` and `loss` share compiled code.
    loss : callable, optional
        ``loss(outputs, targets)`` returns one loss an example;
        :func:`soft_cross_entropy` by default.
    """

    apply: Callable[..., Array]
    loss: Callable[..., Array] = soft_cross_entropy

    def __call__(self, params: PyTree, inputs: Array, targets: Array) -> Array:
        """Return the loss of each example."""
        return self.loss(self.apply(params, inputs), targets)


def infer_labels(gradient: PyTree, num_classes: int) -> NDArray:
    """Return the label of one example from the gradient of the last layer's bias.

    Under a softmax cross entropy that gradient is ``softmax(outputs) - onehot``: the
    entry of the label is the only negative one. The label is the smallest entry, which
    is exact for the gradient of a single example, whatever its scale, and a guess where
    noise has been added.

    Parameters
    ----------
    gradient : pytree of arrays
        The gradient of a single example.
    num_classes : int
        Number of outputs.

    Returns
    -------
    int32 array of shape (1,)

    Raises
    ------
    InvalidInputError
        If no array of the gradient has the shape (num_classes,).

    References
    ----------
    B. Zhao, K. R. Mopuri, H. Bilen, "iDLG: Improved deep leakage from gradients"
    (2020), arXiv:2001.02610.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_jax.privacy.inversion import infer_labels
    >>> infer_labels({"bias": np.array([0.2, -0.7, 0.5])}, 3)
    array([1], dtype=int32)
    """
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradient)]
    found = [leaf for leaf in leaves if leaf.shape == (num_classes,)]
    if not found:
        raise InvalidInputError(
            f"labels must be given: no array of gradient has the shape ({num_classes},) "
            "of a last layer's bias"
        )
    # the entries of that layer's gradient sum to zero, those of another need not
    off = [abs(b.sum()) / max(np.abs(b).sum(), np.finfo(float).tiny) for b in found]
    return np.array([np.argmin(found[int(np.argmin(off))])], np.int32)


def invert_gradient(
    key: Key,
    loss_fn: Callable[[PyTree, Array, Array], Array],
    params: PyTree,
    gradient: PyTree,
    *,
    shape: tuple[int, ...],
    num_classes: int,
    labels: Any = None,
    method: str = "cosine",
    num_steps: int | None = None,
    num_restarts: int = 1,
    learning_rate: float = 0.1,
    tv_weight: float = 0.0,
    bounds: tuple[float, float] | None = None,
    image_shape: tuple[int, ...] | None = None,
    scaling: str = "none",
    norm: Any = 1.0,
    groups: Granularity = "model",
    n_observations: int = 1,
    gradient_scale: float = 1.0,
) -> Reconstruction:
    """Search for inputs whose average gradient is near `gradient`.

    Parameters
    ----------
    key : key
        Consumed; it draws where restarts begin.
    loss_fn : callable
        ``loss_fn(params, inputs, targets)`` returns one loss an example; hashable.
        Targets are classes, int [b]; for ``"dlg"`` without labels they are
        probabilities [b, num_classes]. See :class:`OutputLoss`.
    params : pytree of floating arrays
        Where the gradient was taken.
    gradient : pytree like `params`
        What was observed: the average over the batch, or over repeated releases of it.
    shape : tuple of int
        Shape of the inputs, (b, ...).
    num_classes : int
        Number of classes.
    labels : int array of shape (b,), optional
        The labels, if they are known. Without them ``"dlg"`` searches for them too, and
        the others read the label of a single example from `gradient`.
    method : {"dlg", "idlg", "cosine"}
        Squared distance by L-BFGS, with labels unknown or inferred; or cosine distance
        by Adam on signed gradients, with a step size that falls by a factor of ten at
        3/8, 5/8 and 7/8 of the run.
    num_steps : int, optional
        Steps of a restart: 1000 for ``"cosine"``, else 200.
    num_restarts : int
        Random starts; the one that ends nearest wins.
    learning_rate : float
        Step size of ``"cosine"`` in the unit of the inputs.
    tv_weight : float
        Weight of the total variation of images.
    bounds : tuple of two floats, optional
        Range of the inputs. Starts are uniform within it, or standard normal without.
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels) of one input, for `tv_weight`; by
        default that of `shape` where it has them.
    scaling : {"none", "unit", "clip"}
        What the mechanism did to each example's gradient: nothing, scaled it to `norm`,
        or clipped it to `norm`. After ``"unit"`` only directions are compared, because
        noise has shortened the average.
    norm : float or sequence of float
        Of the whole gradient, shared equally over groups (``norm / sqrt(groups)``
        each), or one for each group.
    groups : "model", "layer" or tuple of tuples of str
        What is scaled on its own; see
        :data:`mlmethods.privacy.contract.Granularity`.
    n_observations : int
        Above 1, the arrays of `gradient` have a leading axis of that length, one entry
        for each release of the same examples, and their average is attacked.
    gradient_scale : float
        `gradient` times this is the average over the batch: the number that a sum was
        divided by, over the number of examples. Comparisons of directions ignore it.

    Returns
    -------
    Reconstruction
        `distance` is ``1 - cosine`` or the squared distance over the squared norm of
        `gradient`, without the total variation.

    Raises
    ------
    InvalidInputError
        If an argument is outside its range, or the shapes do not fit.
    DivergenceError
        If no restart ends at a finite distance.

    Notes
    -----
    New numbers (`num_steps`, `learning_rate`, `tv_weight`, `bounds`, `norm`) do not
    compile again. Memory is a few times `num_restarts` times the number of parameters.

    References
    ----------
    L. Zhu, Z. Liu, S. Han, "Deep leakage from gradients" (2019), arXiv:1906.08935.

    J. Geiping, H. Bauermeister, H. Droege, M. Moeller, "Inverting gradients: how easy
    is it to break privacy in federated learning?" (2020), arXiv:2003.14053.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mlmethods_jax.privacy.inversion import OutputLoss, invert_gradient
    >>> def apply(params, x):
    ...     return jnp.tanh(x @ params["w"]) @ params["v"] + params["b"]
    >>> keys = jax.random.split(jax.random.key(0), 3)
    >>> params = {"w": jax.random.normal(keys[0], (4, 8)),
    ...           "v": jax.random.normal(keys[1], (8, 3)), "b": jnp.zeros(3)}
    >>> loss, x, y = OutputLoss(apply), jnp.array([[0.1, 0.9, 0.4, 0.7]]), jnp.array([2])
    >>> gradient = jax.grad(lambda p: loss(p, x, y).sum())(params)
    >>> found = invert_gradient(keys[2], loss, params, gradient, shape=(1, 4),
    ...                         num_classes=3, num_restarts=4, bounds=(0.0, 1.0))
    >>> found.labels.tolist(), bool(abs(found.inputs - x).max() < 0.02)
    ([2], True)
    """
    shape = tuple(int(size) for size in shape)
    _check_options(shape, num_classes, method, num_steps, num_restarts, scaling)
    if not (np.isfinite(tv_weight) and tv_weight >= 0):
        raise InvalidInputError(f"tv_weight must be finite and >= 0, got {tv_weight}")
    positive = {"learning_rate": learning_rate, "gradient_scale": gradient_scale}
    for name, value in positive.items():
        if not 0 < value < np.inf:
            raise InvalidInputError(f"{name} must be finite and > 0, got {value}")
    if n_observations != 1:
        gradient = _averaged(gradient, n_observations)
    gradient = jax.tree.map(
        lambda leaf: gradient_scale * np.asarray(leaf, np.float64), gradient
    )
    dtype = _check_trees(params, gradient)
    release, norms = _release(scaling, norm, groups, params, dtype)
    low, high = (-np.inf, np.inf) if bounds is None else bounds
    if bounds is not None and not -np.inf < low < high < np.inf:
        raise InvalidInputError(
            f"bounds must be two finite numbers in increasing order, got {bounds}"
        )
    image_shape = _image_shape(shape, image_shape) if tv_weight else None
    if labels is None and method != "dlg":
        if shape[0] != 1:
            raise InvalidInputError(
                f"labels must be given for {shape[0]} inputs: only that of a single "
                "input can be read from a gradient"
            )
        labels = infer_labels(gradient, num_classes)
    known = _labels(labels, shape[0], num_classes)
    numbers = Numbers(
        num_steps=np.int32(_STEPS[method] if num_steps is None else num_steps),
        learning_rate=np.asarray(learning_rate, dtype),
        tv_weight=np.asarray(tv_weight, dtype),
        low=np.asarray(low, dtype),
        high=np.asarray(high, dtype),
        norms=norms,
    )
    with scope(dtype):
        inputs, answer, distance = search(
            key,
            params,
            jax.tree.map(lambda leaf: leaf.astype(dtype), gradient),
            known,
            numbers,
            loss_fn=loss_fn,
            method=method,
            release=release,
            shape=shape,
            image_shape=image_shape,
            num_classes=int(num_classes),
            num_restarts=int(num_restarts),
            bounded=bounds is not None,
        )
        # rounding can take a cosine above 1
        found = max(float(distance), 0.0)
        result = Reconstruction(np.asarray(inputs), np.asarray(answer), found)
    if not np.isfinite(result.distance):
        raise DivergenceError(
            f"none of {num_restarts} restarts ended at a finite distance from gradient"
        )
    return result


def _check_options(
    shape: tuple[int, ...],
    num_classes: int,
    method: str,
    num_steps: int | None,
    num_restarts: int,
    scaling: str,
) -> None:
    if method not in _METHODS:
        raise InvalidInputError(
            f"method must be one of {', '.join(_METHODS)}, got {method!r}"
        )
    if scaling not in _SCALINGS:
        raise InvalidInputError(
            f"scaling must be one of {', '.join(_SCALINGS)}, got {scaling!r}"
        )
    if len(shape) < 2 or min(shape) < 1:
        raise InvalidInputError(
            f"shape must be (batch, ...) of positive integers, got {shape}"
        )
    counts = {"num_classes": num_classes, "num_restarts": num_restarts}
    if num_steps is not None:
        counts["num_steps"] = num_steps
    for name, value in counts.items():
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise InvalidInputError(f"{name} must be an integer >= 1, got {value!r}")


def _averaged(gradient: PyTree, count: int) -> PyTree:
    if isinstance(count, bool) or int(count) != count or count < 1:
        raise InvalidInputError(
            f"n_observations must be an integer >= 1, got {count!r}"
        )
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(gradient)}
    if lengths != {(count,)}:
        raise InvalidInputError(
            f"gradient must have arrays with {count} observations each, got leading "
            f"axes {sorted(lengths)}"
        )
    return jax.tree.map(lambda leaf: np.mean(np.asarray(leaf, np.float64), 0), gradient)


def _check_trees(params: PyTree, gradient: PyTree) -> np.dtype:
    """Return the dtype of the parameters, which the gradient must resemble."""
    expected: Any = jax.tree.structure(params)
    found: Any = jax.tree.structure(gradient)
    if found != expected:
        raise InvalidInputError(
            f"gradient must be a pytree like params {expected}, got {found}"
        )
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise InvalidInputError("params must hold at least one array, got none")
    for ours, theirs in zip(leaves, jax.tree.leaves(gradient), strict=True):
        if np.shape(ours) != np.shape(theirs):
            raise InvalidInputError(
                "gradient must have the shapes of params, got "
                f"{np.shape(theirs)} for {np.shape(ours)}"
            )
        if not np.isfinite(np.asarray(theirs, np.float64)).all():
            raise InvalidInputError("gradient must be finite, got NaN or infinity")
    dtypes = {np.dtype(jnp.result_type(leaf)) for leaf in leaves}
    if len(dtypes) > 1 or not jnp.issubdtype(next(iter(dtypes)), jnp.floating):
        raise InvalidInputError(
            "params must hold floating arrays of one dtype, got "
            f"{', '.join(sorted(map(str, dtypes)))}"
        )
    return dtypes.pop()


def _release(
    scaling: str, norm: Any, granularity: Granularity, params: PyTree, dtype: np.dtype
) -> tuple[Release, NDArray]:
    """Return how gradients are scaled, and the norm of each group."""
    release = Release(scaling, leaf_groups(params, granularity))
    norms = np.asarray(norm, np.float64)
    if norms.ndim == 0:
        norms = np.full(len(release.groups), norms / np.sqrt(len(release.groups)))
    if norms.shape != (len(release.groups),):
        raise InvalidInputError(
            f"norm must be one number or one for each of {len(release.groups)} groups, got "
            f"shape {norms.shape}"
        )
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise InvalidInputError(f"norm must be finite and > 0, got {norm!r}")
    return release, norms.astype(dtype)


def _image_shape(shape: tuple[int, ...], given: Any) -> tuple[int, ...]:
    image = shape[1:] if given is None else tuple(int(size) for size in given)
    if len(image) not in (2, 3) or np.prod(image) != np.prod(shape[1:]):
        raise InvalidInputError(
            "image_shape must be (height, width) or (height, width, channels) of one "
            f"input of shape {shape[1:]}, got {image}"
        )
    if min(image[:2]) < 2:
        raise InvalidInputError(
            f"image_shape must be at least 2 x 2 for a total variation, got {image}"
        )
    return image


def _labels(labels: Any, batch: int, num_classes: int) -> NDArray | None:
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (batch,) or array.dtype.kind not in "iu":
        raise InvalidInputError(
            f"labels must be integers of shape ({batch},), got {array.dtype} of shape "
            f"{array.shape}"
        )
    if array.min() < 0 or array.max() >= num_classes:
        raise InvalidInputError(
            f"labels must be in 0..{num_classes - 1}, got {array.min()}..{array.max()}"
        )
    return array.astype(np.int32)
