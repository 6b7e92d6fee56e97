"""How the readers of published sets find and check their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlmethods.datasets.catalog import lookup
from mlmethods.datasets.locate import data_roots, find_data
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

__all__ = ["check_md5", "check_split", "find_entry", "find_layout"]


def check_split(split: str, splits: Sequence[str]) -> None:
    """Raise :class:`InvalidInputError` unless `split` is one of `splits`."""
    if split not in splits:
        raise InvalidInputError(
            f"split must be one of {', '.join(map(repr, splits))}, got {split!r}"
        )


def find_layout(
    layouts: Mapping[str, Sequence[str]],
    root: str | os.PathLike[str] | None,
    *,
    get: str,
) -> list[Path]:
    """Return the files of the first folder that has any of them.

    Parameters
    ----------
    layouts : mapping of str to sequence of str
        Names of folders below a data root, and the files that each must have.
    root : path-like or None
        A folder to look in first, which may also be the one with the files.
    get : str
        What to do when a file is missing, to follow a colon.

    Returns
    -------
    list of pathlib.Path
        All of one folder, in the order of the layout; they exist.

    Raises
    ------
    DatasetNotFoundError
        If no folder has any of the files, or the folder lacks one.
    """
    places = [
        (base / folder, files)
        for base in data_roots(root)
        for folder, files in layouts.items()
    ]
    if root is not None:
        own = Path(root).expanduser()
        # After the folders of that name below it, before the other data roots.
        places[len(layouts) : len(layouts)] = [(own, f) for f in layouts.values()]
    for folder, files in places:
        missing = [name for name in files if not (folder / name).exists()]
        if len(missing) < len(files):
            if missing:
                raise DatasetNotFoundError(
                    f"there is no {missing[0]} in {folder}, which has other files of "
                    f"the set: {get}"
                )
            return [folder / name for name in files]
    names = " or ".join(dict.fromkeys(files[0] for files in layouts.values()))
    looked = ", ".join(dict.fromkeys(str(folder) for folder, _ in places))
    raise DatasetNotFoundError(f"there is no {names} in {looked}: {get}")


def check_md5(paths: Sequence[Path], published: Mapping[str, str]) -> None:
    """Compare files with their published MD5 checksums.

    Raises
    ------
    DataFormatError
        If one differs.
    InvalidInputError
        If no checksum of a file is known.
    """
    for path in paths:
        if path.name not in published:
            raise InvalidInputError(
                f"verify must be False for {path}: its MD5 checksum is not known"
            )
        with path.open("rb") as file:
            # A checksum against accidents, as its publisher gives it.
            digest = hashlib.file_digest(
                file, lambda: hashlib.md5(usedforsecurity=False)
            ).hexdigest()
        if digest != published[path.name]:
            raise DataFormatError(
                f"{path} is not the published file: its MD5 checksum is {digest}, not "
                f"{published[path.name]}"
            )


def find_entry(name: str, root: str | os.PathLike[str] | None, *, holds: str) -> Path:
    """Return the folder of a dataset of the catalogue.

    Parameters
    ----------
    name : str
        Its full name.
    root : path-like or None
        A folder to look in first, which may also be the one with the files.
    holds : str
        A pattern of which such a folder has a file.

    Raises
    ------
    DatasetNotFoundError
        If it is nowhere; the message says what provides it.
    """
    entry = lookup(name)
    if root is not None and entry is not None:
        own = Path(root).expanduser()
        below = any((own / layout).exists() for layout in entry.layouts)
        if not below and next(own.glob(holds), None) is not None:
            return own
    return find_data(name, root)
