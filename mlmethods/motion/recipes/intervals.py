"""Whether intervals of counts cover what they promise, on people left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LEVEL = 0.9
_COVERED = (0.84, 0.96)
_SEEDS = {False: 1, True: 5}
_SESSIONS = 4


@recipe(
    "motion-intervals",
    title="Intervals of counts on people left out",
    claim="conformal intervals of counts cover the true count as often as they promise",
    source="Parnandi et al.: PrimSeq, PLOS Digital Health (2022), for the counts",
    criterion=(
        "90 % intervals from eight calibration subjects, each subject left out once: in "
        "full the share of covered counts is between 84 and 96 %; quick runs report it "
        "and require at least 84 %"
    ),
)
def intervals(context: RecipeContext) -> None:
    """Train a forest, calibrate on eight subjects, and count the sessions of the ninth.

    One subject trains the forest; of the other nine each is left out once. Real watch
    signals in composed sessions; in full, five compositions.
    """
    import pandas as pd

    context.dtype = "float64"
    rounds = _SEEDS[context.full]
    table = pd.concat(
        [_round(context, seed) for seed in range(rounds)], ignore_index=True
    )
    context.table(table, "intervals")
    covered = float(table["covered"].mean())
    low, high = _COVERED
    context.check(
        claim=f"share of counts within their {_LEVEL:.0%} interval",
        published=f"{_LEVEL:.2f}",
        ours=covered,
        tolerance_text=f"{low:.2f} to {high:.2f}"
        if context.full
        else f"at least {low:.2f}",
        passed=covered >= low and (covered <= high or not context.full),
    )
    context.value(width=float((table["high"] - table["low"]).mean()))
    context.figure(_draw(table), "intervals")


def _round(context: RecipeContext, number: int) -> pd.DataFrame:
    import pandas as pd

    from mlmethods.motion import PrimSeq, WindowForest
    from mlmethods.motion.datasets import make_watch_sessions

    data = make_watch_sessions(context.seed + number, sessions=_SESSIONS)
    teacher = str(number % 10 + 1)
    rest, train = data.split_by_subject([teacher])
    model = WindowForest(smoothing=(51, 3.0), random_state=context.seed).fit(train)
    subjects = list(dict.fromkeys(rest.subjects))
    parts = []
    for done, subject in enumerate(subjects):
        calibration, left_out = rest.split_by_subject([subject])
        counter = PrimSeq(model, level=_LEVEL).calibrate(list(calibration))
        counts = counter.predict(list(left_out)).counts
        truth = np.concatenate([_true_counts(recording) for recording in left_out])
        parts.append(counts.assign(true=truth))
        context.progress(done + 1, len(subjects))
    table = pd.concat(parts, ignore_index=True)
    inside = (table["low"] <= table["true"]) & (table["true"] <= table["high"])
    return table.assign(covered=inside)


def _true_counts(recording: object) -> np.ndarray:
    labels = recording.labels  # type: ignore[attr-defined]
    return np.bincount(labels.sequence(), minlength=len(labels.classes))


def _draw(table: pd.DataFrame) -> Figure:
    from mlmethods.common.plotting import MUTED, new_figure, style

    with style():
        figure, ax = new_figure(size=(6.8, 4.0))
        ordered = table.sort_values(["true", "count"]).reset_index(drop=True)
        missed = ordered[~ordered["covered"]]
        ax.vlines(ordered.index, ordered["low"], ordered["high"], color=MUTED, lw=0.6)
        ax.plot(ordered.index, ordered["true"], ".", ms=3, label="true")
        ax.plot(missed.index, missed["true"], "o", ms=4, label="not covered")
        ax.set(xlabel="counts, in order", ylabel="motions in a session")
        ax.legend()
    return figure
