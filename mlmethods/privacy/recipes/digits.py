"""The demonstration: two private runs, their guarantees, and an attack on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray
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
from mlmethods.privacy.recipes.reconstruction import first_layer_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRAIN, _VALIDATION, _TEST = 3500, 100, 1400
_STEPS = 250
_NOISE = 1.1
_ACCURACY = 0.6
_SHOWN = 8
_RECOGNIZABLE = 20.0

_CODE = """\
import optax
from mlmethods.privacy import VonMisesFisherMechanism, make_private
trainer = make_private(model, optax.sgd(1.0), VonMisesFisherMechanism(1600.0),
                       data_size=len(X), batch_size=128)
print(trainer.fit((X, y), epochs=10, key=0).statement(1e-5))"""


@recipe(
    "privacy-digits",
    title="Private networks: what they promise and what an attacker sees",
    claim=(
        "a network trained on noisy directions of gradients still learns, and images "
        "cannot be read from its gradients"
    ),
    source=PAPER,
    criterion=(
        "a perceptron 784-32-10 on 3,500 digits, Gaussian noise 1.1 and direction noise "
        "of the same signal-to-noise: both reach a test accuracy of .6 (chance is .1); "
        "the gradient of one image gives it away without noise (mean squared error at "
        "most 1e-8), and with either noise no image comes out above 20 dB"
    ),
    demo=True,
    about=(
        "Private training: noise on the gradients, an account of what that promises to "
        "whom, and an attack on the same networks. The same noise is accounted for very "
        "differently: the Gaussian hides an example in the sum of its batch, the "
        "direction mechanism hides each example by itself and gets no credit for the sum."
    ),
    code=_CODE,
)
def digits(context: RecipeContext) -> None:
    """Train 250 steps of 128 digits with two kinds of noise, and read images from gradients.

    The attacker has the network and the gradient of one image, and solves the first
    layer for the image. Nothing was tuned on test rows.
    """
    images = load_split(context, "mnist-5k", _TRAIN, _VALIDATION, _TEST)
    context.dtype = "float32"
    X, y = (part[:_SHOWN] for part in images.test)
    grid: dict[str, NDArray] = {"image": X}
    mechanisms = _mechanisms(images)
    for position, (name, mechanism) in enumerate(mechanisms.items()):
        setting = Setting(steps=_STEPS, batch_size=128, learning_rate=1.0)
        trainer = train(context, mechanism, images, setting)
        if position == 0:
            grid["gradient without noise"] = _read(trainer, X, y, noise=False)
            _judge_plain(context, grid)
        grid[name] = _read(trainer, X, y, noise=True)
        _judge(context, name, trainer, images, grid[name])
        context.progress(position + 1, len(mechanisms))
    context.figure(_draw(grid), "attack")


def _mechanisms(images: Images) -> dict[str, Any]:
    from mlmethods.privacy import (
        GaussianMechanism,
        VonMisesFisherMechanism,
        calibrate,
    )

    p = images.train[0][0].size * 32 + 32 + 33 * images.num_classes
    direction = calibrate(
        VonMisesFisherMechanism,
        target=_NOISE,
        p=p,
        steps=_STEPS,
        batch_size=128,
        by="snr",
    )
    return {"Gaussian": GaussianMechanism(_NOISE), "von Mises-Fisher": direction}


def _read(trainer: Any, X: NDArray, y: NDArray, *, noise: bool) -> NDArray:
    found = first_layer_images(trainer, X, y, noise=noise)
    if found is None:
        raise AssertionError("the perceptron begins with a dense layer")
    return found


def _judge_plain(context: RecipeContext, grid: dict[str, NDArray]) -> None:
    error = float(np.mean((grid["gradient without noise"] - grid["image"]) ** 2))
    context.check(
        claim="images from gradients without noise: mean squared error",
        published="0",
        ours=f"{error:.1e}",
        tolerance_text="at most 1e-8",
        passed=error <= 1e-8,
    )


def _judge(
    context: RecipeContext, name: str, trainer: Any, images: Images, guesses: NDArray
) -> None:
    accuracy = float(trainer.evaluate(images.test)["accuracy"])
    attack = attack_losses(trainer, images)
    errors = ((guesses - images.test[0][:_SHOWN]) ** 2).mean(axis=(1, 2, 3))
    best = float(-10 * np.log10(errors.min()))
    spent = trainer.accountant.report(DELTA)
    context.value(
        **{
            value_name(name, "accuracy"): accuracy,
            value_name(name, "epsilon"): spent["epsilon"],
            value_name(name, "auc"): attack.auc,
            value_name(name, "psnr"): best,
        }
    )
    context.check(
        claim=f"{name}: test accuracy",
        published="learns",
        ours=accuracy,
        tolerance_text=f"at least {_ACCURACY}",
        passed=accuracy >= _ACCURACY,
    )
    context.check(
        claim=f"{name}: the most recognizable of {_SHOWN} images from gradients",
        published="hidden",
        ours=f"{best:.1f} dB",
        tolerance_text=f"below {_RECOGNIZABLE:g} dB",
        passed=best < _RECOGNIZABLE,
    )
    changed = (
        "added or removed"
        if spent["adjacency"] == "add_remove"
        else "replaced by another"
    )
    low, high = attack.auc_interval
    context.note(
        f"{name}: epsilon {spent['epsilon']:,.3g} at delta {DELTA:g}, proven, for "
        f"neighbors in which one example is {changed}; guessing members from losses: "
        f"AUC {attack.auc:.3f} ({low:.3f} to {high:.3f})."
    )


def _draw(grid: dict[str, NDArray]) -> Figure:
    from mlmethods.privacy import plot_reconstructions

    return plot_reconstructions(grid).figure
