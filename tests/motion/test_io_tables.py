"""Reading of tables: columns, units, time stamps, labels, and damaged files."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError
from mlmethods.motion import Channel, io
from mlmethods.motion._units import GRAVITY, known_unit
from mlmethods.motion.io.columns import ColumnMap, split_unit

IMU = [
    "time (s)",
    "ax (g)",
    "ay (g)",
    "az (g)",
    "wx (rad/s)",
    "wy (rad/s)",
    "wz (rad/s)",
]


@functools.cache
def watch():
    """Real signals at 50 Hz: accelerations in g and angular velocities in rad/s."""
    from seglearn.datasets import load_watch

    return np.asarray(load_watch()["X"][3], np.float64)


def rows(count=400, *, start=0.0):
    signals = watch()[:count]
    time = start + np.arange(len(signals)) / 50
    return np.column_stack([time, signals])


def write(
    path, names, values, *, delimiter=",", decimal=".", end="\n", encoding="utf-8"
):
    def cell(value):
        text = value if isinstance(value, str) else repr(float(value))
        return text.replace(".", decimal) if not isinstance(value, str) else text

    lines = [delimiter.join(names)]
    lines += [delimiter.join(cell(value) for value in row) for row in values]
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return path


def check_watch(recording, count=400):
    assert recording.fs == 50
    assert recording.n_frames == count
    assert "time" not in recording.meta
    assert [c.kind for c in recording.channels] == ["accel"] * 3 + ["gyro"] * 3
    assert {c.unit for c in recording.channels} == {"m/s2", "rad/s"}
    expected = watch()[:count] * np.repeat([GRAVITY, 1.0], 3)
    np.testing.assert_allclose(recording.data, expected, rtol=1e-6, atol=1e-6)


def test_csv(tmp_path):
    recording = io.read(write(tmp_path / "s7_rows_a.csv", IMU, rows()))
    check_watch(recording)
    assert recording.subject == "s7"
    assert recording.activity == "rows"
    assert recording.feature_names == ["ax", "ay", "az", "wx", "wy", "wz"]
    assert recording.data.dtype == np.float32


@pytest.mark.parametrize(
    "layout",
    [
        {"delimiter": "\t"},
        {"delimiter": ";", "decimal": ","},
        {"delimiter": "\t", "decimal": ","},
        {"delimiter": "|"},
        {"end": "\r\n"},
        {"encoding": "utf-8-sig", "end": "\r\n"},
        {"encoding": "utf-16"},
    ],
)
def test_layouts(tmp_path, layout):
    path = tmp_path / "Sitzung Ä 1.CSV"
    check_watch(io.read(write(path, IMU, rows(), **layout)))


def test_free_lines_blank_lines_and_a_row_of_units(tmp_path):
    path = tmp_path / "a.csv"
    body = write(tmp_path / "b.csv", IMU, rows(60)).read_text().splitlines()
    names = "time,ax,ay,az,wx,wy,wz"
    units = "s,g,g,g,rad/s,rad/s,rad/s"
    head = ["Exported by a program", "date,2020-01-01", "", names, units]
    path.write_text("\n".join([*head, "", *body[1:30], "", *body[30:]]))
    check_watch(io.read(path), 60)


def test_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = rows()
    table = pa.table({name: values[:, j] for j, name in enumerate(IMU)})
    pq.write_table(table, tmp_path / "a.parquet")
    check_watch(io.read(tmp_path / "a.parquet"))
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:2000])
    with pytest.raises(DataFormatError, match=r"cut\.parquet: this is no complete"):
        io.read(tmp_path / "cut.parquet")


@pytest.mark.parametrize(
    ("name", "scale", "start"),
    [
        ("t_ms", 1e3, 0),
        ("Timestamp [us]", 1e6, 1.6e15),
        ("time", 1e3, 0),
        ("t", 1, 1e9),
    ],
)
def test_units_of_time(tmp_path, name, scale, start):
    values = rows()
    values[:, 0] = np.round(values[:, 0] * scale) + start if scale > 1 else values[:, 0]
    check_watch(io.read(write(tmp_path / "a.csv", [name, *IMU[1:]], values)))


def test_dates(tmp_path):
    values = [
        [f"2024-03-01 10:00:{i // 50:02d}.{20 * (i % 50):03d}", *row[1:]]
        for i, row in enumerate(rows(200))
    ]
    check_watch(io.read(write(tmp_path / "a.csv", ["Date", *IMU[1:]], values)), 200)


def test_stamps_in_whole_milliseconds_are_uniform(tmp_path):
    values = rows()
    values[:, 0] = np.round(np.arange(len(values)) * 1000 / 60)
    recording = io.read(write(tmp_path / "a.csv", ["time_ms", *IMU[1:]], values))
    assert recording.fs == 60
    assert "time" not in recording.meta


def test_uneven_stamps_are_kept(tmp_path):
    values = rows()
    values[100:, 0] += 0.5
    values[300, 0] += 0.008
    recording = io.read(write(tmp_path / "a.csv", IMU, values))
    assert recording.fs == 50
    np.testing.assert_allclose(recording.meta["time"], values[:, 0], atol=1e-9)


@pytest.mark.parametrize(("off", "uneven"), [(0.05, False), (0.2, True)])
def test_small_jitter_counts_as_uniform(tmp_path, off, uneven):
    values = rows()
    values[200, 0] += off / 50
    recording = io.read(write(tmp_path / "a.csv", IMU, values))
    assert recording.fs == 50
    assert ("time" in recording.meta) == uneven


def test_counts_need_a_rate(tmp_path):
    values = rows()
    values[:, 0] = np.arange(len(values))
    values[200:, 0] += 30
    for name in ("sample", "time", ""):
        path = write(tmp_path / "a.csv", [name, *IMU[1:]], values)
        with pytest.raises(DataFormatError, match="give fs="):
            io.read(path)
        recording = io.read(path, fs=50)
        assert recording.fs == 50
        np.testing.assert_allclose(recording.meta["time"], values[:, 0] / 50)


def test_no_stamps_at_all(tmp_path):
    path = write(tmp_path / "a.csv", IMU[1:], rows()[:, 1:])
    with pytest.raises(DataFormatError, match=r"a\.csv: no column of time stamps"):
        io.read(path)
    check_watch(io.read(path, fs=50))


def test_slow_rates_are_refused(tmp_path):
    values = rows()
    values[:, 0] *= 2
    path = write(tmp_path / "a.csv", IMU, values)
    with pytest.raises(DataFormatError, match=r"25 Hz.*at least 40 Hz.*give fs="):
        io.read(path)
    # Stamps that disagree with a given rate are ignored, and that is said.
    recording = io.read(path, fs=50)
    assert recording.quality[0].issue == "time stamps disagree with fs"
    check_watch(recording)


@pytest.mark.parametrize(
    ("accel", "gyro"), [(1.0, 1.0), (GRAVITY, 180 / np.pi), (1000.0, 180 / np.pi)]
)
def test_units_from_values(tmp_path, accel, gyro):
    names = ["time (s)", "accX", "accY", "accZ", "gyrX", "gyrY", "gyrZ"]
    values = rows() * np.repeat([1.0, accel, gyro], [1, 3, 3])
    recording = io.read(write(tmp_path / "a.csv", names, values))
    check_watch(recording)
    assert [entry.issue for entry in recording.quality] == [
        "no unit of accel",
        "no unit of gyro",
    ]


def test_ambiguous_units_are_refused(tmp_path):
    names = ["time (s)", "accX", "accY", "accZ"]
    path = write(tmp_path / "a.csv", names, rows()[:, :4] * [1, 3, 3, 3])
    with pytest.raises(
        DataFormatError, match=r"a\.csv: column 'accX' and others has no"
    ):
        io.read(path)
    recording = io.read(path, column_map={"units": {"accel": "m/s2"}})
    np.testing.assert_allclose(recording.data, watch()[:400, :3] * 3, rtol=1e-6)
    # Between slow in rad/s and fast in deg/s.
    values = rows()[:, [0, 4, 5, 6]]
    values[:, 1:] *= 40 / np.quantile(np.abs(values[:, 1:]), 0.999)
    path = write(tmp_path / "a.csv", ["time (s)", "gx", "gy", "gz"], values)
    with pytest.raises(DataFormatError, match="has no unit of gyro"):
        io.read(path)


def test_angles_without_unit(tmp_path):
    angle = 20 * np.sin(np.arange(400) / 30)
    values = np.column_stack([rows()[:, 0], angle])
    path = write(tmp_path / "a.csv", ["time (s)", "elbow flexion"], values)
    np.testing.assert_allclose(io.read(path).data[:, 0], angle, rtol=1e-6)
    path = write(tmp_path / "a.csv", ["time (s)", "elbow flexion"], values / [1, 60])
    with pytest.raises(DataFormatError, match="small enough for radians"):
        io.read(path)
    path = write(
        tmp_path / "a.csv", ["time (s)", "elbow flexion (rad)"], values / [1, 60]
    )
    np.testing.assert_allclose(
        io.read(path).data[:, 0], np.rad2deg(angle / 60), rtol=1e-6
    )


def test_units_of_another_kind_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", ["time (s)", "accX (deg/s)", "b"], rows()[:, :3])
    with pytest.raises(
        DataFormatError, match=r"a\.csv: column 'accX' seems to hold acc"
    ):
        io.read(path)


def test_names_of_columns():
    names = {
        "accX_wrist_L [g]": ("accel", "g", "wrist", "left"),
        "RightForeArm_gyr_z (°/s)": ("gyro", "deg/s", "forearm", "right"),
        "imu1_ax (m/s²)": ("accel", "m/s2", "imu1", None),
        "Pelvis Accel Sensor X,mG": ("accel", "mg", "pelvis", None),
        "hand_lt_qw": ("quat", "1", "hand", "left"),
        "Angular Velocity Y (dps)": ("gyro", "deg/s", None, None),
        "elbowflexionltdeg": ("angle", "deg", None, "left"),
        "lumbarlateralrtdeg": ("angle", "deg", None, None),
        "mag_x": ("feature", "", None, None),
        "temperature": ("feature", "", None, None),
    }
    channels = ColumnMap.infer(list(names)).channels
    found = {x: (c.kind, c.unit, c.sensor, c.side) for x, c in channels.items()}
    found = {
        x: (
            *parts[:2],
            *(parts[2:] if parts[0] not in ("angle", "feature") else (None, parts[3])),
        )
        for x, parts in found.items()
    }
    assert found == names
    assert split_unit("Torso, upper") == ("Torso, upper", None)
    assert known_unit("accel", "M/S^2") == "m/s2"
    assert known_unit("gyro", "g") is None


def test_quaternions_come_as_wxyz(tmp_path):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(100, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    values = np.column_stack([np.arange(100) / 100, q])
    names = ["time (s)", "hand_qx", "hand_qy", "hand_qz", "hand_qw"]
    recording = io.read(write(tmp_path / "a.csv", names, values))
    assert recording.feature_names == ["hand_qw", "hand_qx", "hand_qy", "hand_qz"]
    np.testing.assert_allclose(recording.data, q[:, [3, 0, 1, 2]], rtol=1e-6)
    names = ["time (s)", "hand_q0", "hand_q1", "hand_q2", "hand_q3"]
    path = write(tmp_path / "a.csv", names, values)
    np.testing.assert_allclose(io.read(path).data, q, rtol=1e-6)
    swapped = io.read(path, column_map={"quaternion": "xyzw"})
    np.testing.assert_allclose(swapped.data, q[:, [3, 0, 1, 2]], rtol=1e-6)


def labeled(path, labels, names=IMU):
    values = [
        [*row, label] for row, label in zip(rows(len(labels)), labels, strict=True)
    ]
    return write(path, [*names, "class"], values)


def test_labels(tmp_path):
    labels = ["rest"] * 50 + ["Reach"] * 30 + [""] * 20 + ["retract"] * 50
    recording = io.read(labeled(tmp_path / "a.csv", labels))
    spans = recording.labels
    assert spans.classes == ("idle", "reach", "reposition", "stabilize", "transport")
    assert spans.names == ["idle", "reach", "reposition"]
    np.testing.assert_allclose(spans.start, [0, 1, 2])
    np.testing.assert_allclose(spans.end, [1, 1.6, 3])
    assert spans.sequence() == [0, 1, 2]
    other = io.read(labeled(tmp_path / "a.csv", ["b"] * 50 + ["a"] * 50))
    assert other.labels.classes == ("a", "b")


def test_unknown_labels_name_the_line(tmp_path):
    labels = ["rest"] * 50 + ["raech"] * 30
    path = labeled(tmp_path / "a.csv", labels)
    columns = {"classes": ["idle", "reach"]}
    with pytest.raises(DataFormatError, match=r"a\.csv:52: .*'raech'.*'reach'"):
        io.read(path, column_map=columns)


def test_side_and_ignored_columns(tmp_path):
    values = [[*row, "R", "note"] for row in rows(100)]
    path = write(tmp_path / "a.csv", [*IMU, "paretic side", "comments"], values)
    recording = io.read(path)
    assert recording.side == "right"
    assert len(recording.channels) == 6
    assert recording.meta["ignored_columns"] == ["comments"]
    values[70][7] = "L"
    with pytest.raises(DataFormatError, match=r"a\.csv:72: column 'paretic side'"):
        io.read(write(path, [*IMU, "paretic side", "comments"], values))


def test_column_maps(tmp_path):
    values = rows() * np.repeat([1, GRAVITY, 1], [1, 3, 3])
    path = write(tmp_path / "a.csv", list("abcdefg"), values)
    channels = {
        "b": {"kind": "accel", "unit": "m/s^2", "sensor": "wrist", "name": "x"},
        "e": {"kind": "gyro", "unit": "rad/s"},
    }
    content = {"time": "a", "time_unit": "s", "channels": channels}
    (tmp_path / "map.json").write_text(json.dumps(content))
    (tmp_path / "map.yaml").write_text(
        "time: a\nchannels:\n  b: {kind: accel, unit: m/s^2, sensor: wrist, name: x}\n"
        "  e: {kind: gyro, unit: rad/s}\n"
    )
    given = ColumnMap(
        time="a",
        channels={
            "b": Channel("x", "accel", "m/s^2", sensor="wrist"),
            "e": Channel("e", "gyro", "rad/s"),
        },
    )
    for columns in (content, tmp_path / "map.json", tmp_path / "map.yaml", given):
        recording = io.read(path, column_map=columns)
        assert recording.channels == (
            Channel("x", "accel", "m/s2", sensor="wrist"),
            Channel("e", "gyro", "rad/s"),
        )
        np.testing.assert_allclose(
            recording.data, watch()[:400, [0, 3]] * [GRAVITY, 1], rtol=1e-6
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a", "must be a mapping"),
        ("a: [", r"map\.yaml:\d: a column map must be YAML"),
        ("tmie: a", "did you mean 'time'"),
        ("time_unit: h", "time_unit must be one of"),
        ("units: {accel: deg}", "must have a unit of accel"),
        ("channels: {b: {unit: g}}", "with the key kind"),
        ("channels: {b: {kind: accel, units: g}}", "must have no key 'units'"),
        ("channels: {bb: {kind: accel}}", r"names the column 'bb'.*did you mean 'b'"),
    ],
)
def test_wrong_column_maps(tmp_path, content, message):
    path = write(tmp_path / "a.csv", list("abcdefg"), rows())
    (tmp_path / "map.yaml").write_text(content)
    with pytest.raises(DataFormatError, match=message):
        io.read(path, column_map=tmp_path / "map.yaml")


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (37, "0.7,1,2", r"a\.csv:38: a row must have 7 cells.*got 3"),
        (
            200,
            "4.0,1,2,3,4,x,6",
            r"a\.csv:201: column 'wy \(rad/s\)' must hold numbers, got 'x'",
        ),
        (
            9,
            "n/a,1,2,3,4,5,6",
            r"a\.csv:10: column 'time \(s\)' must hold a time stamp",
        ),
    ],
)
def test_damaged_rows(tmp_path, line, text, message):
    path = write(tmp_path / "a.csv", IMU, rows())
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines))
    with pytest.raises(DataFormatError, match=message):
        io.read(path)


def test_a_damaged_cell_far_below(tmp_path):
    values = np.tile(rows(400), (100, 1))
    values[:, 0] = np.arange(len(values)) / 50
    path = write(tmp_path / "a.csv", IMU, values)
    lines = path.read_text().splitlines()
    lines[-3] = lines[-3].rsplit(",", 1)[0] + ",1.5.2"
    path.write_text("\n".join(lines))
    with pytest.raises(DataFormatError, match=rf"a\.csv:{len(lines) - 2}: column 'wz"):
        io.read(path)


def test_missing_values_are_nan(tmp_path):
    values = [list(row) for row in rows(100)]
    for place, text in enumerate(["n/a", "nan", "", "NaN", "NA", "null"]):
        values[10 + place][3] = text
    values[30][4] = "inf"
    recording = io.read(write(tmp_path / "a.csv", IMU, values))
    assert np.flatnonzero(np.isnan(recording.data[:, 2])).tolist() == list(
        range(10, 16)
    )
    assert np.isinf(recording.data[30, 3])
    assert np.isfinite(np.delete(recording.data, [*range(10, 16), 30], axis=0)).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("1,2,3\n4,5,6\n", "no line of column names"),
        ("hello\nworld\n", "no line of column names"),
        (
            "time,ax,ax\n0,1,2\n0.01,1,2\n",
            r"a\.csv:1: columns must have different names",
        ),
        ("time,note\n0,a\n0.01,b\n0.02,c\n", "no column holds a signal"),
    ],
)
def test_no_tables(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataFormatError, match=message):
        io.read(path)


def test_arguments(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"nothing\.csv is none"):
        io.read(tmp_path / "nothing.csv")
    path = write(tmp_path / "a.data", IMU, rows())
    with pytest.raises(DataFormatError, match=r"suffix '\.data'; give format="):
        io.read(path)
    check_watch(io.read(path, format="csv"))
    with pytest.raises(InvalidInputError, match="did you mean 'csv'"):
        io.read(path, format="cvs")
    with pytest.raises(InvalidInputError, match="fs must be"):
        io.read(path, fs=0)
    with pytest.raises(InvalidInputError, match="column_map must be"):
        io.read(path, format="csv", column_map=3)


def test_labels_that_begin_late(tmp_path):
    """Types of columns are told from all rows, not from the first block."""
    values = np.tile(rows(400), (60, 1))
    values[:, 0] = np.arange(len(values)) / 50
    labels = [""] * 20_000 + ["reach"] * 4_000
    path = write(
        tmp_path / "a.csv",
        [*IMU, "label"],
        [[*row, label] for row, label in zip(values, labels, strict=True)],
    )
    recording = io.read(path)
    assert path.stat().st_size > 2**20
    assert recording.labels.names == ["reach"]
    np.testing.assert_allclose(recording.labels.start, [400])
