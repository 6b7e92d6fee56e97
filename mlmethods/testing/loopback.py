"""A backend that passes every call on to another one and records it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from mlmethods.backend import get_backend
from mlmethods.interfaces import OPS, Array, Backend, Key, PyTree, Seed

__all__ = ["Call", "LoopbackBackend"]


class Call(NamedTuple):
    """One recorded call.

    Attributes
    ----------
    name : str
        ``"kernels.agop"``, ``"engine:rfm"``, ``"asarray"``, ``"to_numpy"`` and so on.
    arguments : tuple
        Positional arguments, as given.
    keywords : dict
        Keyword arguments, as given.
    """

    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class LoopbackBackend:
    """Record what is asked of a backend, and let another one do the work.

    It proves that a piece of code computes through the backend contract: with
    ``backend=LoopbackBackend()`` the result is that of the inner backend, and
    :attr:`calls` lists every operation, transfer and key that was asked for.

    Parameters
    ----------
    inner : str or Backend, default="numpy"
        The backend that does the work.
    name : str, default="loopback"
        Its own name.

    Attributes
    ----------
    calls : list of Call
        In the order in which they were made; ``calls.clear()`` starts anew.

    Examples
    --------
    >>> import numpy as np
    >>> backend = LoopbackBackend()
    >>> values, vectors = backend.linalg.eigh(np.diag([1.0, 2.0]))
    >>> backend.names()
    ['linalg.eigh']
    """

    def __init__(
        self, inner: str | Backend = "numpy", *, name: str = "loopback"
    ) -> None:
        self._inner = get_backend(inner)
        self.info = dataclasses.replace(
            self._inner.info,
            name=name,
            description=f"records calls and passes them on to {self._inner.info.name}",
            default_priority=-1000,
        )
        self.calls: list[Call] = []

    def names(self) -> list[str]:
        """Return the names of the recorded calls, in order."""
        return [call.name for call in self.calls]

    def is_available(self) -> Literal[True] | str:
        """Return what the inner backend answers."""
        return self._inner.is_available()

    def can_run(self, name: str, /, **facts: Any) -> Literal[True] | str:
        """Return what the inner backend answers."""
        return self._inner.can_run(name, **facts)

    def asarray(self, x: Any, *, dtype: str | None = None, device: Any = None) -> Array:
        """Bring `x` from the host to the device of the inner backend."""
        self._record("asarray", (x,), {"dtype": dtype, "device": device})
        return self._inner.asarray(x, dtype=dtype, device=device)

    def to_numpy(self, x: PyTree) -> Any:
        """Bring a pytree of arrays back as NumPy arrays."""
        self._record("to_numpy", (x,), {})
        return self._inner.to_numpy(x)

    def key(self, seed: Seed) -> Key:
        """Return the random key of a seed."""
        self._record("key", (seed,), {})
        return self._inner.key(seed)

    def split(self, key: Key, n: int) -> Sequence[Key]:
        """Return `n` independent keys."""
        self._record("split", (key, n), {})
        return self._inner.split(key, n)

    def synchronize(self, tree: PyTree) -> None:
        """Return when every array of `tree` has been computed."""
        self._record("synchronize", (tree,), {})
        self._inner.synchronize(tree)

    @property
    def kernels(self) -> Any:
        """The kernel operations."""
        return self._family("kernels")

    @property
    def linalg(self) -> Any:
        """The linear algebra."""
        return self._family("linalg")

    @property
    def privacy(self) -> Any:
        """The privacy operations."""
        return self._family("privacy")

    @property
    def nn(self) -> Any:
        """The operations of networks."""
        return self._family("nn")

    def engine(self, method: str) -> Any:
        """Return the engine of the inner backend."""
        self._record(f"engine:{method}", (), {})
        return self._inner.engine(method)

    def _record(
        self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        self.calls.append(Call(name, arguments, keywords))

    def _family(self, family: str) -> _RecordedFamily:
        return _RecordedFamily(self, family, getattr(self._inner, family))


class _RecordedFamily:
    """The operations of one family, each recorded before it runs."""

    def __init__(self, backend: LoopbackBackend, family: str, inner: Any) -> None:
        self._backend = backend
        self._family = family
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._inner, name)
        # wraps() keeps the signature visible to inspect.
        return functools.wraps(operation)(
            functools.partial(self._run, f"{self._family}.{name}", operation)
        )

    def __dir__(self) -> list[str]:
        return [op.split(".")[1] for op in OPS if op.startswith(f"{self._family}.")]

    def _run(
        self, name: str, operation: Any, /, *arguments: Any, **keywords: Any
    ) -> Any:
        self._backend._record(name, arguments, keywords)
        return operation(*arguments, **keywords)
