"""What models share that write down the motions of windows in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmethods.common.validation import check_choice, check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion._network import NetworkEstimator
from mlmethods.motion._pieces import Joiner, Runs, align_core, all_valid
from mlmethods.motion._training_data import MAX_TOKENS
from mlmethods.motion._window_passes import AllWindows, decode_all, softmax
from mlmethods.motion.contract import DecodeResult
from mlmethods.motion.recording import Recording
from mlmethods.motion.segments import Segments
from mlmethods.motion.windows import start_token, stitch

__all__ = ["SequenceEstimator", "class_ids", "transcripts_of"]

_MOST_BEAM = 16


class SequenceEstimator(NetworkEstimator):
    """A network that gives the motions of a window in order, without times.

    Attributes
    ----------
    config_ : NetworkConfig
        The network.
    params_ : dict of str to ndarray
        Its parameters.
    """

    _optimizer = "adamw"
    _schedule = "one-cycle"

    preset: str
    layers: int
    beam: int

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_choice("preset", self.preset, ("base",))
        self._check_beam()

    def _check_beam(self) -> None:
        check_integer("beam", self.beam, minimum=1, maximum=_MOST_BEAM)

    @property
    def _collapses(self) -> bool:
        """Whether equal neighbors are one motion."""
        return True

    @property
    def _rate(self) -> int:
        return 2 ** int(self.config_.layers)  # type: ignore[attr-defined]

    def decode_windows(
        self, x: Any, mask: Any = None, previous: Any = None
    ) -> DecodeResult:
        """Return the best token sequences of windows that are already normalized.

        Parameters
        ----------
        x : array of shape (B, W, D)
            Frames, as :meth:`prepare` gives them.
        mask : bool array of shape (B, W), optional
            Which of them are there; those in front.
        previous : int array of shape (B,), optional
            Last token of the window before; at the start of a recording that of
            :func:`mlmethods.motion.windows.start_token`, which is the default.

        Returns
        -------
        DecodeResult
            Token ids are class ids + 1.

        Raises
        ------
        InvalidInputError
            If a shape does not fit.
        """
        self._check_fitted()
        self._check_beam()
        rows = np.asarray(x)
        if previous is None:
            previous = np.full(len(rows), start_token(self.classes_), np.int32)
        return self._decode(rows, mask, np.asarray(previous, np.int32), MAX_TOKENS)

    def _decode(
        self, x: NDArray, mask: NDArray | None, previous: NDArray, room: int
    ) -> DecodeResult:
        return self._network().decode(
            self.params_,
            x,
            mask,
            previous=previous,
            beam=self.beam,
            length_penalty=float(getattr(self, "length_penalty", 0.0)),
            max_tokens=room,
        )

    def _decoded(
        self, prepared: Sequence[Recording]
    ) -> tuple[AllWindows, list[DecodeResult]]:
        """Return the windows of recordings, and what was found in them."""
        self._check_beam()
        windows = AllWindows(prepared, self.window)
        token = start_token(self.classes_)
        return windows, decode_all(windows, self.decode_windows, token)

    def _sequences(self, prepared: Sequence[Recording]) -> list[list[int]]:
        return [
            stitch(ids[ids > 0] - 1 for ids in result.ids)
            for result in self._decoded(prepared)[1]
        ]

    def predict(self, X: Any) -> list[Segments]:
        """Return the segments of each recording.

        The motions of each core are given times by forced alignment with the class
        probabilities of frames.

        Parameters
        ----------
        X : sequence of Recording
            With the features and the rate of training.

        Returns
        -------
        list of Segments
            The confidence of a segment is the probability of its token.

        Raises
        ------
        InvalidInputError
            If features or rate differ from those of training.
        """
        prepared = self.prepare(X)
        windows, results = self._decoded(prepared)
        found = []
        for item, where, result in zip(prepared, windows.plans, results, strict=True):
            joiner, parts = Joiner(collapse=self._collapses), []
            cores, first = where.core.tolist(), where.frames[:, 0]
            for row in range(len(result.ids)):
                runs = self._runs(item, result, row, cores[row], int(first[row]))
                parts.append(joiner.push(runs))
            parts.append(joiner.flush())
            found.append(self._segments(Runs.concat(parts), item))
        return found

    def _runs(
        self,
        item: Recording,
        result: DecodeResult,
        row: int,
        core: Sequence[int],
        first: int,
    ) -> Runs:
        """Return the tokens of a core as runs of frames of the recording."""
        kept = result.ids[row] > 0
        label, confidence, bounds = align_core(
            result.ids[row][kept].astype(np.int64) - 1,
            np.exp(result.log_probs[row][kept].astype(np.float64)).clip(0, 1),
            result.frame_logits[row],
            (core[0], core[1]),
            self._rate,
        )
        start, end = first + bounds[:-1], first + bounds[1:]
        valid = item.meta.get("valid")
        usable = np.ones(item.n_frames, bool) if valid is None else np.asarray(valid)
        return Runs(start, end, label, confidence, all_valid(usable, start, end))

    def _segments(self, runs: Runs, item: Recording) -> Segments:
        return Segments(
            runs.start / item.fs,
            runs.end / item.fs,
            runs.label.astype(np.int32),
            self.classes_,
            runs.confidence,
            runs.valid,
        )

    def predict_proba(self, X: Any) -> list[NDArray]:
        """Return the probability of each class in each frame, by the frame classifier.

        Parameters
        ----------
        X : sequence of Recording
            With the features and the rate of training.

        Returns
        -------
        list of float32 arrays of shape (T, C)
            Constant over the frames of a step of the encoder.
        """
        windows, results = self._decoded(self.prepare(X))
        return [
            windows.spread(index, softmax(result.frame_logits), self._rate)
            for index, result in enumerate(results)
        ]


def transcripts_of(counts: Sequence[Any], classes: Sequence[str]) -> list[list[int]]:
    """Return counts of one class each as class ids that are repeated.

    Raises
    ------
    InvalidInputError
        If a recording has counts of several classes, whose order is not known.
    """
    found = []
    for index, own in enumerate(counts):
        positive = {name: int(n) for name, n in dict(own).items() if int(n) > 0}
        if len(positive) > 1 or any(int(n) < 0 for n in dict(own).values()):
            raise InvalidInputError(
                f"counts must be of one class for each recording, whose order is then "
                f"known, got {dict(own)} for recording {index}; give targets instead"
            )
        found.append(
            [c for name, n in positive.items() for c in [_class_id(name, classes)] * n]
        )
    return found


def class_ids(
    targets: Sequence[Sequence[Any]], classes: Sequence[str]
) -> list[list[int]]:
    """Return transcripts of class ids or names as ids."""
    return [[_class_id(label, classes) for label in own] for own in targets]


def _class_id(label: Any, classes: Sequence[str]) -> int:
    if isinstance(label, str):
        if label in classes:
            return list(classes).index(label)
    elif isinstance(label, int | np.integer) and 0 <= label < len(classes):
        return int(label)
    raise InvalidInputError(
        f"classes must be among {', '.join(classes)} or their ids, got {label!r}"
    )
