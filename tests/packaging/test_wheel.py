"""What the wheel holds, and that it works where it is installed."""

from __future__ import annotations

import configparser
import zipfile

import mlmethods


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    metadata = f"mlmethods-{mlmethods.__version__}.dist-info"
    assert roots == {"mlmethods", "mlmethods_jax", "mlmethods_numpy", metadata}
    assert "mlmethods/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert {
        "mlmethods/testing/test_conformance.py",
        "mlmethods_jax/ops/kernels.py",
        "mlmethods_numpy/ops/kernels.py",
    } <= set(names)
    unwanted = ("tests/", "docs/", "__pycache__", ".toml", "conftest")
    assert [name for name in names if any(part in name for part in unwanted)] == []


def test_the_wheel_declares_its_entry_points(wheel):
    parser = configparser.ConfigParser()
    parser.read_string(
        zipfile.ZipFile(wheel)
        .read(f"mlmethods-{mlmethods.__version__}.dist-info/entry_points.txt")
        .decode()
    )
    points = {section: dict(parser[section]) for section in parser.sections()}
    assert points == {
        "console_scripts": {"mlmethods": "mlmethods.cli.main:run"},
        "mlmethods.backends": {
            "jax": "mlmethods_jax:backend",
            "numpy": "mlmethods_numpy:backend",
        },
        "pytest11": {
            "mlmethods.testing.pytest_plugin": "mlmethods.testing.pytest_plugin"
        },
    }


def test_the_installed_wheel_is_what_runs(run, site):
    out = run(
        "-c",
        "import mlmethods, mlmethods_jax, mlmethods_numpy\n"
        "print(mlmethods.__file__, mlmethods_jax.__file__, mlmethods_numpy.__file__)\n"
        "print([info.name for info in mlmethods.list_backends()])",
    )
    assert out.count(str(site)) == 3
    assert "['jax', 'numpy', 'scipy-example']" in out


def test_every_public_name_exists(run):
    run(
        "-W",
        "error",
        "-c",
        "import mlmethods\n"
        "for name in mlmethods.__all__:\n"
        "    getattr(mlmethods, name)\n",
    )


def test_the_command_line_starts(run):
    assert mlmethods.__version__ in run("-m", "mlmethods.cli", "--version")
    assert "numpy" in run("-m", "mlmethods.cli", "backends", "list")
