"""Grey images in the binary format PGM."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from mlmethods.errors import DataFormatError

__all__ = ["parse_pgm", "read_pgm"]

_GAP = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
# One byte of white space ends the header; the next may be a pixel that looks like it.
_HEADER = re.compile(
    rb"P5"
    + _GAP
    + rb"(\d{1,9})"
    + _GAP
    + rb"(\d{1,9})"
    + _GAP
    + rb"(\d{1,5})[ \t\r\n\v\f]"
)
_LARGEST = 65535


def read_pgm(path: str | os.PathLike[str]) -> np.ndarray:
    r"""Read a file of one grey image in the binary format PGM ("P5").

    Parameters
    ----------
    path : path-like
        A file.

    Returns
    -------
    ndarray of shape (height, width), uint8 or uint16
        The values as they are stored, 0 to the largest value that the header states:
        uint8 where that is at most 255, else uint16. They are not scaled.

    Raises
    ------
    DataFormatError
        If it is truncated, goes on after the pixels, has a value above the largest
        one, or is no such file.

    References
    ----------
    "PGM format specification", Netpbm,
    https://netpbm.sourceforge.net/doc/pgm.html.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets import read_pgm
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tiny.pgm")
    ...     _ = path.write_bytes(b"P5\n# a comment\n3 2\n255\n" + bytes(range(6)))
    ...     read_pgm(path)
    array([[0, 1, 2],
           [3, 4, 5]], dtype=uint8)
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataFormatError(f"{path} cannot be read: {error}") from error
    return parse_pgm(content, path)


def parse_pgm(content: bytes, path: Path) -> np.ndarray:
    """Return the image that the bytes of `path` are; see :func:`read_pgm`.

    Raises
    ------
    DataFormatError
        If they are no image; the message names `path`.
    """
    header = _HEADER.match(content)
    if header is None:
        raise DataFormatError(f"{path} is not a PGM file: it has no header of a 'P5'")
    width, height, largest = map(int, header.groups())
    if not (width and height and 1 <= largest <= _LARGEST):
        raise DataFormatError(
            f"{path} must state sizes >= 1 and a largest value of 1 to {_LARGEST}, "
            f"found {width} x {height} and {largest}"
        )
    stored = np.dtype("u1" if largest < 256 else ">u2")
    expected, found = width * height * stored.itemsize, len(content) - header.end()
    if found != expected:
        raise DataFormatError(
            f"{path} states {width} x {height} pixels, {expected} bytes, but holds "
            f"{found}"
        )
    image = np.frombuffer(content, dtype=stored, offset=header.end())
    if image.max() > largest:
        raise DataFormatError(
            f"{path} states {largest} as its largest value, but holds {image.max()}"
        )
    # A copy: it does not depend on the bytes, and is in the order of this machine.
    return image.reshape(height, width).astype(stored.newbyteorder("="))
