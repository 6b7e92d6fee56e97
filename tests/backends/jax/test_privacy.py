"""The von Mises-Fisher distribution and norm clipping on JAX."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, stats

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import SampleStatus
from mlmethods_jax.ops import privacy

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "golden" / "vmf_reference.json").read_text("utf-8")
)
FALSE_ALARM = 1e-4
EPS32 = np.finfo(np.float32).eps


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def x64(request):
    with jax.enable_x64(request.param):
        yield request.param


@functools.partial(jax.jit, static_argnames=("kind", "count"))
def _polar(key, kind, excess, kappa, count):
    lanes = jnp.full(count, kappa)
    return privacy._polar(key, kind, excess, lanes, jnp.ones(count, bool))


def draw(p, kappa, count, seed=0):
    """Return float32 cosines, versines and sines as float64 arrays."""
    polar = _polar(
        jax.random.key(seed), min(p, 4), np.float32(p - 3), np.float32(kappa), count
    )
    assert bool(polar.accepted.all())
    return SimpleNamespace(
        cosine=np.asarray(polar.cosine, np.float64),
        versine=np.asarray(polar.versine, np.float64),
        sine=np.asarray(polar.sine, np.float64),
        rounds=int(polar.rounds),
    )


def probability_transform(p, kappa, sample):
    """Return the exact distribution function at each draw; uniform if the law holds."""
    if p == 2:
        angle = 2 * np.arcsin(np.sqrt(np.minimum(sample.versine / 2, 1)))
        grid = np.linspace(0, min(np.pi, 14 / np.sqrt(max(kappa, 1e-9))), 40001)
        density = np.exp(-2 * kappa * np.sin(grid / 2) ** 2)
        value = angle
    elif p == 3:
        if kappa == 0:
            return sample.versine / 2
        return np.expm1(-kappa * sample.versine) / np.expm1(-2 * kappa)
    else:
        # Centred at the mode: e = w0 - w, and 1 - w0 without cancellation.
        radius = np.hypot(p - 3, 2 * kappa)
        mode = 2 * kappa / (p - 3 + radius)
        upper = (p - 3) * (1 + (p - 3) / (radius + 2 * kappa)) / (p - 3 + radius)
        q = upper * (1 + mode)
        spread = q / np.sqrt((p - 3) * (1 + mode**2))
        grid = np.linspace(max(-upper, -14 * spread), min(1 + mode, 40 * spread), 40001)
        with np.errstate(divide="ignore"):
            log_ratio = np.log1p(np.maximum(grid * (2 * mode - grid) / q, -1))
        density = np.exp((p - 3) / 2 * log_ratio - kappa * grid)
        value = sample.versine - upper if mode > 0.5 else mode - sample.cosine
    cdf = integrate.cumulative_trapezoid(density, grid, initial=0)
    return np.interp(value, grid, cdf / cdf[-1])


def moments(p, kappa):
    """Return E[1 - w] and the standard deviation of w, in float64."""
    with jax.enable_x64(True):
        kappa = jnp.asarray(kappa, jnp.float64)
        mean, slope = jax.value_and_grad(lambda k: privacy.mean_resultant(p, k))(kappa)
        return 1 - float(mean), float(slope) ** 0.5


# ---------------------------------------------------------------- constants


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_equal_mpmath(dtype):
    tolerance = 2e-15 if dtype == np.float64 else 2 * EPS32
    with jax.enable_x64(dtype == np.float64):
        for p in sorted({row["p"] for row in REFERENCE["constants"]}):
            rows = [row for row in REFERENCE["constants"] if row["p"] == p]
            kappa64 = np.array([row["kappa"] for row in rows])
            kappa = jnp.asarray(kappa64, dtype)
            # The reference is for the float64 value; float32 kappa moves it by A dk.
            shift = np.abs(np.asarray(kappa, np.float64) - kappa64)
            mean = np.array([row["mean_resultant"] for row in rows])
            expected = np.array([row["log_normalizer"] for row in rows])
            partition = np.array([row["log_partition"] for row in rows])
            actual = privacy.mean_resultant(p, kappa)
            assert actual.dtype == dtype
            np.testing.assert_allclose(actual, mean, rtol=tolerance)
            actual = privacy.vmf_log_normalizer(p, kappa)
            assert actual.dtype == dtype
            bound = tolerance * (np.abs(expected) + partition) + shift
            assert np.all(np.abs(np.asarray(actual, np.float64) - expected) <= bound)
            actual = privacy.log_norm_ratio(p, jnp.zeros((), dtype), kappa)
            assert actual.dtype == dtype
            np.testing.assert_allclose(actual, partition, rtol=2 * tolerance)


def test_log_norm_ratio_keeps_the_digits_of_differences():
    with jax.enable_x64(True):
        for row in REFERENCE["log_norm_ratio"]:
            actual = privacy.log_norm_ratio(
                row["p"], np.float64(row["kappa1"]), np.float64(row["kappa2"])
            )
            np.testing.assert_allclose(actual, row["value"], rtol=2e-15, err_msg=row)


@pytest.mark.parametrize("p", [2, 3, 7, 100])
def test_mean_resultant_is_inside_amos_bounds(p):
    order = p / 2 - 1
    with jax.enable_x64(True):
        kappa = np.geomspace(1e-3, 1e8, 200)
        mean = np.asarray(privacy.mean_resultant(p, kappa))
    lower = kappa / (order + 1 + np.sqrt(kappa**2 + (order + 1) ** 2))
    upper = kappa / (order + np.sqrt(kappa**2 + (order + 2) ** 2))
    slack = 1e-15
    assert np.all(mean >= lower * (1 - slack))
    assert np.all(mean <= upper * (1 + slack))


OPS = {
    "log_normalizer": lambda k: privacy.vmf_log_normalizer(10, k),
    "mean_resultant": lambda k: privacy.mean_resultant(10, k),
    "log_norm_ratio": lambda k: privacy.log_norm_ratio(10, k, 2 * k),
}


def _scanned(op):
    def total(k):
        def step(carry, _):
            return carry + op(k * 1.5), None

        return jax.lax.scan(step, jnp.zeros_like(k), None, length=3)[0]

    return total


TRANSFORMS = {
    "jit": (jax.jit, "value", 1.0),
    "grad": (jax.grad, "slope", 1.0),
    "grad of jit": (lambda op: jax.grad(jax.jit(op)), "slope", 1.0),
    "jit of grad of jit": (lambda op: jax.jit(jax.grad(jax.jit(op))), "slope", 1.0),
    "grad of scan": (lambda op: jax.grad(_scanned(op)), "slope", 4.5),
    "grad of jit of scan": (lambda op: jax.grad(jax.jit(_scanned(op))), "slope", 4.5),
    "grad of remat": (lambda op: jax.grad(jax.checkpoint(jax.jit(op))), "slope", 1.0),
    "jacfwd of jit": (lambda op: jax.jacfwd(jax.jit(op)), "slope", 1.0),
    "vmap of grad": (lambda op: _vmapped(jax.grad(op)), "slope", 1.0),
    "jit of vmap of grad of jit": (
        lambda op: jax.jit(_vmapped(jax.grad(jax.jit(op)))),
        "slope",
        1.0,
    ),
}


def _vmapped(function):
    return lambda k: jax.vmap(function)(k[None])[0]


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_float32_constants_under_transformations(name, transform, x64):
    wrap, what, factor = TRANSFORMS[transform]
    at = 3.0 if factor == 1.0 else 2.0  # the scan evaluates at 1.5 times its argument
    with jax.enable_x64(True):
        point = jnp.asarray(3.0)
        step = 1e-4
        plus, minus = OPS[name](point + step), OPS[name](point - step)
        expected = {
            "value": float(OPS[name](point)),
            "slope": float(plus - minus) / (2 * step),
        }[what]
    actual = wrap(OPS[name])(jnp.asarray(at, jnp.float32))
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, factor * expected, rtol=2e-6)


@pytest.mark.parametrize("p", [2, 3, 40, 10_000_000])
def test_second_derivative_is_minus_the_variance_of_the_cosine(p):
    # Var w = 1 - A^2 - (p - 1) A / kappa, with A from the independent table.
    rows = [
        row
        for row in REFERENCE["constants"]
        if row["p"] == p and 1 <= row["kappa"] <= 500
    ]
    kappa = np.array([row["kappa"] for row in rows])
    mean = np.array([row["mean_resultant"] for row in rows])
    with jax.enable_x64(True):
        second = jax.vmap(jax.hessian(lambda k: privacy.vmf_log_normalizer(p, k)))
        variance = -np.asarray(second(jnp.asarray(kappa)))
    # The subtraction on the left costs p digits, ours does not.
    np.testing.assert_allclose(
        1 - mean**2 - (p - 1) * mean / kappa,
        variance,
        rtol=1e-9,
        atol=1e-14,
    )


@pytest.mark.parametrize(("p", "expected"), [(2, 0.5), (3, 1 / 3), (10**7, 1e-7)])
def test_slopes_at_zero_concentration(p, expected):
    zero = jnp.zeros((), jnp.float32)
    slope = jax.grad(lambda k: privacy.mean_resultant(p, k))(zero)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    assert float(jax.grad(lambda k: privacy.vmf_log_normalizer(p, k))(zero)) == 0


@pytest.mark.parametrize("p", [2, 5, 1000])
def test_slope_at_large_concentration_keeps_its_digits(p):
    with jax.enable_x64(True):
        kappa = jnp.asarray(1e8)
        slope = jax.grad(lambda k: privacy.mean_resultant(p, k))(kappa)
    # A = 1 - (p - 1) / (2 kappa) + (p - 1)(p - 3) / (8 kappa^2) + ...
    expected = (p - 1) / (2 * 1e16) * (1 - (p - 3) / (2 * 1e8))
    np.testing.assert_allclose(slope, expected, rtol=1e-8)


def test_a_derivative_beyond_the_second_is_refused():
    with pytest.raises(OperationNotSupportedError, match="a further derivative"):
        jax.hessian(lambda k: privacy.mean_resultant(5, k))(jnp.float32(1))


@pytest.mark.parametrize("kappa", [-1.0, np.nan, np.inf])
def test_constants_of_an_invalid_concentration_are_nan(kappa):
    kappa = jnp.float32(kappa)
    assert np.isnan(privacy.vmf_log_normalizer(5, kappa))
    assert np.isnan(privacy.mean_resultant(5, kappa))
    assert np.isnan(privacy.log_norm_ratio(5, jnp.float32(1), kappa))


def test_another_large_dimension_does_not_compile_again():
    from mlmethods_jax.ops import _bessel

    kappa = jnp.ones(3, jnp.float32)
    privacy.mean_resultant(1000, kappa)
    privacy.vmf_cosine(jax.random.key(0), 1000, 1.0, 5)
    sizes = _bessel._constants._cache_size(), privacy._cosine._cache_size()
    privacy.mean_resultant(2000, kappa)
    privacy.vmf_log_normalizer(3000, kappa)
    privacy.vmf_cosine(jax.random.key(0), 2000, 2.0, 5)
    assert sizes == (_bessel._constants._cache_size(), privacy._cosine._cache_size())


# ------------------------------------------------------------------- cosines

DIMENSIONS = (2, 3, 4, 10, 1000, 61706, 10_000_000)


@pytest.mark.parametrize("kappa", [0.0, 1e-6, 1.0, 500.0, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("p", DIMENSIONS)
def test_cosine_has_the_exact_law(p, kappa):
    count = 20_000
    sample = draw(p, kappa, count)
    uniform = probability_transform(p, kappa, sample)
    assert stats.kstest(uniform, "uniform").pvalue > FALSE_ALARM
    versine, deviation = moments(p, kappa)
    standard_error = deviation / count**0.5
    assert abs(sample.versine.mean() - versine) < 4 * standard_error + EPS32 * versine
    assert sample.rounds <= 4
    # The parts belong together: relative in the small one of cosine and sine.
    np.testing.assert_allclose(sample.cosine**2 + sample.sine**2, 1, atol=1e-6)
    np.testing.assert_allclose(
        sample.sine**2, sample.versine * (2 - sample.versine), rtol=2e-6, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [0.0, 500.0, 1e4, 1e6])
@pytest.mark.parametrize("p", DIMENSIONS)
def test_cosine_has_the_exact_law_in_two_million_draws(p, kappa):
    count = 2_000_000
    sample = draw(p, kappa, count, seed=7)
    uniform = probability_transform(p, kappa, sample)
    assert stats.kstest(uniform, "uniform").pvalue > FALSE_ALARM
    _, deviation = moments(p, kappa)
    part = sample.versine if kappa > p else sample.cosine
    # The fourth moment of w is at most 15 times the square of its variance.
    assert abs(part.var() / deviation**2 - 1) < 4 * (14 / count) ** 0.5


@pytest.mark.parametrize("p", [1000, 61706, 10_000_000])
@pytest.mark.parametrize("kappa", [1.0, 500.0, 1e6])
def test_float32_draws_are_not_granular(p, kappa):
    sample = draw(p, kappa, 20_000)
    spacing = max(np.spacing(np.float32(abs(sample.cosine).max())), 1e-12)
    _, deviation = moments(p, kappa)
    attainable = 4 * deviation / spacing
    if attainable > 1e6:
        assert np.unique(sample.cosine).size > 19_700
    else:  # rounding of w itself: no coarser than its format
        assert np.unique(sample.cosine).size > 0.2 * min(attainable, 20_000)


@pytest.mark.parametrize("p", [2, 4, 10, 61706, 10_000_000])
@pytest.mark.parametrize("kappa", [0.0, 30.0, 1e6])
def test_acceptance_fraction(p, kappa):
    kappas = jnp.full(5000, kappa, jnp.float32)
    proposal = (
        privacy._circle(kappas)
        if p == 2
        else privacy._log_concave(jnp.float32(p - 3), kappas)
    )
    _, accepted = jax.jit(proposal.propose)(jax.random.key(3))
    # 0.658 is the limit of the wrapped Cauchy proposal, 0.886 of the tangent hat.
    assert float(jnp.mean(accepted)) > (0.65 if p == 2 else 0.84)


def test_cosine_is_the_cosine_of_the_polar_form():
    w = privacy.vmf_cosine(jax.random.key(0), 10, jnp.float32(5), 20_000)
    np.testing.assert_array_equal(w, draw(10, 5.0, 20_000).cosine)


def test_lanes_are_independent():
    uniform = probability_transform(10, 5.0, draw(10, 5.0, 20_000))
    cells = np.minimum((8 * uniform).astype(int), 7)
    for lag in (1, 2, 10_000):
        table = np.zeros((8, 8))
        np.add.at(table, (cells[:-lag], cells[lag:]), 1)
        assert stats.chi2_contingency(table).pvalue > FALSE_ALARM


def test_concentrations_differ_by_lane():
    kappa = jnp.asarray([[0.0], [30.0], [1e6], [-1.0]], jnp.float32)
    w = np.asarray(privacy.vmf_cosine(jax.random.key(1), 50, kappa, (4, 4000)))
    assert np.isnan(w[3]).all()
    for row, k in zip(w[:3], [0.0, 30.0, 1e6], strict=True):
        versine, deviation = moments(50, k)
        error = abs((1 - row.astype(np.float64)).mean() - versine)
        assert error < 4 * deviation / 4000**0.5 + EPS32


# ------------------------------------------------------------------- vectors


@pytest.mark.parametrize("p", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.0, 4.0, 300.0])
def test_vectors_have_the_moments_of_the_law(p, kappa):
    count = 20_000
    axis = np.arange(1.0, p + 1)
    axis /= np.linalg.norm(axis)
    mu = jnp.asarray(np.tile(3 * axis, (count, 1)), jnp.float32)
    result = privacy.vmf_sample_with_status(jax.random.key(5), mu, kappa)
    assert bool(result.ok.all())
    y = np.asarray(result.value, np.float64)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, atol=1e-6)
    versine, deviation = moments(p, kappa)
    mean = 1 - versine
    # Covariance: Var w along mu, (1 - E w^2) / (p - 1) across.
    second = deviation**2 + mean**2
    across = (1 - second) / (p - 1)
    expected = deviation**2 * np.outer(axis, axis) + across * (
        np.eye(p) - np.outer(axis, axis)
    )
    scale = max(across, deviation**2)
    np.testing.assert_allclose(
        y.mean(axis=0), mean * axis, atol=5 * (scale / count) ** 0.5
    )
    np.testing.assert_allclose(
        np.cov(y.T), expected, atol=6 * scale * (2 / count) ** 0.5
    )


@pytest.mark.parametrize("p", [3, 10])
def test_vectors_agree_with_scipy(p):
    count = 20_000
    mu = np.zeros(p)
    mu[-1] = 1
    ours = np.asarray(
        privacy.vmf_sample(
            jax.random.key(8), jnp.asarray(np.tile(mu, (count, 1)), jnp.float32), 6.0
        )
    )
    theirs = stats.vonmises_fisher(mu, 6.0).rvs(count, random_state=1)
    direction = np.linspace(1, 2, p)
    for projection in (direction, mu, np.eye(p)[0]):
        test = stats.ks_2samp(ours @ projection, theirs @ projection)
        assert test.pvalue > FALSE_ALARM


@pytest.mark.parametrize("p", [2, 3, 10])
def test_tangents_are_uniform_and_independent_of_the_cosine(p):
    count = 20_000
    mu = np.zeros((count, p), np.float32)
    mu[:, 0] = -1
    y = np.asarray(privacy.vmf_sample(jax.random.key(9), mu, 2.0), np.float64)
    tangent = y[:, 1:] / np.linalg.norm(y[:, 1:], axis=1, keepdims=True)
    if p == 2:
        positive = int((tangent[:, 0] > 0).sum())
        assert stats.binomtest(positive, count).pvalue > FALSE_ALARM
    else:
        # The square of a coordinate on S^(p-2) is Beta(1/2, (p-2)/2).
        law = stats.beta(0.5, (p - 2) / 2)
        assert stats.kstest(tangent[:, 0] ** 2, law.cdf).pvalue > FALSE_ALARM
        assert stats.kstest(tangent[:, -1] ** 2, law.cdf).pvalue > FALSE_ALARM
    assert stats.spearmanr(tangent[:, 0], y[:, 0]).pvalue > FALSE_ALARM


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("p", [2, 3, 4, 1000])
def test_axis_directions_are_not_singular(p, sign):
    mu = np.zeros((200, p), np.float32)
    mu[:, 0] = sign
    kappa = jnp.asarray(np.geomspace(1e-12, 1e8, 200), jnp.float32)
    result = privacy.vmf_sample_with_status(jax.random.key(2), mu, kappa)
    assert bool(result.ok.all())
    y = np.asarray(result.value, np.float64)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, atol=1e-6)
    assert np.all(sign * y[-20:, 0] > 0.99)


@pytest.mark.parametrize(
    ("p", "kappa"),
    [
        (1_000_000, 1e3),
        pytest.param(10_000_000, 0.0, marks=pytest.mark.slow),
        pytest.param(10_000_000, 1e6, marks=pytest.mark.slow),
        pytest.param(10_000_000, 1e8, marks=pytest.mark.slow),
    ],
)
def test_float32_norms_at_model_size(p, kappa, rng):
    mu = rng.standard_normal(p, dtype=np.float32)
    y = np.asarray(privacy.vmf_sample(jax.random.key(4), mu, kappa), np.float64)
    assert abs(np.linalg.norm(y) - 1) < 1e-6
    mu = mu.astype(np.float64)
    versine, deviation = moments(p, kappa)
    assert abs(y @ mu / np.linalg.norm(mu) - 1 + versine) < 5 * deviation + 1e-6


def test_memory_is_a_few_arrays_of_the_input():
    mu = jax.ShapeDtypeStruct((64, 61706), jnp.float32)
    kappa = jax.ShapeDtypeStruct((), jnp.float32)
    compiled = privacy._sample.lower(jax.random.key(0), mu, kappa).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * 4 * 64 * 61706


@pytest.mark.parametrize("scale", [1e-37, 1e-3, 1e38])
def test_only_the_direction_of_mu_counts(scale):
    mu = np.array([[1.0, -2.0, 2.0]], np.float32)
    key = jax.random.key(3)
    expected = privacy.vmf_sample(key, mu, 5.0)
    actual = privacy.vmf_sample(key, mu * np.float32(scale), 5.0)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_key_discipline():
    mu = jnp.ones((3, 8), jnp.float32)
    first = privacy.vmf_sample(jax.random.key(0), mu, 2.0)
    again = privacy.vmf_sample(jax.random.key(0), mu, 2.0)
    other = privacy.vmf_sample(jax.random.key(1), mu, 2.0)
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)
    assert not np.any(first[0] == first[1])
    raw = privacy.vmf_sample(jax.random.key_data(jax.random.key(0)), mu, 2.0)
    np.testing.assert_array_equal(first, raw)


@pytest.mark.parametrize("p", [2, 3, 6])
def test_jit_and_vmap_equal_the_loop(p, rng):
    mu = jnp.asarray(rng.standard_normal((4, p)), jnp.float32)
    kappa = jnp.asarray([0.0, 1e-12, 3.0, 1e8], jnp.float32)
    keys = jax.random.split(jax.random.key(0), 4)
    loop = jnp.stack(
        [privacy.vmf_sample(k, m, c) for k, m, c in zip(keys, mu, kappa, strict=True)]
    )
    mapped = jax.jit(jax.vmap(privacy.vmf_sample))(keys, mu, kappa)
    assert bool(jnp.isfinite(loop).all())
    np.testing.assert_allclose(mapped, loop, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_dtype_of_the_draw_is_that_of_mu(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        mu = jnp.ones((5, 12), dtype)
    y = privacy.vmf_sample(jax.random.key(0), mu, 3.0)
    assert y.dtype == dtype
    norms = np.linalg.norm(np.asarray(y, np.float64), axis=1)
    tolerance = {jnp.bfloat16: 1e-2, jnp.float32: 1e-6, jnp.float64: 1e-14}[dtype]
    np.testing.assert_allclose(norms, 1, atol=tolerance)
    w = privacy.vmf_cosine(jax.random.key(0), 12, mu[:, 0], 5)
    assert w.dtype == dtype


def test_invalid_lanes_are_nan_and_say_so():
    mu = np.ones((7, 5), np.float32)
    mu[4] = 0
    mu[5, 2] = np.nan
    mu[6, 2] = np.inf
    kappa = np.array([1, -1, np.nan, np.inf, 1, 1, 1], np.float32)
    result = privacy.vmf_sample_with_status(jax.random.key(0), mu, kappa)
    expected = [SampleStatus.OK] + 6 * [SampleStatus.INVALID_PARAMETERS]
    assert np.asarray(result.status).tolist() == expected
    assert np.isfinite(result.value[0]).all()
    assert np.isnan(result.value[1:]).all()


def test_a_draw_that_is_never_accepted_is_not_returned(monkeypatch):
    real = privacy._log_concave

    def half_refusing(excess, kappa):
        proposal = real(excess, kappa)

        def propose(key):
            value, accepted = proposal.propose(key)
            return value, accepted & (jnp.arange(kappa.shape[0]) % 2 == 0)[None]

        return proposal._replace(propose=propose)

    monkeypatch.setattr(privacy, "_log_concave", half_refusing)
    privacy._sample.clear_cache()
    try:
        mu = np.ones((6, 9), np.float32)
        result = privacy.vmf_sample_with_status(jax.random.key(0), mu, 1.0)
    finally:
        privacy._sample.clear_cache()
    assert int(result.rounds) == 100
    expected = [SampleStatus.OK, SampleStatus.MAX_ROUNDS] * 3
    assert np.asarray(result.status).tolist() == expected
    assert np.isnan(result.value[1::2]).all()
    assert np.isfinite(result.value[::2]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: privacy.vmf_sample(k, jnp.ones(()), 1.0), r"mu must have shape"),
        (lambda k: privacy.vmf_sample(k, jnp.ones((3, 1)), 1.0), r"p >= 2, got"),
        (
            lambda k: privacy.vmf_sample(k, jnp.ones((3, 4)), jnp.ones(2)),
            r"kappa must broadcast to shape \(3,\), got shape \(2,\)",
        ),
        (
            lambda k: privacy.vmf_sample(k, jnp.ones(4), jnp.ones(3)),
            r"kappa must broadcast to shape \(\), got shape \(3,\)",
        ),
        (lambda k: privacy.vmf_cosine(k, 1, 1.0, 3), "p must be an integer >= 2"),
        (lambda k: privacy.vmf_cosine(k, 3, jnp.ones(2), 3), "kappa must broadcast"),
        (lambda k: privacy.vmf_log_normalizer(2.5, 1.0), "p must be an integer"),
        (lambda k: privacy.mean_resultant(True, 1.0), "got True"),
        (lambda k: privacy.log_norm_ratio(0, 1.0, 1.0), "got 0"),
        (lambda k: privacy.clip_by_norm(1.0, 1.0), "got a scalar"),
        (lambda k: privacy.clip_by_norm(jnp.ones((2, 3)), -1.0), "must be >= 0"),
        (
            lambda k: privacy.clip_by_norm(jnp.ones((2, 3)), jnp.ones(3)),
            "max_norm must broadcast",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call(jax.random.key(0))


# ------------------------------------------------------------------ clipping


@pytest.mark.parametrize("p", [1, 7, 5000])
def test_clipping_equals_its_definition(p, rng):
    g = rng.standard_normal((6, p)) * np.geomspace(1e-3, 1e3, 6)[:, None]
    g[2] = 0
    clipped, norms = privacy.clip_by_norm(jnp.asarray(g, jnp.float32), 1.5)
    expected = np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(norms, expected, rtol=1e-6)
    factor = np.minimum(1, 1.5 / np.maximum(expected, 1e-300))
    np.testing.assert_allclose(clipped, g * factor[:, None], rtol=2e-6)
    inside = expected <= 1.5
    np.testing.assert_array_equal(clipped[inside], g[inside].astype(np.float32))


def test_clipping_neither_over_nor_underflows():
    scales = np.array([1e-44, 2e-38, 1e-30, 1e30, 2e38], np.float32)
    g = scales[:, None] * np.array([[1.0, -1.0, 1.0, -1.0]], np.float32)
    limit = jnp.asarray([1.0, 1.0, 1e-30, 1.0, 1.0], jnp.float32)
    clipped, norms = privacy.clip_by_norm(jnp.asarray(g), limit)
    np.testing.assert_array_equal(clipped[:2], g[:2])
    signs = np.array([0.5, -0.5, 0.5, -0.5])
    np.testing.assert_allclose(clipped[2], 1e-30 * signs, rtol=1e-6)
    np.testing.assert_allclose(clipped[3:], [signs, signs], rtol=1e-6)
    np.testing.assert_allclose(norms[1:4], 2 * scales[1:4], rtol=1e-6)
    # A norm beyond the format is inf, and the row is clipped all the same.
    assert np.isinf(norms[4])


def test_clipping_hides_nothing_that_is_not_finite():
    g = np.array([[1, np.nan], [1, np.inf], [3, 4]], np.float32)
    clipped, norms = privacy.clip_by_norm(g, 1.0)
    assert np.isnan(clipped[:2]).all()
    assert not np.isfinite(norms[:2]).any()
    np.testing.assert_allclose(clipped[2], [0.6, 0.8], rtol=1e-6)
    traced = jax.jit(privacy.clip_by_norm)(g, jnp.float32(-1))[0]
    assert np.isnan(traced).all()


def test_gradient_of_clipping(rng):
    g = jnp.asarray(rng.standard_normal((3, 4)) * [[0.1], [1.0], [10.0]], jnp.float32)
    weights = jnp.asarray(rng.standard_normal((3, 4)), jnp.float32)

    def loss(x):
        clipped, norms = privacy.clip_by_norm(x, 1.0)
        return jnp.sum(clipped * weights) + jnp.sum(norms)

    with jax.enable_x64(True):
        check_grads(loss64(weights), (g.astype(jnp.float64),), 1)
    zero = jax.grad(loss)(jnp.zeros((3, 4), jnp.float32))
    np.testing.assert_array_equal(zero, weights)


def loss64(weights):
    def loss(x):
        clipped, norms = privacy.clip_by_norm(x, 1.0)
        return jnp.sum(clipped * weights.astype(jnp.float64)) + jnp.sum(norms)

    return loss


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_clipping_keeps_the_dtype(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        g = jnp.full((2, 100), 3.0, dtype)
    clipped, norms = privacy.clip_by_norm(g, 1.0)
    assert clipped.dtype == norms.dtype == dtype
    np.testing.assert_allclose(np.asarray(norms, np.float64), 30, rtol=1e-2)


def test_long_rows_are_summed_without_losing_digits():
    g = np.ones((1, 3_000_001), np.float32)
    _, norms = privacy.clip_by_norm(g, 1.0)
    np.testing.assert_allclose(norms, 3_000_001**0.5, rtol=1e-7)
