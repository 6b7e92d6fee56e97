"""A first look: labels of samples, and the motions that they amount to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.motion.recipes._shared import STROKEREHAB, watch_parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlmethods.motion.recording import Recording

_CODE = """\
from mlmethods.motion import WindowForest
from mlmethods.motion.datasets import make_watch_sessions

sessions = make_watch_sessions(sessions=1)
train, test = sessions.split_by_subject(["9", "10"])
model = WindowForest(smoothing=(51, 3.0), random_state=0).fit(train)
print(model.score(test))  # the negative action error rate
"""


@recipe(
    "motion-sessions",
    title="Right about samples, wrong about motions",
    claim="a model can be right about three samples in four and count twice too much",
    source=STROKEREHAB,
    criterion=(
        "a forest on composed sessions of real watch signals, subjects 9 and 10 unseen: "
        "accuracy of frames at least .65, yet an action error rate above 1; smoothed "
        "probabilities bring it below .8"
    ),
    demo=True,
    about=(
        "Counting motions in wearable-sensor recordings. Labels of single samples "
        "flicker, and every flicker would be one motion more; the action error rate "
        "sees what the accuracy hides. Real signals of ten volunteers, cut and joined "
        "in a composed order."
    ),
    code=_CODE,
)
def sessions(context: RecipeContext) -> None:
    """Train a forest on eight volunteers, and label the sessions of two others."""
    from mlmethods.motion import Segments, WindowForest
    from mlmethods.motion.metrics import evaluate
    from mlmethods.motion.postprocess import smooth_kaiser

    context.dtype = "float64"
    parts = watch_parts(context.seed, sessions=2)
    model = WindowForest(random_state=context.seed).fit(parts.train)
    truths = [recording.labels for recording in parts.test]
    raw = model.predict_proba(parts.test)
    smooth = [smooth_kaiser(proba, 51, 3.0) for proba in raw]
    found: dict[str, Any] = {}
    scores: dict[str, dict[str, Any]] = {}
    for name, probas in (("raw", raw), ("smoothed", smooth)):
        spans = [
            Segments.from_frames(p.argmax(axis=1), recording.fs, model.classes_)
            for p, recording in zip(probas, parts.test, strict=True)
        ]
        scores[name] = evaluate(truths, spans, patients=parts.test.subjects).to_dict()
        found[name] = spans[0]
        context.value(
            **{f"{name}_{key}": float(scores[name][key]) for key in ("edit", "aer")}
        )
    accuracy = float(scores["raw"]["accuracy"]) / 100
    context.check(
        claim="accuracy of frames, raw",
        published="",
        ours=accuracy,
        tolerance_text="at least .65",
        passed=accuracy >= 0.65,
    )
    for name, bound, above in (("raw", 1.0, True), ("smoothed", 0.8, False)):
        rate = float(scores[name]["aer"])
        context.check(
            claim=f"action error rate, {name}",
            published="over-counts" if above else "",
            ours=rate,
            tolerance_text=f"{'above' if above else 'below'} {bound:g}",
            passed=rate > bound if above else rate < bound,
        )
    context.figure(_draw(parts.test[0], found), "timeline")


def _draw(recording: Recording, found: dict[str, Any]) -> Figure:
    from mlmethods.common.plotting import new_figure, style
    from mlmethods.motion import plot_timeline

    with style():
        figure, axes = new_figure(len(found), 1, size=(9.6, 3.0 * len(found)))
        for ax, (name, spans) in zip(axes, found.items(), strict=True):
            plot_timeline(recording.labels, spans, ax=ax)
            ax.set_title(f"forest, {name}")
    return figure
