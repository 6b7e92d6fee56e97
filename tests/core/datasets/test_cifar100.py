"""CIFAR-100: both versions, both labels; its pickles are read as those of CIFAR-10."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mlmethods.datasets import (
    cifar100_class_names,
    list_datasets,
    load_cifar100,
    load_images,
)
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

PYTHON, BINARY = "cifar-100-python", "cifar-100-binary"
FINE = [f"fine {number}" for number in range(100)]
COARSE = [f"coarse {number}" for number in range(20)]


def pickled(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)


def batch(data: np.ndarray, fine: list, coarse: list) -> dict[bytes, object]:
    return {
        b"filenames": [b"bos_taurus_s_000507.png"] * len(fine),
        b"batch_label": b"training batch 1 of 1",
        b"fine_labels": fine,
        b"coarse_labels": coarse,
        b"data": data,
    }


@pytest.fixture
def parts(rng):
    """Return pixels, fine and coarse labels of three and of two images."""
    return {
        name: (
            rng.integers(0, 256, (n, 3072), dtype=np.uint8),
            rng.integers(20, 100, n).tolist(),
            rng.integers(0, 20, n).tolist(),
        )
        for name, n in (("train", 3), ("test", 2))
    }


@pytest.fixture
def python_version(write, parts) -> Path:
    for name, part in parts.items():
        path = write(f"{PYTHON}/{name}", pickled(batch(*part)))
    meta = {
        b"fine_label_names": [name.encode() for name in FINE],
        b"coarse_label_names": [name.encode() for name in COARSE],
    }
    write(f"{PYTHON}/meta", pickled(meta))
    return path.parent


@pytest.fixture
def binary_version(write, parts) -> Path:
    for name, (data, fine, coarse) in parts.items():
        labels = np.array([coarse, fine], dtype=np.uint8).T
        path = write(f"{BINARY}/{name}.bin", np.hstack([labels, data]).tobytes())
    write(f"{BINARY}/fine_label_names.txt", "\n".join(FINE) + "\n")
    write(f"{BINARY}/coarse_label_names.txt", "\n".join(COARSE) + "\n\n")
    return path.parent


@pytest.mark.parametrize("version", ["python_version", "binary_version"])
def test_both_versions(request, parts, version) -> None:
    folder = request.getfixturevalue(version)
    for split, names in {
        "train": ("train",),
        "test": ("test",),
        "all": ("train", "test"),
    }.items():
        data = np.concatenate([parts[name][0] for name in names])
        # Red, green, then blue, row by row.
        expected = np.stack(
            [data[:, 1024 * c : 1024 * (c + 1)].reshape(-1, 32, 32) for c in range(3)],
            axis=3,
        )
        for root in (folder, folder.parent):
            images, fine = load_cifar100(root, split)
            np.testing.assert_array_equal(images, expected)
            assert fine.tolist() == [k for name in names for k in parts[name][1]]
            images, coarse = load_cifar100(root, split, label="coarse")
            np.testing.assert_array_equal(images, expected)
            assert coarse.tolist() == [k for name in names for k in parts[name][2]]
        assert (images.dtype, fine.dtype, coarse.dtype) == (
            np.uint8,
            np.int64,
            np.int64,
        )
        assert images.flags.writeable
    assert cifar100_class_names(folder) == FINE
    assert cifar100_class_names(folder, label="coarse") == COARSE


def test_by_its_name(python_version, parts) -> None:
    images, labels = load_images("cifar-100", root=python_version.parent)
    assert images.shape == (5, 32, 32, 3)
    assert labels.tolist() == [k for part in parts.values() for k in part[1]]
    _, labels = load_images("cifar-100", root=python_version, split="test")
    assert labels.tolist() == parts["test"][1]
    (record,) = (
        r for r in list_datasets(python_version.parent) if r.name == "cifar-100"
    )
    assert record.present
    assert record.kind == "images"


def test_what_is_missing(tmp_path, python_version) -> None:
    (python_version / "train").unlink()
    with pytest.raises(
        DatasetNotFoundError, match=r"there is no train in .*other files"
    ):
        load_cifar100(python_version, "all")
    with pytest.raises(DatasetNotFoundError, match=r"no train or train\.bin") as caught:
        load_cifar100(tmp_path, "train")
    for part in ("cifar-100-python.tar.gz", "cs.toronto.edu", "data root"):
        assert part in str(caught.value)


GOOD = np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (pickled([1, 2]), "must hold one dictionary"),
        (pickled(batch(GOOD[:, 1:], [0, 1], [0, 1])), "3072 columns"),
        (pickled(batch(GOOD[0], [0, 1], [0, 1])), "3072 columns"),
        (pickled(batch(GOOD.astype("<i4"), [0, 1], [0, 1])), "array of uint8"),
        (pickled(batch(GOOD, [0, 100], [0, 1])), "labels of 0 to 99"),
        (pickled(batch(GOOD, [0, True], [0, 1])), "labels of 0 to 99"),
        (pickled(batch(GOOD, [0], [0, 1])), "'fine_labels' a list of 2 integers"),
        (pickled({b"data": GOOD, b"labels": [0, 1]}), "'fine_labels' a list"),
        (b"<html>404</html>", "is damaged"),
    ],
)
def test_wrong_pickles(python_version, content, fragment) -> None:
    path = python_version / "test"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_cifar100(python_version, "test")
    assert str(path) in str(caught.value)


def test_coarse_labels_have_their_own_range(python_version, binary_version) -> None:
    (python_version / "test").write_bytes(pickled(batch(GOOD, [0, 1], [0, 20])))
    assert load_cifar100(python_version, "test")[1].tolist() == [0, 1]
    with pytest.raises(DataFormatError, match="labels of 0 to 19"):
        load_cifar100(python_version, "test", label="coarse")
    record = bytes([20, 99]) + bytes(3072)
    (binary_version / "test.bin").write_bytes(record)
    assert load_cifar100(binary_version, "test")[1].tolist() == [99]
    with pytest.raises(DataFormatError, match="0 to 19, found 20 in record 1"):
        load_cifar100(binary_version, "test", label="coarse")


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (bytes(3074 + 3073), "records of 3074 bytes, found 6147"),
        (b"", "found 0 bytes"),
        (bytes(3074) + b"\x00\x64" + bytes(3072), "found 100 in record 2"),
    ],
)
def test_damaged_binary_files(binary_version, content, fragment) -> None:
    (binary_version / "test.bin").write_bytes(content)
    with pytest.raises(DataFormatError, match=fragment):
        load_cifar100(binary_version, "test")


class Call:
    """Pickles as a call, as hostile files do."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("file", ["test", "meta"])
