"""What the experiments share: names, settings and folds."""

from __future__ import annotations

from typing import Any

from mlmethods.common.recipe import RecipeContext

__all__ = ["FOREST", "LAPLACE", "PAPER", "RFM", "reference", "splitter", "value_name"]

PAPER = (
    "Radhakrishnan, Beaglehole, Pandit, Belkin: Mechanism for feature learning in "
    "neural networks and backpropagation-free machine learning models, Science 383 "
    "(2024)"
)
FOREST = "random forest"
LAPLACE = "Laplace kernel"
RFM = "RFM"


def value_name(*words: object) -> str:
    """Return words as the name of a number in the result."""
    return "_".join(map(str, words)).lower().replace(" ", "_")


def splitter(task: str, count: int, seed: int) -> Any:
    """Return shuffled folds, stratified for a classification."""
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if task == "classification" else KFold
    return kind(count, shuffle=True, random_state=seed)


def reference(context: RecipeContext, **changes: Any) -> dict[str, Any]:
    """Return the published package's settings, to be computed as the run asks."""
    from mlmethods.rfm import reference_params

    own = {
        "backend": context.backend,
        "dtype": context.dtype,
        "random_state": context.seed,
    }
    return {**reference_params(), **own, **changes}
