"""Pytest plugin behind ``pytest --pyargs mlmethods.testing --backend=NAME``.

Its entry point loads it in every pytest run, so it adds the option only to runs that
name ``mlmethods.testing``: elsewhere ``--backend`` belongs to somebody else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["pytest_generate_tests", "pytest_load_initial_conftests"]


def pytest_load_initial_conftests(parser: pytest.Parser, args: list[str]) -> None:
    """Add ``--backend`` if the run is one of the conformance suite."""
    here = Path(__file__).parent.as_posix()
    for argument in args:
        target = argument.split("::")[0]
        if target.startswith("mlmethods.testing") or here in Path(target).as_posix():
            parser.addoption(
                "--backend",
                default="numpy",
                metavar="NAME",
                help="the installed mlmethods backend to check (default: numpy)",
            )
            return


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each operation, engine and edge of the backend."""
    if "conformance_name" not in metafunc.fixturenames:
        return
    from mlmethods.backend import get_backend
    from mlmethods.testing.conformance import conformance_names

    backend = get_backend(metafunc.config.getoption("--backend", default="numpy"))
    names = conformance_names(backend)
    metafunc.parametrize(
        ("conformance_backend", "conformance_name"),
        [(backend, name) for name in names],
        ids=names,
    )
