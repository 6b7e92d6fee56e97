"""Pickles of numbers and arrays, read without letting them run anything."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlmethods.errors import DataFormatError

__all__ = ["NumbersUnpickler", "PickledArray", "as_text", "load_numbers"]

_INTEGER = re.compile(r"[|<>]?([iu][1248]|uint8)")
_FLOAT = re.compile(r"[<>]?(f[48])")


def as_text(value: Any) -> str:
    """Return a string of Python 2 or 3."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


# What a pickle may call are classes with `__setstate__`, of which its instructions
# can change nothing but the instances.
class _DType:
    """Stands for ``numpy.dtype``: what the pickle says, never acted upon."""

    def __init__(self, *arguments: Any) -> None:
        self.name = arguments[0] if arguments else None
        self.order: Any = None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1:
            self.order = state[1]

    def to_numpy(self, *, floats: bool) -> np.dtype[Any] | None:
        """Return the type if it is one of integers (or floats), else None."""
        name = as_text(self.name)
        code = (_FLOAT if floats else _INTEGER).fullmatch(name)
        if code is None:
            return None
        order = as_text(self.order)
        size = code[1].replace("uint8", "u1")
        return np.dtype(f"{order if order in ('<', '>') else '='}{size}")


class PickledArray:
    """Stands for an array: its state is kept, and converted after reading."""

    def __init__(self, *arguments: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self, *, floats: bool = False) -> np.ndarray | None:
        """Return the integers in their shape, or None if it is another array.

        Parameters
        ----------
        floats : bool
            Return floating-point numbers instead, and None for integers.
        """
        match self.state:
            case (_, tuple() as shape, _DType() as dtype, order, bytes() as content):
                kind = dtype.to_numpy(floats=floats)
                if kind is None or len(shape) not in (1, 2):
                    return None
                if not all(isinstance(size, int) and size > 0 for size in shape):
                    return None
                if math.prod(shape) * kind.itemsize != len(content):
                    return None
                array = np.frombuffer(content, dtype=kind)
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
class NumbersUnpickler(pickle._Unpickler):
    """Reads containers, numbers, strings and arrays; any other global is refused.

    Parameters
    ----------
    file : binary file
        Where the pickle begins.
    path : pathlib.Path
        The file, for messages.
    content : str
        What the pickle is to be, for messages, such as ``"batch of CIFAR-10"``.
    """

    def __init__(self, file: BinaryIO, path: Path, content: str) -> None:
        # Strings of Python 2 are bytes.
        super().__init__(file, encoding="bytes")
        self._path = path
        self._content = content

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global of an array.

        Raises
        ------
        DataFormatError
            If it is any other.
        """
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return PickledArray
            case ("numpy", "ndarray"):
                return PickledArray
            case ("numpy", "dtype"):
                return _DType
            case ("_codecs", "encode"):
                return _Bytes
        raise DataFormatError(
            f"{self._path} asks for the global {f'{module}.{name}'[:80]!r}, which no "
            f"{self._content} needs; it was not called and the file is refused"
        )


def load_numbers(
    reader: NumbersUnpickler, file: BinaryIO, path: Path, *, kind: type = dict
) -> Any:
    """Return the dictionary that is the whole of a pickle.

    Parameters
    ----------
    reader : NumbersUnpickler
        Made for `file`.
    file : binary file
        Where the pickle begins.
    path : pathlib.Path
        The file, for messages.
    kind : {dict, tuple}
        What the pickle must hold instead of a dictionary.

    Raises
    ------
    DataFormatError
        If it is damaged, asks for another global, is of another kind or goes on.
    """
    try:
        content = reader.load()
        rest = file.read(1)
    except DataFormatError:
        raise
    # A damaged pickle raises whatever its instructions run into.
    except Exception as error:
        raise DataFormatError(f"{path} is damaged or is no pickle: {error}") from error
    if not isinstance(content, kind) or rest:
        what = "dictionary" if kind is dict else kind.__name__
        raise DataFormatError(f"{path} must hold one {what} and nothing after it")
    return content
