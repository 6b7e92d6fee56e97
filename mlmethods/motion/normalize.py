"""Channels with mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import QualityEntry, Recording

__all__ = ["ZNormalizer"]

# Frames taken at a time: a long recording is never copied in double precision.
_BLOCK = 1 << 14


class ZNormalizer(TransformerMixin, BaseEstimator):
    """Subtract the mean of each channel and divide by its standard deviation.

    The standard deviation is that of a population (divided by T). A constant channel
    becomes 0, with an entry in ``Recording.quality``. Channels of the kind ``"side"``
    stay as they are. Frames that ``meta["valid"]`` excludes count for nothing; their
    values that are not finite become 0.

    Parameters
    ----------
    per : {"recording", "session", "train"}, default="recording"
        Over which frames: those of the recording; those of all recordings of the call
        with the same subject and session; or those of the recordings given to `fit`.

    Attributes
    ----------
    mean_, scale_ : float64 arrays of shape (D,)
        After `fit` with ``per="train"``; `scale_` is 0 for a constant channel, and for
        the side they are 0 and 1.
    feature_names_ : list of str
        The channels they belong to.

    Raises
    ------
    InvalidInputError
        If a value is not finite (the message names recording, channel and the first
        frame), if all channels are constant, or channels are not those of `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording
    >>> from mlmethods.motion.preprocess import ZNormalizer
    >>> channels = [Channel("a", "angle", "deg"), Channel("b", "angle", "deg")]
    >>> data = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> recording = Recording(data, 100.0, channels, subject="s1")
    >>> normalized = ZNormalizer().transform([recording])[0]
    >>> normalized.data.tolist(), normalized.quality[0].issue
    ([[-1.0, 0.0], [1.0, 0.0]], 'constant')
    """

    def __init__(
        self, per: Literal["recording", "session", "train"] = "recording"
    ) -> None:
        self.per = per

    def fit(self, X: Iterable[Recording], y: Any = None) -> ZNormalizer:
        """Learn the statistics of the recordings if ``per="train"``, else nothing.

        Parameters
        ----------
        X : iterable of Recording
            With the same channels.
        y : ignored
            For pipelines.
        """
        check_choice("per", self.per, ("recording", "session", "train"))
        if self.per == "train":
            recordings = list(X)
            if not recordings:
                raise InvalidInputError("X must hold at least one recording, got none")
            moments = _pooled(recordings)
            self.mean_, self.scale_ = moments.mean, moments.scale
            self.feature_names_ = recordings[0].feature_names
        return self

    def transform(self, X: Iterable[Recording]) -> list[Recording]:
        """Return the normalized recordings.

        Parameters
        ----------
        X : iterable of Recording
            With ``per="recording"``, the result for one does not depend on the others.
        """
        check_choice("per", self.per, ("recording", "session", "train"))
        recordings = list(X)
        if self.per == "train":
            if not hasattr(self, "mean_"):
                raise InvalidInputError(
                    "ZNormalizer(per='train') must be fitted before transform"
                )
            for recording in recordings:
                self._check_names(recording)
                _check_finite(recording)
            fixed = _Moments(self.mean_, self.scale_)
            return [_apply(recording, fixed) for recording in recordings]
        if self.per == "recording":
            return [_apply(recording, _pooled([recording])) for recording in recordings]
        groups: dict[Any, list[Recording]] = {}
        keys = [
            (recording.subject, recording.session)
            if recording.session is not None
            else index
            for index, recording in enumerate(recordings)
        ]
        for key, recording in zip(keys, recordings, strict=True):
            groups.setdefault(key, []).append(recording)
        moments = {key: _pooled(group) for key, group in groups.items()}
        return [
            _apply(recording, moments[key])
            for key, recording in zip(keys, recordings, strict=True)
        ]

    def __sklearn_is_fitted__(self) -> bool:
        return self.per != "train" or hasattr(self, "mean_")

    def _check_names(self, recording: Recording) -> None:
        if recording.feature_names != list(self.feature_names_):
            different = sorted(
                set(recording.feature_names) ^ set(self.feature_names_)
            ) or ["their order"]
            raise InvalidInputError(
                f"X must have the channels of fit, recording {recording.name!r} "
                f"differs in {', '.join(different[:5])}"
            )


class _Moments(NamedTuple):
    """Mean and standard deviation of each channel, 0 for a constant one."""

    mean: NDArray
    scale: NDArray


def _moved(recording: Recording) -> NDArray:
    """Return which columns are normalized."""
    return np.array([channel.kind != "side" for channel in recording.channels])


def _blocks(recording: Recording) -> Iterable[tuple[int, NDArray]]:
    valid = recording.meta.get("valid")
    for first in range(0, recording.n_frames, _BLOCK):
        block = recording.data[first : first + _BLOCK]
        if valid is not None:
            block = block[np.asarray(valid[first : first + _BLOCK], bool)]
        if len(block):
            yield first, block.astype(np.float64)


def _pooled(recordings: Sequence[Recording]) -> _Moments:
    """Return the moments of all valid frames, after checks of every value."""
    first = recordings[0]
    D = len(first.channels)
    total, count = np.zeros(D), 0
    low, high = np.full(D, np.inf), np.full(D, -np.inf)
    for recording in recordings:
        if recording.feature_names != first.feature_names:
            raise InvalidInputError(
                f"X must have the same channels where statistics are shared, "
                f"{recording.name!r} has others than {first.name!r}"
            )
        _check_finite(recording)
        for _, block in _blocks(recording):
            total += block.sum(axis=0)
            count += len(block)
            low = np.minimum(low, block.min(axis=0))
            high = np.maximum(high, block.max(axis=0))
    if not count:
        raise InvalidInputError(
            f"recording {first.name!r} has no motion signal: no frame is valid"
        )
    mean, square = total / count, np.zeros(D)
    for recording in recordings:
        for _, block in _blocks(recording):
            square += np.square(block - mean).sum(axis=0)
    # A constant channel has a deviation of rounding errors, not of 0.
    scale = np.where(low < high, np.sqrt(square / count), 0.0)
    moved = _moved(first)
    if not (scale[moved] > 0).any():
        raise InvalidInputError(
            f"recording {first.name!r} has no motion signal: all channels are constant"
        )
    return _Moments(np.where(moved, mean, 0.0), np.where(moved, scale, 1.0))


def _check_finite(recording: Recording) -> None:
    valid = recording.meta.get("valid")
    for first in range(0, recording.n_frames, _BLOCK):
        bad = ~np.isfinite(recording.data[first : first + _BLOCK])
        if valid is not None:
            bad &= np.asarray(valid[first : first + _BLOCK], bool)[:, None]
        if bad.any():
            row, column = np.argwhere(bad)[0]
            value = recording.data[first + row, column]
            raise InvalidInputError(
                f"recording {recording.name!r} has the value {value} in channel "
                f"{recording.channels[column].name!r} at frame {first + row}; "
                "SensorSanitizer repairs gaps"
            )


def _apply(recording: Recording, moments: _Moments) -> Recording:
    mean, scale = moments
    data = np.empty(recording.data.shape, np.float32)
    flat = np.ones(len(scale), bool)
    for first in range(0, recording.n_frames, _BLOCK):
        block = recording.data[first : first + _BLOCK].astype(np.float64)
        values = np.divide(
            block - mean, scale, out=np.zeros_like(block), where=scale > 0
        )
        data[first : first + _BLOCK] = values
        flat &= (block == recording.data[0]).all(axis=0)
    valid = recording.meta.get("valid")
    if valid is not None:
        masked = ~np.asarray(valid, bool)
        data[masked] = np.nan_to_num(data[masked], nan=0.0, posinf=0.0, neginf=0.0)
    moved = _moved(recording)
    if flat[moved].all():
        raise InvalidInputError(
            f"recording {recording.name!r} has no motion signal: all channels are "
            "constant"
        )
    constant = [
        QualityEntry(channel.name, "constant", 0.0, recording.duration, "set to 0")
        for channel, value in zip(recording.channels, scale, strict=True)
        if value == 0
    ]
    return recording.replace(data=data, quality=(*recording.quality, *constant))
