"""Peak memory of one call, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.harness.case import Case, Size

__all__ = ["measure_here", "measure_in_child"]

_STATUS = Path("/proc/self/status")


def _resident(field: str) -> int | None:
    """Return a field of this process's status in bytes, or None off Linux.

    The high-water mark of getrusage is inherited from the parent; this one is not.
    """
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def measure_here(case: Case, name: str, size: Size, seed: int) -> dict[str, int | None]:
    """Return bytes before the first call and at the peak, compilation included."""
    call = case.implementations[name].setup(case.data(size, seed))
    before = _resident("VmRSS")
    call()
    return {"before": before, "peak": _resident("VmHWM")}


def measure_in_child(
    case: Case, name: str, size: Size, *, threads: int, seed: int
) -> dict[str, int | None] | None:
    """Run :func:`measure_here` in a fresh process; None if it fails."""
    request = json.dumps(
        {
            "case": case.name,
            "implementation": name,
            "size": dict(size),
            "threads": threads,
            "seed": seed,
        }
    )
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--measure-memory", request],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        return None
    return json.loads(run.stdout.splitlines()[-1])
