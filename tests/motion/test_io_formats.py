"""Reading of Noraxon, MVNX and BIDS-motion files, and of folders."""

from __future__ import annotations

import json
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError
from mlmethods.motion import Segments, export, io
from mlmethods.motion._units import GRAVITY
from mlmethods.motion.io.noraxon import noraxon_channel

ANGLES = [
    "lumbarflexiondeg",
    "lumbarlateralrtdeg",
    "thoracicaxialrtdeg",
    "elbowflexionltdeg",
    "shouldertotalflexionltdeg",
    "shoulderrotationoutrtdeg",
    "wristsupinationrtdeg",
]
EXPORTED = [
    "Lumbar Flexion (deg)",
    "Lumbar Lateral - RT (deg)",
    "Thoracic Axial - RT (deg)",
    "Noraxon MyoMotion-Joints-Elbow LT-Flexion (deg)",
    "LT Shoulder Total Flexion (deg)",
    "RT Shoulder Rotation - out (deg)",
    "Noraxon MyoMotion-Joints-Wrist RT-Supination (deg)",
]


def signals(count, columns, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(count, columns)), axis=0)


def noraxon(path, *, delimiter=";", decimal=","):
    names = ["time", "Activity", "Marker", *EXPORTED]
    names += [f"Hand Accel Sensor {axis} LT (mG)" for axis in "XYZ"]
    names += [f"Pelvis Rot {axis}" for axis in "XYZ"]
    values = np.round(signals(200, len(names) - 3), 3)
    lines = ["type;Noraxon MyoMotion CSV".replace(";", delimiter), "name;trial 1", ""]
    lines.append(delimiter.join(names))
    for i, row in enumerate(values):
        cells = [f"{i / 100:.2f}", "", "", *(f"{x:.3f}" for x in row)]
        lines.append(delimiter.join(x.replace(".", decimal) for x in cells))
    path.write_bytes("\r\n".join(lines).encode("cp1252"))
    return values


@pytest.mark.parametrize("decimal", [",", "."])
def test_noraxon(tmp_path, decimal):
    path = tmp_path / "S12_feeding_RT_SB_mod_x 2 .csv"
    values = noraxon(path, decimal=decimal)
    recording = io.read(path)
    assert recording.fs == 100
    assert (recording.subject, recording.activity) == ("s12", "feeding")
    assert recording.feature_names[: len(ANGLES)] == ANGLES
    kinds = [channel.kind for channel in recording.channels]
    assert kinds == ["angle"] * 7 + ["accel"] * 3 + ["quat"] * 3
    sides = [channel.side for channel in recording.channels]
    assert (
        sides == [None] * 3 + ["left"] * 2 + ["right"] * 2 + ["left"] * 3 + [None] * 3
    )
    expected = values * np.repeat([1, GRAVITY / 1000, 1], [7, 3, 3])
    np.testing.assert_allclose(recording.data, expected, rtol=1e-5, atol=1e-6)
    assert recording.channels[7].unit == "m/s2"
    assert recording.channels[7].sensor == "hand"


def test_noraxon_names():
    for exported, name in zip(EXPORTED, ANGLES, strict=True):
        assert noraxon_channel(exported).name == name
    assert noraxon_channel("RT Hand Accel Sensor X (mG)").name == "handaccelsensorxrtmg"


def test_noraxon_with_a_wrong_unit(tmp_path):
    path = tmp_path / "a.csv"
    noraxon(path, decimal=".")
    path.write_bytes(path.read_bytes().replace(b"X LT (mG)", b"X LT (uV)"))
    with pytest.raises(DataFormatError, match=r"a\.csv:4: column 'Hand Accel Sensor X"):
        io.read(path)


SEGMENTS = ["Pelvis", "RightUpperArm", "LeftHand"]
SENSORS = ["Pelvis", "LeftHand"]
JOINTS = ["jL5S1", "jRightElbow"]


