"""Gradient outer products of functions, networks and estimators, and the ansatz."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from mlmethods.errors import (
    InvalidInputError,
    NotPositiveDefiniteError,
    OperationNotSupportedError,
)
from mlmethods.rfm.network import (
    agop,
    feature_ansatz,
    matrix_power_psd,
    neural_feature_matrix,
)
from mlmethods_jax import JaxBackend
from mlmethods_jax.adapters import from_linen
from mlmethods_jax.rfm import network

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
W1 = RNG.normal(size=(4, 6))
W2 = RNG.normal(size=(6, 3))
ROWS = RNG.normal(size=(10, 4)) + 1.0
IMAGES = RNG.normal(size=(5, 6, 6, 2))


class Engines(JaxBackend):
    """The JAX backend with nothing but these functions as its engine."""

    def can_run(self, name, /, **facts):
        return True

    def engine(self, method):
        return network


class NoNetworks(Engines):
    def engine(self, method):
        return object()


JAX = Engines()
jax_agop = functools.partial(agop, backend=JAX)


def mlp(x):
    """Return three outputs of a tanh network."""
    return jnp.tanh(x @ W1.astype(x.dtype)) @ W2.astype(x.dtype)


def mlp_jacobian(x):
    return W2.T @ np.diag(1 - np.tanh(x @ W1) ** 2) @ W1.T


class ConvNet(linen.Module):
    """Convolution, batch statistics, dropout and two dense layers."""

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(3, (3, 3), strides=2)(x)
        x = linen.BatchNorm(use_running_average=not train)(x)
        x = jnp.tanh(linen.Dropout(0.5, deterministic=not train)(x))
        x = jnp.tanh(linen.Dense(5)(x.reshape(len(x), -1)))
        return linen.Dense(4)(x)


class NnxNet(nnx.Module):
    """Two dense layers with dropout between them."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 6, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(jnp.tanh(self.first(x))))


class Fitted:
    """What the front sees of a fitted estimator: analytic gradients."""

    def gradients(self, X):
        return np.stack([mlp_jacobian(x) for x in X])


def expected(jacobians, *, diagonal=False, center="none", per_output=False):
    """Return the gradient outer product by explicit loops in float64."""
    J = np.asarray(jacobians, dtype=np.float64)
    n, c, d = J.shape
    if center == "per_output":
        J = J - J.mean(axis=0)
    elif center == "pooled":
        J = J - J.reshape(n * c, d).mean(axis=0)
    A = np.zeros((c, d, d))
    for sample in J:
        for output, g in enumerate(sample):
            A[output] += np.outer(g, g) / n
    if not per_output:
        A = A.sum(axis=0)
    return np.diagonal(A, axis1=-2, axis2=-1) if diagonal else A


@functools.cache
def conv_net():
    module = ConvNet()
    variables = module.init(KEY, jnp.asarray(IMAGES, "float32"))
    stats = jax.tree.map(
        lambda a: a + 0.5 * np.ones((), a.dtype), variables["batch_stats"]
    )
    return module, {"params": variables["params"], "batch_stats": stats}


def nnx_net(*, train=False):
    module = NnxNet(nnx.Rngs(0))
    (module.train if train else module.eval)()
    return module


@pytest.mark.parametrize("batch_size", [1, 7, 10, 23, None])
@pytest.mark.parametrize("center", ["none", "per_output", "pooled"])
@pytest.mark.parametrize("source", ["jax", "jac", "estimator"])
def test_sums_explicit_jacobians_of_a_network(source, center, batch_size):
    subject, options = {
        "jax": (mlp, {"backend": JAX, "dtype": "float64"}),
        "jac": (lambda x: np.tanh(x @ W1) @ W2, {"jac": mlp_jacobian}),
        "estimator": (Fitted(), {}),
    }[source]
    M = agop(subject, ROWS, center=center, batch_size=batch_size, **options)
    truth = expected([mlp_jacobian(x) for x in ROWS], center=center)
    assert M.dtype == np.float64
    np.testing.assert_allclose(M, truth, atol=1e-12 * np.abs(truth).max())


