"""Windows of recordings: which frames a model sees, and which of them it answers for.

A window has a core and a context on each side. Times are given in seconds and become
frames at the rate of each recording.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.motion.recording import Recording

__all__ = [
    "WindowBatch",
    "WindowPlan",
    "WindowSpec",
    "cut",
    "cut_windows",
    "plan",
    "start_token",
    "stitch",
]

_SHORTEST = 8
_PER_WINDOW = ("start", "length", "core", "shift", "dropped")
_MODES = ("exact", "paper")


@dataclass(frozen=True)
class WindowSpec:
    """How recordings are cut into windows.

    Parameters
    ----------
    size : float, default=6.0
        Seconds of a window.
    hop : float, default=4.0
        Seconds from the start of a window to the start of the next one. Windows whose
        hop is ``size - 2 * context`` have cores that follow one another.
    context : float, default=1.0
        Seconds at each end of a window that belong to its neighbors.
    mode : {"exact", "paper"}, default="exact"
        ``"exact"`` repeats the first and the last frame of a recording as context, so
        that each frame is in exactly one core. ``"paper"`` cuts as the published
        system does: the first `context` of a recording is in no core, a last window is
        cut to a multiple of `divisor` and left out if nothing is left besides context,
        and the last token of a core may be dropped (see :func:`plan`).
    divisor : int, default=8
        The length of a window that is shorter than `size` is a multiple of this.

    Raises
    ------
    InvalidInputError
        If a value is out of its range, context leaves no core, or the hop is longer
        than the core, so that frames would be in no core.

    Examples
    --------
    >>> from mlmethods.motion.windows import WindowSpec
    >>> WindowSpec().frames(100.0)
    FrameSpec(size=600, hop=400, context=100)
    """

    size: float = 6.0
    hop: float = 4.0
    context: float = 1.0
    mode: Literal["exact", "paper"] = "exact"
    divisor: int = 8

    def __post_init__(self) -> None:
        check_real("size", self.size, minimum=0, open_minimum=True)
        check_real("hop", self.hop, minimum=0, open_minimum=True)
        check_real("context", self.context, minimum=0)
        check_choice("mode", self.mode, _MODES)
        check_integer("divisor", self.divisor, minimum=1)
        if self.core <= 0:
            raise InvalidInputError(
                f"context must be less than half of size, got {self.context:g} s of "
                f"{self.size:g} s"
            )
        if self.hop > self.core and not self._tiles:
            raise InvalidInputError(
                f"hop must be at most size - 2 * context = {self.core:g} s, got "
                f"{self.hop:g} s"
            )

    @property
    def core(self) -> float:
        """Seconds of a whole core."""
        return self.size - 2 * self.context

    @property
    def _tiles(self) -> bool:
        return math.isclose(self.hop, self.core, rel_tol=1e-9)

    def frames(self, fs: float) -> FrameSpec:
        """Return size, hop and context in frames.

        Hop and context are rounded to whole frames; the size follows, so that cores
        which follow one another in seconds do so in frames.

        Raises
        ------
        InvalidInputError
            If the rate leaves no frame for the hop or the core.
        """
        fs = check_real("fs", fs, minimum=0, open_minimum=True)
        hop, context = _whole(self.hop * fs), _whole(self.context * fs)
        core = hop if self._tiles else _whole(self.core * fs)
        if hop < 1 or core < 1:
            raise InvalidInputError(
                f"hop and core must last a frame, got {self.hop:g} s and {self.core:g} "
                f"s at {fs:g} Hz"
            )
        return FrameSpec(core + 2 * context, min(hop, core), context)


class FrameSpec(NamedTuple):
    """A :class:`WindowSpec` at one rate.

    Attributes
    ----------
    size, hop, context : int
        Frames.
    """

    size: int
    hop: int
    context: int


class WindowPlan(NamedTuple):
    """Where the windows of one recording are.

    Attributes
    ----------
    start : int32 array of shape (n,)
        First frame of each window, in the padded recording: its frame p is the frame
        ``p - before`` of the recording.
    length : int32 array of shape (n,)
        Frames of each window that are its own; the rest, up to `size`, is padding.
    core : int32 array of shape (n, 2)
        First and last + 1 frame of the core, from the start of the window.
    shift : int32 array of shape (n,)
        By how many frames the window may be moved to later ones, less than a hop:
        the moved window is within the padded recording, and its core within the
        recording.
    dropped : bool array of shape (n,)
        Whether the last token of the core is left out, where there is more than one;
        only in the mode ``"paper"`` and if labels were given.
    size : int
        Frames of a window.
    before, after : int
        How often the first and the last frame of the recording are repeated.
    """

    start: NDArray
    length: NDArray
    core: NDArray
    shift: NDArray
    dropped: NDArray
    size: int
    before: int
    after: int

    @property
    def frames(self) -> NDArray:
        """First and last + 1 frame of each core in the recording, int64 [n, 2]."""
        return (self.start[:, None] + self.core).astype(np.int64) - self.before


class WindowBatch(NamedTuple):
    """The windows of one recording.

    Attributes
    ----------
    x : float32 array of shape (N, W, D)
        Frames; 0 where `mask` is False.
    mask : bool array of shape (N, W)
        Whether a frame is the window's own.
    tokens : int32 array of shape (N, L), or None
        Target of the core: 1 + class id of each run of equal labels, then the end
        token ``C + 1``, then 0. None for a recording without labels, as what follows.
    token_mask : bool array of shape (N, L), or None
        True up to the end token.
    frame_labels : int32 array of shape (N, W), or None
        Class ids, -1 where there is no label, for repeated frames and for padding.
    prev : int32 array of shape (N,), or None
        Token of the frame before the core; that of :func:`start_token` for the first
        window and after a frame without a label.
    core : int64 array of shape (N, 2)
        First and last + 1 frame of each core in the recording.
    """

    x: NDArray
    mask: NDArray
    tokens: NDArray | None
    token_mask: NDArray | None
    frame_labels: NDArray | None
    prev: NDArray | None
    core: NDArray


def plan(
    n_frames: int, fs: float, spec: WindowSpec, labels: ArrayLike | None = None
) -> WindowPlan:
    """Return where the windows of a recording are.

    In the mode ``"paper"``, the last token of a core is dropped if little of its
    primitive is seen. With e the end of a whole window and l the last frames of all
    primitives but the final one, let l[i] be the first of them after e: the token is
    dropped if ``(e - l[i - 1]) / (l[i] - l[i - 1]) < 0.5``, with l[-1] = 0.

    Parameters
    ----------
    n_frames : int
        Frames of the recording, 8 or more.
    fs : float
        Frames per second.
    spec : WindowSpec
        How to cut.
    labels : int array-like of shape (n_frames,), optional
        Class of each frame, -1 where there is none; needed for `dropped`.

    Returns
    -------
    WindowPlan
        In the mode ``"paper"``, a recording shorter than a context has no window.

    Raises
    ------
    InvalidInputError
        If the recording is too short or the labels are not one for each frame.

    Examples
    --------
    >>> from mlmethods.motion.windows import WindowSpec, plan
    >>> plan(1001, 100.0, WindowSpec()).frames.tolist()
    [[0, 400], [400, 800], [800, 1001]]
    >>> plan(1001, 100.0, WindowSpec(mode="paper")).frames.tolist()
    [[100, 500], [500, 900], [900, 1000]]
    """
    if check_integer("n_frames", n_frames) < _SHORTEST:
        raise InvalidInputError(
            f"n_frames must be at least {_SHORTEST}, got a recording of {n_frames}"
        )
    size, hop, context = spec.frames(fs)
    if spec.mode == "exact":
        start = np.arange(0, n_frames, hop)
        needed = n_frames + 2 * context - start
        needed += -needed % spec.divisor
        length = np.minimum(needed, size)
        before, core_end = context, n_frames + context - start
        padded = max(n_frames + 2 * context, int((start + length).max()))
    else:
        start = np.arange(0, n_frames, hop)
        rest = n_frames - start
        length = np.where(rest < size, rest - rest % spec.divisor, size)
        kept = length > context
        start, length = start[kept], length[kept]
        before, core_end, padded = 0, length, n_frames
    last = np.minimum(size - context, core_end)
    core = np.stack([np.full_like(last, context), last], axis=1)
    # A moved core must end within the recording, and its window within the padding.
    room = np.minimum(
        padded - start - length, n_frames + before - start - last if before else hop
    )
    dropped = np.zeros(len(start), bool)
    if labels is not None:
        y = _frame_labels(labels, n_frames)
        if spec.mode == "paper":
            dropped = _leftover(y, start + size)
    return WindowPlan(
        start.astype(np.int32),
        length.astype(np.int32),
        core.astype(np.int32),
        np.clip(room, 0, hop - 1).astype(np.int32),
        dropped,
        size,
        before,
        padded - n_frames - before,
    )


def cut(recording: Recording, spec: WindowSpec, *, max_tokens: int = 35) -> WindowBatch:
    """Return the windows of a recording and their targets.

    Parameters
    ----------
    recording : Recording
        Eight frames or more.
    spec : WindowSpec
        How to cut.
    max_tokens : int, default=35
        L, the end token included. Further tokens of a core are left out, with a
        warning.

    Returns
    -------
    WindowBatch
        Frames are those of the recording; nothing is normalized.

    Raises
    ------
    InvalidInputError
        If the recording is too short.

    Warns
    -----
    MLMethodsWarning
        If a core has more tokens than there is room for.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording, Segments
    >>> from mlmethods.motion.windows import WindowSpec, cut
    >>> labels = Segments([0, 3], [3, 5], [1, 0], ("idle", "reach"))
    >>> channels = [Channel("angle", "angle", "deg")]
    >>> recording = Recording(
    ...     np.zeros((500, 1)), 100.0, channels, subject="s1", labels=labels
    ... )
    >>> batch = cut(recording, WindowSpec(), max_tokens=5)
    >>> batch.x.shape, batch.tokens.tolist(), batch.prev.tolist()
    ((2, 600, 1), [[2, 1, 3, 0, 0], [1, 3, 0, 0, 0]], [1, 1])
    """
    y = None if recording.labels is None else recording.frame_labels()
    where = plan(recording.n_frames, recording.fs, spec, y)
    return cut_windows(
        recording, where, np.arange(len(where.start)), y=y, max_tokens=max_tokens
    )


def cut_windows(
    recording: Recording,
    where: WindowPlan,
    which: NDArray,
    *,
    y: NDArray | None,
    max_tokens: int = 35,
) -> WindowBatch:
    """Return some windows of a recording; see :func:`cut`.

    Parameters
    ----------
    recording : Recording
        The one that was planned.
    where : WindowPlan
        All of its windows.
    which : int array of shape (N,)
        Those that are wanted.
    y : int array of shape (T,), or None
        Class of each frame, -1 where there is none.
    max_tokens : int
        L, the end token included.
    """
    check_integer("max_tokens", max_tokens, minimum=2)
    T = recording.n_frames
    where = where._replace(
        **{name: getattr(where, name)[which] for name in _PER_WINDOW}
    )
    offset = np.arange(where.size)
    mask = offset < where.length[:, None]
    frame = where.start[:, None].astype(np.int64) + offset - where.before
    x = recording.data[np.clip(frame, 0, T - 1)]
    x[~mask] = 0.0
    if y is None or recording.labels is None:
        return WindowBatch(x, mask, None, None, None, None, where.frames)
    real = mask & (frame >= 0) & (frame < T)
    frame_labels = np.where(real, y[np.clip(frame, 0, T - 1)], np.int32(-1))
    classes = recording.labels.classes
    tokens = _core_tokens(frame_labels, where, len(classes), max_tokens, recording.name)
    before = y[np.maximum(where.frames[:, 0] - 1, 0)]
    known = (np.asarray(which) > 0) & (before >= 0)
    prev = np.where(known, before + 1, start_token(classes)).astype(np.int32)
    return WindowBatch(x, mask, tokens, tokens > 0, frame_labels, prev, where.frames)


def start_token(classes: Sequence[str]) -> int:
    """Return the token that stands for what came before a recording.

    That of the class ``"idle"``, or 0, the padding, if there is no such class.

    Examples
    --------
    >>> from mlmethods.motion.windows import start_token
    >>> start_token(("idle", "reach")), start_token(("cut", "stir"))
    (1, 0)
    """
    return list(classes).index("idle") + 1 if "idle" in classes else 0


def stitch(
    sequences: Iterable[Iterable[int]], collapse_repeats: bool = True
) -> list[int]:
    """Return the sequence of a recording from those of its windows.

    Parameters
    ----------
    sequences : iterable of iterables of int
        Class ids of each window, in order, without end tokens.
    collapse_repeats : bool, default=True
        Whether equal neighbors count once: what the edge of a core cut in two is one
        again, and so are two of the same class in a row.

    Examples
    --------
    >>> from mlmethods.motion.windows import stitch
    >>> stitch([[1, 0], [0, 2], [], [2]])
    [1, 0, 2]
    """
    joined = [int(label) for sequence in sequences for label in sequence]
    if not collapse_repeats:
        return joined
    return [
        label
        for index, label in enumerate(joined)
        if not index or label != joined[index - 1]
    ]


def _whole(frames: float) -> int:
    # Products such as 0.29 * 100 fall just short of the number that is meant.
    return math.floor(frames + 0.5 + 1e-9)


def _frame_labels(labels: ArrayLike, n_frames: int) -> NDArray:
    y = np.asarray(labels)
    if y.shape != (n_frames,) or y.dtype.kind not in "iu":
        raise InvalidInputError(
            f"labels must be integers of shape ({n_frames},), got {y.dtype} of shape "
            f"{y.shape}"
        )
    return y


def _leftover(y: NDArray, end: NDArray) -> NDArray:
    """Return which cores lose their last token by the rule of the published system."""
    last = np.append(np.flatnonzero(y[1:] != y[:-1]), len(y) - 1)
    last = last[y[last] >= 0][:-1]
    if not len(last):
        return np.zeros(len(end), bool)
    index = np.searchsorted(last, end, side="right")
    found = index < len(last)
    index = np.minimum(index, len(last) - 1)
    before = np.where(index > 0, last[index - 1], 0)
    # The division is that of the original, so that halves fall on the same side.
    share = (end - before) / np.maximum(last[index] - before, 1)
    return found & (share < 0.5)


def _core_tokens(
    frame_labels: NDArray, where: WindowPlan, C: int, max_tokens: int, name: str
) -> NDArray:
    """Return the tokens of each core, its end token, and zeros."""
    n, size = frame_labels.shape
    offset = np.arange(size)
    core = (offset >= where.core[:, :1]) & (offset < where.core[:, 1:])
    previous = np.empty_like(frame_labels)
    previous[:, 0], previous[:, 1:] = -1, frame_labels[:, :-1]
    first = offset == where.core[:, :1]
    begins = core & (frame_labels >= 0) & (first | (frame_labels != previous))
    rank = np.cumsum(begins, axis=1) - 1
    count = begins.sum(axis=1)
    count -= where.dropped & (count > 1)
    long = count >= max_tokens
    if long.any():
        warnings.warn(
            f"recording {name!r} has {int(long.sum())} windows with more than "
            f"{max_tokens - 1} motions; the further ones are left out of the targets",
            MLMethodsWarning,
            stacklevel=4,
        )
    count = np.minimum(count, max_tokens - 1)
    row, column = np.nonzero(begins & (rank < count[:, None]))
    tokens = np.zeros((n, max_tokens), np.int32)
    tokens[row, rank[row, column]] = frame_labels[row, column] + 1
    tokens[np.arange(n), count] = C + 1
    return tokens
