"""Networks that differ in their seed: side by side, or one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

_EPOCHS = 2
_BATCH = 64


class Rows(NamedTuple):
    """Synthetic rows (N, d), labels, and the rows of each seed (lanes, n)."""

    X: np.ndarray
    y: np.ndarray
    orders: np.ndarray
    width: int


def _rows(size: Size, rng: np.random.Generator) -> Rows:
    X = rng.standard_normal((size["n"], size["d"])).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)
    orders = np.stack([rng.permutation(size["n"]) for _ in range(size["lanes"])])
    return Rows(X, y, orders, size["width"])


def _trainer(data: Rows, *, sequential: bool | None = None) -> Any:
    from mlmethods.overfitting.contract import NetworkConfig
    from mlmethods_jax.overfitting.engine import NetworkTrainer

    config = NetworkConfig(depth=2, width=data.width, learning_rate=1e-3)
    return NetworkTrainer(
        config, data.X, data.X[:1], len(data.X), sequential=sequential
    )


def _group(data: Rows, seeds: tuple[int, ...]) -> Any:
    from mlmethods.overfitting.contract import LaneGroup

    rows = data.orders[list(seeds)]
    return LaneGroup(
        rows=rows,
        labels=data.y[rows],
        held_out=np.zeros(rows.shape, bool),
        stop=(_EPOCHS,) * len(seeds),
        seeds=seeds,
        order_seed=0,
        batch_size=_BATCH,
        max_epochs=_EPOCHS,
        check_every=_EPOCHS,
    )


def _together(sequential: bool | None) -> Callable[[Rows], Callable[[], Any]]:
    def setup(data: Rows) -> Callable[[], Any]:
        trainer = _trainer(data, sequential=sequential)
        group = _group(data, tuple(range(len(data.orders))))
        return lambda: trainer.train(group).train_loss

    return setup


def _loop(data: Rows) -> Callable[[], Any]:
    trainer = _trainer(data)
    groups = [_group(data, (seed,)) for seed in range(len(data.orders))]
    return lambda: np.concatenate([trainer.train(g).train_loss for g in groups])


CASES = (
    Case(
        name="lanes.seeds",
        title="networks of several seeds, two epochs",
        sizes=tuple(
            {"n": n, "d": 784, "width": 256, "lanes": 8} for n in (256, 512, 1024)
        ),
        quick_sizes=({"n": 256, "d": 64, "width": 32, "lanes": 4},),
        make_data=_rows,
        implementations={
            "mlmethods": Implementation(setup=_together(None)),
            "vmapped": Implementation(setup=_together(False)),
            "python-loop": Implementation(setup=_loop),
        },
        tolerance=1e-3,
        work=lambda size: (
            6.0
            * _EPOCHS
            * size["lanes"]
            * size["n"]
            * size["width"]
            * (size["d"] + size["width"])
        ),
    ),
)