def test_a_hostile_pickle_is_refused_and_nothing_runs(
    python_version, tmp_path, file
) -> None:
    marker = tmp_path / "executed"
    hostile = {b"data": Call(os.system, f"touch {marker}")}
    (python_version / file).write_bytes(pickled(hostile))
    read = cifar100_class_names if file == "meta" else load_cifar100
    arguments = () if file == "meta" else (file,)
    with pytest.raises(DataFormatError, match=r"global '\w+\.system'"):
        read(python_version, *arguments)
    assert not marker.exists()


def test_the_names_of_the_classes(python_version, binary_version, write) -> None:
    write(f"{PYTHON}/meta", pickled({b"fine_label_names": [b"cat", 3]}))
    with pytest.raises(DataFormatError, match="100 classes, found 1"):
        cifar100_class_names(python_version)
    with pytest.raises(DataFormatError, match="20 classes, found 0"):
        cifar100_class_names(python_version, label="coarse")
    write(f"{BINARY}/fine_label_names.txt", "cat\ndog\n")
    with pytest.raises(DataFormatError, match="100 classes, found 2"):
        cifar100_class_names(binary_version)


def test_arguments_that_are_refused(python_version, binary_version) -> None:
    with pytest.raises(InvalidInputError, match="label must be 'fine' or 'coarse'"):
        load_cifar100(python_version, label="labels")
    with pytest.raises(InvalidInputError, match="label must be 'fine' or 'coarse'"):
        cifar100_class_names(python_version, label="superclass")
    with pytest.raises(InvalidInputError, match=r"split must be one of .* got 'extra'"):
        load_cifar100(python_version, "extra")
    with pytest.raises(DataFormatError, match="f0ef6b0ae62326f3e7ffdfab6717acfc"):
        load_cifar100(python_version, "test", verify=True)
    with pytest.raises(InvalidInputError, match="verify must be False"):
        load_cifar100(binary_version, "test", verify=True)
