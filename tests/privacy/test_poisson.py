"""Poisson batches: their law, their room, and training on them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlmethods.errors import InvalidInputError, SamplerError
from mlmethods_jax import training
from mlmethods_jax._batches import poisson_capacity, poisson_rows
from mlmethods_jax.testing import compile_guard
from mlmethods_jax.training import TrainState, fit_loop, make_train_step

KEY = jax.random.key(3)
# of each statistical test
FALSE_ALARM = 1e-4
N, D = 24, 3


def inclusions(size, rate, steps, *, first=0, capacity=None, key=KEY):
    """Return booleans [steps, size]."""
    drawn = poisson_rows(
        key, first, rate=rate, size=size, chunk=steps, capacity=capacity or size
    )
    rows, sizes = np.asarray(drawn.rows), np.asarray(drawn.sizes)
    found = np.zeros((steps, size), bool)
    step, slot = np.nonzero(np.arange(rows.shape[1]) < sizes[:, None])
    found[step, rows[step, slot]] = True
    assert found.sum() == sizes.sum()
    return found


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return inclusions(40, 0.15, 5000)


def test_every_row_is_as_likely_as_the_rate(drawn):
    steps, size = drawn.shape
    variance = steps * 0.15 * 0.85
    statistic = ((drawn.sum(0) - steps * 0.15) ** 2 / variance).sum()
    assert FALSE_ALARM < stats.chi2.sf(statistic, size) < 1 - FALSE_ALARM


def test_rows_are_independent_of_each_other(drawn):
    steps, size = drawn.shape
    z = (drawn - 0.15) / np.sqrt(0.15 * 0.85)
    pairs = (z.T @ z)[np.triu_indices(size, 1)] / np.sqrt(steps)
    # products of different pairs are uncorrelated, with variance 1
    assert abs(pairs.sum()) / np.sqrt(len(pairs)) < stats.norm.isf(FALSE_ALARM / 2)
    assert stats.kstest(pairs, stats.norm.cdf).pvalue > FALSE_ALARM


def test_steps_are_independent_of_each_other(drawn):
    steps, size = drawn.shape
    z = (drawn - 0.15) / np.sqrt(0.15 * 0.85)
    lag = (z[1:] * z[:-1]).sum() / np.sqrt((steps - 1) * size)
    assert abs(lag) < stats.norm.isf(FALSE_ALARM / 2)


def test_sizes_are_binomial(drawn):
    counts = np.bincount(drawn.sum(1), minlength=41)
    expected = len(drawn) * stats.binom.pmf(np.arange(41), 40, 0.15)
    likely = expected > 5
    observed = np.append(counts[likely], counts[~likely].sum())
    expected = np.append(expected[likely], expected[~likely].sum())
    assert stats.chisquare(observed, expected).pvalue > FALSE_ALARM


def test_rows_of_a_large_set_are_uniform():
    size, rate, capacity = 10_000_000, 1e-5, 200
    drawn = poisson_rows(KEY, 0, rate=rate, size=size, chunk=200, capacity=capacity)
    sizes = np.asarray(drawn.sizes)
    rows = np.asarray(drawn.rows)[np.arange(capacity) < sizes[:, None]]
    assert stats.kstest(rows / size, stats.uniform.cdf).pvalue > FALSE_ALARM
    deviation = (sizes.sum() - 200 * 100) / np.sqrt(200 * 100)
    assert abs(deviation) < stats.norm.isf(FALSE_ALARM / 2)


@pytest.mark.parametrize("rate", [1.0, 1e-300])
def test_extreme_rates(rate):
    drawn = poisson_rows(KEY, 0, rate=rate, size=7, chunk=3, capacity=8)
    assert np.asarray(drawn.sizes).tolist() == [7 if rate == 1 else 0] * 3
    if rate == 1:
        assert np.asarray(drawn.rows)[:, :7].tolist() == [list(range(7))] * 3


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 60),
    rate=st.floats(1e-6, 1.0),
)
def test_rows_are_packed_sorted_and_padded_with_their_own(seed, size, rate):
    drawn = poisson_rows(
        jax.random.key(seed), 5, rate=rate, size=size, chunk=4, capacity=60
    )
    for rows, count in zip(*map(np.asarray, drawn), strict=True):
        assert np.all(np.diff(rows[:count]) > 0)
        assert np.all((rows >= 0) & (rows < size))
        if count:
            assert set(rows[count:]) <= {rows[0]}


def test_draws_belong_to_their_step():
    whole = inclusions(40, 0.2, 12)
    parts = [inclusions(40, 0.2, 5), inclusions(40, 0.2, 7, first=5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(whole[0], whole[1])
    other = inclusions(40, 0.2, 12, key=jax.random.key(4))
    assert not np.array_equal(other, whole)


@pytest.mark.parametrize(
    ("size", "rate"), [(60_000, 256 / 60_000), (100, 0.5), (5, 1.0), (1000, 1e-9)]
)
def test_capacity_is_the_binomial_tail(size, rate):
    capacity = poisson_capacity(size, rate)
    assert stats.binom.sf(capacity, size, rate) < 1e-12
    assert capacity == 1 or stats.binom.sf(capacity - 1, size, rate) >= 1e-12
    rounded = poisson_capacity(size, rate, 64)
    assert rounded % 64 == 0
    assert 0 <= rounded - capacity < 64


def squared_error(params, batch, key):
    noise = jax.random.normal(key, batch["y"].shape, batch["y"].dtype)
    return (batch["x"] @ params["w"] - batch["y"] - 0.1 * noise) ** 2


@functools.cache
def step_of(microbatch=None):
    return make_train_step(squared_error, optax.adam(0.05), microbatch=microbatch)


def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D)).astype("float32")
    y = (x @ np.array([1.0, -2.0, 0.5], "float32")).astype("float32")
    return {"x": x, "y": y}


def start():
    return TrainState.create({"w": jnp.zeros(D, "float32")}, optax.adam(0.05))


def run(**given):
    options = {"num_steps": 13, "batch_size": 6, "log_every": 5} | given
    state = options.pop("state", None) or start()
    step = options.pop("step", None) or step_of()
    return fit_loop(step, state, table(), key=KEY, sampling="poisson", **options)


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("microbatch", [4])
def test_the_loop_is_its_steps(microbatch):
    result = run(step=step_of(microbatch), capacity=18)
    chosen = inclusions(N, 6 / N, 13, capacity=18)
    np.testing.assert_array_equal(result.history["examples"], chosen.sum(1))
    state, step = start(), jax.jit(step_of(microbatch))
    for included in chosen:
        rows = np.flatnonzero(included)
        padded = np.append(rows, np.zeros(18 - len(rows), int))
        batch = {name: values[padded] for name, values in table().items()}
        state, _ = step(state, batch, KEY, np.arange(18) < len(rows))
    np.testing.assert_allclose(
        result.state.params["w"], state.params["w"], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    "chunks",
    [(5, 2), *(pytest.param(c, marks=pytest.mark.slow) for c in ((1, 1), (4, 13)))],
)
def test_resuming_gives_the_same_bits(chunks):
    whole = run()
    first = run(num_steps=7, scan_chunk=chunks[0])
    second = run(state=first.state, num_steps=6, scan_chunk=chunks[1])
    same(second.state, whole.state)
    for name, values in whole.history.items():
        joined = np.concatenate([first.history[name], second.history[name]])
        np.testing.assert_array_equal(joined, values)


def test_a_rate_is_a_traced_number():
    run(rate=0.25, capacity=18)
    with compile_guard(max_compiles=0):
        few = run(rate=0.02, capacity=18).history["examples"]
        many = run(rate=0.5, capacity=18).history["examples"]
    assert few.mean() < 2 < 8 < many.mean()


def test_empty_batches_change_nothing_but_momentum():
    result = run(rate=1e-9)
    assert result.history["examples"].sum() == 0
    assert result.history["loss"].tolist() == [0.0] * 13
    assert result.history["skipped"].sum() == 0
    np.testing.assert_array_equal(result.state.params["w"], np.zeros(D))


def test_a_batch_without_room_is_refused():
    before = training._run_chunk._cache_size()
    with pytest.raises(SamplerError, match="more rows than capacity=2; none of these"):
        run(capacity=2)
    # no step was taken
    assert training._run_chunk._cache_size() == before


class Count:
    """A mechanism that counts its calls and the rows it was given."""

    def init(self, params):
        del params
        return {"calls": jnp.int32(0), "rows": jnp.int32(0)}

    def randomize(self, key, per_example, mask, state):
        del key
        total = jax.tree.map(
            lambda g: jnp.sum(jnp.where(mask[:, None], g, 0), 0), per_example
        )
        rows = state["rows"] + jnp.sum(mask, dtype=jnp.int32)
        return total, {"calls": state["calls"] + 1, "rows": rows}


@functools.cache
def counted_step():
    step = make_train_step(
        squared_error, optax.sgd(1.0), mechanism=Count(), microbatch=4
    )
    return jax.jit(step)


@pytest.mark.parametrize(
    ("mask", "calls"),
    [
        ([1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], 2),
        ([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1),
        ([0] * 12, 0),
        ([1] * 12, 3),
        # not packed: everything up to the last kept row
        ([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 3),
    ],
)
@pytest.mark.parametrize("size", [12, 11])
def test_masked_microbatches_are_not_computed(mask, calls, size):
    mask = np.array(mask[:size], bool)
    step, params = counted_step(), {"w": jnp.array([0.3, 0.1, -0.2], "float32")}
    state = TrainState.create(params, optax.sgd(1.0), mechanism=Count())
    batch = {name: values[:size] for name, values in table().items()}
    after, metrics = step(state, batch, KEY, mask)
    assert int(after.mechanism_state["calls"]) == calls
    assert int(after.mechanism_state["rows"]) == mask.sum()
    assert int(metrics["skipped"]) == 0
    if not mask.any():
        assert float(metrics["loss"]) == 0
        same(after.params, params)
    else:
        # the rows that are kept have the keys of their places
        every, _ = step(state, batch, KEY, np.ones(size, bool))
        assert not np.array_equal(after.params["w"], params["w"])
        assert mask.all() == np.array_equal(after.params["w"], every.params["w"])


def test_a_mask_of_all_rows_is_no_mask():
    mechanism, optimizer = Count(), optax.sgd(1.0)
    step = jax.jit(
        make_train_step(squared_error, optimizer, mechanism=mechanism, microbatch=5)
    )
    state = TrainState.create(
        {"w": jnp.ones(D, "float32")}, optimizer, mechanism=mechanism
    )
    plain, _ = step(state, table(), KEY)
    masked, _ = step(state, table(), KEY, np.ones(N, bool))
    np.testing.assert_allclose(plain.params["w"], masked.params["w"], rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rate": 0.0}, "rate must be above 0 and at most 1, got 0.0"),
        ({"rate": 1.5}, "rate must be above 0"),
        ({"rate": float("nan")}, "rate must be above 0"),
        ({"capacity": 0}, "capacity must be an integer >= 1"),
        ({"capacity": 2.5}, "capacity must be an integer >= 1"),
        ({"batch_size": N + 1}, "batch_size must be at most the number of rows"),
    ],
)
def test_bad_input(given, message):
    with pytest.raises(InvalidInputError, match=message):
        run(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampling": "bernoulli"}, "sampling must be 'shuffle' or 'poisson'"),
        ({"rate": 0.1}, "rate is for sampling='poisson' only"),
        ({"capacity": 9}, "capacity is for sampling='poisson' only"),
    ],
)
def test_bad_sampling(given, message):
    with pytest.raises(InvalidInputError, match=message):
        fit_loop(
            step_of(), start(), table(), key=KEY, num_steps=1, batch_size=6, **given
        )


def test_a_mean_loss_cannot_be_masked():
    def mean(params, batch, key):
        return jnp.mean(squared_error(params, batch, key))

    step = make_train_step(mean, optax.adam(0.05))
    with pytest.raises(InvalidInputError, match="one loss an example where a mask"):
        run(step=step)
