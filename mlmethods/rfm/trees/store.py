"""A fitted tree of machines in a folder, with a folder for each leaf."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.common.atomic import atomic_directory
from mlmethods.common.checkpoint import (
    ARRAYS_FILE,
    CONFIG_FILE,
    load_estimator,
    save_estimator,
)
from mlmethods.errors import CheckpointError, InvalidInputError
from mlmethods.rfm.trees.leaves import ConstantLeaf
from mlmethods.rfm.trees.routing import Router

__all__ = ["load_tree", "save_tree"]

_LEAVES = "leaves"


def save_tree(tree: Any, directory: str | os.PathLike[str], machine: Any) -> None:
    """Write a tree: its splits beside ``leaves/00000``, ``leaves/00001`` and so on.

    Raises
    ------
    InvalidInputError
        If the prototype is of a class of yours, which loading would not know.
    CheckpointError
        If something that is not a saved tree is in the way.
    """
    directory = Path(directory)
    if tree.leaf is not None and type(tree.leaf) is not machine:
        raise InvalidInputError(
            f"leaf must be an {machine.__name__} itself to be saved, got a "
            f"{type(tree.leaf).__name__}"
        )
    _require_replaceable(directory)
    constant = [isinstance(leaf, ConstantLeaf) for leaf in tree.leaves_]
    outputs = [leaf.output for leaf in tree.leaves_ if isinstance(leaf, ConstantLeaf)]
    arrays = {
        f"{name}_": np.concatenate([getattr(router, name) for router in tree.splits_])
        for name in Router._fields
    }
    arrays["splits_in_tree_"] = np.array([len(r.thresholds) for r in tree.splits_])
    arrays["constant_"] = np.array(constant)
    arrays["constant_outputs_"] = np.array(outputs).reshape(
        len(outputs), tree._n_outputs
    )
    arrays["leaf_sizes_"] = tree.leaf_sizes_
    arrays["leaf_scores_"] = tree.leaf_scores_
    state = {name: getattr(tree, name) for name in tree._stored}
    # A machine is no JSON value; its parameters are.
    prototype = None if tree.leaf is None else tree.leaf.get_params(deep=False)
    state["prototype_"] = prototype
    plain = copy.copy(tree)
    plain.leaf = None
    with atomic_directory(directory) as scratch:
        save_estimator(plain, scratch, arrays, state)
        (scratch / _LEAVES).mkdir()
        for k, leaf in enumerate(tree.leaves_):
            if not constant[k]:
                leaf.save(_leaf_folder(scratch, k))


def _leaf_folder(directory: Path, k: int) -> Path:
    return directory / _LEAVES / f"{k:05d}"


def _require_replaceable(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is a file; give the name of a folder")
    ours = {ARRAYS_FILE, CONFIG_FILE, _LEAVES}
    foreign = {path.name for path in directory.iterdir()} - ours
    if foreign:
        raise CheckpointError(
            f"{directory} holds other files ({min(foreign)!r} among them) and is not "
            "replaced; give a new or an empty folder"
        )


def load_tree(cls: Any, directory: str | os.PathLike[str], machine: Any) -> Any:
    """Return what :func:`save_tree` wrote.

    Raises
    ------
    CheckpointError
        If the folder or a leaf is missing, damaged or holds another class.
    """
    tree: Any = load_estimator(cls, directory)
    stored = tree.__dict__
    try:
        prototype = stored.pop("prototype_")
        counts = stored.pop("splits_in_tree_")
        cuts = np.cumsum(counts)[:-1]
        parts = [np.split(stored.pop(f"{name}_"), cuts) for name in Router._fields]
        constant = stored.pop("constant_")
        outputs = iter(stored.pop("constant_outputs_"))
        tree.splits_ = [Router(*fields) for fields in zip(*parts, strict=True)]
        tree.leaves_ = [
            ConstantLeaf(next(outputs))
            if constant[k]
            else machine.load(_leaf_folder(Path(directory), k))
            for k in range(len(constant))
        ]
    except (KeyError, StopIteration, ValueError) as error:
        raise CheckpointError(f"{directory} is damaged: {error!r}") from error
    if prototype is not None:
        tree.leaf = machine(**prototype)
    return tree
