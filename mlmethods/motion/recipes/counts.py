"""Repetitions counted by a model that has only ever seen tallies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REPETITIONS = 20
_FOLDS = {
    False: (("9", "10"),),
    True: (("9", "10"), ("1", "2"), ("3", "4"), ("5", "6"), ("7", "8")),
}
_EPOCHS = {False: 60, True: 300}
_MEAN_ERROR = 2.0
_MEDIAN_ERROR = 1.0


@recipe(
    "motion-counts",
    title="Repetitions counted after training on tallies",
    claim="a model that was trained on counts alone counts the repetitions of new people",
    source=(
        "Parnandi et al.: PrimSeq, PLOS Digital Health (2022); the recordings are those "
        "of Burns et al., Physiological Measurement 39 (2018)"
    ),
    criterion=(
        "CTC trained on real watch recordings with the number 20 as their only label, "
        "subjects 9 and 10 unseen (in full, five pairs): mean absolute error at most 2 "
        "of 20, in full also a median error of at most 1"
    ),
)
def counts(context: RecipeContext) -> None:
    """Train on sets of 20 repetitions of seven exercises, without any times.

    All sets have 20 repetitions: a model that writes 20 marks whatever it sees would
    pass. Halves of recordings are therefore counted as well; two halves must add up to
    about the count of the whole.
    """
    from mlmethods.motion.datasets import load_watch

    context.dtype = "float32"
    data = load_watch()
    found, halves = [], []
    folds = _FOLDS[context.full]
    for number, test in enumerate(folds):
        train, held_out = data.split_by_subject(test)
        model = _train(context, train)
        found.append(_count(model, list(held_out)))
        halves.append(_count(model, _halves(list(held_out))).reshape(-1, 2))
        context.progress(number + 1, len(folds))
    whole, parts = np.concatenate(found), np.concatenate(halves)
    _judge(context, whole, parts)
    context.figure(_draw(whole, parts), "counts")


def _train(context: RecipeContext, train: Any) -> Any:
    from mlmethods.motion import CTCRecognizer
    from mlmethods.motion.windows import WindowSpec

    # one window holds a whole set, which has no times to cut it by
    window = WindowSpec(size=90.0, hop=90.0, context=0.0)
    model = CTCRecognizer(
        hidden=32,
        layers=4,
        # a tally does not say where in a repetition its mark is: many alignments count
        beam=16,
        window=window,
        epochs=_EPOCHS[context.full],
        batch_size=8,
        lr=5e-3,
        backend=context.backend,
        random_state=context.seed,
    )
    tallies = [{recording.labels.label[0]: _REPETITIONS} for recording in train]
    return model.fit(train, counts=tallies)


def _count(model: Any, recordings: list[Any]) -> NDArray:
    sequences = model.predict_sequence(recordings)
    return np.array([len(sequence) for sequence in sequences])


def _halves(recordings: list[Any]) -> list[Any]:
    """Return both halves of each recording, one after the other."""
    found = []
    for recording in recordings:
        middle = recording.duration / 2
        found += [
            recording.slice(0.0, middle),
            recording.slice(middle, recording.duration),
        ]
    return found


def _judge(context: RecipeContext, whole: NDArray, parts: NDArray) -> None:
    errors = np.abs(whole - _REPETITIONS)
    mean, median = float(errors.mean()), float(np.median(errors))
    context.check(
        claim="mean absolute error of the count, of 20",
        published="",
        ours=mean,
        tolerance_text=f"at most {_MEAN_ERROR:g}",
        passed=mean <= _MEAN_ERROR,
    )
    if context.full:
        context.check(
            claim="median absolute error of the count",
            published="",
            ours=median,
            tolerance_text=f"at most {_MEDIAN_ERROR:g}",
            passed=median <= _MEDIAN_ERROR,
        )
    gap = float(np.abs(parts.sum(axis=1) - whole).mean())
    context.check(
        claim="two halves against the whole: mean difference",
        published="",
        ours=gap,
        tolerance_text="at most 3",
        passed=gap <= 3,
    )
    context.value(mean_error=mean, median_error=median, half_mean=float(parts.mean()))


def _draw(whole: NDArray, parts: NDArray) -> Figure:
    from mlmethods.common.plotting import MUTED, new_figure, style

    with style():
        figure, ax = new_figure(size=(6.4, 3.6))
        bins = np.arange(-0.5, max(whole.max(), 25) + 1)
        ax.hist(whole, bins=bins, label="sets of 20", alpha=0.8)
        ax.hist(parts.ravel(), bins=bins, label="halves of them", alpha=0.8)
        ax.axvline(_REPETITIONS, color=MUTED, ls="--")
        ax.set(xlabel="repetitions counted", ylabel="recordings")
        ax.legend()
    return figure
