"""Numerical laws of whole fits: duplicates, calibration."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from mlmethods.rfm import RFMClassifier, RFMRegressor


@pytest.mark.filterwarnings("ignore::mlmethods.errors.NumericalWarning")
@pytest.mark.parametrize("reg", [0.0, 1e-6, 1e-3])
def test_many_duplicated_rows_stay_close_to_float64(reg):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)[:400]
    rng = np.random.default_rng(0)
    # Three in ten rows are copies, with the targets of their originals.
    copies = rng.choice(280, 120)
    X[280:], y = X[copies], np.concatenate([y[:280], y[copies]])
    narrow, wide = (
        RFMRegressor(reg=reg, n_iter=2, early_stopping=False, dtype=dtype).fit(X, y)
        for dtype in ("float32", "float64")
    )
    assert np.isfinite(narrow.M_).all()
    assert np.abs(narrow.M_ - wide.M_).max() < 0.02
    queries = scale(load_breast_cancer().data)[400:]
    assert np.abs(narrow.predict(queries) - wide.predict(queries)).max() < 0.02


def test_scikit_learn_calibrates_the_probabilities():
    X, y = load_breast_cancer(return_X_y=True)
    X, Z, y, truth = train_test_split(scale(X), y, random_state=0)
    machine = RFMClassifier(n_iter=1, backend="numpy", random_state=0)
    raw = machine.fit(X, y).predict_proba(Z)[:, 1]
    calibrated = CalibratedClassifierCV(machine, cv=3).fit(X, y)
    better = calibrated.predict_proba(Z)[:, 1]
    assert brier_score_loss(truth, better) < brier_score_loss(truth, raw)
