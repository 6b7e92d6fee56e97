"""What must be in the environment before numerical libraries load."""

from __future__ import annotations

import os

__all__ = ["prepare"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    # XLA sizes its thread pools by this one.
    "NPROC",
)
_PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}


def prepare(*, threads: int | None, device: str) -> None:
    """Set threads, the device and the compilation cache for this process.

    Parameters
    ----------
    threads : int or None
        Threads of every numerical library; None leaves them as they are.
    device : str
        ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"tpu"``.

    Notes
    -----
    What the user has set for the cache stays. The library itself never does this:
    only the command line owns its process.
    """
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    if device != "auto":
        os.environ["JAX_PLATFORMS"] = _PLATFORMS[device]
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # Imported here: the module above it must come before any import of NumPy.
        from mlmethods.common.machine import cache_directory

        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache_directory() / "jax")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
