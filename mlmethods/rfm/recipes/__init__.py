"""Reproduction experiments of Recursive Feature Machines."""

from mlmethods.rfm.recipes import (
    ansatz,
    completion,
    digits,
    lowrank,
    modular,
    tables,
    uci,
)

__all__ = ["ansatz", "completion", "digits", "lowrank", "modular", "tables", "uci"]
