"""Reproduction experiments of Recursive Feature Machines."""

from mlmethods.rfm.recipes import (
    ansatz,
    completion,
    digits,
    images,
    large,
    lowrank,
    modular,
    tables,
    tree,
    uci,
)

__all__ = [
    "ansatz",
    "completion",
    "digits",
    "images",
    "large",
    "lowrank",
    "modular",
    "tables",
    "tree",
    "uci",
]
