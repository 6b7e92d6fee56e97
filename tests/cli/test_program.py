"""The program as a whole: what every command promises."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer

from mlmethods import errors
from mlmethods.cli.exits import Exit, exit_of

PROGRAM = [sys.executable, "-m", "mlmethods.cli"]


def start(
    *arguments: str, code: int | None = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    environment = {**os.environ, **variables}
    run = subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=100,
    )
    assert code is None or run.returncode == code, run.stderr
    return run


def test_help_is_quick_and_imports_no_numerical_library() -> None:
    heavy = "numpy scipy jax sklearn pandas matplotlib datasets flax optax torch"
    program = (
        "import sys; sys.argv = ['mlmethods', '--help']\n"
        "from mlmethods.cli.main import run\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        before = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - before)
    assert run.stdout.splitlines()[-1] == "[]"
    assert "reproduce" in run.stdout
    assert min(seconds) < 1.0


def test_threads_and_cache_are_set_before_numerical_libraries_load(
    tmp_path: Path,
) -> None:
    program = (
        "import json, os, sys\n"
        "from mlmethods.cli import command, main\n"
        "prepare = command.prepare\n"
        "def spy(**settings):\n"
        "    early = sorted({'numpy', 'jax'} & set(sys.modules))\n"
        "    prepare(**settings)\n"
        "    import jax\n"
        "    print(json.dumps({'early': early, 'env': dict(os.environ),\n"
        "        'cache': jax.config.jax_compilation_cache_dir,\n"
        "        'platforms': jax.config.jax_platforms}))\n"
        "    raise SystemExit\n"
        "command.prepare = spy\n"
        "sys.argv = ['mlmethods', 'demo', '--threads', '3', '--device', 'cpu']\n"
        "main.run()"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("JAX_")
    }
    environment["MLMETHODS_CACHE_DIR"] = str(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    seen = json.loads(run.stdout)
    assert seen["early"] == []
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC"):
        assert seen["env"][name] == "3"
    assert seen["cache"] == str(tmp_path / "jax")
    assert seen["platforms"] == "cpu"


def test_a_cache_of_the_user_s_choice_stays(tmp_path, monkeypatch) -> None:
    from mlmethods.cli.environment import prepare

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    prepare(threads=None, device="auto")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"
    assert "OMP_NUM_THREADS" not in os.environ


def test_results_go_to_stdout_and_mistakes_to_stderr_without_traceback() -> None:
    run = start("info", "--json")
    assert json.loads(run.stdout)["versions"]["numpy"] == np.__version__
    assert run.stderr == ""
    run = start("reproduce", "nonsense", "--backend", "numpy", code=2)
    assert run.stdout == ""
    assert run.stderr.startswith("mlmethods: no recipe or method is called 'nonsense'")
    assert "Traceback" not in run.stderr
    assert "Traceback" in start("reproduce", "nonsense", "-v", code=2).stderr


def _colors_on_a_terminal(**variables: str) -> list[str]:
    """Return the color codes that the help writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "TERM", "CI")
    }
    with subprocess.Popen(
        [*PROGRAM, "--help"],
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color", **variables},
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:
            pass  # Linux reports the end of a terminal as an error.
        os.close(ours)
    assert process.returncode == 0
    return re.findall(r"\x1b\[[\d;]*[39]\d[\d;]*m", written.decode())


def test_colors_are_for_terminals_and_yield_to_no_color() -> None:
    assert _colors_on_a_terminal()
    assert not _colors_on_a_terminal(NO_COLOR="1")
    assert "\x1b[" not in start("methods").stdout


def test_an_unknown_device_or_backend_ends_with_three(invoke) -> None:
    run = invoke("demo", "--backend", "abacus")
    assert run.exit_code == 3
    assert "no backend named 'abacus' is installed" in run.stderr
    run = invoke("demo", "--backend", "numpy", "--device", "gpu")
    assert run.exit_code == 3
    assert "computes on cpu:0 here, not on gpu" in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nonsense",),
        ("demo", "--dtype", "float16"),
        ("demo", "--seed", "-1"),
        ("demo", "--threads", "0"),
        ("rfm", "fit", "missing.csv", "--target", "y", "--out", "m"),
    ],
)
def test_usage_errors_end_with_two(invoke, arguments) -> None:
    run = invoke(*arguments)
    assert run.exit_code == 2
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DatasetNotFoundError("x"), Exit.MISSING),
        (errors.BackendNotFoundError("x"), Exit.MISSING),
        (errors.BackendLoadError("x"), Exit.MISSING),
        (errors.OperationNotSupportedError("x"), Exit.MISSING),
        (ModuleNotFoundError("x", name="mlxtend"), Exit.MISSING),
        (errors.InvalidInputError("x"), Exit.USAGE),
        (errors.ConfigError("x"), Exit.USAGE),
        (errors.DataFormatError("x"), Exit.USAGE),
        (errors.CheckpointError("x"), Exit.USAGE),
        (errors.MemoryLimitError("x"), Exit.USAGE),
        (ValueError("Input X contains NaN."), Exit.USAGE),
        (PermissionError("x"), Exit.USAGE),
        (errors.DivergenceError("x"), Exit.NOT_MET),
        (errors.NotPositiveDefiniteError("x"), Exit.NOT_MET),
        (errors.ReproductionFailed("x"), Exit.NOT_MET),
        (errors.ConformanceError("x"), Exit.NOT_MET),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (ModuleNotFoundError("x", name="mlmethods.rfm"), None),
        (TypeError("x"), None),
        (typer.Exit(4), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_exit_code(error: BaseException, code: Exit | None) -> None:
    assert exit_of(error) is code


def test_warnings_are_one_line_and_quiet_drops_them(invoke, monkeypatch) -> None:
    import warnings

    from mlmethods import backend

    def warns() -> list:
        warnings.warn("something was skipped", errors.BackendWarning, stacklevel=1)
        return []

    monkeypatch.setattr(backend, "list_backends", warns)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run = invoke("backends", "list")
        assert run.stderr == "mlmethods: warning: something was skipped\n"
        assert invoke("backends", "list", "--quiet").stderr == ""


def test_info_lists_devices_of_each_backend(invoke) -> None:
    run = invoke("info", "--devices", "--json")
    devices = json.loads(run.stdout)["devices"]
    assert devices["numpy"] == ["cpu:0"]
    assert len(devices["jax"]) >= 1
    assert "scikit-learn" in invoke("info").stdout
    assert "devices" not in json.loads(invoke("info", "--json").stdout)


def test_methods_and_backends_are_listed(invoke) -> None:
    assert "Science 383:1461-1467" in " ".join(invoke("methods").stdout.split())
    listed = json.loads(invoke("methods", "--json").stdout)
    assert {"mlmethods.rfm", "mlmethods.privacy"} <= {m["package"] for m in listed}
    names = [
        entry["name"]
        for entry in json.loads(invoke("backends", "list", "--json").stdout)
    ]
    assert names[:2] == ["jax", "numpy"]
    assert "15 of 15" in invoke("backends", "list").stdout


def test_backends_check_reports_and_fails_with_one(invoke, monkeypatch) -> None:
    from mlmethods import testing

    report = testing.ConformanceReport(backend="numpy", passed=("kernels.agop",))
    monkeypatch.setattr(testing, "check_backend", lambda name: report)
    run = invoke("backends", "check", "numpy")
    assert run.exit_code == 0, run.output
    assert "kernels.agop" in run.stdout

    def fails(name: str) -> None:
        raise errors.ConformanceError("kernels.agop: wrong by n\nkernels.grad: NaN")

    monkeypatch.setattr(testing, "check_backend", fails)
    run = invoke("backends", "check", "numpy")
    assert run.exit_code == 1
    assert run.stderr.count("\n") == 2


def test_bench_runs_the_checkout_around_it_and_passes_its_code_on(
    invoke, tmp_path: Path, monkeypatch, capfd
) -> None:
    root = tmp_path / "checkout"
    (root / "benchmarks").mkdir(parents=True)
    (root / "mlmethods").mkdir()
    (root / "mlmethods" / "_version.py").write_text("")
    (root / "benchmarks" / "__init__.py").write_text("")
    (root / "benchmarks" / "__main__.py").write_text(
        "import sys\nprint(sys.argv[1:])\nsys.exit(1)"
    )
    monkeypatch.chdir(root / "mlmethods")
    run = invoke("bench", "rfm", "--peers", "all", "--check")
    assert run.exit_code == 1
    assert "['rfm', '--peers', 'all', '--check']" in capfd.readouterr().out


def test_bench_elsewhere_ends_with_three(invoke, monkeypatch) -> None:
    from mlmethods.cli import bench

    monkeypatch.setattr(bench, "_checkout", lambda: None)
    run = invoke("bench", "rfm")
    assert run.exit_code == 3
    assert "checkout" in run.stderr
