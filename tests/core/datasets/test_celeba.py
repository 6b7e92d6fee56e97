"""CelebA, on real JPEG files and lists in the published layout."""

from __future__ import annotations

import builtins
import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mlmethods.datasets import celeba
from mlmethods.datasets.celeba import CelebA, load_celeba, open_celeba
from mlmethods.errors import (
    DataFormatError,
    DatasetNotFoundError,
    InvalidInputError,
    MemoryLimitError,
)

_LISTING = """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips
Big_Nose Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin
Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open
Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline
Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat
Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
"""
ATTRIBUTES = _LISTING.split()
N = 8
NAMES = [f"{i:06d}.jpg" for i in range(1, N + 1)]
PARTITION = [0, 0, 0, 0, 0, 1, 2, 2]
# Flat colours, which survive JPEG almost exactly.
COLOURS = [(250 - 25 * i, 40 + 20 * i, 30 * i) for i in range(N)]


def attribute_lines(flags: np.ndarray) -> list[str]:
    """Write the list as it is published: right-aligned, a space after the names."""
    rows = [
        name + " " + " ".join(f"{1 if flag else -1:2d}" for flag in row)
        for name, row in zip(NAMES, flags, strict=True)
    ]
    return [str(len(flags)), " ".join(ATTRIBUTES) + " ", *rows]


@pytest.fixture
def flags(rng) -> np.ndarray:
    return rng.random((N, 40)) < 0.5


@pytest.fixture
def faces(write, flags) -> Path:
    """Write eight images and the lists; return their folder."""
    path = write(
        "celeba/list_attr_celeba.txt", "\n".join(attribute_lines(flags)) + "\n"
    )
    lines = [f"{name} {part}" for name, part in zip(NAMES, PARTITION, strict=True)]
    write("celeba/list_eval_partition.txt", "\n".join(lines) + "\n")
    folder = path.parent / "img_align_celeba"
    folder.mkdir()
    for name, colour in zip(NAMES, COLOURS, strict=True):
        Image.new("RGB", (178, 218), colour).save(folder / name, quality=95)
    return path.parent


def test_the_attributes_and_the_official_split(faces, flags) -> None:
    whole = open_celeba(faces, "all")
    assert isinstance(whole, CelebA)
    expected = pd.DataFrame(
        flags, columns=ATTRIBUTES, index=pd.Index(NAMES, name="file")
    )
    pd.testing.assert_frame_equal(whole.attributes, expected)
    # Positions that publications cite.
    for position, name in (
        (15, "Eyeglasses"),
        (20, "Male"),
        (31, "Smiling"),
        (34, "Wearing_Earrings"),
        (36, "Wearing_Lipstick"),
    ):
        assert whole.attributes.columns[position] == name
    for split, number in (("train", 0), ("valid", 1), ("test", 2)):
        part = open_celeba(faces.parent, split)
        wanted = [i for i in range(N) if PARTITION[i] == number]
        pd.testing.assert_frame_equal(part.attributes, expected.iloc[wanted])
        assert len(part) == len(wanted)
        np.testing.assert_array_equal(part.labels(), flags[wanted])
        np.testing.assert_array_equal(part.labels("Male"), flags[wanted, 20])
        assert part.labels().dtype == np.int64


def test_images_as_they_are(faces, flags) -> None:
    images, labels = load_celeba(faces, "train")
    assert images.shape == (5, 218, 178, 3)
    assert images.dtype == np.uint8
    assert images.flags.writeable
    np.testing.assert_array_equal(labels, flags[:5])
    for image, colour in zip(images, COLOURS, strict=False):
        assert np.abs(image.astype(int) - colour).max() <= 3
    images, labels = load_celeba(faces, "test", attribute="Smiling", limit=1)
    assert images.shape == (1, 218, 178, 3)
    np.testing.assert_array_equal(labels, flags[6:7, 31])


@pytest.mark.parametrize(("size", "shape"), [(96, (96, 96)), ((20, 30), (20, 30))])
def test_resizing(faces, size, shape) -> None:
    images, _ = load_celeba(faces, "all", size=size)
    assert images.shape == (N, *shape, 3)
    assert np.abs(images.astype(int).mean(axis=(1, 2)) - COLOURS).max() <= 3


