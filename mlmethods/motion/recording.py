"""One recording: its signals, what they are, and who wore the sensors."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.segments import Segments

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Channel", "ChannelKind", "QualityEntry", "Recording", "Side"]

ChannelKind = Literal["accel", "gyro", "quat", "angle", "side", "feature"]
Side = Literal["left", "right"]

# What a file's labels may last longer than its signals, in seconds.
_LABEL_SLACK = 1.0


@dataclass(frozen=True)
class Channel:
    """What a column of a recording is.

    Parameters
    ----------
    name : str
        Unique within a recording.
    kind : {"accel", "gyro", "quat", "angle", "side", "feature"}
        What was measured; ``"side"`` is the constant column that tells the arm, and
        ``"feature"`` is anything else.
    unit : str
        Such as ``"m/s2"``, ``"rad/s"``, ``"deg"`` or ``"1"``.
    sensor : str, optional
        Where it was worn.
    side : {"left", "right"}, optional
        Side of the body.

    Examples
    --------
    >>> from mlmethods.motion import Channel
    >>> Channel("wrist_ax", "accel", "m/s2", sensor="wrist", side="left").kind
    'accel'
    """

    name: str
    kind: ChannelKind
    unit: str
    sensor: str | None = None
    side: Side | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InvalidInputError(f"name must be a name, got {self.name!r}")
        if not isinstance(self.unit, str):
            raise InvalidInputError(f"unit must be a string, got {self.unit!r}")
        check_choice("kind", self.kind, get_args(ChannelKind))
        if self.side is not None:
            check_choice("side", self.side, get_args(Side))


class QualityEntry(NamedTuple):
    """Something that was wrong with a recording, and what was done.

    Attributes
    ----------
    channel : str
        Its name; ``"*"`` stands for all.
    issue : str
        What was found.
    start, end : float
        Seconds within the recording.
    action : str
        What was done.
    """

    channel: str
    issue: str
    start: float
    end: float
    action: str


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """Signals at a constant rate, with what is known about them.

    Parameters
    ----------
    data : array-like of shape (T, D)
        Signals, kept as float32; a float32 array is not copied. NaN is accepted here
        and repaired or refused by :mod:`mlmethods.motion.preprocess`.
    fs : float
        Frames per second. Frame t covers ``[t / fs, (t + 1) / fs)``.
    channels : sequence of Channel
        One for each column.
    subject : str
        Who was recorded; evaluation never has a subject on both sides.
    session, activity : str, optional
        When, and what was done.
    side : {"left", "right"}, optional
        The arm that the labels are about.
    labels : Segments, optional
        What was seen, in seconds from the first frame.
    quality : sequence of QualityEntry, optional
        What was repaired.
    meta : mapping, optional
        Anything else. ``name`` names the recording in messages, ``trial`` is shared by
        recordings of the same movements (two cameras), ``valid`` (bool [T]) tells
        frames with a usable signal, ``time`` (float64 [T]) holds the given time
        stamps where they are not uniform, ``synthetic`` is True for made-up signals.

    Raises
    ------
    InvalidInputError
        If shapes do not fit together, names of channels repeat, the rate is not
        positive, or labels end more than a second after the signals.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording
    >>> channels = [Channel(f"a{axis}", "accel", "m/s2") for axis in "xyz"]
    >>> recording = Recording(np.zeros((250, 3)), 100.0, channels, subject="s1")
    >>> recording.duration, recording.feature_names
    (2.5, ['ax', 'ay', 'az'])
    >>> recording.slice(0.5, 1.0).n_frames
    50
    """

    data: NDArray
    fs: float
    channels: tuple[Channel, ...]
    subject: str = field(kw_only=True)
    session: str | None = field(default=None, kw_only=True)
    activity: str | None = field(default=None, kw_only=True)
    side: Side | None = field(default=None, kw_only=True)
    labels: Segments | None = field(default=None, kw_only=True)
    quality: tuple[QualityEntry, ...] = field(default=(), kw_only=True)
    meta: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        data = _frames(self.data)
        channels = tuple(self.channels)
        _check_channels(channels, data.shape[1])
        fs = check_real("fs", self.fs, minimum=0, open_minimum=True)
        subject = _identifier("subject", self.subject)
        if subject is None:
            raise InvalidInputError("subject must be a name, got None")
        if self.side is not None:
            check_choice("side", self.side, get_args(Side))
        meta = dict(self.meta or {})
        for name in ("valid", "time"):
            if meta.get(name) is not None and len(meta[name]) != len(data):
                raise InvalidInputError(
                    f"meta[{name!r}] must have one entry for each of {len(data)} "
                    f"frames, got {len(meta[name])}"
                )
        _check_labels(self.labels, len(data) / fs)
        values = {
            "data": data,
            "fs": fs,
            "channels": channels,
            "subject": subject,
            "session": _identifier("session", self.session),
            "activity": _identifier("activity", self.activity),
            "quality": tuple(QualityEntry(*entry) for entry in self.quality or ()),
            "meta": meta,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def n_frames(self) -> int:
        """Frames T."""
        return len(self.data)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.data) / self.fs

    @property
    def feature_names(self) -> list[str]:
        """Names of the channels, in the order of the columns."""
        return [channel.name for channel in self.channels]

    @property
    def name(self) -> str:
        """Name for messages: ``meta["name"]``, or subject, session and activity."""
        parts = [self.subject, self.session, self.activity]
        return str(self.meta.get("name") or " ".join(part for part in parts if part))

    def frame_labels(self) -> NDArray:
        """Return the class id of every frame, int32 [T], -1 where there is none.

        Raises
        ------
        InvalidInputError
            If the recording has no labels.
        """
        if self.labels is None:
            raise InvalidInputError(
                f"labels must be there, got none for recording {self.name!r}"
            )
        return self.labels.to_frames(self.fs, self.n_frames)

    def quality_table(self) -> pd.DataFrame:
        """Return what was repaired, one row each.

        Columns are channel, issue, start, end (seconds) and action.
        """
        import pandas as pd

        return pd.DataFrame(list(self.quality), columns=list(QualityEntry._fields))

    def slice(self, t0: float, t1: float) -> Recording:
        """Return the frames from `t0` to `t1` seconds, which then start at 0.

        Times are rounded to whole frames. Labels and quality entries are cut and move
        along.

        Raises
        ------
        InvalidInputError
            If no frame is left.
        """
        low, high = check_real("t0", t0), check_real("t1", t1)
        first = min(max(math.floor(low * self.fs + 0.5), 0), self.n_frames)
        last = min(max(math.floor(high * self.fs + 0.5), 0), self.n_frames)
        if first >= last:
            raise InvalidInputError(
                f"t0 and t1 must have frames of recording {self.name!r} between them, "
                f"which lasts {self.duration:g} s, got {low:g} to {high:g}"
            )
        start, end = first / self.fs, last / self.fs
        labels = self.labels
        quality = [
            entry._replace(
                start=max(entry.start, start) - start, end=min(entry.end, end) - start
            )
            for entry in self.quality
            if entry.start < end and entry.end > start
        ]
        meta = dict(self.meta)
        for name in ("valid", "time"):
            if meta.get(name) is not None:
                meta[name] = meta[name][first:last]
        return self.replace(
            data=self.data[first:last],
            labels=None if labels is None else labels.clip(start, end).shift(-start),
            quality=quality,
            meta=meta,
        )

    def select(self, channels: Sequence[str] | Callable[[Channel], bool]) -> Recording:
        """Return some of the channels.

        Parameters
        ----------
        channels : sequence of str or callable
            Names, in the order wanted, or which channels to keep.

        Raises
        ------
        InvalidInputError
            If a name is unknown or nothing is left.
        """
        if callable(channels):
            columns = [
                i for i, channel in enumerate(self.channels) if channels(channel)
            ]
        else:
            places = {name: index for index, name in enumerate(self.feature_names)}
            columns = [_column(name, places, self.name) for name in channels]
        if not columns:
            raise InvalidInputError(
                f"channels must leave at least one of recording {self.name!r}"
            )
        return self.replace(
            data=self.data[:, columns],
            channels=tuple(self.channels[column] for column in columns),
        )

    def with_data(
        self,
        data: NDArray,
        *,
        fs: float | None = None,
        channels: Sequence[Channel] | None = None,
    ) -> Recording:
        """Return the recording with other signals, and all else as it is."""
        return self.replace(
            data=data,
            fs=self.fs if fs is None else fs,
            channels=self.channels if channels is None else tuple(channels),
        )

    def replace(self, **changes: Any) -> Recording:
        """Return a copy with these fields changed."""
        return dataclasses.replace(self, **changes)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        synthetic = "SYNTHETIC, " if self.meta.get("synthetic") else ""
        return (
            f"Recording({synthetic}{self.name!r}, {self.n_frames} frames of "
            f"{len(self.channels)} channels at {self.fs:g} Hz)"
        )


def _frames(values: Any) -> NDArray:
    array = np.asanyarray(values)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiub":
        raise InvalidInputError(
            f"data must be numbers of shape (T, D), got {array.dtype} of shape "
            f"{array.shape}"
        )
    # A value that float32 cannot hold becomes infinite, and is found as such later.
    with np.errstate(over="ignore"):
        frames = array.astype(np.float32, copy=False).view()
    frames.flags.writeable = False
    return frames


def _check_channels(channels: tuple[Channel, ...], columns: int) -> None:
    if not all(isinstance(channel, Channel) for channel in channels):
        raise InvalidInputError("channels must be Channel objects")
    if len(channels) != columns:
        raise InvalidInputError(
            f"channels must have one entry for each of {columns} columns, got "
            f"{len(channels)}"
        )
    names = [channel.name for channel in channels]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(
            f"channels must have different names, got {twice!r} twice"
        )


def _check_labels(labels: Segments | None, duration: float) -> None:
    if labels is None:
        return
    if not isinstance(labels, Segments):
        raise InvalidInputError(f"labels must be Segments, got {type(labels).__name__}")
    if len(labels) and labels.end[-1] > duration + _LABEL_SLACK:
        raise InvalidInputError(
            f"labels must end with the signals at {duration:g} s, got "
            f"{labels.end[-1]:g} s"
        )


def _identifier(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, np.integer)):
        raise InvalidInputError(f"{name} must be a name, got {value!r}")
    text = str(value)
    if not text:
        raise InvalidInputError(f"{name} must be a name, got an empty one")
    return text


def _column(name: str, places: Mapping[str, int], recording: str) -> int:
    if name in places:
        return places[name]
    close = difflib.get_close_matches(str(name), list(places), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InvalidInputError(
        f"channels must be among those of recording {recording!r}, got {name!r}{hint}"
    )
