"""check_backend finds what is wrong with a backend, and says which operation it is."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import types
from types import SimpleNamespace

import numpy as np
import pytest

import mlmethods
from mlmethods.errors import ConformanceError, InvalidInputError
from mlmethods.interfaces import OPS, SolveStatus
from mlmethods.testing import LoopbackBackend, check_backend

NUMPY = mlmethods.get_backend("numpy")


class Altered:
    """The NumPy backend with some operations and attributes replaced."""

    def __init__(self, operations=None, **attributes):
        self.info = dataclasses.replace(NUMPY.info, name="altered")
        self._operations = operations or {}
        for name, value in attributes.items():
            setattr(self, name, value)

    def __getattr__(self, name):
        original = getattr(NUMPY, name)
        if not isinstance(original, types.ModuleType):
            return original
        replaced = {
            op.split(".")[1]: function
            for op, function in self._operations.items()
            if op.startswith(f"{name}.")
        }
        return SimpleNamespace(**{**vars(original), **replaced})


K, L, P, N = (
    importlib.import_module(f"mlmethods_numpy.ops.{family}")
    for family in ("kernels", "linalg", "privacy", "nn")
)


def keeping_signature(original):
    """Let a mutant written with ** pass for one with the original's signature."""

    def decorate(mutant):
        mutant.__signature__ = inspect.signature(original)
        return mutant

    return decorate


@keeping_signature(K.pairwise)
def pairwise_ignores_metric(kernel, X, Z=None, M=None):
    return K.pairwise(kernel, X, Z)


@keeping_signature(K.pairwise)
def pairwise_expands_the_square(kernel, X, Z=None, M=None):
    """The textbook expansion in float32, which cancels far from the origin."""
    if kernel.name != "laplace" or M is not None:
        return K.pairwise(kernel, X, Z, M)
    x, z = X.astype(np.float32), (X if Z is None else Z).astype(np.float32)
    squared = (x**2).sum(1)[:, None] + (z**2).sum(1) - 2 * x @ z.T
    r = np.sqrt(np.maximum(squared, 0)).astype(np.float64)
    return np.exp(-r / kernel.bandwidth)


@keeping_signature(K.pairwise)
def pairwise_narrows(kernel, X, Z=None, M=None):
    return K.pairwise(kernel, X, Z, M).astype(np.float32)


@keeping_signature(K.matvec)
def matvec_drops_the_last_block(kernel, X, Z, alpha, M=None, *, block_size=None):
    out = K.matvec(kernel, X, Z, alpha, M)
    if block_size and len(X) % block_size:
        out[-(len(X) % block_size) :] = 0
    return out


@keeping_signature(K.grad)
def grad_has_the_other_sign(*args, **kwargs):
    return -K.grad(*args, **kwargs)


@keeping_signature(K.grad)
def grad_ignores_self_index(
    kernel, X, Z, alpha, M=None, *, self_index=None, block_size=None
):
    return K.grad(kernel, X, Z, alpha, M)


@keeping_signature(K.grad)
def grad_is_nan_at_coincidence(kernel, X, Z, alpha, M=None, **options):
    g = K.grad(kernel, X, Z, alpha, M, **options)
    if Z is not None:
        g[(X[:, None] == Z[None]).all(-1).any(1)] = np.nan
    return g


@keeping_signature(K.grad)
def grad_works_in_place(kernel, X, Z, alpha, M=None, **options):
    g = K.grad(kernel, X, Z, alpha, M, **options)
    X -= X.mean(axis=0)
    return g


@keeping_signature(K.agop)
def agop_forgets_to_divide(kernel, X, *args, **kwargs):
    return K.agop(kernel, X, *args, **kwargs) * len(X)


@keeping_signature(K.agop)
def agop_ignores_weights(*args, weights=None, **kwargs):
    return K.agop(*args, **kwargs)


@keeping_signature(K.agop)
def agop_centers_each_output_when_pooled(*args, center="none", **kwargs):
    center = "per_output" if center == "pooled" else center
    return K.agop(*args, center=center, **kwargs)


@keeping_signature(K.agop)
def agop_counts_self_pairs(*args, self_index=None, **kwargs):
    return K.agop(*args, **kwargs) + (0.01 if self_index is not None else 0.0)


@keeping_signature(L.ridge_solve)
def ridge_multiplies_by_n(K_, Y, reg, **options):
    return L.ridge_solve(K_, Y, len(Y) * np.asarray(reg), **options)


