"""Private releases in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.privacy.contract import MechanismConfig
from mlmethods_numpy.engines._purkayastha import draw_angles
from mlmethods_numpy.ops.privacy import vmf_sample

__all__ = ["NumpyPrivacyEngine", "engine"]


def _tangents(rng: np.random.Generator, unit: np.ndarray) -> np.ndarray:
    """Draw uniform directions orthogonal to the rows of `unit`."""
    tangent = rng.standard_normal(unit.shape)
    # The second pass removes the rounding of the first where little is left.
    for _ in range(2):
        tangent -= np.sum(tangent * unit, axis=-1, keepdims=True) * unit
        tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    return tangent


def _purkayastha(
    rng: np.random.Generator, unit: np.ndarray, kappa: float
) -> np.ndarray:
    count, p = unit.shape
    angle = draw_angles(rng, p, kappa, count)[:, None]
    return np.cos(angle) * unit + np.sin(angle) * _tangents(rng, unit)


def _vmf(rng: np.random.Generator, unit: np.ndarray, kappa: float) -> np.ndarray:
    return vmf_sample(rng, unit, np.full(len(unit), kappa))


def _gaussian(rng: np.random.Generator, unit: np.ndarray, scale: float) -> np.ndarray:
    return unit + scale * rng.standard_normal(unit.shape)


def _euclidean_laplace(
    rng: np.random.Generator, unit: np.ndarray, epsilon: float
) -> np.ndarray:
    noise = rng.standard_normal(unit.shape)
    length = rng.gamma(unit.shape[1], 1 / epsilon, size=len(unit))
    return unit + (length / np.linalg.norm(noise, axis=1))[:, None] * noise


def _coordinate_laplace(
    rng: np.random.Generator, unit: np.ndarray, epsilon: float
) -> np.ndarray:
    return unit + rng.laplace(scale=1 / epsilon, size=unit.shape)


def _projected_normal(
    rng: np.random.Generator, unit: np.ndarray, sigma: float
) -> np.ndarray:
    moved = _gaussian(rng, unit, sigma)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def _none(rng: np.random.Generator, unit: np.ndarray, scale: float) -> np.ndarray:
    return unit.copy()


_RELEASES: dict[str, Callable[[np.random.Generator, np.ndarray, float], np.ndarray]] = {
    "vmf": _vmf,
    "gaussian": _gaussian,
    "purkayastha": _purkayastha,
    "euclidean_laplace": _euclidean_laplace,
    "coordinate_laplace": _coordinate_laplace,
    "projected_normal": _projected_normal,
    "none": _none,
}


class NumpyPrivacyEngine:
    """The reference of what mechanisms draw; it does not train."""

    def release(
        self, key: np.random.Generator, unit_vectors: Any, config: MechanismConfig
    ) -> np.ndarray:
        """Release each row of `unit_vectors` on its own, scaled to norm 1.

        Parameters
        ----------
        key : numpy.random.Generator
            Advanced by the draws.
        unit_vectors : array of shape (n, p)
            Directions; only their direction counts.
        config : MechanismConfig
            `kind` and `scale`, one number.

        Returns
        -------
        float64 array of shape (n, p)
            Rows without an accepted draw are NaN.

        Raises
        ------
        InvalidInputError
            If the shape is another, a row has no direction, or `scale` is no number
            that is finite and >= 0.
        OperationNotSupportedError
            If the kind is unknown.
        """
        if config.kind not in _RELEASES:
            raise OperationNotSupportedError(
                f"the NumPy backend releases {', '.join(_RELEASES)}, not {config.kind!r}"
            )
        if isinstance(config.scale, tuple) or not 0 <= config.scale < np.inf:
            raise InvalidInputError(
                f"scale must be one finite number >= 0, got {config.scale!r}"
            )
        rows = np.asarray(unit_vectors, np.float64)
        if rows.ndim != 2 or rows.shape[1] < 2:
            raise InvalidInputError(
                "unit_vectors must have shape (n, p) with p >= 2, got shape "
                f"{rows.shape}"
            )
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.all((norms > 0) & np.isfinite(norms)):
            raise InvalidInputError("unit_vectors has a row that is zero or not finite")
        return _RELEASES[config.kind](key, rows / norms, float(config.scale))

    def program(self, *arguments: Any, **keywords: Any) -> Any:
        """Refuse: networks are trained by another backend.

        Raises
        ------
        OperationNotSupportedError
            Always.
        """
        raise OperationNotSupportedError(
            "the NumPy backend releases directions and trains no networks; "
            "backend='jax' does"
        )


engine = NumpyPrivacyEngine()
