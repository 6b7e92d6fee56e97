"""The NumPy backend: every operation in plain float64, written to be read.

It is the oracle against which faster backends are tested.
"""

from mlmethods_numpy._backend import NumpyBackend, backend

__all__ = ["NumpyBackend", "backend"]
