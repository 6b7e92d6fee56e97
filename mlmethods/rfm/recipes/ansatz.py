"""The neural feature ansatz, on a perceptron that learns digits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import Backend, NDArray
from mlmethods.rfm.recipes._shared import PAPER

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_NFA_ROWS = 4000
_AGOP_ROWS = 1000
_NFA_EPOCHS = (2, 5, 10)
_NFA_NETWORKS = 3
_NFA_CORRELATION = 0.85
_NFA_GAIN = 0.3
_NFA_QUICK: dict[str, Any] = {
    "init_scale": 0.2,
    "optimizer": "adam",
    "learning_rate": 3e-4,
}
_NFA_RATES = {"sgd": 0.1, "adam": 3e-4}
_AVERAGED = ["pearson", "cosine", "centered_pearson", "loss", "accuracy"]


@recipe(
    "rfm-nfa",
    title="What a network's weights have learned",
    claim=(
        "training makes the Gram matrix of a layer's weights proportional to a power "
        "of the average gradient outer product at its input"
    ),
    source=PAPER,
    criterion=(
        f"in the first layer, after training, mean of {_NFA_NETWORKS} networks, the "
        "correlation with the square root of the AGOP is at least "
        f"{_NFA_CORRELATION}, and that with the AGOP at least {_NFA_GAIN} above its "
        "value before"
    ),
)
def nfa(context: RecipeContext) -> None:
    """Train three perceptrons with five hidden layers of 512 on 4,000 MNIST digits.

    Mean squared error, no biases, batches of 128, ten epochs; quick: initial weights
    at 0.2 of their usual scale, Adam; in full: also scales 1 and 0.1, SGD, and a weight
    decay of 1e-4. Gradients are averaged over 1,000 of the training digits.
    """
    import pandas as pd

    from mlmethods.datasets import load_images
    from mlmethods.rfm.network import network_engine

    backend, engine = network_engine(context.backend, "train_perceptron")
    images, labels = load_images("mnist-5k", root=context.data_root)
    order = np.random.default_rng(context.seed).permutation(len(images))
    X = images[order].reshape(len(images), -1) / 255.0
    digits = _Digits(X, labels[order])
    runs = [(_NFA_QUICK, context.seed + i) for i in range(_NFA_NETWORKS)]
    if context.full:
        runs += [(options, context.seed) for options in _nfa_grid()]
    frames = []
    for position, (options, seed) in enumerate(runs):
        rows = _ansatz_of_training(context, backend, engine, digits, options, seed)
        frames.append(pd.DataFrame(rows).assign(seed=seed, **options))
        context.progress(position + 1, len(runs))
    context.table(pd.concat(frames), "correlations")
    quick = (
        pd.concat(frames[:_NFA_NETWORKS])
        .groupby(["epoch", "layer", "power"], sort=False)[_AVERAGED]
        .mean()
        .reset_index()
    )
    first = quick[quick["layer"] == quick["layer"].iloc[0]]
    series = {
        power: part.set_index("epoch")["pearson"]
        for power, part in first.groupby("power")
    }
    before, after = series[1.0].iloc[0], series[1.0].iloc[-1]
    context.value(
        layer_1_sqrt_agop=series[0.5].iloc[-1],
        layer_1_agop_before=before,
        layer_1_agop_after=after,
        accuracy=quick["accuracy"].iloc[-1],
    )
    context.check(
        claim="correlation of the first layer with the square root of the AGOP",
        published="high in every layer",
        ours=series[0.5].iloc[-1],
        tolerance_text=f"at least {_NFA_CORRELATION}",
        passed=series[0.5].iloc[-1] >= _NFA_CORRELATION,
    )
    context.check(
        claim="correlation of the first layer with the AGOP, less that before training",
        published="grows",
        ours=after - before,
        tolerance_text=f"at least {_NFA_GAIN}",
        passed=after - before >= _NFA_GAIN,
    )
    context.note(
        "Before training the two matrices already share the range of the weights, "
        "hence correlations far from zero; those with the change of the weights alone "
        "are in the table (centered_pearson). Far into training, beyond these epochs, "
        "the correlation with the AGOP itself falls again."
    )
    context.figure(_draw_ansatz(quick), "ansatz")


class _Digits(NamedTuple):
    """Digits in random order: the first rows are for training."""

    X: NDArray
    labels: NDArray


def _nfa_grid() -> list[dict[str, Any]]:
    return [
        {
            "init_scale": scale,
            "optimizer": optimizer,
            "learning_rate": rate,
            "weight_decay": decay,
        }
        for scale in (1.0, 0.1)
        for optimizer, rate in _NFA_RATES.items()
        for decay in (0.0, 1e-4)
    ]


def _ansatz_of_training(
    context: RecipeContext,
    backend: Backend,
    engine: Any,
    digits: _Digits,
    options: dict[str, Any],
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Yield the correlations of each layer and power at each kept epoch."""
    from mlmethods.rfm.contract import PerceptronConfig
    from mlmethods.rfm.network import feature_ansatz

    config = PerceptronConfig(hidden=(512,) * 5, keep_epochs=_NFA_EPOCHS, **options)
    X, labels = digits
    trained = engine.train_perceptron(
        config,
        X[:_NFA_ROWS],
        np.eye(10)[labels[:_NFA_ROWS]],
        seed=seed,
        callback=context.callback,
    )
    unseen = backend.asarray(X[_NFA_ROWS:], dtype="float32")
    for epoch, params, loss in zip(
        trained.epochs, trained.params, trained.losses, strict=True
    ):
        report = feature_ansatz(
            trained.model,
            X[:_AGOP_ROWS],
            params=params,
            init_params=trained.params[0],
            backend=backend,
        )
        outputs = backend.to_numpy(trained.model.apply(params, unseen))
        accuracy = float(np.mean(outputs.argmax(axis=1) == labels[_NFA_ROWS:]))
        for row in report.correlations:
            yield {"epoch": epoch, "loss": loss, "accuracy": accuracy, **row._asdict()}


def _draw_ansatz(frame: pd.DataFrame) -> Figure:
    from mlmethods.common.plotting import MUTED, new_figure, style

    layers = list(dict.fromkeys(frame["layer"]))
    last = frame["epoch"].max()
    with style():
        figure, (left, right) = new_figure(1, 2, size=(10.0, 4.2))
        for power, part in frame.groupby("power"):
            label = "AGOP" if power == 1 else f"AGOP to the power {power:g}"
            trained = part[part["epoch"] == last]["pearson"]
            line = left.plot(
                range(1, len(layers) + 1), trained, marker="o", label=label
            )
            start = part[part["epoch"] == 0]["pearson"]
            left.plot(
                range(1, len(layers) + 1),
                start,
                marker="o",
                ls=":",
                color=line[0].get_color(),
                label=f"{label}, before training",
            )
            first = part[part["layer"] == layers[0]]
            right.plot(first["epoch"], first["pearson"], marker="o", label=label)
        change = frame[(frame["layer"] == layers[0]) & (frame["power"] == 0.5)]
        right.plot(
            change["epoch"],
            change["centered_pearson"],
            marker="s",
            color=MUTED,
            label="power 0.5, change of the weights",
        )
        left.set_xlabel("layer")
        left.set_ylabel("correlation with the Gram matrix of the weights")
        left.set_title("Every layer")
        right.set_xlabel("epoch")
        right.set_title("First layer")
        left.legend()
        right.legend()
    return figure
