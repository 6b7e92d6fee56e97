"""The counting pipeline: from recordings to motions with times, and to counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.motion import _provenance
from mlmethods.motion._count_table import (
    KEYS,
    IntervalNote,
    Source,
    count_table,
    interval_note,
)
from mlmethods.motion._pieces import to_segments
from mlmethods.motion._recognize import (
    Recognized,
    is_sequence_model,
    model_classes,
    recognize,
    valid_frames,
)
from mlmethods.motion.calibration import Temperature, fit_temperature
from mlmethods.motion.count_calibration import CountCalibration, hits
from mlmethods.motion.intervals import check_level
from mlmethods.motion.recording import QualityEntry, Recording
from mlmethods.motion.segments import Segments

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PrimSeq", "PrimSeqResult"]


@dataclass(frozen=True, eq=False, repr=False)
class PrimSeqResult:
    """Motions of some recordings, and how many there were.

    Attributes
    ----------
    sources : tuple of Source
        What is known about each recording.
    segments : tuple of Segments
        Motions of each recording, in seconds from its first frame.
    classes : tuple of str
        Names of the classes.
    counts : DataFrame
        Columns subject, session, activity, side, class, count, low, high, valid (those
        that overlap no masked time), minutes (not masked) and per_minute.
    quality : DataFrame
        What was repaired: recording, channel, issue, start, end and action.
    interval : IntervalNote
        What low and high are.
    calibration : CountCalibration or None
        Where they come from.
    provenance : dict
        Model, versions, and when.
    """

    sources: tuple[Source, ...]
    segments: tuple[Segments, ...]
    classes: tuple[str, ...]
    counts: pd.DataFrame
    quality: pd.DataFrame
    interval: IntervalNote
    calibration: CountCalibration | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def totals(self, by: Sequence[str] = ("subject", "session", "side")) -> Any:
        """Return counts that are added up over more than a recording.

        Parameters
        ----------
        by : sequence of str
            What is kept apart, of ``"subject"``, ``"session"``, ``"activity"`` and
            ``"side"``.

        Returns
        -------
        DataFrame
            As `counts`. Intervals are those of sums, not sums of intervals.

        Raises
        ------
        InvalidInputError
            If `by` has an unknown name.
        """
        return count_table(
            self.sources,
            self.segments,
            self.classes,
            by=by,
            note=self.interval,
            calibration=self.calibration,
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return every motion.

        Columns are recording, side, start_s, end_s, label, confidence and valid; times
        are seconds from the start of the file.
        """
        import pandas as pd

        parts = []
        for source, spans in zip(self.sources, self.segments, strict=True):
            part = spans.to_dataframe().rename(
                columns={"start": "start_s", "end": "end_s"}
            )
            part["start_s"] += source.offset
            part["end_s"] += source.offset
            part.insert(0, "recording", source.name)
            part.insert(1, "side", source.side)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def report(self, path: str | os.PathLike[str]) -> PrimSeqResult:
        """Write a page to read, and the same content for programs.

        Parameters
        ----------
        path : path-like
            An ``.html`` file, with a ``.json`` file of the same name beside it; or a
            folder, for ``report.html`` and ``report.json``.

        Returns
        -------
        PrimSeqResult
            Itself, for chaining.
        """
        from mlmethods.motion.report import write_report

        write_report(self, path)
        return self

    def export(self, folder: str | os.PathLike[str]) -> PrimSeqResult:
        """Write tables and annotation files.

        ``segments.csv``, ``counts.csv`` and ``quality.csv``, and for each recording an
        ELAN file, a Praat TextGrid and a table of events as of BIDS.

        Parameters
        ----------
        folder : path-like
            Where to; it is made if it is missing.

        Returns
        -------
        PrimSeqResult
            Itself, for chaining.
        """
        from mlmethods.motion._export_result import export_result

        export_result(self, Path(folder))
        return self

    def __repr__(self) -> str:
        synthetic = "SYNTHETIC, " if any(s.synthetic for s in self.sources) else ""
        return (
            f"PrimSeqResult({synthetic}{len(self.sources)} recordings, "
            f"{sum(map(len, self.segments))} motions)"
        )


