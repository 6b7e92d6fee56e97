"""Who may import whom: the contracts of pyproject.toml, and the backends' allow-list."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "mlmethods": ROOT / "mlmethods",
    "mlmethods_jax": ROOT / "backends" / "jax" / "mlmethods_jax",
    "mlmethods_numpy": ROOT / "backends" / "numpy" / "mlmethods_numpy",
}
# Of the core, a backend may import these and nothing else.
ALLOWED = re.compile(
    r"mlmethods\.(interfaces(\.\w+)*|errors|_lazy|_version|(?!backend\b)\w+\.contract)"
)


def backend_imports_not_allowed(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """Return the imports of the core by backends that are not on the list."""
    return {
        (module, imported)
        for module in graph.modules
        if module.split(".")[0] in ("mlmethods_jax", "mlmethods_numpy")
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.split(".")[0] == "mlmethods" and not ALLOWED.fullmatch(imported)
    }


@pytest.fixture
def tree(tmp_path):
    """Return a copy of the three packages, to be broken on purpose."""
    for name, source in PACKAGES.items():
        shutil.copytree(
            source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages found in `paths`."""
    code = (
        f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
        "from importlinter.cli import lint_imports_command\n"
        "lint_imports_command(['--no-cache'])"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_contracts_are_kept():
    done = lint(ROOT, ROOT, *(path.parent for path in PACKAGES.values()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


BREACHES = {
    "the core imports jax inside a function": (
        "mlmethods/common/rng.py",
        "def _hidden():\n    import jax\n    return jax",
        "1. The core never imports",
    ),
    "one backend imports the other": (
        "mlmethods_jax/random.py",
        "import mlmethods_numpy",
        "2. The backends",
    ),
    "a backend asks the registry": (
        "mlmethods_numpy/ops/linalg.py",
        "from mlmethods.backend import get_backend",
        "4. Backends do not import",
    ),
    "a lower layer imports a higher one": (
        "mlmethods/common/rng.py",
        "import mlmethods.kernels",
        "3 and 5. Layers of the core",
    ),
    "an operation imports a method": (
        "mlmethods_jax/random.py",
        "import mlmethods_jax.ops.kernels",
        "3 and 6. Layers of the JAX backend",
    ),
}


@pytest.mark.parametrize("case", BREACHES)
def test_a_breach_is_found(tree, case):
    file, line, contract = BREACHES[case]
    with (tree / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    done = lint(tree, tree)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(text.startswith(contract) for text in broken), done.stdout


def test_a_package_outside_the_layers_is_found(tree):
    (tree / "mlmethods" / "odds_and_ends").mkdir()
    (tree / "mlmethods" / "odds_and_ends" / "__init__.py").write_text("")
    done = lint(tree, tree)
    assert done.returncode == 1
    assert "mlmethods.odds_and_ends" in done.stdout


def build_graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        *PACKAGES, exclude_type_checking_imports=True, cache_dir=None
    )


def test_backends_import_only_what_they_may():
    graph = build_graph()
    assert {"mlmethods_jax.ops.kernels", "mlmethods_numpy.ops.kernels"} <= graph.modules
    assert backend_imports_not_allowed(graph) == set()


@pytest.mark.parametrize(
    ("imported", "allowed"),
    [
        ("mlmethods.interfaces", True),
        ("mlmethods.interfaces.kernel", True),
        ("mlmethods.errors", True),
        ("mlmethods._version", True),
        ("mlmethods._lazy", True),
        ("mlmethods.rfm.contract", True),
        ("mlmethods", False),
        ("mlmethods.rfm", False),
        ("mlmethods.rfm.generic_engine", False),
        ("mlmethods.backend", False),
        ("mlmethods.common.validation", False),
        ("mlmethods.errors_of_another_kind", False),
    ],
)
def test_the_allow_list(imported, allowed):
    graph = grimp.ImportGraph()
    graph.add_module("mlmethods_jax.somewhere")
    graph.add_module(imported)
    graph.add_import(importer="mlmethods_jax.somewhere", imported=imported)
    assert (backend_imports_not_allowed(graph) == set()) is allowed
