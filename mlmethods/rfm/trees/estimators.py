"""Trees whose leaves are Recursive Feature Machines, for large tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_array, validate_data

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.rfm._encodings import ENCODINGS, make_encoding
from mlmethods.rfm._inputs import (
    check_same_width,
    check_weights,
    check_y_val,
    given_together,
    refuse_text,
)
from mlmethods.rfm.estimators import RFMClassifier, RFMRegressor
from mlmethods.rfm.trees.machine import TreeMachine

__all__ = ["TreeRFMClassifier", "TreeRFMRegressor"]


class TreeRFMRegressor(RegressorMixin, TreeMachine):
    """A tree of Recursive Feature Machines for regression on large tables.

    Linear splits at medians divide the rows until a leaf holds few enough for a direct
    solve; each leaf then learns its own machine, with its own feature matrix. Time
    grows as n log n for a fixed size of leaf, where one machine grows as n^3.

    Parameters
    ----------
    leaf : RFMRegressor or None, default=None
        Prototype of the leaves, with their kernel, backend, precision and memory
        limit; None is ``RFMRegressor()``. It is cloned, with a `random_state` drawn
        from the tree's.
    max_leaf_size : int or "auto", default="auto"
        Most rows in a leaf, at least 2. ``"auto"`` follows from the leaf's memory
        limit: 60,000 at 40 GB, growing with the square root, and no more than a direct
        solve fits in. It depends on the free memory: give a number for trees that are
        the same everywhere.
    split : {"agop", "pca", "random", "linear"}, default="agop"
        Direction of a split: the top eigenvector of the average gradient outer product
        of a kernel machine (Laplace, bandwidth 10, reg 1e-3, one solve), the first
        principal direction, a random one, or that of a linear regression.
    split_samples : int, default=1000
        Most rows that a direction is computed from.
    n_trees : int, default=1
        Trees whose predictions are averaged. With several, a direction is computed
        from at most half of a node's rows, so that the trees differ.
    overlap_fraction : float, default=0.0
        Share in [0, 0.5] of a node's rows, those nearest to the threshold, that both
        children are fitted on. Leaves get more: about ``(n / max_leaf_size)^1.16`` for
        0.1 and ``^1.47`` for 0.25.
    soft_routing : bool, default=False
        Predict with several leaves, weighted by the probabilities of their paths, at a
        temperature that is chosen on validation rows. Without `X_val` a share of the
        rows, the leaf's `validation_fraction`, is held out for it; the leaves are then
        fitted again on all rows, which doubles the time.
    refill_size : int, default=1500
        Validation rows that a leaf should have. Without `X_val` a leaf holds out no
        more than these; with it, missing ones are taken from its training rows, at most
        20 % of them, and the leaf is then fitted again on all, for as many updates as
        were best (unless its prototype has ``refit=False``).
    n_jobs : int or None, default=None
        Leaves that are fitted at the same time, in threads; each then needs its memory.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the samples of the splits and all leaves.
    verbose : int, default=0
        1 draws a progress bar over the leaves.

    Attributes
    ----------
    leaves_ : list
        Of all trees, in order: a fitted RFMRegressor, or a ConstantLeaf with the
        attribute ``output`` where the targets of a leaf are all equal.
    splits_ : list of Router
        Of each tree: directions, thresholds, scales and children of its splits.
    leaf_sizes_ : ndarray of shape (n_leaves,)
        Training rows of each leaf.
    leaf_scores_ : ndarray of shape (n_leaves,)
        Validation score of each leaf; NaN where it had no validation rows.
    n_leaves_, depth_ : int
        Number of leaves in all trees, and splits above the deepest.
    max_leaf_size_ : int
        The size that was used.
    temperature_ : float
        Of soft routing; 0 is hard routing.
    leaf_importances_ : ndarray of shape (n_leaves, n_features)
        Feature importances of each leaf.
    feature_importances_ : ndarray of shape (n_features,)
        Their mean, weighted by the rows of the leaves.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where `X` had names.

    Notes
    -----
    A threshold lies halfway between the two projections at the middle. Where many are
    equal, it moves to the nearest two that differ; if that leaves a child less than a
    quarter of the rows, the rows are halved in their order instead, so that a tree
    always ends. The published package gives both children twice `overlap_fraction` of
    a node's rows, with which 0.5 would not end.

    Standardize the columns first: a direction weighs them by their scale.

    References
    ----------
    Beaglehole, Holzmüller, Radhakrishnan, Belkin (2025), xRFM: Accurate, scalable, and
    interpretable feature learning models for tabular data; arXiv:2508.10053.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.rfm import RFMRegressor, TreeRFMRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 4))
    >>> y = np.where(X[:, 0] > 0, X[:, 1], X[:, 2])
    >>> tree = TreeRFMRegressor(
    ...     RFMRegressor(backend="numpy"), max_leaf_size=100, random_state=0
    ... )
    >>> tree.fit(X, y).n_leaves_, tree.predict(X[:3]).shape
    (4, (3,))
    """

    _stored = (*TreeMachine._stored, "single_output_", "n_targets_")

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> TreeRFMRegressor:
        """Grow the trees and fit their leaves.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardized numeric features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights in the machines of the leaves and of the splits; a row of weight 0
            is left out. The size of a leaf counts rows, not weights.
        X_val, y_val : array-like, optional
            Validation rows: each leaf gets those that are routed to it.

        Returns
        -------
        TreeRFMRegressor

        Raises
        ------
        InvalidInputError
            If a parameter is out of range.
        MemoryLimitError
            If a leaf would exceed its memory limit; lower `max_leaf_size`.
        """
        self._check_parameters()
        checked: Any = validate_data(
            self,
            refuse_text(X, codes=False),
            y,
            multi_output=True,
            y_numeric=True,
            dtype=[np.float64, np.float32],
        )
        points, targets = checked
        targets = np.asarray(targets, dtype=np.float64)
        weights = _check_sample_weight(sample_weight, points, dtype=np.float64)
        check_weights(weights)
        Y = targets.reshape(len(points), -1)
        self.single_output_ = targets.ndim == 1
        self.n_targets_ = Y.shape[1]
        validation = None
        if given_together(X_val, y_val):
            X_v = check_array(X_val, dtype=[np.float64, np.float32])
            check_same_width(X_v, points)
            Y_v = check_y_val(y_val, len(X_v), Y.shape[1])
            validation = X_v, Y_v.reshape(len(X_v), *targets.shape[1:]), Y_v
        self._fit_rows(points, targets, Y, weights, validation)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        outputs = self._mean_outputs(X)
        return outputs[:, 0] if self.single_output_ else outputs

    @property
    def _n_targets(self) -> int:
        return self.n_targets_

    def _machine_class(self) -> Any:
        return RFMRegressor

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


class TreeRFMClassifier(ClassifierMixin, TreeMachine):
    """A tree of Recursive Feature Machines for classification of large tables.

    The probabilities of a row are those of its leaf, or a mean over leaves and trees.

    Parameters
    ----------
    leaf : RFMClassifier or None, default=None
        Prototype of the leaves; None is ``RFMClassifier()``. Its `class_weight` counts
        the classes of all rows, not those of a leaf.
    max_leaf_size, split, split_samples, n_trees, overlap_fraction, soft_routing, \
