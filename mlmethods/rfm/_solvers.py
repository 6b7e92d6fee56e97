"""Which solver a fit takes, and the problem that a backend makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmethods.common.memory import require_memory
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Backend, NDArray
from mlmethods.kernels.contract import eigenpro_bytes
from mlmethods.kernels.eigenpro import choose_subsample
from mlmethods.rfm.contract import Engine, Problem, RFMConfig, Rows, direct_bytes
from mlmethods.rfm.generic_engine import GenericEngine
from mlmethods.rfm.iterative import IterativeProblem

__all__ = ["choose_solver", "engine_of", "in_row_space", "make_problem"]

# Kernels of the Euclidean distance, which no rotation changes.
_RADIAL = ("laplace", "gaussian", "exp_power", "matern")


def in_row_space(config: RFMConfig) -> bool:
    """Return whether coordinates in the span of the rows give the same machine."""
    return (
        not config.diagonal
        and not config.blocks
        and not config.passes
        and not config.agop_shrinkage
        and config.kernel.name in _RADIAL
    )


def choose_solver(
    config: RFMConfig,
    solver: str,
    shape: tuple[int, int, int],
    limit: int,
    epochs: int,
    stop_multiplier: float | None,
) -> RFMConfig:
    """Return the configuration with as many passes as the solver takes; 0 is direct.

    Parameters
    ----------
    config : RFMConfig
        Without passes.
    solver : {"auto", "cholesky", "eigenpro"}
        What was asked for.
    shape : tuple of int
        Rows, features of M and outputs.
    limit : int
        Bytes that the fit may take.
    epochs, stop_multiplier : int, float or None
        Most passes, and when they end.

    Raises
    ------
    InvalidInputError
        If EigenPro is asked for together with leave-one-out errors.
    MemoryLimitError
        If the solver does not fit into `limit`.
    """
    n, d, c = shape
    closed = config.in_closed_form
    if solver == "eigenpro" and closed:
        raise InvalidInputError(
            "solver='eigenpro' takes one reg and selection='holdout': leave-one-out "
            "errors in closed form need the direct solve"
        )
    # With more features than rows, M is kept in coordinates of the rows.
    reduced = d > n and in_row_space(config)
    direct = reduced * 24 * n * d + direct_bytes(
        n, n if reduced else d, c, config.dtype, leave_one_out=closed
    )
    fits = direct <= limit or closed
    if solver == "cholesky" or (solver == "auto" and fits):
        require_memory(
            direct,
            limit,
            what=f"the direct solve on n={n} rows",
            alternative="set solver='eigenpro', fit on fewer rows, or raise "
            "memory_limit",
        )
        return config
    size = choose_subsample(n, d, c, config.dtype, limit)
    require_memory(
        eigenpro_bytes(n, d, c, size, config.dtype) + 32 * d * d,
        limit,
        what=f"EigenPro on n={n} rows",
        alternative="fit on fewer rows, or raise memory_limit",
    )
    return replace(config, passes=epochs, pass_stop_multiplier=stop_multiplier)


def make_problem(
    backend: Backend,
    config: RFMConfig,
    rows: Rows,
    validation: Rows | None = None,
    agop_rows: NDArray | None = None,
    basis: NDArray | None = None,
    *,
    limit: int,
    seed: np.random.SeedSequence,
) -> Problem:
    """Put a fit on the device; `seed` draws what passes need."""
    if not config.passes:
        return engine_of(backend).problem(config, rows, validation, agop_rows, basis)
    (n, d), c = rows.X.shape, rows.Y.shape[1]
    size = choose_subsample(n, config.features(d), c, config.dtype, limit)
    # Two streams of one seed, the same whenever the fit is resumed.
    sub_rng = np.random.default_rng([*seed.generate_state(4), 0])
    sub_index = np.sort(sub_rng.choice(n, size, replace=False))
    return IterativeProblem(
        backend,
        config,
        rows,
        validation,
        agop_rows,
        sub_index,
        seed,
        engine_of(backend).reads_tables,
    )


def engine_of(backend: Backend) -> Engine:
    """Return the backend's own engine, or the one made of its operations."""
    if "rfm" in backend.info.engines:
        return backend.engine("rfm")
    return GenericEngine(backend)
