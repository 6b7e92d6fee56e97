"""What is installed: entry points, loaded once and kept."""

from __future__ import annotations

import functools
import threading
import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mlmethods.errors import BackendLoadError, BackendNotFoundError, BackendWarning
from mlmethods.interfaces import API_VERSION, Backend, BackendInfo

__all__ = ["GROUP", "list_backends", "load_backend", "refresh_backends"]

GROUP = "mlmethods.backends"

_loaded: dict[str, Backend] = {}
_broken: dict[str, str] = {}
_lock = threading.Lock()


@functools.cache
def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points by name; of duplicates, the first distribution's."""

    def distribution(point: EntryPoint) -> str:
        return point.dist.name if point.dist is not None else ""

    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=distribution):
        kept = found.setdefault(point.name, point)
        # An editable install can list the very same entry point twice.
        if kept.value != point.value:
            warnings.warn(
                f"two distributions provide a backend named {point.name!r}: "
                f"{distribution(kept)!r} ({kept.value}) is used, "
                f"{distribution(point)!r} ({point.value}) is ignored",
                BackendWarning,
                stacklevel=3,
            )
    return found


def refresh_backends() -> None:
    """Forget every backend that was found, so that the next call looks anew."""
    with _lock:
        _entry_points.cache_clear()
        warn_once.cache_clear()
        _loaded.clear()
        _broken.clear()


def installed_names() -> list[str]:
    """Return the names of the installed backends, loaded or not."""
    return sorted(_entry_points())


def load_backend(name: str) -> Backend:
    """Return the backend called `name`.

    Raises
    ------
    BackendNotFoundError
        If no installed distribution provides it.
    BackendLoadError
        If it cannot be imported, or was written for another version of the contract.
    """
    backend = _loaded.get(name)
    if backend is not None:
        return backend
    points = _entry_points()
    if name not in points:
        raise BackendNotFoundError(
            f"no backend named {name!r} is installed; installed are: "
            f"{', '.join(sorted(points)) or 'none'}. A distribution provides one "
            f"through the entry-point group {GROUP!r}"
        )
    # A failed import can take seconds: it is not tried again before a refresh.
    problem = _broken.get(name)
    if problem is not None:
        raise BackendLoadError(problem)
    try:
        loaded: Any = points[name].load()
        is_factory = isinstance(loaded, type) or not hasattr(loaded, "info")
        backend = loaded() if is_factory else loaded
        check_info(name, backend.info)
    except Exception as error:
        cause = "" if isinstance(error, BackendLoadError) else type(error).__name__
        problem = (
            f"backend {name!r} ({points[name].value}) could not be loaded: "
            f"{cause}{': ' if cause else ''}{error}"
        )
        _broken[name] = problem
        raise BackendLoadError(problem) from error
    with _lock:
        return _loaded.setdefault(name, backend)


def check_info(name: str, info: Any) -> None:
    """Refuse a backend that is called otherwise or keeps another contract.

    Raises
    ------
    BackendLoadError
        If the name or the version of the contract differs.
    """
    if info.api_version != API_VERSION:
        raise BackendLoadError(
            f"it was written for version {info.api_version} of the backend contract, "
            f"this mlmethods has version {API_VERSION}; install matching versions"
        )
    if info.name != name:
        raise BackendLoadError(
            f"it calls itself {info.name!r}; info.name must be the entry point's name"
        )


def loadable_backends() -> list[Backend]:
    """Return the backends that load, best priority first; warn of each that does not.

    Each broken backend is reported once and does not hide the others.
    """
    found = []
    for name in installed_names():
        try:
            found.append(load_backend(name))
        except BackendLoadError as error:
            warn_once(str(error))
    return sorted(found, key=lambda b: (-b.info.default_priority, b.info.name))


@functools.cache
def warn_once(message: str) -> None:
    """Give a BackendWarning, unless this very one was given since the last refresh."""
    warnings.warn(message, BackendWarning, stacklevel=4)


def list_backends() -> list[BackendInfo]:
    """Return what the installed backends say of themselves, best priority first.

    Examples
    --------
    >>> import mlmethods
    >>> [info.name for info in mlmethods.list_backends()][:2]
    ['jax', 'numpy']
    """
    return [backend.info for backend in loadable_backends()]