@keeping_signature(L.ridge_solve)
def ridge_divides_by_weights(K_, Y, reg, *, weights=None, **options):
    if weights is None:
        return L.ridge_solve(K_, Y, reg, **options)
    inverse = np.diag(reg / np.maximum(weights, 1e-300))
    return L.ridge_solve(K_ + inverse, Y, 0.0, **options)


@keeping_signature(L.ridge_solve)
def ridge_raises(K_, Y, reg, **options):
    result = L.ridge_solve(K_, Y, reg, **options)
    if not np.all(result.ok):
        raise np.linalg.LinAlgError("singular")
    return result


@keeping_signature(L.ridge_solve)
def ridge_is_silent_about_jitter(*args, **kwargs):
    result = L.ridge_solve(*args, **kwargs)
    hidden = np.where(result.status == SolveStatus.JITTERED, 0, result.status)
    return result._replace(status=hidden, jitter=0 * result.jitter)


@keeping_signature(L.ridge_solve)
def ridge_returns_numbers_after_failure(*args, **kwargs):
    result = L.ridge_solve(*args, **kwargs)
    return result._replace(alpha=np.nan_to_num(result.alpha))


@keeping_signature(L.ridge_cg)
def cg_is_always_content(*args, **kwargs):
    result = L.ridge_cg(*args, **kwargs)
    return result._replace(status=0 * result.status)


@keeping_signature(L.ridge_cg)
def cg_ignores_metric(kernel, X, Y, reg, M=None, **options):
    return L.ridge_cg(kernel, X, Y, reg, **options)


@keeping_signature(L.eigh)
def eigh_ascends(K_, *, dtype="float64"):
    values, vectors = L.eigh(K_, dtype=dtype)
    return values[::-1], vectors[:, ::-1]


@keeping_signature(L.eigh)
def eigh_leaves_the_sign_open(K_, *, dtype="float64"):
    values, vectors = L.eigh(K_, dtype=dtype)
    return values, -vectors


@keeping_signature(P.vmf_sample)
def vmf_is_a_normalized_gaussian(key, mu, kappa):
    kappa = np.maximum(np.asarray(kappa), 1e-9)[..., None]
    y = mu + key.normal(size=mu.shape) / np.sqrt(kappa)
    return y / np.linalg.norm(y, axis=-1, keepdims=True)


@keeping_signature(P.vmf_sample)
def vmf_ignores_its_key(key, mu, kappa):
    return P.vmf_sample(np.random.default_rng(0), mu, kappa)


@keeping_signature(P.vmf_sample)
def vmf_uses_the_global_generator(key, mu, kappa):
    key = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
    return P.vmf_sample(key, mu, kappa)


@keeping_signature(P.vmf_sample_with_status)
def vmf_accepts_any_kappa(key, mu, kappa):
    return P.vmf_sample_with_status(key, mu, np.clip(np.nan_to_num(kappa), 0, 1e6))


@keeping_signature(P.vmf_cosine)
def cosine_is_normal(key, p, kappa, shape=()):
    kappa = np.broadcast_to(kappa, shape)
    mean = P.mean_resultant(p, kappa)
    spread = 1 - mean**2 - (p - 1) * mean / np.maximum(kappa, 1e-9)
    return mean + np.sqrt(np.maximum(spread, 0)) * key.standard_normal(shape)


@keeping_signature(P.vmf_cosine)
def cosine_ignores_its_key(key, p, kappa, shape=()):
    return P.vmf_cosine(np.random.default_rng(7), p, kappa, shape)


@keeping_signature(P.mean_resultant)
def resultant_is_the_one_of_small_kappa(p, kappa):
    return np.asarray(kappa) / p


@keeping_signature(P.log_norm_ratio)
def log_ratio_has_the_other_sign(p, kappa1, kappa2):
    return P.log_norm_ratio(p, kappa2, kappa1)


@keeping_signature(P.vmf_log_normalizer)
def log_normalizer_misses_a_constant(p, kappa):
    return P.vmf_log_normalizer(p, kappa) + np.log(2)


@keeping_signature(P.clip_by_norm)
def clip_divides_by_zero(g, max_norm):
    norms = np.linalg.norm(g, axis=1)
    with np.errstate(all="ignore"):
        return g * np.minimum(1.0, max_norm * norms / norms**2)[:, None], norms


@keeping_signature(P.clip_by_norm)
def clip_scales_up(g, max_norm):
    clipped, norms = P.clip_by_norm(g, max_norm)
    return clipped * (max_norm / np.maximum(np.minimum(norms, max_norm), 1e-9))[
        :, None
    ], norms


