"""Reports and exports: complete, escaped, and loading nothing."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from mlmethods.errors import InvalidInputError
from mlmethods.motion import PrimSeq, Segments, export
from mlmethods.motion._export_result import file_stems
from mlmethods.motion.recording import QualityEntry
from mlmethods.motion.report import SCHEMA, render_page, report_document
from mlmethods.motion.report.drawing import LEFT, WIDTH, bar_groups, strips

VOID = {"meta", "br", "link", "img", "input", "hr"}
EVIL = "<script>alert('x')</script> & \"q\""


class _Page(HTMLParser):
    """Checks that elements nest, and collects what a test asks about."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.tags, self.attributes, self.texts = [], [], [], []
        self.ids = []
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def _recordings(tools, count=3, **fields):
    found = []
    for k in range(count):
        labels = tools.labels(900 + 100 * k, seed=k)
        valid = np.ones(len(labels), bool)
        valid[200:260] = False
        found.append(
            tools.recording(
                labels,
                noise=0.3,
                seed=k,
                subject=f"p{k}",
                side=("left", "right")[k % 2],
                activity=("shelf", EVIL)[k % 2],
                quality=[QualityEntry("a", f"gap {EVIL}", 4.0, 5.2, "masked")],
                meta={"valid": valid, "name": f"rec {k} {EVIL}"},
                **fields,
            )
        )
    return found


@pytest.fixture(scope="module")
def result(tools):
    recordings = _recordings(tools)
    return PrimSeq(tools.OneHotRecognizer()).calibrate(recordings).predict(recordings)


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "session.html"
    assert result.report(path) is result
    return path


def test_the_page_is_well_formed_and_loads_nothing(page):
    text = page.read_text(encoding="utf-8")
    parsed = _Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert "http:" not in text
    assert "https:" not in text
    assert "//" not in text.replace("</", "")
    assert "@import" not in text
    for address in re.findall(r"url\(([^)]*)\)", text):
        assert address.startswith("#")
    names = {name for _, name, _ in parsed.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"src", "srcset"}
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "masked" in parsed.ids


def test_what_people_wrote_is_escaped(page):
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "<script" not in text
    assert EVIL in _Page(text).text


def test_page_and_document_say_the_same(result, page):
    document = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert document["schema"] == SCHEMA == "mlmethods.motion.report/1"
    assert render_page(document) == page.read_text(encoding="utf-8")
    assert document == report_document(result)
    pd.testing.assert_frame_equal(
        pd.DataFrame(document["counts"]), result.counts, check_dtype=False
    )
    shown = _Page(page.read_text(encoding="utf-8")).text
    for row in document["totals"]:
        interval = f"{row['low']:.0f} to {row['high']:.0f}"
        assert f"{row['class']} {row['count']} {interval}" in shown
        assert f"{row['per_minute']:.1f}" in shown
    assert result.interval.text in shown
    assert f"{document['metrics']['values']['aer']:.3f}" in shown
    assert result.provenance["config_hash"] in shown
    assert "not a medical device" in shown


def test_every_motion_label_and_mask_is_drawn_with_a_title(result, page):
    parsed = _Page(page.read_text(encoding="utf-8"))
    # Recordings are shorter than a strip: nothing is drawn twice.
    segments = sum(map(len, result.segments))
    labels = sum(len(source.labels) for source in result.sources)
    assert parsed.tags.count("title") == 1 + segments + labels + 3
    assert ("rect", "class", "masked") in parsed.attributes
    span = result.segments[0][0]
    assert (
        f"{span.name}, {span.start:.2f} to {span.end:.2f} s, "
        f"confidence {span.confidence:.2f}" in parsed.text
    )
    opacity = [float(v) for _, name, v in parsed.attributes if name == "fill-opacity"]
    assert min(opacity) >= 0.35
    assert max(opacity) <= 1


def test_the_document_has_a_stable_layout(result):
    document = report_document(result)
    assert sorted(document) == [
        "activities",
        "calibration",
        "classes",
        "counts",
        "created",
        "interval",
        "metrics",
        "provenance",
        "recordings",
        "schema",
        "synthetic",
        "totals",
    ]
    assert sorted(document["recordings"][0]) == [
        "activity",
        "duration",
        "fs",
        "labels",
        "masked",
        "name",
        "offset",
        "quality",
        "repeated",
        "segments",
        "session",
        "side",
        "subject",
        "synthetic",
        "truncated_windows",
        "valid_minutes",
    ]
    first = document["recordings"][0]
    assert first["masked"] == [[4.0, 5.2]]
    assert first["quality"][0]["channel"] == "a"
    assert len(first["segments"]) == len(result.segments[0])
    confusion = document["metrics"]["confusion"]
    hits = sum(
        confusion["values"][i][confusion["columns"].index(name)]
        for i, name in enumerate(confusion["rows"])
        if name in document["classes"]
    )
    assert 0 < hits <= sum(map(len, result.segments))


def test_without_labels_there_are_no_metrics(tools):
    recording = tools.recording([1] * 100 + [2] * 80, labeled=False)
    result = PrimSeq(tools.OneHotRecognizer()).predict(recording)
    document = report_document(result)
    assert document["metrics"] is None
    assert document["recordings"][0]["labels"] is None
    assert document["counts"][0]["low"] is None
    text = _Page(render_page(document)).text
    assert "Agreement with labels" not in text
    assert "not calibrated" in text
    assert "SYNTHETIC" not in text


