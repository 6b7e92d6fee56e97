"""The engine: networks by configuration, long recordings, imported weights."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlmethods.errors import (
    CheckpointError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.motion import ASRF, MSTCN, Seq2SeqRecognizer
from mlmethods.motion.contract import (
    ASRFConfig,
    BiGRUConfig,
    CNNConfig,
    CTCConfig,
    MSTCNConfig,
    NetworkConfig,
    Seq2SeqConfig,
)
from mlmethods_jax.motion import engine as module
from mlmethods_jax.motion import torch_framewise, torch_seq2seq
from mlmethods_jax.motion._sizes import padded_batch, padded_length
from mlmethods_jax.motion.engine import engine
from mlmethods_jax.testing import compile_guard

SIZES = {"n_features": 3, "n_classes": 4}
TINY = MSTCNConfig(**SIZES, stages=2, layers=2, maps=4)


def test_equal_configurations_share_code():
    network, same = engine.network(TINY), engine.network(MSTCNConfig(**vars(TINY)))
    x = np.random.default_rng(0).normal(size=(2, 106, 3)).astype(np.float32)
    expected = network.logits(network.init(0), x)
    assert expected.shape == (2, 2, 106, 4)
    with compile_guard(max_compiles=0):
        found = same.logits(same.init(0), x[:, :100])
        same.logits(same.init(1), x[:1].repeat(3, axis=0))
    assert found.shape == (2, 2, 100, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [TINY, ASRFConfig(**SIZES, stages=1, layers=2, maps=4)]
)
def test_long_recordings_in_chunks_are_the_same(config, monkeypatch):
    network = engine.network(config)
    params = network.init(0)
    x = np.random.default_rng(0).normal(size=(1, 300, 3)).astype(np.float32)
    whole = network.logits(params, x)
    monkeypatch.setattr(module, "_LONG", 100)
    parts = network.logits(params, x)
    if not isinstance(whole, tuple):
        whole, parts = (whole,), (parts,)
    for a, b in zip(whole, parts, strict=True):
        assert_allclose(b, a, atol=1e-5)


def test_what_a_network_does_not_do_is_refused():
    frames, sequences = engine.network(TINY), engine.network(Seq2SeqConfig(**SIZES))
    x = np.zeros((1, 16, 3), np.float32)
    with pytest.raises(OperationNotSupportedError, match="use forward"):
        sequences.logits({}, x)
    with pytest.raises(OperationNotSupportedError, match="decode is for"):
        frames.decode({}, x)
    with pytest.raises(OperationNotSupportedError, match="forward is for"):
        frames.forward({}, x)
    with pytest.raises(OperationNotSupportedError, match="a NetworkConfig"):
        engine.network(NetworkConfig(**SIZES))
    with pytest.raises(InvalidInputError, match=r"got \(1, 0, 3\)"):
        frames.logits({}, x[:, :0])


@pytest.mark.parametrize(
    "config",
    [
        CNNConfig(**SIZES, maps=4, layers=1),
        BiGRUConfig(**SIZES, hidden=4, layers=1),
        CTCConfig(**SIZES, hidden=4, layers=1),
    ],
)
def test_parameters_are_checked(config):
    network = engine.network(config)
    params = network.init(0)
    network.check(params)
    name = next(iter(params))
    with pytest.raises(CheckpointError, match=name):
        network.check({n: a for n, a in params.items() if n != name})


def test_sizes_are_few_and_large_enough():
    lengths = {padded_length(n, 8) for n in range(1, 20_000)}
    assert len(lengths) < 60
    for n in (1, 7, 8, 600, 1023, 1025, 16_000):
        assert n <= padded_length(n, 8) <= max(8, 1.42 * n + 8)
        assert padded_length(n, 8) % 8 == 0
    assert [padded_batch(n) for n in (1, 2, 4, 5, 17, 65)] == [1, 4, 4, 16, 64, 256]


@pytest.mark.parametrize(
    ("cls", "config", "export"),
    [
        (MSTCN, TINY, torch_framewise.mstcn_to_torch),
        (
            ASRF,
            ASRFConfig(**SIZES, stages=2, layers=2, maps=4),
            torch_framewise.asrf_to_torch,
        ),
    ],
)
def test_estimators_take_weights_of_pytorch(cls, config, export):
    params = engine.network(config).init(0)
    model = cls.from_torch_state_dict(export(params), classes=list("abcd"), fs=50)
    assert (model.classes_, model.fs_, model.layers) == (tuple("abcd"), 50.0, 2)
    x = np.random.default_rng(0).normal(size=(1, 60, 3)).astype(np.float32)
    found, expected = model.predict_logits(x), engine.network(config).logits(params, x)
    if not isinstance(found, tuple):
        found, expected = (found,), (expected,)
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a, b, atol=1e-6)
    with pytest.raises(InvalidInputError, match="classes must have 4 entries"):
        cls.from_torch_state_dict(export(params), classes=["a"])
    with pytest.raises(CheckpointError):
        cls.from_torch_state_dict({**export(params), "more": np.zeros(1)})


def test_a_recognizer_takes_weights_of_pytorch():
    config = Seq2SeqConfig(**SIZES, hidden=4, layers=2)
    params = engine.network(config).init(0)
    arrays = torch_seq2seq.to_torch(config, params)
    model = Seq2SeqRecognizer.from_torch_state_dict(arrays)
    assert (model.hidden, model.layers, model.attention) == (4, 2, "dot")
    assert model.feature_names_ == ["feature 0", "feature 1", "feature 2"]
    assert set(model.params_) == set(params)
    for name, array in params.items():
        assert_allclose(model.params_[name], array, atol=1e-7)
