"""Validation rows and categorical tables that do not fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from mlmethods.errors import InvalidInputError
from mlmethods.kernels import EigenProRegressor
from mlmethods.rfm import (
    RFMClassifier,
    RFMRegressor,
    TreeRFMClassifier,
    TreeRFMRegressor,
)

X = np.random.default_rng(0).standard_normal((60, 4))
Y = X[:, 0]
LABELS = (Y > 0).astype(int)
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(c="u")
REGRESSORS = [
    RFMRegressor(backend="numpy"),
    TreeRFMRegressor(RFMRegressor(backend="numpy")),
    EigenProRegressor(backend="numpy"),
]
CLASSIFIERS = [
    RFMClassifier(backend="numpy"),
    TreeRFMClassifier(RFMClassifier(backend="numpy")),
]


@pytest.mark.parametrize("model", REGRESSORS)
def test_targets_that_are_not_finite(model):
    with pytest.raises(InvalidInputError, match="y_val must be finite"):
        model.fit(X, Y, X_val=X, y_val=np.full(60, np.nan))


@pytest.mark.parametrize("model", REGRESSORS + CLASSIFIERS)
def test_targets_of_another_length(model):
    with pytest.raises(InvalidInputError, match="y_val must have shape"):
        model.fit(X, LABELS, X_val=X, y_val=LABELS[:7])


def test_a_column_of_targets_is_read():
    given = RFMRegressor(backend="numpy").fit(X, Y, X_val=X, y_val=Y[:, None])
    flat = RFMRegressor(backend="numpy").fit(X, Y, X_val=X, y_val=Y)
    np.testing.assert_array_equal(given.M_, flat.M_)


@pytest.mark.parametrize("columns", [["a", "b"], ["d", "b", "c", "a"]])
def test_validation_columns_of_other_names(columns):
    model = RFMRegressor(categorical_features="from_dtype", backend="numpy")
    with pytest.raises(ValueError, match="feature names should match"):
        model.fit(FRAME, Y, X_val=FRAME[columns], y_val=Y)


@pytest.mark.parametrize("table", [X[:, 0], csr_matrix(X)])
def test_tables_that_have_no_columns_to_read(table):
    model = RFMRegressor(categorical_features=[0], backend="numpy")
    with pytest.raises(InvalidInputError, match="X must be a DataFrame or a dense"):
        model.fit(table, Y)


def test_one_position_is_no_sequence():
    model = RFMRegressor(categorical_features=2, backend="numpy")
    with pytest.raises(InvalidInputError, match="a sequence of positions"):
        model.fit(FRAME, Y)


def test_a_tree_gives_advice_that_it_can_take():
    with pytest.raises(InvalidInputError, match="got text columns c; encode them"):
        TreeRFMRegressor().fit(FRAME, Y)
