"""Windows: what is cut, which targets, in which order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.motion.collection import RecordingDataset
from mlmethods.motion.recording import Channel, Recording
from mlmethods.motion.segments import Segments
from mlmethods.motion.windows import (
    FrameSpec,
    WindowSpec,
    cut,
    plan,
    start_token,
    stitch,
)

CLASSES = ("idle", "reach", "reposition", "stabilize", "transport")
PAPER = WindowSpec(mode="paper")


def make(y, fs=100.0, channels=2, subject="s1", labeled=True):
    y = np.asarray(y, np.int32)
    data = np.arange(len(y) * channels, dtype=np.float32).reshape(len(y), channels) + 1
    return Recording(
        data,
        fs,
        [Channel(f"c{index}", "feature", "1") for index in range(channels)],
        subject=subject,
        labels=Segments.from_frames(y, fs, CLASSES) if labeled else None,
    )


def random_labels(rng, T, mean=90):
    runs, last = [], -1
    while sum(map(len, runs)) < T:
        last = int(rng.choice([k for k in range(5) if k != last]))
        runs.append(np.full(1 + rng.poisson(mean), last))
    return np.concatenate(runs)[:T].astype(np.int32)


def slow_paper(y, size=600, hop=400, context=100, divisor=8):
    """The rule word by word, with loops over frames."""
    last_frames = [t for t in range(len(y) - 1) if y[t] != y[t + 1]]
    windows = []
    for start in range(0, len(y), hop):
        length = min(size, len(y) - start)
        if length < size:
            length -= length % divisor
        if length < context:
            continue
        core = y[start + context : start + min(length, size - context)]
        tokens = [int(key) + 1 for key, _ in itertools.groupby(core)]
        end = start + size
        for i, frame in enumerate(last_frames):
            if frame > end:
                before = last_frames[i - 1] if i else 0
                if (end - before) / (frame - before) < 0.5 and len(tokens) > 1:
                    tokens = tokens[:-1]
                break
        windows.append((start, length, [*tokens, 6]))
    return windows


@pytest.mark.parametrize("mean", [20, 90, 500])
def test_paper_mode_follows_the_rule_word_by_word(mean):
    rng = np.random.default_rng(mean)
    dropped = 0
    for T in (104, 111, 500, 503, 599, 600, 700, 1003, 2500, 2508, 6011):
        y = random_labels(rng, T, mean)
        batch = cut(make(y), PAPER)
        expected = slow_paper(y)
        assert len(batch.x) == len(expected)
        where = plan(T, 100.0, PAPER, y)
        dropped += where.dropped.sum()
        for row, (start, length, tokens) in enumerate(expected):
            assert where.start[row] == start
            assert batch.mask[row].sum() == where.length[row] == length
            assert batch.tokens[row][batch.token_mask[row]].tolist() == tokens
    assert dropped > 0


def test_paper_mode_leaves_the_first_second_out_and_a_tail_of_context():
    where = plan(1203, 100.0, PAPER)
    # The third window would start at 800 and hold 403 frames, cut to 400.
    assert where.frames.tolist() == [[100, 500], [500, 900], [900, 1200]]
    # 103 frames are cut to 96, fewer than the context: no window.
    assert plan(503, 100.0, PAPER).frames.tolist() == [[100, 496]]
    assert len(plan(103, 100.0, PAPER).start) == 0
    assert cut(make([0] * 50), PAPER).x.shape == (0, 600, 2)


def test_drop_rule_at_its_threshold():
    # e = 600; the primitive over e begins after frame 399 and ends with frame l.
    def dropped(last):
        y = np.zeros(1400, np.int32)
        y[400 : last + 1], y[last + 1 :] = 1, 2
        return bool(plan(1400, 100.0, PAPER, y).dropped[0])

    # (600 - 399) / (l - 399) is exactly a half at l = 801.
    assert not dropped(800)
    assert not dropped(801)
    assert dropped(802)
    # The first primitive of all: e / l[0].
    y = np.repeat([0, 1], [1300, 300]).astype(np.int32)
    assert plan(1600, 100.0, PAPER, y).dropped.tolist()[0]
    # A core of one token keeps it.
    assert cut(make(y), PAPER).tokens[0, :2].tolist() == [1, 6]
    # Exact windows never drop.
    assert not plan(1600, 100.0, WindowSpec(), y).dropped.any()


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(8, 3000),
    fs=st.sampled_from([25.0, 29.97, 50.0, 60.0, 100.0]),
    context=st.sampled_from([0.0, 0.2, 1.0, 1.04]),
    core=st.sampled_from([0.37, 1.0, 4.0]),
    divisor=st.sampled_from([1, 8, 16]),
)
def test_exact_cores_tile_every_frame_once(T, fs, context, core, divisor):
    spec = WindowSpec(core + 2 * context, core, context, divisor=divisor)
    where = plan(T, fs, spec)
    cores = where.frames
    assert cores[0, 0] == 0
    assert cores[-1, 1] == T
    np.testing.assert_array_equal(cores[1:, 0], cores[:-1, 1])
    assert (cores[:, 1] > cores[:, 0]).all()
    assert (where.length <= where.size).all()
    assert (where.core[:, 1] <= where.length).all()
    short = where.length < where.size
    assert (where.length[short] % divisor == 0).all()
    assert (where.start + where.length <= where.before + T + where.after).all()


@settings(max_examples=40, deadline=None)
@given(
    T=st.integers(8, 2000),
    mode=st.sampled_from(["exact", "paper"]),
    hop=st.sampled_from([0.5, 1.3, 4.0]),
)
def test_moved_windows_stay_inside(T, mode, hop):
    where = plan(T, 100.0, WindowSpec(hop=hop, mode=mode))
    start = where.start + where.shift
    assert (where.shift >= 0).all()
    assert (where.shift < round(hop * 100)).all()
    assert (start + where.length <= where.before + T + where.after).all()
    assert (start + where.core[:, 1] - where.before <= T).all()


def test_exact_windows_repeat_the_edges():
    recording = make(np.repeat([1, 2, 2], [300, 200, 110]))
    batch = cut(recording, WindowSpec())
    assert batch.core.tolist() == [[0, 400], [400, 610]]
    np.testing.assert_array_equal(batch.x[0, 100:], recording.data[:500])
    assert (batch.x[0, :100] == recording.data[0]).all()
    np.testing.assert_array_equal(batch.x[1, :310], recording.data[300:])
    assert (batch.x[1, 310:416] == recording.data[-1]).all()
    assert (batch.x[1, 416:] == 0).all()
    assert batch.mask.sum(axis=1).tolist() == [600, 416]
    assert (batch.frame_labels[0, :100] == -1).all()
    assert batch.tokens[:, :3].tolist() == [[2, 3, 6], [3, 6, 0]]
    assert batch.prev.tolist() == [1, 3]


def test_a_short_recording_is_one_padded_window():
    batch = cut(make([3] * 8), WindowSpec())
    assert batch.x.shape == (1, 600, 2)
    assert batch.mask.sum() == 208
    assert batch.tokens[0, :2].tolist() == [4, 6]
    with pytest.raises(InvalidInputError, match="at least 8"):
        cut(make([3] * 7), WindowSpec())


def test_exact_targets_join_to_the_sequence_of_the_recording():
    rng = np.random.default_rng(0)
    for T in (9, 400, 401, 3333):
        recording = make(random_labels(rng, T, 40))
        batch = cut(recording, WindowSpec())
        parts = [row[(row > 0) & (row < 6)] - 1 for row in batch.tokens]
        assert stitch(parts) == recording.labels.sequence()


def test_gaps_have_no_token_and_part_equal_neighbors():
    y = np.repeat([1, -1, 1, -1, 2], [50, 50, 50, 50, 200])
    batch = cut(make(y), WindowSpec())
    assert batch.tokens[0, :4].tolist() == [2, 2, 3, 6]
    # A core that follows a gap begins as a recording does.
    y = np.repeat([1, -1, 2], [300, 100, 200])
    assert cut(make(y), WindowSpec()).prev.tolist() == [1, 1]
    assert cut(make(y, labeled=False), WindowSpec()).tokens is None


def test_too_many_motions_for_the_room_are_left_out_with_a_warning():
    y = np.arange(400) % 2
    with pytest.warns(MLMethodsWarning, match="more than 34 motions"):
        batch = cut(make(y), WindowSpec())
    assert batch.tokens.shape == (1, 35)
    assert batch.tokens[0, -1] == 6
    assert batch.token_mask.all()


def test_spec_in_frames():
    assert WindowSpec().frames(100) == FrameSpec(600, 400, 100)
    assert WindowSpec(6.08, 4.0, 1.04).frames(50) == FrameSpec(304, 200, 52)
    # 0.29 * 100 is a little less than 29.
    assert WindowSpec(0.29, 0.29, 0.0).frames(100).hop == 29
    # Rounding never parts cores that follow one another.
    size, hop, context = WindowSpec().frames(29.97)
    assert size == hop + 2 * context


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 2.0, "context": 1.0, "hop": 1.0}, "context must be less than half"),
        ({"hop": 4.5}, "hop must be at most"),
        ({"mode": "papr"}, "did you mean 'paper'"),
        ({"divisor": 0}, "divisor"),
        ({"size": -1}, "size"),
    ],
)
def test_spec_refuses_what_makes_no_windows(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        WindowSpec(**arguments)


def test_plan_refuses_labels_of_another_length():
    with pytest.raises(InvalidInputError, match=r"shape \(100,\)"):
        plan(100, 100.0, PAPER, np.zeros(99, int))
    with pytest.raises(InvalidInputError, match="last a frame"):
        WindowSpec(0.01, 0.01, 0.0).frames(25)


def test_stitch_and_start_token():
    assert stitch([[1, 2], [2, 3], [], [3]]) == [1, 2, 3]
    assert stitch([[1, 2], [2, 3]], collapse_repeats=False) == [1, 2, 2, 3]
    assert stitch([]) == []
    assert start_token(CLASSES) == 1
    assert start_token(("a", "idle")) == 2
    assert start_token(("a", "b")) == 0


def test_window_dataset_is_complete_disjoint_and_repeatable():
    rng = np.random.default_rng(1)
    recordings = [
        make(random_labels(rng, T), subject=f"s{T}") for T in (900, 8, 1700, 403)
    ]
    data = RecordingDataset(recordings).windows(WindowSpec(hop=0.5))
    seen = []
    for shard in range(3):
        for index, batch in data.iter_batches(7, shard=(shard, 3), seed=2, epoch=1):
            assert len(index) == len(batch.x)
            seen.append(index)
    seen = np.concatenate(seen)
    assert sorted(seen) == list(range(len(data)))
    orders = [
        np.concatenate([i for i, _ in data.iter_batches(50, seed=2, epoch=epoch)])
        for epoch in (1, 1, 2)
    ]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    # Every row is that of cutting its recording.
    index = seen[:20]
    batch = data.batch(index)
    whole = [cut(recording, WindowSpec(hop=0.5)) for recording in recordings]
    for row, number in enumerate(index):
        own = whole[data.recording[number]]
        for field, values in zip(batch._fields, batch, strict=True):
            np.testing.assert_array_equal(
                values[row], getattr(own, field)[data.window[number]]
            )


def test_window_dataset_refuses():
    data = RecordingDataset([make([0] * 100), make([0] * 100, fs=50.0)])
    with pytest.raises(InvalidInputError, match="same rate"):
        data.windows(WindowSpec())
    windows = RecordingDataset([make([0] * 100)]).windows(WindowSpec())
    with pytest.raises(InvalidInputError, match=r"0\.\.0"):
        windows.batch(np.array([1]))
    with pytest.raises(InvalidInputError, match="one dimension"):
        windows.batch(np.array([]))
    mixed = RecordingDataset([make([0] * 50), make([0] * 50, labeled=False)])
    with pytest.raises(InvalidInputError, match="all have labels"):
        mixed.windows(WindowSpec()).batch(np.array([0, 1]))
