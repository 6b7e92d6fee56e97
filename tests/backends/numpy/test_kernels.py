"""The NumPy kernel operations against closed forms, SciPy, scikit-learn, differences."""

from __future__ import annotations

from itertools import pairwise as neighbors

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import RBF, Matern

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import KERNEL_NAMES, KernelSpec
from mlmethods_numpy.ops import kernels, linalg


def _cube(product):
    return (1 + product) ** 3


def _cube_slope(product):
    return 3 * (1 + product) ** 2


def _network(name, skip):
    params = {"w_std": 1.2, "b_std": 0.3, "readout_w_std": 0.9, "readout_b_std": 0.1}
    return KernelSpec(
        name=name,
        params={**params, "scale": 1.0},
        static=(("activation", "relu"), ("depth", 3), ("skip", skip)),
    )


SPECS = {
    "laplace": KernelSpec(name="laplace", bandwidth=1.3),
    "gaussian": KernelSpec(name="gaussian", bandwidth=1.3),
    "exp_power 0.7": KernelSpec(name="exp_power", bandwidth=1.3, params={"q": 0.7}),
    "exp_power 2": KernelSpec(name="exp_power", bandwidth=1.3, params={"q": 2.0}),
    "matern 0.5": KernelSpec(name="matern", bandwidth=1.3, static=(("nu", 0.5),)),
    "matern 0.8": KernelSpec(name="matern", bandwidth=1.3, static=(("nu", 0.8),)),
    "matern 1": KernelSpec(name="matern", bandwidth=1.3, static=(("nu", 1.0),)),
    "matern 1.5": KernelSpec(name="matern", bandwidth=1.3, static=(("nu", 1.5),)),
    "matern 2.5": KernelSpec(name="matern", bandwidth=1.3, static=(("nu", 2.5),)),
    "matern 3.1": KernelSpec(name="matern", bandwidth=1.3, static=(("nu", 3.1),)),
    "matern 20": KernelSpec(name="matern", bandwidth=1.3, static=(("nu", 20.0),)),
    "lpq 1.5 1": KernelSpec(name="lpq", bandwidth=1.3, params={"p": 1.5, "q": 1.0}),
    "lpq 1 1": KernelSpec(name="lpq", bandwidth=1.3, params={"p": 1.0, "q": 1.0}),
    "lpq 0.9 0.7": KernelSpec(name="lpq", bandwidth=1.3, params={"p": 0.9, "q": 0.7}),
    "sum_power": KernelSpec(
        name="sum_power",
        bandwidth=1.3,
        params={"q": 0.9, "power": 2.0, "const_mix": 0.2},
    ),
    "quadratic": KernelSpec(name="quadratic"),
    "inner_product": KernelSpec(
        name="inner_product", static=(("dh", _cube_slope), ("h", _cube))
    ),
    "linear": KernelSpec(name="linear"),
    "polynomial": KernelSpec(
        name="polynomial",
        params={"constant": 0.5, "scale": 0.3},
        static=(("degree", 3),),
    ),
    "rational_quadratic": KernelSpec(
        name="rational_quadratic", bandwidth=1.3, params={"alpha": 0.7}
    ),
    "nngp": _network("nngp", skip=False),
    "ntk": _network("ntk", skip=False),
    "ntk skip": _network("ntk", skip=True),
}
SPECS["sum"] = KernelSpec(
    name="sum",
    params={"weights": np.array([0.5, 2.0])},
    children=(SPECS["laplace"], SPECS["ntk"]),
)
SPECS["product"] = KernelSpec(
    name="product", children=(SPECS["lpq 1.5 1"], SPECS["quadratic"], SPECS["sum"])
)
INNER = {"quadratic", "inner_product", "linear", "polynomial"}
INNER |= {"nngp", "ntk", "sum", "product"}
METRICS = ("none", "diagonal", "full")


def test_every_shared_name_is_covered():
    assert {spec.name for spec in SPECS.values()} == set(KERNEL_NAMES)


@pytest.fixture(params=sorted(SPECS))
def spec(request):
    return SPECS[request.param]


def _metric(kind, d, rng):
    if kind == "none":
        return None, np.eye(d)
    if kind == "diagonal":
        diagonal = rng.uniform(0.2, 2.0, size=d)
        return diagonal, np.diag(diagonal)
    A = rng.normal(size=(d, d))
    return A @ A.T / d, A @ A.T / d


