"""What the eigenframework says of power laws and faster or slower decays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.overfitting.recipes._shared import PAPER, THEORY, between, value_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MODES = 10_000_000
_SIZES = (256, 2048, 20_000, 100_000, 1_000_000)
_ALPHAS = (1.5, 2.0, 3.0)
_RATE = 0.05
_RIDGED = {1.5: 1.0171, 2.0: 1.0025, 3.0: 1.0004}
_LAW_ALPHAS = (1.2, 1.5, 2.0, 2.5, 3.0)
_LAW_SIZE = 10_000


@recipe(
    "overfitting-trichotomy",
    title="Three kinds of overfitting, from the decay of a spectrum",
    claim=(
        "how fast the eigenvalues of a kernel fall decides what interpolation costs: "
        "nothing in the limit, a constant factor, or everything"
    ),
    source=f"{PAPER}; {THEORY}",
    criterion=(
        "without a ridge, eigenvalues i^-alpha cost alpha within 1 % at n = 100,000 for "
        "alpha 1.5, 2 and 3; exponential ones 0.05 n within 2 % at n = 4,096; "
        "1/(i log^2(i + 1)) costs 1.083 within .005 at n = 1,000,000 and less with "
        "every n; a ridge of 1 brings the powers to 1.0171, 1.0025 and 1.0004 within "
        ".002 at n = 100,000"
    ),
)
def trichotomy(context: RecipeContext) -> None:
    """Solve the equation of the effective regularization for five spectra.

    Ten million eigenvalues each, and the sum of those beyond as a tail: without the
    tail the slowest spectrum would rise where it falls.
    """
    import pandas as pd

    from mlmethods.overfitting import Spectrum, predict

    context.dtype = "float64"
    spectra = {f"i^-{alpha:g}": Spectrum.powerlaw(alpha, _MODES) for alpha in _ALPHAS}
    spectra["1/(i log^2)"] = Spectrum.log_powerlaw(2.0, _MODES)
    costs: dict[str, Any] = {}
    for position, (name, spectrum) in enumerate(spectra.items()):
        costs[name] = predict(spectrum, None, np.array(_SIZES)).e0
        context.progress(position + 1, len(spectra) + 2)
    fast = Spectrum.exponential(_RATE, 200_000)
    few = np.array([256, 1024, 4096])
    exponential = predict(fast, None, few).e0
    ridged = {
        alpha: float(predict(spectra[f"i^-{alpha:g}"], None, 100_000, 1.0).e0)
        for alpha in _ALPHAS
    }
    rows = [
        {"spectrum": name, "n": n, "e0": float(e0)}
        for name, values in costs.items()
        for n, e0 in zip(_SIZES, values, strict=True)
    ]
    rows += [
        {"spectrum": f"exp(-{_RATE} i)", "n": int(n), "e0": float(e0)}
        for n, e0 in zip(few, exponential, strict=True)
    ]
    context.table(pd.DataFrame(rows), "costs")
    _judge_powers(context, costs, ridged)
    ratio = float(exponential[-1]) / (_RATE * 4096)
    context.value(exponential_over_law=ratio)
    context.check(
        claim=f"exp(-{_RATE} i), n = 4,096: E0 over {_RATE} n (catastrophic)",
        published=1.0,
        ours=ratio,
        tolerance_text="within .02",
        passed=between(ratio, 1.0, 0.02),
    )
    slow = costs["1/(i log^2)"]
    context.value(log_power_e0=float(slow[-1]))
    context.check(
        claim="1/(i log^2(i + 1)), n = 1,000,000: E0, falling with n (benign)",
        published=1.083,
        ours=", ".join(f"{value:.4f}" for value in slow),
        tolerance_text="the last within .005, each below the one before",
        passed=between(float(slow[-1]), 1.083, 0.005)
        and bool((np.diff(slow) < 0).all()),
    )
    context.progress(len(spectra) + 2, len(spectra) + 2)
    context.figure(_draw_trichotomy(costs, few, exponential), "trichotomy")


def _judge_powers(
    context: RecipeContext, costs: dict[str, Any], ridged: dict[float, float]
) -> None:
    for alpha in _ALPHAS:
        e0 = float(costs[f"i^-{alpha:g}"][_SIZES.index(100_000)])
        context.value(**{value_name("power", alpha, "e0"): e0})
        context.check(
            claim=f"i^-{alpha:g}, n = 100,000: E0 is the exponent (tempered)",
            published=alpha,
            ours=e0,
            tolerance_text="within 1 %",
            passed=between(e0, alpha, 0.01 * alpha),
        )
        context.value(**{value_name("power", alpha, "ridge_1"): ridged[alpha]})
        context.check(
            claim=f"i^-{alpha:g}, n = 100,000, ridge 1: E0 (benign)",
            published=_RIDGED[alpha],
            ours=ridged[alpha],
            tolerance_text="within .002",
            passed=between(ridged[alpha], _RIDGED[alpha], 0.002),
        )


def _draw_trichotomy(costs: dict[str, Any], few: Any, exponential: Any) -> Figure:
    from mlmethods.common.plotting import MUTED, new_figure, style

    with style():
        figure, axes = new_figure(size=(8.0, 4.2))
        for name, values in costs.items():
            axes.loglog(_SIZES, values, marker="o", label=f"eigenvalues {name}")
        axes.loglog(few, exponential, marker="s", label=f"eigenvalues exp(-{_RATE} i)")
        axes.axhline(1.0, color=MUTED, lw=1, ls="--")
        axes.set_ylim(0.9, 300)
        axes.set_xlabel("training rows n")
        axes.set_ylabel("E0: test error over noise")
        axes.set_title("Benign falls to 1, tempered stays, catastrophic grows")
        axes.legend()
    return figure


@recipe(
    "overfitting-ridge-cost-law",
    title="What a ridge buys, in one formula",
    claim=(
        "for eigenvalues i^-alpha, the ratio of training and test error of one fit "
        "says what its overfitting costs"
    ),
    source="derived from the eigenframework; checked against its solution",
    criterion=(
        "E0 = alpha / (alpha - (alpha - 1) s), with 1 - s the root of training over "
        "test error, within 2 % for alpha from 1.2 to 3, n = 10,000 and ridges from "
        "none to thirty times n^(1 - alpha)"
    ),
)
def cost_law(context: RecipeContext) -> None:
    """Compare the law with the solved equations for five exponents and six ridges."""
    import pandas as pd

    from mlmethods.overfitting import E0_powerlaw, Spectrum, predict

    context.dtype = "float64"
    factors = np.array([0.0, 0.1, 0.5, 1.0, 3.0, 30.0])
    rows = []
    for alpha in _LAW_ALPHAS:
        spectrum = Spectrum.powerlaw(alpha, _MODES // 10)
        regs = factors * _LAW_SIZE ** (1.0 - alpha)
        found = predict(spectrum, None, _LAW_SIZE, regs, noise_var=1.0)
        share = 1.0 - np.sqrt(found.train_mse / found.test_mse)
        law = E0_powerlaw(alpha, share)
        rows += [
            {"alpha": alpha, "ridge_over_scale": f, "s": s, "e0": e, "law": w}
            for f, s, e, w in zip(factors, share, found.e0, law, strict=True)
        ]
    frame = pd.DataFrame(rows)
    context.table(frame, "law")
    for alpha in _LAW_ALPHAS:
        part = frame[frame["alpha"] == alpha]
        worst = float((part["law"] / part["e0"] - 1).abs().max())
        context.value(**{value_name("worst", alpha): worst})
        context.check(
            claim=f"alpha = {alpha:g}: largest relative error of the law",
            published=0.0,
            ours=worst,
            tolerance_text="below .02",
            passed=worst < 0.02,
        )
    context.figure(_draw_law(frame), "law")


def _draw_law(frame: Any) -> Figure:
    from mlmethods.common.plotting import PALETTE, new_figure, style
    from mlmethods.overfitting import E0_powerlaw

    line = np.linspace(0.0, 1.0, 200)
    with style():
        figure, axes = new_figure(size=(7.2, 4.2))
        for color, (alpha, part) in zip(PALETTE, frame.groupby("alpha"), strict=False):
            axes.plot(line, E0_powerlaw(alpha, line), color=color, lw=1.2)
            axes.plot(part["s"], part["e0"], "o", color=color, label=f"alpha {alpha:g}")
        axes.set_xlabel("s = 1 - root of training over test error")
        axes.set_ylabel("E0: test error over noise")
        axes.set_title("Points solve the equations, lines are the law")
        axes.legend()
    return figure
