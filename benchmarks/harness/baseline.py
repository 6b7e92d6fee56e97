"""The ratios that the documentation shows: those of one machine, without its seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["record"]

_MACHINE = ("processor", "cores")


def record(results: dict[str, Any], path: Path) -> None:
    """Put the ratios of a run into a baseline file.

    Cases that were run replace their older figures; others stay, unless they come from
    another machine or number of threads.

    Parameters
    ----------
    results : dict
        What ``results.json`` holds.
    path : Path
        The baseline file; it need not exist.

    Raises
    ------
    ValueError
        If the run had the quick sizes, which promise nothing.
    """
    if results["quick"]:
        raise ValueError("a run with --quick is no baseline")
    from mlmethods.common.atomic import write_json

    origin = {
        "machine": {name: results["machine"][name] for name in _MACHINE},
        "threads": results["threads"],
    }
    kept: list[dict[str, Any]] = []
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        if {name: known[name] for name in origin} == origin:
            run = {case["name"] for case in results["cases"]}
            kept = [row for row in known["ratios"] if row["case"] not in run]
    rows = [row for case in results["cases"] for row in _rows(case)]
    ratios = sorted([*kept, *rows], key=lambda row: row["case"])
    write_json(path, {**origin, "versions": results["versions"], "ratios": ratios})


def _rows(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "case": case["name"],
            "title": case["title"],
            "dtype": case["dtype"],
            "size": entry["size"],
            "peer": name,
            "error": row["error"],
            **{
                clock: [round(value, 3) for value in row["ratio"][clock]]
                for clock in ("cpu", "first_cpu")
            },
        }
        for entry in case["sizes"]
        for name, row in entry["implementations"].items()
        if "ratio" in row
    ]