refill_size, n_jobs, random_state, verbose
        As in :class:`TreeRFMRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    leaves_ : list
        Of all trees, in order: a fitted RFMClassifier, which knows the classes of its
        rows, or a ConstantLeaf where there is one class.
    splits_, leaf_sizes_, leaf_scores_, n_leaves_, depth_, max_leaf_size_, temperature_, \
leaf_importances_, feature_importances_
        As in :class:`TreeRFMRegressor`.

    Notes
    -----
    A class without rows in a leaf has the probability 1e-3 there, the smallest that a
    machine gives.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlmethods.rfm import RFMClassifier, TreeRFMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> tree = TreeRFMClassifier(
    ...     RFMClassifier(backend="numpy"), max_leaf_size=80, random_state=0
    ... ).fit(X, y)
    >>> tree.predict_proba(X[:2]).shape, tree.n_leaves_
    ((2, 3), 2)
    """

    _stored = (*TreeMachine._stored, "classes_")

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> TreeRFMClassifier:
        """Grow the trees and fit their leaves.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardized numeric features.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), optional
            Weights in the machines of the leaves and of the splits; a row of weight 0
            is left out. The size of a leaf counts rows, not weights.
        X_val, y_val : array-like, optional
            Validation rows: each leaf gets those that are routed to it, of its classes.

        Returns
        -------
        TreeRFMClassifier

        Raises
        ------
        InvalidInputError
            If a parameter is out of range, or there is only one class.
        MemoryLimitError
            If a leaf would exceed its memory limit; lower `max_leaf_size`.
        """
        self._check_parameters()
        checked: Any = validate_data(
            self, refuse_text(X, codes=False), y, dtype=[np.float64, np.float32]
        )
        points, labels = checked[0], np.asarray(checked[1])
        check_classification_targets(labels)
        weights = _check_sample_weight(sample_weight, points, dtype=np.float64)
        check_weights(weights)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(np.unique(codes[weights > 0])) < 2:
            raise InvalidInputError(
                f"y must have at least 2 classes, got one class: {self.classes_[0]!r}"
            )
        prototype = self._prototype()
        check_choice("target_encoding", prototype.target_encoding, ENCODINGS)
        count = len(self.classes_)
        make_encoding(prototype.target_encoding, np.full(count, 1 / count))
        if prototype.class_weight is not None:
            weights = weights * compute_sample_weight(prototype.class_weight, labels)
        validation = None
        if given_together(X_val, y_val):
            X_v = check_array(X_val, dtype=[np.float64, np.float32])
            check_same_width(X_v, points)
            y_v = check_y_val(y_val, len(X_v), None)
            unknown = np.setdiff1d(y_v, self.classes_)
            if unknown.size:
                raise InvalidInputError(
                    f"y_val must have classes of y only, got also {unknown.tolist()}"
                )
            hot = (y_v[:, None] == self.classes_).astype(np.float64)
            validation = X_v, y_v, hot
        self._fit_rows(points, labels, np.eye(count)[codes], weights, validation)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._mean_outputs(X)

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the label of the largest probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        outputs = self._mean_outputs(X)
        return self.classes_[np.argmax(outputs, axis=1)]

    def _machine_class(self) -> Any:
        return RFMClassifier
