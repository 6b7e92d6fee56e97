"""Guards for tests: how often a block compiles, and how often it reads the device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.monitoring
import numpy as np

__all__ = ["CompileCount", "TransferCount", "compile_guard", "transfer_guard"]

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
# What brings a value to the host; numpy.asarray on CPU reads the buffer unseen.
_READS = (
    "__array__",
    "__bool__",
    "__complex__",
    "__float__",
    "__index__",
    "__int__",
    "__iter__",
    "item",
    "tolist",
)


class CompileCount:
    """The programs that a block compiled.

    Attributes
    ----------
    names : list of str
        Their names, in order.
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.names)


class TransferCount:
    """The times that a block read a device array on the host.

    Attributes
    ----------
    reads : list of str
        The method that was used, in order: ``"__float__"``, ``"item"`` and so on.
    """

    def __init__(self) -> None:
        self.reads: list[str] = []

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.reads)


@contextlib.contextmanager
def compile_guard(max_compiles: int | None = None) -> Iterator[CompileCount]:
    """Count the programs that a block compiles, and fail if they are too many.

    Programs found in the persistent compilation cache count as well: what is bounded
    is how many different programs the block asks for, in any thread.

    Parameters
    ----------
    max_compiles : int or None
        The bound; None only counts.

    Yields
    ------
    CompileCount
        Grows while the block runs.

    Raises
    ------
    AssertionError
        At the end of the block, naming the programs; not if the block itself raised.

    Examples
    --------
    >>> import jax, numpy as np
    >>> double = jax.jit(lambda x: x + x)
    >>> with compile_guard() as first:
    ...     _ = double(np.ones(3))
    >>> with compile_guard(max_compiles=0) as second:
    ...     _ = double(np.zeros(3))
    >>> first.count, second.count
    (1, 0)
    """
    counted = CompileCount()

    def listener(event: str, duration_secs: float, **details: Any) -> None:
        if event == _COMPILE_EVENT:
            counted.names.append(str(details.get("fun_name", "unnamed")))

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        yield counted
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    if max_compiles is not None and counted.count > max_compiles:
        raise AssertionError(
            f"the block compiled {counted.count} programs, at most {max_compiles} "
            f"were allowed: {', '.join(counted.names)}"
        )


@contextlib.contextmanager
def transfer_guard(max_reads: int | None = None) -> Iterator[TransferCount]:
    """Forbid implicit uploads in a block, and count its reads of device arrays.

    A Python or NumPy value that enters a computation without ``jax.device_put``
    raises at once. Reads are calls of ``float``, ``int``, ``bool``, ``item``,
    ``tolist``, iteration and ``jax.device_get`` (one for each array).

    Parameters
    ----------
    max_reads : int or None
        Bound on the reads; None only counts.

    Yields
    ------
    TransferCount
        Grows while the block runs.

    Raises
    ------
    AssertionError
        At the end of the block if there were more reads; not if the block itself
        raised.

    Notes
    -----
    On CPU ``numpy.asarray`` shares the buffer of an array without calling anything,
    so that it is not counted there.

    Examples
    --------
    >>> import jax, numpy as np
    >>> x = jax.device_put(np.ones(()))
    >>> with transfer_guard() as counted:
    ...     _ = float(x), jax.device_get(x)
    >>> counted.reads
    ['__float__', '__array__']
    """
    counted = TransferCount()
    depth = 0
    array = type(jax.device_put(np.zeros(())))

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(array, name)

        def read(self: Any, *arguments: Any, **keywords: Any) -> Any:
            # float() reads through __array__ in turn: count the outermost call.
            nonlocal depth
            if depth == 0:
                counted.reads.append(name)
            depth += 1
            try:
                return original(self, *arguments, **keywords)
            finally:
                depth -= 1

        return read

    with contextlib.ExitStack() as stack:
        for name in _READS:
            stack.enter_context(mock.patch.object(array, name, counting(name)))
        stack.enter_context(jax.transfer_guard_host_to_device("disallow"))
        yield counted
    if max_reads is not None and counted.count > max_reads:
        raise AssertionError(
            f"the block read device arrays {counted.count} times, at most {max_reads} "
            f"were allowed: {', '.join(counted.reads)}"
        )
