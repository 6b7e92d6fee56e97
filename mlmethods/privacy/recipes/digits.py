"""The demonstration: two private runs, their guarantees and their attacks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.privacy.recipes._shared import (
    DELTA,
    PAPER,
    Images,
    Setting,
    attack_losses,
    load_split,
    train,
    value_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlmethods.privacy.attacks import MembershipResult

_TRAIN, _VALIDATION, _TEST = 2500, 100, 2000
_STEPS = 200
_PLAIN_STEPS = 600
_NOISE = 1.1
_ACCURACY = 0.7
_PRIVATE = ("Gaussian", "von Mises-Fisher")

_CODE = """\
import optax
from mlmethods.privacy import VonMisesFisherMechanism, make_private
trainer = make_private(model, optax.sgd(1.0), VonMisesFisherMechanism(1600.0),
                       data_size=len(X), batch_size=128)
print(trainer.fit((X, y), epochs=10, key=0).statement(1e-5))"""


@recipe(
    "privacy-digits",
    title="Private networks: what they promise and what an attacker gets",
    claim=(
        "a network trained on noisy directions of gradients still learns, and its "
        "members are hard to tell from others"
    ),
    source=PAPER,
    criterion=(
        "a perceptron 784-32-10 on 2,500 digits, Gaussian noise 1.1 and direction noise "
        "of the same signal-to-noise: both reach a test accuracy of .7 (chance is .1), "
        "and the AUC of the loss attack on either is below that on the same network "
        "trained without noise, its 95 % interval included"
    ),
    demo=True,
    about=(
        "Private training: noise on every example's gradient, an account of what that "
        "promises to whom, and an attack on the same run. The same noise is accounted "
        "for very differently: the Gaussian hides an example in the sum of its batch, "
        "the direction mechanism hides each example by itself and gets no credit for "
        "the sum."
    ),
    code=_CODE,
)
def digits(context: RecipeContext) -> None:
    """Train 200 steps of 128 digits with two kinds of noise, and without, and attack.

    The network without noise trains until it overfits. Both private networks have the
    optimizer and the norm that their first row here says; nothing was tuned on test rows.
    """
    images = load_split(context, "mnist-5k", _TRAIN, _VALIDATION, _TEST)
    context.dtype = "float32"
    results, reports = {}, {}
    runs = _runs(images)
    for position, (name, (mechanism, setting)) in enumerate(runs.items()):
        trainer = train(context, mechanism, images, setting)
        results[name] = attack_losses(trainer, images)
        accuracy = float(trainer.evaluate(images.test)["accuracy"])
        context.value(
            **{
                value_name(name, "accuracy"): accuracy,
                value_name(name, "auc"): results[name].auc,
            }
        )
        if name in _PRIVATE:
            reports[name] = trainer.accountant.report(DELTA)
            context.check(
                claim=f"{name}: test accuracy",
                published="learns",
                ours=accuracy,
                tolerance_text=f"at least {_ACCURACY}",
                passed=accuracy >= _ACCURACY,
            )
        context.progress(position + 1, len(runs))
    _judge(context, results, reports)
    context.figure(_draw(results, reports), "attack")


def _runs(images: Images) -> dict[str, tuple[Any, Setting]]:
    from mlmethods.privacy import (
        GaussianMechanism,
        NoPrivacy,
        VonMisesFisherMechanism,
        calibrate,
    )

    private = Setting(steps=_STEPS, batch_size=128, learning_rate=1.0)
    p = images.train[0][0].size * 32 + 32 + 33 * images.num_classes
    direction = calibrate(
        VonMisesFisherMechanism,
        target=_NOISE,
        p=p,
        steps=_STEPS,
        batch_size=private.batch_size,
        by="snr",
    )
    plain = dataclasses.replace(
        private,
        steps=_PLAIN_STEPS,
        optimizer="momentum",
        learning_rate=0.1,
        sampling="shuffle",
    )
    return {
        "Gaussian": (GaussianMechanism(_NOISE), private),
        "von Mises-Fisher": (direction, private),
        "no noise": (NoPrivacy(), plain),
    }


def _judge(
    context: RecipeContext,
    results: dict[str, MembershipResult],
    reports: dict[str, dict[str, Any]],
) -> None:
    plain = results["no noise"].auc
    for name in _PRIVATE:
        found = results[name]
        low, high = found.auc_interval
        context.check(
            claim=f"{name}: AUC of the loss attack",
            published=f"{plain:.3f} without noise",
            ours=f"{found.auc:.3f} ({low:.3f} to {high:.3f})",
            tolerance_text="interval below the network without noise",
            passed=high < plain,
        )
        spent = reports[name]
        changed = (
            "added or removed"
            if spent["adjacency"] == "add_remove"
            else "replaced by another"
        )
        context.value(**{value_name(name, "epsilon"): spent["epsilon"]})
        context.note(
            f"{name}: epsilon {spent['epsilon']:,.3g} at delta {DELTA:g}, proven, for "
            f"neighbors in which one example is {changed}."
        )


def _draw(
    results: dict[str, MembershipResult], reports: dict[str, dict[str, Any]]
) -> Figure:
    from mlmethods.privacy import plot_roc

    named = {
        name + (f", ε = {reports[name]['epsilon']:,.3g}" if name in reports else ""): r
        for name, r in results.items()
    }
    return plot_roc(named).figure
