"""Private training: its account, its budget, its checkpoints, its failures."""

from __future__ import annotations

import contextlib
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from sklearn.datasets import load_digits

from mlmethods.backend import get_backend
from mlmethods.errors import (
    AccountantMismatchError,
    AdjacencyError,
    CheckpointError,
    CrossExampleLayerError,
    DivergenceError,
    InvalidInputError,
    NumericalWarning,
    OperationNotSupportedError,
    PrivacyBudgetExceededError,
)
from mlmethods.privacy import (
    Accountant,
    GaussianMechanism,
    NoPrivacy,
    ProjectedNormalMechanism,
    VonMisesFisherMechanism,
    make_private,
)
from mlmethods.privacy._rows import as_rows
from mlmethods_jax import training
from mlmethods_jax.adapters import from_callable
from mlmethods_jax.layers.mlp import MLP
from mlmethods_jax.privacy.program import PrivateProgram
from mlmethods_jax.testing import compile_guard, transfer_guard

KEY = 11
SIZE, BATCH = 1400, 100
P = 650


@functools.cache
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype("float32"), y


def rows(size=SIZE):
    X, y = digits()
    return X[:size], y[:size]


GAUSSIAN = GaussianMechanism(0.8)
REPLACED = GaussianMechanism(0.8, adjacency="replace_one")
VMF = VonMisesFisherMechanism(60.0)


def make(mechanism=GAUSSIAN, *, model=None, optimizer=None, **given):
    options = {"data_size": SIZE, "batch_size": BATCH} | given
    model = functools.partial(nnx.Linear, 64, 10) if model is None else model
    optimizer = optax.sgd(2.0) if optimizer is None else optimizer
    return make_private(model, optimizer, mechanism, **options)


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def assert_same_run(a, b):
    equal(a.program.arrays(a.state), b.program.arrays(b.state))
    assert a.steps_ == b.steps_
    assert a.accountant.state_dict() == b.accountant.state_dict()
    equal(a.history_, b.history_)


def test_a_network_learns_digits():
    X, y = digits()
    test = X[SIZE:], y[SIZE:]
    trainer = make().fit(rows(), epochs=8, key=KEY)
    found = trainer.evaluate(test)
    # scikit-learn's logistic regression, not private: 0.90 to 0.91
    assert found["accuracy"] > 0.8
    assert trainer.steps_ == 8 * 14 == len(trainer.history_["loss"])
    assert trainer.history_["loss"][-10:].mean() < trainer.history_["loss"][:10].mean()
    probabilities = trainer.predict_proba(test[0])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    np.testing.assert_array_equal(probabilities.argmax(1), trainer.predict(test[0]))
    assert found["accuracy"] == np.mean(trainer.predict(test[0]) == test[1])
    params = trainer.params
    outputs = test[0].astype(float) @ params["kernel"] + params["bias"]
    np.testing.assert_allclose(trainer.outputs(test[0]), outputs, rtol=1e-4, atol=1e-4)
    losses = np.log(np.exp(outputs).sum(1)) - outputs[np.arange(len(outputs)), test[1]]
    np.testing.assert_allclose(trainer.losses(test), losses, rtol=1e-3, atol=1e-4)
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-4)


def test_an_epoch_of_poisson_batches_has_the_expected_rows():
    examples = make().fit(rows(), epochs=8, key=KEY).history_["examples"]
    # 112 batches: the standard error of the mean is 0.91
    assert abs(examples.mean() - BATCH) < 4
    assert examples.std() == pytest.approx(np.sqrt(BATCH * (1 - BATCH / SIZE)), rel=0.3)


@pytest.mark.parametrize(
    ("mechanism", "given", "q", "count"),
    [
        (GAUSSIAN, {}, 1 / 14, 20),
        (VMF, {}, 1 / 14, 20),
        (REPLACED, {"sampling": "shuffle"}, None, 2),
        (VMF, {"sampling": "shuffle"}, None, 2),
        (VonMisesFisherMechanism(60.0, granularity="layer"), {}, 1 / 14, 20),
    ],
)
def test_the_account_holds_every_step(mechanism, given, q, count):
    trainer = make(mechanism, **given)
    trainer.initialize(rows()[0], KEY)
    layers = mechanism.config().granularity == "layer"
    assert sorted(trainer.dimensions) == ([10, 640] if layers else [P])
    # 4 + 9 + 1 + 6 steps of 14 an epoch: an example takes part at most twice
    taken = 0
    for steps in (4, 9, 1, 6):
        trainer._settings.spend(trainer.accountant, taken, steps, trainer.dimensions)
        taken += steps
    expected = Accountant()
    expected.step(mechanism, q, count, p=trainer.dimensions)
    assert trainer.accountant.state_dict() == expected.state_dict()