def mvnx(path, frames, *, rate="60", skip=(), extra="", frame=None):
    rng = np.random.default_rng(1)
    q = rng.normal(size=(frames, len(SEGMENTS), 4))
    q /= np.linalg.norm(q, axis=2, keepdims=True)
    turn = rng.normal(size=(frames, len(SEGMENTS), 3))
    acc = rng.normal(size=(frames, len(SENSORS), 3))
    angle = rng.normal(size=(frames, len(JOINTS), 3)) * 30

    def text(values):
        return " ".join(f"{x:.6f}" for x in np.ravel(values))

    def listed(tag, names):
        return "".join(f'<{tag} id="{i}" label="{x}"/>' for i, x in enumerate(names))

    pose = "1 0 0 0 " * len(SEGMENTS)
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<mvnx xmlns="http://www.xsens.com/mvn/mvnx" version="4">\n'
        f'<subject label="Suit" frameRate="{rate}" segmentCount="3">\n'
        f"<segments>{listed('segment', SEGMENTS)}</segments>\n"
        f"<sensors>{listed('sensor', SENSORS)}</sensors>\n"
        f"<joints>{listed('joint', JOINTS)}</joints>\n<frames>\n"
        f'<frame time="0" type="tpose" index=""><orientation>{pose}</orientation></frame>\n'
    ]
    for i in range(frames):
        if i in skip:
            continue
        body = (
            f"<orientation>{text(q[i])}</orientation><position>0 0 0</position>"
            f"<angularVelocity>{text(turn[i])}</angularVelocity>"
            f"<sensorFreeAcceleration>{text(acc[i])}</sensorFreeAcceleration>"
            f"<jointAngle>{text(angle[i])}</jointAngle>"
        )
        body = frame if frame is not None and i == frames - 1 else body
        parts.append(
            f'<frame time="{round(i * 1000 / 60)}" type="normal" index="{i}">{body}'
            "</frame>\n"
        )
    parts.append(f"</frames>{extra}</subject></mvnx>\n")
    path.write_text("".join(parts), encoding="utf-8")
    rows = np.hstack(
        [x.reshape(frames, np.prod(x.shape[1:])) for x in (q, turn, acc, angle)]
    )
    return np.delete(rows, list(skip), axis=0)


def test_mvnx(tmp_path):
    expected = mvnx(tmp_path / "Session 1.MVNX", 2500)
    recording = io.read(tmp_path / "Session 1.MVNX")
    assert recording.fs == 60
    assert "time" not in recording.meta
    np.testing.assert_allclose(recording.data, expected, atol=1e-6)
    names = recording.feature_names
    assert names[4] == "orientation_RightUpperArm_w"
    assert names[-1] == "jointAngle_jRightElbow_flexion"
    hand = [c for c in recording.channels if c.sensor == "hand" and c.kind == "accel"]
    assert [(c.side, c.unit) for c in hand] == [("left", "m/s2")] * 3


def test_mvnx_with_lost_frames(tmp_path):
    expected = mvnx(tmp_path / "a.mvnx", 200, skip=range(90, 120))
    recording = io.read(tmp_path / "a.mvnx")
    np.testing.assert_allclose(recording.data, expected, atol=1e-6)
    time = recording.meta["time"]
    assert time[90] - time[89] == pytest.approx(31 / 60, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": ""}, r"a\.mvnx: subject must have a frameRate, got ''; give fs="),
        ({"frame": "<orientation>1 0 0 0</orientation>"}, "must have 12 values.*got 4"),
        (
            {"frame": "<orientation>a b</orientation>"},
            "orientation of frame 9 must hold",
        ),
        ({"extra": "<broken>"}, r"a\.mvnx:\d+: the XML breaks off"),
    ],
)
def test_damaged_mvnx(tmp_path, change, message):
    mvnx(tmp_path / "a.mvnx", 10, **change)
    with pytest.raises(DataFormatError, match=message):
        io.read(tmp_path / "a.mvnx")


def test_mvnx_without_frames_and_cut(tmp_path):
    path = tmp_path / "a.mvnx"
    mvnx(path, 50)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataFormatError, match=r"a\.mvnx:\d+: the XML breaks off"):
        io.read(path)
    mvnx(path, 0)
    with pytest.raises(DataFormatError, match="no frame of type 'normal'"):
        io.read(path)


def test_mvnx_forgets_frames(tmp_path):
    """Memory grows as the signals do, not as the elements of the file."""
    peaks = []
    for frames in (300, 1500):
        path = tmp_path / f"{frames}.mvnx"
        mvnx(path, frames)
        tracemalloc.start()
        data = io.read(path).data
        peaks.append(tracemalloc.get_traced_memory()[1] - 3 * data.nbytes)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000


BIDS_CHANNELS = [
    ("acc_x", "x", "ACCEL", "LeftWrist", "g"),
    ("acc_y", "y", "ACCEL", "LeftWrist", "g"),
    ("acc_z", "z", "ACCEL", "LeftWrist", "g"),
    ("gyr_x", "x", "GYRO", "LeftWrist", "deg/s"),
    ("q_w", "quat_w", "ORNT", "right_hand", "n/a"),
    ("elbow", "n/a", "JNTANG", "elbow", "rad"),
    ("mag", "x", "MAGN", "n/a", "µT"),
]


