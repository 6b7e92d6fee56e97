"""What the figures of the laboratory draw."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.common.plotting import new_figure
from mlmethods.errors import InvalidInputError
from mlmethods.overfitting import (
    Spectrum,
    fit_exponent,
    plot_cost,
    plot_learnabilities,
    plot_learning_curve,
    plot_noise_profile,
    plot_spectrum,
    predict,
)


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes, label):
    (found,) = [x for x in axes.get_lines() if x.get_label() == label]
    return np.array(found.get_xdata(), float), np.array(found.get_ydata(), float)


def test_a_spectrum_is_drawn_sorted_in_steps_with_its_fit() -> None:
    axes = plot_spectrum(Spectrum([0.1, 1.0, 0.0], [3, 2, 5]))
    x, y = line(axes, "eigenvalues")
    assert_array_equal(x, [1, 2, 3, 5])
    assert_array_equal(y, [1, 1, 0.1, 0.1])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    spectrum = Spectrum.powerlaw(2.0, 100_000)
    fit = fit_exponent(spectrum.values[:400], random_state=0)
    axes = plot_spectrum(spectrum, fit)
    x, y = line(axes, "eigenvalues")
    assert len(x) <= 4000
    assert (x[0], x[-1]) == (1, 100_000)
    assert_allclose(y, x**-2.0)
    x, y = line(axes, "fit: exponent 2.00")
    assert_array_equal(x, [10, 100])
    assert_allclose(y, [1e-2, 1e-4])


def test_a_spectrum_that_bends_is_called_so() -> None:
    spectrum = Spectrum.superpolynomial(400)
    axes = plot_spectrum(spectrum, fit_exponent(spectrum, random_state=0))
    assert axes.get_title(loc="left") == "Eigenvalues fall faster than a power law"


def cost_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "n": [400, 100, 200],
            "e0": [1.6, 1.4, 1.5],
            "lower": [1.5, 1.2, 1.4],
            "upper": [1.7, 1.6, 1.6],
            "resolved": [False, True, True],
        }
    )


def test_a_cost_is_drawn_with_interval_theory_and_hollow_points() -> None:
    theory = pd.DataFrame({"n": [400, 100], "e0": [1.5, 1.45]})
    _, own = new_figure()
    axes = plot_cost(SimpleNamespace(e0=cost_table()), theory, ax=own)
    assert axes is own
    assert labels(axes) == ["measured", "not resolved", "theory", "no cost"]
    assert_array_equal(line(axes, "measured"), [[100, 200], [1.4, 1.5]])
    assert_array_equal(line(axes, "not resolved"), [[400], [1.6]])
    assert_array_equal(line(axes, "theory"), [[100, 400], [1.45, 1.5]])
    band = axes.collections[0].get_paths()[0].vertices
    assert {(100.0, 1.2), (100.0, 1.6), (400.0, 1.7)} <= set(map(tuple, band))
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["100", "200", "400"]
    across = plot_cost(cost_table(), theory=1.5)
    assert_array_equal(line(across, "theory")[1], [1.5, 1.5])
    assert across.get_yscale() == "linear"
    assert plot_cost(pd.DataFrame({"n": [9], "e0": [50.0]})).get_yscale() == "log"


def test_a_noise_profile_is_drawn_with_its_lines_of_reference() -> None:
    table = pd.DataFrame(
        {
            "noise": [0.2, 0.0, 0.2, 0.0],
            "risk": [0.3, 0.1, 0.2, 0.1],
            "bayes": 0.0,
            "nearest": [0.2, 0.0, 0.2, 0.0],
            "chance": 0.5,
        }
    )
    profile = SimpleNamespace(table=table, tau=0.423)
    axes = plot_noise_profile(profile)
    assert labels(axes) == ["measured", "guessing", "1-NN", "Bayes"]
    assert_allclose(line(axes, "measured"), [[0, 0.2], [0.1, 0.25]])
    assert_allclose(line(axes, "1-NN"), [[0, 0.2], [0, 0.2]])
    assert_allclose(line(axes, "guessing")[1], 0.5)
    assert axes.get_title(loc="left").endswith("tau = 0.42")
    band = axes.collections[0].get_paths()[0].vertices
    assert {(0.2, 0.2), (0.2, 0.3)} <= set(map(tuple, band))
    given = table.assign(lower=0.05, upper=0.45)
    band = plot_noise_profile(given).collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.05, 0.45)


def test_a_learning_curve_has_a_line_a_noise_level_and_its_theory() -> None:
    table = pd.DataFrame(
        {
            "n": [100, 50, 100, 50, 50],
            "noise": [0.0, 0.0, 1.0, 1.0, 1.0],
            "risk": [0.1, 0.4, 1.5, 1.6, 1.8],
        }
    )
    theory = pd.DataFrame({"n": [100, 50], "noise": [1.0, 1.0], "risk": [1.4, 1.5]})
    axes = plot_learning_curve(SimpleNamespace(table=table), theory)
    assert labels(axes) == ["noise 0", "noise 1"]
    curves = [np.array(x.get_xydata()) for x in axes.get_lines()]
    assert any(np.allclose(c, [[50, 0.4], [100, 0.1]]) for c in curves)
    assert any(np.allclose(c, [[50, 1.7], [100, 1.5]]) for c in curves)
    assert any(np.allclose(c, [[50, 1.5], [100, 1.4]]) for c in curves)
    with pytest.raises(InvalidInputError, match="noise"):
        plot_learning_curve(table, theory.drop(columns="noise"))


def test_learnabilities_are_bars() -> None:
    prediction = predict(Spectrum.powerlaw(2.0, 50), None, 10)
    axes = plot_learnabilities(prediction, levels=12)
    heights = [bar.get_height() for bar in axes.patches]
    assert_allclose(heights, prediction.learnabilities[:12])
    assert len(plot_learnabilities(prediction, levels=99).patches) == 50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_spectrum([1.0]), "spectrum must"),
        (lambda: plot_spectrum(Spectrum([0.0])), "positive eigenvalue"),
        (lambda: plot_cost([1.0]), "e0 must be a DataFrame"),
        (lambda: plot_cost(cost_table().drop(columns="n")), "no column 'n'"),
        (lambda: plot_cost(cost_table()[:0]), "no row"),
        (lambda: plot_cost(cost_table(), [1.0]), "theory must"),
        (lambda: plot_noise_profile(cost_table()), "no column 'noise'"),
        (lambda: plot_learning_curve(cost_table()), "no column 'risk'"),
        (lambda: plot_learnabilities(3), "prediction must"),
        (
            lambda: plot_learnabilities(predict(Spectrum([1.0, 0.5]), None, [1.0])),
            "of one n and reg",
        ),
    ],
)
def test_bad_arguments_are_named(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()