def _scalar_kernel(spec, x, z, M):
    """Evaluate one entry from the definition in KernelSpec, without broadcasting."""
    values, vectors = np.linalg.eigh(M)
    u = vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T @ (x - z)
    r, L, params = np.sqrt(u @ u), spec.bandwidth, spec.params
    match spec.name:
        case "laplace":
            return np.exp(-r / L)
        case "gaussian":
            return np.exp(-(r**2) / (2 * L**2))
        case "exp_power":
            return np.exp(-((r / L) ** params["q"]))
        case "matern":
            gram = Matern(length_scale=L, nu=spec.option("nu"))([[0.0]], [[r]])
            return gram[0, 0]
        case "lpq":
            p, q = params["p"], params["q"]
            norm = sum(abs(v) ** p for v in u) ** (1 / p)
            return np.exp(-(norm**q) / L**q)
        case "sum_power":
            terms = [np.exp(-(abs(v) ** params["q"]) / L ** params["q"]) for v in u]
            c = params["const_mix"]
            return (c + (1 - c) * np.mean(terms)) ** params["power"]
        case "quadratic":
            return (x @ M @ z) ** 2
        case "linear":
            return x @ M @ z
        case "polynomial":
            return (params["constant"] + params["scale"] * (x @ M @ z)) ** 3
        case "rational_quadratic":
            a = params["alpha"]
            return (1 + r**2 / (2 * a * L**2)) ** -a
        case "nngp" | "ntk":
            return _scalar_network(spec, x, z, M)
        case "sum":
            return sum(
                w * _scalar_kernel(child, x, z, M)
                for w, child in zip(params["weights"], spec.children, strict=True)
            )
        case "product":
            return np.prod([_scalar_kernel(child, x, z, M) for child in spec.children])
    return (1 + x @ M @ z) ** 3


def _scalar_network(spec, x, z, M):
    """Follow the layers from the cosine, as the papers write them."""
    p, d = spec.params, len(x)
    w, b = p["w_std"], p["b_std"]
    S, q_x, q_z = (w**2 * (u @ M @ v) / d + b**2 for u, v in ((x, z), (x, x), (z, z)))
    T = S
    readout = (p["readout_w_std"], p["readout_b_std"], False)
    hidden = (w, b, spec.option("skip"))
    for weight, bias, skip in (hidden, hidden, readout):
        root = np.sqrt(q_x * q_z)
        angle = np.arccos(S / root)
        k0 = (np.pi - angle) / (2 * np.pi)
        k1 = root * (np.sin(angle) + np.cos(angle) * (np.pi - angle)) / (2 * np.pi)
        grown = weight**2 * k1 + bias**2
        T = grown + weight**2 * T * k0 + skip * T
        S = grown + skip * S
        q_x, q_z = (weight**2 * q / 2 + bias**2 + skip * q for q in (q_x, q_z))
    return T if spec.name == "ntk" else S


@pytest.mark.parametrize("kind", METRICS)
def test_pairwise_is_the_definition(spec, kind, rng):
    X, Z = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    M, full = _metric(kind, 3, rng)
    expected = [[_scalar_kernel(spec, x, z, full) for z in Z] for x in X]
    assert_allclose(kernels.pairwise(spec, X, Z, M), expected, rtol=1e-12)


@pytest.mark.parametrize("nu", [0.5, 0.8, 1.0, 1.5, 2.5, 3.1, 7.0])
def test_matern_is_that_of_scikit_learn(nu, rng):
    X = np.concatenate([rng.normal(size=(20, 4)), 1e-6 * np.ones((1, 4))])
    spec = KernelSpec(name="matern", bandwidth=0.7, static=(("nu", nu),))
    expected = Matern(length_scale=0.7, nu=nu)(X)
    assert_allclose(kernels.pairwise(spec, X), expected, rtol=1e-10, atol=1e-12)


def test_matern_of_large_nu_approaches_the_gaussian_and_never_overflows():
    r = np.array([[0.0], [1e-200], [1e-9], [1e-3], [1.0], [3.0], [1e3]])
    spec = KernelSpec(name="matern", static=(("nu", 30.0),))
    values = kernels.pairwise(spec, r, np.zeros((1, 1)))
    assert_allclose(values, RBF()(r, np.zeros((1, 1))), atol=0.02)
    assert_allclose(values[:3], 1.0, rtol=1e-12)
    gradient = kernels.grad(spec, r, np.zeros((1, 1)), np.ones((1, 1)))
    assert_allclose(gradient[2, 0], -1e-9 * 30 / 29, rtol=1e-9)


