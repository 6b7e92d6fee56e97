from __future__ import annotations

import numpy as np
import pytest

from mlmethods import errors

BUILTINS = {
    "InvalidInputError": ValueError,
    "ConfigError": ValueError,
    "BackendNotFoundError": ImportError,
    "BackendLoadError": ImportError,
    "OperationNotSupportedError": NotImplementedError,
    "NotPositiveDefiniteError": np.linalg.LinAlgError,
    "SingularKernelError": errors.NotPositiveDefiniteError,
    "AccountantMismatchError": ValueError,
    "AdjacencyError": ValueError,
    "CrossExampleLayerError": ValueError,
    "PrivacyBudgetExceededError": ValueError,
    "DivergenceError": ArithmeticError,
    "DuplicateInputsError": ValueError,
    "SpectrumError": ValueError,
    "EffectiveRidgeWarning": errors.NumericalWarning,
    "NotInterpolatedWarning": UserWarning,
    "SamplerError": RuntimeError,
    "MemoryLimitError": MemoryError,
    "DataFormatError": ValueError,
    "DatasetNotFoundError": FileNotFoundError,
    "CheckpointError": OSError,
    "ReproductionFailed": AssertionError,
    "ConformanceError": AssertionError,
    "BackendWarning": UserWarning,
    "NumericalWarning": UserWarning,
}
BASES = {"MLMethodsError", "MLMethodsWarning"}


@pytest.mark.parametrize("name", BUILTINS)
def test_each_class_is_caught_as_ours_and_as_the_builtin(name):
    cls = getattr(errors, name)
    warning = name.endswith("Warning")
    base = errors.MLMethodsWarning if warning else errors.MLMethodsError
    assert issubclass(cls, base)
    assert issubclass(cls, BUILTINS[name])
    with pytest.raises(BUILTINS[name], match="reason"):
        raise cls("reason")


def test_every_public_class_is_in_the_table_and_documented():
    assert set(errors.__all__) == set(BUILTINS) | BASES
    for name in errors.__all__:
        assert getattr(errors, name).__doc__.endswith(".")
