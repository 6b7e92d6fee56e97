"""CIFAR-10 and CIFAR-100, each in its Python and its binary version."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.common.unpickling import (
    NumbersUnpickler,
    PickledArray,
    as_text,
    load_numbers,
)
from mlmethods.datasets.attributes import read_lines
from mlmethods.datasets.layouts import check_md5, check_split, find_layout
from mlmethods.errors import DataFormatError, InvalidInputError

__all__ = [
    "cifar10_class_names",
    "cifar100_class_names",
    "load_cifar10",
    "load_cifar100",
]

_SIDE = 32
_PIXELS = 3 * _SIDE**2
_PYTHON, _BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_SPLITS = {
    "train": _TRAIN,
    "test": ("test_batch",),
    "all": (*_TRAIN, "test_batch"),
}
_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_PYTHON_100, _BINARY_100 = "cifar-100-python", "cifar-100-binary"
_SPLITS_100 = {"train": ("train",), "test": ("test",), "all": ("train", "test")}
_MD5_100 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}
_GET = (
    "download cifar-10-python.tar.gz or cifar-10-binary.tar.gz from "
    "https://www.cs.toronto.edu/~kriz/cifar.html and unpack it into a data root, where "
    "it makes the folder cifar-10-batches-py or cifar-10-batches-bin"
)
_GET_100 = (
    "download cifar-100-python.tar.gz or cifar-100-binary.tar.gz from "
    "https://www.cs.toronto.edu/~kriz/cifar.html and unpack it into a data root, where "
    "it makes the folder cifar-100-python or cifar-100-binary"
)


@dataclass(frozen=True)
class _Labels:
    """Which labels of a file are meant: their place in a record, their number."""

    key: str
    classes: int
    column: int = 0
    columns: int = 1


_TEN = _Labels("labels", 10)
_HUNDRED = {
    "fine": _Labels("fine_labels", 100, 1, 2),
    "coarse": _Labels("coarse_labels", 20, 0, 2),
}


def load_cifar10(
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    verify: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Load CIFAR-10, photographs of 32 x 32 pixels in ten classes.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first: the one with the files, or one with a folder
        ``cifar-10-batches-py`` or ``cifar-10-batches-bin`` that has them. Then come
        the data roots. In each folder the Python version is preferred.
    split : {"train", "test", "all"}
        50,000 or 10,000 images; ``"all"`` is train, then test.
    verify : bool
        Compare each file with the published MD5 checksum first; those of the Python
        version are known.

    Returns
    -------
    images : ndarray of shape (n, 32, 32, 3), uint8
    labels : ndarray of shape (n,), int64
        The class from 0 to 9, a position in :func:`cifar10_class_names`.

    Raises
    ------
    DatasetNotFoundError
        If a file is nowhere; the message says what to download and where to put it.
    DataFormatError
        If a file is damaged, is a pickle of anything else than a batch or, with
        `verify`, not the published one.
    InvalidInputError
        If the split does not exist, or `verify` is set for the binary version.

    Notes
    -----
    ``cifar-10-python.tar.gz`` from https://www.cs.toronto.edu/~kriz/cifar.html unpacks
    to ``cifar-10-batches-py`` with the pickles ``data_batch_1`` to ``data_batch_5``,
    ``test_batch`` and ``batches.meta``; ``cifar-10-binary.tar.gz`` to
    ``cifar-10-batches-bin`` with ``data_batch_1.bin`` and so on, records of a label
    and 3,072 pixels. Both have red, green, then blue, row by row.

    A pickle can run code when it is read. These are read with nothing but containers,
    numbers, strings and byte arrays at hand; a pickle that asks for more is refused
    before any of it is called.

    References
    ----------
    A. Krizhevsky, "Learning multiple layers of features from tiny images", technical
    report, University of Toronto (2009).

    Examples
    --------
    A file of the same layout, with two black images:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets.cifar import load_cifar10
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     content = bytes([3]) + bytes(3072) + bytes([8]) + bytes(3072)
    ...     _ = Path(folder, "test_batch.bin").write_bytes(content)
    ...     images, labels = load_cifar10(folder, "test")
    >>> images.shape, labels
    ((2, 32, 32, 3), array([3, 8]))
    """
    check_split(split, tuple(_SPLITS))
    names = _SPLITS[split]
    layouts = {_PYTHON: names, _BINARY: tuple(f"{name}.bin" for name in names)}
    paths = find_layout(layouts, root, get=_GET)
    if verify:
        check_md5(paths, _MD5)
    size = None
    if paths[0].suffix != ".bin":
        size = _batch_size(paths[0].with_name("batches.meta"))
    return _read_all(paths, _TEN, size)


