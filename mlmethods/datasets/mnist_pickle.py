"""MNIST as one pickle, ``mnist.pkl.gz``."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from mlmethods.common.unpickling import NumbersUnpickler, PickledArray, load_numbers
from mlmethods.errors import DataFormatError

__all__ = ["find_mnist_pickle", "read_mnist_pickle"]

_SIDE = 28
# The file splits the 60,000 images for training into two parts.
_PARTS = {"train": (0, 1), "test": (2,)}
_PLACES = ("mnist.pkl.gz", "data/mnist.pkl.gz")


def find_mnist_pickle(path: Path) -> Path | None:
    """Return the file, if `path` is one or a folder with one; else None."""
    if path.is_file():
        return path
    return next((path / p for p in _PLACES if (path / p).is_file()), None)


def read_mnist_pickle(
    path: Path, splits: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Read the digits of some splits.

    Parameters
    ----------
    path : pathlib.Path
        A pickle, compressed by gzip, of a tuple of three pairs: for training, for
        validation and for testing, each of numbers in [0, 1), shape (n, 784), and
        labels. The numbers are the bytes of MNIST over 256, which is exact.
    splits : sequence of {"train", "test"}
        Training has the images for validation as well, at the end: together they are
        the 60,000 of the published files, in their order.

    Returns
    -------
    images : ndarray of shape (n, 28, 28, 1), uint8
    labels : ndarray of shape (n,), int64

    Raises
    ------
    DataFormatError
        If it is damaged, is a pickle of anything else or has other numbers. Nothing
        of it is run: only arrays of numbers are admitted.
    """
    try:
        with gzip.open(path, "rb") as stream:
            file = cast(BinaryIO, stream)
            reader = NumbersUnpickler(file, path, "MNIST")
            content = load_numbers(reader, file, path, kind=tuple)
    except OSError as error:
        raise DataFormatError(f"{path} cannot be read: {error}") from error
    if len(content) != 3:
        raise DataFormatError(f"{path} must hold 3 parts, found {len(content)}")
    chosen = [_part(content[i], path, i) for split in splits for i in _PARTS[split]]
    images = np.concatenate([part[0] for part in chosen])
    labels = np.concatenate([part[1] for part in chosen])
    return images, labels


def _part(part: Any, path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    match part:
        case (PickledArray() as pixels, PickledArray() as classes):
            numbers, labels = pixels.to_numpy(floats=True), classes.to_numpy()
        case _:
            numbers = labels = None
    if (
        numbers is None
        or labels is None
        or numbers.shape[1:] != (_SIDE**2,)
        or labels.shape != numbers.shape[:1]
    ):
        raise DataFormatError(
            f"{path}, part {number + 1}: must be numbers in {_SIDE**2} columns and as "
            "many labels as rows"
        )
    if labels.min() < 0 or labels.max() > 9:
        raise DataFormatError(f"{path}, part {number + 1}: a label is outside 0..9")
    # What is no byte is left out first: its cast would be undefined.
    inside = (numbers >= 0) & (numbers < 1)
    scaled = np.where(inside, numbers, 0) * 256
    images = scaled.astype(np.uint8)
    if not inside.all() or (images != scaled).any():
        raise DataFormatError(
            f"{path}, part {number + 1}: must hold the bytes of MNIST over 256"
        )
    return images.reshape(-1, _SIDE, _SIDE, 1), labels.astype(np.int64)