def test_labels_of_other_classes_are_left_out_and_said(tools):
    known = tools.recording([1] * 100 + [2] * 80, subject="a")
    spans = Segments([0], [1], [0], ("shrug",))
    other = known.replace(labels=spans, subject="b", meta={"name": "odd"})
    result = PrimSeq(tools.OneHotRecognizer()).predict([known, other])
    metrics = report_document(result)["metrics"]
    assert metrics["n_recordings"] == 1
    assert metrics["notes"] == ["Labels of other classes were left out: odd."]
    assert (
        report_document(PrimSeq(tools.OneHotRecognizer()).predict(other))["metrics"]
        is None
    )


def test_synthetic_signals_are_called_so(tools):
    recording = tools.recording([1] * 100, meta={"synthetic": True})
    result = PrimSeq(tools.OneHotRecognizer()).predict(recording)
    assert "SYNTHETIC" in repr(result)
    assert _Page(render_page(report_document(result))).text.count("SYNTHETIC") == 2


def test_a_result_without_motions_has_files(tools, tmp_path):
    model = tools.OneHotRecognizer()
    answer = model.decode_windows
    model.decode_windows = lambda *given: answer(*given)._replace(
        ids=np.zeros((len(given[0]), 35), np.int32),
        truncated=np.ones(len(given[0]), bool),
    )
    result = PrimSeq(model).predict(tools.recording([1] * 500))
    result.export(tmp_path)
    assert len(export.read_csv(tmp_path / "segments.csv", tools.classes)) == 0
    text = _Page(render_page(report_document(result))).text
    assert "0 motions" in text
    assert "3 windows had more motions" in text


def test_long_recordings_are_drawn_in_strips(tools):
    labels = np.repeat(np.arange(140) % 3, 250)
    recording = tools.recording(labels)
    result = PrimSeq(tools.FramewiseModel()).predict(recording)
    (drawn,) = report_document(result)["recordings"]
    parts = strips(drawn, tools.classes)
    # 700 s in strips of 120 s; a motion over an edge is in both.
    assert len(parts) == 6
    for part in parts:
        for mark in part.marks:
            assert mark.x >= LEFT
            assert mark.x + mark.width <= WIDTH + 1e-6
    drawn_seconds = sum(m.width for p in parts for m in p.marks) * 120 / (WIDTH - LEFT)
    assert drawn_seconds == pytest.approx(700, rel=1e-6)


def test_a_part_of_a_file_shows_the_time_of_the_file(tools):
    recording = tools.recording([1] * 100, meta={"offset": 30.0})
    result = PrimSeq(tools.OneHotRecognizer()).predict(recording)
    assert "reach, 30.00 to 32.00 s" in render_page(report_document(result))
    assert result.to_dataframe()["start_s"].tolist() == [30.0]


def test_bars_have_one_scale(tools):
    rows = [
        {"activity": a, "side": None, "class": "idle", "count": n, "low": None}
        | {"high": h}
        for a, n, h in (("x", 10, None), ("y", 20, 40.0))
    ]
    first, second = bar_groups(rows, ("idle",))
    assert second["bars"][0].width == pytest.approx(2 * first["bars"][0].width)
    assert second["bars"][0].high - LEFT == pytest.approx(2 * second["bars"][0].width)


def test_where_a_report_goes(result, tmp_path):
    result.report(tmp_path)
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "report.json").exists()
    result.report(tmp_path / "new")
    assert (tmp_path / "new" / "report.html").exists()
    with pytest.raises(InvalidInputError, match=r"report\.pdf"):
        result.report(tmp_path / "report.pdf")


def test_export_writes_what_others_read(result, tmp_path):
    assert result.export(tmp_path / "out") is result
    folder = tmp_path / "out"
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 3 + 3 * len(result.segments)
    tracks = export.read_csv(folder / "segments.csv", result.classes)
    source = result.sources[1]
    assert tracks[(source.name, "right")] == result.segments[1]
    stem = file_stems([s.name for s in result.sources])[1]
    again = export.read_eaf(folder / f"{stem}.eaf", result.classes)["right"]
    usable = result.segments[1][result.segments[1].valid]
    np.testing.assert_allclose(again.start, usable.start, atol=6e-4)
    assert again.label.tolist() == usable.label.tolist()
    grid = export.read_textgrid(folder / f"{stem}.TextGrid", result.classes)["right"]
    assert grid.label.tolist() == usable.label.tolist()
    events = export.read_events(folder / f"{stem}_events.tsv", result.classes)["right"]
    assert events.label.tolist() == result.segments[1].label.tolist()
    counts = pd.read_csv(folder / "counts.csv")
    assert counts["count"].tolist() == result.counts["count"].tolist()
    assert pd.read_csv(folder / "quality.csv")["recording"].nunique() == 3


def test_names_of_files_are_safe_and_differ():
    names = ["../../etc/passwd", "a b", "a/b", "A_b", "", "..", "größe 3"]
    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
    assert not any("/" in stem or stem.startswith(".") for stem in stems)
    assert stems[-1] == "größe_3"
