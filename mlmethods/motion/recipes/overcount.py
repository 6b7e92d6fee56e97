"""Framewise models count too much; sequence models do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray
from mlmethods.motion.recipes._shared import STROKEREHAB, Parts, watch_parts
from mlmethods.motion.recording import Recording

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Seconds and shape of the Kaiser windows to choose from, on the validation subject.
_SMOOTHINGS = tuple((width, beta) for width in (11, 25, 51, 75) for beta in (3.0, 14.0))
_SHOWN = ("forest", "MS-TCN, smoothed", "Seq2Seq")
_HIDDEN = 64
_SEQ2SEQ_EPOCHS = {False: 10, True: 60}
_MSTCN_EPOCHS = {False: 12, True: 60}
_FOLDS = {
    False: (("9", "10"),),
    True: (("9", "10"), ("1", "2"), ("3", "4"), ("5", "6"), ("7", "8")),
}
_EDIT = {False: 70.0, True: 80.0}
_ERROR = {False: 0.35, True: 0.25}


@recipe(
    "motion-overcount",
    title="Framewise models over-count, sequence models do not",
    claim=(
        "labels of single frames flicker, so that counting their runs counts too many "
        "motions; a model that writes the sequence does not"
    ),
    source=STROKEREHAB,
    criterion=(
        "real watch signals in composed sessions, subjects 9 and 10 unseen (in full, "
        "five pairs): the error rate of the raw forest is above 1; Seq2Seq has an edit "
        "score of at least 70 and an error rate of at most .35 (in full 80 and .25); its "
        "error rate is below that of the smoothed forest, in full with an interval of "
        "the difference over subjects that excludes 0. Smoothings are chosen on a "
        "training subject"
    ),
)
def overcount(context: RecipeContext) -> None:
    """Train a forest, MS-TCN and Seq2Seq on the same sessions, and count.

    Each framewise model is judged raw and with the Kaiser window that is best on a
    validation subject. In full: five folds and longer training.
    """
    import pandas as pd

    context.dtype = "float32"
    folds = _FOLDS[context.full]
    rows: list[dict[str, Any]] = []
    shown: dict[str, Any] = {}
    for number, test in enumerate(folds):
        validation = ("8",) if "8" not in test else ("6",)
        parts = watch_parts(context.seed, test=test, validation=validation)
        for name, sequences, found in _models(context, parts):
            rows += _rows(name, parts, sequences)
            if number == 0 and name in _SHOWN:
                shown[name] = found
        context.progress(number + 1, len(folds))
    table = pd.DataFrame(rows)
    means = _summary(table)
    context.table(means.reset_index(), "models")
    _judge(context, table, means)
    parts = watch_parts(context.seed, test=folds[0])
    context.figure(_draw(parts.test[0], shown), "timeline")


def _models(context: RecipeContext, parts: Parts) -> Any:
    """Yield name, sequences of the test part and the first recording's segments."""
    from mlmethods.motion import MSTCN, Seq2SeqRecognizer, WindowForest

    framewise = {
        "forest": WindowForest(random_state=context.seed),
        "MS-TCN": MSTCN(
            stages=3,
            layers=8,
            maps=32,
            epochs=_MSTCN_EPOCHS[context.full],
            backend=context.backend,
            random_state=context.seed,
        ),
    }
    for name, model in framewise.items():
        model.fit(parts.train)
        raw = model.predict_proba(parts.test)
        choice = _best_smoothing(model, parts)
        for label, smoothing in ((name, None), (f"{name}, smoothed", choice)):
            found = [
                _segments(p, r, smoothing) for p, r in zip(raw, parts.test, strict=True)
            ]
            yield label, [spans.sequence() for spans in found], found[0]
    model = Seq2SeqRecognizer(
        hidden=_HIDDEN,
        epochs=_SEQ2SEQ_EPOCHS[context.full],
        lr=2e-3,
        batch_size=32,
        train_hop=1.0 if not context.full else 0.5,
        backend=context.backend,
        random_state=context.seed,
    )
    model.fit(parts.train)
    yield (
        "Seq2Seq",
        model.predict_sequence(parts.test),
        model.predict([parts.test[0]])[0],
    )


def _segments(proba: NDArray, recording: Recording, smoothing: Any) -> Any:
    from mlmethods.motion import Segments
    from mlmethods.motion.postprocess import smooth_kaiser

    if smoothing is not None:
        proba = smooth_kaiser(proba, *smoothing)
    assert recording.labels is not None
    classes = recording.labels.classes
    return Segments.from_frames(proba.argmax(axis=1), recording.fs, classes)


