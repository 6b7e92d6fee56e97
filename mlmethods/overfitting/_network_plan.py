"""The arguments and the data of a study of networks, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.overfitting._samples import DataSource, check_rows
from mlmethods.overfitting.contract import EARLY, INTERPOLATE, NetworkConfig

if TYPE_CHECKING:
    from mlmethods.overfitting.networks import InterpolationStudy

__all__ = ["Data", "Plan", "check_data"]

_LEARNING_RATES = {
    ("sgd", "mse"): 1e-2,
    ("sgd", "cross_entropy"): 5e-2,
    ("adam", "mse"): 1e-3,
    ("adam", "cross_entropy"): 1e-3,
}


class Plan:
    """The arguments of a study, checked."""

    def __init__(self, study: InterpolationStudy) -> None:
        sizes = [
            check_integer("n_grid", n, minimum=4)
            for n in np.atleast_1d(np.asarray(study.n_grid)).tolist()
        ]
        self.levels = [
            check_real("noise_levels", level, minimum=0) + 0.0
            for level in np.atleast_1d(np.asarray(study.noise_levels)).tolist()
        ]
        rules = [study.stop] if isinstance(study.stop, str | int) else [*study.stop]
        self.stop = [
            check_choice("stop", rule, (INTERPOLATE, EARLY))
            if isinstance(rule, str)
            else check_integer("stop", rule, minimum=1)
            for rule in rules
        ]
        for name, values, least in (
            ("n_grid", sizes, 1),
            ("noise_levels", self.levels, 2),
            ("stop", self.stop, 1),
        ):
            if len(values) < least or len(set(values)) < len(values):
                raise InvalidInputError(
                    f"{name} must hold different values, at least {least}, got {values}"
                )
        self.n_grid = sorted(sizes)
        self.n_seeds = check_integer("n_seeds", study.n_seeds, minimum=1)
        self.base = seed_sequence(study.random_state)
        self.max_epochs = study.max_epochs
        for name in ("max_epochs", "batch_size"):
            if getattr(study, name) is not None:
                check_integer(name, getattr(study, name), minimum=1)
        if study.batch_size is not None and study.batch_size > self.n_grid[0]:
            raise InvalidInputError(
                f"batch_size must be at most the smallest n {self.n_grid[0]}, got "
                f"{study.batch_size}"
            )
        self.batch_size = study.batch_size
        check_integer("check_every", study.check_every, minimum=1)
        check_integer("patience", study.patience, minimum=1)
        check_choice("monitor", study.monitor, ("error", "loss"))
        self.validation_fraction = check_real(
            "validation_fraction",
            study.validation_fraction,
            minimum=0,
            maximum=1,
            open_minimum=True,
            open_maximum=True,
        )

    def network(self, study: InterpolationStudy, n_classes: int) -> NetworkConfig:
        """Return the network, its arguments checked."""
        if study.model != "mlp" and not callable(study.model):
            raise InvalidInputError(
                f"model must be 'mlp' or a callable, got {study.model!r}"
            )
        check_choice("parameterization", study.parameterization, ("standard", "ntk"))
        check_choice("optimizer", study.optimizer, ("sgd", "adam"))
        check_choice("loss", study.loss, ("mse", "cross_entropy"))
        rate = study.learning_rate
        if rate is None:
            rate = _LEARNING_RATES[study.optimizer, study.loss]
        return NetworkConfig(
            model=study.model,
            depth=check_integer("depth", study.depth, minimum=1),
            width=check_integer("width", study.width, minimum=1),
            parameterization=study.parameterization,
            loss=study.loss,
            optimizer=study.optimizer,
            learning_rate=check_real(
                "learning_rate", rate, minimum=0, open_minimum=True
            ),
            n_classes=n_classes,
        )

    def batch(self, n: int) -> int:
        """Return the rows in a batch."""
        return self.batch_size or max(1, min(128, n // 4))

    def epochs(self, n: int) -> int:
        """Return the most epochs."""
        return self.max_epochs or (2000 if n <= 1024 else 500)

    def settings(
        self, study: InterpolationStudy, config: NetworkConfig
    ) -> dict[str, Any]:
        """Return what was studied, as JSON."""
        return {
            "model": config.model if config.model == "mlp" else repr(config.model),
            "depth": config.depth,
            "width": config.width,
            "parameterization": config.parameterization,
            "loss": config.loss,
            "optimizer": config.optimizer,
            "learning_rate": config.learning_rate,
            "n_grid": self.n_grid,
            "noise_levels": self.levels,
            "n_seeds": self.n_seeds,
            "stop": [str(rule) for rule in self.stop],
            "batch_size": [self.batch(n) for n in self.n_grid],
            "max_epochs": [self.epochs(n) for n in self.n_grid],
            "check_every": int(study.check_every),
            "patience": int(study.patience),
            "validation_fraction": self.validation_fraction,
            "monitor": study.monitor,
            "noise_kind": study.noise_kind,
        }


@dataclass(frozen=True, eq=False)
class Data:
    """Rows (float32) and class numbers; `pool` are the rows to train on."""

    X: NDArray
    codes: NDArray
    pool: NDArray
    X_test: NDArray
    test_codes: NDArray
    classes: NDArray
    chance: float


def check_data(
    study: InterpolationStudy, plan: Plan, X: Any, y: Any, X_test: Any, y_test: Any
) -> Data:
    """Return the checked rows, and the test set given or split off."""
    if (X_test is None) != (y_test is None):
        raise InvalidInputError("X_test and y_test must be given together")
    rows, labels = check_rows(X, y)
    rows = _as_float32("X", rows)
    if X_test is None:
        source = DataSource(
            rows,
            labels,
            plan.base,
            nested=True,
            test_size=study.test_size,
            largest=plan.n_grid[-1],
        )
        pool, tested, truth = source.pool, source.X_test, source.y_test
    else:
        if study.test_size is not None:
            raise InvalidInputError("test_size must be None where X_test is given")
        tested, truth = check_rows(X_test, y_test)
        tested = _as_float32("X_test", tested)
        if tested.shape[1] != rows.shape[1] or len(tested) == 0:
            raise InvalidInputError(
                f"X_test must have shape (m, {rows.shape[1]}) with m >= 1, got "
                f"{tested.shape}"
            )
        if plan.n_grid[-1] > len(rows):
            raise InvalidInputError(
                f"n_grid must not exceed the {len(rows)} rows, got {plan.n_grid[-1]}"
            )
        pool = np.arange(len(rows))
    if labels.dtype.kind == "f" and not (labels == np.rint(labels)).all():
        raise InvalidInputError("y must hold class labels, got fractions")
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise InvalidInputError("y must hold two classes or more, got one")
    if not np.isin(truth, classes).all():
        raise InvalidInputError("y_test must hold no class that y does not hold")
    return Data(
        X=rows,
        codes=codes,
        pool=pool,
        X_test=tested,
        test_codes=np.searchsorted(classes, truth),
        classes=classes,
        chance=1 - float(counts.max()) / len(labels),
    )


def _as_float32(name: str, rows: Any) -> NDArray:
    rows = np.asarray(rows)
    if rows.dtype.kind not in "biuf":
        raise InvalidInputError(f"{name} must hold numbers, got dtype {rows.dtype}")
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32)
    if not np.isfinite(rows).all():
        raise InvalidInputError(f"{name} must hold numbers within float32")
    return rows
