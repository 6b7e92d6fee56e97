"""What importing costs, loads and changes; and life without jax."""

from __future__ import annotations

import statistics

import pytest

HEAVY = (
    "jax",
    "flax",
    "optax",
    "scipy",
    "sklearn",
    "pandas",
    "datasets",
    "matplotlib",
    "torch",
    "typer",
    "rich",
)


def test_importing_costs_little_more_than_numpy(run):
    code = (
        "from time import perf_counter as now\n"
        "start = now()\n"
        "import numpy\n"
        "alone = now()\n"
        "import mlmethods\n"
        "print((now() - start) / (alone - start))"
    )
    # One process measures both, so that other load affects both.
    ratio = statistics.median(float(run("-c", code)) for _ in range(3))
    assert ratio <= 1.5


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import mlmethods", ()),
        ("import mlmethods.errors, mlmethods.interfaces, mlmethods.backend", ()),
        ("import mlmethods; mlmethods.list_backends()", ()),
        ("import mlmethods; mlmethods.get_backend('numpy', 'kernels.agop')", ()),
        ("import mlmethods_numpy", ()),
        ("import mlmethods_jax", ()),
        ("import mlmethods_jax; mlmethods_jax.backend.info", ()),
        ("import mlmethods.testing.conformance", ()),
        ("import mlmethods.datasets", ()),
        ("import mlmethods.rfm, mlmethods.kernels", ()),
        # scikit-learn itself imports pandas and rich.
        (
            "from mlmethods.rfm import RFMRegressor",
            ("scipy", "sklearn", "pandas", "rich"),
        ),
    ],
)
def test_importing_loads_nothing_heavy(run, statement, allowed):
    out = run(
        "-W",
        "error",
        "-c",
        f"import sys\n{statement}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])",
    )
    assert set(out.split()) <= set(allowed)


def test_importing_changes_nothing_global(run):
    # What others load may touch filters and variables: it is loaded beforehand.
    out = run(
        "-c",
        "import logging, os, random, sys, warnings\n"
        "import flax.nnx, jax, jaxtyping, numpy as np, optax, scipy.special\n"
        "import scipy.linalg\n"
        "def state():\n"
        "    return {\n"
        "        'jax': dict(jax.config.values),\n"
        "        'numpy': repr(np.random.get_state(legacy=False)),\n"
        "        'random': random.getstate(),\n"
        "        'errors': np.geterr(),\n"
        "        'print': np.get_printoptions(),\n"
        "        'warnings': list(warnings.filters),\n"
        "        'environment': dict(os.environ),\n"
        "        'handlers': list(logging.getLogger().handlers),\n"
        "        'path': list(sys.path),\n"
        "    }\n"
        "before = state()\n"
        "import mlmethods, mlmethods.testing.conformance\n"
        "import mlmethods_jax.ops.kernels, mlmethods_jax.ops.linalg\n"
        "import mlmethods_jax.ops.nn, mlmethods_jax.ops.privacy\n"
        "import mlmethods_jax.testing, mlmethods_numpy.ops.linalg\n"
        "mlmethods.get_backend('jax').asarray([1.0])\n"
        "after = state()\n"
        "print(*[name for name in before if before[name] != after[name]], 'end')",
    )
    assert out.split() == ["end"]


WITHOUT_JAX = "import sys\nsys.modules['jax'] = None\n"


def test_without_jax_the_automatic_choice_is_numpy_with_one_warning(run):
    out = run(
        "-c",
        WITHOUT_JAX + "import warnings, mlmethods\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    names = {mlmethods.get_backend().info.name for _ in range(3)}\n"
        "print(*names, *[w.category.__name__ for w in caught])\n"
        "print(caught[0].message)",
    )
    first, second = out.splitlines()
    assert first.split() == ["numpy", "BackendWarning"]
    assert "'jax' is skipped: jax cannot be imported" in second


def test_without_jax_asking_for_it_raises(run):
    out = run(
        "-c",
        WITHOUT_JAX + "import mlmethods\n"
        "try:\n"
        "    mlmethods.get_backend('jax')\n"
        "except mlmethods.errors.BackendLoadError as error:\n"
        "    print(error)",
    )
    assert "backend 'jax' is not usable: jax cannot be imported" in out


def test_without_jax_the_core_works(run):
    out = run(
        "-W",
        "error",
        "-c",
        WITHOUT_JAX + "import numpy as np\n"
        "from mlmethods.rfm import RFMRegressor\n"
        "from mlmethods.testing import check_backend\n"
        "check_backend('numpy')\n"
        "X = np.random.default_rng(0).normal(size=(80, 3))\n"
        "model = RFMRegressor(backend='numpy', random_state=0).fit(X, X[:, 0])\n"
        "print(model.backend_, model.score(X, X[:, 0]) > 0.9)",
    )
    assert out.split() == ["numpy", "True"]
