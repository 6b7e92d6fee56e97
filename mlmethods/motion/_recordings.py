"""Checks of the recordings that estimators receive, and their features and labels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import Channel, Recording

__all__ = [
    "Example",
    "as_recordings",
    "class_frames",
    "common_classes",
    "same_rate",
    "with_features",
]

_SHORTEST = 8
_MOST_MISSING = 0.3


class Example(NamedTuple):
    """One recording, ready for a network.

    Attributes
    ----------
    x : float32 array of shape (T, D)
        Normalized frames.
    y : int32 array of shape (T,), optional
        Class of every frame, -1 where there is none.
    name : str
        For messages.
    """

    x: NDArray
    y: NDArray | None
    name: str


def as_recordings(X: Any, name: str = "X") -> list[Recording]:
    """Return the recordings of a sequence.

    Raises
    ------
    InvalidInputError
        If it is not a sequence of recordings, holds none, or one has fewer than 8
        frames.
    """
    if isinstance(X, Recording):
        raise InvalidInputError(
            f"{name} must be a list of recordings, got one Recording; write [recording]"
        )
    if not isinstance(X, Iterable) or isinstance(X, str | bytes):
        raise InvalidInputError(
            f"{name} must be a list of recordings or a RecordingDataset, got "
            f"{type(X).__name__}"
        )
    recordings = list(X)
    if not recordings:
        raise InvalidInputError(f"{name} must hold at least one recording, got none")
    for item in recordings:
        if not isinstance(item, Recording):
            raise InvalidInputError(
                f"{name} must hold Recording objects, got {type(item).__name__}"
            )
        if item.n_frames < _SHORTEST:
            raise InvalidInputError(
                f"{name} must hold recordings of at least {_SHORTEST} frames, got "
                f"{item.n_frames} in {item.name!r}"
            )
    return recordings


def same_rate(recordings: Sequence[Recording], fs: float, name: str = "X") -> None:
    """Refuse recordings of another rate.

    Raises
    ------
    InvalidInputError
        Naming the recording and both rates.
    """
    for item in recordings:
        if not math.isclose(item.fs, fs, rel_tol=1e-6):
            raise InvalidInputError(
                f"{name} must be recorded at {fs:g} Hz, got {item.fs:g} Hz in "
                f"{item.name!r}; SensorSanitizer(fs_out={fs:g}) resamples"
            )


def common_classes(train: Any, recordings: Sequence[Recording]) -> tuple[str, ...]:
    """Return the classes of a training set, in the order of their ids.

    Raises
    ------
    InvalidInputError
        If no recording has labels.
    """
    known = tuple(getattr(train, "classes", ()) or ())
    if known:
        return known
    for item in recordings:
        if item.labels is not None:
            return item.labels.classes
    raise InvalidInputError("train must hold recordings with labels, got none")


def class_frames(recording: Recording, classes: Sequence[str]) -> NDArray:
    """Return the class of every frame, int32 [T], by the names of the classes.

    Frames without a usable signal, as ``meta["valid"]`` says, have no label.

    Raises
    ------
    InvalidInputError
        If there are no labels, or a label that is used is not among the classes.
    """
    if recording.labels is None:
        raise InvalidInputError(
            f"recordings must have labels here, got none in {recording.name!r}"
        )
    frames = recording.frame_labels()
    own = recording.labels.classes
    if own != tuple(classes):
        places = {name: index for index, name in enumerate(classes)}
        unknown = {own[i] for i in np.unique(recording.labels.label)} - set(classes)
        if unknown:
            raise InvalidInputError(
                f"labels must be of the classes {', '.join(classes)}, got "
                f"{min(unknown)!r} in {recording.name!r}"
            )
        # the last entry serves frames without a label, whose id is -1
        table = np.array([*(places.get(name, -1) for name in own), -1], np.int32)
        frames = table[frames]
    valid = recording.meta.get("valid")
    if valid is not None:
        frames = np.where(np.asarray(valid, bool), frames, np.int32(-1))
    return frames.astype(np.int32, copy=False)


def with_features(
    recordings: Sequence[Recording],
    names: Sequence[str],
    *,
    fill: bool,
    values: NDArray | None = None,
) -> list[Recording]:
    """Return recordings with the channels `names`, in this order.

    Parameters
    ----------
    recordings : sequence of Recording
        Their channels may be in another order.
    names : sequence of str
        What the model was trained on.
    fill : bool
        Whether channels that are missing are filled in, and further ones left out;
        else both are an error.
    values : array of shape (D,), optional
        What they are filled with: constants that normalizing turns into 0.

    Raises
    ------
    InvalidInputError
        If channels differ and `fill` is False, or more than 30 % are missing.

    Warns
    -----
    MLMethodsWarning
        If channels are filled in.
    """
    fitted = []
    for item in recordings:
        own = item.feature_names
        if own == list(names):
            fitted.append(item)
            continue
        missing = [name for name in names if name not in own]
        further = [name for name in own if name not in names]
        if not fill and (missing or further):
            raise InvalidInputError(
                f"recordings must have the features of the model; {item.name!r} "
                f"lacks {_listed(missing)} and has {_listed(further)} besides; "
                "features='auto' fills in and leaves out"
            )
        if missing:
            item = _filled(item, names, missing, values)
        fitted.append(item.select(list(names)))
    return fitted


def _filled(
    item: Recording, names: Sequence[str], missing: list[str], values: NDArray | None
) -> Recording:
    share = len(missing) / len(names)
    if share > _MOST_MISSING:
        raise InvalidInputError(
            f"recordings must have at least 70 % of the features of the model, got "
            f"{1 - share:.0%} in {item.name!r}, which lacks {_listed(missing)}"
        )
    warnings.warn(
        f"{item.name!r} lacks {share:.0%} of the features of the model and is filled "
        f"with their mean: {_listed(missing)}",
        MLMethodsWarning,
        stacklevel=5,
    )
    places = [list(names).index(name) for name in missing]
    means = np.zeros(len(names)) if values is None else np.asarray(values)
    columns = np.broadcast_to(means[places], (item.n_frames, len(missing)))
    added = [Channel(name, "feature", "1") for name in missing]
    return item.with_data(
        np.concatenate([item.data, columns.astype(np.float32)], axis=1),
        channels=[*item.channels, *added],
    )


def _listed(names: list[str]) -> str:
    if not names:
        return "nothing"
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
