"""Both mechanisms at equal cost, in four currencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import PrivacyMechanism
from mlmethods.privacy.recipes._shared import (
    DELTA,
    Images,
    Setting,
    attack_losses,
    load_split,
    train,
    value_name,
)
from mlmethods.privacy.recipes.reconstruction import first_layer_error

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_SOURCE = (
    "Faustini et al., arXiv:2211.04686 (2022), and the comparison by Bayes capacity "
    "proposed in arXiv:2406.13569 (2024)"
)
_EPSILON = 8.0
_NOISE = 1.1
_RATES = (0.125, 0.5, 2.0)
_STEPS = {False: 300, True: 2000}
_BATCH = 128
_TRAIN = 3500


def _pairs(p: int, steps: int) -> dict[str, dict[str, PrivacyMechanism]]:
    """Return both mechanisms at equal cost, by currency."""
    from mlmethods.privacy import (
        GaussianMechanism,
        VonMisesFisherMechanism,
        bayes_capacity,
        calibrate,
        gdp_mu,
    )

    gaussian = GaussianMechanism(_NOISE, adjacency="replace_one")
    run = {"p": p, "steps": steps, "q": _BATCH / _TRAIN, "delta": DELTA}
    targets = {
        "capacity": ("bayes", bayes_capacity(gaussian, p)),
        "Gaussian-DP mu": ("gdp", gdp_mu(gaussian, p)),
    }
    pairs: dict[str, dict[str, PrivacyMechanism]] = {
        "epsilon (RDP)": {
            "Gaussian": calibrate(
                GaussianMechanism, target=_EPSILON, adjacency="replace_one", **run
            ),
            "vMF": calibrate(VonMisesFisherMechanism, target=_EPSILON, **run),
        },
        "signal-to-noise": {
            "Gaussian": gaussian,
            "vMF": calibrate(
                VonMisesFisherMechanism,
                target=_NOISE,
                p=p,
                steps=steps,
                batch_size=_BATCH,
                by="snr",
            ),
        },
    }
    for currency, (by, target) in targets.items():
        pairs[currency] = {
            "Gaussian": gaussian,
            "vMF": calibrate(
                VonMisesFisherMechanism, target=target, p=p, steps=steps, by=by
            ),
        }
    return pairs


@recipe(
    "privacy-compare",
    title="Gaussian against direction noise at equal cost",
    claim=(
        "which mechanism is better depends on the currency in which their costs are "
        "made equal"
    ),
    source=_SOURCE,
    criterion=(
        "both mechanisms trained at equal RDP epsilon, equal signal-to-noise, equal "
        "Gaussian-DP parameter of one release and equal Bayes capacity of one release, "
        "with accuracy, attack AUC and reconstruction error in one table; the pairs are "
        "equal in their currency within 1 %. No winner is required"
    ),
)
def compare(context: RecipeContext) -> None:
    """Train a perceptron on 3,500 digits with each pair of equal cost, and attack it.

    Norms or learning rates are chosen on validation rows. In full: 2,000 steps.
    """
    import pandas as pd

    images = load_split(context, "mnist-5k", _TRAIN, 500, 1000)
    context.dtype = "float32"
    steps = _STEPS[context.full]
    features = 1
    for size in images.shape:
        features *= size
    p = (features + 1) * 32 + 33 * images.num_classes
    rows = []
    pairs = _pairs(p, steps)
    for position, (currency, pair) in enumerate(pairs.items()):
        for name, mechanism in pair.items():
            row = _run(context, mechanism, images, steps)
            rows.append({"currency": currency, "mechanism": name, **row})
        context.progress(position + 1, len(pairs))
    table = pd.DataFrame(rows)
    context.table(table, "pairs")
    _judge(context, table, pairs, p)
    context.figure(_draw(table), "pairs")


def _run(
    context: RecipeContext, mechanism: PrivacyMechanism, images: Images, steps: int
) -> dict[str, float]:
    """Choose a rate on the validation rows, train, test and attack."""
    best, score = None, -1.0
    for rate in _RATES:
        setting = Setting(steps=steps, batch_size=_BATCH, learning_rate=rate)
        trainer = train(context, mechanism, images, setting)
        found = float(trainer.evaluate(images.validation)["accuracy"])
        if found > score:
            best, score = trainer, found
    assert best is not None
    attack = attack_losses(best, images)
    low, high = attack.auc_interval
    return {
        "accuracy": float(best.evaluate(images.test)["accuracy"]),
        "auc": attack.auc,
        "auc_low": low,
        "auc_high": high,
        "reconstruction_mse": first_layer_error(best, images),
        "rdp_epsilon": best.accountant.report(DELTA)["rdp_epsilon"],
    }


def _judge(
    context: RecipeContext,
    table: pd.DataFrame,
    pairs: dict[str, dict[str, PrivacyMechanism]],
    p: int,
) -> None:
    from mlmethods.privacy import bayes_capacity, gdp_mu, signal_to_noise

    measures = {
        "signal-to-noise": lambda m: signal_to_noise(m, p, _BATCH),
        "capacity": lambda m: bayes_capacity(m, p),
        "Gaussian-DP mu": lambda m: gdp_mu(m, p),
    }
    spent = table.pivot(index="currency", columns="mechanism", values="rdp_epsilon")
    for currency, pair in pairs.items():
        if currency in measures:
            ours, other = (
                float(measures[currency](pair[m])) for m in ("vMF", "Gaussian")
            )
        else:
            ours, other = (float(spent[m][currency]) for m in ("vMF", "Gaussian"))
        context.check(
            claim=f"{currency} of the two mechanisms",
            published=f"{other:.4g}",
            ours=ours,
            tolerance_text="equal within 1 %",
            passed=abs(ours - other) <= 0.01 * abs(other),
        )
    for row in table.to_dict("records"):
        name = (row["currency"], row["mechanism"])
        context.value(**{value_name(*name, "accuracy"): row["accuracy"]})
        context.value(**{value_name(*name, "mse"): row["reconstruction_mse"]})
    wide = table.pivot(index="currency", columns="mechanism", values="accuracy")
    better = list(wide.index[wide["vMF"] > wide["Gaussian"]])
    others = [currency for currency in wide.index if currency not in better]
    context.note(
        f"More accurate with direction noise: at equal {', '.join(better) or 'nothing'}; "
        f"with Gaussian noise: at equal {', '.join(others) or 'nothing'}."
    )


def _draw(table: pd.DataFrame) -> Figure:
    from mlmethods.common.plotting import new_figure, style

    with style():
        figure, axes = new_figure(1, 3, size=(10.0, 4.2))
        wide = table.pivot(index="currency", columns="mechanism")
        for ax, (column, label) in zip(
            axes,
            (
                ("accuracy", "test accuracy"),
                ("auc", "AUC of the loss attack"),
                ("reconstruction_mse", "reconstruction error (MSE)"),
            ),
            strict=True,
        ):
            wide[column].plot.barh(ax=ax, legend=False)
            ax.set(xlabel=label, ylabel="")
            if ax is not axes[0]:
                ax.set_yticklabels([])
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure
