"""Steps of private training, and the aggregation of gradients within them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

# Below the norm of every gradient: then clipping is scaling, and without noise the
# Gaussian and the directional mechanism release the same sum.
_NORM = 1e-4
_NOISE, _KAPPA = 1.0, 500.0
_SHARP = 1e10
# An update without noise is made long, so that parameters do not round it.
_QUIET_RATE, _RATE = 1 / _NORM, 1e-3
_MICROBATCH = 16


class Gradients(NamedTuple):
    """Synthetic per-example gradients [b, p] with a common part."""

    rows: np.ndarray


class Images(NamedTuple):
    """Synthetic images [b, 28, 28, 1] and labels [b]."""

    x: np.ndarray
    y: np.ndarray


def _gradients(size: Size, rng: np.random.Generator) -> Gradients:
    common = rng.standard_normal(size["p"])
    rows = rng.standard_normal((size["b"], size["p"])) + common
    return Gradients(rows.astype(np.float32))


def _images(size: Size, rng: np.random.Generator) -> Images:
    x = rng.uniform(size=(size["b"], 28, 28, 1)).astype(np.float32)
    return Images(x, rng.integers(0, 10, size["b"]))


# The draws differ; what is compared is the update without noise, computed beside.
def _check(result: Any) -> np.ndarray:
    return np.asarray(result[1], np.float64) / _NORM


# Aggregation ------------------------------------------------------------------


def _transform(make: Callable[[bool], Any]) -> Callable[[Gradients], Callable[[], Any]]:
    """Return the set-up of a transformation; ``make(quiet)`` builds it."""

    def setup(data: Gradients) -> Callable[[], Any]:
        import jax

        rows = jax.device_put(data.rows)
        params = rows[0]
        loud, quiet = make(False), make(True)
        state = loud.init(params)
        reference = np.asarray(quiet.update(rows, quiet.init(params), params)[0])
        update = jax.jit(loud.update)

        def call() -> Any:
            return jax.block_until_ready(update(rows, state, params))[0], reference

        return call

    return setup


def _dp_vmf(quiet: bool, aggregation: Any = "auto") -> Any:
    import jax

    from mlmethods_jax.privacy import dp_vmf

    kappa = _SHARP if quiet else _KAPPA
    return dp_vmf(kappa, _NORM, key=jax.random.key(0), aggregation=aggregation)


def _naive(quiet: bool) -> Any:
    return _dp_vmf(quiet, "naive")


def _dp_gaussian(quiet: bool) -> Any:
    import jax

    from mlmethods_jax.privacy import dp_gaussian

    return dp_gaussian(0.0 if quiet else _NOISE, _NORM, key=jax.random.key(0))


def _optax(quiet: bool) -> Any:
    import jax
    from optax.contrib import differentially_private_aggregate

    noise = 0.0 if quiet else _NOISE
    return differentially_private_aggregate(_NORM, noise, key=jax.random.key(0))


# Whole steps ------------------------------------------------------------------


def _lenet() -> tuple[Any, Any]:
    """Return the definition and the parameters of the network."""
    from flax import nnx

    from mlmethods_jax.layers.conv import LeNet

    return nnx.split(LeNet(rngs=nnx.Rngs(0)))


def _layer_norms(update: Any) -> np.ndarray:
    """Return the norm of each array of an update: the same for any memory layout."""
    import jax

    from mlmethods_jax.privacy.groups import leaf_paths

    leaves = dict(zip(leaf_paths(update), jax.tree.leaves(update), strict=True))
    return np.array([np.linalg.norm(leaves[name]) for name in sorted(leaves)])


def _jax_step(
    build: Callable[[Any, bool], tuple[Any, Any]],
) -> Callable[[Images], Callable[[], Any]]:
    """Return the set-up of a step; ``build(network, quiet)`` gives it and its state."""

    def setup(data: Images) -> Callable[[], Any]:
        import jax

        definition, params = _lenet()
        batch = (jax.device_put(data.x), jax.device_put(data.y.astype(np.int32)))
        quiet, state = build(definition, True)
        moved = jax.jit(quiet)(state, batch)
        update = jax.tree.map(lambda a, b: np.asarray(a - b), params, moved)
        reference = _layer_norms(update) / _QUIET_RATE
        loud, state = build(definition, False)
        step = jax.jit(loud)
        return lambda: (jax.block_until_ready(step(state, batch)), reference)

    return setup


def _losses(definition: Any, params: Any, x: Any, y: Any) -> Any:
    import optax
    from flax import nnx

    outputs = nnx.merge(definition, params)(x)
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y)


def _ours(kind: Any, aggregation: str = "auto") -> Any:
    def build(definition: Any, quiet: bool) -> tuple[Any, Any]:
        import jax
        import optax

        from mlmethods.privacy.contract import MechanismConfig
        from mlmethods_jax.privacy import gradient_mechanism
        from mlmethods_jax.training import TrainState, make_train_step

        scale = {"vmf": (_KAPPA, _SHARP), "gaussian": (_NOISE, 0.0)}[kind][quiet]
        config = MechanismConfig(kind=kind, scale=scale, norm=_NORM)
        mechanism = gradient_mechanism(config, aggregation=aggregation)
        optimizer = optax.sgd(_QUIET_RATE if quiet else _RATE)
        step = make_train_step(
            lambda params, batch, key: _losses(definition, params, *batch),
            optimizer,
            mechanism=mechanism,
            microbatch=_MICROBATCH,
        )
        start = TrainState.create(_lenet()[1], optimizer, mechanism=mechanism)
        key = jax.random.key(0)
        return lambda state, batch: step(state, batch, key)[0].params, start

    return _jax_step(build)


def _optax_step(definition: Any, quiet: bool) -> tuple[Any, Any]:
    import jax
    import optax

    params = _lenet()[1]
    optimizer = optax.chain(_optax(quiet), optax.sgd(_QUIET_RATE if quiet else _RATE))
    opt_state = optimizer.init(params)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return _losses(definition, params, x[None], y[None])[0]

    def step(params: Any, batch: Any) -> Any:
        grads = jax.vmap(jax.grad(loss), (None, 0, 0))(params, *batch)
        updates, _ = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates)

    return step, params


def _torch_lenet() -> Any:
    """Return the same network with the same parameters, in torch."""
    import torch
    from torch import nn

    _, params = _lenet()
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, 10),
    )
    names = {0: "conv1", 3: "conv2", 7: "dense1", 9: "dense2", 11: "readout"}
    with torch.no_grad():
        for index, name in names.items():
            kernel = np.asarray(params[name]["kernel"][...])
            if name == "dense1":
                # rows in the order channel, height, width
                kernel = kernel.reshape(5, 5, 16, -1).transpose(2, 0, 1, 3)
                kernel = kernel.reshape(400, -1)
            kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
            model[index].weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
            bias = np.array(params[name]["bias"][...])
            model[index].bias.copy_(torch.from_numpy(bias))
    return model


def _opacus(ghost: bool) -> Callable[[Images], Callable[[], Any]]:
    def build(data: Images, noise: float) -> tuple[Callable[[], Any], Any]:
        import torch
        from opacus import GradSampleModule
        from opacus.grad_sample import GradSampleModuleFastGradientClipping
        from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
        from opacus.utils.fast_gradient_clipping_utils import (
            DPLossFastGradientClipping,
        )

        size, rate = len(data.y), _RATE if noise else _QUIET_RATE
        # fresh memory: strides of one channel read as channels-last, and Opacus' norms
        # of convolutions are wrong for these
        x = torch.empty(size, 1, 28, 28).copy_(
            torch.from_numpy(data.x[:, None, ..., 0])
        )
        y = torch.from_numpy(data.y)
        net, loss = _torch_lenet(), torch.nn.CrossEntropyLoss()
        options = {
            "noise_multiplier": noise,
            "max_grad_norm": _NORM,
            "expected_batch_size": size,
        }
        if ghost:
            module = GradSampleModuleFastGradientClipping(
                net, max_grad_norm=_NORM, use_ghost_clipping=True
            )
            sgd = torch.optim.SGD(module.parameters(), lr=rate)
            optimizer = DPOptimizerFastGradientClipping(sgd, **options)
            loss = DPLossFastGradientClipping(module, optimizer, loss)
        else:
            module = GradSampleModule(net)
            sgd = torch.optim.SGD(module.parameters(), lr=rate)
            optimizer = DPOptimizer(sgd, **options)

        def step() -> Any:
            optimizer.zero_grad()
            loss(module(x), y).backward()
            optimizer.step()
            return net

        return step, net

    def setup(data: Images) -> Callable[[], Any]:
        import torch

        quiet, net = build(data, 0.0)
        before = [p.detach().clone() for p in net.parameters()]
        quiet()
        moved = [a - b.detach() for a, b in zip(before, net.parameters(), strict=True)]
        weights, biases = moved[0::2], moved[1::2]
        # in the order of the names: conv1.bias, conv1.kernel, ..., readout.kernel
        pairs = zip(biases, weights, strict=True)
        norms = [float(torch.linalg.norm(t)) for p in pairs for t in p]
        reference = np.array(norms) / _QUIET_RATE
        loud, _ = build(data, _NOISE)
        return lambda: (loud(), reference)

    return setup


_PEER = {"requires": ("torch", "opacus")}
_STEP_SIZES = ({"b": 64}, {"b": 256})

CASES = (
    Case(
        name="privacy.aggregate",
        title="released average of given per-example gradients",
        sizes=tuple({"b": b, "p": p} for b in (64, 256) for p in (25450, 61706)),
        quick_sizes=({"b": 16, "p": 2000},),
        make_data=_gradients,
        implementations={
            "dp_vmf": Implementation(setup=_transform(_dp_vmf), collect=_check),
            "naive": Implementation(setup=_transform(_naive), collect=_check),
            "dp_gaussian": Implementation(
                setup=_transform(_dp_gaussian), collect=_check
            ),
            "optax": Implementation(setup=_transform(_optax), collect=_check),
        },
        tolerance=0.01,
    ),
    Case(
        name="privacy.vmf_step",
        title="step of LeNet with directional noise",
        sizes=_STEP_SIZES,
        quick_sizes=({"b": 32},),
        make_data=_images,
        implementations={
            "dp_vmf": Implementation(setup=_ours("vmf"), collect=_check),
            "naive": Implementation(setup=_ours("vmf", "naive"), collect=_check),
            "dp_gaussian": Implementation(setup=_ours("gaussian"), collect=_check),
        },
        tolerance=0.01,
    ),
    Case(
        name="privacy.step",
        title="step of LeNet with Gaussian noise",
        sizes=_STEP_SIZES,
        quick_sizes=({"b": 32},),
        make_data=_images,
        implementations={
            "dp_gaussian": Implementation(setup=_ours("gaussian"), collect=_check),
            "optax": Implementation(setup=_jax_step(_optax_step), collect=_check),
            "opacus-hooks": Implementation(
                setup=_opacus(False), collect=_check, **_PEER
            ),
            "opacus-ghost": Implementation(
                setup=_opacus(True), collect=_check, **_PEER
            ),
        },
        tolerance=0.01,
    ),
)