def cifar10_class_names(root: str | os.PathLike[str] | None = None) -> list[str]:
    r"""Return the names of the classes of CIFAR-10, in the order of the labels.

    Parameters
    ----------
    root : path-like or None
        As in :func:`load_cifar10`.

    Raises
    ------
    DatasetNotFoundError
        If neither ``batches.meta`` nor ``batches.meta.txt`` is anywhere.
    DataFormatError
        If it does not have ten names.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets.cifar import cifar10_class_names
    >>> names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "batches.meta.txt").write_text("\n".join(names))
    ...     cifar10_class_names(folder)[:3]
    ['airplane', 'automobile', 'bird']
    """
    layouts = {_PYTHON: ("batches.meta",), _BINARY: ("batches.meta.txt",)}
    (path,) = find_layout(layouts, root, get=_GET)
    return _class_names(path, b"label_names", 10)


def load_cifar100(
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    label: str = "fine",
    verify: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Load CIFAR-100, photographs of 32 x 32 pixels in a hundred classes.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first: the one with the files, or one with a folder
        ``cifar-100-python`` or ``cifar-100-binary`` that has them. Then come the data
        roots. In each folder the Python version is preferred.
    split : {"train", "test", "all"}
        50,000 or 10,000 images; ``"all"`` is train, then test.
    label : {"fine", "coarse"}
        One of 100 classes, or one of the 20 groups of five classes.
    verify : bool
        Compare each file with the published MD5 checksum first; those of the Python
        version are known.

    Returns
    -------
    images : ndarray of shape (n, 32, 32, 3), uint8
    labels : ndarray of shape (n,), int64
        A position in :func:`cifar100_class_names`.

    Raises
    ------
    DatasetNotFoundError
        If a file is nowhere; the message says what to download and where to put it.
    DataFormatError
        If a file is damaged, is a pickle of anything else than a batch or, with
        `verify`, not the published one.
    InvalidInputError
        If the split or the label does not exist, or `verify` is set for the binary
        version.

    See Also
    --------
    load_cifar10 : The same for ten classes; its notes hold here too.

    Notes
    -----
    ``cifar-100-python.tar.gz`` from https://www.cs.toronto.edu/~kriz/cifar.html unpacks
    to ``cifar-100-python`` with the pickles ``train``, ``test`` and ``meta``;
    ``cifar-100-binary.tar.gz`` to ``cifar-100-binary`` with ``train.bin`` and
    ``test.bin``, records of a coarse label, a fine label and 3,072 pixels.

    References
    ----------
    A. Krizhevsky, "Learning multiple layers of features from tiny images", technical
    report, University of Toronto (2009).

    Examples
    --------
    A file of the same layout, with two black images:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets.cifar import load_cifar100
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     content = bytes([11, 19]) + bytes(3072) + bytes([15, 29]) + bytes(3072)
    ...     _ = Path(folder, "test.bin").write_bytes(content)
    ...     images, fine = load_cifar100(folder, "test")
    ...     images, coarse = load_cifar100(folder, "test", label="coarse")
    >>> images.shape, fine, coarse
    ((2, 32, 32, 3), array([19, 29]), array([11, 15]))
    """
    check_split(split, tuple(_SPLITS_100))
    labels = _hundred(label)
    names = _SPLITS_100[split]
    layouts = {
        _PYTHON_100: names,
        _BINARY_100: tuple(f"{name}.bin" for name in names),
    }
    paths = find_layout(layouts, root, get=_GET_100)
    if verify:
        check_md5(paths, _MD5_100)
    return _read_all(paths, labels)


def cifar100_class_names(
    root: str | os.PathLike[str] | None = None, *, label: str = "fine"
) -> list[str]:
    r"""Return the names of the classes of CIFAR-100, in the order of the labels.

    Parameters
    ----------
    root : path-like or None
        As in :func:`load_cifar100`.
    label : {"fine", "coarse"}
        The 100 classes, or the 20 groups.

    Raises
    ------
    DatasetNotFoundError
        If neither ``meta`` nor ``fine_label_names.txt`` or
        ``coarse_label_names.txt`` is anywhere.
    DataFormatError
        If it does not have as many names as there are classes.
    InvalidInputError
        If the label does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets.cifar import cifar100_class_names
    >>> names = [f"group {number}" for number in range(20)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "coarse_label_names.txt").write_text("\n".join(names))
    ...     cifar100_class_names(folder, label="coarse")[:2]
    ['group 0', 'group 1']
    """
    classes = _hundred(label).classes
    layouts = {_PYTHON_100: ("meta",), _BINARY_100: (f"{label}_label_names.txt",)}
    (path,) = find_layout(layouts, root, get=_GET_100)
    return _class_names(path, f"{label}_label_names".encode(), classes)


def _hundred(label: str) -> _Labels:
    if label not in _HUNDRED:
        raise InvalidInputError(f"label must be 'fine' or 'coarse', got {label!r}")
    return _HUNDRED[label]


def _class_names(path: Path, key: bytes, classes: int) -> list[str]:
    if path.suffix == ".txt":
        names = [line.strip() for line in read_lines(path) if line.strip()]
    else:
        found = _unpickle(path).get(key)
        names = [
            as_text(name)
            for name in (found if isinstance(found, list) else ())
            if isinstance(name, bytes | str)
        ]
    if len(names) != classes:
        raise DataFormatError(
            f"{path} must hold the names of {classes} classes, found {len(names)}"
        )
    return names


def _unpickle(path: Path) -> dict[bytes, Any]:
    """Return the dictionary in a file; its keys are bytes."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataFormatError(f"{path} cannot be read: {error}") from error
    with file:
        content = load_numbers(
            NumbersUnpickler(file, path, "batch of CIFAR"), file, path
        )
    return {
        key.encode() if isinstance(key, str) else key: value
        for key, value in content.items()
    }


def _batch_size(path: Path) -> int | None:
    """Return how many images ``batches.meta`` promises for each batch."""
    if not path.is_file():
        return None
    size = _unpickle(path).get(b"num_cases_per_batch")
    if not isinstance(size, int):
        raise DataFormatError(f"{path} must give num_cases_per_batch as an integer")
    return size


def _read_all(
    paths: list[Path], kind: _Labels, size: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        _read_binary(path, kind)
        if path.suffix == ".bin"
        else _read_pickle(path, kind, size)
        for path in paths
    ]
    if len(parts) == 1:
        return parts[0]
    return (
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
    )


def _read_pickle(
    path: Path, kind: _Labels, size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    batch = _unpickle(path)
    data, labels = batch.get(b"data"), batch.get(kind.key.encode())
    rows = data.to_numpy() if isinstance(data, PickledArray) else None
    if rows is None or rows.dtype != np.uint8 or rows.shape[1:] != (_PIXELS,):
        raise DataFormatError(
            f"{path} must hold under 'data' an array of uint8 with {_PIXELS} columns"
        )
    if size is not None and len(rows) != size:
        raise DataFormatError(
            f"{path} must hold the {size} images that batches.meta states, found "
            f"{len(rows)}"
        )
    if not isinstance(labels, list) or len(labels) != len(rows):
        raise DataFormatError(
            f"{path} must hold under {kind.key!r} a list of {len(rows)} integers"
        )
    if not all(type(label) is int and 0 <= label < kind.classes for label in labels):
        raise DataFormatError(f"{path} must hold labels of 0 to {kind.classes - 1}")
    return _images(rows), np.array(labels, dtype=np.int64)


def _read_binary(path: Path, kind: _Labels) -> tuple[np.ndarray, np.ndarray]:
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    length = kind.columns + _PIXELS
    if len(content) == 0 or len(content) % length:
        raise DataFormatError(
            f"{path} must hold records of {length} bytes, found {len(content)} bytes"
        )
    records = content.reshape(-1, length)
    labels = records[:, kind.column].astype(np.int64)
    if labels.max() >= kind.classes:
        raise DataFormatError(
            f"{path} must hold labels of 0 to {kind.classes - 1}, found "
            f"{labels.max()} in record {int(np.argmax(labels >= kind.classes)) + 1}"
        )
    return _images(records[:, kind.columns :]), labels


def _images(rows: np.ndarray) -> np.ndarray:
    planes = rows.reshape(-1, 3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
