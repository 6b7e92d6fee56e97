"""Recordings of many subjects, loaded when they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mlmethods.common.rng import generator
from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.motion.recording import Recording

if TYPE_CHECKING:
    import datasets

    from mlmethods.motion.window_dataset import WindowDataset
    from mlmethods.motion.windows import WindowSpec

__all__ = ["LazyRecording", "RecordingDataset", "check_subjects_apart"]


@dataclass(frozen=True)
class LazyRecording:
    """A recording that is read when it is asked for.

    Parameters
    ----------
    load : callable
        Returns the recording.
    subject : str
        Who was recorded.
    """

    load: Callable[[], Recording]
    subject: str


class RecordingDataset(Sequence[Recording]):
    """A sequence of recordings with the same classes.

    Parameters
    ----------
    recordings : iterable of Recording or LazyRecording
        One or more.
    classes : sequence of str, optional
        Names of the classes in their order; by default those of the first recording
        with labels.
    feature_names : sequence of str, optional
        Names of the channels; by default those of the first recording.
    name : str, default="recordings"
        What they are, for messages.

    Raises
    ------
    InvalidInputError
        If there is no recording, or one has labels of other classes (a lazy one: when
        it is loaded).

    Examples
    --------
    >>> from mlmethods.motion.datasets import make_synthetic_primitives
    >>> data = make_synthetic_primitives(3, seed=0)
    >>> len(data), data.classes[0]
    (3, 'idle')
    >>> train, test = data.split_by_subject(data.subjects[:1])
    >>> len(train), len(test)
    (2, 1)
    """

    def __init__(
        self,
        recordings: Iterable[Recording | LazyRecording],
        *,
        classes: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        name: str = "recordings",
    ) -> None:
        self._items = tuple(recordings)
        self.name = name
        if not self._items:
            raise InvalidInputError(f"recordings must hold at least one, got no {name}")
        for item in self._items:
            if not isinstance(item, (Recording, LazyRecording)):
                raise InvalidInputError(
                    f"recordings must be Recording objects, got {type(item).__name__}"
                )
        if classes is None:
            labels = (recording.labels for recording in map(_loaded, self._items))
            classes = next((spans.classes for spans in labels if spans is not None), ())
        self._classes = tuple(classes)
        self._feature_names = None if feature_names is None else list(feature_names)
        for item in self._items:
            if isinstance(item, Recording):
                self._check(item)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids; empty without labels."""
        return self._classes

    @property
    def feature_names(self) -> list[str]:
        """Names of the channels of the first recording, or those that were given."""
        if self._feature_names is None:
            self._feature_names = self[0].feature_names
        return list(self._feature_names)

    @property
    def subjects(self) -> list[str]:
        """Who was recorded, one entry for each recording.

        They serve as the `groups` of scikit-learn's splitters.
        """
        return [item.subject for item in self._items]

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Recording: ...
    @overload
    def __getitem__(self, index: slice) -> RecordingDataset: ...
    def __getitem__(self, index: int | slice) -> Recording | RecordingDataset:
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        item = self._items[index]
        return item if isinstance(item, Recording) else self._check(item.load())

    def __iter__(self) -> Iterator[Recording]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        count = len(set(self.subjects))
        return (
            f"RecordingDataset({self.name}: {len(self)} recordings of {count} "
            f"subjects, {len(self.classes)} classes)"
        )

    def select(
        self, which: Iterable[int] | Callable[[Recording], bool]
    ) -> RecordingDataset:
        """Return some of the recordings.

        Parameters
        ----------
        which : iterable of int, or callable
            Indices, or what tells of a recording whether it is kept; the latter loads
            all of them.

        Raises
        ------
        InvalidInputError
            If no recording is left.
        """
        if callable(which):
            which = [index for index, item in enumerate(self) if which(item)]
        items = [self._items[index] for index in which]
        return RecordingDataset(
            items,
            classes=self._classes,
            feature_names=self._feature_names,
            name=self.name,
        )

    def split_by_subject(
        self, held_out: Sequence[str] | float, *, random_state: Any = 0
    ) -> tuple[RecordingDataset, RecordingDataset]:
        """Return the recordings of some subjects, and those of the others held out.

        Parameters
        ----------
        held_out : sequence of str, or float
            Subjects, or the share of the subjects to draw, at least one of them.
        random_state : int or numpy.random.Generator, default=0
            For a share.

        Returns
        -------
        (RecordingDataset, RecordingDataset)
            The rest, and those held out.

        Raises
        ------
        InvalidInputError
            If a subject is unknown, or one of the two would be empty.
        """
        known = list(dict.fromkeys(self.subjects))
        if isinstance(held_out, (str, bytes)):
            raise InvalidInputError(
                f"held_out must be a list of subjects or a share, got {held_out!r}"
            )
        if isinstance(held_out, Sequence | np.ndarray):
            chosen = {str(subject) for subject in held_out}
            unknown = sorted(chosen - set(known))
            if unknown:
                raise InvalidInputError(
                    f"held_out must name subjects of {self.name}, got {unknown[0]!r}; "
                    f"they are {', '.join(known)}"
                )
        else:
            check_real("held_out", held_out, minimum=0, maximum=1, open_minimum=True)
            count = max(1, round(held_out * len(known)))
            drawn = generator(random_state).permutation(len(known))[:count]
            chosen = {known[index] for index in drawn}
        if not 0 < len(chosen) < len(known):
            raise InvalidInputError(
                f"held_out must leave subjects on both sides, got {len(chosen)} of "
                f"{len(known)}"
            )
        inside = np.array([subject in chosen for subject in self.subjects])
        return self.select(np.flatnonzero(~inside)), self.select(np.flatnonzero(inside))

    def windows(self, spec: WindowSpec, *, max_tokens: int = 35) -> WindowDataset:
        """Return the windows of all recordings; see :class:`WindowDataset`."""
        from mlmethods.motion.window_dataset import WindowDataset

        return WindowDataset(self, spec, max_tokens=max_tokens)

    def to_hf(self, path: str | os.PathLike[str] | None = None) -> datasets.Dataset:
        """Return a dataset of Hugging Face with one row for each recording.

        Parameters
        ----------
        path : path-like, optional
            An Arrow file to write, one recording at a time; the dataset is then mapped
            from it and takes no memory. By default it is held in memory.

        Returns
        -------
        datasets.Dataset
            Columns subject, session, activity, side, fs, n_frames, n_channels, data
            (float32, row after row), start, end, label (of the spans), and header (all
            else, JSON).

        See Also
        --------
        RecordingDataset.from_hf : The way back.
        """
        from mlmethods.motion._arrow import write_rows

        return write_rows(self, self.classes, path)

    @classmethod
    def from_hf(
        cls, dataset: datasets.Dataset, *, name: str = "recordings"
    ) -> RecordingDataset:
        """Return the recordings of what :meth:`to_hf` made, read on use.

        Raises
        ------
        DataFormatError
            If columns are missing or the rows are of another version.
        """
        from mlmethods.motion._arrow import open_rows

        subjects, readers, classes, features = open_rows(dataset)
        return cls(
            map(LazyRecording, readers, subjects),
            classes=classes,
            feature_names=features,
            name=name,
        )

    def _check(self, recording: Recording) -> Recording:
        labels = recording.labels
        if labels is not None and labels.classes != self._classes:
            raise InvalidInputError(
                f"recordings must have the classes {', '.join(self._classes)}, got "
                f"{', '.join(labels.classes)} in {recording.name!r}"
            )
        return recording


def check_subjects_apart(
    train: Iterable[str], other: Iterable[str], *, what: str = "the held-out part"
) -> None:
    """Refuse subjects that are in both parts.

    Raises
    ------
    InvalidInputError
        If a subject is in both.

    Examples
    --------
    >>> from mlmethods.motion.collection import check_subjects_apart
    >>> check_subjects_apart(["s1", "s2"], ["s3"])
    """
    both = sorted(set(train) & set(other))
    if both:
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        raise InvalidInputError(
            f"subjects must not be in training and in {what}, got {both[0]!r}{more} in "
            "both; allow_subject_overlap=True accepts that"
        )


def _loaded(item: Recording | LazyRecording) -> Recording:
    return item if isinstance(item, Recording) else item.load()
