"""CelebA: attributes at once, images when they are asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.datasets.attributes import fail, read_lines
from mlmethods.datasets.layouts import check_md5, check_split, find_layout
from mlmethods.datasets.pictures import check_size, read_picture
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CelebA", "load_celeba", "open_celeba"]

_SPLITS = {"train": "0", "valid": "1", "test": "2", "all": ""}
_IMAGES = "img_align_celeba"
_ATTRIBUTES = "list_attr_celeba.txt"
_PARTITION = "list_eval_partition.txt"
_MD5 = {
    _ATTRIBUTES: "75e246fa4810816ffd6ee81facbd244c",
    _PARTITION: "d32c9cbf5e040fd4025c592c306e6668",
}
_GET = (
    "download list_attr_celeba.txt, list_eval_partition.txt and img_align_celeba.zip "
    "from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, put them into the folder "
    "celeba of a data root and unpack the archive there"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class CelebA:
    """A split of CelebA, whose images stay on disk until they are asked for.

    Attributes
    ----------
    attributes : pandas.DataFrame of shape (n, 40), bool
        One row for each image, indexed by its file name, in the published order.
    folder : pathlib.Path
        Where the JPEG files are.
    split : str
        ``"train"``, ``"valid"``, ``"test"`` or ``"all"``.
    size : tuple of int or None
        Height and width that images are resized to; None leaves them as they are,
        218 x 178.

    See Also
    --------
    open_celeba : Makes it.
    load_celeba : Reads a split at once.
    """

    attributes: pd.DataFrame = field(repr=False)
    folder: Path
    split: str
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.attributes)

    def labels(self, attribute: str | None = None, rows: Any = None) -> np.ndarray:
        """Return attributes as numbers: 1 where the image has it, else 0.

        Parameters
        ----------
        attribute : str or None
            A column; None for all.
        rows : slice, array-like of int or None
            Row numbers; None for all.

        Returns
        -------
        ndarray of shape (n,) or (n, 40), int64

        Raises
        ------
        InvalidInputError
            If there is no such attribute or row.
        """
        if attribute is not None and attribute not in self.attributes.columns:
            raise InvalidInputError(
                f"attribute must be one of {', '.join(self.attributes.columns)}, got "
                f"{attribute!r}"
            )
        chosen = self.attributes if attribute is None else self.attributes[attribute]
        return chosen.to_numpy()[self._rows(rows)].astype(np.int64)

    def images(
        self, rows: Any = None, *, memory_limit: int | float | str = "auto"
    ) -> np.ndarray:
        """Read images.

        Parameters
        ----------
        rows : slice, array-like of int or None
            Row numbers; None for all.
        memory_limit : int or "auto"
            Bytes that the array may take; ``"auto"`` is 80 % of what is available.

        Returns
        -------
        ndarray of shape (n, height, width, 3), uint8

        Raises
        ------
        DatasetNotFoundError
            If the file of an image is missing.
        DataFormatError
            If one is no JPEG file, is truncated or, without `size`, of another shape
            than the first.
        InvalidInputError
            If there is no such row.
        MemoryLimitError
            If the array would be too large; it has not been allocated.
        ModuleNotFoundError
            If Pillow is not installed.
        """
        names = self.attributes.index.to_numpy()[self._rows(rows)]
        if not len(names):
            return np.empty((0, *(self.size or (0, 0)), 3), dtype=np.uint8)
        first = _read_image(self.folder / names[0], self.size)
        require_memory(
            first.nbytes * len(names),
            resolve_memory_limit(memory_limit),
            what=f"an array of n={len(names)} images of {first.shape}",
            alternative="use batches(), a smaller size or fewer rows",
        )
        images = np.empty((len(names), *first.shape), dtype=np.uint8)
        images[0] = first
        for i, name in enumerate(names[1:], start=1):
            image = _read_image(self.folder / name, self.size)
            if image.shape != first.shape:
                raise DataFormatError(
                    f"{self.folder / name} is {image.shape}, {names[0]} is "
                    f"{first.shape}; set size to make them equal"
                )
            images[i] = image
        return images

    def batches(
        self, batch_size: int = 256, *, rows: Any = None, attribute: str | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Iterate over the images, with no more than one batch in memory.

        Parameters
        ----------
        batch_size : int
            Images in a batch; the last may have fewer.
        rows : slice, array-like of int or None
            Row numbers, in the order to read them in; None for all as they are.
        attribute : str or None
            As in :meth:`labels`.

        Yields
        ------
        images : ndarray of shape (b, height, width, 3), uint8
        labels : ndarray of shape (b,) or (b, 40), int64

        Raises
        ------
        InvalidInputError
            If `batch_size` is less than 1, or there is no such attribute or row.
        """
        if isinstance(batch_size, bool) or batch_size < 1:
            raise InvalidInputError(f"batch_size must be >= 1, got {batch_size!r}")
        order = self._rows(rows)
        labels = self.labels(attribute, order)
        return self._batches(batch_size, order, labels)

    def _batches(
        self, batch_size: int, order: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(order), batch_size):
            part = slice(start, start + batch_size)
            yield self.images(order[part]), labels[part]

    def _rows(self, rows: Any) -> np.ndarray:
        """Return row numbers from 0; negative ones are refused."""
        everything = np.arange(len(self))
        if rows is None:
            return everything
        if isinstance(rows, slice):
            return everything[rows]
        chosen = np.asarray(rows)
        if chosen.size == 0:
            return everything[:0]
        if (
            chosen.ndim != 1
            or chosen.dtype.kind not in "iu"
            or chosen.min() < 0
            or chosen.max() >= len(self)
        ):
            raise InvalidInputError(
                f"rows must be a list of integers in 0..{len(self) - 1} or a slice"
            )
        return chosen.astype(np.int64)


