from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mlmethods.common.plotting import new_figure
from mlmethods.errors import InvalidInputError
from mlmethods.rfm.plots import plot_feature_image, plot_feature_matrix, plot_history

M = np.array([[1.0, -0.5, 0.0], [-0.5, 3.0, 0.1], [0.0, 0.1, 2.0]])


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def test_a_matrix_is_drawn_as_it_is_with_zero_in_the_middle_of_the_colors() -> None:
    axes = plot_feature_matrix(M, names=["a", "b", "c"])
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), M)
    assert image.get_clim() == (-3.0, 3.0)
    assert labels(axes) == ["a", "b", "c"]


def test_k_keeps_the_largest_of_the_diagonal_in_order_and_states_their_share() -> None:
    axes = plot_feature_matrix(M, names=["a", "b", "c"], k=2)
    np.testing.assert_array_equal(axes.images[0].get_array(), [[3.0, 0.1], [0.1, 2.0]])
    assert labels(axes) == ["b", "c"]
    assert "2 of 3 columns, 83% of the trace" in axes.get_title(loc="left")


def test_a_diagonal_is_drawn_as_bars() -> None:
    axes = plot_feature_matrix(np.diagonal(M), k=2)
    assert [bar.get_width() for bar in axes.patches] == [3.0, 2.0]
    assert labels(axes) == ["x1", "x2"]


def test_an_estimator_brings_its_matrix_and_names() -> None:
    estimator = SimpleNamespace(M_=M, feature_names_in_=np.array(["a", "b", "c"]))
    _, own = new_figure()
    axes = plot_feature_matrix(estimator, ax=own)
    assert axes is own
    assert labels(axes) == ["a", "b", "c"]
    assert labels(plot_feature_matrix(estimator, names=["d", "e", "f"])) == [*"def"]


def test_a_zero_matrix_is_drawn() -> None:
    assert plot_feature_matrix(np.zeros((2, 2)), k=1).images


@pytest.mark.parametrize("matrix", [np.diag(np.arange(12.0)), np.arange(12.0)])
def test_the_diagonal_becomes_an_image_with_its_channels_added(matrix) -> None:
    flat = plot_feature_image(matrix, (3, 4)).images[0].get_array()
    np.testing.assert_array_equal(flat, np.arange(12.0).reshape(3, 4))
    stacked = plot_feature_image(matrix, (2, 2, 3)).images[0].get_array()
    np.testing.assert_array_equal(stacked, [[6, 8, 10], [12, 14, 16]])


def test_history_shows_the_scored_iterations_and_the_chosen_one() -> None:
    rows = [
        {"iteration": step, "validation_score": score}
        for step, score in enumerate([0.4, 0.1, 0.2, None])
    ]
    axes = plot_history(SimpleNamespace(history_=rows, n_iter_=1))
    line, mark = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), [[0, 0.4], [1, 0.1], [2, 0.2]])
    np.testing.assert_array_equal(mark.get_xydata(), [[1, 0.1]])
    assert axes.texts[0].get_text() == "chosen: 0.1"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_feature_matrix(M[:2]), r"shape \(d, d\)"),
        (lambda: plot_feature_matrix(np.full((2, 2), np.nan)), "finite"),
        (lambda: plot_feature_matrix("iris"), "fitted RFM"),
        (lambda: plot_feature_matrix(M, names=["a"]), "3 columns, got 1"),
        (lambda: plot_feature_matrix(M, k=4), "at most the number of columns, 3"),
        (lambda: plot_feature_matrix(M, k=0), "k must be"),
        (lambda: plot_feature_image(M, (2, 2)), "of 3 values"),
        (lambda: plot_feature_image(M, (3,)), "height"),
        (lambda: plot_history(object()), "fitted RFM, got object"),
        (
            lambda: plot_history(
                SimpleNamespace(
                    history_=[{"iteration": 0, "validation_score": None}], n_iter_=0
                )
            ),
            "rows held out",
        ),
    ],
)
def test_bad_input_is_named(draw, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        draw()
