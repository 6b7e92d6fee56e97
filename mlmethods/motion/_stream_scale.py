"""How a stream is normalized: by fixed statistics, or by those of what has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import Channel, Recording

__all__ = ["Scale", "make_scale"]


class Scale:
    """Subtracts a mean and divides by a standard deviation.

    Parameters
    ----------
    mean, scale : float64 arrays of shape (D,), optional
        Fixed statistics; a scale of 0 gives 0. Without them the statistics are those
        of all frames that :meth:`update` was given.
    moved : bool array of shape (D,)
        Channels that are normalized at all.
    """

    def __init__(
        self, mean: NDArray | None, scale: NDArray | None, moved: NDArray
    ) -> None:
        self.online = mean is None
        self.moved = moved
        size = len(moved)
        self._fixed = (
            None if mean is None else np.asarray(mean, np.float64),
            None if scale is None else np.asarray(scale, np.float64),
        )
        self._count = 0
        self._mean = np.zeros(size)
        self._square = np.zeros(size)

    def update(self, frames: NDArray) -> None:
        """Take further frames [n, D] into the running statistics."""
        count = len(frames)
        if not self.online or not count:
            return
        block = frames.astype(np.float64)
        mean = block.mean(axis=0)
        square = np.square(block - mean).sum(axis=0)
        total = self._count + count
        gap = mean - self._mean
        # Two groups of frames become one without a second look at the frames.
        self._square += square + gap * gap * (self._count * count / total)
        self._mean += gap * (count / total)
        self._count = total

    def apply(self, frames: NDArray) -> NDArray:
        """Return normalized frames, float32 [n, D]; what is not finite becomes 0."""
        mean, scale = self._statistics()
        block = frames.astype(np.float64)
        values = np.divide(
            block - mean, scale, out=np.zeros_like(block), where=scale > 0
        )
        return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)

    def _statistics(self) -> tuple[NDArray, NDArray]:
        mean, scale = self._fixed
        if mean is None or scale is None:
            mean = self._mean
            scale = np.sqrt(self._square / max(self._count, 1))
            # Rounding alone must not be taken for movement.
            scale[scale <= 1e-7 * np.abs(mean)] = 0.0
            mean = np.where(self.moved, mean, 0.0)
            scale = np.where(self.moved, scale, 1.0)
        return mean, scale

    def state(self) -> dict[str, Any]:
        """Return the running statistics."""
        return {
            "count": self._count,
            "mean": self._mean.copy(),
            "square": self._square.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from running statistics."""
        self._count = int(state["count"])
        self._mean = np.array(state["mean"], dtype=np.float64)
        self._square = np.array(state["square"], dtype=np.float64)


def make_scale(
    normalizer: Any, model: Any, n_features: int, channels: Sequence[Channel] | None
) -> Scale:
    """Return the scale that a stream was asked for.

    Raises
    ------
    InvalidInputError
        If the normalizer is none of those accepted, or has other channels.
    """
    from mlmethods.motion.normalize import ZNormalizer

    moved = np.ones(n_features, bool)
    if channels is not None:
        moved = np.array([channel.kind != "side" for channel in channels])
    if normalizer is None:
        own = getattr(model, "normalizer_", None)
        if own is None:
            return Scale(np.zeros(n_features), np.ones(n_features), moved)
        normalizer = own if hasattr(own, "mean_") else "online"
    if isinstance(normalizer, str):
        if normalizer != "online":
            raise InvalidInputError(
                "normalizer must be 'online', a recording or a fitted ZNormalizer, got "
                f"{normalizer!r}"
            )
        return Scale(None, None, moved)
    if isinstance(normalizer, Recording):
        normalizer = ZNormalizer(per="train").fit([normalizer])
    mean, scale = (getattr(normalizer, name, None) for name in ("mean_", "scale_"))
    if mean is None or scale is None:
        raise InvalidInputError(
            "normalizer must be 'online', a recording or a fitted ZNormalizer, got "
            f"{type(normalizer).__name__} without mean_ and scale_"
        )
    if len(mean) != n_features:
        raise InvalidInputError(
            f"normalizer must have the {n_features} channels of the model, got "
            f"{len(mean)}"
        )
    return Scale(mean, scale, moved)
