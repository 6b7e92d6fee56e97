"""Windows of many recordings, in batches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import Recording
from mlmethods.motion.windows import (
    WindowBatch,
    WindowPlan,
    WindowSpec,
    cut_windows,
    plan,
)

__all__ = ["WindowDataset"]

# Recordings kept at hand; others are read again.
_KEPT = 32


class _Planned(NamedTuple):
    recording: Recording
    where: WindowPlan
    labels: NDArray | None


class WindowDataset:
    """All windows of recordings, cut when they are asked for.

    Parameters
    ----------
    recordings : sequence of Recording
        At the same rate; all with labels, or none.
    spec : WindowSpec
        How to cut.
    max_tokens : int, default=35
        Room for the target of a window, the end token included.

    Raises
    ------
    InvalidInputError
        If a recording is too short or rates differ.

    Examples
    --------
    >>> from mlmethods.motion.datasets import make_synthetic_primitives
    >>> from mlmethods.motion.windows import WindowSpec
    >>> windows = make_synthetic_primitives(2, seed=0).windows(WindowSpec())
    >>> batches = list(windows.iter_batches(4, seed=1))
    >>> sum(len(index) for index, _ in batches) == len(windows)
    True
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        spec: WindowSpec,
        *,
        max_tokens: int = 35,
    ) -> None:
        self.spec = spec
        self.max_tokens = check_integer("max_tokens", max_tokens, minimum=2)
        self._recordings = recordings
        self._cache: OrderedDict[int, _Planned] = OrderedDict()
        counts, rates = [], []
        for index in range(len(recordings)):
            planned = self._planned(index)
            counts.append(len(planned.where.start))
            rates.append(planned.recording.fs)
        if len(set(rates)) > 1:
            raise InvalidInputError(
                f"recordings must have the same rate, got {min(rates):g} to "
                f"{max(rates):g} Hz"
            )
        total = np.cumsum([0, *counts])
        self.recording = np.repeat(np.arange(len(counts)), counts)
        """Index of the recording of each window."""
        self.window = np.arange(total[-1]) - np.repeat(total[:-1], counts)
        """Number of each window within its recording."""

    def __len__(self) -> int:
        return len(self.recording)

    def batch(self, index: NDArray) -> WindowBatch:
        """Return windows, in the order of `index`.

        Parameters
        ----------
        index : int array of shape (N,)
            Numbers of windows, from 0 to ``len(self) - 1``.

        Raises
        ------
        InvalidInputError
            If it is empty or a number is out of range, or some of the recordings have
            labels and some have none.
        """
        chosen = np.asarray(index)
        if chosen.ndim != 1 or not len(chosen) or chosen.dtype.kind not in "iu":
            raise InvalidInputError(
                f"index must be integers of one dimension, got {chosen.dtype} of shape "
                f"{chosen.shape}"
            )
        if chosen.min() < 0 or chosen.max() >= len(self):
            raise InvalidInputError(
                f"index must be in 0..{len(self) - 1}, got {chosen.min()} to "
                f"{chosen.max()}"
            )
        order = np.argsort(self.recording[chosen], kind="stable")
        back = np.argsort(order)
        own = self.recording[chosen][order]
        edges = np.flatnonzero(np.diff(own, prepend=-1))
        parts = [
            self._cut(int(own[group[0]]), chosen[order][group])
            for group in np.split(np.arange(len(own)), edges[1:])
        ]
        if len({part.tokens is None for part in parts}) > 1:
            raise InvalidInputError("recordings must all have labels, or none")
        joined: list[Any] = [
            None if columns[0] is None else np.concatenate(columns)[back]
            for columns in zip(*parts, strict=True)
        ]
        return WindowBatch(*joined)

    def iter_batches(
        self,
        batch_size: int,
        *,
        shard: tuple[int, int] = (0, 1),
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
    ) -> Iterator[tuple[NDArray, WindowBatch]]:
        """Yield the windows of one shard, each once.

        The shards of an epoch have no window in common and all windows together; their
        order depends on `seed` and `epoch` only.

        Parameters
        ----------
        batch_size : int
            Windows of a batch; the last one may have fewer.
        shard : (int, int), default=(0, 1)
            Which of how many.
        seed, epoch : int, default=0
            Of the order.
        shuffle : bool, default=True
            Whether the order is random.

        Yields
        ------
        (int64 array of shape (N,), WindowBatch)
            Numbers of the windows, and the windows.
        """
        check_integer("batch_size", batch_size, minimum=1)
        count = check_integer("shard[1]", shard[1], minimum=1)
        which = check_integer("shard[0]", shard[0], minimum=0, maximum=count - 1)
        order = np.arange(len(self))
        if shuffle:
            order = np.random.default_rng([seed, epoch]).permutation(len(self))
        own = order[which::count]
        for first in range(0, len(own), batch_size):
            index = own[first : first + batch_size]
            yield index, self.batch(index)

    def _cut(self, recording: int, index: NDArray) -> WindowBatch:
        planned = self._planned(recording)
        return cut_windows(
            planned.recording,
            planned.where,
            self.window[index],
            y=planned.labels,
            max_tokens=self.max_tokens,
        )

    def _planned(self, index: int) -> _Planned:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        recording = self._recordings[index]
        labels = None if recording.labels is None else recording.frame_labels()
        where = plan(recording.n_frames, recording.fs, self.spec, labels)
        self._cache[index] = _Planned(recording, where, labels)
        if len(self._cache) > _KEPT:
            self._cache.popitem(last=False)
        return self._cache[index]
