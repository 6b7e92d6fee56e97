"""The built-in backends keep the contract, in every dtype that they declare."""

from __future__ import annotations

import pytest

import mlmethods
from mlmethods.testing import check_backend
from mlmethods.testing.conformance import conformance_names


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        pytest.param(backend, name, id=f"{backend}-{name}")
        for backend in ("numpy", "jax")
        for name in conformance_names(mlmethods.get_backend(backend))
    ],
)
def test_built_in_backend_keeps_the_contract(backend, name):
    report = check_backend(backend, ops=[name])
    assert report.passed == (name,)
    if backend == "numpy":
        assert report.declined == {}
    else:
        # Only the general Matern function needs Bessel functions that JAX lacks.
        assert all(key.endswith("with matern 3/4") for key in report.declined)
