"""Which backend one call uses."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
from collections.abc import Iterator
from typing import Any

from mlmethods.backend._registry import (
    check_info,
    load_backend,
    loadable_backends,
    warn_once,
)
from mlmethods.errors import (
    BackendLoadError,
    BackendNotFoundError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.interfaces import Backend

__all__ = ["get_backend", "use_backend"]

_logger = logging.getLogger("mlmethods.backend")
_VARIABLE = "MLMETHODS_BACKEND"
_in_context: contextvars.ContextVar[Backend | None] = contextvars.ContextVar(
    "mlmethods_backend", default=None
)


@contextlib.contextmanager
def use_backend(backend: str | Backend) -> Iterator[Backend]:
    """Use `backend` for every call inside the ``with`` block.

    The choice follows the context: other threads and tasks keep theirs. An explicit
    ``backend=`` argument wins over it.

    Parameters
    ----------
    backend : str or Backend
        A name, or a backend object.

    Examples
    --------
    >>> import mlmethods
    >>> with mlmethods.use_backend("numpy") as backend:
    ...     backend.info.name
    'numpy'
    """
    chosen = _resolve(backend)
    token = _in_context.set(chosen)
    try:
        yield chosen
    finally:
        _in_context.reset(token)


def get_backend(
    backend: str | Backend | None = "auto", *requirements: str, **facts: Any
) -> Backend:
    """Return the backend that a call should use.

    Parameters
    ----------
    backend : str, Backend or None, default="auto"
        A name or an object is an explicit request. ``"auto"`` and None mean the
        context, then the environment variable ``MLMETHODS_BACKEND``, then the
        available backend of the highest priority that meets the requirements.
    *requirements : str
        Operations (``"kernels.agop"``) and engines (``"engine:rfm"``) that the call
        needs.
    **facts
        What ``can_run`` may look at: ``n``, ``d``, ``dtype``, ``kernel`` and so on.

    Raises
    ------
    BackendNotFoundError, BackendLoadError
        If a requested backend is missing or broken.
    OperationNotSupportedError
        If a requested backend cannot run a requirement. An explicit request never
        falls back to another backend.

    Examples
    --------
    >>> import mlmethods
    >>> mlmethods.get_backend("numpy").info.name
    'numpy'
    """
    if backend is not None and not _is_auto(backend):
        chosen: Backend | None = _resolve(backend)
    else:
        chosen = _in_context.get()
        if chosen is None:
            chosen = _from_environment()
    if chosen is None:
        return _automatic(requirements, facts)
    _require(chosen, requirements, facts)
    return chosen


def _is_auto(backend: Any) -> bool:
    return isinstance(backend, str) and backend == "auto"


def _from_environment() -> Backend | None:
    name = os.environ.get(_VARIABLE, "")
    if name in ("", "auto"):
        return None
    try:
        return _resolve(name)
    except (BackendNotFoundError, BackendLoadError) as error:
        raise type(error)(f"{_VARIABLE}={name}: {error}") from error


def _resolve(backend: str | Backend) -> Backend:
    if isinstance(backend, str):
        chosen = load_backend(backend)
    elif hasattr(backend, "info") and hasattr(backend, "can_run"):
        chosen = backend
        check_info(chosen.info.name, chosen.info)
    else:
        raise InvalidInputError(
            "backend must be 'auto', the name of an installed backend or a backend "
            f"object, got {backend!r}"
        )
    available = chosen.is_available()
    if available is not True:
        raise BackendLoadError(
            f"backend {chosen.info.name!r} is not usable: {available}"
        )
    return chosen


def _refusal(
    backend: Backend, requirements: tuple[str, ...], facts: dict[str, Any]
) -> str | None:
    for name in requirements:
        try:
            answer = backend.can_run(name, **facts)
        except Exception as error:  # a plug-in's own failure must not hide the others
            answer = f"can_run raised {type(error).__name__}: {error}"
        if answer is not True:
            return f"{name}: {answer}"
    return None


def _require(
    backend: Backend, requirements: tuple[str, ...], facts: dict[str, Any]
) -> None:
    reason = _refusal(backend, requirements, facts)
    if reason is None:
        return
    able = [
        other.info.name
        for other in loadable_backends()
        if other.info.name != backend.info.name
        and _problem(other) is None
        and _refusal(other, requirements, facts) is None
    ]
    raise OperationNotSupportedError(
        f"backend {backend.info.name!r} cannot run {reason}; "
        f"backends that can: {', '.join(able) or 'none'}"
    )


def _problem(backend: Backend) -> str | None:
    """Return why a backend cannot be used here, or None."""
    try:
        available = backend.is_available()
    except Exception as error:
        return f"is_available() raised {type(error).__name__}: {error}"
    return None if available is True else str(available)


def _automatic(requirements: tuple[str, ...], facts: dict[str, Any]) -> Backend:
    reasons = []
    for candidate in loadable_backends():
        name = candidate.info.name
        problem = _problem(candidate)
        if problem is not None:
            # Installed but broken deserves to be seen; the next one does the work.
            warn_once(f"backend {name!r} is skipped: {problem}")
            reasons.append(f"{name}: {problem}")
            continue
        refusal = _refusal(candidate, requirements, facts)
        if refusal is None:
            _logger.info("backend %r was chosen automatically", name)
            return candidate
        reasons.append(f"{name}: {refusal}")
    raise OperationNotSupportedError(
        f"no installed backend can run {', '.join(requirements) or 'anything'} "
        f"({'; '.join(reasons) or 'none is installed'})"
    )
