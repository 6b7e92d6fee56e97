"""Reproduction experiments of motion recognition and counting."""

from mlmethods.motion.recipes import (
    counts,
    definitions,
    impairment,
    intervals,
    overcount,
    published,
    sessions,
    table,
)

__all__ = [
    "counts",
    "definitions",
    "impairment",
    "intervals",
    "overcount",
    "published",
    "sessions",
    "table",
]
