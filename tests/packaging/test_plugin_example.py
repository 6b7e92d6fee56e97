"""A third-party backend from its own distribution: found, checked, used."""

from __future__ import annotations

import pytest


def test_it_is_discovered_and_keeps_the_contract(run):
    out = run(
        "-W",
        "error",
        "-c",
        "import mlmethods\n"
        "from mlmethods.testing import check_backend\n"
        "backend = mlmethods.get_backend('scipy-example', 'kernels.agop')\n"
        "print(backend.__class__.__module__)\n"
        "print(check_backend('scipy-example'))",
    )
    assert "mlmethods_scipy_example" in out
    assert "'scipy-example': 11 passed" in out
    assert "declined  kernels.agop with lpq: it has the kernels" in out


def test_the_suite_runs_from_the_shell(run):
    out = run(
        "-m",
        "pytest",
        "--pyargs",
        "mlmethods.testing",
        "--backend=scipy-example",
        "-q",
        "-p",
        "no:cacheprovider",
    )
    assert "11 passed" in out


def test_the_option_is_added_to_no_other_run(run, tmp_path):
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n"
        "    parser.addoption('--backend', default='mine')\n"
    )
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(request):\n"
        "    assert request.config.getoption('--backend') == 'theirs'\n"
    )
    out = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--backend=theirs")
    assert "1 passed" in out


def test_it_says_what_it_cannot_do(run):
    out = run(
        "-c",
        "import mlmethods\n"
        "try:\n"
        "    mlmethods.get_backend('scipy-example', 'nn.attention')\n"
        "except mlmethods.errors.OperationNotSupportedError as error:\n"
        "    print(error)",
    )
    assert (
        "'scipy-example' cannot run nn.attention: the scipy-example backend has" in out
    )
    assert "backends that can: jax, numpy" in out


@pytest.mark.parametrize("chosen_by", ["argument", "environment"])
def test_it_fits_a_recursive_feature_machine(run, chosen_by):
    argument = ", backend='scipy-example'" if chosen_by == "argument" else ""
    out = run(
        "-W",
        "error",
        "-c",
        "import numpy as np\n"
        "from mlmethods.rfm import RFMRegressor\n"
        "rng = np.random.default_rng(0)\n"
        "X = rng.normal(size=(150, 5)); y = X[:, 0] * X[:, 1]\n"
        "def fit(**options):\n"
        "    model = RFMRegressor(bandwidth=5.0, random_state=0, **options)\n"
        "    return model.fit(X[:100], y[:100])\n"
        f"ours = fit({argument.removeprefix(', ')})\n"
        "reference = fit(backend='numpy')\n"
        "gap = np.abs(ours.predict(X) - reference.predict(X)).max()\n"
        "print(ours.backend_, gap < 1e-8, np.allclose(ours.M_, reference.M_))",
        **({"MLMETHODS_BACKEND": "scipy-example"} if not argument else {}),
    )
    assert out.split() == ["scipy-example", "True", "True"]
