"""Label files in the zip format of torch.save, read without torch."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.common.unpickling import (
    NumbersUnpickler,
    PickledArray,
    as_text,
    load_numbers,
)
from mlmethods.errors import DataFormatError

__all__ = ["read_torch_integers"]

_STORAGES = {
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "i2",
    "IntStorage": "i4",
    "LongStorage": "i8",
}
# The last two where a wrong byte asks for a newer version or for a password.
_DAMAGE = (OSError, EOFError, NotImplementedError, RuntimeError)
_BYTE_ORDERS = {b"little": "<", b"big": ">"}


# As in pickles.py: an instruction of the pickle can change instances only.
class _Ordered(dict):
    """Stands for ``collections.OrderedDict``."""

    def __setstate__(self, state: Any) -> None:
        """Ignore attributes: the entries are what is read."""


class _Storage:
    """The integers that tensors are views of."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        """Ignore it: the content is that of the file."""


class _Tensor:
    """Stands for a tensor: how it is a view of its storage."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        """Ignore it: a rebuilt tensor of numbers has no state."""

    def to_numpy(self) -> np.ndarray | None:
        """Return the integers of a tensor in one dimension, or None."""
        match self.arguments:
            case (_Storage(values=values), int(start), (int(n),), (int(step),), *_):
                if start < 0 or n < 1 or step < 1:
                    return None
                if start + (n - 1) * step >= len(values):
                    return None
                return values[start : start + (n - 1) * step + 1 : step]
        return None


class _TorchUnpickler(NumbersUnpickler):
    """Reads tensors of integers too; their storages are members of the archive."""

    def __init__(
        self, content: io.BytesIO, path: Path, archive: zipfile.ZipFile, prefix: str
    ) -> None:
        super().__init__(content, path, "file of labels")
        self._archive = archive
        self._prefix = prefix
        order = b"little"
        if f"{prefix}byteorder" in archive.namelist():
            order = _member(archive, f"{prefix}byteorder", path)
        if order not in _BYTE_ORDERS:
            raise DataFormatError(
                f"{path} must name a byte order, found {order[:20]!r}"
            )
        self._order = _BYTE_ORDERS[order]

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global of an array or a tensor."""
        match module, name:
            case ("collections", "OrderedDict"):
                return _Ordered
            case ("torch._utils", "_rebuild_tensor_v2"):
                return _Tensor
            case ("torch", _) if name in _STORAGES:
                # A string: nothing that an instruction could call or change.
                return _STORAGES[name]
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage that a tensor names."""
        match pid:
            case (kind, str(code), key, _, int(n)) if as_text(kind) == "storage":
                raw = _member(
                    self._archive, f"{self._prefix}data/{as_text(key)}", self._path
                )
                if code in _STORAGES.values():
                    dtype = np.dtype(f"{self._order}{code}")
                    if len(raw) == n * dtype.itemsize:
                        return _Storage(np.frombuffer(raw, dtype=dtype))
        raise DataFormatError(
            f"{self._path} must hold storages of integers with the sizes that its "
            "tensors state"
        )


def read_torch_integers(path: Path) -> dict[str, np.ndarray]:
    """Read a dictionary of integer arrays that ``torch.save`` wrote.

    Parameters
    ----------
    path : pathlib.Path
        A file in the zip format (torch 1.6 and later).

    Returns
    -------
    dict of str to ndarray of int64
        NumPy arrays, tensors and lists of integers, each in one dimension.

    Raises
    ------
    DataFormatError
        If it is damaged, is in another format, or holds anything else; a pickle in
        it that asks for a global which integers do not need is refused before that
        is called.

    Examples
    --------
    >>> import pickle, tempfile, zipfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets.torch_file import read_torch_integers
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels.pt")
    ...     with zipfile.ZipFile(path, "w") as archive:
    ...         archive.writestr("archive/data.pkl", pickle.dumps({"noisy": [3, 8]}))
    ...     read_torch_integers(path)
    {'noisy': array([3, 8])}
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                name
                for name in archive.namelist()
                if name.split("/")[1:] == ["data.pkl"]
            ]
            if len(names) != 1:
                raise DataFormatError(
                    f"{path} must hold one file data.pkl, as torch.save writes, found "
                    f"{len(names)}"
                )
            content = io.BytesIO(_member(archive, names[0], path))
            prefix = names[0].removesuffix("data.pkl")
            reader = _TorchUnpickler(content, path, archive, prefix)
            entries = load_numbers(reader, content, path)
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        raise DataFormatError(
            f"{path} is damaged or is no zip file of torch.save: {error}"
        ) from error
    return {as_text(key): _integers(value, key, path) for key, value in entries.items()}


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        information = archive.getinfo(name)
    except KeyError:
        raise DataFormatError(f"{path} lacks its part {name!r}") from None
    # torch never compresses; a small file could otherwise fill the memory.
    if information.compress_type != zipfile.ZIP_STORED or information.flag_bits & 1:
        raise DataFormatError(
            f"{path} must hold {name!r} uncompressed, as torch.save writes"
        )
    return archive.read(information)


def _integers(value: Any, key: Any, path: Path) -> np.ndarray:
    array: np.ndarray | None = None
    if isinstance(value, PickledArray | _Tensor):
        array = value.to_numpy()
    elif (
        isinstance(value, list)
        and value
        and all(type(item) is int and abs(item) < 2**62 for item in value)
    ):
        array = np.array(value, dtype=np.int64)
    if array is None or array.ndim != 1:
        raise DataFormatError(
            f"{path} must hold integers in one dimension under {as_text(key)[:80]!r}"
        )
    return array.astype(np.int64)
