"""Sanitizing: what is repaired, what is found, and that nothing else is touched."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sklearn.base import clone

from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.motion import Channel, Recording, Segments, io
from mlmethods.motion.sanitize import SensorSanitizer

ACCEL = [Channel(f"a{axis}", "accel", "m/s2", sensor="wrist") for axis in "xyz"]
GYRO = [Channel(f"w{axis}", "gyro", "rad/s", sensor="wrist") for axis in "xyz"]
QUAT = [Channel(f"q{axis}", "quat", "1", sensor="wrist") for axis in "wxyz"]
ANGLE = [Channel("elbow", "angle", "deg"), Channel("wrist", "angle", "deg")]
SIDE = [Channel("side", "side", "1")]
CLASSES = ("idle", "reach")


@functools.cache
def watch(place):
    """Real signals at 50 Hz: accelerations in m/s2 and angular velocities in rad/s."""
    from seglearn.datasets import load_watch

    signals = np.asarray(load_watch()["X"][place], np.float64)
    return (signals * np.repeat([9.80665, 1.0], 3)).astype(np.float32)


def rotations(count, fs=100.0, seed=0):
    rng = np.random.default_rng(seed)
    turns = np.cumsum(rng.normal(size=(count, 3)), axis=0) * 0.05
    q = Rotation.from_rotvec(turns).as_quat(scalar_first=True)
    q[1:] *= np.cumprod(np.where(np.sum(q[1:] * q[:-1], axis=1) < 0, -1, 1))[:, None]
    return q


def full(count=3000, seed=0):
    """Made-up signals of every kind, without defects, at 100 Hz."""
    rng = np.random.default_rng(seed)
    t = np.arange(count) / 100
    wave = np.stack([np.sin((1 + k) * t + k) for k in range(8)], axis=1)
    wave += 0.01 * rng.normal(size=wave.shape)
    accel = wave[:, :3] + [0, 0, 9.80665]
    data = [
        accel,
        wave[:, 3:6],
        rotations(count),
        40 * wave[:, 6:],
        np.ones((count, 1)),
    ]
    return np.hstack(data).astype(np.float32)


CHANNELS = [*ACCEL, *GYRO, *QUAT, *ANGLE, *SIDE]


def make(data, fs=100.0, channels=None, **given):
    channels = CHANNELS if channels is None else channels
    return Recording(data, fs, channels, subject="s1", **given)


def issues(recording):
    return sorted({(x.channel, x.issue, x.action) for x in recording.quality})


def repair(recording, **given):
    (result,) = SensorSanitizer(**given).fit_transform([recording])
    return result


@pytest.mark.parametrize("place", [0, 3, 40, 90, 139])
def test_clean_real_signals_are_not_touched(place):
    recording = make(watch(place), 50.0, [*ACCEL, *GYRO])
    assert repair(recording, fs_out=50) is recording


def test_clean_signals_of_every_kind_are_not_touched():
    recording = make(full())
    assert repair(recording) is recording
    assert SensorSanitizer().transform(recording)[0] is recording


def damaged():
    """A recording with one defect of each kind, and the list of them."""
    data = full()
    data[100:110, 0] = np.nan
    data[200:203, 1] = np.inf
    data[300, 2] = -5000
    data[400:480, 3] = data[400, 3]
    data[500:503, 4] = 150
    data[600:604, 5] = 40
    data[700:705, 6:10] *= 0.3
    data[800:805, 6:10] *= 1.02
    data[900:, 6:10] *= -1
    data[1000:1080, 10:12] = data[1000, 10:12]
    quat = [f"q{x}" for x in "wxyz"]
    planted = [
        ("ax", "missing values", 1.0, 1.1),
        ("ay", "infinite value", 2.0, 2.03),
        ("az", "implausible value", 3.0, 3.01),
        ("wx", "flat", 4.0, 4.8),
        ("wy", "implausible value", 5.0, 5.03),
        ("wz", "saturated", 6.0, 6.04),
        *((q, "norm of quaternion", 7.0, 7.05) for q in quat),
        *((q, "norm of quaternion", 8.0, 8.05) for q in quat),
        *((q, "sign of quaternion", 9.0, 9.01) for q in quat),
        ("elbow", "flat", 10.0, 10.8),
        ("wrist", "flat", 10.0, 10.8),
    ]
    return data, planted


def test_every_planted_defect_is_found_and_nothing_else():
    data, planted = damaged()
    result = repair(make(data), max_gap=1.0)
    found = {
        (x.channel, x.issue, round(x.start, 6), round(x.end, 6)) for x in result.quality
    }
    filled = {x for x in found if x[1] == "missing values"}
    assert set(planted) <= found
    # What was taken as missing is reported as filled, too; there is nothing else.
    expected = {
        (channel, "missing values", start, end)
        for channel, issue, start, end in planted
        if issue not in ("saturated", "sign of quaternion") and start != 8.0
    }
    assert filled == expected
    assert found == expected | set(planted)
    assert result.n_frames == len(data)
    assert np.isfinite(result.data).all()
    assert "valid" not in result.meta
    clean = full()
    touched = np.zeros(clean.shape, bool)
    for channel, issue, start, end in planted:
        if issue != "sign of quaternion":
            column = [c.name for c in CHANNELS].index(channel)
            touched[round(start * 100) : round(end * 100), column] = True
    np.testing.assert_array_equal(result.data[~touched], clean[~touched])
    # Gaps in these smooth signals are filled well.
    np.testing.assert_allclose(result.data[100:110, 0], clean[100:110, 0], atol=0.05)
    np.testing.assert_allclose(
        result.data[700:705, 6:10], clean[700:705, 6:10], atol=0.2
    )
    np.testing.assert_allclose(
        np.linalg.norm(result.data[:, 6:10], axis=1), 1, atol=1e-5
    )


def test_saturated_real_signals_are_reported():
    data = np.array(watch(3))
    data[:, 3:] *= 3
    limit = np.float32(np.quantile(np.abs(data[:, 3]), 0.98))
    clipped = np.clip(data[:, 3], -limit, limit)
    runs = np.flatnonzero(
        np.convolve(np.abs(clipped) == limit, np.ones(3), "valid") == 3
    )
    assert limit > 2.1
    assert len(runs)
    data[:, 3] = clipped
    result = repair(make(data, 50.0, [*ACCEL, *GYRO]), fs_out=50)
    found = [x for x in result.quality if x.issue == "saturated"]
    covered = np.zeros(len(data), bool)
    for entry in found:
        covered[round(entry.start * 50) : round(entry.end * 50)] = True
    assert covered[runs].all()
    assert {entry.channel for entry in found} == {"wx"}
    np.testing.assert_array_equal(result.data, data)


def test_quantized_rest_is_not_flat():
    data = full()
    data[:, :3] = np.round(data[:, :3])
    result = repair(make(data))
    assert not any(entry.issue == "flat" for entry in result.quality)


def test_channels_that_repeat_anyway_are_not_judged():
    data = full()
    data[:, 3] = np.repeat(data[::2, 3], 2)
    data[400:480, 3] = data[400, 3]
    assert not repair(make(data)).quality


def test_long_gaps_split():
    data = full()
    data[1000:1100, 0] = np.nan
    data[2000:2010, 1] = np.nan
    data[2050:2053] = np.nan
    labels = Segments([0, 9.5, 20.0], [9.5, 20.0, 30.0], [0, 1, 0], CLASSES)
    first, second = SensorSanitizer().transform([make(data, labels=labels)])
    assert (first.n_frames, second.n_frames) == (1000, 1900)
    assert [first.meta["part"], second.meta["part"]] == [0, 1]
    assert [first.meta["offset"], second.meta["offset"]] == [0, 11.0]
    assert first.name == second.name == "s1"
    np.testing.assert_array_equal(first.data, data[:1000])
    assert np.isfinite(second.data).all()
    np.testing.assert_allclose(second.labels.start, [0, 9])
    np.testing.assert_allclose(second.labels.end, [9, 19])
    gap = first.quality[-1]
    assert (gap.channel, gap.issue, gap.action) == ("ax", "missing values", "split")
    assert (gap.start, gap.end) == (10.0, 11.0)
    assert ("ay", "missing values", "interpolated") in issues(second)


def test_long_gaps_mask():
    data = full()
    data[1000:1100, 0] = np.nan
    result = repair(make(data), on_long_gap="mask")
    expected = np.ones(len(data), bool)
    expected[1000:1100] = False
    np.testing.assert_array_equal(result.meta["valid"], expected)
    assert np.isfinite(result.data).all()
    assert issues(result) == [("ax", "missing values", "masked")]
    # A mask that is there stays and follows the rate.
    again = repair(result, fs_out=200.0, on_long_gap="mask")
    assert again.n_frames == 6000
    np.testing.assert_array_equal(again.meta["valid"][::2], expected)
    assert repair(result, on_long_gap="mask") is result


@pytest.mark.parametrize("length", [20, 21])
def test_the_limit_of_gaps(length):
    data = full()
    data[500 : 500 + length, 0] = np.nan
    result = repair(make(data), on_long_gap="mask")
    assert ("valid" in result.meta) == (length == 21)


def test_lost_channels_are_left_out():
    data = full()
    data[:2900, 3] = np.nan
    result = repair(make(data))
    assert "wx" not in result.feature_names
    assert issues(result) == [("wx", "missing values", "left out")]
    np.testing.assert_array_equal(result.data, np.delete(data, 3, axis=1))


def test_units():
    data = watch(3)
    g = [Channel(c.name, "accel", "g", c.sensor) for c in ACCEL]
    dps = [Channel(c.name, "gyro", "°/s", c.sensor) for c in GYRO]
    scaled = data / np.repeat([9.80665, np.pi / 180], 3).astype(np.float32)
    result = repair(make(scaled, 50.0, [*g, *dps]), fs_out=50)
    np.testing.assert_allclose(result.data, data, rtol=1e-5, atol=1e-6)
    assert result.channels == (*ACCEL, *GYRO)
    assert ("ax", "unit g", "converted to m/s2") in issues(result)
    unknown = [Channel(c.name, c.kind, "", c.sensor) for c in [*ACCEL, *GYRO]]
    result = repair(make(scaled, 50.0, unknown), fs_out=50)
    np.testing.assert_allclose(result.data, data, rtol=1e-5, atol=1e-6)
    assert ("*", "no unit of accel", "taken as g") in issues(result)
    with pytest.raises(InvalidInputError, match=r"has no unit of accel.*neither 1"):
        repair(make(3 * scaled, 50.0, unknown), fs_out=50)
    wrong = [Channel(c.name, c.kind, "V") for c in ACCEL]
    with pytest.raises(InvalidInputError, match="got 'V' for the accel 'ax'"):
        repair(make(data[:, :3], 50.0, wrong), fs_out=50)


def test_accelerations_without_gravity_are_reported():
    data = full()
    data[:, 2] -= 9.80665
    data[500:700, :3] = 0.01 * np.random.default_rng(0).normal(size=(200, 3))
    result = repair(make(data))
    assert {(x.channel, x.action) for x in result.quality} == {
        (name, "kept") for name in ("ax", "ay", "az")
    }
    np.testing.assert_array_equal(result.data, data)
    free = [Channel(f"free {c.name}", "accel", "m/s2", "wrist") for c in ACCEL]
    assert not repair(make(data, channels=[*free, *CHANNELS[3:]])).quality


def test_no_motion():
    flat = np.ones((500, 3))
    with pytest.raises(InvalidInputError, match="'s1' has no motion signal"):
        repair(make(flat, channels=ACCEL))
    with pytest.raises(InvalidInputError, match="no values at all"):
        repair(make(flat * np.nan, channels=ACCEL))
    one = full()
    one[:, 1] = 2
    result = repair(make(one))
    assert ("ay", "flat", "kept") in issues(result)
    np.testing.assert_array_equal(result.data, one)
    gone = full(600)
    gone[::4, 0] = np.nan
    gone[5:595, 1] = np.nan
    gone = np.where(np.arange(600)[:, None] % 40 < 36, np.nan, gone)
    with pytest.raises(InvalidInputError, match="no stretch of 8 frames"):
        SensorSanitizer(max_gap=0.0).transform([make(gone)])


# Stamps


def test_gaps_in_stamps():
    data = full()
    keep = np.ones(len(data), bool)
    keep[1000:1100] = False
    keep[2000:2010] = False
    time = np.flatnonzero(keep) / 100
    recording = make(data[keep], meta={"time": time})
    first, second = SensorSanitizer().transform([recording])
    assert (first.n_frames, second.n_frames) == (1000, 1900)
    np.testing.assert_allclose(first.data, data[:1000], atol=1e-5)
    np.testing.assert_allclose(second.data[:890], data[1100:1990], atol=1e-5)
    masked = repair(recording, on_long_gap="mask")
    assert masked.n_frames == 3000
    np.testing.assert_array_equal(
        masked.meta["valid"][::10], keep[::10] | (np.arange(0, 3000, 10) // 10 == 200)
    )
    found = {x.issue: x for x in masked.quality if x.issue == "missing samples"}
    assert [x.action for x in masked.quality][:2] == ["masked", "interpolated"]
    assert found["missing samples"].start == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("fs", "fs_out"), [(100.0, 100.0), (59.9, 100.0), (148.0, 50.0)]
)
def test_uneven_stamps(fs, fs_out):
    rng = np.random.default_rng(0)
    count = int(20 * fs)
    time = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / fs
    time -= time[0]
    wave = np.stack([np.sin(2 * np.pi * f * time) for f in (0.5, 1.0, 2.0)], axis=1)
    recording = make(20 * wave, fs, ACCEL, meta={"time": time})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MLMethodsWarning)
        result = repair(recording, fs_out=fs_out)
    assert result.fs == fs_out
    assert "time" not in result.meta
    grid = np.arange(result.n_frames) / fs_out
    expected = 20 * np.stack(
        [np.sin(2 * np.pi * f * grid) for f in (0.5, 1, 2)], axis=1
    )
    inner = slice(int(fs_out), -int(fs_out))
    assert np.abs(result.data - expected)[inner].max() < 0.02 * 20
    assert "uneven time stamps" in result.quality[-1].issue


def test_labels_follow_the_stamps():
    data = full()
    time = np.arange(3000) / 100
    time[1000:] += 5.0
    # Frames count as uniform: the label ends half a second after the gap.
    labels = Segments([5.0], [10.5], [1], CLASSES)
    result = repair(make(data, labels=labels, meta={"time": time}), on_long_gap="mask")
    np.testing.assert_allclose(result.labels.start, [5.0])
    np.testing.assert_allclose(result.labels.end, [15.5])


def test_stamps_out_of_order():
    data = full()
    time = np.arange(3000) / 100
    order = np.arange(3000)
    order[[50, 51]] = [51, 50]
    labels = Segments.from_frames(
        (np.arange(3000) >= 50)[order].astype(int), 100, CLASSES
    )
    twice = np.insert(order, 200, 199)
    recording = make(data[twice], meta={"time": time[twice]})
    result = repair(recording)
    np.testing.assert_array_equal(result.data, data)
    entry = result.quality[0]
    assert (entry.issue, entry.action) == (
        "time stamps out of order or twice",
        "2 sorted or merged",
    )
    sorted_labels = repair(make(data[order], labels=labels, meta={"time": time[order]}))
    np.testing.assert_allclose(sorted_labels.labels.start, [0, 0.5])


def test_equal_stamps_are_averaged():
    data = full()
    double = np.repeat(data, np.where(np.arange(3000) == 7, 2, 1), axis=0)
    double[8] += 2
    double[8, 1] = np.nan
    double[20, 2] = np.inf
    time = np.insert(np.arange(3000) / 100, 7, 0.07)
    result = repair(make(double, meta={"time": time}))
    assert ("az", "infinite value", "taken as missing") in issues(result)
    np.testing.assert_allclose(result.data[7, 0], data[7, 0] + 1, atol=1e-5)
    np.testing.assert_allclose(result.data[7, 1], data[7, 1], atol=1e-6)


def test_many_stamps_out_of_order():
    data, time = full(), np.arange(3000) / 100
    order = np.arange(3000)
    order[1000:1100:2], order[1001:1100:2] = (
        order[1001:1100:2].copy(),
        order[1000:1100:2].copy(),
    )
    with pytest.warns(MLMethodsWarning, match="'s1' have more than 1 % of their time"):
        repair(make(data[order], meta={"time": time[order]}))
    rng = np.random.default_rng(0)
    order = rng.permutation(3000)
    with pytest.raises(
        InvalidInputError, match=r"100% of its time stamps out of order"
    ):
        repair(make(data[order], meta={"time": time[order]}))
    time[5] = np.nan
    with pytest.raises(InvalidInputError, match="must be finite, got nan at frame 5"):
        repair(make(data, meta={"time": time}))


def test_rates_change_with_the_recording():
    data = watch(3)
    labels = Segments([0, 2.0], [2.0, 5.0], [0, 1], CLASSES)
    recording = make(data, 50.0, [*ACCEL, *GYRO], labels=labels)
    with pytest.warns(MLMethodsWarning, match="'s1' are slower than 100 Hz"):
        result = repair(recording)
    assert result.fs == 100
    assert result.n_frames == 2 * len(data)
    # What is above 20 Hz is lost, which is little.
    difference = result.data[200:-200:2] - data[100:-100]
    assert (difference.std(axis=0) < 0.05 * data.std(axis=0)).all()
    assert result.labels == labels
    assert result.quality[-1] == (
        "*",
        "50 Hz",
        0.0,
        recording.duration,
        "resampled to 100 Hz",
    )
    with pytest.raises(InvalidInputError, match=r"30 Hz.*at least 40 Hz"):
        repair(recording.replace(fs=30.0))


def test_a_side_stays_a_side():
    data = full()
    data[:, -1] = 2
    result = repair(make(data, 200.0))
    np.testing.assert_array_equal(result.data[:, -1], 2)
    np.testing.assert_allclose(
        np.linalg.norm(result.data[:, 6:10], axis=1), 1, atol=1e-6
    )


# As a whole


def test_a_damaged_export_of_a_watch(tmp_path):
    """A real recording, exported with named damages, comes back whole."""
    signals = watch(3)[:1500]
    lines = ["Zeit (ms);accX (g);accY (g);accZ (g);gyrX (dps);gyrY (dps);gyrZ (dps)"]
    scaled = signals / np.repeat([9.80665, np.pi / 180], 3)
    for i, row in enumerate(scaled):
        cells = [str(20 * i), *(f"{x:.6f}" for x in row)]
        cells = ["n/a" if (i, j) == (500, 2) else x for j, x in enumerate(cells)]
        lines.append(";".join(cells).replace(".", ","))
    del lines[1001:1004]
    lines[1200], lines[1201] = lines[1201], lines[1200]
    lines.insert(1400, lines[1400])
    path = tmp_path / "s3_übung_1.CSV"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    recording = io.read(path, column_map={"time": "Zeit (ms)", "time_unit": "ms"})
    assert recording.subject == "s3"
    result = repair(recording, fs_out=50)
    assert result.n_frames == 1500
    whole = np.ones(1500, bool)
    whole[[500, *range(1000, 1003)]] = False
    np.testing.assert_allclose(result.data[whole], signals[whole], rtol=1e-4, atol=1e-4)
    assert np.isfinite(result.data).all()
    found = [entry[1::3] for entry in result.quality if entry.action != "kept"]
    assert found == [
        ("time stamps out of order or twice", "2 sorted or merged"),
        ("missing values", "interpolated"),
        ("missing samples", "interpolated"),
        (result.quality[-1].issue, "interpolated to 50 Hz"),
    ]


def test_arguments():
    recording = make(full())
    for arguments, message in [
        ({"fs_out": 20}, "fs_out must be a finite number >= 40"),
        ({"max_gap": -1}, "max_gap must be"),
        ({"on_long_gap": "drop"}, "on_long_gap must be one of"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            SensorSanitizer(**arguments).transform([recording])
    with pytest.raises(InvalidInputError, match="X must hold recordings, got int"):
        SensorSanitizer().transform([3])
    copy = clone(SensorSanitizer(fs_out=50, max_gap=0.1, on_long_gap="mask"))
    assert copy.get_params() == {"fs_out": 50, "max_gap": 0.1, "on_long_gap": "mask"}
