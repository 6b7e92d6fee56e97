"""What the tree regressor and classifier share: growth, leaves, answers."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from mlmethods.common.memory import resolve_memory_limit
from mlmethods.common.progress import progress_callback
from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Event, NDArray
from mlmethods.rfm._inputs import warn_of_scales
from mlmethods.rfm.trees.directions import SPLITS
from mlmethods.rfm.trees.leaves import (
    ConstantLeaf,
    LeafRows,
    automatic_leaf_size,
    choose_temperature,
    fit_again,
    fit_leaf,
    summarized_warnings,
    tree_outputs,
)
from mlmethods.rfm.trees.routing import Router
from mlmethods.rfm.trees.splits import Growth, grow
from mlmethods.rfm.trees.store import load_tree, save_tree

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TreeMachine"]

Validation = tuple[NDArray, NDArray, NDArray]


class TreeMachine(BaseEstimator):
    """What the regressor and the classifier share."""

    _stored: tuple[str, ...] = (
        "depth_",
        "dtype_",
        "max_leaf_size_",
        "n_leaves_",
        "temperature_",
    )

    def __init__(
        self,
        leaf: Any = None,
        *,
        max_leaf_size: int | str = "auto",
        split: str = "agop",
        split_samples: int = 1000,
        n_trees: int = 1,
        overlap_fraction: float = 0.0,
        soft_routing: bool = False,
        refill_size: int = 1500,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.leaf = leaf
        self.max_leaf_size = max_leaf_size
        self.split = split
        self.split_samples = split_samples
        self.n_trees = n_trees
        self.overlap_fraction = overlap_fraction
        self.soft_routing = soft_routing
        self.refill_size = refill_size
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # Fitting -----------------------------------------------------------------

    @abstractmethod
    def _machine_class(self) -> Any:
        """Return the class of the leaves."""

    def _labels(self) -> NDArray | None:
        """Return the labels of a classifier, None for a regressor."""
        return getattr(self, "classes_", None)

    def _prototype(self) -> Any:
        kind = self._machine_class()
        if self.leaf is None:
            return kind()
        if not isinstance(self.leaf, kind):
            raise InvalidInputError(
                f"leaf must be None or an {kind.__name__}, got {self.leaf!r}"
            )
        if self.leaf.checkpoint_dir is not None:
            raise InvalidInputError(
                "leaf must have checkpoint_dir=None, since many leaves would share "
                f"the folder, got {self.leaf.checkpoint_dir!r}"
            )
        if self.leaf.categorical_features is not None:
            raise InvalidInputError(
                "leaf must have categorical_features=None, since the splits of a tree "
                "are directions of numbers; encode the columns first, for example with "
                f"OneHotEncoder, got {self.leaf.categorical_features!r}"
            )
        check_real(
            "validation_fraction",
            self.leaf.validation_fraction,
            minimum=0,
            maximum=1,
            open_minimum=True,
            open_maximum=True,
        )
        return self.leaf

    def _check_parameters(self) -> None:
        if not (isinstance(self.max_leaf_size, str) and self.max_leaf_size == "auto"):
            if isinstance(self.max_leaf_size, str):
                raise InvalidInputError(
                    "max_leaf_size must be an integer >= 2 or 'auto', got "
                    f"{self.max_leaf_size!r}"
                )
            check_integer("max_leaf_size", self.max_leaf_size, minimum=2)
        check_choice("split", self.split, SPLITS)
        check_integer("split_samples", self.split_samples, minimum=2)
        check_integer("n_trees", self.n_trees, minimum=1)
        check_real("overlap_fraction", self.overlap_fraction, minimum=0, maximum=0.5)
        check_integer("refill_size", self.refill_size, minimum=1)
        if not isinstance(self.soft_routing, bool | np.bool_):
            raise InvalidInputError(
                f"soft_routing must be True or False, got {self.soft_routing!r}"
            )

    def _fit_rows(
        self,
        X: NDArray,
        y: NDArray,
        Y: NDArray,
        weights: NDArray,
        validation: Validation | None,
    ) -> None:
        """Fit on y, as the leaves take it, and its numbers Y (n, c)."""
        prototype = self._prototype()
        hold_seed, *tree_seeds = seed_sequence(self.random_state).spawn(
            1 + self.n_trees
        )
        present = weights > 0
        if not present.any():
            raise InvalidInputError(
                "sample_weight must have at least one positive entry, got none"
            )
        data = X[present], y[present], Y[present], weights[present]
        warn_of_scales(data[0])
        size = self._leaf_size(prototype, X.shape[1], Y.shape[1])
        self.max_leaf_size_ = size
        generator = np.random.default_rng(hold_seed)
        held = None
        if self.soft_routing and validation is None and len(data[0]) > size:
            fraction = prototype.validation_fraction
            kept, held_rows = self._hold_out(data[1], fraction, generator)
            held = [array[held_rows] for array in data]
            data = tuple(array[kept] for array in data)
            validation = held[0], held[1], held[2]
            # The held-out rows come back at the end.
            size = max(2, int(size * (1 - fraction)))
        with summarized_warnings():
            trees, rows = self._grow(data, size, prototype, tree_seeds)
            routed = self._routed(trees, validation)
            found = self._fit_leaves(prototype, data, rows, routed, hold_seed)
            self.splits_, self.leaves_ = trees, [leaf for leaf, _ in found]
            self.temperature_ = 0.0
            if self.soft_routing and validation is not None:
                self.temperature_ = choose_temperature(
                    list(zip(trees, self._leaves_by_tree(), strict=True)),
                    validation[0],
                    validation[2],
                    self._labels(),
                    generator,
                )
            self.leaf_sizes_ = np.array([len(part) for part in rows])
            if held is not None:
                self.leaf_sizes_ += self._return_rows(data, rows, held)
        self.leaf_scores_ = np.array([score for _, score in found])
        self.n_leaves_ = len(found)
        self.depth_ = max(int(router.leaf_depths().max()) for router in trees)
        machines = [leaf for leaf, _ in found if not isinstance(leaf, ConstantLeaf)]
        self.dtype_ = machines[0].dtype_ if machines else "float64"

    def _leaf_size(self, prototype: Any, d: int, c: int) -> int:
        if self.max_leaf_size != "auto":
            return int(self.max_leaf_size)
        dtype = "float64" if prototype.dtype == "auto" else prototype.dtype
        limit = resolve_memory_limit(prototype.memory_limit)
        jobs = effective_n_jobs(self.n_jobs)
        return automatic_leaf_size(limit, d, c, dtype, jobs)

    def _hold_out(
        self, y: NDArray, fraction: float, rng: np.random.Generator
    ) -> tuple[NDArray, NDArray]:
        stratify = None
        if self._labels() is not None:
            counts = np.unique(y, return_counts=True)[1]
            room = min(fraction, 1 - fraction) * len(y)
            stratify = y if counts.min() >= 2 and room > len(counts) else None
        kept, held = train_test_split(
            np.arange(len(y)),
            test_size=fraction,
            random_state=int(rng.integers(2**31)),
            stratify=stratify,
        )
        return np.sort(kept), np.sort(held)

    def _grow(
        self,
        data: tuple[NDArray, ...],
        size: int,
        prototype: Any,
        seeds: list[np.random.SeedSequence],
    ) -> tuple[list[Router], list[NDArray]]:
        """Return the splits of each tree and the rows of all leaves."""
        X, _, Y, weights = data
        settings = Growth(
            max_leaf_size=size,
            split=self.split,
            split_samples=self.split_samples,
            overlap_fraction=float(self.overlap_fraction),
            subsample=self.n_trees > 1,
            machine={
                name: getattr(prototype, name)
                for name in ("backend", "dtype", "memory_limit")
            },
        )
        routers, rows = [], []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            router, found = grow(X, Y, weights, settings, rng)
            routers.append(router)
            rows.extend(found)
        return routers, rows

    def _routed(
        self, trees: list[Router], validation: Validation | None
    ) -> Iterator[tuple[NDArray, NDArray] | None]:
        """Yield the validation rows of each leaf."""
        for router in trees:
            if validation is None:
                yield from [None] * router.n_leaves
                continue
            leaf = router.leaf_of(validation[0])
            for k in range(router.n_leaves):
                here = leaf == k
                yield validation[0][here], validation[1][here]

    def _fit_leaves(
        self,
        prototype: Any,
        data: tuple[NDArray, ...],
        rows: list[NDArray],
        routed: Iterator[tuple[NDArray, NDArray] | None],
        seed: np.random.SeedSequence,
    ) -> list[tuple[Any, float]]:
        """Return each leaf and its validation score."""
        X, y, _, weights = data
        seeds = [
            int(child.generate_state(1)[0] >> 1) for child in seed.spawn(len(rows))
        ]
        classes = self._labels()
        jobs = (
            delayed(fit_leaf)(
                prototype,
                LeafRows(X[here], y[here], weights[here], of_leaf),
                classes,
                leaf_seed,
                self.refill_size,
            )
            for here, of_leaf, leaf_seed in zip(rows, routed, seeds, strict=True)
        )
        # Threads share what is compiled, and the solves leave the interpreter's lock.
        results = Parallel(n_jobs=self.n_jobs, prefer="threads", return_as="generator")(
            jobs
        )
        found = []
        total, start = len(rows), time.perf_counter()
        with progress_callback(self.verbose) as progress:
            progress(Event(kind="start", task="tree-rfm", total=total))
            for result in results:
                found.append(result)
                progress(
                    Event(
                        kind="end" if len(found) == total else "step",
                        task="tree-rfm",
                        step=len(found),
                        total=total,
                        elapsed=time.perf_counter() - start,
                    )
                )
        return found

    def _return_rows(
        self, data: tuple[NDArray, ...], rows: list[NDArray], held: list[NDArray]
    ) -> NDArray:
        """Fit each leaf again with the held-out rows that fall into it; count them."""
        X, y, _, weights = data
        first = np.cumsum([0, *(router.n_leaves for router in self.splits_)])
        falls = [router.leaf_of(held[0]) for router in self.splits_]

        def joined(k: int) -> LeafRows:
            tree = int(np.searchsorted(first, k, side="right")) - 1
            more = falls[tree] == k - first[tree]
            here = rows[k]
            return LeafRows(
                np.concatenate([X[here], held[0][more]]),
                np.concatenate([y[here], held[1][more]]),
                np.concatenate([weights[here], held[3][more]]),
                None,
            )

        jobs = (
            delayed(fit_again)(leaf, joined(k), self._labels())
            for k, leaf in enumerate(self.leaves_)
        )
        self.leaves_ = Parallel(n_jobs=self.n_jobs, prefer="threads")(jobs)
        return np.concatenate(
            [
                np.bincount(leaf, minlength=router.n_leaves)
                for leaf, router in zip(falls, self.splits_, strict=True)
            ]
        )

    # Using -------------------------------------------------------------------

    @property
    def _n_outputs(self) -> int:
        labels = self._labels()
        return self._n_targets if labels is None else len(labels)

    def _leaves_by_tree(self) -> list[list[Any]]:
        leaves = iter(self.leaves_)
        return [
            [next(leaves) for _ in range(router.n_leaves)] for router in self.splits_
        ]

    def _queries(self, X: ArrayLike) -> NDArray:
        check_is_fitted(self)
        checked = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return np.asarray(checked)

    def _mean_outputs(self, X: ArrayLike) -> NDArray:
        points = self._queries(X)
        total = np.zeros((len(points), self._n_outputs))
        for router, leaves in zip(self.splits_, self._leaves_by_tree(), strict=True):
            total += tree_outputs(
                router,
                leaves,
                points,
                self._labels(),
                self.temperature_,
                self._n_outputs,
            )
        return (total / len(self.splits_)).astype(self.dtype_)

    def apply(self, X: ArrayLike) -> NDArray:
        """Return the leaf of each row: its position in ``leaves_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_trees)
            One column a tree where there are several.
        """
        points = self._queries(X)
        columns, first = [], 0
        for router in self.splits_:
            columns.append(first + router.leaf_of(points))
            first += router.n_leaves
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)

    @property
    def leaf_importances_(self) -> NDArray:
        """``feature_importances_`` of each leaf, (n_leaves, n_features).

        Zero for a leaf that is constant.
        """
        check_is_fitted(self, "leaves_")
        return np.array(
            [
                np.zeros(self.n_features_in_)
                if isinstance(leaf, ConstantLeaf)
                else leaf.feature_importances_
                for leaf in self.leaves_
            ]
        )

    @property
    def feature_importances_(self) -> NDArray:
        """Mean of the leaves' importances, weighted by their rows, (n_features,).

        Leaves that are constant do not count.
        """
        total = self.leaf_sizes_ @ self.leaf_importances_
        return total / total.sum() if total.sum() > 0 else total

    def leaf_frame(self, k: int = 3) -> pd.DataFrame:
        """Return what each leaf is, one row a leaf.

        Parameters
        ----------
        k : int, default=3
            Features to name.

        Returns
        -------
        pandas.DataFrame
            Columns: tree, leaf, depth, rows, updates (the iterate that was chosen; -1
            for a constant), validation_score (NaN without validation rows), features
            (the `k` of largest importance, in order) and their share of the
            importance.
        """
        import pandas as pd

        check_is_fitted(self, "leaves_")
        default = [f"x{j}" for j in range(self.n_features_in_)]
        names = np.asarray(getattr(self, "feature_names_in_", default), dtype=str)
        importances = self.leaf_importances_
        top = np.argsort(-importances, axis=1, kind="stable")[:, :k]
        shares = np.take_along_axis(importances, top, axis=1)
        constant = [isinstance(leaf, ConstantLeaf) for leaf in self.leaves_]
        return pd.DataFrame(
            {
                "tree": np.repeat(
                    np.arange(len(self.splits_)),
                    [router.n_leaves for router in self.splits_],
                ),
                "leaf": np.arange(self.n_leaves_),
                "depth": np.concatenate([r.leaf_depths() for r in self.splits_]),
                "rows": self.leaf_sizes_,
                "updates": [getattr(leaf, "n_iter_", -1) for leaf in self.leaves_],
                "validation_score": self.leaf_scores_,
                "features": [
                    "" if alone else ", ".join(names[chosen])
                    for alone, chosen in zip(constant, top, strict=True)
                ],
                "share": shares.sum(axis=1),
            }
        )

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the fitted trees to a folder (safetensors and JSON), leaf by leaf.

        Parameters
        ----------
        directory : path-like
            The folder; an earlier tree there is replaced as a whole.

        Raises
        ------
        InvalidInputError
            If `leaf` is of a subclass, which loading would not know.
        CheckpointError
            If something that is not a saved tree is in the way.
        """
        check_is_fitted(self, "leaves_")
        save_tree(self, directory, self._machine_class())

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Any:
        """Return the trees that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the folder or a leaf is missing, damaged or holds another class.
        """
        return load_tree(cls, directory, cls()._machine_class())

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags
