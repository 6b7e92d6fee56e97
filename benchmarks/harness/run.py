"""Running a case: compare, then time, then measure memory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from benchmarks.harness.case import Case, Size, relative_error, size_label
from benchmarks.harness.memory import measure_in_child
from benchmarks.harness.timer import (
    Clock,
    Samples,
    first_call,
    growth_exponent,
    paired_ratio,
    race,
)

__all__ = ["run_case"]

_CLOCKS = ("wall", "cpu")


def run_case(
    case: Case,
    *,
    peers: Collection[str] | None,
    quick: bool,
    rounds: int,
    seconds: float,
    threads: int,
    seed: int,
    memory: bool,
    gflops: float | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Run a case at each of its sizes.

    Parameters
    ----------
    case : Case
        What to run.
    peers : collection of str or None
        Peers to run besides ours; None is all.
    quick : bool
        Take the small sizes.
    rounds, seconds : int, float
        See :func:`benchmarks.harness.timer.race`.
    threads, seed : int
        Recorded, and passed on to the processes that measure memory.
    memory : bool
        Whether to measure peak memory.
    gflops : float or None
        The machine's rate, for the share that ours reaches.
    tell : callable
        Receives a line for each thing that is done.

    Returns
    -------
    dict
        What ``results.json`` holds for the case.
    """
    chosen = [
        name
        for name in case.implementations
        if name == case.ours or peers is None or name in peers
    ]
    sizes = []
    for size in case.quick_sizes if quick else case.sizes:
        tell(f"{case.name}  {size_label(size)}")
        entry = _run_size(case, size, chosen, rounds, seconds, seed, gflops, tell)
        if memory:
            for name, row in entry["implementations"].items():
                if row["status"] in ("ok", "disagrees"):
                    row["memory"] = measure_in_child(
                        case, name, size, threads=threads, seed=seed
                    )
        sizes.append(entry)
    return {
        "name": case.name,
        "title": case.title,
        "ours": case.ours,
        "dtype": case.dtype,
        "tolerance": case.tolerance,
        "sizes": sizes,
        "growth": _growth(sizes, chosen),
    }


def _run_size(
    case: Case,
    size: Size,
    chosen: list[str],
    rounds: int,
    seconds: float,
    seed: int,
    gflops: float | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    data = case.data(size, seed)
    rows: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], Any]] = {}
    first: dict[str, Clock] = {}
    outputs: dict[str, np.ndarray] = {}
    for name in chosen:
        implementation = case.implementations[name]
        missing = implementation.missing()
        if missing:
            reason = f"{missing} ({implementation.install})"
            rows[name] = {"status": "not installed", "reason": reason}
            continue
        try:
            call = implementation.setup(data)
            result, first[name] = first_call(call)
            outputs[name] = np.asarray(implementation.collect(result))
            del result
        except Exception as failure:
            # One broken peer must not cost the results of a long run.
            rows[name] = {
                "status": "failed",
                "reason": f"{type(failure).__name__}: {failure}",
            }
            continue
        rows[name] = {"status": "ok"}
        calls[name] = call
    if case.ours not in calls:
        for name in calls:
            rows[name] = {"status": "not compared", "reason": "ours failed"}
        for name, row in rows.items():
            tell(f"  {_line(name, row)}")
        return {"size": dict(size), "work": None, "implementations": rows}
    for name in calls:
        error = relative_error(outputs[case.ours], outputs[name])
        rows[name]["error"] = error if np.isfinite(error) else None
        if not error <= case.tolerance:
            rows[name]["status"] = "disagrees"
            tell(f"  {name} disagrees: relative error {error:.2e}")
    samples = race(calls, rounds=rounds, seconds=seconds)
    for name in calls:
        rows[name].update(_statistics(samples[name], first[name]))
        if name != case.ours and rows[name]["status"] == "ok":
            rows[name]["ratio"] = _ratios(case.ours, name, samples, first, seed)
    work = case.work(size) if case.work else None
    if work and gflops:
        rate = work / rows[case.ours]["wall"]["median"] / 1e9
        rows[case.ours]["gflops"] = rate
        rows[case.ours]["share_of_gemm"] = rate / gflops
    for name, row in rows.items():
        tell(f"  {_line(name, row)}")
    return {"size": dict(size), "work": work, "implementations": rows}


def _statistics(samples: Samples, first: Clock) -> dict[str, Any]:
    found: dict[str, Any] = {"rounds": len(samples.wall)}
    for clock in _CLOCKS:
        low, median, high = np.quantile(samples.of(clock), [0.25, 0.5, 0.75])
        found[clock] = {
            "median": float(median),
            "iqr": [float(low), float(high)],
            "first_call": getattr(first, clock),
        }
    return found


def _ratios(
    ours: str,
    name: str,
    samples: dict[str, Samples],
    first: dict[str, Clock],
    seed: int,
) -> dict[str, list[float]]:
    ratios = {}
    for clock in _CLOCKS:
        pair = samples[ours].of(clock), samples[name].of(clock)
        ratios[clock] = list(paired_ratio(*pair, seed=seed))
        # One call each: there is no interval.
        once = getattr(first[ours], clock) / max(getattr(first[name], clock), 1e-12)
        ratios[f"first_{clock}"] = [once, once, once]
    return ratios


def _line(name: str, row: dict[str, Any]) -> str:
    if "wall" not in row:
        return f"{name:22} {row['status']}: {row['reason']}"
    cpu, wall = row["cpu"], row["wall"]
    text = (
        f"{name:22} {wall['median']:9.4f} s wall  {cpu['median']:9.4f} s cpu  "
        f"first call {wall['first_call']:7.3f} s"
    )
    if "ratio" in row:
        median, low, high = row["ratio"]["cpu"]
        text += f"  ours/this {median:.2f} [{low:.2f}, {high:.2f}] cpu"
    return text


def _growth(
    sizes: list[dict[str, Any]], names: list[str]
) -> dict[str, dict[str, float]]:
    """Return exponents of n, for each implementation and each value of the rest."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        groups: dict[str, list[tuple[int, float]]] = {}
        for entry in sizes:
            size, row = entry["size"], entry["implementations"][name]
            if "n" in size and "wall" in row:
                rest = {key: value for key, value in size.items() if key != "n"}
                point = (size["n"], row["wall"]["median"])
                groups.setdefault(size_label(rest), []).append(point)
        fitted = {
            rest: growth_exponent(*map(list, zip(*points, strict=True)))
            for rest, points in groups.items()
            if len({n for n, _ in points}) > 1
        }
        if fitted:
            found[name] = fitted
    return found
