"""The measurements of a study as one array over sizes, seeds and noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Curves", "curves_from_arrays", "curves_from_frame"]

KEYS = ("n", "seed", "noise")
# A training error below this share of the risk counts as a perfect fit.
_TRAIN_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Curves:
    """Risks on a full grid, sorted by size and by noise level.

    Attributes
    ----------
    n : ndarray of shape (K,)
        Sizes.
    noise : ndarray of shape (L,)
        Noise levels.
    risk : ndarray of shape (K, S, L)
        Test risks.
    resolved : ndarray of shape (K,), bool
        Whether no run of a size is spoiled by rounding.
    interpolates : bool or None
        Whether every run fits its training set; None where that is unknown.
    notes : list of str
        What was left out.
    """

    n: NDArray
    noise: NDArray
    risk: NDArray
    resolved: NDArray
    interpolates: bool | None
    notes: list[str] = field(default_factory=list)


def curves_from_arrays(
    n: ArrayLike,
    risk: ArrayLike,
    noise: ArrayLike,
    *,
    resolved: ArrayLike | None,
    interpolates: ArrayLike | None,
) -> Curves:
    """Check arrays and sort them."""
    sizes = _increasing("n", n)
    levels = _increasing("noise", noise)
    values = np.asarray(risk)
    if values.dtype.kind not in "biuf" or values.ndim != 3 or 0 in values.shape:
        raise InvalidInputError(
            "risk must be numbers of shape (n_sizes, n_seeds, n_levels), or a "
            f"DataFrame, got {values.dtype} of shape {values.shape}"
        )
    if values.shape[0] != len(sizes) or values.shape[2] != len(levels):
        raise InvalidInputError(
            f"risk must have shape ({len(sizes)}, n_seeds, {len(levels)}) for the "
            f"lengths of n and noise, got {values.shape}"
        )
    values = values.astype(np.float64)
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        raise InvalidInputError(
            f"risk must be finite and >= 0, got {int(bad.sum())} values that are not"
        )
    known = np.ones(len(sizes), dtype=bool)
    if resolved is not None:
        known = _all_per_size("resolved", resolved, len(sizes))
    fits = None
    if interpolates is not None:
        fits = bool(np.asarray(interpolates).all())
    by_size, by_level = np.argsort(sizes), np.argsort(levels)
    return Curves(
        sizes[by_size],
        levels[by_level],
        values[by_size][:, :, by_level],
        known[by_size],
        fits,
    )


def curves_from_frame(frame: pd.DataFrame, task: str) -> Curves:
    """Check a long table, with one row a run, and lay it out as an array."""
    missing = [name for name in (*KEYS, "risk") if name not in frame]
    if missing:
        raise InvalidInputError(
            "a table of runs must have the columns n, seed, noise and risk, got none "
            f"called {', '.join(missing)}"
        )
    doubled = frame.duplicated(list(KEYS))
    if doubled.any():
        first = frame.loc[doubled, list(KEYS)].iloc[0].to_dict()
        raise InvalidInputError(
            f"a table of runs must have one row for each n, seed and noise, got two "
            f"for {first}"
        )
    seeds, levels = (np.unique(frame[name]) for name in ("seed", "noise"))
    counts = frame.groupby("n").size()
    whole = counts[counts == len(seeds) * len(levels)].index
    notes = _notes_of_dropped(counts.drop(whole).index.tolist())
    kept = frame[frame["n"].isin(whole)].sort_values(list(KEYS), kind="stable")
    if kept.empty:
        shape = (0, max(len(seeds), 1), max(len(levels), 1))
        nothing = np.empty(0)
        return Curves(
            nothing, levels, np.empty(shape), nothing.astype(bool), None, notes
        )
    shape = (len(whole), len(seeds), len(levels))

    def grid(name: str) -> NDArray:
        return kept[name].to_numpy().reshape(shape)

    resolved = grid("resolved").astype(bool) if "resolved" in kept else None
    curves = curves_from_arrays(
        np.unique(kept["n"]),
        grid("risk"),
        levels,
        resolved=None if resolved is None else resolved.all(axis=(1, 2)),
        interpolates=_interpolates(kept, task),
    )
    curves.notes.extend(notes)
    return curves


def _notes_of_dropped(sizes: Sequence[Any]) -> list[str]:
    if not sizes:
        return []
    listed = ", ".join(str(size) for size in sizes)
    return [f"sizes with missing runs are left out: n = {listed}"]


def _interpolates(frame: pd.DataFrame, task: str) -> NDArray | None:
    if "interpolates" in frame:
        return frame["interpolates"].to_numpy().astype(bool)
    if "train_error" not in frame:
        return None
    error = frame["train_error"].to_numpy()
    if task == "classification":
        return error == 0
    return error <= _TRAIN_TOLERANCE * frame["risk"].to_numpy()


def _all_per_size(name: str, value: ArrayLike, K: int) -> NDArray:
    array: NDArray = np.asarray(value, dtype=bool)
    if array.ndim < 1 or len(array) != K:
        raise InvalidInputError(
            f"{name} must have one entry for each of the {K} sizes in n, got shape "
            f"{array.shape}"
        )
    return np.asarray(array.reshape(K, -1).all(axis=1))


def _increasing(name: str, value: ArrayLike) -> NDArray:
    """Return different finite numbers: sizes >= 1, or noise levels >= 0."""
    array = np.asarray(value)
    least = 1 if name == "n" else 0
    if array.dtype.kind not in "iuf" or array.ndim != 1 or len(array) == 0:
        raise InvalidInputError(
            f"{name} must be numbers in one dimension, got {array.dtype} of shape "
            f"{array.shape}"
        )
    if not np.isfinite(array).all() or (array < least).any():
        raise InvalidInputError(f"{name} must be finite and >= {least}, got {value!r}")
    if len(np.unique(array)) != len(array):
        raise InvalidInputError(f"{name} must hold different values, got {value!r}")
    return array
