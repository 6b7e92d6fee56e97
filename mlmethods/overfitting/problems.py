"""Problems that give samples of any size, and the data of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlmethods.common.validation import check_choice, check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray

__all__ = ["Problem", "sphere_problem"]

Sampler = Callable[[int, np.random.Generator], tuple[NDArray, NDArray]]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A distribution of inputs and noiseless targets that a study draws from.

    Attributes
    ----------
    sample : callable
        ``sample(n, rng)`` returns independent rows `X` of shape (n, d) and their
        noiseless targets or labels `y` of shape (n,).
    name : str
        What to call it.
    test_size : int
        Rows of the test set, drawn once.
    task : {"auto", "regression", "classification"}
        What `y` is; by default as for data.
    config : dict
        Numbers and strings that tell it from other problems of the same name.

    Examples
    --------
    >>> from mlmethods.overfitting import Problem
    >>> def sample(n, rng):
    ...     X = rng.uniform(size=(n, 1))
    ...     return X, X[:, 0] > 0.5
    >>> step = Problem(sample=sample, name="step")
    >>> step.test_size
    2000
    """

    sample: Sampler
    name: str = "problem"
    test_size: int = 2000
    task: str = "auto"
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.sample):
            raise InvalidInputError(
                f"sample must be callable as sample(n, rng), got {self.sample!r}"
            )
        check_integer("test_size", self.test_size, minimum=1)
        check_choice("task", self.task, ("auto", "regression", "classification"))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Return a checked sample.

        Raises
        ------
        InvalidInputError
            If `sample` returned anything but n rows and n targets.
        """
        drawn = self.sample(n, rng)
        if not isinstance(drawn, tuple) or len(drawn) != 2:
            raise InvalidInputError(
                f"sample of problem {self.name!r} must return X and y, got "
                f"{type(drawn).__name__}"
            )
        X, y = (np.asarray(part) for part in drawn)
        if X.ndim != 2 or X.shape[0] != n or y.shape != (n,):
            raise InvalidInputError(
                f"sample of problem {self.name!r} must return X of shape ({n}, d) and "
                f"y of shape ({n},), got shapes {X.shape} and {y.shape}"
            )
        return X, y


def sphere_problem(
    d: int,
    target: Callable[[NDArray], NDArray] | None = None,
    *,
    test_size: int = 2000,
) -> Problem:
    """Return points drawn uniformly from the unit sphere of R^d, a synthetic problem.

    Parameters
    ----------
    d : int
        Dimension >= 2 of the space around the sphere.
    target : callable, optional
        Maps points of shape (n, d) to noiseless targets of shape (n,); zero by
        default, so that a study measures the cost of noise alone.
    test_size : int
        Rows of the test set.

    Returns
    -------
    Problem

    Raises
    ------
    InvalidInputError
        If `d` is below 2.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.overfitting import sphere_problem
    >>> X, y = sphere_problem(3).sample(5, np.random.default_rng(0))
    >>> np.linalg.norm(X, axis=1).round(6).tolist(), y.tolist()
    ([1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0])
    """
    d = check_integer("d", d, minimum=2)

    def sample(n: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
        X = rng.standard_normal((n, d))
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        y = np.zeros(n) if target is None else np.asarray(target(X), dtype=np.float64)
        return X, y

    return Problem(
        sample=sample,
        name="sphere",
        test_size=test_size,
        task="regression",
        config={"d": d},
    )
