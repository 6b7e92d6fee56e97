from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from mlmethods.common import checkpoint
from mlmethods.common.checkpoint import (
    load,
    load_estimator,
    read_store,
    save_estimator,
    write_store,
)
from mlmethods.errors import CheckpointError, InvalidInputError


class Line(BaseEstimator):
    """Least squares through NumPy, with every kind of parameter and attribute."""

    def __init__(self, kernel=None, reg=1e-3, weights=None, callbacks=()):
        self.kernel = kernel
        self.reg = reg
        self.weights = weights
        self.callbacks = callbacks

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        self.feature_names_in_ = np.array([f"x{j}" for j in range(X.shape[1])], object)
        self.coef_ = np.linalg.lstsq(X, y, rcond=None)[0]
        self.history_ = [{"step": 0, "loss": math.nan}, {"step": 1, "loss": 0.5}]
        self.classes_ = np.array(["no", "yes"])
        return self

    def predict(self, X):
        return X @ self.coef_

    def save(self, directory):
        state = {"history_": self.history_, "classes_": self.classes_}
        save_estimator(self, directory, {"coef_": self.coef_}, state)

    @classmethod
    def load(cls, directory):
        return load_estimator(cls, directory)


class Other(Line):
    pass


@pytest.fixture
def fitted(rng: np.random.Generator) -> Line:
    X = rng.normal(size=(20, 3))
    return Line(weights={0: 1.0, 1: 2.0}, reg=math.inf).fit(X, X @ [1.0, 2.0, 3.0])


ARRAYS = {
    "float64": np.linspace(0, 1, 6).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
    "strided": np.arange(10)[::2],
    "reversed": np.arange(4.0)[::-1],
    "big_endian": np.arange(3, dtype=">f8"),
    "scalar": np.array(3, dtype="uint8"),
    "empty": np.zeros((0, 4), dtype="float16"),
    "mask": np.array([True, False]),
    "nan": np.array([np.nan, np.inf]),
}


def test_arrays_come_back_with_their_shape_dtype_and_values(tmp_path: Path) -> None:
    write_store(tmp_path / "s", arrays=ARRAYS, config={})
    arrays, config = read_store(tmp_path / "s")
    assert config == {}
    assert set(arrays) == set(ARRAYS)
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(
            arrays[name], expected, strict=name != "big_endian"
        )


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        0.1,
        math.inf,
        -math.inf,
        "text",
        [1, [2.5, None]],
        (1, ("a",)),
        {"a": {"b": ()}},
        {0: 1.0, True: "x"},
        {"$float": "not a tag"},
        np.array(["a", "bc"]),
        np.array(["a", 1, None], dtype=object),
        np.arange(4).reshape(2, 2),
    ],
    ids=repr,
)
def test_settings_come_back_equal_and_of_the_same_type(tmp_path: Path, value) -> None:
    write_store(tmp_path, arrays={}, config={"value": value})
    # Strict JSON: other programs can read it.
    json.loads((tmp_path / "config.json").read_text(), parse_constant=pytest.fail)
    back = read_store(tmp_path)[1]["value"]
    assert type(back) is type(value)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(back, value, strict=True)
    else:
        assert back == value


