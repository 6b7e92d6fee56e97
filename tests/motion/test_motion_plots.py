"""Figures show what they are given."""

import numpy as np
import pandas as pd
import pytest

from mlmethods.common.plotting import new_figure
from mlmethods.errors import InvalidInputError
from mlmethods.motion import Segments, plot_attention, plot_counts, plot_timeline

CLASSES = ("idle", "reach")


def _spans(**fields):
    return Segments([0.0, 1.0, 3.0], [1.0, 3.0, 4.0], [0, 1, 0], CLASSES, **fields)


def _boxes(axes):
    """Return left, right and lower end of every bar."""
    return sorted(
        tuple(float(v) for v in (box.x0, box.x1, box.y0))
        for bars in axes.collections
        for box in (path.get_extents() for path in bars.get_paths())
    )


def test_timeline_draws_every_span_in_the_row_of_its_class():
    truth = _spans()
    pred = _spans(confidence=[0.5, 1.0, np.nan], valid=[True, True, False])
    axes = plot_timeline(truth, pred)
    boxes = _boxes(axes)
    assert len(boxes) == 6
    spans = {(a, b) for a, b, _ in boxes}
    assert spans == {(0.0, 1.0), (1.0, 3.0), (3.0, 4.0)}
    for left, _, low in boxes:
        row = 1 if left == 1.0 else 0
        assert row - 0.5 <= low <= row + 0.5
    hatched = [bars for bars in axes.collections if bars.get_hatch()]
    assert len(hatched) == 1
    alpha = sorted(c[3] for bars in axes.collections for c in bars.get_facecolor())
    assert alpha[0] == pytest.approx(0.35 + 0.65 * 0.5)


def test_timeline_of_one_kind_and_given_axes():
    axes = new_figure()[1]
    assert plot_timeline(None, _spans(), ax=axes) is axes
    assert axes.get_title(loc="left") == "Found"
    assert plot_timeline(_spans()).get_title(loc="left") == "Labeled"
    empty = Segments([], [], [], CLASSES)
    assert not plot_timeline(empty, empty).collections


def test_counts_are_added_up_by_side():
    table = pd.DataFrame(
        {
            "side": ["left", "left", "right", None],
            "class": ["idle", "reach", "idle", "idle"],
            "count": [3, 4, 5, 1],
            "low": [2, 2, np.nan, 0],
            "high": [4, 6, np.nan, 2],
        }
    )
    axes = plot_counts(table, by="side")
    # Sides one after another, classes within.
    assert [p.get_width() for p in axes.patches] == [3, 4, 5, 0, 1, 0]
    drawn = [line.get_xdata().tolist() for line in axes.lines]
    assert drawn == [[2, 4], [2, 6], [0, 2]]
    plain = plot_counts(table)
    assert [p.get_width() for p in plain.patches] == [9, 4]
    # Intervals of several rows cannot be added up.
    assert [line.get_xdata().tolist() for line in plain.lines] == [[2, 6]]


def test_attention_axis_is_in_seconds():
    weights = np.eye(3)
    axes = plot_attention(weights, ["a", "b", "c"], seconds=6.0)
    assert axes.get_xlim() == (0.0, 6.0)
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    assert plot_attention(weights).get_xlim() == (0.0, 3.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_timeline(None), "at least one"),
        (lambda: plot_timeline([0, 1]), "list"),
        (
            lambda: plot_timeline(_spans(), Segments([0], [1], [0], ("x",))),
            "same classes",
        ),
        (lambda: plot_counts([1]), "DataFrame"),
        (lambda: plot_counts(pd.DataFrame({"class": ["a"]})), "'count'"),
        (lambda: plot_counts(pd.DataFrame({"class": [], "count": []})), "no row"),
        (lambda: plot_attention([1, 2]), "shape"),
        (lambda: plot_attention([[-1.0]]), ">= 0"),
        (lambda: plot_attention([[1.0]], ["a", "b"]), "one name"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()