def test_rows_and_columns_keep_their_places(faces) -> None:
    pixels = np.zeros((218, 178, 3), dtype=np.uint8)
    pixels[:109] = 200
    pixels[:, :89, 0] = 255
    Image.fromarray(pixels).save(faces / "img_align_celeba" / NAMES[0], quality=95)
    for size, (h, w) in ((None, (218, 178)), ((40, 60), (40, 60))):
        image = open_celeba(faces, size=size).images([0])[0].astype(int)
        assert image[h // 4, w // 4, 0] > 240
        assert image[3 * h // 4, w // 4, 1] < 15
        assert abs(image[h // 4, 3 * w // 4, 2] - 200) < 15
        assert image[3 * h // 4, 3 * w // 4].max() < 15


def test_grey_files_get_three_channels(faces) -> None:
    Image.new("L", (178, 218), 77).save(faces / "img_align_celeba" / NAMES[1])
    image = open_celeba(faces).images([1])[0]
    assert image.shape == (218, 178, 3)
    np.testing.assert_allclose(image, 77, atol=1)


def test_batches_read_only_what_they_yield(faces, flags, monkeypatch) -> None:
    read = []
    original = celeba._read_image

    def recording(path, size):
        read.append(path.name)
        return original(path, size)

    monkeypatch.setattr(celeba, "_read_image", recording)
    split = open_celeba(faces, "train", size=8)
    assert read == []
    batches = split.batches(2, attribute="Young")
    assert read == []
    images, labels = next(batches)
    assert (images.shape, read) == ((2, 8, 8, 3), NAMES[:2])
    parts = [(images, labels), *batches]
    assert [len(images) for images, _ in parts] == [2, 2, 1]
    np.testing.assert_array_equal(
        np.concatenate([labels for _, labels in parts]), flags[:5, 39]
    )
    np.testing.assert_array_equal(
        np.concatenate([images for images, _ in parts]), split.images()
    )
    read.clear()
    order = [4, 0, 2]
    parts = list(split.batches(2, rows=order))
    assert read == [NAMES[i] for i in order]
    np.testing.assert_array_equal(
        np.concatenate([labels for _, labels in parts]), flags[order]
    )
    assert list(split.batches(rows=[])) == []
    assert split.images(slice(1, 3)).shape == (2, 8, 8, 3)
    assert split.images(slice(0, 0)).shape == (0, 8, 8, 3)


@pytest.mark.parametrize(
    "name", ["list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"]
)
def test_a_missing_file_says_what_to_do(faces, name) -> None:
    (faces / name).rename(faces / "elsewhere")
    with pytest.raises(DatasetNotFoundError) as caught:
        open_celeba(faces.parent)
    for part in (
        f"no {name} in {faces},",
        "img_align_celeba.zip",
        "mmlab.ie.cuhk.edu.hk",
        "folder celeba of a data root",
    ):
        assert part in str(caught.value)


def test_missing_and_damaged_images(faces) -> None:
    path = faces / "img_align_celeba" / NAMES[2]
    split = open_celeba(faces)
    raw = path.read_bytes()
    for content in (raw[: len(raw) // 2], raw[:10], b"", b"<html>404</html>"):
        path.write_bytes(content)
        with pytest.raises(DataFormatError, match=re.escape(str(path))):
            split.images()
    Image.new("RGB", (178, 218)).save(path, format="PNG")
    with pytest.raises(DataFormatError, match="damaged"):
        split.images([2])
    Image.new("RGB", (170, 218)).save(path, format="JPEG")
    with pytest.raises(DataFormatError, match="set size to make them equal"):
        split.images()
    assert open_celeba(faces, size=9).images().shape == (5, 9, 9, 3)
    path.unlink()
    with pytest.raises(DatasetNotFoundError, match=r"no 000003\.jpg in .*download"):
        split.images()


def edit(number: int, pattern: str, replacement: str):
    """Return a function that replaces in one line of a list, from 0."""

    def change(lines: list[str]) -> list[str]:
        changed = re.sub(pattern, replacement, lines[number], count=1)
        return [*lines[:number], changed, *lines[number + 1 :]]

    return change


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda lines: lines[:-1], "line 1: states 8 images, the file lists 7"),
        (lambda lines: [*lines, lines[-1]], "states 8 images, the file lists 9"),
        (lambda lines: [*lines[:-1], lines[-2]], "lists a file twice"),
        (lambda lines: lines[1:], "line 1: expected the number of images"),
        (lambda lines: lines[:1], "line 1: expected the number of images"),
        (lambda lines: [], "line 1: the file is empty"),
        (edit(1, "Male", "Young"), "line 2: an attribute is named twice"),
        (edit(1, "Male", ""), "line 3: expected a file and 39 times 1 or -1"),
        (edit(4, " [- ]1$", ""), "line 5: expected a file and 40 times 1 or -1"),
        (edit(4, "[- ]1$", " 0"), "line 5: expected a file and 40 times 1 or -1"),
        (edit(4, "000003.jpg", "../000003.jpg"), "line 5: expected the name of a file"),
        (edit(4, "000003.jpg", "000009.jpg"), "000003.jpg is in one of them only"),
    ],
)
def test_damaged_lists_of_attributes(faces, flags, change, fragment) -> None:
    path = faces / "list_attr_celeba.txt"
    path.write_text("\n".join(change(attribute_lines(flags))))
    with pytest.raises(DataFormatError, match=fragment) as caught:
        open_celeba(faces)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (edit(1, "0$", "3"), "line 2: expected a new file and 0, 1 or 2"),
        (edit(1, " 0$", ""), "line 2: expected a new file"),
        (edit(1, "000002", "000001"), "line 2: expected a new file"),
        (lambda lines: lines[:-1], "000008.jpg is in one of them only"),
        (lambda lines: [lines[0] + "\0"], "null byte"),
    ],
)
def test_damaged_partitions(faces, change, fragment) -> None:
    path = faces / "list_eval_partition.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(DataFormatError, match=fragment) as caught:
        open_celeba(faces)
    assert str(path) in str(caught.value)


def test_lists_in_another_order_are_matched_by_name(faces) -> None:
    path = faces / "list_eval_partition.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    assert open_celeba(faces, "test").attributes.index.tolist() == NAMES[6:]


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"split": "extra"}, "'train', 'valid', 'test', 'all', got 'extra'"),
        ({"size": 0}, "size must be"),
        ({"size": (1, 2, 3)}, "size must be"),
        ({"size": 1.5}, "size must be"),
        ({"limit": 0}, "limit must be"),
        ({"attribute": "Happy"}, "Smiling.* got 'Happy'"),
    ],
)
def test_wrong_arguments(faces, arguments, fragment) -> None:
    with pytest.raises(InvalidInputError, match=fragment):
        load_celeba(faces, **arguments)