def bids(root, *, sub="01", fs=100, channels=BIDS_CHANNELS, latency=None, events=True):
    folder = root / f"sub-{sub}" / "motion"
    folder.mkdir(parents=True)
    stem = f"sub-{sub}_ses-2_task-feeding_tracksys-imu"
    values = signals(300, len(channels))
    table = values if latency is None else np.column_stack([latency, values])
    cells = [[f"{x:.5f}" for x in row] for row in table]
    cells[0] = ["n/a"] * len(cells[0]) if latency is None else cells[0]
    cells[1][-1], cells[2][-1] = "nan", "n/a"
    path = folder / f"{stem}_motion.tsv"
    path.write_text("\n".join("\t".join(row) for row in cells) + "\n")
    listed = list(channels)
    if latency is not None:
        listed = [("t", "n/a", "LATENCY", "n/a", "s"), *listed]
    lines = ["name\tcomponent\ttype\ttracked_point\tunits"]
    lines += ["\t".join(row) for row in listed]
    (folder / f"{stem}_channels.tsv").write_text("\n".join(lines), encoding="utf-8")
    sidecar = {"TaskName": "feeding", "SamplingFrequency": fs}
    (folder / f"{stem}_motion.json").write_text(json.dumps(sidecar))
    if events:
        (folder / f"sub-{sub}_ses-2_task-feeding_events.tsv").write_text(
            "onset\tduration\ttrial_type\n0.0\tn/a\tstart\n0.5\t0.75\treach\n"
            "1.25\t0.5\trest\n2.0\t0\tend\n"
        )
    return path, values


def test_bids(tmp_path):
    path, values = bids(tmp_path)
    recording = io.read(path)
    assert recording.fs == 100
    assert recording.n_frames == 300
    assert (recording.subject, recording.session) == ("01", "2")
    assert recording.activity == "feeding"
    kinds = [channel.kind for channel in recording.channels]
    assert kinds == ["accel"] * 3 + ["gyro", "quat", "angle", "feature"]
    assert [c.side for c in recording.channels][3:6] == ["left", "right", None]
    scale = [GRAVITY] * 3 + [np.pi / 180, 1, 180 / np.pi, 1]
    np.testing.assert_allclose(
        recording.data[3:], (values * scale)[3:], rtol=1e-4, atol=1e-3
    )
    assert np.isnan(recording.data[0]).all()
    assert np.isnan(recording.data[1:3, -1]).all()
    assert recording.labels.names == ["reach", "idle"]
    assert recording.labels.sequence(False) == [1, 0]
    np.testing.assert_allclose(recording.labels.end, [1.25, 1.75])


@pytest.mark.parametrize("begin", [0.0, 0.25, 0.75])
def test_bids_with_latencies(tmp_path, begin):
    latency = np.arange(300) / 100 + begin
    latency[100:] += 1.0
    path, _ = bids(tmp_path, latency=latency)
    recording = io.read(path)
    np.testing.assert_allclose(recording.meta["time"], latency - begin, atol=1e-5)
    # Frames count as uniform until the gap is repaired: the gap takes no time.
    frames = np.arange(300) / 100
    start = np.interp([0.5, 1.25], latency, frames)
    end = np.interp([1.25, 1.75], latency, frames)
    np.testing.assert_allclose(recording.labels.start, start, atol=1e-4)
    np.testing.assert_allclose(recording.labels.end, end, atol=1e-4)


def test_bids_with_even_latencies(tmp_path):
    path, _ = bids(tmp_path, latency=np.arange(300) / 100 + 0.25)
    recording = io.read(path)
    assert "time" not in recording.meta
    np.testing.assert_allclose(recording.labels.start, [0.25, 1.0])


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "channels.tsv",
            "ACCEL",
            "ACC",
            r"channels\.tsv:2: column 'type' must be one of",
        ),
        (
            "channels.tsv",
            "deg/s",
            "uV",
            r"channels\.tsv:5: column 'units' must be a unit",
        ),
        (
            "channels.tsv",
            "acc_y",
            "acc_x",
            r"channels\.tsv:3: column 'name' must be new",
        ),
        ("channels.tsv", "units", "unit", r"channels\.tsv:1: there must be a column"),
        ("channels.tsv", "\nmag\tx\tMAGN\tn/a\tµT", "", "must have 6 cells|6 columns"),
        ("motion.json", "{", "", r"motion\.json:1: this is not JSON"),
        ("motion.json", "100", "null", "must have a SamplingFrequency; give fs="),
        ("motion.tsv", "n/a", "x", r"motion\.tsv:1: column 'acc_x' must hold numbers"),
    ],
)
def test_damaged_bids(tmp_path, file, old, new, message):
    path, _ = bids(tmp_path)
    target = next(path.parent.glob(f"*_{file}"))
    text = target.read_text(encoding="utf-8")
    assert old in text
    target.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataFormatError, match=message):
        io.read(path)


