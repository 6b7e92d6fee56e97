"""Normalizing, mirroring and augmentation of recordings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from mlmethods.errors import InvalidInputError
from mlmethods.motion.datasets import make_synthetic_primitives
from mlmethods.motion.mirror import SideMirror, mirror_side, mirror_table
from mlmethods.motion.preprocess import (
    Augmenter,
    ZNormalizer,
    jitter,
    magnitude_warp,
    resample_speed,
    scale_channels,
    time_warp,
)
from mlmethods.motion.recording import Channel, Recording
from mlmethods.motion.segments import Segments

SIDE = Channel("side", "side", "1")


def make(data, channels=None, **fields):
    data = np.asarray(data)
    if channels is None:
        channels = [Channel(f"c{i}", "angle", "deg") for i in range(data.shape[1])]
    return Recording(
        data, 100.0, channels, subject=fields.pop("subject", "s1"), **fields
    )


def noise(T=500, D=3, seed=0):
    return np.random.default_rng(seed).normal(5.0, 3.0, (T, D)).astype(np.float32)


def test_z_scores_are_those_of_a_population_in_double_precision():
    # More frames than a block, far from 0: single precision would not do.
    data = (noise(40000) + 1e4).astype(np.float32)
    out = ZNormalizer().transform([make(data)])[0].data
    exact = (data - data.mean(0, np.float64)) / data.std(0, dtype=np.float64)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, exact, rtol=2e-6, atol=1e-6)


def test_each_recording_is_on_its_own_and_sessions_and_training_sets_are_pooled():
    a, b = noise(100), 2 * noise(300, seed=1)
    x = make(a, session="1")
    y = make(b, session="1")
    z = make(a, session="2")
    own = ZNormalizer().transform([x, y])
    np.testing.assert_array_equal(own[0].data, ZNormalizer().transform([x])[0].data)
    both = np.concatenate([a, b]).astype(np.float64)
    session = ZNormalizer("session").transform([x, y, z])
    np.testing.assert_allclose(
        session[1].data, (b - both.mean(0)) / both.std(0), atol=1e-5
    )
    np.testing.assert_array_equal(session[2].data, own[0].data)
    unknown = ZNormalizer("session").transform([make(a), make(b)])
    np.testing.assert_array_equal(unknown[0].data, own[0].data)
    train = ZNormalizer("train").fit([x, y])
    np.testing.assert_allclose(train.mean_, both.mean(0))
    np.testing.assert_allclose(train.scale_, both.std(0))
    np.testing.assert_allclose(
        train.transform([z])[0].data, (a - both.mean(0)) / both.std(0), atol=1e-5
    )
    assert clone(train).per == "train"
    with pytest.raises(InvalidInputError, match="fitted"):
        clone(train).transform([x])
    with pytest.raises(InvalidInputError, match="channels of fit"):
        train.transform([make(a[:, :2])])


def test_a_constant_channel_is_zero_and_reported_and_the_side_stays():
    data = noise()
    data[:, 1] = 0.1
    data = np.column_stack([data, np.ones(500, np.float32)])
    channels = [*make(noise()).channels, SIDE]
    for normalizer in (ZNormalizer(), ZNormalizer("session"), ZNormalizer("train")):
        recording = make(data, channels)
        out = normalizer.fit([recording]).transform([recording])[0]
        assert (out.data[:, 1] == 0).all()
        assert (out.data[:, 3] == 1).all()
        assert [entry[:2] for entry in out.quality] == [("c1", "constant")]
        assert (out.quality[0].start, out.quality[0].end) == (0.0, 5.0)


def test_no_motion_signal():
    flat = np.full((100, 3), 2.5)
    with pytest.raises(InvalidInputError, match="no motion signal"):
        ZNormalizer().transform([make(flat, meta={"name": "x"})])
    train = ZNormalizer("train").fit([make(noise())])
    with pytest.raises(InvalidInputError, match="no motion signal"):
        train.transform([make(flat)])
    with pytest.raises(InvalidInputError, match="no frame is valid"):
        ZNormalizer().transform([make(noise(), meta={"valid": np.zeros(500, bool)})])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("per", ["recording", "session", "train"])
def test_values_that_are_not_finite_are_refused_by_name(value, per):
    data = noise(20000)
    data[17001:, 2] = value
    normalizer = ZNormalizer(per).fit([make(noise())])
    with pytest.raises(InvalidInputError, match=r"'walk'.*'c2' at frame 17001"):
        normalizer.transform([make(data, meta={"name": "walk"})])


def test_masked_frames_count_for_nothing():
    data = noise()
    valid = np.ones(500, bool)
    valid[100:200] = False
    clean = data[valid].astype(np.float64)
    data[100:150] = np.nan
    data[150:200] = 1e6
    out = ZNormalizer().transform([make(data, meta={"valid": valid})])[0].data
    np.testing.assert_allclose(
        out[valid], (clean - clean.mean(0)) / clean.std(0), atol=1e-5
    )
    assert np.isfinite(out).all()


def arm_channels():
    channels = [
        Channel("lumbarflexiondeg", "angle", "deg"),
        Channel("lumbarlateralrtdeg", "angle", "deg"),
        Channel("thoracicaxialrtdeg", "angle", "deg"),
    ]
    for token, side in (("lt", "left"), ("rt", "right")):
        channels += [
            Channel(f"elbowflexion{token}deg", "angle", "deg", None, side),
            Channel(f"shoulderrotationout{token}deg", "angle", "deg", None, side),
        ]
        for axis in "xyz":
            channels += [
                Channel(
                    f"handaccelsensor{axis}{token}mg", "accel", "m/s2", "hand", side
                ),
                Channel(f"{token}handrot{axis}", "quat", "1", "hand", side),
                Channel(f"hand_gyro_{axis}_{side}", "gyro", "rad/s", "hand", side),
            ]
    return [*channels, Channel("pelvisaccelsensorymg", "accel", "m/s2", "pelvis"), SIDE]


def test_mirror_table_names_source_and_sign_of_every_channel():
    rules = {rule.name: rule[1:] for rule in mirror_table(arm_channels())}
    assert rules["lumbarflexiondeg"] == ("lumbarflexiondeg", 1)
    assert rules["lumbarlateralrtdeg"] == ("lumbarlateralrtdeg", -1)
    assert rules["thoracicaxialrtdeg"] == ("thoracicaxialrtdeg", -1)
    assert rules["elbowflexionltdeg"] == ("elbowflexionrtdeg", 1)
    assert rules["shoulderrotationoutrtdeg"] == ("shoulderrotationoutltdeg", 1)
    assert rules["handaccelsensorxltmg"] == ("handaccelsensorxrtmg", 1)
    assert rules["handaccelsensoryltmg"] == ("handaccelsensoryrtmg", -1)
    assert rules["lthandroty"] == ("rthandroty", 1)
    assert rules["rthandrotz"] == ("lthandrotz", -1)
    assert rules["hand_gyro_x_left"] == ("hand_gyro_x_right", -1)
    assert rules["hand_gyro_y_right"] == ("hand_gyro_y_left", 1)
    assert rules["pelvisaccelsensorymg"] == ("pelvisaccelsensorymg", -1)
    assert rules["side"] == ("side", 1)
    other = {
        rule.name: rule[1:] for rule in mirror_table(arm_channels(), mediolateral="z")
    }
    assert other["handaccelsensoryltmg"][1] == 1
    assert other["handaccelsensorzltmg"][1] == -1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100), axis=st.sampled_from("xyz"))
def test_mirroring_twice_changes_no_bit(seed, axis):
    channels = arm_channels()
    rng = np.random.default_rng(seed)
    # Any bits, among them NaN of both signs, zeros and denormals.
    bits = rng.integers(0, 2**32, (30, len(channels)), dtype=np.uint32)
    data = bits.view(np.float32)
    data[::7] = -0.0
    data[:, -1] = rng.integers(0, 2)
    recording = make(data, channels, side="left", meta={"name": "x"})
    once = mirror_side(recording, mediolateral=axis)
    twice = mirror_side(once, mediolateral=axis)
    assert once.data.tobytes() != data.tobytes()
    assert twice.data.tobytes() == data.tobytes()
    assert (once.side, twice.side) == ("right", "left")
    assert once.meta["mirrored"]
    assert twice.meta == recording.meta
    assert once.data[0, -1] == 1 - data[0, -1]


def test_a_mirror_reflects_vectors_and_turns_as_physics_does():
    # A reflection M of the world maps a rotation R to M R M.
    from scipy.spatial.transform import Rotation

    reflect = np.diag([1.0, -1.0, 1.0])
    turn = Rotation.from_euler("xyz", [0.3, -0.5, 0.9])
    mirrored = Rotation.from_matrix(reflect @ turn.as_matrix() @ reflect)
    vector = np.array([1.0, 2.0, 3.0])
    channels = [Channel(f"a{a}", "accel", "m/s2") for a in "xyz"]
    channels += [Channel(f"q{a}", "quat", "1") for a in "xyzw"]
    channels += [Channel(f"w{a}", "gyro", "rad/s") for a in "xyz"]
    row = [*vector, *turn.as_quat(), *turn.as_rotvec()]
    expected = [*(reflect @ vector), *mirrored.as_quat(), *mirrored.as_rotvec()]
    out = mirror_side(make([row] * 8, channels)).data[0]
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_mirror_refuses_what_it_cannot_know():
    with pytest.raises(InvalidInputError, match="no counterpart"):
        mirror_table([Channel("elbowltdeg", "angle", "deg", None, "left")])
    with pytest.raises(InvalidInputError, match="'c0'"):
        mirror_table([Channel("c0", "feature", "1")])
    assert mirror_table([Channel("c0", "feature", "1")], signs={"c0": -1})[0].sign == -1
    with pytest.raises(InvalidInputError, match="signs must map"):
        mirror_table([Channel("c0", "feature", "1")], signs={"c1": -1})
    odd = make([[7.0]] * 8, [SIDE])
    with pytest.raises(InvalidInputError, match="0 and 1"):
        mirror_side(odd)
    with pytest.raises(InvalidInputError, match="has none"):
        SideMirror().transform([make(noise())])


def test_side_mirror_leaves_one_side():
    data = make_synthetic_primitives(4, seed=2, primitives=3)
    assert {r.side for r in data} == {"left", "right"}
    out = SideMirror().transform(data)
    assert {r.side for r in out} == {"right"}
    assert out[0] is data[0]
    assert out[1].data.tobytes() == mirror_side(data[1]).data.tobytes()
    assert {r.side for r in SideMirror("paretic-left").transform(data)} == {"left"}


def labeled(T=400):
    y = np.repeat([0, 1, -1, 2], [100, 120, 30, T - 250])
    return make(
        np.column_stack([np.sin(np.arange(T) / 20), np.arange(T), np.ones(T)]),
        [*make(noise(8, 2)).channels, SIDE],
        labels=Segments.from_frames(y, 100.0, ("a", "b", "c")),
        meta={"valid": np.arange(T) < T - 50, "time": np.arange(T) / 100},
    )


@pytest.mark.parametrize("change", [jitter, magnitude_warp, scale_channels, time_warp])
def test_changes_keep_the_side_are_repeatable_and_small_with_a_small_sigma(change):
    recording = labeled()
    once, again = (change(recording, rng=5) for _ in range(2))
    assert once.data.tobytes() == again.data.tobytes()
    assert once.data.shape == recording.data.shape
    assert (once.data[:, 2] == 1).all()
    assert (once.data[:, :2] != recording.data[:, :2]).any()
    nothing = change(recording, 0.0, rng=5)
    np.testing.assert_allclose(nothing.data, recording.data, atol=1e-4)
    assert nothing.labels == recording.labels


def test_sizes_of_the_changes():
    data = np.ones((20000, 40), np.float32)
    noisy = jitter(make(data), 0.05, rng=0).data - 1
    assert abs(noisy.std() - 0.05) < 1e-3
    scaled = scale_channels(make(data), 0.8, rng=0).data
    assert (scaled == scaled[0]).all()
    assert 0.5 < scaled[0].std() < 1.1
    curves = magnitude_warp(make(data), 0.2, rng=0).data
    assert np.abs(np.diff(curves, axis=0)).max() < 1e-3
    assert 0.1 < curves[0].std() < 0.3


def test_labels_move_with_a_warped_clock():
    # A ramp tells where each frame was taken from.
    recording = labeled()
    warped = time_warp(recording, 0.4, rng=1)
    source = warped.data[:, 1]
    assert source[0] == 0
    assert source[-1] == 399
    assert (np.diff(source) > 0).all()
    assert np.abs(source - np.arange(400)).max() > 5
    before, after = recording.frame_labels(), warped.frame_labels()
    nearest = before[np.round(source).astype(int)]
    edges = np.flatnonzero(np.diff(after)) + 1
    away = np.ones(400, bool)
    away[edges] = away[edges - 1] = False
    np.testing.assert_array_equal(after[away], nearest[away])
    assert "time" not in warped.meta
    assert warped.meta["valid"].sum() == (source <= 349).sum()


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.9, 1.0, 1.7, 2.0])
def test_resampled_speed_scales_labels(rate):
    recording = labeled()
    out = resample_speed(recording, rate)
    assert out.n_frames == round(400 * rate)
    np.testing.assert_allclose(
        out.labels.start, recording.labels.start * rate, atol=0.011
    )
    np.testing.assert_allclose(out.labels.end, recording.labels.end * rate, atol=0.011)
    assert out.labels.sequence() == recording.labels.sequence()
    if rate == 1.0:
        np.testing.assert_array_equal(out.data, recording.data)
    if rate == 0.25:
        # White noise is averaged, not folded.
        white = make(np.random.default_rng(0).standard_normal((4000, 2)))
        assert resample_speed(white, 0.25).data.std() < 0.6


def test_augmenter_is_off_by_default_and_draws_for_each_recording():
    data = [labeled() for _ in range(40)]
    for a, b in zip(data, Augmenter().transform(data), strict=True):
        assert a is b
    changed = Augmenter(jitter=0.1, random_state=0).transform(data)
    share = np.mean([a is not b for a, b in zip(data, changed, strict=True)])
    assert 0.25 < share < 0.75
    again = Augmenter(jitter=0.1, random_state=0).transform(data)
    assert all(
        a.data.tobytes() == b.data.tobytes()
        for a, b in zip(changed, again, strict=True)
    )
    lengths = {
        r.n_frames
        for r in Augmenter(resample=(0.25, 2), probability=1.0).transform(data)
    }
    assert len(lengths) > 20
    assert min(lengths) >= 100
    assert max(lengths) <= 800
    with pytest.raises(InvalidInputError, match="probability"):
        Augmenter(probability=2).transform(data)
    with pytest.raises(InvalidInputError, match="rate"):
        resample_speed(data[0], 0.0001)
