"""Trees of machines: their splits, routing, leaves and scikit-learn's contract."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlmethods
from mlmethods.errors import (
    CheckpointError,
    InvalidInputError,
    MemoryLimitError,
    NumericalWarning,
)
from mlmethods.rfm import (
    RFMClassifier,
    RFMRegressor,
    TreeRFMClassifier,
    TreeRFMRegressor,
)
from mlmethods.rfm.trees.directions import Sample, find_direction
from mlmethods.rfm.trees.leaves import ConstantLeaf, automatic_leaf_size
from mlmethods.rfm.trees.routing import Router
from mlmethods.rfm.trees.splits import Growth, cut, grow
from mlmethods_jax.testing import compile_guard

NUMPY = {"backend": "numpy", "dtype": "auto", "memory_limit": "auto"}
KINDS = ("agop", "pca", "random", "linear")


def regressor(**settings):
    leaf = {"backend": "numpy", "n_iter": 1, **settings.pop("leaf", {})}
    return TreeRFMRegressor(RFMRegressor(**leaf), **{"random_state": 0, **settings})


def classifier(**settings):
    leaf = {"backend": "numpy", "n_iter": 1, **settings.pop("leaf", {})}
    return TreeRFMClassifier(RFMClassifier(**leaf), **{"random_state": 0, **settings})


@pytest.fixture(scope="module")
def local():
    """Return synthetic rows whose target uses other columns on either side of x0."""
    X = np.random.default_rng(0).normal(size=(400, 5))
    # Half of the rows on each side, with a gap between them.
    X[:, 0] = (np.abs(X[:, 0]) + 0.3) * np.where(np.arange(400) % 2, 1, -1)
    y = np.where(X[:, 0] > 0, 3 + X[:, 1] * X[:, 2], X[:, 3] * X[:, 4])
    return X, y


# The contract ----------------------------------------------------------------

SMALL = {"max_leaf_size": 40, "split_samples": 50}


def expected_failures(estimator):
    if estimator.leaf.backend == "numpy":
        return {}
    return dict.fromkeys(
        (
            "check_methods_subset_invariance",
            "check_regressor_multioutput",
            "check_sample_weight_equivalence_on_dense_data",
        ),
        "the default is float32, the check's tolerance 1e-7",
    )


@parametrize_with_checks(
    [regressor(**SMALL), classifier(**SMALL)],
    expected_failed_checks=expected_failures,
)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        regressor(),
        classifier(),
        TreeRFMRegressor(RFMRegressor(n_iter=1), **SMALL, random_state=0),
        TreeRFMClassifier(RFMClassifier(n_iter=1), **SMALL, random_state=0),
        regressor(**SMALL, soft_routing=True, n_trees=2, overlap_fraction=0.2),
        classifier(**SMALL, soft_routing=True, n_trees=2, overlap_fraction=0.2),
    ],
    expected_failed_checks=expected_failures,
)
def test_sklearn_contract_in_full(estimator, check):
    check(estimator)


def test_parameters_of_the_leaves_are_searched(local):
    X, y = local[0][:200], local[1][:200]
    search = GridSearchCV(
        regressor(max_leaf_size=100), {"leaf__reg": [1e-2, 1e6]}, cv=2
    )
    assert search.fit(X, y).best_params_ == {"leaf__reg": 1e-2}
    assert clone(search.best_estimator_).leaf.reg == 1e-2


# Directions and thresholds ---------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_without_ties_is_at_the_median(seed):
    values = np.random.default_rng(seed).normal(size=50 + seed)
    found = cut(values)
    ranked = np.sort(values)
    half = (len(values) + 1) // 2
    assert ranked[half - 1] < found.threshold < ranked[half]
    np.testing.assert_array_equal(
        np.sort(found.left), np.flatnonzero(values <= found.threshold)
    )
    np.testing.assert_array_equal(
        np.sort(found.right), np.flatnonzero(values > found.threshold)
    )
    assert found.scale == pytest.approx(np.subtract(*np.percentile(values, [75, 25])))


@pytest.mark.parametrize(
    ("values", "left", "threshold"),
    [
        ([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], 4, 0.5),  # the nearest two that differ
        ([0, 0, 0, 1, 1, 1, 1, 2, 2, 2], 3, 0.5),
        ([0, 1, 1, 1, 1, 1, 1, 1, 1, 1], 5, 0.5),  # too few on the left: halves
        ([2, 2, 2, 2, 2, 2, 2, 2, 2], 5, 2.0),  # all equal
        ([0, 1, 1], 1, 0.5),
    ],
)
def test_ties_never_empty_a_child(values, left, threshold):
    found = cut(np.array(values, dtype=float))
    assert len(found.left) == left
    assert len(found.right) == len(values) - left
    assert found.threshold == threshold
    together = np.concatenate([found.left, found.right])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(values)))


def test_rounding_is_a_tie():
    values = np.array([0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2, 1.0, 1.0])
    found = cut(values)
    assert found.threshold == pytest.approx(0.65)
    assert set(found.left) == {0, 1, 2, 3}


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_overlap_shares_the_rows_nearest_to_the_threshold(fraction):
    values = np.random.default_rng(1).permutation(100).astype(float)
    found = cut(values, fraction)
    both = np.intersect1d(found.left, found.right)
    np.testing.assert_array_equal(
        np.sort(values[both]), np.arange(50 - 50 * fraction, 50 + 50 * fraction)
    )
    assert set(found.left) | set(found.right) == set(range(100))
    assert max(len(found.left), len(found.right)) <= 75


@pytest.mark.parametrize("kind", ["agop", "linear"])
def test_a_direction_follows_the_targets_not_the_variance(kind):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(200, 6)) * [1, 1, 5, 1, 1, 1]
    Y = np.column_stack([2 * X[:, 4], -X[:, 4]])
    v = find_direction(kind, Sample(X, Y, np.ones(200)), NUMPY, rng)
    assert abs(v[4]) > 0.95
    v = find_direction("pca", Sample(X, Y, np.ones(200)), NUMPY, rng)
    assert abs(v[2]) > 0.95


def test_a_direction_from_fewer_rows_than_columns_is_that_of_the_full_matrix():
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(20, 30)), rng.normal(size=(20, 2))
    weights = rng.uniform(0.5, 2, size=20)
    v = find_direction("agop", Sample(X, Y, weights), NUMPY, rng)
    machine = RFMRegressor(
        n_iter=0, bandwidth=10.0, reg=1e-3, early_stopping=False, backend="numpy"
    ).fit(X, Y, weights)
    kernel = mlmethods.kernels.LaplaceKernel(bandwidth=10.0)
    agop = np.zeros((30, 30))
    for i in range(20):
        others = np.arange(20) != i
        alpha = machine.dual_coef_[others]
        g = kernel.grad(X[i : i + 1], X[others], alpha, backend="numpy")[0]
        agop += weights[i] * g.T @ g
    top = np.linalg.eigh(agop)[1][:, -1]
    assert abs(top @ v) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tree_grows_on_binary_columns(kind):
    rng = np.random.default_rng(4)
    X = (rng.random((300, 4)) < 0.3).astype(float)
    Y = rng.normal(size=(300, 1))
    settings = Growth(max_leaf_size=8, split=kind, split_samples=64, machine=NUMPY)
    router, leaves = grow(X, Y, np.ones(300), settings, rng)
    assert max(len(rows) for rows in leaves) <= 8
    assert min(len(rows) for rows in leaves) >= 1
    np.testing.assert_array_equal(np.sort(np.concatenate(leaves)), np.arange(300))
    assert router.leaf_depths().max() <= 16


def test_equal_rows_are_split_by_their_number():
    X, Y = np.ones((40, 3)), np.arange(40.0)[:, None]
    settings = Growth(max_leaf_size=5, split="pca", machine=NUMPY)
    router, leaves = grow(X, Y, np.ones(40), settings, np.random.default_rng(0))
    assert [len(rows) for rows in leaves] == [5] * 8
    assert len(np.unique(router.leaf_of(X))) == 1


@pytest.mark.parametrize("fraction", [0.0, 0.5])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_tiny_leaves_and_any_overlap_end(size, fraction):
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(16, 2)), rng.normal(size=(16, 1))
    settings = Growth(
        max_leaf_size=size, split="pca", overlap_fraction=fraction, machine=NUMPY
    )
    router, leaves = grow(X, Y, np.ones(16), settings, rng)
    assert 1 <= min(map(len, leaves)) <= max(map(len, leaves)) <= size
    # Every row is among those of the leaf that it is routed to.
    for row, leaf in enumerate(router.leaf_of(X)):
        assert row in leaves[leaf]


# Routing ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def forest():
    """Return a tree of 40 leaves over 200 rows."""
    rng = np.random.default_rng(6)
    X, Y = rng.normal(size=(200, 3)), rng.normal(size=(200, 1))
    settings = Growth(max_leaf_size=7, split="random", machine=NUMPY)
    return X, *grow(X, Y, np.ones(200), settings, rng)


def test_rows_are_routed_to_the_leaf_that_holds_them(forest):
    X, router, leaves = forest
    expected = np.empty(200, dtype=int)
    for leaf, rows in enumerate(leaves):
        expected[rows] = leaf
    np.testing.assert_array_equal(router.leaf_of(X), expected)
    new = np.random.default_rng(7).normal(size=(50, 3))
    for x, leaf in zip(new, router.leaf_of(new), strict=True):
        node = 0
        while node >= 0:
            below = x @ router.directions[node] <= router.thresholds[node]
            node = router.children[node, 0 if below else 1]
        assert leaf == -1 - node


def test_no_temperature_is_hard_routing_and_so_is_a_small_one(forest):
    X, router, _ = forest
    hard = np.eye(router.n_leaves)[router.leaf_of(X)]
    np.testing.assert_array_equal(router.weights(X, 0.0), hard)
    np.testing.assert_allclose(router.weights(X, 1e-9), hard, atol=1e-6)
    assert router.weights(X, 0.5).max(axis=1).min() < 0.9


def test_soft_weights_are_products_of_sigmoids_of_the_likeliest_leaves(forest):
    X, router, _ = forest
    T = 0.3
    p = 1 / (
        1 + np.exp((X @ router.directions.T - router.thresholds) / (T * router.scales))
    )
    full = np.zeros((len(X), router.n_leaves))

    def walk(node, share):
        if node < 0:
            full[:, -1 - node] = share
            return
        left, right = router.children[node]
        walk(left, share * p[:, node])
        walk(right, share * (1 - p[:, node]))

    walk(0, np.ones(len(X)))
    np.testing.assert_allclose(full.sum(axis=1), 1.0)
    weights = router.weights(X, T)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    for mass, kept in zip(full, weights, strict=True):
        chosen = np.flatnonzero(kept)
        ranked = np.argsort(-mass)
        enough = int(np.searchsorted(np.cumsum(mass[ranked]), 0.99)) + 1
        assert set(chosen) == set(ranked[: min(enough, 12)])
        np.testing.assert_allclose(kept[chosen], mass[chosen] / mass[chosen].sum())


def test_a_split_of_equal_projections_stays_hard():
    router = Router(np.eye(1), np.ones(1), np.zeros(1), np.array([[-1, -2]]))
    X = np.array([[0.5], [1.0], [1.5]])
    expected = [[1, 0], [1, 0], [0, 1]]
    np.testing.assert_array_equal(router.weights(X, 2.0), expected)


# The estimators --------------------------------------------------------------


def test_a_tree_of_one_leaf_is_the_machine():
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    leaf = {"reg": 1.0, "early_stopping": False, "backend": "numpy"}
    tree = regressor(leaf={**leaf, "n_iter": 2}).fit(X, y)
    machine = RFMRegressor(**leaf, n_iter=2).fit(X, y)
    assert (tree.n_leaves_, tree.depth_, tree.splits_[0].n_leaves) == (1, 0, 1)
    np.testing.assert_allclose(tree.predict(X), machine.predict(X), rtol=1e-12)
    np.testing.assert_allclose(tree.feature_importances_, machine.feature_importances_)


def test_leaves_answer_for_their_rows(local):
    X, y = local
    tree = regressor(max_leaf_size=100).fit(X, y)
    leaf = tree.apply(X)
    assert tree.n_leaves_ == 4
    np.testing.assert_array_equal(np.bincount(leaf), tree.leaf_sizes_)
    predictions = tree.predict(X)
    for k, machine in enumerate(tree.leaves_):
        here = leaf == k
        np.testing.assert_allclose(predictions[here], machine.predict(X[here]))
    assert abs(tree.splits_[0].directions[0, 0]) > 0.9


def test_the_frame_tells_what_each_leaf_uses(local):
    import pandas as pd

    X, y = local
    names = ["gate", "a", "b", "c", "d"]
    tree = regressor(max_leaf_size=200, leaf={"n_iter": 3})
    tree.fit(pd.DataFrame(X, columns=names), y)
    frame = tree.leaf_frame(k=2)
    sides = tree.apply(
        pd.DataFrame([[-2.0, 0, 0, 0, 0], [2.0, 0, 0, 0, 0]], columns=names)
    )
    assert set(frame["features"][sides[0]].split(", ")) == {"c", "d"}
    assert set(frame["features"][sides[1]].split(", ")) == {"a", "b"}
    assert frame["rows"].tolist() == [200, 200]
    expected = tree.leaf_sizes_ @ tree.leaf_importances_ / tree.leaf_sizes_.sum()
    np.testing.assert_allclose(tree.feature_importances_, expected)


def test_same_seed_same_trees_and_other_seed_other_trees(local):
    X, y = local
    settings = {"max_leaf_size": 120, "split_samples": 100}
    a = regressor(**settings).fit(X, y)
    b = regressor(**settings, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    c = regressor(**settings, **{"random_state": 1}).fit(X, y)
    assert np.abs(a.splits_[0].directions - c.splits_[0].directions).max() > 1e-3


def test_trees_differ_and_are_averaged(local):
    X, y = local
    forest = regressor(max_leaf_size=200, n_trees=3).fit(X, y)
    assert forest.apply(X).shape == (400, 3)
    directions = [router.directions[0] for router in forest.splits_]
    assert np.abs(directions[0] - directions[1]).max() > 1e-4
    leaf = forest.apply(X)
    answers = np.array([machine.predict(X) for machine in forest.leaves_])
    expected = answers[leaf.T, np.arange(len(X))].mean(axis=0)
    np.testing.assert_allclose(forest.predict(X), expected)


def test_soft_routing_is_chosen_where_it_helps(local):
    X, y = local
    tree = regressor(max_leaf_size=70, soft_routing=True)
    tree.fit(X[:250], y[:250], X_val=X[250:], y_val=y[250:])
    losses = {}
    for temperature in np.concatenate([[0.0], np.geomspace(0.025, 4.5, 20)]):
        other = clone(tree)
        other.__dict__.update(tree.__dict__, temperature_=temperature)
        losses[temperature] = np.mean((other.predict(X[250:]) - y[250:]) ** 2)
    assert tree.temperature_ == min(losses, key=losses.get)
    assert tree.temperature_ > 0
    tree.temperature_ = 1e-12
    hard = clone(tree)
    hard.__dict__.update(tree.__dict__, temperature_=0.0)
    np.testing.assert_allclose(tree.predict(X), hard.predict(X), atol=1e-9)


def test_soft_routing_holds_rows_out_and_gives_them_back(local):
    X, y = local
    tree = regressor(max_leaf_size=200, soft_routing=True, overlap_fraction=0.0).fit(
        X, y
    )
    assert tree.leaf_sizes_.sum() == 400
    assert sum(len(leaf.X_fit_) for leaf in tree.leaves_) == 400
    # No X_val, one leaf: nothing to route.
    alone = regressor(soft_routing=True).fit(X, y)
    assert alone.temperature_ == 0
    assert len(alone.leaves_[0].X_fit_) == 400


def test_validation_rows_go_to_their_leaf_and_are_filled_up(local, monkeypatch):
    X, y = local
    seen = []
    fit = RFMRegressor.fit

    def spy(self, X, y, sample_weight=None, X_val=None, y_val=None):
        seen.append((len(X), 0 if X_val is None else len(X_val), self.early_stopping))
        return fit(self, X, y, sample_weight, X_val, y_val)

    monkeypatch.setattr("mlmethods.rfm.estimators.RFMRegressor.fit", spy)
    tree = regressor(max_leaf_size=150, split="pca", refill_size=60)
    tree.fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    counts = np.bincount(tree.apply(X[300:]))
    assert counts.max() < 60
    expected = []
    for count in counts:
        lent = min(30, max(0, 60 - count))
        expected.append((150 - lent, count + lent, "auto"))
        if lent:
            expected.append((150, 0, False))
    assert seen == expected
    assert np.isfinite(tree.leaf_scores_).all()
    seen.clear()
    regressor(max_leaf_size=200, split="pca", refill_size=30).fit(X, y)
    assert seen == [(200, 0, "auto")] * 2


def test_a_leaf_holds_out_no_more_rows_than_it_needs(local):
    X, y = local
    tree = regressor(refill_size=40).fit(X, y)
    assert tree.leaves_[0].validation_fraction == pytest.approx(0.1)


def test_leaves_of_equal_targets_answer_with_them(local):
    X = local[0]
    y = np.where(X[:, 0] > 0, 7.0, X[:, 1])
    tree = regressor(max_leaf_size=60, split="linear").fit(X, y)
    constant = [isinstance(leaf, ConstantLeaf) for leaf in tree.leaves_]
    assert any(constant)
    assert not all(constant)
    leaf = tree.apply(X)
    here = np.isin(leaf, np.flatnonzero(constant))
    np.testing.assert_array_equal(tree.predict(X[here]), 7.0)
    assert tree.leaf_frame()["updates"].eq(-1).tolist() == constant
    flat = regressor(max_leaf_size=50).fit(X, np.full(400, 2.5))
    np.testing.assert_array_equal(flat.predict(X), 2.5)
    assert flat.n_leaves_ == 1
    assert flat.feature_importances_.sum() == 0


def test_leaves_of_one_class_and_of_few_classes(local):
    X = local[0]
    y = np.where(X[:, 0] > 0.1, "one", np.where(X[:, 1] > 0, "two", "three"))
    y[:3] = "rare"
    tree = classifier(max_leaf_size=80, split="linear").fit(X, y)
    assert any(isinstance(leaf, ConstantLeaf) for leaf in tree.leaves_)
    probabilities = tree.predict_proba(X)
    assert tree.classes_.tolist() == ["one", "rare", "three", "two"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert probabilities.min() > 5e-4
    assert tree.score(X, y) > 0.9
    machines = [leaf for leaf in tree.leaves_ if not isinstance(leaf, ConstantLeaf)]
    assert {len(leaf.classes_) for leaf in machines} >= {2, 3}
    here = tree.leaves_.index(machines[-1])
    rows = X[tree.apply(X) == here]
    np.testing.assert_array_equal(tree.predict(rows), machines[-1].predict(rows))


def test_class_weights_count_all_rows(local):
    X = local[0]
    y = (X[:, 0] + X[:, 1] > 1.5).astype(int)
    plain = classifier(max_leaf_size=200).fit(X, y)
    weights = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    weighted = classifier(max_leaf_size=200).fit(X, y, sample_weight=weights)
    balanced = classifier(max_leaf_size=200, leaf={"class_weight": "balanced"}).fit(
        X, y
    )
    np.testing.assert_allclose(balanced.predict_proba(X), weighted.predict_proba(X))
    assert np.abs(plain.predict_proba(X) - balanced.predict_proba(X)).max() > 1e-4


def test_rows_of_weight_zero_are_left_out(local):
    X, y = local
    weights = np.r_[np.ones(300), np.zeros(100)]
    a = regressor(max_leaf_size=150).fit(X, y, sample_weight=weights)
    b = regressor(max_leaf_size=150).fit(X[:300], y[:300])
    np.testing.assert_allclose(a.predict(X), b.predict(X))


@pytest.mark.parametrize("kind", KINDS)
def test_every_split_learns_real_data(kind):
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    tree = classifier(max_leaf_size=160, split=kind, leaf={"reg": 1.0})
    assert tree.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.93
    assert tree.n_leaves_ >= 2


# What is compiled ------------------------------------------------------------


def test_leaves_share_what_is_compiled(rng):
    X, y = rng.normal(size=(320, 3)), rng.normal(size=320)
    tree = TreeRFMRegressor(
        RFMRegressor(n_iter=1, early_stopping=False),
        max_leaf_size=40,
        split="linear",
        random_state=0,
    )
    # The step and the prediction, for eight leaves of 40 rows.
    with compile_guard(max_compiles=2):
        tree.fit(X, y).predict(X)
    assert tree.n_leaves_ == 8
    with compile_guard(max_compiles=0):
        clone(tree).set_params(leaf__reg=0.1).fit(X[::-1], y).predict(X)


@pytest.mark.slow
def test_more_leaves_compile_no_more_programs(rng):
    X, y = rng.normal(size=(640, 3)), rng.normal(size=640)
    tree = TreeRFMRegressor(
        RFMRegressor(n_iter=2), max_leaf_size=80, split_samples=64, random_state=0
    )
    # The solve and AGOP of the splits; in a leaf the step with validation rows, that
    # without for the last solve, and the prediction.
    with compile_guard(max_compiles=5):
        tree.fit(X, y).predict(X)
    assert tree.n_leaves_ == 8
    with compile_guard(max_compiles=0):
        clone(tree).set_params(random_state=3).fit(X, y[::-1]).predict(X)


# Keeping ---------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True])
def test_save_and_load(tmp_path, local, soft):
    X = local[0][:300]
    y = np.where(X[:, 0] > 0.5, "b", np.where(X[:, 1] > 0, "c", "a"))
    tree = classifier(
        max_leaf_size=60, n_trees=2, soft_routing=soft, leaf={"reg": 0.1}
    ).fit(X, y)
    for _ in range(2):  # a tree replaces a tree
        tree.save(tmp_path / "tree")
    again = mlmethods.load(tmp_path / "tree")
    np.testing.assert_array_equal(again.predict_proba(X), tree.predict_proba(X))
    np.testing.assert_array_equal(again.apply(X), tree.apply(X))
    assert again.leaf.reg == 0.1
    assert again.get_params(deep=False).keys() == tree.get_params(deep=False).keys()
    assert again.leaf_frame().equals(tree.leaf_frame())
    assert not list(tmp_path.rglob("*.pkl"))
    unpickled = pickle.loads(pickle.dumps(tree))
    np.testing.assert_array_equal(unpickled.predict(X), tree.predict(X))


def test_save_and_load_constant_leaves_and_several_targets(tmp_path, local):
    X = local[0][:300]
    Y = np.column_stack([np.where(X[:, 0] > 0, 1.0, X[:, 1]), np.zeros(300)])
    tree = TreeRFMRegressor(max_leaf_size=50, split="linear", random_state=0)
    tree.set_params(leaf=RFMRegressor(backend="numpy", n_iter=1)).fit(X, Y)
    assert any(isinstance(leaf, ConstantLeaf) for leaf in tree.leaves_)
    tree.save(tmp_path / "tree")
    again = TreeRFMRegressor.load(tmp_path / "tree")
    np.testing.assert_array_equal(again.predict(X), tree.predict(X))
    with pytest.raises(CheckpointError, match="not a TreeRFMClassifier"):
        TreeRFMClassifier.load(tmp_path / "tree")


def test_damage_is_noticed(tmp_path, local):
    X, y = local[0][:100], local[1][:100]
    tree = regressor(max_leaf_size=60).fit(X, y)
    tree.save(tmp_path / "tree")
    (tmp_path / "tree" / "leaves" / "00001" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="00001"):
        mlmethods.load(tmp_path / "tree")
    tree.save(tmp_path / "tree")
    config = tmp_path / "tree" / "config.json"
    document = json.loads(config.read_text())
    del document["config"]["state"]["prototype_"]
    config.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="prototype_"):
        mlmethods.load(tmp_path / "tree")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(CheckpointError, match=r"thesis\.tex"):
        tree.save(tmp_path / "other")


def test_a_subclass_is_not_saved_silently(tmp_path, local):
    class Mine(RFMRegressor):
        pass

    tree = TreeRFMRegressor(Mine(backend="numpy", n_iter=0))
    tree.fit(local[0][:60], local[1][:60])
    with pytest.raises(InvalidInputError, match="Mine"):
        tree.save(tmp_path / "tree")


# Refusals --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_leaf_size": 1}, "max_leaf_size must be an integer >= 2"),
        ({"max_leaf_size": "big"}, "max_leaf_size must be an integer >= 2 or 'auto'"),
        ({"max_leaf_size": 2.5}, "max_leaf_size must be an integer >= 2"),
        ({"split": "agopp"}, "did you mean 'agop'"),
        ({"split_samples": 1}, "split_samples must be an integer >= 2"),
        ({"n_trees": 0}, "n_trees must be an integer >= 1"),
        ({"overlap_fraction": 0.6}, "overlap_fraction must be .* <= 0.5"),
        ({"overlap_fraction": -0.1}, "overlap_fraction must be .* >= 0"),
        ({"soft_routing": "yes"}, "soft_routing must be True or False"),
        ({"refill_size": 0}, "refill_size must be an integer >= 1"),
        ({"leaf": "rfm"}, "leaf must be None or an RFMRegressor"),
        ({"leaf": RFMClassifier()}, "leaf must be None or an RFMRegressor"),
        ({"leaf": RFMRegressor(checkpoint_dir="x")}, "checkpoint_dir=None"),
        ({"leaf": RFMRegressor(validation_fraction=2.0)}, "validation_fraction"),
        ({"leaf": RFMRegressor(categorical_features=[0])}, "categorical_features=None"),
    ],
)
def test_parameters_out_of_range(settings, message, local):
    with pytest.raises(InvalidInputError, match=message):
        TreeRFMRegressor(**settings).fit(local[0][:20], local[1][:20])


def test_bad_data(local):
    X, y = local[0][:40], local[1][:40]
    with pytest.raises(InvalidInputError, match="at least 2 classes"):
        classifier().fit(X, np.ones(40))
    with pytest.raises(InvalidInputError, match="X_val and y_val"):
        regressor().fit(X, y, X_val=X)
    with pytest.raises(InvalidInputError, match="X_val must have 5 features"):
        regressor().fit(X, y, X_val=X[:, :2], y_val=y)
    with pytest.raises(ValueError, match=r"ample.weight"):
        regressor().fit(X, y, sample_weight=np.zeros(40))
    labels, iris = (X[:, 0] > 0).astype(int), load_iris(return_X_y=True)
    with pytest.raises(InvalidInputError, match="classes of y only"):
        classifier().fit(X, labels, X_val=X, y_val=np.full(40, 5))
    with pytest.raises(InvalidInputError, match="needs two classes"):
        classifier(leaf={"target_encoding": "pm1"}, max_leaf_size=60).fit(*iris)
    with pytest.raises(MemoryLimitError, match="n=40"):
        regressor(max_leaf_size=40, leaf={"memory_limit": 1000}).fit(X, y)


def test_a_warning_of_many_leaves_is_given_once(local):
    X = np.repeat(local[0][:40], 4, axis=0)
    y = np.repeat(local[1][:40], 4)
    with pytest.warns(NumericalWarning) as caught:
        regressor(max_leaf_size=40, leaf={"reg": 0.0}).fit(X, y)
    texts = [str(entry.message) for entry in caught]
    assert len(texts) <= 6
    assert any("such warnings in the leaves" in text for text in texts)


def test_scales_are_judged_over_all_rows():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(80, 2)), np.repeat([0.1, 0.7], 40)])
    y = 5 * X[:, 2] + X[:, 0]
    # In each leaf the last column is constant up to rounding: no warning.
    regressor(max_leaf_size=40, split="linear").fit(X, y)
    with pytest.warns(NumericalWarning, match="differ in scale") as caught:
        regressor(max_leaf_size=20).fit(X * [1, 1e6, 1], y)
    assert len(caught) == 1


def test_the_automatic_size_follows_memory():
    settings = {"d": 10, "c": 1, "dtype": "float32"}
    assert automatic_leaf_size(10**10, jobs=1, **settings) < 20_500
    whole = automatic_leaf_size(40 * 10**9, jobs=1, **settings)
    assert automatic_leaf_size(10 * 10**9, jobs=1, **settings) == pytest.approx(
        whole / 2, rel=1e-2
    )
    assert automatic_leaf_size(40 * 10**9, jobs=4, **settings) == pytest.approx(
        whole / 2, rel=1e-2
    )
    assert automatic_leaf_size(1, jobs=1, **settings) == 2
