"""Progress bars from events, drawn by rich where a person is looking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlmethods.interfaces import Event

if TYPE_CHECKING:
    from rich import progress as bars
    from rich.console import Console

__all__ = ["Progress", "RichProgress", "Silent", "progress_callback"]


class RichProgress:
    """A callback that draws one bar a task on the standard error stream.

    Parameters
    ----------
    console : rich.console.Console or None
        Where to draw; None is a console on the standard error stream.
    force : bool
        Draw even where the console is neither a terminal nor a notebook.

    Notes
    -----
    It is also a context manager. Leaving it removes unfinished bars, so that an
    exception or an interrupt leaves the terminal in order::

        with RichProgress() as progress:
            model.set_params(callbacks=(progress,)).fit(X, y)
    """

    def __init__(self, *, console: Console | None = None, force: bool = False) -> None:
        self._console = console
        self._force = force
        self._display: bars.Progress | None = None
        self._tasks: dict[str, Any] = {}

    def __call__(self, event: Event, /) -> None:
        """Draw one event."""
        console = self._open_console()
        if not (self._force or console.is_terminal or console.is_jupyter):
            return
        if event.kind == "warning":
            console.print(
                f"{event.task}: {event.message}", style="yellow", markup=False
            )
            return
        display = self._open_display(console)
        if event.task not in self._tasks:
            self._tasks[event.task] = display.add_task(
                event.task, total=event.total, metrics=""
            )
        display.update(
            self._tasks[event.task],
            completed=event.step,
            total=event.total,
            metrics=_describe(event),
        )
        display.refresh()
        if event.kind == "end":
            display.stop_task(self._tasks.pop(event.task))
            if not self._tasks:
                self.close()

    def close(self) -> None:
        """Leave what was drawn as it is and give the terminal back."""
        if self._display is not None:
            self._display.stop()
            self._display = None
        self._tasks.clear()

    def __enter__(self) -> RichProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_console(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True)
        return self._console

    def _open_display(self, console: Console) -> bars.Progress:
        if self._display is None:
            from rich import progress

            self._display = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(bar_width=24),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("{task.fields[metrics]}", markup=False),
                console=console,
                # Drawn at events only: no thread competes with the computation.
                auto_refresh=False,
                # Results that are printed meanwhile stay on standard output.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._display.start()
        return self._display


class Silent:
    """A callback that draws nothing."""

    def __call__(self, event: Event, /) -> None:
        """Ignore one event."""

    def close(self) -> None:
        """Have nothing to close."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""


Progress = RichProgress | Silent
"""What :func:`progress_callback` returns."""


def _describe(event: Event) -> str:
    parts = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in event.metrics.items()
    ]
    return "  ".join([*parts, event.message] if event.message else parts)


def progress_callback(verbose: int | bool) -> Progress:
    """Return the callback of an estimator's `verbose`, also a context manager.

    Parameters
    ----------
    verbose : int or bool
        0 draws nothing; anything above draws progress bars.

    Examples
    --------
    >>> from mlmethods.interfaces import Event
    >>> with progress_callback(0) as callback:
    ...     callback(Event(kind="start", task="fit", total=5))
    """
    return RichProgress() if verbose else Silent()
