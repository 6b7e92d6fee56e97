"""Files and directories that appear complete or not at all.

Everything is written beside its destination under a hidden name and renamed when it
is complete, so that a reader, or a process that starts after a crash, never meets a
half-written result.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["atomic_directory", "atomic_path", "write_json", "write_text"]


def _scratch_name(destination: Path) -> Path:
    """Return a hidden sibling; the suffix stays, because writers look at it."""
    stem, suffix = destination.stem, destination.suffix
    return destination.with_name(f".{stem}.{uuid.uuid4().hex[:12]}{suffix}")


def _sync(path: Path) -> None:
    """Have the operating system put a file or a directory entry on the disk."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _real(path: str | os.PathLike[str]) -> Path:
    """Follow links, so that a link keeps pointing at what was replaced."""
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""Yield a name to write a file under; it takes the name `path` at the end.

    The parent directory is made if it is missing. If the block raises, whatever was
    written is removed and an earlier file called `path` stays as it was.

    Parameters
    ----------
    path : path-like
        The destination.

    Yields
    ------
    pathlib.Path
        A name in the same directory with the same suffix.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "numbers.csv") as scratch:
    ...     _ = scratch.write_text("a,b\n1,2\n")
    >>> [file.name for file in folder.iterdir()]
    ['numbers.csv']
    """
    destination = _real(path)
    destination.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch_name(destination)
    try:
        yield scratch
        _sync(scratch)
        scratch.replace(destination)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    _sync(destination.parent)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty directory to fill; it takes the name `path` at the end.

    A directory that already has the name is replaced as a whole: callers check first
    that it is theirs. If the block raises, it stays as it was.

    Parameters
    ----------
    path : path-like
        The destination.

    Yields
    ------
    pathlib.Path
        An empty directory beside the destination.

    Notes
    -----
    No portable call exchanges two directories. The old one is renamed away before
    the new one gets its name; a crash exactly between the two leaves both, complete,
    under hidden names in the parent directory.
    """
    destination = _real(path)
    destination.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch_name(destination)
    scratch.mkdir()
    try:
        yield scratch
        for folder, _, names in os.walk(scratch):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
        _exchange(scratch, destination)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    _sync(destination.parent)


def _exchange(scratch: Path, destination: Path) -> None:
    if not destination.exists():
        scratch.rename(destination)
        return
    retired = _scratch_name(destination)
    destination.rename(retired)
    try:
        scratch.rename(destination)
    except OSError:
        retired.rename(destination)
        raise
    shutil.rmtree(retired, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` in UTF-8, atomically."""
    with atomic_path(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write `document` to `path` as indented JSON, atomically.

    Raises
    ------
    TypeError, ValueError
        If a value is not JSON; NaN and infinity are not.
    """
    # Serialised first: a bad value must not cost the file that is there.
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
