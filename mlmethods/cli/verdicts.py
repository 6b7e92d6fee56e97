"""How experiments ended, on the terminal and as an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from mlmethods.cli.exits import Exit, exit_of
from mlmethods.cli.output import print_table, say, tell

if TYPE_CHECKING:
    from mlmethods.common.progress import Progress
    from mlmethods.common.suite import Outcome

__all__ = ["finish", "printer"]


def printer(progress: Progress, *, json: bool) -> Callable[[Outcome], None]:
    """Return what to call after each experiment: it clears the progress bars."""

    def after(outcome: Outcome) -> None:
        progress.close()
        if not json:
            _print_outcome(outcome)

    return after


def _print_outcome(outcome: Outcome) -> None:
    result = outcome.result
    if result is None:
        say(f"{outcome.recipe.name}: not run")
        return
    where = f"{result.backend} on {result.device}, {result.dtype}"
    say(
        f"{result.name} ({result.mode}): {result.title} "
        f"[{result.seconds:.1f} s, {where}, seed {result.seed}]"
    )
    print_table(
        ("claim", "published", "ours", "tolerance", "verdict"),
        [
            (
                row.claim,
                row.published,
                row.ours,
                row.tolerance,
                "✓ holds" if row.passed else "✗ fails",
            )
            for row in result.rows
        ],
    )
    for note in result.notes:
        say(f"  note: {note}")


def finish(outcomes: Sequence[Outcome]) -> None:
    """Say what did not succeed and leave with the largest exit code.

    An error that is a defect of the program is shown with its traceback.
    """
    codes = [Exit.DONE]
    for outcome in outcomes:
        name = outcome.recipe.name
        if outcome.error is not None:
            code = exit_of(outcome.error)
            if code is None:
                traceback.print_exception(outcome.error)
            tell(f"{name}: {outcome.problem}")
            codes.append(code or Exit.NOT_MET)
        elif outcome.result is not None and not outcome.result.passed:
            tell(f"{name}: the criterion is not met ({outcome.recipe.criterion})")
            codes.append(Exit.NOT_MET)
    if max(codes) is not Exit.DONE:
        raise typer.Exit(max(codes))
