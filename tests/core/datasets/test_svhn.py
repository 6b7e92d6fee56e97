"""SVHN, on files that SciPy writes in MATLAB's format."""

from __future__ import annotations

import hashlib
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from mlmethods.datasets import svhn
from mlmethods.datasets.svhn import load_svhn
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError


def write_mat(path, X, y, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"X": X, "y": y}, **options)
    return path


def digits(rng, n: int) -> tuple[np.ndarray, np.ndarray]:
    X = rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
    return X, (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("folder", ["", "svhn"])
def test_files_of_scipy(tmp_path, rng, compressed, folder) -> None:
    parts = {"train": digits(rng, 12), "test": digits(rng, 3), "extra": digits(rng, 1)}
    for split, (X, y) in parts.items():
        path = tmp_path / folder / f"{split}_32x32.mat"
        write_mat(path, X, y, do_compression=compressed)
        theirs = scipy.io.loadmat(path)
        images, labels = load_svhn(tmp_path, split)
        np.testing.assert_array_equal(images, theirs["X"].transpose(3, 0, 1, 2))
        np.testing.assert_array_equal(images[0, :, :, 1], X[:, :, 1, 0])
        np.testing.assert_array_equal(labels, theirs["y"].ravel() % 10)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        assert images.flags.c_contiguous
        assert images.flags.writeable
    images, labels = load_svhn(tmp_path, "all")
    assert images.shape == (15, 32, 32, 3)
    # Label 10 is the digit 0.
    np.testing.assert_array_equal(labels[:12], [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2])


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8])
def test_labels_of_any_numeric_type_and_other_variables(tmp_path, rng, dtype) -> None:
    X, y = digits(rng, 10)
    content = {
        "note": "text",
        "struct": {"a": 1},
        "cells": np.array([1, "b"], dtype=object),
        "y": y.astype(dtype).T,
        "X": X,
    }
    scipy.io.savemat(tmp_path / "test_32x32.mat", content)
    np.testing.assert_array_equal(
        load_svhn(tmp_path, "test")[1], [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    )


def test_a_big_endian_file(tmp_path, rng) -> None:
    X, y = digits(rng, 2)

    def element(kind: int, content: bytes) -> bytes:
        padding = bytes(-len(content) % 8)
        return struct.pack(">II", kind, len(content)) + content + padding

    def array(name: bytes, values: np.ndarray) -> bytes:
        shape = struct.pack(f">{values.ndim}i", *values.shape)
        small_name = struct.pack(">HH4s", len(name), 1, name)
        content = element(6, struct.pack(">II", 9, 0)) + element(5, shape)
        return element(14, content + small_name + element(2, values.tobytes("F")))

    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(header + array(b"X", X) + array(b"y", y))
    np.testing.assert_array_equal(scipy.io.loadmat(path)["X"], X)
    images, labels = load_svhn(tmp_path, "test")
    np.testing.assert_array_equal(images, X.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(labels, [1, 2])


def test_a_missing_file_says_what_to_do(tmp_path, rng) -> None:
    with pytest.raises(DatasetNotFoundError) as caught:
        load_svhn(tmp_path, "test")
    message = str(caught.value)
    for part in (
        "test_32x32.mat",
        str(tmp_path / "svhn"),
        "ufldl.stanford.edu",
        "folder svhn of a data root",
    ):
        assert part in message
    write_mat(tmp_path / "svhn" / "test_32x32.mat", *digits(rng, 2))
    with pytest.raises(DatasetNotFoundError, match=r"no train_32x32\.mat in .*svhn,"):
        load_svhn(tmp_path, "all")
    with pytest.raises(DatasetNotFoundError, match="root must be a folder"):
        load_svhn(tmp_path / "nowhere", "test")
    with pytest.raises(InvalidInputError, match="'extra', 'all', got 'valid'"):
        load_svhn(tmp_path, "valid")


def test_the_data_roots_are_searched(tmp_path, rng, monkeypatch) -> None:
    write_mat(tmp_path / "data" / "svhn" / "test_32x32.mat", *digits(rng, 4))
    monkeypatch.setenv("MLMETHODS_DATA_DIR", str(tmp_path / "data"))
    assert load_svhn(split="test")[0].shape == (4, 32, 32, 3)


GOOD_X = np.zeros((32, 32, 3, 2), dtype=np.uint8)
GOOD_Y = np.array([[1], [10]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        ({"X": GOOD_X}, "must hold the arrays X and y"),
        ({"X": GOOD_X.astype(float), "y": GOOD_Y}, "found float64"),
        ({"X": GOOD_X[:31], "y": GOOD_Y}, r"\(31, 32, 3, 2\)"),
        ({"X": GOOD_X.transpose(3, 0, 1, 2), "y": GOOD_Y}, r"\(2, 32, 32, 3\)"),
        ({"X": GOOD_X, "y": GOOD_Y[:1]}, "2 images and 1 labels"),
        ({"X": GOOD_X[..., :0], "y": GOOD_Y[:0]}, "0 images"),
        ({"X": GOOD_X, "y": GOOD_Y - 1}, "labels of 1 to 10"),
        ({"X": GOOD_X, "y": GOOD_Y + 1}, "labels of 1 to 10"),
        ({"X": GOOD_X, "y": GOOD_Y + 0.5}, "labels of 1 to 10"),
        ({"X": GOOD_X, "y": GOOD_Y * 1j}, "y is no array of real numbers"),
        ({"X": "text", "y": GOOD_Y}, "X is no array of real numbers"),
    ],
)
def test_wrong_content(tmp_path, content, fragment) -> None:
    path = tmp_path / "train_32x32.mat"
    scipy.io.savemat(path, content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_svhn(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_and_damaged_files(tmp_path, rng, compressed) -> None:
    path = write_mat(
        tmp_path / "train_32x32.mat", *digits(rng, 2), do_compression=compressed
    )
    raw = path.read_bytes()
    cuts = {*range(0, 260, 7), *range(len(raw) - 60, len(raw))}
    for cut in sorted(cuts):
        path.write_bytes(raw[:cut])
        with pytest.raises(DataFormatError, match="train_32x32"):
            load_svhn(tmp_path)
    # A wrong byte in the structure is refused or changes nothing, and never ends the
    # process: among them are types for which SciPy's parser reads outside its tables.
    for position in (*range(124, 216), *range(len(raw) - 60, len(raw))):
        damaged = bytearray(raw)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            images, labels = load_svhn(tmp_path)
        except DataFormatError:
            continue
        assert images.shape == (2, 32, 32, 3)
        assert labels.shape == (2,)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "no header"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "no header"),
        (b"<html>404</html>" * 20, "no header"),
    ],
)
def test_files_of_another_format(tmp_path, content, fragment) -> None:
    (tmp_path / "train_32x32.mat").write_bytes(content)
    with pytest.raises(DataFormatError, match=fragment):
        load_svhn(tmp_path)


def test_a_compressed_element_cannot_grow_beyond_its_size(tmp_path) -> None:
    bomb = zlib.compress(struct.pack("<II", 14, 8) + bytes(10**7), level=1)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    content = header + struct.pack("<II", 15, len(bomb)) + bomb
    (tmp_path / "train_32x32.mat").write_bytes(content)
    with pytest.raises(DataFormatError, match="longer than it states"):
        load_svhn(tmp_path)


def test_the_checksum(tmp_path, rng, monkeypatch) -> None:
    path = write_mat(tmp_path / "train_32x32.mat", *digits(rng, 2))
    with pytest.raises(DataFormatError, match="e26dedcc434d2e4c54c9b2d4a06d8373"):
        load_svhn(tmp_path, verify=True)
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(svhn._MD5, path.name, digest)
    assert load_svhn(tmp_path, verify=True)[1].tolist() == [1, 2]
