"""What the figures of private training draw."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.common.plotting import new_figure
from mlmethods.errors import InvalidInputError
from mlmethods.privacy import (
    Accountant,
    GaussianMechanism,
    NoPrivacy,
    VonMisesFisherMechanism,
    plot_epsilon,
    plot_frontier,
    plot_reconstructions,
    plot_roc,
)


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def attack(**changes) -> SimpleNamespace:
    values = {"fpr": [0, 0.01, 0.5, 1], "tpr": [0, 0.2, 0.8, 1], "auc": 0.75}
    return SimpleNamespace(**{**values, **changes})


def test_an_attack_is_drawn_on_logarithmic_axes_with_the_diagonal() -> None:
    own = new_figure()[1]
    axes = plot_roc(
        {"loss": attack(), "lira": attack(auc=0.8, auc_interval=(0.7, 0.9))}, ax=own
    )
    assert axes is own
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert labels(axes) == [
        "loss: AUC 0.750",
        "lira: AUC 0.800 (0.700 to 0.900)",
        "guessing",
    ]
    first, second, diagonal = axes.get_lines()
    assert_array_equal(first.get_xdata(), [1e-3, 0.01, 0.5, 1])
    assert_array_equal(first.get_ydata(), [1e-3, 0.2, 0.8, 1])
    assert first.get_color() != second.get_color()
    assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert axes.get_xlabel() == "false positive rate"
    smaller = plot_roc({"loss": attack(fpr=[0, 1e-5, 0.5, 1])})
    assert smaller.get_xlim()[0] == 1e-5


@pytest.mark.parametrize(
    "results",
    [
        {},
        [attack()],
        {"a": SimpleNamespace(fpr=[0, 1], tpr=[0, 1])},
        {"a": attack(tpr=[0, 1])},
        {"a": attack(fpr=[], tpr=[])},
        {"a": attack(fpr="none")},
    ],
)
def test_what_is_no_attack_is_refused(results) -> None:
    with pytest.raises(InvalidInputError, match="results"):
        plot_roc(results)


def frontier() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mechanism": ["vMF", "vMF", "Gaussian"],
            "auc": [0.6, 0.5, 0.55],
            "auc_lower": [0.58, 0.45, 0.5],
            "auc_upper": [0.62, 0.55, 0.53],
            "accuracy": [0.8, 0.6, 0.7],
        }
    )


def test_a_frontier_has_a_line_a_mechanism_with_intervals() -> None:
    axes = plot_frontier(frontier(), "auc", "accuracy", chance=0.5)
    assert labels(axes) == ["vMF", "Gaussian", "guessing"]
    first, second = axes.containers
    assert_array_equal(first.lines[0].get_xdata(), [0.5, 0.6])
    assert_array_equal(first.lines[0].get_ydata(), [0.6, 0.8])
    assert first.lines[0].get_marker() != second.lines[0].get_marker()
    (bars,) = first.lines[2]
    assert_allclose(
        np.array(bars.get_segments())[:, :, 0], [[0.45, 0.55], [0.58, 0.62]]
    )
    # An interval that misses its estimate on one side has no bar there.
    (bars,) = second.lines[2]
    assert_allclose(np.array(bars.get_segments())[:, :, 0], [[0.5, 0.55]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("auc", "accuracy")
    named = plot_frontier(
        frontier().assign(test_accuracy=0.5, kind="all"),
        "auc",
        "test_accuracy",
        by="kind",
        xlabel="AUC of the attack",
    )
    assert labels(named) == ["all"]
    assert named.get_xlabel() == "AUC of the attack"
    assert named.get_ylabel() == "test accuracy"


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ([1, 2], "must be a DataFrame"),
        (frontier().drop(columns="auc"), "no column 'auc'"),
        (frontier().iloc[:0], "no row"),
    ],
)
def test_what_is_no_frontier_is_refused(table, match) -> None:
    with pytest.raises(InvalidInputError, match=match):
        plot_frontier(table, "auc", "accuracy")


def test_reconstructions_are_one_picture_with_a_row_a_name() -> None:
    images = np.stack([np.full((4, 6), 0.25), np.full((4, 6), 3.0)])
    rows = {"image": images, "attack": (255 * np.clip(images, 0, 1)).astype(np.uint8)}
    axes = plot_reconstructions(rows)
    canvas = axes.get_images()[0].get_array()
    assert canvas.shape == (4 + 2 + 4, 6 + 2 + 6, 4)
    assert_allclose(canvas[:4, :6, :3], 0.25)
    assert_allclose(canvas[:4, 8:, :3], 1.0)
    assert_allclose(canvas[6:, :6, :3], 0.25, atol=0.01)
    assert_array_equal(canvas[4:6, :, 3], 0)
    assert_array_equal(canvas[:4, :6, 3], 1)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["image", "attack"]
    assert_array_equal(axes.get_yticks(), [1.5, 7.5])
    colors = np.zeros((1, 4, 4, 3))
    colors[..., 1] = 1
    canvas = plot_reconstructions({"color": colors}).get_images()[0].get_array()
    assert_array_equal(canvas[0, 0], [0, 1, 0, 1])


@pytest.mark.parametrize(
    "images",
    [
        {},
        [np.zeros((1, 4, 4))],
        {"a": np.zeros((4, 4))},
        {"a": np.zeros((1, 4, 4, 2))},
        {"a": np.zeros((0, 4, 4))},
        {"a": np.array([[["x"]]])},
        {"a": np.zeros((1, 4, 4)), "b": np.zeros((2, 4, 4))},
    ],
)
def test_what_is_no_picture_is_refused(images) -> None:
    with pytest.raises(InvalidInputError, match="images"):
        plot_reconstructions(images)


def test_epsilon_over_steps_follows_the_ledger() -> None:
    accountant = Accountant()
    mechanism = VonMisesFisherMechanism(20.0)
    accountant.step(mechanism, 0.01, 10, p=1000)
    accountant.step(mechanism, 0.1, 90, p=1000)
    axes = plot_epsilon(SimpleNamespace(accountant=accountant), 1e-6, points=3)
    assert labels(axes) == ["Renyi divergences", "loss distributions (conjecture)"]
    renyi, loss = axes.get_lines()
    assert_array_equal(renyi.get_xdata(), [1, 10, 100])
    early = Accountant()
    early.step(mechanism, 0.01, 10, p=1000)
    expected = [early.epsilon(1e-6, "rdp"), accountant.epsilon(1e-6, "rdp")]
    assert_allclose(renyi.get_ydata()[1:], expected)
    assert_allclose(loss.get_ydata()[-1], accountant.epsilon(1e-6, "pld"))
    assert axes.get_ylabel() == "epsilon at delta 1e-06"
    assert axes.get_title(loc="left") == "Privacy spent (replace one)"
    assert accountant.n_steps == 100


def test_only_a_conjecture_is_dashed() -> None:
    for mechanism, dashes in (
        (VonMisesFisherMechanism(5.0), "--"),
        (GaussianMechanism(5.0), "-"),
    ):
        accountant = Accountant()
        accountant.step(mechanism, count=4, p=100)
        axes = plot_epsilon(accountant, points=2)
        assert ("conjecture" in labels(axes)[1]) == (dashes == "--")
        assert [line.get_linestyle() for line in axes.get_lines()] == ["-", dashes]


def test_runs_that_cost_nothing_or_everything_are_drawn() -> None:
    for mechanism in (VonMisesFisherMechanism(0.0), NoPrivacy()):
        accountant = Accountant()
        accountant.step(mechanism, count=4, p=100)
        axes = plot_epsilon(accountant, points=2)
        axes.figure.canvas.draw()
        assert axes.get_yscale() == "linear"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"accountant": Accountant()}, "accountant must be"),
        ({"accountant": 3}, "accountant must be"),
        ({"points": 1}, "points must be"),
        ({"delta": 0.0}, "delta must be"),
    ],
)
def test_bad_arguments_of_the_course_are_refused(arguments, match) -> None:
    accountant = Accountant()
    accountant.step(GaussianMechanism(2.0))
    with pytest.raises(InvalidInputError, match=match):
        plot_epsilon(**{"accountant": accountant, **arguments})
