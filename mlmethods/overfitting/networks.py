"""Networks trained until they fit their noise, and until they should stop."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.cells import CellStore
from mlmethods.common.progress import progress_callback
from mlmethods.errors import InvalidInputError, NotInterpolatedWarning
from mlmethods.interfaces import ArrayLike, Backend, Callback, Event, NDArray
from mlmethods.overfitting._fingerprint import describe, digest
from mlmethods.overfitting._network_cells import Cells, Run
from mlmethods.overfitting._network_plan import Data, Plan, check_data
from mlmethods.overfitting._samples import VERDICT, stream
from mlmethods.overfitting.contract import (
    EARLY,
    INTERPOLATE,
    NetworkConfig,
    NetworkTrainer,
)
from mlmethods.overfitting.noise import check_rate, label_transition
from mlmethods.overfitting.result import StudyResult
from mlmethods.overfitting.verdict import classify_overfitting

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InterpolationStudy"]

_FORMAT_VERSION = 1


class InterpolationStudy:
    """Train a network at several sizes and noise levels, and say what noise costs.

    Every size is trained at all noise levels, seeds and stop rules at once, by one
    compiled step.

    Parameters
    ----------
    model : "mlp" or callable
        ``"mlp"`` is a perceptron of `depth` hidden layers of `width` rectifiers. A
        callable gets ``(in_features, out_features, rngs)`` and returns a
        ``flax.nnx.Module`` that keeps no state besides its parameters.
    n_grid : sequence of int
        Numbers of training rows, best five or more that grow geometrically.
    noise_levels : sequence of float
        Shares of training labels replaced by another class; two or more, 0 among
        them at best.
    n_seeds : int, default=3
        Repetitions, each with its own rows, noise and initial weights.
    stop : sequence of str or int, default=("interpolate", "early")
        When training stops, one verdict each. ``"interpolate"``: no wrong label in the
        training set and, for the squared error, a loss below 1e-4, at three looks in a
        row. ``"early"``: `patience` epochs without a better score on held-out rows,
        whose labels are noisy too; the weights of the best epoch count. An integer is
        a number of epochs.
    depth, width : int, default=3, 512
        Of the perceptron.
    parameterization : {"standard", "ntk"}, default="standard"
        Of the perceptron. With ``"ntk"`` and growing width, gradient descent from the
        initial weights tends to kernel regression with
        :class:`~mlmethods.kernels.NTKKernel`, of the same depth.
    loss : {"mse", "cross_entropy"}, default="mse"
        The squared error is against one-hot rows that are centered and scaled to mean
        square 1.
    optimizer : {"sgd", "adam"}, default="sgd"
        ``"sgd"`` has momentum 0.9.
    learning_rate : float, optional
        Constant. By default 1e-2 for ``"sgd"`` with the squared error, 5e-2 with cross
        entropy, and 1e-3 for ``"adam"``.
    batch_size : int, optional
        Rows in a batch; ``min(128, n // 4)`` by default.
    max_epochs : int, optional
        The most epochs; by default 2000 for n up to 1024, and 500 above.
    check_every : int, default=1
        Epochs between two looks at the stop rules.
    patience : int, default=20
        Epochs without improvement, for ``"early"``.
    validation_fraction : float, default=0.1
        Share of the training rows that ``"early"`` holds out.
    monitor : {"error", "loss"}, default="error"
        The score of ``"early"``: the share of wrong labels, or the mean loss. The other
        one decides between equals.
    noise_kind : {"symmetric", "uniform", "pair", "matrix"}, default="symmetric"
        How labels are replaced; see :func:`add_label_noise`.
    matrix : array-like of shape (K, K), optional
        For ``noise_kind="matrix"``.
    test_size : float or int, optional
        Share or number of the rows held out where `run` gets no test rows; by default
        a fifth, 5000 at most.
    store : path-like, optional
        A folder that keeps every finished run. A study that was stopped continues, and
        one with more sizes, seeds or levels adds to it. Needs an integer
        `random_state`.
    n_bootstrap : int, default=1000
        Resamples for the verdicts.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.
    random_state : None, int, numpy.random.RandomState or Generator, default=0
        The root of all streams.
    verbose : int, default=0
        Above 0 draws progress.
    callbacks : sequence of callables, default=()
        Each receives a :class:`mlmethods.interfaces.Event` after each look.

    Notes
    -----
    The given labels count as clean: noise is added to those of training rows only, and
    the risk is the share of wrong labels against clean test labels. The table has
    these columns besides those of :class:`OverfittingStudy`:

    - ``stop``: the rule;
    - ``epochs``, ``epochs_run``: training behind the weights that are judged, and in
      all;
    - ``stopped``: whether the rule ended the run, not `max_epochs`;
    - ``train_loss``: mean loss of the rows that train;
    - ``memorized``: of the replaced labels that train, the share that the network
      reproduces (NaN without noise);
    - ``validation_error``: share of wrong labels in the held-out rows (NaN without).

    The defaults are choices of this library, not the settings of the paper. There is
    no weight decay, dropout or augmentation, any of which can prevent interpolation.

    Weights, rows, noise and the order of batches have streams of their own: more sizes,
    seeds, levels or rules leave the other runs as they are, up to rounding where runs
    side by side are vectorized (on accelerators). The weights of a seed are the same
    at all sizes, levels and rules. Computes in float32.

    References
    ----------
    N. Mallinar, J. B. Simon, A. Abedsoltan, P. Pandit, M. Belkin, P. Nakkiran, "Benign,
    Tempered, or Catastrophic: A Taxonomy of Overfitting", NeurIPS 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mlmethods.overfitting import InterpolationStudy
    >>> X, y = load_digits(return_X_y=True)
    >>> study = InterpolationStudy(
    ...     n_grid=[32, 64], noise_levels=[0, 0.3], n_seeds=2, stop=["interpolate"],
    ...     depth=1, width=32, loss="cross_entropy", optimizer="adam",
    ...     learning_rate=0.01,
    ... )
    >>> table = study.run(X / 16, y >= 5).table
    >>> float(table["train_error"].max()), float(table["memorized"].min())
    (0.0, 1.0)
    """

    def __init__(
        self,
        model: str | Callable[..., Any] = "mlp",
        n_grid: Sequence[int] = (256, 512, 1024, 2048, 4096),
        noise_levels: Sequence[float] = (0.0, 0.2, 0.4),
        n_seeds: int = 3,
        *,
        stop: Sequence[str | int] = (INTERPOLATE, EARLY),
        depth: int = 3,
        width: int = 512,
        parameterization: str = "standard",
        loss: str = "mse",
        optimizer: str = "sgd",
        learning_rate: float | None = None,
        batch_size: int | None = None,
        max_epochs: int | None = None,
        check_every: int = 1,
        patience: int = 20,
        validation_fraction: float = 0.1,
        monitor: str = "error",
        noise_kind: str = "symmetric",
        matrix: ArrayLike | None = None,
        test_size: float | None = None,
        store: str | os.PathLike[str] | None = None,
        n_bootstrap: int = 1000,
        backend: str | Backend = "auto",
        random_state: Any = 0,
        verbose: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model = model
        self.n_grid = n_grid
        self.noise_levels = noise_levels
        self.n_seeds = n_seeds
        self.stop = stop
        self.depth = depth
        self.width = width
        self.parameterization = parameterization
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.check_every = check_every
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.monitor = monitor
        self.noise_kind = noise_kind
        self.matrix = matrix
        self.test_size = test_size
        self.store = store
        self.n_bootstrap = n_bootstrap
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def run(
        self,
        X: ArrayLike,
        y: ArrayLike,
        X_test: ArrayLike | None = None,
        y_test: ArrayLike | None = None,
    ) -> StudyResult:
        """Do all runs and judge them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to train on; without `X_test`, some are held out for the test.
        y : array-like of shape (n_samples,)
            Class labels, taken as clean.
        X_test, y_test : array-like of shapes (n_test, n_features) and (n_test,)
            Test rows and their clean labels.

        Returns
        -------
        StudyResult
            ``verdict`` is a dict of one verdict for each rule in `stop`.

        Raises
        ------
        InvalidInputError
            If an argument is outside its range, or there is one class only.
        DivergenceError
            If the loss of a run stops being finite.

        Warns
        -----
        NotInterpolatedWarning
            If runs of the rule ``"interpolate"`` reach `max_epochs` first.
        """
        plan = Plan(self)
        data = check_data(self, plan, X, y, X_test, y_test)
        for level in plan.levels:
            check_rate(level, len(data.classes))
        transition = label_transition(self.noise_kind, self.matrix, len(data.classes))
        config = plan.network(self, len(data.classes))
        store = _open_store(self, plan, data, transition, config)
        table = self._sweep(plan, data, transition, config, store)
        late = (table["stop"] == INTERPOLATE) & ~table["stopped"]
        if late.any():
            warnings.warn(
                f"{int(late.sum())} of {int((table['stop'] == INTERPOLATE).sum())} "
                "networks do not interpolate within max_epochs; the largest training "
                f"error is {table.loc[late, 'train_error'].max():.3g}",
                NotInterpolatedWarning,
                stacklevel=2,
            )
        verdicts = {
            str(rule): classify_overfitting(
                table[table["stop"] == str(rule)],
                task="classification",
                n_bootstrap=self.n_bootstrap,
                random_state=np.random.default_rng(stream(plan.base, VERDICT)),
                chance=data.chance,
            )
            for rule in plan.stop
        }
        settings = {
            **plan.settings(self, config),
            "n_test": len(data.test_codes),
            "random_state": str(plan.base.entropy),
        }
        return StudyResult(table=table, verdict=verdicts, settings=settings)

    def _sweep(
        self,
        plan: Plan,
        data: Data,
        transition: NDArray,
        config: NetworkConfig,
        store: CellStore | None,
    ) -> pd.DataFrame:
        import pandas as pd

        backend = get_backend(self.backend, "engine:overfitting")
        trainer: NetworkTrainer | None = None
        runs = [
            Run(seed, level, rule)
            for seed in range(plan.n_seeds)
            for level in plan.levels
            for rule in plan.stop
        ]
        progress = progress_callback(self.verbose)
        began = time.perf_counter()

        def report(kind: str, done: int) -> None:
            event = Event(
                kind=kind,
                task="networks",
                step=done,
                total=len(plan.n_grid) * len(runs),
                elapsed=time.perf_counter() - began,
            )
            for callback in (progress, *self.callbacks):
                callback(event)

        frames: list[pd.DataFrame] = []
        with progress:
            report("start", 0)
            for n in plan.n_grid:
                found = _stored(store, n, runs)
                missing = [run for run in runs if run not in found]
                if missing:
                    if trainer is None:
                        trainer = backend.engine("overfitting").networks(
                            config, data.X, data.X_test, plan.n_grid[-1]
                        )
                    cells = Cells(plan, data, transition, n, missing)
                    done = len(frames) + len(runs) - len(missing)

                    def follow(event: Event, done: int = done) -> None:
                        report("step", done + int(event.metrics["stopped"]))

                    for run, frame in cells.train(trainer, self, follow):
                        found[run] = frame
                        if store is not None:
                            store.put(frame, **run.cell(n))
                frames += [found[run] for run in runs]
                report("step", len(frames))
            report("end", len(frames))
        return pd.concat(frames, ignore_index=True)


def _open_store(
    study: InterpolationStudy,
    plan: Plan,
    data: Data,
    transition: NDArray,
    config: NetworkConfig,
) -> CellStore | None:
    if study.store is None:
        return None
    if not isinstance(study.random_state, int | np.integer):
        raise InvalidInputError(
            "random_state must be an integer for a study with a store, got "
            f"{study.random_state!r}"
        )
    grid = ("n_grid", "noise_levels", "n_seeds", "stop", "batch_size", "max_epochs")
    settings = plan.settings(study, config)
    return CellStore(
        study.store,
        {
            "version": _FORMAT_VERSION,
            **{name: v for name, v in settings.items() if name not in grid},
            "model": describe("model", config.model),
            "batch_size": plan.batch_size,
            "max_epochs": plan.max_epochs,
            "data": digest(data.X, data.codes, data.pool),
            "test": digest(data.X_test, data.test_codes),
            "noise": transition.tolist(),
            "random_state": int(study.random_state),
        },
    )


def _stored(
    store: CellStore | None, n: int, runs: Sequence[Run]
) -> dict[Run, pd.DataFrame]:
    """Return the finished runs of a size."""
    if store is None:
        return {}
    cells = ((run, store.get(**run.cell(n))) for run in runs)
    return {run: cell for run, cell in cells if cell is not None}
