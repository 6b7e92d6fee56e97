"""STL-10, on files of raw bytes."""

from __future__ import annotations

import numpy as np
import pytest

from mlmethods.datasets.stl import load_stl10, stl10_class_names
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

NAMES = [
    *("airplane", "bird", "car", "cat", "deer"),
    *("dog", "horse", "monkey", "ship", "truck"),
]
SIZE = 3 * 96 * 96


def column_major(images: np.ndarray) -> bytes:
    """Encode as the publisher says: each channel of each image column by column."""
    return b"".join(
        image[:, :, channel].tobytes(order="F")
        for image in images
        for channel in range(3)
    )


@pytest.fixture
def stl(write, rng):
    """Write a small set in the layout of the archive."""
    parts = {}
    for split, n in (("train", 4), ("test", 3), ("unlabeled", 2)):
        images = rng.integers(0, 256, (n, 96, 96, 3), dtype=np.uint8)
        labels = rng.integers(1, 11, n).astype(np.uint8)
        path = write(f"stl10_binary/{split}_X.bin", column_major(images))
        if split != "unlabeled":
            write(f"stl10_binary/{split}_y.bin", labels.tobytes())
        parts[split] = (images, labels.astype(np.int64) - 1)
    write("stl10_binary/class_names.txt", "\n".join(NAMES) + "\n")
    return path.parent, parts


def test_the_layout(stl) -> None:
    folder, parts = stl
    for root in (folder, folder.parent):
        for split in ("train", "test"):
            images, labels = load_stl10(root, split)
            np.testing.assert_array_equal(images, parts[split][0])
            np.testing.assert_array_equal(labels, parts[split][1])
            assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
            # An array, not a view of the file.
            assert type(images) is np.ndarray
            assert images.flags.writeable
            assert images.flags.c_contiguous
    images, labels = load_stl10(folder, "all")
    np.testing.assert_array_equal(images[4:], parts["test"][0])
    np.testing.assert_array_equal(labels[:4], parts["train"][1])
    images, labels = load_stl10(folder, "unlabeled")
    np.testing.assert_array_equal(images, parts["unlabeled"][0])
    np.testing.assert_array_equal(labels, [-1, -1])
    assert stl10_class_names(folder) == NAMES


def test_a_missing_file_says_what_to_do(stl) -> None:
    folder, _ = stl
    (folder / "test_y.bin").unlink()
    with pytest.raises(DatasetNotFoundError) as caught:
        load_stl10(folder, "test")
    for part in (
        f"no test_y.bin in {folder}",
        "stl10_binary.tar.gz",
        "cs.stanford.edu",
    ):
        assert part in str(caught.value)
    (folder / "class_names.txt").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"no class_names\.txt in"):
        stl10_class_names(folder)
    with pytest.raises(InvalidInputError, match="'unlabeled', 'all', got 'valid'"):
        load_stl10(folder, "valid")


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("train_X.bin", bytes(4 * SIZE - 1), "images of 27648 bytes each"),
        ("train_X.bin", b"", "found 0 bytes"),
        ("train_X.bin", bytes(3 * SIZE), "each of the 3 images, found 4"),
        ("train_y.bin", bytes([1, 2, 3]), "each of the 4 images, found 3"),
        ("train_y.bin", b"", "found 0"),
        ("train_y.bin", bytes([0, 1, 2, 3]), "found 0 to 3"),
        ("train_y.bin", bytes([1, 2, 3, 11]), "found 1 to 11"),
    ],
)
def test_damaged_files(stl, write, name, content, fragment) -> None:
    folder, _ = stl
    write(f"stl10_binary/{name}", content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_stl10(folder)
    assert str(folder) in str(caught.value)


def test_the_names_and_the_checksums(stl, write) -> None:
    folder, _ = stl
    with pytest.raises(DataFormatError, match="918c2871b30a85fa023e0c44e0bee87f"):
        load_stl10(folder, verify=True)
    write("stl10_binary/class_names.txt", "airplane\nbird\n")
    with pytest.raises(DataFormatError, match="ten classes, found 2"):
        stl10_class_names(folder)
