"""CIFAR-10: pickles as Python 2 wrote them, the binary version, hostile pickles."""

from __future__ import annotations

import builtins
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from mlmethods.datasets.cifar import cifar10_class_names, load_cifar10
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

NAMES = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]
PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"


def python2(value: object) -> bytes:
    """Encode a value as the instructions that cPickle of Python 2 wrote (protocol 2).

    A ``str`` of Python 2 is bytes: SHORT_BINSTRING or BINSTRING, which Python 3 reads
    but does not write.
    """
    match value:
        case bytes():
            if len(value) < 256:
                return b"U" + bytes([len(value)]) + value
            return b"T" + struct.pack("<i", len(value)) + value
        case int():
            return (
                b"K" + bytes([value])
                if value < 256
                else b"J" + struct.pack("<i", value)
            )
        case list():
            return b"](" + b"".join(map(python2, value)) + b"e"
        case dict():
            pairs = (python2(key) + python2(item) for key, item in value.items())
            return b"}(" + b"".join(pairs) + b"u"
        case np.ndarray():
            start = (
                b"cnumpy.core.multiarray\n_reconstruct\n"
                b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            )
            code = value.dtype.str[1:].encode()
            dtype = (
                b"cnumpy\ndtype\n" + python2(code) + b"K\x00K\x01\x87R"
                b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            )
            shape = b"(" + b"".join(map(python2, value.shape)) + b"t"
            content = python2(value.tobytes())
            return start + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"
    raise TypeError(type(value))


def pickled(value: object) -> bytes:
    return b"\x80\x02" + python2(value) + b"."


def batch(data: np.ndarray, labels: list[int]) -> dict[bytes, object]:
    return {
        b"batch_label": b"training batch 1 of 5",
        b"labels": labels,
        b"data": data,
        b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * len(labels),
    }


def as_images(data: np.ndarray) -> np.ndarray:
    """Convert rows of red, green and blue planes, pixel by pixel."""
    images = np.empty((len(data), 32, 32, 3), dtype=np.uint8)
    for row in range(32):
        for column in range(32):
            for channel in range(3):
                position = 1024 * channel + 32 * row + column
                images[:, row, column, channel] = data[:, position]
    return images


