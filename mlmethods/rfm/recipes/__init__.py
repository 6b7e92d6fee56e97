"""Reproduction experiments of Recursive Feature Machines."""

from mlmethods.rfm.recipes import ansatz, lowrank, tables, uci

__all__ = ["ansatz", "lowrank", "tables", "uci"]
