"""The samples that foolbox ships: 20 images of each of five sets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlmethods.datasets.image_catalog import FOOLBOX_PREFIX
from mlmethods.datasets.layouts import check_split, find_entry
from mlmethods.datasets.pictures import read_picture
from mlmethods.errors import DataFormatError, DatasetNotFoundError

__all__ = ["FOOLBOX_SETS", "load_foolbox"]

_COUNT = 20


@dataclass(frozen=True)
class _Samples:
    """How one set is stored."""

    stem: str
    side: int
    classes: int
    mode: str = "RGB"
    format: str = "PNG"
    resize: bool = False


_SETS = {
    "cifar10": _Samples("cifar10", 32, 10),
    "cifar100": _Samples("cifar100", 32, 100),
    "mnist": _Samples("mnist", 28, 10, "L"),
    "fashionmnist": _Samples("fashionMNIST", 28, 10, "L"),
    # The files differ in size; foolbox resizes them to the same.
    "imagenet": _Samples("imagenet", 224, 1000, format="JPEG", resize=True),
}
FOOLBOX_SETS = tuple(f"{FOOLBOX_PREFIX}{name}" for name in _SETS)


def load_foolbox(
    name: str, root: str | os.PathLike[str] | None = None, split: str = "all"
) -> tuple[np.ndarray, np.ndarray]:
    """Load the 20 samples of a set that foolbox ships.

    Parameters
    ----------
    name : str
        One of :data:`FOOLBOX_SETS`.
    root : path-like or None
        A folder to look in first: the one with the files, or one with a folder
        ``foolbox/data`` or ``foolbox`` that has them. Then come the data roots and an
        installed foolbox.
    split : {"all"}
        There is none.

    Returns
    -------
    images : ndarray of shape (20, height, width, channels), uint8
        In the order of the numbers in the file names. Those of ImageNet are resized to
        224 x 224 pixels by bicubic interpolation, as foolbox does it.
    labels : ndarray of shape (20,), int64
        The class that the file names state.

    Raises
    ------
    DatasetNotFoundError
        If the set is nowhere, or its folder has no file of it.
    DataFormatError
        If one of the 20 is missing, damaged or of another size.
    InvalidInputError
        If the split does not exist.
    """
    check_split(split, ("all",))
    kind = _SETS[name.removeprefix(FOOLBOX_PREFIX)]
    ending = "jpg" if kind.format == "JPEG" else "png"
    folder = find_entry(name, root, holds=f"{kind.stem}_[0-9][0-9]_*.{ending}")
    pattern = re.compile(rf"{kind.stem}_(\d\d)_(\d{{1,3}})\.{ending}")
    matches = [
        (int(match[1]), int(match[2]), path)
        for path in folder.iterdir()
        if (match := pattern.fullmatch(path.name))
    ]
    files = sorted(matches)
    if not files:
        raise DatasetNotFoundError(
            f"there is no {kind.stem}_00_<label>.{ending} in {folder}, where foolbox "
            "has it"
        )
    if [number for number, _, _ in files] != list(range(_COUNT)):
        raise DataFormatError(
            f"{folder} must hold the files {kind.stem}_00 to {kind.stem}_{_COUNT - 1}, "
            f"each once, found {len(files)}"
        )
    labels = np.array([label for _, label, _ in files], dtype=np.int64)
    if labels.max() >= kind.classes:
        raise DataFormatError(
            f"{files[int(labels.argmax())][2]} must state a label of 0 to "
            f"{kind.classes - 1}"
        )
    images = np.stack([_read(path, kind) for _, _, path in files])
    return images, labels


def _read(path: Path, kind: _Samples) -> np.ndarray:
    size = (kind.side, kind.side)
    image = read_picture(
        path,
        format=kind.format,
        mode=kind.mode,
        size=size if kind.resize else None,
        bicubic=True,
    )
    if image.shape[:2] != size:
        raise DataFormatError(
            f"{path} must be an image of {kind.side} x {kind.side} pixels, found "
            f"{image.shape[1]} x {image.shape[0]}"
        )
    return image if kind.mode == "RGB" else image[..., None]