@pytest.fixture
def parts(rng):
    """Return pixels and labels of six small batches."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return {
        name: (
            rng.integers(0, 256, (2, 3072), dtype=np.uint8),
            rng.integers(0, 10, 2).tolist(),
        )
        for name in names
    }


@pytest.fixture
def python_version(write, parts) -> Path:
    for name, (data, labels) in parts.items():
        path = write(f"{PYTHON}/{name}", pickled(batch(data, labels)))
    meta = {
        b"num_cases_per_batch": 2,
        b"label_names": [name.encode() for name in NAMES],
        b"num_vis": 3072,
    }
    write(f"{PYTHON}/batches.meta", pickled(meta))
    return path.parent


@pytest.fixture
def binary_version(write, parts) -> Path:
    for name, (data, labels) in parts.items():
        rows = np.column_stack([np.array(labels, dtype=np.uint8), data])
        path = write(f"{BINARY}/{name}.bin", rows.tobytes())
    write(f"{BINARY}/batches.meta.txt", "\n".join(NAMES) + "\n\n")
    return path.parent


def test_the_encoder_of_this_test_writes_what_numpy_reads(parts) -> None:
    data, labels = parts["test_batch"]
    theirs = pickle.loads(pickled(batch(data, labels)), encoding="bytes")
    np.testing.assert_array_equal(theirs[b"data"], data)
    assert theirs[b"labels"] == labels


@pytest.mark.parametrize("version", ["python_version", "binary_version"])
def test_both_versions(request, parts, version) -> None:
    folder = request.getfixturevalue(version)
    data = np.concatenate([data for data, _ in parts.values()])
    expected = [label for _, labels in parts.values() for label in labels]
    for root in (folder, folder.parent):
        images, labels = load_cifar10(root, "all")
        np.testing.assert_array_equal(images, as_images(data))
        np.testing.assert_array_equal(labels, expected)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    images, labels = load_cifar10(folder)
    np.testing.assert_array_equal(images, as_images(data[:10]))
    images, labels = load_cifar10(folder, "test")
    np.testing.assert_array_equal(images, as_images(data[10:]))
    np.testing.assert_array_equal(labels, expected[10:])
    assert images.flags.writeable
    assert images.flags.c_contiguous
    assert cifar10_class_names(folder) == NAMES


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_batch_that_python_3_wrote_again(write, parts, protocol) -> None:
    data, labels = parts["test_batch"]
    for keys in (batch(data, labels), {"data": data, "labels": labels}):
        write(f"{PYTHON}/test_batch", pickle.dumps(keys, protocol=protocol))
        path = write(f"{PYTHON}/readme.html", "")
        images, found = load_cifar10(path.parent, "test")
        np.testing.assert_array_equal(images, as_images(data))
        np.testing.assert_array_equal(found, labels)


def test_a_missing_file_says_what_to_do(python_version) -> None:
    (python_version / "data_batch_3").unlink()
    with pytest.raises(DatasetNotFoundError) as caught:
        load_cifar10(python_version)
    for part in (
        f"no data_batch_3 in {python_version}",
        "cifar-10-python.tar.gz",
        "cs.toronto.edu",
        "data root",
    ):
        assert part in str(caught.value)
    (python_version / "test_batch").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"test_batch or test_batch\.bin"):
        load_cifar10(python_version, "test")
    with pytest.raises(InvalidInputError, match="got 'extra'"):
        load_cifar10(python_version, "extra")


class Call:
    """Pickles as a call, as hostile files do."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def instructions(module: str, name: str, text: str) -> bytes:
    """Return a call of a global with a text, in the oldest instructions."""
    return f"c{module}\n{name}\n(S'{text}'\ntR.".encode()


@pytest.mark.parametrize("file", ["test_batch", "batches.meta"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_is_refused_and_nothing_runs(
    python_version, tmp_path, file, protocol
) -> None:
    marker = tmp_path / "executed"
    hostile = {
        "system": Call(os.system, f"touch {marker}"),
        "exec": Call(builtins.exec, f"open({str(marker)!r}, 'w')"),
        "open": Call(builtins.open, str(marker), "w"),
    }
    for name, call in hostile.items():
        for content in (call, {b"data": [call], b"labels": [0]}):
            raw = pickle.dumps(content, protocol=protocol)
            (python_version / file).write_bytes(raw)
            with pytest.raises(
                DataFormatError, match=rf"global '\w+\.{name}'"
            ) as error:
                load_cifar10(python_version, "test")
            assert str(python_version / file) in str(error.value)
            assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("__builtin__", "eval"),
        ("builtins", "getattr"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy", "core.multiarray._reconstruct.__globals__"),
        ("_codecs", "lookup"),
        ("copy_reg", "_reconstructor"),
        ("importlib", "import_module"),
    ],
)
def test_globals_that_are_refused(python_version, module, name) -> None:
    (python_version / "test_batch").write_bytes(instructions(module, name, "x"))
    with pytest.raises(DataFormatError, match=f"global '{module}.{name}'"):
        load_cifar10(python_version, "test")


@pytest.mark.parametrize(
    "content",
    [
        # A state for the classes themselves, and for the codec.
        b"\x80\x02cnumpy\nndarray\n}U\x05stateK\x01sb.",
        b"\x80\x02cnumpy\ndtype\nN}U\x08__init__K\x01s\x86b.",
        b"\x80\x02c_codecs\nencode\nN}U\x07__new__K\x01s\x86b.",
        # Any other codec than that of the files.
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        # A place in the memo that a table would need 64 GB for.
        b"\x80\x02}r\xff\xff\xff\xff0Nj\xff\xff\xff\xfe.",
        # An extension and a persistent object.
        b"\x80\x02\x82\x01.",
        b"\x80\x02U\x01xQ.",
    ],
)
def test_instructions_that_have_nothing_to_act_on(
    python_version, parts, content
) -> None:
    path = python_version / "test_batch"
    good = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match="test_batch"):
        load_cifar10(python_version, "test")
    # The next file is read as if nothing had happened.
    path.write_bytes(good)
    np.testing.assert_array_equal(
        load_cifar10(python_version, "test")[0], as_images(parts["test_batch"][0])
    )