@pytest.mark.parametrize("source", ["jax", "estimator"])
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("per_output", [False, True])
@pytest.mark.parametrize("center", ["none", "per_output", "pooled"])
def test_variants(source, center, per_output, diagonal):
    variant = {"center": center, "per_output": per_output, "diagonal": diagonal}
    subject = mlp if source == "jax" else Fitted()
    M = jax_agop(subject, ROWS, batch_size=4, dtype="float32", **variant)
    truth = expected([mlp_jacobian(x) for x in ROWS], **variant)
    assert M.dtype == np.float32
    assert M.shape == truth.shape
    np.testing.assert_allclose(M, truth, atol=3e-6 * np.abs(truth).max())


@pytest.mark.parametrize("batch_size", [2, None])
def test_convolutional_network_in_evaluation_mode(batch_size):
    module, variables = conv_net()
    M = jax_agop((module, variables), IMAGES, batch_size=batch_size)

    def one(x):
        return module.apply(variables, x[None], train=False)[0]

    jacobian = jax.jit(jax.jacfwd(one))
    J = [jacobian(x).reshape(4, 72) for x in jnp.asarray(IMAGES, "float32")]
    assert M.shape == (72, 72)
    np.testing.assert_allclose(M, expected(J), atol=3e-6 * np.abs(M).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_input_of_a_layer(dtype):
    module = nnx_net()
    M = jax_agop(module, ROWS, wrt="last", dtype=dtype)
    kernel = np.asarray(module.last.kernel[...], np.float64)
    # the network is linear from its last layer on
    np.testing.assert_allclose(M, kernel @ kernel.T, atol=1e-6)
    assert M.dtype == dtype
    hidden = network.layer_agop(module, None, jnp.asarray(ROWS, "float32"), "first")
    np.testing.assert_allclose(hidden, jax_agop(module, ROWS), rtol=1e-5, atol=1e-6)


def test_more_outputs_than_inputs():
    A = RNG.normal(size=(9, 4))
    M = jax_agop(lambda x: A.astype("float32") @ x, ROWS)
    np.testing.assert_allclose(M, A.T @ A, rtol=1e-5, atol=1e-5)


def test_scalar_function_agrees_with_its_closed_form():
    M = jax_agop(lambda x: jnp.sum(x**2), ROWS)
    np.testing.assert_allclose(M, 4 * ROWS.T @ ROWS / len(ROWS), rtol=2e-6)


def test_weights_are_multiplicities_and_zero_excludes():
    counts = np.array([2, 0, 1, 3, 0, 1, 1, 1, 1, 1])
    X = np.where(counts[:, None] > 0, ROWS, np.nan)
    options = {"center": "per_output", "batch_size": 3}
    weighted = network.network_agop(mlp, X, weights=counts, **options)
    repeated = network.network_agop(mlp, np.repeat(ROWS, counts, axis=0), **options)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-4, atol=1e-5)


def test_centering_does_not_cancel_under_a_large_mean_gradient():
    slope = np.full(4, 1e4, "float32")
    M = jax_agop(lambda x: slope @ x + jnp.sum(x**2) / 2, ROWS, center="per_output")
    # 1e4 in float32 resolves 1e-3, which is all that a gradient can carry here
    np.testing.assert_allclose(M, np.cov(ROWS.T, bias=True), atol=5e-3)


def test_sum_keeps_the_precision_of_one_term():
    n = 20000
    M = jax_agop(lambda x: x[0] * 0.1, np.zeros((n, 1)), batch_size=1)
    np.testing.assert_allclose(M, np.square(np.float32(0.1)), rtol=2.5e-7)


def test_compiles_once_for_all_parameters():
    traces = []

    class Counted(linen.Module):
        @linen.compact
        def __call__(self, x):
            traces.append(1)
            return linen.Dense(2, use_bias=False)(x)

    model = from_linen(Counted())
    kernels = [RNG.normal(size=(4, 2)).astype("float32") for _ in range(3)]
    counts = []
    for kernel in kernels:
        params = {"Dense_0": {"kernel": kernel}}
        M = jax_agop(model, ROWS, params=params)
        np.testing.assert_allclose(M, kernel @ kernel.T, rtol=1e-5, atol=1e-5)
        counts.append(len(traces))
    assert counts[0] > 0
    assert counts == counts[:1] * 3


