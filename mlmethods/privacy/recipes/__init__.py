"""Reproduction experiments of directional privacy."""

from mlmethods.privacy.recipes import (
    comparison,
    digits,
    guarantee,
    membership,
    reconstruction,
    utility,
)

__all__ = [
    "comparison",
    "digits",
    "guarantee",
    "membership",
    "reconstruction",
    "utility",
]
