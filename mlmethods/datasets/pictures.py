"""Compressed pictures, decoded by Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlmethods.errors import DataFormatError, InvalidInputError

__all__ = ["check_size", "read_picture"]


def check_size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the height and the width that `size` means, or None.

    Raises
    ------
    InvalidInputError
        If it is no integer >= 1, no pair of them and not None.
    """
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2 or not all(
        isinstance(number, int | np.integer) and number >= 1 for number in pair
    ):
        raise InvalidInputError(
            f"size must be an integer >= 1, a pair (height, width) or None, got {size!r}"
        )
    return int(pair[0]), int(pair[1])


def read_picture(
    path: Path,
    *,
    format: str,
    mode: str,
    size: tuple[int, int] | None = None,
    bicubic: bool = False,
) -> np.ndarray:
    """Decode a picture.

    Parameters
    ----------
    path : pathlib.Path
        A file.
    format : str
        What it must be, as Pillow calls it: ``"JPEG"`` or ``"PNG"``. No other decoder
        sees the file.
    mode : {"L", "RGB"}
        Grey or color; the picture is converted.
    size : pair of int or None
        The height and the width to resize to, if they differ.
    bicubic : bool
        Resize by bicubic instead of by bilinear interpolation.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 3), uint8

    Raises
    ------
    DataFormatError
        If it cannot be decoded.
    ModuleNotFoundError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"to read {path.name} Pillow is needed; install it with: pip install pillow",
            name="PIL",
        ) from error
    try:
        with Image.open(path, formats=(format,)) as file:
            image = file.convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataFormatError(f"{path} is damaged: {error}") from error
    if size is not None and (image.height, image.width) != size:
        how = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
        image = image.resize((size[1], size[0]), how)
    return np.asarray(image)
