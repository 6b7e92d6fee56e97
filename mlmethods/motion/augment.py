"""Random changes of recordings for training: noise, strength, speed.

The defaults are those of the published system, which applies them to normalized
channels; the column of the side is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mlmethods.common.rng import generator
from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import Recording
from mlmethods.motion.segments import Segments

__all__ = [
    "Augmenter",
    "jitter",
    "magnitude_warp",
    "resample_speed",
    "scale_channels",
    "time_warp",
]

# The slowest that a warped clock may run: time never stands still or turns back.
_SLOWEST = 0.1


class Augmenter(TransformerMixin, BaseEstimator):
    """Apply random changes to each recording; all are off by default.

    Parameters
    ----------
    jitter, magnitude_warp, time_warp, scaling : float, default=0
        Standard deviations; 0 is off. The published values are 0.05, 0.2, 0.1 and 0.8.
    resample : (float, float), optional
        Range of the rate of :func:`resample_speed`; the published range is (0.25, 2).
    probability : float, default=0.5
        With which each change is applied to a recording.
    random_state : int or numpy.random.Generator, default=0
        Of all draws; an int gives the same changes in each call.

    Examples
    --------
    >>> from mlmethods.motion.datasets import make_synthetic_primitives
    >>> from mlmethods.motion.preprocess import Augmenter
    >>> data = make_synthetic_primitives(2, seed=0)
    >>> changed = Augmenter(jitter=0.05, probability=1.0).transform(data)
    >>> bool((changed[0].data != data[0].data).any())
    True
    """

    def __init__(
        self,
        jitter: float = 0.0,
        magnitude_warp: float = 0.0,
        time_warp: float = 0.0,
        scaling: float = 0.0,
        resample: tuple[float, float] | None = None,
        probability: float = 0.5,
        random_state: Any = 0,
    ) -> None:
        self.jitter = jitter
        self.magnitude_warp = magnitude_warp
        self.time_warp = time_warp
        self.scaling = scaling
        self.resample = resample
        self.probability = probability
        self.random_state = random_state

    def fit(self, X: Iterable[Recording], y: Any = None) -> Augmenter:
        """Do nothing; for pipelines."""
        return self

    def transform(self, X: Iterable[Recording]) -> list[Recording]:
        """Return the changed recordings.

        Raises
        ------
        InvalidInputError
            If a parameter is out of its range.
        """
        rng = generator(self.random_state)
        probability = check_real("probability", self.probability, minimum=0, maximum=1)
        changes = [
            (jitter, self.jitter),
            (magnitude_warp, self.magnitude_warp),
            (time_warp, self.time_warp),
            (scale_channels, self.scaling),
        ]
        changed = []
        for recording in X:
            if self.resample is not None and rng.random() < probability:
                low, high = self.resample
                recording = resample_speed(recording, rng.uniform(low, high))
            for change, sigma in changes:
                if sigma and rng.random() < probability:
                    recording = change(recording, sigma, rng=rng)
            changed.append(recording)
        return changed

    def __sklearn_is_fitted__(self) -> bool:
        return True


def jitter(recording: Recording, sigma: float = 0.05, *, rng: Any = None) -> Recording:
    """Add Gaussian noise of standard deviation `sigma` to each value.

    Parameters
    ----------
    recording : Recording
        Best normalized.
    sigma : float
        Standard deviation.
    rng : None, int or numpy.random.Generator
        Of the draws.

    Examples
    --------
    >>> from mlmethods.motion.datasets import make_synthetic_primitives
    >>> from mlmethods.motion.preprocess import jitter
    >>> recording = make_synthetic_primitives(1, seed=0)[0]
    >>> jitter(recording, 0.0, rng=0).data.tolist() == recording.data.tolist()
    True
    """
    check_real("sigma", sigma, minimum=0)
    noise = generator(rng).standard_normal(recording.data.shape, np.float32)
    return _changed(recording, recording.data + np.float32(sigma) * noise)


def scale_channels(
    recording: Recording, sigma: float = 0.8, *, rng: Any = None
) -> Recording:
    """Multiply each channel by a draw from N(1, sigma^2).

    Parameters
    ----------
    recording : Recording
        Best normalized.
    sigma : float
        Standard deviation.
    rng : None, int or numpy.random.Generator
        Of the draws.
    """
    check_real("sigma", sigma, minimum=0)
    factor = generator(rng).normal(1.0, sigma, len(recording.channels))
    return _changed(recording, recording.data * factor.astype(np.float32))


def magnitude_warp(
    recording: Recording, sigma: float = 0.2, knots: int = 2, *, rng: Any = None
) -> Recording:
    """Multiply each channel by a smooth curve around 1.

    Parameters
    ----------
    recording : Recording
        Best normalized.
    sigma : float
        Standard deviation of the curve at its knots.
    knots : int
        Knots of the curve between its ends.
    rng : None, int or numpy.random.Generator
        Of the draws.
    """
    curve = _curves(
        recording.n_frames, len(recording.channels), sigma, knots, generator(rng)
    )
    return _changed(recording, recording.data * curve.astype(np.float32))


def time_warp(
    recording: Recording, sigma: float = 0.1, knots: int = 2, *, rng: Any = None
) -> Recording:
    """Let time run faster and slower along a smooth curve, the same for all channels.

    The recording keeps its length; labels move along.

    Parameters
    ----------
    recording : Recording
        Any.
    sigma : float
        Standard deviation of the speed at the knots of its curve.
    knots : int
        Knots between the ends.
    rng : None, int or numpy.random.Generator
        Of the draws.
    """
    T = recording.n_frames
    speed = np.maximum(_curves(T, 1, sigma, knots, generator(rng))[:, 0], _SLOWEST)
    clock = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
    # Where in the recording each new frame is taken from; both ends stay.
    source = clock * ((T - 1) / clock[-1]) if T > 1 else clock
    return _retimed(recording, source)


def resample_speed(recording: Recording, rate: float) -> Recording:
    """Play the recording slower (`rate` above 1) or faster; `fs` stays.

    Parameters
    ----------
    recording : Recording
        T frames.
    rate : float
        Frames afterwards, as a multiple of T; labels move along. Faster than before,
        neighbors are averaged, so that no frequency is folded down.

    Examples
    --------
    >>> from mlmethods.motion.datasets import make_synthetic_primitives
    >>> from mlmethods.motion.preprocess import resample_speed
    >>> recording = make_synthetic_primitives(1, seed=0)[0]
    >>> resample_speed(recording, 2.0).n_frames == 2 * recording.n_frames
    True
    """
    check_real("rate", rate, minimum=0, open_minimum=True)
    count = round(recording.n_frames * rate)
    if count < 1:
        raise InvalidInputError(
            f"rate must leave a frame of {recording.n_frames}, got {rate:g}"
        )
    # Frame t of the new ones covers [t, t + 1) / rate of the old ones.
    step = recording.n_frames / count
    source = (np.arange(count) + 0.5) * step - 0.5
    if step >= 2:
        from scipy.ndimage import uniform_filter1d

        smooth = uniform_filter1d(recording.data, int(step), axis=0, mode="nearest")
        recording = _changed(recording, smooth)
    return _retimed(recording, source)


def _curves(
    T: int, count: int, sigma: float, knots: int, rng: np.random.Generator
) -> NDArray:
    """Return smooth curves through random values around 1, float64 [T, count]."""
    check_real("sigma", sigma, minimum=0)
    check_integer("knots", knots, minimum=0)
    from scipy.interpolate import CubicSpline

    values = rng.normal(1.0, sigma, (knots + 2, count))
    places = np.linspace(0.0, 1.0, knots + 2)
    return np.asarray(CubicSpline(places, values)(np.linspace(0.0, 1.0, T)))


def _changed(recording: Recording, data: NDArray) -> Recording:
    """Return the recording with these signals; the side stays."""
    for column, channel in enumerate(recording.channels):
        if channel.kind == "side":
            data[:, column] = recording.data[:, column]
    return recording.replace(data=data)


def _retimed(recording: Recording, source: NDArray) -> Recording:
    """Return what is at these places of the recording, between its frames."""
    T, fs = recording.n_frames, recording.fs
    place = np.clip(source, 0, T - 1)
    low = place.astype(np.int64)
    high = np.minimum(low + 1, T - 1)
    weight = (place - low).astype(np.float32)[:, None]
    data = (1 - weight) * recording.data[low] + weight * recording.data[high]
    labels = recording.labels
    if labels is not None:
        # A frame covers a time around its center; so do its edges move.
        frames = np.arange(len(source))
        edges = np.interp(
            np.stack([labels.start, labels.end]) * fs,
            np.concatenate([[0.0], source + 0.5, [T]]),
            np.concatenate([[0.0], frames + 0.5, [len(source)]]),
        )
        labels = _moved_spans(labels, edges / fs)
    meta = {key: value for key, value in recording.meta.items() if key != "time"}
    if meta.get("valid") is not None:
        valid = np.asarray(meta["valid"], bool)
        meta["valid"] = valid[low] & (valid[high] | (weight[:, 0] == 0))
    ratio = len(source) / T
    quality = [
        entry._replace(start=entry.start * ratio, end=entry.end * ratio)
        for entry in recording.quality
    ]
    return recording.replace(data=data, labels=labels, quality=quality, meta=meta)


def _moved_spans(labels: Segments, edges: NDArray) -> Segments:
    kept = edges[1] > edges[0]
    spans = labels[kept]
    return Segments(
        edges[0][kept],
        edges[1][kept],
        spans.label,
        spans.classes,
        spans.confidence,
        spans.valid,
    )._marked(labels._from_frames)
