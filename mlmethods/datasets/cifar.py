"""CIFAR-10 in its Python and its binary version."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.datasets.attributes import read_lines
from mlmethods.datasets.layouts import check_md5, check_split, find_layout
from mlmethods.errors import DataFormatError

__all__ = ["cifar10_class_names", "load_cifar10"]

_SIDE = 32
_PIXELS = 3 * _SIDE**2
_CLASSES = 10
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
_GET = (
    "download cifar-10-python.tar.gz or cifar-10-binary.tar.gz from "
    "https://www.cs.toronto.edu/~kriz/cifar.html and unpack it into a data root, where "
    "it makes the folder cifar-10-batches-py or cifar-10-batches-bin"
)


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
    if paths[0].suffix == ".bin":
        parts = [_read_binary(path) for path in paths]
    else:
        size = _batch_size(paths[0].with_name("batches.meta"))
        parts = [_read_pickle(path, size) for path in paths]
    if len(parts) == 1:
        return parts[0]
    return (
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
    )


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
    if path.suffix == ".txt":
        names = [line.strip() for line in read_lines(path) if line.strip()]
    else:
        found = _unpickle(path).get(b"label_names")
        names = [
            _text(name)
            for name in (found if isinstance(found, list) else ())
            if isinstance(name, bytes | str)
        ]
    if len(names) != _CLASSES:
        raise DataFormatError(
            f"{path} must hold the names of ten classes, found {len(names)}"
        )
    return names


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


# What a pickle may call are classes with `__setstate__`, of which its instructions
# can change nothing but the instances.
class _DType:
    """Stands for ``numpy.dtype``: what the pickle says, never acted upon."""

    def __init__(self, *arguments: Any) -> None:
        self.name = arguments[0] if arguments else None

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which a byte does not have."""


class _Array:
    """Stands for an array: its state is kept, and converted after reading."""

    def __init__(self, *arguments: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray | None:
        """Return the bytes in their shape, or None if it is another array."""
        match self.state:
            case (_, tuple() as shape, _DType(name=name), order, bytes() as content):
                if _text(name) not in ("u1", "|u1", "uint8") or len(shape) != 2:
                    return None
                if not all(isinstance(size, int) and size > 0 for size in shape):
                    return None
                if shape[0] * shape[1] != len(content):
                    return None
                array = np.frombuffer(content, dtype=np.uint8)
                return array.reshape(shape, order="F" if order else "C")
        return None


class _Bytes:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes for Python 2."""

    def __new__(cls, text: Any, encoding: Any) -> Any:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("bytes must be text in Latin-1")
        return text.encode("latin-1")

    def __setstate__(self, state: Any) -> None:
        """Ignore it: there are no instances."""


# The one written in Python: the memo of the other is a table as long as the largest
# index, of which one wrong byte makes 64 GB.
class _BatchUnpickler(pickle._Unpickler):
    """Reads a batch; any other global than those of a byte array is refused."""

    def __init__(self, file: Any, path: Path) -> None:
        # Strings of Python 2 are bytes.
        super().__init__(file, encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return _Array
            case ("numpy", "ndarray"):
                return _Array
            case ("numpy", "dtype"):
                return _DType
            case ("_codecs", "encode"):
                return _Bytes
        raise DataFormatError(
            f"{self._path} asks for the global {f'{module}.{name}'[:80]!r}, which no "
            "batch of CIFAR-10 needs; it was not called and the file is refused"
        )


def _unpickle(path: Path) -> dict[bytes, Any]:
    """Return the dictionary in a file; its keys are bytes."""
    try:
        with path.open("rb") as file:
            content = _BatchUnpickler(file, path).load()
            rest = file.read(1)
    except DataFormatError:
        raise
    # A damaged pickle raises whatever its instructions run into.
    except Exception as error:
        raise DataFormatError(f"{path} is damaged or is no pickle: {error}") from error
    if not isinstance(content, dict) or rest:
        raise DataFormatError(f"{path} must hold one dictionary and nothing after it")
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


def _read_pickle(path: Path, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    batch = _unpickle(path)
    data, labels = batch.get(b"data"), batch.get(b"labels")
    rows = data.to_numpy() if isinstance(data, _Array) else None
    if rows is None or rows.shape[1] != _PIXELS:
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
            f"{path} must hold under 'labels' a list of {len(rows)} integers"
        )
    if not all(type(label) is int and 0 <= label < _CLASSES for label in labels):
        raise DataFormatError(f"{path} must hold labels of 0 to 9")
    return _images(rows), np.array(labels, dtype=np.int64)


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if len(content) == 0 or len(content) % (1 + _PIXELS):
        raise DataFormatError(
            f"{path} must hold records of {1 + _PIXELS} bytes, found {len(content)} "
            "bytes"
        )
    records = content.reshape(-1, 1 + _PIXELS)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= _CLASSES:
        raise DataFormatError(
            f"{path} must hold labels of 0 to 9, found {labels.max()} in record "
            f"{int(np.argmax(labels >= _CLASSES)) + 1}"
        )
    return _images(records[:, 1:]), labels


def _images(rows: np.ndarray) -> np.ndarray:
    planes = rows.reshape(-1, 3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
