"""STL-10 in its binary layout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mlmethods.datasets.attributes import read_lines
from mlmethods.datasets.layouts import check_md5, check_split, find_layout
from mlmethods.errors import DataFormatError

__all__ = ["load_stl10", "stl10_class_names"]

_SIDE = 96
_PIXELS = 3 * _SIDE**2
_CLASSES = 10
_FOLDER = "stl10_binary"
_SPLITS = {
    "train": ("train_X.bin", "train_y.bin"),
    "test": ("test_X.bin", "test_y.bin"),
    "unlabeled": ("unlabeled_X.bin",),
    "all": ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
}
_MD5 = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
_GET = (
    "download stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10/ and "
    "unpack it into a data root, where it makes the folder stl10_binary"
)


def load_stl10(
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    verify: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Load STL-10, photographs of 96 x 96 pixels in ten classes.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first: the one with the files, or one with a folder
        ``stl10_binary`` that has them. Then come the data roots.
    split : {"train", "test", "unlabeled", "all"}
        5,000, 8,000 or 100,000 images (2.8 GB); ``"all"`` is train, then test.
    verify : bool
        Compare each file with the published MD5 checksum first.

    Returns
    -------
    images : ndarray of shape (n, 96, 96, 3), uint8
    labels : ndarray of shape (n,), int64
        The class from 0 to 9, a position in :func:`stl10_class_names`; the files
        write 1 to 10. The unlabelled images have -1.

    Raises
    ------
    DatasetNotFoundError
        If a file is nowhere; the message says what to download and where to put it.
    DataFormatError
        If a file is damaged or, with `verify`, not the published one.
    InvalidInputError
        If the split does not exist.

    Notes
    -----
    ``stl10_binary.tar.gz`` from https://cs.stanford.edu/~acoates/stl10/ unpacks to
    ``stl10_binary`` with ``train_X.bin``, ``train_y.bin``, ``test_X.bin``,
    ``test_y.bin``, ``unlabeled_X.bin`` and ``class_names.txt``. A file of images is
    bytes without a header: red, green, then blue of each image, each plane column by
    column. A file of labels has one byte for each image.

    References
    ----------
    A. Coates, H. Lee, A. Y. Ng, "An analysis of single-layer networks in unsupervised
    feature learning", AISTATS (2011).

    Examples
    --------
    Files of the same layout, with two black images:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets.stl import load_stl10
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "train_X.bin").write_bytes(bytes(2 * 3 * 96 * 96))
    ...     _ = Path(folder, "train_y.bin").write_bytes(bytes([1, 10]))
    ...     images, labels = load_stl10(folder, "train")
    >>> images.shape, labels
    ((2, 96, 96, 3), array([0, 9]))
    """
    check_split(split, tuple(_SPLITS))
    paths = find_layout({_FOLDER: _SPLITS[split]}, root, get=_GET)
    if verify:
        check_md5(paths, _MD5)
    if split == "unlabeled":
        images = _read_images(paths[0])
        return images, np.full(len(images), -1, dtype=np.int64)
    parts = []
    for images_path, labels_path in zip(paths[::2], paths[1::2], strict=True):
        images = _read_images(images_path)
        parts.append((images, _read_labels(labels_path, len(images))))
    if len(parts) == 1:
        return parts[0]
    return (
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
    )


def stl10_class_names(root: str | os.PathLike[str] | None = None) -> list[str]:
    r"""Return the names of the classes of STL-10, in the order of the labels.

    Parameters
    ----------
    root : path-like or None
        As in :func:`load_stl10`.

    Raises
    ------
    DatasetNotFoundError
        If ``class_names.txt`` is nowhere.
    DataFormatError
        If it does not have ten names.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets.stl import stl10_class_names
    >>> names = "airplane bird car cat deer dog horse monkey ship truck".split()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "class_names.txt").write_text("\n".join(names))
    ...     stl10_class_names(folder)[:3]
    ['airplane', 'bird', 'car']
    """
    (path,) = find_layout({_FOLDER: ("class_names.txt",)}, root, get=_GET)
    names = [line.strip() for line in read_lines(path) if line.strip()]
    if len(names) != _CLASSES:
        raise DataFormatError(
            f"{path} must hold the names of ten classes, found {len(names)}"
        )
    return names


def _read_images(path: Path) -> np.ndarray:
    size = path.stat().st_size
    if size == 0 or size % _PIXELS:
        raise DataFormatError(
            f"{path} must hold images of {_PIXELS} bytes each, found {size} bytes"
        )
    # Mapped, for the unlabelled images would otherwise be in memory twice.
    planes = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, 3, _SIDE, _SIDE)
    images = np.empty((len(planes), _SIDE, _SIDE, 3), dtype=np.uint8)
    images[...] = planes.transpose(0, 3, 2, 1)
    return images


def _read_labels(path: Path, n: int) -> np.ndarray:
    labels = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if len(labels) != n:
        raise DataFormatError(
            f"{path} must hold a label for each of the {n} images, found {len(labels)}"
        )
    if labels.min() < 1 or labels.max() > _CLASSES:
        raise DataFormatError(
            f"{path} must hold labels of 1 to 10, found {labels.min()} to "
            f"{labels.max()}"
        )
    return labels.astype(np.int64) - 1
