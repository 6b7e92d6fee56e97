"""One way from what users pass as randomness to seeds and generators."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError

__all__ = ["generator", "seed_sequence"]


def generator(rng: Any = None) -> np.random.Generator:
    """Return the generator that a function with an `rng` argument draws from.

    Parameters
    ----------
    rng : None, int, numpy.random.SeedSequence or numpy.random.Generator
        A generator is returned as it is, so that its state advances for the caller.

    Raises
    ------
    InvalidInputError
        If it is anything else.

    Examples
    --------
    >>> int(generator(0).integers(10)) == int(generator(0).integers(10))
    True
    """
    accepted = (np.random.Generator, np.random.SeedSequence)
    if rng is None or isinstance(rng, accepted) or _is_seed(rng):
        return np.random.default_rng(rng)
    raise InvalidInputError(
        "rng must be None, an integer >= 0, a numpy SeedSequence or a numpy "
        f"Generator, got {rng!r}"
    )


def seed_sequence(random_state: Any = None) -> np.random.SeedSequence:
    """Return the seed of one fit from an estimator's `random_state`.

    Parameters
    ----------
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        The same integer gives the same seed each time; a generator is drawn from,
        so that successive fits differ. NumPy's global generator is never touched.

    Raises
    ------
    InvalidInputError
        If it is anything else.

    Examples
    --------
    >>> seed_sequence(3).entropy
    3
    """
    if random_state is None:
        return np.random.SeedSequence()
    if _is_seed(random_state):
        return np.random.SeedSequence(int(random_state))
    limit = np.iinfo(np.uint32).max
    if isinstance(random_state, np.random.RandomState):
        words = random_state.randint(0, limit, size=4, dtype=np.uint32)
    elif isinstance(random_state, np.random.Generator):
        words = random_state.integers(0, limit, size=4, dtype=np.uint32)
    else:
        raise InvalidInputError(
            "random_state must be None, an integer >= 0, a numpy RandomState or a "
            f"numpy Generator, got {random_state!r}"
        )
    return np.random.SeedSequence([int(word) for word in words])


def _is_seed(value: Any) -> bool:
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and int(value) >= 0
    )
