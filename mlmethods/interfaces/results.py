"""Results that operations return in place of raising: status values and numbers."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from mlmethods.interfaces.arrays import Array

__all__ = ["SampleResult", "SampleStatus", "SolveResult", "SolveStatus"]


class SolveStatus(IntEnum):
    """How a linear solve ended."""

    OK = 0
    JITTERED = 1
    REFINEMENT_FELL_BACK = 2
    NOT_POSITIVE_DEFINITE = 3
    NOT_FINITE = 4
    MAX_ITERATIONS = 5

    @property
    def message(self) -> str:
        """One sentence for a person."""
        return _SOLVE_MESSAGES[self]

    @property
    def ok(self) -> bool:
        """Whether the solution may be used."""
        return self <= SolveStatus.REFINEMENT_FELL_BACK


_SOLVE_MESSAGES = {
    SolveStatus.OK: "the system was solved",
    SolveStatus.JITTERED: "the system was solved after adding jitter to the diagonal",
    SolveStatus.REFINEMENT_FELL_BACK: (
        "float32 with refinement did not reach the required residual; "
        "the system was solved in float64"
    ),
    SolveStatus.NOT_POSITIVE_DEFINITE: (
        "the matrix is not positive definite, even with the largest jitter; "
        "raise reg, or remove duplicated rows"
    ),
    SolveStatus.NOT_FINITE: "the matrix or the right-hand side has NaN or inf",
    SolveStatus.MAX_ITERATIONS: (
        "conjugate gradients did not reach the tolerance; "
        "raise max_iter, rank or reg, or use a direct solve"
    ),
}


class SolveResult(NamedTuple):
    """The solution of ``(K + reg I) alpha = Y`` and how it was found.

    Attributes
    ----------
    alpha : array of shape (n, c) or (r, n, c)
        The solution; NaN where `status` is not ok.
    status : int array of shape () or (r,)
        A :class:`SolveStatus` value.
    jitter : float array of shape () or (r,)
        What was added to the diagonal beyond `reg`.
    residual : float array of shape () or (r,)
        ``|(K + (reg + jitter) I) alpha - Y| / |Y|`` in the Frobenius norm; with
        weights that of the system ``s K s`` that is solved.
    """

    alpha: Array
    status: Array
    jitter: Array
    residual: Array

    @property
    def ok(self) -> Any:
        """Whether `alpha` may be used; an array where `status` is one."""
        return self.status <= SolveStatus.REFINEMENT_FELL_BACK


class SampleStatus(IntEnum):
    """How a sampler ended."""

    OK = 0
    MAX_ROUNDS = 1
    INVALID_PARAMETERS = 2

    @property
    def message(self) -> str:
        """One sentence for a person."""
        return _SAMPLE_MESSAGES[self]


_SAMPLE_MESSAGES = {
    SampleStatus.OK: "every draw was accepted",
    SampleStatus.MAX_ROUNDS: (
        "a draw was not accepted within the bounded number of rounds; "
        "its lane is NaN, no unaccepted draw is returned"
    ),
    SampleStatus.INVALID_PARAMETERS: (
        "kappa must be finite and >= 0 and mu must be finite; the lane is NaN"
    ),
}


class SampleResult(NamedTuple):
    """Draws of a rejection sampler and how they were found.

    Attributes
    ----------
    value : array
        The draws; a lane that was not accepted is NaN.
    status : int array, one entry a lane
        A :class:`SampleStatus` value.
    rounds : int array of shape ()
        Rejection rounds that were run.
    """

    value: Array
    status: Array
    rounds: Array

    @property
    def ok(self) -> Any:
        """Whether each lane was accepted."""
        return self.status == SampleStatus.OK
