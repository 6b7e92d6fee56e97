"""What the library promises, against what was measured."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["judge", "load_targets"]

_KEYS = {"case", "peer", "clock", "ratio", "where"}
_CLOCKS = ("cpu", "wall", "first_cpu", "first_wall")


def load_targets(path: Path) -> list[dict[str, Any]]:
    """Return the targets of a file.

    Each has the case, the peer, the clock, the largest allowed ratio of our time to
    the peer's, and ``where``, the range of each dimension that it speaks of.

    Raises
    ------
    ValueError
        If a target has other keys or an unknown clock.
    """
    targets = tomllib.loads(path.read_text(encoding="utf-8"))["target"]
    for target in targets:
        unknown = set(target) - _KEYS
        lacking = _KEYS - {"where"} - set(target)
        if unknown or lacking or target["clock"] not in _CLOCKS:
            raise ValueError(
                f"{path}: a target must have the keys {sorted(_KEYS)} and a clock of "
                f"{_CLOCKS}, got {target}"
            )
    return targets


def _applies(target: dict[str, Any], size: dict[str, int]) -> bool:
    where = target.get("where", {})
    return all(low <= size[name] <= high for name, (low, high) in where.items())


def judge(
    targets: Iterable[dict[str, Any]], cases: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return one verdict for each target and each size that it speaks of.

    ``met``: the whole interval is within the target. ``missed``: the whole interval is
    beyond it. ``undecided``: it contains the target. ``not measured``: the peer or a
    size that counts was not part of the run. ``void``: the outputs disagree.
    """
    measured = {case["name"]: case for case in cases}
    verdicts = []
    for target in targets:
        case = measured.get(target["case"])
        if case is None:
            continue
        sizes = [entry for entry in case["sizes"] if _applies(target, entry["size"])]
        rows = [
            (entry["size"], entry["implementations"].get(target["peer"], {}))
            for entry in sizes
        ]
        rows = rows or [({}, {})]
        for size, row in rows:
            verdict, ratio = _verdict(target, row)
            verdicts.append(
                {**target, "size": size, "measured": ratio, "verdict": verdict}
            )
    return verdicts


def _verdict(
    target: dict[str, Any], row: dict[str, Any]
) -> tuple[str, list[float] | None]:
    if row.get("status") == "disagrees":
        return "void", None
    ratio = row.get("ratio", {}).get(target["clock"])
    if ratio is None:
        return "not measured", None
    _, low, high = ratio
    if high <= target["ratio"]:
        return "met", ratio
    return ("missed" if low > target["ratio"] else "undecided"), ratio
