"""Limits on memory, and refusals before anything is allocated."""

from __future__ import annotations

import numbers
import os
from pathlib import Path

from mlmethods.errors import InvalidInputError, MemoryLimitError

__all__ = ["available_memory", "format_bytes", "require_memory", "resolve_memory_limit"]

_AUTOMATIC_SHARE = 0.8
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Return the bytes of main memory that this process could still take.

    The smaller of what the machine has free and, in a container, what its control
    group allows. Where neither can be read, half of the physical memory.
    """
    physical = _physical_memory()
    free = _meminfo_available()
    bounds = [physical // 2 if free is None else free]
    group = _control_group_room()
    if group is not None:
        bounds.append(group)
    return max(0, min(bounds))


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        # No such call on Windows: assume what any current machine has.
        return 8 * 2**30


def _meminfo_available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _control_group_room() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        return None if limit == "max" else int(limit) - used
    except (OSError, ValueError):
        return None


def resolve_memory_limit(memory_limit: int | float | str = "auto") -> int:
    """Return a limit in bytes.

    Parameters
    ----------
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available now.

    Raises
    ------
    InvalidInputError
        If it is neither.

    Examples
    --------
    >>> resolve_memory_limit(2**30)
    1073741824
    """
    if isinstance(memory_limit, str) and memory_limit == "auto":
        return int(_AUTOMATIC_SHARE * available_memory())
    if (
        isinstance(memory_limit, bool)
        or not isinstance(memory_limit, numbers.Real)
        or not memory_limit > 0
    ):
        raise InvalidInputError(
            f"memory_limit must be a number of bytes > 0 or 'auto', "
            f"got {memory_limit!r}"
        )
    return int(min(memory_limit, 2**63))


def require_memory(needed: int, limit: int, *, what: str, alternative: str) -> None:
    """Raise unless `needed` bytes are within `limit`.

    Parameters
    ----------
    needed, limit : int
        Bytes.
    what : str
        What needs them, with its size: ``"a kernel matrix of n=50000 rows"``.
    alternative : str
        What to do instead: ``"use solver='cg'"``.

    Raises
    ------
    MemoryLimitError
        If they are not; nothing has been allocated.
    """
    if needed > limit:
        raise MemoryLimitError(
            f"{what} needs {format_bytes(needed)}, memory_limit allows "
            f"{format_bytes(limit)}; {alternative}"
        )


def format_bytes(count: float) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> format_bytes(20_000_000_000)
    '20 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
