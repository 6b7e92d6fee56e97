"""Checks of what surrounds the operations: metadata, refusals, arrays and keys."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import API_VERSION, OPS, BackendInfo, KernelSpec
from mlmethods.testing.trials import KERNELS, Trial, check, require

__all__ = ["EDGES"]

EDGES = ("backend.info", "backend.refusals", "backend.arrays", "backend.keys")
"""What every backend is checked for, whatever it declares."""


def _is_reason(answer: Any) -> bool:
    return isinstance(answer, str) and bool(answer.strip())


def _global_state() -> str:
    return repr(np.random.get_state(legacy=False))  # noqa: NPY002


@check("backend.info")
def describes_itself(trial: Trial) -> None:
    info = trial.backend.info
    require(
        isinstance(info, BackendInfo),
        f"info is a {type(info).__name__}, expected mlmethods.interfaces.BackendInfo",
    )
    require(bool(info.name) and bool(info.version), "info has no name or no version")
    require(
        info.api_version == API_VERSION,
        f"info.api_version is {info.api_version}, this contract is {API_VERSION}",
    )
    unknown = sorted(set(info.ops) - set(OPS))
    require(not unknown, f"info.ops names operations that do not exist: {unknown}")
    require(bool(info.ops), "info.ops is empty")
    require(
        info.default_dtype in info.dtypes,
        f"info.default_dtype {info.default_dtype!r} is not in {sorted(info.dtypes)}",
    )
    require(trial.backend.is_available() is True, "is_available() is not True")


@check("backend.refusals")
def runs_what_it_declares_and_no_more(trial: Trial) -> None:
    backend, info = trial.backend, trial.backend.info
    for op in OPS:
        answer = backend.can_run(op)
        if op in info.ops:
            require(answer is True, f"can_run({op!r}) is {answer!r}, though declared")
        else:
            require(
                _is_reason(answer),
                f"can_run({op!r}) is {answer!r}, expected a reason: it is not declared",
            )
    for engine in info.engines:
        answer = backend.can_run(f"engine:{engine}")
        require(answer is True, f"can_run('engine:{engine}') is {answer!r}")
    for name in ("kernels.no_such_operation", "engine:no_such_method"):
        answer = backend.can_run(name)
        require(
            _is_reason(answer), f"can_run({name!r}) is {answer!r}, expected a reason"
        )
    op = min(info.ops)
    answer = backend.can_run(op, dtype="float16")
    require(
        _is_reason(answer) or "float16" in info.dtypes,
        f"can_run({op!r}, dtype='float16') is {answer!r}, expected a reason",
    )


@check("backend.refusals")
def refuses_access_to_families_that_it_lacks(trial: Trial) -> None:
    for family in ("kernels", "linalg", "privacy", "nn"):
        if any(op.startswith(f"{family}.") for op in trial.backend.info.ops):
            continue
        try:
            getattr(trial.backend, family)
        except OperationNotSupportedError:
            continue
        raise AssertionError(
            f"backend.{family} must raise OperationNotSupportedError: no operation of "
            "the family is declared"
        )


@check("backend.refusals")
def accepts_some_kernels_and_refuses_unknown_ones(trial: Trial) -> None:
    unknown = KernelSpec(name="no_such_kernel")
    for op in sorted(trial.backend.info.ops):
        if not op.startswith("kernels."):
            continue
        accepted = [
            key
            for key, kernel in KERNELS.items()
            if trial.backend.can_run(op, kernel=kernel) is True
        ]
        require(bool(accepted), f"can_run({op!r}, kernel=...) accepts no kernel")
        answer = trial.backend.can_run(op, kernel=unknown)
        require(
            _is_reason(answer),
            f"can_run({op!r}, kernel=KernelSpec(name='no_such_kernel')) is {answer!r}, "
            "expected a reason",
        )


@check("backend.arrays")
def carries_arrays_there_and_back(trial: Trial) -> None:
    backend = trial.backend
    numbers = trial.rng().normal(size=(3, 2))
    native = backend.asarray(numbers, dtype=trial.dtype)
    back = backend.to_numpy(native)
    require(isinstance(back, np.ndarray), f"to_numpy gave a {type(back).__name__}")
    require(
        back.dtype.name == trial.dtype,
        f"asarray(dtype={trial.dtype!r}) gave {back.dtype.name}",
    )
    require(
        np.array_equal(back, numbers.astype(trial.dtype)),
        "asarray and to_numpy do not give back the same numbers",
    )
    for array in (np.array([1, 2, 3]), np.array([True, False])):
        back = backend.to_numpy(backend.asarray(array))
        require(
            np.array_equal(back, array) and back.dtype.kind == array.dtype.kind,
            f"an array of {array.dtype} came back as {back.dtype}",
        )
    tree = backend.to_numpy({"a": native, "b": (native, [native])})
    require(
        isinstance(tree["b"], tuple) and isinstance(tree["b"][1][0], np.ndarray),
        "to_numpy does not keep the structure of a pytree",
    )
    backend.synchronize({"a": native})


@check("backend.keys")
def derives_keys_from_seeds_reproducibly(trial: Trial) -> None:
    if "privacy.vmf_sample" not in trial.backend.info.ops:
        # Without an operation that draws, keys can only be made and split.
        require(len(trial.backend.split(trial.key(), 3)) == 3, "split(key, 3) is not 3")
        return
    mu = np.tile([1.0, 0.0, 0.0], (4, 1))

    def draw(key: Any) -> np.ndarray:
        return trial.run(key, mu, np.ones(4), op="privacy.vmf_sample")

    def sequence() -> np.random.SeedSequence:
        return np.random.SeedSequence(5)

    for label, seed in (("an int", lambda: 5), ("a SeedSequence", sequence)):
        key = trial.backend.key
        require(
            np.array_equal(draw(key(seed())), draw(key(seed()))),
            f"two keys of {label} draw differently",
        )
        parts = [draw(part) for part in trial.backend.split(key(seed()), 3)]
        again = [draw(part) for part in trial.backend.split(key(seed()), 3)]
        require(np.array_equal(parts, again), f"splitting a key of {label} is random")
        require(len(parts) == 3, f"split(key, 3) gave {len(parts)} keys")
        streams = [draw(key(seed())), *parts]
        distinct = len({stream.tobytes() for stream in streams})
        require(distinct == 4, "split keys repeat each other or their parent")
    shared = sequence()
    first, second = (
        [draw(part) for part in trial.backend.split(trial.backend.key(shared), 2)]
        for _ in range(2)
    )
    require(
        np.array_equal(first, second) and shared.n_children_spawned == 0,
        "key(seed_sequence) changes the SeedSequence that it is given",
    )


@check("backend.keys")
def leaves_the_global_generator_alone(trial: Trial) -> None:
    before = _global_state()
    trial.backend.split(trial.key(3), 2)
    if "privacy.vmf_sample" in trial.backend.info.ops:
        mu = np.tile([1.0, 0.0, 0.0], (4, 1))
        trial.run(trial.key(3), mu, np.ones(4), op="privacy.vmf_sample")
    require(_global_state() == before, "NumPy's global random state was used")
