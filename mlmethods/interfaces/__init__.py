"""Protocols and plain data that the library and its backends agree on.

Nothing here computes; everything imports with NumPy and the standard library alone.
"""

from mlmethods.interfaces.arrays import Array, ArrayLike, Key, NDArray, PyTree, Seed
from mlmethods.interfaces.backend import (
    API_VERSION,
    OPS,
    Backend,
    BackendInfo,
    Center,
    KernelOps,
    LinalgOps,
    NeuralOps,
    PrivacyOps,
)
from mlmethods.interfaces.events import Callback, Event
from mlmethods.interfaces.kernel import KERNEL_NAMES, Kernel, KernelSpec
from mlmethods.interfaces.model import Model, Predictor
from mlmethods.interfaces.privacy import (
    Adjacency,
    GradientMechanism,
    PrivacyMechanism,
    PrivacySpent,
)
from mlmethods.interfaces.results import (
    SampleResult,
    SampleStatus,
    SolveResult,
    SolveStatus,
)

__all__ = [
    "API_VERSION",
    "KERNEL_NAMES",
    "OPS",
    "Adjacency",
    "Array",
    "ArrayLike",
    "Backend",
    "BackendInfo",
    "Callback",
    "Center",
    "Event",
    "GradientMechanism",
    "Kernel",
    "KernelOps",
    "KernelSpec",
    "Key",
    "LinalgOps",
    "Model",
    "NDArray",
    "NeuralOps",
    "Predictor",
    "PrivacyMechanism",
    "PrivacyOps",
    "PrivacySpent",
    "PyTree",
    "SampleResult",
    "SampleStatus",
    "Seed",
    "SolveResult",
    "SolveStatus",
]
