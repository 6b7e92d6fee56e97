"""Labeled Faces in the Wild: the photographs, their pairs, and small crops."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.datasets.attributes import fail, read_lines
from mlmethods.datasets.layouts import check_split, find_entry
from mlmethods.datasets.locate import find_data
from mlmethods.datasets.pictures import check_size, read_picture
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

__all__ = ["LfwPairs", "lfw_names", "load_lfw", "load_lfw_crops", "load_lfw_pairs"]

_SIDE = 250
_FILE = re.compile(r"(.+)_(\d{4})\.jpg")
_COUNT = re.compile(r"[1-9]\d{0,5}")
_PAIR_FILES = ("pairs.txt", "pairsDevTrain.txt", "pairsDevTest.txt")
_CROPS, _CROP_SIDE = 200, 25


@dataclass(frozen=True, eq=False)
class LfwPairs:
    """Pairs of photographs that show the same person or two.

    Attributes
    ----------
    first, second : ndarray of shape (n,), int64
        Rows of the images of :func:`load_lfw`.
    same : ndarray of shape (n,), bool
        Whether both show the same person.
    fold : ndarray of shape (n,), int64
        The published fold of each pair, from 0.
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray


def load_lfw(
    root: str | os.PathLike[str] | None = None,
    split: str = "all",
    *,
    size: int | tuple[int, int] | None = None,
    memory_limit: int | float | str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Load Labeled Faces in the Wild, photographs of public persons.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first: the one with a folder for each person, or one with
        a folder ``lfw`` that has them. Then come the data roots.
    split : {"all"}
        What is published are pairs; see :func:`load_lfw_pairs`.
    size : int, pair of int or None
        The height and the width to resize to, by bilinear interpolation; None for
        the 250 x 250 pixels of the files.
    memory_limit : int or "auto"
        Bytes that the images may take; ``"auto"`` is 80 % of what is available. The
        13,233 photographs take 2.5 GB in full size, 163 MB in 64 x 64.

    Returns
    -------
    images : ndarray of shape (n, height, width, 3), uint8
        Person by person, in the order of :func:`lfw_names` and of their numbers.
    labels : ndarray of shape (n,), int64
        The person, a position in :func:`lfw_names`.

    Raises
    ------
    DatasetNotFoundError
        If it is nowhere.
    DataFormatError
        If a file is damaged, misnamed or of another size.
    InvalidInputError
        If the split does not exist, or `size` is none.
    MemoryLimitError
        If the images would take more than `memory_limit`; none has been loaded.
    ModuleNotFoundError
        If Pillow is not installed.

    References
    ----------
    G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller, "Labeled faces in the wild: a
    database for studying face recognition in unconstrained environments", technical
    report 07-49, University of Massachusetts, Amherst (2007).

    Examples
    --------
    Two files of the same layout, both black:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from mlmethods.datasets import load_lfw
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("Ada_Example", "Bob_Example"):
    ...         Path(folder, name).mkdir()
    ...         path = Path(folder, name, f"{name}_0001.jpg")
    ...         Image.new("RGB", (250, 250)).save(path)
    ...     images, labels = load_lfw(folder, size=32)
    >>> images.shape, labels
    ((2, 32, 32, 3), array([0, 1]))
    """
    check_split(split, ("all",))
    height_width = check_size(size)
    people = _people(_folder(root))
    labels = np.repeat(
        np.arange(len(people)), [len(files) for files in people.values()]
    )
    shape = (len(labels), *(height_width or (_SIDE, _SIDE)), 3)
    require_memory(
        int(np.prod(shape, dtype=np.int64)),
        resolve_memory_limit(memory_limit),
        what=f"an array of n={len(labels)} images of {shape[1:]}",
        alternative="give load_lfw a smaller size",
    )
    images = np.empty(shape, dtype=np.uint8)
    paths = (path for files in people.values() for path in files.values())
    for i, path in enumerate(paths):
        image = read_picture(path, format="JPEG", mode="RGB", size=height_width)
        if image.shape != shape[1:]:
            raise DataFormatError(
                f"{path} must be an image of {_SIDE} x {_SIDE} pixels, found "
                f"{image.shape[1]} x {image.shape[0]}"
            )
        images[i] = image
    return images, labels


def lfw_names(root: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of the people of LFW, in the order of the labels.

    Parameters
    ----------
    root : path-like or None
        As in :func:`load_lfw`.

    Raises
    ------
    DatasetNotFoundError
        If the set is nowhere.
    DataFormatError
        If a file is misnamed.
    """
    return list(_people(_folder(root)))


def load_lfw_pairs(
    root: str | os.PathLike[str] | None = None, file: str = "pairs.txt"
) -> LfwPairs:
    r"""Load the published pairs of LFW, for verification.

    Parameters
    ----------
    root : path-like or None
        As in :func:`load_lfw`. The file lies in the folder with the people, beside it,
        or in `root`.
    file : {"pairs.txt", "pairsDevTrain.txt", "pairsDevTest.txt"}
        The ten folds of the second view, or one of the two parts of the first.

    Returns
    -------
    LfwPairs
        In each fold first the pairs of the same person, then the others.

    Raises
    ------
    DatasetNotFoundError
        If the set or the file is nowhere.
    DataFormatError
        If the file is damaged or names a photograph that is not there.
    InvalidInputError
        If there is no such file of pairs.

    Notes
    -----
    The first line has the number of folds and of pairs of each kind in a fold, or only
    the latter. A pair of the same person is a name and two numbers, another one a
    name and a number, twice; fields are separated by tabs.

    Examples
    --------
    Files of the same layout, of which only the names are read:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets import load_lfw_pairs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, count in (("Ada_Example", 2), ("Bob_Example", 1)):
    ...         Path(folder, name).mkdir()
    ...         for number in range(1, count + 1):
    ...             Path(folder, name, f"{name}_{number:04d}.jpg").touch()
    ...     lines = ("1\t1", "Ada_Example\t1\t2", "Ada_Example\t2\tBob_Example\t1")
    ...     _ = Path(folder, "pairs.txt").write_text("\n".join(lines))
    ...     pairs = load_lfw_pairs(folder)
    >>> pairs.first, pairs.second, pairs.same
    (array([0, 1]), array([1, 2]), array([ True, False]))
    """
    if file not in _PAIR_FILES:
        raise InvalidInputError(
            f"file must be one of {', '.join(map(repr, _PAIR_FILES))}, got {file!r}"
        )
    folder = _folder(root)
    places = [folder / file, folder.parent / file]
    if root is not None:
        places.append(Path(root).expanduser() / file)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DatasetNotFoundError(
            f"there is no {file} in {folder} or beside it: download it from the site "
            "of LFW and put it there"
        )
    lines = [line for line in read_lines(path) if line.strip()]
    folds, each = _counts(lines[0], path)
    if len(lines) != 1 + 2 * folds * each:
        raise DataFormatError(
            f"{path} must hold the {2 * folds * each} pairs that its first line "
            f"states, found {len(lines) - 1}"
        )
    everyone = _people(folder).items()
    names = (
        name_number for who, files in everyone for name_number in _keys(who, files)
    )
    rows = {key: row for row, key in enumerate(names)}
    pairs = [
        _pair(text, rows, path, line) for line, text in enumerate(lines[1:], start=2)
    ]
    found = np.array([pair[2] for pair in pairs])
    same = np.tile(np.repeat([True, False], each), folds)
    if (found != same).any():
        line = int(np.argmax(found != same))
        what = "the same person" if same[line] else "two people"
        raise fail(path, line + 2, f"expected a pair of {what}")
    return LfwPairs(
        first=np.array([pair[0] for pair in pairs], dtype=np.int64),
        second=np.array([pair[1] for pair in pairs], dtype=np.int64),
        same=same,
        fold=np.repeat(np.arange(folds), 2 * each),
    )


def load_lfw_crops(
    root: str | os.PathLike[str] | None = None, split: str = "all"
) -> tuple[np.ndarray, np.ndarray]:
    """Load the 200 patches of LFW that scikit-image ships.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first, with ``lfw_subset.npy``. Then come the data roots
        and an installed scikit-image.
    split : {"all"}
        There is no published split.

    Returns
    -------
    images : ndarray of shape (200, 25, 25, 1), uint8
        The stored numbers of [0, 1] times 255, rounded: they are resized patches
        and have more digits than that.
    labels : ndarray of shape (200,), int64
        1 for the 100 faces, which come first, 0 for the patches without a face.

    Raises
    ------
    DatasetNotFoundError
        If it is nowhere.
    DataFormatError
        If the file is damaged or has other content.
    InvalidInputError
        If the split does not exist.
    """
    check_split(split, ("all",))
    path = find_data("lfw-crops", root)
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataFormatError(f"{path} is damaged: {error}") from error
    shape = (_CROPS, _CROP_SIDE, _CROP_SIDE)
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        raise DataFormatError(f"{path} must hold one array of floating-point numbers")
    if values.shape != shape or not ((values >= 0) & (values <= 1)).all():
        raise DataFormatError(
            f"{path} must hold numbers of [0, 1] in the shape {shape}, found the shape "
            f"{values.shape}" + (" and other numbers" if values.shape == shape else "")
        )
    images = np.round(values * 255).astype(np.uint8)
    return images[..., None], np.repeat([1, 0], _CROPS // 2)


def _folder(root: str | os.PathLike[str] | None) -> Path:
    return find_entry("lfw", root, holds="*/*_[0-9][0-9][0-9][0-9].jpg")


def _people(folder: Path) -> dict[str, dict[int, Path]]:
    """Return the files of each person, by name and number."""
    people: dict[str, dict[int, Path]] = {}
    for own in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = {}
        for path in sorted(own.glob("*.jpg")):
            match = _FILE.fullmatch(path.name)
            if match is None or match[1] != own.name:
                raise DataFormatError(
                    f"{path} must be called {own.name} with a number of four digits"
                )
            files[int(match[2])] = path
        if files:
            people[own.name] = files
    if not people:
        raise DataFormatError(f"{folder} must hold a folder of .jpg files per person")
    return people


def _keys(name: str, files: dict[int, Path]) -> list[tuple[str, int]]:
    return [(name, number) for number in files]


def _counts(text: str, path: Path) -> tuple[int, int]:
    fields = text.split()
    if len(fields) not in (1, 2) or not all(map(_COUNT.fullmatch, fields)):
        raise fail(path, 1, f"expected one or two integers >= 1, found {text[:40]!r}")
    return (int(fields[0]) if len(fields) == 2 else 1), int(fields[-1])


def _pair(
    text: str, rows: dict[tuple[str, int], int], path: Path, line: int
) -> tuple[int, int, bool]:
    """Return the rows of both images, and whether the line is of one person."""
    match text.split("\t"):
        case [name, one, other]:
            keys, same = ((name, one), (name, other)), True
        case [name, one, second, other]:
            keys, same = ((name, one), (second, other)), False
        case _:
            raise fail(path, line, f"expected a pair of images, found {text[:80]!r}")
    found = []
    for name, number in keys:
        if not _COUNT.fullmatch(number.strip()):
            raise fail(path, line, f"expected a number, found {number[:40]!r}")
        row = rows.get((name, int(number)))
        if row is None:
            raise fail(path, line, f"there is no image {int(number)} of {name!r}")
        found.append(row)
    return found[0], found[1], same
