"""Windows of training: what is cut out in the graph is what windows.cut stores."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.motion import Channel, Recording, Segments
from mlmethods.motion._recordings import Example
from mlmethods.motion._training_data import (
    whole_recordings,
    windows_of,
    with_transcripts,
)
from mlmethods.motion.contract import TrainingConfig
from mlmethods.motion.windows import WindowSpec, cut, plan
from mlmethods_jax.motion._gather import draw_offsets, make_gather, run_tokens
from mlmethods_jax.motion._trainer import _device_data, _sizes

FS = 20.0
CLASSES = ("idle", "reach", "lift")
compact = jax.jit(functools.partial(run_tokens, room=5, end=4))
CHANNELS = [Channel("a", "accel", "m/s2"), Channel("b", "accel", "m/s2")]


def recording(seed, n_frames):
    """Return random runs of labels with some gaps, and signals that tell frames."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 25, n_frames)
    labels = np.repeat(rng.integers(-1, 3, n_frames), lengths)[:n_frames]
    data = np.stack([np.arange(n_frames) + 1.0, rng.normal(size=n_frames)], axis=1)
    spans = Segments.from_frames(labels, FS, CLASSES)
    return Recording(data, FS, CHANNELS, subject=f"s{seed}", labels=spans)


def example(item):
    return Example(item.data, item.frame_labels(), item.name)


def batches(data, rows, *, offset=None):
    """Return what the graph gathers for some rows."""
    arrays = _device_data(data, TrainingConfig())
    arrays["offset"] = np.zeros_like(arrays["shift"])
    if offset is not None:
        arrays["offset"][: len(offset)] = offset
    arrays["teacher"] = np.float32(1)
    gather = make_gather(data.size, data.max_tokens, len(CLASSES) + 1)
    batch = jax.jit(gather)(arrays, np.int32(rows))
    return {name: np.asarray(array) for name, array in batch.items()}


@pytest.mark.parametrize("mode", ["exact", "paper"])
def test_gathered_windows_are_those_of_cut(mode):
    spec = WindowSpec(size=3.0, hop=2.0, context=0.5, mode=mode)
    items = [recording(seed, n) for seed, n in enumerate((230, 75, 141))]
    data = windows_of(
        [example(item) for item in items], FS, spec, hop=2.0, start_token=1
    )
    found = batches(data, np.arange(len(data.start)))
    expected = [cut(item, spec, max_tokens=data.max_tokens) for item in items]
    kept = [batch.tokens[:, 0] <= len(CLASSES) for batch in expected]
    stacked = {
        name: np.concatenate(
            [getattr(b, name)[k] for b, k in zip(expected, kept, strict=True)]
        )
        for name in ("x", "mask", "tokens", "prev")
    }
    assert_array_equal(found["x"], stacked["x"])
    assert_array_equal(found["mask"], stacked["mask"])
    assert_array_equal(found["previous"], stacked["prev"])
    # tokens that the published system leaves over are targets here
    plans = [plan(item.n_frames, FS, spec, item.frame_labels()) for item in items]
    left = np.concatenate([p.dropped[k] for p, k in zip(plans, kept, strict=True)])
    assert_array_equal(found["tokens"][~left], stacked["tokens"][~left])
    assert left.any() == (mode == "paper")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-1, 2), min_size=12, max_size=12), st.data())
def test_run_tokens_follow_the_definition(labels, data):
    first = data.draw(st.integers(0, 11))
    last = data.draw(st.integers(first + 1, 12))
    runs, before = [], None
    for label in labels[first:last]:
        if label >= 0 and label != before:
            runs.append(label + 1)
        before = label
    runs = [*runs[:4], 4]
    expected = runs + [0] * (5 - len(runs))
    found = compact(np.int32(labels), np.int32([first, last]))
    assert np.asarray(found).tolist() == expected


def test_moved_windows_stay_within_their_recording():
    items = [recording(3, 203), recording(4, 61)]
    spec = WindowSpec(size=3.0, hop=2.0, context=0.5)
    data = windows_of([example(item) for item in items], FS, spec, hop=0.5)
    found = batches(data, np.arange(len(data.start)), offset=data.shift)
    last = np.cumsum([len(item.data) for item in items])
    assert len(last) == 2
    for row in range(len(data.start)):
        # the first channel counts the frames of a recording and never falls within it
        counter = found["x"][row, found["mask"][row], 0]
        assert (np.diff(counter) >= 0).all()
        assert found["core"][row, 1] <= found["mask"][row].sum()
    assert data.shift.max() == 9


def test_offsets_differ_between_epochs_and_repeat_for_one():
    shift = np.full(500, 9, np.int32)
    key = jax.random.key(0)
    first, again, other = (
        np.asarray(draw_offsets(key, np.int32(epoch), shift)) for epoch in (0, 0, 1)
    )
    assert_array_equal(first, again)
    assert (first != other).mean() > 0.5
    assert set(first) == set(range(10))


def test_rows_that_fill_a_batch_have_no_weight():
    data = windows_of([example(recording(5, 120))], FS, WindowSpec(3, 2, 0.5), hop=2.0)
    n = len(data.start)
    found = batches(data, np.arange(n + 3))
    assert found["weight"].tolist() == [1.0] * n + [0.0] * 3


def test_whole_recordings_and_transcripts():
    items = [recording(6, 130), recording(7, 57)]
    data = whole_recordings([example(item) for item in items], multiple=8)
    found = batches(data, [0, 1])
    assert data.size % 8 == 0
    assert found["mask"].sum(axis=1).tolist() == [130, 57]
    for row, item in enumerate(items):
        assert_array_equal(found["x"][row, : item.n_frames], item.data)
        assert_array_equal(found["labels"][row, : item.n_frames], item.frame_labels())
        own = found["tokens"][row]
        sequence = item.labels.sequence()
        assert own[own > 0].tolist() == [label + 1 for label in sequence] + [4]
    given_tokens = batches(with_transcripts(data, [[2, 2], []], 3), [0, 1])["tokens"]
    assert given_tokens.tolist() == [[3, 3, 4, 0], [4, 0, 0, 0]]


def test_masked_frames_are_no_targets_and_need_some_others():
    spec = WindowSpec(3, 2, 0.5)
    silent = Example(np.zeros((90, 2), np.float32), np.full(90, -1, np.int32), "r")
    with pytest.raises(InvalidInputError, match="labels in at least one window"):
        windows_of([silent], FS, spec, hop=1.0)
    without = Example(silent.x, None, "r")
    with pytest.raises(InvalidInputError, match="got none in 'r'"):
        windows_of([without], FS, spec, hop=1.0)


def test_more_motions_than_tokens_warn():
    y = np.tile([0, 1], 60).astype(np.int32)
    dense = Example(np.zeros((120, 2), np.float32), y, "r")
    with pytest.warns(MLMethodsWarning, match="up to 40 motions"):
        data = windows_of([dense], FS, WindowSpec(3, 2, 0.5), hop=2.0)
    assert data.max_tokens == 35


def test_sizes_of_whole_recordings():
    assert _sizes(np.array([900, 300, 500]), 1024, 8) == (512, 1024)
    assert _sizes(np.array([900, 250]), 1024, 8) == (512, 1024)
    assert _sizes(np.array([900, 600]), 1024, 8) == (1024,)
    assert _sizes(np.array([30, 900]), 1000, 8) == (504, 1000)