def test_memory_does_not_grow_with_the_samples():
    def scratch_bytes(n):
        lowered = network._agop.lower(
            None,
            jax.ShapeDtypeStruct((n, 4), "float32"),
            None,
            subject=network._Subject(mlp),
            per_output=False,
            diagonal=False,
            center="pooled",
            batch_size=16,
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    # one gradient is 12 numbers; a weight and a batch index are all a sample may cost
    assert scratch_bytes(20_000) - scratch_bytes(2_000) <= 18_000 * 8


class Training(linen.Module):
    """A network that is always in training mode."""

    layer: type

    @linen.compact
    def __call__(self, x):
        if self.layer is linen.BatchNorm:
            return linen.BatchNorm(use_running_average=False)(x)
        return linen.Dropout(0.5, deterministic=False)(x)


@pytest.mark.parametrize("kind", ["nnx", linen.BatchNorm, linen.Dropout])
def test_training_mode_is_refused(kind):
    if kind == "nnx":
        model = nnx_net(train=True)
    else:
        module = Training(kind)
        x = jnp.asarray(ROWS, "float32")
        rngs = {"params": KEY, "dropout": KEY}
        model = (module, {"params": {}, **module.init(rngs, x)})
    with pytest.raises(InvalidInputError, match="evaluation mode"):
        jax_agop(model, ROWS)


@pytest.mark.parametrize(
    ("fn", "match"),
    [
        (lambda x: x.astype("complex64"), "real floating numbers .* complex64"),
        (jnp.argmax, "real floating numbers .* int"),
        (lambda x: np.tanh(np.asarray(x)), "jac="),
        (lambda x: x if x[0] > 0 else -x, "branches on values"),
        (lambda x: (x, x), "one array, got tuple"),
        (3, "callable"),
    ],
)
def test_what_jax_cannot_differentiate_is_refused(fn, match):
    with pytest.raises(InvalidInputError, match=match):
        jax_agop(fn, ROWS)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"X": ROWS[0]}, "X must have shape"),
        ({"X": ROWS * np.nan}, "X must be finite"),
        ({"X": ROWS * 1j}, "X must be an array of real"),
        ({"center": True}, "center"),
        ({"batch_size": 0}, "batch_size"),
        ({"dtype": "float16"}, "dtype"),
        ({"params": {}}, "functools.partial"),
        ({"wrt": "layer"}, "functools.partial"),
        ({"jac": lambda x: np.ones(2)}, "jac must return 3 x 4 entries"),
        ({"jac": mlp_jacobian, "wrt": "layer"}, "wrt and params"),
        ({"fn_or_model": ConvNet()}, "params must be the parameters"),
        ({"fn_or_model": nnx_net(), "wrt": "none"}, "the layers are 'first', 'last'"),
    ],
)
def test_bad_arguments(options, match):
    with pytest.raises(InvalidInputError, match=match):
        jax_agop(**{"fn_or_model": mlp, "X": ROWS, **options})


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda backend: agop(mlp, ROWS, backend=backend), "jac="),
        (
            lambda backend: neural_feature_matrix(nnx_net(), "last", backend=backend),
            "read networks",
        ),
    ],
)
def test_backend_without_networks(call, match):
    with pytest.raises(OperationNotSupportedError, match=match):
        call(NoNetworks())


def test_neural_feature_matrix():
    module = nnx_net()
    kernel = np.asarray(module.first.kernel[...])
    M = neural_feature_matrix(module, "first", backend=JAX)
    np.testing.assert_allclose(M, kernel @ kernel.T, rtol=1e-5, atol=1e-6)
    conv, variables = conv_net()
    kernel = np.asarray(variables["params"]["Conv_0"]["kernel"]).reshape(18, 3)
    M = neural_feature_matrix(
        conv, "Conv_0", params=variables, sample=IMAGES, backend=JAX
    )
    np.testing.assert_allclose(M, kernel @ kernel.T, rtol=1e-5, atol=1e-6)
    with pytest.raises(InvalidInputError, match="'absent'"):
        neural_feature_matrix(module, "absent", backend=JAX)


