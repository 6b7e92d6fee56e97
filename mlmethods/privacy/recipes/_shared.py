"""What the experiments share: the paper, images, networks and one private run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmethods.common.recipe import RecipeContext
from mlmethods.interfaces import NDArray
from mlmethods.privacy.attacks import MembershipResult, loss_threshold
from mlmethods.privacy.contract import Sampling
from mlmethods.privacy.trainer import DPTrainer, make_private

__all__ = [
    "DELTA",
    "PAPER",
    "Images",
    "Setting",
    "attack_losses",
    "load_split",
    "make_trainer",
    "train",
    "value_name",
]

PAPER = (
    "Faustini, Fernandes, Tonni, McIver, Dras: Directional Privacy for Deep Learning, "
    "arXiv:2211.04686 (2022)"
)
DELTA = 1e-5
_WITHOUT_SPLIT = ("mnist-5k", "digits")


def value_name(*words: object) -> str:
    """Return words as the name of a number in the result."""
    text = "_".join(map(str, words)).lower()
    for mark in (" ", "-", "=", ",", "."):
        text = text.replace(mark, "_")
    return text


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images [n, h, w, c] in [0, 1] and labels, in three parts that share no row."""

    name: str
    train: tuple[NDArray, NDArray]
    validation: tuple[NDArray, NDArray]
    test: tuple[NDArray, NDArray]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(self.train[0].shape[1:])

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return int(self.train[1].max()) + 1


def load_split(
    context: RecipeContext, name: str, train: int, validation: int, test: int
) -> Images:
    """Draw three disjoint parts of an image set; the published test part if there is one."""
    from mlmethods.datasets import load_images

    rng = np.random.default_rng([context.seed, 1])
    published = name not in _WITHOUT_SPLIT
    split = "train" if published else "all"
    images, labels = load_images(name, root=context.data_root, split=split)
    order = rng.permutation(len(images))
    validating, order = order[:validation], order[validation:]
    if published:
        held, held_labels = load_images(name, root=context.data_root, split="test")
        held_rows = rng.permutation(len(held))[:test]
        tested = _scaled(held, held_labels, held_rows)
    else:
        tested = _scaled(images, labels, order[:test])
        order = order[test:]
    return Images(
        name=name,
        train=_scaled(images, labels, order[:train]),
        validation=_scaled(images, labels, validating),
        test=tested,
    )


def _scaled(images: NDArray, labels: NDArray, rows: NDArray) -> tuple[NDArray, NDArray]:
    return images[rows].astype(np.float32) / 255, labels[rows]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A network and how it is trained, but for the mechanism.

    Attributes
    ----------
    kind : {"mlp", "lenet"}
        The network.
    hidden : tuple of int
        Units of the perceptron's hidden layers.
    steps, batch_size : int
        Steps, and the expected batch size.
    optimizer : str
        Name of the optimizer.
    learning_rate : float
        Of the optimizer.
    sampling : {"poisson", "shuffle"}
        How batches are drawn.
    """

    kind: str = "mlp"
    hidden: tuple[int, ...] = (32,)
    steps: int = 470
    batch_size: int = 256
    optimizer: str = "sgd"
    learning_rate: float = 1.0
    sampling: Sampling = "poisson"


def make_trainer(
    context: RecipeContext,
    mechanism: Any,
    images: Images,
    setting: Setting,
    data_size: int | None = None,
) -> DPTrainer:
    """Return the trainer of one network, for the training part or so many rows."""
    from mlmethods.backend import get_backend

    engine = get_backend(context.backend).engine("privacy")
    options = {"hidden": setting.hidden} if setting.kind == "mlp" else {}
    network = engine.network(setting.kind, images.shape, images.num_classes, **options)
    # without noise there is nothing to amplify, and whole batches are faster
    plain = mechanism.config().kind == "none"
    return make_private(
        network,
        engine.optimizer(setting.optimizer, setting.learning_rate),
        mechanism,
        data_size=len(images.train[0]) if data_size is None else data_size,
        batch_size=setting.batch_size,
        sampling="shuffle" if plain else setting.sampling,
        backend=context.backend,
    )


def train(
    context: RecipeContext,
    mechanism: Any,
    images: Images,
    setting: Setting,
    *,
    rows: tuple[NDArray, NDArray] | None = None,
    seed: int = 0,
) -> DPTrainer:
    """Train one network on the training part, or on `rows`, and return its trainer."""
    chosen = images.train if rows is None else rows
    trainer = make_trainer(context, mechanism, images, setting, len(chosen[0]))
    return trainer.fit(chosen, steps=setting.steps, key=1000 * context.seed + seed)


def attack_losses(
    trainer: DPTrainer, images: Images, *, limit: int = 4000, seed: int = 0
) -> MembershipResult:
    """Attack a trained network by its losses on rows it has and has not seen."""
    X, y = images.train
    seen = trainer.losses((X[:limit], y[:limit]))
    return loss_threshold(seen, trainer.losses(images.test), rng=seed)
