"""Exceptions and warnings of the library.

Each class derives from :class:`MLMethodsError` (or :class:`MLMethodsWarning`) and
from the builtin that a caller would expect to catch.
"""

import numpy as np

__all__ = [
    "AccountantMismatchError",
    "AdjacencyError",
    "BackendLoadError",
    "BackendNotFoundError",
    "BackendWarning",
    "CheckpointError",
    "ConfigError",
    "ConformanceError",
    "CrossExampleLayerError",
    "DataFormatError",
    "DatasetNotFoundError",
    "DivergenceError",
    "DuplicateInputsError",
    "EffectiveRidgeWarning",
    "InvalidInputError",
    "MLMethodsError",
    "MLMethodsWarning",
    "MemoryLimitError",
    "NotInterpolatedWarning",
    "NotPositiveDefiniteError",
    "NumericalWarning",
    "OperationNotSupportedError",
    "PrivacyBudgetExceededError",
    "ReproductionFailed",
    "SamplerError",
    "SingularKernelError",
    "SpectrumError",
]


class MLMethodsError(Exception):
    """Base class of every exception that this library raises on its own account."""


class InvalidInputError(MLMethodsError, ValueError):
    """An argument has a value, shape or dtype that the function does not accept."""


class ConfigError(MLMethodsError, ValueError):
    """A configuration has an unknown key or a value outside its range."""


class BackendNotFoundError(MLMethodsError, ImportError):
    """No installed backend has the requested name."""


class BackendLoadError(MLMethodsError, ImportError):
    """A backend is installed but cannot be loaded."""


class OperationNotSupportedError(MLMethodsError, NotImplementedError):
    """The requested backend cannot run the requested operation or engine."""


class NotPositiveDefiniteError(MLMethodsError, np.linalg.LinAlgError):
    """A matrix that must be positive definite is not, beyond what jitter repairs."""


class SingularKernelError(NotPositiveDefiniteError):
    """A kernel matrix is singular where a unique solution was asked for."""


class DuplicateInputsError(MLMethodsError, ValueError):
    """Equal inputs have different targets, so that no function fits all of them."""


class SpectrumError(MLMethodsError, ValueError):
    """Eigenvalues are negative or not finite, or have no solution for these numbers."""


class PrivacyBudgetExceededError(MLMethodsError, ValueError):
    """A step would spend more privacy than its budget; it was not taken."""


class AdjacencyError(MLMethodsError, ValueError):
    """A guarantee was asked for that the relation between neighbors does not give."""


class AccountantMismatchError(MLMethodsError, ValueError):
    """A release does not belong to the mechanism that an account was opened for."""


class CrossExampleLayerError(MLMethodsError, ValueError):
    """A layer mixes the examples of a batch, so that no example has its own gradient."""


class DivergenceError(MLMethodsError, ArithmeticError):
    """An iteration produced values that are not finite."""


class SamplerError(MLMethodsError, RuntimeError):
    """A sampler did not accept a draw within its bounded number of rounds."""


class MemoryLimitError(MLMethodsError, MemoryError):
    """A computation would need more memory than its limit; nothing was allocated."""


class DataFormatError(MLMethodsError, ValueError):
    """A file does not follow its format; the message names file and line."""


class DatasetNotFoundError(MLMethodsError, FileNotFoundError):
    """A dataset is not on this machine; the message says what provides it."""


class CheckpointError(MLMethodsError, OSError):
    """A checkpoint or saved model is missing, damaged or of another version."""


class ReproductionFailed(MLMethodsError, AssertionError):
    """A reproduction ran and its acceptance criterion was not met."""


class ConformanceError(MLMethodsError, AssertionError):
    """A backend does not keep the contract of an operation that it declares."""


class MLMethodsWarning(UserWarning):
    """Base class of the warnings of this library."""


class BackendWarning(MLMethodsWarning):
    """A backend was skipped or ignored."""


class NumericalWarning(MLMethodsWarning):
    """A result is usable but its accuracy was reduced; the message says by what."""


class EffectiveRidgeWarning(NumericalWarning):
    """Rounding acts as a ridge that nobody asked for."""


class NotInterpolatedWarning(MLMethodsWarning):
    """A model that was to fit its training set exactly does not."""
