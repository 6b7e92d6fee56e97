"""Recognition of motions against networks of PyTorch, and edit distances."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

_FEATURES, _CLASSES = 77, 5
# Tokens of a window, the end among them, as is typical of six seconds.
_TOKENS = 8
_PEER = {"requires": ("torch",)}


class Frames(NamedTuple):
    """Frames [b, t, 77] and a label for each, drawn at random."""

    x: np.ndarray
    labels: np.ndarray


class Windows(NamedTuple):
    """Windows with the tokens that they hold."""

    x: np.ndarray
    labels: np.ndarray
    tokens: np.ndarray


def _frames(size: Size, rng: np.random.Generator) -> Frames:
    x = rng.standard_normal((1, size["t"], _FEATURES)).astype(np.float32)
    runs = rng.integers(0, _CLASSES, (1, size["t"] // 50 + 1))
    labels = np.repeat(runs, 50, axis=1)[:, : size["t"]]
    return Frames(x, labels.astype(np.int32))


def _windows(size: Size, rng: np.random.Generator) -> Windows:
    x = rng.standard_normal((size["b"], size["t"], _FEATURES)).astype(np.float32)
    labels = rng.integers(0, _CLASSES, x.shape[:2]).astype(np.int32)
    tokens = np.zeros((size["b"], 35), np.int32)
    tokens[:, : _TOKENS - 1] = rng.integers(1, _CLASSES + 1, (size["b"], _TOKENS - 1))
    tokens[:, _TOKENS - 1] = _CLASSES + 1
    return Windows(x, labels, tokens)


@functools.cache
def _torch_networks() -> Any:
    """Return the PyTorch networks that the golden files come from."""
    root = Path(__file__).resolve().parents[2]
    path = root / "tests" / "golden" / "make_framewise.py"
    found = importlib.util.spec_from_file_location("make_framewise", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


# Framewise networks -----------------------------------------------------------


def _config(kind: str) -> Any:
    from mlmethods.motion import contract

    cls = {"mstcn": contract.MSTCNConfig, "asformer": contract.ASFormerConfig}[kind]
    return cls(n_features=_FEATURES, n_classes=_CLASSES)


@functools.cache
def _params(kind: str) -> dict[str, np.ndarray]:
    from mlmethods_jax.motion.engine import engine

    found: dict[str, np.ndarray] = engine.network(_config(kind)).init(0)
    return found


def _functions(kind: str) -> Any:
    if kind == "mstcn":
        from mlmethods_jax.motion import mstcn as module
    else:
        from mlmethods_jax.motion import asformer as module  # type: ignore[no-redef]
    return module


def _forward_ours(kind: str, data: Frames) -> Callable[[], Any]:
    import jax

    run = getattr(_functions(kind), f"{kind}_logits")
    params, x = jax.device_put((_params(kind), data.x))
    mask = jax.device_put(np.ones(data.x.shape[:2], bool))
    config = _config(kind)
    return lambda: jax.block_until_ready(run(config, params, x, mask))


def _torch_network(kind: str) -> Any:
    import torch

    from mlmethods_jax.motion import torch_framewise

    networks, config = _torch_networks(), _config(kind)
    if kind == "mstcn":
        sizes = (config.stages, config.layers, config.maps)
        net = networks.MSTCN(_FEATURES, _CLASSES, *sizes, rate=config.dropout)
    else:
        sizes = (config.decoders, config.layers, config.maps)
        net = networks.ASFormer(_FEATURES, _CLASSES, *sizes, rate=config.dropout)
    weights = getattr(torch_framewise, f"{kind}_to_torch")(_params(kind))
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
    return net


def _forward_torch(kind: str, data: Frames) -> Callable[[], Any]:
    import torch

    net = _torch_network(kind).eval()
    x = torch.from_numpy(np.ascontiguousarray(data.x.transpose(0, 2, 1)))

    def call() -> Any:
        with torch.no_grad():
            return net(x).transpose(2, 3)

    return call


def _train_ours(kind: str, data: Frames) -> Callable[[], Any]:
    import jax
    import optax

    own = getattr(_functions(kind), f"{kind}_loss")
    config, optimizer = _config(kind), optax.adam(5e-4)
    batch = jax.device_put(
        {"x": data.x, "mask": np.ones(data.x.shape[:2], bool), "labels": data.labels}
    )

    def loss(params: Any, key: Any) -> Any:
        return own(config, params, batch, key).mean()

    quiet = jax.jit(lambda params: loss(params, None))(_params(kind))

    @jax.jit
    def step(params: Any, state: Any, key: Any) -> Any:
        _, grads = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = jax.device_put(_params(kind))
    state, key = optimizer.init(params), jax.random.key(0)

    def call() -> Any:
        jax.block_until_ready(step(params, state, key))
        return quiet

    return call


def _train_torch(kind: str, data: Frames) -> Callable[[], Any]:
    import torch

    networks, net = _torch_networks(), _torch_network(kind)
    x = torch.from_numpy(np.ascontiguousarray(data.x.transpose(0, 2, 1)))
    labels = torch.from_numpy(data.labels).long()
    with torch.no_grad():
        quiet = networks.stage_loss(net.eval()(x), labels)
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), 5e-4)

    def call() -> Any:
        optimizer.zero_grad()
        networks.stage_loss(net(x), labels).backward()
        optimizer.step()
        return quiet

    return call


# Seq2Seq ----------------------------------------------------------------------


def _seq2seq_config() -> Any:
    from mlmethods.motion.contract import Seq2SeqConfig

    return Seq2SeqConfig(n_features=_FEATURES, n_classes=_CLASSES, dropout=0.0)


@functools.cache
def _seq2seq_params() -> dict[str, np.ndarray]:
    from mlmethods_jax.motion.seq2seq import init_seq2seq

    return init_seq2seq(_seq2seq_config(), 0)


def _torch_seq2seq() -> Any:
    """Return the network with the same weights: a pyramid of GRUs and a speller."""
    import torch
    from torch import nn

    from mlmethods_jax.motion.torch_seq2seq import to_torch

    config = _seq2seq_config()
    hidden = config.hidden

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [2 * _FEATURES, 4 * hidden, 4 * hidden]
            self.layers = nn.ModuleList(
                nn.GRU(size, hidden, batch_first=True, bidirectional=True)
                for size in sizes
            )
            self.head = nn.Linear(2 * hidden, _CLASSES)
            vocabulary = _CLASSES + 2
            self.cell = nn.GRU(vocabulary + 2 * hidden, 2 * hidden, batch_first=True)
            self.out = nn.Linear(4 * hidden, vocabulary)

        def encode(self, x: Any) -> Any:
            for layer in self.layers:
                b, t, d = x.shape
                x, _ = layer(x.reshape(b, t // 2, 2 * d))
            return x

        def spell(self, encoded: Any, tokens: Any, steps: int) -> Any:
            """Return log-probabilities; without tokens each step sees its own."""
            state, context = None, encoded[:, 0]
            token = torch.ones(len(encoded), dtype=torch.long)
            outputs = []
            for i in range(steps):
                seen = nn.functional.one_hot(token, _CLASSES + 2).float()
                y, state = self.cell(torch.cat([seen, context], -1)[:, None], state)
                y = y[:, 0]
                weights = torch.softmax((encoded @ y[:, :, None])[..., 0], -1)
                context = (weights[:, None] @ encoded)[:, 0]
                logits = self.out(torch.cat([y, context], -1))
                outputs.append(torch.log_softmax(logits, -1))
                token = logits.argmax(-1) if tokens is None else tokens[:, i]
            return torch.stack(outputs, 1)

    net = Network()
    names = {"listener.fc": "head", "speller.character_distribution": "out"}
    names |= {f"listener.pLSTM_layer{i}.BLSTM": f"layers.{i}" for i in range(3)}
    names["speller.rnn_layer"] = "cell"
    state = {}
    for name, array in to_torch(config, _seq2seq_params()).items():
        prefix = next(known for known in names if name.startswith(known))
        state[names[prefix] + name[len(prefix) :]] = torch.from_numpy(np.array(array))
    net.load_state_dict(state)
    return net


def _decode_ours(data: Windows) -> Callable[[], Any]:
    import jax

    from mlmethods_jax.motion.seq2seq import seq2seq_forward

    params, x = jax.device_put((_seq2seq_params(), data.x))
    mask = jax.device_put(np.ones(data.x.shape[:2], bool))
    previous = jax.device_put(np.ones(len(data.x), np.int32))
    config = _seq2seq_config()

    def call() -> Any:
        found = seq2seq_forward(config, params, x, mask, previous, max_tokens=_TOKENS)
        return jax.block_until_ready(found["log_probs"])

    return call


def _decode_torch(data: Windows) -> Callable[[], Any]:
    import torch

    net = _torch_seq2seq()
    x = torch.from_numpy(data.x)

    def call() -> Any:
        with torch.no_grad():
            return net.spell(net.encode(x), None, _TOKENS)

    return call


def _learn_ours(data: Windows) -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp
    import optax

    from mlmethods_jax.motion.seq2seq import seq2seq_loss

    config, optimizer = _seq2seq_config(), optax.adamw(5e-4)
    batch = jax.device_put(
        {
            "x": data.x,
            "mask": np.ones(data.x.shape[:2], bool),
            "labels": data.labels,
            "tokens": data.tokens,
            "previous": np.ones(len(data.x), np.int32),
        }
    )

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        def loss(params: Any) -> Any:
            one = jnp.float32(1)
            return seq2seq_loss(config, params, batch, None, one).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    params = jax.device_put(_seq2seq_params())
    state = optimizer.init(params)
    return lambda: jax.block_until_ready(step(params, state))[2]


def _learn_torch(data: Windows) -> Callable[[], Any]:
    import torch
    from torch.nn import functional

    net = _torch_seq2seq()
    x, tokens = torch.from_numpy(data.x), torch.from_numpy(data.tokens).long()
    labels = torch.from_numpy(data.labels).long()[:, ::8].reshape(-1)
    target = tokens[:, :_TOKENS, None]
    optimizer = torch.optim.AdamW(net.parameters(), 5e-4)

    def loss() -> Any:
        encoded = net.encode(x)
        # the peer need not run to the end of the padding either
        log_probs = net.spell(encoded, tokens, _TOKENS)
        smooth = 0.9 * log_probs.gather(2, target)[..., 0] + 0.1 * log_probs.mean(-1)
        logits = net.head(encoded).reshape(-1, _CLASSES)
        return -smooth.mean() + 0.5 * functional.cross_entropy(logits, labels)

    with torch.no_grad():
        first = loss()

    def call() -> Any:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        return first

    return call


# Edit distances ---------------------------------------------------------------


class Pairs(NamedTuple):
    """Pairs of sequences."""

    a: list[list[int]]
    b: list[list[int]]


def _pairs(size: Size, rng: np.random.Generator) -> Pairs:
    drawn = rng.integers(0, _CLASSES, (2, size["n"], size["length"]))
    return Pairs(*(part.tolist() for part in drawn))


def _distances_ours(data: Pairs) -> Callable[[], Any]:
    from mlmethods.motion.metrics import levenshtein_pairs

    return lambda: np.asarray(levenshtein_pairs(data.a, data.b))


def _distances_rapidfuzz(data: Pairs) -> Callable[[], Any]:
    from rapidfuzz.distance import Levenshtein

    return lambda: np.array(
        [Levenshtein.distance(a, b) for a, b in zip(data.a, data.b, strict=True)]
    )


def _forward(kind: str, title: str, sizes: tuple[Size, ...]) -> Case:
    return Case(
        name=f"motion.{kind}_forward",
        title=title,
        sizes=sizes,
        quick_sizes=({"t": 200},),
        make_data=_frames,
        implementations={
            "mlmethods": Implementation(setup=functools.partial(_forward_ours, kind)),
            "torch": Implementation(
                setup=functools.partial(_forward_torch, kind), **_PEER
            ),
        },
        tolerance=2e-4,
    )


CASES = (
    _forward("mstcn", "logits of MS-TCN, four stages", ({"t": 3000},)),
    Case(
        name="motion.mstcn_train",
        title="training step of MS-TCN",
        sizes=({"t": 3000},),
        quick_sizes=({"t": 200},),
        make_data=_frames,
        implementations={
            "mlmethods": Implementation(setup=functools.partial(_train_ours, "mstcn")),
            "torch": Implementation(
                setup=functools.partial(_train_torch, "mstcn"), **_PEER
            ),
        },
        tolerance=1e-3,
    ),
    _forward("asformer", "logits of ASFormer, three decoders", ({"t": 3000},)),
    Case(
        name="motion.seq2seq_decode",
        title="encoder and eight decoded tokens of Seq2Seq, H = 256",
        sizes=({"b": 8, "t": 600}, {"b": 32, "t": 600}),
        quick_sizes=({"b": 2, "t": 80},),
        make_data=_windows,
        implementations={
            "mlmethods": Implementation(setup=_decode_ours),
            "torch": Implementation(setup=_decode_torch, **_PEER),
        },
        tolerance=2e-4,
    ),
    Case(
        name="motion.seq2seq_train",
        title="training step of Seq2Seq, H = 256",
        sizes=({"b": 8, "t": 600}, {"b": 32, "t": 600}),
        quick_sizes=({"b": 2, "t": 80},),
        make_data=_windows,
        implementations={
            "mlmethods": Implementation(setup=_learn_ours),
            "torch": Implementation(setup=_learn_torch, **_PEER),
        },
        tolerance=1e-3,
    ),
    Case(
        name="motion.levenshtein",
        title="edit distances of many pairs",
        sizes=({"n": 5000, "length": 40},),
        quick_sizes=({"n": 100, "length": 20},),
        make_data=_pairs,
        implementations={
            "mlmethods": Implementation(setup=_distances_ours),
            "rapidfuzz": Implementation(setup=_distances_rapidfuzz),
        },
        tolerance=0.0,
    ),
)