@pytest.mark.parametrize(
    ("spec", "metric", "options", "power"),
    [
        (SPECS["laplace"], "euclidean", {}, 1.0),
        (SPECS["lpq 1 1"], "cityblock", {}, 1.0),
        (SPECS["lpq 1.5 1"], "minkowski", {"p": 1.5}, 1.0),
        (SPECS["exp_power 0.7"], "euclidean", {}, 0.7),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_distances_are_those_of_scipy_far_from_the_origin(
    spec, metric, options, power, rng
):
    X = rng.normal(size=(40, 50)) + 1e3
    expected = np.exp(-((cdist(X, X, metric, **options) / 1.3) ** power))
    assert_allclose(kernels.pairwise(spec, X), expected, rtol=1e-11)


def test_lpq_and_sum_power_use_the_symmetric_root(rng):
    M, _ = _metric("full", 3, rng)
    X, Z = rng.normal(size=(6, 3)), rng.normal(size=(5, 3))
    cholesky = np.linalg.cholesky(M)
    for name in ("lpq 1 1", "sum_power"):
        K = kernels.pairwise(SPECS[name], X, Z, M)
        other = kernels.pairwise(SPECS[name], X @ cholesky, Z @ cholesky)
        assert np.abs(K - other).max() > 1e-3


def test_the_diagonal_is_exact_and_the_matrix_positive_semidefinite(spec, rng):
    X = rng.normal(size=(60, 50)) + 1e3 * (spec.name not in INNER)
    X[7] = X[3]
    M = np.full(50, 0.5)
    K = kernels.pairwise(spec, X, None, M)
    assert_allclose(np.diagonal(K), kernels.kernel_diagonal(spec, X, M), rtol=1e-13)
    if spec.name not in INNER:
        assert_array_equal(np.diagonal(K), 1.0)
        assert K[7, 3] == 1.0
    assert_allclose(K, K.T, rtol=1e-13)
    assert np.linalg.eigvalsh(K)[0] > -1e-10 * K.max() * len(K)


def test_matvec_is_the_product_for_every_block_size(spec, rng):
    X, Z, alpha = (
        rng.normal(size=(11, 3)),
        rng.normal(size=(9, 3)),
        rng.normal(size=(9, 2)),
    )
    M, _ = _metric("full", 3, rng)
    expected = kernels.pairwise(spec, X, Z, M) @ alpha
    for block_size in (None, 1, 4, 11, 50):
        result = kernels.matvec(spec, X, Z, alpha, M, block_size=block_size)
        assert_allclose(result, expected, rtol=1e-13)


def _expansion(spec, x, Z, alpha, M):
    return (kernels.pairwise(spec, x[None], Z, M) @ alpha)[0]


@pytest.mark.parametrize("d", [1, 3, 12])
@pytest.mark.parametrize("kind", METRICS)
def test_grad_is_the_central_difference(spec, kind, d, rng):
    X, Z, alpha = (
        rng.normal(size=(4, d)),
        rng.normal(size=(6, d)),
        rng.normal(size=(6, 2)),
    )
    M, _ = _metric(kind, d, rng)
    step = 1e-6
    expected = np.stack(
        [
            (
                _expansion(spec, X[i] + e, Z, alpha, M)
                - _expansion(spec, X[i] - e, Z, alpha, M)
            )
            / (2 * step)
            for i in range(4)
            for e in step * np.eye(d)
        ]
    )
    expected = expected.reshape(4, d, 2).transpose(0, 2, 1)
    result = kernels.grad(spec, X, Z, alpha, M, block_size=3)
    assert_allclose(result, expected, rtol=2e-7, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize(
    "name", [n for n in sorted(SPECS) if SPECS[n].name not in INNER]
)
def test_a_pair_at_distance_zero_contributes_nothing(name, kind, rng):
    spec = SPECS[name]
    Z, alpha = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    M, _ = _metric(kind, 3, rng)
    expected = kernels.grad(spec, Z[:2], Z[2:], alpha[2:], M)
    duplicated = np.concatenate([Z[:2], Z])  # duplicates are ordinary data
    with_itself = [0, 2, 3, 4, 5]
    gradient = kernels.grad(spec, Z[:1], Z[with_itself], alpha[with_itself], M)
    assert_allclose(gradient[0], expected[0], rtol=1e-12)
    doubled = kernels.grad(
        spec, duplicated, None, np.concatenate([alpha[:2], alpha]), M
    )
    assert np.isfinite(doubled).all()
    assert_allclose(doubled[0], doubled[2], rtol=1e-12)


def test_pairs_within_rounding_count_as_coincident_for_kernels_with_a_cusp(rng):
    Z, alpha = rng.normal(size=(5, 3)), rng.normal(size=(5, 1))
    near = Z + 1e-10 * rng.normal(size=Z.shape)
    for name in ("laplace", "lpq 1 1", "sum_power", "exp_power 0.7"):
        assert_allclose(
            kernels.grad(SPECS[name], near, Z, alpha),
            kernels.grad(SPECS[name], Z, None, alpha),
            rtol=1e-6,
        )
    # An offset changes neither the threshold nor the result.
    assert_allclose(
        kernels.grad(SPECS["laplace"], Z + 1e6, None, alpha),
        kernels.grad(SPECS["laplace"], Z, None, alpha),
        rtol=1e-6,
    )


def test_self_index_names_the_pairs_to_leave_out(rng):
    Z, alpha = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    moved = Z + 1e-3  # far enough that no threshold fires
    index = np.array([0, 1, -1, 3, 4, 5])
    result = kernels.grad(SPECS["laplace"], moved, Z, alpha, self_index=index)
    for i, own in enumerate(index):
        kept = [j for j in range(6) if j != own]
        expected = kernels.grad(SPECS["laplace"], moved[[i]], Z[kept], alpha[kept])
        assert_allclose(result[i], expected[0], rtol=1e-12)
    assert_array_equal(
        kernels.grad(SPECS["laplace"], Z, None, alpha),
        kernels.grad(SPECS["laplace"], Z, Z, alpha, self_index=np.arange(6)),
    )


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("center", ["none", "per_output", "pooled"])
@pytest.mark.parametrize("weighted", [False, True])
def test_agop_is_the_mean_of_outer_products(spec, diagonal, center, weighted, rng):
    X, Z, alpha = (
        rng.normal(size=(7, 3)),
        rng.normal(size=(6, 3)),
        rng.normal(size=(6, 2)),
    )
    M, _ = _metric("full", 3, rng)
    weights = np.array([1.0, 0.0, 2.0, 0.5, 3.0, 0.0, 1.0]) if weighted else np.ones(7)
    gradients = kernels.grad(spec, X, Z, alpha, M)
    mean = np.zeros((2, 3))
    if center != "none":
        mean = (
            sum(w * g for w, g in zip(weights, gradients, strict=True)) / weights.sum()
        )
    if center == "pooled":
        mean = np.stack([mean.mean(axis=0)] * 2)
    expected = np.zeros((3, 3))
    for weight, gradient in zip(weights, gradients, strict=True):
        for g, mu in zip(gradient, mean, strict=True):
            expected += weight * np.outer(g - mu, g - mu) / weights.sum()
    results = [
        kernels.agop(
            spec,
            X,
            Z,
            alpha,
            M,
            weights=weights if weighted else None,
            diagonal=diagonal,
            center=center,
            block_size=block_size,
        )
        for block_size in (None, 1, 3, 100)
    ]
    expected = np.diagonal(expected) if diagonal else expected
    assert_allclose(results[0], expected, rtol=1e-11, atol=1e-14)
    for first, second in neighbors(results):
        assert_allclose(first, second, rtol=1e-11, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(SPECS)))
def test_agop_ignores_the_order_of_samples_and_centers(seed, name):
    rng = np.random.default_rng(seed)
    X, alpha = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    order = rng.permutation(8)
    assert_allclose(
        kernels.agop(SPECS[name], X[order], None, alpha[order]),
        kernels.agop(SPECS[name], X, None, alpha),
        rtol=1e-9,
        atol=1e-12,
    )


ORACLE_X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
ORACLE_Y = np.array([[0.0], [1.0], [2.0], [4.0]])
ORACLE_Z = np.array([[0.5, 0.5], [3.0, -1.0]])
LAPLACE = KernelSpec(name="laplace")
GAUSSIAN = KernelSpec(name="gaussian")
LPQ = KernelSpec(name="lpq", params={"p": 1.5, "q": 1.0})
PRODUCT = KernelSpec(name="lpq", params={"p": 1.0, "q": 1.0})
SUM = KernelSpec(name="sum_power", params={"q": 1.0, "power": 2.0, "const_mix": 0.0})
# kernel, updates, dual coefficients, predictions, gradient at the first, M, tolerance
ORACLE = [
    (LAPLACE, 0, (-0.90359933, -0.11048638, 1.13976647, 3.62111771), (1.51994216, 0.18034964), None, (1, 0, 0, 1), 1e-6),
    (LAPLACE, 1, (-1.13000463, 0.22487707, 0.66013283, 3.61933234), (1.61754935, 0.39568907), None, (0.25978041, 0.17386249, 0.17386249, 1), 1e-6),
    (LAPLACE, 2, (-1.30485384, 0.48707177, 0.38655243, 3.64793926), (1.67199525, 0.39246252), None, (0.10488338, 0.24631067, 0.24631067, 1), 1e-6),
    (GAUSSIAN, 0, (-0.97548083, -0.97042298, 0.5702022, 4.30698633), (2.00217858, -0.00727433), None, (1, 0, 0, 1), 1e-6),
    (GAUSSIAN, 1, (-1.74860705, -0.30444168, -0.5708754, 4.85694529), (2.10439436, 0.03453885), None, (0.27432731, 0.12516458, 0.12516458, 1), 1e-6),
    (GAUSSIAN, 2, (-2.4305405, 0.26068607, -1.40142806, 5.44677714), (2.23020758, -0.29319523), None, (0.08865785, 0.18986148, 0.18986148, 1), 1e-6),
    (LPQ, 0, None, (1.44545296, 0.12289493), (1.39470946, 1.8343674), (1, 0, 0, 1), 1e-5),
    (LPQ, 1, None, (1.5909091, 0.32100296), None, (0.227774, 0.140066, 0.140066, 1), 1e-5),
    (PRODUCT, 0, None, (1.24606637, 0.05061433), (1.26746654, 1.7833712), (1, 0, 0, 1), 1e-5),
    (PRODUCT, 1, None, (1.52771799, 0.21416216), None, (0.164598, 0.092029, 0.092029, 1), 1e-5),
    (SUM, 0, None, (1.20801524, 0.01139927), (1.06964001, 1.95479608), (1, 0, 0, 1), 1e-5),
    (SUM, 1, None, (1.50818627, 0.16743552), None, (0.21758, 0.01739, 0.01739, 1), 1e-5),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "updates", "alpha", "predictions", "gradient", "M", "tolerance"),
    ORACLE,
    ids=[f"{row[0].name}-{dict(row[0].params)}-{row[1]}" for row in ORACLE],
)
def test_recursive_feature_machine_of_the_peers(
    spec, updates, alpha, predictions, gradient, M, tolerance
):
    metric = np.eye(2)
    for _ in range(updates):
        K = kernels.pairwise(spec, ORACLE_X, None, metric)
        fitted = linalg.ridge_solve(K, ORACLE_Y, 0.1).alpha
        metric = kernels.agop(spec, ORACLE_X, None, fitted, metric)
        metric = metric / metric.max()
    K = kernels.pairwise(spec, ORACLE_X, None, metric)
    fitted = linalg.ridge_solve(K, ORACLE_Y, 0.1).alpha
    assert_allclose(metric.ravel(), M, atol=tolerance)
    if alpha is not None:
        assert_allclose(fitted[:, 0], alpha, atol=tolerance)
    values = kernels.matvec(spec, ORACLE_Z, ORACLE_X, fitted, metric)[:, 0]
    assert_allclose(values, predictions, atol=tolerance)
    if gradient is not None:
        slopes = kernels.grad(spec, ORACLE_Z[:1], ORACLE_X, fitted, metric)
        assert_allclose(slopes[0, 0], gradient, atol=tolerance)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LAPLACE, np.ones(3)), "X must have shape"),
        ((LAPLACE, np.ones((3, 2)), np.ones((3, 4))), r"Z must have shape \(m, 2\)"),
        ((LAPLACE, np.ones((3, 2)), None, np.ones(3)), r"M must have shape \(2, 2\)"),
    ],
)
def test_bad_input_of_pairwise(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        kernels.pairwise(*arguments)


def test_an_unknown_kernel_is_refused_by_name():
    with pytest.raises(OperationNotSupportedError, match="no kernel 'laplce'"):
        kernels.pairwise(KernelSpec(name="laplce"), np.ones((2, 2)))


def test_bad_input_of_agop():
    X = np.ones((3, 2))
    with pytest.raises(InvalidInputError, match="alpha must have shape"):
        kernels.agop(LAPLACE, X, None, np.ones(3))
    with pytest.raises(InvalidInputError, match="center must be 'none'"):
        kernels.agop(LAPLACE, X, None, np.ones((3, 1)), center=True)
