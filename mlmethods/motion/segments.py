"""Labeled spans of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.motion._span_checks import (
    ROUNDING,
    check_length,
    check_times,
    class_id,
    class_names,
    column,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Segment", "Segments"]


class Segment(NamedTuple):
    """One labeled span.

    Attributes
    ----------
    start, end : float
        Seconds; the end is exclusive.
    label : int
        Class id.
    name : str
        Its class.
    confidence : float
        NaN where nothing is known.
    valid : bool
        Whether the sensors worked all the time.
    """

    start: float
    end: float
    label: int
    name: str
    confidence: float
    valid: bool


@dataclass(frozen=True, eq=False, repr=False)
class Segments:
    """Labeled spans of time in order, with gaps where nothing is labeled.

    Parameters
    ----------
    start, end : array-like of shape (N,)
        Seconds, kept as float64. Spans are sorted and do not overlap; ends are
        exclusive and after the start.
    label : int array-like of shape (N,)
        Class ids, 0 to ``len(classes) - 1``, kept as int32.
    classes : sequence of str
        Names in the order of the ids.
    confidence : array-like of shape (N,), optional
        In [0, 1], or NaN where unknown.
    valid : bool array-like of shape (N,), optional
        False where a span overlaps time without a usable signal.

    Raises
    ------
    InvalidInputError
        If lengths differ, a time is not finite, spans are empty, unsorted or overlap,
        a label is not a class, or a confidence is out of its range.

    Examples
    --------
    >>> from mlmethods.motion import Segments
    >>> spans = Segments([0.0, 1.5], [1.5, 2.0], [1, 0], ("idle", "reach"))
    >>> spans.sequence(), spans.durations.tolist()
    ([1, 0], [1.5, 0.5])
    >>> spans.to_frames(fs=2, n_frames=5).tolist()
    [1, 1, 1, 0, -1]
    """

    start: NDArray
    end: NDArray
    label: NDArray
    classes: tuple[str, ...]
    confidence: NDArray | None = None
    valid: NDArray | None = None
    _from_frames: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        start = column("start", self.start, np.float64)
        end = column("end", self.end, np.float64)
        label = column("label", self.label, np.int32)
        classes = class_names(self.classes)
        for name, array in (("end", end), ("label", label)):
            check_length(name, array, len(start))
        check_times(start, end)
        wrong = (label < 0) | (label >= len(classes))
        if wrong.any():
            raise InvalidInputError(
                f"label must be in 0..{len(classes) - 1}, got {label[wrong][0]} at "
                f"index {int(np.argmax(wrong))}"
            )
        values: dict[str, Any] = {
            "start": start,
            "end": end,
            "label": label,
            "classes": classes,
        }
        if self.confidence is not None:
            confidence = column("confidence", self.confidence, np.float64)
            check_length("confidence", confidence, len(start))
            if (confidence < 0).any() or (confidence > 1).any():
                raise InvalidInputError(
                    "confidence must be in [0, 1] or NaN, got values from "
                    f"{np.nanmin(confidence):g} to {np.nanmax(confidence):g}"
                )
            values["confidence"] = confidence
        if self.valid is not None:
            values["valid"] = column("valid", self.valid, np.bool_)
            check_length("valid", values["valid"], len(start))
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def from_frames(
        cls, y: ArrayLike, fs: float, classes: Sequence[str], *, start: float = 0.0
    ) -> Segments:
        """Return the runs of equal labels of frames.

        Parameters
        ----------
        y : int array-like of shape (T,)
            Class ids; -1 has no label and leaves a gap.
        fs : float
            Frames per second. Frame t covers ``[t / fs, (t + 1) / fs)``.
        classes : sequence of str
            Names in the order of the ids.
        start : float
            Seconds at which the first frame begins.

        Raises
        ------
        InvalidInputError
            If `y` is not one dimension of integers, or a label is not a class.

        Examples
        --------
        >>> from mlmethods.motion import Segments
        >>> spans = Segments.from_frames([0, 0, -1, 1], 2.0, ("idle", "reach"))
        >>> spans.start.tolist(), spans.end.tolist(), spans.label.tolist()
        ([0.0, 1.5], [1.0, 2.0], [0, 1])
        """
        fs = check_real("fs", fs, minimum=0, open_minimum=True)
        offset = check_real("start", start)
        labels = column("y", y, np.int32)
        if (labels < -1).any():
            raise InvalidInputError(
                f"y must hold class ids or -1, got {int(labels.min())}"
            )
        first = np.flatnonzero(np.diff(labels, prepend=-2))
        last = np.append(first[1:], len(labels))
        kept = labels[first] >= 0
        spans = cls(
            offset + first[kept] / fs,
            offset + last[kept] / fs,
            labels[first[kept]],
            tuple(classes),
        )
        return spans._marked(True)

    @classmethod
    def from_names(
        cls,
        start: ArrayLike,
        end: ArrayLike,
        names: Iterable[str],
        classes: Sequence[str],
        *,
        confidence: ArrayLike | None = None,
        valid: ArrayLike | None = None,
    ) -> Segments:
        """Return spans whose labels are given by name.

        Raises
        ------
        InvalidInputError
            If a name is not among `classes`, or the spans are not accepted.

        Examples
        --------
        >>> from mlmethods.motion import Segments
        >>> Segments.from_names([0], [1], ["reach"], ("idle", "reach")).label.tolist()
        [1]
        """
        ids = {name: index for index, name in enumerate(classes)}
        label = [class_id(name, ids) for name in names]
        return cls(start, end, label, tuple(classes), confidence, valid)  # type: ignore[arg-type]

    @classmethod
    def concat(
        cls, parts: Sequence[Segments], offsets: Sequence[float] | None = None
    ) -> Segments:
        """Return the spans of all parts, one part after another.

        Parameters
        ----------
        parts : sequence of Segments
            At least one; all have the same classes.
        offsets : sequence of float, optional
            Seconds added to the times of each part.

        Raises
        ------
        InvalidInputError
            If classes differ or the spans of two parts overlap.
        """
        if not parts or any(part.classes != parts[0].classes for part in parts):
            raise InvalidInputError(
                "parts must be at least one Segments, all with the same classes, got "
                f"{sorted({part.classes for part in parts})}"
            )
        shifts = [0.0] * len(parts) if offsets is None else list(offsets)
        if len(shifts) != len(parts):
            raise InvalidInputError(
                f"offsets must have one entry for each of {len(parts)} parts, got "
                f"{len(shifts)}"
            )
        moved = [part.shift(by) for part, by in zip(parts, shifts, strict=True)]
        has_confidence = any(part.confidence is not None for part in moved)
        has_valid = any(part.valid is not None for part in moved)
        joined = cls(
            np.concatenate([part.start for part in moved]),
            np.concatenate([part.end for part in moved]),
            np.concatenate([part.label for part in moved]),
            parts[0].classes,
            np.concatenate([part._confidence() for part in moved])
            if has_confidence
            else None,
            np.concatenate([part._valid() for part in moved]) if has_valid else None,
        )
        return joined._marked(all(part._from_frames for part in parts))

    @property
    def durations(self) -> NDArray:
        """Seconds of each span, float64 [N]."""
        return self.end - self.start

    @property
    def names(self) -> list[str]:
        """Class name of each span."""
        return [self.classes[label] for label in self.label]

    def to_frames(self, fs: float, n_frames: int) -> NDArray:
        """Return the label of every frame.

        A frame belongs to the span that holds its center, so that spans which touch
        leave no frame out, and one shorter than a frame may vanish. Frames after
        `n_frames` are cut off.

        Parameters
        ----------
        fs : float
            Frames per second.
        n_frames : int
            How many frames T.

        Returns
        -------
        int32 ndarray of shape (T,)
            Class ids, -1 in gaps.
        """
        fs = check_real("fs", fs, minimum=0, open_minimum=True)
        count = check_integer("n_frames", n_frames, minimum=0)
        # Times come from divisions by fs; their product may miss a half by rounding.
        first = np.ceil(np.round(self.start * fs, 6) - 0.5)
        last = np.ceil(np.round(self.end * fs, 6) - 0.5)
        first, last = (np.clip(x, 0, count).astype(np.int64) for x in (first, last))
        length = np.maximum(last - first, 0)
        before = np.cumsum(length) - length
        frames = np.full(count, -1, np.int32)
        place = np.repeat(first - before, length) + np.arange(length.sum())
        frames[place] = np.repeat(self.label, length)
        return frames

    def sequence(self, collapse_repeats: bool | None = None) -> list[int]:
        """Return the class ids in order.

        Parameters
        ----------
        collapse_repeats : bool, optional
            Whether equal neighbors that touch count once, as labels of frames cannot
            tell them apart. None means True for spans from frames, and False for lists
            of spans. Equal spans with a gap between them are never merged.

        Examples
        --------
        >>> from mlmethods.motion import Segments
        >>> spans = Segments([0, 1, 3], [1, 2, 4], [1, 1, 1], ("idle", "reach"))
        >>> spans.sequence(), spans.sequence(collapse_repeats=True)
        ([1, 1, 1], [1, 1])
        """
        collapse = self._from_frames if collapse_repeats is None else collapse_repeats
        label = self.label[self._first_of_runs()] if collapse else self.label
        return [int(value) for value in label]

    def merge_repeats(self) -> Segments:
        """Return the spans with equal neighbors that touch joined to one.

        Its confidence is the mean, weighted by duration; it is valid if all parts are.
        """
        if len(self) < 2:
            return self
        first = np.flatnonzero(self._first_of_runs())
        confidence = valid = None
        if self.confidence is not None:
            weight = np.add.reduceat(self.durations, first)
            total = np.add.reduceat(self.durations * self.confidence, first)
            # A weighted mean of ones may exceed 1 by rounding.
            confidence = np.minimum(total / weight, 1.0)
        if self.valid is not None:
            valid = np.logical_and.reduceat(self.valid, first)
        spans = Segments(
            self.start[first],
            self.end[np.append(first[1:] - 1, len(self) - 1)],
            self.label[first],
            self.classes,
            confidence,
            valid,
        )
        return spans._marked(self._from_frames)

    def clip(self, t0: float, t1: float) -> Segments:
        """Return what lies in [t0, t1); times stay as they are.

        Raises
        ------
        InvalidInputError
            If `t1` is before `t0`.
        """
        low = check_real("t0", t0)
        high = check_real("t1", t1, minimum=low)
        start = np.maximum(self.start, low)
        end = np.minimum(self.end, high)
        kept = start < end
        return self._with(kept, start[kept], end[kept])

    def shift(self, seconds: float) -> Segments:
        """Return the same spans at later times, or earlier ones if it is negative."""
        by = check_real("seconds", seconds)
        return self._with(np.ones(len(self), bool), self.start + by, self.end + by)

    def relabel(
        self,
        names: Mapping[str, str | None] | Callable[[str], str | None],
        classes: Sequence[str] | None = None,
    ) -> Segments:
        """Return the spans with classes renamed, merged or left out.

        Parameters
        ----------
        names : mapping or callable
            Old name to new name; None drops the spans of a class. A mapping keeps the
            names that it does not hold.
        classes : sequence of str, optional
            New classes in their order; by default the new names in the order of the
            old classes.

        Raises
        ------
        InvalidInputError
            If a new name is not among `classes`.

        Examples
        --------
        >>> from mlmethods.motion import Segments
        >>> spans = Segments([0, 1], [1, 2], [0, 1], ("rest", "reach"))
        >>> spans.relabel({"rest": "idle"}).names
        ['idle', 'reach']
        """
        if isinstance(names, Mapping):
            new = [names.get(name, name) for name in self.classes]
        else:
            new = [names(name) for name in self.classes]
        order = list(dict.fromkeys(name for name in new if name is not None))
        target = tuple(order if classes is None else classes)
        ids = {name: index for index, name in enumerate(target)}
        used = np.isin(np.arange(len(new)), self.label)
        table = np.array(
            [
                class_id(name, ids) if name is not None and (name in ids or hit) else -1
                for name, hit in zip(new, used, strict=True)
            ],
            np.int32,
        )
        label = table[self.label]
        kept = label >= 0
        part = self[kept]
        spans = Segments(
            part.start, part.end, label[kept], target, part.confidence, part.valid
        )
        return spans._marked(self._from_frames)

    def to_dataframe(self) -> pd.DataFrame:
        """Return the columns start, end, label (names), confidence and valid."""
        import pandas as pd

        return pd.DataFrame(
            {
                "start": self.start,
                "end": self.end,
                "label": pd.Series(self.names, dtype=object),
                "confidence": self._confidence(),
                "valid": self._valid(),
            }
        )

    def __len__(self) -> int:
        return len(self.start)

    def __iter__(self) -> Iterator[Segment]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice | NDArray) -> Segments: ...
    def __getitem__(self, index: int | slice | NDArray) -> Segment | Segments:
        if not isinstance(index, (int, np.integer)):
            return self._with(index, self.start[index], self.end[index])
        label = int(self.label[index])
        return Segment(
            float(self.start[index]),
            float(self.end[index]),
            label,
            self.classes[label],
            float("nan") if self.confidence is None else float(self.confidence[index]),
            True if self.valid is None else bool(self.valid[index]),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segments):
            return NotImplemented
        return (
            self.classes == other.classes
            and np.array_equal(self.start, other.start)
            and np.array_equal(self.end, other.end)
            and np.array_equal(self.label, other.label)
            and np.array_equal(self._confidence(), other._confidence(), equal_nan=True)
            and np.array_equal(self._valid(), other._valid())
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if not len(self):
            return f"Segments(0 spans, {len(self.classes)} classes)"
        return (
            f"Segments({len(self)} spans, {len(self.classes)} classes, "
            f"{self.start[0]:g} to {self.end[-1]:g} s)"
        )

    def _first_of_runs(self) -> NDArray:
        touches = self.start[1:] - self.end[:-1] <= ROUNDING
        return np.append(True, ~touches | (self.label[1:] != self.label[:-1]))[
            : len(self)
        ]

    def _with(self, index: slice | NDArray, start: NDArray, end: NDArray) -> Segments:
        spans = Segments(
            start,
            end,
            self.label[index],
            self.classes,
            None if self.confidence is None else self.confidence[index],
            None if self.valid is None else self.valid[index],
        )
        return spans._marked(self._from_frames)

    def _marked(self, from_frames: bool) -> Segments:
        # Where the spans came from decides what sequence() does by default.
        object.__setattr__(self, "_from_frames", from_frames)
        return self

    def _confidence(self) -> NDArray:
        if self.confidence is None:
            return np.full(len(self), np.nan)
        return self.confidence

    def _valid(self) -> NDArray:
        return np.ones(len(self), bool) if self.valid is None else self.valid
