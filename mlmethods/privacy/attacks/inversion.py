"""Rebuild the examples behind a gradient."""

from __future__ import annotations

import numbers
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import (
    ArrayLike,
    Backend,
    Key,
    NDArray,
    PrivacyMechanism,
    PyTree,
)
from mlmethods.privacy.attacks.metrics import (
    ReconstructionMetrics,
    reconstruction_metrics,
)

__all__ = ["Inversion", "dlg", "idlg", "invert_gradients"]

_SCALINGS = {"none": "none", "gaussian": "clip"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Inversion:
    """What an attacker rebuilt from a gradient.

    Attributes
    ----------
    inputs : ndarray of shape (n, ...)
        Reconstructed examples.
    labels : int ndarray of shape (n,)
        Their labels, given or inferred.
    distance : float
        Distance of their gradient from the target, at the best restart: ``1 - cosine``
        for :func:`invert_gradients`, else relative squared distance.
    method : str
        Name of the attack.
    metrics : ReconstructionMetrics or None
        Errors, where the true examples were given.
    """

    inputs: NDArray = field(repr=False)
    labels: NDArray
    distance: float
    method: str
    metrics: ReconstructionMetrics | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON, without the examples."""
        found = {} if self.metrics is None else self.metrics.to_dict()
        return {
            "method": self.method,
            "labels": self.labels.tolist(),
            "distance": self.distance,
            **found,
        }


def dlg(
    trainer: Any,
    gradient: PyTree,
    *,
    shape: tuple[int, ...],
    labels: ArrayLike | None = None,
    n_examples: int = 1,
    n_observations: int = 1,
    batch_size: int | None = None,
    mechanism: PrivacyMechanism | Literal["auto"] | None = "auto",
    targets: ArrayLike | None = None,
    num_steps: int = 200,
    num_restarts: int = 1,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    key: Key | int = 0,
    backend: str | Backend = "auto",
) -> Inversion:
    """Search for examples, and their labels, whose gradient is the given one.

    L-BFGS on the squared distance of the gradients, over the inputs and, without
    `labels`, over one distribution over classes for each. It is the attack for smooth
    networks: behind rectifiers the distance has no useful curvature.

    Parameters
    ----------
    trainer : DPTrainer or pair (program, state)
        The network, its parameters and its loss, which the attacker knows.
    gradient : pytree like the parameters
        What the attacker saw: the average over the examples.
    shape : tuple of int
        Shape of one input.
    labels : int array-like of shape (n_examples,), optional
        True labels, if they are known.
    n_examples : int
        Examples in the average.
    n_observations : int
        How many releases of the same examples the attacker saw. Above 1, every array of
        `gradient` has a leading axis of that length, and the average is attacked.
    batch_size : int, optional
        The number that the sum over examples was divided by, `n_examples` by default:
        a release of a trainer is divided by the trainer's batch size. Only squared
        distances depend on it, and only where gradients were not scaled to one norm.
    mechanism : PrivacyMechanism, "auto" or None
        What scaled and randomized the gradients, which the attacker knows: ``"auto"``
        is that of the trainer, None is none. Where it scales every gradient to one
        norm, only directions are compared.
    targets : array-like of shape (n_examples, ...), optional
        The true examples, for the metrics only.
    num_steps, num_restarts : int
        Steps of each of the random starts; the one that ends nearest wins.
    bounds : tuple of two floats or None
        Range of the inputs, by default that of images; None for any value.
    key : int or key
        Who draws where restarts begin.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.

    Returns
    -------
    Inversion

    Raises
    ------
    InvalidInputError
        If an argument is outside its range, or shapes do not fit.
    OperationNotSupportedError
        If the backend cannot differentiate networks.
    DivergenceError
        If no restart ends at a finite distance.

    References
    ----------
    L. Zhu, Z. Liu, S. Han, "Deep leakage from gradients", NeurIPS (2019),
    arXiv:1906.08935.
    """
    return _invert(
        "dlg",
        trainer,
        gradient,
        shape=shape,
        labels=labels,
        n_examples=n_examples,
        mechanism=mechanism,
        targets=targets,
        key=key,
        backend=backend,
        num_steps=num_steps,
        num_restarts=num_restarts,
        bounds=bounds,
        n_observations=n_observations,
        batch_size=batch_size,
    )


def idlg(
    trainer: Any,
    gradient: PyTree,
    *,
    shape: tuple[int, ...],
    labels: ArrayLike | None = None,
    n_examples: int = 1,
    n_observations: int = 1,
    batch_size: int | None = None,
    mechanism: PrivacyMechanism | Literal["auto"] | None = "auto",
    targets: ArrayLike | None = None,
    num_steps: int = 200,
    num_restarts: int = 1,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    key: Key | int = 0,
    backend: str | Backend = "auto",
) -> Inversion:
    """Read the label from the gradient, then search for the example as :func:`dlg` does.

    Under a softmax cross entropy the last layer's bias has one negative gradient, that
    of the label. This is exact for a single example without noise, and a guess with it.

    Parameters
    ----------
    trainer, gradient, shape, n_observations, batch_size, mechanism, targets,\
    num_steps, num_restarts, bounds, key, backend
        See :func:`dlg`.
    labels : int array-like of shape (n_examples,), optional
        True labels; needed for more than one example.
    n_examples : int
        Examples in the average.

    Returns
    -------
    Inversion

    Raises
    ------
    InvalidInputError
        If an argument is outside its range, shapes do not fit, or no array of the
        gradient is a bias of as many entries as there are classes.
    OperationNotSupportedError
        If the backend cannot differentiate networks.
    DivergenceError
        If no restart ends at a finite distance.

    References
    ----------
    B. Zhao, K. R. Mopuri, H. Bilen, "iDLG: Improved deep leakage from gradients"
    (2020), arXiv:2001.02610.
    """
    return _invert(
        "idlg",
        trainer,
        gradient,
        shape=shape,
        labels=labels,
        n_examples=n_examples,
        mechanism=mechanism,
        targets=targets,
        key=key,
        backend=backend,
        num_steps=num_steps,
        num_restarts=num_restarts,
        bounds=bounds,
        n_observations=n_observations,
        batch_size=batch_size,
    )


def invert_gradients(
    trainer: Any,
    gradient: PyTree,
    *,
    shape: tuple[int, ...],
    labels: ArrayLike | None = None,
    n_examples: int = 1,
    n_observations: int = 1,
    batch_size: int | None = None,
    mechanism: PrivacyMechanism | Literal["auto"] | None = "auto",
    targets: ArrayLike | None = None,
    num_steps: int = 500,
    num_restarts: int = 2,
    learning_rate: float = 0.1,
    tv_weight: float | Literal["auto"] = "auto",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    key: Key | int = 0,
    backend: str | Backend = "auto",
) -> Inversion:
    """Search for images whose gradient points where the given one does.

    Adam on signed gradients of ``1 - cosine`` plus a total variation, with a step size
    that falls by a factor of ten three times. A scaled or clipped gradient has lost
    nothing for this attack.

    Parameters
    ----------
    trainer, gradient, shape, n_observations, batch_size, mechanism, targets,\
    num_steps, num_restarts, bounds, key, backend
        See :func:`dlg`.
    labels : int array-like of shape (n_examples,), optional
        True labels; without them that of a single example is read from the gradient.
    n_examples : int
        Examples in the average.
    learning_rate : float
        First step size, in the unit of the inputs.
    tv_weight : float or "auto"
        Weight of the total variation; ``"auto"`` is 1e-3 for images, (height, width) or
        (height, width, channels), and 0 else.

    Returns
    -------
    Inversion

    Raises
    ------
    InvalidInputError
        If an argument is outside its range, shapes do not fit, or the label cannot be
        read from the gradient.
    OperationNotSupportedError
        If the backend cannot differentiate networks.
    DivergenceError
        If no restart ends at a finite distance.

    References
    ----------
    J. Geiping, H. Bauermeister, H. Droege, M. Moeller, "Inverting gradients: how easy
    is it to break privacy in federated learning?", NeurIPS (2020), arXiv:2003.14053.

    Examples
    --------
    A network shares the gradient of one digit, without noise::

        engine = get_backend("jax").engine("privacy")
        trainer = make_private(
            engine.network("mlp", (8, 8), 10, activation="sigmoid"),
            engine.optimizer("sgd", 0.1), NoPrivacy(), data_size=1000, batch_size=64,
        ).initialize(X[:1], key=0)
        gradient = trainer.released_gradient((X[:1], y[:1]), key=0)
        found = invert_gradients(trainer, gradient, shape=(8, 8), targets=X[:1])
        found.metrics.psnr
    """
    if tv_weight == "auto":
        image = len(shape) in (2, 3) and min(shape[:2]) > 1
        tv_weight = 1e-3 if image else 0.0
    return _invert(
        "cosine",
        trainer,
        gradient,
        shape=shape,
        labels=labels,
        n_examples=n_examples,
        mechanism=mechanism,
        targets=targets,
        key=key,
        backend=backend,
        num_steps=num_steps,
        num_restarts=num_restarts,
        learning_rate=learning_rate,
        tv_weight=tv_weight,
        bounds=bounds,
        n_observations=n_observations,
        batch_size=batch_size,
    )


def _invert(
    method: str,
    trainer: Any,
    gradient: PyTree,
    *,
    shape: tuple[int, ...],
    labels: ArrayLike | None,
    n_examples: int,
    mechanism: Any,
    targets: ArrayLike | None,
    key: Any,
    backend: Any,
    batch_size: int | None,
    **options: Any,
) -> Inversion:
    program, state = _parts(trainer)
    chosen = get_backend(backend, "engine:privacy")
    engine = chosen.engine("privacy")
    if not hasattr(engine, "invert"):
        raise OperationNotSupportedError(
            f"the privacy engine of backend {chosen.info.name!r} has no gradient "
            "inversion; use backend='jax'"
        )
    n_examples = check_integer("n_examples", n_examples, minimum=1)
    batch = (n_examples, *(check_integer("shape", size, minimum=1) for size in shape))
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
        options["gradient_scale"] = batch_size / n_examples
    if isinstance(mechanism, str) and mechanism == "auto":
        mechanism = getattr(trainer, "mechanism", None)
    if mechanism is not None:
        config = mechanism.config()
        options["scaling"] = _SCALINGS.get(config.kind, "unit")
        options["norm"] = config.norm
        options["groups"] = config.granularity
    if isinstance(key, numbers.Integral):
        key = chosen.key(int(key))
    found = engine.invert(
        key,
        program,
        state,
        gradient,
        shape=batch,
        method=method,
        labels=None if labels is None else np.asarray(labels),
        **options,
    )
    inputs, answer = np.asarray(found.inputs), np.asarray(found.labels)
    metrics = None
    if targets is not None:
        span = 1.0 if options["bounds"] is None else np.ptp(options["bounds"])
        metrics = reconstruction_metrics(inputs, targets, data_range=float(span))
    name = {"cosine": "inverting gradients"}.get(method, method)
    return Inversion(
        inputs=inputs,
        labels=answer,
        distance=float(found.distance),
        method=name,
        metrics=metrics,
    )


def _parts(trainer: Any) -> tuple[Any, Any]:
    """Return the program and its state."""
    if isinstance(trainer, tuple) and len(trainer) == 2:
        return trainer
    program, state = (getattr(trainer, name, None) for name in ("program", "state"))
    if program is None or state is None:
        raise InvalidInputError(
            "trainer must be an initialized DPTrainer or a pair (program, state), got "
            f"{type(trainer).__name__}"
        )
    return program, state