def open_celeba(
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    size: int | tuple[int, int] | None = None,
    verify: bool = False,
) -> CelebA:
    r"""Read the attributes of CelebA; the images are read on demand.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first: the one with the files, or one with a folder
        ``celeba`` that has them. Then come the folders ``celeba`` of the data roots.
    split : {"train", "valid", "test", "all"}
        Of the official partition: 162,770, 19,867 or 19,962 images.
    size : int, (height, width) or None
        What images are resized to (bilinear, with antialiasing), one number for both;
        None leaves them as they are, 218 x 178.
    verify : bool
        Compare the two lists with their published MD5 checksums first.

    Returns
    -------
    CelebA

    Raises
    ------
    DatasetNotFoundError
        If a file is nowhere; the message says what to download and where to put it.
    DataFormatError
        If a list is damaged, or the lists disagree; it names file and line.
    InvalidInputError
        If the split does not exist, or a size is less than 1.

    Notes
    -----
    From https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, for research that is not
    commercial: ``img_align_celeba/000001.jpg`` and so on (from
    ``img_align_celeba.zip``), ``list_attr_celeba.txt`` (the number of images, the
    names of 40 attributes, then a file name and 40 times 1 or -1 in a line) and
    ``list_eval_partition.txt`` (a file name and 0, 1 or 2 for train, valid and test).

    References
    ----------
    Z. Liu, P. Luo, X. Wang, X. Tang, "Deep learning face attributes in the wild",
    ICCV (2015).

    Examples
    --------
    Files of the same layout, with two attributes of two grey images:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from mlmethods.datasets.celeba import open_celeba
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "img_align_celeba").mkdir()
    ...     for name in ("000001.jpg", "000002.jpg"):
    ...         image = Image.new("RGB", (178, 218), "grey")
    ...         image.save(Path(folder, "img_align_celeba", name))
    ...     attributes = "2\nMale Smiling\n000001.jpg -1 1\n000002.jpg 1 1\n"
    ...     _ = Path(folder, "list_attr_celeba.txt").write_text(attributes)
    ...     partition = "000001.jpg 0\n000002.jpg 0\n"
    ...     _ = Path(folder, "list_eval_partition.txt").write_text(partition)
    ...     faces = open_celeba(folder, "train", size=96)
    ...     shapes = [images.shape for images, _ in faces.batches(1)]
    >>> shapes
    [(1, 96, 96, 3), (1, 96, 96, 3)]
    >>> faces.attributes["Smiling"].tolist(), faces.labels("Male")
    ([True, True], array([0, 1]))
    """
    check_split(split, tuple(_SPLITS))
    height_width = check_size(size)
    attributes_path, partition_path, folder = find_layout(
        {"celeba": (_ATTRIBUTES, _PARTITION, _IMAGES)}, root, get=_GET
    )
    if verify:
        check_md5((attributes_path, partition_path), _MD5)
    attributes = _read_attributes(attributes_path)
    part = _read_partition(partition_path)
    names = attributes.index.tolist()
    if list(part) != names:
        lonely = next(iter(sorted(set(part).symmetric_difference(names))), None)
        if lonely is not None:
            raise DataFormatError(
                f"{attributes_path} and {partition_path} must list the same files, "
                f"{lonely} is in one of them only"
            )
    if split != "all":
        wanted = _SPLITS[split]
        attributes = attributes[[part[name] == wanted for name in names]]
    return CelebA(attributes=attributes, folder=folder, split=split, size=height_width)


