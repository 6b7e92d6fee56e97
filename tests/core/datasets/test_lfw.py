"""Labeled Faces in the Wild, on files of synthetic images in its layout."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mlmethods.common import memory
from mlmethods.datasets import (
    check_data,
    lfw_names,
    load_images,
    load_lfw,
    load_lfw_pairs,
    locate,
)
from mlmethods.datasets.lfw import load_lfw_crops
from mlmethods.errors import (
    DataFormatError,
    DatasetNotFoundError,
    InvalidInputError,
    MemoryLimitError,
)

# In the order of the publisher, which is that of the letters' codes.
PEOPLE = {"Ada_Example": 3, "Bob_Example": 1, "Zoe_de_Example": 2}


@pytest.fixture(autouse=True)
def no_packages(monkeypatch) -> None:
    monkeypatch.setattr(locate, "_in_package", lambda package, file: None)


def jpeg(color: tuple[int, int, int], size: tuple[int, int] = (250, 250)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, format="JPEG", quality=95)
    return stream.getvalue()


@pytest.fixture
def lfw(write):
    i = 0
    for name, count in PEOPLE.items():
        for number in range(1, count + 1):
            path = write(f"lfw/{name}/{name}_{number:04d}.jpg", jpeg((30 * i, 90, 200)))
            i += 1
    write("lfw/README", "no person")
    return path.parents[1]


def test_the_layout(lfw) -> None:
    for root in (lfw, lfw.parent):
        images, labels = load_images("lfw", root=root)
        assert (images.shape, images.dtype) == ((6, 250, 250, 3), np.uint8)
        colors = np.array([[30 * i, 90, 200] for i in range(6)])
        # The format is lossy: a color of one image is off by a few levels.
        assert np.abs(images - colors[:, None, None].astype(np.int64)).max() <= 3
        np.testing.assert_array_equal(labels, [0, 0, 0, 1, 2, 2])
        assert labels.dtype == np.int64
        assert lfw_names(root) == list(PEOPLE)


def test_the_size_and_the_limit_of_memory(lfw) -> None:
    assert load_lfw(lfw, size=16)[0].shape == (6, 16, 16, 3)
    assert load_lfw(lfw, size=(8, 12), memory_limit=6 * 8 * 12 * 3)[0].shape[1:3] == (
        8,
        12,
    )
    with pytest.raises(MemoryLimitError, match="a smaller size"):
        load_lfw(lfw, size=(8, 12), memory_limit=6 * 8 * 12 * 3 - 1)
    with pytest.raises(InvalidInputError, match="size must be an integer"):
        load_lfw(lfw, size=0)
    with pytest.raises(InvalidInputError, match="split must be one of 'all'"):
        load_lfw(lfw, "train")


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("Bob_Example/Bob_Example_0002.jpg", jpeg((0, 0, 0))[:-60], "damaged"),
        ("Bob_Example/Bob_Example_0002.jpg", b"", "damaged"),
        (
            "Bob_Example/Bob_Example_0002.jpg",
            jpeg((0, 0, 0), (9, 250)),
            "found 9 x 250",
        ),
        ("Bob_Example/Ada_Example_0001.jpg", jpeg((0, 0, 0)), "must be called Bob"),
        ("Bob_Example/Bob_Example_2.jpg", jpeg((0, 0, 0)), "number of four digits"),
    ],
)
def test_damaged_files_are_refused(lfw, write, name, content, fragment) -> None:
    path = write(f"lfw/{name}", content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_lfw(lfw)
    assert str(path) in str(caught.value)


def test_what_is_missing(lfw, tmp_path) -> None:
    empty = tmp_path / "empty"
    (empty / "lfw").mkdir(parents=True)
    with pytest.raises(DataFormatError, match="per person"):
        load_lfw(empty)
    (empty / "lfw").rmdir()
    with pytest.raises(DatasetNotFoundError, match=r"lfw\.tgz"):
        load_images("lfw", root=empty)
    with pytest.raises(DatasetNotFoundError, match=r"no pairs\.txt"):
        load_lfw_pairs(lfw)
    with pytest.raises(InvalidInputError, match=r"file must be one of 'pairs\.txt'"):
        load_lfw_pairs(lfw, "people.txt")


SAME = ["Ada_Example\t1\t3", "Zoe_de_Example\t2\t1"]
OTHER = ["Ada_Example\t2\tZoe_de_Example\t1", "Bob_Example\t1\tAda_Example\t3"]


@pytest.mark.parametrize("place", ["lfw/pairs.txt", "pairs.txt"])
def test_the_pairs(lfw, write, place) -> None:
    lines = ["2\t2", *SAME, *OTHER, *SAME[::-1], *OTHER]
    write(place, "\n".join(lines) + "\n")
    pairs = load_lfw_pairs(lfw)
    np.testing.assert_array_equal(pairs.first, [0, 5, 1, 3, 5, 0, 1, 3])
    np.testing.assert_array_equal(pairs.second, [2, 4, 4, 2, 4, 2, 4, 2])
    np.testing.assert_array_equal(pairs.same, [1, 1, 0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(pairs.fold, [0, 0, 0, 0, 1, 1, 1, 1])
    assert pairs.first.dtype == pairs.second.dtype == pairs.fold.dtype == np.int64
    assert pairs.same.dtype == bool
    # They are rows of what load_lfw returns.
    labels = load_lfw(lfw, size=4)[1]
    np.testing.assert_array_equal(
        labels[pairs.first] == labels[pairs.second], pairs.same
    )


def test_the_pairs_of_the_first_view(lfw, write) -> None:
    write("lfw/pairsDevTest.txt", "\n".join(["1", SAME[0], OTHER[1]]))
    pairs = load_lfw_pairs(lfw, "pairsDevTest.txt")
    np.testing.assert_array_equal(pairs.fold, [0, 0])
    np.testing.assert_array_equal(pairs.same, [True, False])


@pytest.mark.parametrize(
    ("lines", "fragment"),
    [
        (["2\t2", *SAME, *OTHER], "must hold the 8 pairs"),
        (["two", *SAME, *OTHER], "line 1: expected one or two integers"),
        (["0\t2"], "line 1: expected one or two integers"),
        (["1\t1", OTHER[0], SAME[0]], "line 2: expected a pair of the same person"),
        (["1\t1", SAME[0], SAME[1]], "line 3: expected a pair of two people"),
        (["1\t1", "Ada_Example\t1", OTHER[0]], "line 2: expected a pair of images"),
        (["1\t1", "Ada_Example\t1\t4", OTHER[0]], "line 2: there is no image 4"),
        (["1\t1", "Eve\t1\t2", OTHER[0]], "line 2: there is no image 1 of 'Eve'"),
        (["1\t1", "Ada_Example\t1\tx", OTHER[0]], "line 2: expected a number"),
    ],
)
def test_damaged_pairs_are_refused(lfw, write, lines, fragment) -> None:
    path = write("lfw/pairs.txt", "\n".join(lines))
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_lfw_pairs(lfw)
    assert str(path) in str(caught.value)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    "name",
    ["lfw_subset.npy", "lfw-crops/lfw_subset.npy", "skimage/data/lfw_subset.npy"],
)
def test_the_crops(write, rng, tmp_path, name) -> None:
    values = rng.random((200, 25, 25))
    values[0, 0, :2] = 0, 1
    write(name, npy(values))
    images, labels = load_images("lfw-crops", root=tmp_path)
    assert (images.shape, images.dtype) == ((200, 25, 25, 1), np.uint8)
    assert np.abs(images[..., 0] / 255 - values).max() <= 0.5 / 255 + 1e-12
    np.testing.assert_array_equal(labels, [1] * 100 + [0] * 100)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "damaged"),
        (npy(np.zeros((200, 25, 25)))[:-8], "damaged"),
        (npy(np.array([{}], dtype=object)), "damaged"),
        (npy(np.zeros((200, 25, 25), dtype=np.uint8)), "floating-point"),
        (npy(np.zeros((199, 25, 25))), r"found the shape \(199, 25, 25\)"),
        (npy(np.full((200, 25, 25), 1.1)), "and other numbers"),
        (npy(np.full((200, 25, 25), np.nan)), "and other numbers"),
    ],
)
def test_damaged_crops_are_refused(write, tmp_path, content, fragment) -> None:
    path = write("lfw_subset.npy", content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_lfw_crops(tmp_path)
    assert str(path) in str(caught.value)


def test_the_inventory_reads_what_is_there(lfw, write, monkeypatch) -> None:
    write("lfw_subset.npy", npy(np.zeros((200, 25, 25))))
    found = {check.name: check for check in check_data(lfw.parent)}
    assert found["lfw"].shape == "6 x 250 x 250 x 3"
    assert found["lfw-crops"].shape == "200 x 25 x 25 x 1"
    assert not found["lfw"].problem + found["lfw-crops"].problem
    # A set that does not fit into memory does not stop the others.
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    found = {check.name: check for check in check_data(lfw.parent)}
    assert "a smaller size" in found["lfw"].problem
    assert not found["lfw-crops"].problem


def test_missing_crops(tmp_path) -> None:
    with pytest.raises(DatasetNotFoundError, match="scikit-image"):
        load_lfw_crops(tmp_path)
