"""What a result was computed with: versions, machine and device."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["backend_devices", "cache_directory", "machine", "versions"]

_DISTRIBUTIONS = ("mlmethods", "numpy", "scipy", "scikit-learn", "jax", "jaxlib")


def versions(distributions: Iterable[str] = _DISTRIBUTIONS) -> dict[str, str]:
    """Return the version of Python and of each distribution that is installed.

    Nothing is imported.

    Examples
    --------
    >>> sorted(versions(["numpy", "no-such-distribution"]))
    ['numpy', 'python']
    """
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """Return the operating system, the processor and the cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def backend_devices(backend: Any) -> list[str]:
    """Return the devices of a backend, the one it uses first.

    Parameters
    ----------
    backend : mlmethods.interfaces.Backend
        A loaded backend; a small array is put on its default device.
    """
    import numpy as np

    device = getattr(backend.asarray(np.zeros(1)), "device", "unknown")
    # The array standard says only that arrays have a `device`; what more it knows
    # about itself is used where it is there.
    client = getattr(device, "client", None)
    others = client.devices() if client is not None else []
    names = [_device_name(device)]
    names += [_device_name(other) for other in others if other != device]
    return names


def _device_name(device: Any) -> str:
    platform_name = str(getattr(device, "platform", device))
    kind = str(getattr(device, "device_kind", platform_name))
    index = getattr(device, "id", 0)
    name = f"{platform_name}:{index}"
    return name if kind == platform_name else f"{name} ({kind})"


def cache_directory() -> Path:
    """Return the folder for what can be computed again.

    The environment variable ``MLMETHODS_CACHE_DIR``, read at call time, or the
    user's cache directory.
    """
    chosen = os.environ.get("MLMETHODS_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("mlmethods", appauthor=False))
