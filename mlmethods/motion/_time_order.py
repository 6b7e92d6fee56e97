"""Time stamps of recordings: their order, and what is told in their seconds."""

from __future__ import annotations

import dataclasses

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.io.stamps import TOLERANCE
from mlmethods.motion.recording import QualityEntry, Recording
from mlmethods.motion.segments import Segments

__all__ = ["entry_at_stamps", "in_order", "labels_at_stamps", "uneven_entry"]

_MOST_SHARE = 0.2


def in_order(recording: Recording) -> tuple[Recording, float]:
    """Sort time stamps and merge equal ones.

    Returns
    -------
    recording : Recording
        Without ``meta["time"]`` values if the stamps are uniform after all.
    share : float
        Of the frames that were affected.

    Raises
    ------
    InvalidInputError
        If a stamp is not finite, or more than a fifth is affected.
    """
    if recording.meta.get("time") is None:
        return recording, 0.0
    time = np.asarray(recording.meta["time"], np.float64)
    name, fs = recording.name, recording.fs
    if not np.isfinite(time).all():
        index = int(np.argmin(np.isfinite(time)))
        raise InvalidInputError(
            f"time stamps of recording {name!r} must be finite, got {time[index]} at "
            f"frame {index}"
        )
    late = time < np.maximum.accumulate(time)
    order = np.argsort(time, kind="stable")
    ordered = time[order]
    fresh = np.concatenate([[True], np.diff(ordered) > 0])
    count = int(late.sum()) + int((~fresh).sum())
    first = float(ordered[0])
    if not count:
        meta = {**recording.meta, "time": _unless_uniform(time - first, fs)}
        return recording.replace(meta=meta), 0.0
    share = count / len(time)
    if share > _MOST_SHARE:
        raise InvalidInputError(
            f"recording {name!r} has {share:.0%} of its time stamps out of order or "
            f"twice, and at most {_MOST_SHARE:.0%} are repaired"
        )
    data = _merged(recording.data[order], np.flatnonzero(fresh))
    stamps = ordered[fresh] - first
    meta = {**recording.meta, "time": _unless_uniform(stamps, fs)}
    if meta.get("valid") is not None:
        meta["valid"] = np.asarray(meta["valid"], bool)[order][fresh]
    labels = recording.labels
    if labels is not None:
        # Labels belong to frames in the order of the file.
        frames = labels.to_frames(fs, len(time))[order][fresh]
        labels = Segments.from_frames(frames, fs, labels.classes)
    entry = QualityEntry(
        "*",
        "time stamps out of order or twice",
        0.0,
        len(stamps) / fs,
        f"{count} sorted or merged",
    )
    fixed = recording.replace(
        data=data, labels=labels, quality=(*recording.quality, entry), meta=meta
    )
    return fixed, share


def entry_at_stamps(entry: QualityEntry, seconds: NDArray, fs: float) -> QualityEntry:
    """Return an entry in seconds of the stamps, from seconds of uniform frames."""
    start, end = _moved(np.array([entry.start, entry.end]), seconds, fs)
    return entry._replace(start=float(start), end=float(end))


def labels_at_stamps(labels: Segments, seconds: NDArray, fs: float) -> Segments:
    """Return labels in seconds of the stamps, from seconds of uniform frames."""
    start, end = _moved(labels.start, seconds, fs), _moved(labels.end, seconds, fs)
    kept = start < end
    part = labels[kept]
    return dataclasses.replace(part, start=start[kept], end=end[kept])._marked(
        labels._from_frames
    )


def uneven_entry(seconds: NDArray, fs: float, fs_out: float) -> QualityEntry:
    """Return what is said of stamps that are not uniform."""
    steps = np.diff(seconds)
    jitter = float(np.std(steps[steps < 1.5 / fs])) * 1e3 if len(steps) else 0.0
    return QualityEntry(
        "*",
        f"uneven time stamps ({fs:.4g} Hz, jitter {jitter:.2g} ms)",
        0.0,
        float(seconds[-1]) + 1 / fs,
        f"interpolated to {fs_out:g} Hz",
    )


def _unless_uniform(time: NDArray, fs: float) -> NDArray | None:
    """Return time stamps, or None if they are those of uniform frames."""
    off = np.abs(time - np.arange(len(time)) / fs).max()
    return time if off > TOLERANCE / fs else None


def _merged(data: NDArray, starts: NDArray) -> NDArray:
    """Return the mean of the samples of each group that are not missing."""
    known = np.isfinite(data)
    count = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
    total = np.add.reduceat(
        np.where(known, data, 0.0), starts, axis=0, dtype=np.float64
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (total / count).astype(np.float32)
    alone = np.diff(starts, append=len(data)) == 1
    mean[alone] = data[starts[alone]]
    return mean


def _moved(times: NDArray, seconds: NDArray, fs: float) -> NDArray:
    """Return times of uniform frames as times of the stamps."""
    places = np.append(seconds, seconds[-1] + 1 / fs)
    return np.interp(times * fs, np.arange(len(places)), places)
