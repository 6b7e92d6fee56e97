"""What the experiments share: the paper, names of numbers and the digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmethods.common.recipe import RecipeContext
from mlmethods.interfaces import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PAPER",
    "THEORY",
    "between",
    "binary_images",
    "record_costs",
    "value_name",
]

PAPER = (
    "Mallinar, Simon, Abedsoltan, Pandit, Belkin, Nakkiran: Benign, Tempered, or "
    "Catastrophic: A Taxonomy of Overfitting, NeurIPS (2022)"
)
THEORY = (
    "Simon, Dickens, Karkada, DeWeese: The eigenlearning framework, "
    "arXiv:2110.03922 (2021)"
)


def value_name(*words: object) -> str:
    """Return words as the name of a number in the result."""
    text = "_".join(map(str, words)).lower()
    for mark in (" ", "-", "="):
        text = text.replace(mark, "_")
    return text


def between(value: float, center: float, tolerance: float) -> bool:
    """Return whether a number is within a tolerance of another."""
    return bool(abs(value - center) <= tolerance)


def record_costs(context: RecipeContext, name: str, costs: pd.DataFrame) -> None:
    """Record the overfitting coefficient of every sample size."""
    for n, e0 in costs[["n", "e0"]].to_numpy():
        context.value(**{value_name(name, "e0", int(n)): e0})


def binary_images(
    context: RecipeContext, name: str, split: str = "all"
) -> tuple[NDArray, NDArray]:
    """Return images as rows of norm 1, and whether the label is 5 or more."""
    from mlmethods.datasets import load_images

    images, labels = load_images(name, root=context.data_root, split=split)
    rows = images.reshape(len(images), -1) / 255.0
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0), (labels >= 5).astype(np.int64)