@keeping_signature(N.attention)
def attention_is_causal_from_the_top_left(q, k, v, *, causal=False, **options):
    if causal and options.get("mask") is None:
        options["mask"] = np.tri(q.shape[1], k.shape[1], dtype=bool)[None, None]
        causal = False
    return N.attention(q, k, v, causal=causal, **options)


@keeping_signature(N.attention)
def attention_spreads_over_masked_rows(q, k, v, *, key_mask=None, **options):
    if key_mask is not None:
        key_mask = key_mask | ~key_mask.any(axis=1, keepdims=True)
    return N.attention(q, k, v, key_mask=key_mask, **options)


@keeping_signature(N.attention)
def attention_ignores_the_scale(q, k, v, *, scale=None, **options):
    return N.attention(q, k, v, **options)


@keeping_signature(N.discounted_cumsum)
def cumsum_goes_on_after_done(x, discount, done=None, *, bootstrap=None):
    return N.discounted_cumsum(x, discount, None, bootstrap=bootstrap)


@keeping_signature(N.discounted_cumsum)
def cumsum_forgets_the_bootstrap(x, discount, done=None, *, bootstrap=None):
    return N.discounted_cumsum(x, discount, done)


MUTANTS = [
    ("kernels.pairwise", pairwise_ignores_metric, "with M="),
    ("kernels.pairwise", pairwise_expands_the_square, "1e3 in 50 dimensions"),
    ("kernels.pairwise", pairwise_narrows, "gave a result of dtype float32"),
    ("kernels.matvec", matvec_drops_the_last_block, "with block_size=4"),
    ("kernels.grad", grad_has_the_other_sign, "the gradient is"),
    ("kernels.grad", grad_ignores_self_index, "follows self index"),
    ("kernels.grad", grad_is_nan_at_coincidence, "is not finite"),
    ("kernels.grad", grad_works_in_place, "an argument was modified in place"),
    ("kernels.agop", agop_forgets_to_divide, "mean outer product"),
    ("kernels.agop", agop_ignores_weights, "with rows of weight zero"),
    ("kernels.agop", agop_centers_each_output_when_pooled, "center='pooled'"),
    ("kernels.agop", agop_counts_self_pairs, "of a subsample"),
    ("linalg.ridge_solve", ridge_multiplies_by_n, "alpha is"),
    ("linalg.ridge_solve", ridge_divides_by_weights, "of weight zero"),
    ("linalg.ridge_solve", ridge_raises, "LinAlgError: singular"),
    ("linalg.ridge_solve", ridge_is_silent_about_jitter, "expected JITTERED"),
    ("linalg.ridge_solve", ridge_returns_numbers_after_failure, "must be NaN"),
    ("linalg.ridge_cg", cg_is_always_content, "expected MAX_ITERATIONS"),
    ("linalg.ridge_cg", cg_ignores_metric, "with a diagonal M"),
    ("linalg.eigh", eigh_ascends, "the eigenvalues is"),
    ("linalg.eigh", eigh_leaves_the_sign_open, "the eigenvectors is"),
    ("privacy.vmf_sample", vmf_is_a_normalized_gaussian, "exact distribution function"),
    ("privacy.vmf_sample", vmf_ignores_its_key, "two keys gave equal draws"),
    ("privacy.vmf_sample", vmf_uses_the_global_generator, "two different draws"),
    ("privacy.vmf_cosine", cosine_is_normal, "exact distribution function"),
    ("privacy.vmf_cosine", cosine_ignores_its_key, "two keys gave equal cosines"),
    ("privacy.mean_resultant", resultant_is_the_one_of_small_kappa, "with p=2"),
    ("privacy.log_norm_ratio", log_ratio_has_the_other_sign, "the log ratio"),
    ("privacy.vmf_log_normalizer", log_normalizer_misses_a_constant, "with p=3"),
    ("privacy.clip_by_norm", clip_divides_by_zero, "clips rows"),
    ("privacy.clip_by_norm", clip_scales_up, "the clipped rows"),
    ("nn.attention", attention_is_causal_from_the_top_left, "bottom right"),
    ("nn.attention", attention_spreads_over_masked_rows, "are not zeros"),
    ("nn.attention", attention_ignores_the_scale, "with scale=0.25"),
    ("nn.discounted_cumsum", cumsum_goes_on_after_done, "with done the result"),
    ("nn.discounted_cumsum", cumsum_forgets_the_bootstrap, "with bootstrap the result"),
]


@pytest.mark.parametrize(
    ("op", "mutant", "fragment"), [pytest.param(*m, id=m[1].__name__) for m in MUTANTS]
)
def test_a_wrong_operation_is_found_and_named(op, mutant, fragment):
    with pytest.raises(ConformanceError) as caught:
        check_backend(Altered({op: mutant}), ops=[op])
    message = str(caught.value)
    assert message.startswith(f"backend 'altered' fails {op}\n")
    assert fragment in message


