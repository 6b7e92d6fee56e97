"""Images of Hugging Face datasets and of files of NumPy."""

from __future__ import annotations

import io
import zipfile

import datasets
import numpy as np
import pytest
from datasets import Array3D, ClassLabel, Dataset, Features, Value
from PIL import Image

from mlmethods.datasets import images_from
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

SHAPE = (5, 4, 3)


def pixels(n: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def pictures(arrays: np.ndarray, labels: list) -> Dataset:
    return Dataset.from_dict(
        {"image": [Image.fromarray(array) for array in arrays], "label": labels}
    )


# More than one batch, exactly one, and one image.
@pytest.mark.parametrize("n", [1, 256, 300])
def test_pictures_of_pillow(n) -> None:
    arrays = pixels(n)
    labels = list(range(n))[::-1]
    images, found = images_from(pictures(arrays, labels))
    np.testing.assert_array_equal(images, arrays)
    np.testing.assert_array_equal(found, labels)
    assert (images.dtype, found.dtype) == (np.uint8, np.int64)
    assert images.flags.c_contiguous
    assert images.flags.writeable
    assert found.flags.writeable


@pytest.mark.parametrize("form", ["lists", "arrays"])
def test_columns_of_arrays(form) -> None:
    arrays = pixels(7)
    features = Features({"pixels": Array3D(SHAPE, "uint8"), "kind": ClassLabel(7)})
    source = Dataset.from_dict(
        {"pixels": arrays.tolist(), "kind": list(range(7))},
        features=features if form == "arrays" else None,
    )
    images, found = images_from(source, image="pixels", label="kind")
    np.testing.assert_array_equal(images, arrays)
    np.testing.assert_array_equal(found, np.arange(7))


def test_rows_that_were_selected_and_a_format_that_is_set() -> None:
    arrays = pixels(9)
    source = pictures(arrays, list(range(9)))
    order = [8, 2, 5, 5]
    images, found = images_from(source.select(order).with_format("numpy"))
    np.testing.assert_array_equal(images, arrays[order])
    np.testing.assert_array_equal(found, order)
    encoded = source.cast_column("image", datasets.Image(decode=False))
    np.testing.assert_array_equal(images_from(encoded)[0], arrays)
    # The source itself is left as it was.
    assert not encoded.features["image"].decode


def test_the_modes_of_pillow() -> None:
    grey = Image.fromarray(pixels(1, (5, 4))[0])
    images, _ = images_from(Dataset.from_dict({"image": [grey], "label": [0]}))
    np.testing.assert_array_equal(images[0, ..., 0], np.asarray(grey))
    # The places in a palette are no brightness.
    palette = Image.new("P", (4, 5), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    images, _ = images_from(Dataset.from_dict({"image": [palette], "label": [0]}))
    np.testing.assert_array_equal(images, np.full((1, 5, 4, 3), [10, 200, 30]))
    bits = Image.new("1", (4, 5), 1)
    images, _ = images_from(Dataset.from_dict({"image": [bits], "label": [0]}))
    np.testing.assert_array_equal(images, np.full((1, 5, 4, 1), 255))
    alpha = Image.new("RGBA", (4, 5), (1, 2, 3, 4))
    images, _ = images_from(Dataset.from_dict({"image": [alpha], "label": [0]}))
    np.testing.assert_array_equal(images, np.full((1, 5, 4, 4), [1, 2, 3, 4]))


def rows(images: object, labels: object, features: object = None) -> Dataset:
    return Dataset.from_dict({"image": images, "label": labels}, features=features)


TWO = pixels(2)
OPTIONAL = Features({"image": datasets.Image(), "label": Value("int64")})


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: rows(TWO.tolist(), [1, None]), "one integer label for each image"),
        (lambda: rows(TWO.tolist(), ["a", "b"]), "one integer label for each image"),
        (lambda: rows(TWO.tolist(), [1.0, 2.0]), "has float64"),
        (lambda: rows(TWO.tolist(), [[1, 2], [3, 4]]), "one integer label"),
        (lambda: rows([TWO[0].tolist(), None], [1, 2]), "one shape, column 'image'"),
        (lambda: rows([TWO[0].tolist(), TWO[1, 1:].tolist()], [1, 2]), "one shape"),
        (lambda: rows((TWO / 255).tolist(), [1, 2]), "from 0 to 255, .* float"),
        (lambda: rows((TWO.astype(int) - 256).tolist(), [1, 2]), "column 'image' has -"),
        (lambda: rows(np.moveaxis(pixels(2, (7, 6, 3)), 3, 1).tolist(), [1, 2]), "at most 4"),
        (lambda: rows(["a", "b"], [1, 2]), "of the shape"),
        (lambda: rows([1, 2], [1, 2]), "of the shape"),
        (lambda: rows([], []), "at least one row"),
        (lambda: rows([Image.fromarray(TWO[0]), None], [1, 2], OPTIONAL), "row 1"),
        (lambda: rows([Image.new("CMYK", (4, 5))], [1]), "row 0 has 'CMYK'"),
        (lambda: rows([Image.new("I;16", (4, 5))], [1]), "row 0 has 'I;16'"),
        (
            lambda: rows([Image.new("L", (4, 5)), Image.new("L", (5, 4))], [1, 2]),
            r"row 1 has \(4, 5, 1\) and an earlier one \(5, 4, 1\)",
        ),
        (
            lambda: rows([Image.new("L", (4, 5))] * 256 + [Image.new("L", (4, 6))], [0] * 257),
            r"row 256 has \(6, 4, 1\)",
        ),
        (lambda: rows(TWO.tolist(), [1, 2]).rename_column("label", "y"), "it has 'image', 'y'"),
        (lambda: rows(TWO.tolist(), [1, 2]).rename_column("image", "x"), "image must be a col"),
        (lambda: datasets.DatasetDict({"test": rows([], [])}), r"source\['test'\]"),
        (lambda: rows(TWO.tolist(), [1, 2]).to_iterable_dataset(), "IterableDataset"),
        (lambda: TWO, "got ndarray"),
        (lambda: None, "got NoneType"),
    ],
)  # fmt: skip
def test_datasets_that_are_refused(make, fragment) -> None:
    with pytest.raises(InvalidInputError, match=fragment):
        images_from(make())


