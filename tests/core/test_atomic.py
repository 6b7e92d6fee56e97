from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mlmethods.common.atomic import (
    atomic_directory,
    atomic_path,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.csv"
    with atomic_path(target) as scratch:
        assert scratch.suffix == ".csv"
        scratch.write_text("a\n1\n")
        assert not target.exists()
    assert target.read_text() == "a\n1\n"
    assert names(target.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("earlier")

    def interrupted() -> None:
        with atomic_path(target) as scratch:
            scratch.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_text() == "earlier"
    assert names(tmp_path) == ["a.txt"]


def test_a_link_keeps_pointing_at_the_replaced_file(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("earlier")
    link.symlink_to(real)
    write_text(link, "later")
    assert link.is_symlink()
    assert real.read_text() == "later"


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "ours", "")
    modes = {os.stat(tmp_path / name).st_mode for name in ("plain", "ours")}
    assert len(modes) == 1


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for round_ in ("first", "second"):
        with atomic_directory(target) as scratch:
            assert names(scratch) == []
            (scratch / round_).mkdir()
            (scratch / round_ / "a.txt").write_text(round_)
    assert names(target) == ["second"]
    assert names(tmp_path) == ["model"]


def test_an_error_leaves_the_earlier_directory(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "a.txt").write_text("earlier")

    def interrupted() -> None:
        with atomic_directory(target) as scratch:
            (scratch / "a.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert (target / "a.txt").read_text() == "earlier"
    assert names(tmp_path) == ["model"]


def test_a_failed_rename_puts_the_earlier_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "a.txt").write_text("earlier")
    rename = Path.rename
    calls = []

    def second_fails(self: Path, other: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise OSError("disk full")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(OSError, match="disk full"), atomic_directory(target) as scratch:
        (scratch / "a.txt").write_text("later")
    assert (target / "a.txt").read_text() == "earlier"
    assert names(tmp_path) == ["model"]


def test_json_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"text": "ä", "n": 1})
    assert json.loads(target.read_text("utf-8")) == {"text": "ä", "n": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"n": float("nan")})
    assert json.loads(target.read_text("utf-8"))["n"] == 1