def test_fit_accounts_for_what_it_does():
    trainer = make().fit(rows(), steps=4, key=KEY).fit(rows(), steps=9)
    expected = Accountant()
    expected.step(GAUSSIAN, BATCH / SIZE, 13, p=(P,))
    assert trainer.accountant.state_dict() == expected.state_dict()
    assert trainer.steps_ == 13
    shuffled = make(REPLACED, sampling="shuffle").fit(rows(), steps=15, key=KEY)
    assert shuffled.accountant.n_steps == 2


def test_statement():
    trainer = make(VMF, sampling="shuffle").initialize(rows()[0], KEY)
    trainer._settings.spend(trainer.accountant, 0, 28, trainer.dimensions)
    found = trainer.statement(1e-5)
    assert json.loads(json.dumps(found)) == found
    expected = {
        "mechanism": VMF.to_dict(),
        "adjacency": "replace_one",
        "sampling": "shuffle",
        "rate": None,
        "data_size": SIZE,
        "batch_size": BATCH,
        "dimensions": [P],
        "delta": 1e-5,
        # two epochs, chord 2
        "pure_epsilon": 2 * 2 * 60.0,
        "metric_epsilon": 2 * 60.0,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["epsilon"] == trainer.accountant.epsilon(1e-5)
    assert found["assumptions"]
    assert "kappa=60" in repr(trainer)
    assert f"p={P}" in repr(trainer)
    poisson = make().initialize(rows()[0], KEY).statement()
    assert (poisson["sampling"], poisson["rate"]) == ("poisson", 1 / 14)


@pytest.mark.parametrize(
    ("mechanism", "given"),
    [
        (GAUSSIAN, {}),
        (REPLACED, {"sampling": "shuffle"}),
        (NoPrivacy(), {"sampling": "shuffle"}),
        pytest.param(VMF, {"optimizer": optax.adam(0.01)}, marks=pytest.mark.slow),
        pytest.param(VMF, {"sampling": "shuffle"}, marks=pytest.mark.slow),
    ],
)
def test_a_restored_run_is_the_uninterrupted_one(tmp_path, mechanism, given):
    whole = make(mechanism, **given).fit(rows(), steps=20, key=KEY)
    first = make(mechanism, **given).fit(rows(), steps=11, key=KEY)
    first.save(tmp_path / "run")
    again = make(mechanism, **given).restore(tmp_path / "run")
    assert_same_run(again, first)
    again.fit(rows(), steps=9)
    assert_same_run(again, whole)
    # and without a detour over the disk
    assert_same_run(first.fit(rows(), steps=9), whole)
    with pytest.raises(InvalidInputError, match="key must be that of the first fit"):
        again.fit(rows(), steps=1, key=KEY + 1)


def test_what_a_folder_must_agree_in(tmp_path):
    make().fit(rows(), steps=2, key=KEY).save(tmp_path / "run")
    with pytest.raises(
        AccountantMismatchError, match="an account goes on with its own"
    ):
        make(GaussianMechanism(2.0)).restore(tmp_path / "run")
    with pytest.raises(AccountantMismatchError):
        make(VMF).restore(tmp_path / "run")
    with pytest.raises(CheckpointError, match="batch_size=100, this trainer has 50"):
        make(batch_size=50).restore(tmp_path / "run")
    with pytest.raises(CheckpointError, match="stored array 'params/bias"):
        make(model=functools.partial(nnx.Linear, 64, 9)).restore(tmp_path / "run")
    with pytest.raises(CheckpointError, match="other arrays than this program"):
        make(optimizer=optax.adam(0.1)).restore(tmp_path / "run")
    with pytest.raises(InvalidInputError, match="restore needs a new trainer"):
        make().fit(rows(), steps=1, key=1).restore(tmp_path / "run")
    with pytest.raises(CheckpointError, match="is not a saved model"):
        make().restore(tmp_path / "nothing")
    with pytest.raises(InvalidInputError, match="no parameters yet"):
        make().save(tmp_path / "other")


def test_the_key_is_fixed_by_the_first_fit():
    trainer = make()
    with pytest.raises(InvalidInputError, match="key must be given to the first fit"):
        trainer.fit(rows(), steps=1)
    trainer.fit(rows(), steps=1, key=KEY).fit(rows(), steps=1, key=KEY)
    trainer.fit(rows(), steps=1)
    with pytest.raises(InvalidInputError, match="key must be that of the first fit"):
        trainer.fit(rows(), steps=1, key=KEY + 1)
    assert trainer.steps_ == 3
    # the key itself serves as its seed does
    native = make().fit(rows(), steps=3, key=get_backend("jax").key(KEY))
    assert_same_run(native, trainer)
    other = make().fit(rows(), steps=3, key=KEY + 1)
    assert not np.array_equal(other.history_["loss"], trainer.history_["loss"])


def test_a_budget_is_not_exceeded():
    accountant = Accountant()
    accountant.step(GAUSSIAN, BATCH / SIZE, 25, p=(P,))
    target = accountant.epsilon(1e-5) * (1 + 1e-9)
    trainer = make(target_epsilon=target, delta=1e-5).fit(rows(), steps=20, key=KEY)
    with pytest.raises(
        PrivacyBudgetExceededError, match="no step was taken, and 5 would fit"
    ):
        trainer.fit(rows(), steps=6)
    assert trainer.steps_ == trainer.accountant.n_steps == 20
    trainer.fit(rows(), steps=5)
    with pytest.raises(PrivacyBudgetExceededError, match="and 0 would fit"):
        trainer.fit(rows(), steps=1)
    assert trainer.accountant.epsilon(1e-5) <= target


def test_a_budget_of_epochs():
    accountant = Accountant()
    accountant.step(VMF, None, 3, p=(P,))
    trainer = make(
        VMF,
        sampling="shuffle",
        target_epsilon=accountant.epsilon(1e-5),
        delta=1e-5,
    )
    trainer.initialize(rows()[0], KEY)
    # three epochs of 14 steps
    with pytest.raises(PrivacyBudgetExceededError, match="and 42 would fit"):
        trainer.fit(rows(), steps=43)


@pytest.mark.parametrize("mechanism", [NoPrivacy(), ProjectedNormalMechanism(0.1)])
def test_no_guarantee_is_no_budget(mechanism):
    trainer = make(mechanism, target_epsilon=1e6, delta=1e-5)
    with pytest.raises(PrivacyBudgetExceededError, match="0 would fit"):
        trainer.fit(rows(), steps=1, key=KEY)
    free = make(mechanism).initialize(rows()[0], KEY)
    free._settings.spend(free.accountant, 0, 1, free.dimensions)
    assert free.statement()["epsilon"] == np.inf


@pytest.mark.parametrize(
    "mechanism",
    [GaussianMechanism, pytest.param(VonMisesFisherMechanism, marks=pytest.mark.slow)],
)
def test_a_sweep_compiles_once(mechanism):
    X, y = rows()
    make(mechanism(7.0)).fit((X, y), steps=3, key=KEY).evaluate((X, y))
    with compile_guard(max_compiles=0):
        for seed, scale in enumerate((20.0, 500.0)):
            # model and optimizer are made anew, equal to what was compiled
            trainer = make(mechanism(scale)).fit((X, y), steps=4, key=seed)
            scores = trainer.evaluate((X[:77], y[:77]))
            assert np.isfinite(scores["loss"])
            assert len(trainer.predict(X[:1])) == 1


def test_values_that_decide_the_program_are_not_shared():
    def run(rate, **given):
        optimizer = optax.sgd(rate)
        trainer = make(NoPrivacy(), sampling="shuffle", optimizer=optimizer, **given)
        return trainer.fit(rows(), steps=2, key=KEY).history_["loss"]

    slow, fast = run(0.1), run(0.2)
    assert slow[0] == fast[0]
    assert slow[1] != fast[1]
    assert run(0.1, loss=lambda out, y: jnp.sum(out**2, -1))[0] != slow[0]


@pytest.mark.slow
def test_networks_of_equal_structure_are_not_confused():
    X = rows(4)[0]
    outputs = [
        make(model=model).initialize(X, KEY).outputs(X)
        for model in (
            functools.partial(MLP, 64, (5,), 10),
            functools.partial(MLP, 64, (5,), 10, activation=jnp.tanh),
            functools.partial(MLP, 64, (5,), 10, w_std=5.0),
        )
    ]
    # another function, or another start
    assert not np.allclose(outputs[0], outputs[1])
    assert not np.allclose(outputs[0], outputs[2])


def test_what_training_moves_to_and_from_the_device():
    X, y = rows()
    trainer = make().fit((X, y), steps=60, key=KEY)
    data = jax.device_put((X, np.asarray(y, "int32")))
    fit = functools.partial(
        trainer.program.fit, data=data, key=get_backend("jax").key(KEY)
    )
    state = fit(trainer.state, num_steps=60).state
    with compile_guard(max_compiles=0):
        counts = []
        for steps in (50, 100, 150):
            with counting_transfers() as counted:
                state = fit(state, num_steps=steps).state
            counts.append(counted.count)
    # the same for each segment of 50 steps, whatever is in it
    assert counts[2] - counts[1] == counts[1] - counts[0]
    assert counts[1] - counts[0] < 20


@contextlib.contextmanager
def counting_transfers():
    """Count reads; uploads are allowed, because a chunk gets its number."""
    with transfer_guard() as counted, jax.transfer_guard_host_to_device("allow"):
        yield counted


def linen_network():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(10)(linen.relu(linen.Dense(8)(x)))

    return Net()


def plain_network():
    def init(key, sample):
        return 0.1 * jax.random.normal(key, (sample.shape[1], 10), "float32")

    return from_callable(init, lambda params, x: x @ params)


@pytest.mark.slow
@pytest.mark.parametrize("model", [linen_network, plain_network])
def test_models_of_every_kind(model):
    trainer = make(model=model()).fit(rows(), epochs=4, key=KEY)
    assert trainer.evaluate(rows())["accuracy"] > 0.6


def test_a_built_module_is_not_changed():
    module = nnx.Linear(64, 10, rngs=nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    trainer = make(model=module)
    trainer.initialize(rows()[0], KEY)
    equal(trainer.params, before)
    trainer.fit(rows(), steps=2)
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    equal(after, before)
    trained = jax.tree.leaves(trainer.params)
    pairs = zip(trained, jax.tree.leaves(before), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)


class Normalized(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(self.norm(x))


class LinenNormalized(linen.Module):
    @linen.compact
    def __call__(self, x, train: bool = False):
        x = linen.BatchNorm(use_running_average=not train)(x)
        return linen.Dense(10)(x)


@pytest.mark.parametrize("model", [Normalized, LinenNormalized()])
def test_layers_that_mix_examples_are_refused(model):
    trainer = make(model=model)
    with pytest.raises(CrossExampleLayerError, match=r"\(BatchNorm\)"):
        trainer.fit(rows(), steps=1, key=KEY)
    assert trainer.state is None
    assert trainer.accountant.n_steps == 0


def test_gradients_are_those_of_the_losses():
    X, y = rows(70)
    trainer = make(microbatch=20).initialize(X, KEY)
    errors = trainer.predict_proba(X)
    errors[np.arange(70), y] -= 1
    found = trainer.gradients((X, y))
    np.testing.assert_allclose(found["bias"], errors, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        found["kernel"], X[:, :, None] * errors[:, None], rtol=1e-4, atol=1e-6
    )


def test_a_released_gradient_is_what_a_step_uses():
    X, y = rows(1)
    plain = make(NoPrivacy(), batch_size=1).initialize(X, KEY)
    alone = jax.tree.map(lambda leaf: leaf[0], plain.gradients((X, y)))
    released = plain.released_gradient((X, y), 0)
    for name, leaf in alone.items():
        np.testing.assert_allclose(released[name], leaf, rtol=1e-5, atol=1e-7)
    noisy = make(GAUSSIAN).initialize(X, KEY)
    first, again, other = (noisy.released_gradient((X, y), k) for k in (0, 0, 1))
    equal(first, again)
    assert not np.array_equal(first["bias"], other["bias"])
    # noise of deviation 0.8 on the sum, over the expected batch size
    values = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(first)])
    assert values.std() == pytest.approx(0.8 / BATCH, rel=0.15)
    assert noisy.accountant.n_steps == 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_diverges_keeps_the_last_good_state():
    X, y = rows()

    def loss(outputs, targets):
        # finite gradients, a loss that overflows
        wrong = outputs[:, 0] - targets.astype(jnp.float32)
        return jnp.exp(jnp.exp(wrong * 0.0 + jnp.mean(outputs**2, -1)))

    trainer = make(
        NoPrivacy(), sampling="shuffle", loss=loss, optimizer=optax.sgd(50.0)
    )
    scaled = 30.0 * X
    trainer.initialize(scaled, KEY)
    before = trainer.params
    with pytest.raises(DivergenceError, match="the loss is not finite after"):
        trainer.fit((scaled, y), steps=60)
    equal(trainer.params, before)
    # the steps of four epochs count
    assert trainer.steps_ == 50 == int(trainer.state.step)
    assert trainer.accountant.n_steps == 4


@pytest.mark.parametrize("when", [0, 50])
def test_an_interrupt_leaves_state_and_account_in_agreement(when):
    events = []

    def callback(event):
        events.append(event.kind)
        if event.step == when and event.kind in ("start", "step"):
            raise KeyboardInterrupt

    trainer = make(callbacks=(callback,))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(rows(), steps=120, key=KEY)
    assert trainer.steps_ == trainer.accountant.n_steps == when
    assert int(trainer.state.step) == when
    assert len(trainer.history_.get("loss", ())) == when
    again = make().fit(rows(), steps=60, key=KEY)
    assert_same_run(_without(trainer).fit(rows(), steps=60 - when), again)


def _without(trainer):
    trainer._callbacks = ()
    return trainer


def test_an_interrupt_within_a_segment_keeps_what_the_loop_hands_over(monkeypatch):
    from mlmethods_jax.privacy import _runs

    def interrupt(event):
        if event.kind == "step":
            raise KeyboardInterrupt

    def loop(*args, **kwargs):
        # the second segment is cut after 7 of its steps
        if int(args[1].step) == 50:
            kwargs |= {"log_every": 7, "callback": interrupt}
        return training.fit_loop(*args, **kwargs)

    monkeypatch.setattr(_runs, "fit_loop", loop)
    trainer = make()
    with pytest.raises(training.FitInterrupted):
        trainer.fit(rows(), steps=120, key=KEY)
    assert trainer.steps_ == trainer.accountant.n_steps == 57
    assert int(trainer.state.step) == len(trainer.history_["loss"]) == 57
    monkeypatch.undo()
    whole = make().fit(rows(), steps=60, key=KEY)
    assert_same_run(trainer.fit(rows(), steps=3), whole)


def test_an_error_of_a_callback_loses_nothing():
    def callback(event):
        if event.step == 50:
            raise RuntimeError("full disk")

    trainer = make(callbacks=(callback,))
    with pytest.raises(RuntimeError, match="full disk"):
        trainer.fit(rows(), steps=120, key=KEY)
    assert trainer.steps_ == trainer.accountant.n_steps == 50


def test_events():
    events = []
    make(callbacks=(events.append,)).fit(rows(), steps=70, key=KEY)
    assert [(e.kind, e.step) for e in events] == [
        ("start", 0),
        ("step", 50),
        ("step", 70),
        ("end", 70),
    ]
    assert {e.total for e in events} == {70}
    assert set(events[1].metrics) == {"loss", "grad_norm", "skipped", "examples"}


def test_datasets_of_every_form():
    from datasets import Dataset

    X, y = rows(50)
    forms = [
        ((X, y), None),
        ({"x": X, "y": y}, None),
        ({"image": X, "label": y, "name": y}, None),
        ({"a": X, "b": y}, ("a", "b")),
        (Dataset.from_dict({"x": X, "y": y}), None),
        (Dataset.from_dict({"pixels": X, "digit": y}), ("pixels", "digit")),
    ]
    for ds, columns in forms:
        inputs, targets = as_rows(ds, columns)
        np.testing.assert_array_equal(inputs, X)
        np.testing.assert_array_equal(targets, y)
        assert (inputs.dtype, targets.dtype) == (np.float32, np.int32)


def test_faint_directions_are_announced():
    trainer = make(VonMisesFisherMechanism(0.5))
    with pytest.warns(NumericalWarning, match=rf"kappa=0.5 and p={P} .* kappa_for_gdp"):
        trainer.initialize(rows()[0], KEY)


@pytest.mark.parametrize(
    ("batch_size", "expected"), [(256, 16), (100, 10), (40, 10), (97, 16), (1, 1)]
)
def test_default_microbatch(batch_size, expected):
    found = make(batch_size=batch_size)._settings.config.microbatch
    assert found == expected


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"data_size": 0}, InvalidInputError, "data_size must be an integer >= 1"),
        ({"batch_size": SIZE + 1}, InvalidInputError, "batch_size must be an integer"),
        ({"batch_size": 2.5}, InvalidInputError, "batch_size must be an integer"),
        ({"microbatch": 7}, InvalidInputError, "microbatch must divide batch_size=100"),
        ({"microbatch": 0}, InvalidInputError, "microbatch must be an integer >= 1"),
        ({"sampling": "block"}, InvalidInputError, "sampling must be one of"),
        ({"target_epsilon": 1.0}, InvalidInputError, "must be given together"),
        ({"delta": 1e-5}, InvalidInputError, "must be given together"),
        (
            {"target_epsilon": 0, "delta": 1e-5},
            InvalidInputError,
            "target_epsilon must",
        ),
        ({"target_epsilon": 1, "delta": 1.0}, InvalidInputError, "delta must be"),
        ({"mechanism": None}, InvalidInputError, "mechanism must be a PrivacyMech"),
        ({"optimizer": 0.1}, InvalidInputError, "optimizer must be an optax"),
        (
            {"sampling": "shuffle"},
            AdjacencyError,
            "use adjacency='replace_one' or sampling='poisson'",
        ),
        ({"backend": "numpy"}, OperationNotSupportedError, "trains no networks"),
    ],
)
def test_bad_settings(given, error, message):
    with pytest.raises(error, match=message):
        make(given.pop("mechanism", GAUSSIAN), **given)


