"""Where data lies on this machine."""

from __future__ import annotations

import difflib
import importlib.util
import os
from pathlib import Path, PurePosixPath

from mlmethods.datasets.catalog import Entry, known_names, lookup
from mlmethods.errors import DatasetNotFoundError, InvalidInputError

__all__ = ["data_roots", "find_data", "path_of"]

_CHECKOUT = Path(__file__).resolve().parents[2]
# Debian's dataset packages install here.
_SYSTEM = Path("/usr/share/datasets")


def data_roots(root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders that are searched, in order.

    `root`, the environment variable ``MLMETHODS_DATA_DIR`` (read at call time),
    ``.cache/data`` of the checkout that this package runs from, the user's data
    directory, and ``/usr/share/datasets``. They need not exist.

    Raises
    ------
    DatasetNotFoundError
        If `root` is given and is not a folder.
    """
    roots = []
    if root is not None:
        chosen = Path(root).expanduser()
        if not chosen.is_dir():
            raise DatasetNotFoundError(f"root must be a folder, {chosen} is not one")
        roots.append(chosen)
    environment = os.environ.get("MLMETHODS_DATA_DIR")
    if environment:
        roots.append(Path(environment).expanduser())
    if (_CHECKOUT / "pyproject.toml").is_file():
        roots.append(_CHECKOUT / ".cache" / "data")
    import platformdirs

    roots.append(platformdirs.user_data_path("mlmethods", appauthor=False))
    roots.append(_SYSTEM)
    return roots


def _in_package(package: str, file: str) -> Path | None:
    """Return a file of an installed package without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        if path.exists():
            return path
    return None


def path_of(entry: Entry, roots: list[Path]) -> Path | None:
    """Return where a named dataset is, or None."""
    for folder in roots:
        for layout in entry.layouts:
            if (folder / layout).exists():
                return folder / layout
    for file in entry.installed:
        if Path(file).exists():
            return Path(file)
    return _in_package(entry.package, entry.package_file) if entry.package else None


def find_data(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    provider: str | None = None,
) -> Path:
    """Return the file or folder of a dataset.

    Parameters
    ----------
    name : str
        A name of :func:`mlmethods.datasets.list_datasets`, or a path relative to a
        data root, with forward slashes, such as ``"dram_traces/stream.stl"``.
    root : path-like or None
        A folder to look in first.
    provider : str or None
        For a relative path: the sentence that says what provides it, for the message.

    Returns
    -------
    pathlib.Path
        An existing path.

    Raises
    ------
    DatasetNotFoundError
        If it is nowhere; the message says where it was looked for and what
        provides it.

    See Also
    --------
    data_roots : The folders that are searched.

    Examples
    --------
    >>> from mlmethods.datasets import find_data
    >>> find_data("iris").name
    'iris.csv'
    """
    entry = lookup(name)
    roots = data_roots(root)
    if entry is not None:
        found = path_of(entry, roots)
        provider = entry.provider
    else:
        relative = PurePosixPath(name)
        if not name or relative.is_absolute() or ".." in relative.parts:
            raise InvalidInputError(
                "name must be the name of a dataset or a path relative to a data "
                f"root, got {name!r}"
            )
        paths = (folder / relative for folder in roots)
        found = next((path for path in paths if path.exists()), None)
    if found is not None:
        return found
    places = ", ".join(map(str, roots))
    if entry is None and provider is None:
        close = difflib.get_close_matches(name, known_names(), n=1)
        provider = (
            f"Did you mean {close[0]!r}?"
            if close
            else "'mlmethods data list' shows the known datasets."
        )
    raise DatasetNotFoundError(
        f"no dataset {name!r} on this machine (looked in {places}). {provider}"
    )
