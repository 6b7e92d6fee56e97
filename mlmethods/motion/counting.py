"""How many motions of each class were done, and how many per minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import Recording
from mlmethods.motion.segments import Segments

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["count_segments", "distinct_trials", "valid_minutes"]

_FIELDS = ("subject", "session", "activity", "side")


def count_segments(
    recordings: Sequence[Recording],
    segments: Sequence[Segments] | None = None,
    *,
    by: str | Sequence[str] = _FIELDS,
    collapse_repeats: bool | None = None,
) -> pd.DataFrame:
    """Count segments of each class by who did them, when, what for and with which arm.

    Recordings of the same movements, such as two cameras of one trial, count once:
    those of a subject and session with the same ``meta["trial"]``; the first is taken.

    Parameters
    ----------
    recordings : sequence of Recording
        What was recorded.
    segments : sequence of Segments, optional
        What was found in each recording, all with the same classes; by default the
        labels of the recordings.
    by : str or sequence of str
        Which of ``"subject"``, ``"session"``, ``"activity"`` and ``"side"`` to tell
        apart.
    collapse_repeats : bool, optional
        Whether equal segments that touch count once; None follows where the segments
        came from.

    Returns
    -------
    pandas.DataFrame
        A row for each group and class, classes without a segment included, with the
        columns of `by`, `class`, `count` (all segments), `valid` (those with a usable
        signal throughout), `minutes` (with a usable signal) and `per_minute`, which is
        `valid` over `minutes`, NaN where there are none.

    Raises
    ------
    InvalidInputError
        If there is not one entry for each recording, classes differ, or labels are
        missing.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording, Segments
    >>> from mlmethods.motion.counting import count_segments
    >>> labels = Segments([0, 10], [10, 30], [1, 0], ("idle", "reach"))
    >>> signal = np.zeros((3000, 1)), 100.0, [Channel("ax", "accel", "m/s2")]
    >>> recording = Recording(*signal, subject="s1", activity="drinking", labels=labels)
    >>> table = count_segments([recording], by="activity")
    >>> table[["activity", "class", "count", "per_minute"]].values.tolist()
    [['drinking', 'idle', 1, 2.0], ['drinking', 'reach', 1, 2.0]]
    """
    import pandas as pd

    fields = [by] if isinstance(by, str) else list(by)
    for name in fields:
        check_choice("by", name, _FIELDS)
    found = _found(recordings, segments)
    totals: dict[tuple[str | None, ...], tuple[NDArray, NDArray, list[float]]] = {}
    classes = found[0].classes
    for index in distinct_trials(recordings):
        recording, spans = recordings[index], found[index]
        collapse = spans._from_frames if collapse_repeats is None else collapse_repeats
        if collapse:
            spans = spans.merge_repeats()
        key = tuple(getattr(recording, name) for name in fields)
        empty = np.zeros(len(classes), np.int64)
        count, valid, minutes = totals.setdefault(key, (empty, empty.copy(), []))
        usable = slice(None) if spans.valid is None else spans.valid
        np.add.at(count, spans.label, 1)
        np.add.at(valid, spans.label[usable], 1)
        minutes.append(valid_minutes(recording))
    rows = [
        (*key, name, int(count[k]), int(valid[k]), sum(minutes))
        for key, (count, valid, minutes) in totals.items()
        for k, name in enumerate(classes)
    ]
    table = pd.DataFrame(rows, columns=[*fields, "class", "count", "valid", "minutes"])
    measured = table["minutes"].where(table["minutes"] > 0)
    return table.assign(per_minute=table["valid"] / measured)


def distinct_trials(recordings: Sequence[Recording]) -> list[int]:
    """Return the places of recordings that show each trial once, the first of each.

    A recording without ``meta["trial"]`` is a trial of its own.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording
    >>> from mlmethods.motion.counting import distinct_trials
    >>> signal = np.zeros((100, 1)), 100.0, [Channel("x", "feature", "1")]
    >>> camera = Recording(*signal, subject="s1", meta={"trial": "drinking3"})
    >>> distinct_trials([camera, camera])
    [0]
    """
    seen: set[object] = set()
    places = []
    for index, recording in enumerate(recordings):
        trial = recording.meta.get("trial")
        # both arms and the parts around a long gap are not the same movements
        offset = recording.meta.get("offset", 0.0)
        key = (recording.subject, recording.session, recording.side, trial, offset)
        if trial is None or key not in seen:
            places.append(index)
        seen.add(key)
    return places


def valid_minutes(recording: Recording) -> float:
    """Return the minutes with a usable signal: all frames but those masked.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording
    >>> from mlmethods.motion.counting import valid_minutes
    >>> channels = [Channel("ax", "accel", "m/s2")]
    >>> valid_minutes(Recording(np.zeros((3000, 1)), 100.0, channels, subject="s1"))
    0.5
    """
    valid = recording.meta.get("valid")
    frames = recording.n_frames if valid is None else int(np.count_nonzero(valid))
    return frames / recording.fs / 60.0


def _found(
    recordings: Sequence[Recording], segments: Sequence[Segments] | None
) -> list[Segments]:
    if not len(recordings):
        raise InvalidInputError("recordings must be at least one, got none")
    if segments is None:
        found = []
        for recording in recordings:
            if recording.labels is None:
                raise InvalidInputError(
                    "segments must be given where recordings have no labels, got none "
                    f"for {recording.name!r}"
                )
            found.append(recording.labels)
    else:
        found = list(segments)
    if len(found) != len(recordings):
        raise InvalidInputError(
            f"segments must have one entry for each of {len(recordings)} recordings, "
            f"got {len(found)}"
        )
    for spans in found:
        if spans.classes != found[0].classes:
            raise InvalidInputError(
                f"segments must have the same classes, got {found[0].classes} and "
                f"{spans.classes}"
            )
    return found
