"""50Salads, Breakfast and GTEA in the layout of the community's feature bundle."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Literal

from mlmethods.common.validation import check_choice, check_integer
from mlmethods.errors import DataFormatError, DatasetNotFoundError
from mlmethods.motion.collection import LazyRecording, RecordingDataset
from mlmethods.motion.datasets._layout import (
    check_split_subjects,
    common_length,
    features_file,
    find_root,
    label_ids,
    label_lines,
)
from mlmethods.motion.recording import Channel, Recording
from mlmethods.motion.segments import Segments

__all__ = ["load_tas"]

# Splits, frames per second, and what of a name is the subject.
_SETS = {
    "50salads": (5, 30.0, re.compile(r"^rgb-(\d+)-")),
    "breakfast": (4, 15.0, re.compile(r"^(P\d+)_")),
    "gtea": (4, 15.0, re.compile(r"^(S\d+)_")),
}
_GET = (
    "The features of 50Salads, Breakfast and GTEA are in the data bundle of MS-TCN "
    "(https://zenodo.org/records/3625992). Unpack it into a data root, or give its "
    "folder as root: it holds {name}/features, groundTruth, mapping.txt and splits"
)


def load_tas(
    root: str | os.PathLike[str] | None = None,
    name: Literal["50salads", "breakfast", "gtea"] = "50salads",
    split: int = 1,
    part: Literal["train", "test", "val"] = "train",
    *,
    step: int = 1,
    mmap: bool = True,
    allow_subject_overlap: bool = False,
) -> RecordingDataset:
    """Return one part of a public set of videos, as features of frames.

    Parameters
    ----------
    root : path-like, optional
        The folder of the bundle or of the set; by default the data roots are searched.
    name : {"50salads", "breakfast", "gtea"}, default="50salads"
        Which set. Labels and features have 30 frames per second in 50Salads, 15 in
        the others.
    split : int, default=1
        1 to 5 for 50Salads, 1 to 4 for the others.
    part : {"train", "test", "val"}, default="train"
        ``"val"`` needs a file ``splits/val.split{k}.bundle``, which the bundle has
        not; :meth:`RecordingDataset.split_by_subject` makes one.
    step : int, default=1
        Every how many frames the features are taken; 2 is usual for 50Salads. Labels
        are times, and can be compared at the full rate.
    mmap : bool, default=True
        Whether features stay on the disk until they are used.
    allow_subject_overlap : bool, default=False
        Whether a subject may be in two parts of the split.

    Returns
    -------
    RecordingDataset
        Files are read when they are asked for.

    Raises
    ------
    DatasetNotFoundError
        If the set or one of its files is not there.
    InvalidInputError
        If a subject is in two parts.
    DataFormatError
        If a label is unknown (the message has the line), or labels and features differ
        in length by more than a second.

    Warns
    -----
    MLMethodsWarning
        If a recording is cut to the shorter of features and labels.

    References
    ----------
    Y. A. Farha, J. Gall, "MS-TCN: multi-stage temporal convolutional network for action
    segmentation", CVPR 2019.
    """
    check_choice("name", name, tuple(_SETS))
    check_choice("part", part, ("train", "test", "val"))
    check_integer("step", step, minimum=1)
    splits, fs, pattern = _SETS[name]
    check_integer("split", split, minimum=1, maximum=splits)
    folder = find_root(
        root, (name, f"data/{name}"), "mapping.txt", _GET.format(name=name)
    )
    classes = _mapping(folder / "mapping.txt")
    bundles = {
        key: _bundle(folder / "splits" / f"{key}.split{split}.bundle", pattern)
        for key in ("train", "test", "val")
        if key == part or (folder / "splits" / f"{key}.split{split}.bundle").exists()
    }
    check_split_subjects(
        {key: [subject for _, subject in videos] for key, videos in bundles.items()},
        allow=allow_subject_overlap,
    )
    return RecordingDataset(
        [
            LazyRecording(
                functools.partial(
                    _read, folder, video, subject, classes, fs, step, mmap
                ),
                subject,
            )
            for video, subject in bundles[part]
        ],
        classes=classes,
        name=f"{name} split {split} {part}",
    )


def _mapping(path: Path) -> tuple[str, ...]:
    names: dict[int, str] = {}
    for line, text in enumerate(label_lines(path), 1):
        fields = text.split(maxsplit=1)
        if not fields:
            continue
        if len(fields) != 2 or not fields[0].isdigit() or int(fields[0]) in names:
            raise DataFormatError(
                f"{path}:{line}: a line must be a new number and a name, got {text!r}"
            )
        names[int(fields[0])] = fields[1]
    if sorted(names) != list(range(len(names))) or not names:
        raise DataFormatError(f"{path}: numbers must be 0, 1 and so on without gaps")
    return tuple(names[index] for index in range(len(names)))


def _bundle(path: Path, pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Return the videos of a split, and who is in them."""
    if not path.exists():
        raise DatasetNotFoundError(
            f"{path} is missing, the list of the videos of this part"
        )
    videos = []
    for line, text in enumerate(label_lines(path), 1):
        video = text.removesuffix(".txt")
        if not video:
            continue
        match = pattern.match(video)
        if match is None:
            raise DataFormatError(
                f"{path}:{line}: the name {text!r} does not tell the subject"
            )
        videos.append((video, match[1]))
    if not videos:
        raise DataFormatError(f"{path}: the list has no videos")
    return videos


def _read(
    folder: Path,
    video: str,
    subject: str,
    classes: tuple[str, ...],
    fs: float,
    step: int,
    mmap: bool,
) -> Recording:
    truth = folder / "groundTruth" / f"{video}.txt"
    data = features_file(folder / "features" / f"{video}.npy", mmap=mmap)
    ids = label_ids(label_lines(truth), classes, lambda row: f"{truth}:{row + 1}")
    length = common_length(len(data), len(ids), fs, truth)
    return Recording(
        data[:length:step],
        fs / step,
        tuple(
            Channel(f"feature_{index}", "feature", "1")
            for index in range(data.shape[1])
        ),
        subject=subject,
        activity=_activity(video, folder.name),
        labels=Segments.from_frames(ids[:length], fs, classes),
        meta={"name": video},
    )


def _activity(video: str, name: str) -> str | None:
    """Return what is cooked, where the name of a video tells it."""
    fields = video.split("_")
    if name == "breakfast":
        return fields[-1]
    return fields[1] if name == "gtea" and len(fields) > 1 else None
