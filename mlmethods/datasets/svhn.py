"""SVHN, the Street View House Numbers."""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mlmethods.datasets.layouts import check_md5, check_split, find_layout
from mlmethods.errors import DataFormatError

__all__ = ["load_svhn"]

_SIDE = 32
_CLASSES = 10
_SPLITS = {
    "train": ("train_32x32.mat",),
    "test": ("test_32x32.mat",),
    "extra": ("extra_32x32.mat",),
    "all": ("train_32x32.mat", "test_32x32.mat"),
}
_MD5 = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    "extra_32x32.mat": "a93ce644f1a588dc4d68dda5feec44a7",
}

# MATLAB's "MAT-File Format" calls these miMATRIX and so on.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_HEADER_SIZE = 128
_CHUNK = 2**16


def load_svhn(
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    verify: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Load the Street View House Numbers, cropped to digits of 32 x 32 pixels.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first: the one with the files, or one with a folder
        ``svhn`` that has them. Then come the folders ``svhn`` of the data roots.
    split : {"train", "test", "extra", "all"}
        73,257, 26,032 or 531,131 digits; ``"all"`` is train, then test.
    verify : bool
        Compare each file with the published MD5 checksum first.

    Returns
    -------
    images : ndarray of shape (n, 32, 32, 3), uint8
    labels : ndarray of shape (n,), int64
        The digit, 0 to 9; the files write 10 for the digit 0.

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
    ``train_32x32.mat``, ``test_32x32.mat`` and ``extra_32x32.mat`` come from
    http://ufldl.stanford.edu/housenumbers/ ("Format 2"). They are MATLAB 5 files with
    ``X``, uint8 of shape (32, 32, 3, n), and ``y``, n labels of 1 to 10.

    References
    ----------
    Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng, "Reading digits in
    natural images with unsupervised feature learning", NIPS Workshop on Deep
    Learning and Unsupervised Feature Learning (2011).

    Examples
    --------
    A file of the same layout, with four black digits:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from scipy.io import savemat
    >>> from mlmethods.datasets.svhn import load_svhn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     content = {
    ...         "X": np.zeros((32, 32, 3, 4), dtype=np.uint8),
    ...         "y": np.array([[1], [9], [10], [2]], dtype=np.uint8),
    ...     }
    ...     savemat(Path(folder, "train_32x32.mat"), content)
    ...     images, labels = load_svhn(folder, "train")
    >>> images.shape, labels
    ((4, 32, 32, 3), array([1, 9, 0, 2]))
    """
    check_split(split, tuple(_SPLITS))
    paths = find_layout(
        {"svhn": _SPLITS[split]},
        root,
        get=(
            "download it from http://ufldl.stanford.edu/housenumbers/ and put it into "
            "the folder svhn of a data root"
        ),
    )
    if verify:
        check_md5(paths, _MD5)
    parts = [_read(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    return (
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        arrays = _read_arrays(path)
    except (struct.error, ValueError, zlib.error) as error:
        raise DataFormatError(
            f"{path} is damaged or is no MATLAB 5 file: {error}"
        ) from error
    if set(arrays) != {"X", "y"}:
        raise DataFormatError(f"{path} must hold the arrays X and y")
    X, y = arrays["X"], arrays["y"]
    if X.dtype != np.uint8 or X.ndim != 4 or X.shape[:3] != (_SIDE, _SIDE, 3):
        raise DataFormatError(
            f"{path} must hold X as uint8 of shape (32, 32, 3, n), found {X.dtype} of "
            f"shape {X.shape}"
        )
    n = X.shape[3]
    if y.size != n or n == 0:
        raise DataFormatError(
            f"{path} must hold a label for each image, found {n} images and {y.size} "
            "labels"
        )
    y = y.ravel()
    if not np.isin(y, np.arange(1, _CLASSES + 1)).all():
        raise DataFormatError(f"{path} must hold labels of 1 to 10 in y")
    images = np.ascontiguousarray(X.transpose(3, 0, 1, 2))
    return images, y.astype(np.int64) % _CLASSES


# scipy.io.loadmat is not used: one wrong byte in the type of an element makes it read
# outside of its tables, which ends the process (in SciPy 1.17).
def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return ``X`` and ``y`` of a MATLAB 5 file, as far as it has them."""
    arrays = {}
    end = path.stat().st_size
    with path.open("rb") as file:
        order = _ORDERS.get(file.read(_HEADER_SIZE)[-4:])
        if order is None:
            raise ValueError("it has no header")
        while file.tell() < end:
            kind, size = struct.unpack(f"{order}II", file.read(8))
            if size > end - file.tell():
                raise ValueError("it is truncated")
            if kind == _COMPRESSED:
                content = memoryview(_inflate(file, size, order))
                kind, size = struct.unpack(f"{order}II", content[:8])
                content = content[8:]
            else:
                content = memoryview(file.read(size))
            if kind != _MATRIX or len(content) != size:
                raise ValueError("it has an element that is no array")
            name, array = _parse_array(content, order)
            if array is not None:
                arrays[name] = array
    return arrays


def _inflate(file: BinaryIO, size: int, order: str) -> bytearray:
    """Return what `size` bytes of a file decompress to."""
    content = bytearray()
    stream = zlib.decompressobj()
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        size -= len(chunk)
        content += stream.decompress(chunk)
        tag = content[:8]
        if len(tag) == 8 and len(content) - 8 > struct.unpack(f"{order}II", tag)[1]:
            raise ValueError("a compressed element is longer than it states")
    if not stream.eof:
        raise ValueError("a compressed element is truncated")
    return content


def _parse_array(content: memoryview, order: str) -> tuple[str, np.ndarray | None]:
    """Return the name of an array, and the array if the name is wanted."""
    kind, flags, rest = _take(content, order)
    if kind != _UINT32 or len(flags) != 8:
        raise ValueError("an array has no flags")
    kind, data, rest = _take(rest, order)
    shape = tuple(np.frombuffer(data, dtype=f"{order}i4").tolist())
    if kind != _INT32 or len(shape) < 2 or min(shape) < 0:
        raise ValueError("an array has no shape")
    kind, data, rest = _take(rest, order)
    name = bytes(data).decode("latin-1")
    if kind != _INT8 or name not in ("X", "y"):
        return name, None
    complex_or_class = struct.unpack(f"{order}I", flags[:4])[0]
    if complex_or_class & _COMPLEX or (complex_or_class & 0xFF) not in _NUMERIC:
        raise ValueError(f"{name} is no array of real numbers")
    kind, data, _ = _take(rest, order)
    if kind not in _NUMBERS:
        raise ValueError(f"{name} has values of an unknown type")
    values = np.frombuffer(data, dtype=f"{order}{_NUMBERS[kind]}")
    if math.prod(shape) != values.size:
        raise ValueError(f"{name} has {values.size} values for the shape {shape}")
    return name, values.reshape(shape, order="F")


def _take(content: memoryview, order: str) -> tuple[int, memoryview, memoryview]:
    """Return type and content of the first element, and what follows it."""
    kind, size = struct.unpack(f"{order}II", content[:8])
    start = 8
    if kind >> 16:
        # A small element: its size and content share the eight bytes of a tag.
        kind, size, start = kind & 0xFFFF, kind >> 16, 4
        if size > 4:
            raise ValueError("an element has an impossible size")
    data = content[start : start + size]
    if len(data) != size:
        raise ValueError("an element is truncated")
    return kind, data, content[start + size + -(start + size) % 8 :]
