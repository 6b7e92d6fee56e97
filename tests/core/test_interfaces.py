from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from mlmethods import interfaces
from mlmethods.interfaces import (
    KERNEL_NAMES,
    OPS,
    BackendInfo,
    KernelSpec,
    SampleResult,
    SampleStatus,
    SolveResult,
    SolveStatus,
)

FAMILIES = {
    "kernels": interfaces.KernelOps,
    "linalg": interfaces.LinalgOps,
    "privacy": interfaces.PrivacyOps,
    "nn": interfaces.NeuralOps,
}


def test_the_fifteen_operations_are_methods_of_their_families():
    assert len(OPS) == len(set(OPS)) == 15
    for op in OPS:
        family, name = op.split(".")
        signature = inspect.signature(getattr(FAMILIES[family], name))
        kinds = {p.kind for p in signature.parameters.values()}
        assert not kinds & {
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        }


def test_kernel_spec_is_immutable_and_compares_by_identity():
    spec = KernelSpec(name="laplace", bandwidth=np.ones(()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.bandwidth = 2.0
    # Traced arrays have no truth value, so that equality must not look at them.
    assert spec != KernelSpec(name="laplace", bandwidth=np.ones(()))
    assert isinstance(hash(spec), int)


def test_kernel_spec_has_no_shared_defaults_and_keyword_arguments_only():
    first, second = KernelSpec(name="laplace"), KernelSpec(name="laplace")
    assert first.params is not second.params
    assert type(first.params) is dict
    with pytest.raises(TypeError):
        KernelSpec("laplace")


def test_kernel_spec_option():
    spec = KernelSpec(name="matern", static=(("nu", 1.5),))
    assert spec.option("nu") == 1.5
    with pytest.raises(KeyError, match="depth"):
        spec.option("depth")


def test_kernel_names_are_documented():
    for name in KERNEL_NAMES:
        assert f"``{name}``" in KernelSpec.__doc__


@pytest.mark.parametrize("enum", [SolveStatus, SampleStatus])
def test_each_status_has_one_sentence(enum):
    messages = [status.message for status in enum]
    assert all(messages)
    assert len(set(messages)) == len(messages)


def test_which_solve_statuses_allow_use():
    usable = {status for status in SolveStatus if status.ok}
    assert usable == {
        SolveStatus.OK,
        SolveStatus.JITTERED,
        SolveStatus.REFINEMENT_FELL_BACK,
    }


def test_results_are_ok_lane_by_lane():
    solve = SolveResult(None, np.array([0, 1, 2, 3, 4, 5]), None, None)
    assert solve.ok.tolist() == [True, True, True, False, False, False]
    assert SolveResult(None, np.array(0), None, None).ok
    sample = SampleResult(None, np.array([0, 1, 2]), None)
    assert sample.ok.tolist() == [True, False, False]


def test_backend_info_is_frozen():
    info = BackendInfo(name="x", version="1", api_version=1, ops=frozenset())
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "y"


def test_everything_public_exists_and_needs_numpy_alone():
    assert sorted(interfaces.__all__) == sorted(set(interfaces.__all__))
    for name in interfaces.__all__:
        assert hasattr(interfaces, name)
