"""Which backend one call uses."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
from collections.abc import Iterator
from typing import Any

from mlmethods.backend._registry import load_backend, loadable_backends
from mlmethods.errors import (
    BackendLoadError,
    BackendWarning,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.interfaces import Backend

__all__ = ["get_backend", "use_backend"]

_logger = logging.getLogger("mlmethods.backend")
_in_context: contextvars.ContextVar[Backend | str | None] = contextvars.ContextVar(
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
    requested = backend if backend not in (None, "auto") else None
    if requested is None:
        requested = _in_context.get() or os.environ.get("MLMETHODS_BACKEND") or None
        if requested == "auto":
            requested = None
    if requested is not None:
        chosen = _resolve(requested)
        _require(chosen, requirements, facts)
        return chosen
    return _automatic(requirements, facts)


def _resolve(backend: str | Backend) -> Backend:
    if isinstance(backend, str):
        chosen = load_backend(backend)
        available = chosen.is_available()
        if available is not True:
            raise BackendLoadError(f"backend {backend!r} is not usable: {available}")
        return chosen
    if not hasattr(backend, "info") or not hasattr(backend, "can_run"):
        raise InvalidInputError(
            "backend must be 'auto', the name of an installed backend or a backend "
            f"object, got {backend!r}"
        )
    return backend


def _refusal(
    backend: Backend, requirements: tuple[str, ...], facts: dict[str, Any]
) -> str | None:
    for name in requirements:
        answer = backend.can_run(name, **facts)
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
        and other.is_available() is True
        and _refusal(other, requirements, facts) is None
    ]
    raise OperationNotSupportedError(
        f"backend {backend.info.name!r} cannot run {reason}; "
        f"backends that can: {', '.join(able) or 'none'}"
    )


def _automatic(requirements: tuple[str, ...], facts: dict[str, Any]) -> Backend:
    import warnings

    reasons = []
    for candidate in loadable_backends():
        available = candidate.is_available()
        if available is not True:
            # Installed but broken deserves to be seen; the next one does the work.
            warnings.warn(
                f"backend {candidate.info.name!r} is skipped: {available}",
                BackendWarning,
                stacklevel=4,
            )
            reasons.append(f"{candidate.info.name}: {available}")
            continue
        refusal = _refusal(candidate, requirements, facts)
        if refusal is None:
            _logger.info("backend %r was chosen automatically", candidate.info.name)
            return candidate
        reasons.append(f"{candidate.info.name}: {refusal}")
    raise OperationNotSupportedError(
        f"no installed backend can run {', '.join(requirements) or 'anything'} "
        f"({'; '.join(reasons) or 'none is installed'})"
    )
