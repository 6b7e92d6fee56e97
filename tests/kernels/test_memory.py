"""Limits on memory."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mlmethods.common import memory
from mlmethods.errors import InvalidInputError, MemoryLimitError


def test_the_automatic_limit_is_part_of_what_is_available():
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.resolve_memory_limit("auto") < memory.available_memory() * 1.2
    assert memory.available_memory() <= physical


@pytest.mark.parametrize(
    ("limit", "bound"), [("3000000", 2_000_000), ("max", None), ("500000", 0)]
)
def test_a_control_group_lowers_it(tmp_path, monkeypatch, limit, bound):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    if bound is None:
        assert memory.available_memory() > 3_000_000
    else:
        assert memory.available_memory() == bound


@pytest.mark.parametrize("limit", [1, 2.5e9, np.int64(7), float("inf")])
def test_numbers_of_bytes_are_limits(limit):
    assert memory.resolve_memory_limit(limit) == min(limit, 2**63) // 1


@pytest.mark.parametrize("limit", [0, -1, True, "1GB", None, float("nan")])
def test_other_limits_are_refused(limit):
    with pytest.raises(InvalidInputError, match="memory_limit must be a number"):
        memory.resolve_memory_limit(limit)


def test_a_request_beyond_the_limit_names_both_and_the_alternative():
    memory.require_memory(10, 10, what="K", alternative="use less")
    message = "K of n=3 needs 2.5 MB, memory_limit allows 999 bytes; use less"
    with pytest.raises(MemoryLimitError, match=message):
        memory.require_memory(2_500_000, 999, what="K of n=3", alternative="use less")
