"""Who was in the training set: attacks on networks with and without noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray, PrivacyMechanism
from mlmethods.privacy.recipes._shared import (
    DELTA,
    PAPER,
    Images,
    Setting,
    load_split,
    train,
    value_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlmethods.privacy.attacks import MembershipResult

_POOL = 1000
_SHADOWS = {False: 16, True: 64}
_STEPS = 300
_BROKEN = 0.60


def _mechanisms() -> dict[str, PrivacyMechanism]:
    from mlmethods.privacy import GaussianMechanism, NoPrivacy, VonMisesFisherMechanism

    return {
        "none": NoPrivacy(),
        "Gaussian 1.1": GaussianMechanism(1.1),
        "vMF, kappa 5,000": VonMisesFisherMechanism(5000.0),
    }


@recipe(
    "privacy-mia",
    title="Membership inference with and without noise",
    claim="direction noise brings membership attacks nearer to guessing",
    source=PAPER,
    criterion=(
        "the likelihood-ratio attack on an overfitted network without noise has an AUC "
        "of at least .60 (else the attack is broken), and every private network's AUC "
        "is below that one, its 95 % interval included; which mechanism hides members "
        "better is reported, not required"
    ),
)
def mia(context: RecipeContext) -> None:
    """Train on random halves of 1,000 digits, and tell the halves apart.

    One target and 16 shadow networks of each mechanism (in full 64); the attack fits
    the confidence in each image with and without it (LiRA), and the loss threshold
    needs no shadows.
    """
    from mlmethods.privacy.attacks import loss_threshold

    images = load_split(context, "mnist-5k", _POOL, 500, 1000)
    context.dtype = "float32"
    rows, curves = [], {}
    mechanisms = _mechanisms()
    for position, (name, mechanism) in enumerate(mechanisms.items()):
        losses, inclusion, spent = _shadows(context, mechanism, images)
        likelihood = _lira(losses, inclusion)
        threshold = loss_threshold(
            losses[0, inclusion[0]], losses[0, ~inclusion[0]], rng=context.seed
        )
        curves[name] = likelihood
        for attack, found in (("LiRA", likelihood), ("loss", threshold)):
            low, high = found.auc_interval
            rows.append(
                {
                    "mechanism": name,
                    "attack": attack,
                    "auc": found.auc,
                    "auc_low": low,
                    "auc_high": high,
                    **{
                        f"tpr_at_fpr_{rate:g}": rate_found
                        for rate, rate_found, _ in found.low_fpr_rows()
                    },
                    "rdp_epsilon": spent,
                }
            )
        context.value(**{value_name(name, "auc"): likelihood.auc})
        context.progress(position + 1, len(mechanisms), auc=likelihood.auc)
    import pandas as pd

    context.table(pd.DataFrame(rows), "attacks")
    _judge(context, curves)
    context.figure(_draw(curves), "roc")


def _shadows(
    context: RecipeContext, mechanism: PrivacyMechanism, images: Images
) -> tuple[NDArray, NDArray, float]:
    """Return losses and membership [1 + shadows, pool], and epsilon of the target."""
    X, y = images.train
    count = _SHADOWS[context.full] + 1
    rng = np.random.default_rng([context.seed, 7])
    # the target's half, then pairs of shadows with halves that complete each other
    halves = [rng.permutation(len(X)) < len(X) // 2 for _ in range((count + 1) // 2)]
    pairs = [half for first in halves[1:] for half in (first, ~first)]
    inclusion = np.stack([halves[0], *pairs])
    setting = Setting(
        steps=_STEPS,
        batch_size=64,
        optimizer="momentum",
        learning_rate=0.1,
    )
    losses = np.empty(inclusion.shape)
    spent = float("nan")
    for index, kept in enumerate(inclusion):
        half = X[kept], y[kept]
        trainer = train(context, mechanism, images, setting, rows=half, seed=index)
        losses[index] = trainer.losses((X, y))
        if index == 0:
            spent = trainer.accountant.report(DELTA)["rdp_epsilon"]
    return losses, inclusion, spent


def _lira(losses: NDArray, inclusion: NDArray) -> MembershipResult:
    """Attack the first network with the others as shadows."""
    from mlmethods.privacy.attacks import lira

    clipped = np.maximum(losses, 1e-12)
    confidence = -clipped - np.log(-np.expm1(-clipped))
    return lira(confidence[0], confidence[1:], inclusion[1:], inclusion[0], rng=0)


def _judge(context: RecipeContext, curves: dict[str, MembershipResult]) -> None:
    plain = curves["none"]
    context.check(
        claim="LiRA on the network without noise: AUC",
        published="works",
        ours=plain.auc,
        tolerance_text=f"at least {_BROKEN:.2f}",
        passed=plain.auc >= _BROKEN,
    )
    for name, found in curves.items():
        if name == "none":
            continue
        low, high = found.auc_interval
        context.check(
            claim=f"LiRA on {name}: AUC",
            published="nearer to .5",
            ours=f"{found.auc:.3f} ({low:.3f} to {high:.3f})",
            tolerance_text=f"interval below {plain.auc:.3f}",
            passed=high < plain.auc,
        )


def _draw(curves: dict[str, MembershipResult]) -> Figure:
    from mlmethods.privacy import plot_roc

    return plot_roc(curves).figure
