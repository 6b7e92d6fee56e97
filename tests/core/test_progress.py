from __future__ import annotations

import io

import pytest
from rich.console import Console

from mlmethods.common.progress import RichProgress, progress_callback
from mlmethods.interfaces import Event

RUN = [
    Event(kind="start", task="rfm", total=2),
    Event(kind="step", task="rfm", step=1, total=2, metrics={"loss": 0.123456, "n": 7}),
    Event(kind="warning", task="rfm", message="[jitter] was added"),
    Event(kind="end", task="rfm", step=2, total=2, message="done"),
]


@pytest.fixture
def console() -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=100, color_system=None
    )


def test_a_run_is_drawn_with_its_metrics_and_warnings(console: Console) -> None:
    progress = RichProgress(console=console)
    for event in RUN:
        progress(event)
    drawn = console.file.getvalue()
    for part in ("rfm", "1/2", "2/2", "loss 0.1235  n 7", "[jitter] was added", "done"):
        assert part in drawn
    # The cursor that a live display hides is shown again.
    assert drawn.rstrip("\n").endswith("\x1b[?25h")


def test_two_tasks_share_a_display_and_the_callback_serves_two_runs(
    console: Console,
) -> None:
    progress = RichProgress(console=console)
    for _ in range(2):
        for task in ("outer", "inner"):
            progress(Event(kind="start", task=task, total=1))
        for task in ("inner", "outer"):
            progress(Event(kind="end", task=task, step=1, total=1))
    assert console.file.getvalue().count("\x1b[?25l") == 2


def test_leaving_the_block_early_gives_the_terminal_back(console: Console) -> None:
    def interrupted() -> None:
        with RichProgress(console=console) as progress:
            progress(RUN[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert console.file.getvalue().rstrip("\n").endswith("\x1b[?25h")


@pytest.mark.parametrize("force", [False, True])
def test_a_file_gets_bars_only_when_forced(force: bool) -> None:
    console = Console(file=io.StringIO(), width=100)
    with RichProgress(console=console, force=force) as progress:
        for event in RUN:
            progress(event)
    assert ("2/2" in console.file.getvalue()) == force


@pytest.mark.parametrize("verbose", [0, False, 1, 2, True])
def test_the_callback_of_verbose_writes_nothing_away_from_a_terminal(
    verbose: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_callback(verbose) as callback:
        for event in RUN:
            callback(event)
    assert isinstance(callback, RichProgress) == bool(verbose)
    assert capsys.readouterr() == ("", "")
