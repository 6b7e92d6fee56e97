"""The wheel, built and installed offline, and a way to run code against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def build_wheel(source: Path, target: Path) -> Path:
    """Build the wheel of a source tree with what is installed already."""
    skip = ["--skip-dependency-check", "--outdir", str(target)]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            *skip,
            str(source),
        ],
        check=True,
        capture_output=True,
        timeout=100,
    )
    (wheel,) = target.glob("*.whl")
    return wheel


def install(wheel: Path, target: Path) -> None:
    """Install a wheel into a folder, offline and by itself."""
    options = ["--no-compile", "--target", str(target), str(wheel)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", *options],
        check=True,
        capture_output=True,
        timeout=100,
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def site(wheel, tmp_path_factory) -> Path:
    """Return a folder with the wheel and the plug-in example installed."""
    site = tmp_path_factory.mktemp("site")
    install(wheel, site)
    example = build_wheel(
        ROOT / "tests" / "plugin_example", tmp_path_factory.mktemp("example")
    )
    install(example, site)
    return site


@pytest.fixture
def run(site, tmp_path) -> Callable[..., str]:
    """Return a function that runs Python against the installed wheel."""

    def run(*arguments: str, **environment: str) -> str:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLMETHODS_", "PYTEST_", "PYTHON"))
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={
                **kept,
                "PYTHONPATH": str(site),
                "OMP_NUM_THREADS": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