def test_bids_without_channels(tmp_path):
    path, _ = bids(tmp_path)
    next(path.parent.glob("*_channels.tsv")).unlink()
    with pytest.raises(DataFormatError, match=r"_channels\.tsv must lie beside it"):
        io.read(path)


def test_overlapping_events(tmp_path):
    path, _ = bids(tmp_path)
    events = next(path.parent.glob("*_events.tsv"))
    events.write_text(events.read_text() + "1.0\t0.5\treach\n")
    with pytest.raises(
        DataFormatError, match=r"events\.tsv:6: spans must not overlap|:4:"
    ):
        io.read(path)


def test_folder(tmp_path):
    bids(tmp_path, sub="01")
    bids(tmp_path, sub="02", events=False)
    mvnx(tmp_path / "Suit Ä.mvnx", 20)
    noraxon(tmp_path / "s3_combing_SB 1.csv")
    (tmp_path / ".hidden.csv").write_text("x")
    (tmp_path / "README.txt").write_text("x")
    (tmp_path / "participants.tsv").write_bytes(
        b"\xef\xbb\xbfparticipant_id\tage\tparetic_side\tFugl-Meyer\r\n"
        b"sub-01\t60\tL\t48.5\r\nsub-02\tn/a\tn/a\tn/a\r\nS3\t71\tright\t20\r\n"
    )
    export.write_csv(
        tmp_path / "segments.csv", {("a", "left"): Segments([0], [1], [0], ("a", "b"))}
    )
    found = {recording.subject: recording for recording in io.read(tmp_path)}
    assert sorted(found) == ["01", "02", "Suit Ä", "s3"]
    assert [found[x].side for x in ("01", "02", "s3")] == ["left", None, "right"]
    assert found["01"].meta["fugl_meyer"] == 48.5
    assert "fugl_meyer" not in found["02"].meta
    assert found["s3"].meta["participant"] == {"age": "71"}
    # One file of the folder knows its participant, too.
    path = tmp_path / "s3_combing_SB 1.csv"
    assert io.read(path).side == "right"
    assert [r.subject for r in io.read_folder(tmp_path / "sub-02")] == ["02"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id\tside\n1\tleft\n", r"participants\.tsv:1: .*participant_id"),
        ("participant_id\tside\ns3\tup\n", r"participants\.tsv:2: column 'side'"),
        ("participant_id\tfma\ns3\thigh\n", r"participants\.tsv:2: column 'fma'"),
        ("participant_id\tfma\ns3\n", r"participants\.tsv:2: a row must have 2 cells"),
    ],
)
def test_damaged_participants(tmp_path, table, message):
    noraxon(tmp_path / "s3_combing_SB 1.csv")
    (tmp_path / "participants.tsv").write_text(table)
    with pytest.raises(DataFormatError, match=message):
        io.read_folder(tmp_path)


def test_empty_folders(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="holds no recording"):
        io.read(tmp_path)
    with pytest.raises(DatasetNotFoundError, match="must be a folder"):
        io.read_folder(tmp_path / "nothing")


DAMAGES = [b"", b"x", b"\xff", b"\n", b"\r", b'"', b"<", b"1e400", b"\x00"]


class Files(list):
    """Files whose contents are not printed."""

    def __repr__(self):
        return f"{len(self)} files"


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A file of each kind, with the function that reads it."""
    root = tmp_path_factory.mktemp("intact")
    spans = Segments([0.1, 0.7], [0.7, 1.5], [1, 0], ("idle", "reach"))
    noraxon(root / "n.csv")
    mvnx(root / "m.mvnx", 12)
    files = {root / "n.csv": io.read, root / "m.mvnx": io.read}
    for name in ("e.eaf", "e.TextGrid", "e.tsv", "e.csv"):
        export.write_tracks(root / name, spans)
        files[root / name] = export.read_tracks
    path, _ = bids(root)
    files |= {part: lambda _: io.read(path) for part in path.parent.iterdir()}
    return Files(
        (part, part.read_bytes(), read) for part, read in sorted(files.items())
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_damage_is_read_or_refused(intact, seed):
    """No other error than those that name the file comes out of a damaged one."""
    draw = random.Random(seed)
    path, content, read = draw.choice(intact)
    place = draw.randrange(len(content))
    change = draw.choice(DAMAGES)
    removed = draw.choice([0, 1, 40, len(content)])
    path.write_bytes(content[:place] + change + content[place + removed :])
    refusal = None
    try:
        read(path)
    except (DataFormatError, InvalidInputError) as error:
        refusal = str(error)
    finally:
        path.write_bytes(content)
    assert refusal is None or path.parent.name in refusal