@pytest.mark.parametrize(
    ("arrays", "config", "message"),
    [
        ({"a": np.array(["x"])}, {}, r"arrays\['a'\] has dtype <U1"),
        ({"a": np.array([1 + 2j])}, {}, "complex128"),
        ({}, {"params": {"f": print}}, r"params\.f holds a builtin_function"),
        ({}, {"rng": np.random.default_rng(0)}, "rng holds a Generator"),
    ],
)
def test_what_cannot_be_stored_is_named(tmp_path, arrays, config, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        write_store(tmp_path / "s", arrays=arrays, config=config)
    assert not (tmp_path / "s").exists()


def test_a_store_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    for step in range(2):
        write_store(tmp_path / "s", arrays={}, config={"step": step})
    assert read_store(tmp_path / "s")[1] == {"step": 1}
    (tmp_path / "s" / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"'thesis\.tex'"):
        write_store(tmp_path / "s", arrays={}, config={})
    assert (tmp_path / "s" / "thesis.tex").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        write_store(tmp_path / "file", arrays={}, config={})


def _edit(change):
    def damage(folder: Path) -> None:
        path = folder / "config.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return damage


def _truncate(name: str, keep: float):
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return damage


DAMAGE = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()], "not a saved model"),
    "no arrays": (lambda f: (f / "model.safetensors").unlink(), "is missing"),
    "empty arrays": (_truncate("model.safetensors", 0), "is damaged"),
    "half the arrays": (_truncate("model.safetensors", 0.7), "is damaged"),
    "half the json": (_truncate("config.json", 0.5), "not JSON"),
    "not text": (
        lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"),
        "not JSON",
    ),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "not written by"),
    "another magic": (_edit(lambda d: d.update(format="x")), "not written by"),
    "next version": (_edit(lambda d: d.update(format_version="2.0")), "version 2.0"),
    "no config": (_edit(lambda d: d.pop("config")), "malformed"),
    "other shape": (_edit(lambda d: d["arrays"]["M"].update(shape=[3, 2])), "'M' is"),
    "other dtype": (_edit(lambda d: d["arrays"]["M"].update(dtype="int8")), "int8"),
    "other names": (_edit(lambda d: d["arrays"].pop("M")), r"\['M'\]"),
    "unknown tag": (_edit(lambda d: d["config"].update(a={"$set": []})), r"\$set"),
    "bad tag": (_edit(lambda d: d["config"].update(a={"$array": {}})), "damaged"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_one_sentence(tmp_path: Path, damage, message: str) -> None:
    write_store(tmp_path, arrays={"M": np.ones((2, 3))}, config={"a": 1})
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_store(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_newer_minor_version_is_read(tmp_path: Path) -> None:
    write_store(tmp_path, arrays={}, config={"a": 1})
    _edit(lambda d: d.update(format_version="1.7", added_later=True))(tmp_path)
    assert read_store(tmp_path)[1] == {"a": 1}


def test_an_estimator_comes_back_and_predicts_the_same(
    fitted: Line, tmp_path: Path, rng: np.random.Generator
) -> None:
    fitted.save(tmp_path)
    back = Line.load(tmp_path)
    assert back.get_params() == fitted.get_params()
    assert back.n_features_in_ == 3
    assert list(back.feature_names_in_) == ["x0", "x1", "x2"]
    np.testing.assert_array_equal(back.classes_, fitted.classes_, strict=True)
    assert math.isnan(back.history_[0]["loss"])
    X = rng.normal(size=(5, 3))
    np.testing.assert_array_equal(back.predict(X), fitted.predict(X))
    config = read_store(tmp_path)[1]
    assert config["dtype"] == "float64"
    assert config["versions"]["numpy"] == np.__version__


def test_a_kernel_object_is_stored_by_its_configuration(tmp_path: Path) -> None:
    from mlmethods.kernels import MaternKernel

    kernel = MaternKernel(nu=2.5, bandwidth=3.0)
    model = Line(kernel=kernel).fit(np.eye(3), np.ones(3))
    model.save(tmp_path)
    assert Line.load(tmp_path).kernel == kernel


def test_load_reads_the_classes_of_the_table_only(
    fitted: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds a Line, .* call Line\.load"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="holds a Line, not a Other"):
        Other.load(tmp_path)
    monkeypatch.setitem(checkpoint._ESTIMATORS, "Line", __name__)
    monkeypatch.setitem(__import__("sys").modules, __name__, _module_with(Line))
    assert isinstance(load(tmp_path), Line)


def _module_with(cls: type):
    import types

    module = types.ModuleType(__name__)
    module.Line = cls
    return module


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["params"].update(momentum=0.9), "parameters that this one lacks"),
        (lambda c: c["state"].update(predict="x"), "attribute 'predict'"),
        (lambda c: c.pop("state"), "params or state are missing"),
        (lambda c: c.update({"class": 3}), "not of an estimator"),
    ],
)
def test_a_tampered_estimator_is_refused(
    fitted: Line, tmp_path: Path, change, message: str
) -> None:
    fitted.save(tmp_path)
    _edit(lambda document: change(document["config"]))(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        Line.load(tmp_path)


@pytest.mark.parametrize("name", ["coef", "_coef_", "a b_"])
def test_attributes_are_named_as_fitted_ones(fitted, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="dual_coef_"):
        save_estimator(fitted, tmp_path, {}, {name: 1})


def test_a_parameter_that_cannot_be_stored_is_named(fitted, tmp_path: Path) -> None:
    fitted.set_params(callbacks=(print,))
    with pytest.raises(InvalidInputError, match=r"params\.callbacks holds"):
        fitted.save(tmp_path)
