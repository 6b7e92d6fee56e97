"""Events that long computations emit, and the callbacks that receive them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Callback", "Event"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One report of a running computation.

    Attributes
    ----------
    kind : str
        ``"start"``, ``"step"``, ``"end"`` or ``"warning"``.
    task : str
        What is running, such as ``"rfm"``.
    step : int
        Steps done so far.
    total : int or None
        Steps planned; None where unknown.
    metrics : mapping of str to number
        What the step measured.
    elapsed : float
        Seconds since the start.
    message : str
        One sentence, for warnings and the end.
    """

    kind: str
    task: str
    step: int = 0
    total: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    elapsed: float = 0.0
    message: str = ""


class Callback(Protocol):
    """A callable that receives events; an exception that it raises stops the run."""

    def __call__(self, event: Event, /) -> None:
        """Receive one event."""
        ...
