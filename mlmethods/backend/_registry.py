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
        _loaded.clear()


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
    if name in _loaded:
        return _loaded[name]
    points = _entry_points()
    if name not in points:
        raise BackendNotFoundError(
            f"no backend named {name!r} is installed; installed are: "
            f"{', '.join(sorted(points)) or 'none'}. A distribution provides one "
            f"through the entry-point group {GROUP!r}"
        )
    try:
        loaded: Any = points[name].load()
        backend = loaded if hasattr(loaded, "info") else loaded()
        info = backend.info
    except Exception as error:
        raise BackendLoadError(
            f"backend {name!r} ({points[name].value}) could not be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    if info.api_version != API_VERSION:
        raise BackendLoadError(
            f"backend {name!r} was written for version {info.api_version} of the "
            f"backend contract, this mlmethods has version {API_VERSION}; install "
            f"matching versions"
        )
    with _lock:
        return _loaded.setdefault(name, backend)


def loadable_backends() -> list[Backend]:
    """Return the backends that load, best priority first; warn of each that does not.

    Each broken backend is reported once and does not hide the others.
    """
    found = []
    for name in installed_names():
        try:
            found.append(load_backend(name))
        except BackendLoadError as error:
            _warn_once(str(error))
    return sorted(found, key=lambda b: (-b.info.default_priority, b.info.name))


@functools.cache
def _warn_once(message: str) -> None:
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
