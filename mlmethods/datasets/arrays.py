"""Images that are already in memory or in a file of NumPy, in one form."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

__all__ = ["images_from"]

_DEFAULT = ("image", "label")
_PAIRS = (
    _DEFAULT,
    ("images", "labels"),
    ("x", "y"),
    ("X", "y"),
    ("x_train", "y_train"),
    ("X_train", "y_train"),
    ("train_images", "train_labels"),
)
_BATCH = 256
# What an image must become to be numbers of one meaning.
_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB"}


def images_from(
    source: Any, *, image: str = "image", label: str = "label"
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of a Hugging Face dataset or of an ``.npz`` file.

    Parameters
    ----------
    source : datasets.Dataset or path-like
        A dataset with a column of images (of Pillow, of arrays or of nested lists)
        and one of integer labels; or a file of :func:`numpy.savez`.
    image, label : str
        The columns, or the keys of the file. Where they are left at their defaults,
        the file may also have the keys ``images`` and ``labels``, ``x`` and ``y``,
        ``X`` and ``y``, ``x_train`` and ``y_train``, ``X_train`` and ``y_train`` or
        ``train_images`` and ``train_labels``, the first pair of these that is there;
        for a test set name its keys.

    Returns
    -------
    images : ndarray of shape (n, height, width, channels), uint8
        Grey images have one channel. Of Pillow's modes, images with a palette become
        ``RGB`` and those of single bits ``L``.
    labels : ndarray of shape (n,), int64
        As they are, in the order of the source.

    Raises
    ------
    DatasetNotFoundError
        If there is no such file.
    DataFormatError
        If the file, or an image of the dataset, is damaged, or the file holds objects.
    InvalidInputError
        If the source is neither, a column is missing, or the images are not integers
        from 0 to 255 of one shape, or the labels not one integer each.

    Notes
    -----
    A dataset is decoded in batches of 256 images, straight into the result; a format
    or a transform that it has is not applied. An array of pickled objects in a file is
    refused, not read. Images are of the shape (height, width) or (height, width,
    channels) with at most four channels.

    Examples
    --------
    >>> import numpy as np
    >>> from datasets import Dataset
    >>> from mlmethods.datasets import images_from
    >>> grey = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    >>> source = Dataset.from_dict({"image": grey.tolist(), "label": [1, 0]})
    >>> images, labels = images_from(source)
    >>> images.shape, images.dtype, labels
    ((2, 3, 4, 1), dtype('uint8'), array([1, 0]))
    """
    for name, value in (("image", image), ("label", label)):
        if not isinstance(value, str) or not value:
            raise InvalidInputError(f"{name} must be a name, got {value!r}")
    if isinstance(source, str | os.PathLike):
        return _from_file(Path(source).expanduser(), image, label)
    from datasets import Dataset, DatasetDict

    if isinstance(source, DatasetDict):
        raise InvalidInputError(
            "source must be one dataset; choose one of the splits "
            f"{', '.join(map(repr, source))}, such as source[{next(iter(source), '')!r}]"
        )
    if not isinstance(source, Dataset):
        raise InvalidInputError(
            "source must be a datasets.Dataset or the path of an .npz file, got "
            f"{type(source).__name__}"
        )
    return _from_dataset(source, image, label)


def _from_file(path: Path, image: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise DatasetNotFoundError(f"there is no file {path}")
    try:
        # Opened here: NumPy leaves a damaged file open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataFormatError(f"{path} must be an .npz file, it is one array")
            image, label = _keys(archive.files, image, label, path)
            # A member that is no array comes as bytes.
            pixels, labels = np.asarray(archive[image]), np.asarray(archive[label])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataFormatError | InvalidInputError):
            raise
        raise DataFormatError(
            f"{path} is damaged, holds objects or is no .npz file: {error}"
        ) from error
    # Grey images have no axis of channels; single numbers are no images.
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    images = _as_bytes(pixels, f"{image!r} of {path}")
    found = _as_labels(labels, f"{label!r} of {path}")
    if len(images) != len(found):
        raise InvalidInputError(
            f"source must have a label for each image, {path} has {len(images)} images "
            f"and {len(found)} labels"
        )
    return images, found