class PrimSeq:
    """Find and count motions in recordings, with a trained model.

    Parameters
    ----------
    model : estimator
        A fitted recognizer or tagger of :mod:`mlmethods.motion`.
    sanitizer : SensorSanitizer, optional
        Repairs recordings first. By default files are repaired to the rate of the
        model, and recordings in memory are taken as they are.
    align : {"viterbi", "attention"}
        How the tokens of a sequence model get their times: by the most likely monotone
        segmentation of its frames, or by where its attention lies.
    interval : {"conformal", "poisson-binomial", None}
        How far counts may be off. Conformal intervals need :meth:`calibrate` and are
        missing before; Poisson-binomial ones trust the confidence of each motion.
    level : float, default=0.9
        Share of the cases that an interval is to cover.
    collapse_repeats : bool, default=True
        Whether equal motions that touch count once, as where labels come from frames.
        False keeps repetitions within a window apart; what the edge between two
        windows cuts is one motion in any case.
    calibration : CountCalibration, optional
        What an earlier :meth:`calibrate` found.

    References
    ----------
    A. Parnandi et al., "PrimSeq: a deep learning-based pipeline to quantitate
    rehabilitation training", PLOS Digital Health 1 (2022).

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, PrimSeq, Recording, Segments
    >>> class Threshold:
    ...     classes_ = ("idle", "reach")
    ...     def predict_proba(self, X):
    ...         return [np.stack([1 - r.data[:, 0], r.data[:, 0]], 1) for r in X]
    ...     def predict(self, X):
    ...         frames = [p.argmax(1) for p in self.predict_proba(X)]
    ...         return [Segments.from_frames(y, 50.0, self.classes_) for y in frames]
    >>> signal = np.repeat([0.2, 0.9, 0.1], 100)[:, None]
    >>> channel = Channel("wrist", "feature", "1")
    >>> recording = Recording(signal, 50.0, [channel], subject="s1", side="left")
    >>> result = PrimSeq(Threshold()).predict(recording)
    >>> result.counts[["class", "count", "per_minute"]].values.tolist()
    [['idle', 2, 20.0], ['reach', 1, 10.0]]
    """

    def __init__(
        self,
        model: Any,
        sanitizer: Any = None,
        align: Literal["viterbi", "attention"] = "viterbi",
        interval: Literal["conformal", "poisson-binomial"] | None = "conformal",
        *,
        level: float = 0.9,
        collapse_repeats: bool = True,
        calibration: CountCalibration | None = None,
    ) -> None:
        check_choice("align", align, ("viterbi", "attention"))
        if interval is not None:
            check_choice("interval", interval, ("conformal", "poisson-binomial"))
        self.classes = model_classes(model)
        self.model = model
        self.sanitizer = sanitizer
        self.align = align
        self.interval = interval
        self.level = check_level(level)
        self.collapse_repeats = collapse_repeats
        self.calibration = calibration
        if calibration is not None and calibration.classes != self.classes:
            raise InvalidInputError(
                f"calibration must be for the classes {self.classes}, got "
                f"{calibration.classes}"
            )

    def predict(self, source: Any) -> PrimSeqResult:
        """Find and count the motions of recordings.

        Parameters
        ----------
        source : Recording, sequence of Recording, or path-like
            A path is a file or a folder of files that :mod:`mlmethods.motion.io`
            reads; a sequence may mix both.

        Returns
        -------
        PrimSeqResult

        Raises
        ------
        InvalidInputError
            If there is no recording, or the model does not accept one.
        DataFormatError
            If a file does not follow its format.
        """
        recordings = self._recordings(source)
        temperature = Temperature()
        if self.calibration is not None:
            temperature = self.calibration.temperature
        found = self._recognize(recordings)
        segments = tuple(
            to_segments(one.runs, recording.fs, self.classes, temperature)
            for one, recording in zip(found, recordings, strict=True)
        )
        sources = _sources(recordings, found)
        note = interval_note(self.interval, self.level, self.calibration)
        return PrimSeqResult(
            sources=sources,
            segments=segments,
            classes=self.classes,
            counts=count_table(
                sources,
                segments,
                self.classes,
                by=KEYS,
                note=note,
                calibration=self.calibration,
            ),
            quality=_quality(found, sources),
            interval=note,
            calibration=self.calibration,
            provenance=_provenance.describe(self),
        )

    def calibrate(self, source: Any) -> PrimSeq:
        """Learn from labeled recordings how far confidences and counts are off.

        Parameters
        ----------
        source : Recording, sequence of Recording, or path-like
            Recordings with labels, of patients that the model was not trained on.

        Returns
        -------
        PrimSeq
            Itself; `calibration` holds what was found.

        Raises
        ------
        InvalidInputError
            If a recording has no labels, or labels that the model does not know.
        """
        recordings = self._recordings(source)
        truths = [_true_labels(recording, self.classes) for recording in recordings]
        found = self._recognize(recordings)
        chances, right, rows = [], [], []
        size = len(self.classes)
        missed, total = np.zeros(size), np.zeros(size)
        sources = _sources(recordings, found)
        for source, truth, one in zip(sources, truths, found, strict=True):
            if source.repeated:
                continue
            known, correct = hits(truth, one.runs.label.tolist())
            told = ~np.isnan(one.runs.confidence)
            chances.append(one.runs.confidence[told])
            right.append(correct[told])
            true = np.bincount(np.asarray(truth, np.int64), minlength=size)
            seen = np.bincount(one.runs.label, minlength=size)
            total += true
            wrong = np.asarray(truth, np.int64)[~known]
            missed += np.bincount(wrong, minlength=size)
            who = [getattr(source, key) for key in KEYS]
            rows += [
                (*who, name, int(true[c]), int(seen[c]))
                for c, name in enumerate(self.classes)
            ]
        rates = (missed + 1) / (total + 2)
        self.calibration = CountCalibration(
            classes=self.classes,
            temperature=fit_temperature(np.concatenate(chances), np.concatenate(right)),
            miss_rate=dict(zip(self.classes, rates.tolist(), strict=True)),
            counts=tuple(rows),
            provenance=_provenance.describe(self),
        )
        return self

    def _recognize(self, recordings: Sequence[Recording]) -> list[Recognized]:
        return recognize(
            self.model, recordings, align=self.align, collapse=self.collapse_repeats
        )

    def _recordings(self, source: Any) -> list[Recording]:
        recordings: list[Recording] = []
        for item in _items(source):
            if isinstance(item, Recording):
                own = [item]
                repair = self.sanitizer
            else:
                own = _read(item)
                repair = self.sanitizer
                if repair is None:
                    repair = _default_sanitizer(self.model)
            recordings += own if repair is None else repair.fit(own).transform(own)
        if not recordings:
            raise InvalidInputError("source must hold at least one recording, got none")
        return recordings

    def __repr__(self) -> str:
        state = "calibrated" if self.calibration is not None else "not calibrated"
        kind = "sequence" if is_sequence_model(self.model) else "framewise"
        return f"PrimSeq({type(self.model).__name__}, {kind}, {state})"