def test_wrong_rows_and_batch_sizes(faces) -> None:
    split = open_celeba(faces)
    for rows in ([5], [-1], [0.5], [[0]], [True], 0):
        with pytest.raises(InvalidInputError, match=r"integers in 0\.\.4"):
            split.images(rows)
    # Before the first batch is asked for.
    with pytest.raises(InvalidInputError, match="batch_size"):
        split.batches(0)
    with pytest.raises(InvalidInputError, match="attribute"):
        split.batches(attribute="Happy")


def test_more_than_memory_allows_is_refused(faces) -> None:
    with pytest.raises(MemoryLimitError, match=r"n=5 images.*use batches\(\)"):
        load_celeba(faces, memory_limit=5 * 218 * 178 * 3 - 1)
    assert len(load_celeba(faces, memory_limit=5 * 218 * 178 * 3)[0]) == 5


def test_without_pillow_the_attributes_are_there(faces, monkeypatch) -> None:
    original = builtins.__import__

    def without_pillow(name, *arguments, **options):
        if name.partition(".")[0] == "PIL":
            raise ModuleNotFoundError("No module named 'PIL'", name="PIL")
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    split = open_celeba(faces)
    assert split.labels("Male").shape == (5,)
    with pytest.raises(ModuleNotFoundError, match="pip install pillow"):
        split.images()


def test_the_checksums(faces, monkeypatch) -> None:
    with pytest.raises(DataFormatError, match="75e246fa4810816ffd6ee81facbd244c"):
        open_celeba(faces, verify=True)
    for name in celeba._MD5:
        raw = (faces / name).read_bytes()
        digest = hashlib.md5(raw, usedforsecurity=False).hexdigest()
        monkeypatch.setitem(celeba._MD5, name, digest)
    assert len(open_celeba(faces, verify=True)) == 5
