"""Recognition of synthetic motions that get slower and more broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlmethods.common.recipe import RecipeContext, recipe

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TRAIN, _TEST = {False: 12, True: 60}, {False: 8, True: 40}


@recipe(
    "motion-impairment",
    title="SYNTHETIC motions with growing impairment",
    claim="recognition that was learned from mild impairment gets worse as it grows",
    source="Parnandi et al.: PrimSeq, PLOS Digital Health (2022), for the question",
    criterion=(
        "synthetic motions only: a forest trained without impairment has a higher error "
        "rate at full impairment than at none; the trend is reported. Nothing follows "
        "for patients"
    ),
)
def impairment(context: RecipeContext) -> None:
    """Generate motions with an impairment from 0 to 1, and recognize them.

    Impaired motions are slower and fall into more submovements. All data are synthetic.
    """
    import pandas as pd

    from mlmethods.motion import WindowForest
    from mlmethods.motion.datasets import make_synthetic_primitives
    from mlmethods.motion.metrics import action_error_rate, edit_score

    context.dtype = "float64"
    train = make_synthetic_primitives(_TRAIN[context.full], context.seed)
    model = WindowForest(smoothing=(51, 3.0), random_state=context.seed).fit(train)
    rows = []
    for number, level in enumerate(_LEVELS):
        test = make_synthetic_primitives(
            _TEST[context.full], context.seed + 1, impairment=level
        )
        truths = [recording.labels for recording in test]
        found = model.predict(test)
        rows.append(
            {
                "impairment": level,
                "edit": edit_score(truths, found),
                "aer": action_error_rate(truths, found),
            }
        )
        context.progress(number + 1, len(_LEVELS))
    table = pd.DataFrame(rows)
    context.table(table, "impairment")
    first, last = float(table["aer"].iloc[0]), float(table["aer"].iloc[-1])
    context.check(
        claim="SYNTHETIC: error rate from no to full impairment",
        published="rises",
        ours=f"{first:.3f} to {last:.3f}",
        tolerance_text="higher at full impairment",
        passed=last > first,
    )
    rising = bool(table["aer"].is_monotonic_increasing)
    context.note(f"The trend is {'monotone' if rising else 'not monotone'}.")
    context.figure(_draw(table), "impairment")


def _draw(table: pd.DataFrame) -> Figure:
    from mlmethods.common.plotting import new_figure, style

    with style():
        figure, ax = new_figure(size=(5.6, 3.6))
        ax.plot(table["impairment"], table["aer"], "o-")
        ax.set(xlabel="impairment (synthetic)", ylabel="action error rate")
    return figure
