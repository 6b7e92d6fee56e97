"""The built-in backends keep the contract, in every dtype that they declare."""

from __future__ import annotations

import pytest

import mlmethods
from mlmethods.testing import check_backend
from mlmethods.testing.conformance import conformance_names

# Each dtype compiles every operation anew on JAX; float64 waits for the slow tests.
TRIALS = [
    pytest.param(backend, dtypes, name, id=f"{backend}-{name}-{label}", marks=marks)
    for backend, dtypes, label, marks in (
        ("numpy", None, "all", []),
        ("jax", ["float32"], "float32", []),
        ("jax", ["float64"], "float64", [pytest.mark.slow]),
    )
    for name in conformance_names(mlmethods.get_backend(backend))
]


@pytest.mark.parametrize(("backend", "dtypes", "name"), TRIALS)
def test_built_in_backend_keeps_the_contract(backend, dtypes, name):
    report = check_backend(backend, ops=[name], dtypes=dtypes)
    assert report.passed == (name,)
    if backend == "numpy":
        assert report.declined == {}
    else:
        # Only the general Matern function needs Bessel functions that JAX lacks.
        assert all(key.endswith("with matern 3/4") for key in report.declined)
