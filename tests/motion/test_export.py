"""Labeled spans as files, and back; other programs read what is written."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion import Segments, export

CLASSES = ("idle", "reach", "reposition", "stabilize", "transport")


def spans(seed=0, count=40, *, whole=False):
    """Spans with gaps, equal neighbors, confidences and masked time."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(0.05, 2.0, 2 * count))
    edges = np.round(edges, 3) if whole else edges
    start, end = edges[::2].copy(), edges[1::2].copy()
    touching = rng.random(count - 1) < 0.5
    end[:-1][touching] = start[1:][touching]
    return Segments(
        start,
        end,
        rng.integers(0, 5, count),
        CLASSES,
        np.where(rng.random(count) < 0.2, np.nan, rng.random(count)),
        rng.random(count) < 0.9,
    )


def visible(segments):
    """What a file of tiers keeps."""
    kept = segments[np.asarray(segments.valid)]
    return Segments(kept.start, kept.end, kept.label, kept.classes)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_csv_is_exact(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("csv") / "segments.csv"
    tracks = {("a", "left"): spans(seed), ("b, ü", ""): spans(seed + 1, 3)}
    export.write_csv(path, tracks)
    assert export.read_csv(path, CLASSES) == tracks


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_events_are_exact(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("events") / "a_events.tsv"
    tracks = {"left": spans(seed), "right": spans(seed + 1)}
    export.write_events(path, tracks)
    assert export.read_events(path, CLASSES) == tracks
    export.write_events(path, tracks["left"])
    assert export.read_events(path, CLASSES) == {"": tracks["left"]}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_textgrids_are_exact(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("praat") / "a.TextGrid"
    tracks = {"left": spans(seed), 'a "b"': spans(seed + 1)}
    export.write_textgrid(path, tracks)
    expected = {name: visible(track) for name, track in tracks.items()}
    assert export.read_textgrid(path, CLASSES) == expected


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_eaf_is_exact_to_a_millisecond(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("eaf") / "a.eaf"
    tracks = {"left": spans(seed), "ä & <b>": spans(seed + 1)}
    export.write_eaf(path, tracks)
    for name, found in export.read_eaf(path).items():
        expected = visible(tracks[name])
        assert found.classes == CLASSES
        np.testing.assert_array_equal(found.label, expected.label)
        for a, b in ((found.start, expected.start), (found.end, expected.end)):
            np.testing.assert_allclose(a, b, atol=0.0005 + 1e-9, rtol=0)
    whole = spans(seed, whole=True)
    export.write_eaf(path, whole)
    assert export.read_eaf(path)["primitives"] == visible(whole)


def test_pympi_reads_the_same(tmp_path):
    pympi = pytest.importorskip("pympi")
    tracks = {"left": spans(0, whole=True), "right": spans(1, whole=True)}
    export.write_eaf(tmp_path / "a.eaf", tracks, media="file:///video.mp4")
    file = pympi.Elan.Eaf(str(tmp_path / "a.eaf"))
    assert sorted(file.get_tier_names()) == ["left", "right"]
    assert file.get_controlled_vocabulary_names() == {"primitives": {}}.keys()
    for name, track in tracks.items():
        found = sorted(file.get_annotation_data_for_tier(name))
        expected = [
            (
                round(span.start * 1000),
                round(span.end * 1000),
                span.name if span.valid else "",
            )
            for span in track
        ]
        assert [x[:3] for x in found] == expected


def test_files_of_pympi_are_read(tmp_path):
    pympi = pytest.importorskip("pympi")
    file = pympi.Elan.Eaf()
    file.add_tier("left")
    file.add_tier("notes", parent="left")
    file.add_annotation("left", 100, 700, "reach")
    file.add_annotation("left", 700, 1500, "rest")
    file.add_annotation("left", 1500, 1600, "")
    file.to_file(str(tmp_path / "a.eaf"))
    found = export.read_eaf(tmp_path / "a.eaf")
    assert found == {"left": Segments([0.1, 0.7], [0.7, 1.5], [1, 0], CLASSES)}


@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid"])
def test_praatio_agrees(tmp_path, form):
    textgrid = pytest.importorskip("praatio.textgrid")
    tracks = {"left": spans(0), "right": spans(1)}
    end = max(track.end[-1] for track in tracks.values())
    path = tmp_path / "a.TextGrid"
    export.write_textgrid(path, tracks, duration=end + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert file.tierNames == ("left", "right")
    for name, track in tracks.items():
        entries = file.getTier(name).entries
        assert entries[0].start == 0
        assert entries[-1].end == end + 1
        starts = [entry.start for entry in entries[1:]]
        assert starts == [entry.end for entry in entries[:-1]]
        kept = visible(track)
        labeled = [entry for entry in entries if entry.label]
        assert [entry.label for entry in labeled] == kept.names
        assert [entry.start for entry in labeled] == kept.start.tolist()
        assert [entry.end for entry in labeled] == kept.end.tolist()
    file.save(str(path), format=form, includeBlankSpaces=True)
    found = export.read_textgrid(path, CLASSES)
    for name, track in tracks.items():
        np.testing.assert_allclose(found[name].start, visible(track).start)
        assert found[name].names == visible(track).names


def test_textgrids_of_praat_in_utf16(tmp_path):
    content = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2.5 ! end\n'
        '<exists>\n2\n"TextTier" "marks" 0 2.5 1\n1.0 "x"\n'
        '"IntervalTier" "links" 0 2.5 3\n0 0.5 ""\n0.5 1 "Reach"\n1 2.5 "rest"\n'
    )
    (tmp_path / "a.TextGrid").write_text(content, encoding="utf-16")
    found = export.read_textgrid(tmp_path / "a.TextGrid")
    assert found == {"links": Segments([0.5, 1], [1, 2.5], [1, 0], CLASSES)}


def test_slots_without_times_lie_evenly(tmp_path):
    path = tmp_path / "a.eaf"
    slots = {
        "ts1": ' TIME_VALUE="0"',
        "ts2": "",
        "ts3": "",
        "ts4": ' TIME_VALUE="3000"',
    }
    spans = [("ts1", "ts2", "rest"), ("ts2", "ts3", "reach"), ("ts3", "ts4", "rest")]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<ANNOTATION_DOCUMENT><TIME_ORDER>",
    ]
    lines += [f'<TIME_SLOT TIME_SLOT_ID="{x}"{time}/>' for x, time in slots.items()]
    lines.append('</TIME_ORDER><TIER TIER_ID="left" LINGUISTIC_TYPE_REF="a">')
    lines += [
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{a}" TIME_SLOT_REF1="{a}" '
        f'TIME_SLOT_REF2="{b}"><ANNOTATION_VALUE>{label}</ANNOTATION_VALUE>'
        "</ALIGNABLE_ANNOTATION></ANNOTATION>"
        for a, b, label in spans
    ]
    path.write_text("\n".join([*lines, "</TIER></ANNOTATION_DOCUMENT>"]))
    found = export.read_eaf(path)
    assert found == {"left": Segments([0, 1, 2], [1, 2, 3], [0, 1, 0], CLASSES)}


def test_spans_that_touch_have_slots_of_their_own(tmp_path):
    path = tmp_path / "a.eaf"
    export.write_eaf(path, Segments([0, 1], [1, 2], [0, 1], CLASSES))
    text = path.read_text()
    assert text.count('TIME_VALUE="1000"') == 2
    assert all(text.count(f'TIME_SLOT_REF{k}="ts{n}"') for k, n in ((1, 1), (2, 4)))


@pytest.mark.parametrize("target", ["b.eaf", "b.TextGrid", "b_events.tsv", "b.csv"])
def test_convert(tmp_path, target):
    given = spans(3, whole=True)
    given = Segments(given.start, given.end, given.label, CLASSES)
    export.write_csv(tmp_path / "a.csv", {("a", "left"): given})
    export.convert(tmp_path / "a.csv", tmp_path / target, CLASSES)
    assert export.read_tracks(tmp_path / target, CLASSES) == {"left": given}
    export.convert(tmp_path / target, tmp_path / "c.csv", CLASSES)
    assert export.read_csv(tmp_path / "c.csv", CLASSES) == {
        ((tmp_path / target).stem, "left"): given
    }
    export.write_tracks(tmp_path / target, given)
    (found,) = export.read_tracks(tmp_path / target, CLASSES).values()
    assert found == given


def test_convert_refuses(tmp_path):
    one = Segments([0], [1], [0], CLASSES)
    export.write_csv(tmp_path / "a.csv", {("a", ""): one, ("b", ""): one})
    with pytest.raises(InvalidInputError, match=r"must hold one recording.*a, b"):
        export.convert(tmp_path / "a.csv", tmp_path / "a.eaf")
    with pytest.raises(InvalidInputError, match=r"must end in \.csv, \.eaf"):
        export.convert(tmp_path / "a.xlsx", tmp_path / "a.eaf")


@pytest.mark.parametrize(
    ("line", "cells", "message"),
    [
        (0, ["recording", "side", "start", "end_s", "label"], "a column 'start_s'"),
        (2, ["a", "", "x", "2", "idle"], r"a\.csv:3: column 'start_s' must hold numb"),
        (2, ["a", "", "1", "2", "raech"], r"a\.csv:3: 'raech' is no label.*'reach'"),
        (2, ["a", "", "1", "1", "idle"], r"a\.csv:3: a span must end after it starts"),
        (2, ["a", "", "0.5", "2", "idle"], r"a\.csv:3: spans must not overlap"),
        (2, ["a", "", "1", "nan", "idle"], r"a\.csv:3: times must be finite"),
        (2, ["a", "", "1"], r"a\.csv:3: a row must have 5 cells, got 3"),
    ],
)
def test_damaged_csv(tmp_path, line, cells, message):
    rows = [["recording", "side", "start_s", "end_s", "label"]]
    rows += [["a", "", "0", "1", "idle"], ["a", "", "1", "2", "reach"]]
    rows[line] = cells
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataFormatError, match=message):
        export.read_csv(tmp_path / "a.csv", CLASSES)


def test_corrected_csv_of_a_spreadsheet(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"\xef\xbb\xbflabel;start_s;end_s;valid\r\nreach;1.5;2;FALSE\r\n"
        b"rest;0;1.5;TRUE\r\n"
    )
    found = export.read_csv(path)[("", "")]
    assert found.names == ["idle", "reach"]
    assert found.valid.tolist() == [True, False]
    path.write_text("label;start_s;end_s;valid\nreach;1.5;2;maybe\n")
    with pytest.raises(DataFormatError, match=r"a\.csv:2: column 'valid' must hold"):
        export.read_csv(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("reach</ANN", "raech</ANN", r"a\.eaf:\d+: 'raech' is no label.*'reach'"),
        ('TIME_VALUE="700"', 'TIME_VALUE="x"', r"a\.eaf:\d+: TIME_VALUE must be whole"),
        (
            'TIME_SLOT_REF1="ts1"',
            'TIME_SLOT_REF1="ts9"',
            "a time slot that is not there",
        ),
        (' TIME_SLOT_REF1="ts1"', "", "the attribute TIME_SLOT_REF1 is missing"),
        ('TIME_VALUE="700"', 'TIME_VALUE="50"', "a span must end after it starts"),
        ("</TIER>", "", r"a\.eaf:\d+: the XML breaks off"),
        ("ANNOTATION_DOCUMENT", "DOCUMENT", "starts with ANNOTATION_DOCUMENT"),
    ],
)
def test_damaged_eaf(tmp_path, old, new, message):
    path = tmp_path / "a.eaf"
    export.write_eaf(path, Segments([0.1, 0.7], [0.7, 1.5], [1, 0], CLASSES))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataFormatError, match=message):
        export.read_eaf(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"reach"', '"raech"', r"a\.TextGrid:\d+: 'raech' is no label"),
        ("xmax = 0.7", "xmax = x", "there must be a number here"),
        ('"ooTextFile"', '"oo"', "there must be a file of Praat"),
        ("size = 1", "size = 2", "but the file ends"),
        (
            "intervals: size = 3",
            "intervals: size = 1.5",
            "must be a count here, got '1.5'",
        ),
        ('text = "reach"', "text = <reach>", "there must be a quoted text here"),
    ],
)
def test_damaged_textgrids(tmp_path, old, new, message):
    path = tmp_path / "a.TextGrid"
    export.write_textgrid(path, Segments([0.1, 0.7], [0.7, 1.5], [1, 0], CLASSES))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataFormatError, match=message):
        export.read_textgrid(path, CLASSES)


