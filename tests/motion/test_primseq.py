"""The counting pipeline, with models whose answers are known."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion import PrimSeq, Segments
from mlmethods.motion.count_calibration import CountCalibration
from mlmethods.motion.intervals import conformal_quantile, poisson_binomial_interval
from mlmethods.motion.preprocess import SensorSanitizer, ZNormalizer
from mlmethods.motion.report import render_page, report_document
from mlmethods.motion.windows import WindowSpec, cut, stitch


@pytest.mark.parametrize("align", ["viterbi", "attention"])
def test_segments_have_the_true_order_and_times(tools, align):
    labels = tools.labels(2300, seed=0, shortest=24)
    truth = Segments.from_frames(labels, tools.fs, tools.classes)
    result = PrimSeq(tools.OneHotRecognizer(), align=align).predict(
        tools.recording(labels)
    )
    found = result.segments[0]
    assert found.sequence() == truth.sequence()
    # Contiguous, and exactly over the recording.
    assert found.start[0] == 0
    assert found.end[-1] == len(labels) / tools.fs
    np.testing.assert_array_equal(found.start[1:], found.end[:-1])
    gap = np.abs(found.start - truth.start) * tools.fs
    if align == "viterbi":
        # The model speaks of every eighth frame only.
        assert gap.max() < 8
        assert gap.mean() < 3
    else:
        assert gap.mean() < 12


def test_order_is_that_of_the_windows_stitched(tools):
    model = tools.OneHotRecognizer()
    recording = tools.recording(tools.labels(1733, seed=3))
    batch = cut(recording, model.window)
    previous, sequences = 1, []
    for row in range(len(batch.x)):
        ids = model.decode_windows(batch.x[[row]], batch.mask[[row]], [previous]).ids
        sequences.append([int(i) - 1 for i in ids[0] if i])
        previous = sequences[-1][-1] + 1
    found = PrimSeq(model).predict(recording).segments[0]
    assert found.sequence() == stitch(sequences)
    assert len(found) < sum(map(len, sequences))


def test_the_last_motion_of_a_window_reaches_the_next(tools):
    labels = np.repeat([1, 2], [500, 700])
    shown = np.ones(1200, bool)
    # Nothing to be seen from the middle of the second motion on, for three windows.
    shown[600:] = False
    recording = tools.recording(labels, shown=shown)
    assert PrimSeq(tools.OneHotRecognizer()).predict(recording).segments[
        0
    ].sequence() == [1, 2]


def test_recordings_do_not_depend_on_each_other(tools):
    pipeline = PrimSeq(tools.OneHotRecognizer())
    recordings = [
        tools.recording(tools.labels(n, seed=n), noise=0.2, seed=n)
        for n in (9, 333, 1200, 2001)
    ]
    together = pipeline.predict(recordings[::-1]).segments[::-1]
    for recording, found in zip(recordings, together, strict=True):
        assert found == pipeline.predict(recording).segments[0]


@pytest.mark.parametrize("length", [8, 199, 200, 201, 400])
def test_edge_lengths_are_covered(tools, length):
    labels = tools.labels(length, seed=length)
    found = PrimSeq(tools.OneHotRecognizer()).predict(tools.recording(labels))
    spans = found.segments[0]
    assert spans.start[0] == 0
    assert spans.end[-1] == length / tools.fs
    assert (spans.durations > 0).all()


def test_paper_windows_leave_the_first_second_out(tools):
    model = tools.OneHotRecognizer(window=WindowSpec(mode="paper"))
    found = PrimSeq(model).predict(tools.recording(np.zeros(900, int))).segments[0]
    assert found.start.tolist() == [1.0]


def test_framewise_models_give_their_own_segments(tools):
    labels = tools.labels(700, seed=1)
    result = PrimSeq(tools.FramewiseModel()).predict(tools.recording(labels))
    found = result.segments[0]
    truth = Segments.from_frames(labels, tools.fs, tools.classes)
    assert found.sequence() == truth.sequence()
    np.testing.assert_allclose(found.start, truth.start)
    expected = np.exp(4) / (np.exp(4) + 2)
    np.testing.assert_allclose(found.confidence, expected, rtol=1e-6)


def test_masked_time_is_marked_and_not_counted_in_rates(tools):
    labels = np.repeat([0, 1, 0, 1, 0, 2], 100)
    valid = np.ones(600, bool)
    valid[120:140] = False
    recording = tools.recording(labels, meta={"valid": valid})
    result = PrimSeq(tools.OneHotRecognizer()).predict(recording)
    assert result.segments[0].valid.tolist() == [True, False, True, True, True, True]
    counts = result.counts.set_index("class")
    minutes = 580 / 50 / 60
    assert counts.loc["reach", "count"] == 2
    assert counts.loc["reach", "per_minute"] == pytest.approx(1 / minutes)
    assert counts["minutes"].tolist() == pytest.approx([minutes] * 3)
    assert result.sources[0].masked == ((2.4, 2.8),)


def test_counts_are_kept_apart_and_added_up(tools):
    first = tools.recording([1] * 200 + [2] * 200, activity="shelf", side="left")
    second = tools.recording([1] * 300, activity="shelf", side="right")
    third = tools.recording([1] * 100 + [0] * 200, activity="comb", side="left")
    result = PrimSeq(tools.OneHotRecognizer()).predict([first, second, third])
    assert len(result.counts) == 9
    reach = result.counts[result.counts["class"] == "reach"]
    assert reach["count"].tolist() == [1, 1, 1]
    totals = result.totals(["side"])
    left = totals[(totals["side"] == "left") & (totals["class"] == "reach")]
    assert left["count"].tolist() == [2]
    assert left["minutes"].iloc[0] == pytest.approx((400 + 300) / 50 / 60)
    with pytest.raises(InvalidInputError, match="'weekday'"):
        result.totals(["weekday"])
    table = result.to_dataframe()
    assert list(table.columns) == [
        "recording",
        "side",
        "start_s",
        "end_s",
        "label",
        "confidence",
        "valid",
    ]
    assert table["recording"].nunique() == 3


def test_two_cameras_of_a_trial_count_once(tools):
    views = [
        tools.recording([1] * 200, meta={"trial": "t1", "name": f"t1 camera {k}"})
        for k in (1, 2)
    ]
    result = PrimSeq(tools.OneHotRecognizer()).predict(views)
    assert result.counts.set_index("class").loc["reach", "count"] == 1
    assert [len(spans) for spans in result.segments] == [1, 1]
    assert [source.repeated for source in result.sources] == [False, True]
    known = PrimSeq(tools.OneHotRecognizer()).calibrate(views).calibration
    assert known.to_dataframe()["true"].sum() == 1


def _silent(tools):
    model = tools.OneHotRecognizer()
    answer = model.decode_windows

    def nothing(x, mask, previous):
        found = answer(x, mask, previous)
        blank, cut = np.zeros_like(found.ids), np.ones_like(found.truncated)
        return found._replace(ids=blank, truncated=cut)

    model.decode_windows = nothing
    return model


def test_a_model_that_finds_nothing(tools):
    result = PrimSeq(_silent(tools)).predict(tools.recording([1] * 600))
    assert len(result.segments[0]) == 0
    assert result.counts["count"].tolist() == [0, 0, 0]
    assert result.sources[0].truncated == 3


def test_calibration_finds_counts_confidences_and_misses(tools):
    model = tools.OneHotRecognizer()
    truth = [0, 1, 2, 0, 1, 0]
    labels = np.repeat(truth, 100)
    recordings = [
        tools.recording(labels, subject=f"p{k}", shown=labels != 2) for k in range(10)
    ]
    pipeline = PrimSeq(model).calibrate(recordings)
    known = pipeline.calibration
    # What is not shown is taken for the motion before: each transport is missed.
    assert known.n_patients == 10
    assert known.miss_rate["transport"] == pytest.approx(11 / 12)
    assert known.miss_rate["reach"] == pytest.approx(1 / 22)
    table = known.to_dataframe()
    assert table[table["class"] == "transport"]["predicted"].sum() == 0
    assert known.quantile("transport", []).value == 1.0
    assert not known.quantile("transport", []).nominal
    result = pipeline.predict(recordings[0])
    row = result.counts.set_index("class").loc["transport"]
    assert (row["low"], row["high"]) == (0, 1)
    row = result.counts.set_index("class").loc["reach"]
    assert (row["low"], row["high"]) == (2, 2)
    assert result.interval.method == "conformal"
    assert "10 calibration patients" in result.interval.text


def test_quantiles_of_sums_add_up_before(tools):
    rows = [
        (f"p{p}", "x", activity, None, "reach", true, found)
        for p in range(12)
        for activity, true, found in (("a", 10, 8), ("b", 10, 12 + p))
    ]
    known = CountCalibration(("reach",), counts=tuple(rows))
    each = [abs(10 - found) / found for *_, found in rows]
    owner = [row[0] for row in rows]
    assert known.quantile("reach", ["activity"]) == conformal_quantile(each, owner)
    total = [abs(20 - 20 - p) / (20 + p) for p in range(12)]
    assert known.quantile("reach", []) == conformal_quantile(total, range(12))


def test_few_patients_are_nominal_and_uncalibrated_has_no_interval(tools):
    model = tools.OneHotRecognizer()
    recording = tools.recording(tools.labels(500, seed=0))
    result = PrimSeq(model).predict(recording)
    assert result.interval.method == "none"
    assert "not calibrated" in result.interval.text
    assert result.counts["low"].isna().all()
    result = PrimSeq(model).calibrate([recording]).predict(recording)
    assert result.interval.nominal
    assert "nominal" in result.interval.text
    result = PrimSeq(model, interval=None).predict(recording)
    assert result.interval.text == "No intervals."


def test_poisson_binomial_intervals_come_from_the_confidences(tools):
    model = tools.OneHotRecognizer()
    recording = tools.recording(np.repeat([0, 1] * 20, 60))
    result = PrimSeq(model, interval="poisson-binomial", level=0.8).predict(recording)
    row = result.counts.set_index("class").loc["reach"]
    own = result.segments[0]
    chances = own.confidence[own.label == 1]
    assert (row["low"], row["high"]) == poisson_binomial_interval(chances, level=0.8)
    assert row["low"] < row["count"] == 20
    assert result.interval.nominal
    calibrated = PrimSeq(model, interval="poisson-binomial").calibrate([recording])
    assert not calibrated.predict(recording).interval.nominal


def test_calibration_is_stored_and_read(tools, tmp_path):
    recordings = [
        tools.recording(tools.labels(600, seed=k), subject=f"p{k}", side="left")
        for k in range(3)
    ]
    pipeline = PrimSeq(tools.OneHotRecognizer()).calibrate(recordings)
    path = tmp_path / "cal.json"
    pipeline.calibration.save(path)
    again = CountCalibration.load(path)
    assert again.to_dict() == pipeline.calibration.to_dict()
    same = PrimSeq(tools.OneHotRecognizer(), calibration=again)
    pd.testing.assert_frame_equal(
        same.predict(recordings).counts, pipeline.predict(recordings).counts
    )
    for text, message in (
        ("{", "not JSON"),
        ("{}", "no calibration"),
        ('{"schema": "other"}', "schema"),
        ("[]", "no calibration"),
    ):
        path.write_text(text)
        with pytest.raises(DataFormatError, match=message) as caught:
            CountCalibration.load(path)
        assert str(path) in str(caught.value)


def test_labels_are_matched_by_name(tools):
    recording = tools.recording(np.repeat([1, 2], 100))
    other = ("transport", "shrug", "reach")
    spans = Segments.from_names([0, 2], [2, 4], ["reach", "transport"], other)
    pipeline = PrimSeq(tools.OneHotRecognizer())
    pipeline.calibrate(recording.replace(labels=spans))
    table = pipeline.calibration.to_dataframe().set_index("class")
    assert table["true"].to_dict() == {"idle": 0, "reach": 1, "transport": 1}
    spans = Segments.from_names([0, 2], [2, 4], ["reach", "shrug"], other)
    with pytest.raises(InvalidInputError, match="'shrug'"):
        pipeline.calibrate(recording.replace(labels=spans))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: PrimSeq(SimpleNamespace()), "fitted estimator"),
        (lambda t: PrimSeq(t.OneHotRecognizer(), align="dtw"), "align"),
        (lambda t: PrimSeq(t.OneHotRecognizer(), interval="magic"), "interval"),
        (lambda t: PrimSeq(t.OneHotRecognizer(), level=2), "level"),
        (
            lambda t: PrimSeq(
                t.OneHotRecognizer(), calibration=CountCalibration(("a",))
            ),
            "for the classes",
        ),
        (lambda t: PrimSeq(t.OneHotRecognizer()).predict([]), "at least one"),
        (lambda t: PrimSeq(t.OneHotRecognizer()).predict(3), "source"),
        (lambda t: PrimSeq(t.OneHotRecognizer()).predict([3]), "got int"),
        (
            lambda t: PrimSeq(t.OneHotRecognizer()).predict(t.recording([1] * 7)),
            "at least 8",
        ),
        (
            lambda t: PrimSeq(t.OneHotRecognizer()).calibrate(
                t.recording([1] * 70, labeled=False)
            ),
            "must have labels",
        ),
        (
            lambda t: PrimSeq(_without_attention(t), align="attention").predict(
                t.recording([1] * 70)
            ),
            "with attention",
        ),
    ],
)
def test_refused(tools, call, message):
    with pytest.raises(InvalidInputError, match=message):
        call(tools)


def _without_attention(tools):
    model = tools.OneHotRecognizer()
    return SimpleNamespace(
        classes_=model.classes_,
        window=model.window,
        prepare=model.prepare,
        decode_windows=model.decode_windows,
    )


def test_provenance_is_json_and_tells_settings(tools):
    result = PrimSeq(tools.OneHotRecognizer(strength=3.0)).predict(
        tools.recording([1] * 100)
    )
    text = json.dumps(result.provenance)
    assert result.provenance["settings"]["strength"] == 3.0
    assert "numpy" in text
    other = PrimSeq(tools.OneHotRecognizer(strength=4.0)).predict(
        tools.recording([1] * 100)
    )
    assert other.provenance["config_hash"] != result.provenance["config_hash"]
    assert result.provenance["model_id"] == ""


def test_the_id_of_a_model_is_that_of_its_parameters(tools):
    ids = []
    for value in (0.0, 0.0, 1.0):
        model = tools.OneHotRecognizer()
        model.params_ = {"w": np.full(3, value, np.float32)}
        result = PrimSeq(model).predict(tools.recording([1] * 100))
        ids.append(result.provenance["model_id"])
    assert ids[0] == ids[1] != ids[2]


def test_unknown_confidences_are_passed_on(tools):
    recording = tools.recording(tools.labels(500, seed=2))
    model = tools.FramewiseModel()
    answer = model.predict

    def unsure(X):
        return [
            Segments(s.start, s.end, s.label, s.classes, np.full(len(s), np.nan))
            for s in answer(X)
        ]

    model.predict = unsure
    pipeline = PrimSeq(model, interval="poisson-binomial").calibrate(recording)
    assert pipeline.calibration.temperature.n == 0
    result = pipeline.predict(recording)
    assert np.isnan(result.segments[0].confidence).all()
    assert (result.counts["high"] > 0).all()
    document = report_document(result)
    assert document["recordings"][0]["segments"][0]["confidence"] is None
    assert "confidence" not in render_page(document).partition('<svg class="strip')[2]


def test_a_flat_channel_is_told(tools):
    recording = tools.recording(np.repeat([0, 1], 300))
    model = tools.OneHotRecognizer(normalizer=ZNormalizer())
    quality = PrimSeq(model).predict(recording).quality
    assert quality[["channel", "issue"]].values.tolist() == [["c", "constant"]]
    framewise = tools.FramewiseModel()
    framewise.prepare = model.prepare
    assert len(PrimSeq(framewise).predict(recording).quality) == 1


def _write_csv(path, recording):
    """Write the signals of a recording as a file."""
    rows = [
        f"{t / 50:.3f},{','.join(repr(float(value)) for value in row)}"
        for t, row in enumerate(recording.data)
    ]
    path.write_text("\n".join(["time_s,a,b,c", *rows]), encoding="utf-8")


def test_files_and_folders_are_read_and_repaired(tools, tmp_path):
    # A little noise: a sensor that repeats its values is taken for a broken one.
    recording = tools.recording(tools.labels(600, seed=1), noise=0.02)
    path = tmp_path / "s1 Ü.csv"
    _write_csv(path, recording)
    pipeline = PrimSeq(tools.OneHotRecognizer())
    expected = pipeline.predict(recording).segments[0]
    for source in (path, str(tmp_path), [path, path]):
        result = pipeline.predict(source)
        assert result.segments[0] == expected
        assert result.sources[0].name == "s1 Ü"
    assert [one.name for one in result.sources] == ["s1 Ü", "s1 Ü (2)"]
    with pytest.raises((FileNotFoundError, InvalidInputError), match=r"none\.csv"):
        pipeline.predict(tmp_path / "none.csv")


def test_a_sanitizer_of_ones_own_splits_recordings(tools):
    labels = np.repeat([0, 1, 2, 0], 150)
    recording = tools.recording(labels, noise=0.01)
    data = recording.data.copy()
    data[290:320] = np.nan
    broken = recording.with_data(data)
    sanitizer = SensorSanitizer(fs_out=50.0, max_gap=0.1)
    result = PrimSeq(tools.OneHotRecognizer(), sanitizer).predict(broken)
    assert [source.offset for source in result.sources] == pytest.approx([0, 6.4])
    table = result.to_dataframe()
    assert table["start_s"].iloc[-1] == pytest.approx(9.0, abs=0.2)
    # Both parts of the trial are counted.
    assert not any(source.repeated for source in result.sources)
    assert result.counts["minutes"].iloc[0] == pytest.approx(570 / 50 / 60)
    assert not result.quality.empty
