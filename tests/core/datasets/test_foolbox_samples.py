"""The samples of foolbox, on files of synthetic images in its layout."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mlmethods.datasets import load_images, locate
from mlmethods.datasets.foolbox_samples import FOOLBOX_SETS
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

STEMS = {
    "foolbox-cifar10": ("cifar10", (32, 32, 3), 10),
    "foolbox-cifar100": ("cifar100", (32, 32, 3), 100),
    "foolbox-mnist": ("mnist", (28, 28), 10),
    "foolbox-fashionmnist": ("fashionMNIST", (28, 28), 10),
}


@pytest.fixture(autouse=True)
def no_packages(monkeypatch) -> None:
    monkeypatch.setattr(locate, "_in_package", lambda package, file: None)


def encoded(image: np.ndarray, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format=format)
    return stream.getvalue()


@pytest.fixture
def samples(write, rng):
    parts = {}
    for name, (stem, shape, classes) in STEMS.items():
        images = rng.integers(0, 256, (20, *shape), np.uint8)
        labels = rng.integers(0, classes, 20)
        for i in range(20):
            path = write(
                f"foolbox/data/{stem}_{i:02d}_{labels[i]}.png", encoded(images[i])
            )
        parts[name] = (images, labels)
    return path.parent, parts


@pytest.mark.parametrize("name", STEMS)
def test_the_layout(samples, name) -> None:
    folder, parts = samples
    expected, classes = parts[name]
    for root in (folder, folder.parents[1]):
        images, labels = load_images(name, root=root)
        assert images.ndim == 4
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        np.testing.assert_array_equal(images.reshape(expected.shape), expected)
        np.testing.assert_array_equal(labels, classes)


def test_images_of_different_sizes_are_resized(write, rng) -> None:
    shapes = [(30, 40, 3) if i % 2 else (224, 224, 3) for i in range(20)]
    for i, shape in enumerate(shapes):
        content = encoded(rng.integers(0, 256, shape, np.uint8), "JPEG")
        path = write(f"foolbox/data/imagenet_{i:02d}_{980 + i}.jpg", content)
    images, labels = load_images("foolbox-imagenet", root=path.parents[2])
    assert images.shape == (20, 224, 224, 3)
    np.testing.assert_array_equal(labels, np.arange(980, 1000))
    for i in (0, 19):
        with Image.open(path.parent / f"imagenet_{i:02d}_{980 + i}.jpg") as file:
            theirs = np.asarray(file.resize((224, 224)))
        np.testing.assert_array_equal(images[i], theirs)


def test_damaged_samples_are_refused(samples) -> None:
    folder, (_, labels) = samples[0], samples[1]["foolbox-mnist"]
    third = folder / f"mnist_03_{labels[3]}.png"
    content = third.read_bytes()
    for bad, fragment in (
        (content[:-30], "damaged"),
        (encoded(np.zeros((28, 27), np.uint8)), "found 27 x 28"),
        (encoded(np.zeros((28, 28), np.uint8), "BMP"), "damaged"),
    ):
        third.write_bytes(bad)
        with pytest.raises(DataFormatError, match=fragment) as caught:
            load_images("foolbox-mnist", root=folder)
        assert str(third) in str(caught.value)
    third.write_bytes(content)
    outside = third.rename(folder / "mnist_03_10.png")
    with pytest.raises(DataFormatError, match="a label of 0 to 9"):
        load_images("foolbox-mnist", root=folder)
    outside.unlink()
    with pytest.raises(DataFormatError, match="each once, found 19"):
        load_images("foolbox-mnist", root=folder)
    # Another set in the same folder is not touched.
    assert len(load_images("foolbox-cifar10", root=folder)[0]) == 20


@pytest.mark.parametrize("name", FOOLBOX_SETS)
def test_what_is_missing(tmp_path, name) -> None:
    with pytest.raises(DatasetNotFoundError, match="Install foolbox"):
        load_images(name, root=tmp_path)
    (tmp_path / "foolbox").mkdir()
    with pytest.raises(DatasetNotFoundError, match="_00_<label>"):
        load_images(name, root=tmp_path)
    with pytest.raises(InvalidInputError, match="split must be one of 'all'"):
        load_images(name, root=tmp_path, split="test")