def test_a_damaged_picture() -> None:
    file = io.BytesIO()
    Image.fromarray(TWO[0]).save(file, "PNG")
    values = [{"bytes": raw, "path": None} for raw in (file.getvalue(), b"no image")]
    with pytest.raises(DataFormatError, match="a damaged image among the rows from 0"):
        images_from(rows(values, [0, 1], OPTIONAL))


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("image", "label"),
        ("images", "labels"),
        ("x", "y"),
        ("X", "y"),
        ("x_train", "y_train"),
        ("X_train", "y_train"),
        ("train_images", "train_labels"),
    ],
)
def test_the_keys_of_a_file(tmp_path, image, label) -> None:
    arrays = pixels(4, (5, 6))
    path = tmp_path / "set.npz"
    other = {"x_test": arrays[:1], "y_test": np.array([9])}
    np.savez(path, **{image: arrays, label: np.array([[3], [1], [2], [0]]), **other})
    images, found = images_from(str(path))
    np.testing.assert_array_equal(images[..., 0], arrays)
    np.testing.assert_array_equal(found, [3, 1, 2, 0])
    assert (images.dtype, found.dtype) == (np.uint8, np.int64)
    images, found = images_from(path, image="x_test", label="y_test")
    assert (images.shape, found.tolist()) == ((1, 5, 6, 1), [9])


def test_wider_integers_and_a_compressed_file(tmp_path) -> None:
    path = tmp_path / "set.npz"
    arrays = pixels(3)
    labels = np.array([0, 255, 7], dtype=np.uint8)
    np.savez_compressed(path, images=arrays.astype(">i4"), labels=labels)
    images, found = images_from(path)
    np.testing.assert_array_equal(images, arrays)
    np.testing.assert_array_equal(found, [0, 255, 7])
    assert images.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "error", "fragment"),
    [
        ({"x": TWO, "y": [1]}, InvalidInputError, "2 images and 1 labels"),
        ({"x": TWO}, InvalidInputError, "must be keys of .*; it has 'x'"),
        ({"x": TWO, "labels": [1, 2]}, InvalidInputError, "must be keys of"),
        ({"x": TWO / 255, "y": [1, 2]}, InvalidInputError, "has float64"),
        ({"x": TWO > 3, "y": [1, 2]}, InvalidInputError, "has bool"),
        ({"x": TWO.astype(int) * 0 + 256, "y": [1, 2]}, InvalidInputError, "to 256"),
        ({"x": TWO[0, 0], "y": [1, 2]}, InvalidInputError, "of the shape"),
        ({"x": TWO[:0], "y": [1][:0]}, InvalidInputError, "of the shape"),
        ({"x": TWO, "y": ["a", "b"]}, InvalidInputError, "one integer label"),
        ({"x": TWO, "y": [1.0, 2.0]}, InvalidInputError, "one integer label"),
        ({"x": TWO, "y": np.eye(2, dtype=int)}, InvalidInputError, "one integer label"),
        ({"x": TWO, "y": np.array([2**64 - 1, 0], dtype=np.uint64)}, InvalidInputError, "below"),
        ({"x": TWO, "y": np.array([1, "a"], dtype=object)}, DataFormatError, "objects"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path, content, error, fragment) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **content)
    with pytest.raises(error, match=fragment):
        images_from(path)


def test_damaged_files(tmp_path, write) -> None:
    with pytest.raises(DatasetNotFoundError, match="there is no file"):
        images_from(tmp_path / "none.npz")
    np.save(tmp_path / "one.npy", TWO)
    with pytest.raises(DataFormatError, match="it is one array"):
        images_from(tmp_path / "one.npy")
    np.savez(tmp_path / "set.npz", x=TWO, y=[1, 2])
    raw = (tmp_path / "set.npz").read_bytes()
    for content in (b"", b"<html>", raw[:-30], raw[: len(raw) // 2], b"PK\x03\x04"):
        with pytest.raises(DataFormatError, match=r"set\.npz is damaged"):
            images_from(write("set.npz", content))
    flipped = bytearray(raw)
    flipped[300] ^= 0xFF
    with pytest.raises(DataFormatError, match=r"set\.npz is damaged"):
        images_from(write("set.npz", bytes(flipped)))
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x", "text")
        archive.writestr("y", "text")
    with pytest.raises(InvalidInputError, match=r"of the shape .*'x' of"):
        images_from(tmp_path / "text.npz")


@pytest.mark.parametrize("wrong", ["", None, 3, ["image"]])
def test_names_that_are_none(wrong) -> None:
    with pytest.raises(InvalidInputError, match="image must be a name"):
        images_from(rows(TWO.tolist(), [1, 2]), image=wrong)
    with pytest.raises(InvalidInputError, match="label must be a name"):
        images_from(rows(TWO.tolist(), [1, 2]), label=wrong)