X0, Y0 = np.zeros((SIZE, 64), "float32"), np.zeros(SIZE, int)


@pytest.mark.parametrize(
    ("ds", "given", "message"),
    [
        ((X0, Y0), {}, "one of epochs and steps must be given"),
        ((X0, Y0), {"epochs": 1, "steps": 1}, "one of epochs and steps"),
        ((X0, Y0), {"epochs": 0.5}, "epochs must be an integer >= 1"),
        ((X0, Y0), {"steps": 0}, "steps must be an integer >= 1"),
        ((X0, Y0), {"steps": 1, "key": 1.5}, "key must be a JAX key"),
        ((X0, Y0), {"steps": 1, "key": True}, "key must be an integer or a key"),
        (X0, {"steps": 1}, "ds must be a tuple"),
        ((X0, Y0[:3]), {"steps": 1}, "must have as many rows"),
        ((X0[:0], Y0[:0]), {"steps": 1}, r"inputs must have shape \(n, ...\)"),
        ((X0 + np.nan, Y0), {"steps": 1}, "inputs must be finite"),
        ((X0.astype(str), Y0), {"steps": 1}, "inputs must hold numbers"),
        ((X0, Y0 + 10), {"steps": 1}, "targets must be from 0 to 9"),
        ((X0, Y0 - 1), {"steps": 1}, "targets must be from 0 to 9"),
        ((X0, Y0 + 0.5), {"steps": 1}, "targets must be integers of shape"),
        ((X0, Y0 + 2**40), {"steps": 1}, "integers must fit into 32 bits"),
        ({"a": X0, "b": Y0}, {"steps": 1}, "columns must name inputs and targets"),
        (
            {"x": X0, "y": Y0},
            {"steps": 1, "columns": ("x", "z")},
            "columns must name inputs and targets",
        ),
    ],
)
def test_bad_data(ds, given, message):
    trainer = make()
    with pytest.raises(InvalidInputError, match=message):
        trainer.fit(ds, **{"key": KEY} | given)
    assert trainer.accountant.n_steps == 0


def test_bad_calls():
    trainer = make()
    for call in (trainer.evaluate, trainer.losses, trainer.gradients):
        with pytest.raises(InvalidInputError, match="no parameters yet"):
            call(rows())
    with pytest.raises(InvalidInputError, match="no parameters yet"):
        trainer.predict(rows()[0])
    shuffled = make(REPLACED, sampling="shuffle")
    with pytest.raises(InvalidInputError, match="must have data_size=1400 rows"):
        shuffled.fit(rows(300), steps=1, key=KEY)
    mean = make(loss=lambda out, y: jnp.mean(out))
    with pytest.raises(InvalidInputError, match="loss must return one loss an example"):
        mean.fit(rows(), steps=1, key=KEY)
    assert isinstance(trainer.program, PrivateProgram)
    with pytest.raises(InvalidInputError, match="program must be initialized"):
        _ = trainer.program.core