def test_unaccepted_parameters_must_be_reported():
    broken = Altered({"privacy.vmf_sample_with_status": vmf_accepts_any_kappa})
    with pytest.raises(ConformanceError, match="gave the statuses"):
        check_backend(broken, ops=["privacy.vmf_sample"])


def test_only_the_wrong_operation_is_named():
    broken = Altered({"linalg.eigh": eigh_ascends})
    others = [op for op in OPS if op.startswith(("kernels.", "linalg."))]
    with pytest.raises(ConformanceError, match=r"'altered' fails linalg\.eigh\n"):
        check_backend(broken, ops=others)


def catching_all(K, **options):
    return L.eigh(K, **options)


def without_dtype(K):
    return L.eigh(K)


def with_another_default(K, *, dtype="float32"):
    return L.eigh(K, dtype=dtype)


def with_another_name(A, *, dtype="float64"):
    return L.eigh(A, dtype=dtype)


def wanting_more(K, *, device, dtype="float64"):
    return L.eigh(K, dtype=dtype)


def by_keyword(*, K, dtype="float64"):
    return L.eigh(K, dtype=dtype)


def by_position(K, dtype="float64", /):
    return L.eigh(K, dtype=dtype)


SIGNATURES = [
    (catching_all, "linalg.eigh takes **options; name each argument"),
    (without_dtype, "linalg.eigh lacks the argument 'dtype'"),
    (
        with_another_default,
        "the default of 'dtype' in linalg.eigh is 'float32', the contract has 'float64'",
    ),
    (with_another_name, "linalg.eigh lacks the argument 'K'"),
    (wanting_more, "linalg.eigh requires 'device', unknown to the contract"),
    (by_keyword, "'K' must be positional argument 1 of linalg.eigh"),
    (by_position, "'dtype' of linalg.eigh must be accepted as a keyword"),
]


@pytest.mark.parametrize(
    ("function", "fragment"), [pytest.param(*c, id=c[0].__name__) for c in SIGNATURES]
)
def test_signatures_are_compared_with_the_contract(function, fragment):
    with pytest.raises(ConformanceError) as caught:
        check_backend(Altered({"linalg.eigh": function}), ops=["linalg.eigh"])
    assert f"signature: {fragment}" in str(caught.value)


def test_a_further_keyword_with_a_default_is_allowed():
    def eigh(K, *, dtype="float64", workers=1):
        return L.eigh(K, dtype=dtype)

    assert check_backend(Altered({"linalg.eigh": eigh}), ops=["linalg.eigh"]).ok


def info(**changes):
    return dataclasses.replace(NUMPY.info, name="altered", **changes)


def without(*names):
    return info(ops=frozenset(OPS) - set(names))


EDGES = {
    "an unknown operation is declared": (
        "backend.info",
        {"info": info(ops=frozenset({*OPS, "kernels.magic"}))},
        "kernels.magic",
    ),
    "the default dtype is not a dtype": (
        "backend.info",
        {"info": info(default_dtype="float32")},
        "default_dtype",
    ),
    "an undeclared operation is accepted": (
        "backend.refusals",
        {"info": without("nn.attention"), "can_run": lambda name, /, **facts: True},
        "can_run('nn.attention') is True, expected a reason",
    ),
    "an undeclared operation is refused without a reason": (
        "backend.refusals",
        {
            "info": without("nn.attention"),
            "can_run": lambda name, /, **facts: name != "nn.attention",
        },
        "can_run('nn.attention') is False, expected a reason",
    ),
    "a declared operation is refused": (
        "backend.refusals",
        {"can_run": lambda name, /, **facts: "not today"},
        "is 'not today', though declared",
    ),
    "a family without operations is there": (
        "backend.refusals",
        {
            "info": without("nn.attention", "nn.discounted_cumsum"),
            "can_run": lambda name, /, **facts: (
                "no networks"
                if name.startswith("nn.")
                else NUMPY.can_run(name, **facts)
            ),
        },
        "backend.nn must raise OperationNotSupportedError",
    ),
    "arrays are widened": (
        "backend.arrays",
        {"asarray": lambda x, dtype=None, device=None: np.asarray(x, np.float64)},
        "came back as float64",
    ),
    "the tree is flattened": (
        "backend.arrays",
        {"to_numpy": lambda x: list(x.values()) if isinstance(x, dict) else x},
        "backend.arrays: carries arrays there and back",
    ),
    "keys differ from call to call": (
        "backend.keys",
        {"key": lambda seed: np.random.default_rng()},
        "two keys of an int draw differently",
    ),
    "a key is split into itself": (
        "backend.keys",
        {"split": lambda key, n: [key] * n},
        "split keys repeat each other or their parent",
    ),
}