def _items(source: Any) -> list[Any]:
    if isinstance(source, (str, os.PathLike, Recording)):
        return [source]
    if not isinstance(source, Iterable):
        raise InvalidInputError(
            "source must be a Recording, a sequence of them or a path, got "
            f"{type(source).__name__}"
        )
    items = list(source)
    for item in items:
        if not isinstance(item, (str, os.PathLike, Recording)):
            raise InvalidInputError(
                f"source must hold recordings or paths, got {type(item).__name__}"
            )
    return items


def _read(path: str | os.PathLike[str]) -> list[Recording]:
    from mlmethods.motion import io

    found = io.read(path)
    return [found] if isinstance(found, Recording) else list(found)


def _default_sanitizer(model: Any) -> Any:
    from mlmethods.motion.preprocess import SensorSanitizer

    rate = getattr(model, "fs_", None)
    return SensorSanitizer() if rate is None else SensorSanitizer(fs_out=float(rate))


def _true_labels(recording: Recording, classes: tuple[str, ...]) -> list[int]:
    if recording.labels is None:
        raise InvalidInputError(
            f"source must have labels to calibrate, got none in {recording.name!r}"
        )
    labels = recording.labels
    if labels.classes != classes:
        used = set(labels.names) - set(classes)
        if used:
            raise InvalidInputError(
                f"labels must be of the classes {', '.join(classes)}, got "
                f"{min(used)!r} in {recording.name!r}"
            )
        # Classes that do not occur need no place in the model.
        labels = labels.relabel(
            {name: None for name in labels.classes if name not in classes}, classes
        )
    return labels.sequence()


def _sources(
    recordings: Sequence[Recording], found: Sequence[Recognized]
) -> tuple[Source, ...]:
    sources: list[Source] = []
    names: set[str] = set()
    trials: set[tuple[Any, ...]] = set()
    for recording, one in zip(recordings, found, strict=True):
        offset = float(recording.meta.get("offset", 0.0))
        name, number = recording.name, 1
        while name in names:
            number += 1
            name = f"{recording.name} ({number})"
        names.add(name)
        trial = recording.meta.get("trial")
        # Two cameras show the same movements; the parts of a split trial do not.
        key = (recording.subject, recording.side, trial, offset)
        repeated = trial is not None and key in trials
        trials.add(key)
        sources.append(
            Source(
                name=name,
                subject=recording.subject,
                session=recording.session,
                activity=recording.activity,
                side=recording.side,
                fs=recording.fs,
                duration=recording.duration,
                offset=offset,
                masked=_masked(recording),
                labels=recording.labels,
                truncated=one.truncated,
                synthetic=bool(recording.meta.get("synthetic")),
                repeated=repeated,
            )
        )
    return tuple(sources)


def _masked(recording: Recording) -> tuple[tuple[float, float], ...]:
    edges = np.diff(
        np.concatenate([[0], (~valid_frames(recording)).astype(np.int8), [0]])
    )
    start, end = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return tuple(
        zip((start / recording.fs).tolist(), (end / recording.fs).tolist(), strict=True)
    )


def _quality(found: Sequence[Recognized], sources: Sequence[Source]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (source.name, *entry)
        for one, source in zip(found, sources, strict=True)
        for entry in one.quality
    ]
    return pd.DataFrame(rows, columns=["recording", *QualityEntry._fields])
