"""Streams: the motions of the batch, whatever the chunks."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import CheckpointError, InvalidInputError
from mlmethods.motion import Channel, PrimSeq, PrimSeqStream, Segments
from mlmethods.motion.calibration import Temperature
from mlmethods.motion.count_calibration import CountCalibration
from mlmethods.motion.preprocess import ZNormalizer
from mlmethods.motion.windows import WindowSpec

RELAXED = settings(max_examples=25, deadline=None)


def _run(stream, data, chunks, valid=None):
    """Return all motions of a stream that gets `data` in chunks of these sizes."""
    parts, at, k = [], 0, 0
    while at < len(data):
        size = chunks[k % len(chunks)]
        usable = None if valid is None else valid[at : at + size]
        parts.append(stream.push(data[at : at + size], usable))
        at, k = at + size, k + 1
    parts.append(stream.flush())
    return Segments.concat(parts)


def _same(found, expected):
    np.testing.assert_array_equal(found.start, expected.start)
    np.testing.assert_array_equal(found.end, expected.end)
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)
    np.testing.assert_array_equal(found.valid, expected.valid)


def _moving(tools, n_frames, seed):
    """Return a recording with offsets that only a normalizer takes away."""
    recording = tools.recording(tools.labels(n_frames, seed), noise=0.05, seed=seed)
    return recording.with_data(recording.data * [3.0, 0.5, 20.0] + [5.0, -1.0, 100.0])


@RELAXED
@given(
    n_frames=st.integers(8, 1500),
    seed=st.integers(0, 99),
    chunks=st.lists(st.integers(1, 700), min_size=1, max_size=5),
    mode=st.sampled_from(["exact", "paper"]),
)
def test_any_chunks_give_the_motions_of_the_batch(tools, n_frames, seed, chunks, mode):
    window = WindowSpec(mode=mode)
    if mode == "paper" and n_frames < 100:
        n_frames += 100
    recording = _moving(tools, n_frames, seed)
    fixed = ZNormalizer(per="train").fit([_moving(tools, 3000, 7)])
    model = tools.OneHotRecognizer(window=window, normalizer=fixed)
    expected = PrimSeq(model).predict(recording).segments[0]
    _same(_run(PrimSeqStream(model), recording.data, chunks), expected)


def test_single_frames_give_the_motions_of_the_batch(tools):
    recording = tools.recording(tools.labels(730, seed=2))
    model = tools.OneHotRecognizer()
    expected = PrimSeq(model).predict(recording).segments[0]
    _same(_run(PrimSeqStream(model), recording.data, [1]), expected)


def test_attention_and_calibration_come_along(tools):
    recording = tools.recording(tools.labels(900, seed=4))
    known = CountCalibration(tools.classes, temperature=Temperature(2.0))
    pipeline = PrimSeq(
        tools.OneHotRecognizer(), align="attention", calibration=known, interval=None
    )
    found = _run(PrimSeqStream(pipeline), recording.data, [111])
    expected = pipeline.predict(recording).segments[0]
    _same(found, expected)
    plain = PrimSeq(tools.OneHotRecognizer(), align="attention", interval=None)
    untempered = plain.predict(recording).segments[0].confidence
    assert not np.allclose(found.confidence, untempered)


def test_framewise_models_see_windows(tools):
    recording = tools.recording(tools.labels(1111, seed=5))
    model = tools.FramewiseModel()
    expected = PrimSeq(model).predict(recording).segments[0]
    _same(_run(PrimSeqStream(model), recording.data, [37, 400]), expected)


def test_boundary_aware_answers_are_understood(tools):
    recording = tools.recording(tools.labels(700, seed=6))
    model = tools.FramewiseModel()
    plain = model.predict_logits
    expected = _run(PrimSeqStream(model), recording.data, [50])
    model.predict_logits = lambda x, mask: (plain(x)[0], np.zeros(x.shape[:2]))
    _same(_run(PrimSeqStream(model), recording.data, [50]), expected)


def test_masked_frames_mark_motions_and_may_be_nan(tools):
    labels = np.repeat([0, 1, 0, 1], 150)
    valid = np.ones(600, bool)
    valid[200:210] = False
    recording = tools.recording(labels, meta={"valid": valid})
    model = tools.OneHotRecognizer()
    expected = PrimSeq(model).predict(recording).segments[0]
    assert expected.valid.tolist() == [True, False, True, True]
    _same(_run(PrimSeqStream(model), recording.data, [77], valid), expected)
    broken = recording.data.copy()
    broken[200:210] = np.nan
    found = _run(PrimSeqStream(model), broken, [77], valid)
    assert found.valid.tolist() == [True, False, True, True]


@pytest.mark.parametrize("low_latency", [False, True])
def test_online_statistics_do_not_depend_on_chunks(tools, low_latency):
    recording = _moving(tools, 1900, seed=8)
    model = tools.OneHotRecognizer()

    def run(chunks):
        stream = PrimSeqStream(
            model, normalizer="online", warmup=9.0, low_latency=low_latency
        )
        return _run(stream, recording.data, chunks)

    expected = run([1900])
    for chunks in ([1], [13, 500], [449, 2]):
        _same(run(chunks), expected)
    # After the warm-up the offsets are gone and the motions are found.
    late = Segments.from_frames(tools.labels(1900, 8), tools.fs, tools.classes)
    assert expected.clip(20, 38).sequence(True) == late.clip(20, 38).sequence(True)


def test_online_statistics_are_those_of_all_frames(tools):
    recording = _moving(tools, 1000, seed=9)
    stream = PrimSeqStream(tools.OneHotRecognizer(), normalizer="online", warmup=0.0)
    _run(stream, recording.data, [7])
    whole = recording.data.astype(np.float64)
    mean, scale = stream._scale._statistics()
    np.testing.assert_allclose(mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scale, whole.std(axis=0), rtol=1e-10)


def test_a_calibration_recording_gives_fixed_statistics(tools):
    known, recording = _moving(tools, 2000, 1), _moving(tools, 800, 2)
    fixed = ZNormalizer(per="train").fit([known])
    model = tools.OneHotRecognizer(normalizer=ZNormalizer())
    expected = _run(PrimSeqStream(model, normalizer=fixed), recording.data, [60])
    _same(_run(PrimSeqStream(model, normalizer=known), recording.data, [60]), expected)
    batch = tools.OneHotRecognizer(normalizer=fixed)
    _same(PrimSeq(batch).predict(recording).segments[0], expected)


def test_side_channels_keep_their_value_online(tools):
    channels = [Channel(n, "side" if n == "c" else "feature", "1") for n in "abc"]
    model = tools.OneHotRecognizer()
    stream = PrimSeqStream(model, channels=channels, normalizer="online", warmup=0)
    data = np.random.default_rng(0).normal(size=(400, 3))
    data[:, 2] = 1.0
    stream.push(data)
    assert (stream._scale.apply(data[:5].astype(np.float32))[:, 2] == 1).all()


@pytest.mark.parametrize("low_latency", [False, True])
def test_motions_are_known_within_the_latency(tools, low_latency):
    labels = tools.labels(2000, seed=10)
    recording = tools.recording(labels)
    stream = PrimSeqStream(tools.OneHotRecognizer(), low_latency=low_latency)
    assert stream.latency == (2.0 if low_latency else 5.0)
    late = []
    for frame in range(len(labels)):
        known = (frame + 1) / tools.fs
        late += [known - end for end in stream.push(recording.data[[frame]]).end]
    assert late
    assert 0 < max(late) <= stream.latency + 1e-9


def test_low_latency_covers_and_finds_what_is_there(tools):
    labels = tools.labels(1730, seed=11, shortest=30)
    recording = tools.recording(labels)
    truth = Segments.from_frames(labels, tools.fs, tools.classes)
    stream = PrimSeqStream(tools.OneHotRecognizer(), low_latency=True)
    found = _run(stream, recording.data, [9, 300])
    assert found.start[0] == 0
    assert found.end[-1] == len(labels) / tools.fs
    np.testing.assert_array_equal(found.start[1:], found.end[:-1])
    agree = found.to_frames(tools.fs, len(labels)) == labels
    assert agree.mean() > 0.9
    assert abs(len(found) - len(truth)) <= 4


@settings(max_examples=15, deadline=None)
@given(
    n_frames=st.integers(8, 900),
    chunk=st.integers(1, 400),
    window=st.sampled_from(
        [
            WindowSpec(),
            WindowSpec(size=3.0, hop=3.0, context=0.0),
            WindowSpec(size=1.4, hop=0.6, context=0.4),
        ]
    ),
)
def test_low_latency_covers_any_length_in_any_chunks(tools, n_frames, chunk, window):
    recording = tools.recording(tools.labels(n_frames, seed=n_frames))
    model = tools.OneHotRecognizer(window=window)

    def run(size):
        stream = PrimSeqStream(model, low_latency=True)
        return _run(stream, recording.data, [size])

    found = run(chunk)
    _same(found, run(n_frames))
    assert found.start[0] == 0
    assert found.end[-1] == n_frames / tools.fs
    np.testing.assert_array_equal(found.start[1:], found.end[:-1])


@pytest.mark.parametrize("low_latency", [False, True])
def test_a_state_goes_on_elsewhere(tools, low_latency):
    recording = _moving(tools, 1500, seed=12)
    model = tools.OneHotRecognizer()

    def fresh():
        return PrimSeqStream(
            model, normalizer="online", warmup=3.0, low_latency=low_latency
        )

    expected = _run(fresh(), recording.data, [100])
    for cut in (1, 140, 777, 1499):
        first = fresh()
        early = first.push(recording.data[:cut])
        state = first.state_dict()
        # Everything but arrays is JSON.
        json.dumps(state, default=lambda array: array.tolist())
        second = fresh().load_state_dict(state)
        first.push(np.full((900, 3), 7.0))
        rest = [second.push(recording.data[cut:]), second.flush()]
        _same(Segments.concat([early, *rest]), expected)


def test_a_day_needs_no_more_memory_than_a_minute(tools):
    model = tools.FramewiseModel()
    stream = PrimSeqStream(model, normalizer="online", low_latency=True)
    labels = tools.labels(3000, seed=13)
    data = tools.recording(labels, noise=0.1).data
    most = 0
    for _ in range(40):
        stream.push(data)
        state = stream.state_dict()
        kept = sum(v.nbytes for v in state.values() if isinstance(v, np.ndarray))
        most = max(most, kept)
        assert len(state["recent"]) < 40
    # A window of 6 s: 3 channels of 4 bytes and a mark.
    assert most <= (300 + 50) * 13


def test_model_without_tokens_gives_nothing(tools):
    model = tools.OneHotRecognizer()
    answer = model.decode_windows
    model.decode_windows = lambda *given: answer(*given)._replace(
        ids=np.zeros((1, 35), np.int32)
    )
    assert len(_run(PrimSeqStream(model), np.ones((500, 3)), [100])) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.push(np.zeros((5, 2))), r"shape \(n, 3\)"),
        (lambda s: s.push(np.zeros(5)), "shape"),
        (lambda s: s.push(np.array([["a", "b", "c"]])), "numbers"),
        (lambda s: s.push(np.full((2, 3), np.nan)), "channel 0 at frame 0"),
        (lambda s: s.push(np.zeros((2, 3)), [True]), "one entry for each of 2"),
        (lambda s: s.flush(), "at least 8"),
        (lambda s: (s.push(np.zeros((9, 3))), s.flush(), s.flush()), "was flushed"),
        (
            lambda s: (s.push(np.zeros((9, 3))), s.flush(), s.push(np.zeros((1, 3)))),
            "was flushed",
        ),
    ],
)
def test_bad_chunks_are_refused(tools, call, message):
    with pytest.raises(InvalidInputError, match=message):
        call(PrimSeqStream(tools.OneHotRecognizer()))


def test_bad_settings_are_refused(tools):
    model = tools.OneHotRecognizer()
    for changes, message in (
        ({"normalizer": "none"}, "'online'"),
        ({"normalizer": ZNormalizer()}, "without mean_"),
        ({"fs": 0}, "fs"),
        ({"warmup": -1}, "warmup"),
        ({"channels": [Channel("x", "feature", "1")]}, "channels"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            PrimSeqStream(model, **changes)
    wide = _moving(tools, 100, 0).select(["a", "b"])
    with pytest.raises(InvalidInputError, match="3 channels of the model, got 2"):
        PrimSeqStream(model, normalizer=wide)
    bare = SimpleNamespace(classes_=("a",), fs_=50.0, feature_names_=["x"])
    with pytest.raises(InvalidInputError, match="WindowSpec"):
        PrimSeqStream(bare)
    bare.window = WindowSpec()
    with pytest.raises(InvalidInputError, match="predict_logits"):
        PrimSeqStream(bare)
    for name, message in (("segmenter", "signals"), ("whole_", "whole recordings")):
        model = tools.OneHotRecognizer()
        setattr(model, name, True)
        with pytest.raises(InvalidInputError, match=message):
            PrimSeqStream(model)


def test_bad_states_are_refused(tools):
    stream = PrimSeqStream(tools.OneHotRecognizer())
    state = stream.state_dict()
    for changed, message in (
        ({**state, "fs": 100.0}, "100"),
        ({**state, "low_latency": True}, "True"),
        ({**state, "frames": np.zeros((2, 9))}, "3 channels"),
        ({k: v for k, v in state.items() if k != "open"}, "'open'"),
        ({}, "'version'"),
    ):
        with pytest.raises(CheckpointError, match=message):
            PrimSeqStream(tools.OneHotRecognizer()).load_state_dict(changed)