def test_what_formats_cannot_hold(tmp_path):
    short = Segments([0.0001], [0.0004], [0], CLASSES)
    with pytest.raises(InvalidInputError, match="spans of a millisecond or more"):
        export.write_eaf(tmp_path / "a.eaf", short)
    early = Segments([-1], [1], [0], CLASSES)
    with pytest.raises(InvalidInputError, match="first start must be"):
        export.write_textgrid(tmp_path / "a.TextGrid", early)
    one, other = Segments([0], [1], [0], CLASSES), Segments([0], [1], [0], ("a",))
    with pytest.raises(InvalidInputError, match="all have the same classes"):
        export.write_eaf(tmp_path / "a.eaf", {"left": one, "right": other})
    with pytest.raises(
        InvalidInputError, match="duration must be a finite number >= 1"
    ):
        export.write_textgrid(tmp_path / "a.TextGrid", one, duration=0.5)
    with pytest.raises(InvalidInputError, match="must map names to Segments"):
        export.write_events(tmp_path / "a.tsv", {"left": 3})
    with pytest.raises(InvalidInputError, match="got the key 'a'"):
        export.write_csv(tmp_path / "a.csv", {"a": one})
    assert not list(tmp_path.iterdir())


def test_without_spans(tmp_path):
    none = Segments([], [], np.zeros(0, np.int32), CLASSES)
    for name in ("a.csv", "a.TextGrid", "a.eaf", "a.tsv"):
        export.write_tracks(tmp_path / name, {"left": none})
        found = export.read_tracks(tmp_path / name, CLASSES)
        assert not any(len(track) for track in found.values())
