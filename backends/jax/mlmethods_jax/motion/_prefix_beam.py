"""Search of the likeliest sequence of a network with blanks, over all its paths."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

__all__ = ["prefix_beam"]

_NEVER = np.float32(-1e30)


class _Prefixes(NamedTuple):
    """Prefixes [k]: tokens, their best steps, length, and the paths' log-probability.

    `blank` is that of the paths that end in a blank, `token` of those that end in the
    last token.
    """

    ids: Array
    logs: Array
    length: Array
    blank: Array
    token: Array

    @property
    def total(self) -> Array:
        return jnp.logaddexp(self.blank, self.token)


def _last(prefixes: _Prefixes) -> Array:
    """Return the last token of each prefix, 0 for an empty one."""
    place = jnp.maximum(prefixes.length - 1, 0)[:, None]
    return jnp.take_along_axis(prefixes.ids, place, axis=1)[:, 0]


def _is_child(prefixes: _Prefixes) -> Array:
    """Return [j, k]: whether prefix j is prefix k and one token more."""
    ids, length = prefixes.ids, prefixes.length
    places = jnp.arange(ids.shape[1], dtype=jnp.int32)[None, None]
    same = (ids[:, None] == ids[None]) | (places >= length[None, :, None])
    return jnp.all(same, -1) & (length[:, None] == length[None] + 1)


def _advance(prefixes: _Prefixes, log_probs: Array) -> _Prefixes:
    """Take one step of log-probabilities [C + 1] and keep the best prefixes."""
    width, room = prefixes.ids.shape
    total, last = prefixes.total, _last(prefixes)
    classes = jnp.arange(1, len(log_probs), dtype=jnp.int32)
    # a token that repeats the last one needs a blank between
    repeats = classes[None] == last[:, None]
    source = jnp.where(repeats, prefixes.blank[:, None], total[:, None])
    full = prefixes.length == room
    longer = jnp.where(full[:, None], _NEVER, source + log_probs[None, 1:])
    of_last = jnp.where(prefixes.length > 0, log_probs[last], _NEVER)
    # a full prefix will be cut: whatever follows is part of it, at its likeliest
    blank = total + jnp.where(full, jnp.max(log_probs), log_probs[0])
    token = jnp.where(full, _NEVER, prefixes.token + of_last)

    # a longer prefix that is among the prefixes already joins it
    child = _is_child(prefixes)
    arrives = jnp.where(child, longer[:, jnp.maximum(last - 1, 0)].T, _NEVER)
    token = jnp.logaddexp(token, jax.nn.logsumexp(arrives, axis=1))
    marks = child[:, :, None] & (classes[None] == last[:, None])[:, None]
    longer = jnp.where(jnp.any(marks, 0), _NEVER, longer)

    scores = jnp.concatenate((jnp.logaddexp(blank, token), longer.ravel()))
    _, chosen = lax.top_k(scores, width)
    stays = chosen < width
    extended = jnp.maximum(chosen - width, 0)
    parent = jnp.where(stays, chosen, extended // len(classes))
    added = 1 + extended % len(classes)
    here = jnp.arange(room, dtype=jnp.int32)[None]
    ids, logs = prefixes.ids[parent], prefixes.logs[parent]
    length = prefixes.length[parent]
    new = (here == length[:, None]) & ~stays[:, None]
    ids = jnp.where(new, added[:, None], ids)
    # of a token that goes on, the best step counts
    going = (here == length[:, None] - 1) & stays[:, None]
    going = going & (prefixes.token[parent] > _NEVER / 2)[:, None]
    logs = jnp.where(going, jnp.maximum(logs, log_probs[last[parent]][:, None]), logs)
    logs = jnp.where(new, log_probs[added][:, None], logs)
    return _Prefixes(
        ids,
        logs,
        length + (~stays).astype(jnp.int32),
        jnp.where(stays, blank[parent], _NEVER),
        jnp.where(stays, token[parent], longer.ravel()[extended]),
    )


def prefix_beam(
    log_probs: Float[Array, "s v"],
    mask: Bool[Array, " s"],
    *,
    beam: int,
    max_tokens: int,
) -> tuple[Array, Array, Array]:
    """Return the likeliest sequence that a beam of prefixes finds.

    Parameters
    ----------
    log_probs : float32 array [s, v]
        Log-probabilities of the steps, blank first.
    mask : bool array [s]
        Steps that count.
    beam : int
        Prefixes that are kept.
    max_tokens : int
        Room; further tokens are left out.

    Returns
    -------
    ids : int32 array [max_tokens]
        Tokens from 1, then 0.
    log_probs : float32 array [max_tokens]
        Log-probability of each token at its best step.
    truncated : bool array []
        Whether tokens were left out.

    References
    ----------
    Hannun, Maas, Jurafsky, Ng (2014), First-pass large vocabulary continuous speech
    recognition using bi-directional recurrent DNNs, arXiv:1408.2873, algorithm 1.
    """
    # one more place tells a sequence that fills its room from one that is cut
    shape = (beam, max_tokens + 1)
    first = jnp.arange(beam, dtype=jnp.int32) == 0
    start = _Prefixes(
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, log_probs.dtype),
        jnp.zeros(beam, jnp.int32),
        jnp.where(first, jnp.zeros((), log_probs.dtype), _NEVER),
        jnp.full(beam, _NEVER, log_probs.dtype),
    )

    def step(prefixes: _Prefixes, xs: Any) -> tuple[_Prefixes, None]:
        logs, counts = xs
        new = _advance(prefixes, logs)
        return jax.tree.map(lambda a, b: jnp.where(counts, a, b), new, prefixes), None

    prefixes, _ = lax.scan(step, start, (log_probs, mask))
    best = jnp.argmax(prefixes.total)
    length = prefixes.length[best]
    used = jnp.arange(max_tokens, dtype=jnp.int32) < length
    ids = jnp.where(used, prefixes.ids[best, :max_tokens], 0)
    logs = prefixes.logs[best, :max_tokens]
    return ids, jnp.where(used, logs, jnp.zeros_like(logs)), length > max_tokens
