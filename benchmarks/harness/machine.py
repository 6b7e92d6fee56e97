"""The machine: settings before numerical libraries load, and what it can do."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any

__all__ = ["describe", "prepare", "probe"]

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    # XLA sizes its thread pool by this one.
    "NPROC",
)


def prepare(threads: int) -> None:
    """Give every numerical library the same threads; call before importing any.

    The process is also bound to as many cores. Compilation caches are off: a first
    call must show what compiling costs. Waiting OpenMP threads sleep, because a
    thread that spins is charged to whoever is timed next.
    """
    os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])


def available_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def describe(threads: int) -> dict[str, Any]:
    """Return the machine, the versions and the settings of this run."""
    from mlmethods.common.machine import machine, versions

    names = ("mlmethods", "numpy", "scipy", "scikit-learn", "jax", "jaxlib")
    return {
        "machine": {**machine(), "load": _load()},
        "versions": versions((*names, "torch", "xrfm")),
        "threads": threads,
        "platform": os.environ.get("JAX_PLATFORMS", ""),
    }


def _load() -> float | None:
    """Return the load average: what else ran at the start."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _best(call: Callable[[], Any], repeats: int = 5) -> float:
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def probe() -> dict[str, float]:
    """Return what this process reaches in a matrix product and in a copy."""
    import numpy as np

    n = 1024
    found = {}
    for dtype in ("float32", "float64"):
        a = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
        out = np.empty_like(a)
        seconds = _best(functools.partial(np.matmul, a, a, out=out))
        found[f"gemm_{dtype}_gflops"] = round(2 * n**3 / seconds / 1e9, 1)
    source = np.ones(2**24)
    target = np.empty_like(source)
    seconds = _best(functools.partial(np.copyto, target, source))
    found["copy_gbytes_per_s"] = round(2 * source.nbytes / seconds / 1e9, 1)
    return found