def _best_smoothing(model: Any, parts: Parts) -> tuple[int, float]:
    """Return the Kaiser window with the lowest error rate on the validation part."""
    from mlmethods.motion.metrics import action_error_rate

    raw = model.predict_proba(parts.validation)
    truths = [recording.labels for recording in parts.validation]

    def error(smoothing: tuple[int, float]) -> float:
        found = [
            _segments(p, r, smoothing)
            for p, r in zip(raw, parts.validation, strict=True)
        ]
        return float(action_error_rate(truths, found))

    return min(_SMOOTHINGS, key=error)


def _rows(name: str, parts: Parts, sequences: list[list[int]]) -> list[dict[str, Any]]:
    from mlmethods.motion.metrics import edit_score, levenshtein

    rows = []
    for recording, found in zip(parts.test, sequences, strict=True):
        assert recording.labels is not None
        truth = recording.labels.sequence()
        rows.append(
            {
                "model": name,
                "subject": recording.subject,
                "edit": edit_score(truth, found),
                "distance": levenshtein(truth, found),
                "true": len(truth),
                "found": len(found),
            }
        )
    return rows


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return edit score, error rate and found over true actions of each model."""
    groups = table.groupby("model", sort=False)
    sums = groups[["distance", "true", "found"]].sum()
    return (
        groups[["edit"]]
        .mean()
        .assign(
            error_rate=sums["distance"] / sums["true"],
            counted=sums["found"] / sums["true"],
        )
    )


def _judge(context: RecipeContext, table: pd.DataFrame, means: pd.DataFrame) -> None:
    full = context.full
    edits = {str(name): float(x) for name, x in means["edit"].items()}
    errors = {str(name): float(x) for name, x in means["error_rate"].items()}
    for name, edit in edits.items():
        key = name.lower().replace(", ", "_").replace("-", "")
        context.value(**{f"{key}_edit": edit, f"{key}_aer": errors[name]})
    context.check(
        claim="action error rate of the forest, raw",
        published="over-counts",
        ours=errors["forest"],
        tolerance_text="above 1",
        passed=errors["forest"] > 1,
    )
    context.check(
        claim="edit score of Seq2Seq",
        published="",
        ours=edits["Seq2Seq"],
        tolerance_text=f"at least {_EDIT[full]:g}",
        passed=edits["Seq2Seq"] >= _EDIT[full],
    )
    context.check(
        claim="action error rate of Seq2Seq",
        published="",
        ours=errors["Seq2Seq"],
        tolerance_text=f"at most {_ERROR[full]:g}",
        passed=errors["Seq2Seq"] <= _ERROR[full],
    )
    low, high = _difference(table)
    gap = errors["Seq2Seq"] - errors["forest, smoothed"]
    context.check(
        claim="error rate of Seq2Seq less that of the smoothed forest",
        published="below 0",
        ours=f"{gap:.3f} ({low:.3f} to {high:.3f})",
        tolerance_text="interval below 0" if full else "below 0",
        passed=gap < 0 and (high < 0 or not full),
    )
    framewise = [name for name in errors if name != "Seq2Seq"]
    best = min(framewise, key=errors.__getitem__)
    context.note(
        f"The best framewise model is {best}: edit score {edits[best]:.1f}, error rate "
        f"{errors[best]:.3f}. Sessions are real signals in composed order, a stand-in "
        "for patients."
    )


def _difference(table: pd.DataFrame) -> tuple[float, float]:
    """Return a 95 % interval of the difference of error rates, over subjects."""
    wide = table.pivot_table(
        index="subject", columns="model", values=["distance", "true"], aggfunc="sum"
    )
    truth = wide["true"]["Seq2Seq"].to_numpy(np.float64)
    gap = (wide["distance"]["Seq2Seq"] - wide["distance"]["forest, smoothed"]).to_numpy(
        np.float64
    )
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(gap), (2000, len(gap)))
    drawn = gap[chosen].sum(axis=1) / truth[chosen].sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _draw(recording: Recording, found: dict[str, Any]) -> Figure:
    from mlmethods.common.plotting import new_figure, style
    from mlmethods.motion import plot_timeline

    with style():
        figure, axes = new_figure(len(found), 1, size=(9.6, 3.0 * len(found)))
        for ax, (name, spans) in zip(axes, found.items(), strict=True):
            plot_timeline(recording.labels, spans, ax=ax)
            ax.set_title(name)
    return figure