def test_ansatz_agrees_with_explicit_correlations():
    module, start = nnx_net(), NnxNet(nnx.Rngs(1))
    report = feature_ansatz(module, ROWS, init_params=start, backend=JAX)
    assert [(row.layer, row.power) for row in report.correlations] == [
        ("first", 1.0),
        ("first", 0.5),
        ("last", 1.0),
        ("last", 0.5),
    ]
    W, W0 = (np.asarray(m.first.kernel[...], np.float64) for m in (module, start))
    A = jax_agop(module, ROWS, dtype="float64")
    row = report.correlations[0]
    NFM, change = W @ W.T, (W - W0) @ (W - W0).T
    assert row.pearson == pytest.approx(
        np.corrcoef(NFM.ravel(), A.ravel())[0, 1], abs=1e-5
    )
    assert row.centered_pearson == pytest.approx(
        np.corrcoef(change.ravel(), A.ravel())[0, 1], abs=1e-5
    )
    assert row.cosine == pytest.approx(
        np.trace(NFM @ A) / np.linalg.norm(NFM) / np.linalg.norm(A), abs=1e-5
    )
    # the gradient at the input of the last layer is its own weights
    assert report.correlations[2].pearson == pytest.approx(1.0, abs=1e-6)


def test_ansatz_takes_dense_layers_of_a_convolutional_network():
    module, variables = conv_net()
    call = functools.partial(
        feature_ansatz, module, IMAGES, params=variables, powers=[1.0], backend=JAX
    )
    report = call()
    assert [row.layer for row in report.correlations] == ["Dense_0", "Dense_1"]
    assert report.correlations[0].centered_pearson is None
    with pytest.raises(InvalidInputError, match=r"'Conv_0' has shape \(6, 6, 2\)"):
        call(layers=["Conv_0"])


def test_report_as_table_and_figure():
    report = feature_ansatz(nnx_net(), ROWS, backend=JAX)
    frame = report.to_frame()
    assert list(frame.columns) == [
        "layer",
        "power",
        "pearson",
        "cosine",
        "centered_pearson",
    ]
    assert frame["pearson"].tolist() == [row.pearson for row in report.correlations]
    heights = [patch.get_height() for patch in report.plot().axes[0].patches]
    np.testing.assert_allclose(sorted(heights), sorted(frame["pearson"]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("s", [0.25, 0.5, 1.0, 3.0])
def test_matrix_power(s, dtype):
    B = RNG.normal(size=(5, 3))
    M = (B @ B.T).astype(dtype)
    powered = matrix_power_psd(M, s)
    values, vectors = np.linalg.eigh(B @ B.T)
    truth = vectors @ np.diag(np.abs(values) ** s * (values > 1e-9)) @ vectors.T
    # the rounding of a zero eigenvalue grows under a root
    atol = {"float32": (1e-5 * 20) ** min(s, 1.0), "float64": (1e-14) ** min(s, 1.0)}
    np.testing.assert_allclose(powered, truth, rtol=1e-5, atol=20 * atol[dtype])
    assert powered.dtype == dtype


@pytest.mark.parametrize(
    ("M", "s", "error", "match"),
    [
        (np.diag([1.0, -0.1]), 0.5, NotPositiveDefiniteError, "eigenvalue -0.1"),
        ([1.0, -0.1], 0.5, NotPositiveDefiniteError, "eigenvalue -0.1"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), 0.5, InvalidInputError, "symmetric"),
        (np.ones((2, 3)), 0.5, InvalidInputError, r"\(2, 3\)"),
        (np.full((2, 2), np.inf), 0.5, InvalidInputError, "finite"),
        (np.eye(2), 0.0, InvalidInputError, "s must be"),
    ],
)
def test_matrix_power_refuses(M, s, error, match):
    with pytest.raises(error, match=match):
        matrix_power_psd(M, s)