@pytest.mark.parametrize("case", EDGES)
def test_what_surrounds_the_operations_is_checked(case):
    name, attributes, fragment = EDGES[case]
    with pytest.raises(ConformanceError) as caught:
        check_backend(Altered(**attributes), ops=[name])
    assert fragment in str(caught.value)


class WithEngine(Altered):
    def __init__(self, engine):
        super().__init__(info=info(engines=frozenset({"rfm"})))
        self.engine = engine
        self.can_run = lambda name, /, **facts: True


def test_a_declared_engine_must_load():
    def missing(method):
        raise ImportError("no module named engine")

    with pytest.raises(ConformanceError, match=r"engine:rfm.*no module named engine"):
        check_backend(WithEngine(missing), ops=["engine:rfm"])
    with pytest.raises(ConformanceError, match="no_such_method"):
        check_backend(WithEngine(lambda method: object()), ops=["engine:rfm"])


def test_an_expected_failure_is_reported_with_its_reason():
    broken = Altered({"linalg.eigh": eigh_ascends})
    names = ["linalg.eigh", "linalg.ridge_solve"]
    report = check_backend(
        broken, ops=names, expected_failures={"linalg.eigh": "order unsettled"}
    )
    assert report.ok
    assert report.passed == ("linalg.ridge_solve",)
    assert report.expected == {"linalg.eigh": "order unsettled"}
    assert "expected  linalg.eigh: order unsettled" in str(report)
    # The backend may carry the list itself.
    broken.expected_failures = {"linalg.eigh": "order unsettled"}
    assert check_backend(broken, ops=names).expected == report.expected


def test_an_expected_failure_that_passes_is_a_failure():
    with pytest.raises(ConformanceError, match="passes, though it is expected to fail"):
        check_backend(
            "numpy", ops=["linalg.eigh"], expected_failures={"linalg.eigh": "old"}
        )


@pytest.mark.parametrize("argument", ["ops", "expected_failures"])
def test_a_name_that_is_not_checked_is_refused(argument):
    with pytest.raises(InvalidInputError, match=rf"{argument} must name.*linalg.qr"):
        check_backend("numpy", **{argument: {"linalg.qr": "reason"}})


@pytest.mark.parametrize("dtypes", [["float16"], []])
def test_a_dtype_that_is_not_declared_is_refused(dtypes):
    with pytest.raises(InvalidInputError, match="dtypes must be among"):
        check_backend("numpy", ops=["linalg.eigh"], dtypes=dtypes)


def test_dtypes_restrict_the_trials():
    loopback = LoopbackBackend(mlmethods.get_backend("jax"))
    check_backend(loopback, ops=["kernels.matvec"], dtypes=["float32"])
    made = [
        call.keywords.get("dtype") for call in loopback.calls if call.name == "asarray"
    ]
    assert "float32" in made
    assert "float64" not in made


def test_a_backend_that_knows_fewer_kernels_says_so():
    def can_run(name, /, **facts):
        kernel = facts.get("kernel")
        if kernel is not None and kernel.name != "laplace":
            return "laplace only"
        return NUMPY.can_run(name, **facts)

    report = check_backend(Altered(can_run=can_run), ops=["kernels.matvec"])
    assert report.passed == ("kernels.matvec",)
    assert report.declined["kernels.matvec with gaussian"] == "laplace only"
    assert "kernels.matvec with laplace" not in report.declined


def test_the_loopback_backend_records_and_passes_on():
    loopback = LoopbackBackend()
    report = check_backend(loopback, ops=["kernels.agop", "linalg.eigh"])
    assert report.backend == "loopback"
    assert {"kernels.agop", "linalg.eigh", "asarray"} <= set(loopback.names())
    loopback.calls.clear()
    values, _ = loopback.linalg.eigh(np.diag([1.0, 2.0]), dtype="float64")
    np.testing.assert_array_equal(values, [2.0, 1.0])
    (call,) = loopback.calls
    assert call.name == "linalg.eigh"
    assert call.keywords == {"dtype": "float64"}


def test_the_loopback_backend_is_found_by_no_name():
    assert "loopback" not in [found.name for found in mlmethods.list_backends()]
    loopback = LoopbackBackend()
    with mlmethods.use_backend(loopback):
        assert mlmethods.get_backend() is loopback
