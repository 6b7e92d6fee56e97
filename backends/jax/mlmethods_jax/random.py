"""Keys: one root per seed, named streams under it, one fold per step.

A function consumes its key once. Streams are ``fold_in(root, STREAM)``, then
``fold_in(stream, step)``, so that resuming at step k draws what an uninterrupted run
would have drawn.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mlmethods.interfaces import Seed

__all__ = [
    "STREAM_DATA",
    "STREAM_DROPOUT",
    "STREAM_INIT",
    "STREAM_NOISE",
    "key_from_seed",
    "stream",
]

STREAM_INIT = 0
STREAM_DATA = 1
STREAM_DROPOUT = 2
STREAM_NOISE = 3

_WORD = 0xFFFFFFFF


def key_from_seed(seed: Seed) -> jax.Array:
    """Return the root key of an integer or a NumPy SeedSequence.

    Parameters
    ----------
    seed : int or numpy.random.SeedSequence
        All 64 bits of an integer count; of a sequence, its first two words.

    Examples
    --------
    >>> from mlmethods_jax.random import key_from_seed
    >>> key_from_seed(0).shape
    ()
    """
    if isinstance(seed, np.random.SeedSequence):
        words = seed.generate_state(2)
    else:
        words = np.array([int(seed) >> 32 & _WORD, int(seed) & _WORD], np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")


def stream(root: jax.Array, name: int, step: int | jax.Array = 0) -> jax.Array:
    """Return the key of one step of one named stream.

    Parameters
    ----------
    root : key
        The root key; it is not consumed.
    name : int
        One of the ``STREAM_*`` constants.
    step : int
        The step; may be traced.
    """
    return jax.random.fold_in(jax.random.fold_in(root, name), step)
