"""Reproduction experiments of the overfitting laboratory."""

from mlmethods.overfitting.recipes import anchors, images, sphere, theory

__all__ = ["anchors", "images", "sphere", "theory"]
