"""Recognition while signals arrive, with the results of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlmethods.common.validation import check_real
from mlmethods.errors import CheckpointError, InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.motion._pieces import Joiner, Runs, to_segments
from mlmethods.motion._recognize import (
    decode_core,
    frame_core,
    is_sequence_model,
    of_whole_recordings,
)
from mlmethods.motion._stream_scale import make_scale
from mlmethods.motion.calibration import Temperature
from mlmethods.motion.primseq import PrimSeq
from mlmethods.motion.recording import Channel
from mlmethods.motion.segments import Segments
from mlmethods.motion.windows import WindowSpec, plan, start_token

__all__ = ["PrimSeqStream"]

_VERSION = 1
# Seconds between the windows of the low latency, and of frames that a stream waits for
# before its own statistics are used.
_STEP = 1.0
_WARMUP = 30.0


class PrimSeqStream:
    """Find motions in signals that arrive in chunks of any size.

    The windows are those of the batch, so that motions are those of
    :meth:`PrimSeq.predict` for a sequence model and fixed statistics, however the
    signals are cut into chunks. A framewise model sees one window at a time and its
    most likely classes are taken; this is what it says of whole recordings if it looks
    no further than the context of a window. What is kept does not grow with time.

    Parameters
    ----------
    model : PrimSeq or estimator
        What recognizes; a :class:`PrimSeq` brings its calibration along.
    normalizer : None, "online", Recording or ZNormalizer
        ``"online"`` takes mean and deviation of all frames up to the end of each
        window; a recording, such as one of a minute of free movement, or a normalizer
        with ``per="train"`` gives fixed ones. None takes those of the model if they
        are fixed, else ``"online"``.
    low_latency : bool, default=False
        Windows follow one another by 1 s and only what is new in each is committed.
        A motion is then known 1 s plus the context of a window after its end, instead
        of a hop plus the context. Results differ from those of the batch.
    fs : float, optional
        Frames per second; by default the rate of the model's training.
    channels : sequence of Channel, optional
        What the columns are: online statistics leave those of the kind ``"side"``
        alone.
    warmup : float, default=30.0
        Seconds that must have come before online statistics are used.

    Raises
    ------
    InvalidInputError
        If the model is not fitted, has no windows, or an argument does not fit to it.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> from mlmethods.motion import PrimSeqStream
    >>> from mlmethods.motion.windows import WindowSpec
    >>> model = SimpleNamespace(
    ...     classes_=("idle", "reach"), feature_names_=["a"], fs_=50.0,
    ...     window=WindowSpec(),
    ...     predict_logits=lambda x, mask: np.concatenate([0.5 - x, x - 0.5], -1)[None],
    ... )
    >>> stream = PrimSeqStream(model)
    >>> signal = np.repeat([0.0, 1.0, 0.0], 200)[:, None]
    >>> spans = [stream.push(chunk) for chunk in np.split(signal, 6)]
    >>> [len(found) for found in spans], stream.flush().end.tolist()
    ([0, 0, 0, 0, 1, 0], [8.0, 12.0])
    """

    def __init__(
        self,
        model: Any,
        *,
        normalizer: Any = None,
        low_latency: bool = False,
        fs: float | None = None,
        channels: Sequence[Channel] | None = None,
        warmup: float = _WARMUP,
    ) -> None:
        pipeline = model if isinstance(model, PrimSeq) else PrimSeq(model)
        self._model = pipeline.model
        self.classes = pipeline.classes
        self._align = pipeline.align
        self._temperature = Temperature()
        if pipeline.calibration is not None:
            self._temperature = pipeline.calibration.temperature
        rate = getattr(self._model, "fs_", None) if fs is None else fs
        self.fs = check_real("fs", rate, minimum=0, open_minimum=True)
        self._spec = _window_spec(self._model)
        self._size, self._hop, self._context = self._spec.frames(self.fs)
        self._before = self._context if self._spec.mode == "exact" else 0
        names = getattr(self._model, "feature_names_", None)
        if names is None:
            raise InvalidInputError("model must be fitted, it has no feature_names_")
        self._n_features = len(names)
        if channels is not None and [c.name for c in channels] != list(names):
            raise InvalidInputError(
                "channels must be those of the model in their order, got "
                f"{len(channels)} of which some differ"
            )
        self._scale = make_scale(normalizer, self._model, self._n_features, channels)
        seconds = check_real("warmup", warmup, minimum=0)
        self._warmup = round(seconds * self.fs) if self._scale.online else 0
        self.low_latency = bool(low_latency)
        self._step = max(min(round(_STEP * self.fs), self._hop), 1)
        self._joiner = Joiner(pipeline.collapse_repeats)
        self._frames = np.zeros((0, self._n_features), np.float32)
        self._valid = np.zeros(0, bool)
        self._first = 0  # the frame of the stream that the kept ones begin with
        self._total = 0
        self._counted = 0
        self._next = 0
        self._token = start_token(self.classes)
        self._recent: list[tuple[int, int]] = []  # (end, token) of low latency
        self._finished = False

    @property
    def latency(self) -> float:
        """Seconds between the end of a motion and when it is known, at most.

        Computing, and the warm-up of online statistics, come on top.
        """
        return ((self._step if self.low_latency else self._hop) + self._context) / (
            self.fs
        )

    def push(self, chunk: ArrayLike, valid: ArrayLike | None = None) -> Segments:
        """Take further frames, and return the motions that are now known.

        Parameters
        ----------
        chunk : array-like of shape (n, D)
            Frames with the channels of the model in their order, not normalized.
        valid : bool array-like of shape (n,), optional
            Which frames have a usable signal; by default all.

        Returns
        -------
        Segments
            Seconds from the start of the stream. The last motion is held back until it
            is known where it ends.

        Raises
        ------
        InvalidInputError
            If the shape is wrong, a value of a valid frame is not finite, or the
            stream was flushed.
        """
        frames, usable = self._checked(chunk, valid)
        done = []
        # A long chunk is taken in parts: what is kept stays as short as a window.
        for at in range(0, len(frames), self._size):
            part = slice(at, at + self._size)
            self._frames = np.concatenate([self._frames, frames[part]])
            self._valid = np.concatenate([self._valid, usable[part]])
            self._total += len(frames[part])
            while self._ready():
                done.append(self._advance(self._total, last=False))
                self._forget()
        return self._segments(Runs.concat(done))

    def flush(self) -> Segments:
        """Return the rest, after the last frame; the stream takes no more.

        Raises
        ------
        InvalidInputError
            If fewer than 8 frames have come, or the stream was flushed before.
        """
        self._check_open()
        where = plan(self._total, self.fs, self._spec)
        done = []
        if self.low_latency:
            while self._next * self._step < self._total:
                done.append(self._advance(self._total, last=True))
        else:
            while self._next < len(where.start):
                done.append(self._advance(self._total, last=True))
        done.append(self._joiner.flush())
        self._finished = True
        return self._segments(Runs.concat(done))

    def _ready(self) -> bool:
        return self._total >= max(self._window()[1], self._warmup)

    def _window(self) -> tuple[int, int]:
        """Return first and last + 1 frame of the next window, padding included."""
        if self.low_latency:
            stop = (self._next + 1) * self._step + self._context
            return max(-self._before, stop - self._size), stop
        start = self._next * self._hop - self._before
        return start, start + self._size

    def _core(self, total: int, last: bool) -> tuple[int, int, int]:
        """Return the core of the next window in the stream, and the window's length."""
        start, stop = self._window()
        if self.low_latency:
            end = (self._next + 1) * self._step
            first = max(end - (self._size - 2 * self._context), 0)
            return first, min(end, total), stop - start
        if not last:
            first = start + self._context
            return first, first + self._size - 2 * self._context, self._size
        where = plan(total, self.fs, self._spec)
        first, end = where.frames[self._next]
        return int(first), int(end), int(where.length[self._next])

    def _advance(self, total: int, last: bool) -> Runs:
        """Recognize the next window; return the runs that are complete."""
        start, stop = self._window()
        first, end, length = self._core(total, last)
        # Statistics of what had come when the window was complete: chunks do not show.
        self._count(min(max(stop, self._warmup), total))
        inside = np.clip(np.arange(start, start + length), 0, total - 1) - self._first
        x = np.zeros((1, self._size, self._n_features), np.float32)
        x[0, :length] = self._scale.apply(self._frames[inside])
        mask = np.zeros((1, self._size), bool)
        mask[0, :length] = True
        core = (first - start, end - start)
        valid = self._valid[first - self._first : end - self._first]
        if is_sequence_model(self._model):
            before = np.array([self._previous(first)], np.int32)
            runs, self._token = decode_core(
                self._model, x, mask, before, core, first, valid, self._align
            )
        else:
            runs = frame_core(self._model, x, mask, core, first, valid)
        if self.low_latency:
            runs = self._new_part(runs, end)
        self._next += 1
        return self._joiner.push(runs)

    def _previous(self, first: int) -> int:
        """Return the token before a core: what was committed there."""
        if not self.low_latency:
            return self._token
        before = [token for end, token in self._recent if end <= first]
        return before[-1] if before else start_token(self.classes)

    def _new_part(self, runs: Runs, end: int) -> Runs:
        """Return the runs after what was committed before, cut where it ends."""
        committed = self._next * self._step
        kept = runs.end > committed
        runs = Runs(*(column[kept] for column in runs))
        runs = runs._replace(start=np.maximum(runs.start, committed))
        # What the next cores may need as their last motion before.
        horizon = end - self._size
        old = [known for known in self._recent if known[0] <= horizon]
        self._recent = old[-1:] + [k for k in self._recent if k[0] > horizon]
        self._recent += [
            (int(stop), int(label) + 1)
            for stop, label in zip(runs.end, runs.label, strict=True)
        ]
        return runs

    def _count(self, upto: int) -> None:
        if upto > self._counted:
            part = slice(self._counted - self._first, upto - self._first)
            self._scale.update(self._frames[part][self._valid[part]])
            self._counted = upto

    def _forget(self) -> None:
        """Drop the frames that no later window needs."""
        keep = min(max(self._window()[0], 0), self._total - 1)
        if keep > self._first:
            self._frames = self._frames[keep - self._first :].copy()
            self._valid = self._valid[keep - self._first :].copy()
            self._first = keep

    def _segments(self, runs: Runs) -> Segments:
        return to_segments(runs, self.fs, self.classes, self._temperature)

    def _check_open(self) -> None:
        if self._finished:
            raise InvalidInputError(
                "this stream was flushed; a new PrimSeqStream takes further signals"
            )

    def _checked(
        self, chunk: ArrayLike, valid: ArrayLike | None
    ) -> tuple[NDArray, NDArray]:
        self._check_open()
        frames = np.asarray(chunk)
        if frames.ndim != 2 or frames.shape[1] != self._n_features:
            raise InvalidInputError(
                f"chunk must have shape (n, {self._n_features}), got {frames.shape}"
            )
        if frames.dtype.kind not in "fiu":
            raise InvalidInputError(f"chunk must hold numbers, got {frames.dtype}")
        with np.errstate(over="ignore"):
            frames = frames.astype(np.float32)
        usable = np.ones(len(frames), bool)
        if valid is not None:
            usable = np.asarray(valid, dtype=bool)
            if usable.shape != (len(frames),):
                raise InvalidInputError(
                    f"valid must have one entry for each of {len(frames)} frames, got "
                    f"shape {usable.shape}"
                )
        bad = ~np.isfinite(frames) & usable[:, None]
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise InvalidInputError(
                f"chunk must be finite where it is valid, got {frames[row, column]} in "
                f"channel {int(column)} at frame {self._total + int(row)}"
            )
        return frames, usable

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on elsewhere: numbers, lists and arrays."""
        return {
            "version": _VERSION,
            "fs": self.fs,
            "low_latency": self.low_latency,
            "frames": self._frames.copy(),
            "valid": self._valid.copy(),
            "first": self._first,
            "total": self._total,
            "counted": self._counted,
            "next": self._next,
            "token": self._token,
            "recent": [list(known) for known in self._recent],
            "open": self._joiner.state(),
            "scale": self._scale.state(),
            "finished": self._finished,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> PrimSeqStream:
        """Go on from the state of a stream with the same model and settings.

        Parameters
        ----------
        state : mapping
            As of :meth:`state_dict`.

        Returns
        -------
        PrimSeqStream
            Itself.

        Raises
        ------
        CheckpointError
            If the state is incomplete, or of other settings.
        """
        try:
            settings = (state["version"], state["fs"], state["low_latency"])
            expected = (_VERSION, self.fs, self.low_latency)
            if settings != expected:
                raise CheckpointError(
                    "state must be of version, fs and low_latency "
                    f"{expected}, got {settings}"
                )
            frames = np.array(state["frames"], dtype=np.float32)
            if frames.ndim != 2 or frames.shape[1] != self._n_features:
                raise CheckpointError(
                    f"state must have frames of {self._n_features} channels, got shape "
                    f"{frames.shape}"
                )
            self._frames = frames
            self._valid = np.array(state["valid"], dtype=bool)
            self._first = int(state["first"])
            self._total = int(state["total"])
            self._counted = int(state["counted"])
            self._next = int(state["next"])
            self._token = int(state["token"])
            self._recent = [(int(end), int(token)) for end, token in state["recent"]]
            self._joiner.restore(dict(state["open"]))
            self._scale.restore(state["scale"])
            self._finished = bool(state["finished"])
        except KeyError as error:
            raise CheckpointError(f"state must have {error}") from error
        return self


def _window_spec(model: Any) -> WindowSpec:
    spec = getattr(model, "window", None)
    if not isinstance(spec, WindowSpec):
        raise InvalidInputError(
            f"model must have a WindowSpec as window, got {type(spec).__name__}"
        )
    if not is_sequence_model(model) and not hasattr(model, "predict_logits"):
        raise InvalidInputError(
            "model must be a sequence model or have predict_logits, got "
            f"{type(model).__name__}"
        )
    if getattr(model, "segmenter", None) is not None:
        raise InvalidInputError(
            "model must see signals, got one that sees what another model says of whole "
            "recordings"
        )
    if of_whole_recordings(model):
        raise InvalidInputError(
            "model must recognize windows, got one that was trained on whole recordings"
        )
    return spec
