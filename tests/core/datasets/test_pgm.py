"""The reader of PGM, on written files and against Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlmethods.datasets import read_pgm
from mlmethods.datasets.pgm import parse_pgm
from mlmethods.errors import DataFormatError

PIXELS = bytes(range(6))
GOOD = b"P5\n3 2\n255\n" + PIXELS


@pytest.mark.parametrize(
    "header",
    [
        b"P5\n3 2\n255\n",
        b"P5 3 2 255 ",
        b"P5\n# made by hand\n3 2\n# two lines # of it\n255\n",
        b"P5#directly\n3\t2\r\n255\t",
        b"P5\n0003 02\n5\n",
    ],
)
def test_headers_that_the_format_admits(write, header) -> None:
    image = read_pgm(write("a.pgm", header + PIXELS))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, [[0, 1, 2], [3, 4, 5]])


def test_pixels_that_look_like_white_space_or_a_comment(write) -> None:
    content = b"\n#  \r\n"
    image = read_pgm(write("a.pgm", b"P5\n3 2\n255\n" + content))
    np.testing.assert_array_equal(image.ravel(), list(content))


@pytest.mark.parametrize("largest", [256, 1000, 65535])
def test_two_bytes_a_pixel(write, rng, largest) -> None:
    expected = rng.integers(0, largest + 1, (4, 7)).astype(np.uint16)
    expected[0, 0] = largest
    header = f"P5\n7 4\n{largest}\n".encode()
    path = write("a.pgm", header + expected.astype(">u2").tobytes())
    image = read_pgm(str(path))
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, expected)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**32 - 1)
)
def test_what_pillow_writes_is_read_back(height, width, seed) -> None:
    expected = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(expected).save(stream, format="PPM")
    image = parse_pgm(stream.getvalue(), Path("memory"))
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (GOOD[:-1], "6 bytes, but holds 5"),
        (GOOD + b"\n", "holds 7"),
        (b"P5\n3 2\n256\n" + PIXELS, "12 bytes, but holds 6"),
        (b"P5\r\n3 2\r\n255\r\n" + PIXELS, "holds 7"),
        (b"P2\n3 2\n255\n" + PIXELS, "not a PGM file"),
        (b"P5\n3 2\n255", "not a PGM file"),
        (b"P5\n3 -2\n255\n" + PIXELS, "not a PGM file"),
        (b"P5\n# no end", "not a PGM file"),
        (b"", "not a PGM file"),
        (b"P5\n3 0\n255\n", "sizes >= 1"),
        (b"P5\n3 2\n0\n" + PIXELS, "largest value of 1 to 65535"),
        (b"P5\n3 2\n65536\n" + PIXELS, "largest value of 1 to 65535"),
        (b"P5\n999999999 999999999\n255\n" + PIXELS, "but holds 6"),
        (b"P5\n3 2\n4\n" + PIXELS, "largest value, but holds 5"),
    ],
)
def test_damaged_files_are_refused(write, content, fragment) -> None:
    path = write("bad.pgm", content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        read_pgm(path)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(DataFormatError, match="cannot be read"):
        read_pgm(tmp_path / "none.pgm")
