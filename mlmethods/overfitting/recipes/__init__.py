"""Reproduction experiments of the overfitting laboratory."""

from mlmethods.overfitting.recipes import anchors, images, networks, sphere, theory

__all__ = ["anchors", "images", "networks", "sphere", "theory"]
