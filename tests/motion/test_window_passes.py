"""Windows of many recordings: decoded at once, as if one after another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.errors import InvalidInputError
from mlmethods.motion import Channel, Recording
from mlmethods.motion._window_passes import AllWindows, class_probabilities, decode_all
from mlmethods.motion.contract import DecodeResult
from mlmethods.motion.windows import WindowSpec

SPEC = WindowSpec(size=3.0, hop=2.0, context=0.5)


def recording(n_frames, seed=0):
    data = np.random.default_rng(seed).normal(size=(n_frames, 2))
    channels = [Channel("a", "accel", "m/s2"), Channel("b", "accel", "m/s2")]
    return Recording(data, 10.0, channels, subject="s1")


class Decoder:
    """Finds tokens that depend on the frames and on the token before; some none."""

    def __init__(self):
        self.rows = 0

    def __call__(self, x, mask, previous):
        self.rows += len(x)
        seed = np.abs(x.sum(axis=(1, 2)) * 1e3).astype(np.int64)
        count = seed % 3
        ids = np.zeros((len(x), 3), np.int32)
        for row in range(len(x)):
            # the token before changes what is found in every other window
            changed = int(previous[row]) * (seed[row] % 2)
            own = (seed[row] + changed + np.arange(count[row])) % 4 + 1
            ids[row, : count[row]] = own
        logits = np.zeros((len(x), x.shape[1], 4), np.float32)
        return DecodeResult(ids, ids.astype(np.float32), count > 1, logits)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(8, 400), min_size=1, max_size=4), st.integers(0, 99))
def test_decoding_at_once_is_decoding_one_after_another(lengths, seed):
    items = [recording(n, seed + i) for i, n in enumerate(lengths)]
    windows = AllWindows(items, SPEC)
    found = decode_all(windows, Decoder(), start_token=2)
    one = Decoder()
    for index in range(len(items)):
        before = 2
        for k, row in enumerate(windows.of(index)):
            x, mask = windows.take(np.array([row]))
            expected = one(x, mask, np.array([before], np.int32)).ids[0]
            assert_array_equal(found[index].ids[k], expected)
            kept = expected[expected > 0]
            before = int(kept[-1]) if len(kept) else before


def test_few_windows_are_decoded_twice():
    decoder = Decoder()
    windows = AllWindows([recording(4000)], SPEC)
    decode_all(windows, decoder, start_token=0)
    assert decoder.rows < 3 * len(windows)


@pytest.mark.parametrize("mode", ["exact", "paper"])
def test_probabilities_return_to_their_frames(mode):
    spec = WindowSpec(size=3.0, hop=2.0, context=0.5, mode=mode)
    items = [recording(n, seed=n) for n in (8, 30, 201)]
    found = class_probabilities(AllWindows(items, spec), lambda x, mask: 5 * x)
    for item, proba in zip(items, found, strict=True):
        expected = np.exp(5 * item.data.astype(float))
        expected /= expected.sum(axis=1, keepdims=True)
        # the published windows leave out the last frames that fill no multiple of 8
        kept = len(expected) - (7 if mode == "paper" else 0)
        assert_allclose(proba[:kept], expected[:kept], rtol=1e-5)
        assert proba.shape == expected.shape


def test_a_recording_without_a_window_is_named():
    spec = WindowSpec(size=30.0, hop=10.0, context=10.0, mode="paper")
    with pytest.raises(InvalidInputError, match="longer than the context"):
        AllWindows([recording(40)], spec)
