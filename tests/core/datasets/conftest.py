"""A machine without data, on which each test puts what it needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlmethods.datasets import locate


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the data of this machine: its folders are searched last."""
    monkeypatch.delenv("MLMETHODS_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(locate, "_CHECKOUT", tmp_path / "no-checkout")
    monkeypatch.setattr(locate, "_SYSTEM", tmp_path / "no-system")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Return a function that writes a file below the temporary folder."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
        return path

    return write_file
