"""Checks of the operations that networks share."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.testing.trials import Trial, check, require

__all__: list[str] = []


def _heads(trial: Trial, t: int = 5, s: int = 7) -> tuple[NDArray, NDArray, NDArray]:
    """Return q [2, t, 3, 4] and k, v [2, s, 3, 4]."""
    rng = trial.rng()
    q, k, v = (rng.normal(size=(2, length, 3, 4)) for length in (t, s, s))
    return q, k, v


def _attention(
    q: NDArray, k: NDArray, v: NDArray, bias: Any = 0.0, attend: Any = True
) -> NDArray:
    """Return attention as its definition says; `attend` broadcasts to [b, h, t, s]."""
    scores = np.einsum("bthe,bshe->bhts", q, k) / np.sqrt(q.shape[-1]) + bias
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True)) * attend
    total = weights.sum(axis=-1, keepdims=True)
    weights = weights / np.where(total > 0, total, 1.0)
    return np.einsum("bhts,bshe->bthe", weights, v)


@check("nn.attention")
def is_softmax_attention(trial: Trial) -> None:
    q, k, v = _heads(trial)
    trial.close(trial.run(q, k, v), _attention(q, k, v))
    scaled = trial.run(q, k, v, scale=0.25)
    trial.close(scaled, _attention(q / 2, k, v), "with scale=0.25 the result")
    one = trial.run(q[:, :1], k[:, :1], v[:, :1])
    trial.close(one, v[:, :1], "with one key the result")


@check("nn.attention")
def takes_every_kind_of_mask(trial: Trial) -> None:
    q, k, v = _heads(trial)
    rng = trial.rng()
    mask = rng.random((2, 1, 5, 7)) < 0.6
    mask[..., 0] = True
    key_mask = np.array([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]], dtype=bool)
    queries = np.array([[0, 0, 1, 1, 2], [0, 0, 0, 1, 1]])
    keys = np.array([[0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 1]])
    causal = np.arange(7) <= np.arange(5)[:, None] + 2
    segments = (queries[:, :, None] == keys[:, None, :])[:, None]
    cases: dict[str, tuple[dict[str, Any], NDArray]] = {
        "mask": ({"mask": mask}, mask),
        "key_mask": ({"key_mask": key_mask}, key_mask[:, None, None]),
        "causal": ({"causal": True}, causal),
        "segments": ({"query_segments": queries, "key_segments": keys}, segments),
        "causal and key_mask": (
            {"causal": True, "key_mask": key_mask},
            causal & key_mask[:, None, None],
        ),
    }
    for label, (options, attend) in cases.items():
        actual = trial.run(q, k, v, **options)
        expected = _attention(q, k, v, attend=attend)
        trial.close(actual, expected, f"with {label} the result")


@check("nn.attention")
def aligns_causality_at_the_bottom_right(trial: Trial) -> None:
    q, k, v = _heads(trial, t=5, s=3)
    # With fewer keys than queries the first queries see nothing.
    attend = np.arange(3) <= np.arange(5)[:, None] - 2
    actual = trial.run(q, k, v, causal=True)
    trial.close(actual, _attention(q, k, v, attend=attend))
    require((actual[:, :2] == 0).all(), "a query with nothing to attend to is not zero")


@check("nn.attention")
def gives_zeros_where_all_is_masked(trial: Trial) -> None:
    q, k, v = _heads(trial)
    key_mask = np.zeros((2, 7), dtype=bool)
    key_mask[0, 2] = True
    for block_size in (None, 4):
        out = trial.run(q, k, v, key_mask=key_mask, block_size=block_size)
        where = f"with block_size={block_size}"
        require((out[1] == 0).all(), f"{where} fully masked rows are not zeros")
        expected = np.broadcast_to(v[0, 2], (5, 3, 4))
        trial.close(out[0], expected, f"{where} the value of the only visible key")


@check("nn.attention")
def broadcasts_the_bias(trial: Trial) -> None:
    q, k, v = _heads(trial)
    rng = trial.rng()
    for shape in ((2, 3, 5, 7), (2, 3, 1, 7), (1, 3, 1, 7), (1, 1, 5, 7)):
        bias = rng.normal(size=shape)
        actual = trial.run(q, k, v, bias=bias)
        trial.close(actual, _attention(q, k, v, bias), f"with bias {shape} the result")


@check("nn.attention")
def takes_minus_infinity_and_large_scores(trial: Trial) -> None:
    q, k, v = _heads(trial)
    bias = np.zeros((1, 1, 1, 7))
    bias[..., 4:] = -np.inf
    expected = _attention(q, k[:, :4], v[:, :4])
    trial.close(
        trial.run(q, k, v, bias=bias), expected, "with a bias of -inf the result"
    )
    huge = trial.run(q * 1e4, k, v)
    require(np.isfinite(huge).all(), "scores of about 1e4 overflow")


@check("nn.attention")
def does_not_depend_on_the_block_size(trial: Trial) -> None:
    q, k, v = _heads(trial)
    bias = trial.rng().normal(size=(1, 3, 1, 7))
    attend = np.arange(7) <= np.arange(5)[:, None] + 2
    expected = _attention(q, k, v, bias, attend)
    for block_size in (1, 4, 64, "auto"):
        actual = trial.run(q, k, v, bias=bias, causal=True, block_size=block_size)
        trial.close(actual, expected, f"with block_size={block_size} the result")


@check("nn.discounted_cumsum")
def sums_backwards_until_done(trial: Trial) -> None:
    rng = trial.rng()
    x, last = rng.normal(size=(6, 3, 2)), rng.normal(size=(3, 2))
    done = rng.random((6, 3)) < 0.3
    for label, flags, start in (
        ("neither done nor bootstrap", None, None),
        ("done", done, None),
        ("bootstrap", None, last),
        ("done and bootstrap", done, last),
    ):
        y = np.empty_like(x)
        following = np.zeros((3, 2)) if start is None else start
        for step in reversed(range(6)):
            going_on = 1.0 if flags is None else 1.0 - flags[step][:, None]
            following = y[step] = x[step] + 0.75 * going_on * following
        actual = trial.run(x, 0.75, flags, bootstrap=start)
        trial.close(actual, y, f"with {label} the result")


@check("nn.discounted_cumsum")
def takes_one_step_and_the_ends_of_discount(trial: Trial) -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    trial.close(trial.run(x, 0.0), x, "with discount=0 the result")
    trial.close(
        trial.run(x, 1.0), [[9, 12], [8, 10], [5, 6]], "with discount=1 the result"
    )
    single = trial.run(x[:1], 0.5, bootstrap=np.array([2.0, 4.0]))
    trial.close(single, [[2.0, 4.0]], "for one step the result")
