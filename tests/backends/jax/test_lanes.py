import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlmethods.errors import DivergenceError, InvalidInputError
from mlmethods.overfitting.contract import LaneGroup, NetworkConfig
from mlmethods_jax.layers.mlp import MLP
from mlmethods_jax.overfitting import engine as engines
from mlmethods_jax.overfitting.engine import NetworkTrainer, row_losses
from mlmethods_jax.overfitting.lanes import lanes_step, over_lanes, stack_states
from mlmethods_jax.overfitting.stopping import Look, StopRules
from mlmethods_jax.testing import compile_guard
from mlmethods_jax.training import TrainState, _run_chunk, fit_loop, make_train_step

N, D = 40, 6
CONFIG = NetworkConfig(
    depth=1, width=16, loss="cross_entropy", optimizer="adam", learning_rate=1e-2
)


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N + 15, D)).astype("float32")
    return X[:N], X[N:], rng.integers(0, 2, N)


LANES = 4  # always: one program


def group(labels, seeds, stop, n=N, **given):
    """Return lanes that stop as told, and others of one epoch."""
    seeds = [*seeds, *[9] * (LANES - len(seeds))]
    stop = [*stop, *[1] * (LANES - len(stop))]
    orders = [np.random.default_rng(seed).permutation(N)[:n] for seed in seeds]
    rows = np.stack(orders)
    early = np.array([rule == "early" for rule in stop])
    held_out = early[:, None] & (np.arange(n) >= n - n // 5)
    settings = {"batch_size": 8, "max_epochs": 200} | given
    return LaneGroup(
        rows=rows,
        labels=labels[rows],
        held_out=held_out,
        stop=tuple(stop),
        seeds=tuple(seeds),
        order_seed=5,
        **settings,
    )


def assert_same(a, b):
    for name, x, y in zip(a._fields, a, b, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("sequential", [True, False])
def test_only_active_lanes_change(sequential):
    state = {"a": jnp.arange(4.0), "b": jnp.ones((4, 2))}
    active = np.array([False, True, False, True])

    @jax.jit
    def run(state, inputs, active):
        def one(s, x):
            return jax.tree.map(lambda leaf: leaf + x, s), x * 2

        return over_lanes(one, state, inputs, active, sequential=sequential)

    new, outputs = run(state, jnp.arange(1.0, 5.0), active)
    assert new["a"].tolist() == [0, 3, 2, 7]
    assert new["b"].tolist() == [[1, 1], [3, 3], [1, 1], [5, 5]]
    assert outputs.tolist() == [0, 4, 0, 8]


@pytest.mark.parametrize("sequential", [True, False])
def test_a_lane_is_the_training_it_would_be_alone(sequential, rng):
    """Compare with `fit_loop` on each lane's own rows."""
    lanes, n = 3, 16
    x = rng.standard_normal((20, 4)).astype("float32")
    y = rng.standard_normal(20).astype("float32")
    rows = np.stack([rng.permutation(20)[:n] for _ in range(lanes)])
    trains = rng.random((lanes, n)) < 0.8
    optimizer = optax.adam(0.05)

    def loss_fn(w, batch, key):
        del key
        return (batch["x"] @ w - batch["y"]) ** 2

    step = make_train_step(loss_fn, optimizer)
    starts = jnp.asarray(rng.standard_normal((lanes, 4)), "float32")
    key = jax.random.key(0)

    def gather(data, indices):
        return {
            "shared": (data["x"], data["y"]),
            "own": (data["rows"][:, indices], data["trains"][:, indices]),
            "keys": data["keys"],
            "active": data["active"],
        }

    def batch_of(shared, own):
        return {"x": shared[0][own[0]], "y": shared[1][own[0]]}, own[1]

    data = {"x": x, "y": y, "rows": rows, "trains": trains}
    data |= {"keys": jax.random.split(key, lanes), "active": np.ones(lanes, bool)}
    together = fit_loop(
        lanes_step(step, batch_of, sequential=sequential),
        stack_states(jax.vmap(lambda w: TrainState.create(w, optimizer))(starts)),
        data,
        key=key,
        epochs=3,
        batch_size=4,
        num_rows=n,
        gather=gather,
    )

    def masked(state, batch, key):
        return step(state, {k: batch[k] for k in "xy"}, key, batch["mask"])

    for i in range(lanes):
        own = {"x": x[rows[i]], "y": y[rows[i]], "mask": trains[i]}
        state = TrainState.create(starts[i], optimizer)
        alone = fit_loop(masked, state, own, key=key, epochs=3, batch_size=4)
        np.testing.assert_allclose(
            together.state.params[i], alone.state.params, rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            together.history["loss"][:, i], alone.history["loss"], rtol=1e-4
        )
    assert int(together.state.step) == 12


def test_losses(rng):
    outputs = rng.standard_normal((5, 3)).astype("float32")
    labels = np.array([0, 1, 2, 1, 0])
    one_hot = np.eye(3)[labels]
    targets = (one_hot - 1 / 3) * 3 / np.sqrt(2)
    assert np.mean(targets**2) == pytest.approx(1)
    np.testing.assert_allclose(
        row_losses(jnp.asarray(outputs), labels, loss="mse"),
        ((outputs - targets) ** 2).mean(1),
        rtol=1e-5,
    )
    logits = outputs.astype(float)
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(5), labels]
    found = row_losses(jnp.asarray(outputs), labels, loss="cross_entropy")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def rules(stop, **given):
    settings = {
        "squared": False,
        "patience": 2,
        "max_epochs": 6,
        "check_every": 1,
        "monitor": "error",
    }
    return StopRules(stop, **settings | given)


def look(train_error=1.0, train_loss=1.0, error=1.0, loss=1.0):
    return Look(*(np.array([v]) for v in (train_error, train_loss, error, loss)))


SEEN = np.array([True])


def test_interpolation_takes_three_looks_in_a_row():
    rule = rules(("interpolate",))
    for error in (0, 0, 0.1, 0, 0):
        rule.update(1, SEEN, look(error))
        assert rule.training.all()
    rule.update(1, SEEN, look(0))
    assert rule.stopped.all()
    assert not rule.training.any()
    assert rule.epochs.tolist() == rule.epochs_run.tolist() == [6]


def test_the_squared_error_must_be_small_too():
    rule = rules(("interpolate",), squared=True, max_epochs=4)
    for _ in range(4):
        rule.update(1, SEEN, look(0, train_loss=2e-4))
    assert not rule.training.any()
    assert not rule.stopped.any()
    rule = rules(("interpolate",), squared=True)
    assert rule.to_look_at(np.array([5e-3])).all()
    assert not rule.to_look_at(np.array([5e-2])).any()
    assert rules(("interpolate",)).to_look_at(np.array([5e-2])).all()


@pytest.mark.parametrize(
    ("monitor", "best"), [("error", [True, False, True]), ("loss", [True, True, False])]
)
def test_early_stopping_keeps_the_best(monitor, best):
    rule = rules(("early",), monitor=monitor, patience=3, max_epochs=100)
    seen = [(0.3, 0.9), (0.3, 0.5), (0.2, 0.6)]
    if monitor == "error":
        seen[1] = (0.3, 0.95)
    found = [bool(rule.update(1, SEEN, look(error=e, loss=v))[0]) for e, v in seen]
    assert found == best
    while rule.training.any():
        assert not rule.update(1, SEEN, look(error=0.4, loss=2.0)).any()
    assert rule.stopped.all()
    assert rule.epochs_run[0] - rule.epochs[0] == 3


def test_equal_errors_are_decided_by_the_loss():
    rule = rules(("early",))
    assert rule.update(1, SEEN, look(error=0.3, loss=0.9)).all()
    assert rule.update(1, SEEN, look(error=0.3, loss=0.8)).all()
    assert not rule.update(1, SEEN, look(error=0.3, loss=0.8)).any()


def test_a_number_of_epochs_is_kept():
    rule = rules((3, "interpolate"), check_every=2)
    nothing = Look(*(np.ones(2) for _ in range(4)))
    assert rule.next_look() == 2
    rule.update(2, np.array([False, True]), nothing)
    assert rule.next_look() == 1
    rule.update(1, np.array([False, True]), nothing)
    assert rule.training.tolist() == [False, True]
    assert rule.stopped.tolist() == [True, False]
    assert rule.epochs.tolist() == [3, 3]


@pytest.fixture(scope="module")
def outcome(pool):
    X, X_test, y = pool
    trainer = NetworkTrainer(CONFIG, X, X_test, N)
    stop = ("interpolate", "early", 2, "interpolate")
    return trainer, trainer.train(group(y, [0, 1, 2, 3], stop))


def test_lanes_stop_by_their_own_rules(outcome, pool):
    _, found = outcome
    y = pool[2]
    assert found.stopped.all()
    lanes = group(y, [0, 1, 2, 3], ("interpolate", "early", 2, "interpolate"))
    error = (found.predictions != lanes.labels).mean(1)
    assert error[0] == error[3] == 0
    assert error[2] > 0.1  # random labels are not learned in two epochs
    assert found.epochs[2] == found.epochs_run[2] == 2
    assert found.epochs_run[1] == found.epochs[1] + 20
    assert found.epochs[0] > 5
    assert found.test_predictions.shape == (4, 15)
    assert np.isfinite(found.train_loss).all()


def test_a_lane_does_not_depend_on_the_others(outcome, pool):
    trainer, found = outcome
    alone = trainer.train(group(pool[2], [3], ("interpolate",)))
    assert_same(
        type(found)(*(values[:1] for values in alone)),
        type(found)(*(values[3:] for values in found)),
    )


def test_vmapped_and_sequential_lanes_agree(outcome, pool):
    X, X_test, y = pool
    trainer = NetworkTrainer(CONFIG, X, X_test, N, sequential=False)
    stop = (4, 4, 1)
    lanes = group(y, [0, 1, 2], stop)
    vmapped, other = trainer.train(lanes), outcome[0].train(lanes)
    np.testing.assert_allclose(vmapped.train_loss, other.train_loss, rtol=1e-4)
    assert (vmapped.predictions != other.predictions).mean() < 0.02
    assert vmapped.epochs.tolist() == [4, 4, 1, 1]


def test_all_sizes_run_one_program(pool):
    X, X_test, y = pool
    trainer = NetworkTrainer(CONFIG, X, X_test, N)
    trainer.train(group(y, [0, 1], (2, 2)))
    before = _run_chunk._cache_size()
    for n in (16, 31):
        with compile_guard(max_compiles=1) as compiled:  # the order of n rows
            trainer.train(group(y, [0, 1], (2, 2), n=n))
        assert set(compiled.names) <= {"_permutation", "jit(_permutation)"}
    # another learning rate is another number, not another program
    faster = NetworkConfig(**{**vars(CONFIG), "learning_rate": 3e-2})
    with compile_guard(max_compiles=0):
        NetworkTrainer(faster, X, X_test, N).train(group(y, [0, 1], (2, 2)))
    assert _run_chunk._cache_size() == before


def test_padding_changes_nothing(outcome, pool):
    X, X_test, y = pool
    lanes = group(y, [0, 1], ("early", 3), n=24, max_epochs=8)
    exact = NetworkTrainer(CONFIG, X, X_test, 24).train(lanes)
    assert_same(outcome[0].train(lanes), exact)


def test_rows_held_out_do_not_train(pool):
    X, X_test, y = pool
    trainer = NetworkTrainer(CONFIG, X, X_test, N)
    lanes = group(y, [0], ("early",), max_epochs=3)
    labels = np.where(lanes.held_out, 1 - lanes.labels, lanes.labels)
    changed = LaneGroup(**{**vars(lanes), "labels": labels})
    fixed = {"stop": (3, 1, 1, 1)}
    one = trainer.train(LaneGroup(**{**vars(lanes), **fixed}))
    two = trainer.train(LaneGroup(**{**vars(changed), **fixed}))
    assert_same(one, two)


def test_early_lanes_return_the_weights_of_the_best_epoch(pool):
    X, X_test, y = pool
    trainer = NetworkTrainer(CONFIG, X, X_test, N)
    lanes = group(y, [4], ("early",), patience=5)
    found = trainer.train(lanes)
    fixed = LaneGroup(**{**vars(lanes), "stop": (int(found.epochs[0]), 1, 1, 1)})
    again = trainer.train(fixed)
    np.testing.assert_array_equal(found.test_predictions, again.test_predictions)
    assert found.epochs_run[0] == found.epochs[0] + 5


def test_the_cap_ends_what_does_not_interpolate(outcome, pool):
    found = outcome[0].train(group(pool[2], [0], ("interpolate",), max_epochs=2))
    assert found.stopped.tolist() == [False, True, True, True]
    assert found.epochs.tolist() == [2, 1, 1, 1]


def test_events_count_the_lanes_that_have_stopped(outcome, pool):
    events = []
    outcome[0].train(group(pool[2], [0, 1], (1, 3)), events.append)
    assert [event.metrics["stopped"] for event in events] == [3, 3, 4]


def test_divergence_is_an_error(pool):
    X, X_test, y = pool
    wild = NetworkConfig(
        depth=2, width=8, loss="mse", optimizer="sgd", learning_rate=1e8
    )
    trainer = NetworkTrainer(wild, X, X_test, N)
    with pytest.raises(DivergenceError, match="learning_rate 1e\\+08"):
        trainer.train(group(y, [0], (50,)))


def own_network(in_features, out_features, rngs):
    return MLP(in_features, (4,), out_features, rngs=rngs)


def with_state(in_features, out_features, rngs):
    from flax import nnx

    return nnx.Sequential(
        nnx.BatchNorm(in_features, rngs=rngs),
        nnx.Linear(in_features, out_features, rngs=rngs),
    )


def test_a_callable_makes_the_network(pool):
    X, X_test, y = pool
    trainer = NetworkTrainer(NetworkConfig(model=own_network), X, X_test, N)
    assert trainer.train(group(y, [0], (1,))).epochs.tolist() == [1] * LANES
    with pytest.raises(InvalidInputError, match="must keep no state"):
        NetworkTrainer(NetworkConfig(model=with_state), X, X_test, N)


def test_the_backend_names_the_engine():
    import mlmethods

    backend = mlmethods.get_backend("jax", "engine:overfitting")
    assert isinstance(backend.engine("overfitting"), engines.OverfittingEngine)
