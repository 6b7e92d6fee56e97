import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlmethods
from mlmethods.errors import InvalidInputError
from mlmethods.rfm import RFMClassifier
from mlmethods.rfm._encodings import ENCODINGS, make_encoding

PLAIN = {"backend": "numpy", "early_stopping": False, "random_state": 0}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.mark.parametrize(
    ("name", "count"),
    [(name, n) for name in ENCODINGS for n in (2, 3, 7) if name != "pm1" or n == 2],
)
def test_codes_are_scored_as_their_class(name, count, rng):
    priors = rng.dirichlet(np.ones(count))
    encoding = make_encoding(name, priors)
    np.testing.assert_allclose(
        encoding.scores(encoding.codes), np.eye(count), atol=1e-12
    )


@pytest.mark.parametrize("count", [2, 3, 7])
def test_prevalence_is_a_shifted_regular_simplex(count, rng):
    priors = rng.dirichlet(np.ones(count))
    encoding = make_encoding("prevalence", priors)
    codes = encoding.codes
    assert codes.shape == (count, count - 1)
    np.testing.assert_allclose(encoding.scores(np.zeros((1, count - 1))), [priors])
    np.testing.assert_allclose(priors @ codes, 0, atol=1e-12)
    distances = np.linalg.norm(codes[:, None] - codes[None], axis=2)
    np.testing.assert_allclose(distances[~np.eye(count, dtype=bool)], 2**0.5)
    scores = encoding.scores(rng.normal(size=(5, count - 1)))
    np.testing.assert_allclose(scores.sum(axis=1), 1)


@pytest.mark.parametrize("name", ["pm1", "prevalence"])
def test_two_classes_agree_with_one_hot_and_an_intercept(name):
    # Affine codes of one another, so that centered regressions are the same.
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    settings = {**PLAIN, "n_iter": 1, "reg": 1.0, "fit_intercept": True}
    plain = RFMClassifier(**settings).fit(X[:200], y[:200])
    coded = RFMClassifier(**settings, target_encoding=name).fit(X[:200], y[:200])
    assert coded.dual_coef_.shape[1] == 1
    np.testing.assert_allclose(coded.M_, plain.M_, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(
        coded.predict_proba(X[200:]), plain.predict_proba(X[200:]), atol=1e-9
    )


def test_far_from_the_data_prevalence_gives_the_shares(iris):
    X, y = iris
    weights = np.where(y == 0, 3.0, 1.0)
    model = RFMClassifier(**PLAIN, n_iter=0, target_encoding="prevalence")
    model.fit(X, y, sample_weight=weights)
    far = np.full((1, 4), 1e4)
    np.testing.assert_allclose(model.predict_proba(far), [[0.6, 0.2, 0.2]], atol=1e-6)


@pytest.mark.parametrize("name", ["onehot", "prevalence"])
def test_learns_stores_and_calibrates(name, iris, tmp_path):
    X, y = iris
    model = RFMClassifier(
        backend="numpy", random_state=0, target_encoding=name, scoring="neg_log_loss"
    ).fit(X, np.array(["a", "b", "c"])[y])
    assert model.score(X, np.array(["a", "b", "c"])[y]) > 0.95
    model.save(tmp_path / "model")
    again = mlmethods.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    calibrated = CalibratedClassifierCV(RFMClassifier(**PLAIN, target_encoding=name))
    assert calibrated.fit(X, y).score(X, y) > 0.9


def test_what_does_not_fit_is_refused(iris):
    with pytest.raises(InvalidInputError, match="'pm1' needs two classes, got 3"):
        RFMClassifier(**PLAIN, target_encoding="pm1").fit(*iris)
    with pytest.raises(InvalidInputError, match="target_encoding must be one of"):
        RFMClassifier(**PLAIN, target_encoding="binary").fit(*iris)


@pytest.mark.slow
@parametrize_with_checks([RFMClassifier(backend="numpy", target_encoding="prevalence")])
def test_sklearn_contract(estimator, check):
    check(estimator)
