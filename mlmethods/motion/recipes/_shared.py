"""What the experiments share: the papers, the sessions and the parts of them."""

from __future__ import annotations

from typing import NamedTuple

from mlmethods.motion.collection import RecordingDataset

__all__ = ["STROKEREHAB", "Parts", "watch_parts"]

STROKEREHAB = (
    "Kaku et al.: StrokeRehab: A Benchmark Dataset for Sub-second Action "
    "Identification. NeurIPS Datasets and Benchmarks (2022)"
)


class Parts(NamedTuple):
    """Recordings of three groups of subjects."""

    train: RecordingDataset
    validation: RecordingDataset
    test: RecordingDataset


def watch_parts(
    seed: int,
    *,
    test: tuple[str, ...] = ("9", "10"),
    validation: tuple[str, ...] = ("8",),
    sessions: int = 4,
) -> Parts:
    """Return composed sessions of real watch signals, parted by subject."""
    from mlmethods.motion.datasets import make_watch_sessions

    data = make_watch_sessions(seed, sessions=sessions)
    rest, tested = data.split_by_subject(test)
    train, validating = rest.split_by_subject(validation)
    return Parts(train, validating, tested)