def load_celeba(
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    attribute: str | None = None,
    size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    memory_limit: int | float | str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    r"""Load images of CelebA with their attributes.

    The training images alone take 19 GB as they are; :func:`open_celeba` reads them
    in batches.

    Parameters
    ----------
    root : path-like or None
        As in :func:`open_celeba`, which describes the files.
    split : {"train", "valid", "test", "all"}
        Of the official partition: 162,770, 19,867 or 19,962 images.
    attribute : str or None
        The one attribute to return, such as ``"Smiling"``; None for all forty.
    size : int, (height, width) or None
        What images are resized to; None leaves them as they are, 218 x 178.
    limit : int or None
        Load only so many, the first of the split.
    memory_limit : int or "auto"
        Bytes that the images may take; ``"auto"`` is 80 % of what is available.

    Returns
    -------
    images : ndarray of shape (n, height, width, 3), uint8
    labels : ndarray of shape (n,) or (n, 40), int64
        1 where the image has the attribute, else 0.

    Raises
    ------
    DatasetNotFoundError
        If a file is nowhere; the message says what to download and where to put it.
    DataFormatError
        If a file is damaged.
    InvalidInputError
        If the split or the attribute does not exist, or a number is less than 1.
    MemoryLimitError
        If the images would take more than `memory_limit`; none has been loaded.
    ModuleNotFoundError
        If Pillow is not installed.

    Examples
    --------
    Files of the same layout, with one attribute of one grey image:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from mlmethods.datasets.celeba import load_celeba
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "img_align_celeba").mkdir()
    ...     image = Image.new("RGB", (178, 218), "grey")
    ...     image.save(Path(folder, "img_align_celeba", "000001.jpg"))
    ...     attributes = "1\nSmiling\n000001.jpg 1\n"
    ...     _ = Path(folder, "list_attr_celeba.txt").write_text(attributes)
    ...     _ = Path(folder, "list_eval_partition.txt").write_text("000001.jpg 2\n")
    ...     images, labels = load_celeba(folder, "test", attribute="Smiling", size=96)
    >>> images.shape, labels
    ((1, 96, 96, 3), array([1]))
    """
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise InvalidInputError(f"limit must be >= 1 or None, got {limit!r}")
    faces = open_celeba(root, split, size=size)
    rows = slice(0, limit)
    labels = faces.labels(attribute, rows)
    return faces.images(rows, memory_limit=memory_limit), labels


def _check_name(name: str, path: Path, line: int) -> str:
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise fail(path, line, f"expected the name of a file, found {name!r}")
    return name


def _read_attributes(path: Path) -> pd.DataFrame:
    import pandas as pd

    lines = read_lines(path)
    columns = lines[1].split() if len(lines) > 1 else []
    if re.fullmatch(r"\s*\d{1,9}\s*", lines[0]) is None or not columns:
        raise fail(
            path, 1, "expected the number of images, and then the attributes' names"
        )
    if len(set(columns)) != len(columns):
        raise fail(path, 2, "an attribute is named twice")
    n = int(lines[0])
    body = lines[2:]
    while body and not body[-1].strip():
        body.pop()
    if len(body) != n or n == 0:
        raise fail(path, 1, f"states {n} images, the file lists {len(body)}")
    names = []
    flags = np.empty((n, len(columns)), dtype=bool)
    for row, text in enumerate(body):
        name, *values = text.split() or [""]
        names.append(_check_name(name, path, row + 3))
        if len(values) != len(columns) or not {"1", "-1"}.issuperset(values):
            raise fail(
                path, row + 3, f"expected a file and {len(columns)} times 1 or -1"
            )
        flags[row] = [value == "1" for value in values]
    if len(set(names)) != n:
        raise DataFormatError(f"{path} lists a file twice")
    return pd.DataFrame(flags, index=pd.Index(names, name="file"), columns=columns)


def _read_partition(path: Path) -> dict[str, str]:
    part: dict[str, str] = {}
    for number, text in enumerate(read_lines(path), start=1):
        if not text.strip():
            continue
        name, *values = text.split()
        if len(values) != 1 or values[0] not in ("0", "1", "2") or name in part:
            raise fail(path, number, "expected a new file and 0, 1 or 2")
        part[name] = values[0]
    return part


def _read_image(path: Path, size: tuple[int, int] | None) -> np.ndarray:
    if not path.is_file():
        raise DatasetNotFoundError(
            f"there is no {path.name} in {path.parent}, which the list of attributes "
            f"names: {_GET}"
        )
    return read_picture(path, format="JPEG", mode="RGB", size=size)
