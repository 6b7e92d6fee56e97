"""What the RFM estimators refuse, or warn of, in their data."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError, NumericalWarning
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = [
    "check_same_width",
    "check_weights",
    "check_y_val",
    "given_together",
    "refuse_text",
    "warn_of_scales",
]

_SCALE_RATIO = 1e4


def given_together(X_val: ArrayLike | None, y_val: ArrayLike | None) -> bool:
    """Return whether validation rows are given; one without the other is refused."""
    if (X_val is None) != (y_val is None):
        missing = "y_val" if y_val is None else "X_val"
        raise InvalidInputError(
            f"X_val and y_val must be given together, got no {missing}"
        )
    return X_val is not None


def check_same_width(X_val: NDArray, X: NDArray) -> None:
    """Refuse validation rows with another number of features."""
    if X_val.shape[1] != X.shape[1]:
        raise InvalidInputError(
            f"X_val must have {X.shape[1]} features as X has, got {X_val.shape[1]}"
        )


def check_y_val(y_val: ArrayLike | None, rows: int, outputs: int | None) -> NDArray:
    """Return validation targets (rows, outputs), or labels (rows,) for None.

    Refuses another length or width, and targets that are not finite.
    """
    array = np.asarray(y_val)
    single = outputs is None or outputs == 1
    expected = (rows,) if single else (rows, outputs)
    if array.shape != expected and not (single and array.shape == (rows, 1)):
        raise InvalidInputError(
            f"y_val must have shape {expected} to match X_val and y, got shape "
            f"{array.shape}"
        )
    if outputs is None:
        return array.reshape(rows)
    targets = array.astype(np.float64).reshape(rows, outputs)
    if not np.isfinite(targets).all():
        raise InvalidInputError("y_val must be finite, got NaN or infinity")
    return targets


def check_weights(weights: NDArray) -> None:
    """Refuse negative weights."""
    if np.any(weights < 0):
        raise InvalidInputError(
            f"sample_weight must be >= 0, got a smallest entry of {weights.min()}"
        )


def refuse_text(X: Any, *, codes: bool = True) -> Any:
    """Refuse string columns with advice; scikit-learn checks the rest.

    `codes` says whether the estimator can read categories itself.
    """
    dtypes = getattr(X, "dtypes", None)
    if dtypes is not None and hasattr(X, "columns"):
        bad = [
            str(name)
            for name, dtype in zip(X.columns, dtypes, strict=True)
            if getattr(dtype, "kind", "O") in "OUS" or str(dtype) in ("category", "str")
        ]
        if bad:
            own = "set categorical_features='from_dtype', or " if codes else ""
            raise InvalidInputError(
                f"X must be numeric, got text columns {', '.join(bad[:5])}; {own}encode "
                "them first, for example with ColumnTransformer and OneHotEncoder"
            )
    return X


def warn_of_scales(X: NDArray) -> None:
    """Warn where one bandwidth cannot serve all columns."""
    scales = X.std(axis=0)
    scales = scales[scales > 0]
    if scales.size > 1 and scales.max() > _SCALE_RATIO * scales.min():
        warnings.warn(
            f"the columns of X differ in scale by a factor of "
            f"{scales.max() / scales.min():.1g}; standardize them (StandardScaler), "
            "since one bandwidth serves all",
            NumericalWarning,
            stacklevel=4,
        )