def _keys(files: list[str], image: str, label: str, path: Path) -> tuple[str, str]:
    pairs = _PAIRS if (image, label) == _DEFAULT else ((image, label),)
    for pair in pairs:
        if set(pair) <= set(files):
            return pair
    raise InvalidInputError(
        f"image and label must be keys of {path}, got {image!r} and {label!r}; it has "
        f"{', '.join(map(repr, files))[:300] or 'none'}"
    )


def _from_dataset(source: Any, image: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    from datasets import Image

    for name, column in (("image", image), ("label", label)):
        if column not in source.column_names:
            raise InvalidInputError(
                f"{name} must be a column of source, got {column!r}; it has "
                f"{', '.join(map(repr, source.column_names))[:300] or 'none'}"
            )
    n = len(source)
    if n == 0:
        raise InvalidInputError("source must have at least one row, got none")
    labels = _as_labels(
        source.select_columns([label]).with_format("arrow")[:][label].to_numpy(),
        f"column {label!r}",
    )
    pictures = isinstance(source.features[image], Image)
    rows = source.select_columns([image]).with_format(None if pictures else "numpy")
    if pictures:
        # The column may have been told not to decode.
        rows = rows.cast_column(image, Image())
    images: np.ndarray | None = None
    for start in range(0, n, _BATCH):
        try:
            values = rows[start : start + _BATCH][image]
        except OSError as error:
            raise DataFormatError(
                f"source has a damaged image among the rows from {start}: {error}"
            ) from error
        block = _pictures(values, start) if pictures else _stacked(values, image, start)
        if images is None:
            images = np.empty((n, *block.shape[1:]), dtype=np.uint8)
        elif block.shape[1:] != images.shape[1:]:
            raise _unequal(start, block.shape[1:], images.shape[1:])
        images[start : start + len(block)] = block
    assert images is not None
    return images, labels


def _unequal(row: int, shape: Any, first: Any) -> InvalidInputError:
    return InvalidInputError(
        f"source must have images of one shape, row {row} has {tuple(shape)} and an "
        f"earlier one {tuple(first)} (height, width, channels)"
    )


def _pictures(values: list[Any], start: int) -> np.ndarray:
    """Return the pixels of images of Pillow."""
    arrays: list[np.ndarray] = []
    for row, value in enumerate(values, start):
        mode = getattr(value, "mode", None)
        if mode not in _MODES:
            raise InvalidInputError(
                f"source must have images of the modes {', '.join(_MODES)}, row {row} "
                f"has {'none' if value is None else mode!r}"
            )
        array = np.asarray(value.convert(_MODES[mode]))
        array = array[..., None] if array.ndim == 2 else array
        if arrays and array.shape != arrays[0].shape:
            raise _unequal(row, array.shape, arrays[0].shape)
        arrays.append(array)
    return np.stack(arrays)


def _stacked(values: Any, column: str, start: int) -> np.ndarray:
    """Return a batch of arrays, which is one array if they have one shape."""
    array = np.asarray(values)
    if array.dtype.kind == "O":
        raise InvalidInputError(
            f"source must have images of one shape, column {column!r} has others or "
            f"none among the rows from {start} to {start + len(array) - 1}"
        )
    if array.ndim == 3:
        array = array[..., None]
    return _as_bytes(array, f"column {column!r}")


def _as_bytes(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim != 4 or not 1 <= array.shape[3] <= 4 or array.size == 0:
        raise InvalidInputError(
            "source must have images of the shape (height, width) or (height, width, "
            f"channels) with at most 4 channels, {where} has {array.shape} with its "
            "rows; channels in front need numpy.moveaxis"
        )
    if array.dtype == np.uint8:
        return array
    wanted = f"source must have pixels that are integers from 0 to 255, {where} has"
    if array.dtype.kind not in "iu":
        raise InvalidInputError(f"{wanted} {array.dtype}")
    if array.min() < 0 or array.max() > 255:
        raise InvalidInputError(f"{wanted} {array.min()} to {array.max()}")
    return array.astype(np.uint8)


def _as_labels(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise InvalidInputError(
            f"source must have one integer label for each image, {where} has "
            f"{array.dtype} of shape {array.shape}"
        )
    if array.dtype == np.uint64 and len(array) and array.max() > np.iinfo(np.int64).max:
        raise InvalidInputError(
            f"source must have labels below 2**63, {where} has more"
        )
    return array.astype(np.int64)
