"""What the readers of published sets share: folders, label files, lengths."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mlmethods.datasets.locate import find_data
from mlmethods.errors import (
    DataFormatError,
    DatasetNotFoundError,
    InvalidInputError,
    MLMethodsWarning,
)
from mlmethods.interfaces import NDArray

__all__ = [
    "check_split_subjects",
    "common_length",
    "features_file",
    "find_root",
    "label_ids",
    "label_lines",
]

# Seconds by which labels and signals of one recording may differ.
_SLACK = 1.0


def find_root(
    root: str | os.PathLike[str] | None, names: Sequence[str], holds: str, get: str
) -> Path:
    """Return the folder of a data set.

    Parameters
    ----------
    root : path-like, optional
        The folder itself, or one that holds it; by default the data roots are searched.
    names : sequence of str
        What the folder may be called below a data root.
    holds : str
        A file or folder that it must hold, as a pattern.
    get : str
        The sentence that says where the data come from and how they must lie.

    Raises
    ------
    DatasetNotFoundError
        If there is none.
    """
    if root is not None:
        own = Path(root).expanduser()
        if not own.is_dir():
            raise DatasetNotFoundError(
                f"root must be a folder, {own} is not one. {get}"
            )
        for folder in (own, *(own / name for name in names)):
            if next(folder.glob(holds), None) is not None:
                return folder
        raise DatasetNotFoundError(f"root must hold {holds}, {own} does not. {get}")
    missing: DatasetNotFoundError | None = None
    for name in names:
        try:
            return find_data(name, provider=get)
        except DatasetNotFoundError as error:
            missing = missing or error
    assert missing is not None
    raise missing


def label_lines(path: Path) -> list[str]:
    """Return the labels of a file with one a line.

    Raises
    ------
    DatasetNotFoundError
        If it is not there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DatasetNotFoundError(
            f"{path} is missing, the labels of a file"
        ) from error
    return [line.strip() for line in text.rstrip().splitlines()]


def label_ids(
    names: Iterable[str],
    classes: Sequence[str],
    place: Callable[[int], str],
    *,
    aliases: Mapping[str, str | None] | None = None,
) -> NDArray:
    """Return the class id of each name, int32; -1 for names that stand for no label.

    Parameters
    ----------
    names : iterable of str
        As they are in a file.
    classes : sequence of str
        Names in the order of the ids.
    place : callable
        Returns where the label with an index stands, for the message.
    aliases : mapping of str to str or None, optional
        Other names of classes; None means that there is no label.

    Raises
    ------
    DataFormatError
        If a name is unknown; the message has the place and the nearest known names.
    """
    given = list(names)
    ids: dict[str, int] = {name: index for index, name in enumerate(classes)}
    for name, known in (aliases or {}).items():
        ids[name] = -1 if known is None else ids[known]
    folded = {name.lower(): index for name, index in ids.items()}
    table = {name: folded.get(name.strip().lower(), -2) for name in set(given)}
    found = np.array([table[name] for name in given], np.int32)
    unknown = np.flatnonzero(found == -2)
    if len(unknown):
        index = int(unknown[0])
        near = difflib.get_close_matches(given[index].lower(), folded, n=3, cutoff=0.4)
        hint = f"; the nearest are {', '.join(map(repr, near))}" if near else ""
        raise DataFormatError(
            f"{place(index)}: unknown label {given[index]!r}{hint}; known are "
            f"{', '.join(classes)}"
        )
    return found


def common_length(signals: int, labels: int, fs: float, path: Path) -> int:
    """Return the length that signals and labels are cut to.

    Raises
    ------
    DataFormatError
        If they differ by more than a second.

    Warns
    -----
    MLMethodsWarning
        If they differ.
    """
    if signals == labels:
        return signals
    sizes = f"{signals} frames and {labels} labels"
    if abs(signals - labels) > _SLACK * fs:
        raise DataFormatError(
            f"{path}: signals and labels must have the same length, got {sizes}, more "
            f"than a second apart at {fs:g} Hz"
        )
    warnings.warn(
        f"{path}: {sizes} are cut to the shorter",
        MLMethodsWarning,
        stacklevel=4,
    )
    return min(signals, labels)


def features_file(path: Path, *, mmap: bool) -> NDArray:
    """Return the features of a file with shape (D, T), as frames (T, D).

    Raises
    ------
    DataFormatError
        If it is no array of numbers of two dimensions.
    DatasetNotFoundError
        If it is not there.
    """
    try:
        array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(
            f"{path} is missing, the features of a file"
        ) from error
    except (ValueError, EOFError) as error:
        raise DataFormatError(f"{path}: this is no complete array file") from error
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind != "f":
        raise DataFormatError(
            f"{path}: features must be numbers of shape (D, T), got {array.dtype} of "
            f"shape {array.shape}"
        )
    return array.T


def check_split_subjects(parts: Mapping[str, Iterable[str]], *, allow: bool) -> None:
    """Refuse a split in which a subject is in two parts.

    Raises
    ------
    InvalidInputError
        If one is, and `allow` is False.
    """
    if allow:
        return
    where: dict[str, str] = {}
    for part, subjects in parts.items():
        for subject in sorted(set(subjects)):
            if subject in where:
                raise InvalidInputError(
                    f"split must have each subject in one part, got {subject!r} in "
                    f"{where[subject]!r} and in {part!r}; allow_subject_overlap=True "
                    "accepts that"
                )
            where[subject] = part