GOOD = np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (pickled([1, 2]), "must hold one dictionary"),
        (pickled(batch(GOOD, [0, 1])) + b"x", "nothing after it"),
        (pickled({b"labels": [0, 1]}), "an array of uint8 with 3072 columns"),
        (pickled(batch(GOOD[:, 1:], [0, 1])), "3072 columns"),
        (pickled(batch(GOOD.astype("<i2")[:, :1536], [0, 1])), "array of uint8"),
        (pickled(batch(GOOD[0], [0, 1])), "3072 columns"),
        (pickled({b"data": [1], b"labels": [0]}), "array of uint8"),
        (pickled(batch(GOOD[:1], [0])), "the 2 images that batches.meta states"),
        (pickled(batch(GOOD, [0])), "a list of 2 integers"),
        (pickled(batch(GOOD, [0, 10])), "labels of 0 to 9"),
        (pickled(batch(GOOD, [0, b"1"])), "labels of 0 to 9"),
        (b"", "is damaged"),
        (b"<html>404</html>", "is damaged"),
    ],
)
def test_wrong_pickles(python_version, content, fragment) -> None:
    path = python_version / "test_batch"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_cifar10(python_version, "test")
    assert str(path) in str(caught.value)


def test_truncated_and_damaged_pickles(python_version, rng) -> None:
    path = python_version / "test_batch"
    raw = path.read_bytes()
    for cut in (*range(0, 400, 9), *range(len(raw) - 40, len(raw))):
        path.write_bytes(raw[:cut])
        with pytest.raises(DataFormatError, match="test_batch"):
            load_cifar10(python_version, "test")
    pixels = raw.index(GOOD.nbytes.to_bytes(4, "little"))
    for position in (*range(pixels + 8), *range(len(raw) - 20, len(raw))):
        damaged = bytearray(raw)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            images, _ = load_cifar10(python_version, "test")
        except DataFormatError:
            continue
        assert images.shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (bytes(3073 + 3072), "records of 3073 bytes, found 6145"),
        (b"", "found 0 bytes"),
        (bytes(3073) + b"\x0a" + bytes(3072), "found 10 in record 2"),
    ],
)
def test_damaged_binary_files(binary_version, content, fragment) -> None:
    path = binary_version / "test_batch.bin"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_cifar10(binary_version, "test")
    assert str(path) in str(caught.value)


def test_the_names_of_the_classes(python_version, binary_version, write) -> None:
    write(f"{PYTHON}/batches.meta", pickled({b"label_names": [b"cat"]}))
    with pytest.raises(DataFormatError, match="10 classes, found 1"):
        cifar10_class_names(python_version)
    with pytest.raises(DataFormatError, match="num_cases_per_batch"):
        load_cifar10(python_version, "test")
    write(f"{BINARY}/batches.meta.txt", "cat\ndog\n")
    with pytest.raises(DataFormatError, match="10 classes, found 2"):
        cifar10_class_names(binary_version)


def test_the_checksums(python_version, binary_version) -> None:
    with pytest.raises(DataFormatError, match="40351d587109b95175f43aff81a1287e"):
        load_cifar10(python_version, "test", verify=True)
    with pytest.raises(InvalidInputError, match="verify must be False"):
        load_cifar10(binary_version, "test", verify=True)
